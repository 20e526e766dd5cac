"""JFFS2, the journalling flash file system, in both byte orders.

Layout: linux/include/uapi/linux/jffs2.h, ``struct jffs2_unknown_node`` and what follows it
https://github.com/torvalds/linux/blob/master/include/uapi/linux/jffs2.h
http://www.linux-mtd.infradead.org/doc/jffs2.html

It has no superblock: from the first erase block on, node stands after node.
"""

import sys
import zlib
from typing import Any

from construct import Bytes, Int8ul, Int16ub, Int16ul, Int32ub, Int32ul, Struct

from pyimount.formats import FileReader, Format, Identity, Json, KernelMount, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import unix_time
from pyimount.problems import Code, Problem
from pyimount.sources.view import View


def _header(u16: Any, u32: Any) -> Any:
    return Struct("magic" / u16, "nodetype" / u16, "totlen" / u32, "hdr_crc" / u32)


def _inode(u16: Any, u32: Any) -> Any:
    return Struct(
        "header" / Bytes(12),
        "ino" / u32,
        "version" / u32,
        "mode" / u32,
        "uid" / u16,
        "gid" / u16,
        "isize" / u32,
        "atime" / u32,
        "mtime" / u32,
        "ctime" / u32,
        "offset" / u32,
        "csize" / u32,
        "dsize" / u32,
        "compr" / Int8ul,
        "usercompr" / Int8ul,
        "flags" / u16,
        "data_crc" / u32,
        "node_crc" / u32,
    )


HEADER, HEADER_BE = layout(lambda: _header(Int16ul, Int32ul)), layout(lambda: _header(Int16ub, Int32ub))
INODE, INODE_BE = layout(lambda: _inode(Int16ul, Int32ul)), layout(lambda: _inode(Int16ub, Int32ub))

MAGIC = 0x1985
DIRENT, INODE_NODE, CLEANMARKER = 0xE001, 0xE002, 0x2003
NODE_TYPES = {
    DIRENT: "dirent",
    INODE_NODE: "inode",
    CLEANMARKER: "cleanmarker",
    0x2004: "padding",
    0x2006: "summary",
    0xE008: "xattr",
    0xE009: "xref",
}
COMPRESSION = {
    0: "none",
    1: "zero",
    2: "rtime",
    3: "rubinmips",
    4: "copy",
    5: "dynrubin",
    6: "zlib",
    7: "lzo",
    8: "lzma",  # of OpenWrt's
}
ERASED = b"\xff" * 16
ERASE_BLOCKS = tuple(1 << power for power in range(12, 22))
"""Sizes of erase blocks as flash chips have them; nothing in the file system tells its own."""
STARTS = (0, 0x10000, 0x20000, 0x40000)
"""Where the first node may stand: while the blocks before are erased, at the second."""
LOOKED_AT = 32 << 10
MAX_NODES = 256
"""So many bytes and nodes are looked at for what the details tell."""


def parse(view: View) -> Identity:
    """The identity of a JFFS2 file system."""
    for start in STARTS:
        head = view.glance(start, 16)
        big = head[:2] == MAGIC.to_bytes(2, "big")
        if big or head[:2] == MAGIC.to_bytes(2, "little"):
            return _identity(view, start, big=big)
        if head != ERASED:
            break
    raise NotThisFormat("no node")


def _identity(view: View, start: int, *, big: bool) -> Identity:
    raw = view.glance(start, LOOKED_AT)
    walk = _Walk(raw, big=big)
    if not walk.good:
        raise NotThisFormat("no node with a header whose checksum holds")
    problems = []
    if walk.bad:
        message = f"the checksum of the node's header at {start + walk.bad[0]} does not match"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
    details: dict[str, Json] = {
        "byte_order": "big" if big else "little",
        "erase_block_size": _erase_block(view, start, big=big),
        "nodes_seen": {**walk.good},
        "compression_seen": [*walk.compression],
    }
    return Identity(
        type="jffs2",
        fstype="jffs2",
        free_unknown="a log: only reading all of its nodes tells",
        modified=unix_time(walk.newest),
        offset=start,
        checked=not walk.bad,
        details=details,
        problems=tuple(problems),
    )


class _Walk:
    """The nodes at the start of the file system: how many of each type, and what their inodes say."""

    def __init__(self, raw: bytes, *, big: bool) -> None:
        self.good: dict[str, int] = {}
        self.bad: list[int] = []
        self.compression: dict[str, None] = {}
        self.newest = 0
        at = 0
        for _ in range(MAX_NODES):
            header = _node(raw, at, big=big)
            if header is None:
                break
            if not _holds(raw, at, header):
                self.bad.append(at)
            elif (name := NODE_TYPES.get(header.nodetype)) is not None:
                self.good[name] = self.good.get(name, 0) + 1
                if header.nodetype == INODE_NODE:
                    self._inode(raw, at, big=big)
            at += (header.totlen + 3) & ~3

    def _inode(self, raw: bytes, at: int, *, big: bool) -> None:
        declared = INODE_BE if big else INODE
        if at + declared.size <= len(raw):
            node = parse_struct(raw, declared, at)
            self.newest = max(self.newest, node.mtime, node.ctime)
            self.compression[COMPRESSION.get(node.compr, str(node.compr))] = None


def _node(raw: bytes, at: int, *, big: bool) -> Any:
    """The header of the node at ``at``; None where there is none."""
    declared = HEADER_BE if big else HEADER
    if at + declared.size > len(raw):
        return None
    header = parse_struct(raw, declared, at)
    return header if header.magic == MAGIC and header.totlen >= declared.size else None


def _holds(raw: bytes, at: int, header: Any) -> bool:
    """Whether the checksum of a node's header is right: CRC-32 from 0, without inversion."""
    return bool(zlib.crc32(raw[at : at + 8], 0xFFFFFFFF) ^ 0xFFFFFFFF == header.hdr_crc)


def _erase_block(view: View, start: int, *, big: bool) -> int | None:
    """How far it is from the first clean marker to the next; None where blocks do not begin with one."""
    if not _is_cleanmarker(view, start, big=big):
        return None
    sizes = (size for size in ERASE_BLOCKS if _is_cleanmarker(view, start + size, big=big))
    return next(sizes, None)


def _is_cleanmarker(view: View, at: int, *, big: bool) -> bool:
    raw = view.glance(at, 12)
    header = _node(raw, 0, big=big)
    return header is not None and header.nodetype == CLEANMARKER and _holds(raw, 0, header)


FORMAT = Format(
    name="jffs2",
    title="JFFS2",
    specification="https://github.com/torvalds/linux/blob/master/include/uapi/linux/jffs2.h",
    usage=Usage.FILESYSTEM,
    types=("jffs2",),
    parse=parse,
    signatures=tuple(
        Signature(MAGIC.to_bytes(2, order) + kind.to_bytes(2, order), start, copy=start > 0)
        for start in STARTS
        for order in ("little", "big")
        for kind in NODE_TYPES
    ),
    # The driver of one byte order is what a kernel has: that of its own processor.
    mounts=(
        KernelMount(
            "jffs2", maintained=False, reads=(("byte_order", sys.byteorder),), flash="erase_block_size"
        ),
    ),
    files=(FileReader("dissect", "dissect.jffs", "dissect.jffs"),),
)
