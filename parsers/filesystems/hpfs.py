"""HPFS, the high performance file system of OS/2.

Layout: linux/fs/hpfs/hpfs.h, ``struct hpfs_boot_block``, ``hpfs_super_block`` and ``hpfs_spare_block``
https://github.com/torvalds/linux/blob/master/fs/hpfs/hpfs.h
"""

from functools import partial
from struct import unpack
from typing import Any

from construct import Bytes, Const, Int8ul, Int16ul, Int32ul, Struct

from pyimount.formats import (
    Format,
    Identity,
    Json,
    KernelMount,
    NotThisFormat,
    Signature,
    TableRule,
    Usage,
)
from pyimount.formats.allocation import PIECE, Allocation, Reader, Space, ones
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names, text, unix_time
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

BOOT_BLOCK = layout(
    lambda: Struct(
        "jmp" / Bytes(3),
        "oem_id" / Bytes(8),
        "bytes_per_sector_to_n_hidden_sectors" / Bytes(21),
        "n_sectors_l" / Int32ul,
        "drive_number" / Int8ul,
        "mbz" / Int8ul,
        "sig_28h" / Int8ul,
        "vol_serno" / Int32ul,
        "vol_label" / Bytes(11),
        "sig_hpfs" / Bytes(8),
        "pad" / Bytes(448),
        "magic" / Bytes(2),
    )
)
MAGIC = b"\x49\xe8\x95\xf9"
SUPERBLOCK = layout(
    lambda: Struct(
        "magic" / Const(MAGIC),
        "magic1" / Const(b"\xc5\xe9\x53\xfa"),
        "version" / Int8ul,
        "funcversion" / Int8ul,
        "zero" / Int16ul,
        "root" / Int32ul,
        "n_sectors" / Int32ul,
        "n_badblocks" / Int32ul,
        "bitmaps" / Int32ul,
        "zero1" / Int32ul,
        "badblocks" / Int32ul,
        "zero3" / Int32ul,
        "last_chkdsk" / Int32ul,
        "last_optimize" / Int32ul,
        "n_dir_band" / Int32ul,
        "dir_band_start" / Int32ul,
        "dir_band_end" / Int32ul,
        "dir_band_bitmap" / Int32ul,
    )
)
SPARE = layout(
    lambda: Struct(
        "magic" / Const(b"\x49\x18\x91\xf9"),
        "magic1" / Const(b"\xc5\x29\x52\xfa"),
        "flags" / Int8ul,
        "hpfs386_flags" / Int8ul,
        "mm_contlgulty_and_unused" / Bytes(2),
        "hotfix_map" / Int32ul,
        "n_spares_used" / Int32ul,
        "n_spares" / Int32ul,
        "n_dnode_spares_free" / Int32ul,
        "n_dnode_spares" / Int32ul,
    )
)
SECTOR = 512
BAND, BITMAP = 16384, 2048
"""Sectors in a band, and bytes in its bitmap."""
OFFSET = 16 * SECTOR

DIRTY, BAD = 0x1, 0x8 | 0x10
FLAGS = {
    DIRTY: "dirty",
    0x2: "sparedir_used",
    0x4: "hotfixes_used",
    0x8: "bad_sector",
    0x10: "bad_bitmap",
    0x20: "fast",
    0x40: "old_wrote",
    0x80: "old_wrote_1",
}


def parse(view: View) -> Identity:
    """The identity of an HPFS file system."""
    sb = read_struct(view, SUPERBLOCK, OFFSET)
    spare = read_struct(view, SPARE, OFFSET + SECTOR)
    if sb.n_sectors < 18 or sb.zero or sb.root >= sb.n_sectors:
        raise NotThisFormat(f"{sb.n_sectors} sectors, the root at {sb.root}")
    problems = []
    boot = read_struct(view, BOOT_BLOCK, 0)
    label, uuid = _names(boot)
    if uuid is None:
        message = "there is no boot block, and with it neither label nor serial number"
        problems.append(Problem(Code.DAMAGED, message))
    details: dict[str, Json] = {
        "functional_version": sb.funcversion,
        "sectors": sb.n_sectors,
        "bad_sectors": sb.n_badblocks,
        "root_fnode": sb.root,
        "directory_band_sectors": sb.n_dir_band,
        "last_checked": unix_time(sb.last_chkdsk),
        "last_optimised": unix_time(sb.last_optimize),
        "flags": [*flag_names(spare.flags, FLAGS, "flag")],
        "hpfs386_flags": spare.hpfs386_flags,
        "hotfixes": spare.n_spares,
        "hotfixes_used": spare.n_spares_used,
        "spare_dnodes": spare.n_dnode_spares,
        "spare_dnodes_free": spare.n_dnode_spares_free,
        "oem_id": text(boot.oem_id, "ascii"),
    }
    return Identity(
        type="hpfs",
        fstype="hpfs",
        label=label,
        uuid=uuid,
        version=f"{sb.version}",
        block_size=SECTOR,
        fs_size=sb.n_sectors * SECTOR,
        state=_state(spare.flags),
        offset=OFFSET,
        details=details,
        problems=tuple(problems),
        allocation=Allocation(view, partial(_count, sb)),
    )


def _count(sb: Any, reader: Reader) -> Space:
    """Free bytes: the sectors whose bit is set in the bitmaps of the bands."""
    bands = -(-sb.n_sectors // BAND)
    if 4 * bands > PIECE:
        raise NotThisFormat(f"{bands} bands")
    places = unpack(f"<{bands}I", reader.read(sb.bitmaps * SECTOR, 4 * bands))
    # The bitmaps of two bands lie together, between them.
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][0] + runs[-1][1] * BITMAP // SECTOR:
            runs[-1][1] += 1
        else:
            runs.append([place, 1])
    reader.want(bands * BITMAP, len(runs))
    free, left = 0, sb.n_sectors
    for place, count in runs:
        for piece in reader.pieces(place * SECTOR, count * BITMAP):
            free += ones(piece, max(0, left))
            left -= 8 * len(piece)
    return Space(free=free * SECTOR, found="bitmaps of the bands")


def _names(boot: Any) -> tuple[str | None, str | None]:
    """Label and serial number, where there is a boot block of HPFS."""
    if boot.magic != b"\x55\xaa" or not boot.sig_hpfs.startswith(b"HPFS") or boot.sig_28h != 0x28:
        return None, None
    return text(boot.vol_label), f"{boot.vol_serno >> 16:04X}-{boot.vol_serno & 0xFFFF:04X}"


def _state(flags: int) -> str:
    if flags & BAD:
        return "error"
    return "dirty" if flags & DIRTY else "clean"


FORMAT = Format(
    name="hpfs",
    title="HPFS",
    specification="https://github.com/torvalds/linux/blob/master/fs/hpfs/hpfs.h",
    usage=Usage.FILESYSTEM,
    types=("hpfs",),
    parse=parse,
    signatures=(Signature(MAGIC, OFFSET),),
    with_table=TableRule.HIDES,
    mounts=(KernelMount("hpfs", maintained=False, owner=("uid", "gid", "umask")),),
)
