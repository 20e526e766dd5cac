"""What is free in a GFS2 file system, by its resource groups.

Layout: linux/include/uapi/linux/gfs2_ondisk.h, ``struct gfs2_dinode``, ``gfs2_dirent``, ``gfs2_rindex``,
``gfs2_rgrp``
https://www.kernel.org/doc/html/latest/filesystems/gfs2.html
"""

from struct import Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.allocation import PIECE, Reader, Space

MAGIC = b"\x01\x16\x19\x70"
HEADER = Struct(">4sI")
"""mh_magic, mh_type."""
GROUP_TYPE, INODE_TYPE = 2, 4
SIZE_AT, HEIGHT_AT, DATA_AT = 56, 138, 232
"""In an inode: its size, the height of its tree of pointers, and where data or pointers stand."""
ENTRY = Struct(">QQIHH")
"""no_formal_ino, no_addr, de_hash, de_rec_len, de_name_len of a directory's entry; the name is behind it."""
NAME_AT = 40
NAME = b"rindex"
INDEX_ENTRY = Struct(">QIIQII64x")
"""ri_addr, ri_length, pad, ri_data0, ri_data, ri_bitbytes."""
FREE_AT = 28


def count_free(master: int, block_size: int, reader: Reader) -> Space:
    """Free bytes; ``master``: the block of the master directory's inode."""
    index = _contents(_look_up(master, block_size, reader), block_size, reader)
    groups = list(INDEX_ENTRY.iter_unpack(index[: len(index) // INDEX_ENTRY.size * INDEX_ENTRY.size]))
    if not groups:
        raise NotThisFormat("no resource groups")
    reader.want(len(groups) * block_size, len(groups))
    free = total = 0
    for place, _, _, _, blocks, _ in groups:
        raw = reader.read(place * block_size, block_size)
        here = int.from_bytes(raw[FREE_AT : FREE_AT + 4], "big")
        if HEADER.unpack_from(raw) != (MAGIC, GROUP_TYPE) or here > blocks:
            raise NotThisFormat(f"no resource group in block {place}")
        free += here
        total += blocks
    return Space(
        free=free * block_size,
        used=(total - free) * block_size,
        found="resource groups",
        details={"blocks": total, "free_blocks": free},
    )


def _inode(block: int, block_size: int, reader: Reader) -> bytes:
    raw = reader.read(block * block_size, block_size)
    if HEADER.unpack_from(raw) != (MAGIC, INODE_TYPE):
        raise NotThisFormat(f"no inode in block {block}")
    return raw


def _look_up(directory: int, block_size: int, reader: Reader) -> bytes:
    """The inode of the index of resource groups. The master directory is so small that it is in its inode."""
    raw = _inode(directory, block_size, reader)
    at = DATA_AT
    while at + NAME_AT <= len(raw):
        _, place, _, length, name_length = ENTRY.unpack_from(raw, at)
        if length < NAME_AT:
            break
        if raw[at + NAME_AT : at + NAME_AT + name_length] == NAME:
            return _inode(place, block_size, reader)
        at += length
    raise NotThisFormat("the master directory has no index of resource groups")


def _contents(inode: bytes, block_size: int, reader: Reader) -> bytes:
    """The value of a file of which nothing but the first level of pointers is needed."""
    size = int.from_bytes(inode[SIZE_AT : SIZE_AT + 8], "big")
    height = int.from_bytes(inode[HEIGHT_AT : HEIGHT_AT + 2], "big")
    if height == 0:
        return inode[DATA_AT:][:size]
    if height > 1 or size > PIECE:
        raise NotThisFormat(f"an index of {size} bytes")
    count = -(-size // block_size)
    pointers = [int.from_bytes(inode[DATA_AT + 8 * at :][:8], "big") for at in range(count)]
    return b"".join(reader.read(pointer * block_size, block_size) for pointer in pointers)[:size]
