"""The report as a table for spreadsheets: CSV (RFC 4180), a row a volume."""

import csv
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer, Within
from pyimount.problems import Problem
from pyimount.wording import printable

_DISK = ("container", "disk_size")
_VOLUME = (
    "index", "flag", "offset", "disk_offset", "size", "type", "usage", "label", "uuid", "version", "fs_size",
    "free", "state", "last_mountpoint", "locked", "part_type_name", "part_name", "part_uuid", "pttype",
)  # fmt: skip
COLUMNS = ("path", *_DISK, *_VOLUME, "problems", "within")
"""The heads of the columns: the names that the report has; sizes and offsets are bytes.

``within``: the address of the disk image in the files of a volume of ``path``, where it is of one.
"""


def write(scan: Scan, to: TextIO, *, heads: bool = True) -> None:
    """Write the rows of a scan, below the ``heads`` of the columns."""
    made = csv.writer(to, lineterminator="\r\n" if sys.platform == "win32" else "\n")
    if heads:
        made.writerow(COLUMNS)
    made.writerows(rows(scan))


def rows(scan: Scan) -> Iterator[tuple[str, ...]]:
    """A row for each volume, gaps and tables among them; one before them for a disk with problems of its own.

    A disk without volumes has one as well. What lies in the images in a volume's files follows the volume.
    """
    yield from _rows(scan, None)
    if scan.problems:
        yield _of_no_disk(scan.problems)


def _rows(scan: Scan, outermost: str | None) -> Iterator[tuple[str, ...]]:
    """``outermost``: the path of the image in whose files this one is."""
    for disk in scan.disks:
        path = outermost or disk.paths[0]
        address = None if outermost is None else disk.paths[0]
        volumes = list(scan.walk(disk))
        if disk.problems or not volumes:
            yield _row(path, disk, disk, disk.problems, address)
        for volume in volumes:
            found = scan.within.get(volume.id, Within())
            yield _row(path, disk, volume, (*volume.problems, *found.problems), address)
            for image in found.images:
                yield from _rows(image.scan, path)
                if image.scan.problems:
                    yield _of_no_disk(image.scan.problems, path, image.address)


def _row(
    path: str, disk: DiskLayer, layer: Layer, problems: Sequence[Problem], address: str | None
) -> tuple[str, ...]:
    own = [getattr(layer, name) if isinstance(layer, VolumeLayer) else None for name in _VOLUME]
    values = (path, disk.container.get("type"), disk.size, *own)
    return (*map(_cell, values), _said(problems), _cell(address))


def _of_no_disk(problems: Sequence[Problem], path: str = "", address: str = "") -> tuple[str, ...]:
    return (_cell(path), *("" for _ in COLUMNS[3:]), _said(problems), _cell(address))


def _said(problems: Sequence[Problem]) -> str:
    return _cell("; ".join(f"{problem.code}: {problem.message}" for problem in problems))


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _cell(value: object) -> str:
    """A value as text. What a spreadsheet would take for a formula is not one: labels are hostile."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = printable(str(value))
    return f"'{text}" if text.startswith(_FORMULA) and not isinstance(value, int) else text
