"""Android sparse images: what img2simg writes, and every kind of chunk, whole and damaged."""

import random
from pathlib import Path
from struct import pack

import pytest

from fixtures.workshop import Workshop
from pyimount.formats import Opened
from pyimount.parsers.containers import android_sparse as sparse
from pyimount.problems import Code
from tests.disks import (
    assert_holds,
    assert_threads_agree,
    codes,
    contents,
    cut,
    opened,
    readable,
    source_of,
)

UNIT = 4096
Chunk = tuple[int, int, bytes]
"""Type, blocks, data."""


def write(
    path: Path, chunks: list[Chunk], *, header_size: int = 28, chunk_size: int = 12, **fields: int
) -> Path:
    """An image of these chunks."""
    values = {
        "magic": int.from_bytes(sparse.MAGIC, "little"),
        "major_version": 1,
        "minor_version": 0,
        "file_hdr_sz": header_size,
        "chunk_hdr_sz": chunk_size,
        "blk_sz": UNIT,
        "total_blks": sum(blocks for kind, blocks, _ in chunks if kind != sparse.CRC32),
        "total_chunks": len(chunks),
        "image_checksum": 0,
        **fields,
    }
    raw = sparse.SPARSE_HEADER.construct.build(values).ljust(header_size, b"\0")
    for kind, blocks, data in chunks:
        raw += pack("<HHII", kind, 0, blocks, chunk_size + len(data)).ljust(chunk_size, b"\0") + data
    path.write_bytes(raw)
    return path


