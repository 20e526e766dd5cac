"""What one segment of an Expert Witness image (E01, S01, L01) says: its chain of sections.

Layout: "Expert Witness Compression Format specification", libewf's documentation
https://github.com/libyal/libewf/blob/main/documentation/Expert%20Witness%20Compression%20Format%20(EWF).asciidoc
"""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from construct import Bytes, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Json, NotThisFormat
from pyimount.formats.layouts import Layout, layout, parse_struct, read_struct
from pyimount.formats.notation import decimal, guid_text, text, unix_time
from pyimount.parsers.containers.chunks import inflate, packed_bound
from pyimount.parsers.containers.ewf_table import Table
from pyimount.parsers.containers.runs import EntryTable
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import View

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

SECTIONS_CAP = 1 << 16
"""Sections that one segment may have."""
_VERIFY_CAP = (
    1 << 20
)  # tables are verified up to so many bytes in all; behind them, chunks have checksums too
_PIECE = 1 << 20
_TEXT_CAP = 256 << 10
ERRORS_CAP = 256

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


class Segment:
    """What the sections of one segment file say.

    ``volume``: its section of that name or the copy, if one is here; ``volume_holds``: its checksum is right.
    ``tables``: None stands for one that cannot be read, and lists an unknown number of chunks.
    ``whole``: the chain of sections leads to its end; ``last``: and there the image ends too.
    """

    def __init__(self, name: str, number: int, *, logical: bool) -> None:
        self.name = name
        self.number = number
        self.logical = logical
        self.volume: Any = None
        self.volume_holds = False
        self.values: dict[str, dict[str, str]] = {}
        self.hashes: dict[str, str] = {}
        self.errors: list[Json] = []
        self.tables: list[Table | None] = []
        self.whole = False
        self.last = False
        self.problems: list[Problem] = []

    @property
    def acquisition(self) -> dict[str, str]:
        """What the segments of one acquisition have in common; tools may leave the identifier zero."""
        if not self.volume_holds or not is_usable(self.volume):
            return {}
        identifier = guid_text(bytes(getattr(self.volume, "set_identifier", b"")))
        known = {"set identifier": identifier} if identifier else {}
        return known | {"disk": f"of {self.volume.number_of_sectors} sectors"}

    def note(self, code: Code, message: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(code, f"{self.name}: {message}" if self.name else message))


class Section(Record):
    """A section: where its data starts and ends in the file, in bytes, as far as that reaches."""

    kind: str
    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return self.end - self.start


def read_segment(view: View, name: str, *, thorough: bool = False) -> Segment:
    """Go through the sections of a segment; raises NotThisFormat, ShortRead or ReadError.

    ``thorough``: hold all of every table and of every copy against their checksums and against each other,
    not only what is needed.
    """
    header = read_struct(view, FILE_HEADER, 0)
    if header.signature not in (DISK_SIGNATURE, LOGICAL_SIGNATURE) or header.segment_number == 0:
        raise NotThisFormat("no EWF file header")
    segment = Segment(name, header.segment_number, logical=header.signature == LOGICAL_SIGNATURE)
    if thorough and (header.fields_start, header.fields_end) != (1, 0):
        segment.note(Code.DAMAGED, "its file header is not as every tool writes it")
    copies: list[list[Table | None]] = []  # each table, and its copy if it has one
    sectors = None
    verified = 0
    previous = ""
    for section in _sections(view, segment):
        if section.kind in ("header", "header2", "xheader"):
            _read_values(view, section, segment, thorough=thorough)
        elif section.kind in ("volume", "disk", "data"):
            _read_volume(view, section, segment, thorough=thorough)
        elif section.kind == "sectors":
            sectors = section
        elif section.kind in ("table", "table2"):
            table = _read_table(view, section, sectors, verify=thorough or verified < _VERIFY_CAP)
            verified += table.entries.count * 4 if table else 0
            if section.kind == "table2" and previous == "table":
                copies[-1].append(table)
            else:
                copies.append([table])
        elif section.kind in ("hash", "digest", "xhash"):
            _read_hashes(view, section, segment, thorough=thorough)
        elif section.kind == "error2":
            _read_errors(view, section, segment)
        previous = section.kind
    for number, tables in enumerate(copies, 1):
        segment.tables.append(_choose_table(segment, number, tables))
        if thorough:
            _compare_tables(segment, number, tables)
    return segment


def _sections(view: View, segment: Segment) -> Iterator[Section]:
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
        yield Section(kind, start, max(start, min(end, view.size)))
        if descriptor.next_offset <= offset:
            segment.note(
                Code.LOOP, f"its section {kind!r} at byte {offset} leads back to {descriptor.next_offset}"
            )
            return
        offset = descriptor.next_offset
    segment.note(Code.BUDGET, f"has more than {SECTIONS_CAP} sections")


