"""Members of HighPoint HPT45x arrays. Layout: dmraid, lib/format/ataraid/hpt45x.h.

https://sources.debian.org/src/dmraid/
"""

from pyimount.formats import Format, Identity, NotThisFormat, Precedence, Signature, TableRule, Usage
from pyimount.parsers.volumes.bios_raid import SECTOR, member, place
from pyimount.sources.view import View

MAGIC, MAGIC_BROKEN = b"\xf3\x16\x78\x5a", b"\xfd\x16\x78\x5a"
SECTORS = 11


def parse(view: View) -> Identity:
    """Recognise the superblock eleven sectors from the end."""
    at = place(view, SECTORS)
    magic = view.read(at, 4)
    if magic not in (MAGIC, MAGIC_BROKEN):
        raise NotThisFormat("no superblock")
    return member("hpt45x_raid_member", at, details={"broken": magic == MAGIC_BROKEN})


FORMAT = Format(
    name="hpt45x_raid",
    title="HighPoint HPT45x RAID member",
    specification="https://sources.debian.org/src/dmraid/",
    usage=Usage.RAID,
    types=("hpt45x_raid_member",),
    parse=parse,
    signatures=tuple(Signature(magic, -SECTORS * SECTOR, align=SECTOR) for magic in (MAGIC, MAGIC_BROKEN)),
    precedence=Precedence.RAID,
    with_table=TableRule.HIDES_WHEN_BEHIND,
)
