"""Copies of files out of a volume into a folder of this machine: whole or not there, and never beside it.

Every name in an image is hostile. Folders are held open, and each name is made within one of them, never
through a link; a name that cannot be is escaped. A file is written under a name of its own, and gets its name
when it is whole: what was interrupted goes on from there.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress

from pyimount.files.paths import target_bytes
from pyimount.files.records import Kind, Run, Stat
from pyimount.files.system import Damaged, Entry
from pyimount.inside.tree import Files, Place
from pyimount.inside.walking import Walk
from pyimount.problems import Code, Problem
from pyimount.records import Record

NAME_CAP = 255
"""Bytes of a name that file systems take."""
PART = ".pyimount-part"
_BLOCK = 1 << 16
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


class Copied(Record, kw_only=True):
    """What became of a file: where from, its name below the target, its hash where one was asked for.

    ``kept``: it was there already, from an earlier copy.
    """

    place: Place
    name: str
    size: int = 0
    hash: str | None = None
    kept: bool = False


class Copying(Record, kw_only=True):
    """How to copy. ``preserve``: modes as they are, without set-uid, and owners where this is root.

    ``resume``: go on where an earlier copy ended. ``hash``: name of a hash, of what was read and of what was
    written, which must be the same. ``links``: ``keep``, ``text`` (a file with the target in it) or ``skip``.
    """

    preserve: bool = False
    resume: bool = False
    hash: str | None = None
    links: str = "keep"
    umask: int = 0o022


class Copier:
    """Copies into ``target``, a folder, which is open as ``folder``.

    ``told``: what a person should know that is no failure; ``problems``: what was not copied, and why.
    """

    def __init__(
        self, files: Files, target: str, how: Copying, progress: Callable[[int], None] | None = None
    ) -> None:
        self._files = files
        self._target = target
        self._how = how
        self._progress = progress
        self.problems: list[tuple[Place, Problem]] = []
        self.told: list[str] = []

    def copy(self, start: Place, name: str) -> Iterator[Copied]:
        """Copy a file, or a folder and all that is in it, under this name; raises OSError for the target."""
        top = os.open(self._target, _FOLDER)
        folders = [_Open(top, "")]
        try:
            walk = Walk(self._files, start)
            for step in walk:
                if step.leaving:
                    self._finish(step.place, folders.pop())
                    continue
                inside = folders[-1]
                wanted = name if step.depth == 0 else step.place.name
                made = inside.free_name(wanted)
                if made != wanted:
                    self.told.append(f"{step.place.whole} is written as {inside.path}{made}")
                try:
                    if step.entered:
                        folders.append(self._enter(inside, made))
                    else:
                        yield from self._one(step.place, inside, made)
                except Damaged as error:
                    self._failed(step.place, error.problem)
                    if step.entered:
                        folders.append(_Open(-1, ""))
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
                        raise
                    what = f"{inside.path}{made}: {(error.strerror or str(error)).lower()}"
                    self._failed(step.place, Problem(Code.UNREADABLE, what))
                    if step.entered:
                        folders.append(_Open(-1, ""))
            self.problems += walk.problems
        finally:
            for folder in folders:
                folder.close()

    def _failed(self, place: Place, problem: Problem) -> None:
        self.problems.append((place, problem))

    def _enter(self, inside: "_Open", name: str) -> "_Open":
        inside.check()
        try:
            os.mkdir(name, 0o700, dir_fd=inside.descriptor)
        except FileExistsError:
            if not self._how.resume and not stat.S_ISDIR(
                os.stat(name, dir_fd=inside.descriptor, follow_symlinks=False).st_mode
            ):
                raise
        descriptor = os.open(name, _FOLDER, dir_fd=inside.descriptor)
        return _Open(descriptor, f"{inside.path}{name}/")

    def _finish(self, place: Place, folder: "_Open") -> None:
        """Give a folder its mode and times, after what is in it."""
        if folder.descriptor >= 0 and folder.path:
            with suppress(Damaged):
                self._dress(place, folder.descriptor, place.entry.stat(), 0o700)
        folder.close()

    def _dress(self, place: Place, descriptor: int, figures: Stat, least: int) -> None:
        how = self._how
        if figures.mode is not None:
            mode = figures.mode & 0o1777 if how.preserve else (figures.mode & 0o777 & ~how.umask) | least
            os.fchmod(descriptor, mode)
        if how.preserve and os.geteuid() == 0 and figures.uid is not None and figures.gid is not None:
            os.fchown(descriptor, figures.uid, figures.gid)
        modified = figures.modified
        if modified is not None:
            accessed = modified if figures.accessed is None else figures.accessed
            try:
                os.utime(descriptor, ns=(accessed, modified))
            except (OSError, OverflowError):
                self.told.append(f"{place.whole}: its time cannot be set here")

    def _one(self, place: Place, inside: "_Open", name: str) -> Iterator[Copied]:
        inside.check()
        entry = place.entry
        if entry.kind is Kind.LINK:
            yield from self._link(place, inside, name)
        elif entry.kind is Kind.FILE:
            yield self._file(place, inside, name)
        elif entry.kind is Kind.FOLDER:
            self._enter(inside, name).close()  # one that is not entered, which the walk has told of
        elif entry.problem is None:
            self.told.append(f"{place.whole} is a {entry.kind}, and is not made here")

    def _link(self, place: Place, inside: "_Open", name: str) -> Iterator[Copied]:
        target = place.entry.target()
        if self._how.links == "skip":
            return
        if self._how.links == "text":
            descriptor = os.open(name, _NEW, 0o600, dir_fd=inside.descriptor)
            with os.fdopen(descriptor, "wb") as file:
                file.write(target_bytes(target) + b"\n")
        else:
            if "\0" in target or not target:
                raise Damaged(Problem(Code.DAMAGED, "it leads nowhere that a link can"), place.path)
            here = os.fsdecode(target_bytes(target))
            if here != target:
                self.told.append(f"{place.whole}: leads where no link here can: it is made as {here}")
            try:
                os.symlink(here, name, dir_fd=inside.descriptor)
            except FileExistsError:
                if not self._how.resume or os.readlink(name, dir_fd=inside.descriptor) != here:
                    raise
            modified = place.entry.stat().modified
            if modified is not None:
                with suppress(OSError, OverflowError):  # not every system has times of links
                    os.utime(name, ns=(modified, modified), dir_fd=inside.descriptor, follow_symlinks=False)
        yield Copied(place=place, name=inside.path + name)

    def _file(self, place: Place, inside: "_Open", name: str) -> Copied:
        figures = place.entry.stat()
        there = self._there(inside, name, figures)
        part = f".{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}{PART}"
        if there:
            with suppress(FileNotFoundError):  # which had its name, and was not yet without its first one
                os.unlink(part, dir_fd=inside.descriptor)
            hashed = self._verified(place, inside, name) if self._how.hash else None
            return Copied(
                place=place, name=inside.path + name, size=figures.size or 0, hash=hashed, kept=True
            )
        descriptor, at = self._part(inside, part)
        made = None if self._how.hash is None else hashlib.new(self._how.hash, usedforsecurity=False)
        with os.fdopen(descriptor, "r+b") as file:
            size = self._write(place.entry, file.fileno(), at, figures)
            os.ftruncate(file.fileno(), size)
            if made is not None:
                for piece in place.entry.pieces():
                    made.update(piece)
                written = _hash_of(file.fileno(), self._how.hash or "")
                if written != made.hexdigest():
                    raise Damaged(
                        Problem(Code.READ_ERROR, "what was written is not what was read"), place.path
                    )
            self._dress(place, file.fileno(), figures, 0o400)
        _rename(inside.descriptor, part, name)
        return Copied(
            place=place, name=inside.path + name, size=size, hash=None if made is None else made.hexdigest()
        )

    def _there(self, inside: "_Open", name: str, figures: Stat) -> bool:
        """Whether an earlier copy of this file is there; raises FileExistsError for anything else."""
        try:
            is_ = os.stat(name, dir_fd=inside.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        same = stat.S_ISREG(is_.st_mode) and is_.st_size == figures.size
        if not self._how.resume or not same:
            why = "is there already" + ("" if self._how.resume else "; --resume goes on with an earlier copy")
            raise FileExistsError(errno.EEXIST, why)
        return True

    def _verified(self, place: Place, inside: "_Open", name: str) -> str:
        kind = self._how.hash or ""
        made = hashlib.new(kind, usedforsecurity=False)
        for piece in place.entry.pieces():
            made.update(piece)
        descriptor = os.open(name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0), dir_fd=inside.descriptor)
        try:
            if _hash_of(descriptor, kind) != made.hexdigest():
                raise Damaged(
                    Problem(Code.READ_ERROR, f"{inside.path}{name} is not the same file"), place.path
                )
        finally:
            os.close(descriptor)
        return made.hexdigest()

    def _part(self, inside: "_Open", part: str) -> tuple[int, int]:
        """The file that is written, open, and how much of it was written before."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(part, flags, 0o600, dir_fd=inside.descriptor)
        at = os.fstat(descriptor).st_size // _BLOCK * _BLOCK if self._how.resume else 0
        # A block that was begun is written anew; where it is a hole now, what was there must not show.
        os.ftruncate(descriptor, at)
        return descriptor, at

    def _write(self, entry: Entry, descriptor: int, at: int, figures: Stat) -> int:
        """Write the data from ``at`` on, holes as holes; the size."""
        size = figures.size or 0
        for start, length in _ranges(entry, figures):
            begin = max(start, at)
            if begin >= start + length:
                continue
            os.lseek(descriptor, begin, os.SEEK_SET)
            position = begin
            for piece in entry.pieces(begin, start + length - begin):
                _write_sparse(descriptor, piece)
                position += len(piece)
                if self._progress is not None:
                    self._progress(len(piece))
            if position < start + length and position < size:
                raise Damaged(Problem(Code.TRUNCATED, f"it ends at {position} of {size} bytes"), entry.path)
        return size


