"""VHDX: fixed, dynamic, differencing; copies of its structures, truncation, and headers that lie."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pyimount
from fixtures.recipes.vhd import convert
from fixtures.recipes.vhdx import (
    BLANK,
    differencing,
    header_of,
    item_at,
    left_open,
    log_entry,
    regions_of,
    with_header,
)
from fixtures.workshop import Workshop
from pyimount.parsers.containers import vhdx
from pyimount.problems import Code
from pyimount.sources.errors import ReadError
from tests.disks import (
    MIB,
    assert_holds,
    assert_threads_agree,
    codes,
    contents,
    cut,
    opened,
    readable,
    source_of,
)

CONTENT = contents(7 * MIB, seed=5)
pytestmark = pytest.mark.needs("qemu-img")


@pytest.fixture
def work(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def made(work: Workshop, subformat: str = "dynamic", name: str = "disk.vhdx", block_size: str = "1M") -> Path:
    disk = work.folder / "disk.raw"
    disk.write_bytes(CONTENT)
    return convert(work, disk, name, "vhdx", "-o", f"subformat={subformat},block_size={block_size}")


def change(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize("block_size", ["1M", "2M", "16M"])
@pytest.mark.parametrize("subformat", ["dynamic", "fixed"])
def test_it_reads_back(subformat: str, block_size: str, work: Workshop) -> None:
    found = opened(made(work, subformat, block_size=block_size))
    assert codes(found) == []
    assert found.container.details["variant"] == subformat
    assert found.source is not None
    assert_holds(found.source, CONTENT)


def test_threads_agree(work: Workshop) -> None:
    assert_threads_agree(source_of(made(work)), CONTENT)


def test_dissect_reads_the_same(work: Workshop) -> None:
    from dissect.hypervisor.disk.vhdx import VHDX

    path = made(work, block_size="16M")  # it reads past the end of a block that it enters in the middle
    with path.open("rb") as file:
        assert VHDX(file).read(len(CONTENT)) == source_of(path).read_at(0, len(CONTENT))


def test_of_two_headers_the_later_counts(work: Workshop) -> None:
    path = made(work)
    image = path.read_bytes()
    first, second = (header_of(image, copy).SequenceNumber for copy in (0, 1))
    guids = (b"\x01" * 16, b"\x02" * 16)
    for copy in (0, 1):
        image = with_header(image, copy, DataWriteGuid=guids[copy])
    path.write_bytes(image)
    expected = "01010101" if first > second else "02020202"
    assert str(opened(path).container.details["data_write_guid"]).startswith(expected)


@pytest.mark.parametrize("offsets", [(64 << 10,), (128 << 10,), (192 << 10,)])
def test_of_two_copies_one_may_be_damaged(offsets: tuple[int, ...], work: Workshop) -> None:
    path = made(work)
    for offset in offsets:
        change(path, offset + 40, b"\xde\xad")
    found = opened(path)
    assert codes(found) == [Code.BACKUP_USED]
    assert found.source is not None
    assert readable(found.source, CONTENT) == 1


@pytest.mark.parametrize("first", [64 << 10, 192 << 10])
def test_both_copies_damaged_is_said(first: int, work: Workshop) -> None:
    path = made(work)
    change(path, first + 0xFF0, b"\xde\xad")
    change(path, first + (64 << 10) + 0xFF0, b"\xde\xad")
    found = opened(path)
    assert codes(found) == [Code.BAD_CHECKSUM]
    assert found.source is not None
    assert readable(found.source, CONTENT) == 1


class TestLog:
    """[MS-VHDX] 2.3.3; qemu-img check -r all replays a copy."""

    def image(self, work: Workshop) -> tuple[bytes, bytes, int]:
        """An image whose blocks its table has not yet, the table's first sector, and where that is to be."""
        image = made(work).read_bytes()
        at = regions_of(image)[vhdx.BAT_REGION].FileOffset
        return image[:at] + bytes(4096) + image[at + 4096 :], image[at : at + 4096], at

    def judged(self, work: Workshop, path: Path) -> bytes:
        """The disk as QEMU has it, which replays the log of a copy."""
        copy, disk = work.folder / "copy.vhdx", work.folder / "judged"
        copy.write_bytes(path.read_bytes())
        work.run("qemu-img", "check", "-q", "-r", "all", copy)
        work.run("qemu-img", "convert", "-O", "raw", copy, disk)
        return disk.read_bytes()

    def test_it_is_replayed_and_the_file_stays_as_it_is(self, work: Workshop) -> None:
        image, table, at = self.image(work)
        path = work.folder / "disk.vhdx"
        entry = log_entry(7, tail=0, writes={at: table}, size=len(image))
        path.write_bytes(before := left_open(image, {0: entry}))
        found = opened(path)
        assert codes(found) == []
        assert found.container.details["log_entries_replayed"] == 1
        assert found.source is not None
        assert_holds(found.source, CONTENT)
        assert_threads_agree(found.source, CONTENT)
        assert path.read_bytes() == before
        assert self.judged(work, path) == CONTENT

    def test_later_entries_count_and_zeros_too(self, work: Workshop) -> None:
        image, table, at = self.image(work)
        path, junk = work.folder / "disk.vhdx", b"\xee" * 4096
        first = log_entry(0xFFFFFFFF, tail=0, writes={at: junk, at + 4096: 1 << 16}, size=len(image))
        second = log_entry(0x100000000, tail=0, writes={at: 8192, at + 8192: junk}, size=len(image))
        third = log_entry(0x100000001, tail=0, writes={at: table, at + 8192: 4096}, size=len(image))
        placed = {0: first, len(first): second, len(first) + len(second): third}
        path.write_bytes(left_open(image, placed))
        found = opened(path)
        assert codes(found) == []
        assert found.container.details["log_entries_replayed"] == 3
        assert found.source is not None
        assert_holds(found.source, CONTENT)
        assert self.judged(work, path) == CONTENT

    def test_it_is_round_and_holds_older_entries(self, work: Workshop) -> None:
        image, table, at = self.image(work)
        path, junk = work.folder / "disk.vhdx", b"\xee" * 4096
        tail = MIB - 12288
        older = log_entry(3, tail=32768, writes={at: junk}, size=len(image))
        foreign = log_entry(99, tail=65536, writes={at: junk}, size=len(image), guid=b"x" * 16)
        first = log_entry(8, tail=tail, writes={at: junk}, size=len(image))
        second = log_entry(9, tail=tail, writes={at: table}, size=len(image))  # over the log's end
        path.write_bytes(left_open(image, {32768: older, 65536: foreign, tail: first, MIB - 4096: second}))
        found = opened(path)
        assert codes(found) == []
        assert found.container.details["log_entries_replayed"] == 2
        assert found.source is not None
        assert_holds(found.source, CONTENT)

    def test_what_stands_before_the_tail_is_in_place_already(self, work: Workshop) -> None:
        image, table, at = self.image(work)
        path = work.folder / "disk.vhdx"
        first = log_entry(1, tail=0, writes={at: b"\xee" * 4096, at + 4096: b"\xee" * 4096}, size=len(image))
        second = log_entry(2, tail=len(first), writes={at: table}, size=len(image))
        path.write_bytes(left_open(image, {0: first, len(first): second}))
        found = opened(path)
        assert found.container.details["log_entries_replayed"] == 1
        assert found.source is not None
        assert_holds(found.source, CONTENT)

    @pytest.mark.parametrize("at", [0, 4, 9, 12, 16, 24, 32, 64, 70, 80, 90, 4096, 4100, 5000, 8190])
    def test_an_entry_with_a_wrong_bit_ends_the_sequence(self, at: int, work: Workshop) -> None:
        image, table, bat = self.image(work)
        path = work.folder / "disk.vhdx"
        first = log_entry(1, tail=0, writes={bat: table}, size=len(image))
        second = bytearray(log_entry(2, tail=0, writes={bat: b"\xee" * 4096}, size=len(image)))
        second[at] ^= 0x10
        path.write_bytes(left_open(image, {0: first, len(first): bytes(second)}))
        found = opened(path)
        assert found.container.details["log_entries_replayed"] == 1
        assert found.source is not None
        assert_holds(found.source, CONTENT, reads=20)

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"tail": 8192}, "no complete sequence"),
            ({"number": 0}, "no complete sequence"),
            ({"guid": b"x" * 16}, "no complete sequence"),
            ({"size": 1 << 40}, "had 1099511627776 bytes when it was written"),
            ({"writes": {100: bytes(4096)}}, "no complete sequence"),
            ({"writes": {4096: 100}}, "no complete sequence"),
        ],
    )
    def test_one_that_cannot_be_replayed_is_said(
        self, changes: dict[str, Any], why: str, work: Workshop
    ) -> None:
        image, table, at = self.image(work)
        path = work.folder / "disk.vhdx"
        told = {"number": 1, "tail": 0, "writes": {at: table}, "size": len(image), **changes}
        path.write_bytes(left_open(image, {0: log_entry(**told)}))
        found = opened(path)
        assert codes(found) == [Code.DAMAGED]
        assert why in found.container.problems[0].message
        assert found.source is not None

    def test_an_empty_log_or_one_that_cannot_be(self, work: Workshop) -> None:
        path = made(work)
        image = left_open(path.read_bytes(), {})
        for fields in (
            {},
            {"LogVersion": 1},
            {"LogLength": 1 << 30},
            {"LogOffset": 1 << 40},
            {"LogOffset": 5},
        ):
            path.write_bytes(with_header(with_header(image, 0, **fields), 1, **fields))
            assert codes(opened(path)) == [Code.DAMAGED]

    def test_entries_that_claim_to_overlap_cost_little(self, work: Workshop) -> None:
        path = made(work)
        image = path.read_bytes()
        entry = log_entry(1, tail=0, writes={}, size=len(image))
        lying = entry[:8] + MIB.to_bytes(4, "little") + entry[12:]
        path.write_bytes(left_open(image, dict.fromkeys(range(0, MIB, 4096), lying)))
        found = opened(path)
        assert codes(found) == [Code.DAMAGED]
        assert "overlap" in found.container.problems[0].message

    def test_a_file_may_grow(self, work: Workshop) -> None:
        """What lies between the size that was flushed and the last one is zeros."""
        image, table, at = self.image(work)
        path = work.folder / "disk.vhdx"
        grown = bytearray(table)
        last = len(image) + 4 * MIB
        grown[0:8] = (len(image) | vhdx.FULLY_PRESENT).to_bytes(8, "little")
        entry = log_entry(1, tail=0, writes={at: bytes(grown)}, size=len(image), last=last)
        path.write_bytes(left_open(image, {0: entry}))
        found = opened(path)
        assert codes(found) == []
        assert found.source is not None
        assert_holds(found.source, bytes(MIB) + CONTENT[MIB:], reads=20)


