"""JFS: two superblocks, sizes, the block map, and where log and fsck's space lie."""

import pytest

from fixtures.structures import changed
from pyimount.parsers.filesystems.jfs import BLOCK_MAP, BLOCK_MAP_AT, FORMAT, PRIMARY, SECONDARY, SUPERBLOCK
from tests.kept import ask, codes, kept, put, recognise

NEAR = 72 << 10


def image() -> bytearray:
    return kept("jfs", NEAR)


def test_the_declaration_has_the_length_that_the_format_says() -> None:
    assert SUPERBLOCK.size == 184


@pytest.mark.parametrize(
    "fields",
    [
        {"s_l2bsize": 11},
        {"s_l2bsize": 0xFFFF},
        {"s_bsize": 4095},
        {"s_pbsize": 1024},
        {"s_l2pbsize": 40},
        {"s_l2bfactor": 2},
        {"s_size": 0},
        {"s_size": 1 << 60},
        {"s_agsize": 0},
    ],
)
def test_the_second_superblock_when_the_first_contradicts_itself(fields: dict[str, int]) -> None:
    damaged = changed(image(), SUPERBLOCK, PRIMARY, **fields)
    found = recognise(FORMAT, damaged)
    assert (found.offset, found.label, codes(found)) == (SECONDARY, "warped", ["backup-used"])
    assert ask(FORMAT, changed(damaged, SUPERBLOCK, SECONDARY, **fields)) is None


def test_the_block_map_counts_only_where_it_is_one() -> None:
    assert recognise(FORMAT, image()).free
    for fields in ({"dn_mapsize": 7}, {"dn_nfree": 1 << 60}):
        assert recognise(FORMAT, changed(image(), BLOCK_MAP, BLOCK_MAP_AT, **fields)).free is None
    assert recognise(FORMAT, image()[:BLOCK_MAP_AT]).free is None


@pytest.mark.parametrize(("state", "word"), [(0, "clean"), (1, "dirty"), (2, "dirty"), (6, "error")])
def test_state(state: int, word: str) -> None:
    assert recognise(FORMAT, changed(image(), SUPERBLOCK, PRIMARY, s_state=state)).state == word


def test_a_log_elsewhere() -> None:
    log = bytes.fromhex("5eed5eed0000400080000123456789ab")
    fields = {"s_flag": 0x10000100, "s_logdev": 0x811, "s_loguuid": log}
    found = recognise(FORMAT, changed(image(), SUPERBLOCK, PRIMARY, **fields))
    assert found.details["log_uuid"] == "5eed5eed-0000-4000-8000-0123456789ab"
    assert found.details["log_device"] == 0x811
    # The inline log came last, 256 blocks of 4 KiB.
    assert found.fs_size == (16 << 20) - found.details["log_blocks"] * 4096


@pytest.mark.parametrize("cut", [PRIMARY + 4, PRIMARY + SUPERBLOCK.size - 1])
def test_cut_off_in_the_first_superblock(cut: int) -> None:
    assert ask(FORMAT, image()[:cut]) is None


def test_a_damaged_second_superblock_does_not_matter() -> None:
    damaged = image()
    put(damaged, SECONDARY, bytes(512))
    assert codes(recognise(FORMAT, damaged)) == []
