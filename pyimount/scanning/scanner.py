"""The scan: a worklist over layers, from the files that were named to the last volume inside."""

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

from pyimount.formats import Details, Json, Membership, Opened
from pyimount.formats.image import Image
from pyimount.layers import DIRECTORY, DiskLayer, Recipe, Scan, VolumeLayer
from pyimount.mapping.assembly import Mapped, Member, Unlocked, by_members
from pyimount.problems import Code, Problem
from pyimount.recognition.opening import open_image
from pyimount.recognition.probing import Probe, probe
from pyimount.records import Record
from pyimount.scanning.beneath import Holder, beneath, is_whole, with_reasons
from pyimount.scanning.groups import Groups, Key
from pyimount.scanning.tasks import Task, contents_of, in_table, mapped, named_inside, opened, run_of
from pyimount.scanning.unlocking import Unlocking
from pyimount.sources.broker import Broker
from pyimount.sources.budget import Budget, Meter
from pyimount.sources.errors import BudgetError, IsFolder, OpenError, ReadError
from pyimount.sources.segments import Segments, gather
from pyimount.sources.source import SliceSource, Source
from pyimount.sources.view import View

if TYPE_CHECKING:
    from pyimount.keys import Keyring
    from pyimount.recognition.searching import Progress

PathLike: TypeAlias = str | os.PathLike[str]

SECTOR_SIZE = 512
"""Bytes in a sector where nothing says otherwise."""


class Hints(Record, kw_only=True):
    """What the caller may know better than the image; the arguments of ``detect``."""

    offset: int | None = None
    size: int | None = None
    sector_size: int | None = None
    vstype: str | None = None
    fstypes: Mapping[str, str] | None = None

    def fstype(self, index: str) -> str | None:
        """The type that the caller named for the volume of this index."""
        if not self.fstypes:
            return None
        return self.fstypes.get(index, self.fstypes.get("*"))


class Searching(Record, kw_only=True):
    """That a search is wanted; ``bounded``: the budget holds for it as well."""

    bounded: bool
    progress: "Progress | None" = None


def detect(
    paths: PathLike | Sequence[PathLike],
    *,
    offset: int | None = None,
    size: int | None = None,
    sector_size: int | None = None,
    vstype: str | None = None,
    fstypes: Mapping[str | int, str] | None = None,
    keys: "Keyring | Mapping[str | int, str] | None" = None,
    header: PathLike | None = None,
    try_veracrypt: bool = False,
    allow: Sequence[PathLike] = (),
    budget: Budget | None = None,
    search: bool = False,
    progress: "Progress | None" = None,
) -> Scan:
    """Tell what is in these images, layer by layer. Needs no root and starts no other program.

    ``paths``: one image or several that belong together; any segment of a split image, or its
    folder, stands for all of it. ``offset``, ``size``: bytes; look only there, as at one volume.
    ``sector_size``: bytes. ``vstype``: the type of partition table to look for, ``none`` for no
    table. ``fstypes``: ``{index: type}``, with ``*`` for every volume: read it as this and
    nothing else. ``keys``: for encrypted volumes, a Keyring or ``{index or UUID: "p:…"}``, with
    ``*`` for every volume; ``header``: a file with the header of a LUKS volume that has none of its own.
    ``try_veracrypt``: try the keys on what is not recognised, too. ``allow``: folders from which files that
    an image names may be opened, besides its own. ``budget``: what one image may cost. ``search``: look, at
    every sector of each image, for what nothing points to as well; without a budget, that may cost as much as
    reading the image does. ``progress``: told how far the search is, ``(bytes, of bytes)``.

    Never raises for what the images hold, and not for a path that cannot be opened: its disk has
    size None and a problem. Raises ValueError for arguments that contradict themselves, for a key that is not
    written as one (BadKey), and OpenError for a header that cannot be opened.
    """
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    hints = hints_of(offset=offset, size=size, sector_size=sector_size, vstype=vstype, fstypes=fstypes)
    unlocking = Unlocking(keys, header, try_veracrypt=try_veracrypt)
    searching = Searching(bounded=budget is not None, progress=progress) if search else None
    return scan(gather(named), Broker(allow), unlocking, hints, budget or Budget(), searching)


