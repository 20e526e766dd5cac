"""Android sparse image: a disk as chunks of raw data, of one repeated word, or of nothing.

Fastboot sends what is too large in pieces (libsparse, sparse_file_resparse): each a sparse image of the whole
disk that leaves out what the others have. Firmware comes as such pieces, ``system.img_sparsechunk.0`` and on.

Layout: AOSP, system/core, libsparse/sparse_format.h
https://android.googlesource.com/platform/system/core/+/refs/heads/main/libsparse/sparse_format.h
"""

import re
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from construct import Int16ul, Int32ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.parsers.containers.runs import Run, RunSource
from pyimount.problems import Code, Problem
from pyimount.sources.errors import MissingBytes, ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

MAGIC = b"\x3a\xff\x26\xed"
MAJOR_VERSION = 1
RAW, FILL, DONT_CARE, CRC32 = 0xCAC1, 0xCAC2, 0xCAC3, 0xCAC4
KINDS = {RAW: "raw", FILL: "fill", DONT_CARE: "dont_care", CRC32: "crc32"}
CHUNKS_CAP = 1 << 20
"""No more chunks are read."""

SPARSE_HEADER = layout(
    lambda: Struct(
        "magic" / Int32ul,
        "major_version" / Int16ul,
        "minor_version" / Int16ul,
        "file_hdr_sz" / Int16ul,
        "chunk_hdr_sz" / Int16ul,
        "blk_sz" / Int32ul,
        "total_blks" / Int32ul,
        "total_chunks" / Int32ul,
        "image_checksum" / Int32ul,
    )
)
CHUNK_HEADER = layout(
    lambda: Struct("chunk_type" / Int16ul, "reserved1" / Int16ul, "chunk_sz" / Int32ul, "total_sz" / Int32ul)
)

_BLOCK_CAP = 1 << 26
_HEADER_CAP = 4096
_WINDOW = 128
"""Bytes read at a chunk's header: often enough for the next one's, too."""
_PIECE_NAME = r"(?i)(sparsechunk\.?|\.s?img\.)([0-9]{1,4})$"
"""What pieces are called: a piece that leaves out the end of the disk looks like an image of all of it."""


def parse(view: View) -> Container:
    """What the header says."""
    header = read_struct(view, SPARSE_HEADER, 0)
    _check(header)
    details: dict[str, Json] = {
        "version": f"{header.major_version}.{header.minor_version}",
        "stored_size": view.size,
        "block_size": header.blk_sz,
        "blocks": header.total_blks,
        "chunks": header.total_chunks,
        "checksum": f"{header.image_checksum:#010x}" if header.image_checksum else None,
    }
    return Container(type="android_sparse", size=header.total_blks * header.blk_sz, details=details)


def _check(header: Any) -> None:
    """Raise NotThisFormat unless this is a header."""
    unit = header.blk_sz
    if header.magic != int.from_bytes(MAGIC, "little") or header.major_version != MAJOR_VERSION:
        raise NotThisFormat(f"version {header.major_version}")
    if not (SPARSE_HEADER.size <= header.file_hdr_sz <= _HEADER_CAP):
        raise NotThisFormat(f"a header of {header.file_hdr_sz} bytes")
    if not (CHUNK_HEADER.size <= header.chunk_hdr_sz <= _HEADER_CAP):
        raise NotThisFormat(f"chunk headers of {header.chunk_hdr_sz} bytes")
    if unit % 4 or not 0 < unit <= _BLOCK_CAP or not header.total_blks:
        raise NotThisFormat(f"{header.total_blks} blocks of {unit} bytes")


