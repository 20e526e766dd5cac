"""Volumes whose first superblock, boot sector or header is gone: the files are read by a copy of it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import fixtures
from pyimount.files.copies import Patched, Piece
from pyimount.files.system import CannotRead
from pyimount.problems import Code
from pyimount.sources.source import BytesSource
from tests.files.test_others import blank, make_btrfs, make_ufs, prototype_lines, run
from tests.files.trees import make_tree, of_image, opened
from tests.needing import needs


def test_pieces_are_read_elsewhere() -> None:
    data = bytes(range(100))
    source = Patched(BytesSource(data), [Piece(50, 10, 0), Piece(0, 5, 90)])
    wanted = data[90:95] + data[5:50] + data[:10] + data[60:]
    assert source.read_at(0, 100) == wanted
    for start in range(0, 100, 7):
        for end in range(start, 100, 9):
            assert source.read_at(start, end - start) == wanted[start:end]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("exfat-backup", set()),
        ("fat32-backup", set()),
        ("ext2-backup-1k", {"lost+found"}),
        ("hfsplus-backup", None),
        ("ntfs-backup", None),
        ("ntfs-mirror", None),
        ("xfs-copy", set()),
    ],
)
def test_fixtures_are_read(tmp_path: Path, name: str, names: set[str] | None) -> None:
    image = next(each for each in fixtures() if each.name == name).unpack(tmp_path)
    scan = pyimount.detect(image)
    assert any(problem.code is Code.BACKUP_USED for problem in scan["0"].problems)
    with pyimount.open_filesystem(scan, "0", in_process=True) as files:
        found = {entry.name for entry in files.root.entries()}
        assert found == names if names is not None else found


def make_ext(*options: str) -> Callable[[Path, Path], None]:
    return lambda tree, image: run("mke2fs", "-q", "-F", *options, "-d", tree, image, "300M")


def make_fat(tree: Path, image: Path) -> None:
    run("mkfs.fat", "-F", 32, blank(image, 40 << 20))
    run("mcopy", "-s", "-i", image, *sorted(tree.iterdir()), "::")


def make_xfs(tree: Path, image: Path) -> None:
    prototype = image.with_suffix(".prototype")
    prototype.write_text("/\n0 0\n" + "\n".join(prototype_lines(tree)) + "\n")
    run("mkfs.xfs", "-q", "-p", prototype, "-d", f"name={image},size=300m,file")


MIB = 1 << 20
KINDS: dict[str, tuple[tuple[str, ...], Callable[[Path, Path], None], int, int]] = {
    # name: the tools, how it is made, where what is destroyed lies, and how long it is
    "ext2 of 1 KiB": (("mke2fs",), make_ext("-t", "ext2", "-b", "1024"), 1024, 4096),
    "ext4 of 1 KiB": (("mke2fs",), make_ext("-t", "ext4", "-b", "1024"), 1024, 4096),
    "ext4": (("mke2fs",), make_ext("-t", "ext4"), 0, 8192),
    "ext4 of 32 bits": (("mke2fs",), make_ext("-t", "ext4", "-O", "^64bit"), 0, 8192),
    "fat32": (("mkfs.fat", "mcopy"), make_fat, 0, 512),
    "xfs": (("mkfs.xfs",), make_xfs, 0, 512),
    "btrfs": (("mkfs.btrfs",), make_btrfs, 65_536, 4096),
    "UFS1": (("makefs",), make_ufs(1), 8192, 8192),
    "UFS2": (("makefs",), make_ufs(2), 8192, 8192),
}


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_first_the_same_files_are_read(tmp_path: Path, kind: str) -> None:
    tools, make, at, length = KINDS[kind]
    needs(*tools)
    tree, image = tmp_path / "tree", tmp_path / "image"
    make_tree(tree, links=kind != "fat32", names=kind != "xfs")
    make(tree, image)
    with opened(image) as files:
        whole = of_image(files)
    assert len(whole) > 10
    with image.open("r+b") as file:
        file.seek(at)
        file.write(bytes(length))
    scan = pyimount.detect(image)
    assert [problem.code for problem in scan["0"].problems] == [Code.BACKUP_USED]
    for library in pyimount.open_filesystem(scan, "0", in_process=True).libraries:
        with pyimount.open_filesystem(scan, "0", library=library, in_process=True) as files:
            assert of_image(files) == whole


@pytest.mark.needs("mkfs.ntfs", "ntfscp")
@pytest.mark.parametrize("gone", [0, 16_384])
def test_ntfs_without_its_boot_sector_or_the_start_of_its_mft(tmp_path: Path, gone: int) -> None:
    image = blank(tmp_path / "ntfs.img", 20 * MIB)
    run("mkfs.ntfs", "-q", "-F", image)
    (tmp_path / "a").write_bytes(b"data " * 9999)
    subprocess.run(["ntfscp", image, tmp_path / "a", "/a"], check=True, capture_output=True)
    with image.open("r+b") as file:
        file.seek(gone)
        file.write(bytes(512))
    scan = pyimount.detect(image)
    for library in ("pyfsntfs", "dissect.ntfs"):
        with pyimount.open_filesystem(scan, "0", library=library, in_process=True) as files:
            assert files.get("/a").read() == b"data " * 9999


@pytest.mark.needs("mkfs.exfat")
def test_exfat_without_its_boot_region(tmp_path: Path) -> None:
    image = blank(tmp_path / "exfat.img", 20 * MIB)
    run("mkfs.exfat", image)
    with image.open("r+b") as file:
        file.write(bytes(12 * 512))
    with opened(image) as files:
        assert list(files.root.entries()) == []


@pytest.mark.needs("mkfs.exfat")
def test_exfat_with_a_label_of_fifteen_characters(tmp_path: Path) -> None:
    """As other systems write; libfsfat 20260826 takes such a volume for none."""
    image = blank(tmp_path / "exfat.img", 20 * MIB)
    run("mkfs.exfat", "-L", "1234567890a", image)
    data = bytearray(image.read_bytes())
    at = data.index(bytes([0x83, 11, *b"1\0002\0"]))
    data[at + 1 : at + 32] = bytes([15]) + "1234567890abcde".encode("utf-16-le")
    image.write_bytes(data)
    with opened(image) as files:
        assert list(files.root.entries()) == []


def test_cramfs_behind_a_boot_sector_is_read_and_the_other_byte_order_said(tmp_path: Path) -> None:
    by_name = {each.name: each for each in fixtures()}
    with opened(by_name["cramfs"].unpack(tmp_path)) as files:
        plain = of_image(files)
    with opened(by_name["cramfs-boot-sector"].unpack(tmp_path)) as files:
        assert of_image(files) == plain
    for name in ("cramfs-big-endian", "jffs2-big-endian", "ufs1-be", "ufs2-be"):
        folder = tmp_path / name
        folder.mkdir()
        with pytest.raises(CannotRead, match="big-endian, of which the library reads"):
            opened(by_name[name].unpack(folder))
