"""Arrays and volume groups: which members one call found, and what became of each set of them."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from pyimount.formats import Details, Identity, Json, Membership
from pyimount.formats.declarations import JOURNAL, USER
from pyimount.layers import Group, VolumeLayer
from pyimount.mapping.assembly import Assembly, Member
from pyimount.problems import Code, Problem
from pyimount.scanning.clones import MemberSet, coherent_sets, identity_of, lent_to
from pyimount.sources.source import Source

Key: TypeAlias = tuple[str, str]
"""A group's type and UUID: by these members find each other, never by a name."""

_UNTOLD = {"LVM2_member": "lvm2"}
"""Types of members that may not know their group, and the type of that: it names them by their UUID."""

_STAND_ON_OTHERS = ("lvm2", "btrfs", "zfs", "bcachefs", "f2fs", "stratis")
"""Groups whose members are often arrays: they come last, since an array may yet give them a member."""

_ON_SEVERAL = ("bcachefs", "btrfs", "f2fs")
"""Groups that are one file system over several devices, which the kernel puts together."""

_VERSIONS = 8
"""Of so many versions of a group's metadata the lists are told once."""

_COUNTED = {
    "bcachefs": ("sequence number", 1),
    "btrfs": ("generation", 1),
    "ddf": ("sequence number", 1),
    "lvm2": ("sequence number", 0),
    "vinum": ("time", 60),
}
"""Groups all whose members are written with one count, and how far one may be behind: they are written one
after the other. What the assembly of the others makes of an older member, it says itself."""

_NAMED = 8
"""How many others a problem names."""


