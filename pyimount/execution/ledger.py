"""What a session means to do, does and takes back, written down before and after each act.

One file a session, of JSON lines, only ever appended to, locked while a process works on the session.
Each line is on the disk before what follows it is done, so that after a crash it tells all that may stand.
Keys are never in it.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeAlias

from pyimount.execution import folders
from pyimount.execution.errors import LedgerError, NoSession, StepFailed
from pyimount.planning.steps import Names, Step, step_from_dict
from pyimount.records import EMPTY, Record

USERS_BASE = "/run/pyimount-users"
"""Where the sessions are that root made for users: these can pass through, and list nothing there."""

BASE = "/run/pyimount"
"""Where the ledgers of root are, and each session's folder."""

VERSION = 1
_SESSION = re.compile(r"[0-9a-f]{8}")
_SUFFIX = ".jsonl"
_PAUSE = 0.05
_TRIES = 10
_USERS_CAP = 8 << 20
"""Bytes that the ledger of a user's session may take."""
_SOON = 10.0
"""Seconds that who only looks may have a ledger locked."""


FileId: TypeAlias = tuple[int, int, int] | None
"""Device, inode, and the number of a block device or 0."""


class Made(Record):
    """What a step made: the device or path that it yields, and what tells it from everything else."""

    place: str | None = None
    identity: Mapping[str, Any] = EMPTY


class Entry(Record, kw_only=True):
    """A step as the ledger has it.

    ``before``: what was found before it ran, for taking it back. ``made``: None when it is not known to have
    ended well. ``failed``: why it failed. ``undone``: it has been taken back.
    """

    step: Step
    before: Mapping[str, Any] = EMPTY
    made: Made | None = None
    failed: str | None = None
    undone: bool = False


class Header(Record, kw_only=True):
    """What session it is: the paths of its images, the process that began it, when, and for which user.

    ``files``: what lay at these paths then (``wanted.identity``). ``time``: seconds since 1970.
    """

    session: str
    images: tuple[str, ...]
    files: tuple[FileId, ...] = ()
    pid: int
    boot: str
    time: float
    owner: int


class Story(Record, kw_only=True):
    """What a ledger tells: its entries in the order of their beginning. No header: it was never begun."""

    header: Header | None = None
    entries: tuple[Entry, ...] = ()

    def standing(self) -> list[Entry]:
        """The entries that have not been taken back."""
        return [entry for entry in self.entries if not entry.undone]

    def names(self, session: str) -> Names:
        """What the places of its steps stand for."""
        made = {entry.step.id: entry.made.place for entry in self.entries if entry.made is not None}
        return Names(session, {number: place for number, place in made.items() if place is not None})


def boot_id() -> str:
    """What tells this run of the machine from every other."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def path_of(base: str, session: str) -> str:
    """The ledger's path. Raises LedgerError for what is no session's name."""
    if not _SESSION.fullmatch(session):
        raise LedgerError(f"{session!r} is no session")
    return f"{base}/{session}{_SUFFIX}"


def all_sessions(base: str) -> list[str]:
    """The sessions that have a ledger."""
    try:
        names = os.listdir(base)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LedgerError(f"{base}: {error.strerror}") from error
    return sorted(
        name.removesuffix(_SUFFIX) for name in names
        if name.endswith(_SUFFIX) and _SESSION.fullmatch(name.removesuffix(_SUFFIX))
    )  # fmt: skip


def read(base: str, session: str) -> Story:
    """What a session's ledger tells, without a lock: it may be written on. Raises LedgerError."""
    try:
        with open(path_of(base, session), "rb", opener=_careful) as file:
            return _told(file.read(), session)
    except OSError as error:
        kind = NoSession if error.errno == errno.ENOENT else LedgerError
        raise kind(f"there is no session {session}: {error.strerror}") from error


def _careful(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    is_ = os.fstat(descriptor)
    if is_.st_uid != os.geteuid() or is_.st_mode & 0o022 or is_.st_nlink > 1:
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "others may write it", path)
    return descriptor


def _own(base: str, *, passable: bool) -> None:
    """Make the folder of ledgers; raises LedgerError when others than its owner may write there.

    ``passable``: others may pass through it, to folders in it that are theirs.
    """
    try:
        folders.make(base, mode=0o711 if passable else 0o700)
        is_ = os.stat(base, follow_symlinks=False)
    except StepFailed as error:
        raise LedgerError(str(error)) from error
    if is_.st_uid != os.geteuid() or is_.st_mode & 0o022:
        raise LedgerError(f"{base}: others may write there")


def _whole(data: bytes) -> bytes:
    """Without a last line that was cut short."""
    return data[: data.rfind(b"\n") + 1]


def _told(data: bytes, session: str) -> Story:
    header = None
    entries: dict[int, Entry] = {}
    read = 0
    try:
        for line in _whole(data).splitlines():
            read += 1
            said = json.loads(line)
            kind = said["line"]
            if kind == "session":
                if said["version"] != VERSION or said["session"] != session:
                    raise ValueError("it is of another version or session")
                header = Header(
                    session=session, images=tuple(said["images"]),
                    files=tuple(None if file is None else tuple(file) for file in said.get("files", ())),
                    pid=said["pid"], boot=said["boot"], time=said["time"], owner=said["owner"],
                )  # fmt: skip
            elif kind == "intended":
                step = step_from_dict(said["step"])
                entries[step.id] = Entry(step=step, before=said["before"])
            else:
                entries[said["id"]] = _changed(entries[said["id"]], kind, said)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(f"the ledger of session {session} is damaged in line {read}: {error}") from error
    return Story(header=header, entries=tuple(entries.values()))


