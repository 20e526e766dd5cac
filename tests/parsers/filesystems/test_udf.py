"""UDF: where the anchor may lie, which sequence counts, and what is no UDF."""

import subprocess
from binascii import crc_hqx
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.workshop import find_tool
from pyimount.parsers.filesystems.udf import FORMAT
from pyimount.parsers.filesystems.udf_descriptors import LOGICAL, PRIMARY
from pyimount.sources.source import BytesSource
from pyimount.sources.view import View
from tests.kept import ask, codes, kept, put, recognise
from tests.strategies import edited, edits

BLOCK = 512
MAIN, RESERVE, INTEGRITY, ANCHOR = 96, 3936, 128, 256


def sealed(raw: bytes, block: int) -> bytes:
    """A descriptor with its place, its CRC and its checksum put right."""
    out = bytearray(raw)
    out[12:16] = block.to_bytes(4, "little")
    length = int.from_bytes(out[10:12], "little")
    out[8:10] = crc_hqx(bytes(out[16 : 16 + length]), 0).to_bytes(2, "little")
    out[4] = 0
    out[4] = sum(out[:16]) & 0xFF
    return bytes(out)


def descriptor(image: bytearray, tag: int, start: int = MAIN) -> int:
    """The block of the descriptor of a kind in a sequence."""
    return next(
        block
        for block in range(start, start + 16)
        if image[block * BLOCK] == tag and not image[block * BLOCK + 1]
    )


def change(image: bytearray, block: int, offset: int, data: bytes) -> None:
    """Change a descriptor, and seal it again."""
    at = block * BLOCK
    put(image, at + offset, data)
    put(image, at, sealed(bytes(image[at : at + BLOCK]), block))


def offset_of(layout: object, name: str) -> int:
    """Where a field of a declared structure lies."""
    at = 0
    for part in layout.construct.subcons:  # type: ignore[attr-defined]
        if part.name == name:
            return at
        at += part.sizeof()
    raise KeyError(name)


VOLUME_SET = offset_of(PRIMARY, "VolumeSetIdentifier")
CHARSET = offset_of(PRIMARY, "DescriptorCharacterSet")


def dstring(name: str, size: int) -> bytes:
    """A name in OSTA Compressed Unicode."""
    wide = max(map(ord, name), default=0) > 0xFF
    body = (b"\x10" + name.encode("utf-16-be")) if wide else (b"\x08" + name.encode("latin-1"))
    return body.ljust(size - 1, b"\0") + bytes((len(body),))


@pytest.mark.parametrize(
    ("name", "uuid"),
    [
        ("5906E7A800531574LinuxUDF", "5906e7a800531574"),
        ("5906E7A8LinuxUDF", "5906e7a84c696e75"),
        ("My volume set", "4d7920766f6c756d"),
        ("short", None),
        ("日本語です", "e697a5e69cace8aa"),
        ("12345678", "1234567800000000"),
    ],
)
def test_the_uuid_comes_from_the_volume_set(name: str, uuid: str | None) -> None:
    # As libblkid's gen_uuid_from_volset_id has it.
    image = kept("udf")
    change(image, descriptor(image, 1), VOLUME_SET, dstring(name, 128))
    found = recognise(FORMAT, image)
    assert (found.uuid, codes(found)) == (uuid, [])


def test_names_in_another_character_set_are_not_shown() -> None:
    image = kept("udf")
    change(image, descriptor(image, 1), CHARSET, b"\1".ljust(64, b"\0"))
    found = recognise(FORMAT, image)
    assert (found.uuid, found.details["volume_id"]) == (None, None)
    assert found.label == "Évidence"


@pytest.mark.parametrize("kept_anchor", [256, -1, -257])
def test_each_anchor_alone_is_enough(kept_anchor: int) -> None:
    image = kept("udf")
    blocks = len(image) // BLOCK
    for anchor in (256, blocks - 1, blocks - 257):
        if anchor != kept_anchor % blocks:
            put(image, anchor * BLOCK, bytes(BLOCK))
    assert recognise(FORMAT, image).label == "Évidence"


def test_without_an_anchor_it_is_none() -> None:
    image = kept("udf")
    blocks = len(image) // BLOCK
    for anchor in (256, blocks - 1, blocks - 257):
        put(image, anchor * BLOCK, bytes(BLOCK))
    assert ask(FORMAT, image) is None


def test_an_anchor_with_a_wrong_checksum_does_not_count() -> None:
    image = kept("udf")
    blocks = len(image) // BLOCK
    for anchor in (256, blocks - 1, blocks - 257):
        image[anchor * BLOCK + 20] ^= 1
    assert ask(FORMAT, image) is None


def test_the_reserve_sequence_stands_in() -> None:
    image = kept("udf")
    put(image, MAIN * BLOCK, bytes(16 * BLOCK))
    found = recognise(FORMAT, image)
    assert (found.label, codes(found), found.checked) == ("Évidence", ["backup-used"], True)


def test_a_damaged_descriptor_is_taken_from_the_reserve_sequence() -> None:
    image = kept("udf")
    image[descriptor(image, 6) * BLOCK + 90] ^= 0xFF
    found = recognise(FORMAT, image)
    assert (found.label, codes(found)) == ("Évidence", ["backup-used"])


def test_a_damaged_descriptor_without_any_other_is_told() -> None:
    image = kept("udf")
    put(image, RESERVE * BLOCK, bytes(16 * BLOCK))
    image[descriptor(image, 6) * BLOCK + 90] ^= 0xFF
    found = recognise(FORMAT, image)
    assert (found.label, found.checked) == (None, False)
    assert codes(found) == ["bad-checksum", "damaged"]


