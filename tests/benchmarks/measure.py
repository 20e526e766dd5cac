"""Taking turns and counting: time, bytes and memory."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

_IO = Path("/proc/self/io")


def in_turn(actions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The median seconds of each action, all run in turn ``rounds`` times after one run unmeasured."""
    for action in actions:
        action()
    spent: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for action, times in zip(actions, spent, strict=True):
            start = time.perf_counter()
            action()
            times.append(time.perf_counter() - start)
    return [median(times) for times in spent]


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
