"""BitLocker: every method, every kind of key, and what must not count as opened."""

import io
from hashlib import shake_256
from typing import Any

import pytest
from dissect.fve.bde import BDE
from hypothesis import given, settings
from hypothesis import strategies as st

from pyimount.keys import Key
from pyimount.mapping import bitlocker_keys
from pyimount.mapping.bitlocker import reopen, unlock
from pyimount.mapping.boot_sectors import is_boot_sector
from pyimount.mapping.errors import DamagedHeader, KdfTooCostly, UnlockError, Unsupported, WrongKey
from pyimount.mapping.kdf import STRETCH_WORTH
from pyimount.parsers.encryption.bitlocker import GUID, GUID_EOW
from pyimount.sources.budget import Budget, Meter
from pyimount.sources.errors import ReadError, SourceError
from pyimount.sources.source import BytesSource
from tests.mapping.bitlocker_volume import (
    AES_128,
    EXTERNAL,
    GUIDS,
    HIDDEN,
    MASTER,
    MOVED,
    PASSWORD,
    PLACES,
    RECOVERY,
    SIZE,
    SPECS,
    boxed,
    build,
    fvek,
    ntfs,
    startup_key,
)

ROUNDS = 16


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretch passwords by a few rounds only, as the volumes of these tests are made."""
    monkeypatch.setattr(bitlocker_keys, "STRETCH_ROUNDS", ROUNDS)


def opened(image: bytes, key: str | Key | None = None) -> bytes:
    source = unlock(BytesSource(image), Key.parse(key) if isinstance(key, str) else key).source
    return source.read_at(0, source.size)


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("method", SPECS)
def test_every_method(method: int, sector_size: int) -> None:
    image, plain = build(method=method, sector_size=sector_size)
    assert opened(image) == plain


@pytest.mark.parametrize("method", [0x8000, 0x8002, 0x8004])
def test_the_second_opinion(method: int) -> None:
    image, plain = build(method=method)
    volume = BDE(io.BytesIO(image))
    assert volume.unlock_with_clear_key().open().read() == plain == opened(image)


@pytest.mark.parametrize("kind", ["windows-7", "to-go", "vista"])
def test_every_kind_of_boot_sector(kind: str) -> None:
    image, plain = build(kind=kind)
    assert opened(image) == plain
    assert BDE(io.BytesIO(image)).unlock_with_clear_key().open().read() == plain


@pytest.mark.thorough
def test_passwords_are_stretched_as_windows_does() -> None:
    image, plain = build(("password",), rounds=0x100000)
    found = unlock(BytesSource(image), Key.parse(f"p:{PASSWORD}"))
    assert found.source.read_at(0, SIZE) == plain
    assert found.details == {"protector": GUIDS["password"], "protector_type": "password"}


@pytest.mark.parametrize(
    ("key", "name", "kind"),
    [
        (f"p:{PASSWORD}", "password", "password"),
        (f"r:{RECOVERY}", "recovery", "recovery-password"),
        (f"r:{RECOVERY.replace('-', ' ')}", "recovery", "recovery-password"),
        (f"p:{RECOVERY}", "recovery", "recovery-password"),
        (Key("s", startup_key()), "startup", "startup-key"),
        (Key("f", startup_key()), "startup", "startup-key"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_each_key_opens_its_protector(key: str | Key, name: str, kind: str) -> None:
    image, plain = build(("password", "recovery", "startup"))
    key = Key.parse(key) if isinstance(key, str) else key
    found = unlock(BytesSource(image), key)
    assert found.source.read_at(0, SIZE) == plain
    assert (found.kind, found.parameters) == ("bitlocker", {"protector": GUIDS[name]})
    assert found.details == {"protector": GUIDS[name], "protector_type": kind}
    assert reopen(BytesSource(image), found.parameters, key).read_at(0, SIZE) == plain


@pytest.mark.parametrize("method", SPECS)
def test_the_key_of_the_sectors_itself(method: int) -> None:
    image, plain = build(("password",), method)
    assert opened(image, f"k:{fvek(method).hex()}") == plain
    assert opened(image, Key("m", fvek(method))) == plain


@pytest.mark.parametrize(
    ("key", "tried"),
    [
        ("p:wrong", 1),
        ("r:042647-302313-590458-071500-554323-116567-412181-516967", 1),
        ("r:no recovery password", 0),
        ("r:1-2-3-4-5-6-7-8", 0),
        (Key("s", startup_key(key=bytes(32))), 1),
        (Key("s", startup_key(identifier=GUIDS["password"])), 0),
        (Key("s", b"no startup key"), 0),
        ("k:" + "11" * 16, 1),
        ("k:" + "11" * 15, 0),
        ("k:no hexadecimal", 0),
        (None, 0),
    ],
)
@pytest.mark.usefixtures("quick")
def test_a_wrong_key_is_told(key: str | Key | None, tried: int) -> None:
    image, _ = build(("password", "recovery", "startup"))
    with pytest.raises(WrongKey) as raised:
        opened(image, key)
    assert raised.value.tried == tried
    assert "wrong" not in str(raised.value)


@pytest.mark.usefixtures("quick")
def test_a_key_that_lies_open_opens_whatever_key_was_given() -> None:
    image, plain = build(("password", "clear"))
    assert opened(image) == opened(image, "p:of another volume") == plain


@pytest.mark.usefixtures("quick")
def test_no_more_protectors_are_tried_than_the_budget_allows() -> None:
    image, _ = build(("password",) * 40)
    with pytest.raises(WrongKey) as raised:
        opened(image, "p:wrong")
    assert raised.value.tried == 40
    meter = Meter(Budget(derivation=10 * ROUNDS * STRETCH_WORTH))
    with pytest.raises(KdfTooCostly, match="left of"):
        unlock(BytesSource(bytes(image)), Key.parse("p:wrong"), meter=meter)
    assert meter.derived == 10 * ROUNDS * STRETCH_WORTH


def test_a_damaged_volume_key_is_not_a_wrong_key() -> None:
    for sealed in (boxed(AES_128, fvek(AES_128), bytes(32)), b"", bytes(28)):
        image, _ = build(sealed=sealed)
        with pytest.raises(DamagedHeader):
            opened(image)


def test_without_metadata_it_is_damaged() -> None:
    image = bytearray(build()[0])
    for place in PLACES:
        image[place : place + 512] = bytes(512)
    with pytest.raises(DamagedHeader):
        opened(bytes(image))


@pytest.mark.parametrize("method", [0, 0x2003, 0x8006])
def test_methods_that_are_not_known(method: int) -> None:
    image, _ = build(sealed=boxed(method, bytes(16), MASTER))
    with pytest.raises(Unsupported):
        opened(image)


def test_a_key_of_the_wrong_length_for_its_method_is_damage() -> None:
    image, _ = build(sealed=boxed(AES_128, bytes(15), MASTER))
    with pytest.raises(DamagedHeader):
        opened(image)


def test_what_shows_no_boot_sector_is_not_opened() -> None:
    image, _ = build(first=shake_256(b"no boot sector").digest(512))
    with pytest.raises(Unsupported):
        opened(image)


def test_encrypt_on_write_without_its_notes_is_not_read() -> None:
    image, _ = build(recognition=GUID_EOW)
    with pytest.raises(Unsupported, match="encrypt-on-write"):
        opened(image)


def test_a_decrypted_volume_needs_no_key() -> None:
    for recognition in (GUID, GUID_EOW):
        image, plain = build((), CurrentState=1, NextState=1, StateOffset=0, recognition=recognition)
        assert opened(image) == plain


@pytest.mark.parametrize("limit", [0x200, 0x8000, MOVED, MOVED + 0x400, MOVED + 0x2000, 0x58000])
def test_a_partly_encrypted_volume(limit: int) -> None:
    image, plain = build(StateOffset=limit, CurrentState=3)
    assert opened(image) == plain


def test_sectors_under_conversion_are_not_made_up() -> None:
    image, plain = build(StateOffset=0x58000, StateSize=0x400, CurrentState=2)
    found = unlock(BytesSource(image))
    assert [problem.code.value for problem in found.problems] == ["unsupported"]
    assert found.source.read_at(0, 0x58000) == plain[:0x58000]
    assert found.source.read_at(0x58400, SIZE) == plain[0x58400:]
    with pytest.raises(ReadError):
        found.source.read_at(0x583FF, 1)


@pytest.mark.usefixtures("arithmetic")
def test_reads_anywhere_of_any_length() -> None:
    for method, sector_size in ((0x8000, 512), (0x8002, 512), (0x8004, 4096)):
        image, plain = build(method=method, sector_size=sector_size)
        source = unlock(BytesSource(image)).source
        for number in range(200):
            offset, length = number * 99991 % SIZE, (1, 7, 511, 4096, 70000)[number % 5]
            assert source.read_at(offset, length) == plain[offset : offset + length]


def test_a_truncated_volume_reads_up_to_its_end() -> None:
    image, plain = build()
    short = image[: PLACES[2] + HIDDEN + 300]
    source = unlock(BytesSource(short)).source
    assert source.size == PLACES[2] + HIDDEN
    assert source.read_at(0, SIZE) == plain[: source.size]


@pytest.mark.parametrize(
    "changed",
    [
        {"VirtualizedBlockOffset": MOVED + 1},
        {"VirtualizedBlockOffset": (1 << 64) - 512},
        {"VirtualizedSectors": 0xFFFFFFFF},
        {"InformationOffset": (PLACES[0], 1, 2)},
        {"StateOffset": 0x58001},
        {"InformationOffset": ((1 << 64) - 1,) * 3},
    ],
)
def test_places_that_cannot_be(changed: dict[str, Any]) -> None:
    image, _ = build(**changed)
    with pytest.raises((UnlockError, ReadError)):
        opened(image)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 900), st.binary(min_size=1, max_size=8))
def test_damaged_metadata_never_does_worse(at: int, damage: bytes) -> None:
    image = bytearray(build()[0])
    for place in PLACES:
        image[place + at : place + at + len(damage)] = damage
    try:
        source = unlock(BytesSource(bytes(image))).source
        assert len(source.read_at(0, source.size)) <= SIZE
    except (UnlockError, SourceError):
        pass


def test_boot_sectors() -> None:
    exfat = b"\xebv\x90EXFAT   " + bytes(499) + b"\x55\xaa"
    fat = b"\xeb<\x90MSDOS5.0\x00\x02\x08\x06\x00\x02" + bytes(493) + b"\x55\xaa"
    refs = b"\x00\x00\x00ReFS\0\0\0\0" + bytes(5) + b"FSRS" + bytes(492)
    for sector in (ntfs(), ntfs(4096), exfat, fat, refs):
        assert is_boot_sector(sector)
        assert not is_boot_sector(sector[:511])
        assert not is_boot_sector(bytes(3) + sector[:509])
    assert not is_boot_sector(bytes(510) + b"\x55\xaa")
    assert not is_boot_sector(bytes(512))


def test_theexternal_key_is_what_the_file_holds() -> None:
    assert bitlocker_keys.external_key(startup_key()) == (GUIDS["startup"], EXTERNAL)
    for length in range(len(startup_key())):
        assert bitlocker_keys.external_key(startup_key()[:length]) == (None, b"")
