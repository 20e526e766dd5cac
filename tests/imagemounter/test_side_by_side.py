"""imagemounter 3.1.0 and pyimount, asked the same of the same images by the same program.

Every volume that either of them sees stands at the same offset in the other, with the same size, number and
file system, or ``DIFFERENT`` has the reason. A reason that is no longer needed fails as well.
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fixtures.workshop import Workshop
from tests.imagemounter.original import ask, install
from tests.kept import kept
from tests.needing import needs

MIB = 1 << 20

BY_TYPE = "imagemounter takes the type in the table for what the partition holds; these are empty"
FILE_SIZE = (
    "imagemounter takes for the size the first one that file(1) prints, here that of a block or header"
)
NUMBER = "imagemounter counts four for each extended table; the kernel, parted and pyimount number in a row"
NO_WORD = "imagemounter has no word for it"
UNUSED = "an entry that is of no use: of type 0, or the whole disk's"

# (image, offset): (why, theirs, ours), each as [number, size, file system]; None: does not see it.
DIFFERENT: Mapping[tuple[str, int], tuple[str, Any, Any]] = {
    ("mbr", 5242880): (BY_TYPE, [2, 4194304, "ntfs"], [2, 4194304, "unknown"]),
    ("mbr", 13631488): (BY_TYPE + "; " + NUMBER, [9, 2097152, "lvm"], [6, 2097152, "unknown"]),
    ("mbr", 16777216): (BY_TYPE + "; " + NUMBER, [13, 2097152, "fat"], [7, 2097152, "unknown"]),
    ("mbr", 26214400): (BY_TYPE, [4, 2097152, "swap"], [4, 2097152, "unknown"]),
    ("filled-mbr", 13631488): (NUMBER, [9, 8388608, "lvm"], [6, 8388608, "lvm"]),
    ("filled-mbr", 25165824): (NUMBER, [13, 4194304, "swap"], [7, 4194304, "swap"]),
    ("demo", 51380224): (
        "blkid says 'swap', which imagemounter does not take for a word of its own",
        [4, 8388608, "unknown"],
        [4, 8388608, "swap"],
    ),
    ("bsd-slice", 0): (UNUSED, [4, 24675840, "unknown"], None),
    ("bsd-slice", 4194304): (UNUSED, [3, 16777216, "unknown"], None),
    ("bsd-slice", 524288): (
        "a slice without its disk: its label counts from the start of that, as pyimount sees",
        None,
        [1, 4194304, "unknown"],
    ),
    ("bsd-slice", 4718592): (
        "as before: the first of one and the second of the other, by its type",
        [1, 4194304, "ufs"],
        [2, 4194304, "unknown"],
    ),
    ("bsd-slice", 8912896): ("as before", [2, 4194304, "swap"], None),
    ("sun", 0): (
        "it begins where the disk does: imagemounter takes the disk's table for its content",
        [1, 8225280, "volumesystem"],
        [1, 8225280, "unknown"],
    ),
    ("apm", 512): ("the table itself, which pyimount calls meta", [1, 32256, "unknown"], None),
    ("apm", 32768): ("free space, which pyimount calls unalloc", [4, 1015808, "unknown"], None),
    ("apm", 12582912): ("free space, which pyimount calls unalloc", [5, 4194304, "unknown"], None),
    ("apm", 1048576): (BY_TYPE, [2, 7340032, "hfs"], [2, 7340032, "unknown"]),
    ("gpt-4096", 131072): ("imagemounter takes every sector for 512 bytes", [1, 131072, "unknown"], None),
    ("gpt-4096", 262144): ("imagemounter takes every sector for 512 bytes", [2, 262144, "unknown"], None),
    ("gpt-4096", 1048576): ("a sector has 4096 bytes", None, [1, 1048576, "unknown"]),
    ("gpt-4096", 2097152): ("a sector has 4096 bytes", None, [2, 2097152, "unknown"]),
    ("iso-hybrid", 0): (
        "imagemounter looks at the table alone; the disk as a whole is an ISO 9660 too",
        None,
        [0, 481280, "iso"],
    ),
    ("iso-hybrid", 65536): (
        "imagemounter goes by the partition's name 'HFSPLUS', where it reads no plus",
        [2, 20480, "hfs"],
        [2, 20480, "hfs+"],
    ),
    ("mbr-empty", 0): (
        "an empty table: imagemounter calls the disk a volume that holds a table",
        [0, 2097152, "volumesystem"],
        None,
    ),
    ("swap", 0): (FILE_SIZE, [0, 255, "swap"], [0, 1048576, "swap"]),
    ("btrfs", 0): (FILE_SIZE + "; " + NO_WORD, [0, 4096, "unknown"], [0, 16777216, "btrfs"]),
    ("luks2", 0): (FILE_SIZE, [0, 16384, "luks"], [0, 17825792, "luks"]),
    ("bitlocker", 0): (
        "imagemounter must be told that a volume is BitLocker's",
        [0, 1048576, "unknown"],
        [0, 1048576, "bde"],
    ),
    ("f2fs", 0): (NO_WORD, [0, 67108864, "unknown"], [0, 67108864, "f2fs"]),
    ("hfs", 0): (FILE_SIZE, [0, 512, "hfs"], [0, 1638400, "hfs"]),
    ("hfsplus", 0): (
        FILE_SIZE + "; it looks for 'hfs+', and file(1) says 'HFS Plus'",
        [0, 2048, "hfs"],
        [0, 26624, "hfs+"],
    ),
    ("squashfs", 0): (FILE_SIZE, [0, 131072, "squashfs"], [0, 4096, "squashfs"]),
    ("ufs1-le", 0): (FILE_SIZE, [0, 8192, "ufs"], [0, 2097152, "ufs"]),
}  # fmt: skip

KEPT = (
    "mbr", "gpt", "gpt-hybrid", "gpt-4096", "bsd-slice", "bsd-nested", "sun", "apm", "demo", "iso-hybrid",
    "mbr-empty", "ext2", "ext4", "ntfs", "exfat", "fat12", "fat16", "fat32", "swap", "lvm2", "btrfs", "luks1",
    "luks2", "bitlocker", "f2fs", "hfs", "hfsplus", "iso9660", "udf", "squashfs", "vmfs", "jffs2", "xfs",
    "md-1.2", "cramfs", "minix-1", "ufs1-le", "ufs2-le",
)  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter that has imagemounter 3.1.0."""
    needs("mmls", "fsstat", "blkid", "file", "disktype")
    return install(tmp_path_factory.mktemp("imagemounter") / "venv")


