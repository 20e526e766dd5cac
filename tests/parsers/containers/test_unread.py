"""Compressed files that are named and not read: as their own tools make them."""

import shutil
import subprocess
from pathlib import Path

import pytest

import pyimount
from fixtures.comparing import codes, open_path
from tests.needing import needs


def packed(folder: Path, tool: str, *arguments: str) -> Path:
    (folder / "disk.img").write_bytes(b"the bytes of a disk" * 1000)
    needs(tool)
    subprocess.run([tool, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder / "packed"


def test_lzop(tmp_path: Path) -> None:
    path = packed(tmp_path, "lzop", "-q", "-o", "packed", "disk.img")
    opened = open_path(path)
    assert (opened.container.type, codes(opened), opened.source) == ("lzop", ["unsupported"], None)
    assert (opened.container.details["name"], opened.container.details["compression"]) == (
        "disk.img",
        "lzo1x-1",
    )
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    assert codes(open_path(path)) == ["bad-checksum", "unsupported"]


def test_7z(tmp_path: Path) -> None:
    packed(tmp_path, "7z", "a", "-bd", "packed.7z", "disk.img")
    path = tmp_path / "packed.7z"
    opened = open_path(path)
    assert (opened.container.type, codes(opened), opened.source) == ("7z", ["unsupported"], None)
    path.write_bytes(path.read_bytes()[:-9])
    assert codes(open_path(path)) == ["truncated", "unsupported"]
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    assert open_path(path).container.type == "raw"


@pytest.mark.parametrize(
    ("data", "version"),
    [
        # The marks and first headers by the technical note; Debian has no free packer.
        (bytes.fromhex("526172211a0700" + "cf907300000d00000000000000"), "4"),
        (bytes.fromhex("526172211a070100" + "3392b5e50a01050600050101808000"), "5"),
    ],
)
def test_rar(tmp_path: Path, data: bytes, version: str) -> None:
    path = tmp_path / "disk.rar"
    path.write_bytes(data + bytes(500))
    opened = open_path(path)
    assert (opened.container.type, codes(opened)) == ("rar", ["unsupported"])
    assert opened.container.details["version"] == version


def test_it_is_no_disk_and_the_exit_status_says_so(tmp_path: Path) -> None:
    packed(tmp_path, "7z", "a", "-bd", "packed.7z", "disk.img")
    shutil.move(tmp_path / "packed.7z", tmp_path / "disk.7z")
    scan = pyimount.detect(tmp_path / "disk.7z")
    assert (scan.disks[0].size, scan.exit_status()) == (None, 1)
    assert "7z x" in scan.disks[0].problems[0].message
