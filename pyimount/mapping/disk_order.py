"""Which disk of an array is which, where its metadata does not tell: what the bytes would then be decides.

Metadata of some makers names its disks by the serial numbers of the drives, which an image does not have.
Every order of the disks gives other bytes, and of the right one alone a partition table leads to file
systems, and these to their own structures all over the array. Where two orders lead as far, none is chosen.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from pyimount.parsers.partitions import gpt, mbr
from pyimount.parsers.partitions.sector_sizes import begins
from pyimount.recognition.probing import probe_as
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import View

ORDERS_CAP = 720
"""Orders that are tried: those of six disks."""
_LOOKED_AT = 16
_SAMPLES = 48
_ROWS, _PIECE = 1024, 512
"""Rows of an array that are looked at, and bytes of each chunk."""
_GOLDEN = 0.6180339887498949

Order = TypeVar("Order")


def likeliest(orders: Iterable[Order], worth: Callable[[Order], int]) -> Order | None:
    """The order for which most speaks; None where nothing speaks for any, or as much for several.

    Raises BudgetError as the sources do.
    """
    best: Order | None = None
    most, alone = 0, False
    for number, order in enumerate(orders):
        if number >= ORDERS_CAP:
            return None
        found = worth(order)
        if found > most:
            best, most, alone = order, found, True
        elif found == most:
            alone = False
    return best if alone else None


def alike(one: Source, other: Source, start: int, size: int) -> int:
    """How many of some samples of a run of both, all over it, are the same in both."""
    found = 0
    for number in range(_SAMPLES):
        at = start + int(number * _GOLDEN % 1 * size) // 512 * 512
        try:
            found += one.read_at(at, 512) == other.read_at(at, 512)
        except ReadError:
            continue
    return found


def twins(disks: Sequence[Source], start: int, chunk: int, rows: int) -> list[tuple[int, frozenset[int]]]:
    """Rows of an array with one parity in which two disks have the same and all others nothing: with the two.

    One of the two then has the row's parity, which is the sum of one chunk and nothing.
    """
    found = []
    step = max(1, rows // _ROWS)
    for row in range(0, rows, step):
        try:
            pieces = [disk.read_at(start + row * chunk, _PIECE) for disk in disks]
        except ReadError:
            continue
        filled = [number for number, piece in enumerate(pieces) if piece.count(0) != len(piece)]
        if len(filled) == 2 and pieces[filled[0]] == pieces[filled[1]]:
            found.append((row, frozenset(filled)))
    return found


def evidence(source: Source) -> int:
    """How many structures of tables and file systems stand where others say that they do."""
    view = View(source)
    table = probe_as(view, (gpt.FORMAT, mbr.FORMAT)).table
    if table is None:
        return _volume(view, 0, view.size)
    data = [entry for entry in table.partitions if not entry.meta][:_LOOKED_AT]
    found = sum(entry.offset + entry.size <= view.size for entry in data)
    found += sum(table.details.get(copy) is True for copy in ("primary_valid", "backup_valid"))
    found += sum(extent.name.startswith("Extended") for extent in table.meta)
    return found + sum(_volume(view, entry.offset, entry.size) for entry in data)


def _volume(view: View, at: int, size: int) -> int:
    """The same of the volume that begins at ``at``."""
    if not begins(view, at):
        return 0
    head = view.glance(at, 4096)
    if head[0x438:0x43A] == b"\x53\xef":
        return 1 + sum(_of_ext(view, at, head[1024:]))
    if head.startswith(b"XFSB"):
        return 1 + sum(_of_xfs(view, at, head))
    if head[3:11] == b"NTFS    ":
        return 1 + sum(_of_ntfs(view, at, head, size))
    if head[510:512] == b"\x55\xaa" and head[3:11] != b"EXFAT   ":
        return 1 + sum(_of_fat(view, at, head))
    mirrors = (view.glance(at + place + 64, 8) == b"_BHRfS_M" for place in (64 << 10, 64 << 20))
    return 1 + sum(mirrors)


def _little(raw: bytes, at: int, size: int) -> int:
    return int.from_bytes(raw[at : at + size], "little")


def _of_ext(view: View, at: int, sb: bytes) -> Iterator[bool]:
    """Root and journal by their inodes, and the superblock's copies (Linux, Documentation, ext4)."""
    block = 1024 << min(_little(sb, 0x18, 4), 6)
    first, per_group, blocks = _little(sb, 0x14, 4), _little(sb, 0x20, 4), _little(sb, 4, 4)
    inode = _little(sb, 0x58, 2) if _little(sb, 0x4C, 4) else 128
    groups = -(-blocks // per_group) if per_group else 0
    wide = _little(sb, 0xFE, 2) if _little(sb, 0x60, 4) & 0x80 else 32
    table = view.glance(at + (first + 1) * block, min(groups, _LOOKED_AT) * wide)
    in_group = _little(sb, 0x28, 4) // 8
    for start in range(0, len(table), wide):
        # The bits behind those of the inodes are set, where the bitmap was written at all.
        bitmap = view.glance(at + block * _little(table, start + 4, 4) + in_group, block - in_group)
        yield bool(bitmap) and bitmap.count(b"\xff") == len(bitmap)
    inodes = at + block * _little(table, 8, 4)
    root = view.glance(inodes + inode, 128)
    yield _little(root, 0, 2) & 0xF000 == _DIRECTORY
    journal = _ext_blocks(view.glance(inodes + 7 * inode, 128))
    yield bool(journal) and view.glance(at + block * journal[0], 4) == b"\xc0\x3b\x39\x98"
    folders = [root]
    for number in _ext_blocks(root):
        entries = _ext_entries(view.glance(at + block * number, block), block)
        yield bool(entries)
        for target, kind in entries[:_LOOKED_AT]:
            if 0 < target <= 8 * in_group:
                entry = view.glance(inodes + (target - 1) * inode, 128)
                yield _little(entry, 0, 2) >> 12 == _EXT_KINDS.get(kind)
                folders += [entry] if kind == 2 and target != 2 else []
    for folder in folders[1:_LOOKED_AT]:
        for number in _ext_blocks(folder):
            yield bool(_ext_entries(view.glance(at + block * number, block), block))
    for group in (1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243):
        if per_group and group * per_group < blocks:
            copy = view.glance(at + (first + group * per_group) * block, 1024)
            yield copy[0x38:0x3A] == b"\x53\xef" and copy[0x68:0x78] == sb[0x68:0x78]


_DIRECTORY = 0x4000
_EXT_KINDS = {1: 8, 2: 4, 3: 2, 4: 6, 5: 1, 6: 12, 7: 10}
"""The type of an inode in its mode, by the type that a directory's entry says."""


def _ext_blocks(inode: bytes) -> list[int]:
    """The first blocks of a file, going by its inode."""
    if _little(inode, 0x28, 2) == 0xF30A:
        if _little(inode, 0x2E, 2):
            return []
        first, count = _little(inode, 0x3C, 4), _little(inode, 0x38, 2)
        return [first + number for number in range(min(count, _LOOKED_AT))]
    return [number for at in range(0x28, 0x58, 4) if (number := _little(inode, at, 4))]


def _ext_entries(raw: bytes, block: int) -> list[tuple[int, int]]:
    """The entries of a directory's block, each its inode (0: unused) and type; none where it is none."""
    found, at = [], 0
    while at + 8 <= len(raw):
        length = _little(raw, at + 4, 2)
        if length < 8 or length % 4 or at + length > block:
            return []
        found.append((_little(raw, at, 4), raw[at + 7]))
        at += length
    return [(target, kind) for target, kind in found if target] or found[:1] if at == block else []


def _of_xfs(view: View, at: int, head: bytes) -> Iterator[bool]:
    """The superblock and the free-space header of every allocation group."""
    block, size, count = (int.from_bytes(head[place : place + 4], "big") for place in (4, 84, 88))
    sector = int.from_bytes(head[102:104], "big")
    for group in range(min(count, _LOOKED_AT)):
        start = at + group * size * block
        yield view.glance(start, 4) == b"XFSB"
        yield view.glance(start + sector, 4) == b"XAGF"


def _of_ntfs(view: View, at: int, head: bytes, size: int) -> Iterator[bool]:
    """The master file table's first records, its mirror, and the boot sector's copy."""
    sector = _little(head, 11, 2)
    cluster = sector * (head[13] if head[13] < 0x80 else 1 << 256 - head[13])
    for place in (48, 56):
        start = at + _little(head, place, 8) * cluster
        for number in range(_LOOKED_AT if place == 48 else 4):
            yield view.glance(start + number * 1024, 4) == b"FILE"
    yield view.glance(at + size - sector, 11) == head[:11]


def _of_fat(view: View, at: int, head: bytes) -> Iterator[bool]:
    """The media byte at the start of each FAT, and the backup of a FAT32's boot sector."""
    sector, reserved, copies = _little(head, 11, 2), _little(head, 14, 2), head[16]
    each = _little(head, 22, 2) or _little(head, 36, 4)
    for number in range(min(copies, 2)):
        start = at + (reserved + number * each) * sector
        yield view.glance(start, 3) == head[21:22] + b"\xff\xff"
    if not _little(head, 22, 2):
        yield view.glance(at + _little(head, 50, 2) * sector, 11) == head[:11]
