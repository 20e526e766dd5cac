"""The scan: a worklist over layers, from the files of the images to the last volume inside."""

import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyimount.formats import Identity, Membership, Opened
from pyimount.formats.image import Image
from pyimount.layers import DIRECTORY, DiskLayer, Scan, VolumeLayer
from pyimount.mapping.assembly import Mapped, Member, Unlocked, by_members
from pyimount.problems import Code, Problem, told
from pyimount.recognition.opening import open_image
from pyimount.recognition.probing import Probe, probe
from pyimount.scanning.beneath import Holder, beneath, is_whole, with_reasons
from pyimount.scanning.clones import MemberSet
from pyimount.scanning.figures import plausible
from pyimount.scanning.groups import Groups, Key, first_used
from pyimount.scanning.hints import Hints, Searching
from pyimount.scanning.layer_facts import SECTOR_SIZE, image_recipe, unreadable_disk, volume_layer, with_told
from pyimount.scanning.net import Net
from pyimount.scanning.open_images import OpenImages
from pyimount.scanning.shadows import Apart, Shadowed
from pyimount.scanning.space import with_space
from pyimount.scanning.tasks import Task, contents_of, in_table, mapped, named_inside, opened, run_of
from pyimount.scanning.unlocking import Unlocking
from pyimount.sources.broker import Broker
from pyimount.sources.budget import Budget, Meter
from pyimount.sources.errors import BudgetError, IsFolder, OpenError, ReadError
from pyimount.sources.segments import Segments
from pyimount.sources.source import SliceSource, Source
from pyimount.sources.view import View


def scan(  # noqa: PLR0917  (what detect has made of its arguments)
    images: Sequence[Segments],
    broker: Broker,
    unlocking: Unlocking,
    hints: Hints,
    budget: Budget,
    searching: Searching | None = None,
    *,
    net: bool = True,
    shared: Meter | None = None,
) -> Scan:
    """Scan images whose files are known already; opens them through ``broker``, closes ``unlocking``.

    ``net``: False where faults of pyimount's own are to be raised: in its tests. ``shared``: what all that
    this scan costs is charged to as well.
    """
    scanner = _Scanner(
        hints, unlocking, broker, budget, searching, Net(spread=net), several=len(images) > 1, shared=shared
    )
    try:
        for image in images:
            scanner.add(image)
        return scanner.finish()
    finally:
        scanner.close()
        unlocking.close()


