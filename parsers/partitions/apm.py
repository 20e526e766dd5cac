"""Apple partition map.

Layout: Apple, "Inside Macintosh: Devices", 3 "SCSI Manager", "The Structure of Block Devices" (1994)
https://developer.apple.com/library/archive/documentation/mac/Devices/Devices-126.html
"""

from collections.abc import Iterator
from typing import Any

from construct import Bytes, Const, Int16ub, Int32ub, Struct

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import text
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

MAGIC = b"ER"
ENTRY_MAGIC = b"PM"
BOOT_SIGNATURE = b"\x55\xaa"
"""What ends the first sector of a disk that has an MBR instead."""

DRIVER_DESCRIPTOR_MAP = layout(
    lambda: Struct(
        "sbSig" / Const(MAGIC),
        "sbBlkSize" / Int16ub,
        "sbBlkCount" / Int32ub,
        "sbDevType" / Int16ub,
        "sbDevId" / Int16ub,
        "sbData" / Int32ub,
        "sbDrvrCount" / Int16ub,
    )
)

ENTRY = layout(
    lambda: Struct(
        "pmSig" / Bytes(2),
        "pmSigPad" / Int16ub,
        "pmMapBlkCnt" / Int32ub,
        "pmPyPartStart" / Int32ub,
        "pmPartBlkCnt" / Int32ub,
        "pmPartName" / Bytes(32),
        "pmParType" / Bytes(32),
        "pmLgDataStart" / Int32ub,
        "pmDataCnt" / Int32ub,
        "pmPartStatus" / Int32ub,
        "pmBoot" / Bytes(28),
        "pmProcessor" / Bytes(16),
    )
)

BLOCK_SIZES = (512, 1024, 2048, 4096)
MAP_CAP = 256
"""No more entries are read; Linux has room for as many partitions on a disk."""

MAP_TYPE = "Apple_partition_map"
FREE_TYPES = frozenset({"Apple_Free", "Apple_Void"})

TYPES = {
    "Apple_Boot": "Apple boot",
    "Apple_Bootstrap": "Linux bootstrap (yaboot)",
    "Apple_Driver": "Device driver",
    "Apple_Driver43": "SCSI Manager 4.3 device driver",
    "Apple_Driver_ATA": "ATA device driver",
    "Apple_Driver_ATAPI": "ATAPI device driver",
    "Apple_Driver_IOKit": "I/O Kit device driver",
    "Apple_FWDriver": "FireWire device driver",
    "Apple_HFS": "HFS, HFS+ or HFSX",
    "Apple_HFSX": "HFSX",
    "Apple_MFS": "Macintosh File System",
    "Apple_PRODOS": "ProDOS",
    "Apple_Patches": "Driver patches",
    "Apple_RAID": "Apple RAID",
    "Apple_Rhapsody_UFS": "Rhapsody UFS",
    "Apple_Scratch": "Scratch",
    "Apple_UFS": "Apple UFS",
    "Apple_UNIX_SVR2": "A/UX or Linux",
    MAP_TYPE: "Partition map",
}
STATUS = {
    0x00000001: "valid",
    0x00000002: "allocated",
    0x00000004: "in-use",
    0x00000008: "bootable",
    0x00000010: "readable",
    0x00000020: "writable",
    0x00000040: "position-independent-boot-code",
    0x00000100: "chain-compatible-driver",
    0x00000200: "real-driver",
    0x00000400: "chain-driver",
    0x40000000: "automount",
    0x80000000: "startup",
}
_ENTRY_SIZE = 136


