"""Device-mapper's own: verity, integrity, snapshots, VDO: figures that cannot be true, damage, versions."""

import pytest

from fixtures.recipes.device_mapper import integrity_superblock, vdo_geometry, vdo_super_block
from pyimount.parsers.encryption import dm_integrity, dm_verity
from pyimount.parsers.volumes import dm_snapshot, vdo
from tests.kept import ask, codes, kept, put, recognise


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (8, b"\2"),
        (12, b"\2"),
        (32, bytes(32)),
        (32, b"\1"),
        (64, b"\1"),
        (68, bytes(4)),
        (80, b"\1\1"),
    ],
)
def test_a_verity_superblock_that_cannot_be_true(at: int, data: bytes) -> None:
    image = kept("dm-verity", 512)
    assert ask(dm_verity.FORMAT, image) is not None
    assert ask(dm_verity.FORMAT, image[:-1]) is None
    put(image, at, data)
    assert ask(dm_verity.FORMAT, image) is None


@pytest.mark.parametrize("version", range(1, 7))
def test_every_version_of_integrity(version: int) -> None:
    found = recognise(dm_integrity.FORMAT, integrity_superblock(version=version, flags=0x21))
    assert (found.version, found.details["flags"]) == (str(version), ["have_journal_mac", "inline"])
    assert (found.details["recalculated_size"], codes(found)) == (None, [])


@pytest.mark.parametrize(
    "lie",
    [
        {"version": 0},
        {"version": 7},
        {"log2_interleave_sectors": -1},
        {"log2_sectors_per_block": 4},
        {"log2_blocks_per_bitmap_bit": 99},
    ],
)
def test_an_integrity_superblock_that_cannot_be_true(lie: dict[str, int]) -> None:
    assert ask(dm_integrity.FORMAT, integrity_superblock(**lie)) is None
    assert ask(dm_integrity.FORMAT, integrity_superblock()[:-1]) is None


def snapshot(valid: int = 1, version: int = 1, chunk: int = 8) -> bytes:
    fields = {"magic": dm_snapshot.MAGIC, "valid": valid, "version": version, "chunk_size": chunk}
    return bytes(dm_snapshot.HEADER.construct.build(fields))


def test_a_snapshot_that_has_overflowed() -> None:
    assert recognise(dm_snapshot.FORMAT, snapshot(valid=0)).state == "invalid"


@pytest.mark.parametrize(
    "header", [snapshot(2), snapshot(1, 2), snapshot(chunk=0), snapshot(chunk=24), snapshot(chunk=1 << 30)]
)
def test_four_letters_alone_are_no_snapshot(header: bytes) -> None:
    assert ask(dm_snapshot.FORMAT, snapshot()) is not None
    assert ask(dm_snapshot.FORMAT, header) is None
    assert ask(dm_snapshot.FORMAT, snapshot()[:-1]) is None


def vdo_image(geometry: bytes, super_block: bytes) -> bytearray:
    image = bytearray(17 * 4096)
    put(image, 0, geometry)
    put(image, 16 * 4096, super_block)
    return image


@pytest.mark.parametrize("version", [4, 5])
def test_both_geometries_of_vdo(version: int) -> None:
    found = recognise(vdo.FORMAT, vdo_image(vdo_geometry(version), vdo_super_block()))
    assert (found.checked, found.state, found.fs_size, codes(found)) == (True, "clean", 2 << 20, [])


def test_damage_to_vdo_is_told() -> None:
    image = vdo_image(vdo_geometry(), vdo_super_block())
    image[45] ^= 1
    assert codes(recognise(vdo.FORMAT, image)) == ["bad-checksum"]
    image[16 * 4096 + 60] ^= 1
    found = recognise(vdo.FORMAT, image)
    assert (codes(found), found.fs_size, found.state) == (["bad-checksum", "damaged"], None, None)
    assert codes(recognise(vdo.FORMAT, image[:4096])) == ["bad-checksum", "damaged"]


def test_a_super_block_of_another_vdo() -> None:
    assert codes(recognise(vdo.FORMAT, vdo_image(vdo_geometry(), vdo_super_block(nonce=7)))) == ["damaged"]


def test_a_super_block_that_is_too_long() -> None:
    image = vdo_image(vdo_geometry(), vdo_super_block(size=1 << 40))
    assert codes(recognise(vdo.FORMAT, image)) == ["damaged"]


@pytest.mark.parametrize(("at", "data"), [(8, b"\4"), (12, b"\6"), (12, b"\4"), (20, b"\xff")])
def test_a_geometry_that_cannot_be_true(at: int, data: bytes) -> None:
    image = vdo_image(vdo_geometry(), vdo_super_block())
    put(image, at, data)
    assert ask(vdo.FORMAT, image) is None
