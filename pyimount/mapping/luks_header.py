"""What the header of a LUKS volume says, of version 1 or 2: its keyslots, its volume keys, its segments.

Specifications: "LUKS1 On-Disk Format Specification" and "LUKS2 On-Disk Format Specification",
https://gitlab.com/cryptsetup/LUKS2-docs and https://gitlab.com/cryptsetup/cryptsetup/-/wikis/LUKS-standard

What no volume can have is refused here; whether a key opens anything is for ``luks``.
"""

import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import parse_struct, read_struct
from pyimount.formats.notation import decimal, text
from pyimount.mapping.errors import DamagedHeader, UnlockError, Unsupported
from pyimount.mapping.kdf import Argon2, Kdf, Pbkdf2, hash_name
from pyimount.mapping.sectorcipher import SECTOR, SECTOR_SIZES
from pyimount.parsers.encryption.luks import (
    ENTRIES,
    KEY_ENABLED,
    KEYBLOCK_1,
    KEYSLOTS_1,
    MAGIC,
    PHDR_1,
    read_header_2,
)
from pyimount.records import Record
from pyimount.sources.view import ShortRead, View

KEY_CAP = 512
"""Bytes: no key of a volume is longer."""
_MATERIAL_CAP = 4 << 20
"""Keyslots have 4000 stripes of 128 bytes at most; what is much larger is no key."""
_LAST = 1 << 64
REENCRYPTED = ("online-reencrypt", *(f"online-reencrypt-v{version}" for version in range(2, 5)))
"""What a header requires while the volume is reencrypted: its segments say which part has which key."""
_WORD = 512


class Keyslot(Record, kw_only=True):
    """Where a volume key of ``key_size`` bytes lies, split ``stripes`` times, and how it is encrypted."""

    number: int
    kdf: Kdf
    key_size: int
    stripes: int
    af_hash: str
    encryption: str
    area_key_size: int
    offset: int


class Segment(Record, kw_only=True):
    """A run of the data device, bytes; ``size`` None: to its end; ``encryption`` None: not encrypted.

    ``key``: which of the header's volume keys encrypts it. ``moving``: it was on its way when a reencryption
    was broken off, and is part the one, part the other.
    """

    offset: int
    size: int | None
    encryption: str | None
    sector_size: int = SECTOR
    iv_tweak: int = 0
    key: int = 0
    moving: bool = False


class VolumeKey(Record, kw_only=True):
    """Where a volume key is to be had: keyslots in the order in which to try them.

    ``unusable``: why keyslots in use cannot be tried. ``digest`` of the volume key, by ``check``.
    """

    keyslots: tuple[Keyslot, ...]
    unusable: tuple[UnlockError, ...]
    check: Pbkdf2
    digest: bytes


class Header(Record, kw_only=True):
    """What a header of either version says; while the volume is reencrypted there are two volume keys."""

    version: str
    keys: tuple[VolumeKey, ...]
    segments: tuple[Segment, ...]


def read_header(view: View) -> Header:
    """Read the header of either version; raises DamagedHeader, Unsupported, SourceErrors as sources do."""
    try:
        if view.glance(0, 6) == MAGIC and int.from_bytes(view.read(6, 2), "big") == 1:
            return _header_1(view)
        found, _ = read_header_2(view)
    except (NotThisFormat, ShortRead) as error:
        raise DamagedHeader(f"there is no LUKS header: {error}") from error
    if found.json is None:
        raise DamagedHeader("the JSON of both LUKS2 headers is unusable")
    return _header_2(found.json)


def of_slot(number: int, error: UnlockError) -> UnlockError:
    """The error, with the number of the keyslot that it is about."""
    return type(error)(f"keyslot {number}: {error}")  # none of those caught has further arguments


