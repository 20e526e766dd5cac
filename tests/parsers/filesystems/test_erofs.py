"""EROFS: checksum, block sizes, blocks above 32 bits."""

from typing import Any

import pytest

from pyimount.formats.checksums import crc32c
from pyimount.parsers.filesystems.erofs import FORMAT, OFFSET, SUPERBLOCK
from tests.kept import ask, codes, kept, put, recognise


def changed(image: bytearray, **fields: Any) -> bytearray:
    """The image with fields of the superblock set, and its checksum made anew."""
    superblock = SUPERBLOCK.construct.parse(bytes(image[OFFSET : OFFSET + SUPERBLOCK.size]))
    assert fields.keys() <= superblock.keys()
    superblock |= {"checksum": 0, **fields}
    put(image, OFFSET, SUPERBLOCK.construct.build(superblock))
    block_size = 1 << superblock.blkszbits
    end = block_size if block_size > OFFSET else OFFSET + block_size
    put(image, OFFSET + 4, crc32c(bytes(image[OFFSET:end])).to_bytes(4, "little"))
    return image


def test_the_checksum_goes_to_the_end_of_the_block() -> None:
    image = kept("erofs")
    assert changed(kept("erofs")) == image
    assert recognise(FORMAT, image).checked
    image[4095] ^= 1
    found = recognise(FORMAT, image)
    assert (found.checked, codes(found)) == (False, ["bad-checksum"])


@pytest.mark.parametrize("bits", [9, 10, 11])
def test_small_blocks(bits: int) -> None:
    found = recognise(FORMAT, changed(kept("erofs"), blkszbits=bits))
    assert (found.block_size, found.checked, codes(found)) == (1 << bits, True, [])


@pytest.mark.parametrize("bits", [0, 8, 17, 255])
def test_block_sizes_that_are_none(bits: int) -> None:
    image = kept("erofs")
    image[OFFSET + 12] = bits
    assert ask(FORMAT, image) is None


def test_without_a_checksum_there_must_be_blocks() -> None:
    image = kept("erofs-lz4")
    assert codes(recognise(FORMAT, image)) == []
    put(image, OFFSET + 36, bytes(4))
    assert ask(FORMAT, image) is None


def test_blocks_above_32_bits_count_with_the_feature_only() -> None:
    wide = recognise(FORMAT, changed(kept("erofs"), feature_incompat=0x80, root_nid_2b=3))
    plain = recognise(FORMAT, changed(kept("erofs"), feature_incompat=0, root_nid_2b=3))
    assert wide.fs_size - plain.fs_size == (3 << 32) * 4096


def test_label_and_compression() -> None:
    fields = {"volume_name": b"sixteen bytes lo", "feature_incompat": 0x3, "available_compr_algs": 0x9}
    found = recognise(FORMAT, changed(kept("erofs"), **fields))
    assert found.label == "sixteen bytes lo"
    assert found.details["compression"] == ["lz4", "zstd"]


@pytest.mark.parametrize("seconds", [(1 << 64) - 1, 1 << 63])
def test_a_time_that_no_calendar_has(seconds: int) -> None:
    assert recognise(FORMAT, changed(kept("erofs"), epoch=seconds)).created is None


def test_cut_off() -> None:
    image = kept("erofs")
    assert ask(FORMAT, image[: OFFSET + SUPERBLOCK.size - 1]) is None
    # The superblock is whole; what its checksum covers is not.
    assert codes(recognise(FORMAT, image[: OFFSET + SUPERBLOCK.size])) == ["bad-checksum"]
