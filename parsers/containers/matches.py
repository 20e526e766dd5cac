"""Copies of what was unpacked before: what the compressions of LZ77's kind share."""

from pyimount.sources.errors import ReadError


def copy_match(out: bytearray, offset: int, length: int) -> None:
    """Append ``length`` bytes of those that stand ``offset`` before the end; it may reach into itself.

    Raises ReadError when there are not so many.
    """
    start = len(out) - offset
    if offset == 0 or start < 0:
        raise ReadError(f"compressed data refers {offset} bytes back, and has {len(out)}")
    if offset >= length:
        out += out[start : start + length]
    else:
        out += (out[start:] * (length // offset + 1))[:length]
