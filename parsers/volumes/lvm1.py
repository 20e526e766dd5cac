"""Physical volumes of LVM1.

Layout: LVM2 2.02, lib/format1/disk-rep.h, ``struct pv_disk``, ``vg_disk`` and ``lv_disk``
https://github.com/lvmteam/lvm2/blob/v2_02_177/lib/format1/disk-rep.h
"""

from typing import Any

from construct import Bytes, Int16ul, Int32ul, Struct

from pyimount.formats import (
    Format,
    Identity,
    Json,
    Membership,
    NotThisFormat,
    Precedence,
    Signature,
    Usage,
)
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import flag_names, text
from pyimount.parsers.volumes.lvm2 import dashed
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

SECTOR = 512
NAME_LEN, ID_LEN = 128, 32
MAGIC = b"HM"

PV_DISK = layout(
    lambda: Struct(
        "id" / Bytes(2),
        "version" / Int16ul,
        "pv_on_disk_base" / Int32ul,
        "pv_on_disk_size" / Int32ul,
        "vg_on_disk_base" / Int32ul,
        "vg_on_disk_size" / Int32ul,
        "pv_uuidlist_on_disk_base" / Int32ul,
        "pv_uuidlist_on_disk_size" / Int32ul,
        "lv_on_disk_base" / Int32ul,
        "lv_on_disk_size" / Int32ul,
        "pe_on_disk_base" / Int32ul,
        "pe_on_disk_size" / Int32ul,
        "pv_uuid" / Bytes(NAME_LEN),
        "vg_name" / Bytes(NAME_LEN),
        "system_id" / Bytes(NAME_LEN),
        "pv_major" / Int32ul,
        "pv_number" / Int32ul,
        "pv_status" / Int32ul,
        "pv_allocatable" / Int32ul,
        "pv_size" / Int32ul,
        "lv_cur" / Int32ul,
        "pe_size" / Int32ul,
        "pe_total" / Int32ul,
        "pe_allocated" / Int32ul,
        "pe_start" / Int32ul,
    )
)
VG_DISK = layout(
    lambda: Struct(
        "vg_uuid" / Bytes(ID_LEN),
        "vg_name_dummy" / Bytes(NAME_LEN - ID_LEN),
        "vg_number" / Int32ul,
        "vg_access" / Int32ul,
        "vg_status" / Int32ul,
        "lv_max" / Int32ul,
        "lv_cur" / Int32ul,
        "lv_open" / Int32ul,
        "pv_max" / Int32ul,
        "pv_cur" / Int32ul,
        "pv_act" / Int32ul,
        "dummy" / Int32ul,
        "vgda" / Int32ul,
        "pe_size" / Int32ul,
        "pe_total" / Int32ul,
        "pe_allocated" / Int32ul,
        "pvg_total" / Int32ul,
    )
)
LV_DISK = layout(
    lambda: Struct(
        "lv_name" / Bytes(NAME_LEN),
        "vg_name" / Bytes(NAME_LEN),
        "lv_access" / Int32ul,
        "lv_status" / Int32ul,
        "lv_open" / Int32ul,
        "lv_dev" / Int32ul,
        "lv_number" / Int32ul,
        "lv_mirror_copies" / Int32ul,
        "lv_recovery" / Int32ul,
        "lv_schedule" / Int32ul,
        "lv_size" / Int32ul,
        "lv_snapshot_minor" / Int32ul,
        "lv_chunk_size" / Int16ul,
        "dummy" / Int16ul,
        "lv_allocated_le" / Int32ul,
        "lv_stripes" / Int32ul,
        "lv_stripesize" / Int32ul,
        "lv_badblock" / Int32ul,
        "lv_allocation" / Int32ul,
        "lv_io_timeout" / Int32ul,
        "lv_read_ahead" / Int32ul,
    )
)
MAX_LV = 256
AREAS = ("pv", "vg", "pv_uuidlist", "lv", "pe")
METADATA_CAP = 64 << 20

VG_STATUS = {0x1: "active", 0x2: "exported", 0x4: "extendable"}
ACCESS = {0x1: "read", 0x2: "write", 0x4: "clustered", 0x8: "shared"}
LV_ACCESS = {0x1: "read", 0x2: "write", 0x4: "snapshot", 0x8: "snapshot-origin"}


