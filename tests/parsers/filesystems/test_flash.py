"""JFFS2, YAFFS2 and LogFS: what must hold together where there is no superblock, and damage."""

from typing import Any

import pytest

from fixtures.recipes.flash import logfs_superblock, yaffs2_image
from fixtures.structures import changed
from pyimount.parsers.filesystems import jffs2, logfs, yaffs2
from tests.kept import ask, codes, kept, put, recognise

KIB = 1 << 10
JFFS2 = ["jffs2", "jffs2-big-endian"]


def test_the_declarations_have_the_length_that_the_formats_say() -> None:
    assert (jffs2.HEADER.size, jffs2.INODE.size, jffs2.INODE_BE.size) == (12, 68, 68)
    assert (yaffs2.HEADER["big"].size, yaffs2.TAGS["big"].size) == (512, 16)
    assert logfs.SUPERBLOCK.size == 256


@pytest.mark.parametrize("name", JFFS2)
def test_the_checksum_of_the_first_node_of_jffs2(name: str) -> None:
    image = kept(name)
    assert recognise(jffs2.FORMAT, image).checked
    image[8] ^= 1
    found = recognise(jffs2.FORMAT, image)
    assert (found.checked, codes(found)) == (False, ["bad-checksum"])


@pytest.mark.parametrize("name", JFFS2)
def test_a_node_of_jffs2_alone_with_a_wrong_checksum_is_none(name: str) -> None:
    image = kept(name, 12)
    assert ask(jffs2.FORMAT, image) is not None
    image[8] ^= 1
    assert ask(jffs2.FORMAT, image) is None
    assert ask(jffs2.FORMAT, kept(name, 11)) is None


def test_a_jffs2_whose_first_blocks_are_erased() -> None:
    image = b"\xff" * 0x20000 + bytes(kept("jffs2"))
    found = recognise(jffs2.FORMAT, image)
    assert (found.offset, found.details["erase_block_size"], codes(found)) == (0x20000, 64 * KIB, [])
    # What is not erased is something else, which has a JFFS2 behind it.
    assert ask(jffs2.FORMAT, bytes(0x20000) + bytes(kept("jffs2"))) is None


def test_a_length_that_leads_nowhere_ends_the_walk() -> None:
    image = kept("jffs2")
    for length in (0, 11, 0xFFFFFFFF):
        put(image, 12 + 4, length.to_bytes(4, "little"))
        assert recognise(jffs2.FORMAT, image).details["nodes_seen"] == {"cleanmarker": 1}


@pytest.mark.parametrize(
    ("chunk", "spare", "tags_at"),
    [
        (chunk, spare, tags_at)
        for chunk, spare in yaffs2.LAYOUTS
        for tags_at in yaffs2.TAGS_AT
        if tags_at + 16 <= spare
    ],
)
@pytest.mark.parametrize("order", ["little", "big"])
def test_every_layout_of_spare_areas(chunk: int, spare: int, tags_at: int, order: str) -> None:
    details = recognise(yaffs2.FORMAT, yaffs2_image(order, chunk, spare, tags_at)).details
    assert [details[key] for key in ("chunk_size", "spare_size", "tags_offset")] == [chunk, spare, tags_at]


def test_the_first_object_may_be_a_file_in_the_root_directory() -> None:
    image = yaffs2_image("little")[2048 + 64 :]
    found = recognise(yaffs2.FORMAT, image).details["first_object"]
    assert isinstance(found, dict)
    assert (found["id"], found["type"], found["name"]) == (257, "file", "file.txt")


@pytest.mark.parametrize("name", [b"a", b"n" * 255])
@pytest.mark.parametrize(("last", "known"), [(0xFF, True), (0, True), (0x41, False)])
def test_the_byte_behind_the_longest_name_is_not_the_names(name: bytes, last: int, known: bool) -> None:
    # mkyaffs2image fills a header with ones, and writes a name of 255 bytes, with zeros behind it.
    image = bytearray(yaffs2_image("little"))
    image[10 : 10 + 256] = name.ljust(255, b"\0") + bytes((last,))
    found = ask(yaffs2.FORMAT, image)
    assert (found is not None) == known
    if found is not None:
        first = found.details["first_object"]
        assert isinstance(first, dict)
        assert first["name"] == name.decode()


@pytest.mark.parametrize(
    "fields",
    [
        {"type": 0},
        {"type": 6},
        {"parent_obj_id": 2},
        {"sum_no_longer_used": 0},
        {"yst_mode": 0o100644},
        {"yst_mode": 0o40755 | 1 << 16},
        {"name": b"a/b".ljust(256, b"\0")},
        {"name": b"a\x07".ljust(256, b"\0")},
        {"name": b"a\0b".ljust(256, b"\0")},
        {"equiv_id": 5},
    ],
)
def test_a_header_of_yaffs2_that_is_none(fields: dict[str, Any]) -> None:
    image = bytearray(yaffs2_image("little"))
    assert ask(yaffs2.FORMAT, changed(image, yaffs2.HEADER["little"], 0, **fields)) is None


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (2048, 0),  # sequence number
        (2048, 0xFFFFFFFF),
        (2048 + 4, 0),  # object
        (2048 + 8, 1),  # chunk: that of data
        (4160, 0xFFF),  # the next chunk's
        (4160 + 4, 0),
        (4160 + 8, 5),
    ],
)
def test_tags_that_do_not_fit_the_header(at: int, value: int) -> None:
    image = bytearray(yaffs2_image("little"))
    put(image, at, value.to_bytes(4, "little"))
    assert ask(yaffs2.FORMAT, image) is None


def test_a_yaffs2_of_which_only_the_root_directory_was_written() -> None:
    image = yaffs2_image("little")[: 2048 + 64] + b"\xff" * 4096
    assert ask(yaffs2.FORMAT, image) is not None
    for size in (0, 9, 511, 2048 + 15, 2048 + 64, 4096 + 64 + 15):
        assert ask(yaffs2.FORMAT, image[:size]) is None


@pytest.mark.parametrize("at", [11, 36])
def test_the_checksums_of_logfs(at: int) -> None:
    """Of the segment's number, and of a number of levels."""
    image = kept("logfs")
    assert recognise(logfs.FORMAT, image).checked
    image[at] ^= 1
    found = recognise(logfs.FORMAT, image)
    assert (found.checked, codes(found)) == (False, ["bad-checksum"])


@pytest.mark.parametrize(
    "fields",
    [
        {"type": 2},
        {"pad": 1},
        {"ds_block_shift": 8},
        {"ds_block_shift": 18},
        {"ds_segment_shift": 32},
        {"ds_write_shift": 18},
        {"ds_filesystem_size": 0},
        {"ds_filesystem_size": 1 << 63},
    ],
)
def test_a_logfs_that_is_none(fields: dict[str, int]) -> None:
    image = logfs_superblock(0, **fields).ljust(1024 * KIB, b"\0")
    assert ask(logfs.FORMAT, image) is None
    # The second superblock speaks where the first does not.
    found = recognise(logfs.FORMAT, image[: 1020 * KIB] + logfs_superblock(7).ljust(4096, b"\0"))
    assert codes(found) == ["backup-used"]
