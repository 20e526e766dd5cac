"""The private header of a dynamic disk: which group it belongs to, and where the group's database lies.

Layout: LDM documentation of the Linux-NTFS project, "PRIVHEAD"; as in ``ldm.py``.
"""

from typing import Any

from construct import Bytes, Int16ub, Int32ub, Int64ub, Struct

from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import text
from pyimount.problems import Problem
from pyimount.records import Record
from pyimount.sources.view import View

PRIVHEAD = layout(
    lambda: Struct(
        "magic" / Bytes(8),
        "checksum" / Int32ub,
        "version_major" / Int16ub,
        "version_minor" / Int16ub,
        "last_update" / Int64ub,
        "update_sequence_number" / Int64ub,
        "primary_private_header_offset" / Int64ub,
        "secondary_private_header_offset" / Int64ub,
        "disk_id" / Bytes(64),
        "host_id" / Bytes(64),
        "disk_group_id" / Bytes(64),
        "disk_group_name" / Bytes(31),
        "sector_size" / Int32ub,
        "flags" / Int32ub,
        "public_region_slice_number" / Int16ub,
        "private_region_slice_number" / Int16ub,
        "public_region_offset" / Int64ub,
        "public_region_size" / Int64ub,
        "private_region_offset" / Int64ub,
        "private_region_size" / Int64ub,
        "primary_toc_offset" / Int64ub,
        "secondary_toc_offset" / Int64ub,
        "num_configs" / Int32ub,
        "num_logs" / Int32ub,
        "config_size" / Int64ub,
        "log_size" / Int64ub,
        "disk_signature" / Bytes(4),
        "disk_set_id" / Bytes(32),
        "reserved" / Bytes(121),
    )
)

MAGIC = b"PRIVHEAD"
SIZE = 512
MBR_SECTOR = 6
"""Where a disk with an MBR has its private header."""
COPIES = (1856, 2047)
"""Where its copies lie in the private region, in sectors; the last is what a disk with GPT has first."""


class PrivateHeader(Record, kw_only=True):
    """What a dynamic disk's private header says. All places in bytes from the start of the disk.

    ``at``: where it was found, ``unit``: bytes in a sector, ``private``: offset and size of the
    region with the database, ``public``: of the region that holds the volumes' data. ``said``: its fields.
    """

    at: int
    unit: int
    disk_id: str
    group_id: str
    group_name: str | None
    private: tuple[int, int]
    public: tuple[int, int]
    said: Any
    checked: bool
    problems: tuple[Problem, ...] = ()


def checksum(header: bytes) -> int:
    """The sum of all bytes of a private header or a table of contents, its own field taken as zero."""
    return sum(header[:8]) + sum(header[12:])


def header_at(view: View, at: int, unit: int) -> PrivateHeader | None:
    """The header at this place, None where there is none of this disk."""
    raw = view.glance(at, SIZE)
    if len(raw) != SIZE or not raw.startswith(MAGIC):
        return None
    fields = parse_struct(raw, PRIVHEAD)
    disk_id, group_id = text(fields.disk_id, "ascii"), text(fields.disk_group_id, "ascii")
    private = fields.private_region_offset * unit, fields.private_region_size * unit
    public = fields.public_region_offset * unit, fields.public_region_size * unit
    copies = fields.primary_private_header_offset, fields.secondary_private_header_offset
    # The header of a disk that is inside this one, or that this one is a part of, is not ours.
    places = (MBR_SECTOR * unit, *(private[0] + copy * unit for copy in (*copies, *COPIES)))
    if at not in places or not disk_id or not group_id or fields.version_major != 2:
        return None
    return PrivateHeader(
        at=at,
        unit=unit,
        disk_id=disk_id.lower(),
        group_id=group_id.lower(),
        group_name=text(fields.disk_group_name),
        private=private,
        public=public,
        said=fields,
        checked=checksum(raw) == fields.checksum,
    )
