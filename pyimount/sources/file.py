"""A plain file or a block device as a Source."""

import os
import stat
import sys
from collections.abc import Callable, Sequence
from functools import partial

from pyimount.sources.budget import Meter
from pyimount.sources.denied import reason
from pyimount.sources.errors import BudgetError, IsFolder, NoFilesLeft, OpenError, ReadError
from pyimount.sources.pool import POOL, PooledFile
from pyimount.sources.source import LAST, NamedSource

_KINDS = (
    (stat.S_ISFIFO, "a FIFO", OpenError),
    (stat.S_ISSOCK, "a socket", OpenError),
    (stat.S_ISCHR, "a character device", OpenError),
    (stat.S_ISDIR, "a directory", IsFolder),
)

# O_NONBLOCK: opening a FIFO that nobody writes to must not hang.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class FileSource(NamedSource):
    """A file or block device, read-only; every read is charged to ``meter``.

    It is closed while other files need its place, and opened again when it is read (see ``sources.pool``).
    ``opener``: opens it, where that is not by its path: returns a descriptor, raises OSError or OpenError.
    ``descriptor``: the file, where another process has opened it; closed with the source. Raises OpenError
    when the path is missing, may not be read, or is neither a file nor a block device; NoFilesLeft. A file
    that becomes shorter later gives ReadError for the bytes that went, and one in whose place another stands.
    """

    __slots__ = ("_file", "_meter", "path")

    def __init__(
        self,
        path: str | os.PathLike[str],
        meter: Meter | None = None,
        *,
        opener: Callable[[], int] | None = None,
        descriptor: int | None = None,
    ) -> None:
        self.path = path = os.fspath(path)
        self._meter = meter or Meter()
        if descriptor is not None:
            self._file = PooledFile(opener, descriptor)
        else:
            self._file = PooledFile(opener or _opener(path))
        try:
            opened = POOL.take(self._file)
            try:
                which, self.size = _looked_at(opened, path)
            finally:
                POOL.give_back(self._file)
            if self._file.opener is not None:
                self._file.opener = partial(_again, self._file.opener, which)
        except (OSError, ValueError) as error:
            self.close()
            raise OpenError(f"{path}: {reason(path, error)}") from error
        except (OpenError, NoFilesLeft):
            self.close()
            raise

    def _read(self, offset: int, length: int) -> bytes:
        self._meter.charge(length)
        descriptor = self._taken()
        chunks: list[bytes] = []
        try:
            while True:
                chunk = _pread(descriptor, length, offset)
                if len(chunk) == length and not chunks:
                    return chunk
                if not chunk:
                    raise ReadError(
                        f"{self.path}: ends at {offset}, and was {self.size} bytes long when it was opened"
                    )
                chunks.append(chunk)
                offset += len(chunk)
                length -= len(chunk)
                if not length:
                    return b"".join(chunks)
        except OSError as error:
            raise ReadError(f"{self.path}: cannot read at {offset}: {error.strerror}") from error
        finally:
            POOL.give_back(self._file)

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """As Source's: what a read costs besides its bytes is paid once for all of them."""
        try:
            self._meter.charge(sum([length for _, length in runs]), len(runs))
            descriptor = self._taken()
        except (BudgetError, ReadError):
            return None
        try:
            found = [_pread(descriptor, length, offset) for offset, length in runs]
        except OSError:
            return None
        finally:
            POOL.give_back(self._file)
        return (
            found if all(len(data) == length for data, (_, length) in zip(found, runs, strict=True)) else None
        )

    def _taken(self) -> int:
        try:
            return POOL.take(self._file)
        except (OSError, OpenError, ValueError) as error:
            raise ReadError(f"{self.path}: cannot be opened again: {reason(self.path, error)}") from error

    def close(self) -> None:
        """Close the file; a second call does nothing. Reading afterwards gives ReadError."""
        POOL.end(self._file)

    def __del__(self) -> None:
        # __init__ may have failed early.
        if hasattr(self, "_file"):
            self.close()


def _opener(path: str) -> Callable[[], int]:
    """What opens this path, also after the working directory became another."""
    try:
        place = os.path.abspath(path)
    except (OSError, ValueError):  # no working directory; a NUL, in some versions
        place = path
    return lambda: os.open(place, _FLAGS)


def _again(opener: Callable[[], int], which: tuple[int, int]) -> int:
    """Open a file that was open before; raises OpenError where another stands in its place now."""
    descriptor = opener()
    found = os.fstat(descriptor)
    if (found.st_dev, found.st_ino) != which:
        os.close(descriptor)
        raise OpenError("another file stands there now")
    return descriptor


def _looked_at(descriptor: int, path: str) -> tuple[tuple[int, int], int]:
    """Which file this is, and its size; raises OpenError for what is no image."""
    found = os.fstat(descriptor)
    for is_kind, name, error_kind in _KINDS:
        if is_kind(found.st_mode):
            raise error_kind(f"{path}: is {name}, not a disk image")
    return (found.st_dev, found.st_ino), min(os.lseek(descriptor, 0, os.SEEK_END), LAST)


if sys.platform == "win32":
    from _thread import allocate_lock

    _SEEKING = allocate_lock()

    def _pread(descriptor: int, length: int, offset: int) -> bytes:
        with _SEEKING:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.read(descriptor, min(length, 1 << 30))

else:

    def _pread(descriptor: int, length: int, offset: int) -> bytes:
        return os.pread(descriptor, min(length, 1 << 30), offset)
