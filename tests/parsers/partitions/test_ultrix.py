"""ULTRIX partition tables."""

from struct import pack

import pytest

from pyimount.parsers.partitions.ultrix import AT, FORMAT, MAGIC, SLOTS, TABLE, VALID
from tests.parsers.partitions.building import place, places, read, table

Place = tuple[int, int]
"""Sectors, first sector."""


def disk(*parts: Place, magic: int = MAGIC, valid: int = VALID) -> bytearray:
    raw = b"".join(pack("<2I", *part) for part in parts).ljust(SLOTS * 8, b"\0")
    image = bytearray(32768)
    place(image, AT, TABLE.construct.build({"pt_magic": magic, "pt_valid": valid, "pt_part": raw}))
    return image


def test_partitions_and_the_whole_disk() -> None:
    found = table(FORMAT, disk((16, 0), (0, 0), (64, 0), (48, 16)))
    assert places(found) == [(1, 0, 16), (3, 0, 64), (4, 16, 48)]
    assert [entry.meta for entry in found.partitions] == [False, True, False]


def test_a_smaller_c_is_a_partition_like_others() -> None:
    found = table(FORMAT, disk((0, 0), (0, 0), (32, 0), (48, 16)))
    assert [entry.meta for entry in found.partitions] == [False, False]


@pytest.mark.parametrize("image", [disk(magic=MAGIC + 1), disk(valid=0), disk((1 << 31, 0))])
def test_no_table(image: bytearray) -> None:
    assert read(FORMAT, image) is None


@pytest.mark.parametrize("size", [0, AT, AT + 71])
def test_a_cut_table_is_none(size: int) -> None:
    assert read(FORMAT, disk((16, 0))[:size]) is None
