"""What a person sees of the command line: help, errors, refused hints, closed streams."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import fixtures
from pyimount import cli
from pyimount.cli import main, words

COMMANDS = tuple(cli._COMMANDS)


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return next(fixture for fixture in fixtures() if fixture.name == "demo").unpack(tmp_path)


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int | str | None, str, str]:
    try:
        status: int | str | None = main([str(each) for each in arguments])
    except SystemExit as ended:
        status = ended.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_words_are_those_of_the_parsers() -> None:
    assert {"dos", "gpt", "none"} < words.TABLES
    assert {"ext4", "BitLocker", "luks"} < words.VOLUMES
    assert {"ntfs3", "ntfs-3g"} < words.DRIVERS
    sources = "".join(path.read_text() for path in Path(pyimount.__file__).parent.glob("parsers/*/*.py"))
    assert set(re.findall(r'\bfstype="([^"]+)"', sources)) <= words.FSTYPES | words.VOLUMES


def test_an_image_alone_is_detect(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, demo) == shown(capsys, "detect", demo)
    assert shown(capsys, "--json", demo) == shown(capsys, "detect", "--json", demo)
    assert shown(capsys, "nothing.img")[0] == 1


@pytest.mark.parametrize("arguments", [["detcet", "x"], ["help", "detcet"]])
def test_a_slip_gets_a_suggestion(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = shown(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("pyimount: detcet: ")
    assert "'detect'" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("columns", [80, 120])
def test_help_is_broken_between_words(
    command: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    status, out, _ = shown(capsys, "help", *([command] if command else []))
    assert status == 0
    assert max(map(len, out.splitlines())) <= columns
    assert re.search("[a-z]_[a-z]", out) is None
    assert shown(capsys, *([command] if command else []), "--help")[1] == out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["detect", "--vstype", "foo", "x"], "no type of partition table"),
        (["detect", "--vstype", "gtp", "x"], "did you mean gpt"),
        (["detect", "--fstypes", "1=etx4", "x"], "did you mean"),
        (["detect", "--fstypes", "ext4", "x"], "not INDEX=TYPE"),
        (["detect", "--allow", "/nosuch", "x"], "no such folder"),
        (["detect", "--max-seconds", "nan", "x"], "no time"),
        (["detect", "--max-read", "lots", "x"], "no number of bytes"),
        (["detect", "--size", "0", "x"], "at least one byte"),
        (["detect", "--align", "0", "x"], "at least one byte"),
        (["detect", "--pim", "-1", "x"], "no whole number"),
        (["detect", "--try-veracrypt", "x"], "goes with a key"),
        (["detect", "--veracrypt-key-file", "y", "x"], "goes with a key"),
        (["detect", "--key-file", "/nosuch", "x"], "/nosuch"),
        (["detect", "-"], "standard input"),
        (["export", "-", "1"], "standard input"),
        (["mount", "s3://bucket/disk.img"], "URL"),
        (["mount", "--allow-fs", "foo", "x"], "no driver"),
    ],
)
def test_what_cannot_be_right_is_refused_in_a_line(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PYIMOUNT_KEY", raising=False)
    status, out, err = shown(capsys, *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_an_offset_behind_the_end_is_refused(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["detect", demo], ["export", demo, "0"], ["mount", "--dry-run", demo]):
        status, out, err = shown(
            capsys, *command, "--offset", "1G", *(["-o", "-"] if "export" in command else [])
        )
        assert (status, out) == (2, "")
        assert "behind the end" in err


def test_a_hint_for_no_volume_is_a_problem(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (
        "--fstypes",
        "99=ext4",
        "--fstypes",
        "2=ext4",
        "--keys",
        "7.0=p:secret",
        "--keys",
        "3=p:secret",
    )
    status, out, err = shown(capsys, "detect", demo, *arguments)
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("not-as-told: ")] == [
        "not-as-told: told to read 99 as ext4, and there is no volume 99",
        "not-as-told: a key was given for volume 3, which is not known to be encrypted",
        "not-as-told: a key was given for volume 7.0, and there is none",
    ]
    assert "secret" not in out + err
    assert shown(capsys, "detect", "--strict", demo, *arguments)[0] == 3


def test_a_file_of_keys_may_have_those_of_other_images(demo: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("0815-4711 p:one\n7=p:two\n")
    keyring = pyimount.Keyring()
    keyring.add_file(keys)
    assert pyimount.detect(demo, keys=keyring).problems == ()
    again = pyimount.Keyring.revealed(keyring.reveal())
    assert again.expected == frozenset()
    keyring.add_text("8=p:three")
    assert pyimount.Keyring.revealed(keyring.reveal()).expected == {"8"}


def test_export_to_standard_output_by_name(demo: Path) -> None:
    command = [sys.executable, "-m", "pyimount", "export", str(demo), "4", "-o", "-"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=300)
    assert done.stdout == demo.read_bytes()[51380224 : 51380224 + (8 << 20)]


def test_complain_lets_nothing_through(capsys: pytest.CaptureFixture[str]) -> None:
    cli.complain("\x1b]0;owned\x07\n\u202e")
    assert capsys.readouterr().err == "pyimount: \\x1b]0;owned\\x07\\n\\u202e\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("command", ["detect --json {}", "{}", "formats", "help", "completion bash"])
def test_a_closed_stream_is_one_true_line(command: str, closed: str, demo: Path) -> None:
    line = f"{sys.executable} -m pyimount {command.format(demo)} {closed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0
    lost = "pyimount: standard output is closed: what would stand there is lost\n"
    assert done.stderr == (lost if closed == ">&-" else "")


def test_a_folder_that_is_gone_is_said(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    code = (
        "import os; os.rmdir(os.getcwd()); from pyimount.cli import main; "
        f"print(main(['detect', {str(demo)!r}])); main(['detect', 'x.img'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(pyimount.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "gone", env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout.endswith("0\n")
    assert done.stderr.startswith("pyimount: x.img: the folder in which this was started is gone")
    assert done.stderr.count("\n") == 1


def test_an_interrupt_during_the_import_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pyimount.__main__ import main as command

    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    assert command() == 130
    assert capsys.readouterr().err == "pyimount: stopped\n"


@pytest.mark.skipif(shutil.which("script") is None, reason="script is not installed")
def test_errors_are_broken_between_words_on_a_terminal() -> None:
    command = f"{sys.executable} -m pyimount detect --fstypes 1=etx4 {'x' * 30} --vstype none"
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(
        ["script", "-qc", command, "/dev/null"],
        env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 80


def test_a_folder_says_what_was_passed_over(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "evidence"
    folder.mkdir()
    demo.rename(folder / "seized 042")
    (folder / "notes.txt").write_text("hello")
    (folder / "photo").write_bytes(b"\xff\xd8\xff" * 512)
    status, out, err = shown(capsys, "detect", folder)
    assert status == 0
    assert out.splitlines()[0].startswith(f"{folder}/seized 042  64.0 MiB  raw  gpt")
    assert err == "pyimount: passed over 2 files that are no disk image by name or content; -v names them\n"
    _, _, err = shown(capsys, "detect", "-v", folder)
    assert [line.split(": ")[1] for line in err.splitlines()] == [f"{folder}/notes.txt", f"{folder}/photo"]


def test_every_field_is_shown_when_asked(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = shown(capsys, "detect", "-v", demo)
    for volume in pyimount.detect(demo).volumes:
        for name in volume.fields:
            value = getattr(volume, name)
            if volume.flag == "alloc" and isinstance(value, str | int) and not isinstance(value, bool):
                assert f"─ {name}: {value}\n" in out


@pytest.mark.parametrize("option", ["-a", "-b", "-v"])
def test_starts_are_shown_with_what_is_exact(
    option: str, demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "at 34603008" not in shown(capsys, "detect", demo)[1].replace("at  ", "at ")
    assert re.search(r"3 +at 34603008  ", shown(capsys, "detect", option, demo)[1])


def test_nothing_is_free_in_what_is_read_only_is_not_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next(fixture for fixture in fixtures() if fixture.name == "squashfs").unpack(tmp_path)
    assert pyimount.detect(image)["0"].free == 0
    assert " free" not in shown(capsys, "detect", image)[1]
