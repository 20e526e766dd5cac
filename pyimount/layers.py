"""The layers of a scan, frozen: what ``detect`` returns, with the names that the report has.

A layer knows its parents and never its children; ``Scan`` derives those. Every value is one that
JSON has, so a scan can be stored and loaded again: ``Scan.from_dict(scan.to_dict()) == scan``.
"""

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, TypeAlias, cast

from pyimount.formats import Candidate, Details
from pyimount.problems import NOT_DONE, Code, Problem, Range
from pyimount.records import EMPTY, Record
from pyimount.sources.identity import FileIdentity
from pyimount.version import SCHEMA as SCHEMA  # noqa: PLC0414  (handed on from here, too)

DIRECTORY = "directory"
"""Stands for a container where a folder was named that has no image in it."""


class Recipe(Record):
    """How to come by a layer's bytes: never the bytes, never a key.

    ``kind`` ``image``: from files (``paths``, ``container``, and the folders that policy allowed);
    ``slice``: ``size`` bytes at ``offset`` of the parent; ``none``: no bytes of its own here; any
    other: a module of ``pyimount.mapping``, which makes them from the layers in ``inputs``.
    """

    kind: str
    parameters: Details = EMPTY


class Group(Record, kw_only=True):
    """The array or volume group that a layer is a member of; report.md's ``group``.

    ``members``: how many there should be, None where the member does not know. ``present``: how
    many this scan found. ``volume``: index under which the assembled volumes stand. ``found``: indexes of
    the members that were taken to belong together, this one among them. ``copies``: indexes of volumes that
    are the same member as this one, by its UUID: clones, or images of the same disk.
    """

    type: str
    uuid: str
    name: str | None
    role: str | None
    members: int | None
    present: int
    complete: bool
    volume: str | None = None
    found: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()


class DiskLayer(Record, kw_only=True):
    """One image: its files, its container, its size, the partition table on it.

    ``size`` and ``sector_size`` in bytes. ``size`` is None when the image could not be opened, or is a folder
    of files and no image; ``problems`` then says why. A file that holds several disks is several of these.
    """

    id: int
    index: str | None
    paths: tuple[str, ...]
    container: Details
    size: int | None
    sector_size: int
    recipe: Recipe
    pttype: str | None = None
    ptuuid: str | None = None
    table: Details = EMPTY
    candidates: tuple[Candidate, ...] = ()
    problems: tuple[Problem, ...] = ()
    bytes_read: int = 0
    """Bytes that the scan read from the files, but for those of ``allocation_read``."""
    allocation_read: int = 0
    """Bytes read of allocation structures, to count what is free."""

    @property
    def is_folder(self) -> bool:
        """Whether it is no image, but a folder of files, which can be shown as it is."""
        return self.container.get("type") == DIRECTORY


class VolumeLayer(Record, kw_only=True):
    """A run of bytes in a disk: partition, gap, table, file system, member …; None where unknown.

    The names and their meaning are those of the report. Sizes and offsets are bytes: ``offset``
    from the start of the parent's bytes, ``disk_offset`` from the start of the disk. ``name`` and
    ``mapping``: of a volume that a group makes up, its name there and how it is made; ``hidden``: it
    is a part of another such volume.
    """

    id: int
    parents: tuple[int, ...]
    recipe: Recipe
    index: str
    name: str | None = None
    hidden: bool = False
    mapping: Details = EMPTY
    slot: int | None = None
    flag: str = "alloc"
    offset: int | None = None
    disk_offset: int | None = None
    size: int | None = None
    pttype: str | None = None
    ptuuid: str | None = None
    table: Details = EMPTY
    part_type: str | None = None
    part_type_name: str | None = None
    part_name: str | None = None
    part_uuid: str | None = None
    part_flags: tuple[str, ...] = ()
    type: str | None = None
    usage: str | None = None
    label: str | None = None
    uuid: str | None = None
    uuid_sub: str | None = None
    version: str | None = None
    block_size: int | None = None
    fstype: str | None = None
    fs_size: int | None = None
    free: int | None = None
    used: int | None = None
    created: str | None = None
    modified: str | None = None
    mounted: str | None = None
    last_mountpoint: str | None = None
    state: str | None = None
    locked: bool | None = None
    group: Group | None = None
    candidates: tuple[Candidate, ...] = ()
    details: Details = EMPTY
    problems: tuple[Problem, ...] = ()

    @property
    def claimed_size(self) -> int:
        """Bytes that it is said to have: by what declares it, and by a file system that misses its end."""
        is_cut = any(problem.code == "truncated" for problem in self.problems)
        return max(self.size or 0, (self.fs_size or 0) if is_cut else 0)


