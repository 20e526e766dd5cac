"""LUKS volumes for tests: built by the declarations, with few stripes and iterations, and by cryptsetup."""

import base64
import hashlib
import json
import random
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

from fixtures.workshop import Workshop
from pyimount.parsers.encryption.luks import (
    HDR_2,
    KEY_DISABLED,
    KEY_ENABLED,
    KEYBLOCK_1,
    MAGIC,
    MAGIC_SECONDARY,
    PHDR_1,
)

KIB, MIB = 1 << 10, 1 << 20
PASSPHRASE = b"open sesame"
VOLUME_KEY = random.Random(3).randbytes(64)  # noqa: S311
SALT = bytes(range(32))
ITERATIONS = 1000
HEADER_SIZE = 16384
SLOT_AT, STRIPES = 2 * HEADER_SIZE, 4
DATA_AT, DATA_SIZE = 40 * KIB, 64 * KIB
CONTENT = random.Random(4).randbytes(DATA_SIZE)  # noqa: S311


def xts(key: bytes, data: bytes, sector_size: int = 512, first: int = 0) -> bytes:
    """Encrypt sector by sector, as ``cryptography`` does it: aes-xts-plain64."""
    sealed = []
    for at in range(0, len(data), sector_size):
        number = (first + at // 512).to_bytes(16, "little")
        sealed.append(Cipher(AES(key), XTS(number)).encryptor().update(data[at : at + sector_size]))
    return b"".join(sealed)


def diffuse(data: bytes) -> bytes:
    mixed = [
        hashlib.sha256(number.to_bytes(4, "big") + data[at : at + 32]).digest()
        for number, at in enumerate(range(0, len(data), 32))
    ]
    return b"".join(mixed)[: len(data)]


def split(key: bytes, stripes: int) -> bytes:
    """The anti-forensic split of LUKS1's specification, 2.4, by SHA-256."""
    chance = random.Random(6)  # noqa: S311
    made, state = [], bytes(len(key))
    for _ in range(stripes - 1):
        stripe = chance.randbytes(len(key))
        made.append(stripe)
        state = diffuse(bytes(a ^ b for a, b in zip(state, stripe, strict=True)))
    made.append(bytes(a ^ b for a, b in zip(state, key, strict=True)))
    return b"".join(made)


def material(passphrase: bytes = PASSPHRASE) -> bytes:
    """A keyslot's area: the split volume key under the passphrase."""
    key = hashlib.pbkdf2_hmac("sha256", passphrase, SALT, ITERATIONS, 64)
    return xts(key, split(VOLUME_KEY, STRIPES).ljust(512, b"\0"))


def luks1(**changes: Any) -> bytearray:
    """A LUKS1 volume with key slot 3 in use; ``changes`` to its header, or with ``slot_`` to the slot."""
    free = {"active": KEY_DISABLED, "iterations": 0, "salt": bytes(32), "keyMaterialOffset": 8, "stripes": 4}
    used = {
        "active": KEY_ENABLED, "iterations": ITERATIONS, "salt": SALT,
        "keyMaterialOffset": SLOT_AT // 512, "stripes": STRIPES,
    }  # fmt: skip
    used |= {name[5:]: value for name, value in changes.items() if name.startswith("slot_")}
    blocks = b"".join(KEYBLOCK_1.construct.build(used if number == 3 else free) for number in range(8))
    fields = {
        "magic": MAGIC, "version": 1, "cipherName": b"aes", "cipherMode": b"xts-plain64",
        "hashSpec": b"sha256",
        "payloadOffset": DATA_AT // 512, "keyBytes": 64,
        "mkDigest": hashlib.pbkdf2_hmac("sha256", VOLUME_KEY, SALT, ITERATIONS, 20),
        "mkDigestSalt": SALT, "mkDigestIterations": ITERATIONS,
        "uuid": b"c1f2a5be-0b0e-4a55-9d3c-6f1f4d4cfb01", "keyblocks": blocks,
    }  # fmt: skip
    fields |= {name: value for name, value in changes.items() if not name.startswith("slot_")}
    for name, size in (("cipherName", 32), ("cipherMode", 32), ("hashSpec", 32), ("uuid", 40)):
        fields[name] = fields[name].ljust(size, b"\0")
    image = bytearray(DATA_AT + DATA_SIZE)
    image[: PHDR_1.size] = PHDR_1.construct.build(fields)
    image[SLOT_AT : SLOT_AT + 512] = material()
    image[DATA_AT:] = xts(VOLUME_KEY, CONTENT)
    return image


def document() -> dict[str, Any]:
    """The JSON of a LUKS2 volume with keyslot 0."""
    digest = hashlib.pbkdf2_hmac("sha256", VOLUME_KEY, SALT, ITERATIONS, 32)
    return {
        "keyslots": {
            "0": {
                "type": "luks2",
                "key_size": 64,
                "af": {"type": "luks1", "stripes": STRIPES, "hash": "sha256"},
                "area": {
                    "type": "raw",
                    "offset": str(SLOT_AT),
                    "size": "4096",
                    "encryption": "aes-xts-plain64",
                    "key_size": 64,
                },
                "kdf": {
                    "type": "pbkdf2",
                    "hash": "sha256",
                    "iterations": ITERATIONS,
                    "salt": base64_of(SALT),
                },
            }
        },
        "tokens": {},
        "segments": {
            "0": {
                "type": "crypt",
                "offset": str(DATA_AT),
                "size": "dynamic",
                "iv_tweak": "0",
                "encryption": "aes-xts-plain64",
                "sector_size": 512,
            }
        },
        "digests": {
            "0": {
                "type": "pbkdf2",
                "keyslots": ["0"],
                "segments": ["0"],
                "hash": "sha256",
                "iterations": ITERATIONS,
                "salt": base64_of(SALT),
                "digest": base64_of(digest),
            }
        },
        "config": {"json_size": "12288", "keyslots_size": "4096"},
    }


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def luks2(changed: dict[str, Any] | None = None) -> bytearray:
    """A LUKS2 volume with this JSON, in both headers, and key material and content as ``document`` says."""
    image = bytearray(DATA_AT + DATA_SIZE)
    area = json.dumps(document() if changed is None else changed).encode().ljust(HEADER_SIZE - 4096, b"\0")
    for offset, magic in ((0, MAGIC), (HEADER_SIZE, MAGIC_SECONDARY)):
        head = {
            "magic": magic, "version": 2, "hdr_size": HEADER_SIZE, "seqid": 3, "label": bytes(48),
            "csum_alg": b"sha256".ljust(32, b"\0"), "salt": bytes(64),
            "uuid": b"c1f2a5be-0b0e-4a55-9d3c-6f1f4d4cfb01".ljust(40, b"\0"), "subsystem": bytes(48),
            "hdr_offset": offset, "padding": bytes(184), "csum": bytes(64),
        }  # fmt: skip
        raw = bytearray(HDR_2.construct.build(head).ljust(4096, b"\0") + area)
        raw[448:480] = hashlib.sha256(raw).digest()
        image[offset : offset + HEADER_SIZE] = raw
    image[SLOT_AT : SLOT_AT + 512] = material()
    image[DATA_AT:] = xts(VOLUME_KEY, CONTENT)
    return image


def encrypted(work: Workshop, content: bytes, *options: str) -> tuple[Path, Path]:
    """A file with this content that cryptsetup encrypted where it lies, and its detached LUKS2 header."""
    data, header = work.folder / "data.img", work.folder / "header.img"
    data.write_bytes(content)
    work.run(
        "cryptsetup", "reencrypt", "--disable-locks", "-q", "--encrypt", "--type", "luks2",
        "--force-offline-reencrypt",
        "--header", header, *options, "--key-file", "-", data, stdin=PASSPHRASE,
    )  # fmt: skip
    return data, header
