"""cramfs, romfs, UBIFS and zonefs: checksums, and headers that lie."""

import zlib

import pytest

from fixtures.structures import changed
from pyimount.parsers.filesystems import cramfs, romfs, ubifs, zonefs
from tests.kept import ask, codes, kept, put, recognise


def test_the_declarations_have_the_length_that_the_formats_say() -> None:
    assert cramfs.SUPERBLOCK.size == 76
    assert zonefs.SUPERBLOCK.size == 4096
    # The rest of the node is authentication and padding.
    assert ubifs.SUPERBLOCK.size == 128


@pytest.mark.parametrize("name", ["cramfs", "cramfs-big-endian", "cramfs-boot-sector"])
def test_the_checksum_of_cramfs_is_over_all_of_it(name: str) -> None:
    image = kept(name)
    assert recognise(cramfs.FORMAT, image).checked
    image[-1] ^= 1
    found = recognise(cramfs.FORMAT, image)
    assert (found.checked, codes(found)) == (False, ["bad-checksum"])


def test_a_cramfs_of_which_not_all_is_there_or_too_much_to_be_summed() -> None:
    assert codes(recognise(cramfs.FORMAT, kept("cramfs", 2048))) == []
    large = changed(kept("cramfs"), cramfs.SUPERBLOCK, 0, size=cramfs.CRC_CAP + 1) + bytes(1 << 20)
    found = recognise(cramfs.FORMAT, large)
    assert (found.checked, codes(found)) == (False, [])


def test_the_first_cramfs_had_neither_size_nor_checksum() -> None:
    found = recognise(cramfs.FORMAT, changed(kept("cramfs"), cramfs.SUPERBLOCK, 0, flags=0))
    assert (found.version, found.fs_size, found.label, codes(found)) == ("1", None, "pressed", [])


@pytest.mark.parametrize(
    "fields",
    [
        {"signature": b"Compressed ROMFZ"},
        {"flags": 0x10003},
        {"root_mode": 0o100644},
        {"size": 75},
        {"size": 0},
    ],
)
def test_a_cramfs_that_is_none(fields: dict[str, int]) -> None:
    assert ask(cramfs.FORMAT, changed(kept("cramfs"), cramfs.SUPERBLOCK, 0, **fields)) is None


def test_another_signature_is_allowed_with_its_flag() -> None:
    fields = {"signature": b"Something else..", "flags": 0x203}
    found = recognise(cramfs.FORMAT, changed(kept("cramfs"), cramfs.SUPERBLOCK, 0, **fields))
    assert codes(found) == ["bad-checksum"]


def test_the_checksum_of_romfs_is_over_512_bytes() -> None:
    image = kept("romfs")
    assert recognise(romfs.FORMAT, image).checked
    image[512] ^= 1
    assert recognise(romfs.FORMAT, image).checked
    image[511] ^= 1
    found = recognise(romfs.FORMAT, image)
    assert (found.checked, codes(found)) == (False, ["bad-checksum"])


def test_a_romfs_smaller_than_its_header_is_none() -> None:
    for size in (0, 16, 31):
        assert ask(romfs.FORMAT, changed(kept("romfs"), romfs.HEADER, 0, full_size=size)) is None


@pytest.mark.parametrize("cut", [32, 511])
def test_a_romfs_cut_off_in_what_is_summed(cut: int) -> None:
    assert codes(recognise(romfs.FORMAT, kept("romfs", cut))) == ["bad-checksum"]
    assert ask(romfs.FORMAT, kept("romfs", 31)) is None


def test_the_checksum_of_ubifs() -> None:
    image = kept("ubifs")
    assert recognise(ubifs.FORMAT, image).checked
    image[4095] ^= 1
    assert codes(recognise(ubifs.FORMAT, image)) == ["bad-checksum"]
    assert ask(ubifs.FORMAT, image[:4095]) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"node_type": 7},
        {"len": 0},
        {"min_io_size": 0},
        {"min_io_size": 3},
        {"leb_size": 0},
        {"leb_size": 0xFFFFFFFF},
        {"leb_cnt": 0},
        {"leb_cnt": 41},
    ],
)
def test_an_ubifs_that_is_none(fields: dict[str, int]) -> None:
    """The same magic begins every node of UBIFS, so a superblock must be one."""
    assert ask(ubifs.FORMAT, changed(kept("ubifs"), ubifs.SUPERBLOCK, 0, **fields)) is None


def test_the_checksum_of_zonefs() -> None:
    image = kept("zonefs")
    assert recognise(zonefs.FORMAT, image).checked
    image[8] ^= 0x20
    found = recognise(zonefs.FORMAT, image)
    assert (found.label, found.checked, codes(found)) == ("Zoned", False, ["bad-checksum"])


def test_owners_are_told_where_their_feature_is_set() -> None:
    image = changed(kept("zonefs"), zonefs.SUPERBLOCK, 0, s_features=6, s_crc=0)
    put(image, 4, (zlib.crc32(bytes(image[:4096])) ^ 0xFFFFFFFF).to_bytes(4, "little"))
    found = recognise(zonefs.FORMAT, image)
    assert found.details == {"features": ["uid", "gid"], "uid": 5, "gid": 6}
    assert found.checked


def test_a_zonefs_with_something_in_what_is_reserved_is_none() -> None:
    image = kept("zonefs")
    image[4095] = 1
    assert ask(zonefs.FORMAT, image) is None
    assert ask(zonefs.FORMAT, changed(kept("zonefs"), zonefs.SUPERBLOCK, 0, s_features=16)) is None
    assert ask(zonefs.FORMAT, kept("zonefs", 4095)) is None
