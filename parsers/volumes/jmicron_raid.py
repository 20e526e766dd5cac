"""Members of JMicron JMB36x arrays. Layout: dmraid, lib/format/ataraid/jm.h.

https://sources.debian.org/src/dmraid/
"""

from struct import unpack

from construct import Bytes, Int8ul, Struct

from pyimount.formats import Format, Identity, NotThisFormat, Precedence, Signature, TableRule, Usage
from pyimount.formats.layouts import layout, parse_struct
from pyimount.parsers.volumes.bios_raid import SECTOR, member, place
from pyimount.sources.view import View

SUPERBLOCK = layout(
    lambda: Struct(
        "signature" / Bytes(2), "minor_version" / Int8ul, "major_version" / Int8ul, "rest" / Bytes(124)
    )
)

MAGIC = b"JM"


def parse(view: View) -> Identity:
    """Recognise the superblock in the last sector; its checksum must hold, two bytes of magic being few."""
    at = place(view, 1)
    raw = view.read(at, SUPERBLOCK.size)
    sb = parse_struct(raw, SUPERBLOCK)
    # The words make 0; some versions of the BIOS leave 1.
    if sb.signature != MAGIC or sum(unpack("<64H", raw)) & 0xFFFF not in (0, 1):
        raise NotThisFormat("no superblock whose checksum holds")
    return member("jmicron_raid_member", at, f"{sb.major_version}.{sb.minor_version}", checked=True)


FORMAT = Format(
    name="jmicron_raid",
    title="JMicron RAID member",
    specification="https://sources.debian.org/src/dmraid/",
    usage=Usage.RAID,
    types=("jmicron_raid_member",),
    parse=parse,
    signatures=(Signature(MAGIC, -SECTOR, align=SECTOR),),
    precedence=Precedence.RAID,
    with_table=TableRule.HIDES_WHEN_BEHIND,
)
