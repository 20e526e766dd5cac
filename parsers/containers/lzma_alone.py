"""LZMA alone: a disk image, or another container, in a compressed file ``.lzma``.

Layout: XZ Utils, "The .lzma File Format", https://github.com/tukaani-project/xz/blob/master/doc/lzma-file-format.txt
Its header has no magic; what it may say is held as closely as XZ Utils holds it, and the data must begin.
"""

import lzma

from construct import Int8ul, Int32ul, Int64ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, read_struct
from pyimount.parsers.containers.chunks import LZMA_WORTH
from pyimount.parsers.containers.packed import Input, LibraryStream, PackedSource, open_packed
from pyimount.sources.view import View

HEADER = layout(
    lambda: Struct("Properties" / Int8ul, "Dictionary_Size" / Int32ul, "Uncompressed_Size" / Int64ul)
)
USUAL = 0x5D
"""The properties that encoders choose: lc 3, lp 0, pb 2."""
NO_DICTIONARY = (1 << 32) - 1
UNKNOWN_SIZE = (1 << 64) - 1
MOST = 1 << 38
"""Bytes; XZ Utils takes no file for one that is said to unpack to more."""

_MEMORY = 128 << 20
_SAMPLE = 4096


def parse(view: View) -> Container:
    """What the header says, where data follow that it fits."""
    header = read_struct(view, HEADER, 0)
    size, dictionary = header.Uncompressed_Size, header.Dictionary_Size
    if not _is_usual(dictionary) or (size != UNKNOWN_SIZE and not 0 < size < MOST):
        raise NotThisFormat(f"a dictionary of {dictionary} bytes, {size} unpacked")
    sample = view.peek(0, _SAMPLE)
    try:
        begun = sample[HEADER.size : HEADER.size + 1] == b"\0" and _unpacker().decompress(sample, 1)
    except lzma.LZMAError as error:
        raise NotThisFormat(f"no data of LZMA: {error}") from error
    if not begun:
        raise NotThisFormat("no data of LZMA behind the header")
    details: dict[str, Json] = {
        "stored_size": view.size,
        "compression": "lzma",
        "unpacked_size": None if size == UNKNOWN_SIZE else size,
    }
    return Container(type="lzma", details=details)


def _is_usual(dictionary: int) -> bool:
    """Whether encoders use it: 2^n or 2^n + 2^(n-1) bytes; one that says nothing is as good."""
    top = 1 << dictionary.bit_length() >> 1
    return dictionary == NO_DICTIONARY or (dictionary > 0 and dictionary in (top, top | top >> 1))


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The file inside. It can only be unpacked from its start, and nothing in it is a checksum."""
    source = PackedSource(
        lambda _: LibraryStream(Input(image.files[0]), _unpacker, (lzma.LZMAError,), worth=LZMA_WORTH),
        image.meter,
    )
    return open_packed(container, source)


def _unpacker() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MEMORY)


FORMAT = ContainerFormat(
    name="lzma",
    title="LZMA alone",
    specification="https://github.com/tukaani-project/xz/blob/master/doc/lzma-file-format.txt",
    parse=parse,
    open=open,
    signatures=(Signature(bytes((USUAL, 0, 0)), 0),),
    types=("lzma",),
    wraps=True,
)
"""Dictionaries of less than 64 KiB, which no encoder makes, are not looked for."""
