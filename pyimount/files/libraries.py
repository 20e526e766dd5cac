"""The libraries that read the files of one volume: which there are, and what they are asked.

The first that takes the volume is asked; where it fails or dies, the others are. Each works in a process of
its own, unless the caller wants it otherwise.
"""

import errno
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from pyimount.confinement.messages import MessageError
from pyimount.files import process
from pyimount.files.reading import Refused
from pyimount.files.session import MISSING, NO_FOLDER
from pyimount.formats import FileReader
from pyimount.keys import Keyring
from pyimount.layers import Scan, VolumeLayer
from pyimount.planning.recipes import format_of
from pyimount.problems import Code, Problem

if TYPE_CHECKING:
    from pyimount.sources.shelf import Shelf

DEATHS = 64
"""A library whose reader died so often is not asked again."""
HINT = "pip install 'pyimount[files]'"


class CannotRead(Exception):  # noqa: N818
    """No library here reads the files of a volume; the message says why, and what to do."""


class Damaged(OSError):  # noqa: N818
    """A file or folder cannot be read: ``problem`` says why. An OSError, EIO, for those who expect one."""

    def __init__(self, problem: Problem, path: str) -> None:
        super().__init__(errno.EIO, problem.message, path)
        self.problem = problem


Key: TypeAlias = tuple[str, Any]
"""A library, and by what it finds again something that it has found before."""


def readers_of(volume: VolumeLayer) -> tuple[FileReader, ...]:
    """The libraries that read the files of a volume, installed or not, the preferred first."""
    declared = format_of(volume.type)
    version = (volume.version or "").partition(".")[0]
    return tuple(
        each
        for each in (() if declared is None else declared.files)
        if (not each.types or volume.type in each.types) and (not each.versions or version in each.versions)
    )


def _installed(reader: FileReader) -> bool:
    try:
        return find_spec(reader.library) is not None
    except ModuleNotFoundError:
        return False


class Libraries:
    """The libraries that read one volume, started as they are needed.

    ``shelf``: where the scan's images are, when they are files within another one.
    ``problems``: what is wrong with the whole, in the order in which it was found; ``folds``: how the volume
    compares names. Raises CannotRead where none takes it.
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
        self._scan = scan
        self._shelf = shelf
        self._volume = volume
        self._keys = keys
        self._in_process = in_process
        self._deaths: dict[str, int] = {}
        self._running: dict[str, process.Asked] = {}
        self.problems: list[Problem] = []
        self._readers = self._choose(library)
        self.folds = "exact"
        self._first()

    def _choose(self, library: str | None) -> list[FileReader]:
        index = f"volume {self._volume.index}"
        declared = [each for each in readers_of(self._volume) if library in (None, each.library)]
        if self._volume.locked:
            raise CannotRead(f"{index} is locked: give its key with --key")
        if not declared:
            what = self._volume.type or "what is not recognised"
            raise CannotRead(f"{index}: no library reads the files of {what}; 'pyimount mount' may, as root")
        found = [each for each in declared if _installed(each)]
        if not found:
            names = " or ".join(dict.fromkeys(each.package for each in declared))
            raise CannotRead(f"{index}: the files of {self._volume.type} are read by {names}: {HINT}")
        return found

    def _first(self) -> None:
        """Start a reader: the first that takes the volume."""
        refused = []
        for reader in list(self._readers):
            try:
                self.folds = self._start(reader).folds
            except Refused as error:
                refused.append(f"{reader.library} does not read it: {error}")
                self._readers.remove(reader)
            else:
                break
        if not self._readers:
            raise CannotRead(f"volume {self._volume.index}: {'; '.join(refused)}")
        for why in refused:
            self._note(Code.DAMAGED, f"{why}; {self._readers[0].library} reads it instead")

    def _start(self, reader: FileReader) -> process.Asked:
        if reader.library not in self._running:
            self._running[reader.library] = self._reader(reader)
        return self._running[reader.library]

    def _reader(self, reader: FileReader) -> process.Asked:
        # Where the system is not Linux, there is nothing to shut a process in with: it is this one then.
        if self._in_process or sys.platform != "linux":
            return process.InProcess(self._scan, self._volume, self._keys, reader, self._shelf)
        from pyimount.files.confined import Confined  # of POSIX alone

        return Confined(self._scan, self._volume, self._keys, reader, self._shelf)

    def _note(self, code: Code, message: str) -> None:
        problem = Problem(code, message)
        if problem not in self.problems:
            self.problems.append(problem)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, that of the one in use first."""
        return tuple(reader.library for reader in self._readers)

    @property
    def readers(self) -> tuple[FileReader, ...]:
        """Those that are asked, the preferred first."""
        return tuple(self._readers)

    def begin(self, path: str, key: Key | None, question: dict[str, Any]) -> "Asking":
        """Ask the first about what is at ``path``; ``result`` waits for the answer, and asks the others."""
        return Asking(self, path, key, question)

    def asked(self, reader: FileReader, key: Key | None, question: dict[str, Any]) -> process.Question:
        """Ask a library; raises Died, Refused."""
        if key is not None and key[0] == reader.library:
            question = {**question, "key": key[1]}
        try:
            return self._start(reader).ask(question)
        except MessageError as error:
            raise process.Died(str(error)) from error

    def taken_over(self, path: str, failed: Problem, reader: FileReader) -> None:
        """Note that another library has read what the first could not."""
        # What a library never reads is said once, and not with each path.
        where = "" if failed.code is Code.UNSUPPORTED else f"{path}: "
        self._note(failed.code, f"{where}{failed.message}; {reader.library} reads it instead")

    def died(self, reader: FileReader) -> None:
        """Forget a reader that has died."""
        gone = self._running.pop(reader.library, None)
        if gone is not None:
            gone.close()
        self._deaths[reader.library] = self._deaths.get(reader.library, 0) + 1
        if self._deaths[reader.library] >= DEATHS and reader in self._readers:
            self._readers.remove(reader)
            self._note(Code.DAMAGED, f"{reader.library} died {DEATHS} times, and is not asked any more")

    def changed(self) -> Problem | None:
        """The problem that the image is no longer what was opened, whatever a library makes of that."""
        said = self._shelf.changed() if self._shelf is not None else ()
        return Problem(Code.CHANGED, said[0]) if said else None

    def close(self) -> None:
        """End those that run."""
        while self._running:
            self._running.popitem()[1].close()


