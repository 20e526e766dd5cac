"""Members of NVIDIA nForce RAID arrays. Layout: dmraid, lib/format/ataraid/nv.h.

https://sources.debian.org/src/dmraid/
"""

from struct import unpack

from construct import Bytes, Int16ul, Int32ul, Struct

from pyimount.formats import Format, Identity, NotThisFormat, Precedence, Signature, TableRule, Usage
from pyimount.formats.layouts import layout, parse_struct
from pyimount.parsers.volumes.bios_raid import SECTOR, member, place
from pyimount.sources.view import View

SUPERBLOCK = layout(
    lambda: Struct("vendor" / Bytes(8), "size" / Int32ul, "chksum" / Int32ul, "version" / Int16ul)
)

MAGIC = b"NVIDIA"


def parse(view: View) -> Identity:
    """Recognise the superblock in the last sector but one."""
    at = place(view, 2)
    raw = view.read(at, SECTOR)
    sb = parse_struct(raw, SUPERBLOCK)
    if not sb.vendor.startswith(MAGIC):
        raise NotThisFormat("no superblock")
    # All words together, the checksum among them, make zero.
    checked = 0 < sb.size <= SECTOR // 4 and not sum(unpack(f"<{sb.size}I", raw[: 4 * sb.size])) & 0xFFFFFFFF
    return member("nvidia_raid_member", at, f"{sb.version}", checked=checked)


FORMAT = Format(
    name="nvidia_raid",
    title="NVIDIA RAID member",
    specification="https://sources.debian.org/src/dmraid/",
    usage=Usage.RAID,
    types=("nvidia_raid_member",),
    parse=parse,
    signatures=(Signature(MAGIC, -2 * SECTOR, align=SECTOR),),
    precedence=Precedence.RAID,
    with_table=TableRule.HIDES_WHEN_BEHIND,
)