Layer: TypeAlias = DiskLayer | VolumeLayer

_NAMES_SHOWN = 3
_KINDS_SHOWN = 6


class MachineDisk(Record, kw_only=True):
    """A disk of a virtual machine, as its configuration has it.

    ``slot``: where it is plugged in; ``name``: the file as the configuration calls it; ``path``: that file in
    the volume, None where it is not there. ``files``: all that the image is made of, a snapshot before what
    it is of; empty where it was not looked into.
    """

    slot: str
    name: str
    path: str | None = None
    files: tuple[str, ...] = ()


class Machine(Record, kw_only=True):
    """A virtual machine whose configuration is a file in a volume.

    ``config``: its path; ``type``: ``vmx`` or ``proxmox``. ``snapshots``: their names, the newest first.
    """

    config: str
    type: str
    name: str | None = None
    disks: tuple[MachineDisk, ...] = ()
    snapshots: tuple[str, ...] = ()


class ImageWithin(Record, kw_only=True):
    """A disk image that is a file in a volume: its ``path`` there, and the ``scan`` of what is in it.

    ``address``: what it is called from the outermost image on, as ``cat`` and ``export`` take it.
    """

    path: str
    address: str
    scan: "Scan"


class Within(Record, kw_only=True):
    """What was found by looking through the files of a volume."""

    images: tuple[ImageWithin, ...] = ()
    machines: tuple[Machine, ...] = ()
    problems: tuple[Problem, ...] = ()


