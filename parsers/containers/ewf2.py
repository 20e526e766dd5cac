"""Expert Witness Compression Format, version 2: Ex01 (EnCase 7), Lx01.

Layout: "Expert Witness Compression Format version 2 specification", libewf's documentation
https://github.com/libyal/libewf/blob/main/documentation/Expert%20Witness%20Compression%20Format%202%20(EWF2).asciidoc
"""

import hashlib
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from construct import Bytes, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import decimal, guid_text, unix_time
from pyimount.formats.stored import CheckedBytes, Pieces, Stored, of_digests
from pyimount.parsers.containers.chunks import (
    BZIP2_WORTH,
    CHUNK_CAP,
    ChunkSource,
    inflate,
    packed_bound,
    read_checked,
    unpack_bzip2,
)
from pyimount.parsers.containers.runs import EntryTable
from pyimount.parsers.containers.segment_sets import in_order
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import MissingBytes, ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

DISK_SIGNATURE = b"EVF2\r\n\x81\x00"
LOGICAL_SIGNATURE = b"LEF2\r\n\x81\x00"

FILE_HEADER = layout(
    lambda: Struct(
        "signature" / Bytes(8),
        "major_version" / Int8ul,
        "minor_version" / Int8ul,
        "compression_method" / Int16ul,
        "segment_number" / Int32ul,
        "set_identifier" / Bytes(16),
    )
)
SECTION_DESCRIPTOR = layout(
    lambda: Struct(
        "type" / Int32ul,
        "data_flags" / Int32ul,
        "previous_offset" / Int64ul,
        "data_size" / Int64ul,
        "descriptor_size" / Int32ul,
        "padding_size" / Int32ul,
        "integrity_hash" / Bytes(16),
        "padding" / Bytes(12),
        "checksum" / Int32ul,
    )
)
TABLE_HEADER = layout(
    lambda: Struct(
        "first_chunk_number" / Int64ul,
        "number_of_entries" / Int32ul,
        "padding" / Bytes(4),
        "checksum" / Int32ul,
        "alignment_padding" / Bytes(12),
    )
)
TABLE_ENTRY = layout(
    lambda: Struct("chunk_data_offset" / Int64ul, "chunk_data_size" / Int32ul, "chunk_data_flags" / Int32ul)
)

DEVICE_INFORMATION, CASE_DATA, SECTOR_TABLE = 0x01, 0x02, 0x04
MD5_HASH, SHA1_HASH, ENCRYPTION_KEYS, NEXT, DONE = 0x08, 0x09, 0x0B, 0x0D, 0x0F
HASHED, ENCRYPTED = 0x1, 0x2
CHUNK_COMPRESSED, CHUNK_PATTERN = 0x1, 0x4
COMPRESSION = {0: "none", 1: "zlib", 2: "bzip2"}
DRIVE_TYPES = {
    "a": "RAM disk",
    "c": "optical",
    "f": "fixed",
    "l": "single files",
    "m": "memory",
    "p": "PALM",
    "r": "removable",
}
CASE_VALUES = {
    "nm": "description",
    "cn": "case_number",
    "en": "evidence_number",
    "ex": "examiner_name",
    "nt": "notes",
    "av": "software_version",
    "os": "operating_system",
    "tt": "acquired",
    "at": "system_date",
}
DEVICE_VALUES = {"sn": "serial_number", "md": "model", "lb": "device_label", "pid": "process_identifier"}
WRITE_BLOCKERS = {1: "FastBloc", 2: "Tableau"}

SECTIONS_CAP = 1 << 16
_TEXT_CAP = 256 << 10
_RECOVERY_CAP = 64 << 10
_PIECE = 1 << 20
_SECTOR_CAP = 1 << 16
_SIZE_CAP = 1 << 60


class _Section(Record):
    """A section: its type and flags, and where its data starts and ends in the file, in bytes.

    ``padding``: so many of them at the end are none; ``integrity_hash``: the MD5 of the data, where the
    flags say so.
    """

    kind: int
    flags: int
    start: int
    end: int
    padding: int
    integrity_hash: bytes


class _Table(Record):
    """The chunks that a sector table lists, from number ``first`` on; they lie in ``source``."""

    source: Source
    first: int
    entries: EntryTable


