"""Intel Matrix and Rapid Storage arrays: what the newest metadata of a set of disks says.

Levels and layouts after mdadm (super-intel.c): RAID 5 is md's left-asymmetric, RAID 10 has two near copies.
https://sources.debian.org/src/mdadm/
All disks have the same metadata, which tells them apart by the serial numbers of the drives. An image has
none: where the order of the disks matters, it is found by ``disk_order``.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, permutations

from pyimount.formats import Details, Json
from pyimount.mapping.assembly import Assembly, Mapped, Member
from pyimount.mapping.composed import (
    Node,
    is_lacking,
    mirrored,
    open_mapped,
    parity,
    raid10,
    recipe_of,
    run,
    striped,
)
from pyimount.mapping.disk_order import ORDERS_CAP, alike, evidence, likeliest, twins
from pyimount.mapping.parity import LEFT_ASYMMETRIC, stripe
from pyimount.mapping.recipes import list_of, number_of, word_of
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import OpenError

__all__ = ("assemble", "open_mapped")

_NEAR_2 = 0x102
_DISKS_CAP = 64
_ALIKE_CAP = 64
"""As many orders that read alike are passed over, for each that is tried."""
_SHOWN = ("level", "chunk_size", "slots", "rebuilding", "state", "dirty", "migration", "member_size")

Disks = tuple[Member | None, ...]
"""The member that is each disk of the metadata's list; None for those that are not there."""


class _Array(Record):
    """A volume as the metadata has it: ``slots`` are numbers of disks, ``rebuilt`` those without all data."""

    facts: Details
    level: str
    size: int
    chunk: int
    start: int
    member_size: int
    slots: tuple[int, ...]
    rebuilt: tuple[int, ...]

    def tree(self, disks: Disks, inputs: Sequence[Member]) -> Node:
        """The volume over these disks. Raises ValueError for figures that no volume has."""
        runs = []
        for number in self.slots:
            member = disks[number] if number < len(disks) else None
            there = None if member is None or number in self.rebuilt else inputs.index(member)
            runs.append(run(there, self.start, self.member_size))
        if self.level == "raid1":
            return mirrored(runs, self.size)
        if not 0 < self.chunk <= 1 << 30:
            raise ValueError(f"strips of {self.chunk} bytes")
        if self.level == "raid0":
            return striped(runs, self.chunk)
        if self.level == "raid10":
            return raid10(runs, self.chunk, _NEAR_2)
        if self.level == "raid5" and len(runs) > 2:
            return parity(runs, self.chunk, 5, LEFT_ASYMMETRIC)
        raise ValueError(f"{self.level} over {len(runs)} disks")


def assemble(members: Sequence[Member]) -> Assembly:
    """The volumes of one set of disks."""
    generations = {member.id: _number(member.details, "generation") for member in members}
    newest = max(generations.values())
    current = [member for member in members if generations[member.id] == newest]
    stale = tuple(member.id for member in members if generations[member.id] < newest)
    said = current[0].details
    listed = said.get("disks")
    count = len(listed) if isinstance(listed, list) else 0
    used = sorted({number for facts in _volumes(said) for number in _numbers(facts, "slots")})
    arrays: list[_Array | Problem] = [_array(facts) for facts in _volumes(said)]
    known = [array for array in arrays if isinstance(array, _Array)]
    problems: list[Problem] = []
    disks = _disks(current, known, used, max([count, *(number + 1 for number in used)]), problems)
    volumes = tuple(_mapped(array, facts, disks) for array, facts in zip(arrays, _volumes(said), strict=True))
    return Assembly(
        volumes=volumes,
        complete=len(current) >= len(used) and all(volume.readable for volume in volumes),
        stale=stale,
        problems=tuple(problems),
    )


def _volumes(said: Details) -> list[Mapping[str, Json]]:
    volumes = said.get("volumes")
    return [facts for facts in volumes if isinstance(facts, dict)] if isinstance(volumes, list) else []


def _number(facts: Mapping[str, Json], key: str) -> int:
    value = facts.get(key)
    return value if isinstance(value, int) else 0


def _numbers(facts: Mapping[str, Json], key: str) -> list[int]:
    values = facts.get(key)
    return [value for value in values if isinstance(value, int)] if isinstance(values, list) else []


def _array(facts: Mapping[str, Json]) -> _Array | Problem:
    """A volume that can be read, or why not."""
    if facts.get("migration") in ("general migration", "state change"):
        message = f"the array was being changed ({facts.get('migration')}), and is not read"
        return Problem(Code.UNSUPPORTED, message)
    try:
        slots = tuple(number for number in list_of(facts, "slots", _DISKS_CAP) if isinstance(number, int))
        level = word_of(facts, "level")
        if level not in ("raid0", "raid1", "raid10", "raid5"):
            return Problem(Code.UNSUPPORTED, f"Intel arrays of level {level} are not read")
        return _Array(
            facts,
            level,
            number_of(facts, "size"),
            number_of(facts, "chunk_size"),
            number_of(facts, "offset"),
            number_of(facts, "member_size"),
            slots,
            tuple(_numbers(facts, "rebuilding")),
        )
    except OpenError as error:
        return Problem(Code.DAMAGED, f"the metadata of the volume contradicts itself: {error}")


