"""VMDK: VMware's virtual disks, of one file or of many that a text descriptor puts together.

Layout: VMware, "Virtual Disk Format 5.0"; for COWD and SESparse, which that leaves out,
https://github.com/libyal/libvmdk, documentation, "VMWare Virtual Disk Format (VMDK)".
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from construct import Bytes, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import decimal, text
from pyimount.parsers.containers.chunks import inflate, packed_bound
from pyimount.parsers.containers.clusters import Unpacked, integers, open_backing, truncated
from pyimount.parsers.containers.runs import EntryTable, Parent, Run, RunSource
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.budget import Meter
from pyimount.sources.errors import OpenError, ReadError
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

TEXT, SPARSE, COWD, SESPARSE = b"# Disk DescriptorFile", b"KDMV", b"COWD", b"\xbe\xba\xfe\xca\0\0\0\0"
SECTOR = 512
ZEROED_GRAINS, COMPRESSED, MARKERS = 0x4, 0x10000, 0x20000
"""Flags: an entry of 1 is a grain of zeros; grains are deflated; each grain has a marker in front."""
AT_END = 0xFFFFFFFFFFFFFFFF
END_OF_STREAM = 0
COWD_ROOT = 0x1
COWD_TABLE_ENTRIES = 4096
NO_PARENT = "ffffffff"

_DESCRIPTOR_CAP = 1 << 20
_EXTENTS_CAP = 4096
_EXTENTS_LISTED = 64
_GRAIN_CAP_SECTORS = 1 << 21
_PACKED_GRAIN_CAP_SECTORS = 1 << 13
_TABLE_CAP = 1 << 16
_SURVEYED_TABLES = 16
_MARKERS_CAP = 1 << 16
"""So many grains are looked for at most where a stream's own tables are lost: 4 GiB as VMware packs them."""

_EXTENT = r'(RW|RDONLY|NOACCESS)\s+([0-9]{1,15})\s+([A-Z]+)(?:\s+"([^"]*)"(?:\s+([0-9]{1,15}))?)?'
_PART_NAME = r"(?i)(.+)-(?:s[0-9]{3}|delta|sesparse)(\.vmdk)"
_ENCODINGS = {
    "utf-8": "utf-8",
    "windows-1252": "cp1252",
    "windows-31j": "cp932",
    "gbk": "gbk",
    "big5": "big5",
}


class _Extent(Record):
    """A line of the descriptor: a run of the disk, and where it stands; ``offset`` and ``size`` in bytes."""

    access: str
    size: int
    type: str
    name: str
    offset: int


def _content_id(text: str) -> str | None:
    """A content ID in eight hex digits: some writers leave leading zeros out. None when there is none."""
    return text.lower().zfill(8) if text else None


class _Descriptor(Record):
    """What a descriptor says; the names of ``values`` are in lower case."""

    values: Mapping[str, str]
    extents: tuple[_Extent, ...]

    @property
    def parent_cid(self) -> str | None:
        """The content ID of the parent; None for a disk without one."""
        cid = _content_id(self.values.get("parentcid", NO_PARENT))
        return None if cid == NO_PARENT else cid

    def details(self) -> dict[str, Json]:
        """Its facts for the report."""
        values = self.values
        extents: list[Json] = [
            {"type": extent.type, "access": extent.access, "size": extent.size, "file": extent.name or None}
            for extent in self.extents[:_EXTENTS_LISTED]
        ]
        geometry = {
            name: values[f"ddb.geometry.{name}"]
            for name in ("cylinders", "heads", "sectors")
            if f"ddb.geometry.{name}" in values
        }
        return {
            "variant": values.get("createtype"),
            "cid": _content_id(values.get("cid", "")),
            "parent_cid": self.parent_cid,
            "backing_file": values.get("parentfilenamehint"),
            "adapter": values.get("ddb.adaptertype"),
            "hardware_version": values.get("ddb.virtualhwversion"),
            "tools_version": values.get("ddb.toolsversion"),
            "uuid": values.get("ddb.uuid"),
            "long_content_id": values.get("ddb.longcontentid"),
            "encoding": values.get("encoding"),
            "geometry": {
                name: value if (number := decimal(value)) is None else number
                for name, value in geometry.items()
            },
            "extent_count": len(self.extents),
            "extents": extents,
        }


