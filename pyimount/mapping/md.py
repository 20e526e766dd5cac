"""Linux md: arrays from their members' superblocks, and the bytes of an array from its recipe.

Which members count: ``md_members.py``. What each level is made of: drivers/md/linear.c, raid0.c, raid1.c,
raid5.c, raid10.c of the Linux kernel.
"""

from collections.abc import Iterator, Sequence

from pyimount.formats import Details, Json
from pyimount.mapping.assembly import Assembly, Mapped, Member
from pyimount.mapping.md_members import by_slot, figure_of, has_flag, newest_of, sorted_out, trusted_bytes
from pyimount.mapping.md_reshape import Reshape, reshape_of
from pyimount.mapping.parity import LAYOUTS, ParitySource
from pyimount.mapping.raid import (
    Device,
    LinearSource,
    MirrorSource,
    Raid10Layout,
    Raid10Source,
    StripedSource,
    strip_zones,
)
from pyimount.mapping.recipes import input_of, is_write_mostly, word_of
from pyimount.problems import Code, Problem
from pyimount.records import EMPTY
from pyimount.sources.errors import OpenError
from pyimount.sources.source import Source

MOST_DISKS = 4096
MOST_BYTES = 1 << 63
RAID0_ORIGINAL, RAID0_ALTERNATE = 1, 2
PARITY = {"raid4": 4, "raid5": 5, "raid6": 6}
REDUNDANT = {"raid1", "raid10", *PARITY}
WITHOUT_SIZE = {"linear", "raid0"}
"""Levels whose size the superblock does not have: the members' own decide."""


class _Refused(Exception):  # noqa: N818  (an answer, not an error)
    """The array cannot be read; ``problem`` says why."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(code, message)


def assemble(members: Sequence[Member]) -> Assembly:
    """The array that these members of one group make up.

    Of members that contradict each other those count that agree with the newest; where these are too few
    for the array, and older ones are enough for all of it, those.
    """
    newest = newest_of(members)
    active, stale, problems = sorted_out(members, newest)
    if stale and not _is_enough(newest.details, active):
        older = newest_of(stale)
        together = sorted_out(stale, older)
        if _is_enough(older.details, together[0]):
            problems.append(_written_later(active, older))
            newest, (active, stale, more) = older, together
            problems += more
    facts = newest.details
    old = tuple(each.id for each in stale)
    slots: list[Member | None] = [*active]
    try:
        reshape = _reshape(facts)
        layouts = (reshape.before, reshape.after) if reshape else (facts,)
        for layout in layouts:
            _check(layout)
        slots = by_slot(active, max(figure_of(layout, "raid_disks") for layout in layouts))
        recipe, doubts = _recipe(facts, slots) if reshape is None else _two_recipes(reshape, slots)
    except _Refused as refused:
        problems.append(refused.problem)
        volume = _mapped(newest, slots, stale).replaced(
            size=max(0, _array_size(facts)), readable=False, problems=tuple(problems)
        )
        return Assembly(volumes=(volume,), complete=False, stale=old, unused=_unused(members, slots, stale))
    problems += [*_missing(facts, slots, stale), *doubts]
    volume = _mapped(newest, slots, stale).replaced(
        size=figure_of(recipe, "size"), parameters=recipe, problems=tuple(problems)
    )
    whole = all(member is not None and trusted_bytes(member) is None for member in slots)
    return Assembly(volumes=(volume,), complete=whole, stale=old, unused=_unused(members, slots, stale))


def _is_enough(facts: Details, active: Sequence[Member]) -> bool:
    """Whether all that the array holds can be had from these members."""
    level, disks = facts.get("level"), figure_of(facts, "raid_disks")
    there = {member.details.get("device_role") for member in active if trusted_bytes(member) is None}
    if level == "raid1":
        return bool(there)
    # Of a RAID10 any one can be missed; often more, by their places.
    return len(there) + {"raid4": 1, "raid5": 1, "raid6": 2, "raid10": 1}.get(str(level), 0) >= disks


def _written_later(later: Sequence[Member], older: Member) -> Problem:
    """What is said where the newest members are too few for the array, and older ones are enough."""
    count = figure_of(older.details, "events")
    last = max(figure_of(member.details, "events") for member in later)
    message = (
        f"{', '.join(member.index for member in later)} was written last after more events than the others"
        f" ({last}, they after {count}): it was imaged later, or is of another machine; the array is read"
        " without it, as they are enough for all of it"
    )
    return Problem(Code.COPIES_DIFFER, message)


def _unused(
    members: Sequence[Member], slots: Sequence[Member | None], stale: Sequence[Member]
) -> tuple[int, ...]:
    """Those that have no place in the array: spares, and such as contradict it."""
    return tuple(member.id for member in members if member not in slots and member not in stale)


def _mapped(newest: Member, slots: Sequence[Member | None], stale: Sequence[Member]) -> Mapped:
    """The array's volume, with all but what hangs on its recipe."""
    facts = newest.details
    there = [member for member in slots if member is not None]
    keys = ("level", "layout", "chunk_size", "raid_disks", "events")
    details: dict[str, Json] = {
        **{key: facts.get(key) for key in keys},
        "devices": [None if member is None else member.index for member in slots],
        "recovering": [member.index for member in there if trusted_bytes(member) is not None],
        "write_mostly": [
            member.index for member in there if has_flag(member, "device_flags", "write-mostly")
        ],
        "stale": [member.index for member in stale],
    }
    return Mapped(
        kind="md",
        members=tuple(member.id for member in there),
        parameters=EMPTY,
        size=0,
        name=newest.membership.name,
        uuid=newest.membership.uuid,
        details=details,
    )


