"""A volume's file system, and what is in it, as Python objects.

    with pyimount.open_filesystem(scan, "2") as files:
        for entry in files.root.entries():
            print(entry.path, entry.stat().size)
        text = files.get("/etc/hostname").read()

Paths raise ordinary OSErrors (FileNotFoundError, NotADirectoryError, IsADirectoryError). What is damaged is a
Problem: of the entry, of the folder that could not be read to its end, or of the whole file system.
"""

import errno
import io
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar, cast

from pyimount.confinement.messages import MessageError
from pyimount.files import wire
from pyimount.files.elsewhere import shelf_for
from pyimount.files.libraries import Answered, Asking, CannotRead, Damaged, Libraries, problem_of
from pyimount.files.records import Kind, Run, Stat, Stream
from pyimount.keys import Keyring
from pyimount.layers import Scan, VolumeLayer
from pyimount.problems import Code, Problem
from pyimount.sources.errors import SourceError

if TYPE_CHECKING:
    from types import TracebackType

    from pyimount.sources.shelf import Shelf

_T = TypeVar("_T")
__all__ = ["CannotRead", "Damaged", "Entry", "FileSystem", "open_filesystem"]


def open_filesystem(
    scan: Scan,
    volume: str | VolumeLayer,
    *,
    keys: "Keyring | Mapping[str | int, str] | None" = None,
    in_process: bool = False,
    library: str | None = None,
    shelf: "Shelf | None" = None,
) -> "FileSystem":
    """The files of a volume of ``scan``: by its index, UUID or label, or the layer itself.

    ``keys``: as ``detect`` takes them. ``in_process``: let the library work in this process, not in one that
    may be killed. ``library``: this one alone, as ``FileSystem.libraries`` names it.
    ``shelf``: where the scan's images are, when they are files within another one.
    Raises KeyError where there is no such volume, CannotRead where no library takes it, and SourceError where
    its bytes cannot be had.
    """
    layer = volume if isinstance(volume, VolumeLayer) else _called(scan, volume)
    keyring = keys if isinstance(keys, Keyring) else Keyring(keys)
    return FileSystem(scan, layer, keyring, in_process=in_process, library=library, shelf=shelf)


def _called(scan: Scan, name: str) -> VolumeLayer:
    found = [layer for layer in scan.named(name) if isinstance(layer, VolumeLayer)]
    if len(found) != 1:
        raise KeyError(f"{name}: {len(found) or 'no'} such volume{'s' if found else ''}")
    return found[0]


class FileSystem:
    """The files of one volume. Close it, or use it in a ``with`` block.

    ``volume``: the layer; ``type``: its TYPE; ``problems``: what is wrong with the whole, in the order in
    which it was found; ``libraries``: those that read it, the one in use first.
    """

    def __init__(
        self,
        scan: Scan,
        volume: VolumeLayer,
        keys: Keyring,
        *,
        in_process: bool,
        library: str | None,
        shelf: "Shelf | None" = None,
    ) -> None:
        self.volume = volume
        self.type = volume.type or ""
        self._own_shelf = shelf_for(scan) if shelf is None else None
        try:
            self._libraries = Libraries(
                scan, volume, keys, in_process=in_process, library=library, shelf=shelf or self._own_shelf
            )
        except (CannotRead, SourceError):
            self._close_shelf()
            raise
        self.folds = self._libraries.folds
        self.problems = self._libraries.problems

    @property
    def libraries(self) -> tuple[str, ...]:
        """The libraries that may read this volume, the one in use first."""
        return self._libraries.names

    @property
    def root(self) -> "Entry":
        """The root folder."""
        return self.get("/")

    def get(self, path: str, *, fold: bool = True) -> "Entry":
        """The entry at a path from the volume's root, its names as they are; links are not followed.

        Where a name is not there exactly, and the format compares names so, it may differ in case or
        composition; ``fold``: False: it may not. Raises OSErrors.
        """
        names = tuple(name for name in path.split("/") if name)
        return self.by_names(names, fold=fold)

    def by_names(self, names: tuple[str, ...], *, fold: bool = True) -> "Entry":
        """As ``get``, by the names that lead there."""
        entry = Entry(self, names, None, None, None)
        said, _, reader = self.ask(entry, "find", fold=fold)
        found = (*names[:-1], _sense(entry.path, wire.text, said.get("name"))) if names else ()
        stat = _sense(entry.path, wire.stat_of, said.get("stat"))
        return Entry(self, found, (reader, said.get("key")), stat, None)

    def ask(self, entry: "Entry", do: str, **more: Any) -> Answered:
        """The answer to a question about an entry, by the first library that has one. Raises OSErrors."""
        return self.begin(entry, do, **more).result()

    def begin(self, entry: "Entry", do: str, **more: Any) -> Asking:
        """Ask the first library; ``result`` waits for the answer, and asks the others where it fails."""
        return self._libraries.begin(entry.path, entry.key, {"do": do, "names": entry.names, **more})

    def close(self) -> None:
        """End the readers."""
        self._libraries.close()
        self._close_shelf()

    def _close_shelf(self) -> None:
        if self._own_shelf is not None:
            self._own_shelf.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        self.close()


