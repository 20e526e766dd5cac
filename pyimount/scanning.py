"""The scan: a worklist over layers, from the files that were named to the last volume inside."""

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pyimount.extents import partition_problems, rest_of
from pyimount.formats import Json, Membership, Opened, Partition
from pyimount.groups import with_groups
from pyimount.layers import DiskLayer, Recipe, Scan, VolumeLayer
from pyimount.opening import open_image
from pyimount.probing import Probe, probe
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.broker import Broker
from pyimount.sources.budget import Budget, Meter
from pyimount.sources.errors import BudgetError, OpenError
from pyimount.sources.segments import Segments, gather
from pyimount.sources.source import SliceSource, Source
from pyimount.sources.view import View

PathLike: TypeAlias = str | os.PathLike[str]


class Hints(Record):
    """What the caller may know better than the image; the arguments of ``detect``."""

    offset: int | None = None
    size: int | None = None
    sector_size: int | None = None
    vstype: str | None = None
    fstypes: Mapping[str, str] | None = None
    keys_given: bool = False

    def fstype(self, index: str) -> str | None:
        """The type that the caller named for the volume of this index."""
        if not self.fstypes:
            return None
        return self.fstypes.get(index, self.fstypes.get("*"))


def detect(
    paths: PathLike | Sequence[PathLike],
    *,
    offset: int | None = None,
    size: int | None = None,
    sector_size: int | None = None,
    vstype: str | None = None,
    fstypes: Mapping[str | int, str] | None = None,
    keys: Mapping[str | int, str] | None = None,
    header: PathLike | None = None,
    allow: Sequence[PathLike] = (),
    budget: Budget | None = None,
) -> Scan:
    """Tell what is in these images, layer by layer. Needs no root and starts no other program.

    ``paths``: one image or several that belong together; any segment of a split image, or its
    folder, stands for all of it. ``offset``, ``size``: bytes; look only there, as at one volume.
    ``sector_size``: bytes. ``vstype``: the type of partition table to look for, ``none`` for no
    table. ``fstypes``: ``{index: type}``, with ``*`` for every volume: read it as this and
    nothing else. ``keys``, ``header``: for encrypted volumes; this version recognises them, does
    not open them, and says so. ``allow``: folders from which files that an image names may be
    opened, besides its own. ``budget``: what one image may cost.

    Never raises for what the images hold, and not for a path that cannot be opened: its disk has
    size None and a problem. Raises ValueError for arguments that contradict themselves.
    """
    if (offset is not None and offset < 0) or (size is not None and size < 0):
        raise ValueError("offset and size are bytes from the start of the disk, 0 or more")
    if sector_size is not None and (sector_size < 128 or sector_size & (sector_size - 1)):
        raise ValueError(f"a sector has a power of two bytes, 128 at least, not {sector_size}")
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    hints = Hints(
        offset=offset,
        size=size,
        sector_size=sector_size,
        vstype=None if vstype in ("", "detect") else vstype,
        fstypes={str(index): word for index, word in fstypes.items()} if fstypes else None,
        keys_given=bool(keys) or header is not None,
    )
    broker = Broker(tuple(Path(folder) for folder in allow))
    images = gather(Path(path) for path in named)
    scanner = _Scanner(hints, broker, budget or Budget(), several=len(images) > 1)
    for image in images:
        scanner.add(image)
    return scanner.finish()


class _Task(Record, kw_only=True):
    """A layer that is yet to be looked into: where it stands, and its bytes (None: not to be read)."""

    place: dict[str, Any]
    source: Source | None = None
    depth: int = 0
    known_tables: frozenset[str] = frozenset()
    found: Probe | None = None
    """What it is, where that is known already."""


