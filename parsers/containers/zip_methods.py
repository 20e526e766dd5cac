"""The methods of compression in zip files, and what undoes each.

Layout: PKWARE, "APPNOTE.TXT", 4.4.5 and 5, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

import bz2
from collections.abc import Callable
from typing import Any

from pyimount.parsers.containers.chunks import BZIP2_WORTH, LZMA_WORTH
from pyimount.parsers.containers.deflate import RAW, DeflateStream
from pyimount.parsers.containers.deflate64 import Deflate64Stream
from pyimount.parsers.containers.packed import Input, LibraryStream, Stream
from pyimount.parsers.containers.zstd_library import MISSING, zstd_library
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource, ConcatSource, SliceSource, Source

DEFLATED, DEFLATE64, BZIP2, LZMA, OLD_ZSTD, ZSTD, XZ = 8, 9, 12, 14, 20, 93, 95

_LZMA_HEADER, _LZMA_PROPERTIES = 4, 5
_LZMA_MEMORY = 192 << 20
"""What the largest dictionary of the tools takes."""
_ZSTD_WINDOW_LOG = 27


def unpacker(method: int) -> Callable[[Source], Stream] | None:
    """What begins to undo a method, given a member's bytes; None for one that is not read here."""
    if method in (ZSTD, OLD_ZSTD):
        return _zstd if zstd_library() is not None else None
    return {DEFLATED: _deflate, DEFLATE64: _deflate64, BZIP2: _bzip2, LZMA: _lzma, XZ: _xz}.get(method)


def why_unread(method: int) -> str:
    """The end of the sentence that says that a method is not read."""
    return f": {MISSING}" if method in (ZSTD, OLD_ZSTD) else ", and is not read"


def _deflate(packed: Source) -> Stream:
    return DeflateStream(Input(packed), RAW)


def _deflate64(packed: Source) -> Stream:
    return Deflate64Stream(Input(packed))


def _bzip2(packed: Source) -> Stream:
    return LibraryStream(Input(packed), bz2.BZ2Decompressor, (OSError, ValueError), worth=BZIP2_WORTH)


def _xz(packed: Source) -> Stream:
    import lzma

    def make() -> Any:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)

    return LibraryStream(Input(packed), make, (lzma.LZMAError, EOFError), worth=LZMA_WORTH)


def _lzma(packed: Source) -> Stream:
    """LZMA behind a header of zip's own: its properties are made into the header that the library knows."""
    import lzma

    header = packed.read_at(0, _LZMA_HEADER + _LZMA_PROPERTIES)
    if len(header) < _LZMA_HEADER + _LZMA_PROPERTIES or header[2:4] != b"\5\0":
        raise ReadError("compressed data is damaged: it has no header of LZMA")
    # The size is not told: the stream has a mark at its end, or is as long as the directory says.
    known = header[_LZMA_HEADER:] + b"\xff" * 8
    data = SliceSource(packed, len(header), packed.size)
    whole = ConcatSource((BytesSource(known), data))

    def make() -> Any:
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY)

    return LibraryStream(Input(whole), make, (lzma.LZMAError, EOFError), worth=LZMA_WORTH)


def _zstd(packed: Source) -> Stream:
    zstd = zstd_library()
    options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return LibraryStream(Input(packed), lambda: zstd.ZstdDecompressor(options=options), (zstd.ZstdError,))
