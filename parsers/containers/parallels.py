"""Parallels hard disk: an expandable image (.hds, .hdd), alone or with others by its DiskDescriptor.xml.

Layout: QEMU, docs/interop/parallels.rst ("Parallels Expandable Image File Format") and prl-xml.rst
("Parallels Disk Format").
"""

import re
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from construct import Bytes, Int32ul, Int64ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, read_struct
from pyimount.parsers.containers.clusters import SURVEY, integers, truncated
from pyimount.parsers.containers.runs import EntryTable, Run, RunSource
from pyimount.parsers.containers.xmltext import read_xml
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import MissingBytes, OpenError, ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import View

HEADER = layout(
    lambda: Struct(
        "magic" / Bytes(16),
        "version" / Int32ul,
        "heads" / Int32ul,
        "cylinders" / Int32ul,
        "tracks" / Int32ul,
        "bat_entries" / Int32ul,
        "nb_sectors" / Int64ul,
        "in_use" / Int32ul,
        "data_off" / Int32ul,
        "flags" / Int32ul,
        "ext_off" / Int64ul,
    )
)

OLD, EXTENDED = b"WithoutFreeSpace", b"WithouFreSpacExt"
IN_USE = 0x746F6E59
SECTOR = 512
DESCRIPTOR = "DiskDescriptor.xml"
_DESCRIPTOR_CAP = 1 << 20
_CLUSTER_CAP_SECTORS = 1 << 21
_IMAGES_CAP = 256
NO_SNAPSHOT = "00000000-0000-0000-0000-000000000000"
DEFAULT_TOP = "5fbaabe3-6958-40ff-92a7-860e329aab41"
"""The GUID of the topmost image where the descriptor names none."""
_NO_ENCRYPTION = ("", NO_SNAPSHOT)


def parse(view: View) -> Container:
    """What the header of an expandable image, or a disk's descriptor, says."""
    if view.peek(0, 5) in (b"<?xml", b"\xef\xbb\xbf<?"):
        return _described(_read_descriptor(view.source), view.size)
    header = _header(view)
    details: dict[str, Json] = {
        "variant": "expandable",
        "version": header.version,
        "signature": header.magic.decode(),
        "stored_size": view.size,
        "cluster_size": header.tracks * SECTOR,
        "in_use": header.in_use == IN_USE,
        "geometry": {"cylinders": header.cylinders, "heads": header.heads},
        "empty": bool(header.flags & 1),
        "has_extension": header.magic == EXTENDED and header.ext_off != 0,
    }
    return Container(type="hdd", size=_sectors(header) * SECTOR, sector_size=SECTOR, details=details)


def _header(view: View) -> Any:
    header = read_struct(view, HEADER, 0)
    if header.version != 2 or not 0 < header.tracks <= _CLUSTER_CAP_SECTORS:
        raise NotThisFormat(f"version {header.version}, clusters of {header.tracks} sectors")
    return header


def _sectors(header: Any) -> int:
    # The older signature has only 32 bits for the size; what follows them means nothing.
    return int(header.nb_sectors if header.magic == EXTENDED else header.nb_sectors & 0xFFFFFFFF)


class _Storage:
    """A run of the disk, in sectors, and the images that hold it: file and type by snapshot."""

    def __init__(self) -> None:
        self.start = 0
        self.end = 0
        self.images: list[dict[str, str]] = []

    def image(self, guid: str) -> Mapping[str, str]:
        """The image of this snapshot; raises NotThisFormat."""
        for image in self.images:
            if image.get("guid") == guid:
                return image
        raise NotThisFormat(f"no image belongs to the snapshot {guid}")


