"""Thin volumes: the blocks of a pool that each has, from the pool's metadata.

Layout: of the Linux kernel, drivers/md/dm-thin-metadata.c; in words,
Documentation/admin-guide/device-mapper/thin-provisioning.rst.
"""

from bisect import bisect_left
from collections.abc import Iterator
from struct import unpack

from construct import Bytes, Const, Int32ul, Int64ul, Struct

from pyimount.formats.layouts import layout
from pyimount.mapping.persistent_data import Blocks
from pyimount.mapping.raid import Device
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source

SECTOR = 512
SUPERBLOCK = layout(
    lambda: Struct(
        "csum" / Int32ul,
        "flags" / Int32ul,
        "blocknr" / Int64ul,
        "uuid" / Bytes(16),
        "magic" / Const(27022010, Int64ul),
        "version" / Int32ul,
        "time" / Int32ul,
        "trans_id" / Int64ul,
        "held_root" / Int64ul,
        "data_space_map_root" / Bytes(128),
        "metadata_space_map_root" / Bytes(128),
        "data_mapping_root" / Int64ul,
        "device_details_root" / Int64ul,
        "data_block_size" / Int32ul,
        "metadata_block_size" / Int32ul,
        "metadata_nr_blocks" / Int64ul,
        "compat_flags" / Int32ul,
        "compat_ro_flags" / Int32ul,
        "incompat_flags" / Int32ul,
    )
)
_XOR = 160774
_NEEDS_CHECK = 1
_TIME_BITS = 24
LARGEST_BLOCK = 1 << 30
"""Bytes: what the kernel allows."""


class ThinDevice(Record, kw_only=True):
    """What a pool says of one of its volumes: ``mapped`` bytes, and the transaction that made it."""

    mapped: int
    transaction: int


class ThinPool:
    """The metadata of a pool: which block of the pool's data every block of its volumes is.

    ``block``: its size in bytes. Raises ReadError when the superblock is damaged or not to be had.
    """

    __slots__ = ("_blocks", "_details", "_mappings", "block", "needs_check", "transaction")

    def __init__(self, metadata: Source) -> None:
        self._blocks = Blocks(metadata)
        header, _ = self._blocks.checked(0, SUPERBLOCK, _XOR)
        self.block = header.data_block_size * SECTOR
        if header.version not in (1, 2) or header.incompat_flags or header.metadata_block_size != 8:
            raise ReadError(
                f"the pool's metadata is of version {header.version}, with features not known here"
            )
        if not 0 < self.block <= LARGEST_BLOCK:
            raise ReadError(f"the pool has blocks of {self.block} bytes")
        self.transaction = int(header.trans_id)
        self.needs_check = bool(header.flags & _NEEDS_CHECK)
        self._mappings = header.data_mapping_root
        self._details = header.device_details_root

    def device(self, number: int) -> ThinDevice | None:
        """What is known of a volume, None where the pool has no such."""
        found = self._blocks.find(self._details, number)
        if found is None or len(found) != 24:
            return None
        mapped, transaction, _, _ = unpack("<QQII", found)
        return ThinDevice(mapped=mapped * self.block, transaction=transaction)

    def runs(self, device: int, first: int, end: int) -> Iterator[tuple[int | None, int]]:
        """The places of a volume's blocks from ``first`` to before ``end``: data block or None, how many."""
        found = self._blocks.find(self._mappings, device)
        if found is None or len(found) != 8:
            raise ReadError(f"the pool's metadata has no device {device}")
        root = int.from_bytes(found, "little")
        while first < end:
            leaf = self._blocks.leaf(root, first)
            stop = min(end, leaf.until)
            number = bisect_left(leaf.keys, first)
            while number < len(leaf.keys) and leaf.keys[number] < stop:
                key = leaf.keys[number]
                if key > first:
                    yield None, key - first
                place = leaf.values[number] >> _TIME_BITS
                start, most = number, min(len(leaf.keys), number + stop - key)
                while (
                    number < most
                    and leaf.keys[number] == key + number - start
                    and leaf.values[number] >> _TIME_BITS == place + number - start
                ):
                    number += 1
                yield place, number - start
                first = key + number - start
            if stop > first:
                yield None, stop - first
                first = stop


class ThinSource(Source):
    """A thin volume. What was never written is zeros, or what ``origin``, outside the pool, has there."""

    __slots__ = ("_data", "_device", "_origin", "_pool")

    def __init__(self, pool: ThinPool, data: Source, device: int, size: int, origin: Source | None) -> None:
        self.size = size
        self._pool = pool
        self._data = Device(data, 0, data.size)
        self._device = device
        self._origin = origin

    def _read(self, offset: int, length: int) -> bytes:
        block, end = self._pool.block, offset + length
        parts = []
        at = offset // block * block
        for place, count in self._pool.runs(self._device, at // block, -(-end // block)):
            stop = min(at + count * block, end)
            start = max(at, offset)
            if place is None:
                parts.append(self._unmapped(start, stop - start))
            else:
                parts.append(self._data.read(place * block + start - at, stop - start))
            at += count * block
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _unmapped(self, offset: int, length: int) -> bytes:
        if self._origin is None:
            return bytes(length)
        # The origin may be the shorter of the two.
        return self._origin.read_at(offset, length).ljust(length, b"\0")
