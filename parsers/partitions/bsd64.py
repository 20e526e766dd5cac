"""DragonFly BSD's disklabel64: on a disk of its own, or in a partition of an MBR or a GPT.

Layout: DragonFly BSD, sys/disklabel64.h
https://gitweb.dragonflybsd.org/dragonfly.git/blob/HEAD:/sys/sys/disklabel64.h
"""

from collections.abc import Iterator
from zlib import crc32

from construct import Bytes, Int8ul, Int32ul, Int64ul, Struct

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import guid_text, text
from pyimount.parsers.partitions.bsd import FSTYPES
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

AT = 512
"""Where d_magic stands; the sector before it is not the label's."""
MAGIC = b"\x59\x4c\x46\xc4"
PARTITIONS_CAP = 32
"""RESPARTITIONS64, for as many there is room; 16 are used."""

LABEL = layout(
    lambda: Struct(
        "d_magic" / Bytes(4),
        "d_crc" / Int32ul,
        "d_align" / Int32ul,
        "d_npartitions" / Int32ul,
        "d_stor_uuid" / Bytes(16),
        "d_total_size" / Int64ul,
        "d_bbase" / Int64ul,
        "d_pbase" / Int64ul,
        "d_pstop" / Int64ul,
        "d_abase" / Int64ul,
        "d_packname" / Bytes(64),
        "d_reserved" / Bytes(64),
    )
)
PARTITION = layout(
    lambda: Struct(
        "p_boffset" / Int64ul,
        "p_bsize" / Int64ul,
        "p_fstype" / Int8ul,
        "p_unused" / Bytes(15),
        "p_type_uuid" / Bytes(16),
        "p_stor_uuid" / Bytes(16),
    )
)

OWN_FSTYPES = {0x16: "HAMMER", 0x17: "HAMMER2"}
_SECTOR = 512


def parse(view: View) -> Table:
    """Read the label; its places are bytes from where it starts."""
    head = view.read(AT, LABEL.size)
    label = parse_struct(head, LABEL)
    count = label.d_npartitions
    if count > PARTITIONS_CAP:
        raise NotThisFormat(f"{count} partitions are too many")
    raw = head + view.glance(AT + LABEL.size, count * PARTITION.size)
    whole = len(raw) == LABEL.size + count * PARTITION.size
    right = whole and crc32(raw[8:], crc32(raw[:4] + bytes(4))) == label.d_crc
    ordered = 0 < label.d_bbase <= label.d_pbase <= label.d_pstop <= label.d_total_size
    if not right and not ordered:
        raise NotThisFormat("the checksum is wrong, and the areas are not in order")
    details: dict[str, Json] = {
        "packname": text(label.d_packname),
        "align": label.d_align,
        "total_size": label.d_total_size,
        "boot_area": {"offset": label.d_bbase, "size": max(0, label.d_pbase - label.d_bbase)},
        "first_usable": label.d_pbase,
        "end_of_usable": label.d_pstop,
        "backup_offset": label.d_abase or None,
        "partitions": count,
    }
    wrong = Problem(Code.BAD_CHECKSUM, "the checksum of the disklabel64 is wrong")
    return Table(
        pttype="bsd64",
        sector_size=view.sector_size or _SECTOR,
        partitions=tuple(_partitions(raw)),
        ptuuid=guid_text(label.d_stor_uuid),
        meta=(Extent(offset=0, size=AT + LABEL.size + count * PARTITION.size, name="Disk Label"),),
        details=details,
        problems=() if right else (wrong,),
        checked=right,
    )


def _partitions(raw: bytes) -> Iterator[Partition]:
    for slot, at in enumerate(range(LABEL.size, len(raw) - PARTITION.size + 1, PARTITION.size)):
        entry = parse_struct(raw, PARTITION, at)
        if entry.p_bsize == 0:
            continue
        yield Partition(
            number=slot + 1,
            slot=slot,
            offset=entry.p_boffset,
            size=entry.p_bsize,
            type=f"{entry.p_fstype:#x}",
            type_name=OWN_FSTYPES.get(entry.p_fstype) or FSTYPES.get(entry.p_fstype),
            uuid=guid_text(entry.p_stor_uuid),
        )


FORMAT = TableFormat(
    name="bsd64",
    title="DragonFly BSD disklabel64",
    specification="https://gitweb.dragonflybsd.org/dragonfly.git/blob/HEAD:/sys/sys/disklabel64.h",
    parse=parse,
    signatures=(Signature(MAGIC, AT),),
    types=("bsd64",),
    vstypes=("disklabel64",),
)
