"""The sparse extents of a VMDK: hosted (VMware Workstation, VirtualBox, OVF), COWD and SESparse (ESX).

Layout: VMware, "Virtual Disk Format 5.0"; for COWD and SESparse, which that leaves out,
https://github.com/libyal/libvmdk, documentation, "VMWare Virtual Disk Format (VMDK)".
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from construct import Bytes, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Json, NotThisFormat
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import text
from pyimount.parsers.containers.chunks import inflate, packed_bound
from pyimount.parsers.containers.clusters import Unpacked, integers, truncated
from pyimount.parsers.containers.runs import EntryTable, Parent, Run
from pyimount.problems import Code, Problem
from pyimount.sources.budget import Meter
from pyimount.sources.errors import MissingBytes, ReadError
from pyimount.sources.source import BytesSource, Source
from pyimount.sources.view import ShortRead, View

SPARSE_EXTENT_HEADER = layout(
    lambda: Struct(
        "magicNumber" / Bytes(4),
        "version" / Int32ul,
        "flags" / Int32ul,
        "capacity" / Int64ul,
        "grainSize" / Int64ul,
        "descriptorOffset" / Int64ul,
        "descriptorSize" / Int64ul,
        "numGTEsPerGT" / Int32ul,
        "rgdOffset" / Int64ul,
        "gdOffset" / Int64ul,
        "overHead" / Int64ul,
        "uncleanShutdown" / Int8ul,
        "lineEndDetection" / Bytes(4),
        "compressAlgorithm" / Int16ul,
        "pad" / Bytes(433),
    )
)
MARKER = layout(lambda: Struct("val" / Int64ul, "size" / Int32ul, "type" / Int32ul))
COWD_HEADER = layout(
    lambda: Struct(
        "magicNumber" / Bytes(4),
        "version" / Int32ul,
        "flags" / Int32ul,
        "numSectors" / Int32ul,
        "grainSize" / Int32ul,
        "gdOffset" / Int32ul,
        "numGDEntries" / Int32ul,
        "freeSector" / Int32ul,
        "parentFileName" / Bytes(1024),
    )
)
SESPARSE_HEADER = layout(
    lambda: Struct(
        "magicNumber" / Int64ul,
        "version" / Int64ul,
        "capacity" / Int64ul,
        "grainSize" / Int64ul,
        "grainTableSize" / Int64ul,
        "flags" / Int64ul,
        "reserved" / Bytes(32),
        "volatileHeaderOffset" / Int64ul,
        "volatileHeaderSize" / Int64ul,
        "journalHeaderOffset" / Int64ul,
        "journalHeaderSize" / Int64ul,
        "journalOffset" / Int64ul,
        "journalSize" / Int64ul,
        "grainDirectoryOffset" / Int64ul,
        "grainDirectorySize" / Int64ul,
        "grainTablesOffset" / Int64ul,
        "grainTablesSize" / Int64ul,
        "freeBitmapOffset" / Int64ul,
        "freeBitmapSize" / Int64ul,
        "backMapOffset" / Int64ul,
        "backMapSize" / Int64ul,
        "grainsOffset" / Int64ul,
        "grainsSize" / Int64ul,
    )
)

SPARSE, COWD, SESPARSE = b"KDMV", b"COWD", b"\xbe\xba\xfe\xca\0\0\0\0"
SECTOR = 512
ZEROED_GRAINS, COMPRESSED, MARKERS = 0x4, 0x10000, 0x20000
"""Flags: an entry of 1 is a grain of zeros; grains are deflated; each grain has a marker in front."""
AT_END = 0xFFFFFFFFFFFFFFFF
END_OF_STREAM, FOOTER = 0, 3
"""Types of markers."""
COWD_ROOT = 0x1
COWD_TABLE_ENTRIES = 4096

Locate: TypeAlias = Callable[[int], Run]
"""Gives the run at a byte of an extent."""

_GRAIN_CAP_SECTORS = 1 << 21
_PACKED_GRAIN_CAP_SECTORS = 1 << 13
_TABLE_CAP = 1 << 16
_SURVEYED_TABLES = 16
_MARKERS_CAP = 1 << 16
"""So many grains are looked for at most where a stream's own tables are lost: 4 GiB as VMware packs them."""
_FOOTER_SEARCH = 1 << 20
"""So far before a file's end a stream may end: others' bytes may stand behind it, as what a download adds."""


