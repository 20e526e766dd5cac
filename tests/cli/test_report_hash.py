"""``report --hash``: hashes of the whole disk in the report, and whether those that are stored match."""

import hashlib
from pathlib import Path

import pytest

from pyimount.cli import main
from tests.verifying.images import changed, first_bytes, in_ewf, unpacked


def test_stored_and_computed_hashes_stand_in_the_report(tmp_path: Path) -> None:
    image, target = unpacked("ewf", tmp_path), tmp_path / "case.html"
    raw = tmp_path / "disk.raw"
    assert main(["export", str(image), "disk", "-o", str(raw)]) == 0
    assert main(["report", "--hash", "sha256", str(image), "-o", str(target)]) == 0
    text = target.read_text()
    assert hashlib.sha256(raw.read_bytes()).hexdigest() in text
    assert "db7a0af33d835ea7ca1681b99410130b stored; matches" in text
    assert "in all matches" in text


def test_what_does_not_match_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, target = unpacked("ewf", tmp_path), tmp_path / "case.html"
    data = first_bytes("ewf")
    image.write_bytes(changed(data, in_ewf("digest", 3)(data)))
    assert main(["report", "--hash", "sha256", str(image), "-o", str(target)]) == 6
    assert "does not match" in capsys.readouterr().err
    assert "DOES NOT MATCH" in target.read_text()


def test_a_picture_has_no_hashes(tmp_path: Path) -> None:
    image = unpacked("ewf", tmp_path)
    assert main(["report", "--svg", "--hash", "md5", str(image), "-o", str(tmp_path / "disk.svg")]) == 2
    assert not (tmp_path / "disk.svg").exists()
