"""Members of LSI Logic MegaRAID (IDE) arrays. Layout: dmraid, lib/format/ataraid/lsi.h.

https://sources.debian.org/src/dmraid/
"""

from pyimount.formats import Format, Identity, NotThisFormat, Precedence, Signature, TableRule, Usage
from pyimount.parsers.volumes.bios_raid import SECTOR, member, place
from pyimount.sources.view import View

MAGIC = b"$XIDE$"


def parse(view: View) -> Identity:
    """Recognise the superblock in the last sector."""
    at = place(view, 1)
    if view.read(at, len(MAGIC)) != MAGIC:
        raise NotThisFormat("no superblock")
    return member("lsi_mega_raid_member", at)


FORMAT = Format(
    name="lsi_mega_raid",
    title="LSI MegaRAID member",
    specification="https://sources.debian.org/src/dmraid/",
    usage=Usage.RAID,
    types=("lsi_mega_raid_member",),
    parse=parse,
    signatures=(Signature(MAGIC, -SECTOR, align=SECTOR),),
    precedence=Precedence.RAID,
    with_table=TableRule.HIDES_WHEN_BEHIND,
)