class Groups:
    """The groups of one scan. Members are added as they are found, sets of them taken as they get ready."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[Member]] = {}
        self._ready: deque[tuple[Key, MemberSet]] = deque()
        self._unclaimed: list[tuple[VolumeLayer, Identity, Source, tuple[int, ...]]] = []
        self._lendable: list[Member] = []
        self._done: list[_Done] = []
        self._told: dict[Key, list[tuple[str, Details]]] = {}

    def told_once(self, identity: Identity, index: str) -> Details:
        """The details of a layer, without the lists of the whole group that another member has given alike.

        ``told_with`` then says which; else what is said of two hundred members would grow with their square.
        """
        membership, details = identity.group, identity.details
        if membership is None or not membership.tells:
            return details
        own = [_entry(details, name) for name in membership.tells]
        before = self._told.setdefault((membership.type, membership.uuid), [])
        for first, told in before:
            if [_entry(told, name) for name in membership.tells] == own:
                return {**_without(details, membership.tells), "told_with": first}
        if len(before) < _VERSIONS:
            before.append((index, details))
        return details

    def add(self, volume: VolumeLayer, identity: Identity, source: Source, within: tuple[int, ...]) -> bool:
        """Note a layer that may be a member; whether it may. ``within``: as a Member has it."""
        if identity.lends_to is not None:
            membership = Membership(type=identity.lends_to, uuid="", identity=identity.uuid_sub)
            self._lendable.append(_member(volume, membership, identity, source, within))
        if identity.group is not None:
            self._join(volume, identity.group, identity, source, within)
        elif identity.type in _UNTOLD:
            self._unclaimed.append((volume, identity, source, within))
        else:
            return identity.lends_to is not None
        return True

    def _join(
        self,
        volume: VolumeLayer,
        membership: Membership,
        identity: Identity,
        source: Source,
        within: tuple[int, ...],
    ) -> None:
        member = _member(volume, membership, identity, source, within)
        self._waiting.setdefault((membership.type, membership.uuid), []).append(member)

    def ready(self) -> tuple[Key, MemberSet] | None:
        """The next set of members to assemble; None when all are done.

        A member may lie on another group's volume, so the complete groups come first: what they hold may
        complete the others.
        """
        if not self._ready and self._waiting:
            self._split()
        return self._ready.popleft() if self._ready else None

    def _split(self) -> None:
        """Tell the sets of the next group apart."""
        for key in self._waiting:
            if self._unclaimed and key[0] in _UNTOLD.values():
                self._claim(key)
        chosen = min(self._waiting, key=lambda key: (not self._is_whole(key), key[0] in _STAND_ON_OTHERS))
        members = sorted(self._waiting.pop(chosen), key=lambda member: member.id)
        self._ready.extend((chosen, self._with_lent(chosen[0], each)) for each in coherent_sets(members))

    def _with_lent(self, kind: str, found: MemberSet) -> MemberSet:
        """A set with the members that it has and that stand for themselves too."""
        there = [member for member in self._lendable if member.membership.type == kind]
        wanted = found.members[0].membership.members
        if not there or wanted is None or len(found.members) >= wanted:
            return found
        from pyimount.mapping.kinds import members_named

        named = members_named(kind, found.members)
        own = {identity_of(member) for member in found.members}
        return lent_to(found, [each for each in there if identity_of(each) in named.keys() - own])

    def _claim(self, key: Key) -> None:
        """Add to a group the members that it names, and that do not name it."""
        from pyimount.mapping.kinds import members_named

        members = self._waiting[key]
        roles = members_named(key[0], members)
        unclaimed, self._unclaimed = self._unclaimed, []
        for volume, identity, source, within in unclaimed:
            role = roles.get(identity.uuid or "")
            if role is not None and _UNTOLD[identity.type] == key[0]:
                membership = members[0].membership.replaced(role=role, identity=identity.uuid, as_of=())
                self._join(volume, membership, identity, source, within)
            else:
                self._unclaimed.append((volume, identity, source, within))

    def _is_whole(self, key: Key) -> bool:
        members = self._waiting[key]
        wanted = members[0].membership.members
        return wanted is not None and len({identity_of(member) for member in members}) >= wanted

    def note(self, key: Key, found: MemberSet) -> None:
        """Note that a set has had its turn, whatever came of it."""
        if all(done.found is not found for done in self._done):
            self.keep(key, found, None, None)

    def keep(self, key: Key, found: MemberSet, assembly: Assembly | None, index: str | None) -> None:
        """Note what a set gave: its assembly, and the index under which its volumes stand."""
        self._done.append(_Done(key, found, assembly, index))

    def _claim_unmarked(self, volumes: Sequence[VolumeLayer]) -> "dict[int, tuple[_Done, str]]":
        """Members that say nothing of themselves, by the id of the volume: those that no other can be.

        They are what is not recognised and has their size.
        """
        wanted = [
            (done, role, sizes)
            for done in self._done
            for role, sizes in done.first.membership.unmarked.items()
        ]
        if not wanted:
            return {}
        parents = {parent for volume in volumes for parent in volume.parents}
        blank = [
            volume
            for volume in volumes
            if volume.type is volume.pttype is None and volume.flag == "alloc" and volume.id not in parents
        ]
        fits = [
            (volume, done, role)
            for volume in blank
            for done, role, (least, most) in wanted
            if volume.size is not None and least <= volume.size <= most
        ]
        claimed: dict[int, tuple[_Done, str]] = {}
        for volume, done, role in fits:
            rivals = [fit for fit in fits if fit[0] is volume or fit[1:] == (done, role)]
            if len(rivals) == 1:
                claimed[volume.id] = done, role
                done.unmarked.append(volume.index)
        return claimed

    def on(self, volumes: Iterable[VolumeLayer]) -> Iterator[VolumeLayer]:
        """The volumes, each member with the facts of its group."""
        volumes = [*volumes]
        unmarked = self._claim_unmarked(volumes)
        sets = {member.id: done for done in self._done for member in done.all}
        same: dict[tuple[Key, str], list[Member]] = {}
        for done in self._done:
            for member in done.all:
                same.setdefault((done.key, identity_of(member)), []).append(member)
        for volume in volumes:
            mine = sets.get(volume.id)
            if mine is None and volume.id in unmarked:
                mine, role = unmarked[volume.id]
                message = (
                    f"taken for device {role} of the {mine.key[0]} at {mine.first.index} for its size alone: "
                    "such devices say nothing of themselves"
                )
                problems = (*volume.problems, Problem(Code.AMBIGUOUS, message))
                group = mine.group_of(mine.first, []).replaced(role=role)
                yield volume.replaced(group=group, problems=problems)
                continue
            if mine is None:
                yield volume
                continue
            own = next(member for member in mine.all if member.id == volume.id)
            copies = [each.index for each in same[mine.key, identity_of(own)] if each is not own]
            problems = (*volume.problems, *mine.problems_of(own), *mine.problems_without_journal(own, volume))
            yield volume.replaced(group=mine.group_of(own, copies), problems=problems)


def _entry(details: Details, name: str) -> Json:
    """What stands in details under ``key`` or ``key.key``."""
    key, _, inner = name.partition(".")
    value = details.get(key)
    if not inner:
        return value
    return value.get(inner) if isinstance(value, dict) else None


def _without(details: Details, names: Sequence[str]) -> dict[str, Json]:
    """The details without these."""
    left = {key: value for key, value in details.items() if key not in names}
    for name in names:
        key, _, inner = name.partition(".")
        value = left.get(key)
        if inner and isinstance(value, dict):
            left[key] = {each: told for each, told in value.items() if each != inner}
    return left


def _member(
    volume: VolumeLayer, membership: Membership, identity: Identity, source: Source, within: tuple[int, ...]
) -> Member:
    return Member(
        id=volume.id,
        index=volume.index,
        membership=membership,
        details=identity.details,
        source=source,
        within=within,
    )


def first_used(found: MemberSet, assembly: Assembly | None) -> Member:
    """The member under which a set's volumes stand: the first one whose bytes are in them."""
    unused = {*assembly.stale, *assembly.unused} if assembly else set()
    used = [member for member in found.members if member.id not in unused]
    return (used or found.members)[0]


