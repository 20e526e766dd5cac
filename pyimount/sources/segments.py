"""Which files make up one image: segments found from any one of them, or from their folder.

Only names and sizes of plain files are looked at, never what they hold. A name that could be a
segment's is one only beside others of its set: ``disk.001`` alone is a plain image.
"""

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from pyimount.records import Record
from pyimount.sources.pool import POOL
from pyimount.sources.series import IMAGE_SUFFIXES, Letters, Name, Series, extension, series_of, splits
from pyimount.sources.urls import given, is_signed, is_url, last_part, shown

LISTING_CAP = 1 << 14
"""No more entries of a folder than this are looked at."""

_FOLDERS_KEPT = 64


class Segments(Record):
    """The files of one image in order, and the names of those that should be among them.

    ``split``: the files are runs of one file that was cut up, whatever that is. Else it is one
    file, or each of them has a header of its own (EWF). ``holes``: of a cut-up file, the places in the set,
    from 0 on, of which there is no file.
    """

    paths: tuple[str, ...]
    missing: tuple[str, ...] = ()
    split: bool = False
    holes: tuple[int, ...] = ()


def passed_over(paths: Iterable[str | os.PathLike[str]], images: Iterable[Segments]) -> tuple[str, ...]:
    """The plain files of the folders among ``paths`` that belong to none of the images found there."""
    taken = {path for image in images for path in image.paths}
    found = []
    for named in paths:
        path = _plain(os.fspath(named))
        if is_folder(path):
            folder = _list(path)
            if _bundle_of(folder) is not None:
                continue
            found += [folder.file(name) for name in folder.sizes if not _is_extent(folder, name)]
    return tuple(sorted({*found} - taken))


def gather(paths: "Iterable[str | os.PathLike[str] | Segments]") -> tuple[Segments, ...]:
    """Group what the user named into images, in the order in which they were named.

    A folder stands for the images in it, or for itself where it has none; what was gathered before stays as
    it is. Never raises: a path that cannot be opened is a group of its own, and opening it says why.
    """
    found: dict[str, Segments] = {}
    gathering = Gathering()
    for named in paths:
        for segments in (named,) if isinstance(named, Segments) else gathering.images(named):
            found.setdefault(segments.paths[0], segments)
    return tuple(found.values())


class Gathering:
    """Finds the images for one path after another; the folders that were listed last are not listed again."""

    def __init__(self) -> None:
        self._folders: dict[str, _Folder] = {}

    def images(self, named: str | os.PathLike[str]) -> Iterator[Segments]:
        """The images that this path stands for: one, or those in a folder."""
        text = os.fspath(named)
        if is_url(text):
            yield _elsewhere(shown(text))
            return
        path = _plain(text)
        if is_folder(path):
            yield from _images_in(_list(path))
        else:
            while len(self._folders) >= _FOLDERS_KEPT:
                del self._folders[next(iter(self._folders))]
            yield _around(path, self._folders)


def _plain(path: str) -> str:
    """A path without what says nothing (``./a//b/``): a file is one image, however it is named."""
    # What stands before ``..`` may be a link, and then it counts. Some normpaths end at a NUL.
    return path if not path or os.pardir in path or "\0" in path else os.path.normpath(path)


def is_folder(path: str) -> bool:
    """Whether this is a folder; False for what is no path at all."""
    try:
        return os.path.isdir(path)
    except (OSError, ValueError):
        return False


def is_file(path: str) -> bool:
    """Whether this is a plain file; False for what is no path at all."""
    try:
        return os.path.isfile(path)
    except (OSError, ValueError):
        return False


class _Folder:
    """The plain files of a folder: their sizes in bytes by name, and by each way to see a number in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.sizes: dict[str, int] = {}
        self.alike: dict[str, dict[Name, int]] = {}
        """By stem, in lower case: EWF's segments are one set in whatever case their names are."""
        self.sheets: set[str] = set()
        """The stems of the files that say which tracks of a CD lie in which files, in lower case."""

    def add(self, name: str, size: int) -> None:
        """Take in a file."""
        self.sizes[name] = size
        if extension(name) in _SHEETS:
            self.sheets.add(name.rpartition(".")[0].lower())
        for parts in splits(name):
            self.alike.setdefault(parts.stem.lower(), {})[parts] = size

    def file(self, name: str) -> str:
        """The path of a file in it."""
        return os.path.join(self.path, name)


def _list(path: str) -> _Folder:
    folder = _Folder(path)
    try:
        with POOL.with_room(partial(os.scandir, path or os.curdir)) as entries:
            for _, entry in zip(range(LISTING_CAP), entries, strict=False):
                if entry.is_file():  # no FIFO, socket, device: opening one may wait for ever
                    folder.add(entry.name, entry.stat().st_size)
    except OSError:
        return folder  # what was listed until then still counts
    return folder


_PACKED_SUFFIXES = frozenset(("bz2", "gz", "lz4", "lzma", "xz", "zip", "zst"))
"""In a folder only what is called an image inside is one: ``disk.img.gz``."""
_ONE_IMAGE = IMAGE_SUFFIXES | _PACKED_SUFFIXES
_TRACK_SUFFIXES = frozenset(("bin", "img", "iso", "mdf", "sub", "wav"))
_SHEETS = frozenset(("ccd", "cue", "mds", "toc"))
_EXTENT_ENDS = ("-flat", "-delta", "-rdm", "-rdmp")
_BUNDLES = (("DiskDescriptor.xml",), ("Info.plist", "Info.bckup"), ("file_000.aff",))
"""A Parallels disk, Apple's sparse bundle and an AFD are folders with these files, opened by the first."""


