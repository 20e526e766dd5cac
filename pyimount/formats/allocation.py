"""What is free and used in a file system, read from its allocation structures.

``parse`` reads little; the bitmaps, tables and trees that tell what is free may be large. A parser whose
format has such structures gives, in ``Identity.allocation``, a function that reads them; the scan calls it
with a Reader, which keeps it to what that may cost.
"""

from collections.abc import Callable, Iterable, Iterator

from pyimount.records import EMPTY, Details, Record
from pyimount.sources.view import ShortRead, View

READS, BYTES = 8, 1 << 20
"""What the allocation structures of one volume may cost unless all of them are asked for."""

PIECE = 1 << 20
"""Bytes that are read at once of a large structure."""


class TooMuch(Exception):  # noqa: N818  (a signal between parser and scan)
    """The structures cost more than may be read; the message says what they would."""


class Elsewhere(Exception):  # noqa: N818  (as above)
    """The structures lie on another device of the file system; the message says which."""


class Space(Record, kw_only=True):
    """What allocation structures say: ``free`` and ``used`` bytes, and ``found``, the name of the structures.

    ``used``: what is allocated; None: all of the file system that is not free. ``details``: further facts.
    """

    free: int | None
    found: str
    used: int | None = None
    details: Details = EMPTY


class Reader:
    """The bytes of a volume for those who count what is free, within what that may cost.

    ``whole``: all may be read. What the parsers have read before costs nothing.
    """

    def __init__(self, view: View, *, whole: bool = False) -> None:
        self._view = view
        self._whole = whole
        self.reads = 0
        self.bytes_read = 0

    @property
    def size(self) -> int:
        """Bytes in the volume."""
        return self._view.size

    def want(self, length: int, reads: int = 1) -> None:
        """Say that so much more is going to be read. Raises TooMuch at once where that is not allowed."""
        if self._whole:
            return
        if self.bytes_read + length > BYTES or self.reads + reads > READS:
            raise TooMuch(
                f"{self.bytes_read + length} bytes in {self.reads + reads} reads would be needed, "
                f"{BYTES} in {READS} are made unless all is asked for (--free)"
            )

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes, PIECE at most.

        Raises TooMuch, ShortRead where the volume ends before, ReadError and BudgetError as the source does.
        """
        if offset < 0 or length < 0 or length > PIECE or offset + length > self.size:
            raise ShortRead(f"{length} bytes at {offset}, of {self.size}")
        held = self._view.held(offset, length)
        if held is not None:
            return held
        self.want(length)
        self.reads += 1
        self.bytes_read += length
        return self._view.source.read_at(offset, length)

    def pieces(self, offset: int, length: int, piece: int = PIECE) -> Iterator[bytes]:
        """These bytes in pieces of so many, where the cost of all of them is allowed. Raises as ``read``."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ShortRead(f"{length} bytes at {offset}, of {self.size}")
        if self._view.held(offset, length) is None:
            self.want(length, -(-length // piece))
        for at in range(0, length, piece):
            yield self.read(offset + at, min(piece, length - at))


class Allocation(Record):
    """The allocation structures of a volume: its ``view``, and what counts by them what is free there.

    ``count`` raises NotThisFormat where they are damaged, Elsewhere where they are not in the view, and what
    the Reader raises.
    """

    view: View
    count: Callable[[Reader], Space]


def ones(bitmap: bytes, bits: int | None = None, *, big: bool = False) -> int:
    """How many of a bitmap's first ``bits`` bits are set (None: of all).

    ``big``: a byte's highest bit comes first; else its lowest.
    """
    if bits is None or bits >= 8 * len(bitmap):
        return int.from_bytes(bitmap, "little").bit_count()
    whole, rest = divmod(bits, 8)
    count = int.from_bytes(bitmap[:whole], "little").bit_count()
    if rest:
        last = bitmap[whole] >> 8 - rest if big else bitmap[whole] & (1 << rest) - 1
        count += last.bit_count()
    return count


def count_ones(pieces: Iterable[bytes], bits: int, *, big: bool = False) -> int:
    """As ``ones``, of a bitmap in pieces."""
    count = 0
    for piece in pieces:
        count += ones(piece, max(0, bits), big=big)
        bits -= 8 * len(piece)
    return count
