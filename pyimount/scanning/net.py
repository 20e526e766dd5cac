"""The last net of a scan: what nobody foresaw becomes a problem of one image, and the scan goes on."""

import errno
from types import TracebackType

from pyimount.problems import Code, Problem
from pyimount.sources.errors import BudgetError, NoFilesLeft, OpenError, ReadError

_OURS = "pyimount"
_NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)


class Net:
    """Holds the promise that a scan never raises for what images hold.

    ``spread``: False for tests, which are to see every fault as it is raised.
    """

    def __init__(self, *, spread: bool = True) -> None:
        self._spread = spread

    def under(self, problems: list[Problem]) -> "_Under":
        """A block in which a fault ends up among ``problems``, after which the scan goes on.

        BudgetError and OpenError are no faults; they are raised.
        """
        return _Under(problems, spread=self._spread)


class _Under:
    """One such block. No ``contextmanager``: that takes five times as long, and a layer has several."""

    __slots__ = ("_problems", "_spread")

    def __init__(self, problems: list[Problem], *, spread: bool) -> None:
        self._problems = problems
        self._spread = spread

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        # All that is raised, but for what ends the program: the one place; the architecture test knows it.
        if error is None or isinstance(error, BudgetError | OpenError) or not isinstance(error, Exception):
            return False
        problem = self._problem(error)
        if problem is None:
            return False
        self._problems.append(problem)
        return True

    def _problem(self, error: Exception) -> Problem | None:
        """What the fault becomes; None where it is to be raised."""
        if isinstance(error, ReadError):
            return Problem(Code.READ_ERROR, str(error))
        if isinstance(error, NoFilesLeft):
            return Problem(Code.OUT_OF_MEMORY, str(error))
        lacking = _lacking(error)
        if lacking is not None:
            return Problem(Code.OUT_OF_MEMORY, lacking)
        return Problem(Code.INTERNAL_ERROR, _told(error)) if self._spread else None


def _lacking(error: Exception) -> str | None:
    """What the machine lacked, where that is the cause."""
    if isinstance(error, MemoryError):
        return f"there was not enough memory to look into this (at {_place(error.__traceback__)})"
    if isinstance(error, OSError) and error.errno in _NO_MORE_FILES:
        return f"this process may have no more files open (at {_place(error.__traceback__)})"
    return None


def _told(error: Exception) -> str:
    return (
        f"pyimount itself failed here, so what this holds is not known: {type(error).__name__} at "
        f"{_place(error.__traceback__)}; please report this"
    )


def _place(traceback: TracebackType | None) -> str:
    """The last place in our own code that a traceback goes through, as ``module:line``."""
    place = "an unknown place"
    while traceback is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] == _OURS and module != __name__:
            place = f"{module}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
