"""The file systems of System V, releases 2 and 4, in both byte orders.

Layout: linux/include/linux/sysv_fs.h, ``struct sysv2_super_block`` and ``struct sysv4_super_block``
https://github.com/torvalds/linux/blob/v6.12/include/linux/sysv_fs.h
"""

from typing import Any

from construct import Bytes, Int8ub, Int16ub, Int16ul, Int32ub, Int32ul, Struct

from pyimount.formats import Format, Identity, KernelMount, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, unix_time
from pyimount.sources.view import View


def _release_2(u16: Any, u32: Any) -> Any:
    """Aligned to two bytes."""
    return Struct(
        "s_isize" / u16,
        "s_fsize" / u32,
        "s_nfree" / u16,
        "s_free" / Bytes(50 * 4),
        "s_ninode" / u16,
        "s_inode" / Bytes(100 * 2),
        "s_flock_to_s_fmod" / Bytes(3),
        "s_ronly" / Int8ub,
        "s_time" / u32,
        "s_dinfo" / Bytes(8),
        "s_tfree" / u32,
        "s_tinode" / u16,
        "s_fname" / Bytes(6),
        "s_fpack" / Bytes(6),
        "s_fill" / Bytes(14 * 4),
        "s_state" / u32,
        "s_magic" / u32,
        "s_type" / u32,
    )


def _release_4(u16: Any, u32: Any) -> Any:
    """Aligned to four bytes."""
    return Struct(
        "s_isize" / u16,
        "s_pad0" / u16,
        "s_fsize" / u32,
        "s_nfree" / u16,
        "s_pad1" / u16,
        "s_free" / Bytes(50 * 4),
        "s_ninode" / u16,
        "s_pad2" / u16,
        "s_inode" / Bytes(100 * 2),
        "s_flock_to_s_fmod" / Bytes(3),
        "s_ronly" / Int8ub,
        "s_time" / u32,
        "s_dinfo" / Bytes(8),
        "s_tfree" / u32,
        "s_tinode" / u16,
        "s_pad3" / u16,
        "s_fname" / Bytes(6),
        "s_fpack" / Bytes(6),
        "s_fill" / Bytes(12 * 4),
        "s_state" / u32,
        "s_magic" / u32,
        "s_type" / u32,
    )


SUPERBLOCK_2 = layout(lambda: _release_2(Int16ul, Int32ul))
SUPERBLOCK_2_BE = layout(lambda: _release_2(Int16ub, Int32ub))
SUPERBLOCK_4 = layout(lambda: _release_4(Int16ul, Int32ul))
SUPERBLOCK_4_BE = layout(lambda: _release_4(Int16ub, Int32ub))
MAGIC = 0xFD187E20
# Floppies may have boot tracks in front of the file system: so many bytes.
BASES = tuple(kib << 10 for kib in (0, 9, 15, 18))
_AT, _MAGIC_AT = 512, 512 + 504

YEAR_1980 = 315532800
"""Where release 4 has its time, release 2 has something else: as the kernel tells them apart."""
CLEAN_4 = 0x7C269D38
CLEAN_2 = 0xCB096F43
AFS = 0xFFFF
"""``s_nfree`` of Acer's and SCO's variant, which keeps a bitmap instead of the list of free blocks."""


def parse(view: View) -> Identity:
    """The identity of a System V file system."""
    for base in BASES:
        found = view.peek(base + _MAGIC_AT, 4)
        for big in (False, True):
            if found == MAGIC.to_bytes(4, "big" if big else "little"):
                return _identity(view, base, big=big)
    raise NotThisFormat("no magic")


def _identity(view: View, base: int, *, big: bool) -> Identity:
    sb = read_struct(view, SUPERBLOCK_4_BE if big else SUPERBLOCK_4, base + _AT)
    release = 4
    if sb.s_nfree != AFS and sb.s_time < YEAR_1980:
        release = 2
        sb = read_struct(view, SUPERBLOCK_2_BE if big else SUPERBLOCK_2, base + _AT)
    # 0x10 to 0x30: Interactive Unix with long names.
    kind = sb.s_type >> 4 if release == 4 and sb.s_type in (0x10, 0x20, 0x30) else sb.s_type
    if kind not in (1, 2, 3) or not 2 < sb.s_isize < sb.s_fsize:
        raise NotThisFormat(f"type {sb.s_type:#x}, data from {sb.s_isize} to {sb.s_fsize}")
    if (sb.s_nfree > 50 and sb.s_nfree != AFS) or sb.s_ninode > 100 or sb.s_tfree > sb.s_fsize:
        raise NotThisFormat(f"lists of {sb.s_nfree} blocks and {sb.s_ninode} inodes")
    block_size = 512 << (kind - 1)
    clean = sb.s_state == ((CLEAN_4 - sb.s_time) & 0xFFFFFFFF if release == 4 else CLEAN_2)
    return Identity(
        type="sysv",
        fstype="sysv",
        label=text(sb.s_fname),
        fs_size=base + sb.s_fsize * block_size,
        free=sb.s_tfree * block_size,
        modified=unix_time(sb.s_time),
        state="clean" if clean else "dirty",
        offset=base + _AT,
        details={
            "release": release,
            "variant": "AFS" if sb.s_nfree == AFS else None,
            "long_names": kind != sb.s_type,
            "block_size": block_size,
            "blocks": sb.s_fsize,
            "free_blocks": sb.s_tfree,
            "free_inodes": sb.s_tinode,
            "first_data_block": sb.s_isize,
            "read_only": bool(sb.s_ronly),
            "pack_name": text(sb.s_fpack),
            "start": base,
            "byte_order": "big" if big else "little",
        },
    )


FORMAT = Format(
    name="sysv",
    title="System V",
    specification="https://github.com/torvalds/linux/blob/v6.12/include/linux/sysv_fs.h",
    usage=Usage.FILESYSTEM,
    types=("sysv",),
    parse=parse,
    signatures=tuple(
        Signature(magic, base + _MAGIC_AT)
        for base in BASES
        for magic in (MAGIC.to_bytes(4, "little"), MAGIC.to_bytes(4, "big"))
    ),
    mounts=(KernelMount("sysv", maintained=False),),
)
