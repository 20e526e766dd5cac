"""LZ4 frames: the bytes that come out, where unpacking begins, and what is held against checksums."""

import os
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.comparing import codes, inside, mixed_bytes, open_path, where_different
from pyimount.formats import xxh32 as sums
from pyimount.parsers.containers import lz4, lz4_frame
from pyimount.recognition.opening import open_image
from pyimount.sources.broker import Broker
from pyimount.sources.budget import NO_LIMIT, Budget, Meter
from pyimount.sources.errors import ReadError
from pyimount.sources.segments import Segments
from pyimount.sources.source import Source
from tests.needing import lacking, needs

MIB = 1 << 20
DISK = mixed_bytes(3 * MIB + 512, seed=7)
CUT = 1_300_000
SKIPPED = struct.pack("<II", 0x184D2A53, 5) + b"notes"


def packed_by_lz4(data: bytes, *options: str) -> bytes:
    needs("lz4")
    done = subprocess.run(["lz4", "-q", "-c", *options], input=data, capture_output=True, check=True)
    return done.stdout


def sized(data: bytes, folder: Path, *options: str) -> bytes:
    """The same of a file, as lz4 stores the size of no other."""
    needs("lz4")
    (folder / "raw").write_bytes(data)
    subprocess.run(["lz4", "-q", "-f", "--content-size", *options, "raw", "raw.lz4"], cwd=folder, check=True)
    return (folder / "raw.lz4").read_bytes()


WAYS: dict[str, Callable[[Path], bytes]] = {
    "by itself": lambda _: packed_by_lz4(DISK),
    "small blocks": lambda _: packed_by_lz4(DISK, "-B4"),
    "linked": lambda _: packed_by_lz4(DISK, "-B4", "-BD"),
    "block checksums": lambda _: packed_by_lz4(DISK, "-B5", "-BX"),
    "no checksum": lambda _: packed_by_lz4(DISK, "--no-frame-crc"),
    "better": lambda _: packed_by_lz4(DISK, "-9"),
    "legacy": lambda _: packed_by_lz4(DISK, "-l"),
    "legacy twice": lambda _: packed_by_lz4(DISK[:CUT], "-l") + packed_by_lz4(DISK[CUT:], "-l"),
    "frames": lambda _: packed_by_lz4(DISK[:CUT]) + SKIPPED + packed_by_lz4(DISK[CUT:], "-BD"),
    "legacy and frame": lambda _: packed_by_lz4(DISK[:CUT], "-l") + packed_by_lz4(DISK[CUT:]),
    "an empty frame": lambda _: packed_by_lz4(b"") + packed_by_lz4(DISK),
    "padded": lambda _: packed_by_lz4(DISK) + bytes(4096),
    "sized": lambda folder: sized(DISK, folder, "-B6"),
    "sized, linked": lambda folder: sized(DISK, folder, "-B4", "-BD"),
    "sized frames": lambda folder: sized(DISK[:CUT], folder, "-B4") + SKIPPED + sized(DISK[CUT:], folder),
    "skipped first": lambda folder: SKIPPED + SKIPPED + packed_by_lz4(DISK),
    "skipped first, sized": lambda folder: SKIPPED + sized(DISK, folder),
    "sized and not": lambda folder: sized(DISK[:CUT], folder) + packed_by_lz4(DISK[CUT:]),
}


