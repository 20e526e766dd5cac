"""BFS of BeOS and Haiku ("BeFS"), in both byte orders.

Layout: Dominic Giampaolo, "Practical File System Design with the Be File System";
linux/fs/befs/befs_fs_types.h
https://www.haiku-os.org/legacy-docs/practical-file-system-design.pdf
"""

from functools import partial
from typing import Any

from construct import Bytes, Int16ub, Int16ul, Int32ub, Int32ul, Int64ub, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, KernelMount, NotThisFormat, Signature, Usage
from pyimount.formats.allocation import Allocation, Reader, Space, ones
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import text, unix_time
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View


def _superblock(u16: Any, u32: Any, u64: Any) -> Any:
    return Struct(
        "name" / Bytes(32),
        "magic1" / u32,
        "fs_byte_order" / u32,
        "block_size" / u32,
        "block_shift" / u32,
        "num_blocks" / u64,
        "used_blocks" / u64,
        "inode_size" / u32,
        "magic2" / u32,
        "blocks_per_ag" / u32,
        "ag_shift" / u32,
        "num_ags" / u32,
        "flags" / u32,
        "log_blocks_group" / u32,
        "log_blocks_start" / u16,
        "log_blocks_len" / u16,
        "log_start" / u64,
        "log_end" / u64,
        "magic3" / u32,
        "root_dir_group" / u32,
        "root_dir_start" / u16,
        "root_dir_len" / u16,
        "indices" / Bytes(8),
    )


def _inode(u32: Any, u64: Any) -> Any:
    return Struct(
        "magic1" / u32,
        "inode_num_to_flags" / Bytes(24),
        "create_time" / u64,
        "last_modified_time" / u64,
        "parent" / Bytes(8),
        "attributes" / Bytes(8),
        "type" / u32,
        "inode_size" / u32,
        "etc" / u32,
        "data_and_pad" / Bytes(144 + 16),
    )


def _small_data(u16: Any, u32: Any) -> Any:
    return Struct("type" / u32, "name_size" / u16, "data_size" / u16)


SUPERBLOCK = layout(lambda: _superblock(Int16ul, Int32ul, Int64ul))
SUPERBLOCK_BE = layout(lambda: _superblock(Int16ub, Int32ub, Int64ub))
INODE = layout(lambda: _inode(Int32ul, Int64ul))
INODE_BE = layout(lambda: _inode(Int32ub, Int64ub))
SMALL_DATA = layout(lambda: _small_data(Int16ul, Int32ul))
SMALL_DATA_BE = layout(lambda: _small_data(Int16ub, Int32ub))
LITTLE, BIG = b"1SFB", b"BFS1"
MAGIC_1, MAGIC_2, MAGIC_3 = 0x42465331, 0xDD121031, 0x15B6830E
INODE_MAGIC = 0x3BBE0AD9
BIGE = 0x42494745
# On Intel a boot sector stands in front.
OFFSETS = (512, 0)
_MAGIC_AT = 32

CLEAN, DIRTY = 0x434C454E, 0x44495254
VOLUME_ID = b"be:volume_id"
UINT64 = 0x554C4C47  # "ULLG"
TIME_SHIFT = 16
"""Times are seconds in so many bits from the lowest; what stands below makes them differ."""


def parse(view: View) -> Identity:
    """The identity of a BeFS volume."""
    for offset in OFFSETS:
        magic = view.peek(offset + _MAGIC_AT, 4)
        if magic in (LITTLE, BIG):
            return _identity(view, offset, big=magic == BIG)
    raise NotThisFormat("no magic")


