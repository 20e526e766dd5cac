"""Files as ``fuse.tree`` shows them: names that a folder can have, data read ahead."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import suppress

from pyimount.files.libraries import Asking
from pyimount.files.paths import target_bytes
from pyimount.files.records import Kind
from pyimount.files.system import CannotRead
from pyimount.files.wire import PIECE
from pyimount.fuse.tree import Shown
from pyimount.inside.copying import safe_name
from pyimount.inside.tree import Files, Place
from pyimount.sources.errors import SourceError

_NO_TIMES = 0, 0, 0


class ShownPlace:
    """A place, as a FUSE folder has it. ``links``: ``text`` shows links as files with their targets."""

    __slots__ = (
        "_ahead",
        "_at",
        "_data",
        "_files",
        "_links",
        "_place",
        "kind",
        "links",
        "mode",
        "size",
        "times",
    )

    def __init__(self, files: Files, place: Place, links: str) -> None:
        self._files, self._place, self._links = files, place, links
        self._data, self._at = b"", 0
        self._ahead: Asking | None = None
        entry = place.entry
        self.kind = str(entry.kind)
        self.mode, self.size, self.links, self.times = 0o555, 0, 1, _NO_TIMES
        if entry.problem is None:
            stat = entry.stat()
            self.size = stat.size or 0 if stat.kind is Kind.FILE else 0
            self.mode = 0o555 if stat.mode is None else stat.mode
            self.links = stat.links or 1
            modified = stat.modified or 0
            accessed = modified if stat.accessed is None else stat.accessed
            self.times = modified, accessed, modified if stat.changed is None else stat.changed
        if entry.kind is Kind.LINK:
            with suppress(OSError):
                self._data = target_bytes(entry.target())
            self.size = len(self._data)
            if links == "text":
                self.kind = "file"

    def children(self) -> Mapping[str, Shown]:
        """As Shown's."""
        return _named(
            (child.name, ShownPlace(self._files, child, self._links))
            for child in self._files.children(self._place)
        )

    def read(self, offset: int, size: int) -> bytes:
        """As Shown's."""
        if self._place.entry.kind is Kind.LINK:
            return self._data[offset : offset + size]
        if self._place.entry.kind is not Kind.FILE:
            raise OSError(errno.EIO, "it cannot be read")
        found = []
        while size > 0:
            if not self._at <= offset < self._at + len(self._data):
                self._fetch(offset)
            piece = self._data[offset - self._at : offset - self._at + size]
            if not piece:
                break
            found.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        if offset >= self.size:
            self._data, self._ahead = b"", None
        return found[0] if len(found) == 1 else b"".join(found)

    def _fetch(self, offset: int) -> None:
        """Take the data from an offset on; where it is read in order, the next piece is asked for already."""
        follows = offset == self._at + len(self._data)
        start = offset // PIECE * PIECE
        asked = self._ahead if follows and self._ahead is not None and start == offset else None
        entry = self._place.entry
        asked = asked or entry.files.begin(entry, "read", offset=start, length=PIECE, stream=None)
        self._ahead = None
        self._at, self._data = start, asked.result().data
        if len(self._data) == PIECE and start + PIECE < self.size:
            self._ahead = entry.files.begin(entry, "read", offset=start + PIECE, length=PIECE, stream=None)

    def target(self) -> str:
        """As Shown's."""
        return self._place.entry.target()


class ShownVolumes:
    """The folder of all volumes, each under its index."""

    kind, size, mode, links, times = "folder", 0, 0o555, 1, _NO_TIMES

    def __init__(self, files: Files, links: str) -> None:
        self._files, self._how = files, links

    def children(self) -> Mapping[str, Shown]:
        """As Shown's."""
        return _named(self._volumes())

    def _volumes(self) -> Iterator[tuple[str, Shown]]:
        for volume in self._files.volumes():
            with suppress(CannotRead, SourceError, OSError):  # whoever mounted was told
                yield volume.index, ShownPlace(self._files, self._files.root(volume), self._how)

    def read(self, offset: int, size: int) -> bytes:  # noqa: ARG002
        """Not a file."""
        raise OSError(errno.EISDIR, "a folder")

    def target(self) -> str:
        """Not a link."""
        raise OSError(errno.EINVAL, "a folder")


def _named(children: Iterator[tuple[str, Shown]]) -> dict[str, Shown]:
    """By names that a folder here can have, each once."""
    found: dict[str, Shown] = {}
    for name, each in children:
        wanted = made = safe_name(name)
        number = 2
        while made in found:
            made = f"{wanted[:200]}~{number}"
            number += 1
        found[made] = each
    return found
