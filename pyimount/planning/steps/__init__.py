"""The steps of a mount: frozen data, each with the command that it stands for.

A step is told apart by its ``id`` within its session. Where it needs what an earlier one made, it names
that symbolically (``Result``), so a plan needs no root, and a helper that runs steps for
somebody else need not believe any path or device that it is told.

``argv`` gives the command line that a step runs, or, where pyimount makes the system call itself, the
one that does the same; ``undo_argv`` the one that takes back what it did. Both are lists: no shell, ever.
"""

from pyimount.planning.steps.base import PREFIX, Names, Place, Result, Step, TableLine, results
from pyimount.planning.steps.devices import (
    DEVICE,
    FLASH_MODULE,
    LVM_CONFIG,
    ActivateVolumeGroup,
    AssembleArray,
    AttachFlash,
    AttachLoop,
    ConnectNbd,
    MapVolume,
    OpenEncrypted,
)
from pyimount.planning.steps.files import (
    MOUNTPOINTS,
    ExposeRaw,
    ExposeShadows,
    ExposeUnlocked,
    MakeDirectory,
    RunImageMounter,
)
from pyimount.planning.steps.mounts import (
    ALWAYS,
    READABLE,
    BindMount,
    Carve,
    Mount,
    MountWithTool,
    ShowDirectory,
    readable_arguments,
)
from pyimount.planning.steps.plans import STEPS, MountPlan, Refusal, shown_readable, step_from_dict

__all__ = [
    "ALWAYS",
    "DEVICE",
    "FLASH_MODULE",
    "LVM_CONFIG",
    "MOUNTPOINTS",
    "PREFIX",
    "READABLE",
    "STEPS",
    "ActivateVolumeGroup",
    "AssembleArray",
    "AttachFlash",
    "AttachLoop",
    "BindMount",
    "Carve",
    "ConnectNbd",
    "ExposeRaw",
    "ExposeShadows",
    "ExposeUnlocked",
    "MakeDirectory",
    "MapVolume",
    "Mount",
    "MountPlan",
    "MountWithTool",
    "Names",
    "OpenEncrypted",
    "Place",
    "Refusal",
    "Result",
    "RunImageMounter",
    "ShowDirectory",
    "Step",
    "TableLine",
    "readable_arguments",
    "results",
    "shown_readable",
    "step_from_dict",
]
