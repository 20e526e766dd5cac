"""BitLocker volumes whose contents are known, built from the declarations: Windows alone makes them.

dissect.fve encrypts the sectors and stretches the passwords: another implementation than the tested one.
"""

import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import shake_256
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from dissect.fve.bde.key import derive_recovery_key, derive_user_key, stretch
from dissect.fve.crypto import create_cipher

from fixtures.recipes.bitlocker import CREATED, VOLUME, boot_sector, datum, guid
from pyimount.mapping.bitlocker_sectors import KEY_SIZES
from pyimount.parsers.encryption.bitlocker import DATASET, GUID, INFORMATION, VALIDATION, VMK_INFO

SIZE = 0x60000
PLACES = (0x10000, 0x30000, 0x40000)
MOVED = 0x20000
HIDDEN = 0x10000
MASTER = bytes(range(32))
NONCE = bytes(12)
SALT = b"sixteen bytes..."
PASSWORD = "Käse 12!@"  # noqa: S105
RECOVERY = "042647-302313-590458-071500-554323-116567-412181-516978"
GUIDS = {
    "clear": "62472a91-12f9-40d4-81b5-4c1567e40d0e",
    "password": "6ff07ed9-01f0-4cd6-a8c8-9bd8609a8abb",
    "recovery": "90457315-b00c-47b8-94d2-c483cec10e51",
    "startup": "4381f759-c4f8-4de0-bb61-fc33a831bda5",
}
PRIORITIES = {"clear": 0, "startup": 0x0200, "recovery": 0x0800, "password": 0x2000}
EXTERNAL = bytes(range(100, 132))
SPECS = {
    0x8000: "aes-cbc-128-elephant",
    0x8001: "aes-cbc-256-elephant",
    0x8002: "aes-cbc-128-eboiv",
    0x8003: "aes-cbc-256-eboiv",
    0x8004: "aes-xts-128-plain64",
    0x8005: "aes-xts-256-plain64",
}
AES_128 = 0x8002


def fvek(method: int) -> bytes:
    """The key of the sectors, which is what it is for the sake of a test."""
    return shake_256(method.to_bytes(2)).digest(KEY_SIZES[method])


def boxed(kind: int, key: bytes, wrapper: bytes) -> bytes:
    """A key datum, sealed by AES-CCM."""
    plain = datum(0, 1, kind.to_bytes(2, "little") + bytes(2) + key)
    sealed = AESCCM(wrapper).encrypt(NONCE, plain, None)
    return NONCE + sealed[-16:] + sealed[:-16]


def protector(name: str, rounds: int, master: bytes = MASTER) -> bytes:
    """The datum of one protector of the master key."""
    info = {
        "Identifier": guid(GUIDS[name]), "DateTime": CREATED, "Unknown": 0, "Priority": PRIORITIES[name],
    }  # fmt: skip
    parts = b""
    if name == "clear":
        wrapper = bytes(range(50, 82))
        parts += datum(0, 1, bytes.fromhex("02200000") + wrapper)
    elif name == "startup":
        wrapper = EXTERNAL
    else:
        digest = derive_user_key(PASSWORD) if name == "password" else derive_recovery_key(RECOVERY)
        wrapper = stretch(digest, SALT, rounds)
        parts += datum(0, 3, bytes.fromhex("00100000") + SALT)
    parts += datum(0, 5, boxed(0x2003, master, wrapper))
    return datum(2, 8, bytes(VMK_INFO.construct.build(info)) + parts)


def startup_key(identifier: str = GUIDS["startup"], key: bytes = EXTERNAL) -> bytes:
    """What a .bek file holds."""
    inner = datum(0, 2, "ExternalKey\0".encode("utf-16-le")) + datum(0, 1, bytes.fromhex("02200000") + key)
    entry = datum(6, 9, guid(identifier) + CREATED.to_bytes(8, "little") + inner)
    size = DATASET.size + len(entry)
    head = {
        "Size": size, "Version": 1, "StartOffset": DATASET.size, "EndOffset": size,
        "Identification": guid(identifier), "NonceCounter": 1, "FvekType": 0, "Unknown": 0,
        "CreationTime": CREATED,
    }  # fmt: skip
    return bytes(DATASET.construct.build(head)) + entry


