"""The chunks of a UDIF disk image: the tables that list them, how they are packed, the disk they make up.

Layout: no publication of Apple's; "Demystifying the DMG File Format",
https://newosxbook.com/DMG.html.
"""

import binascii
import sys
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from construct import Bytes, Int32ub, Int64ub, Struct

from pyimount.formats import Json, NotThisFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.parsers.containers.adc import unpack_adc
from pyimount.parsers.containers.chunks import (
    BZIP2_WORTH,
    LZMA_WORTH,
    OWN_WORTH,
    inflate,
    packed_bound,
    unpack_bzip2,
    unpack_lzma,
)
from pyimount.parsers.containers.clusters import Unpacked
from pyimount.parsers.containers.lzfse import MISSING, lzfse_unpacker
from pyimount.parsers.containers.runs import Run
from pyimount.problems import Code, Problem
from pyimount.sources.budget import Meter
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource, Source

CHECKSUM = layout(lambda: Struct("type" / Int32ub, "size" / Int32ub, "data" / Bytes(128)))
MISH = layout(
    lambda: Struct(
        "Signature" / Bytes(4),
        "Version" / Int32ub,
        "SectorNumber" / Int64ub,
        "SectorCount" / Int64ub,
        "DataOffset" / Int64ub,
        "BuffersNeeded" / Int32ub,
        "BlockDescriptors" / Int32ub,
        "Reserved" / Bytes(24),
        "Checksum" / CHECKSUM.construct,
        "NumberOfBlockChunks" / Int32ub,
    )
)
CHUNK = layout(
    lambda: Struct(
        "EntryType" / Int32ub,
        "Comment" / Int32ub,
        "SectorNumber" / Int64ub,
        "SectorCount" / Int64ub,
        "CompressedOffset" / Int64ub,
        "CompressedLength" / Int64ub,
    )
)
SECTOR = 512
CRC32 = 2
CHECKSUM_TYPES = {0: None, 2: "crc32", 4: "md5", 6: "sha1", 8: "sha256"}

ZERO, RAW, IGNORE, ADC, ZLIB, BZIP2, LZFSE, LZMA = 0, 1, 2, *range(0x80000004, 0x80000009)
COMMENT, TERMINATOR = 0x7FFFFFFE, 0xFFFFFFFF
COMPRESSIONS = {ADC: "adc", ZLIB: "zlib", BZIP2: "bzip2", LZFSE: "lzfse", LZMA: "lzma"}
_WORTH = {ADC: OWN_WORTH, BZIP2: BZIP2_WORTH, LZMA: LZMA_WORTH}
VARIANTS = {ADC: "UDCO", ZLIB: "UDZO", BZIP2: "UDBZ", LZFSE: "ULFO", LZMA: "ULMO"}
"""hdiutil's names."""

_TABLES_CAP = 4096
_TABLES_LISTED = 64
CHUNKS_CAP = 1 << 18
"""No disk has more chunks than this, nor a table."""
_CHUNK_CAP = 8 << 20
"""No chunk that must be unpacked is larger than this in bytes."""
SECTORS_CAP = 1 << 54


