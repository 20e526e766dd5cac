"""The bytes of a layer, from its recipe: what ``detect`` found can be read, later and elsewhere too.

One function a kind of recipe. A recipe names files and places, never an open file, so a scan that
was stored or sent to another process opens as one just made.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer
from pyimount.opening import open_image
from pyimount.sources.broker import Broker
from pyimount.sources.budget import Budget, Meter
from pyimount.sources.errors import OpenError
from pyimount.sources.segments import Segments
from pyimount.sources.source import SliceSource, Source

NO_LIMIT = Budget(bytes_read=1 << 62, seconds=float("inf"))
"""The budget of who reads a layer's contents, and not only what a scan needs."""


@contextmanager
def open_layer(scan: Scan, layer: Layer, *, budget: Budget = NO_LIMIT) -> Iterator[Source]:
    """The bytes of ``layer``, a disk or a volume of ``scan``, for as long as the ``with`` block lasts.

    Raises OpenError when its files are no longer there, or when it has no bytes of its own.
    """
    slices: list[VolumeLayer] = []
    while isinstance(layer, VolumeLayer):
        slices.append(layer)
        layer = scan.parents(layer)[0]
    with _disk(layer, Meter(budget)) as bottom:
        source = bottom
        for volume in reversed(slices):
            source = _volume(volume, source)
        yield source


@contextmanager
def _disk(disk: DiskLayer, meter: Meter) -> Iterator[Source]:
    if disk.recipe.kind != "image":
        raise OpenError(f"{disk.paths[0]}: was not read when it was scanned")
    recipe = disk.recipe.parameters
    broker = Broker(tuple(Path(folder) for folder in _texts(recipe.get("allow"))))
    segments = Segments(tuple(Path(path) for path in _texts(recipe["paths"])))
    image, opened = open_image(segments, broker, meter)
    try:
        if opened.source is None or opened.container.type != recipe["container"]:
            raise OpenError(f"{disk.paths[0]}: no longer opens as {recipe['container']}")
        yield opened.source
    finally:
        image.close()


def _volume(volume: VolumeLayer, parent: Source) -> Source:
    if volume.recipe.kind != "slice":
        raise OpenError(f"volume {volume.index} has no bytes of its own that can be read")
    offset, size = volume.recipe.parameters["offset"], volume.recipe.parameters["size"]
    if not isinstance(offset, int) or not isinstance(size, int):
        raise OpenError(f"volume {volume.index}: its recipe is damaged")
    return SliceSource(parent, offset, size)


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
