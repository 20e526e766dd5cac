"""The files that this process has open, all of its images' together: some at a time, the rest opened again.

A disk may have more segments, and a call more images, than a process may have files open. What was not read
for longest is closed when there are too many, and opened again when it is read. The process's own limit
decides how many that is; it is left as it is.
"""

import errno
import os
from _thread import allocate_lock  # threading takes longer to import than all the sources
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from pyimount.sources.errors import NoFilesLeft

Answer = TypeVar("Answer")

_MOST = 4096
_FEWEST = 4
_OTHERS = 16
"""So many open files, at least, are left for all else that the process does."""
_ELSEWHERE = 512
"""The limit of a system that does not tell one."""


class PooledFile:
    """A file that is open while it is read, and perhaps in between.

    ``opener`` opens it and returns its descriptor; raises OSError, or what else its maker chooses. Without
    one, it stays open as ``descriptor`` until it is closed for good.
    """

    __slots__ = ("descriptor", "ended", "lock", "opener", "users")

    def __init__(self, opener: Callable[[], int] | None, descriptor: int = -1) -> None:
        self.opener = opener
        self.descriptor = descriptor
        self.users = 0
        self.ended = False
        self.lock = allocate_lock()

    def open(self) -> int:
        """Open it once more; raises as its opener does, and ValueError when it was closed for good."""
        if self.opener is None or self.ended:
            raise ValueError("the file is closed")
        return self.opener()


class Pool:
    """Files of which only some are open at a time. Safe to use from several threads."""

    def __init__(self) -> None:
        self._open: OrderedDict[PooledFile, None] = OrderedDict()
        self._lock = allocate_lock()

    def take(self, file: PooledFile) -> int:
        """The file's descriptor, which stays open until ``give_back``; raises as its opener does.

        Raises NoFilesLeft when the process may open no more files, and none can be closed.
        """
        with self._lock:
            # Nearly always it is open, and this is done for every read.
            if file.descriptor >= 0:
                return self._used(file)
        with file.lock:
            with self._lock:
                if file.descriptor >= 0:  # by another thread meanwhile
                    return self._used(file)
                while len(self._open) >= most_open() and self._close_one():
                    pass
            opened = self.with_room(file.open)
            with self._lock:
                file.descriptor = opened
                file.users += 1
                self._open[file] = None
            return opened

    def _used(self, file: PooledFile) -> int:
        file.users += 1
        if file.opener is not None:
            self._open[file] = None
            self._open.move_to_end(file)
        return file.descriptor

    def give_back(self, file: PooledFile) -> None:
        """Say that the descriptor is no longer used."""
        with self._lock:
            file.users -= 1
            if file.ended and not file.users:
                self._close(file)

    def end(self, file: PooledFile) -> None:
        """Close a file for good, once nobody reads it; a second call does nothing."""
        with self._lock:
            file.ended = True
            if not file.users:
                self._close(file)

    def with_room(self, opening: Callable[[], Answer]) -> Answer:
        """What ``opening`` returns, which opens a file or folder; closes others where that needs it.

        Raises NoFilesLeft when there is none left to close, else as ``opening`` does.
        """
        while True:
            try:
                return opening()
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                with self._lock:
                    made_room = self._close_one()
                if not made_room:
                    raise NoFilesLeft(
                        "this process may have no more files open (ulimit -n), "
                        "and none of those that it reads can be closed"
                    ) from error

    def _close_one(self) -> bool:
        """Close what was not used for longest; whether there was one."""
        for file in self._open:
            if not file.users:
                self._close(file)
                return True
        return False

    def _close(self, file: PooledFile) -> None:
        self._open.pop(file, None)
        descriptor, file.descriptor = file.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def most_open() -> int:
    """How many files are open at a time, at most: half of what the process may open now."""
    try:
        from resource import RLIMIT_NOFILE, getrlimit
    except ImportError:
        limit = _ELSEWHERE
    else:
        limit = getrlimit(RLIMIT_NOFILE)[0]
    if limit < 0:
        return _MOST
    return max(_FEWEST, min(_MOST, limit - max(_OTHERS, limit // 2)))


POOL = Pool()
"""The one of this process."""
