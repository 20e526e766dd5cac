"""The interface of imagemounter: ImageParser, Disk, Volume, VolumeSystem and Unmounter.

A program that was written for imagemounter imports these from ``pyimount`` and stays as it is. Detection
through them needs neither root nor a mount. They are a facade: what is found is a ``Scan``, what is done is a
plan that runs, and what stands is in the ledger, where every process finds it.
"""

from typing import TYPE_CHECKING, Any

from pyimount.imagemounter.words import (
    BLOCK_SIZE,
    DISK_MOUNTERS,
    FILE_SYSTEM_TYPES,
    VOLUME_SYSTEM_TYPES,
)
from pyimount.version import __version__

if TYPE_CHECKING:
    from pyimount.imagemounter.disk import Disk
    from pyimount.imagemounter.image_parser import ImageParser
    from pyimount.imagemounter.unmounter import Unmounter
    from pyimount.imagemounter.volume import Volume, VolumeSystem

__all__ = [
    "BLOCK_SIZE",
    "DISK_MOUNTERS",
    "FILE_SYSTEM_TYPES",
    "VOLUME_SYSTEM_TYPES",
    "Disk",
    "ImageParser",
    "Unmounter",
    "Volume",
    "VolumeSystem",
    "__version__",
]

_HOME = {
    "Disk": "disk",
    "ImageParser": "image_parser",
    "Unmounter": "unmounter",
    "Volume": "volume",
    "VolumeSystem": "volume",
}


def __getattr__(name: str) -> Any:
    """Load a class from the module where it lives."""
    if name not in _HOME:
        raise AttributeError(f"module 'pyimount.imagemounter' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"pyimount.imagemounter.{_HOME[name]}"), name)
