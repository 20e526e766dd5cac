"""Snappy's raw format.

Layout: https://github.com/google/snappy/blob/main/format_description.txt
"""

from pyimount.parsers.containers.matches import copy_match
from pyimount.sources.errors import ReadError

LITERAL, COPY_1, COPY_2, COPY_4 = 0, 1, 2, 3


def unpack_snappy(data: bytes, size: int) -> bytes:
    """Undo Snappy, which gives ``size`` bytes at most; raises ReadError when it is damaged, or gives more."""
    try:
        return _unpack(data, size)
    except IndexError as error:
        raise ReadError("compressed data ends before it is complete") from error


def _unpack(data: bytes, size: int) -> bytes:
    declared = shift = at = 0
    while True:
        byte = data[at]
        at += 1
        declared |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift > 28:
            break
    if declared > size:
        raise ReadError(f"compressed data gives {declared} bytes, and {size} at most belong there")
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        kind = tag & 3
        if kind == LITERAL:
            length = (tag >> 2) + 1
            if length > 60:
                width = length - 60
                length = int.from_bytes(data[at : at + width], "little") + 1
                at += width
            if at + length > len(data):
                raise ReadError("compressed data ends before it is complete")
            out += data[at : at + length]
            at += length
        else:
            if kind == COPY_1:
                length, offset = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[at]
                at += 1
            else:
                width = 2 if kind == COPY_2 else 4
                length, offset = (tag >> 2) + 1, int.from_bytes(data[at : at + width], "little")
                at += width
            copy_match(out, offset, length)
        if len(out) > declared:
            break
    if len(out) != declared:
        raise ReadError(f"compressed data gives {len(out)} bytes, and says {declared}")
    return bytes(out)
