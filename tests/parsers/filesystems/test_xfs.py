"""XFS: the checksum, what the sizes must agree on, and external logs."""

from typing import Any

import pytest

from pyimount.formats import Usage
from pyimount.formats.checksums import crc32c
from pyimount.parsers.filesystems import xfs_copy
from pyimount.parsers.filesystems.xfs import FORMAT, LOG_RECORD, SUPERBLOCK
from tests.kept import ask, codes, kept, put, recognise

CRC_AT = 224


def near_start(name: str) -> bytearray:
    """The image as far as the superblock reaches."""
    return kept(name)[:4096]


def changed(image: bytearray, **fields: Any) -> bytearray:
    """The image with fields of the superblock set, and its checksum made anew."""
    superblock = SUPERBLOCK.construct.parse(bytes(image[: SUPERBLOCK.size]))
    for name, value in fields.items():
        assert name in superblock
        superblock[name] = value
    put(image, 0, SUPERBLOCK.construct.build({**superblock, "sb_crc": 0}))
    put(image, CRC_AT, (crc32c(bytes(image[: superblock.sb_sectsize])) ^ 0xFFFFFFFF).to_bytes(4, "little"))
    return image


def test_the_checksum_lies_where_it_is_blanked() -> None:
    image = changed(near_start("xfs"))
    assert image == near_start("xfs")
    assert recognise(FORMAT, image).checked


def test_a_checksum_covers_the_whole_sector() -> None:
    for name, sector_size in (("xfs", 512), ("xfs-4k-sectors", 4096)):
        image = near_start(name)
        image[sector_size - 1] ^= 1
        found = recognise(FORMAT, image)
        assert (found.checked, codes(found)) == (False, ["bad-checksum"])


def test_version_4_has_no_checksum() -> None:
    image = near_start("xfs-v4")
    put(image, CRC_AT, b"\xff" * 4)
    found = recognise(FORMAT, image)
    assert (found.checked, codes(found)) == (False, [])


@pytest.mark.parametrize(
    "fields",
    [
        {"sb_agcount": 0},
        {"sb_agcount": 0xFFFFFFFF},
        {"sb_agblocks": 0},
        {"sb_dblocks": 0},
        {"sb_dblocks": (1 << 64) - 1},
        {"sb_blocksize": 4095},
        {"sb_blocklog": 255},
        {"sb_sectsize": 256, "sb_sectlog": 8},
        {"sb_sectlog": 10},
        {"sb_inodelog": 12, "sb_inodesize": 4096},
        {"sb_inopblog": 0},
        {"sb_rextsize": 0},
        {"sb_rextsize": 0xFFFFFFFF},
        {"sb_imax_pct": 101},
        {"sb_versionnum": 0xB4A6},
        {"sb_versionnum": 0xB4A0},
    ],
)
def test_sizes_that_contradict_one_another_are_rejected(fields: dict[str, int]) -> None:
    assert ask(FORMAT, changed(near_start("xfs"), **fields)) is None


def test_a_copy_that_was_never_finished() -> None:
    found = recognise(FORMAT, changed(near_start("xfs"), sb_inprogress=1))
    assert codes(found) == ["damaged"]
    assert found.details["in_progress"] is True


def test_more_free_than_there_is_is_damage() -> None:
    assert codes(recognise(FORMAT, changed(near_start("xfs"), sb_fdblocks=1 << 63))) == ["damaged"]


def test_an_extreme_directory_block_size_stays_a_number_of_sane_length() -> None:
    found = recognise(FORMAT, changed(near_start("xfs"), sb_dirblklog=255))
    assert found.details["directory_block_size"] == 4096 << 16


def test_realtime_figures_where_there_are_any() -> None:
    found = recognise(FORMAT, changed(near_start("xfs"), sb_rblocks=1000, sb_rextsize=4, sb_frextents=17))
    assert found.details["realtime_blocks"] == 1000
    assert found.details["realtime_extent_size"] == 16384
    assert found.details["free_realtime_extents"] == 17
    assert "realtime_blocks" not in recognise(FORMAT, near_start("xfs")).details


@pytest.mark.parametrize("cut", [4, SUPERBLOCK.size - 1, 511])
def test_cut_off_in_the_superblock(cut: int) -> None:
    assert ask(FORMAT, near_start("xfs")[:cut]) is None


@pytest.mark.parametrize(
    ("field", "value"), [("h_version", 9), ("h_fmt", 0), ("h_len", 0), ("h_len", 1 << 31)]
)
def test_the_magic_of_a_log_alone_is_no_log(field: str, value: int) -> None:
    image = near_start("xfs-log")
    found = recognise(FORMAT, image)
    assert (found.type, found.usage, found.uuid) == ("xfs_external_log", Usage.OTHER, None)
    record = LOG_RECORD.construct.parse(bytes(image[: LOG_RECORD.size]))
    put(image, 0, LOG_RECORD.construct.build({**record, field: value}))
    assert ask(FORMAT, image) is None


def test_a_copy_must_know_its_place() -> None:
    image = kept("xfs-copy")
    copy = 16 << 20
    found = recognise(xfs_copy.FORMAT, image)
    assert (found.offset, found.checked, found.free) == (copy, True, None)
    image[copy + 500] ^= 1
    assert codes(recognise(xfs_copy.FORMAT, image)) == ["backup-used", "bad-checksum"]
    put(image, copy + 84, (4095).to_bytes(4, "big"))  # blocks in a group
    assert ask(xfs_copy.FORMAT, image) is None
    put(image, copy + 84, (4096).to_bytes(4, "big"))
    assert ask(xfs_copy.FORMAT, image) is not None
    assert ask(xfs_copy.FORMAT, image[: copy + 200]) is None


@pytest.mark.parametrize(
    ("size", "group"),
    [(64 << 20, 16 << 20), (301 << 20, 19264 << 12), (10 << 30, 655360 << 12), (5 << 40, 268435455 << 12)],
)
def test_the_second_group_is_where_mkfs_puts_it(size: int, group: int) -> None:
    assert group in xfs_copy.places(size)
