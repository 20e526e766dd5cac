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
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

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
"""How a run ends that had fewer acts than this one's number: with other loop devices than before, say."""

Fault = Callable[[], None]


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
        number: int,
        told: int | None,
    ) -> None:
        self._counted = counted
        self._before, self._after, self._number, self._told = before, after, number, told
        self.count = 0
        self._process = os.getpid()
        for owner, names in OWNERS:
            for name in names:
                if hasattr(owner, name):
                    setattr(owner, name, self._wrapped(name, getattr(owner, name)))

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(real, updated=())
        def act(*arguments: Any, **options: Any) -> Any:
            caller = str(sys._getframe(1).f_globals.get("__name__"))
            if not caller.startswith(self._counted) or os.getpid() != self._process:
                return real(*arguments, **options)
            self.count += 1
            hit = self.count == self._number
            if self._told is not None:
                write(self._told, f"{caller}: {name}\n".encode())
            if hit and self._before is not None:
                self._before()
            try:
                return real(*arguments, **options)
            finally:
                if hit and self._after is not None:
                    self._after()

        return act


write = os.write


def recorded(run: Callable[[], object], told: Path, counted: tuple[str, ...] = _COUNTED) -> list[str]:
    """The acts of a run, each with the module that asked for it; ``counted``: how these' names begin."""
    descriptor = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def watched() -> None:
        _Acts(counted, before=None, after=None, number=0, told=descriptor)
        run()

    try:
        assert in_a_child(watched) == 0
    finally:
        os.close(descriptor)
    return told.read_text().splitlines()


def with_fault(
    run: Callable[[], object],
    number: int,
    *,
    before: Fault | None = None,
    after: Fault | None = None,
    counted: tuple[str, ...] = _COUNTED,
) -> int:
    """Run in a child where act ``number``, from 1, has this fault; how it ended, as ``in_a_child`` tells."""

    def faulty() -> None:
        acts = _Acts(counted, before=before, after=after, number=number, told=None)
        run()
        if acts.count < number:
            os._exit(NOT_REACHED)

    return in_a_child(faulty)


def first_and_last(acts: Sequence[str]) -> list[int]:
    """The numbers of the first and the last of each kind of act."""
    numbered = [*enumerate(acts, 1)]
    first = {act: number for number, act in reversed(numbered)}
    last = {act: number for number, act in numbered}
    return sorted({*first.values(), *last.values()})


def faults() -> Iterator[tuple[str, dict[str, Fault]]]:
    """Each kind of fault, by its name, as ``with_fault`` takes it."""
    yield "fails", {"before": fail}
    yield "fails when it is done", {"after": fail}
    yield "is the last", {"after": die}
