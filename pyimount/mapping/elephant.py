"""The Elephant diffuser, which BitLocker of Vista and 7 puts on top of AES-CBC.

Niels Ferguson, "AES-CBC + Elephant diffuser: A Disk Encryption Algorithm for Windows Vista", 2006.
All sectors of a read are done at once: word i of every sector stands in one row, of an array where numpy is
installed and there are many, else of 32-bit lanes in one whole number.
"""

from array import array
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

from pyimount.mapping.optional_numpy import numpy
from pyimount.mapping.windows import WindowSource
from pyimount.sources.source import Source

_ROTATIONS_A, _CYCLES_A = (9, 0, 13, 0), 5
_ROTATIONS_B, _CYCLES_B = (0, 10, 0, 25), 3
_WORD = 32
_KEY = 32
"""Bytes of a sector's key."""

_FEW = 128 << 10
"""So many bytes cost less as whole numbers than numpy's arrays do for any: measured."""

_LARGE = 512 << 10
"""With numpy's arrays so many bytes cost as much as eight reads of 4 KiB do by themselves: measured."""

_Others = Sequence[tuple[int, int]]
"""For each word in turn, the two that are mixed into it."""


def in_windows(source: Source) -> Source:
    """The bytes of a source whose sectors are diffused, for small reads: in windows that pay."""
    return WindowSource(source) if numpy() is None else WindowSource(source, _LARGE, after=4)


def undiffuse(data: bytes, sector_keys: bytes, sector_size: int) -> bytes:
    """Whole sectors without diffuser and sector key; ``sector_keys`` has 32 bytes a sector."""
    count = sector_size // 4
    others_b = [((i + 2) % count, (i + 5) % count) for i in range(count)]
    others_a = [(i - 2, i - 5) for i in range(count)]
    np = numpy()
    if np is None or len(data) <= _FEW:
        return _by_integers(data, sector_keys, count, (others_b, others_a))
    return _by_arrays(np, data, sector_keys, count, (others_b, others_a))


def _by_arrays(
    np: ModuleType, data: bytes, sector_keys: bytes, count: int, others: tuple[_Others, _Others]
) -> bytes:
    words = np.frombuffer(data, "<u4").reshape(-1, count).T.astype("<u4", order="C")
    _turn(np, words, _ROTATIONS_B, _CYCLES_B, others[0])
    _turn(np, words, _ROTATIONS_A, _CYCLES_A, others[1])
    keys = np.frombuffer(sector_keys, "<u4").reshape(-1, _KEY // 4)
    plain = words.T.reshape(-1, 4 * count // _KEY, _KEY // 4) ^ keys[:, None, :]
    return bytes(plain.tobytes())


def _turn(np: ModuleType, words: Any, rotations: Sequence[int], cycles: int, others: _Others) -> None:
    mixed, wrapped = np.empty_like(words[0]), np.empty_like(words[0])
    for _ in range(cycles):
        for number, (near, far) in enumerate(others):
            rotation = rotations[number % 4]
            if rotation:
                np.left_shift(words[far], rotation, out=mixed)
                np.right_shift(words[far], 32 - rotation, out=wrapped)
                np.bitwise_or(mixed, wrapped, out=mixed)
                np.bitwise_xor(mixed, words[near], out=mixed)
            else:
                np.bitwise_xor(words[far], words[near], out=mixed)
            np.add(words[number], mixed, out=words[number])


def _by_integers(data: bytes, sector_keys: bytes, count: int, others: tuple[_Others, _Others]) -> bytes:
    """The same without numpy."""
    sectors = len(data) // (4 * count)
    # Moves words of four bytes about; their values, and so the machine's byte order, are of no concern.
    words = array("I", data)
    rows = [int.from_bytes(words[number::count].tobytes(), "little") for number in range(count)]
    _turn_integers(rows, sectors, (_ROTATIONS_B, _CYCLES_B), others[0])
    _turn_integers(rows, sectors, (_ROTATIONS_A, _CYCLES_A), others[1])
    for number, row in enumerate(rows):
        words[number::count] = array("I", row.to_bytes(4 * sectors, "little"))
    keys = b"".join(
        sector_keys[at : at + _KEY] * (4 * count // _KEY) for at in range(0, len(sector_keys), _KEY)
    )
    plain = int.from_bytes(words.tobytes(), "little") ^ int.from_bytes(keys, "little")
    return plain.to_bytes(len(data), "little")


def _turn_integers(rows: list[int], sectors: int, kind: tuple[Sequence[int], int], others: _Others) -> None:
    rotations, cycles = kind
    highest = _lanes(1 << _WORD - 1, sectors)
    rest = _lanes((1 << _WORD - 1) - 1, sectors)
    # By rotation: the bits that stay in their lane when shifted to the left, and those that come in again.
    kept = [
        (_lanes((1 << _WORD - turn) - 1, sectors), _lanes((1 << turn) - 1, sectors)) for turn in rotations
    ]
    for _ in range(cycles):
        for number, (near, far) in enumerate(others):
            rotation, mixed = rotations[number % 4], rows[far]
            if rotation:
                staying, coming = kept[number % 4]
                mixed = (mixed & staying) << rotation | mixed >> _WORD - rotation & coming
            mixed ^= rows[near]
            word = rows[number]
            # The highest bit of each lane is added apart, so that none is carried into the next lane.
            rows[number] = ((word & rest) + (mixed & rest)) ^ ((word ^ mixed) & highest)


@lru_cache(maxsize=64)
def _lanes(word: int, count: int) -> int:
    """A number with ``word`` in each of ``count`` lanes."""
    return int.from_bytes(word.to_bytes(_WORD // 8, "little") * count, "little")
