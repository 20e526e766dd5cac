"""DMG: Apple's UDIF disk image, and the encrypted wrappings of one.

Layout: no publication of Apple's; "Demystifying the DMG File Format",
https://newosxbook.com/DMG.html; for resource forks Inside Macintosh, "More Macintosh Toolbox",
chapter 1.
"""

import binascii
import sys
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from construct import Bytes, Int8ub, Int16ub, Int32ub, Int64ub, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import flag_names, uuid_text
from pyimount.formats.stored import CheckedBytes, Stored, StoredHash
from pyimount.parsers.containers.adc import unpack_adc
from pyimount.parsers.containers.cdsa import MAGIC_V1, MAGIC_V2, encryption_of
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
from pyimount.parsers.containers.runs import Run, RunSource
from pyimount.parsers.containers.xmltext import read_xml
from pyimount.problems import Code, Problem
from pyimount.sources.budget import Meter
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource, SliceSource, Source
from pyimount.sources.view import View

CHECKSUM = layout(lambda: Struct("type" / Int32ub, "size" / Int32ub, "data" / Bytes(128)))
KOLY = layout(
    lambda: Struct(
        "Signature" / Bytes(4),
        "Version" / Int32ub,
        "HeaderSize" / Int32ub,
        "Flags" / Int32ub,
        "RunningDataForkOffset" / Int64ub,
        "DataForkOffset" / Int64ub,
        "DataForkLength" / Int64ub,
        "RsrcForkOffset" / Int64ub,
        "RsrcForkLength" / Int64ub,
        "SegmentNumber" / Int32ub,
        "SegmentCount" / Int32ub,
        "SegmentID" / Bytes(16),
        "DataChecksum" / CHECKSUM.construct,
        "XMLOffset" / Int64ub,
        "XMLLength" / Int64ub,
        "Reserved1" / Bytes(120),
        "MasterChecksum" / CHECKSUM.construct,
        "ImageVariant" / Int32ub,
        "SectorCount" / Int64ub,
        "Reserved2" / Bytes(12),
    )
)
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
RESOURCE_HEADER = layout(
    lambda: Struct(
        "dataOffset" / Int32ub, "mapOffset" / Int32ub, "dataLength" / Int32ub, "mapLength" / Int32ub
    )
)
RESOURCE_MAP = layout(
    lambda: Struct(
        "copy" / Bytes(16),
        "next" / Int32ub,
        "file" / Int16ub,
        "attributes" / Int16ub,
        "typeListOffset" / Int16ub,
        "nameListOffset" / Int16ub,
        "lastType" / Int16ub,
    )
)
RESOURCE_TYPE = layout(
    lambda: Struct("type" / Bytes(4), "lastReference" / Int16ub, "referenceListOffset" / Int16ub)
)
RESOURCE_REFERENCE = layout(
    lambda: Struct(
        "id" / Int16ub, "nameOffset" / Int16ub, "attributes" / Int8ub, "offset" / Bytes(3), "handle" / Int32ub
    )
)
SECTOR = 512
SIGNATURE = b"koly"
FLAGS = {0x1: "flattened", 0x4: "internet_enabled"}
CRC32 = 2
CHECKSUM_TYPES = {0: None, 2: "crc32", 4: "md5", 6: "sha1", 8: "sha256"}

ZERO, RAW, IGNORE, ADC, ZLIB, BZIP2, LZFSE, LZMA = 0, 1, 2, *range(0x80000004, 0x80000009)
COMMENT, TERMINATOR = 0x7FFFFFFE, 0xFFFFFFFF
COMPRESSIONS = {ADC: "adc", ZLIB: "zlib", BZIP2: "bzip2", LZFSE: "lzfse", LZMA: "lzma"}
_WORTH = {ADC: OWN_WORTH, BZIP2: BZIP2_WORTH, LZMA: LZMA_WORTH}
VARIANTS = {ADC: "UDCO", ZLIB: "UDZO", BZIP2: "UDBZ", LZFSE: "ULFO", LZMA: "ULMO"}
"""hdiutil's names."""

