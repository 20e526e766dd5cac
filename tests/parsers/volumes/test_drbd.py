"""DRBD and what stands beside it: places, plausibility, volumes that are too small."""

import pytest

from pyimount.parsers.volumes import drbd, drbdmanage, drbdproxy
from tests.kept import ask, kept, put, recognise

BLOCK = 3 * (1 << 20) - 4096


@pytest.mark.parametrize("more", [0, 512, 3584])
def test_whole_blocks_count_as_for_the_kernel(more: int) -> None:
    assert recognise(drbd.FORMAT, kept("drbd-09") + bytes(more)).offset == BLOCK


def test_the_end_counts_as_for_libblkid() -> None:
    found = recognise(drbd.FORMAT, bytes(1) + kept("drbd-09"))
    assert (found.offset, found.version) == (BLOCK + 1, "v09")


def test_meta_data_is_left_by_a_shut_down_or_not() -> None:
    image = kept("drbd-08")
    assert recognise(drbd.FORMAT, image).state is None
    put(image, BLOCK + drbd.MAGIC_AT, drbd.MAGIC_84_UNCLEAN)
    assert recognise(drbd.FORMAT, image).state == "dirty"


def test_peers_and_history_are_told() -> None:
    image = kept("drbd-09")
    peers = BLOCK + drbd.MD_09.size - drbd.PEERS * 40
    put(image, peers + 2 * 32, bytes(7) + b"\5" + bytes(7) + b"\7" + bytes(3) + b"\1" + bytes(4))
    put(image, BLOCK + drbd.MD_09.size - 8, bytes(7) + b"\x09")
    details = recognise(drbd.FORMAT, image).details
    assert details["peers"] == [
        {"peer": 2, "bitmap_uuid": f"{5:016x}", "bitmap_dagtag": 7, "bitmap_index": 0, "flags": ["connected"]}
    ]
    assert details["history_uuids"] == [f"{9:016x}"]


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (64, bytes(4)),
        (68, bytes(4)),
        (68, b"\0\0\0\x40"),
        (72, bytes(4)),
        (76, b"\0\0\0\1"),
        (80, b"\0\0\x0f\xff"),
    ],
    ids=["size", "no log", "log behind", "extents", "bitmap behind", "bitmap"],
)
def test_figures_that_cannot_be_true_together(at: int, data: bytes) -> None:
    image = kept("drbd-08")
    put(image, BLOCK + at, data)
    assert ask(drbd.FORMAT, image) is None


def test_an_internal_area_is_not_another_devices() -> None:
    image = bytearray(1 << 20)
    put(image, 0, kept("drbd-08")[BLOCK:])
    assert ask(drbd.FORMAT, image) is None


def test_a_device_that_is_too_small() -> None:
    assert ask(drbd.FORMAT, kept("drbd-08")[-0x10000:]) is not None
    assert ask(drbd.FORMAT, kept("drbd-08")[-0xF000:]) is None


@pytest.mark.parametrize(("at", "data"), [(11, b"g"), (43, b" "), (20, b"\xff")])
def test_a_control_volume_has_32_digits_and_a_line_end(at: int, data: bytes) -> None:
    image = kept("drbdmanage")
    put(image, at, data)
    assert ask(drbdmanage.FORMAT, image) is None


def test_a_control_volume_without_its_index_has_no_version() -> None:
    image = kept("drbdmanage")
    put(image, 0x1000, b"\0")
    assert recognise(drbdmanage.FORMAT, image).version is None
    assert ask(drbdmanage.FORMAT, image[:-1]) is None


def test_a_data_log_that_is_too_small() -> None:
    assert ask(drbdproxy.FORMAT, kept("drbdproxy")[:-1]) is None