class Answered(NamedTuple):
    """An answer, its data, and the library that gave it."""

    said: dict[str, Any]
    data: bytes
    library: str


class Asking:
    """A question about what is at ``path``, which the first library is asked at once."""

    def __init__(self, libraries: Libraries, path: str, key: Key | None, question: dict[str, Any]) -> None:
        self._libraries = libraries
        self._path = path
        self._key = key
        self._question = question
        self._pending: process.Question | None = None
        with suppress(process.Died, Refused, ModuleNotFoundError):  # they are asked again
            self._pending = libraries.asked(libraries.readers[0], key, question)

    def result(self) -> Answered:
        """The first answer that is none of failure. Raises OSErrors."""
        failed: Problem | None = None
        for reader in self._libraries.readers:
            try:
                pending = self._pending or self._libraries.asked(reader, self._key, self._question)
                self._pending = None
                said, data = pending.result()
            except process.Died as error:
                self._pending = None
                self._libraries.died(reader)
                failed = failed or Problem(Code.DAMAGED, f"{reader.library}: {error}")
                continue
            except (Refused, ModuleNotFoundError) as error:
                failed = failed or Problem(Code.UNSUPPORTED, f"{reader.library}: {error}")
                continue
            if "error" in said:
                failed = failed or _failed(said, self._path)
                continue
            if failed is not None:
                self._libraries.taken_over(self._path, failed, reader)
            return Answered(said, data, reader.library)
        changed = self._libraries.changed()
        raise Damaged(
            changed or failed or Problem(Code.DAMAGED, "no library is left that reads it"), self._path
        )


def _failed(said: Mapping[str, Any], path: str) -> Problem:
    """What an answer of failure says; raises the OSErrors that are the path's own fault."""
    message = str(said.get("message", ""))
    if said["error"] == MISSING:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if said["error"] == NO_FOLDER:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return problem_of(said["error"], message)


def problem_of(code: object, message: object) -> Problem:
    """A problem from a reader's word for it."""
    try:
        return Problem(Code(str(code)), str(message)[:400])
    except ValueError:
        return Problem(Code.DAMAGED, str(message)[:400])