def _read_descriptor(data: bytes) -> _Descriptor:
    data = data.split(b"\0", 1)[0]
    values: dict[str, str] = {}
    extents = []
    encoding = re.search(rb'^\s*encoding\s*=\s*"([^"\r\n]{1,40})"', data, re.MULTILINE | re.IGNORECASE)
    codec = _ENCODINGS.get(encoding[1].decode("latin-1").lower() if encoding else "utf-8", "utf-8")
    for line in data.decode(codec, "backslashreplace").splitlines():
        words = line.strip()
        if found := re.match(_EXTENT, words):
            access, sectors, kind, name, offset = found.groups()
            extents.append(
                _Extent(access, int(sectors) * SECTOR, kind, name or "", int(offset or 0) * SECTOR)
            )
            if len(extents) > _EXTENTS_CAP:
                raise NotThisFormat(f"more than {_EXTENTS_CAP} extents")
        elif not words.startswith("#") and "=" in words:
            key, _, value = words.partition("=")
            values.setdefault(key.strip().lower(), value.strip().strip('"'))
    return _Descriptor(values, tuple(extents))


def parse(view: View) -> Container:
    """What the first file says: a descriptor, or an extent's header with the descriptor it may hold."""
    if view.peek(0, len(TEXT)) == TEXT:
        found = _text_descriptor(view)
        size = sum(extent.size for extent in found.extents)
        details = {**found.details(), "stored_size": view.size}
        return Container(type="vmdk", size=size, sector_size=SECTOR, details=details)
    header = _header(view)
    details = {"stored_size": view.size, **_header_details(header)}
    embedded = _embedded(view, header)
    if embedded is not None:
        details |= {key: value for key, value in embedded.details().items() if value is not None}
    return Container(type="vmdk", size=_capacity(header) * SECTOR, sector_size=SECTOR, details=details)


def _text_descriptor(view: View) -> _Descriptor:
    if view.size > _DESCRIPTOR_CAP:
        raise NotThisFormat(f"a descriptor of {view.size} bytes")
    found = _read_descriptor(view.read(0, view.size))
    if not found.extents:
        raise NotThisFormat("a descriptor of no extents")
    return found


def _header(view: View) -> Any:
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


def _capacity(header: Any) -> int:
    return int(header.numSectors if header.magicNumber == COWD else header.capacity)


def _header_details(header: Any) -> dict[str, Json]:
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


