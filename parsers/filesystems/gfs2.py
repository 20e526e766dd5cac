"""GFS2, the Global File System 2 for clusters.

Layout: linux/include/uapi/linux/gfs2_ondisk.h
https://www.kernel.org/doc/html/latest/filesystems/gfs2.html
"""

from functools import partial

from pyimount.formats import Format, Identity, Signature, Usage
from pyimount.formats.allocation import Allocation
from pyimount.formats.notation import text, uuid_text
from pyimount.parsers.filesystems.gfs2_allocation import count_free
from pyimount.parsers.filesystems.gfs_superblock import MAGIC, OFFSET, block_of, read_superblock
from pyimount.sources.view import View

# 1801 and 1802 so far, and 1900.
FORMATS, MULTIHOST = range(1800, 1900), range(1900, 2000)


def parse(view: View) -> Identity:
    """The identity of a GFS2 file system."""
    sb = read_superblock(view, FORMATS, MULTIHOST)
    return Identity(
        type="gfs2",
        fstype="gfs2",
        label=text(sb.sb_locktable),
        uuid=uuid_text(sb.sb_uuid),
        # libblkid's, the same for all.
        version="1",
        block_size=sb.sb_bsize,
        offset=OFFSET,
        details={
            "fs_format": sb.sb_fs_format,
            "multihost_format": sb.sb_multihost_format,
            "lock_protocol": text(sb.sb_lockproto),
            "lock_table": text(sb.sb_locktable),
            "master_directory_block": block_of(sb.sb_master_dir),
            "root_block": block_of(sb.sb_root_dir),
        },
        allocation=Allocation(view, partial(count_free, block_of(sb.sb_master_dir), sb.sb_bsize)),
    )


FORMAT = Format(
    name="gfs2",
    title="GFS2",
    specification="https://www.kernel.org/doc/html/latest/filesystems/gfs2.html",
    usage=Usage.FILESYSTEM,
    types=("gfs2",),
    parse=parse,
    signatures=(Signature(MAGIC, OFFSET),),
    unmountable="it is a cluster's file system, whose driver wants the cluster's lock manager",
)
