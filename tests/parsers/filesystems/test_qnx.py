"""QNX 4 and QNX 6: the two superblocks, and headers that lie."""

import zlib
from typing import Any

import pytest

from fixtures.recipes.qnx import qnx4_image, qnx6_superblock
from fixtures.structures import changed
from pyimount.parsers.filesystems import qnx4, qnx6
from tests.kept import ask, codes, counted, kept, put, recognise

SECOND = 0x2000 + 0x1000 + 240 * 1024
NAMES = ["qnx6", "qnx6-big-endian", "qnx6-mmi"]


def test_the_declarations_have_the_length_that_the_formats_say() -> None:
    assert qnx4.INODE_ENTRY.size == 64
    assert {declared.size for declared in qnx6.SUPERBLOCK.values()} == {392}
    assert {declared.size for declared in qnx6.MMI_SUPERBLOCK.values()} == {384}


def test_the_checksum_is_the_one_with_the_highest_bit_first() -> None:
    # CRC-32/MPEG-2 is the same from all ones; its check value is known.
    register = 0xFFFFFFFF
    for byte in b"123456789":
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register >> 31 else 0)) & 0xFFFFFFFF
    assert register == 0x0376E6E7
    # Four ones in front turn a register of zeros into one of ones, bit by bit.
    assert qnx6.checksum(zlib.crc32(b"").to_bytes(4, "big")) == 0
    assert qnx6.checksum(b"\x01") == 0x04C11DB7
    assert qnx6.checksum(b"\x80\x00") != qnx6.checksum(b"\x00\x80")


@pytest.mark.parametrize(
    "fields",
    [
        {"di_fname": b"/x".ljust(16, b"\0")},
        {"di_mode": 0o100644},
        {"di_status": 0x20},
        {"xtnt_blk": 2},
        {"xtnt_size": 0},
        {"di_num_xtnts": 0},
        {"di_num_xtnts": 256},
        {"di_zero": b"\0\0\0\1"},
        {"di_size": 0},
        {"di_size": 513},
        {"di_nlink": 0},
    ],
)
def test_a_qnx4_that_is_none(fields: dict[str, Any]) -> None:
    image = changed(qnx4_image(), qnx4.INODE_ENTRY, qnx4.PLACE, **fields)
    assert ask(qnx4.FORMAT, image) is None


def test_a_qnx4_without_its_bitmap_or_its_end() -> None:
    image = qnx4_image()
    put(image, 1024 + 64, bytes(64))
    found = recognise(qnx4.FORMAT, image)
    assert (found.fs_size, found.free, codes(found)) == (None, None, ["damaged"])
    assert counted(qnx4.FORMAT, qnx4_image()[: 6 * 512]).free is None
    assert codes(recognise(qnx4.FORMAT, qnx4_image()[:1024])) == ["damaged"]
    assert ask(qnx4.FORMAT, qnx4_image()[:767]) is None


@pytest.mark.parametrize("size", [1, (1 << 20) + 1, 0xFFFFFFFF])
def test_a_bitmap_of_another_size_is_not_counted(size: int) -> None:
    image = changed(qnx4_image(), qnx4.INODE_ENTRY, 1024 + 64, di_size=size)
    found = counted(qnx4.FORMAT, image)
    assert found.fs_size == size * 8 * 512
    assert (found.free is None) == (size != 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_superblock_with_the_higher_serial_counts(name: str) -> None:
    boot = 0 if name == "qnx6-mmi" else 0x2000
    image = kept(name)
    second = boot + 0x1000 + 240 * 1024
    assert recognise(qnx6.FORMAT, image).offset == second
    order, mmi = ("big" if name == "qnx6-big-endian" else "little"), name == "qnx6-mmi"
    put(image, boot, qnx6_superblock(order, 9, mmi=mmi))
    found = recognise(qnx6.FORMAT, image)
    assert (found.offset, found.details["serial"], found.details["other_serial"]) == (boot, 9, 8)


@pytest.mark.parametrize("name", NAMES)
def test_one_of_the_superblocks_is_damaged(name: str) -> None:
    boot = 0 if name == "qnx6-mmi" else 0x2000
    second = boot + 0x1000 + 240 * 1024
    image = kept(name)
    image[second + 100] ^= 1
    found = recognise(qnx6.FORMAT, image)
    assert (found.offset, found.checked, codes(found)) == (boot, True, ["damaged"])
    image = kept(name)
    image[boot + 100] ^= 1
    found = recognise(qnx6.FORMAT, image)
    assert (found.offset, found.checked, codes(found)) == (second, True, ["backup-used"])
    image[second + 100] ^= 1
    found = recognise(qnx6.FORMAT, image)
    assert (found.offset, found.checked, codes(found)) == (boot, False, ["bad-checksum", "damaged"])


def test_a_second_superblock_of_another_place_is_none() -> None:
    image = kept("qnx6-second-superblock")
    assert ask(qnx6.FORMAT, image) is not None
    # One block more between the two, and it is a left-over of another file system.
    put(image, SECOND, qnx6_superblock("little", 8, blocks=241))
    assert ask(qnx6.FORMAT, image) is None


def test_without_boot_blocks_the_first_superblock_is_at_the_start() -> None:
    image = bytes(kept("qnx6"))[0x2000:]
    found = recognise(qnx6.FORMAT, image)
    assert (found.details["boot_size"], found.details["variant"], codes(found)) == (0, "qnx6", [])


@pytest.mark.parametrize(
    "fields",
    [
        {"sb_blocksize": 0},
        {"sb_blocksize": 1536},
        {"sb_num_blocks": 0},
        {"sb_free_blocks": 241},
        {"sb_free_inodes": 65},
        {"Inode": {"size": 0, "ptr": bytes(64), "levels": 6, "mode": 0, "spare": bytes(6)}},
    ],
)
def test_a_qnx6_that_is_none(fields: dict[str, Any]) -> None:
    image = bytearray(SECOND + 0x1000)
    put(image, 0x2000, qnx6_superblock("little", 7, **fields))
    assert ask(qnx6.FORMAT, image) is None


def test_a_qnx6_cut_off_behind_its_first_superblock() -> None:
    image = bytes(kept("qnx6"))
    assert codes(recognise(qnx6.FORMAT, image[: 0x2000 + 512])) == ["damaged"]
    assert ask(qnx6.FORMAT, image[: 0x2000 + 511]) is None
