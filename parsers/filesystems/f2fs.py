"""F2FS.

Layout: linux/include/linux/f2fs_fs.h, ``struct f2fs_super_block`` and ``struct f2fs_checkpoint``
https://www.kernel.org/doc/html/latest/filesystems/f2fs.html
"""

import zlib
from typing import Any

from construct import Bytes, Const, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, KernelMount, Membership, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import flag_names, text, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = b"\x10\x20\xf5\xf2"
# Runs of fields of which nothing is told are one Bytes each: every field costs time.
SUPERBLOCK = layout(
    lambda: Struct(
        "magic" / Const(MAGIC),
        "major_ver" / Int16ul,
        "minor_ver" / Int16ul,
        "log_sectorsize" / Int32ul,
        "log_sectors_per_block" / Int32ul,
        "log_blocksize" / Int32ul,
        "log_blocks_per_seg" / Int32ul,
        "segs_per_sec" / Int32ul,
        "secs_per_zone" / Int32ul,
        "checksum_offset" / Int32ul,
        "block_count" / Int64ul,
        "section_count" / Int32ul,
        "segment_count" / Int32ul,
        "segment_count_ckpt" / Int32ul,
        "segment_count_sit" / Int32ul,
        "segment_count_nat" / Int32ul,
        "segment_count_ssa" / Int32ul,
        "segment_count_main" / Int32ul,
        "segment0_blkaddr" / Int32ul,
        "cp_blkaddr" / Int32ul,
        "sit_blkaddr" / Int32ul,
        "nat_blkaddr" / Int32ul,
        "ssa_blkaddr" / Int32ul,
        "main_blkaddr" / Int32ul,
        "root_ino" / Int32ul,
        "node_ino" / Int32ul,
        "meta_ino" / Int32ul,
        "uuid" / Bytes(16),
        "volume_name" / Bytes(512 * 2),
        "extension_count" / Int32ul,
        "extension_list" / Bytes(64 * 8),
        "cp_payload" / Int32ul,
        "version" / Bytes(256),
        "init_version" / Bytes(256),
        "feature" / Int32ul,
        "encryption_level" / Int8ul,
        "encrypt_pw_salt" / Bytes(16),
        "devs" / Bytes(8 * 68),
        "qf_ino" / Bytes(3 * 4),
        "hot_ext_count" / Int8ul,
        "s_encoding" / Int16ul,
        "s_encoding_flags" / Int16ul,
        "s_stop_reason" / Bytes(32),
        "s_errors" / Bytes(16),
        "reserved" / Bytes(258),
        "crc" / Int32ul,
    )
)
CHECKPOINT = layout(
    lambda: Struct(
        "checkpoint_ver" / Int64ul,
        "user_block_count" / Int64ul,
        "valid_block_count" / Int64ul,
        "rsvd_segment_count" / Int32ul,
        "overprov_segment_count" / Int32ul,
        "free_segment_count" / Int32ul,
        "cur_node_segno" / Bytes(8 * 4),
        "cur_node_blkoff" / Bytes(8 * 2),
        "cur_data_segno" / Bytes(8 * 4),
        "cur_data_blkoff" / Bytes(8 * 2),
        "ckpt_flags" / Int32ul,
        "cp_pack_total_block_count" / Int32ul,
        "cp_pack_start_sum" / Int32ul,
        "valid_node_count" / Int32ul,
        "valid_inode_count" / Int32ul,
        "next_free_nid" / Int32ul,
        "sit_ver_bitmap_bytesize" / Int32ul,
        "nat_ver_bitmap_bytesize" / Int32ul,
        "checksum_offset" / Int32ul,
        "elapsed_time" / Int64ul,
    )
)
# One in each of the first two blocks.
OFFSETS = (1024, 4096 + 1024)

