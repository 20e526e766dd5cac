"""ReiserFS, formats 3.5 and 3.6, with the journal inside or on a device of its own ("JR").

Layout: linux/fs/reiserfs/reiserfs.h, ``struct reiserfs_super_block``; before there was a journal,
reiserfsprogs, ``struct reiserfs_super_block_v0``
https://www.kernel.org/doc/html/v6.12/filesystems/index.html
"""

from functools import partial
from typing import Any

from construct import Bytes, Int16ul, Int32ul, Struct

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
from pyimount.formats.allocation import Allocation, Reader, Space, ones
from pyimount.formats.declarations import USER
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names, text, unix_time, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

SUPERBLOCK = layout(
    lambda: Struct(
        "s_block_count" / Int32ul,
        "s_free_blocks" / Int32ul,
        "s_root_block" / Int32ul,
        "jp_journal_1st_block" / Int32ul,
        "jp_journal_dev" / Int32ul,
        "jp_journal_size" / Int32ul,
        "jp_journal_trans_max" / Int32ul,
        "jp_journal_magic" / Int32ul,
        "jp_journal_max_batch_to_jp_journal_max_trans_age" / Bytes(12),
        "s_blocksize" / Int16ul,
        "s_oid_maxsize" / Int16ul,
        "s_oid_cursize" / Int16ul,
        "s_umount_state" / Int16ul,
        "s_magic" / Bytes(10),
        "s_fs_state" / Int16ul,
        "s_hash_function_code" / Int32ul,
        "s_tree_height" / Int16ul,
        "s_bmap_nr" / Int16ul,
        "s_version" / Int16ul,
        "s_reserved_for_journal" / Int16ul,
        "s_inode_generation" / Int32ul,
        "s_flags" / Int32ul,
        "s_uuid" / Bytes(16),
        "s_label" / Bytes(16),
        "s_mnt_count" / Int16ul,
        "s_max_mnt_count" / Int16ul,
        "s_lastcheck" / Int32ul,
        "s_check_interval" / Int32ul,
    )
)
SUPERBLOCK_0 = layout(
    lambda: Struct(
        "s_block_count" / Int32ul,
        "s_free_blocks" / Int32ul,
        "s_root_block" / Int32ul,
        "s_blocksize" / Int16ul,
        "s_oid_maxsize" / Int16ul,
        "s_oid_cursize" / Int16ul,
        "s_umount_state" / Int16ul,
        "s_magic" / Bytes(16),
    )
)
V35, V36, JR = b"ReIsErFs", b"ReIsEr2Fs", b"ReIsEr3Fs"
VERSIONS = {V35: "3.5", V36: "3.6", JR: "JR"}
# Format 3.5 first stood at 8 KiB, where boot loaders leave little room.
OFFSETS = (64 << 10, 8 << 10)
_MAGIC_AT, _MAGIC_AT_0 = 0x34, 20

VALID, ERROR = 1, 2
HASHES = {0: None, 1: "tea", 2: "rupasov", 3: "r5"}
FS_STATES = {0x1: "corruption", 0x2: "fatal corruption", 0x4: "io-error"}
FLAGS = {0x1: "attrs_cleared"}


def parse(view: View) -> Identity:
    """The identity of a ReiserFS file system."""
    for offset in OFFSETS:
        try:
            return _identity(view, offset)
        except (NotThisFormat, ShortRead):
            continue
    return _oldest(view, OFFSETS[1])


def _identity(view: View, offset: int) -> Identity:
    sb = read_struct(view, SUPERBLOCK, offset)
    magic = sb.s_magic.rstrip(b"\0")
    if magic not in VERSIONS:
        raise NotThisFormat(f"no magic at {offset + _MAGIC_AT}")
    block_size = _block_size(sb)
    in_block = offset // block_size
    # The journal may hold copies of the superblock, its magic at the same place of a block.
    journal = range(sb.jp_journal_1st_block, sb.jp_journal_1st_block + sb.jp_journal_size)
    if magic != JR and (in_block in journal or sb.jp_journal_1st_block == 0):
        raise NotThisFormat(f"a superblock inside the journal, which starts at {journal.start}")
    label = uuid = None
    details = _sizes(sb)
    details |= {
        "journal_start_block": sb.jp_journal_1st_block,
        "journal_blocks": sb.jp_journal_size,
        "journal_device": sb.jp_journal_dev,
        "journal_trans_max_blocks": sb.jp_journal_trans_max,
        "hash": HASHES.get(sb.s_hash_function_code, str(sb.s_hash_function_code)),
        "tree_height": sb.s_tree_height,
        "bitmap_blocks": sb.s_bmap_nr,
        # The magic of a journal elsewhere says nothing of the format.
        "format": "3.6" if sb.s_version == 2 else "3.5",
        "fs_state": [*flag_names(sb.s_fs_state, FS_STATES, "state")],
    }
    if magic != V35:
        label, uuid = text(sb.s_label), uuid_text(sb.s_uuid)
        details |= {
            "flags": [*flag_names(sb.s_flags, FLAGS, "flag")],
            "inode_generation": sb.s_inode_generation,
            "mount_count": sb.s_mnt_count,
            "max_mount_count": sb.s_max_mnt_count,
            "last_checked": unix_time(sb.s_lastcheck),
            "check_interval_seconds": sb.s_check_interval,
        }
    group = None
    if magic == JR and not sb.jp_journal_1st_block and uuid is not None:
        # Its journal's device says nothing of itself.
        group = Membership(type="reiserfs", uuid=uuid, role=USER, members=2, identity=uuid)
    return Identity(
        type="reiserfs",
        fstype="reiserfs",
        group=group,
        label=label,
        uuid=uuid,
        version=VERSIONS[magic],
        block_size=block_size,
        fs_size=sb.s_block_count * block_size,
        free=sb.s_free_blocks * block_size if _state(sb) == "clean" else None,
        state="error" if sb.s_fs_state else _state(sb),
        offset=offset,
        details=details,
        problems=_problems(sb),
        allocation=Allocation(view, partial(_count, sb.s_block_count, block_size, in_block)),
    )


