"""``pyimount export``: the bytes of a layer, to a file or on."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import fixtures
from pyimount.cli import main
from pyimount.sources.errors import ReadError
from pyimount.sources.file import FileSource

MIB = 1 << 20


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return next(fixture for fixture in fixtures() if fixture.name == "demo").unpack(tmp_path)


def test_a_partition_to_a_sparse_file(demo: Path, tmp_path: Path) -> None:
    target = tmp_path / "root.img"
    assert main(["export", str(demo), "2", "-o", str(target)]) == 0
    volume = pyimount.detect(demo)["2"]
    assert volume.offset is not None
    with demo.open("rb") as file:
        file.seek(volume.offset)
        assert target.read_bytes() == file.read(24 * MIB)
    assert target.stat().st_blocks * 512 < 8 * MIB
    assert pyimount.detect(target).volumes[0].type == "ext4"


def test_the_disk_in_a_container(tmp_path: Path) -> None:
    image = next(fixture for fixture in fixtures() if fixture.name == "ewf").unpack(tmp_path)
    target = tmp_path / "disk.raw"
    assert main(["export", str(image), "disk", "-o", str(target)]) == 0
    scan = pyimount.detect(image)
    facts = scan.disks[0].container
    assert hashlib.md5(target.read_bytes(), usedforsecurity=False).hexdigest() == facts["md5"]


def test_to_standard_output(demo: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pyimount", "export", str(demo), "4"],
        capture_output=True,
        check=True,
        timeout=300,
    )
    assert len(done.stdout) == 8 * MIB
    assert b"SWAPSPACE2" in done.stdout[:4096]
    assert done.stderr == b""


def test_nothing_is_written_over(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"precious")
    assert main(["export", str(demo), "2", "-o", str(target)]) == 1
    assert target.read_bytes() == b"precious"
    assert "is there already" in capsys.readouterr().err
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert main(["export", str(demo), "2", "-o", str(tmp_path / "link")]) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_an_unfinished_file_is_finished(demo: Path, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert main(["export", str(demo), "2", "-o", str(whole)]) == 0
    part.write_bytes(whole.read_bytes()[: 5 * MIB + 77])
    assert main(["export", str(demo), "2", "-o", str(part), "--resume"]) == 0
    assert part.read_bytes() == whole.read_bytes()
    assert main(["export", str(demo), "4", "-o", str(part), "--resume"]) == 1


def test_what_is_not_there_is_said(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(tmp_path / "out")
    assert main(["export", str(demo), "99", "-o", target]) == 1
    assert "no such volume" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "missing"), "0", "-o", target]) == 1
    assert main(["export", str(demo), "2", "-o", str(tmp_path / "no" / "folder")]) == 1
    assert "o such file" in capsys.readouterr().err
    assert main(["export", str(demo), "2", "--resume"]) == 2


def test_bytes_that_cannot_be_read_are_zeros_and_counted(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = FileSource._read
    volume = pyimount.detect(demo)["2"]
    assert volume.offset is not None
    bad = volume.offset + 3 * MIB + 100

    def flaky(self: FileSource, offset: int, length: int) -> bytes:
        if offset <= bad < offset + length:
            raise ReadError("bad sector")
        return whole(self, offset, length)

    good = tmp_path / "good"
    assert main(["export", str(demo), "2", "-o", str(good)]) == 0
    monkeypatch.setattr(FileSource, "_read", flaky)
    hurt = tmp_path / "hurt"
    assert main(["export", str(demo), "2", "-o", str(hurt)]) == 1
    assert "4096 bytes could not be read" in capsys.readouterr().err
    expected = bytearray(good.read_bytes())
    expected[3 * MIB : 3 * MIB + 4096] = bytes(4096)
    assert hurt.read_bytes() == bytes(expected)


def test_a_full_disk_is_told_and_can_be_resumed(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "pyimount", "export", str(demo), "2"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=300,
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_volume_as_a_python_file(demo: Path) -> None:
    scan = pyimount.detect(demo)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pyimount.open_volume(scan, "2") as file:
        file.seek(1080)
        assert file.read(2) == b"\x53\xef"
        file.seek(-1, os.SEEK_END)
        assert len(file.read()) == 1
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    with pytest.raises(KeyError):
        pyimount.open_volume(scan, "99")
