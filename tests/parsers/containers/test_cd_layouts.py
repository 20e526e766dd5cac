"""CDs by what other programs than CDRWIN write of their tracks: NRG, TOC, CCD, MDS."""

import struct
import subprocess
from pathlib import Path

import pytest

import pyimount
from fixtures.comparing import codes, open_path, where_different
from fixtures.recipes import cd
from pyimount.mapping import open_layer
from pyimount.parsers.containers import cd_sectors
from pyimount.parsers.containers.cdrdao_toc import read_toc
from tests.needing import needs

BLOCK, RAW = cd_sectors.BLOCK, cd_sectors.RAW
COUNT = 16
DISK = b"".join(bytes((number,)) * 7 + bytes(BLOCK - 8) + b"E" for number in range(COUNT))
MODE_1 = b"".join(cd.mode_1(number, block) for number, block in enumerate(cd.blocks(DISK)))
MODE_2 = b"".join(cd.mode_2(number, block) for number, block in enumerate(cd.blocks(DISK)))
SOUND = b"\x12\x34\x56\x78" * (RAW // 4)
FORM_2 = b"".join(MODE_2[at + 16 : at + RAW] for at in range(0, len(MODE_2), RAW))
SUBCHANNELS = b"".join(MODE_1[at : at + RAW] + b"\xaa" * 96 for at in range(0, len(MODE_1), RAW))
PAUSE = 150

STORED = {
    "mode 1": (0x00, BLOCK, DISK),
    "mode 1 raw": (0x05, RAW, MODE_1),
    "mode 1 raw, subchannels": (0x0F, RAW + 96, SUBCHANNELS),
    "mode 2": (0x03, RAW - 16, FORM_2),
    "mode 2 raw": (0x06, RAW, MODE_2),
}


def assert_disk(path: Path, content: bytes = DISK) -> pyimount.Scan:
    scan = pyimount.detect(path)
    (disk,) = scan.disks
    assert (disk.size, disk.sector_size, disk.problems) == (len(content), BLOCK, ())
    with open_layer(scan, disk) as source:
        assert where_different(source, content) == []
    return scan


def modes(scan: pyimount.Scan) -> list[object]:
    tracks = scan.disks[0].container["tracks"]
    assert isinstance(tracks, list)
    return [track["mode"] for track in tracks if isinstance(track, dict)]


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack(">I", len(body)) + body


def nrg(tracks: list[tuple[int, int, bytes, bytes]], *, new: bool, at_once: bool = True) -> bytes:
    """Tracks by mode, bytes of a sector, stored pause and sectors."""
    data, entries = b"", b""
    for mode, size, pause, sectors in tracks:
        begin = len(data) + len(pause)
        end = begin + len(sectors)
        if at_once:
            entries += bytes(12) + struct.pack(">HB3x", size, mode)
            entries += struct.pack(">3Q" if new else ">3I", len(data), begin, end)
        else:
            entries += struct.pack(">2Q2I8x" if new else ">4I4x", begin, len(sectors), mode, 0)
        data += pause + sectors
    name = (b"DAOX" if new else b"DAOI") if at_once else (b"ETN2" if new else b"ETNF")
    head = bytes(20) + bytes((1, len(tracks))) if at_once else b""
    chunks = chunk(b"CUEX" if new else b"CUES", bytes(16)) + chunk(name, head + entries)
    chunks += chunk(b"SINF", bytes(4)) + chunk(b"END!", b"")
    return (
        data
        + chunks
        + (struct.pack(">4sQ", b"NER5", len(data)) if new else struct.pack(">4sI", b"NERO", len(data)))
    )


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("pause", [0, PAUSE])
@pytest.mark.parametrize("way", STORED)
def test_nrg(tmp_path: Path, way: str, pause: int, at_once: bool, new: bool) -> None:
    mode, size, stored = STORED[way]
    path = tmp_path / "disc.nrg"
    path.write_bytes(nrg([(mode, size, bytes(pause * size), stored)], new=new, at_once=at_once))
    scan = assert_disk(path)
    assert scan.disks[0].container["type"] == "nrg"
    assert scan.disks[0].container["version"] == ("5.5" if new else "5.0")


def test_nrg_of_sound_and_data(tmp_path: Path) -> None:
    path = tmp_path / "disc.nrg"
    tracks = [(0x07, RAW, b"", SOUND * 30), (0x05, RAW, SOUND * 7, MODE_1), (0x06, RAW, SOUND, MODE_2)]
    path.write_bytes(nrg(tracks, new=True))
    scan = pyimount.detect(path)
    assert [disk.container["disk"] for disk in scan.disks] == ["track 2", "track 3"]
    for disk in scan.disks:
        with open_layer(scan, disk) as source:
            assert where_different(source, DISK) == []


def test_nrg_whose_tracks_lie_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "disc.nrg"
    data = bytearray(nrg([(0x05, RAW, b"", MODE_1)], new=True))
    at = data.index(b"DAOX") + 8 + 22 + 18 + 16
    data[at : at + 8] = (1 << 40).to_bytes(8, "big")
    path.write_bytes(data)
    opened = open_path(path)
    assert (opened.container.type, opened.source, codes(opened)) == ("nrg", None, ["damaged", "unsupported"])
    path.write_bytes(nrg([(0x55, RAW, b"", MODE_1)], new=False))
    assert codes(open_path(path)) == ["unsupported", "unsupported"]


TOC = {
    "MODE1": (DISK, ""),
    "MODE1_RAW": (MODE_1, ""),
    "MODE1_RAW RW_RAW": (SUBCHANNELS, ""),
    "MODE2": (FORM_2, ""),
    "MODE2_RAW": (MODE_2, ""),
    "MODE2_FORM1": (DISK, ""),
}


@pytest.mark.parametrize("mode", TOC)
def test_toc(tmp_path: Path, mode: str) -> None:
    stored, _ = TOC[mode]
    (tmp_path / "data.bin").write_bytes(b"head" + stored)
    path = tmp_path / "disc.toc"
    length = f"00:00:{COUNT}"
    path.write_text(
        '// by hand\nCD_ROM\n\nCD_TEXT { LANGUAGE 0 { TITLE "a } b" } }\n'
        f'TRACK {mode}\nNO COPY\nZERO 00:02:00\nDATAFILE "data.bin" #4 {length}\nSTART 00:02:00\n'
    )
    # A comment may stand first; the mark must not: such a file is only found by its words further on.
    text = path.read_text().partition("\n")[2]
    path.write_text(text)
    scan = assert_disk(path)
    assert scan.disks[0].container["toc"] == "disc.toc"
    if "RW" not in mode:
        needs("cdrdao")
        said = subprocess.run(
            ["cdrdao", "show-toc", path.name], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert "TRACK  1" in said.stdout


def test_toc_of_sound_and_data_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "disc.bin").write_bytes(SOUND * 30 + MODE_1)
    path = tmp_path / "disc.toc"
    path.write_text(
        f'CD_ROM\nTRACK AUDIO\nFILE "disc.bin" 0 00:00:30\nTRACK MODE1_RAW\nDATAFILE "disc.bin" #{30 * RAW}\n'
    )
    scan = assert_disk(path)
    assert modes(scan) == ["AUDIO", "MODE1/2352"]
    places = read_toc(path.read_bytes())
    assert [(place.offset, place.end) for place in places] == [(0, 30 * RAW), (30 * RAW, None)]


def test_ccd(tmp_path: Path) -> None:
    (tmp_path / "disc.img").write_bytes(MODE_1 + SOUND * 30)
    (tmp_path / "disc.sub").write_bytes(bytes(96 * (COUNT + 30)))
    path = tmp_path / "disc.ccd"
    path.write_text(
        "[CloneCD]\r\nVersion=3\r\n[Disc]\r\nTocEntries=5\r\nSessions=1\r\n[Session 1]\r\nPreGapMode=1\r\n"
        f"[TRACK 1]\r\nMODE=1\r\nINDEX 1=0\r\n[TRACK 2]\r\nMODE=0\r\nINDEX 1={COUNT}\r\n"
    )
    scan = assert_disk(path)
    assert modes(scan) == ["MODE1/2352", "AUDIO"]
    assert_disk(tmp_path)
    (tmp_path / "disc.img").unlink()
    assert codes(open_path(path)) == ["missing-segment", "unsupported"]


def mds(name: bytes, mode: int, size: int, *, dvd: bool = False, wide: bool = False) -> bytes:
    """One session of one track, laid out as image-mds reads it."""
    text = name.decode().encode("utf-16-le") + b"\0\0" if wide else name + b"\0"
    session, track, extra, footer = 0x58, 0x70, 0xC0, 0xC8
    head = struct.pack("<16s2BHH58xI4x", b"MEDIA DESCRIPTOR", 1, 3, 0x10 if dvd else 0, 1, session)
    head += struct.pack("<iiHBBHH4xI", -150, COUNT, 1, 1, 0, 1, 1, track)
    where = COUNT if dvd else extra
    head += struct.pack("<5B7xIH18xIQII24x", mode, 0, 0x14, 0, 1, where, size, 0, 0, 1, footer)
    head += struct.pack("<II", PAUSE, COUNT) + struct.pack("<II8x", footer + 16, wide) + text
    return head


@pytest.mark.parametrize(
    ("mode", "size", "stored", "dvd"),
    [
        (0xAA, RAW, MODE_1, False),
        (0xAA, RAW + 96, SUBCHANNELS, False),
        (0xAA, BLOCK, DISK, False),
        (0xAC, RAW, MODE_2, False),
        (0xAB, RAW - 16, FORM_2, False),
        (0x02, BLOCK, DISK, True),
    ],
)
@pytest.mark.parametrize(("name", "wide"), [(b"*.mdf", False), (b"disc.mdf", True)])
def test_mds(tmp_path: Path, name: bytes, wide: bool, mode: int, size: int, stored: bytes, dvd: bool) -> None:  # noqa: PLR0917
    (tmp_path / "disc.mdf").write_bytes(stored)
    path = tmp_path / "disc.mds"
    path.write_bytes(mds(name, mode, size, dvd=dvd, wide=wide))
    assert_disk(tmp_path)  # a folder with one image: the other file is its content
    scan = assert_disk(path)
    assert scan.disks[0].container["medium"] == ("DVD" if dvd else "CD")


def test_mds_of_a_later_version(tmp_path: Path) -> None:
    path = tmp_path / "disc.mds"
    data = bytearray(mds(b"*.mdf", 0xAA, RAW))
    data[16] = 2
    path.write_bytes(data)
    assert codes(open_path(path)) == ["unsupported", "unsupported"]


def test_a_sheet_in_small_letters_and_in_utf_16(tmp_path: Path) -> None:
    (tmp_path / "disc.bin").write_bytes(MODE_1)
    path = tmp_path / "disc.cue"
    text = 'file "DISC.BIN" binary\r\n  track 01 mode1/2352\r\n    index 01 00:00:00\r\n'
    path.write_text(text)
    assert_disk(path)
    path.write_bytes(text.encode("utf-16"))
    assert_disk(path)
