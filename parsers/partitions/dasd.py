"""IBM DASD: volume labels of mainframe disks, in the compatible (CDL), the Linux (LDL) and the CMS layout.

Layout: IBM z/OS, "DFSMSdfp Advanced Services" (volume label, DSCB formats 1, 4, 8); Linux,
arch/s390/include/uapi/asm/vtoc.h (the fields' names)
https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/arch/s390/include/uapi/asm/vtoc.h
"""

from struct import unpack_from
from typing import Any

from construct import Bytes, Int8ub, Int16ub, Int32ub, Int64ub, Struct

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.formats.layouts import Layout, layout, parse_struct
from pyimount.formats.notation import text
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

VOL1, LNX1, CMS1 = (word.encode("cp037") for word in ("VOL1", "LNX1", "CMS1"))
BLOCK_SIZES = (4096, 2048, 1024, 512)
LABEL_BLOCK = 2
TRACKS = range(3, 21)
"""How many blocks a track may have. The VTOC starts with the second track, and so tells the number."""
PARTITIONS_CAP = 3
SCAN_BLOCKS = 20
FORMAT_1, FORMAT_4, FORMAT_8 = 0xF1, 0xF4, 0xF8
FORMAT_4_KEY = b"\x04" * 44
LARGE_VOLUME = 0xFFFE
"""The cylinders that a volume claims which has more than 16 bits can tell."""
LARGE_LDL = 0xF2

VOLUME_LABEL_CDL = layout(
    lambda: Struct(
        "volkey" / Bytes(4),
        "vollbl" / Bytes(4),
        "volid" / Bytes(6),
        "security" / Int8ub,
        "vtoc" / Bytes(5),
        "res1" / Bytes(5),
        "cisize" / Bytes(4),
        "blkperci" / Bytes(4),
        "labperci" / Bytes(4),
        "res2" / Bytes(4),
        "lvtoc" / Bytes(14),
        "res3" / Bytes(29),
    )
)
VOLUME_LABEL_LDL = layout(
    lambda: Struct(
        "vollbl" / Bytes(4),
        "volid" / Bytes(6),
        "res3" / Bytes(69),
        "ldl_version" / Int8ub,
        "formatted_blocks" / Int64ub,
    )
)
CMS_LABEL = layout(
    lambda: Struct(
        "label_id" / Bytes(4),
        "vol_id" / Bytes(6),
        "version_id" / Int16ub,
        "block_size" / Int32ub,
        "origin_ptr" / Int32ub,
        "usable_count" / Int32ub,
        "formatted_count" / Int32ub,
        "block_count" / Int32ub,
        "used_count" / Int32ub,
        "fst_size" / Int32ub,
        "fst_count" / Int32ub,
        "format_date" / Bytes(6),
        "reserved1" / Bytes(2),
        "disk_offset" / Int32ub,
    )
)
FORMAT1_LABEL = layout(
    lambda: Struct(
        "DS1DSNAM" / Bytes(44),
        "DS1FMTID" / Int8ub,
        "DS1DSSN" / Bytes(6),
        "DS1VOLSQ" / Int16ub,
        "DS1CREDT" / Bytes(3),
        "DS1EXPDT" / Bytes(3),
        "DS1NOEPV" / Int8ub,
        "DS1NOBDB" / Int8ub,
        "DS1FLAG1" / Int8ub,
        "DS1SYSCD" / Bytes(13),
        "DS1REST" / Bytes(30),
        "DS1EXT1" / Bytes(10),
        "DS1EXT2" / Bytes(10),
        "DS1EXT3" / Bytes(10),
        "DS1PTRDS" / Bytes(5),
    )
)
FORMAT4_LABEL = layout(
    lambda: Struct(
        "DS4KEYCD" / Bytes(44),
        "DS4IDFMT" / Int8ub,
        "DS4HPCHR" / Bytes(5),
        "DS4DSREC" / Int16ub,
        "DS4HCCHH" / Bytes(4),
        "DS4NOATK" / Int16ub,
        "DS4VTOCI" / Int8ub,
        "DS4NOEXT" / Int8ub,
        "DS4SMSFG" / Int8ub,
        "DS4DEVAC" / Int8ub,
        "DS4DSCYL" / Int16ub,
        "DS4DSTRK" / Int16ub,
        "DS4DEVTK" / Int16ub,
        "DS4DEV" / Bytes(27),
        "res1" / Bytes(5),
        "DS4F6PTR" / Bytes(5),
        "DS4VTOCE" / Bytes(10),
        "res2" / Bytes(10),
        "DS4EFLVL" / Int8ub,
        "DS4EFPTR" / Bytes(5),
        "res3" / Bytes(1),
        "DS4DCYL" / Int32ub,
        "res4" / Bytes(4),
    )
)


def parse(view: View) -> Table:
    """Read the label in the third block, of whatever size the blocks are."""
    told = view.sector_size
    for unit in (told, *BLOCK_SIZES) if told in BLOCK_SIZES else BLOCK_SIZES:
        head = view.glance(LABEL_BLOCK * unit, VOLUME_LABEL_LDL.size)
        if head[4:8] == VOL1:
            return _compatible(view, head, unit)
        if head[:4] == LNX1:
            return _linux(view, head, unit)
        if head[:4] == CMS1:
            return _cms(head, unit)
    raise NotThisFormat("no volume label in the third block")


def _name(raw: bytes) -> str | None:
    """A name in EBCDIC; raises NotThisFormat when it is none."""
    name = text(raw, "cp037")
    if name is not None and not name.isprintable():
        raise NotThisFormat("a volume identifier that cannot be printed")
    return name


