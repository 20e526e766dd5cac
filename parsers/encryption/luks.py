"""LUKS1 and LUKS2 encrypted volumes.

Layouts: "LUKS1 On-Disk Format Specification" and "LUKS2 On-Disk Format Specification",
https://gitlab.com/cryptsetup/LUKS2-docs and https://gitlab.com/cryptsetup/cryptsetup/-/wikis/LUKS-standard
"""

from typing import Any

from construct import Bytes, Int16ub, Int32ub, Int64ub, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Precedence, Signature, TableRule, Usage
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import decimal, text
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.view import ShortRead, View

SECTOR = 512

KEYSLOTS_1 = 8
PHDR_1 = layout(
    lambda: Struct(
        "magic" / Bytes(6),
        "version" / Int16ub,
        "cipherName" / Bytes(32),
        "cipherMode" / Bytes(32),
        "hashSpec" / Bytes(32),
        "payloadOffset" / Int32ub,
        "keyBytes" / Int32ub,
        "mkDigest" / Bytes(20),
        "mkDigestSalt" / Bytes(32),
        "mkDigestIterations" / Int32ub,
        "uuid" / Bytes(40),
        "keyblocks" / Bytes(KEYSLOTS_1 * 48),
    )
)
KEYBLOCK_1 = layout(
    lambda: Struct(
        "active" / Int32ub,
        "iterations" / Int32ub,
        "salt" / Bytes(32),
        "keyMaterialOffset" / Int32ub,
        "stripes" / Int32ub,
    )
)
HDR_2 = layout(
    lambda: Struct(
        "magic" / Bytes(6),
        "version" / Int16ub,
        "hdr_size" / Int64ub,
        "seqid" / Int64ub,
        "label" / Bytes(48),
        "csum_alg" / Bytes(32),
        "salt" / Bytes(64),
        "uuid" / Bytes(40),
        "subsystem" / Bytes(48),
        "hdr_offset" / Int64ub,
        "padding" / Bytes(184),
        "csum" / Bytes(64),
    )
)

MAGIC = b"LUKS\xba\xbe"
MAGIC_SECONDARY = b"SKUL\xba\xbe"
KEY_ENABLED, KEY_DISABLED = 0x00AC71F3, 0x0000DEAD
# The sizes that a LUKS2 header may have, and so the places of the secondary one.
HDR_SIZES = tuple(0x4000 << power for power in range(9))
HDR_BIN = 4096
ENTRIES, WORD = 32, 256
"""No more entries of a kind are told, and no more of a word; LUKS2 itself has 32 key slots at most."""
_CSUM_AT = 448
HW_OPAL = "hw-opal"
"""What the types of segments begin with that the drive itself encrypts."""
# Hashes by their names in Linux's crypto API, and in hashlib.
HASHES = {"sha1": "sha1", "sha256": "sha256", "sha384": "sha384", "sha512": "sha512"}


class Header2(Record, kw_only=True):
    """One LUKS2 header whose binary part is plausible; ``json`` is None where its text is unusable."""

    offset: int
    head: Any
    checked: bool
    json: dict[str, Any] | None
    problems: tuple[Problem, ...]


def parse(view: View) -> Identity:
    """The identity of a LUKS volume, version 2 from its secondary header if need be."""
    if view.glance(0, 6) == MAGIC and int.from_bytes(view.read(6, 2), "big") == 1:
        return _version_1(view)
    return _version_2(view)


def _locked(problems: list[Problem]) -> tuple[Problem, ...]:
    return (
        *problems,
        Problem(Code.LOCKED, "the contents are encrypted; a passphrase or key file opens them"),
    )


def _uuid(raw: bytes) -> str:
    uuid = text(raw, "ascii")
    if uuid is None or not uuid.isprintable():
        raise NotThisFormat("no UUID")
    return uuid