def _ranges(entry: Entry, figures: Stat) -> list[tuple[int, int]]:
    """The runs of a file that hold data. A size is not believed that the volume cannot hold."""
    size = figures.size or 0
    volume = entry.files.volume.size or 0
    if size <= volume and not (figures.allocated is not None and figures.allocated + _BLOCK < size):
        return [(0, size)]
    runs: tuple[Run, ...] | None = entry.runs()
    if runs:
        return [
            (run.at, min(run.size, size - run.at)) for run in runs if run.place is not None and run.at < size
        ]
    if size > max(volume, 1 << 20) * 1024:
        why = f"it claims {size} bytes, in a volume of {volume}; 'pyimount cat --count' reads a part"
        raise Damaged(Problem(Code.DAMAGED, why), entry.path)
    return [(0, size)]


def _write_sparse(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    for at in range(0, len(piece), _BLOCK):
        block = view[at : at + _BLOCK]
        if len(block) == _BLOCK and block == _ZEROS:
            os.lseek(descriptor, _BLOCK, os.SEEK_CUR)
            continue
        while block:
            block = block[os.write(descriptor, block) :]


_ZEROS = bytes(_BLOCK)


def _hash_of(descriptor: int, kind: str) -> str:
    made = hashlib.new(kind, usedforsecurity=False)
    os.lseek(descriptor, 0, os.SEEK_SET)
    while piece := os.read(descriptor, 1 << 20):
        made.update(piece)
    return made.hexdigest()


def _rename(folder: int, part: str, name: str) -> None:
    """Give a file its name, unless something is called so already."""
    try:
        os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # This file system has no hard links.
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        return
    os.unlink(part, dir_fd=folder)


class _Open:
    """A folder of the target: its descriptor, its path below the target, and the names given in it."""

    def __init__(self, descriptor: int, path: str) -> None:
        self.descriptor = descriptor
        self.path = path
        self._given: set[str] = set()

    def check(self) -> None:
        """Raise OSError where the folder could not be made."""
        if self.descriptor < 0:
            raise OSError(errno.ENOENT, "its folder could not be made")

    def free_name(self, name: str) -> str:
        """The name as a file here can have it, and no other of the same folder has."""
        made = wanted = safe_name(name)
        number = 2
        while made in self._given:
            made = f"{wanted[:200]}~{number}"
            number += 1
        self._given.add(made)
        return made

    def close(self) -> None:
        """Close it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def safe_name(name: str) -> str:
    """A name of an image as a file can have it: what cannot be is written as %XX, what is too long is cut."""
    if name in ("", ".", ".."):
        return "%2E" * len(name) or "%"
    made = "".join(_escaped(char) for char in name)
    raw = made.encode("utf-8", "surrogateescape")
    if len(raw) > NAME_CAP:
        whole = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        made = raw[: NAME_CAP - 20].decode("utf-8", "ignore") + "~" + whole
    return made


def _escaped(char: str) -> str:
    if char in "/\0":
        return f"%{ord(char):02X}"
    # A surrogate that stands for no byte: half a character of UTF-16.
    if 0xD800 <= ord(char) <= 0xDFFF and not 0xDC80 <= ord(char) <= 0xDCFF:
        return f"%u{ord(char):04X}"
    return char
