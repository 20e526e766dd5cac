"""Volumes that are made of runs of their members: RAID sets, dynamic disks, volumes of plexes, extents.

A recipe is a tree. Its leaves are runs of members, ``{"type": "run", "input": 0, "offset": …, "size": …}`` in
bytes, with ``input`` None where the member is missing; all other nodes put their ``parts`` together:

- ``linear``: one after the other; ``mirrored``: all alike; ``striped``: dealt out by ``chunk`` bytes;
- ``raid10``: ``layout`` as md numbers it; ``parity``: ``level`` and ``layout`` as md numbers them.

The functions that make nodes raise ValueError for figures that no volume has.
"""

from collections.abc import Iterator, Sequence

from pyimount.formats import Details, Json
from pyimount.mapping.parity import LAYOUTS, ParitySource
from pyimount.mapping.raid import (
    Device,
    LinearSource,
    MirrorSource,
    Raid10Layout,
    Raid10Source,
    StripedSource,
    strip_zones,
)
from pyimount.mapping.recipes import SIZE_CAP, input_of, list_of, number_of
from pyimount.problems import Code, Problem
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.source import Source

DEPTH_CAP = 4
"""Nodes below one another: a mirror of stripes over linear columns of runs."""
PARTS_CAP = 1 << 16
"""Parts of one node."""
CHUNK_CAP = 1 << 30
"""Bytes; no real chunk comes near."""
_GRAIN = 4096

Node = dict[str, Json]


def run(member: int | None, offset: int, size: int) -> Node:
    """A leaf: bytes of a member, given by its number among the inputs; None where it is missing."""
    return _sound({"type": "run", "input": member, "offset": offset, "size": size})


def linear(parts: Sequence[Node]) -> Node:
    """One part after the other."""
    return _sound({"type": "linear", "parts": [*parts], "size": sum(map(size_of, parts))})


def mirrored(parts: Sequence[Node], size: int) -> Node:
    """Every part has all bytes, or those up to its own end."""
    return _sound({"type": "mirrored", "parts": [*parts], "size": size})


