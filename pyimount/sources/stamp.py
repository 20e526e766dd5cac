"""What tells an image of today from the same name tomorrow: its size, and when it was changed."""

import os
from collections.abc import Iterable

from pyimount.sources.urls import is_url


def stamp(paths: Iterable[str]) -> tuple[int | None, int | str | None]:
    """The size of an image's files together, in bytes, and when the last of them was changed.

    That is in nanoseconds since 1970; None for both where there is no such file. Of an image elsewhere its
    first file stands for it, and its ETag for the time.
    """
    size = modified = 0
    for path in paths:
        if is_url(path):
            from pyimount.sources.remote import mark_of

            return mark_of(path)
        try:
            is_ = os.stat(path)
        except (OSError, ValueError):
            return None, None
        size += is_.st_size
        modified = max(modified, is_.st_mtime_ns)
    return size, modified
