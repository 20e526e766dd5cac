"""From the files of an image to the bytes of the disk inside: containers, split images, plain files."""

import os
from collections.abc import Mapping, Sequence
from itertools import islice, zip_longest

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Usage
from pyimount.formats.container import several
from pyimount.formats.image import Image, told_missing
from pyimount.formats.stored import Stored, together
from pyimount.problems import Code, Problem, Range
from pyimount.recognition.probing import probe
from pyimount.recognition.registry import container_signatures
from pyimount.sources.broker import Broker
from pyimount.sources.budget import Meter
from pyimount.sources.errors import BudgetError, IsFolder, OpenError, ReadError
from pyimount.sources.file import FileSource
from pyimount.sources.segments import Segments, is_folder
from pyimount.sources.source import LAST, ConcatSource, LostSource, SliceSource, Source
from pyimount.sources.view import ShortRead, View

_CHAIN_CAP = 100
"""No chain of backing files is followed further: each link takes a few of the frames that Python allows."""

_WRAPPINGS_CAP = 4
"""A container in a compressed file in a compressed file … is opened, but not for ever."""

_TAIL = 4096
_MAGIC = 4
"""Bytes with which the segments of a container begin alike, as the pieces of a disk hardly do."""


def open_image(segments: Segments, broker: Broker, meter: Meter) -> tuple[Image, Opened]:
    """Open the files of one image, and the disk inside.

    Raises OpenError when the first file cannot be opened (IsFolder where it is a folder); a later one that
    cannot is a missing segment. ``Opened.source`` is None where the container is recognised and its data
    cannot be read; its problems say why. Close the image's ``files`` when done.
    """
    first = segments.paths[0]
    if is_folder(first):
        raise _no_image(first)
    missing = list(segments.missing)
    places, lost = _places(segments)
    paths: list[str] = [first]
    try:
        files: list[Source] = [broker.open(first, meter)]
    except IsFolder as error:
        # Who may not look at a path itself learns it from what was opened.
        raise _no_image(first) from error
    for path, place in zip(segments.paths[1:], places[1:], strict=True):
        try:
            files.append(broker.open(path, meter))
            paths.append(path)
        except OpenError:
            missing.append(os.path.basename(path))
            lost[place] = os.path.basename(path)
    image = Image(
        tuple(paths),
        tuple(files),
        broker,
        meter,
        _open_named_disk,
        [],
        missing=tuple(missing),
        lost=lost if segments.split else {},
    )
    cut_up = segments.split and not _has_segments(image)
    return image, _possible(_open_split(image) if cut_up else _open_disk(image))


def _possible(opened: Opened) -> Opened:
    """The same, cut to the largest size that a file can have; what claims more is damaged."""
    if opened.others:
        opened = opened.replaced(others=tuple(map(_possible, opened.others)))
    container, source = opened.container, opened.source
    if source is None or source.size <= LAST:
        return opened
    problem = Problem(
        Code.DAMAGED,
        f"the disk would have {source.size} bytes, more than any file; what is beyond is left out",
    )
    problems = (*container.problems, problem)
    return opened.replaced(
        container=container.replaced(size=LAST, problems=problems), source=SliceSource(source, 0, LAST)
    )


def _told(
    opened: Opened,
    details: Mapping[str, Json],
    *,
    before: Sequence[Problem] = (),
    after: Sequence[Problem] = (),
) -> Opened:
    """The same with more facts and problems of the file that the disk, and all others, are in."""
    container = opened.container
    return opened.replaced(
        container=container.replaced(
            details={**container.details, **details}, problems=(*before, *container.problems, *after)
        ),
        others=tuple(_told(each, details, before=before, after=after) for each in opened.others),
    )


def _places(segments: Segments) -> tuple[list[int], dict[int, str]]:
    """The place in the set of every file, and what is called the one that is missing at a place."""
    holes = set(segments.holes)
    free = (place for place in range(len(segments.paths) + len(holes)) if place not in holes)
    places = list(islice(free, len(segments.paths)))
    names = zip_longest(segments.holes, segments.missing[: len(segments.holes)], fillvalue="a segment")
    return places, {
        place: str(name) for place, name in names if isinstance(place, int) and place < places[-1]
    }


def _has_segments(image: Image) -> bool:
    """Whether the numbered files begin as a container's segments do, each for itself: nothing was cut up."""
    try:
        heads = {file.read_at(0, _MAGIC) for file in image.files[:2]}
        if len(image.files) == 1 or len(heads) > 1:
            return False
        found = _recognise(image.files[0])
    except ReadError:
        return False
    return found is not None and found[0].segments


def _no_image(folder: str) -> IsFolder:
    return IsFolder(f"{folder}: is a directory without disk image segments")


def _open_disk(image: Image, depth: int = 0) -> Opened:
    """The disk in the image's files; where these are wrapped, in what they are wrapped in.

    ``depth``: how many wrappings this one lies in already.
    """
    opened, more = _open_once(image)
    if not more or depth >= _WRAPPINGS_CAP:
        return opened
    return several([disk for each in opened.disks for disk in _within(each, image, depth + 1)])


def _within(wrapping: Opened, image: Image, depth: int) -> tuple[Opened, ...]:
    """The disks in a file that a wrapping holds; the wrapping, where that is no container's."""
    if wrapping.source is None:
        return (wrapping,)
    inside = _open_disk(image.replaced(files=(wrapping.source,), missing=()), depth)
    if inside.container.type == "raw":
        return (wrapping,)
    outer = wrapping.container
    about: dict[str, Json] = {"type": outer.type, **outer.details}
    named = {"disk": outer.details["disk"]} if "disk" in outer.details else {}
    return tuple(
        disk.replaced(
            container=disk.container.replaced(
                details={**named, **disk.container.details, "wrapped_in": [about, *_wrappings(disk)]},
                problems=(*outer.problems, *disk.container.problems),
            ),
            part=": ".join(filter(None, (wrapping.part, disk.part))) or None,
            others=(),
            stored=_stored_of_both(wrapping, disk),
        )
        for disk in inside.disks
    )


