"""xz: a disk image, or another container, in a compressed file.

Layout: "The .xz File Format", https://tukaani.org/xz/xz-file-format.txt
"""

import lzma
import zlib
from array import array
from typing import Any

from construct import Bytes, Int32ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.stored import Pieces
from pyimount.parsers.containers.chunks import LZMA_WORTH
from pyimount.parsers.containers.packed import (
    PIECE,
    Input,
    LibraryStream,
    PackedSource,
    Stream,
    open_packed,
)
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

STREAM_HEADER = layout(
    lambda: Struct("Header_Magic_Bytes" / Bytes(6), "Stream_Flags" / Bytes(2), "CRC32" / Int32ul)
)
STREAM_FOOTER = layout(
    lambda: Struct(
        "CRC32" / Int32ul,
        "Backward_Size" / Int32ul,
        "Stream_Flags" / Bytes(2),
        "Footer_Magic_Bytes" / Bytes(2),
    )
)

MAGIC, FOOTER_MAGIC = b"\xfd7zXZ\0", b"YZ"
CHECKS = {0: None, 1: "crc32", 4: "crc64", 10: "sha256"}

_INDEX_CAP = 8 << 20
_STREAMS_CAP = 4096
_BLOCKS_CAP = 1 << 19
_PADDING_CAP = 1 << 20
_MEMORY = 128 << 20


def parse(view: View) -> Container:
    """What the first stream's header says."""
    header = _header(view, 0)
    check = header.Stream_Flags[1]
    details: dict[str, Json] = {
        "stored_size": view.size,
        "compression": "lzma2",
        "check": CHECKS.get(check, f"{check:#x}"),
    }
    return Container(type="xz", details=details)


def _header(view: View, at: int) -> Any:
    header = read_struct(view, STREAM_HEADER, at)
    if header.Header_Magic_Bytes != MAGIC or zlib.crc32(header.Stream_Flags) != header.CRC32:
        raise NotThisFormat(f"no stream begins at {at}")
    return header


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The file inside, all streams one after the other; by their indexes, where these are whole."""
    file = image.files[0]
    details = dict(container.details)
    try:
        index = _Index(View(file))
    except (NotThisFormat, ShortRead):
        source = PackedSource(
            lambda _: LibraryStream(Input(file), _unpacker, (lzma.LZMAError,), worth=LZMA_WORTH), image.meter
        )
    else:
        details |= {"streams": index.streams, "blocks": len(index.places)}
        source = PackedSource(
            lambda number: _Blocks(file, index, number), image.meter, index.size, index.places
        )
    check = details["check"]
    kept = Pieces(algorithm=str(check), what="block", in_order=True) if check else None
    return open_packed(container.replaced(details=details), source, kept)


def _unpacker() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=_MEMORY)


class _Index:
    """The blocks of all streams, in order: where they stand, and in what they are unpacked to."""

    def __init__(self, view: View) -> None:
        self.places, self.starts, self.ends = array("Q"), array("Q"), array("Q")
        self._of_block = array("Q")
        self.streams = 0
        found: list[tuple[int, list[tuple[int, int]]]] = []
        end, count = view.size, 0
        while end > 0:
            end = _without_padding(view, end)
            start, blocks = _stream(view, end)
            found.append((start, blocks))
            count += len(blocks)
            if len(found) > _STREAMS_CAP or count > _BLOCKS_CAP:
                raise NotThisFormat(f"{len(found)} streams with {count} blocks")
            end = start
        self.size = 0
        for start, blocks in reversed(found):
            at = start + STREAM_HEADER.size
            for stored, size in blocks:
                if size:
                    self.places.append(self.size)
                    self.starts.append(at)
                    self.ends.append(at + stored)
                    self._of_block.append(start)
                at += stored
                self.size += size
        self.streams = len(found)
        if not self.places or self.size > 1 << 62:
            raise NotThisFormat(f"{len(self.places)} blocks, {self.size} bytes")

    def header(self, view: View, number: int) -> bytes:
        """The header of the stream that a block is of."""
        return view.read(self._of_block[number], STREAM_HEADER.size)


def _without_padding(view: View, end: int) -> int:
    """Where the stream ends that has padding after it, up to ``end``: zeros, in fours."""
    kept = end
    while kept > max(0, end - _PADDING_CAP):
        size = min(4096, kept)
        piece = view.source.read_at(kept - size, size).rstrip(b"\0")
        kept += len(piece) - size
        if piece:
            break
    if (end - kept) % 4:
        raise NotThisFormat(f"{end - kept} bytes of padding")
    return kept


def _stream(view: View, end: int) -> tuple[int, list[tuple[int, int]]]:
    """Where the stream that ends here begins, and its blocks: bytes stored and unpacked."""
    footer = read_struct(view, STREAM_FOOTER, end - STREAM_FOOTER.size)
    head = view.read(end - STREAM_FOOTER.size + 4, 6)
    index_size = 4 * (footer.Backward_Size + 1)
    if (
        footer.Footer_Magic_Bytes != FOOTER_MAGIC
        or zlib.crc32(head) != footer.CRC32
        or index_size > _INDEX_CAP
    ):
        raise NotThisFormat(f"no stream ends at {end}")
    index_at = end - STREAM_FOOTER.size - index_size
    index = view.read(index_at, index_size)
    if index[0] or zlib.crc32(index[:-4]) != int.from_bytes(index[-4:], "little"):
        raise NotThisFormat("the index is damaged")
    numbers = _Numbers(index[:-4], 1)
    count, blocks = numbers.next(), []
    if count > _BLOCKS_CAP:
        raise NotThisFormat(f"{count} blocks")
    for _ in range(count):
        stored, size = numbers.next(), numbers.next()
        blocks.append(((stored + 3) & ~3, size))
    start = index_at - sum(stored for stored, _ in blocks) - STREAM_HEADER.size
    _header(view, start)
    return start, blocks


class _Numbers:
    """Numbers of seven bits a byte, the lowest first; the highest bit says that more follows."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def next(self) -> int:
        """The next number; raises NotThisFormat when the bytes end."""
        number = 0
        for shift in range(0, 63, 7):
            if self._at >= len(self._data):
                break
            byte = self._data[self._at]
            self._at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise NotThisFormat("the index ends within a number")


