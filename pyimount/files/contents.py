"""A file in a volume as a Source, for what looks into it as into an image: never a copy."""

from pyimount.files.system import Entry
from pyimount.sources.budget import Meter
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.source import LAST, NamedSource


class Contents(NamedSource):
    """The bytes of a file in a volume. ``path``: what it goes by; every read is charged to ``meter``.

    Its size is what the volume says, which may be more than there is: nothing is set aside for it. Raises
    OpenError for what has no data.
    """

    __slots__ = ("_entry", "_meter", "path")

    def __init__(self, entry: Entry, path: str, meter: Meter | None = None) -> None:
        self.path = path
        self._entry = entry
        self._meter = meter
        try:
            self.size = min(entry.length(), LAST)
        except OSError as error:
            raise OpenError(f"{path}: {error.strerror}") from error

    def _read(self, offset: int, length: int) -> bytes:
        if self._meter is not None:
            self._meter.charge(length)
        try:
            return b"".join(self._entry.pieces(offset, length))
        except OSError as error:
            raise ReadError(f"{self.path}: cannot read at {offset}: {error.strerror}") from error