def _stored_of_both(wrapping: Opened, disk: Opened) -> Stored | None:
    """What both keep: that of the wrapping is of the file in it, and no longer of the disk."""
    if wrapping.stored is None:
        return disk.stored
    name = f"the file in the {wrapping.container.type}"
    outer = tuple(
        each if each.source is not None else each.replaced(name=name, source=wrapping.source)
        for each in wrapping.stored.checked
    )
    return together(wrapping.stored.replaced(checked=outer), disk.stored)


def _wrappings(disk: Opened) -> list[Json]:
    known = disk.container.details.get("wrapped_in")
    return known if isinstance(known, list) else []


def _open_once(image: Image) -> tuple[Opened, bool]:
    """The same, and whether it is a file that may be a container itself."""
    found = _recognise(image.files[0])
    if found is not None:
        declared, container = found
        try:
            return declared.open(container, image), declared.wraps
        except (OpenError, ReadError, ShortRead, NotThisFormat) as error:
            problem = Problem(Code.DAMAGED, f"{declared.title}: {error}")
            damaged = container.replaced(problems=(*container.problems, problem))
            return Opened(container=damaged, source=None), False
    size = image.files[0].size
    return Opened(container=Container(type="raw", size=size), source=image.files[0]), False


def _open_split(image: Image) -> Opened:
    """The disk in a file that was cut into segments: that file, or what the container that it is holds."""
    segment_size = image.files[0].size
    whole, problems = _joined(image)
    details: dict[str, Json] = {"segments": len(image.files), "segment_size": segment_size}
    opened = _open_disk(image.replaced(paths=image.paths[:1], files=(whole,), missing=(), lost={}))
    if opened.container.type == "raw":
        opened = opened.replaced(container=Container(type="split", size=whole.size))
    return _told(opened, details, after=problems)


def _joined(image: Image) -> tuple[Source, list[Problem]]:
    """Segments one after the other, and what is wrong about that.

    Files that were cut up are all as long as the first, but the last: so is one that is missing, and what one
    that is shorter lacks. Where most are not, nothing tells how long these were.
    """
    size = image.files[0].size
    short = [
        (name, file.size)
        for name, file in zip(image.names[:-1], image.files[:-1], strict=True)
        if file.size < size
    ]
    known = 2 * len(short) < len(image.files)
    parts: list[Source] = []
    gone: list[tuple[str, Range]] = []
    cut: list[tuple[str, Range]] = []
    at = 0
    files = iter(zip(image.names, image.files, strict=True))
    last = len(image.files) + len(image.lost) - 1
    for place in range(last + 1):
        name, held, lacking, what = image.lost.get(place), 0, gone, "is missing"
        if name is None:
            name, file = next(files)
            parts.append(file)
            held, lacking, what = file.size, cut, "is shorter than those before"
        if held < size and place < last:
            lacking.append((name, Range(at + held, size - held)))
            if known:
                parts.append(LostSource(size - held, f"{name} {what}"))
                held = size
        at += held
    wrong = "" if known else "; what follows stands at a wrong place"
    problems = []
    if gone:
        message = told_missing([name for name, _ in gone]) + wrong
        places = tuple(place for _, place in gone) if known else ()
        problems.append(Problem(Code.MISSING_SEGMENT, message, len(gone), places))
    for name, run in cut:
        message = f"{name} is shorter than those before{wrong}"
        problems.append(Problem(Code.TRUNCATED, message, ranges=(run,) if known else ()))
    return ConcatSource(parts), problems


def _recognise(source: Source) -> tuple[ContainerFormat, Container] | None:
    view = View(source)
    view.preload(((0, _TAIL), (max(0, source.size - _TAIL), _TAIL)))
    for declared in container_signatures().hits(view):
        try:
            return declared, declared.parse(view)
        except (NotThisFormat, ShortRead, ReadError):
            continue
    return None


LOOKED_AT = 256
"""So many files of a folder that are not called images are looked into, at most."""

_SECTOR = 512
_DISKS = frozenset((Usage.FILESYSTEM, Usage.RAID, Usage.CRYPTO))


def begins_like_image(path: str) -> bool:
    """Whether a file that is not called an image is one: a container, or a disk or volume in whole sectors.

    What other files may be as well, archives and what is only compressed, is not taken for one.
    """
    try:
        source = FileSource(path)
    except OpenError:
        return False
    try:
        found = _recognise(source)
        if found is not None:
            return not found[0].wraps
        if source.size == 0 or source.size % _SECTOR:
            return False
        read = probe(View(source))
    except BudgetError:
        return False
    else:
        return read.table is not None or (read.identity is not None and read.usage in _DISKS)
    finally:
        source.close()


def _open_named_disk(name: str, image: Image) -> Opened:
    if len(image.chain) >= _CHAIN_CAP:
        raise OpenError(f"{name}: the chain of backing files is longer than {_CHAIN_CAP}")
    source = image.open_named(name)
    path = source.path
    chain = (*image.chain, *(image.broker.real(own) for own in image.paths))
    if path in chain:
        source.close()
        raise OpenError(f"{name}: the chain of backing files leads back to {os.path.basename(path)}")
    return _open_disk(
        Image(
            (path,),
            (source,),
            image.broker,
            image.meter,
            image.open_disk,
            named_files=image.named_files,
            chain=chain,
        )
    )
