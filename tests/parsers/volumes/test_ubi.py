"""UBI: damaged headers, tables in other eraseblocks, sizes that are found out."""

from struct import pack
from zlib import crc32

import pytest

from pyimount.parsers.volumes.ubi import FORMAT, LAYOUT_VOLUME_ID
from tests.kept import ask, codes, kept, put, recognise

PEB = 32 << 10


def crc(raw: bytes) -> bytes:
    return (crc32(raw) ^ 0xFFFFFFFF).to_bytes(4, "big")


def ec_header(*, version: int = 1, ec: int = 3, vid: int = 64, data: int = 128) -> bytes:
    raw = b"UBI#" + pack(">B3xQIII32x", version, ec, vid, data, 99)
    return raw + crc(raw)


def vid_header(sqnum: int, volume: int = LAYOUT_VOLUME_ID) -> bytes:
    raw = b"UBI!" + pack(">BBBBII4xIIII4xQ12x", 1, 1, 0, 5, volume, 0, 0, 0, 0, 0, sqnum)
    return raw + crc(raw)


def record(name: bytes) -> bytes:
    raw = pack(">IIIBBH128sB23x", 2, 1, 0, 1, 1, len(name), name, 0)
    return raw + crc(raw)


def flash(size: int, blocks: int) -> bytearray:
    image = bytearray(b"\xff" * size * blocks)
    for number in range(blocks):
        put(image, number * size, ec_header(ec=number))
    return image


@pytest.mark.parametrize("size", [1 << power for power in range(9, 20)])
def test_the_size_of_an_eraseblock_is_found_out(size: int) -> None:
    found = recognise(FORMAT, flash(size, 3))
    assert (found.details["peb_size"], found.details["pebs"]) == (size, 3)
    assert (found.uuid, codes(found)) == ("99", ["damaged"])


def test_the_newer_table_counts_wherever_it_lies() -> None:
    image = flash(4096, 40)
    for block, sqnum, name in ((3, 8, b"old"), (33, 9, b"new"), (35, 7, b"older")):
        put(image, block * 4096 + 64, vid_header(sqnum) + record(name) + bytes(3784))
    put(image, 36 * 4096 + 64, vid_header(99, volume=1) + record(b"another"))
    found = recognise(FORMAT, image)
    (volume,) = found.details["volumes"]  # type: ignore[misc]
    assert (volume["name"], volume["update_unfinished"], codes(found)) == ("new", True, [])  # type: ignore[index,call-overload]


def test_a_damaged_record_is_told() -> None:
    image = kept("ubi", 4 * PEB)
    for block in (0, 1):
        put(image, block * PEB + 512 + 20, b"K")
    assert codes(recognise(FORMAT, image)) == ["bad-checksum"]


def test_a_damaged_table_leaves_its_copy() -> None:
    image = kept("ubi", 4 * PEB)
    image[256 + 20] ^= 1
    found = recognise(FORMAT, image)
    assert (len(found.details["volumes"]), codes(found)) == (2, [])  # type: ignore[arg-type]


def test_the_second_eraseblock_tells_where_the_first_cannot() -> None:
    image = flash(1 << 17, 3)
    image[20] ^= 1
    found = recognise(FORMAT, image)
    assert (found.offset, found.details["erase_counter"]) == (1 << 17, 1)
    assert codes(found) == ["backup-used", "damaged"]


@pytest.mark.parametrize(
    "header",
    [
        ec_header(version=0),
        ec_header(ec=1 << 31),
        ec_header(vid=32),
        ec_header(vid=128, data=128),
        ec_header(data=1 << 30),
        ec_header()[:-1] + b"?",
    ],
)
def test_a_header_that_cannot_be_true(header: bytes) -> None:
    assert ask(FORMAT, header + bytes(4096)) is None


def test_a_single_eraseblock_has_no_known_size() -> None:
    found = recognise(FORMAT, ec_header())
    assert (found.details["peb_size"], found.details["volumes"]) == (None, None)
    assert ask(FORMAT, ec_header()[:-1]) is None