def striped(parts: Sequence[Node], chunk: int) -> Node:
    """RAID 0."""
    size = sum(size_of(part) // chunk * chunk for part in parts)
    return _sound({"type": "striped", "parts": [*parts], "chunk": chunk, "size": size})


def raid10(parts: Sequence[Node], chunk: int, layout: int) -> Node:
    """RAID 10, also over odd numbers of parts."""
    laid_out = Raid10Layout(layout, chunk, len(parts), min(map(size_of, parts)))
    size = laid_out.size
    return _sound({"type": "raid10", "parts": [*parts], "chunk": chunk, "layout": layout, "size": size})


def parity(parts: Sequence[Node], chunk: int, level: int, layout: int) -> Node:
    """RAID 4, 5 or 6."""
    rows = min(map(size_of, parts)) // chunk
    size = rows * chunk * (len(parts) - (2 if level == 6 else 1))
    return _sound(
        {
            "type": "parity",
            "parts": [*parts],
            "chunk": chunk,
            "level": level,
            "layout": layout,
            "size": size,
        }
    )


def _sound(node: Node) -> Node:
    for name in ("offset", "size"):
        value = node.get(name, 0)
        if not isinstance(value, int) or not 0 <= value <= SIZE_CAP:
            raise ValueError(f"{name} {value}")
    if "parts" in node and not node["parts"]:
        raise ValueError("nothing to put together")
    return node


def size_of(node: Node) -> int:
    """Bytes in what a node gives."""
    return number_of(node, "size", SIZE_CAP)


def recipe_of(tree: Node, size: int, problems: list[Problem]) -> dict[str, Json]:
    """The recipe of an array that says it has ``size`` bytes; ``problems`` says where its disks hold less."""
    if size_of(tree) < size:
        message = f"the disks hold {size_of(tree)} bytes of an array that says it has {size}"
        problems.append(Problem(Code.DAMAGED, message))
    return {"volume": tree, "size": size}


def is_lacking(node: Node) -> bool:
    """Whether some of its bytes cannot be had, for the members that are missing."""
    kind = node["type"]
    if kind == "run":
        return node["input"] is None
    lost = [is_lacking(part) for part in _parts(node)]
    if kind == "mirrored":
        if any(lost) and _are_alike(_parts(node)):
            # What one copy lacks another may have, column by column.
            columns = zip(*map(_parts, _parts(node)), strict=True)
            return any(all(map(is_lacking, column)) for column in columns)
        whole = [size_of(part) >= size_of(node) for part in _parts(node)]
        return not any(full and not gone for full, gone in zip(whole, lost, strict=True))
    if kind == "parity":
        return sum(lost) > (2 if node["level"] == 6 else 1)
    if kind == "raid10":
        layout = _raid10_layout(node)
        return any(all(lost[slot] for slot, _ in layout.copies(chunk)) for chunk in range(len(lost)))
    return any(lost)


def _are_alike(parts: Sequence[Node]) -> bool:
    """Whether these are stripes of one shape."""
    shapes = {
        (part["type"], part.get("chunk"), size_of(part), len(_parts(part)))
        for part in parts
        if "parts" in part
    }
    return len(shapes) == 1 and parts[0]["type"] == "striped" and all("parts" in part for part in parts)


class _PatchedMirror(Source):
    """A mirror whose copies are made of several parts: each may lack another part, so that only smaller
    reads succeed.
    """  # noqa: D205

    __slots__ = ("_mirror",)

    def __init__(self, mirror: MirrorSource) -> None:
        self._mirror = mirror
        self.size = mirror.size

    def _read(self, offset: int, length: int) -> bytes:
        chunks: list[bytes] = []
        pending = [(offset, length)]
        while pending:
            at, rest = pending.pop()
            try:
                chunks.append(self._mirror.read_at(at, rest))
            except ReadError:
                if rest <= _GRAIN:
                    raise
                half = max(_GRAIN, rest // 2 // _GRAIN * _GRAIN)
                pending += [(at + half, rest - half), (at, half)]
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def open_mapped(parameters: Details, inputs: Sequence[Source]) -> Source:
    """The bytes of a volume from its recipe, of which ``volume`` is the tree.

    Raises OpenError for a recipe that is none.
    """
    volume = parameters.get("volume")
    if not isinstance(volume, dict):
        raise OpenError("the recipe has no volume")
    size = parameters.get("size", volume.get("size"))
    if not isinstance(size, int) or size < 0:
        raise OpenError("the recipe has no size")
    device = _device(volume, inputs, 0)
    # The volume may be shorter than what its parts could hold, never longer.
    return LinearSource([device], [min(size, size_of(volume))])


def _device(node: Node, inputs: Sequence[Source], depth: int) -> Device | None:
    size = size_of(node)
    if node.get("type") == "run":
        source = input_of(node.get("input"), inputs)
        return None if source is None else Device(source, number_of(node, "offset", SIZE_CAP), size)
    return Device(_source(node, inputs, depth), 0, size)


def _source(node: Node, inputs: Sequence[Source], depth: int) -> Source:
    if depth >= DEPTH_CAP:
        raise OpenError(f"the recipe has more than {DEPTH_CAP} layers")
    parts = _parts(node)
    devices = [_device(part, inputs, depth + 1) for part in parts]
    sizes = [size_of(part) for part in parts]
    size = size_of(node)
    kind = node.get("type")
    if kind == "linear":
        return LinearSource(devices, sizes)
    if kind == "mirrored":
        mirror = MirrorSource(devices, size)
        return mirror if all(part.get("type") == "run" for part in parts) else _PatchedMirror(mirror)
    chunk = number_of(node, "chunk", CHUNK_CAP)
    if not chunk:
        raise OpenError("the recipe has chunks of no size")
    if kind == "striped":
        return StripedSource(devices, strip_zones(sizes, chunk), chunk)
    if kind == "raid10":
        return Raid10Source(devices, _raid10_layout(node), chunk)
    level, layout = number_of(node, "level", 6), number_of(node, "layout", 255)
    if kind != "parity" or layout not in LAYOUTS.get(level, ()) or len(parts) < (4 if level == 6 else 2):
        raise OpenError(f"nothing opens a node of type {kind}, level {level}, layout {layout}")
    return ParitySource(devices, level=level, layout=layout, chunk=chunk, size=size)


def _raid10_layout(node: Node) -> Raid10Layout:
    parts = _parts(node)
    chunk, layout = number_of(node, "chunk", CHUNK_CAP), number_of(node, "layout", 1 << 20)
    try:
        return Raid10Layout(layout, chunk, len(parts), min(map(size_of, parts)))
    except ValueError as error:
        raise OpenError(str(error)) from error


def _parts(node: Node) -> list[Node]:
    return [*_nodes(list_of(node, "parts", PARTS_CAP))]


def _nodes(parts: Sequence[Json]) -> Iterator[Node]:
    for part in parts:
        if not isinstance(part, dict):
            raise OpenError("the recipe has a part that is none")
        yield part
