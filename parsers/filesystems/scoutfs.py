"""ScoutFS, Versity's archiving file system: its metadata and its data devices.

Layout: scoutfs, kmod/src/format.h, ``struct scoutfs_super_block``
https://github.com/versity/scoutfs/blob/main/kmod/src/format.h
"""

from construct import Bytes, Const, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, NotThisFormat, Signature, Usage
from pyimount.formats.checksums import crc32c
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

MAGIC = b"\x8b\x42\x3c\x10"
SUPERBLOCK = layout(
    lambda: Struct(
        "crc" / Int32ul,
        "magic" / Const(MAGIC),
        "fsid" / Int64ul,
        "block_seq" / Int64ul,
        "blkno" / Int64ul,
        "id" / Int64ul,
        "fmt_vers" / Int64ul,
        "flags" / Int64ul,
        "uuid" / Bytes(16),
        "seq" / Int64ul,
        "next_ino" / Int64ul,
        "inode_count" / Int64ul,
        "total_meta_blocks" / Int64ul,
        "total_data_blocks" / Int64ul,
    )
)
OFFSET = 64 << 10
META_BLOCK, DATA_BLOCK = 65536, 4096
_MAGIC_AT = 4
IS_META_BDEV = 0x1


def parse(view: View) -> Identity:
    """The identity of one of the two devices of a ScoutFS file system."""
    block = view.read(OFFSET, DATA_BLOCK)
    sb = parse_struct(block, SUPERBLOCK)
    if sb.blkno * DATA_BLOCK != OFFSET or not 1 <= sb.fmt_vers < 1 << 16:
        raise NotThisFormat(f"block {sb.blkno}, format version {sb.fmt_vers}")
    checked = crc32c(block[_MAGIC_AT:]) == sb.crc
    problems: tuple[Problem, ...] = ()
    if not checked:
        problems = (Problem(Code.BAD_CHECKSUM, "the checksum of the superblock does not match"),)
    meta = sb.flags & IS_META_BDEV
    block_size = META_BLOCK if meta else DATA_BLOCK
    return Identity(
        type="scoutfs_meta" if meta else "scoutfs_data",
        fstype="scoutfs",
        free_unknown="its counters lie in its trees, which are not read",
        uuid=uuid_text(sb.uuid),
        version=f"{sb.fmt_vers}",
        block_size=block_size,
        fs_size=(sb.total_meta_blocks if meta else sb.total_data_blocks) * block_size,
        offset=OFFSET,
        checked=checked,
        details={
            "fsid": f"{sb.fsid:016x}",
            "sequence": sb.seq,
            "inodes": sb.inode_count,
            "next_inode": sb.next_ino,
            "metadata_size": sb.total_meta_blocks * META_BLOCK,
            "data_size": sb.total_data_blocks * DATA_BLOCK,
        },
        problems=problems,
    )


FORMAT = Format(
    name="scoutfs",
    title="ScoutFS",
    specification="https://github.com/versity/scoutfs/blob/main/kmod/src/format.h",
    usage=Usage.FILESYSTEM,
    types=("scoutfs_meta", "scoutfs_data"),
    parse=parse,
    signatures=(Signature(MAGIC, OFFSET + _MAGIC_AT),),
    unmountable="Linux itself has no driver for ScoutFS, a cluster's file system",
)
