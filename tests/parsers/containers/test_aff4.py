"""AFF4 volumes as the recipe's maker writes them by the standard, and as its forerunners did."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyimount
from fixtures.comparing import codes, inside, mixed_bytes, open_path, where_different
from fixtures.recipes.aff4 import (
    CHUNK,
    IMAGE,
    MAP,
    METHODS,
    OTHER,
    PER_BEVY,
    SECOND,
    STREAM,
    VOLUME,
    image_turtle,
    map_members,
    pack_lz4,
    pack_snappy,
    simple,
    stream_members,
    stream_turtle,
    striped,
    write_volume,
)
from pyimount.formats import NotThisFormat
from pyimount.mapping import open_layer
from pyimount.parsers.containers import aff4_streams
from pyimount.parsers.containers.lz4 import unpack_lz4
from pyimount.parsers.containers.snappy import unpack_snappy
from pyimount.parsers.containers.turtle import RDF_TYPE, Term, read_turtle
from pyimount.sources.errors import ReadError

MIB = 1 << 20
DISK = mixed_bytes(MIB + CHUNK // 2, seed=21)
ZERO = "http://aff4.org/Schema#Zero"


def whole(path: Path, members: dict[str, bytes], turtle: str) -> Path:
    return write_volume(path, VOLUME, members, turtle)


def mapped(path: Path, points: list[tuple[int, int, int, int]], targets: list[str], size: int) -> Path:
    """An image of ``size`` bytes by a map over the disk's stream and others."""
    members = stream_members(STREAM, DISK, "snappy") | map_members(points, targets)
    return whole(
        path, members, image_turtle(size, VOLUME) + stream_turtle(STREAM, len(DISK), "snappy", VOLUME)
    )


@pytest.mark.parametrize("method", METHODS)
def test_streams_of_every_method(tmp_path: Path, method: str) -> None:
    path = simple(tmp_path / "disk.aff4", DISK, method)
    opened = open_path(path)
    assert codes(opened) == []
    assert opened.container.details["compression"] == (None if method == "stored" else method)
    assert where_different(inside(path), DISK) == []


