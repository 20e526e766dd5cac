"""pyimount tells what is in a disk image, layer by layer, without root, and makes it readable.

Importing the package costs next to nothing: each public name is loaded when it is first used
(PEP 562).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyimount.layers import DiskLayer, Scan, VolumeLayer
    from pyimount.scanning import detect
    from pyimount.sources.budget import Budget

__version__ = "0.1.0"
__all__ = ["Budget", "DiskLayer", "Scan", "VolumeLayer", "__version__", "detect"]

_HOME = {
    "Budget": "pyimount.sources.budget",
    "DiskLayer": "pyimount.layers",
    "Scan": "pyimount.layers",
    "VolumeLayer": "pyimount.layers",
    "detect": "pyimount.scanning",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module where it lives."""
    if name not in _HOME:
        raise AttributeError(f"module 'pyimount' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
