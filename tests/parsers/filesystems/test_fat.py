"""FAT: labels, state and sizes, from which copy, and which boot sectors are no FAT's."""

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings

import pyimount
from pyimount.parsers.filesystems.fat import BPB, EXTENDED, FORMAT, FSINFO
from tests.kept import ask, codes, counted, kept, put, recognise
from tests.strategies import edited, edits

SECTOR = 512
NEAR = 2 << 20
"""As much of an image as these tests touch."""
# Of the image "fat32": 32 reserved sectors, two FATs of 630, clusters of one sector, the root in cluster 2.
FAT_AT = 32 * SECTOR
FAT32_ROOT = (32 + 2 * 630) * SECTOR
# Of the image "fat16": 4 reserved sectors, two FATs of 32.
FAT16_AT, FAT16_ROOT = 4 * SECTOR, (4 + 2 * 32) * SECTOR
END = b"\xff\xff\xff\x0f"


def entry(name: bytes, attributes: int, cluster: int = 0) -> bytes:
    """A directory entry."""
    return struct.pack("<11sB8xH4xHI", name, attributes, cluster >> 16, cluster & 0xFFFF, 0)


def boot_sector(
    sectors: int, fat_sectors: int, *, kind: bytes = b"FAT     ", signed: int = 0x29
) -> bytearray:
    """A boot sector with one reserved sector, one FAT, 16 root entries and clusters of one sector."""
    bpb = {
        "BS_jmpBoot": b"\xeb\x3c\x90",
        "BS_OEMName": b"MSDOS5.0",
        "BPB_BytsPerSec": SECTOR,
        "BPB_SecPerClus": 1,
        "BPB_RsvdSecCnt": 1,
        "BPB_NumFATs": 1,
        "BPB_RootEntCnt": 16,
        "BPB_TotSec16": sectors,
        "BPB_Media": 0xF8,
        "BPB_FATSz16": fat_sectors,
        "BPB_SecPerTrk": 63,
        "BPB_NumHeads": 16,
        "BPB_HiddSec": 0,
        "BPB_TotSec32": 0,
    }
    extended = {
        "BS_DrvNum": 0x80,
        "BS_Reserved1": 0,
        "BS_BootSig": signed,
        "BS_VolID": 0xDEADBEEF,
        "BS_VolLab": b"NO NAME    ",
        "BS_FilSysType": kind,
    }
    image = bytearray(sectors * SECTOR)
    put(image, 0, BPB.construct.build(bpb) + EXTENDED.construct.build(extended))
    put(image, 510, b"\x55\xaa")
    put(image, SECTOR, b"\xf8\xff\xff\xff")
    return image


@pytest.mark.parametrize("name", ["fat12", "fat16", "fat32", "fat32-mbr"])
def test_dissect_reads_the_same(name: str) -> None:
    # Not fat32-4k: dissect.fat goes by the number of clusters alone, and takes it for a FAT16.
    from dissect.fat.fat import FATFS

    image = kept(name)
    found, second = recognise(FORMAT, image), FATFS(io.BytesIO(image))
    # Without an entry in the root directory, dissect gives the label of the boot sector.
    assert found.label == (None if second.volume_label == "NO NAME" else second.volume_label)
    assert found.uuid == f"{second.volume_id[:4]}-{second.volume_id[4:]}".upper()
    assert found.details["cluster_size"] == second.cluster_size


@pytest.mark.parametrize(
    ("entries", "label"),
    [
        ([entry(b"LABEL      ", 0x08)], "LABEL"),
        ([entry(b"LABEL      ", 0x28)], "LABEL"),  # the archive bit too
        ([entry(b"FILE    TXT", 0x20, 5), entry(b"LABEL      ", 0x08)], "LABEL"),
        ([entry(b"\xe5ABEL      ", 0x08)], None),
        ([entry(b"\x05ABEL      ", 0x08)], "\\xe5ABEL"),  # 0x05 stands for 0xE5, which marks deleted entries
        ([entry(b"LABEL      ", 0x0F)], None),  # part of a long name
        ([entry(b"LABEL      ", 0x18)], None),  # a directory
        ([entry(b"LABEL      ", 0x08, 7)], None),  # has contents
        ([entry(b"LABEL      ", 0x08, 7 << 16)], None),
        ([bytes(32), entry(b"LABEL      ", 0x08)], None),  # the directory ends before it
        ([entry("ÄÖÜ".encode().ljust(11), 0x08)], "ÄÖÜ"),
        ([entry(b"\x8e\x99\x9a        ", 0x08)], "\\x8e\\x99\\x9a"),  # code page 850: not known to be that
        ([entry(b"FIRST      ", 0x08), entry(b"SECOND     ", 0x08)], "FIRST"),
        ([entry(b"           ", 0x08)], None),
        (
            [entry(b"NO NAME    ", 0x08)],
            "NO NAME",
        ),  # as libblkid since 2.33: only in the boot sector is it no label
    ],
)
def test_labels(entries: list[bytes], label: str | None) -> None:
    for name, root in (("fat16", FAT16_ROOT), ("fat32", FAT32_ROOT)):
        image = kept(name, NEAR)
        put(image, root, b"".join(entries).ljust(SECTOR, b"\0"))
        found = recognise(FORMAT, image)
        assert (found.label, codes(found)) == (label, [])


