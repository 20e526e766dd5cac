"""A folder of raw files, each the bytes of a layer: what the kernel asks of it, and the answers."""

import ctypes
import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

from pyimount.fuse.cache import CachedSource
from pyimount.sources.errors import FOREIGN_ERRORS, OpenError, SourceError
from pyimount.sources.source import Source

# libfuse 3.17 has a new name; mfusepy knows both, but prefers libfuse 2.
_LIBRARIES = ("libfuse3.so.3", "libfuse3.so.4")

# Nothing changes but through the kernel itself, so it may keep what it knows.
_LASTING = 1 << 20

_READ = 1 << 20

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


def is_name(name: object) -> bool:
    """Whether a file can have this name here."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


class Files:
    """The operations of the file system: one folder with these files, its owner's alone.

    ``when_ready`` is called as soon as the kernel has been answered. Whatever goes wrong with
    the bytes of a layer is an input/output error for who reads them, and for nobody else.
    """

    use_ns = True

    def __init__(
        self, files: Mapping[str, Source], owner: tuple[int, int], when_ready: Callable[[], None]
    ) -> None:
        self._sources = {f"/{name}": source for name, source in files.items()}
        self._open: tuple[Source, ...] = tuple(self._sources.values())
        self._handles = {path: number for number, path in enumerate(self._sources)}
        self._owner = owner
        self._when_ready = when_ready
        self._now = time.time_ns()

    def init(self, path: str) -> None:  # noqa: ARG002
        """The kernel knows us."""
        self._when_ready()

    def getattr(self, path: str, handle: int | None = None) -> dict[str, int]:  # noqa: ARG002
        """``stat``."""
        said = {
            "st_uid": self._owner[0],
            "st_gid": self._owner[1],
            "st_atime": self._now,
            "st_mtime": self._now,
            "st_ctime": self._now,
            "st_blksize": _READ,
        }
        if path == "/":
            return said | {"st_mode": stat.S_IFDIR | 0o500, "st_nlink": 2}
        source = self._source(path)
        mode = 0o600 if isinstance(source, CachedSource) else 0o400
        return said | {
            "st_mode": stat.S_IFREG | mode,
            "st_nlink": 1,
            "st_size": source.size,
            "st_blocks": -(-source.size // 512),
        }

    def readdir(self, path: str, handle: int) -> Iterable[str]:  # noqa: ARG002
        """The names in the one folder."""
        return [".", "..", *(path.removeprefix("/") for path in self._sources)]

    def open(self, path: str, flags: int) -> int:
        """A handle for a file, for reading, or for writing where there is a cache."""
        if flags & os.O_ACCMODE != os.O_RDONLY:
            self._cached(self._source(path))
        return self._handles[path] if path in self._handles else self._missing(path)

    def read(self, path: str, size: int, offset: int, handle: int) -> bytes:  # noqa: ARG002
        """Bytes of a layer, with what was written over them."""
        try:
            return self._open[handle].read_at(offset, size)
        except (SourceError, *FOREIGN_ERRORS, MemoryError) as error:
            raise OSError(errno.EIO, str(error)) from error

    def write(self, path: str, data: bytes, offset: int, handle: int) -> int:  # noqa: ARG002
        """Bytes to the cache."""
        cached = self._cached(self._open[handle])
        if offset + len(data) > cached.size:
            raise OSError(errno.ENOSPC, "a layer does not grow")
        try:
            return cached.write_at(offset, data)
        except SourceError as error:
            raise OSError(errno.EIO, str(error)) from error

    def truncate(self, path: str, length: int, handle: int | None = None) -> None:  # noqa: ARG002
        """No layer becomes shorter or longer."""
        if self._cached(self._source(path)).size != length:
            raise OSError(errno.EPERM, "a layer keeps its size")

    def flush(self, path: str, handle: int) -> None:  # noqa: ARG002
        """On every close."""
        self._bring_to_disk(handle)

    def fsync(self, path: str, datasync: int, handle: int) -> None:  # noqa: ARG002
        """What was written is on the disk when this returns."""
        self._bring_to_disk(handle)

    def _bring_to_disk(self, handle: int) -> None:
        source = self._open[handle]
        if isinstance(source, CachedSource):
            source.flush()

    def _source(self, path: str) -> Source:
        return self._sources[path] if path in self._sources else self._missing(path)

    def _missing(self, path: str) -> Any:
        raise FileNotFoundError(errno.ENOENT, "there is no such file", path)

    def _cached(self, source: Source) -> CachedSource:
        if not isinstance(source, CachedSource):
            raise OSError(errno.EROFS, "there is no cache to write to")
        return source


def load_library() -> None:
    """Load libfuse 3, before mfusepy chooses, and that; raises OpenError when libfuse is not installed."""
    for name in _LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        os.environ["FUSE_LIBRARY_PATH"] = name
        import_module("mfusepy")  # now: later no file may be opened
        return
    raise OpenError("libfuse 3 is not installed (Debian's package is libfuse3-3)")


def serve(device: int, files: Files) -> None:
    """Answer the kernel on ``device``, which has been mounted, until that is unmounted.

    Raises RuntimeError when libfuse refuses.
    """
    import mfusepy

    mfusepy.FUSE(
        files,
        f"/dev/fd/{device}",
        foreground=True,
        kernel_cache=True,
        attr_timeout=_LASTING,
        entry_timeout=_LASTING,
    )
