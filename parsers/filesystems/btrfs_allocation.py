"""What btrfs' trees say: what is free, by its chunks and block groups; its devices.

Layout: btrfs.readthedocs.io, "On-disk format", "Btree", "BLOCK_GROUP_ITEM", "CHUNK_ITEM"
https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html

Used is what ``btrfs filesystem usage`` calls so: what the block groups have in use, times the copies that
their profile keeps; free is all else, allocated to block groups or not. statfs shows less by the global
reserve, which no structure on the disk says. What an unreplayed log holds is not counted.

Of one device of several the figures are the device's own, as its size is: what of a block group lies on it
is known where it has all of it, a copy or the only one, and not where it has stripes. Those of all devices
together are details.
"""

from collections.abc import Iterator
from struct import Struct

from pyimount.formats import Json, NotThisFormat
from pyimount.formats.allocation import Elsewhere, Reader, Space
from pyimount.records import Record

KEY = Struct("<QBQ")
"""objectid, type, offset."""
HEADER = Struct("<48xQ40xIB")
"""bytenr, nritems, level of a node."""
ITEM = Struct("<QBQII")
"""The key of an item in a leaf, and where its data lie, behind the header, and how many bytes."""
POINTER = Struct("<QBQQQ")
"""The key of the first item in a child, its logical address and generation."""
CHUNK = Struct("<QQQQIIIHH")
"""length, owner, stripe_len, type, io_align, io_width, sector_size, num_stripes, sub_stripes."""
STRIPE = Struct("<QQ16x")
"""devid, offset of each stripe behind a chunk."""
BLOCK_GROUP = Struct("<QQQ")
"""used, chunk_objectid, flags."""
ROOT_BYTENR_AT = 176
ROOT_ITEM, BLOCK_GROUP_ITEM, DEV_ITEM, CHUNK_ITEM = 132, 192, 216, 228
DEVICE_UUID_AT = 66
"""In a device's item, which is as the superblock's dev_item."""
EXTENT_TREE, BLOCK_GROUP_TREE = 2, 11
SYSTEM_CHUNKS_AT, SYSTEM_CHUNKS_SIZE = 811, 2048
"""Where the superblock keeps the chunks of the chunk tree itself, and how much room they have there."""

RAID0, RAID1, DUP, RAID10, RAID5, RAID6, RAID1C3, RAID1C4 = (1 << bit for bit in range(3, 11))
COPIES = {RAID1: 2, DUP: 2, RAID10: 2, RAID1C3: 3, RAID1C4: 4}
PROFILES = RAID0 | RAID1 | DUP | RAID10 | RAID5 | RAID6 | RAID1C3 | RAID1C4
LINEAR = RAID1 | DUP | RAID1C3 | RAID1C4
"""The profiles of which each stripe has all of a chunk, one after the other."""
MAX_LEVEL = 7
MAX_NODES = 1 << 16


class Chunk(Record):
    """A run of logical addresses, ``start`` and ``size``, and ``at``: where it lies on this device.

    ``own``: how many of its ``stripes`` are on this device.
    """

    start: int
    size: int
    profile: int
    stripes: int
    own: int
    at: int | None

    def on_devices(self, used: int) -> int:
        """What ``used`` bytes in it take on all devices: with their copies, or their parity."""
        parity = {RAID5: 1, RAID6: 2}.get(self.profile)
        if parity is None:
            return used * COPIES.get(self.profile, 1)
        if self.stripes <= parity:
            raise NotThisFormat(f"a chunk of {self.stripes} stripes with parity on {parity} of them")
        return used * self.stripes // (self.stripes - parity)

    def on_this(self, used: int) -> int | None:
        """What ``used`` bytes in it take on this device; None where nothing tells."""
        if self.profile & ~LINEAR == 0 or self.stripes == 1 or not self.own:
            return used * self.own
        return None


