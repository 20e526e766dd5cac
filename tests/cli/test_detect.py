"""The command as a person and a script meet it: output, standard error, exit status."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import pyimount
from fixtures.workshop import fixtures
from pyimount.cli import main

SCHEMA = json.loads((Path(pyimount.__file__).parent / "reports" / "schema.json").read_text())
MIB = 1 << 20


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return next(fixture for fixture in fixtures() if fixture.name == "demo").unpack(tmp_path)


def run(*arguments: str | Path, **keywords: object) -> subprocess.CompletedProcess[str]:
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60, **keywords}
    return subprocess.run([sys.executable, "-m", "pyimount", *map(str, arguments)], check=False, **options)


def shown(capsys: pytest.CaptureFixture[str], arguments: Sequence[str | Path]) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_tree(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = shown(capsys, ["detect", demo])
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"{demo}  64.0 MiB  raw  gpt  ")
    assert lines[1].startswith('├── 1   8.0 MiB  vfat  "ESP"  1BAD-B002  (EFI)')
    assert 'ext4  "root"' in lines[2]
    assert "on /" in lines[2]
    assert len(lines) == 5
    assert "\x1b" not in out


def test_gaps_tables_and_exact_sizes_when_asked(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = shown(capsys, ["detect", "--all", "--bytes", demo])
    assert "unalloc" in out
    assert "meta" in out
    assert f" {24 * MIB} " in out
    assert "iB" not in out


def test_every_fact_when_asked(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = shown(capsys, ["detect", "-v", demo])
    assert "features: " in out
    assert "inode_size: " in out


def test_json_fits_the_schema_and_is_what_python_gives(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = shown(capsys, ["detect", "--json", demo])
    assert (status, err) == (0, "")
    report = json.loads(out)
    jsonschema.validate(report, SCHEMA)
    assert report == pyimount.detect(demo).to_dict()


def test_export_blocks(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = shown(capsys, ["detect", "--export", demo])
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in out.split("\n\n")]
    assert blocks[0]["PTTYPE"] == "gpt"
    root = next(block for block in blocks if block.get("INDEX") == "2")
    assert (root["TYPE"], root["LABEL"], root["PART_ENTRY_NUMBER"]) == ("ext4", "root", "2")
    data = next(block for block in blocks if block.get("INDEX") == "3")
    assert data["LABEL"] == r"Case\ files"


@pytest.mark.parametrize("form", ["--json", "--export", "--all"])
def test_nothing_is_lost_when_one_image_of_several_cannot_be_read(
    form: str, demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = shown(capsys, ["detect", form, tmp_path / "missing.img", demo])
    assert status == 1
    assert "ext4" in out
    assert err == f"pyimount: {tmp_path / 'missing.img'}: no such file or directory\n"
    if form == "--json":
        report = json.loads(out)
        assert report["exit_status"] == 1
        assert [disk["size"] for disk in report["disks"]] == [None, 64 * MIB]


def bad_paths(folder: Path) -> dict[str, Path]:
    (folder / "empty.img").touch()
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    return {
        "missing": folder / "nothing",
        "a directory without images": folder / "folder",
        "empty": folder / "empty.img",
        "a FIFO": folder / "fifo",
        "a device": Path(os.devnull),
        "below a file": folder / "empty.img" / "x",
        "too long": folder / ("x" * 5000),
    }


@pytest.mark.parametrize(
    "kind",
    ["missing", "a directory without images", "empty", "a FIFO", "a device", "below a file", "too long"],
)
def test_what_cannot_be_read_is_one_line_on_standard_error(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bad_paths(tmp_path)[kind]
    for form in ([], ["--json"], ["--export"]):
        status, _, err = shown(capsys, ["detect", *form, path])
        assert status == 1
        assert err.startswith(f"pyimount: {path}")
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["detect"],
        ["detct", "x"],
        ["detect", "--json", "--export", "x"],
        ["detect", "--offset", "1X", "x"],
        ["detect", "--offset", "-1", "x"],
        ["detect", "--fstypes", "ext4", "x"],
        ["detect", "--sector-size", "500", "x"],
        ["completion", "tcsh-ish"],
    ],
)
def test_wrong_arguments_end_with_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "pyimount" in done.stderr
    assert "Traceback" not in done.stderr


def test_strict_tells_what_is_not_plain_and_whole(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(capsys, ["detect", "--strict", demo])[0] == 0
    (tmp_path / "zeros").write_bytes(bytes(MIB))
    assert shown(capsys, ["detect", tmp_path / "zeros"])[0] == 0
    status, out, _ = shown(capsys, ["detect", "--strict", "--json", tmp_path / "zeros"])
    assert status == 3
    assert json.loads(out)["exit_status"] == 3
    with demo.open("r+b") as file:
        file.truncate(40 * MIB)
    assert shown(capsys, ["detect", "--strict", demo])[0] == 3
    assert shown(capsys, ["detect", demo])[0] == 0


def test_names_from_an_image_do_not_reach_the_terminal_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next(fixture for fixture in fixtures() if fixture.name == "ext4").unpack(tmp_path)
    with image.open("r+b") as file:
        file.seek(1024 + 0x78)
        file.write(b"\x1b[31mred\n\xe2\x80\xae".ljust(16, b"\0"))
    for form in ([], ["-v"], ["--export"], ["--color"]):
        _, out, _ = shown(capsys, ["detect", *form, image])
        assert "\x1b[31mred" not in out
        assert "red\n" not in out
        assert "\u202e" not in out
        assert r"\x1b[31mred\n\u202e" in out.replace(r"\\", "\\")


def test_a_file_name_of_any_bytes_is_printed(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\x1b[31m.img"
    with open(name, "wb") as file:  # noqa: PTH123  (a name that is no text)
        file.truncate(MIB)
    for form in ([], ["--json"], ["--export"]):
        done = run("detect", *form, os.fsdecode(name), text=False)
        assert done.returncode == 0
        assert b"Traceback" not in done.stderr  # type: ignore[operator]
        assert b"\x1b" not in done.stdout  # type: ignore[operator]


@pytest.mark.parametrize(("variables", "options", "coloured"), [
    ({}, [], False), ({}, ["--color"], True), ({"NO_COLOR": "1"}, [], False), ({}, ["--no-color"], False),
])  # fmt: skip
def test_colour_only_where_it_is_wanted(
    demo: Path, variables: dict[str, str], options: list[str], coloured: bool
) -> None:
    done = run("detect", *options, demo, env={**os.environ, "TERM": "xterm-256color", **variables})
    assert ("\x1b[" in done.stdout) == coloured


def test_on_a_terminal_there_is_colour_unless_refused(demo: Path) -> None:
    for options, coloured in (([], True), (["--no-color"], False)):
        out = in_terminal(["detect", *options, str(demo)])
        assert ("\x1b[" in out) == coloured


def in_terminal(arguments: list[str]) -> str:
    """What the command prints on a terminal."""
    code = f"import sys; from pyimount.cli import main; sys.exit(main({arguments!r}))"
    command = f"{sys.executable} -c {json.dumps(code)}"
    variables = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    variables |= {"TERM": "xterm-256color", "COLUMNS": "100"}
    line = ["script", "-qec", command, "/dev/null"]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=300, env=variables).stdout


def test_a_reader_that_has_seen_enough_is_no_error(demo: Path) -> None:
    command = f"{sys.executable} -m pyimount detect -v {demo} {demo} | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_a_full_disk_is_an_error_and_no_traceback(demo: Path) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        for form in ([], ["--json"]):
            done = run("detect", *form, demo, capture_output=False, stdout=full, stderr=subprocess.PIPE)
            assert done.returncode == 1
            assert "cannot write the report: No space left on device" in done.stderr
            assert "Traceback" not in done.stderr


def test_an_interrupt_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pyimount.scanning.detect", interrupted)
    assert main(["detect", "x"]) == 128 + signal.SIGINT
    assert capsys.readouterr().err == "pyimount: stopped\n"


def test_help_explains_itself_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("detect", "formats", "completion"):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert "examples:" in capsys.readouterr().out


def test_without_standard_output_there_is_no_traceback(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert main(["detect", str(demo)]) == 0
