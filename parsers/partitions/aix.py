"""AIX: the boot record of a physical volume, and the logical volumes that its volume group has on it.

Layout: AIX, sys/bootrecord.h (struct ipl_rec_struct) and sys/hd_psn.h; the volume group's descriptor area as
Linux has it in block/partitions/aix.c (the fields' names)
https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/block/partitions/aix.c
"""

from typing import Any

from construct import Bytes, Int8ub, Int16ub, Int32ub, Struct

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import text, unix_time
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = "IBMA".encode("cp037")
LVM_MAGIC = b"_LVM"
SECTOR = 512
LVM_SECTOR = 7
LVM_VERSION = 1
LVS_CAP = 256
PPS_CAP = 1016
PVD_SECTORS = 64
PP_SIZES = range(18, 31)
"""The size of a physical partition as a power of two: 256 KiB to 1 GiB."""

IPL_RECORD = layout(
    lambda: Struct(
        "IPL_record_id" / Bytes(4),
        "reserved1" / Bytes(20),
        "formatted_cap" / Int32ub,
        "last_head" / Int8ub,
        "last_sec" / Int8ub,
        "reserved2" / Bytes(6),
        "boot_code_length" / Int32ub,
        "boot_code_offset" / Int32ub,
        "boot_lv_start" / Int32ub,
        "boot_prg_start" / Int32ub,
        "boot_lv_length" / Int32ub,
        "rest" / Bytes(72),
        "pv_id" / Bytes(16),
    )
)
LVM_RECORD = layout(
    lambda: Struct(
        "lvm_id" / Bytes(4),
        "vg_id" / Bytes(16),
        "lvmarea_len" / Int32ub,
        "vgda_len" / Int32ub,
        "vgda_psn" / Int32ub,
        "vgda_psn2" / Int32ub,
        "reloc_psn" / Int32ub,
        "reloc_len" / Int32ub,
        "pv_num" / Int16ub,
        "pp_size" / Int16ub,
        "reserved46" / Bytes(12),
        "version" / Int16ub,
    )
)
VGDA = layout(
    lambda: Struct(
        "secs" / Int32ub,
        "usec" / Int32ub,
        "reserved8" / Bytes(16),
        "numlvs" / Int16ub,
        "maxlvs" / Int16ub,
        "pp_size" / Int16ub,
        "numpvs" / Int16ub,
        "total_vgdas" / Int16ub,
        "vgda_size" / Int16ub,
    )
)
LVD = layout(
    lambda: Struct(
        "lv_ix" / Int16ub,
        "res2" / Int16ub,
        "res4" / Int16ub,
        "maxsize" / Int16ub,
        "lv_state" / Int16ub,
        "mirror" / Int16ub,
        "mirror_policy" / Int16ub,
        "num_lps" / Int16ub,
        "res10" / Bytes(16),
    )
)
PVD = layout(
    lambda: Struct(
        "pv_id" / Bytes(16),
        "pp_count" / Int16ub,
        "reserved18" / Bytes(2),
        "psn_part1" / Int32ub,
        "reserved24" / Bytes(8),
    )
)
PPE = layout(lambda: Struct("lv_ix" / Int16ub, "res2" / Int16ub, "res4" / Int16ub, "lp_ix" / Int16ub))
_PPE_SIZE = 32
_NAME_SIZE = 64
_LVDS_AT, _PVDS_AT = 1, 17
"""Sectors from the start of the descriptor area; the names are its last but one kilobytes."""
_NAMES_SECTORS = 33
_LVDS_SECTORS = _PVDS_AT - _LVDS_AT


