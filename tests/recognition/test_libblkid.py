"""Every committed image as the installed libblkid reads it: the same values, or a reason why not.

Where libblkid finds nothing at all, ``NOT_FOUND`` says why we do; where it says another thing, ``OTHERWISE``.
"""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import Fixture, fixtures
from pyimount.layers import DiskLayer, VolumeLayer
from tests.benchmarks.libblkid import Libblkid
from tests.needing import needs

NAMES = (
    "TYPE",
    "USAGE",
    "LABEL",
    "UUID",
    "UUID_SUB",
    "VERSION",
    "BLOCK_SIZE",
    "PTTYPE",
    "PTUUID",
    "SEC_TYPE",
    "LABEL_FATBOOT",
)

NEWER = "libblkid came to know it after 2.38"
NEVER = "no libblkid knows it"
COPY = "only a copy is left, and libblkid reads none"

NOT_FOUND = {
    "amiga": NEVER,
    "android_boot": NEVER,
    "android_super": NEVER,
    "android_vendor_boot": NEVER,
    "bcachefs": NEWER,
    "bsd": "libblkid looks for it only inside a DOS partition that it has seen itself",
    "bsd64": NEVER,
    "cpio": NEVER,
    "cs_fvault2": NEWER,
    "dasd": NEWER,
    "jffs2": NEVER,
    "jfs_external_log": NEVER,
    "ldm_data": NEVER,
    "ldm_metadata": NEVER,
    "ldm_member": NEVER,
    "logfs": NEVER,
    "ocfs": "libblkid looks for the volume header at another place than OCFS has it",
    "qnx6": NEVER,
    "scoutfs_data": NEWER,
    "scoutfs_meta": NEWER,
    "tar": NEVER,
    "u-boot": NEVER,
    "u-boot-fit": NEVER,
    "unixware": "libblkid adds two offsets wrongly, and so never finds it",
    "vinum_member": NEVER,
    "wim": NEVER,
    "xenix": "libblkid looks for the magic 8 bytes behind where the kernel has it",
    "yaffs2": NEVER,
}
"""Types and tables of which libblkid says nothing, and why."""

COPIES = (
    "bcachefs-copy", "exfat-backup", "ext2-backup-1k", "f2fs-second-superblock", "fat32-backup", "gpt-backup",
    "hfs-backup", "hfsplus-backup", "jfs-secondary-superblock", "logfs-second-superblock", "ntfs-backup",
    "qnx6-second-superblock", "xfs-copy",
)  # fmt: skip
"""Images of which only a copy of the superblock is left."""

OTHERWISE: dict[tuple[str, str], str] = {
    ("bcache-*", "VERSION BLOCK_SIZE"): "libblkid gives these since 2.39",
    ("bitlocker*", "LABEL UUID"): "libblkid does not read the metadata behind the boot sector",
    ("bitlocker*", "PTTYPE PTUUID"): "what would be partitions is the boot sector's code",
    ("cramfs*", "VERSION"): "libblkid gives it since 2.39",
    ("cramfs-boot-sector", "*"): "libblkid does not look for it at 512, where the kernel does",
    ("drbd-external", "*"): "libblkid looks only for internal meta-data",
    ("exfat*", "PTTYPE"): "what would be partitions is the boot sector's code",
    ("gpt-4096", "PTTYPE PTUUID"): "libblkid takes an image file's sectors for 512 bytes",
    ("gpt-cut", "PTTYPE PTUUID"): "the end is missing, and libblkid asks for it",
    ("iso9660-hfs-hybrid", "PTTYPE"): "libblkid finds an empty table in the boot code",
    ("ldm*", "TYPE LABEL UUID UUID_SUB VERSION USAGE"): NEVER,
    ("minix-3-big-endian", "*"): "libblkid knows version 3 in little-endian only",
    ("minix-subpartitions", "PTTYPE"): "libblkid cannot see the type of the partition that it is in",
    ("ntfs*", "PTTYPE"): "what would be partitions is the boot sector's code",
    ("ntfs-mirror", "TYPE LABEL UUID BLOCK_SIZE USAGE"): "the MFT is damaged; its mirror is read",
    ("qnx4", "TYPE USAGE PTTYPE"): NEVER,
    ("reiserfs-journal-elsewhere", "*"): "libblkid takes a journal at 0 for one that holds the superblock",
    ("reiserfs-without-journal", "*"): "the first version, which libblkid does not know",
    ("solaris", "PTTYPE"): "libblkid takes the disk's first table for this one",
    ("sun", "PTTYPE"): "a partition begins where the disk does, and so with the disk's own table",
    ("ultrix", "PTTYPE"): "a partition begins where the disk does, and so with the disk's own table",
    ("sysv-2-big-endian", "LABEL"): "libblkid reads release 4's fields in release 2's superblock",
    ("zonefs", "UUID"): "libblkid has no UUID for it, the kernel's superblock has",
}  # fmt: skip
"""By an image's name and values: why libblkid says something else."""


def ours(layer: DiskLayer | VolumeLayer) -> dict[str, str]:
    """What we say, under libblkid's names."""
    found = {name: getattr(layer, name.lower(), None) for name in NAMES}
    if isinstance(layer, VolumeLayer):
        found |= {name: layer.details.get(name.lower()) for name in ("SEC_TYPE", "LABEL_FATBOOT")}
    return {name: str(value) for name, value in found.items() if value is not None}


def runs(scan: pyimount.Scan) -> dict[tuple[int, int], dict[str, str]]:
    """What we say of each run of the disk that is not a gap."""
    (disk,) = scan.disks
    found = {(0, disk.size or 0): ours(disk)}
    for volume in scan.volumes:
        if volume.recipe.kind == "slice" and volume.flag == "alloc" and volume.disk_offset is not None:
            found.setdefault((volume.disk_offset, volume.size or 0), {}).update(ours(volume))
    return found


def explained(name: str, key: str, mine: dict[str, str], theirs: dict[str, str]) -> bool:
    if not theirs and (name in COPIES or NOT_FOUND.keys() & {mine.get("TYPE"), mine.get("PTTYPE")}):
        return True
    return any(
        fnmatchcase(name, pattern) and (keys == "*" or key in keys.split()) for pattern, keys in OTHERWISE
    )


@pytest.mark.parametrize("fixture", fixtures(), ids=lambda fixture: fixture.name)
def test_libblkid_says_the_same(fixture: Fixture, tmp_path: Path) -> None:
    needs("blkid")
    image = fixture.unpack(tmp_path)
    if image.is_dir():
        pytest.skip("a folder")
    scan = pyimount.detect(image)
    if len(scan.disks) != 1 or scan.disks[0].container.get("type") != "raw":
        pytest.skip("libblkid reads no containers")
    library = Libblkid()
    wrong = []
    for (offset, size), mine in runs(scan).items():
        theirs = library.values(image, NAMES, offset, size)
        wrong += [
            f"{key} at {offset}: ours {mine.get(key)}, libblkid's {theirs.get(key)}"
            for key in NAMES
            if mine.get(key) != theirs.get(key) and not explained(fixture.name, key, mine, theirs)
        ]
    assert wrong == []
