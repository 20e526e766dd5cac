"""Snappy's raw format.

Layout: https://github.com/google/snappy/blob/main/format_description.txt
"""

from functools import cache
from importlib import import_module
from typing import Any

from pyimount.parsers.containers.matches import copy_match
from pyimount.sources.errors import ReadError

LITERAL, COPY_1, COPY_2, COPY_4 = 0, 1, 2, 3


@cache
def snappy_library() -> Any:
    """cramjam, or None where it is not installed."""
    try:
        return import_module("cramjam")
    except ImportError:
        return None


def unpack_snappy(data: bytes, size: int) -> bytes:
    """Undo Snappy, which gives ``size`` bytes at most; raises ReadError when it is damaged, or gives more."""
    try:
        declared, at = _declared(data)
        if declared > size:
            raise ReadError(f"compressed data gives {declared} bytes, and {size} at most belong there")
        unpacked = _by_library(data, declared)
        # What is wrong is said the same way on every machine.
        return _unpack(data, at, declared) if unpacked is None else unpacked
    except IndexError as error:
        raise ReadError("compressed data ends before it is complete") from error


def _by_library(data: bytes, declared: int) -> bytes | None:
    """The bytes; None where there is no library, or where it cannot unpack them."""
    library = snappy_library()
    if library is None:
        return None
    out = bytearray(declared)
    try:
        given = library.snappy.decompress_raw_into(data, out)
    except library.DecompressionError:
        return None
    return bytes(out) if given == declared else None


def _declared(data: bytes) -> tuple[int, int]:
    """How many bytes the data says that it gives, and where it goes on behind that."""
    declared = shift = at = 0
    while True:
        byte = data[at]
        at += 1
        declared |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift > 28:
            return declared, at


def _unpack(data: bytes, at: int, declared: int) -> bytes:
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
