"""The words that options take for types: known without loading the hundred parsers that give them.

A test holds them against what the parsers declare.
"""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


TABLES = _set("""
    PMBR ahdi aix amiga android-super android_super apm atari bsd bsd64 dasd detect disklabel disklabel64
    dos dvh efi gpt guid ibm lp mac mbr minix minix-subpartitions msdos none rdb sgi solaris sun super
    ultrix unixware vtoc
""")
"""Types of partition tables, for ``--vstype``."""

DRIVERS = _set("""
    bcachefs befs bfs btrfs cramfs erofs exfat ext4 f2fs fsapfsmount fuse2fs hfs hfsplus hpfs iso9660 jffs2
    jfs minix mount.exfat-fuse nilfs2 ntfs-3g ntfs3 qnx4 qnx6 reiserfs romfs squashfs sysv udf ufs vfat
    vmfs-fuse vmfs6-fuse vxfs xfs
""")
"""Drivers and programs that mount, for ``--allow-fs``."""

VOLUMES = _set("""
    BitLocker DM_integrity DM_snapshot_cow DM_verity_hash LVM1_member LVM2_member ReFS VMFS
    VMFS_volume_member adaptec_raid adaptec_raid_member android_boot android_vendor_boot apfs bcache
    bcachefs befs bfs bitlocker btrfs ceph_bluestore corestorage cpio cramfs crypto_LUKS cs_fvault2 ddf
    ddf_raid_member dm_integrity dm_snapshot dm_verity drbd drbdmanage drbdmanage_control_volume drbdproxy
    drbdproxy_datalog erofs exfat ext ext2 ext3 ext4 ext4dev f2fs fat fat_unmarked fit gfs gfs2 hfs hfsplus
    hpfs hpt37x_raid hpt37x_raid_member hpt45x_raid hpt45x_raid_member iso9660 isw_raid isw_raid_member jbd jffs2
    jfs jmicron_raid jmicron_raid_member ldm ldm_data ldm_member ldm_metadata linux_raid_member logfs
    lsi_mega_raid lsi_mega_raid_member luks lvm1 lvm2 md minix mpool nilfs2 nss ntfs nvidia_raid
    nvidia_raid_member ocfs ocfs2 oracleasm promise_fasttrack_raid promise_fasttrack_raid_member qnx4 qnx6
    refs reiser4 reiserfs romfs scoutfs scoutfs_data scoutfs_meta silicon_medley_raid
    silicon_medley_raid_member squashfs squashfs3 stratis swap swsuspend sysv tar tar_v7 u-boot u-boot-fit
    ubi ubifs uboot udf ufs vdo vfat via_raid via_raid_member vinum vinum_member vmfs vmfs_lvm vxfs wim
    xenix xfs xfs_copy xfs_external_log xfs_log yaffs2 zfs zfs_member zonefs
""")
"""Types of volumes, for ``--fstypes``: the report's, and the names of their formats."""

FSTYPES = _set("""
    bde bluestore hfs+ iso lvm raid unknown
""")
"""imagemounter's words for the same (``fstype`` in the report), where they differ."""


def meant(word: str, known: frozenset[str]) -> str:
    """What may have been meant by an unknown word, as the end of a sentence; empty when nothing is close."""
    from difflib import get_close_matches

    close = get_close_matches(word, sorted(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""
