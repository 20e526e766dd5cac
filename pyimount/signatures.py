"""The signatures of all formats. Written by ``make signatures``; not to be edited.

With it the registry knows which parser to import before it has imported any; ``registry.IndexLine``
says what a line is.
"""

# fmt: off
# ruff: noqa: E501
INDEX: dict[str, tuple[tuple[str, str, int, tuple[tuple[bytes, int, int, bool], ...]], ...]] = {
    "containers": (
        ('adc', '', 0, ()),
        ('chunks', '', 0, ()),
        ('clusters', '', 0, ()),
        ('dmg', 'dmg', 0, ((b'koly', -512, 1, False), (b'encrcdsa', 0, 1, False), (b'cdsaencr', -8, 1, False))),
        ('ewf', 'ewf', 0, ((b'EVF\t\r\n\xff\x00', 0, 1, False), (b'LVF\t\r\n\xff\x00', 0, 1, False))),
        ('ewf2', 'ewf2', 0, ((b'EVF2\r\n\x81\x00', 0, 1, False), (b'LEF2\r\n\x81\x00', 0, 1, False))),
        ('lzfse', '', 0, ()),
        ('parallels', 'parallels', 0, ((b'WithoutFreeSpace', 0, 1, False), (b'WithouFreSpacExt', 0, 1, False), (b'<?xml', 0, 1, False), (b'\xef\xbb\xbf<?', 0, 1, False))),
        ('qcow', 'qcow', 0, ((b'QFI\xfb\x00\x00\x00\x01', 0, 1, False),)),
        ('qcow2', 'qcow2', 0, ((b'QFI\xfb\x00\x00\x00\x02', 0, 1, False), (b'QFI\xfb\x00\x00\x00\x03', 0, 1, False))),
        ('runs', '', 0, ()),
        ('vdi', 'vdi', 0, ((b'\x7f\x10\xda\xbe', 64, 1, False),)),
        ('vhd', 'vhd', 0, ((b'conectix', -512, 1, False), (b'conectix', -511, 1, False), (b'conectix', 0, 1, False))),
        ('vhdx', 'vhdx', 0, ((b'vhdxfile', 0, 1, False),)),
        ('vmdk', 'vmdk', 0, ((b'# Disk DescriptorFile', 0, 1, False), (b'KDMV', 0, 1, False), (b'COWD', 0, 1, False), (b'\xbe\xba\xfe\xca\x00\x00\x00\x00', 0, 1, False))),
        ('xmltext', '', 0, ()),
    ),
    "partitions": (
        ('apm', 'apm', 0, ((b'ER', 0, 1, False),)),
        ('boot_sector', '', 0, ()),
        ('bsd', 'bsd', 0, ((b'WEV\x82', 512, 1, False), (b'\x82VEW', 512, 1, False), (b'WEV\x82', 64, 1, False), (b'\x82VEW', 64, 1, False), (b'WEV\x82', 128, 1, False), (b'\x82VEW', 128, 1, False))),
        ('gpt', 'gpt', 0, ((b'EFI PART', 512, 1, False), (b'EFI PART', 4096, 1, False), (b'EFI PART', 2048, 1, False), (b'EFI PART', 1024, 1, False), (b'EFI PART', -512, 512, False), (b'EFI PART', -4096, 4096, False), (b'EFI PART', -2048, 2048, False), (b'EFI PART', -1024, 1024, False), (b'\xee', 450, 1, False), (b'\xee', 466, 1, False), (b'\xee', 482, 1, False), (b'\xee', 498, 1, False))),
        ('gpt_types', '', 0, ()),
        ('mbr', 'mbr', 0, ((b'U\xaa', 510, 1, False),)),
        ('mbr_types', '', 0, ()),
        ('sun', 'sun', 0, ((b'\xda\xbe', 508, 1, False),)),
    ),
    "volumes": (
        ('lvm2', 'lvm2', 30, ((b'LVM2 001', 24, 1, False), (b'LVM2 001', 536, 1, False), (b'LVM2 001', 1048, 1, False), (b'LVM2 001', 1560, 1, False))),
        ('lvm2_text', '', 0, ()),
        ('md', 'md', 10, ((b'\xfcN+\xa9', 0, 1, False), (b'\xfcN+\xa9', 4096, 1, False), (b'\xfcN+\xa9', -8192, 4096, False), (b'\xfcN+\xa9', -65536, 65536, False), (b'\xa9+N\xfc', -65536, 65536, False))),
        ('zfs', 'zfs', 30, ((b'\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01', 16384, 1, False), (b'\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01', 278528, 1, True), (b'\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01', -507904, 262144, True), (b'\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01', -245760, 262144, True), (b'\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01', 16384, 1, False), (b'\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01', 278528, 1, True), (b'\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01', -507904, 262144, True), (b'\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01', -245760, 262144, True))),
        ('zfs_nvlist', '', 0, ()),
    ),
    "encryption": (
        ('bitlocker', 'bitlocker', 20, ((b'-FVE-FS-', 3, 1, False), (b';\xd6gI).\xd8J\x83\x99\xf6\xa39\xe3\xd0\x01', 424, 1, False), (b';M\xa8\x92\x80\xdd\x0eM\x9eN\xb1\xe3(N\xae\xd8', 424, 1, False))),
        ('luks', 'luks', 20, ((b'LUKS\xba\xbe', 0, 1, False), (b'SKUL\xba\xbe', 16384, 1, True), (b'SKUL\xba\xbe', 32768, 1, True), (b'SKUL\xba\xbe', 65536, 1, True), (b'SKUL\xba\xbe', 131072, 1, True), (b'SKUL\xba\xbe', 262144, 1, True), (b'SKUL\xba\xbe', 524288, 1, True), (b'SKUL\xba\xbe', 1048576, 1, True), (b'SKUL\xba\xbe', 2097152, 1, True), (b'SKUL\xba\xbe', 4194304, 1, True))),
    ),
    "filesystems": (
        ('apfs', 'apfs', 50, ((b'NXSB', 32, 1, False), (b'NXSB', 8224, 1, True), (b'NXSB', 16416, 1, True), (b'NXSB', 32800, 1, True), (b'NXSB', 65568, 1, True), (b'NXSB', 131104, 1, True))),
        ('btrfs', 'btrfs', 50, ((b'_BHRfS_M', 65600, 1, False), (b'_BHRfS_M', 67108928, 1, True), (b'_BHRfS_M', 274877907008, 1, True))),
        ('ecma', '', 0, ()),
        ('erofs', 'erofs', 50, ((b'\xe2\xe1\xf5\xe0', 1024, 1, False),)),
        ('exfat', 'exfat', 50, ((b'EXFAT   ', 3, 1, False), (b'EXFAT   ', 6147, 1, True), (b'EXFAT   ', 12291, 1, True), (b'EXFAT   ', 24579, 1, True), (b'EXFAT   ', 49155, 1, True))),
        ('ext', 'ext', 50, ((b'S\xef', 1080, 1, False), (b'S\xef', 8389688, 1, True), (b'S\xef', 33554488, 1, True), (b'S\xef', 134217784, 1, True))),
        ('f2fs', 'f2fs', 50, ((b'\x10 \xf5\xf2', 1024, 1, False), (b'\x10 \xf5\xf2', 5120, 1, True))),
        ('fat', 'fat', 50, ((b'MSDOS', 54, 1, False), (b'FAT12   ', 54, 1, False), (b'FAT16   ', 54, 1, False), (b'FAT     ', 54, 1, False), (b'MSWIN', 82, 1, False), (b'FAT32   ', 82, 1, False), (b'U\xaa', 510, 1, False), (b'MSWIN', 3154, 1, True), (b'MSWIN', 6226, 1, True), (b'MSWIN', 12370, 1, True), (b'MSWIN', 24658, 1, True), (b'FAT32   ', 3154, 1, True), (b'FAT32   ', 6226, 1, True), (b'FAT32   ', 12370, 1, True), (b'FAT32   ', 24658, 1, True))),
        ('hfs', 'hfs', 90, ((b'BD', 1024, 1, False), (b'BD', -1024, 512, True))),
        ('hfsplus', 'hfsplus', 50, ((b'BD', 1024, 1, False), (b'H+', 1024, 1, False), (b'HX', 1024, 1, False), (b'BD', -1024, 512, True), (b'H+', -1024, 512, True), (b'HX', -1024, 512, True))),
        ('iso9660', 'iso9660', 50, ((b'CD001', 32769, 1, False), (b'CDROM', 32777, 1, False))),
        ('macintosh', '', 0, ()),
        ('ntfs', 'ntfs', 50, ((b'NTFS    ', 3, 1, False), (b'NTFS    ', -509, 1, True), (b'NTFS    ', -1021, 1, True), (b'NTFS    ', -2045, 1, True), (b'NTFS    ', -4093, 1, True))),
        ('refs', 'refs', 50, ((b'\x00\x00\x00ReFS\x00', 0, 1, False), (b'\x00\x00\x00ReFS\x00', -512, 1, True), (b'\x00\x00\x00ReFS\x00', -4096, 1, True))),
        ('squashfs', 'squashfs', 50, ((b'hsqs', 0, 1, False), (b'sqsh', 0, 1, False), (b'shsq', 0, 1, False), (b'hsqt', 0, 1, False), (b'qshs', 0, 1, False), (b'sqlz', 0, 1, False), (b'tqsh', 0, 1, False))),
        ('swap', 'swap', 50, ((b'\xed\xc3\x02\xe9\x98V\xe5\x0c', 0, 1, False), (b'SWAP-SPACE', 4086, 1, False), (b'SWAPSPACE2', 4086, 1, False), (b'S1SUSPEND', 4086, 1, False), (b'S2SUSPEND', 4086, 1, False), (b'ULSUSPEND', 4086, 1, False), (b'LINHIB0001', 4086, 1, False), (b'SWAP-SPACE', 8182, 1, False), (b'SWAPSPACE2', 8182, 1, False), (b'S1SUSPEND', 8182, 1, False), (b'S2SUSPEND', 8182, 1, False), (b'ULSUSPEND', 8182, 1, False), (b'LINHIB0001', 8182, 1, False), (b'SWAP-SPACE', 16374, 1, False), (b'SWAPSPACE2', 16374, 1, False), (b'S1SUSPEND', 16374, 1, False), (b'S2SUSPEND', 16374, 1, False), (b'ULSUSPEND', 16374, 1, False), (b'LINHIB0001', 16374, 1, False), (b'SWAP-SPACE', 32758, 1, False), (b'SWAPSPACE2', 32758, 1, False), (b'S1SUSPEND', 32758, 1, False), (b'S2SUSPEND', 32758, 1, False), (b'ULSUSPEND', 32758, 1, False), (b'LINHIB0001', 32758, 1, False), (b'SWAP-SPACE', 65526, 1, False), (b'SWAPSPACE2', 65526, 1, False), (b'S1SUSPEND', 65526, 1, False), (b'S2SUSPEND', 65526, 1, False), (b'ULSUSPEND', 65526, 1, False), (b'LINHIB0001', 65526, 1, False))),
        ('udf', 'udf', 50, ((b'BEA01', 32769, 1, False), (b'BOOT2', 32769, 1, False), (b'CD001', 32769, 1, False), (b'CDW02', 32769, 1, False), (b'NSR02', 32769, 1, False), (b'NSR03', 32769, 1, False), (b'TEA01', 32769, 1, False), (b'\x02\x00\x02\x00', 131072, 1, True), (b'\x02\x00\x03\x00', 131072, 1, True), (b'\x02\x00\x02\x00', 524288, 1, True), (b'\x02\x00\x03\x00', 524288, 1, True), (b'\x02\x00\x02\x00', 1048576, 1, True), (b'\x02\x00\x03\x00', 1048576, 1, True))),
        ('ufs', 'ufs', 50, ((b'T\x19\x01\x00', 9564, 1, False), (b'\x00\x01\x19T', 9564, 1, False), (b'\x19\x01T\x19', 9564, 1, False), (b'\x19T\x01\x19', 9564, 1, False), (b'\x12V\x19\x00', 9564, 1, False), (b'\x00\x19V\x12', 9564, 1, False), (b'\x14P\t\x00', 9564, 1, False), (b'\x00\tP\x14', 9564, 1, False), (b'\x95!a\x00', 9564, 1, False), (b'\x00a!\x95', 9564, 1, False), (b'\x94\x19#\x05', 9564, 1, False), (b'\x05#\x19\x94', 9564, 1, False), (b'T\x19\x01\x00', 66908, 1, False), (b'\x00\x01\x19T', 66908, 1, False), (b'\x19\x01T\x19', 66908, 1, False), (b'\x19T\x01\x19', 66908, 1, False), (b'\x12V\x19\x00', 66908, 1, False), (b'\x00\x19V\x12', 66908, 1, False), (b'\x14P\t\x00', 66908, 1, False), (b'\x00\tP\x14', 66908, 1, False), (b'\x95!a\x00', 66908, 1, False), (b'\x00a!\x95', 66908, 1, False), (b'\x94\x19#\x05', 66908, 1, False), (b'\x05#\x19\x94', 66908, 1, False), (b'T\x19\x01\x00', 1372, 1, False), (b'\x00\x01\x19T', 1372, 1, False), (b'\x19\x01T\x19', 1372, 1, False), (b'\x19T\x01\x19', 1372, 1, False), (b'\x12V\x19\x00', 1372, 1, False), (b'\x00\x19V\x12', 1372, 1, False), (b'\x14P\t\x00', 1372, 1, False), (b'\x00\tP\x14', 1372, 1, False), (b'\x95!a\x00', 1372, 1, False), (b'\x00a!\x95', 1372, 1, False), (b'\x94\x19#\x05', 1372, 1, False), (b'\x05#\x19\x94', 1372, 1, False), (b'T\x19\x01\x00', 263516, 1, False), (b'\x00\x01\x19T', 263516, 1, False), (b'\x19\x01T\x19', 263516, 1, False), (b'\x19T\x01\x19', 263516, 1, False), (b'\x12V\x19\x00', 263516, 1, False), (b'\x00\x19V\x12', 263516, 1, False), (b'\x14P\t\x00', 263516, 1, False), (b'\x00\tP\x14', 263516, 1, False), (b'\x95!a\x00', 263516, 1, False), (b'\x00a!\x95', 263516, 1, False), (b'\x94\x19#\x05', 263516, 1, False), (b'\x05#\x19\x94', 263516, 1, False), (b'T\x19\x01\x00', 17756, 1, True), (b'\x00\x01\x19T', 17756, 1, True), (b'\x19\x01T\x19', 17756, 1, True), (b'\x19T\x01\x19', 17756, 1, True), (b'\x12V\x19\x00', 17756, 1, True), (b'\x00\x19V\x12', 17756, 1, True), (b'\x14P\t\x00', 17756, 1, True), (b'\x00\tP\x14', 17756, 1, True), (b'\x95!a\x00', 17756, 1, True), (b'\x00a!\x95', 17756, 1, True), (b'\x94\x19#\x05', 17756, 1, True), (b'\x05#\x19\x94', 17756, 1, True), (b'T\x19\x01\x00', 34140, 1, True), (b'\x00\x01\x19T', 34140, 1, True), (b'\x19\x01T\x19', 34140, 1, True), (b'\x19T\x01\x19', 34140, 1, True), (b'\x12V\x19\x00', 34140, 1, True), (b'\x00\x19V\x12', 34140, 1, True), (b'\x14P\t\x00', 34140, 1, True), (b'\x00\tP\x14', 34140, 1, True), (b'\x95!a\x00', 34140, 1, True), (b'\x00a!\x95', 34140, 1, True), (b'\x94\x19#\x05', 34140, 1, True), (b'\x05#\x19\x94', 34140, 1, True), (b'T\x19\x01\x00', 75100, 1, True), (b'\x00\x01\x19T', 75100, 1, True), (b'\x19\x01T\x19', 75100, 1, True), (b'\x19T\x01\x19', 75100, 1, True), (b'\x12V\x19\x00', 75100, 1, True), (b'\x00\x19V\x12', 75100, 1, True), (b'\x14P\t\x00', 75100, 1, True), (b'\x00\tP\x14', 75100, 1, True), (b'\x95!a\x00', 75100, 1, True), (b'\x00a!\x95', 75100, 1, True), (b'\x94\x19#\x05', 75100, 1, True), (b'\x05#\x19\x94', 75100, 1, True), (b'T\x19\x01\x00', 83292, 1, True), (b'\x00\x01\x19T', 83292, 1, True), (b'\x19\x01T\x19', 83292, 1, True), (b'\x19T\x01\x19', 83292, 1, True), (b'\x12V\x19\x00', 83292, 1, True), (b'\x00\x19V\x12', 83292, 1, True), (b'\x14P\t\x00', 83292, 1, True), (b'\x00\tP\x14', 83292, 1, True), (b'\x95!a\x00', 83292, 1, True), (b'\x00a!\x95', 83292, 1, True), (b'\x94\x19#\x05', 83292, 1, True), (b'\x05#\x19\x94', 83292, 1, True), (b'T\x19\x01\x00', 99676, 1, True), (b'\x00\x01\x19T', 99676, 1, True), (b'\x19\x01T\x19', 99676, 1, True), (b'\x19T\x01\x19', 99676, 1, True), (b'\x12V\x19\x00', 99676, 1, True), (b'\x00\x19V\x12', 99676, 1, True), (b'\x14P\t\x00', 99676, 1, True), (b'\x00\tP\x14', 99676, 1, True), (b'\x95!a\x00', 99676, 1, True), (b'\x00a!\x95', 99676, 1, True), (b'\x94\x19#\x05', 99676, 1, True), (b'\x05#\x19\x94', 99676, 1, True), (b'T\x19\x01\x00', 132444, 1, True), (b'\x00\x01\x19T', 132444, 1, True), (b'\x19\x01T\x19', 132444, 1, True), (b'\x19T\x01\x19', 132444, 1, True), (b'\x12V\x19\x00', 132444, 1, True), (b'\x00\x19V\x12', 132444, 1, True), (b'\x14P\t\x00', 132444, 1, True), (b'\x00\tP\x14', 132444, 1, True), (b'\x95!a\x00', 132444, 1, True), (b'\x00a!\x95', 132444, 1, True), (b'\x94\x19#\x05', 132444, 1, True), (b'\x05#\x19\x94', 132444, 1, True))),
        ('xfs', 'xfs', 50, ((b'XFSB', 0, 1, False), (b'\xfe\xed\xba\xbe', 0, 1, False))),
    ),
}
