"""exFAT.

Layout: Microsoft, "exFAT file system specification"
https://learn.microsoft.com/windows/win32/fileio/exfat-specification
"""

from collections.abc import Iterator
from functools import partial
from struct import unpack
from typing import Any

from construct import Bytes, Const, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import (
    FileReader,
    Format,
    Identity,
    Json,
    KernelMount,
    NotThisFormat,
    Signature,
    TableRule,
    ToolMount,
    Usage,
)
from pyimount.formats.allocation import PIECE, Allocation, Reader, Space, ones
from pyimount.formats.checksums import rotated_sum
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import guid_text, text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

BOOT_SECTOR = layout(
    lambda: Struct(
        "JumpBoot" / Const(b"\xeb\x76\x90"),
        "FileSystemName" / Const(b"EXFAT   "),
        "MustBeZero" / Const(bytes(53)),
        "PartitionOffset" / Int64ul,
        "VolumeLength" / Int64ul,
        "FatOffset" / Int32ul,
        "FatLength" / Int32ul,
        "ClusterHeapOffset" / Int32ul,
        "ClusterCount" / Int32ul,
        "FirstClusterOfRootDirectory" / Int32ul,
        "VolumeSerialNumber" / Int32ul,
        "FileSystemRevision" / Bytes(2),
        "VolumeFlags" / Int16ul,
        "BytesPerSectorShift" / Int8ul,
        "SectorsPerClusterShift" / Int8ul,
        "NumberOfFats" / Int8ul,
        "DriveSelect" / Int8ul,
        "PercentInUse" / Int8ul,
        "Reserved" / Bytes(7),
        "BootCode" / Bytes(390),
        "BootSignature" / Const(b"\x55\xaa"),
    )
)
VOLUME_LABEL = layout(
    lambda: Struct(
        "EntryType" / Int8ul,
        "CharacterCount" / Int8ul,
        "VolumeLabel" / Bytes(22),
        "Reserved" / Bytes(8),
    )
)
ALLOCATION_BITMAP = layout(
    lambda: Struct(
        "EntryType" / Int8ul,
        "BitmapFlags" / Int8ul,
        "Reserved" / Bytes(18),
        "FirstCluster" / Int32ul,
        "DataLength" / Int64ul,
    )
)
VOLUME_GUID = layout(
    lambda: Struct(
        "EntryType" / Int8ul,
        "SecondaryCount" / Int8ul,
        "SetChecksum" / Int16ul,
        "GeneralPrimaryFlags" / Int16ul,
        "VolumeGuid" / Bytes(16),
        "Reserved" / Bytes(10),
    )
)

_NAME_AT = 3
REGION = 12
"""Sectors in a boot region; the backup follows the main one. The last holds the checksum of the others."""
SECTOR_SIZES = (512, 1024, 2048, 4096)
VARYING = (106, 107, 112)
"""Bytes that the boot checksum leaves out: VolumeFlags and PercentInUse."""
MAX_CLUSTER_SHIFT = 25
MAX_CLUSTERS = 0xFFFFFFF5
ACTIVE_FAT, VOLUME_DIRTY, MEDIA_FAILURE = 0x1, 0x2, 0x4
NOT_KNOWN = 0xFF

ENTRY = 32
END_OF_DIRECTORY = 0x00
TYPE_BITMAP, TYPE_LABEL, TYPE_GUID = 0x81, 0x83, 0xA0
CHAIN_CAP = 256
"""Clusters of the root directory that are looked into; what is looked for is nearly always in the first."""
DIRECTORY_CAP = 1 << 20
"""Bytes of it."""
_CHUNK = 4096


class _Geometry:
    """The figures of a boot sector, if they can be true together; sizes and offsets are bytes."""

    __slots__ = ("boot", "cluster", "fat", "fat_size", "heap", "sector", "size")

    def __init__(self, view: View, offset: int) -> None:
        boot = read_struct(view, BOOT_SECTOR, offset)
        shift, cluster_shift = boot.BytesPerSectorShift, boot.SectorsPerClusterShift
        if not 9 <= shift <= 12 or shift + cluster_shift > MAX_CLUSTER_SHIFT:
            raise NotThisFormat(f"sectors of 2**{shift} bytes, clusters of 2**{cluster_shift} sectors")
        fats = boot.FatLength * boot.NumberOfFats
        if boot.NumberOfFats not in (1, 2) or not fats or boot.FatOffset < 2 * REGION:
            raise NotThisFormat(f"{boot.NumberOfFats} FATs of {boot.FatLength} sectors at {boot.FatOffset}")
        if boot.FatOffset + fats > boot.ClusterHeapOffset:
            raise NotThisFormat(f"the clusters begin at sector {boot.ClusterHeapOffset}, inside the FATs")
        clusters = boot.ClusterCount
        if not 0 < clusters <= MAX_CLUSTERS or not 2 <= boot.FirstClusterOfRootDirectory < clusters + 2:
            raise NotThisFormat(f"{clusters} clusters, the root in {boot.FirstClusterOfRootDirectory}")
        if boot.ClusterHeapOffset + (clusters << cluster_shift) > boot.VolumeLength or boot.VolumeLength >> (
            63 - shift
        ):
            raise NotThisFormat(f"{clusters} clusters in {boot.VolumeLength} sectors")
        self.boot = boot
        self.sector: int = 1 << shift
        self.cluster: int = 1 << shift + cluster_shift
        self.size: int = boot.VolumeLength << shift
        second = boot.VolumeFlags & ACTIVE_FAT and boot.NumberOfFats == 2
        self.fat: int = boot.FatOffset + (boot.FatLength if second else 0) << shift
        self.fat_size: int = boot.FatLength << shift
        self.heap: int = boot.ClusterHeapOffset << shift

    def at(self, cluster: int) -> int:
        """Where a cluster begins."""
        return self.heap + (cluster - 2) * self.cluster


