"""Images that are files within an image: how they and what lies beside them are opened, by their names.

A name is the address of the file, from the outermost image on: ``2:/vms/a.vmdk``. It is no path of this
machine, and none of this machine's files is ever opened for one.
"""

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import islice

from pyimount.sources.broker import FOLDERS, LISTING_CAP, Broker
from pyimount.sources.budget import Meter
from pyimount.sources.errors import OpenError
from pyimount.sources.source import NamedSource


class Shelf(ABC):
    """Files of one volume by their names. ``volume``: what stands in these before the first slash."""

    volume: str

    @abstractmethod
    def open(self, name: str, meter: Meter | None = None) -> NamedSource:
        """The bytes of a file; each read is charged to ``meter``. Raises OpenError: there is none."""

    @abstractmethod
    def names(self, folder: str) -> Sequence[str]:
        """The names in a folder, without it; empty where there is none, or none can be read."""

    def changed(self) -> Sequence[str]:
        """What says that files are no longer what was opened, where that is known."""
        return ()

    def close(self) -> None:  # noqa: B027  (most hold nothing)
        """Give back what is held open."""


class KnownShelf(Shelf):
    """Those files that somebody else has opened, and no others."""

    def __init__(self, volume: str, files: Mapping[str, NamedSource]) -> None:
        self.volume = volume
        self._files = files

    def open(self, name: str, meter: Meter | None = None) -> NamedSource:  # noqa: ARG002
        """As Shelf's."""
        if name not in self._files:
            raise OpenError(f"{name}: is not among the files that were opened beforehand")
        return self._files[name]

    def names(self, folder: str) -> Sequence[str]:
        """As Shelf's."""
        return [posixpath.basename(name) for name in self._files if posixpath.dirname(name) == folder]


class ShelfBroker(Broker):
    """Opens files of a shelf: the image, and what it names in its own volume.

    Whatever an image names there is evidence as the image is, so that a name may lead into other folders of
    the volume; never out of it.
    """

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(descriptors={})
        self._shelf = shelf

    def open(self, path: str, meter: Meter) -> NamedSource:
        """As Broker's."""
        return self._shelf.open(path, meter)

    def open_named(self, name: str, image: str, meter: Meter, folder: str = "") -> NamedSource:
        """As Broker's."""
        base = posixpath.dirname(image)
        if folder:
            if folder not in FOLDERS:
                raise OpenError(f"no format keeps its files in a folder {folder!r}")
            base = posixpath.join(base, folder)
        wanted = name.replace("\\", "/")
        beside = posixpath.basename(wanted.rstrip("/"))
        why = None
        for at in dict.fromkeys((posixpath.join(base, beside), self._within(base, wanted))):
            try:
                return self._shelf.open(at, meter)
            except OpenError as error:
                why = why or error
        raise OpenError(f"the image names {name!r}: {why}")

    @staticmethod
    def real(path: str) -> str:
        """As Broker's: a name is the only one that its file has."""
        return path

    def names_in(self, image: str, folder: str = "", cap: int = LISTING_CAP) -> list[str]:
        """As Broker's."""
        if folder and folder not in FOLDERS:
            return []
        return list(
            islice(self._shelf.names(posixpath.join(posixpath.dirname(image), folder).rstrip("/")), cap)
        )

    def _within(self, folder: str, name: str) -> str:
        """Where a name leads from a folder: never above the root of the volume."""
        inside = folder.removeprefix(self._shelf.volume)
        return self._shelf.volume + posixpath.normpath(posixpath.join("/", inside, name))
