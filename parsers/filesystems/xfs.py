"""XFS, versions 4 and 5, and its external logs.

Layout: XFS Algorithms & Data Structures, "Superblocks" and "Log Record Headers"
https://mirrors.edge.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf
"""

from typing import Any

from construct import Bytes, Const, Int8ub, Int16ub, Int32ub, Int32ul, Int64ub, Struct

from pyimount.formats import (
    FileReader,
    Format,
    Identity,
    Json,
    KernelMount,
    Membership,
    NotThisFormat,
    Signature,
    Usage,
)
from pyimount.formats.checksums import crc32c
from pyimount.formats.declarations import JOURNAL, USER
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names, text, uuid_text
from pyimount.parsers.filesystems.xfs_allocation import allocation, left
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

MAGIC = b"XFSB"
# Runs of fields of which nothing is told are one Bytes each: every field costs time.
SUPERBLOCK = layout(
    lambda: Struct(
        "sb_magicnum" / Const(MAGIC),
        "sb_blocksize" / Int32ub,
        "sb_dblocks" / Int64ub,
        "sb_rblocks" / Int64ub,
        "sb_rextents" / Int64ub,
        "sb_uuid" / Bytes(16),
        "sb_logstart" / Int64ub,
        "sb_rootino" / Int64ub,
        "sb_rbmino" / Int64ub,
        "sb_rsumino" / Int64ub,
        "sb_rextsize" / Int32ub,
        "sb_agblocks" / Int32ub,
        "sb_agcount" / Int32ub,
        "sb_rbmblocks" / Int32ub,
        "sb_logblocks" / Int32ub,
        "sb_versionnum" / Int16ub,
        "sb_sectsize" / Int16ub,
        "sb_inodesize" / Int16ub,
        "sb_inopblock" / Int16ub,
        "sb_fname" / Bytes(12),
        "sb_blocklog" / Int8ub,
        "sb_sectlog" / Int8ub,
        "sb_inodelog" / Int8ub,
        "sb_inopblog" / Int8ub,
        "sb_agblklog" / Int8ub,
        "sb_rextslog" / Int8ub,
        "sb_inprogress" / Int8ub,
        "sb_imax_pct" / Int8ub,
        "sb_icount" / Int64ub,
        "sb_ifree" / Int64ub,
        "sb_fdblocks" / Int64ub,
        "sb_frextents" / Int64ub,
        "sb_uquotino" / Int64ub,
        "sb_gquotino" / Int64ub,
        "sb_qflags" / Int16ub,
        "sb_flags" / Int8ub,
        "sb_shared_vn" / Int8ub,
        "sb_inoalignmt" / Int32ub,
        "sb_unit" / Int32ub,
        "sb_width" / Int32ub,
        "sb_dirblklog" / Int8ub,
        "sb_logsectlog" / Int8ub,
        "sb_logsectsize" / Int16ub,
        "sb_logsunit" / Int32ub,
        "sb_features2" / Int32ub,
        "sb_bad_features2" / Int32ub,
        "sb_features_compat" / Int32ub,
        "sb_features_ro_compat" / Int32ub,
        "sb_features_incompat" / Int32ub,
        "sb_features_log_incompat" / Int32ub,
        "sb_crc" / Int32ul,
        "sb_spino_align" / Int32ub,
        "sb_pquotino" / Int64ub,
        "sb_lsn" / Int64ub,
        "sb_meta_uuid" / Bytes(16),
    )
)
_CRC_AT = 224

LOG_MAGIC = b"\xfe\xed\xba\xbe"
LOG_RECORD = layout(
    lambda: Struct(
        "h_magicno" / Const(LOG_MAGIC),
        "h_cycle" / Int32ub,
        "h_version" / Int32ub,
        "h_len" / Int32ub,
        "h_lsn" / Int64ub,
        "h_tail_lsn" / Int64ub,
        "h_crc" / Int32ul,
        "h_prev_block" / Int32ub,
        "h_num_logops" / Int32ub,
        "h_cycle_data" / Bytes(64 * 4),
        "h_fmt" / Int32ub,
        "h_fs_uuid" / Bytes(16),
        "h_size" / Int32ub,
    )
)
LOG_FORMATS = {1: "linux little endian", 2: "linux big endian", 3: "irix big endian"}

