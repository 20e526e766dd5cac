"""What is free in an ext file system, by its group descriptors.

Layout: kernel.org, Documentation/filesystems/ext4, "Block Group Descriptors", "Meta Block Groups"
https://www.kernel.org/doc/html/latest/filesystems/ext4/group_descr.html

While a file system is mounted its superblock's counter is not written; the descriptors are. Their sum is what
Linux itself counts from when it mounts (ext4_count_free_clusters). What an unreplayed journal holds is not in
it.
"""

from collections.abc import Iterator
from struct import iter_unpack

from pyimount.formats import NotThisFormat
from pyimount.formats.allocation import PIECE, Reader, Space
from pyimount.records import Record

_FIELDS = "I8xH18x"
"""Of a descriptor: the block of its block bitmap, and free clusters; the upper halves lie alike behind."""
SMALL, LARGE = 32, 64
"""Bytes in a descriptor; from LARGE on, it has the upper halves."""


class Groups(Record, kw_only=True):
    """How the groups lie. Counts and sizes are the superblock's, ``cluster_size`` and ``block_size`` bytes.

    ``meta_from``: the first block of descriptors that lies in the groups it describes (META_BG); None: none
    does. ``backups``: which groups have a copy of the superblock; None: all.
    """

    blocks: int
    block_size: int
    cluster_size: int
    first_block: int
    per_group: int
    clusters_per_group: int
    descriptor_size: int
    meta_from: int | None
    backups: frozenset[int] | None
    sparse: bool

    @property
    def count(self) -> int:
        """How many groups there are."""
        return -(-(self.blocks - self.first_block) // self.per_group)

    def has_super(self, group: int) -> bool:
        """Whether a copy of the superblock stands at the start of this group."""
        if self.backups is not None:
            return group == 0 or group in self.backups
        if not self.sparse or group <= 1:
            return True
        return any(_is_power(group, base) for base in (3, 5, 7))


def _is_power(number: int, base: int) -> bool:
    while number % base == 0:
        number //= base
    return number == 1


def count_free(groups: Groups, reader: Reader) -> Space:
    """Free bytes: the sum over all descriptors."""
    size = groups.descriptor_size
    if not SMALL <= size <= groups.block_size or size & (size - 1) or not groups.per_group:
        raise NotThisFormat(f"group descriptors of {size} bytes, groups of {groups.per_group} blocks")
    free = 0
    for table in _tables(groups, reader):
        free += _sum(groups, table)
    return Space(free=free * groups.cluster_size, found="group descriptors")


def _tables(groups: Groups, reader: Reader) -> Iterator[bytes]:
    """The descriptors of all groups, in pieces of whole ones."""
    size, per_block = groups.descriptor_size, groups.block_size // groups.descriptor_size
    usual = 1024 // groups.block_size + 1
    whole = groups.count if groups.meta_from is None else min(groups.count, groups.meta_from * per_block)
    scattered = -(-(groups.count - whole) // per_block)
    reader.want(groups.count * size, -(-whole * size // PIECE) + scattered)
    piece = PIECE // size * size
    yield from reader.pieces(usual * groups.block_size, whole * size, piece)
    for number in range(scattered):
        group = whole + number * per_block
        block = groups.first_block + group * groups.per_group + groups.has_super(group)
        if group == 0 and groups.block_size == 1024 and groups.first_block == 0:
            block += 1
        yield reader.read(block * groups.block_size, min(per_block, groups.count - group) * size)


def _sum(groups: Groups, table: bytes) -> int:
    """The free clusters in these descriptors, which must be plausible."""
    size = groups.descriptor_size
    if size >= LARGE:
        bitmaps, free, above, high = zip(
            *iter_unpack(f"<{_FIELDS}{_FIELDS}{size - LARGE}x", table), strict=True
        )
        if any(high):
            free = tuple(low | upper << 16 for low, upper in zip(free, high, strict=True))
        if any(above):
            bitmaps = tuple(low | upper << 32 for low, upper in zip(bitmaps, above, strict=True))
    else:
        bitmaps, free = zip(*iter_unpack(f"<{_FIELDS}", table), strict=True)
    if max(free) > groups.clusters_per_group:
        raise NotThisFormat(f"{max(free)} free clusters in a group of {groups.clusters_per_group}")
    if not 0 < min(bitmaps) <= max(bitmaps) < groups.blocks:
        raise NotThisFormat("a group whose block bitmap lies outside of the file system")
    return sum(free)
