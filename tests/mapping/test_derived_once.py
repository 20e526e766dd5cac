"""Who scans a volume and then reads it derives its key once, for all kinds of lock."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

import pyimount
from pyimount.cli import main
from pyimount.keys import Key, Keyring
from pyimount.mapping import bitlocker, bitlocker_keys, open_layer
from pyimount.mapping.kdf import Argon2, Pbkdf2, derive_once
from pyimount.sources.source import BytesSource
from tests.mapping.bitlocker_volume import PASSWORD, build
from tests.mapping.luks_volumes import CONTENT, DATA_SIZE, PASSPHRASE, luks1, luks2


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every derivation that is made."""
    made: list[object] = []

    def counting(kind: type, name: str) -> None:
        own: Callable[..., bytes] = getattr(kind, name)

        def derive(*values: object) -> bytes:
            made.append(values)
            return own(*values)

        monkeypatch.setattr(kind, name, derive)

    for kind, name in ((Pbkdf2, "derive"), (Argon2, "derive"), (bitlocker_keys, "stretched")):
        counting(kind, name)  # type: ignore[arg-type]
    return made


KEY = f"p:{PASSPHRASE.decode()}"


@pytest.mark.parametrize("made", [luks1, luks2])
def test_who_reads_after_a_scan_derives_nothing(
    made: Callable[[], bytearray], counted: list[object], tmp_path: Path
) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(made())
    keys = Keyring({"*": KEY})
    scan = pyimount.detect(image, keys=keys)
    (opened,) = scan.children(scan["0"])
    once = len(counted)
    assert once >= 2  # the keyslot's, and the digest
    for _ in range(2):
        with open_layer(scan, opened, keys=keys) as source:
            assert source.read_at(0, DATA_SIZE) == CONTENT
    assert len(counted) == once
    # Another keyring, of the same words, knows nothing of it.
    with open_layer(scan, opened, keys={"*": KEY}):
        assert len(counted) == 2 * once


def test_the_command_derives_it_once(counted: list[object], tmp_path: Path) -> None:
    image, plain = tmp_path / "disk.img", tmp_path / "plain"
    image.write_bytes(luks2())
    (opened,) = pyimount.detect(image, keys={"*": KEY}).volumes[1:]
    once = len(counted)
    assert main(["export", str(image), opened.index, "--key", KEY, "-o", str(plain)]) == 0
    assert plain.read_bytes() == CONTENT
    assert len(counted) == 2 * once


def test_bitlocker_stretches_a_password_once(counted: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitlocker_keys, "STRETCH_ROUNDS", 16)
    image, plain = build(("password",), rounds=16)
    key = Key.parse(f"p:{PASSWORD}")
    found = bitlocker.unlock(BytesSource(image), key)
    assert bitlocker.reopen(BytesSource(image), found.parameters, key).read_at(0, len(plain)) == plain
    assert len(counted) == 1


def test_other_volumes_and_other_figures_are_derived_anew() -> None:
    key, made = Key.parse("p:key"), []

    def derive(kdf: Pbkdf2, length: int) -> bytes:
        return derive_once(key, kdf, key.secret, length)

    first = Pbkdf2(hash="sha256", iterations=10, salt=b"a")
    for kdf in (
        first,
        first.replaced(salt=b"b"),
        first.replaced(iterations=11),
        first.replaced(hash="sha512"),
    ):
        for length in (32, 64):
            made.append(derive(kdf, length))
            assert made[-1] == kdf.derive(b"key", length) == derive(kdf, length)
    assert len(set(made)) == 8


def test_what_was_derived_is_bounded_and_does_not_show() -> None:
    key = Key.parse("p:key")
    for number in range(1000):
        key.derived(number, lambda: b"derived")
    assert len(key._derived) <= 64
    assert "derived" not in repr(key)
    with pytest.raises(TypeError, match="not to be stored"):
        pickle.dumps(key)
