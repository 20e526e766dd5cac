"""Random access to what can only be unpacked from front to back: what the compressed files share.

Unpacking is remembered at places along the way (a copy of the decompressor, or the start of a block
that stands for itself), and a read begins at the last such place before it.
"""

from _thread import allocate_lock
from abc import ABC, abstractmethod
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from pyimount.formats import Container, Opened
from pyimount.formats.stored import CheckedBytes, Pieces, Stored
from pyimount.problems import Code, Problem
from pyimount.sources.budget import Meter
from pyimount.sources.errors import BudgetError, ReadError, SourceError
from pyimount.sources.source import Source

PIECE = 1 << 18
"""No more bytes than this are unpacked at a time."""

_INPUT = 1 << 16
_PAGE = 1 << 16
_PAGES_KEPT = 64
_FAR = 32 << 20
_LEAD = 32
"""Where so many bytes must be passed over, so many pages before those that are wanted are kept, too."""
_MARKS_CAP = 192
"""A copy of zlib's decompressor takes 40 KiB."""
_FIRST_STEP = 1 << 20
_LOOK = 16 << 20
"""How far is unpacked before its cost is reckoned up again."""
_SHARE = 0.75
_SHARE_TO_MEASURE = 0.5
"""Parts of a scan's budget that unpacking may take: all of it, and to find out how large the disk is."""


class EndsEarlyError(ReadError):
    """The file ends before what is compressed in it does."""


class HeldBackError(ReadError):
    """All that is compressed was given but its last byte, as its checksum is wrong."""


class Stream(ABC):
    """A decompressor on its way through a file; ``position``: of its next byte in what it unpacks.

    ``worth``: how many bytes of deflate one of its bytes is worth, in time: what a budget counts.
    """

    worth = 1

    def __init__(self, position: int = 0) -> None:
        self.position = position

    def read(self) -> bytes:
        """The next bytes, PIECE at most, none at the end; raises ReadError, EndsEarlyError, BudgetError."""
        piece = self._read()
        self.position += len(piece)
        return piece

    @abstractmethod
    def _read(self) -> bytes:
        """The next bytes; the position follows."""

    @abstractmethod
    def fork(self) -> "Stream | None":
        """Another stream at this place; None where none can begin."""


class Input:
    """The bytes of a run of a file, one after the other."""

    def __init__(self, file: Source, offset: int = 0, end: int | None = None) -> None:
        self.file = file
        self.offset = offset
        self.end = file.size if end is None else end

    def next(self) -> bytes:
        """The next bytes; none at the end."""
        data = self.file.read_at(self.offset, min(_INPUT, self.end - self.offset))
        self.offset += len(data)
        return data

    def fork(self) -> "Input":
        """Another one at this place."""
        return Input(self.file, self.offset, self.end)


class LibraryStream(Stream):
    """Streams of one of the standard library's decompressors, one after the other.

    ``make`` gives a new decompressor, with the interface of LZMADecompressor; ``errors`` are what it raises;
    ``worth``: as of every stream.
    It can be forked where one stream has ended and another begins; zeros may stand between them.
    """

    def __init__(
        self,
        source: Input,
        make: Callable[[], Any],
        errors: tuple[type[Exception], ...],
        position: int = 0,
        left: bytes = b"",
        *,
        worth: int = 1,
    ) -> None:
        super().__init__(position)
        self.worth = worth
        self._input = source
        self._make = make
        self._errors = errors
        self._left = left
        self._unpacker: Any = None

    def fork(self) -> Stream | None:
        """Another stream at this place, which must be between two streams of the file."""
        if self._unpacker is not None:
            return None
        return LibraryStream(
            self._input.fork(), self._make, self._errors, self.position, self._left, worth=self.worth
        )

    def _read(self) -> bytes:
        while True:
            if self._unpacker is None:
                self._left = (self._left or self._input.next()).lstrip(b"\0")
                if not self._left:
                    if self._input.offset >= self._input.end:
                        return b""
                    continue
                self._unpacker = self._make()
            data, self._left = self._left, b""
            if not data and self._unpacker.needs_input:
                data = self._input.next()
                if not data:
                    raise EndsEarlyError("the file ends within its compressed data")
            try:
                piece: bytes = self._unpacker.decompress(data, PIECE)
            except self._errors as error:
                raise ReadError(f"compressed data is damaged ({error})") from error
            if self._unpacker.eof:
                self._left = self._unpacker.unused_data
                self._unpacker = None
            if piece:
                return piece