def _count(blocks: int, block_size: int, superblock: int, reader: Reader) -> Space:
    """Free bytes: the blocks whose bit is clear. The first bitmap is the block behind the superblock's.

    The others are the first blocks of the runs that they tell of.
    """
    per_bitmap = 8 * block_size
    bitmaps = -(-blocks // per_bitmap)
    reader.want(bitmaps * block_size, bitmaps)
    used = 0
    for number in range(bitmaps):
        block = number * per_bitmap if number else superblock + 1
        raw = reader.read(block * block_size, block_size)
        # A bitmap has itself in use.
        if not raw[block % per_bitmap // 8] >> block % 8 & 1:
            raise NotThisFormat(f"no bitmap in block {block}")
        used += ones(raw, blocks - number * per_bitmap)
    return Space(free=(blocks - used) * block_size, found="bitmaps")


def _oldest(view: View, offset: int) -> Identity:
    """The first releases' superblock, without a journal. libblkid reads it as if it had one."""
    sb = read_struct(view, SUPERBLOCK_0, offset)
    if not sb.s_magic.startswith(V35):
        raise NotThisFormat(f"no magic at {offset + _MAGIC_AT_0}")
    block_size = _block_size(sb)
    return Identity(
        type="reiserfs",
        fstype="reiserfs",
        version="3.5",
        block_size=block_size,
        fs_size=sb.s_block_count * block_size,
        free=sb.s_free_blocks * block_size,
        state=_state(sb),
        offset=offset,
        details={**_sizes(sb), "format": "3.5"},
        problems=_problems(sb),
    )


UNFINISHED = 0xFFFFFFFF
"""The root's block number while reiserfsck rebuilds the tree."""


def _block_size(sb: Any) -> int:
    """The block size in bytes, if the superblock's figures can be true together."""
    size = int(sb.s_blocksize)
    plausible = (
        size >= 512
        and size & (size - 1) == 0
        and sb.s_free_blocks <= sb.s_block_count
        and (sb.s_root_block < sb.s_block_count or sb.s_root_block == UNFINISHED)
        and sb.s_oid_cursize <= sb.s_oid_maxsize <= size // 4
        and sb.s_umount_state in (VALID, ERROR)
    )
    if not plausible:
        raise NotThisFormat("the figures in the superblock contradict one another")
    return size


def _sizes(sb: Any) -> dict[str, Json]:
    return {"blocks": sb.s_block_count, "free_blocks": sb.s_free_blocks, "root_block": sb.s_root_block}


def _state(sb: Any) -> str:
    return "clean" if sb.s_umount_state == VALID else "dirty"


def _problems(sb: Any) -> tuple[Problem, ...]:
    if sb.s_root_block != UNFINISHED:
        return ()
    return (Problem(Code.DAMAGED, "there is no root: a rebuilding of the tree was not finished"),)


FORMAT = Format(
    name="reiserfs",
    title="ReiserFS",
    specification="https://www.kernel.org/doc/html/v6.12/filesystems/index.html",
    usage=Usage.FILESYSTEM,
    types=("reiserfs",),
    parse=parse,
    signatures=(
        *(Signature(magic, offset + _MAGIC_AT) for offset in OFFSETS for magic in VERSIONS),
        Signature(V35, OFFSETS[1] + _MAGIC_AT_0),
    ),
    # It replays whatever it is told, and fails where it cannot write that.
    mounts=(KernelMount("reiserfs", written=(), maintained=False, refuses=("dirty",)),),
)
