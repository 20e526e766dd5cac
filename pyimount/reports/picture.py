"""Where each layer of a scan stands in a picture of its disks: boxes, as numbers alone.

A disk is a box as wide as the picture, what it holds stands beneath it, and so on down. Widths are to scale
within one row, but no box is narrower than what it needs to be seen; one that had to be widened says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer
from pyimount.records import Record

WIDTH = 1200.0
"""How wide a picture is, in its own units: about pixels."""

ROW = 40.0
"""How high a box is."""
TABLE_ROW = 18.0
BETWEEN = 26.0
"""What lies between two disks."""

DEEPEST = 48
"""Boxes that stand in one another; what lies deeper is in the table alone."""

_READABLE = 64.0
"""The width of a box in which a line can be read."""
_VISIBLE = 12.0
_NARROWEST = 4.0
_ROOM_EACH = 20.0
"""The room that there has to be for each box of a row; of more, neighbours are put together."""
_FOR_NEEDS = 0.7
"""The part of a crowded row that goes to what boxes need; sizes get the rest."""
_MOST_NEEDED = 800.0
_A_LITTLE = 1.02
"""A box that is wider than its share by no more than this is to scale, as far as one sees."""
_LANES = 6
"""Rows for volumes of one parent that lie over one another."""

_KINDS = {"filesystem": "files", "crypto": "crypto", "raid": "group", "other": "other"}


class Box(Record, kw_only=True):
    """One box: ``layers`` has the layer that it stands for, several where neighbours had no room.

    None of them: bytes of the parent that no volume claims. ``x``, ``y``, ``width``, ``height``: in units of
    the picture. ``kind``: ``disk``, ``strip`` (the table of the box above), ``table``, ``gap``, ``meta``,
    ``files``, ``group``, ``crypto``, ``other``, ``unknown`` or ``several``. ``used``: the part in use, 0 to
    1, None where that is not known. ``to_scale``: False where it is wider than its share.
    ``placed``: False where it is not drawn where its bytes lie, but beside its siblings. ``size``: bytes of a
    gap. ``deeper``: what it holds is not drawn.
    """

    layers: tuple[Layer, ...]
    kind: str
    x: float
    y: float
    width: float
    height: float = ROW
    used: float | None = None
    to_scale: bool = True
    placed: bool = True
    size: int | None = None
    deeper: bool = False

    @property
    def layer(self) -> Layer | None:
        """The layer, where it is one."""
        return self.layers[0] if len(self.layers) == 1 else None


class Picture(Record, kw_only=True):
    """All boxes, each after the one that it stands under, and ``lines``: pairs of boxes that belong together.

    A line is two indexes into ``boxes`` and the number of the array or volume group, from 0.
    """

    boxes: tuple[Box, ...]
    lines: tuple[tuple[int, int, int], ...]
    width: float
    height: float


class _Item(Record):
    """What is to get a box: the bytes ``start`` to ``end`` of a row, and the width that it needs."""

    start: int
    end: int
    layers: tuple[VolumeLayer, ...]
    need: float


def picture(scan: Scan, *, width: float = WIDTH) -> Picture:
    """The picture of a scan: its disks beneath each other, each as wide as the picture."""
    return _Drawing(scan, width).made()


def is_drawn(volume: VolumeLayer) -> bool:
    """Whether a volume has its place in a picture: parts of other volumes have none, unless unwell."""
    return not volume.hidden or bool(volume.problems)


def used_part(layer: Layer) -> float | None:
    """How much of a volume its file system has in use, 0 to 1; None where that is not told, or cannot be."""
    if isinstance(layer, DiskLayer):
        return None
    # A box is as wide as the volume, of which a file system may fill a part only.
    whole = max(layer.size or 0, layer.fs_size or 0)
    if not whole:
        return None
    used = layer.used
    if used is None and layer.free is not None:
        used = (layer.fs_size or whole) - layer.free
    return used / whole if used is not None and 0 <= used <= whole else None


def kind_of(volume: VolumeLayer) -> str:
    """What a box is drawn as."""
    if volume.flag == "unalloc":
        return "gap"
    if volume.flag == "meta":
        return "meta"
    if volume.type is None:
        return "table" if volume.pttype else "unknown"
    return _KINDS.get(str(volume.usage), "other")


def shares(widths: Sequence[int], needs: Sequence[float], room: float) -> list[tuple[float, bool]]:
    """``room`` dealt out by ``widths``, none less than it needs; and whether each has just its share.

    Where there is not room for what all need, those that need most get less.
    """
    if sum(needs) > room:
        needs = _lowered(needs, room * _FOR_NEEDS)
    fixed = [False] * len(widths)
    while True:
        free = room - sum(need for need, is_fixed in zip(needs, fixed, strict=True) if is_fixed)
        weight = sum(size for size, is_fixed in zip(widths, fixed, strict=True) if not is_fixed)
        if not weight:
            break
        small = [
            not is_fixed and size * free / weight < need - 1e-9
            for size, need, is_fixed in zip(widths, needs, fixed, strict=True)
        ]
        if not any(small):
            break
        fixed = [was or now for was, now in zip(fixed, small, strict=True)]
    if not weight:
        total = sum(needs) or 1.0
        return [(need * room / total, False) for need in needs]
    return [
        (need if is_fixed else size * free / weight, not is_fixed)
        for size, need, is_fixed in zip(widths, needs, fixed, strict=True)
    ]


def _lowered(needs: Sequence[float], room: float) -> list[float]:
    """The needs with the highest of them lowered to one height, so that together they fit."""
    rest = room
    for number, need in enumerate(sorted(needs)):
        highest = rest / (len(needs) - number)
        if need > highest:
            return [min(each, highest) for each in needs]
        rest -= need
    return list(needs)


class _Drawing:
    def __init__(self, scan: Scan, width: float) -> None:
        self._scan = scan
        self._width = width
        self._boxes: list[Box] = []
        self._needs = _needs(scan)

    def made(self) -> Picture:
        y = 0.0
        for disk in self._scan.disks:
            self._boxes.append(Box(layers=(disk,), kind="disk", x=0.0, y=y, width=self._width))
            y = self._beneath(disk, self._boxes[-1], 1) + BETWEEN
        return Picture(
            boxes=tuple(self._boxes),
            lines=tuple(self._lines()),
            width=self._width,
            height=max(0.0, y - BETWEEN),
        )

    def _beneath(self, layer: Layer, box: Box, depth: int) -> float:
        """Draw what a layer holds under its box; returns where that ends."""
        children = [child for child in self._scan.children(layer) if is_drawn(child)]
        y = box.y + box.height
        if not children:
            return y
        if layer.pttype is not None:
            table = box.replaced(kind="strip", y=y, height=TABLE_ROW, used=None, placed=True, to_scale=True)
            self._boxes.append(table)
            y += TABLE_ROW
        whole = layer.size or 0
        placed: list[_Item] = []
        loose: list[_Item] = []
        stood = 0
        for child in children:
            need = self._needs[child.id]
            start, size = child.offset, child.size or 0
            if start is not None and size > 0 and (not whole or start < whole):
                end = min(start + size, whole) if whole else start + size
                placed.append(_Item(start, end, (child,), need))
            else:
                loose.append(_Item(stood, stood + max(1, size), (child,), need))
                stood += max(1, size)
        bottom = y
        if placed:
            total = whole or max(item.end for item in placed)
            bottom = self._row(placed, total, box, y, depth, placed=True)
        if loose:
            bottom = self._row(loose, stood, box, bottom, depth, placed=len(loose) == 1)
        return bottom

    def _row(self, items: list[_Item], total: int, box: Box, y: float, depth: int, *, placed: bool) -> float:
        """Draw the children of one box; returns where all that stands under them ends."""
        items.sort(key=lambda item: (item.start, -item.end, item.layers[0].id))
        items = _with_room(items, int(box.width // _ROOM_EACH))
        lanes = _lanes(items)
        edges = sorted({0, total, *(item.start for item in items), *(item.end for item in items)})
        places, true = _places(items, edges, box.width)
        done: list[tuple[float, float, float]] = []
        for lane in lanes:
            for item in lane:
                left, right = places[item.start], places[item.end]
                top = max(
                    (end for start, stop, end in done if start < right - 1e-6 and left < stop - 1e-6),
                    default=y,
                )
                made = self._box(item, box.x + left, top, right - left, placed=placed)
                made = made.replaced(to_scale=(item.start, item.end) not in true)
                only = item.layers[0] if len(item.layers) == 1 else None
                if only is not None and depth >= DEEPEST and self._scan.children(only):
                    made, only = made.replaced(deeper=True), None
                self._boxes.append(made)
                bottom = top + made.height
                if only is not None:
                    bottom = self._beneath(only, made, depth + 1)
                done.append((left, right, bottom))
        self._boxes.extend(_unclaimed(items, edges, places, box.x, y))
        return max([y + ROW, *(bottom for _, _, bottom in done)])

    def _box(self, item: _Item, x: float, y: float, width: float, *, placed: bool) -> Box:
        only = item.layers[0]
        if len(item.layers) > 1:
            return Box(layers=item.layers, kind="several", x=x, y=y, width=width, placed=placed)
        return Box(
            layers=(only,), kind=kind_of(only), x=x, y=y, width=width, used=used_part(only), placed=placed
        )

    def _lines(self) -> Iterable[tuple[int, int, int]]:
        """From each member of an array or group to the next, wherever their boxes are."""
        where: dict[int, int] = {}
        for number, box in enumerate(self._boxes):
            if box.kind != "strip":
                for layer in box.layers:
                    where.setdefault(layer.id, number)
        groups: dict[tuple[int, ...], None] = {}
        for volume in self._scan.volumes:
            if volume.group is not None:
                groups[tuple(sorted(each.id for each in self._scan.members(volume)))] = None
            elif len(volume.parents) > 1 and not all(map(self._is_member, volume.parents)):
                groups[tuple(sorted(volume.parents))] = None
        number = 0
        for members in groups:
            boxes = sorted({where[member] for member in members if member in where})
            if len(boxes) > 1:
                for first, second in pairwise(boxes):
                    yield first, second, number
                number += 1

    def _is_member(self, number: int) -> bool:
        layer = self._scan.by_id(number)
        return isinstance(layer, VolumeLayer) and layer.group is not None


def _needs(scan: Scan) -> Mapping[int, float]:
    """How wide the box of each volume has to be for what stands in it and beneath it to be seen."""
    beneath: dict[int, float] = {}
    needs: dict[int, float] = {}
    for volume in reversed(scan.volumes):  # each stands after its parents
        own = _VISIBLE if volume.flag != "alloc" else _READABLE
        needs[volume.id] = max(own, min(beneath.get(volume.id, 0.0), _MOST_NEEDED))
        if is_drawn(volume):
            parent = volume.parents[0]
            beneath[parent] = beneath.get(parent, 0.0) + needs[volume.id]
    return needs


def _with_room(items: list[_Item], most: int) -> list[_Item]:
    """The items, at most ``most``: of too many, the small and plain ones are put together with neighbours."""
    most = max(1, most)
    if len(items) <= most:
        return items

    def weight(number: int) -> tuple[bool, bool, int]:
        layer = items[number].layers[0]
        return layer.flag == "alloc", bool(layer.problems), items[number].end - items[number].start

    kept = set(sorted(range(len(items)), key=weight, reverse=True)[: (most - 1) // 2])
    found: list[_Item] = []
    run: list[_Item] = []
    for number, item in enumerate(items):
        if number in kept:
            if run:
                found.append(_together(run))
                run = []
            found.append(item)
        else:
            run.append(item)
    if run:
        found.append(_together(run))
    return found


def _together(items: Sequence[_Item]) -> _Item:
    if len(items) == 1:
        return items[0]
    layers = tuple(layer for item in items for layer in item.layers)
    return _Item(min(item.start for item in items), max(item.end for item in items), layers, _READABLE / 2)


def _lanes(items: Sequence[_Item]) -> list[list[_Item]]:
    """The items in rows within which none lies over another; what finds none is put together in the last."""
    lanes: list[list[_Item]] = []
    over: list[_Item] = []
    for item in items:
        for lane in lanes:
            if lane[-1].end <= item.start:
                lane.append(item)
                break
        else:
            if len(lanes) < _LANES:
                lanes.append([item])
            else:
                over.append(item)
    if over:
        lanes.append([_together(over)])
    return lanes


def _places(
    items: Sequence[_Item], edges: Sequence[int], room: float
) -> tuple[dict[int, float], set[tuple[int, int]]]:
    """Where each edge of the items stands in a row, and which of them are wider than to scale."""
    number_of = {edge: number for number, edge in enumerate(edges)}
    sizes = [stop - start for start, stop in pairwise(edges)]
    needs = [_NARROWEST] * len(sizes)
    # What lies within an item counts towards what it needs: the short ones first.
    for item in sorted(items, key=lambda each: (number_of[each.end] - number_of[each.start], each.start)):
        covered = range(number_of[item.start], number_of[item.end])
        lacking = item.need - sum(needs[number] for number in covered)
        if lacking > 0:
            largest = max(covered, key=lambda number: sizes[number])
            needs[largest] += lacking
    dealt = shares(sizes, needs, room)
    places = {edges[0]: 0.0}
    for edge, (width, _) in zip(edges[1:], dealt, strict=True):
        places[edge] = places[edges[number_of[edge] - 1]] + width
    whole = sum(sizes)
    widened = {
        (item.start, item.end)
        for item in items
        if not all(dealt[number][1] for number in range(number_of[item.start], number_of[item.end]))
        # One that has its share all the same, of the whole row say, is not wider for what lies over it.
        and places[item.end] - places[item.start] > _A_LITTLE * room * (item.end - item.start) / whole
    }
    return places, widened


def _unclaimed(
    items: Sequence[_Item], edges: Sequence[int], places: Mapping[int, float], x: float, y: float
) -> Iterable[Box]:
    """A gap for every run of a row that no item covers."""
    end = 0
    for item in (*items, _Item(edges[-1], edges[-1], (), 0.0)):
        if item.start > end:
            width = places[item.start] - places[end]
            yield Box(layers=(), kind="gap", x=x + places[end], y=y, width=width, size=item.start - end)
        end = max(end, item.end)
