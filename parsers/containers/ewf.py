"""Expert Witness Compression Format, version 1: E01 (EnCase, FTK, Linen, ewfacquire), S01 (SMART), L01.

Layout: "Expert Witness Compression Format specification", libewf's documentation
https://github.com/libyal/libewf/blob/main/documentation/Expert%20Witness%20Compression%20Format%20(EWF).asciidoc
"""

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from construct import Bytes, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import Layout, layout, parse_struct, read_struct
from pyimount.formats.notation import decimal, guid_text, text, unix_time
from pyimount.parsers.containers.chunks import (
    CHUNK_CAP,
    ChunkSource,
    inflate,
    packed_bound,
    read_checked,
)
from pyimount.parsers.containers.runs import EntryTable
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.budget import Meter
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

DISK_SIGNATURE = b"EVF\x09\x0d\x0a\xff\x00"
LOGICAL_SIGNATURE = b"LVF\x09\x0d\x0a\xff\x00"

FILE_HEADER = layout(
    lambda: Struct(
        "signature" / Bytes(8), "fields_start" / Int8ul, "segment_number" / Int16ul, "fields_end" / Int16ul
    )
)
SECTION_DESCRIPTOR = layout(
    lambda: Struct(
        "type" / Bytes(16),
        "next_offset" / Int64ul,
        "size" / Int64ul,
        "padding" / Bytes(40),
        "checksum" / Int32ul,
    )
)
VOLUME = layout(
    lambda: Struct(
        "media_type" / Int8ul,
        "unknown1" / Bytes(3),
        "number_of_chunks" / Int32ul,
        "sectors_per_chunk" / Int32ul,
        "bytes_per_sector" / Int32ul,
        "number_of_sectors" / Int64ul,
        "number_of_cylinders" / Int32ul,
        "number_of_heads" / Int32ul,
        "number_of_sectors_per_track" / Int32ul,
        "media_flags" / Int8ul,
        "unknown2" / Bytes(3),
        "palm_volume_start_sector" / Int32ul,
        "unknown3" / Bytes(4),
        "smart_logs_start_sector" / Int32ul,
        "compression_level" / Int8ul,
        "unknown4" / Bytes(3),
        "error_granularity" / Int32ul,
        "unknown5" / Bytes(4),
        "set_identifier" / Bytes(16),
        "padding" / Bytes(963),
        "signature" / Bytes(5),
        "checksum" / Int32ul,
    )
)
SMART_VOLUME = layout(
    lambda: Struct(
        "reserved" / Int32ul,
        "number_of_chunks" / Int32ul,
        "sectors_per_chunk" / Int32ul,
        "bytes_per_sector" / Int32ul,
        "number_of_sectors" / Int32ul,
        "reserved2" / Bytes(20),
        "padding" / Bytes(45),
        "signature" / Bytes(5),
        "checksum" / Int32ul,
    )
)
TABLE_HEADER = layout(
    lambda: Struct(
        "number_of_entries" / Int32ul,
        "padding1" / Bytes(4),
        "base_offset" / Int64ul,
        "padding2" / Bytes(4),
        "checksum" / Int32ul,
    )
)
HASH = layout(lambda: Struct("md5_hash" / Bytes(16), "unknown" / Bytes(16), "checksum" / Int32ul))
DIGEST = layout(
    lambda: Struct(
        "md5_hash" / Bytes(16), "sha1_hash" / Bytes(20), "padding" / Bytes(40), "checksum" / Int32ul
    )
)
ERROR2_HEADER = layout(
    lambda: Struct("number_of_entries" / Int32ul, "unknown" / Bytes(512), "checksum" / Int32ul)
)

COMPRESSED = 0x80000000
SECTIONS_CAP = 1 << 16
"""Sections that one segment may have."""
_VERIFY_CAP = (
    1 << 20
)  # tables are verified up to so many bytes in all; behind them, chunks have checksums too
_TEXT_CAP = 256 << 10
_ERRORS_CAP = 256
_SECTOR_CAP = 1 << 16
_SIZE_CAP = 1 << 60

