"""Windows dynamic disks: the volumes of a disk group, after the newest of its databases.

How the parts of a volume lie: LDM documentation of the Linux-NTFS project; that RAID-5 is left-symmetric:
libldm, which maps it so.
"""

from collections.abc import Mapping, Sequence

from pyimount.formats import Json, NotThisFormat
from pyimount.mapping.assembly import Assembly, Mapped, Member
from pyimount.mapping.composed import (
    Node,
    is_lacking,
    linear,
    mirrored,
    open_mapped,
    parity,
    run,
    size_of,
    striped,
)
from pyimount.mapping.parity import LEFT_SYMMETRIC
from pyimount.parsers.volumes.ldm import find_header
from pyimount.parsers.volumes.ldm_database import (
    CONCATENATED,
    RAID5,
    STRIPED,
    Component,
    Database,
    Partition,
    Volume,
    read_database,
    volume_type,
)
from pyimount.parsers.volumes.ldm_header import PrivateHeader
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.view import ShortRead, View

__all__ = ("assemble", "open_mapped")


class _Disk(Record):
    """A member, its header, and the commit number of its database; 0 when that is lost."""

    member: Member
    header: PrivateHeader
    sequence: int


def assemble(members: Sequence[Member]) -> Assembly:
    """The volumes of one disk group."""
    disks: dict[str, _Disk] = {}
    problems: list[Problem] = []
    newest: Database | None = None
    for member in members:
        view = View(member.source)
        try:
            header = find_header(view)
        except (NotThisFormat, ShortRead, ReadError) as error:
            problems.append(Problem(Code.DAMAGED, f"volume {member.index} has no private header: {error}"))
            continue
        try:
            database = read_database(view, header)
        except (NotThisFormat, ShortRead, ReadError):
            database = None  # the parser has said so, and the others have the same database
        disks[header.disk_id] = _Disk(member, header, database.commit_sequence if database else 0)
        if database and (newest is None or database.commit_sequence > newest.commit_sequence):
            newest = database
    if newest is None:
        return Assembly(complete=False, problems=tuple(problems))
    group = _Group(newest, disks)
    volumes = tuple(group.volume(volume) for volume in newest.volumes.values())
    used = {number for volume in volumes for number in volume.members}
    older = [disk.member for disk in disks.values() if disk.sequence < newest.commit_sequence]
    if older:
        names = ", ".join(member.index for member in older)
        message = (
            f"the database on {names} is older than on others; mirrors and RAID-5 do without these disks"
        )
        problems.append(Problem(Code.COPIES_DIFFER, message))
    return Assembly(
        volumes=volumes,
        complete=all(disk.guid in disks for disk in newest.disks.values()),
        stale=tuple(member.id for member in older if member.id not in used),
        problems=tuple(problems),
    )