class Entry:
    """Something in a file system: a file, a folder, a link, a device.

    ``names``: those that lead to it from the root. ``problem``: why it cannot be looked at, where that is so;
    ``name`` then may be all that is known.
    """

    __slots__ = ("_stat", "files", "key", "names", "problem", "problems")

    def __init__(
        self,
        files: FileSystem,
        names: tuple[str, ...],
        key: tuple[str, Any] | None,
        stat: Stat | None,
        problem: Problem | None,
    ) -> None:
        self.files = files
        self.names = names
        self.key = key if key is None or key[1] is not None else None
        self._stat = stat
        self.problem = problem
        self.problems: tuple[Problem, ...] = () if problem is None else (problem,)

    @property
    def name(self) -> str:
        """Its name in its folder; empty for the root. Bytes that are no UTF-8 are surrogates in it."""
        return self.names[-1] if self.names else ""

    @property
    def path(self) -> str:
        """The names that lead to it from the root, each after a slash."""
        return "/" + "/".join(self.names)

    @property
    def kind(self) -> Kind:
        """What it is; unknown where it cannot be read."""
        return Kind.UNKNOWN if self._stat is None else self._stat.kind

    def stat(self) -> Stat:
        """Its figures; raises Damaged where they cannot be read."""
        if self._stat is None:
            if self.problem is not None:
                raise Damaged(self.problem, self.path)
            self._stat = self.files.by_names(self.names).stat()
        return self._stat

    def entries(self) -> "Iterator[Entry]":
        """What lies in a folder, in the order of the format.

        Where a folder cannot be read to its end, what was read has been given, and ``problems`` says it.
        Raises NotADirectoryError.
        """
        if self._stat is not None and self.kind is not Kind.FOLDER:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self.path)
        count, more, by = 0, -1, None
        while True:
            try:
                said, _, library = self.files.ask(self, "list", skip=count, more=more)
                if by not in (None, library):
                    raise Damaged(Problem(Code.DAMAGED, "the rest of the folder cannot be read"), self.path)
            except Damaged as error:
                if not count:
                    raise
                self.problems += (error.problem,)
                return
            by = library
            lines = said.get("entries")
            if not isinstance(lines, list):
                self.problems += (_nonsense("no entries"),)
                return
            for line in lines:
                try:
                    entry = self._entry(line, library)
                except (MessageError, ValueError, TypeError) as error:
                    self.problems += (_nonsense(error),)
                    continue
                if entry is not None:
                    yield entry
            count += len(lines)
            next_ = said.get("more")
            if not isinstance(next_, int) or not lines:
                self.problems += _problems(said.get("problems"))
                return
            more = next_

    def _entry(self, line: Any, library: str) -> "Entry | None":
        name, key, stat, problem = line
        if name is None:
            self.problems += (problem_of(*(problem or (None, ""))),)
            return None
        names = (*self.names, wire.text(name))
        if stat is None:
            return Entry(self.files, names, None, None, problem_of(*(problem or (None, ""))))
        return Entry(self.files, names, (library, key), wire.stat_of(stat), None)

    def length(self, stream: str | None = None) -> int:
        """Bytes of its data, or of one of its streams, that can be asked for. Raises OSErrors."""
        said, _, _ = self.files.ask(self, "size", stream=stream)
        size = said.get("size")
        if not isinstance(size, int) or size < 0:
            raise Damaged(Problem(Code.DAMAGED, "its size is none"), self.path)
        return size

    def open(self, stream: str | None = None) -> BinaryIO:
        """Its data, or that of one of its streams, as a seekable binary file object. Raises OSErrors."""
        return cast("BinaryIO", io.BufferedReader(_File(self, stream, self.length(stream)), 1 << 20))

    def pieces(self, offset: int = 0, length: int = 1 << 63, stream: str | None = None) -> Iterator[bytes]:
        """Its data from ``offset`` on, in pieces; raises Damaged where it cannot be read on."""
        asked = self.files.begin(self, "read", offset=offset, length=min(length, wire.PIECE), stream=stream)
        while True:
            wanted = min(length, wire.PIECE)
            data = asked.result().data
            offset, length = offset + len(data), length - len(data)
            if len(data) == wanted and length:
                # The library reads on while these are worked with.
                asked = self.files.begin(
                    self, "read", offset=offset, length=min(length, wire.PIECE), stream=stream
                )
            if data:
                yield data
            if len(data) < wanted or not length:
                return

    def read(self, stream: str | None = None) -> bytes:
        """All of its data."""
        return b"".join(self.pieces(stream=stream))

    def target(self) -> str:
        """Where a link leads: what stands there, never followed."""
        said, _, _ = self.files.ask(self, "target")
        return _sense(self.path, wire.text, said.get("target"))

    def streams(self) -> tuple[Stream, ...]:
        """Alternate data streams, resource forks and extended attributes."""
        said, _, _ = self.files.ask(self, "streams")
        return _sense(self.path, wire.streams_of, said.get("streams"))

    def attributes(self) -> dict[str, bytes]:
        """The extended attributes, with their values."""
        return {each.name: self.read(each.name) for each in self.streams() if each.kind == "attribute"}

    def runs(self) -> tuple[Run, ...] | None:
        """Where its data lies in the volume; None: the library does not tell."""
        said, _, _ = self.files.ask(self, "runs")
        return _sense(self.path, wire.runs_of, said.get("runs"))

    def __repr__(self) -> str:
        return f"<{self.kind} {self.path!r}>"


def _sense(path: str, read: Callable[[object], _T], value: object) -> _T:
    """What a reader's answer says; a reader that hostile bytes have taken over may say anything."""
    try:
        return read(value)
    except MessageError as error:
        raise Damaged(_nonsense(error), path) from error


def _nonsense(error: object) -> Problem:
    return Problem(Code.DAMAGED, f"the reader's answer makes no sense: {error}")


def _problems(said: object) -> tuple[Problem, ...]:
    if not isinstance(said, list):
        return (_nonsense("no problems"),)
    return tuple(
        problem_of(*each) if isinstance(each, list) and len(each) == 2 else _nonsense(each) for each in said
    )


class _File(io.RawIOBase):
    """A file's data, asked for piece by piece."""

    def __init__(self, entry: Entry, stream: str | None, size: int) -> None:
        super().__init__()
        self._entry, self._stream, self._size, self._at = entry, stream, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = b"".join(self._entry.pieces(self._at, len(buffer), self._stream))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
