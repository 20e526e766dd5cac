"""The diffuser, word by word as its paper has it."""

import random
import struct

import pytest

from pyimount.mapping import elephant
from pyimount.mapping.elephant import undiffuse

chance = random.Random(3)  # noqa: S311


def rotated(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) & 0xFFFFFFFF


def diffuse(data: bytes, key: bytes) -> bytes:
    """One sector, as it is written: the sector key, then A, then B, each in its encrypting direction.

    Ferguson 2006, sections 4.3 and 4.4: where decrypting adds, this subtracts, from the last word on.
    """
    count = len(data) // 4
    words = list(struct.unpack(f"<{count}I", bytes(x ^ key[at % 32] for at, x in enumerate(data))))
    for _ in range(5):
        for i in reversed(range(count)):
            turned = rotated(words[(i - 5) % count], (9, 0, 13, 0)[i % 4])
            words[i] = (words[i] - (words[(i - 2) % count] ^ turned)) & 0xFFFFFFFF
    for _ in range(3):
        for i in reversed(range(count)):
            turned = rotated(words[(i + 5) % count], (0, 10, 0, 25)[i % 4])
            words[i] = (words[i] - (words[(i + 2) % count] ^ turned)) & 0xFFFFFFFF
    return struct.pack(f"<{count}I", *words)


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("size", [512, 1024, 4096])
@pytest.mark.parametrize("sectors", [1, 2, 7])
@pytest.mark.parametrize("few", [0, elephant._FEW])
def test_what_was_diffused_is_told_back(
    size: int, sectors: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elephant, "_FEW", few)
    plain = [chance.randbytes(size) for _ in range(sectors - 1)] + [b"\xff" * size]
    keys = [chance.randbytes(32) for _ in plain]
    sealed = b"".join(diffuse(data, key) for data, key in zip(plain, keys, strict=True))
    assert undiffuse(sealed, b"".join(keys), size) == b"".join(plain)
