"""The database of a dynamic disk's group: table of contents, VMDB, and the records that its VBLKs make up.

Layout: LDM documentation of the Linux-NTFS project, "TOCBLOCK", "VMDB", "VBLK"; as in ``ldm.py``.
"""

from collections.abc import Iterator
from typing import Any

from construct import Bytes, Int8ub, Int16ub, Int32ub, Int64ub, Struct

from pyimount.formats import Json, NotThisFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import text, uuid_text
from pyimount.parsers.volumes.ldm_header import PrivateHeader, checksum
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.view import ShortRead, View

TOC_REGION = layout(
    lambda: Struct(
        "name" / Bytes(8),
        "flags" / Int16ub,
        "offset" / Int64ub,
        "size" / Int64ub,
        "unknown" / Int16ub,
        "copy_number" / Int16ub,
        "zeroes" / Bytes(4),
    )
)

TOCBLOCK = layout(
    lambda: Struct(
        "magic" / Bytes(8),
        "checksum" / Int32ub,
        "update_sequence_number" / Int64ub,
        "zeroes" / Bytes(16),
        "config" / TOC_REGION.construct,
        "log" / TOC_REGION.construct,
    )
)

VMDB = layout(
    lambda: Struct(
        "magic" / Bytes(4),
        "last_vblk_sequence" / Int32ub,
        "vblk_size" / Int32ub,
        "first_vblk" / Int32ub,
        "update_status" / Int16ub,
        "version_major" / Int16ub,
        "version_minor" / Int16ub,
        "disk_group_name" / Bytes(31),
        "disk_group_guid" / Bytes(64),
        "commit_sequence" / Int64ub,
        "pending_sequence" / Int64ub,
        "num_committed_volume_vblk" / Int32ub,
        "num_committed_component_vblk" / Int32ub,
        "num_committed_partition_vblk" / Int32ub,
        "num_committed_disk_vblk" / Int32ub,
        "reserved" / Bytes(12),
        "num_pending_volume_vblk" / Int32ub,
        "num_pending_component_vblk" / Int32ub,
        "num_pending_partition_vblk" / Int32ub,
        "num_pending_disk_vblk" / Int32ub,
        "reserved2" / Bytes(12),
        "last_access_time" / Int64ub,
    )
)

VBLK_HEADER = layout(
    lambda: Struct(
        "magic" / Bytes(4),
        "sequence_number" / Int32ub,
        "group_number" / Int32ub,
        "record_number" / Int16ub,
        "num_records" / Int16ub,
    )
)

RECORD_HEADER = layout(
    lambda: Struct(
        "update_status" / Int16ub,
        "record_flags" / Int8ub,
        "record_type" / Int8ub,
        "data_length" / Int32ub,
    )
)

_NUM_RECORDS_AT = 14
_NO_RECORDS = b"\0\0"
"""The number of records of a VBLK that is free."""

TOC_MAGIC, VMDB_MAGIC, VBLK_MAGIC = b"TOCBLOCK", b"VMDB", b"VBLK"
TOC_PLACES = (2, 2045, 1, 2046)
"""In the private region, in sectors; Windows 2000 had them at 1 and 2046."""

DATABASE_CAP = 8 << 20
"""No larger database is read, in bytes; Windows gives it 1 MiB."""
GROUP_CAP = 256
"""A record takes no more VBLKs than this."""

VOLUME, COMPONENT, PARTITION, DISK, DISK_GROUP = range(1, 6)
STRIPED, CONCATENATED, RAID5 = 1, 2, 3
COMPONENT_TYPES = {STRIPED: "striped", CONCATENATED: "concatenated", RAID5: "raid5"}
CONSISTENT = 1


class Disk(Record, kw_only=True):
    """A disk of the group: its object number, name and GUID."""

    id: int
    name: str | None
    guid: str | None


class Partition(Record, kw_only=True):
    """A run of a disk's public region; all figures in sectors. ``column``: its place among its siblings."""

    id: int
    name: str | None
    start: int
    volume_offset: int
    size: int
    component: int
    disk: int
    column: int


class Component(Record, kw_only=True):
    """A plex of a volume: one copy of it. ``chunk`` in sectors."""

    id: int
    type: int
    volume: int
    children: int
    chunk: int
    columns: int


class Volume(Record, kw_only=True):
    """A volume; ``size`` in sectors."""

    id: int
    name: str | None
    kind: str | None
    state: str | None
    size: int
    children: int
    part_type: int
    guid: str | None
    hint: str | None


class Database(Record, kw_only=True):
    """What the database says, the records by their object numbers, in its order."""

    commit_sequence: int
    pending: bool
    volumes: dict[int, Volume]
    components: dict[int, Component]
    partitions: dict[int, Partition]
    disks: dict[int, Disk]
    problems: tuple[Problem, ...] = ()

    def of_volume(self, volume: Volume) -> list[Component]:
        """The components of a volume."""
        return [each for each in self.components.values() if each.volume == volume.id]

    def of_component(self, component: Component) -> list[Partition]:
        """The partitions of a component, by column and place in it."""
        found = [each for each in self.partitions.values() if each.component == component.id]
        return sorted(found, key=lambda each: (each.column, each.volume_offset, each.id))


