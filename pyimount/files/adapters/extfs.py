"""ext2, ext3 and ext4 by dissect.extfs, and what has to be done beside it.

Layout: https://www.kernel.org/doc/html/latest/filesystems/ext4/. Of dissect.extfs 3.15 is taken the
superblock. Not taken, since they are wrong there: times (mtime is taken as unsigned, the epoch bits are added
without the sign), the places of blocks (an unwritten extent behind a hole shifts what follows; a hole where a
block of pointers should be is read from block 0), the last inode (its directory entries are passed over),
folders that lie in the inode and in an attribute, values of attributes in large inodes, the group descriptors
of meta_bg; and it refuses clusters of several blocks, which concern nobody who reads.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, TypeAlias, cast

from dissect.extfs import ExtFS
from dissect.util.stream import RunlistStream

from pyimount.files.adapters.dissect import errors_of
from pyimount.files.adapters.extfs_attributes import INLINE_DATA, Attribute, in_block, in_inode
from pyimount.files.copies import Patched, Piece
from pyimount.files.opening import Given
from pyimount.files.reading import Broken, Node, Refused, Unreadable, Volume
from pyimount.files.records import Kind, Run, Stat, Stream, kind_of
from pyimount.problems import Code
from pyimount.sources.fileobject import SourceFile, StreamSource
from pyimount.sources.source import BytesSource, Source

ROOT = 2
_INODE = struct.Struct("<HHIIIIIHHII4x60sIIIIHHHH")
_EXTRA = struct.Struct("<H2xIIIII")
_ENCRYPTED, _EXTENTS, _INLINE, _HUGE = 0x800, 0x80000, 0x10000000, 0x40000
_EXTENT_MAGIC = 0xF30A
_DEPTH_CAP = 5
_RUNS_CAP = 1 << 20
_TABLE_PIECE = 1 << 16
_ENTRY = struct.Struct("<IHBB")
_Mapped: TypeAlias = "tuple[int, int, int | None]"
_FAST_LINK = 60
_PLACE = 1024
_64BIT, _META_BG, _SPARSE_SUPER, _DESCRIPTOR = 0x80, 0x10, 1, 32
_LOG_BLOCK_SIZE_AT, _LOG_CLUSTER_SIZE_AT = 1024 + 24, 1024 + 28


class Ext:
    """An ext file system: its inodes, read from the table in large pieces, as most come in order."""

    def __init__(self, given: Given) -> None:
        self.source = given.sources[0]
        cluster = Piece(_LOG_CLUSTER_SIZE_AT, 4, _LOG_BLOCK_SIZE_AT)
        self.fs: Any = ExtFS(cast("BinaryIO", SourceFile(Patched(self.source, [cluster]))))
        sb = self.fs.sb
        self.inode_size: int = sb.s_inode_size if sb.s_rev_level else 128
        self.per_group: int = sb.s_inodes_per_group
        self.count: int = sb.s_inodes_count
        self.block_size: int = self.fs.block_size
        self.has_types = bool(sb.s_feature_incompat & 0x2)
        self.huge_files = bool(sb.s_feature_ro_compat & 0x8)
        self._tables: dict[int, int] = {}
        self._piece: tuple[int, bytes] = (-1, b"")

    def raw(self, number: int) -> bytes:
        """The bytes of an inode."""
        if not 1 <= number <= self.count:
            raise ValueError(f"inode {number} of {self.count}")
        group, index = divmod(number - 1, self.per_group)
        if group not in self._tables:
            self._tables[group] = self._table(group) * self.block_size
        offset = self._tables[group] + index * self.inode_size
        at = offset // _TABLE_PIECE * _TABLE_PIECE
        if self._piece[0] != at:
            self._piece = at, self.source.read_at(at, _TABLE_PIECE + self.inode_size)
        start = offset - at
        return self._piece[1][start : start + self.inode_size]

    def _table(self, group: int) -> int:
        """The first block of a group's table of inodes, as its descriptor says."""
        sb = self.fs.sb
        wide = sb.s_feature_incompat & _64BIT and sb.s_desc_size > _DESCRIPTOR
        size = sb.s_desc_size if wide else _DESCRIPTOR
        each = self.block_size // size
        number, within = divmod(group, each)
        block = _PLACE // self.block_size + 1 + number
        if sb.s_feature_incompat & _META_BG and number >= sb.s_first_meta_bg:
            # They lie in the first of the groups that they are of, behind a copy of the superblock if any.
            first = number * each
            block = sb.s_first_data_block + first * sb.s_blocks_per_group + self._has_superblock(first)
            # Of blocks of 1 KiB the first may be none that the groups count.
            block += first == 0 and self.block_size == _PLACE and sb.s_first_data_block == 0
        raw = self.source.read_at(block * self.block_size + within * size, size)
        low: int = int.from_bytes(raw[8:12], "little")
        return low | int.from_bytes(raw[40:44], "little") << 32 if wide else low

    def _has_superblock(self, group: int) -> bool:
        if group <= 1 or not self.fs.sb.s_feature_ro_compat & _SPARSE_SUPER:
            return True
        return any(group == base ** round(math.log(group, base)) for base in (3, 5, 7))

    def block(self, number: int) -> bytes:
        """A block."""
        return self.source.read_at(number * self.block_size, self.block_size)

    def found(self, key: Any) -> Node:
        """The node of an inode's number."""
        return ExtNode(self, int(key), "")

    @staticmethod
    def key(node: Node) -> int:
        """The number of its inode."""
        return cast("ExtNode", node).number


