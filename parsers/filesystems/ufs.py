"""UFS1 and UFS2, the Berkeley Fast File System, of the BSDs, Solaris, HP-UX and NeXTSTEP.

Layout: FreeBSD, sys/ufs/ffs/fs.h, "struct fs"; what others keep elsewhere: Linux, fs/ufs/ufs_fs.h
https://cgit.freebsd.org/src/tree/sys/ufs/ffs/fs.h
"""

from functools import partial
from typing import Any

from construct import (
    Bytes,
    Construct,
    Int8ub,
    Int32sb,
    Int32sl,
    Int32ub,
    Int32ul,
    Int64sb,
    Int64sl,
    Int64ub,
    Int64ul,
    Struct,
)

from pyimount.formats import FileReader, Format, Identity, Json, KernelMount, NotThisFormat, Signature, Usage
from pyimount.formats.allocation import Allocation, Reader, Space
from pyimount.formats.checksums import crc32c
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names, text, unix_time
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View


def _superblock(u32: Construct, i32: Construct, u64: Construct, i64: Construct) -> Construct:
    return Struct(
        "fs_firstfield" / i32,
        "fs_unused_1" / i32,
        "fs_sblkno" / i32,
        "fs_cblkno" / i32,
        "fs_iblkno" / i32,
        "fs_dblkno" / i32,
        "fs_old_cgoffset" / i32,
        "fs_old_cgmask" / i32,
        "fs_old_time" / u32,
        "fs_old_size" / u32,
        "fs_old_dsize" / u32,
        "fs_ncg" / u32,
        "fs_bsize" / u32,
        "fs_fsize" / u32,
        "fs_frag" / u32,
        "fs_minfree" / u32,
        "fs_old_rotdelay" / Bytes(8),
        "fs_bmask" / Bytes(32),
        "fs_sbsize" / u32,
        "fs_spare1" / Bytes(8),
        "fs_nindir" / u32,
        "fs_inopb" / u32,
        "fs_old_nspf" / u32,
        "fs_optim" / u32,
        "fs_old_npsect" / u32,  # fs_state on Solaris for x86
        "fs_old_interleave" / Bytes(8),
        "fs_id_0" / u32,
        "fs_id_1" / u32,
        "fs_old_csaddr" / u32,
        "fs_cssize" / u32,
        "fs_cgsize" / u32,
        "fs_spare2" / Bytes(12),
        "fs_old_ncyl" / u32,
        "fs_old_cpg" / u32,
        "fs_ipg" / u32,
        "fs_fpg" / u32,
        "fs_old_cs_ndir" / u32,
        "fs_old_cs_nbfree" / u32,
        "fs_old_cs_nifree" / u32,
        "fs_old_cs_nffree" / u32,
        "fs_fmod" / Int8ub,
        "fs_clean" / Int8ub,
        "fs_ronly" / Int8ub,
        "fs_old_flags" / Int8ub,
        "fs_fsmnt" / Bytes(468),
        "fs_volname" / Bytes(32),
        "fs_swuid" / u64,
        "fs_pad" / Bytes(144),
        "fs_unrefs" / i64,
        "fs_providersize" / i64,
        "fs_metaspace" / i64,
        "fs_sparecon64" / Bytes(112),
        "fs_sblockloc" / i64,
        "fs_cs_ndir" / u64,
        "fs_cs_nbfree" / u64,
        "fs_cs_nifree" / u64,
        "fs_cs_nffree" / u64,
        "fs_cs_spare" / Bytes(32),
        "fs_time" / i64,
        "fs_size" / u64,
        "fs_dsize" / u64,
        "fs_csaddr" / i64,
        "fs_pendingblocks" / i64,
        "fs_pendinginodes" / u32,
        "fs_snapinum" / Bytes(80),
        "fs_avgfilesize" / u32,
        "fs_avgfpdir" / u32,
        "fs_save_cgsize" / u32,
        "fs_mtime" / i64,
        "fs_sujfree" / u32,
        "fs_sparecon32" / Bytes(84),
        "fs_ckhash" / u32,
        "fs_metackhash" / u32,
        "fs_flags" / u32,
        "fs_contigsumsize" / u32,
        "fs_maxsymlinklen" / i32,
        "fs_old_inodefmt" / i32,
        "fs_maxfilesize" / Bytes(8),
        "fs_qbmask" / u32,  # fs_state on Solaris for SPARC
        "fs_qbmask_high" / u32,
        "fs_qfmask" / Bytes(8),
        "fs_state" / i32,
        "fs_old_postblformat" / i32,
        "fs_old_nrpos" / i32,
        "fs_spare5" / Bytes(8),
        "fs_magic" / u32,
    )


