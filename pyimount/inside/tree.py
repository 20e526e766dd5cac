"""The files of all volumes of a scan: each under its index, and as the one tree that they were.

Paths are resolved here, links within them too: never out of the volume or the tree that they begin in.
"""

import errno
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from pyimount.files.elsewhere import shelf_for
from pyimount.files.libraries import readers_of
from pyimount.files.records import Kind
from pyimount.files.system import CannotRead, Entry, FileSystem, open_filesystem
from pyimount.inside.observing import observe
from pyimount.keys import Keyring
from pyimount.layers import Scan, VolumeLayer
from pyimount.planning.reconstruct import Reconstruction, reconstruct
from pyimount.problems import Problem
from pyimount.records import Record
from pyimount.sources.errors import SourceError
from pyimount.sources.shelf import Shelf

if TYPE_CHECKING:
    from types import TracebackType

LINKS_CAP = 40
"""So many links are followed on the way to a file; Linux follows as many."""


class Place(Record):
    """An entry, and the names that lead to it from the root of ``within``: a volume, or the tree (None).

    ``owner``: the files of the image that it is in.
    """

    entry: Entry
    names: tuple[str, ...]
    within: str | None
    owner: "Files"

    @property
    def path(self) -> str:
        """Its path, from the volume's root or that of the tree."""
        return "/" + "/".join(self.names)

    @property
    def name(self) -> str:
        """Its name."""
        return self.names[-1] if self.names else ""

    @property
    def whole(self) -> str:
        """The path as a user gives it, from the outermost image on."""
        return self.owner.prefix + (self.path if self.within is None else f"{self.within}:{self.path}")

    @property
    def address(self) -> str:
        """The same with the volume that it is in, whatever way it was found."""
        return f"{self.owner.prefix}{self.entry.files.volume.index}:{self.entry.path}"


class NoTree(Exception):  # noqa: N818
    """The volumes make up no tree; the message says why, and what to do."""


