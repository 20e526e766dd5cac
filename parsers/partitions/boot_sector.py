"""The first sector of a disk: the partition records in it, and what only looks like such a sector.

Layout: UEFI Specification 2.10, 5.2.1 "Legacy Master Boot Record (MBR)".
"""

from typing import Any

from construct import Bytes, Int8ul, Int16ul, Int32ul, Struct

from pyimount.formats.layouts import layout, parse_struct

SIZE = 512
"""Bytes of the sector that are laid down, whatever a sector of the disk has."""

RECORDS_AT = 446
SIGNATURE_AT = 510
SIGNATURE = b"\x55\xaa"
PROTECTIVE = 0xEE

RECORD = layout(
    lambda: Struct(
        "BootIndicator" / Int8ul,
        "StartingCHS" / Bytes(3),
        "OSType" / Int8ul,
        "EndingCHS" / Bytes(3),
        "StartingLBA" / Int32ul,
        "SizeInLBA" / Int32ul,
    )
)

# The fields of a FAT boot sector's BIOS parameter block by which it is known (Microsoft's
# "FAT: General Overview of On-Disk Format").
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
    )
)

_OEM_NAMES = frozenset({b"NTFS    ", b"EXFAT   ", b"-FVE-FS-", b"ReFS\0\0\0\0"})
_JUMPS = b"\xeb\xe9"


def has_signature(sector: bytes) -> bool:
    """Whether the sector ends as every boot sector does."""
    return sector[SIGNATURE_AT:SIZE] == SIGNATURE


def records(sector: bytes) -> list[tuple[int, Any]]:
    """The partition records that are in use (have a size), each with its slot from 0."""
    found = []
    for slot in range(4):
        at = RECORDS_AT + 16 * slot
        if any(sector[at + 12 : at + 16]):
            found.append((slot, parse_struct(sector, RECORD, at)))
    return found


def is_protective(sector: bytes) -> bool:
    """Whether a record says that a GUID partition table rules this disk."""
    return has_signature(sector) and any(record.OSType == PROTECTIVE for _, record in records(sector))


def boots_a_volume(sector: bytes) -> bool:
    """Whether this is a file system's boot sector, which has code or text where a disk has its records."""
    if sector[3:11] in _OEM_NAMES:
        return True
    named = sector[0x36:0x3E]
    if named in (b"HPFS    ", b"JFS     "):
        return True
    if sector[0] not in _JUMPS and not (named.startswith(b"FAT") or sector[0x52:0x57] == b"FAT32"):
        return False
    bpb = parse_struct(sector, BPB)
    return (
        bpb.BPB_BytsPerSec in (512, 1024, 2048, 4096)
        and bpb.BPB_SecPerClus.bit_count() == 1
        and bpb.BPB_RsvdSecCnt > 0
        and bpb.BPB_NumFATs > 0
        and (bpb.BPB_Media == 0xF0 or bpb.BPB_Media >= 0xF8)
    )
