"""EROFS.

Layout: linux/fs/erofs/erofs_fs.h, ``struct erofs_super_block``
https://erofs.docs.kernel.org/en/latest/core_ondisk.html
"""

from construct import Bytes, Const, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, KernelMount, NotThisFormat, Signature, Usage
from pyimount.formats.checksums import crc32c
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names, text, unix_time, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = b"\xe2\xe1\xf5\xe0"
SUPERBLOCK = layout(
    lambda: Struct(
        "magic" / Const(MAGIC),
        "checksum" / Int32ul,
        "feature_compat" / Int32ul,
        "blkszbits" / Int8ul,
        "sb_extslots" / Int8ul,
        # The root's number; with the feature 48bit the upper 16 bits of ``blocks`` instead.
        "root_nid_2b" / Int16ul,
        "inos" / Int64ul,
        "epoch" / Int64ul,
        "fixed_nsec" / Int32ul,
        "blocks" / Int32ul,
        "meta_blkaddr" / Int32ul,
        "xattr_blkaddr" / Int32ul,
        "uuid" / Bytes(16),
        "volume_name" / Bytes(16),
        "feature_incompat" / Int32ul,
        "available_compr_algs" / Int16ul,
        "extra_devices" / Int16ul,
        "devt_slotoff" / Int16ul,
        "dirblkbits" / Int8ul,
        "xattr_prefix_count" / Int8ul,
        "xattr_prefix_start" / Int32ul,
        "packed_nid" / Int64ul,
        "reserved" / Bytes(24),
    )
)
OFFSET = 1024

SB_CHKSUM = 0x1
COMPR_CFGS = 0x2
BIT48 = 0x80
COMPAT = {
    0x1: "sb_csum",
    0x2: "mtime",
    0x4: "xattr_filter",
    0x8: "shared_ea_in_metabox",
    0x10: "plain_xattr_pfx",
}
INCOMPAT = {
    0x1: "0padding",
    0x2: "compr_cfgs",
    0x4: "chunked_file",
    0x8: "device_table",
    0x10: "ztailpacking",
    0x20: "fragments",
    0x40: "xattr_prefixes",
    0x80: "48bit",
    0x100: "metabox",
}
ALGORITHMS = {0x1: "lz4", 0x2: "lzma", 0x4: "deflate", 0x8: "zstd"}


def parse(view: View) -> Identity:
    """The identity of an EROFS file system."""
    sb = read_struct(view, SUPERBLOCK, OFFSET)
    if not 9 <= sb.blkszbits <= 16:
        raise NotThisFormat(f"block size 2**{sb.blkszbits}")
    block_size = 1 << sb.blkszbits
    blocks = sb.blocks
    if sb.feature_incompat & BIT48:
        blocks |= sb.root_nid_2b << 32
    problems = []
    checked = False
    if sb.feature_compat & SB_CHKSUM:
        checked = _checksum(view, block_size) == sb.checksum
        if not checked:
            problems.append(Problem(Code.BAD_CHECKSUM, "the checksum of the superblock does not match"))
    elif blocks == 0 or sb.dirblkbits:
        raise NotThisFormat(f"{blocks} blocks")
    return Identity(
        type="erofs",
        fstype="erofs",
        label=text(sb.volume_name),
        uuid=uuid_text(sb.uuid),
        block_size=block_size,
        fs_size=blocks * block_size,
        free=0,
        free_from="a format that is written once",
        created=unix_time(sb.epoch, sb.fixed_nsec if sb.fixed_nsec < 1_000_000_000 else 0),
        offset=OFFSET,
        checked=checked,
        details={
            "features": [
                *flag_names(sb.feature_compat, COMPAT, "compat"),
                *flag_names(sb.feature_incompat, INCOMPAT, "incompat"),
            ],
            "blocks": blocks,
            "inodes": sb.inos,
            "superblock_size": 128 + sb.sb_extslots * 16,
            "compression": [*flag_names(sb.available_compr_algs, ALGORITHMS, "algorithm")]
            if sb.feature_incompat & COMPR_CFGS
            else None,
            "extra_devices": sb.extra_devices,
        },
        problems=tuple(problems),
    )


def _checksum(view: View, block_size: int) -> int | None:
    """CRC-32C from the superblock to its block's end, or over a block where that is smaller."""
    length = block_size - OFFSET if block_size > OFFSET else block_size
    try:
        data = view.read(OFFSET, length)
    except ShortRead:
        return None
    return crc32c(data[:4] + bytes(4) + data[8:])


FORMAT = Format(
    name="erofs",
    title="EROFS",
    specification="https://erofs.docs.kernel.org/en/latest/core_ondisk.html",
    usage=Usage.FILESYSTEM,
    types=("erofs",),
    parse=parse,
    signatures=(Signature(MAGIC, OFFSET),),
    mounts=(KernelMount("erofs"),),
)
