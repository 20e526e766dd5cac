"""``pyimount export``: the bytes of a layer, to a file or on."""

import hashlib
import json
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
from tests.verifying.images import CHANGES, Place, changed, unpacked

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


def test_what_is_left_of_another_file_does_not_shine_through(demo: Path, tmp_path: Path) -> None:
    """A piece of zeros is a hole, but where a part of it is there already: that is not believed."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert main(["export", str(demo), "2", "-o", str(whole)]) == 0
    data = whole.read_bytes()
    empty = next(at for at in range(MIB, len(data), MIB) if not any(data[at : at + MIB]))
    for more in ([], ["--hash", "md5"]):
        part.write_bytes(data[:empty] + b"x" * 1000)
        assert main(["export", *more, str(demo), "2", "-o", str(part), "--resume"]) == 0
        assert part.read_bytes() == data


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


# -- verified while it is written --------------------------------------------------------------------------


def exported(
    capsys: pytest.CaptureFixture[str], image: Path, index: str, target: Path, *more: str
) -> tuple[int, str]:
    capsys.readouterr()
    status = main(["export", "--verify", *more, str(image), index, "-o", str(target)])
    return status, capsys.readouterr().out


def test_a_disk_is_verified_while_it_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, target, plain = unpacked("ewf", tmp_path / "in"), tmp_path / "disk.raw", tmp_path / "plain.raw"
    assert main(["export", str(image), "disk", "-o", str(plain)]) == 0
    status, said = exported(capsys, image, "disk", target, "--hash", "sha256", "--hash", "md5")
    assert status == 0
    assert "MD5 of the disk: db7a0af33d835ea7ca1681b99410130b matches" in said
    assert "MD5 of what was written: db7a0af33d835ea7ca1681b99410130b" in said
    assert f"SHA-256 of what was written: {hashlib.sha256(target.read_bytes()).hexdigest()}" in said
    assert target.read_bytes() == plain.read_bytes()


def test_it_is_read_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = unpacked("ewf2", tmp_path / "in")
    count: list[int] = []
    true = FileSource._read
    monkeypatch.setattr(
        FileSource, "_read", lambda self, at, size: (count.append(size), true(self, at, size))[1]
    )
    assert main(["verify", str(image)]) == 0
    verifying = sum(count)
    count.clear()
    assert main(["detect", str(image)]) == 0
    looking = sum(count)
    count.clear()
    assert exported(capsys, image, "disk", tmp_path / "out.raw")[0] == 0
    assert sum(count) <= verifying + looking + (256 << 10)  # what opening it once more reads


@pytest.mark.parametrize(
    ("name", "what", "place"), CHANGES, ids=[f"{name}: {what}" for name, what, _ in CHANGES]
)
def test_what_verify_finds_is_found_and_the_same_is_written(
    name: str, what: str, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One changed byte: the status of ``verify``, and the file that ``export`` alone would write."""
    image = unpacked(name, tmp_path / "in")
    data = image.read_bytes()
    image.write_bytes(changed(data, place(data)))
    if not any(disk.size for disk in pyimount.detect(image).disks):
        assert main(["export", "--verify", str(image), "disk", "-o", str(tmp_path / "out")]) == 1
        return
    plain = main(["export", str(image), "disk", "-o", str(tmp_path / "plain")])
    status, said = exported(capsys, image, "disk", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "plain").read_bytes()
    assert plain in (0, 1)
    assert status == 6, what
    assert "DOES NOT MATCH" in said


def test_a_partition_is_written_in_the_same_pass(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, out = tmp_path / "plain", tmp_path / "out"
    assert main(["export", str(demo), "3", "-o", str(plain)]) == 0
    status, said = exported(capsys, demo, "3", out, "--hash", "sha1")
    assert status == 7
    assert "nothing stored to compare" in said
    assert hashlib.sha1(plain.read_bytes(), usedforsecurity=False).hexdigest() in said
    assert out.read_bytes() == plain.read_bytes()


def test_what_is_no_run_of_the_disk_is_written_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    unpacked("lvm2-group", folder)
    disks = [str(path) for path in sorted(folder.glob("*.img"))]
    plain, out = tmp_path / "plain", tmp_path / "out"
    assert main(["export", *disks, "1.0.2", "-o", str(plain)]) == 0
    assert main(["export", "--verify", *disks, "1.0.2", "-o", str(out)]) == 7
    assert out.read_bytes() == plain.read_bytes()
    said = capsys.readouterr().out
    assert said.count("nothing stored to compare") == 3  # stripes lie on three of the five disks


def test_with_a_hash_what_is_there_is_compared_not_believed(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert main(["export", str(demo), "2", "-o", str(whole)]) == 0
    data = whole.read_bytes()
    part.write_bytes(data[: 5 * MIB + 77])
    assert main(["export", "--hash", "sha256", str(demo), "2", "-o", str(part), "--resume"]) == 0
    assert part.read_bytes() == data
    assert hashlib.sha256(data).hexdigest() in capsys.readouterr().out
    torn = bytearray(data[: 5 * MIB])
    torn[3 * MIB] ^= 1
    part.write_bytes(torn)
    for more in (["--hash", "sha256"], ["--verify"]):
        assert main(["export", *more, str(demo), "2", "-o", str(part), "--resume"]) == 1
        assert "holds other bytes between" in capsys.readouterr().err


def test_the_findings_are_not_among_the_bytes(tmp_path: Path) -> None:
    image = unpacked("ewf", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pyimount", "export", "--verify", "--hash", "md5", str(image), "disk"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert hashlib.md5(done.stdout, usedforsecurity=False).hexdigest() == "db7a0af33d835ea7ca1681b99410130b"
    assert b"MD5 of what was written: db7a0af33d835ea7ca1681b99410130b" in done.stderr


def test_the_log_has_what_was_compared_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out, log = unpacked("ewf", tmp_path), tmp_path / "out.raw", tmp_path / "case.log"
    assert exported(capsys, image, "disk", out, "--hash", "sha256", "--log", str(log))[0] == 0
    (line,) = map(json.loads, log.read_text().splitlines())
    assert line["hashes"][0]["status"] == "matches"
    assert line["hashes"][0]["stored"]["md5"] == "db7a0af33d835ea7ca1681b99410130b"
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    size = out.stat().st_size
    assert line["written"] == {"path": str(out), "size": size, "hashes": {"sha256": digest}, "unread": 0}
