"""What stands on the machine that no ledger tells of: found by its names, and taken away piece by piece.

Nothing here decides what may go; who calls has looked at names and marks. Each act looks again whether
what it is about to take away is still what was found, and raises Held or StepFailed where it must stay.
"""

import contextlib
import os
import re
import stat

from pyimount.execution import folders, fuse_mounts, loops, mounts, servers, tools
from pyimount.execution.errors import Held, StepFailed, ToolFailed
from pyimount.execution.loops import Loop
from pyimount.execution.mounts import MountPoint
from pyimount.planning.steps import PREFIX
from pyimount.records import Record

LUKS_NAME = re.compile(r"image_mounter_luks_[0-9]{5}")
"""What imagemounter calls a LUKS volume that it opened."""

MARK = re.compile(rf"{PREFIX}-([0-9a-f]{{8}})-[0-9]+")
"""What pyimount calls all that it makes: its session, and the step."""

_SYS = "/sys/block"


class Attached(Record, kw_only=True):
    """A loop device. ``file``: the path of what it shows, as the kernel has it now; ``loop``: its identity.

    ``loop`` is None for who may not open the device.
    """

    device: str
    file: str
    loop: Loop | None

    @property
    def names(self) -> tuple[str, ...]:
        """The paths by which its file is or was known: the second outlives the file's mount."""
        return (self.file,) if self.loop is None else (self.file, self.loop.mark)

    @property
    def session(self) -> str | None:
        """The session of pyimount that attached it, by its mark."""
        found = None if self.loop is None else MARK.fullmatch(self.loop.mark)
        return None if found is None else found[1]


def attached() -> list[Attached]:
    """All loop devices that are attached to something, by their numbers."""
    found = []
    for name in sorted(_names("loop"), key=lambda name: int(name.removeprefix("loop"))):
        try:
            path, loop = _backing_file(name), loops.read(f"/dev/{name}")
        except OSError:
            continue
        found.append(Attached(device=f"/dev/{name}", file=path, loop=loop))
    return found


def _names(prefix: str) -> list[str]:
    try:
        return [name for name in os.listdir(_SYS) if re.fullmatch(rf"{prefix}[0-9]+", name)]
    except OSError:
        return []


def beneath(source: str) -> set[str]:
    """The block devices that a block device is made of, down to the last, itself included.

    A loop device of another device counts as made of it.
    """
    try:
        is_ = os.stat(source)
    except OSError:
        return set()
    if not stat.S_ISBLK(is_.st_mode):
        return set()
    found: set[str] = set()
    pending = [mounts.block_name(is_.st_rdev)]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += _listed(f"{_SYS}/{name}/slaves")
            with contextlib.suppress(OSError):
                is_ = os.stat(_backing_file(name))
                if stat.S_ISBLK(is_.st_mode):
                    pending.append(mounts.block_name(is_.st_rdev))
    return {f"/dev/{name}" for name in found}


def _backing_file(name: str) -> str:
    """The path of what a loop device shows. Raises OSError for any other, and for one that shows nothing."""
    with open(f"{_SYS}/{name}/loop/backing_file", "rb") as file:
        return os.fsdecode(file.read().rstrip(b"\n"))


def above(device: str) -> list[str]:
    """The block devices that are made of this one, the uppermost first."""
    found: list[str] = []
    pending = _listed(f"{_SYS}/{os.path.basename(device)}/holders")
    while pending:
        name = pending.pop()
        if name in found:
            found.remove(name)
        found.insert(0, name)
        pending += _listed(f"{_SYS}/{name}/holders")
    return [f"/dev/{name}" for name in found]


