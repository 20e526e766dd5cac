"""All formats, found in the rooms of ``pyimount.parsers``, and the one table of their signatures.

Adding a format is adding a file: a module in one of the rooms with a constant ``FORMAT``. A parser
is imported when one of its signatures hits. Which signatures there are stands in ``signatures.py``,
which ``make signatures`` writes from the parsers; where it does not list the modules that are there,
it is passed over and all parsers are imported.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Generic, NamedTuple, TypeVar, cast

from pyimount.formats import ContainerFormat, Format, TableFormat
from pyimount.sources.view import View

PAGE = 4096
"""What a layer is looked at in, bytes: reads of less cost the same."""

_GAP = 2 * PAGE

CONTAINER_ROOMS = ("containers",)
TABLE_ROOMS = ("partitions",)
VOLUME_ROOMS = ("volumes", "encryption", "filesystems", "archives")

Declaration = TypeVar("Declaration", Format, TableFormat, ContainerFormat)

SignatureFields = tuple[bytes, int, int, int]
"""A Signature's magic, offset and align, and whether it is a copy: 1, or 2 where that is lasting."""

IndexLine = tuple[str, str, int, tuple[SignatureFields, ...]]
"""A module's name, and its format's name, precedence and signatures; a name of ``""``: it has no format."""


class Entry(NamedTuple):
    """A format that may not have been imported yet."""

    room: str
    module: str
    name: str
    precedence: int
    signatures: tuple[SignatureFields, ...]

    def load(self) -> Any:
        """The format's declaration."""
        return _load(self.room, self.module)


@cache
def _load(room: str, module: str) -> Any:
    return import_module(f"pyimount.parsers.{room}.{module}").FORMAT


def modules(room: str) -> list[str]:
    """The names of the modules in a room of the parsers, sorted."""
    folder = os.path.dirname(import_module(f"pyimount.parsers.{room}").__file__ or "")
    return sorted(name[:-3] for name in os.listdir(folder) if name.endswith(".py") and name != "__init__.py")


def index_of(room: str) -> tuple[IndexLine, ...]:
    """The lines of a room's index, made by importing all its modules."""
    lines: list[IndexLine] = []
    for module in modules(room):
        declared = getattr(import_module(f"pyimount.parsers.{room}.{module}"), "FORMAT", None)
        if declared is None:  # a module that several formats share
            lines.append((module, "", 0, ()))
            continue
        signatures = tuple(
            (each.magic, each.offset, each.align, each.copy + each.lasting) for each in declared.signatures
        )
        # What is only wrapping is asked last: a DMG's first chunk may look like a file of bzip2.
        wraps = getattr(declared, "wraps", False)
        lines.append((module, declared.name, int(getattr(declared, "precedence", wraps)), signatures))
    return tuple(lines)


@cache
def _entries(rooms: tuple[str, ...]) -> tuple[Entry, ...]:
    """The formats of these rooms in the order in which they are asked: by precedence and name."""
    from pyimount.recognition.signatures import INDEX

    found = []
    for room in rooms:
        lines = INDEX.get(room, ())
        if [line[0] for line in lines] != modules(room):
            lines = index_of(room)
        found += [Entry(room, *line) for line in lines if line[1]]
    return tuple(sorted(found, key=lambda entry: (entry.precedence, entry.name)))


def volume_formats() -> tuple[Format, ...]:
    """Every format of volumes, by precedence and name."""
    return tuple(entry.load() for entry in _entries(VOLUME_ROOMS))


def volume_format(name: str) -> Format | None:
    """The format of volumes of this name."""
    return next((entry.load() for entry in _entries(VOLUME_ROOMS) if entry.name == name), None)


def table_formats() -> tuple[TableFormat, ...]:
    """Every format of partition tables, by name."""
    return tuple(entry.load() for entry in _entries(TABLE_ROOMS))


def container_formats() -> tuple[ContainerFormat, ...]:
    """Every format of containers, by name."""
    return tuple(entry.load() for entry in _entries(CONTAINER_ROOMS))


