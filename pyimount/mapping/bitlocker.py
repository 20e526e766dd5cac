"""The plain bytes of a BitLocker volume, and the keys that give them.

What is written where, and how keys are wrapped: libyal, libbde, "BitLocker Drive Encryption (BDE)
format", as `pyimount.parsers.encryption.bitlocker` names it. dissect.fve knows all this too, and is
the second opinion in the tests. It is not called here: a size in the metadata makes it read 4 GiB, it
tries any number of protectors at a second each, cannot tell a wrong key from damage, and reads 0.8 MiB
a second through the diffuser and 2 through XTS.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from functools import partial
from hashlib import sha256

from construct import Bytes, Int16ul, Struct

from pyimount.formats import Details, Json, NotThisFormat
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import guid_text
from pyimount.keys import Key
from pyimount.mapping.assembly import Unlocked
from pyimount.mapping.boot_sectors import BOOT_SECTOR_SIZE, is_boot_sector
from pyimount.mapping.elephant import undiffuse
from pyimount.mapping.errors import DamagedHeader, Unsupported, WrongKey
from pyimount.mapping.kdf import STRETCH_WORTH, charge
from pyimount.mapping.sectorcipher import BLOCK, SECTOR, Encryption, SectorCipher
from pyimount.parsers.encryption.bitlocker import (
    BOOT_SECTOR,
    DATASET,
    DATUM,
    DECRYPTED,
    ENCRYPTED,
    INFORMATION,
    METHODS,
    PROTECTORS,
    ROLE_VMK,
    SWITCHING_DIRTY,
    TYPE_VMK_INFO,
    VMK_INFO,
    Information,
    each_datum,
    information,
    recognised,
)
from pyimount.parsers.encryption.bitlocker_eow import EncryptOnWrite, encrypt_on_write
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.budget import Meter
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

KIND = "bitlocker"

STRETCH_INFO = layout(lambda: Struct("KeyType" / Int16ul, "KeyFlags" / Int16ul, "Salt" / Bytes(16)))
AES_CCM_KEY = layout(lambda: Struct("Nonce" / Bytes(12), "MAC" / Bytes(16)))
KEY = layout(lambda: Struct("KeyType" / Int16ul, "KeyFlags" / Int16ul))
EXTERNAL_INFO = layout(lambda: Struct("Identifier" / Bytes(16), "DateTime" / Bytes(8)))

AES_128_DIFFUSER, AES_256_DIFFUSER, AES_128, AES_256, XTS_128, XTS_256 = range(0x8000, 0x8006)
# With the diffuser half of each 32 bytes is not used by AES 128.
KEY_SIZES = {
    AES_128_DIFFUSER: 64,
    AES_256_DIFFUSER: 64,
    AES_128: 16,
    AES_256: 32,
    XTS_128: 32,
    XTS_256: 64,
}
EBOIV = Encryption("aes-cbc-eboiv", "aes", "cbc", "eboiv")

ROLE_FVEK, ROLE_STARTUP_KEY = 0x3, 0x6
TYPE_KEY, TYPE_STRETCH_KEY, TYPE_AES_CCM_KEY, TYPE_EXTERNAL_INFO = 0x1, 0x3, 0x5, 0x9

STRETCH_ROUNDS = 0x100000

CLEAR, STARTUP_KEY, RECOVERY_PASSWORD, PASSWORD = 0x0000, 0x0200, 0x0800, 0x2000

HIDDEN, VISTA_HIDDEN = 0x10000, 0x4000
"""So many bytes are kept for each copy of the metadata."""
VISTA_PLAIN = 0x2000
"""So many bytes at the start of a volume of Vista's are not encrypted."""
PIECE = 1 << 20
"""So many bytes are decrypted at once."""
NO_LIMIT = 1 << 64


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


class Volume(Record, kw_only=True):
    """What the headers of a volume say: sizes and offsets in bytes; ``on_write``: where writing encrypts."""

    kind: str
    sector_size: int
    cluster_size: int
    on_write: EncryptOnWrite | None
    information: Information
    protectors: tuple[Protector, ...]
    wrapped_fvek: bytes | None


def unlock(source: Source, key: Key | None = None, *, meter: Meter | None = None) -> Unlocked:
    """Open the BitLocker volume in ``source``; without a key, one that is suspended or decrypted.

    Raises WrongKey when the key opens none of the protectors that it could be for, Unsupported when
    what it opens cannot be read, DamagedHeader when the metadata cannot, KdfTooCostly past the budget
    of ``meter``; ReadError and BudgetError as the source does.
    """
    return _open(source, _read_volume(source), key, None, meter or Meter())


