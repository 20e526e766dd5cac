"""The report as a table for spreadsheets: CSV (RFC 4180), a row a volume."""

import csv
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer
from pyimount.problems import Problem
from pyimount.wording import printable

_DISK = ("container", "disk_size")
_VOLUME = (
    "index", "flag", "offset", "disk_offset", "size", "type", "usage", "label", "uuid", "version", "fs_size",
    "free", "state", "last_mountpoint", "locked", "part_type_name", "part_name", "part_uuid", "pttype",
)  # fmt: skip
COLUMNS = ("path", *_DISK, *_VOLUME, "problems")
"""The heads of the columns: the names that the report has; sizes and offsets are bytes."""


def write(scan: Scan, to: TextIO, *, heads: bool = True) -> None:
    """Write the rows of a scan, below the ``heads`` of the columns."""
    made = csv.writer(to, lineterminator="\r\n" if sys.platform == "win32" else "\n")
    if heads:
        made.writerow(COLUMNS)
    made.writerows(rows(scan))


def rows(scan: Scan) -> Iterator[tuple[str, ...]]:
    """A row for each volume, gaps and tables among them; one before them for a disk with problems of its own.

    A disk without volumes has one as well.
    """
    for disk in scan.disks:
        volumes = list(scan.walk(disk))
        if disk.problems or not volumes:
            yield _row(disk, disk)
        for volume in volumes:
            yield _row(disk, volume)
    if scan.problems:
        yield (*("" for _ in COLUMNS[1:]), _said(scan.problems))


def _row(disk: DiskLayer, layer: Layer) -> tuple[str, ...]:
    own = [getattr(layer, name) if isinstance(layer, VolumeLayer) else None for name in _VOLUME]
    values = (disk.paths[0], disk.container.get("type"), disk.size, *own)
    return (*map(_cell, values), _said(layer.problems))


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