LITTLE = layout(lambda: _superblock(Int32ul, Int32sl, Int64ul, Int64sl))
BIG = layout(lambda: _superblock(Int32ub, Int32sb, Int64ub, Int64sb))

PLACES = (8 << 10, 64 << 10, 0, 256 << 10)
"""Where superblocks lie, bytes: UFS1, UFS2, floppies, "piggy"."""
# Where the first cylinder group keeps its copy: by the block size, one block or more after the superblock.
COPIES = (16 << 10, 32 << 10, 72 << 10, 80 << 10, 96 << 10, 128 << 10)
MAGIC_AT = 1372

UFS1, UFS2 = 0x00011954, 0x19540119
MAGICS = {
    UFS1: "UFS1",
    UFS2: "UFS2",
    0x00195612: "UFS1 FEA",
    0x00095014: "UFS1 LFN",
    0x00612195: "UFS1 SEC",
    0x05231994: "UFS1 4GB",
}
"""The last four are HP-UX's: a word of features, long names, secure, over 4 GB."""
_ORDERS = (("little", LITTLE), ("big", BIG))

UPDATED = 0x80
"""Of fs_old_flags: the flags are in fs_flags."""
FLAGS = {
    0x01: "unclean",
    0x02: "soft_updates",
    0x04: "needs_fsck",
    0x08: "soft_updates_journal",
    0x10: "posix_acls",
    0x20: "multilabel",
    0x40: "gjournal",
    0x100: "nfsv4_acls",
    0x200: "metadata_checksums",
    0x400: "trim",
}
UNCLEAN, NEEDS_FSCK, METADATA_CHECKSUMS = 0x01, 0x04, 0x200
SUPERBLOCK_CHECKED = 0x1
INODE_FORMAT_44 = 2
SOLARIS_OK = 0x7C269D38
"""Solaris: fs_state and fs_time add up to this when the volume is clean."""
GROUP_MAGIC = 0x00090255
"""cg_magic of a cylinder group, "struct cg"."""
GROUP_SIZE = 512
"""Bytes at its start in which its totals stand."""
OPTIMISATION = {0: "time", 1: "space"}


def parse(view: View) -> Identity:
    """The identity of a UFS file system, from the first cylinder group's copy if need be."""
    wrong = "no magic"
    for place in (*PLACES, *COPIES):
        magic = view.peek(place + MAGIC_AT, 4)
        for order, declared in _ORDERS:
            if int.from_bytes(magic, "little" if order == "little" else "big") not in MAGICS:
                continue
            try:
                return _identity(view, read_struct(view, declared, place), order, place)
            except (NotThisFormat, ShortRead) as error:
                wrong = str(error)
    raise NotThisFormat(wrong)


