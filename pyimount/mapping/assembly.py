"""What an assembler gets and gives: members of one group in, the volumes that they make up out.

An assembler is a module of this package with two functions. ``assemble(members)`` is pure
reckoning over what the members' headers say, with reads of further metadata where it must.
``open_mapped(parameters, inputs)`` makes the bytes of one volume from its recipe; ``inputs`` are the
members' bytes in the order of the layer's parents. A recipe has only JSON values, never a key.
"""

from collections.abc import Sequence

from pyimount.formats import Details, Membership
from pyimount.problems import Problem
from pyimount.records import EMPTY, Record
from pyimount.sources.source import Source


class Member(Record, kw_only=True):
    """A layer that says that it belongs to a group.

    ``id`` and ``index``: the layer's. ``membership`` and ``details``: what its parser said.
    ``source``: its bytes. ``within``: ids of the layers that it lies in, from the disk inwards.
    """

    id: int
    index: str
    membership: Membership
    details: Details
    source: Source
    within: tuple[int, ...] = ()


class Mapped(Record, kw_only=True):
    """One volume that members make up.

    ``members``: ids of the layers whose bytes it takes, in the order in which the recipe counts
    them. ``kind``: the module that opens it, ``parameters`` its recipe. ``size`` in bytes. ``name``
    and ``uuid``: its own, not those of what it holds. ``details``: level, layout, segments.
    ``hidden``: a part of another volume, of interest only to who asks for all. ``readable``: False
    where its bytes cannot be given; ``problems`` then say why.
    """

    kind: str
    members: tuple[int, ...]
    parameters: Details
    size: int
    name: str | None = None
    uuid: str | None = None
    details: Details = EMPTY
    hidden: bool = False
    readable: bool = True
    problems: tuple[Problem, ...] = ()


class Assembly(Record, kw_only=True):
    """What became of a group: its volumes, the visible before the hidden, in metadata order.

    ``complete``: every member is there. ``stale``: ids of members that are not used, being older
    than the others. ``unused``: ids of members that are not used for another reason, spares among them.
    ``problems``: the group's, reported with its first member. ``wants``, ``keeps``: names of stores of
    shadow copies: those that lie on another volume, and those that this one keeps for another.
    """

    volumes: tuple[Mapped, ...] = ()
    complete: bool = True
    stale: tuple[int, ...] = ()
    unused: tuple[int, ...] = ()
    problems: tuple[Problem, ...] = ()
    wants: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()


class Unlocked(Record, kw_only=True):
    """A volume that a key opened.

    ``parameters``: the recipe, without the key. ``source``: the plain bytes. ``details``: which
    keyslot or protector it was, for the report.
    """

    kind: str
    parameters: Details
    source: Source
    details: Details = EMPTY
    problems: tuple[Problem, ...] = ()


def by_members(members: Sequence[Member], wanted: Sequence[int]) -> list[Source]:
    """The bytes of the members with these ids, in this order."""
    sources = {member.id: member.source for member in members}
    return [sources[number] for number in wanted]