def _header_1(view: View) -> Header:
    head = read_struct(view, PHDR_1, 0)
    cipher, mode, hash_spec = text(head.cipherName), text(head.cipherMode), text(head.hashSpec)
    encryption = f"{cipher}-{mode}"
    hash_by = hash_name(hash_spec or "none")
    key_size = _within(head.keyBytes, "bytes of key", 1, KEY_CAP)
    slots = []
    unusable: list[UnlockError] = []
    for number in range(KEYSLOTS_1):
        block = parse_struct(head.keyblocks, KEYBLOCK_1, number * KEYBLOCK_1.size)
        if block.active != KEY_ENABLED:
            continue
        try:
            slots.append(
                Keyslot(
                    number=number,
                    kdf=Pbkdf2(
                        hash=hash_by,
                        iterations=_within(block.iterations, "iterations", 1, _LAST),
                        salt=block.salt,
                    ),
                    key_size=key_size,
                    stripes=_within(block.stripes, "stripes", 1, _MATERIAL_CAP // key_size),
                    af_hash=hash_by,
                    encryption=encryption,
                    area_key_size=key_size,
                    offset=block.keyMaterialOffset * SECTOR,
                )
            )
        except DamagedHeader as error:
            unusable.append(of_slot(number, error))
    volume_key = VolumeKey(
        keyslots=tuple(slots),
        unusable=tuple(unusable),
        check=Pbkdf2(
            hash=hash_by,
            iterations=_within(head.mkDigestIterations, "iterations of the digest", 1, _LAST),
            salt=head.mkDigestSalt,
        ),
        digest=head.mkDigest,
    )
    return Header(
        version="1",
        keys=(volume_key,),
        segments=(Segment(offset=head.payloadOffset * SECTOR, size=None, encryption=encryption),),
    )


def _header_2(document: Mapping[str, Any]) -> Header:
    wanted = _object(_object(document, "config", {}), "requirements", {}).get("mandatory")
    needs = [name for name in wanted if name not in REENCRYPTED] if isinstance(wanted, list) else wanted
    if needs:
        names = ", ".join(str(name)[:40] for name in needs[:ENTRIES]) if isinstance(needs, list) else ""
        raise Unsupported(f"the volume may only be read by what can do this: {names or 'not said'}")
    segments = {name: entry for name, entry in _entries(document, "segments") if not _backup(entry)}
    if not segments:
        raise DamagedHeader("the LUKS2 header names no segment of data")
    laid = {name: _segment(entry) for name, entry in segments.items()}
    sealed = {name for name, one in laid.items() if one.encryption is not None}
    if not sealed:
        raise Unsupported("no segment of the volume is encrypted")
    digests = [entry for _, entry in _entries(document, "digests") if sealed & set(_names(entry, "segments"))]
    owners = {
        name: [number for number, digest in enumerate(digests) if name in _names(digest, "segments")]
        for name in sealed
    }
    if any(len(numbers) != 1 for numbers in owners.values()) or (len(digests) > 1 and not wanted):
        raise Unsupported(f"{len(digests)} volume keys encrypt this volume; only one can be used")
    return Header(
        version="2",
        keys=tuple(_volume_key(document, digest) for digest in digests),
        segments=tuple(one.replaced(key=owners.get(name, [0])[0]) for name, one in laid.items()),
    )


def _volume_key(document: Mapping[str, Any], digest: Mapping[str, Any]) -> VolumeKey:
    if digest.get("type") != "pbkdf2":
        raise Unsupported(f"a digest of type {_word(digest, 'type')}")
    slots: list[tuple[int, Keyslot]] = []
    unusable: list[UnlockError] = []
    bound = set(_names(digest, "keyslots"))
    for name, entry in _entries(document, "keyslots"):
        number = decimal(name, 4)
        # What a reencryption keeps of its way is in a keyslot too, and no key.
        if name in bound and number is not None and entry.get("type") != "reencrypt":
            try:
                # 2: try first, 1: as all, 0: only where asked for, which here is after all others.
                slots.append((-_int(entry, "priority", 0, 2, 1), _keyslot_2(number, entry)))
            except (DamagedHeader, Unsupported) as error:
                unusable.append(of_slot(number, error))
    return VolumeKey(
        keyslots=tuple(slot for _, slot in sorted(slots, key=lambda one: (one[0], one[1].number))),
        unusable=tuple(unusable),
        check=_pbkdf2(digest),
        digest=_base64(digest, "digest"),
    )


def _backup(entry: Mapping[str, Any]) -> bool:
    """Whether the segment is not one of the volume, but of what it was before a reencryption."""
    return any(name.startswith("backup-") for name in _names(entry, "flags"))


def _segment(entry: Mapping[str, Any]) -> Segment:
    kind = entry.get("type")
    if kind not in ("crypt", "linear"):
        raise Unsupported(f"a segment of type {_word(entry, 'type')}")
    if "in-reencryption" in _names(entry, "flags"):
        offset, size = _int(entry, "offset", 0, _LAST), entry.get("size")
        most = None if size == "dynamic" else _int(entry, "size", 0, _LAST)
        return Segment(offset=offset, size=most, encryption=None, moving=True)
    if entry.get("integrity") is not None:
        name = _word(_object(entry, "integrity", {}), "type")
        raise Unsupported(f"the segment has integrity tags ({name}) between its sectors")
    offset = _int(entry, "offset", 0, _LAST)
    size = None if entry.get("size") == "dynamic" else _int(entry, "size", 0, _LAST)
    if kind == "linear":
        return Segment(offset=offset, size=size, encryption=None)
    sector_size = _int(entry, "sector_size", 512, 4096)
    if sector_size not in SECTOR_SIZES:
        raise DamagedHeader(f"sectors of {sector_size} bytes")
    return Segment(
        offset=offset,
        size=size,
        encryption=_word(entry, "encryption"),
        sector_size=sector_size,
        iv_tweak=_int(entry, "iv_tweak", 0, _LAST),
    )


def _keyslot_2(number: int, entry: Mapping[str, Any]) -> Keyslot:
    if entry.get("type") != "luks2":
        raise Unsupported(f"a keyslot of type {_word(entry, 'type')}")
    area, af, kdf = (_object(entry, key) for key in ("area", "af", "kdf"))
    for part, kind in ((area, "raw"), (af, "luks1")):
        if part.get("type") != kind:
            raise Unsupported(f"a keyslot with {_word(part, 'type')} in place of {kind}")
    key_size = _int(entry, "key_size", 1, KEY_CAP)
    return Keyslot(
        number=number,
        kdf=_kdf(kdf),
        key_size=key_size,
        stripes=_int(af, "stripes", 1, _MATERIAL_CAP // key_size),
        af_hash=hash_name(_word(af, "hash")),
        encryption=_word(area, "encryption"),
        area_key_size=_int(area, "key_size", 1, KEY_CAP),
        offset=_int(area, "offset", 0, _LAST),
    )


def _kdf(entry: Mapping[str, Any]) -> Kdf:
    kind = entry.get("type")
    if kind == "pbkdf2":
        return _pbkdf2(entry)
    if kind not in ("argon2i", "argon2id"):
        raise Unsupported(f"keys derived by {_word(entry, 'type')}")
    return Argon2(
        variant=kind,
        passes=_int(entry, "time", 1, _LAST),
        kib=_int(entry, "memory", 1, _LAST),
        lanes=_int(entry, "cpus", 1, _LAST),
        salt=_base64(entry, "salt"),
    )


def _pbkdf2(entry: Mapping[str, Any]) -> Pbkdf2:
    return Pbkdf2(
        hash=hash_name(_word(entry, "hash")),
        iterations=_int(entry, "iterations", 1, _LAST),
        salt=_base64(entry, "salt"),
    )


def _within(value: int, what: str, least: int, most: int) -> int:
    if not least <= value <= most:
        raise DamagedHeader(f"{value} {what}")
    return value


# What a JSON document may hold in place of what it should.


def _entries(document: Mapping[str, Any], key: str) -> Sequence[tuple[str, Mapping[str, Any]]]:
    found = [(name, value) for name, value in _object(document, key, {}).items() if isinstance(value, dict)]
    return sorted(found, key=lambda entry: (len(entry[0]), entry[0]))[:ENTRIES]


def _object(entry: Mapping[str, Any], key: str, absent: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    value = entry.get(key, absent)
    if not isinstance(value, Mapping):
        raise DamagedHeader(f"{key} is missing in the LUKS2 header")
    return value


def _names(entry: Mapping[str, Any], key: str) -> Sequence[str]:
    value = entry.get(key)
    return [name for name in value[:ENTRIES] if isinstance(name, str)] if isinstance(value, list) else []


def _word(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= _WORD:
        raise DamagedHeader(f"{key} is missing in the LUKS2 header")
    return value


def _int(entry: Mapping[str, Any], key: str, least: int, most: int, absent: int | None = None) -> int:
    """A number, which LUKS2 writes as a string where it may pass 32 bits."""
    value = entry.get(key, absent)
    if isinstance(value, str):
        value = decimal(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise DamagedHeader(f"{key} is missing in the LUKS2 header")
    return _within(value, key, least, most)


def _base64(entry: Mapping[str, Any], key: str) -> bytes:
    try:
        data = binascii.a2b_base64(_word(entry, key).encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise DamagedHeader(f"the {key} in the LUKS2 header is no base64") from error
    if not data:
        raise DamagedHeader(f"the {key} in the LUKS2 header is empty")
    return data
