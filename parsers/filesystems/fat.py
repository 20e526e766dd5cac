"""FAT12, FAT16, FAT32.

Layout: Microsoft, "Extensible Firmware Initiative FAT32 File System Specification" 1.03 (fatgen103)
https://download.microsoft.com/download/1/6/1/161ba512-40e2-4cc9-843a-923143f3456c/fatgen103.doc
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from construct import Bytes, Int8ul, Int16ul, Int32ul, Struct

from pyimount.formats import (
    FileReader,
    Format,
    Identity,
    Json,
    KernelMount,
    NotThisFormat,
    Signature,
    TableRule,
    Usage,
)
from pyimount.formats.allocation import Allocation
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import text
from pyimount.parsers.filesystems.fat_allocation import Table, count_free
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

BPB = layout(
    lambda: Struct(
        "BS_jmpBoot" / Bytes(3),
        "BS_OEMName" / Bytes(8),
        "BPB_BytsPerSec" / Int16ul,
        "BPB_SecPerClus" / Int8ul,
        "BPB_RsvdSecCnt" / Int16ul,
        "BPB_NumFATs" / Int8ul,
        "BPB_RootEntCnt" / Int16ul,
        "BPB_TotSec16" / Int16ul,
        "BPB_Media" / Int8ul,
        "BPB_FATSz16" / Int16ul,
        "BPB_SecPerTrk" / Int16ul,
        "BPB_NumHeads" / Int16ul,
        "BPB_HiddSec" / Int32ul,
        "BPB_TotSec32" / Int32ul,
    )
)
BPB32 = layout(
    lambda: Struct(
        "BPB_FATSz32" / Int32ul,
        "BPB_ExtFlags" / Int16ul,
        "BPB_FSVer" / Int16ul,
        "BPB_RootClus" / Int32ul,
        "BPB_FSInfo" / Int16ul,
        "BPB_BkBootSec" / Int16ul,
        "BPB_Reserved" / Bytes(12),
    )
)
EXTENDED = layout(
    lambda: Struct(
        "BS_DrvNum" / Int8ul,
        "BS_Reserved1" / Int8ul,
        "BS_BootSig" / Int8ul,
        "BS_VolID" / Int32ul,
        "BS_VolLab" / Bytes(11),
        "BS_FilSysType" / Bytes(8),
    )
)
FSINFO = layout(
    lambda: Struct(
        "FSI_LeadSig" / Bytes(4),
        "FSI_Reserved1" / Bytes(480),
        "FSI_StrucSig" / Bytes(4),
        "FSI_Free_Count" / Int32ul,
        "FSI_Nxt_Free" / Int32ul,
        "FSI_Reserved2" / Bytes(12),
        "FSI_TrailSig" / Bytes(4),
    )
)

BOOT_SIZE = 512
SECTOR_SIZE_AT, NUM_FATS_AT = 11, 16
BPB32_AT = 36
EXTENDED_AT = {12: 36, 16: 36, 32: 64}
END_MARK = b"\x55\xaa"
END_MARK_AT = 510
TYPE_AT = 54
TYPE32_AT = 82
TYPE_NAMES = (b"MSDOS", b"FAT12   ", b"FAT16   ", b"FAT     ")
TYPE32_NAMES = (b"MSWIN", b"FAT32   ")
OTHERS = (b"JFS     ", b"HPFS    ", b"NTFS    ")
"""What stands at TYPE_AT where OS/2 put a FAT's BPB in front of another file system."""
SECTOR_SIZES = (512, 1024, 2048, 4096)
BACKUP_SECTOR = 6

# The most clusters that a FAT12 and a FAT16 have; Linux counts so, and mkfs.fat.
FAT12_MAX = 0xFF4
FAT16_MAX = 0xFFF4
FAT32_MAX = 0x0FFFFFF6

