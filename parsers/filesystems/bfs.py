"""BFS, the boot file system of SCO UnixWare.

Layout: linux/include/uapi/linux/bfs_fs.h, ``struct bfs_super_block``
https://www.kernel.org/doc/html/latest/filesystems/bfs.html
"""

from functools import partial
from struct import Struct as Packed

from construct import Bytes, Const, Int32sl, Int32ul, Struct

from pyimount.formats import Format, Identity, KernelMount, NotThisFormat, Signature, Usage
from pyimount.formats.allocation import Allocation, Reader, Space
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text
from pyimount.sources.view import View

MAGIC = b"\xce\xfa\xad\x1b"
SUPERBLOCK = layout(
    lambda: Struct(
        "s_magic" / Const(MAGIC),
        "s_start" / Int32ul,
        "s_end" / Int32ul,
        "s_from" / Int32sl,
        "s_to" / Int32sl,
        "s_bfrom" / Int32sl,
        "s_bto" / Int32sl,
        "s_fsname" / Bytes(6),
        "s_volume" / Bytes(6),
    )
)
BLOCK_SIZE = 512
INODE_SIZE = 64
INODE = Packed("<H2xII52x")
"""i_ino, i_sblock, i_eblock: the first and the last block of a file."""
IDLE = -1


def parse(view: View) -> Identity:
    """The identity of a BFS file system."""
    sb = read_struct(view, SUPERBLOCK, 0)
    inodes, rest = divmod(sb.s_start - BLOCK_SIZE, INODE_SIZE)
    # libblkid looks at the magic alone.
    if rest or inodes < 1 or sb.s_end <= sb.s_start:
        raise NotThisFormat(f"data from {sb.s_start} to {sb.s_end}")
    compacting = IDLE not in (sb.s_from, sb.s_to)
    return Identity(
        type="bfs",
        fstype="bfs",
        fs_size=sb.s_end + 1,
        state="dirty" if compacting else "clean",
        details={
            "fsname": text(sb.s_fsname, "ascii"),
            "volume": text(sb.s_volume, "ascii"),
            "block_size": BLOCK_SIZE,
            "blocks": (sb.s_end + 1) // BLOCK_SIZE,
            "inodes": inodes,
            "data_start": sb.s_start,
            "data_end": sb.s_end,
            "compacting": compacting,
        },
        allocation=Allocation(view, partial(_count, sb.s_start, sb.s_end)),
    )


def _count(start: int, end: int, reader: Reader) -> Space:
    """Free bytes: the blocks that no inode has. There is no map; a file is one run."""
    used = 0
    for piece in reader.pieces(BLOCK_SIZE, start - BLOCK_SIZE):
        for number, first, last in INODE.iter_unpack(piece):
            if number and first:
                used += last - first + 1
                if first > last or (last + 1) * BLOCK_SIZE > end + 1:
                    raise NotThisFormat(f"a file from block {first} to {last}")
    return Space(free=(end + 1 - start) // BLOCK_SIZE * BLOCK_SIZE - used * BLOCK_SIZE, found="inodes")


FORMAT = Format(
    name="bfs",
    title="SCO BFS",
    specification="https://www.kernel.org/doc/html/latest/filesystems/bfs.html",
    usage=Usage.FILESYSTEM,
    types=("bfs",),
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    mounts=(KernelMount("bfs", maintained=False),),
)