class _Descriptor:
    """What a DiskDescriptor.xml says; GUIDs in lower case without braces."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.facts: dict[str, str] = {}
        self.storages: list[_Storage] = []
        self.parents: dict[str, str] = {}
        self.top = ""

    def chain(self, top: str) -> list[str]:
        """The snapshots from ``top`` down to the first; raises NotThisFormat when they go in a circle."""
        chain = [top]
        while (parent := self.parents.get(chain[-1], NO_SNAPSHOT)) != NO_SNAPSHOT:
            if parent in chain:
                raise NotThisFormat(f"the snapshot {parent} is its own ancestor")
            chain.append(parent)
        return chain

    def owner(self, name: str) -> str | None:
        """The snapshot that the file called ``name`` belongs to."""
        for storage in self.storages:
            for image in storage.images:
                if _last_part(image.get("file", "")) == name:
                    return image.get("guid")
        return None


class _DescriptorReader:
    """Gathers a descriptor from XML's events."""

    def __init__(self) -> None:
        self.found = _Descriptor()
        self._path: list[str] = []
        self._text: list[str] = []
        self._shot: dict[str, str] = {}
        self._images = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        if not self._path:
            if tag != "Parallels_disk_image":
                raise NotThisFormat(f"XML of {tag}")
            self.found.version = attributes.get("Version")
        self._path.append(tag)
        self._text = []
        if tag == "Storage":
            self.found.storages.append(_Storage())
        elif tag == "Image" and self.found.storages:
            self.found.storages[-1].images.append({})
        elif tag == "Shot":
            self._shot = {}
        if tag in ("Storage", "Image", "Shot"):
            self._images += 1
            if self._images > _IMAGES_CAP:
                raise NotThisFormat(f"more than {_IMAGES_CAP} images and snapshots")

    def text(self, piece: str) -> None:
        """A piece of the innermost element's text."""
        self._text.append(piece)

    def end(self, tag: str) -> None:
        """An element ends."""
        self._path.pop()
        value = "".join(self._text).strip()
        self._text = []
        outer = self._path[-1] if self._path else ""
        if outer == "Storage" and tag in ("Start", "End") and re.fullmatch(r"[0-9]{1,16}", value):
            setattr(self.found.storages[-1], tag.lower(), int(value))
        elif outer == "Image" and self.found.storages and self.found.storages[-1].images:
            self.found.storages[-1].images[-1][tag.lower()] = _guid(value) if tag == "GUID" else value
        elif outer == "Shot":
            self._shot[tag] = _guid(value)
        elif tag == "Shot" and "GUID" in self._shot:
            self.found.parents[self._shot["GUID"]] = self._shot.get("ParentGUID", NO_SNAPSHOT)
        elif tag == "TopGUID":
            self.found.top = _guid(value)
        elif outer in ("Disk_Parameters", "Encryption"):
            self.found.facts[tag] = value


def _guid(value: str) -> str:
    return value.strip("{}").lower()