SIGNED, SIGNED_WITHOUT_LABEL = 0x29, 0x28
VOLUME_DIRTY, VOLUME_ERROR = 0x1, 0x2
LAST = {12: 0xFFF, 16: 0xFFFF, 32: 0x0FFFFFFF}
"""The highest value of a FAT's entry: the last cluster of a chain."""
FAT_FLAGS = {16: (0x8000, 0x4000), 32: (0x08000000, 0x04000000)}
"""Bits of a FAT's second entry: set while not mounted, set while no hard error was met."""
NO_NAME = b"NO NAME    "
NOT_MIRRORED, ACTIVE_FAT = 0x80, 0xF
"""Of BPB_ExtFlags: one FAT alone is in use, and its number."""

ENTRY = 32
LABEL_SIZE = 11
ATTR_AT = 11
ATTR_VOLUME_ID, ATTR_DIRECTORY, ATTR_LONG_NAME, ATTR_ALL = 0x08, 0x10, 0x0F, 0x3F
DELETED, REPLACED_E5 = 0xE5, 0x05
CHAIN_CAP = 256
"""Clusters of a root directory that are looked into; the label is nearly always in the first."""
DIRECTORY_CAP = 2 << 20
"""Bytes of it: the 65536 entries that a directory may have."""
_CHUNK = 4096

LEAD_SIGNATURES = (b"RRaA", b"RRdA", bytes(4))
STRUCT_SIGNATURES = (b"rrAa", bytes(4))


class Geometry:
    """The figures of a boot sector, if they can be true together; sizes and offsets are bytes."""

    __slots__ = ("bits", "boot", "boot32", "cluster", "clusters", "data", "fat", "fat_size", "root", "size")

    boot32: Any

    def __init__(self, raw: bytes) -> None:
        sector = int.from_bytes(raw[SECTOR_SIZE_AT : SECTOR_SIZE_AT + 2], "little")
        # Every MBR and every NTFS gets as far as this line.
        if sector not in SECTOR_SIZES or raw[NUM_FATS_AT] == 0:
            raise NotThisFormat(f"sectors of {sector} bytes, {raw[NUM_FATS_AT]} FATs")
        boot = parse_struct(raw, BPB)
        per_cluster = boot.BPB_SecPerClus
        if per_cluster == 0 or per_cluster & (per_cluster - 1):
            raise NotThisFormat(f"clusters of {per_cluster} sectors")
        if not boot.BPB_RsvdSecCnt:
            raise NotThisFormat("no sector before the FAT")
        if boot.BPB_Media < 0xF8 and boot.BPB_Media != 0xF0:
            raise NotThisFormat(f"media {boot.BPB_Media:#x}")
        fat_sectors, self.boot32 = boot.BPB_FATSz16, None
        if not fat_sectors:
            self.boot32 = parse_struct(raw, BPB32, BPB32_AT)
            fat_sectors = self.boot32.BPB_FATSz32
        sectors = boot.BPB_TotSec16 or boot.BPB_TotSec32
        if not sectors and self.boot32:
            # 64 bits where else the type's name stands: of volumes of 2**32 sectors, and as some tools write
            # it.
            sectors = int.from_bytes(raw[TYPE32_AT : TYPE32_AT + 8], "little")
        root_sectors = (boot.BPB_RootEntCnt * ENTRY + sector - 1) // sector
        data = boot.BPB_RsvdSecCnt + fat_sectors * boot.BPB_NumFATs
        if not fat_sectors or data + root_sectors >= sectors:
            raise NotThisFormat(f"{sectors} sectors in all, {data + root_sectors} before the data")
        self.boot = boot
        self.clusters = (sectors - data - root_sectors) // per_cluster
        if self.boot32:
            self.bits = 32
        else:
            self.bits = 12 if self.clusters <= FAT12_MAX else 16
        if self.clusters > {12: FAT12_MAX, 16: FAT16_MAX, 32: FAT32_MAX}[self.bits]:
            raise NotThisFormat(f"{self.clusters} clusters")
        self.cluster: int = per_cluster * sector
        self.size: int = sectors * sector
        self.fat: int = boot.BPB_RsvdSecCnt * sector
        self.fat_size: int = fat_sectors * sector
        self.root: int = data * sector
        self.data: int = (data + root_sectors) * sector