class _Place(NamedTuple):
    """A place where signatures stand, and whose format each of them is (by its number among the entries)."""

    offset: int
    align: int
    length: int
    by_magic: dict[bytes, tuple[int, ...]]


class _Group(NamedTuple):
    """Places that lie close together, so that the bytes around all of them are had by one slice.

    ``start``: where the first begins, from the end of a layer where it is negative; ``length``: of all;
    ``looks``: where each begins in these bytes, the bytes with which a magic there begins, where it ends, and
    what finds its owners.
    """

    start: int
    length: int
    looks: tuple[tuple[int, frozenset[int], int, Callable[[bytes], tuple[int, ...] | None]], ...]
    places: tuple[_Place, ...]


def _grouped(places: Iterable[_Place]) -> tuple[_Group, ...]:
    groups: list[list[_Place]] = []
    for place in sorted(places):
        if (
            groups
            and place.offset < groups[-1][-1].offset + _GAP
            and (place.offset < 0) == (groups[-1][0].offset < 0)
        ):
            groups[-1].append(place)
        else:
            groups.append([place])
    return tuple(
        _Group(
            start := group[0].offset,
            max(place.offset + place.length for place in group) - start,
            tuple(
                (
                    place.offset - start,
                    frozenset(magic[0] for magic in place.by_magic),
                    place.offset - start + place.length,
                    place.by_magic.get,
                )
                for place in group
            ),
            tuple(group),
        )
        for group in groups
    )


