"""A reader that was taken over by what it reads: its answers are refused, or believed as far as names go."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pyimount
from pyimount.cli import main
from pyimount.files import confined
from pyimount.files.records import Kind, Stat
from pyimount.files.system import Entry, FileSystem
from pyimount.files.wire import stat_values
from tests.kept import kept

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere readers work in this process")
READER = Path(__file__).with_name("hostile_reader.py")

STAT = stat_values(Stat(kind=Kind.FOLDER))
JUNK: list[Any] = [
    None, True, 0, -1, 1 << 200, 1.5, "", "\ud800", [], [[]], [None], {}, {"": {}}, [1, 2, 3], "x" * 5000,
    [["a", None, None, None]], [["a", None, None, ["x"]]], [["a", {}, {}, {}]], [[[], [], [], []]],
]  # fmt: skip

ASKED: dict[str, Callable[[FileSystem, Entry], object]] = {
    "find": lambda files, _: files.get("/etc/hostname").stat(),
    "list": lambda _, top: list(top.entries()),
    "size": lambda _, top: top.length(),
    "read": lambda _, top: b"".join(part for part, _ in zip(top.pieces(), range(3), strict=False)),
    "target": lambda _, top: top.target(),
    "streams": lambda _, top: top.streams(),
    "runs": lambda _, top: top.runs(),
}
KEYS = {
    "find": ("name", "key", "stat", "error", "message"),
    "list": ("entries", "more", "problems"),
    "size": ("size",),
    "read": ("error",),
    "target": ("target",),
    "streams": ("streams",),
    "runs": ("runs",),
}


def said(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> None:
    """Let every reader that is started from now on be one that says this."""
    line = (sys.executable, str(READER), json.dumps(answers))
    monkeypatch.setattr(confined, "command", lambda _module, *_arguments: line)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "disk.img"
    path.write_bytes(kept("ext2"))
    return path


@pytest.mark.parametrize("question", ASKED)
def test_nothing_but_errors_of_files_comes_of_it(
    question: str, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = pyimount.detect(image)
    sound = {"name": "x", "key": 1, "stat": STAT}
    answers = [
        {**(sound if question == "find" else {}), key: junk} for key in KEYS[question] for junk in JUNK
    ]
    said(monkeypatch, {"find": [sound], question: [sound, *answers] if question == "find" else answers})
    refused = 0
    with pyimount.open_filesystem(scan, "0") as files:
        top = files.root if question == "find" else Entry(files, (), None, None, None)
        for _ in answers:
            try:
                ASKED[question](files, top)
            except OSError:  # Damaged, or there is no such file: what a caller expects
                refused += 1
    assert refused or question in ("read", "list")  # these have problems, where not errors


@pytest.mark.parametrize("junk", [None, 5, "text", [], ["a"]], ids=str)
def test_an_answer_that_is_none_ends_the_reader(
    junk: object, image: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said(monkeypatch, {"all": [junk]})
    for command in (["ls", str(image), "0:/"], ["cat", str(image), "0:/x"], ["find", str(image)]):
        assert main(command) == 1
    assert "Traceback" not in capfd.readouterr().err
