"""Where on the disk something is wrong, and in which volume and which of its files that lies."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from pyimount.files.records import Kind
from pyimount.files.system import CannotRead
from pyimount.inside.tree import Files
from pyimount.inside.walking import Walk
from pyimount.keys import Keyring
from pyimount.layers import DiskLayer, Scan, VolumeLayer
from pyimount.problems import Code, Range, together
from pyimount.scanning import detect
from pyimount.sources.errors import OpenError, SourceError
from pyimount.sources.segments import Segments
from pyimount.verifying.records import Place, Verified

PLACES_CAP = 64
"""So many places of a disk are looked into; the problems have the others' ranges."""
_FILES_CAP = 64
_ENTRIES_CAP = 1 << 20
_TELLING = (Code.READ_ERROR, Code.BAD_CHECKSUM)


def with_places(found: Sequence[Verified], segments: Segments, *, files: bool) -> tuple[Verified, ...]:
    """The same with the places of what is wrong. ``files``: whether to look for the files there, too.

    The image is scanned for it, where there is something to place.
    """
    wanted = {number: ranges for number, each in enumerate(found) if (ranges := _ranges(each))}
    if not wanted:
        return tuple(found)
    try:
        scan = detect([segments])
    except (OpenError, ValueError):
        return tuple(found)
    if len(scan.disks) != len(found):
        return tuple(found)
    placed = list(found)
    with Files(scan, Keyring()) as reader:
        for number, ranges in wanted.items():
            places = [place for run in ranges for place in _places(scan, scan.disks[number], run)]
            if files:
                places = [*_with_files(reader, places[:PLACES_CAP])]
            placed[number] = found[number].replaced(places=tuple(places[:PLACES_CAP]))
    return tuple(placed)


def segments_of(disk: DiskLayer) -> Segments:
    """The files of the image that a disk was found in."""
    recipe = disk.recipe.parameters
    named, holes = recipe.get("paths"), recipe.get("holes")
    return Segments(
        tuple(str(each) for each in named) if isinstance(named, list) else disk.paths,
        split=recipe.get("split") is True,
        holes=tuple(each for each in holes if isinstance(each, int)) if isinstance(holes, list) else (),
    )


def _ranges(verified: Verified) -> list[Range]:
    """The runs of the disk in which something is wrong, those that touch as one, in order."""
    if verified.size is None:
        return []
    runs = sorted(
        (
            run
            for each in together(verified.problems)
            if each.code in _TELLING and not each.explained
            for run in each.ranges
        ),
        key=lambda run: run.offset,
    )
    joined: list[Range] = []
    for run in runs:
        if joined and run.offset <= joined[-1].offset + joined[-1].size:
            end = max(joined[-1].offset + joined[-1].size, run.offset + run.size)
            joined[-1] = Range(joined[-1].offset, end - joined[-1].offset)
        else:
            joined.append(run)
    return joined[:PLACES_CAP]


def _places(scan: Scan, disk: DiskLayer, run: Range) -> Iterator[Place]:
    """A run of the disk, cut where volumes begin and end, each piece with the innermost volume there."""
    end = run.offset + run.size
    volumes = [
        (volume.disk_offset, volume.disk_offset + volume.size, volume)
        for volume in scan.walk(disk)
        if isinstance(volume, VolumeLayer) and volume.disk_offset is not None and volume.size
    ]
    borders = {border for start, stop, _ in volumes for border in (start, stop) if run.offset < border < end}
    cuts = sorted({run.offset, end, *borders})
    for start, stop in pairwise(cuts):
        inside = [
            (low, volume)
            for low, high, volume in volumes
            if low <= start and stop <= high and volume.flag != "unalloc"
        ]
        if not inside:
            yield Place(offset=start, size=stop - start)
            continue
        low, volume = inside[-1]  # children come after their parents
        yield Place(
            offset=start,
            size=stop - start,
            volume=volume.index,
            volume_type=volume.type,
            volume_offset=start - low,
        )


def _with_files(reader: Files, places: Sequence[Place]) -> Iterator[Place]:
    """The same with the files that lie there, as far as the readers of file systems tell where those lie."""
    known: dict[str, Mapping[int, list[str]] | str] = {}
    readable = {volume.index: volume for volume in reader.volumes()}
    for number, place in enumerate(places):
        index = place.volume
        if index is None:
            yield place
            continue
        volume = readable.get(index)
        if volume is None:
            yield place.replaced(files_unknown="no library reads the files of this volume")
            continue
        if index not in known:
            wanted = {
                at: (each.volume_offset, each.volume_offset + each.size)
                for at, each in enumerate(places)
                if each.volume == index and each.volume_offset is not None
            }
            known[index] = _files_at(reader, volume, wanted)
        found = known[index]
        if isinstance(found, str):
            yield place.replaced(files_unknown=found)
        else:
            yield place.replaced(files=tuple(found.get(number, ())))


def _files_at(
    reader: Files, volume: VolumeLayer, wanted: Mapping[int, tuple[int, int]]
) -> Mapping[int, list[str]] | str:
    """The paths of the files in each of these runs of a volume; a sentence where that is not to be known."""
    found: dict[int, list[str]] = {}
    seen = 0
    try:
        walk = Walk(reader, reader.root(volume))
        for step in walk:
            seen += 1
            if seen > _ENTRIES_CAP:
                return f"the volume has more than {_ENTRIES_CAP} files, which are not all looked at"
            if step.place.entry.kind is not Kind.FILE:
                continue
            try:
                runs = step.place.entry.runs()
            except OSError:
                continue  # what cannot be read is not known to lie there
            if runs is None:
                return f"the library for {volume.type} does not tell where files lie"
            for number, (start, end) in wanted.items():
                listed = found.setdefault(number, [])
                if len(listed) < _FILES_CAP and any(
                    run.place is not None and run.place < end and start < run.place + run.size for run in runs
                ):
                    listed.append(step.place.path)
    except (CannotRead, SourceError, OSError) as error:
        return f"the files of the volume cannot be read: {error}"
    if walk.problems:
        return "not all folders of the volume could be read"
    return found