@pytest.fixture(params=["library", "own"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to unpack and to sum: by a library, and by ourselves."""
    if request.param == "own":
        monkeypatch.setattr(lz4, "lz4_library", lambda: None)
        monkeypatch.setattr(sums, "_library", lambda: None)
    elif lz4.lz4_library() is None or not sums.xxh32_is_fast():
        lacking("no library for LZ4: pip install 'pyimount[lz4]'")
    return str(request.param)


def put(folder: Path, data: bytes) -> Path:
    path = folder / "disk.img.lz4"
    path.write_bytes(data)
    return path


def read_through(source: Source) -> None:
    for at in range(0, source.size, 65536):
        source.read_at(at, 65536)


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("way", WAYS)
def test_the_bytes_are_those_that_were_packed(tmp_path: Path, way: str) -> None:
    path = put(tmp_path, WAYS[way](tmp_path))
    opened = open_path(path)
    assert (opened.container.type, opened.container.size, codes(opened)) == ("lz4", len(DISK), [])
    assert where_different(inside(path), DISK) == []


def test_blocks_are_found_without_unpacking_what_stands_before(tmp_path: Path) -> None:
    noise = mixed_bytes(12 * MIB, seed=3)
    path = put(tmp_path, sized(noise, tmp_path, "-B6"))
    meter = Meter(Budget())
    image, opened = open_image(Segments((str(path),)), Broker(), meter)
    assert opened.source is not None
    for at in (11 * MIB, 5 * MIB, 8 * MIB + 100, 0):
        before = meter.unpacked
        assert opened.source.read_at(at, 512) == noise[at : at + 512]
        assert meter.unpacked - before <= 2 * MIB * lz4_frame._Blocks(image.files[0], {}).worth
    image.close()


def test_blocks_that_are_not_full_are_no_places(tmp_path: Path) -> None:
    """A writer may end a block when it likes: of 1.5 MiB, 1 MiB and 0.5 MiB, or 0.9 and 0.6."""
    data = mixed_bytes(3 * MIB // 2, seed=5)
    first = 900_000
    frames = b"".join(
        struct.pack("<I", len(piece) | 1 << 31) + piece for piece in (data[:first], data[first:])
    )
    descriptor = bytes((0x68, 0x60)) + struct.pack("<Q", len(data))
    check = sums.xxh32(descriptor) >> 8 & 0xFF
    path = put(tmp_path, lz4_frame.MAGIC + descriptor + bytes((check,)) + frames + bytes(4))
    assert where_different(inside(path), data) == []
    opened = open_path(path)
    assert opened.source is not None
    assert opened.source.read_at(MIB, 4096) == data[MIB : MIB + 4096]


class TestWhatIsWrong:
    @pytest.mark.parametrize("way", ["by itself", "linked", "legacy", "sized"])
    def test_a_file_that_was_cut_gives_its_head(self, tmp_path: Path, way: str) -> None:
        data = (
            sized(DISK, tmp_path, "-B4")
            if way == "sized"
            else packed_by_lz4(DISK, *{"by itself": ["-B4"], "linked": ["-B4", "-BD"], "legacy": ["-l"]}[way])
        )
        opened = open_path(put(tmp_path, data[: len(data) * 2 // 3]))
        assert codes(opened) == (["truncated", "unreadable"] if way == "legacy" else ["truncated"])
        if opened.source is not None:  # of a legacy file of one block, nothing is left
            size = opened.source.size
            assert MIB < size < len(DISK)
            assert opened.source.read_at(0, size) == DISK[:size]

    @pytest.mark.usefixtures("decoder")
    def test_a_changed_bit_is_an_error_where_it_shows(self, tmp_path: Path) -> None:
        """In bytes that are stored as they are, only the checksum of the contents tells."""
        noise = os.urandom(MIB // 4) + bytes(MIB)
        data = bytearray(sized(noise, tmp_path, "-B4"))
        place = bytes(data).index(noise[1000:1032])
        data[place] ^= 1
        opened = open_path(put(tmp_path, bytes(data)))
        assert (codes(opened), opened.source is not None) == ([], True)
        assert opened.source is not None
        with pytest.raises(ReadError, match="frame at byte 0: its checksum is wrong"):
            read_through(opened.source)
        with pytest.raises(ReadError, match="its checksum is wrong"):
            opened.source.read_at(len(noise) - 1, 1)

    def test_without_a_size_opening_tells(self, tmp_path: Path) -> None:
        data = bytearray(packed_by_lz4(DISK))
        data[-1] ^= 1
        opened = open_path(put(tmp_path, bytes(data)))
        assert (codes(opened), opened.container.size) == (["damaged"], len(DISK))
        assert opened.source is not None
        assert opened.source.read_at(0, 3 * MIB) == DISK[: 3 * MIB]
        with pytest.raises(ReadError, match="its checksum is wrong"):
            opened.source.read_at(3 * MIB, 512)

    @pytest.mark.usefixtures("decoder")
    def test_a_block_is_held_against_its_own_checksum(self, tmp_path: Path) -> None:
        data = bytearray(sized(DISK, tmp_path, "-B4", "-BX"))
        data[len(data) // 2] ^= 1
        opened = open_path(put(tmp_path, bytes(data)))
        assert opened.source is not None
        with pytest.raises(ReadError, match="checksum of the block at byte"):
            read_through(opened.source)

    def test_a_header_whose_checksum_is_wrong(self, tmp_path: Path) -> None:
        data = bytearray(packed_by_lz4(DISK))
        data[6] ^= 0xFF
        path = put(tmp_path, bytes(data))
        assert codes(open_path(path)) == ["bad-checksum"]
        assert where_different(inside(path), DISK) == []

    def test_a_size_that_lies(self, tmp_path: Path) -> None:
        data = bytearray(sized(DISK, tmp_path, "-B4"))
        struct.pack_into("<Q", data, 6, len(DISK) - 512)
        data[14] = sums.xxh32(bytes(data[4:14])) >> 8 & 0xFF
        assert "damaged" in codes(open_path(put(tmp_path, bytes(data))))

    def test_a_dictionary_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "words").write_bytes(DISK[:4096])
        packed = bytearray(packed_by_lz4(DISK))
        descriptor = bytes((packed[4] | 1, packed[5])) + struct.pack("<I", 77)
        data = bytes(packed[:4]) + descriptor + bytes((sums.xxh32(descriptor) >> 8 & 0xFF,)) + packed[7:]
        opened = open_path(put(tmp_path, data))
        assert (codes(opened), opened.source) == (["unsupported"], None)

    @pytest.mark.parametrize(
        "data",
        [
            b"\x04\x22\x4d\x18\x24\x40" + bytes(100),  # version 0
            b"\x04\x22\x4d\x18\x64\x30" + bytes(100),  # blocks of no known size
            b"\x02\x21\x4c\x18\xff\xff\xff\x7f" + bytes(100),
        ],
    )
    def test_a_magic_alone_is_not_enough(self, tmp_path: Path, data: bytes) -> None:
        assert open_path(put(tmp_path, data)).container.type == "raw"

    @given(data=st.binary(max_size=300), flags=st.integers(0, 255), sizes=st.integers(0, 255))
    @settings(max_examples=200, deadline=None)
    def test_any_bytes_give_an_answer(
        self, tmp_path_factory: pytest.TempPathFactory, data: bytes, flags: int, sizes: int
    ) -> None:
        path = put(tmp_path_factory.getbasetemp(), lz4_frame.MAGIC + bytes((flags, sizes)) + data)
        image, opened = open_image(Segments((str(path),)), Broker(), Meter(NO_LIMIT))
        if opened.source is not None:
            with suppress(ReadError):
                opened.source.read_at(max(0, opened.source.size - 10), 10)
        image.close()


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        # The specification's repository has these in its tests (XXH32, seed 0).
        (b"", 0x02CC5D05),
        (b"a", 0x550D7456),
        (b"abc", 0x32D153FF),
        (b"Nobody inspects the spammish repetition", 0xE2293B2F),
    ],
)
def test_xxh32_is_its_specifications(data: bytes, wanted: int) -> None:
    own = sums.OwnXxh32()
    own.update(data)
    assert own.intdigest() == wanted == sums.xxh32(data)


@given(pieces=st.lists(st.binary(max_size=70), max_size=6))
def test_xxh32_of_bytes_as_they_come(pieces: list[bytes]) -> None:
    own, whole = sums.OwnXxh32(), sums.OwnXxh32()
    for piece in pieces:
        own.update(piece)
        own = own.copy()
    whole.update(b"".join(pieces))
    assert own.intdigest() == whole.intdigest() == sums.xxh32(b"".join(pieces))


def test_a_bomb_takes_no_more_than_its_block(tmp_path: Path) -> None:
    """A block that claims to be 4 MiB and gives more is refused there."""
    run = b"\x1fA\x01\x00" + b"\xff" * (5 * MIB // 255) + b"\x00\x10A"
    with pytest.raises(ReadError, match="gives more than"):
        lz4.unpack_by_ourselves(run, 4 * MIB)
    descriptor = bytes((0x60, 0x70))
    frame = lz4_frame.MAGIC + descriptor + bytes((sums.xxh32(descriptor) >> 8 & 0xFF,))
    opened = open_path(put(tmp_path, frame + struct.pack("<I", len(run)) + run + bytes(4)))
    assert codes(opened) == ["damaged", "unreadable"]