def compare(original: Path, name: str, image: Path) -> None:
    before = image.read_bytes()
    told = ask(original, "imagemounter", image), ask(sys.executable, "pyimount", image)
    theirs, ours = ({each[3]: each[2:3] + each[4:] for each in one if each[1] == "alloc"} for one in told)
    assert theirs or ours
    found = {
        (name, offset): (theirs.get(offset), ours.get(offset))
        for offset in {*theirs, *ours}
        if theirs.get(offset) != ours.get(offset)
    }
    known = {place: (each[1], each[2]) for place, each in DIFFERENT.items() if place[0] == name}
    assert found == known
    # Where they agree on what there is, they agree on what there is not: one counts the tables in, one out.
    if not any(None in pair for pair in found.values()):
        outside = [(each[3], each[3] + each[4]) for each in told[0] if each[1] != "alloc"]
        for _, flag, _, offset, size, _ in told[1]:
            if flag == "unalloc":
                assert any(start <= offset and offset + size <= end for start, end in outside), (offset, size)
    assert image.read_bytes() == before


@pytest.mark.parametrize("name", KEPT)
def test_on_images_of_one_format(name: str, original: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.dd"
    image.write_bytes(kept(name))
    compare(original, name, image)


def _filled(folder: Path) -> dict[str, bytes]:
    """File systems as their tools make them."""
    needs("mkfs.ext4", "mkntfs", "mkfs.vfat", "mkswap", "lvm", "mkfs.xfs", "mkfs.exfat")
    shop = Workshop(folder)
    made = {}
    for name, size, *command in (
        ("ext4", 8 * MIB, "mkfs.ext4", "-q", "-L", "root"),
        ("ntfs", 8 * MIB, "mkntfs", "-q", "-F", "-L", "data"),
        ("vfat", 4 * MIB, "mkfs.vfat", "-n", "BOOT"),
        ("swap", 4 * MIB, "mkswap", "-q"),
        ("exfat", 8 * MIB, "mkfs.exfat"),
    ):
        image = folder / name
        with image.open("wb") as file:
            file.truncate(int(size))
        shop.run(str(command[0]), *map(str, command[1:]), image)
        made[name] = image.read_bytes()
    made["lvm"] = bytes(kept("lvm2")).ljust(8 * MIB, b"\0")
    return made


def _put(image: Path, parts: Mapping[int, bytes]) -> None:
    with image.open("r+b") as file:
        for offset, data in parts.items():
            file.seek(offset)
            file.write(data)


def test_on_an_mbr_with_file_systems(original: Path, tmp_path: Path) -> None:
    needs("sfdisk")
    parts = _filled(tmp_path)
    image = tmp_path / "disk.dd"
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    table = (
        "label: dos\nstart=1MiB,size=8MiB,type=83,bootable\nstart=10MiB,size=24MiB,type=f\n"
        "start=36MiB,size=8MiB,type=7\nstart=46MiB,size=4MiB,type=c\n"
        "start=11MiB,size=512KiB,type=83\nstart=13MiB,size=8MiB,type=8e\nstart=24MiB,size=4MiB,type=82\n"
    )
    subprocess.run(["sfdisk", "-q", str(image)], input=table, text=True, check=True, capture_output=True)
    _put(
        image,
        {
            1 * MIB: parts["ext4"],
            36 * MIB: parts["ntfs"],
            46 * MIB: parts["vfat"],
            13 * MIB: parts["lvm"],
            24 * MIB: parts["swap"],
        },
    )
    compare(original, "filled-mbr", image)


def test_on_a_gpt_with_file_systems(original: Path, tmp_path: Path) -> None:
    needs("sfdisk")
    parts = _filled(tmp_path)
    image = tmp_path / "disk.dd"
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    table = "label: gpt\n" + "".join(
        f"start={start}MiB,size={len(parts[name]) // MIB}MiB,type={kind}\n"
        for start, name, kind in (
            (1, "vfat", "U"), (6, "ext4", "L"), (16, "exfat", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"),
            (26, "ntfs", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"),
            (36, "lvm", "E6D6D379-F507-44C2-A23C-238F2A3DF928"),
        )
    )  # fmt: skip
    subprocess.run(["sfdisk", "-q", str(image)], input=table, text=True, check=True, capture_output=True)
    places = {1: "vfat", 6: "ext4", 16: "exfat", 26: "ntfs", 36: "lvm"}
    _put(image, {start * MIB: parts[name] for start, name in places.items()})
    compare(original, "filled-gpt", image)


def test_both_take_hints_alike(original: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.dd"
    image.write_bytes(kept("bitlocker"))
    for arguments in ({"fstypes": {"0": "bde"}}, {"fstypes": {"*": "bde"}}, {"fstypes": {"?": "bde"}}):
        theirs = ask(original, "imagemounter", image, **arguments)
        assert [each[5] for each in theirs] == ["bde"]
        assert ask(sys.executable, "pyimount", image, **arguments) == theirs
    image.write_bytes(bytes(MIB))
    for arguments in ({"fstypes": {"?": "ext"}}, {"fstypes": {"?": "none"}}, {}):
        theirs = ask(original, "imagemounter", image, **arguments)
        assert ask(sys.executable, "pyimount", image, **arguments) == theirs
