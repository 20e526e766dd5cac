"""ext: backup copies, what a lying superblock is worth, sizes above 32 bits, errors and journals."""

import struct
from typing import Any

import pytest
from hypothesis import given, settings

from pyimount.formats import Usage
from pyimount.formats.checksums import crc32c
from pyimount.parsers.filesystems.ext import FORMAT, PRIMARY
from pyimount.parsers.filesystems.ext_journal import JOURNAL_SUPERBLOCK
from pyimount.parsers.filesystems.ext_superblock import SUPERBLOCK
from tests.kept import ask, codes, kept, put, recognise
from tests.strategies import edited, edits

SIZE = 1024
COPY = 8193 * 1024
"""Where a file system with blocks of 1 KiB has its first copy."""


def changed(image: bytearray, at: int = PRIMARY, **fields: Any) -> bytearray:
    """The image with fields of the superblock at ``at`` set, and its checksum made anew."""
    superblock = SUPERBLOCK.construct.parse(bytes(image[at : at + SIZE]))
    for name, value in fields.items():
        assert name in superblock
        superblock[name] = value
    built = SUPERBLOCK.construct.build(superblock)
    put(image, at, built[:-4] + crc32c(built[:-4]).to_bytes(4, "little"))
    return image


def test_the_declaration_is_as_long_as_a_superblock() -> None:
    assert SUPERBLOCK.size == SIZE
    assert JOURNAL_SUPERBLOCK.size == SIZE


def test_a_checksum_that_holds_is_said_to_and_one_that_does_not_is_a_problem() -> None:
    image = kept("ext4")
    found = recognise(FORMAT, image)
    assert found.checked
    assert codes(found) == []
    image[PRIMARY + 0x78] ^= 1  # a letter of the label
    found = recognise(FORMAT, image)
    assert not found.checked
    assert codes(found) == ["bad-checksum"]
    assert found.label == "dvidence"


@pytest.mark.parametrize(
    "fields",
    [
        {"s_log_block_size": 7},
        {"s_rev_level": 2},
        {"s_blocks_count_lo": 0},
        {"s_first_data_block": 0xFFFFFFFF},
        {"s_inodes_count": 0},
        {"s_inodes_per_group": 0},
        {"s_blocks_per_group": 0},
        {"s_blocks_per_group": 8 * 4096 + 1},
        {"s_feature_ro_compat": 0x200, "s_log_cluster_size": 21, "s_clusters_per_group": 32768},
        {"s_feature_ro_compat": 0x200, "s_clusters_per_group": 8 * 4096 + 1},
    ],
)
def test_figures_that_cannot_be_true_are_rejected(fields: dict[str, int]) -> None:
    assert ask(FORMAT, changed(kept("ext2"), **fields)) is None


def test_more_free_than_there_is_is_damage() -> None:
    found = recognise(FORMAT, changed(kept("ext4"), s_free_blocks_count_lo=0xFFFFFFFF))
    assert codes(found) == ["damaged"]


def test_block_counts_above_32_bits_count_with_the_feature_only() -> None:
    fields = {"s_blocks_count_hi": 2, "s_free_blocks_count_hi": 1, "s_r_blocks_count_hi": 1}
    sized = recognise(FORMAT, changed(kept("ext4"), **fields, s_feature_incompat=0x2C2))
    plain = recognise(FORMAT, kept("ext4"))
    assert sized.fs_size == plain.fs_size + (2 << 32) * 1024
    assert sized.free == plain.free + (1 << 32) * 1024
    assert sized.details["reserved"] == plain.details["reserved"] + (1 << 32) * 1024
    without = recognise(FORMAT, changed(kept("ext4"), **fields, s_feature_incompat=0x242))
    assert (without.fs_size, without.free) == (plain.fs_size, plain.free)


def test_times_after_2038_have_a_fifth_byte() -> None:
    found = recognise(FORMAT, changed(kept("ext4"), s_wtime=0, s_times_hi=bytes([1, 0, 0, 0, 0, 0])))
    assert found.modified == "2106-02-07T06:28:16Z"


@pytest.mark.parametrize(
    ("compat", "incompat", "ro_compat", "kind"),
    [
        # The drivers' feature sets, as libblkid's ext.c has them.
        (0, 0, 0, "ext2"),
        (0x38, 0x2, 0x3, "ext2"),
        (0x4, 0x2, 0x3, "ext3"),
        (0x4, 0x6, 0x3, "ext3"),
        (0x4, 0x42, 0x3, "ext4"),
        (0, 0x2, 0x8, "ext4"),
        (0, 0x8, 0, "jbd"),
    ],
)
def test_features_decide_the_type(compat: int, incompat: int, ro_compat: int, kind: str) -> None:
    features = {
        "s_feature_compat": compat,
        "s_feature_incompat": incompat,
        "s_feature_ro_compat": ro_compat,
    }
    assert recognise(FORMAT, changed(kept("ext2"), **features)).type == kind


