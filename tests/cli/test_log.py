"""``--log``: a line for each command, whatever became of it, and never a key in it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fixtures.workshop import fixtures
from pyimount.cli import main

SECRET = "correct horse battery staple"  # noqa: S105
RECOVERY = "000011-000022-000033-000044-000055-000066-000077-000088"


@pytest.fixture
def ewf(tmp_path: Path) -> Path:
    return next(fixture for fixture in fixtures() if fixture.name == "ewf-segments").unpack(tmp_path)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "case.log"


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_each_command_adds_a_line(ewf: Path, log: Path, tmp_path: Path) -> None:
    assert main(["detect", "--json", "--log", str(log), str(ewf)]) == 0
    assert main(["verify", "--json", "--log", str(log), str(ewf)]) == 0
    assert main(["export", "--log", str(log), str(ewf), "disk", "-o", str(tmp_path / "disk.raw")]) == 0
    detect, verify, export = lines(log)
    for line, command in ((detect, "detect"), (verify, "verify"), (export, "export")):
        assert (line["command"], line["exit_status"], line["result"]) == (command, 0, "ended")
        assert line["begun"] <= line["ended"]
        assert line["problems"]["count"] == 0
        assert [Path(image["path"]).name for image in line["images"]] == [f"stick.E0{n}" for n in range(1, 5)]
        first = ewf.stat()
        assert (line["images"][0]["size"], line["images"][0]["inode"]) == (first.st_size, first.st_ino)
    [hashed] = verify["hashes"]
    assert hashed["status"] == "matches"
    assert hashed["stored"] == hashed["computed"]
    assert len(hashed["computed"]["md5"]) == 32


@pytest.mark.parametrize(
    "given",
    [
        ["--key", f"p:{SECRET}"],
        [f"--key=p:{SECRET}"],
        ["--keys", f"1=p:{SECRET}"],
        [f"--keys=1=p:{SECRET}"],
        ["--key", f"r:{RECOVERY}"],
        ["--key", f"p:{SECRET}", "--pim", "4711"],
        ["--key", f"p:{SECRET}", "--pi=4711"],
        ["--key", "p:no"],
    ],
    ids=str,
)
def test_no_key_stands_in_it(given: list[str], ewf: Path, log: Path) -> None:
    assert main(["detect", "--json", "--log", str(log), *given, str(ewf)]) == 0
    written = log.read_text()
    for secret in (SECRET, RECOVERY, "4711", "p:no"):
        assert secret not in written
    [line] = lines(log)
    assert "(not kept)" in "".join(line["arguments"])
    assert line["arguments"][-1] == str(ewf)


def test_a_key_from_the_environment_does_not_either(
    ewf: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYIMOUNT_KEY", f"p:{SECRET}")
    assert main(["detect", "--json", "--log", str(log), str(ewf)]) == 0
    assert SECRET not in log.read_text()


def test_a_command_that_fails_is_in_it(log: Path, tmp_path: Path) -> None:
    assert main(["detect", "--json", "--log", str(log), str(tmp_path / "none.E01")]) == 1
    assert main(["export", "--log", str(log), str(tmp_path / "none.E01"), "1"]) == 1
    detect, export = lines(log)
    assert (detect["exit_status"], export["exit_status"]) == (1, 1)
    assert detect["problems"] == {"count": 1, "codes": {"unreadable": 1}}
    assert "error" in detect["images"][0]


def test_what_does_not_match_is_in_it(ewf: Path, log: Path) -> None:
    data = bytearray(ewf.read_bytes())
    data[len(data) // 2] ^= 1
    ewf.write_bytes(data)
    assert main(["verify", "--json", "--log", str(log), str(ewf)]) == 6
    [line] = lines(log)
    assert line["exit_status"] == 6
    assert line["problems"]["codes"]["read-error"] == 1
    assert line["hashes"][0]["status"] == "differs"
    assert line["hashes"][0]["computed"]["md5"] is None


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM], ids=lambda name: name.name)
@pytest.mark.parametrize("command", ["verify", "export"])
def test_an_interrupted_command_is_in_it(
    name: signal.Signals, command: str, log: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(1 << 40)
    more = ["0", "-o", tmp_path / "out.raw"] if command == "export" else []
    process = subprocess.Popen(
        [sys.executable, "-m", "pyimount", command, "--log", log, disk, *more], stderr=subprocess.PIPE
    )
    while process.poll() is None:
        io = Path(f"/proc/{process.pid}/io").read_text()
        if int(io.split("rchar:")[1].split()[0]) > 64 << 20:
            break
        time.sleep(0.05)
    process.send_signal(name)
    _, err = process.communicate()
    assert process.returncode == (130 if name == signal.SIGINT else 128 + name)
    assert b"Traceback" not in err
    [line] = lines(log)
    assert (line["exit_status"], line["result"]) == (process.returncode, "interrupted")


def test_a_log_that_cannot_be_written_is_said_first(
    ewf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ewf.read_bytes()
    for log, why in (
        (tmp_path / "none" / "case.log", "cannot be written"),
        (tmp_path, "cannot be written"),
        (ewf, "is no log"),
    ):
        target = tmp_path / "out.raw"
        assert main(["export", "--log", str(log), str(ewf), "disk", "-o", str(target)]) == 2
        assert why in capsys.readouterr().err
        assert not target.exists()
    assert ewf.read_bytes() == before


def test_an_empty_image_is_not_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "empty.raw"
    image.write_bytes(b"")
    assert main(["detect", "--log", str(image), str(image)]) == 2
    assert "is one of the images" in capsys.readouterr().err
    assert image.read_bytes() == b""


def test_files_that_were_copied(log: Path, tmp_path: Path) -> None:
    pytest.importorskip("dissect.extfs")
    demo = next(fixture for fixture in fixtures() if fixture.name == "demo").unpack(tmp_path)
    out = tmp_path / "out"
    assert main(["cp", "-r", "--log", str(log), str(demo), "2:/", str(out)]) == 0
    [line] = lines(log)
    assert (line["command"], line["exit_status"]) == ("cp", 0)
    assert line["images"][0]["path"] == str(demo)
