"""OCFS2, Oracle's cluster file system.

Layout: linux/fs/ocfs2/ocfs2_fs.h, ``struct ocfs2_dinode`` and ``struct ocfs2_super_block``
https://www.kernel.org/doc/html/latest/filesystems/ocfs2.html
"""

import zlib
from functools import partial
from typing import Any

from construct import Bytes, Const, Int16sl, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Signature, Usage
from pyimount.formats.allocation import Allocation
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names, text, unix_time, uuid_text
from pyimount.parsers.filesystems.ocfs2_allocation import count_free
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = b"OCFSV2"
SUPERBLOCK = layout(
    lambda: Struct(
        "i_signature" / Const(MAGIC + bytes(2)),
        "i_generation_to_i_reserved0" / Bytes(12),
        "i_clusters" / Int32ul,
        "i_uid_to_i_dtime" / Bytes(56),
        "i_blkno" / Int64ul,
        "i_last_eb_blk" / Int64ul,
        "i_fs_generation" / Int32ul,
        "i_atime_nsec_to_i_xattr_loc" / Bytes(28),
        "i_check_crc32e" / Int32ul,
        "i_check_ecc_to_id1" / Bytes(60),
        "s_major_rev_level" / Int16ul,
        "s_minor_rev_level" / Int16ul,
        "s_mnt_count" / Int16ul,
        "s_max_mnt_count" / Int16sl,
        "s_state" / Int16ul,
        "s_errors" / Int16ul,
        "s_checkinterval" / Int32ul,
        "s_lastcheck" / Int64ul,
        "s_creator_os" / Int32ul,
        "s_feature_compat" / Int32ul,
        "s_feature_incompat" / Int32ul,
        "s_feature_ro_compat" / Int32ul,
        "s_root_blkno" / Int64ul,
        "s_system_dir_blkno" / Int64ul,
        "s_blocksize_bits" / Int32ul,
        "s_clustersize_bits" / Int32ul,
        "s_max_slots" / Int16ul,
        "s_tunefs_flag" / Int16ul,
        "s_uuid_hash" / Int32ul,
        "s_first_cluster_group" / Int64ul,
        "s_label" / Bytes(64),
        "s_uuid" / Bytes(16),
        "ci_stack" / Bytes(4),
        "ci_reserved" / Bytes(4),
        "ci_cluster" / Bytes(16),
        "s_xattr_inline_size" / Int16ul,
    )
)
# The superblock is block 2, whatever a block is.
OFFSETS = tuple(2 * size for size in (512, 1024, 2048, 4096))
BACKUP = 1 << 30
"""The first of the backups, bytes; the others lie at 4, 16, 64, 256 GiB and 1 TiB."""
_CHECK_AT, _CHECK_SIZE = 0x80, 8

LOCAL_MOUNT, USERSPACE_STACK, META_ECC = 0x8, 0x80, 0x800
CLUSTERINFO = 0x4000
ERROR = 0x1
COMPAT = {0x1: "backup-super", 0x2: "strict-journal-super"}
INCOMPAT = {
    0x2: "heartbeat-dev",
    0x4: "resize-inprog",
    LOCAL_MOUNT: "local",
    0x10: "sparse",
    0x20: "tunefs-inprog",
    0x40: "inline-data",
    USERSPACE_STACK: "userspace-stack",
    0x100: "extended-slotmap",
    0x200: "xattr",
    0x400: "indexed-dirs",
    META_ECC: "metaecc",
    0x1000: "refcount",
    0x2000: "discontig-bg",
    CLUSTERINFO: "clusterinfo",
    0x8000: "append-dio",
}
RO_COMPAT = {0x1: "unwritten", 0x2: "usrquota", 0x4: "grpquota"}
ON_ERRORS = {1: "continue", 2: "remount-ro", 3: "panic"}


def parse(view: View) -> Identity:
    """The identity of an OCFS2 file system, from the first backup superblock if need be."""
    for offset in OFFSETS:
        if view.peek(offset, len(MAGIC)) == MAGIC:
            try:
                return _identity(view, offset, ())
            except (NotThisFormat, ShortRead):
                continue
    message = f"no superblock at the start is usable; the facts come from the backup at {BACKUP}"
    return _identity(view, BACKUP, (Problem(Code.BACKUP_USED, message),))


