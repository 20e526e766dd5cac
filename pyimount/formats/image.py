"""The files of one image, as a container format gets to see them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from pyimount.records import Record
from pyimount.sources.broker import Broker
from pyimount.sources.budget import Meter
from pyimount.sources.source import NamedSource, Source

if TYPE_CHECKING:
    from pyimount.formats.container import Opened


_NAMES_TOLD = 3


def told_missing(names: Sequence[str]) -> str:
    """The segments that are missing, one at least, as a sentence begins with them."""
    *others, last = names
    if len(others) > _NAMES_TOLD:
        return f"{len(names)} segments from {others[0]} to {last} are missing"
    return f"{', '.join(others)} and {last} are missing" if others else f"{last} is missing"


class Image(Record):
    """One image: its files in order, and the way to others that its header names.

    ``paths`` and ``files`` run in parallel: an image without segments has one of each.
    ``missing``: names of segments that should stand between these and do not. ``named_files``:
    the further files that were opened on the header's word, in the order of their opening.
    """

    paths: tuple[str, ...]
    files: tuple[Source, ...]
    broker: Broker
    meter: Meter
    open_disk: Callable[[str, Image], Opened]
    """Open the image that a header calls by this name as a disk, whatever its container:
    a backing or parent image. Raises OpenError where policy or disk has none, or the chain is too long."""
    named_files: list[NamedSource]
    missing: tuple[str, ...] = ()
    lost: Mapping[int, str] = MappingProxyType({})
    """Of a file that was cut up: what is missing, by its place in the set, counted from 0."""
    chain: tuple[str, ...] = ()
    """The images whose headers led here, outermost first."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the files, without their folders."""
        return tuple(map(os.path.basename, self.paths))

    @property
    def all_paths(self) -> tuple[str, ...]:
        """Every file that was opened for this image."""
        return (*self.paths, *(file.path for file in self.named_files))

    def open_named(self, name: str, folder: str = "") -> NamedSource:
        """Open a file that the header names, as plain bytes; raises OpenError as the broker does.

        ``folder``: the one beside the image in which its format keeps such files.
        """
        source = self.broker.open_named(name, self.paths[0], self.meter, folder)
        self.named_files.append(source)
        return source

    def changed(self) -> list[str]:
        """What says that files were changed since they were opened."""
        return [said for file in (*self.files, *self.named_files) if (said := file.changed()) is not None]

    def close(self) -> None:
        """Close every file that was opened for this image."""
        for file in (*self.files, *self.named_files):
            file.close()