def _version_1(view: View) -> Identity:
    header = read_struct(view, PHDR_1, 0)
    cipher, mode = text(header.cipherName), text(header.cipherMode)
    payload = header.payloadOffset * SECTOR
    problems: list[Problem] = []
    if cipher is None or not 0 < header.keyBytes <= 1 << 16:
        raise NotThisFormat(f"cipher {cipher}, {header.keyBytes} bytes of key")
    slots: list[Json] = []
    wrong = []
    for number in range(KEYSLOTS_1):
        block = parse_struct(header.keyblocks, KEYBLOCK_1, number * KEYBLOCK_1.size)
        material = block.keyMaterialOffset * SECTOR
        active = block.active == KEY_ENABLED
        if not active and block.active != KEY_DISABLED:
            wrong.append(f"key slot {number} is neither in use nor free")
        elif active and not (0 < block.stripes <= 1 << 16 and block.iterations):
            wrong.append(f"key slot {number} has {block.stripes} stripes and {block.iterations} iterations")
        elif payload and material + header.keyBytes * block.stripes > payload:
            wrong.append(f"key slot {number} reaches into the payload")
        slots.append(
            {
                "slot": number,
                "active": active,
                "iterations": block.iterations if active else None,
                "stripes": block.stripes,
                "offset": material,
            }
        )
    problems.extend(Problem(Code.DAMAGED, message) for message in wrong)
    if payload > view.size:
        problems.append(
            Problem(Code.TRUNCATED, f"the payload begins at {payload}, the volume ends at {view.size}")
        )
    return Identity(
        type="crypto_LUKS",
        fstype="luks",
        uuid=_uuid(header.uuid),
        version="1",
        locked=True,
        details={
            "cipher": cipher,
            "cipher_mode": mode,
            "encryption": f"{cipher}-{mode}" if mode else cipher,
            "hash": text(header.hashSpec),
            "key_size": header.keyBytes * 8,
            "payload_offset": payload,
            "detached_header": payload == 0,
            "digest_iterations": header.mkDigestIterations,
            "keyslots": slots,
        },
        problems=_locked(problems),
    )


def _version_2(view: View) -> Identity:
    chosen, problems = read_header_2(view)
    problems.extend(chosen.problems)
    head = chosen.head
    details: dict[str, Json] = {
        "subsystem": text(head.subsystem),
        "seqid": head.seqid,
        "header_size": head.hdr_size,
        "checksum": text(head.csum_alg),
    }
    if chosen.json is not None:
        details |= _json_details(chosen.json, view.size, problems)
    return Identity(
        type="crypto_LUKS",
        fstype="luks",
        label=text(head.label),
        uuid=_uuid(head.uuid),
        version="2",
        locked=True,
        offset=chosen.offset,
        checked=chosen.checked,
        details=details,
        problems=_locked(problems),
    )


def read_header_2(view: View) -> tuple[Header2, list[Problem]]:
    """The LUKS2 header that counts, of the two there should be, and what is wrong with having to choose.

    Its own ``problems`` come besides. Raises NotThisFormat where there is none.
    """
    primary, why = None, "there is none"
    if view.glance(0, 6) == MAGIC:
        try:
            primary = _header(view, 0, MAGIC)
        except (NotThisFormat, ShortRead) as error:
            why = str(error)
    size = primary.head.hdr_size if primary else None
    problems: list[Problem] = []
    secondary = None
    if primary and primary.checked and primary.json is not None:
        secondary = _other_copy(view, primary, problems)
    else:
        secondary = _first_secondary(view, (size,) if size else HDR_SIZES)
    chosen = _chosen(primary, secondary)
    if chosen is None:
        raise NotThisFormat(f"no LUKS2 header; the primary one: {why}")
    if chosen is not primary:
        if primary is None:
            said = why
        elif not primary.checked:
            said = "its checksum does not match"
        elif primary.json is None:
            said = "its JSON is unusable"
        else:
            said = "it is the older one"
        message = (
            f"the primary LUKS2 header is not used: {said}; the facts come from the one at {chosen.offset}"
        )
        problems.append(Problem(Code.BACKUP_USED, message))
    return chosen, problems


def _chosen(primary: Header2 | None, secondary: Header2 | None) -> Header2 | None:
    """The header that counts, as for cryptsetup: a sound one, then the newer, then the primary."""
    found = [header for header in (primary, secondary) if header is not None]
    return max(found, key=lambda one: (one.checked and one.json is not None, one.head.seqid), default=None)