def _checked(view: View, section: Section, declared: Layout, segment: Segment) -> Any:
    """A structure that fills a section and ends in its own checksum; None when the section is too short."""
    raw = view.peek(section.start, min(declared.size, section.size))
    if len(raw) < declared.size:
        segment.note(Code.TRUNCATED, f"its section {section.kind!r} is cut")
        return None
    made = parse_struct(raw, declared)
    if zlib.adler32(raw[:-4]) != made.checksum:
        segment.note(Code.BAD_CHECKSUM, f"the checksum of its section {section.kind!r} is wrong")
    return made


def is_usable(volume: Any) -> bool:
    """Whether a volume section says how large the disk is: EnCase may leave the first one zero."""
    return bool(
        volume is not None
        and volume.number_of_sectors
        and volume.sectors_per_chunk
        and volume.bytes_per_sector
    )


def _read_volume(view: View, section: Section, segment: Segment, *, thorough: bool) -> None:
    """Take the volume section, or the first of its copies (``data``) that is whole."""
    settled = segment.volume is not None and is_usable(segment.volume) and segment.volume_holds
    if settled and not thorough:
        return
    declared = SMART_VOLUME if section.size < VOLUME.size else VOLUME
    problems = len(segment.problems)
    volume = _checked(view, section, declared, segment)
    holds = len(segment.problems) == problems
    better = (is_usable(volume), holds) > (is_usable(segment.volume), segment.volume_holds)
    if volume is not None and not settled and (segment.volume is None or better):
        segment.volume, segment.volume_holds = volume, holds


def _read_hashes(view: View, section: Section, segment: Segment, *, thorough: bool) -> None:
    if section.kind == "xhash":
        values = _xml_values(_inflated(view, section, segment), ("MD5", "SHA1", "SHA256"))
        segment.hashes |= {name.lower(): value.lower() for name, value in values.items()}
        return
    made = _checked(view, section, DIGEST if section.kind == "digest" else HASH, segment)
    for name in ("md5", "sha1"):
        value = getattr(made, f"{name}_hash", b"")
        if any(value):
            known = segment.hashes.setdefault(name, value.hex())
            if thorough and known != value.hex():
                segment.note(
                    Code.COPIES_DIFFER, f"it has two {name.upper()} of the disk, {known} and {value.hex()}"
                )


def _read_errors(view: View, section: Section, segment: Segment) -> None:
    """The runs of sectors that could not be read when the image was made."""
    head = Section(section.kind, section.start, min(section.end, section.start + ERROR2_HEADER.size))
    made = _checked(view, head, ERROR2_HEADER, segment)
    if made is None:
        return
    count = min(made.number_of_entries, ERRORS_CAP, (section.end - head.end) // 8)
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


def _read_table(view: View, section: Section, sectors: Section | None, *, verify: bool) -> Table | None:
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
        stored = int.from_bytes(view.source.read_at(start + count * 4, 4), "little")
        if _adler32(view.source, start, count * 4) != stored:
            flaw = "the checksum of its entries is wrong"
    # SMART has the chunks in the table's own section.
    extent = (sectors.start, sectors.end) if sectors else (start + 4 * count, section.end)
    return Table(view.source, header.base_offset, entries, extent, flaw)


def _adler32(source: Source, start: int, size: int) -> int:
    total = 1
    for at in range(start, start + size, _PIECE):
        total = zlib.adler32(source.read_at(at, min(_PIECE, start + size - at)), total)
    return total


def _compare_tables(segment: Segment, number: int, copies: Sequence[Table | None]) -> None:
    """Note every copy of a table that is damaged, or says something else than the first that is not."""
    good = None
    for copy, table in enumerate(copies):
        which = f"its table {number}" if copy == 0 else f"the copy of its table {number}"
        if table is None:
            segment.note(Code.DAMAGED, f"{which} is cut")
        elif table.flaw is not None:
            segment.note(Code.BAD_CHECKSUM, f"{which} is damaged: {table.flaw}")
        elif good is None:
            good = table
        elif not good.lists_the_same(table):
            segment.note(
                Code.COPIES_DIFFER, f"{which} says something else than the table, both with good checksums"
            )


def _choose_table(segment: Segment, number: int, copies: Sequence[Table | None]) -> Table | None:
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


def _inflated(view: View, section: Section, segment: Segment) -> bytes:
    try:
        return inflate(view.peek(section.start, min(section.size, packed_bound(_TEXT_CAP))), _TEXT_CAP)
    except ReadError as error:
        segment.note(Code.DAMAGED, f"its section {section.kind!r} cannot be read: {error}")
        return b""


def _read_values(view: View, section: Section, segment: Segment, *, thorough: bool) -> None:
    if section.kind in segment.values:
        # header2 is stored twice
        if thorough:
            _inflated(view, section, segment)
        return
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