class _Blocks(Stream):
    """The blocks from one on, each unpacked as the first of a stream."""

    worth = LZMA_WORTH

    def __init__(self, file: Source, index: _Index, number: int) -> None:
        super().__init__(index.places[number])
        self._file = file
        self._index = index
        self._number = number
        self._unpacker: lzma.LZMADecompressor | None = None
        self._input = Input(file)

    def fork(self) -> Stream | None:
        """None: the blocks' starts are known already."""
        return None

    def _read(self) -> bytes:
        index = self._index
        if self._number >= len(index.places):
            return b""
        end = index.places[self._number + 1] if self._number + 1 < len(index.places) else index.size
        try:
            if self._unpacker is None:
                self._unpacker = _unpacker()
                self._unpacker.decompress(index.header(View(self._file), self._number), 0)
                self._input = Input(self._file, index.starts[self._number], index.ends[self._number])
            piece = b""
            while not piece:
                data = self._input.next() if self._unpacker.needs_input else b""
                if not data and self._unpacker.needs_input:
                    raise ReadError(f"a compressed block has fewer bytes than the {end - self.position} left")
                piece = self._unpacker.decompress(data, PIECE)
        except lzma.LZMAError as error:
            raise ReadError(f"compressed data is damaged ({error})") from error
        if self.position + len(piece) > end:
            raise ReadError("a compressed block has more bytes than the index says")
        if self.position + len(piece) == end:
            self._end_block()
        return piece

    def _end_block(self) -> None:
        """Have the check behind a block's data held against it; raises ReadError."""
        unpacker, self._unpacker = self._unpacker, None
        self._number += 1
        while unpacker is not None and (data := self._input.next()):
            try:
                more = unpacker.decompress(data, 1)
            except lzma.LZMAError as error:
                raise ReadError(f"the check of a compressed block does not match ({error})") from error
            if more:
                raise ReadError("a compressed block has more bytes than the index says")


FORMAT = ContainerFormat(
    name="xz",
    title="xz",
    specification="https://tukaani.org/xz/xz-file-format.txt",
    parse=parse,
    open=open,
    signatures=(Signature(MAGIC, 0),),
    types=("xz",),
    wraps=True,
)
