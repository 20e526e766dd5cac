"""A volume some of whose blocks are kept elsewhere: device-mapper's snapshots, caches and write caches.

Layouts: of the Linux kernel, drivers/md/dm-snap-persistent.c, dm-cache-metadata.c and dm-writecache.c.
Which blocks are kept elsewhere is read when the volume is first read, and kept as numbers, not as objects.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from struct import iter_unpack

from construct import Bytes, Const, Int32ul, Int64ul, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.mapping.persistent_data import Blocks
from pyimount.mapping.raid import Device
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source

SECTOR = 512
MOST_BLOCKS = 1 << 22
"""No more blocks of one volume are kept elsewhere, as far as is read here."""
_MOST_KEYS = 1 << 42
_RUN = 1 << 16
LARGEST_BLOCK = 1 << 30
_PIECE = 1 << 20

SNAPSHOT_HEADER = layout(
    lambda: Struct("magic" / Const(b"SnAp"), "valid" / Int32ul, "version" / Int32ul, "chunk_size" / Int32ul)
)
CACHE_SUPERBLOCK = layout(
    lambda: Struct(
        "csum" / Int32ul,
        "flags" / Int32ul,
        "blocknr" / Int64ul,
        "uuid" / Bytes(16),
        # The kernel writes it with a leading zero: octal.
        "magic" / Const(0o6142003, Int64ul),
        "version" / Int32ul,
        "policy_name" / Bytes(16),
        "policy_hint_size" / Int32ul,
        "metadata_space_map_root" / Bytes(128),
        "mapping_root" / Int64ul,
        "hint_root" / Int64ul,
        "discard_root" / Int64ul,
        "discard_block_size" / Int64ul,
        "discard_nr_blocks" / Int64ul,
        "data_block_size" / Int32ul,
        "metadata_block_size" / Int32ul,
        "cache_blocks" / Int32ul,
        "compat_flags" / Int32ul,
        "compat_ro_flags" / Int32ul,
        "incompat_flags" / Int32ul,
        "read_hits" / Int32ul,
        "read_misses" / Int32ul,
        "write_hits" / Int32ul,
        "write_misses" / Int32ul,
        "policy_version" / Bytes(12),
        "dirty_root" / Int64ul,
    )
)
WRITECACHE_SUPERBLOCK = layout(
    lambda: Struct(
        "magic" / Const(0x23489321, Int32ul),
        "version" / Int32ul,
        "block_size" / Int32ul,
        "pad" / Int32ul,
        "n_blocks" / Int64ul,
        "seq_count" / Int64ul,
        "padding" / Bytes(32),
    )
)
_CACHE_XOR = 9031977
_CLEAN_SHUTDOWN = 1
_MAPPING_VALID, _MAPPING_DIRTY = 1, 2
_NEVER = (1 << 64) - 1


class Replaced(Record):
    """Blocks of ``block`` bytes: those numbered in ``keys``, ascending, lie in ``store`` at ``places``."""

    block: int
    keys: Sequence[int]
    places: Sequence[int]
    store: Device


class OverlaySource(Source):
    """``origin``, but for the blocks that ``find`` gives; that is called once, on the first read.

    ``find`` raises ReadError where the blocks are not to be known.
    """

    __slots__ = ("_find", "_origin", "_replaced")

    def __init__(self, origin: Source, size: int, find: Callable[[], Replaced]) -> None:
        self.size = size
        self._origin = Device(origin, 0, origin.size)
        self._find = find
        self._replaced: Replaced | None = None

    def _read(self, offset: int, length: int) -> bytes:
        replaced = self._replaced
        if replaced is None:
            replaced = self._replaced = self._find()
        block, keys, places = replaced.block, replaced.keys, replaced.places
        end = offset + length
        parts = []
        number = bisect_left(keys, offset // block)
        while offset < end:
            start = min(keys[number] * block, end) if number < len(keys) else end
            if start > offset:
                parts.append(self._origin.read(offset, start - offset))
                offset = start
                continue
            first = number
            number += 1
            last = -(-end // block)
            while (
                number < len(keys)
                and keys[number] < last
                and keys[number] - keys[first] == number - first
                and places[number] - places[first] == (number - first) * block
            ):
                number += 1
            stop = min((keys[first] + number - first) * block, end)
            if stop > offset:
                parts.append(replaced.store.read(places[first] + offset - start, stop - offset))
                offset = stop
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _sorted(block: int, blocks: Iterable[tuple[int, int, int]], store: Source) -> Replaced:
    """The blocks ``(number, place, rank)`` by number; of several of one number the highest rank counts."""
    keys, places, ranks = array("Q"), array("Q"), array("Q")
    for key, place, rank in blocks:
        if len(keys) >= MOST_BLOCKS:
            raise ReadError(f"more than {MOST_BLOCKS} blocks are kept elsewhere")
        if key >= _MOST_KEYS:
            raise ReadError(f"block {key}, which is kept elsewhere, lies outside any volume")
        keys.append(key)
        places.append(place)
        ranks.append(rank)
    ordered, there = array("Q"), array("Q")
    best = -1
    for number in _order(keys):
        if ordered and ordered[-1] == keys[number]:
            if ranks[number] < best:
                continue
            ordered.pop()
            there.pop()
        ordered.append(keys[number])
        there.append(places[number])
        best = ranks[number]
    return Replaced(block, ordered, there, Device(store, 0, store.size))


def _order(keys: Sequence[int]) -> Iterator[int]:
    """The places of keys, by rising keys; sorted run by run, since a list of all would take much memory."""
    runs = []
    for start in range(0, len(keys), _RUN):
        run = range(start, min(len(keys), start + _RUN))
        runs.append(array("Q", sorted(keys[number] * MOST_BLOCKS + number for number in run)))
    return (packed % MOST_BLOCKS for packed in merge(*runs))


# Snapshots.


def snapshot_chunk(store: Source, otherwise: int) -> int:
    """The size of a snapshot's chunks in bytes, by the header of its store; ``otherwise`` before first use.

    Raises ReadError where the store is none, or is no longer valid.
    """
    raw = Device(store, 0, store.size).read(0, SNAPSHOT_HEADER.size)
    if not any(raw):
        return otherwise
    try:
        header = parse_struct(raw, SNAPSHOT_HEADER)
    except NotThisFormat as error:
        raise ReadError("the store of the snapshot has no header: it was transient, or is lost") from error
    chunk: int = header.chunk_size * SECTOR
    if not header.valid:
        raise ReadError("the snapshot is no longer valid: its store was too small")
    if header.version != 1 or not 0 < chunk <= LARGEST_BLOCK or chunk & (chunk - 1):
        raise ReadError(f"the store of the snapshot has version {header.version}, chunks of {chunk} bytes")
    return chunk


def snapshot(store: Source, chunk: int) -> Replaced:
    """The chunks that a snapshot keeps in its store."""
    chunk = snapshot_chunk(store, chunk)
    return _sorted(chunk, _exceptions(Device(store, 0, store.size), chunk), store)


def _exceptions(store: Device, chunk: int) -> Iterator[tuple[int, int, int]]:
    """Areas of exceptions, a chunk each, stand before the chunks that they tell of."""
    each = chunk // 16
    at = chunk
    while at + chunk <= store.size:
        for start in range(at, at + chunk, _PIECE):
            for old, new in iter_unpack("<QQ", store.read(start, min(_PIECE, at + chunk - start))):
                if not new:
                    return
                if new >= store.size // chunk:
                    raise ReadError(f"the snapshot's store has no chunk {new}")
                yield old, new * chunk, 0
        at += (each + 1) * chunk


# Caches.


class CacheState(Record, kw_only=True):
    """What a cache's metadata says: ``block`` in bytes, and how many blocks there are.

    ``clean``: it was shut down cleanly, and so knows which blocks the origin has not yet.
    """

    block: int
    blocks: int
    clean: bool


def cache_state(metadata: Source) -> CacheState:
    """Read the superblock of a cache; raises ReadError where it is damaged or not to be had."""
    header, _ = Blocks(metadata).checked(0, CACHE_SUPERBLOCK, _CACHE_XOR)
    block = header.data_block_size * SECTOR
    if header.version not in (1, 2) or header.incompat_flags or not 0 < block <= LARGEST_BLOCK:
        raise ReadError(f"the cache's metadata is of version {header.version}, its blocks of {block} bytes")
    return CacheState(block=block, blocks=header.cache_blocks, clean=bool(header.flags & _CLEAN_SHUTDOWN))


def cache(metadata: Source, data: Source) -> Replaced:
    """The blocks that a cache has and its origin has not; all blocks unless it was shut down cleanly."""
    state = cache_state(metadata)
    if state.blocks > MOST_BLOCKS:
        raise ReadError(f"the cache has {state.blocks} blocks, {MOST_BLOCKS} are read")
    return _sorted(state.block, _cached(Blocks(metadata), state), data)


def _cached(blocks: Blocks, state: CacheState) -> Iterator[tuple[int, int, int]]:
    header, _ = blocks.checked(0, CACHE_SUPERBLOCK, _CACHE_XOR)
    dirty: list[int] = []
    apart = header.version >= 2
    if apart and state.clean:
        for words in blocks.array(header.dirty_root, -(-state.blocks // 64)):
            dirty.extend(words)
    number = 0
    for mappings in blocks.array(header.mapping_root, state.blocks):
        for mapping in mappings:
            if mapping & _MAPPING_VALID:
                behind = dirty[number // 64] >> number % 64 & 1 if dirty else mapping & _MAPPING_DIRTY
                if behind or not state.clean:
                    yield mapping >> 16, number * state.block, 0
            number += 1


# Write caches.


class WritecacheState(Record, kw_only=True):
    """What a write cache's superblock says: ``block`` in bytes, how many there are, where they start.

    ``sequence``: that of the first block that was not committed.
    """

    block: int
    blocks: int
    start: int
    sequence: int


def writecache_state(store: Source) -> WritecacheState:
    """Read the superblock of a write cache; raises ReadError where it is none or not to be had."""
    device = Device(store, 0, store.size)
    try:
        header = parse_struct(device.read(0, WRITECACHE_SUPERBLOCK.size), WRITECACHE_SUPERBLOCK)
    except NotThisFormat as error:
        raise ReadError(f"the write cache has no superblock: {error}") from error
    block, count = header.block_size, header.n_blocks
    if header.version != 1 or not SECTOR <= block <= LARGEST_BLOCK or block & (block - 1):
        raise ReadError(f"the write cache is of version {header.version}, its blocks of {block} bytes")
    entries = WRITECACHE_SUPERBLOCK.size
    start = -(-(entries + count * 16) // block) * block
    if start + count * block > store.size or count > MOST_BLOCKS:
        raise ReadError(f"the write cache has {count} blocks, which are not all there or too many to read")
    return WritecacheState(block=block, blocks=count, start=start, sequence=header.seq_count)


def writecache(store: Source) -> Replaced:
    """The blocks that a write cache has and its origin has not."""
    state = writecache_state(store)
    device = Device(store, 0, store.size)
    written = _written(device, WRITECACHE_SUPERBLOCK.size, state.blocks, state.sequence)
    blocks = (
        (sector * SECTOR // state.block, state.start + number * state.block, rank)
        for number, sector, rank in written
    )
    return _sorted(state.block, blocks, store)


def _written(store: Device, start: int, count: int, sequence: int) -> Iterator[tuple[int, int, int]]:
    """The blocks committed before ``sequence``: number, sector of the origin, own sequence."""
    for first in range(0, count, _PIECE // 16):
        some = min(count - first, _PIECE // 16)
        entries = iter_unpack("<QQ", store.read(start + first * 16, some * 16))
        for number, (sector, own) in enumerate(entries, first):
            if sector != _NEVER and own < sequence:
                yield number, sector, own
