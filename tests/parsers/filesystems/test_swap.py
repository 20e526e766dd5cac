"""Swap: page sizes, byte orders, versions, hibernation's signatures, headers that are none."""

import struct

import pytest

from pyimount.formats import Usage
from pyimount.parsers.filesystems.swap import FORMAT, HEADER, HEADER_BE
from tests.kept import ask, codes, kept, put, recognise

KIB = 1 << 10
PAGE_SIZES = [4096, 8192, 16384, 32768, 65536]
UUID = bytes(range(16))


def area(
    page_size: int, signature: bytes, *, order: str = "<", version: int = 1, last_page: int = 15
) -> bytearray:
    image = bytearray(1024 * KIB)
    header = struct.pack(f"{order}III16s16s", version, last_page, 2, UUID, b"label")
    put(image, 1024, header)
    put(image, page_size - 10, signature)
    return image


def test_the_header_is_512_bytes() -> None:
    assert HEADER.size == HEADER_BE.size == 512


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_every_page_size_in_both_byte_orders(page_size: int, order: str) -> None:
    found = recognise(FORMAT, area(page_size, b"SWAPSPACE2", order=order))
    assert (found.type, found.version, found.label) == ("swap", "1", "label")
    assert found.uuid == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert found.fs_size == 16 * page_size
    assert (found.details["bad_pages"], found.details["usable_size"]) == (2, 13 * page_size)


@pytest.mark.parametrize(
    ("signature", "version"),
    [
        (b"S1SUSPEND\0", "s1suspend"),
        (b"S2SUSPEND\0", "s2suspend"),
        (b"ULSUSPEND\0", "ulsuspend"),
        (b"LINHIB0001", "linhib0001"),
    ],
)
@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_hibernation(page_size: int, signature: bytes, version: str) -> None:
    found = recognise(FORMAT, area(page_size, signature))
    assert (found.type, found.version, found.state) == ("swsuspend", version, "hibernated")
    assert (found.label, found.details["page_size"]) == ("label", page_size)
    assert found.usage in (None, Usage.OTHER)
    assert FORMAT.usage is Usage.OTHER


def test_version_0_has_no_names() -> None:
    found = recognise(FORMAT, area(4096, b"SWAP-SPACE"))
    assert (found.type, found.version, found.label, found.uuid) == ("swap", "0", None, None)


def test_something_else_where_the_padding_is_hides_the_names() -> None:
    """The test of libblkid for a page that never had a label."""
    image = area(4096, b"SWAPSPACE2")
    put(image, 1024 + 44 + 32 * 4, b"\1")
    found = recognise(FORMAT, image)
    assert (found.version, found.label, found.uuid) == ("1", None, None)


@pytest.mark.parametrize(("version", "last_page"), [(0, 15), (2, 15), (1 << 31, 15), (1, 0)])
def test_a_signature_behind_another_header_is_rejected(version: int, last_page: int) -> None:
    assert ask(FORMAT, area(4096, b"SWAPSPACE2", version=version, last_page=last_page)) is None


def test_more_bad_pages_than_pages_is_damage() -> None:
    found = recognise(FORMAT, area(4096, b"SWAPSPACE2", last_page=1))
    assert codes(found) == ["damaged"]
    assert found.details["usable_size"] == 0


def test_tuxonice_without_a_swap_signature() -> None:
    image = area(4096, bytes(10))
    put(image, 0, b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c")
    found = recognise(FORMAT, image)
    assert (found.type, found.version, found.label) == ("swsuspend", "tuxonice", "label")


@pytest.mark.parametrize("cut", [4095, 9 * 4096])
def test_less_than_ten_pages_is_no_swap_area(cut: int) -> None:
    assert ask(FORMAT, kept("swap")[:cut]) is None
    assert ask(FORMAT, kept("swap")[: 10 * 4096]) is not None


@pytest.mark.parametrize("signature", [b"SWAPSPACE2", b"SWAP-SPACE", b"S1SUSPEND", b"LINHIB0001"])
def test_an_area_has_ten_pages_at_least(signature: bytes) -> None:
    assert ask(FORMAT, area(4096, signature)[: 40 * KIB]) is not None
    assert ask(FORMAT, area(4096, signature)[: 40 * KIB - 1]) is None