def parse(view: View) -> Identity:
    """The identity of an exFAT file system, from the backup boot region if need be."""
    try:
        geometry: _Geometry | None = _Geometry(view, 0)
    except NotThisFormat as error:
        geometry, why = None, error
    if geometry is not None and _checksum_holds(view, geometry, 0):
        return _identity(view, geometry, 0, checked=True, problem=None)
    for sector in SECTOR_SIZES:
        offset = REGION * sector
        try:
            copy = _Geometry(view, offset)
        except (NotThisFormat, ShortRead):
            continue
        if copy.sector == sector and _checksum_holds(view, copy, offset):
            message = f"the boot region at 0 is unusable; the facts come from the copy at {offset}"
            return _identity(view, copy, offset, checked=True, problem=Problem(Code.BACKUP_USED, message))
    if geometry is None:
        raise why
    message = "the checksum of the boot region does not match, and no backup has one that does"
    return _identity(view, geometry, 0, checked=False, problem=Problem(Code.BAD_CHECKSUM, message))


def _checksum_holds(view: View, geometry: _Geometry, offset: int) -> bool:
    summed = (REGION - 1) * geometry.sector
    region = view.glance(offset, summed + geometry.sector)
    data = bytearray(region[:summed])
    if len(region) != summed + geometry.sector:
        return False
    # Leaving a byte out is not the same as a zero in its place: each byte also turns the sum.
    for at in reversed(VARYING):
        del data[at]
    return region[summed:] == rotated_sum(bytes(data), 32).to_bytes(4, "little") * (geometry.sector // 4)


def _identity(
    view: View, geometry: _Geometry, offset: int, *, checked: bool, problem: Problem | None
) -> Identity:
    boot = geometry.boot
    problems = [problem] if problem else []
    details: dict[str, Json] = {
        "cluster_size": geometry.cluster,
        "clusters": boot.ClusterCount,
        "sectors": boot.VolumeLength,
        "partition_offset_sectors": boot.PartitionOffset,
        "fats": boot.NumberOfFats,
        "fat_size": geometry.fat_size,
        "root_cluster": boot.FirstClusterOfRootDirectory,
        "percent_in_use": None if boot.PercentInUse == NOT_KNOWN else boot.PercentInUse,
    }
    if offset:
        details["copy_at"] = offset
    label, bitmaps = None, []
    for entry in _root_entries(view, geometry, problems):
        kind = entry[0]
        if kind == TYPE_LABEL and label is None:
            name = parse_struct(entry, VOLUME_LABEL)
            label = text(name.VolumeLabel[: 2 * name.CharacterCount], "utf-16-le")
        elif kind == TYPE_BITMAP:
            bitmaps.append(parse_struct(entry, ALLOCATION_BITMAP))
        elif kind == TYPE_GUID:
            details["volume_guid"] = guid_text(parse_struct(entry, VOLUME_GUID).VolumeGuid)
    # Where there are two FATs, the first bitmap is the first's, the second the second's.
    second = int(geometry.fat != boot.FatOffset * geometry.sector)
    bitmaps.sort(key=lambda entry: entry.BitmapFlags & 1 != second)
    serial = boot.VolumeSerialNumber
    return Identity(
        type="exfat",
        fstype="exfat",
        label=label,
        uuid=f"{serial >> 16:04X}-{serial & 0xFFFF:04X}" if serial else None,
        version=f"{boot.FileSystemRevision[1]}.{boot.FileSystemRevision[0]}",
        block_size=geometry.sector,
        fs_size=geometry.size,
        state=_state(boot),
        offset=offset,
        checked=checked,
        details=details,
        problems=tuple(problems),
        allocation=Allocation(view, partial(_count, geometry, bitmaps[0])) if bitmaps else None,
        free_unknown=None if bitmaps else "no allocation bitmap in the root directory",
    )


def _state(boot: Any) -> str:
    if boot.VolumeFlags & MEDIA_FAILURE:
        return "error"
    return "dirty" if boot.VolumeFlags & VOLUME_DIRTY else "clean"


def _root_entries(view: View, geometry: _Geometry, problems: list[Problem]) -> Iterator[bytes]:
    """The entries of the root directory, as far as it can be read, up to the first file's."""
    cluster = geometry.boot.FirstClusterOfRootDirectory
    seen: set[int] = set()
    left = DIRECTORY_CAP
    while 2 <= cluster < geometry.boot.ClusterCount + 2 and left > 0 and len(seen) < CHAIN_CAP:
        if cluster in seen:
            message = f"the root directory's chain of clusters leads back to cluster {cluster}"
            problems.append(Problem(Code.LOOP, message))
            return
        seen.add(cluster)
        start = geometry.at(cluster)
        for at in range(0, min(geometry.cluster, left), _CHUNK):
            piece = view.glance(start + at, min(_CHUNK, geometry.cluster - at))
            if not piece:
                problems.append(Problem(Code.DAMAGED, f"the root directory at {start} cannot be read"))
                return
            for entry in range(0, len(piece) - ENTRY + 1, ENTRY):
                if piece[entry] == END_OF_DIRECTORY:
                    return
                yield piece[entry : entry + ENTRY]
        left -= geometry.cluster
        cluster = int.from_bytes(_fat_entries(view, geometry, cluster, 1), "little")


def _fat_entries(view: View, geometry: _Geometry, first: int, count: int) -> bytes:
    """A run of entries of the FAT in use; none where it is not all in there."""
    if (first + count) * 4 > geometry.fat_size:
        return b""
    return view.glance(geometry.fat + first * 4, count * 4)


def _count(geometry: _Geometry, bitmap: Any, reader: Reader) -> Space:
    """Free bytes: the clusters whose bit in the allocation bitmap is clear."""
    clusters = geometry.boot.ClusterCount
    size = (clusters + 7) // 8
    if bitmap.DataLength < size:
        raise NotThisFormat(f"an allocation bitmap of {bitmap.DataLength} bytes for {clusters} clusters")
    # Its clusters, and the entries of the FAT that chain them.
    count = -(-size // geometry.cluster)
    reader.want(size + 4 * count, -(-size // PIECE))
    used, left, bits = 0, size, clusters
    for first, length in _chain(geometry, bitmap.FirstCluster, count, reader):
        taken = min(left, length * geometry.cluster)
        for piece in reader.pieces(geometry.at(first), taken):
            used += ones(piece, bits)
            bits -= 8 * len(piece)
        left -= taken
    return Space(
        free=(clusters - used) * geometry.cluster,
        used=used * geometry.cluster,
        found="allocation bitmap",
        details={"free_clusters": clusters - used},
    )


def _chain(geometry: _Geometry, first: int, count: int, reader: Reader) -> Iterator[tuple[int, int]]:
    """The runs, first cluster and length, of a chain of ``count`` clusters."""
    last = geometry.boot.ClusterCount + 1
    while count:
        if not 2 <= first <= last:
            raise NotThisFormat(f"a chain that leads to cluster {first}")
        most = min(count, last - first + 1, PIECE // 4)
        raw = reader.read(geometry.fat + first * 4, most * 4)
        if (first + most) * 4 > geometry.fat_size:
            raise NotThisFormat("a chain that leads out of the FAT")
        following = unpack(f"<{most}I", raw)
        # Mostly all of it is one run.
        length = next((at + 1 for at, next_one in enumerate(following) if next_one != first + at + 1), most)
        yield first, length
        count -= length
        first = following[length - 1]


FORMAT = Format(
    name="exfat",
    title="exFAT",
    specification="https://learn.microsoft.com/windows/win32/fileio/exfat-specification",
    usage=Usage.FILESYSTEM,
    types=("exfat",),
    parse=parse,
    signatures=(
        Signature(b"EXFAT   ", _NAME_AT),
        *(Signature(b"EXFAT   ", REGION * sector + _NAME_AT, copy=True) for sector in SECTOR_SIZES),
    ),
    with_table=TableRule.HIDES,
    mounts=(
        KernelMount("exfat", written=(), owner=("uid", "gid", "umask")),
        ToolMount(
            "mount.exfat-fuse",
            ("-o", "ro", "{source}", "{at}"),
            owner=("uid", "gid", "umask"),
            on_device=True,
        ),
    ),
    files=(FileReader("libyal", "pyfsfat", "libfsfat-python"),),
)