def _disks(
    members: list[Member], arrays: list[_Array], used: list[int], count: int, problems: list[Problem]
) -> Disks | None:
    """Which member is which disk; None where nothing tells."""
    if all(array.level == "raid1" and not array.rebuilt for array in arrays):
        # Each has all of it, so that it does not matter which is which.
        there = iter(members)
        return tuple(next(there, None) if number in used else None for number in range(count))
    if len(members) < len(used) and all(_is_short(array, len(members)) for array in arrays):
        message = (
            f"{len(used) - len(members)} of {len(used)} disks are missing: too many for anything to be read"
        )
        problems.append(Problem(Code.MISSING_MEMBER, message))
        return None
    if len(members) > len(used):
        problems.append(Problem(Code.AMBIGUOUS, f"{len(members)} disks say that they are one of {len(used)}"))
    sources = [member.source for member in members]
    rows = [
        (array, twins(sources, array.start, array.chunk, array.member_size // array.chunk))
        for array in arrays
        if array.level == "raid5" and array.chunk
    ]

    def worth(disks: Disks) -> int:
        found = _worth(disks, arrays)
        return found + sum(_parity_fits(disks, array, row, members) for array, row in rows) if found else 0

    order = likeliest(_orders(members, arrays, used, count), worth)
    if order is None:
        message = (
            "the metadata tells its disks apart by the serial numbers of the drives, which images do not "
            "have, and what lies in the array does not tell in which order they are: it is not read"
        )
        problems.append(Problem(Code.AMBIGUOUS, message))
    return order


def _is_short(array: _Array, present: int) -> bool:
    """Whether so few disks are too few for a volume, whichever they are."""
    wanted = {"raid0": len(array.slots), "raid5": len(array.slots) - 1, "raid10": (len(array.slots) + 1) // 2}
    return present < wanted.get(array.level, 1)


def _orders(members: list[Member], arrays: list[_Array], used: list[int], count: int) -> Iterator[Disks]:
    """Every way in which the members may be the disks, but for those that read alike."""
    seen = set()
    pool: list[Member | None] = [*members, *[None] * (len(used) - len(members))]
    for chosen in islice(permutations(pool, len(used)), ORDERS_CAP * _ALIKE_CAP):
        places = dict(zip(used, chosen, strict=True))
        order = tuple(places.get(number) for number in range(count))
        key = tuple(_reads_as(array, order) for array in arrays)
        if key not in seen:
            seen.add(key)
            yield order


def _reads_as(array: _Array, order: Disks) -> tuple[object, ...]:
    """What of an order makes a difference for this volume: of mirrored disks not which is which."""
    slots = [None if (disk := order[number]) is None else disk.id for number in array.slots]
    if array.level == "raid10" and not array.rebuilt:
        return tuple(frozenset(slots[at : at + 2]) for at in range(0, len(slots), 2))
    if array.level == "raid1" and not array.rebuilt:
        return ()
    return tuple(slots)


def _worth(disks: Disks, arrays: Sequence[_Array]) -> int:
    """How much of what lies in the volumes speaks for this order."""
    inputs = [member for member in disks if member is not None]
    found = same = 0
    for array in arrays:
        try:
            tree = array.tree(disks, inputs)
            found += evidence(
                open_mapped({"volume": tree, "size": array.size}, [member.source for member in inputs])
            )
        except (ValueError, OpenError):
            continue
        if array.level == "raid10":
            slots = [disks[number] for number in array.slots]
            pairs = zip(slots[::2], slots[1::2], strict=False)
            same += sum(
                alike(one.source, other.source, array.start, array.member_size)
                for one, other in pairs
                if one is not None and other is not None
            )
    return found + same if found else 0


def _parity_fits(
    disks: Disks, array: _Array, rows: Sequence[tuple[int, frozenset[int]]], members: Sequence[Member]
) -> int:
    """In how many of these rows one of the two disks that have the same lies where the parity is."""
    slots = [disks[number] for number in array.slots]
    return sum(
        (parity := slots[stripe(5, LEFT_ASYMMETRIC, len(slots), row).p]) is not None
        and parity.id in {members[number].id for number in pair}
        for row, pair in rows
    )


def _mapped(array: "_Array | Problem", facts: Mapping[str, Json], disks: Disks | None) -> Mapped:
    """A volume over the disks."""
    problems: list[Problem] = []
    parameters: dict[str, Json] = {}
    inputs = [member for member in disks or () if member is not None]
    if isinstance(array, Problem):
        problems.append(array)
    elif disks is not None:
        missing = [number for number in array.slots if number >= len(disks) or disks[number] is None]
        try:
            tree = array.tree(disks, inputs)
        except ValueError as error:
            problems.append(Problem(Code.DAMAGED, f"the metadata of the volume contradicts itself: {error}"))
        else:
            parameters = recipe_of(tree, array.size, problems)
            if missing:
                lost = is_lacking(tree)
                how = "what lies only there cannot be read" if lost else "its bytes come from the rest"
                message = f"{len(missing)} of the {len(array.slots)} disks of the array are missing; {how}"
                problems.append(Problem(Code.MISSING_MEMBER, message))
            elif array.rebuilt:
                message = "a disk of the array was being rebuilt; its bytes come from the rest"
                problems.append(Problem(Code.MISSING_MEMBER, message))
    name = facts.get("name")
    return Mapped(
        kind="imsm",
        members=tuple(member.id for member in inputs) if parameters else (),
        parameters=parameters,
        size=_number(facts, "size"),
        name=name if isinstance(name, str) else None,
        details={key: facts[key] for key in _SHOWN if key in facts},
        readable=bool(parameters),
        problems=tuple(problems),
    )