def hints_of(
    *,
    offset: int | None = None,
    size: int | None = None,
    sector_size: int | None = None,
    vstype: str | None = None,
    fstypes: Mapping[str | int, str] | None = None,
) -> Hints:
    """What the caller knows, from arguments of ``detect``. Raises ValueError for what cannot be."""
    if (offset is not None and offset < 0) or (size is not None and size < 0):
        raise ValueError("offset and size are bytes from the start of the disk, 0 or more")
    if sector_size is not None and (sector_size < 128 or sector_size & (sector_size - 1)):
        raise ValueError(f"a sector has a power of two bytes, 128 at least, not {sector_size}")
    return Hints(
        offset=offset,
        size=size,
        sector_size=sector_size,
        vstype=None if vstype in ("", "detect") else vstype,
        fstypes={str(index): word for index, word in fstypes.items()} if fstypes else None,
    )


def scan(  # noqa: PLR0917  (what detect has made of its arguments)
    images: Sequence[Segments],
    broker: Broker,
    unlocking: Unlocking,
    hints: Hints,
    budget: Budget,
    searching: Searching | None = None,
) -> Scan:
    """Scan images whose files are known already; opens them through ``broker``, closes ``unlocking``."""
    scanner = _Scanner(hints, unlocking, broker, budget, searching, several=len(images) > 1)
    try:
        for image in images:
            scanner.add(image)
        return scanner.finish()
    finally:
        scanner.close()
        unlocking.close()