class _Scanner:
    """The state of one call of ``detect``: the layers found so far, and the images that are still needed."""

    def __init__(  # noqa: PLR0917
        self,
        hints: Hints,
        unlocking: Unlocking,
        broker: Broker,
        budget: Budget,
        searching: Searching | None,
        net: Net,
        *,
        several: bool,
        shared: Meter | None,
    ) -> None:
        self._shared = shared
        self._hints = hints
        self._unlocking = unlocking
        self._broker = broker
        self._budget = budget
        self._searching = searching
        self._net = net
        self._several = several
        self._disks: list[DiskLayer] = []
        self._volumes: list[VolumeLayer] = []
        self._groups = Groups()
        self._apart = Apart()
        self._images = OpenImages()
        self._problems: list[Problem] = []
        self._depths: dict[int, int] = {}
        self._within: dict[int, tuple[int, ...]] = {}
        self._holders: dict[int, Holder] = {}
        self._next_id = 0
        self._disk_number = 0

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def close(self) -> None:
        """Close every image that is still open."""
        self._images.close()

    def finish(self) -> Scan:
        """The scan of all images that were added, with what their members make up."""
        # What the members of several images make up is work of its own, each image's share of it, too.
        self._images.renew()
        while (ready := self._ready()) is not None:
            key, found = ready
            with self._images.at_work(member.id for member in found.members):
                with self._net.under(self._problems):
                    self._assemble(key, found)
                self._groups.note(key, found)
        with self._net.under(self._problems):
            self._shadows_apart()
        parents = {parent for volume in self._volumes for parent in volume.parents}
        with self._net.under(self._problems):
            over = self._work(
                self._beneath({*self._holders} - parents), None, Meter(self._budget, self._shared)
            )
            if over is not None:
                self._stopped(over)
        for number in self._images.disks():
            self._note_change(number)
        volumes = map(with_told, with_reasons(self._groups.on(self._volumes), self._holders))
        problems = told((*self._problems, *self._for_no_volume()))
        return Scan(tuple(map(with_told, self._disks)), tuple(volumes), problems)

    def _for_no_volume(self) -> Iterator[Problem]:
        """What the caller said of volumes that there are not."""
        indexes = {volume.index.lower() for volume in self._volumes}
        for index, word in (self._hints.fstypes or {}).items():
            if index not in indexes | {"*", "?"}:
                yield Problem(
                    Code.NOT_AS_TOLD, f"told to read {index} as {word}, and there is no volume {index}"
                )
        expected = self._unlocking.expected
        encrypted: dict[str, bool] = {}
        for volume in self._volumes if expected else ():
            for name in {volume.index.lower(), (volume.uuid or volume.index).lower()} & expected:
                encrypted[name] = encrypted.get(name, False) or volume.locked is not None
        for name in sorted(expected):
            if not encrypted.get(name):
                why = "which is not known to be encrypted" if name in encrypted else "and there is none"
                yield Problem(Code.NOT_AS_TOLD, f"a key was given for volume {name}, {why}")

    def _ready(self) -> tuple[Key, MemberSet] | None:
        try:
            with self._net.under(self._problems):
                return self._groups.ready()
        except BudgetError as error:
            self._stopped(error)
        return None

    def add(self, segments: Segments) -> None:
        """Scan one image, and close it, unless it may have members of a group."""
        meter = Meter(self._budget, self._shared)
        _log("opening %s", segments.paths[0])
        found: tuple[Image, Opened] | None = None
        kind: str | None = None
        problems: list[Problem] = []
        try:
            with self._net.under(problems):
                found = open_image(segments, self._broker, meter)
        except OpenError as error:
            kind = DIRECTORY if isinstance(error, IsFolder) else None
            problems.append(Problem(Code.UNREADABLE, str(error)))
        except BudgetError as error:
            problems.append(Problem(Code.BUDGET, f"{segments.paths[0]}: not opened: {error}"))
        if found is None:
            self._disks.append(unreadable_disk(self._place(), segments, problems, kind))
            return
        image, first = found
        _log("%s: %s, %d bytes read", segments.paths[0], first.container.type, meter.bytes_read)
        self._several = self._several or bool(first.others)
        disks = [self._place() for _ in first.disks]
        read = allocation_read = 0
        for place, each in zip(disks, first.disks, strict=True):
            self._images.open_disk(place["id"], image, meter)
            recipe = image_recipe(segments, image, each, self._broker.allow)
            place |= {"paths": image.all_paths, "recipe": recipe}
            disk = self._disk(place, each, meter)
            # What opening the file has cost is the first disk's.
            disk = disk.replaced(
                bytes_read=disk.bytes_read - read, allocation_read=disk.allocation_read - allocation_read
            )
            read, allocation_read = read + disk.bytes_read, allocation_read + disk.allocation_read
            self._disks.append(disk)
        meter.pause()
        numbers = [place["id"] for place in disks]
        if not self._images.is_wanted(numbers):
            for number in numbers:
                self._note_change(number)
            self._images.close_disks(numbers)

    def _note_change(self, number: int) -> None:
        """Say so where an image is no longer what was opened."""
        wrong = tuple(Problem(Code.CHANGED, said) for said in self._images.changed(number))
        if wrong:
            (at,) = (at for at, disk in enumerate(self._disks) if disk.id == number)
            self._disks[at] = self._disks[at].replaced(problems=(*self._disks[at].problems, *wrong))

    def _place(self) -> dict[str, Any]:
        """The id and the index of the next disk."""
        number = self._new_id()
        self._images.add_disk(number)
        return {"id": number, "index": str(self._next_disk()) if self._several else None}

    def _next_disk(self) -> int:
        self._disk_number += 1
        return self._disk_number

    def _disk(self, place: dict[str, Any], opened_image: Opened, meter: Meter) -> DiskLayer:
        source, container = opened_image.source, opened_image.container
        facts, wrong = plausible({"container": {"type": container.type, **container.details}})
        place |= facts
        problems = [*container.problems, *wrong]
        sector_size = self._hints.sector_size or container.sector_size
        if source is None or source.size == 0:
            if source is not None:
                problems.append(Problem(Code.UNREADABLE, f"{place['paths'][0]}: the image is empty"))
            return DiskLayer(
                **place, size=None, sector_size=sector_size or SECTOR_SIZE, problems=tuple(problems)
            )
        found, over = Probe(), None
        pending: deque[Task] = deque()
        try:
            faults: list[Problem] = []
            with self._net.under(faults):
                if self._hints.offset is None and self._hints.size is None:
                    view = View(source, sector_size, caller_knows=self._hints.sector_size is not None)
                    found = self._probe(view, "0", place["index"] or "0")
            if faults:
                found = Probe(problems=tuple(faults))
            with self._net.under(problems):
                pending.extend(self._on_disk(place, source, found))
        except BudgetError as error:
            over = error
        table = found.table
        sector_size = table.sector_size if table else sector_size or SECTOR_SIZE
        over = self._work(pending, sector_size, meter) or over
        if over is not None:
            problems.append(Problem(Code.BUDGET, f"the scan of this image stopped: {over}"))
        elif self._searching is not None:
            with self._net.under(problems):
                self._search(place, source, sector_size, meter, self._searching, problems)
        facts = {"pttype": table.pttype, "ptuuid": table.ptuuid, "table": table.details} if table else {}
        facts, wrong = plausible(facts)
        if table is not None:
            problems += [*table.problems, *found.problems, *wrong]
        return DiskLayer(
            **place,
            **facts,
            size=source.size,
            sector_size=sector_size,
            candidates=found.candidates if table else (),
            problems=tuple(problems),
            bytes_read=meter.bytes_read,
            allocation_read=meter.allocation_read,
        )

    def _search(  # noqa: PLR0917
        self,
        disk: Mapping[str, Any],
        source: Source,
        sector_size: int,
        meter: Meter,
        searching: Searching,
        problems: list[Problem],
    ) -> None:
        """Look for what nothing points to, and into what is found."""
        from pyimount.scanning.disk_search import search_disk

        own = [volume for volume in self._volumes if volume.parents == (disk["id"],)]
        tasks, wrong = search_disk(disk, source, own, self._hints, searching, meter)
        problems += wrong
        over = self._work(deque(tasks), sector_size, meter)
        if over is not None:
            problems.append(Problem(Code.BUDGET, f"the scan of what the search found stopped: {over}"))

    def _probe(
        self, view: View, index: str, disk: str | None = None, known_tables: frozenset[str] = frozenset()
    ) -> Probe:
        """What stands at a volume's index, or on a disk (``disk``: its own index)."""
        fstype, vstype = self._hints.fstype(index), self._hints.table(disk or index)
        found = probe(view, only=fstype, vstype=vstype, known_tables=known_tables)
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

    def _work(self, pending: deque[Task], sector_size: int | None, meter: Meter) -> BudgetError | None:
        """Look into every pending layer, and into those found in them; returns why it stopped early, if so.

        What is pending when the budget ends is reported as far as it is known.
        """
        stop: BudgetError | None = None
        while pending:
            task = pending.popleft()
            if task.depth > self._budget.depth:
                stop = stop or BudgetError(
                    f"layers lie within one another more than {self._budget.depth} deep"
                )
                continue
            found, unlocked = task.found or Probe(), None
            problems: list[Problem] = []
            try:
                meter.charge_layer()
            except BudgetError as error:
                return stop or error
            try:
                meter.check_time()
                if task.source is not None and stop is None:
                    with self._net.under(problems):
                        found = self._looked_at(task, task.source, sector_size)
                        unlocked, found = self._unlocking.of(task.source, found, task.place["index"], meter)
            except BudgetError as error:
                stop = stop or error
            number = len(self._volumes)
            volume = self._volume(task, found, tuple(problems))
            problems.clear()
            with self._net.under(problems):
                pending.extend(self._inside(volume, task, found, unlocked))
                if volume.type == _SHADOWED and stop is None:
                    pending.extend(self._shadows(volume, task))
            if problems:
                self._volumes[number] = volume.replaced(problems=(*volume.problems, *problems))
        return stop

    def _looked_at(self, task: Task, source: Source, sector_size: int | None) -> Probe:
        """What a layer is."""
        if task.found is not None:
            return task.found
        place = task.place
        view = View(
            source,
            sector_size,
            place.get("disk_offset"),
            place.get("part_type"),
            caller_knows=self._hints.sector_size is not None,
        )
        return self._probe(view, place["index"], known_tables=task.known_tables)

    def _volume(self, task: Task, found: Probe, faults: tuple[Problem, ...]) -> VolumeLayer:
        """Note a layer that has been looked into."""
        identity = None if found.identity is None else self._counted(found.identity)
        shown = identity
        if identity is not None and identity.group is not None:
            shown = identity.replaced(details=self._groups.told_once(identity, task.place["index"]))
        volume = volume_layer(self._new_id(), task.place, found, shown, faults)
        self._images.add_volume(volume.id, volume.parents)
        within = (*self._within.get(volume.parents[0], ()), volume.parents[0])
        self._within[volume.id] = within
        source = task.source
        if identity is not None and source is not None and self._groups.add(volume, identity, source, within):
            self._images.want(volume.id)
        if identity is not None and source is not None and found.opaque is not None:
            self._holders[volume.id] = Holder(found.opaque, source, task.depth)
            self._images.want(volume.id)
        self._volumes.append(volume)
        self._depths[volume.id] = task.depth
        return volume

    def _counted(self, identity: Identity) -> Identity:
        """With what is free and used; what is read for that counts apart."""
        if identity.allocation is None:
            return with_space(identity)
        with self._images.counting_apart():
            return with_space(identity, whole=self._hints.free)

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

    def _assemble(self, key: Key, found: MemberSet) -> None:
        """Scan what a set of members makes up."""
        from pyimount.mapping.kinds import assemble

        members = found.members
        try:
            assembly = assemble(key[0], members)
        except (BudgetError, ReadError) as error:
            self._stopped(error)
            return
        if assembly is None or not assembly.volumes:
            self._groups.keep(key, found, assembly, None)
            return
        under = first_used(found, assembly).id
        first = next(volume for volume in self._volumes if volume.id == under)
        self._groups.keep(key, found, assembly, first.index)
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
        # It stands under its first member, and is charged to that one's image.
        over = self._work(pending, None, self._images.meter_of(members[0].id))
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

    def _bytes_of(self, volume: Mapped, members: Sequence[Member]) -> tuple[Source | None, list[Problem]]:
        if volume.hidden or not volume.readable:
            return None, []
        from pyimount.mapping.kinds import disagreement, open_mapped

        problems: list[Problem] = []
        with self._net.under(problems):
            try:
                inputs = by_members(members, volume.members)
                source = open_mapped(volume.kind, volume.parameters, inputs)
                wrong = disagreement(source)
            except (OpenError, ReadError, BudgetError) as error:
                problems.append(Problem(Code.UNSUPPORTED, f"cannot be read: {error}"))
            else:
                problems += [wrong] if wrong else []
                return source, problems
        return None, problems

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
        found = Shadowed(volume, task.source, task.depth, copies)
        if self._apart.note(found):
            self._images.want(volume.id)
        if not copies.wants:
            yield from self._copies(found)

    def _copies(self, of: Shadowed, keepers: Sequence[Shadowed] = ()) -> Iterator[Task]:
        """The tasks for a volume's shadow copies, whose stores may be on others."""
        members = [
            Member(
                id=each.volume.id,
                index=each.volume.index,
                membership=Membership(type="vss", uuid=each.volume.uuid or ""),
                details=each.volume.details,
                source=each.source,
            )
            for each in (of, *keepers)
        ]
        for number, copy in enumerate(of.copies.volumes):
            source, problems = self._bytes_of(copy, members)
            made = copy.replaced(problems=(*copy.problems, *problems))
            yield mapped(of.volume, number, made, source, depth=of.depth + 1)

    def _shadows_apart(self) -> None:
        """Show the shadow copies whose stores are on another volume, and say what is missing."""
        for one in self._apart.incomplete():
            from pyimount.mapping.kinds import shadow_copies

            keepers = self._apart.keepers(one)
            others = [(each.volume.id, each.volume.index, each.source) for each in keepers]
            with self._images.at_work(each.volume.id for each in (one, *keepers)):
                try:
                    copies = shadow_copies(one.source, one.volume.id, others)
                    tasks = deque(self._copies(one.replaced(copies=copies), keepers))
                    over = self._work(tasks, None, self._images.meter_of(one.volume.id))
                except (BudgetError, ReadError) as error:
                    self._stopped(error)
                else:
                    if over is not None:
                        self._stopped(over)
        for number, problem in self._apart.unclaimed():
            at = next(at for at, volume in enumerate(self._volumes) if volume.id == number)
            self._volumes[at] = self._volumes[at].replaced(problems=(*self._volumes[at].problems, problem))

    def _stopped(self, error: BudgetError | ReadError) -> None:
        code = Code.BUDGET if isinstance(error, BudgetError) else Code.READ_ERROR
        self._problems.append(Problem(code, f"the scan of assembled volumes stopped: {error}"))


def _log(message: str, *values: object) -> None:
    """Tell the logger ``pyimount``, where the program that uses this has loaded logging at all."""
    logging = sys.modules.get("logging")
    if logging is not None:
        logging.getLogger("pyimount").debug(message, *values)


_SHADOWED = "ntfs"
"""The type of volumes that keep shadow copies of themselves."""
