"""A plain file or a block device as a Source."""

import os
import stat
import sys
from _thread import allocate_lock  # threading takes longer to import than all the sources

from pyimount.sources.budget import Meter
from pyimount.sources.errors import IsFolder, OpenError, ReadError
from pyimount.sources.source import Source

_KINDS = (
    (stat.S_ISFIFO, "a FIFO", OpenError),
    (stat.S_ISSOCK, "a socket", OpenError),
    (stat.S_ISCHR, "a character device", OpenError),
    (stat.S_ISDIR, "a directory", IsFolder),
)


class FileSource(Source):
    """A file or block device, opened once, read-only; every read is charged to ``meter``.

    ``descriptor``: the file, where another process has opened it; closed with the source. Raises OpenError
    when the path is missing, may not be read, or is neither a file nor a block device. A file that becomes
    shorter later gives ReadError for the bytes that went.
    """

    __slots__ = ("_fd", "_lock", "_meter", "path")

    def __init__(
        self, path: str | os.PathLike[str], meter: Meter | None = None, *, descriptor: int | None = None
    ) -> None:
        self.path = path = os.fspath(path)
        self._meter = meter or Meter()
        self._lock = allocate_lock()
        self._fd = -1
        # O_NONBLOCK: opening a FIFO that nobody writes to must not hang.
        flags = (
            os.O_RDONLY
            | getattr(os, "O_NONBLOCK", 0)
            | getattr(os, "O_BINARY", 0)
            | getattr(os, "O_CLOEXEC", 0)
        )
        try:
            self._fd = os.open(path, flags) if descriptor is None else descriptor
            mode = os.fstat(self._fd).st_mode
            for is_kind, name, error_kind in _KINDS:
                if is_kind(mode):
                    raise error_kind(f"{path}: is {name}, not a disk image")
            self.size = os.lseek(self._fd, 0, os.SEEK_END)
        except (OSError, ValueError) as error:
            self.close()
            # ValueError: a NUL in the path.
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise OpenError(f"{path}: {reason[:1].lower()}{reason[1:]}") from error
        except OpenError:
            self.close()
            raise

    def _read(self, offset: int, length: int) -> bytes:
        self._meter.charge(length)
        chunks = []
        try:
            while length:
                chunk = self._pread(offset, length)
                if not chunk:
                    raise ReadError(
                        f"{self.path}: ends at {offset}, and was {self.size} bytes long when it was opened"
                    )
                chunks.append(chunk)
                offset += len(chunk)
                length -= len(chunk)
        except OSError as error:
            raise ReadError(f"{self.path}: cannot read at {offset}: {error.strerror}") from error
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    if sys.platform == "win32":

        def _pread(self, offset: int, length: int) -> bytes:
            with self._lock:
                os.lseek(self._fd, offset, os.SEEK_SET)
                return os.read(self._fd, min(length, 1 << 30))

    else:

        def _pread(self, offset: int, length: int) -> bytes:
            return os.pread(self._fd, min(length, 1 << 30), offset)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        # Python may be ending, or __init__ may have failed early.
        if getattr(self, "_fd", -1) >= 0:
            self.close()