def header_of(view: View) -> Any:
    """The header of an extent, its magic number and figures checked; raises NotThisFormat."""
    magic = view.read(0, 8)
    if magic[:4] == SPARSE:
        header = read_struct(view, SPARSE_EXTENT_HEADER, 0)
        _plausible(header.capacity, header.grainSize, header.numGTEsPerGT, header.flags & COMPRESSED)
        if not 1 <= header.version <= 3:
            raise NotThisFormat(f"version {header.version}")
        return header
    if magic[:4] == COWD:
        header = read_struct(view, COWD_HEADER, 0)
        _plausible(header.numSectors, header.grainSize, COWD_TABLE_ENTRIES, 0)
        return header
    if magic == SESPARSE:
        header = read_struct(view, SESPARSE_HEADER, 0)
        _plausible(header.capacity, header.grainSize, header.grainTableSize * SECTOR // 8, 0)
        if header.version != 0x200000001:
            raise NotThisFormat(f"version {header.version:#x}")
        return header
    raise NotThisFormat("no extent of a VMDK")


def _plausible(capacity: int, grain: int, entries: int, packed: int) -> None:
    cap = _PACKED_GRAIN_CAP_SECTORS if packed else _GRAIN_CAP_SECTORS
    if not capacity or not 0 < grain <= cap or grain & (grain - 1) or not 0 < entries <= _TABLE_CAP:
        raise NotThisFormat(f"{capacity} sectors in grains of {grain}, {entries} in a table")


def capacity_of(header: Any) -> int:
    """Sectors of the disk that an extent has."""
    return int(header.numSectors if header.magicNumber == COWD else header.capacity)


def header_details(header: Any) -> dict[str, Json]:
    """Its facts for the report."""
    details: dict[str, Json] = {"version": header.version, "grain_size": header.grainSize * SECTOR}
    if header.magicNumber == SPARSE:
        return {
            "variant": "sparse extent",
            **details,
            "compression": "deflate" if header.flags & COMPRESSED else None,
            "unclean_shutdown": bool(header.uncleanShutdown),
        }
    if header.magicNumber == COWD:
        parent = None if header.flags & COWD_ROOT else text(header.parentFileName)
        return {"variant": "COWD", **details, "backing_file": parent}
    return {"variant": "seSparse", **details, "version": "2.1"}


def open_sparse(
    file: Source, below: Parent | None, start: int, problems: list[Problem], meter: Meter
) -> Locate:
    """An extent with tables of grains, which begins at byte ``start`` of the disk."""
    view = View(file)
    header = header_of(view)

    def unallocated(offset: int, length: int) -> Run:
        return below.run(start + offset, length) if below else Run(None, 0, length)

    if header.magicNumber not in (SPARSE, COWD):
        return _SeSparse(file, header, unallocated).locate
    if header.magicNumber == SPARSE and header.gdOffset == AT_END:
        footer = _footer(view)
        grains = None if footer else _WalkedGrains(view, header)
        if grains is not None and grains.footer_at is not None:
            footer = _footer_at(view, grains.footer_at)
        if footer is None and grains is not None:
            message = "the stream's last part is missing; its grains were looked for one by one"
            problems.append(Problem(Code.TRUNCATED, message))
            return _Sparse(file, header, grains.sector, unallocated, meter).locate
        header = footer
    tables = _Grains(file, header, problems)
    if tables.end_too_early():
        problems.append(truncated(file, "grains"))
    return _Sparse(file, header, tables.sector, unallocated, meter).locate


def _footer(view: View) -> Any:
    """The header's copy at the end of a stream, which says where the grain directory is; None without one."""
    last = view.size // SECTOR * SECTOR - 2 * SECTOR
    if (footer := _footer_at(view, last)) is not None:
        return footer
    start = max(0, last - _FOOTER_SEARCH) // SECTOR * SECTOR
    tail = view.source.read_at(start, last - start)
    at = tail.rfind(SPARSE)
    while at > 0:  # at 0 it may be the header itself
        if at % SECTOR == 0 and (footer := _footer_at(view, start + at)) is not None:
            return footer
        at = tail.rfind(SPARSE, 0, at)
    return None


def _footer_at(view: View, at: int) -> Any:
    try:
        footer = read_struct(view, SPARSE_EXTENT_HEADER, at)
        _plausible(footer.capacity, footer.grainSize, footer.numGTEsPerGT, footer.flags & COMPRESSED)
    except (NotThisFormat, ShortRead):
        return None
    return footer if footer.magicNumber == SPARSE and footer.gdOffset != AT_END else None


class _Grains:
    """The grain directory and the grain tables: in which sector of the file a grain stands."""

    def __init__(self, file: Source, header: Any, problems: list[Problem]) -> None:
        self._file = file
        directory, capacity = header.gdOffset, capacity_of(header)
        self._per_table = COWD_TABLE_ENTRIES if header.magicNumber == COWD else header.numGTEsPerGT
        if header.magicNumber == SPARSE and directory * SECTOR >= file.size > header.rgdOffset * SECTOR > 0:
            message = "the grain directory lies outside the file; the redundant one is used"
            problems.append(Problem(Code.BACKUP_USED, message))
            directory = header.rgdOffset
        count = -(-capacity // (self._per_table * header.grainSize))
        self._directory = EntryTable(file, directory * SECTOR, count, 4)
        self._words = EntryTable(file, 0, file.size // 4, 4)

    def sector(self, number: int) -> int:
        """The first sector of a grain; 0: it was never written."""
        table, entry = divmod(number, self._per_table)
        at = self._directory[table]
        return self._words[at * (SECTOR // 4) + entry] if at else 0

    def end_too_early(self) -> bool:
        """Whether the file ends before something that some of the tables point to."""
        step = max(1, self._directory.count // _SURVEYED_TABLES)
        try:
            tables = [self._directory[number] for number in range(0, self._directory.count, step)]
        except ReadError:
            return True
        size = 4 * min(self._per_table, COWD_TABLE_ENTRIES)
        for at in (table * SECTOR for table in tables if table):
            entries = self._file.read_at(at, size)
            if len(entries) < size:
                return True
            if any(entry * SECTOR >= self._file.size for entry in integers(entries, 4, "little")):
                return True
        return False


class _WalkedGrains:
    """The grains of a stream whose tables are lost, found by the markers in front of them.

    ``footer_at``: the byte at which its footer stands, None where the walk comes to none.
    """

    def __init__(self, view: View, header: Any) -> None:
        self.footer_at: int | None = None
        self._sectors = dict(self._walk(view.source, header.overHead * SECTOR, header.grainSize))
        self._end = max(self._sectors, default=-1) + 1

    def sector(self, number: int) -> int:
        """The first sector of a grain; 0: it was never written. ReadError behind the last that was found."""
        if number >= self._end:
            raise MissingBytes("these bytes stand in the part of the file that is missing")
        return self._sectors.get(number, 0)

    def _walk(self, file: Source, at: int, grain_size: int) -> Iterator[tuple[int, int]]:
        """The number and the first sector of every grain in a stream of markers from byte ``at`` on."""
        for _ in range(_MARKERS_CAP):
            data = file.read_at(at, MARKER.size)
            if len(data) < MARKER.size:
                return
            marker = parse_struct(data, MARKER)
            if marker.size:
                if marker.val % grain_size:
                    return
                yield marker.val // grain_size, at // SECTOR
                at += -(-(12 + marker.size) // SECTOR) * SECTOR
            elif marker.type == END_OF_STREAM:
                return
            else:
                if marker.type == FOOTER:
                    self.footer_at = at + SECTOR
                at += (1 + marker.val) * SECTOR


class _Sparse:
    """A hosted sparse or COWD extent: grains plain, zero or deflated, where ``sector`` says."""

    def __init__(
        self,
        file: Source,
        header: Any,
        sector: Callable[[int], int],
        unallocated: Callable[[int, int], Run],
        meter: Meter,
    ) -> None:
        hosted = header.magicNumber == SPARSE
        self._file = file
        self._sector = sector
        self._unallocated = unallocated
        self._grain = header.grainSize * SECTOR
        self._zeroed = hosted and bool(header.flags & ZEROED_GRAINS)
        self._packed = hosted and bool(header.flags & COMPRESSED)
        self._markers = hosted and bool(header.flags & MARKERS)
        self._unpacked = Unpacked(meter)

    def locate(self, offset: int) -> Run:
        """The run at this byte of the extent, within its grain."""
        number, within = divmod(offset, self._grain)
        length = self._grain - within
        sector = self._sector(number)
        if sector == 0:
            return self._unallocated(offset, length)
        if sector == 1 and self._zeroed:
            return Run(None, 0, length)
        if not self._packed:
            return Run(self._file, sector * SECTOR + within, length)
        grain = self._unpacked.get(sector, lambda: self._unpack(sector), self._grain)
        if within >= len(grain):
            raise ReadError(f"the grain in sector {sector} has only {len(grain)} bytes")
        return Run(BytesSource(grain), within, len(grain) - within)

    def _unpack(self, sector: int) -> bytes:
        head = 8 if self._markers else 0  # the grain's own sector number
        at = sector * SECTOR + head
        size = int.from_bytes(self._file.read_at(at, 4), "little")
        if size > packed_bound(self._grain):
            raise ReadError(f"the grain in sector {sector} claims {size} bytes, too many for {self._grain}")
        return inflate(self._file.read_at(at + 4, size), self._grain)


class _SeSparse:
    """An SESparse extent: tables of 64-bit entries, whose top digit says what a grain is."""

    def __init__(self, file: Source, header: Any, unallocated: Callable[[int, int], Run]) -> None:
        self._file = file
        self._unallocated = unallocated
        self._grain = header.grainSize * SECTOR
        self._per_table = header.grainTableSize * SECTOR // 8
        self._grains = header.grainsOffset * SECTOR
        self._tables = header.grainTablesOffset * (SECTOR // 8)
        count = header.grainDirectorySize * SECTOR // 8
        self._directory = EntryTable(file, header.grainDirectoryOffset * SECTOR, count, 8)
        self._words = EntryTable(file, 0, file.size // 8, 8)

    def locate(self, offset: int) -> Run:
        """The run at this byte of the extent, within its grain."""
        number, within = divmod(offset, self._grain)
        length = self._grain - within
        table, entry = divmod(number, self._per_table)
        at = self._directory[table]
        if at == 0:
            return self._unallocated(offset, length)
        if at >> 32 != 0x10000000:
            raise ReadError(f"entry {table} of the grain directory is {at:#x}, which means nothing")
        grain = self._words[self._tables + (at & 0xFFFFFFFF) * self._per_table + entry]
        kind = grain >> 60
        if kind in (0, 1):  # never written, or given back by the guest
            return self._unallocated(offset, length)
        if kind == 2:
            return Run(None, 0, length)
        if kind != 3:
            raise ReadError(f"the entry of a grain is {grain:#x}, which means nothing")
        stands = (grain & 0xFFFFFFFFFFFF) << 12 | grain >> 48 & 0xFFF
        return Run(self._file, self._grains + stands * self._grain + within, length)
