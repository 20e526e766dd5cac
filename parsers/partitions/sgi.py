"""SGI disk label: the volume header of IRIX disks.

Layout: IRIX, sys/dvh.h (the fields' names), as Linux has it in block/partitions/sgi.c
https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/block/partitions/sgi.c
"""

from collections.abc import Iterator
from struct import iter_unpack, unpack
from typing import Any

from construct import Bytes, Const, Int8ub, Int16ub, Int32ub, Struct

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import text
from pyimount.parsers.partitions.sector_sizes import Start, counted_in, told_otherwise
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

MAGIC = b"\x0b\xe5\xa9\x41"
SIZE = 512
SECTOR = 512
SLOTS = 16
VOLHDR, VOLUME = 0x00, 0x06
"""Types of the partitions that are the header itself, and the whole disk."""

HEADER = layout(
    lambda: Struct(
        "vh_magic" / Const(MAGIC),
        "vh_rootpt" / Int16ub,
        "vh_swappt" / Int16ub,
        "vh_bootfile" / Bytes(16),
        "dp_skew" / Int8ub,
        "dp_gap1" / Int8ub,
        "dp_gap2" / Int8ub,
        "dp_spares_cyl" / Int8ub,
        "dp_cyls" / Int16ub,
        "dp_shd0" / Int16ub,
        "dp_trks0" / Int16ub,
        "dp_ctq_depth" / Int8ub,
        "dp_cylshi" / Int8ub,
        "dp_unused" / Int16ub,
        "dp_secs" / Int16ub,
        "dp_secbytes" / Int16ub,
        "dp_interleave" / Int16ub,
        "dp_flags" / Int32ub,
        "dp_rates" / Bytes(24),
        "vh_vd" / Bytes(15 * 16),
        "vh_pt" / Bytes(SLOTS * 12),
        "vh_csum" / Int32ub,
        "vh_fill" / Int32ub,
    )
)

# As sfdisk --label sgi --list-types (util-linux 2.38) prints them.
TYPES = {
    VOLHDR: "SGI volhdr",
    0x01: "SGI trkrepl",
    0x02: "SGI secrepl",
    0x03: "SGI raw",
    0x04: "SGI bsd",
    0x05: "SGI sysv",
    VOLUME: "SGI volume",
    0x07: "SGI efs",
    0x08: "SGI lvol",
    0x09: "SGI rlvol",
    0x0A: "SGI xfs",
    0x0B: "SGI xfslog",
    0x0C: "SGI xlv",
    0x0D: "SGI xvm",
    0x82: "Linux swap",
    0x83: "Linux native",
    0x8E: "Linux LVM",
    0xFD: "Linux RAID",
}


def checksum(sector: bytes) -> int:
    """The sum of the header's 32-bit words, 0 when it is right."""
    return int(sum(unpack(">128I", sector))) & 0xFFFFFFFF


def parse(view: View) -> Table:
    """Read the header; with a wrong checksum, what its entries say must hold together."""
    sector = view.read(0, SIZE)
    header = parse_struct(sector, HEADER)
    unit = counted_in(view, [*_starts(header)])
    partitions = _partitions(header, unit)
    right = checksum(sector) == 0
    if not right and not _plausible(partitions, view.size):
        raise NotThisFormat("the checksum is wrong, and the partitions are not plausible")
    own = next((entry.size for entry in partitions if entry.type == f"{VOLHDR:#x}" and entry.offset == 0), 0)
    details: dict[str, Json] = {
        "boot_file": text(header.vh_bootfile, "latin-1"),
        "root_partition": header.vh_rootpt,
        "swap_partition": header.vh_swappt,
        "cylinders": header.dp_cylshi << 16 | header.dp_cyls,
        "tracks_per_cylinder": header.dp_trks0,
        "sectors_per_track": header.dp_secs,
        "sector_bytes": header.dp_secbytes,
        "files": _files(header.vh_vd),
    }
    wrong = Problem(Code.BAD_CHECKSUM, "the checksum of the SGI volume header is wrong")
    return Table(
        pttype="sgi",
        sector_size=unit,
        partitions=tuple(partitions),
        meta=(Extent(offset=0, size=max(SIZE, own), name="Volume Header"),),
        details=details,
        problems=(*told_otherwise(view, unit), *(() if right else (wrong,))),
        checked=right,
    )


def _starts(header: Any) -> Iterator[Start]:
    """Where the partitions lie, but for those that are the header or the whole volume."""
    for blocks, first, kind in iter_unpack(">3I", header.vh_pt):
        if blocks and kind not in (VOLHDR, VOLUME):
            yield Start(first, first + blocks)


def _partitions(header: Any, unit: int) -> list[Partition]:
    found = []
    for slot, (blocks, first, kind) in enumerate(iter_unpack(">3I", header.vh_pt)):
        if blocks == 0:
            continue
        flags = (("boot", header.vh_rootpt), ("swap", header.vh_swappt))
        found.append(
            Partition(
                number=slot + 1,
                slot=slot,
                offset=first * unit,
                size=blocks * unit,
                meta=kind in (VOLHDR, VOLUME),
                type=f"{kind:#x}",
                type_name=TYPES.get(kind),
                flags=tuple(name for name, marked in flags if marked == slot),
            )
        )
    return found


def _plausible(partitions: list[Partition], size: int) -> bool:
    data = [entry for entry in partitions if not entry.meta]
    return bool(data) and all(entry.type_name and entry.offset < size for entry in data)


def _files(directory: bytes) -> list[Json]:
    """The volume directory: the standalone programs that the header holds."""
    return [
        {"name": text(name, "latin-1"), "offset": block * SECTOR, "size": size}
        for name, block, size in iter_unpack(">8sII", directory)
        if name[0] and size
    ]


FORMAT = TableFormat(
    name="sgi",
    title="SGI disk label",
    specification="IRIX, sys/dvh.h; Linux, block/partitions/sgi.c",
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    types=("sgi",),
    vstypes=("dvh",),
)