def checksum_of(checksum: Any) -> Json:
    """A checksum for the report: its algorithm, and its value in hexadecimal; None where there is none."""
    kind = CHECKSUM_TYPES.get(checksum.type, f"type {checksum.type}")
    if kind is None:
        return None
    return {"type": kind, "value": checksum.data[: min(checksum.size, 1024) // 8].hex()}


class Table:
    """A ``blkx`` resource as it is read: name and the bytes of its ``mish`` block."""

    def __init__(self, data: bytes = b"") -> None:
        self.name: str | None = None
        self.data = bytearray(data)


class Chunks:
    """All chunks of the disk.

    ``rows`` has ``WIDTH`` numbers of each, in order: type, first sector, sectors, and place and length of its
    data in the file, in bytes. ``starts``: the first sectors; ``end``: the sector behind the last.
    """

    def __init__(self, data_offset: int) -> None:
        self._data_offset = data_offset
        self._crc = 0
        self.checksums: list[tuple[int, int, str, str]] = []
        """Of the parts of the disk that have one: first sector, sectors, algorithm, value."""
        self._tables: list[tuple[int, array[int]]] = []
        self._listed: list[Json] = []
        self._count = 0
        self._kinds: Counter[int] = Counter()
        self.starts = array("Q")
        self.rows = array("Q")
        self.end = 0

    WIDTH = 5

    def add(self, table: Table) -> None:
        """Take in a table; raises NotThisFormat when it contradicts itself."""
        mish = parse_struct(bytes(table.data[: MISH.size]), MISH)
        if mish.Signature != b"mish" or mish.NumberOfBlockChunks * CHUNK.size > len(table.data) - MISH.size:
            raise NotThisFormat(f"a table of {mish.NumberOfBlockChunks} chunks in {len(table.data)} bytes")
        self._count += mish.NumberOfBlockChunks
        if len(self._tables) >= _TABLES_CAP or self._count > CHUNKS_CAP:
            raise NotThisFormat(f"{len(self._tables)} tables with {self._count} chunks")
        self._tables.append((mish.SectorNumber, self._rows(mish, table)))
        self._crc = binascii.crc32(mish.Checksum.data[:4], self._crc)
        kept = checksum_of(mish.Checksum)
        if isinstance(kept, dict):
            self.checksums.append(
                (mish.SectorNumber, mish.SectorCount, str(kept["type"]), str(kept["value"]))
            )
        if len(self._listed) < _TABLES_LISTED:
            self._listed.append(
                {"name": table.name, "sector": mish.SectorNumber, "sectors": mish.SectorCount}
            )

    def _rows(self, mish: Any, table: Table) -> "array[int]":
        """The chunks of a table, as in ``rows``; the table's data are let go."""
        words = array("Q")
        words.frombytes(table.data[MISH.size : MISH.size + mish.NumberOfBlockChunks * CHUNK.size])
        table.data.clear()
        if sys.byteorder == "little":
            words.byteswap()
        rows = array("Q")
        end = mish.SectorNumber
        base = self._data_offset + mish.DataOffset
        if max(base, end) > SECTORS_CAP:
            raise NotThisFormat(f"a table for sector {end}, whose data are at {base}")
        for at in range(0, len(words), CHUNK.size // 8):
            kind = words[at] >> 32
            if kind in (COMMENT, TERMINATOR):
                continue
            number, count, offset, length = words[at + 1 : at + 5]
            if max(number, count, offset, length) > SECTORS_CAP or mish.SectorNumber + number < end:
                raise NotThisFormat(
                    f"the chunk at sector {mish.SectorNumber + number} is out of order or overlaps"
                )
            if count == 0:
                continue
            end = mish.SectorNumber + number + count
            rows.extend((kind, end - count, count, base + offset, length))
            self._kinds[kind] += 1
        return rows

    def finish(self) -> None:
        """Put the tables in order; raises NotThisFormat when two of them claim the same sector."""
        self._tables.sort(key=lambda entry: entry[0], reverse=True)
        while self._tables:
            _, rows = self._tables.pop()
            if rows and rows[1] < self.end:
                raise NotThisFormat(f"two tables claim sector {rows[1]}")
            self.rows.extend(rows)
            if rows:
                self.end = rows[-4] + rows[-3]
        self.starts = self.rows[1 :: self.WIDTH]

    def unused(self) -> list[tuple[int, int]]:
        """The runs of the disk, from and to, that are known to hold nothing."""
        rows, width = self.rows, self.WIDTH
        return [
            (rows[at + 1] * SECTOR, (rows[at + 1] + rows[at + 2]) * SECTOR)
            for at in range(0, len(rows), width)
            if rows[at] == IGNORE
        ]

    def details(self) -> dict[str, Json]:
        """The facts for the report."""
        packed = [kind for kind, _ in self._kinds.most_common() if kind in COMPRESSIONS]
        return {
            "variant": VARIANTS[packed[0]] if packed else "UDRO",
            "compression": COMPRESSIONS[packed[0]] if packed else None,
            "chunks": sum(self._kinds.values()),
            "tables": self._listed,
        }

    def problems(self, file_size: int, size: int, master: Any) -> Iterator[Problem]:
        """What is wrong with the chunks, in a file and for a disk of these sizes."""
        ends = (
            self.rows[at + 3] + self.rows[at + 4]
            for at in range(0, len(self.rows), self.WIDTH)
            if self.rows[at] not in (ZERO, IGNORE)
        )
        if (end := max(ends, default=0)) > file_size:
            yield Problem(Code.TRUNCATED, f"the file ends at byte {file_size}, before data that end at {end}")
        if self.end * SECTOR > size:
            yield Problem(
                Code.DAMAGED, f"the tables have {self.end} sectors, and the trailer {size // SECTOR}"
            )
        for kind in sorted(self._kinds):
            if kind not in (ZERO, RAW, IGNORE) and _unpacker(kind) is None:
                name = COMPRESSIONS.get(kind, f"{kind:#x}")
                hint = f": {MISSING}" if kind == LZFSE else ""
                yield Problem(Code.UNSUPPORTED, f"chunks of type {name} are not read{hint}")
        stored = int.from_bytes(master.data[:4], "big")
        if master.type == CRC32 and self._crc != stored:
            message = f"the master checksum is {stored:#010x}, and the tables' own make {self._crc:#010x}"
            yield Problem(Code.BAD_CHECKSUM, message)


class Data:
    """The disk that the chunks make up; those that are packed are unpacked when they are read."""

    def __init__(self, file: Source, chunks: Chunks, meter: Meter) -> None:
        self._file = file
        self._starts = chunks.starts
        self._rows = chunks.rows
        self._unpacked = Unpacked(meter)

    def locate(self, offset: int) -> Run:
        """The run at this byte of the disk, within its chunk; zeros where no table has any."""
        sector = offset // SECTOR
        number = bisect_right(self._starts, sector) - 1
        next_start = (
            self._starts[number + 1] * SECTOR if number + 1 < len(self._starts) else offset + (1 << 40)
        )
        if number < 0:
            return Run(None, 0, next_start - offset)
        row = number * Chunks.WIDTH
        kind, start, count, at, length = self._rows[row : row + Chunks.WIDTH]
        if sector >= start + count:
            return Run(None, 0, next_start - offset)
        within, left = offset - start * SECTOR, (start + count) * SECTOR - offset
        if kind in (ZERO, IGNORE):
            return Run(None, 0, left)
        if kind == RAW:
            if length < count * SECTOR:
                raise ReadError(f"the chunk at sector {start} has {length} bytes for {count} sectors")
            return Run(self._file, at + within, left)
        size = count * SECTOR
        cost = min(size, _CHUNK_CAP) * _WORTH.get(kind, 1)
        chunk = self._unpacked.get(number, lambda: self._unpack(kind, size, at, length), cost)
        return Run(BytesSource(chunk), within, left)

    def _unpack(self, kind: int, size: int, at: int, length: int) -> bytes:
        unpack = _unpacker(kind)
        if unpack is None:
            raise ReadError(f"chunks of type {COMPRESSIONS.get(kind, hex(kind))} are not read")
        if size > _CHUNK_CAP or length > packed_bound(size):
            raise ReadError(f"a chunk of {size} bytes in {length} is larger than any")
        data = unpack(self._file.read_at(at, length), size)
        if len(data) != size:
            raise ReadError(f"a chunk gives {len(data)} bytes, and {size} belong there")
        return data


def _unpacker(kind: int) -> Callable[[bytes, int], bytes] | None:
    """What unpacks chunks of this type; None where nothing here does."""
    if kind == LZFSE:
        return lzfse_unpacker()
    return {ADC: unpack_adc, ZLIB: inflate, BZIP2: unpack_bzip2, LZMA: unpack_lzma}.get(kind)
