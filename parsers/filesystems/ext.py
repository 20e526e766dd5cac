"""ext2, ext3, ext4 and their external journals.

Layout: kernel.org, Documentation/filesystems/ext4, "Super Block"
https://www.kernel.org/doc/html/latest/filesystems/ext4/super.html
"""

from functools import partial
from struct import unpack
from typing import Any

from pyimount.formats import (
    FileReader,
    Format,
    Identity,
    Json,
    KernelMount,
    Membership,
    NotThisFormat,
    Signature,
    ToolMount,
    Usage,
)
from pyimount.formats.allocation import Allocation
from pyimount.formats.checksums import crc32c
from pyimount.formats.declarations import JOURNAL, USER
from pyimount.formats.layouts import read_struct
from pyimount.formats.notation import flag_names, text, unix_time, uuid_text
from pyimount.parsers.filesystems.ext_allocation import SMALL, Groups, count_free
from pyimount.parsers.filesystems.ext_journal import journal_facts
from pyimount.parsers.filesystems.ext_superblock import (
    BIGALLOC,
    BIT64,
    COMPAT,
    CREATORS,
    HAS_JOURNAL,
    INCOMPAT,
    JOURNAL_DEV,
    MAGIC,
    META_BG,
    METADATA_CSUM,
    ON_ERRORS,
    RECOVER,
    RO_COMPAT,
    SPARSE_SUPER,
    SPARSE_SUPER2,
    STATE_CLEAN,
    STATE_ERRORS,
    SUPERBLOCK,
    TEST_FILESYS,
)
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

PRIMARY = 1024
# Groups 1 and 3 start with a copy: at their first block, which the block size decides.
COPIES = {
    (1 + 8192 * group if block_size == 1024 else 8 * block_size * group) * block_size: (block_size, group)
    for group in (1, 3)
    for block_size in (1024, 2048, 4096)
}
_MAGIC_AT = 0x38
_LASTING = ((1024, 1), (4096, 1))
"""The usual sizes of blocks: their first copy is looked for under newer file systems."""

# What the ext2 and ext3 drivers can mount; anything else makes it ext4. As libblkid decides.
EXT3_INCOMPAT = 0x2 | 0x4 | 0x10
EXT3_RO_COMPAT = 0x1 | 0x2 | 0x4
EXT2_INCOMPAT = 0x2 | 0x10


def parse(view: View) -> Identity:
    """The identity of an ext file system or journal device, from a backup superblock if need be."""
    try:
        return _identity(view, PRIMARY)
    except (NotThisFormat, ShortRead):
        for offset, copy_of in COPIES.items():
            if view.peek(offset + _MAGIC_AT, len(MAGIC)) == MAGIC:
                try:
                    return _identity(view, offset, copy_of)
                except (NotThisFormat, ShortRead):
                    continue
        raise


