"""Which of LVM2's volumes can be read, and how: what of their devices is there, in step, and whole.

What LVM and the kernel make of devices that are missing or out of step: lib/activate and lib/metadata of LVM2
(https://sourceware.org/git/?p=lvm2.git), drivers/md/dm-raid.c, dm-raid1.c and dm-cache-target.c of Linux.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pyimount.formats import Json, NotThisFormat
from pyimount.mapping import dm_raid, mapper_tables, overlay
from pyimount.mapping.lvm2_segments import Group, PhysicalVolume, Refused, areas_of, table_of
from pyimount.mapping.mapper_tables import PARITY, RAID0, RAID10, Tables, Target
from pyimount.mapping.recipes import RecipeError
from pyimount.parsers.volumes.lvm2 import integer, segments, string, strings
from pyimount.parsers.volumes.lvm2_text import Section
from pyimount.problems import Code, Problem
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source

MOST_TARGETS = 1 << 18
"""Targets in the recipes of one group; they all count again for each volume that stands over them."""
REAL = "/real"
"""Behind the name of a volume into which a snapshot is being merged: its own blocks, as they were before."""
WRITTEN_THROUGH = ("writethrough", "passthrough")
"""How a cache works that has nothing that its origin has not."""


class Standing:
    """The tables of all volumes of a group, made so that they give what can be had of each.

    ``tables``: by volume, as a recipe has them; ``opening``: the volumes' bytes by these.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._pvs = group.pvs
        self.tables: dict[str, Json] = {}
        self._refused: dict[str, Problem] = {}
        self._notes: dict[str, list[Problem]] = {}
        self._lost: dict[str, bool] = {}
        self._without: dict[str, list[str]] = {}
        self._behind: set[tuple[str, Json]] = set()
        """Mirrors by their volume and start there, whose legs do not make up for the one that is missing."""
        self._targets = 0
        sources = {name: None if pv.member is None else pv.member.source for name, pv in self._pvs.items()}
        self.opening = Tables(self.tables, sources)
        merging: dict[str, Section] = {}
        for name, section in self._group.volumes.items():
            try:
                self.tables[name] = [*table_of(section, self._group)]
            except Refused as error:
                self._refused[name] = error.problem
                continue
            except NotThisFormat as error:
                self._refused[name] = Problem(Code.DAMAGED, f"logical volume {name}: {error}")
                continue
            for segment in segments(section):
                origin = string(segment, "origin")
                if string(segment, "merging_store") and origin:
                    merging[origin] = section
        self._merge(merging)
        # Arrays say on their metadata devices, mirrors in their log which of their devices are in step.
        judges = {
            "raid": self._judge, "mirror": self._judge_mirror, "cache": self._judge_store,
            "writecache": self._judge_store, "snapshot": self._judge_store,
        }  # fmt: skip
        for name in [*self.tables]:
            for target in self.table(name):
                judge = judges.get(str(target["type"]))
                if judge is not None:
                    judge(name, target)

    def _merge(self, merging: Mapping[str, Section]) -> None:
        """A volume into which a snapshot is being merged has the snapshot's blocks."""
        for origin, section in merging.items():
            snapshot = next(iter(segments(section)))
            table = self.tables.get(origin)
            if table is None:
                continue
            below = f"{origin}{REAL}"
            self.tables[below] = table
            self.tables[origin] = [
                {
                    "type": "snapshot",
                    "start": 0,
                    "size": self._group.sizes[origin],
                    "origin": below,
                    "store": string(snapshot, "merging_store"),
                    "chunk": integer(snapshot, "chunk_size") * mapper_tables.SECTOR,
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

    def _judge_store(self, name: str, target: Target) -> None:
        """Read a volume from its origin alone where what keeps its newer blocks cannot be had."""
        kind, origin = str(target["type"]), str(target["origin"])
        if kind == "snapshot" and not origin.endswith(REAL):
            # A snapshot without its store is nothing; one that is being merged keeps what its origin lacks.
            return
        try:
            if self._is_gone(origin):
                return
        except RecipeError:
            # A loop, or what nothing reads: said where the volume is opened.
            return
        stores = [area for area in areas_of(target) if area.get("volume") != origin]
        names = ", ".join(dict.fromkeys(str(area["volume"]) for area in stores))
        code, why = Code.MISSING_MEMBER, "missing"
        if not any(self._is_area_lost(area) for area in stores):
            broken = self._why_no_store(target)
            if broken is None:
                return
            code, why = Code.DAMAGED, f"not to be read ({broken})"
        how = "and is old where it was written last"
        if target.get("mode") in WRITTEN_THROUGH:
            how = f"which has all: the cache is {target['mode']}"
        message = f"what keeps newer blocks of {name} is {why}: {names}; its origin is read, {how}"
        self._notes.setdefault(name, []).append(Problem(code, message))
        self._without[name] = [str(area["volume"]) for area in stores]
        area: Json = {"volume": origin, "offset": 0, "size": target["size"]}
        self.tables[name] = [{"type": "linear", "area": area, "start": 0, "size": target["size"]}]

    def _why_no_store(self, target: Target) -> str | None:
        """Why a store cannot be read, going by what stands in front of it; None where it can."""
        try:
            match target:
                case {"type": "cache", "metadata": metadata}:
                    overlay.cache_state(self.opening.run(metadata))
                case {"type": "writecache", "store": str(store)}:
                    overlay.writecache_state(self.opening.volume(store))
                case {"type": "snapshot", "store": str(store), "chunk": int(chunk)}:
                    overlay.snapshot_chunk(self.opening.volume(store), chunk)
        except RecipeError as error:
            # A loop is no store: it is refused with the volume.
            return None if error.problem.code in (Code.LOOP, Code.BUDGET) else str(error)
        except ReadError as error:
            return str(error)
        return None

    def is_without_store(self, below: Iterable[str]) -> bool:
        """Whether any of these volumes is read from its origin alone."""
        return any(name in self._without and self.table(name)[0]["type"] != "raid" for name in below)

    def _judge_mirror(self, name: str, target: Target) -> None:
        """Note how far the others make up for a mirror's first leg, where that is missing."""
        if target["log"] in self._refused:
            target["log"] = None
        first, *others = self._legs(target)
        if not self._is_area_lost(first) or all(self._is_area_lost(leg) for leg in others):
            return
        why: str | None = "it has none on a disk"
        if isinstance(target["log"], str):
            why = "it is missing" if self.is_lost(target["log"]) else None
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
            log = self.opening.mirror_log(target)
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
        source = self.opening.volume(name)
        return None if self.is_lost(name) else source

    def table(self, name: str) -> list[Target]:
        """The targets of a volume; none where it has no table."""
        table = self.tables.get(name)
        return [target for target in table if isinstance(target, dict)] if isinstance(table, list) else []

    def below(self, name: str) -> list[str]:
        """The volume and all below it; raises RecipeError where that are too many."""
        found, pending = {name: None}, [name]
        while pending:
            table = self.table(pending.pop())
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

    def used(self, below: Iterable[str]) -> list[PhysicalVolume]:
        """The physical volumes of these volumes, and of what they do without.

        Raises RecipeError as ``below``.
        """
        below = [*below]
        below += [each for name in below for lost in self._without.get(name, ()) for each in self.below(lost)]
        names = {
            area["pv"]
            for name in below
            for target in self.table(name)
            for area in areas_of(target)
            if "pv" in area
        }
        return [pv for name, pv in self._pvs.items() if name in names]

    def is_lost(self, name: str) -> bool:
        """Whether bytes of a volume cannot be had for the physical volumes that are missing."""
        known = self._lost.get(name)
        if known is None:
            # Of a loop, which is refused elsewhere, anything may be said.
            self._lost[name] = False
            known = self._lost[name] = any(
                self._is_target_lost(target) or (name, _start(target)) in self._behind
                for target in self.table(name)
            )
        return known

    def _is_gone(self, name: str) -> bool:
        """Whether no byte of a device of an array can be had."""
        self.opening.volume(name)
        areas = [area for target in self.table(name) for area in areas_of(target)]
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
            not isinstance(each, dict) or each["trusted"] is not None or self.is_lost(str(each["volume"]))
            for each in devices
        ]
        if kind == "raid1":
            return all(gone)
        if kind in RAID10:
            return mapper_tables.is_raid10_lost(gone, int(str(target["copies"])))
        spare = PARITY[str(kind)][0] // 3 if kind in PARITY else 0
        return sum(gone) > spare

    def _is_area_lost(self, area: Mapping[str, Json]) -> bool:
        if "pv" in area:
            return self._pvs[str(area["pv"])].member is None
        return self.is_lost(str(area["volume"]))

    def checked(self, below: Sequence[str]) -> list[Problem]:
        """What else is wrong with a volume; raises RecipeError where it cannot be read for that.

        ``below``: as that method gives it.
        """
        notes: list[Problem] = []
        for name in below:
            if name in self._refused:
                raise RecipeError(self._refused[name].code, self._refused[name].message)
        self.opening.volume(below[0])
        for name in below:
            notes += self._notes.get(name, ())
            for target in self.table(name):
                try:
                    notes += self._looked_at(target)
                except ReadError as error:
                    raise RecipeError(Code.DAMAGED, f"volume {name}: {error}") from error
        return [*dict.fromkeys(notes)]

    def _looked_at(self, target: Target) -> Iterator[Problem]:
        """Read what stands in front of a volume's own bookkeeping."""
        match target:
            case {"type": "thin", "metadata": str(metadata), "device": int(device)}:
                pool = self.opening.pool(metadata)
                if pool.device(device) is None:
                    raise ReadError(f"the thin pool has no device {device}")
                if pool.needs_check:
                    yield Problem(Code.DAMAGED, "the thin pool's metadata is marked as in need of a check")
            case {"type": "snapshot", "store": str(store), "chunk": int(chunk)}:
                overlay.snapshot_chunk(self.opening.volume(store), chunk)
            case {"type": "linear", "integrity": "J"}:
                message = (
                    "it is kept with checksums, which are not verified, and their journal is not replayed: "
                    "what was written last may be missing"
                )
                yield Problem(Code.UNSUPPORTED, message)


def _start(target: Target) -> Json:
    return target["start"]


def _less(size: Json, offset: int) -> int:
    return max(0, size - offset) if isinstance(size, int) else 0
