"""VxFS, the Veritas file system: UnixWare and Linux little-endian, HP-UX and Solaris big-endian.

Layout: linux/fs/freevxfs/vxfs.h, ``struct vxfs_sb``
https://github.com/torvalds/linux/blob/master/fs/freevxfs/vxfs.h
"""

from typing import Any

from construct import Bytes, Int8ub, Int16ub, Int16ul, Int32ub, Int32ul, Struct

from pyimount.formats import Format, Identity, KernelMount, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, unix_time
from pyimount.sources.view import View


def _superblock(u16: Any, u32: Any) -> Any:
    return Struct(
        "vs_magic" / Bytes(4),
        "vs_version" / u32,
        "vs_ctime" / u32,
        "vs_cutime" / u32,
        "unused1_to_vs_old_logend" / Bytes(16),
        "vs_bsize" / u32,
        "vs_size" / u32,
        "vs_dsize" / u32,
        "vs_old_ninode_to_vs_checksum" / Bytes(37 * 4),
        "vs_free" / u32,
        "vs_ifree" / u32,
        "vs_efree" / Bytes(32 * 4),
        "vs_flags" / u32,
        "vs_mod" / Int8ub,
        "vs_clean" / Int8ub,
        "unused4" / u16,
        "vs_firstlogid" / u32,
        "vs_wtime" / u32,
        "vs_wutime" / u32,
        "vs_fname" / Bytes(6),
        "vs_fpack" / Bytes(6),
        "vs_logversion" / u32,
        "unused5" / Bytes(4),
        "vs_oltext" / Bytes(8),
        "vs_oltsize" / u32,
    )


SUPERBLOCK = layout(lambda: _superblock(Int16ul, Int32ul))
SUPERBLOCK_BE = layout(lambda: _superblock(Int16ub, Int32ub))
LITTLE, BIG = b"\xf5\xfc\x01\xa5", b"\xa5\x01\xfc\xf5"
LITTLE_AT, BIG_AT = 1024, 8192


def parse(view: View) -> Identity:
    """The identity of a VxFS file system."""
    if view.peek(LITTLE_AT, 4) == LITTLE:
        return _identity(read_struct(view, SUPERBLOCK, LITTLE_AT), LITTLE_AT)
    if view.peek(BIG_AT, 4) == BIG:
        return _identity(read_struct(view, SUPERBLOCK_BE, BIG_AT), BIG_AT)
    raise NotThisFormat("no magic")


def _identity(sb: Any, offset: int) -> Identity:
    size = sb.vs_bsize
    if not 1 <= sb.vs_version <= 64 or not 512 <= size <= 1 << 16 or size & (size - 1):
        raise NotThisFormat(f"version {sb.vs_version}, blocks of {size} bytes")
    if sb.vs_dsize > sb.vs_size or sb.vs_free > sb.vs_size:
        raise NotThisFormat(f"{sb.vs_free} blocks free, of {sb.vs_size}")
    return Identity(
        type="vxfs",
        fstype="vxfs",
        version=f"{sb.vs_version}",
        block_size=size,
        fs_size=sb.vs_size * size or None,
        free=sb.vs_free * size if sb.vs_size else None,
        created=unix_time(sb.vs_ctime, sb.vs_cutime * 1000),
        modified=unix_time(sb.vs_wtime, sb.vs_wutime * 1000),
        offset=offset,
        details={
            "blocks": sb.vs_size,
            "data_blocks": sb.vs_dsize,
            "free_blocks": sb.vs_free,
            "free_inodes": sb.vs_ifree,
            "flags": sb.vs_flags,
            "modified": sb.vs_mod,
            "clean": sb.vs_clean,
            "first_log_id": sb.vs_firstlogid,
            "log_version": sb.vs_logversion,
            "fname": text(sb.vs_fname, "ascii"),
            "fpack": text(sb.vs_fpack, "ascii"),
            "byte_order": "little" if sb.vs_magic == LITTLE else "big",
        },
    )


FORMAT = Format(
    name="vxfs",
    title="VxFS",
    specification="https://github.com/torvalds/linux/blob/master/fs/freevxfs/vxfs.h",
    usage=Usage.FILESYSTEM,
    types=("vxfs",),
    parse=parse,
    signatures=(Signature(LITTLE, LITTLE_AT), Signature(BIG, BIG_AT)),
    mounts=(KernelMount("vxfs", maintained=False),),
)