def _other_copy(view: View, primary: Header2, problems: list[Problem]) -> Header2 | None:
    """The secondary header beside a sound primary one, where it says other things."""
    offset = primary.head.hdr_size
    raw = view.peek(offset, HDR_2.size)
    if len(raw) < HDR_2.size:
        return None  # a header cut off behind the first copy: the payload's end tells
    head = parse_struct(raw, HDR_2)
    if head.magic == MAGIC_SECONDARY and head.seqid == primary.head.seqid:
        return None
    try:
        other = _header(view, offset, MAGIC_SECONDARY)
    except (NotThisFormat, ShortRead) as error:
        problems.append(Problem(Code.DAMAGED, f"the secondary LUKS2 header at {offset} is unusable: {error}"))
        return None
    if other.checked:
        message = (
            f"the LUKS2 headers differ: the primary is number {primary.head.seqid}, "
            f"the secondary {other.head.seqid}"
        )
        problems.append(Problem(Code.COPIES_DIFFER, message))
        return other
    problems.extend(other.problems)
    return None


def _first_secondary(view: View, offsets: tuple[int, ...]) -> Header2 | None:
    """The first usable secondary header at one of these places."""
    for offset in offsets:
        if view.glance(offset, 6) == MAGIC_SECONDARY:
            try:
                return _header(view, offset, MAGIC_SECONDARY)
            except (NotThisFormat, ShortRead):
                continue
    return None


def _header(view: View, offset: int, magic: bytes) -> Header2:
    head = read_struct(view, HDR_2, offset)
    if head.magic != magic or head.version != 2:
        raise NotThisFormat(f"no LUKS2 header at {offset}")
    if head.hdr_size not in HDR_SIZES or head.hdr_offset != offset:
        raise NotThisFormat(f"a header of {head.hdr_size} bytes for {head.hdr_offset}")
    if offset and head.hdr_size != offset:
        raise NotThisFormat(f"a secondary header of {head.hdr_size} bytes at {offset}")
    _uuid(head.uuid)
    problems = []
    raw = view.peek(offset, head.hdr_size)
    name = HASHES.get(text(head.csum_alg) or "")
    checked = False
    if len(raw) < head.hdr_size:
        message = f"the LUKS2 header at {offset} is {head.hdr_size} bytes long; {len(raw)} are there"
        problems.append(Problem(Code.TRUNCATED, message))
    elif name is not None:
        from hashlib import new

        digest = new(name, raw[:_CSUM_AT] + bytes(64) + raw[_CSUM_AT + 64 :], usedforsecurity=False).digest()
        checked = head.csum.startswith(digest)
    if not checked and not problems:
        message = f"the checksum of the LUKS2 header at {offset} does not match"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
    document = _json(raw[HDR_BIN:])
    if document is None:
        problems.append(Problem(Code.DAMAGED, f"the JSON of the LUKS2 header at {offset} cannot be read"))
    return Header2(offset=offset, head=head, checked=checked, json=document, problems=tuple(problems))


def _json(area: bytes) -> dict[str, Any] | None:
    """The JSON object that the area begins with, up to its first NUL; None for anything else."""
    import json

    try:
        # Python's own limits hold depth and digits down.
        document = json.loads(area.split(b"\0", 1)[0])
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _json_details(document: dict[str, Any], size: int, problems: list[Problem]) -> dict[str, Json]:
    segments = [_segment(number, entry) for number, entry in _entries(document, "segments")]
    config = _object(document.get("config"))
    details: dict[str, Json] = {
        "segments": [*segments],
        "keyslots": [_keyslot(number, entry) for number, entry in _entries(document, "keyslots")],
        "tokens": [
            {
                "token": number,
                "type": _word(entry.get("type")),
                "keyslots": _words(entry.get("keyslots")),
            }
            for number, entry in _entries(document, "tokens")
        ],
        "digests": [
            {
                "digest": number,
                "type": _word(entry.get("type")),
                "hash": _word(entry.get("hash")),
                "iterations": _number(entry.get("iterations")),
                "keyslots": _words(entry.get("keyslots")),
                "segments": _words(entry.get("segments")),
            }
            for number, entry in _entries(document, "digests")
        ],
        "flags": _words(config.get("flags")),
        "requirements": _words(_object(config.get("requirements")).get("mandatory")),
        "keyslots_size": _number(config.get("keyslots_size")),
    }
    if not segments:
        problems.append(Problem(Code.DAMAGED, "the LUKS2 header names no segment of data"))
        return details
    first = segments[0]
    # Beneath the software's encryption, or instead of it; the drive's own key is in no keyslot's reach.
    opal = any(str(segment["type"]).startswith(HW_OPAL) for segment in segments)
    details["hardware_encryption"] = "opal" if opal else None
    details["encryption"] = first["encryption"]
    details["sector_size"] = first["sector_size"]
    start = first["offset"]
    details["payload_offset"] = start
    details["detached_header"] = start == 0
    if isinstance(start, int) and start > size:
        problems.append(Problem(Code.TRUNCATED, f"the payload begins at {start}, the volume ends at {size}"))
    return details


