"""Which layers a volume's files are in, which image files those need, and their bytes in the reader."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from pyimount.files.copies import as_wanted
from pyimount.files.opening import Given, given_of
from pyimount.keys import Keyring
from pyimount.layers import Layer, Scan, VolumeLayer
from pyimount.mapping import Opener
from pyimount.sources.errors import OpenError
from pyimount.sources.shelf import Shelf

_CONTAINED = ("apfs",)
"""Types that hold volumes of their own, whose bytes are those of what holds them."""


def bearer_of(scan: Scan, volume: VolumeLayer) -> tuple[VolumeLayer, int]:
    """The layer whose bytes hold the files, and which of the volumes in it is meant, from 0.

    An APFS volume has no bytes of its own: those of its container are read.
    """
    if volume.recipe.kind != "none":
        return volume, 0
    parent = scan.parents(volume)[0]
    if not isinstance(parent, VolumeLayer):
        raise OpenError(f"volume {volume.index} has no bytes of its own that can be read")
    return parent, [each.id for each in scan.children(parent)].index(volume.id)


def members_of(scan: Scan, volume: VolumeLayer) -> tuple[VolumeLayer, ...]:
    """The layers whose bytes are needed: itself, and the other devices of a file system on several."""
    if volume.group is None:
        return (volume,)
    return (volume, *(each for each in scan.members(volume) if each is not volume))


def image_paths(scan: Scan, volume: VolumeLayer) -> list[str]:
    """The files that have to be open to read a volume."""
    found: dict[str, None] = {}
    pending: list[Layer] = [*members_of(scan, bearer_of(scan, volume)[0])]
    seen: set[int] = set()
    while pending:
        layer = pending.pop()
        if layer.id in seen:
            continue
        seen.add(layer.id)
        parameters = layer.recipe.parameters
        for path in _paths(layer, parameters):
            found.setdefault(path)
        if isinstance(layer, VolumeLayer):
            inputs = parameters.get("inputs")
            numbers = [*layer.parents, *(inputs if isinstance(inputs, list) else ())]
            pending += [scan.by_id(number) for number in numbers if isinstance(number, int)]
    return list(found)


def _paths(layer: Layer, parameters: Mapping[str, Any]) -> Iterator[str]:
    listed = parameters.get("paths")
    yield from getattr(layer, "paths", ())
    yield from (each for each in (listed if isinstance(listed, list) else ()) if isinstance(each, str))
    if isinstance(parameters.get("header"), str):
        yield parameters["header"]


def given_from(
    request: Mapping[str, Any],
    descriptors: Mapping[str, int] | None,
    stack: ExitStack,
    shelf: Shelf | None = None,
) -> Given:
    """What an adapter gets, from a request; ``descriptors``: the images, None where this may open them.

    ``shelf``: where the images are, when they are files within another one.

    Raises SourceError.
    """
    scan = Scan.from_dict(request["scan"])
    keyring = Keyring.revealed(request["keys"])
    volume = scan.by_id(request["layer"])
    if not isinstance(volume, VolumeLayer):
        raise OpenError("a disk has no files of its own")
    bearer, number = bearer_of(scan, volume)
    opener = Opener(scan, keyring, stack, descriptors=descriptors, shelf=shelf)
    sources = [as_wanted(opener.source(layer), layer) for layer in members_of(scan, bearer)]
    keys = tuple(keyring.for_volume(volume.index, volume.uuid))
    return given_of(volume, sources, keys, number)


def request_of(
    scan: Scan,
    volume: VolumeLayer,
    keys: Keyring,
    adapter: str,
    images: Mapping[str, int],
    *,
    within: bool = False,
) -> dict[str, Any]:
    """What a reader is asked to open, as JSON values. ``images``: the open files, by their real paths.

    ``within``: the scan's images are no files here, but within another image.
    """
    report = scan.to_dict()
    pending = [] if within else list(report["disks"])
    while pending:
        layer = pending.pop()
        pending += layer["volumes"]
        parameters = layer["recipe"]["parameters"]
        # The reader knows what is open by paths with no link in them, and may look nothing up.
        if isinstance(parameters.get("paths"), list):
            parameters["paths"] = [os.path.realpath(path) for path in parameters["paths"]]
        if isinstance(parameters.get("header"), str):
            parameters["header"] = os.path.realpath(parameters["header"])
    return {
        "adapter": adapter, "layer": volume.id, "scan": report, "keys": keys.reveal(), "images": len(images)
    }  # fmt: skip


def open_images(paths: list[str]) -> dict[str, int]:
    """Open files for a reader, by their paths with links resolved; the caller closes them.

    Raises OpenError.
    """
    opened: dict[str, int] = {}
    for path in paths:
        real = os.path.realpath(path)
        if real in opened:
            continue
        try:
            opened[real] = os.open(real, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | os.O_CLOEXEC)
        except OSError as error:
            close_images(opened)
            raise OpenError(f"{path}: {error.strerror}") from error
    return opened


def close_images(opened: Mapping[str, int]) -> None:
    """Close what ``open_images`` opened."""
    for descriptor in opened.values():
        os.close(descriptor)
