"""Which files make up one image: segments found from any one of them, or from their folder.

Only names and sizes of plain files are looked at, never what they hold. A name that could be a
segment's is one only beside others of its set: ``disk.001`` alone is a plain image.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from pyimount.records import Record
from pyimount.sources.pool import POOL

LISTING_CAP = 1 << 14
"""No more entries of a folder than this are looked at."""


class Segments(Record):
    """The files of one image in order, and the names of those that should be among them.

    ``split``: the files are runs of one file that was cut up, whatever that is. Else it is one
    file, or each of them has a header of its own (EWF).
    """

    paths: tuple[str, ...]
    missing: tuple[str, ...] = ()
    split: bool = False


def gather(paths: Iterable[str | os.PathLike[str]]) -> tuple[Segments, ...]:
    """Group what the user named into images, in the order in which they were named.

    A folder stands for the images in it, or for itself where it has none. Never raises: a path
    that cannot be opened is a group of its own, and opening it says why.
    """
    found: dict[str, Segments] = {}
    folders: dict[str, _Folder] = {}
    for named in paths:
        path = _plain(os.fspath(named))
        if is_folder(path):
            groups: Iterable[Segments] = _images_in(_list(path))
        else:
            groups = (_around(path, folders),)
        for segments in groups:
            found.setdefault(segments.paths[0], segments)
    return tuple(found.values())


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
    """The plain files of a folder: their sizes in bytes by stem and suffix (``disk``, ``001``)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.sizes: dict[str, dict[str, int]] = {}

    def file(self, stem: str, suffix: str) -> str:
        """The path of a file in it."""
        return os.path.join(self.path, f"{stem}.{suffix}" if suffix else stem)


def _list(path: str) -> _Folder:
    folder = _Folder(path)
    try:
        with POOL.with_room(partial(os.scandir, path or os.curdir)) as entries:
            for _, entry in zip(range(LISTING_CAP), entries, strict=False):
                if entry.is_file():  # no FIFO, socket, device: opening one may wait for ever
                    stem, suffix = _parts(entry.name)
                    folder.sizes.setdefault(stem, {})[suffix] = entry.stat().st_size
    except OSError:
        return folder  # what was listed until then still counts
    return folder


def _parts(name: str) -> tuple[str, str]:
    stem, _, suffix = name.rpartition(".")
    return (stem, suffix) if stem else (name, "")


# What counts as an image in a folder when it is not a segment. A file that the user names is
# looked at whatever it is called.
_IMAGE_SUFFIXES = frozenset(
    (
        *("aff", "aff4", "afd", "afm", "avhd", "avhdx", "dd", "dmg", "hdd", "hds", "ima", "image", "img"),
        *("iso", "qcow", "qcow2", "qed", "raw", "sparseimage", "vdi", "vfd", "vhd", "vhdx", "vma", "vmdk"),
    )
)
_PACKED_SUFFIXES = frozenset(("bz2", "gz", "xz", "zip", "zst"))
"""In a folder only what is called an image inside is one: ``disk.img.gz``."""
_EXTENT_ENDS = ("-flat", "-delta", "-rdm", "-rdmp")
_BUNDLES = (("DiskDescriptor.xml",), ("Info.plist", "Info.bckup"), ("file_000.aff",))
"""A Parallels disk, Apple's sparse bundle and an AFD are folders with these files, opened by the first."""


def _images_in(folder: _Folder) -> Iterator[Segments]:
    for names in _BUNDLES:
        parts = [_parts(name) for name in names]
        if all(suffix in folder.sizes.get(stem, ()) for stem, suffix in parts):
            yield Segments((folder.file(*parts[0]),))
            return
    taken: set[str] = set()
    for stem, suffixes in sorted(folder.sizes.items()):
        for suffix in sorted(suffixes):
            path = folder.file(stem, suffix)
            if path in taken:
                continue
            segments = _set_of(folder, stem, suffix)
            if segments is None and _is_image(stem, suffix) and not _is_extent(stem, suffix):
                segments = Segments((path,))
            if segments is not None:
                taken.update(segments.paths)
                yield segments
    if not taken:
        yield Segments((folder.path,))


def _is_image(stem: str, suffix: str) -> bool:
    """Whether this is called what images are called, or is one that was compressed."""
    if suffix.lower() in _PACKED_SUFFIXES:
        suffix = _parts(stem)[1]
    return suffix.lower() in _IMAGE_SUFFIXES


def _is_extent(stem: str, suffix: str) -> bool:
    """Whether this is a part of a VMDK that its descriptor names (``disk-flat.vmdk``, ``disk-s001.vmdk``)."""
    if suffix.lower() != "vmdk":
        return False
    mark, digits = stem[-5:-3].lower(), stem[-3:]
    return stem.lower().endswith(_EXTENT_ENDS) or (mark in ("-s", "-f") and digits.isdecimal())


def _around(path: str, folders: dict[str, _Folder]) -> Segments:
    """The set that ``path`` is of, or it alone."""
    stem, suffix = _parts(os.path.basename(path))
    if suffix.lower() in _IMAGE_SUFFIXES | _PACKED_SUFFIXES:
        # A file of such a name is an image; ``dd`` or ``gz`` is a segment's as soon, and whether it is one
        # is worth a look at the first segment's name, not at a folder of thousands.
        first = os.path.join(os.path.dirname(path), f"{stem}.{_Letters(2).suffix(0, suffix)}")
        if len(suffix) != 2 or not is_file(first):
            return Segments((path,))
    if not any(True for _ in _series_of(suffix)):
        return Segments((path,))
    parent = os.path.dirname(path)
    if parent not in folders:
        folders[parent] = _list(parent)
    return _set_of(folders[parent], stem, suffix) or Segments((path,))