def _changed(entry: Entry, kind: str, said: Mapping[str, Any]) -> Entry:
    if kind == "done":
        return entry.replaced(made=Made(said["place"], said["identity"]))
    if kind == "failed":
        return entry.replaced(failed=said["reason"])
    if kind == "undone":
        return entry.replaced(undone=True)
    raise ValueError(f"there is no line {kind!r}")


class Ledger:
    """One session's ledger, open and locked."""

    def __init__(self, base: str, session: str, descriptor: int, cap: int | None = None) -> None:
        self.base = base
        self.session = session
        self._cap = cap
        self._path = path_of(base, session)
        self._descriptor = descriptor

    @classmethod
    def create(
        cls,
        base: str,
        session: str,
        images: Sequence[str],
        *,
        files: Sequence[FileId] = (),
        user: int | None = None,
    ) -> Self:
        """Begin a session. Raises LedgerError, also when there is one of this name.

        ``files``: what lies at the paths of the images. ``user``: for whom the helper begins it. The folder
        of ledgers then lets others pass through, to what is theirs, and the ledger does not grow without
        bounds.
        """
        path = path_of(base, session)
        for _ in range(_TRIES):
            try:
                _own(base, passable=user is not None)
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(path, flags, 0o600)
            except FileNotFoundError:
                continue  # Another session, the last, took the folder with it.
            except OSError as error:
                raise LedgerError(f"{path}: {error.strerror}") from error
            ledger = cls(base, session, descriptor, None if user is None else _USERS_CAP)
            try:
                _lock(descriptor, session, _SOON)
                if not _still(path, descriptor):
                    ledger.close()
                    continue  # Taken for what a crash left behind, and removed.
            except OSError as error:
                ledger.close()
                raise LedgerError(f"{path}: {error.strerror}") from error
            try:
                ledger._write(
                    line="session", version=VERSION, session=session, images=list(images), files=list(files),
                    pid=os.getpid(),
                    boot=boot_id(), time=time.time(), owner=os.getuid() if user is None else user,
                )  # fmt: skip
            except LedgerError:
                with ledger:
                    ledger.remove()
                raise
            return ledger
        raise LedgerError(f"{base} goes as soon as it is made")

    @classmethod
    def open(cls, base: str, session: str, *, wait: float = _SOON) -> tuple[Self, Story]:
        """A session's ledger, locked, and what it tells. ``wait``: seconds for who has it locked.

        Raises LedgerError when there is none (any more), it is damaged, or another process works on it.
        """
        path = path_of(base, session)
        try:
            descriptor = _careful(path, os.O_RDWR | os.O_APPEND)
        except OSError as error:
            kind = NoSession if error.errno == errno.ENOENT else LedgerError
            raise kind(f"there is no session {session}: {error.strerror}") from error
        with ExitStack() as failing:
            failing.callback(os.close, descriptor)
            try:
                _lock(descriptor, session, wait)
                if not _still(path, descriptor):
                    raise NoSession(f"there is no session {session}: it has just been taken down")
                data = _read_whole(descriptor)
                story = _told(data, session)
                # What was cut short is cut off, so that the next line stands alone.
                os.ftruncate(descriptor, len(_whole(data)))
            except OSError as error:
                raise LedgerError(f"{path}: {error.strerror}") from error
            failing.pop_all()
        return cls(base, session, descriptor), story

    def _write(self, **said: Any) -> None:
        data = json.dumps(said, ensure_ascii=True).encode("ascii") + b"\n"
        try:
            size = os.fstat(self._descriptor).st_size
        except OSError as error:
            raise LedgerError(f"{self._path}: {error.strerror}") from error
        if self._cap is not None and size + len(data) > self._cap:
            raise LedgerError(f"session {self.session} takes more than {self._cap} bytes to write down")
        try:
            written = os.write(self._descriptor, data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._descriptor)
        except OSError as error:
            # Part of a line would spoil the next.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, size)
            raise LedgerError(f"{self._path} cannot be written: {error.strerror}") from error

    def intended(self, step: Step, before: Mapping[str, Any]) -> None:
        """This step is about to be run."""
        self._write(line="intended", step=step.to_dict(), before=dict(before))

    def done(self, step: Step, made: Made) -> None:
        """It made this."""
        self._write(line="done", id=step.id, place=made.place, identity=dict(made.identity))

    def failed(self, step: Step, reason: str) -> None:
        """It failed, and what it left was taken back as far as could be."""
        self._write(line="failed", id=step.id, reason=reason)

    def undone(self, step: Step) -> None:
        """Nothing of it stands."""
        self._write(line="undone", id=step.id)

    def remove(self) -> None:
        """End the session: nothing of it stands. Its ledger goes, and the folder of ledgers with the last."""
        try:
            os.unlink(self._path)
            os.rmdir(self.base)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ENOENT):
                raise LedgerError(f"{self.base}: {error.strerror}") from error

    def fileno(self) -> int:
        """The descriptor that has the lock."""
        return self._descriptor

    def close(self) -> None:
        """Unlock it; once is enough."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _lock(descriptor: int, session: str, wait: float) -> None:
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise LedgerError(f"another process works on session {session}") from None
            time.sleep(_PAUSE)
        else:
            return


def _still(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read_whole(descriptor: int) -> bytes:
    made = b""
    while block := os.pread(descriptor, 1 << 20, len(made)):
        made += block
    return made
