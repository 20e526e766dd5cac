"""AFF: what affconvert writes, and segments put together by hand for what it does not."""

import struct
import zlib
from pathlib import Path

import pytest

import pyimount
from fixtures.comparing import codes, inside, mixed_bytes, open_path, where_different
from fixtures.workshop import Workshop
from pyimount.parsers.containers import aff
from pyimount.sources.errors import ReadError
from tests.needing import needs

MIB = 1 << 20
PAGE = 65536
DISK = mixed_bytes(10 * PAGE + 1024, seed=4)


def segment(name: str, data: bytes = b"", flag: int = 0) -> bytes:
    head = aff.SEGMENT_HEAD.construct.build(
        {"magic": b"AFF\0", "name_len": len(name), "data_len": len(data), "flag": flag}
    )
    length = len(head) + len(name) + len(data) + 8
    return bytes(head + name.encode() + data + b"ATT\0" + length.to_bytes(4, "big"))


def quad(name: str, value: int) -> bytes:
    return segment(name, struct.pack(">II", value & 0xFFFFFFFF, value >> 32), aff.QUADWORD)


def page(number: int, name: str = "page") -> bytes:
    data = DISK[number * PAGE : (number + 1) * PAGE]
    if not any(data):
        return segment(f"{name}{number}", len(data).to_bytes(4, "big"), aff.COMPRESSED | aff.ZERO | 2)
    packed = zlib.compress(data)
    return segment(f"{name}{number}", packed, aff.COMPRESSED)


