"""Logical volumes that LVM itself makes: of our own loop devices, which are all that it looks at."""

import os
from collections.abc import Mapping
from typing import Any

from pyimount.execution import holding, tools
from pyimount.execution.errors import Held, Refused, StepFailed, ToolFailed
from pyimount.execution.ledger import Entry, Made
from pyimount.execution.leftovers import beneath
from pyimount.execution.step_acts import Act, Given, soon
from pyimount.planning.steps import ActivateVolumeGroup, Names, Result, Step

BLOCKS = "/sys/block"
_APPEARS_WITHIN = 10.0
_GONE_WITHIN = 5.0


class _ActivateVolumeGroup(Act[ActivateVolumeGroup]):
    """One logical volume, known as ours by its UUID and by lying on our devices alone."""

    def before(
        self, step: ActivateVolumeGroup, names: Names, given: Given  # noqa: ARG002
    ) -> dict[str, Any]:  # fmt: skip
        if _block(step) is not None:
            # Of one UUID device-mapper has no second.
            raise StepFailed(f"the logical volume {step.volume} is there already", "--lvm native")
        return {}

    def perform(self, step: ActivateVolumeGroup, names: Names, given: Given) -> Made:
        for place in step.devices:
            if not isinstance(place, Result):
                raise Refused(f"{place} was not made in this session")
        try:
            tools.run(step.argv(names), pass_fds=given.hold)
        except ToolFailed as error:
            # Names are device-mapper's, of the whole machine, and LVM has none but the group's own.
            taken = "a volume group of this name is active here: " if "resource busy" in str(error) else ""
            raise StepFailed(f"{taken}{error}", "--lvm native") from error
        soon(lambda: _block(step), _APPEARS_WITHIN)
        block = _block(step)
        if block is None:
            raise StepFailed("LVM made no such volume of these devices", "--lvm native")
        device = f"/dev/{block}"
        if not soon(lambda: os.path.exists(device), _APPEARS_WITHIN):
            raise StepFailed(f"{device} does not appear")
        return Made(device, {"uuid": _dm_uuid(step)})

    def undo(self, entry: Entry, step: ActivateVolumeGroup, names: Names, *, lazy: bool) -> None:  # noqa: ARG002
        block = _block(step)
        if block is None:
            return
        ours = {os.path.realpath(names(place)) for place in step.devices}
        lowest = {each for each in beneath(f"/dev/{block}") if each.startswith("/dev/loop")}
        if not lowest <= ours and entry.made is None:
            return
        try:
            tools.run(step.deactivation(names))
        except ToolFailed as error:
            who = holding.by(f"/dev/{block}")
            raise Held(f"/dev/{block} is in use{who}" if who else str(error)) from error
        if not soon(lambda: _block(step) is None, _GONE_WITHIN):
            raise Held(f"/dev/{block} does not go")


def _dm_uuid(step: ActivateVolumeGroup) -> str:
    """What device-mapper knows a logical volume by."""
    return "LVM-" + (step.group + step.volume).replace("-", "")


def _block(step: ActivateVolumeGroup) -> str | None:
    """The kernel's name of the volume's device; None when there is none."""
    for name in os.listdir(BLOCKS):
        try:
            with open(f"{BLOCKS}/{name}/dm/uuid") as file:
                if file.read().strip() == _dm_uuid(step):
                    return name
        except OSError:
            continue  # No mapping, or one that has just gone.
    return None


ACTS: Mapping[type[Step], Act[Any]] = {ActivateVolumeGroup: _ActivateVolumeGroup()}
"""How this step is done."""