def reopen(
    source: Source, parameters: Details, key: Key | None = None, *, meter: Meter | None = None
) -> Source:
    """The plain bytes again, from the recipe that ``unlock`` gave; raises as ``unlock`` does."""
    guid = parameters.get("protector")
    only = guid if isinstance(guid, str) else None
    return _open(source, _read_volume(source), key, only, meter or Meter()).source


def _open(source: Source, volume: Volume, key: Key | None, only: str | None, meter: Meter) -> Unlocked:
    header = volume.information.header
    details: dict[str, Json] = {"protector": None, "protector_type": None}
    cipher: SectorCipher | None = None
    raw = _raw_key(key)
    if header.CurrentState == DECRYPTED:
        pass
    elif raw is not None:
        cipher = _cipher(volume.information.dataset.FvekType, raw, volume.sector_size, given=True)
        details["protector_type"] = "full-volume-encryption-key"
    else:
        protector, master = _master_key(volume, key, only, meter)
        method, fvek = _volume_key(volume, master)
        cipher = _cipher(method, fvek, volume.sector_size, given=False)
        details |= {"protector": protector.guid, "protector_type": protector.type}
    opened = BitLockerSource(source, volume, cipher)
    if not is_boot_sector(opened.read_at(0, BOOT_SECTOR_SIZE)):
        if raw is not None:
            raise WrongKey(1, "the key shows no file system's boot sector")
        raise Unsupported("it opens, but what it shows first is no file system's boot sector")
    problems = []
    if header.CurrentState == SWITCHING_DIRTY and header.StateSize:
        message = f"{header.StateSize} bytes at {header.StateOffset} are under conversion and cannot be read"
        problems.append(Problem(Code.UNSUPPORTED, message))
    if volume.on_write is not None:
        details |= _progress(volume.on_write)
        if header.CurrentState not in (DECRYPTED, ENCRYPTED):
            message = (
                "encryption on write is in progress: chunks that were being converted when this was imaged, "
                f"at most {volume.on_write.log_size} bytes a region, may read wrong"
            )
            problems.append(Problem(Code.UNSUPPORTED, message))
    parameters = {"protector": details["protector"]}
    return Unlocked(
        kind=KIND, parameters=parameters, source=opened, details=details, problems=tuple(problems)
    )


def _progress(on_write: EncryptOnWrite) -> dict[str, Json]:
    return {
        "encrypt_on_write": {
            "chunk_size": on_write.chunk_size,
            "regions": len(on_write.regions),
            "encrypted": on_write.encrypted,
        }
    }


def _on_write(view: View, at: int | None, state: int) -> EncryptOnWrite | None:
    """What is noted of encryption on write; a decrypted volume may have no such notes any more."""
    if at is None:
        return None
    try:
        return encrypt_on_write(view, at)
    except (NotThisFormat, ShortRead) as error:
        if state == DECRYPTED:
            return None
        raise Unsupported(str(error)) from error


def _read_volume(source: Source) -> Volume:
    view = View(source)
    try:
        boot = read_struct(view, BOOT_SECTOR, 0)
        kind, offsets, eow_at = recognised(view, boot)
        found = information(view, offsets)
    except (NotThisFormat, ShortRead) as error:
        raise DamagedHeader(f"no longer a BitLocker volume: {error}") from error
    if found is None:
        raise DamagedHeader("no metadata where the boot sector says")
    protectors: list[Protector] = []
    fvek: bytes | None = None
    start = INFORMATION.size + found.dataset.StartOffset
    for datum, at, stop in each_datum(found.data, start, INFORMATION.size + found.dataset.EndOffset):
        if datum.Role == ROLE_VMK and datum.Type == TYPE_VMK_INFO and stop - at >= VMK_INFO.size:
            protectors += _protectors(found.data, at, stop)
        elif datum.Role == ROLE_FVEK and datum.Type == TYPE_AES_CCM_KEY and fvek is None:
            fvek = found.data[at:stop]
    return Volume(
        kind=kind,
        sector_size=boot.BytesPerSector,
        cluster_size=boot.BytesPerSector * boot.SectorsPerCluster,
        on_write=_on_write(view, eow_at, found.header.CurrentState),
        information=found,
        protectors=tuple(protectors),
        wrapped_fvek=fvek,
    )


def _protectors(data: bytes, at: int, stop: int) -> Iterator[Protector]:
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


def _raw_key(key: Key | None) -> bytes | None:
    """The key of the sectors themselves, where that is what was given."""
    if key is None or key.kind not in ("k", "m"):
        return None
    if key.kind == "m":
        return key.secret
    try:
        return bytes.fromhex(key.text)
    except ValueError:
        raise WrongKey(0, "the full volume encryption key is not in hexadecimal") from None