class TestMap:
    def test_runs_in_any_order_of_which_the_later_begins(self, tmp_path: Path) -> None:
        points = [(3000, 1000, 0, 0), (0, 3000, 5000, 0), (4000, 96, 77, 0)]
        path = mapped(tmp_path / "disk.aff4", points, [STREAM], 4096)
        assert inside(path).read_at(0, 4096) == DISK[5000:8000] + DISK[:1000] + DISK[77:173]

    def test_gaps_are_what_the_map_says(self, tmp_path: Path) -> None:
        path = mapped(tmp_path / "disk.aff4", [(1000, 10, 0, 0)], [STREAM], 2000)
        assert inside(path).read_at(0, 2000) == bytes(1000) + DISK[:10] + bytes(990)

    @pytest.mark.parametrize(
        ("name", "word"),
        [
            ("http://aff4.org/Schema#SymbolicStreamFF", b"\xff"),
            ("http://aff4.org/Schema#SymbolicStream61", b"a"),
            ("http://afflib.org/2012/SymbolicStream#61", b"a"),
            ("http://afflib.org/2009/aff4#FF", b"\xff"),
            ("http://aff4.org/Schema#UnknownData", b"UNKNOWN"),
            ("http://aff4.org/Schema#UnreadableData", b"UNREADABLEDATA"),
        ],
    )
    def test_symbolic_streams(self, tmp_path: Path, name: str, word: bytes) -> None:
        path = mapped(tmp_path / "disk.aff4", [(0, 3 * MIB, 0, 0)], [name], 3 * MIB)
        tile = (word * (MIB // len(word) + 1))[:MIB]  # the word begins anew every MiB
        assert where_different(inside(path), tile * 3) == []

    def test_a_stream_that_is_not_here(self, tmp_path: Path) -> None:
        points = [(0, 4096, 0, 0), (4096, 4096, 0, 1)]
        opened = open_path(mapped(tmp_path / "disk.aff4", points, [STREAM, OTHER], 8192))
        assert codes(opened) == ["missing-segment"]
        assert opened.source is not None
        assert opened.source.read_at(0, 4096) == DISK[:4096]
        with pytest.raises(ReadError, match="not here"):
            opened.source.read_at(4096, 1)

    def test_a_stream_that_is_not_listed(self, tmp_path: Path) -> None:
        opened = open_path(mapped(tmp_path / "disk.aff4", [(0, 4096, 0, 9)], [STREAM], 4096))
        assert opened.source is not None
        with pytest.raises(ReadError, match="not listed"):
            opened.source.read_at(0, 1)

    def test_a_map_of_itself(self, tmp_path: Path) -> None:
        opened = open_path(mapped(tmp_path / "disk.aff4", [(0, 4096, 0, 0)], [MAP], 4096))
        assert opened.source is not None
        with pytest.raises(ReadError):
            opened.source.read_at(0, 1)

    def test_a_run_beyond_its_stream(self, tmp_path: Path) -> None:
        opened = open_path(mapped(tmp_path / "disk.aff4", [(0, 4096, 1 << 62, 0)], [STREAM], 4096))
        assert opened.source is not None
        with pytest.raises(ReadError):
            opened.source.read_at(0, 1)

    def test_an_exabyte_that_is_mostly_not_there(self, tmp_path: Path) -> None:
        opened = open_path(mapped(tmp_path / "disk.aff4", [(1 << 59, 4096, 0, 0)], [STREAM], 1 << 60))
        assert opened.source is not None
        assert opened.source.read_at((1 << 59) - 10, 20) == bytes(10) + DISK[:10]

    @pytest.mark.parametrize("cap", ["_POINTS_CAP", "_TARGETS_CAP"])
    def test_too_many_are_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cap: str) -> None:
        path = mapped(tmp_path / "disk.aff4", [(0, 9, 0, 0), (9, 9, 0, 0)], [STREAM, ZERO], 4096)
        monkeypatch.setattr(aff4_streams, cap, 1)
        assert codes(open_path(path)) == ["damaged"]


def test_every_image_of_a_volume_is_a_disk(tmp_path: Path) -> None:
    """Two disks, and a memory image behind them; what is the data of one of them is no image of its own."""
    other = DISK[::-1]
    second, memory = IMAGE.replace("aaaa", "eeee"), IMAGE.replace("aaaa", "ffff")
    turtle = (
        f"""
<{memory}> a aff4:Image , aff4:ContiguousImage ; aff4:dataStream <{OTHER}> ; aff4:size {len(other)} .
<{second}> a aff4:Image , aff4:DiskImage ; aff4:dataStream <{OTHER}> ; aff4:size {len(other)} .
<{OTHER}> a aff4:Image .
"""
        + image_turtle(len(DISK), VOLUME).replace(MAP, STREAM)
        + stream_turtle(STREAM, len(DISK), "zlib", VOLUME)
        + stream_turtle(OTHER, len(other), "lz4", VOLUME)
    )
    members = stream_members(STREAM, DISK, "zlib") | stream_members(OTHER, other, "lz4")
    path = whole(tmp_path / "disk.aff4", members, turtle)
    scan = pyimount.detect(path)
    assert [(disk.index, disk.container["disk"]) for disk in scan.disks] == [
        ("1", second),
        ("2", IMAGE),
        ("3", memory),
    ]
    for disk, content in zip(scan.disks, (other, DISK, other), strict=True):
        with open_layer(scan, disk) as source:
            assert where_different(source, content) == []


def test_of_several_images_one_may_be_damaged(tmp_path: Path) -> None:
    second = IMAGE.replace("aaaa", "eeee")
    turtle = (
        f"<{second}> a aff4:DiskImage ; aff4:dataStream <{OTHER}> .\n"
        + image_turtle(len(DISK), VOLUME).replace(MAP, STREAM)
        + stream_turtle(STREAM, len(DISK), "zlib", VOLUME)
        + stream_turtle(OTHER, 0, "zlib", VOLUME)
    )
    members = stream_members(STREAM, DISK, "zlib") | stream_members(OTHER, DISK, "zlib")
    first, other = open_path(whole(tmp_path / "disk.aff4", members, turtle)).disks
    assert (codes(first), first.source) == (["damaged"], None)
    assert codes(other) == []


@pytest.mark.parametrize("method", ["stored", "zlib"])
def test_members_are_held_against_their_checksums(tmp_path: Path, method: str) -> None:
    """One changed bit of a segment of chunks, and of a map, is an error with its place, never silent."""
    content = os.urandom(PER_BEVY * CHUNK)
    path = simple(tmp_path / "disk.aff4", content, "stored" if method == "stored" else "zlib")
    raw = bytearray(path.read_bytes())
    raw[bytes(raw).index(content[CHUNK : CHUNK + 64]) + 9] ^= 4
    path.write_bytes(raw)
    source = inside(path)

    def read_through() -> None:
        for at in range(0, source.size, CHUNK):
            source.read_at(at, CHUNK)

    with pytest.raises(ReadError, match="checksum is wrong"):
        read_through()


def test_an_index_is_held_against_its_checksum_before_it_is_used(tmp_path: Path) -> None:
    path = simple(tmp_path / "disk.aff4", os.urandom(PER_BEVY * CHUNK), "stored")
    raw = bytearray(path.read_bytes())
    raw[bytes(raw).index(struct.pack("<QI", CHUNK, CHUNK)) + 1] ^= 1
    path.write_bytes(raw)
    opened = open_path(path)
    assert opened.source is not None
    with pytest.raises(ReadError, match=r"index in the zip file: its checksum is wrong"):
        opened.source.read_at(0, 512)


class TestSeveralVolumes:
    def test_from_either(self, tmp_path: Path) -> None:
        for path in striped(tmp_path, DISK):
            opened = open_path(path)
            assert codes(opened) == []
            assert opened.container.details["volumes"] == 2
            assert where_different(inside(path), DISK) == []

    def test_both_files_are_among_the_paths(self, tmp_path: Path) -> None:
        first, second = striped(tmp_path, DISK)
        (disk,) = pyimount.detect(first).disks
        assert set(disk.paths) == {str(first), str(second)}

    def test_one_is_missing(self, tmp_path: Path) -> None:
        first, second = striped(tmp_path, DISK)
        second.unlink()
        opened = open_path(first)
        assert codes(opened) == ["missing-segment"]
        assert opened.source is not None
        assert opened.source.read_at(0, CHUNK) == DISK[:CHUNK]
        with pytest.raises(ReadError):
            opened.source.read_at(CHUNK, 1)

    def test_what_lies_beside_and_is_something_else(self, tmp_path: Path) -> None:
        first, _ = striped(tmp_path, DISK)
        (tmp_path / "a.aff4").write_bytes(b"no zip file at all")
        write_volume(tmp_path / "b.aff4", "aff4://other", {}, "")
        assert where_different(inside(first), DISK) == []
        (disk,) = pyimount.detect(first).disks
        assert len(disk.paths) == 2


class TestBeforeTheStandard:
    def old_members(self, *, first: bool) -> dict[str, bytes]:
        """The segments with indexes of offsets only, Evimetry's without the first."""
        members = {}
        for name, data in stream_members(STREAM, DISK, "snappy").items():
            if not name.endswith(".index"):
                members[name] = data
                continue
            points = [point[0] for point in struct.iter_unpack("<QI", data)]
            end = len(members[name.removesuffix(".index")])
            offsets = points if first else [*points[1:], end]
            members[name.replace(".index", "/index")] = struct.pack(f"<{len(offsets)}I", *offsets)
        return members

    @pytest.mark.parametrize("first", [True, False])
    def test_indexes_of_offsets(self, tmp_path: Path, first: bool) -> None:
        old = "http://afflib.org/2009/aff4#"
        turtle = f"""
@prefix old: <{old}> .
<{MAP}> a old:Image , old:map ; old:blockSize "512" ; old:stored <{VOLUME}> .
<{STREAM}> a old:stream ; old:CompressionMethod <{METHODS["snappy"]}> ; old:chunk_size "{CHUNK}" ;
    old:chunks_in_segment "{PER_BEVY}" ; old:size "{len(DISK)}" ; old:stored <{VOLUME}> .
"""
        members = self.old_members(first=first) | map_members([(0, len(DISK), 0, 0)], [STREAM])
        path = whole(tmp_path / "disk.af4", members, turtle)
        assert codes(open_path(path)) == []
        assert where_different(inside(path), DISK) == []

    def test_an_image_that_is_a_stream(self, tmp_path: Path) -> None:
        turtle = f"""
<{STREAM}> a aff4:image ; aff4:category <http://aff4.org/Schema#disk/raw> ; aff4:chunk_size {CHUNK} ;
    aff4:chunks_per_segment {PER_BEVY} ; aff4:size {len(DISK)} ;
    aff4:compression <https://github.com/google/snappy> .
"""
        members = self.old_members(first=True)
        opened = open_path(whole(tmp_path / "disk.aff4", members, turtle))
        assert opened.source is not None
        assert opened.source.size == len(DISK)


class TestWhatIsNoDisk:
    def test_copies_of_files(self, tmp_path: Path) -> None:
        turtle = f"<{VOLUME}//a.txt> a aff4:FileImage, aff4:Image, aff4:zip_segment ; aff4:size 4 ."
        opened = open_path(whole(tmp_path / "files.aff4", {}, turtle))
        assert (opened.source, codes(opened)) == (None, ["unsupported"])
        assert opened.container.details["variant"] == "logical"

    def test_nothing(self, tmp_path: Path) -> None:
        opened = open_path(whole(tmp_path / "empty.aff4", {}, ""))
        assert (opened.source, codes(opened)) == (None, ["unsupported"])

    def test_an_encrypted_stream(self, tmp_path: Path) -> None:
        turtle = (
            f"<{IMAGE}> a aff4:DiskImage ; aff4:dataStream <{STREAM}> . <{STREAM}> a aff4:EncryptedStream ."
        )
        opened = open_path(whole(tmp_path / "locked.aff4", {}, turtle))
        assert (opened.source, codes(opened)) == (None, ["locked"])

    @pytest.mark.parametrize("turtle", ["<a> <b", "aff4:x aff4:y \x00 .", "nobody:x a nobody:y ."])
    def test_no_turtle(self, tmp_path: Path, turtle: str) -> None:
        opened = open_path(whole(tmp_path / "bad.aff4", {}, turtle))
        assert (opened.container.type, opened.source, codes(opened)) == ("aff4", None, ["damaged"])


class TestDamage:
    def stream(self, folder: Path, method: str = "snappy", **changes: str) -> Path:
        turtle = stream_turtle(STREAM, len(DISK), method, VOLUME)
        for old, new in changes.items():
            turtle = turtle.replace(*new.split("→")) if old else turtle
        members = stream_members(STREAM, DISK, method) | map_members([(0, len(DISK), 0, 0)], [STREAM])
        return whole(folder / "disk.aff4", members, image_turtle(len(DISK), VOLUME) + turtle)

    @pytest.mark.parametrize(
        "change",
        [
            f'chunkSize "{CHUNK}"→chunkSize "4294967295"',
            f'chunksInSegment "{PER_BEVY}"→chunksInSegment "99999999"',
            f'size "{len(DISK)}"→size "99999999999999999999"',
        ],
    )
    def test_figures_that_cannot_be(self, tmp_path: Path, change: str) -> None:
        assert codes(open_path(self.stream(tmp_path, change=change))) == ["damaged"]

    def test_a_method_that_is_not_known(self, tmp_path: Path) -> None:
        change = f"<{METHODS['snappy']}>→<http://example.org/magic>"
        opened = open_path(self.stream(tmp_path, change=change))
        assert codes(opened) == ["unsupported"]
        assert opened.source is not None
        with pytest.raises(ReadError, match="not known"):
            opened.source.read_at(0, 1)

    def test_a_stream_longer_than_its_segments(self, tmp_path: Path) -> None:
        change = f'size "{len(DISK)}"→size "{len(DISK) + 10 * CHUNK * PER_BEVY}"'
        opened = open_path(self.stream(tmp_path, change=change))
        assert opened.source is not None
        assert opened.source.read_at(len(DISK) - 512, 512) == DISK[-512:]

    def test_an_index_that_points_outside(self, tmp_path: Path) -> None:
        members = stream_members(STREAM, DISK, "zlib") | map_members([(0, len(DISK), 0, 0)], [STREAM])
        members[f"{STREAM}/00000000.index"] = struct.pack("<QI", 1 << 40, 100) * PER_BEVY
        turtle = image_turtle(len(DISK), VOLUME) + stream_turtle(STREAM, len(DISK), "zlib", VOLUME)
        opened = open_path(whole(tmp_path / "disk.aff4", members, turtle))
        assert opened.source is not None
        with pytest.raises(ReadError, match="chunk 0"):
            opened.source.read_at(0, 1)

    def test_sizes_that_differ_are_told(self, tmp_path: Path) -> None:
        turtle = image_turtle(len(DISK), VOLUME).replace(
            f'size "{len(DISK)}"', f'size "{len(DISK) + 512}"', 1
        )
        members = stream_members(STREAM, DISK, "snappy") | map_members([(0, len(DISK), 0, 0)], [STREAM])
        turtle += stream_turtle(STREAM, len(DISK), "snappy", VOLUME)
        assert codes(open_path(whole(tmp_path / "disk.aff4", members, turtle))) == ["damaged"]


class TestTurtle:
    def test_what_aff4_uses(self) -> None:
        graph = read_turtle(
            r"""@prefix : <aff4://volume> . PREFIX x: <http://x#>
            # a comment
            : a x:Volume ; x:says "a \"b\"\n\u00e9" , 'c'@en , "7"^^x:int , 8 , true ; .
            <aff4://y> x:is x:a.b-c , <relative> ; x:long "two\nlines" .
            <aff4://z> x:long """
            '"""more\n"quoted" lines""" .'
        )
        assert graph["aff4://volume"][RDF_TYPE] == [Term("http://x#Volume", is_iri=True)]
        assert graph["aff4://volume"]["http://x#says"] == [
            Term('a "b"\né', is_iri=False),
            Term("c", is_iri=False),
            Term("7", is_iri=False, datatype="http://x#int"),
            Term("8", is_iri=False),
            Term("true", is_iri=False),
        ]
        assert graph["aff4://y"]["http://x#is"][0] == Term("http://x#a.b-c", is_iri=True)
        assert graph["aff4://y"]["http://x#long"] == [Term("two\nlines", is_iri=False)]
        assert graph["aff4://z"]["http://x#long"] == [Term('more\n"quoted" lines', is_iri=False)]

    @given(text=st.text(alphabet="<>\":;,.@^a[]( )#\\\n'prefix1-", max_size=200))
    @settings(max_examples=300, deadline=None)
    def test_any_text_gives_an_answer(self, text: str) -> None:
        try:
            read_turtle(text)
        except NotThisFormat:
            return

    @pytest.mark.parametrize(
        "text",
        [
            "<x:a> <x:b> " + ",".join("1" for _ in range(70_000)) + " .",
            "<x:a> <x:b> 1" + "".join(f" ; <y:{at}> 1" for at in range(70_000)) + " .",
            "".join(f"<x:{at}> a <y:b> . " for at in range(70_000)),
        ],
        ids=["objects", "predicates", "subjects"],
    )
    def test_memory_is_bounded_whatever_is_said_often(self, text: str) -> None:
        with pytest.raises(NotThisFormat, match="more than 65536 statements"):
            read_turtle(text)

    def test_long_texts_take_no_long_time(self) -> None:
        for piece in ("\\" * 200_000, '"' + "\\a" * 100_000, " " * 500_000, "#" * 500_000, "a." * 200_000):
            with pytest.raises(NotThisFormat):
                read_turtle(f"<a> <b> {piece}\x00")


class TestCompression:
    def test_vectors(self) -> None:
        # The literal and the overlapping copy of Snappy's description, and LZ4's counterpart.
        assert unpack_snappy(bytes.fromhex("0a" + "04" + "7861" + "1e0200"), 10) == b"xaxaxaxaxa"
        assert unpack_snappy(bytes.fromhex("07" + "08" + "616263" + "0103"), 7) == b"abcabca"
        assert unpack_lz4(bytes.fromhex("2f7861020001" + "507a7a7a7a7a"), 64) == b"xa" * 11 + b"zzzzz"

    @given(data=st.binary(max_size=600), runs=st.lists(st.integers(0, 300), max_size=8))
    @settings(max_examples=150, deadline=None)
    def test_there_and_back(self, data: bytes, runs: list[int]) -> None:
        mixed = (
            b"".join(data[at * 20 : at * 20 + 20] + bytes([at]) * run for at, run in enumerate(runs)) + data
        )
        assert unpack_snappy(pack_snappy(mixed), len(mixed)) == mixed
        assert unpack_lz4(pack_lz4(mixed), len(mixed)) == mixed

    @given(data=st.binary(max_size=300))
    @settings(max_examples=300, deadline=None)
    def test_any_bytes_give_an_answer_within_the_bound(self, data: bytes) -> None:
        for unpack in (unpack_snappy, unpack_lz4):
            try:
                assert len(unpack(data, 4096)) <= 4096
            except ReadError:
                continue

    def test_more_than_belongs_there_is_refused(self) -> None:
        for unpacker, packer in ((unpack_snappy, pack_snappy), (unpack_lz4, pack_lz4)):
            with pytest.raises(ReadError, match="4096"):
                unpacker(packer(bytes(100_000)), 4096)


def test_the_other_volume_is_not_taken_for_this_one(tmp_path: Path) -> None:
    first, second = striped(tmp_path, DISK)
    assert open_path(second).container.details["uuid"] == SECOND.removeprefix("aff4://")
    assert open_path(first).container.details["uuid"] == VOLUME.removeprefix("aff4://")
