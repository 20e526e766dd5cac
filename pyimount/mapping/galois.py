"""Lost chunks of a stripe, reckoned back from P and Q in GF(2^8) over x^8 + x^4 + x^3 + x^2 + 1.

H. Peter Anvin, The mathematics of RAID-6, https://www.kernel.org/pub/linux/kernel/people/hpa/raid6.pdf

numpy adds and doubles all bytes of a chunk nearly as fast as they are copied. Other products go byte by byte
through a table, twenty times as slow: there is one at most for each stripe.
"""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, TypeAlias

from pyimount.sources.errors import ReadError

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

    Run: TypeAlias = NDArray[uint8]

_AT_ONCE = 128 << 10
"""Bytes of each chunk: what processors keep at hand."""


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
    from numpy import empty, frombuffer, uint8

    data = {slot: frombuffer(run, uint8) for slot, run in there.items()}
    sums = [None if run is None else frombuffer(run, uint8) for run in (p, q)]
    length = max(len(run) for run in (p, q) if run is not None)
    made = {slot: empty(length, uint8) for slot in lost}
    for at in range(0, length, _AT_ONCE):
        part = slice(at, at + _AT_ONCE)
        some = {slot: run[part] for slot, run in data.items()}
        some_p, some_q = (None if run is None else run[part] for run in sums)
        for slot, run in zip(lost, _solved(some, lost, some_p, some_q, powers), strict=True):
            made[slot][part] = run
    return {slot: run.data for slot, run in made.items()}


def _solved(
    there: Mapping[int, "Run"],
    lost: Sequence[int],
    p: "Run | None",
    q: "Run | None",
    powers: Mapping[int, int],
) -> "tuple[Run, ...]":
    if p is None:
        if q is None:
            raise ReadError("neither P nor Q of a stripe can be read")
        (one,) = lost
        weighted = {powers[slot]: run for slot, run in there.items()}
        return (_product(_q(weighted, q), _inverse(_power(powers[one]))),)
    rest = p.copy()
    for run in there.values():
        rest ^= run
    if q is None:
        return (rest,)
    # Now rest = one + other and what Q lacks = 2^i one + 2^j other; so one = (2^j rest + that) / (2^i + 2^j).
    one, other = lost
    weighted = {powers[slot]: run for slot, run in there.items()} | {powers[other]: rest}
    scale = _inverse(_power(powers[one]) ^ _power(powers[other]))
    found = _product(_q(weighted, q), scale)
    return found, rest ^ found


def _q(weighted: Mapping[int, "Run"], q: "Run") -> "Run":
    """``q`` and the sum of all runs, each times 2 to the power by which it is found."""
    from numpy import int8, less, uint8, zeros_like

    # From the highest power down, doubled at each step.
    highest = max(weighted, default=0)
    total = weighted[highest].copy() if weighted else zeros_like(q)
    for power in range(highest - 1, -1, -1):
        carried = less(total.view(int8), 0)
        total += total
        total ^= carried.view(uint8) * uint8(0x1D)
        if power in weighted:
            total ^= weighted[power]
    total ^= q
    return total


def _product(run: "Run", factor: int) -> "Run":
    """Every byte of ``run`` times ``factor``."""
    from numpy import frombuffer, uint8

    return frombuffer(run.tobytes().translate(_table(factor)), uint8)


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
