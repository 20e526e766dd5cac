"""The extended attributes of ext: in the inode behind its fields, and in a block beside it.

https://www.kernel.org/doc/html/latest/filesystems/ext4/attributes.html. Values of access control lists are
given as they are stored, which is not quite as the kernel gives them.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_MAGIC = 0xEA020000
_ENTRY = struct.Struct("<BBHIII")
_PREFIXES = {
    1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 6: "security.",
    7: "system.", 8: "system.richacl",
}  # fmt: skip
_IN_INODE, _IN_BLOCK = 4, 32
"""How long the header is: its magic, or that with counts and checksums."""
INLINE_DATA = "system.data"


class Attribute(NamedTuple):
    """An attribute: its value, or the inode that has it in ``size`` bytes."""

    name: str
    value: bytes
    inode: int
    size: int


def in_inode(raw: bytes) -> Iterator[Attribute]:
    """Those in the bytes of an inode."""
    if len(raw) < 132:
        return
    start = 128 + int.from_bytes(raw[128:130], "little")
    # Values stand as far from the first entry as they say.
    body = raw[start + _IN_INODE :]
    if int.from_bytes(raw[start : start + 4], "little") == _MAGIC:
        yield from _entries(body, 0, body)


def in_block(block: bytes) -> Iterator[Attribute]:
    """Those in a block of attributes; raises ValueError where it is none."""
    if int.from_bytes(block[:4], "little") != _MAGIC:
        raise ValueError("its block of attributes has no magic")
    yield from _entries(block, _IN_BLOCK, block)


def _entries(raw: bytes, at: int, values: bytes) -> Iterator[Attribute]:
    while at + _ENTRY.size <= len(raw) and any(raw[at : at + 4]):
        length, prefix, place, inode, size, _ = _ENTRY.unpack_from(raw, at)
        name = raw[at + _ENTRY.size : at + _ENTRY.size + length]
        at += -(-(_ENTRY.size + length) // 4) * 4
        value = b"" if inode else values[place : place + size]
        if len(name) < length or (not inode and len(value) < size):
            raise ValueError("its attributes are damaged")
        text = _PREFIXES.get(prefix, f"{prefix}.") + name.decode("utf-8", "surrogateescape")
        yield Attribute(text, value, inode, size)
