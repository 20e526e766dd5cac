"""Clones and copies: the members of one group id told apart into sets that belong together.

Machines that were cloned from one template have groups of one UUID, whose members have the same UUIDs
again; a disk that was imaged twice has itself as a clone. Members of two machines must never be put together.
A member identity that occurs twice splits the group: into what lies in the same image or volume first, then
into what was written together (sequence number, events, generation, time). What that leaves open is left
apart, and said. Two members that were written at one count and say different things are of two machines,
even where none is there twice: nothing that writes to all of them could have done that.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations

from pyimount.mapping.assembly import Member
from pyimount.records import Record
from pyimount.sources.errors import BudgetError, ReadError

COMPARED = 64 << 20
"""Bytes of a member: larger ones are not compared to find out whether they are copies of each other."""
_STEP = 1 << 20
_MARGIN = 1
"""Superblocks are written one after the other: a count that is one behind may be of the same set."""

_STAMPED_APART = frozenset({"ddf"})
"""Groups whose members each have a time of their own beside the count."""


class MemberSet(Record, kw_only=True):
    """Members that belong together, none of them twice, in the order in which they were found.

    ``doubtful``: further members that may belong here in place of others, or here and not where they are;
    nothing tells. ``copies``: members that have the same bytes as one of these, and are not used.
    ``lent``: members that belong here and stand for themselves as well. ``foreign``: members that would
    have their place here, and were written at the same count with other contents.
    """

    members: tuple[Member, ...]
    doubtful: tuple[Member, ...] = ()
    copies: tuple[Member, ...] = ()
    lent: tuple[Member, ...] = ()
    foreign: tuple[Member, ...] = ()


def coherent_sets(members: Sequence[Member]) -> list[MemberSet]:
    """The sets that these members of one group id make up; one, where all of them may belong together."""
    if not _clash(members):
        return [MemberSet(members=tuple(members))]
    sets = [MemberSet(members=tuple(part)) for part in _by_place(members, 1)]
    # What was written together; then what was written one after the other; then what is left of either.
    sets = _joined_by_state(sets)
    for fits in (_is_next_to, _may_be):
        sets = _paired(sets, fits)
    sets = list(_with_doubts(sets))
    return sorted(sets, key=lambda each: each.members[0].id)


def lent_to(one: MemberSet, lendable: Sequence[Member]) -> MemberSet:
    """The set with those of these members that it has too; of clones the one that lies next to it.

    Where nothing tells which of several it is, none is taken, and they are doubtful.
    """
    by_identity: dict[str, list[Member]] = {}
    for member in lendable:
        if member not in one.members:
            by_identity.setdefault(identity_of(member), []).append(member)
    lent, doubtful = [*one.lent], [*one.doubtful]
    for alike in by_identity.values():
        nearest = max(_shared(one, member) for member in alike)
        near = [member for member in alike if _shared(one, member) == nearest]
        if len(near) == 1:
            lent += near
        else:
            doubtful += near
    return one.replaced(lent=tuple(lent), doubtful=tuple(doubtful))


def _shared(one: MemberSet, member: Member) -> int:
    """In how many layers a member lies that one of the set lies in too."""
    return max(len(set(each.within) & set(member.within)) for each in one.members)


def identity_of(member: Member) -> str:
    """What tells this member from the others of its group; where it says nothing, nothing else has it."""
    return member.membership.identity or f"#{member.id}"


def _has_repeats(members: Iterable[Member]) -> bool:
    """Whether a member is there twice, or, without identities, whether there are more than there can be."""
    members = [*members]
    names = [identity_of(member) for member in members]
    if len(set(names)) < len(names):
        return True
    nameless = [member.membership for member in members if member.membership.identity is None]
    return any(each.members is not None and len(nameless) > each.members for each in nameless)


def _contradict(members: Iterable[Member]) -> bool:
    """Whether two members were written at one count, and not together."""
    states: dict[int, tuple[int, ...]] = {}
    for member in members:
        state = member.membership.as_of
        if len(state) < 2 or member.membership.type in _STAMPED_APART:
            continue
        if states.setdefault(state[0], state) != state:
            return True
    return False


def _clash(members: Sequence[Member]) -> bool:
    """Whether these cannot all be members of one group."""
    return _has_repeats(members) or _contradict(members)


def _is_whole(one: MemberSet) -> bool:
    wanted = one.members[0].membership.members
    return wanted is not None and len(one.members) >= wanted


def _by_place(members: Sequence[Member], depth: int) -> Iterator[list[Member]]:
    """Members that lie together in an image, or in a volume of it, as far out as leaves none that clash."""
    if not _clash(members):
        yield [*members]
        return
    parts: dict[tuple[int, ...], list[Member]] = {}
    for member in members:
        # Beyond its own place a member is alone.
        place = (*member.within, -1 - member.id)[:depth]
        parts.setdefault(place, []).append(member)
    for part in parts.values():
        yield from _by_place(part, depth + 1)


def _state(one: MemberSet) -> tuple[int, ...]:
    """When it was written last, as far as the members say."""
    return max(member.membership.as_of for member in one.members)


def _joined(sets: Iterable[MemberSet]) -> MemberSet:
    sets = [*sets]
    return MemberSet(
        members=tuple(sorted((m for each in sets for m in each.members), key=lambda member: member.id)),
        copies=tuple(m for each in sets for m in each.copies),
    )


def _fit(*sets: MemberSet) -> bool:
    """Whether all their members may belong together."""
    return not _clash([member for each in sets for member in each.members])


def _joined_by_state(sets: Sequence[MemberSet]) -> list[MemberSet]:
    """The sets, those of one state as one, unless a member would be there twice with other bytes."""
    states: dict[tuple[int, ...], list[MemberSet]] = {}
    for each in sets:
        states.setdefault(_state(each), []).append(each)
    made: list[MemberSet] = []
    for alike in states.values():
        parts = [each for each in alike if not _is_whole(each)]
        made += [each for each in alike if _is_whole(each)]
        if len(parts) > 1 and _fit(*parts):
            made.append(_joined(parts))
        elif len(parts) > 1:
            made += _of_copies(parts) or parts
        else:
            made += parts
    return made


def _of_copies(parts: Sequence[MemberSet]) -> list[MemberSet]:
    """The sets of the first, second … copies, where all that is there twice has the same bytes; else none.

    Copies that are too few for a set of their own are left out.
    """
    there: dict[frozenset[str], list[MemberSet]] = {}
    for part in parts:
        there.setdefault(frozenset(map(identity_of, part.members)), []).append(part)
    rows = [*there.values()]
    if not _fit(*(row[0] for row in rows)):
        return []
    if not all(_are_alike(row[0], other) for row in rows for other in row[1:]):
        return []
    count = min(map(len, rows))
    made = [_joined(row[number] for row in rows) for number in range(count)]
    left = tuple(member for row in rows for part in row[count:] for member in part.members)
    return [made[0].replaced(copies=left), *made[1:]]


def _are_alike(one: MemberSet, other: MemberSet) -> bool:
    others = {identity_of(member): member for member in other.members}
    return all(_same_bytes(member, others[identity_of(member)]) for member in one.members)


def _same_bytes(one: Member, other: Member) -> bool:
    """Whether two members are certainly copies of one another: of large ones nobody knows."""
    first, second = one.source, other.source
    if first.size != second.size or first.size > COMPARED:
        return False
    try:
        return all(
            first.read_at(at, _STEP) == second.read_at(at, _STEP) for at in range(0, first.size, _STEP)
        )
    except (ReadError, BudgetError):
        return False


def _is_next_to(one: MemberSet, other: MemberSet) -> bool:
    ones, others = _state(one), _state(other)
    return bool(ones and others) and abs(ones[0] - others[0]) <= _MARGIN and _may_be(one, other)


def _may_be(one: MemberSet, other: MemberSet) -> bool:
    """Whether two sets can be parts of one, by who is in them."""
    return not _is_whole(one) and not _is_whole(other) and _fit(one, other)


def _paired(sets: list[MemberSet], fits: Callable[[MemberSet, MemberSet], bool]) -> list[MemberSet]:
    """The sets, those as one that fit each other and no third; again until there are no more."""
    while True:
        pairs = [pair for pair in combinations(range(len(sets)), 2) if fits(sets[pair[0]], sets[pair[1]])]
        often = Counter(number for pair in pairs for number in pair)
        only = [pair for pair in pairs if often[pair[0]] == often[pair[1]] == 1]
        if not only:
            return sets
        gone = {number for pair in only for number in pair}
        sets = [each for number, each in enumerate(sets) if number not in gone] + [
            _joined((sets[first], sets[second])) for first, second in only
        ]


def _with_doubts(sets: Sequence[MemberSet]) -> Iterator[MemberSet]:
    """The sets, each with those that it might have been put together with."""
    for one in sets:
        others = [other for other in sets if other is not one and not (_is_whole(one) or _is_whole(other))]
        near = [other for other in others if _fit(one, other)]
        wrong = [each for each in others if each not in near and not _has_repeats(one.members + each.members)]
        yield one.replaced(
            doubtful=tuple(member for other in near for member in other.members),
            foreign=tuple(member for other in wrong for member in other.members),
        )
