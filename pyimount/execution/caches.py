"""The end of a cache: kept when something was written, removed when nothing was or it is to be discarded.

What could not be kept, because its disk was full, is told: the programs that wrote it may have been told
nothing.
"""

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pyimount.confinement import cache_files
from pyimount.execution import folders
from pyimount.execution.errors import StepFailed
from pyimount.planning.steps import ExposeRaw
from pyimount.records import Record


class Note(Record, kw_only=True):
    """What is to be told of a cache. ``lost``: so many writes could not be kept."""

    cache: str
    message: str
    lost: int = 0

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        return {"cache": self.cache, "message": self.message, "lost": self.lost}


def made_before(step: ExposeRaw) -> dict[str, Any]:
    """Whether the folder of the cache is there already: then it is not ours to remove."""
    return {} if step.cache is None else {"cache": os.path.lexists(step.cache)}


def closed(step: ExposeRaw, before: Mapping[str, Any], *, discard: bool) -> Note | None:
    """Keep or remove what a server that has ended wrote; what is to be told of that."""
    if step.cache is None:
        return None
    try:
        folder = folders.open_folder(step.cache)
    except StepFailed:
        return None  # Nothing was ever written there, or it has been taken away.
    try:
        is_ = os.fstat(folder)
        if is_.st_uid != os.geteuid() or stat.S_IMODE(is_.st_mode) & 0o022:
            return None
        at = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        return _closed(step, before, at, discard=discard)
    except BlockingIOError:
        return None  # Another session goes on with it.
    except OSError as error:
        return Note(cache=step.cache, message=f"{step.cache}: {error.strerror}")
    finally:
        os.close(at)


def _closed(step: ExposeRaw, before: Mapping[str, Any], at: int, *, discard: bool) -> Note | None:
    cache = step.cache or ""
    names = [name for _, name in step.files]
    found = cache_files.written(at, names)
    gone = discard or not found.any
    if gone:
        cache_files.remove(at, names)
        if not before.get("cache"):
            with suppress(OSError):  # something else is in it
                os.rmdir(cache)
    said = []
    if found.lost:
        many = f"{found.lost} writes were" if found.lost > 1 else "1 write was"
        said.append(f"{cache}: {found.why}: {many} lost, and what was written is not whole")
    if found.any:
        said.append(f"what was written {'is discarded' if gone else f'is kept in {cache}'}")
    return Note(cache=cache, message="; ".join(said), lost=found.lost) if said else None