def test_a_label_in_the_second_cluster_of_the_root() -> None:
    image = kept("fat32", NEAR)
    put(image, FAT_AT + 2 * 4, (1000).to_bytes(4, "little"))
    put(image, FAT_AT + 1000 * 4, END)
    put(image, FAT32_ROOT, entry(b"FILE    TXT", 0x20, 5) * 16)
    put(image, FAT32_ROOT + 998 * SECTOR, entry(b"FAR AWAY   ", 0x08))
    assert recognise(FORMAT, image).label == "FAR AWAY"


def test_a_root_directory_that_bites_its_tail() -> None:
    image = kept("fat32", NEAR)
    put(image, FAT_AT + 2 * 4, (3).to_bytes(4, "little") + (2).to_bytes(4, "little"))
    put(image, FAT32_ROOT, entry(b"FILE    TXT", 0x20, 5) * 32)
    found = recognise(FORMAT, image)
    assert (found.label, codes(found)) == (None, ["loop"])


@pytest.mark.parametrize("next_cluster", [0, 1, 0x0FFFFFF7, 0x0FFFFFFF, 81000])
def test_a_chain_that_leads_out_of_the_data(next_cluster: int) -> None:
    image = kept("fat32", NEAR)
    put(image, FAT_AT + 2 * 4, next_cluster.to_bytes(4, "little"))
    put(image, FAT32_ROOT, entry(b"FILE    TXT", 0x20, 5) * 16)
    found = recognise(FORMAT, image)
    assert (found.label, codes(found)) == (None, [])


def test_the_label_in_the_boot_sector_is_another() -> None:
    image = kept("fat16")
    put(image, 43, b"OLD NAME   ")
    found = recognise(FORMAT, image)
    assert (found.label, found.details["label_fatboot"]) == ("LATE LABEL", "OLD NAME")


@pytest.mark.parametrize(("signed", "uuid"), [(0x29, "DEAD-BEEF"), (0x28, "DEAD-BEEF"), (0x00, None)])
def test_without_its_mark_there_is_no_serial_number(signed: int, uuid: str | None) -> None:
    assert recognise(FORMAT, boot_sector(4000, 12, signed=signed)).uuid == uuid


@pytest.mark.parametrize(
    ("name", "reserved1", "second", "state"),
    [
        ("fat16", 0, 0xFFFF, "clean"),
        ("fat16", 1, 0xFFFF, "dirty"),
        ("fat16", 2, 0xFFFF, "error"),
        ("fat16", 0, 0x7FFF, "dirty"),
        ("fat16", 0, 0xBFFF, "error"),
        ("fat16", 0, 0x3FFF, "error"),
        ("fat32", 0, 0x0FFFFFFF, "clean"),
        ("fat32", 1, 0x0FFFFFFF, "dirty"),
        ("fat32", 0, 0x07FFFFFF, "dirty"),
        ("fat32", 0, 0x0BFFFFFF, "error"),
    ],
)
def test_state(name: str, reserved1: int, second: int, state: str) -> None:
    image = kept(name, NEAR)
    wide = name == "fat32"
    put(image, 65 if wide else 37, bytes((reserved1,)))
    put(
        image,
        FAT_AT + 4 if wide else FAT16_AT + 2,
        second.to_bytes(4, "little") if wide else second.to_bytes(2, "little"),
    )
    assert recognise(FORMAT, image).state == state


@pytest.mark.parametrize(
    ("sectors", "fat_sectors", "version"),
    [
        (1 + 12 + 1 + 4083, 12, "FAT12"),
        (1 + 12 + 1 + 4084, 12, "FAT12"),
        (1 + 16 + 1 + 4085, 16, "FAT16"),
    ],
)
def test_the_number_of_clusters_decides(sectors: int, fat_sectors: int, version: str) -> None:
    # libblkid says FAT16 of 4084 clusters; Microsoft (page 14), Linux and mkfs.fat say FAT12 below 4085.
    assert recognise(FORMAT, boot_sector(sectors, fat_sectors)).version == version


