"""Members of HighPoint HPT37x arrays. Layout: dmraid, lib/format/ataraid/hpt37x.h.

https://sources.debian.org/src/dmraid/
"""

from pyimount.formats import Format, Identity, NotThisFormat, Precedence, Signature, TableRule, Usage
from pyimount.parsers.volumes.bios_raid import member
from pyimount.sources.view import View

MAGIC, MAGIC_BROKEN = b"\xf0\x16\x78\x5a", b"\xfd\x16\x78\x5a"
MAGIC_AT = 9 * 512 + 32


def parse(view: View) -> Identity:
    """Recognise the superblock in the tenth sector."""
    magic = view.read(MAGIC_AT, 4)
    if magic not in (MAGIC, MAGIC_BROKEN):
        raise NotThisFormat("no superblock")
    return member("hpt37x_raid_member", MAGIC_AT, details={"broken": magic == MAGIC_BROKEN})


FORMAT = Format(
    name="hpt37x_raid",
    title="HighPoint HPT37x RAID member",
    specification="https://sources.debian.org/src/dmraid/",
    usage=Usage.RAID,
    types=("hpt37x_raid_member",),
    parse=parse,
    signatures=tuple(Signature(magic, MAGIC_AT) for magic in (MAGIC, MAGIC_BROKEN)),
    precedence=Precedence.RAID,
    with_table=TableRule.HIDES,
)