@pytest.mark.parametrize("part", [0.4, 0.6, 0.9])
def test_cut_it_gives_what_is_left(part: float, work: Workshop) -> None:
    path = made(work)
    found = opened(cut(path, int(path.stat().st_size * part)))
    assert codes(found) == [Code.TRUNCATED]
    assert found.source is not None
    assert 0 < readable(found.source, CONTENT) < 1


@pytest.mark.parametrize("size", [8, 600, 65536, 70_000, 200_000, 300_000, MIB, 2 * MIB, 2 * MIB + 70_000])
def test_cut_within_its_structures(size: int, work: Workshop) -> None:
    found = opened(cut(made(work), size))
    if found.source is not None and found.container.type == "vhdx":
        with pytest.raises(ReadError):
            found.source.read_at(0, len(CONTENT))


def put_item(item: str, value: int, width: int) -> Callable[[Path], None]:
    return lambda path: change(path, item_at(path.read_bytes(), item), value.to_bytes(width, "little"))


LIES = {
    "blocks of 2 GiB": put_item(vhdx.FILE_PARAMETERS, 1 << 31, 4),
    "blocks of nothing": put_item(vhdx.FILE_PARAMETERS, 0, 4),
    "blocks of 3 MiB": put_item(vhdx.FILE_PARAMETERS, 3 * MIB, 4),
    "no sectors": put_item(vhdx.LOGICAL_SECTOR_SIZE, 0, 4),
    "huge": put_item(vhdx.VIRTUAL_DISK_SIZE, (1 << 64) - 1, 8),
    "empty": put_item(vhdx.VIRTUAL_DISK_SIZE, 0, 8),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_impossible_figures_are_not_a_vhdx(lie: Callable[[Path], None], work: Workshop) -> None:
    path = made(work)
    lie(path)
    assert opened(path).container.type == "raw"


def test_a_disk_far_larger_than_its_table(work: Workshop) -> None:
    path = made(work)
    put_item(vhdx.VIRTUAL_DISK_SIZE, 60 << 40, 8)(path)
    pyimount.detect(path)
    tracemalloc.start()
    try:
        pyimount.detect(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MIB
    source = source_of(path)
    assert source.read_at(0, len(CONTENT)) == CONTENT
    with pytest.raises(ReadError):
        source.read_at(59 << 40, 512)


class Family:
    """A parent, its child, and what the child's disk holds."""

    def __init__(self, work: Workshop) -> None:
        self.parent = made(work, name="parent.vhdx")
        self.child = work.folder / "child.vhdx"
        blank = ("create", "-q", "-f", "vhdx", "-o", BLANK, self.child, str(len(CONTENT)))
        work.run("qemu-img", *blank)
        own = {number: bytes([number % 251 + 1]) * 512 for number in (0, 7, 8, 9, 15, 16, 500, 2047)}
        image = differencing(self.child.read_bytes(), self.parent.read_bytes(), r".\parent.vhdx", own)
        self.child.write_bytes(image)
        content = bytearray(CONTENT)
        for number, data in own.items():
            content[number * 512 : (number + 1) * 512] = data
        self.content = bytes(content)


def test_a_child_shows_its_own_sectors_over_its_parents(work: Workshop) -> None:
    family = Family(work)
    found = opened(family.child)
    assert codes(found) == []
    assert found.container.details["variant"] == "differencing"
    assert found.source is not None
    assert_holds(found.source, family.content)
    assert_threads_agree(found.source, family.content)


def test_without_its_parent_a_child_gives_what_it_has(work: Workshop) -> None:
    family = Family(work)
    family.parent.unlink()
    found = opened(family.child)
    assert codes(found) == [Code.MISSING_BACKING_FILE]
    assert found.source is not None
    assert found.source.read_at(7 * 512, 3 * 512) == family.content[7 * 512 : 10 * 512]
    for offset in (512, 3 * MIB):
        with pytest.raises(ReadError, match="parent"):
            found.source.read_at(offset, 512)


def test_a_parent_that_was_written_to_since_is_not_taken(work: Workshop) -> None:
    family = Family(work)
    image = family.parent.read_bytes()
    for copy in (0, 1):
        image = with_header(image, copy, DataWriteGuid=b"\x09" * 16)
    family.parent.write_bytes(image)
    found = opened(family.child)
    assert codes(found) == [Code.MISSING_BACKING_FILE]
    assert "data write GUID" in found.container.problems[0].message


def test_a_bitmap_that_is_not_there(work: Workshop) -> None:
    family = Family(work)
    bat = regions_of(family.child.read_bytes())[vhdx.BAT_REGION].FileOffset
    change(family.child, bat + 8 * 4096, bytes(8))
    source = source_of(family.child)
    with pytest.raises(ReadError, match="bitmap"):
        source.read_at(0, 512)
    assert source.read_at(MIB, 512) == CONTENT[MIB : MIB + 512]
