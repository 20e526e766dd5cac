"""SquashFS: versions, byte orders, firmware makers' magics, and sizes that cannot be."""

import struct
from typing import Any

import pytest

from pyimount.parsers.filesystems.squashfs import FORMAT, SUPERBLOCK, SUPERBLOCK_BE
from tests.kept import ask, codes, kept, put, recognise


def changed(image: bytearray, **fields: Any) -> bytearray:
    superblock = SUPERBLOCK.construct.parse(bytes(image[: SUPERBLOCK.size]))
    assert fields.keys() <= superblock.keys()
    put(image, 0, SUPERBLOCK.construct.build({**superblock, **fields}))
    return image


def test_the_declaration_is_as_long_as_a_superblock() -> None:
    assert SUPERBLOCK.size == SUPERBLOCK_BE.size == 96


@pytest.mark.parametrize(
    ("number", "name"),
    [(1, "gzip"), (2, "lzma"), (3, "lzo"), (4, "xz"), (5, "lz4"), (6, "zstd"), (7, "7")],
)
def test_compression(number: int, name: str) -> None:
    assert recognise(FORMAT, changed(kept("squashfs"), compression=number)).details["compression"] == name


@pytest.mark.parametrize(
    "fields",
    [
        {"block_size": 131071},
        {"block_log": 16},
        {"block_size": 1 << 21, "block_log": 21},
        {"block_size": 2048, "block_log": 11},
        {"bytes_used": 0},
        {"inode_table_start": 1 << 63},
        {"id_table_start": 0},
        {"s_major": 5},
        {"s_major": 0},
    ],
)
def test_a_lying_superblock_is_rejected(fields: dict[str, int]) -> None:
    assert ask(FORMAT, changed(kept("squashfs"), **fields)) is None


def test_version_4_in_the_order_that_it_does_not_have() -> None:
    """Some firmware has it; neither the kernel nor libblkid knows it."""
    image = kept("squashfs")
    superblock = SUPERBLOCK.construct.parse(bytes(image[: SUPERBLOCK.size]))
    put(image, 0, SUPERBLOCK_BE.construct.build({**superblock, "s_magic": b"sqsh"}))
    found = recognise(FORMAT, image)
    assert (found.type, found.version, found.details["byte_order"]) == ("squashfs", "4.0", "big")
    assert codes(found) == ["unsupported"]


@pytest.mark.parametrize(
    ("name", "magic", "order"),
    [
        ("squashfs-3.0", b"shsq", "little"),
        ("squashfs-3.0", b"hsqt", "little"),
        ("squashfs-3.1-big-endian", b"qshs", "big"),
        ("squashfs-3.1-big-endian", b"sqlz", "big"),
        ("squashfs-3.1-big-endian", b"tqsh", "big"),
    ],
)
def test_magics_of_lzma_images(name: str, magic: bytes, order: str) -> None:
    image = kept(name)
    put(image, 0, magic)
    found = recognise(FORMAT, image)
    assert found.type == "squashfs3"
    assert (found.details["compression"], found.details["byte_order"]) == ("lzma", order)
    assert found.details["signature"] == magic.decode()


def test_version_1_has_its_block_size_in_16_bits() -> None:
    image = kept("squashfs-3.0")
    put(image, 28, struct.pack("<HHHH", 1, 0, 32768, 15))
    put(image, 8, struct.pack("<I", 777))
    put(image, 51, b"\xff" * 12)
    found = recognise(FORMAT, image)
    assert (found.type, found.version, found.fs_size) == ("squashfs3", "1.0", 777)
    assert found.details["data_block_size"] == 32768


@pytest.mark.parametrize(("name", "whole"), [("squashfs", 96), ("squashfs-3.0", 71), ("squashfs-2.1", 71)])
def test_cut_off_in_the_superblock(name: str, whole: int) -> None:
    assert ask(FORMAT, kept(name)[:whole]) is not None
    for cut in (4, 31, whole - 1):
        assert ask(FORMAT, kept(name)[:cut]) is None
