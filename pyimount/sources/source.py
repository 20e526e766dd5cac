"""The Source interface, and the sources that are made of other sources."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from pyimount.sources.errors import MissingBytes, ReadError

LAST = (1 << 63) - 1
"""The largest size, and the last offset, that a file can have: what claims more is damaged."""


class Source(ABC):
    """Read-only bytes of known size, readable at any offset from any thread.

    ``size`` is in bytes and does not change. A subclass gives ``_read``; everybody calls
    ``read_at``.
    """

    __slots__ = ("size",)

    size: int

    @property
    def is_far(self) -> bool:
        """Whether each read takes a way so long that it pays to say beforehand what will be read."""
        return False

    def expect(self, runs: Sequence[tuple[int, int]]) -> None:  # noqa: B027  (what is near fetches nothing ahead)
        """Take note that these runs, ``(offset, length)``, are about to be read: of what is far, all at once.

        Never raises: what could not be fetched, the reads will tell.
        """

    def beneath(self, offset: int) -> "tuple[Source, int]":
        """The source below of which this is a run, and where this byte stands there; else this one itself."""
        return self, offset

    def read_at(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes at ``offset``, fewer only where the source ends.

        Raises ReadError when bytes within the source cannot be had, BudgetError when the scan
        may not read any more, ValueError when offset or length is negative.
        """
        if offset < 0 or length < 0:
            raise ValueError(f"cannot read {length} bytes at {offset}")
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        data = self._read(offset, length)
        if len(data) != length:
            raise ReadError(f"{len(data)} of {length} bytes could be read at {offset}")
        return data

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes] | None:  # noqa: ARG002
        """The bytes of each of these runs, ``(offset, length)``, where having all of them at once is cheaper.

        No run is empty, and all lie within the source. Returns None where one by one is as good, and
        where not all can be read: ``read_at`` tells for each. Never raises.
        """
        return None

    @abstractmethod
    def _read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` (> 0) bytes at ``offset``; the range lies within ``size``."""

    def lost_around(self, offset: int) -> tuple[int, int] | None:  # noqa: ARG002
        """The run (start, end) around a byte of which nothing can be had; None where none is known.

        Nothing is read to find out.
        """
        return None

    @property
    def mark(self) -> str | None:
        """What tells the states of a file that lies elsewhere apart; None for any other source."""
        return None

    def changed(self) -> str | None:
        """What says that these are no longer the bytes that were opened, where that is known."""
        return None

    def close(self) -> None:  # noqa: B027  (most sources hold nothing)
        """Give back what the source holds open; reading afterwards is an error."""


class NamedSource(Source):
    """The bytes of a file; ``path``: what it goes by, one name for one file."""

    __slots__ = ()

    path: str


class BytesSource(Source):
    """Bytes in memory."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def _read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


class CutSource(Source):
    """What has lost its end: ``size`` bytes, of which only those that ``parent`` has can be read."""

    __slots__ = ("_parent",)

    def __init__(self, parent: Source, size: int) -> None:
        self._parent = parent
        self.size = max(parent.size, min(size, LAST))

    def _read(self, offset: int, length: int) -> bytes:
        if offset + length > self._parent.size:
            raise ReadError(f"nothing is there from {self._parent.size} on: the image ends before")
        return self._parent.read_at(offset, length)

    def close(self) -> None:
        """Close what is there."""
        self._parent.close()


class SliceSource(Source):
    """A run of another source. A run that reaches beyond it ends where it ends."""

    __slots__ = ("_parent", "_start")

    _parent: Source
    _start: int

    def __init__(self, parent: Source, offset: int, size: int) -> None:
        if offset < 0 or size < 0:
            raise ValueError(f"no run of {size} bytes at {offset}")
        # A slice of a slice reads from the bottom at once: depth costs nothing.
        while isinstance(parent, SliceSource):
            size = min(size, max(0, parent.size - offset))
            offset += parent._start
            parent = parent._parent
        self._parent = parent
        self._start = offset
        self.size = max(0, min(size, parent.size - offset, LAST))

    @property
    def is_far(self) -> bool:
        """As Source's."""
        return self._parent.is_far

    def expect(self, runs: Sequence[tuple[int, int]]) -> None:
        """As Source's."""
        inside = ((at, min(length, self.size - at)) for at, length in runs if 0 <= at < self.size)
        self._parent.expect([(self._start + at, length) for at, length in inside])

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """As Source's."""
        return self._parent.read_runs([(self._start + offset, length) for offset, length in runs])

    def beneath(self, offset: int) -> tuple[Source, int]:
        """As Source's."""
        return self._parent.beneath(self._start + offset)

    def _read(self, offset: int, length: int) -> bytes:
        return self._parent.read_at(self._start + offset, length)

    def lost_around(self, offset: int) -> tuple[int, int] | None:
        """As the source below knows it."""
        lost = self._parent.lost_around(self._start + offset)
        return (
            None if lost is None else (max(0, lost[0] - self._start), min(self.size, lost[1] - self._start))
        )


class ConcatSource(Source):
    """Sources one after the other, as one: the segments of a split image."""

    __slots__ = ("_ends", "_parts")

    def __init__(self, parts: Sequence[Source]) -> None:
        self._parts = tuple(parts)
        self._ends = tuple(accumulate(part.size for part in self._parts))
        self.size = self._ends[-1] if self._ends else 0

    @property
    def is_far(self) -> bool:
        """As Source's: whether any part is."""
        return any(part.is_far for part in self._parts)

    def expect(self, runs: Sequence[tuple[int, int]]) -> None:
        """As Source's."""
        wanted: dict[int, list[tuple[int, int]]] = {}
        for start, length in runs:
            offset, end = start, min(start + length, self.size)
            while 0 <= offset < end:
                number = bisect_right(self._ends, offset)
                at = offset - (self._ends[number] - self._parts[number].size)
                count = min(end, self._ends[number]) - offset
                wanted.setdefault(number, []).append((at, count))
                offset += count
        for number, places in wanted.items():
            self._parts[number].expect(places)

    def _read(self, offset: int, length: int) -> bytes:
        chunks = []
        number = bisect_right(self._ends, offset)
        while length:
            part = self._parts[number]
            at = offset - (self._ends[number] - part.size)
            chunk = part.read_at(at, min(length, part.size - at))
            chunks.append(chunk)
            offset += len(chunk)
            length -= len(chunk)
            number += 1
        return b"".join(chunks)

    def close(self) -> None:
        """Close every part."""
        for part in self._parts:
            part.close()


class ZeroSource(Source):
    """Zeros: what stands for a hole."""

    __slots__ = ()

    def __init__(self, size: int) -> None:
        self.size = size

    def _read(self, offset: int, length: int) -> bytes:  # noqa: ARG002
        return bytes(length)


class LostSource(Source):
    """Bytes whose place is known and that are not to be had: reading them raises MissingBytes."""

    __slots__ = ("_why",)

    def __init__(self, size: int, why: str) -> None:
        self.size = size
        self._why = why

    def _read(self, offset: int, length: int) -> bytes:  # noqa: ARG002
        raise MissingBytes(self._why)

    def lost_around(self, offset: int) -> tuple[int, int] | None:  # noqa: ARG002
        """All of it."""
        return 0, self.size
