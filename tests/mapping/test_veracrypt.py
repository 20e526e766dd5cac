"""VeraCrypt and TrueCrypt volumes, built by the declarations; cryptsetup is the second opinion."""

import hashlib
import json
import random
import zlib
from pathlib import Path
from typing import Any

import pytest

from fixtures.workshop import Workshop
from pyimount.cli import main
from pyimount.keys import Key
from pyimount.mapping import veracrypt
from pyimount.mapping.errors import DamagedHeader, KdfTooCostly, Unsupported, WrongKey
from pyimount.mapping.veracrypt import FLAG_SYSTEM, HEADER
from pyimount.problems import Code
from pyimount.sources.budget import Budget, Meter
from pyimount.sources.source import BytesSource, Source
from tests.mapping.luks_volumes import xts
from tests.needing import needs

PASSPHRASE = b"open sesame"
SALT = bytes(range(64))
VOLUME_KEY = random.Random(3).randbytes(64)  # noqa: S311
SIZE, DATA_AT = 400 << 10, 128 << 10
CONTENT = random.Random(4).randbytes(64 << 10)  # noqa: S311
FILES = [random.Random(5).randbytes(64), bytes(range(256)) * 5000]  # noqa: S311
PIM = 1
"""A low one: 16000 iterations."""
NO_PIM = Key("p", PASSPHRASE)
PASS = Key("p", PASSPHRASE, pim=PIM)


def header(
    password: bytes = PASSPHRASE,
    *,
    hash_by: str = "sha512",
    iterations: int = 15000 + 1000 * PIM,
    **changes: Any,
) -> bytes:
    """An encrypted header, 512 bytes."""
    fields: dict[str, Any] = {
        "magic": b"VERA", "version": 5, "required_program_version": 0x010B, "reserved": bytes(16),
        "hidden_volume_size": 0, "volume_size": len(CONTENT), "area_offset": DATA_AT,
        "area_size": len(CONTENT),
        "flags": 0, "sector_size": 512, "reserved_2": bytes(120), "header_crc": 0,
        "keys": VOLUME_KEY.ljust(256, b"\0"), "keys_crc": zlib.crc32(VOLUME_KEY.ljust(256, b"\0")),
    }  # fmt: skip
    plain = HEADER.construct.build(fields | changes)
    if "header_crc" not in changes:
        plain = HEADER.construct.build(fields | changes | {"header_crc": zlib.crc32(plain[:188])})
    key = hashlib.pbkdf2_hmac(hash_by, password, SALT, iterations, 64)
    return SALT + xts(key, plain + bytes(64))[: len(plain)]


