"""The data of APFS files: holes, clones, and reads that begin and end within extents."""

import random
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("dissect.apfs")

from pyimount.files.adapters.apfs_data import Data, data_of

BLOCK = 4096


def volume(blocks: bytes, *, encrypted: bool = False) -> Any:
    def read(address: int, count: int = 1) -> bytes:
        return blocks[address * BLOCK : (address + count) * BLOCK]

    def decrypt(data: bytes, sector: int) -> bytes:
        return b"".join(
            bytes(byte ^ (sector + at // 512) % 251 for byte in data[at : at + 512])
            for at in range(0, len(data), 512)
        )

    return SimpleNamespace(
        container=SimpleNamespace(block_size=BLOCK, _read_block=read, sectors_per_block=BLOCK // 512),
        is_sealed=False, cursor=lambda: None, is_encrypted=encrypted, is_onekey=True,
        _cipher=SimpleNamespace(decrypt=decrypt),
    )  # fmt: skip


class Told(Data):
    """With extents as they are told: start and length in blocks, place, number that its key counts from."""

    extents: Mapping[int, tuple[int, int, int]]

    def _lookup(self, offset: int) -> tuple[int, int, int, int]:
        start = max(each for each in self.extents if each * BLOCK <= offset)
        size, place, crypto = self.extents[start]
        return start * BLOCK, place, size * BLOCK, crypto


@pytest.mark.parametrize("encrypted", [False, True])
def test_extents_holes_and_what_is_read_across_them(encrypted: bool) -> None:
    blocks = random.Random(3).randbytes(64 * BLOCK)  # noqa: S311
    told = {0: (3, 10, 10), 3: (16, 0, 0), 19: (7, 30, 5), 26: (4, 2, 2)}
    of = volume(blocks, encrypted=encrypted)
    wanted = bytearray()
    for size, place, crypto in told.values():
        data = blocks[place * BLOCK : (place + size) * BLOCK] if place else bytes(size * BLOCK)
        wanted += of._cipher.decrypt(data, crypto * 8) if encrypted and place else data
    size = len(wanted) - 100
    stream = Told(of, 7, size)
    stream.extents = told
    for at in range(0, size, 3333):
        for length in (1, 4096, 20_000, 70_000):
            stream.seek(at)
            assert stream.read(length) == wanted[at : min(at + length, size)]


def test_an_extent_that_does_not_reach_there_is_damage() -> None:
    stream = Told(volume(bytes(BLOCK)), 7, 9 * BLOCK)
    stream.extents = {0: (2, 1, 1)}
    stream.seek(3 * BLOCK)
    with pytest.raises(ValueError, match="no extent"):
        stream.read(1)


def test_a_clone_has_the_extents_of_what_it_was_made_of() -> None:
    node = SimpleNamespace(volume=volume(b""), oid=30, private_id=20, size=5, is_compressed=lambda: False)
    assert data_of(node).oid == 20
