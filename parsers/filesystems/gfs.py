"""GFS, the first version of Red Hat's (Sistina's) Global File System for clusters.

Layout: ``struct gfs_sb`` of gfs1, the same as GFS2's, as gfs2-utils' gfs2_convert reads it
https://pagure.io/gfs2-utils
"""

from pyimount.formats import Format, Identity, Signature, Usage
from pyimount.formats.notation import text, uuid_text
from pyimount.parsers.filesystems.gfs_superblock import MAGIC, OFFSET, block_of, read_superblock
from pyimount.sources.view import View

FORMATS, MULTIHOST = range(1309, 1310), range(1401, 1402)


def parse(view: View) -> Identity:
    """The identity of a GFS file system."""
    sb = read_superblock(view, FORMATS, MULTIHOST)
    return Identity(
        type="gfs",
        fstype="gfs",
        free_unknown="its counters lie in the resource groups, which are not read",
        label=text(sb.sb_locktable),
        uuid=uuid_text(sb.sb_uuid),
        offset=OFFSET,
        details={
            "fs_format": sb.sb_fs_format,
            "multihost_format": sb.sb_multihost_format,
            "block_size": sb.sb_bsize,
            "journal_segment_blocks": sb.sb_seg_size,
            "lock_protocol": text(sb.sb_lockproto),
            "lock_table": text(sb.sb_locktable),
            "journal_index_block": block_of(sb.sb_master_dir),
            "resource_index_block": block_of(sb.sb_rindex_di),
            "root_block": block_of(sb.sb_root_dir),
        },
    )


FORMAT = Format(
    name="gfs",
    title="GFS",
    specification="https://pagure.io/gfs2-utils",
    usage=Usage.FILESYSTEM,
    types=("gfs",),
    parse=parse,
    signatures=(Signature(MAGIC, OFFSET),),
    unmountable="Linux no longer has a driver for the first GFS",
)
