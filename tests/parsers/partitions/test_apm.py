"""Apple partition maps: the block size that holds, free space, and maps that claim too much."""

import pytest

from pyimount.parsers.partitions.apm import DRIVER_DESCRIPTOR_MAP, ENTRY, FORMAT, MAP_CAP
from tests.kept import kept
from tests.parsers.partitions.building import codes, place, places, read, table

Item = tuple[int, int, str, str]
"""First block, blocks, type, name."""

ITEMS: list[Item] = [
    (1, 63, "Apple_partition_map", "Apple"),
    (64, 100, "Apple_HFS", "Macintosh HD"),
    (164, 20, "Apple_Free", ""),
    (184, 10, "Apple_UNIX_SVR2", "Größe"),
]


def disk(
    items: list[Item], *, told: int = 512, unit: int = 512, count: int | None = None, status: int = 0x33
) -> bytearray:
    image = bytearray(200 * unit)
    names = ("sbBlkCount", "sbDevType", "sbDevId", "sbData", "sbDrvrCount")
    head = {"sbSig": b"ER", "sbBlkSize": told, **dict.fromkeys(names, 0)}
    place(image, 0, DRIVER_DESCRIPTOR_MAP.construct.build(head))
    for number, (start, size, kind, name) in enumerate(items, 1):
        values = {
            "pmSig": b"PM",
            "pmSigPad": 0,
            "pmMapBlkCnt": len(items) if count is None else count,
            "pmPyPartStart": start,
            "pmPartBlkCnt": size,
            "pmPartName": name.encode("mac-roman").ljust(32, b"\0"),
            "pmParType": kind.encode().ljust(32, b"\0"),
            "pmLgDataStart": 0,
            "pmDataCnt": size,
            "pmPartStatus": status,
            "pmBoot": bytes(28),
            "pmProcessor": bytes(16),
        }
        place(image, number * unit, ENTRY.construct.build(values))
    return image


@pytest.mark.parametrize("unit", [512, 1024, 2048, 4096])
def test_the_block_size_of_the_descriptor(unit: int) -> None:
    found = table(FORMAT, disk(ITEMS, told=unit, unit=unit))
    assert found.sector_size == unit
    # Apple_Free is no partition, but keeps its number.
    assert places(found) == [(1, 1, 63), (2, 64, 100), (4, 184, 10)]
    assert [entry.meta for entry in found.partitions] == [True, False, False]
    assert [entry.name for entry in found.partitions] == ["Apple", "Macintosh HD", "Größe"]
    assert found.partitions[1].flags == ("valid", "allocated", "readable", "writable")
    assert [(extent.name, extent.offset, extent.size) for extent in found.meta] == [
        ("Driver Descriptor Map", 0, unit),
        ("Partition Map", unit, 63 * unit),
    ]
    assert codes(found) == []


@pytest.mark.parametrize("told", [0, 1, 513, 2048, 0xFFFF])
def test_a_block_size_that_does_not_hold(told: int) -> None:
    assert places(table(FORMAT, disk(ITEMS, told=told)))[1] == (2, 64, 100)


@pytest.mark.parametrize("unit", [1024, 2048, 4096])
@pytest.mark.parametrize("told", [0, 512, 7, 8192])
def test_a_map_in_larger_blocks_than_told(told: int, unit: int) -> None:
    found = table(FORMAT, disk(ITEMS, told=told, unit=unit))
    assert (found.sector_size, codes(found)) == (unit, ["not-as-told"])
    assert places(found) == places(table(FORMAT, disk(ITEMS, told=unit, unit=unit)))


@pytest.mark.parametrize("unit", [512, 1024, 2048, 4096])
def test_a_map_whose_descriptor_is_lost(unit: int) -> None:
    """Linux wants the descriptor, the Sleuth Kit's mmls does not: the entries are all there."""
    image = disk(ITEMS, told=unit, unit=unit)
    image[:unit] = bytes(unit)
    found = table(FORMAT, image)
    assert (found.sector_size, codes(found)) == (unit, ["damaged"])
    assert places(found) == places(table(FORMAT, disk(ITEMS, told=unit, unit=unit)))
    # An MBR in its place says what the disk is now; and some text may begin with PM.
    image[510:512] = b"\x55\xaa"
    assert read(FORMAT, image) is None
    image[510:512] = bytes(2)
    at = image.index(b"Apple_partition_map")
    image[at : at + 5] = b"Peach"
    assert read(FORMAT, image) is None


def test_the_map_need_not_be_its_own_first_entry() -> None:
    found = table(FORMAT, disk([ITEMS[1], ITEMS[0], ITEMS[3]]))
    assert [(entry.number, entry.type, entry.meta) for entry in found.partitions] == [
        (1, "Apple_HFS", False),
        (2, "Apple_partition_map", True),
        (3, "Apple_UNIX_SVR2", False),
    ]


@pytest.mark.parametrize("count", [5, 100, MAP_CAP + 1, 0xFFFFFFFF])
def test_a_map_that_claims_too_much_keeps_what_is_there(count: int) -> None:
    found = table(FORMAT, disk(ITEMS, count=count))
    assert [entry.number for entry in found.partitions] == [1, 2, 4]
    assert set(codes(found)) == {"damaged"}


def test_a_map_cut_off() -> None:
    found = table(FORMAT, disk(ITEMS)[: 3 * 512])
    assert ([entry.number for entry in found.partitions], codes(found)) == ([1, 2], ["damaged"])


def test_numbers_at_their_extremes() -> None:
    most = 0xFFFFFFFF
    found = table(FORMAT, disk([(most, most, "Apple_partition_map", "")], told=2048, unit=2048))
    assert places(found) == [(1, most, most)]


@pytest.mark.parametrize("size", [0, 2, 511, 512, 513, 600])
def test_less_than_a_map_is_none(size: int) -> None:
    assert read(FORMAT, disk(ITEMS)[:size]) is None


def test_a_descriptor_without_a_map_is_none() -> None:
    image = disk(ITEMS)
    place(image, 512, b"XX")
    assert read(FORMAT, image) is None


def test_the_map_of_a_hybrid_disc() -> None:
    """Blocks of 2048 bytes, as xorriso was told, on a disc whose GPT counts in 512."""
    found = table(FORMAT, kept("iso-hybrid"))
    assert found.sector_size == 2048
    assert found.partitions[0].type == "Apple_partition_map"
    assert "Apple_HFS" in [entry.type for entry in found.partitions]