class FileSystem(Record, kw_only=True):
    """What the superblock says: addresses are logical, sizes bytes; ``system``: its array of chunks.

    ``devices``: how many it has; ``total``: the size of this one, ``all_total``: of all.
    """

    device: int
    devices: int
    total: int
    all_total: int
    used: int
    node_size: int
    root: int
    chunk_root: int
    system: bytes
    block_group_tree: bool


def count_free(fs: FileSystem, reader: Reader) -> Space:
    """Free and used bytes of the device, and of all together where there are others."""
    trees = _Trees(fs, reader)
    trees.chunks = [_chunk(fs, key[2], data) for key, data in _system(fs)]
    trees.chunks = [
        _chunk(fs, key[2], data) for key, data in trees.items(fs.chunk_root) if key[1] == CHUNK_ITEM
    ]
    copies = {chunk.on_devices(1) for chunk in trees.chunks if not chunk.profile & (RAID5 | RAID6)}
    if fs.devices == 1 and len(copies) == 1:
        # The sum over all block groups stands in the superblock, without their copies.
        used = fs.used * copies.pop()
        return Space(free=fs.total - used, used=used, found="superblock and chunk tree")
    tree = trees.root_of(BLOCK_GROUP_TREE if fs.block_group_tree else EXTENT_TREE)
    everywhere = logical = 0
    here: int | None = 0
    for chunk in trees.chunks:
        in_use, _, _ = BLOCK_GROUP.unpack_from(trees.find(tree, (chunk.start, BLOCK_GROUP_ITEM, chunk.size)))
        if in_use > chunk.size:
            raise NotThisFormat(f"{in_use} bytes used in a block group of {chunk.size}")
        everywhere += chunk.on_devices(in_use)
        logical += in_use
        own = chunk.on_this(in_use)
        here = None if here is None or own is None else here + own
    if logical != fs.used:
        raise NotThisFormat(f"the block groups have {logical} bytes in use, the superblock says {fs.used}")
    if fs.devices == 1:
        return Space(free=fs.total - everywhere, used=everywhere, found="block group items")
    if everywhere > fs.all_total:
        raise NotThisFormat(f"{everywhere} bytes used on devices of {fs.all_total}")
    together: dict[str, Json] = {
        "all_devices": {"size": fs.all_total, "free": fs.all_total - everywhere, "used": everywhere}
    }
    if here is None:
        together["free_unknown"] = "how full the stripes on this device are stands nowhere"
        return Space(free=None, found="block group items", details=together)
    return Space(free=fs.total - here, used=here, found="block group items", details=together)


def device_items(fs: FileSystem, reader: Reader) -> Iterator[tuple[int, bytes]]:
    """The number and UUID of every device of the file system, from its chunk tree.

    Raises NotThisFormat where that is damaged, Elsewhere where it is on another device; TooMuch and
    ShortRead as the reader does.
    """
    trees = _Trees(fs, reader)
    trees.chunks = [_chunk(fs, key[2], data) for key, data in _system(fs)]
    for (_, kind, number), data in trees.items(fs.chunk_root):
        if kind != DEV_ITEM:
            # They stand before the chunks.
            break
        yield number, data[DEVICE_UUID_AT : DEVICE_UUID_AT + 16]


def _system(fs: FileSystem) -> Iterator[tuple[tuple[int, int, int], bytes]]:
    at = 0
    while at + KEY.size + CHUNK.size <= len(fs.system):
        key = KEY.unpack_from(fs.system, at)
        stripes = CHUNK.unpack_from(fs.system, at + KEY.size)[7]
        end = at + KEY.size + CHUNK.size + stripes * STRIPE.size
        yield key, fs.system[at + KEY.size : end]
        at = end