def _identity(view: View, offset: int, *, big: bool) -> Identity:
    sb = read_struct(view, SUPERBLOCK_BE if big else SUPERBLOCK, offset)
    _plausible(sb)
    problems = []
    uuid = created = None
    try:
        created, uuid = _root(view, sb, big=big)
    except (NotThisFormat, ShortRead) as error:
        problems.append(Problem(Code.DAMAGED, f"the root directory cannot be read: {error}"))
    states = {CLEAN: "clean", DIRTY: "dirty"}
    details: dict[str, Json] = {
        "blocks": sb.num_blocks,
        "used_blocks": sb.used_blocks,
        "inode_size": sb.inode_size,
        "allocation_groups": sb.num_ags,
        "blocks_per_group": 1 << sb.ag_shift,
        "log_blocks": sb.log_blocks_len,
        "log_empty": sb.log_start == sb.log_end,
        "byte_order": "big" if big else "little",
    }
    return Identity(
        type="befs",
        fstype="befs",
        label=text(sb.name),
        uuid=uuid,
        version="big-endian" if big else "little-endian",
        block_size=sb.block_size,
        fs_size=sb.num_blocks * sb.block_size,
        free=(sb.num_blocks - sb.used_blocks) * sb.block_size if sb.flags == CLEAN else None,
        created=created,
        state=states.get(sb.flags),
        offset=offset,
        details=details,
        problems=tuple(problems),
        allocation=Allocation(view, partial(_count, sb, big)),
    )


def _count(sb: Any, big: bool, reader: Reader) -> Space:
    """Free bytes: the blocks whose bit is clear in the bitmaps, which begin at block 1, group by group."""
    raw = b"".join(reader.pieces(sb.block_size, -(-sb.num_blocks // 32) * 4))
    if big:
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    if not raw[0] & 1:
        raise NotThisFormat("a bitmap in which the superblock's block is free")
    return Space(free=(sb.num_blocks - ones(raw, sb.num_blocks)) * sb.block_size, found="block bitmap")


def _plausible(sb: Any) -> None:
    plausible = (
        (sb.magic1, sb.magic2, sb.magic3, sb.fs_byte_order) == (MAGIC_1, MAGIC_2, MAGIC_3, BIGE)
        and 10 <= sb.block_shift <= 13
        and sb.block_size == 1 << sb.block_shift
        and 0 < sb.inode_size <= sb.block_size
        and sb.ag_shift <= 32
        and sb.used_blocks <= sb.num_blocks
    )
    if not plausible:
        raise NotThisFormat("the figures in the superblock contradict one another")


def _root(view: View, sb: Any, *, big: bool) -> tuple[str | None, str | None]:
    """When the root directory was made, and the volume's number, an attribute that it keeps in its inode."""
    block = (sb.root_dir_group << sb.ag_shift) + sb.root_dir_start
    data = view.read(block << sb.block_shift, sb.inode_size)
    inode = parse_struct(data, INODE_BE if big else INODE)
    if inode.magic1 != INODE_MAGIC:
        raise NotThisFormat(f"no inode in block {block}")
    created = unix_time(inode.create_time >> TIME_SHIFT)
    at = INODE.size
    while at + SMALL_DATA.size < len(data):
        entry = parse_struct(data, SMALL_DATA_BE if big else SMALL_DATA, at)
        if not entry.name_size:
            break
        name = at + SMALL_DATA.size
        value = name + entry.name_size + 3
        at = value + entry.data_size + 1
        named = data[name : name + entry.name_size] == VOLUME_ID
        if named and (entry.type, entry.data_size) == (UINT64, 8) and at <= len(data):
            number = int.from_bytes(data[value : value + 8], "big" if big else "little")
            return created, f"{number:016x}" if number else None
    return created, None


FORMAT = Format(
    name="befs",
    title="BeFS",
    specification="https://www.haiku-os.org/legacy-docs/practical-file-system-design.pdf",
    usage=Usage.FILESYSTEM,
    types=("befs",),
    parse=parse,
    signatures=tuple(Signature(magic, offset + _MAGIC_AT) for offset in OFFSETS for magic in (LITTLE, BIG)),
    mounts=(KernelMount("befs", maintained=False),),
)
