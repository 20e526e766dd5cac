"""The keys of a BitLocker volume: what protects its master key, and what opens a protector.

How keys are wrapped: libyal, libbde, "BitLocker Drive Encryption (BDE) format", as
`pyimount.parsers.encryption.bitlocker` names it.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256

from construct import Bytes, Int16ul, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import guid_text
from pyimount.keys import Key
from pyimount.mapping.errors import DamagedHeader, WrongKey
from pyimount.mapping.kdf import STRETCH_WORTH, charge
from pyimount.parsers.encryption.bitlocker import DATASET, DATUM, PROTECTORS, VMK_INFO, each_datum
from pyimount.records import Record
from pyimount.sources.budget import Meter

STRETCH_INFO = layout(lambda: Struct("KeyType" / Int16ul, "KeyFlags" / Int16ul, "Salt" / Bytes(16)))
AES_CCM_KEY = layout(lambda: Struct("Nonce" / Bytes(12), "MAC" / Bytes(16)))
KEY = layout(lambda: Struct("KeyType" / Int16ul, "KeyFlags" / Int16ul))
EXTERNAL_INFO = layout(lambda: Struct("Identifier" / Bytes(16), "DateTime" / Bytes(8)))

ROLE_STARTUP_KEY = 0x6
TYPE_KEY, TYPE_STRETCH_KEY, TYPE_AES_CCM_KEY, TYPE_EXTERNAL_INFO = 0x1, 0x3, 0x5, 0x9

STRETCH_ROUNDS = 0x100000

CLEAR, STARTUP_KEY, RECOVERY_PASSWORD, PASSWORD = 0x0000, 0x0200, 0x0800, 0x2000


class Protector(Record, kw_only=True):
    """One way to the volume master key: what wraps it, and the key as wrapped.

    ``salt``: for what is stretched; ``clear``: the key that unwraps it, where that lies open.
    """

    guid: str | None
    priority: int
    wrapped: bytes
    salt: bytes | None = None
    clear: bytes | None = None

    @property
    def type(self) -> str:
        """Its name, as the report has it."""
        return PROTECTORS.get(self.priority, "clear-key" if not self.priority else hex(self.priority))


def protectors_in(data: bytes, at: int, stop: int) -> Iterator[Protector]:
    """The protector that a datum of ``data`` from ``at`` to ``stop`` describes, where it wraps a key."""
    vmk = parse_struct(data, VMK_INFO, at)
    parts: dict[int, bytes] = {}
    for datum, start, end in each_datum(data, at + VMK_INFO.size, stop):
        parts.setdefault(datum.Type, data[start:end])
    if TYPE_AES_CCM_KEY not in parts:
        return
    stretch = parts.get(TYPE_STRETCH_KEY, b"")
    clear = parts.get(TYPE_KEY, b"")
    yield Protector(
        guid=guid_text(vmk.Identifier),
        priority=vmk.Priority & 0xFF00,
        wrapped=parts[TYPE_AES_CCM_KEY],
        salt=parse_struct(stretch, STRETCH_INFO).Salt if len(stretch) >= STRETCH_INFO.size else None,
        clear=clear[KEY.size :] if len(clear) > KEY.size else None,
    )


def raw_key(key: Key | None) -> bytes | None:
    """The key of the sectors themselves, where that is what was given."""
    if key is None or key.kind not in ("k", "m"):
        return None
    if key.kind == "m":
        return key.secret
    try:
        return bytes.fromhex(key.text)
    except ValueError:
        raise WrongKey(0, "the full volume encryption key is not in hexadecimal") from None


def master_key(
    protectors: Sequence[Protector], key: Key | None, only: str | None, meter: Meter
) -> tuple[Protector, bytes]:
    """The protector that the key is for, and the volume master key that it unwraps."""
    meant = [protector for protector in protectors if only in (None, protector.guid)]
    tried = 0
    for protector, wrapper in _wrappers(meant, key, meter):
        tried += 1
        master = _unwrapped(protector.wrapped, wrapper)
        if master is not None:
            return protector, master[1]
    if key is None:
        raise WrongKey(tried, "no key lies open on the volume")
    number = "1 protector" if tried == 1 else f"{tried} protectors"
    raise WrongKey(tried, f"the {key.name} does not open this volume; it was tried on {number}")


def _wrappers(
    protectors: Sequence[Protector], key: Key | None, meter: Meter
) -> Iterator[tuple[Protector, bytes]]:
    """Each protector that the key may be for, and the key that would then unwrap it."""
    # What lies open needs no key, whatever key was meant for some other volume.
    yield from ((one, one.clear) for one in protectors if one.priority == CLEAR and one.clear)
    if key is None:
        return
    if key.kind in ("s", "f"):
        identifier, external = external_key(key.secret)
        yield from (
            (one, external) for one in protectors if one.priority == STARTUP_KEY and one.guid == identifier
        )
    for priority, digest in _digests(key):
        meant = [(one, one.salt) for one in protectors if one.priority == priority and one.salt]
        for one, salt in meant:
            charge(meter, STRETCH_ROUNDS * STRETCH_WORTH)
            yield one, key.derived(("stretched", digest, salt), partial(stretched, digest, salt))


def _digests(key: Key) -> Iterator[tuple[int, bytes]]:
    """What is stretched, and for which protectors: as with cryptsetup, a passphrase may be either."""
    if key.kind in ("p", "f"):
        yield PASSWORD, password_digest(key.text)
    if key.kind in ("p", "f", "r"):
        digest = recovery_digest(key.text)
        if digest is not None:
            yield RECOVERY_PASSWORD, digest


def stretched(digest: bytes, salt: bytes) -> bytes:
    """A password's digest after 0x100000 rounds: what unwraps the volume master key."""
    last = bytes(32)
    tail = digest + salt
    for count in range(STRETCH_ROUNDS):
        last = sha256(last + tail + count.to_bytes(8, "little")).digest()
    return last


