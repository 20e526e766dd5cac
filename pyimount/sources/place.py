"""A file that lies elsewhere, as the one thing that is asked of it: exactly these bytes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from pyimount.sources.errors import ReadError


class ChangedError(ReadError):
    """What is read is no longer what was opened."""


class Place(ABC):
    """A file elsewhere.

    ``size``: in bytes. ``name``: what may be shown of it. ``mark``: what tells its states apart: an ETag, or
    a time of change; None where nothing does.
    """

    name: str
    size: int
    mark: str | None = None

    @abstractmethod
    def fetch(self, offset: int, length: int) -> bytes:
        """Exactly these bytes, which lie within the size. Raises ReadError, ChangedError."""

    def fetch_many(self, runs: Sequence[tuple[int, int]]) -> Sequence[bytes | None]:
        """The bytes of several runs, ``(offset, length)``, at once; None for those that did not come.

        Raises ChangedError.
        """
        return [None for _ in runs]

    def look_again(self) -> None:  # noqa: B027  (HTTP's answers say with each what it is of)
        """Raise ChangedError where this is no longer what was opened; ReadError."""

    def close(self) -> None:  # noqa: B027
        """Give back what is held open."""


def changed(name: str, what: str) -> ChangedError:
    """What to raise where a file has changed."""
    return ChangedError(f"{name}: changed while it was read: {what}")
