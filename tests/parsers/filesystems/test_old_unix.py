"""BFS, System V, Xenix, VxFS, HPFS, BeFS and NSS: variants, damage, headers that lie."""

import pytest

from fixtures.recipes.old_unix import AT_TEXT, befs_pieces, sysv_fields
from fixtures.structures import build, changed
from pyimount.parsers.filesystems import befs, bfs, hpfs, nss, sysv, vxfs, xenix
from tests.kept import ask, codes, kept, put, recognise

MIB = 1 << 20


def test_the_declarations_have_the_length_that_the_formats_say() -> None:
    assert sysv.SUPERBLOCK_2.size == sysv.SUPERBLOCK_4.size == 512
    assert xenix.SUPERBLOCK.size == 1024
    assert hpfs.BOOT_BLOCK.size == 512
    # 103 words that are zero follow the user table and the name.
    assert hpfs.SUPERBLOCK.size == 512 - 103 * 4 - 4 - 32
    assert befs.SUPERBLOCK.size == 132
    assert befs.INODE.size == 232


@pytest.mark.parametrize("fields", [{"s_start": 512}, {"s_start": 513}, {"s_start": 0}, {"s_end": 3000}])
def test_a_bfs_that_is_none(fields: dict[str, int]) -> None:
    assert ask(bfs.FORMAT, changed(kept("bfs"), bfs.SUPERBLOCK, 0, **fields)) is None


def test_a_bfs_whose_compaction_was_not_finished() -> None:
    found = recognise(bfs.FORMAT, changed(kept("bfs"), bfs.SUPERBLOCK, 0, s_from=4096, s_to=8192))
    assert (found.state, found.details["compacting"]) == ("dirty", True)
    assert ask(bfs.FORMAT, kept("bfs", 39)) is None


@pytest.mark.parametrize("base", sysv.BASES)
@pytest.mark.parametrize("big", [False, True])
def test_the_places_and_byte_orders_of_system_v(base: int, big: bool) -> None:
    image = bytearray(64 << 10)
    declared = sysv.SUPERBLOCK_4_BE if big else sysv.SUPERBLOCK_4
    put(image, base + 512, build(declared, **sysv_fields()))
    found = recognise(sysv.FORMAT, image)
    assert (found.label, found.modified, found.state) == ("root", AT_TEXT, "dirty")
    assert (found.fs_size, found.offset) == (base + MIB, base + 512)


@pytest.mark.parametrize(("kind", "size"), [(1, 512), (3, 2048), (0x10, 512), (0x20, 1024)])
def test_the_block_sizes_of_system_v(kind: int, size: int) -> None:
    found = recognise(sysv.FORMAT, changed(kept("sysv"), sysv.SUPERBLOCK_4, 512, s_type=kind))
    assert found.details["block_size"] == size
    assert found.details["long_names"] == (kind > 3)


def test_acers_variant_has_no_list_of_free_blocks() -> None:
    found = recognise(sysv.FORMAT, changed(kept("sysv"), sysv.SUPERBLOCK_4, 512, s_nfree=0xFFFF, s_time=0))
    assert (found.details["variant"], found.details["release"]) == ("AFS", 4)


LIES = [
    {"s_type": 0},
    {"s_type": 4},
    {"s_isize": 0},
    {"s_isize": 2000},
    {"s_ninode": 101},
    {"s_tfree": 2000},
]


@pytest.mark.parametrize("fields", [*LIES, {"s_nfree": 51}])
def test_a_system_v_that_is_none(fields: dict[str, int]) -> None:
    assert ask(sysv.FORMAT, changed(kept("sysv"), sysv.SUPERBLOCK_4, 512, **fields)) is None


@pytest.mark.parametrize("fields", [*LIES, {"s_nfree": 101}, {"s_type": 3}])
def test_a_xenix_that_is_none(fields: dict[str, int]) -> None:
    assert ask(xenix.FORMAT, changed(kept("xenix"), xenix.SUPERBLOCK, 1024, **fields)) is None


def test_xenix_that_was_not_unmounted() -> None:
    assert recognise(xenix.FORMAT, changed(kept("xenix"), xenix.SUPERBLOCK, 1024, s_clean=0)).state == "dirty"
    assert ask(xenix.FORMAT, kept("xenix", 2047)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"vs_version": 0},
        {"vs_version": 65},
        {"vs_bsize": 0},
        {"vs_bsize": 1000},
        {"vs_bsize": 1 << 17},
        {"vs_dsize": 2000},
        {"vs_free": 2000},
    ],
)
def test_a_vxfs_that_is_none(fields: dict[str, int]) -> None:
    assert ask(vxfs.FORMAT, changed(kept("vxfs"), vxfs.SUPERBLOCK, 1024, **fields)) is None