def _segment(number: str, entry: dict[str, Any]) -> dict[str, Json]:
    integrity = _object(entry.get("integrity"))
    segment: dict[str, Json] = {
        "segment": number,
        "type": _word(entry.get("type")),
        "offset": _number(entry.get("offset")),
        "size": "dynamic" if entry.get("size") == "dynamic" else _number(entry.get("size")),
        "encryption": _word(entry.get("encryption")),
        "sector_size": _number(entry.get("sector_size")),
        "iv_tweak": _number(entry.get("iv_tweak")),
        "flags": _words(entry.get("flags")),
        "integrity": _word(integrity.get("type")),
    }
    if str(entry.get("type")).startswith(HW_OPAL):
        segment["opal_segment"] = _number(entry.get("opal_segment_number"))
        segment["opal_key_size"] = _number(entry.get("opal_key_size"))
        segment["opal_segment_size"] = _number(entry.get("opal_segment_size"))
    return segment


def _keyslot(number: str, entry: dict[str, Any]) -> Json:
    area, kdf, af = (_object(entry.get(key)) for key in ("area", "kdf", "af"))
    size = _number(entry.get("key_size"))
    return {
        "slot": number,
        "type": _word(entry.get("type")),
        "priority": _number(entry.get("priority")),
        "key_size": None if size is None else size * 8,
        "kdf": _word(kdf.get("type")),
        "hash": _word(kdf.get("hash")),
        "iterations": _number(kdf.get("iterations")),
        "time": _number(kdf.get("time")),
        "memory": _number(kdf.get("memory")),
        "cpus": _number(kdf.get("cpus")),
        "af_hash": _word(af.get("hash")),
        "stripes": _number(af.get("stripes")),
        "offset": _number(area.get("offset")),
        "size": _number(area.get("size")),
        "encryption": _word(area.get("encryption")),
    }


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _entries(document: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    """The numbered objects under ``key``, in the order of their numbers."""
    found = [(name, value) for name, value in _object(document.get(key)).items() if isinstance(value, dict)]
    return sorted(found, key=lambda entry: (len(entry[0]), entry[0]))[:ENTRIES]


def _word(value: object) -> str | None:
    return value[:WORD] if isinstance(value, str) else None


def _words(value: object) -> list[Json]:
    return (
        [word[:WORD] for word in value[:ENTRIES] if isinstance(word, str)] if isinstance(value, list) else []
    )


def _number(value: object) -> int | None:
    """A number of 64 bits at most, which LUKS2 writes as a string where it may pass 32."""
    if isinstance(value, str):
        value = decimal(value)
    good = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 64
    return value if good and isinstance(value, int) else None


FORMAT = Format(
    name="luks",
    title="LUKS",
    specification="https://gitlab.com/cryptsetup/LUKS2-docs",
    usage=Usage.CRYPTO,
    types=("crypto_LUKS",),
    parse=parse,
    signatures=(
        Signature(MAGIC, 0),
        *(Signature(MAGIC_SECONDARY, offset, copy=True) for offset in HDR_SIZES),
    ),
    precedence=Precedence.ENCRYPTION,
    with_table=TableRule.HIDES,
)
