"""NILFS2.

Layout: linux/include/uapi/linux/nilfs2_ondisk.h, ``struct nilfs_super_block``
https://www.kernel.org/doc/html/latest/filesystems/nilfs2.html
"""

import zlib
from typing import Any

from construct import Bytes, Const, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, KernelMount, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import flag_names, text, unix_time, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = b"\x34\x34"
SUPERBLOCK = layout(
    lambda: Struct(
        "s_rev_level" / Int32ul,
        "s_minor_rev_level" / Int16ul,
        "s_magic" / Const(MAGIC),
        "s_bytes" / Int16ul,
        "s_flags" / Int16ul,
        "s_crc_seed" / Int32ul,
        "s_sum" / Int32ul,
        "s_log_block_size" / Int32ul,
        "s_nsegments" / Int64ul,
        "s_dev_size" / Int64ul,
        "s_first_data_block" / Int64ul,
        "s_blocks_per_segment" / Int32ul,
        "s_r_segments_percentage" / Int32ul,
        "s_last_cno" / Int64ul,
        "s_last_pseg" / Int64ul,
        "s_last_seq" / Int64ul,
        "s_free_blocks_count" / Int64ul,
        "s_ctime" / Int64ul,
        "s_mtime" / Int64ul,
        "s_wtime" / Int64ul,
        "s_mnt_count" / Int16ul,
        "s_max_mnt_count" / Int16ul,
        "s_state" / Int16ul,
        "s_errors" / Int16ul,
        "s_lastcheck" / Int64ul,
        "s_checkinterval" / Int64ul,
        "s_def_resuid" / Int16ul,
        "s_def_resgid" / Int16ul,
        "s_first_ino" / Int32ul,
        "s_inode_size" / Int16ul,
        "s_dat_entry_size" / Int16ul,
        "s_checkpoint_size" / Int16ul,
        "s_segment_usage_size" / Int16ul,
        "s_uuid" / Bytes(16),
        "s_volume_name" / Bytes(80),
        "s_c_interval" / Int32ul,
        "s_c_block_max" / Int32ul,
        "s_feature_compat" / Int64ul,
        "s_feature_compat_ro" / Int64ul,
        "s_feature_incompat" / Int64ul,
    )
)
OFFSET = 1024
_MAGIC_AT, _SUM_AT = 6, 16
_CAP = 1024
"""The superblock's room, bytes; ``s_bytes`` says how many of them its checksum covers."""
PAGE = 4096
"""The second superblock stands in the last whole one of these, bytes."""

VALID, ERROR, RESIZE = 0x1, 0x2, 0x4
FEATURES_RO = {0x1: "block_count"}


def parse(view: View) -> Identity:
    """The identity of a NILFS2 file system: of its two superblocks the newer that is whole."""
    second_at = view.size // PAGE * PAGE - PAGE
    first, second = _superblock(view, OFFSET), _superblock(view, second_at)
    if first is not None and first[1]:
        # The kernel writes them in turn.
        if second is not None and second[1] and second[0].s_last_cno > first[0].s_last_cno:
            return _identity(second[0], second_at, True, ())
        return _identity(first[0], OFFSET, True, ())
    if second is not None and second[1]:
        message = f"the superblock at {OFFSET} is unusable; the facts come from that at {second_at}"
        return _identity(second[0], second_at, True, (Problem(Code.BACKUP_USED, message),))
    if first is None:
        raise NotThisFormat("no superblock")
    message = f"the checksum of the superblock at {OFFSET} does not match"
    return _identity(first[0], OFFSET, False, (Problem(Code.BAD_CHECKSUM, message),))


def _superblock(view: View, offset: int) -> tuple[Any, bool] | None:
    """A plausible superblock, and whether its checksum matches."""
    try:
        data = view.read(offset, _CAP)
        sb = parse_struct(data, SUPERBLOCK)
    except (NotThisFormat, ShortRead):
        return None
    plausible = (
        sb.s_rev_level == 2
        and SUPERBLOCK.size - 24 <= sb.s_bytes <= _CAP
        and sb.s_log_block_size <= 6
        and sb.s_nsegments
        and sb.s_blocks_per_segment >= 16
        and sb.s_r_segments_percentage <= 100
        and sb.s_inode_size >= 128
        and sb.s_dev_size >> 10 + sb.s_log_block_size >= sb.s_nsegments * sb.s_blocks_per_segment
    )
    if not plausible:
        return None
    covered = data[:_SUM_AT] + bytes(4) + data[_SUM_AT + 4 : sb.s_bytes]
    # The kernel's crc32_le: started from the seed, and not inverted.
    crc = zlib.crc32(covered, sb.s_crc_seed ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    return sb, crc == sb.s_sum


def _identity(sb: Any, offset: int, checked: bool, problems: tuple[Problem, ...]) -> Identity:
    block_size: int = 1024 << sb.s_log_block_size
    return Identity(
        type="nilfs2",
        fstype="nilfs2",
        label=text(sb.s_volume_name),
        uuid=uuid_text(sb.s_uuid),
        version=f"{sb.s_rev_level}",
        block_size=block_size,
        fs_size=sb.s_dev_size,
        free=sb.s_free_blocks_count * block_size,
        created=unix_time(sb.s_ctime),
        modified=unix_time(sb.s_wtime),
        mounted=unix_time(sb.s_mtime),
        state=_state(sb.s_state),
        offset=offset,
        checked=checked,
        details={
            "minor_revision": sb.s_minor_rev_level,
            "segments": sb.s_nsegments,
            "blocks_per_segment": sb.s_blocks_per_segment,
            "first_data_block": sb.s_first_data_block,
            "reserved_segments_percent": sb.s_r_segments_percentage,
            "free_blocks": sb.s_free_blocks_count,
            "last_checkpoint": sb.s_last_cno,
            "last_block_address": sb.s_last_pseg,
            "last_sequence": sb.s_last_seq,
            "mount_count": sb.s_mnt_count,
            "max_mount_count": sb.s_max_mnt_count,
            "last_checked": unix_time(sb.s_lastcheck),
            "inode_size": sb.s_inode_size,
            "commit_interval_seconds": sb.s_c_interval,
            "resize_required": bool(sb.s_state & RESIZE),
            "features": [
                *flag_names(sb.s_feature_compat, {}, "compat"),
                *flag_names(sb.s_feature_compat_ro, FEATURES_RO, "compat_ro"),
                *flag_names(sb.s_feature_incompat, {}, "incompat"),
            ],
        },
        problems=problems,
    )


def _state(state: int) -> str:
    if state & ERROR:
        return "error"
    return "clean" if state & VALID else "dirty"


FORMAT = Format(
    name="nilfs2",
    title="NILFS2",
    specification="https://www.kernel.org/doc/html/latest/filesystems/nilfs2.html",
    usage=Usage.FILESYSTEM,
    types=("nilfs2",),
    parse=parse,
    signatures=(
        Signature(MAGIC, OFFSET + _MAGIC_AT),
        # For a search, which does not trust two bytes: with the revision before them.
        Signature(b"\2\0\0\0\0\0" + MAGIC, OFFSET),
        Signature(MAGIC, _MAGIC_AT - PAGE, align=PAGE, copy=True),
    ),
    mounts=(KernelMount("nilfs2", ("norecovery",), written=()),),
)