def password_digest(password: str) -> bytes:
    """A password as it is stretched."""
    return sha256(sha256(password.encode("utf-16-le", "surrogatepass")).digest()).digest()


def recovery_digest(password: str) -> bytes | None:
    """A recovery password of eight groups of six digits as it is stretched; None when it cannot be one."""
    groups = password.replace(" ", "-").split("-")
    if len(groups) != 8 or not all(
        len(group) == 6 and group.isascii() and group.isdecimal() for group in groups
    ):
        return None
    numbers = [divmod(int(group), 11) for group in groups]
    if any(left or number > 0xFFFF for number, left in numbers):
        return None
    return sha256(b"".join(number.to_bytes(2, "little") for number, _ in numbers)).digest()


def external_key(data: bytes) -> tuple[str | None, bytes]:
    """The protector's GUID and the key in a startup key file (.bek); no GUID when it is none."""
    try:
        dataset = parse_struct(data, DATASET)
        for datum, at, stop in each_datum(data, dataset.StartOffset, min(dataset.EndOffset, len(data))):
            if datum.Role == ROLE_STARTUP_KEY and datum.Type == TYPE_EXTERNAL_INFO:
                info = parse_struct(data, EXTERNAL_INFO, at)
                for inner, start, end in each_datum(data, at + EXTERNAL_INFO.size, stop):
                    if inner.Type == TYPE_KEY:
                        return guid_text(info.Identifier), data[start + KEY.size : end]
    except NotThisFormat:
        return None, b""
    return None, b""


def _unwrapped(wrapped: bytes, key: bytes) -> tuple[int, bytes] | None:
    """The type of the key that ``wrapped`` holds, and the key; None when ``key`` does not open it."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM

    if len(wrapped) < AES_CCM_KEY.size or len(key) != 32:
        return None
    sealed = parse_struct(wrapped, AES_CCM_KEY)
    try:
        plain = AESCCM(key).decrypt(sealed.Nonce, wrapped[AES_CCM_KEY.size :] + sealed.MAC, None)
        inner = parse_struct(plain, KEY, DATUM.size)
    except (InvalidTag, NotThisFormat):
        return None
    return inner.KeyType, plain[DATUM.size + KEY.size :]


def volume_key(wrapped: bytes | None, master: bytes) -> tuple[int, bytes]:
    """The encryption method, and the key of the sectors."""
    found = None if wrapped is None else _unwrapped(wrapped, master)
    if found is None:
        raise DamagedHeader(
            "the key opens a protector, but what that protects is damaged: the volume's own key"
        )
    return found
