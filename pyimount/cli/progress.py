"""How far a long run over bytes is: a bar, the bytes, their rate and the time left, on a terminal alone."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyimount.wording import printable, size_text

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
    from rich.text import Text

    class Rate(progress.ProgressColumn):
        """In the units of the sizes beside it: rich's own is in others."""

        def render(self, task: progress.Task) -> Text:
            return Text(f"{size_text(int(task.speed))}/s" if task.speed else "")

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=None),
        progress.DownloadColumn(binary_units=True),
        Rate(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("left"),
    )
    called = printable(name)
    if len(called) > _NAME_CAP:
        # Of a long name both ends tell: numbered segments differ in the last letters.
        called = f"{called[: _NAME_CAP // 2]}…{called[1 - _NAME_CAP // 2 :]}"
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(called, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
