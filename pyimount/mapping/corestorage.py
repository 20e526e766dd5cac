"""The plain bytes of a FileVault 2 volume: the logical volume of a CoreStorage physical volume.

How keys are wrapped: libyal, libfvde, "FileVault Drive Encryption (FVDE)", and Choudary, Grobert, Metz,
"Infiltrate the Vault", 2012. A passphrase unwraps a key-encrypting key, that the volume's key; its second
half is made of that and the family's UUID. Only a volume in one piece is opened, as by cryptsetup.
"""

from collections.abc import Iterator
from hashlib import sha256

from construct import Bytes, Int32ul, Struct

from pyimount.formats import Details, NotThisFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.keys import Key
from pyimount.mapping.assembly import Unlocked
from pyimount.mapping.errors import DamagedHeader, Unsupported, WrongKey
from pyimount.mapping.kdf import Pbkdf2, allow, derive_once
from pyimount.mapping.sectorcipher import SectorCipher, SectorSource, parse_encryption
from pyimount.parsers.volumes.corestorage import CryptoUser, Metadata, read_header, read_metadata
from pyimount.sources.budget import Meter
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

KIND = "corestorage"

WRAPPED_KEK = layout(
    lambda: Struct(
        "salt_type" / Int32ul,
        "salt_size" / Int32ul,
        "salt" / Bytes(16),
        "kek_type" / Int32ul,
        "kek_size" / Int32ul,
        "kek" / Bytes(24),
        "unknown" / Bytes(112),
        "iterations" / Int32ul,
    )
)
WRAPPED_VOLUME_KEY = layout(lambda: Struct("type" / Int32ul, "size" / Int32ul, "key" / Bytes(24)))
KEY_SIZE = 16
HFSPLUS_AT, HFSPLUS = 1024, (b"H+", b"HX")


def unlock(source: Source, key: Key | None = None, *, meter: Meter | None = None) -> Unlocked:
    """Open the logical volume of the physical volume in ``source``.

    Raises WrongKey when no user of the volume has this passphrase, Unsupported where it is not in
    one piece or not wholly encrypted, KdfTooCostly, DamagedHeader; ReadError and BudgetError as the
    source does.
    """
    return _open(source, key, meter or Meter(), None)


def reopen(
    source: Source, parameters: Details, key: Key | None = None, *, meter: Meter | None = None
) -> Source:
    """The plain bytes again, from the recipe that ``unlock`` gave; raises as ``unlock`` does."""
    user = parameters.get("user")
    return _open(source, key, meter or Meter(), user if isinstance(user, str) else None).source


def _open(source: Source, key: Key | None, meter: Meter, only: str | None) -> Unlocked:
    view = View(source)
    try:
        metadata = read_metadata(view, read_header(view)[1])
    except (NotThisFormat, ShortRead) as error:
        raise DamagedHeader(f"the metadata cannot be read: {error}") from error
    if metadata.offset is None or metadata.size > metadata.available:
        raise Unsupported("the logical volume is in several pieces")
    if metadata.wrapped_volume_key is None:
        raise Unsupported("the logical volume is not encrypted by FileVault 2")
    if metadata.conversion not in (None, "Complete"):
        raise Unsupported(f"the logical volume is under conversion: {metadata.conversion}")
    user: str | None = None
    volume_key = _raw_key(key)
    if volume_key is None:
        user, volume_key = _volume_key(metadata, key, meter, only)
    cipher = SectorCipher(parse_encryption("aes-xts-plain64"), volume_key)
    opened = SectorSource(source, metadata.offset, metadata.size, cipher)
    if user is None and opened.read_at(HFSPLUS_AT, 2) not in HFSPLUS:
        raise WrongKey(1, f"the {key.name if key else 'key'} shows no HFS+ volume")
    return Unlocked(kind=KIND, parameters={"user": user}, source=opened, details={"user": user})


def _raw_key(key: Key | None) -> bytes | None:
    """Both halves of the volume's key, where that is what was given."""
    if key is None or key.kind not in ("k", "m"):
        return None
    try:
        raw = key.secret if key.kind == "m" else bytes.fromhex(key.text)
    except ValueError:
        raw = b""
    if len(raw) != 2 * KEY_SIZE:
        raise WrongKey(0, f"the {key.name} is none of {2 * KEY_SIZE} bytes")
    return raw


def _volume_key(
    metadata: Metadata, key: Key | None, meter: Meter, only: str | None
) -> tuple[str | None, bytes]:
    """Whose passphrase the key is, and both halves of the volume's key."""
    users = [user for user in metadata.users if only in (None, user.identifier)]
    tried = 0
    for user, kek in _keks(users, key, meter):
        tried += 1
        if kek is None:
            continue
        wrapped = metadata.wrapped_volume_key or b""
        first = _unwrapped(kek, parse_struct(wrapped, WRAPPED_VOLUME_KEY).key) if len(wrapped) >= 32 else None
        family = _uuid(metadata.volume.get("familyUUID", ""))
        if first is None or family is None:
            raise DamagedHeader("the passphrase is right, but the volume's key is damaged")
        return user.identifier, first + sha256(first + family).digest()[:KEY_SIZE]
    raise WrongKey(tried)


def _keks(
    users: list[CryptoUser], key: Key | None, meter: Meter
) -> Iterator[tuple[CryptoUser, bytes | None]]:
    """Each user who may have this passphrase, and the key-encrypting key that it unwraps."""
    if key is None or key.kind not in ("p", "f", "r"):
        return
    for user in users:
        if len(user.wrapped_kek) < WRAPPED_KEK.size:
            continue
        wrapped = parse_struct(user.wrapped_kek, WRAPPED_KEK)
        kdf = Pbkdf2(hash="sha256", iterations=wrapped.iterations, salt=wrapped.salt)
        allow(meter, (kdf, KEY_SIZE))
        yield user, _unwrapped(derive_once(key, kdf, key.secret, KEY_SIZE), wrapped.kek)


def _unwrapped(key: bytes, wrapped: bytes) -> bytes | None:
    """The key that is wrapped as RFC 3394 has it; None when ``key`` is not the one that wrapped it."""
    from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

    try:
        return aes_key_unwrap(key, wrapped)
    except InvalidUnwrap:
        return None


def _uuid(text: str) -> bytes | None:
    try:
        raw = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    return raw if len(raw) == 16 else None