def test_the_descriptor_with_the_highest_number_prevails() -> None:
    image = kept("udf")
    logical = descriptor(image, 6)
    free = next(block for block in range(MAIN, MAIN + 16) if image[block * BLOCK] == 8)
    at = offset_of(LOGICAL, "LogicalVolumeIdentifier")
    raw = bytearray(image[logical * BLOCK : (logical + 1) * BLOCK])
    raw[16:20] = (99).to_bytes(4, "little")
    raw[at : at + 128] = dstring("renamed", 128)
    put(image, (free + 1) * BLOCK, sealed(bytes(image[free * BLOCK : (free + 1) * BLOCK]), free + 1))
    put(image, free * BLOCK, sealed(bytes(raw), free))
    assert recognise(FORMAT, image).label == "renamed"


def test_an_open_volume_is_dirty() -> None:
    image = kept("udf")
    change(image, INTEGRITY, 28, bytes(4))
    assert recognise(FORMAT, image).state == "dirty"


def test_the_last_integrity_descriptor_counts() -> None:
    image = kept("udf")
    later = bytearray(image[INTEGRITY * BLOCK : (INTEGRITY + 1) * BLOCK])
    later[28:32] = bytes(4)
    put(image, (INTEGRITY + 1) * BLOCK, sealed(bytes(later), INTEGRITY + 1))
    assert recognise(FORMAT, image).state == "dirty"


def test_a_chain_of_integrity_descriptors_that_leads_back_ends() -> None:
    image = kept("udf")
    change(image, INTEGRITY, 32, (BLOCK).to_bytes(4, "little") + INTEGRITY.to_bytes(4, "little"))
    found = recognise(FORMAT, image)
    assert (found.state, codes(found)) == ("clean", [])


def test_damaged_integrity_is_told_and_the_identity_stands() -> None:
    image = kept("udf")
    put(image, INTEGRITY * BLOCK, bytes(BLOCK))
    found = recognise(FORMAT, image)
    assert (found.label, found.version, found.state, codes(found)) == ("Évidence", "2.01", None, ["damaged"])


@pytest.mark.parametrize("count", [0x100, 0xFFFFFFFF])
def test_a_count_of_partitions_beyond_the_block_is_not_followed(count: int) -> None:
    image = kept("udf")
    change(image, INTEGRITY, 72, count.to_bytes(4, "little"))
    assert recognise(FORMAT, image).free is None


def test_without_a_recognition_sequence_the_anchor_is_enough_but_told() -> None:
    image = kept("udf")
    put(image, 32768, bytes(6 * 2048))
    assert codes(recognise(FORMAT, image)) == ["damaged"]


def test_a_known_sector_size_is_tried_first() -> None:
    image = kept("udf")
    view = View(BytesSource(bytes(image)), sector_size=BLOCK)
    assert FORMAT.parse(view).block_size == BLOCK


@pytest.mark.parametrize("size", [0, 32768, 32775, 33 * 1024, 256 * BLOCK, 257 * BLOCK - 1])
def test_an_image_without_its_anchor_is_none(size: int) -> None:
    assert ask(FORMAT, kept("udf")[:size]) is None


def test_an_image_that_ends_after_its_anchor_keeps_its_name() -> None:
    assert recognise(FORMAT, kept("udf")[: 257 * BLOCK]).label == "Évidence"


_BASE = bytes(kept("udf")[: 260 * BLOCK])
_HOT = (MAIN * BLOCK, INTEGRITY * BLOCK, ANCHOR * BLOCK)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(_HOT), edits(4 * BLOCK, most=4), st.booleans())
def test_any_change_is_answered(start: int, changes: list[tuple[int, bytes]], right: bool) -> None:
    piece = bytearray(edited(_BASE[start : start + 4 * BLOCK], changes))
    if right:
        for at in range(0, len(piece), BLOCK):
            piece[at : at + BLOCK] = sealed(bytes(piece[at : at + BLOCK]), (start + at) // BLOCK)
    ask(FORMAT, _BASE[:start] + bytes(piece) + _BASE[start + 4 * BLOCK :])


@pytest.mark.needs("mkudffs")
@pytest.mark.parametrize(("year", "label"), [(2040, "New"), (2001, "Old")])
def test_formatted_twice_with_blocks_of_two_sizes(year: int, label: str, tmp_path: Path) -> None:
    """The one that was recorded last counts, whichever size of blocks it has; that there are two is said."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(16 << 20))
    for size, name in (("2048", "Old"), ("512", "New")):
        subprocess.run(
            [str(find_tool("mkudffs")), "-b", size, "-l", name, "-m", "hd", str(path)],
            check=True,
            capture_output=True,
        )
    image = bytearray(path.read_bytes())
    integrity = next(
        at
        for at in range(len(image) // BLOCK)
        if image[at * BLOCK : at * BLOCK + 2] == b"\x09\x00"
        and int.from_bytes(image[at * BLOCK + 12 : at * BLOCK + 16], "little") == at
    )
    for block, at in ((descriptor(image, 1), offset_of(PRIMARY, "RecordingDateandTime")), (integrity, 16)):
        change(image, block, at + 2, year.to_bytes(2, "little"))
    found = recognise(FORMAT, image)
    assert (found.label, codes(found)) == (label, ["ambiguous"])
    assert ("Old" if label == "New" else "New") in found.problems[0].message
