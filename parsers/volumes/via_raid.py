"""Members of VIA RAID arrays. Layout: dmraid, lib/format/ataraid/via.h.

https://sources.debian.org/src/dmraid/
"""

from construct import Bytes, Int8ul, Int16ul, Int32ul, Struct

from pyimount.formats import Format, Identity, NotThisFormat, Precedence, Signature, TableRule, Usage
from pyimount.formats.layouts import layout, parse_struct
from pyimount.parsers.volumes.bios_raid import SECTOR, member, place
from pyimount.sources.view import View

SUPERBLOCK = layout(
    lambda: Struct(
        "signature" / Bytes(2),
        "version_number" / Int8ul,
        "disk_bit_mask" / Int16ul,
        "disk_array_ex" / Int8ul,
        "capacity_low" / Int32ul,
        "capacity_high" / Int32ul,
        "serial_checksum" / Int32ul,
        "serial_checksums" / Bytes(32),
        "checksum" / Int8ul,
    )
)

MAGIC = b"\x55\xaa"
_SUMMED = 50


def parse(view: View) -> Identity:
    """Recognise the superblock in the last sector; its checksum must hold, two bytes of magic being few."""
    at = place(view, 1)
    raw = view.read(at, SUPERBLOCK.size)
    sb = parse_struct(raw, SUPERBLOCK)
    if sb.signature != MAGIC or sb.version_number > 2 or sum(raw[:_SUMMED]) & 0xFF != sb.checksum:
        raise NotThisFormat("no superblock whose checksum holds")
    return member("via_raid_member", at, f"{sb.version_number}", checked=True)


FORMAT = Format(
    name="via_raid",
    title="VIA RAID member",
    specification="https://sources.debian.org/src/dmraid/",
    usage=Usage.RAID,
    types=("via_raid_member",),
    parse=parse,
    signatures=(Signature(MAGIC, -SECTOR, align=SECTOR),),
    precedence=Precedence.RAID,
    with_table=TableRule.HIDES_WHEN_BEHIND,
)
