"""Android's dynamic partitions: the logical partition (LP) metadata of a "super" partition.

Layout: AOSP, system/core, fs_mgr/liblp/include/liblp/metadata_format.h
https://android.googlesource.com/platform/system/core/+/refs/heads/main/fs_mgr/liblp/include/liblp/metadata_format.h
"""

from typing import Any

from construct import Bytes, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.formats.layouts import Layout, layout, parse_struct, read_struct
from pyimount.formats.notation import flag_names, text
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.view import ShortRead, View

GEOMETRY_MAGIC, HEADER_MAGIC = 0x616C4467, 0x414C5030
GEOMETRY_SIZE = 4096
PLACES = (4096, 8192)
"""Where the geometry and its copy stand, bytes; what comes before is left empty."""
METADATA_AT = 3 * GEOMETRY_SIZE
MAJOR_VERSION = 10
SECTOR = 512
SLOTS_CAP = 32
METADATA_CAP = 1 << 20
"""No larger metadata are read, in bytes; 64 KiB are usual."""
LINEAR, ZERO = 0, 1

GEOMETRY = layout(
    lambda: Struct(
        "magic" / Int32ul,
        "struct_size" / Int32ul,
        "checksum" / Bytes(32),
        "metadata_max_size" / Int32ul,
        "metadata_slot_count" / Int32ul,
        "logical_block_size" / Int32ul,
    )
)
TABLE = layout(lambda: Struct("offset" / Int32ul, "num_entries" / Int32ul, "entry_size" / Int32ul))
HEADER = layout(
    lambda: Struct(
        "magic" / Int32ul,
        "major_version" / Int16ul,
        "minor_version" / Int16ul,
        "header_size" / Int32ul,
        "header_checksum" / Bytes(32),
        "tables_size" / Int32ul,
        "tables_checksum" / Bytes(32),
        "partitions" / TABLE.construct,
        "extents" / TABLE.construct,
        "groups" / TABLE.construct,
        "block_devices" / TABLE.construct,
    )
)
PARTITION = layout(
    lambda: Struct(
        "name" / Bytes(36),
        "attributes" / Int32ul,
        "first_extent_index" / Int32ul,
        "num_extents" / Int32ul,
        "group_index" / Int32ul,
    )
)
EXTENT = layout(
    lambda: Struct(
        "num_sectors" / Int64ul,
        "target_type" / Int32ul,
        "target_data" / Int64ul,
        "target_source" / Int32ul,
    )
)
GROUP = layout(lambda: Struct("name" / Bytes(36), "flags" / Int32ul, "maximum_size" / Int64ul))
BLOCK_DEVICE = layout(
    lambda: Struct(
        "first_logical_sector" / Int64ul,
        "alignment" / Int32ul,
        "alignment_offset" / Int32ul,
        "size" / Int64ul,
        "partition_name" / Bytes(36),
        "flags" / Int32ul,
    )
)

ATTRIBUTES = {0x1: "readonly", 0x2: "slot-suffixed", 0x4: "updated", 0x8: "disabled"}
HEADER_FLAGS = {0x1: "virtual_ab_device"}


class _Metadata(Record):
    """One copy of the metadata whose checksums hold: where it stands, its header, and its tables."""

    offset: int
    header: Any
    flags: int
    tables: bytes

    def entries(self, table: Any, declared: Layout) -> list[Any]:
        """The entries of one of the tables."""
        size = table.entry_size
        if size < declared.size or table.offset + table.num_entries * size > len(self.tables):
            raise NotThisFormat(f"a table of {table.num_entries} entries does not fit")
        return [
            parse_struct(self.tables, declared, table.offset + number * size)
            for number in range(table.num_entries)
        ]


def parse(view: View) -> Table:
    """Read the geometry and the metadata of the first slot, or of their copies where these are damaged."""
    place, geometry = _geometry(view)
    problems: list[Problem] = []
    if place != PLACES[0]:
        problems.append(Problem(Code.BACKUP_USED, "the geometry is damaged; its copy was read"))
    slots, space = geometry.metadata_slot_count, geometry.metadata_max_size
    details: dict[str, Json] = {
        "metadata_slots": slots,
        "metadata_max_size": space,
        "logical_block_size": geometry.logical_block_size,
    }
    meta = [
        *(Extent(offset=at, size=GEOMETRY_SIZE, name="Geometry") for at in PLACES),
        Extent(offset=METADATA_AT, size=2 * slots * space, name="Metadata"),
    ]
    metadata = _metadata(view, slots, space, problems)
    partitions: list[Partition] = []
    if metadata is None:
        problems.append(Problem(Code.DAMAGED, "no copy of the metadata is whole; the partitions are unknown"))
    else:
        partitions = _partitions(metadata, details, problems)
    return Table(
        pttype="android_super",
        sector_size=SECTOR,
        partitions=tuple(partitions),
        meta=tuple(meta),
        details=details,
        problems=tuple(problems),
        checked=metadata is not None,
    )


def _sha256(data: bytes) -> bytes:
    from hashlib import sha256

    return sha256(data).digest()


def _geometry(view: View) -> tuple[int, Any]:
    for place in PLACES:
        raw = view.glance(place, GEOMETRY.size)
        if len(raw) < GEOMETRY.size:
            break
        found = parse_struct(raw, GEOMETRY)
        space = found.metadata_max_size
        if (
            found.magic == GEOMETRY_MAGIC
            and found.struct_size == GEOMETRY.size
            and _sha256(raw[:8] + bytes(32) + raw[40:]) == found.checksum
            and 0 < space <= METADATA_CAP
            and space % SECTOR == 0
            and 0 < found.metadata_slot_count <= SLOTS_CAP
        ):
            return place, found
    raise NotThisFormat("no geometry whose checksum holds")


