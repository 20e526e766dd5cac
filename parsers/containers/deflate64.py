"""Deflate64, by which Windows packs files of 2 GiB and more: deflate with a larger window and longer matches.

Layout: RFC 1951; what differs: PKWARE, "APPNOTE.TXT", 4.4.5, method 9, and the tables of lengths and of
distances in 7-Zip's source, CPP/7zip/Compress/DeflateConst.h, https://github.com/ip7z/7zip. No library that
pyimount needs otherwise reads it.
"""

from collections.abc import Sequence
from functools import cache

from pyimount.parsers.containers.chunks import OWN_WORTH
from pyimount.parsers.containers.packed import PIECE, EndsEarlyError, Input, Stream
from pyimount.sources.errors import ReadError

WINDOW = 1 << 16
STORED, FIXED, DYNAMIC = 0, 1, 2
END = 256
CODES_OF_LENGTHS = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)

_LENGTHS = tuple(
    (base, extra)
    for base, extra in zip(
        (3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163,
         195, 227, 3),
        (0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 16),
        strict=True,
    )
)  # fmt: skip
"""Of the codes from 257 on: the least length, and how many bits tell what is added; the last is its own."""
_DISTANCES = tuple(
    (code + 1, 0) if code < 2 else ((2 + (code & 1) << (code >> 1) - 1) + 1, (code >> 1) - 1)
    for code in range(32)
)
"""The same of distances; the last two are its own."""
_MOST_BITS = 15
_AHEAD = 64
"""So many bits are had before a symbol is read: no symbol, with its distance, takes more."""

Table = tuple[int, tuple[int, ...]]
"""A code: how many bits to look at, and by these the symbol and its own count of bits, in the lowest four."""


