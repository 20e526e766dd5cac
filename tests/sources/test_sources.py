"""Bytes: exact, bounded, counted, from any thread."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyimount.problems import Range
from pyimount.sources.budget import Budget, Meter
from pyimount.sources.errors import BudgetError, OpenError, ReadError
from pyimount.sources.file import FileSource
from pyimount.sources.source import BytesSource, ConcatSource, SliceSource, Source, ZeroSource
from pyimount.sources.view import READ_CAP, ShortRead, View

CONTENT = bytes(range(256)) * 40


class Flaky(Source):
    """A device with one unreadable run."""

    def __init__(self, size: int, bad: range) -> None:
        self.size = size
        self.bad = bad

    def _read(self, offset: int, length: int) -> bytes:
        if offset < self.bad.stop and offset + length > self.bad.start:
            raise ReadError(f"bad sector at {self.bad.start}")
        return bytes([offset // 4096 & 0xFF]) * length


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(CONTENT)
    return path


def test_a_file_reads_what_it_holds(file: Path) -> None:
    meter = Meter()
    source = FileSource(file, meter)
    assert source.size == len(CONTENT)
    assert source.read_at(100, 300) == CONTENT[100:400]
    assert source.read_at(len(CONTENT) - 3, 300) == CONTENT[-3:]
    assert source.read_at(len(CONTENT), 1) == b""
    assert (meter.bytes_read, meter.reads) == (303, 2)


def test_a_file_is_opened_for_reading_only(file: Path) -> None:
    source = FileSource(file)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(source._file.descriptor, b"x")


def test_a_file_that_shrinks_gives_an_error_and_not_fewer_bytes(file: Path) -> None:
    source = FileSource(file)
    os.truncate(file, 1000)
    assert source.read_at(0, 1000) == CONTENT[:1000]
    with pytest.raises(ReadError, match="was 10240 bytes long"):
        source.read_at(500, 1000)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, why in ((fifo, "a FIFO"), (Path(os.devnull), "a character device"), (tmp_path, "directory")):
        with pytest.raises(OpenError, match=why):
            FileSource(path)
    with pytest.raises(OpenError, match="no such file"):
        FileSource(tmp_path / "nothing")
    with pytest.raises(OpenError, match="null"):
        FileSource(Path("a\0b"))


def test_a_file_without_permission_is_refused(file: Path) -> None:
    file.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        with pytest.raises(OpenError, match="permission denied"):
            FileSource(file)
    finally:
        if is_root:
            os.seteuid(0)


def test_a_failed_open_leaks_no_descriptor(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(OpenError):
            FileSource(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_read_past_the_budget_is_not_made(file: Path) -> None:
    meter = Meter(Budget(bytes_read=1000))
    source = FileSource(file, meter)
    source.read_at(0, 900)
    with pytest.raises(BudgetError):
        source.read_at(0, 101)
    assert meter.bytes_read == 900


def test_a_scan_past_its_time_stops(file: Path) -> None:
    with pytest.raises(BudgetError, match="seconds"):
        FileSource(file, Meter(Budget(seconds=-1))).read_at(0, 1)


def test_negative_places_are_an_error_of_the_program() -> None:
    for offset, length in ((-1, 1), (0, -1)):
        with pytest.raises(ValueError, match="cannot read"):
            BytesSource(CONTENT).read_at(offset, length)


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(0, 300), st.integers(0, 300))
def test_a_concatenation_reads_like_its_bytes(parts: list[bytes], offset: int, length: int) -> None:
    whole = b"".join(parts)
    source = ConcatSource([BytesSource(part) for part in parts])
    assert source.size == len(whole)
    assert source.read_at(offset, length) == whole[offset : offset + length]


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=5), st.integers(0, 300))
def test_a_slice_of_slices_reads_like_its_bytes(cuts: list[tuple[int, int]], length: int) -> None:
    data, source = CONTENT[:256], BytesSource(CONTENT[:256])
    cut: Source = source
    for offset, size in cuts:
        data, cut = data[offset : offset + size], SliceSource(cut, offset, size)
    assert cut.size == len(data)
    assert cut.read_at(1, length) == data[1 : 1 + length]


def test_zeros() -> None:
    assert ZeroSource(10).read_at(8, 10) == bytes(2)


def test_many_threads_read_one_file(file: Path) -> None:
    source = ConcatSource([FileSource(file), FileSource(file)])
    barrier = threading.Barrier(8)

    def read(seed: int) -> bool:
        barrier.wait()
        return all(
            source.read_at(at, 777) == (CONTENT * 2)[at : at + 777]
            for at in range(seed, len(CONTENT) * 2, 997)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_a_view_fetches_each_byte_once(file: Path) -> None:
    meter = Meter()
    view = View(FileSource(file, meter))
    view.preload(((0, 4096), (8192, 4096)))
    read = meter.bytes_read
    assert view.read(100, 200) == CONTENT[100:300]
    assert view.peek(10200, 100) == CONTENT[10200:]
    assert meter.bytes_read == read
    view.read(5000, 100)
    view.read(5000, 100)
    assert meter.bytes_read == read + 100


@given(
    st.lists(st.tuples(st.integers(0, 12000), st.integers(0, 5000)), max_size=5),
    st.lists(st.tuples(st.integers(-10, 12000), st.integers(-10, 5000)), max_size=8),
)
def test_a_view_shows_the_same_bytes_whatever_was_read_before(
    runs: list[tuple[int, int]], reads: list[tuple[int, int]]
) -> None:
    view = View(BytesSource(CONTENT))
    view.preload(runs)
    for offset, length in reads:
        wanted = CONTENT[offset : offset + length] if offset >= 0 and length > 0 else b""
        assert view.peek(offset, length) == wanted
        assert view.glance(offset, length) == wanted


@pytest.mark.parametrize(("offset", "length"), [(0, 10241), (10240, 1), (-1, 1), (0, -1), (0, READ_CAP + 1)])
def test_a_view_never_gives_fewer_bytes_than_asked(offset: int, length: int) -> None:
    with pytest.raises(ShortRead):
        View(BytesSource(CONTENT)).read(offset, length)


RUNS = st.lists(
    st.tuples(st.integers(min_value=-10, max_value=11_000), st.integers(min_value=0, max_value=5000)),
    max_size=12,
)


@given(runs=RUNS, before=RUNS, offset=st.integers(min_value=0, max_value=3000))
def test_many_places_at_once_are_what_they_are_one_by_one(
    tmp_path_factory: pytest.TempPathFactory,
    runs: list[tuple[int, int]],
    before: list[tuple[int, int]],
    offset: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "runs.img"
    if not path.exists():
        path.write_bytes(CONTENT)
    with_meter, plain = Meter(), BytesSource(CONTENT)
    file = FileSource(path, with_meter)
    for source, other in ((file, plain), (SliceSource(file, offset, 6000), SliceSource(plain, offset, 6000))):
        together, apart = View(source), View(other)
        for view in (together, apart):
            view.preload(before)
        read = with_meter.bytes_read
        assert together.glances(runs) == [apart.glance(*run) for run in runs]
        assert with_meter.bytes_read - read <= sum(length for _, length in runs)
        assert together.unread == apart.unread == ()
    file.close()


def test_what_is_read_at_once_is_charged_and_goes_as_far_as_is_allowed(file: Path) -> None:
    meter = Meter(Budget(bytes_read=20))
    source = FileSource(file, meter)
    assert source.read_runs(((0, 8), (100, 8))) == [CONTENT[:8], CONTENT[100:108]]
    assert (meter.bytes_read, meter.reads) == (16, 2)
    assert source.read_runs(((0, 4), (8, 4))) is None
    view = View(source)
    with pytest.raises(BudgetError):
        view.preload(((0, 4), (8, 4)))
    assert meter.bytes_read == 20
    assert view.glance(0, 4) == CONTENT[:4]
    source.close()


def test_a_file_that_became_shorter_is_read_as_far_as_it_goes(file: Path) -> None:
    view = View(FileSource(file))
    os.truncate(file, 4096)
    view.preload(((0, 512), (8192, 512)))
    assert view.glances(((0, 512), (8192, 512))) == [CONTENT[:512], b""]
    (problem,) = view.unread
    assert "ends at 8192" in problem.message


def test_a_view_goes_on_beside_a_bad_sector() -> None:
    view = View(Flaky(1 << 16, range(8192, 8704)))
    view.preload(((0, 16384),))
    assert view.glance(0, 10) == bytes(10)
    assert view.glance(8200, 10) == b""
    assert view.glance(12288, 2) == b"\3\3"
    (unread,) = view.unread
    assert (unread.message, unread.count, unread.ranges) == ("bad sector at 8192", 1, (Range(8192, 4096),))
    assert view.glance(4096, 4096) == b"\1" * 4096
    with pytest.raises(ReadError):
        view.read(8200, 10)