@pytest.mark.parametrize(
    ("offset", "data", "hint", "problems"),
    [
        (SECTOR, b"none", None, ["damaged"]),
        (SECTOR + 484, b"none", None, ["damaged"]),
        (SECTOR + 488, b"\xff\xff\xff\xff", None, []),  # not known
        (SECTOR + 488, (80629).to_bytes(4, "little"), None, []),  # one more than there are
        (SECTOR + 488, (80628).to_bytes(4, "little"), 80628, []),
        (SECTOR, bytes(SECTOR), None, []),  # never written
        (48, b"\0\0", None, []),  # no FSInfo sector
        (48, b"\xff\xff", None, []),
    ],
)
def test_free_space_is_the_fats_whatever_fsinfo_says(
    offset: int, data: bytes, hint: int | None, problems: list[str]
) -> None:
    # libblkid drops a FAT32 whose FSInfo sector is damaged; here the boot sector's words are enough.
    image = kept("fat32", NEAR)
    put(image, offset, data)
    found = counted(FORMAT, image)
    assert (found.details.get("fsinfo_free_clusters"), codes(found)) == (hint, problems)
    assert (found.free, found.details["free_from"]) == (80617 * SECTOR, "FAT")


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (11, b"\0\0"),  # BPB_BytsPerSec
        (11, b"\0\x03"),
        (11, b"\0\x20"),
        (13, b"\0"),  # BPB_SecPerClus
        (13, b"\x03"),
        (14, b"\0\0"),  # BPB_RsvdSecCnt
        (16, b"\0"),  # BPB_NumFATs
        (16, b"\xff"),
        (21, b"\x12"),  # BPB_Media
        (32, bytes(4)),  # BPB_TotSec32
        (36, bytes(4)),  # BPB_FATSz32
        (36, b"\xff\xff\xff\xff"),
    ],
)
def test_figures_that_cannot_be_true(offset: int, data: bytes) -> None:
    image = kept("fat32", NEAR)
    put(image, offset, data)
    assert ask(FORMAT, image) is None


def test_a_fat_that_does_not_say_so() -> None:
    image = boot_sector(4000, 12, kind=bytes(8))
    assert recognise(FORMAT, image).version == "FAT12"


def test_a_fat32_that_does_not_say_so() -> None:
    image = kept("fat32", NEAR)
    put(image, 82, bytes(8))
    assert recognise(FORMAT, image).version == "FAT32"
    put(image, SECTOR, b"none")
    assert ask(FORMAT, image) is None


@pytest.mark.parametrize("kind", [b"HPFS    ", b"JFS     "])
def test_another_file_system_behind_the_figures_of_a_fat(kind: bytes) -> None:
    assert ask(FORMAT, boot_sector(4000, 12, kind=kind)) is None


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (510, b"\0\0"),
        (SECTOR, b"\xf0"),  # the FAT has another media
        (SECTOR + 1, b"\0\0"),
        (17, b"\0\0"),  # no root directory
        (22, b"\x01\0"),  # the FAT is too small
    ],
)
def test_one_that_does_not_say_so_must_be_whole(offset: int, data: bytes) -> None:
    image = boot_sector(4000, 12, kind=bytes(8))
    put(image, offset, data)
    assert ask(FORMAT, image) is None
    put(image, 54, b"FAT12   ")
    assert ask(FORMAT, image) is not None


def test_a_boot_record_in_front_of_an_old_fat(tmp_path: Path) -> None:
    # The copy in sector 6 is of what was there before the disk was partitioned.
    image = kept("fat32", NEAR)
    put(image, 0, bytes(SECTOR))
    put(image, 446, bytes.fromhex("00010100 0cfeffff 00080000 00100000"))
    put(image, 510, b"\x55\xaa")
    assert ask(FORMAT, image) is None
    path = tmp_path / "disk.img"
    path.write_bytes(image)
    assert pyimount.detect(path).disks[0].pttype == "dos"


def test_the_table_of_a_boot_sector_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(kept("fat32-mbr"))
    scan = pyimount.detect(path)
    assert (scan.disks[0].pttype, [volume.type for volume in scan.volumes]) == (None, ["vfat"])


def test_a_copy_must_be_where_it_says() -> None:
    image = kept("fat32-backup", NEAR)
    put(image, 6 * SECTOR + 50, b"\x07\0")
    assert ask(FORMAT, image) is None


def test_the_largest_root_directory() -> None:
    small, large = boot_sector(4000, 12), boot_sector(8000, 12)
    for image in (small, large):
        put(image, 17, b"\xff\xff")  # BPB_RootEntCnt: 4096 sectors
    assert ask(FORMAT, small) is None
    put(large, 13 * SECTOR, entry(b"FILE    TXT", 0x20, 5) * 65534 + entry(b"LAST       ", 0x08))
    assert recognise(FORMAT, large).label == "LAST"


@pytest.mark.parametrize("end", [0, 11, 12, 35, 61, 511, 512, 1023, 1024, FAT_AT, FAT_AT + 7, FAT32_ROOT])
def test_cut_off_anywhere(end: int) -> None:
    found = ask(FORMAT, kept("fat32", end))
    assert (found is None) == (end < 512)
    if found:
        assert (found.uuid, found.label) == ("CAFE-0032", None)
        assert codes(found) == (["damaged"] if end < 512 + FSINFO.size else [])


@given(edits(SECTOR), edits(SECTOR))
@settings(max_examples=60, deadline=None)
def test_any_edit_gives_an_answer(boot: list[tuple[int, bytes]], root: list[tuple[int, bytes]]) -> None:
    image = kept("fat32", 1 << 20)
    put(image, 0, edited(bytes(image[:SECTOR]), boot))
    put(image, FAT32_ROOT, edited(bytes(image[FAT32_ROOT : FAT32_ROOT + SECTOR]), root))
    found = ask(FORMAT, image)
    assert found is None or found.type == "vfat"
