"""The last net of a scan: what nobody foresaw becomes a problem of one image, and the scan goes on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
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

    @contextmanager
    def under(self, problems: list[Problem]) -> Iterator[None]:
        """A block in which a fault ends up among ``problems``, after which the scan goes on.

        BudgetError and OpenError are no faults; they are raised.
        """
        try:
            yield
        except (BudgetError, OpenError):
            raise
        except ReadError as error:
            problems.append(Problem(Code.READ_ERROR, str(error)))
        except NoFilesLeft as error:
            problems.append(Problem(Code.OUT_OF_MEMORY, str(error)))
        except Exception as error:  # the one place; the architecture test knows it
            lacking = _lacking(error)
            if lacking is not None:
                problems.append(Problem(Code.OUT_OF_MEMORY, lacking))
            elif self._spread:
                problems.append(Problem(Code.INTERNAL_ERROR, _told(error)))
            else:
                raise


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
