"""ReFS: checksum, copy and superblock; and what is no ReFS."""

from pathlib import Path

import pytest
from hypothesis import given, settings

import pyimount
from pyimount.parsers.filesystems.refs import FORMAT
from tests.kept import ask, codes, kept, put, recognise
from tests.strategies import edited, edits

SECTOR = 512
SUPERBLOCK_AT = {"refs-1.2": 30 * 16384, "refs-3.7": 30 * 4096}
NAMES = sorted(SUPERBLOCK_AT)


@pytest.mark.parametrize("name", NAMES)
def test_the_checksum_is_verified(name: str) -> None:
    image = kept(name)
    assert recognise(FORMAT, image).checked
    image[56] ^= 1
    found = recognise(FORMAT, image)
    assert (found.checked, codes(found)) == (False, ["bad-checksum"])


@pytest.mark.parametrize("name", NAMES)
def test_a_wiped_header_gives_way_to_the_copy(name: str) -> None:
    image = kept(name)
    whole = recognise(FORMAT, image)
    put(image, 0, bytes(SECTOR))
    found = recognise(FORMAT, image)
    assert (found.offset, found.details) == (len(image) - SECTOR, whole.details)
    assert codes(found) == ["backup-used"]


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_proves_nothing_without_its_checksum_or_a_superblock(name: str) -> None:
    for at in (-SECTOR + 56, SUPERBLOCK_AT[name]):
        image = kept(name)
        put(image, 0, bytes(SECTOR))
        image[at] ^= 1
        assert ask(FORMAT, image) is None


@pytest.mark.parametrize("name", NAMES)
def test_without_a_superblock(name: str) -> None:
    image = kept(name)
    put(image, SUPERBLOCK_AT[name], bytes(128))
    found = recognise(FORMAT, image)
    assert (found.details["volume_identifier"], codes(found)) == (None, ["damaged"])


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (3, b"ReFSX"),
        (11, b"\x01"),  # MustBeZero
        (16, b"none"),  # Identifier
        (20, b"\0\0"),  # Length
        (20, b"\xff\xff"),
        (24, bytes(8)),  # number of sectors
        (24, b"\xff" * 8),
        (32, bytes(4)),  # sector size
        (32, b"\xff\xff\xff\xff"),
        (36, bytes(4)),  # sectors in a cluster block
        (36, b"\x03\0\0\0"),
        (36, b"\0\0\0\x80"),
        (40, b"\0"),  # version
        (40, b"\x09"),
    ],
)
def test_figures_that_cannot_be_true(offset: int, data: bytes) -> None:
    image = kept("refs-3.7")
    put(image, offset, data)
    put(image, len(image) - SECTOR, bytes(SECTOR))
    assert ask(FORMAT, image) is None


def test_it_is_found_on_a_whole_disk(tmp_path: Path) -> None:
    path = tmp_path / "volume.img"
    path.write_bytes(kept("refs-1.2"))
    scan = pyimount.detect(path)
    assert (scan.disks[0].pttype, [volume.type for volume in scan.volumes]) == (None, ["ReFS"])


@pytest.mark.parametrize("end", [0, 71, 72, 511, 512, 513, 30 * 4096, 30 * 4096 + 95, 30 * 4096 + 96])
def test_cut_off_anywhere(end: int) -> None:
    found = ask(FORMAT, kept("refs-3.7")[:end])
    assert (found is None) == (end < 72)
    if found:
        assert codes(found) == (["bad-checksum"] if end < SECTOR else []) + (
            ["damaged"] if end < 30 * 4096 + 96 else []
        )


@given(edits(SECTOR))
@settings(max_examples=60, deadline=None)
def test_any_edit_gives_an_answer(header: list[tuple[int, bytes]]) -> None:
    image = kept("refs-3.7")[: 1 << 18]
    put(image, 0, edited(bytes(image[:SECTOR]), header))
    found = ask(FORMAT, image)
    assert found is None or found.type == "ReFS"
