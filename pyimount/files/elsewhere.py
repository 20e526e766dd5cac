"""Images that lie elsewhere, opened once for all readers of the files in them."""

from collections.abc import Mapping, Sequence
from typing import cast

from pyimount.layers import Scan
from pyimount.sources.broker import Broker
from pyimount.sources.budget import NO_LIMIT, Meter
from pyimount.sources.shelf import Shelf
from pyimount.sources.source import NamedSource
from pyimount.sources.urls import is_url


class FarShelf(Shelf):
    """The images of a scan of which some lie elsewhere, by what is shown of their URLs.

    ``marks``: those of the states that were scanned; another one is not opened.
    """

    volume = ""

    def __init__(self, marks: Mapping[str, object]) -> None:
        self._broker = Broker(marks=marks)
        self._opened: dict[str, NamedSource] = {}

    def open(self, name: str, meter: Meter | None = None) -> NamedSource:
        """As Shelf's; it stays open until this is closed."""
        if name not in self._opened:
            opened = self._broker.open(name, meter or Meter(NO_LIMIT))
            self._opened[name] = cast("NamedSource", opened)  # only what is made of objects has no name
        return self._opened[name]

    def names(self, folder: str) -> Sequence[str]:  # noqa: ARG002
        """None: what an image names is not looked for elsewhere."""
        return ()

    def changed(self) -> Sequence[str]:
        """As Shelf's."""
        return [said for source in self._opened.values() if (said := source.changed()) is not None]

    def close(self) -> None:
        """As Shelf's."""
        while self._opened:
            self._opened.popitem()[1].close()


def shelf_for(scan: Scan) -> FarShelf | None:
    """The shelf for a scan of images elsewhere; None where all are files of this machine."""
    if not any(is_url(path) for disk in scan.disks for path in disk.paths):
        return None
    marks: dict[str, object] = {}
    for disk in scan.disks:
        known = disk.recipe.parameters.get("marks")
        marks |= known if isinstance(known, Mapping) else {}
    return FarShelf(marks)
