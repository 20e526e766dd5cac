"""Members of Silicon Image (Medley) RAID arrays. Layout: dmraid, lib/format/ataraid/sil.h.

https://sources.debian.org/src/dmraid/
"""

from struct import unpack

from construct import Bytes, Int8ul, Int16ul, Int32ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Precedence, Signature, TableRule, Usage
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import text
from pyimount.parsers.volumes.bios_raid import SECTOR, member, place
from pyimount.sources.view import View

SUPERBLOCK = layout(
    lambda: Struct(
        "unknown0" / Bytes(0x2E),
        "ascii_version" / Bytes(8),
        "diskname" / Bytes(32),
        "unknown1" / Bytes(10),
        "magic" / Bytes(4),
        "unknown1a" / Bytes(8),
        "array_sectors_low" / Int32ul,
        "array_sectors_high" / Int32ul,
        "unknown2" / Bytes(4),
        "thisdisk_sectors" / Int32ul,
        "unknown3" / Bytes(0x104 - 0x7C),
        "product_id" / Int16ul,
        "vendor_id" / Int16ul,
        "minor_ver" / Int16ul,
        "major_ver" / Int16ul,
        "time" / Bytes(6),
        "raid0_stride" / Int16ul,
        "unknown6" / Bytes(2),
        "disk_number" / Int8ul,
        "type" / Int8ul,
        "drives_per_striped_set" / Int8ul,
        "striped_set_number" / Int8ul,
        "drives_per_mirrored_set" / Int8ul,
        "mirrored_set_number" / Int8ul,
        "unknown7" / Bytes(0x13E - 0x11C),
        "checksum1" / Int16ul,
    )
)

MAGIC = b"\0\0\0\x2f"
MAGIC_AT = 0x60
TYPES = {0: "raid0", 1: "raid1", 2: "raid0+1", 3: "spare", 16: "raid5", 255: "jbod"}


def parse(view: View) -> Identity:
    """Recognise the superblock in the last sector; its checksum must hold, the magic being mostly zeros."""
    at = place(view, 1)
    raw = view.read(at, SUPERBLOCK.size)
    sb = parse_struct(raw, SUPERBLOCK)
    words = unpack(f"<{(SUPERBLOCK.size - 2) // 2}H", raw[:-2])
    if sb.magic != MAGIC or sb.disk_number >= 8 or -sum(words) & 0xFFFF != sb.checksum1:
        raise NotThisFormat("no superblock whose checksum holds")
    details: dict[str, Json] = {
        "level": TYPES.get(sb.type, str(sb.type)),
        "disk_name": text(sb.diskname.strip(b" \0"), "ascii"),
        "disk_number": sb.disk_number,
        "disks": sb.drives_per_striped_set or sb.drives_per_mirrored_set or None,
        "array_size": (sb.array_sectors_high << 32 | sb.array_sectors_low) * SECTOR,
    }
    return member("silicon_medley_raid_member", at, f"{sb.major_ver}.{sb.minor_ver}", details, checked=True)


FORMAT = Format(
    name="silicon_medley_raid",
    title="Silicon Image Medley RAID member",
    specification="https://sources.debian.org/src/dmraid/",
    usage=Usage.RAID,
    types=("silicon_medley_raid_member",),
    parse=parse,
    signatures=(Signature(MAGIC, MAGIC_AT - SECTOR, align=SECTOR),),
    precedence=Precedence.RAID,
    with_table=TableRule.HIDES_WHEN_BEHIND,
)
