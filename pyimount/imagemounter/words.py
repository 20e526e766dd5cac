"""imagemounter's words for what a scan finds."""

from collections.abc import Mapping
from typing import Any

from pyimount.layers import DiskLayer, VolumeLayer
from pyimount.planning.recipes import format_of

BLOCK_SIZE = 512
"""Bytes in a sector, where a disk does not say otherwise."""

DISK_MOUNTERS = (
    "auto", "user", "ewfmount", "xmount", "affuse", "qemu-nbd", "nbd", "vmware-mount", "avfs", "dummy",
)  # fmt: skip
"""What ``disk_mounter`` may be: ``auto`` is pyimount's own reader, ``dummy`` takes the file as it is."""

VOLUME_DETECTORS = ("", "auto", "native", "dissect", "pytsk3", "mmls", "parted")
"""What ``volume_detector`` may be; imagemounter's own three stand for ``native``."""

VOLUME_SYSTEM_TYPES = ("detect", "dos", "bsd", "sun", "mac", "gpt")
"""The types of partition tables that imagemounter had words for; pyimount takes those of its reports, too."""

FILE_SYSTEM_TYPES = (
    "ext", "ufs", "ntfs", "exfat", "hfs", "hfs+", "xfs", "iso", "udf", "fat", "vmfs", "squashfs", "jffs2",
    "cramfs", "minix", "luks", "bde", "lvm", "raid", "dir", "volumesystem", "unknown",
)  # fmt: skip
"""The values of ``Volume.fstype`` that imagemounter had; pyimount has further ones: btrfs, apfs, swap …"""

CONTAINERS = frozenset(("luks", "lvm", "bde", "raid", "volumesystem"))
"""The words for what holds further volumes and is not mounted itself."""

SYNONYMS: Mapping[str, str] = {"nbd": "qemu-nbd"}
"""imagemounter's other words for disk mounters."""

_DISK_TYPES: Mapping[str, str] = {
    "ewf": "encase", "ewf2": "encase", "raw": "dd", "split": "dd", "qcow": "qcow2",
    "gzip": "compressed", "bzip2": "compressed", "xz": "compressed", "zstd": "compressed",
    "zip": "compressed",
}  # fmt: skip

_MADE: Mapping[str, str] = {
    "lvm2": "Logical Volume", "luks": "LUKS Volume", "bitlocker": "BDE Volume", "vss": "VSS Store",
}  # fmt: skip
_STAT_TYPES: Mapping[str, str] = {
    "ext2": "Ext2", "ext3": "Ext3", "ext4": "Ext4", "ntfs": "NTFS", "exfat": "exFAT", "hfsplus": "HFS+",
    "hfs": "HFS", "iso9660": "ISO9660", "swap": "Swap", "xfs": "XFS", "btrfs": "Btrfs", "udf": "UDF",
    "squashfs": "SquashFS", "apfs": "APFS",
}  # fmt: skip


def vstype_hint(vstype: str | None) -> str | None:
    """A volume system's type as ``detect`` takes it; None: whatever there is."""
    return None if vstype in (None, "", "detect", "lvm", "vss", "volumesystem") else vstype


def disk_type(disk: DiskLayer) -> str:
    """What kind of image it is."""
    kind = str(disk.container.get("type"))
    return _DISK_TYPES.get(kind, kind)


def fstype_of(volume: VolumeLayer) -> str | None:
    """What a volume is; None where that is not known."""
    if volume.fstype is not None or volume.type is not None:
        return volume.fstype or volume.type
    return "volumesystem" if volume.pttype is not None else None


def description_of(volume: VolumeLayer) -> str | None:
    """A few words on what a volume is, by where it lies rather than by what is in it."""
    kind = volume.recipe.kind
    if kind not in ("slice", "none"):
        return _MADE.get(kind, "RAID Volume" if volume.mapping else kind)
    if volume.part_type_name or volume.part_type:
        return volume.part_type_name or volume.part_type
    if volume.flag != "alloc":
        return "Unallocated" if volume.flag == "unalloc" else volume.part_name or "Meta"
    declared = format_of(volume.type)
    return volume.type if declared is None else declared.title


def stat_type_of(volume: VolumeLayer) -> str | None:
    """A file system's type in the words of The Sleuth Kit's fsstat."""
    if volume.usage not in ("filesystem", "other") or volume.type is None:
        return None
    if volume.type == "vfat":
        return volume.version or "FAT"
    if volume.type == "ufs":
        return f"UFS {volume.version}" if volume.version else "UFS"
    return _STAT_TYPES.get(volume.type, volume.type)


def slot_of(volume: VolumeLayer) -> int:
    """A partition's number in its table; 0 for what has none there."""
    return 0 if volume.slot is None else int(volume.index.rpartition(".")[2])


def info_of(volume: VolumeLayer) -> dict[str, Any]:
    """What ``Volume.info`` holds: only what is known."""
    found: dict[str, Any] = {
        "fsdescription": description_of(volume),
        "statfstype": stat_type_of(volume),
        "label": volume.label or volume.name or (volume.part_name if volume.flag == "alloc" else None),
        "version": volume.version,
        "lastmountpoint": (volume.last_mountpoint or "").replace("//", "/"),
        "guid": (volume.part_type or "").upper() if "-" in (volume.part_type or "") else None,
        "uuid": volume.uuid,
        "part_uuid": volume.part_uuid,
        "problems": [problem.message for problem in volume.problems],
    }
    group = volume.group
    if group is not None:
        if group.type == "lvm2":
            found["volume_group"] = group.name
        else:
            found["raid_status"] = "waiting" if group.volume is None else "active"
    elif volume.mapping.get("type") == "lvm2":
        found["volume_group"] = volume.mapping.get("vg")
    if volume.recipe.kind == "vss":
        found["creation_time"] = volume.mapping.get("created")
    return {name: value for name, value in found.items() if value}