def _time(seconds: int, extra: int) -> int:
    """Nanoseconds since 1970: 32 bits of seconds, signed, 2 that count 2**32 of them, 30 of nanoseconds."""
    signed = seconds - (1 << 32) if seconds & 0x80000000 else seconds
    return (signed + ((extra & 3) << 32)) * 10**9 + (extra >> 2)


class _Inode(NamedTuple):
    """The fields of struct ext4_inode, but for i_osd1, as far as every version has them."""

    i_mode: int
    i_uid: int
    i_size_lo: int
    i_atime: int
    i_ctime: int
    i_mtime: int
    i_dtime: int
    i_gid: int
    i_links_count: int
    i_blocks_lo: int
    i_flags: int
    i_block: bytes
    i_generation: int
    i_file_acl_lo: int
    i_size_high: int
    i_obso_faddr: int
    l_i_blocks_high: int
    l_i_file_acl_high: int
    l_i_uid_high: int
    l_i_gid_high: int


class ExtNode(Node):
    """An inode, by the name that a folder has for it."""

    __slots__ = ("_inode", "_raw", "ext", "number")

    def __init__(self, ext: Ext, number: int, name: str) -> None:
        self.ext = ext
        self.number = number
        self.name = name
        self._inode: _Inode | None = None
        self._raw = b""

    @property
    def inode(self) -> _Inode:
        """The fields of the inode."""
        if self._inode is None:
            self._raw = self.ext.raw(self.number)
            found = _Inode._make(_INODE.unpack_from(self._raw))
            if found.i_mode == 0:
                raise ValueError(f"inode {self.number} is not in use")
            self._inode = found
        return self._inode

    @property
    def size(self) -> int:
        """Bytes."""
        return self.inode.i_size_lo | self.inode.i_size_high << 32

    def stat(self) -> Stat:
        """As Node's."""
        inode, raw = self.inode, self._raw
        c_extra, m_extra, a_extra, born = 0, 0, 0, None
        if len(raw) > 128:
            extra, c_extra, m_extra, a_extra, crtime, b_extra = _EXTRA.unpack_from(raw, 128)
            # Each field is there only as far as i_extra_isize reaches.
            c_extra = c_extra if extra >= 8 else 0
            m_extra = m_extra if extra >= 12 else 0
            a_extra = a_extra if extra >= 16 else 0
            born = _time(crtime, b_extra if extra >= 24 else 0) if extra >= 20 else None
        kind = kind_of(inode.i_mode)
        blocks = inode.i_blocks_lo | (inode.l_i_blocks_high << 32 if self.ext.huge_files else 0)
        unit = self.ext.block_size if self.ext.huge_files and inode.i_flags & _HUGE else 512
        return Stat(
            kind=kind, size=self.size, allocated=blocks * unit, mode=inode.i_mode & 0o7777,
            uid=inode.i_uid | inode.l_i_uid_high << 16, gid=inode.i_gid | inode.l_i_gid_high << 16,
            inode=self.number, links=inode.i_links_count, modified=_time(inode.i_mtime, m_extra),
            accessed=_time(inode.i_atime, a_extra), changed=_time(inode.i_ctime, c_extra), born=born,
            device=_device(inode.i_block) if kind is Kind.DEVICE else None,
            attributes=("encrypted",) if inode.i_flags & _ENCRYPTED else (),
        )  # fmt: skip

    def children(self) -> Iterator[Node | Broken]:
        """As Node's."""
        if not self.inode.i_flags & _INLINE:
            yield from self._in_blocks()
            return
        # It begins with the number of the folder above, and goes on in an attribute.
        data = self._source()
        first = min(_FAST_LINK, data.size)
        yield from self._entries(data.read_at(4, first - 4) if first > 4 else b"", 4)
        yield from self._entries(data.read_at(first, data.size - first), first)

    def _in_blocks(self) -> Iterator[Node | Broken]:
        step = self.ext.block_size
        for run in self._runs():
            if run.place is None:
                # What is said to be there may be without end.
                yield Broken(name=None, why=f"the folder has no blocks for {run.size} bytes at {run.at}")
                continue
            for at in range(0, run.size, step):
                block = self.ext.source.read_at(run.place + at, step)
                if not block:
                    yield Broken(name=None, why=f"the folder reaches beyond the volume at {run.at + at}")
                    return
                yield from self._entries(block, run.at + at)

    def _entries(self, block: bytes, where: int) -> Iterator[Node | Broken]:
        """The entries of a block of a folder."""
        at = 0
        while at + 8 <= len(block):
            number, length, name_length, kind = _ENTRY.unpack_from(block, at)
            if not self.ext.has_types:
                name_length |= kind << 8
            length = (length & 0xFFFC | (length & 3) << 16) or len(block) - at
            if length < 8 or at + length > len(block) or name_length > length - 8:
                yield Broken(name=None, why=f"the folder is damaged at {where + at}")
                return
            raw = block[at + 8 : at + 8 + name_length]
            if number and name_length and raw not in (b".", b".."):
                yield ExtNode(self.ext, number, raw.decode("utf-8", "surrogateescape"))
            at += length

    def open(self) -> Source:
        """As Node's."""
        if self.inode.i_flags & _ENCRYPTED:
            raise Unreadable(Code.UNSUPPORTED, "it is encrypted (fscrypt): its key is not in the image")
        return self._source()

    def _source(self) -> Source:
        inode = self.inode
        if inode.i_flags & _INLINE:
            more = next((each.value for each in self._xattrs() if each.name == INLINE_DATA), b"")
            return BytesSource((inode.i_block + more)[: self.size])
        if kind_of(inode.i_mode) is Kind.LINK and self.size < _FAST_LINK and not inode.i_flags & _EXTENTS:
            return BytesSource(inode.i_block[: self.size])
        blocks = [
            (None if run.place is None else run.place // self.ext.block_size, run.size // self.ext.block_size)
            for run in self._runs()
        ]
        stream = RunlistStream(self.ext.fs.fh, blocks, self.size, self.ext.block_size)
        return StreamSource(stream, self.size, "the file")

    def target(self) -> str:
        """As Node's."""
        if kind_of(self.inode.i_mode) is not Kind.LINK:
            raise OSError("not a link")
        if self.inode.i_flags & _ENCRYPTED:
            raise Unreadable(Code.UNSUPPORTED, "it is encrypted (fscrypt): its key is not in the image")
        return self._source().read_at(0, self.ext.block_size).decode("utf-8", "surrogateescape")

    def _xattrs(self) -> Iterator[Attribute]:
        inode = self.inode
        yield from in_inode(self._raw)
        block = inode.i_file_acl_lo | inode.l_i_file_acl_high << 32
        if block:
            yield from in_block(self.ext.block(block))

    def streams(self) -> Sequence[Stream]:
        """As Node's."""
        return [
            Stream(name=each.name, kind="attribute", size=each.size)
            for each in self._xattrs()
            if each.name != INLINE_DATA
        ]

    def open_stream(self, name: str) -> Source:
        """As Node's."""
        for each in self._xattrs():
            if each.name == name:
                return ExtNode(self.ext, each.inode, "").open() if each.inode else BytesSource(each.value)
        raise FileNotFoundError(name)

    def runs(self) -> Sequence[Run] | None:
        """As Node's."""
        if self.inode.i_flags & _INLINE:
            return None
        return list(self._runs())

    def _runs(self) -> Iterator[Run]:
        """Where the data lies, holes included, up to the end of the file."""
        block_size = self.ext.block_size
        blocks = -(-self.size // block_size)
        mapped = self._extents() if self.inode.i_flags & _EXTENTS else self._pointers(blocks)
        at = 0
        for first, count, place in mapped:
            if first >= blocks:
                break
            if first < at:
                raise ValueError("its extents overlap")
            if first > at:
                yield Run(at * block_size, (first - at) * block_size, None)
            at = min(first + count, blocks)
            size = (at - first) * block_size
            yield Run(first * block_size, size, None if place is None else place * block_size)
        if at < blocks:
            yield Run(at * block_size, (blocks - at) * block_size, None)

    def _extents(self) -> Iterator[_Mapped]:
        """The extents of the tree: first block, how many, and where; None: allocated, and never written."""
        pending = [(self.inode.i_block, _DEPTH_CAP + 1)]
        seen, count = set[int](), 0
        while pending:
            node, above = pending.pop()
            magic, entries, _, depth = struct.unpack_from("<HHHH", node)
            if magic != _EXTENT_MAGIC or depth >= above or 12 + 12 * entries > len(node):
                raise ValueError("a node of its extents is damaged")
            if depth:
                below = []
                for number in range(entries):
                    _, low, high = struct.unpack_from("<IIH", node, 12 + 12 * number)
                    place = high << 32 | low
                    if place in seen:
                        raise ValueError("its extents lead back to themselves")
                    seen.add(place)
                    below.append(place)
                pending += [(self.ext.block(place), depth) for place in reversed(below)]
                continue
            for number in range(entries):
                first, length, high, low = struct.unpack_from("<IHHI", node, 12 + 12 * number)
                count += 1
                if count > _RUNS_CAP:
                    raise ValueError("it has too many extents")
                # More than 32768 blocks: so many less, and not yet written.
                written = length <= 0x8000
                yield first, length if written else length - 0x8000, high << 32 | low if written else None

    def _pointers(self, blocks: int) -> Iterator[_Mapped]:
        """The blocks that pointers lead to, directly and through blocks of pointers; no holes."""
        pointers = struct.unpack("<15I", self.inode.i_block)
        per_block = self.ext.block_size // 4
        run: tuple[int, int, int] | None = None
        at = 0
        for number, pointer in enumerate(pointers):
            level = max(0, number - 11)
            for first, place in self._leaves(pointer, level, at, per_block, blocks):
                if run is not None and first == run[0] + run[1] and place == run[2] + run[1]:
                    run = run[0], run[1] + 1, run[2]
                else:
                    if run is not None:
                        yield run
                    run = first, 1, place
            at += per_block**level
        if run is not None:
            yield run

    def _leaves(
        self, pointer: int, level: int, at: int, per_block: int, blocks: int
    ) -> Iterator[tuple[int, int]]:
        """Recursive, three levels deep at most."""
        if pointer == 0 or at >= blocks:
            return
        if level == 0:
            yield at, pointer
            return
        span = per_block ** (level - 1)
        for number, below in enumerate(struct.unpack(f"<{per_block}I", self.ext.block(pointer))):
            yield from self._leaves(below, level - 1, at + number * span, per_block, blocks)


def _device(block: bytes) -> tuple[int, int]:
    """Major and minor number, in the old or the new encoding."""
    old, new = struct.unpack_from("<II", block)
    if old:
        return old >> 8 & 0xFF, old & 0xFF
    return new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00


def open_volume(given: Given) -> Volume:
    """As the room's; raises Refused."""
    errors = errors_of("extfs.exceptions")
    refusals: tuple[type[Exception], ...] = NotImplementedError, *errors
    try:
        ext = Ext(given)
    except refusals as error:
        raise Refused(str(error)) from error
    return Volume(root=ExtNode(ext, ROOT, ""), errors=errors, at=ext.found, key_of=ext.key)
