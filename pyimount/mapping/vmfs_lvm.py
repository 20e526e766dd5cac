"""VMFS volumes: the extents that the devices of one volume give it, in the order of the volume.

Layout: as in ``pyimount.parsers.volumes.vmfs_lvm``.
"""

from collections.abc import Sequence
from typing import Any

from pyimount.formats import Json, NotThisFormat
from pyimount.mapping.assembly import Assembly, Mapped, Member
from pyimount.mapping.composed import PARTS_CAP, Node, linear, open_mapped, run
from pyimount.parsers.volumes.vmfs_lvm import (
    STATES,
    Extent,
    read_device,
    read_extents,
    read_volumes,
    vmfs_uuid,
)
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.view import ShortRead, View

__all__ = ("assemble", "open_mapped")


class _Part(Record):
    """What one device gives to a volume: the volume's descriptor there, and runs of extents."""

    member: Member
    descriptor: Any
    runs: tuple[Extent, ...]


def assemble(members: Sequence[Member]) -> Assembly:
    """The volumes on these devices; there is one on each, in practice."""
    volumes: dict[tuple[str | None, int], list[_Part]] = {}
    problems: list[Problem] = []
    for member in members:
        view = View(member.source)
        try:
            device = read_device(view)
            descriptors = read_volumes(view, device)
            runs = _joined(view, device)
        except (NotThisFormat, ShortRead, ReadError) as error:
            message = f"the extents of volume {member.index} cannot be read: {error}"
            problems.append(Problem(Code.DAMAGED, message))
            continue
        for descriptor in descriptors:
            key = vmfs_uuid(descriptor.uuid), descriptor.snapID
            mine = tuple(each for each in runs if each.volume == descriptor.volumeID)
            volumes.setdefault(key, []).append(_Part(member, descriptor, mine))
    made = tuple(_volume(uuid, parts) for (uuid, _), parts in volumes.items())
    return Assembly(
        volumes=made,
        complete=bool(made) and all(len(parts) >= parts[0].descriptor.numDevs for parts in volumes.values()),
        problems=tuple(problems),
    )


def _joined(view: View, device: Any) -> list[Extent]:
    """The extents of a device, those that follow each other in both orders as one."""
    runs: list[Extent] = []
    for extent in read_extents(view, device):
        last = runs[-1] if runs else None
        if (
            last is not None
            and last.volume == extent.volume
            and last.logical + last.length == extent.logical
            and last.physical + last.length == extent.physical
        ):
            runs[-1] = Extent(last.volume, last.logical, last.physical, last.length + extent.length)
        else:
            runs.append(extent)
    return runs


def _volume(uuid: str | None, parts: Sequence[_Part]) -> Mapped:
    newest = max((part.descriptor for part in parts), key=lambda descriptor: descriptor.generation)
    name = newest.name.partition(b"\0")[0].decode("utf-8", "backslashreplace") or None
    size: int = newest.logicalSize
    problems: list[Problem] = []
    parameters: dict[str, Json] = {}
    nodes: list[Node] = []
    holes: list[tuple[int, int]] = []
    try:
        nodes = _nodes(parts, size, holes)
        parameters = {"volume": linear(nodes), "size": size}
    except ValueError as error:
        problems.append(Problem(Code.DAMAGED, f"the extents of {name} contradict each other: {error}"))
    wanted = newest.numDevs
    if len(parts) < wanted:
        message = f"{wanted - len(parts)} of the {wanted} devices of {name} are missing"
        problems.append(Problem(Code.MISSING_MEMBER, f"{message}; what lies on them cannot be read"))
    elif holes and parameters:
        message = f"no extent has the {holes[0][1]} bytes at {holes[0][0]} of {name}"
        problems.append(Problem(Code.DAMAGED, message))
    return Mapped(
        kind="vmfs_lvm",
        members=tuple(part.member.id for part in parts),
        parameters=parameters,
        size=size,
        name=name,
        uuid=uuid,
        details={
            "snapshot_id": newest.snapID,
            "state": STATES[newest.state] if newest.state < len(STATES) else str(newest.state),
            "devices": wanted,
            "runs": len(nodes),
        },
        readable=bool(parameters),
        problems=tuple(problems),
    )


def _nodes(parts: Sequence[_Part], size: int, holes: list[tuple[int, int]]) -> list[Node]:
    """The runs in the order of the volume, with what is missing between them; that is noted in ``holes``.

    Raises ValueError where two claim the same bytes.
    """
    placed = sorted(
        ((extent, number) for number, part in enumerate(parts) for extent in part.runs),
        key=lambda each: each[0].logical,
    )
    nodes: list[Node] = []
    at = 0
    for extent, number in placed:
        if extent.logical < at:
            raise ValueError(f"two have the bytes at {extent.logical}")
        if extent.logical > at:
            holes.append((at, extent.logical - at))
            nodes.append(run(None, 0, extent.logical - at))
        nodes.append(run(number, extent.physical, extent.length))
        at = extent.logical + extent.length
    if at < size:
        holes.append((at, size - at))
        nodes.append(run(None, 0, size - at))
    if len(nodes) > PARTS_CAP:
        raise ValueError(f"{len(nodes)} runs")
    return nodes
