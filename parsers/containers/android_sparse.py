"""Android sparse image: a disk as chunks of raw data, of one repeated word, or of nothing.

Layout: AOSP, system/core, libsparse/sparse_format.h
https://android.googlesource.com/platform/system/core/+/refs/heads/main/libsparse/sparse_format.h
"""

from array import array
from bisect import bisect_right
from typing import Any

from construct import Int16ul, Int32ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.parsers.containers.runs import Run, RunSource
from pyimount.problems import Code, Problem
from pyimount.sources.errors import MissingBytes
from pyimount.sources.source import Source
from pyimount.sources.view import View

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
_SECTOR = 512


def parse(view: View) -> Container:
    """What the header says."""
    header = read_struct(view, SPARSE_HEADER, 0)
    unit = header.blk_sz
    if header.major_version != MAJOR_VERSION:
        raise NotThisFormat(f"version {header.major_version}")
    if not (SPARSE_HEADER.size <= header.file_hdr_sz <= _HEADER_CAP):
        raise NotThisFormat(f"a header of {header.file_hdr_sz} bytes")
    if not (CHUNK_HEADER.size <= header.chunk_hdr_sz <= _HEADER_CAP):
        raise NotThisFormat(f"chunk headers of {header.chunk_hdr_sz} bytes")
    if unit % 4 or not 0 < unit <= _BLOCK_CAP or not header.total_blks:
        raise NotThisFormat(f"{header.total_blks} blocks of {unit} bytes")
    details: dict[str, Json] = {
        "version": f"{header.major_version}.{header.minor_version}",
        "stored_size": view.size,
        "block_size": unit,
        "blocks": header.total_blks,
        "chunks": header.total_chunks,
        "checksum": f"{header.image_checksum:#010x}" if header.image_checksum else None,
    }
    return Container(type="android_sparse", size=header.total_blks * unit, details=details)


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

    def __init__(self) -> None:
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


def open_image(container: Container, image: Image) -> Opened:
    """Give the disk; what no chunk describes, as after a damaged one, cannot be read."""
    file = image.files[0]
    header = read_struct(View(file), SPARSE_HEADER, 0)
    unit, size = header.blk_sz, header.total_blks * header.blk_sz
    chunks = _walk(file, header)
    problems = list(container.problems)
    if chunks.problem is not None:
        problems.append(chunks.problem)
    elif chunks.end < header.total_blks:
        message = f"the chunks make up {chunks.end} blocks, and the header claims {header.total_blks}"
        problems.append(Problem(Code.TRUNCATED, message))

    def locate(offset: int) -> Run:
        block = offset // unit
        if block >= chunks.end:
            raise MissingBytes(f"no chunk of the image describes byte {offset}")
        at = bisect_right(chunks.starts, block) - 1
        after = chunks.starts[at + 1] if at + 1 < len(chunks.starts) else chunks.end
        if at < 0 or block >= chunks.starts[at] + chunks.blocks[at]:
            return Run(None, 0, after * unit - offset)
        start, length = chunks.starts[at] * unit, chunks.blocks[at] * unit
        within, left = offset - start, length - (offset - start)
        if chunks.fills[at]:
            word = chunks.places[at].to_bytes(4, "little")
            return Run(FillSource(word, length) if any(word) else None, within, left)
        return Run(file, chunks.places[at] + within, left)

    details: dict[str, Json] = {**container.details, "chunk_types": {**chunks.counts}}
    opened = container.replaced(details=details, problems=tuple(problems))
    return Opened(container=opened, source=RunSource(size, locate))


def _walk(file: Source, header: Any) -> _Chunks:
    """Read the chunks' headers, one after the other, up to the first that cannot be."""
    chunks = _Chunks()
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
)
