"""What can go wrong on the machine: values for a person to read, never a traceback."""

from pyimount.exceptions import StepFailed

__all__ = [
    "Held",
    "LedgerError",
    "Misleading",
    "NoSession",
    "Refused",
    "StepFailed",
    "Taken",
    "ToolFailed",
    "ToolMissing",
    "WrongKey",
]


class ToolMissing(StepFailed):
    """A program that a step needs is not installed."""


class ToolFailed(StepFailed):
    """A program ended with an error, or not in time. ``status``: what it ended with; None: it did not end."""

    def __init__(self, message: str, status: int | None = None, remedy: str | None = None) -> None:
        super().__init__(message, remedy)
        self.status = status


class Refused(StepFailed):
    """A step asks for what is never done: a path through a link, an option that is none."""


class Misleading(Refused):
    """A step that no plan of ours has, and that can only be meant to mislead."""


class Taken(StepFailed):
    """Another process has just taken the name that a step was about to give; the next may be free."""


class WrongKey(StepFailed):
    """None of the keys opens an encrypted volume."""


class Held(Exception):  # noqa: N818
    """What a step made cannot be taken back yet; the message says what holds it."""


class LedgerError(Exception):
    """A session's ledger cannot be read or written, or another process works on it."""


class NoSession(LedgerError):  # noqa: N818
    """There is no ledger of this session: nothing of it stands."""