class _Group:
    """A disk group: its database, and the disks of it that are there, by GUID."""

    def __init__(self, database: Database, disks: Mapping[str, _Disk]) -> None:
        self._database = database
        self._disks = disks
        self._unit = max((disk.header.unit for disk in disks.values()), default=512)

    def volume(self, volume: Volume) -> Mapped:
        """One volume."""
        inputs: list[int] = []
        missing: list[str] = []
        problems: list[Problem] = []
        parameters: dict[str, Json] = {}
        size = volume.size * self._unit
        components = self._database.of_volume(volume)
        redundant = len(components) > 1 or any(each.type == RAID5 for each in components)
        try:
            if len(components) != volume.children or not components:
                raise ValueError(f"it has {len(components)} components of {volume.children}")
            nodes = [self._component(each, inputs, missing, redundant=redundant) for each in components]
            tree = nodes[0] if len(nodes) == 1 else mirrored(nodes, size)
        except ValueError as error:
            problems.append(
                Problem(Code.DAMAGED, f"the database contradicts itself on {volume.name}: {error}")
            )
        else:
            parameters = {"volume": tree, "size": size}
            if size_of(tree) < size:
                message = f"{volume.name} should have {size} bytes; its parts have {size_of(tree)}"
                problems.append(Problem(Code.DAMAGED, message))
                # What is claimed and cannot be read would end within a read.
                size = size_of(tree)
            if missing:
                lost = "what lies only there cannot be read"
                what = lost if is_lacking(tree) else "its bytes are reckoned from the rest"
                message = f"disks of {volume.name} are missing: {', '.join(dict.fromkeys(missing))}; {what}"
                problems.append(Problem(Code.MISSING_MEMBER, message))
        return Mapped(
            kind="ldm",
            members=tuple(inputs),
            parameters=parameters,
            size=size,
            name=volume.name,
            uuid=volume.guid,
            details=self._details(volume, components),
            readable=bool(parameters),
            problems=tuple(problems),
        )

    def _details(self, volume: Volume, components: Sequence[Component]) -> dict[str, Json]:
        names = {disk.id: disk.name for disk in self._database.disks.values()}
        chunk = next((each.chunk for each in components if each.chunk), 0)
        return {
            "volume_type": volume_type(self._database, volume),
            "state": volume.state,
            "hint": volume.hint,
            "part_type": f"{volume.part_type:#x}",
            "chunk_size": chunk * self._unit or None,
            "partitions": [
                {
                    "name": part.name,
                    "disk": names.get(part.disk),
                    "offset": part.start * self._unit,
                    "volume_offset": part.volume_offset * self._unit,
                    "size": part.size * self._unit,
                }
                for each in components
                for part in self._database.of_component(each)
            ],
        }

    def _component(
        self, component: Component, inputs: list[int], missing: list[str], *, redundant: bool
    ) -> Node:
        """One copy of a volume. Raises ValueError for figures that cannot be."""
        parts = self._database.of_component(component)
        if not parts or len(parts) != component.children:
            raise ValueError(f"component {component.id} has {len(parts)} parts of {component.children}")
        columns: dict[int, list[Partition]] = {}
        for part in parts:
            number = 0 if component.type == CONCATENATED else part.column
            columns.setdefault(number, []).append(part)
        nodes = [
            self._column(
                columns[number],
                inputs,
                missing,
                redundant=redundant,
                concatenated=component.type == CONCATENATED,
            )
            for number in sorted(columns)
        ]
        if component.type == CONCATENATED:
            return nodes[0]
        chunk = component.chunk * self._unit
        if sorted(columns) != [*range(component.columns)] or not 0 < chunk <= 1 << 30:
            raise ValueError(f"component {component.id}: columns {sorted(columns)}, chunks of {chunk} bytes")
        if component.type == STRIPED:
            return striped(nodes, chunk)
        if component.type == RAID5 and len(nodes) > 2:
            return parity(nodes, chunk, 5, LEFT_SYMMETRIC)
        raise ValueError(f"component {component.id} is of type {component.type} with {len(nodes)} columns")

    def _column(
        self,
        parts: Sequence[Partition],
        inputs: list[int],
        missing: list[str],
        *,
        redundant: bool,
        concatenated: bool,
    ) -> Node:
        """The parts of one column, which follow each other."""
        nodes: list[Node] = []
        # Columns of stripes each begin anew; what is concatenated begins where the volume does.
        first = 0 if concatenated else parts[0].volume_offset
        at = 0
        for part in sorted(parts, key=lambda part: part.volume_offset):
            if part.volume_offset - first < at:
                raise ValueError(f"{part.name} overlaps the part before it")
            if part.volume_offset - first > at:
                raise ValueError(f"there is a hole before {part.name}")
            nodes.append(self._run(part, inputs, missing, redundant=redundant))
            at += part.size
        return nodes[0] if len(nodes) == 1 else linear(nodes)

    def _run(self, part: Partition, inputs: list[int], missing: list[str], *, redundant: bool) -> Node:
        record = self._database.disks.get(part.disk)
        disk = self._disks.get(record.guid or "") if record else None
        if disk is None or (redundant and disk.sequence < self._database.commit_sequence):
            missing.append((record.name if record else None) or f"disk {part.disk}")
            return run(None, 0, part.size * self._unit)
        if disk.member.id not in inputs:
            inputs.append(disk.member.id)
        offset = disk.header.public[0] + part.start * disk.header.unit
        return run(inputs.index(disk.member.id), offset, part.size * self._unit)
