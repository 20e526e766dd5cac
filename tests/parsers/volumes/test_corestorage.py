"""CoreStorage: the header, what the metadata says, and what damage leaves of it."""

from typing import Any

import pytest
from hypothesis import given, settings

from fixtures.recipes.corestorage import (
    FAMILY,
    LABEL_AT,
    LV,
    LVG,
    METADATA_AT,
    OTHER,
    PV,
    SIZE,
    UNIT,
    USER,
    VOLUME_AT,
    VOLUME_SIZE,
    build,
    context,
    everything,
    listed,
    segments,
    volume,
    wrapped_kek,
)
from pyimount.parsers.volumes.corestorage import BLOCK, BLOCKS_READ, CONTEXT_BLOCK, FORMAT, VOLUME_BLOCK
from tests.kept import ask, codes, recognise
from tests.strategies import Edit, edited, edits


def test_what_it_says() -> None:
    found = recognise(FORMAT, build(everything()))
    assert (found.type, found.uuid, found.version, found.fs_size) == ("cs_fvault2", PV, "1", SIZE)
    assert (found.locked, found.checked, codes(found)) == (True, True, ["locked"])
    assert found.details == {
        "pv_uuid": PV,
        "lvg_uuid": LVG,
        "block_size": UNIT,
        "metadata_size": 4 << 20,
        "label_blocks": [LABEL_AT, 0, 0, 0],
        "transaction": 6,
        # The later of two blocks that describe it counts.
        "logical_volume": {
            "uuid": LV,
            "family_uuid": FAMILY,
            "name": "Untitled",
            "content": "Apple_HFS",
            "size": VOLUME_SIZE,
            "offset": VOLUME_AT * UNIT,
        },
        "encrypted": True,
        "encryption": "aes-xts-plain64",
        "conversion": "Complete",
        "users": [OTHER, USER],
    }


def test_a_volume_that_is_not_encrypted() -> None:
    blocks = [segments(), listed(CONTEXT_BLOCK, 1, context({}, b"")), listed(VOLUME_BLOCK, 2, volume())]
    details = recognise(FORMAT, build(blocks)).details
    assert (details["encrypted"], details["encryption"], details["users"]) == (False, None, [])


def test_a_volume_in_several_pieces_has_no_offset() -> None:
    blocks = [segments(entries=2), *everything()[1:]]
    said = recognise(FORMAT, build(blocks)).details["logical_volume"]
    assert isinstance(said, dict)
    assert (said["offset"], said["size"]) == (None, VOLUME_SIZE)


@pytest.mark.parametrize(
    "changed",
    [
        {"vh_endianness": b"SC"},
        {"kind": 0x11},
        {"vh_cksum_alg": 2},
        {"vh_reserved2": 1},
        {"vh_wipe_key_nbytes": 32},
        {"vh_wipe_key_alg": 0},
        {"vh_blksz": 0},
        {"vh_blksz": 1 << 31},
    ],
)
def test_headers_of_something_else(changed: dict[str, Any]) -> None:
    if "vh_endianness" in changed:
        image = build(everything())
        image[88:90] = changed["vh_endianness"]
        image[SIZE - 512 + 88 : SIZE - 512 + 90] = changed["vh_endianness"]
    else:
        image = build(everything(), **changed)
    assert ask(FORMAT, image) is None


def test_two_letters_alone_are_no_header() -> None:
    image = build(everything())
    image[300] ^= 1
    image[SIZE - 1] ^= 1
    assert ask(FORMAT, image) is None


def test_the_header_at_the_end_serves() -> None:
    image = build(everything())
    image[:512] = bytes(512)
    found = recognise(FORMAT, image)
    assert (found.uuid, codes(found)) == (PV, ["backup-used", "locked"])


def test_metadata_that_cannot_be_read_leaves_the_header() -> None:
    pieces = [
        (LABEL_AT * UNIT + 100, b"\1"),
        (LABEL_AT * UNIT + BLOCK + 32, b"\xff" * 8),
        (METADATA_AT * UNIT + 100, b"\1"),
    ]
    for at, damage in pieces:
        image = build(everything())
        image[at : at + len(damage)] = bytes(byte ^ 0xFF for byte in image[at : at + len(damage)])
        found = recognise(FORMAT, image)
        assert (found.uuid, codes(found)) == (PV, ["damaged", "locked"])
        assert "logical_volume" not in found.details
    for blocks in ([], everything()[:2], [b"\xff" * BLOCK]):
        assert codes(recognise(FORMAT, build(blocks))) == ["damaged", "locked"]


def test_no_more_blocks_are_read_than_the_cap() -> None:
    image = build(everything())
    at = LABEL_AT * UNIT + BLOCK + 8
    image[at : at + 8] = b"\xff" * 8
    assert codes(recognise(FORMAT, image)) == ["locked"]
    assert BLOCKS_READ * BLOCK <= 1 << 20


def test_a_property_list_that_leaves_its_block() -> None:
    block = bytearray(listed(VOLUME_BLOCK, 0, volume()))
    from fixtures.recipes.corestorage import summed

    block[64 + 68 : 64 + 72] = (BLOCK).to_bytes(4, "little")
    assert codes(recognise(FORMAT, build([segments(), summed(bytes(block))]))) == ["damaged", "locked"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<dict>" + b"<key>" * 1000,
        volume().replace(b"0x1000", b"no number"),
        context({USER: wrapped_kek("x")}, b"") + b"\xff\xfe",
    ],
)
def test_property_lists_that_say_nothing(text: bytes) -> None:
    found = recognise(FORMAT, build([segments(), listed(VOLUME_BLOCK, 1, text)]))
    assert found.uuid == PV


def test_every_cut_is_an_answer() -> None:
    image = build(everything())
    for length in (0, 90, 511, 512, 1024, LABEL_AT * UNIT, METADATA_AT * UNIT + 1, VOLUME_AT * UNIT):
        found = ask(FORMAT, image[:length])
        assert found is None or found.uuid == PV


@settings(max_examples=80, deadline=None)
@given(edits(50 << 10))
def test_damage_is_an_answer(changes: list[Edit]) -> None:
    found = ask(FORMAT, edited(build(everything()), changes))
    assert found is None or found.type == "cs_fvault2"
