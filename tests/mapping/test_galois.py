"""P and Q of a stripe reckoned byte by byte, and what is lost reckoned back."""

import random
from itertools import combinations

import pytest

from pyimount.mapping import galois
from pyimount.mapping.galois import lost_chunks
from pyimount.sources.errors import ReadError

chance = random.Random(2)  # noqa: S311


def times_2(value: int) -> int:
    return (value << 1 ^ (0x11D if value & 0x80 else 0)) & 0xFF


def parity(data: dict[int, bytes], powers: dict[int, int]) -> tuple[bytes, bytes]:
    """P and Q, as Anvin's paper defines them."""
    length = len(next(iter(data.values())))
    p, q = bytearray(length), bytearray(length)
    for slot, run in data.items():
        for at, value in enumerate(run):
            p[at] ^= value
            product = value
            for _ in range(powers[slot]):
                product = times_2(product)
            q[at] ^= product
    return bytes(p), bytes(q)


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("length", [1, 33, 512, 1000])
def test_every_one_or_two_that_are_lost(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(galois, "_AT_ONCE", 100)
    powers = {0: 0, 1: 1, 2: 2, 4: 3, 7: 6}
    data = {slot: chance.randbytes(length) for slot in powers}
    data[4] = bytes(length)
    data[1] = b"\xff" * length
    p, q = parity(data, powers)
    for count in (1, 2):
        for lost in combinations(powers, count):
            there = {slot: run for slot, run in data.items() if slot not in lost}
            for given in [(p, q)] if count == 2 else [(p, None), (None, q)]:
                found = lost_chunks(there, lost, *given, powers)
                assert {slot: bytes(run) for slot, run in found.items()} == {
                    slot: data[slot] for slot in lost
                }


@pytest.mark.usefixtures("arithmetic")
def test_one_that_stands_alone() -> None:
    data = {3: b"\x80\x01\xff"}
    p, q = parity(data, {3: 5})
    assert bytes(lost_chunks({}, [3], None, q, {3: 5})[3]) == data[3]
    assert bytes(lost_chunks({}, [3], p, None, {3: 5})[3]) == data[3]


@pytest.mark.usefixtures("arithmetic")
def test_two_in_one_place_cannot_be_told_apart() -> None:
    with pytest.raises(ReadError, match="same place"):
        lost_chunks({}, [0, 1], b"ab", b"cd", {0: 3, 1: 3})
