"""Two formats in one image, as when a disk was formatted anew over another: libblkid's word, and ours.

Where libblkid calls it ambivalent and names none, both are reported and it is said; where it names one, that
one is among ours.
"""

from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import fixtures
from pyimount.problems import Code
from tests.benchmarks.libblkid import Libblkid
from tests.kept import kept
from tests.needing import needs

HEAD = 1 << 20
SECTOR = 512
NAMES = (
    "bcache-backing", "btrfs", "cramfs", "ext4", "f2fs", "hfsplus", "iso9660", "jfs", "luks1", "lvm2",
    "md-1.2", "minix-1", "nilfs2", "ntfs", "romfs", "squashfs", "swap", "udf", "ufs2-le", "xfs", "zfs",
)  # fmt: skip

OVERWRITTEN = {
    ("ext4", "zfs"), ("xfs", "zfs"), ("ntfs", "zfs"), ("ufs2-le", "zfs"), ("xfs", "ufs2-le"),
    ("ntfs", "ufs2-le"), ("squashfs", "xfs"), ("cramfs", "xfs"), ("romfs", "xfs"), ("hfsplus", "xfs"),
    ("nilfs2", "xfs"),
}  # fmt: skip
"""What is left of the second is a magic and no whole superblock: libblkid goes by the magic."""

HYBRIDS = {("hfsplus", "udf"), ("udf", "hfsplus")}
"""Discs that are meant to be read as both: libblkid knows of those with ISO 9660 only."""

HELD = {"linux_raid_member", "LVM2_member", "crypto_LUKS"}
"""What holds other formats, which may show through: no ambiguity for us."""


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, int]]:
    """The first MiB of each image, and its size."""
    needs("blkid")
    found = {}
    for fixture in fixtures():
        if fixture.name in NAMES:
            image = fixture.unpack(tmp_path_factory.mktemp(fixture.name))
            with image.open("rb") as file:
                found[fixture.name] = file.read(HEAD).ljust(HEAD, b"\0"), image.stat().st_size
    assert set(found) == set(NAMES)
    return found


def formatted_over(old: bytes, new: bytes) -> bytes:
    """``new`` where it has something, else what was there before."""
    made = bytearray(new)
    for at in range(0, HEAD, SECTOR):
        if not any(made[at : at + SECTOR]):
            made[at : at + SECTOR] = old[at : at + SECTOR]
    return bytes(made)


@pytest.mark.parametrize("new", NAMES)
def test_what_was_there_before_is_reported_too(
    new: str, heads: dict[str, tuple[bytes, int]], tmp_path: Path
) -> None:
    library = Libblkid()
    image = tmp_path / "disk.img"
    wrong = []
    for old in NAMES:
        if old == new:
            continue
        with image.open("wb") as file:
            file.write(formatted_over(heads[old][0], heads[new][0]))
            file.truncate(max(HEAD, heads[old][1], heads[new][1]))
        theirs = library.values(image, ("TYPE",)).get("TYPE")
        ambivalent = library.is_ambivalent(image)
        scan = pyimount.detect(image)
        volume = next(each for each in scan.volumes if each.index == "0")
        names = {volume.type, *(each.type for each in volume.candidates)}
        said = any(problem.code is Code.AMBIGUOUS for problem in volume.problems)
        if (
            ambivalent
            and (new, old) not in OVERWRITTEN | HYBRIDS
            and not (len(names) > 1 and (said or names & HELD))
        ):
            wrong.append(f"{new} over {old}: ambivalent for libblkid; ours {names}, said {said}")
        if not ambivalent and theirs not in names:
            wrong.append(f"{new} over {old}: libblkid's {theirs}; ours {names}")
    assert wrong == []


def test_one_file_system_read_from_two_of_its_copies_is_one(tmp_path: Path) -> None:
    """FAT32 without its name and its signature in the first sector, and with both in the copy."""
    image = kept("fat32")
    image[82:90], image[510:512] = bytes(8), bytes(2)
    path = tmp_path / "disk.img"
    path.write_bytes(image)
    (found,) = pyimount.detect(path).volumes
    assert found.type == "vfat"
    assert Code.AMBIGUOUS not in [problem.code for problem in found.problems]
    # Another's copy is another file system.
    at = image.index(b"FAT32   ") - 82
    image[at + 67] ^= 0xFF
    path.write_bytes(image)
    (found,) = pyimount.detect(path).volumes
    assert Code.AMBIGUOUS in [problem.code for problem in found.problems]
