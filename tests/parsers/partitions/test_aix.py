"""AIX physical volumes: the record alone, the volume group on it, damage to either."""

import pytest

from fixtures.recipes.aix import FIRST, LENGTH, PP, PV_ID, VGDA, physical_volume
from pyimount.parsers.partitions import aix
from pyimount.parsers.partitions.aix import FORMAT
from tests.parsers.partitions.building import SECTOR, codes, place, places, read, table

LVM = aix.LVM_SECTOR * SECTOR


def disk(*changes: tuple[int, bytes]) -> bytearray:
    image = bytearray(physical_volume())
    for at, data in changes:
        place(image, at, data)
    return image


def test_a_volume_in_one_piece_is_a_partition_and_the_others_are_told_of() -> None:
    found = table(FORMAT, disk())
    assert places(found) == [(1, FIRST, 3 * PP // SECTOR)]
    assert found.partitions[0].name == "hd5"
    assert found.details["logical_volumes"] == [
        {"name": "hd5", "partitions": 3, "here": 3, "contiguous": True},
        {"name": "hd8", "partitions": 2, "here": 2, "contiguous": False},
        {"name": "paging00", "partitions": 2, "here": 2, "contiguous": False},
    ]
    assert (found.details["pv_id"], found.details["physical_partition_size"]) == (PV_ID.hex(), PP)
    assert found.details["vg_modified"] == "2001-09-09T01:46:40Z"
    assert codes(found) == []


def test_the_record_alone() -> None:
    found = table(FORMAT, physical_volume(lvm=False))
    assert (found.pttype, found.partitions, codes(found)) == ("aix", (), [])


def test_text_that_begins_like_it_is_none() -> None:
    """To libblkid the four letters, IBMA in EBCDIC, are enough."""
    assert (
        read(FORMAT, "IBMA IS A WORD IN A TEXT FROM A MAINFRAME".encode("cp037").ljust(512, b"\x40")) is None
    )


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (LVM + 60, b"\0\2"),
        (LVM + 46, b"\0\x11"),
        (LVM + 46, b"\xff\xff"),
        (LVM + 24, b"\0\0\0\1"),
        (LVM + 28, b"\xff\xff\xff\xff"),
        ((VGDA + 17) * SECTOR + 16, b"\xff\xff"),
        (LVM + 44, b"\xff\xff"),
    ],
)
def test_a_damaged_descriptor_area_loses_the_volumes_alone(at: int, data: bytes) -> None:
    found = table(FORMAT, disk((at, data)))
    assert (found.partitions, codes(found)) == ((), ["damaged"])
    assert found.details["pv_id"] == PV_ID.hex()


def test_a_second_disk_of_the_group() -> None:
    image = disk((LVM + 44, b"\0\2"))
    first = (VGDA + 17) * SECTOR
    place(image, first + aix.PVD_SECTORS * SECTOR, bytes(image[first : first + aix.PVD_SECTORS * SECTOR]))
    place(image, first, bytes(aix.PVD_SECTORS * SECTOR))
    found = table(FORMAT, image)
    assert (places(found), found.details["pv_number"]) == ([(1, FIRST, 3 * PP // SECTOR)], 2)


@pytest.mark.parametrize("size", [512, 4096, VGDA * SECTOR + 100, (VGDA + LENGTH - 10) * SECTOR])
def test_a_cut_disk_is_still_known(size: int) -> None:
    found = table(FORMAT, disk()[:size])
    assert (found.pttype, found.partitions) == ("aix", ())


@pytest.mark.parametrize("size", [0, 4, 143])
def test_less_than_the_record_is_none(size: int) -> None:
    assert read(FORMAT, disk()[:size]) is None
