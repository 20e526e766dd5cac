"""BSD disk label: on a disk of its own, or in a partition (a "slice") of an MBR.

Layout: FreeBSD, sys/disk/bsd.h; NetBSD and OpenBSD, sys/disklabel.h (the fields' names)
https://cgit.freebsd.org/src/tree/sys/sys/disk/bsd.h
"""

from collections.abc import Callable
from struct import unpack
from typing import Any, Literal, TypeAlias

from construct import (
    Bytes,
    Construct,
    Int8ul,
    Int16ub,
    Int16ul,
    Int32ub,
    Int32ul,
    Struct,
)

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.formats.layouts import Layout, layout, parse_struct
from pyimount.formats.notation import text
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

Order: TypeAlias = Literal["little", "big"]

MAGICS: dict[Order, bytes] = {"little": b"\x57\x45\x56\x82", "big": b"\x82\x56\x45\x57"}
PLACES = (512, 64, 128, 1024, 2048, 4096)
"""Bytes from the start: LABELSECTOR and LABELOFFSET of the ports to different machines, i386 first; last the
second sector, where i386 and its kind have it, of disks with larger sectors."""
_LARGE = (1024, 2048, 4096)

PARTITIONS_CAP = 64
"""OpenBSD has the most, 52 since 7.8; the others 8 to 22."""

RAW = 2
"""The slot, ``c``, that by custom is the whole of what the label is for."""

_NAMES = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HEAD = 148
_ENTRY = 16


def _label(int16: Construct, int32: Construct) -> Callable[[], Struct]:
    return lambda: Struct(
        "d_magic" / Bytes(4),
        "d_type" / int16,
        "d_subtype" / int16,
        "d_typename" / Bytes(16),
        "d_packname" / Bytes(16),
        "d_secsize" / int32,
        "d_nsectors" / int32,
        "d_ntracks" / int32,
        "d_ncylinders" / int32,
        "d_secpercyl" / int32,
        "d_secperunit" / int32,
        "d_uid" / Bytes(8),  # OpenBSD's; spare sectors and alternate cylinders elsewhere
        "d_hardware" / Bytes(8),
        "d_bstart" / int32,  # OpenBSD's: what it may use starts here
        "d_bend" / int32,
        "d_flags" / int32,
        "d_drivedata" / Bytes(20),
        "d_secperunith" / int16,
        "d_version" / int16,  # OpenBSD's, 1; spare elsewhere, 0
        "d_spare" / Bytes(16),
        "d_magic2" / Bytes(4),
        "d_checksum" / int16,
        "d_npartitions" / int16,
        "d_bbsize" / int32,
        "d_sbsize" / int32,
    )


def _entry(int16: Construct, int32: Construct) -> Callable[[], Struct]:
    return lambda: Struct(
        "p_size" / int32,
        "p_offset" / int32,
        "p_fsize" / int32,
        "p_fstype" / Int8ul,
        "p_frag" / Int8ul,
        "p_cpg" / int16,
    )


LABELS: dict[Order, Layout] = {
    "little": layout(_label(Int16ul, Int32ul)),
    "big": layout(_label(Int16ub, Int32ub)),
}
ENTRIES: dict[Order, Layout] = {
    "little": layout(_entry(Int16ul, Int32ul)),
    "big": layout(_entry(Int16ub, Int32ub)),
}

# As sfdisk --label bsd --list-types (util-linux 2.38) prints them up to 0x10; then as the BSDs have them,
# without those numbers that each uses for something else.
FSTYPES = {
    0x00: "unused",
    0x01: "swap",
    0x02: "Version 6",
    0x03: "Version 7",
    0x04: "System V",
    0x05: "4.1BSD",
    0x06: "Eighth Edition",
    0x07: "4.2BSD",
    0x08: "MS-DOS",
    0x09: "4.4LFS",
    0x0A: "unknown",
    0x0B: "HPFS",
    0x0C: "ISO-9660",
    0x0D: "boot",
    0x0E: "ADOS",
    0x0F: "HFS",
    0x10: "AdvFS",
    0x11: "ext2fs",
    0x12: "NTFS",
    0x13: "RAID",
    0x14: "ccd",
    0x15: "jfs",
    0x18: "UDF",
    0x1A: "EFS",
    0x1B: "ZFS",
    0x1C: "cgd",
    0x1E: "nandfs",
}


def is_label(raw: bytes) -> bool:
    """Whether these are the first bytes of a label, of either byte order."""
    return raw[:4] in MAGICS.values()


def parse(view: View) -> Table:
    """Read the label at the first place where one is."""
    why = NotThisFormat("no label at any of its places")
    for place in PLACES:
        for order, magic in MAGICS.items():
            if view.glance(place, 4) == magic:
                try:
                    return _parse_at(view, place, order)
                except NotThisFormat as error:
                    why = error
    raise why


