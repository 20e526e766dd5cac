"""JFS, IBM's journaled file system as Linux and OS/2 have it.

Layout: linux/fs/jfs/jfs_superblock.h, ``struct jfs_superblock``; jfs_dmap.h, ``struct dbmap_disk``
https://jfs.sourceforge.net/project/pub/jfslayout.pdf
"""

from functools import partial
from typing import Any

from construct import Bytes, Const, Int8sl, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import (
    Format,
    Identity,
    Json,
    KernelMount,
    Membership,
    NotThisFormat,
    Signature,
    Usage,
)
from pyimount.formats.allocation import PIECE, Allocation, Reader, Space
from pyimount.formats.declarations import USER
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names, text, unix_time, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = b"JFS1"
SUPERBLOCK = layout(
    lambda: Struct(
        "s_magic" / Const(MAGIC),
        "s_version" / Int32ul,
        "s_size" / Int64ul,
        "s_bsize" / Int32ul,
        "s_l2bsize" / Int16ul,
        "s_l2bfactor" / Int16ul,
        "s_pbsize" / Int32ul,
        "s_l2pbsize" / Int16ul,
        "pad" / Int16ul,
        "s_agsize" / Int32ul,
        "s_flag" / Int32ul,
        "s_state" / Int32ul,
        "s_compress" / Int32ul,
        "s_ait2" / Bytes(8),
        "s_aim2" / Bytes(8),
        "s_logdev" / Int32ul,
        "s_logserial" / Int32ul,
        "s_logpxd" / Bytes(8),
        "s_fsckpxd" / Bytes(8),
        "s_time_sec" / Int32ul,
        "s_time_nsec" / Int32ul,
        "s_fsckloglen" / Int32ul,
        "s_fscklog" / Int8sl,
        "s_fpack" / Bytes(11),
        "s_xsize" / Int64ul,
        "s_xfsckpxd" / Bytes(8),
        "s_xlogpxd" / Bytes(8),
        "s_uuid" / Bytes(16),
        "s_label" / Bytes(16),
        "s_loguuid" / Bytes(16),
    )
)
BLOCK_MAP = layout(lambda: Struct("dn_mapsize" / Int64ul, "dn_nfree" / Int64ul))
PRIMARY, SECONDARY = 0x8000, 0xF000
BLOCK_MAP_AT = 0x10000

MAP_PAGE, MAP_BLOCKS, PERMANENT_MAP_AT = 4096, 8192, 3072
"""Bytes in a page of the block map, blocks that it tells of, and where in it the map on the disk stands."""

INLINELOG = 0x800
FLAGS = {
    0x1: "unicode",
    0x2: "err_remount_ro",
    0x4: "err_continue",
    0x8: "err_panic",
    0x10: "usrquota",
    0x20: "grpquota",
    0x40: "nointegrity",
    0x80: "discard",
    0x100: "groupcommit",
    0x200: "lazycommit",
    0x400: "tmpfs",
    INLINELOG: "inlinelog",
    0x1000: "inlinemove",
    0x10000: "bad_sait",
    0x20000: "sparse",
    0x40000: "dasd_enabled",
    0x80000: "dasd_prime",
    0x100000: "swap_bytes",
    0x200000: "dir_index",
    0x10000000: "linux",
    0x20000000: "dfs",
    0x40000000: "os2",
    0x80000000: "aix",
}
STATES = {0x1: "mounted", 0x2: "dirty", 0x4: "log redo failed", 0x8: "extending"}
_DIRTY, _LOGREDO = 0x2, 0x4


def parse(view: View) -> Identity:
    """The identity of a JFS file system, from the secondary superblock if the primary is unusable."""
    try:
        return _identity(view, PRIMARY, ())
    except (NotThisFormat, ShortRead):
        message = f"the superblock at {PRIMARY} is unusable; the facts come from the copy at {SECONDARY}"
        return _identity(view, SECONDARY, (Problem(Code.BACKUP_USED, message),))


