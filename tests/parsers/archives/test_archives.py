"""tar, cpio and WIM: what their headers must agree on, and that nobody offers to mount them."""

import tarfile
from typing import Any

import pytest

from fixtures.structures import build, changed
from pyimount.formats import Format
from pyimount.parsers.archives import cpio, tar, tar_v7, wim
from tests.kept import ask, codes, kept, put, recognise


@pytest.mark.parametrize("declared", [tar.FORMAT, tar_v7.FORMAT, cpio.FORMAT, wim.FORMAT])
def test_an_archive_is_not_offered_for_mounting(declared: Format) -> None:
    assert declared.mounts == ()
    assert declared.unmountable


def test_the_declarations_have_the_length_that_the_formats_say() -> None:
    assert (tar.HEADER.size, cpio.BINARY.size, cpio.ODC.size, cpio.NEWC.size) == (512, 26, 76, 110)
    assert (wim.HEADER.size, wim.RESOURCE.size) == (208, 24)


def header(**more: Any) -> bytes:
    """A tar header with its checksum."""
    fields = {"name": b"a", "mode": b"0000644\0", "size": b"00000000012\0", "typeflag": b"0", **more}
    raw = build(tar.HEADER, **{"magic": tar.POSIX, "version": b"00", **fields})
    return raw[:148] + b"%06o\0 " % tar.checksum(raw) + raw[156:]


def test_the_checksum_of_tar_is_what_python_makes_of_it() -> None:
    raw = tarfile.TarInfo("name").tobuf(tarfile.USTAR_FORMAT)
    assert recognise(tar.FORMAT, raw).checked
    for at in (0, 100, 511):
        damaged = bytearray(raw)
        damaged[at] ^= 0x10
        assert ask(tar.FORMAT, damaged) is None


def test_a_long_name_has_two_parts_and_a_large_size_is_in_base_256() -> None:
    size = b"\x80" + (10 << 30).to_bytes(11, "big")
    first = recognise(tar.FORMAT, header(prefix=b"folder/other", name=b"file", size=size)).details[
        "first_member"
    ]
    assert isinstance(first, dict)
    assert (first["name"], first["size"]) == ("folder/other/file", 10 << 30)


@pytest.mark.parametrize(
    "fields",
    [{"typeflag": b"Z"}, {"size": b"9"}, {"size": b"\xff" * 12}, {"mode": b"abc"}, {"name": b""}],
)
def test_a_tar_that_is_none(fields: dict[str, bytes]) -> None:
    assert ask(tar.FORMAT, header()) is not None
    assert ask(tar.FORMAT, header(**fields)) is None


def test_without_a_magic_there_must_be_nothing_of_later_headers() -> None:
    old = {"magic": b"", "version": b""}
    assert recognise(tar_v7.FORMAT, header(**old)).details["variant"] == "v7"
    assert ask(tar_v7.FORMAT, header(**old, uname=b"root")) is None
    assert ask(tar_v7.FORMAT, header(**old, typeflag=b"x")) is None
    assert ask(tar_v7.FORMAT, header()) is None
    assert ask(tar_v7.FORMAT, bytes(512)) is None
    assert ask(tar_v7.FORMAT, header(**old)[:511]) is None


CPIO = ["cpio", "cpio-crc", "cpio-odc", "cpio-bin"]


@pytest.mark.parametrize("name", CPIO)
def test_a_second_member_must_follow(name: str) -> None:
    image = kept(name)
    magic = bytes(image[: 2 if name == "cpio-bin" else 6])
    second = image.index(magic, 1000)
    image[second] ^= 1
    assert ask(cpio.FORMAT, image) is None
    # An archive that ends before is cut off; two bytes alone are too little to say even that.
    found = ask(cpio.FORMAT, image[:second])
    if name == "cpio-bin":
        assert found is None
    else:
        assert found is not None
        assert codes(found) == ["unsupported", "truncated"]


@pytest.mark.parametrize("name", CPIO)
def test_a_name_must_end_where_its_length_says(name: str) -> None:
    image = kept(name)
    at = image.index(b"file.txt\0")
    put(image, at, b"fi\0e.txt\0")
    assert ask(cpio.FORMAT, image) is None
    put(image, at, b"file.txt.")
    assert ask(cpio.FORMAT, image) is None
    for size in (1, 25, at, at + 8):
        assert ask(cpio.FORMAT, image[:size]) is None


