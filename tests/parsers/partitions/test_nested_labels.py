"""Labels in partitions of an MBR: MINIX, Solaris, UnixWare; in their partition, and taken from it."""

from pathlib import Path
from struct import pack

import pytest

import pyimount
from fixtures.recipes.nested import SECTORS, SLICES, START, UNIXWARE_SLICES, solaris_label, unixware_label
from pyimount.formats import NotThisFormat, Table
from pyimount.parsers.partitions import minix, solaris, unixware
from pyimount.sources.source import BytesSource
from pyimount.sources.view import ShortRead, View
from tests.parsers.partitions.building import SECTOR, boot, codes, place, places, read, record, table

PARTITION = SECTORS * SECTOR


def subpartitions(image: bytes, part_type: str | None = "0x81", at: int | None = START) -> Table | None:
    offset = None if at is None else at * SECTOR
    try:
        return minix.parse(View(BytesSource(image), None, offset, part_type))
    except (NotThisFormat, ShortRead):
        return None


MINIX = boot(record(0x81, START + 1, 10, active=True), record(0x81, START + 11, 20)).ljust(PARTITION, b"\0")


def test_minix_counts_from_the_start_of_the_disk() -> None:
    found = subpartitions(MINIX)
    assert found is not None
    assert places(found) == [(1, 1, 10), (2, 11, 20)]
    assert [entry.flags for entry in found.partitions] == [("active",), ()]


@pytest.mark.parametrize(("part_type", "at"), [(None, START), ("0x83", START), ("0x81", None), ("0x81", 0)])
def test_minix_is_told_from_an_mbr_by_its_partition_alone(part_type: str | None, at: int | None) -> None:
    assert subpartitions(MINIX[: 12 * SECTOR], part_type, at) is None


def test_minix_leaves_out_what_lies_elsewhere() -> None:
    image = boot(
        record(0x81, 1, 10),
        record(0x81, START + 1, 10),
        record(0x83, START + 20, 5),
        record(0x81, START, SECTORS + 1),
    ).ljust(PARTITION, b"\0")
    found = subpartitions(image)
    assert found is not None
    assert (places(found), found.details["elsewhere"]) == ([(2, 1, 10)], [1, 4])


def test_a_minix_boot_sector_is_no_table() -> None:
    assert subpartitions(bytes(PARTITION)) is None
    assert subpartitions(boot(record(0x83, START, 10)).ljust(PARTITION, b"\0")) is None
    assert subpartitions(MINIX[:511]) is None


def nested(
    tmp_path: Path, kind: int, at: int, label: bytes, head: bytes = b""
) -> tuple[list[str], str | None]:
    """What is found in a partition with this label: the indexes inside, and the table's type."""
    image = bytearray((START + SECTORS) * SECTOR)
    place(image, 0, boot(record(kind, START, SECTORS), signature=1))
    place(image, START * SECTOR, head)
    place(image, START * SECTOR + at, label)
    path = tmp_path / "disk"
    path.write_bytes(image)
    volumes = pyimount.detect(path).to_dict()["disks"][0]["volumes"]
    inside = [each["index"] for each in volumes[0]["volumes"] if each["flag"] == "alloc"]
    return inside, volumes[0]["pttype"]


@pytest.mark.parametrize("kind", [0x82, 0xBF])
@pytest.mark.parametrize("head", [b"", boot(signature=7)])
def test_solaris_in_either_type_of_partition(tmp_path: Path, kind: int, head: bytes) -> None:
    """A boot block in front of the label is no table of its own."""
    label = solaris_label(SLICES, count=16, signed=True)
    assert nested(tmp_path, kind, solaris.AT, label, head) == (["1.1", "1.2", "1.8", "1.9"], "solaris")


def solaris_disk(label: bytes) -> bytearray:
    image = bytearray(PARTITION)
    place(image, solaris.AT, label)
    return image


