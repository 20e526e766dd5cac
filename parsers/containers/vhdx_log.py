"""The log of a VHDX that was not closed, replayed in memory; the file itself stays as it is.

Layout: [MS-VHDX] 2.3, "Log", and 2.3.3, "Log Replay"
https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-vhdx/b8e2ef9e-cbb1-4ac2-87a0-8d4a8a5d6c1d
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import Any

from construct import Bytes, Int32ul, Int64ul, Struct

from pyimount.formats.checksums import crc32c
from pyimount.formats.layouts import layout, parse_struct
from pyimount.records import Record
from pyimount.sources.source import Source

LOG_ENTRY_HEADER = layout(
    lambda: Struct(
        "Signature" / Bytes(4),
        "Checksum" / Int32ul,
        "EntryLength" / Int32ul,
        "Tail" / Int32ul,
        "SequenceNumber" / Int64ul,
        "DescriptorCount" / Int32ul,
        "Reserved" / Bytes(4),
        "LogGuid" / Bytes(16),
        "FlushedFileOffset" / Int64ul,
        "LastFileOffset" / Int64ul,
    )
)
ZERO_DESCRIPTOR = layout(
    lambda: Struct(
        "ZeroSignature" / Bytes(4),
        "Reserved" / Bytes(4),
        "ZeroLength" / Int64ul,
        "FileOffset" / Int64ul,
        "SequenceNumber" / Int64ul,
    )
)
DATA_DESCRIPTOR = layout(
    lambda: Struct(
        "DataSignature" / Bytes(4),
        "TrailingBytes" / Bytes(4),
        "LeadingBytes" / Bytes(8),
        "FileOffset" / Int64ul,
        "SequenceNumber" / Int64ul,
    )
)
DATA_SECTOR = layout(
    lambda: Struct(
        "DataSignature" / Bytes(4),
        "SequenceHigh" / Int32ul,
        "Data" / Bytes(4084),
        "SequenceLow" / Int32ul,
    )
)

SECTOR = 4096
MIB = 1 << 20
LOG_CAP = 64 << 20
"""No larger log is replayed, in bytes; it is 1 MiB as a rule."""
_OFFSET_CAP = 1 << 62
_WORK = 4
"""So many times its length is checked at most: entries may claim to overlap."""


class ReplayError(Exception):
    """A log that cannot be replayed; the words say why."""


class _Write(Record):
    """What a descriptor does: ``data`` to be put at a byte of the file, or ``length`` zeros without it."""

    offset: int
    length: int
    data: bytes | None


class _Entry(Record):
    """A valid entry: where it stands in the log, in bytes, and what it does."""

    offset: int
    header: Any
    writes: tuple[_Write, ...]


class ReplayedFile(Source):
    """A file as it is after its log was replayed. ``entries``: of the log, that were."""

    __slots__ = ("_file", "_sectors", "_starts", "_zeros", "entries")

    def __init__(self, file: Source, entries: list[_Entry]) -> None:
        self._file = file
        self.entries = len(entries)
        self.size = max(file.size, entries[-1].header.LastFileOffset)
        sectors: dict[int, tuple[int, bytes]] = {}
        zeros: list[tuple[int, int, int]] = []
        for order, write in enumerate(write for entry in entries for write in entry.writes):
            if write.data is not None:
                sectors[write.offset] = (order, write.data)
            elif write.length:
                zeros.append((write.offset, write.offset + write.length, order))
        zeros.sort()
        self._sectors = dict(_not_zeroed(sectors, zeros))
        self._zeros = list(_merged([(start, end) for start, end, _ in zeros]))
        self._starts = [start for start, _ in self._zeros]

    @property
    def is_far(self) -> bool:
        """As Source's."""
        return self._file.is_far

    def expect(self, runs: Sequence[tuple[int, int]]) -> None:
        """As Source's: of what was replayed too much is fetched, and nothing is lost by it."""
        self._file.expect(runs)

    def _read(self, offset: int, length: int) -> bytes:
        first, end = offset // SECTOR * SECTOR, offset + length
        made = bytearray()
        at = first
        while at < end:
            sector = self._sectors.get(at)
            stop = at + SECTOR
            if sector is None:
                # As far as nothing was replayed, in one read.
                zero = self._is_zero(at)
                while stop < end and stop not in self._sectors and self._is_zero(stop) == zero:
                    stop += SECTOR
                sector = bytes(stop - at) if zero else self._file.read_at(at, stop - at)
            made += sector.ljust(stop - at, b"\0")
            at = stop
        return bytes(made[offset - first : end - first])

    def _is_zero(self, offset: int) -> bool:
        at = bisect_right(self._starts, offset) - 1
        return at >= 0 and offset < self._zeros[at][1]


def _not_zeroed(
    sectors: dict[int, tuple[int, bytes]], zeros: list[tuple[int, int, int]]
) -> Iterator[tuple[int, bytes]]:
    """The sectors over which no zeros were written later: each in the order of the log, as the zeros are."""
    waiting = iter(zeros)
    following = next(waiting, None)
    covering: list[tuple[int, int]] = []
    for offset in sorted(sectors):
        while following is not None and following[0] <= offset:
            heappush(covering, (-following[2], following[1]))
            following = next(waiting, None)
        while covering and covering[0][1] <= offset:
            heappop(covering)
        order, data = sectors[offset]
        if not covering or -covering[0][0] < order:
            yield offset, data