def _master_key(volume: Volume, key: Key | None, only: str | None, meter: Meter) -> tuple[Protector, bytes]:
    """The protector that the key is for, and the volume master key that it unwraps."""
    protectors = [protector for protector in volume.protectors if only in (None, protector.guid)]
    tried = 0
    for protector, wrapper in _wrappers(protectors, key, meter):
        tried += 1
        master = _unwrapped(protector.wrapped, wrapper)
        if master is not None:
            return protector, master[1]
    if key is None:
        raise WrongKey(tried, "no key lies open on the volume")
    protectors_ = "1 protector" if tried == 1 else f"{tried} protectors"
    raise WrongKey(tried, f"the {key.name} does not open this volume; it was tried on {protectors_}")


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


def _volume_key(volume: Volume, master: bytes) -> tuple[int, bytes]:
    """The encryption method, and the key of the sectors."""
    found = None if volume.wrapped_fvek is None else _unwrapped(volume.wrapped_fvek, master)
    if found is None:
        raise DamagedHeader(
            "the key opens a protector, but what that protects is damaged: the volume's own key"
        )
    return found


def _cipher(method: int, key: bytes, sector_size: int, *, given: bool) -> SectorCipher:
    if method not in KEY_SIZES:
        raise Unsupported(f"the encryption method {method:#06x}")
    if len(key) != KEY_SIZES[method]:
        message = f"{METHODS[method]} takes a key of {KEY_SIZES[method]} bytes, this one has {len(key)}"
        raise WrongKey(0, message) if given else DamagedHeader(message)
    if method in (XTS_128, XTS_256):
        return Sectors(Encryption("aes-xts-plain64", "aes", "xts", "plain64"), key, sector_size)
    if method in (AES_128, AES_256):
        return Sectors(EBOIV, key, sector_size)
    used = 16 if method == AES_128_DIFFUSER else 32
    return DiffusedSectors(key[:used], key[32 : 32 + used], sector_size)


class Sectors(SectorCipher):
    """Whole sectors by XTS, or by CBC. XTS counts them in their own size, CBC starts from their offset."""

    __slots__ = ()

    def _vectors(self, number: int, count: int) -> bytes:
        size = self.sector_size
        if self._tweak is not None:
            number = number * SECTOR // size
            return _as_blocks(range(number, number + count))
        made: bytes = self._blocks.encryptor().update(_as_blocks(_offsets(number, count, size)))
        return made


def _as_blocks(numbers: range) -> bytes:
    return b"".join([one.to_bytes(BLOCK, "little") for one in numbers])


def _offsets(number: int, count: int, size: int) -> range:
    return range(number * SECTOR, number * SECTOR + count * size, size)


