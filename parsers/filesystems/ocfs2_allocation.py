"""What is free in an OCFS2 file system, by the inode of its global bitmap.

Layout: linux/fs/ocfs2/ocfs2_fs.h, ``struct ocfs2_dinode``, ``ocfs2_extent_list``, ``ocfs2_dir_entry``
https://www.kernel.org/doc/html/latest/filesystems/ocfs2.html
"""

from struct import Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.allocation import PIECE, Reader, Space

INODE_MAGIC = b"INODE01\0"
USED_AND_TOTAL, USED_AND_TOTAL_AT = Struct("<II"), 0xB8
"""i_used and i_total of a bitmap's inode."""
SIZE_AT, FEATURES_AT = 0x20, 0x76
INLINE = 0x1
DATA_AT = 0xC0
"""Where an inode's extents or its data stand."""
EXTENT_LIST = Struct("<HHH10x")
"""l_tree_depth, l_count, l_next_free_rec; the records follow."""
EXTENT = Struct("<IHBBQ")
"""e_cpos, e_leaf_clusters, e_reserved1, e_flags, e_blkno."""
ENTRY = Struct("<QHBB")
"""inode, rec_len, name_len, file_type of a directory's entry."""
NAME = b"global_bitmap"


def count_free(directory: int, block_size: int, cluster_size: int, reader: Reader) -> Space:
    """Free bytes; ``directory``: the block of the system directory's inode."""
    inode = _inode(directory, block_size, reader)
    for data in _data(inode, block_size, cluster_size, reader):
        at = 0
        while at + ENTRY.size <= len(data):
            number, length, name_length, _ = ENTRY.unpack_from(data, at)
            if length < ENTRY.size:
                break
            if number and data[at + ENTRY.size :][:name_length] == NAME:
                bitmap = _inode(number, block_size, reader)
                used, total = USED_AND_TOTAL.unpack_from(bitmap, USED_AND_TOTAL_AT)
                if used > total:
                    raise NotThisFormat(f"{used} clusters used, of {total}")
                size = cluster_size
                return Space(free=(total - used) * size, used=used * size, found="global bitmap")
            at += length
    raise NotThisFormat("no global bitmap in the system directory")


def _inode(block: int, block_size: int, reader: Reader) -> bytes:
    raw = reader.read(block * block_size, block_size)
    if not raw.startswith(INODE_MAGIC):
        raise NotThisFormat(f"no inode in block {block}")
    return raw


def _data(inode: bytes, block_size: int, cluster_size: int, reader: Reader) -> list[bytes]:
    """What the system directory holds, by its inode: it is small, and its extents stand there, or itself."""
    if int.from_bytes(inode[FEATURES_AT : FEATURES_AT + 2], "little") & INLINE:
        return [inode[DATA_AT + 8 :]]
    depth, count, following = EXTENT_LIST.unpack_from(inode, DATA_AT)
    if depth or following > count or DATA_AT + EXTENT_LIST.size + following * EXTENT.size > block_size:
        raise NotThisFormat("a system directory of many extents")
    left = int.from_bytes(inode[SIZE_AT : SIZE_AT + 8], "little")
    found = []
    for number in range(following):
        at = DATA_AT + EXTENT_LIST.size + number * EXTENT.size
        _, clusters, _, _, block = EXTENT.unpack_from(inode, at)
        taken = min(left, clusters * cluster_size, PIECE)
        left -= taken
        found.append(reader.read(block * block_size, taken))
    # An entry does not cross blocks.
    return [data[at : at + block_size] for data in found for at in range(0, len(data), block_size)]