class _Segment:
    """What the sections of one segment file say. ``last``: the image ends with it."""

    def __init__(self, name: str, header: Any) -> None:
        self.name = name
        self.header = header
        self.device: dict[str, str] = {}
        self.case: dict[str, str] = {}
        self.hashes: dict[str, str] = {}
        self.tables: list[_Table] = []
        self.encrypted = False
        self.whole = False
        self.last = False
        self.problems: list[Problem] = []

    @property
    def number(self) -> int:
        """Of the segment, from 1 on."""
        return int(self.header.segment_number)

    @property
    def acquisition(self) -> dict[str, str]:
        """What the segments of one acquisition have in common."""
        identifier = guid_text(bytes(self.header.set_identifier))
        return {"set identifier": identifier} if identifier else {}

    def note(self, code: Code, message: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(code, f"{self.name}: {message}" if self.name else message))


def parse(view: View) -> Container:
    """Read the first segment; ``open_image`` adds what stands in the others."""
    return _container([_read_segment(view, "")], view.size)


def open_image(container: Container, image: Image) -> Opened:
    """Read every segment, and give the disk that they make up."""
    found, unread = [], []
    for name, file in zip(image.names, image.files, strict=True):
        try:
            found.append(_read_segment(View(file), name))
        except (NotThisFormat, ShortRead, ReadError) as error:
            unread.append(Problem(Code.DAMAGED, f"{name} cannot be read as a segment: {error}"))
    segments, problems = in_order(found, image.missing, unread)
    if not segments:
        return Opened(container=container.replaced(problems=tuple(problems)), source=None)
    made = _container(segments, sum(file.size for file in image.files))
    source = None
    if made.size is not None:
        _, sector_size, per_chunk = _figures(segments)
        chunk_size = sector_size * per_chunk
        tables = sorted(
            (table for segment in segments for table in segment.tables), key=lambda table: table.first
        )
        method = segments[0].header.compression_method
        chunks = _Chunks(tables, chunk_size, made.size, method)
        worth = BZIP2_WORTH if method == 2 else 1
        source = ChunkSource(made.size, chunk_size, chunks.load, image.meter, worth)
        problems += _gaps(tables, -(-made.size // chunk_size))
    return Opened(
        container=made.replaced(problems=(*made.problems, *problems)),
        source=source,
        stored=_stored(made, segments, image),
    )


def _stored(made: Container, segments: Sequence[_Segment], image: Image) -> Stored:
    """The hashes of the disk, the checksums of its chunks, and those of every section of these segments."""
    files = dict(zip(image.names, image.files, strict=True))

    def structures() -> Iterator[Problem]:
        for segment in segments:
            try:
                yield from _read_segment(View(files[segment.name]), segment.name, thorough=True).problems
            except (NotThisFormat, ShortRead, ReadError) as error:
                yield Problem(Code.DAMAGED, f"{segment.name} cannot be read as a segment: {error}")

    chunk_size = made.details.get("chunk_size")
    pieces = Pieces(
        algorithm="Adler-32", what="chunk", size=chunk_size if isinstance(chunk_size, int) else None
    )
    disk = CheckedBytes(hashes=of_digests(made.details, ("md5", "sha1")), pieces=pieces)
    return Stored(checked=(disk,), structures=structures, structural="every section and table")


def _gaps(tables: Sequence[_Table], wanted: int) -> Iterator[Problem]:
    """Which chunks no table lists, or more than the disk has."""
    at = 0
    for table in tables:
        if table.first > at:
            break
        at = max(at, table.first + table.entries.count)
    if at < wanted:
        yield Problem(Code.TRUNCATED, f"chunks from {at} on are not all listed, and the disk has {wanted}")
    if at > wanted:
        message = (
            f"the tables list {at} chunks, and the disk has {wanted}: what stands in the others is not shown"
        )
        yield Problem(Code.DAMAGED, message)


def _read_segment(view: View, name: str, *, thorough: bool = False) -> _Segment:
    """What a segment says; ``thorough``: hold each of its sections against its checksums."""
    header = read_struct(view, FILE_HEADER, 0)
    if header.signature not in (DISK_SIGNATURE, LOGICAL_SIGNATURE) or header.major_version != 2:
        raise NotThisFormat("no EWF2 file header")
    segment = _Segment(name, header)
    for section in _sections(view, segment):
        if thorough:
            _hold(view, section, segment)
        if section.kind in (NEXT, DONE):
            segment.last = section.kind == DONE
        elif section.flags & ENCRYPTED or section.kind == ENCRYPTION_KEYS:
            segment.encrypted = True
        elif section.kind == DEVICE_INFORMATION:
            segment.device = _read_values(view, section, segment)
        elif section.kind == CASE_DATA:
            segment.case = _read_values(view, section, segment)
        elif section.kind == SECTOR_TABLE:
            _read_table(view, section, segment, thorough=thorough)
        elif section.kind in (MD5_HASH, SHA1_HASH):
            _read_hash(view, section, segment)
    return segment


def _sections(view: View, segment: _Segment) -> Iterator[_Section]:
    """The sections of a segment from the last to the first, as their descriptors lead."""
    size = SECTION_DESCRIPTOR.size
    offset = view.size - size
    for _ in range(SECTIONS_CAP):
        section, previous = _section(view, offset)
        if section is None:
            segment.note(
                Code.TRUNCATED, f"has no section descriptor at byte {max(0, offset)}, where one should be"
            )
            break
        segment.whole = True
        yield section
        if previous == 0:
            return
        if previous >= offset:
            segment.note(Code.LOOP, f"its section at byte {offset} leads forward to {previous}")
            return
        offset = previous
    if segment.whole:
        return
    # Cut: the sections that say what this is stand at its beginning, on multiples of 16 bytes.
    for offset in range(FILE_HEADER.size, min(_RECOVERY_CAP, view.size - size), 16):
        section, _ = _section(view, offset)
        if section is not None:
            yield section


def _section(view: View, offset: int) -> tuple[_Section | None, int]:
    """The section whose descriptor stands at ``offset``, and the place of the descriptor before it."""
    if offset < FILE_HEADER.size:
        return None, 0
    raw = view.peek(offset, SECTION_DESCRIPTOR.size)
    if len(raw) < SECTION_DESCRIPTOR.size or zlib.adler32(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        return None, 0
    made = parse_struct(raw, SECTION_DESCRIPTOR)
    if made.descriptor_size != SECTION_DESCRIPTOR.size:
        return None, 0
    start = max(FILE_HEADER.size, offset - made.data_size)
    section = _Section(
        made.type, made.data_flags, start, offset, made.padding_size, bytes(made.integrity_hash)
    )
    return section, made.previous_offset


def _unpack(data: bytes, size: int, method: int) -> bytes:
    if method == 1:
        return inflate(data, size)
    if method == 2:
        return unpack_bzip2(data, size)
    raise ReadError(f"compression method {method} is not known")


def _read_values(view: View, section: _Section, segment: _Segment) -> dict[str, str]:
    """The attributes in a serialized object: a line of tags, a line of values, of what is called main."""
    raw = view.peek(section.start, min(section.end - section.start, packed_bound(_TEXT_CAP)))
    try:
        data = _unpack(raw, _TEXT_CAP, segment.header.compression_method)
    except ReadError as error:
        segment.note(Code.DAMAGED, f"its section {section.kind:#x} cannot be read: {error}")
        return {}
    lines = data.decode("utf-16", "backslashreplace").split("\n", 4)
    if len(lines) < 4:
        return {}
    pairs = zip(lines[2].rstrip("\r").split("\t"), lines[3].rstrip("\r").split("\t"), strict=False)
    return {tag: value for tag, value in pairs if value.strip()}


def _hold(view: View, section: _Section, segment: _Segment) -> None:
    """Hold a section's data against its MD5, where it has one: with what pads it, or without."""
    if not section.flags & HASHED or not any(section.integrity_hash):
        return
    total = hashlib.md5(usedforsecurity=False)
    end = section.end - section.padding
    for at in range(section.start, end, _PIECE):
        total.update(view.source.read_at(at, min(_PIECE, end - at)))
    padded = total.copy()
    padded.update(view.source.read_at(end, section.padding))
    if section.integrity_hash not in (total.digest(), padded.digest()):
        segment.note(
            Code.BAD_CHECKSUM,
            f"the MD5 of its section {section.kind:#x} at byte {section.start} does not match",
        )


def _hold_entries(view: View, start: int, size: int, end: int, segment: _Segment) -> None:
    """Hold the entries of a table against the checksum behind them, where there is room for one."""
    if start + size + 4 > end:
        return
    total = 1
    for at in range(start, start + size, _PIECE):
        total = zlib.adler32(view.source.read_at(at, min(_PIECE, start + size - at)), total)
    if total != int.from_bytes(view.source.read_at(start + size, 4), "little"):
        segment.note(
            Code.BAD_CHECKSUM, f"the checksum of a sector table's entries, at byte {start}, is wrong"
        )


def _read_table(view: View, section: _Section, segment: _Segment, *, thorough: bool) -> None:
    raw = view.peek(section.start, min(TABLE_HEADER.size, section.end - section.start))
    if len(raw) < TABLE_HEADER.size:
        segment.note(Code.DAMAGED, "a sector table is cut")
        return
    header = parse_struct(raw, TABLE_HEADER)
    if zlib.adler32(raw[:16]) != header.checksum:
        segment.note(Code.BAD_CHECKSUM, "the checksum of a sector table's header is wrong")
    start = section.start + TABLE_HEADER.size
    room = (section.end - start) // TABLE_ENTRY.size
    if header.number_of_entries > room:
        segment.note(
            Code.DAMAGED,
            f"a sector table should have {header.number_of_entries} entries, and has room for {room}",
        )
    count = min(header.number_of_entries, room)
    if thorough and count == header.number_of_entries:
        _hold_entries(view, start, count * TABLE_ENTRY.size, section.end, segment)
    entries = EntryTable(view.source, start, count, TABLE_ENTRY.size)
    segment.tables.append(_Table(view.source, header.first_chunk_number, entries))


def _read_hash(view: View, section: _Section, segment: _Segment) -> None:
    name, size = ("md5", 16) if section.kind == MD5_HASH else ("sha1", 20)
    raw = view.peek(section.start, min(size + 4, section.end - section.start))
    if len(raw) < size + 4:
        segment.note(Code.DAMAGED, f"the {name.upper()} is cut")
        return
    if zlib.adler32(raw[:size]) != int.from_bytes(raw[size:], "little"):
        segment.note(Code.BAD_CHECKSUM, f"the checksum of the {name.upper()} is wrong")
    segment.hashes[name] = raw[:size].hex()


def _number(values: dict[str, str], tag: str) -> int | None:
    word = values.get(tag, "")
    return decimal(word)


def _figures(segments: Sequence[_Segment]) -> tuple[int, int, int]:
    """Sectors, bytes in a sector, and sectors in a chunk; all zero where one is not known."""
    for segment in segments:
        figures = (
            _number(segment.device, "ts") or 0,
            _number(segment.device, "bp") or 0,
            _number(segment.case, "sb") or 0,
        )
        if all(figures):
            return figures
    return 0, 0, 0


def _container(segments: Sequence[_Segment], stored: int) -> Container:
    header = segments[0].header
    logical = header.signature == LOGICAL_SIGNATURE
    problems = [problem for segment in segments for problem in segment.problems]
    device: dict[str, str] = {}
    case: dict[str, str] = {}
    hashes: dict[str, str] = {}
    for segment in reversed(segments):
        device |= segment.device
        case |= segment.case
        hashes |= segment.hashes
    sectors, sector_size, per_chunk = _figures(segments)
    details: dict[str, Json] = {
        "variant": "Lx01" if logical else "Ex01",
        "version": f"{header.major_version}.{header.minor_version}",
        "stored_size": stored,
        "segments": len(segments),
        "compression": COMPRESSION.get(header.compression_method, f"{header.compression_method:#x}"),
        "set_identifier": guid_text(header.set_identifier),
        "encrypted": any(segment.encrypted for segment in segments),
    }
    size = None
    if sectors:
        size, chunk_size = sectors * sector_size, per_chunk * sector_size
        details |= {"chunk_size": chunk_size, "chunks": _number(case, "tb"), "number_of_sectors": sectors}
        if chunk_size > CHUNK_CAP or sector_size > _SECTOR_CAP or size > _SIZE_CAP:
            message = f"{size} bytes in chunks of {chunk_size}, in sectors of {sector_size}"
            problems.append(Problem(Code.UNSUPPORTED, f"the disk's figures are beyond any tool's: {message}"))
            size = None
    elif not details["encrypted"]:
        problems.append(Problem(Code.DAMAGED, "no segment that is here says how large the disk is"))
    if device.get("dt"):
        details["media_type"] = DRIVE_TYPES.get(device["dt"], device["dt"])
        details["physical"] = device.get("ph") == "1"
    if case:
        details["error_granularity_sectors"] = _number(case, "gr")
        blocker = _number(case, "wb")
        details["write_blocker"] = WRITE_BLOCKERS.get(blocker or 0)
    details |= hashes
    values = {
        name: _date(case[tag]) if tag in ("tt", "at") else case[tag]
        for tag, name in CASE_VALUES.items()
        if tag in case
    }
    values |= {name: device[tag] for tag, name in DEVICE_VALUES.items() if tag in device}
    if values:
        details["acquisition"] = dict(values)
    if details["encrypted"]:
        problems.append(
            Problem(Code.UNSUPPORTED, "it is encrypted, in a way that its makers do not disclose")
        )
        size = None
    elif logical:
        problems.append(Problem(Code.UNSUPPORTED, "this holds copies of files, and no disk"))
        size = None
    return Container(
        type="ewf2",
        size=size,
        sector_size=sector_size if size else None,
        details=details,
        problems=tuple(problems),
    )


def _date(value: str) -> str:
    number = decimal(value, 12) or 0
    return unix_time(number) or value


class _Chunks:
    """Reads chunks, by their number on the disk."""

    def __init__(self, tables: Sequence[_Table], chunk_size: int, size: int, method: int) -> None:
        self._tables = tables
        self._firsts = [table.first for table in tables]
        self._chunk_size = chunk_size
        self._size = size
        self._method = method

    def load(self, number: int) -> bytes:
        """The bytes of a chunk; raises ReadError when they are missing or damaged."""
        try:
            return self._load(number)
        except MissingBytes as error:
            raise MissingBytes(f"chunk {number} of the image: {error}") from error
        except ReadError as error:
            raise ReadError(f"chunk {number} of the image: {error}") from error

    def _load(self, number: int) -> bytes:
        at = bisect_right(self._firsts, number) - 1
        if at < 0 or number - self._firsts[at] >= self._tables[at].entries.count:
            raise MissingBytes("no table that is here lists it")
        table = self._tables[at]
        entry = parse_struct(table.entries.raw(number - table.first), TABLE_ENTRY)
        wanted = min(self._chunk_size, self._size - number * self._chunk_size)
        if entry.chunk_data_flags & CHUNK_COMPRESSED:
            if entry.chunk_data_flags & CHUNK_PATTERN:
                pattern = entry.chunk_data_offset.to_bytes(8, "little")
                return bytes(pattern * (wanted // 8 + 1))[:wanted]
            size = min(entry.chunk_data_size, packed_bound(self._chunk_size))
            chunk = _unpack(
                table.source.read_at(entry.chunk_data_offset, size), self._chunk_size, self._method
            )
        else:
            size = min(max(wanted, entry.chunk_data_size - 4), self._chunk_size)
            chunk = read_checked(table.source, entry.chunk_data_offset, size)
        if len(chunk) < wanted:
            raise ReadError(f"it has {len(chunk)} bytes, and should have {wanted}")
        return chunk[:wanted]


FORMAT = ContainerFormat(
    name="ewf2",
    title="Expert Witness Compression Format 2 (Ex01)",
    specification="https://github.com/libyal/libewf/blob/main/documentation/"
    "Expert%20Witness%20Compression%20Format%202%20(EWF2).asciidoc",
    parse=parse,
    open=open_image,
    signatures=(Signature(DISK_SIGNATURE, 0), Signature(LOGICAL_SIGNATURE, 0)),
    types=("ewf2",),
    segments=True,
)
