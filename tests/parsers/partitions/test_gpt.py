"""GPT: two copies, their checksums, and which of them is believed; sizes of sectors and entries."""

import re
import subprocess
from pathlib import Path
from uuid import UUID

import pytest

from fixtures.workshop import find_tool
from pyimount.parsers.partitions.gpt import FORMAT
from pyimount.parsers.partitions.gpt_types import TYPES
from pyimount.recognition.probing import probe
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
    found = probe(View(BytesSource(bytes(gpt_disk(PARTS, first_sector=boot(record(0x83, 10, 20)))))))
    assert found.table is not None
    assert (found.table.pttype, places(found.table)) == ("dos", [(1, 10, 20)])
    # What it names may still be there, so it is not passed over.
    assert [one.type for one in found.candidates] == ["gpt"]
    assert [problem.code.value for problem in found.problems] == ["ambiguous"]
    # A table that names nothing hides nothing, and of a damaged one nobody knows what is gone.
    assert read(FORMAT, gpt_disk([], first_sector=boot(record(0x83, 10, 20)))) is None
    damaged = gpt_disk(PARTS, first_sector=boot(record(0x83, 10, 20)))
    damaged[SECTOR + 20] ^= 1
    assert read(FORMAT, damaged) is None
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


ONE = Part(1, 100, 199, name="system")
HEADERS = (SECTOR, 4095 * SECTOR)


def without_checksums(word: bytes, *, protective: bool = True) -> bytearray:
    image = gpt_disk([ONE], first_sector=None if protective else bytes(512))
    for at in HEADERS:
        place(image, at + 16, word)
        place(image, at + 88, word)
    return image


@pytest.mark.parametrize("word", [bytes(4), b"\xff" * 4, b"\x12\x34\x56\x78"])
def test_a_table_whose_checksums_were_never_reckoned(word: bytes) -> None:
    found = table(FORMAT, without_checksums(word))
    assert (places(found), codes(found)) == ([(1, 100, 100)], ["bad-checksum"])
    assert int.from_bytes(word, "little") == int(str(found.problems[0].message).split("each is ")[1][:10], 16)
    assert not found.checked


def test_of_a_table_without_checksums_the_backup_alone_may_be_left() -> None:
    image = without_checksums(bytes(4))
    place(image, SECTOR, bytes(SECTOR))
    found = table(FORMAT, image)
    assert (places(found), codes(found)) == ([(1, 100, 100)], ["bad-checksum", "backup-used"])


def test_without_a_sane_protective_mbr_it_is_none() -> None:
    assert read(FORMAT, without_checksums(bytes(4), protective=False)) is None
    image = without_checksums(bytes(4))
    place(image, 0, boot(record(0xEE, 7, 4095)))
    assert read(FORMAT, image) is None


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (24, (2).to_bytes(8, "little")),  # MyLBA
        (40, (5000).to_bytes(8, "little")),  # FirstUsableLBA
        (8, bytes(4)),  # Revision
    ],
)
def test_nor_where_something_else_does_not_hold(at: int, data: bytes) -> None:
    image = without_checksums(bytes(4))
    for header_at in HEADERS:
        place(image, header_at + at, data)
    assert read(FORMAT, image) is None


def test_nor_where_an_entry_lies_outside_what_is_usable() -> None:
    image = gpt_disk([Part(1, 100, 5000)])
    for at in HEADERS:
        place(image, at + 16, bytes(4))
        place(image, at + 88, bytes(4))
    assert read(FORMAT, image) is None


def test_copies_without_checksums_that_do_not_agree() -> None:
    image = without_checksums(bytes(4))
    place(image, 4063 * SECTOR + 56, b"x")
    assert codes(table(FORMAT, image)) == ["bad-checksum", "copies-differ"]


