"""Compressed files: the bytes that come out, at any offset, and what it may cost."""

import bz2
import gzip
import io
import lzma
import os
import struct
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyimount
from fixtures.comparing import codes, inside, mixed_bytes, open_path, where_different
from pyimount.parsers.containers import bzip2, packed, xz, zstd
from pyimount.parsers.containers.deflate import GZIP, DeflateStream
from pyimount.parsers.containers.packed import Input, PackedSource, Stream
from pyimount.recognition.opening import open_image
from pyimount.sources.broker import Broker
from pyimount.sources.budget import NO_LIMIT, Budget, Meter
from pyimount.sources.errors import ReadError
from pyimount.sources.segments import Segments
from pyimount.sources.source import BytesSource
from tests.needing import lacking, needs

MIB = 1 << 20
DISK = mixed_bytes(3 * MIB + 512, seed=11)
CUT = 1_300_000


def zstd_compress(data: bytes, *, sized: bool = True) -> bytes:
    library = zstd.zstd_library()
    if library is None:
        lacking("no library for zstd: pip install 'pyimount[zstd]'")
    if sized:
        return bytes(library.compress(data))
    packer = library.ZstdCompressor(options={library.CompressionParameter.checksum_flag: 1})
    return bytes(packer.compress(data) + packer.flush())


def xz_blocks(data: bytes) -> bytes:
    """Streams of one block each; padding follows the first."""
    pieces = [lzma.compress(data[at : at + MIB], preset=0) for at in range(0, len(data), MIB)]
    return pieces[0] + bytes(8) + b"".join(pieces[1:])


def zipped(data: bytes, method: int = zipfile.ZIP_DEFLATED, **others: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("disk.img", data)
        for name, content in others.items():
            archive.writestr(name, content)
    return out.getvalue()


def zipped_as(method: int, data: bytes, packed: bytes) -> bytes:
    """A zip file of a member that was packed by a method which zipfile does not know."""
    out = bytearray(zipped(packed, zipfile.ZIP_STORED))
    entry = out.rindex(b"PK\1\2")
    for at in (0, entry + 2):  # the same fields stand two bytes further on in the directory
        struct.pack_into("<H", out, at + 8, method)
        struct.pack_into("<3I", out, at + 14, zlib.crc32(data), len(packed), len(data))
    return bytes(out)


def zipped_by_7z(data: bytes, method: str) -> bytes:
    needs("7z")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "disk.img").write_bytes(data)
        subprocess.run(
            ["7z", "a", "-tzip", f"-mm={method}", "out.zip", "disk.img"],
            cwd=folder, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return Path(folder, "out.zip").read_bytes()


def lzma_sized(data: bytes) -> bytes:
    """As the LZMA SDK writes it: the size in the header."""
    packed = bytearray(lzma.compress(data, lzma.FORMAT_ALONE, preset=1))
    packed[5:13] = len(data).to_bytes(8, "little")
    return bytes(packed)


SKIPPED = struct.pack("<II", 0x184D2A5E, 9) + bytes(9)

WAYS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip-members": ("gzip", lambda data: gzip.compress(data[:CUT]) + gzip.compress(data[CUT:])),
    "gzip-padded": ("gzip", lambda data: gzip.compress(data) + bytes(512)),
    "gzip-stored": ("gzip", lambda data: gzip.compress(data, 0)),
    "bzip2": ("bzip2", bz2.compress),
    "bzip2-small-blocks": ("bzip2", lambda data: bz2.compress(data, 1)),
    "bzip2-streams": ("bzip2", lambda data: bz2.compress(data[:CUT]) + bz2.compress(data[CUT:], 2)),
    "xz": ("xz", lambda data: lzma.compress(data, preset=1)),
    "xz-streams": ("xz", xz_blocks),
    "xz-no-check": ("xz", lambda data: lzma.compress(data, check=lzma.CHECK_NONE, preset=0)),
    "lzma": ("lzma", lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=1)),
    "lzma-sized": ("lzma", lzma_sized),
    "zstd": ("zstd", zstd_compress),
    "zstd-frames": ("zstd", lambda data: zstd_compress(data[:CUT]) + zstd_compress(data[CUT:])),
    "zstd-piped": ("zstd", lambda data: zstd_compress(data, sized=False)),
    "zstd-mixed": ("zstd", lambda data: zstd_compress(data[:CUT], sized=False) + zstd_compress(data[CUT:])),
    "zstd-skippable-first": ("zstd", lambda data: SKIPPED + zstd_compress(data)),
    "zstd-skippable-first-piped": ("zstd", lambda data: SKIPPED + zstd_compress(data, sized=False)),
    "zstd-skippable": (
        "zstd",
        lambda data: zstd_compress(data[:CUT]) + SKIPPED + zstd_compress(data[CUT:]),
    ),
    "zip": ("zip", zipped),
    "zip-stored": ("zip", lambda data: zipped(data, zipfile.ZIP_STORED)),
    "zip-bzip2": ("zip", lambda data: zipped(data, zipfile.ZIP_BZIP2)),
    "zip-lzma": ("zip", lambda data: zipped(data, zipfile.ZIP_LZMA)),
    "zip-xz": ("zip", lambda data: zipped_as(95, data, lzma.compress(data, preset=0))),
    "zip-zstd": ("zip", lambda data: zipped_as(93, data, zstd_compress(data))),
    "zip-deflate64": ("zip", lambda data: zipped_by_7z(data, "Deflate64")),
    "zip-lzma-7z": ("zip", lambda data: zipped_by_7z(data, "LZMA")),
    "zip-among-others": ("zip", lambda data: zipped(data, **{"README": b"see the image", "a.txt": b"x"})),
}


