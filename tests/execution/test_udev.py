"""The rules that keep udev from evidence: there from before a device is made to the end of its session."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pyimount.execution import udev


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of rules; udev, which would read it, seems to run."""
    monkeypatch.setattr(udev, "RULES", str(tmp_path / "rules.d"))
    monkeypatch.setattr(udev, "CONTROL", str(tmp_path))
    monkeypatch.setattr(udev, "_reload", lambda: None)
    return tmp_path / "rules.d"


def test_there_is_no_moment_without_them(rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are replaced at once as they grow: an event in between would be handled without them."""
    guard = udev.Guard("0a1b2c3d")
    guard.before(["/evidence/disk.img"], [])
    (path,) = rules.iterdir()
    seen: list[bool] = []

    def watched(act: Callable[..., object]) -> Callable[..., object]:
        def acted(*arguments: object, **more: object) -> object:
            done = act(*arguments, **more)
            seen.append("disk.img" in path.read_text())
            return done

        return acted

    for name in ("unlink", "open", "rename", "fchmod"):
        monkeypatch.setattr(udev.os, name, watched(getattr(udev.os, name)))
    guard.before([], [], ["0123456789abcdef"])
    monkeypatch.undo()
    assert seen
    assert all(seen)
    assert "LVM-0123456789abcdef" in path.read_text()


def test_nothing_of_them_is_left(rules: Path) -> None:
    """Not even what somebody was writing when he was killed."""
    guard = udev.Guard("0a1b2c3d")
    guard.before(["/evidence/disk.img"], ["/dev/loop7"])
    first, second = sorted(rules.iterdir())
    first.with_name(f"{first.name}.new").write_text("half a ru")
    guard.before(["/evidence/other.img"], [])
    assert sorted(rules.iterdir()) == [first, second]
    second.with_name(f"{second.name}.new").write_text("half a ru")
    udev.release("0a1b2c3d")
    assert list(rules.iterdir()) == []
