"""pyimount tells what is in a disk image, layer by layer, without root, and makes it readable.

Importing the package costs next to nothing: each public name is loaded when it is first used
(PEP 562).
"""

from typing import TYPE_CHECKING, Any

from pyimount.version import __version__

if TYPE_CHECKING:
    from pyimount.confinement.crew import Limits
    from pyimount.confinement.many import Failure, detect_apart, detect_many
    from pyimount.files.records import Kind, Stat
    from pyimount.files.system import Entry, FileSystem, open_filesystem
    from pyimount.imagemounter import BLOCK_SIZE, DISK_MOUNTERS, FILE_SYSTEM_TYPES, VOLUME_SYSTEM_TYPES
    from pyimount.imagemounter.disk import Disk
    from pyimount.imagemounter.image_parser import ImageParser
    from pyimount.imagemounter.unmounter import Unmounter
    from pyimount.imagemounter.volume import Volume, VolumeSystem
    from pyimount.keys import Key, Keyring
    from pyimount.layers import DiskLayer, Scan, VolumeLayer
    from pyimount.mapping import open_volume
    from pyimount.scanning import detect
    from pyimount.sources.budget import Budget

__all__ = [
    "BLOCK_SIZE",
    "DISK_MOUNTERS",
    "FILE_SYSTEM_TYPES",
    "VOLUME_SYSTEM_TYPES",
    "Budget",
    "Disk",
    "DiskLayer",
    "Entry",
    "Failure",
    "FileSystem",
    "ImageParser",
    "Key",
    "Keyring",
    "Kind",
    "Limits",
    "Scan",
    "Stat",
    "Unmounter",
    "Volume",
    "VolumeLayer",
    "VolumeSystem",
    "__version__",
    "detect",
    "detect_apart",
    "detect_many",
    "open_filesystem",
    "open_volume",
]

_HOME = {
    "BLOCK_SIZE": "pyimount.imagemounter",
    "DISK_MOUNTERS": "pyimount.imagemounter",
    "FILE_SYSTEM_TYPES": "pyimount.imagemounter",
    "VOLUME_SYSTEM_TYPES": "pyimount.imagemounter",
    "Budget": "pyimount.sources.budget",
    "Disk": "pyimount.imagemounter.disk",
    "DiskLayer": "pyimount.layers",
    "Entry": "pyimount.files.system",
    "Failure": "pyimount.confinement.many",
    "FileSystem": "pyimount.files.system",
    "ImageParser": "pyimount.imagemounter.image_parser",
    "Key": "pyimount.keys",
    "Keyring": "pyimount.keys",
    "Kind": "pyimount.files.records",
    "Limits": "pyimount.confinement.crew",
    "Scan": "pyimount.layers",
    "Stat": "pyimount.files.records",
    "Unmounter": "pyimount.imagemounter.unmounter",
    "Volume": "pyimount.imagemounter.volume",
    "VolumeLayer": "pyimount.layers",
    "VolumeSystem": "pyimount.imagemounter.volume",
    "detect": "pyimount.scanning",
    "detect_apart": "pyimount.confinement.many",
    "detect_many": "pyimount.confinement.many",
    "open_filesystem": "pyimount.files.system",
    "open_volume": "pyimount.mapping",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module where it lives."""
    if name not in _HOME:
        raise AttributeError(f"module 'pyimount' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
