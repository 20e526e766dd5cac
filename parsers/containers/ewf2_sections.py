"""What one segment of an Expert Witness image, version 2 (Ex01, Lx01), says: its chain of sections.

Layout: "Expert Witness Compression Format version 2 specification", libewf's documentation
https://github.com/libyal/libewf/blob/main/documentation/Expert%20Witness%20Compression%20Format%202%20(EWF2).asciidoc
"""

import hashlib
import zlib
from collections.abc import Iterator
from typing import Any

from construct import Bytes, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import guid_text
from pyimount.parsers.containers.chunks import inflate, packed_bound, unpack_bzip2
from pyimount.parsers.containers.runs import EntryTable
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import View

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
ZLIB, BZIP2 = 1, 2

SECTIONS_CAP = 1 << 16
_TEXT_CAP = 256 << 10
_RECOVERY_CAP = 64 << 10
_PIECE = 1 << 20


class Section(Record):
    """A section: its type and flags, and where its data starts and ends in the file, in bytes.

    ``padding``: how many bytes at the end are no data; ``integrity_hash``: the MD5 of the data, where the
    flags say so.
    """

    kind: int
    flags: int
    start: int
    end: int
    padding: int
    integrity_hash: bytes


class Table(Record):
    """The chunks that a sector table lists, from number ``first`` on; they lie in ``source``."""

    source: Source
    first: int
    entries: EntryTable


class Segment:
    """What the sections of one segment file say.

    ``whole``: its chain of sections begins at its end, as it should; ``last``: the image ends with it.
    """

    def __init__(self, name: str, header: Any) -> None:
        self.name = name
        self.header = header
        self.device: dict[str, str] = {}
        self.case: dict[str, str] = {}
        self.hashes: dict[str, str] = {}
        self.tables: list[Table] = []
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


def read_segment(view: View, name: str, *, thorough: bool = False) -> Segment:
    """What a segment file says; ``thorough``: check the data of every section, too.

    Raises NotThisFormat.
    """
    header = read_struct(view, FILE_HEADER, 0)
    if header.signature not in (DISK_SIGNATURE, LOGICAL_SIGNATURE) or header.major_version != 2:
        raise NotThisFormat("no EWF2 file header")
    segment = Segment(name, header)
    for section in _sections(view, segment):
        if thorough:
            _check_data(view, section, segment)
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


def _sections(view: View, segment: Segment) -> Iterator[Section]:
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


def _section(view: View, offset: int) -> tuple[Section | None, int]:
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
    section = Section(
        made.type, made.data_flags, start, offset, made.padding_size, bytes(made.integrity_hash)
    )
    return section, made.previous_offset


def unpack(data: bytes, size: int, method: int) -> bytes:
    """Data of ``size`` bytes at most, by the method in the file header; raises ReadError."""
    if method == ZLIB:
        return inflate(data, size)
    if method == BZIP2:
        return unpack_bzip2(data, size)
    raise ReadError(f"compression method {method} is not known")


def _read_values(view: View, section: Section, segment: Segment) -> dict[str, str]:
    """The attributes in a serialized object: the tags and values in the two lines of its ``main`` part."""
    raw = view.peek(section.start, min(section.end - section.start, packed_bound(_TEXT_CAP)))
    try:
        data = unpack(raw, _TEXT_CAP, segment.header.compression_method)
    except ReadError as error:
        segment.note(Code.DAMAGED, f"its section {section.kind:#x} cannot be read: {error}")
        return {}
    lines = data.decode("utf-16", "backslashreplace").split("\n", 4)
    if len(lines) < 4:
        return {}
    pairs = zip(lines[2].rstrip("\r").split("\t"), lines[3].rstrip("\r").split("\t"), strict=False)
    return {tag: value for tag, value in pairs if value.strip()}


def _check_data(view: View, section: Section, segment: Segment) -> None:
    """Check a section's data by its MD5, where it has one: over the padding, too, or without it."""
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


def _check_entries(view: View, start: int, size: int, end: int, segment: Segment) -> None:
    """Check the entries of a table by the Adler-32 behind them, where there is room for one."""
    if start + size + 4 > end:
        return
    total = 1
    for at in range(start, start + size, _PIECE):
        total = zlib.adler32(view.source.read_at(at, min(_PIECE, start + size - at)), total)
    if total != int.from_bytes(view.source.read_at(start + size, 4), "little"):
        segment.note(
            Code.BAD_CHECKSUM, f"the checksum of a sector table's entries, at byte {start}, is wrong"
        )


def _read_table(view: View, section: Section, segment: Segment, *, thorough: bool) -> None:
    """Read where the entries of a sector table stand; each is read when its chunk is."""
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
        _check_entries(view, start, count * TABLE_ENTRY.size, section.end, segment)
    entries = EntryTable(view.source, start, count, TABLE_ENTRY.size)
    segment.tables.append(Table(view.source, header.first_chunk_number, entries))


def _read_hash(view: View, section: Section, segment: Segment) -> None:
    """Read the MD5 or the SHA-1 of the disk."""
    name, size = ("md5", 16) if section.kind == MD5_HASH else ("sha1", 20)
    raw = view.peek(section.start, min(size + 4, section.end - section.start))
    if len(raw) < size + 4:
        segment.note(Code.DAMAGED, f"the {name.upper()} is cut")
        return
    if zlib.adler32(raw[:size]) != int.from_bytes(raw[size:], "little"):
        segment.note(Code.BAD_CHECKSUM, f"the checksum of the {name.upper()} is wrong")
    segment.hashes[name] = raw[:size].hex()
