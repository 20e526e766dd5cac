"""Members of Promise FastTrak arrays. Layout: dmraid, lib/format/ataraid/pdc.h.

https://sources.debian.org/src/dmraid/
"""

from pyimount.formats import Format, Identity, NotThisFormat, Precedence, Signature, TableRule, Usage
from pyimount.parsers.volumes.bios_raid import SECTOR, member, place
from pyimount.sources.view import View

MAGIC = b"Promise Technology, Inc."
USUAL = (63, 255, 256, 16)
"""How many sectors from the end the superblock lies; which, the disk's geometry decides."""
RARE = (399, 591, 675, 735, 911, 974, 991, 951, 3087)
_LEAST = 0x40000


def parse(view: View) -> Identity:
    """Recognise the superblock at any of its places."""
    if view.size < _LEAST:
        raise NotThisFormat(f"a disk of {view.size} bytes")
    for sectors in (*USUAL, *RARE):
        at = place(view, sectors)
        if view.glance(at, len(MAGIC)) == MAGIC:
            return member("promise_fasttrack_raid_member", at)
    raise NotThisFormat("no superblock")


FORMAT = Format(
    name="promise_fasttrack_raid",
    title="Promise FastTrak RAID member",
    specification="https://sources.debian.org/src/dmraid/",
    usage=Usage.RAID,
    types=("promise_fasttrack_raid_member",),
    parse=parse,
    # To look at all places of every disk would be a read each: the rare ones are left for the unrecognised.
    signatures=(
        *(Signature(MAGIC, -sectors * SECTOR, align=SECTOR) for sectors in USUAL),
        *(Signature(MAGIC, -sectors * SECTOR, align=SECTOR, copy=True) for sectors in RARE),
    ),
    precedence=Precedence.RAID,
    with_table=TableRule.HIDES_WHEN_BEHIND,
)
