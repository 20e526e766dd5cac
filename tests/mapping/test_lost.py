"""What is lost with a member of an array is known without a read, and one failure is enough for all of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyimount import detect
from pyimount.mapping.parity import ParitySource
from pyimount.mapping.raid import (
    Device,
    LinearSource,
    MirrorSource,
    Raid10Layout,
    Raid10Source,
    StripedSource,
    strip_zones,
)
from pyimount.sources.errors import ReadError
from pyimount.sources.file import FileSource
from pyimount.sources.source import BytesSource, LostSource, SliceSource, Source
from pyimount.sources.view import View
from tests.mapping.md_members import members, striped, with_parity
from tests.mapping.volume_members import content

CHUNK, COUNT, EACH = 4096, 4, 4 * 4096


class Counted(BytesSource):
    """Bytes that count how often they are read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads = 0

    def _read(self, offset: int, length: int) -> bytes:
        self.reads += 1
        return super()._read(offset, length)


def array(kind: str, gone: Sequence[int]) -> tuple[Source, list[Counted]]:
    disks = [Counted(content(EACH)) for _ in range(COUNT)]
    devices = [None if slot in gone else Device(disk, 0, EACH) for slot, disk in enumerate(disks)]
    sizes = [EACH] * COUNT
    if kind == "linear":
        return LinearSource(devices, sizes), disks
    if kind == "raid0":
        return StripedSource(devices, strip_zones(sizes, CHUNK), CHUNK), disks
    if kind == "raid1":
        return MirrorSource(devices, EACH), disks
    if kind == "raid10":
        return Raid10Source(devices, Raid10Layout(0x102, CHUNK, COUNT, EACH), CHUNK), disks
    level, width = (6, 2) if kind == "raid6" else (5, 3)
    return ParitySource(devices, level=level, layout=2, chunk=CHUNK, size=width * EACH), disks


@pytest.mark.parametrize("kind", ["linear", "raid0", "raid1", "raid10", "raid5", "raid6"])
@given(st.sets(st.integers(0, COUNT - 1)), st.integers(0, 8 * EACH), st.integers(0, 3 * CHUNK))
def test_what_is_lost_fails_and_what_is_not_can_be_read(
    kind: str, gone: set[int], offset: int, cut: int
) -> None:
    whole, disks = array(kind, sorted(gone))
    for source in (whole, SliceSource(whole, cut, whole.size)):
        at = offset % max(1, source.size)
        lost = source.lost_around(at)
        assert not any(disk.reads for disk in disks)
        if lost is None:
            assert len(source.read_at(at, 1)) == 1
            for disk in disks:
                disk.reads = 0
            continue
        start, end = lost
        assert 0 <= start <= at < end <= source.size
        for each in {start, at, end - 1}:
            with pytest.raises(ReadError):
                source.read_at(each, 1)
    assert not gone or not any(disk.reads for disk in disks) or lost is None


def test_a_parity_array_that_misses_too_many_reads_none_of_the_others() -> None:
    source, disks = array("raid5", [0, 2])
    with pytest.raises(ReadError, match="members 0, 2"):
        source.read_at(0, source.size)
    assert sum(disk.reads for disk in disks) <= 2


def test_what_a_lower_source_has_lost_is_lost_above_it() -> None:
    below = LostSource(EACH, "gone")
    source = LinearSource([Device(BytesSource(bytes(EACH)), 0, EACH), Device(below, 0, EACH)], [EACH, EACH])
    assert source.lost_around(0) is None
    assert source.lost_around(EACH + 5) == (EACH, 2 * EACH)
    assert MirrorSource([Device(below, 0, EACH), None], EACH).lost_around(7) == (0, EACH)


class Failing(LostSource):
    """A lost source that counts how often it is asked."""

    reads = 0

    def _read(self, offset: int, length: int) -> bytes:
        type(self).reads += 1
        return super()._read(offset, length)


def test_a_view_asks_once_for_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Failing, "reads", 0)
    view = View(Failing(1 << 20, "gone"))
    view.preload([(0, 4096), (65536, 4096)])
    assert [view.glance(at, 4) for at in range(0, 1 << 20, 512)] == [b""] * 2048
    with pytest.raises(ReadError, match="gone"):
        view.read(5, 5)
    assert (Failing.reads, [problem.message for problem in view.unread]) == (1, ["gone"])


def test_a_view_keeps_what_is_there_of_a_run_that_fails() -> None:
    source, disks = array("raid0", [1])
    view = View(source)
    view.preload([(0, 8 * CHUNK)])
    before = sum(disk.reads for disk in disks)
    assert view.read(0, CHUNK) == content(EACH)[:CHUNK]
    assert view.read(2 * CHUNK, 2 * CHUNK) == content(EACH)[:CHUNK] * 2
    assert view.glance(CHUNK, 4) == b""
    assert sum(disk.reads for disk in disks) == before


# Images.


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all reads of image files."""
    made: list[int] = []
    usual = FileSource._read

    def counted(self: FileSource, offset: int, length: int) -> bytes:
        made.append(length)
        return usual(self, offset, length)

    monkeypatch.setattr(FileSource, "_read", counted)
    # One by one, so that all of them are counted.
    monkeypatch.setattr(FileSource, "read_runs", lambda _, runs: None)
    return made


@pytest.mark.parametrize("level", [0, 5])
@pytest.mark.parametrize("there", [1, 2])
def test_a_member_without_the_others_costs_few_reads(
    level: int, there: int, reads: list[int], tmp_path: Path
) -> None:
    """It was hundreds: each parser's every glance at the array failed by itself."""
    data = content(192 << 10)
    if level == 0:
        size = len(data) // 4
        facts: dict[str, Any] = {"layout": 2, "feature_map": 0x1000, "size": 0}
        images = members(striped(data, [size] * 4), level=0, **facts)
    else:
        images = members(with_parity(data, 5, 2), level=5, layout=2)
    paths = [tmp_path / str(number) for number in range(there)]
    for path, image in zip(paths, images, strict=False):
        path.write_bytes(image)
    scan = detect(paths)
    assert any(problem.code == "missing-member" for _, problem in scan.all_problems())
    alone = len(reads)
    reads.clear()
    blank = tmp_path / "blank"
    blank.write_bytes(bytes(len(images[0])))
    detect(blank)
    # A disk of which nothing is known is the measure: each member is looked at twice, the array once.
    assert alone <= there * (3 * len(reads) + 40)
