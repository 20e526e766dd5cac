"""What a parser sees: one layer's bytes, with what has been read kept for the next parser."""

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence

from pyimount.problems import Code, Problem, Range, together
from pyimount.sources.errors import MissingBytes, ReadError
from pyimount.sources.source import Source

READ_CAP = 16 << 20
"""No parser reads more than this many bytes at once, whatever a length field says."""

_KEPT = 1 << 20

_PAGE = 4096
"""What cannot be read as a whole is read in pages: a bad sector costs its page, and no more."""

_SECTOR = 512
"""What is known to be lost begins at a multiple of this."""

_NOTES = 512
"""So many places that could not be read are noted before those that touch are put together."""


class ShortRead(Exception):  # noqa: N818  (a signal between parser and prober, not an error of the program)
    """A parser wants bytes that lie beyond the end of the layer."""


class View:
    """A layer's bytes for parsers: exact reads, bounded, and each byte fetched once.

    ``size``: bytes in the layer. ``sector_size``: bytes, where the container or the caller knows it, else
    None; ``caller_knows``: that it is the caller who says so. ``disk_offset``: where the layer starts on its
    disk in bytes, None where it is not one run of it. ``part_type``: the type that a partition table gives
    the layer, None where it is no partition. ``unread``: what could not be read so far, a problem a cause.
    """

    __slots__ = (
        "_lost",
        "_missed",
        "_notes",
        "_runs",
        "_size_kept",
        "_starts",
        "caller_knows",
        "disk_offset",
        "part_type",
        "sector_size",
        "size",
        "source",
    )

    def __init__(
        self,
        source: Source,
        sector_size: int | None = None,
        disk_offset: int | None = 0,
        part_type: str | None = None,
        *,
        caller_knows: bool = False,
    ) -> None:
        self.source = source
        self.size = source.size
        self.sector_size = sector_size
        self.caller_knows = caller_knows
        self.disk_offset = disk_offset
        self.part_type = part_type
        self._starts: list[int] = []
        self._runs: dict[int, bytes] = {}
        self._size_kept = 0
        self._lost: list[tuple[int, int, ReadError]] = []
        self._missed: dict[tuple[str, bool], list[tuple[int, int]]] = {}
        self._notes = 0

    @property
    def unread(self) -> tuple[Problem, ...]:
        """What could not be read so far: a problem for each cause, with the places."""
        return together(
            Problem(Code.READ_ERROR, message, count=len(places), ranges=places, explained=explained)
            for (message, explained), runs in self._missed.items()
            for places in (tuple(Range(start, end - start) for start, end in _joined(runs)),)
        )

    def preload(self, runs: Iterable[tuple[int, int]]) -> None:
        """Read these ``(offset, length)`` runs, as far as the layer reaches, for later reads.

        Of a run that cannot be read as a whole, those pages are kept that can.
        """
        if self.source.is_far:
            runs = tuple(runs)
            self.source.expect(runs)
        wanted: list[tuple[int, int]] = []
        reached = 0
        for offset, length in runs:
            end = min(offset + length, self.size)
            # What lies within the run before need not be read again.
            again = wanted and wanted[-1][0] <= offset and end <= reached
            if 0 <= offset < end and not again and not self._holds(offset, length):
                wanted.append((offset, end - offset))
                reached = end
        together = self._together(wanted)
        if together is not None:
            for (offset, _), data in zip(wanted, together, strict=True):
                self._keep(offset, data)
            return
        for offset, length in wanted:
            try:
                self._ask(offset, length)
                self._keep(offset, self.source.read_at(offset, length))
            except ReadError as error:
                self._keep_pages(offset, offset + length, error)

    def _together(self, runs: list[tuple[int, int]]) -> list[bytes] | None:
        """All of these runs, which lie within the layer, where they can be had at once."""
        return None if len(runs) < 2 or self._lost else self.source.read_runs(runs)

    def _keep_pages(self, start: int, end: int, error: ReadError) -> None:
        good, at = b"", start
        while at < end:
            lost = self.source.lost_around(at)
            if lost is not None:
                stop, page = min(end, max(lost[1], at + 1)), b""
                self._lost.append((*lost, error))
                self._note(error, at, stop - at)
            else:
                stop = self._page_end(at, end)
                page = self._try(at, stop - at)
            good += page
            if not page or stop >= end:
                self._keep(at + len(page) - len(good), good)
                good = b""
            at = stop

    def _page_end(self, start: int, end: int) -> int:
        """Where the page ends, or what of it is not known to be lost."""
        end = min(end, start + _PAGE)
        for at in range((start // _SECTOR + 1) * _SECTOR, end, _SECTOR):
            if self.source.lost_around(at) is not None:
                return at
        return end

    def run(self, offset: int, length: int) -> tuple[int, bytes]:
        """The run read so far that holds these bytes, and its start; else just these, by ``glance``."""
        at = bisect_right(self._starts, offset) - 1
        if at >= 0:
            start = self._starts[at]
            run = self._runs[start]
            if offset + length <= start + len(run):
                return start, run
        return offset, self.glance(offset, length)

    def glance(self, offset: int, length: int) -> bytes:
        """Bytes at ``offset``, fewer where the layer ends or where they cannot be read."""
        if offset < 0 or length <= 0:
            return b""
        known = self._known(offset, length)
        return self._try(offset, length) if known is None else known

    def glances(self, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """What ``glance`` gives for each of these places, ``(offset, length)``, with less work for many."""
        found: list[bytes | None] = []
        unknown: dict[tuple[int, int], bytes] = {}
        for place in places:
            offset, length = place
            end = offset + length
            at = bisect_right(self._starts, offset) - 1
            if at >= 0 and end <= (start := self._starts[at]) + len(run := self._runs[start]):
                found.append(run[offset - start : end - start])
                continue
            found.append(None)
            if 0 <= offset < end <= self.size:
                unknown[place] = b""
        together = self._together([*unknown])
        # Where they cannot be had together, each is read by itself.
        unknown = {} if together is None else dict(zip(unknown, together, strict=True))
        return [
            data if data is not None else unknown[place] if place in unknown else self.glance(*place)
            for data, place in zip(found, places, strict=True)
        ]

    def peek(self, offset: int, length: int) -> bytes:
        """Bytes at ``offset``; fewer than ``length`` where the layer ends, none outside it.

        Raises ReadError and BudgetError as the source does.
        """
        if offset < 0 or length <= 0:
            return b""
        known = self._known(offset, length)
        if known is not None:
            return known
        data = self._fetch(offset, min(length, READ_CAP))
        if self._size_kept + len(data) <= _KEPT:
            self._keep(offset, data)
        return data

    def held(self, offset: int, length: int) -> bytes | None:
        """These bytes where they have been read before; else None."""
        known = self._known(offset, length) if offset >= 0 else None
        return known if known is not None and len(known) == length else None

    def _holds(self, offset: int, length: int) -> bool:
        at = bisect_right(self._starts, offset) - 1
        if at < 0:
            return False
        end = self._starts[at] + len(self._runs[self._starts[at]])
        return offset + length <= end or end == self.size

    def _known(self, offset: int, length: int) -> bytes | None:
        at = bisect_right(self._starts, offset) - 1
        if at < 0:
            return None
        start = self._starts[at]
        run = self._runs[start]
        if offset + length <= start + len(run):
            return run[offset - start : offset - start + length]
        # A run that ends where the layer does has all there is.
        if start + len(run) == self.size:
            return run[offset - start :]
        return None

    def _fetch(self, offset: int, length: int) -> bytes:
        lost = self._noted_as_lost(offset, length)
        if lost is not None:
            raise type(lost)(str(lost))
        try:
            return self.source.read_at(offset, length)
        except ReadError as error:
            self._note_lost(error, offset, length)
            self._note(error, offset, length)
            raise

    def _noted_as_lost(self, offset: int, length: int) -> ReadError | None:
        """Why this cannot be read, where that is known, and noted: one failure is enough for all of it."""
        last = offset + length
        for start, end, error in self._lost:
            if offset < end and start < last:
                if offset < start or end < min(last, self.size):
                    self._note_lost(error, offset, length)
                self._note(error, offset, length)
                return error
        return None

    def _ask(self, offset: int, length: int) -> None:
        """Raise ReadError again for what is known to be lost."""
        for start, end, error in self._lost:
            if offset < end and start < offset + length:
                raise type(error)(str(error))

    def _note_lost(self, error: ReadError, offset: int, length: int) -> None:
        """Note what is known to be lost around the ends of what could not be read."""
        for at in (offset, min(offset + length, self.size) - 1):
            if any(start <= at < end for start, end, _ in self._lost):
                continue
            lost = self.source.lost_around(at)
            if lost is not None:
                self._lost.append((*lost, error))

    def _note(self, error: ReadError, offset: int, length: int) -> None:
        # As plain numbers: of an array without a member hundreds of places are asked for, layer by layer.
        runs = self._missed.setdefault((str(error), isinstance(error, MissingBytes)), [])
        runs.append((offset, min(offset + length, self.size)))
        self._notes += 1
        if self._notes >= _NOTES:
            self._notes = 0
            for runs in self._missed.values():
                runs[:] = _joined(runs)

    def _try(self, offset: int, length: int) -> bytes:
        # An array without enough members is asked for hundreds of places: no exception for each of them.
        if self._lost and self._noted_as_lost(offset, length) is not None:
            return b""
        try:
            return self.source.read_at(offset, length)
        except ReadError as error:
            self._note_lost(error, offset, length)
            self._note(error, offset, length)
            return b""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``.

        Raises ShortRead when the layer has not that many there, or when ``length`` passes
        READ_CAP; ReadError and BudgetError as the source does.
        """
        if offset < 0 or length < 0 or length > READ_CAP or offset + length > self.size:
            raise ShortRead(f"{length} bytes at {offset}, of {self.size}")
        return self.peek(offset, length)

    def _keep(self, offset: int, data: bytes) -> None:
        if not data:
            return
        known = self._runs.get(offset)
        if known is None:
            insort(self._starts, offset)
        elif len(known) >= len(data):
            return
        self._runs[offset] = data
        self._size_kept += len(data)


def _joined(runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The runs, ``(start, end)``, in order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(runs):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found
