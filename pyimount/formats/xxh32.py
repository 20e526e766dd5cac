"""XXH32, the checksum of LZ4's frames.

Specification: Y. Collet, "xxHash fast digest algorithm",
https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from struct import iter_unpack, unpack_from
from typing import Any, Protocol

_ONE, _TWO, _THREE, _FOUR, _FIVE = 2654435761, 2246822519, 3266489917, 668265263, 374761393
_32 = (1 << 32) - 1
_STRIPE = 16


class Sum(Protocol):
    """A checksum on its way through some bytes."""

    def update(self, data: bytes, /) -> None:
        """Take in the bytes that follow."""

    def intdigest(self) -> int:
        """The checksum of what was taken in so far."""

    def copy(self) -> Sum:
        """Another one that has taken in the same."""


class OwnXxh32:
    """XXH32 with the seed 0, of bytes as they come."""

    def __init__(self) -> None:
        self._lanes = (_ONE + _TWO & _32, _TWO, 0, -_ONE & _32)
        self._size = 0
        self._rest = b""

    def copy(self) -> OwnXxh32:
        """Another one that has taken in the same."""
        other = OwnXxh32()
        other._lanes, other._size, other._rest = self._lanes, self._size, self._rest
        return other

    def update(self, data: bytes, /) -> None:
        """Take in the bytes that follow."""
        self._size += len(data)
        data = self._rest + data
        whole = len(data) // _STRIPE * _STRIPE
        self._rest = data[whole:]
        a, b, c, d = self._lanes
        for one, two, three, four in iter_unpack("<4I", memoryview(data)[:whole]):
            a = a + one * _TWO & _32
            a = (a << 13 | a >> 19) * _ONE & _32
            b = b + two * _TWO & _32
            b = (b << 13 | b >> 19) * _ONE & _32
            c = c + three * _TWO & _32
            c = (c << 13 | c >> 19) * _ONE & _32
            d = d + four * _TWO & _32
            d = (d << 13 | d >> 19) * _ONE & _32
        self._lanes = a, b, c, d

    def intdigest(self) -> int:
        """The checksum of what was taken in so far."""
        if self._size >= _STRIPE:
            total = sum(_left(lane, turns) for lane, turns in zip(self._lanes, (1, 7, 12, 18), strict=True))
        else:
            total = _FIVE
        total = total + self._size & _32
        rest = self._rest
        words = len(rest) // 4
        for word in unpack_from(f"<{words}I", rest):
            total = _left(total + word * _THREE & _32, 17) * _FOUR & _32
        for byte in rest[4 * words :]:
            total = _left(total + byte * _FIVE & _32, 11) * _ONE & _32
        total = (total ^ total >> 15) * _TWO & _32
        total = (total ^ total >> 13) * _THREE & _32
        return total ^ total >> 16


def _left(value: int, turns: int) -> int:
    return (value << turns | value >> 32 - turns) & _32


@cache
def _library() -> Any:
    try:
        return import_module("xxhash")
    except ImportError:
        return None


def xxh32_is_fast() -> bool:
    """Whether a library makes the sums, and not we ourselves."""
    return _library() is not None


def xxh32_sum() -> Sum:
    """A new checksum that has taken in nothing: the library's where it is installed, else our own."""
    library = _library()
    made: Sum = OwnXxh32() if library is None else library.xxh32()
    return made


def xxh32(data: bytes) -> int:
    """The checksum of some bytes."""
    made = xxh32_sum()
    made.update(data)
    return made.intdigest()
