"""DragonFly BSD's disklabel64: places in bytes, checksum, UUIDs."""

from fixtures.recipes.bsd64 import PARTS, UUID_TEXT, disklabel64
from pyimount.parsers.partitions.bsd64 import AT, FORMAT
from tests.parsers.partitions.building import codes, place, read, table

SIZE = 1 << 20


def disk(label: bytes | bytearray) -> bytearray:
    image = bytearray(SIZE)
    place(image, AT, bytes(label))
    return image


def test_partitions_and_identity() -> None:
    found = table(FORMAT, disk(disklabel64(PARTS, SIZE)))
    assert [(entry.number, entry.offset, entry.size) for entry in found.partitions] == [
        (slot + 1, offset, size) for slot, (offset, size, _) in enumerate(PARTS) if size
    ]
    assert found.partitions[0].uuid == "01010101-0101-0101-0101-010101010101"
    assert (found.ptuuid, found.checked, codes(found)) == (UUID_TEXT, True, [])
    assert (found.details["packname"], found.details["total_size"]) == ("fly", SIZE)
    assert found.details["boot_area"] == {"offset": 4096, "size": 32768}


def test_a_wrong_checksum_is_a_problem_where_the_areas_are_in_order() -> None:
    raw = bytearray(disklabel64(PARTS, SIZE))
    raw[4] ^= 1
    found = table(FORMAT, disk(raw))
    assert (codes(found), found.checked) == (["bad-checksum"], False)
    raw[32:40] = bytes(8)
    assert read(FORMAT, disk(raw)) is None


def test_more_partitions_than_there_is_room_for_are_no_label() -> None:
    assert len(table(FORMAT, disk(disklabel64(PARTS * 8, SIZE, count=32))).partitions) == 24
    assert read(FORMAT, disk(disklabel64(PARTS, SIZE, count=33))) is None


def test_numbers_at_their_extremes() -> None:
    most = (1 << 64) - 1
    entry = table(FORMAT, disk(disklabel64([(most, most, 0xFF)], SIZE))).partitions[0]
    assert (entry.offset, entry.size, entry.type, entry.type_name) == (most, most, "0xff", None)


def test_a_cut_label() -> None:
    label = disklabel64(PARTS, SIZE)
    image = disk(label)
    assert codes(table(FORMAT, image[: AT + 250])) == ["bad-checksum"]
    for size in (0, 512, AT + 199):
        assert read(FORMAT, image[:size]) is None
