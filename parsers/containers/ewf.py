"""Expert Witness Compression Format, version 1: E01 (EnCase, FTK, Linen, ewfacquire), S01 (SMART), L01.

Layout: "Expert Witness Compression Format specification", libewf's documentation
https://github.com/libyal/libewf/blob/main/documentation/Expert%20Witness%20Compression%20Format%20(EWF).asciidoc
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.notation import guid_text
from pyimount.formats.stored import Stored
from pyimount.parsers.containers.chunks import CHUNK_CAP, ChunkSource
from pyimount.parsers.containers.ewf_sections import (
    DISK_SIGNATURE,
    ERRORS_CAP,
    LOGICAL_SIGNATURE,
    Segment,
    is_usable,
    read_segment,
)
from pyimount.parsers.containers.ewf_stored import stored_of
from pyimount.parsers.containers.ewf_table import Table
from pyimount.parsers.containers.segment_sets import in_order
from pyimount.problems import Code, Problem, Range
from pyimount.sources.budget import Meter
from pyimount.sources.errors import MissingBytes, ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

_SECTOR_CAP = 1 << 16
_SIZE_CAP = 1 << 60

MEDIA_TYPES = {0x00: "removable", 0x01: "fixed", 0x03: "optical", 0x0E: "single files", 0x10: "memory"}
PHYSICAL = 0x02
WRITE_BLOCKERS = {0x04: "FastBloc", 0x08: "Tableau"}
COMPRESSION = {0: "none", 1: "fast", 2: "best"}


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
    ordered, problems = in_order(found, image.missing, unread)
    if not ordered:
        return Opened(container=container.replaced(problems=tuple(problems)), source=None)
    problems += _size_by_tables(ordered)
    made = _container(ordered, sum(file.size for file in image.files))
    source = None
    if made.size is not None and not ordered[0].logical:
        source, flaws = _disk(ordered, made.size, image.meter)
        problems = _with_gap([*made.problems, *problems], flaws)
    else:
        problems = [*made.problems, *problems]
    return Opened(
        container=made.replaced(problems=tuple(problems)), source=source, stored=_stored(made, ordered, image)
    )


def _stored(made: Container, segments: Sequence[Segment], image: Image) -> Stored:
    """The hashes of the disk, the checksums of its chunks, and those of every section of these segments."""
    return stored_of(
        made,
        image,
        [segment.name for segment in segments],
        lambda view, name: read_segment(view, name, thorough=True).problems,
        algorithms=("md5", "sha1", "sha256"),
        structural="every section, table and copy of a table",
        told_better=frozenset((Code.BACKUP_USED,)),
    )


def _with_gap(problems: list[Problem], flaws: list[Problem]) -> list[Problem]:
    """The problems of the segments, and those of the disk; what is missing of it with the reason for that."""
    cause = next((each for each in problems if each.code in (Code.TRUNCATED, Code.MISSING_SEGMENT)), None)
    gap = next((each for each in flaws if each.ranges), None)
    if cause is None or gap is None:
        return [*problems, *flaws]
    one = cause.replaced(message=f"{cause.message}; {gap.message}", ranges=gap.ranges)
    others = [each for each in flaws if each is not gap]
    return [*(one if each is cause else each for each in problems), *others]


def _volume_of(segments: Sequence[Segment]) -> Segment | None:
    """The first segment that says how large the disk is; the first that tries, where none does."""
    trying = [segment for segment in segments if segment.volume is not None]
    return min(trying, key=lambda each: (not is_usable(each.volume), not each.volume_holds), default=None)


def _size_by_tables(segments: Sequence[Segment]) -> Iterator[Problem]:
    """Where no volume section says how large the disk is, put what the chunks make up into the first."""
    source = _volume_of(segments)
    if source is None or is_usable(source.volume):
        return
    tables = [table for segment in segments for table in segment.tables]
    listed = [table for table in tables if table is not None and table.entries.count]
    if not listed or None in tables or not segments[-1].last:
        return
    volume, last = source.volume, listed[-1]
    packed = not hasattr(volume, "media_type")
    try:
        sample = listed[0].load(0, CHUNK_CAP, 1, always_packed=packed)
        chunk_size = volume.sectors_per_chunk * volume.bytes_per_sector or len(sample)
        end = last.load(last.entries.count - 1, chunk_size, 1, always_packed=packed)
    except ReadError as error:
        yield Problem(Code.DAMAGED, f"nothing says how large the disk is, and its chunks cannot: {error}")
        return
    chunks = sum(table.entries.count for table in listed)
    size = (chunks - 1) * chunk_size + len(end)
    volume.bytes_per_sector = volume.bytes_per_sector or 512
    volume.sectors_per_chunk = chunk_size // volume.bytes_per_sector
    volume.number_of_sectors = size // volume.bytes_per_sector
    volume.number_of_chunks = volume.number_of_chunks or chunks
    message = f"no volume section says how large the disk is; its {chunks} chunks make up {size} bytes"
    yield Problem(Code.BACKUP_USED, message)


def _container(segments: Sequence[Segment], stored: int) -> Container:
    first = segments[0]
    problems = [problem for segment in segments for problem in segment.problems]
    source = _volume_of(segments)
    volume = source.volume if source else None
    if source is not None and source is not first and first.volume is not None:
        message = f"{first.name} does not say how large the disk is, or not reliably; {source.name} does"
        problems.append(Problem(Code.BACKUP_USED, message))
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
    errors = [entry for segment in segments for entry in segment.errors][:ERRORS_CAP]
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


def _disk(segments: Sequence[Segment], size: int, meter: Meter) -> tuple[Source, list[Problem]]:
    """The disk, and what is wrong about the place of its chunks.

    A table does not say which chunks it lists: they follow those of the table before. Where one
    is missing, what lies behind it is counted from the end; between two gaps, no place is known.
    """
    source = _volume_of(segments)
    if source is None:
        raise NotThisFormat("no volume section")
    volume = source.volume
    chunk_size = volume.sectors_per_chunk * volume.bytes_per_sector
    wanted = -(-size // chunk_size)
    tables: list[Table | None] = []  # None: a gap
    for before, segment in pairwise([None, *segments]):
        if segment is None or segment.number != (before.number if before else 0) + 1:
            tables.append(None)
        if segment is not None:
            tables += segment.tables
            if not segment.whole:
                tables.append(None)
    if not segments[-1].last:
        tables.append(None)
    placed: list[tuple[int, Table]] = []
    head = 0
    for table in tables:
        if table is None:
            break
        placed.append((head, table))
        head += table.entries.count
    problems = []
    if None not in tables:
        if head != wanted:
            message = f"the tables list {head} chunks, and the disk has {wanted}"
            if head > wanted:
                message += ": what stands in the others is not shown"
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
            gap = Range(head * chunk_size, min(tail * chunk_size, size) - head * chunk_size)
            problems.append(Problem(Code.TRUNCATED, "a part of the disk cannot be read", ranges=(gap,)))
    chunks = _Chunks(placed, chunk_size, size, always_packed=not hasattr(volume, "media_type"))
    far = any(table.source.is_far for _, table in placed)
    locate = chunks.locate if far else None
    return ChunkSource(size, chunk_size, chunks.load, meter, locate=locate, gap=chunks.gap), problems


class _Chunks:
    """Reads chunks, by their number on the disk."""

    def __init__(
        self, placed: Sequence[tuple[int, Table]], chunk_size: int, size: int, *, always_packed: bool
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
        except MissingBytes as error:
            raise MissingBytes(f"chunk {number} of the image: {error}") from error
        except ReadError as error:
            raise ReadError(f"chunk {number} of the image: {error}") from error

    def locate(self, number: int) -> tuple[Source, int, int] | None:
        """Where a chunk stands, as ChunkSource wants it."""
        at = bisect_right(self._starts, number) - 1
        table = self._tables[at] if at >= 0 else None
        if table is None or number - self._starts[at] >= table.entries.count:
            return None
        return table.source, *table.place(number - self._starts[at], self._chunk_size)

    def gap(self, number: int) -> tuple[int, int] | None:
        """The chunks around this one, from and to, that no table lists; None where one lists it."""
        at = bisect_right(self._starts, number)
        start = self._starts[at - 1] + self._tables[at - 1].entries.count if at else 0
        if number < start:
            return None
        return start, self._starts[at] if at < len(self._starts) else -(-self._size // self._chunk_size)

    def _load(self, number: int) -> bytes:
        at = bisect_right(self._starts, number) - 1
        table = self._tables[at] if at >= 0 else None
        if table is None or number - self._starts[at] >= table.entries.count:
            raise MissingBytes("no table that is here lists it")
        wanted = min(self._chunk_size, self._size - number * self._chunk_size)
        chunk = table.load(
            number - self._starts[at], self._chunk_size, wanted, always_packed=self._always_packed
        )
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
    segments=True,
)
