"""The scan as a tree: one line a layer, what is wrong with it beneath."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text
from rich.tree import Tree

from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer
from pyimount.problems import Code, Problem
from pyimount.reports.wording import printable, size_text

_WARNING = "yellow"
_MUTED = "dim"


class TreeReport:
    """Draws scans. ``everything``: gaps and tables too; ``exact``: sizes in bytes; ``details``: all facts."""

    def __init__(self, *, everything: bool = False, exact: bool = False, details: bool = False) -> None:
        self._everything = everything
        self._exact = exact
        self._details = details

    def trees(self, scan: Scan) -> Iterator[Tree]:
        """One tree for every image that could be read."""
        for disk in scan.disks:
            if disk.size is None:
                continue
            tree = Tree(self._disk_line(disk), guide_style=_MUTED)
            self._facts(tree, disk, disk.problems, {**disk.container, **disk.table})
            self._children(scan, disk, tree)
            yield tree

    def _children(self, scan: Scan, layer: Layer, tree: Tree) -> None:
        pending = [(layer, tree)]
        while pending:
            parent, node = pending.pop()
            children = [
                child for child in scan.children(parent) if self._everything or self._is_shown(scan, child)
            ]
            widths = [
                max((len(column) for column in columns), default=0)
                for columns in zip(*map(self._columns, children), strict=True)
            ]
            for child in children:
                branch = node.add(self._line(child, widths))
                self._facts(branch, child, child.problems, child.details)
                pending.append((child, branch))

    @staticmethod
    def _is_shown(scan: Scan, volume: VolumeLayer) -> bool:
        if volume.hidden:
            return False
        return volume.flag == "alloc" or bool(volume.problems) or bool(scan.children(volume))

    def _disk_line(self, disk: DiskLayer) -> Text:
        line = Text()
        if disk.index is not None:
            line.append(f"{disk.index}  ", style="bold")
        line.append(printable(disk.paths[0]), style="bold")
        if len(disk.paths) > 1:
            line.append(f" and {len(disk.paths) - 1} more", style=_MUTED)
        line.append(f"  {size_text(disk.size, exact=self._exact)}  {disk.container['type']}")
        if disk.pttype is not None:
            line.append(f"  {disk.pttype}", style="cyan")
            line.append(f"  {disk.ptuuid or ''}", style=_MUTED)
        return line

    def _columns(self, volume: VolumeLayer) -> tuple[str, str, str]:
        return volume.index, size_text(volume.size, exact=self._exact), _kind(volume)

    def _line(self, volume: VolumeLayer, widths: Sequence[int]) -> Text:
        index, size, kind = self._columns(volume)
        line = Text()
        line.append(index.ljust(widths[0]), style="bold")
        line.append(f"  {size.rjust(widths[1])}  ")
        line.append(kind.ljust(widths[2]), style="cyan" if volume.type or volume.pttype else _MUTED)
        if volume.label:
            line.append(f'  "{printable(volume.label)}"', style="green")
        if volume.uuid:
            line.append(f"  {printable(volume.uuid)}", style=_MUTED)
        for fact in self._matters(volume):
            line.append(f"  {fact}")
        return line

    def _matters(self, volume: VolumeLayer) -> Iterator[str]:
        """What an analyst wants to know first of a layer of this type."""
        if volume.type is None and volume.part_type_name:
            yield printable(volume.part_type_name)
        if volume.name:
            yield f"({printable(volume.name)})"
        if volume.part_name and volume.part_name.lower() != (volume.label or "").lower():
            yield f"({printable(volume.part_name)})"
        if volume.last_mountpoint:
            yield f"on {printable(volume.last_mountpoint)}"
        if volume.locked is not None:
            yield "locked" if volume.locked else "opened"
        if volume.state not in (None, "clean"):
            yield str(volume.state)
        level = volume.mapping.get("level") or volume.details.get("level")
        if isinstance(level, str):
            yield level
        if volume.group is not None:
            group = volume.group
            yield f"of {printable(group.name or group.uuid)}"
            if group.members is not None:
                yield f"({group.present} of {group.members} members)"
            if group.copies:
                yield f"(the same member as {', '.join(group.copies)})"
        if volume.free is not None:
            yield f"{size_text(volume.free, exact=self._exact)} free"

    def _facts(self, branch: Tree, layer: Layer, problems: Sequence[Problem], details: Any) -> None:
        for problem in problems:
            if problem.code is not Code.LOCKED:  # the line says so
                branch.add(Text(f"{problem.code}: {printable(problem.message)}", style=_WARNING))
        if self._everything or self._details:
            for candidate in layer.candidates:
                branch.add(Text(f"also {candidate.type}: {printable(candidate.why_not)}", style=_MUTED))
        system = details.get("system")
        if isinstance(system, dict) and not self._details:
            branch.add(Text(_system(system), style="cyan"))
        if self._details:
            for line in _flat(details):
                branch.add(Text(line, style=_MUTED))


def _kind(volume: VolumeLayer) -> str:
    kinds = [volume.type, f"[{volume.pttype}]" if volume.pttype else None]
    known = " ".join(kind for kind in kinds if kind)
    return known or (volume.flag if volume.flag != "alloc" else "not recognised")


def _system(system: Mapping[str, Any]) -> str:
    """What is installed there, in a line."""
    words = {
        "name": "", "hostname": "host ", "time_zone": "zone ", "last_start": "last start ",
        "last_shutdown": "last shutdown ",
    }  # fmt: skip
    return ", ".join(word + printable(str(system[key])) for key, word in words.items() if system.get(key))


def _flat(details: Any, prefix: str = "") -> Iterator[str]:
    """The facts of a format, a line each; what lies deeper under dotted names."""
    for key, value in details.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
            for number, entry in enumerate(value):
                yield from _flat(
                    entry if isinstance(entry, dict) else {"": entry}, f"{prefix}{key}[{number}]."
                )
        elif value not in (None, [], ""):
            shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{printable(prefix + str(key))}: {printable(shown)}"
