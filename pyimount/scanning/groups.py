"""Arrays and volume groups: which members one call found, and what became of each group."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from pyimount.formats import Identity, Membership
from pyimount.layers import Group, VolumeLayer
from pyimount.mapping.assembly import Assembly, Member
from pyimount.problems import Code, Problem
from pyimount.sources.source import Source

Key: TypeAlias = tuple[str, str]
"""A group's type and UUID: by these members find each other, never by a name."""

_UNTOLD = {"LVM2_member": "lvm2"}
"""Types of members that may not know their group, and the type of that: it names them by their UUID."""


class Groups:
    """The groups of one scan. Members are added as they are found, groups taken as they get ready."""

    def __init__(self) -> None:
        self._members: dict[Key, list[Member]] = {}
        self._unclaimed: list[tuple[VolumeLayer, Identity, Source]] = []
        self._assemblies: dict[Key, Assembly | None] = {}
        self._indexes: dict[Key, str] = {}

    def add(self, volume: VolumeLayer, identity: Identity, source: Source) -> bool:
        """Note a layer that may be a member; whether it may."""
        if identity.group is not None:
            self._join(volume, identity.group, identity, source)
        elif identity.type in _UNTOLD:
            self._unclaimed.append((volume, identity, source))
        else:
            return False
        return True

    def _join(self, volume: VolumeLayer, membership: Membership, identity: Identity, source: Source) -> None:
        member = Member(
            id=volume.id, index=volume.index, membership=membership, details=identity.details, source=source
        )
        self._members.setdefault((membership.type, membership.uuid), []).append(member)

    def ready(self) -> tuple[Key, list[Member]] | None:
        """The next group to assemble: one that has all its members, else any; None when all are done.

        A member may lie on another group's volume, so the complete come first: what they hold may
        complete the others.
        """
        waiting = [key for key in self._members if key not in self._assemblies]
        if not waiting:
            return None
        for key in waiting:
            if self._unclaimed and key[0] in _UNTOLD.values():
                self._claim(key)
        whole = (key for key in waiting if self._is_whole(key))
        chosen = next(whole, waiting[0])
        return chosen, sorted(self._members[chosen], key=lambda member: member.id)

    def _claim(self, key: Key) -> None:
        """Add to a group the members that it names, and that do not name it."""
        from pyimount.mapping.kinds import members_named

        members = self._members[key]
        roles = members_named(key[0], members)
        unclaimed, self._unclaimed = self._unclaimed, []
        for volume, identity, source in unclaimed:
            role = roles.get(identity.uuid or "")
            if role is not None and _UNTOLD[identity.type] == key[0]:
                membership = members[0].membership.replaced(role=role)
                self._join(volume, membership, identity, source)
            else:
                self._unclaimed.append((volume, identity, source))

    def _is_whole(self, key: Key) -> bool:
        members = self._members[key]
        wanted = members[0].membership.members
        return wanted is not None and len(members) >= wanted

    def note(self, key: Key) -> None:
        """Note that a group has had its turn, whatever came of it."""
        self._assemblies.setdefault(key, None)

    def keep(self, key: Key, assembly: Assembly | None, index: str | None) -> None:
        """Note what a group gave: its assembly, and the index under which its volumes stand."""
        self._assemblies[key] = assembly
        if index is not None:
            self._indexes[key] = index

    def on(self, volumes: Iterable[VolumeLayer]) -> Iterator[VolumeLayer]:
        """The volumes, each member with the facts of its group."""
        keys = {member.id: key for key, members in self._members.items() for member in members}
        for volume in volumes:
            yield self._with_group(volume, keys[volume.id]) if volume.id in keys else volume

    def _with_group(self, volume: VolumeLayer, key: Key) -> VolumeLayer:
        members = self._members[key]
        own = next(member.membership for member in members if member.id == volume.id)
        assembly = self._assemblies.get(key)
        stale = assembly.stale if assembly else ()
        present = len(members) - len(stale)
        problems: list[Problem] = []
        if volume.id in stale:
            problems.append(Problem(Code.STALE_MEMBER, "older than the other members of its group; not used"))
        if assembly is not None and volume.id == min(member.id for member in members):
            problems += assembly.problems
        group = Group(
            type=own.type,
            uuid=own.uuid,
            name=own.name,
            role=own.role,
            members=own.members,
            present=present,
            complete=assembly.complete if assembly else own.members is not None and present >= own.members,
            volume=self._indexes.get(key),
        )
        return volume.replaced(group=group, problems=(*volume.problems, *problems))
