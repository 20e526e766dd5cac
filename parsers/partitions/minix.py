"""MINIX subpartitions: a table like an MBR's in the first sector of a partition of type 0x81.

Layout: MINIX 3, minix/lib/libblockdriver/drvlib.c; Linux, block/partitions/msdos.c
https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/block/partitions/msdos.c
"""

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.parsers.partitions import boot_sector
from pyimount.parsers.partitions.mbr_types import TYPES
from pyimount.sources.view import View

TYPE = 0x81


def parse(view: View) -> Table:
    """Read the table; its places count from the start of the disk.

    Nothing but the type of the partition around it tells it from an MBR.
    """
    if view.part_type != f"{TYPE:#x}" or view.disk_offset is None:
        raise NotThisFormat("not in a MINIX partition")
    sector = view.read(0, boot_sector.SIZE)
    if not boot_sector.has_signature(sector):
        raise NotThisFormat("no boot signature")
    base, end = view.disk_offset, view.disk_offset + view.size
    partitions: list[Partition] = []
    elsewhere: list[Json] = []
    for slot, record in boot_sector.records(sector):
        if record.OSType != TYPE:
            continue
        start, size = record.StartingLBA * boot_sector.SIZE, record.SizeInLBA * boot_sector.SIZE
        if start < base or start + size > end:
            elsewhere.append(slot + 1)
            continue
        partitions.append(
            Partition(
                number=slot + 1,
                slot=slot,
                offset=start - base,
                size=size,
                type=f"{TYPE:#x}",
                type_name=TYPES.get(TYPE),
                flags=("active",) if record.BootIndicator == 0x80 else (),
            )
        )
    if not partitions:
        raise NotThisFormat("no subpartition within the partition")
    return Table(
        pttype="minix",
        sector_size=boot_sector.SIZE,
        partitions=tuple(partitions),
        meta=(Extent(offset=0, size=boot_sector.SIZE, name="Subpartition Table"),),
        details={"elsewhere": elsewhere},
    )


FORMAT = TableFormat(
    name="minix-subpartitions",
    title="MINIX subpartitions",
    specification="Linux, block/partitions/msdos.c",
    parse=parse,
    signatures=(Signature(boot_sector.SIGNATURE, boot_sector.SIGNATURE_AT),),
    types=("minix",),
    over=frozenset({"mbr"}),
    belongs=frozenset({"dos"}),
)
