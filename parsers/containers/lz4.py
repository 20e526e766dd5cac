"""LZ4's block format.

Layout: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
"""

from pyimount.parsers.containers.matches import copy_match
from pyimount.sources.errors import ReadError

_SHORTEST_MATCH = 4


def unpack_lz4(data: bytes, size: int) -> bytes:
    """Undo LZ4, which gives ``size`` bytes at most; raises ReadError when it is damaged, or gives more."""
    try:
        return _unpack(data, size)
    except IndexError as error:
        raise ReadError("compressed data ends before it is complete") from error


def _unpack(data: bytes, size: int) -> bytes:
    out = bytearray()
    at, end = 0, len(data)
    while at < end:
        token = data[at]
        length, at = _length(data, at + 1, token >> 4)
        if at + length > end or len(out) + length > size:
            raise ReadError(f"compressed data is cut, or gives more than the {size} bytes that belong there")
        out += data[at : at + length]
        at += length
        if at == end:
            break
        offset = data[at] | data[at + 1] << 8
        length, at = _length(data, at + 2, token & 15)
        length += _SHORTEST_MATCH
        if len(out) + length > size:
            raise ReadError(f"compressed data gives more than the {size} bytes that belong there")
        copy_match(out, offset, length)
    return bytes(out)


def _length(data: bytes, at: int, length: int) -> tuple[int, int]:
    """A length whose first part is given, and where what follows it stands."""
    if length == 15:
        while True:
            byte = data[at]
            at += 1
            length += byte
            if byte != 255:
                break
    return length, at
