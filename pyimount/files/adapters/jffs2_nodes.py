"""JFFS2's nodes: which of them count, and the data that they make up.

A log-structured format, so that what is true of a name, or of a byte of a file, is what the node of the
highest version says: http://sourceware.org/jffs2/jffs2.pdf, "JFFS2: The Journalling Flash File System", and
Linux' fs/jffs2. dissect.jffs 1.6 lays a file's nodes one behind the other, takes a name that was ever deleted
for deleted, shows deleted files in a folder of its own, holds no node against its checksums, and does not
read what is packed by rtime, which mkfs.jffs2 tries by default.
"""

import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple

from dissect.jffs.c_jffs2 import c_jffs2
from dissect.jffs.jffs2 import JFFS2, DirEntry
from dissect.util.compression import lzo

from pyimount.files.reading import Unreadable
from pyimount.problems import Code
from pyimount.sources.source import Source

_MAGIC = b"\x85\x19"
_HEADER = struct.Struct("<HHII")
_DIRENT, _INODE = 0xE001, 0xE002
_DIRENT_SIZE, _INODE_SIZE = 40, 68
_PIECE = 1 << 20
_NODE_CAP = 1 << 16
"""No node is larger than a block that is erased at once; no kernel writes more than a page into one."""
_ROOT = 1
_NONE, _ZERO, _RTIME, _ZLIB, _LZO = 0, 1, 2, 6, 7
_DAMAGED = "a piece of its data does not match its checksum"


def _sum(data: bytes) -> int:
    """CRC-32 from 0, without the inversions."""
    return zlib.crc32(data, 0xFFFFFFFF) ^ 0xFFFFFFFF


class Newest(JFFS2):  # type: ignore[misc]
    """A volume by those of its nodes that count."""

    def _scan(self) -> None:
        """Find the nodes; called by what this is made of."""
        for at, kind, raw in _nodes(self.fh):
            if kind == _DIRENT and len(raw) >= _DIRENT_SIZE:
                self._name(raw)
            elif kind == _INODE and len(raw) >= _INODE_SIZE and _sum(raw[:60]) == _word(raw, 64):
                inode = c_jffs2.jffs2_raw_inode(raw)
                self._inodes.setdefault(inode.ino, []).append((inode, at + _INODE_SIZE))
        for nodes in self._inodes.values():
            nodes.sort(key=lambda node: node[0].version)
        for names in self._dirents.values():
            for name in [name for name, (entry,) in names.items() if not entry.inum]:
                del names[name]
        self._dirents.setdefault(_ROOT, {})

    def _name(self, raw: bytes) -> None:
        name_size = raw[28]
        name = raw[_DIRENT_SIZE : _DIRENT_SIZE + name_size]
        if _sum(raw[:32]) != _word(raw, 32) or _sum(name) != _word(raw, 36) or len(name) != name_size:
            return
        entry = DirEntry(self, c_jffs2.jffs2_raw_dirent(raw))
        names = self._dirents.setdefault(entry.parent_inum, {})
        if name not in names or names[name][0].version <= entry.version:
            names[name] = [entry]


def _word(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "little")


