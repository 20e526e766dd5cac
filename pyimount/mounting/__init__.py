"""Look, plan, act, and what became of it: what the command line and the interface of old share."""

from pyimount.mounting.mounting import (
    carve,
    look,
    mount,
    planned,
    reconstruct,
)
from pyimount.mounting.outcome import Carved, Mounted, MountedVolume, Tree

__all__ = [
    "Carved",
    "Mounted",
    "MountedVolume",
    "Tree",
    "carve",
    "look",
    "mount",
    "planned",
    "reconstruct",
]