MEDIA_TYPES = {0x00: "removable", 0x01: "fixed", 0x03: "optical", 0x0E: "single files", 0x10: "memory"}
PHYSICAL = 0x02
WRITE_BLOCKERS = {0x04: "FastBloc", 0x08: "Tableau"}
COMPRESSION = {0: "none", 1: "fast", 2: "best"}
HEADER_VALUES = {
    "c": "case_number",
    "n": "evidence_number",
    "a": "description",
    "e": "examiner_name",
    "t": "notes",
    "md": "model",
    "sn": "serial_number",
    "l": "device_label",
    "av": "software_version",
    "ov": "operating_system",
    "m": "acquired",
    "u": "system_date",
    "p": "password_hash",
    "pid": "process_identifier",
    "ext": "extents",
}
_XHEADER_VALUES = {
    "acquiry_software_version": "software_version",
    "acquiry_operating_system": "operating_system",
    "acquiry_date": "acquired",
}


class _Table(Record):
    """The chunks that a table section lists; they lie in ``source``."""

    source: Source
    base_offset: int
    entries: EntryTable
    end: int
    """Where the data of its last chunk ends at the latest, in bytes from the start of the file."""
    flaw: str | None
    """What its checksums say against it."""


class _Segment:
    """What the sections of one segment file say.

    ``tables``: None stands for one that cannot be read, and lists an unknown number of chunks.
    ``whole``: the chain of sections leads to its end; ``last``: and there the image ends too.
    """

    def __init__(self, name: str, number: int, *, logical: bool) -> None:
        self.name = name
        self.number = number
        self.logical = logical
        self.volume: Any = None
        self.values: dict[str, dict[str, str]] = {}
        self.hashes: dict[str, str] = {}
        self.errors: list[Json] = []
        self.tables: list[_Table | None] = []
        self.whole = False
        self.last = False
        self.problems: list[Problem] = []

    def note(self, code: Code, message: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(code, f"{self.name}: {message}" if self.name else message))


class _Section(Record):
    """A section: where its data starts and ends in the file, in bytes, as far as that reaches."""

    kind: str
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


def parse(view: View) -> Container:
    """Read the first segment; ``open_image`` adds what stands in the others."""
    return _container([_read_segment(view, "")], view.size)


def open_image(container: Container, image: Image) -> Opened:
    """Read every segment, and give the disk that they make up."""
    segments: dict[int, _Segment] = {}
    problems = [Problem(Code.MISSING_SEGMENT, f"{name} is missing") for name in image.missing]
    for name, file in zip(image.names, image.files, strict=True):
        try:
            segment = _read_segment(View(file), name)
        except (NotThisFormat, ShortRead, ReadError) as error:
            problems.append(Problem(Code.DAMAGED, f"{name} cannot be read as a segment: {error}"))
            continue
        if segment.number in segments:
            problems.append(Problem(Code.DAMAGED, f"{name} has the number of another segment"))
        else:
            segments[segment.number] = segment
    if not segments:
        return Opened(container=container.replaced(problems=tuple(problems)), source=None)
    ordered = [segments[number] for number in sorted(segments)]
    if not image.missing:
        gaps = [number for number in range(1, ordered[-1].number) if number not in segments]
        if gaps:
            first, last = gaps[0], gaps[-1]
            which = (
                f"segment {first} is"
                if len(gaps) == 1
                else f"{len(gaps)} segments from {first} to {last} are"
            )
            problems.append(Problem(Code.MISSING_SEGMENT, f"{which} missing"))
    if ordered[-1].whole and not ordered[-1].last:
        name = ordered[-1].name
        problems.append(Problem(Code.MISSING_SEGMENT, f"the segments that follow {name} are missing"))
    made = _container(ordered, sum(file.size for file in image.files))
    source = None
    if made.size is not None and not ordered[0].logical:
        source, flaws = _disk(ordered, made.size, image.meter)
        problems += flaws
    return Opened(container=made.replaced(problems=(*made.problems, *problems)), source=source)


