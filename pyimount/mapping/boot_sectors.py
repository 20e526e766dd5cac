"""Whether a sector is a file system's boot sector: what tells a rightly opened volume from noise."""

from construct import Bytes, Int8ul, Int16ul, Struct

from pyimount.formats.layouts import layout, parse_struct

BOOT_SECTOR_SIZE = 512

BPB = layout(
    lambda: Struct(
        "Jump" / Bytes(3),
        "Oem" / Bytes(8),
        "BytesPerSector" / Int16ul,
        "SectorsPerCluster" / Int8ul,
        "ReservedSectors" / Int16ul,
        "Fats" / Int8ul,
    )
)
_MARK = b"\x55\xaa"


def is_boot_sector(sector: bytes) -> bool:
    """Whether the 512 bytes begin an NTFS, FAT, exFAT or ReFS volume."""
    if len(sector) != BOOT_SECTOR_SIZE:
        return False
    found = parse_struct(sector, BPB)
    if found.Oem == b"ReFS\0\0\0\0":
        return sector[16:20] == b"FSRS"
    if sector[510:] != _MARK:
        return False
    if found.Oem == b"EXFAT   ":
        return not any(sector[11:64])
    if found.BytesPerSector not in (512, 1024, 2048, 4096) or not found.SectorsPerCluster:
        return False
    if found.Oem == b"NTFS    ":
        return (found.ReservedSectors, found.Fats) == (0, 0)
    if found.SectorsPerCluster & (found.SectorsPerCluster - 1) or found.ReservedSectors == 0:
        return False
    return found.Fats in (1, 2) and found.Jump[0] in (0xEB, 0xE9)
