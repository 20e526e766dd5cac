"""Boot images: where their parts lie, what they hold, and headers that lie."""

import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

import pyimount
from fixtures.recipes.boot_images import vendor_image
from fixtures.structures import build, changed
from pyimount.formats import Identity
from pyimount.parsers.archives import android_boot, fit, uboot
from pyimount.parsers.archives.payloads import COMPRESSIONS
from tests.kept import ask, codes, kept, put, recognise


def names(found: Identity) -> list[object]:
    """The names of the parts that the details tell."""
    told = found.details["parts"]
    assert isinstance(told, list)
    return [each["name"] for each in told if isinstance(each, dict)]


def test_the_declarations_have_the_length_that_the_formats_say() -> None:
    sizes = [each.size for each in (android_boot.BOOT, android_boot.BOOT_1, android_boot.BOOT_2)]
    assert [sum(sizes[:count]) for count in (1, 2, 3)] == [1632, 1648, 1660]
    assert (android_boot.BOOT_3.size, android_boot.BOOT_3.size + android_boot.BOOT_4.size) == (1580, 1584)
    vendor = android_boot.VENDOR_BOOT.size
    assert (vendor, vendor + android_boot.VENDOR_BOOT_4.size) == (2112, 2128)
    assert android_boot.RAMDISK_ENTRY.size == 108
    assert (uboot.HEADER.size, fit.HEADER.size) == (64, 40)


def boot(**fields: Any) -> bytes:
    """An Android boot image of version 0."""
    fields = {"kernel_size": 100, "ramdisk_size": 10, "page_size": 2048, **fields}
    return build(android_boot.BOOT, magic=android_boot.MAGIC, **fields).ljust(8192, b"\0")


def test_before_there_were_versions_a_device_tree_could_stand_there() -> None:
    found = recognise(android_boot.FORMAT, boot(second_size=5, header_version=4096))
    assert (found.version, names(found)) == ("0", ["kernel", "ramdisk", "second", "dt"])
    assert found.fs_size == 4 * 2048 + 4096


def test_parts_that_are_not_there_are_not_told() -> None:
    assert names(recognise(android_boot.FORMAT, boot(kernel_size=0))) == ["ramdisk"]


@pytest.mark.parametrize(
    "fields",
    [
        {"page_size": 0},
        {"page_size": 2049},
        {"page_size": 1 << 18},
        {"kernel_size": 0, "ramdisk_size": 0},
        {"header_version": 1},
        {"header_version": 3},
    ],
)
def test_a_boot_image_that_is_none(fields: dict[str, int]) -> None:
    assert ask(android_boot.FORMAT, boot(**fields)) is None
    assert ask(android_boot.FORMAT, boot()[:1631]) is None


@pytest.mark.parametrize("name", ["android-boot", "android-boot-4", "android-vendor-boot"])
def test_a_header_must_have_the_length_of_its_version(name: str) -> None:
    image = kept(name)
    length = {"android-boot": (1644, 1660), "android-boot-4": (20, 1584)}.get(name, (2096, 2128))
    assert struct.unpack_from("<I", image, length[0])[0] == length[1]
    put(image, length[0], struct.pack("<I", length[1] + 4))
    assert ask(android_boot.FORMAT, image) is None


def test_a_vendors_ramdisk_without_a_table() -> None:
    assert names(recognise(android_boot.FORMAT, vendor_image(3))) == ["vendor_ramdisk", "dtb"]
    for wrong in (
        {"vendor_ramdisk_table_entry_size": 107},
        {"vendor_ramdisk_table_entry_num": 3},
        {"vendor_ramdisk_table_entry_num": 65, "vendor_ramdisk_table_size": 1 << 20},
    ):
        found = names(recognise(android_boot.FORMAT, vendor_image(4, **wrong)))
        assert found[0] == "vendor_ramdisk"


@pytest.mark.parametrize("magic", COMPRESSIONS)
def test_what_is_compressed_is_no_volume(magic: bytes) -> None:
    image = kept("android-boot")
    assert len(recognise(android_boot.FORMAT, image).contents) == 1
    put(image, 8192, magic)
    assert recognise(android_boot.FORMAT, image).contents == ()


def checked(**fields: Any) -> bytes:
    """A legacy image with both checksums right."""
    data = fields.pop("data", b"x" * 100)
    fields = {
        "ih_os": 5,
        "ih_arch": 2,
        "ih_type": 2,
        "ih_size": len(data),
        "ih_dcrc": zlib.crc32(data),
        **fields,
    }
    raw = build(uboot.HEADER, ih_magic=uboot.MAGIC, **fields)
    return raw[:4] + zlib.crc32(raw).to_bytes(4, "big") + raw[8:] + data


def test_the_checksums_of_a_legacy_image() -> None:
    image = bytearray(checked())
    assert recognise(uboot.FORMAT, image).checked
    image[-1] ^= 1
    assert codes(recognise(uboot.FORMAT, image)) == ["unsupported", "bad-checksum"]
    image[40] ^= 1  # a letter of the name
    found = recognise(uboot.FORMAT, image)
    assert (found.checked, codes(found)) == (False, ["unsupported", "bad-checksum", "bad-checksum"])
    image[28] = 200  # and an operating system that is none
    assert ask(uboot.FORMAT, image) is None
    assert ask(uboot.FORMAT, image[:63]) is None
    assert ask(uboot.FORMAT, checked(ih_size=0)) is None


def test_data_that_is_not_all_there_or_too_much_to_be_summed() -> None:
    assert recognise(uboot.FORMAT, checked()[:100]).details["data_checksum_ok"] is None
    large = bytes(uboot.CRC_CAP + 1)
    assert recognise(uboot.FORMAT, checked(data=large, ih_dcrc=1)).details["data_checksum_ok"] is None


