"""LVM2: the logical volumes of a group, from the newest metadata on its physical volumes.

What the metadata means: lib/format_text/import_vsn1.c of LVM2; what the kernel makes of each type of segment:
``dmsetup table``. A volume's recipe is such a table, with all that stand below it (``mapper_tables.py``).
"""

from collections.abc import Iterator, Mapping, Sequence

from pyimount.formats import Details, Json, NotThisFormat
from pyimount.mapping import mapper_tables
from pyimount.mapping.assembly import Assembly, Mapped, Member
from pyimount.mapping.lvm2_segments import Group, PhysicalVolume, segment_facts
from pyimount.mapping.lvm2_standing import REAL, Standing
from pyimount.mapping.recipes import RecipeError
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

POOLS = ("thin-pool", "cache-pool", "vdo-pool")


def open_mapped(parameters: Details, inputs: Sequence[Source]) -> Source:
    """The bytes of a logical volume from its recipe; raises OpenError for a recipe that is none."""
    return mapper_tables.open_mapped(parameters, inputs)


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
        found.append(PhysicalVolume(name, integer(pv, "pe_start") * mapper_tables.SECTOR, size, there))
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
        self._standing = Standing(group)

    def mapped(self) -> Iterator[Mapped]:
        """The volumes in the order of the metadata, the hidden ones among them."""
        for entry in self._entries():
            yield self._mapped(entry)

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
        standing = self._standing
        try:
            below = standing.below(entry.node)
            used = standing.used(below)
        except RecipeError as error:
            return volume.replaced(members=(self._first.id,), readable=False, problems=(error.problem,))
        gone = ", ".join(pv.name for pv in used if pv.member is None)
        there = [pv for pv in used if pv.member is not None]
        # What stands over nothing, or over nothing that is there, is shown with the group's first member.
        members = tuple(pv.member.id for pv in there if pv.member is not None) or (self._first.id,)
        try:
            notes = standing.checked(below)
        except RecipeError as error:
            why = error.problem
            if gone and why.code is Code.DAMAGED:
                why = Problem(Code.MISSING_MEMBER, f"without {gone} the volume cannot be read: {why.message}")
            return volume.replaced(members=members, readable=False, problems=(why,))
        if gone:
            how: str | None = "what lay there is read from the others"
            if standing.is_lost(entry.node):
                how = "what lay there cannot be read"
            elif standing.is_without_store(below):
                how = None
            notes = notes if how is None else [Problem(Code.MISSING_MEMBER, f"without {gone}: {how}"), *notes]
        numbers = {pv.name: number for number, pv in enumerate(there)}
        recipe: dict[str, Json] = {
            "volume": entry.node,
            "pvs": {pv.name: numbers.get(pv.name) for pv in used},
            "tables": {name: standing.tables[name] for name in below},
        }
        readable = bool(there) or not used
        return volume.replaced(members=members, parameters=recipe, readable=readable, problems=tuple(notes))

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
        for target in self._standing.table(entry.node):
            if target["type"] == "snapshot" and str(target["origin"]).endswith(REAL):
                details["merging"] = target["store"]
        return details
