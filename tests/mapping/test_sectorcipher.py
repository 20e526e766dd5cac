"""Sectors, decrypted a read at a time, against ``cryptography`` decrypting them one by one."""

import hashlib
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB, XTS

from pyimount.mapping import sectorcipher
from pyimount.mapping.errors import Unsupported
from pyimount.mapping.sectorcipher import SectorCipher, SectorSource, parse_encryption
from pyimount.sources.source import BytesSource

chance = random.Random(1)  # noqa: S311
KEY = chance.randbytes(64)
DATA = chance.randbytes(3 << 20)
NEAR_32_BITS = (1 << 32) - 64

SPECIFICATIONS = [
    ("aes-xts-plain64", 64),
    ("aes-xts-plain64", 32),
    ("aes-xts-plain", 64),
    ("aes-xts-plain64be", 64),
    ("aes-xts-essiv:sha256", 64),
    ("aes-cbc-plain", 16),
    ("aes-cbc-plain64", 24),
    ("aes-cbc-plain64be", 32),
    ("aes-cbc-essiv:sha256", 32),
    ("aes-cbc-essiv:md5", 16),
    ("aes-cbc-null", 32),
    ("capi:xts(aes)-plain64", 64),
]


def vector(specification: str, key: bytes, number: int) -> bytes:
    kind, _, hash_by = specification.rsplit("-", 1)[1].partition(":")
    if kind == "null":
        return bytes(16)
    if kind == "plain64be":
        return number.to_bytes(16, "big")
    made = (number & 0xFFFFFFFF if kind == "plain" else number).to_bytes(16, "little")
    if kind == "essiv":
        salt = hashlib.new(hash_by, key, usedforsecurity=False).digest()
        return Cipher(AES(salt), ECB()).encryptor().update(made)  # noqa: S305
    return made


def one_by_one(specification: str, key: bytes, data: bytes, size: int, first: int) -> bytes:
    mode = XTS if "xts" in specification else CBC
    return b"".join(
        Cipher(AES(key), mode(vector(specification, key, first + at // 512)))
        .decryptor()
        .update(data[at : at + size])
        for at in range(0, len(data), size)
    )


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize(("specification", "length"), SPECIFICATIONS)
@pytest.mark.parametrize("size", [512, 1024, 2048, 4096])
def test_a_read_is_its_sectors(specification: str, length: int, size: int) -> None:
    key = KEY[:length]
    cipher = SectorCipher(parse_encryption(specification), key, size)
    for sectors in (1, 2, 33, (300 << 10) // size):
        data = DATA[: sectors * size]
        wanted = one_by_one(specification, key, data, size, NEAR_32_BITS)
        assert cipher.decrypt(data, NEAR_32_BITS) == wanted


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("size", [512, 4096])
def test_xts_by_masks_is_xts_by_sectors(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DATA[: 17 * size]
    wanted = one_by_one("aes-xts-plain64", KEY, data, size, 3)
    monkeypatch.setattr(sectorcipher, "_xts", lambda key: None)
    assert SectorCipher(parse_encryption("aes-xts-plain64"), KEY, size).decrypt(data, 3) == wanted


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("key", [KEY[:32] * 2, KEY[:48]], ids=["equal halves", "AES-192"])
def test_keys_that_openssl_refuses_for_xts(key: bytes) -> None:
    cipher = SectorCipher(parse_encryption("aes-xts-plain64"), key)
    half = len(key) // 2
    tweak = Cipher(AES(key[half:]), ECB()).encryptor().update((7).to_bytes(16, "little"))  # noqa: S305
    mixed = bytes(one ^ other for one, other in zip(DATA[:16], tweak, strict=True))
    block = Cipher(AES(key[:half]), ECB()).decryptor().update(mixed)  # noqa: S305
    plain = cipher.decrypt(DATA[:512], 7)
    assert plain[:16] == bytes(one ^ other for one, other in zip(block, tweak, strict=True))
    assert cipher.decrypt(DATA[: 512 * 40], 7)[:512] == plain


def test_ecb_and_no_cipher_have_no_sectors() -> None:
    plain = Cipher(AES(KEY[:32]), ECB()).decryptor().update(DATA)  # noqa: S305
    assert SectorCipher(parse_encryption("aes-ecb"), KEY[:32], 4096).decrypt(DATA, 5) == plain
    for name in ("null-ecb", "cipher_null-ecb", "cipher_null"):
        assert SectorCipher(parse_encryption(name), b"").decrypt(DATA, 5) == DATA


@pytest.mark.usefixtures("arithmetic")
def test_a_source_reads_anywhere_and_from_any_thread() -> None:
    cipher = SectorCipher(parse_encryption("aes-xts-plain64"), KEY, 4096)
    wanted = one_by_one("aes-xts-plain64", KEY, DATA[512 : 512 + (2 << 20)], 4096, 9)
    source = SectorSource(BytesSource(DATA), 512, (2 << 20) + 4095, cipher, first=9)
    assert source.size == 2 << 20
    runs = [(0, 2 << 20), (1, (2 << 20) - 2), (4095, 2), (source.size - 1, 10)]
    runs += [(chance.randrange(source.size), chance.choice((1, 16, 511, 5000, 600_000))) for _ in range(80)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda run: source.read_at(*run), runs))
    assert found == [wanted[offset : offset + length] for offset, length in runs]


def test_a_source_ends_with_its_parent_s_last_whole_sector() -> None:
    cipher = SectorCipher(parse_encryption("aes-xts-plain64"), KEY, 4096)
    assert SectorSource(BytesSource(bytes(10000)), 512, 1 << 40, cipher).size == 8192
    assert SectorSource(BytesSource(bytes(10000)), 20000, 4096, cipher).size == 0


@pytest.mark.parametrize(
    ("specification", "named"),
    [
        ("serpent-xts-plain64", "serpent"),
        ("twofish-cbc-essiv:sha256", "twofish"),
        ("aes-lrw-benbi", "lrw"),
        ("aes-cbc-benbi", "initialisation"),
        ("aes-cbc-essiv", "initialisation"),
        ("aes-cbc-plain:sha256", "initialisation"),
        ("aes-xts-essiv:whirlpool", "whirlpool"),
        ("aes:64-cbc-lmk", "aes:64"),
        ("aes", "mode"),
        ("", "cipher"),
        ("capi:authenc(hmac(sha256),xts(aes))-random", "capi:authenc"),
    ],
)
def test_what_cannot_be_read_is_named(specification: str, named: str) -> None:
    with pytest.raises(Unsupported, match=named):
        parse_encryption(specification)


@pytest.mark.parametrize(
    ("specification", "length", "size"),
    [
        ("aes-xts-plain64", 33, 512),
        ("aes-xts-plain64", 16, 512),
        ("aes-cbc-plain", 64, 512),
        ("aes-cbc-plain", 0, 512),
        ("aes-cbc-essiv:sha1", 32, 512),
        ("aes-cbc-plain", 32, 8192),
        ("aes-cbc-plain", 32, 0),
    ],
)
def test_keys_and_sectors_of_no_such_size(specification: str, length: int, size: int) -> None:
    with pytest.raises(Unsupported):
        SectorCipher(parse_encryption(specification), KEY[:length], size)


def test_no_key_is_stored_or_shown() -> None:
    cipher = SectorCipher(parse_encryption("aes-xts-plain64"), KEY)
    assert KEY.hex() not in repr(cipher)
    for held in (cipher, SectorSource(BytesSource(DATA), 0, 512, cipher)):
        with pytest.raises(TypeError, match="not to be stored"):
            pickle.dumps(held)
