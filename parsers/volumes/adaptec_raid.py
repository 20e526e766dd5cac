"""Members of Adaptec HostRAID arrays. Layout: dmraid, lib/format/ataraid/asr.h ("struct reservedblock").

https://sources.debian.org/src/dmraid/
"""

from construct import Bytes, Int8ub, Struct

from pyimount.formats import Format, Identity, NotThisFormat, Precedence, Signature, TableRule, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.parsers.volumes.bios_raid import SECTOR, member, place
from pyimount.sources.view import View

RESERVED_BLOCK = layout(
    lambda: Struct(
        "b0idcode" / Bytes(4),
        "before_resver" / Bytes(59),
        "resver" / Int8ub,
        "drivemagic" / Bytes(4),
        "before_smagic" / Bytes(188),
        "smagic" / Bytes(4),
    )
)

MAGIC = b"\x37\xfc\x4d\x1e"
TABLE_MAGIC = b"DPTM"


def parse(view: View) -> Identity:
    """Recognise the reserved block in the last sector."""
    at = place(view, 1)
    block = read_struct(view, RESERVED_BLOCK, at)
    if block.b0idcode != MAGIC or block.smagic != TABLE_MAGIC:
        raise NotThisFormat("no reserved block")
    return member("adaptec_raid_member", at, f"{block.resver}")


FORMAT = Format(
    name="adaptec_raid",
    title="Adaptec HostRAID member",
    specification="https://sources.debian.org/src/dmraid/",
    usage=Usage.RAID,
    types=("adaptec_raid_member",),
    parse=parse,
    signatures=(Signature(MAGIC, -SECTOR, align=SECTOR),),
    precedence=Precedence.RAID,
    with_table=TableRule.HIDES_WHEN_BEHIND,
)
