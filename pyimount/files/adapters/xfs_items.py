"""What dissect.xfs 3.13 does not read of XFS, or not rightly: folders, devices, attributes in the inode.

"XFS Algorithms & Data Structures", "Directories", "Extended Attributes":
https://mirrors.edge.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf. It takes a block of
a folder to be as large as one of the volume, and so passes over most of it where that is not so.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pyimount.files.reading import Unreadable
from pyimount.problems import Code

_LOCAL = 1
_ROOT, _SECURE = 2, 4
_HEADERS = {b"XDB3": 64, b"XDD3": 64, b"XD2B": 16, b"XD2D": 16}
_WITH_TAIL = (b"XDB3", b"XD2B")
_UNUSED = b"\xff\xff"
_DATA_END = 32 << 30
"""Behind it a folder has its index."""
_HOLES_CAP = 1 << 12


def entries(node: Any) -> Iterator[tuple[str, Any]]:
    """What lies in a folder. What is damaged in one block is said when the others have been read."""
    if node.inode.di_format == _LOCAL:
        for each in node.iterdir():
            yield each.filename, each
        return
    size = node.xfs.block_size << node.xfs.sb.sb_dirblklog
    data, wrong, holes = node.open(), None, 0
    for start in range(0, min(node.size, _DATA_END), size):
        data.seek(start)
        block = data.read(size)
        if not any(block[:64]):
            holes += 1
            if holes > _HOLES_CAP:
                raise ValueError("the folder has more holes than blocks")
            continue
        try:
            for number, name in _names(block, with_kind=node.xfs._has_ftype):
                yield name.decode("utf-8", "surrogateescape"), node.xfs.get_inode(number)
        except ValueError as error:
            wrong = wrong or f"{error}, at {start}"
    if wrong:
        raise ValueError(wrong)


def _names(block: bytes, *, with_kind: bool) -> Iterator[tuple[int, bytes]]:
    """The numbers and names in a block of a folder; raises ValueError where it is damaged."""
    magic, end = block[:4], len(block)
    if magic not in _HEADERS:
        raise ValueError("a block of the folder has no magic")
    if magic in _WITH_TAIL:
        end -= 8 + 8 * int.from_bytes(block[-8:-4], "big")
    at = _HEADERS[magic]
    while at < end:
        if block[at : at + 2] == _UNUSED:
            length = int.from_bytes(block[at + 2 : at + 4], "big")
            if length < 8 or length % 8:
                raise ValueError("the folder is damaged")
        else:
            size = block[at + 8] if at + 9 <= end else 0
            length = -(-(11 + size + with_kind) // 8) * 8
            if not size or at + length > end:
                raise ValueError("the folder is damaged")
            name = block[at + 9 : at + 9 + size]
            if name not in (b".", b".."):
                yield int.from_bytes(block[at : at + 8], "big"), name
        at += length


def device(node: Any) -> tuple[int, int]:
    """Major and minor number, of 14 and 18 bits."""
    number = int.from_bytes(node.datafork().read(4), "big")
    return number >> 18 & 0x3FFF, number & 0x3FFFF


def attributes(node: Any) -> Mapping[str, bytes]:
    """The attributes that lie in the inode; raises Unreadable where others are."""
    inode, found = node.inode, dict[str, bytes]()
    if not inode.di_forkoff or (inode.di_aformat != _LOCAL and not node.attr_extents):
        return found
    if inode.di_aformat != _LOCAL:
        what = "attributes that lie in blocks of their own are not read by dissect.xfs"
        raise Unreadable(Code.UNSUPPORTED, what)
    raw = node.attrfork().read()
    at = 4
    for _ in range(raw[2] if len(raw) > 2 else 0):
        if at + 3 > len(raw) or at + 3 + raw[at] + raw[at + 1] > len(raw):
            raise Unreadable(Code.DAMAGED, "its attributes are damaged")
        length, size, flags = raw[at : at + 3]
        space = "trusted." if flags & _ROOT else "security." if flags & _SECURE else "user."
        name = raw[at + 3 : at + 3 + length].decode("utf-8", "surrogateescape")
        found[space + name] = raw[at + 3 + length : at + 3 + length + size]
        at += 3 + length + size
    return found