def volume(*headers: tuple[int, bytes], data_at: int = DATA_AT) -> bytearray:
    """Noise with these headers, and the encrypted content."""
    image = bytearray(random.Random(9).randbytes(SIZE))  # noqa: S311
    for offset, raw in headers:
        at = offset % SIZE
        image[at : at + 512] = raw
    image[data_at : data_at + len(CONTENT)] = xts(VOLUME_KEY, CONTENT, first=data_at // 512)
    return image


def source(image: bytearray | bytes) -> Source:
    return BytesSource(bytes(image))


def whole(plain: Source) -> bytes:
    return plain.read_at(0, plain.size)


@pytest.mark.parametrize(
    ("at", "what"), [(0, "outer"), (64 << 10, "hidden"), (-128 << 10, "outer"), (-64 << 10, "hidden")]
)
def test_a_header_at_each_of_its_places(at: int, what: str) -> None:
    image = source(volume((at, header())))
    opened = veracrypt.unlock(image, PASS)
    assert whole(opened.source) == CONTENT
    assert (opened.details["volume"], opened.details["header_offset"]) == (what, at % SIZE)
    assert whole(veracrypt.reopen(image, opened.parameters, PASS)) == CONTENT
    assert VOLUME_KEY.hex() not in repr(opened)
    with pytest.raises(WrongKey):
        veracrypt.reopen(image, opened.parameters, Key("p", b"close sesame"))


def test_outer_and_hidden_have_passphrases_of_their_own() -> None:
    image = source(volume((0, header(b"outer", area_size=512)), (64 << 10, header(b"hidden"))))
    assert veracrypt.unlock(image, Key("p", b"outer", pim=PIM)).source.size == 512
    assert whole(veracrypt.unlock(image, Key("p", b"hidden", pim=PIM)).source) == CONTENT


@pytest.mark.parametrize("hash_by", ["sha512", "sha256", "blake2s", "ripemd160"])
def test_each_hash(hash_by: str) -> None:
    image = source(volume((0, header(hash_by=hash_by))))
    opened = veracrypt.unlock(image, PASS)
    assert whole(opened.source) == CONTENT
    assert str(opened.details["hash"]).startswith(hash_by)
    assert opened.details["iterations"] == 16000


@pytest.mark.parametrize(("hash_by", "iterations"), [("ripemd160", 2000), ("sha512", 1000), ("sha1", 2000)])
def test_truecrypt(hash_by: str, iterations: int) -> None:
    made = header(hash_by=hash_by, iterations=iterations, magic=b"TRUE")
    image = source(volume((0, made)))
    opened = veracrypt.reopen(image, {"header_offset": 0, "product": "truecrypt", "hash": hash_by}, NO_PIM)
    assert whole(opened) == CONTENT


@pytest.mark.thorough
def test_the_default_iterations() -> None:
    opened = veracrypt.unlock(source(volume((0, header(iterations=500_000)))), NO_PIM)
    assert opened.details["iterations"] == 500_000
    assert whole(opened.source) == CONTENT


def pool(password: bytes, files: list[bytes], size: int) -> bytes:
    """The specification's key file pool, byte by byte from the bits of CRC-32."""
    made = [0] * size
    for data in files:
        crc, at = 0xFFFFFFFF, 0
        for byte in data[: 1 << 20]:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
            for shift in (24, 16, 8, 0):
                made[at % size] = (made[at % size] + (crc >> shift)) % 256
                at += 1
    return bytes((a + b) % 256 for a, b in zip(made, password.ljust(size, b"\0"), strict=True))


@pytest.mark.parametrize("password", [b"", PASSPHRASE, b"0123456789" * 10])
def test_key_files(password: bytes) -> None:
    files = [FILES[0], FILES[1][:5000]]
    mixed = pool(password, files, 128 if len(password) > 64 else 64)
    image = source(volume((0, header(mixed))))
    opened = veracrypt.unlock(image, Key("p", password, keyfiles=files, pim=PIM))
    assert whole(opened.source) == CONTENT
    again = veracrypt.reopen(image, opened.parameters, Key("p", password, keyfiles=files, pim=PIM))
    assert whole(again) == CONTENT
    if not password:
        opened = veracrypt.unlock(image, Key("f", files[0], keyfiles=files[1:], pim=PIM))
        assert whole(opened.source) == CONTENT


def test_the_command_takes_key_files_and_multiplier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, keyfile = tmp_path / "volume.hc", tmp_path / "key"
    image.write_bytes(volume((0, header(pool(PASSPHRASE, FILES[:1], 64)))))
    keyfile.write_bytes(FILES[0])
    keys = ("--try-veracrypt", "--key", f"p:{PASSPHRASE.decode()}", "--pim", str(PIM))
    assert main(["detect", "--json", *keys, str(image)]) == 0
    assert json.loads(capsys.readouterr().out)["disks"][0]["volumes"][0]["type"] is None
    assert main(["detect", "--json", *keys, "--veracrypt-key-file", str(keyfile), str(image)]) == 0
    (found,) = json.loads(capsys.readouterr().out)["disks"][0]["volumes"]
    assert (found["type"], found["locked"], found["volumes"][0]["size"]) == (
        "crypto_TCRYPT", False, len(CONTENT),
    )  # fmt: skip
    assert main(["detect", *keys, "--veracrypt-key-file", str(tmp_path / "none"), str(image)]) == 2
    assert "VeraCrypt key file" in capsys.readouterr().err


def test_an_encrypted_system_is_the_whole_disk() -> None:
    area = 32 << 10
    made = header(
        hash_by="sha256", iterations=2048 * PIM, flags=FLAG_SYSTEM, area_offset=area, area_size=len(CONTENT)
    )
    image = volume((62 * 512, made), data_at=area)
    opened = veracrypt.unlock(source(image), PASS)
    assert opened.details["volume"] == "system"
    assert whole(opened.source) == bytes(image[:area]) + CONTENT + bytes(image[area + len(CONTENT) :])


def test_a_wrong_key_cannot_be_told_from_no_volume() -> None:
    for image, places in ((volume((0, header())), 5), (bytearray(512), 1), (bytearray(100), 0)):
        with pytest.raises(WrongKey, match=f"at the {places} places") as caught:
            veracrypt.unlock(source(image), Key("p", b"close sesame", pim=PIM))
        assert caught.value.tried == places
    for kind in "mrsk":
        with pytest.raises(WrongKey, match="opens no VeraCrypt volume"):
            veracrypt.unlock(source(bytes(512)), Key(kind, b"key"))


def test_keys_that_do_not_match_their_checksum_are_no_header() -> None:
    with pytest.raises(WrongKey):
        veracrypt.unlock(source(volume((0, header(keys_crc=1)))), PASS)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"version": 3}, Unsupported),
        ({"sector_size": 513}, DamagedHeader),
        ({"area_offset": 131073}, DamagedHeader),
        ({"area_offset": 1 << 63}, DamagedHeader),
        ({"area_size": 0}, DamagedHeader),
        ({"area_size": (1 << 64) - 1}, DamagedHeader),
    ],
)
def test_a_header_that_cannot_be_followed(changes: dict[str, int], error: type[Exception]) -> None:
    with pytest.raises(error):
        veracrypt.unlock(source(volume((0, header(**changes)))), PASS)


