"""Copy-on-write stores of device-mapper snapshots.

Layout: Linux, drivers/md/dm-snap-persistent.c, ``struct disk_header``
https://github.com/torvalds/linux/blob/master/drivers/md/dm-snap-persistent.c
"""

from construct import Const, Int32ul, Struct

from pyimount.formats import Format, Identity, NotThisFormat, Precedence, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.sources.view import View

SECTOR = 512
MAGIC = b"SnAp"
HEADER = layout(
    lambda: Struct(
        "magic" / Const(MAGIC),
        "valid" / Int32ul,
        "version" / Int32ul,
        "chunk_size" / Int32ul,
    )
)
VERSION = 1
MAX_CHUNK = 1 << 20
"""In sectors: LVM goes to 512 KiB, dmsetup may go higher."""


def parse(view: View) -> Identity:
    """The identity of a store; the kernel writes this version only."""
    header = read_struct(view, HEADER, 0)
    chunk = header.chunk_size
    if header.version != VERSION or header.valid > 1:
        raise NotThisFormat(f"version {header.version}, valid {header.valid}")
    if not 0 < chunk <= MAX_CHUNK or chunk & chunk - 1:
        raise NotThisFormat(f"chunks of {chunk} sectors")
    return Identity(
        type="DM_snapshot_cow",
        state="valid" if header.valid else "invalid",
        details={
            "valid": bool(header.valid),
            "store_version": header.version,
            "chunk_size": chunk * SECTOR,
        },
    )


FORMAT = Format(
    name="dm_snapshot",
    title="Device-mapper snapshot store",
    specification="https://docs.kernel.org/admin-guide/device-mapper/snapshot.html",
    usage=Usage.OTHER,
    types=("DM_snapshot_cow",),
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    precedence=Precedence.VOLUME_GROUP,
)
