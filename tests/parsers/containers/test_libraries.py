"""Libraries that unpack faster change nothing: the same bytes, and of what is damaged the same words."""

import random
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pyimount
from fixtures.recipes.aff4 import pack_lz4, pack_snappy
from fixtures.workshop import fixtures
from pyimount.mapping import open_layer
from pyimount.parsers.containers import aff4_chunks, lz4, snappy, zlib_library
from pyimount.parsers.containers.chunks import inflate, read_checked
from pyimount.parsers.containers.clusters import inflate_raw
from pyimount.parsers.containers.deflate import GZIP, RAW, DeflateStream
from pyimount.parsers.containers.packed import Input
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource
from tests.needing import lacking

LIBRARIES = {
    "zlib_ng.zlib_ng": zlib_library.zlib_library,
    "cramjam": snappy.snappy_library,
    "lz4.block": lz4.lz4_library,
}
SIZE = 24 << 10


def _forget() -> None:
    for found in LIBRARIES.values():
        found.cache_clear()


@contextmanager
def _without() -> Iterator[None]:
    """As where none of them is installed."""
    with pytest.MonkeyPatch.context() as patch:
        for name in LIBRARIES:
            patch.setitem(sys.modules, name, None)
        _forget()
        yield
    _forget()


@pytest.fixture(autouse=True, scope="module")
def _installed() -> Iterator[None]:
    _forget()
    for name, found in LIBRARIES.items():
        if found() in (None, zlib):
            lacking(f"{name} is not installed")
    yield
    _forget()


def _both(read: Callable[[], Any]) -> tuple[Any, Any]:
    """What a reading gives with the libraries, and without: its value, or the words of its error."""

    def told() -> Any:
        try:
            return read()
        except ReadError as error:
            return str(error)

    fast = told()
    with _without():
        return fast, told()


def _deflate(data: bytes, wbits: int, level: int, strategy: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, wbits, 8, strategy)
    return packer.compress(data) + packer.flush()


def _stream(wbits: int) -> Callable[[bytes, int], list[Any]]:
    def read(data: bytes, _: int) -> list[Any]:
        """All pieces up to the end, or up to what is wrong; a fork from the first one gives the same."""
        stream = DeflateStream(Input(BytesSource(data)), wbits)
        found: list[Any] = [stream.read()] if data else []
        fork = stream.fork()
        for each in (stream, fork):
            try:
                while piece := each.read():
                    found.append(piece)
            except ReadError as error:
                found.append(str(error))
        return found

    return read


WAYS: dict[str, tuple[Callable[[bytes, int], Any], Callable[[bytes, random.Random], bytes]]] = {
    "zlib": (inflate, lambda data, dice: _deflate(data, 15, dice.choice((1, 6, 9)), dice.choice(range(5)))),
    "qcow2": (
        inflate_raw,
        lambda data, dice: _deflate(data, -12, dice.choice((1, 9)), dice.choice(range(5))),
    ),
    "aff4": (
        aff4_chunks.UNPACKERS[aff4_chunks.DEFLATE],
        lambda data, dice: _deflate(data, -15, 6, dice.choice(range(5))),
    ),
    "gzip": (_stream(GZIP), lambda data, dice: _deflate(data, 31, 6, dice.choice(range(5)))),
    "bare": (_stream(RAW), lambda data, dice: _deflate(data, -15, 6, dice.choice(range(5)))),
    "snappy": (snappy.unpack_snappy, lambda data, _: pack_snappy(data)),
    "lz4": (lz4.unpack_lz4, lambda data, _: pack_lz4(data)),
}  # type: ignore[dict-item]


def _mixed(dice: random.Random) -> bytes:
    """Words, noise and runs."""
    words = [dice.randbytes(dice.randrange(1, 12)) for _ in range(40)]
    found = b""
    while len(found) < SIZE:
        found += dice.choice((b"".join(dice.choices(words, k=60)), dice.randbytes(90), bytes((7,)) * 400))
    return found[:SIZE]


@pytest.mark.parametrize("name", WAYS)
def test_what_is_whole_and_what_is_damaged(name: str) -> None:
    unpack, pack = WAYS[name]
    dice = random.Random(name)  # noqa: S311
    for _ in range(12):
        data = _mixed(dice)
        whole = pack(data, dice)
        fast, slow = _both(lambda whole=whole: unpack(whole, SIZE))
        assert fast == slow
        assert b"".join(fast[: len(fast) // 2 + 1] if isinstance(fast, list) else [fast]) == data
        for _ in range(25):
            packed = bytearray(whole)
            for _ in range(dice.choice((0, 1, 1, 3))):
                packed[dice.randrange(dice.choice((8, 100, len(packed))))] ^= 1 << dice.randrange(8)
            if dice.random() < 0.3:
                del packed[dice.randrange(len(packed)) :]
            packed += bytes(dice.choice((0, 0, 5)))
            size = dice.choice((SIZE, SIZE, SIZE - 1, SIZE // 2, SIZE + 9))
            fast, slow = _both(lambda packed=bytes(packed), size=size: unpack(packed, size))
            assert fast == slow


def test_an_offset_of_nothing_in_lz4_is_damage() -> None:
    packed = bytes.fromhex("1f070000" + "00" + "507a7a7a7a7a")
    assert (
        _both(lambda: lz4.unpack_lz4(packed, 64)) == ("compressed data refers 0 bytes back, and has 1",) * 2
    )
    as_bytes = bytes.fromhex("f00200000000000000" + "00" * 8 + "7a" + "0f" + "0100" + "00" + "507a7a7a7a7a")
    fast, slow = _both(lambda: lz4.unpack_lz4(as_bytes, 64))
    assert fast == slow


def test_a_checksum_that_is_wrong() -> None:
    for stored in (b"abc" * 100, b""):
        for sum_of in (zlib.adler32(stored), 5):
            source = BytesSource(stored + sum_of.to_bytes(4, "little"))
            fast, slow = _both(lambda source=source, stored=stored: read_checked(source, 0, len(stored)))
            assert fast == slow == (stored if sum_of != 5 else "its checksum is wrong")


PACKED = ("aff4", "dmg", "ewf", "ewf2", "gzip", "gzip-qcow2", "qcow2-compressed", "vmdk-stream", "zip")


def _report(image: Path) -> list[Any]:
    """All that is told of an image: the report, and the bytes of its disk up to what cannot be read."""
    scan = pyimount.detect(image)
    told: list[Any] = [scan.to_dict()]
    for disk in scan.disks:
        if disk.size is None:
            continue
        with open_layer(scan, disk) as source:
            for at in range(0, min(source.size, 2 << 20), 64 << 10):
                try:
                    told.append(source.read_at(at, 64 << 10))
                except ReadError as error:
                    told.append(str(error))
    return told


@pytest.mark.parametrize("name", PACKED)
def test_images_whole_and_damaged(name: str, tmp_path: Path) -> None:
    (fixture,) = (each for each in fixtures() if each.name == name)
    image = fixture.unpack(tmp_path)
    whole, size = image.read_bytes(), image.stat().st_size
    dice = random.Random(name)  # noqa: S311
    for number in range(6):
        data = bytearray(whole)
        for _ in range(number):
            at = dice.randrange(size)
            data[at : at + 4] = dice.randbytes(len(data[at : at + 4]))
        image.write_bytes(data)
        fast, slow = _both(lambda: _report(image))
        assert fast == slow
