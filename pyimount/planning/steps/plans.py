"""A whole plan, what it leaves out, and its steps from JSON."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pyimount.planning.steps.base import Result, Step, TableLine
from pyimount.planning.steps.devices import (
    ActivateVolumeGroup,
    AssembleArray,
    AttachFlash,
    AttachLoop,
    ConnectNbd,
    MapVolume,
    OpenEncrypted,
)
from pyimount.planning.steps.files import (
    ExposeRaw,
    ExposeShadows,
    ExposeUnlocked,
    MakeDirectory,
    RunImageMounter,
)
from pyimount.planning.steps.mounts import READABLE, BindMount, Carve, Mount, MountWithTool, ShowDirectory
from pyimount.records import Record

STEPS: Mapping[str, type[Step]] = {
    kind.__name__: kind
    for kind in (
        MakeDirectory, ExposeRaw, AttachLoop, ConnectNbd, RunImageMounter, OpenEncrypted, AssembleArray,
        MapVolume, ActivateVolumeGroup, AttachFlash, ExposeUnlocked, ExposeShadows, Mount, MountWithTool,
        ShowDirectory, BindMount, Carve,
    )
}  # fmt: skip
"""Every kind of step by its name."""


def step_from_dict(said: Mapping[str, Any]) -> Step:
    """A step from what ``to_dict`` gave. Raises ValueError when it is none, has a field too many or too few.

    The types of the values are not looked at: whoever runs steps for another checks them.
    """
    name = said.get("step")
    kind = STEPS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"there is no step {name!r}")
    try:
        return kind(**{field: _restored(value) for field, value in said.items() if field != "step"})
    except (TypeError, KeyError) as error:
        raise ValueError(f"{name}: {error}") from error


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "table" in value:
            start, length, target, arguments = value["table"]
            return TableLine(start, length, target, _restored(arguments))
        return Result(value["result"], value.get("file"))
    if isinstance(value, list):
        return tuple(_restored(entry) for entry in value)
    return value


def shown_readable(steps: Iterable[Step]) -> frozenset[int]:
    """The ids of mounts that nobody looks at, but at what is shown of them as one user's."""
    return frozenset(
        step.source.step for step in steps
        if isinstance(step, MountWithTool) and step.tool == READABLE and isinstance(step.source, Result)
    )  # fmt: skip


class Refusal(Record, kw_only=True):
    """A volume that is not mounted although it might have been expected, and why.

    ``code``: ``locked``, ``unknown``, ``needs-tool``, ``not-allowed``, ``unsupported``, ``dirty``,
    ``hibernated``, ``damaged``, ``no-bytes``, ``nothing`` (to mount), ``failed``. ``remedy``: what to do, if
    anything.
    """

    layer: int
    index: str
    code: str
    reason: str
    remedy: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        return {name: getattr(self, name) for name in self.fields}


class MountPlan(Record, kw_only=True):
    """What mounting a scan does: its steps in their order, and what it leaves out.

    ``session``: eight hexadecimal digits, in the name of everything that the steps make. ``images``:
    the paths of the scan's images, absolute. ``uncarved``: volumes that were to be carved, and are not.
    ``missing``: how many bytes at a volume's end the image does not have, by the volume's id.
    """

    session: str
    images: tuple[str, ...]
    steps: tuple[Step, ...]
    refused: tuple[Refusal, ...] = ()
    uncarved: tuple[Refusal, ...] = ()
    missing: tuple[tuple[int, int], ...] = ()

    def mounts(self) -> Iterator[Mount | MountWithTool]:
        """The steps that mount file systems, each where it is to be looked at."""
        beneath = shown_readable(self.steps)
        for step in self.steps:
            if isinstance(step, Mount | MountWithTool) and step.id not in beneath:
                yield step

    def shows(self) -> Iterator[ShowDirectory]:
        """The steps that show folders."""
        for step in self.steps:
            if isinstance(step, ShowDirectory):
                yield step

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "session": self.session,
            "images": list(self.images),
            "steps": [step.to_dict() for step in self.steps],
            "refused": [each.to_dict() for each in self.refused],
            "uncarved": [each.to_dict() for each in self.uncarved],
        }
