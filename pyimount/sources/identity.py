"""What tells one file from every other, and from itself after it was changed."""

import os
import stat
from collections.abc import Iterable
from typing import Self

from pyimount.records import Record


class FileIdentity(Record):
    """Device, inode, size in bytes, time of the last change in nanoseconds since 1970, as stat(2) has them.

    Of a block device its number counts, not when it was written to.
    """

    device: int
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, file: int | str) -> Self:
        """That of an open descriptor, or of what a path leads to. Raises OSError, ValueError."""
        is_ = os.stat(file)
        if stat.S_ISBLK(is_.st_mode):
            return cls(is_.st_rdev, 0, 0, 0)
        return cls(is_.st_dev, is_.st_ino, is_.st_size, is_.st_mtime_ns)


def identities(paths: Iterable[str]) -> dict[str, FileIdentity]:
    """Those of the files that there are, by their absolute paths."""
    found = {}
    for path in paths:
        try:
            found[os.path.abspath(path)] = FileIdentity.of(path)
        except (OSError, ValueError):
            continue  # There is none, and so none that could be taken for it later.
    return found
