"""The superblock that GFS and GFS2 share; GFS2 left fields of GFS unused and added the UUID.

Layout: linux/include/uapi/linux/gfs2_ondisk.h, ``struct gfs2_sb``
"""

from typing import Any

from construct import Bytes, Const, Int32ub, Int64ub, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import layout, read_struct
from pyimount.sources.view import View

MAGIC = b"\x01\x16\x19\x70"
SUPERBLOCK = layout(
    lambda: Struct(
        "mh_magic" / Const(MAGIC),
        "mh_type" / Int32ub,
        "mh_generation" / Int64ub,
        "mh_format" / Int32ub,
        "mh_jid" / Int32ub,
        "sb_fs_format" / Int32ub,
        "sb_multihost_format" / Int32ub,
        "sb_flags" / Int32ub,
        "sb_bsize" / Int32ub,
        "sb_bsize_shift" / Int32ub,
        "sb_seg_size" / Int32ub,
        "sb_master_dir" / Bytes(16),
        "sb_rindex_di" / Bytes(16),
        "sb_root_dir" / Bytes(16),
        "sb_lockproto" / Bytes(64),
        "sb_locktable" / Bytes(64),
        "sb_quota_di_and_sb_license_di" / Bytes(32),
        "sb_uuid" / Bytes(16),
    )
)
OFFSET = 64 << 10
SB_TYPE, SB_FORMAT = 1, 100


def read_superblock(view: View, formats: range, multihost: range) -> Any:
    """The superblock, if its formats are among these; raises NotThisFormat."""
    sb = read_struct(view, SUPERBLOCK, OFFSET)
    if sb.mh_type != SB_TYPE or sb.mh_format != SB_FORMAT:
        raise NotThisFormat(f"a block of type {sb.mh_type}, format {sb.mh_format}")
    if sb.sb_fs_format not in formats or sb.sb_multihost_format not in multihost:
        raise NotThisFormat(f"formats {sb.sb_fs_format} and {sb.sb_multihost_format}")
    if not 9 <= sb.sb_bsize_shift <= 16 or sb.sb_bsize != 1 << sb.sb_bsize_shift:
        raise NotThisFormat(f"block size {sb.sb_bsize}, and its logarithm {sb.sb_bsize_shift}")
    return sb


def block_of(inum: bytes) -> int:
    """The block number in a ``gfs2_inum``."""
    return int.from_bytes(inum[8:], "big")