def _images_in(folder: _Folder) -> Iterator[Segments]:
    bundle = _bundle_of(folder)
    if bundle is not None:
        yield bundle
        return
    taken: set[str] = set()
    for name in sorted(folder.sizes):
        path = folder.file(name)
        if path in taken:
            continue
        segments = _set_of(folder, name)
        if segments is None and _is_image(name) and not _is_extent(folder, name):
            segments = Segments((path,))
        if segments is not None:
            taken.update(segments.paths)
            yield segments
    if not taken:
        yield Segments((folder.path,))


def _bundle_of(folder: _Folder) -> Segments | None:
    """The image that the folder as a whole is, if it is one."""
    for names in _BUNDLES:
        if all(name in folder.sizes for name in names):
            return Segments((folder.file(names[0]),))
    return None


def _is_image(name: str) -> bool:
    """Whether this is called what images are called, or is one that was compressed."""
    if extension(name) in _PACKED_SUFFIXES:
        name = name.rpartition(".")[0]
    return extension(name) in IMAGE_SUFFIXES


def _is_extent(folder: _Folder, name: str) -> bool:
    """Whether this is a part of an image that another file names.

    Of a VMDK that its descriptor names (``disk-flat.vmdk``, ``disk-s001.vmdk``), or of a CD by its sheet.
    """
    stem, _, suffix = name.lower().rpartition(".")
    if suffix == "vmdk":
        digits = stem[-3:]
        return stem.endswith(_EXTENT_ENDS) or (stem[-5:-3] in ("-s", "-f") and digits.isdecimal())
    return suffix in _TRACK_SUFFIXES and stem.partition(" (track ")[0] in folder.sheets


def _around(path: str, folders: dict[str, _Folder]) -> Segments:
    """The set that ``path`` is of, or it alone."""
    parent, name = os.path.split(path)
    suffix = name.rpartition(".")[2]
    # A file of such a name is an image; ``dd`` or ``gz`` is a segment's as soon, and whether it is one
    # is worth a look at the first segment's name, not at a folder of thousands.
    if extension(name) in _ONE_IMAGE and (
        len(suffix) != 2 or not is_file(path[: -len(suffix)] + Letters(2).suffix(0, suffix))
    ):
        return Segments((path,))
    if not any(True for parts in splits(name) for _ in series_of(parts)):
        return Segments((path,))
    if parent not in folders:
        folders[parent] = _list(parent)
    return _set_of(folders[parent], name) or Segments((path,))


def _elsewhere(name: str) -> Segments:
    """The set that a URL is of, by the names that its server lists beside it; or it alone."""
    last = last_part(name)
    if extension(last) in _ONE_IMAGE or is_signed(name):
        return Segments((name,))
    if not any(True for parts in splits(last) for _ in series_of(parts)):
        return Segments((name,))
    from pyimount.sources.remote import names_beside

    parent = given(name).rpartition("/")[0]
    found = _set_of(_folder_of(parent, names_beside(name)), last)
    if found is None:
        return Segments((name,))
    return found.replaced(paths=tuple(map(shown, found.paths)))


def _folder_of(path: str, sizes: Mapping[str, int]) -> _Folder:
    folder = _Folder(path)
    for name, size in sizes.items():
        folder.add(name, size)
    return folder


def set_within(folder: str, name: str, sizes: Callable[[], Mapping[str, int]]) -> Segments:
    """The set that a file of a folder within an image is of, or it alone.

    ``folder``, ``name``: what the two go by; ``sizes``: tells the sizes of the files in it.
    """
    alone = Segments((posixpath.join(folder, name),))
    if extension(name) in _ONE_IMAGE:
        return alone
    if not any(True for parts in splits(name) for _ in series_of(parts)):
        return alone
    return _set_of(_folder_of(folder, sizes()), name) or alone


def images_within(folder: str, sizes: Mapping[str, int]) -> list[Segments]:
    """The images, by their names, among the files of a folder within an image; ``sizes``: of its files."""
    return [each for each in _images_in(_folder_of(folder, sizes)) if each.paths != (folder,)]


def _set_of(folder: _Folder, name: str) -> Segments | None:
    """The set of which this file is a segment; None when it is a file like any other."""
    for own in splits(name):
        for series in series_of(own):
            numbered = _numbered(folder, own, series)
            sizes = {each.suffix: folder.sizes[each.whole] for each in numbered.values()}
            run = series.run({number: each.suffix for number, each in numbered.items()}, sizes)
            members = [numbered[number].whole for number in run]
            if name not in members:
                continue
            first = series.first(run)
            absent = [number for number in range(first, max(run)) if number not in run]
            return Segments(
                tuple(folder.file(each) for each in members),
                tuple(own.stem + series.suffix(number, own.suffix) for number in absent),
                split=series.split,
                holes=tuple(number - first for number in absent) if series.split else (),
            )
    return None


def _numbered(folder: _Folder, own: Name, series: Series) -> dict[int, Name]:
    """The files that may be of one set with ``own``, by their numbers.

    Where each segment has a header that says what it is of, names may differ by case, as they do not where
    they were written; of several with one number, the one that is spelled most like ``own`` counts.
    """
    found: dict[int, tuple[tuple[bool, bool], Name]] = {}
    for each in sorted(folder.alike.get(own.stem.lower(), ())):
        number = series.number(each.suffix)
        unlike = (each.stem != own.stem, each.suffix[:1].isupper() != own.suffix[:1].isupper())
        if number is None or (series.split and any(unlike)):
            continue
        if number not in found or unlike < found[number][0]:
            found[number] = (unlike, each)
    return {number: each for number, (_, each) in found.items()}
