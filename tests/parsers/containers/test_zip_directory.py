"""The directory of a zip file, beside Python's own zipfile; and members against their checksums."""

import io
import random
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

import pyimount
from pyimount.cli import main
from pyimount.formats import NotThisFormat
from pyimount.parsers.containers.checked import crc32_source
from pyimount.parsers.containers.zip_directory import Directory
from pyimount.problems import Code
from pyimount.sources.budget import Meter
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource

PLAIN = random.Random(1).randbytes(150_000) * 2  # noqa: S311


def archive(method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as file:
        file.writestr("folder/", b"")
        file.writestr("über.txt", "x" * 5000)
        file.writestr("disk.img", PLAIN)
        with file.open("long.bin", "w", force_zip64=True) as member:
            member.write(b"q" * 100)
        file.comment = comment
    return made.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n" * 77])
def test_it_says_what_zipfile_says(method: int, before: bytes) -> None:
    raw = before + archive(method, b"a comment")
    directory, other = Directory(BytesSource(raw)), zipfile.ZipFile(io.BytesIO(raw))
    facts = [
        (each.filename, each.crc, each.compress_size, each.file_size, each.header_offset)
        for each in directory
    ]
    assert facts == [
        (each.filename, each.CRC, each.compress_size, each.file_size, each.header_offset)
        for each in other.infolist()
    ]
    assert directory.comment == other.comment
    for member in directory:
        if member.is_file:
            source = directory.source(member, Meter())
            assert source.read_at(0, source.size) == other.read(member.filename)
    assert [member.filename for member in directory if not member.is_file] == ["folder/"]


def test_a_zip64_end_record_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    raw = archive()
    assert b"PK\6\6" in raw
    for before in (b"", b"x" * 99):
        found = Directory(BytesSource(before + raw))
        assert found.count == 4
        wanted = zipfile.ZipFile(io.BytesIO(before + raw)).infolist()
        assert [each.header_offset for each in found] == [each.header_offset for each in wanted]


@pytest.mark.parametrize("names", [[""], ["", "disk.img"], ["\0"], ["a\0b"]])
def test_a_name_may_be_empty(names: list[str], tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name in names:
            file.writestr("N" * len(name.encode()) or "E", bytes(512))
    raw = made.getvalue()
    for name in names:
        raw = raw.replace(b"N" * len(name) if name else b"\1\0\0\0E", name.encode() if name else b"\0\0\0\0")
    path = tmp_path / "a.zip"
    path.write_bytes(raw)
    pyimount.detect(path)
    # 98 bytes: a name of no bytes at all, here and there.
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 0, 0)
    central = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + end)
    assert pyimount.detect(path).disks[0].container["type"] == "zip"


def test_damage_is_no_zip_file_or_a_problem() -> None:
    raw = archive()
    where = raw.index(b"PK\1\2")
    for damaged in (raw[: where + 50] + raw[where + 60 :], raw[:-30], b"PK\3\4" + bytes(100)):
        with pytest.raises(NotThisFormat):
            list(Directory(BytesSource(damaged)))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_changed_bit_is_said_and_not_exported_as_if_nothing_were_wrong(
    method: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as file:
        file.writestr("disk.img", PLAIN)
    raw = made.getvalue()
    (tmp_path / "good.zip").write_bytes(raw)
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "good.zip"), "disk", "-o", str(out)]) == 0
    assert out.read_bytes() == PLAIN
    changed = bytearray(raw)
    changed[len(raw) // 2] ^= 4
    (tmp_path / "bad.zip").write_bytes(changed)
    assert main(["export", str(tmp_path / "bad.zip"), "disk", "-o", str(tmp_path / "bad")]) == 1
    assert "could not be read" in capsys.readouterr().err


def test_a_checksum_is_held_against_what_was_read_in_order() -> None:
    data = bytes(range(250))
    right = crc32_source(BytesSource(data), zlib.crc32(data), "it")
    wrong = crc32_source(BytesSource(data), 1, "it")
    for source in (right, wrong):
        # Not read through: nothing is known.
        assert source.read_at(200, 50) == data[200:]
        assert source.read_at(0, 100) == data[:100]
        assert source.read_at(50, 100) == data[50:150]
    assert right.read_at(150, 100) == data[150:]
    for offset, length in ((150, 100), (249, 1), (0, 250)):
        with pytest.raises(ReadError, match="it: its checksum is wrong"):
            wrong.read_at(offset, length)
        assert right.read_at(offset, length) == data[offset : offset + length]
    assert wrong.read_at(0, 249) == data[:249]


def test_a_vmdk_s_numbers_are_few_ascii_digits(tmp_path: Path) -> None:
    for number in ("9" * 5000, "\u0663", "\u00b2", "-1"):
        path = tmp_path / "disk.vmdk"
        path.write_text(
            "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
            f'createType="monolithicFlat"\nRW 16 FLAT "disk.bin" 0\nddb.geometry.cylinders = "{number}"\n'
        )
        (tmp_path / "disk.bin").write_bytes(bytes(8192))
        geometry = pyimount.detect(path).disks[0].container["geometry"]
        assert geometry == {"cylinders": number}


def test_a_size_that_no_file_has_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "disk.vmdk"
    sectors = ("9" * 15, "9" * 15)
    lines = "".join(f"RW {count} ZERO\n" for count in sectors * 20)
    head = '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="custom"\n'
    path.write_text(head + lines)
    scan = pyimount.detect(path)
    assert scan.disks[0].size == (1 << 63) - 1
    assert Code.DAMAGED in [problem.code for problem in scan.disks[0].problems]
    with pyimount.open_volume(scan, "0") as file:
        assert file.seek(0, io.SEEK_END) == (1 << 63) - 1
