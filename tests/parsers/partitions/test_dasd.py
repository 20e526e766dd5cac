"""IBM DASD labels: layouts, block sizes, large volumes, damage."""

import pytest

from fixtures.recipes.dasd import ebcdic, format1, format4, ldl, limit, volume_label
from pyimount.parsers.partitions import dasd
from pyimount.parsers.partitions.dasd import FORMAT
from tests.parsers.partitions.building import codes, place, places, read, table


def cdl(*labels: bytes, unit: int = 4096, track: int = 12, heads: int = 15, **vtoc: int) -> bytearray:
    """A disk with these labels behind the one that heads the VTOC."""
    image = bytearray(64 * unit)
    place(image, 2 * unit, volume_label())
    for number, block in enumerate((format4(heads, **vtoc), *labels), track):
        place(image, number * unit, block)
    return image


DATA = format1("LINUX.V0X0201.PART0001.NATIVE", limit(2), limit(29))


@pytest.mark.parametrize("unit", dasd.BLOCK_SIZES)
@pytest.mark.parametrize("track", [3, 12, 20])
def test_blocks_and_tracks_of_all_sizes(unit: int, track: int) -> None:
    found = table(FORMAT, cdl(DATA, unit=unit, track=track))
    assert (found.sector_size, found.ptuuid) == (unit, "0X0201")
    assert places(found) == [(1, 2 * track, 28 * track)]
    assert (found.details["layout"], found.details["blocks_per_track"]) == ("CDL", track)
    entry = found.partitions[0]
    assert (entry.name, entry.type) == ("LINUX.V0X0201.PART0001", "NATIVE")


def test_other_labels_in_the_vtoc_are_passed_over() -> None:
    other = bytearray(DATA)
    other[44] = 0xF5
    second = format1("NODOT", limit(30), limit(30))
    found = table(FORMAT, cdl(bytes(other), DATA, second, bytes(140)))
    assert places(found) == [(1, 24, 336), (2, 360, 12)]
    assert (found.partitions[1].name, found.partitions[1].type) == (None, "NODOT")


def test_more_than_three_data_sets_are_no_linux_disk_s() -> None:
    assert len(table(FORMAT, cdl(*[DATA] * 5)).partitions) == dasd.PARTITIONS_CAP


def test_a_large_volume_has_the_upper_bits_of_its_cylinders_elsewhere() -> None:
    start, end = 70000 * 15 + 3, 70001 * 15
    label = format1("A.B", limit(start, large=True), limit(end, large=True))
    large = table(FORMAT, cdl(label, cylinders=dasd.LARGE_VOLUME, large_cylinders=80000))
    assert places(large) == [(1, start * 12, (end - start + 1) * 12)]
    assert large.details["cylinders"] == 80000


def test_a_data_set_that_ends_before_it_starts_is_left_out() -> None:
    found = table(FORMAT, cdl(format1("A.B", limit(9), limit(8)), DATA))
    assert (places(found), codes(found)) == ([(1, 24, 336)], ["damaged"])


def test_without_a_vtoc_or_tracks_it_is_no_label() -> None:
    image = cdl(DATA)
    place(image, 12 * 4096, bytes(140))
    assert read(FORMAT, image) is None
    assert read(FORMAT, cdl(DATA, heads=0)) is None
    assert read(FORMAT, cdl(DATA, track=21)) is None


def linux(label: bytes, unit: int = 4096, blocks: int = 64) -> bytearray:
    image = bytearray(blocks * unit)
    place(image, 2 * unit, label)
    return image


def test_the_linux_layout_tells_its_size_or_takes_the_disk_s() -> None:
    assert places(table(FORMAT, linux(ldl(blocks=50)))) == [(1, 3, 47)]
    assert places(table(FORMAT, linux(ldl(version=0x40)))) == [(1, 3, 61)]


@pytest.mark.parametrize("blocks", [0, 3])
def test_a_linux_layout_without_room_is_no_label(blocks: int) -> None:
    assert read(FORMAT, linux(ldl(blocks=blocks))) is None


def test_an_identifier_that_cannot_be_printed_is_no_label() -> None:
    label = bytearray(ldl(blocks=50))
    label[4:10] = bytes(range(1, 7))
    assert read(FORMAT, linux(bytes(label))) is None


def cms(**fields: int | bytes) -> bytes:
    numbers = ("version_id", "origin_ptr", "usable_count", "formatted_count", "used_count", "fst_size",
               "fst_count", "disk_offset")  # fmt: skip
    values = {
        **dict.fromkeys(numbers, 0),
        "label_id": dasd.CMS1,
        "vol_id": ebcdic("CMS191", 6),
        "block_size": 1024,
        "block_count": 60,
        "format_date": bytes(6),
        "reserved1": bytes(2),
        **fields,
    }
    return bytes(dasd.CMS_LABEL.construct.build(values))


def test_cms_with_and_without_a_reserved_minidisk() -> None:
    plain = table(FORMAT, linux(cms(), unit=1024)).partitions[0]
    assert (plain.offset, plain.size) == (3 * 1024, 57 * 1024)
    reserved = table(FORMAT, linux(cms(disk_offset=10), unit=1024)).partitions[0]
    assert (reserved.offset, reserved.size) == (10 * 1024, 49 * 1024)


@pytest.mark.parametrize(
    "fields", [{"block_size": 0}, {"block_size": 800}, {"block_count": 3}, {"block_count": 0}]
)
def test_an_implausible_cms_label_is_none(fields: dict[str, int]) -> None:
    assert read(FORMAT, linux(cms(**fields), unit=1024)) is None


@pytest.mark.parametrize("size", [0, 8192, 8200, 8276, 49152, 49200])
def test_a_cut_disk_is_no_label(size: int) -> None:
    assert read(FORMAT, cdl(DATA)[:size]) is None


def test_a_disk_cut_behind_its_vtoc_keeps_its_identity() -> None:
    found = table(FORMAT, cdl(DATA)[: 13 * 4096])
    assert (found.ptuuid, found.partitions) == ("0X0201", ())
