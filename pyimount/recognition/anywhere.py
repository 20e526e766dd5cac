"""Magics at any word or byte: all of them looked for at once.

A ``find`` for each of hundreds, or one pattern of all, takes longer than reading the disk. Here every fourth
byte of a piece is one column. Each column is turned, by one table of 256 bytes, into what it speaks for: a
bit for each group of magics. What is left of all columns' bits together is nearly nothing; only there the
magics themselves are compared. All of that but the last is done by a few calls for the whole piece.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from math import prod
from typing import NamedTuple

_WORD = 4
_GROUPS = 8
_FEW = 32
"""So many magics are told by two columns well enough: measured."""
_COMMON = (b"\0", b"\xff")
_SOMETHING = re.compile(rb"[^\0]")


class _Window(NamedTuple):
    """The word of which a magic has most: ``magic`` begins ``before`` bytes before it, behind it if negative.

    ``first``, ``last``: the bytes of the word that are the magic's.
    """

    magic: bytes
    before: int
    first: int
    last: int

    @property
    def known(self) -> bytes:
        """What stands from ``first`` to ``last``."""
        return self.magic[self.before + self.first : self.before + self.last]


class Magics:
    """Looks for magics at multiples of ``step`` behind their places; ``wanted``: ``(magic, place)``."""

    def __init__(self, wanted: Iterable[tuple[bytes, int]], step: int) -> None:
        by_word = step % _WORD == 0
        windows = {_window(magic, place if by_word else 0) for magic, place in wanted}
        self._passes = (0,) if by_word else tuple(range(_WORD))
        self._tables = _tables(windows)
        self._by_known: dict[tuple[int, int], dict[bytes, list[_Window]]] = {}
        for window in windows:
            alike = self._by_known.setdefault((window.first, window.last), {})
            alike.setdefault(window.known, []).append(window)

    def places(self, piece: bytes, end: int) -> Iterator[tuple[int, bytes]]:
        """Where the magics stand that begin before ``end``, in no order; a piece begins at a whole word."""
        for start in self._passes:
            for at in self._candidates(piece, start, end + _WORD):
                for (first, last), alike in self._by_known.items():
                    for window in alike.get(piece[at + first : at + last], ()):
                        where = at - window.before
                        if 0 <= where < end and piece.startswith(window.magic, where):
                            yield where, window.magic

    def _candidates(self, piece: bytes, start: int, end: int) -> Iterator[int]:
        """The words of which every byte speaks for one group."""
        words = len(range(start, min(end, len(piece) - _WORD + 1), _WORD))
        bits = -1
        for column, table in self._tables:
            of_word = piece[start + column : start + column + words * _WORD : _WORD]
            bits &= int.from_bytes(of_word.translate(table), "little")
        if bits > 0:
            for found in _SOMETHING.finditer(bits.to_bytes(words, "little")):
                yield start + found.start() * _WORD


def _window(magic: bytes, place: int) -> _Window:
    """The word that tells most of a magic that stands at ``place``, or at a multiple of a word behind it."""
    choices = [
        _Window(magic, before, max(0, -before), min(_WORD, len(magic) - before))
        for before in range(-place % _WORD - _WORD, len(magic), _WORD)
        if before > -_WORD
    ]
    # What disks are full of tells nothing.
    return max(choices, key=lambda one: (len(one.known) - sum(map(one.known.count, _COMMON)), len(one.known)))


def _tables(windows: Iterable[_Window]) -> list[tuple[int, bytes]]:
    """The columns that are looked at, and what turns each of their bytes into the groups it speaks for."""
    ordered = sorted(windows, key=lambda one: (one.first, one.last, one.known))
    groups = _grouped(ordered, range(2))
    if len(ordered) > _FEW or any(_has_zeros(group) for group in groups):
        groups = _grouped(ordered, range(_WORD))
    return [
        (column, bytes(sum((byte in values) << bit for bit, values in enumerate(of_groups)) for byte in _ANY))
        for column, of_groups in enumerate(zip(*groups, strict=True))
    ]


def _grouped(windows: Iterable[_Window], columns: range) -> list[list[set[int]]]:
    """The values that each group has in each column."""
    groups: list[list[set[int]]] = [[set() for _ in columns] for _ in range(_GROUPS)]
    for window in windows:
        own: list[AbstractSet[int]] = [
            {window.magic[window.before + column]} if window.first <= column < window.last else _ANY
            for column in columns
        ]
        # Where it adds the fewest words that speak for a group, and none of zeros, of which disks are full.
        chosen = min(groups, key=lambda group: _added(group, own))
        for values, more in zip(chosen, own, strict=True):
            values.update(more)
    return groups


_ANY = frozenset(range(256))


def _added(group: Sequence[AbstractSet[int]], own: Sequence[AbstractSet[int]]) -> tuple[bool, int]:
    """Whether a group with this besides would take words of zeros, and how many words it would take more."""
    both = [values | more for values, more in zip(group, own, strict=True)]
    return _has_zeros(both), prod(map(len, both)) - prod(map(len, group))


def _has_zeros(group: Sequence[AbstractSet[int]]) -> bool:
    return all(0 in values for values in group)