def test_records_of_a_hybrid_mbr_that_no_entry_covers() -> None:
    image = gpt_disk([ONE, Part(2, 300, 399)])
    place(
        image,
        0,
        boot(record(0xEE, 1, 50), record(0x83, 100, 100), record(0x0C, 1000, 200), record(0x83, 1, 4000)),
    )
    found = table(FORMAT, image)
    assert places(found) == [(1, 100, 100), (2, 300, 100), (3, 1000, 200)]
    assert [problem.code.value for problem in found.partitions[2].problems] == ["copies-differ"]
    assert [entry.problems for entry in found.partitions[:2]] == [(), ()]


def test_logical_partitions_of_a_hybrid_mbr() -> None:
    image = gpt_disk([ONE])
    place(image, 0, boot(record(0xEE, 1, 50), record(0x05, 1000, 500)))
    place(image, 1000 * SECTOR, boot(record(0x83, 10, 100)))
    assert places(table(FORMAT, image)) == [(1, 100, 100), (2, 1010, 100)]


def test_a_table_with_nothing_in_it_beside_an_mbr_with_partitions() -> None:
    image = gpt_disk([])
    place(image, 0, boot(record(0xEE, 1, 50), record(0x83, 100, 100), record(0x83, 300, 100)))
    found = probe(View(BytesSource(bytes(image))))
    assert found.table is not None
    assert places(found.table) == [(1, 1, 50), (2, 100, 100), (3, 300, 100)]
    assert [(one.type, one.why_not.split(",")[0]) for one in found.candidates] == [
        ("gpt", "it has no partitions")
    ]
    assert "ambiguous" in [problem.code.value for problem in found.problems]


def test_a_table_with_nothing_in_it_and_its_protective_mbr() -> None:
    found = probe(View(BytesSource(bytes(gpt_disk([])))))
    assert found.table is not None
    assert (found.table.pttype, found.candidates, found.problems) == ("gpt", (), ())


def signed(image: bytearray, lba: int, magic: bytes) -> bytearray:
    return resigned(image, lba, 0, magic)


def test_cgpt_legacy_signs_both_headers_anew_and_empties_the_primary_entries() -> None:
    image = signed(signed(gpt_disk([ONE]), 1, b"CHROMEOS"), 4095, b"CHROMEOS")
    place(image, 2 * SECTOR, bytes(128))
    found = table(FORMAT, image)
    assert (places(found), codes(found)) == ([(1, 100, 100)], ["backup-used", "bad-checksum"])
    assert found.details["signature"] == "CHROMEOS"


def test_a_header_that_is_not_to_be_used() -> None:
    image = gpt_disk([ONE])
    # As `cgpt legacy -p` leaves it: nothing but the mark.
    place(image, SECTOR, b"IGNOREME".ljust(92, b"\0"))
    found = table(FORMAT, image)
    assert (places(found), codes(found)) == ([(1, 100, 100)], ["backup-used"])
    assert "marked as not to be used" in found.problems[0].message


def test_a_backup_that_is_not_to_be_used_is_not_missing() -> None:
    image = gpt_disk([ONE])
    place(image, HEADERS[1], b"IGNOREME")
    found = table(FORMAT, image)
    assert (places(found), codes(found)) == ([(1, 100, 100)], [])


@pytest.mark.needs("cgpt")
@pytest.mark.parametrize("how", [[], ["-p"]])
def test_what_cgpt_legacy_writes(how: list[str], tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(gpt_disk([ONE, Part(2, 300, 399)]))
    tool = str(find_tool("cgpt"))
    subprocess.run([tool, "legacy", *how, str(path)], check=True, capture_output=True)
    shown = subprocess.run([tool, "show", "-q", str(path)], check=True, capture_output=True, text=True).stdout
    theirs = sorted(
        (int(n), int(at), int(size)) for at, size, n in re.findall(r"^\s*(\d+)\s+(\d+)\s+(\d+) ", shown, re.M)
    )
    assert places(table(FORMAT, path.read_bytes())) == theirs == [(1, 100, 100), (2, 300, 100)]