_XML_CAP = 64 << 20
_TABLES_CAP = 4096
_TABLES_LISTED = 64
_CHUNKS_CAP = 1 << 18
_CHUNK_CAP = 8 << 20
"""No chunk that must be unpacked is larger than this in bytes."""
_SECTORS_CAP = 1 << 54
_RESOURCES_CAP = 16 << 20
_RESOURCE_TYPES_CAP = 256


def parse(view: View) -> Container:
    """What the trailer says, or the header of an encrypted image."""
    encryption = encryption_of(view)
    if encryption is not None:
        details: dict[str, Json] = {"stored_size": view.size, "locked": True, "encryption": encryption}
        return Container(type="dmg", details=details)
    koly = _koly(view)
    details = {
        "version": koly.Version,
        "stored_size": view.size,
        "flags": [*flag_names(koly.Flags, FLAGS, "flag")],
        "image_variant": koly.ImageVariant,
        "segments": koly.SegmentCount,
        "segment": koly.SegmentNumber,
        "uuid": uuid_text(koly.SegmentID),
        "encryption": None,
        "data_checksum": _checksum(koly.DataChecksum),
        "master_checksum": _checksum(koly.MasterChecksum),
    }
    return Container(type="dmg", size=koly.SectorCount * SECTOR, sector_size=SECTOR, details=details)


def _koly(view: View) -> Any:
    koly = read_struct(view, KOLY, view.size - KOLY.size)
    if koly.HeaderSize != KOLY.size or koly.SectorCount > _SECTORS_CAP:
        raise NotThisFormat(f"a trailer of {koly.HeaderSize} bytes, {koly.SectorCount} sectors")
    return koly


