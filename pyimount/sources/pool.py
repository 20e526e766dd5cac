"""Many files, of which only some are open at a time: a disk can have more segments than a process files."""

from _thread import allocate_lock
from collections import OrderedDict

from pyimount.sources.broker import Broker
from pyimount.sources.budget import Meter
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.file import FileSource
from pyimount.sources.source import Source

OPEN_FILES = 64
"""So many files of one image are open at a time, at most."""


class FilePool:
    """Opens files by way of ``broker``; where there are too many, the one unused for longest is closed."""

    def __init__(self, broker: Broker, meter: Meter) -> None:
        self._broker = broker
        self._meter = meter
        self._files: OrderedDict[str, FileSource] = OrderedDict()
        self._lock = allocate_lock()

    def open(self, path: str) -> "PooledFile":
        """A file as a Source; raises OpenError as the broker does."""
        with self._lock:
            return PooledFile(self, path, self._file(path).size)

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Read from a file that is opened again if need be; raises as FileSource does."""
        with self._lock:
            try:
                return self._file(path).read_at(offset, length)
            except OpenError as error:
                raise ReadError(str(error)) from error

    def close(self, path: str) -> None:
        """Close a file if it is open."""
        with self._lock:
            file = self._files.pop(path, None)
        if file is not None:
            file.close()

    def _file(self, path: str) -> FileSource:
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = self._broker.open(path, self._meter)
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        else:
            self._files.move_to_end(path)
        return file


class PooledFile(Source):
    """A file of a pool. One that became shorter, or cannot be opened again, gives ReadError."""

    __slots__ = ("_path", "_pool")

    def __init__(self, pool: FilePool, path: str, size: int) -> None:
        self._pool = pool
        self._path = path
        self.size = size

    def _read(self, offset: int, length: int) -> bytes:
        return self._pool.read(self._path, offset, length)

    def close(self) -> None:
        """Close the file; reading opens it again."""
        self._pool.close(self._path)
