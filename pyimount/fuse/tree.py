"""Files of a volume as a folder, read-only: what the kernel asks of it, and the answers.

What stands there is handed over as ``Shown`` objects; nothing here knows where they come from.
"""

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

_FOLDERS_CAP = 4096
"""Folders whose entries are kept."""
_LASTING = 3600
"""Seconds for which the kernel may keep what it knows: an image does not change."""
_READ = 1 << 20
_FORMATS = {"folder": stat.S_IFDIR, "link": stat.S_IFLNK, "pipe": stat.S_IFIFO, "socket": stat.S_IFSOCK}


class Shown(Protocol):
    """Something that is shown: ``kind`` is file, folder, link, pipe, socket or another word."""

    kind: str
    size: int
    mode: int
    links: int
    times: tuple[int, int, int]

    def children(self) -> "Mapping[str, Shown]":
        """What lies in a folder, by names that a folder can have. Raises OSError."""

    def read(self, offset: int, size: int) -> bytes:
        """Bytes. Raises OSError."""

    def target(self) -> str:
        """Where a link leads. Raises OSError."""


class FileTree:
    """The operations of the file system. ``when_ready`` is called as soon as the kernel has been answered."""

    use_ns = True

    def __init__(self, root: Shown, when_ready: Callable[[], None]) -> None:
        self._root = root
        self._when_ready = when_ready
        self._folders: OrderedDict[str, Mapping[str, Shown]] = OrderedDict()
        self._open: dict[int, Shown] = {}
        self._handles = 0
        self._owner = os.getuid(), os.getgid()

    def init(self, path: str) -> None:  # noqa: ARG002
        """The kernel knows us."""
        self._when_ready()

    def _children(self, path: str) -> Mapping[str, Shown]:
        found = self._folders.get(path)
        if found is None:
            found = self._folders[path] = self._at(path).children()
            if len(self._folders) > _FOLDERS_CAP:
                self._folders.popitem(last=False)
        else:
            self._folders.move_to_end(path)
        return found

    def _at(self, path: str) -> Shown:
        if path == "/":
            return self._root
        above, _, name = path.rpartition("/")
        found = self._children(above or "/").get(name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such file", path)
        return found

    def getattr(self, path: str, handle: int | None = None) -> dict[str, int]:  # noqa: ARG002
        """``stat``: readable by its user, never writable, never set-uid."""
        return self._attributes(self._at(path))

    def _attributes(self, shown: Shown) -> dict[str, int]:
        modified, accessed, changed = shown.times
        least = 0o500 if shown.kind == "folder" else 0o400
        return {
            "st_mode": _FORMATS.get(shown.kind, stat.S_IFREG) | (shown.mode & 0o555) | least,
            "st_nlink": shown.links, "st_size": shown.size, "st_blocks": -(-shown.size // 512),
            "st_uid": self._owner[0], "st_gid": self._owner[1], "st_blksize": _READ,
            "st_mtime": modified, "st_atime": accessed, "st_ctime": changed,
        }  # fmt: skip

    def readdir(self, path: str, handle: int) -> list[Any]:  # noqa: ARG002
        """The names in a folder, with their figures."""
        children = self._children(path)
        return [".", "..", *((name, self._attributes(each), 0) for name, each in children.items())]

    def readlink(self, path: str) -> str:
        """Where a link leads."""
        return self._at(path).target()

    def open(self, path: str, flags: int) -> int:
        """A handle, for reading."""
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, "an image is not written to")
        self._handles += 1
        self._open[self._handles] = self._at(path)
        return self._handles

    def read(self, path: str, size: int, offset: int, handle: int) -> bytes:  # noqa: ARG002
        """Bytes of a file."""
        return self._open[handle].read(offset, size)

    def release(self, path: str, handle: int) -> None:  # noqa: ARG002
        """Forget a handle."""
        self._open.pop(handle, None)


def serve(tree: FileTree, at: str, source: str, kind: str) -> None:
    """Mount at a folder of this user's, and answer the kernel until that is unmounted.

    ``source``, ``kind``: what the mount table has of it. Raises RuntimeError where it cannot be mounted.
    """
    import mfusepy

    mfusepy.FUSE(
        tree, at, foreground=True, nothreads=True, ro=True, nosuid=True, nodev=True, noexec=True,
        default_permissions=True, fsname=source.replace("\\", "\\\\").replace(",", "\\,"), subtype=kind,
        kernel_cache=True, attr_timeout=_LASTING, entry_timeout=_LASTING, negative_timeout=_LASTING,
    )  # fmt: skip