def test_solaris_slices_tags_and_checksum() -> None:
    found = table(solaris.FORMAT, solaris_disk(solaris_label(SLICES, count=16, signed=True)))
    assert places(found)[:2] == [(1, 1008, 4032), (2, 5040, 2016)]
    assert [entry.type_name for entry in found.partitions][:3] == ["SunOS root", "SunOS swap", "Whole disk"]
    assert found.partitions[1].flags == ("unmountable",)
    assert (found.checked, codes(found)) == (True, [])
    assert (found.details["volume"], found.details["heads"]) == ("export", 16)


def test_solaris_with_a_wrong_checksum_and_without_any() -> None:
    wrong = bytearray(solaris_label(SLICES, count=16, signed=True))
    wrong[0] ^= 1
    found = table(solaris.FORMAT, solaris_disk(bytes(wrong)))
    assert (codes(found), found.checked) == (["bad-checksum"], False)
    bare = table(solaris.FORMAT, solaris_disk(solaris_label(SLICES, count=16, signed=False)))
    assert (codes(bare), bare.checked) == ([], False)


def test_solaris_of_old_had_eight_slices() -> None:
    found = table(solaris.FORMAT, solaris_disk(solaris_label(SLICES, count=8, signed=True)))
    assert [entry.number for entry in found.partitions] == [1, 2, 3, 8]


@pytest.mark.parametrize(("at", "data"), [(12, b"\0\0\0\0"), (16, b"\2\0\0\0"), (28, b"\1\2")])
def test_no_solaris_label(at: int, data: bytes) -> None:
    image = solaris_disk(solaris_label(SLICES, count=16, signed=True))
    place(image, solaris.AT + at, data)
    assert read(solaris.FORMAT, image) is None


def unixware_disk(label: bytes) -> bytearray:
    image = bytearray(PARTITION)
    place(image, unixware.AT, label)
    return image


def test_unixware_in_its_partition_and_taken_from_it(tmp_path: Path) -> None:
    label = unixware_label(UNIXWARE_SLICES)
    assert nested(tmp_path, 0x63, unixware.AT, label) == (["1.2", "1.3", "1.5"], "unixware")
    image = unixware_disk(label)
    alone = table(unixware.FORMAT, image)
    within = table(unixware.FORMAT, image, disk_offset=START * SECTOR)
    assert (
        places(alone) == places(within) == [(1, 0, SECTORS), (2, 64, 4096), (3, 4160, 2048), (5, 6208, 4096)]
    )
    assert [entry.meta for entry in alone.partitions] == [True, False, False, False]
    assert alone.details["volume"] == "disk0"


def test_unixware_leaves_out_what_is_unused_invalid_or_elsewhere() -> None:
    slices = [(5, 0x200, START, SECTORS), (0, 0x200, START, 9), (2, 0x000, START, 9), (2, 0x200, START, 0),
              (4, 0x200, START - 1, 9), (4, 0x211, START + 9, 9)]  # fmt: skip
    found = table(unixware.FORMAT, unixware_disk(unixware_label(slices)))
    assert places(found) == [(1, 0, SECTORS), (6, 9, 9)]
    assert found.partitions[1].flags == ("unmountable", "readonly")
    assert found.details["elsewhere"] == [4]


@pytest.mark.parametrize("at", [4, 156])
def test_unixware_needs_both_magics(at: int) -> None:
    image = unixware_disk(unixware_label(UNIXWARE_SLICES))
    place(image, unixware.AT + at, pack("<I", 0))
    assert read(unixware.FORMAT, image) is None


@pytest.mark.parametrize("declared", [solaris, unixware])
def test_a_label_that_is_cut_is_none(declared: object) -> None:
    assert isinstance(declared, type(solaris))
    label = {solaris: solaris_disk(solaris_label(SLICES, count=16, signed=True)),
             unixware: unixware_disk(unixware_label(UNIXWARE_SLICES))}[declared]  # fmt: skip
    assert read(declared.FORMAT, label[: declared.AT + 400]) is None