VERSION_BITS = {
    0x10: "attr",
    0x20: "nlink",
    0x40: "quota",
    0x80: "align",
    0x100: "dalign",
    0x200: "shared",
    0x400: "logv2",
    0x800: "sector",
    0x1000: "extflg",
    0x2000: "dirv2",
    0x4000: "ascii-ci",
}
MOREBITS = 0x8000
FEATURES2 = {
    0x2: "lazysbcount",
    0x8: "attr2",
    0x10: "parent",
    0x80: "projid32bit",
    0x100: "crc",
    0x200: "ftype",
}
COMPAT: dict[int, str] = {}
RO_COMPAT = {0x1: "finobt", 0x2: "rmapbt", 0x4: "reflink", 0x8: "inobtcount"}
INCOMPAT = {
    0x1: "ftype",
    0x2: "sparse_inodes",
    0x4: "meta_uuid",
    0x8: "bigtime",
    0x10: "needsrepair",
    0x20: "nrext64",
    0x40: "exchange",
    0x80: "parent",
    0x100: "metadir",
    0x200: "zoned",
    0x400: "zone_gaps",
}
LOG_INCOMPAT = {0x1: "xattrs"}
META_UUID = 0x4
NEEDS_REPAIR = 0x10
QUOTA_FLAGS = {
    0x1: "user accounting",
    0x2: "user enforcement",
    0x4: "user checked",
    0x8: "project accounting",
    0x10: "other enforcement",
    0x20: "other checked",
    0x40: "group accounting",
    0x80: "group enforcement",
    0x100: "group checked",
    0x200: "project enforcement",
    0x400: "project checked",
}
REALTIME = "realtime"
MIN_AG_BLOCKS = 64
MIN_RTEXT, MAX_RTEXT = 4 << 10, 1 << 30


def parse(view: View) -> Identity:
    """The identity of an XFS file system, or of a log that its file system keeps apart."""
    if view.peek(0, 4) == LOG_MAGIC:
        return log_record(view, 0)
    return identity(view, read_superblock(view, 0), 0)


def read_superblock(view: View, offset: int) -> Any:
    """The superblock at ``offset``, if its figures can be true. Raises NotThisFormat, ShortRead."""
    sb = read_struct(view, SUPERBLOCK, offset)
    _check(sb)
    return sb


def identity(view: View, sb: Any, offset: int, *problems_so_far: Problem) -> Identity:
    """The identity of an XFS by the superblock ``sb`` at ``offset``, 0 or that of a copy.

    The copies are written when the file system is made or grown: what was free then says nothing.
    """
    version = sb.sb_versionnum & 0xF
    problems = list(problems_so_far)
    checked = False
    if version == 5:
        sector = view.read(offset, sb.sb_sectsize)
        blanked = sector[:_CRC_AT] + bytes(4) + sector[_CRC_AT + 4 :]
        checked = crc32c(blanked) ^ 0xFFFFFFFF == sb.sb_crc
        if not checked:
            message = f"the checksum of the superblock at {offset} does not match"
            problems.append(Problem(Code.BAD_CHECKSUM, message))
    incompat = sb.sb_features_incompat if version == 5 else 0
    details = _details(sb, version, incompat)
    if offset:
        details |= dict.fromkeys(("free_blocks", "inodes", "free_inodes", "in_progress"))
        details["copy_at"] = offset
    elif sb.sb_fdblocks > sb.sb_dblocks:
        message = f"{sb.sb_fdblocks} blocks free, of {sb.sb_dblocks}"
        problems.append(Problem(Code.DAMAGED, message))
    elif sb.sb_inprogress:
        problems.append(Problem(Code.DAMAGED, "making or copying this file system was never finished"))
    needs_repair = version == 5 and sb.sb_features_incompat & NEEDS_REPAIR
    state = "error" if needs_repair else left(view, sb)
    known = uuid_text(sb.sb_meta_uuid if incompat & META_UUID else sb.sb_uuid)
    return Identity(
        type="xfs",
        fstype="xfs",
        group=None if known is None else _group(sb, known),
        label=text(sb.sb_fname),
        uuid=uuid_text(sb.sb_uuid),
        block_size=sb.sb_sectsize,
        fs_size=sb.sb_dblocks * sb.sb_blocksize,
        # The counter is written when it is unmounted.
        free=sb.sb_fdblocks * sb.sb_blocksize if state == "clean" and not offset else None,
        state=state,
        offset=offset,
        checked=checked,
        details=details,
        problems=tuple(problems),
        allocation=allocation(view, sb),
    )


def _group(sb: Any, uuid: str) -> Membership | None:
    """The devices of a file system whose log or whose realtime data are not on this one."""
    size, extent = sb.sb_rblocks * sb.sb_blocksize, sb.sb_rextsize * sb.sb_blocksize
    elsewhere = (not sb.sb_logstart, sb.sb_rblocks > 0)
    if not any(elsewhere):
        return None
    return Membership(
        type="xfs",
        uuid=uuid,
        role=USER,
        members=1 + sum(elsewhere),
        identity=f"{uuid}/{USER}",
        # A realtime device says nothing of itself; what is less than an extent at its end is not used.
        unmarked={REALTIME: (size, size + extent - 1)} if size else {},
    )


