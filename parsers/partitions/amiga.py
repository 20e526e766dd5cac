"""Amiga Rigid Disk Block, and the chain of its partition blocks.

Layout: Commodore, "Amiga ROM Kernel Reference Manual: Devices", and devices/hardblocks.h; the environment
vector: dos/filehandler.h (struct DosEnvec). As Linux has them: include/uapi/linux/affs_hardblocks.h
https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/include/uapi/linux/affs_hardblocks.h
"""

from collections.abc import Iterator
from struct import unpack
from typing import Any

from construct import Bytes, Int32ub, Struct

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import text
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

MAGIC, PARTITION_MAGIC = b"RDSK", b"PART"
SECTOR = 512
LOCATION_LIMIT = 16
"""RDB_LOCATION_LIMIT: the block stands in one of so many first sectors."""
PARTITIONS_CAP = 128
ENDS = (0, 0xFFFFFFFF)
"""The links that end a chain: the documented one, and what stands where nothing was written."""

RIGID_DISK_BLOCK = layout(
    lambda: Struct(
        "rdb_ID" / Bytes(4),
        "rdb_SummedLongs" / Int32ub,
        "rdb_ChkSum" / Int32ub,
        "rdb_HostID" / Int32ub,
        "rdb_BlockBytes" / Int32ub,
        "rdb_Flags" / Int32ub,
        "rdb_BadBlockList" / Int32ub,
        "rdb_PartitionList" / Int32ub,
        "rdb_FileSysHeaderList" / Int32ub,
        "rdb_DriveInit" / Int32ub,
        "rdb_Reserved1" / Bytes(24),
        "rdb_Cylinders" / Int32ub,
        "rdb_Sectors" / Int32ub,
        "rdb_Heads" / Int32ub,
        "rdb_Interleave" / Int32ub,
        "rdb_Park" / Int32ub,
        "rdb_Reserved2" / Bytes(12),
        "rdb_WritePreComp" / Int32ub,
        "rdb_ReducedWrite" / Int32ub,
        "rdb_StepRate" / Int32ub,
        "rdb_Reserved3" / Bytes(20),
        "rdb_RDBBlocksLo" / Int32ub,
        "rdb_RDBBlocksHi" / Int32ub,
        "rdb_LoCylinder" / Int32ub,
        "rdb_HiCylinder" / Int32ub,
        "rdb_CylBlocks" / Int32ub,
        "rdb_AutoParkSeconds" / Int32ub,
        "rdb_HighRDSKBlock" / Int32ub,
        "rdb_Reserved4" / Int32ub,
        "rdb_DiskVendor" / Bytes(8),
        "rdb_DiskProduct" / Bytes(16),
        "rdb_DiskRevision" / Bytes(4),
        "rdb_ControllerVendor" / Bytes(8),
        "rdb_ControllerProduct" / Bytes(16),
        "rdb_ControllerRevision" / Bytes(4),
        "rdb_Reserved5" / Bytes(40),
    )
)
PARTITION_BLOCK = layout(
    lambda: Struct(
        "pb_ID" / Bytes(4),
        "pb_SummedLongs" / Int32ub,
        "pb_ChkSum" / Int32ub,
        "pb_HostID" / Int32ub,
        "pb_Next" / Int32ub,
        "pb_Flags" / Int32ub,
        "pb_Reserved1" / Bytes(8),
        "pb_DevFlags" / Int32ub,
        "pb_DriveName" / Bytes(32),
        "pb_Reserved2" / Bytes(60),
        "de_TableSize" / Int32ub,
        "de_SizeBlock" / Int32ub,
        "de_SecOrg" / Int32ub,
        "de_Surfaces" / Int32ub,
        "de_SectorPerBlock" / Int32ub,
        "de_BlocksPerTrack" / Int32ub,
        "de_Reserved" / Int32ub,
        "de_PreAlloc" / Int32ub,
        "de_Interleave" / Int32ub,
        "de_LowCyl" / Int32ub,
        "de_HighCyl" / Int32ub,
        "de_NumBuffers" / Int32ub,
        "de_BufMemType" / Int32ub,
        "de_MaxTransfer" / Int32ub,
        "de_Mask" / Int32ub,
        "de_BootPri" / Int32ub,
        "de_DosType" / Bytes(4),
        "pb_EReserved" / Bytes(60),
    )
)

TYPES = {
    b"DOS\0": "OFS",
    b"DOS\1": "FFS",
    b"DOS\2": "OFS, international",
    b"DOS\3": "FFS, international",
    b"DOS\4": "OFS, directory cache",
    b"DOS\5": "FFS, directory cache",
    b"DOS\6": "OFS, long names",
    b"DOS\7": "FFS, long names",
    b"PFS\1": "Professional File System",
    b"PFS\3": "Professional File System 3",
    b"PDS\3": "Professional File System 3, direct SCSI",
    b"SFS\0": "Smart File System",
    b"SFS\2": "Smart File System 2",
    b"LNX\0": "Linux",
    b"SWP\0": "Linux swap",
}
FLAGS = {0x01: "bootable", 0x02: "no-mount"}

_BLOCK_SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768)
_SUMMED_LONGS = range(16, 129)
"""How many 32-bit words a checksum may cover: a block of 512 bytes has 128."""


def sum_of(block: bytes, longs: int) -> int:
    """The sum of a block's first 32-bit words, 0 when its checksum is right."""
    return int(sum(unpack(f">{longs}I", block[: longs * 4]))) & 0xFFFFFFFF