def _named(members: Sequence[Member]) -> str:
    """The indexes of the first of these members, and how many more there are."""
    more = f" and {len(members) - _NAMED} more" if len(members) > _NAMED else ""
    return ", ".join(member.index for member in members[:_NAMED]) + more


class _Done:
    """A set of members, and what became of it."""

    def __init__(self, key: Key, found: MemberSet, assembly: Assembly | None, index: str | None) -> None:
        self.key = key
        self.all = (*found.members, *found.copies)
        self.found = found
        self._assembly = assembly
        self._index = index
        self.first = first_used(found, assembly)
        self.unmarked: list[str] = []
        """Indexes of members that say nothing of themselves."""

    def group_of(self, own: Member, copies: list[str]) -> Group:
        """What the report says of one member's group."""
        assembly, members = self._assembly, own.membership.members
        not_used = {*assembly.stale, *assembly.unused} if assembly else set()
        there = sorted((*self.found.members, *self.found.lent), key=lambda member: member.id)
        present = sum(member.id not in not_used for member in there) + len(self.unmarked)
        return Group(
            type=own.membership.type,
            uuid=own.membership.uuid,
            name=own.membership.name,
            role=own.membership.role,
            members=members,
            present=present if members is None else min(present, members),
            complete=assembly.complete if assembly else members is not None and present >= members,
            volume=self._index,
            found=(*(member.index for member in there), *self.unmarked),
            copies=tuple(copies),
        )

    def problems_without_journal(self, own: Member, volume: VolumeLayer) -> Iterator[Problem]:
        """What a file system lacks whose journal lies on another device that is not here."""
        roles = {member.membership.role for member in self.found.members}
        has_one = own.membership.members != 1 + len(own.membership.unmarked)
        if has_one and own.membership.role == USER and JOURNAL not in roles and volume.state != "clean":
            message = (
                "its journal lies on another device, which is not here: what was written last may be missing"
            )
            yield Problem(Code.MISSING_MEMBER, message)
        if own.membership.role == USER and own.membership.unmarked and not self.unmarked:
            named = ", ".join(own.membership.unmarked)
            message = f"its {named} data lie on another device, which is not here: they cannot be read"
            yield Problem(Code.MISSING_MEMBER, message)

    def _if_behind(self, own: Member) -> Iterator[Problem]:
        """What is to be said of a member that is used, and was written last long before the others."""
        name, margin = _COUNTED.get(self.key[0], ("", 0))
        counts = [each.membership.as_of[0] for each in self.found.members if each.membership.as_of]
        not_used = {*self._assembly.stale, *self._assembly.unused} if self._assembly else set()
        if not name or not own.membership.as_of or own not in self.found.members or own.id in not_used:
            return
        count, newest = own.membership.as_of[0], max(counts)
        if newest - count > margin:
            message = (
                f"written last at {name} {count}, others of its group at {newest}: it was imaged earlier, "
                "or is of another machine; it is used all the same"
            )
            yield Problem(Code.COPIES_DIFFER, message)

    def problems_of(self, own: Member) -> Iterator[Problem]:
        """What is wrong with a member's part in its group; what is wrong with that is the first one's."""
        if self._assembly is not None and own.id in self._assembly.stale:
            yield Problem(Code.STALE_MEMBER, "older than the other members of its group; not used")
        if own in self.found.copies:
            message = "the same bytes as another member has that is used; this copy is not"
            yield Problem(Code.AMBIGUOUS, message)
        yield from self._if_behind(own)
        if own is not self.first:
            return
        if self.found.doubtful:
            message = (
                "members of its group are there more than once, and nothing tells which of "
                f"{_named(self.found.doubtful)} belong to it: it is read without them; "
                "name the images of one machine alone"
            )
            yield Problem(Code.AMBIGUOUS, message)
        if self.found.foreign:
            message = (
                "of the same group by their UUIDs, and written at the same count with other contents: "
                f"{_named(self.found.foreign)}; these are of another machine, or were changed apart from "
                "this: it is read without them"
            )
            yield Problem(Code.AMBIGUOUS, message)
        if self._assembly is not None:
            yield from self._assembly.problems
        group = self.group_of(own, [])
        if group.type in _ON_SEVERAL and not group.complete:
            message = (
                f"{group.present} of {group.members} devices of this {group.type} are here: what lies on the "
                "others cannot be read"
            )
            yield Problem(Code.MISSING_MEMBER, message)
