"""``pyimount detect`` for many images: lines as they are done, every image once, however often it stops."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import pyimount
from pyimount.cli import main
from tests.kept import kept
from tests.mapping.md_members import CHUNK, content, members

TOP = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "pyimount", "detect")


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """A folder with images, one of two segments, a file that is none, and more in a folder below."""
    folder = tmp_path / "evidence"
    (folder / "below").mkdir(parents=True)
    (folder / "a.img").write_bytes(kept("ext2"))
    (folder / "notes.txt").write_bytes(b"nothing of the kind")
    whole = bytes(kept("fat12"))
    (folder / "below" / "disk.001").write_bytes(whole[: len(whole) // 2])
    (folder / "below" / "disk.002").write_bytes(whole[len(whole) // 2 :])
    return folder


def lines(text: str) -> dict[str, dict[str, Any]]:
    told = [json.loads(line) for line in text.splitlines()]
    assert len({each["path"] for each in told}) == len(told), "an image stands there twice"
    return {Path(each["path"]).name: each for each in told}


def test_a_line_for_each_image(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", "--jsonl", "--recursive", str(evidence)]) == 0
    out, err = capsys.readouterr()
    told = lines(out)
    assert set(told) == {"a.img", "disk.001"}
    whole = told["disk.001"]
    assert whole["size"] == sum(path.stat().st_size for path in (evidence / "below").iterdir())
    assert whole["report"] == pyimount.detect(evidence / "below").to_dict()
    assert whole["failure"] is None
    assert err == "pyimount: 1 files passed over that are no disk images\n"
    main(["detect", "--jsonl", "--recursive", "-v", str(evidence)])
    assert "notes.txt: passed over" in capsys.readouterr().err


def test_names_from_a_file(evidence: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "names"
    odd = evidence / os.fsdecode(b"line\nbreak\xff.img")
    odd.write_bytes(kept("ext2"))
    names.write_bytes(b"\0".join(os.fsencode(path) for path in (evidence / "a.img", odd)))
    assert main(["detect", "--jsonl", "--files0-from", str(names)]) == 0
    assert set(lines(capsys.readouterr().out)) == {"a.img", odd.name}
    assert main(["detect", "--jsonl", "--files0-from", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"pyimount: {tmp_path}/none: No such file or directory\n"


def test_what_is_ready_does_not_wait_for_the_next_name(evidence: Path) -> None:
    with subprocess.Popen(
        (*PROGRAM, "--jsonl", "--files0-from", "-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=TOP
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(os.fsencode(evidence / "a.img") + b"\0")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["exit_status"] == 0
        process.stdin.close()
        assert process.wait() == 0


def test_resuming_scans_what_is_left(
    evidence: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "reports.jsonl"
    arguments = ["detect", "--jsonl", "--recursive", "--resume", str(file), str(evidence)]
    assert main(arguments) == 0
    whole = file.read_text()
    assert capfd.readouterr().out == ""
    # The last line was not finished when the machine went away.
    file.write_text(whole[:-10])
    assert main(arguments) == 0
    assert lines(file.read_text()) == lines(whole)
    assert "1 were done before" in capfd.readouterr().err
    assert main(arguments) == 0
    assert file.read_text().count("\n") == 2
    # What was changed since is another image.
    os.utime(evidence / "a.img", ns=(0, 0))
    assert main(arguments) == 0
    assert [json.loads(line)["mtime"] for line in file.read_text().splitlines()][-1] == 0


def test_lines_of_other_options_are_not_gone_on_with(
    evidence: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "reports.jsonl"
    arguments = ["detect", "--jsonl", "--resume", str(file), str(evidence / "a.img")]
    assert main(arguments) == 0
    before = file.read_bytes()
    capsys.readouterr()
    assert main([*arguments, "--free"]) == 2
    assert "other options" in capsys.readouterr().err
    assert main([*arguments, "--free", "--resume-any"]) == 0
    assert file.read_bytes() == before
    file.write_text(file.read_text().replace(pyimount.__version__, "0.0.1", 1))
    assert main(arguments) == 2
    assert "version 0.0.1" in capsys.readouterr().err
    file.write_text("my diary\n")
    assert main(arguments) == 2
    assert "line 1: is not a line" in capsys.readouterr().err
    assert file.read_text() == "my diary\n"


def test_what_could_not_be_read_is_tried_again_when_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, image = tmp_path / "reports.jsonl", tmp_path / "x.img"
    arguments = ["detect", "--jsonl", "--resume", str(file), str(image)]
    assert main(arguments) == 1
    assert "no such file" in capsys.readouterr().err
    assert main(arguments) == 0
    assert main([*arguments, "--retry-failed"]) == 1
    image.write_bytes(kept("ext2"))
    assert main(arguments) == 0
    assert [json.loads(line)["exit_status"] for line in file.read_text().splitlines()] == [1, 1, 0]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_every_image_exactly_once_however_it_is_stopped(how: signal.Signals, tmp_path: Path) -> None:
    """Stopped in the middle again and again, until it comes to its end."""
    folder, file = tmp_path / "many", tmp_path / "reports.jsonl"
    folder.mkdir()
    (folder / "0.img").write_bytes(kept("ext2"))
    for number in range(1, 300):
        (folder / f"{number}.img").hardlink_to(folder / "0.img")
    command = (*PROGRAM, "--jsonl", "--resume", str(file), "--jobs", "2", str(folder))
    stopped = 0
    for wanted in (50, 120, 200):
        with subprocess.Popen(command, cwd=TOP, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < wanted):
                time.sleep(0.005)
            process.send_signal(how)
            stopped += process.wait() != 0
    assert stopped
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True)
    assert "were done before" in done.stderr
    told = lines(file.read_text())
    assert len(told) == 300
    assert {each["exit_status"] for each in told.values()} == {0}


def test_two_runs_do_not_write_to_one_file(evidence: Path, tmp_path: Path) -> None:
    from fcntl import LOCK_EX, flock

    file = tmp_path / "reports.jsonl"
    with file.open("wb") as other:
        flock(other, LOCK_EX)
        command = (*PROGRAM, "--jsonl", "--resume", str(file), str(evidence / "a.img"))
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"pyimount: {file}: another run is writing to it\n")


def test_images_of_one_call_belong_together_only_in_a_group(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disks = tmp_path / "disks"
    disks.mkdir()
    whole = content(128 * CHUNK)
    for number, data in enumerate(members([whole] * 2, level=1, layout=0, chunksize=0)):
        (disks / f"sd{number}.img").write_bytes(data)
    assert main(["detect", "--jsonl", "--group", str(disks), str(disks)]) == 0
    (group,) = lines(capsys.readouterr().out).values()
    assert group["report"] == pyimount.detect(disks).to_dict()
    main(["detect", "--each", "--json", *map(str, sorted(disks.iterdir()))])
    for each in filter(None, capsys.readouterr().out.splitlines()):
        assert len(json.loads(each)["disks"]) == 1


def test_a_table_for_spreadsheets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "label.img"
    data = kept("ext2")
    data[1144:1160] = b"=cmd|' /C calc'!"  # the label, by which a spreadsheet would run a program
    image.write_bytes(data)
    assert main(["detect", "--csv", str(image)]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    (volume,) = pyimount.detect(image).volumes
    assert row["label"] == "'=cmd|' /C calc'!"
    assert (row["type"], row["size"], row["uuid"]) == ("ext2", str(volume.size), volume.uuid)
    # One line of heads for all images; a disk that could not be read has a row, too.
    assert main(["detect", "--csv", "--each", "--jobs", "1", str(image), str(tmp_path / "none.img")]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [each["type"] for each in rows] == ["ext2", ""]
    assert rows[1]["problems"].startswith("unreadable: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resume", "x", "a.img"], "--resume goes with --jsonl"),
        (["--jsonl", "--retry-failed", "a.img"], "go with --resume"),
        (["--jsonl"], "which images?"),
        ([], "which image?"),
        (["--jobs", "0", "a.img"], "at least one"),
    ],
)
def test_options_that_cannot_be(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["detect", *arguments])
    except SystemExit as ended:
        status = int(ended.code or 0)
    err = capsys.readouterr().err
    assert (status, err.count("\n")) == (2, 1)
    assert said in err


def test_strict_is_for_each_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "whole.img").write_bytes(kept("ext2"))
    (tmp_path / "blank.img").write_bytes(bytes(1 << 20))
    assert main(["detect", "--jsonl", "--strict", str(tmp_path)]) == 3
    told = lines(capsys.readouterr().out)
    assert {name: each["exit_status"] for name, each in told.items()} == {"whole.img": 0, "blank.img": 3}


def test_an_empty_call_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", "--jsonl", "--recursive", str(tmp_path)]) == 1
    assert "no image" in capsys.readouterr().err
