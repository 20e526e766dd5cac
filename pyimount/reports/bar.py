"""A disk as a bar of characters, for a terminal: what lies where, to scale but for what would not be seen."""

from rich.text import Text

from pyimount.layers import DiskLayer, Scan
from pyimount.reports.facts import name
from pyimount.reports.picture import Box, picture

_CELL = 10.0
"""Units of a picture that one character stands for."""
_WIDEST = 100
_STYLES = {
    "files": "blue",
    "group": "magenta",
    "crypto": "yellow",
    "other": "green",
    "gap": "dim",
    "meta": "dim",
}


def bars(scan: Scan, width: int) -> dict[int, tuple[Text, Text]]:
    """For each disk, by its id: a bar of at most so many columns, and beneath it what its parts are.

    ``#`` is in use, ``=`` is not or not known to be, ``.`` belongs to no volume, ``-`` to a table, ``x`` is
    locked.
    """
    cells = max(20, min(width, _WIDEST))
    shown = picture(scan, width=cells * _CELL)
    return {
        disk.id: _bar(_parts(scan, disk, shown.boxes), cells) for disk in scan.disks if disk.size is not None
    }


def _parts(scan: Scan, disk: DiskLayer, boxes: tuple[Box, ...]) -> list[Box]:
    """The boxes right under a disk, in the first row in which they stand."""
    own = {child.id for child in scan.children(disk)}
    whole = next(box for box in boxes if box.layer is disk)
    found = [box for box in boxes if box.layers and box.layers[0].id in own]
    top = min((box.y for box in found), default=whole.y)
    gaps = [box for box in boxes if not box.layers and box.y == top]
    return sorted((box for box in (*found, *gaps) if box.y == top), key=lambda box: box.x)


def _bar(parts: list[Box], cells: int) -> tuple[Text, Text]:
    line, beneath = Text("|"), Text(" ")
    at = 1
    for box in parts:
        end = min(cells - 1, max(at + 1, round((box.x + box.width) / _CELL)))
        room = end - at - 1
        if room < 0:
            continue
        line.append(_filled(box, room), style=_STYLES.get(box.kind, ""))
        line.append("|")
        word = _word(box)
        beneath.append((word if len(word) <= room else word[: max(0, room)]).ljust(room + 1))
        at = end
    return line, beneath


def _filled(box: Box, room: int) -> str:
    if box.kind in ("gap", "meta"):
        return (".", "-")[box.kind == "meta"] * room
    if box.layer is not None and getattr(box.layer, "locked", None):
        return "x" * room
    used = round((box.used or 0.0) * room)
    if box.used and not used and room:
        used = 1
    return "#" * used + "=" * (room - used)


def _word(box: Box) -> str:
    if box.kind == "gap":
        return ""
    return name(box.layer) if box.layer is not None else f"x{len(box.layers)}"