def _last_part(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _read_descriptor(file: Source) -> _Descriptor:
    if file.size > _DESCRIPTOR_CAP:
        raise NotThisFormat(f"a descriptor of {file.size} bytes")
    reader = _DescriptorReader()
    read_xml(file, 0, file.size, reader)
    found = reader.found
    if not found.storages or not all(
        storage.images and storage.start < storage.end for storage in found.storages
    ):
        raise NotThisFormat("a disk without bytes")
    found.storages.sort(key=lambda storage: storage.start)
    if not found.top:
        names = {image.get("guid", "") for image in found.storages[0].images}
        leaves = names - set(found.parents.values())
        found.top = DEFAULT_TOP if DEFAULT_TOP in names or len(leaves) != 1 else leaves.pop()
    return found


def _described(found: _Descriptor, stored: int | None = None) -> Container:
    engine = _guid(found.facts.get("Engine", ""))
    images: list[Json] = [
        {
            "start_sectors": storage.start,
            "end_sectors": storage.end,
            "file": image.get("file"),
            "type": image.get("type"),
            "snapshot": image.get("guid"),
        }
        for storage in found.storages
        for image in storage.images
    ]
    details: dict[str, Json] = {
        "variant": "bundle",
        "version": found.version,
        "uuid": _guid(found.facts.get("UID", "")) or None,
        "name": found.facts.get("Name") or None,
        "encryption": engine if engine not in _NO_ENCRYPTION else None,
        "snapshot_count": max(0, len(found.parents) - 1),
        "images": images,
    }
    if stored is not None:
        details["stored_size"] = stored
    return Container(type="hdd", size=found.storages[-1].end * SECTOR, sector_size=SECTOR, details=details)


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The disk inside: of an image that a descriptor lists, with the snapshots beneath; else of it alone."""
    file, name = image.files[0], image.names[0]
    if container.details["variant"] == "bundle":
        descriptor = _read_descriptor(file)
        return _open_described(container, descriptor, descriptor.top, image)
    found = _descriptor_beside(image)
    if found is not None and (guid := found.owner(name)) is not None:
        about = _described(found)
        details = {**about.details, **container.details, "variant": "bundle"}
        return _open_described(about.replaced(details=details), found, guid, image)
    expandable = _Expandable(file)
    source = RunSource(container.size or 0, expandable.locate)
    return Opened(container=container.replaced(problems=tuple(expandable.problems())), source=source)


def _descriptor_beside(image: Image) -> _Descriptor | None:
    try:
        return _read_descriptor(image.open_named(DESCRIPTOR))
    except (OpenError, NotThisFormat, ReadError):
        return None


def _open_described(container: Container, found: _Descriptor, top: str, image: Image) -> Opened:
    if container.details["encryption"]:
        problem = Problem(Code.UNSUPPORTED, "the disk is encrypted, and is not read")
        return Opened(container=container.replaced(problems=(problem,)), source=None)
    problems: list[Problem] = []
    stacks = []
    for storage in found.storages:
        layers: list[_Layer] = []
        for guid in found.chain(top):
            layers.append(_open_layer(storage.image(guid), image, problems))
            if not isinstance(layers[-1], _Expandable):
                break  # a plain image has every byte, and nothing beneath it shows
        stacks.append(_Stack(storage.start * SECTOR, storage.end * SECTOR, layers))
    bundle = _Bundle(stacks)
    return Opened(
        container=container.replaced(problems=tuple(problems)), source=RunSource(bundle.size, bundle.locate)
    )


def _open_layer(entry: Mapping[str, str], image: Image, problems: list[Problem]) -> "_Layer":
    name = entry.get("file", "")
    try:
        given = dict(zip(image.names, image.files, strict=True))
        file = given.get(_last_part(name)) or image.open_named(name)
    except OpenError as error:
        problems.append(Problem(Code.MISSING_BACKING_FILE, str(error)))
        return None
    if entry.get("type") != "Compressed":
        return file
    expandable = _Expandable(file)
    problems.extend(expandable.problems())
    return expandable


class _Expandable:
    """An expandable image: a table of clusters, those never written left out."""

    def __init__(self, file: Source) -> None:
        header = _header(View(file))
        if header.magic not in (OLD, EXTENDED):
            raise NotThisFormat("no expandable image")
        self.file = file
        self.size = _sectors(header) * SECTOR
        self.cluster_size: int = header.tracks * SECTOR
        self._unit = SECTOR if header.magic == OLD else self.cluster_size
        self._table = EntryTable(file, HEADER.size, header.bat_entries, 4)

    def locate(self, offset: int) -> Run:
        """The run at this byte of the disk; zeros where nothing was written."""
        return self.written(offset) or Run(None, 0, self.cluster_size - offset % self.cluster_size)

    def written(self, offset: int) -> Run | None:
        """The run at this byte of the disk; None where nothing was written."""
        number, within = divmod(offset, self.cluster_size)
        entry = self._table[number]
        if entry == 0:
            return None
        return Run(self.file, entry * self._unit + within, self.cluster_size - within)

    def left(self, offset: int) -> int:
        """How many bytes there are from this byte of the disk to the end of its cluster."""
        return self.cluster_size - offset % self.cluster_size

    def problems(self) -> list[Problem]:
        """What is wrong with the table: too short for the disk, or pointing beyond the file."""
        found = []
        needed = -(-self.size // self.cluster_size)
        if self._table.count < needed:
            found.append(
                Problem(Code.DAMAGED, f"a table of {self._table.count} clusters is too short for {needed}")
            )
        table = self._table.head(SURVEY)
        if len(table) < min(SURVEY, 4 * self._table.count) or any(
            (entry * self._unit) >= self.file.size for entry in integers(table, 4, "little")
        ):
            found.append(truncated(self.file, "clusters"))
        return found


_Layer = _Expandable | Source | None


class _Stack(Record):
    """A run of the disk in bytes, and the images that hold it, the newest first; None for a missing one."""

    start: int
    end: int
    layers: list[_Layer]

    def locate(self, offset: int) -> Run:
        """The run at this byte of the stack."""
        length = self.end - self.start - offset
        for layer in self.layers:
            if layer is None:
                raise MissingBytes("these bytes stand in an image that is missing")
            if not isinstance(layer, _Expandable):
                return Run(layer, offset, length)
            length = min(length, layer.left(offset))
            run = layer.written(offset)
            if run is not None:
                return Run(run.source, run.offset, min(run.length, length))
        return Run(None, 0, length)


class _Bundle:
    """The disk that a descriptor puts together."""

    def __init__(self, stacks: list[_Stack]) -> None:
        self._stacks = stacks
        self._starts = [stack.start for stack in stacks]
        self.size = max(stack.end for stack in stacks)

    def locate(self, offset: int) -> Run:
        """The run at this byte of the disk."""
        at = bisect_right(self._starts, offset) - 1
        if at < 0 or offset >= self._stacks[at].end:
            raise MissingBytes(f"no image of the disk holds its byte {offset}")
        run = self._stacks[at].locate(offset - self._starts[at])
        if at + 1 < len(self._starts):
            return Run(run.source, run.offset, min(run.length, self._starts[at + 1] - offset))
        return run


FORMAT = ContainerFormat(
    name="parallels",
    title="Parallels hard disk",
    specification="https://www.qemu.org/docs/master/interop/parallels.html",
    parse=parse,
    open=open,
    signatures=(
        Signature(OLD, 0),
        Signature(EXTENDED, 0),
        Signature(b"<?xml", 0),
        Signature(b"\xef\xbb\xbf<?", 0),
    ),
    types=("hdd",),
)
