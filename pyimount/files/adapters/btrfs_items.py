"""What is in btrfs's trees, by the nodes that dissect.btrfs reads: inodes, names, extended attributes.

https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html. dissect.btrfs 1.10 parses each key on the way
to each inode, which takes three times as long; it takes times as unsigned, and reads no attributes.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from pyimount.files.opening import Given

_INODE, _XATTR, _DIR_INDEX, _ROOT, _ROOT_REF = 1, 24, 96, 132, 156
_NO_SUBVOLUME = 2
"""The number of the empty folder that stands where a snapshot has the name of a subvolume."""
_KEY = struct.Struct("<QBQ")
_HEADER, _LEAF_ITEM, _POINTER = 101, 25, 33
"""How long the header of a node is, an item of a leaf, a pointer of a node above."""
_PLACE = struct.Struct("<17xII")
_CHILD = struct.Struct("<17xQ")
_INODE_ITEM = struct.Struct("<16xQQ8xIIIIQ48xQIQIQIQI")
_DIR_ITEM = struct.Struct("<QB8x8xHHB")
"""The key of what a name leads to; how long data and name are, the type."""
_LEVELS = 8
_SIGN = 1 << 63


def items(tree: Any, number: int, kind: int) -> Iterator[tuple[int, bytes]]:
    """All items of this object and type: the third part of the key, the data."""
    yield from _below(tree._read_node, tree.root_offset, (number, kind), _LEVELS)


def _below(
    read: Callable[[int], tuple[Any, Any]], address: int, wanted: tuple[int, int], above: int
) -> Iterator[tuple[int, bytes]]:
    node, header = read(address)
    count, level = int(header.nritems), int(header.level)
    size = _POINTER if level else _LEAF_ITEM
    if level >= above or _HEADER + count * size > len(node):
        raise ValueError(f"the node at {address} is damaged")
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if _key(node, middle * size) < wanted:
            low = middle + 1
        else:
            high = middle
    if level:
        for at in range(max(0, low - 1), count):
            if _key(node, at * size) > wanted:
                return
            (child,) = _CHILD.unpack_from(node, _HEADER + at * size)
            yield from _below(read, child, wanted, level)
        return
    for at in range(low, count):
        if _key(node, at * size) != wanted:
            return
        place, length = _PLACE.unpack_from(node, _HEADER + at * size)
        if _HEADER + place + length > len(node):
            raise ValueError(f"the node at {address} is damaged")
        offset = _KEY.unpack_from(node, _HEADER + at * size)[2]
        yield offset, bytes(node[_HEADER + place : _HEADER + place + length])


def _key(node: Any, at: int) -> tuple[int, int]:
    number, kind, _ = _KEY.unpack_from(node, _HEADER + at)
    return number, kind


def open_btrfs(given: Given) -> tuple[Any, Any]:
    """The file system on all its devices, and the top of its subvolumes."""
    library = import_module("dissect.btrfs")
    fs = library.Btrfs([given.file(number) for number in range(len(given.sources))])
    # Not the subvolume that is mounted unless another is named.
    return fs, fs.fs_tree.root


def figures(node: Any) -> dict[str, Any]:
    """The figures of an inode."""
    if node.inum == _NO_SUBVOLUME:
        return {"mode": 0o40755, "size": 0, "inode": node.inum}
    _, raw = next(items(node.subvolume.tree, node.inum, _INODE), (0, b""))
    if len(raw) < _INODE_ITEM.size:
        raise ValueError(f"there is no inode {node.inum}")
    size, stored, links, uid, gid, mode, device, *times = _INODE_ITEM.unpack_from(raw)
    accessed, changed, modified, born = map(_time, times[::2], times[1::2])
    return {
        "mode": mode, "size": size, "uid": uid, "gid": gid, "links": links, "inode": node.inum,
        "allocated": stored, "modified": modified, "accessed": accessed, "changed": changed, "born": born,
        # As the kernel has device numbers in memory, and not in the encoding of other file systems.
        "device": (device >> 20, device & 0xFFFFF),
    }  # fmt: skip


def _time(seconds: int, nanoseconds: int) -> int:
    return (seconds - 2 * _SIGN if seconds >= _SIGN else seconds) * 10**9 + nanoseconds


def entries(node: Any) -> Iterator[tuple[str, Any]]:
    """What lies in a folder; a subvolume is the folder that is its top.

    A snapshot keeps the names of the subvolumes that were in its origin, but not them: these are empty.
    """
    for _, raw in items(node.subvolume.tree, node.inum, _DIR_INDEX):
        for number, kind, name, _, type_ in _names(raw):
            text = name.decode("utf-8", "surrogateescape")
            if kind == _ROOT and number not in _subvolumes_in(node):
                yield text, node.subvolume.inode(_NO_SUBVOLUME)
            elif kind == _ROOT:
                yield text, node.btrfs.open_subvolume(number, node).root
            else:
                yield text, node.subvolume.inode(number, type_, node)


def _subvolumes_in(node: Any) -> set[int]:
    """The numbers of the subvolumes that lie in that of a node."""
    return {number for number, _ in items(node.btrfs._root_tree, node.subvolume.objectid, _ROOT_REF)}


def attributes(node: Any) -> Mapping[str, bytes]:
    """The extended attributes of a node."""
    return {
        name.decode("utf-8", "surrogateescape"): value
        for _, raw in items(node.subvolume.tree, node.inum, _XATTR)
        for _, _, name, value, _ in _names(raw)
    }


def _names(raw: bytes) -> Iterator[tuple[int, int, bytes, bytes, int]]:
    """The names of an item, which is of several where they have one hash: to what they lead, and data."""
    at = 0
    while at + _DIR_ITEM.size <= len(raw):
        number, kind, size, length, type_ = _DIR_ITEM.unpack_from(raw, at)
        at += _DIR_ITEM.size
        name, value = raw[at : at + length], raw[at + length : at + length + size]
        if len(value) < size or len(name) < length:
            raise ValueError("an item of names is damaged")
        yield number, kind, name, value, type_
        at += length + size


def at_key(fs: Any, key: Any) -> Any:
    """The inode of a key: the numbers of its subvolume and of itself."""
    subvolume, number = key
    return fs.open_subvolume(subvolume).inode(number)


def key_of(node: Any) -> list[int]:
    """The key of an inode."""
    return [int(node.subvolume.objectid), int(node.inum)]