def parse(view: View) -> Table:
    """Read the map; the block that its numbers count in is the one in which its first entry is found."""
    head, problems = view.read(0, 512), []
    told = int.from_bytes(head[2:4], "big") if head.startswith(MAGIC) else None
    unit = _block_size(view, told)
    first = parse_struct(view.read(unit, _ENTRY_SIZE), ENTRY)
    count = first.pmMapBlkCnt
    if told is None:
        if head.endswith(BOOT_SIGNATURE) or text(first.pmParType, "mac-roman") != MAP_TYPE:
            raise NotThisFormat("no driver descriptor map before what may be a map's entry")
        problems.append(Problem(Code.DAMAGED, "the driver descriptor map in the first block is missing"))
    elif unit != told and unit != BLOCK_SIZES[0]:
        message = (
            f"the driver descriptor map tells of blocks of {told} bytes; the map stands in blocks of {unit}"
        )
        problems.append(Problem(Code.NOT_AS_TOLD, message))
    if not 0 < count <= MAP_CAP:
        message = f"the map claims {count} entries; {MAP_CAP} at most were looked at"
        problems.append(Problem(Code.DAMAGED, message))
    entries = list(_entries(view, unit, count))
    if len(entries) < min(count, MAP_CAP):
        message = f"entry {len(entries) + 1} of {count}, at byte {(len(entries) + 1) * unit}, is none"
        problems.append(Problem(Code.DAMAGED, message))
    partitions = [_partition(number, entry, unit) for number, entry in enumerate(entries, 1)]
    details: dict[str, Json] = {"map_entries": count}
    if told is not None:
        descriptor = parse_struct(head, DRIVER_DESCRIPTOR_MAP)
        details |= {
            "block_size": told,
            "block_count": descriptor.sbBlkCount,
            "device_type": descriptor.sbDevType,
            "drivers": descriptor.sbDrvrCount,
        }
    own = next((partition.size for partition in partitions if partition.type == MAP_TYPE), 0)
    return Table(
        pttype="mac",
        sector_size=unit,
        # What is free is no partition, though an entry of the map says so.
        partitions=tuple(partition for partition in partitions if partition.type not in FREE_TYPES),
        meta=(
            Extent(offset=0, size=unit, name="Driver Descriptor Map"),
            Extent(offset=unit, size=max(own, len(entries) * unit), name="Partition Map"),
        ),
        details=details,
        problems=tuple(problems),
    )


def _block_size(view: View, told: int | None) -> int:
    """Bytes in a block: as told, if the map stands there; hybrid discs may tell of 2048 and mean 512."""
    small = BLOCK_SIZES[0]
    head = view.glance(small, _ENTRY_SIZE)
    in_small = head[:2] == ENTRY_MAGIC
    # Where a map of small blocks is so long that it reaches that place, its own entry stands there.
    reaches = told is not None and in_small and parse_struct(head, ENTRY).pmMapBlkCnt * small >= told
    if told in BLOCK_SIZES and not reaches and view.glance(told, 2) == ENTRY_MAGIC:
        return told
    for unit in BLOCK_SIZES:
        first = view.glance(unit, _ENTRY_SIZE)
        # Elsewhere than where it is said to be, it must say itself what it is.
        if first[:2] == ENTRY_MAGIC and (unit == small or _names_map(first)):
            return unit
    raise NotThisFormat("no partition map after the driver descriptor map")


def _names_map(entry: bytes) -> bool:
    """Whether an entry is that of the map itself."""
    return len(entry) == _ENTRY_SIZE and text(parse_struct(entry, ENTRY).pmParType, "mac-roman") == MAP_TYPE


def _entries(view: View, unit: int, count: int) -> Iterator[Any]:
    # One read: the entries stand in consecutive blocks.
    run = view.glance(unit, unit * min(count, MAP_CAP))
    for at in range(0, len(run) - _ENTRY_SIZE + 1, unit):
        if run[at : at + len(ENTRY_MAGIC)] != ENTRY_MAGIC:
            return
        yield parse_struct(run, ENTRY, at)


def _partition(number: int, entry: Any, unit: int) -> Partition:
    kind = text(entry.pmParType, "mac-roman")
    return Partition(
        number=number,
        slot=number - 1,
        offset=entry.pmPyPartStart * unit,
        size=entry.pmPartBlkCnt * unit,
        meta=kind == MAP_TYPE,
        type=kind,
        type_name=TYPES.get(kind or ""),
        name=text(entry.pmPartName, "mac-roman"),
        flags=tuple(name for bit, name in STATUS.items() if entry.pmPartStatus & bit),
    )


FORMAT = TableFormat(
    name="apm",
    title="Apple partition map",
    specification="https://developer.apple.com/library/archive/documentation/mac/Devices/Devices-126.html",
    parse=parse,
    signatures=(
        Signature(MAGIC, 0),
        # Without the block before it; two zeros follow its mark.
        *(Signature(ENTRY_MAGIC + b"\0\0\0\0", unit) for unit in BLOCK_SIZES),
    ),
    types=("mac",),
    vstypes=("apm", "mac"),
)
