"""Blocks that are kept elsewhere: snapshots, caches and write caches, built from the declarations."""

import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest

from pyimount.formats.checksums import crc32c
from pyimount.mapping import overlay
from pyimount.mapping.overlay import CACHE_SUPERBLOCK, WRITECACHE_SUPERBLOCK, OverlaySource, Replaced
from pyimount.mapping.persistent_data import ARRAY_BLOCK, BLOCK, NODE_HEADER, Blocks
from pyimount.mapping.raid import Device
from pyimount.mapping.thin import SUPERBLOCK, ThinPool, ThinSource
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource

CHUNK = 4096
NODE, ARRAY, CACHE, THIN = 121107, 595846735, 9031977, 160774
"""What the checksum of each kind of block is mixed with: dm-btree-spine.c, dm-array.c, …-metadata.c."""


def summed(block: bytes, xor: int) -> bytes:
    block = block.ljust(BLOCK, b"\0")
    return struct.pack("<I", crc32c(block[4:]) ^ xor) + block[4:]


def node(number: int, entries: Mapping[int, bytes], *, leaf: bool = True, size: int = 8) -> bytes:
    most = (BLOCK - NODE_HEADER.size) // (8 + size)
    header = NODE_HEADER.construct.build(
        {
            "csum": 0, "flags": 2 if leaf else 1, "blocknr": number, "nr_entries": len(entries),
            "max_entries": most, "value_size": size, "padding": bytes(4),
        }
    )  # fmt: skip
    keys = struct.pack(f"<{len(entries)}Q", *entries).ljust(8 * most, b"\0")
    return summed(header + keys + b"".join(entries.values()), NODE)


def numbers(entries: Mapping[int, int]) -> dict[int, bytes]:
    return {key: struct.pack("<Q", value) for key, value in entries.items()}


def array_block(number: int, values: Sequence[int]) -> bytes:
    header = ARRAY_BLOCK.construct.build(
        {"csum": 0, "max_entries": 509, "nr_entries": len(values), "value_size": 8, "blocknr": number}
    )
    return summed(header + struct.pack(f"<{len(values)}Q", *values), ARRAY)


def superblock(declared: object, xor: int, facts: Mapping[str, object]) -> bytes:
    fields = {field.name: 0 for field in declared.subcons if field.name != "magic"}  # type: ignore[attr-defined]
    for name in ("uuid", "policy_name", "metadata_space_map_root", "data_space_map_root", "policy_version"):
        if name in fields:
            fields[name] = bytes(declared._subcons[name].sizeof())  # type: ignore[attr-defined]
    return summed(declared.build({**fields, **facts}), xor)  # type: ignore[attr-defined]


def cache_metadata(version: int, mappings: Sequence[int], dirty: int, *, clean: bool) -> bytes:
    facts = {
        "version": version, "flags": int(clean), "mapping_root": 1, "dirty_root": 3,
        "data_block_size": CHUNK // 512, "metadata_block_size": 8, "cache_blocks": len(mappings),
    }  # fmt: skip
    return b"".join(
        (
            superblock(CACHE_SUPERBLOCK.construct, CACHE, facts),
            node(1, numbers({0: 2})),
            array_block(2, mappings),
            node(3, numbers({0: 4})),
            array_block(4, [dirty]),
        )
    )


def plain(letters: str) -> bytes:
    return b"".join(letter.encode() * CHUNK for letter in letters)


def cached(metadata: bytes) -> str:
    data = BytesSource(plain("0123"))
    find = lambda: overlay.cache(BytesSource(metadata), data)  # noqa: E731
    source = OverlaySource(BytesSource(plain("abcdef")), 6 * CHUNK, find)
    return source.read_at(0, 6 * CHUNK)[::CHUNK].decode()


def mapping(origin: int, *, dirty: bool = False) -> int:
    return origin << 16 | 1 | 2 * dirty


MAPPINGS = [mapping(4), mapping(1, dirty=True), 0, mapping(5, dirty=True)]


def test_a_clean_cache_has_what_is_dirty() -> None:
    assert cached(cache_metadata(1, MAPPINGS, 0, clean=True)) == "a1cde3"
    # Of version 2, bits of their own say what is dirty.
    assert cached(cache_metadata(2, MAPPINGS, 0b1001, clean=True)) == "abcd03"


def test_a_cache_that_was_in_use_has_all_that_it_holds() -> None:
    for version in (1, 2):
        assert cached(cache_metadata(version, MAPPINGS, 0, clean=False)) == "a1cd03"