class PackedSource(Source):
    """What a stream unpacks, at any offset.

    ``begin(number)`` gives a new stream at the place ``places[number]``; these are in rising order, the
    first is 0. ``size``: None where only unpacking everything can tell: ``measure`` does, and is to be
    called first. A read that would take more than a part of the scan's budget raises ReadError; others,
    nearer to a known place, are still served.
    """

    __slots__ = (
        "_begin",
        "_cost",
        "_held",
        "_live",
        "_lock",
        "_marks",
        "_meter",
        "_moved",
        "_pages",
        "_places",
        "_step",
    )

    def __init__(
        self,
        begin: Callable[[int], Stream],
        meter: Meter,
        size: int | None = None,
        places: Sequence[int] = (0,),
    ) -> None:
        self.size = size or 0
        self._begin = begin
        self._meter = meter
        self._places = places
        self._marks: list[Stream] = []
        self._step = _FIRST_STEP
        self._live = begin(0)
        self._held = b""  # what was unpacked last, up to the stream's position
        self._pages: OrderedDict[int, bytes] = OrderedDict()
        self._lock = allocate_lock()
        self._cost = 0.0
        self._moved = 0

    def measure(self) -> Problem | None:
        """Unpack everything, and so find out the size; the problem says what kept it from the end."""
        why = code = None
        try:
            while self._cost < _SHARE_TO_MEASURE:
                if not self._next():
                    break
                self.size = self._live.position
            else:
                code, why = Code.BUDGET, "that is all that the budget allows for"
        except EndsEarlyError as error:
            code, why = Code.TRUNCATED, str(error)
        except HeldBackError as error:
            self.size += 1
            return Problem(Code.DAMAGED, str(error))
        except ReadError as error:
            code, why = Code.DAMAGED, str(error)
        except BudgetError as error:
            code, why = Code.BUDGET, str(error)
        if code is None:
            return None
        return Problem(code, f"only {self.size} bytes could be unpacked: {why}")

    def finish(self) -> None:
        """Unpack what follows the last byte, once all were read: a checksum, mostly; raises ReadError."""
        with self._lock:
            if self._live.position == self.size and self._next():
                raise ReadError(f"more is compressed than the {self.size} bytes that are told")

    def _read(self, offset: int, length: int) -> bytes:
        first = offset // _PAGE
        with self._lock:
            pages = [self._page(number) for number in range(first, (offset + length - 1) // _PAGE + 1)]
        at = offset - first * _PAGE
        return b"".join(pages)[at : at + length]

    def _page(self, number: int) -> bytes:
        page = self._pages.get(number)
        if page is not None:
            self._pages.move_to_end(number)
            return page
        start = number * _PAGE
        if start - self._reached(start) > _FAR:
            # Who looks at a disk's end looks at several places there; each could cost as much again.
            for before in range(max(0, number - _LEAD), number):
                self._load(before)
        return self._load(number)

    def _load(self, number: int) -> bytes:
        start = number * _PAGE
        page = self._pages[number] = self._unpack(start, min(_PAGE, self.size - start))
        if len(self._pages) > _PAGES_KEPT:
            self._pages.popitem(last=False)
        return page

    def _reached(self, start: int) -> int:
        """From where the bytes at ``start`` would be unpacked."""
        live = self._live.position
        nearest = self._nearest(start)
        return max(nearest, min(live, start)) if live - len(self._held) <= start else nearest

    def _unpack(self, start: int, length: int) -> bytes:
        if self._reached(start) > self._live.position or start < self._live.position - len(self._held):
            self._live, self._held = self._forked(start), b""
        while self._live.position <= start:
            self._allow(start - self._live.position)
            self._held = self._needed()
        pieces = [self._held[start - self._live.position :]]
        while (left := length - (self._live.position - start)) > 0:
            self._allow(left)
            self._held = self._needed()
            pieces.append(self._held)
        return b"".join(pieces)[:length]

    def _forked(self, start: int) -> Stream:
        """A stream at the nearest place before ``start``."""
        known = bisect_right(self._places, start) - 1
        mark = bisect_right(self._marks, start, key=_position) - 1
        if mark >= 0 and self._marks[mark].position > self._places[known]:
            fork = self._marks[mark].fork()
            if fork is not None:
                return fork
        return self._begin(known)

    def _needed(self) -> bytes:
        piece = self._next()
        if not piece:
            raise ReadError(f"what is compressed ends at {self._live.position}, and should at {self.size}")
        return piece

    def _next(self) -> bytes:
        """The stream's next bytes; its place is remembered when it is far from those that are."""
        live, meter, budget = self._live, self._meter, self._meter.budget
        if live.position - self._nearest(live.position) >= self._step and (fork := live.fork()):
            insort(self._marks, fork, key=_position)
            if len(self._marks) > _MARKS_CAP:
                del self._marks[::2]
                self._step *= 2
        read = meter.bytes_read
        try:
            piece = live.read()
            meter.charge_unpacked(len(piece) * live.worth)
        except SourceError:
            self._live, self._held = self._begin(0), b""
            raise
        self._moved += len(piece)
        self._cost += max(
            len(piece) * live.worth / budget.unpacked, (meter.bytes_read - read) / budget.bytes_read
        )
        return piece

    def _nearest(self, position: int) -> int:
        mark = bisect_right(self._marks, position, key=_position)
        known = self._places[bisect_right(self._places, position) - 1]
        return max(known, self._marks[mark - 1].position) if mark else known

    def _allow(self, distance: int) -> None:
        """Refuse to unpack as much as this where that, judged by what it cost before, is too much."""
        if self._moved >= _LOOK and self._cost * (1 + distance / self._moved) > _SHARE:
            budget = self._meter.budget
            raise ReadError(
                f"these bytes come {distance} bytes behind what was unpacked, too far for"
                f" {budget.unpacked} bytes unpacked and {budget.bytes_read} bytes read"
            )


def _position(stream: Stream) -> int:
    return stream.position


def _cut_off() -> None:
    """The end of what ends too early."""
    raise ReadError("it ends before its last checksum, which was not compared")


def open_packed(container: Container, source: PackedSource, kept: Pieces | None = None) -> Opened:
    """The disk in a source, which is measured where its size is not known.

    ``kept``: the checksums that unpacking holds it against.
    """
    problem = source.measure() if source.size == 0 else None
    problems = (*container.problems, problem) if problem else container.problems
    if source.size == 0:
        empty = Problem(Code.UNREADABLE, "nothing is compressed here")
        return Opened(container=container.replaced(problems=(*problems, empty)), source=None)
    stored = None
    if kept is not None:
        end = source.finish if problem is None else _cut_off
        checked = CheckedBytes(name=f"the file in the {container.type}", pieces=kept, end=end)
        stored = Stored(checked=(checked,))
    opened = container.replaced(size=source.size, problems=problems)
    return Opened(container=opened, source=source, stored=stored)
