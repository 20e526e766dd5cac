"""Images within images: a file of a volume, scanned in place, and the files in that, to any depth.

What all of these cost counts together against what the scan of the outermost image has left of its budget:
bytes read, layers, depth; what unpacking and deriving keys may cost is allowed once more, for all together.
"""

import posixpath
from collections.abc import Sequence
from typing import Self

from pyimount.files.contents import Contents
from pyimount.files.records import Kind
from pyimount.files.system import Entry
from pyimount.inside.tree import Files, Place
from pyimount.keys import Keyring
from pyimount.layers import Scan, VolumeLayer
from pyimount.problems import Code, Problem
from pyimount.scanning.hints import hints_of
from pyimount.scanning.scanner import scan
from pyimount.scanning.unlocking import Unlocking
from pyimount.sources.budget import Budget, Meter
from pyimount.sources.errors import OpenError
from pyimount.sources.segments import Segments, set_within
from pyimount.sources.shelf import Shelf, ShelfBroker

IMAGES_CAP = 4096
"""So many images within one image are looked into."""
_LISTING_CAP = 1 << 14


class NoImage(Exception):  # noqa: N818
    """A file that is addressed as an image cannot be looked into; ``problem`` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class VolumeShelf(Shelf):
    """The files of a volume, for an image that is one of them."""

    def __init__(self, files: Files, volume: VolumeLayer, known: Sequence[Place] = ()) -> None:
        self.volume = f"{files.prefix}{volume.index}:"
        self._files = files
        self._volume = volume
        # Names from hostile folders may hold slashes: what was found is not looked for again by its path.
        self._known = {place.address: place.entry for place in known}

    def open(self, name: str, meter: Meter | None = None) -> Contents:
        """As Shelf's."""
        try:
            entry = self._known.get(name) or self.entry(name)
        except OSError as error:
            raise OpenError(f"{name}: {(error.strerror or str(error)).lower()}") from error
        if entry.kind is not Kind.FILE:
            raise OpenError(f"{name}: is a {entry.kind}, not a file")
        return Contents(entry, name, meter)

    def names(self, folder: str) -> Sequence[str]:
        """As Shelf's."""
        try:
            return [*sizes_in(self.entry(folder))]
        except OSError:
            return []

    def entry(self, name: str) -> Entry:
        """What goes by a name here; raises OSErrors."""
        return self._files.opened(self._volume).get(name.removeprefix(self.volume))


def sizes_in(folder: Entry) -> dict[str, int]:
    """The sizes of the files in a folder, by their names; as many as can be read, and no more than a cap."""
    found: dict[str, int] = {}
    try:
        for entry in folder.entries():
            if entry.kind is Kind.FILE and entry.problem is None:
                found[entry.name] = entry.stat().size or 0
            if len(found) >= _LISTING_CAP:
                break
    except OSError:
        return found
    return found


class Level(Files):
    """The files of an image that may hold images, and be one that another holds.

    ``depth``: layers that may still lie within one another here; ``above``: what tells the images in which
    this one lies from others.
    """

    def __init__(
        self,
        found: Scan,
        keys: Keyring,
        budget: Budget,
        *,
        in_process: bool = False,
        shelf: Shelf | None = None,
        address: str = "",
        meter: Meter | None = None,
        above: tuple[tuple[object, ...], ...] = (),
    ) -> None:
        super().__init__(found, keys, in_process=in_process, shelf=shelf, address=address)
        self._budget = budget
        self._meter = meter or Meter(_left(budget, found))
        self._above = above
        self._levels: dict[str, Level] = {}
        self._in_process = in_process

    def into(self, place: Place, segments: Segments | None = None) -> "Level":
        """The files of the image that a file is; it is closed with this one.

        ``segments``: those that make it up, by their addresses; else they are looked for beside it. Raises
        NoImage, SourceError, OSErrors.
        """
        if place.owner is not self:
            raise ValueError(f"{place.whole} lies elsewhere")
        if place.entry.kind is not Kind.FILE:
            raise NoImage(Problem(Code.UNSUPPORTED, f"is a {place.entry.kind}, and no image"))
        address = place.address
        if address not in self._levels:
            self._levels[address] = self._opened_within(place, address, segments)
        return self._levels[address]

    def leave(self, level: "Level") -> None:
        """Close an image that ``into`` opened."""
        self._levels.pop(level.address, None)
        level.close()

    def _opened_within(self, place: Place, address: str, segments: Segments | None) -> "Level":
        volume = place.entry.files.volume
        identity = _identity(place)
        depth = self._budget.depth - self._depth(volume)
        shelf = VolumeShelf(self, volume, (place,))
        if identity in self._above:
            raise NoImage(Problem(Code.LOOP, "the image holds itself, and is not entered again"))
        if depth < 1:
            raise NoImage(
                Problem(
                    Code.BUDGET, "layers lie within one another too deep; what is in the image is left out"
                )
            )
        if segments is None:
            folder, name = posixpath.split(address)
            segments = set_within(folder, name, lambda: sizes_in(shelf.entry(folder)))
        keys = self.keys.elsewhere()
        budget = self._budget.replaced(depth=depth)
        found = scan([segments], ShelfBroker(shelf), Unlocking(keys), hints_of(), budget, shared=self._meter)
        return Level(
            found, keys, budget, in_process=self._in_process, shelf=shelf, address=address, meter=self._meter,
            above=(*self._above, identity),
        )  # fmt: skip

    def _depth(self, volume: VolumeLayer) -> int:
        """How many layers lie above the bytes of a volume, itself among them."""
        depth, layer = 1, self.scan.parents(volume)[0]
        while isinstance(layer, VolumeLayer):
            depth, layer = depth + 1, self.scan.parents(layer)[0]
        return depth

    def levels(self) -> "tuple[Level, ...]":
        """This image and those that were opened in it."""
        return (self, *(each for level in self._levels.values() for each in level.levels()))

    def close(self) -> None:
        """End all readers, those within first."""
        while self._levels:
            self._levels.popitem()[1].close()
        super().close()

    def __enter__(self) -> Self:
        return self


def _left(budget: Budget, found: Scan) -> Budget:
    """What the scan of an image has left for what lies within it."""
    read = max((disk.bytes_read for disk in found.disks), default=0)
    return budget.replaced(
        bytes_read=max(0, budget.bytes_read - read), layers=max(0, budget.layers - len(found.volumes))
    )


def _identity(place: Place) -> tuple[object, ...]:
    """What tells a file of a volume from all others: an image that holds itself holds the same file."""
    volume, stat = place.entry.files.volume, place.entry.stat()
    return (
        volume.type, volume.uuid, volume.label, volume.fs_size, place.entry.names, stat.inode, stat.size,
        stat.modified,
    )  # fmt: skip
