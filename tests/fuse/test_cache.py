"""The write cache: what is read is what was written over what lies beneath, after a crash too."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyimount.fuse.cache import BLOCK, CachedSource, discard, open_cache, rw_active
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.source import BytesSource, Source

SIZE = 9 * BLOCK + 123
BASE = (bytes(range(1, 251)) * (SIZE // 250 + 1))[:SIZE]


def cached(folder: Path, base: Source | bytes = BASE) -> CachedSource:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        files = open_cache(descriptor, ["0.raw"])["0.raw"]
    finally:
        os.close(descriptor)
    return CachedSource(BytesSource(base) if isinstance(base, bytes) else base, files)


def name_of(descriptor: int) -> str:
    return Path(f"/proc/self/fd/{descriptor}").readlink().name


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CachedSource]:
    made = cached(tmp_path)
    yield made
    made.close()


WRITES = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=3 * BLOCK), st.booleans()), max_size=8
)


@given(WRITES, st.integers(0, SIZE), st.integers(0, SIZE))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_reads_as_memory_would(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, bytes, bool]], at: int, length: int
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    cache = cached(folder)
    expected = bytearray(BASE)
    for offset, data, reopened in writes:
        assert cache.write_at(offset, data) == min(len(data), SIZE - offset)
        expected[offset : offset + len(data)] = data[: SIZE - offset]
        if reopened:
            cache.close()
            cache = cached(folder)
        assert cache.read_at(at, length) == expected[at : at + length]
    assert cache.read_at(0, SIZE) == expected
    assert rw_active(str(folder)) == bool(writes)
    cache.close()


def test_what_is_beneath_is_read_for_the_rest_of_a_block_and_only_then(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    class Watched(BytesSource):
        def _read(self, offset: int, length: int) -> bytes:
            asked.append((offset, length))
            return super()._read(offset, length)

    cache = cached(tmp_path, Watched(BASE))
    asked.clear()
    cache.write_at(BLOCK, bytes(2 * BLOCK))
    assert asked == []
    cache.write_at(BLOCK + 5, b"within")
    assert asked == []
    cache.write_at(4 * BLOCK + 10, b"x")
    assert asked == [(4 * BLOCK, 10), (4 * BLOCK + 11, BLOCK - 11)]
    asked.clear()
    cache.write_at(SIZE - 1, b"x")
    assert asked == [(9 * BLOCK, 122)], "the last block ends with the layer"
    cache.close()


def test_bits_follow_their_data(cache: CachedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between the two leaves the block as it was."""
    real = os.pwrite
    written = []

    def crashes(descriptor: int, data: bytes, offset: int) -> int:
        name = name_of(descriptor)
        written.append(name)
        if name == "0.raw.map":
            raise OSError(5, "crash")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", crashes)
    with pytest.raises(OSError, match="crash"):
        cache.write_at(0, b"new")
    assert written[:2] == ["0.raw.data", "0.raw.map"]
    assert cache.read_at(0, 3) == BASE[:3]
    assert not rw_active(str(tmp_path))


def test_data_is_brought_to_the_disk_before_the_map(
    cache: CachedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: order.append(name_of(descriptor)))
    cache.write_at(0, b"new")
    cache.flush()
    assert order == ["0.raw.data", "0.raw.map"]


def test_it_is_sparse_and_for_its_owner_alone(tmp_path: Path) -> None:
    size = 1 << 40

    class Huge(Source):
        def __init__(self) -> None:
            self.size = size

        def _read(self, offset: int, length: int) -> bytes:
            return bytes(length)

    cache = cached(tmp_path, Huge())
    cache.write_at(size - 1, b"x")
    assert cache.read_at(size - 2, 9) == b"\0x"
    for file in tmp_path.iterdir():
        assert file.stat().st_blocks * 512 <= 1 << 16
        assert file.stat().st_mode & 0o777 == 0o600
    assert rw_active(str(tmp_path))
    cache.close()


@pytest.mark.parametrize("other", [BASE + b"x", b"x" + BASE[1:], BASE[:-1] + b"x"])
def test_a_cache_of_something_else_is_refused(other: bytes, tmp_path: Path) -> None:
    first = cached(tmp_path)
    first.write_at(0, b"mine")
    first.close()
    with pytest.raises(OpenError, match="something else"):
        cached(tmp_path, other)
    again = cached(tmp_path)
    assert again.read_at(0, 4) == b"mine"
    again.close()


def test_a_cache_that_was_cut_is_an_error_and_no_zeros(cache: CachedSource, tmp_path: Path) -> None:
    cache.write_at(BLOCK, b"new")
    os.truncate(tmp_path / "0.raw.data", BLOCK)
    with pytest.raises(ReadError, match="ends at"):
        cache.read_at(BLOCK, 3)


def test_it_is_discarded_and_nothing_else_is(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    cached(folder).close()
    (folder / "notes").touch()
    assert not rw_active(str(folder))
    discard(str(folder))
    assert [path.name for path in folder.iterdir()] == ["notes"]
    (folder / "notes").unlink()
    cached(folder).close()
    discard(str(folder))
    assert not folder.exists()
