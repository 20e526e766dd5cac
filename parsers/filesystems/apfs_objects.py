"""Objects of APFS: their checksums, and object maps, which say in which block an object's version lies.

Layout: Apple, "Apple File System Reference" (2020-06-22), "Objects", "Object Maps", "B-Trees"
https://developer.apple.com/support/downloads/Apple-File-System-Reference.pdf
"""

from itertools import accumulate
from struct import unpack
from typing import Any

from construct import Bytes, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.sources.view import View

OBJECT = layout(
    lambda: Struct(
        "o_cksum" / Int64ul,
        "o_oid" / Int64ul,
        "o_xid" / Int64ul,
        "o_type" / Int32ul,
        "o_subtype" / Int32ul,
    )
)
OMAP = layout(
    lambda: Struct(
        "object" / Bytes(32),
        "om_flags" / Int32ul,
        "om_snap_count" / Int32ul,
        "om_tree_type" / Int32ul,
        "om_snapshot_tree_type" / Int32ul,
        "om_tree_oid" / Int64ul,
    )
)
BTREE_NODE = layout(
    lambda: Struct(
        "object" / Bytes(32),
        "btn_flags" / Int16ul,
        "btn_level" / Int16ul,
        "btn_nkeys" / Int32ul,
        "btn_table_space_off" / Int16ul,
        "btn_table_space_len" / Int16ul,
        "btn_free_space" / Int32ul,
        "btn_key_free_list" / Int32ul,
        "btn_val_free_list" / Int32ul,
    )
)
MAX_NODES = 256
MAX_DEPTH = 16

TYPE_NX_SUPERBLOCK, TYPE_BTREE, TYPE_BTREE_NODE, TYPE_SPACEMAN = 0x01, 0x02, 0x03, 0x05
TYPE_OMAP, TYPE_CHECKPOINT_MAP, TYPE_FS = 0x0B, 0x0C, 0x0D
NODE_ROOT, NODE_LEAF, NODE_FIXED = 0x1, 0x2, 0x4
OMAP_DELETED = 0x1
BTREE_INFO = 40


def checksum(block: bytes) -> int:
    """The Fletcher 64 checksum of an object: of all its bytes after the first eight."""
    words = unpack(f"<{len(block) // 4 - 2}I", block[8 : len(block) // 4 * 4])
    sums = tuple(accumulate(words))
    modulus = 0xFFFFFFFF
    low, high = (sums[-1] % modulus, sum(sums) % modulus) if sums else (0, 0)
    first = modulus - (low + high) % modulus
    second = modulus - (low + first) % modulus
    return second << 32 | first


def is_whole(block: bytes, size: int) -> bool:
    """Whether an object of ``size`` bytes is there, and its checksum holds."""
    return len(block) == size and checksum(block) == int.from_bytes(block[:8], "little")


class ObjectMap:
    """The object map at block ``number``; raises NotThisFormat where there is none, and ShortRead."""

    def __init__(self, view: View, block_size: int, number: int) -> None:
        self._view, self._size = view, block_size
        self._nodes: dict[int, bytes] = {}
        raw = self._block(number)
        omap = parse_struct(raw, OMAP)
        if parse_struct(raw, OBJECT).o_type & 0xFFFF != TYPE_OMAP:
            raise NotThisFormat("no object map")
        self._root: int = omap.om_tree_oid

    def _block(self, number: int) -> bytes:
        return self._view.read(number * self._size, self._size)

    def _node(self, number: int) -> bytes:
        if number not in self._nodes:
            if len(self._nodes) >= MAX_NODES:
                raise NotThisFormat(f"an object map of more than {MAX_NODES} nodes")
            self._nodes[number] = self._block(number)
        return self._nodes[number]

    def block_of(self, oid: int, xid: int) -> int:
        """The block of the newest version of ``oid`` that is no newer than ``xid``.

        Raises NotThisFormat where the map has none, or is damaged, and ShortRead.
        """
        number, level = self._root, None
        for _ in range(MAX_DEPTH):
            raw = self._node(number)
            node = parse_struct(raw, BTREE_NODE)
            if parse_struct(raw, OBJECT).o_type & 0xFFFF not in (TYPE_BTREE, TYPE_BTREE_NODE):
                raise NotThisFormat(f"no node of the object map at block {number}")
            if level is not None and node.btn_level != level - 1:
                raise NotThisFormat(f"the object map leads from level {level} to level {node.btn_level}")
            level = node.btn_level
            value = self._last_value(raw, node, oid, xid)
            if node.btn_flags & NODE_LEAF:
                found_oid, flags, address = value
                if found_oid != oid or flags & OMAP_DELETED:
                    raise NotThisFormat("the object map has no such object")
                return address
            number = value[2]
        raise NotThisFormat("the object map is too deep")

    def _last_value(self, raw: bytes, node: Any, oid: int, xid: int) -> tuple[int, int, int]:
        """Of the last key that is not after ``(oid, xid)``: its oid, its flags and the block it leads to."""
        if not node.btn_flags & NODE_FIXED:
            raise NotThisFormat("keys of varying length in an object map")
        table = BTREE_NODE.size + node.btn_table_space_off
        keys = table + node.btn_table_space_len
        values = self._size - (BTREE_INFO if node.btn_flags & NODE_ROOT else 0)
        if table + 4 * node.btn_nkeys > self._size:
            raise NotThisFormat(f"{node.btn_nkeys} keys in one node")
        best: tuple[int, int] | None = None
        where = 0
        for entry in range(node.btn_nkeys):
            key_at, value_at = unpack("<HH", raw[table + 4 * entry : table + 4 * entry + 4])
            piece = raw[keys + key_at : keys + key_at + 16]
            if len(piece) < 16:
                raise NotThisFormat("a key beyond its node")
            key = unpack("<QQ", piece)
            if key <= (oid, xid) and (best is None or key > best):
                best, where = key, values - value_at
        if best is None:
            raise NotThisFormat("the object map has no such object")
        size = 16 if node.btn_flags & NODE_LEAF else 8
        piece = raw[where : where + size] if where >= 0 else b""
        if len(piece) < size:
            raise NotThisFormat("a value beyond its node")
        flags = int.from_bytes(piece[:4], "little") if size == 16 else 0
        return best[0], flags, int.from_bytes(piece[-8:], "little")