def _embedded(view: View, header: Any) -> _Descriptor | None:
    if header.magicNumber != SPARSE or not header.descriptorOffset or not header.descriptorSize:
        return None
    size = min(header.descriptorSize * SECTOR, _DESCRIPTOR_CAP)
    found = _read_descriptor(view.peek(header.descriptorOffset * SECTOR, size))
    return found if "createtype" in found.values or found.extents else None


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The disk inside. What lies in a file that is missing or may not be opened cannot be read."""
    view = View(image.files[0])
    if view.peek(0, len(TEXT)) == TEXT:
        return _open_described(container, _text_descriptor(view), image)
    header = _header(view)
    embedded = _embedded(view, header)
    if embedded is not None and len(embedded.extents) > 1:
        return _open_described(container, embedded, image)
    if embedded is None and (found := _descriptor_beside(image)) is not None:
        details = {**container.details, **found.details()}
        size = sum(extent.size for extent in found.extents)
        return _open_described(container.replaced(size=size, details=details), found, image)
    problems: list[Problem] = []
    parent_cid = embedded.parent_cid if embedded else None
    below = _open_parent(container, parent_cid, image, problems)
    problems.extend(container.problems)
    extent = _open_sparse(image.files[0], below, 0, problems, image.meter)
    if embedded is None and re.fullmatch(_PART_NAME, image.names[0]):
        message = "this is one part of a disk, and the descriptor that names the others was not found"
        problems.append(Problem(Code.MISSING_SEGMENT, message))
    source = RunSource(container.size or 0, extent)
    return Opened(container=container.replaced(problems=tuple(problems)), source=source)


def _descriptor_beside(image: Image) -> _Descriptor | None:
    """The descriptor that lists this part of a disk, by the name that VMware would give it."""
    part = image.names[0]
    name = re.fullmatch(_PART_NAME, part)
    if name is None:
        return None
    try:
        found = _text_descriptor(View(image.open_named(name[1] + name[2])))
    except (OpenError, NotThisFormat, ShortRead, ReadError):
        return None
    return found if any(_last_part(extent.name) == part for extent in found.extents) else None


def _open_parent(
    container: Container, parent_cid: str | None, image: Image, problems: list[Problem]
) -> Parent | None:
    name = container.details.get("backing_file")
    if parent_cid is None and (container.details["variant"] != "COWD" or name is None):
        return None

    def refuse(found: Container) -> str | None:
        if found.type != "vmdk":
            return f"{name} is no VMDK"
        cid = found.details.get("cid")
        if parent_cid is not None and cid != parent_cid:
            return f"{name} has the content ID {cid}, and this disk was made over {parent_cid}"
        return None

    parent = open_backing(image, str(name or ""), "the parent disk", refuse=refuse)
    problems.extend(parent.problems)
    return parent


_Locate = Callable[[int], Run]
"""Gives the run at a byte of an extent."""


def _open_described(container: Container, found: _Descriptor, image: Image) -> Opened:
    problems = list(container.problems)
    below = _open_parent(container, found.parent_cid, image, problems)
    parts = _Parts(image, below, problems)
    locates = []
    start = 0
    for extent in found.extents:
        locates.append(parts.open(extent, start))
        start += extent.size
    disk = _Disk([extent.size for extent in found.extents], locates)
    return Opened(
        container=container.replaced(problems=tuple(problems)), source=RunSource(start, disk.locate)
    )


class _Parts:
    """Opens the extents of one disk, each file once; ``problems`` gets what is wrong with them."""

    def __init__(self, image: Image, below: Parent | None, problems: list[Problem]) -> None:
        self._image = image
        self._below = below
        self._problems = problems
        self._files: dict[str, Source | None] = {}

    def open(self, extent: _Extent, start: int) -> _Locate:
        """The extent that begins at byte ``start`` of the disk."""
        if extent.type == "ZERO":
            return lambda offset: Run(None, 0, extent.size - offset)
        if extent.type not in ("FLAT", "VMFS", "SPARSE", "VMFSSPARSE", "SESPARSE"):
            return self._unreadable(Code.UNSUPPORTED, f"an extent of type {extent.type} is not read")
        file = self._file(extent.name)
        if file is None:
            return _refusing(f"the extent {extent.name!r} is missing")
        if extent.type not in ("FLAT", "VMFS"):
            try:
                return _open_sparse(file, self._below, start, self._problems, self._image.meter)
            except (NotThisFormat, ShortRead, ReadError) as error:
                return self._unreadable(Code.DAMAGED, f"the extent {extent.name!r} cannot be read: {error}")
        if extent.offset + extent.size > file.size:
            end = extent.offset + extent.size
            message = f"the extent {extent.name!r} ends at byte {file.size}, and should at {end}"
            self._problems.append(Problem(Code.TRUNCATED, message))
        return lambda offset: Run(file, extent.offset + offset, extent.size - offset)

    def _file(self, name: str) -> Source | None:
        for own, file in zip(self._image.names, self._image.files, strict=False):
            if own == _last_part(name):
                return file
        if name not in self._files:
            try:
                self._files[name] = self._image.open_named(name)
            except OpenError as error:
                self._files[name] = None
                self._problems.append(Problem(Code.MISSING_BACKING_FILE, str(error)))
        return self._files[name]

    def _unreadable(self, code: Code, message: str) -> _Locate:
        self._problems.append(Problem(code, message))
        return _refusing(message)


def _last_part(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _refusing(why: str) -> _Locate:
    def locate(offset: int) -> Run:  # noqa: ARG001
        raise ReadError(why)

    return locate


class _Disk:
    """Extents one after the other."""

    def __init__(self, sizes: list[int], locates: list[_Locate]) -> None:
        self._ends = list(accumulate(sizes))
        self._sizes = sizes
        self._locates = locates

    def locate(self, offset: int) -> Run:
        """The run at this byte of the disk."""
        number = bisect_right(self._ends, offset)
        left = self._ends[number] - offset
        run = self._locates[number](self._sizes[number] - left)
        return run if run.length <= left else Run(run.source, run.offset, left)


def _open_sparse(
    file: Source, below: Parent | None, start: int, problems: list[Problem], meter: Meter
) -> _Locate:
    """An extent with tables of grains, which begins at byte ``start`` of the disk."""
    view = View(file)
    header = _header(view)

    def unallocated(offset: int, length: int) -> Run:
        return below.run(start + offset, length) if below else Run(None, 0, length)

    if header.magicNumber not in (SPARSE, COWD):
        return _SeSparse(file, header, unallocated).locate
    if header.magicNumber == SPARSE and header.gdOffset == AT_END:
        footer = _footer(view)
        if footer is None:
            grains = _WalkedGrains(view, header)
            message = "the stream's last part is missing; its grains were looked for one by one"
            problems.append(Problem(Code.TRUNCATED, message))
            return _Sparse(file, header, grains.sector, unallocated, meter).locate
        header = footer
    tables = _Grains(file, header, problems)
    if tables.end_too_early():
        problems.append(truncated(file, "grains"))
    return _Sparse(file, header, tables.sector, unallocated, meter).locate


def _footer(view: View) -> Any:
    try:
        footer = read_struct(view, SPARSE_EXTENT_HEADER, view.size // SECTOR * SECTOR - 2 * SECTOR)
        _plausible(footer.capacity, footer.grainSize, footer.numGTEsPerGT, footer.flags & COMPRESSED)
    except (NotThisFormat, ShortRead):
        return None
    return footer if footer.magicNumber == SPARSE and footer.gdOffset != AT_END else None


class _Grains:
    """The grain directory and the grain tables: in which sector of the file a grain stands."""

    def __init__(self, file: Source, header: Any, problems: list[Problem]) -> None:
        self._file = file
        directory, capacity = header.gdOffset, _capacity(header)
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
    """The grains of a stream whose tables are lost, found by the markers in front of them."""

    def __init__(self, view: View, header: Any) -> None:
        self._sectors = dict(_walk(view.source, header.overHead * SECTOR, header.grainSize))
        self._end = max(self._sectors, default=-1) + 1

    def sector(self, number: int) -> int:
        """The first sector of a grain; 0: it was never written. ReadError behind the last that was found."""
        if number >= self._end:
            raise ReadError("these bytes stand in the part of the file that is missing")
        return self._sectors.get(number, 0)


def _walk(file: Source, at: int, grain_size: int) -> Iterator[tuple[int, int]]:
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


FORMAT = ContainerFormat(
    name="vmdk",
    title="VMware virtual disk",
    specification="https://www.vmware.com/app/vmdk/?src=vmdk",
    parse=parse,
    open=open,
    signatures=(Signature(TEXT, 0), Signature(SPARSE, 0), Signature(COWD, 0), Signature(SESPARSE, 0)),
    types=("vmdk",),
)
