"""Between Sources and Python's file objects, for libraries that want the latter."""

import io
from _thread import allocate_lock
from contextlib import suppress
from typing import Any, BinaryIO

from pyimount.sources.budget import Meter
from pyimount.sources.errors import FOREIGN_ERRORS, OpenError, ReadError, SourceError
from pyimount.sources.source import LAST, Source


class SourceFile(io.RawIOBase):
    """A Source as a read-only, seekable binary file object."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to ``offset``, as io.IOBase does."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return up to ``size`` bytes, all that is left when it is negative or None."""
        if size is None or size < 0:
            size = max(0, self._source.size - self._position)
        data = self._source.read_at(self._position, size)
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        """Return all that is left."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` and return how many bytes that took."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class ObjectSource(Source):
    """A file object that a caller has opened, as a Source; every read is charged to ``meter``.

    Closing it leaves the object open, where it stood. Raises OpenError for what cannot be sought in.
    """

    __slots__ = ("_at", "_meter", "_object", "_stream")

    def __init__(self, file: BinaryIO, name: str, meter: Meter) -> None:
        self._object = file
        self._meter = meter
        try:
            self._at = file.tell()
            self.size = min(file.seek(0, io.SEEK_END) or file.tell(), LAST)
        except FOREIGN_ERRORS as error:
            raise OpenError(f"{name}: {error or type(error).__name__}") from error
        self._stream = StreamSource(file, self.size, name)

    def _read(self, offset: int, length: int) -> bytes:
        self._meter.charge(length)
        return self._stream.read_at(offset, length)

    def close(self) -> None:
        """Let the object stand where it stood."""
        with suppress(*FOREIGN_ERRORS):  # its owner may have closed it
            self._object.seek(self._at)


class StreamSource(Source):
    """A library's seekable file object as a Source of ``size`` bytes.

    Whatever the library raises while it reads becomes ReadError.
    """

    __slots__ = ("_lock", "_stream", "_what")

    def __init__(self, stream: BinaryIO | Any, size: int, what: str) -> None:
        self._stream = stream
        self._lock = allocate_lock()
        self._what = what
        self.size = size

    def _read(self, offset: int, length: int) -> bytes:
        try:
            with self._lock:
                self._stream.seek(offset)
                return bytes(self._stream.read(length))
        except SourceError:
            raise
        except FOREIGN_ERRORS as error:
            raise ReadError(
                f"{self._what}: cannot read at {offset}: {error or type(error).__name__}"
            ) from error