class SignatureTable(Generic[Declaration]):
    """The signatures of some formats, arranged so that one look at a view finds all that hit."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._places = self._arrange(0)
        self._copies = self._arrange(1, 2)
        self._lasting = self._arrange(2)
        self._groups = _grouped(self._places)
        self._align = max((place.align for place in self._places), default=1)

    def _arrange(self, *kinds: int) -> tuple[_Place, ...]:
        places: dict[tuple[int, int, int], dict[bytes, list[int]]] = {}
        for number, entry in enumerate(self._entries):
            for magic, offset, align, copy in entry.signatures:
                if copy in kinds:
                    place = places.setdefault((offset, align, len(magic)), {})
                    place.setdefault(magic, []).append(number)
        return tuple(
            _Place(offset, align, length, {magic: tuple(owners) for magic, owners in by_magic.items()})
            for (offset, align, length), by_magic in sorted(
                places.items(), key=lambda item: (item[0][0] < 0, item[0])
            )
        )

    @property
    def ends(self) -> tuple[tuple[int, int, int], ...]:
        """The places, ``(offset, align, length)``, that ``hits`` looks at from the end of a layer."""
        return tuple((place.offset, place.align, place.length) for place in self._places if place.offset < 0)

    @property
    def pages(self) -> set[int]:
        """The 4 KiB pages, counted from the start of a layer, that ``hits`` looks into."""
        return {
            page
            for place in self._places
            if place.offset >= 0
            for page in range(place.offset // PAGE, (place.offset + place.length - 1) // PAGE + 1)
        }

    def hits(self, view: View) -> list[Declaration]:
        """The formats of which a signature stands at its place in ``view``, in their order."""
        found: set[int] = set()
        size = view.size
        round_size = size % self._align == 0
        for start, length, looks, places in self._groups:
            # Nearly always all of it has been read before, and there is nothing to reckon.
            held = None
            if start >= 0:
                held = view.held(start, length)
            elif round_size:
                held = view.held(size + start, length)
            if held is None:
                found |= self._look(view, places)
                continue
            for at, first_bytes, end, owners_of in looks:
                if held[at] in first_bytes and (owners := owners_of(held[at:end])):
                    found.update(owners)
        return self._load(found)

    def copy_hits(self, view: View) -> list[Declaration]:
        """The same for the places of backup superblocks."""
        return self._load(self._look(view, self._copies))

    def lasting_hits(self, view: View) -> list[Declaration]:
        """The same for those of them that formatting anew often leaves."""
        return self._load(self._look(view, self._lasting))

    def lasting_runs(self, size: int) -> Iterator[tuple[int, int]]:
        """The runs, ``(offset, length)``, that ``lasting_hits`` looks at in a layer of this size."""
        for offset, align, length, _ in self._lasting:
            yield offset if offset >= 0 else size // align * align + offset, length

    def unsigned(self) -> list[Declaration]:
        """The formats that have no signature."""
        return self._load(number for number, entry in enumerate(self._entries) if not entry.signatures)

    def _look(self, view: View, places: tuple[_Place, ...]) -> set[int]:
        found: set[int] = set()
        size = view.size
        there = [
            ((at, length), by_magic)
            for offset, align, length, by_magic in places
            if 0 <= (at := offset if offset >= 0 else size // align * align + offset) <= size - length
        ]
        seen = view.glances([place for place, _ in there])
        for magic, (_, by_magic) in zip(seen, there, strict=True):
            if owners := by_magic.get(magic):
                found.update(owners)
        return found

    def _load(self, numbers: Iterable[int]) -> list[Declaration]:
        return [cast("Declaration", self._entries[number].load()) for number in sorted(numbers)]


@cache
def volume_signatures() -> SignatureTable[Format]:
    """The signatures of all formats of volumes."""
    return SignatureTable(_entries(VOLUME_ROOMS))


@cache
def table_signatures() -> SignatureTable[TableFormat]:
    """The signatures of all formats of partition tables."""
    return SignatureTable(_entries(TABLE_ROOMS))


@cache
def container_signatures() -> SignatureTable[ContainerFormat]:
    """The signatures of all formats of containers."""
    return SignatureTable(_entries(CONTAINER_ROOMS))


@cache
def plain_signatures() -> tuple[tuple[bytes, int, Entry], ...]:
    """Every signature of volumes and tables but those of copies: its magic, its offset, and whose it is."""
    return tuple(
        (magic, offset, entry)
        for rooms in (VOLUME_ROOMS, TABLE_ROOMS)
        for entry in _entries(rooms)
        for magic, offset, _, copy in entry.signatures
        if not copy
    )


@cache
def head_runs() -> tuple[tuple[int, int], ...]:
    """The runs, ``(offset, length)`` in bytes, that take in every signature's place from a layer's start.

    Pages that lie close together are one run: one read costs less than two.
    """
    runs: list[list[int]] = []
    for page in sorted(volume_signatures().pages | table_signatures().pages | {0}):
        start, end = page * PAGE, (page + 1) * PAGE
        if runs and start - runs[-1][1] <= _GAP:
            runs[-1][1] = end
        else:
            runs.append([start, end])
    return tuple((start, end - start) for start, end in runs)


@cache
def _ends() -> tuple[tuple[int, int, int], ...]:
    return (*volume_signatures().ends, *table_signatures().ends)


def first_runs(size: int) -> tuple[tuple[int, int], ...]:
    """All that is read of most layers of this size, whatever is in them."""
    return (*head_runs(), *tail_runs(size), *volume_signatures().lasting_runs(size))


_ROUND = 1 << 40
"""A size that is a multiple of everything that places are aligned to: all powers of two."""


@cache
def _round_tail() -> tuple[int, int, tuple[tuple[int, int], ...]]:
    """The largest alignment, the farthest place, and the runs from the end of every layer of round size."""
    runs = tuple((start - _ROUND, length) for start, length in _tail_of(_ROUND))
    return max(align for _, align, _ in _ends()), -min(start for start, _ in runs), runs


def tail_runs(size: int) -> tuple[tuple[int, int], ...]:
    """The same from the end of a layer of ``size`` bytes; the last run reaches to the end."""
    align, farthest, runs = _round_tail()
    if size % align == 0 and size >= farthest:
        return tuple((size + start, length) for start, length in runs)
    return _tail_of(size)


def _tail_of(size: int) -> tuple[tuple[int, int], ...]:
    runs: list[list[int]] = []
    for at, length in sorted((size // align * align + offset, length) for offset, align, length in _ends()):
        if at < 0:
            continue
        if runs and at - runs[-1][1] <= _GAP:
            runs[-1][1] = max(runs[-1][1], at + length)
        else:
            runs.append([at, at + length])
    if runs:
        runs[-1][1] = size
    return tuple((start, end - start) for start, end in runs)
