"""Everything that pyimount asks of the kernel while it acts: noted down, and made to fail or to be the last.

What is called from modules of pyimount alone counts, not what Python does for itself.
"""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

from pyimount.execution import mount_api, syscalls
from tests.mounting.ground import in_a_child

OWNERS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (os, (
        "open", "mkdir", "rmdir", "unlink", "write", "ftruncate", "fsync", "fchown", "fchmod", "rename",
        "chown", "dup", "stat", "fstat", "listdir", "scandir", "readlink", "pidfd_open",
        "replace", "link", "symlink", "utime", "lseek",
    )),
    (fcntl, ("ioctl", "flock", "fcntl")),
    (signal, ("pidfd_send_signal",)),
    (socket, ("socketpair",)),
    (socket.socket, ("sendmsg", "recvmsg", "sendall", "recv")),
    (subprocess, ("Popen",)),
    (syscalls, ("mount", "umount", "openat2", "clone_mount", "restrict_mount", "place_mount")),
    (mount_api, (
        "fsopen", "fsconfig", "create_within", "fsmount", "move_mount", "open_tree", "mount_setattr",
    )),
)  # fmt: skip
"""What acts, or looks at what an act would find."""

# Not ``confinement.users``: what it finds in /run is that of every process of the machine.
_COUNTED = ("pyimount.execution.", "pyimount.confinement.messages", "pyimount.confinement.own_modules")

NOT_REACHED = 98
"""How a run ends that never came to this act: with fewer loop devices than before, or less to wait for."""

Fault = Callable[[], None]


class Act(NamedTuple):
    """One act of a run. Not by its number in the whole: what waits asks more often on a busy machine."""

    kind: str
    """The module that asked for it, and for what."""
    line: int
    """Where in the module."""
    nth: int
    """The how manieth there, from 1."""


def fail() -> None:
    """As a broken disk, a full one or a kernel that will not."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def die() -> None:
    """As the kernel's killer, for want of memory, or an impatient administrator."""
    os.kill(os.getpid(), signal.SIGKILL)


class _Acts:
    """Wraps them all in this process, for good: it is a child of the test's."""

    def __init__(
        self,
        counted: tuple[str, ...],
        *,
        before: Fault | None,
        after: Fault | None,
        act: Act | None,
        told: int | None,
    ) -> None:
        self._counted = counted
        self._before, self._after, self._act, self._told = before, after, act, told
        self._seen: Counter[tuple[str, int]] = Counter()
        self.reached = False
        self._process = os.getpid()
        for owner, names in OWNERS:
            for name in names:
                if hasattr(owner, name):
                    setattr(owner, name, self._wrapped(name, getattr(owner, name)))

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(real, updated=())
        def act(*arguments: Any, **options: Any) -> Any:
            frame = sys._getframe(1)
            caller = str(frame.f_globals.get("__name__"))
            if not caller.startswith(self._counted) or os.getpid() != self._process:
                return real(*arguments, **options)
            place = f"{caller}: {name}", frame.f_lineno
            self._seen[place] += 1
            hit = (*place, self._seen[place]) == self._act
            self.reached |= hit
            if self._told is not None:
                write(self._told, f"{place[0]}\t{place[1]}\n".encode())
            if hit and self._before is not None:
                self._before()
            try:
                return real(*arguments, **options)
            finally:
                if hit and self._after is not None:
                    self._after()

        return act


write = os.write


def recorded(run: Callable[[], object], told: Path, counted: tuple[str, ...] = _COUNTED) -> list[Act]:
    """The acts of a run; ``counted``: how the names of the modules begin whose acts they are."""
    descriptor = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def watched() -> None:
        _Acts(counted, before=None, after=None, act=None, told=descriptor)
        run()

    try:
        assert in_a_child(watched) == 0
    finally:
        os.close(descriptor)
    seen: Counter[str] = Counter()
    acts = []
    for place in told.read_text().splitlines():
        seen[place] += 1
        kind, _, line = place.partition("\t")
        acts.append(Act(kind, int(line), seen[place]))
    return acts


def with_fault(
    run: Callable[[], object],
    act: Act,
    *,
    before: Fault | None = None,
    after: Fault | None = None,
    counted: tuple[str, ...] = _COUNTED,
) -> int:
    """Run in a child where an act has this fault; how it ended, as ``in_a_child`` tells."""

    def faulty() -> None:
        acts = _Acts(counted, before=before, after=after, act=act, told=None)
        run()
        if not acts.reached:
            os._exit(NOT_REACHED)

    return in_a_child(faulty)


def first_and_last(acts: Sequence[Act]) -> list[Act]:
    """The first and the last of each kind of act, in their order."""
    first = {act.kind: act for act in reversed(acts)}
    last = {act.kind: act for act in acts}
    chosen = {*first.values(), *last.values()}
    return [act for act in acts if act in chosen]


def faults() -> Iterator[tuple[str, dict[str, Fault]]]:
    """Each kind of fault, by its name, as ``with_fault`` takes it."""
    yield "fails", {"before": fail}
    yield "fails when it is done", {"after": fail}
    yield "is the last", {"after": die}
