"""The plain bytes of VeraCrypt and TrueCrypt volumes, which nothing but their key can tell from noise.

Specification: "VeraCrypt Volume Format Specification", "Encryption Scheme" and "Header Key Derivation,
Salt, and Iteration Count", https://veracrypt.io/en/VeraCrypt%20Volume%20Format%20Specification.html

A header is found by trying: each place where one may lie, each hash, each cipher. Volumes of one cipher
in XTS mode are opened; cascades, Serpent, Twofish, Kuznyechik, Whirlpool, Streebog and what TrueCrypt did
before XTS (versions before 5) need what ``cryptography`` and hashlib lack.
"""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from construct import Bytes, Int16ub, Int32ub, Int64ub, Struct

from pyimount.formats import Details, Json, NotThisFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.keys import Key
from pyimount.mapping.assembly import Unlocked
from pyimount.mapping.errors import DamagedHeader, KdfTooCostly, UnlockError, Unsupported, WrongKey
from pyimount.mapping.kdf import Pbkdf2, allow, derive_once, hash_name
from pyimount.mapping.sectorcipher import SECTOR, SECTOR_SIZES, Encryption, SectorCipher, SectorSource
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.budget import Meter
from pyimount.sources.source import ConcatSource, SliceSource, Source

KEY_KINDS = frozenset("pf")
"""The kinds of key that such a volume can be opened with."""

# What the specification counts from the start of the volume, with the salt, is counted from 64 here.
HEADER = layout(
    lambda: Struct(
        "magic" / Bytes(4),
        "version" / Int16ub,
        "required_program_version" / Int16ub,
        "keys_crc" / Int32ub,
        "reserved" / Bytes(16),
        "hidden_volume_size" / Int64ub,
        "volume_size" / Int64ub,
        "area_offset" / Int64ub,
        "area_size" / Int64ub,
        "flags" / Int32ub,
        "sector_size" / Int32ub,
        "reserved_2" / Bytes(120),
        "header_crc" / Int32ub,
        "keys" / Bytes(256),
    )
)
SALT = 64
HEADER_SIZE = 512
MAGICS = {b"VERA": "veracrypt", b"TRUE": "truecrypt"}
FLAG_SYSTEM = 1
KEY_SIZE = 64
"""Two keys of 256 bits, for XTS."""

GROUP = 128 << 10
"""Bytes that the headers take at either end of a volume: the outer one's half, then the hidden one's."""
SYSTEM_AT = 62 * SECTOR
CIPHERS = ("aes", "camellia")

KEYFILE_CAP = 1 << 20
"""No more of a key file counts, bytes."""
POOL, POOL_LONG = 64, 128
MAX_PIM = 1 << 21
_CRC = 0xFFFFFFFF


class _Place(Record):
    """Where a header may lie, bytes. ``what``: of which volume it would be: outer, hidden or system."""

    offset: int
    what: str


class _Way(Record):
    """A way to derive the header's key: the product's hash and its count of iterations."""

    product: str
    hash: str
    iterations: int


def unlock(
    source: Source,
    key: Key,
    *,
    meter: Meter | None = None,
) -> Unlocked:
    """Open ``source`` as a VeraCrypt or TrueCrypt volume: outer, hidden or the system's own.

    ``key``: a passphrase, with its key files and personal iterations multiplier, or a key file alone.
    Trying every way takes seconds. Raises
    WrongKey, also where it is no such volume at all, which cannot be told; KdfTooCostly; Unsupported;
    DamagedHeader; SourceErrors as the source does.
    """
    return _unlock(source, key, meter or Meter(), told=None)


def reopen(
    source: Source,
    parameters: Details,
    key: Key,
    *,
    meter: Meter | None = None,
) -> Source:
    """The plain bytes again, by the header that ``unlock`` told in its parameters; raises as it does."""
    return _unlock(source, key, meter or Meter(), told=parameters).source


def _unlock(
    source: Source,
    key: Key,
    meter: Meter,
    *,
    told: Details | None,
) -> Unlocked:
    if key.kind not in KEY_KINDS:
        raise WrongKey(0, f"a {key.name} opens no VeraCrypt volume")
    if not 0 <= key.pim < MAX_PIM:
        raise Unsupported(f"a personal iterations multiplier of {key.pim}")
    passwords = _passwords(key)
    refused: UnlockError | None = None
    tried = 0
    for place in _places(source.size):
        if told is not None and place.offset != told.get("header_offset"):
            continue
        raw = source.read_at(place.offset, HEADER_SIZE)
        if len(raw) < HEADER_SIZE:
            continue
        tried += 1
        for way in _ways(place, key.pim):
            if told is not None and (way.product, way.hash) != (told.get("product"), told.get("hash")):
                continue
            try:
                found = _open_header(raw, way, passwords[way.product], key, meter)
            except (KdfTooCostly, Unsupported) as error:
                refused = refused or error
                continue
            if found is not None:
                return _opened(source, place, way, key.pim, found)
    if refused is not None:
        raise refused
    raise WrongKey(
        tried,
        f"the key opens no VeraCrypt or TrueCrypt header at the {tried} places where one may be; "
        "ciphers other than AES and Camellia, and keys derived otherwise than by PBKDF2, were not tried",
    )


