"""VMDK: VMware's virtual disks, of one file or of many that a text descriptor puts together.

Layout: VMware, "Virtual Disk Format 5.0"; https://github.com/libyal/libvmdk, documentation.
"""

import re
from bisect import bisect_right
from itertools import accumulate
from typing import Any

from pyimount.formats import Container, ContainerFormat, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.stored import CheckedBytes, Pieces, Stored
from pyimount.parsers.containers.file_names import file_name
from pyimount.parsers.containers.runs import Parent, Run, RunSource, open_parent
from pyimount.parsers.containers.vmdk_descriptor import (
    DESCRIPTOR_CAP,
    SECTOR,
    TEXT,
    Descriptor,
    Extent,
    is_descriptor,
    read_descriptor,
    text_descriptor,
    that_fits,
)
from pyimount.parsers.containers.vmdk_extents import (
    COWD,
    SESPARSE,
    SPARSE,
    Locate,
    capacity_of,
    header_details,
    header_of,
    open_sparse,
)
from pyimount.problems import Code, Problem
from pyimount.sources.errors import MissingBytes, OpenError, ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

_PART_NAME = r"(?i)(.+)-(?:s[0-9]{3}|delta|sesparse)(\.vmdk)"


def parse(view: View) -> Container:
    """What the first file says: a descriptor, or an extent's header with the descriptor it may hold."""
    if is_descriptor(view):
        found = text_descriptor(view)
        size = sum(extent.size for extent in found.extents)
        details = {**found.details(), "stored_size": view.size}
        return Container(type="vmdk", size=size, sector_size=SECTOR, details=details)
    header = header_of(view)
    details = {"stored_size": view.size, **header_details(header)}
    embedded = _embedded(view, header)
    if embedded is not None:
        details |= {key: value for key, value in embedded.details().items() if value is not None}
    return Container(type="vmdk", size=capacity_of(header) * SECTOR, sector_size=SECTOR, details=details)


def _embedded(view: View, header: Any) -> Descriptor | None:
    if header.magicNumber != SPARSE or not header.descriptorOffset or not header.descriptorSize:
        return None
    size = min(header.descriptorSize * SECTOR, DESCRIPTOR_CAP)
    found = read_descriptor(view.peek(header.descriptorOffset * SECTOR, size))
    return found if "createtype" in found.values or found.extents else None


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The disk inside. What lies in a file that is missing or may not be opened cannot be read."""
    view = View(image.files[0])
    if is_descriptor(view):
        return _open_described(container, text_descriptor(view), image)
    header = header_of(view)
    embedded = _embedded(view, header)
    if embedded is not None and len(embedded.extents) > 1:
        return _open_described(container, embedded, image)
    if embedded is None and (found := _descriptor_beside(image)) is not None:
        details = {**container.details, **found.details()}
        size = sum(extent.size for extent in found.extents)
        return _open_described(container.replaced(size=size, details=details), found, image)
    problems: list[Problem] = []
    below = _open_parent(container, embedded, image, problems)
    problems.extend(container.problems)
    extent = open_sparse(image.files[0], below, 0, problems, image.meter)
    if embedded is None and re.fullmatch(_PART_NAME, image.names[0]):
        message = "this is one part of a disk, and the descriptor that names the others was not found"
        problems.append(Problem(Code.MISSING_SEGMENT, message))
    source = RunSource(container.size or 0, extent)
    stored = None
    if container.details.get("compression"):
        grain = container.details.get("grain_size")
        pieces = Pieces(algorithm="Adler-32", what="grain", size=grain if isinstance(grain, int) else None)
        stored = Stored(checked=(CheckedBytes(pieces=pieces),))
    return Opened(container=container.replaced(problems=tuple(problems)), source=source, stored=stored)


def _descriptor_beside(image: Image) -> Descriptor | None:
    """The descriptor that lists this part of a disk, by the name that VMware would give it."""
    part = image.names[0]
    name = re.fullmatch(_PART_NAME, part)
    if name is None:
        return None
    try:
        found = text_descriptor(View(image.open_named(name[1] + name[2])))
    except (OpenError, NotThisFormat, ShortRead, ReadError):
        return None
    return found if any(_last_part(extent.name) == part for extent in found.extents) else None


def _open_parent(
    container: Container, found: Descriptor | None, image: Image, problems: list[Problem]
) -> Parent | None:
    """The disk of which this one has the changes; None where it is whole."""
    hint = container.details.get("backing_file")
    parent_cid = found.parent_cid if found else None
    parent_uuid = found.uuid("parent") if found else None
    if parent_cid is None and parent_uuid is None and (container.details["variant"] != "COWD" or not hint):
        return None

    def refuse(parent: Container) -> str | None:
        if parent.type != "vmdk":
            return f"{hint or parent_uuid} is no VMDK"
        cid, uuid = parent.details.get("cid"), parent.details.get("image_uuid")
        if parent_cid is not None and cid != parent_cid:
            return f"{hint} has the content ID {cid}, and this disk was made over {parent_cid}"
        if parent_cid is None and parent_uuid is not None and uuid != parent_uuid:
            return f"{hint} has the UUID {uuid}, and this disk was made over {parent_uuid}"
        was = found.uuid("parentmodification") if found else None
        now = parent.details.get("modified_uuid")
        if parent_cid is None and was and now and was != now:
            return f"the disk {parent_uuid} was changed since: its modification is {now}, and was {was}"
        return None

    names = [str(hint)] if hint else []
    if found is not None and found.raw_hint and (name := that_fits(found.raw_hint, _beside(image))):
        names.append(name)
    if parent_uuid is not None and not hint:  # VirtualBox says no more
        names += _names_by_uuid(image, parent_uuid)
    what = "the parent disk" if hint else f"the parent disk {parent_uuid}"
    parent = open_parent(image, names, refuse, what, sought=not hint)
    problems.extend(parent.problems)
    return parent


def _beside(image: Image) -> list[str]:
    """The names of other files in the image's folder."""
    return [name for name in image.broker.names_in(image.paths[0]) if name not in image.names]