def parse(view: View) -> Identity:
    """The identity of a FAT file system, of a FAT32 from its backup boot sector if need be."""
    try:
        return _identity(view, 0)
    except NotThisFormat:
        # Where sector 0 is somebody's boot record, a copy behind it is of a FAT that was there before.
        if view.peek(END_MARK_AT, 2) == END_MARK:
            raise
        for sector in SECTOR_SIZES:
            if view.peek(BACKUP_SECTOR * sector + END_MARK_AT, 2) == END_MARK:
                try:
                    return _identity(view, BACKUP_SECTOR * sector)
                except (NotThisFormat, ShortRead):
                    continue
        raise


def _identity(view: View, offset: int) -> Identity:
    geometry = Geometry(view.read(offset, BOOT_SIZE))
    return identity(view, geometry, offset, named=_named(view, offset))


def identity(view: View, geometry: Geometry, offset: int, *, named: bool, proven: bool = False) -> Identity:
    """The identity of a FAT by the boot sector at ``offset``.

    ``named``: the boot sector says that it is one; ``proven``: what a nameless one must show was looked at.
    """
    boot, boot32, bits = geometry.boot, geometry.boot32, geometry.bits
    extended = read_struct(view, EXTENDED, offset + EXTENDED_AT[bits])
    if proven and bits < 32:
        extended.BS_BootSig = 0  # code stands there, or nothing
    problems: list[Problem] = []
    if offset:
        if boot32 is None or boot32.BPB_BkBootSec * boot.BPB_BytsPerSec != offset:
            raise NotThisFormat("no backup boot sector of this place")
        message = f"the boot sector at 0 is unusable; the facts come from the copy at {offset}"
        problems.append(Problem(Code.BACKUP_USED, message))
    if not named and not proven:
        _must_be_fat(view, geometry)
    details: dict[str, Json] = {
        "oem_name": text(boot.BS_OEMName),
        "media": boot.BPB_Media,
        "sectors": geometry.size // boot.BPB_BytsPerSec,
        "reserved_sectors": boot.BPB_RsvdSecCnt,
        "hidden_sectors": boot.BPB_HiddSec,
        "fats": boot.BPB_NumFATs,
        "fat_size": geometry.fat_size,
        "cluster_size": geometry.cluster,
        "clusters": geometry.clusters,
    }
    if offset:
        details["copy_at"] = offset
    hint = None
    if boot32 is None:
        details["sec_type"] = "msdos"
        details["root_entries"] = boot.BPB_RootEntCnt
        directory = _fixed_root(view, geometry)
    else:
        details["root_cluster"] = boot32.BPB_RootClus
        details["fs_version"] = f"{boot32.BPB_FSVer >> 8}.{boot32.BPB_FSVer & 0xFF}"
        details["backup_boot_sector"] = boot32.BPB_BkBootSec
        info = _fsinfo(view, geometry, problems)
        if problems and not named and not proven:
            raise NotThisFormat(problems[0].message)
        if info is not None and info.FSI_Free_Count <= geometry.clusters:  # 0xFFFFFFFF: not known
            details["fsinfo_free_clusters"] = hint = info.FSI_Free_Count
        directory = _chained_root(view, geometry, problems)
    signed = extended.BS_BootSig
    if signed == SIGNED and extended.BS_VolLab != NO_NAME and (name := text(extended.BS_VolLab)):
        details["label_fatboot"] = name
    state = _state(view, geometry, extended)
    table = Table(
        offset=geometry.fat + _active(geometry) * geometry.fat_size,
        size=geometry.fat_size,
        bits=bits,
        clusters=geometry.clusters,
        cluster_size=geometry.cluster,
        hint=hint,
        clean=state in (None, "clean"),
    )
    serial = extended.BS_VolID if boot32 or signed in (SIGNED, SIGNED_WITHOUT_LABEL) else 0
    return Identity(
        type="vfat",
        fstype="fat",
        label=_label(directory),
        uuid=f"{serial >> 16:04X}-{serial & 0xFFFF:04X}" if serial else None,
        version=f"FAT{bits}",
        block_size=boot.BPB_BytsPerSec,
        fs_size=geometry.size,
        state=state,
        offset=offset,
        details=details,
        problems=tuple(problems),
        allocation=Allocation(view, partial(count_free, table)),
    )


