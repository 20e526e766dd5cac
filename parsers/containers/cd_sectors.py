"""The sectors of a CD as a drive reads them raw: sync, header, user data, checksums.

Layout: ECMA-130 (mode 0, 1 and 2), 14 and annex A,
https://ecma-international.org/publications-and-standards/standards/ecma-130/; the forms of mode 2: Philips
and Sony, "System Description CD-ROM XA", which the CD-i "Green Book" has, too.
"""

from collections.abc import Callable, Sequence
from functools import cache

from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source

SYNC = b"\0" + b"\xff" * 10 + b"\0"
RAW, BLOCK = 2352, 2048
"""Bytes of a sector, and of the user data in one that holds a block of a disk."""
HEADER_SIZE, SUBHEADER_SIZE = 4, 8
USER_DATA = len(SYNC) + HEADER_SIZE
MODE_AT = 15
EMPTY, MODE_1, MODE_2 = 0, 1, 2
FORM_2 = 0x20
"""The bit of a subheader's submode that says so."""
FRAMES = 75
"""Sectors in a second, by which places on a CD are named."""

NRG_MARKS = ((b"NER5", -12), (b"NERO", -8))
"""What stands near the end of a file that says itself, behind its sectors, where which tracks lie (NRG)."""

_EDC_POLYNOMIAL = 0xD8018001
_RUN = 64


class Shape(Record):
    """How a track's sectors lie in a file.

    ``stride``: bytes from one to the next. ``head``: how many bytes of a raw sector's start are left out of
    the file: 0, or all before the subheader. ``plain``: they are nothing but 2048 bytes of user data.
    """

    stride: int
    head: int = 0
    plain: bool = False


class SectorSource(Source):
    """The user data of ``count`` sectors that begin at ``start`` of a file: 2048 bytes of each.

    A sector that holds something else, or whose checksum (EDC) is wrong, raises ReadError. A checksum of
    zero is none: not every program that writes such files makes them.
    """

    __slots__ = ("_file", "_shape", "_start")

    def __init__(self, file: Source, start: int, count: int, shape: Shape) -> None:
        self.size = count * BLOCK
        self._file = file
        self._start = start
        self._shape = shape

    @property
    def is_far(self) -> bool:
        """As Source's."""
        return self._file.is_far

    def expect(self, runs: Sequence[tuple[int, int]]) -> None:
        """As Source's."""
        stride = self._shape.stride
        self._file.expect(
            [
                (
                    self._start + offset // BLOCK * stride,
                    ((offset + length - 1) // BLOCK - offset // BLOCK + 1) * stride,
                )
                for offset, length in runs
            ]
        )

    def _read(self, offset: int, length: int) -> bytes:
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        pieces = []
        for number in range(first, last + 1, _RUN):
            pieces += self._sectors(number, min(_RUN, last + 1 - number))
        at = offset - first * BLOCK
        return b"".join(pieces)[at : at + length]

    def _sectors(self, number: int, count: int) -> list[bytes]:
        stride = self._shape.stride
        data = self._file.read_at(self._start + number * stride, count * stride)
        if self._shape.plain:
            return [data]
        found = []
        for at in range(count):
            try:
                found.append(user_data(data[at * stride :][: RAW - self._shape.head], self._shape.head))
            except ReadError as error:
                raise ReadError(f"sector {number + at} of the track: {error}") from error
        return found


def user_data(sector: bytes, head: int = 0) -> bytes:
    """The block in a sector; ``head``: how many bytes of its start are left out. Raises ReadError."""
    if head:
        mode = MODE_2
        sector = bytes(head) + sector
    else:
        if not sector.startswith(SYNC):
            raise ReadError("it is no data sector: it has no sync pattern")
        mode = sector[MODE_AT]
    if mode == EMPTY:
        return sector[USER_DATA : USER_DATA + BLOCK]
    if mode == MODE_1:
        return _checked(sector, 0, USER_DATA, USER_DATA + BLOCK)
    if mode != MODE_2:
        raise ReadError(f"it is of mode {mode}, which there is not")
    subheader = sector[USER_DATA : USER_DATA + SUBHEADER_SIZE]
    if subheader[:4] != subheader[4:]:
        raise ReadError("it is of mode 2 without a form: its 2336 bytes are no block of a disk")
    if subheader[2] & FORM_2:
        raise ReadError("it is of mode 2, form 2: its 2324 bytes are no block of a disk")
    data = USER_DATA + SUBHEADER_SIZE
    return _checked(sector, USER_DATA, data, data + BLOCK)


def _checked(sector: bytes, start: int, data: int, end: int) -> bytes:
    """The bytes from ``data`` to ``end``, behind which the checksum of those from ``start`` on stands."""
    stored = int.from_bytes(sector[end : end + 4], "little")
    if stored and stored != edc(sector[start:end]):
        raise ReadError("its checksum (EDC) is wrong")
    return sector[data:end]


def edc(data: bytes) -> int:
    """The checksum of a sector: a CRC of 32 bits, x^32 + x^31 + x^16 + x^15 + x^4 + x^3 + x + 1, reflected.

    Leading zeros count for nothing.
    """
    table, register = _edc_table(), 0
    for byte in data.lstrip(b"\0"):
        register = register >> 8 ^ table[(register ^ byte) & 0xFF]
    return register


@cache
def _edc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        register = byte
        for _ in range(8):
            register = register >> 1 ^ (_EDC_POLYNOMIAL if register & 1 else 0)
        table.append(register)
    return tuple(table)


def is_data(file: Source, at: int) -> bool:
    """Whether a data sector begins at this byte of a file."""
    return file.read_at(at, len(SYNC)) == SYNC


def data_run(count: int, is_one: Callable[[int], bool]) -> int:
    """How many of ``count`` sectors, from the first on, are data: all where the last is, else by halving."""
    if not count or is_one(count - 1):
        return count
    low, high = 0, count - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_one(middle) else (low, middle)
    return high
