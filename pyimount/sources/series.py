"""How the segments of an image are numbered: in its names, of which each tool has its own."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import NamedTuple

IMAGE_SUFFIXES = frozenset(
    (
        *("aff", "aff4", "afd", "afm", "avhd", "avhdx", "ccd", "cue", "dd", "dmg", "hdd", "hds", "ima"),
        *("image", "img", "iso", "mdf", "mds", "nrg", "ova", "qcow", "qcow2", "qed", "raw", "sparseimage"),
        *("toc", "vdi", "vfd", "vhd", "vhdx", "vma", "vmdk"),
    )
)
"""What images are called: so a folder's images are known. A file that the user names is looked at whatever
it is called."""


class Name(NamedTuple):
    """A file's name in two: what all segments of a set begin with, and what numbers them."""

    stem: str
    suffix: str

    @property
    def whole(self) -> str:
        """The name."""
        return self.stem + self.suffix


_TAIL = re.compile(r"((?s:.+)(?:(?i:sparsechunk|part)|[-_])|x)([0-9]{1,6}|[a-z]{2,3})")
"""Numbers behind no full stop: ``disk.part1``, ``x.img_sparsechunk2``, ``disk-000``, ``disk-aa``, ``xaa``."""


def splits(name: str) -> Iterator[Name]:
    """The ways to see a segment's number in a name, the likeliest first."""
    stem, dot, suffix = name.rpartition(".")
    yield Name(stem + dot, suffix) if stem else Name(name, "")
    if found := _TAIL.fullmatch(name):
        yield Name(found[1], found[2])


def extension(name: str) -> str:
    """What stands behind the last full stop, in lower case; nothing where there is none."""
    stem, _, suffix = name.rpartition(".")
    return suffix.lower() if stem else ""


class Series(ABC):
    """A way to number segments by the suffixes of their names."""

    split = True
    gap = 64
    """Where more suffixes than this are missing in a row, what follows is a file of another kind."""
    spread = 0.0
    """Every segment is as long as the first, up to the last: what is longer, by more than this part of it,
    was not cut up with it."""
    from_first = False
    """Names that are numbered so loosely are a set only where number 0 is there."""

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
        if self.from_first and 0 not in numbered:
            return {}
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
        first = sizes[next(iter(run.values()))]
        longest = first + max(len(run), int(first * self.spread))
        alike = all(sizes[suffix] <= longest for suffix in run.values())
        return run if len(run) > 1 and alike else {}


class _Ewf(Series):
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


class _Numbers(Series):
    """000, 001 … with as many digits as ``width``; 999 may be followed by 1000."""

    def __init__(self, width: int, *, from_first: bool = False, spread: float = 0.0) -> None:
        self._width = width
        self.from_first = from_first
        self.spread = spread

    def number(self, suffix: str) -> int | None:
        if not (suffix.isascii() and suffix.isdecimal()) or len(suffix) > 6:
            return None
        grown = len(suffix) > self._width >= 3 and suffix[0] != "0"
        return int(suffix) if len(suffix) == self._width or grown else None

    def suffix(self, number: int, like: str) -> str:  # noqa: ARG002
        return f"{number:0{self._width}}"

    def first(self, numbered: Mapping[int, str]) -> int:
        return 0 if 0 in numbered else 1


class Letters(Series):
    """aa, ab … zz, as ``split`` names what it cuts up."""

    gap = 4  # .dd, .gz and .db are as good as any other two letters

    def __init__(self, width: int, *, from_first: bool = False) -> None:
        self._width = width
        self.from_first = from_first

    def number(self, suffix: str) -> int | None:
        """As Series's."""
        fits = len(suffix) == self._width and suffix.isascii() and suffix.isalpha()
        return _letters_number(suffix.lower()) if fits else None

    def suffix(self, number: int, like: str) -> str:
        """As Series's."""
        word = _letters(number, self._width)
        return word.upper() if like[0].isupper() else word

    def first(self, numbered: Mapping[int, str]) -> int:  # noqa: ARG002
        """As Series's."""
        return 0


_SPARSE = 1 / 6
"""How much longer a piece of a sparse image may be: libsparse fills seven eighths of one, at least."""


class _Counted(_Numbers):
    """0, 1 … 9, 10 …: numbers without zeros in front, as the pieces of Android's sparse images have."""

    def __init__(self, *, from_first: bool = True) -> None:
        super().__init__(1, from_first=from_first, spread=_SPARSE)

    def number(self, suffix: str) -> int | None:
        fits = suffix.isascii() and suffix.isdecimal() and len(suffix) <= 4
        return int(suffix) if fits and (suffix == "0" or suffix[0] != "0") else None

    def run(self, numbered: Mapping[int, str], sizes: Mapping[str, int]) -> dict[int, str]:
        # 10, 11 … without any of 0 to 9 go on from 09.
        return super().run(numbered, sizes) if any(number < 10 for number in numbered) else {}


_EWF = tuple(_Ewf(start) for start in ("e", "s", "l", "ex", "lx", "tx", "fx"))
"""Tableau's imagers call their segments Tx01 and Fx01; the headers are those of Ex01."""


def series_of(name: Name) -> Iterator[Series]:
    """Every series in which a name has a number, the likeliest first."""
    suffix, before = name.suffix, name.stem[:-1]
    digits = suffix.isascii() and suffix.isdecimal()
    letters = suffix.isascii() and suffix.isalpha() and 2 <= len(suffix) <= 3
    named_so = name.stem.lower().rstrip(".").endswith("sparsechunk")
    if not name.stem.endswith("."):  # what _TAIL found
        if name.stem[-1:] in ("-", "_", "x"):
            if digits and len(suffix) >= 2 and extension(before) in IMAGE_SUFFIXES:
                yield _Numbers(len(suffix))
            elif digits and len(suffix) >= 2:
                yield _Numbers(len(suffix), from_first=True)
            elif letters:
                yield Letters(len(suffix), from_first=True)
        elif digits:
            spread = _SPARSE if named_so else 0.0
            yield from (_Counted(from_first=False), _Numbers(len(suffix), spread=spread))
        elif letters:
            yield Letters(len(suffix), from_first=True)
        return
    for series in _EWF:
        if series.number(suffix) is not None:
            yield series
    if digits and (named_so or extension(before) in IMAGE_SUFFIXES):
        yield _Counted(from_first=not named_so)
    if digits and 2 <= len(suffix) <= 6:
        if len(suffix) > 3 and suffix[0] != "0":
            yield _Numbers(3)
        yield _Numbers(len(suffix), spread=_SPARSE if named_so else 0.0)
    if letters:
        yield Letters(len(suffix))


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
