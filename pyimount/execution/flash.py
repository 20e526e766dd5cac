"""A flash device in memory with what a volume has, for the drivers that mount nothing else.

The kernel's module for it makes one device, when it is loaded; it is ours when we loaded it.
"""

import contextlib
import os
import re
from collections.abc import Mapping
from typing import Any

from pyimount.execution import tools
from pyimount.execution.errors import Held, Refused, StepFailed, ToolFailed
from pyimount.execution.ledger import Entry, Made
from pyimount.execution.step_acts import Act, Given, soon
from pyimount.planning.steps import FLASH_MODULE, AttachFlash, Names, Result, Step

DEVICES = "/proc/mtd"
NODES = "/dev"
MODULE = f"/sys/module/{FLASH_MODULE}"
NAME = "mtdram test device"
"""What the module calls its device."""

_LINE = re.compile(r"(mtd[0-9]+): ([0-9a-f]+) ([0-9a-f]+) \"(.*)\"")
_PIECE = 1 << 20
_APPEARS_WITHIN = 10.0
_GONE_WITHIN = 5.0


class _AttachFlash(Act[AttachFlash]):
    def before(self, step: AttachFlash, names: Names, given: Given) -> dict[str, Any]:  # noqa: ARG002
        if os.path.exists(MODULE):
            raise StepFailed(f"the kernel's {FLASH_MODULE} is in use by another", f"rmmod {FLASH_MODULE}")
        return {"loaded": False}

    def perform(self, step: AttachFlash, names: Names, given: Given) -> Made:
        if not isinstance(step.device, Result):
            raise Refused(f"{step.device} was not made in this session")
        tools.run(step.argv(names), pass_fds=given.hold)
        soon(lambda: _devices(step), _APPEARS_WITHIN)
        found = _devices(step)
        if len(found) != 1:
            raise StepFailed(f"{FLASH_MODULE} made {len(found)} devices of this size, and not one")
        _copy(names(step.device), f"{NODES}/{found[0]}", step.size)
        # What the driver of a file system takes for a flash device: its name, not a node's path.
        return Made(found[0], {"size": step.total})

    def undo(self, entry: Entry, step: AttachFlash, names: Names, *, lazy: bool) -> None:  # noqa: ARG002
        # It was not there before we began, and nothing else that is made so has this size.
        if os.path.exists(MODULE) and (entry.made is not None or _devices(step)):
            with contextlib.suppress(ToolFailed):
                tools.run(step.undo_argv(""))
            if not soon(lambda: not os.path.exists(MODULE), _GONE_WITHIN):
                raise Held(f"the kernel's {FLASH_MODULE} is in use")


def _devices(step: AttachFlash) -> list[str]:
    """The flash devices in memory that are as large as the step's, and have blocks as large."""
    try:
        with open(DEVICES) as file:
            lines = [_LINE.fullmatch(line.strip()) for line in file]
    except FileNotFoundError:
        return []
    wanted = (step.total, step.erase_size, NAME)
    return [
        line[1]
        for line in lines
        if line is not None and (int(line[2], 16), int(line[3], 16), line[4]) == wanted
    ]


def _copy(source: str, target: str, size: int) -> None:
    """Write the bytes of a device into a flash device, which is erased: whole, or not at all."""
    with open(source, "rb") as have, open(target, "r+b", buffering=0) as put:
        left = size
        while left:
            piece = have.read(min(_PIECE, left))
            if not piece:
                raise StepFailed(f"{source} ends {left} bytes early")
            left -= len(piece)
            while piece:
                piece = piece[put.write(piece) :]


ACTS: Mapping[type[Step], Act[Any]] = {AttachFlash: _AttachFlash()}
"""How this step is done."""
