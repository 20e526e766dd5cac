"""The layers of a scan, made of what was read: which facts they have, and what is wrong with these."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pyimount.formats import Identity, Json, Opened
from pyimount.formats.image import Image
from pyimount.layers import DiskLayer, Recipe, VolumeLayer
from pyimount.problems import Code, Problem, told
from pyimount.recognition.probing import Probe
from pyimount.scanning.figures import plausible
from pyimount.sources.segments import Segments

AnyLayer = TypeVar("AnyLayer", DiskLayer, VolumeLayer)

SECTOR_SIZE = 512
"""Bytes in a sector where nothing says otherwise."""

_IDENTITY_FIELDS = (
    "type",
    "fstype",
    "label",
    "uuid",
    "uuid_sub",
    "version",
    "block_size",
    "fs_size",
    "free",
    "used",
    "created",
    "modified",
    "mounted",
    "last_mountpoint",
    "state",
    "locked",
    "details",
)


def volume_layer(
    number: int,
    place: Mapping[str, Any],
    found: Probe,
    identity: Identity | None,
    faults: Sequence[Problem],
) -> VolumeLayer:
    """The volume at ``place``, with ``number`` for its id.

    ``found``: what stands there; ``identity``: what of it was recognised, with what is free counted.
    ``faults``: what went wrong while it was looked at.
    """
    facts, table = dict(place), found.table
    problems = (*facts.pop("problems", ()), *faults, *found.problems)
    if table is not None:
        facts |= {"pttype": table.pttype, "ptuuid": table.ptuuid, "table": table.details}
        problems = (*problems, *table.problems)
    if identity is not None:
        facts |= {name: getattr(identity, name) for name in _IDENTITY_FIELDS}
        facts["usage"] = found.usage
        problems = (*problems, *identity.problems)
    facts, wrong = plausible(facts)
    problems = (*problems, *wrong)
    fs_size, size = facts.get("fs_size"), facts.get("size")
    if identity is not None and fs_size is not None and size is not None and fs_size > size:
        message = f"the {identity.type} says that it has {fs_size} bytes; here are {size}"
        problems = (*problems, Problem(Code.TRUNCATED, message))
    return VolumeLayer(id=number, **facts, candidates=found.candidates, problems=problems)


def image_recipe(segments: Segments, image: Image, opened_image: Opened, allow: Sequence[str]) -> Recipe:
    """How to come by the bytes of a disk again; ``allow``: the folders that policy allowed."""
    parameters: dict[str, Json] = {"paths": list(image.paths), "container": opened_image.container.type}
    if segments.split:
        parameters["split"] = True
        if image.lost:
            parameters["holes"] = [*sorted(image.lost)]
    if opened_image.part is not None:
        parameters["part"] = opened_image.part
    if allow:
        parameters["allow"] = list(allow)
    # Of what lies elsewhere, no other state is read later on in the name of this scan.
    marks = zip(image.paths, (file.mark for file in image.files), strict=True)
    if marked := {path: mark for path, mark in marks if mark is not None}:
        parameters["marks"] = dict(marked)
    return Recipe("image", parameters)


def unreadable_disk(
    place: Mapping[str, Any], segments: Segments, why: Sequence[Problem], container: str | None
) -> DiskLayer:
    """The layer of an image that could not be opened; ``container``: what it is, as far as that is known."""
    return DiskLayer(
        **place,
        paths=tuple(segments.paths),
        container={"type": container},
        size=None,
        sector_size=SECTOR_SIZE,
        recipe=Recipe("none"),
        problems=tuple(why),
    )


def with_told(layer: AnyLayer) -> AnyLayer:
    """The layer with those of its problems put together that have one cause."""
    return layer.replaced(problems=told(layer.problems)) if layer.problems else layer
