"""What a run did that it must not: an exception, a hang, growth.

All are counted so that other processes on the machine do not matter: processor time, and this process's own
peak of memory.
"""

import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from types import FrameType

HANG = 2.0
"""Seconds of processor time; more for one image is a hang."""
ENDED = 20
"""After so many the run is ended."""
GROWTH = 100 << 20
"""Bytes; more for one image is growth."""

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class Hung(BaseException):
    """A run was ended."""


@dataclass
class Seen:
    """What became of one run: ``fault`` is what tells one kind of it from others, None: all is well."""

    fault: str | None
    told: str
    seconds: float
    growth: int


@dataclass
class Tally:
    """What became of many."""

    runs: int = 0
    reads: int = 0
    layers: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    most_growth: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, seen: Seen) -> None:
        """Count a run."""
        self.runs += 1
        self.seconds += seen.seconds
        self.slowest = max(self.slowest, seen.seconds)
        self.most_growth = max(self.most_growth, seen.growth)
        if seen.fault is not None:
            self.faults[seen.fault] += 1


def watched(act: Callable[[], object]) -> Seen:
    """Run ``act`` and tell what it did; only in the main thread, and where Linux's /proc is."""
    fault, told = None, ""
    _CLEAR.write_text("5")  # the peak starts anew
    before = _kib("VmRSS:")
    start = process_time()
    try:
        with _ended_after(ENDED):
            act()
    except Hung:
        fault, told = f"hang: {_place(traceback.format_stack())}", "ended"
    except Exception as error:  # noqa: BLE001  (what is looked for)
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "/tests/" not in frame.filename] or list(frames)
        last = [
            frame for frame in own if "/pyimount/" in frame.filename or "/parsers/" in frame.filename
        ] or own
        where = f"{Path(last[-1].filename).name}:{last[-1].lineno}"
        fault, told = f"{type(error).__name__} at {where}", "".join(traceback.format_exception(error))
    seconds = process_time() - start
    growth = (_kib("VmHWM:") - before) * 1024
    if fault is None and seconds > HANG:
        fault, told = "hang", f"{seconds:.1f} seconds of processor time"
    if fault is None and growth > GROWTH:
        fault, told = "growth", f"{growth >> 20} MiB more than before"
    return Seen(fault, told, seconds, growth)


def _place(stack: list[str]) -> str:
    return stack[-1].strip().splitlines()[0]


def _kib(name: str) -> int:
    status = _STATUS.read_text()
    return int(status[status.index(name) + len(name) :].split(None, 1)[0])


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        raise Hung

    previous = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
