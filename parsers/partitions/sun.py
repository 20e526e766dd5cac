"""Sun disk label, as Solaris and Linux write it on SPARC machines.

Layout: Linux, block/partitions/sun.c, and util-linux, include/pt-sun.h (the fields' names);
the tags and flags: Oracle Solaris, sys/vtoc.h.
"""

from collections.abc import Iterator
from struct import unpack
from typing import Any

from construct import Bytes, Const, Int16ub, Int32ub, Struct

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import text
from pyimount.parsers.partitions.sector_sizes import Start, counted_in, told_otherwise
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

MAGIC = b"\xda\xbe"
MAGIC_AT = 508
SIZE = 512
VTOC_SANITY = 0x600DDEEE
VTOC_VERSION = 1
SLOTS = 8
WHOLE_DISK = 5

LABEL = layout(
    lambda: Struct(
        "label_id" / Bytes(128),
        "version" / Int32ub,
        "volume_id" / Bytes(8),
        "nparts" / Int16ub,
        "infos" / Bytes(SLOTS * 4),
        "padding" / Bytes(2),
        "bootinfo" / Bytes(12),
        "sanity" / Int32ub,
        "reserved" / Bytes(40),
        "timestamp" / Bytes(32),
        "write_reinstruct" / Int32ub,
        "read_reinstruct" / Int32ub,
        "spare" / Bytes(148),
        "rpm" / Int16ub,
        "pcyl" / Int16ub,
        "apc" / Int16ub,
        "obs1" / Int16ub,
        "obs2" / Int16ub,
        "intrlv" / Int16ub,
        "ncyl" / Int16ub,
        "acyl" / Int16ub,
        "nhead" / Int16ub,
        "nsect" / Int16ub,
        "obs3" / Int16ub,
        "obs4" / Int16ub,
        "partitions" / Bytes(SLOTS * 8),
        "magic" / Const(MAGIC),
        "csum" / Int16ub,
    )
)

# As sfdisk --label sun --list-types (util-linux 2.38) prints them.
TAGS = {
    0x0: "Unassigned",
    0x1: "Boot",
    0x2: "SunOS root",
    0x3: "SunOS swap",
    0x4: "SunOS usr",
    0x5: "Whole disk",
    0x6: "SunOS stand",
    0x7: "SunOS var",
    0x8: "SunOS home",
    0x9: "SunOS alt sectors",
    0xA: "SunOS cachefs",
    0xB: "SunOS reserved",
    0x82: "Linux swap",
    0x83: "Linux native",
    0x8E: "Linux LVM",
    0xFD: "Linux raid autodetect",
}
FLAGS = {0x01: "unmountable", 0x10: "readonly"}


def checksum(sector: bytes) -> int:
    """The XOR of the label's 16-bit words, 0 when it is right."""
    found = 0
    for word in unpack(">256H", sector):
        found ^= word
    return found


def parse(view: View) -> Table:
    """Read the label; without a valid checksum it must have a valid VTOC."""
    sector = view.read(0, SIZE)
    label = parse_struct(sector, LABEL)
    has_vtoc = label.sanity == VTOC_SANITY and label.version == VTOC_VERSION and label.nparts <= SLOTS
    right = checksum(sector) == 0
    if not right and not has_vtoc:
        raise NotThisFormat("neither the checksum nor the volume table of contents is right")
    cylinder = label.nhead * label.nsect
    if cylinder == 0:
        raise NotThisFormat("a cylinder without sectors")
    # Linux's own labels of old have no VTOC, but use the room for its tags.
    tagged = has_vtoc or not (label.sanity or label.version or label.nparts)
    count = label.nparts if has_vtoc else SLOTS
    unit = counted_in(view, [*_starts(label, count, cylinder)])
    partitions = _partitions(label, count, cylinder, unit, tagged=tagged)
    details: dict[str, Json] = {
        "label_id": text(label.label_id, "latin-1"),
        "volume_id": text(label.volume_id, "latin-1") if has_vtoc else None,
        "vtoc_version": label.version if has_vtoc else None,
        "cylinders": label.ncyl,
        "alternate_cylinders": label.acyl,
        "heads": label.nhead,
        "sectors_per_track": label.nsect,
        "rotations_per_minute": label.rpm,
    }
    wrong = Problem(Code.BAD_CHECKSUM, "the checksum of the Sun disk label is wrong")
    return Table(
        pttype="sun",
        sector_size=unit,
        partitions=tuple(partitions),
        meta=(Extent(offset=0, size=SIZE, name="Disk Label"),),
        details=details,
        problems=(*told_otherwise(view, unit), *(() if right else (wrong,))),
        checked=right,
    )


def _starts(label: Any, count: int, cylinder: int) -> Iterator[Start]:
    """Where the slices lie, but for the one that is the whole disk."""
    places = unpack(f">{2 * SLOTS}I", label.partitions)
    for slot in range(count):
        start, sectors = places[2 * slot] * cylinder, places[2 * slot + 1]
        if sectors and start:
            yield Start(start, start + sectors)


def _partitions(label: Any, count: int, cylinder: int, unit: int, *, tagged: bool) -> list[Partition]:
    found = []
    infos, places = unpack(f">{2 * SLOTS}H", label.infos), unpack(f">{2 * SLOTS}I", label.partitions)
    for slot in range(count):
        start_cylinder, num_sectors = places[2 * slot : 2 * slot + 2]
        if num_sectors == 0:
            continue
        tag, flags = infos[2 * slot : 2 * slot + 2] if tagged else (None, 0)
        whole = start_cylinder == 0 and num_sectors >= label.ncyl * cylinder
        found.append(
            Partition(
                number=slot + 1,
                slot=slot,
                offset=start_cylinder * cylinder * unit,
                size=num_sectors * unit,
                # Without tags, the third slice is the whole disk by custom.
                meta=tag == WHOLE_DISK or (not tag and slot == 2 and whole),
                type=None if tag is None else f"{tag:#x}",
                type_name=None if tag is None else TAGS.get(tag),
                flags=tuple(name for bit, name in FLAGS.items() if flags & bit),
            )
        )
    return found


FORMAT = TableFormat(
    name="sun",
    title="Sun disk label",
    specification="Linux, block/partitions/sun.c; Oracle Solaris, sys/vtoc.h",
    parse=parse,
    signatures=(Signature(MAGIC, MAGIC_AT),),
    types=("sun",),
    vstypes=("vtoc",),
)