def put(folder: Path, data: bytes, name: str = "disk.img.packed") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("way", WAYS)
def test_the_bytes_are_those_that_were_packed(tmp_path: Path, way: str) -> None:
    kind, pack = WAYS[way]
    path = put(tmp_path, pack(DISK))
    opened = open_path(path)
    assert (opened.container.type, opened.container.size, codes(opened)) == (kind, len(DISK), [])
    assert where_different(inside(path), DISK) == []


@pytest.mark.parametrize("way", ["gzip", "bzip2", "xz-streams", "zstd-frames", "zip", "zip-deflate64"])
def test_a_read_far_behind_does_not_begin_at_the_start(tmp_path: Path, way: str) -> None:
    noise = os.urandom(7 * MIB)
    pack = WAYS[way][1]
    if way == "xz-streams":
        data = pack(noise)
    elif way == "zstd-frames":
        data = b"".join(zstd_compress(noise[at : at + MIB]) for at in range(0, len(noise), MIB))
    else:
        data = pack(noise)
    meter = Meter(Budget(bytes_read=1 << 40, seconds=600))
    image, opened = open_image(Segments((str(put(tmp_path, data)),)), Broker(), meter)
    assert opened.source is not None
    opened.source.read_at(0, 512)
    opened.source.read_at(6 * MIB, 512)
    for at in (3 * MIB, 5 * MIB, 200, len(noise) - 512):
        before = meter.bytes_read
        assert opened.source.read_at(at, 512) == noise[at : at + 512]
        assert meter.bytes_read - before < 3 * MIB
    image.close()


