"""Whether a process that is waited for still does something: what hangs is to end, what is slow is not.

Nothing here goes by how long a thing takes. A process is at rest when each of its threads, and of the
processes that it started, sleeps of its own will, in a system call that waits for somebody else, and took no
processor time since it was looked at before. One that reads from something slow, is swapped out, or gets no
processor because others have it, is not. See proc_pid_syscall(5) and proc_pid_schedstat(5).
"""

import os
import platform
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event, Thread

# What waits for somebody else: recvfrom, recvmsg, poll, ppoll, select, pselect6, epoll_wait, epoll_pwait,
# pause, nanosleep, clock_nanosleep, futex, rt_sigtimedwait, wait4, waitid.
_WAITING: Mapping[str, tuple[int, ...]] = {
    "x86_64": (45, 47, 7, 271, 23, 270, 232, 281, 34, 35, 230, 202, 128, 61, 247),
    "aarch64": (207, 212, 73, 72, 22, 101, 115, 98, 137, 260, 95),
}
_EVERY = 2.0
_LOOKS = 4
"""So often it is seen at rest, every so many seconds, before it is ended."""


def time_at_rest(process: int) -> int | None:
    """The processor time, in nanoseconds, that a process at rest and all below it have had; None: at work.

    None as well where that cannot be told.
    """
    waiting = {str(number) for number in _WAITING.get(platform.machine(), ())}
    total = 0
    try:
        for each in (process, *_below(process)):
            for thread in os.listdir(f"/proc/{each}/task"):
                at = f"/proc/{each}/task/{thread}"
                if _read(f"{at}/syscall").partition(" ")[0] not in waiting:
                    return None
                total += int(_read(f"{at}/schedstat").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return total


def _read(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


def _below(process: int) -> list[int]:
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError):  # it has ended
                parents[int(name)] = int(_read(f"/proc/{name}/stat").rpartition(")")[2].split()[1])
    found = [process]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


class Watch:
    """Ends a talk with a process that does not come to an end. ``listening``: it is the other's turn now.

    ``why``: why it was ended, None when it was not.
    """

    def __init__(self, process: int, talk: socket.socket, seconds: float | None) -> None:
        self.listening = False
        self.why: str | None = None
        self._process = process
        self._talk = talk
        self._seconds = seconds
        self._done = Event()

    @contextmanager
    def kept(self) -> Iterator["Watch"]:
        """Watch during a block."""
        thread = Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._done.set()
            thread.join()

    def _run(self) -> None:
        left = self._seconds
        looks, before = 0, None
        while True:
            pause = _EVERY if left is None else min(_EVERY, left)
            if self._done.wait(pause):
                return
            if left is not None:
                left -= pause
                if left <= 0:
                    self._end(f"the scan did not end within {self._seconds:g} s")
                    return
            now = time_at_rest(self._process) if self.listening else None
            looks = looks + 1 if now is not None and now == before else 0
            before = now
            if looks >= _LOOKS:
                self._end("the scan hangs: its process waits for what nobody sends")
                return

    def _end(self, why: str) -> None:
        self.why = why
        with suppress(OSError):  # it was closed in the same moment
            self._talk.shutdown(socket.SHUT_RDWR)
