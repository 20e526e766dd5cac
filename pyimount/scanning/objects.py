"""Images that are no paths: what a caller has opened, or holds in memory."""

import io
from collections.abc import Callable, Collection
from typing import Any, BinaryIO

from pyimount.sources.budget import Meter
from pyimount.sources.fileobject import ObjectSource
from pyimount.sources.source import Source
from pyimount.sources.urls import shown

_SECTOR = 512
_WANTED = (
    "an image is a path (str or os.PathLike), a URL, a file object in binary mode in which can be sought, "
    "bytes that hold it, or several of these: not {}"
)
_SHORT = "{} bytes, less than a sector; a path in bytes becomes one by os.fsdecode()"


def is_object(image: object) -> bool:
    """Whether this is a file object, or what fsspec makes one of."""
    return hasattr(image, "read") or _is_fsspecs(image)


def of_object(image: Any, taken: Collection[str]) -> tuple[str, Callable[[Meter], Source]]:
    """What an image goes by that is no path, and what opens it. ``taken``: names that others have.

    Raises TypeError for what is no image.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        if len(image) < _SECTOR:
            raise TypeError(_WANTED.format(_SHORT.format(len(image))))
        held = io.BytesIO(image)
        name = _unlike(f"<{type(image).__name__}>", taken)
        return name, lambda meter: ObjectSource(held, name, meter)
    if _is_fsspecs(image) and not getattr(image, "compression", None):
        filesystem, path = image.fs, image.path
        name = _unlike(shown(str(filesystem.unstrip_protocol(path))), taken)
        return name, lambda meter: _elsewhere(name, meter, filesystem, path)
    if not hasattr(image, "read"):
        raise TypeError(_WANTED.format(type(image).__name__))
    _check(image)
    called = getattr(image, "name", None)
    name = _unlike(called if isinstance(called, str) and called else f"<{type(image).__name__}>", taken)
    return name, lambda meter: ObjectSource(image, name, meter)


def _is_fsspecs(image: object) -> bool:
    """Whether this is a file of fsspec's, or one that it has yet to open: then its file system is asked."""
    return hasattr(image, "fs") and hasattr(image, "path") and "r" in str(getattr(image, "mode", ""))


def _elsewhere(name: str, meter: Meter, filesystem: Any, path: str) -> Source:
    from pyimount.sources.remote import RemoteSource

    return RemoteSource.open(name, meter, filesystem=filesystem, path=path)


def _check(image: BinaryIO) -> None:
    """Raise TypeError unless bytes can be read from it, at any place."""
    try:
        usable = isinstance(image.read(0), bytes | bytearray) and image.seekable()
    except (OSError, ValueError, AttributeError) as error:  # written to only; closed; not quite a file
        raise TypeError(_WANTED.format(f"{type(image).__name__} ({error})")) from error
    if not usable:
        raise TypeError(_WANTED.format(f"{type(image).__name__}, which has text or only goes forward"))


def _unlike(name: str, taken: Collection[str]) -> str:
    made, number = name, 1
    while made in taken:
        number += 1
        made = f"{name} #{number}"
    return made