def test_binary_members_are_read_in_both_byte_orders() -> None:
    image = bytes(kept("cpio-bin"))

    def swapped(raw: bytes) -> bytes:
        return bytes(raw[at ^ 1] for at in range(len(raw)))

    length = cpio.BINARY.size
    name = image[length : length + 10]
    data = image[length + 10 : length + 10 + 1800]
    second = image[length + 1810 :]
    turned = swapped(image[:length]) + name + data + swapped(second[:length]) + second[length:]
    little, big = (recognise(cpio.FORMAT, each).details for each in (image, turned))
    assert (little["byte_order"], big["byte_order"]) == ("little", "big")
    assert little["first_member"] == big["first_member"]


def test_an_empty_archive_has_its_trailer_alone() -> None:
    raw = b"070701" + b"00000000" * 11 + b"0000000B" + b"00000000" + b"TRAILER!!!\0"
    assert recognise(cpio.FORMAT, raw).details["first_member"] is None


@pytest.mark.parametrize("mode", ["00000000", "0000F1A4", "0x0081A4", " 00081A4", "zzzzzzzz"])
def test_a_member_of_no_type_is_none(mode: str) -> None:
    image = kept("cpio")
    put(image, 14, mode.encode())
    assert ask(cpio.FORMAT, image) is None


def wim_with(**fields: Any) -> bytearray:
    return changed(kept("wim"), wim.HEADER, 0, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"cbSize": 207},
        {"dwVersion": 1},
        {"usPartNumber": 0},
        {"usPartNumber": 2},
        {"dwImageCount": 0x10000},
    ],
)
def test_a_wim_that_is_none(fields: dict[str, int]) -> None:
    assert ask(wim.FORMAT, wim_with(**fields)) is None


def resource(offset: int, size: int, original: int) -> bytes:
    return size.to_bytes(7, "little") + b"\2" + offset.to_bytes(8, "little") + original.to_bytes(8, "little")


@pytest.mark.parametrize(
    "xml",
    [
        resource(1 << 40, 100, 100),
        resource(208, 100, 101),
        resource(0, 1 << 40, 1 << 40),
        resource(0, 208, 208),
    ],
)
def test_a_list_of_images_that_cannot_be_read(xml: bytes) -> None:
    found = recognise(wim.FORMAT, wim_with(rhXmlData=xml))
    assert found.details["images"] is None
    assert codes(found) == ["unsupported", "damaged"]


def test_a_wim_whose_writing_was_not_finished() -> None:
    found = recognise(wim.FORMAT, wim_with(dwFlags=0x40002))
    assert codes(found) == ["unsupported"]
    assert codes(recognise(wim.FORMAT, wim_with(dwFlags=0x40042))) == ["unsupported", "damaged"]
    assert recognise(wim.FORMAT, wim_with(dwFlags=0x1000002)).details["compression"] == "0x1000000"


def test_a_pipable_wim_without_its_end() -> None:
    image = kept("wim-pipable")
    found = recognise(wim.FORMAT, image[:-1])
    assert (found.fs_size, found.details["images"], codes(found)) == (None, None, ["unsupported", "damaged"])


def images_of(xml: str) -> object:
    """The images that a WIM with this XML is said to hold."""
    raw = ("\ufeff" + xml).encode("utf-16-le")
    image = wim_with(rhXmlData=resource(208, len(raw), len(raw)))[:208] + raw
    return recognise(wim.FORMAT, image).details["images"]


def test_xml_that_means_harm() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY a "aaaa">]><WIM><IMAGE INDEX="1"><NAME>&a;</NAME></IMAGE></WIM>'
    assert images_of(bomb) is None
    assert images_of("<WIM>" + '<IMAGE INDEX="1"/>' * 257 + "</WIM>") is None
    assert images_of("<WIM>" * 40 + "</WIM>" * 40) is None
    odd = "<FILECOUNT>-1</FILECOUNT><CREATIONTIME><HIGHPART>no</HIGHPART></CREATIONTIME>"
    assert images_of(f'<WIM><IMAGE INDEX="x">{odd}</IMAGE></WIM>') == [{"index": None}]
