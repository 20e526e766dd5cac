"""Solaris label on x86: the volume table of contents in a partition of an MBR, types 0x82 and 0xbf.

Layout: illumos, sys/vtoc.h (struct vtoc32, 16 slices) and sys/dklabel.h (struct dk_label)
https://github.com/illumos/illumos-gate/blob/master/usr/src/uts/common/sys/dklabel.h
"""

from struct import iter_unpack, unpack
from typing import Any

from construct import Bytes, Int16ul, Int32ul, Struct

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import text
from pyimount.parsers.partitions.sun import FLAGS, TAGS, WHOLE_DISK
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

PLACES = (512, 1024, 2048, 4096)
"""Where the label stands, bytes from the start of its partition: in its second sector."""
AT = PLACES[0]
SIZE = 512
SANITY = 0x600DDEEE
SANITY_IN = 12
"""Where in the label, bytes."""
VERSION = 1
SLOTS = 16
DKL_MAGIC = 0xDABE

LABEL = layout(
    lambda: Struct(
        "v_bootinfo" / Bytes(12),
        "v_sanity" / Int32ul,
        "v_version" / Int32ul,
        "v_volume" / Bytes(8),
        "v_sectorsz" / Int16ul,
        "v_nparts" / Int16ul,
        "v_reserved" / Bytes(40),
        "v_part" / Bytes(SLOTS * 12),
        "timestamp" / Bytes(SLOTS * 4),
        "v_asciilabel" / Bytes(128),
        "dkl_pcyl" / Int32ul,
        "dkl_ncyl" / Int32ul,
        "dkl_acyl" / Int16ul,
        "dkl_bcyl" / Int16ul,
        "dkl_nhead" / Int32ul,
        "dkl_nsect" / Int32ul,
        "dkl_rest" / Bytes(32),
        "dkl_magic" / Int16ul,
        "dkl_cksum" / Int16ul,
    )
)

_SECTOR_SIZES = (512, 1024, 2048, 4096)


def checksum(label: bytes) -> int:
    """The XOR of the label's 16-bit words, 0 when it is right."""
    found = 0
    for word in unpack("<256H", label):
        found ^= word
    return found


def parse(view: View) -> Table:
    """Read the label; what follows its table of contents is Solaris' own, others leave it empty."""
    sane = SANITY.to_bytes(4, "little")
    at = next((at for at in PLACES if view.glance(at + SANITY_IN, 4) == sane), AT)
    raw = view.read(at, SIZE)
    label = parse_struct(raw, LABEL)
    if label.v_sanity != SANITY or label.v_version != VERSION:
        raise NotThisFormat(f"sanity {label.v_sanity:#x}, version {label.v_version}")
    unit = label.v_sectorsz or at
    if unit not in _SECTOR_SIZES:
        raise NotThisFormat(f"a sector of {unit} bytes")
    has_sum = label.dkl_magic == DKL_MAGIC
    right = has_sum and checksum(raw) == 0
    wrong = Problem(Code.BAD_CHECKSUM, "the checksum of the Solaris label is wrong")
    details: dict[str, Json] = {
        "volume": text(label.v_volume, "latin-1"),
        "ascii_label": text(label.v_asciilabel, "latin-1"),
        "slices": label.v_nparts,
        "cylinders": label.dkl_ncyl,
        "alternate_cylinders": label.dkl_acyl,
        "heads": label.dkl_nhead,
        "sectors_per_track": label.dkl_nsect,
    }
    return Table(
        pttype="solaris",
        sector_size=unit,
        partitions=tuple(_slices(label, unit)),
        meta=(Extent(offset=at, size=SIZE, name="Disk Label"),),
        details=details,
        problems=(wrong,) if has_sum and not right else (),
        checked=right,
    )


def _slices(label: Any, unit: int) -> list[Partition]:
    found = []
    # Of old there were 8 slices, and no more room was counted.
    count = SLOTS if label.v_nparts > SLOTS // 2 else SLOTS // 2
    for slot, (tag, flags, start, size) in enumerate(iter_unpack("<2H2I", label.v_part)):
        if slot >= count or size == 0:
            continue
        found.append(
            Partition(
                number=slot + 1,
                slot=slot,
                offset=start * unit,
                size=size * unit,
                meta=tag == WHOLE_DISK,
                type=f"{tag:#x}",
                type_name=TAGS.get(tag),
                flags=tuple(name for bit, name in FLAGS.items() if flags & bit),
            )
        )
    return found


FORMAT = TableFormat(
    name="solaris",
    title="Solaris x86 label",
    specification="https://github.com/illumos/illumos-gate/blob/master/usr/src/uts/common/sys/dklabel.h",
    parse=parse,
    signatures=tuple(Signature(SANITY.to_bytes(4, "little"), at + SANITY_IN) for at in PLACES),
    types=("solaris",),
    vstypes=("sun", "vtoc"),
)