def _identity(view: View, sb: Any, order: str, place: int) -> Identity:
    version = 2 if sb.fs_magic == UFS2 else 1
    _plausible(sb, version, place)
    problems = []
    if place in COPIES:
        message = f"no usable superblock at its places; the facts come from the copy at {place}"
        problems.append(Problem(Code.BACKUP_USED, message))
    size = sb.fs_fsize
    if version == 2:
        blocks, data, written = sb.fs_size, sb.fs_dsize, sb.fs_time
        free_blocks, free_fragments = sb.fs_cs_nbfree, sb.fs_cs_nffree
        directories, free_inodes = sb.fs_cs_ndir, sb.fs_cs_nifree
    else:
        blocks, data, written = sb.fs_old_size, sb.fs_old_dsize, sb.fs_old_time
        free_blocks, free_fragments = sb.fs_old_cs_nbfree, sb.fs_old_cs_nffree
        directories, free_inodes = sb.fs_old_cs_ndir, sb.fs_old_cs_nifree
    free = free_blocks * sb.fs_frag + free_fragments
    checked = False
    flags = sb.fs_flags if version == 2 or sb.fs_old_flags & UPDATED else sb.fs_old_flags
    if version == 2 and flags & METADATA_CHECKSUMS and sb.fs_metackhash & SUPERBLOCK_CHECKED:
        raw = bytearray(view.read(place, sb.fs_sbsize))
        raw[1304:1308] = bytes(4)
        checked = crc32c(bytes(raw)) == sb.fs_ckhash
        if not checked:
            problems.append(
                Problem(Code.BAD_CHECKSUM, f"the checksum of the superblock at {place} does not match")
            )
    ufstype = _ufstype(sb, order, version)
    modern = version == 2 or ufstype == "44bsd"
    state = _state(sb, ufstype, flags if modern else 0)
    details: dict[str, Json] = {
        "magic": MAGICS[sb.fs_magic],
        "byte_order": order,
        "ufstype": ufstype,
        "size_fragments": blocks,
        "data_fragments": data,
        "free_blocks": free_blocks,
        "free_fragments": free_fragments,
        "fs_block_size": sb.fs_bsize,
        "fragment_size": size,
        "cylinder_groups": sb.fs_ncg,
        "inodes": sb.fs_ncg * sb.fs_ipg,
        "free_inodes": free_inodes,
        "directories": directories,
        "reserved_percent": sb.fs_minfree,
        "optimisation": OPTIMISATION.get(sb.fs_optim, str(sb.fs_optim)),
        "clean": sb.fs_clean,
        "flags": [*flag_names(flags & ~UPDATED, FLAGS, "flag")] if modern else [],
    }
    if place in COPIES:
        details["copy_at"] = place
    if version == 2:
        details["mounted_or_checked"] = unix_time(sb.fs_mtime)
        details["unreferenced_inodes"] = sb.fs_unrefs
        details["pending_blocks"] = sb.fs_pendingblocks
        details["provider_size"] = sb.fs_providersize * size
    return Identity(
        type="ufs",
        fstype="ufs",
        label=text(sb.fs_volname) if version == 2 else None,
        uuid=f"{sb.fs_id_0:08x}{sb.fs_id_1:08x}" if sb.fs_id_0 or sb.fs_id_1 else None,
        version=str(version),
        block_size=size,
        fs_size=blocks * size,
        # Written when it is unmounted, and into the first superblock alone.
        free=free * size if state == "clean" and place not in COPIES else None,
        modified=unix_time(written),
        last_mountpoint=text(sb.fs_fsmnt),
        state=state,
        offset=place,
        checked=checked,
        details=details,
        problems=tuple(problems),
        allocation=Allocation(view, partial(_count, sb, order, blocks)),
    )


def _count(sb: Any, order: str, blocks: int, reader: Reader) -> Space:
    """Free bytes: the sum over the cylinder groups, which are written first."""
    number_of = partial(int.from_bytes, byteorder="little" if order == "little" else "big")
    free = 0
    for group in range(sb.fs_ncg):
        if group == 1:
            reader.want((sb.fs_ncg - 1) * GROUP_SIZE, sb.fs_ncg - 1)
        start = group * sb.fs_fpg
        if sb.fs_magic != UFS2:
            start += sb.fs_old_cgoffset * (group & ~sb.fs_old_cgmask)
        raw = reader.read((start + sb.fs_cblkno) * sb.fs_fsize, GROUP_SIZE)
        magic, index, _, free_blocks, _, free_fragments = (
            number_of(raw[at : at + 4]) for at in (4, 12, 24, 28, 32, 36)
        )
        here = free_blocks * sb.fs_frag + free_fragments
        if magic != GROUP_MAGIC or index != group or here > min(sb.fs_fpg, blocks):
            raise NotThisFormat(f"no cylinder group {group} where it should be")
        free += here
    return Space(free=free * sb.fs_fsize, found="cylinder groups")


