"""What a parser's objects see: scans of its disks, made when they are first needed and kept.

An object says where it stands in a scan by its place there, never by the scan itself: so a scan can be made
again, with another disk or another key, and every object finds itself in the new one.
"""

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pyimount.exceptions import ArgumentError, SubsystemError
from pyimount.execution.errors import StepFailed
from pyimount.keys import BadKey, Key, Keyring
from pyimount.layers import DiskLayer, Layer, Recipe, Scan, VolumeLayer
from pyimount.mounting import mounting
from pyimount.records import Record

if TYPE_CHECKING:
    from pyimount.imagemounter.disk import Disk
    from pyimount.imagemounter.image_parser import ImageParser
    from pyimount.imagemounter.volume import Volume


class View(Record, kw_only=True):
    """How disks are looked at: the arguments of ``detect``. ``alone``: this disk without the others."""

    offset: int | None = None
    size: int | None = None
    vstype: str | None = None
    sector_size: int | None = None
    alone: bool = False


class _Seen:
    """A scan, and the keys that it was made with; those are not stored."""

    def __init__(self, scan: Scan, tried: frozenset[tuple[str, str]]) -> None:
        self.scan = scan
        self.tried = tried

    def __getstate__(self) -> dict[str, Any]:
        return {"scan": self.scan, "tried": frozenset()}


class Views:
    """The scans of one parser."""

    def __init__(self, parser: "ImageParser") -> None:
        self._parser = parser
        self._seen: dict[tuple[tuple[str, ...], View], _Seen] = {}

    def scan(self, disk: "Disk", view: View) -> Scan:
        """What is seen of a disk; raises SubsystemError, and ArgumentError for what is no view."""
        disks = self._disks(disk, view)
        paths = tuple(each.paths[0] for each in disks)
        known = self._seen.get((paths, view))
        if known is not None and not any(volume.locked for volume in known.scan.volumes):
            return known.scan
        keys = frozenset(self._keys(disks, view))
        if known is not None and keys <= known.tried:
            return known.scan
        try:
            scan = mounting.look(
                paths, keys=_keyring(keys), offset=view.offset, size=view.size, vstype=view.vstype,
                sector_size=view.sector_size,
            )  # fmt: skip
        except StepFailed as error:
            raise SubsystemError(str(error)) from error
        except ValueError as error:
            raise ArgumentError(str(error)) from error
        scan = with_folders(scan)
        self._seen.pop((paths, view), None)
        self._seen[paths, view] = _Seen(scan, keys)
        return scan

    def seen(self, disk: "Disk", view: View) -> Scan | None:
        """The latest scan of this view with this disk, if there is one: nothing is looked at."""
        for (paths, known), seen in reversed(self._seen.items()):
            if known == view and disk.paths[0] in paths:
                return seen.scan
        return None

    def keyring(self, disk: "Disk", view: View) -> Keyring | None:
        """The keys for what a view shows."""
        return _keyring(self._keys(self._disks(disk, view), view))

    def _disks(self, disk: "Disk", view: View) -> "list[Disk]":
        """Those that are looked at together, so that an array on several is seen."""
        others = self._parser.disks if not view.alone else []
        found = [each for each in others if each is disk or each.is_seen_with(disk)]
        return found if disk in found else [*found, disk]

    def _keys(self, disks: "list[Disk]", view: View) -> Iterator[tuple[str, str]]:
        """Each key with the name that its volume has in the scan."""
        several = len({disk.paths[0] for disk in disks}) > 1
        prefixes = {id(disk): f"{number}." if several else "" for number, disk in enumerate(disks, 1)}
        by_index: dict[str, str] = {}
        for disk in disks:
            for volume in disk.get_volumes():
                if volume.view == view and volume.local is not None:
                    by_index[volume.index] = prefixes[id(disk)] + volume.local
        for index, key in self._parser.keys.items():
            if index in by_index:
                yield by_index[index], key
            elif index in ("*", "?"):
                yield "*", key
            else:
                # Of a volume that has not been seen yet, or a UUID.
                for disk in disks:
                    above = "" if disk.index is None else f"{disk.index}."
                    if index.startswith(above):
                        yield prefixes[id(disk)] + index.removeprefix(above), key
                yield index, key
        for disk in disks:
            for volume in disk.get_volumes():
                if volume.key and volume.view == view and volume.local is not None:
                    yield prefixes[id(disk)] + volume.local, volume.key


def _keyring(keys: Any) -> Keyring | None:
    """Keys as ``detect`` takes them; one that is none opens nothing, and keeps no other from it."""
    ring = Keyring()
    for name, text in sorted(keys):
        try:
            ring.add(Key.parse(text), name)
        except BadKey:
            continue  # Said when what it is for is to be opened.
    return ring if len(ring) else None


def why_bad(key: str) -> str | None:
    """What is wrong with how a key is written, or with its file; None when it is fine."""
    try:
        Key.parse(key)
    except BadKey as error:
        return str(error)
    return None


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


def layer_of_disk(scan: Scan, disk: "Disk") -> DiskLayer:
    """The disk in the scan."""
    return next(layer for layer in scan.disks if layer.paths[0] == disk.paths[0])


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


def is_run_of_disk(scan: Scan, volume: VolumeLayer) -> bool:
    """Whether a volume is a run of its disk's bytes, and nothing is decrypted or assembled for it."""
    layer: Layer = volume
    while isinstance(layer, VolumeLayer):
        if layer.recipe.kind != "slice":
            return False
        layer = scan.parents(layer)[0]
    return True


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


def shown_as(scan: Scan, files: Mapping[str, str]) -> Scan:
    """The scan with its disks read from elsewhere: ``files`` has for an image's path that of its bare bytes.

    To be mounted with the disk mounter ``dummy``. The images keep their names, by which they are unmounted.
    """
    disks = tuple(
        _shown(disk, files[disk.paths[0]]) if disk.paths[0] in files else disk for disk in scan.disks
    )
    return scan.replaced(disks=disks)


def _shown(disk: DiskLayer, path: str) -> DiskLayer:
    recipe = Recipe("image", {"paths": [path], "container": "raw"})
    shown: DiskLayer = disk.replaced(paths=(path, *disk.paths), container={"type": "raw"}, recipe=recipe)
    return shown


def why_unreadable(disk: DiskLayer) -> str:
    """Why a disk could not be read."""
    return next((problem.message for problem in disk.problems), f"{disk.paths[0]} cannot be read")


def finds(scan: Scan, disk: DiskLayer, volume: "Volume") -> VolumeLayer | None:
    """What lies just where a volume that was built by hand says that it lies."""
    for layer in scan.walk(disk):
        if layer.disk_offset == volume.offset and layer.size == volume.size and layer.flag == "alloc":
            return layer
    return None
