"""F2FS: the two superblocks, the two checkpoints, and their checksums."""

import zlib
from typing import Any

import pytest

from pyimount.parsers.filesystems.f2fs import CHECKPOINT, FORMAT, OFFSETS, SUPERBLOCK
from tests.kept import ask, codes, kept, put, recognise

BLOCK = 4096
CHECKPOINTS = (512 * BLOCK, 1024 * BLOCK)
PACK_BLOCKS = 6


def near_start() -> bytearray:
    """The image as far as superblocks and checkpoints reach."""
    return kept("f2fs")[: 1032 * BLOCK]


def crc(data: bytes) -> bytes:
    return (zlib.crc32(data, 0xF2F52010 ^ 0xFFFFFFFF) ^ 0xFFFFFFFF).to_bytes(4, "little")


def changed(image: bytearray, offset: int = OFFSETS[0], **fields: Any) -> bytearray:
    """The image with fields of one superblock set, and its checksum made anew."""
    superblock = SUPERBLOCK.construct.parse(bytes(image[offset : offset + SUPERBLOCK.size]))
    for name, value in fields.items():
        assert name in superblock
        superblock[name] = value
    built = SUPERBLOCK.construct.build(superblock)[:-4]
    put(image, offset, built + crc(built))
    return image


def checkpoint(image: bytearray, start: int, **fields: Any) -> None:
    """Set fields in both ends of the checkpoint pack at ``start``."""
    for at in (start, start + (PACK_BLOCKS - 1) * BLOCK):
        parsed = CHECKPOINT.construct.parse(bytes(image[at : at + CHECKPOINT.size]))
        block = CHECKPOINT.construct.build({**parsed, **fields}) + bytes(
            image[at + CHECKPOINT.size : at + BLOCK - 4]
        )
        put(image, at, block + crc(block))


def test_the_declarations_have_the_length_that_the_format_says() -> None:
    assert SUPERBLOCK.size == 3072
    # alloc_type follows, and the bitmaps at 192.
    assert CHECKPOINT.size == 192 - 16


def test_a_checksum_that_does_not_hold_is_a_problem() -> None:
    image = near_start()
    assert recognise(FORMAT, image).checked
    image[OFFSETS[0] + 0x7C] ^= 1
    found = recognise(FORMAT, image)
    assert (found.checked, codes(found), found.label) == (False, ["bad-checksum"], "glash card")


def test_without_the_feature_there_is_no_checksum() -> None:
    found = recognise(FORMAT, changed(near_start(), feature=0, checksum_offset=0))
    assert (found.checked, codes(found)) == (False, [])


@pytest.mark.parametrize(
    "fields",
    [
        {"log_blocksize": 255},
        {"log_sectorsize": 0},
        {"log_sectors_per_block": 9},
        {"log_blocks_per_seg": 31},
        {"segment_count": 0},
        {"segment_count_main": 0xFFFFFFFF},
        {"block_count": 0},
        {"main_blkaddr": 0xFFFFFFFF},
        {"cp_blkaddr": 0xFFFFFFFF},
    ],
)
def test_the_second_superblock_when_the_first_contradicts_itself(fields: dict[str, int]) -> None:
    image = changed(near_start(), **fields)
    found = recognise(FORMAT, image)
    assert (found.offset, found.label, codes(found)) == (OFFSETS[1], "flash card", ["backup-used"])
    assert ask(FORMAT, changed(image, OFFSETS[1], **fields)) is None


def test_version_1_0_is_known_by_name_only() -> None:
    """As libblkid has it: the superblock of that version had its fields elsewhere."""
    found = recognise(FORMAT, changed(near_start(), major_ver=1, minor_ver=0))
    assert (found.type, found.version, found.uuid, found.fs_size) == ("f2fs", None, None, None)


def test_the_newer_of_two_checkpoints_counts() -> None:
    image = near_start()
    first = recognise(FORMAT, image).details["checkpoint"]["version"]
    pack = bytes(image[CHECKPOINTS[0] : CHECKPOINTS[0] + PACK_BLOCKS * BLOCK])
    put(image, CHECKPOINTS[1], pack)
    checkpoint(image, CHECKPOINTS[1], checkpoint_ver=first + 1, valid_block_count=96, ckpt_flags=0)
    found = recognise(FORMAT, image)
    assert found.state == "dirty"
    assert found.free == (4096 - 96) * BLOCK
    checkpoint(image, CHECKPOINTS[1], checkpoint_ver=first - 1)
    assert recognise(FORMAT, image).state == "clean"


def test_a_checkpoint_that_was_half_written_does_not_count() -> None:
    image = near_start()
    first = recognise(FORMAT, image).details["checkpoint"]["version"]
    pack = bytes(image[CHECKPOINTS[0] : CHECKPOINTS[0] + PACK_BLOCKS * BLOCK])
    put(image, CHECKPOINTS[1], pack)
    checkpoint(image, CHECKPOINTS[1], checkpoint_ver=first + 1)
    put(image, CHECKPOINTS[1] + (PACK_BLOCKS - 1) * BLOCK, bytes(BLOCK))
    assert recognise(FORMAT, image).details["checkpoint"]["version"] == first


def test_an_error_that_the_kernel_noted() -> None:
    image = near_start()
    checkpoint(image, CHECKPOINTS[0], ckpt_flags=0x9)
    assert recognise(FORMAT, image).state == "error"


@pytest.mark.parametrize(
    "cut", [3 * BLOCK, CHECKPOINTS[0], CHECKPOINTS[0] + BLOCK, CHECKPOINTS[0] + 5 * BLOCK]
)
def test_without_a_checkpoint_the_name_remains(cut: int) -> None:
    found = recognise(FORMAT, near_start()[:cut])
    assert (found.label, found.free, found.state, codes(found)) == ("flash card", None, None, ["damaged"])


@pytest.mark.parametrize("cut", [OFFSETS[0] + 4, OFFSETS[0] + SUPERBLOCK.size - 1])
def test_cut_off_in_the_first_superblock(cut: int) -> None:
    assert ask(FORMAT, near_start()[:cut]) is None
