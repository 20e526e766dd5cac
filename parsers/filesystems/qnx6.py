"""QNX 6, in both byte orders, and its variant in Audi's MMI.

Layout: linux/include/linux/qnx6_fs.h, ``struct qnx6_super_block`` and ``struct qnx6_mmi_super_block``
https://docs.kernel.org/filesystems/qnx6.html
"""

import zlib
from collections.abc import Iterator
from typing import Any

from construct import Bytes, Int8ul, Int16ub, Int16ul, Int32ub, Int32ul, Int64ub, Int64ul, Struct

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
from pyimount.formats.layouts import Layout, layout, parse_struct
from pyimount.formats.notation import unix_time, uuid_text
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.view import View


def _root_node(u64: Any) -> Any:
    return Struct("size" / u64, "ptr" / Bytes(64), "levels" / Int8ul, "mode" / Int8ul, "spare" / Bytes(6))


def _superblock(u16: Any, u32: Any, u64: Any) -> Any:
    return Struct(
        "sb_magic" / u32,
        "sb_checksum" / u32,
        "sb_serial" / u64,
        "sb_ctime" / u32,
        "sb_atime" / u32,
        "sb_flags" / u32,
        "sb_version1" / u16,
        "sb_version2" / u16,
        "sb_volumeid" / Bytes(16),
        "sb_blocksize" / u32,
        "sb_num_inodes" / u32,
        "sb_free_inodes" / u32,
        "sb_num_blocks" / u32,
        "sb_free_blocks" / u32,
        "sb_allocgroup" / u32,
        "Inode" / _root_node(u64),
        "Bitmap" / Bytes(80),
        "Longfile" / _root_node(u64),
        "Unknown" / Bytes(80),
    )


def _mmi_superblock(u32: Any, u64: Any) -> Any:
    return Struct(
        "sb_magic" / u32,
        "sb_checksum" / u32,
        "sb_serial" / u64,
        "sb_spare0" / Bytes(12),
        "sb_id" / Bytes(12),
        "sb_blocksize" / u32,
        "sb_num_inodes" / u32,
        "sb_free_inodes" / u32,
        "sb_num_blocks" / u32,
        "sb_free_blocks" / u32,
        "sb_spare1" / Bytes(4),
        "Inode" / _root_node(u64),
        "Bitmap" / Bytes(80),
        "Longfile" / _root_node(u64),
        "Unknown" / Bytes(80),
    )


SUPERBLOCK = {
    "little": layout(lambda: _superblock(Int16ul, Int32ul, Int64ul)),
    "big": layout(lambda: _superblock(Int16ub, Int32ub, Int64ub)),
}
MMI_SUPERBLOCK = {
    "little": layout(lambda: _mmi_superblock(Int32ul, Int64ul)),
    "big": layout(lambda: _mmi_superblock(Int32ub, Int64ub)),
}
MAGICS = {b"\x22\x11\x19\x68": "little", b"\x68\x19\x11\x22": "big"}
SUPERBLOCK_SIZE = 512
SUPERBLOCK_AREA = 0x1000
"""Bytes that are kept for each of the two superblocks: one before all blocks, one behind."""
BOOT_BLOCKS = (0x2000, 0)
"""Bytes in front of the first superblock; there need not be any."""
BLOCK_SIZES = (512, 1024, 2048, 4096)
MAX_LEVELS = 5
SUMMED_FROM = 8
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class _Superblock(Record, kw_only=True):
    """One of the two, ``offset`` bytes from the start, in a file system that begins at ``boot``."""

    offset: int
    boot: int
    order: str
    mmi: bool
    checked: bool
    sb: Any

    @property
    def twin(self) -> int:
        """Where the second superblock lies."""
        blocks: int = self.sb.sb_num_blocks * self.sb.sb_blocksize
        return self.boot + SUPERBLOCK_AREA + blocks


