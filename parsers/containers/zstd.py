"""Zstandard: a disk image, or another container, in a compressed file.

Layout: RFC 8878; frames that can be skipped hold the table of the seekable format, which is not needed.
"""

from array import array
from typing import Any

from construct import Bytes, Int8ul, Int32ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.stored import Pieces
from pyimount.parsers.containers.packed import Input, LibraryStream, PackedSource, open_packed
from pyimount.parsers.containers.skippable import SIGNATURE, SKIPPABLE, first_frame
from pyimount.parsers.containers.zstd_library import MISSING, zstd_library
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

FRAME_HEADER = layout(lambda: Struct("Magic_Number" / Bytes(4), "Frame_Header_Descriptor" / Int8ul))
SKIPPABLE_FRAME = layout(lambda: Struct("Magic_Number" / Int32ul, "Frame_Size" / Int32ul))

MAGIC = b"\x28\xb5\x2f\xfd"
SINGLE_SEGMENT, RESERVED, CHECKSUM, DICTIONARY = 0x20, 0x08, 0x04, 0x03
DICTIONARY_SIZES = (0, 1, 2, 4)
RLE_BLOCK, RESERVED_BLOCK = 1, 3

_BLOCKS_CAP = 1 << 16
"""So many blocks are passed over at most to find the frames: 8 GiB of the disk, in full blocks."""
_WINDOW_LOG_CAP = 27
"""What zstd itself unpacks without being told to."""


class _Frame(Record):
    """What a frame's header says; ``data``: where its blocks begin; ``size``: None where it does not tell."""

    data: int
    size: int | None
    checksum: bool
    dictionary: int


def parse(view: View) -> Container:
    """What the header of the first frame says."""
    frame = _frame(view, first_frame(view))
    if int.from_bytes(view.read(frame.data, 3), "little") >> 1 & 3 == RESERVED_BLOCK:
        raise NotThisFormat("a block of no type")
    details: dict[str, Json] = {
        "stored_size": view.size,
        "compression": "zstd",
        "checksum": frame.checksum,
        "dictionary": frame.dictionary or None,
    }
    return Container(type="zstd", details=details)


def _frame(view: View, at: int) -> _Frame:
    header = read_struct(view, FRAME_HEADER, at)
    descriptor = header.Frame_Header_Descriptor
    if header.Magic_Number != MAGIC or descriptor & RESERVED:
        raise NotThisFormat(f"no frame at {at}")
    single = bool(descriptor & SINGLE_SEGMENT)
    at += FRAME_HEADER.size + (not single)
    dictionary_size = DICTIONARY_SIZES[descriptor & DICTIONARY]
    flag = descriptor >> 6
    field = 1 << flag if flag or single else 0
    fields = view.read(at, dictionary_size + field)
    size = int.from_bytes(fields[dictionary_size:], "little") + (256 if flag == 1 else 0)
    return _Frame(
        data=at + len(fields),
        size=size if field else None,
        checksum=bool(descriptor & CHECKSUM),
        dictionary=int.from_bytes(fields[:dictionary_size], "little"),
    )


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The file inside, all frames one after the other."""
    zstd = zstd_library()
    if zstd is None:
        problem = Problem(Code.UNSUPPORTED, MISSING)
        return Opened(container=container.replaced(problems=(problem,)), source=None)
    file = image.files[0]
    options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_CAP}

    def unpacker() -> Any:
        return zstd.ZstdDecompressor(options=options)

    starts, places, size, checked = _frames(file)

    def begin(number: int) -> LibraryStream:
        return LibraryStream(Input(file, starts[number]), unpacker, (zstd.ZstdError,), places[number])

    details = {**container.details, "frames": len(starts) if size is not None else None}
    # Where nothing tells where the frames are, the first one stands for them.
    kept = Pieces(algorithm="XXH64", what="frame", in_order=True)
    return open_packed(
        container.replaced(details=details),
        PackedSource(begin, image.meter, size, places),
        kept if (container.details["checksum"] if checked is None else checked) else None,
    )


def _frames(file: Source) -> "tuple[array[int], array[int], int | None, bool | None]":
    """Where frames begin, in the file and in what they unpack to, its size, and if all have checksums.

    Where a frame does not say how much it holds, or there are too many blocks, only the first is given,
    no size, and None.
    """
    view = View(file)
    starts, places, size = array("Q", (0,)), array("Q", (0,)), 0
    at = blocks = 0
    checked = True
    try:
        while at < file.size:
            word = read_struct(view, SKIPPABLE_FRAME, at)
            if word.Magic_Number >> 4 == SKIPPABLE:
                at += SKIPPABLE_FRAME.size + word.Frame_Size
                continue
            frame = _frame(view, at)
            if frame.size is None:
                break
            if size and frame.size:
                starts.append(at)
                places.append(size)
            size += frame.size
            checked &= frame.checksum
            at = frame.data
            last = False
            while not last and blocks < _BLOCKS_CAP:
                block = int.from_bytes(file.read_at(at, 3), "little")
                last, kind = bool(block & 1), block >> 1 & 3
                at += 3 + (1 if kind == RLE_BLOCK else block >> 3)
                blocks += 1
            if not last:
                break
            at += 4 if frame.checksum else 0
    except (NotThisFormat, ShortRead):
        at = -1
    if at == file.size and size < 1 << 62:
        return starts, places, size, checked
    return array("Q", (0,)), array("Q", (0,)), None, None


FORMAT = ContainerFormat(
    name="zstd",
    title="Zstandard",
    specification="https://www.rfc-editor.org/rfc/rfc8878",
    parse=parse,
    open=open,
    signatures=(Signature(MAGIC, 0), SIGNATURE),
    types=("zstd",),
    wraps=True,
)