def _plausible(sb: Any, version: int, place: int) -> None:
    if not 4096 <= sb.fs_bsize <= 65536 or sb.fs_bsize & (sb.fs_bsize - 1):
        raise NotThisFormat(f"blocks of {sb.fs_bsize} bytes")
    if not 512 <= sb.fs_fsize <= sb.fs_bsize or sb.fs_fsize & (sb.fs_fsize - 1):
        raise NotThisFormat(f"fragments of {sb.fs_fsize} bytes")
    if sb.fs_frag * sb.fs_fsize != sb.fs_bsize or sb.fs_frag > 8:
        raise NotThisFormat(f"{sb.fs_frag} fragments of {sb.fs_fsize} bytes in a block of {sb.fs_bsize}")
    if not MAGIC_AT + 4 <= sb.fs_sbsize <= 8192 and version == 2:
        raise NotThisFormat(f"a superblock of {sb.fs_sbsize} bytes")
    blocks = sb.fs_size if version == 2 else sb.fs_old_size
    if not 0 < blocks < 1 << 56 or not sb.fs_ncg or not sb.fs_fpg or not sb.fs_ipg:
        raise NotThisFormat(f"{blocks} fragments in {sb.fs_ncg} groups of {sb.fs_fpg}, {sb.fs_ipg} inodes")
    if not (sb.fs_ncg - 1) * sb.fs_fpg < blocks <= sb.fs_ncg * sb.fs_fpg:
        raise NotThisFormat(f"{blocks} fragments in {sb.fs_ncg} groups of {sb.fs_fpg}")
    if place in COPIES:
        # A copy must know where it is.
        if sb.fs_sblkno * sb.fs_fsize != place:
            raise NotThisFormat(f"the copy at {place} belongs at {sb.fs_sblkno * sb.fs_fsize}")
    elif version == 2 and sb.fs_sblockloc != place:
        raise NotThisFormat(f"the superblock at {place} says that it is at {sb.fs_sblockloc}")
    elif version == 1 and sb.fs_sblkno * sb.fs_fsize == place:
        # With blocks of 64 KiB the copy of UFS1 lies where UFS2 has its superblock.
        raise NotThisFormat("a copy of the superblock")


def _ufstype(sb: Any, order: str, version: int) -> str | None:
    """The word for it in the ``ufstype`` option of Linux' mount; None where nothing tells.

    NeXTSTEP's differs from 4.2BSD's only in what its disk label says.
    """
    if version == 2:
        return "ufs2"
    if sb.fs_magic != UFS1:
        return "hp"
    if order == "big" and (sb.fs_qbmask + sb.fs_old_time) & 0xFFFFFFFF == SOLARIS_OK:
        return "sun"
    if order == "little" and (sb.fs_old_npsect + sb.fs_old_time) & 0xFFFFFFFF == SOLARIS_OK:
        return "sunx86"
    if sb.fs_old_inodefmt == INODE_FORMAT_44:
        return "44bsd"
    return "old" if sb.fs_old_postblformat == -1 or order == "little" else None


def _state(sb: Any, ufstype: str | None, flags: int) -> str:
    """``clean`` where the last writer unmounted. Solaris: 1 clean, 2 stable, 253 kept so by its log."""
    if flags & (UNCLEAN | NEEDS_FSCK):
        return "dirty"
    if ufstype in ("sun", "sunx86"):
        return "clean" if sb.fs_clean in (1, 2, 0xFD) else "dirty"
    return "clean" if sb.fs_clean & 1 else "dirty"


FORMAT = Format(
    name="ufs",
    title="UFS",
    specification="https://cgit.freebsd.org/src/tree/sys/ufs/ffs/fs.h",
    usage=Usage.FILESYSTEM,
    types=("ufs",),
    parse=parse,
    signatures=tuple(
        Signature(magic.to_bytes(4, "little")[::step], place + MAGIC_AT, copy=place in COPIES)
        for place in (*PLACES, *COPIES)
        for magic in MAGICS
        for step in (1, -1)
    ),
    mounts=(KernelMount("ufs", from_details=(("ufstype", "ufstype"),), maintained=False),),
    files=(FileReader("dissect", "dissect.ffs", "dissect.ffs"),),
)