def _nodes(file: Any) -> Iterator[tuple[int, int, bytes]]:
    """Offset, type and bytes of each node whose header is sound, in the order in which they lie."""
    start, data = 0, _at(file, 0)
    at = 0
    while True:
        found = data.find(_MAGIC, at - start)
        if found < 0:
            if len(data) < _PIECE:
                return
            start = at = start + _PIECE - 4
            data = _at(file, start)
            continue
        at = start + found
        if at % 4 or len(data) < found + _HEADER.size:
            if len(data) < _PIECE and len(data) < found + _HEADER.size:
                return
            if at % 4:
                at += 1
            else:
                start, data = at, _at(file, at)
            continue
        _, kind, size, checksum = _HEADER.unpack_from(data, found)
        if not _HEADER.size <= size <= _NODE_CAP or _sum(data[found : found + 8]) != checksum:
            at += 4
            continue
        if found + size > len(data):
            start, data, found = at, _at(file, at), 0
        yield at, kind, data[found : found + size]
        at += -(-size // 4) * 4
        if at > start + len(data):
            start, data = at, _at(file, at)


def _at(file: Any, offset: int) -> bytes:
    file.seek(offset)
    data: bytes = file.read(_PIECE)
    return data


class _Run(NamedTuple):
    """Bytes of a file that a node has: from ``start`` of the file on, ``skip`` bytes into the node."""

    start: int
    end: int
    skip: int
    node: Any
    place: int


class Data(Source):
    """The data of a file: each byte by the newest node that has it."""

    __slots__ = ("_file", "_last", "_runs", "_starts")

    def __init__(self, node: Any) -> None:
        self.size = node.size
        self._file = node.fs.fh
        self._runs: list[_Run] = []
        for inode, place in node.inodes:
            if inode.dsize:
                self._lay(_Run(inode.offset, inode.offset + inode.dsize, 0, inode, place))
        self._starts = [run.start for run in self._runs]
        self._last: tuple[int, bytes] = (-1, b"")

    def _lay(self, new: _Run) -> None:
        """Lay a newer run over the older ones."""
        runs = self._runs
        if not runs or runs[-1].end <= new.start:
            runs.append(new)
            return
        first = bisect_right(runs, new.start, key=lambda run: run.end)
        last = first
        kept = []
        while last < len(runs) and runs[last].start < new.end:
            old = runs[last]
            if old.start < new.start:
                kept.append(old._replace(end=new.start))
            if old.end > new.end:
                kept.append(old._replace(start=new.end, skip=old.skip + new.end - old.start))
            last += 1
        runs[first:last] = sorted([*kept, new], key=lambda run: run.start)

    def _read(self, offset: int, length: int) -> bytes:
        parts, end = [], offset + length
        number = max(0, bisect_right(self._starts, offset) - 1)
        while offset < end:
            run = self._runs[number] if number < len(self._runs) else None
            if run is None or run.start > offset:
                stop = end if run is None else min(end, run.start)
                parts.append(bytes(stop - offset))
                offset = stop
            elif run.end > offset:
                stop = min(end, run.end)
                skip = run.skip + offset - run.start
                is_hole = run.node.compr == _ZERO
                parts.append(
                    bytes(stop - offset) if is_hole else self._unpacked(run)[skip : skip + stop - offset]
                )
                offset = stop
                number += 1
            else:
                number += 1
        return b"".join(parts)

    def _unpacked(self, run: _Run) -> bytes:
        if self._last[0] == run.place:
            return self._last[1]
        node = run.node
        self._file.seek(run.place)
        raw = self._file.read(min(node.csize, _NODE_CAP))
        if _sum(raw) != node.data_crc:
            raise Unreadable(Code.DAMAGED, _DAMAGED)
        data = _unpack(raw, node.compr, node.dsize)
        if len(data) != node.dsize:
            raise Unreadable(
                Code.DAMAGED, f"{len(data)} of {node.dsize} bytes of a piece of its data are there"
            )
        self._last = run.place, data
        return data


def _unpack(raw: bytes, packing: int, size: int) -> bytes:
    if size > _NODE_CAP:
        raise Unreadable(Code.DAMAGED, f"a piece of {size} bytes in one node")
    if packing == _NONE:
        return raw
    if packing == _RTIME:
        return _rtime(raw, size)
    if packing == _ZLIB:
        return zlib.decompressobj().decompress(raw, size)
    if packing == _LZO:
        return bytes(lzo.decompress(raw, header=False, buflen=size))
    raise Unreadable(Code.UNSUPPORTED, f"its data is packed in a way that is not read (number {packing})")


def _rtime(raw: bytes, size: int) -> bytes:
    """Unpack rtime: a byte, and how many more follow of what followed it when it was met last."""
    out = bytearray()
    places = [0] * 256
    for at in range(0, len(raw) - 1, 2):
        if len(out) >= size:
            break
        value, repeat = raw[at], raw[at + 1]
        out.append(value)
        place, places[value] = places[value], len(out)
        if place + repeat < len(out):
            out += out[place : place + repeat]
        else:
            for _ in range(repeat):
                out.append(out[place])
                place += 1
    return bytes(out[:size])
