"""The plain bytes of a BitLocker volume.

What is written where, and how keys are wrapped: libyal, libbde, "BitLocker Drive Encryption (BDE)
format", as `pyimount.parsers.encryption.bitlocker` names it. dissect.fve knows all this too, and is
the second opinion in the tests. It is not called here: a size in the metadata makes it read 4 GiB, it
tries any number of protectors at a second each, cannot tell a wrong key from damage, and reads 0.8 MiB
a second through the diffuser and 2 through XTS.
"""

from bisect import bisect_right
from enum import Enum, auto

from pyimount.formats import Details, Json, NotThisFormat
from pyimount.formats.layouts import read_struct
from pyimount.keys import Key
from pyimount.mapping.assembly import Unlocked
from pyimount.mapping.bitlocker_keys import (
    TYPE_AES_CCM_KEY,
    Protector,
    master_key,
    protectors_in,
    raw_key,
    volume_key,
)
from pyimount.mapping.bitlocker_sectors import DiffusedSectors, sector_cipher
from pyimount.mapping.boot_sectors import BOOT_SECTOR_SIZE, is_boot_sector
from pyimount.mapping.elephant import in_windows
from pyimount.mapping.errors import DamagedHeader, Unsupported, WrongKey
from pyimount.mapping.sectorcipher import SECTOR, SectorCipher
from pyimount.parsers.encryption.bitlocker import (
    BOOT_SECTOR,
    DECRYPTED,
    ENCRYPTED,
    INFORMATION,
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
ROLE_FVEK = 0x3
HIDDEN, VISTA_HIDDEN = 0x10000, 0x4000
"""So many bytes are kept for each copy of the metadata."""
VISTA_PLAIN = 0x2000
"""So many bytes at the start of a volume of Vista's are not encrypted."""
PIECE = 1 << 20
"""So many bytes are decrypted at once."""
NO_LIMIT = 1 << 64


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
    opened = _open(source, _read_volume(source), key, only, meter or Meter()).source
    # Of the diffuser a sector costs nearly as much as a window does.
    return in_windows(opened) if isinstance(opened, BitLockerSource) and opened.is_diffused else opened


def _open(source: Source, volume: Volume, key: Key | None, only: str | None, meter: Meter) -> Unlocked:
    header = volume.information.header
    details: dict[str, Json] = {"protector": None, "protector_type": None}
    cipher: SectorCipher | None = None
    raw = raw_key(key)
    if header.CurrentState == DECRYPTED:
        pass
    elif raw is not None:
        cipher = sector_cipher(volume.information.dataset.FvekType, raw, volume.sector_size, given=True)
        details["protector_type"] = "full-volume-encryption-key"
    else:
        protector, master = master_key(volume.protectors, key, only, meter)
        method, fvek = volume_key(volume.wrapped_fvek, master)
        cipher = sector_cipher(method, fvek, volume.sector_size, given=False)
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
            protectors += protectors_in(found.data, at, stop)
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

    @property
    def is_diffused(self) -> bool:
        """Whether its sectors are encrypted with the Elephant diffuser on top."""
        return isinstance(self._cipher, DiffusedSectors)

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
