"""bcachefs: checksums of every kind, copies, members of both versions, lying superblocks."""

from typing import Any

import pytest

from fixtures.recipes.bcachefs import BUCKET, CRC64, MEMBERS, SECTORS, SIZE, XXHASH, image, superblock, usage
from pyimount.parsers.filesystems import bcachefs
from pyimount.parsers.filesystems.bcachefs import FORMAT, PLACE
from tests.kept import ask, codes, counted, put, recognise


@pytest.mark.parametrize("kind", [1, CRC64, XXHASH])
def test_every_checksum_is_verified(kind: int) -> None:
    whole = image(checksum=kind)
    found = recognise(FORMAT, whole)
    assert (found.checked, codes(found)) == (True, [])
    for sector in SECTORS:
        whole[sector * 512 + 68] ^= 1
    found = recognise(FORMAT, whole)
    assert (found.checked, codes(found)) == (False, ["bad-checksum"])


@pytest.mark.parametrize("kind", [0, 3, 40])
def test_without_a_checksum_that_is_known(kind: int) -> None:
    found = recognise(FORMAT, image(checksum=kind))
    assert (found.checked, codes(found)) == (False, [])


USED = (7, 1, 2, 3, 10, 4, 0, 0, 2, 1)
"""Buckets by kind: free, superblocks, journal, b-trees, user, cached, …, awaiting collection and discard."""


def test_what_is_free_stands_in_the_clean_section() -> None:
    """After sb-clean.c and dev_buckets_available() of Linux 6.9; no tool is here to hold it against."""
    other = (b"\0" * 8) + usage(1, (30,)) + b"\1\0\0\0\5\0\0\0" + bytes(8)
    found = counted(FORMAT, image(2, clean=other + usage(0, USED)))
    assert (found.free, found.used) == (14 * BUCKET, SIZE - 14 * BUCKET)
    assert "clean section" in str(found.details["free_from"])
    for clean in (None, other, usage(0, ()), usage(0, USED)[:-9], usage(0, (33,)), b"\xff" * 40):
        found = counted(FORMAT, image(2, clean=clean))
        assert (found.free, found.used) == (None, None)
        assert "b-trees" in str(found.details["free_unknown"])


def test_what_was_free_when_it_was_clean_is_not_told_of_one_that_is_not() -> None:
    whole = image(checksum=0, clean=usage(0, USED))
    assert counted(FORMAT, whole).free == 14 * BUCKET
    for sector in SECTORS:
        whole[sector * 512 + 144] &= ~2
    found = counted(FORMAT, whole)
    assert (found.state, found.free) == ("dirty", None)


def test_a_sound_copy_is_better_than_a_damaged_superblock() -> None:
    whole = image()
    whole[PLACE + 70] ^= 1
    found = recognise(FORMAT, whole)
    assert (found.offset, found.label, codes(found)) == (SECTORS[1] * 512, "many disks", ["backup-used"])


@pytest.mark.parametrize("left", SECTORS[1:])
def test_each_copy_is_found_without_the_table(left: int) -> None:
    whole = bytearray(SIZE)
    put(whole, left * 512, superblock(left))
    found = recognise(FORMAT, whole)
    assert (found.offset, found.checked, codes(found)) == (left * 512, True, ["backup-used"])


def test_a_copy_of_another_place_is_none() -> None:
    whole = bytearray(SIZE)
    put(whole, SECTORS[1] * 512, superblock(SECTORS[2]))
    assert ask(FORMAT, whole) is None


@pytest.mark.parametrize("second", [True, False])
def test_members_of_both_versions(second: bool) -> None:
    found = recognise(FORMAT, image(2, second=second))
    members: Any = found.details["members"]
    assert [bytes.fromhex(one["uuid"].replace("-", "")) for one in members] == [*MEMBERS]
    assert {(one["size"], one["label"], one["state"], one["durability"]) for one in members} == {
        (SIZE, "ssd", "rw", 1)
    }
    assert found.group is not None
    assert (found.group.members, found.group.role) == (2, "0")


def test_an_encrypted_one_is_locked() -> None:
    found = recognise(FORMAT, image(encrypted=True))
    assert (found.locked, codes(found)) == (True, ["locked"])


@pytest.mark.parametrize(
    ("at", "data"),
    [(104, b"\x09"), (120, bytes(2)), (122, b"\5"), (123, b"\0"), (124, b"\xff\xff\xff\x0f")],
    ids=["place", "block", "index", "devices", "length"],
)
def test_a_superblock_that_lies_is_none(at: int, data: bytes) -> None:
    whole = image()
    for sector in SECTORS:
        put(whole, sector * 512 + at, data)
    assert ask(FORMAT, whole) is None


def test_fields_that_lie_end_the_walk() -> None:
    whole = image(checksum=0)
    put(whole, PLACE + bcachefs.SUPERBLOCK.size, b"\xff\xff\xff\x7f")
    assert codes(recognise(FORMAT, whole)) == ["damaged"]


@pytest.mark.parametrize("size", [PLACE, PLACE + 751, PLACE + bcachefs.SUPERBLOCK.size])
def test_a_cut_before_the_end_of_the_superblock(size: int) -> None:
    assert ask(FORMAT, image()[:size]) is None
