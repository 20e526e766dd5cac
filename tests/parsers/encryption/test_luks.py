"""LUKS: headers that differ, are damaged, cut off or lie; what a hostile JSON may do."""

import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings

from pyimount.parsers.encryption.luks import FORMAT, HDR_SIZES, MAGIC_SECONDARY, PHDR_1
from tests.kept import ask, codes, kept, put, recognise
from tests.strategies import Edit, edited, edits

HEADER = 16384
CSUM = 448
KEYBLOCKS = PHDR_1.size - 8 * 48
MIB = 1 << 20


def seal(image: bytearray, offset: int = 0) -> None:
    """Put the right checksum on the LUKS2 header at ``offset``."""
    put(image, offset + CSUM, bytes(64))
    put(image, offset + CSUM, sha256(bytes(image[offset : offset + HEADER])).digest())


def with_json(document: bytes) -> bytearray:
    """A LUKS2 volume whose two headers have this JSON area."""
    image = kept("luks2")
    for offset in (0, HEADER):
        put(image, offset + 4096, document.ljust(HEADER - 4096, b"\0"))
        seal(image, offset)
    return image


def document() -> dict[str, Any]:
    image = kept("luks2", HEADER)
    found: dict[str, Any] = json.loads(bytes(image[4096:]).split(b"\0", 1)[0])
    return found


def with_document(changed: dict[str, Any]) -> bytearray:
    return with_json(json.dumps(changed).encode())


def test_the_label_of_a_damaged_primary_comes_from_the_secondary() -> None:
    image = kept("luks2")
    put(image, 24, b"other")
    found = recognise(FORMAT, image)
    assert (found.label, found.offset, found.checked) == ("vault", HEADER, True)
    assert codes(found) == ["backup-used", "locked"]


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (6, b"\0\3"),
        (8, b"\xff" * 8),
        (8, (HEADER + 1).to_bytes(8, "big")),
        (256, b"\1"),
        (168, bytes(40)),
        (4096, b"["),
    ],
)
def test_a_primary_that_cannot_be_true_is_passed_over(offset: int, data: bytes) -> None:
    image = kept("luks2")
    put(image, offset, data)
    found = recognise(FORMAT, image)
    assert (found.label, found.offset, found.checked) == ("vault", HEADER, True)


def test_both_headers_damaged_are_told_and_the_volume_still_known() -> None:
    image = kept("luks2")
    image[CSUM] ^= 1
    image[HEADER + CSUM] ^= 1
    found = recognise(FORMAT, image)
    assert (found.label, found.offset, found.checked) == ("vault", 0, False)
    assert codes(found) == ["bad-checksum", "locked"]


def test_a_damaged_secondary_is_told() -> None:
    image = kept("luks2")
    put(image, HEADER, bytes(HEADER))
    found = recognise(FORMAT, image)
    assert (found.checked, codes(found)) == (True, ["damaged", "locked"])


def test_the_newer_of_two_sound_headers_counts() -> None:
    image = kept("luks2")
    put(image, HEADER + 16, (99).to_bytes(8, "big") + b"newer\0")
    seal(image, HEADER)
    found = recognise(FORMAT, image)
    assert (found.label, found.details["seqid"]) == ("newer", 99)
    assert codes(found) == ["copies-differ", "backup-used", "locked"]
    put(image, 16, (100).to_bytes(8, "big"))
    seal(image)
    found = recognise(FORMAT, image)
    assert (found.label, found.details["seqid"]) == ("vault", 100)
    assert codes(found) == ["copies-differ", "locked"]


@pytest.mark.parametrize("size", HDR_SIZES)
def test_every_place_of_a_secondary_is_looked_at(size: int) -> None:
    header = kept("luks2", HEADER)
    put(header, 0, MAGIC_SECONDARY)
    put(header, 8, size.to_bytes(8, "big"))
    put(header, 256, size.to_bytes(8, "big"))
    put(header, CSUM, bytes(64))
    whole = bytes(header).ljust(size, b"\0")
    put(header, CSUM, sha256(whole).digest())
    found = recognise(FORMAT, bytes(size) + bytes(header).ljust(size, b"\0"))
    assert (found.label, found.offset, found.checked) == ("vault", size, True)


def test_a_secondary_of_another_place_is_none() -> None:
    image = kept("luks2-backup", 4 * HEADER)
    assert ask(FORMAT, image) is not None
    assert ask(FORMAT, bytes(HEADER) + bytes(image)) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b'{"segments":',
        b"[" * 12000,
        b'{"a":' * 2000,
        b'{"config": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
    ],
)
def test_a_json_that_cannot_be_read_leaves_the_rest(text: bytes) -> None:
    found = recognise(FORMAT, with_json(text))
    assert (found.label, found.version, found.checked) == ("vault", "2", True)
    assert "damaged" in codes(found)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"segments": 5, "keyslots": [], "config": "x"},
        {"segments": {"0": 5}, "keyslots": {"0": None}, "tokens": {"0": []}},
        {
            "segments": {"0": {"offset": [], "size": {}, "type": 1, "flags": 7}},
            "config": {"requirements": []},
        },
        {"segments": {"0": {"offset": "9" * 5000, "sector_size": 1e400, "encryption": None}}},
        {"keyslots": {str(number): {} for number in range(300)}},
    ],
)
def test_a_json_of_other_types_is_an_answer(changed: dict[str, Any]) -> None:
    found = recognise(FORMAT, with_document(changed))
    assert found.uuid is not None
    json.dumps(dict(found.details), allow_nan=False)
    keyslots = found.details["keyslots"]
    assert isinstance(keyslots, list)
    assert len(keyslots) <= 32