def parse(view: View) -> Table:
    """Read the record, and the logical volumes that lie in one piece on this disk."""
    record = read_struct(view, IPL_RECORD, 0)
    if record.IPL_record_id != MAGIC or any(record.reserved1):
        raise NotThisFormat("no boot record")
    details: dict[str, Json] = {
        "pv_id": record.pv_id.hex() if any(record.pv_id) else None,
        "formatted_capacity_sectors": record.formatted_cap,
        "boot_lv_start_sector": record.boot_lv_start,
        "boot_lv_sectors": record.boot_lv_length,
    }
    meta = [Extent(offset=0, size=SECTOR, name="IPL Record")]
    partitions: list[Partition] = []
    problems: list[Problem] = []
    if view.glance(LVM_SECTOR * SECTOR, len(LVM_MAGIC)) == LVM_MAGIC:
        meta.append(Extent(offset=LVM_SECTOR * SECTOR, size=SECTOR, name="LVM Record"))
        try:
            lvm = read_struct(view, LVM_RECORD, LVM_SECTOR * SECTOR)
            partitions = _logical_volumes(view, lvm, details)
            size = lvm.vgda_len * SECTOR
            meta.append(Extent(offset=lvm.vgda_psn * SECTOR, size=size, name="Volume Group Descriptor Area"))
        except (NotThisFormat, ShortRead) as error:
            message = f"the volume group's descriptor area cannot be read: {error}"
            problems.append(Problem(Code.DAMAGED, message))
    return Table(
        pttype="aix",
        sector_size=SECTOR,
        partitions=tuple(partitions),
        meta=tuple(meta),
        details=details,
        problems=tuple(problems),
    )


def _logical_volumes(view: View, lvm: Any, details: dict[str, Json]) -> list[Partition]:
    if lvm.version != LVM_VERSION or lvm.pp_size not in PP_SIZES or lvm.vgda_len <= _NAMES_SECTORS:
        raise NotThisFormat(f"version {lvm.version}, partitions of 2^{lvm.pp_size} bytes")
    start, unit = lvm.vgda_psn, 1 << lvm.pp_size
    group = read_struct(view, VGDA, start * SECTOR)
    count = min(group.maxlvs or LVS_CAP, LVS_CAP)
    lvds = view.read((start + _LVDS_AT) * SECTOR, _LVDS_SECTORS * SECTOR)
    names = view.read((start + lvm.vgda_len - _NAMES_SECTORS) * SECTOR, LVS_CAP * _NAME_SIZE)
    own = start + _PVDS_AT + PVD_SECTORS * max(0, lvm.pv_num - 1)
    disk = read_struct(view, PVD, own * SECTOR)
    if disk.pp_count > PPS_CAP:
        raise NotThisFormat(f"{disk.pp_count} physical partitions are too many")
    entries = view.read(own * SECTOR + PVD.size, disk.pp_count * _PPE_SIZE)
    places = _places(entries)
    found = []
    volumes: list[Json] = []
    for index in range(1, count + 1):
        wanted = parse_struct(lvds, LVD, (index - 1) * LVD.size).num_lps
        runs = places.get(index)
        if not wanted or runs is None:
            continue
        name = text(names[(index - 1) * _NAME_SIZE : index * _NAME_SIZE], "latin-1")
        whole = next((first for first, lps in runs if lps == list(range(1, wanted + 1))), None)
        here = sum(len(lps) for _, lps in runs)
        volumes.append({"name": name, "partitions": wanted, "here": here, "contiguous": whole is not None})
        if whole is None:
            continue
        found.append(
            Partition(
                number=index,
                slot=index - 1,
                offset=disk.psn_part1 * SECTOR + whole * unit,
                size=wanted * unit,
                name=name,
            )
        )
    details |= {
        "vg_id": lvm.vg_id.hex(),
        "vg_modified": unix_time(group.secs),
        "vg_disks": group.numpvs,
        "pv_number": lvm.pv_num,
        "physical_partition_size": unit,
        "physical_partitions": disk.pp_count,
        "first_physical_partition_sector": disk.psn_part1,
        "logical_volumes": volumes,
    }
    return found


def _places(entries: bytes) -> dict[int, list[tuple[int, list[int]]]]:
    """For each logical volume its runs on this disk: the first physical partition, and what it holds."""
    found: dict[int, list[tuple[int, list[int]]]] = {}
    before: tuple[int, int] | None = None
    for place, at in enumerate(range(0, len(entries), _PPE_SIZE)):
        entry = parse_struct(entries, PPE, at)
        if not entry.lp_ix:
            before = None
            continue
        if before == (entry.lv_ix, entry.lp_ix - 1) and entry.lp_ix > 1:
            found[entry.lv_ix][-1][1].append(entry.lp_ix)
        else:
            found.setdefault(entry.lv_ix, []).append((place, [entry.lp_ix]))
        before = (entry.lv_ix, entry.lp_ix)
    return found


FORMAT = TableFormat(
    name="aix",
    title="AIX physical volume",
    specification="AIX, sys/bootrecord.h; Linux, block/partitions/aix.c",
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    types=("aix",),
)
