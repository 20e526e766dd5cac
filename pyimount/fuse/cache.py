"""What is written over a layer: a sparse file of its blocks, beside a map of which are in there.

Data is written before the bit that says so, and a flush brings them to the disk in that order: whoever finds
the two after a crash reads every block as it was before a write or after it. The layer is never written.
"""

import mmap
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import groupby
from threading import Lock

from pyimount.confinement.cache_files import (
    BITS_AT,
    CacheFiles,
    names_in,
    note_lost,
    open_locked,
    remove,
    written,
)
from pyimount.sources.errors import OpenError, ReadError, SourceError
from pyimount.sources.source import Source

BLOCK = 4096
"""The unit in which the map counts, in bytes."""

_MAGIC = b"pyimount cache\0\1"
_HEADER = struct.Struct("<16sQQ32s")
_FINGERPRINT_OF = 1 << 16


def open_cache(folder: int, names: Sequence[str]) -> Mapping[str, CacheFiles]:
    """Open the caches of these names in a folder that is open, and make those that are not there.

    Raises OSError, and OpenError when another server writes to one of them.
    """
    made: dict[str, CacheFiles] = {}
    try:
        for name in names:
            made[name] = open_locked(folder, name)
    except BlockingIOError as error:
        for files in made.values():
            os.close(files.data)
            os.close(files.map)
        raise OpenError(IN_USE) from error
    return made


IN_USE = "another session writes to this cache ('pyimount list' shows which): give --rwpath another folder"


def rw_active(folder: str) -> bool:
    """Whether anything was written to a cache in this folder; raises OSError when it cannot be read."""
    with _opened(folder) as at:
        return written(at, names_in(at)).any


def discard(folder: str) -> None:
    """Remove the caches in this folder, and the folder if nothing else is in it.

    Raises OSError, BlockingIOError while a server writes to one of them.
    """
    with _opened(folder) as at:
        remove(at, names_in(at))
        if not os.listdir(at):
            os.rmdir(folder)


@contextmanager
def _opened(folder: str) -> Iterator[int]:
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield at
    finally:
        os.close(at)


class CachedSource(Source):
    """A layer with what was written over it.

    Raises OpenError when the cache is of another layer, or cannot be as large as this one.
    """

    __slots__ = ("_base", "_bits", "_data", "_lock", "_map")

    def __init__(self, base: Source, files: CacheFiles) -> None:
        self.size = base.size
        self._base = base
        self._data = files.data
        self._map = files.map
        self._lock = Lock()
        blocks = -(-self.size // BLOCK)
        try:
            self._claim()
            os.ftruncate(self._data, self.size)
            os.ftruncate(self._map, BITS_AT + (blocks + 7) // 8)
            # Read through memory, written through the descriptor: where the disk is full that
            # is an error, and not the end of the process.
            self._bits = mmap.mmap(self._map, 0, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            self._let_go()
            raise OpenError(f"the cache cannot be used: {error}") from error
        except SourceError:
            self._let_go()
            raise

    def _claim(self) -> None:
        """Take the cache for this layer, or see that it is this layer's."""
        ends = self._base.read_at(0, _FINGERPRINT_OF)
        ends += self._base.read_at(max(0, self.size - _FINGERPRINT_OF), _FINGERPRINT_OF)
        header = _HEADER.pack(_MAGIC, BLOCK, self.size, sha256(ends).digest())
        found = os.pread(self._map, _HEADER.size, 0)
        if found.strip(b"\0") and found != header:
            raise OpenError("the cache was written over something else, or by another version")
        # The whole page: what a write that fails is noted in has its place from now on.
        os.pwrite(self._map, header.ljust(BITS_AT, b"\0"), 0)

    def _read(self, offset: int, length: int) -> bytes:
        end = offset + length
        chunks = []
        for is_there, first, last in self._runs(offset // BLOCK, -(-end // BLOCK)):
            start, stop = max(offset, first * BLOCK), min(end, last * BLOCK)
            chunks.append(self._written(start, stop) if is_there else self._base.read_at(start, stop - start))
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _written(self, start: int, stop: int) -> bytes:
        data = bytearray()
        while start + len(data) < stop:
            try:
                piece = os.pread(self._data, stop - start - len(data), start + len(data))
            except OSError as error:
                raise ReadError(f"the cache cannot be read at {start}: {error.strerror}") from error
            if not piece:
                raise ReadError(f"the cache ends at {start + len(data)}")
            data += piece
        return bytes(data)

    def _runs(self, first: int, last: int) -> Iterator[tuple[bool, int, int]]:
        """Whether blocks were written, from ``first`` to before ``last``, in runs of those alike."""
        bits = self._bits[BITS_AT + first // 8 : BITS_AT + (last + 7) // 8]
        if not bits.strip(b"\0"):
            yield False, first, last
            return
        if not bits.strip(b"\xff"):
            yield True, first, last
            return
        base = first // 8 * 8
        for is_there, run in groupby(
            range(first, last), lambda block: bits[(block - base) // 8] >> (block & 7) & 1
        ):
            blocks = list(run)
            yield bool(is_there), blocks[0], blocks[-1] + 1

    def write_at(self, offset: int, data: bytes) -> int:
        """Write ``data``, as much as lies within the size, and return how much that was.

        Raises OSError when the cache has no room; ReadError when a block that is written in part
        cannot be read.
        """
        data = data[: max(0, self.size - offset)]
        if not data:
            return 0
        end = offset + len(data)
        first, last = offset // BLOCK, -(-end // BLOCK)
        with self._lock:
            before = after = b""
            if offset % BLOCK and not self._is_written(first):
                before = self._base.read_at(first * BLOCK, offset % BLOCK)
            if end % BLOCK and end < self.size and not self._is_written(last - 1):
                after = self._base.read_at(end, last * BLOCK - end)
            try:
                _write(self._data, before + data + after, offset - len(before))
                self._mark(first, last)
            except OSError as error:
                note_lost(self._map, error)
                raise
        return len(data)

    def _is_written(self, block: int) -> bool:
        return bool(self._bits[BITS_AT + block // 8] >> (block & 7) & 1)

    def _mark(self, first: int, last: int) -> None:
        low, high = BITS_AT + first // 8, BITS_AT + (last + 7) // 8
        before = int.from_bytes(self._bits[low:high], "little")
        after = before | ((1 << (last - first)) - 1) << (first & 7)
        if after != before:
            _write(self._map, after.to_bytes(high - low, "little"), low)

    def flush(self) -> None:
        """Bring to the disk what was written; raises OSError."""
        with self._lock:
            try:
                os.fdatasync(self._data)
                os.fdatasync(self._map)
            except OSError as error:
                note_lost(self._map, error)
                raise

    def close(self) -> None:
        """Close the files of the cache; the layer below is its owner's."""
        self._bits.close()
        self._let_go()

    def _let_go(self) -> None:
        os.close(self._data)
        os.close(self._map)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, memoryview(data)[done:], offset + done)