def _identity(view: View, offset: int, copy_of: tuple[int, int] | None = None) -> Identity:
    sb = read_struct(view, SUPERBLOCK, offset)
    # As the kernel and libblkid do, the features count whatever the revision says.
    compat, incompat, ro_compat = sb.s_feature_compat, sb.s_feature_incompat, sb.s_feature_ro_compat
    block_size = _plausible(sb, incompat, ro_compat)
    problems = []
    if copy_of is not None:
        # A magic of two bytes far away proves little: the copy must know where it is.
        group = copy_of[1]
        place = (sb.s_first_data_block + sb.s_blocks_per_group * group) * block_size
        if block_size != copy_of[0] or place != offset:
            raise NotThisFormat("no backup superblock of this place")
        # Revision 0 does not number its copies.
        if sb.s_block_group_nr != (group if sb.s_rev_level else 0):
            raise NotThisFormat(f"a backup superblock of group {sb.s_block_group_nr}")
        message = f"the superblock at {PRIMARY} is unusable; the facts come from the copy at {offset}"
        problems.append(Problem(Code.BACKUP_USED, message))
    checked = False
    if ro_compat & METADATA_CSUM:
        checked = crc32c(view.read(offset, 1020)) == sb.s_checksum
        if not checked:
            problems.append(
                Problem(Code.BAD_CHECKSUM, f"the checksum of the superblock at {offset} does not match")
            )
    high = incompat & BIT64
    blocks = sb.s_blocks_count_lo | (sb.s_blocks_count_hi << 32 if high else 0)
    details: dict[str, Json] = {
        "features": [
            *flag_names(compat, COMPAT, "compat"),
            *flag_names(incompat, INCOMPAT, "incompat"),
            *flag_names(ro_compat, RO_COMPAT, "ro_compat"),
        ],
        "blocks": blocks,
    }
    if copy_of is not None:
        details["copy_at"] = offset
    label, uuid = text(sb.s_volume_name), uuid_text(sb.s_uuid)
    version = f"{sb.s_rev_level}.{sb.s_minor_rev_level}"
    kind = _type(sb, compat, incompat, ro_compat)
    if kind == "jbd":
        facts = journal_facts(view, block_size, problems)
        users = facts.get("journal_users")
        return Identity(
            type="jbd",
            usage=Usage.OTHER,
            label=label,
            uuid=uuid,
            version=version,
            block_size=block_size,
            fs_size=blocks * block_size,
            created=_time(sb.s_mkfs_time, sb.s_times_hi[2]),
            offset=offset,
            checked=checked,
            group=Membership(
                type="jbd",
                uuid=uuid,
                role=JOURNAL,
                members=1 + len(users),
                identity=uuid,
            )
            if uuid and isinstance(users, list) and users
            else None,
            details={**details, "loguuid": uuid, **facts},
            problems=tuple(problems),
        )
    free = sb.s_free_blocks_count_lo | (sb.s_free_blocks_count_hi << 32 if high else 0)
    reserved = sb.s_r_blocks_count_lo | (sb.s_r_blocks_count_hi << 32 if high else 0)
    if free > blocks or reserved > blocks:
        message = f"{free} blocks free and {reserved} reserved, of {blocks}"
        problems.append(Problem(Code.DAMAGED, message))
    state = _state(sb, incompat)
    # Only unmounting writes the counter, and only into the first superblock.
    counted = offset == PRIMARY and state == "clean" and free <= blocks
    details |= {
        "free_blocks": free,
        "reserved_blocks": reserved,
        "reserved": reserved * block_size,
        "blocks_per_group": sb.s_blocks_per_group,
        "inodes": sb.s_inodes_count,
        "free_inodes": sb.s_free_inodes_count,
        "inode_size": sb.s_inode_size if sb.s_rev_level else 128,
        "needs_recovery": bool(incompat & RECOVER),
        "mount_count": sb.s_mnt_count,
        "max_mount_count": sb.s_max_mnt_count,
        "last_checked": _time(sb.s_lastcheck, sb.s_times_hi[3]),
        "check_interval_seconds": sb.s_checkinterval,
        "creator_os": CREATORS.get(sb.s_creator_os, str(sb.s_creator_os)),
        "on_errors": ON_ERRORS.get(sb.s_errors, str(sb.s_errors)),
        "lifetime_written": sb.s_kbytes_written * 1024,
        "mount_options": text(sb.s_mount_opts),
    }
    # As libblkid has it: also of an ext4 whose newer features are all of the read-only sort.
    if kind != "ext2" and not incompat & ~EXT2_INCOMPAT:
        details["sec_type"] = "ext2"
    if compat & HAS_JOURNAL:
        details["journal_inode"] = sb.s_journal_inum
        if journal := uuid_text(sb.s_journal_uuid):
            details["ext_journal"] = journal
    if ro_compat & BIGALLOC:
        details["cluster_size"] = 1024 << sb.s_log_cluster_size
    stripes = _stripes(sb)
    if any(stripes.values()):
        details |= stripes
    if _has_noted_errors(sb):
        details["errors"] = _errors(sb)
    elsewhere, own_group = uuid_text(sb.s_journal_uuid), None
    if compat & HAS_JOURNAL and not sb.s_journal_inum and elsewhere is not None:
        # One journal may be that of several; this one knows of itself and of it.
        own_group = Membership(type="jbd", uuid=elsewhere, role=USER, members=2, identity=uuid)
    return Identity(
        type=kind,
        fstype="ext",
        group=own_group,
        label=label,
        uuid=uuid,
        version=version,
        block_size=block_size,
        fs_size=blocks * block_size,
        free=free * block_size if counted else None,
        created=_time(sb.s_mkfs_time, sb.s_times_hi[2]),
        modified=_time(sb.s_wtime, sb.s_times_hi[0]),
        mounted=_time(sb.s_mtime, sb.s_times_hi[1]),
        last_mountpoint=text(sb.s_last_mounted),
        state=state,
        offset=offset,
        checked=checked,
        details=details,
        problems=tuple(problems),
        allocation=Allocation(view, partial(count_free, _groups(sb, blocks, block_size))),
    )


def _groups(sb: Any, blocks: int, block_size: int) -> Groups:
    clustered, sparse = sb.s_feature_ro_compat & BIGALLOC, sb.s_feature_ro_compat & SPARSE_SUPER
    large = sb.s_feature_incompat & BIT64
    backups = sb.s_backup_bgs
    return Groups(
        blocks=blocks,
        block_size=block_size,
        cluster_size=1024 << sb.s_log_cluster_size if clustered else block_size,
        first_block=sb.s_first_data_block,
        per_group=sb.s_blocks_per_group,
        clusters_per_group=sb.s_clusters_per_group if clustered else sb.s_blocks_per_group,
        descriptor_size=sb.s_desc_size if large else SMALL,
        meta_from=sb.s_first_meta_bg if sb.s_feature_incompat & META_BG else None,
        backups=frozenset(unpack("<2I", backups)) if sb.s_feature_compat & SPARSE_SUPER2 else None,
        sparse=bool(sparse),
    )


