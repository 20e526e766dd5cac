"""Layers that are yet to be looked into: what a partition table, a volume or a group gives rise to."""

from collections.abc import Iterator, Mapping
from typing import Any

from pyimount.formats import Identity, Partition, Table
from pyimount.layers import Recipe, VolumeLayer
from pyimount.mapping.assembly import Mapped, Unlocked
from pyimount.recognition.probing import Probe
from pyimount.recognition.registry import first_runs
from pyimount.records import EMPTY, Record
from pyimount.scanning.extents import partition_problems, rest_of
from pyimount.sources.source import SliceSource, Source


class Task(Record, kw_only=True):
    """A layer that is yet to be looked into.

    ``place``: the fields of its VolumeLayer that are known already. ``source``: its bytes, None
    when they are not to be read. ``known_tables``: types of table that stand in the same bytes
    one layer out. ``found``: what it is, where that is known.
    """

    place: dict[str, Any]
    source: Source | None = None
    depth: int = 1
    known_tables: frozenset[str] = frozenset()
    found: Probe | None = None


def run_of(parent: int, index: str, offset: int, size: int, *, base: int | None) -> dict[str, Any]:
    """The place of a run of the parent's bytes; ``base``: the parent's own offset on its disk."""
    return {
        "parents": (parent,),
        "recipe": Recipe("slice", {"offset": offset, "size": size}),
        "index": index,
        "offset": offset,
        "disk_offset": None if base is None else base + offset,
        "size": size,
    }


def _about_to_be_read(table: Table, size: int) -> list[tuple[int, int]]:
    """What the looks into all partitions of a table begin with, so that it can be fetched at once."""
    wanted = []
    for partition in table.partitions:
        inside = min(partition.size, size - partition.offset)
        if not partition.meta and partition.offset >= 0 and inside > 0:
            wanted += [
                (partition.offset + at, length) for at, length in first_runs(inside) if 0 <= at < inside
            ]
    return wanted


def in_table(
    found: Probe,
    source: Source,
    parent: Mapping[str, Any],
    *,
    depth: int = 1,
    known_tables: frozenset[str] = frozenset(),
) -> Iterator[Task]:
    """What a partition table in ``source`` says, gaps and the table's own extents included.

    ``parent``: the ``id``, index ``prefix`` and offset on its disk (``base``) of the layer with the table.
    """
    table = found.table
    if table is None:
        return
    identity, prefix, base = parent["id"], parent["prefix"], parent["base"]
    # A partition that starts where its table does shows the same table again.
    same_bytes = known_tables | {table.pttype} | {candidate.type for candidate in found.candidates}
    owned = found.identity.owns if found.identity else EMPTY
    if source.is_far:
        source.expect(_about_to_be_read(table, source.size))
    for partition, problems in partition_problems(table, source.size):
        place = run_of(identity, f"{prefix}{partition.number}", partition.offset, partition.size, base=base)
        place |= _entry(partition) | {"problems": (*partition.problems, *problems)}
        own = owned.get(partition.type or "")
        if own is not None:
            yield Task(place=place, depth=depth, found=Probe(identity=Identity(type=own), usage=found.usage))
            continue
        inner = SliceSource(source, partition.offset, partition.size)
        yield Task(
            place=place,
            source=None if partition.meta or inner.size == 0 else inner,
            depth=depth,
            known_tables=same_bytes if partition.offset == 0 else frozenset(),
        )
    number = max((partition.number for partition in table.partitions), default=0)
    for extent, flag in rest_of(table, source.size):
        number += 1
        place = run_of(identity, f"{prefix}{number}", extent.offset, extent.size, base=base)
        yield Task(place=place | {"flag": flag, "part_name": extent.name or None}, depth=depth)


def _entry(partition: Partition) -> dict[str, Any]:
    return {
        "slot": partition.slot,
        "flag": "meta" if partition.meta else "alloc",
        "part_type": partition.type,
        "part_type_name": partition.type_name,
        "part_name": partition.name,
        "part_uuid": partition.uuid,
        "part_flags": partition.flags,
    }


def named_inside(volume: VolumeLayer, found: Probe, *, depth: int) -> Iterator[Task]:
    """The volumes that a volume names inside itself, without bytes of their own."""
    for number, identity in enumerate(found.identity.volumes if found.identity else ()):
        place = {"parents": (volume.id,), "recipe": Recipe("none"), "index": f"{volume.index}.{number}"}
        yield Task(
            place=place, depth=depth, found=Probe(identity=identity, usage=identity.usage or found.usage)
        )


def contents_of(volume: VolumeLayer, source: Source, found: Probe, *, depth: int) -> Iterator[Task]:
    """The runs of a volume that its format says hold something of their own."""
    identity = found.identity
    for number, extent in enumerate(identity.contents if identity else ()):
        place = run_of(
            volume.id, f"{volume.index}.{number}", extent.offset, extent.size, base=volume.disk_offset
        )
        inner = SliceSource(source, extent.offset, extent.size)
        yield Task(place=place | {"part_name": extent.name}, source=inner, depth=depth)


def opened(volume: VolumeLayer, unlocked: Unlocked, *, depth: int) -> Task:
    """What a key opened."""
    place = {
        "parents": (volume.id,),
        "recipe": Recipe(unlocked.kind, unlocked.parameters),
        "index": f"{volume.index}.0",
        "size": unlocked.source.size,
        "problems": unlocked.problems,
    }
    return Task(place=place, source=unlocked.source, depth=depth)


def mapped(first: VolumeLayer, number: int, volume: Mapped, source: Source | None, *, depth: int) -> Task:
    """One of the volumes that a group makes up; it stands under ``first``, the first member in disk order."""
    place = {
        "parents": (first.id, *sorted(set(volume.members) - {first.id})),
        "recipe": Recipe(volume.kind, {**volume.parameters, "inputs": list(volume.members)}),
        "index": f"{first.index}.{number}",
        "name": volume.name,
        "hidden": volume.hidden,
        "mapping": {"type": volume.kind, "uuid": volume.uuid, **volume.details},
        "size": volume.size,
        "problems": volume.problems,
    }
    return Task(place=place, source=source, depth=depth)
