"""Which images there are in what was named: all of them for one scan, or one after the other for many."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from pyimount.recognition.opening import LOOKED_AT, begins_like_image
from pyimount.records import Record
from pyimount.sources.segments import Gathering, Segments, gather, is_folder, passed_over

PathLike: TypeAlias = str | os.PathLike[str]


class Named(Record, kw_only=True):
    """One thing to scan: an image, or images that belong together.

    ``path``: what it goes by, the first file of the image, or the folder of the group.
    """

    path: str
    images: tuple[Segments, ...]


def listed(paths: PathLike | Sequence[PathLike | Segments]) -> list[PathLike | Segments]:
    """The paths, one or several; raises TypeError for what is none, and says what is wanted."""
    named = [paths] if isinstance(paths, str | os.PathLike) else paths
    if isinstance(named, bytes | bytearray | memoryview) or hasattr(named, "read"):
        raise TypeError(_WANTED.format(type(paths).__name__))
    made = list(named)
    for each in made:
        if not isinstance(each, str | os.PathLike | Segments):
            raise TypeError(_WANTED.format(type(each).__name__))
    return made


_WANTED = (
    "an image is a path (str or os.PathLike), or several: not {}. What is in memory or open has to be a file"
    " with a name first; a path of bytes becomes one by os.fsdecode()."
)


def images_in(named: Sequence[PathLike | Segments]) -> tuple[Segments, ...]:
    """The images, with those in the folders that are called something else, and are images by their bytes.

    What was gathered before stays as it is.
    """
    images = gather(named)
    paths = [each for each in named if not isinstance(each, Segments)]
    found = _called_otherwise(passed_over(paths, images))
    parents = {os.path.dirname(each.paths[0]) for each in found}
    # A folder stands for itself where there is no image in it, and now there is.
    return (*(each for each in images if each.paths[0] not in parents), *found)


def _called_otherwise(left: Sequence[str]) -> list[Segments]:
    return [Segments((path,)) for path in left[:LOOKED_AT] if begins_like_image(path)]


def images_named(
    paths: Iterable[PathLike | None],
    *,
    recursive: bool = False,
    groups: Iterable[PathLike] = (),
    skipped: Callable[[str], None] | None = None,
) -> Iterator[Named | None]:
    """The images that these paths stand for, each once, as they are asked for; first those of ``groups``.

    ``groups``: folders in which all images belong together. ``recursive``: the folders below as well, but for
    links. ``skipped``: told of each file in a folder that is no image. None for None: the next path is not
    known yet.
    """
    known: set[str] = set()
    for folder in groups:
        group = images_in([folder])
        known.update(path for segments in group for path in segments.paths)
        yield Named(path=os.fspath(folder), images=group)
    gathering = Gathering()
    for path in paths:
        if path is None:
            yield None
            continue
        for segments in _each(os.fspath(path), gathering, recursive=recursive, skipped=skipped):
            first = segments.paths[0]
            if first not in known:
                known.add(first)
                yield Named(path=first, images=(segments,))


def _each(
    path: str, gathering: Gathering, *, recursive: bool, skipped: Callable[[str], None] | None
) -> Iterator[Segments]:
    if not is_folder(path):
        yield from gathering.images(path)
        return
    images = images_in([path])
    below = _folders_below(path) if recursive else None
    # A folder without an image stands for itself; but where it was only looked through, it is none.
    yield from (each for each in images if below is None or not is_folder(each.paths[0]))
    if skipped is not None:
        for left in passed_over([path], images):
            skipped(left)
    for folder in below or ():
        yield from _each(folder, gathering, recursive=True, skipped=skipped)


def _folders_below(path: str) -> list[str] | None:
    """The folders in a folder; None where it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return None