def _metadata(view: View, slots: int, space: int, problems: list[Problem]) -> _Metadata | None:
    """The first slot's metadata, else its copy's, else another slot's."""
    for slot in range(slots):
        for copy in (0, slots):
            at = METADATA_AT + (copy + slot) * space
            try:
                found = _read(view, at, space)
            except (NotThisFormat, ShortRead):
                continue
            if slot or copy:
                what = f"slot {slot}'s" + (" backup" if copy else "")
                message = f"the metadata of slot 0 are damaged; {what} were read"
                problems.append(Problem(Code.BACKUP_USED, message))
            return found
    return None


def _read(view: View, at: int, space: int) -> _Metadata:
    header = read_struct(view, HEADER, at)
    size = header.header_size
    if header.magic != HEADER_MAGIC or header.major_version != MAJOR_VERSION:
        raise NotThisFormat("no metadata header of a known version")
    if not HEADER.size <= size <= space or header.tables_size > space - size:
        raise NotThisFormat("header or tables do not fit")
    raw = view.read(at, size)
    tables = view.read(at + size, header.tables_size)
    if _sha256(raw[:12] + bytes(32) + raw[44:]) != header.header_checksum:
        raise NotThisFormat("the header's checksum is wrong")
    if _sha256(tables) != header.tables_checksum:
        raise NotThisFormat("the tables' checksum is wrong")
    flags = int.from_bytes(raw[HEADER.size : HEADER.size + 4], "little")
    return _Metadata(at, header, flags, tables)


def _partitions(metadata: _Metadata, details: dict[str, Json], problems: list[Problem]) -> list[Partition]:
    header = metadata.header
    try:
        entries = metadata.entries(header.partitions, PARTITION)
        extents = metadata.entries(header.extents, EXTENT)
        groups = metadata.entries(header.groups, GROUP)
        devices = metadata.entries(header.block_devices, BLOCK_DEVICE)
    except NotThisFormat as error:
        problems.append(Problem(Code.DAMAGED, f"the metadata contradict themselves: {error}"))
        return []
    found = []
    described: list[Json] = []
    for slot, entry in enumerate(entries):
        own = extents[entry.first_extent_index : entry.first_extent_index + entry.num_extents]
        group = groups[entry.group_index].name if entry.group_index < len(groups) else b""
        described.append(
            {
                "name": text(entry.name),
                "group": text(group),
                "size": sum(extent.num_sectors for extent in own) * SECTOR,
                "extents": [_described(extent, devices) for extent in own],
            }
        )
        faults = _faults(entry, own)
        runs = [extent for extent in own if extent.target_type == LINEAR and extent.target_source == 0]
        if own and own[0] in runs:
            found.append(
                Partition(
                    number=slot + 1,
                    slot=slot,
                    offset=own[0].target_data * SECTOR,
                    size=own[0].num_sectors * SECTOR,
                    name=text(entry.name),
                    flags=tuple(flag_names(entry.attributes, ATTRIBUTES, "attribute")),
                    problems=faults,
                )
            )
        else:
            problems += [Problem(each.code, f"{text(entry.name)}: {each.message}") for each in faults]
    details |= {
        "version": f"{header.major_version}.{header.minor_version}",
        "flags": list(flag_names(metadata.flags, HEADER_FLAGS, "flag")),
        "block_devices": [
            {
                "name": text(device.partition_name),
                "size": device.size,
                "first_logical_sector": device.first_logical_sector,
                "alignment": device.alignment,
            }
            for device in devices
        ],
        "groups": [{"name": text(group.name), "maximum_size": group.maximum_size} for group in groups],
        "partitions": described,
    }
    return found


def _described(extent: Any, devices: list[Any]) -> Json:
    size = extent.num_sectors * SECTOR
    if extent.target_type != LINEAR:
        kind = "zero" if extent.target_type == ZERO else f"{extent.target_type:#x}"
        return {"type": kind, "size": size}
    source = extent.target_source
    return {
        "type": "linear",
        "offset": extent.target_data * SECTOR,
        "size": size,
        "block_device": text(devices[source].partition_name) if source < len(devices) else None,
    }


def _faults(entry: Any, own: list[Any]) -> tuple[Problem, ...]:
    """What keeps a partition from being one run of these bytes."""
    faults = []
    if len(own) < entry.num_extents:
        message = f"{entry.num_extents} extents from number {entry.first_extent_index} on are not all there"
        faults.append(Problem(Code.DAMAGED, message))
    if any(extent.target_type == LINEAR and extent.target_source for extent in own):
        faults.append(Problem(Code.UNSUPPORTED, "lies on another block device, wholly or in part"))
    if len(own) > 1:
        message = f"lies in {len(own)} extents, and only the first is shown; details has all"
        faults.append(Problem(Code.UNSUPPORTED, message))
    elif own and own[0].target_type != LINEAR:
        faults.append(Problem(Code.UNSUPPORTED, "is no run of the disk's bytes"))
    return tuple(faults)


FORMAT = TableFormat(
    name="android-super",
    title="Android dynamic partitions",
    specification="https://android.googlesource.com/platform/system/core/+/refs/heads/main/fs_mgr/liblp/include/liblp/metadata_format.h",
    parse=parse,
    # The size of the structure, which never changes, makes the magic a longer one.
    signatures=tuple(Signature(b"gDla\x34\0\0\0", place) for place in PLACES),
    types=("android_super",),
    vstypes=("super", "lp"),
)