class _Scanner:
    """The state of one call of ``detect``: the layers found so far, and the images, open until its end."""

    def __init__(
        self,
        hints: Hints,
        unlocking: Unlocking,
        broker: Broker,
        budget: Budget,
        searching: Searching | None,
        *,
        several: bool,
    ) -> None:
        self._hints = hints
        self._unlocking = unlocking
        self._broker = broker
        self._budget = budget
        self._searching = searching
        self._several = several
        self._disks: list[DiskLayer] = []
        self._volumes: list[VolumeLayer] = []
        self._groups = Groups()
        self._images: list[tuple[Image, Meter]] = []
        self._problems: list[Problem] = []
        self._depths: dict[int, int] = {}
        self._holders: dict[int, Holder] = {}
        self._next_id = 0

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def close(self) -> None:
        """Close every image."""
        for image, _ in self._images:
            image.close()

    def finish(self) -> Scan:
        """The scan of all images that were added, with what their members make up."""
        while (ready := self._groups.ready()) is not None:
            self._assemble(*ready)
        parents = {parent for volume in self._volumes for parent in volume.parents}
        over = self._work(self._beneath({*self._holders} - parents), None, Meter(self._budget))
        if over is not None:
            self._stopped(over)
        volumes = with_reasons(self._groups.on(self._volumes), self._holders)
        return Scan(tuple(self._disks), tuple(volumes), tuple(self._problems))

    def add(self, segments: Segments) -> None:
        """Scan one image."""
        meter = Meter(self._budget)
        place: dict[str, Any] = {
            "id": self._new_id(),
            "index": str(len(self._disks) + 1) if self._several else None,
        }
        try:
            image, found = open_image(segments, self._broker, meter)
        except OpenError as error:
            kind = DIRECTORY if isinstance(error, IsFolder) else None
            self._disks.append(_unreadable(place, segments, Problem(Code.UNREADABLE, str(error)), kind))
            return
        except BudgetError as error:
            message = f"{segments.paths[0]}: not opened: {error}"
            self._disks.append(_unreadable(place, segments, Problem(Code.BUDGET, message)))
            return
        self._images.append((image, meter))
        container = found.container
        parameters: dict[str, Json] = {"paths": list(image.paths), "container": container.type}
        if segments.split:
            parameters["split"] = True
        if self._broker.allow:
            parameters["allow"] = list(self._broker.allow)
        place |= {
            "paths": image.all_paths,
            "container": {"type": container.type, **container.details},
            "recipe": Recipe("image", parameters),
        }
        self._disks.append(self._disk(place, found, meter))

    def _disk(self, place: dict[str, Any], opened_image: Opened, meter: Meter) -> DiskLayer:
        source, problems = opened_image.source, opened_image.container.problems
        sector_size = self._hints.sector_size or opened_image.container.sector_size
        if source is None or source.size == 0:
            if source is not None:
                problems = (*problems, Problem(Code.UNREADABLE, f"{place['paths'][0]}: the image is empty"))
            return DiskLayer(**place, size=None, sector_size=sector_size or SECTOR_SIZE, problems=problems)
        found, over = Probe(), None
        pending: deque[Task] = deque()
        try:
            if self._hints.offset is None and self._hints.size is None:
                view = View(source, sector_size, caller_knows=self._hints.sector_size is not None)
                found = self._probe(view, self._hints.fstype("0"))
            pending.extend(self._on_disk(place, source, found))
        except BudgetError as error:
            over = error
        table = found.table
        sector_size = table.sector_size if table else sector_size or SECTOR_SIZE
        over = self._work(pending, sector_size, meter) or over
        if over is not None:
            problems = (*problems, Problem(Code.BUDGET, f"the scan of this image stopped: {over}"))
        elif self._searching is not None:
            problems = (*problems, *self._search(place, source, sector_size, meter))
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

    def _on_disk(self, disk: Mapping[str, Any], source: Source, found: Probe) -> Iterator[Task]:
        """The tasks for what stands directly on a disk."""
        prefix = "" if disk["index"] is None else f"{disk['index']}."
        at = self._hints.offset or 0
        size = max(0, source.size - at) if self._hints.size is None else self._hints.size
        whole = run_of(disk["id"], f"{prefix}0", at, size, base=0)
        if self._hints.offset is not None or self._hints.size is not None:
            yield Task(place=whole, source=SliceSource(source, at, size))
        elif found.table is None:
            yield Task(place=whole, source=source, found=found)
        else:
            if found.identity is not None:
                alone = Probe(identity=found.identity, usage=found.usage)
                yield Task(place=whole, source=source, found=alone)
            yield from in_table(found, source, {"id": disk["id"], "prefix": prefix, "base": 0})

    def _search(
        self, disk: Mapping[str, Any], source: Source, sector_size: int, meter: Meter
    ) -> Iterator[Problem]:
        """Look for what nothing points to, and into what is found; gives what is wrong with the search."""
        from pyimount.recognition.searching import Extents, Search

        if self._searching is None:
            return
        if not self._searching.bounded:
            meter.extend(*_cost_of_search(source.size))
        base = self._hints.offset or 0
        size = source.size - base if self._hints.size is None else self._hints.size
        within = SliceSource(source, min(base, source.size), max(0, size))
        known, running = Extents(), None
        own = [volume for volume in self._volumes if volume.parents == (disk["id"],)]
        for volume in own:
            if volume.offset is not None and (taken := _taken(volume)):
                known.add(volume.offset - base, taken)
                running = volume.type if taken == SECTOR_SIZE else running
        search = Search(within, known, running, self._searching.progress)
        try:
            if not search.run(self._budget.layers):
                yield Problem(Code.BUDGET, f"the search ended with {self._budget.layers} volumes found")
        except BudgetError as error:
            yield Problem(Code.BUDGET, f"the search stopped: {error}")
        if search.unreadable:
            yield Problem(Code.READ_ERROR, f"{search.unreadable} bytes could not be read in the search")
        prefix = "" if disk["index"] is None else f"{disk['index']}."
        number = max((int(volume.index.removeprefix(prefix)) for volume in own), default=0)
        pending: deque[Task] = deque()
        for found in search.found():
            number += 1
            place = run_of(disk["id"], f"{prefix}{number}", base + found.offset, found.size, base=0)
            inner = SliceSource(within, found.offset, found.size)
            pending.append(Task(place=place, source=inner, found=_noted(found.probe)))
        over = self._work(pending, sector_size, meter)
        if over is not None:
            yield Problem(Code.BUDGET, f"the scan of what the search found stopped: {over}")

    def _work(self, pending: deque[Task], sector_size: int | None, meter: Meter) -> BudgetError | None:
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
            found, unlocked = task.found or Probe(), None
            try:
                meter.check_time()
                if task.source is not None and stop is None:
                    if task.found is None:
                        place = task.place
                        view = View(
                            task.source,
                            sector_size,
                            place.get("disk_offset"),
                            place.get("part_type"),
                            caller_knows=self._hints.sector_size is not None,
                        )
                        found = self._probe(view, self._hints.fstype(task.place["index"]), task.known_tables)
                    begun = monotonic()
                    unlocked, found = self._unlocking.of(task.source, found, task.place["index"])
                    meter.forgive(monotonic() - begun)
            except BudgetError as error:
                stop = stop or error
            volume = self._volume(task, found)
            pending.extend(self._inside(volume, task, found, unlocked))
            if volume.type == _SHADOWED and stop is None:
                pending.extend(self._shadows(volume, task))
        return stop

    def _volume(self, task: Task, found: Probe) -> VolumeLayer:
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
            size = place.get("size")
            if identity.fs_size is not None and size is not None and identity.fs_size > size:
                message = f"the {identity.type} says that it has {identity.fs_size} bytes; here are {size}"
                problems = (*problems, Problem(Code.TRUNCATED, message))
        volume = VolumeLayer(
            id=self._new_id(), **place, **facts, candidates=found.candidates, problems=problems
        )
        if identity is not None and task.source is not None:
            self._groups.add(volume, identity, task.source)
            if found.opaque is not None:
                self._holders[volume.id] = Holder(found.opaque, task.source, task.depth)
        self._volumes.append(volume)
        self._depths[volume.id] = task.depth
        return volume

    def _inside(
        self, volume: VolumeLayer, task: Task, found: Probe, unlocked: Unlocked | None
    ) -> Iterator[Task]:
        """The tasks for what a volume holds: a partition table, what a key opened, volumes that it names."""
        depth = task.depth + 1
        if task.source is not None and found.table is not None:
            parent = {"id": volume.id, "prefix": f"{volume.index}.", "base": volume.disk_offset}
            yield from in_table(found, task.source, parent, depth=depth, known_tables=task.known_tables)
        if unlocked is not None:
            yield opened(volume, unlocked, depth=depth)
        yield from named_inside(volume, found, depth=depth)
        if task.source is not None:
            yield from contents_of(volume, task.source, found, depth=depth)

    def _assemble(self, key: Key, members: Sequence[Member]) -> None:
        """Scan what a group makes up."""
        from pyimount.mapping.kinds import assemble

        try:
            assembly = assemble(key[0], members)
        except (BudgetError, ReadError) as error:
            self._stopped(error)
            assembly = None
        if assembly is None or not assembly.volumes:
            self._groups.keep(key, assembly, None)
            return
        first = next(volume for volume in self._volumes if volume.id == members[0].id)
        self._groups.keep(key, assembly, first.index)
        depth = max(self._depths[member.id] for member in members) + 1
        pending: deque[Task] = deque()
        opened = [(volume, *self._bytes_of(volume, members)) for volume in assembly.volumes]
        plain = deque[Task]()
        missing = any(one.code is Code.MISSING_MEMBER for volume, *_ in opened for one in volume.problems)
        if missing or all(source is None for _, source, _ in opened):
            try:
                whole = any(source is not None and is_whole(source) for _, source, _ in opened)
            except BudgetError as error:
                self._stopped(error)
                whole = True
            if not whole:
                plain = self._beneath({member.id for member in members}, {first.id: len(opened)})
        for number, (volume, source, problems) in enumerate(opened):
            made = volume.replaced(problems=(*volume.problems, *problems))
            # What stands whole on one member is not shown again in shreds.
            pending.append(mapped(first, number, made, None if plain else source, depth=depth))
        pending.extend(plain)
        over = self._work(pending, None, Meter(self._budget))
        if over is not None:
            self._stopped(over)

    def _beneath(self, members: set[int], numbers: Mapping[int, int] | None = None) -> deque[Task]:
        """The tasks for what stands whole in the bytes of these members of arrays that cannot be had.

        ``numbers``: by which number it goes inside a member, where not by 0.
        """
        found: deque[Task] = deque()
        try:
            for volume in self._volumes:
                holder = self._holders.get(volume.id)
                if volume.id in members and holder is not None:
                    task = beneath(volume, (numbers or {}).get(volume.id, 0), holder)
                    found.extend(() if task is None else (task,))
        except BudgetError as error:
            self._stopped(error)
        return found

    @staticmethod
    def _bytes_of(volume: Mapped, members: Sequence[Member]) -> tuple[Source | None, tuple[Problem, ...]]:
        if volume.hidden or not volume.readable:
            return None, ()
        from pyimount.mapping.kinds import open_mapped

        try:
            return open_mapped(volume.kind, volume.parameters, by_members(members, volume.members)), ()
        except (OpenError, ReadError, BudgetError) as error:
            return None, (Problem(Code.UNSUPPORTED, f"cannot be read: {error}"),)

    def _shadows(self, volume: VolumeLayer, task: Task) -> Iterator[Task]:
        """The tasks for the shadow copies that a volume keeps of itself; a copy's own are not looked for."""
        if task.source is None or volume.mapping.get("type") == "vss":
            return
        from pyimount.mapping.kinds import shadow_copies

        try:
            copies = shadow_copies(task.source, volume.id)
        except (BudgetError, ReadError) as error:
            self._stopped(error)
            return
        if not copies.volumes:
            return
        member = Member(
            id=volume.id,
            index=volume.index,
            membership=Membership(type="vss", uuid=volume.uuid or ""),
            details=volume.details,
            source=task.source,
        )
        for number, copy in enumerate(copies.volumes):
            source, problems = self._bytes_of(copy, [member])
            made = copy.replaced(problems=(*copy.problems, *problems))
            yield mapped(volume, number, made, source, depth=task.depth + 1)

    def _stopped(self, error: BudgetError | ReadError) -> None:
        code = Code.BUDGET if isinstance(error, BudgetError) else Code.READ_ERROR
        self._problems.append(Problem(code, f"the scan of assembled volumes stopped: {error}"))