def _active(geometry: Geometry) -> int:
    """The number of the FAT in use: the first, where they mirror each other."""
    flags = geometry.boot32.BPB_ExtFlags if geometry.boot32 else 0
    active: int = flags & ACTIVE_FAT if flags & NOT_MIRRORED else 0
    return active if active < geometry.boot.BPB_NumFATs else 0


def _named(view: View, offset: int) -> bool:
    """Whether the boot sector says that it is a FAT's."""
    return view.peek(offset + TYPE_AT, 8).startswith(TYPE_NAMES) or view.peek(
        offset + TYPE32_AT, 8
    ).startswith(TYPE32_NAMES)


def _must_be_fat(view: View, geometry: Geometry) -> None:
    """More must hold where only the figures speak for a FAT: any boot record may look like one by chance."""
    if view.peek(END_MARK_AT, 2) != END_MARK:
        raise NotThisFormat("the boot sector is not a FAT's")
    figures_fit(view, geometry)


def figures_fit(view: View, geometry: Geometry) -> None:
    """What holds for every FAT besides its boot sector's figures; raises NotThisFormat."""
    if view.peek(TYPE_AT, 8) in OTHERS:
        raise NotThisFormat("the boot sector of another file system of OS/2")
    if (geometry.boot32 is None) == (geometry.boot.BPB_RootEntCnt == 0):
        raise NotThisFormat(f"{geometry.boot.BPB_RootEntCnt} entries in the root of a FAT{geometry.bits}")
    if geometry.fat_size * 8 // geometry.bits < geometry.clusters + 2:
        raise NotThisFormat(f"{geometry.clusters} clusters, and a FAT of {geometry.fat_size} bytes")
    if not _starts_with_media(view, geometry):
        raise NotThisFormat(f"the FAT does not start with media {geometry.boot.BPB_Media:#x}")


def _fat_entry(view: View, geometry: Geometry, number: int) -> int | None:
    """An entry of the first FAT; None where it cannot be read."""
    at = number * geometry.bits // 8
    raw = view.glance(geometry.fat + at, 2 if geometry.bits < 32 else 4)
    if at + len(raw) > geometry.fat_size or len(raw) < 2 or len(raw) * 8 < geometry.bits:
        return None
    value = int.from_bytes(raw, "little")
    if geometry.bits == 12 and number & 1:
        value >>= 4
    return value & LAST[geometry.bits]


def _state(view: View, geometry: Geometry, extended: Any) -> str | None:
    """What Windows notes in the FAT's second entry, and Linux and Windows in the boot sector."""
    noted = unclean = unsound = None
    if extended.BS_BootSig in (SIGNED, SIGNED_WITHOUT_LABEL):
        noted = extended.BS_Reserved1
        unclean, unsound = noted & VOLUME_DIRTY, noted & VOLUME_ERROR
    if geometry.bits in FAT_FLAGS and _starts_with_media(view, geometry):
        clean, sound = FAT_FLAGS[geometry.bits]
        noted = _fat_entry(view, geometry, 1)
        if noted is not None:
            unclean, unsound = unclean or not noted & clean, unsound or not noted & sound
    if unclean is None:
        return None
    return "error" if unsound else "dirty" if unclean else "clean"


def _starts_with_media(view: View, geometry: Geometry) -> bool:
    first: int = LAST[geometry.bits] & ~0xFF | geometry.boot.BPB_Media
    return _fat_entry(view, geometry, 0) == first