def _read_segment(view: View, name: str) -> _Segment:
    header = read_struct(view, FILE_HEADER, 0)
    if header.signature not in (DISK_SIGNATURE, LOGICAL_SIGNATURE) or header.segment_number == 0:
        raise NotThisFormat("no EWF file header")
    segment = _Segment(name, header.segment_number, logical=header.signature == LOGICAL_SIGNATURE)
    copies: list[list[_Table | None]] = []  # each table, and its copy if it has one
    sectors_end = verified = 0
    previous = ""
    for section in _sections(view, segment):
        if section.kind in ("header", "header2", "xheader"):
            _read_values(view, section, segment)
        elif section.kind in ("volume", "disk", "data") and segment.volume is None:
            _read_volume(view, section, segment)
        elif section.kind == "sectors":
            sectors_end = section.end
        elif section.kind in ("table", "table2"):
            table = _read_table(view, section, sectors_end, verify=verified < _VERIFY_CAP)
            verified += table.entries.count * 4 if table else 0
            if section.kind == "table2" and previous == "table":
                copies[-1].append(table)
            else:
                copies.append([table])
        elif section.kind in ("hash", "digest", "xhash"):
            _read_hashes(view, section, segment)
        elif section.kind == "error2":
            _read_errors(view, section, segment)
        previous = section.kind
    for number, tables in enumerate(copies, 1):
        segment.tables.append(_choose_table(segment, number, tables))
    return segment


def _sections(view: View, segment: _Segment) -> Iterator[_Section]:
    """The sections of a segment; each must lie behind the one before, so the chain ends."""
    offset = FILE_HEADER.size
    for _ in range(SECTIONS_CAP):
        raw = view.peek(offset, SECTION_DESCRIPTOR.size)
        if len(raw) < SECTION_DESCRIPTOR.size:
            segment.note(
                Code.TRUNCATED, f"ends at byte {view.size}, before its next section at byte {offset}"
            )
            return
        descriptor = parse_struct(raw, SECTION_DESCRIPTOR)
        kind = text(descriptor.type) or ""
        if zlib.adler32(raw[:-4]) != descriptor.checksum:
            segment.note(Code.BAD_CHECKSUM, f"the checksum of its section at byte {offset} is wrong")
            if not kind.isalnum():
                return
        if kind in ("done", "next"):
            segment.whole = True
            segment.last = kind == "done"
            return
        start = offset + SECTION_DESCRIPTOR.size
        # Expert Witness 1.35 leaves the size zero.
        end = (
            offset + descriptor.size if descriptor.size > SECTION_DESCRIPTOR.size else descriptor.next_offset
        )
        yield _Section(kind, start, max(start, min(end, view.size)))
        if descriptor.next_offset <= offset:
            segment.note(
                Code.LOOP, f"its section {kind!r} at byte {offset} leads back to {descriptor.next_offset}"
            )
            return
        offset = descriptor.next_offset
    segment.note(Code.BUDGET, f"has more than {SECTIONS_CAP} sections")


def _checked(view: View, section: _Section, declared: Layout, segment: _Segment) -> Any:
    """A structure that fills a section and ends in its own checksum; None when the section is too short."""
    raw = view.peek(section.start, min(declared.size, section.size))
    if len(raw) < declared.size:
        segment.note(Code.TRUNCATED, f"its section {section.kind!r} is cut")
        return None
    made = parse_struct(raw, declared)
    if zlib.adler32(raw[:-4]) != made.checksum:
        segment.note(Code.BAD_CHECKSUM, f"the checksum of its section {section.kind!r} is wrong")
    return made


def _read_volume(view: View, section: _Section, segment: _Segment) -> None:
    declared = SMART_VOLUME if section.size < VOLUME.size else VOLUME
    segment.volume = _checked(view, section, declared, segment)


