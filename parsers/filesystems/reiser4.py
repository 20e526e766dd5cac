"""Reiser4: the master superblock, and that of disk format 40 behind it.

Layout: reiser4progs, ``reiser4_master_sb_t`` and ``format40_super_t``
https://sourceforge.net/projects/reiser4/
"""

from construct import Bytes, Const, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names, text, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = b"ReIsEr4"
MASTER = layout(
    lambda: Struct(
        "magic" / Bytes(16),
        "disk_plugin_id" / Int16ul,
        "blocksize" / Int16ul,
        "uuid" / Bytes(16),
        "label" / Bytes(16),
        "diskmap" / Int64ul,
    )
)
FORMAT40 = layout(
    lambda: Struct(
        "block_count" / Int64ul,
        "free_blocks" / Int64ul,
        "root_block" / Int64ul,
        "oid" / Int64ul,
        "file_count" / Int64ul,
        "flushes" / Int64ul,
        "mkfs_id" / Int32ul,
        "magic" / Const(b"ReIsEr40FoRmAt\0\0"),
        "tree_height" / Int16ul,
        "formatting_policy" / Int16ul,
        "flags" / Int64ul,
        "version" / Int32ul,
        "node_pid" / Int32ul,
    )
)
OFFSET = 64 << 10

FLAGS = {
    0x1: "large_keys",
    0x2: "unbalanced_volume",
    0x4: "has_data_room",
    0x8: "to_be_removed",
    0x10: "planb_key_alloc",
}


def parse(view: View) -> Identity:
    """The identity of a Reiser4 file system."""
    master = read_struct(view, MASTER, OFFSET)
    block_size = master.blocksize
    if master.magic.rstrip(b"\0") != MAGIC or block_size not in (512, 1024, 2048, 4096, 8192):
        raise NotThisFormat(f"magic {master.magic!r}, block size {block_size}")
    details: dict[str, Json] = {"disk_plugin_id": master.disk_plugin_id}
    problems: tuple[Problem, ...] = ()
    fs_size = free = None
    try:
        sb = read_struct(view, FORMAT40, OFFSET + block_size)
    except (NotThisFormat, ShortRead) as error:
        message = f"there is no superblock of format 40 behind the master's: {error}"
        problems = (Problem(Code.DAMAGED, message),)
    else:
        fs_size, free = sb.block_count * block_size, sb.free_blocks * block_size
        details |= {
            "blocks": sb.block_count,
            "free_blocks": sb.free_blocks,
            "root_block": sb.root_block,
            "files": sb.file_count,
            "flushes": sb.flushes,
            "mkfs_id": sb.mkfs_id,
            "tree_height": sb.tree_height,
            "format40_version": sb.version & 0x7FFFFFFF,
            "needs_fsck": bool(sb.version & UPDATE_BACKUP),
            "node_plugin_id": sb.node_pid,
            "flags": [*flag_names(sb.flags, FLAGS, "flag")],
        }
        if sb.free_blocks > sb.block_count:
            message = f"{sb.free_blocks} blocks free, of {sb.block_count}"
            problems = (Problem(Code.DAMAGED, message),)
    return Identity(
        type="reiser4",
        fstype="reiser4",
        label=text(master.label),
        uuid=uuid_text(master.uuid),
        version="4",
        block_size=block_size,
        fs_size=fs_size,
        free=free,
        offset=OFFSET,
        details=details,
        problems=problems,
    )


UPDATE_BACKUP = 1 << 31
"""Bit of ``version``: set by the kernel when it raised the version, and fsck has to update the backup."""

FORMAT = Format(
    name="reiser4",
    title="Reiser4",
    specification="https://sourceforge.net/projects/reiser4/",
    usage=Usage.FILESYSTEM,
    types=("reiser4",),
    parse=parse,
    signatures=(Signature(MAGIC, OFFSET),),
    unmountable="Linux itself has no driver for Reiser4",
)