def _fsinfo(view: View, geometry: Geometry, problems: list[Problem]) -> Any:
    """The FSInfo sector; None where there is none, or one that was never written."""
    number = geometry.boot32.BPB_FSInfo
    if number in (0, 0xFFFF):
        return None
    raw = view.glance(number * geometry.boot.BPB_BytsPerSec, FSINFO.size)
    if len(raw) < FSINFO.size:
        problems.append(Problem(Code.DAMAGED, f"the FSInfo sector {number} cannot be read"))
        return None
    info = parse_struct(raw, FSINFO)
    if info.FSI_LeadSig not in LEAD_SIGNATURES or info.FSI_StrucSig not in STRUCT_SIGNATURES:
        problems.append(Problem(Code.DAMAGED, f"sector {number} should be the FSInfo sector, and is not"))
        return None
    return info if any(info.FSI_LeadSig + info.FSI_StrucSig) else None


def _fixed_root(view: View, geometry: Geometry) -> Iterator[bytes]:
    """The root directory of a FAT12 or FAT16 in pieces, as far as it can be read."""
    yield from _pieces(view, geometry.root, geometry.boot.BPB_RootEntCnt * ENTRY)


def _chained_root(view: View, geometry: Geometry, problems: list[Problem]) -> Iterator[bytes]:
    """The root directory of a FAT32 in pieces, as far as its chain of clusters can be followed."""
    number: int | None = geometry.boot32.BPB_RootClus
    seen: set[int] = set()
    left = DIRECTORY_CAP
    while number is not None and 2 <= number < geometry.clusters + 2 and left > 0:
        if number in seen:
            message = f"the root directory's chain of clusters leads back to cluster {number}"
            problems.append(Problem(Code.LOOP, message))
            return
        if len(seen) == CHAIN_CAP:
            return
        seen.add(number)
        yield from _pieces(view, geometry.data + (number - 2) * geometry.cluster, min(geometry.cluster, left))
        left -= geometry.cluster
        number = _fat_entry(view, geometry, number)


def _pieces(view: View, offset: int, size: int) -> Iterator[bytes]:
    for at in range(0, size, _CHUNK):
        yield view.glance(offset + at, min(_CHUNK, size - at))


def _label(directory: Iterator[bytes]) -> str | None:
    """The label in a root directory: the first entry that is a volume ID and neither deleted nor a file's."""
    for piece in directory:
        for at in range(0, len(piece) - ENTRY + 1, ENTRY):
            first = piece[at]
            if first == 0:
                return None
            attributes = piece[at + ATTR_AT] & ATTR_ALL
            if (
                first == DELETED
                or attributes == ATTR_LONG_NAME
                or attributes & (ATTR_VOLUME_ID | ATTR_DIRECTORY) != ATTR_VOLUME_ID
                or any(piece[at + 20 : at + 22] + piece[at + 26 : at + 28])  # its first cluster
            ):
                continue
            name = piece[at : at + LABEL_SIZE]
            return text(bytes((DELETED,)) + name[1:] if first == REPLACED_E5 else name)
    return None


FORMAT = Format(
    name="fat",
    title="FAT12/FAT16/FAT32",
    specification="https://download.microsoft.com/download/1/6/1/161ba512-40e2-4cc9-843a-923143f3456c/fatgen103.doc",
    usage=Usage.FILESYSTEM,
    types=("vfat",),
    parse=parse,
    signatures=(
        *(Signature(name, TYPE_AT) for name in TYPE_NAMES),
        *(Signature(name, TYPE32_AT) for name in TYPE32_NAMES),
        Signature(END_MARK, END_MARK_AT),
        *(
            Signature(name, BACKUP_SECTOR * sector + TYPE32_AT, copy=True)
            for name in TYPE32_NAMES
            for sector in SECTOR_SIZES
        ),
    ),
    with_table=TableRule.HIDES,
    mounts=(KernelMount("vfat", ("utf8",), written=("utf8",), owner=("uid", "gid", "umask")),),
    files=(FileReader("libyal", "pyfsfat", "libfsfat-python"),),
)
