"""FAT whose boot sector does not say so: no 55 AA, no name; and floppies of DOS 1, which have no figures.

Layout: see fat.py. Atari's TOS writes a BPB, and its sum for 68000 code where others have 55 AA; so do MSX
and some cameras. DOS 1 told floppies apart by the media byte at the start of the FAT alone:
https://github.com/torvalds/linux/blob/master/fs/fat/inode.c (floppy_defaults)

Nothing but the figures speaks for these, so all must fit: every FAT begins with the media byte, all of them
begin alike, and the root directory holds entries and nothing else.
"""

from pyimount.formats import Format, Identity, NotThisFormat, Precedence, Signature, TableRule, Usage
from pyimount.parsers.filesystems.fat import (
    ATTR_AT,
    BOOT_SIZE,
    BPB,
    ENTRY,
    SECTOR_SIZES,
    Geometry,
    figures_fit,
    identity,
)
from pyimount.parsers.filesystems.fat import (
    FORMAT as FAT,
)
from pyimount.sources.view import View

MEDIA = (0xF0, *range(0xF8, 0x100))
RESERVED = (1, 2, 4, 8, 32)
"""Sectors before the first FAT, as formatters choose them."""
COMPARED = 4096
"""Bytes of the FATs that must be alike."""
ROOT_CAP = 4096
"""Bytes of the root directory that are looked at."""
WASTE = 8
"""A FAT is no more than so many times as large as its clusters need, or so many sectors."""
ERASED = (0xE5, 0xF6)
"""What fills a floppy that was formatted and never written; a directory of it has no entries."""

# By the media byte: sectors of the volume, of a cluster, root entries, sectors of a FAT. All have two FATs.
DOS_1 = {0xFE: (320, 1, 64, 1), 0xFC: (360, 1, 64, 2), 0xFF: (640, 2, 112, 1), 0xFD: (720, 2, 112, 2)}
SECTOR = 512


def parse(view: View) -> Identity:
    """The identity of a FAT that does not say so."""
    try:
        geometry = Geometry(view.read(0, BOOT_SIZE))
        figures_fit(view, geometry)
        found = geometry
    except NotThisFormat as error:
        found = _of_dos_1(view, error)
    _must_be_whole(view, found)
    return identity(view, found, 0, named=False, proven=True)


def _of_dos_1(view: View, why: NotThisFormat) -> Geometry:
    """The figures of a floppy without any, by its media byte and its size; raises ``why``."""
    media = view.peek(SECTOR, 3)
    known = DOS_1.get(media[0]) if media[1:] == b"\xff\xff" else None
    if known is None or view.size != known[0] * SECTOR:
        raise why
    sectors, per_cluster, entries, fat_sectors = known
    figures = {
        "BS_jmpBoot": bytes(3),
        "BS_OEMName": bytes(8),
        "BPB_BytsPerSec": SECTOR,
        "BPB_SecPerClus": per_cluster,
        "BPB_RsvdSecCnt": 1,
        "BPB_NumFATs": 2,
        "BPB_RootEntCnt": entries,
        "BPB_TotSec16": sectors,
        "BPB_Media": media[0],
        "BPB_FATSz16": fat_sectors,
        "BPB_SecPerTrk": 0,
        "BPB_NumHeads": 0,
        "BPB_HiddSec": 0,
        "BPB_TotSec32": 0,
    }
    return Geometry(BPB.construct.build(figures).ljust(BOOT_SIZE, b"\0"))


def _must_be_whole(view: View, geometry: Geometry) -> None:
    """What must hold where no word and no mark speaks for a FAT."""
    boot = geometry.boot
    if geometry.size > view.size or boot.BPB_NumFATs > 2:
        raise NotThisFormat(f"{geometry.size} bytes, {boot.BPB_NumFATs} FATs")
    needed = (geometry.clusters + 2) * geometry.bits // 8
    if geometry.fat_size > WASTE * max(needed, boot.BPB_BytsPerSec):
        raise NotThisFormat(f"a FAT of {geometry.fat_size} bytes for {geometry.clusters} clusters")
    length = min(geometry.fat_size, COMPARED)
    fats = [
        view.glance(geometry.fat + number * geometry.fat_size, length) for number in range(boot.BPB_NumFATs)
    ]
    start = bytes((boot.BPB_Media, 0xFF, 0xFF))
    if any(fat != fats[0] or not fat.startswith(start) for fat in fats):
        raise NotThisFormat("the FATs do not begin alike")
    if geometry.boot32 is not None:
        if not 2 <= geometry.boot32.BPB_RootClus < geometry.clusters + 2 or geometry.boot32.BPB_FSVer:
            raise NotThisFormat("no root directory")
        root, size = geometry.data + (geometry.boot32.BPB_RootClus - 2) * geometry.cluster, geometry.cluster
    else:
        root, size = geometry.root, boot.BPB_RootEntCnt * ENTRY
    _must_be_directory(view.glance(root, min(size, ROOT_CAP)), geometry.clusters)


def _must_be_directory(raw: bytes, clusters: int) -> None:
    """Whether these bytes can be entries of a directory, up to the first that was never used."""
    for at in range(0, len(raw) - ENTRY + 1, ENTRY):
        entry = raw[at : at + ENTRY]
        if entry[0] == 0 or (entry.count(entry[0]) == ENTRY and entry[0] in ERASED):
            return
        attributes, first = entry[ATTR_AT], int.from_bytes(entry[26:28], "little")
        if attributes & 0xC0 or any(byte < 0x20 for byte in entry[1:ATTR_AT] if attributes != 0x0F):
            raise NotThisFormat("no entries of a directory")
        if attributes != 0x0F and clusters < 0x10000 and first >= clusters + 2:
            raise NotThisFormat(f"an entry that begins in cluster {first}, of {clusters}")


FORMAT = Format(
    name="fat_unmarked",
    title="FAT without a mark (Atari ST, DOS 1)",
    specification=FAT.specification,
    usage=Usage.FILESYSTEM,
    types=("vfat",),
    parse=parse,
    # The start of the first FAT, behind the reserved sectors.
    signatures=tuple(
        Signature(bytes((media, 0xFF, 0xFF)), at, copy=True)
        for media in MEDIA
        for at in sorted({sector * reserved for sector in SECTOR_SIZES for reserved in RESERVED})
        if at <= 32 << 10
    ),
    precedence=Precedence.WEAK,
    with_table=TableRule.HIDES,
    mounts=FAT.mounts,
)