def test_a_compressed_filesystem_is_no_volume() -> None:
    assert len(recognise(uboot.FORMAT, checked(ih_type=uboot.FILESYSTEM)).contents) == 1
    assert recognise(uboot.FORMAT, checked(ih_type=uboot.FILESYSTEM, ih_comp=1)).contents == ()
    assert recognise(uboot.FORMAT, checked(ih_type=2)).contents == ()


@pytest.mark.parametrize("sizes", [[1 << 31], [40, 1 << 31], [1] * 40, []])
def test_sizes_of_parts_that_lie(sizes: list[int]) -> None:
    data = b"".join(size.to_bytes(4, "big") for size in (*sizes, 0)).ljust(400, b"x")
    found = recognise(uboot.FORMAT, checked(ih_type=uboot.MULTI, data=data))
    assert len(names(found)) == sum(size < 400 for size in sizes[: uboot.MAX_PARTS])


def blob(*words: int | bytes, strings: bytes = b"data\0", **more: int) -> bytes:
    """A device tree of these tokens."""
    body = b"".join(word if isinstance(word, bytes) else word.to_bytes(4, "big") for word in words)
    fields = {
        "totalsize": 40 + len(body) + len(strings), "off_dt_struct": 40, "size_dt_struct": len(body),
        "off_dt_strings": 40 + len(body), "size_dt_strings": len(strings), "version": 17,
        "last_comp_version": 16, **more,
    }  # fmt: skip
    return build(fit.HEADER, magic=fit.MAGIC, **fields) + body + strings


ROOT = (fit.BEGIN_NODE, bytes(4))
IMAGE = (
    fit.BEGIN_NODE, b"images\0\0", fit.BEGIN_NODE, b"one\0", fit.PROP, 4, 0, b"abcd", fit.END_NODE,
    fit.END_NODE,
)  # fmt: skip


def test_a_small_tree() -> None:
    found = recognise(fit.FORMAT, blob(*ROOT, *IMAGE, fit.NOP, fit.END_NODE, fit.END))
    assert (names(found), codes(found)) == (["one"], ["unsupported"])


@pytest.mark.parametrize(
    "words",
    [
        (*ROOT, *IMAGE),  # no end
        (*ROOT, *IMAGE, 77),
        (*ROOT, *IMAGE, fit.END),  # in the middle of a node
        (*ROOT, *IMAGE, fit.END_NODE, fit.END_NODE),
        (*ROOT, *IMAGE, fit.PROP, 0xFFFFFFFF, 0),
        (*ROOT, *IMAGE, *(fit.BEGIN_NODE, b"a\0\0\0") * 17),
        (*ROOT, *IMAGE, fit.BEGIN_NODE, b"a" * 300),
        (*ROOT, *IMAGE, *(fit.NOP,) * fit.MAX_TOKENS, fit.END_NODE, fit.END),
    ],
)
def test_a_tree_that_is_damaged_behind_its_images(words: tuple[int | bytes, ...]) -> None:
    found = recognise(fit.FORMAT, blob(*words))
    assert (names(found), codes(found)) == (["one"], ["unsupported", "damaged"])


def test_a_device_tree_without_images_is_none() -> None:
    assert ask(fit.FORMAT, blob(*ROOT, fit.END_NODE, fit.END)) is None
    assert ask(fit.FORMAT, blob(*ROOT)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 1},
        {"version": 16, "last_comp_version": 17},
        {"totalsize": 50},
        {"off_dt_struct": 39},
        {"off_dt_struct": 42},
        {"off_dt_strings": 0},
        {"size_dt_struct": 0},
        {"size_dt_strings": 0xFFFFFFFF},
    ],
)
def test_a_tree_whose_header_lies(fields: dict[str, int]) -> None:
    words = (*ROOT, *IMAGE, fit.END_NODE, fit.END)
    assert ask(fit.FORMAT, blob(*words)) is not None
    assert ask(fit.FORMAT, blob(*words, **fields)) is None


def test_no_more_images_than_are_told_of() -> None:
    many = [
        word
        for number in range(65)
        for word in (fit.BEGIN_NODE, b"%03d\0" % number, fit.PROP, 4, 0, b"abcd", fit.END_NODE)
    ]
    image = blob(*ROOT, fit.BEGIN_NODE, b"images\0\0", *many, fit.END_NODE, fit.END_NODE, fit.END)
    found = recognise(fit.FORMAT, image)
    assert (len(names(found)), codes(found)) == (fit.IMAGES_CAP, ["unsupported", "damaged"])


def test_an_image_within_an_image_within_an_image_ends_somewhere(tmp_path: Path) -> None:
    image = checked()
    for _ in range(40):
        image = checked(data=image, ih_type=uboot.FILESYSTEM)
    path = tmp_path / "image"
    path.write_bytes(image)
    scan = pyimount.detect(path)
    assert [problem.code for problem in scan.disks[0].problems] == ["budget"]


def test_a_ramdisk_beyond_the_end_is_not_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(kept("android-boot"))[:8192])
    (volume,) = pyimount.detect(path).volumes
    assert "truncated" in [problem.code for problem in volume.problems]
    image = changed(kept("android-boot"), android_boot.BOOT, 0, ramdisk_size=0xFFFFFFFF)
    path.write_bytes(bytes(image))
    whole, ramdisk = pyimount.detect(path).volumes
    assert (ramdisk.type, ramdisk.size) == ("cpio", 0xFFFFFFFF)
    assert "truncated" in [problem.code for problem in whole.problems]
