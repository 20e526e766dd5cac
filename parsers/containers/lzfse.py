"""LZFSE by way of pyliblzfse, which unpacks without a limit of its own: a block at a time, therefore.

Layout of the blocks: https://github.com/lzfse/lzfse, src/lzfse_internal.h
"""

import struct
from collections.abc import Callable

from pyimount.sources.errors import ReadError

MISSING = "pip install 'pyimount[lzfse]' reads them"

_WINDOW = 262144
"""No match reaches further back than this many bytes."""

RAW, LZVN, V1, V2, END = b"bvx-", b"bvxn", b"bvx1", b"bvx2", b"bvx$"
_V1_SIZE = 772
_SMALLEST = {RAW: 9, LZVN: 13, V1: _V1_SIZE, V2: 32}


def lzfse_unpacker() -> Callable[[bytes, int], bytes] | None:
    """The function that undoes LZFSE, None where the library is not installed.

    It takes the packed bytes and the number of bytes at most that they give; it raises ReadError.
    """
    try:
        import liblzfse
    except ImportError:
        return None

    def unpack(data: bytes, size: int) -> bytes:
        out = bytearray()
        at = 0
        while data[at : at + 4] != END:
            block, raw_size = _block(data, at)
            if len(out) + raw_size > size:
                raise ReadError(f"compressed data gives more than the {size} bytes that belong there")
            window = bytes(out[-_WINDOW:])
            # What the block may refer to, as a raw block in front of it: the library makes room for its size.
            before = RAW + struct.pack("<I", len(window)) + window if window else b""
            try:
                piece = liblzfse.decompress(before + block + END)
            except (liblzfse.error, MemoryError) as error:
                raise ReadError("compressed data is damaged (LZFSE)") from error
            if len(piece) - len(window) != raw_size:
                raise ReadError(f"an LZFSE block gives {len(piece) - len(window)} bytes, not {raw_size}")
            out += piece[len(window) :]
            at += len(block)
        return bytes(out)

    return unpack


def _block(data: bytes, at: int) -> tuple[bytes, int]:
    """A block with its header, and how many bytes it should give, one at least; raises ReadError."""
    magic, head = data[at : at + 4], data[at : at + 32].ljust(32, b"\0")
    raw_size = int.from_bytes(head[4:8], "little")
    if magic == RAW:
        size = 8 + raw_size
    elif magic == LZVN:
        size = 12 + int.from_bytes(head[8:12], "little")
    elif magic == V2:
        literals, lmd, sizes = struct.unpack_from("<3Q", head, 8)
        size = (sizes & 0xFFFFFFFF) + (literals >> 20 & 0xFFFFF) + (lmd >> 40 & 0xFFFFF)
    elif magic == V1:
        size = _V1_SIZE + int.from_bytes(head[20:24], "little") + int.from_bytes(head[24:28], "little")
    else:
        raise ReadError("compressed data is damaged (no LZFSE block)")
    if size < _SMALLEST[magic] or at + size > len(data) or raw_size == 0:
        raise ReadError("compressed data ends before it is complete")
    return data[at : at + size], raw_size
