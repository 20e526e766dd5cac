"""Devices of dm-integrity.

Layout: Linux, drivers/md/dm-integrity.c, ``struct superblock``
https://github.com/torvalds/linux/blob/master/drivers/md/dm-integrity.c
"""

from construct import Bytes, Const, Int8sl, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Precedence, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names
from pyimount.sources.view import View

SECTOR = 512
MAGIC = b"integrt\0"
SUPERBLOCK = layout(
    lambda: Struct(
        "magic" / Const(MAGIC),
        "version" / Int8ul,
        "log2_interleave_sectors" / Int8sl,
        "integrity_tag_size" / Int16ul,
        "journal_sections" / Int32ul,
        "provided_data_sectors" / Int64ul,
        "flags" / Int32ul,
        "log2_sectors_per_block" / Int8ul,
        "log2_blocks_per_bitmap_bit" / Int8ul,
        "pad" / Bytes(2),
        "recalc_sector" / Int64ul,
        "pad2" / Bytes(8),
        "salt" / Bytes(16),
    )
)
VERSIONS = range(1, 7)
RECALCULATING, DIRTY_BITMAP = 0x2, 0x4
FLAGS = {
    0x1: "have_journal_mac",
    0x2: "recalculating",
    0x4: "dirty_bitmap",
    0x8: "fix_padding",
    0x10: "fix_hmac",
    0x20: "inline",
}


def parse(view: View) -> Identity:
    """The identity of a device with integrity tags."""
    sb = read_struct(view, SUPERBLOCK, 0)
    if sb.version not in VERSIONS or not 0 <= sb.log2_interleave_sectors <= 31:
        raise NotThisFormat(f"version {sb.version}, interleaved by 2**{sb.log2_interleave_sectors} sectors")
    if sb.log2_sectors_per_block > 3 or sb.log2_blocks_per_bitmap_bit > 31:
        raise NotThisFormat(f"blocks of 2**{sb.log2_sectors_per_block} sectors")
    block = SECTOR << sb.log2_sectors_per_block
    details: dict[str, Json] = {
        "tag_size": sb.integrity_tag_size,
        "sector_size": block,
        "provided_data_size": sb.provided_data_sectors * SECTOR,
        "journal_sections": sb.journal_sections,
        "interleave_sectors": 1 << sb.log2_interleave_sectors if sb.log2_interleave_sectors else None,
        "blocks_per_bitmap_bit": 1 << sb.log2_blocks_per_bitmap_bit,
        "flags": [*flag_names(sb.flags, FLAGS, "flag")],
        "recalculated_size": sb.recalc_sector * SECTOR if sb.flags & RECALCULATING else None,
        "salt": sb.salt.hex() if any(sb.salt) else None,
    }
    return Identity(type="DM_integrity", version=str(sb.version), details=details)


FORMAT = Format(
    name="dm_integrity",
    title="dm-integrity device",
    specification="https://docs.kernel.org/admin-guide/device-mapper/dm-integrity.html",
    usage=Usage.CRYPTO,
    types=("DM_integrity",),
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    precedence=Precedence.ENCRYPTION,
)
