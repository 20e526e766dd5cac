"""UFS: where superblocks lie, whose they are, and what is none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyimount.formats.checksums import crc32c
from pyimount.parsers.filesystems.ufs import BIG, FORMAT, LITTLE
from tests.kept import ask, codes, counted, kept, put, recognise
from tests.strategies import edited, edits

PLACE = 8192
NAMES = ("ufs1-le", "ufs1-be", "ufs2-le", "ufs2-be")
LAYOUTS = {"le": LITTLE, "be": BIG}


def changed(name: str, place: int = PLACE, **fields: object) -> bytearray:
    """A kept image with other values in its superblock."""
    image = kept(name)
    layout = LAYOUTS[name[-2:]]
    values = dict(layout.construct.parse(bytes(image[PLACE : PLACE + layout.size])))
    put(image, PLACE, bytes(layout.size))
    put(image, place, layout.construct.build(values | fields))
    return image


def without_copies(image: bytearray) -> bytearray:
    """The image without the copy in its first cylinder group."""
    put(image, 16384, bytes(2048))
    return image


@pytest.mark.parametrize("place", [0, 8192, 65536, 262144])
@pytest.mark.parametrize("name", NAMES)
def test_each_place(name: str, place: int) -> None:
    found = recognise(FORMAT, changed(name, place, fs_sblockloc=place))
    assert (found.version, found.offset, codes(found)) == (name[3], place, [])


@pytest.mark.parametrize("name", NAMES)
def test_the_first_groups_copy_stands_in(name: str) -> None:
    image = kept(name)
    whole = recognise(FORMAT, image)
    put(image, PLACE, bytes(2048))
    found = recognise(FORMAT, image)
    assert (found.uuid, found.fs_size, codes(found)) == (whole.uuid, whole.fs_size, ["backup-used"])
    assert found.offset == 16384


@pytest.mark.parametrize(
    ("name", "fields", "ufstype"),
    [
        ("ufs1-be", {"fs_old_inodefmt": -1, "fs_old_time": 1000, "fs_qbmask": 0x7C269D38 - 1000}, "sun"),
        (
            "ufs1-le",
            {"fs_old_inodefmt": -1, "fs_old_time": 1000, "fs_old_npsect": 0x7C269D38 - 1000},
            "sunx86",
        ),
        ("ufs1-le", {"fs_old_inodefmt": -1}, "old"),
        ("ufs1-be", {"fs_old_inodefmt": 0, "fs_old_postblformat": 1, "fs_qbmask": 0}, None),
        ("ufs1-be", {"fs_magic": 0x00095014}, "hp"),
        ("ufs1-be", {"fs_magic": 0x00195612}, "hp"),
        ("ufs1-be", {"fs_magic": 0x05231994}, "hp"),
    ],
)
def test_whose_it_is(name: str, fields: dict[str, int], ufstype: str | None) -> None:
    found = recognise(FORMAT, changed(name, **fields))
    assert (found.version, found.details["ufstype"]) == ("1", ufstype)


@pytest.mark.parametrize(
    ("name", "fields", "state"),
    [
        ("ufs1-le", {"fs_clean": 0}, "dirty"),
        ("ufs2-le", {"fs_clean": 1, "fs_flags": 0x1}, "dirty"),
        ("ufs2-le", {"fs_clean": 1, "fs_flags": 0x4}, "dirty"),
        ("ufs2-le", {"fs_clean": 1, "fs_flags": 0xA}, "clean"),
        # Solaris: 2 is stable, 253 a log.
        ("ufs1-be", {"fs_clean": 253, "fs_old_time": 1, "fs_qbmask": 0x7C269D37}, "clean"),
        ("ufs1-be", {"fs_clean": 255, "fs_old_time": 1, "fs_qbmask": 0x7C269D37}, "dirty"),
    ],
)
def test_the_state(name: str, fields: dict[str, int], state: str) -> None:
    assert recognise(FORMAT, changed(name, **fields)).state == state


def test_names_and_flags() -> None:
    fields = {
        "fs_volname": b"evidence".ljust(32, b"\0"),
        "fs_fsmnt": b"/srv/case".ljust(468, b"\0"),
        "fs_flags": 0x2 | 0x8 | 0x10 | 0x40,
        "fs_id_0": 0x00000012,
        "fs_id_1": 0xABCDEF00,
    }
    found = recognise(FORMAT, changed("ufs2-be", **fields))
    assert (found.label, found.last_mountpoint) == ("evidence", "/srv/case")
    assert found.uuid == "00000012abcdef00"
    assert found.details["flags"] == ["soft_updates", "soft_updates_journal", "posix_acls", "gjournal"]


@pytest.mark.parametrize("right", [True, False])
def test_the_checksum(right: bool) -> None:
    image = changed("ufs2-le", fs_flags=0x200, fs_metackhash=1, fs_ckhash=0)
    size = recognise(FORMAT, image).details["fragment_size"]
    length = int.from_bytes(image[PLACE + 104 : PLACE + 108], "little")
    assert size == 1024
    assert length in (1376, 2048, 8192)
    total = crc32c(bytes(image[PLACE : PLACE + length]))
    put(image, PLACE + 1304, (total if right else total ^ 1).to_bytes(4, "little"))
    found = recognise(FORMAT, image)
    assert (found.checked, codes(found)) == (right, [] if right else ["bad-checksum"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"fs_bsize": 0},
        {"fs_bsize": 12288},
        {"fs_fsize": 256},
        {"fs_fsize": 0},
        {"fs_frag": 4},
        {"fs_ncg": 0},
        {"fs_ncg": 0xFFFFFFFF},
        {"fs_fpg": 0},
        {"fs_ipg": 0},
        {"fs_size": 0, "fs_old_size": 0},
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_ufs(name: str, wrong: dict[str, int]) -> None:
    assert ask(FORMAT, without_copies(changed(name, **wrong))) is None


def test_a_superblock_of_ufs2_must_know_its_place() -> None:
    assert ask(FORMAT, without_copies(changed("ufs2-le", 65536))) is None


def test_a_copy_of_ufs1_where_ufs2_begins_is_no_superblock() -> None:
    # With blocks of 64 KiB the copy of the first group lies at 64 KiB, and the volume begins at 8 KiB.
    fields = {
        "fs_bsize": 65536,
        "fs_fsize": 8192,
        "fs_sblkno": 8,
        "fs_old_size": 256,
        "fs_fpg": 256,
        "fs_ncg": 1,
    }
    assert ask(FORMAT, without_copies(changed("ufs1-le", 65536, **fields))) is None


@pytest.mark.parametrize("size", [0, PLACE, PLACE + 1372, PLACE + 1375])
def test_an_image_that_ends_before_it_is_none(size: int) -> None:
    assert ask(FORMAT, kept("ufs1-le")[:size]) is None


def test_free_space_beyond_the_size_is_told() -> None:
    assert codes(counted(FORMAT, changed("ufs1-le", fs_old_cs_nbfree=0x7FFFFFFF)[:16384])) == ["damaged"]


_BASES = {name: bytes(kept(name)[: 20 << 10]) for name in NAMES}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NAMES), edits(1376))
def test_any_change_is_answered(name: str, changes: list[tuple[int, bytes]]) -> None:
    base = _BASES[name]
    ask(FORMAT, base[:PLACE] + edited(base[PLACE : PLACE + 1376], changes) + base[PLACE + 1376 :])