FEATURES = {
    0x1: "encryption",
    0x2: "blkzoned",
    0x4: "atomic_write",
    0x8: "extra_attr",
    0x10: "project_quota",
    0x20: "inode_checksum",
    0x40: "flexible_inline_xattr",
    0x80: "quota_ino",
    0x100: "inode_crtime",
    0x200: "lost_found",
    0x400: "verity",
    0x800: "sb_checksum",
    0x1000: "casefold",
    0x2000: "compression",
    0x4000: "ro",
    0x8000: "device_alias",
    0x10000: "packed_ssa",
}
SB_CHKSUM = 0x800
CP_UMOUNT, CP_ERROR = 0x1, 0x8
CHECKPOINT_FLAGS = {
    0x1: "unmount",
    0x2: "orphan_inodes",
    0x4: "compacted_summary",
    0x8: "error",
    0x10: "fsck",
    0x20: "fastboot",
    0x40: "crc",
    0x80: "nat_bits",
    0x100: "trimmed",
    0x200: "nocrc_recovery",
    0x400: "large_nat_bitmap",
    0x800: "quota_need_fsck",
    0x1000: "disabled",
    0x2000: "quota_need_flush",
    0x4000: "resizefs",
}


def parse(view: View) -> Identity:
    """The identity of an F2FS file system, from the second superblock if the first is unusable."""
    first, second = OFFSETS
    try:
        identity = _identity(view, first)
    except (NotThisFormat, ShortRead):
        message = f"the superblock at {first} is unusable; the facts come from the copy at {second}"
        return _identity(view, second, Problem(Code.BACKUP_USED, message))
    return identity


def _identity(view: View, offset: int, *problems_so_far: Problem) -> Identity:
    sb = read_struct(view, SUPERBLOCK, offset)
    version = f"{sb.major_ver}.{sb.minor_ver}"
    if (sb.major_ver, sb.minor_ver) == (1, 0):
        # Only the magic of this first version stands at a known place: as libblkid has it.
        return Identity(type="f2fs", fstype="f2fs", offset=offset, problems=problems_so_far)
    problems = list(problems_so_far)
    block_size = _block_size(sb)
    checked = False
    if sb.feature & SB_CHKSUM and sb.checksum_offset == SUPERBLOCK.size - 4:
        checked = _crc(view.read(offset, sb.checksum_offset)) == sb.crc
        if not checked:
            message = f"the checksum of the superblock at {offset} does not match"
            problems.append(Problem(Code.BAD_CHECKSUM, message))
    checkpoint = _newest_checkpoint(view, sb, block_size)
    free = used = state = None
    details = _details(sb)
    if checkpoint is None:
        problems.append(Problem(Code.DAMAGED, "neither of the two checkpoints is valid"))
    else:
        used = checkpoint.valid_block_count * block_size
        free = max(0, checkpoint.user_block_count - checkpoint.valid_block_count) * block_size
        if checkpoint.ckpt_flags & CP_ERROR:
            state = "error"
        else:
            state = "clean" if checkpoint.ckpt_flags & CP_UMOUNT else "dirty"
        details["checkpoint"] = {
            "version": checkpoint.checkpoint_ver,
            "flags": [*flag_names(checkpoint.ckpt_flags, CHECKPOINT_FLAGS, "flag")],
            "user_blocks": checkpoint.user_block_count,
            "valid_blocks": checkpoint.valid_block_count,
            "free_segments": checkpoint.free_segment_count,
            "overprovision_segments": checkpoint.overprov_segment_count,
            "reserved_segments": checkpoint.rsvd_segment_count,
            "inodes": checkpoint.valid_inode_count,
            "mounted_seconds": checkpoint.elapsed_time,
        }
    group = _group(sb, block_size, checkpoint)
    return Identity(
        type="f2fs",
        fstype="f2fs",
        label=text(sb.volume_name, "utf-16-le"),
        uuid=uuid_text(sb.uuid),
        version=version,
        block_size=block_size,
        fs_size=sb.block_count * block_size if group is None else _first_size(sb, block_size),
        free=free if group is None else None,
        used=used if group is None else None,
        free_from="checkpoint",
        free_unknown="it is that of all devices together" if group else None,
        state=state,
        group=group,
        offset=offset,
        checked=checked,
        details=details,
        problems=tuple(problems),
    )


def _group(sb: Any, block_size: int, checkpoint: Any) -> Membership | None:
    """The membership of the first of several devices: only that has superblocks, which name the others."""
    segments, uuid = _device_segments(sb), uuid_text(sb.uuid)
    if len(segments) < 2 or uuid is None:
        return None
    segment = block_size << sb.log_blocks_per_seg
    return Membership(
        type="f2fs",
        uuid=uuid,
        name=text(sb.volume_name, "utf-16-le"),
        role="0",
        members=len(segments),
        identity=f"{uuid}/0",
        as_of=() if checkpoint is None else (checkpoint.checkpoint_ver,),
        # Of what is left over at the end of a device less than a segment stays unused.
        unmarked={
            str(number): (count * segment, (count + 1) * segment - 1)
            for number, count in enumerate(segments[1:], 1)
        },
    )