def _identity(view: View, offset: int, so_far: tuple[Problem, ...]) -> Identity:
    sb = read_struct(view, SUPERBLOCK, offset)
    if not 9 <= sb.s_blocksize_bits <= 12 or not 12 <= sb.s_clustersize_bits <= 20:
        raise NotThisFormat(f"blocks of 2**{sb.s_blocksize_bits}, clusters of 2**{sb.s_clustersize_bits}")
    block_size, cluster_size = 1 << sb.s_blocksize_bits, 1 << sb.s_clustersize_bits
    if sb.i_blkno * block_size != offset or sb.i_clusters == 0:
        raise NotThisFormat(f"the superblock of block {sb.i_blkno}, {sb.i_clusters} clusters")
    problems, checked = list(so_far), False
    if sb.s_feature_incompat & META_ECC:
        checked = _crc(view.read(offset, block_size)) == sb.i_check_crc32e
        if not checked:
            message = f"the checksum of the superblock at {offset} does not match"
            problems.append(Problem(Code.BAD_CHECKSUM, message))
    return Identity(
        type="ocfs2",
        fstype="ocfs2",
        label=text(sb.s_label),
        uuid=uuid_text(sb.s_uuid),
        version=f"{sb.s_major_rev_level}.{sb.s_minor_rev_level}",
        block_size=block_size,
        fs_size=sb.i_clusters * cluster_size,
        state="error" if sb.s_state & ERROR else None,
        offset=offset,
        checked=checked,
        details=_details(sb, cluster_size),
        problems=tuple(problems),
        allocation=Allocation(view, partial(count_free, sb.s_system_dir_blkno, block_size, cluster_size)),
    )


def _crc(block: bytes) -> int:
    """The checksum of a block: started from all ones, and not inverted, without its own field."""
    covered = block[:_CHECK_AT] + bytes(_CHECK_SIZE) + block[_CHECK_AT + _CHECK_SIZE :]
    return zlib.crc32(covered) ^ 0xFFFFFFFF


def _details(sb: Any, cluster_size: int) -> dict[str, Json]:
    details: dict[str, Json] = {
        "features": [
            *flag_names(sb.s_feature_compat, COMPAT, "compat"),
            *flag_names(sb.s_feature_incompat, INCOMPAT, "incompat"),
            *flag_names(sb.s_feature_ro_compat, RO_COMPAT, "ro_compat"),
        ],
        "cluster_size": cluster_size,
        "clusters": sb.i_clusters,
        "max_slots": sb.s_max_slots,
        "mount_count": sb.s_mnt_count,
        "max_mount_count": sb.s_max_mnt_count,
        "last_checked": unix_time(sb.s_lastcheck),
        "check_interval_seconds": sb.s_checkinterval,
        "on_errors": ON_ERRORS.get(sb.s_errors, str(sb.s_errors)),
        "root_block": sb.s_root_blkno,
        "system_directory_block": sb.s_system_dir_blkno,
        "first_cluster_group_block": sb.s_first_cluster_group,
        "generation": sb.i_fs_generation,
        "uuid_hash": sb.s_uuid_hash,
        "xattr_inline_size": sb.s_xattr_inline_size,
    }
    if sb.s_feature_incompat & (USERSPACE_STACK | CLUSTERINFO):
        details["cluster_stack"] = text(sb.ci_stack, "ascii")
        details["cluster_name"] = text(sb.ci_cluster)
    return details


FORMAT = Format(
    name="ocfs2",
    title="OCFS2",
    specification="https://www.kernel.org/doc/html/latest/filesystems/ocfs2.html",
    usage=Usage.FILESYSTEM,
    types=("ocfs2",),
    parse=parse,
    signatures=(*(Signature(MAGIC, offset) for offset in OFFSETS), Signature(MAGIC, BACKUP, copy=True)),
    unmountable="it is a cluster's file system, whose driver wants the cluster's lock manager",
)
