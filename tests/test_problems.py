"""One cause is one problem, with a count and the places, in Python, in JSON and on the screen."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import fixtures
from pyimount.cli import main
from pyimount.problems import Code, Problem, Range, together, told

needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


def unread(message: str, *places: tuple[int, int]) -> Problem:
    return Problem(Code.READ_ERROR, message, ranges=tuple(Range(*place) for place in places))


def test_what_differs_in_places_alone_is_one() -> None:
    (one,) = told(
        unread(f"byte {at} of the disk cannot be read", (at, 4096)) for at in (8192, 4096, 0, 65536, 1 << 20)
    )
    assert (one.code, one.count) == (Code.READ_ERROR, 3)
    assert one.ranges == (Range(0, 12288), Range(65536, 4096), Range(1 << 20, 4096))
    assert one.message == (
        "byte 8192 of the disk cannot be read (bytes 0 to 12288, 65536 to 69632, 1048576 to 1052672)"
    )


def test_what_differs_in_anything_else_stays_apart() -> None:
    problems = (
        Problem(Code.MISSING_MEMBER, "member 1 of the array is missing"),
        Problem(Code.MISSING_MEMBER, "member 2 of the array is missing"),
        Problem(Code.OVERLAP, "partitions 1 and 2 overlap from byte 512 on"),
        Problem(Code.OVERLAP, "partitions 2 and 3 overlap from byte 512 on"),
        unread("physical volume pv1 is missing", (0, 1)),
        unread("physical volume pv2 is missing", (0, 1)),
    )
    assert together(problems) == problems


def test_without_places_the_first_and_the_last_are_told() -> None:
    (one,) = told(Problem(Code.BAD_CHECKSUM, f"its section at byte {at} is wrong") for at in (1, 2, 3))
    assert one.count == 3
    assert (
        one.message
        == "its section at byte 1 is wrong; the last: its section at byte 3 is wrong (3 of this kind)"
    )


def test_a_report_lists_only_so_many_ranges_and_counts_all() -> None:
    (one,) = told(unread("gone", (at * 10, 1)) for at in range(500))
    assert one.count == 500
    assert len(one.ranges) == 64
    assert one.message.endswith("and 497 more places)")


@pytest.fixture
def child(tmp_path: Path) -> Path:
    """An image whose backing file is gone."""
    base, path = tmp_path / "base.raw", tmp_path / "child.qcow2"
    base.write_bytes(bytes(16 << 20))
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", "raw", str(path)]
    subprocess.run(command, check=True, cwd=tmp_path)
    base.unlink()
    return path


@needs_qemu
def test_a_missing_backing_file_is_one_line(child: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = pyimount.detect(child)
    assert [problem.code for problem in scan.disks[0].problems] == [Code.MISSING_BACKING_FILE]
    (unread,) = scan["0"].problems
    assert (unread.code, unread.explained) == (Code.READ_ERROR, True)
    assert unread.count > 1
    assert unread.ranges[0] == Range(0, 36864)
    assert scan.exit_status(strict=True) == 3
    assert pyimount.Scan.from_dict(json.loads(json.dumps(scan.to_dict()))) == scan
    assert main(["detect", str(child)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "missing-backing-file" in lines[1]
    assert lines[2].endswith("not readable")
    main(["detect", "-v", str(child)])
    assert "read-error: " in capsys.readouterr().out


def test_a_cut_disk_says_so_once_and_the_rest_is_read(tmp_path: Path) -> None:
    whole = next(fixture for fixture in fixtures() if fixture.name == "ewf").unpack(tmp_path)
    cut = tmp_path / "cut.E01"
    cut.write_bytes(whole.read_bytes()[:-2000])
    scan = pyimount.detect(cut)
    for layer in (*scan.disks, *scan.volumes):
        assert len({(each.code, each.message) for each in layer.problems}) == len(layer.problems)
        assert [each.code for each in layer.problems].count(Code.READ_ERROR) <= 1
    assert [each.code for each in scan.disks[0].problems].count(Code.TRUNCATED) == 1