def _set_of(folder: _Folder, stem: str, suffix: str) -> Segments | None:
    """The set of which ``stem.suffix`` is a segment; None when it is a file like any other."""
    suffixes = folder.sizes.get(stem, {})
    for series in _series_of(suffix):
        numbered = {
            number: each
            for each in suffixes
            if each[:1].isupper() == suffix[:1].isupper() and (number := series.number(each)) is not None
        }
        run = series.run(numbered, {each: suffixes[each] for each in numbered.values()})
        if suffix in run.values():
            first = series.first(run)
            return Segments(
                tuple(folder.file(stem, each) for each in run.values()),
                tuple(
                    f"{stem}.{series.suffix(number, suffix)}"
                    for number in range(first, max(run))
                    if number not in run
                ),
                split=series.split,
            )
    return None


class _Series(ABC):
    """A way to number segments by the suffixes of their names."""

    split = True
    gap = 64
    """Where more suffixes than this are missing in a row, what follows is a file of another kind."""

    @abstractmethod
    def number(self, suffix: str) -> int | None:
        """The number that ``suffix`` stands for, None when it stands for none."""

    @abstractmethod
    def suffix(self, number: int, like: str) -> str:
        """The suffix of this number, in the spelling of ``like``."""

    @abstractmethod
    def first(self, numbered: Mapping[int, str]) -> int:
        """The number with which a set of these begins."""

    def run(self, numbered: Mapping[int, str], sizes: Mapping[str, int]) -> dict[int, str]:
        """Those of ``numbered`` that are of one set, in order; none when there is no set."""
        run: dict[int, str] = {}
        last = self.first(numbered) - 1
        for number in sorted(numbered):
            if number > last:
                if number - last > self.gap:
                    break
                run[number] = numbered[number]
                last = number
        if not self.split or not run:
            return run
        # Every segment is as long as the first, up to the last: what is longer was not cut up with it.
        longest = sizes[next(iter(run.values()))] + len(run)
        alike = all(sizes[suffix] <= longest for suffix in run.values())
        return run if len(run) > 1 and alike else {}


class _Ewf(_Series):
    """E01 … E99, EAA … EZZ, FAA … ZZZ; with ``Ex``: Ex01 … Ex99, ExAA … EzZZ."""

    split = False

    def __init__(self, start: str) -> None:
        self._fixed, self._rolling = start[:-1], start[-1]

    def number(self, suffix: str) -> int | None:
        word = suffix.lower()
        if len(word) != len(self._fixed) + 3 or not word.isascii() or not word.startswith(self._fixed):
            return None
        rolling, end = word[-3], word[-2:]
        if end.isdecimal():
            return int(end) or None if rolling == self._rolling else None
        if not (end.isalpha() and self._rolling <= rolling <= "z"):
            return None
        return 100 + (ord(rolling) - ord(self._rolling)) * 676 + _letters_number(end)

    def suffix(self, number: int, like: str) -> str:
        rolled, left = divmod(number - 100, 676) if number >= 100 else (0, number)
        end = _letters(left, 2) if number >= 100 else f"{number:02}"
        word = self._fixed + chr(ord(self._rolling) + rolled) + end
        if like[0].isupper():
            word = word.upper()
        return word[0] + word[1].lower() + word[2:] if self._fixed and like[1].islower() else word

    def first(self, numbered: Mapping[int, str]) -> int:  # noqa: ARG002
        return 1


class _Numbers(_Series):
    """000, 001 … with as many digits as ``width``; 999 may be followed by 1000."""

    def __init__(self, width: int) -> None:
        self._width = width

    def number(self, suffix: str) -> int | None:
        if not (suffix.isascii() and suffix.isdecimal()) or len(suffix) > 6:
            return None
        grown = len(suffix) > self._width >= 3 and suffix[0] != "0"
        return int(suffix) if len(suffix) == self._width or grown else None

    def suffix(self, number: int, like: str) -> str:  # noqa: ARG002
        return f"{number:0{self._width}}"

    def first(self, numbered: Mapping[int, str]) -> int:
        return 0 if 0 in numbered else 1


class _Letters(_Series):
    """aa, ab … zz, as ``split`` names what it cuts up."""

    gap = 4  # .dd, .gz and .db are as good as any other two letters

    def __init__(self, width: int) -> None:
        self._width = width

    def number(self, suffix: str) -> int | None:
        fits = len(suffix) == self._width and suffix.isascii() and suffix.isalpha()
        return _letters_number(suffix.lower()) if fits else None

    def suffix(self, number: int, like: str) -> str:
        word = _letters(number, self._width)
        return word.upper() if like[0].isupper() else word

    def first(self, numbered: Mapping[int, str]) -> int:  # noqa: ARG002
        return 0


_EWF = tuple(_Ewf(start) for start in ("e", "s", "l", "ex", "lx"))


def _series_of(suffix: str) -> Iterator[_Series]:
    """Every series in which ``suffix`` has a number, the likeliest first."""
    for series in _EWF:
        if series.number(suffix) is not None:
            yield series
    if suffix.isascii() and suffix.isdecimal() and 2 <= len(suffix) <= 6:
        if len(suffix) > 3 and suffix[0] != "0":
            yield _Numbers(3)
        yield _Numbers(len(suffix))
    if suffix.isascii() and suffix.isalpha() and 2 <= len(suffix) <= 3:
        yield _Letters(len(suffix))


def _letters_number(word: str) -> int:
    number = 0
    for letter in word:
        number = number * 26 + ord(letter) - ord("a")
    return number


def _letters(number: int, width: int) -> str:
    word = ""
    for _ in range(width):
        number, left = divmod(number, 26)
        word = chr(ord("a") + left) + word
    return word