class Scan(Record):
    """Everything that one call of ``detect`` found, in one frozen value.

    ``disks``: one for every image that was named, in that order, readable or not. ``volumes``:
    all layers within them, each after its parents. ``problems``: those of the whole call. ``files``: what was
    read under each absolute path, where that was noted; it is no part of the report.
    """

    disks: tuple[DiskLayer, ...]
    volumes: tuple[VolumeLayer, ...]
    problems: tuple[Problem, ...] = ()
    files: Mapping[str, FileIdentity] = EMPTY
    within: Mapping[int, Within] = cast("Mapping[int, Within]", EMPTY)
    """By the id of a volume: what is in its files, where these were looked through."""

    def __repr__(self) -> str:
        """A line or two: what ``print(scan)`` and a prompt show; the tree is ``pyimount detect``'s."""
        paths = ", ".join(os.path.basename(disk.paths[0]) for disk in self.disks[:_NAMES_SHOWN])
        more = f" and {len(self.disks) - _NAMES_SHOWN} more" if len(self.disks) > _NAMES_SHOWN else ""
        kinds = [str(layer.type or layer.pttype) for layer in self.volumes if layer.type or layer.pttype]
        found = ", ".join(list(dict.fromkeys(kinds))[:_KINDS_SHOWN])
        problems = sum(1 for _ in self.all_problems())
        return (
            f"<Scan of {paths!r}{more}: {len(self.volumes)} volumes{f' ({found})' if found else ''}, "
            f"{problems} problem{'' if problems == 1 else 's'}>"
        )

    def _repr_html_(self) -> str:
        """The picture and the tree, for notebooks: escaped, without a script or anything from elsewhere."""
        from importlib import import_module

        # Against the direction of the house, and so by its name, when a notebook asks: reports know layers,
        # layers need no report for anything else. The architecture test has it as its one exception.
        return str(import_module("pyimount.reports.html").notebook(self))

    @cached_property
    def _by_id(self) -> Mapping[int, Layer]:
        layers: tuple[Layer, ...] = self.disks + self.volumes
        return {layer.id: layer for layer in layers}

    @cached_property
    def _children(self) -> Mapping[int, tuple[VolumeLayer, ...]]:
        found: dict[int, list[VolumeLayer]] = {}
        for volume in self.volumes:
            # What several members make up stands under the first.
            found.setdefault(volume.parents[0], []).append(volume)
        return {parent: tuple(children) for parent, children in found.items()}

    def children(self, layer: Layer) -> tuple[VolumeLayer, ...]:
        """The volumes that stand directly under ``layer``, in the order of their indexes."""
        return self._children.get(layer.id, ())

    def by_id(self, number: int) -> Layer:
        """The layer of this id; raises KeyError."""
        return self._by_id[number]

    def parents(self, volume: VolumeLayer) -> tuple[Layer, ...]:
        """The layers whose bytes make up ``volume``: one, or all the members of an array."""
        return tuple(self._by_id[parent] for parent in volume.parents)

    def disk(self, layer: Layer) -> DiskLayer:
        """The disk that ``layer`` lies on (the first, where it lies on several)."""
        while isinstance(layer, VolumeLayer):
            layer = self._by_id[layer.parents[0]]
        return layer

    def walk(self, layer: Layer | None = None) -> Iterator[VolumeLayer]:
        """All volumes under ``layer``, each before those within it; those of every disk, without it."""
        if layer is None:
            for disk in self.disks:
                yield from self.walk(disk)
            return
        pending = list(reversed(self.children(layer)))
        while pending:
            volume = pending.pop()
            yield volume
            pending.extend(reversed(self.children(volume)))

    def named(self, name: str) -> tuple[Layer, ...]:
        """The disks and volumes that a caller calls so; empty: there is none.

        Those of this index; else of this UUID, an array before its members; else of this label; else those
        last mounted at this path.
        """
        layers: tuple[Layer, ...] = self.disks + self.volumes
        return (
            tuple(layer for layer in layers if layer.index == name)
            or tuple(self._with_uuid(name.lower()))
            or tuple(volume for volume in self.volumes if volume.label == name)
            or tuple(volume for volume in self.volumes if volume.last_mountpoint == name)
        )

    def members(self, volume: VolumeLayer) -> tuple[VolumeLayer, ...]:
        """The members that ``volume``, a member too, was put together with, itself among them.

        Of one UUID there may be several groups: those of cloned machines.
        """
        group = volume.group
        if group is None:
            return (volume,)
        if group.found:
            return tuple(each for each in self.volumes if each is volume or each.index in group.found)
        # A stored report of a version that told no clones apart.
        return tuple(
            each
            for each in self.volumes
            if each.group is not None and (each.group.type, each.group.uuid) == (group.type, group.uuid)
        )

    def __getitem__(self, key: str) -> VolumeLayer:
        """The volume of this index or UUID; raises KeyError when there is none, or several of that UUID.

        An array goes before its members that have its UUID, a volume before shadow copies of it.
        """
        found = [volume for volume in self.volumes if volume.index == key] or self._with_uuid(key.lower())
        if len(found) != 1:
            raise KeyError(f"{key}: {len(found) or 'no'} such volume{'s' if found else ''}")
        return found[0]

    def _with_uuid(self, key: str) -> list[VolumeLayer]:
        found = [volume for volume in self.volumes if volume.uuid and volume.uuid.lower() == key]
        made = [volume for volume in self.volumes if str(volume.mapping.get("uuid", "")).lower() == key != ""]
        if len(made) == 1 and all(volume.id in made[0].parents for volume in found):
            return made
        return [volume for volume in found if volume.mapping.get("type") != "vss"] or found or made

    def exit_status(self, *, strict: bool = False) -> int:
        """What the command ends with: 0; 1 when an image, or what it holds, could not be looked into here.

        3 with ``strict`` when something is locked, incomplete, damaged, ambiguous or unknown.
        """
        if any(disk.size is None for disk in self.disks):
            return 1
        if any(problem.code in NOT_DONE for _, problem in self.all_problems()):
            return 1
        if any(image.scan.exit_status() for image in self.images_within()):
            return 1
        if not strict:
            return 0
        if any(found.problems for found in self.within.values()):
            return 3
        if any(image.scan.exit_status(strict=True) for image in self.images_within()):
            return 3
        unknown = any(
            volume.flag == "alloc" and volume.type is None and volume.pttype is None
            for volume in self.volumes
        )
        incomplete = any(volume.group is not None and not volume.group.complete for volume in self.volumes)
        return 3 if unknown or incomplete or any(self.all_problems()) else 0

    def all_problems(self) -> Iterator[tuple[Layer | None, Problem]]:
        """Every problem with the layer that has it, None for those of the whole call."""
        for problem in self.problems:
            yield None, problem
        for disk in self.disks:
            for problem in disk.problems:
                yield disk, problem
            for volume in self.walk(disk):
                for problem in volume.problems:
                    yield volume, problem

    def to_dict(self, *, strict: bool = False) -> dict[str, Any]:
        """The report as JSON values, as the JSON Schema that ships with the package describes it.

        ``strict`` only decides the report's ``exit_status``.
        """
        from pyimount.version import __version__

        return {
            "schema": SCHEMA,
            "pyimount": __version__,
            "exit_status": self.exit_status(strict=strict),
            "disks": [self._nested(disk) for disk in self.disks],
            "problems": [plain(problem) for problem in self.problems],
        }

    def images_within(self) -> Iterator[ImageWithin]:
        """The images that were found in files, each before those in it."""
        for found in self.within.values():
            for image in found.images:
                yield image
                yield from image.scan.images_within()

    def _nested(self, layer: Layer) -> dict[str, Any]:
        made: dict[str, Any] = plain(layer)
        problems = made.pop("problems")
        made["volumes"] = [self._nested(child) for child in self.children(layer)]
        made["problems"] = problems
        if layer.id in self.within:
            found = self.within[layer.id]
            made["within"] = {
                "images": [_image(image) for image in found.images],
                "machines": plain(found.machines),
                "problems": plain(found.problems),
            }
        return made

    @classmethod
    def from_dict(cls, report: Mapping[str, Any]) -> "Scan":
        """A scan from what ``to_dict`` gave; unknown fields are passed over.

        Raises ValueError when it is a report of another schema, or no report.
        """
        if report.get("schema") != SCHEMA:
            raise ValueError(f"this is no report of schema {SCHEMA}: {report.get('schema')!r}")
        try:
            disks: list[DiskLayer] = []
            volumes: list[VolumeLayer] = []
            within: dict[int, Within] = {}
            pending = []
            for disk in report["disks"]:
                disks.append(_layer(DiskLayer, disk))
                pending.extend(disk["volumes"])
            while pending:
                volume = pending.pop()
                volumes.append(_layer(VolumeLayer, volume))
                if "within" in volume:
                    within[volume["id"]] = _within(volume["within"])
                pending.extend(volume["volumes"])
            volumes.sort(key=lambda volume: volume.id)
            return cls(tuple(disks), tuple(volumes), _problems(report["problems"]), within=within)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the report is incomplete: {error}") from error