def _read_hashes(view: View, section: _Section, segment: _Segment) -> None:
    if section.kind == "xhash":
        values = _xml_values(_inflated(view, section, segment), ("MD5", "SHA1", "SHA256"))
        segment.hashes |= {name.lower(): value.lower() for name, value in values.items()}
        return
    made = _checked(view, section, DIGEST if section.kind == "digest" else HASH, segment)
    for name in ("md5", "sha1"):
        value = getattr(made, f"{name}_hash", b"")
        if any(value):
            segment.hashes.setdefault(name, value.hex())


def _read_errors(view: View, section: _Section, segment: _Segment) -> None:
    """The runs of sectors that could not be read when the image was made."""
    head = _Section(section.kind, section.start, min(section.end, section.start + ERROR2_HEADER.size))
    made = _checked(view, head, ERROR2_HEADER, segment)
    if made is None:
        return
    count = min(made.number_of_entries, _ERRORS_CAP, (section.end - head.end) // 8)
    data = view.peek(head.end, count * 8)
    segment.errors += [
        {
            "start_sector": int.from_bytes(data[at : at + 4], "little"),
            "sectors": int.from_bytes(data[at + 4 : at + 8], "little"),
        }
        for at in range(0, len(data) - 7, 8)
    ]
    if count < made.number_of_entries:
        segment.note(Code.BUDGET, f"lists {made.number_of_entries} acquisition errors, {count} are shown")


def _read_table(view: View, section: _Section, sectors_end: int, *, verify: bool) -> _Table | None:
    raw = view.peek(section.start, min(TABLE_HEADER.size, section.size))
    if len(raw) < TABLE_HEADER.size:
        return None
    header = parse_struct(raw, TABLE_HEADER)
    start = section.start + TABLE_HEADER.size
    room = (section.end - start) // 4
    count = min(header.number_of_entries, room)
    entries = EntryTable(view.source, start, count, 4)
    flaw = None
    if zlib.adler32(raw[:-4]) != header.checksum:
        flaw = "the checksum of its header is wrong"
    elif header.number_of_entries > room:
        flaw = f"it should have {header.number_of_entries} entries, and has room for {room}"
    elif verify and room == count + 1:  # only entries, then their checksum; where data follows, there is none
        data = view.source.read_at(start, min(count, _VERIFY_CAP) * 4 + 4)
        if zlib.adler32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            flaw = "the checksum of its entries is wrong"
    return _Table(view.source, header.base_offset, entries, sectors_end or section.end, flaw)


def _choose_table(segment: _Segment, number: int, copies: Sequence[_Table | None]) -> _Table | None:
    first = copies[0]
    if first is not None and first.flaw is None:
        return first
    flaw = first.flaw if first else "it is cut"
    for other in copies[1:]:
        if other is not None and other.flaw is None:
            segment.note(Code.BACKUP_USED, f"its table {number} is damaged ({flaw}), and its copy is used")
            return other
    segment.note(Code.BAD_CHECKSUM if first else Code.DAMAGED, f"its table {number} is damaged: {flaw}")
    return first


def _inflated(view: View, section: _Section, segment: _Segment) -> bytes:
    try:
        return inflate(view.peek(section.start, min(section.size, packed_bound(_TEXT_CAP))), _TEXT_CAP)
    except ReadError as error:
        segment.note(Code.DAMAGED, f"its section {section.kind!r} cannot be read: {error}")
        return b""


def _read_values(view: View, section: _Section, segment: _Segment) -> None:
    if section.kind in segment.values:
        return  # header2 is stored twice
    data = _inflated(view, section, segment)
    if section.kind == "xheader":
        found = _xml_values(data, (*_XHEADER_VALUES, *HEADER_VALUES.values()))
        segment.values["xheader"] = {_XHEADER_VALUES.get(name, name): value for name, value in found.items()}
        return
    words = data.decode("utf-16" if section.kind == "header2" else "utf-8", "backslashreplace")
    lines = [line.rstrip("\r") for line in words.split("\n", 4)]
    if len(lines) < 4:
        return
    found = {}
    for tag, value in zip(lines[2].split("\t"), lines[3].split("\t"), strict=False):
        name = HEADER_VALUES.get(tag)
        if name and value.strip() and (tag, value) != ("p", "0"):
            found[name] = _date(value) if tag in ("m", "u") else value
    segment.values[section.kind] = found


def _date(value: str) -> str:
    """Seconds since 1970, or ``2006 3 12 11 44 5`` in the time of wherever that was, as ISO 8601."""
    parts = value.split()
    numbers = [number for part in parts if (number := decimal(part, 11)) is not None]
    if len(numbers) != len(parts):
        return value
    if len(numbers) == 1:
        return unix_time(numbers[0]) or value
    if len(numbers) != 6:
        return value
    year, month, day, hour, minute, second = numbers
    # What no calendar has stays as it is written.
    on_a_calendar = 1 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= 31
    if not (on_a_calendar and hour < 24 and minute < 60 and second < 61):
        return value
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"


def _xml_values(data: bytes, names: Sequence[str]) -> dict[str, str]:
    """The text of these elements of a flat document, for which a parser would be much ado."""
    words = data.decode("utf-8", "backslashreplace")
    found = {}
    for name in names:
        value = words.partition(f"<{name}>")[2].partition(f"</{name}>")[0].strip()
        if value:
            found[name] = value
    return found


def _container(segments: Sequence[_Segment], stored: int) -> Container:
    first = segments[0]
    problems = [problem for segment in segments for problem in segment.problems]
    volume = next((segment.volume for segment in segments if segment.volume is not None), None)
    details: dict[str, Json] = {"variant": "L01" if first.logical else "E01", "stored_size": stored}
    details["segments"] = len(segments)
    values: dict[str, str] = {}
    for kind in ("xheader", "header", "header2"):
        for segment in segments:
            values |= segment.values.get(kind, {})
    size = sector_size = None
    if volume is None:
        problems.append(Problem(Code.DAMAGED, "no segment that is here says how large the disk is"))
    else:
        chunk_size = volume.sectors_per_chunk * volume.bytes_per_sector
        size = volume.number_of_sectors * volume.bytes_per_sector
        sector_size = volume.bytes_per_sector or None
        details |= {
            "chunk_size": chunk_size,
            "chunks": volume.number_of_chunks,
            "number_of_sectors": volume.number_of_sectors,
        }
        if hasattr(volume, "media_type"):
            details |= _media(volume)
        elif not first.logical:
            details["variant"] = "S01"
        if (
            not 0 < chunk_size <= CHUNK_CAP
            or not 0 < volume.bytes_per_sector <= _SECTOR_CAP
            or size > _SIZE_CAP
        ):
            message = f"{size} bytes in chunks of {chunk_size}, in sectors of {volume.bytes_per_sector}"
            problems.append(Problem(Code.UNSUPPORTED, f"the disk's figures are beyond any tool's: {message}"))
            size = sector_size = None
    if first.logical:
        problems.append(Problem(Code.UNSUPPORTED, "this holds copies of files, and no disk"))
        size = None
    hashes = {name: value for segment in segments for name, value in segment.hashes.items()}
    errors = [entry for segment in segments for entry in segment.errors][:_ERRORS_CAP]
    details |= hashes
    if errors:
        details["acquisition_errors"] = errors
    if values:
        details["acquisition"] = dict(values)
    return Container(
        type="ewf", size=size, sector_size=sector_size, details=details, problems=tuple(problems)
    )


def _media(volume: Any) -> dict[str, Json]:
    blocker = [name for bit, name in WRITE_BLOCKERS.items() if volume.media_flags & bit]
    return {
        "media_type": MEDIA_TYPES.get(volume.media_type, f"{volume.media_type:#x}"),
        "physical": bool(volume.media_flags & PHYSICAL),
        "write_blocker": blocker[0] if blocker else None,
        "compression": COMPRESSION.get(volume.compression_level, f"{volume.compression_level:#x}"),
        "error_granularity_sectors": volume.error_granularity,
        "set_identifier": guid_text(volume.set_identifier),
    }


def _disk(segments: Sequence[_Segment], size: int, meter: Meter) -> tuple[Source, list[Problem]]:
    """The disk, and what is wrong about the place of its chunks.

    A table does not say which chunks it lists: they follow those of the table before. Where one
    is missing, what lies behind it is counted from the end; between two gaps, no place is known.
    """
    volume = next(segment.volume for segment in segments if segment.volume is not None)
    chunk_size = volume.sectors_per_chunk * volume.bytes_per_sector
    wanted = -(-size // chunk_size)
    tables: list[_Table | None] = []  # None: a gap
    for before, segment in pairwise([None, *segments]):
        if segment is None or segment.number != (before.number if before else 0) + 1:
            tables.append(None)
        if segment is not None:
            tables += segment.tables
            if not segment.whole:
                tables.append(None)
    if not segments[-1].last:
        tables.append(None)
    placed: list[tuple[int, _Table]] = []
    head = 0
    for table in tables:
        if table is None:
            break
        placed.append((head, table))
        head += table.entries.count
    problems = []
    if None not in tables:
        if head < wanted:
            message = f"the tables list {head} chunks, and the disk has {wanted}"
            problems.append(Problem(Code.DAMAGED, message))
    else:
        tail = wanted
        behind = []
        for table in reversed(tables):
            if table is None or tail - table.entries.count < head:
                break
            tail -= table.entries.count
            behind.append((tail, table))
        placed += reversed(behind)
        if head < tail:
            message = (
                f"bytes {head * chunk_size} to {min(tail * chunk_size, size)} of the disk cannot be read"
            )
            problems.append(Problem(Code.TRUNCATED, message))
    chunks = _Chunks(placed, chunk_size, size, always_packed=not hasattr(volume, "media_type"))
    return ChunkSource(size, chunk_size, chunks.load, meter), problems


class _Chunks:
    """Reads chunks, by their number on the disk."""

    def __init__(
        self, placed: Sequence[tuple[int, _Table]], chunk_size: int, size: int, *, always_packed: bool
    ) -> None:
        self._starts = [start for start, _ in placed]
        self._tables = [table for _, table in placed]
        self._chunk_size = chunk_size
        self._size = size
        self._always_packed = always_packed

    def load(self, number: int) -> bytes:
        """The bytes of a chunk; raises ReadError when they are missing or damaged."""
        try:
            return self._load(number)
        except ReadError as error:
            raise ReadError(f"chunk {number} of the image: {error}") from error

    def _load(self, number: int) -> bytes:
        at = bisect_right(self._starts, number) - 1
        table = self._tables[at] if at >= 0 else None
        if table is None or number - self._starts[at] >= table.entries.count:
            raise ReadError("no table that is here lists it")
        index = number - self._starts[at]
        entry = table.entries[index]
        offset = table.base_offset + (entry & ~COMPRESSED)
        following = index + 1 < table.entries.count
        end = table.base_offset + (table.entries[index + 1] & ~COMPRESSED) if following else table.end
        wanted = min(self._chunk_size, self._size - number * self._chunk_size)
        stored = end - offset
        if entry & COMPRESSED or self._always_packed:
            bound = packed_bound(self._chunk_size)
            packed = table.source.read_at(offset, min(stored, bound) if stored > 0 else bound)
            chunk = inflate(packed, self._chunk_size)
        else:
            # The last one may be stored in full although the disk ends within it.
            length = stored - 4 if wanted <= stored - 4 <= self._chunk_size else wanted
            chunk = read_checked(table.source, offset, length)
        if len(chunk) < wanted:
            raise ReadError(f"it has {len(chunk)} bytes, and should have {wanted}")
        return chunk[:wanted]


FORMAT = ContainerFormat(
    name="ewf",
    title="Expert Witness Compression Format (E01)",
    specification="https://github.com/libyal/libewf/blob/main/documentation/"
    "Expert%20Witness%20Compression%20Format%20(EWF).asciidoc",
    parse=parse,
    open=open_image,
    signatures=(Signature(DISK_SIGNATURE, 0), Signature(LOGICAL_SIGNATURE, 0)),
    types=("ewf",),
)