RAW = contents(5 * UNIT, seed=3)
CHUNKS: list[Chunk] = [
    (sparse.DONT_CARE, 2, b""),
    (sparse.RAW, 3, RAW[: 3 * UNIT]),
    (sparse.FILL, 2, b"abcd"),
    (sparse.FILL, 1, bytes(4)),
    (sparse.CRC32, 0, b"\1\2\3\4"),
    (sparse.RAW, 2, RAW[3 * UNIT :]),
    (sparse.DONT_CARE, 4, b""),
]
PLAIN = (
    bytes(2 * UNIT)
    + RAW[: 3 * UNIT]
    + b"abcd" * (2 * UNIT // 4)
    + bytes(UNIT)
    + RAW[3 * UNIT :]
    + bytes(4 * UNIT)
)


@pytest.mark.needs("img2simg")
def test_what_img2simg_writes_is_read_back(tmp_path: Path) -> None:
    content = contents(4 << 20)
    content = content[: len(content) // UNIT * UNIT]
    plain = tmp_path / "plain.img"
    plain.write_bytes(content)
    Workshop(tmp_path).run("img2simg", plain, tmp_path / "sparse.img")
    source = source_of(tmp_path / "sparse.img")
    assert_holds(source, content)
    assert_threads_agree(source, content)


@pytest.mark.parametrize(("header_size", "chunk_size"), [(28, 12), (64, 12), (28, 40)])
def test_every_kind_of_chunk_with_headers_of_any_size(
    tmp_path: Path, header_size: int, chunk_size: int
) -> None:
    path = write(tmp_path / "image", CHUNKS, header_size=header_size, chunk_size=chunk_size)
    found = opened(path)
    assert found.source is not None
    assert_holds(found.source, PLAIN)
    details = found.container.details
    assert details["chunk_types"] == {"raw": 2, "fill": 2, "dont_care": 2, "crc32": 1}
    assert (codes(found), found.container.type, details["chunks"]) == ([], "android_sparse", 7)


def damaged(tmp_path: Path, chunk: Chunk, **fields: int) -> Opened:
    return opened(write(tmp_path / "image", [*CHUNKS[:2], chunk, *CHUNKS[3:]], **fields))


@pytest.mark.parametrize(
    "chunk",
    [
        (0xCAC5, 2, b"abcd"),
        (sparse.RAW, 2, b"abcd"),
        (sparse.FILL, 2, b"abcdefgh"),
        (sparse.DONT_CARE, 2, b"x"),
        (sparse.FILL, 0xFFFFFFF0, b"abcd"),
    ],
)
def test_what_follows_a_damaged_chunk_cannot_be_read(tmp_path: Path, chunk: Chunk) -> None:
    found = damaged(tmp_path, chunk, total_blks=len(PLAIN) // UNIT)
    assert codes(found) == ["damaged"]
    assert found.source is not None
    assert found.source.read_at(0, 5 * UNIT) == PLAIN[: 5 * UNIT]
    assert readable(found.source, PLAIN) == pytest.approx(5 * UNIT / len(PLAIN))


def test_fewer_chunks_than_the_header_claims(tmp_path: Path) -> None:
    found = opened(write(tmp_path / "image", CHUNKS, total_blks=20))
    assert codes(found) == ["truncated"]
    assert found.source is not None
    assert found.source.size == 20 * UNIT
    assert found.source.read_at(0, len(PLAIN)) == PLAIN


@pytest.mark.parametrize("cut_off", [1, 12, 4 * UNIT, 5 * UNIT + 30])
def test_a_cut_image_is_read_as_far_as_it_goes(tmp_path: Path, cut_off: int) -> None:
    path = write(tmp_path / "image", CHUNKS)
    found = opened(cut(path, path.stat().st_size - cut_off))
    assert codes(found) == ["truncated"]
    assert found.source is not None
    assert readable(found.source, PLAIN) < 1


def test_a_header_that_claims_more_chunks_than_there_are(tmp_path: Path) -> None:
    assert codes(opened(write(tmp_path / "image", CHUNKS, total_chunks=0xFFFFFFFF))) == ["truncated"]


@pytest.mark.parametrize(
    "fields",
    [
        {"major_version": 2},
        {"blk_sz": 0},
        {"blk_sz": 4098},
        {"blk_sz": 0x80000000},
        {"total_blks": 0},
        {"file_hdr_sz": 27},
        {"chunk_hdr_sz": 11},
        {"chunk_hdr_sz": 0xFFFF},
    ],
)
def test_an_implausible_header_is_no_sparse_image(tmp_path: Path, fields: dict[str, int]) -> None:
    assert opened(write(tmp_path / "image", CHUNKS, **fields)).container.type == "raw"


def pieces(
    folder: Path, name: str = "system.img_sparsechunk.{}", size: int = 512 << 10
) -> tuple[bytes, list[Path]]:
    """A disk and the pieces into which simg2simg cuts it; its end is left out in all of them."""
    dice = random.Random(5)  # noqa: S311
    content = dice.randbytes(1 << 20) + bytes(300 * UNIT) + dice.randbytes(900 << 10) + bytes(200 * UNIT)
    content = content[: len(content) // UNIT * UNIT]
    plain, whole = folder / "plain", folder / "whole"
    plain.write_bytes(content)
    work = Workshop(folder)
    work.run("img2simg", plain, whole)
    work.run("simg2simg", whole, folder / "piece", 512 << 10)
    for path in (plain, whole):
        path.unlink()
    found = sorted(folder.glob("piece.*"), key=lambda path: int(path.suffix[1:]))
    assert len(found) > 3
    return content, [path.rename(folder / name.format(number)) for number, path in enumerate(found)]


NAMES = (
    "system.img_sparsechunk.{}",
    "super.img.{}",
    "system.img_sparsechunk{}",
    "system.img_sparsechunk.{:02}",
    "system.img_sparsechunk{:03}",
)


@pytest.mark.needs("img2simg", "simg2simg", "simg2img")
@pytest.mark.parametrize("name", NAMES)
def test_pieces_are_one_disk(name: str, tmp_path: Path) -> None:
    content, paths = pieces(tmp_path, name)
    found = opened(paths[2])
    assert found.container.problems == ()
    assert found.container.details["segments"] == len(paths)
    assert found.source is not None
    assert_holds(found.source, content)
    Workshop(tmp_path).run("simg2img", *paths, tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == content


@pytest.mark.needs("img2simg", "simg2simg")
@pytest.mark.parametrize("kept", [(0,), (1,), (3,), (0, 1), (0, 2, 3), (1, 2, 3)])
def test_what_stands_in_missing_pieces_is_said_and_not_read_as_zeros(
    kept: tuple[int, ...], tmp_path: Path
) -> None:
    content, paths = pieces(tmp_path)
    for number, path in enumerate(paths):
        if number not in kept:
            path.unlink()
    found = opened(paths[kept[0]])
    assert set(codes(found)) == {Code.MISSING_SEGMENT}
    assert found.source is not None
    assert found.source.size == len(content)
    assert 0.1 < readable(found.source, content) < 1


@pytest.mark.needs("img2simg", "simg2simg")
def test_a_piece_of_another_disk_is_not_used(tmp_path: Path) -> None:
    content, paths = pieces(tmp_path)
    write(paths[1], CHUNKS)
    found = opened(paths[0])
    assert codes(found) == [Code.MISSING_SEGMENT]
    assert "is of another disk" in found.container.problems[0].message
    assert found.source is not None
    readable(found.source, content)


def test_a_whole_image_of_a_pieces_name_lacks_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "boot.img_sparsechunk.0", CHUNKS[:-1])
    assert opened(path).container.problems == ()