def _checked(block: bytes, longs: int) -> bool:
    return longs in _SUMMED_LONGS and len(block) >= longs * 4 and sum_of(block, longs) == 0


def parse(view: View) -> Table:
    """Read the first block that has the magic; with a wrong checksum, its figures must hold together."""
    at, block = _block(view)
    rdb = parse_struct(block, RIGID_DISK_BLOCK)
    unit = rdb.rdb_BlockBytes
    if unit not in _BLOCK_SIZES:
        raise NotThisFormat(f"blocks of {unit} bytes")
    right = _checked(block, rdb.rdb_SummedLongs)
    cylinder = rdb.rdb_Heads * rdb.rdb_Sectors
    if not right and not (cylinder and rdb.rdb_CylBlocks == cylinder and rdb.rdb_Cylinders):
        raise NotThisFormat("the checksum is wrong, and the geometry is not plausible")
    problems = []
    if not right:
        problems.append(Problem(Code.BAD_CHECKSUM, "the checksum of the rigid disk block is wrong"))
    partitions = []
    blocks: list[Extent] = [Extent(offset=at, size=SECTOR, name="Rigid Disk Block")]
    for number, (place, part) in enumerate(_chain(view, rdb.rdb_PartitionList, unit, problems), 1):
        blocks.append(Extent(offset=place, size=SECTOR, name=f"Partition Block (#{number})"))
        partitions.append(_partition(number, part, unit))
    details: dict[str, Json] = {
        "block_size": unit,
        "rdb_block": at // SECTOR,
        "cylinders": rdb.rdb_Cylinders,
        "heads": rdb.rdb_Heads,
        "sectors_per_track": rdb.rdb_Sectors,
        "cylinder_blocks": rdb.rdb_CylBlocks,
        "first_usable_cylinder": rdb.rdb_LoCylinder,
        "last_usable_cylinder": rdb.rdb_HiCylinder,
        "rdb_blocks": [rdb.rdb_RDBBlocksLo, rdb.rdb_RDBBlocksHi],
        "disk_vendor": text(rdb.rdb_DiskVendor, "latin-1"),
        "disk_product": text(rdb.rdb_DiskProduct, "latin-1"),
        "disk_revision": text(rdb.rdb_DiskRevision, "latin-1"),
        "controller_vendor": text(rdb.rdb_ControllerVendor, "latin-1"),
        "controller_product": text(rdb.rdb_ControllerProduct, "latin-1"),
    }
    return Table(
        pttype="amiga",
        sector_size=unit,
        partitions=tuple(partitions),
        meta=tuple(blocks),
        details=details,
        problems=tuple(problems),
        checked=right,
    )


def _block(view: View) -> tuple[int, bytes]:
    """The place and the bytes of the block: the first with a right checksum, else the first at all."""
    head = view.glance(0, LOCATION_LIMIT * SECTOR)
    found = None
    for at in range(0, len(head) - SECTOR + 1, SECTOR):
        block = head[at : at + SECTOR]
        if block.startswith(MAGIC):
            if _checked(block, int.from_bytes(block[4:8], "big")):
                return at, block
            found = found or (at, block)
    if found is None:
        raise NotThisFormat("no rigid disk block")
    return found


def _chain(view: View, first: int, unit: int, problems: list[Problem]) -> Iterator[tuple[int, Any]]:
    """Every partition block: its place in bytes and its fields."""
    seen: set[int] = set()
    while first not in ENDS:
        place = f"the partition block at byte {first * unit}"
        if first in seen:
            problems.append(Problem(Code.LOOP, f"the chain of partitions leads back to {place}"))
            return
        if len(seen) >= PARTITIONS_CAP:
            problems.append(Problem(Code.BUDGET, f"{place} and those after it were not read"))
            return
        seen.add(first)
        block = view.glance(first * unit, SECTOR)
        if len(block) < SECTOR or not block.startswith(PARTITION_MAGIC):
            problems.append(Problem(Code.DAMAGED, f"{place} is none; partitions may be missing"))
            return
        part = parse_struct(block, PARTITION_BLOCK)
        if not _checked(block, part.pb_SummedLongs):
            problems.append(Problem(Code.BAD_CHECKSUM, f"the checksum of {place} is wrong"))
        yield first * unit, part
        first = part.pb_Next


def _partition(number: int, part: Any, unit: int) -> Partition:
    cylinder = part.de_Surfaces * part.de_BlocksPerTrack * unit
    name = part.pb_DriveName
    damaged = part.de_HighCyl < part.de_LowCyl
    return Partition(
        number=number,
        slot=number - 1,
        offset=part.de_LowCyl * cylinder,
        size=max(0, part.de_HighCyl + 1 - part.de_LowCyl) * cylinder,
        type=f"0x{part.de_DosType.hex()}",
        type_name=TYPES.get(part.de_DosType),
        # A BCPL string: its length, then its bytes.
        name=text(name[1 : 1 + min(name[0], 31)], "latin-1"),
        flags=tuple(flag for bit, flag in FLAGS.items() if part.pb_Flags & bit),
        problems=(Problem(Code.DAMAGED, "ends before it starts"),) if damaged else (),
    )


FORMAT = TableFormat(
    name="amiga",
    title="Amiga Rigid Disk Block",
    specification="Linux, include/uapi/linux/affs_hardblocks.h",
    parse=parse,
    signatures=tuple(Signature(MAGIC, SECTOR * block) for block in range(LOCATION_LIMIT)),
    types=("amiga",),
    vstypes=("rdb",),
)