def _image(image: ImageWithin) -> dict[str, Any]:
    report = image.scan.to_dict()
    return {
        "path": image.path, "address": image.address, "disks": report["disks"], "problems": report["problems"]
    }  # fmt: skip


def _within(report: Mapping[str, Any]) -> Within:
    images = tuple(
        ImageWithin(
            path=each["path"], address=each["address"], scan=Scan.from_dict({"schema": SCHEMA, **each})
        )
        for each in report["images"]
    )
    machines = tuple(
        Machine(
            config=each["config"], type=each["type"], name=each["name"], snapshots=tuple(each["snapshots"]),
            disks=tuple(MachineDisk(**{**disk, "files": tuple(disk["files"])}) for disk in each["disks"]),
        )
        for each in report["machines"]
    )  # fmt: skip
    return Within(images=images, machines=machines, problems=_problems(report["problems"]))


def plain(value: Any) -> Any:
    """A frozen layer, or a value in it, as JSON values: a mapping of all its fields."""
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    return {name: plain(getattr(value, name)) for name in value.fields}


def _problems(entries: list[dict[str, Any]]) -> tuple[Problem, ...]:
    return tuple(
        Problem(
            Code(entry["code"]),
            entry["message"],
            entry.get("count", 1),
            tuple(Range(**each) for each in entry.get("ranges", ())),
            entry.get("explained", False),
        )
        for entry in entries
    )


def _layer(kind: type[Any], report: Mapping[str, Any]) -> Any:
    values = {name: report[name] for name in kind.fields}
    values["recipe"] = Recipe(**values["recipe"])
    values["candidates"] = tuple(Candidate(**entry) for entry in values["candidates"])
    values["problems"] = _problems(values["problems"])
    if values.get("group") is not None:
        group = values["group"]
        values["group"] = Group(**{key: _frozen(group[key]) for key in Group.fields if key in group})
    return kind(**{name: _frozen(value) for name, value in values.items()})


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
