"""The workers of a process, one for each thread that asks: kept, watched, replaced when they die or hang."""

import json
import os
import select
import signal
import subprocess
import threading
from collections.abc import Mapping
from typing import IO, Any, NamedTuple, cast
from weakref import WeakSet

from pyimount.confinement.own_modules import command
from pyimount.confinement.worker import ANSWER, GROWN, LACKED, LENGTH, OUT_OF_MEMORY
from pyimount.exceptions import StepFailed
from pyimount.problems import Code
from pyimount.records import Record

_LOOK_EVERY = 500
"""Milliseconds between two looks at a worker that does not answer."""

_PIECE = 1 << 20


class Limits(Record, kw_only=True):
    """What scanning one image may take of the machine, beside its Budget: backstops for what should not be.

    ``memory``: bytes that its process may map. ``processor_seconds``: seconds of processor time.
    ``still_seconds``: seconds on the clock without it having used the processor at all: it hangs. The last
    two hold where the system tells (Linux).
    """

    memory: int = 8 << 30
    processor_seconds: float = 1800.0
    still_seconds: float = 300.0


class Answer(NamedTuple):
    """What became of an image: the exit status and its line; or, without a line, why there is none.

    ``lacked``: there was not enough memory for all of it. Plain values, for whatever carries them.
    """

    status: int
    line: str | None
    lacked: bool = False
    code: str = ""
    message: str = ""


class _Ended(StepFailed):
    """A worker ended without an answer."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class Worker:
    """One process that scans images, one after the other."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.owner = os.getpid()
        # ^C is for us, who end it.
        self._process = subprocess.Popen(  # noqa: S603
            command("pyimount.confinement.worker", str(limits.memory), str(self.owner)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            start_new_session=True,
        )  # fmt: skip

    @property
    def number(self) -> int:
        """The number of its process."""
        return self._process.pid

    def ask(self, question: bytes) -> tuple[Answer, bool]:
        """Its answer, and whether it should be replaced. Raises _Ended."""
        asked, answers = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        watch = _Watch(self._process.pid, self.limits)
        try:
            asked.write(LENGTH.pack(len(question)) + question)
            status, flags, length = ANSWER.unpack(self._exactly(answers, ANSWER.size, watch))
            line = self._exactly(answers, length, watch).decode()
            return Answer(status, line, lacked=bool(flags & LACKED)), bool(flags & (LACKED | GROWN))
        except BrokenPipeError:
            raise self._why() from None

    def _exactly(self, answers: IO[bytes], length: int, watch: "_Watch") -> bytes:
        pieces = []
        while length:
            watch.wait(answers.fileno())
            piece = answers.read(min(length, _PIECE))
            if not piece:
                raise self._why()
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def _why(self) -> _Ended:
        """What became of a worker that has closed its end."""
        ended = self._process.wait()
        if ended == OUT_OF_MEMORY:
            return _Ended(
                Code.OUT_OF_MEMORY,
                f"there was not enough memory to look into this image: {self.limits.memory} bytes may be had",
            )
        if ended == -signal.SIGKILL:
            why = "was killed (SIGKILL), by somebody, or by the system for want of memory"
        elif ended < 0:
            why = f"was ended by signal {-ended} ({signal.strsignal(-ended)})"
        else:
            why = f"ended with {ended}"
        return _Ended(Code.CRASHED, f"the process that looked into this image {why}")

    def stop(self) -> None:
        """Kill it; who waits for its answer, in another thread, learns that there is none."""
        self._process.kill()

    def end(self) -> None:
        """End it, whatever it does."""
        self.stop()
        self._process.wait()
        for end in (self._process.stdin, self._process.stdout):
            if end is not None:
                end.close()

    def __del__(self) -> None:
        # In a copy of the process that started it, it is somebody else's.
        if hasattr(self, "_process") and self.owner == os.getpid():
            self.end()


class _Watch:
    """Waits for a worker's answer, and for no longer than its limits allow."""

    def __init__(self, process: int, limits: Limits) -> None:
        self._process = process
        self._limits = limits
        self._poll = select.poll() if hasattr(select, "poll") else None
        self._began: float | None = None
        self._seen = ""
        self._still = 0

    def wait(self, descriptor: int) -> None:
        """Return when there is something to read. Raises _Ended when a limit is passed first."""
        if self._poll is None:
            return
        self._poll.register(descriptor, select.POLLIN)
        if self._began is None:
            self._began = _processor_time(self._process)
        while not self._poll.poll(_LOOK_EVERY):
            self._look()

    def _look(self) -> None:
        limits = self._limits
        used = _processor_time(self._process)
        if used is not None and self._began is not None and used - self._began > limits.processor_seconds:
            raise _Ended(
                Code.BUDGET,
                f"{limits.processor_seconds:g} seconds of processor time spent, all that one image may take",
            )
        seen = _sign_of_life(self._process)
        self._still = self._still + 1 if seen and seen == self._seen else 0
        self._seen = seen
        if self._still * _LOOK_EVERY / 1000 > limits.still_seconds:
            raise _Ended(
                Code.CRASHED,
                f"the process that looked into this image hung: it did nothing for {limits.still_seconds:g} "
                "seconds",
            )


def _processor_time(process: int) -> float | None:
    """Seconds of processor time that a process has used; None where the system does not tell."""
    try:
        with open(f"/proc/{process}/stat", "rb") as stat:
            # The name, in brackets, may have anything in it.
            values = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def _sign_of_life(process: int) -> str:
    """What changes while a process runs; nothing where the system does not tell."""
    try:
        with open(f"/proc/{process}/schedstat") as schedstat:
            return schedstat.read()
    except OSError:
        return ""


class Crew:
    """Workers with the same limits, one for each thread that asks."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._own = threading.local()
        self._lock = threading.Lock()
        self._workers: WeakSet[Worker] = WeakSet()
        # A thread's own is kept by the thread, and ends with it.
        self._ended = False

    def scan(self, request: Mapping[str, Any]) -> Answer:
        """Have an image scanned by this thread's worker. ``request``: as ``worker`` takes it."""
        question = json.dumps(request).encode()
        worker = self._worker()
        if worker is None:
            return Answer(1, None, code=Code.CRASHED, message="the scan was stopped")
        try:
            answer, grown = worker.ask(question)
        except _Ended as ended:
            self._dismiss(worker)
            return Answer(1, None, code=ended.code, message=str(ended))
        if grown:
            self._dismiss(worker)
        return answer

    def _worker(self) -> Worker | None:
        worker: Worker | None = getattr(self._own, "worker", None)
        if worker is not None and worker.owner == os.getpid():
            return worker
        with self._lock:
            if self._ended:
                return None
            self._own.worker = worker = Worker(self._limits)
            self._workers.add(worker)
        return worker

    def _dismiss(self, worker: Worker) -> None:
        self._own.worker = None
        with self._lock:
            self._workers.discard(worker)
        worker.end()

    def end(self) -> None:
        """End every worker, also those that scan; their threads get failures for answers."""
        with self._lock:
            self._ended = True
            for worker in self._workers:
                worker.stop()


_CREWS: dict[Limits, Crew] = {}
_CREWS_LOCK = threading.Lock()


def scan_here(request: Mapping[str, Any], limits: Limits) -> Answer:
    """Have an image scanned by a worker of this process: the task for any executor."""
    with _CREWS_LOCK:
        crew = _CREWS.setdefault(limits, Crew(limits))
    return crew.scan(request)