def _names_by_uuid(image: Image, uuid: str) -> list[str]:
    """The disks beside this one whose descriptor has this UUID."""
    names = (f"{{{uuid}}}.vmdk", *image.broker.names_beside(image.paths[0], ".vmdk"))
    found = []
    for name in dict.fromkeys(names):
        if name in image.names:
            continue
        try:
            file = image.broker.open_named(name, image.paths[0], image.meter)
        except OpenError:
            continue
        try:
            view = View(file)
            said = text_descriptor(view) if is_descriptor(view) else _embedded(view, header_of(view))
            if said is not None and said.uuid("image") == uuid:
                found.append(name)
        except (NotThisFormat, ShortRead, ReadError):
            continue
        finally:
            file.close()
    return found


def _open_described(container: Container, found: Descriptor, image: Image) -> Opened:
    problems = list(container.problems)
    below = _open_parent(container, found, image, problems)
    parts = _Parts(image, below, problems)
    locates = []
    start = 0
    for extent in found.extents:
        locates.append(parts.open(extent, start))
        start += extent.size
    disk = _Disk([extent.size for extent in found.extents], locates)
    return Opened(
        container=container.replaced(problems=tuple(problems)), source=RunSource(start, disk.locate)
    )


class _Parts:
    """Opens the extents of one disk, each file once; ``problems`` gets what is wrong with them."""

    def __init__(self, image: Image, below: Parent | None, problems: list[Problem]) -> None:
        self._image = image
        self._below = below
        self._problems = problems
        self._files: dict[str, Source | None] = {}

    def open(self, extent: Extent, start: int) -> Locate:
        """The extent that begins at byte ``start`` of the disk."""
        if extent.type == "ZERO":
            return lambda offset: Run(None, 0, extent.size - offset)
        if extent.type not in ("FLAT", "VMFS", "SPARSE", "VMFSSPARSE", "SESPARSE"):
            return self._unreadable(Code.UNSUPPORTED, f"an extent of type {extent.type} is not read")
        file = self._file(extent)
        if file is None:
            return _refusing(f"the extent {extent.name!r} is missing")
        if extent.type not in ("FLAT", "VMFS"):
            try:
                return open_sparse(file, self._below, start, self._problems, self._image.meter)
            except (NotThisFormat, ShortRead, ReadError) as error:
                return self._unreadable(Code.DAMAGED, f"the extent {extent.name!r} cannot be read: {error}")
        if extent.offset + extent.size > file.size:
            end = extent.offset + extent.size
            message = f"the extent {extent.name!r} ends at byte {file.size}, and should at {end}"
            self._problems.append(Problem(Code.TRUNCATED, message))
        return lambda offset: Run(file, extent.offset + offset, extent.size - offset)

    def _file(self, extent: Extent) -> Source | None:
        name = extent.name
        for own, file in zip(self._image.names, self._image.files, strict=False):
            if own == _last_part(name):
                return file
        if name not in self._files:
            try:
                self._files[name] = self._named(extent)
            except OpenError as error:
                self._files[name] = None
                self._problems.append(Problem(Code.MISSING_BACKING_FILE, str(error)))
        return self._files[name]

    def _named(self, extent: Extent) -> Source:
        """The file of this name, or the one beside the image that can be it; raises OpenError."""
        try:
            return self._image.open_named(file_name(extent.name).name)
        except OpenError:
            name = that_fits(extent.raw_name, _beside(self._image))
            if name is None:
                raise
        return self._image.open_named(name)

    def _unreadable(self, code: Code, message: str) -> Locate:
        self._problems.append(Problem(code, message))
        return _refusing(message)


def _last_part(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _refusing(why: str) -> Locate:
    def locate(offset: int) -> Run:  # noqa: ARG001
        raise MissingBytes(why)

    return locate


class _Disk:
    """Extents one after the other."""

    def __init__(self, sizes: list[int], locates: list[Locate]) -> None:
        self._ends = list(accumulate(sizes))
        self._sizes = sizes
        self._locates = locates

    def locate(self, offset: int) -> Run:
        """The run at this byte of the disk."""
        number = bisect_right(self._ends, offset)
        left = self._ends[number] - offset
        run = self._locates[number](self._sizes[number] - left)
        return run if run.length <= left else Run(run.source, run.offset, left)


FORMAT = ContainerFormat(
    name="vmdk",
    title="VMware virtual disk",
    specification="https://www.vmware.com/app/vmdk/?src=vmdk",
    parse=parse,
    open=open,
    signatures=(
        Signature(TEXT, 0),
        Signature(b"#", 0),
        Signature(b" ", 0),
        Signature(b"version", 0),
        Signature(SPARSE, 0),
        Signature(COWD, 0),
        Signature(SESPARSE, 0),
    ),
    types=("vmdk",),
)
