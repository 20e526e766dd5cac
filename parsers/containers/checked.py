"""Bytes whose checksums are known: what ZIP and AFF4 keep of each member, and LZ4 of each frame."""

import zlib
from _thread import allocate_lock
from bisect import bisect_right
from collections.abc import Callable, Sequence

from pyimount.formats.xxh32 import Sum
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source


class Crc32:
    """A CRC-32 on its way through some bytes."""

    def __init__(self, register: int = 0) -> None:
        self._register = register

    def update(self, data: bytes, /) -> None:
        """Take in the bytes that follow."""
        self._register = zlib.crc32(data, self._register)

    def intdigest(self) -> int:
        """The checksum of what was taken in so far."""
        return self._register

    def copy(self) -> "Crc32":
        """Another one that has taken in the same."""
        return Crc32(self._register)


class SummedRun(Record):
    """Bytes from ``start`` to ``end`` whose checksum is ``stored``; ``what`` they are, for people."""

    start: int
    end: int
    stored: int
    what: str


class CheckedSource(Source):
    """The bytes of ``inner``; runs of it are held against their checksums once they were read to the end.

    A sum is made on the way, of what is read in order from its run's start; what is read elsewhere is given
    as it is. Where the sum is wrong, the run's last byte, and any read that takes it in, gives ReadError from
    then on. ``runs``: in their order, without overlaps. ``begin``: makes a new sum; ``method``: its name.
    """

    __slots__ = ("_begin", "_inner", "_lock", "_method", "_runs", "_starts", "_sums")

    def __init__(
        self,
        inner: Source,
        runs: Sequence[SummedRun],
        begin: Callable[[], Sum] = Crc32,
        method: str = "CRC-32",
    ) -> None:
        self.size = inner.size
        self._inner = inner
        self._runs = runs
        self._starts = [run.start for run in runs]
        self._begin = begin
        self._method = method
        self._sums: dict[int, tuple[int, Sum]] = {}
        """Of the runs that were begun: how far each is summed, and the sum."""
        self._lock = allocate_lock()

    @property
    def is_far(self) -> bool:
        """As Source's."""
        return self._inner.is_far

    def expect(self, runs: Sequence[tuple[int, int]]) -> None:
        """As Source's."""
        self._inner.expect(runs)

    def beneath(self, offset: int) -> tuple[Source, int]:
        """As Source's."""
        return self._inner.beneath(offset)

    def _read(self, offset: int, length: int) -> bytes:
        data = self._inner.read_at(offset, length)
        end = offset + len(data)
        number = max(0, bisect_right(self._starts, offset) - 1)
        while number < len(self._runs) and self._runs[number].start < end:
            with self._lock:
                self._take_in(number, offset, data)
            number += 1
        return data

    def _take_in(self, number: int, offset: int, data: bytes) -> None:
        run, end = self._runs[number], offset + len(data)
        summed, total = self._sums.get(number) or (run.start, self._begin())
        if offset <= summed < min(end, run.end):
            total.update(data[summed - offset : run.end - offset])
            summed = min(end, run.end)
            self._sums[number] = summed, total
        if summed == run.end and offset < run.end <= end and total.intdigest() != run.stored:
            raise ReadError(
                f"{run.what}: its checksum is wrong: some of its {run.end - run.start} bytes are not those "
                f"that were stored ({self._method} {run.stored:#010x} stored, {total.intdigest():#010x} "
                "of the bytes)"
            )

    def close(self) -> None:
        """Close what it reads from."""
        self._inner.close()


def crc32_source(inner: Source, stored: int, what: str) -> CheckedSource:
    """A source of which all is held against one CRC-32."""
    return CheckedSource(inner, (SummedRun(0, inner.size, stored, what),))