def _merged(runs: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Runs in rising order, those that touch as one."""
    start = end = -1
    for first, last in runs:
        if first > end:
            if end > start:
                yield start, end
            start, end = first, last
        else:
            end = max(end, last)
    if end > start:
        yield start, end


def replayed(file: Source, header: Any) -> ReplayedFile:
    """The file with the log replayed that its current header speaks of; raises ReplayError, ReadError."""
    if header.LogVersion != 0:
        raise ReplayError(f"its version {header.LogVersion} is not known")
    offset, length = header.LogOffset, header.LogLength
    if offset % MIB or offset < MIB or length % MIB or not length:
        raise ReplayError(f"it cannot have {length} bytes at byte {offset}")
    if length > LOG_CAP:
        raise ReplayError(f"it has {length} bytes, and no more than {LOG_CAP} are read")
    log = file.read_at(offset, length)
    if len(log) < length:
        raise ReplayError(f"the file ends at byte {file.size}, within it")
    active = _Log(log, header.LogGuid).active_sequence()
    if not active:
        raise ReplayError("it has no complete sequence of entries")
    flushed = active[-1].header.FlushedFileOffset
    if file.size < flushed:
        raise ReplayError(f"the file ends at byte {file.size}, and had {flushed} bytes when it was written")
    return ReplayedFile(file, active)


class _Log:
    """The bytes of a log, which is round, and the GUID of the entries that count."""

    def __init__(self, data: bytes, guid: bytes) -> None:
        self._data = data
        self._guid = guid
        self._left = _WORK * len(data)

    def active_sequence(self) -> list[_Entry]:
        """The entries to be replayed, in order: the complete sequence with the highest number."""
        best: list[_Entry] = []
        tail = before = 0
        while before <= tail < len(self._data):
            before = tail
            sequence = self._sequence(tail)
            if not sequence:
                tail += SECTOR
                continue
            last = sequence[-1]
            start = next((at for at, each in enumerate(sequence) if each.offset == last.header.Tail), None)
            newer = not best or last.header.SequenceNumber > best[-1].header.SequenceNumber
            if start is not None and newer:
                best = sequence[start:]
            tail = (last.offset + last.header.EntryLength) % len(self._data) or len(self._data)
        return best

    def _sequence(self, at: int) -> list[_Entry]:
        """The valid entries from this byte on, whose numbers follow one another."""
        found: list[_Entry] = []
        used = 0
        while used < len(self._data):
            entry = self._entry(at)
            if entry is None or (
                found and entry.header.SequenceNumber != found[-1].header.SequenceNumber + 1
            ):
                break
            used += entry.header.EntryLength
            if used > len(self._data):
                break
            found.append(entry)
            at = (at + entry.header.EntryLength) % len(self._data)
        return found

    def _entry(self, at: int) -> _Entry | None:
        """The entry at this byte; None where it is not valid."""
        header = parse_struct(self._data[at : at + SECTOR], LOG_ENTRY_HEADER)
        length = header.EntryLength
        if (
            header.Signature != b"loge"
            or header.LogGuid != self._guid
            or not header.SequenceNumber
            or not SECTOR <= length <= len(self._data)
            or length % SECTOR
            or header.Tail % SECTOR
            or header.Tail >= len(self._data)
            or header.LastFileOffset > _OFFSET_CAP
        ):
            return None
        self._left -= length
        if self._left < 0:
            raise ReplayError("too many of its entries overlap")
        raw = self._data[at : at + length]
        raw += self._data[: length - len(raw)]
        if crc32c(raw[:4] + bytes(4) + raw[8:]) ^ 0xFFFFFFFF != header.Checksum:
            return None
        writes = _writes(raw, header)
        return None if writes is None else _Entry(at, header, writes)


def _writes(raw: bytes, header: Any) -> tuple[_Write, ...] | None:
    """What the descriptors of an entry do; None where one is not valid."""
    data_at = LOG_ENTRY_HEADER.size + header.DescriptorCount * ZERO_DESCRIPTOR.size
    data_at = -(-data_at // SECTOR) * SECTOR
    if data_at > len(raw):
        return None
    writes = []
    for number in range(header.DescriptorCount):
        at = LOG_ENTRY_HEADER.size + number * ZERO_DESCRIPTOR.size
        kind = raw[at : at + 4]
        if kind == b"zero":
            zero = parse_struct(raw, ZERO_DESCRIPTOR, at)
            length, data, described = zero.ZeroLength, None, zero
        elif kind == b"desc":
            described = parse_struct(raw, DATA_DESCRIPTOR, at)
            data = _data(raw[data_at : data_at + SECTOR], described)
            length, data_at = SECTOR, data_at + SECTOR
            if data is None:
                return None
        else:
            return None
        if described.SequenceNumber != header.SequenceNumber:
            return None
        if described.FileOffset % SECTOR or length % SECTOR or described.FileOffset + length > _OFFSET_CAP:
            return None
        writes.append(_Write(described.FileOffset, length, data))
    return tuple(writes)


def _data(raw: bytes, described: Any) -> bytes | None:
    """The sector that a data descriptor and its data sector make up; None where these are of two entries."""
    if len(raw) < SECTOR:
        return None
    sector = parse_struct(raw, DATA_SECTOR)
    number = sector.SequenceHigh << 32 | sector.SequenceLow
    if sector.DataSignature != b"data" or number != described.SequenceNumber:
        return None
    return bytes(described.LeadingBytes + sector.Data + described.TrailingBytes)
