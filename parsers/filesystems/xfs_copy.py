"""XFS by a copy of its superblock, of which one begins each allocation group.

Layout: see xfs.py, which knows an XFS by the superblock at its start.
https://mirrors.edge.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf

How far the second group is from the start only the superblock itself tells, so there is no signature: it is
looked for where mkfs.xfs puts it in a file system that fills the volume.
"""

from collections.abc import Iterator

from pyimount.formats import Format, Identity, NotThisFormat, Usage
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = b"XFSB"
BLOCK_SIZES = (4096, 1024)
LARGEST_GROUP = (1 << 40) - 4096
"""Bytes in each group of a file system of more than 4 TiB."""
SMALLEST = 16 << 20


def places(size: int) -> Iterator[int]:
    """Where the second allocation group may begin in a file system of ``size`` bytes: a quarter into it."""
    for block_size in BLOCK_SIZES:
        yield (size // block_size + 3) // 4 * block_size
    yield LARGEST_GROUP


def parse(view: View) -> Identity:
    """The identity of an XFS whose first superblock is gone."""
    if view.size < SMALLEST:
        raise NotThisFormat(f"{view.size} bytes")
    for offset in dict.fromkeys(places(view.size)):
        if view.glance(offset, len(MAGIC)) != MAGIC:
            continue
        # Only now: this is asked of everything that nobody else knows.
        from pyimount.parsers.filesystems import xfs

        try:
            sb = xfs.read_superblock(view, offset)
        except (NotThisFormat, ShortRead):
            continue
        if sb.sb_agblocks * sb.sb_blocksize == offset:
            message = f"the superblock at 0 is unusable; the facts come from the copy at {offset}"
            return xfs.identity(view, sb, offset, Problem(Code.BACKUP_USED, message))
    raise NotThisFormat("no copy of a superblock")


FORMAT = Format(
    name="xfs_copy",
    title="XFS by a copy of its superblock",
    specification="https://mirrors.edge.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf",
    usage=Usage.FILESYSTEM,
    types=("xfs",),
    parse=parse,
)