def _state(sb: Any, incompat: int) -> str:
    if sb.s_state & STATE_ERRORS:
        return "error"
    return "clean" if sb.s_state & STATE_CLEAN and not incompat & RECOVER else "dirty"


def _stripes(sb: Any) -> dict[str, Json]:
    return {
        "raid_stride_blocks": sb.s_raid_stride,
        "raid_stripe_width_blocks": sb.s_raid_stripe_width,
        "mmp_interval_seconds": sb.s_mmp_interval,
        "mmp_block": sb.s_mmp_block,
    }


def _has_noted_errors(sb: Any) -> bool:
    """Whether any field is set of those in which the kernel notes the first and the last error."""
    numbers = (
        sb.s_error_count,
        *(sb.s_first_error_time, sb.s_first_error_ino, sb.s_first_error_block, sb.s_first_error_line),
        *(sb.s_last_error_time, sb.s_last_error_ino, sb.s_last_error_block, sb.s_last_error_line),
    )
    return any(numbers) or any(sb.s_first_error_func) or any(sb.s_last_error_func)


def _errors(sb: Any) -> dict[str, Json]:
    return {
        "count": sb.s_error_count,
        "first": _time(sb.s_first_error_time, sb.s_times_hi[4]),
        "first_function": text(sb.s_first_error_func),
        "first_line": sb.s_first_error_line,
        "first_inode": sb.s_first_error_ino,
        "first_block": sb.s_first_error_block,
        "last": _time(sb.s_last_error_time, sb.s_times_hi[5]),
        "last_function": text(sb.s_last_error_func),
        "last_line": sb.s_last_error_line,
        "last_inode": sb.s_last_error_ino,
        "last_block": sb.s_last_error_block,
    }


def _plausible(sb: Any, incompat: int, ro_compat: int) -> int:
    """The block size in bytes, if the superblock's figures can be true together."""
    if sb.s_log_block_size > 6 or sb.s_rev_level > 1:
        raise NotThisFormat(f"block size 2**{10 + sb.s_log_block_size}, revision {sb.s_rev_level}")
    block_size: int = 1024 << sb.s_log_block_size
    blocks = sb.s_blocks_count_lo | (sb.s_blocks_count_hi << 32 if incompat & BIT64 else 0)
    if blocks <= sb.s_first_data_block:
        raise NotThisFormat(f"{blocks} blocks, of which the first is number {sb.s_first_data_block}")
    if incompat & JOURNAL_DEV:
        return block_size
    if ro_compat & BIGALLOC and not sb.s_log_block_size <= sb.s_log_cluster_size <= 20:
        raise NotThisFormat(f"cluster size 2**{10 + sb.s_log_cluster_size}")
    per_group = sb.s_clusters_per_group if ro_compat & BIGALLOC else sb.s_blocks_per_group
    if not 0 < per_group <= 8 * block_size or sb.s_inodes_count == 0 or sb.s_inodes_per_group == 0:
        raise NotThisFormat(f"{per_group} blocks and {sb.s_inodes_per_group} inodes a group")
    return block_size


def _type(sb: Any, compat: int, incompat: int, ro_compat: int) -> str:
    if incompat & JOURNAL_DEV:
        return "jbd"
    if sb.s_flags & TEST_FILESYS:
        return "ext4dev"
    if incompat & ~EXT3_INCOMPAT or ro_compat & ~EXT3_RO_COMPAT:
        return "ext4"
    if compat & HAS_JOURNAL:
        return "ext3"
    return "ext4" if incompat & ~EXT2_INCOMPAT else "ext2"


def _time(low: int, high: int) -> str | None:
    return unix_time(low | high << 32)


_WITH_FILES = ("ext2", "ext3", "ext4", "ext4dev")

FORMAT = Format(
    name="ext",
    title="ext2/ext3/ext4",
    specification="https://www.kernel.org/doc/html/latest/filesystems/ext4/super.html",
    usage=Usage.FILESYSTEM,
    types=("ext2", "ext3", "ext4", "ext4dev", "jbd"),
    parse=parse,
    signatures=(
        Signature(MAGIC, PRIMARY + _MAGIC_AT),
        # For a search, which does not trust two bytes: with the state that follows.
        *(Signature(MAGIC + bytes((state, 0)), PRIMARY + _MAGIC_AT) for state in range(8)),
        *(
            Signature(MAGIC, copy + _MAGIC_AT, copy=True, lasting=of in _LASTING)
            for copy, of in COPIES.items()
        ),
    ),
    mounts=(
        # Without errors= the superblock's own wish counts, which may be to panic.
        KernelMount("ext4", ("noload", "errors=continue"), written=("errors=continue",)),
        ToolMount("fuse2fs", ("-o", "ro,norecovery", "{source}", "{at}")),
    ),
    files=(
        FileReader("extfs", "dissect.extfs", "dissect.extfs", types=_WITH_FILES),
        FileReader("libyal", "pyfsext", "libfsext-python", types=_WITH_FILES),
    ),
)
