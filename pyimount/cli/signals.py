"""Signals that end a command: what stands is taken down first, as after Enter."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_SIGNAL = 128
"""Added to a signal's number, this is the exit status of what it ended, as shells have it."""

_ENDING = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGTERM") if hasattr(signal, name))


class Ended(BaseException):
    """A signal that ends this process has come. ``number``: which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def raising(*, wanted: bool = True) -> Iterator[None]:
    """Have SIGHUP and SIGTERM raise Ended within the block; a second is not heard any more.

    One that is ignored already (nohup) stays so.
    """
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ended(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise Ended(number)

    before = {each: signal.getsignal(each) for each in _ENDING}
    before = {each: was for each, was in before.items() if was != signal.SIG_IGN}
    for each in before:
        signal.signal(each, ended)
    try:
        yield
    finally:
        for each, was in before.items():
            signal.signal(each, was)
