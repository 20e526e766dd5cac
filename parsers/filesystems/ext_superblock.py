"""The superblock of ext2, ext3 and ext4: its fields, and what its flags and numbers mean.

Layout: kernel.org, Documentation/filesystems/ext4, "Super Block"
https://www.kernel.org/doc/html/latest/filesystems/ext4/super.html
"""

from construct import Bytes, Const, Int8ul, Int16sl, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats.layouts import layout

MAGIC = b"\x53\xef"
SUPERBLOCK = layout(
    lambda: Struct(
        "s_inodes_count" / Int32ul,
        "s_blocks_count_lo" / Int32ul,
        "s_r_blocks_count_lo" / Int32ul,
        "s_free_blocks_count_lo" / Int32ul,
        "s_free_inodes_count" / Int32ul,
        "s_first_data_block" / Int32ul,
        "s_log_block_size" / Int32ul,
        "s_log_cluster_size" / Int32ul,
        "s_blocks_per_group" / Int32ul,
        "s_clusters_per_group" / Int32ul,
        "s_inodes_per_group" / Int32ul,
        "s_mtime" / Int32ul,
        "s_wtime" / Int32ul,
        "s_mnt_count" / Int16ul,
        "s_max_mnt_count" / Int16sl,
        "s_magic" / Const(MAGIC),
        "s_state" / Int16ul,
        "s_errors" / Int16ul,
        "s_minor_rev_level" / Int16ul,
        "s_lastcheck" / Int32ul,
        "s_checkinterval" / Int32ul,
        "s_creator_os" / Int32ul,
        "s_rev_level" / Int32ul,
        "s_def_resuid" / Int16ul,
        "s_def_resgid" / Int16ul,
        "s_first_ino" / Int32ul,
        "s_inode_size" / Int16ul,
        "s_block_group_nr" / Int16ul,
        "s_feature_compat" / Int32ul,
        "s_feature_incompat" / Int32ul,
        "s_feature_ro_compat" / Int32ul,
        "s_uuid" / Bytes(16),
        "s_volume_name" / Bytes(16),
        "s_last_mounted" / Bytes(64),
        "s_algorithm_usage_bitmap" / Int32ul,
        "s_prealloc_blocks" / Int8ul,
        "s_prealloc_dir_blocks" / Int8ul,
        "s_reserved_gdt_blocks" / Int16ul,
        "s_journal_uuid" / Bytes(16),
        "s_journal_inum" / Int32ul,
        "s_journal_dev" / Int32ul,
        "s_last_orphan" / Int32ul,
        "s_hash_seed" / Bytes(4 * 4),
        "s_def_hash_version" / Int8ul,
        "s_jnl_backup_type" / Int8ul,
        "s_desc_size" / Int16ul,
        "s_default_mount_opts" / Int32ul,
        "s_first_meta_bg" / Int32ul,
        "s_mkfs_time" / Int32ul,
        "s_jnl_blocks" / Bytes(17 * 4),
        "s_blocks_count_hi" / Int32ul,
        "s_r_blocks_count_hi" / Int32ul,
        "s_free_blocks_count_hi" / Int32ul,
        "s_min_extra_isize" / Int16ul,
        "s_want_extra_isize" / Int16ul,
        "s_flags" / Int32ul,
        "s_raid_stride" / Int16ul,
        "s_mmp_interval" / Int16ul,
        "s_mmp_block" / Int64ul,
        "s_raid_stripe_width" / Int32ul,
        "s_log_groups_per_flex" / Int8ul,
        "s_checksum_type" / Int8ul,
        "s_reserved_pad" / Int16ul,
        "s_kbytes_written" / Int64ul,
        "s_snapshot_inum" / Int32ul,
        "s_snapshot_id" / Int32ul,
        "s_snapshot_r_blocks_count" / Int64ul,
        "s_snapshot_list" / Int32ul,
        "s_error_count" / Int32ul,
        "s_first_error_time" / Int32ul,
        "s_first_error_ino" / Int32ul,
        "s_first_error_block" / Int64ul,
        "s_first_error_func" / Bytes(32),
        "s_first_error_line" / Int32ul,
        "s_last_error_time" / Int32ul,
        "s_last_error_ino" / Int32ul,
        "s_last_error_line" / Int32ul,
        "s_last_error_block" / Int64ul,
        "s_last_error_func" / Bytes(32),
        "s_mount_opts" / Bytes(64),
        "s_usr_quota_inum" / Int32ul,
        "s_grp_quota_inum" / Int32ul,
        "s_overhead_blocks" / Int32ul,
        "s_backup_bgs" / Bytes(2 * 4),
        "s_encrypt_algos" / Bytes(4),
        "s_encrypt_pw_salt" / Bytes(16),
        "s_lpf_ino" / Int32ul,
        "s_prj_quota_inum" / Int32ul,
        "s_checksum_seed" / Int32ul,
        # The fifth bytes of times: s_wtime_hi, s_mtime_hi, s_mkfs_time_hi, s_lastcheck_hi,
        # s_first_error_time_hi, s_last_error_time_hi.
        "s_times_hi" / Bytes(6),
        "s_first_error_errcode" / Int8ul,
        "s_last_error_errcode" / Int8ul,
        "s_encoding" / Int16ul,
        "s_encoding_flags" / Int16ul,
        "s_orphan_file_inum" / Int32ul,
        "s_reserved" / Bytes(94 * 4),
        "s_checksum" / Int32ul,
    )
)

HAS_JOURNAL = 0x4
RECOVER = 0x4
JOURNAL_DEV = 0x8
BIT64 = 0x80
METADATA_CSUM = 0x400
BIGALLOC = 0x200
META_BG = 0x10
SPARSE_SUPER, SPARSE_SUPER2 = 0x1, 0x200

COMPAT = {
    0x1: "dir_prealloc",
    0x2: "imagic_inodes",
    0x4: "has_journal",
    0x8: "ext_attr",
    0x10: "resize_inode",
    0x20: "dir_index",
    0x40: "lazy_bg",
    0x80: "exclude_inode",
    0x100: "exclude_bitmap",
    0x200: "sparse_super2",
    0x400: "fast_commit",
    0x800: "stable_inodes",
    0x1000: "orphan_file",
}
INCOMPAT = {
    0x1: "compression",
    0x2: "filetype",
    0x4: "needs_recovery",
    0x8: "journal_dev",
    0x10: "meta_bg",
    0x40: "extent",
    0x80: "64bit",
    0x100: "mmp",
    0x200: "flex_bg",
    0x400: "ea_inode",
    0x1000: "dirdata",
    0x2000: "metadata_csum_seed",
    0x4000: "large_dir",
    0x8000: "inline_data",
    0x10000: "encrypt",
    0x20000: "casefold",
}
RO_COMPAT = {
    0x1: "sparse_super",
    0x2: "large_file",
    0x4: "btree_dir",
    0x8: "huge_file",
    0x10: "uninit_bg",
    0x20: "dir_nlink",
    0x40: "extra_isize",
    0x80: "has_snapshot",
    0x100: "quota",
    0x200: "bigalloc",
    0x400: "metadata_csum",
    0x800: "replica",
    0x1000: "read-only",
    0x2000: "project",
    0x4000: "shared_blocks",
    0x8000: "verity",
    0x10000: "orphan_present",
}
TEST_FILESYS = 0x4

STATE_CLEAN, STATE_ERRORS = 0x1, 0x2
CREATORS = {0: "Linux", 1: "GNU/Hurd", 2: "Masix", 3: "FreeBSD", 4: "Lites"}
ON_ERRORS = {1: "continue", 2: "remount-ro", 3: "panic"}
