"""Deflate64 held against deflate, of which it is a superset but for one code, and against any bytes."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.comparing import mixed_bytes
from pyimount.parsers.containers.deflate64 import Deflate64Stream
from pyimount.parsers.containers.packed import PIECE, EndsEarlyError, Input
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource

DATA = mixed_bytes(700_000, seed=9)


def deflate(data: bytes, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return packer.compress(data) + packer.flush()


def unpack(data: bytes, most: int = 1 << 24) -> bytes:
    stream = Deflate64Stream(Input(BytesSource(data)))
    out = b""
    while len(out) < most and (piece := stream.read()):
        out += piece
    return out


class Bits:
    """Bits as deflate stores them: the least first, but codes from their highest bit on."""

    def __init__(self) -> None:
        self.text = ""

    def number(self, value: int, count: int) -> "Bits":
        self.text += f"{value:0{count}b}"[::-1] if count else ""
        return self

    def code(self, value: int, count: int) -> "Bits":
        self.text += f"{value:0{count}b}"
        return self

    def bytes(self) -> bytes:
        text = self.text.ljust(-(-len(self.text) // 8) * 8, "0")
        return bytes(int(text[at : at + 8][::-1], 2) for at in range(0, len(text), 8))


@pytest.mark.parametrize("data", [b"", b"a", b"abc" * 70, bytes(range(256)) + bytes(range(200))])
def test_blocks_of_every_kind(data: bytes) -> None:
    """No match of 258 bytes is in these: its code means something else here."""
    for level in (0, 1, 6, 9):
        assert unpack(deflate(data, level)) == data
    assert unpack(deflate(data, strategy=zlib.Z_FIXED)) == data
    assert unpack(deflate(DATA, strategy=zlib.Z_HUFFMAN_ONLY)) == DATA
    assert unpack(deflate(DATA, 0)) == DATA


def test_the_length_and_the_distances_of_its_own() -> None:
    bits = Bits().number(1, 1).number(1, 2)  # the last block, fixed codes
    for byte in b"ab":
        bits.code(0x30 + byte, 8)
    # Code 285: 3 bytes and what 16 bits say; distance code 1 is 2.
    bits.code(0b11000000 + 285 - 280, 8).number(65535, 16).code(1, 5)
    # Code 257: 3 bytes; distance code 31 is 49153 and what 14 bits say.
    bits.code(257 - 256, 7).code(31, 5).number(9, 14)
    # Code 257 again, by distance code 30: 32769.
    bits.code(257 - 256, 7).code(30, 5).number(0, 14)
    bits.code(0, 7)
    out = b"ab" * 32770
    assert len(out) == 2 + 3 + 65535
    out += out[-49162:][:3]
    out += out[-32769:][:3]
    assert unpack(bits.bytes()) == out


def test_a_fork_goes_on_where_it_was_made() -> None:
    packed = deflate(DATA, strategy=zlib.Z_HUFFMAN_ONLY)
    stream = Deflate64Stream(Input(BytesSource(packed)))
    at = len(stream.read())
    fork = stream.fork()
    assert fork is not None
    piece = stream.read()
    assert piece == fork.read() == DATA[at : at + len(piece)]
    assert fork.position == stream.position == at + len(piece)
    assert len(piece) >= PIECE


@pytest.mark.parametrize("level", [0, 6])
def test_what_is_cut_ends_early(level: int) -> None:
    packed = deflate(DATA[:5000], level)
    for cut in (1, 3, len(packed) // 2, len(packed) - 1):
        with pytest.raises(EndsEarlyError):
            unpack(packed[:cut])


@pytest.mark.parametrize(
    ("bits", "why"),
    [
        (Bits().number(1, 1).number(3, 2), "no kind"),
        (Bits().number(1, 1).number(0, 2).number(0, 5).number(5, 16).number(5, 16), "contradicts itself"),
        (Bits().number(1, 1).number(1, 2).code(1, 7).code(4, 5).number(0, 1), "refers 5 bytes back"),
        (Bits().number(1, 1).number(1, 2).code(0b11000110, 8).number(0, 40), "no code"),
        (
            Bits().number(1, 1).number(2, 2).number(0, 14).number(0o1111, 12).number(0, 64),
            "more symbols|stands for",
        ),
    ],
)
def test_what_contradicts_itself(bits: Bits, why: str) -> None:
    with pytest.raises(ReadError, match=why):
        unpack(bits.bytes() + bytes(40))


@given(data=st.binary(max_size=300))
@settings(max_examples=400, deadline=None)
def test_any_bytes_give_an_answer(data: bytes) -> None:
    try:
        assert len(unpack(data, 1 << 18)) < 1 << 20
    except ReadError as error:
        assert str(error)  # noqa: PT017


@given(data=st.binary(max_size=2000))
@settings(max_examples=100, deadline=None)
def test_there_and_back(data: bytes) -> None:
    assert unpack(deflate(data, strategy=zlib.Z_HUFFMAN_ONLY)) == data
