"""Raw CDs: which bytes of which sectors are a disk, with a CUE sheet and without."""

import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyimount
from fixtures.comparing import codes, inside, open_path, where_different
from fixtures.recipes import cd
from pyimount.formats import NotThisFormat
from pyimount.mapping import open_layer
from pyimount.parsers.containers import cd_sectors
from pyimount.parsers.containers.cue_sheet import extents, read_sheet
from pyimount.sources.errors import ReadError
from tests.needing import needs

BLOCK, RAW = cd_sectors.BLOCK, cd_sectors.RAW
COUNT = 16
# Not a file system: what is asked here is which bytes come out.
DISK = b"".join(bytes((number,)) * 7 + bytes(BLOCK - 8) + b"E" for number in range(COUNT))
SOUND = b"\x12\x34\x56\x78" * (RAW // 4)


@cache
def mode_1(data: bytes = DISK) -> bytes:
    return b"".join(cd.mode_1(number, block) for number, block in enumerate(cd.blocks(data)))


@cache
def mode_2(data: bytes = DISK) -> bytes:
    return b"".join(cd.mode_2(number, block) for number, block in enumerate(cd.blocks(data)))


def put(folder: Path, data: bytes, sheet: str | None = None, name: str = "disc.bin") -> Path:
    path = folder / name
    path.write_bytes(data)
    if sheet is not None:
        (folder / "disc.cue").write_text(sheet)
    return path


def sheet(*tracks: tuple[str, int], file: str = "disc.bin") -> str:
    """A sheet of one file; tracks by mode and first sector."""
    lines = [f'FILE "{file}" BINARY']
    for number, (mode, start) in enumerate(tracks, 1):
        place = f"{start // 4500:02}:{start // 75 % 60:02}:{start % 75:02}"
        lines += [f"  TRACK {number:02} {mode}", f"    INDEX 01 {place}"]
    return "\r\n".join(lines) + "\r\n"


WAYS = {
    "mode 1": mode_1(),
    "mode 2, form 1": mode_2(),
    "both modes": mode_1(DISK[: 9 * BLOCK]) + mode_2(DISK[9 * BLOCK :]),
    "with subchannels": b"".join(mode_1()[at : at + RAW] + b"\xaa" * 96 for at in range(0, COUNT * RAW, RAW)),
    "with the Q subchannel": b"".join(
        mode_1()[at : at + RAW] + b"\xaa" * 16 for at in range(0, COUNT * RAW, RAW)
    ),
    "without checksums": b"".join(
        cd.mode_1(number, block, checked=False) for number, block in enumerate(cd.blocks(DISK))
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_user_data_of_all_sectors_is_the_disk(tmp_path: Path, way: str) -> None:
    path = put(tmp_path, WAYS[way])
    opened = open_path(path)
    assert (opened.container.type, opened.container.size, codes(opened)) == ("cd_raw", len(DISK), [])
    assert opened.container.sector_size == BLOCK
    assert where_different(inside(path), DISK) == []


@pytest.mark.parametrize("given", ["disc.bin", "disc.cue", "."])
@pytest.mark.parametrize(
    ("mode", "stored"),
    [
        ("MODE1/2352", mode_1()),
        ("MODE2/2352", mode_2()),
        ("MODE1/2048", DISK),
        ("MODE2/2336", b"".join(mode_2()[at + 16 : at + RAW] for at in range(0, COUNT * RAW, RAW))),
    ],
)
def test_by_its_sheet(tmp_path: Path, mode: str, stored: bytes, given: str) -> None:
    put(tmp_path, stored + SOUND * 30, sheet((mode, 0), ("AUDIO", COUNT)))
    if given == "disc.bin" and not stored.startswith(cd_sectors.SYNC):
        pytest.skip("without raw sectors only the sheet tells")
    (disk,) = pyimount.detect(tmp_path / given).disks
    assert (disk.container["type"], disk.size, disk.problems) == ("cd_raw", len(DISK), ())
    assert [track["mode"] for track in disk.container["tracks"]] == [mode, "AUDIO"]
    with open_layer(pyimount.detect(tmp_path / given), disk) as source:
        assert where_different(source, DISK) == []


@pytest.mark.parametrize("given", ["disc.bin", "disc.cue"])
def test_each_data_track_is_a_disk(tmp_path: Path, given: str) -> None:
    """Data, sound, data of the other mode: behind a pause that is stored and is nobody's."""
    other = DISK[::-1]
    pause = mode_2(bytes(BLOCK) * 9)
    text = sheet(("MODE1/2352", 0), ("AUDIO", COUNT), ("MODE2/2352", COUNT + 39))
    text = text.replace(
        "TRACK 03 MODE2/2352\r\n", f"TRACK 03 MODE2/2352\r\n    INDEX 00 00:00:{COUNT + 30:02}\r\n"
    )
    put(tmp_path, mode_1() + SOUND * 30 + pause + mode_2(other), text)
    scan = pyimount.detect(tmp_path / given)
    assert [disk.container["disk"] for disk in scan.disks] == ["track 1", "track 3"]
    assert [track["sectors"] for track in scan.disks[0].container["tracks"]] == [COUNT, 30, COUNT]
    for disk, content in zip(scan.disks, (DISK, other), strict=True):
        with open_layer(scan, disk) as source:
            assert where_different(source, content) == []


def test_a_file_for_each_track(tmp_path: Path) -> None:
    (tmp_path / "Disc (Track 1).bin").write_bytes(SOUND * 10)
    (tmp_path / "Disc (Track 2).bin").write_bytes(mode_1())
    # The sheet was written where upper and lower case are one.
    text = sheet(("AUDIO", 0), file="DISC (TRACK 1).BIN") + sheet(
        ("MODE1/2352", 0), file="c:\\images\\DISC (TRACK 2).BIN"
    ).replace("TRACK 01", "TRACK 02")
    put(tmp_path, b"", text, name="unused")
    (disk,) = pyimount.detect(tmp_path / "disc.cue").disks
    assert (disk.size, disk.container["track"], disk.problems) == (len(DISK), 2, ())
    (alone,) = pyimount.detect(tmp_path / "Disc (Track 2).bin").disks
    assert (alone.size, alone.container["track"]) == (len(DISK), 2)


class TestWhatIsWrong:
    def test_sound_without_a_sheet_is_said(self, tmp_path: Path) -> None:
        opened = open_path(put(tmp_path, mode_1() + SOUND * 30))
        assert (codes(opened), opened.container.size) == (["unsupported"], len(DISK))
        assert f"sectors {COUNT} to {COUNT + 30}" in opened.container.problems[0].message

    def test_a_file_that_is_missing(self, tmp_path: Path) -> None:
        put(tmp_path, b"", sheet(("MODE1/2352", 0)), name="unused")
        opened = open_path(tmp_path / "disc.cue")
        assert (opened.source, codes(opened)) == (None, ["missing-segment", "unsupported"])

    def test_a_cd_of_sound(self, tmp_path: Path) -> None:
        put(tmp_path, SOUND * 30, sheet(("AUDIO", 0)))
        opened = open_path(tmp_path / "disc.cue")
        assert (opened.source, codes(opened)) == (None, ["unsupported"])

    def test_a_file_that_was_cut(self, tmp_path: Path) -> None:
        opened = open_path(put(tmp_path, mode_1()[: 12 * RAW + 100]))
        assert (codes(opened), opened.container.size) == (["truncated"], 12 * BLOCK)
        put(tmp_path, mode_1()[: 12 * RAW], sheet(("MODE1/2352", 0), ("AUDIO", COUNT)))
        assert codes(open_path(tmp_path / "disc.cue")) == ["truncated"]

    @pytest.mark.parametrize("raw", [mode_1(), mode_2()], ids=["mode 1", "mode 2"])
    def test_a_changed_bit_is_an_error_with_its_place(self, tmp_path: Path, raw: bytes) -> None:
        data = bytearray(raw)
        data[7 * RAW + 1000] ^= 0x40
        source = inside(put(tmp_path, bytes(data)))
        with pytest.raises(ReadError, match=r"sector 7 of the track: its checksum \(EDC\) is wrong"):
            source.read_at(0, len(DISK))
        assert source.read_at(8 * BLOCK, 5 * BLOCK) == DISK[8 * BLOCK : 13 * BLOCK]

    @pytest.mark.parametrize(
        ("sector", "why"),
        [
            (cd.mode_2(5, bytes(2324), form=2), "form 2"),
            (cd.mode_1(5, bytes(BLOCK)).replace(cd_sectors.SYNC, bytes(12), 1), "no sync pattern"),
            (cd_sectors.SYNC + b"\0\2\x55\2" + b"abcdefgh" + bytes(RAW - 24), "without a form"),
            (cd_sectors.SYNC + b"\0\2\x55\7" + bytes(RAW - 16), "mode 7"),
        ],
    )
    def test_a_sector_of_something_else(self, tmp_path: Path, sector: bytes, why: str) -> None:
        raw = mode_1()
        source = inside(put(tmp_path, raw[: 5 * RAW] + sector + raw[6 * RAW :]))
        assert source.read_at(0, 5 * BLOCK) == DISK[: 5 * BLOCK]
        with pytest.raises(ReadError, match=why):
            source.read_at(5 * BLOCK, 1)

    def test_a_sector_of_nothing_is_zeros(self, tmp_path: Path) -> None:
        raw = mode_1()
        empty = cd_sectors.SYNC + b"\0\2\x55\0" + bytes(RAW - 16)
        source = inside(put(tmp_path, raw[: 5 * RAW] + empty + raw[6 * RAW :]))
        assert source.read_at(5 * BLOCK, BLOCK) == bytes(BLOCK)

    @pytest.mark.parametrize(
        "data",
        [
            cd_sectors.SYNC + bytes(4096),
            b'FILE "a.bin" BINARY\n',
            b"REM nothing\n  TRACK 01 MODE1/2352\n    INDEX 01 00:00:00\n",
            b'FILE "a.bin" BINARY\n  TRACK 01 MODE1/2352\n    INDEX 01 never\n',
            b"TITLE of a text that is no sheet",
        ],
    )
    def test_a_beginning_alone_is_not_enough(self, tmp_path: Path, data: bytes) -> None:
        assert open_path(put(tmp_path, data)).container.type == "raw"


@given(lines=st.lists(st.sampled_from(
    ['FILE "a" BINARY', "FILE b WAVE", "TRACK 01 AUDIO", "TRACK 7 MODE1/2352", "TRACK 99 CDG",
     "INDEX 00 00:00:01", "INDEX 01 00:02:00", "INDEX 01 999:99:99", "INDEX \u0663 0:0:0", "REM x",
     "PREGAP 00:02:00", "\0"]
)))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_any_sheet_gives_an_answer(lines: list[str]) -> None:
    try:
        tracks = read_sheet("\n".join(lines).encode())
        for track in tracks:
            for extent in extents(tracks, track.file):
                assert extent.offset >= 0
                assert extent.end is None or extent.end >= 0
    except NotThisFormat:
        return


@given(data=st.binary(max_size=80))
def test_the_checksum_is_what_its_definition_makes(data: bytes) -> None:
    assert cd_sectors.edc(data) == cd.edc(data)


@pytest.mark.parametrize("mode", ["MODE1/2352", "MODE2/2352"])
def test_bchunk_takes_out_the_same(tmp_path: Path, mode: str) -> None:
    needs("bchunk")
    raw = mode_1() if mode == "MODE1/2352" else mode_2()
    path = put(tmp_path, raw + SOUND * 30, sheet((mode, 0), ("AUDIO", COUNT)))
    subprocess.run(["bchunk", path.name, "disc.cue", "out"], cwd=tmp_path, check=True, capture_output=True)
    assert where_different(inside(path), (tmp_path / "out01.iso").read_bytes()) == []
