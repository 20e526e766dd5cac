"""What is free in a UDF file system, by the space bitmaps and tables of its partitions.

Layout: ECMA-167, 4/14.3 "Partition Header Descriptor", 4/14.11 "Unallocated Space Entry", 4/14.12 "Space
Bitmap Descriptor"
https://ecma-international.org/publications-and-standards/standards/ecma-167/

The logical volume integrity descriptor has a count too, which is right only while it says "closed".
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Any

from pyimount.formats import NotThisFormat
from pyimount.formats.allocation import Reader, Space, count_ones

ALLOCATION = Struct("<II")
"""A short allocation descriptor: length in bytes (the two highest bits are its type), and block."""
LENGTH = (1 << 30) - 1
SPACE_BITMAP = Struct("<H14xII")
"""TagIdentifier, NumberOfBits, NumberOfBytes; the bitmap follows, a bit set for each free block."""
UNALLOCATED_SPACE = Struct("<H34xI")
"""TagIdentifier, LengthOfAllocationDescriptors; those follow."""
BITMAP_ID, SPACE_ENTRY_ID = 264, 263
TABLE_AT, BITMAP_AT, FREED_TABLE_AT, FREED_BITMAP_AT = 0, 8, 24, 32
"""Where in a partition header descriptor the tables and bitmaps of unallocated and freed space are named."""


def has_space(partitions: Iterable[Any]) -> bool:
    """Whether any of these partition descriptors names a bitmap or table."""
    return any(length for partition in partitions for _, length, _ in _named(partition))


def count_free(partitions: tuple[Any, ...], block_size: int, reader: Reader) -> Space:
    """Free bytes of all partitions that have a bitmap or a table."""
    free, found = 0, ""
    for partition in partitions:
        start = partition.PartitionStartingLocation * block_size
        for at, length, block in _named(partition):
            place = start + block * block_size
            if at in (BITMAP_AT, FREED_BITMAP_AT):
                bits = _bitmap(place, length, partition.PartitionLength, reader)
                free, found = free + bits, "space bitmap"
            else:
                free, found = free + _table(place, length, reader) // block_size, "unallocated space table"
    return Space(free=free * block_size, found=found)


def _named(partition: Any) -> Iterator[tuple[int, int, int]]:
    """Where in the header each structure that is there stands, its length in bytes, and its block."""
    for at in (TABLE_AT, BITMAP_AT, FREED_TABLE_AT, FREED_BITMAP_AT):
        length, block = ALLOCATION.unpack_from(partition.PartitionContentsUse, at)
        if length & LENGTH and length >> 30 in (0, 1):
            yield at, length & LENGTH, block


def _bitmap(place: int, length: int, blocks: int, reader: Reader) -> int:
    identifier, bits, size = SPACE_BITMAP.unpack_from(reader.read(place, SPACE_BITMAP.size))
    if (
        identifier != BITMAP_ID
        or bits > blocks
        or size < (bits + 7) // 8
        or size + SPACE_BITMAP.size > length
    ):
        raise NotThisFormat(f"no space bitmap at {place}")
    return count_ones(reader.pieces(place + SPACE_BITMAP.size, (bits + 7) // 8), bits)


def _table(place: int, length: int, reader: Reader) -> int:
    raw = reader.read(place, min(length, 64 << 10))
    identifier, size = UNALLOCATED_SPACE.unpack_from(raw.ljust(UNALLOCATED_SPACE.size, b"\0"))
    if identifier != SPACE_ENTRY_ID or UNALLOCATED_SPACE.size + size > len(raw):
        raise NotThisFormat(f"no unallocated space entry at {place}")
    total = 0
    for at in range(UNALLOCATED_SPACE.size, UNALLOCATED_SPACE.size + size // 8 * 8, 8):
        extent, _ = ALLOCATION.unpack_from(raw, at)
        if extent >> 30 == 3:
            raise NotThisFormat("a table that goes on elsewhere")
        total += extent & LENGTH
    return total