def checksum(data: bytes) -> int:
    """CRC-32 with the highest bit first, from 0 and without inversion."""
    mirrored = zlib.crc32(data.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def parse(view: View) -> Identity:
    """The identity of a QNX 6 file system, by the newer of its two superblocks."""
    first = next(_read(view, BOOT_BLOCKS), None)
    if first is None or not first.checked:
        second = next((copy for copy in _read(view, _ends(view)) if copy.checked), None)
        if second is not None:
            message = f"the first superblock is unusable; the facts come from the one at {second.offset}"
            return _identity(second, None, [Problem(Code.BACKUP_USED, message)])
    if first is None:
        raise NotThisFormat("no superblock")
    problems = []
    if not first.checked:
        message = f"the checksum of the superblock at {first.offset} does not match"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
    second = next(_read(view, (first.twin,), first), None)
    if second is None or not second.checked:
        problems.append(Problem(Code.DAMAGED, f"there is no second superblock at {first.twin}"))
        return _identity(first, None, problems)
    newer, older = (second, first) if second.sb.sb_serial > first.sb.sb_serial else (first, second)
    return _identity(newer, older, problems)


def _ends(view: View) -> tuple[int, ...]:
    return (view.size // SUPERBLOCK_AREA * SUPERBLOCK_AREA - SUPERBLOCK_AREA,)


def _read(view: View, offsets: tuple[int, ...], first: _Superblock | None = None) -> Iterator[_Superblock]:
    """The superblocks that are plausible at these places; with ``first``, those of that file system."""
    for offset in offsets:
        raw = view.glance(offset, SUPERBLOCK_SIZE)
        order = MAGICS.get(raw[:4])
        if order is None or len(raw) < SUPERBLOCK_SIZE:
            continue
        for mmi, declared in ((False, SUPERBLOCK[order]), (True, MMI_SUPERBLOCK[order])):
            found = _plausible(raw, offset, declared, order=order, mmi=mmi)
            if found is not None and (first is None or (first.boot, first.mmi) == (found.boot, found.mmi)):
                yield found


def _plausible(raw: bytes, offset: int, declared: Layout, *, order: str, mmi: bool) -> _Superblock | None:
    """The superblock in ``raw`` if its figures can be true together."""
    sb = parse_struct(raw, declared)
    if (
        sb.sb_blocksize not in BLOCK_SIZES
        or sb.sb_num_blocks == 0
        or sb.sb_free_blocks > sb.sb_num_blocks
        or sb.sb_free_inodes > sb.sb_num_inodes
        or max(sb.Inode.levels, sb.Longfile.levels) > MAX_LEVELS
    ):
        return None
    whole = checksum(raw[SUMMED_FROM:]) == sb.sb_checksum
    for boot in (0,) if mmi else BOOT_BLOCKS:
        found = _Superblock(offset=offset, boot=boot, order=order, mmi=mmi, checked=whole, sb=sb)
        if offset in (boot, found.twin):
            return found
    return None


def _identity(chosen: _Superblock, other: _Superblock | None, problems: list[Problem]) -> Identity:
    sb, uuid, version, created = chosen.sb, None, "mmi", None
    details: dict[str, Json] = {
        "variant": "mmi" if chosen.mmi else "qnx6",
        "byte_order": chosen.order,
        "serial": sb.sb_serial,
        "other_serial": other.sb.sb_serial if other else None,
        "blocks": sb.sb_num_blocks,
        "free_blocks": sb.sb_free_blocks,
        "inodes": sb.sb_num_inodes,
        "free_inodes": sb.sb_free_inodes,
        "boot_size": chosen.boot,
    }
    if not chosen.mmi:
        uuid, created = uuid_text(sb.sb_volumeid), unix_time(sb.sb_ctime)
        version = f"{sb.sb_version1}.{sb.sb_version2}"
        details |= {
            "flags": sb.sb_flags,
            "allocation_groups": sb.sb_allocgroup,
            "last_access": unix_time(sb.sb_atime),
        }
    return Identity(
        type="qnx6",
        fstype="qnx6",
        uuid=uuid,
        version=version,
        block_size=sb.sb_blocksize,
        fs_size=chosen.twin + SUPERBLOCK_AREA,
        free=sb.sb_free_blocks * sb.sb_blocksize,
        created=created,
        offset=chosen.offset,
        checked=chosen.checked,
        details=details,
        problems=tuple(problems),
    )


FORMAT = Format(
    name="qnx6",
    title="QNX 6",
    specification="https://docs.kernel.org/filesystems/qnx6.html",
    usage=Usage.FILESYSTEM,
    types=("qnx6",),
    parse=parse,
    signatures=(
        *(Signature(magic, boot) for magic in MAGICS for boot in BOOT_BLOCKS),
        *(Signature(magic, -SUPERBLOCK_AREA, align=SUPERBLOCK_AREA, copy=True) for magic in MAGICS),
    ),
    with_table=TableRule.HIDES,
    mounts=(KernelMount("qnx6", ("mmi_fs",), versions=("mmi",)), KernelMount("qnx6")),
    files=(FileReader("dissect", "dissect.qnxfs", "dissect.qnxfs"),),
)
