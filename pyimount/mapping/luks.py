"""The plain bytes of LUKS1 and LUKS2 volumes, with a passphrase, a key file or the volume's master key.

Specifications: "LUKS1 On-Disk Format Specification" and "LUKS2 On-Disk Format Specification",
https://gitlab.com/cryptsetup/LUKS2-docs and https://gitlab.com/cryptsetup/cryptsetup/-/wikis/LUKS-standard

A keyslot holds the volume key split into many stripes, encrypted with a key derived from the passphrase;
a digest of the volume key tells whether what came out is it.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pyimount.formats import Details, Json
from pyimount.keys import Key
from pyimount.mapping.assembly import Unlocked
from pyimount.mapping.errors import (
    DamagedHeader,
    KdfTooCostly,
    OutOfMemory,
    UnlockError,
    Unsupported,
    WrongKey,
)
from pyimount.mapping.kdf import allow, derive_once
from pyimount.mapping.luks_header import KEY_CAP, Header, Keyslot, VolumeKey, of_slot, read_header
from pyimount.mapping.sectorcipher import NULL_CIPHERS, SECTOR, SectorCipher, SectorSource, parse_encryption
from pyimount.problems import Code, Problem
from pyimount.sources.budget import Meter
from pyimount.sources.source import ConcatSource, LostSource, SliceSource, Source
from pyimount.sources.view import View

KEY_KINDS = frozenset("pfm")
"""The kinds of key that a LUKS volume can be opened with."""


def unlock(source: Source, key: Key, *, header: Source | None = None, meter: Meter | None = None) -> Unlocked:
    """Open the LUKS volume ``source`` with ``key``; ``header``: its header, where that is detached.

    Raises WrongKey; Unsupported for a cipher, hash or state that cannot be read; KdfTooCostly, before
    any attempt, past the budget of ``meter``; OutOfMemory; DamagedHeader; SourceErrors as the sources do.
    """
    return _unlock(source, key, header, meter or Meter(), None)


def reopen(
    source: Source,
    parameters: Details,
    key: Key,
    *,
    header: Source | None = None,
    meter: Meter | None = None,
) -> Source:
    """The plain bytes again, by the keyslot that ``unlock`` told in its parameters; raises as it does."""
    number = parameters.get("keyslot")
    return _unlock(source, key, header, meter or Meter(), number if isinstance(number, int) else None).source


def _unlock(source: Source, key: Key, detached: Source | None, meter: Meter, only: int | None) -> Unlocked:
    if key.kind not in KEY_KINDS:
        raise WrongKey(0, f"a {key.name} opens no LUKS volume")
    place = source if detached is None else detached
    header = read_header(View(place))
    first = header.segments[0]
    if detached is None and first.offset == 0:
        raise Unsupported("this is a detached LUKS header: the data that belongs to it is elsewhere")
    for segment in header.segments:
        if segment.encryption is not None:
            parse_encryption(segment.encryption)
    opened: list[tuple[Keyslot | None, bytes] | None] = []
    failed: list[UnlockError] = []
    for wanted in header.keys:
        try:
            if key.kind == "m":
                opened.append((None, _given_key(key, wanted, meter)))
            else:
                opened.append(_try_keyslots(place, key, wanted, meter, only))
        except UnlockError as error:
            failed.append(error)
            opened.append(None)
    if len(failed) == len(opened):
        raise failed[0]
    slot, volume_key = next(each for each in opened if each is not None)
    plain, problems = _plain(source, header, [None if each is None else each[1] for each in opened])
    details: dict[str, Json] = {
        "opened_with": key.name,
        "keyslot": None if slot is None else slot.number,
        "encryption": next((each.encryption for each in header.segments if each.encryption), None),
        "key_size": len(volume_key) * 8,
    }
    # Of several volume keys each has a keyslot of its own: all are tried again.
    number = slot.number if slot is not None and len(opened) == 1 else None
    return Unlocked(
        kind="luks",
        parameters={"version": header.version, "keyslot": number},
        source=plain,
        details=details,
        problems=tuple(problems),
    )


def _given_key(key: Key, wanted: VolumeKey, meter: Meter) -> bytes:
    allow(meter, (wanted.check, len(wanted.digest)))
    if not 0 < len(key.secret) <= KEY_CAP or not _is_key(wanted, key.secret, key):
        raise WrongKey(0, "this is not the master key of this volume")
    return key.secret


def _try_keyslots(
    place: Source, key: Key, wanted: VolumeKey, meter: Meter, only: int | None
) -> tuple[Keyslot, bytes]:
    tried = 0
    failed = [*wanted.unusable]
    for slot in wanted.keyslots:
        if only is not None and slot.number != only:
            continue
        try:
            allow(meter, (slot.kdf, slot.area_key_size), (wanted.check, len(wanted.digest)))
            volume_key = _open_keyslot(place, slot, key)
        except UnlockError as error:
            failed.append(of_slot(slot.number, error))
            continue
        tried += 1
        if _is_key(wanted, volume_key, key):
            return slot, volume_key
    # What was never tried may be what the key opens: that says more than that others did not open.
    for kind in (OutOfMemory, KdfTooCostly, Unsupported, DamagedHeader):
        for why in failed:
            if isinstance(why, kind):
                raise kind(f"{why}; the key opens none of the {tried} others") if tried else why
    if not tried:
        raise WrongKey(0, "the volume has no keyslot: only its master key opens it")
    raise WrongKey(tried)


def _is_key(wanted: VolumeKey, volume_key: bytes, key: Key) -> bool:
    digest = derive_once(key, wanted.check, volume_key, len(wanted.digest))
    return hmac.compare_digest(digest, wanted.digest)


def _open_keyslot(place: Source, slot: Keyslot, key: Key) -> bytes:
    """What the keyslot gives with this passphrase: the volume key, or noise."""
    length = slot.key_size * slot.stripes
    encryption = parse_encryption(slot.encryption)
    if encryption.cipher in NULL_CIPHERS:
        cipher = SectorCipher(encryption, b"")
    else:
        cipher = SectorCipher(encryption, derive_once(key, slot.kdf, key.secret, slot.area_key_size))
    whole = -(-length // SECTOR) * SECTOR
    sealed = place.read_at(slot.offset, whole)
    if len(sealed) < whole:
        raise DamagedHeader(f"its key material at {slot.offset} is cut off")
    return _merge(cipher.decrypt(sealed, 0), slot.key_size, slot.stripes, slot.af_hash)


def _merge(material: bytes, size: int, stripes: int, hash_by: str) -> bytes:
    """Undo the anti-forensic split: every stripe is needed for the key."""
    new = partial(hashlib.new, hash_by, usedforsecurity=False)
    state = 0
    for start in range(0, size * (stripes - 1), size):
        state ^= int.from_bytes(material[start : start + size], "big")
        state = int.from_bytes(_diffuse(state.to_bytes(size, "big"), new), "big")
    last = material[size * (stripes - 1) : size * stripes]
    return (state ^ int.from_bytes(last, "big")).to_bytes(size, "big")


def _diffuse(data: bytes, new: Callable[[bytes], Any]) -> bytes:
    step = new(b"").digest_size
    mixed = b"".join(
        new(number.to_bytes(4, "big") + data[start : start + step]).digest()
        for number, start in enumerate(range(0, len(data), step))
    )
    return mixed[: len(data)]


def _plain(
    source: Source, header: Header, volume_keys: Sequence[bytes | None]
) -> tuple[Source, list[Problem]]:
    parts: list[Source] = []
    problems = []
    for segment in header.segments:
        size = max(0, source.size - segment.offset) if segment.size is None else segment.size
        if segment.offset + size > source.size:
            message = f"the encrypted data ends at {segment.offset + size}, the volume at {source.size}"
            problems.append(Problem(Code.TRUNCATED, message))
        if segment.encryption is None and not segment.moving:
            parts.append(SliceSource(source, segment.offset, size))
            continue
        volume_key = None if segment.moving else volume_keys[segment.key]
        if segment.encryption is None or volume_key is None:
            code, why = Code.WRONG_KEY, "encrypted with another volume key, which this key does not open"
            if segment.moving:
                code, why = Code.UNSUPPORTED, "on its way when the reencryption was broken off"
            start = sum(part.size for part in parts)
            problems.append(Problem(code, f"what lies at {start} to {start + size} is not read: {why}"))
            parts.append(LostSource(size, f"a part of the volume was {why}"))
            continue
        cipher = SectorCipher(parse_encryption(segment.encryption), volume_key, segment.sector_size)
        parts.append(SectorSource(source, segment.offset, size, cipher, segment.iv_tweak))
    return (parts[0] if len(parts) == 1 else ConcatSource(parts)), problems
