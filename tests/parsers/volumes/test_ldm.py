"""Dynamic disks: copies of the private header and of the tables, records over several VBLKs, and lies."""

import pytest

from fixtures.recipes.ldm import (
    DATA_SECTORS,
    DATA_START,
    MBR_SECTOR,
    SECTOR,
    SIZE,
    mbr_disk,
    simple,
)
from pyimount.parsers.volumes.ldm import FORMAT
from pyimount.parsers.volumes.ldm_header import COPIES
from tests.kept import ask, codes, kept, put, recognise

PRIVATE = DATA_START + DATA_SECTORS
CONFIG = PRIVATE + 17


def test_the_copies_of_the_header_serve_one_after_the_other() -> None:
    image = kept("ldm")
    for sector in (MBR_SECTOR, PRIVATE + COPIES[1]):
        image[sector * SECTOR + 20] ^= 1
        found = recognise(FORMAT, image)
        assert (codes(found), found.checked) == (["backup-used"], True)
    image[(PRIVATE + COPIES[0]) * SECTOR + 20] ^= 1
    found = recognise(FORMAT, image)
    assert (codes(found), found.checked) == (["bad-checksum"], False)
    assert found.label == "LAB-Dg0"


def test_a_header_that_was_wiped() -> None:
    image = kept("ldm")
    image[MBR_SECTOR * SECTOR : (MBR_SECTOR + 1) * SECTOR] = bytes(SECTOR)
    assert codes(recognise(FORMAT, image)) == ["backup-used"]


def test_the_second_table_of_contents_serves() -> None:
    image = kept("ldm")
    image[(PRIVATE + 2) * SECTOR + 30] ^= 1
    found = recognise(FORMAT, image)
    assert (codes(found), found.details["disk_name"]) == (["backup-used"], "Disk1")


def test_a_database_that_is_cut_off_does_not_cost_the_identity() -> None:
    found = recognise(FORMAT, kept("ldm", PRIVATE * SECTOR))
    assert (found.uuid_sub, codes(found)) == ("6a5c1001-1111-2222-3333-444455556666", ["damaged"])
    assert found.group is not None
    assert found.group.members is None


@pytest.mark.parametrize("size", [64, 80, 128, 512])
def test_records_over_several_blocks(size: int) -> None:
    found = recognise(FORMAT, mbr_disk(1, simple(), size=size))
    (volume,) = found.details["volumes"]  # type: ignore[misc]
    assert (volume["name"], volume["type"], volume["size"], volume["hint"]) == (  # type: ignore[index,call-overload]
        "Volume1", "simple", 256 * SECTOR, "E:",
    )  # fmt: skip
    assert not found.problems


@pytest.mark.parametrize("value", [0, 1, 63, 0xFFFFFFFF])
@pytest.mark.parametrize("field", [8, 12])
def test_sizes_of_blocks_that_lie(field: int, value: int) -> None:
    image = kept("ldm")
    put(image, CONFIG * SECTOR + field, value.to_bytes(4, "big"))
    assert codes(recognise(FORMAT, image)) == ["damaged"]


def test_a_record_whose_last_block_is_lost_is_told() -> None:
    image = mbr_disk(1, simple(), size=64)
    at = image.rindex(b"VBLK")
    image[at : at + 4] = b"\0\0\0\0"
    assert set(codes(recognise(FORMAT, image))) == {"damaged"}


def test_the_database_of_another_group_is_not_read() -> None:
    image = kept("ldm")
    at = image.index(b"6a5c0001", CONFIG * SECTOR)
    image[at : at + 8] = b"6a5c0002"
    assert codes(recognise(FORMAT, image)) == ["damaged"]


def test_a_header_at_another_place_is_none() -> None:
    image = bytearray(SIZE)
    header = kept("ldm")[MBR_SECTOR * SECTOR : (MBR_SECTOR + 1) * SECTOR]
    put(image, SIZE - SECTOR, header)
    assert recognise(FORMAT, image).offset == SIZE - SECTOR
    assert ask(FORMAT, bytes(SECTOR) + bytes(image)) is None


def test_the_metadata_partition_alone_is_no_dynamic_disk() -> None:
    """Its last sector is a private header, whose places are those of the whole disk."""
    image = kept("ldm-gpt")
    assert recognise(FORMAT, image).offset == (40 + COPIES[1]) * SECTOR
    assert ask(FORMAT, image[40 * SECTOR : (40 + 2048) * SECTOR]) is None


def test_a_gpt_disk_that_is_not_dynamic_is_none() -> None:
    assert ask(FORMAT, kept("gpt")) is None
