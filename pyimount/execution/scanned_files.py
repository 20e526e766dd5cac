"""The files that a scan was made from, opened for what acts on them: the very ones, or nothing."""

import os
import stat
from collections.abc import Mapping

from pyimount.execution.errors import Refused, StepFailed
from pyimount.sources.denied import reason
from pyimount.sources.identity import FileIdentity


def open_scanned(
    path: str, files: Mapping[str, FileIdentity], opened: Mapping[str, int] | None = None
) -> int:
    """A descriptor, for reading, of a file or a block device; the caller closes it.

    ``files``: what was scanned under each absolute path, as far as that is known; ``opened``: the descriptors
    that somebody handed over, which are then all the files that there are. Raises Refused where it is none of
    them, or not the one that was scanned, and StepFailed.
    """
    if opened is not None:
        if path not in opened:
            raise Refused(f"{path} was not handed over")
        descriptor = os.dup(opened[path])
    else:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise StepFailed(f"{path}: {reason(path, error)}") from error
    try:
        check_scanned(path, descriptor, files)
    except StepFailed:
        os.close(descriptor)
        raise
    return descriptor


def check_scanned(path: str, descriptor: int, files: Mapping[str, FileIdentity]) -> None:
    """Raise Refused where an open file is no file and no disk, or not what was scanned under its path."""
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise Refused(f"{path} is neither a file nor a block device")
    scanned = files.get(os.path.abspath(path))
    if scanned is not None and scanned != FileIdentity.of(descriptor):
        raise Refused(f"{path} is not the file that was scanned: it was replaced, or changed, since")
