"""HFS: what stands in the master directory block, and what is none."""

import pytest
from hypothesis import given, settings

from pyimount.parsers.filesystems.hfs import FORMAT
from pyimount.parsers.filesystems.macintosh import MASTER_DIRECTORY_BLOCK
from tests.kept import ask, codes, kept, put, recognise
from tests.strategies import edited, edits

PLACE, SIZE = 1024, MASTER_DIRECTORY_BLOCK.size


def changed(**fields: object) -> bytearray:
    """The kept image with other values in its master directory block."""
    image = kept("hfs")
    block = MASTER_DIRECTORY_BLOCK.construct.parse(bytes(image[PLACE : PLACE + SIZE]))
    put(image, PLACE, MASTER_DIRECTORY_BLOCK.construct.build(dict(block) | fields))
    return image


def test_the_name_is_in_mac_roman() -> None:
    # libblkid hands the bytes on as they are, which is no UTF-8.
    image = changed(drVN_length=5, drVN=b"B\x9fro\xa5".ljust(27, b"\0"))
    assert recognise(FORMAT, image).label == "Büro•"


def test_the_uuid_is_made_of_the_finders_identifier() -> None:
    # What blkid 2.38 shows for this identifier.
    image = changed(drFndrInfo=bytes(24) + bytes.fromhex("0123456789abcdef"))
    found = recognise(FORMAT, image).uuid
    assert found == "de53349f-21ad-3c08-9044-ae10cd9587d3"


@pytest.mark.parametrize(
    ("attributes", "state"), [(0x100, "clean"), (0, "dirty"), (0x900, "dirty"), (0x8100, "clean")]
)
def test_the_state(attributes: int, state: str) -> None:
    assert recognise(FORMAT, changed(drAtrb=attributes)).state == state


@pytest.mark.parametrize(
    "wrong",
    [
        {"drAlBlkSiz": 0},
        {"drAlBlkSiz": 1000},
        {"drNmAlBlks": 0},
        {"drFreeBks": 0xFFFF},
        {"drVBMSt": 2},
        {"drAlBlSt": 3},
        {"drVN_length": 0},
        {"drVN_length": 28},
        {"drEmbedSigWord": b"H+"},
        {"drEmbedSigWord": b"HX"},
    ],
)
def test_what_is_no_hfs(wrong: dict[str, object]) -> None:
    image = changed(**wrong)
    put(image, len(image) - PLACE, bytes(512))
    assert ask(FORMAT, image) is None


def test_the_alternate_block_stands_in() -> None:
    image = kept("hfs")
    whole = recognise(FORMAT, image)
    put(image, PLACE, b"BD" + bytes(510))
    found = recognise(FORMAT, image)
    assert (found.label, found.fs_size, codes(found)) == (whole.label, whole.fs_size, ["backup-used"])
    assert found.offset == len(image) - PLACE


@pytest.mark.parametrize("size", [0, 1024, 1025, 1024 + SIZE - 1])
def test_an_image_that_ends_before_it_is_none(size: int) -> None:
    assert ask(FORMAT, kept("hfs")[:size]) is None


_BASE = bytes(kept("hfs")[:4096])


@settings(max_examples=60, deadline=None)
@given(edits(SIZE))
def test_any_change_is_answered(changes: list[tuple[int, bytes]]) -> None:
    ask(FORMAT, _BASE[:PLACE] + edited(_BASE[PLACE : PLACE + SIZE], changes) + _BASE[PLACE + SIZE :])