PAGES = range(-(-len(DISK) // PAGE))
META = segment("pagesize", flag=PAGE) + segment("sectorsize", flag=512) + quad("imagesize", len(DISK))


def put(folder: Path, *segments: bytes, name: str = "disk.aff") -> Path:
    path = folder / name
    path.write_bytes(aff.HEADER + b"".join(segments))
    return path


def test_pages_in_any_order_with_gaps_between(tmp_path: Path) -> None:
    pages = [page(number) for number in reversed(PAGES)]
    path = put(tmp_path, META, *pages[:3], segment("", bytes(99)), *pages[3:])
    opened = open_path(path)
    assert codes(opened) == []
    assert set(map(str, opened.container.details["compression"] or ())) == {"zlib", "zero"}  # type: ignore[arg-type]
    assert where_different(inside(path), DISK) == []


def test_the_old_names_of_pages(tmp_path: Path) -> None:
    meta = segment("segsize", flag=PAGE) + quad("imagesize", len(DISK))
    path = put(tmp_path, meta, *(page(number, "seg") for number in PAGES))
    assert where_different(inside(path), DISK) == []


def test_without_its_size_the_pages_tell(tmp_path: Path) -> None:
    path = put(tmp_path, segment("pagesize", flag=PAGE), *map(page, PAGES))
    assert inside(path).size == len(PAGES) * PAGE


def test_values_are_told(tmp_path: Path) -> None:
    values = (
        segment("md5", bytes(range(16)))
        + segment("image_gid", bytes(range(16)))
        + quad("badsectors", 3)
        + segment("badflag", b"BAD SECTOR\0".ljust(512, b"\x77"))
        + segment("case_num", b"7\0")
        + segment("acquisition_seconds", flag=99)
        + segment("page0_md5", bytes(16))
    )
    details = open_path(put(tmp_path, META, values, *map(page, PAGES))).container.details
    assert details["md5"] == bytes(range(16)).hex()
    assert details["uuid"] == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert details["bad_sectors"] == 3
    assert details["acquisition"] == {"case_num": "7", "acquisition_seconds": 99}


def test_a_missing_page_is_told_and_reads_as_zeros(tmp_path: Path) -> None:
    path = put(tmp_path, META, *(page(number) for number in PAGES if number != 4))
    opened = open_path(path)
    assert codes(opened) == ["damaged"]
    assert opened.source is not None
    assert opened.source.read_at(4 * PAGE, PAGE) == bytes(PAGE)
    assert opened.source.read_at(5 * PAGE, PAGE) == DISK[5 * PAGE : 6 * PAGE]


def test_truncation_at_every_segment(tmp_path: Path) -> None:
    whole = aff.HEADER + META + b"".join(map(page, PAGES))
    path = tmp_path / "disk.aff"
    head = len(aff.HEADER + META)
    for end in (head + 20, head + len(page(0)) - 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        opened = open_path(path)
        assert codes(opened)[0] == "truncated"
        assert opened.source is not None
        assert opened.source.size == len(DISK)
    assert opened.source.read_at(0, PAGE) == DISK[:PAGE]


def test_a_damaged_page_is_an_error(tmp_path: Path) -> None:
    broken = bytearray(page(2))
    broken[40:60] = bytes(20)
    opened = open_path(put(tmp_path, META, page(0), page(1), bytes(broken), *map(page, PAGES[3:])))
    assert opened.source is not None
    assert opened.source.read_at(0, 512) == DISK[:512]
    with pytest.raises(ReadError, match="page 2"):
        opened.source.read_at(2 * PAGE, 512)


@pytest.mark.parametrize(
    ("segments", "code"),
    [
        ((segment("pagesize", flag=1 << 30), quad("imagesize", 4096)), "damaged"),
        ((segment("pagesize", flag=PAGE), quad("imagesize", 1 << 63)), "damaged"),
        ((META, b"no segment at all, but some text"), "damaged"),
        ((META, segment("page0", b"x" * 200_000)), "damaged"),
    ],
)
def test_figures_that_cannot_be(tmp_path: Path, segments: tuple[bytes, ...], code: str) -> None:
    opened = open_path(put(tmp_path, *segments))
    assert code in codes(opened)
    if opened.source is not None and len(segments[-1]) > PAGE:
        with pytest.raises(ReadError):
            opened.source.read_at(0, 512)


def test_an_unknown_compression_is_an_error(tmp_path: Path) -> None:
    opened = open_path(put(tmp_path, META, segment("page0", b"x", aff.COMPRESSED | 0x50)))
    assert opened.source is not None
    with pytest.raises(ReadError, match="0x50"):
        opened.source.read_at(0, 512)


def test_a_header_without_segments_is_not_aff(tmp_path: Path) -> None:
    assert open_path(put(tmp_path, bytes(64))).container.type == "raw"


class TestAfm:
    def metadata(self, per_file: int) -> tuple[bytes, ...]:
        return (
            META,
            segment("aff_file_type", b"AFM"),
            segment("raw_image_file_extension", b"000"),
            quad("pages_per_raw_image_file", per_file),
        )

    def test_several_raw_files(self, tmp_path: Path) -> None:
        path = put(tmp_path, *self.metadata(4), name="disk.afm")
        for number, at in enumerate(range(0, len(DISK), 4 * PAGE)):
            (tmp_path / f"disk.{number:03}").write_bytes(DISK[at : at + 4 * PAGE])
        assert codes(open_path(path)) == []
        assert where_different(inside(path), DISK) == []

    def test_a_raw_file_is_missing(self, tmp_path: Path) -> None:
        path = put(tmp_path, *self.metadata(4), name="disk.afm")
        (tmp_path / "disk.000").write_bytes(DISK[: 4 * PAGE])
        opened = open_path(path)
        assert codes(opened) == ["missing-segment", "truncated"]
        assert opened.source is not None
        assert opened.source.size == 4 * PAGE

    def test_an_extension_is_no_path(self, tmp_path: Path) -> None:
        segments = (META, segment("aff_file_type", b"AFM"), segment("raw_image_file_extension", b"../x"))
        opened = open_path(put(tmp_path, *segments, name="disk.afm"))
        assert (opened.source, codes(opened)) == (None, ["damaged"])


class TestAfd:
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "disk.afd"
        folder.mkdir()
        half = len(PAGES) // 2
        put(folder, META, *map(page, PAGES[:half]), name="file_000.aff")
        put(folder, META, *map(page, PAGES[half:]), name="file_001.aff")
        return folder

    def test_its_folder_is_one_image(self, tmp_path: Path) -> None:
        scan = pyimount.detect(self.folder(tmp_path))
        assert [(disk.size, disk.problems) for disk in scan.disks] == [(len(DISK), ())]

    def test_any_of_its_files_stands_for_all(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path)
        for name in ("file_000.aff", "file_001.aff"):
            assert where_different(inside(folder / name), DISK) == []


@pytest.mark.parametrize("options", [(), ("-L",), ("-x",), ("-X1",)])
def test_what_affconvert_writes(tmp_path: Path, options: tuple[str, ...]) -> None:
    needs("affconvert")
    disk = mixed_bytes(3 * MIB + 512, seed=8)
    (tmp_path / "disk.raw").write_bytes(disk)
    Workshop(tmp_path).run("affconvert", "-q", "-s1m", *options, "-o", "out.aff", "disk.raw")
    assert codes(open_path(tmp_path / "out.aff")) == []
    assert where_different(inside(tmp_path / "out.aff"), disk) == []
