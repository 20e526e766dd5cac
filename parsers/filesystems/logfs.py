"""LogFS, a file system for flash chips that Linux 2.6.34 to 4.9 had.

Layout: Linux 4.9, fs/logfs/logfs_abi.h, ``struct logfs_disk_super``
https://github.com/torvalds/linux/blob/v4.9/fs/logfs/logfs_abi.h
"""

import zlib
from typing import Any

from construct import Array, Bytes, Const, Int8ub, Int16ub, Int32ub, Int64ub, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, parse_struct
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = bytes.fromhex("7a3a8e5cb9d5bf67")
SUPERBLOCK = layout(
    lambda: Struct(
        "crc" / Int32ub,
        "pad" / Int16ub,
        "type" / Int8ub,
        "level" / Int8ub,
        "segno" / Int32ub,
        "ec" / Int32ub,
        "gec" / Int64ub,
        "ds_magic" / Const(MAGIC),
        "ds_crc" / Int32ub,
        "ds_ifile_levels" / Int8ub,
        "ds_iblock_levels" / Int8ub,
        "ds_data_levels" / Int8ub,
        "ds_segment_shift" / Int8ub,
        "ds_block_shift" / Int8ub,
        "ds_write_shift" / Int8ub,
        "pad0" / Bytes(6),
        "ds_filesystem_size" / Int64ub,
        "ds_segment_size" / Int32ub,
        "ds_bad_seg_reserve" / Int32ub,
        "ds_feature_incompat" / Int64ub,
        "ds_feature_ro_compat" / Int64ub,
        "ds_feature_compat" / Int64ub,
        "ds_feature_flags" / Int64ub,
        "ds_root_reserve" / Int64ub,
        "ds_speed_reserve" / Int64ub,
        "ds_journal_seg" / Array(16, Int32ub),
        "ds_super_ofs" / Array(2, Int64ub),
        "pad3" / Bytes(64),
    )
)
MAGIC_AT = 24
SEGMENT_HEADER = (4, 24)
REST = (36, 256)
"""What each of the two checksums covers."""
SUPER_AREA = 4096
"""The second superblock lies in the last 4 KiB of the device."""
SEG_SUPER = 0x01


def checksum(data: bytes) -> int:
    """CRC-32 without the final inversion."""
    return zlib.crc32(data) ^ 0xFFFFFFFF


def parse(view: View) -> Identity:
    """The identity of a LogFS, from the second superblock if need be."""
    why = "there is none"
    for offset in (0, view.size // SUPER_AREA * SUPER_AREA - SUPER_AREA):
        if view.glance(offset + MAGIC_AT, len(MAGIC)) != MAGIC:
            continue
        try:
            found = _identity(view, offset)
        except (NotThisFormat, ShortRead) as error:
            why = str(error)
            continue
        if offset == 0:
            return found
        message = f"the superblock at 0 is unusable: {why}; the facts come from the one at {offset}"
        return found.replaced(problems=(Problem(Code.BACKUP_USED, message), *found.problems))
    raise NotThisFormat(why)


def _identity(view: View, offset: int) -> Identity:
    raw = view.read(offset, SUPERBLOCK.size)
    sb = parse_struct(raw, SUPERBLOCK)
    _plausible(sb)
    checked = checksum(raw[slice(*SEGMENT_HEADER)]) == sb.crc and checksum(raw[slice(*REST)]) == sb.ds_crc
    problems = []
    if not checked:
        message = f"a checksum of the superblock at {offset} does not match"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
    details: dict[str, Json] = {
        "segment_size": 1 << sb.ds_segment_shift,
        "write_size": 1 << sb.ds_write_shift,
        "ifile_levels": sb.ds_ifile_levels,
        "iblock_levels": sb.ds_iblock_levels,
        "data_levels": sb.ds_data_levels,
        "bad_segment_reserve": sb.ds_bad_seg_reserve,
        "root_reserve": sb.ds_root_reserve,
        "speed_reserve": sb.ds_speed_reserve,
        "feature_incompat": sb.ds_feature_incompat,
        "feature_ro_compat": sb.ds_feature_ro_compat,
        "feature_compat": sb.ds_feature_compat,
        "feature_flags": sb.ds_feature_flags,
        "journal_segments": [segment for segment in sb.ds_journal_seg if segment],
        "erase_count": sb.ec,
    }
    return Identity(
        type="logfs",
        fstype="logfs",
        free_unknown="a log: only reading all of its segments tells",
        block_size=1 << sb.ds_block_shift,
        fs_size=sb.ds_filesystem_size,
        offset=offset,
        checked=checked,
        details=details,
        problems=tuple(problems),
    )


def _plausible(sb: Any) -> None:
    if sb.type != SEG_SUPER or sb.pad or any(sb.pad0):
        raise NotThisFormat(f"a segment of type {sb.type}")
    if not 9 <= sb.ds_block_shift <= sb.ds_segment_shift <= 31 or sb.ds_write_shift > sb.ds_segment_shift:
        raise NotThisFormat(f"blocks of 2**{sb.ds_block_shift} in segments of 2**{sb.ds_segment_shift} bytes")
    if not 1 << sb.ds_segment_shift <= sb.ds_filesystem_size < 1 << 63:
        raise NotThisFormat(f"{sb.ds_filesystem_size} bytes")


FORMAT = Format(
    name="logfs",
    title="LogFS",
    specification="https://github.com/torvalds/linux/blob/v4.9/fs/logfs/logfs_abi.h",
    usage=Usage.FILESYSTEM,
    types=("logfs",),
    parse=parse,
    signatures=(
        Signature(MAGIC, MAGIC_AT),
        Signature(MAGIC, MAGIC_AT - SUPER_AREA, align=SUPER_AREA, copy=True),
    ),
    unmountable="Linux has had no driver for LogFS since 4.10",
)
