"""vinum volumes: mirrors of plexes, each of which is concatenated, striped or RAID-5.

How the subdisks of a plex take turns: FreeBSD, sys/geom/vinum/geom_vinum_plex.c (gv_plex_offset).
"""

from collections.abc import Mapping, Sequence

from pyimount.formats import Json, NotThisFormat
from pyimount.mapping.assembly import Assembly, Mapped, Member
from pyimount.mapping.composed import (
    Node,
    is_lacking,
    linear,
    mirrored,
    open_mapped,
    parity,
    run,
    size_of,
    striped,
)
from pyimount.mapping.parity import LEFT_ASYMMETRIC
from pyimount.parsers.volumes.vinum import CONCAT, STRIPED, Configuration, Drive, Plex, Subdisk, read_drive
from pyimount.problems import Code, Problem
from pyimount.sources.errors import ReadError
from pyimount.sources.view import ShortRead, View

__all__ = ("assemble", "open_mapped")

_SOUND = (None, "up", "growable", "reborn")
"""States in which a subdisk's bytes are those of its plex."""


def assemble(members: Sequence[Member]) -> Assembly:
    """The volumes that these drives share."""
    drives: dict[str, tuple[Member, Drive]] = {}
    problems: list[Problem] = []
    for member in members:
        try:
            drive = read_drive(View(member.source))
        except (NotThisFormat, ShortRead, ReadError) as error:
            problems.append(Problem(Code.DAMAGED, f"volume {member.index} is no vinum drive: {error}"))
            continue
        drives[drive.name] = (member, drive)
    if not drives:
        return Assembly(complete=False, problems=tuple(problems))
    newest = max((drive for _, drive in drives.values()), key=lambda drive: drive.updated)
    names, wanted = newest.configuration.related(newest.name)
    present = {name: member for name, (member, _) in drives.items()}
    return Assembly(
        volumes=tuple(_volume(name, newest.configuration, present) for name in names),
        complete=bool(names) and all(name in drives for name in wanted),
        problems=tuple(problems),
    )


def _volume(name: str, configuration: Configuration, present: Mapping[str, Member]) -> Mapped:
    plexes = configuration.plexes_of(name)
    problems: list[Problem] = []
    parameters: dict[str, Json] = {}
    size = 0
    builder = _Builder(configuration, present)
    try:
        tree = builder.tree(plexes)
        if builder.unsound and is_lacking(tree):
            # Better the bytes of a subdisk that is not quite up than none; the problem says so.
            builder = _Builder(configuration, present, unsound_too=True)
            tree = builder.tree(plexes)
    except ValueError as error:
        problems.append(Problem(Code.DAMAGED, f"the configuration contradicts itself on {name}: {error}"))
    else:
        size = size_of(tree)
        parameters = {"volume": tree, "size": size}
        what = "some of its bytes cannot be read" if is_lacking(tree) else "its bytes come from the rest"
        if builder.missing:
            drives = ", ".join(dict.fromkeys(builder.missing))
            problems.append(Problem(Code.MISSING_MEMBER, f"drives of {name} are missing: {drives}; {what}"))
        if builder.unsound:
            used = "used all the same" if builder.unsound_too else f"not used; {what}"
            message = f"subdisks of {name} are not up: {', '.join(builder.unsound)}; {used}"
            problems.append(Problem(Code.DAMAGED, message))
    return Mapped(
        kind="vinum",
        members=tuple(builder.inputs),
        parameters=parameters,
        size=size,
        name=name,
        details={
            "state": configuration.volumes[name],
            "plexes": [
                {
                    "name": plex.name,
                    "organisation": plex.org,
                    "stripe_size": plex.stripe or None,
                    "state": plex.state,
                    "subdisks": [each.name for each in configuration.subdisks_of(plex)],
                }
                for plex in plexes
            ],
        },
        readable=bool(parameters),
        problems=tuple(problems),
    )


class _Builder:
    """Makes the recipe of one volume, and notes what it lacks."""

    def __init__(
        self, configuration: Configuration, present: Mapping[str, Member], *, unsound_too: bool = False
    ) -> None:
        self._configuration = configuration
        self._present = present
        self.unsound_too = unsound_too
        self.inputs: list[int] = []
        self.missing: list[str] = []
        self.unsound: list[str] = []

    def tree(self, plexes: Sequence[Plex]) -> Node:
        """All plexes. Raises ValueError for figures that cannot be."""
        if not plexes:
            raise ValueError("it has no plex")
        nodes = [self._plex(plex) for plex in plexes]
        return nodes[0] if len(nodes) == 1 else mirrored(nodes, max(map(size_of, nodes)))

    def _plex(self, plex: Plex) -> Node:
        subdisks = self._configuration.subdisks_of(plex)
        if not subdisks:
            raise ValueError(f"{plex.name} has no subdisks")
        if plex.org == CONCAT:
            return self._concatenated(plex, subdisks)
        nodes = [self._run(each) for each in subdisks]
        if len({each.length for each in subdisks}) > 1:
            raise ValueError(f"the subdisks of {plex.name} have different lengths")
        if plex.org == STRIPED:
            return striped(nodes, plex.stripe)
        if len(nodes) < 3:
            raise ValueError(f"{plex.name} is RAID-5 over {len(nodes)} subdisks")
        return parity(nodes, plex.stripe, 5, LEFT_ASYMMETRIC)

    def _concatenated(self, plex: Plex, subdisks: Sequence[Subdisk]) -> Node:
        nodes: list[Node] = []
        at = 0
        for each in subdisks:
            if each.plex_offset < at:
                raise ValueError(f"{each.name} overlaps the subdisk before it in {plex.name}")
            if each.plex_offset > at:
                nodes.append(run(None, 0, each.plex_offset - at))  # no subdisk was given this run
            nodes.append(self._run(each))
            at = each.plex_offset + each.length
        return linear(nodes)

    def _run(self, subdisk: Subdisk) -> Node:
        member = self._present.get(subdisk.drive)
        if member is None:
            self.missing.append(subdisk.drive)
            return run(None, 0, subdisk.length)
        if subdisk.state not in _SOUND:
            self.unsound.append(f"{subdisk.name} ({subdisk.state})")
            if not self.unsound_too:
                return run(None, 0, subdisk.length)
        if member.id not in self.inputs:
            self.inputs.append(member.id)
        return run(self.inputs.index(member.id), subdisk.drive_offset, subdisk.length)
