"""The Elephant diffuser, which BitLocker of Vista and 7 puts on top of AES-CBC.

Niels Ferguson, "AES-CBC + Elephant diffuser: A Disk Encryption Algorithm for Windows Vista", 2006.
All sectors of a read are done at once: word i of every sector stands in one row of an array.
"""

from collections.abc import Sequence
from typing import Any

_ROTATIONS_A, _CYCLES_A = (9, 0, 13, 0), 5
_ROTATIONS_B, _CYCLES_B = (0, 10, 0, 25), 3


def undiffuse(data: bytes, sector_keys: bytes, sector_size: int) -> bytes:
    """Whole sectors without diffuser and sector key; ``sector_keys`` has 32 bytes a sector."""
    import numpy

    words = numpy.frombuffer(data, "<u4").reshape(-1, sector_size // 4).T.astype("<u4", order="C")
    count = len(words)
    _turn(words, _ROTATIONS_B, _CYCLES_B, [((i + 2) % count, (i + 5) % count) for i in range(count)])
    _turn(words, _ROTATIONS_A, _CYCLES_A, [(i - 2, i - 5) for i in range(count)])
    keys = numpy.frombuffer(sector_keys, "<u4").reshape(-1, 8)
    plain = words.T.reshape(-1, sector_size // 32, 8) ^ keys[:, None, :]
    return bytes(plain.tobytes())


def _turn(words: Any, rotations: Sequence[int], cycles: int, others: Sequence[tuple[int, int]]) -> None:
    import numpy

    mixed, wrapped = numpy.empty_like(words[0]), numpy.empty_like(words[0])
    for _ in range(cycles):
        for number, (near, far) in enumerate(others):
            rotation = rotations[number % 4]
            if rotation:
                numpy.left_shift(words[far], rotation, out=mixed)
                numpy.right_shift(words[far], 32 - rotation, out=wrapped)
                numpy.bitwise_or(mixed, wrapped, out=mixed)
                numpy.bitwise_xor(mixed, words[near], out=mixed)
            else:
                numpy.bitwise_xor(words[far], words[near], out=mixed)
            numpy.add(words[number], mixed, out=words[number])
