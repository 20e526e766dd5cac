"""What a report says of one layer: its name in a line, and all its facts as pairs of words.

Every word is fit to be shown: what an image says is escaped for a terminal; for HTML it still has to be.
"""

import os
from collections.abc import Iterator

from pyimount.layers import DiskLayer, Layer, plain
from pyimount.reports.picture import Box
from pyimount.reports.tree import flat, kind_word
from pyimount.wording import printable, size_text

_DRAWN = ("problems", "candidates", "recipe", "id", "parents", "hidden")
_NAMED = 8


def name(layer: Layer) -> str:
    """What a layer is called: its index and kind, or the file of a disk and its container."""
    if isinstance(layer, DiskLayer):
        path = printable(os.path.basename(layer.paths[0]) or layer.paths[0])
        index = f"{printable(layer.index)}  " if layer.index is not None else ""
        return f"{index}{path}  {printable(str(layer.container.get('type', '?')))}"
    return f"{printable(layer.index)} {printable(kind_word(layer))}"


def second_line(layer: Layer) -> str:
    """Its label, or what else names it, and its size."""
    if isinstance(layer, DiskLayer):
        return size_text(layer.size)
    called = layer.label or layer.name or layer.part_name or (layer.part_type_name if not layer.type else "")
    return " ".join(filter(None, (printable(called or ""), size_text(layer.size))))


def told(box: Box) -> list[str]:
    """The lines that a box tells when it is pointed at: the facts that matter, and all that is wrong."""
    if not box.layers:
        return [f"not claimed by any volume, {size_text(box.size)} ({box.size} bytes)"]
    if len(box.layers) > 1:
        volumes = [layer for layer in box.layers if layer.index is not None]
        names = [printable(str(layer.index)) for layer in volumes]
        shown = ", ".join(names[:_NAMED]) + (f" … {names[-1]}" if len(names) > _NAMED else "")
        lines = [f"{len(box.layers)} volumes that have no room here: {shown}"]
        unwell = sum(bool(layer.problems) for layer in box.layers)
        return [
            *lines,
            *([f"{unwell} of them with problems"] if unwell else []),
            "the table has each of them",
        ]
    layer = box.layers[0]
    if box.kind == "strip":
        uuid = [f"UUID: {printable(layer.ptuuid)}"] if layer.ptuuid else []
        return [f"partition table {printable(str(layer.pttype))}", *uuid]
    lines = [name(layer), *(f"{key}: {value}" for key, value in main_facts(layer))]
    if not box.to_scale:
        lines.append("drawn wider than to scale")
    if not box.placed:
        lines.append("drawn beside its siblings, not where its bytes lie")
    if box.deeper:
        lines.append("holds more, which the table has")
    lines += [f"{problem.code}: {printable(problem.message)}" for problem in layer.problems]
    return lines


def main_facts(layer: Layer) -> Iterator[tuple[str, str]]:
    """The facts that matter first, as pairs."""
    size = "?" if layer.size is None else f"{size_text(layer.size)} ({layer.size} bytes)"
    if isinstance(layer, DiskLayer):
        yield "files", " ".join(map(printable, layer.paths[:_NAMED])) + (" …" if layer.paths[_NAMED:] else "")
        yield "size", size
        if layer.pttype:
            yield "partition table", printable(layer.pttype)
        return
    yield "size", size
    if layer.disk_offset is not None:
        yield "begins at", f"byte {layer.disk_offset} of the disk"
    elif layer.offset is not None:
        yield "begins at", f"byte {layer.offset} of what holds it"
    for word, value in (
        ("label", layer.label),
        ("name", layer.name),
        ("partition", layer.part_name),
        ("partition type", layer.part_type_name),
        ("UUID", layer.uuid),
        ("last mounted on", layer.last_mountpoint),
        ("state", layer.state),
    ):
        if value:
            yield word, printable(value)
    if layer.used is not None:
        yield "used", f"{size_text(layer.used)} ({layer.used} bytes)"
    if layer.free is not None:
        yield "free", f"{size_text(layer.free)} ({layer.free} bytes)"
    if layer.locked is not None:
        yield "encrypted", "locked" if layer.locked else "opened with a key"
    if layer.group is not None:
        group = layer.group
        members = "?" if group.members is None else str(group.members)
        yield "member of", f"{printable(group.name or group.uuid)} ({group.present} of {members} present)"


def all_facts(layer: Layer) -> list[tuple[str, str]]:
    """Every fact of a layer, as the report's own names and values."""
    fields = {key: value for key, value in plain(layer).items() if key not in _DRAWN}
    details = fields.pop("details", {})
    pairs = (line.partition(": ") for line in (*flat(fields), *flat(details, "details.")))
    return [(key, value) for key, _, value in pairs]