class Files:
    """The files of a scan's volumes, opened as they are wanted.

    Of an image that is a file within another one ``shelf`` has the bytes, and ``address`` is its name.
    """

    def __init__(
        self,
        scan: Scan,
        keys: Keyring,
        *,
        in_process: bool = False,
        shelf: Shelf | None = None,
        address: str = "",
    ) -> None:
        self.scan = scan
        self.keys = keys
        self._own_shelf = shelf_for(scan) if shelf is None else None
        self.shelf = shelf or self._own_shelf
        self.address = address
        self.prefix = f"{address}::" if address else ""
        self._in_process = in_process
        self._opened: dict[int, FileSystem | CannotRead | SourceError] = {}
        self._tree: Reconstruction | None = None
        self._at: dict[tuple[str, ...], tuple[FileSystem, tuple[str, ...]]] = {}

    def volumes(self) -> tuple[VolumeLayer, ...]:
        """The volumes whose files some library reads, and those that are locked, in disk order."""
        return tuple(
            volume
            for disk in self.scan.disks
            for volume in self.scan.walk(disk)
            if readers_of(volume) and volume.flag == "alloc" and not self._is_container(volume)
        )

    def unread(self) -> tuple[VolumeLayer, ...]:
        """The file systems whose files no library reads."""
        return tuple(
            volume
            for volume in self.scan.volumes
            if volume.usage == "filesystem" and volume.type is not None and not volume.hidden
            and not readers_of(volume) and not self._is_container(volume)
        )  # fmt: skip

    def _is_container(self, volume: VolumeLayer) -> bool:
        """Whether its volumes have the files, not itself."""
        return any(child.type == volume.type for child in self.scan.children(volume))

    def opened(self, volume: VolumeLayer) -> FileSystem:
        """The files of a volume; raises CannotRead and SourceError."""
        found = self._opened.get(volume.id)
        if found is None:
            try:
                found = open_filesystem(
                    self.scan, volume, keys=self.keys, in_process=self._in_process, shelf=self.shelf
                )
            except (CannotRead, SourceError) as error:
                found = error
            self._opened[volume.id] = found
        if not isinstance(found, FileSystem):
            raise found
        return found

    def by(self, volume: VolumeLayer, library: str) -> FileSystem:
        """The files of a volume by one library alone; the caller closes it. Raises as ``opened``."""
        return open_filesystem(
            self.scan, volume, keys=self.keys, in_process=self._in_process, library=library, shelf=self.shelf
        )

    def called(self, name: str) -> FileSystem:
        """The files of the volume that is called so; raises KeyError, CannotRead, SourceError."""
        found = [layer for layer in self.scan.named(name) if isinstance(layer, VolumeLayer)]
        if len(found) != 1:
            raise KeyError(name)
        return self.opened(found[0])

    def tree(self) -> Reconstruction:
        """How the volumes were mounted, as ``planning.reconstruct`` reads it from their files."""
        if self._tree is None:
            opened: dict[int, FileSystem] = {}
            for volume in self.volumes():
                if volume.mapping.get("type") == "vss" or volume.locked:
                    continue
                try:
                    opened[volume.id] = self.opened(volume)
                except (CannotRead, SourceError):
                    continue  # who asks for it is told
            facts = [observe(files) for files in opened.values()]
            self._tree = reconstruct(self.scan, dict.fromkeys(opened, ""), facts, first=0)
            self._place(self._tree, opened)
        return self._tree

    def _place(self, tree: Reconstruction, opened: Mapping[int, FileSystem]) -> None:
        if tree.root is None:
            return
        root = opened[tree.root]
        self._at[()] = root, ()
        for subvolume in tree.subvolumes:
            self._at.setdefault(_names(subvolume.target), (root, _names(subvolume.name)))
            if subvolume.target == "/":
                self._at[()] = root, _names(subvolume.name)
        for placed in tree.placed:
            self._at.setdefault(_names(placed.target), (opened[placed.layer], ()))

    def root(self, volume: VolumeLayer) -> Place:
        """The root folder of a volume; raises CannotRead, SourceError, OSErrors."""
        return Place(self.opened(volume).root, (), volume.index, self)

    def get(self, within: str | None, path: str, *, follow: bool = True, fold: bool = True) -> Place:
        """What is at a path of a volume (``within``: its name), or of the tree (None).

        Links on the way are followed within that; the last one where ``follow``. Raises OSErrors, KeyError,
        CannotRead, NoTree, SourceError.
        """
        if within is None and self.tree().root is None:
            raise NoTree(
                "the volumes make up no tree: none was last mounted on /, none has the folders of a root; "
                "name a volume, as in 2:/etc"
            )
        names = _names(path)
        try:
            found = self._exact(within, names, fold=fold)
        except (FileNotFoundError, NotADirectoryError):
            found = self._through_links(within, names, follow=follow, fold=fold)
        if follow and found.entry.kind is Kind.LINK:
            found = self._through_links(within, names, follow=True, fold=fold)
        return found

    def _exact(self, within: str | None, names: tuple[str, ...], *, fold: bool) -> Place:
        if within is not None:
            entry = self.called(within).by_names(names, fold=fold)
            return Place(entry, entry.names, within, self)
        for length in range(len(names), -1, -1):
            if names[:length] in self._at:
                files, top = self._at[names[:length]]
                entry = files.by_names((*top, *names[length:]), fold=fold)
                return Place(entry, (*names[:length], *entry.names[len(top) :]), None, self)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/" + "/".join(names))

    def _through_links(
        self, within: str | None, names: tuple[str, ...], *, follow: bool, fold: bool
    ) -> Place:
        """The same name by name."""
        pending, links = deque(names), 0
        done: tuple[str, ...] = ()
        place = self._exact(within, (), fold=fold)
        while pending:
            name = pending.popleft()
            if name == "..":
                done = done[:-1]
                place = self._exact(within, done, fold=fold)
                continue
            place = self._exact(within, (*done, name), fold=fold)
            if place.entry.kind is not Kind.LINK or (not pending and not follow):
                done = place.names
                continue
            links += 1
            if links > LINKS_CAP:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), "/" + "/".join(names))
            target = _target(place.entry)
            if target.startswith("/"):
                done = ()
            pending.extendleft(reversed(_parts(target)))
            place = self._exact(within, done, fold=fold)
        return place

    def children(self, place: Place) -> Iterator[Place]:
        """What lies in a folder, with the roots of other volumes where those were mounted."""
        if place.owner is not self:
            yield from place.owner.children(place)
            return
        if place.within is not None:
            for entry in place.entry.entries():
                yield Place(entry, (*place.names, entry.name), place.within, self)
            return
        below = {names[-1]: names for names in self._at if names and names[:-1] == place.names}
        for entry in place.entry.entries():
            names = (*place.names, entry.name)
            if below.pop(entry.name, None) is not None:
                files, top = self._at[names]
                yield Place(files.by_names(top), names, None, self)
            else:
                yield Place(entry, names, None, self)
        for names in below.values():
            files, top = self._at[names]
            yield Place(files.by_names(top), names, None, self)

    def problems(self) -> Iterator[tuple[VolumeLayer, Problem]]:
        """What is wrong with whole volumes, of those that were opened."""
        for files in self._opened.values():
            if isinstance(files, FileSystem):
                for problem in files.problems:
                    yield files.volume, problem

    def changed(self) -> Sequence[str]:
        """What says that images elsewhere are no longer what was scanned."""
        return self._own_shelf.changed() if self._own_shelf is not None else ()

    def close(self) -> None:
        """End all readers."""
        for files in self._opened.values():
            if isinstance(files, FileSystem):
                files.close()
        if self._own_shelf is not None:
            self._own_shelf.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        self.close()


def _names(path: str) -> tuple[str, ...]:
    return tuple(name for name in path.split("/") if name and name != ".")


def _parts(path: str) -> tuple[str, ...]:
    return tuple(name for name in path.split("/") if name and name != ".")


def _target(entry: Entry) -> str:
    """Where a link leads, with slashes; of Windows' without the drive, which is this one."""
    target = entry.target()
    if entry.files.type != "ntfs":
        return target
    target = target.removeprefix("\\??\\").replace("\\", "/")
    return target[2:] if target[1:2] == ":" else target