class Deflate64Stream(Stream):
    """Deflate64 in a run of a file; it can be forked anywhere."""

    worth = 4 * OWN_WORTH

    def __init__(self, source: Input) -> None:
        super().__init__()
        self._input = source
        self._data = b""
        self._at = 0
        self._bits = self._count = 0
        self._missing = 0
        """Bits behind the end of the file that were made up, so that what is there can be read."""
        self._window = b""
        self._last = self._ended = False
        self._codes: tuple[Table, Table] | None = None
        self._stored = 0
        """Bytes that are left of a stored block."""

    def fork(self) -> Stream:
        """Another stream at this place."""
        fork = Deflate64Stream(self._input.fork())
        fork.__dict__.update({**self.__dict__, "_input": fork._input})
        return fork

    def _read(self) -> bytes:
        out = bytearray(self._window)
        known = len(out)
        while len(out) - known < PIECE:
            if self._stored:
                self._copy(out)
            elif self._codes is not None:
                self._symbols(out, known + PIECE)
            elif self._last:
                self._ended = True
                break
            else:
                self._begin()
        self._window = bytes(out[-WINDOW:])
        return bytes(memoryview(out)[known:])

    def _begin(self) -> None:
        """Take up the next block."""
        self._last = bool(self._take(1))
        kind = self._take(2)
        if kind == STORED:
            self._take(self._count % 8)
            size, check = self._take(16), self._take(16)
            if size != check ^ 0xFFFF:
                raise ReadError("compressed data is damaged: a stored block contradicts itself")
            self._stored = size
        elif kind == FIXED:
            self._codes = _fixed()
        elif kind == DYNAMIC:
            self._codes = self._read_codes()
        else:
            raise ReadError("compressed data is damaged: a block of no kind")

    def _read_codes(self) -> tuple[Table, Table]:
        literals, distances, lengths = self._take(5) + 257, self._take(5) + 1, self._take(4) + 4
        sizes = [0] * len(CODES_OF_LENGTHS)
        for symbol in CODES_OF_LENGTHS[:lengths]:
            sizes[symbol] = self._take(3)
        code = _table(sizes)
        found: list[int] = []
        while len(found) < literals + distances:
            symbol = self._symbol(code)
            if symbol < 16:
                found.append(symbol)
            elif symbol == 16:
                if not found:
                    raise ReadError("compressed data is damaged: a code repeats what is not there")
                found += [found[-1]] * (3 + self._take(2))
            else:
                found += [0] * (3 + self._take(3) if symbol == 17 else 11 + self._take(7))
        if len(found) > literals + distances:
            raise ReadError("compressed data is damaged: a code has too many symbols")
        return _table(found[:literals]), _table(found[literals:])

    def _symbols(self, out: bytearray, enough: int) -> None:
        """What the symbols of a block say, up to its end, or until there is enough."""
        assert self._codes is not None  # noqa: S101  (the caller has seen to it)
        (literal_bits, literals), (distance_bits, distances) = self._codes
        literal_mask, distance_mask = (1 << literal_bits) - 1, (1 << distance_bits) - 1
        bits, count = self._bits, self._count
        while len(out) < enough:
            if count < _AHEAD:
                self._bits, self._count = bits, count
                self._fill()
                bits, count = self._bits, self._count
            entry = literals[bits & literal_mask]
            size = entry & 15
            bits >>= size
            count -= size
            symbol = entry >> 4
            if symbol < END:
                if not size:
                    raise ReadError("compressed data is damaged: a code that stands for nothing")
                out.append(symbol)
                continue
            if symbol == END:
                self._codes = None
                break
            if symbol - END - 1 >= len(_LENGTHS):
                raise ReadError("compressed data is damaged: a length of no code")
            length, extra = _LENGTHS[symbol - END - 1]
            length += bits & (1 << extra) - 1
            bits >>= extra
            entry = distances[bits & distance_mask]
            size = entry & 15
            if not size:
                raise ReadError("compressed data is damaged: a code that stands for nothing")
            bits >>= size
            distance, more = _DISTANCES[entry >> 4]
            distance += bits & (1 << more) - 1
            bits >>= more
            count -= extra + size + more
            start = len(out) - distance
            if start < 0:
                raise ReadError(f"compressed data refers {distance} bytes back, and has {len(out)}")
            if distance >= length:
                out += out[start : start + length]
            else:
                out += (out[start:] * (length // distance + 1))[:length]
        self._bits, self._count = bits, count
        self._check_end()

    def _copy(self, out: bytearray) -> None:
        """The next bytes of a stored block."""
        while self._stored and self._count:
            out.append(self._take(8))
            self._stored -= 1
        if self._stored:
            if self._at == len(self._data):
                self._data, self._at = self._input.next(), 0
                if not self._data:
                    raise EndsEarlyError("the file ends within its compressed data")
            piece = self._data[self._at : self._at + self._stored]
            out += piece
            self._at += len(piece)
            self._stored -= len(piece)

    def _symbol(self, code: Table) -> int:
        width, entries = code
        if self._count < _MOST_BITS:
            self._fill()
        entry = entries[self._bits & (1 << width) - 1]
        if not entry & 15:
            raise ReadError("compressed data is damaged: a code that stands for nothing")
        self._take(entry & 15)
        return entry >> 4

    def _take(self, count: int) -> int:
        if self._count < count:
            self._fill()
        value = self._bits & (1 << count) - 1
        self._bits >>= count
        self._count -= count
        self._check_end()
        return value

    def _fill(self) -> None:
        """Have as many bits as any symbol takes; behind the end of the file, made up ones."""
        while self._count < _AHEAD:
            if self._at == len(self._data):
                self._data, self._at = self._input.next(), 0
            piece = self._data[self._at : self._at + 8]
            if not piece:
                self._missing += _AHEAD
                self._count += _AHEAD
                return
            self._at += len(piece)
            self._bits |= int.from_bytes(piece, "little") << self._count
            self._count += 8 * len(piece)

    def _check_end(self) -> None:
        if self._count < self._missing:
            raise EndsEarlyError("the file ends within its compressed data")


@cache
def _fixed() -> tuple[Table, Table]:
    return _table([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8), _table([5] * 32)


def _table(sizes: Sequence[int]) -> Table:
    """The code whose symbols have so many bits each (0: it is not used); raises ReadError for too many."""
    width = max(sizes, default=0)
    if sum(1 << _MOST_BITS - size for size in sizes if size) > 1 << _MOST_BITS:
        raise ReadError("compressed data is damaged: a code of more symbols than its bits can tell apart")
    entries = [0] * (1 << width)
    code = 0
    for size in range(1, width + 1):
        code <<= 1
        for symbol, own in enumerate(sizes):
            if own == size:
                turned = int(f"{code:0{size}b}"[::-1], 2)
                step = 1 << size
                entries[turned::step] = [symbol << 4 | size] * (1 << width - size)
                code += 1
    return width, tuple(entries)
