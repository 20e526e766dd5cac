"""APFS: which checkpoint counts, the walk to the volumes, and what is no container."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.recipes.apfs import (
    BLOCK,
    BLOCKS,
    FIRST_OID,
    LEAF_AT,
    OMAP_AT,
    RING,
    RING_BLOCKS,
    ROOT_AT,
    VOLUMES_AT,
    checkpoint_map,
    container,
    node,
    sealed,
    superblock,
    volume,
)
from pyimount.parsers.filesystems.apfs import FORMAT, NX_SUPERBLOCK
from pyimount.parsers.filesystems.apfs_objects import MAX_NODES, checksum
from pyimount.sources.source import BytesSource
from pyimount.sources.view import View
from tests.kept import ask, codes, put, recognise
from tests.strategies import edited, edits


def with_block(number: int, block: bytes) -> bytearray:
    """The container with another block."""
    image = container()
    put(image, number * BLOCK, block)
    return image


def names(image: bytes | bytearray) -> list[str | None]:
    return [inside.label for inside in recognise(FORMAT, image).volumes]


def test_the_checksum_is_the_books() -> None:
    block = bytes(range(256)) * 16
    assert checksum(block) == int.from_bytes(sealed(block)[:8], "little")
    ones = b"\xff" * BLOCK
    assert checksum(ones) == int.from_bytes(sealed(ones)[:8], "little")


def test_the_newest_whole_checkpoint_counts() -> None:
    found = recognise(FORMAT, container())
    assert (found.details["transaction"], found.checked, codes(found)) == (6, True, [])
    assert [inside.label for inside in found.volumes] == ["after", "secret"]


def test_a_torn_checkpoint_is_passed_over() -> None:
    image = container()
    image[(RING + 3) * BLOCK + 200] ^= 1
    found = recognise(FORMAT, image)
    assert (found.details["transaction"], [inside.label for inside in found.volumes]) == (
        5,
        ["before", "secret"],
    )


def test_the_ring_goes_round() -> None:
    image = bytearray(container())
    for at in range(RING, RING + RING_BLOCKS):
        put(image, at * BLOCK, bytes(BLOCK))
    for number, xid in enumerate((9, 10, 7, 8)):
        put(image, (RING + 2 * number) * BLOCK, checkpoint_map(xid))
        put(image, (RING + 2 * number + 1) * BLOCK, superblock(xid, 2 * number, 2))
    put(image, 0, superblock(6, 2, 2))
    assert recognise(FORMAT, image).details["transaction"] == 10


def test_older_checkpoints_are_not_newer() -> None:
    image = container()
    put(image, (RING + 4) * BLOCK, checkpoint_map(3))
    put(image, (RING + 5) * BLOCK, superblock(3, 4, 1))
    assert recognise(FORMAT, image).details["transaction"] == 6


def test_a_ring_of_nothing_but_maps_ends() -> None:
    image = container()
    for at in range(RING, RING + RING_BLOCKS):
        put(image, at * BLOCK, checkpoint_map(9))
    assert recognise(FORMAT, image).details["transaction"] == 5


def test_block_0_with_a_wrong_checksum() -> None:
    image = container()
    image[100] ^= 1
    put(image, (RING + 2) * BLOCK, bytes(2 * BLOCK))
    found = recognise(FORMAT, image)
    assert (found.checked, codes(found), names(image)) == (True, ["backup-used"], ["before", "secret"])
    image[(RING + 1) * BLOCK + 100] ^= 1
    found = recognise(FORMAT, image)
    assert (found.checked, codes(found)) == (False, ["bad-checksum"])


def test_without_block_0_the_ring_is_found() -> None:
    found = recognise(FORMAT, with_block(0, bytes(BLOCK)))
    assert (found.details["transaction"], codes(found)) == (6, ["backup-used"])


def test_a_scattered_ring_is_told() -> None:
    found = recognise(FORMAT, with_block(0, superblock(5, 0, 2, nx_xp_desc_base=1 << 63 | 5)))
    assert (codes(found), [inside.label for inside in found.volumes]) == (
        ["unsupported"],
        ["before", "secret"],
    )


def test_the_encrypted_volume_is_locked() -> None:
    plain, secret = recognise(FORMAT, container()).volumes
    assert (plain.locked, codes(plain)) == (None, [])
    assert (secret.locked, codes(secret)) == (True, ["locked"])


def test_a_volume_with_a_wrong_checksum_is_told() -> None:
    image = container()
    image[(VOLUMES_AT + 1) * BLOCK + 3000] ^= 1
    found = recognise(FORMAT, image)
    assert (codes(found), codes(found.volumes[0])) == ([], ["bad-checksum"])


@pytest.mark.parametrize(
    ("number", "block", "left"),
    [
        (OMAP_AT, bytes(BLOCK), []),
        (ROOT_AT, bytes(BLOCK), []),
        (ROOT_AT, node(2, 1, [((FIRST_OID, 5), ROOT_AT.to_bytes(8, "little"))]), []),
        (ROOT_AT, node(2, 1, [((FIRST_OID, 5), (1 << 63).to_bytes(8, "little"))]), []),
        (ROOT_AT, node(2, 1, []), []),
        (LEAF_AT, bytes(BLOCK), []),
        (VOLUMES_AT + 1, bytes(BLOCK), ["secret"]),
        (VOLUMES_AT + 2, volume(99, "other's"), ["after"]),
    ],
    ids=["omap", "root", "loop", "outside", "empty", "leaf", "volume", "another's"],
)
def test_a_damaged_map_costs_its_volumes_only(number: int, block: bytes, left: list[str]) -> None:
    image = with_block(number, block)
    found = recognise(FORMAT, image)
    assert found.uuid == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert [inside.label for inside in found.volumes] == left
    assert set(codes(found)) == {"damaged"}


def test_an_object_map_of_one_leaf() -> None:
    value = bytes(4) + BLOCK.to_bytes(4, "little") + VOLUMES_AT.to_bytes(8, "little")
    image = with_block(ROOT_AT, node(2, 0, [((FIRST_OID, 5), value)]))
    found = recognise(FORMAT, image)
    assert ([inside.label for inside in found.volumes], codes(found)) == (["before"], ["damaged"])


def test_a_deleted_volume_is_not_there() -> None:
    value = (1).to_bytes(4, "little") + BLOCK.to_bytes(4, "little") + VOLUMES_AT.to_bytes(8, "little")
    image = with_block(ROOT_AT, node(2, 0, [((FIRST_OID, 5), value)]))
    assert recognise(FORMAT, image).volumes == ()


@pytest.mark.parametrize("count", [1000, 0xFFFFFFFF])
def test_more_keys_than_a_node_holds_are_not_read(count: int) -> None:
    image = container()
    put(image, LEAF_AT * BLOCK + 36, count.to_bytes(4, "little"))
    assert set(codes(recognise(FORMAT, image))) == {"damaged"}


def test_without_the_space_manager_free_is_not_known() -> None:
    found = recognise(FORMAT, with_block(RING + 2, checkpoint_map(6)[: BLOCK - 4] + b"oops"))
    assert found.free == 7 * BLOCK  # the map's checksum is not what matters here
    image = container()
    put(image, (RING + 2) * BLOCK + 36, bytes(4))
    found = recognise(FORMAT, image)
    assert (found.free, codes(found)) == (None, ["damaged"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"o_type": 0x80000002},
        {"o_subtype": 1},
        {"nx_block_size": 0},
        {"nx_block_size": 512},
        {"nx_block_size": 4097},
        {"nx_block_count": 0},
        {"nx_max_file_systems": 101},
    ],
)
def test_what_is_no_container(wrong: dict[str, int]) -> None:
    image = bytearray(BLOCKS * BLOCK)
    put(image, 0, superblock(5, 0, 2, **wrong))
    assert ask(FORMAT, image) is None


@pytest.mark.parametrize("size", [0, 36, 1000, NX_SUPERBLOCK.size - 1])
def test_an_image_that_ends_before_it_is_none(size: int) -> None:
    assert ask(FORMAT, container()[:size]) is None


@pytest.mark.parametrize("blocks", [1, 2, 5, 20, 21, 30])
def test_an_image_that_ends_early_is_a_container_still(blocks: int) -> None:
    assert recognise(FORMAT, container()[: blocks * BLOCK]).uuid == "00010203-0405-0607-0809-0a0b0c0d0e0f"


class _Counted(BytesSource):
    """Counts what is read."""

    __slots__ = ("bytes_read",)

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.bytes_read = 0

    def _read(self, offset: int, length: int) -> bytes:
        self.bytes_read += length
        return super()._read(offset, length)


def test_a_hundred_volumes_and_a_ring_of_lies_cost_little() -> None:
    image = container()
    lies = superblock(5, 0, 100, nx_xp_desc_blocks=60, nx_xp_desc_len=0xFFFFFFFF)
    put(image, 0, lies)
    source = _Counted(bytes(image))
    FORMAT.parse(View(source))
    assert source.bytes_read < (MAX_NODES + BLOCKS) * BLOCK


_BASE = bytes(container())
_HOT = (0, RING * BLOCK, (RING + 3) * BLOCK, OMAP_AT * BLOCK, ROOT_AT * BLOCK, LEAF_AT * BLOCK)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(_HOT), edits(256, most=6))
def test_any_change_is_answered(start: int, changes: list[tuple[int, bytes]]) -> None:
    ask(FORMAT, _BASE[:start] + edited(_BASE[start : start + 256], changes) + _BASE[start + 256 :])