# What they make up.


def _check(facts: Details) -> None:
    """Raise _Refused for an array that cannot be read, or that there cannot be."""
    level, disks = word_of(facts, "level"), figure_of(facts, "raid_disks")
    chunk, layout = figure_of(facts, "chunk_size"), figure_of(facts, "layout_number")
    if level not in {*REDUNDANT, *WITHOUT_SIZE}:
        raise _Refused(Code.UNSUPPORTED, f"arrays of level {level} are not read")
    if not 0 < disks <= MOST_DISKS:
        raise _Refused(Code.DAMAGED, f"an array of {disks} members")
    if level not in ("linear", "raid1") and (chunk < 512 or chunk % 512):
        raise _Refused(Code.DAMAGED, f"chunks of {chunk} bytes")
    few = disks < (3 if level == "raid6" else 2)
    if level in PARITY and (few or (layout not in LAYOUTS[PARITY[level]] and level != "raid4")):
        raise _Refused(Code.DAMAGED, f"layout {layout} of {disks} members at level {level}")
    if level == "raid10":
        try:
            Raid10Layout(layout, chunk, disks, chunk)
        except ValueError as error:
            raise _Refused(Code.DAMAGED, str(error)) from error
    if level not in WITHOUT_SIZE and not 0 < _array_size(facts) < MOST_BYTES:
        raise _Refused(Code.DAMAGED, f"the array has a size of {facts.get('array_size')} bytes")


def _array_size(facts: Details) -> int:
    size = facts.get("array_size")
    return size if isinstance(size, int) else 0


def _missing(facts: Details, slots: Sequence[Member | None], stale: Sequence[Member]) -> list[Problem]:
    """What is said of an array that is not whole."""
    old = f" (too old to be used: {', '.join(member.index for member in stale)})" if stale else ""
    level = word_of(facts, "level")
    gone = [str(slot) for slot, member in enumerate(slots) if member is None]
    partly = [str(slot) for slot, member in enumerate(slots) if member and trusted_bytes(member) is not None]
    problems = []
    if gone or partly:
        what = [f"slot {', '.join(gone)} of {len(slots)} is missing{old}"] if gone else []
        what += [f"slot {', '.join(partly)} is not rebuilt entirely"] if partly else []
        how = "what lay there is read from the others as far as they have it"
        spare = {"raid4": 1, "raid5": 1, "raid6": 2}.get(level, len(slots))
        if level in PARITY:
            how = "what lay there is reckoned from the others"
        if level not in REDUNDANT:
            how = "what lay there cannot be read"
        elif len(gone) > spare:
            how = f"{level} can do without {spare}: what lay there cannot be read"
        elif isinstance(facts.get("resync_offset"), int):
            how += ", and may be wrong where the array was written last: it was not stopped cleanly"
        problems.append(Problem(Code.MISSING_MEMBER, f"{level} array: {' and '.join(what)}; {how}"))
    features = facts.get("features")
    if isinstance(features, list) and "journal" in features and isinstance(facts.get("resync_offset"), int):
        message = "the array was not stopped cleanly, and its write journal is not replayed"
        problems.append(Problem(Code.UNSUPPORTED, message))
    return problems