def read_database(view: View, header: PrivateHeader) -> Database:
    """The database of the disk with this private header. Raises NotThisFormat, ShortRead and ReadError."""
    problems: list[Problem] = []
    start, size = _config_region(view, header, problems)
    if not 512 <= size <= DATABASE_CAP:
        raise NotThisFormat(f"a database of {size} bytes")
    raw = view.read(start, size)
    if not raw.startswith(VMDB_MAGIC):
        raise NotThisFormat(f"no VMDB at {start}")
    vmdb = parse_struct(raw, VMDB)
    if (text(vmdb.disk_group_guid, "ascii") or "").lower() != header.group_id:
        raise NotThisFormat("the database is that of another disk group")
    if not 64 <= vmdb.vblk_size <= 4096 or not VMDB.size <= vmdb.first_vblk <= size:
        raise NotThisFormat(f"VBLKs of {vmdb.vblk_size} bytes from {vmdb.first_vblk}")
    pending = vmdb.pending_sequence != vmdb.commit_sequence
    found: dict[int, dict[int, Any]] = {kind: {} for kind in (VOLUME, COMPONENT, PARTITION, DISK)}
    broken = 0
    for record in _records(raw, vmdb.first_vblk, vmdb.vblk_size):
        try:
            kind, entry = _entry(record)
        except NotThisFormat:
            broken += 1
            continue
        if kind in found:
            found[kind][entry.id] = entry
    wanted = {
        VOLUME: vmdb.num_committed_volume_vblk, COMPONENT: vmdb.num_committed_component_vblk,
        PARTITION: vmdb.num_committed_partition_vblk, DISK: vmdb.num_committed_disk_vblk,
    }  # fmt: skip
    if broken:
        problems.append(
            Problem(Code.DAMAGED, f"{broken} records of the disk group's database cannot be read")
        )
    if not pending and any(len(found[kind]) != count for kind, count in wanted.items()):
        have = ", ".join(f"{len(found[kind])} of {count}" for kind, count in wanted.items())
        message = f"volumes, components, partitions and disks in the database: {have}"
        problems.append(Problem(Code.DAMAGED, message))
    return Database(
        commit_sequence=vmdb.commit_sequence,
        pending=pending,
        volumes=found[VOLUME],
        components=found[COMPONENT],
        partitions=found[PARTITION],
        disks=found[DISK],
        problems=tuple(problems),
    )


def _config_region(view: View, header: PrivateHeader, problems: list[Problem]) -> tuple[int, int]:
    """Where the database lies, by the first table of contents that is sound: offset and size in bytes."""
    start, unit = header.private[0], header.unit
    told = (header.said.primary_toc_offset, header.said.secondary_toc_offset)
    for number, place in enumerate(dict.fromkeys((*told, *TOC_PLACES))):
        if place * unit >= header.private[1]:
            continue
        try:
            raw = view.read(start + place * unit, 512)
        except (ShortRead, ReadError):
            continue
        if not raw.startswith(TOC_MAGIC):
            continue
        toc = parse_struct(raw, TOCBLOCK)
        for region in (toc.config, toc.log):
            end = (region.offset + region.size) * unit
            if checksum(raw) == toc.checksum and text(region.name) == "config" and end <= header.private[1]:
                if number:
                    message = f"the first table of contents is damaged; that in sector {place} was read"
                    problems.append(Problem(Code.BACKUP_USED, message))
                return start + region.offset * unit, region.size * unit
    raise NotThisFormat("no sound table of contents in the private region")


def _records(raw: bytes, first: int, size: int) -> Iterator[bytes]:
    """The records, whole: one that takes several VBLKs when its last one is there."""
    parts: dict[int, dict[int, bytes]] = {}
    for at in range(first, len(raw) - size + 1, size):
        if not raw.startswith(VBLK_MAGIC, at):
            return
        if raw.startswith(_NO_RECORDS, at + _NUM_RECORDS_AT):
            continue  # nearly all of them; read as structures they would take most of the time
        head = parse_struct(raw, VBLK_HEADER, at)
        body = raw[at + VBLK_HEADER.size : at + size]
        if head.num_records == 1:
            yield body
            continue
        if head.num_records > GROUP_CAP or head.record_number >= head.num_records:
            yield b""  # counted as broken
            continue
        group = parts.setdefault(head.group_number, {})
        group[head.record_number] = body
        if len(group) == head.num_records:
            yield b"".join(group[number] for number in sorted(group))
            del parts[head.group_number]
    yield from (b"" for _ in parts)