def _label(head: bytes, declared: Layout) -> Any:
    return parse_struct(head, declared)


def _compatible(view: View, head: bytes, unit: int) -> Table:
    """CDL: data sets in a VTOC are the partitions."""
    label = _label(head, VOLUME_LABEL_CDL)
    name = _name(label.volid)
    track, vtoc = _vtoc(view, unit)
    heads = vtoc.DS4DSTRK
    cylinders = vtoc.DS4DCYL if vtoc.DS4DSCYL == LARGE_VOLUME else vtoc.DS4DSCYL
    if not heads:
        raise NotThisFormat("a cylinder without tracks")
    problems: list[Problem] = []
    partitions: list[Partition] = []
    first = (track + 1) * unit
    run = view.glance(first, (SCAN_BLOCKS - 1) * unit)
    for at in range(0, len(run) - FORMAT1_LABEL.size + 1, unit):
        if run[at + 44] not in (FORMAT_1, FORMAT_8) or len(partitions) == PARTITIONS_CAP:
            continue
        data_set = parse_struct(run, FORMAT1_LABEL, at)
        start, end = (
            _track(data_set.DS1EXT1, place, heads, large=cylinders > LARGE_VOLUME) for place in (2, 6)
        )
        if end < start:
            problems.append(Problem(Code.DAMAGED, f"the data set at byte {first + at} ends before it starts"))
            continue
        partitions.append(_data_set(data_set, len(partitions), start, end, track * unit))
    return Table(
        pttype="dasd",
        sector_size=unit,
        partitions=tuple(partitions),
        ptuuid=name,
        meta=(
            Extent(offset=0, size=(LABEL_BLOCK + 1) * unit, name="Volume Label"),
            Extent(offset=track * unit, size=track * unit, name="VTOC"),
        ),
        details={
            "layout": "CDL",
            "block_size": unit,
            "blocks_per_track": track,
            "tracks_per_cylinder": heads,
            "cylinders": cylinders,
        },
        problems=tuple(problems),
    )


def _vtoc(view: View, unit: int) -> tuple[int, Any]:
    """The blocks of a track, and the format 4 label that heads the VTOC on the second."""
    run = view.glance(TRACKS.start * unit, len(TRACKS) * unit)
    for track in TRACKS:
        at = (track - TRACKS.start) * unit
        if run[at : at + 44] == FORMAT_4_KEY and run[at + 44 : at + 45] == bytes([FORMAT_4]):
            return track, parse_struct(run, FORMAT4_LABEL, at)
    raise NotThisFormat("no VTOC")


def _track(extent: bytes, place: int, heads: int, *, large: bool) -> int:
    """The number of the track that an extent's limit names by cylinder and head."""
    cylinder, head = unpack_from(">2H", extent, place)
    if large:
        # The upper 12 bits of the head are the cylinder's.
        cylinder, head = cylinder | (head & 0xFFF0) << 12, head & 0x000F
    return int(cylinder * heads + head)


def _data_set(data_set: Any, slot: int, start: int, end: int, track: int) -> Partition:
    whole = text(data_set.DS1DSNAM, "cp037") or ""
    name, _, kind = whole.rpartition(".")
    return Partition(
        number=slot + 1,
        slot=slot,
        offset=start * track,
        size=(end - start + 1) * track,
        # As libblkid has it: what follows the last dot is the type.
        type=kind or None,
        name=name or None,
    )


def _linux(view: View, head: bytes, unit: int) -> Table:
    """LDL: one partition behind the label."""
    label = _label(head, VOLUME_LABEL_LDL)
    name = _name(label.volid)
    start = (LABEL_BLOCK + 1) * unit
    large = label.ldl_version >= LARGE_LDL
    end = label.formatted_blocks * unit if large else view.size
    if end <= start:
        raise NotThisFormat("nothing follows the label")
    return _single(name, unit, start, end, {"layout": "LDL", "block_size": unit, "large_volume": large})


def _cms(head: bytes, unit: int) -> Table:
    """CMS: one partition, behind the label or, on a reserved minidisk, where the label says."""
    label = _label(head, CMS_LABEL)
    name = _name(label.vol_id)
    if label.block_size not in BLOCK_SIZES:
        raise NotThisFormat(f"blocks of {label.block_size} bytes")
    reserved = label.disk_offset
    start = (reserved or LABEL_BLOCK + 1) * label.block_size
    end = (label.block_count - bool(reserved)) * label.block_size
    if end <= start:
        raise NotThisFormat("the disk ends before its data")
    details: dict[str, Json] = {
        "layout": "CMS",
        "block_size": label.block_size,
        "reserved_minidisk": bool(reserved),
    }
    return _single(name, unit, start, end, details)


def _single(name: str | None, unit: int, start: int, end: int, details: dict[str, Json]) -> Table:
    return Table(
        pttype="dasd",
        sector_size=unit,
        partitions=(Partition(number=1, slot=0, offset=start, size=end - start),),
        ptuuid=name,
        meta=(Extent(offset=0, size=(LABEL_BLOCK + 1) * unit, name="Volume Label"),),
        details=details,
    )


FORMAT = TableFormat(
    name="dasd",
    title="IBM DASD volume label",
    specification="Linux, arch/s390/include/uapi/asm/vtoc.h",
    parse=parse,
    signatures=(
        *(Signature(VOL1, LABEL_BLOCK * unit + 4) for unit in BLOCK_SIZES),
        *(Signature(magic, LABEL_BLOCK * unit) for magic in (LNX1, CMS1) for unit in BLOCK_SIZES),
    ),
    types=("dasd",),
    vstypes=("ibm",),
)
