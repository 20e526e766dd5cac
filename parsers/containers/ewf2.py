"""EWF2, the Expert Witness Compression Format, version 2 (EnCase 7 and later): Ex01, Lx01.

Layout: "Expert Witness Compression Format version 2 specification", libewf's documentation
https://github.com/libyal/libewf/blob/main/documentation/Expert%20Witness%20Compression%20Format%202%20(EWF2).asciidoc
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import parse_struct
from pyimount.formats.notation import decimal, guid_text, unix_time
from pyimount.formats.stored import Stored
from pyimount.parsers.containers.chunks import (
    BZIP2_WORTH,
    CHUNK_CAP,
    ChunkSource,
    packed_bound,
    read_checked,
)
from pyimount.parsers.containers.ewf2_sections import (
    BZIP2,
    DISK_SIGNATURE,
    LOGICAL_SIGNATURE,
    TABLE_ENTRY,
    ZLIB,
    Segment,
    Table,
    read_segment,
    unpack,
)
from pyimount.parsers.containers.ewf_stored import stored_of
from pyimount.parsers.containers.segment_sets import in_order
from pyimount.problems import Code, Problem
from pyimount.sources.errors import MissingBytes, ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

CHUNK_COMPRESSED, CHUNK_PATTERN = 0x1, 0x4
COMPRESSION = {0: "none", ZLIB: "zlib", BZIP2: "bzip2"}
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

_SECTOR_CAP = 1 << 16
_SIZE_CAP = 1 << 60


def parse(view: View) -> Container:
    """Read the first segment; ``open_image`` adds what stands in the others."""
    return _container([read_segment(view, "")], view.size)


def open_image(container: Container, image: Image) -> Opened:
    """Read every segment, and give the disk that they make up."""
    found, unread = [], []
    for name, file in zip(image.names, image.files, strict=True):
        try:
            found.append(read_segment(View(file), name))
        except (NotThisFormat, ShortRead, ReadError) as error:
            unread.append(Problem(Code.DAMAGED, f"{name} cannot be read as a segment: {error}"))
    segments, problems = in_order(found, image.missing, unread)
    if not segments:
        return Opened(container=container.replaced(problems=tuple(problems)), source=None)
    made = _container(segments, sum(file.size for file in image.files))
    source = None
    if made.size is not None:
        _, sector_size, per_chunk = _geometry(segments)
        chunk_size = sector_size * per_chunk
        tables = sorted(
            (table for segment in segments for table in segment.tables), key=lambda table: table.first
        )
        method = segments[0].header.compression_method
        chunks = _Chunks(tables, chunk_size, made.size, method)
        worth = BZIP2_WORTH if method == BZIP2 else 1
        far = any(table.source.is_far for table in tables)
        locate = chunks.locate if far else None
        source = ChunkSource(made.size, chunk_size, chunks.load, image.meter, worth, locate)
        problems += _wrong_count(tables, -(-made.size // chunk_size))
    return Opened(
        container=made.replaced(problems=(*made.problems, *problems)),
        source=source,
        stored=_stored(made, segments, image),
    )


def _stored(made: Container, segments: Sequence[Segment], image: Image) -> Stored:
    """The hashes of the disk, the checksums of its chunks, and those of every section of these segments."""
    return stored_of(
        made,
        image,
        [segment.name for segment in segments],
        lambda view, name: read_segment(view, name, thorough=True).problems,
        algorithms=("md5", "sha1"),
        structural="every section and table",
    )


def _wrong_count(tables: Sequence[Table], wanted: int) -> Iterator[Problem]:
    """The problem that the tables list fewer chunks than the disk has, or more."""
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


def _number(values: dict[str, str], tag: str) -> int | None:
    word = values.get(tag, "")
    return decimal(word)


def _geometry(segments: Sequence[Segment]) -> tuple[int, int, int]:
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


def _container(segments: Sequence[Segment], stored: int) -> Container:
    """What these segments, of ``stored`` bytes, say together; the first one that says a thing counts."""
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
    sectors, sector_size, per_chunk = _geometry(segments)
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
    """A date that is stored in seconds since 1970, in digits; anything else stays as it is."""
    number = decimal(value, 12) or 0
    return unix_time(number) or value


class _Chunks:
    """Reads chunks, by their number on the disk."""

    def __init__(self, tables: Sequence[Table], chunk_size: int, size: int, method: int) -> None:
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

    def locate(self, number: int) -> tuple[Source, int, int] | None:
        """Where a chunk stands, as ChunkSource wants it; None: nowhere, as one that repeats a pattern."""
        table, entry = self._entry(number)
        if entry.chunk_data_flags & CHUNK_COMPRESSED and entry.chunk_data_flags & CHUNK_PATTERN:
            return None
        # One that is stored as it is has its checksum behind it.
        size = min(entry.chunk_data_size, packed_bound(self._chunk_size) + 4)
        return table.source, entry.chunk_data_offset, size

    def _entry(self, number: int) -> tuple[Table, Any]:
        at = bisect_right(self._firsts, number) - 1
        if at < 0 or number - self._firsts[at] >= self._tables[at].entries.count:
            raise MissingBytes("no table that is here lists it")
        table = self._tables[at]
        return table, parse_struct(table.entries.raw(number - table.first), TABLE_ENTRY)

    def _load(self, number: int) -> bytes:
        table, entry = self._entry(number)
        wanted = min(self._chunk_size, self._size - number * self._chunk_size)
        if entry.chunk_data_flags & CHUNK_COMPRESSED:
            if entry.chunk_data_flags & CHUNK_PATTERN:
                pattern = entry.chunk_data_offset.to_bytes(8, "little")
                return bytes(pattern * (wanted // 8 + 1))[:wanted]
            size = min(entry.chunk_data_size, packed_bound(self._chunk_size))
            chunk = unpack(
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
