"""ULTRIX partition table: in the last bytes of the first 16 KiB of a DEC disk.

Layout: ULTRIX, sys/fs.h (struct pt, the fields' names), as Linux has it in block/partitions/ultrix.c
https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/block/partitions/ultrix.c
"""

from struct import iter_unpack

from construct import Bytes, Int32ul, Struct

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.formats.layouts import layout, read_struct
from pyimount.sources.view import View

SLOTS = 8
SIZE = 8 + SLOTS * 8
AT = 16384 - SIZE
MAGIC = 0x032957
VALID = 1
SECTOR = 512

TABLE = layout(
    lambda: Struct("pt_magic" / Int32ul, "pt_valid" / Int32ul, "pt_part" / Bytes(SLOTS * 8)),
)


def parse(view: View) -> Table:
    """Read the table; partitions over the same place are usual, one of them is used at a time."""
    table = read_struct(view, TABLE, AT)
    if table.pt_magic != MAGIC or table.pt_valid != VALID:
        raise NotThisFormat("no valid table")
    places = list(iter_unpack("<2I", table.pt_part))
    if any(blocks >= 1 << 31 for blocks, _ in places):
        raise NotThisFormat("a partition of a negative size")
    end = max(start + blocks for blocks, start in places)
    partitions = [
        Partition(
            number=slot + 1,
            slot=slot,
            offset=start * SECTOR,
            size=blocks * SECTOR,
            # By custom, partition c is the whole disk.
            meta=slot == 2 and start == 0 and blocks == end,
        )
        for slot, (blocks, start) in enumerate(places)
        if blocks
    ]
    details: dict[str, Json] = {"offset": AT}
    return Table(
        pttype="ultrix",
        sector_size=SECTOR,
        partitions=tuple(partitions),
        meta=(Extent(offset=AT // SECTOR * SECTOR, size=SECTOR, name="Partition Table"),),
        details=details,
    )


FORMAT = TableFormat(
    name="ultrix",
    title="ULTRIX partition table",
    specification="ULTRIX, sys/fs.h; Linux, block/partitions/ultrix.c",
    parse=parse,
    signatures=(Signature(MAGIC.to_bytes(4, "little") + VALID.to_bytes(4, "little"), AT),),
    types=("ultrix",),
)
