"""DDF arrays: what the configuration records of all disks together say, newest first.

Levels and their layouts: SNIA Common RAID Disk Data Format Specification 2.0, 4.2 "Primary RAID level" and
4.3 "Secondary RAID level"; that mdadm means md's far layout by RAID-1E "offset": mdadm's super-ddf.c.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pyimount.formats import Json, NotThisFormat
from pyimount.mapping.assembly import Assembly, Mapped, Member
from pyimount.mapping.composed import (
    Node,
    is_lacking,
    linear,
    mirrored,
    open_mapped,
    parity,
    raid10,
    recipe_of,
    run,
    size_of,
    striped,
)
from pyimount.mapping.parity import (
    DDF_N_CONTINUE,
    DDF_N_RESTART,
    DDF_ZERO_RESTART,
    LEFT_ASYMMETRIC,
    LEFT_SYMMETRIC,
    PARITY_0,
    PARITY_N,
    RIGHT_ASYMMETRIC,
)
from pyimount.parsers.volumes.ddf import (
    FAILED,
    LEVELS,
    MISSING,
    REBUILDING,
    level_facts,
    reference_text,
    virtual_facts,
    virtual_name,
)
from pyimount.parsers.volumes.ddf_metadata import Element, Metadata, load
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.view import ShortRead, View

__all__ = ("assemble", "open_mapped")

_PARITY = {
    ("raid4", 0): (5, PARITY_0),
    ("raid4", 1): (4, PARITY_N),
    ("raid5", 0): (5, RIGHT_ASYMMETRIC),
    ("raid5", 2): (5, LEFT_ASYMMETRIC),
    ("raid5", 3): (5, LEFT_SYMMETRIC),
    ("raid6", 1): (6, DDF_ZERO_RESTART),
    ("raid6", 2): (6, DDF_N_RESTART),
    ("raid6", 3): (6, DDF_N_CONTINUE),
}
_STRIPED, _MIRRORED, _CONCATENATED, _SPANNED = range(4)
_NEAR_2, _FAR_2, _OFFSET_2 = 0x102, 0x201, 0x10201
_LINUX = b"Linux-MD".hex()


class _Disk(Record):
    """A member, and what it says."""

    member: Member
    said: Metadata


class _Unsupported(Exception):  # noqa: N818  (an answer, not an error)
    """The specification has such arrays, and nothing here reads them; the message says which."""


def assemble(members: Sequence[Member]) -> Assembly:
    """The virtual disks of one set of disks."""
    disks: list[_Disk] = []
    problems: list[Problem] = []
    for member in members:
        try:
            disks.append(_Disk(member, load(View(member.source))))
        except (NotThisFormat, ShortRead, ReadError) as error:
            message = f"the DDF metadata of volume {member.index} cannot be read: {error}"
            problems.append(Problem(Code.DAMAGED, message))
    disks.sort(key=lambda disk: -disk.said.header.Sequence_Number)
    if not disks:
        return Assembly(complete=False, problems=tuple(problems))
    newest = disks[0].said
    state = {entry.PD_Reference: entry.PD_State for entry in newest.disks}
    present: dict[int, _Disk] = {}
    stale: list[int] = []
    unused: list[int] = []
    for disk in disks:
        reference = disk.said.reference
        if reference is None or reference in present:
            why = "does not say which disk it is" if reference is None else "is a second copy of another disk"
            message = f"volume {disk.member.index} {why}, and is not used"
            problems.append(Problem(Code.AMBIGUOUS, message))
            unused.append(disk.member.id)
        elif reference not in state or state[reference] & (FAILED | MISSING | REBUILDING):
            # The others went on without it; but it may know that itself.
            older = disk.said.header.Sequence_Number < newest.header.Sequence_Number
            (stale if older else unused).append(disk.member.id)
        else:
            present[reference] = disk
    volumes = tuple(_volumes(disks, present))
    return Assembly(
        volumes=volumes,
        complete=bool(volumes) and not any(_is_incomplete(volume) for volume in volumes),
        stale=tuple(stale),
        unused=tuple(unused),
        problems=tuple(problems),
    )


def _is_incomplete(volume: Mapped) -> bool:
    return any(problem.code is Code.MISSING_MEMBER for problem in volume.problems)


def _volumes(disks: Sequence[_Disk], present: Mapping[int, _Disk]) -> list[Mapped]:
    elements: dict[str, dict[int, Element]] = {}
    for disk in disks:
        for element in disk.said.elements:
            mine = elements.setdefault(element.guid, {})
            known = mine.get(element.secondary_seq)
            if known is None or (element.checked, element.sequence) > (known.checked, known.sequence):
                mine[element.secondary_seq] = element
    entries = {entry.VD_GUID.hex(): entry for disk in reversed(disks) for entry in disk.said.virtual}
    order = {guid: number for number, guid in enumerate(entries)}
    return [
        _volume(guid, elements[guid], entries.get(guid), present)
        for guid in sorted(elements, key=lambda guid: (order.get(guid, len(order)), guid))
    ]


def _volume(guid: str, elements: Mapping[int, Element], entry: Any, present: Mapping[int, _Disk]) -> Mapped:
    newest = max(elements.values(), key=lambda element: element.sequence)
    inputs: list[int] = []
    missing: list[str] = []
    problems: list[Problem] = []
    parameters: dict[str, Json] = {}
    try:
        tree = _tree(newest, elements, present, inputs, missing)
    except _Unsupported as error:
        problems.append(Problem(Code.UNSUPPORTED, str(error)))
    except ValueError as error:
        problems.append(Problem(Code.DAMAGED, f"the configuration of {guid} contradicts itself: {error}"))
    else:
        parameters = recipe_of(tree, newest.size, problems)
        if missing:
            what = (
                "what lies only there cannot be read"
                if is_lacking(tree)
                else "its bytes are reckoned from the rest"
            )
            message = f"disks of the array are missing: {', '.join(missing)}; {what}"
            problems.append(Problem(Code.MISSING_MEMBER, message))
    details: dict[str, Json] = {
        **level_facts(newest),
        "disks": [
            [reference_text(reference) for reference, _ in elements[number].disks]
            if number in elements
            else None
            for number in range(newest.secondary_count)
        ],
        **(virtual_facts(entry) if entry is not None else {}),
    }
    return Mapped(
        kind="ddf",
        members=tuple(inputs),
        parameters=parameters,
        size=newest.size,
        name=virtual_name(entry) if entry is not None else None,
        uuid=guid,
        details=details,
        readable=bool(parameters),
        problems=tuple(problems),
    )


def _tree(
    newest: Element,
    elements: Mapping[int, Element],
    present: Mapping[int, _Disk],
    inputs: list[int],
    missing: list[str],
) -> Node:
    """The whole virtual disk; ``inputs`` and ``missing`` are filled on the way."""
    basic: list[Node] = []
    size = size_of(_basic(newest, [run(None, 0, newest.block_count) for _ in newest.disks]))
    for number in range(newest.secondary_count):
        element = elements.get(number)
        if element is None:
            # None of its disks is here, so nothing tells them apart; its size is that of the others.
            missing.append(f"all of secondary element {number}")
            basic.append(run(None, 0, size))
            continue
        runs: list[Node] = []
        for reference, start in element.disks:
            disk = None if reference is None else present.get(reference)
            if disk is None:
                missing.append(reference_text(reference) or f"one of element {number}")
                runs.append(run(None, 0, element.block_count))
                continue
            if disk.member.id not in inputs:
                inputs.append(disk.member.id)
            runs.append(run(inputs.index(disk.member.id), start, element.block_count))
        basic.append(_basic(element, runs))
    if len(basic) == 1:
        return basic[0]
    level = newest.secondary_level
    if level == _MIRRORED:
        return mirrored(basic, max(map(size_of, basic)))
    if level == _CONCATENATED:
        return linear(basic)
    if level in (_STRIPED, _SPANNED) and LEVELS.get(newest.level) == "raid1":
        return striped(basic, _strip(newest))
    facts = level_facts(newest)
    raise _Unsupported(
        f"DDF arrays that are {facts.get('secondary_level')} over {facts['level']} are not read"
    )


def _strip(element: Element) -> int:
    if not 0 < element.strip <= 1 << 30:
        raise ValueError(f"strips of {element.strip} bytes")
    return element.strip


def _basic(element: Element, runs: Sequence[Node]) -> Node:
    """A basic virtual disk. Raises ValueError for figures that cannot be, _Unsupported for other levels."""
    level, qualifier = LEVELS.get(element.level, ""), element.qualifier
    if not runs:
        raise ValueError("an array without disks")
    if level in ("single", "concat") or len(runs) == 1:
        return linear(runs)
    if level == "raid1":
        return mirrored(runs, element.block_count)
    if level == "raid0":
        return striped(runs, _strip(element))
    if level == "raid1e" and qualifier in (0, 1):
        offset = _FAR_2 if element.guid.startswith(_LINUX) else _OFFSET_2
        return raid10(runs, _strip(element), offset if qualifier else _NEAR_2)
    if (level, qualifier) in _PARITY:
        number, layout = _PARITY[level, qualifier]
        if len(runs) < number - 2:
            raise ValueError(f"{level} over {len(runs)} disks")
        return parity(runs, _strip(element), number, layout)
    raise _Unsupported(
        f"DDF arrays of level {level or element.level} with qualifier {qualifier} are not read"
    )
