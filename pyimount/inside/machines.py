"""Virtual machines, by their configuration in a folder: which files are their disks.

VMware's ``.vmx``: ``key = "value"`` lines, https://www.sanbarrow.com/vmx.html. Proxmox's ``NNN.conf``:
https://pve.proxmox.com/wiki/Manual:_qm.conf; what stands behind a line ``[name]`` is a snapshot's.
"""

import re

from pyimount.records import Record

TEXT_CAP = 1 << 18
"""No more bytes of a configuration are read."""
_DISKS_CAP = 256

_VMX_LINE = re.compile(r'\s*([\w:.]+)\s*=\s*"([^"\n]*)"\s*')
_VMX_DISK = re.compile(r"((?:scsi|sata|ide|nvme)\d{1,3}:\d{1,3})\.filename")
_PROXMOX_NAME = re.compile(r"\d{1,9}\.conf")
_PROXMOX_LINE = re.compile(r"([a-z]+\d{0,3}):\s*(.*)")
_PROXMOX_DISK = re.compile(r"(?:scsi|virtio|sata|ide|efidisk|tpmstate)\d{1,3}")
_SECTION = re.compile(r"\[([^\]]{1,255})\]")
_IMAGE = re.compile(r"[\w/. -]+\.(?:qcow2|raw|vmdk|img)")


class Configured(Record, kw_only=True):
    """What a configuration says: the slots with the names of their files, in its order.

    ``folders``: those, from its own, in which a file of such a name may lie.
    """

    type: str
    name: str | None
    disks: tuple[tuple[str, str], ...]
    folders: tuple[str, ...] = ("",)
    snapshots: tuple[str, ...] = ()


def is_configuration(name: str) -> bool:
    """Whether a file of this name may be one."""
    return name.lower().endswith(".vmx") or _PROXMOX_NAME.fullmatch(name) is not None


def configured(name: str, text: str) -> Configured | None:
    """The machine in a configuration of this file name; None: it has no disks, and is none."""
    found = _vmx(text) if name.lower().endswith(".vmx") else _proxmox(text, name.partition(".")[0])
    return found if found.disks else None


def _vmx(text: str) -> Configured:
    said = {}
    for line in text.splitlines():
        if match := _VMX_LINE.fullmatch(line):
            said[match[1].lower()] = match[2]
    disks = []
    for key, value in said.items():
        slot = _VMX_DISK.fullmatch(key)
        if slot is None or not value:
            continue
        kind = said.get(f"{slot[1]}.devicetype", "disk").lower()
        if said.get(f"{slot[1]}.present", "true").lower() == "true" and "disk" in kind:
            disks.append((slot[1], value))
    return Configured(type="vmx", name=said.get("displayname"), disks=tuple(disks[:_DISKS_CAP]))


def _proxmox(text: str, number: str) -> Configured:
    own: dict[str, str] = {}
    parents: dict[str, str] = {}
    section: str | None = None
    for line in text.splitlines():
        if begins := _SECTION.fullmatch(line.strip()):
            section = begins[1]
        elif (match := _PROXMOX_LINE.fullmatch(line.strip())) and section is None:
            own.setdefault(match[1], match[2])
        elif match and match[1] == "parent" and section is not None:
            parents.setdefault(section, match[2])
    disks = []
    for key, value in own.items():
        volume = value.partition(",")[0]
        name = volume.partition(":")[2] or volume
        if _PROXMOX_DISK.fullmatch(key) and "media=cdrom" not in value and _IMAGE.fullmatch(name):
            disks.append((key, name))
    snapshots: list[str] = []
    at = own.get("parent")
    while at is not None and at not in snapshots and len(snapshots) < _DISKS_CAP:
        snapshots.append(at)
        at = parents.get(at)
    return Configured(
        type="proxmox", name=own.get("name"), disks=tuple(disks[:_DISKS_CAP]), snapshots=tuple(snapshots),
        folders=("", "images", f"images/{number}", number, "../images", f"../../images/{number}"),
    )  # fmt: skip