def information(
    protectors: Sequence[str],
    method: int,
    changed: Mapping[str, Any],
    *,
    rounds: int,
    version: int,
    sealed: bytes | None,
) -> bytes:
    """One copy of the metadata, with its checksum behind it."""
    datums = b"".join(protector(name, rounds) for name in protectors)
    datums += datum(3, 5, boxed(method, fvek(method), MASTER) if sealed is None else sealed)
    length = DATASET.size + len(datums)
    size = -(-(INFORMATION.size + length) // 16) * 16
    fields = {
        "HeaderSize": size >> 4 if version == 2 else size, "Version": version, "CurrentState": 4,
        "NextState": 4, "StateOffset": SIZE if version == 2 else 0, "StateSize": 0, "VirtualizedSectors": 16,
        "InformationOffset": PLACES, "VirtualizedBlockOffset": MOVED, "Size": length,
        "StartOffset": DATASET.size, "EndOffset": length, "Identification": guid(VOLUME),
        "NonceCounter": 7, "FvekType": method, "Unknown": 0, "CreationTime": CREATED, **changed,
    }  # fmt: skip
    head = INFORMATION.construct.build(fields)
    data = (head + DATASET.construct.build({**fields, "Version": 1}) + datums).ljust(size, b"\0")
    validation = {"Size": VALIDATION.size, "Version": 1, "Crc32": zlib.crc32(data)}
    return bytes(data + VALIDATION.construct.build(validation))


def ntfs(sector_size: int = 512) -> bytes:
    """The boot sector of an NTFS volume, as far as it tells that it is one."""
    sector = bytearray(512)
    sector[:11] = b"\xebR\x90NTFS    "
    sector[11:14] = sector_size.to_bytes(2, "little") + b"\x08"
    sector[0x30:0x40] = bytes(range(1, 17))
    sector[510:] = b"\x55\xaa"
    return bytes(sector)


def contents(first: bytes) -> bytes:
    """What the volume holds: no two sectors alike, and a boot sector."""
    return first + shake_256(b"contents").digest(SIZE - len(first))


@cache
def build(
    protectors: Sequence[str] = ("clear",),
    method: int = AES_128,
    *,
    sector_size: int = 512,
    kind: str = "windows-7",
    rounds: int = 16,
    first: bytes | None = None,
    sealed: bytes | None = None,
    recognition: bytes = GUID,
    **changed: Any,
) -> tuple[bytes, bytes]:
    """A volume, and the plain bytes that it must show."""
    version = 1 if kind == "vista" else 2
    plain = bytearray(contents(ntfs(sector_size) if first is None else first))
    limit = (changed.get("StateOffset", SIZE) or SIZE) // sector_size * sector_size
    cipher = create_cipher(SPECS[method], fvek(method), sector_size=sector_size, iv_sector_size=sector_size)

    def encrypted(data: bytes, at: int) -> bytes:
        kept = max(0, min(len(data), limit - at)) if changed.get("CurrentState", 4) != 1 else 0
        return cipher.encrypt(data[:kept], at // sector_size) + data[kept:]

    head = 16 * sector_size if version == 2 else 0
    image = bytearray(encrypted(bytes(plain), 0))
    if version == 2:
        image[MOVED : MOVED + head] = encrypted(bytes(plain[:head]), MOVED)
        image[:head] = bytes(head)
        plain[MOVED : MOVED + head] = bytes(head)
    else:
        image[:0x2000] = plain[:0x2000]
    sector = bytearray(boot_sector(kind, PLACES, recognition))
    sector[11:13] = sector_size.to_bytes(2, "little")
    if kind == "vista":
        plain[0x38:0x40] = MOVED.to_bytes(8, "little")
        changed_lcn = (PLACES[0] // (8 * sector_size)).to_bytes(8, "little")
        sector = bytearray(image[:3] + b"-FVE-FS-" + image[11:0x38] + changed_lcn + image[0x40:512])
    image[:512] = sector
    hidden = HIDDEN if version == 2 else 0x4000
    copy = information(protectors, method, changed, rounds=rounds, version=version, sealed=sealed)
    for place in PLACES:
        plain[place : place + hidden] = bytes(hidden)
        image[place : place + len(copy)] = copy
    return bytes(image), bytes(plain)