@pytest.mark.parametrize("block", range(3))
def test_damaged_metadata_of_a_cache(block: int) -> None:
    metadata = bytearray(cache_metadata(1, MAPPINGS, 0, clean=True))
    metadata[block * BLOCK + 100] ^= 1
    with pytest.raises(ReadError):
        cached(bytes(metadata))


def test_a_cache_of_more_blocks_than_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "MOST_BLOCKS", 3)
    with pytest.raises(ReadError):
        cached(cache_metadata(1, MAPPINGS, 0, clean=True))


def replaced(blocks: Mapping[int, int], store: bytes) -> Replaced:
    keys = sorted(blocks)
    return Replaced(
        CHUNK, keys, [blocks[key] * CHUNK for key in keys], Device(BytesSource(store), 0, len(store))
    )


def test_any_piece_of_a_volume_with_replaced_blocks() -> None:
    kept = replaced({0: 2, 2: 0, 3: 1, 5: 3}, plain("0123"))
    source = OverlaySource(BytesSource(plain("abcdef")), 6 * CHUNK, lambda: kept)
    whole = plain("2b01e3")
    for start, end in pairwise(range(0, 6 * CHUNK, 511)):
        assert source.read_at(start, 3 * CHUNK) == whole[start : start + 3 * CHUNK]
        assert source.read_at(start, end - start) == whole[start:end]


def test_blocks_in_any_order_and_more_than_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "_RUN", 3)
    store = BytesSource(bytes(CHUNK))
    found = overlay._sorted(CHUNK, [(9, 1, 0), (2, 2, 5), (7, 3, 0), (2, 4, 4), (0, 5, 0), (9, 6, 0)], store)
    assert list(zip(found.keys, found.places, strict=True)) == [(0, 5), (2, 2), (7, 3), (9, 6)]
    with pytest.raises(ReadError):
        overlay._sorted(CHUNK, [(1 << 42, 0, 0)], store)


# Snapshots.