def _check(sb: Any) -> None:
    """What the kernel and libblkid ask of a superblock; NotThisFormat when it is not so."""
    plausible = (
        1 <= sb.sb_versionnum & 0xF <= 5
        and 9 <= sb.sb_sectlog <= 15
        and sb.sb_sectsize == 1 << sb.sb_sectlog
        and 9 <= sb.sb_blocklog <= 16
        and sb.sb_blocksize == 1 << sb.sb_blocklog
        and 8 <= sb.sb_inodelog <= 11
        and sb.sb_inodesize == 1 << sb.sb_inodelog
        and sb.sb_blocklog - sb.sb_inodelog == sb.sb_inopblog
        and MIN_RTEXT <= sb.sb_rextsize * sb.sb_blocksize <= MAX_RTEXT
        and sb.sb_imax_pct <= 100
        and sb.sb_agcount > 0
        and sb.sb_dblocks > 0
        and (sb.sb_agcount - 1) * sb.sb_agblocks + MIN_AG_BLOCKS
        <= sb.sb_dblocks
        <= sb.sb_agcount * sb.sb_agblocks
    )
    if not plausible:
        raise NotThisFormat("the sizes in the superblock contradict one another")


def _details(sb: Any, version: int, incompat: int) -> dict[str, Json]:
    features = flag_names(sb.sb_versionnum & 0x7FF0, VERSION_BITS, "version")
    if sb.sb_versionnum & MOREBITS or version == 5:
        features += flag_names(sb.sb_features2, FEATURES2, "features2")
    if version == 5:
        features += [
            *flag_names(sb.sb_features_compat, COMPAT, "compat"),
            *flag_names(sb.sb_features_ro_compat, RO_COMPAT, "ro_compat"),
            *flag_names(incompat, INCOMPAT, "incompat"),
            *flag_names(sb.sb_features_log_incompat, LOG_INCOMPAT, "log_incompat"),
        ]
    details: dict[str, Json] = {
        "version": version,
        "features": list(dict.fromkeys(features)),
        "fs_block_size": sb.sb_blocksize,
        "blocks": sb.sb_dblocks,
        "free_blocks": sb.sb_fdblocks,
        "ag_count": sb.sb_agcount,
        "ag_blocks": sb.sb_agblocks,
        "inode_size": sb.sb_inodesize,
        "inodes": sb.sb_icount,
        "free_inodes": sb.sb_ifree,
        "max_inode_percent": sb.sb_imax_pct,
        "root_inode": sb.sb_rootino,
        "directory_block_size": sb.sb_blocksize << min(sb.sb_dirblklog, 16),
        "log": "internal" if sb.sb_logstart else "external",
        "log_blocks": sb.sb_logblocks,
        "log_sector_size": sb.sb_logsectsize or sb.sb_sectsize,
        "log_stripe_unit": sb.sb_logsunit,
        "stripe_unit_blocks": sb.sb_unit,
        "stripe_width_blocks": sb.sb_width,
        "quota": [*flag_names(sb.sb_qflags, QUOTA_FLAGS, "quota")],
        "in_progress": bool(sb.sb_inprogress),
    }
    if sb.sb_rblocks:
        details["realtime_blocks"] = sb.sb_rblocks
        details["realtime_extent_size"] = sb.sb_rextsize * sb.sb_blocksize
        details["free_realtime_extents"] = sb.sb_frextents
    if incompat & META_UUID:
        details["meta_uuid"] = uuid_text(sb.sb_meta_uuid)
    return details


def log_record(view: View, offset: int) -> Identity:
    """The identity of an external log by the record at ``offset``. Raises NotThisFormat, ShortRead."""
    record = read_struct(view, LOG_RECORD, offset)
    if record.h_version not in (1, 2, 3) or record.h_fmt not in LOG_FORMATS or not 0 < record.h_len < 1 << 31:
        raise NotThisFormat("no record of a log")
    uuid = uuid_text(record.h_fs_uuid)
    return Identity(
        type="xfs_external_log",
        usage=Usage.OTHER,
        offset=offset,
        group=Membership(type="xfs", uuid=uuid, role=JOURNAL, members=2, identity=f"{uuid}/{JOURNAL}")
        if uuid
        else None,
        details={
            "loguuid": uuid,
            "log_version": record.h_version,
            "log_format": LOG_FORMATS[record.h_fmt],
            "cycle": record.h_cycle,
        },
    )


FORMAT = Format(
    name="xfs",
    title="XFS",
    specification="https://mirrors.edge.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf",
    usage=Usage.FILESYSTEM,
    types=("xfs", "xfs_external_log"),
    parse=parse,
    signatures=(Signature(MAGIC, 0), Signature(LOG_MAGIC, 0)),
    mounts=(
        KernelMount(
            "xfs",
            ("norecovery", "nouuid"),
            written=("nouuid",),
            every_member=True,
            named_by=((JOURNAL, "logdev"), (REALTIME, "rtdev")),
        ),
    ),
    files=(
        # libfsxfs 20260901 passes over names that are no UTF-8, and takes the header of a long link for where
        # it leads.
        FileReader("dissect", "dissect.xfs", "dissect.xfs", types=("xfs",)),
        FileReader("libyal", "pyfsxfs", "libfsxfs-python", types=("xfs",)),
    ),
)