class DiffusedSectors(Sectors):
    """Sectors by CBC, with the Elephant diffuser and a key for each sector on top."""

    __slots__ = ("_sector_keys",)

    def __init__(self, key: bytes, tweak_key: bytes, sector_size: int) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.ciphers.modes import ECB

        super().__init__(EBOIV, key, sector_size)
        self._sector_keys = Cipher(AES(tweak_key), ECB())  # noqa: S305  (each block is another offset)

    def decrypt(self, data: bytes, number: int) -> bytes:
        """Decrypt whole sectors; ``number`` is that of the first, in units of 512 bytes."""
        halves = [
            half
            for offset in _offsets(number, len(data) // self.sector_size, self.sector_size)
            for half in (offset.to_bytes(BLOCK, "little"), offset.to_bytes(BLOCK - 1, "little") + b"\x80")
        ]
        keys = self._sector_keys.encryptor().update(b"".join(halves))
        return undiffuse(super().decrypt(data, number), keys, self.sector_size)


class What(Enum):
    """What a run of the encrypted volume is."""

    ENCRYPTED = auto()
    PLAIN = auto()
    ZEROS = auto()
    FIRST = auto()
    """The first sector of a volume of Vista's, in which BitLocker has changed two fields."""
    NOTED = auto()
    """Encrypted or plain as the notes of encryption on write say, chunk by chunk."""
    LOST = auto()
    """Sectors under conversion: only the log of Windows has them."""


class Run(Record):
    """A run of the plain volume, from ``start`` to the start of the next: it lies at ``offset``."""

    start: int
    offset: int
    what: What


def _runs(volume: Volume, size: int, *, encrypted: bool) -> list[Run]:
    header, sector = volume.information.header, volume.sector_size
    moved, head, hidden = 0, 0, VISTA_HIDDEN
    reserved: list[tuple[int, int]] = []
    if header.Version >= 2:
        moved, head, hidden = header.VirtualizedBlockOffset, header.VirtualizedSectors * sector, HIDDEN
        reserved.append((moved, moved + head))
    unit = sector if header.Version >= 2 else volume.cluster_size or sector
    hidden = -(-hidden // unit) * unit
    reserved += [(start, start + hidden) for start in header.InformationOffset]
    limit = header.StateOffset or NO_LIMIT
    noted = volume.on_write is not None and header.CurrentState != DECRYPTED
    if volume.on_write is not None:
        reserved += volume.on_write.own
        limit = NO_LIMIT  # it is the size of the volume
    dirty = header.CurrentState == SWITCHING_DIRTY and header.StateSize
    lost = (header.StateOffset, header.StateOffset + header.StateSize) if dirty else (NO_LIMIT, NO_LIMIT)

    def kind(offset: int) -> What:
        if lost[0] <= offset < lost[1]:
            return What.LOST
        if noted:
            return What.NOTED
        return What.ENCRYPTED if encrypted and offset < limit else What.PLAIN

    points = {0, head, limit, *lost, *(edge for region in reserved for edge in region)}
    points |= {edge - moved for edge in (limit, *lost) if 0 < edge - moved < head}
    if header.Version < 2:
        points |= {sector, VISTA_PLAIN}
    if any(point % sector for point in (moved, *points) if point != NO_LIMIT):
        raise DamagedHeader(f"a place in the metadata is no whole number of sectors of {sector} bytes")
    runs = []
    for start in sorted(point for point in points if point < size):
        if header.Version < 2 and start < VISTA_PLAIN:
            run = Run(start, start, What.PLAIN if start else What.FIRST)
        elif start < head:
            run = Run(start, moved + start, kind(moved + start))
        elif any(begin <= start < end for begin, end in reserved):
            run = Run(start, start, What.ZEROS)
        else:
            run = Run(start, start, kind(start))
        runs.append(run)
    return runs


class BitLockerSource(Source):
    """The plain bytes: whole sectors, as Windows and cryptsetup show them.

    The metadata, and the place to which BitLocker moved the first sectors, read as zeros.
    """

    __slots__ = ("_cipher", "_mirror", "_on_write", "_runs", "_sector", "_source", "_starts", "_whole")

    def __init__(self, source: Source, volume: Volume, cipher: SectorCipher | None) -> None:
        self.size = source.size // volume.sector_size * volume.sector_size
        self._source = source
        self._sector = volume.sector_size
        self._cipher = cipher
        self._on_write = volume.on_write
        # Where no note says it, all of a volume that is encrypted is.
        self._whole = volume.information.header.CurrentState == ENCRYPTED
        # What in later versions is the place of the moved sectors is in Vista's that of the second MFT.
        self._mirror = volume.information.header.VirtualizedBlockOffset
        self._runs = _runs(volume, self.size, encrypted=cipher is not None)
        self._starts = [run.start for run in self._runs]

    def _read(self, offset: int, length: int) -> bytes:
        pieces = []
        while length:
            number = bisect_right(self._starts, offset) - 1
            run = self._runs[number]
            end = self._starts[number + 1] if number + 1 < len(self._starts) else self.size
            taken = min(length, end - offset, PIECE)
            pieces.append(self._piece(run, run.offset + offset - run.start, taken))
            offset += taken
            length -= taken
        return b"".join(pieces)

    def _piece(self, run: Run, offset: int, length: int) -> bytes:
        """Bytes at ``offset`` of the encrypted volume, of which all lie in ``run``."""
        if run.what is What.ZEROS:
            return bytes(length)
        if run.what is What.LOST:
            raise ReadError(f"the sectors at {offset} are under conversion by BitLocker")
        if run.what is What.PLAIN:
            return self._exactly(offset, length)
        if run.what is What.NOTED:
            return self._noted(offset, length)
        before = offset % self._sector
        whole = -(-(before + length) // self._sector) * self._sector
        data = self._exactly(offset - before, whole)
        if run.what is What.FIRST:
            data = data[:3] + b"NTFS    " + data[11:0x38] + self._mirror.to_bytes(8, "little") + data[0x40:]
        elif self._cipher is not None:
            data = self._cipher.decrypt(data, (offset - before) // SECTOR)
        return data if len(data) == length else data[before : before + length]

    def _noted(self, offset: int, length: int) -> bytes:
        """Bytes at ``offset`` of the volume, each chunk as it is noted."""
        pieces = []
        encrypted, plain = Run(0, 0, What.ENCRYPTED), Run(0, 0, What.PLAIN)
        for state, taken in self._on_write.states(offset, length) if self._on_write else ():
            if state is None and not self._whole:
                raise ReadError(f"nothing tells whether BitLocker has encrypted the sectors at {offset}")
            pieces.append(self._piece(plain if state is False else encrypted, offset, taken))
            offset += taken
        return b"".join(pieces)

    def _exactly(self, offset: int, length: int) -> bytes:
        data = self._source.read_at(offset, length)
        if len(data) != length:
            raise ReadError(f"the encrypted volume ends before {offset + length}")
        return data
