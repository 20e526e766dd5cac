"""GPT: two copies, their checksums, and which of them is believed; sizes of sectors and entries."""

from uuid import UUID

import pytest

from pyimount.parsers.partitions.gpt import FORMAT
from pyimount.parsers.partitions.gpt_types import TYPES
from pyimount.recognition.registry import table_signatures
from pyimount.sources.source import BytesSource
from pyimount.sources.view import View
from tests.kept import kept
from tests.parsers.partitions.building import (
    SECTOR,
    Part,
    boot,
    codes,
    gpt_disk,
    place,
    places,
    read,
    record,
    resigned,
    table,
)

PARTS = (Part(1, 2048, 2099, name="first"), Part(5, 3000, 3000, name="fünf", attributes=1 << 2 | 1 << 63))
PLACES = [(1, 2048, 52), (5, 3000, 1)]
LAST = 4095
ENTRIES_SECTORS = 32


def test_both_copies_right() -> None:
    found = table(FORMAT, gpt_disk(PARTS))
    assert places(found) == PLACES
    assert (codes(found), found.checked, found.sector_size) == ([], True, 512)
    assert found.ptuuid == str(UUID(bytes_le=bytes(range(16))))
    first, fifth = found.partitions
    assert (first.type, first.type_name) == ("0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux filesystem")
    assert (fifth.name, fifth.uuid) == ("fünf", str(UUID(bytes=b"\x05" * 16)))
    assert (first.flags, fifth.flags) == ((), ("LegacyBIOSBootable", "GUID:63"))
    assert [(extent.name, extent.offset // SECTOR, extent.size // SECTOR) for extent in found.meta] == [
        ("Safety Table", 0, 1),
        ("GPT Header", 1, 1),
        ("Partition Table", 2, ENTRIES_SECTORS),
        ("GPT Header (backup)", LAST, 1),
        ("Partition Table (backup)", LAST - ENTRIES_SECTORS, ENTRIES_SECTORS),
    ]


@pytest.mark.parametrize("unit", [512, 1024, 2048, 4096])
@pytest.mark.parametrize("wiped", [False, True])
def test_the_sector_size_is_found(unit: int, wiped: bool) -> None:
    image = gpt_disk([Part(1, 1000, 1001)], unit=unit)
    if wiped:
        place(image, 0, bytes(34 * unit))
    # The signatures lead to it, whichever copy is left.
    assert FORMAT in table_signatures().hits(View(BytesSource(bytes(image))))
    found = table(FORMAT, image)
    assert found.sector_size == unit
    assert (found.partitions[0].offset, found.partitions[0].size) == (1000 * unit, 2 * unit)


@pytest.mark.parametrize(("count", "size"), [(4, 128), (128, 256), (300, 128), (7, 136), (128, 4096)])
def test_entries_of_other_sizes_and_numbers(count: int, size: int) -> None:
    found = table(FORMAT, gpt_disk([Part(1, 2048, 2050), Part(4, 2100, 2100)], count=count, entry_size=size))
    assert places(found) == [(1, 2048, 3), (4, 2100, 1)]
    assert codes(found) == []


@pytest.mark.parametrize(
    ("count", "size"),
    [(0, 128), (0xFFFFFFFF, 128), (0xFFFFFFFF, 0xFFFFFFFF), (128, 0), (128, 64), (128, 129)],
)
def test_an_implausible_array_sends_to_the_backup(count: int, size: int) -> None:
    image = gpt_disk(PARTS)
    resigned(image, 1, 80, count.to_bytes(4, "little") + size.to_bytes(4, "little"))
    found = table(FORMAT, image)
    assert places(found) == PLACES
    assert codes(found) == ["backup-used", "damaged"]
    # Without a backup there is a header that holds, and nothing that it leads to.
    alone = table(FORMAT, image[: 2048 * SECTOR])
    assert (alone.partitions, codes(alone)) == ((), ["damaged", "truncated"])


@pytest.mark.parametrize("at", [512 + 8, 512 + 60, 512 + 91, 1024, 1024 + 16383])
def test_a_changed_byte_sends_to_the_backup(at: int) -> None:
    image = gpt_disk(PARTS)
    image[at] ^= 1
    found = table(FORMAT, image)
    assert places(found) == PLACES
    assert set(codes(found)) == {"backup-used", "bad-checksum"}
    assert found.checked


def test_entries_wiped() -> None:
    image = gpt_disk(PARTS)
    place(image, 1024, bytes(16384))
    assert places(table(FORMAT, image)) == PLACES
    alone = table(FORMAT, image[: 2048 * SECTOR])
    assert (alone.partitions, codes(alone)) == ((), ["bad-checksum", "truncated"])
    assert not alone.checked


def test_the_first_34_sectors_are_enough() -> None:
    found = table(FORMAT, gpt_disk(PARTS)[: 34 * SECTOR])
    assert places(found) == PLACES
    assert codes(found) == ["truncated"]


def test_a_damaged_primary_without_a_backup_is_still_read() -> None:
    image = gpt_disk(PARTS)[: 34 * SECTOR]
    image[512 + 56] ^= 1  # the disk's GUID
    found = table(FORMAT, image)
    assert places(found) == PLACES
    assert codes(found) == ["bad-checksum", "truncated"]


def test_a_primary_of_which_nothing_holds_is_none() -> None:
    image = gpt_disk(PARTS)[: 34 * SECTOR]
    image[512 + 56] ^= 1
    image[1024] ^= 1
    assert read(FORMAT, image) is None


@pytest.mark.parametrize("end", [0, 1, 511, 512, 519, 603])
def test_less_than_a_header_is_none(end: int) -> None:
    assert read(FORMAT, gpt_disk(PARTS)[:end]) is None


@pytest.mark.parametrize(("end", "expected"), [(604, []), (1024 + 127, []), (1024 + 128, PLACES[:1])])
def test_less_than_the_entries_gives_those_that_are_there(
    end: int, expected: list[tuple[int, int, int]]
) -> None:
    found = table(FORMAT, gpt_disk(PARTS)[:end])
    assert (places(found), codes(found)) == (expected, ["truncated", "truncated"])


def test_the_primary_is_wiped() -> None:
    image = gpt_disk(PARTS)
    place(image, 512, bytes(33 * SECTOR))
    found = table(FORMAT, image)
    assert places(found) == PLACES
    assert codes(found) == ["backup-used"]
    assert [extent.name for extent in found.meta] == [
        "Safety Table",
        "GPT Header (backup)",
        "Partition Table (backup)",
    ]


def test_a_wiped_primary_on_a_disk_that_has_grown() -> None:
    image = gpt_disk(PARTS) + bytes(1000 * SECTOR)
    assert codes(table(FORMAT, image)) == []
    place(image, 512, bytes(33 * SECTOR))
    # The protective record says where the disk ended.
    assert FORMAT in table_signatures().hits(View(BytesSource(bytes(image))))
    assert codes(table(FORMAT, image)) == ["backup-used"]


def test_a_backup_alone_counts_only_where_the_start_was_wiped() -> None:
    image = gpt_disk(PARTS)
    place(image, 0, bytes(34 * SECTOR))
    assert codes(table(FORMAT, image)) == ["backup-used", "damaged"]
    image[1080] = 0x53  # a file system was made over it
    assert read(FORMAT, image) is None


def test_a_damaged_backup() -> None:
    image = gpt_disk(PARTS)
    image[-SECTOR + 60] ^= 1
    assert codes(table(FORMAT, image)) == ["bad-checksum"]
    place(image, LAST * SECTOR, bytes(8))
    assert codes(table(FORMAT, image)) == ["damaged"]
    assert places(table(FORMAT, image)) == PLACES


@pytest.mark.parametrize("field", [(40, 8), (48, 8), (56, 16)])
def test_copies_that_differ(field: tuple[int, int]) -> None:
    offset, length = field
    image = gpt_disk(PARTS)
    resigned(image, LAST, offset, (3000).to_bytes(length, "little"))
    found = table(FORMAT, image)
    assert codes(found) == ["copies-differ"]
    assert found.ptuuid == str(UUID(bytes_le=bytes(range(16))))


def test_copies_with_different_entries() -> None:
    image = gpt_disk(PARTS)
    other = gpt_disk([Part(1, 2048, 4000)])
    place(image, (LAST - 32) * SECTOR, bytes(other[(LAST - 32) * SECTOR :]))
    found = table(FORMAT, image)
    assert (places(found), codes(found)) == (PLACES, ["copies-differ"])


def test_a_header_at_a_wrong_place_is_not_believed() -> None:
    image = gpt_disk(PARTS)
    resigned(image, 1, 24, (2).to_bytes(8, "little"))
    assert codes(table(FORMAT, image)) == ["backup-used", "damaged"]


def test_a_lying_place_of_the_backup_is_passed_over() -> None:
    for lba in (0, 1, 2, 1 << 40, (1 << 64) - 1):
        image = resigned(gpt_disk(PARTS), 1, 32, lba.to_bytes(8, "little"))
        found = table(FORMAT, image)
        # The last sector has it all the same.
        assert (places(found), codes(found)) == (PLACES, [])


def test_entries_that_lie() -> None:
    most = (1 << 64) - 1
    parts = [Part(1, 2000, 1999), Part(2, 3000, most), Part(3, 0, 0), Part(4, most, most)]
    found = table(FORMAT, gpt_disk(parts))
    assert [(entry.number, entry.size // SECTOR) for entry in found.partitions] == [
        (1, 0),
        (2, most - 2999),
        (3, 1),
        (4, 1),
    ]
    assert all(
        [problem.code.value for problem in entry.problems] == ["damaged"] for entry in found.partitions
    )


def test_a_hybrid_mbr() -> None:
    sector = boot(record(0xEE, 1, 2047), record(0x0C, 2048, 52, active=True))
    found = table(FORMAT, gpt_disk(PARTS, first_sector=sector))
    assert places(found) == PLACES
    assert found.details["hybrid_mbr"] == [
        {
            "number": 2,
            "type": "0xc",
            "type_name": "W95 FAT32 (LBA)",
            "offset": 2048 * SECTOR,
            "size": 52 * SECTOR,
            "active": True,
        }
    ]


@pytest.mark.parametrize("sector", [bytes(SECTOR), boot(), boot(signature=1)])
def test_without_the_protective_mbr(sector: bytes) -> None:
    found = table(FORMAT, gpt_disk(PARTS, first_sector=sector))
    assert (places(found), codes(found)) == (PLACES, ["damaged"])


def test_a_table_that_others_have_replaced_is_left_over() -> None:
    """As libblkid and Linux have it: without the protective record the MBR's partitions count."""
    assert read(FORMAT, gpt_disk(PARTS, first_sector=boot(record(0x83, 10, 20)))) is None
    for name in ("fat16", "ntfs", "exfat"):
        assert read(FORMAT, gpt_disk(PARTS, first_sector=bytes(kept(name, SECTOR)))) is None


def test_names_as_they_come() -> None:
    parts = [Part(1, 2048, 2048, name="a" * 36), Part(2, 2049, 2049, name="\x1b[31m☃")]
    assert [entry.name for entry in table(FORMAT, gpt_disk(parts)).partitions] == ["a" * 36, "\x1b[31m☃"]


def test_attributes_of_all_kinds() -> None:
    parts = [Part(1, 2048, 2048, attributes=0b11 | 1 << 5 | 1 << 48)]
    flags = table(FORMAT, gpt_disk(parts)).partitions[0].flags
    assert flags == ("RequiredPartition", "NoBlockIOProtocol", "Reserved:5", "GUID:48")


def test_types_are_guids_in_lower_case() -> None:
    assert all(str(UUID(guid)) == guid and name for guid, name in TYPES.items())
