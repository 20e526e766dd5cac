"""What dissect.volume sees of a partition table: compared and told, never believed instead.

As root the disk's bytes are read in a process without privileges, which this module is then, too.
"""

import io
import json
import logging
import os
import struct
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO, cast

from pyimount.confinement.own_modules import ask as ask_aside
from pyimount.confinement.process import give_up_privileges
from pyimount.execution.dependencies import find
from pyimount.execution.errors import StepFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyimount.imagemounter.disk import Disk
    from pyimount.imagemounter.volume_system import VolumeSystem

logger = logging.getLogger(__name__)

_MOST = 4096
"""No more partitions are compared."""


def ask(system: "VolumeSystem") -> None:
    """Compare the partitions of a disk with those that dissect.volume finds.

    What differs is in ``Disk.second_opinion``, a sentence each, and is logged; nothing else changes.
    """
    disk = system.disk
    if system.parent is not disk:
        return
    disk.second_opinion = None
    if not find("dissect.volume").is_available:
        logger.warning("dissect.volume is not installed: there is no second opinion on %s", disk)
        return
    theirs = _theirs(disk)
    if theirs is None:
        return
    # dissect counts the last sector of a GPT's partitions out, so a sector makes no difference.
    ours = {volume.offset: volume for volume in system}
    agreed = {
        offset
        for offset, size in theirs.items()
        if offset in ours and abs(ours[offset].size - size) <= disk.block_size
    }
    missing = [
        f"dissect sees a partition of {size} bytes at {offset}"
        for offset, size in sorted(theirs.items())
        if offset not in agreed
    ]
    more = [
        f"dissect does not see volume {volume.index}, {volume.size} bytes at {offset}"
        for offset, volume in sorted(ours.items())
        if offset not in agreed and volume.flag == "alloc" and volume.slot
    ]
    disk.second_opinion = missing + more
    for difference in disk.second_opinion:
        logger.warning("%s: %s", disk, difference)


def _theirs(disk: "Disk") -> "dict[int, int] | None":
    """The sizes of dissect's partitions by their offsets; None where it could not be asked."""
    try:
        found = _as_root(disk) if os.geteuid() == 0 else _here(disk)
    except (StepFailed, OSError, EOFError, ValueError, ArithmeticError, LookupError, struct.error) as error:
        logger.warning("dissect.volume could not read %s: %s", disk, error)
        return None
    return None if found is None else {disk.offset + offset: size for offset, size in found}


def _as_root(disk: "Disk") -> "Iterable[tuple[int, int]] | None":
    path = disk.get_raw_path()
    if path is None:
        logger.warning("%s is not mounted: dissect.volume is not asked about it", disk)
        return None
    with open(path, "rb") as file:
        said = ask_aside(__name__, file.fileno(), str(disk.offset), str(disk.block_size))
    return [(int(offset), int(size)) for offset, size in said]


def _here(disk: "Disk") -> "Iterable[tuple[int, int]]":
    from pyimount.mapping import open_layer
    from pyimount.sources.fileobject import SourceFile
    from pyimount.sources.source import SliceSource

    with ExitStack() as stack:
        source = stack.enter_context(open_layer(disk.scan(), disk.layer))
        whole = SliceSource(source, disk.offset, source.size - disk.offset)
        return partitions(cast("BinaryIO", io.BufferedReader(SourceFile(whole))), disk.block_size)


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
