"""The file system of Xenix, in both byte orders.

Layout: linux/include/linux/sysv_fs.h, ``struct xenix_super_block``
https://github.com/torvalds/linux/blob/v6.12/include/linux/sysv_fs.h
"""

from typing import Any

from construct import Bytes, Int8ub, Int16ub, Int16ul, Int32ub, Int32ul, Struct

from pyimount.formats import Format, Identity, KernelMount, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, unix_time
from pyimount.sources.view import View


def _superblock(u16: Any, u32: Any) -> Any:
    return Struct(
        "s_isize" / u16,
        "s_fsize" / u32,
        "s_nfree" / u16,
        "s_free" / Bytes(100 * 4),
        "s_ninode" / u16,
        "s_inode" / Bytes(100 * 2),
        "s_flock_to_s_fmod" / Bytes(3),
        "s_ronly" / Int8ub,
        "s_time" / u32,
        "s_tfree" / u32,
        "s_tinode" / u16,
        "s_dinfo" / Bytes(8),
        "s_fname" / Bytes(6),
        "s_fpack" / Bytes(6),
        "s_clean" / Int8ub,
        "s_fill" / Bytes(371),
        "s_magic" / u32,
        "s_type" / u32,
    )


SUPERBLOCK = layout(lambda: _superblock(Int16ul, Int32ul))
SUPERBLOCK_BE = layout(lambda: _superblock(Int16ub, Int32ub))
MAGIC = 0x2B5544
LITTLE, BIG = MAGIC.to_bytes(4, "little"), MAGIC.to_bytes(4, "big")
OFFSET = 1024
# libblkid looks for it just behind the superblock, at 2048, where the first inode stands.
_MAGIC_AT = OFFSET + 1016
CLEAN = 0x46


def parse(view: View) -> Identity:
    """The identity of a Xenix file system."""
    big = view.read(_MAGIC_AT, 4) == BIG
    sb = read_struct(view, SUPERBLOCK_BE if big else SUPERBLOCK, OFFSET)
    if sb.s_type not in (1, 2) or not 2 < sb.s_isize < sb.s_fsize:
        raise NotThisFormat(f"type {sb.s_type:#x}, data from {sb.s_isize} to {sb.s_fsize}")
    if sb.s_nfree > 100 or sb.s_ninode > 100 or sb.s_tfree > sb.s_fsize:
        raise NotThisFormat(f"lists of {sb.s_nfree} blocks and {sb.s_ninode} inodes")
    block_size = 512 << (sb.s_type - 1)
    return Identity(
        type="xenix",
        fstype="xenix",
        label=text(sb.s_fname),
        fs_size=sb.s_fsize * block_size,
        free=sb.s_tfree * block_size,
        modified=unix_time(sb.s_time),
        state="clean" if sb.s_clean == CLEAN else "dirty",
        offset=OFFSET,
        details={
            "block_size": block_size,
            "blocks": sb.s_fsize,
            "free_blocks": sb.s_tfree,
            "free_inodes": sb.s_tinode,
            "first_data_block": sb.s_isize,
            "read_only": bool(sb.s_ronly),
            "pack_name": text(sb.s_fpack),
            "byte_order": "big" if big else "little",
        },
    )


FORMAT = Format(
    name="xenix",
    title="Xenix",
    specification="https://github.com/torvalds/linux/blob/v6.12/include/linux/sysv_fs.h",
    usage=Usage.FILESYSTEM,
    types=("xenix",),
    parse=parse,
    signatures=(Signature(LITTLE, _MAGIC_AT), Signature(BIG, _MAGIC_AT)),
    mounts=(KernelMount("sysv", maintained=False),),
)
