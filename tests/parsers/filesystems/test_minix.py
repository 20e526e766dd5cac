"""Minix: a magic of two bytes, so every figure must fit the others."""

import pytest

from fixtures.structures import changed
from pyimount.parsers.filesystems.minix import FORMAT, OFFSET, SUPERBLOCK, SUPERBLOCK_3
from tests.kept import ask, kept, recognise


def test_the_declarations_have_the_length_that_the_format_says() -> None:
    assert SUPERBLOCK.size == 24
    assert SUPERBLOCK_3.size == 32


@pytest.mark.parametrize(
    "fields",
    [
        {"s_ninodes": 0},
        {"s_ninodes": 0xFFFF},
        {"s_imap_blocks": 0},
        {"s_imap_blocks": 0xFFFF},
        {"s_zmap_blocks": 0},
        {"s_firstdatazone": 2},
        {"s_firstdatazone": 0xFFFF},
        {"s_log_zone_size": 5},
        {"s_log_zone_size": 0xFFFF},
        {"s_state": 4},
        {"s_nzones": 0},
        {"s_nzones": 0xFFFF},
    ],
)
def test_figures_that_contradict_one_another(fields: dict[str, int]) -> None:
    assert ask(FORMAT, changed(kept("minix-1"), SUPERBLOCK, OFFSET, **fields)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"s_blocksize": 0},
        {"s_blocksize": 1000},
        {"s_ninodes": 0xFFFFFFFF},
        {"s_zones": 0xFFFFFFFF},
        {"s_zones": 3},
        {"s_imap_blocks": 0},
    ],
)
def test_figures_of_version_3(fields: dict[str, int]) -> None:
    assert ask(FORMAT, changed(kept("minix-3"), SUPERBLOCK_3, OFFSET, **fields)) is None


def test_version_3_may_leave_its_first_data_zone_to_be_reckoned() -> None:
    found = recognise(FORMAT, changed(kept("minix-3"), SUPERBLOCK_3, OFFSET, s_firstdatazone=0))
    assert found.version == "3"


@pytest.mark.parametrize(("state", "word"), [(0, "dirty"), (1, "clean"), (2, "error"), (3, "error")])
def test_state(state: int, word: str) -> None:
    assert recognise(FORMAT, changed(kept("minix-2"), SUPERBLOCK, OFFSET, s_state=state)).state == word


@pytest.mark.parametrize("cut", [OFFSET + 18, OFFSET + 23])
def test_cut_off_in_the_superblock(cut: int) -> None:
    assert ask(FORMAT, kept("minix-1", cut)) is None


def test_an_ext_superblock_with_the_magic_is_none() -> None:
    """The magic of Minix falls on a count in ext's superblock, and so may stand in any."""
    ext = kept("ext2")
    ext[OFFSET + 16 : OFFSET + 18] = b"\x7f\x13"
    assert ask(FORMAT, ext) is None