def test_segments_tokens_and_requirements_are_told() -> None:
    changed = document()
    changed["segments"] = {
        "10": {"type": "linear", "offset": "33554432", "size": "dynamic"},
        "2": {
            "type": "hw-opal-crypt", "offset": "16777216", "size": "1048576", "encryption": "aes-xts-plain64",
            "sector_size": 4096, "iv_tweak": "0", "integrity": {"type": "hmac(sha256)"},
            "opal_segment_number": 1, "opal_key_size": 32, "opal_segment_size": "1048576",
        },
    }  # fmt: skip
    changed["tokens"] = {"0": {"type": "systemd-tpm2", "keyslots": ["0"]}}
    changed["config"]["requirements"] = {"mandatory": ["online-reencrypt-v2"]}
    found = recognise(FORMAT, with_document(changed))
    first, last = found.details["segments"]  # type: ignore[misc]
    assert isinstance(first, dict)
    assert isinstance(last, dict)
    assert (first["opal_key_size"], first["integrity"], last["offset"]) == (32, "hmac(sha256)", 33554432)
    assert found.details["sector_size"] == 4096
    assert found.details["tokens"] == [{"token": "0", "type": "systemd-tpm2", "keyslots": ["0"]}]
    assert found.details["requirements"] == ["online-reencrypt-v2"]
    assert found.details["hardware_encryption"] == "opal"


def test_a_volume_that_only_the_drive_encrypts() -> None:
    """As cryptsetup luksFormat --hw-opal-only writes it."""
    changed = document()
    changed["segments"] = {
        "0": {
            "type": "hw-opal", "offset": "16777216", "size": "1048576", "opal_segment_number": 1,
            "opal_key_size": 32, "opal_segment_size": "1048576",
        },
    }  # fmt: skip
    changed["config"]["requirements"] = {"mandatory": ["opal"]}
    details = recognise(FORMAT, with_document(changed)).details
    assert (details["hardware_encryption"], details["encryption"]) == ("opal", None)
    assert details["requirements"] == ["opal"]
    assert recognise(FORMAT, kept("luks2")).details["hardware_encryption"] is None


def test_keyslots_tell_their_costs() -> None:
    keyslots = recognise(FORMAT, kept("luks2")).details["keyslots"]
    assert isinstance(keyslots, list)
    (slot,) = keyslots
    assert isinstance(slot, dict)
    assert (slot["kdf"], slot["time"], slot["memory"], slot["cpus"]) == ("argon2id", 4, 32, 1)
    assert (slot["key_size"], slot["offset"], slot["size"]) == (512, 32768, 258048)


def test_a_volume_cut_off_before_its_payload_is_told() -> None:
    assert codes(recognise(FORMAT, kept("luks2", 8 * MIB))) == ["truncated", "locked"]
    assert codes(recognise(FORMAT, kept("luks1", MIB))) == ["truncated", "locked"]


def test_a_header_kept_apart_has_no_payload() -> None:
    changed = document()
    changed["segments"]["0"]["offset"] = "0"
    found = recognise(FORMAT, with_document(changed)[: 4 * MIB])
    assert (found.details["detached_header"], codes(found)) == (True, ["locked"])
    image = kept("luks1", 2 * MIB)
    put(image, 104, bytes(4))
    found = recognise(FORMAT, image)
    assert (found.details["detached_header"], codes(found)) == (True, ["locked"])


def test_the_keyslots_of_version_1() -> None:
    keyslots = recognise(FORMAT, kept("luks1")).details["keyslots"]
    assert isinstance(keyslots, list)
    assert keyslots[0] == {"slot": 0, "active": True, "iterations": 1000, "stripes": 4000, "offset": 4096}
    assert [slot["active"] for slot in keyslots if isinstance(slot, dict)] == [True] + [False] * 7


@pytest.mark.parametrize(
    ("at", "number"), [(0, 5), (4, 0), (44, 0), (44, 0xFFFFFFFF), (40, 4096), (40, 0xFFFFFFFF)]
)
def test_a_keyslot_that_cannot_be_true_is_told(at: int, number: int) -> None:
    # Its mark, its iterations, its stripes, and where its material lies.
    image = kept("luks1")
    put(image, KEYBLOCKS + at, number.to_bytes(4, "big"))
    assert codes(recognise(FORMAT, image)) == ["damaged", "locked"]


@pytest.mark.parametrize(
    ("at", "data"), [(8, bytes(32)), (108, bytes(4)), (108, b"\xff" * 4), (168, bytes(40))]
)
def test_a_version_1_header_that_cannot_be_true(at: int, data: bytes) -> None:
    # No cipher, a key of no bytes or of 4 GiB, no UUID.
    image = kept("luks1")
    put(image, at, data)
    assert ask(FORMAT, image) is None


def test_every_cut_is_an_answer() -> None:
    for name in ("luks1", "luks2"):
        image = kept(name, 3 * HEADER)
        for end in (*range(0, 600, 13), *range(600, len(image), 997)):
            found = ask(FORMAT, image[:end])
            assert found is None or found.locked


@settings(max_examples=60, deadline=None)
@given(edits(700))
def test_any_header_gives_an_answer(changes: list[Edit]) -> None:
    for name in ("luks1", "luks2"):
        image = bytes(kept(name, 2 * HEADER))
        ask(FORMAT, edited(image[:4096], changes) + image[4096:])


@settings(max_examples=60, deadline=None)
@given(edits(900))
def test_any_json_gives_an_answer(changes: list[Edit]) -> None:
    image = with_json(edited(json.dumps(document()).encode(), changes))
    recognise(FORMAT, image[: 2 * HEADER])
