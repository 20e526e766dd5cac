"""Apple Data Compression, by which old disk images are packed: literals, and copies of what went before.

Described in https://github.com/libyal/libfmos, documentation, "Apple Data Compression".
"""

from pyimount.parsers.containers.matches import copy_match
from pyimount.sources.errors import ReadError


def unpack_adc(data: bytes, size: int) -> bytes:
    """Undo the compression; at most ``size`` bytes come out. Raises ReadError for damaged data."""
    out = bytearray()
    at, end = 0, len(data)
    while at < end and len(out) < size:
        code = data[at]
        if code & 0x80:
            count = (code & 0x7F) + 1
            out += data[at + 1 : at + 1 + count]
            at += 1 + count
            continue
        if code & 0x40:
            count, head = (code & 0x3F) + 4, 3
        else:
            count, head = (code >> 2) + 3, 2
        if at + head > end:
            raise ReadError("compressed data ends before it is complete")
        back = int.from_bytes(data[at + 1 : at + 3], "big") if head == 3 else (code & 3) << 8 | data[at + 1]
        copy_match(out, back + 1, count)
        at += head
    if len(out) > size:
        raise ReadError(f"compressed data gives more than the {size} bytes that belong there")
    return bytes(out)