def _listed(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def mapped_name(device: str) -> str | None:
    """What device-mapper calls one of its devices; None for all others."""
    try:
        with open(f"{_SYS}/{os.path.basename(device)}/dm/name") as file:
            return file.read().strip()
    except OSError:
        return None


def volume_groups(devices: list[str]) -> list[tuple[str, str]]:
    """The LVM groups on these devices, each with a device of it. LVM looks at no other device."""
    if not devices or tools.find("lvm") is None:
        return []
    argv = (*_lvm("pvs", devices), "--readonly", "--noheadings", "--separator", "\t", "-o", "vg_name,pv_name")
    try:
        told = tools.run(argv).decode("utf-8", "replace")
    except ToolFailed:
        return []  # It says so of devices that are no physical volumes.
    pairs = [line.strip(" ").split("\t") for line in told.splitlines()]
    return sorted((pair[0], pair[1]) for pair in pairs if len(pair) == 2 and pair[0] and pair[1] in devices)


def _lvm(command: str, devices: list[str]) -> tuple[str, ...]:
    return ("lvm", command, "--devices", ",".join(devices))


def deactivation(group: str, devices: list[str]) -> tuple[str, ...]:
    """The command that takes the logical volumes of a group away, and of no other group of its name."""
    return (*_lvm("vgchange", devices), "--activate", "n", "--", group)


def deactivate(group: str, devices: list[str]) -> None:
    """Take the logical volumes of a group away. Raises Held."""
    try:
        tools.run(deactivation(group, devices))
    except StepFailed as error:
        raise Held(f"volume group {tools.printable(group)}: {error}") from error


def removal(device: str, taken: set[str]) -> tuple[str, ...] | None:
    """The command that takes away a device which lies on others; None where it is not known as ours.

    Ours is what bears imagemounter's or our own name, and an array all members of which are ``taken``.
    """
    name = mapped_name(device)
    if name is not None:
        if LUKS_NAME.fullmatch(name):
            return ("cryptsetup", "close", name)
        return ("dmsetup", "remove", "--retry", name) if MARK.fullmatch(name) else None
    members = {f"/dev/{each}" for each in _listed(f"{_SYS}/{os.path.basename(device)}/slaves")}
    is_array = os.path.isdir(f"{_SYS}/{os.path.basename(device)}/md")
    return ("mdadm", "--stop", device) if is_array and members and members <= taken else None


def detach(one: Attached, taken: set[str]) -> None:
    """Detach a loop device, after what lies on it. Raises Held where it, or what lies on it, is in use.

    ``taken``: all loop devices that are to go.
    """
    if one.loop is None:
        raise Held(f"{one.device} cannot be opened: this needs root")
    try:
        now = loops.read(one.device)
    except OSError as error:
        raise Held(f"{one.device}: {error.strerror}") from error
    if now is None or (now.mark, now.backing) != (one.loop.mark, one.loop.backing):
        return
    for upper in above(one.device):
        command = removal(upper, taken)
        if command is None:
            raise Held(f"{one.device} is in use by {mapped_name(upper) or upper}")
        try:
            tools.run(command)
        except StepFailed as error:
            raise Held(f"{one.device}: {error}") from error
    # The kernel would only note that it is to go one day, and who asked is not told of what is mounted.
    standing = [each.path for each in mounts.mounts() if one.device in beneath(each.source)]
    if standing:
        raise Held(f"{one.device} is mounted at {', '.join(map(tools.printable, standing))}")
    try:
        loops.detach(one.loop)
    except OSError as error:
        raise Held(f"{one.device}: {error.strerror}") from error


def unmount(mount: MountPoint) -> None:
    """Unmount this, and end our own server when it is one's. Raises Held, StepFailed."""
    mounts.unmount(mount)
    if mount.type == fuse_mounts.FUSE_TYPE and MARK.fullmatch(mount.source):
        for server in servers.find(mount.source):
            if not servers.stop(server):
                raise Held(f"the server of {mount.path} (process {server.pid}) does not end")


def remove_folder(path: str) -> bool:
    """Remove a folder if it is empty; False where it stays. No link is followed. Raises StepFailed."""
    above_it, name = os.path.split(path)
    at = folders.open_folder(above_it)
    try:
        os.rmdir(name, dir_fd=at)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    finally:
        os.close(at)
    return True


def session_folders(base: str) -> list[str]:
    """The folders of sessions that have no ledger, and those within, the innermost first.

    What has a mount in it is left out as a whole: it is no empty folder.
    """
    found = []
    names = [name for name in _listed(base) if re.fullmatch(r"[0-9a-f]{8}", name)]
    standing = [each.path for each in mounts.mounts()]
    for name in names:
        top = f"{base}/{name}"
        # Looked for last: a ledger is there before the folder is.
        if os.path.exists(f"{base}/{name}.jsonl") or any(
            f"{each}/".startswith(f"{top}/") for each in standing
        ):
            continue
        with contextlib.suppress(OSError):
            found += [path for path, _, _ in os.walk(top, topdown=False)]
    return found