def _taken(volume: VolumeLayer) -> int:
    """How many bytes from its start a volume takes for certain, so that nothing else is looked for there."""
    if volume.flag == "meta":
        # An extended partition holds others, with gaps between them.
        return 0 if volume.slot is not None else volume.size or 0
    if volume.type is None and volume.pttype is None:
        return 0
    if volume.fs_size is not None:
        return volume.fs_size
    return SECTOR_SIZE if volume.slot is None else volume.size or 0


def _noted(found: Probe) -> Probe:
    """The same, with a note in the details that it was found by a search."""
    note: Details = {"found_by": "search"}
    identity, table = found.identity, found.table
    return found.replaced(
        identity=identity.replaced(details={**identity.details, **note}) if identity else None,
        table=table.replaced(details={**table.details, **note}) if table else None,
    )


def _cost_of_search(size: int) -> tuple[int, float]:
    """The bytes and seconds that a search through so many bytes may take: each is read, and some twice."""
    return 2 * size + (64 << 20), 60 + size / (4 << 20)


_SHADOWED = "ntfs"
"""The type of volumes that keep shadow copies of themselves."""

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


def _unreadable(
    place: Mapping[str, Any], segments: Segments, why: Problem, container: str | None = None
) -> DiskLayer:
    return DiskLayer(
        **place,
        paths=tuple(segments.paths),
        container={"type": container},
        size=None,
        sector_size=SECTOR_SIZE,
        recipe=Recipe("none"),
        problems=(why,),
    )