def _identity(view: View, offset: int, problems: tuple[Problem, ...]) -> Identity:
    sb = read_struct(view, SUPERBLOCK, offset)
    _plausible(sb)
    log_length, log_start = _extent(sb.s_logpxd)
    fsck_length, fsck_start = _extent(sb.s_fsckpxd)
    details: dict[str, Json] = {
        "superblock_version": sb.s_version,
        "blocks": sb.s_size >> sb.s_l2bfactor,
        "physical_block_size": sb.s_pbsize,
        "allocation_group_blocks": sb.s_agsize,
        "flags": [*flag_names(sb.s_flag, FLAGS, "flag")],
        "state": [*flag_names(sb.s_state, STATES, "state")],
        "compress": sb.s_compress,
        "log_start_block": log_start,
        "log_blocks": log_length,
        "log_serial": sb.s_logserial,
        "fsck_start_block": fsck_start,
        "fsck_blocks": fsck_length,
        "volume_name": text(sb.s_fpack),
    }
    uuid, log, group = uuid_text(sb.s_uuid), uuid_text(sb.s_loguuid), None
    if not sb.s_flag & INLINELOG:
        details["log_device"] = sb.s_logdev
        details["log_uuid"] = log
        if log is not None:
            group = Membership(type="jfs_log", uuid=log, role=USER, members=2, identity=uuid)
    # Log and fsck's work space lie behind what s_size counts, the log last.
    ends = [sb.s_size >> sb.s_l2bfactor, fsck_start + fsck_length]
    if sb.s_flag & INLINELOG:
        ends.append(log_start + log_length)
    return Identity(
        type="jfs",
        fstype="jfs",
        label=text(sb.s_label),
        uuid=uuid,
        group=group,
        block_size=sb.s_bsize,
        fs_size=max(ends) * sb.s_bsize,
        free=_free(view, sb) if _state(sb.s_state) == "clean" else None,
        free_from="block map",
        modified=unix_time(sb.s_time_sec, sb.s_time_nsec),
        state=_state(sb.s_state),
        offset=offset,
        details=details,
        problems=problems,
        allocation=Allocation(view, partial(_count, sb)),
    )


def _plausible(sb: Any) -> None:
    plausible = (
        9 <= sb.s_l2pbsize <= sb.s_l2bsize <= 16
        and sb.s_bsize == 1 << sb.s_l2bsize
        and sb.s_pbsize == 1 << sb.s_l2pbsize
        and sb.s_l2bfactor == sb.s_l2bsize - sb.s_l2pbsize
        and 0 < sb.s_size < 1 << 52
        and sb.s_agsize
    )
    if not plausible:
        raise NotThisFormat("the sizes in the superblock contradict one another")


def _extent(pxd: bytes) -> tuple[int, int]:
    """Length and start of an extent, blocks: 24 bits, then 8 high and 32 low ones."""
    return int.from_bytes(pxd[:3], "little"), pxd[3] << 32 | int.from_bytes(pxd[4:], "little")


def _free(view: View, sb: Any) -> int | None:
    """The bytes free, if the control page of the block map stands where mkfs puts it."""
    try:
        found = read_struct(view, BLOCK_MAP, BLOCK_MAP_AT)
    except (NotThisFormat, ShortRead):
        return None
    if found.dn_mapsize != sb.s_size >> sb.s_l2bfactor or found.dn_nfree > found.dn_mapsize:
        return None
    return int(found.dn_nfree * sb.s_bsize)


def _count(sb: Any, reader: Reader) -> Space:
    """Free bytes: the bits that are clear in the pages of the block map, where mkfs puts them.

    The control page's count is written when it is unmounted; the permanent map before that.
    """
    blocks = sb.s_size >> sb.s_l2bfactor
    maps = -(-blocks // MAP_BLOCKS)
    free = 0
    reader.want(maps * MAP_PAGE, maps * MAP_PAGE // PIECE + 1)
    # Behind the control page and those of three levels; a page of the lowest level for each 1024 maps more,
    # and so on.
    for group in range(0, maps, 1024):
        page = group + (group >> 10) + (group >> 20) + 4
        for piece in reader.pieces(BLOCK_MAP_AT + page * MAP_PAGE, min(1024, maps - group) * MAP_PAGE):
            for at in range(0, len(piece), MAP_PAGE):
                free += _free_in(piece[at : at + MAP_PAGE], blocks)
    return Space(free=free * sb.s_bsize, found="block allocation map")


def _free_in(page: bytes, blocks: int) -> int:
    """The free blocks by a page of the block map, ``struct dmap``."""
    here, start = int.from_bytes(page[:4], "little"), int.from_bytes(page[8:16], "little")
    if start % MAP_BLOCKS or here != min(MAP_BLOCKS, blocks - start):
        raise NotThisFormat("no page of the block map where mkfs puts it")
    # What is behind the last block is set.
    return MAP_BLOCKS - int.from_bytes(page[PERMANENT_MAP_AT:], "little").bit_count()


def _state(state: int) -> str:
    if state & _LOGREDO:
        return "error"
    return "dirty" if state else "clean"


FORMAT = Format(
    name="jfs",
    title="JFS",
    specification="https://jfs.sourceforge.net/project/pub/jfslayout.pdf",
    usage=Usage.FILESYSTEM,
    types=("jfs",),
    parse=parse,
    signatures=(Signature(MAGIC, PRIMARY), Signature(MAGIC, SECONDARY, copy=True)),
    mounts=(KernelMount("jfs", written=(), maintained=False),),
)