def _places(size: int) -> Iterator[_Place]:
    """The headers, then their copies at the end of the volume."""
    yield _Place(0, "outer")
    yield _Place(GROUP // 2, "hidden")
    yield _Place(SYSTEM_AT, "system")
    if size >= 2 * GROUP:
        yield _Place(size - GROUP, "outer")
        yield _Place(size - GROUP // 2, "hidden")


def _ways(place: _Place, pim: int) -> Iterator[_Way]:
    system = place.what == "system"
    by_pim = 15000 + 1000 * pim
    # Where the system starts from is a boot loader of few instructions: fewer iterations.
    for name, count in (
        ("sha512", by_pim if pim else 500_000),
        ("sha256", (2048 * pim if pim else 200_000) if system else by_pim if pim else 500_000),
        ("blake2s-256", (2048 * pim if pim else 200_000) if system else by_pim if pim else 500_000),
        ("ripemd160", (2048 * pim if pim else 327_661) if system else by_pim if pim else 655_331),
    ):
        yield _Way("veracrypt", name, count)
    if not pim:
        yield _Way("truecrypt", "ripemd160", 1000 if system else 2000)
        yield _Way("truecrypt", "sha512", 1000)
        yield _Way("truecrypt", "sha1", 2000)


def _passwords(key: Key) -> dict[str, bytes]:
    """The password of each product, with key files mixed in."""
    files = [key.secret, *key.keyfiles] if key.kind == "f" else key.keyfiles
    password = b"" if key.kind == "f" else key.secret
    long = POOL_LONG if len(password) > POOL else POOL
    # TrueCrypt takes no longer passwords, and knows no larger pool.
    return {
        "veracrypt": _mixed(password, files, long),
        "truecrypt": _mixed(password[:POOL], files, POOL),
    }


def _mixed(password: bytes, files: Sequence[bytes], size: int) -> bytes:
    if not files:
        return password
    pool = bytearray(size)
    for data in files:
        at, crc = 0, 0
        for byte in data[:KEYFILE_CAP]:
            crc = zlib.crc32(bytes((byte,)), crc)
            for part in (crc ^ _CRC).to_bytes(4, "big"):
                pool[at] = (pool[at] + part) & 0xFF
                at = (at + 1) % size
    for at, byte in enumerate(password[:size]):
        pool[at] = (pool[at] + byte) & 0xFF
    return bytes(pool)


def _open_header(raw: bytes, way: _Way, password: bytes, key: Key, meter: Meter) -> tuple[str, Any] | None:
    """The cipher and the header that this way opens; None where it opens none."""
    kdf = Pbkdf2(hash=hash_name(way.hash), iterations=way.iterations, salt=raw[:SALT])
    allow(meter, (kdf, KEY_SIZE))
    header_key = derive_once(key, kdf, password, KEY_SIZE)
    for cipher in CIPHERS:
        sealed = raw[SALT:]
        sectors = SectorCipher(_encryption(cipher), header_key)
        # The header is shorter than a sector by its salt: what is put behind it changes nothing before.
        plain = sectors.decrypt(sealed + bytes(SALT), 0)[: len(sealed)]
        if MAGICS.get(plain[:4]) != way.product:
            continue
        try:
            header = parse_struct(plain, HEADER)
        except NotThisFormat:
            continue
        if header.keys_crc == zlib.crc32(header.keys):
            return cipher, header
    return None


def _encryption(cipher: str) -> Encryption:
    return Encryption(f"{cipher}-xts-plain64", cipher, "xts", "plain64")


def _opened(source: Source, place: _Place, way: _Way, pim: int, found: tuple[str, Any]) -> Unlocked:
    cipher, header = found
    if header.version < 4:
        raise Unsupported(f"a header of version {header.version}, which does not say where its data is")
    if header.sector_size not in (0, *SECTOR_SIZES):
        raise DamagedHeader(f"sectors of {header.sector_size} bytes")
    offset, size = header.area_offset, header.area_size
    if offset % SECTOR or size % SECTOR or not size:
        raise DamagedHeader(f"an encrypted area of {size} bytes at {offset}")
    problems = []
    if offset > source.size:
        raise DamagedHeader(f"the encrypted area begins at {offset}, the volume ends at {source.size}")
    if offset + size > source.size:
        message = f"the encrypted area ends at {offset + size}, the volume at {source.size}"
        problems.append(Problem(Code.TRUNCATED, message))
    sectors = SectorCipher(_encryption(cipher), header.keys[:KEY_SIZE])
    plain: Source = SectorSource(source, offset, size, sectors, offset // SECTOR)
    system = place.what == "system" or bool(header.flags & FLAG_SYSTEM)
    if system:
        # The whole disk, whose boot loader, and what lies outside the encrypted partition, are as they are.
        behind = offset + plain.size
        plain = ConcatSource(
            (SliceSource(source, 0, offset), plain, SliceSource(source, behind, source.size - behind))
        )
    details: dict[str, Json] = {
        "product": way.product,
        "volume": "system" if system else place.what,
        "header_offset": place.offset,
        "header_version": header.version,
        "hash": way.hash,
        "iterations": way.iterations,
        "encryption": f"{cipher}-xts-plain64",
        "payload_offset": offset,
        "sector_size": header.sector_size or SECTOR,
    }
    return Unlocked(
        kind="veracrypt",
        parameters={"header_offset": place.offset, "product": way.product, "hash": way.hash, "pim": pim},
        source=plain,
        details=details,
        problems=tuple(problems),
    )