class _Cursor:
    """Reads a record's fields one after the other; raises NotThisFormat where it ends."""

    def __init__(self, record: bytes, at: int) -> None:
        self._record, self._at = record, at

    def take(self, length: int) -> bytes:
        """So many bytes."""
        piece = self._record[self._at : self._at + length]
        if len(piece) != length:
            raise NotThisFormat("a record ends in a field")
        self._at += length
        return piece

    def fixed(self, length: int) -> int:
        """A number of so many bytes."""
        return int.from_bytes(self.take(length), "big")

    def variable(self) -> bytes:
        """A field that says its length first."""
        return self.take(self.take(1)[0])

    def number(self) -> int:
        """A number that says its length first, of 8 bytes at most."""
        raw = self.variable()
        if len(raw) > 8:
            raise NotThisFormat(f"a number of {len(raw)} bytes")
        return int.from_bytes(raw, "big")


def _entry(record: bytes) -> tuple[int, Any]:
    """The kind of a record, and what it says; None for kinds that make up no volume."""
    head = parse_struct(record, RECORD_HEADER)
    kind, revision = head.record_type & 0xF, head.record_type >> 4
    end = RECORD_HEADER.size + head.data_length
    cursor = _Cursor(record[:end], RECORD_HEADER.size)
    if (kind, revision) == (VOLUME, 5):
        return kind, _volume(cursor, head.record_flags)
    if (kind, revision) == (COMPONENT, 3):
        return kind, _component(cursor, head.record_flags)
    if (kind, revision) == (PARTITION, 3):
        return kind, _partition(cursor, head.record_flags)
    if kind == DISK and revision in (3, 4):
        number, name = cursor.number(), text(cursor.variable())
        guid = text(cursor.variable(), "ascii") if revision == 3 else uuid_text(cursor.take(16))
        return kind, Disk(id=number, name=name, guid=guid.lower() if guid else None)
    if kind in (VOLUME, COMPONENT, PARTITION, DISK):
        raise NotThisFormat(f"a record of kind {kind} in revision {revision}")
    return kind, None


def _volume(cursor: _Cursor, flags: int) -> Volume:
    number, name, kind = cursor.number(), text(cursor.variable()), text(cursor.variable())
    cursor.variable()  # not known
    state = text(cursor.take(14))
    cursor.take(1 + 1 + 1 + 3 + 1)  # type, not known, number, zeroes, flags
    children = cursor.number()
    cursor.take(8 + 8)  # commit number, not known
    size = cursor.number()
    cursor.take(4)
    part_type = cursor.fixed(1)
    guid = uuid_text(cursor.take(16))
    for flag in (0x08, 0x20, 0x80):  # two names and a size that are not known
        if flags & flag:
            cursor.variable()
    hint = text(cursor.variable()) if flags & 0x02 else None
    return Volume(
        id=number, name=name, kind=kind, state=state, size=size, children=children,
        part_type=part_type, guid=guid, hint=hint,
    )  # fmt: skip


def _component(cursor: _Cursor, flags: int) -> Component:
    number = cursor.number()
    cursor.variable()  # name
    cursor.variable()  # state
    kind = cursor.fixed(1)
    cursor.take(4)
    children = cursor.number()
    cursor.take(8 + 8)  # commit number, zeroes
    volume = cursor.number()
    cursor.take(1)
    chunk = cursor.number() if flags & 0x10 else 0
    columns = cursor.number() if flags & 0x10 else 0
    return Component(id=number, type=kind, volume=volume, children=children, chunk=chunk, columns=columns)


def _partition(cursor: _Cursor, flags: int) -> Partition:
    number, name = cursor.number(), text(cursor.variable())
    cursor.take(4 + 8)  # zeroes, commit number
    start, volume_offset = cursor.fixed(8), cursor.fixed(8)
    size, component, disk = cursor.number(), cursor.number(), cursor.number()
    column = cursor.number() if flags & 0x08 else 0
    return Partition(
        id=number, name=name, start=start, volume_offset=volume_offset, size=size,
        component=component, disk=disk, column=column,
    )  # fmt: skip


def volume_type(database: Database, volume: Volume) -> str:
    """What Windows calls the volume: simple, spanned, striped, mirrored or raid5."""
    components = database.of_volume(volume)
    if len(components) > 1:
        return "mirrored"
    kind = components[0].type if components else 0
    if kind in (STRIPED, RAID5):
        return COMPONENT_TYPES[kind]
    return "spanned" if components and len(database.of_component(components[0])) > 1 else "simple"


def database_facts(database: Database, unit: int) -> dict[str, Json]:
    """The database for the report, of disks with sectors of ``unit`` bytes."""
    names = {disk.id: disk.name for disk in database.disks.values()}
    volumes: list[Json] = []
    for volume in database.volumes.values():
        parts = [part for each in database.of_volume(volume) for part in database.of_component(each)]
        chunk = next((each.chunk for each in database.of_volume(volume) if each.chunk), None)
        volumes.append(
            {
                "name": volume.name,
                "guid": volume.guid,
                "type": volume_type(database, volume),
                "state": volume.state,
                "size": volume.size * unit,
                "chunk_size": chunk * unit if chunk else None,
                "hint": volume.hint,
                "partitions": [part.name for part in parts],
            }
        )
    return {
        "commit_sequence": database.commit_sequence,
        "pending_changes": database.pending,
        "disks": [{"name": names[disk.id], "guid": disk.guid} for disk in database.disks.values()],
        "volumes": volumes,
    }