def test_data_that_is_cut_off_is_read_as_far_as_it_goes() -> None:
    image = volume((0, header(area_size=1 << 62)))
    opened = veracrypt.unlock(source(image), PASS)
    assert [problem.code for problem in opened.problems] == [Code.TRUNCATED]
    assert opened.source.size == SIZE - DATA_AT
    assert opened.source.read_at(0, len(CONTENT)) == CONTENT


def test_what_costs_too_much_is_not_attempted() -> None:
    with pytest.raises(KdfTooCostly):
        veracrypt.unlock(source(volume()), PASS, meter=Meter(Budget(derivation=1000)))
    with pytest.raises(KdfTooCostly):
        veracrypt.unlock(source(volume()), Key("p", PASSPHRASE, pim=(1 << 21) - 1))
    for pim in (-1, 1 << 21):
        with pytest.raises(Unsupported, match="multiplier"):
            veracrypt.unlock(source(volume()), Key("p", PASSPHRASE, pim=pim))


def test_cryptsetup_reads_the_same_header(tmp_path: Path) -> None:
    needs("cryptsetup")
    image = tmp_path / "volume"
    image.write_bytes(volume((0, header())))
    dumped = Workshop(tmp_path).run(
        "cryptsetup", "tcryptDump", "--veracrypt", "--veracrypt-pim", str(PIM), "--dump-volume-key", "-q",
        image,
        stdin=PASSPHRASE,
    )  # fmt: skip
    said = [line.split(":")[1].strip() for line in dumped.splitlines()[1:4]]
    assert said == ["aes", "xts-plain64", str(DATA_AT // 512)]
    key = "".join(dumped.partition("MK dump:")[2].split())
    assert bytes.fromhex(key) == VOLUME_KEY
