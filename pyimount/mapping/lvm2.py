"""LVM2: the logical volumes of a group, from the newest metadata on its physical volumes.

What the metadata means: lib/format_text/import_vsn1.c of LVM2; what the kernel makes of each type of segment:
``dmsetup table``. A volume's recipe is such a table (``tables.py``), with all tables that stand below it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pyimount.formats import Details, Json, NotThisFormat
from pyimount.mapping import dm_raid, overlay, tables
from pyimount.mapping.assembly import Assembly, Mapped, Member
from pyimount.mapping.lvm2_segments import Group, PhysicalVolume, Refused, areas_of, segment_facts, table_of
from pyimount.mapping.recipes import RecipeError
from pyimount.mapping.tables import PARITY, RAID0, RAID10, Tables, Target
from pyimount.parsers.volumes.lvm2 import (
    Metadata,
    group_metadata,
    integer,
    sections,
    segment_type,
    segments,
    string,
    strings,
)
from pyimount.parsers.volumes.lvm2_text import Section, TooLong
from pyimount.problems import Code, Problem
from pyimount.records import EMPTY, Record
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

MOST_TARGETS = 1 << 18
"""Targets in the recipes of one group; they all count again for each volume that stands over them."""
POOLS = ("thin-pool", "cache-pool", "vdo-pool")


def open_mapped(parameters: Details, inputs: Sequence[Source]) -> Source:
    """The bytes of a logical volume from its recipe; raises OpenError for a recipe that is none."""
    return tables.open_mapped(parameters, inputs)


def members_named(members: Sequence[Member]) -> dict[str, str]:
    """The UUIDs of all physical volumes that the group has, by its newest metadata, with their names in it.

    A physical volume without metadata of its own cannot say which group it belongs to.
    """
    return {
        uuid: name
        for pv in _pvs_said(_newest(members))
        if isinstance(uuid := pv.get("id"), str) and isinstance(name := pv.get("name"), str)
    }


def assemble(members: Sequence[Member]) -> Assembly:
    """The logical volumes of the group that these physical volumes belong to."""
    newest = _newest(members)
    try:
        metadata = group_metadata(View(newest.source))
        if metadata is None:
            raise NotThisFormat("it is no longer there")
        known, problems = _physical_volumes(metadata, members)
        group = Group(metadata.group, {pv.name: pv for pv in known})
    except (NotThisFormat, ShortRead, TooLong, ReadError) as error:
        message = f"the metadata of the volume group cannot be read: {error}"
        return Assembly(complete=False, problems=(Problem(Code.DAMAGED, message),))
    volumes = _Volumes(metadata, group, newest).mapped()
    used = {pv.member.id for pv in known if pv.member is not None}
    left = [member for member in members if member.id not in used]
    # One that says nothing of the group cannot be older than the others.
    old = [member.id for member in left if -1 < _seqno(member) < metadata.seqno]
    return Assembly(
        volumes=tuple(sorted(volumes, key=lambda volume: volume.hidden)),
        complete=all(pv.member is not None for pv in known),
        stale=tuple(old),
        unused=tuple(member.id for member in left if member.id not in old),
        problems=tuple(problems),
    )


# Physical volumes.


def _group_facts(member: Member) -> Mapping[str, Json]:
    facts = member.details.get("vg")
    return facts if isinstance(facts, dict) else {}


def _seqno(member: Member) -> int:
    seqno = _group_facts(member).get("seqno")
    return seqno if isinstance(seqno, int) else -1


def _newest(members: Sequence[Member]) -> Member:
    return max(members, key=_seqno)


def _pvs_said(member: Member) -> list[Mapping[str, Json]]:
    said = _group_facts(member).get("pvs")
    return [pv for pv in said if isinstance(pv, dict)] if isinstance(said, list) else []


def _physical_volumes(
    metadata: Metadata, members: Sequence[Member]
) -> tuple[list[PhysicalVolume], list[Problem]]:
    """Those that the metadata names, with the member that each is; what is wrong."""
    problems: list[Problem] = []
    by_uuid = {member.details.get("pv_uuid"): member for member in members}
    found = []
    missing, returned = [], []
    for name, pv in sections(metadata.group, "physical_volumes").items():
        uuid = string(pv, "id") or ""
        there = by_uuid.get(uuid)
        if there is not None and "MISSING" in strings(pv, "flags"):
            # It was away while the group was changed: LVM too leaves it alone until it is restored.
            returned.append(f"{name} ({uuid}, {there.index})")
            there = None
        elif there is None:
            device = string(pv, "device")
            missing.append(f"{name} ({uuid}{f', last seen as {device}' if device else ''})")
        size = integer(pv, "pe_count")
        found.append(PhysicalVolume(name, integer(pv, "pe_start") * tables.SECTOR, size, there))
    if missing:
        message = f"of volume group {metadata.name} are missing: {', '.join(missing)}"
        problems.append(Problem(Code.MISSING_MEMBER, message))
    if returned:
        message = (
            f"volume group {metadata.name} was changed while these were missing, and so they are not used: "
            f"{', '.join(returned)}"
        )
        problems.append(Problem(Code.MISSING_MEMBER, message))
    return found, problems


# Logical volumes.


class _Entry(Record):
    """A volume to report: ``node`` is its name among the tables, ``section`` what describes it."""

    node: str
    name: str
    uuid: str | None
    section: Section
    hidden: bool


class _Volumes:
    """All logical volumes of a group, as they are reported."""

    def __init__(self, metadata: Metadata, group: Group, first: Member) -> None:
        self._name = metadata.name
        self._first = first
        self._group = group
        self._pvs = group.pvs
        self._tables: dict[str, Json] = {}
        self._refused: dict[str, Problem] = {}
        self._notes: dict[str, list[Problem]] = {}
        self._lost: dict[str, bool] = {}
        self._without: dict[str, list[str]] = {}
        self._behind: set[tuple[str, Json]] = set()
        """Mirrors by their volume and start there, whose legs do not make up for the one that is missing."""
        self._targets = 0
        sources = {name: None if pv.member is None else pv.member.source for name, pv in self._pvs.items()}
        self._opening = Tables(self._tables, sources)

    def mapped(self) -> Iterator[Mapped]:
        """The volumes in the order of the metadata, the hidden ones among them."""
        merging: dict[str, Section] = {}
        for name, section in self._group.volumes.items():
            try:
                table = table_of(section, self._group)
            except Refused as error:
                self._refused[name] = error.problem
                continue
            except NotThisFormat as error:
                self._refused[name] = Problem(Code.DAMAGED, f"logical volume {name}: {error}")
                continue
            self._tables[name] = [*table]
            for segment in segments(section):
                origin = string(segment, "origin")
                if string(segment, "merging_store") and origin:
                    merging[origin] = section
        self._merge(merging)
        # Arrays say on their metadata devices, mirrors in their log which of their devices are in step.
        for name in [*self._tables]:
            for target in self._table(name):
                if target["type"] == "raid":
                    self._judge(name, target)
                elif target["type"] == "mirror":
                    self._judge_mirror(name, target)
        for entry in self._entries():
            yield self._mapped(entry)

    def _merge(self, merging: Mapping[str, Section]) -> None:
        """A volume into which a snapshot is being merged has the snapshot's blocks."""
        for origin, section in merging.items():
            snapshot = next(iter(segments(section)))
            table = self._tables.get(origin)
            if table is None:
                continue
            below = f"{origin}/real"
            self._tables[below] = table
            self._tables[origin] = [
                {
                    "type": "snapshot",
                    "start": 0,
                    "size": self._group.sizes[origin],
                    "origin": below,
                    "store": string(snapshot, "merging_store"),
                    "chunk": integer(snapshot, "chunk_size") * tables.SECTOR,
                }
            ]

    def _judge(self, name: str, target: Target) -> None:
        metadata, devices = target.pop("metadata", None), target["devices"]
        if not metadata or not isinstance(metadata, list) or not isinstance(devices, list):
            return
        if target["raid_type"] in RAID0:
            return
        images = [str(each["volume"]) for each in devices if isinstance(each, dict)]
        for image in images:
            if image in self._refused:
                self._refused[name] = self._refused[image]
                return
        try:
            state = dm_raid.state([self._metadata_device(str(each)) for each in metadata])
            gone = [self._is_gone(image) for image in images]
        except RecipeError as error:
            self._refused[name] = error.problem
            return
        if state.reshaping:
            message = f"array {name} is being reshaped: such arrays are not read"
            self._refused[name] = Problem(Code.UNSUPPORTED, message)
            return
        out_of_step: list[str] = []
        for slot, (device, leg) in enumerate(zip(devices, state.legs, strict=True)):
            if not isinstance(device, dict) or gone[slot]:
                devices[slot] = None
                self._without.setdefault(name, []).append(images[slot])
            elif not leg.usable:
                out_of_step.append(str(device["volume"]))
                devices[slot] = None
            else:
                trusted = leg.trusted
                if self._says(images[slot], "REBUILD"):
                    # To be made anew when the array is started next; LVM forgets it only then.
                    trusted = trusted or 0
                device |= {"offset": leg.offset, "trusted": trusted}
                device["size"] = _less(device["size"], leg.offset)
                if trusted is not None:
                    out_of_step.append(f"{device['volume']} (beyond {trusted} bytes)")
        if out_of_step:
            message = f"not in step with the array, and not used: {', '.join(out_of_step)}"
            self._notes.setdefault(name, []).append(Problem(Code.STALE_MEMBER, message))
        agreed = 0 if self._says(name, "NOTSYNCED") else state.resync
        if agreed is not None and None in devices:
            message = (
                f"the devices of array {name} were never made to agree beyond {agreed} bytes of each: "
                "what is read in place of a missing one may be wrong there"
            )
            self._notes.setdefault(name, []).append(Problem(Code.AMBIGUOUS, message))

    def _says(self, name: str, flag: str) -> bool:
        """Whether a volume has a flag in the metadata."""
        volume = self._group.volumes.get(name, {})
        return flag in (*strings(volume, "status"), *strings(volume, "flags"))

    def _judge_mirror(self, name: str, target: Target) -> None:
        """Note how far the others make up for a mirror's first leg, where that is missing."""
        if target["log"] in self._refused:
            target["log"] = None
        first, *others = self._legs(target)
        if not self._is_area_lost(first) or all(self._is_area_lost(leg) for leg in others):
            return
        why: str | None = "it has none on a disk"
        if isinstance(target["log"], str):
            why = "it is missing" if self._is_lost(target["log"]) else None
        if why is not None:
            message = (
                f"without the first leg of mirror {name} another is read, and its log does not tell how far "
                f"that was copied: {why}"
            )
            self._notes.setdefault(name, []).append(Problem(Code.AMBIGUOUS, message))
            # What is not there cannot be asked.
            target["log"] = None
            return
        if self._says(name, "NOTSYNCED"):
            message = (
                f"the legs of mirror {name} were never made to agree: where nothing was written since, "
                "what is read in place of the missing one may differ from it"
            )
            self._notes.setdefault(name, []).append(Problem(Code.AMBIGUOUS, message))
        try:
            log = self._opening.mirror_log(target)
            if log is None or log.in_step() == log.regions:
                return
            none = log.why_none()
            behind = f"{log.regions - log.in_step()} of {log.regions} regions are not"
        except RecipeError as error:
            self._refused[name] = error.problem
            return
        except ReadError as error:
            none, behind = str(error), "nobody knows which regions are"
        self._behind.add((name, _start(target)))
        message = f"without the first leg of mirror {name} another is read where it is in step: {behind}"
        if none is not None:
            message = f"{message}, since the log cannot be read: {none}"
        self._notes.setdefault(name, []).append(Problem(Code.STALE_MEMBER, message))

    def _legs(self, target: Target) -> list[Mapping[str, Json]]:
        legs = target["areas"]
        return [leg for leg in legs if isinstance(leg, dict)] if isinstance(legs, list) else []

    def _metadata_device(self, name: str) -> Source | None:
        source = self._opening.volume(name)
        return None if self._is_lost(name) else source

    def _entries(self) -> Iterator[_Entry]:
        volumes = self._group.volumes
        stores = set()
        for section in volumes.values():
            for segment in segments(section):
                stores |= {string(segment, "cow_store"), string(segment, "merging_store")} - {None}
        for name, section in volumes.items():
            parts = segments(section)
            kind = segment_type(parts[0]) if parts else ""
            hidden = "VISIBLE" not in strings(section, "status")
            uuid = string(section, "id")
            if kind == "snapshot":
                # LVM shows the snapshot under the name of its store.
                store = string(parts[0], "cow_store")
                if store in volumes:
                    yield _Entry(name, store, string(volumes[store], "id"), volumes[store], hidden)
            elif name in stores:
                yield _Entry(name, f"{name}-cow", None, section, hidden=True)
            elif kind not in ("cache-pool", "vdo-pool"):
                yield _Entry(name, name, uuid, section, hidden or kind in POOLS)

    def _mapped(self, entry: _Entry) -> Mapped:
        own = self._group.volumes[entry.node]
        size = self._group.sizes.get(entry.node, 0)
        volume = Mapped(
            kind="lvm2",
            members=(),
            parameters=EMPTY,
            size=size,
            name=entry.name,
            uuid=entry.uuid,
            details=self._details(entry, own),
            hidden=entry.hidden,
        )
        try:
            below = self._below(entry.node)
        except RecipeError as error:
            return volume.replaced(members=(self._first.id,), readable=False, problems=(error.problem,))
        used = self._used([*below, *(image for name in below for image in self._without.get(name, ()))])
        gone = ", ".join(pv.name for pv in used if pv.member is None)
        there = [pv for pv in used if pv.member is not None]
        # What stands over nothing, or over nothing that is there, is shown with the group's first member.
        members = tuple(pv.member.id for pv in there if pv.member is not None) or (self._first.id,)
        try:
            for each in below:
                if each in self._refused:
                    raise RecipeError(self._refused[each].code, self._refused[each].message)
            self._opening.volume(entry.node)
            notes = self._checked(below)
        except RecipeError as error:
            why = error.problem
            if gone and why.code is Code.DAMAGED:
                why = Problem(Code.MISSING_MEMBER, f"without {gone} the volume cannot be read: {why.message}")
            return volume.replaced(members=members, readable=False, problems=(why,))
        if gone:
            lost = self._is_lost(entry.node)
            how = "what lay there cannot be read" if lost else "what lay there is read from the others"
            notes = [Problem(Code.MISSING_MEMBER, f"without {gone}: {how}"), *notes]
        numbers = {pv.name: number for number, pv in enumerate(there)}
        recipe: dict[str, Json] = {
            "volume": entry.node,
            "pvs": {pv.name: numbers.get(pv.name) for pv in used},
            "tables": {name: self._tables[name] for name in below},
        }
        readable = bool(there) or not used
        return volume.replaced(members=members, parameters=recipe, readable=readable, problems=tuple(notes))

    def _table(self, name: str) -> list[Target]:
        table = self._tables.get(name)
        return [target for target in table if isinstance(target, dict)] if isinstance(table, list) else []

    def _below(self, name: str) -> list[str]:
        """The volume and all below it; raises RecipeError where that are too many."""
        found, pending = {name: None}, [name]
        while pending:
            table = self._table(pending.pop())
            self._targets += len(table)
            if self._targets > MOST_TARGETS:
                message = f"the volumes of the group have more than {MOST_TARGETS} targets"
                raise RecipeError(Code.BUDGET, message)
            for target in table:
                for area in areas_of(target):
                    below = area.get("volume")
                    if isinstance(below, str) and below not in found:
                        found[below] = None
                        pending.append(below)
        return [*found]

    def _used(self, below: Iterable[str]) -> list[PhysicalVolume]:
        names = {
            area["pv"]
            for name in below
            for target in self._table(name)
            for area in areas_of(target)
            if "pv" in area
        }
        return [pv for name, pv in self._pvs.items() if name in names]

    def _is_lost(self, name: str) -> bool:
        """Whether bytes of a volume cannot be had for the physical volumes that are missing."""
        known = self._lost.get(name)
        if known is None:
            # Of a loop, which is refused elsewhere, anything may be said.
            self._lost[name] = False
            known = self._lost[name] = any(
                self._is_target_lost(target) or (name, _start(target)) in self._behind
                for target in self._table(name)
            )
        return known

    def _is_gone(self, name: str) -> bool:
        """Whether no byte of a device of an array can be had."""
        self._opening.volume(name)
        areas = [area for target in self._table(name) for area in areas_of(target)]
        return bool(areas) and all(self._is_area_lost(area) for area in areas)

    def _is_target_lost(self, target: Target) -> bool:
        if target["type"] == "mirror":
            return all(self._is_area_lost(leg) for leg in self._legs(target))
        if target["type"] != "raid":
            return any(self._is_area_lost(area) for area in areas_of(target))
        devices, kind = target["devices"], target["raid_type"]
        if not isinstance(devices, list):
            return True
        gone = [
            not isinstance(each, dict) or each["trusted"] is not None or self._is_lost(str(each["volume"]))
            for each in devices
        ]
        if kind == "raid1":
            return all(gone)
        if kind in RAID10:
            return tables.is_raid10_lost(gone, int(str(target["copies"])))
        spare = PARITY[str(kind)][0] // 3 if kind in PARITY else 0
        return sum(gone) > spare

    def _is_area_lost(self, area: Mapping[str, Json]) -> bool:
        if "pv" in area:
            return self._pvs[str(area["pv"])].member is None
        return self._is_lost(str(area["volume"]))

    def _checked(self, below: Iterable[str]) -> list[Problem]:
        """What else is wrong with a volume; raises RecipeError where it cannot be read for that."""
        notes: list[Problem] = []
        for name in below:
            notes += self._notes.get(name, ())
            for target in self._table(name):
                try:
                    notes += self._looked_at(target)
                except ReadError as error:
                    raise RecipeError(Code.DAMAGED, f"volume {name}: {error}") from error
        return notes

    def _looked_at(self, target: Target) -> Iterator[Problem]:
        """Read what stands in front of a volume's own bookkeeping."""
        match target:
            case {"type": "thin", "metadata": str(metadata), "device": int(device)}:
                pool = self._opening.pool(metadata)
                if pool.device(device) is None:
                    raise ReadError(f"the thin pool has no device {device}")
                if pool.needs_check:
                    yield Problem(Code.DAMAGED, "the thin pool's metadata is marked as in need of a check")
            case {"type": "snapshot", "store": str(store), "chunk": int(chunk)}:
                overlay.snapshot_chunk(self._opening.volume(store), chunk)

    def _details(self, entry: _Entry, own: Section) -> dict[str, Json]:
        parts = segments(own)
        details: dict[str, Json] = {
            "vg": self._name,
            "status": strings(entry.section, "status"),
            "tags": strings(entry.section, "tags"),
            "segment_types": [*dict.fromkeys(segment_type(segment) for segment in parts)],
            "segments": [segment_facts(segment, self._group) for segment in parts],
        }
        for segment in parts:
            for key in ("origin", "external_origin", "thin_pool", "cache_pool", "merge"):
                value = string(segment, key)
                if value is not None:
                    details["merging" if key == "merge" else key] = value
        for target in self._table(entry.node):
            if target["type"] == "snapshot" and str(target["origin"]).endswith("/real"):
                details["merging"] = target["store"]
        return details


def _start(target: Target) -> Json:
    return target["start"]


def _less(size: Json, offset: int) -> int:
    return max(0, size - offset) if isinstance(size, int) else 0