def _first_size(sb: Any, block_size: int) -> int:
    """Bytes of the first of several devices; its segments begin behind the superblocks."""
    return int(sb.segment0_blkaddr + (_device_segments(sb)[0] << sb.log_blocks_per_seg)) * block_size


def _device_segments(sb: Any) -> list[int]:
    """How many segments each of several devices has; f2fs_scan_devices in fs/f2fs/super.c."""
    return [each for _, each in _devices(sb)]


def _devices(sb: Any) -> list[tuple[str, int]]:
    return [
        (path, int.from_bytes(sb.devs[at + 64 : at + 68], "little"))
        for at in range(0, 8 * 68, 68)
        if (path := text(sb.devs[at : at + 64]))
    ]


def _block_size(sb: Any) -> int:
    """The block size in bytes, if the superblock's figures can be true together."""
    plausible = (
        9 <= sb.log_sectorsize <= 16
        and 12 <= sb.log_blocksize <= 16
        and sb.log_sectorsize + sb.log_sectors_per_block == sb.log_blocksize
        and sb.log_blocks_per_seg == 9
        and 0 < sb.segment_count_main <= sb.segment_count
        and sb.segment_count << sb.log_blocks_per_seg <= sb.block_count
        and sb.segment0_blkaddr <= sb.cp_blkaddr < sb.main_blkaddr < sb.block_count
    )
    if not plausible:
        raise NotThisFormat("the sizes in the superblock contradict one another")
    return 1 << int(sb.log_blocksize)


def _crc(data: bytes) -> int:
    """CRC-32 as F2FS has it: it starts from the magic, and is not inverted."""
    return zlib.crc32(data, 0xF2F52010 ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def _newest_checkpoint(view: View, sb: Any, block_size: int) -> Any:
    """The checkpoint that counts: of the two packs the one written last, both of whose ends are whole."""
    found = []
    for number in (0, 1):
        start = sb.cp_blkaddr + (number << sb.log_blocks_per_seg)
        head = _checkpoint(view, start, block_size)
        if head is not None and 1 < head.cp_pack_total_block_count <= 1 << sb.log_blocks_per_seg:
            found.append((start, head))
    for start, head in sorted(found, key=lambda pack: -pack[1].checkpoint_ver):
        tail = _checkpoint(view, start + head.cp_pack_total_block_count - 1, block_size)
        if tail is not None and tail.checkpoint_ver == head.checkpoint_ver:
            return head
    return None


def _checkpoint(view: View, block: int, block_size: int) -> Any:
    try:
        data = view.read(block * block_size, block_size)
    except ShortRead:
        return None
    checkpoint = parse_struct(data, CHECKPOINT)
    at = checkpoint.checksum_offset
    if not CHECKPOINT.size <= at <= block_size - 4:
        return None
    return checkpoint if _crc(data[:at]) == int.from_bytes(data[at : at + 4], "little") else None


def _details(sb: Any) -> dict[str, Json]:
    devices: list[Json] = [{"path": path, "segments": segments} for path, segments in _devices(sb)]
    details: dict[str, Json] = {
        "features": [*flag_names(sb.feature, FEATURES, "feature")],
        "sector_size": 1 << sb.log_sectorsize,
        "blocks": sb.block_count,
        "segments": sb.segment_count,
        "main_segments": sb.segment_count_main,
        "sections": sb.section_count,
        "segments_per_section": sb.segs_per_sec,
        "sections_per_zone": sb.secs_per_zone,
        "kernel": text(sb.version),
        "made_by_kernel": text(sb.init_version),
    }
    if devices:
        details["devices"] = devices
    return details


FORMAT = Format(
    name="f2fs",
    title="F2FS",
    specification="https://www.kernel.org/doc/html/latest/filesystems/f2fs.html",
    usage=Usage.FILESYSTEM,
    types=("f2fs",),
    parse=parse,
    signatures=(Signature(MAGIC, OFFSETS[0]), Signature(MAGIC, OFFSETS[1], copy=True)),
    mounts=(KernelMount("f2fs", ("norecovery",), written=()),),
)
