"""ReiserFS and Reiser4: places, copies in the journal, figures that contradict one another."""

import pytest

from fixtures.structures import build, changed
from pyimount.parsers.filesystems import reiser4, reiserfs
from tests.kept import ask, codes, kept, put, recognise

NEAR = 128 << 10
AT = 64 << 10


def image(name: str = "reiserfs") -> bytearray:
    return kept(name, NEAR)


def test_the_declarations_have_the_length_that_the_format_says() -> None:
    assert reiserfs.SUPERBLOCK.size == 204 - 76
    assert reiserfs.SUPERBLOCK_0.size == 20 + 16
    assert reiser4.MASTER.size == 60
    assert reiser4.FORMAT40.size == 88


@pytest.mark.parametrize(
    "fields",
    [
        {"s_blocksize": 0},
        {"s_blocksize": 256},
        {"s_blocksize": 4097},
        {"s_free_blocks": 0xFFFFFFFF},
        {"s_root_block": 0xFFFFFFFE},
        {"s_umount_state": 3},
        {"s_oid_cursize": 0xFFFF},
        {"s_magic": b"ReIsEr4Fs\0"},
    ],
)
def test_figures_that_contradict_one_another(fields: dict[str, int]) -> None:
    assert ask(reiserfs.FORMAT, changed(image(), reiserfs.SUPERBLOCK, AT, **fields)) is None


@pytest.mark.parametrize(("start", "size"), [(16, 1), (0, 8192), (10, 100)])
def test_a_copy_inside_the_journal_is_none(start: int, size: int) -> None:
    """The superblock is block 16 here."""
    fields = {"jp_journal_1st_block": start, "jp_journal_size": size}
    assert ask(reiserfs.FORMAT, changed(image(), reiserfs.SUPERBLOCK, AT, **fields)) is None


def test_format_3_5_once_stood_at_8_kib() -> None:
    old = image("reiserfs-3.5")
    put(old, 8192, bytes(old[AT : AT + 512]))
    put(old, AT, bytes(512))
    found = recognise(reiserfs.FORMAT, old)
    assert (found.version, found.offset, found.uuid) == ("3.5", 8192, None)


@pytest.mark.parametrize(
    ("fields", "state"), [({"s_umount_state": 2}, "dirty"), ({"s_fs_state": 1}, "error")]
)
def test_state(fields: dict[str, int], state: str) -> None:
    assert recognise(reiserfs.FORMAT, changed(image(), reiserfs.SUPERBLOCK, AT, **fields)).state == state


def test_a_tree_whose_rebuilding_was_not_finished() -> None:
    found = recognise(
        reiserfs.FORMAT, changed(image(), reiserfs.SUPERBLOCK, AT, s_root_block=reiserfs.UNFINISHED)
    )
    assert codes(found) == ["damaged"]


@pytest.mark.parametrize("cut", [AT + 0x34, AT + reiserfs.SUPERBLOCK.size - 1])
def test_cut_off_in_the_superblock(cut: int) -> None:
    assert ask(reiserfs.FORMAT, image()[:cut]) is None


@pytest.mark.parametrize("cut", [AT + 4096, AT + 4096 + reiser4.FORMAT40.size - 1])
def test_the_master_superblock_of_reiser4_tells_who_it_is(cut: int) -> None:
    found = recognise(reiser4.FORMAT, kept("reiser4", cut))
    assert (found.label, found.fs_size, codes(found)) == ("dancing trees", None, ["damaged"])


def test_another_disk_format_than_40() -> None:
    four = kept("reiser4", NEAR)
    put(four, AT + 4096 + 52, b"ReIsEr41FoRmAt")
    assert codes(recognise(reiser4.FORMAT, four)) == ["damaged"]


def test_more_free_blocks_than_there_are() -> None:
    four = changed(kept("reiser4", NEAR), reiser4.FORMAT40, AT + 4096, free_blocks=1 << 63)
    assert codes(recognise(reiser4.FORMAT, four)) == ["damaged"]


@pytest.mark.parametrize("size", [0, 1, 256, 4097, 16384])
def test_block_sizes_that_reiser4_has_not(size: int) -> None:
    assert ask(reiser4.FORMAT, changed(kept("reiser4", NEAR), reiser4.MASTER, AT, blocksize=size)) is None


def test_the_kernel_asks_for_fsck_by_the_version() -> None:
    four = changed(kept("reiser4", NEAR), reiser4.FORMAT40, AT + 4096, version=reiser4.UPDATE_BACKUP | 1)
    details = recognise(reiser4.FORMAT, four).details
    assert (details["format40_version"], details["needs_fsck"]) == (1, True)


def test_the_magic_of_reiser4_is_the_whole_word() -> None:
    longer = bytearray(NEAR)
    put(longer, AT, build(reiser4.MASTER, magic=b"ReIsEr4Fs", blocksize=4096))
    assert ask(reiser4.FORMAT, longer) is None