def store_of(exceptions: Sequence[tuple[int, int]], data: bytes, valid: int = 1) -> bytes:
    header = b"SnAp" + struct.pack("<III", valid, 1, CHUNK // 512)
    area = b"".join(struct.pack("<QQ", old, new) for old, new in exceptions)
    return header.ljust(CHUNK, b"\0") + area.ljust(CHUNK, b"\0") + data


def snapshot(store: bytes) -> bytes:
    source = OverlaySource(
        BytesSource(plain("abc")), 3 * CHUNK, lambda: overlay.snapshot(BytesSource(store), CHUNK)
    )
    return source.read_at(0, 3 * CHUNK)


def test_a_snapshot_has_its_exceptions() -> None:
    assert snapshot(store_of([(2, 3), (0, 2)], plain("xy"))) == plain("xby")


def test_a_second_area_stands_behind_all_chunks_of_the_first() -> None:
    each = CHUNK // 16
    full = store_of([(5, 2)] * each, bytes(each * CHUNK))
    assert (
        snapshot(full + struct.pack("<QQ", 1, 2).ljust(CHUNK, b"\0"))
        == b"a" * CHUNK + bytes(CHUNK) + b"c" * CHUNK
    )


@pytest.mark.parametrize(
    "store",
    [
        store_of([], b"", valid=0),
        b"what".ljust(3 * CHUNK, b"\0"),
        store_of([(0, 9)], plain("x")),
        b"SnAp" + struct.pack("<III", 1, 1, 0) + bytes(CHUNK),
        b"SnAp" + struct.pack("<III", 1, 1, 0xFFFFFFFF) + bytes(CHUNK),
        b"SnAp" + struct.pack("<III", 1, 2, 8) + bytes(CHUNK),
        b"SnAp",
    ],
)
def test_a_store_that_is_none(store: bytes) -> None:
    with pytest.raises(ReadError):
        snapshot(store)


def test_a_store_that_ends_early_is_read_as_far_as_it_goes() -> None:
    assert snapshot(store_of([], b"")[:CHUNK]) == plain("abc")


# Write caches.


def write_cache(entries: Sequence[tuple[int, int]], committed: int, **facts: int) -> bytes:
    said = {
        "version": 1, "block_size": CHUNK, "pad": 0, "n_blocks": len(entries), "seq_count": committed,
        "padding": bytes(32), **facts,
    }  # fmt: skip
    head = WRITECACHE_SUPERBLOCK.construct.build(said)
    return (head + b"".join(struct.pack("<QQ", *entry) for entry in entries)).ljust(CHUNK, b"\0") + plain(
        "0123"
    )


def through(store: bytes) -> str:
    source = OverlaySource(
        BytesSource(plain("abcd")), 4 * CHUNK, lambda: overlay.writecache(BytesSource(store))
    )
    return source.read_at(0, 4 * CHUNK)[::CHUNK].decode()


def test_a_write_cache_has_what_was_committed_last() -> None:
    never = (1 << 64) - 1
    entries = [(8, 3), (never, never), (8, 5), (24, 7)]
    # The last came after the last commit.
    assert through(write_cache(entries, 7)) == "a2cd"
    assert through(write_cache(entries, 8)) == "a2c3"
    assert through(write_cache(entries, 4)) == "a0cd"


@pytest.mark.parametrize(
    "facts", [{"version": 3}, {"block_size": 0}, {"block_size": 700}, {"n_blocks": 5}, {"n_blocks": 1 << 60}]
)
def test_a_write_cache_that_is_none(facts: dict[str, int]) -> None:
    with pytest.raises(ReadError):
        through(write_cache([(8, 3)] * 4, 9, **facts))


# Thin volumes.


def thin_metadata(mapping_blocks: Sequence[bytes], **facts: int) -> bytes:
    said = {
        "version": 2, "data_mapping_root": 1, "device_details_root": 2, "data_block_size": CHUNK // 512,
        "metadata_block_size": 8, "trans_id": 7, **facts,
    }  # fmt: skip
    details = node(2, {5: struct.pack("<QQII", 3, 6, 0, 0)}, size=24)
    blocks = (
        superblock(SUPERBLOCK.construct, THIN, said),
        node(1, numbers({5: 3})),
        details,
        *mapping_blocks,
    )
    return b"".join(blocks)


def place(block: int) -> int:
    return block << 24 | 9


def thin(metadata: bytes, size: int = 6 * CHUNK) -> ThinSource:
    return ThinSource(ThinPool(BytesSource(metadata)), BytesSource(plain("0123")), 5, size, None)


LEAF = node(3, numbers({1: place(2), 2: place(3), 4: place(0)}))
TREE = (
    node(3, numbers({0: 4, 3: 5}), leaf=False),
    node(4, numbers({1: place(2), 2: place(3)})),
    node(5, numbers({4: place(0)})),
)


@pytest.mark.parametrize("blocks", [(LEAF,), TREE])
def test_a_thin_volume(blocks: Sequence[bytes]) -> None:
    metadata, whole = thin_metadata(blocks), plain("\x0023\x000\0")
    source = thin(metadata)
    assert source.read_at(0, source.size) == whole
    for start in range(0, source.size, 1023):
        assert source.read_at(start, 5000) == whole[start : start + 5000]
    pool = ThinPool(BytesSource(metadata))
    device = pool.device(5)
    assert device is not None
    assert (device.mapped, device.transaction, pool.transaction) == (3 * CHUNK, 6, 7)
    assert pool.device(6) is None


def test_a_damaged_leaf_takes_only_its_own_blocks() -> None:
    metadata = bytearray(thin_metadata(TREE))
    metadata[5 * BLOCK + 50] ^= 1
    source = thin(bytes(metadata))
    assert source.read_at(0, 3 * CHUNK) == plain("\x0023")
    with pytest.raises(ReadError, match="block 5 of the metadata is damaged"):
        source.read_at(4 * CHUNK, 1)


@pytest.mark.parametrize(
    "blocks",
    [
        (),
        (node(3, numbers({0: 3}), leaf=False),),
        (node(3, numbers({0: 99}), leaf=False),),
        (node(3, numbers({0: place(4)})),),
        (node(4, numbers({0: place(0)})),),
        (node(3, {0: bytes(16)}, size=16),),
        (node(3, numbers({3: 4, 0: 4}), leaf=False), node(4, numbers({5: place(1), 0: place(1)}))),
    ],
)
def test_a_tree_that_is_none(blocks: Sequence[bytes]) -> None:
    with pytest.raises(ReadError):
        thin(thin_metadata(blocks)).read_at(0, 6 * CHUNK)


@pytest.mark.parametrize(
    "facts",
    [{"version": 3}, {"data_block_size": 0}, {"data_block_size": 1 << 31}, {"incompat_flags": 1},
     {"metadata_block_size": 16}],
)  # fmt: skip
def test_a_pool_that_is_none(facts: dict[str, int]) -> None:
    with pytest.raises(ReadError):
        ThinPool(BytesSource(thin_metadata((LEAF,), **facts)))


def test_a_node_that_claims_more_than_a_block() -> None:
    data = bytearray(node(0, {}))
    struct.pack_into("<II", data, 16, 500, 500)
    with pytest.raises(ReadError, match="no node"):
        Blocks(BytesSource(summed(bytes(data), NODE))).find(0, 0)
