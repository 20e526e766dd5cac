"""The scan as a tree: one line a layer, what is wrong with it beneath."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text
from rich.tree import Tree

from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer, Within, plain
from pyimount.problems import Code, Problem
from pyimount.wording import printable, size_text

_WARNING = "yellow"
_MUTED = "dim"

_READ_ONLY = frozenset(("cramfs", "erofs", "iso9660", "romfs", "squashfs", "squashfs3"))
"""Types that are made full and never written to: that nothing is free in them tells nothing."""

_DRAWN = ("problems", "candidates")
"""Fields that have lines of their own."""

_LAST = ("id", "parents", "hidden", "recipe")
"""Fields that say how a layer is found again, not what it is."""


class TreeReport:
    """Draws scans. ``everything``: gaps and tables too; ``exact``: sizes in bytes; ``details``: all facts.

    With any of these the lines say where each volume begins, in bytes of its disk; where it is not one run of
    that, after a plus, in bytes of what holds it. Of what a search found they always do.
    """

    def __init__(self, *, everything: bool = False, exact: bool = False, details: bool = False) -> None:
        self._everything = everything
        self._exact = exact
        self._details = details

    def trees(self, scan: Scan) -> Iterator[Tree]:
        """One tree for every image that could be read."""
        for disk in self.shown(scan):
            tree = Tree(self._disk_line(disk), guide_style=_MUTED)
            self._facts(tree, disk, disk.problems)
            self._children(scan, disk, tree)
            yield tree

    @staticmethod
    def shown(scan: Scan) -> list[DiskLayer]:
        """The disks that have a tree: those that could be read."""
        return [disk for disk in scan.disks if disk.size is not None]

    @staticmethod
    def of_all(scan: Scan) -> Iterator[Text]:
        """What is wrong with the call as a whole: a line each."""
        for problem in scan.problems:
            yield Text(f"{problem.code}: {printable(problem.message)}", style=_WARNING)

    def _children(self, scan: Scan, layer: Layer, tree: Tree) -> None:
        pending = [(layer, tree)]
        while pending:
            parent, node = pending.pop()
            children = [
                child for child in scan.children(parent) if self._everything or self._is_shown(scan, child)
            ]
            rows = [self._columns(child) for child in children]
            if not (self._everything or self._exact or self._details or any(map(_is_found, children))):
                rows = [(index, "", size, kind) for index, _, size, kind in rows]
            widths = [
                max((len(column) for column in columns), default=0) for columns in zip(*rows, strict=True)
            ]
            for child, row in zip(children, rows, strict=True):
                branch = node.add(self._line(child, row, widths))
                problems = child.problems if self._details else shown_problems(scan, child)
                self._facts(branch, child, problems)
                self._within(scan.within.get(child.id), branch)
                pending.append((child, branch))

    def _within(self, found: Within | None, branch: Tree) -> None:
        """The machines and the images in the files of a volume, each image with all that is in it."""
        if found is None:
            return
        for machine in found.machines:
            line = Text(f"machine {printable(machine.name or '')}".rstrip(), style="bold")
            line.append(f"  {printable(machine.config)}", style=_MUTED)
            node = branch.add(line)
            for plugged in machine.disks:
                files = plugged.files or ((plugged.path,) if plugged.path else ())
                shown = ", on ".join(printable(each) for each in files)
                node.add(Text(f"{plugged.slot}  {shown or f'{printable(plugged.name)}: not there'}"))
            if machine.snapshots:
                node.add(Text(f"snapshots  {', of '.join(map(printable, machine.snapshots))}"))
        for image in found.images:
            for disk in image.scan.disks:
                node = branch.add(self._disk_line(disk))
                self._facts(node, disk, disk.problems)
                self._children(image.scan, disk, node)
            for problem in image.scan.problems:
                branch.add(Text(f"{problem.code}: {printable(problem.message)}", style=_WARNING))
        for problem in found.problems:
            branch.add(Text(f"{problem.code}: {printable(problem.message)}", style=_WARNING))

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
        if disk.container.get("disk") is not None:
            line.append(f" ({printable(str(disk.container['disk']))})")
        line.append(f"  {size_text(disk.size, exact=self._exact)}  {disk.container['type']}")
        if disk.pttype is not None:
            line.append(f"  {disk.pttype}", style="cyan")
            line.append(f"  {disk.ptuuid or ''}", style=_MUTED)
        return line

    def _columns(self, volume: VolumeLayer) -> tuple[str, str, str, str]:
        return volume.index, _start(volume), size_text(volume.size, exact=self._exact), kind_word(volume)

    def _line(self, volume: VolumeLayer, row: Sequence[str], widths: Sequence[int]) -> Text:
        index, start, size, kind = row
        line = Text()
        line.append(index.ljust(widths[0]), style="bold")
        if widths[1]:
            line.append(f"  at {start.rjust(widths[1])}" if start else " " * (widths[1] + 5), style=_MUTED)
        line.append(f"  {size.rjust(widths[2])}  ")
        line.append(kind.ljust(widths[3]), style="cyan" if volume.type or volume.pttype else _MUTED)
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
        if volume.free is not None and not (volume.free == 0 and volume.type in _READ_ONLY):
            yield f"{size_text(volume.free, exact=self._exact)} free"

    def _facts(self, branch: Tree, layer: Layer, problems: Sequence[Problem]) -> None:
        for problem in problems:
            if problem.code is not Code.LOCKED:  # the line says so
                branch.add(Text(f"{problem.code}: {printable(problem.message)}", style=_WARNING))
        if self._everything or self._details:
            for candidate in layer.candidates:
                branch.add(Text(f"also {candidate.type}: {printable(candidate.why_not)}", style=_MUTED))
        system = layer.details.get("system") if isinstance(layer, VolumeLayer) else None
        if isinstance(system, dict) and not self._details:
            branch.add(Text(_system(system), style="cyan"))
        if self._details:
            fields = {name: value for name, value in plain(layer).items() if name not in _DRAWN}
            details = fields.pop("details", {})
            last = {name: fields.pop(name) for name in _LAST if name in fields}
            for line in (*flat(fields), *flat(details), *flat(last)):
                branch.add(Text(line, style=_MUTED))


def kind_word(volume: VolumeLayer) -> str:
    """The type of a volume, and of the table that it holds; else why there is none."""
    kinds = [volume.type, f"[{volume.pttype}]" if volume.pttype else None]
    known = " ".join(kind for kind in kinds if kind)
    if known or volume.flag != "alloc":
        return known or volume.flag
    unread = any(problem.code is Code.READ_ERROR for problem in volume.problems)
    return "not readable" if unread else "not recognised"


def shown_problems(scan: Scan, layer: Layer) -> tuple[Problem, ...]:
    """The problems of a layer that are to be told: not again what a problem of its disk has said already."""
    if not scan.disk(layer).problems:
        return layer.problems
    return tuple(problem for problem in layer.problems if not problem.explained)


def _is_found(volume: VolumeLayer) -> bool:
    return "search" in (volume.details.get("found_by"), volume.table.get("found_by"))


def _start(volume: VolumeLayer) -> str:
    if volume.disk_offset is not None:
        return str(volume.disk_offset)
    return f"+{volume.offset}" if volume.offset is not None else ""


def _system(system: Mapping[str, Any]) -> str:
    """What is installed there, in a line."""
    words = {
        "name": "", "hostname": "host ", "time_zone": "zone ", "last_start": "last start ",
        "last_shutdown": "last shutdown ",
    }  # fmt: skip
    return ", ".join(word + printable(str(system[key])) for key, word in words.items() if system.get(key))


def flat(details: Any, prefix: str = "") -> Iterator[str]:
    """The facts of a format, a line each; what lies deeper under dotted names."""
    for key, value in details.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
            for number, entry in enumerate(value):
                yield from flat(
                    entry if isinstance(entry, dict) else {"": entry}, f"{prefix}{key}[{number}]."
                )
        elif value not in (None, [], ""):
            shown = " ".join(map(_shown, value)) if isinstance(value, list) else _shown(value)
            yield f"{printable(prefix + str(key))}: {printable(shown)}"


def _shown(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
