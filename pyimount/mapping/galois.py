"""Lost chunks of a stripe, reckoned back from P and Q in GF(2^8) over x^8 + x^4 + x^3 + x^2 + 1.

H. Peter Anvin, The mathematics of RAID-6, https://www.kernel.org/pub/linux/kernel/people/hpa/raid6.pdf

numpy adds and doubles all bytes of a chunk nearly as fast as they are copied; without it a chunk is one large
number, and that is some ten times as slow. Other products go byte by byte through a table: there is one at
most for each stripe.
"""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, Protocol, TypeAlias

from pyimount.mapping.optional_numpy import numpy
from pyimount.sources.errors import ReadError

_AT_ONCE = 128 << 10
"""Bytes of each chunk: what processors keep at hand."""

Run: TypeAlias = Any
"""A run of bytes in the form of an arithmetic; ``^=`` adds another one to it."""


class _Arithmetic(Protocol):
    """How runs of bytes are added, doubled and multiplied, all bytes of a run at once."""

    def run(self, data: bytes) -> Run:
        """The run of these bytes, which are never changed."""

    def copy(self, run: Run) -> Run:
        """Another one, to be changed."""

    def doubled(self, run: Run) -> Run:
        """Every byte times 2; ``run`` itself is used up."""

    def data(self, run: Run, length: int) -> bytes | memoryview:
        """The ``length`` bytes of a run."""


class _Arrays:
    """With numpy."""

    def __init__(self, np: ModuleType) -> None:
        self._np = np

    def run(self, data: bytes) -> Run:
        return self._np.frombuffer(data, self._np.uint8)

    def copy(self, run: Run) -> Run:
        return run.copy()

    def doubled(self, run: Run) -> Run:
        carried = self._np.less(run.view(self._np.int8), 0)
        run += run
        run ^= carried.view(self._np.uint8) * self._np.uint8(0x1D)
        return run

    def data(self, run: Run, length: int) -> memoryview:  # noqa: ARG002
        made: memoryview = run.data
        return made


class _Integers:
    """With whole numbers, as long as the run."""

    def run(self, data: bytes) -> Run:
        return int.from_bytes(data, "little")

    def copy(self, run: Run) -> Run:
        return run

    def doubled(self, run: Run) -> Run:
        low, ones = _bits((run.bit_length() + 7) // 8)
        return (run & low) << 1 ^ (run >> 7 & ones) * 0x1D

    def data(self, run: Run, length: int) -> bytes:
        made: bytes = run.to_bytes(length, "little")
        return made


@lru_cache(maxsize=4)
def _bits(length: int) -> tuple[int, int]:
    """Numbers of ``length`` bytes with all bits of each byte but the highest, and with the lowest alone."""
    return int.from_bytes(b"\x7f" * length, "little"), int.from_bytes(b"\x01" * length, "little")


def lost_chunks(
    there: Mapping[int, bytes],
    lost: Sequence[int],
    p: bytes | None,
    q: bytes | None,
    powers: Mapping[int, int],
) -> dict[int, memoryview]:
    """The data of the slots in ``lost``, one or two, from the data that is ``there``, P and Q.

    ``p``, ``q``: None where they are missing too, or not needed; as many must be there as slots are lost.
    ``powers``: for every slot with data, the power of 2 that it has in Q. Raises ReadError where Q cannot
    tell two slots apart.
    """
    np = numpy()
    arithmetic: _Arithmetic = _Integers() if np is None else _Arrays(np)
    length = max(len(run) for run in (p, q) if run is not None)
    made: dict[int, list[bytes | memoryview]] = {slot: [] for slot in lost}
    for at in range(0, length, _AT_ONCE):
        part = slice(at, min(at + _AT_ONCE, length))
        solving = _Stripe(arithmetic, part.stop - at, powers)
        some = {slot: arithmetic.run(run[part]) for slot, run in there.items()}
        some_p, some_q = (None if run is None else arithmetic.run(run[part]) for run in (p, q))
        for slot, run in zip(lost, solving.solved(some, lost, some_p, some_q), strict=True):
            made[slot].append(arithmetic.data(run, solving.length))
    return {slot: memoryview(runs[0] if len(runs) == 1 else b"".join(runs)) for slot, runs in made.items()}


class _Stripe:
    """Solves for what a stripe lacks, ``length`` bytes of each of its chunks."""

    def __init__(self, arithmetic: _Arithmetic, length: int, powers: Mapping[int, int]) -> None:
        self._arithmetic = arithmetic
        self._powers = powers
        self.length = length

    def solved(
        self, there: Mapping[int, Run], lost: Sequence[int], p: Run | None, q: Run | None
    ) -> tuple[Run, ...]:
        """The runs of the slots in ``lost``."""
        powers = self._powers
        if p is None:
            if q is None:
                raise ReadError("neither P nor Q of a stripe can be read")
            (one,) = lost
            weighted = {powers[slot]: run for slot, run in there.items()}
            return (self._product(self._q(weighted, q), _inverse(_power(powers[one]))),)
        rest = self._arithmetic.copy(p)
        for run in there.values():
            rest ^= run
        if q is None:
            return (rest,)
        # Now rest = one + other, and what Q lacks = 2^i one + 2^j other.
        # So one = (2^j rest + that) / (2^i + 2^j).
        one, other = lost
        weighted = {powers[slot]: run for slot, run in there.items()} | {powers[other]: rest}
        scale = _inverse(_power(powers[one]) ^ _power(powers[other]))
        found = self._product(self._q(weighted, q), scale)
        return found, rest ^ found

    def _q(self, weighted: Mapping[int, Run], q: Run) -> Run:
        """``q`` and the sum of all runs, each times 2 to the power by which it is found."""
        if not weighted:
            return q
        # From the highest power down, doubled at each step.
        highest = max(weighted)
        total = self._arithmetic.copy(weighted[highest])
        for power in range(highest - 1, -1, -1):
            total = self._arithmetic.doubled(total)
            if power in weighted:
                total ^= weighted[power]
        total ^= q
        return total

    def _product(self, run: Run, factor: int) -> Run:
        """Every byte of ``run`` times ``factor``."""
        return self._arithmetic.run(bytes(self._arithmetic.data(run, self.length)).translate(_table(factor)))


@cache
def _powers() -> bytes:
    """The powers of 2."""
    found, value = [], 1
    for _ in range(255):
        found.append(value)
        value = value << 1 ^ (0x11D if value & 0x80 else 0)
    return bytes(found)


def _power(exponent: int) -> int:
    return _powers()[exponent % 255]


@cache
def _logarithms() -> Mapping[int, int]:
    return {value: exponent for exponent, value in enumerate(_powers())}


def _times(one: int, other: int) -> int:
    if not one or not other:
        return 0
    return _power(_logarithms()[one] + _logarithms()[other])


def _inverse(value: int) -> int:
    if not value:
        raise ReadError("two members of the array have the same place in Q")
    return _power(-_logarithms()[value])


@lru_cache(maxsize=256)
def _table(factor: int) -> bytes:
    """What every byte becomes times ``factor``, for bytes.translate."""
    return bytes(_times(factor, value) for value in range(256))