def parse(view: View) -> Identity:
    """The identity of a physical volume, with what its copy of the group's metadata says."""
    pv = read_struct(view, PV_DISK, 0)
    _plausible(pv)
    uuid, group_name = dashed(pv.pv_uuid[:ID_LEN]), text(pv.vg_name)
    problems: list[Problem] = []
    extent = pv.pe_size * SECTOR
    details: dict[str, Json] = {
        "lvm_version": pv.version,
        "vg_name": group_name,
        "system_id": text(pv.system_id),
        "pv_number": pv.pv_number,
        "active": bool(pv.pv_status & 1),
        "allocatable": bool(pv.pv_allocatable & 2),
        "extent_size": extent,
        "extents": pv.pe_total,
        "allocated_extents": pv.pe_allocated,
        "data_offset": pv.pe_start * SECTOR if pv.version == 2 else None,
    }
    group = None
    if group_name is not None:
        try:
            vg = read_struct(view, VG_DISK, pv.vg_on_disk_base)
            group = Membership(
                type="lvm1",
                uuid=dashed(vg.vg_uuid),
                name=group_name,
                role=f"pv{pv.pv_number - 1}",
                members=vg.pv_cur,
                identity=uuid,
            )
            details |= _group(view, pv, vg)
        except (NotThisFormat, ShortRead) as error:
            problems.append(Problem(Code.DAMAGED, f"the volume group's metadata cannot be read: {error}"))
    return Identity(
        type="LVM1_member",
        fstype="lvm",
        uuid=uuid,
        fs_size=pv.pv_size * SECTOR,
        group=group,
        details=details,
        problems=tuple(problems),
    )


def _plausible(pv: Any) -> None:
    """A magic of two letters proves nothing: the areas must follow one another, and the UUID be one."""
    if pv.id != MAGIC or pv.version not in (1, 2):
        raise NotThisFormat(f"version {pv.version}")
    letters = text(pv.pv_uuid[:ID_LEN], "ascii")
    if letters is None or len(letters) != ID_LEN or not letters.isalnum() or not letters.isascii():
        raise NotThisFormat("no UUID")
    end = 0
    for name in AREAS:
        base, size = getattr(pv, f"{name}_on_disk_base"), getattr(pv, f"{name}_on_disk_size")
        if base < end or base + size > METADATA_CAP or (name == "pv" and base):
            raise NotThisFormat(f"the area {name} lies at {base}, {size} bytes long")
        end = base + size
    if pv.pv_on_disk_size < PV_DISK.size or pv.pe_allocated > pv.pe_total:
        raise NotThisFormat(f"{pv.pe_allocated} extents in use, of {pv.pe_total}")
    if pv.pe_size & pv.pe_size - 1:
        raise NotThisFormat(f"extents of {pv.pe_size} sectors")


def _group(view: View, pv: Any, vg: Any) -> dict[str, Json]:
    count = min(pv.lv_on_disk_size // LV_DISK.size, MAX_LV, vg.lv_max)
    table = view.read(pv.lv_on_disk_base, count * LV_DISK.size)
    volumes: list[Json] = []
    for number in range(count):
        if table[number * LV_DISK.size] == 0:
            continue
        lv = parse_struct(table, LV_DISK, number * LV_DISK.size)
        volumes.append(
            {
                "name": text(lv.lv_name),
                "number": lv.lv_number,
                "size": lv.lv_size * SECTOR,
                "access": [*flag_names(lv.lv_access, LV_ACCESS, "access")],
                "active": bool(lv.lv_status & 1),
                "stripes": lv.lv_stripes,
                "stripe_size": lv.lv_stripesize * SECTOR,
                "extents": lv.lv_allocated_le,
            }
        )
    return {
        "vg_uuid": dashed(vg.vg_uuid),
        "vg_status": [*flag_names(vg.vg_status, VG_STATUS, "status")],
        "vg_access": [*flag_names(vg.vg_access, ACCESS, "access")],
        "vg_extents": vg.pe_total,
        "vg_allocated_extents": vg.pe_allocated,
        "vg_members": vg.pv_cur,
        "logical_volumes": volumes,
    }


FORMAT = Format(
    name="lvm1",
    title="LVM1 physical volume",
    specification="https://github.com/lvmteam/lvm2/blob/v2_02_177/lib/format1/disk-rep.h",
    usage=Usage.RAID,
    types=("LVM1_member",),
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    precedence=Precedence.VOLUME_GROUP,
)