def _parse_at(view: View, place: int, order: Order) -> Table:
    head = view.read(place, _HEAD)
    label = parse_struct(head, LABELS[order])
    count = label.d_npartitions
    if label.d_magic2 != label.d_magic or count > PARTITIONS_CAP:
        raise NotThisFormat(f"the second magic is missing, or {count} partitions are too many")
    unit = label.d_secsize
    if unit not in (512, 1024, 2048, 4096, 8192) or (place in _LARGE and unit != place):
        raise NotThisFormat(f"a sector of {unit} bytes, in a label at byte {place}")
    raw = head + view.glance(place + _HEAD, count * _ENTRY)
    problems = []
    right = len(raw) == _HEAD + count * _ENTRY and _checksum(raw) == 0
    if not right:
        problems.append(Problem(Code.BAD_CHECKSUM, "the checksum of the BSD disk label is wrong"))
    entries = _used(raw, order, openbsd=label.d_version == 1)
    base = _base(view, label, entries, unit)
    partitions, elsewhere = _partitions(view, entries, base, unit)
    details: dict[str, Json] = {
        "byte_order": order,
        "typename": text(label.d_typename, "latin-1"),
        "packname": text(label.d_packname, "latin-1"),
        "sectors": label.d_secperunit,
        "cylinders": label.d_ncylinders,
        "tracks_per_cylinder": label.d_ntracks,
        "sectors_per_track": label.d_nsectors,
        "partitions": count,
        "first_sector": base,
        "elsewhere": list(elsewhere),
    }
    if label.d_version == 1:
        details["duid"] = label.d_uid.hex()
    return Table(
        pttype="bsd",
        sector_size=unit,
        partitions=tuple(partitions),
        meta=(Extent(offset=place // 512 * 512, size=512, name="Partition Table"),),
        details=details,
        problems=tuple(problems),
        checked=right,
    )


def _checksum(raw: bytes) -> int:
    """The XOR of the 16-bit words, in whatever byte order; 0 when it is right."""
    found = 0
    for word in unpack(f"<{len(raw) // 2}H", raw):
        found ^= word
    return found


def _used(raw: bytes, order: Order, *, openbsd: bool) -> list[tuple[int, int, int, int]]:
    """The partitions that have a size: slot, first sector and sectors as the label has them, type."""
    declared: Layout = ENTRIES[order]
    found = []
    for at in range(_HEAD, len(raw) - _ENTRY + 1, _ENTRY):
        entry: Any = parse_struct(raw, declared, at)
        # OpenBSD has the upper 16 bits of both where others have the fragment size.
        high = raw[at + 8 : at + 12] if openbsd else bytes(4)
        offset = entry.p_offset | int.from_bytes(high[:2], order) << 32
        size = entry.p_size | int.from_bytes(high[2:], order) << 32
        if size:
            found.append(((at - _HEAD) // _ENTRY, offset, size, entry.p_fstype))
    return found


def _base(view: View, label: Any, entries: list[tuple[int, int, int, int]], unit: int) -> int:
    """The sector, as the label counts, at which ``view`` starts: 0 where it counts from there.

    FreeBSD counts from the start of its slice since version 10, all others from the start of the
    disk. The raw partition tells: it starts where the slice does. OpenBSD's is the whole disk,
    larger than the slice, and says nothing.
    """
    start = 0 if view.disk_offset is None else view.disk_offset // unit
    for slot, offset, size, _ in entries:
        if slot == RAW and offset > 0:
            return offset
        if slot == RAW and size * unit <= view.size:
            return 0
    if label.d_version == 1 and label.d_bstart and not start:
        starts = [offset for _, offset, _, fstype in entries if fstype]
        last = max((offset + size for _, offset, size, fstype in entries if fstype), default=0)
        # A slice taken from its disk: what it may use starts with it.
        if starts and last * unit > view.size and min(starts) >= label.d_bstart:
            return int(label.d_bstart)
    return start


def _partitions(
    view: View, entries: list[tuple[int, int, int, int]], base: int, unit: int
) -> tuple[list[Partition], list[str]]:
    """The partitions in ``view``, and the names of those that the label has of other parts of the disk."""
    found, elsewhere = [], []
    end = base + view.size // unit
    others = any(fstype for slot, _, _, fstype in entries if slot != RAW)
    for slot, offset, size, fstype in entries:
        raw = slot == RAW and (fstype == 0 or others)
        unused = fstype == 0 and not raw
        if unused and not (offset == base and offset + size >= end):
            continue
        place = ((offset - base) * unit, size * unit)
        if offset < base or (base and offset >= end):
            if not raw:
                elsewhere.append(_NAMES[slot] if slot < len(_NAMES) else str(slot + 1))
                continue
            # The label calls it the whole of the disk; here it is the whole of this.
            place = (0, view.size)
        found.append(
            Partition(
                number=slot + 1,
                slot=slot,
                offset=place[0],
                size=place[1],
                meta=raw or unused,
                type=f"{fstype:#x}",
                type_name=FSTYPES.get(fstype),
            )
        )
    return found, elsewhere


FORMAT = TableFormat(
    name="bsd",
    title="BSD disk label",
    specification="https://cgit.freebsd.org/src/tree/sys/sys/disk/bsd.h",
    parse=parse,
    signatures=tuple(Signature(magic, place) for place in PLACES for magic in MAGICS.values()),
    types=("bsd",),
    vstypes=("disklabel",),
)