def test_a_file_system_for_test_drivers() -> None:
    assert recognise(FORMAT, changed(kept("ext4"), s_flags=4)).type == "ext4dev"


def test_unknown_features_have_their_number() -> None:
    found = recognise(FORMAT, changed(kept("ext2"), s_feature_compat=1 << 31))
    assert found.details["features"][0] == "compat_0x80000000"


@pytest.mark.parametrize(
    ("state", "incompat", "read"),
    [
        (1, 0x2, "clean"),
        (0, 0x2, "dirty"),
        (1, 0x6, "dirty"),
        (3, 0x6, "error"),
        (2, 0, "error"),
        (5, 0, "clean"),
    ],
)
def test_the_state(state: int, incompat: int, read: str) -> None:
    found = recognise(FORMAT, changed(kept("ext3"), s_state=state, s_feature_incompat=incompat))
    assert found.state == read


def test_the_copy_must_know_its_place() -> None:
    image = kept("ext2-backup-1k")
    assert codes(recognise(FORMAT, image)) == ["backup-used"]
    for fields in ({"s_block_group_nr": 3}, {"s_blocks_per_group": 4096}, {"s_log_block_size": 1}):
        assert ask(FORMAT, changed(kept("ext2-backup-1k"), COPY, **fields)) is None


def test_where_the_copy_of_group_1_is_gone_too_there_is_that_of_group_3() -> None:
    image = kept("ext2-backup-1k") + bytes(20 << 20)
    copy = bytes(image[COPY : COPY + SIZE])
    put(image, COPY, bytes(SIZE))
    third = (3 * 8192 + 1) * 1024
    put(image, third, copy)
    assert ask(FORMAT, image) is None
    found = recognise(FORMAT, changed(image, third, s_block_group_nr=3))
    assert (found.label, found.offset, codes(found)) == ("backup", third, ["backup-used"])


@pytest.mark.parametrize("cut", [PRIMARY + 0x3A, PRIMARY + SIZE - 1, COPY, COPY + SIZE - 1])
def test_cut_off_in_a_superblock(cut: int) -> None:
    assert ask(FORMAT, kept("ext2-backup-1k")[:cut]) is None


def test_a_first_superblock_of_nonsense_behind_the_magic_leads_to_the_copy() -> None:
    image = kept("ext2-backup-1k")
    put(image, PRIMARY, b"\xff" * SIZE)
    put(image, PRIMARY + 0x38, b"\x53\xef")
    found = recognise(FORMAT, image)
    assert (found.label, found.offset, codes(found)) == ("backup", COPY, ["backup-used"])


def test_an_external_journal_names_its_users_and_says_whether_it_must_be_replayed() -> None:
    image = kept("jbd")
    user = bytes(range(16))
    put(image, 2048 + 0x40, struct.pack(">I", 1))
    put(image, 2048 + 0x100, user)
    put(image, 2048 + 0x1C, struct.pack(">I", 9))
    found = recognise(FORMAT, image)
    assert found.usage is Usage.OTHER
    assert found.details["journal_users"] == ["00010203-0405-0607-0809-0a0b0c0d0e0f"]
    assert found.details["needs_recovery"] is True
    assert found.details["journal_start"] == 9


def test_a_journal_that_claims_more_users_than_fit_has_no_more_than_fit() -> None:
    image = kept("jbd")
    put(image, 2048 + 0x40, b"\xff" * 4)
    put(image, 2048 + 0x100, b"\x01" * 16 * 48)
    assert len(recognise(FORMAT, image).details["journal_users"]) == 48


@pytest.mark.parametrize("damage", ["overwritten", "cut off"])
def test_a_journal_without_its_own_superblock_keeps_its_name(damage: str) -> None:
    image = kept("jbd")
    if damage == "overwritten":
        put(image, 2048, bytes(4))
    else:
        del image[2048:]
    found = recognise(FORMAT, image)
    assert (found.type, found.label, codes(found)) == ("jbd", "journal", ["damaged"])


@given(changes=edits(SIZE))
@settings(max_examples=60, deadline=None)
def test_no_change_of_the_superblock_gives_sizes_that_are_not_bounded(
    changes: list[tuple[int, bytes]],
) -> None:
    image = kept("ext2")
    put(image, PRIMARY, edited(bytes(image[PRIMARY : PRIMARY + SIZE]), changes))
    found = ask(FORMAT, image)
    if found is not None:
        assert 1024 <= found.block_size <= 65536
        assert 0 < found.fs_size < 1 << 80
