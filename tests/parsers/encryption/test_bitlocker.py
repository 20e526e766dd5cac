"""BitLocker: kinds of boot sector, states, protectors, and which copy of the metadata counts."""

from typing import Any

import pytest
from hypothesis import given, settings

from fixtures.recipes.bitlocker import LABEL, PLACES, SIZE, VOLUME, boot_sector, information
from pyimount.parsers.encryption.bitlocker import FORMAT, GUID_EOW, INFORMATION
from tests.kept import ask, codes, kept, put, recognise
from tests.strategies import Edit, edited, edits

GUID = "62472a91-12f9-40d4-81b5-4c1567e40d0e"


def volume(sector: bytes, *copies: bytes) -> bytearray:
    """A volume with these copies of the metadata, or one and the same in every place."""
    image = bytearray(SIZE)
    put(image, 0, sector)
    for place, copy in zip(PLACES, copies if len(copies) > 1 else copies * 3, strict=True):
        put(image, place, copy)
    return image


def test_vista_names_one_copy_in_clusters_and_that_one_the_others() -> None:
    image = volume(boot_sector("vista"), information(version=1))
    found = recognise(FORMAT, image)
    assert (found.version, found.label, found.details["kind"], codes(found)) == (
        "1",
        LABEL,
        "vista",
        ["locked"],
    )
    image[PLACES[0] + 200] ^= 1
    found = recognise(FORMAT, image)
    assert (found.checked, codes(found)) == (True, ["backup-used", "locked"])


def test_where_writing_encrypts_another_guid_stands() -> None:
    image = volume(boot_sector(recognition=GUID_EOW), information())
    assert recognise(FORMAT, image).uuid == VOLUME


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({"CurrentState": 4, "NextState": 4}, "encrypted"),
        ({"CurrentState": 5, "NextState": 4}, "encrypting"),
        ({"CurrentState": 2, "NextState": 1}, "decrypting"),
        ({"CurrentState": 3, "NextState": 4}, "paused"),
        ({"CurrentState": 1, "NextState": 1, "FvekType": 0}, "decrypted"),
        ({"CurrentState": 77}, "77"),
        ({"protectors": ((GUID, 0),)}, "suspended"),
    ],
)
def test_states(changed: dict[str, Any], state: str) -> None:
    found = recognise(FORMAT, volume(boot_sector(), information(**changed)))
    assert (found.state, found.locked) == (state, True)


@pytest.mark.parametrize(
    ("priority", "kind"),
    [
        (0x0000, "clear-key"),
        (0x0100, "tpm"),
        (0x0200, "startup-key"),
        (0x0500, "tpm+pin"),
        (0x0300, "tpm+startup-key"),
        (0x0800, "recovery-password"),
        (0x1000, "smart-card"),
        (0x2000, "password"),
        (0x4000, "protector_0x4000"),
        (0x20FF, "password"),
    ],
)
def test_protectors(priority: int, kind: str) -> None:
    found = recognise(FORMAT, volume(boot_sector(), information(protectors=((GUID, priority),))))
    assert found.details["protectors"] == [
        {"guid": GUID, "type": kind, "name": None, "changed": "2024-07-25T09:39:02Z"}
    ]


@pytest.mark.parametrize(
    ("number", "method"),
    [(0x8000, "AES 128 with Diffuser"), (0x8005, "XTS-AES 256"), (0x9999, "0x9999"), (0, None)],
)
def test_methods(number: int, method: str | None) -> None:
    found = recognise(FORMAT, volume(boot_sector(), information(FvekType=number)))
    assert found.details["encryption_method"] == method


def test_the_first_copy_whose_checksum_holds_counts() -> None:
    damaged = bytearray(information())
    damaged[100] ^= 1
    found = recognise(FORMAT, volume(boot_sector(), bytes(damaged), b"", information()))
    assert (found.uuid, found.checked, codes(found)) == (VOLUME, True, ["backup-used", "locked"])
    found = recognise(FORMAT, volume(boot_sector(), bytes(damaged)))
    assert (found.uuid, found.checked, codes(found)) == (VOLUME, False, ["bad-checksum", "locked"])


def test_without_metadata_the_boot_sector_still_tells() -> None:
    found = recognise(FORMAT, volume(boot_sector(), b""))
    assert (found.type, found.uuid, codes(found)) == ("BitLocker", None, ["damaged", "locked"])


@pytest.mark.parametrize("kind", ["windows-7", "to-go"])
def test_a_boot_sector_without_bitlockers_guid_is_none(kind: str) -> None:
    assert ask(FORMAT, volume(boot_sector(kind, recognition=bytes(16)), information())) is None


@pytest.mark.parametrize("size", [0, 513, 65535])
def test_sectors_of_no_size_that_there_is(size: int) -> None:
    sector = bytearray(boot_sector("vista"))
    put(sector, 11, size.to_bytes(2, "little"))
    assert ask(FORMAT, volume(bytes(sector), information(version=1))) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"HeaderSize": 0},
        {"HeaderSize": 0xFFFF},
        {"Version": 3},
        {"EndOffset": 0xFFFFFFFF},
        {"StartOffset": 0},
        {"StartOffset": 500, "EndOffset": 499},
    ],
)
def test_metadata_that_cannot_be_true(changed: dict[str, Any]) -> None:
    found = recognise(FORMAT, volume(boot_sector(), information(**changed)))
    assert (found.uuid, codes(found)) == (None, ["damaged", "locked"])


def test_a_datum_that_lies_ends_the_list() -> None:
    for length in (0, 7, 0xFFFF):
        image = volume(boot_sector(), information())
        put(image, PLACES[0] + INFORMATION.size + 48, length.to_bytes(2, "little"))
        put(image, PLACES[1], bytes(512))
        put(image, PLACES[2], bytes(512))
        found = recognise(FORMAT, image)
        assert (found.uuid, found.details["protectors"]) == (VOLUME, [])


def test_a_cut_off_volume_is_told_and_an_unverified_checksum_is_not_called_wrong() -> None:
    length = len(information()) - 8
    found = recognise(FORMAT, kept("bitlocker")[: PLACES[0] + length])
    assert (found.checked, codes(found)) == (False, ["truncated", "locked"])


def test_every_cut_is_an_answer() -> None:
    image = volume(boot_sector(), information())
    for end in (*range(0, 600, 7), *range(PLACES[0] - 2, PLACES[0] + 1000, 7)):
        found = ask(FORMAT, image[:end])
        assert (found is None) == (end < 200)


@settings(max_examples=60, deadline=None)
@given(edits(512, most=3), edits(900))
def test_any_volume_gives_an_answer(in_sector: list[Edit], in_metadata: list[Edit]) -> None:
    ask(FORMAT, volume(edited(boot_sector(), in_sector), edited(information(), in_metadata)))
