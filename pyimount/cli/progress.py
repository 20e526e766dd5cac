"""How far a long run over bytes is: a bar, the bytes, their rate and the time left, on a terminal alone."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyimount.wording import printable

Progress = Callable[[int, int], None]
"""Told how far it is: bytes, of bytes."""

_NAME_CAP = 24


@contextmanager
def shown(name: str) -> Iterator[Progress | None]:
    """What shows it on standard error; None where that is no terminal. ``name``: of what."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=None),
        progress.DownloadColumn(binary_units=True),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    called = printable(name)
    if len(called) > _NAME_CAP:
        # Of a long name both ends tell: numbered segments differ in the last letters.
        called = f"{called[: _NAME_CAP // 2]}…{called[1 - _NAME_CAP // 2 :]}"
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(called, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