def _recipe(
    facts: Details, slots: Sequence[Member | None], *, moved: bool = False
) -> tuple[dict[str, Json], list[Problem]]:
    """What ``open_mapped`` needs; the inputs are the members in the order of their slots.

    ``moved``: the members' data begins where it does after a reshape.
    """
    level, chunk = word_of(facts, "level"), figure_of(facts, "chunk_size")
    if not any(slots):
        message = f"{level} array: none of the {len(slots)} active members is there"
        raise _Refused(Code.MISSING_MEMBER, message)
    devices: list[Json] = []
    inputs = 0
    for member in slots:
        devices.append(None if member is None else _device_recipe(member, inputs, facts, moved=moved))
        inputs += member is not None
    recipe: dict[str, Json] = {
        "level": level,
        "layout": figure_of(facts, "layout_number"),
        "chunk_size": chunk,
        "used_size": figure_of(facts, "used_size"),
        "devices": devices,
    }
    problems: list[Problem] = []
    if level in WITHOUT_SIZE:
        sizes = [None if member is None else _rounded(member, chunk) for member in slots]
        if level == "linear":
            sizes, problems = _linear_sizes(sizes)
        else:
            sizes, recipe["layout"], problems = _striped_sizes(sizes, chunk, facts)
        recipe["sizes"] = [*sizes]
        recipe["size"] = sum(size or 0 for size in sizes)
    else:
        recipe["size"] = _array_size(facts)
    if not 0 < figure_of(recipe, "size") < MOST_BYTES:
        raise _Refused(Code.DAMAGED, f"the array has a size of {recipe['size']} bytes")
    return recipe, problems


def _reshape(facts: Details) -> Reshape | None:
    try:
        return reshape_of(facts)
    except ValueError as error:
        raise _Refused(Code.UNSUPPORTED, f"the array is being reshaped: {error} is not read") from error


def _two_recipes(reshape: Reshape, slots: Sequence[Member | None]) -> tuple[dict[str, Json], list[Problem]]:
    """What ``open_mapped`` needs of an array that is being reshaped: both layouts, and where they meet."""
    recipe: dict[str, Json] = {**reshape.parts, "size": reshape.size}
    for name, facts in (("before", reshape.before), ("after", reshape.after)):
        recipe[name], _ = _recipe(facts, slots[: figure_of(facts, "raid_disks")], moved=name == "after")
    return recipe, [reshape.problem] if reshape.problem else []


def _device_recipe(member: Member, number: int, facts: Details, *, moved: bool) -> dict[str, Json]:
    used = figure_of(facts, "used_size")
    recipe: dict[str, Json] = {
        "input": number,
        "offset": _new_offset(member) if moved else figure_of(member.details, "data_offset"),
        "size": used or figure_of(member.details, "data_size"),
        "trusted": trusted_bytes(member),
        "write_mostly": has_flag(member, "device_flags", "write-mostly"),
    }
    bad = member.details.get("bad_blocks")
    if bad:
        recipe["bad_blocks"] = bad
    return recipe


def _new_offset(member: Member) -> int:
    """Where the member's data begins once the array is reshaped."""
    reshape = member.details.get("reshape")
    offset = reshape.get("new_data_offset") if isinstance(reshape, dict) else None
    return offset if isinstance(offset, int) and offset >= 0 else figure_of(member.details, "data_offset")


def _rounded(member: Member, chunk: int) -> int:
    size = figure_of(member.details, "data_size")
    return size // chunk * chunk if chunk else size


def _linear_sizes(sizes: Sequence[int | None]) -> tuple[list[int | None], list[Problem]]:
    """Only what stands before the first missing member has a known place."""
    known: list[int | None] = []
    for size in sizes:
        if size is None:
            break
        known.append(size)
    if not known:
        raise _Refused(
            Code.MISSING_MEMBER, "linear array: slot 0 is missing, and so nothing of it has a known place"
        )
    problems = []
    if len(known) < len(sizes):
        message = f"the array is read up to the first missing member, slot {len(known)}: its size is unknown"
        problems.append(Problem(Code.TRUNCATED, message))
    return known, problems


