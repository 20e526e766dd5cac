"""Atari partition tables: the variants, damaged chains, and entries that do not hold together."""

from struct import pack, unpack

import pytest

from fixtures.recipes.atari import Entry, root_sector
from pyimount.parsers.partitions.atari import BOOT_CHECKSUM, CHAIN_CAP, FORMAT
from pyimount.recognition.registry import table_signatures
from pyimount.sources.source import BytesSource
from pyimount.sources.view import View
from tests.parsers.partitions.building import SECTOR, codes, place, places, read, table

SECTORS = 4096


def disk(parts: list[Entry], icd: list[Entry] | None = None, sectors: int = SECTORS) -> bytearray:
    image = bytearray(sectors * SECTOR)
    place(image, 0, root_sector(parts, icd or [], sectors))
    return image


def hits(image: bytearray) -> bool:
    return FORMAT in table_signatures().hits(View(BytesSource(bytes(image))))


def test_numbers_are_those_of_the_slots() -> None:
    found = table(FORMAT, disk([(1, b"GEM", 2, 100), (0, b"", 0, 0), (0x81, b"BGM", 200, 300)]))
    assert places(found) == [(1, 2, 100), (3, 200, 300)]
    assert [(entry.type, entry.flags) for entry in found.partitions] == [("GEM", ()), ("BGM", ("boot",))]
    assert (found.details["variant"], found.details["sectors"], codes(found)) == ("AHDI", SECTORS, [])


def test_an_unknown_identifier_beside_a_known_one() -> None:
    image = disk([(1, b"XYZ", 2, 100), (1, b"GEM", 200, 300)])
    assert hits(image)
    assert [entry.type_name for entry in table(FORMAT, image).partitions] == [None, "GEMDOS, up to 16 MiB"]


def test_a_bootable_root_sector() -> None:
    image = disk([(1, b"GEM", 2, 100)])
    assert table(FORMAT, image).details["bootable"] is False
    total = sum(unpack(">256H", image[:SECTOR]))
    place(image, 510, pack(">H", (BOOT_CHECKSUM - total) & 0xFFFF))
    assert table(FORMAT, image).details["bootable"] is True


def test_the_data_of_an_extended_sector_may_stand_in_a_later_slot() -> None:
    image = disk([(1, b"XGM", 1000, 2000)])
    place(image, 1000 * SECTOR, root_sector([(0, b"", 0, 0), (1, b"BGM", 1, 10), (1, b"XGM", 500, 100)]))
    place(image, 1500 * SECTOR, root_sector([(1, b"RAW", 1, 20)]))
    found = table(FORMAT, image)
    assert places(found) == [(1, 1001, 10), (2, 1501, 20)]
    assert [extent.offset // SECTOR for extent in found.meta] == [0, 1000, 1500]
    assert codes(found) == []


def test_a_chain_that_leads_back() -> None:
    image = disk([(1, b"XGM", 1000, 2000)])
    place(image, 1000 * SECTOR, root_sector([(1, b"BGM", 1, 10), (1, b"XGM", 0, 100)]))
    found = table(FORMAT, image)
    assert (places(found), codes(found)) == ([(1, 1001, 10)], ["loop"])


@pytest.mark.parametrize(
    "sector",
    [
        root_sector([]),
        root_sector([(1, b"XGM", 1, 10)]),
        root_sector([(0, b"", 0, 0)] * 3 + [(1, b"GEM", 1, 10)]),
        root_sector([(1, b"GEM", 1, 10), (1, b"GEM", 500, 10)]),
    ],
)
def test_a_broken_chain(sector: bytes) -> None:
    image = disk([(1, b"GEM", 2, 10), (1, b"XGM", 1000, 2000)])
    place(image, 1000 * SECTOR, sector)
    found = table(FORMAT, image)
    assert places(found)[0] == (1, 2, 10)
    assert codes(found) == ["damaged"]


def test_no_chain_is_followed_for_ever() -> None:
    image = disk([(1, b"XGM", 100, 1000)])
    for link in range(CHAIN_CAP + 5):
        place(image, (100 + link) * SECTOR, root_sector([(1, b"GEM", 1, 1), (1, b"XGM", link + 1, 1)]))
    found = table(FORMAT, image)
    assert (len(found.partitions), codes(found)) == (CHAIN_CAP, ["budget"])


def test_icd_needs_a_good_first_entry_and_no_extended_partition() -> None:
    parts: list[Entry] = [(1, b"GEM", 2, 100)]
    icd: list[Entry] = [(1, b"GEM", 200, 100), (1, b"ABC", 300, 50), (1, b"RAW", 400, 100)]
    found = table(FORMAT, disk(parts, icd))
    assert places(found) == [(1, 2, 100), (5, 200, 100), (7, 400, 100)]
    assert found.details["variant"] == "ICD"
    assert len(table(FORMAT, disk(parts, icd[1:])).partitions) == 1
    with_chain = disk([*parts, (1, b"XGM", 1000, 100)], icd)
    place(with_chain, 1000 * SECTOR, root_sector([(1, b"GEM", 1, 10)]))
    assert places(table(FORMAT, with_chain)) == [(1, 2, 100), (2, 1001, 10)]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [(1, b"GEM", 0, 100)],
        [(1, b"GEM", 2, 0)],
        [(1, b"GEM", 2, SECTORS - 1)],
        [(1, b"GEM", 2, 0xFFFFFFFF)],
        [(1, b"GEM", 2, 100), (1, b"GEM", 101, 100)],
        [(1, b"GEM", 2, 100), (1, b"\0\0\0", 200, 100)],
        [(1, b"ABC", 2, 100)],
    ],
)
def test_entries_that_do_not_hold_together_are_no_table(parts: list[Entry]) -> None:
    assert read(FORMAT, disk(parts)) is None


def test_an_inactive_or_strangely_flagged_entry_is_no_signature() -> None:
    for flags in (0x00, 0x80, 0x03, 0xFF):
        assert not hits(disk([(flags, b"GEM", 2, 100)]))


def test_other_sectors_are_not_atari_s() -> None:
    image = disk([(1, b"GEM", 2, 100)])
    assert read(FORMAT, image, sector_size=512) is not None
    assert read(FORMAT, image, sector_size=2048) is None


@pytest.mark.parametrize("size", [0, 453, 511, 512, 52 * 1024])
def test_a_cut_disk_is_no_table(size: int) -> None:
    assert read(FORMAT, disk([(1, b"GEM", 2, 103)])[:size]) is None
