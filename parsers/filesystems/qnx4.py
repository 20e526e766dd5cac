"""QNX 4.

Layout: linux/include/uapi/linux/qnx4_fs.h, ``struct qnx4_super_block``
https://github.com/torvalds/linux/blob/master/include/uapi/linux/qnx4_fs.h

Its superblock is four inode entries: the root directory's, which is called "/", and those of three files.
"""

from functools import partial
from stat import S_ISDIR
from typing import Any

from construct import Bytes, Int8ul, Int16ul, Int32ul, Struct

from pyimount.formats import (
    FileReader,
    Format,
    Identity,
    Json,
    KernelMount,
    NotThisFormat,
    Signature,
    TableRule,
    Usage,
)
from pyimount.formats.allocation import Allocation, Reader, Space, count_ones
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import flag_names, text, unix_time
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

INODE_ENTRY = layout(
    lambda: Struct(
        "di_fname" / Bytes(16),
        "di_size" / Int32ul,
        "xtnt_blk" / Int32ul,
        "xtnt_size" / Int32ul,
        "di_xblk" / Int32ul,
        "di_ftime" / Int32ul,
        "di_mtime" / Int32ul,
        "di_atime" / Int32ul,
        "di_ctime" / Int32ul,
        "di_num_xtnts" / Int16ul,
        "di_mode" / Int16ul,
        "di_uid" / Int16ul,
        "di_gid" / Int16ul,
        "di_nlink" / Int16ul,
        "di_zero" / Bytes(4),
        "di_type" / Int8ul,
        "di_status" / Int8ul,
    )
)
BLOCK = 512
PLACE = BLOCK
ENTRIES = ("RootDir", "Inode", "Boot", "AltBoot")
ROOT_NAME = b"/".ljust(16, b"\0")
BITMAP_NAME = b".bitmap"
STATUS = {0x01: "used", 0x02: "modified", 0x04: "busy", 0x08: "link", 0x10: "inode_entry", 0x20: "fsys"}
USED = 0x01
ROOT_BLOCKS_CAP = 64
"""So many blocks of the root directory are searched for the bitmap's entry."""


def parse(view: View) -> Identity:
    """The identity of a QNX 4 file system."""
    raw = view.read(PLACE, INODE_ENTRY.size * len(ENTRIES))
    entries = {
        name: parse_struct(raw, INODE_ENTRY, number * INODE_ENTRY.size) for number, name in enumerate(ENTRIES)
    }
    root = entries["RootDir"]
    _plausible(root)
    problems = []
    details: dict[str, Json] = {
        "root_blocks": root.xtnt_size,
        "root_status": [*flag_names(root.di_status, STATUS, "status")],
        "boot_size": entries["Boot"].di_size,
        "alternate_boot_size": entries["AltBoot"].di_size,
        "bitmap_size": None,
    }
    fs_size = allocation = None
    bitmap = _bitmap(view, root)
    if bitmap is None:
        problems.append(Problem(Code.DAMAGED, "the root directory has no entry for the bitmap"))
    else:
        details["bitmap_size"] = bitmap.di_size
        fs_size = bitmap.di_size * 8 * BLOCK
        # The bitmap is of whole bytes: up to seven of its blocks are not there.
        if 0 <= fs_size - view.size < 8 * BLOCK:
            fs_size = view.size // BLOCK * BLOCK
        allocation = Allocation(view, partial(_count, bitmap, fs_size // BLOCK))
    return Identity(
        type="qnx4",
        fstype="qnx4",
        fs_size=fs_size,
        created=unix_time(root.di_ftime),
        modified=unix_time(root.di_mtime),
        offset=PLACE,
        details=details,
        problems=tuple(problems),
        allocation=allocation,
    )


def _plausible(root: Any) -> None:
    if root.di_fname != ROOT_NAME or not S_ISDIR(root.di_mode) or not root.di_status & USED:
        raise NotThisFormat(f"a root directory with mode {root.di_mode:#o} and status {root.di_status:#x}")
    # It begins behind the superblock; blocks are counted from 1.
    if root.xtnt_blk < 3 or root.xtnt_size == 0 or not 0 < root.di_num_xtnts < 256 or any(root.di_zero):
        raise NotThisFormat(f"a root directory of {root.xtnt_size} blocks from {root.xtnt_blk}")
    if root.di_size == 0 or root.di_size % BLOCK or root.di_nlink == 0:
        raise NotThisFormat(f"a root directory of {root.di_size} bytes, with {root.di_nlink} links")


def _bitmap(view: View, root: Any) -> Any:
    """The entry of ``.bitmap`` in the root directory's first extent; None where there is none."""
    start, blocks = (root.xtnt_blk - 1) * BLOCK, min(root.xtnt_size, ROOT_BLOCKS_CAP)
    raw = view.glance(start, blocks * BLOCK)
    for at in range(0, len(raw) - INODE_ENTRY.size + 1, INODE_ENTRY.size):
        if raw.startswith(BITMAP_NAME, at):
            entry = parse_struct(raw, INODE_ENTRY, at)
            if text(entry.di_fname) == BITMAP_NAME.decode() and entry.di_size and entry.xtnt_blk:
                return entry
    return None


def _count(bitmap: Any, blocks: int, reader: Reader) -> Space:
    """Free bytes: a block's bit is clear while it is free."""
    size = bitmap.di_size
    if bitmap.xtnt_size * BLOCK < size:
        raise NotThisFormat("a bitmap in several extents")
    used = count_ones(reader.pieces((bitmap.xtnt_blk - 1) * BLOCK, size), blocks)
    return Space(free=(blocks - used) * BLOCK, found="bitmap")


FORMAT = Format(
    name="qnx4",
    title="QNX 4",
    specification="https://github.com/torvalds/linux/blob/master/include/uapi/linux/qnx4_fs.h",
    usage=Usage.FILESYSTEM,
    types=("qnx4",),
    parse=parse,
    signatures=(Signature(ROOT_NAME, PLACE),),
    with_table=TableRule.HIDES,
    mounts=(KernelMount("qnx4"),),
    files=(FileReader("dissect", "dissect.qnxfs", "dissect.qnxfs"),),
)
