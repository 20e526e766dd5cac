"""UnixWare disk label: in a partition of type 0x63 of an MBR.

Layout: Linux, block/partitions/msdos.c (struct unixware_disklabel, the fields' names); UnixWare, sys/vtoc.h
https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/block/partitions/msdos.c
"""

from struct import iter_unpack
from typing import Any

from construct import Bytes, Int16ul, Int32ul, Struct

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text
from pyimount.sources.view import View

AT = 29 * 512
"""Where the label stands, bytes from the start of its partition."""
MAGIC = 0xCA5E600D
VTOC_MAGIC = 0x600DDEEE
SECTOR = 512
SLOTS = 16
UNUSED, ENTIRE_DISK = 0x00, 0x05
VALID = 0x200

LABEL = layout(
    lambda: Struct(
        "d_type" / Int32ul,
        "d_magic" / Int32ul,
        "d_version" / Int32ul,
        "d_serial" / Bytes(12),
        "d_ncylinders" / Int32ul,
        "d_ntracks" / Int32ul,
        "d_nsectors" / Int32ul,
        "d_secsize" / Int32ul,
        "d_part_start" / Int32ul,
        "d_unknown1" / Bytes(48),
        "d_alt_tbl" / Int32ul,
        "d_alt_len" / Int32ul,
        "d_phys" / Bytes(16),
        "d_unknown2" / Bytes(8),
        "d_pad" / Bytes(32),
        "v_magic" / Int32ul,
        "v_version" / Int32ul,
        "v_name" / Bytes(8),
        "v_nslices" / Int16ul,
        "v_unknown1" / Int16ul,
        "v_reserved" / Bytes(40),
        "v_slice" / Bytes(SLOTS * 12),
    )
)

TAGS = {
    UNUSED: "unused",
    0x01: "boot",
    0x02: "root",
    0x03: "swap",
    0x04: "usr",
    ENTIRE_DISK: "entire disk",
    0x06: "alternate sectors",
    0x07: "other",
    0x08: "alternate tracks",
    0x09: "stand",
    0x0A: "var",
    0x0B: "home",
    0x0C: "dump",
    0x0D: "alternate sectors and tracks",
    0x0E: "volume manager, public",
    0x0F: "volume manager, private",
}
FLAGS = {0x01: "unmountable", 0x10: "readonly"}


def parse(view: View) -> Table:
    """Read the label; its slices count from the start of the disk."""
    label = read_struct(view, LABEL, AT)
    if label.d_magic != MAGIC or label.v_magic != VTOC_MAGIC:
        raise NotThisFormat("one of the two magics is missing")
    # Taken from its disk, the partition says itself where it stood.
    base = (view.disk_offset or 0) // SECTOR or label.d_part_start
    partitions, elsewhere = _slices(label, base)
    details: dict[str, Json] = {
        "version": label.d_version,
        "serial": text(label.d_serial, "latin-1"),
        "volume": text(label.v_name, "latin-1"),
        "cylinders": label.d_ncylinders,
        "tracks_per_cylinder": label.d_ntracks,
        "sectors_per_track": label.d_nsectors,
        "sector_bytes": label.d_secsize,
        "first_sector": base,
        "slices": label.v_nslices,
        "elsewhere": elsewhere,
    }
    return Table(
        pttype="unixware",
        sector_size=SECTOR,
        partitions=tuple(partitions),
        meta=(Extent(offset=AT, size=SECTOR, name="Disk Label"),),
        details=details,
    )


def _slices(label: Any, base: int) -> tuple[list[Partition], list[Json]]:
    """The slices in use, and the numbers of those that lie before this partition."""
    found: list[Partition] = []
    elsewhere: list[Json] = []
    for slot, (tag, flags, start, size) in enumerate(iter_unpack("<2H2I", label.v_slice)):
        if tag == UNUSED or size == 0 or not flags & VALID:
            continue
        if start < base:
            elsewhere.append(slot)
            continue
        found.append(
            Partition(
                number=slot + 1,
                slot=slot,
                offset=(start - base) * SECTOR,
                size=size * SECTOR,
                meta=tag == ENTIRE_DISK,
                type=f"{tag:#x}",
                type_name=TAGS.get(tag),
                flags=tuple(name for bit, name in FLAGS.items() if flags & bit),
            )
        )
    return found, elsewhere


FORMAT = TableFormat(
    name="unixware",
    title="UnixWare disk label",
    specification="Linux, block/partitions/msdos.c; SCO UnixWare, sys/vtoc.h",
    parse=parse,
    signatures=(Signature(MAGIC.to_bytes(4, "little"), AT + 4),),
    types=("unixware",),
)
