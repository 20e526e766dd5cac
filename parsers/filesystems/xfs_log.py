"""External logs of XFS that have been written round, so that a record's middle stands at their start.

Layout: see xfs.py, which knows a log by a record at its first byte.
https://mirrors.edge.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf
"""

from contextlib import suppress

from pyimount.formats import Format, Identity, NotThisFormat, Signature, Usage
from pyimount.parsers.filesystems.xfs import LOG_MAGIC, log_record
from pyimount.sources.view import View

SECTOR = 512
SCANNED = 36 << 10
"""As much of a log has a record's start in it, the largest record being 33 KiB by default; bytes.

libblkid looks at 256 KiB, for those of a larger ``logbsize``: this is what is read of every volume anyway.
"""
LEAST = 10 << 20
"""mkfs.xfs makes no smaller external log; bytes."""


def parse(view: View) -> Identity:
    """The identity of a log by the first record in it."""
    if view.size < LEAST:
        raise NotThisFormat(f"a log of {view.size} bytes")
    start = view.read(0, SCANNED)
    for at in range(0, SCANNED, SECTOR):
        if start.startswith(LOG_MAGIC, at):
            with suppress(NotThisFormat):
                return log_record(view, at)
    raise NotThisFormat("no record of a log")


FORMAT = Format(
    name="xfs_log",
    title="XFS external log",
    specification="https://mirrors.edge.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf",
    usage=Usage.OTHER,
    types=("xfs_external_log",),
    parse=parse,
    signatures=tuple(Signature(LOG_MAGIC, at, copy=True) for at in range(SECTOR, SCANNED, SECTOR)),
)
