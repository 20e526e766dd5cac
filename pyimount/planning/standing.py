"""A plan that is added to a session: what stands there already is used, and not made a second time.

A volume of a case that is mounted after another shares what that one took: the server, the loop device of
the disk, the map of a volume group. A pure function, as a plan is made by one.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pyimount.planning.steps import (
    BindMount,
    Carve,
    ExposeRaw,
    MakeDirectory,
    Mount,
    MountPlan,
    MountWithTool,
    Result,
    ShowDirectory,
    Step,
    TableLine,
)
from pyimount.records import Record

NO_FILES: Mapping[Result, Result] = MappingProxyType({})
_ONE_EACH = (Mount, MountWithTool, ShowDirectory, BindMount, Carve, ExposeRaw)
"""What is shared with nobody, or, of a server, file by file."""


class Joined(Record, kw_only=True):
    """A plan as it is added to a session.

    ``plan``: the steps that are new. ``stand``: by the ids of the steps of the plan that it was made from,
    the ids of those that stand for them, new or there before. ``files``: for files of that plan's servers,
    those of servers that stand.
    """

    plan: MountPlan
    stand: Mapping[int, int]
    files: Mapping[Result, Result]

    def place(self, place: Any) -> Any:
        """What a place of the plan that this was made from is now."""
        return _renamed(place, self.stand, self.files)


def joined(
    plan: MountPlan,
    standing: Sequence[Step],
    *,
    first: int,
    files: Mapping[Result, Result] = NO_FILES,
) -> Joined:
    """A plan added to the steps that stand in its session.

    ``first``: the id of the first new step. ``files``: those files of the plan's servers that servers which
    stand show already, with these.
    """
    stand: dict[int, int] = {}
    new: list[Step] = []
    number = first
    for step in plan.steps:
        own = _renamed_step(step, stand, files)
        if isinstance(own, ExposeRaw):
            left = tuple((layer, name) for layer, name in own.files if Result(step.id, name) not in files)
            if not left:
                continue
            own = own.replaced(files=left)
        same = next((each for each in standing if _is_same(each, own)), None)
        if same is not None:
            stand[step.id] = same.id
            continue
        folder = _taken(own, standing)
        if folder is not None:
            new.append(folder.replaced(id=number, path=f"{folder.path}-{number}"))
            own = own.replaced(at=Result(number))
            number += 1
        new.append(own.replaced(id=number))
        stand[step.id] = number
        number += 1
    return Joined(plan=plan.replaced(steps=_needed(new)), stand=stand, files=files)


def _taken(step: Step, standing: Sequence[Step]) -> MakeDirectory | None:
    """The folder that a step would show something in, where another that stands does so already."""
    at = getattr(step, "at", None)
    if not any(getattr(each, "at", None) == at for each in standing):
        return None
    return next(
        (each for each in standing if isinstance(each, MakeDirectory) and Result(each.id) == at), None
    )


def _is_same(one: Step, other: Step) -> bool:
    """Whether two steps make one and the same thing."""
    if type(one) is not type(other) or isinstance(one, _ONE_EACH):
        return False
    if isinstance(one, MakeDirectory) and (one.layer is not None or other.layer is not None):
        return False  # A mount point.
    return one.replaced(id=0, layer=None) == other.replaced(id=0, layer=None)


def _needed(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps without folders that none of them puts anything into."""
    used = {number for step in steps for number in step.needs()}
    return tuple(
        step
        for step in steps
        if not isinstance(step, MakeDirectory) or step.layer is not None or step.id in used
    )


def _renamed_step(step: Step, stand: Mapping[int, int], files: Mapping[Result, Result]) -> Step:
    changes = {name: _renamed(getattr(step, name), stand, files) for name in step.fields if name != "id"}
    return step.replaced(**changes)


def _renamed(value: Any, stand: Mapping[int, int], files: Mapping[Result, Result]) -> Any:
    if isinstance(value, Result):
        if value in files:
            return files[value]
        return Result(stand.get(value.step, value.step), value.file)
    if isinstance(value, tuple):
        return tuple(_renamed(each, stand, files) for each in value)
    if isinstance(value, TableLine):
        return value.replaced(arguments=_renamed(value.arguments, stand, files))
    return value