@pytest.mark.parametrize("way", ["gzip", "bzip2", "xz", "zstd", "zstd-piped"])
def test_a_file_that_was_cut_gives_its_head(tmp_path: Path, way: str) -> None:
    data = WAYS[way][1](DISK)
    opened = open_path(put(tmp_path, data[: len(data) * 2 // 3]))
    assert codes(opened) == ["truncated"]
    assert opened.source is not None
    size = opened.source.size
    assert MIB < size < len(DISK)
    assert opened.source.read_at(0, size) == DISK[:size]
    assert opened.container.size == size


@pytest.mark.parametrize("way", ["gzip", "bzip2-small-blocks", "xz", "zstd-piped"])
def test_a_damaged_file_gives_what_stands_before_or_an_error(tmp_path: Path, way: str) -> None:
    data = bytearray(WAYS[way][1](DISK))
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    opened = open_path(put(tmp_path, bytes(data)))
    assert opened.source is not None
    assert opened.source.read_at(0, 4096) == DISK[:4096]
    if way == "xz":  # its index is whole, so only reading tells
        with pytest.raises(ReadError, match="damaged"):
            opened.source.read_at(len(DISK) - 512, 512)
        assert opened.source.read_at(4096, 4096) == DISK[4096:8192]
    else:
        assert codes(opened) == ["damaged"]
        # The damage shows only at the end of its block.
        assert opened.source.read_at(0, MIB) == DISK[:MIB]


@pytest.mark.parametrize(
    "data",
    [
        b"\x1f\x8b\x08\xe0" + bytes(4096),
        b"\x1f\x8b\x08\x00" + b"\xff" * 4096,
        b"BZh9 is how this text begins" + bytes(4096),
        b"BZh0" + bytes.fromhex("314159265359") + bytes(4096),
        b"\xfd7zXZ\0\0\1" + bytes(4096),
        b"\x28\xb5\x2f\xfd\x08" + bytes(4096),
        b"PK\3\4" + bytes(4096),
    ],
)
def test_a_magic_alone_is_not_enough(tmp_path: Path, data: bytes) -> None:
    assert open_path(put(tmp_path, data)).container.type == "raw"


def test_a_container_in_a_compressed_file_is_opened(tmp_path: Path) -> None:
    from fixtures.recipes.dmg import simple
    from pyimount.parsers.containers import dmg_chunks

    path = put(tmp_path, gzip.compress(lzma.compress(simple(DISK, dmg_chunks.ZLIB), preset=0)))
    opened = open_path(path)
    assert (opened.container.type, codes(opened)) == ("dmg", [])
    wrapped = opened.container.details["wrapped_in"]
    assert isinstance(wrapped, list)
    assert [each["type"] for each in wrapped if isinstance(each, dict)] == ["gzip", "xz"]
    assert where_different(inside(path), DISK) == []


def test_compressed_twice_is_told_so(tmp_path: Path) -> None:
    opened = open_path(put(tmp_path, gzip.compress(bz2.compress(DISK))))
    assert opened.container.type == "bzip2"
    assert opened.source is not None
    assert opened.source.read_at(0, 512) == DISK[:512]
    wrapped = opened.container.details["wrapped_in"]
    assert isinstance(wrapped, list)
    assert len(wrapped) == 1


def test_wrappings_have_an_end(tmp_path: Path) -> None:
    data = b"the innermost"
    for _ in range(9):
        data = gzip.compress(data)
    opened = open_path(put(tmp_path, data))
    assert opened.container.type == "gzip"
    wrapped = opened.container.details["wrapped_in"]
    assert isinstance(wrapped, list)
    assert len(wrapped) == 4


def test_an_empty_file_inside_is_unreadable(tmp_path: Path) -> None:
    assert codes(open_path(put(tmp_path, gzip.compress(b"")))) == ["unreadable"]


class TestBudget:
    def test_a_bomb_ends_with_the_budget(self, tmp_path: Path) -> None:
        packer = zlib.compressobj(1, wbits=31)
        zeros = bytes(16 * MIB)
        data = b"".join(packer.compress(zeros) for _ in range(40)) + packer.flush()
        path = put(tmp_path, data)
        scan = pyimount.detect(path, budget=Budget(unpacked=64 * MIB))
        assert "budget" in [problem.code.value for problem in scan.disks[0].problems]
        assert (scan.disks[0].size or 0) < 40 * len(zeros)

    def test_bytes_read_are_a_budget_too(self, tmp_path: Path) -> None:
        path = put(tmp_path, gzip.compress(os.urandom(8 * MIB)))
        scan = pyimount.detect(path, budget=Budget(bytes_read=3 * MIB))
        assert "budget" in [problem.code.value for problem in scan.disks[0].problems]

    def test_a_far_read_is_refused_and_a_near_one_served(self) -> None:
        clock = Clock()
        meter = Meter(Budget(unpacked=256 * MIB))
        source = PackedSource(lambda _: SlowStream(clock), meter, size=4 << 30)
        assert source.read_at(5, 10) == pattern(5, 10)
        with pytest.raises(ReadError, match="too far for 268435456 bytes unpacked"):
            source.read_at(3 << 30, 512)
        assert clock.now < 100
        assert source.read_at(100 * MIB, 10) == pattern(100 * MIB, 10)
        assert clock.now <= 0.75 * 1024

    def test_slow_methods_count_several_times(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(SlowStream, "worth", 8)
        meter = Meter(Budget(unpacked=256 * MIB))
        source = PackedSource(lambda _: SlowStream(Clock()), meter, size=4 << 30)
        with pytest.raises(ReadError, match="too far"):
            source.read_at(40 * MIB, 10)
        assert source.read_at(20 * MIB, 10) == pattern(20 * MIB, 10)

    def test_what_stands_before_a_far_place_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock()
        meter = Meter(NO_LIMIT)
        monkeypatch.setattr(SlowStream, "fork", lambda _: None)  # as with xz, which has no places on the way
        source = PackedSource(lambda _: SlowStream(clock), meter, size=1 << 30)
        source.read_at((1 << 30) - 512, 512)
        before = clock.now
        for back in (1 << 16, 1 << 20, 30 << 16):
            assert source.read_at((1 << 30) - back, 8) == pattern((1 << 30) - back, 8)
        assert clock.now == before

    def test_without_a_limit_every_read_is_served(self) -> None:
        clock = Clock()
        meter = Meter(NO_LIMIT)
        source = PackedSource(lambda _: SlowStream(clock), meter, size=4 << 30)
        assert source.read_at(3 << 30, 10) == pattern(3 << 30, 10)

    def test_places_are_remembered_but_not_without_end(self) -> None:
        clock = Clock()
        meter = Meter(NO_LIMIT)
        source = PackedSource(lambda _: SlowStream(clock), meter, size=4 << 30)
        source.read_at((4 << 30) - 512, 512)
        assert len(source._marks) <= 193
        before = clock.now
        source.read_at(2 << 30, 512)
        assert (clock.now - before) * packed.PIECE < 64 * MIB


class Clock:
    """Counts the pieces that streams have unpacked."""

    def __init__(self) -> None:
        self.now = 0


def pattern(offset: int, length: int) -> bytes:
    return bytes((offset + at) // 7 % 251 for at in range(length))


class SlowStream(Stream):
    """Bytes that tell their place, and count how many pieces were unpacked."""

    def __init__(self, clock: Clock, position: int = 0) -> None:
        super().__init__(position)
        self._clock = clock

    def _read(self) -> bytes:
        self._clock.now += 1
        return LazyPattern(self.position, packed.PIECE)

    def fork(self) -> Stream:
        return SlowStream(self._clock, self.position)


class LazyPattern(bytes):
    """The pattern's bytes, made only where a slice is looked at: 4 GiB of it are passed over."""

    _start: int

    def __new__(cls, start: int, length: int) -> "LazyPattern":
        made = super().__new__(cls, bytes(length))
        made._start = start
        return made

    def __getitem__(self, key: Any) -> Any:
        first, last, _ = key.indices(len(self))
        return pattern(self._start + first, min(last - first, 64)).ljust(last - first, b"\0")


class TestZip:
    def test_an_archive_of_files_is_not_a_disk(self, tmp_path: Path) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("a.txt", b"text")
            archive.writestr("b.txt", b"text")
        opened = open_path(put(tmp_path, out.getvalue()))
        assert (opened.container.type, codes(opened)) == ("raw", []), "its files are read as a volume's"
        assert pyimount.detect(tmp_path / "disk.img.packed")["0"].type == "zip"

    def test_two_images_are_not_a_disk(self, tmp_path: Path) -> None:
        opened = open_path(put(tmp_path, zipped(DISK, **{"other.iso": b"x"})))
        assert (opened.container.type, codes(opened)) == ("raw", [])

    def test_an_encrypted_member_is_locked(self, tmp_path: Path) -> None:
        data = bytearray(zipped(DISK))
        data[6] |= 1
        entry = data.rindex(b"PK\1\2")
        data[entry + 8] |= 1
        opened = open_path(put(tmp_path, bytes(data)))
        assert (opened.source, codes(opened)) == (None, ["locked"])
        assert opened.container.details["encryption"] == "zip"

    def test_a_method_that_is_not_read(self, tmp_path: Path) -> None:
        opened = open_path(put(tmp_path, zipped_as(98, DISK, DISK[:1000])))
        assert (opened.source, codes(opened)) == (None, ["unsupported"])
        assert opened.container.details["compression"] == "ppmd"

    def test_a_member_elsewhere_than_the_directory_says(self, tmp_path: Path) -> None:
        data = bytearray(zipped(DISK))
        data[:4] = b"PK\3\5"
        with_magic = b"PK\3\4" + bytes(60) + bytes(data)
        opened = open_path(put(tmp_path, with_magic))
        assert opened.source is None
        assert codes(opened) == ["damaged"]

    def test_a_size_that_lies_is_an_error_and_not_a_flood(self, tmp_path: Path) -> None:
        data = bytearray(zipped(DISK))
        entry = data.rindex(b"PK\1\2")
        struct.pack_into("<I", data, entry + 24, 0xFFFF0000)
        opened = open_path(put(tmp_path, bytes(data)))
        assert opened.source is not None
        assert opened.source.read_at(0, 512) == DISK[:512]
        with pytest.raises(ReadError, match="ends at"):
            opened.source.read_at(len(DISK), 512)


class TestXz:
    def test_without_its_index_it_is_unpacked_from_the_start(self, tmp_path: Path) -> None:
        data = bytearray(lzma.compress(DISK, preset=0))
        data[-1] ^= 1
        opened = open_path(put(tmp_path, bytes(data)))
        assert codes(opened) == ["damaged"]
        assert opened.source is not None
        assert len(DISK) - opened.source.size <= packed.PIECE
        assert opened.source.read_at(0, len(DISK)) == DISK[: opened.source.size]

    @given(data=st.binary(max_size=200))
    @settings(max_examples=100, deadline=None)
    def test_any_index_gives_an_answer(self, data: bytes) -> None:
        padded = data.ljust(-(-len(data) // 4) * 4, b"\0")
        index = b"\0" + padded + b"\0\0\0"
        index += zlib.crc32(index).to_bytes(4, "little")
        footer = struct.pack("<I2s", len(index) // 4 - 1, b"\0\4")
        head = b"\xfd7zXZ\0\0\4" + zlib.crc32(b"\0\4").to_bytes(4, "little")
        whole = head + index + zlib.crc32(footer).to_bytes(4, "little") + footer + b"YZ"
        from pyimount.formats import NotThisFormat
        from pyimount.sources.view import ShortRead, View

        try:
            found = xz._Index(View(BytesSource(whole)))
        except (NotThisFormat, ShortRead):
            return
        assert found.size < 1 << 62


class TestZstd:
    def test_a_content_size_that_lies(self, tmp_path: Path) -> None:
        data = bytearray(zstd_compress(DISK))
        assert data[4] >> 6 == 2  # four bytes of content size, behind the window's
        at = 5 if data[4] & 0x20 else 6
        struct.pack_into("<I", data, at, len(DISK) + 65536)
        opened = open_path(put(tmp_path, bytes(data)))
        assert opened.source is not None
        with pytest.raises(ReadError):
            opened.source.read_at(len(DISK), 512)

    def test_without_the_library_it_is_recognised(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = put(tmp_path, zstd_compress(DISK))
        monkeypatch.setattr(zstd, "zstd_library", lambda: None)
        opened = open_path(path)
        assert (opened.container.type, opened.source, codes(opened)) == ("zstd", None, ["unsupported"])


@pytest.mark.parametrize("bit", range(8))
def test_a_block_of_bzip2_is_found_at_every_bit(bit: int) -> None:
    for magic in (bzip2.BLOCK, bzip2.END):
        number = (0xA5A5A5 << 48 | magic) << (64 - bit)
        data = number.to_bytes(20, "big")
        start = 160 - (64 - bit) - 48
        assert bzip2._find_magic(data, 0) == start
        assert bzip2._find_magic(data, start) == start
        assert bzip2._find_magic(data, start + 1) is None


def hostile(magic: bytes) -> Iterator[bytes]:
    for seed in range(20):
        yield magic + mixed_bytes(3000, seed)


@pytest.mark.parametrize(
    "data",
    [
        each
        for magic in (b"\x1f\x8b\x08\0", b"BZh9\x31\x41\x59\x26\x53\x59", b"\x28\xb5\x2f\xfd\x60", b"PK\3\4")
        for each in hostile(magic)
    ],
)
def test_noise_behind_a_magic_gives_an_answer(tmp_path: Path, data: bytes) -> None:
    opened = open_path(put(tmp_path, data))
    if opened.source is not None:
        opened.source.read_at(0, 4096)


def test_a_stream_that_was_forked_goes_its_own_way() -> None:
    data = BytesSource(gzip.compress(DISK))
    first = DeflateStream(Input(data), GZIP)
    head = first.read()
    second = first.fork()
    rest = b""
    while piece := first.read():
        rest += piece
    again = b""
    while piece := second.read():
        again += piece
    assert head + rest == head + again == DISK
