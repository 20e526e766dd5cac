"""LVM1, Stratis, BlueStore and mpool: copies, damage, and what a weak magic must stand up to."""

import pytest

from fixtures.recipes.pools import (
    bluestore_label,
    crc,
    image,
    lvm1_pv,
    mpool_superblock,
    stratis_device,
)
from pyimount.parsers.volumes import bluestore, lvm1, mpool, stratis
from tests.kept import ask, codes, put, recognise

SIZE = 1 << 20


@pytest.mark.parametrize(
    "lie",
    [
        {"version": 3},
        {"pv_uuid": bytes(128)},
        {"pv_uuid": b"eNrBcdFgHiJkLmNoPqRsTuVwXyZ0123/".ljust(128, b"\0")},
        {"pv_on_disk_base": 1024},
        {"vg_on_disk_base": 512},
        {"lv_on_disk_base": 8192},
        {"pe_on_disk_size": 1 << 31},
        {"pv_on_disk_size": 100},
        {"pe_allocated": 8},
        {"pe_size": 1000},
    ],
    ids=str,
)
def test_two_letters_alone_are_no_lvm1(lie: dict[str, object]) -> None:
    assert ask(lvm1.FORMAT, image(lvm1_pv(), SIZE)) is not None
    assert ask(lvm1.FORMAT, image(lvm1_pv(**lie), SIZE)) is None


def test_an_lvm1_volume_of_no_group() -> None:
    found = recognise(lvm1.FORMAT, image(lvm1_pv(vg_name=bytes(128), version=1), SIZE))
    assert (found.group, found.details["data_offset"], codes(found)) == (None, None, [])


def test_a_damaged_group_leaves_the_lvm1_volume() -> None:
    whole = image(lvm1_pv(), SIZE)
    put(whole, 4096, bytes(32))
    found = recognise(lvm1.FORMAT, whole)
    assert (found.uuid, found.group, codes(found)) == (
        "eNrBcd-FgHi-JkLm-NoPq-RsTu-VwXy-Z01234",
        None,
        ["damaged"],
    )
    assert codes(recognise(lvm1.FORMAT, whole[:4096])) == ["damaged"]
    assert ask(lvm1.FORMAT, whole[:400]) is None


def test_the_second_signature_block_of_stratis() -> None:
    whole = image(stratis_device(), SIZE)
    whole[512 + 40] ^= 1
    found = recognise(stratis.FORMAT, whole)
    assert (found.offset, found.checked, codes(found)) == (9 * 512, True, ["backup-used"])
    whole[9 * 512 + 40] ^= 1
    assert ask(stratis.FORMAT, whole) is None


def test_the_newest_metadata_of_stratis_counts() -> None:
    parts = list(stratis_device("old"))
    parts[3] = stratis_device("new", 1_700_000_000)[3]
    found = recognise(stratis.FORMAT, image(tuple(parts), SIZE))
    assert found.details["pool_name"] == "new"
    whole = image(tuple(parts), SIZE)
    whole[parts[3][0] + 40] ^= 1
    assert recognise(stratis.FORMAT, whole).details["pool_name"] == "old"


def test_stratis_without_sound_metadata() -> None:
    parts = stratis_device()
    whole = image(parts, SIZE)
    for at, _ in parts[2:]:
        whole[at + 40] ^= 1
    assert codes(recognise(stratis.FORMAT, whole)) == ["damaged"]
    fresh = recognise(stratis.FORMAT, image(parts[:2], SIZE))
    assert ("pool_name" in fresh.details, codes(fresh)) == (False, [])


def test_stratis_blocks_of_different_ages() -> None:
    first, _, *rest = stratis_device()
    newer = stratis_device(time=1_700_000_000)[1]
    assert codes(recognise(stratis.FORMAT, image((first, newer, *rest), SIZE))) == ["copies-differ"]


def test_a_stratis_uuid_of_other_letters() -> None:
    (at, block), *_ = stratis_device()
    block = block[4:32] + b"-" * 32 + block[64:]
    assert ask(stratis.FORMAT, image(((at, crc(block) + block),), SIZE)) is None


@pytest.mark.thorough
def test_a_copy_of_a_bluestore_label() -> None:
    whole = bytearray(bluestore.GIB + 4096)
    label = bluestore_label()
    whole[bluestore.GIB : bluestore.GIB + len(label)] = label
    found = recognise(bluestore.FORMAT, whole)
    assert (found.offset, found.checked, codes(found)) == (bluestore.GIB, True, ["backup-used"])


def test_a_damaged_bluestore_label_is_still_one() -> None:
    whole = image(((0, bluestore_label()),), SIZE)
    whole[70] ^= 1
    assert codes(recognise(bluestore.FORMAT, whole)) == ["bad-checksum"]
    put(whole, 62, b"\xff\xff\xff\xff")
    assert codes(recognise(bluestore.FORMAT, whole)) == ["damaged"]
    put(whole, 0, bluestore.MAGIC[:-1] + b"!")
    assert ask(bluestore.FORMAT, whole) is None


@pytest.mark.parametrize("at", [98, 106, 110])
def test_lengths_of_bluestore_that_lie(at: int) -> None:
    whole = image(((0, bluestore_label()),), SIZE)
    put(whole, at, b"\xff\xff\xff\x7f")
    found = recognise(bluestore.FORMAT, whole)
    assert codes(found)[0] in ("damaged", "bad-checksum")


def test_the_secret_of_an_osd_is_not_told() -> None:
    found = recognise(bluestore.FORMAT, image(((0, bluestore_label(note="x")),), SIZE))
    assert "secret" not in str(found.details)
    assert found.details["meta"]["note"] == "x"  # type: ignore[index,call-overload]


def test_a_changed_byte_of_mpool() -> None:
    whole = image(((0, mpool_superblock()),), SIZE)
    whole[58] ^= 1
    assert codes(recognise(mpool.FORMAT, whole)) == ["bad-checksum"]
    put(whole, 8, bytes(32))
    assert ask(mpool.FORMAT, whole) is None
    assert ask(mpool.FORMAT, mpool_superblock()[:-1]) is None