class FillSource(Source):
    """``size`` bytes of one word of four, over and over."""

    __slots__ = ("_word",)

    def __init__(self, word: bytes, size: int) -> None:
        self.size = size
        self._word = word

    def _read(self, offset: int, length: int) -> bytes:
        start = offset % 4
        return (self._word * ((start + length) // 4 + 1))[start : start + length]


class _Chunks:
    """Where the chunks with data or a filling are: compact, since there may be a million of them."""

    def __init__(self, file: Source, unit: int) -> None:
        self.file = file
        self.unit = unit
        """Bytes in a block."""
        self.starts = array("Q")
        """First block of each, ascending."""
        self.blocks = array("Q")
        self.places = array("Q")
        """Where its data stand in the file; of a filling, the word itself."""
        self.fills = array("B")
        self.end = 0
        """Blocks that all chunks read so far make up."""
        self.counts = dict.fromkeys(KINDS.values(), 0)
        self.problem: Problem | None = None

    def add(self, header: Any, place: int, *, fill: bool) -> None:
        """Take in a chunk that is not left out."""
        self.starts.append(self.end)
        self.blocks.append(header.chunk_sz)
        self.places.append(place)
        self.fills.append(fill)

    @property
    def first_of_data(self) -> int:
        """The first block that it has."""
        return self.starts[0] if self.starts else 0

    @property
    def end_of_data(self) -> int:
        """The block behind the last that it has."""
        return self.starts[-1] + self.blocks[-1] if self.starts else 0

    def run(self, offset: int, until: int) -> Run | None:
        """The run at this byte of the disk, up to ``until``; None where this piece leaves it out."""
        at = bisect_right(self.starts, offset // self.unit) - 1
        if at < 0 or offset >= (self.starts[at] + self.blocks[at]) * self.unit:
            return None
        start, length = self.starts[at] * self.unit, self.blocks[at] * self.unit
        within = offset - start
        left = min(length - within, until - offset)
        if self.fills[at]:
            word = self.places[at].to_bytes(4, "little")
            return Run(FillSource(word, length) if any(word) else None, within, left)
        return Run(self.file, self.places[at] + within, left)

    def next_start(self, offset: int, size: int) -> int:
        """Where, behind this byte of the disk, its next chunk begins; ``size`` where there is none."""
        at = bisect_right(self.starts, offset // self.unit)
        return self.starts[at] * self.unit if at < len(self.starts) else size


def open_image(container: Container, image: Image) -> Opened:
    """Give the disk; what no chunk describes, as after a damaged one, cannot be read."""
    header = read_struct(View(image.files[0]), SPARSE_HEADER, 0)
    size = header.total_blks * header.blk_sz
    problems = list(container.problems)
    pieces: list[_Chunks] = []
    spans: list[tuple[int, int] | None] = []
    """The blocks from the first to the last that each file has; None for one that is not used."""
    for name, file in zip(image.names, image.files, strict=True):
        where = f"{name}: " if len(image.files) > 1 else ""
        chunks = _piece(file, header)
        if isinstance(chunks, str):
            problems.append(Problem(Code.MISSING_SEGMENT, f"{where}{chunks}, and is not used"))
            spans.append(None)
            continue
        pieces.append(chunks)
        spans.append((chunks.first_of_data, chunks.end_of_data))
        if chunks.problem is not None:
            problems.append(Problem(chunks.problem.code, where + chunks.problem.message))
        elif chunks.end < header.total_blks:
            message = f"the chunks make up {chunks.end} blocks, and the header claims {header.total_blks}"
            problems.append(Problem(Code.TRUNCATED, where + message))
    lost, whys = _lost(image, pieces, spans, header)
    problems += [Problem(Code.MISSING_SEGMENT, why) for why in whys]
    end = max((each.end for each in pieces), default=0) * header.blk_sz

    def locate(offset: int) -> Run:
        if offset >= end:
            raise MissingBytes(f"no chunk of the image describes byte {offset}")
        until = end
        for piece in reversed(pieces):  # simg2img writes them in order: the last one counts
            run = piece.run(offset, until)
            if run is not None:
                return run
            until = min(until, piece.next_start(offset, end))
        for start, stop in lost:
            if start <= offset < stop:
                raise MissingBytes("these bytes stand in a piece that is missing")
            if offset < start:
                until = min(until, start)
        return Run(None, 0, until - offset)

    counts = {kind: sum(each.counts[kind] for each in pieces) for kind in KINDS.values()}
    details: dict[str, Json] = {**container.details, "chunk_types": {**counts}}
    if len(image.files) > 1:
        details |= {"segments": len(image.files), "stored_size": sum(file.size for file in image.files)}
    opened = container.replaced(details=details, problems=tuple(problems))
    return Opened(container=opened, source=RunSource(size, locate))


def _piece(file: Source, first: Any) -> "_Chunks | str":
    """The chunks of one piece, or why it is no piece of the disk of which ``first`` is a header."""
    try:
        header = read_struct(View(file), SPARSE_HEADER, 0)
        _check(header)
    except (NotThisFormat, ShortRead, ReadError) as error:
        return f"cannot be read as a piece: {error}"
    if (header.blk_sz, header.total_blks) != (first.blk_sz, first.total_blks):
        return (
            f"is of another disk, of {header.total_blks} blocks of {header.blk_sz} bytes"
            f" (and not {first.total_blks} of {first.blk_sz})"
        )
    return _walk(file, header)


def _lost(
    image: Image, pieces: Sequence[_Chunks], spans: Sequence[tuple[int, int] | None], header: Any
) -> tuple[list[tuple[int, int]], list[str]]:
    """What may stand in pieces that are missing, as runs of the disk in bytes, and what says that some are.

    Pieces have their parts of the disk in order: a missing one's lies between those of its neighbours.
    """
    whys = [f"{name} is missing; what it has of the disk cannot be read" for name in image.missing]
    present = iter(spans)
    places = range(len(spans) + len(image.lost))
    known = [None if place in image.lost else next(present, None) for place in places]
    named = re.search(_PIECE_NAME, image.names[0])
    if pieces and pieces[-1].problem is None and named is not None:
        alone = len(image.files) == 1
        before = pieces[0].first_of_data > 0 and int(named[2]) > 0
        behind = pieces[-1].end_of_data < header.total_blks and (alone or _is_full(pieces, header))
        if alone and (before or behind):
            whys.append(f"{image.names[0]} is one piece of a disk, and the others were not found")
        elif before:
            whys.append(f"{image.names[0]} leaves out the disk's start: a piece before it is missing")
        elif behind:
            whys.append(
                f"{image.names[-1]} is as full as the pieces before it, and leaves out the disk's end:"
                " a piece behind it is missing"
            )
        known = [*([None] if before else []), *known, *([None] if behind else [])]
    lost = []
    for number, span in enumerate(known):
        if span is None:
            start = max((each[1] for each in known[:number] if each), default=0)
            end = next((each[0] for each in known[number + 1 :] if each), header.total_blks)
            lost.append((start * header.blk_sz, end * header.blk_sz))
    return lost, whys


def _is_full(pieces: Sequence[_Chunks], header: Any) -> bool:
    """Whether the last of several pieces is filled up to their size, as all but a set's last are."""
    slack = 2 * (header.blk_sz + header.chunk_hdr_sz)
    full = min((each.file.size for each in pieces[:-1]), default=0)
    return bool(pieces[-1].file.size + slack >= full)


def _walk(file: Source, header: Any) -> _Chunks:
    """Read the chunks' headers, one after the other, up to the first that cannot be."""
    chunks = _Chunks(file, header.blk_sz)
    at, window, window_at = header.file_hdr_sz, b"", 0
    need = header.chunk_hdr_sz + 4
    for number in range(header.total_chunks):
        if number == CHUNKS_CAP:
            chunks.problem = Problem(Code.BUDGET, f"only the first {CHUNKS_CAP} chunks were read")
            break
        if not window_at <= at <= at + need <= window_at + len(window):
            window, window_at = file.read_at(at, max(need, _WINDOW)), at
        raw = window[at - window_at : at - window_at + need]
        if len(raw) < CHUNK_HEADER.size:
            message = f"the file ends at {file.size}, before chunk {number} of {header.total_chunks}"
            chunks.problem = Problem(Code.TRUNCATED, message)
            break
        chunk = parse_struct(raw, CHUNK_HEADER)
        fault = _fault(chunk, header, chunks.end)
        if fault is not None:
            message = f"chunk {number}, at byte {at}, {fault}; what follows cannot be read"
            chunks.problem = Problem(Code.DAMAGED, message)
            break
        kind = chunk.chunk_type
        chunks.counts[KINDS[kind]] += 1
        if kind == RAW and chunk.chunk_sz:
            chunks.add(chunk, at + header.chunk_hdr_sz, fill=False)
        elif kind == FILL and chunk.chunk_sz:
            chunks.add(chunk, int.from_bytes(raw[header.chunk_hdr_sz :], "little"), fill=True)
        if kind != CRC32:
            chunks.end += chunk.chunk_sz
        at += chunk.total_sz
    end = max(
        (
            place + blocks * header.blk_sz
            for place, blocks, fill in zip(chunks.places, chunks.blocks, chunks.fills, strict=True)
            if not fill
        ),
        default=0,
    )
    if chunks.problem is None and end > file.size:
        message = f"the file ends at {file.size}, and a chunk's data at {end}"
        chunks.problem = Problem(Code.TRUNCATED, message)
    return chunks


def _fault(chunk: Any, header: Any, end: int) -> str | None:
    """What is wrong with a chunk, None when nothing is."""
    data = {RAW: chunk.chunk_sz * header.blk_sz, FILL: 4, DONT_CARE: 0, CRC32: 4}.get(chunk.chunk_type)
    if data is None:
        return f"is of no known type ({chunk.chunk_type:#06x})"
    if chunk.total_sz != header.chunk_hdr_sz + data:
        return f"has {chunk.total_sz} bytes, and should have {header.chunk_hdr_sz + data}"
    if chunk.chunk_type != CRC32 and end + chunk.chunk_sz > header.total_blks:
        return "lies beyond the end of the disk"
    return None


FORMAT = ContainerFormat(
    name="android-sparse",
    title="Android sparse image",
    specification="https://android.googlesource.com/platform/system/core/+/refs/heads/main/libsparse/sparse_format.h",
    parse=parse,
    open=open_image,
    signatures=(Signature(MAGIC + MAJOR_VERSION.to_bytes(2, "little"), 0),),
    types=("android_sparse",),
    segments=True,
)
