"""Taking turns and counting: time, bytes and memory."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

_IO = Path("/proc/self/io")


class Spent(float):
    """The median of several measurements; ``least`` and ``most`` go along through a quotient or product."""

    least: float
    most: float

    @classmethod
    def of(cls, least: float, middle: float, most: float) -> "Spent":
        """The figure whose extremes are these."""
        made = cls(middle)
        made.least, made.most = least, most
        return made

    def __mul__(self, factor: float) -> "Spent":
        return Spent.of(self.least * factor, float(self) * factor, self.most * factor)

    def __rtruediv__(self, amount: float) -> "Spent":
        return Spent.of(amount / self.most, amount / float(self), amount / self.least)


def _processor() -> float:
    """Seconds of processor time of this process, and of those that it has started and ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def in_turn(actions: Sequence[Callable[[], object]], rounds: int) -> list[Spent]:
    """What each action takes of the processor, seconds; all in turn ``rounds`` times after one unmeasured.

    Not what the clock says: on a machine that has other work that tells of the other work.
    """
    for action in actions:
        action()
    spent: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for action, times in zip(actions, spent, strict=True):
            start = _processor()
            action()
            times.append(_processor() - start)
    # The clock of processor time has steps: what is below one took some time all the same.
    return [
        Spent.of(*(max(each, 1e-7) for each in (min(times), median(times), max(times)))) for times in spent
    ]


def bytes_read(action: Callable[[], object]) -> int | None:
    """Bytes that one run of ``action`` reads, as the kernel counts them; None elsewhere than on Linux."""
    if not _IO.exists():
        return None

    def count() -> int:
        return int(_IO.read_text().split("rchar:")[1].split()[0])

    action()
    alone = count()
    own = count() - alone  # what reading the counter itself takes
    before = count()
    action()
    return count() - before - own


def command(arguments: Sequence[str | Path]) -> Callable[[], object]:
    """An action that runs a command to its end, its output thrown away."""

    def run() -> object:
        return subprocess.run(
            list(map(str, arguments)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )

    return run


def peak_memory(arguments: Sequence[str | Path]) -> int:
    """The most memory that a command had at once, bytes."""
    pid = os.posix_spawn(
        str(arguments[0]),
        list(map(str, arguments)),
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, _, usage = os.wait4(pid, 0)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