class _Scanner:
    """The state of one call of ``detect``: the layers found so far."""

    def __init__(self, hints: Hints, broker: Broker, budget: Budget, *, several: bool) -> None:
        self._hints = hints
        self._broker = broker
        self._budget = budget
        self._several = several
        self._disks: list[DiskLayer] = []
        self._volumes: list[VolumeLayer] = []
        self._memberships: dict[int, Membership] = {}
        self._next_id = 0

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def finish(self) -> Scan:
        """The scan of all images that were added."""
        return Scan(tuple(self._disks), tuple(with_groups(self._volumes, self._memberships)))

    def add(self, segments: Segments) -> None:
        """Scan one image."""
        meter = Meter(self._budget)
        place: dict[str, Any] = {
            "id": self._new_id(),
            "index": str(len(self._disks) + 1) if self._several else None,
        }
        try:
            image, opened = open_image(segments, self._broker, meter)
        except OpenError as error:
            self._disks.append(_unreadable(place, segments, Problem(Code.UNREADABLE, str(error))))
            return
        except BudgetError as error:
            message = f"{segments.paths[0]}: not opened: {error}"
            self._disks.append(_unreadable(place, segments, Problem(Code.BUDGET, message)))
            return
        container = opened.container
        parameters: dict[str, Json] = {
            "paths": [str(path) for path in image.paths],
            "container": container.type,
        }
        if self._broker.allow:
            parameters["allow"] = [str(folder) for folder in self._broker.allow]
        place |= {
            "paths": tuple(str(path) for path in image.all_paths),
            "container": {"type": container.type, **container.details},
            "recipe": Recipe("image", parameters),
        }
        try:
            self._disks.append(self._disk(place, opened, meter))
        finally:
            image.close()

    def _disk(self, place: dict[str, Any], opened: Opened, meter: Meter) -> DiskLayer:
        source, problems = opened.source, opened.container.problems
        sector_size = self._hints.sector_size or opened.container.sector_size
        if source is None or source.size == 0:
            if source is not None:
                problems = (*problems, Problem(Code.UNREADABLE, f"{place['paths'][0]}: the image is empty"))
            return DiskLayer(**place, size=None, sector_size=sector_size or SECTOR_SIZE, problems=problems)
        found, over = Probe(), None
        pending: deque[_Task] = deque()
        try:
            if self._hints.offset is None and self._hints.size is None:
                view = View(source, sector_size)
                found = self._probe(view, self._hints.fstype("0"))
            pending.extend(self._on_disk(place, source, found))
        except BudgetError as error:
            over = error
        table = found.table
        sector_size = table.sector_size if table else sector_size or SECTOR_SIZE
        over = self._work(pending, sector_size, meter) or over
        if over is not None:
            problems = (*problems, Problem(Code.BUDGET, f"the scan of this image stopped: {over}"))
        if table is not None:
            problems = (*problems, *table.problems, *found.problems)
        return DiskLayer(
            **place,
            size=source.size,
            sector_size=sector_size,
            pttype=table.pttype if table else None,
            ptuuid=table.ptuuid if table else None,
            table=table.details if table else {},
            candidates=found.candidates if table else (),
            problems=problems,
            bytes_read=meter.bytes_read,
        )

    def _probe(self, view: View, fstype: str | None, known_tables: frozenset[str] = frozenset()) -> Probe:
        found = probe(view, only=fstype, vstype=self._hints.vstype, known_tables=known_tables)
        if fstype is None or found.identity is not None:
            return found
        problem = Problem(Code.NOT_AS_TOLD, f"told to read this as {fstype}, and its bytes are not that")
        return found.replaced(problems=(*found.problems, problem))

    def _on_disk(self, disk: Mapping[str, Any], source: Source, found: Probe) -> Iterator[_Task]:
        """The tasks for what stands directly on a disk."""
        prefix = "" if disk["index"] is None else f"{disk['index']}."
        at = self._hints.offset or 0
        size = source.size - at if self._hints.size is None else self._hints.size
        whole = _place(disk["id"], f"{prefix}0", at, max(0, size), base=0)
        if self._hints.offset is not None or self._hints.size is not None:
            yield _Task(place=whole, source=SliceSource(source, at, max(0, size)), depth=1)
        elif found.table is None:
            yield _Task(place=whole, source=source, depth=1, found=found)
        else:
            if found.identity is not None:
                alone = Probe(identity=found.identity, usage=found.usage)
                yield _Task(place=whole, source=source, depth=1, found=alone)
            yield from self._in_table(
                found, disk["id"], prefix, source, base=0, depth=1, known_tables=frozenset()
            )

    def _in_table(
        self,
        found: Probe,
        parent: int,
        prefix: str,
        source: Source,
        *,
        base: int | None,
        depth: int,
        known_tables: frozenset[str],
    ) -> Iterator[_Task]:
        """The tasks for what a partition table says, gaps and the table's own extents included."""
        table = found.table
        if table is None:
            return
        # A partition that starts where its table does shows the same table again.
        same_bytes = known_tables | {table.pttype} | {candidate.type for candidate in found.candidates}
        for partition, problems in partition_problems(table, source.size):
            place = _place(parent, f"{prefix}{partition.number}", partition.offset, partition.size, base=base)
            place |= _entry(partition)
            place["problems"] = (*partition.problems, *problems)
            inner = SliceSource(source, partition.offset, partition.size)
            yield _Task(
                place=place,
                source=None if partition.meta or inner.size == 0 else inner,
                depth=depth,
                known_tables=same_bytes if partition.offset == 0 else frozenset(),
            )
        number = max((partition.number for partition in table.partitions), default=0)
        for extent, flag in rest_of(table, source.size):
            number += 1
            place = _place(parent, f"{prefix}{number}", extent.offset, extent.size, base=base)
            yield _Task(place=place | {"flag": flag, "part_name": extent.name or None}, depth=depth)

    def _work(self, pending: deque[_Task], sector_size: int, meter: Meter) -> BudgetError | None:
        """Look into every pending layer, and into those found in them; returns why it stopped early, if so.

        What is pending when the budget ends is reported as far as it is known.
        """
        stop: BudgetError | None = None
        limit = len(self._volumes) + self._budget.layers
        while pending:
            task = pending.popleft()
            if len(self._volumes) >= limit:
                return stop or BudgetError(f"{self._budget.layers} layers found, all that one image may have")
            if task.depth > self._budget.depth:
                stop = stop or BudgetError(
                    f"layers lie within one another more than {self._budget.depth} deep"
                )
                continue
            found = task.found or Probe()
            try:
                meter.check_time()
                if task.source is not None and task.found is None and stop is None:
                    view = View(task.source, sector_size, task.place["disk_offset"])
                    found = self._probe(view, self._hints.fstype(task.place["index"]), task.known_tables)
            except BudgetError as error:
                stop = stop or error
            volume = self._volume(task, found)
            pending.extend(self._inside(volume, task, found))
        return stop

    def _volume(self, task: _Task, found: Probe) -> VolumeLayer:
        place, identity, table = dict(task.place), found.identity, found.table
        problems = (*place.pop("problems", ()), *found.problems)
        facts: dict[str, Any] = {}
        if table is not None:
            facts |= {"pttype": table.pttype, "ptuuid": table.ptuuid, "table": table.details}
            problems = (*problems, *table.problems)
        if identity is not None:
            facts |= {name: getattr(identity, name) for name in _IDENTITY_FIELDS}
            facts["usage"] = found.usage
            problems = (*problems, *identity.problems)
            if (
                identity.fs_size is not None
                and place.get("size") is not None
                and identity.fs_size > place["size"]
            ):
                message = (
                    f"the {identity.type} says that it has {identity.fs_size} bytes; here are {place['size']}"
                )
                problems = (*problems, Problem(Code.TRUNCATED, message))
            if identity.locked and self._hints.keys_given:
                message = "this version does not open encrypted volumes; the key was not tried"
                problems = (*problems, Problem(Code.UNSUPPORTED, message))
        volume = VolumeLayer(
            id=self._new_id(), **place, **facts, candidates=found.candidates, problems=problems
        )
        if identity is not None and identity.group is not None:
            self._memberships[volume.id] = identity.group
        self._volumes.append(volume)
        return volume

    def _inside(self, volume: VolumeLayer, task: _Task, found: Probe) -> Iterator[_Task]:
        """The tasks for what a volume holds: a partition table, or volumes that it names."""
        if task.source is not None and found.table is not None:
            yield from self._in_table(
                found,
                volume.id,
                f"{volume.index}.",
                task.source,
                base=volume.disk_offset,
                depth=task.depth + 1,
                known_tables=task.known_tables,
            )
        for number, identity in enumerate(found.identity.volumes if found.identity else ()):
            place = {"parents": (volume.id,), "recipe": Recipe("none"), "index": f"{volume.index}.{number}"}
            usage = identity.usage or found.usage
            yield _Task(place=place, depth=task.depth + 1, found=Probe(identity=identity, usage=usage))


SECTOR_SIZE = 512
"""Bytes in a sector where nothing says otherwise."""

_IDENTITY_FIELDS = (
    "type",
    "fstype",
    "label",
    "uuid",
    "uuid_sub",
    "version",
    "block_size",
    "fs_size",
    "free",
    "created",
    "modified",
    "mounted",
    "last_mountpoint",
    "state",
    "locked",
    "details",
)


def _unreadable(place: Mapping[str, Any], segments: Segments, why: Problem) -> DiskLayer:
    paths = tuple(str(path) for path in segments.paths)
    return DiskLayer(
        **place,
        paths=paths,
        container={"type": None},
        size=None,
        sector_size=SECTOR_SIZE,
        recipe=Recipe("none"),
        problems=(why,),
    )


def _place(parent: int, index: str, offset: int, size: int, *, base: int | None) -> dict[str, Any]:
    return {
        "parents": (parent,),
        "recipe": Recipe("slice", {"offset": offset, "size": size}),
        "index": index,
        "offset": offset,
        "disk_offset": None if base is None else base + offset,
        "size": size,
    }


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