def test_each_byte_order_of_vxfs_has_its_place() -> None:
    swapped = bytearray(MIB)
    put(swapped, 8192, bytes(kept("vxfs")[1024:2048]))
    assert ask(vxfs.FORMAT, swapped) is None


def test_a_vxfs_that_does_not_say_its_size() -> None:
    fields = {"vs_size": 0, "vs_dsize": 0, "vs_free": 0}
    found = recognise(vxfs.FORMAT, changed(kept("vxfs"), vxfs.SUPERBLOCK, 1024, **fields))
    assert (found.fs_size, found.free, found.block_size) == (None, None, 1024)


@pytest.mark.parametrize(
    ("at", "piece"), [(8192 + 4, bytes(4)), (8192 + 512, bytes(4)), (8192 + 516, bytes(4)), (8192 + 10, b"x")]
)
def test_an_hpfs_that_is_none(at: int, piece: bytes) -> None:
    image = kept("hpfs")
    put(image, at, piece)
    assert ask(hpfs.FORMAT, image) is None


@pytest.mark.parametrize("fields", [{"n_sectors": 17}, {"root": 2048}])
def test_figures_of_hpfs(fields: dict[str, int]) -> None:
    assert ask(hpfs.FORMAT, changed(kept("hpfs"), hpfs.SUPERBLOCK, 8192, **fields)) is None


@pytest.mark.parametrize("at", [510, 38, 54])
def test_hpfs_without_its_boot_block(at: int) -> None:
    image = kept("hpfs")
    image[at] ^= 1
    found = recognise(hpfs.FORMAT, image)
    assert (found.type, found.label, found.uuid, codes(found)) == ("hpfs", None, None, ["damaged"])


@pytest.mark.parametrize(("flags", "state"), [(0, "clean"), (1, "dirty"), (8, "error"), (0x11, "error")])
def test_the_state_of_hpfs(flags: int, state: str) -> None:
    assert recognise(hpfs.FORMAT, changed(kept("hpfs"), hpfs.SPARE, 8704, flags=flags)).state == state


@pytest.mark.parametrize(
    "fields",
    [
        {"magic2": 0},
        {"magic3": 0},
        {"fs_byte_order": 0},
        {"block_size": 2047},
        {"block_shift": 9},
        {"block_shift": 0xFFFFFFFF},
        {"inode_size": 0},
        {"inode_size": 0xFFFFFFFF},
        {"ag_shift": 0xFFFFFFFF},
        {"used_blocks": 1 << 60},
    ],
)
def test_a_befs_that_is_none(fields: dict[str, int]) -> None:
    assert ask(befs.FORMAT, changed(kept("befs"), befs.SUPERBLOCK, 512, **fields)) is None


@pytest.mark.parametrize(
    "fields", [{"root_dir_group": 0xFFFFFFFF}, {"root_dir_start": 0xFFFF}, {"root_dir_start": 0}]
)
def test_befs_without_its_root_keeps_its_name(fields: dict[str, int]) -> None:
    found = recognise(befs.FORMAT, changed(kept("befs"), befs.SUPERBLOCK, 512, **fields))
    assert (found.label, found.uuid, codes(found)) == ("Haiku", None, ["damaged"])


def test_befs_without_a_number() -> None:
    image = bytearray(2 * MIB)
    for offset, piece in befs_pieces(big=False, offset=512, volume_id=0):
        put(image, offset, piece)
    found = recognise(befs.FORMAT, image)
    assert (found.uuid, found.created, codes(found)) == (None, AT_TEXT, [])


def test_an_attribute_that_reaches_beyond_the_inode_is_not_read() -> None:
    image = kept("befs")
    first = (256 + 6) * 2048 + befs.INODE.size
    changed(image, befs.SMALL_DATA, first, name_size=0xFFFF)
    assert recognise(befs.FORMAT, image).uuid is None


@pytest.mark.parametrize(("flags", "state"), [(befs.DIRTY, "dirty"), (0, None)])
def test_the_state_of_befs(flags: int, state: str | None) -> None:
    assert recognise(befs.FORMAT, changed(kept("befs"), befs.SUPERBLOCK, 512, flags=flags)).state == state


@pytest.mark.parametrize(
    "fields",
    [
        {"superlocation": [0, 16, 16, 240]},
        {"superlocation": [240, 16, 224, 0]},
        {"totalblocks": 240},
        {"totalblocks": (1 << 64) - 1},
    ],
)
def test_an_nss_pool_that_is_none(fields: dict[str, int]) -> None:
    assert ask(nss.FORMAT, changed(kept("nss"), nss.SUPERBLOCK, 4096, **fields)) is None


def test_when_an_nss_pool_was_written() -> None:
    assert recognise(nss.FORMAT, kept("nss")).modified == "2001-09-09T01:46:41Z"
    assert ask(nss.FORMAT, kept("nss", 4096 + nss.SUPERBLOCK.size - 1)) is None
