"""The trees and arrays in which device-mapper keeps the metadata of thin pools and caches.

Layouts: drivers/md/persistent-data of the Linux kernel, dm-btree-internal.h and dm-array.c; the checksums:
dm-block-manager.c. Blocks are read when they are needed, each is checked, and only the last used are kept.
"""

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from operator import lt
from struct import unpack_from
from typing import Any, NamedTuple

from construct import Bytes, Int32ul, Int64ul, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.checksums import crc32c
from pyimount.formats.layouts import Layout, layout, parse_struct
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source

BLOCK = 4096
"""Bytes in a block of metadata."""

NODE_HEADER = layout(
    lambda: Struct(
        "csum" / Int32ul,
        "flags" / Int32ul,
        "blocknr" / Int64ul,
        "nr_entries" / Int32ul,
        "max_entries" / Int32ul,
        "value_size" / Int32ul,
        "padding" / Bytes(4),
    )
)
ARRAY_BLOCK = layout(
    lambda: Struct(
        "csum" / Int32ul,
        "max_entries" / Int32ul,
        "nr_entries" / Int32ul,
        "value_size" / Int32ul,
        "blocknr" / Int64ul,
    )
)

_INTERNAL, _LEAF = 1, 2
_NODE_XOR, _ARRAY_XOR = 121107, 595846735
_DEPTH_CAP = 16
"""Levels of a tree; with the fewest entries that a node may have, 2^64 keys need no more than 10."""
_KEPT = 256
END = 1 << 64
"""Beyond all keys."""


class Node(NamedTuple):
    """A node of a tree, ``values`` as they are stored, ``value_size`` bytes each."""

    leaf: bool
    keys: tuple[int, ...]
    values: bytes
    value_size: int

    def value(self, number: int) -> int:
        """A value that is a number, as all are that name a block."""
        (found,) = unpack_from("<Q", self.values, number * self.value_size)
        return int(found)


class Leaf(NamedTuple):
    """The entries of a leaf, by rising keys, and the first key that no longer belongs to it."""

    keys: tuple[int, ...]
    values: tuple[int, ...]
    until: int


class Blocks:
    """A device with metadata. All reads raise ReadError for blocks that are damaged or not to be had."""

    __slots__ = ("_source", "node")

    def __init__(self, source: Source) -> None:
        self._source = source
        self.node = lru_cache(maxsize=_KEPT)(self._node)

    def checked(self, number: int, declared: Layout, xor: int) -> tuple[Any, bytes]:
        """A block and the structure that it starts with, which has ``csum`` and ``blocknr``."""
        if number >= self._source.size // BLOCK:
            raise ReadError(f"block {number} lies outside the metadata")
        data = self._source.read_at(number * BLOCK, BLOCK)
        try:
            header = parse_struct(data, declared)
        except NotThisFormat as error:
            raise ReadError(f"block {number} of the metadata: {error}") from error
        if header.csum != crc32c(data[4:]) ^ xor or header.blocknr != number:
            raise ReadError(f"block {number} of the metadata is damaged")
        return header, data

    def _node(self, number: int) -> Node:
        header, data = self.checked(number, NODE_HEADER, _NODE_XOR)
        count, most, size = header.nr_entries, header.max_entries, header.value_size
        start = NODE_HEADER.size + most * 8
        if header.flags not in (_INTERNAL, _LEAF) or count > most or start + most * size > BLOCK or size < 8:
            raise ReadError(f"block {number} of the metadata is no node of a tree")
        keys = unpack_from(f"<{count}Q", data, NODE_HEADER.size)
        if not all(map(lt, keys, keys[1:])):
            raise ReadError(f"block {number} of the metadata has keys out of order")
        return Node(header.flags == _LEAF, keys, data[start : start + count * size], size)

    def leaf(self, root: int, key: int) -> Leaf:
        """The leaf in which ``key`` stands, if it is there, of a tree whose values are numbers."""
        node, until = self._descend(root, key)
        if node.value_size != 8:
            raise ReadError("a tree of the metadata has values of another kind")
        return Leaf(node.keys, unpack_from(f"<{len(node.keys)}Q", node.values), until)

    def find(self, root: int, key: int) -> bytes | None:
        """The value of ``key`` as it is stored, None where the tree has none."""
        node, _ = self._descend(root, key)
        number = bisect_right(node.keys, key) - 1
        if number < 0 or node.keys[number] != key:
            return None
        return node.values[number * node.value_size : (number + 1) * node.value_size]

    def _descend(self, root: int, key: int) -> tuple[Node, int]:
        until = END
        for _ in range(_DEPTH_CAP):
            node: Node = self.node(root)
            if node.leaf:
                return node, until
            number = bisect_right(node.keys, key) - 1
            if number + 1 < len(node.keys):
                until = min(until, node.keys[number + 1])
            if number < 0:
                return Node(True, (), b"", 8), until
            root = node.value(number)
        raise ReadError(f"a tree of the metadata is more than {_DEPTH_CAP} levels deep")

    def array(self, root: int, count: int) -> Iterator[tuple[int, ...]]:
        """The first ``count`` numbers of an array, a block's worth at a time."""
        number = 0
        while count > 0:
            place = self.find(root, number)
            if place is None:
                raise ReadError(f"an array of the metadata ends {count} values early")
            header, data = self.checked(int.from_bytes(place[:8], "little"), ARRAY_BLOCK, _ARRAY_XOR)
            entries = min(header.nr_entries, count)
            if header.value_size != 8 or not 0 < entries <= (BLOCK - ARRAY_BLOCK.size) // 8:
                raise ReadError("an array of the metadata has values of another kind")
            yield unpack_from(f"<{entries}Q", data, ARRAY_BLOCK.size)
            count -= entries
            number += 1
