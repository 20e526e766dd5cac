"""All formats, found in the rooms of ``pyimount.parsers``, and the one table of their signatures.

Adding a format is adding a file: a module in one of the rooms with a constant ``FORMAT``.
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Generic, NamedTuple, TypeVar

from pyimount.formats import ContainerFormat, Format, TableFormat
from pyimount.sources.view import View

PAGE = 4096
"""What a layer is looked at in, bytes: reads of less cost the same."""

_GAP = 2 * PAGE


Declaration = TypeVar("Declaration", Format, TableFormat, ContainerFormat)


def _declared(*rooms: str) -> list[Any]:
    found = []
    for room in rooms:
        package = import_module(f"pyimount.parsers.{room}")
        for module in sorted(iter_modules(package.__path__), key=lambda info: info.name):
            declared = getattr(import_module(f"{package.__name__}.{module.name}"), "FORMAT", None)
            if declared is not None:  # else a module that several formats of the room share
                found.append(declared)
    return found


@cache
def volume_formats() -> tuple[Format, ...]:
    """Every format of volumes, by precedence and name."""
    found = _declared("volumes", "encryption", "filesystems")
    return tuple(sorted(found, key=lambda declared: (declared.precedence, declared.name)))


@cache
def table_formats() -> tuple[TableFormat, ...]:
    """Every format of partition tables, by name."""
    return tuple(_declared("partitions"))


@cache
def container_formats() -> tuple[ContainerFormat, ...]:
    """Every format of containers, by name."""
    return tuple(_declared("containers"))


class _Place(NamedTuple, Generic[Declaration]):
    """A place where signatures stand, and whose format each of them is."""

    offset: int
    align: int
    length: int
    by_magic: dict[bytes, tuple[Declaration, ...]]


class SignatureTable(Generic[Declaration]):
    """The signatures of some formats, arranged so that one look at a view finds all that hit."""

    def __init__(self, declared: Sequence[Declaration]) -> None:
        self.unsigned: tuple[Declaration, ...] = tuple(entry for entry in declared if not entry.signatures)
        self._rank = {entry.name: rank for rank, entry in enumerate(declared)}
        self._places: tuple[_Place[Declaration], ...] = self._arrange(declared, copies=False)
        self._copies: tuple[_Place[Declaration], ...] = self._arrange(declared, copies=True)

    @staticmethod
    def _arrange(declared: Sequence[Declaration], *, copies: bool) -> tuple[_Place[Declaration], ...]:
        places: dict[tuple[int, int, int], dict[bytes, list[Declaration]]] = {}
        for entry in declared:
            for signature in entry.signatures:
                if signature.copy == copies:
                    key = (signature.offset, signature.align, len(signature.magic))
                    places.setdefault(key, {}).setdefault(signature.magic, []).append(entry)
        return tuple(
            _Place(offset, align, length, {magic: tuple(owners) for magic, owners in by_magic.items()})
            for (offset, align, length), by_magic in sorted(places.items())
        )

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
        return self._look(view, self._places)

    def copy_hits(self, view: View) -> list[Declaration]:
        """The same for the places of backup superblocks."""
        return self._look(view, self._copies)

    def _look(self, view: View, places: tuple[_Place[Declaration], ...]) -> list[Declaration]:
        found = {}
        head, size = view.head, view.size
        for offset, align, length, by_magic in places:
            if offset < 0:
                magic = view.glance(size // align * align + offset, length)
            elif offset + length <= len(head):
                # Most places lie here; a slice costs a tenth of what a call does.
                magic = head[offset : offset + length]
            else:
                magic = view.glance(offset, length)
            for entry in by_magic.get(magic, ()):
                found[entry.name] = entry
        return sorted(found.values(), key=lambda entry: self._rank[entry.name])


@cache
def volume_signatures() -> SignatureTable[Format]:
    """The signatures of all formats of volumes."""
    return SignatureTable(volume_formats())


@cache
def table_signatures() -> SignatureTable[TableFormat]:
    """The signatures of all formats of partition tables."""
    return SignatureTable(table_formats())


@cache
def container_signatures() -> SignatureTable[ContainerFormat]:
    """The signatures of all formats of containers."""
    return SignatureTable(container_formats())


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
