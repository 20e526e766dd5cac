"""Many files, of which only some are open at a time: a disk can have more segments than a process files."""

from _thread import allocate_lock
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

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
        return self._open(partial(self._broker.open, path, self._meter))

    def open_named(self, name: str, image: str, folder: str = "") -> "PooledFile":
        """The file that ``image`` calls ``name``; raises OpenError as the broker does."""
        return self._open(partial(self._broker.open_named, name, image, self._meter, folder))

    def _open(self, again: Callable[[], FileSource]) -> "PooledFile":
        file = again()
        with self._lock:
            self._keep(file)
        return PooledFile(self, file, again)

    def _keep(self, file: FileSource) -> None:
        before = self._files.pop(file.path, None)
        if before is not None:
            before.close()
        self._files[file.path] = file
        if len(self._files) > OPEN_FILES:
            self._files.popitem(last=False)[1].close()

    def read(self, path: str, again: Callable[[], FileSource], offset: int, length: int) -> bytes:
        """Read from a file, which ``again`` opens if need be; raises as FileSource does."""
        with self._lock:
            file = self._files.get(path)
            if file is None:
                try:
                    file = again()
                except OpenError as error:
                    raise ReadError(str(error)) from error
                self._keep(file)
            else:
                self._files.move_to_end(path)
            return file.read_at(offset, length)

    def close(self, path: str) -> None:
        """Close a file if it is open."""
        with self._lock:
            file = self._files.pop(path, None)
        if file is not None:
            file.close()


class PooledFile(Source):
    """A file of a pool. One that became shorter, or cannot be opened again, gives ReadError."""

    __slots__ = ("_again", "path", "pool")

    def __init__(self, pool: FilePool, file: FileSource, again: Callable[[], FileSource]) -> None:
        self.pool = pool
        self.path = file.path
        self.size = file.size
        self._again = again

    def _read(self, offset: int, length: int) -> bytes:
        return self.pool.read(self.path, self._again, offset, length)

    def close(self) -> None:
        """Close the file; reading opens it again."""
        self.pool.close(self.path)
