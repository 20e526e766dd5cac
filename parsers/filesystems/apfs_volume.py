"""One volume of an APFS container.

Layout: Apple, "Apple File System Reference" (2020-06-22), "Volumes"
https://developer.apple.com/support/downloads/Apple-File-System-Reference.pdf
"""

from construct import Bytes, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Identity, Json, NotThisFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import flag_names, text, unix_time, uuid_text
from pyimount.parsers.filesystems.apfs_objects import OBJECT, is_whole
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

APFS_SUPERBLOCK = layout(
    lambda: Struct(
        "object" / Bytes(32),
        "apfs_magic" / Bytes(4),
        "apfs_fs_index" / Int32ul,
        "apfs_features" / Int64ul,
        "apfs_readonly_compatible_features" / Int64ul,
        "apfs_incompatible_features" / Int64ul,
        "apfs_unmount_time" / Int64ul,
        "apfs_fs_reserve_block_count" / Int64ul,
        "apfs_fs_quota_block_count" / Int64ul,
        "apfs_fs_alloc_count" / Int64ul,
        "apfs_meta_crypto" / Bytes(20),
        "apfs_root_tree_type" / Int32ul,
        "apfs_extentref_tree_type" / Int32ul,
        "apfs_snap_meta_tree_type" / Int32ul,
        "apfs_omap_oid" / Int64ul,
        "apfs_root_tree_oid" / Int64ul,
        "apfs_extentref_tree_oid" / Int64ul,
        "apfs_snap_meta_tree_oid" / Int64ul,
        "apfs_revert_to_xid" / Int64ul,
        "apfs_revert_to_sblock_oid" / Int64ul,
        "apfs_next_obj_id" / Int64ul,
        "apfs_num_files" / Int64ul,
        "apfs_num_directories" / Int64ul,
        "apfs_num_symlinks" / Int64ul,
        "apfs_num_other_fsobjects" / Int64ul,
        "apfs_num_snapshots" / Int64ul,
        "apfs_total_blocks_alloced" / Int64ul,
        "apfs_total_blocks_freed" / Int64ul,
        "apfs_vol_uuid" / Bytes(16),
        "apfs_last_mod_time" / Int64ul,
        "apfs_fs_flags" / Int64ul,
        "apfs_formatted_by" / Bytes(48),
        "apfs_modified_by" / Bytes(8 * 48),
        "apfs_volname" / Bytes(256),
        "apfs_next_doc_id" / Int32ul,
        "apfs_role" / Int16ul,
        "reserved" / Int16ul,
        "apfs_root_to_xid" / Int64ul,
        "apfs_er_state_oid" / Int64ul,
        "apfs_cloneinfo_id_epoch" / Int64ul,
        "apfs_cloneinfo_xid" / Int64ul,
        "apfs_snap_meta_ext_oid" / Int64ul,
        "apfs_volume_group_id" / Bytes(16),
        "apfs_integrity_meta_oid" / Int64ul,
    )
)
MODIFIED_BY = layout(lambda: Struct("id" / Bytes(32), "timestamp" / Int64ul, "last_xid" / Int64ul))
VOLUME_MAGIC = b"APSB"
FEATURES = {
    0x1: "defrag_prerelease",
    0x2: "hardlink_map_records",
    0x4: "defrag",
    0x8: "strictatime",
    0x10: "volgrp_system_ino_space",
}
INCOMPATIBLE = {
    0x1: "case_insensitive",
    0x2: "dataless_snaps",
    0x4: "enc_rolled",
    0x8: "normalization_insensitive",
    0x10: "incomplete_restore",
    0x20: "sealed_volume",
}
CASE_INSENSITIVE, SEALED = 0x1, 0x20
UNENCRYPTED, ONEKEY = 0x1, 0x8
ROLES = {
    0x0: None,
    0x1: "system",
    0x2: "user",
    0x4: "recovery",
    0x8: "vm",
    0x10: "preboot",
    0x20: "installer",
    1 << 6: "data",
    2 << 6: "baseband",
    3 << 6: "update",
    4 << 6: "xart",
    5 << 6: "hardware",
    6 << 6: "backup",
    9 << 6: "enterprise",
    11 << 6: "prelogin",
}


def volume_at(view: View, block_size: int, number: int, oid: int) -> Identity:
    """The volume whose superblock is object ``oid``, at block ``number``.

    Raises NotThisFormat and ShortRead.
    """
    raw = view.read(number * block_size, block_size)
    sb = parse_struct(raw, APFS_SUPERBLOCK)
    if sb.apfs_magic != VOLUME_MAGIC or parse_struct(raw, OBJECT).o_oid != oid:
        raise NotThisFormat(f"no volume superblock at block {number}")
    whole = is_whole(raw, block_size)
    problems = []
    if not whole:
        message = f"the checksum of the volume superblock at block {number} does not match"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
    writers = [
        parse_struct(sb.apfs_modified_by, MODIFIED_BY, at)
        for at in range(0, len(sb.apfs_modified_by), MODIFIED_BY.size)
    ]
    formatted = parse_struct(sb.apfs_formatted_by, MODIFIED_BY)
    encrypted = not sb.apfs_fs_flags & UNENCRYPTED
    details: dict[str, Json] = {
        "role": ROLES.get(sb.apfs_role, f"{sb.apfs_role:#x}"),
        "encrypted": encrypted,
        "one_key": bool(sb.apfs_fs_flags & ONEKEY),
        "case_sensitive": not sb.apfs_incompatible_features & CASE_INSENSITIVE,
        "sealed": bool(sb.apfs_incompatible_features & SEALED),
        "features": [
            *flag_names(sb.apfs_features, FEATURES, "feature"),
            *flag_names(sb.apfs_incompatible_features, INCOMPATIBLE, "incompatible"),
            *flag_names(sb.apfs_readonly_compatible_features, {}, "readonly_compatible"),
        ],
        "files": sb.apfs_num_files,
        "directories": sb.apfs_num_directories,
        "symlinks": sb.apfs_num_symlinks,
        "snapshots": sb.apfs_num_snapshots,
        "allocated": sb.apfs_fs_alloc_count * block_size,
        "reserve": sb.apfs_fs_reserve_block_count * block_size,
        "quota": sb.apfs_fs_quota_block_count * block_size,
        "volume_group": uuid_text(sb.apfs_volume_group_id),
        "formatted_by": text(formatted.id),
        "modified_by": text(writers[0].id),
        "unmounted": _time(sb.apfs_unmount_time),
    }
    if encrypted:
        problems.append(Problem(Code.LOCKED, "the volume is encrypted"))
    return Identity(
        type="apfs",
        fstype="apfs",
        label=text(sb.apfs_volname),
        uuid=uuid_text(sb.apfs_vol_uuid),
        block_size=block_size,
        created=_time(formatted.timestamp),
        modified=_time(sb.apfs_last_mod_time),
        locked=True if encrypted else None,
        used=sb.apfs_fs_alloc_count * block_size,
        free_unknown="what is free is its container's, for all volumes together",
        offset=number * block_size,
        checked=whole,
        details=details,
        problems=tuple(problems),
    )


def _time(nanoseconds: int) -> str | None:
    return unix_time(*divmod(nanoseconds, 1_000_000_000))
