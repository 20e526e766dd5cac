"""What a scan says of disks and volumes: pure functions over ``Scan``, and the arguments it was made with.

An object says where it stands in a scan by its place there, never by the scan itself: so a scan can be made
again, with another disk or another key, and every object finds itself in the new one.
"""

import json
import os
from hashlib import sha256

from pyimount.layers import DiskLayer, Layer, Recipe, Scan, VolumeLayer
from pyimount.records import Record


class View(Record, kw_only=True):
    """How disks are looked at: the arguments of ``detect``. ``alone``: this disk without the others."""

    offset: int | None = None
    size: int | None = None
    vstype: str | None = None
    sector_size: int | None = None
    alone: bool = False


FOLDER = "dir"
"""The type of a volume that stands for a folder of files."""


def with_folders(scan: Scan) -> Scan:
    """The scan with a volume for each of its disks that is a folder of files, as imagemounter has it."""
    layers: tuple[Layer, ...] = scan.disks + scan.volumes
    first = max((layer.id for layer in layers), default=-1) + 1
    made = tuple(
        VolumeLayer(
            id=number,
            parents=(disk.id,),
            recipe=Recipe("none"),
            index="0" if disk.index is None else f"{disk.index}.0",
            type=FOLDER,
            usage="filesystem",
            label=os.path.basename(disk.paths[0].rstrip("/")) or None,
        )
        for number, disk in enumerate((disk for disk in scan.disks if disk.is_folder), first)
    )
    return scan.replaced(volumes=(*scan.volumes, *made)) if made else scan


def without_folders(scan: Scan) -> Scan:
    """The scan as it was before ``with_folders``: this is what plans are made from."""
    return scan.replaced(volumes=tuple(each for each in scan.volumes if each.type != FOLDER))


def layer_of_disk(scan: Scan, path: str) -> DiskLayer:
    """The disk whose first file this is."""
    return next(layer for layer in scan.disks if layer.paths[0] == path)


def local_index(scan: Scan, volume: VolumeLayer) -> str:
    """A volume's index without its disk's."""
    above = scan.disk(volume).index
    return volume.index if above is None else volume.index.removeprefix(f"{above}.")


def with_local_index(scan: Scan, disk: DiskLayer, local: str) -> VolumeLayer | None:
    """The volume of this index on a disk."""
    index = local if disk.index is None else f"{disk.index}.{local}"
    return next((volume for volume in scan.volumes if volume.index == index), None)


def below(scan: Scan, volume: VolumeLayer) -> set[int]:
    """The ids of all layers whose bytes make up a volume, through all members of arrays."""
    found: set[int] = set()
    pending: list[Layer] = [volume]
    while pending:
        layer = pending.pop()
        if isinstance(layer, VolumeLayer):
            fresh = [parent for parent in scan.parents(layer) if parent.id not in found]
            found.update(parent.id for parent in fresh)
            pending.extend(fresh)
    return found


def is_container(scan: Scan, volume: VolumeLayer) -> bool:
    """Whether a volume is opened, not mounted."""
    if volume.usage in ("crypto", "raid"):
        return True
    if volume.usage == "filesystem":
        return False
    return volume.pttype is not None or bool(scan.children(volume))


def offset_in_source(scan: Scan, volume: VolumeLayer) -> int:
    """Bytes from the start of what a volume lies in as a run: its disk, or what a lock or array gives."""
    if volume.disk_offset is not None:
        return volume.disk_offset
    total = 0
    layer: Layer = volume
    while isinstance(layer, VolumeLayer) and layer.recipe.kind == "slice":
        total += layer.offset or 0
        layer = scan.parents(layer)[0]
    return total


def origin(scan: Scan, layer: Layer) -> str:
    """What a layer's bytes come from, as a digest: equal in two scans only where the bytes are the same."""
    known: dict[int, str] = {}

    def of(each: Layer) -> str:
        if each.id not in known:
            parameters = dict(each.recipe.parameters)
            # Ids are of one scan only: what they stand for is told instead.
            inputs = parameters.pop("inputs", None)
            numbers = inputs if isinstance(inputs, list) else getattr(each, "parents", ())
            lies_in = [of(scan.by_id(number)) for number in numbers if isinstance(number, int)]
            paths = list(each.paths) if isinstance(each, DiskLayer) else []
            said = [each.recipe.kind, parameters, paths, lies_in]
            known[each.id] = sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        return known[each.id]

    return of(layer)


def why_unreadable(disk: DiskLayer) -> str:
    """Why a disk could not be read."""
    return next((problem.message for problem in disk.problems), f"{disk.paths[0]} cannot be read")


def volume_at(scan: Scan, disk: DiskLayer, offset: int, size: int) -> VolumeLayer | None:
    """The volume that lies just there on a disk."""
    for layer in scan.walk(disk):
        if layer.disk_offset == offset and layer.size == size and layer.flag == "alloc":
            return layer
    return None