def _checksum(checksum: Any) -> Json:
    kind = CHECKSUM_TYPES.get(checksum.type, f"type {checksum.type}")
    if kind is None:
        return None
    return {"type": kind, "value": checksum.data[: min(checksum.size, 1024) // 8].hex()}


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The disk inside; an encrypted one is named only."""
    details = dict(container.details)
    problems = list(container.problems)
    if details["encryption"]:
        problems.append(Problem(Code.LOCKED, "the image is encrypted, and is not read"))
        return Opened(container=container.replaced(problems=tuple(problems)), source=None)
    file = image.files[0]
    koly = _koly(View(file))
    if koly.SegmentCount > 1:
        message = f"this is segment {koly.SegmentNumber} of {koly.SegmentCount}; the others are not read"
        problems.append(Problem(Code.UNSUPPORTED, message))
    chunks = _Chunks(koly.DataForkOffset)
    if koly.XMLLength:
        if koly.XMLLength > _XML_CAP:
            raise NotThisFormat(f"a property list of {koly.XMLLength} bytes")
        read_xml(file, koly.XMLOffset, koly.XMLLength, _PropertyList(chunks))
    elif koly.RsrcForkLength:
        _read_resources(file, koly, chunks)
    else:
        return _open_plain(container, koly, file)
    chunks.finish()
    size = container.size or chunks.end * SECTOR
    details |= chunks.details()
    problems.extend(chunks.problems(file.size, size, koly.MasterChecksum))
    data = _Data(file, chunks, image.meter)
    container = container.replaced(size=size, details=details, problems=tuple(problems))
    stored = _stored(file, koly, chunks.checksums, chunks.unused())
    return Opened(container=container, source=RunSource(size, data.locate), stored=stored)


def _stored(
    file: Source,
    koly: Any,
    parts: Sequence[tuple[int, int, str, str]] = (),
    unused: Sequence[tuple[int, int]] = (),
) -> Stored:
    """The checksums of the parts of the disk that the tables are of, and of the data fork.

    hdiutil sums up the chunks that a table has, but for those of unused space; others sum up these, too.
    """

    def runs() -> Iterator[StoredHash]:
        end = 0
        for sector, count, kind, value in sorted(parts):
            if sector >= end:  # two tables over the same sectors are told elsewhere
                end = sector + count
                yield StoredHash(
                    algorithm=kind,
                    value=value,
                    what=f"the part from sector {sector} on",
                    offset=sector * SECTOR,
                    size=count * SECTOR,
                    left_out=tuple(
                        each for each in unused if sector * SECTOR <= each[0] < (sector + count) * SECTOR
                    ),
                )

    checked = [CheckedBytes(runs=runs)] if parts else []
    fork = _checksum(koly.DataChecksum)
    if isinstance(fork, dict) and koly.DataForkOffset + koly.DataForkLength <= file.size:
        kept = StoredHash(algorithm=str(fork["type"]), value=str(fork["value"]))
        source = SliceSource(file, koly.DataForkOffset, koly.DataForkLength)
        checked.append(CheckedBytes(name="the data fork", source=source, hashes=(kept,)))
    return Stored(checked=tuple(checked), structural="the tables, by the master checksum")


def _open_plain(container: Container, koly: Any, file: Source) -> Opened:
    """Without any table the data fork is the disk."""
    size = container.size or 0
    if koly.DataForkLength < size:
        raise NotThisFormat("an image without tables of blocks")
    source = RunSource(size, lambda offset: Run(file, koly.DataForkOffset + offset, size - offset))
    return Opened(container=container, source=source, stored=_stored(file, koly))


class _Table:
    """A ``blkx`` resource as it is read: name and the bytes of its ``mish`` block."""

    def __init__(self, data: bytes = b"") -> None:
        self.name: str | None = None
        self.data = bytearray(data)


class _Chunks:
    """All chunks of the disk in order: type, first sector, sectors, place and length in the file."""

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

    def add(self, table: _Table) -> None:
        """Take in a table; raises NotThisFormat when it contradicts itself."""
        mish = parse_struct(bytes(table.data[: MISH.size]), MISH)
        if mish.Signature != b"mish" or mish.NumberOfBlockChunks * CHUNK.size > len(table.data) - MISH.size:
            raise NotThisFormat(f"a table of {mish.NumberOfBlockChunks} chunks in {len(table.data)} bytes")
        self._count += mish.NumberOfBlockChunks
        if len(self._tables) >= _TABLES_CAP or self._count > _CHUNKS_CAP:
            raise NotThisFormat(f"{len(self._tables)} tables with {self._count} chunks")
        self._tables.append((mish.SectorNumber, self._rows(mish, table)))
        self._crc = binascii.crc32(mish.Checksum.data[:4], self._crc)
        kept = _checksum(mish.Checksum)
        if isinstance(kept, dict):
            self.checksums.append(
                (mish.SectorNumber, mish.SectorCount, str(kept["type"]), str(kept["value"]))
            )
        if len(self._listed) < _TABLES_LISTED:
            self._listed.append(
                {"name": table.name, "sector": mish.SectorNumber, "sectors": mish.SectorCount}
            )

    def _rows(self, mish: Any, table: _Table) -> "array[int]":
        words = array("Q")
        words.frombytes(table.data[MISH.size : MISH.size + mish.NumberOfBlockChunks * CHUNK.size])
        table.data.clear()
        if sys.byteorder == "little":
            words.byteswap()
        rows = array("Q")
        end = mish.SectorNumber
        base = self._data_offset + mish.DataOffset
        if max(base, end) > _SECTORS_CAP:
            raise NotThisFormat(f"a table for sector {end}, whose data are at {base}")
        for at in range(0, len(words), CHUNK.size // 8):
            kind = words[at] >> 32
            if kind in (COMMENT, TERMINATOR):
                continue
            number, count, offset, length = words[at + 1 : at + 5]
            if max(number, count, offset, length) > _SECTORS_CAP or mish.SectorNumber + number < end:
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


class _PropertyList:
    """Gathers the ``blkx`` tables from the property list, as XML's events bring them."""

    PATH = ("plist", "dict", "dict", "array", "dict")
    """Where the dictionaries of the resources stand."""

    def __init__(self, chunks: _Chunks) -> None:
        self._chunks = chunks
        self._path: list[str] = []
        self._keys: list[str] = []
        self._text: list[str] = []
        self._base64 = ""
        self._table: _Table | None = None

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:  # noqa: ARG002
        """An element begins."""
        self._path.append(tag)
        self._text = []
        if tag == "dict":
            if tuple(self._path) == self.PATH and self._keys == ["resource-fork", "blkx"]:
                self._table = _Table()
            self._keys.append("")

    def text(self, piece: str) -> None:
        """A piece of the innermost element's text: of a table's data, decoded at once, or of a name."""
        tag = self._path[-1]
        if tag == "data" and self._table is not None and self._keys[-1] == "Data":
            packed = self._base64 + "".join(piece.split())
            whole = len(packed) // 4 * 4
            self._base64 = packed[whole:]
            if len(self._table.data) > MISH.size + _CHUNKS_CAP * CHUNK.size:
                raise NotThisFormat("a table of too many chunks")
            try:
                self._table.data += binascii.a2b_base64(packed[:whole])
            except ValueError as error:  # as binascii.Error is, and what is raised where it is not ASCII
                raise NotThisFormat(f"a table of chunks is no base64: {error}") from error
        elif tag in ("key", "string") and sum(map(len, self._text)) < SECTOR:
            self._text.append(piece)

    def end(self, tag: str) -> None:
        """An element ends."""
        self._path.pop()
        value = "".join(self._text)
        if tag == "key" and self._keys:
            self._keys[-1] = value
        elif tag == "string" and self._table is not None and self._keys[-1] in ("Name", "CFName"):
            self._table.name = value[:SECTOR] or self._table.name
        elif tag == "data":
            self._base64 = ""
        elif tag == "dict":
            self._keys.pop()
            if self._table is not None and len(self._keys) == 2:
                self._chunks.add(self._table)
                self._table = None


def _read_resources(file: Source, koly: Any, chunks: _Chunks) -> None:
    """Gather the ``blkx`` tables from a resource fork, as images had it before property lists."""
    if koly.RsrcForkLength > _RESOURCES_CAP:
        raise NotThisFormat(f"a resource fork of {koly.RsrcForkLength} bytes")
    fork = file.read_at(koly.RsrcForkOffset, koly.RsrcForkLength)
    header = parse_struct(fork, RESOURCE_HEADER)
    table_map = parse_struct(fork, RESOURCE_MAP, header.mapOffset)
    types = header.mapOffset + table_map.typeListOffset
    left = len(fork)
    for number in range(min(table_map.lastType + 1, _RESOURCE_TYPES_CAP)):
        kind = parse_struct(fork, RESOURCE_TYPE, types + 2 + number * RESOURCE_TYPE.size)
        if kind.type != b"blkx":
            continue
        for reference in range(kind.lastReference + 1):
            at = types + kind.referenceListOffset + reference * RESOURCE_REFERENCE.size
            entry = parse_struct(fork, RESOURCE_REFERENCE, at)
            start = header.dataOffset + int.from_bytes(entry.offset, "big")
            size = int.from_bytes(fork[start : start + 4], "big")
            left -= size
            if left < 0:
                raise NotThisFormat("resources that lie within one another")
            chunks.add(_Table(fork[start + 4 : start + 4 + size]))


class _Data:
    """Where the disk's bytes stand."""

    def __init__(self, file: Source, chunks: _Chunks, meter: Meter) -> None:
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
        row = number * _Chunks.WIDTH
        kind, start, count, at, length = self._rows[row : row + _Chunks.WIDTH]
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
    if kind == LZFSE:
        return lzfse_unpacker()
    return {ADC: unpack_adc, ZLIB: inflate, BZIP2: unpack_bzip2, LZMA: unpack_lzma}.get(kind)


FORMAT = ContainerFormat(
    name="dmg",
    title="Apple disk image (UDIF)",
    specification="https://newosxbook.com/DMG.html",
    parse=parse,
    open=open,
    signatures=(Signature(SIGNATURE, -512), Signature(MAGIC_V2, 0), Signature(MAGIC_V1, -8)),
    types=("dmg",),
)
