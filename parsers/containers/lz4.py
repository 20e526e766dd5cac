"""LZ4's block format.

Layout: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
"""

from functools import cache
from importlib import import_module
from typing import Any

from pyimount.parsers.containers.chunks import OWN_WORTH
from pyimount.parsers.containers.matches import copy_match
from pyimount.sources.errors import ReadError

WINDOW = 1 << 16
"""So far back a match may reach, in bytes."""
_SHORTEST_MATCH = 4


@cache
def lz4_library() -> Any:
    """The library's module for blocks, or None where it is not installed."""
    try:
        return import_module("lz4.block")
    except ImportError:
        return None


def lz4_worth() -> int:
    """How many bytes of deflate one byte of LZ4 is worth, in time: what a budget counts."""
    return OWN_WORTH if lz4_library() is None else 1


def unpack_lz4(data: bytes, size: int, before: bytes = b"", *, summed: bool = False) -> bytes:
    """Undo LZ4, which gives ``size`` bytes at most; raises ReadError when it is damaged, or gives more.

    ``before``: what was unpacked before it, as far as it may refer to that. ``summed``: a checksum tells
    whether the bytes are right.
    """
    library = lz4_library()
    # The library does not tell a block of nothing from a damaged one.
    if library is None or size == 0:
        return unpack_by_ourselves(data, size, before)
    try:
        unpacked = bytes(library.decompress(data, uncompressed_size=size, dict=before[-WINDOW:]))
    except (library.LZ4BlockError, ValueError):
        # What is wrong is said the same way on every machine.
        return unpack_by_ourselves(data, size, before)
    if not summed and _may_point_nowhere(data, unpacked) and _points_nowhere(data):
        return unpack_by_ourselves(data, size, before)
    return unpacked


# An offset of 0 is none: that block is damaged. The library takes it for a run of zeros.


def _may_point_nowhere(data: bytes, unpacked: bytes) -> bool:
    return b"\0\0" in data and bytes(_SHORTEST_MATCH) in unpacked


def _points_nowhere(data: bytes) -> bool:
    """Whether a match of a block that the library could unpack has an offset of 0."""
    at, end = 0, len(data)
    while at < end:
        token = data[at]
        at += 1
        length = token >> 4
        if length == 15:
            length, at = _long(data, at)
        at += length
        if at >= end:
            break
        if not (data[at] or data[at + 1]):
            return True
        at += 2
        if token & 15 == 15:
            while data[at] == 255:
                at += 1
            at += 1
    return False


def unpack_by_ourselves(data: bytes, size: int, before: bytes = b"") -> bytes:
    """The same without the library."""
    out = bytearray(before[-WINDOW:])
    known = len(out)
    try:
        _unpack(data, out, size + known)
    except IndexError as error:
        raise ReadError("compressed data ends before it is complete") from error
    return bytes(memoryview(out)[known:])


def _unpack(data: bytes, out: bytearray, cap: int) -> None:
    at, end, size = 0, len(data), cap - len(out)
    while at < end:
        token = data[at]
        at += 1
        if length := token >> 4:
            if length == 15:
                length, at = _long(data, at)
            if at + length > end or len(out) + length > cap:
                raise ReadError(
                    f"compressed data is cut, or gives more than the {size} bytes that belong there"
                )
            out += data[at : at + length]
            at += length
        if at == end:
            break
        offset = data[at] | data[at + 1] << 8
        at += 2
        length = token & 15
        if length == 15:
            length, at = _long(data, at)
        length += _SHORTEST_MATCH
        if len(out) + length > cap:
            raise ReadError(f"compressed data gives more than the {size} bytes that belong there")
        copy_match(out, offset, length)


def _long(data: bytes, at: int) -> tuple[int, int]:
    """A length of 15 and more, of which the rest stands at ``at``, and where what follows it stands."""
    length, byte = 15, 255
    while byte == 255:
        byte = data[at]
        at += 1
        length += byte
    return length, at