def _striped_sizes(
    sizes: Sequence[int | None], chunk: int, facts: Details
) -> tuple[list[int | None], int, list[Problem]]:
    """The sizes by slot, the layout in which to read them, and what is doubtful about that."""
    there = [size for size in sizes if size]
    if not there:
        raise _Refused(Code.DAMAGED, "the members of the array hold less than a chunk each")
    features = facts.get("features")
    said = isinstance(features, list) and "raid0_layout" in features
    layout = figure_of(facts, "layout_number") if said else 0
    problems = []
    if None in sizes:
        message = (
            f"the sizes of missing members are unknown: the array is read as if none were below {min(there)}"
            " bytes, and as far as its smallest known member reaches"
        )
        problems.append(Problem(Code.AMBIGUOUS, message))
        return [min(there)] * len(sizes), RAID0_ALTERNATE, problems
    zones = strip_zones(there, chunk)
    if layout not in (RAID0_ORIGINAL, RAID0_ALTERNATE):
        layout = RAID0_ALTERNATE
        if any(len(zone.slots) > 1 for zone in zones[1:]):
            message = (
                "the superblocks do not say in which of two layouts members of unequal size are striped: "
                f"what lies behind byte {zones[0].end} is read as Linux 3.14 and later laid it out"
            )
            problems.append(Problem(Code.AMBIGUOUS, message))
    return [*sizes], layout, problems


# From the recipe to the bytes.


def open_mapped(parameters: Details, inputs: Sequence[Source]) -> Source:
    """The bytes of an array. ``inputs``: the members that are there, in the order of their slots.

    Raises OpenError when the recipe is none of ours.
    """
    before, after = parameters.get("before"), parameters.get("after")
    if isinstance(before, dict) and isinstance(after, dict):
        parts = open_mapped(before, inputs), open_mapped(after, inputs)
        return _joined(*(parts if parameters.get("backwards") is True else parts[::-1]), parameters)
    level, chunk = word_of(parameters, "level"), figure_of(parameters, "chunk_size")
    layout, size = figure_of(parameters, "layout"), figure_of(parameters, "size")
    described = parameters.get("devices")
    if not isinstance(described, list):
        raise OpenError("the recipe of the array names no devices")
    devices = [_device(each, inputs) for each in described]
    if level == "linear":
        return LinearSource(devices, [*_sizes(parameters)])
    if level == "raid0":
        zones = strip_zones([*_sizes(parameters)], chunk)
        return StripedSource(devices, zones, chunk, counted_from_start=layout == RAID0_ORIGINAL)
    if level == "raid1":
        # Write-mostly devices may lag behind.
        order = sorted(range(len(devices)), key=lambda slot: is_write_mostly(described[slot]))
        return MirrorSource(devices, size, order)
    if level == "raid10":
        used = figure_of(parameters, "used_size")
        return Raid10Source(devices, Raid10Layout(layout, chunk, len(devices), used), chunk)
    if level in PARITY:
        return ParitySource(devices, level=PARITY[level], layout=layout, chunk=chunk, size=size)
    raise OpenError(f"arrays of level {level} are not read")


def _joined(first: Source, second: Source, parameters: Details) -> Source:
    """The one up to the position of a reshape, the other from there on."""
    at, size = figure_of(parameters, "position"), figure_of(parameters, "size")
    if not 0 <= at <= size:
        raise OpenError(f"the recipe of the array has position {at} of {size}")
    return LinearSource([Device(first, 0, at), Device(second, at, size - at)], [at, size - at])


def _device(described: Json, inputs: Sequence[Source]) -> Device | None:
    if not isinstance(described, dict):
        return None
    source, bad = input_of(described.get("input"), inputs), described.get("bad_blocks")
    if source is None:
        return None
    start, trusted = figure_of(described, "offset"), described.get("trusted")
    return Device(
        source,
        start,
        figure_of(described, "size"),
        trusted if isinstance(trusted, int) else None,
        [*_bad_runs(bad, start)] if isinstance(bad, list) else (),
    )


def _bad_runs(recorded: Sequence[Json], start: int) -> Iterator[tuple[int, int]]:
    """The log counts from the start of the device, not of the data."""
    for run in recorded:
        match run:
            case [int(offset), int(size)]:
                yield offset - start, size


def _sizes(parameters: Details) -> Iterator[int]:
    sizes = parameters.get("sizes")
    for size in sizes if isinstance(sizes, list) else ():
        if isinstance(size, int):
            yield size
