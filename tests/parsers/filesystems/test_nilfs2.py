"""NILFS2: two superblocks, of which the newer counts, and their checksums."""

import zlib

import pytest

from fixtures.structures import changed
from pyimount.parsers.filesystems.nilfs2 import FORMAT, OFFSET, PAGE, SUPERBLOCK
from tests.kept import ask, codes, kept, put, recognise

SIZE = 2 << 20
SECOND = SIZE - PAGE


def whole(image: bytearray, offset: int, **fields: int | bytes) -> bytearray:
    """The image with fields of a superblock set, and its checksum made anew."""
    changed(image, SUPERBLOCK, offset, s_sum=0, **fields)
    sb = SUPERBLOCK.construct.parse(bytes(image[offset : offset + SUPERBLOCK.size]))
    crc = zlib.crc32(bytes(image[offset : offset + sb.s_bytes]), sb.s_crc_seed ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    return changed(image, SUPERBLOCK, offset, s_sum=crc)


def test_the_declaration_has_the_length_that_the_format_says() -> None:
    assert SUPERBLOCK.size == 0x118


def test_the_checksum_is_mkfs_own() -> None:
    assert whole(kept("nilfs2"), OFFSET) == kept("nilfs2")
    assert recognise(FORMAT, kept("nilfs2")).checked


def test_a_checksum_that_does_not_hold() -> None:
    """The other is taken; when it is gone, the damaged one is named as what it is."""
    image = kept("nilfs2")
    put(image, OFFSET + 0xA8, b"X")
    assert codes(recognise(FORMAT, image)) == ["backup-used"]
    put(image, SECOND, bytes(1024))
    found = recognise(FORMAT, image)
    assert (found.label, found.checked, codes(found)) == ("Xll of it kept", False, ["bad-checksum"])


@pytest.mark.parametrize(("checkpoints", "offset"), [((5, 6), SECOND), ((6, 5), OFFSET), ((5, 5), OFFSET)])
def test_the_newer_counts(checkpoints: tuple[int, int], offset: int) -> None:
    image = whole(kept("nilfs2"), OFFSET, s_last_cno=checkpoints[0])
    found = recognise(FORMAT, whole(image, SECOND, s_last_cno=checkpoints[1]))
    assert (found.offset, found.details["last_checkpoint"], codes(found)) == (offset, max(checkpoints), [])


@pytest.mark.parametrize(
    "fields",
    [
        {"s_rev_level": 1},
        {"s_bytes": 0},
        {"s_bytes": 0xFFFF},
        {"s_log_block_size": 7},
        {"s_log_block_size": 0xFFFFFFFF},
        {"s_nsegments": 0},
        {"s_nsegments": 1 << 60},
        {"s_blocks_per_segment": 15},
        {"s_dev_size": 0},
        {"s_r_segments_percentage": 101},
        {"s_inode_size": 0},
    ],
)
def test_figures_that_contradict_one_another(fields: dict[str, int]) -> None:
    image = changed(kept("nilfs2"), SUPERBLOCK, OFFSET, **fields)
    assert codes(recognise(FORMAT, image)) == ["backup-used"]
    assert ask(FORMAT, changed(image, SUPERBLOCK, SECOND, **fields)) is None


@pytest.mark.parametrize(("state", "word"), [(1, "clean"), (0, "dirty"), (3, "error")])
def test_state(state: int, word: str) -> None:
    assert recognise(FORMAT, whole(kept("nilfs2"), OFFSET, s_state=state)).state == word


@pytest.mark.parametrize("cut", [OFFSET + 8, OFFSET + 1023])
def test_cut_off_in_the_first_superblock(cut: int) -> None:
    assert ask(FORMAT, kept("nilfs2", cut)) is None


def test_the_second_superblock_is_in_the_last_whole_page() -> None:
    image = kept("nilfs2-second-superblock")
    assert recognise(FORMAT, image + bytes(4095)).offset == SECOND
    assert ask(FORMAT, image + bytes(4096)) is None
