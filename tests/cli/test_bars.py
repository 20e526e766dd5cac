"""What ``pyimount check`` says of the prison: each bar that is missing is called missing, and none else."""

import json
import os
from typing import Any

import pytest

from pyimount import cli
from pyimount.cli import bars
from pyimount.confinement import landlock, seccomp
from pyimount.confinement.namespaces import KINDS
from pyimount.exceptions import StepFailed
from tests.needing import needs_root

ALL: dict[str, Any] = {
    "limits": True, "user": True, "namespaces": [*KINDS], "landlock": 4, "seccomp": True,
}  # fmt: skip
KEYS = {
    "limits": "limits", "user": "own_user", "landlock": "landlock", "seccomp": "seccomp",
}  # fmt: skip


def answering(monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], *, user: int = 0) -> None:
    monkeypatch.setattr(bars.own_modules, "ask", lambda *_, **__: said)
    monkeypatch.setattr(os, "geteuid", lambda: user)


def test_all_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, ALL)
    told = bars.as_json()
    assert told.pop("landlock_version") == 4
    assert set(told.values()) == {True}
    assert len(told) == 7
    assert all(line.startswith("  yes  ") for line in bars.lines())


@pytest.mark.parametrize("missing", ["user", "landlock", "seccomp", *KINDS])
def test_one_that_is_missing_is_said_and_why(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing in KINDS:
        said = {**ALL, "namespaces": [name for name in KINDS if name != missing]}
    else:
        said = {**ALL, missing: 0 if missing == "landlock" else False}
    answering(monkeypatch, said)
    told = bars.as_json()
    key = KEYS.get(missing, missing.replace(" ", "_"))
    assert [name for name, holds in told.items() if holds is False] == [key]
    (line,) = [line for line in bars.lines() if not line.startswith("  yes  ")]
    assert line.startswith("  no   ")
    assert " not " in line or " no " in line or "nobody" in line


def test_without_root_it_is_not_said_what_only_root_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {**ALL, "user": False, "namespaces": []}, user=1000)
    told = bars.as_json()
    assert {name for name, holds in told.items() if holds is None} == {
        "network", "shared_memory", "processes", "own_user",
    }  # fmt: skip
    assert "threads" not in bars.lines()[0], "they are counted by user"
    assert "sudo pyimount check" in bars.lines()[-1]


def test_a_prison_that_cannot_be_built_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise StepFailed("it failed: Landlock: Operation not permitted")

    monkeypatch.setattr(bars.own_modules, "ask", broken)
    assert "Operation not permitted" in bars.as_json()["error"]
    (line,) = bars.lines()
    assert line.startswith("  no   ")


def test_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    needs_root()
    assert cli.main(["check", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["confinement"]
    assert told["landlock_version"] == landlock.version()
    assert told["seccomp"] is seccomp.is_known()
    assert told["limits"] is True
    assert told["network"] is True
