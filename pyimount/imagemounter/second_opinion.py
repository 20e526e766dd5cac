"""What dissect.volume sees of a partition table: compared and told, never believed instead.

As root the disk's bytes are read in a process without privileges, which this module is then, too.
"""

import io
import json
import logging
import os
import struct
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from typing import BinaryIO, cast

from pyimount.confinement.own_modules import ask as ask_aside
from pyimount.confinement.process import give_up_privileges
from pyimount.execution.dependencies import find
from pyimount.execution.errors import StepFailed
from pyimount.layers import DiskLayer, Scan

logger = logging.getLogger(__name__)

_MOST = 4096
"""No more partitions are compared."""


def differences(
    scan: Scan,
    disk: DiskLayer,
    path: str | None,
    ours: Iterable[tuple[str, int, int]],
    *,
    offset: int,
    sector: int,
) -> list[str] | None:
    """What dissect.volume finds otherwise, a sentence each, which is logged, too; None where it is not asked.

    ``path``: where the disk's bytes are shown, which root needs. ``ours``: of each partition the index, and
    offset and size in bytes. ``offset``: where on the disk is looked; ``sector``: bytes in one.
    """
    name = os.path.basename(disk.paths[0])
    if not find("dissect.volume").is_available:
        logger.warning("dissect.volume is not installed: there is no second opinion on %s", name)
        return None
    try:
        found = _as_root(path, offset, sector) if os.geteuid() == 0 else _here(scan, disk, offset, sector)
    except (StepFailed, OSError, EOFError, ValueError, ArithmeticError, LookupError, struct.error) as error:
        logger.warning("dissect.volume could not read %s: %s", name, error)
        return None
    if found is None:
        logger.warning("%s is not mounted: dissect.volume is not asked about it", name)
        return None
    theirs = {offset + at: size for at, size in found}
    known = {at: (index, size) for index, at, size in ours}
    # dissect counts the last sector of a GPT's partitions out, so a sector makes no difference.
    agreed = {at for at, size in theirs.items() if at in known and abs(known[at][1] - size) <= sector}
    told = [
        f"dissect sees a partition of {size} bytes at {at}"
        for at, size in sorted(theirs.items())
        if at not in agreed
    ] + [
        f"dissect does not see volume {index}, {size} bytes at {at}"
        for at, (index, size) in sorted(known.items())
        if at not in agreed
    ]
    for difference in told:
        logger.warning("%s: %s", name, difference)
    return told


def _as_root(path: str | None, offset: int, sector: int) -> Iterable[tuple[int, int]] | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        said = ask_aside(__name__, file.fileno(), str(offset), str(sector))
    return [(int(at), int(size)) for at, size in said]


def _here(scan: Scan, disk: DiskLayer, offset: int, sector: int) -> Iterable[tuple[int, int]]:
    from pyimount.mapping import open_layer
    from pyimount.sources.fileobject import SourceFile
    from pyimount.sources.source import SliceSource

    with ExitStack() as stack:
        source = stack.enter_context(open_layer(scan, disk))
        whole = SliceSource(source, offset, source.size - offset)
        return partitions(cast("BinaryIO", io.BufferedReader(SourceFile(whole))), sector)


def partitions(file: BinaryIO, sector_size: int) -> list[tuple[int, int]]:
    """Offset and size in bytes of each partition that dissect.volume finds in a file."""
    from dissect.volume.disk import Disk as Dissected
    from dissect.volume.disk import DiskError

    try:
        found = Dissected(file, sector_size=sector_size).partitions
    except DiskError:
        return []
    return [(each.offset, each.size) for each in found[:_MOST]]


class _From(io.RawIOBase):
    """A file from an offset on."""

    def __init__(self, file: BinaryIO, offset: int) -> None:
        super().__init__()
        self._file = file
        self._offset = offset

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        add = self._offset if whence == os.SEEK_SET else 0
        return self._file.seek(offset + add, whence) - self._offset

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def main() -> int:
    """Read the disk that is the standard input; print what there is as JSON."""
    import dissect.volume.disk  # noqa: F401  (what it loads later is loaded before its folder is out of reach)

    offset, sector_size = int(sys.argv[1]), int(sys.argv[2])
    give_up_privileges()
    with open(0, "rb", closefd=False) as file:
        print(json.dumps(partitions(cast("BinaryIO", io.BufferedReader(_From(file, offset))), sector_size)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