def _chunk(fs: FileSystem, start: int, data: bytes) -> Chunk:
    if len(data) < CHUNK.size:
        raise NotThisFormat("a chunk that is cut off")
    size, _, _, kind, _, _, _, stripes, _ = CHUNK.unpack_from(data)
    if len(data) < CHUNK.size + stripes * STRIPE.size or not stripes or not size:
        raise NotThisFormat(f"a chunk of {size} bytes in {stripes} stripes")
    profile = kind & PROFILES
    places = [STRIPE.unpack_from(data, CHUNK.size + number * STRIPE.size) for number in range(stripes)]
    own = [offset for device, offset in places if device == fs.device]
    whole = profile & ~LINEAR == 0 or stripes == 1
    return Chunk(start, size, profile, stripes, len(own), own[0] if own and whole else None)


class _Trees:
    """The trees of a file system; each node is read once."""

    def __init__(self, fs: FileSystem, reader: Reader) -> None:
        self._fs = fs
        self._reader = reader
        self._nodes: dict[int, bytes] = {}
        self.chunks: list[Chunk] = []

    def root_of(self, tree: int) -> int:
        """The logical address of a tree's root."""
        item = self.find(self._fs.root, (tree, ROOT_ITEM, 0))
        if len(item) < ROOT_BYTENR_AT + 8:
            raise NotThisFormat(f"the root of tree {tree} is cut off")
        return int.from_bytes(item[ROOT_BYTENR_AT : ROOT_BYTENR_AT + 8], "little")

    def find(self, root: int, wanted: tuple[int, int, int]) -> bytes:
        """The data of the item with this key. Raises NotThisFormat where there is none."""
        address, level = root, None
        for _ in range(MAX_LEVEL + 1):
            node, count, level = self._node(address, level)
            if level == 0:
                for key, data in self._leaf(node, count):
                    if key == wanted and len(data) >= BLOCK_GROUP.size:
                        return data
                break
            children = [
                pointer[3]
                for at in range(count)
                if (pointer := POINTER.unpack_from(node, HEADER.size + at * POINTER.size))[:3] <= wanted
            ]
            if not children:
                break
            address = children[-1]
        raise NotThisFormat(f"no item {wanted}")

    def items(self, root: int) -> Iterator[tuple[tuple[int, int, int], bytes]]:
        """All items of a tree."""
        pending: list[tuple[int, int | None]] = [(root, None)]
        while pending:
            address, above = pending.pop()
            node, count, level = self._node(address, above)
            if level == 0:
                yield from self._leaf(node, count)
                continue
            pending += [
                (POINTER.unpack_from(node, HEADER.size + at * POINTER.size)[3], level)
                for at in reversed(range(count))
            ]

    def _node(self, address: int, above: int | None) -> tuple[bytes, int, int]:
        """A node, how many entries it has, and its level, which is the one below ``above``."""
        if address not in self._nodes:
            if len(self._nodes) >= MAX_NODES:
                raise NotThisFormat(f"trees of more than {MAX_NODES} nodes")
            self._nodes[address] = self._reader.read(self._place(address), self._fs.node_size)
        node = self._nodes[address]
        itself, count, level = HEADER.unpack_from(node)
        size = POINTER.size if level else ITEM.size
        if itself != address or level > MAX_LEVEL or HEADER.size + count * size > len(node):
            raise NotThisFormat(f"no node of a tree at {address}")
        if above is not None and level != above - 1:
            raise NotThisFormat(f"a tree that leads from level {above} to level {level}")
        return node, count, level

    def _place(self, address: int) -> int:
        for chunk in self.chunks:
            if chunk.start <= address < chunk.start + chunk.size:
                if chunk.at is None:
                    raise Elsewhere(f"the node at {address}, which tells it, is on another device")
                return chunk.at + address - chunk.start
        raise NotThisFormat(f"no chunk for the node at {address}")

    @staticmethod
    def _leaf(node: bytes, count: int) -> Iterator[tuple[tuple[int, int, int], bytes]]:
        for number in range(count):
            objectid, kind, offset, at, size = ITEM.unpack_from(node, HEADER.size + number * ITEM.size)
            yield (objectid, kind, offset), node[HEADER.size + at : HEADER.size + at + size]
