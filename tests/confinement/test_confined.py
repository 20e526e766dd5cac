"""Root's scans run in a process that is not root, and say the same."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import pyimount
from fixtures.workshop import Workshop, fixtures
from pyimount.confinement import parent as scanning
from pyimount.confinement.crossing import report_of
from pyimount.confinement.parent import scan_confined
from pyimount.confinement.users import FIRST, LAST
from pyimount.execution.errors import StepFailed
from pyimount.keys import Keyring
from pyimount.problems import Code
from pyimount.sources.errors import OpenError
from pyimount.sources.segments import gather
from tests.needing import needs, needs_root

MIB = 1 << 20


def request(keys: Keyring | None = None) -> dict[str, Any]:
    return {"hints": {}, "keys": (keys or Keyring()).reveal(), "budget": {}, "try_veracrypt": False}


def confined(*paths: Path, keys: Keyring | None = None, **options: Any) -> pyimount.Scan:
    found = scan_confined(gather(paths), request=request(keys), timeout=60, **options)
    return pyimount.Scan.from_dict(found.report)


@pytest.mark.parametrize("name", ["gpt", "ewf", "qcow2-backing", "vmdk-split", "luks2", "lvm2-group", "ntfs"])
def test_it_says_what_a_scan_in_this_process_says(name: str, tmp_path: Path) -> None:
    fixture = next(each for each in fixtures() if each.name == name)
    image = fixture.unpack(tmp_path)
    assert confined(image) == pyimount.detect(image)


WITHOUT_LANDLOCK = """
import runpy, sys
from pyimount.confinement import landlock
landlock.version = lambda: 0
runpy.run_module("pyimount.confinement.child", run_name="__main__", alter_sys=True)
"""

FIXTURES_OF_MANY_KINDS = (
    "gpt", "ewf", "qcow2-backing", "vmdk-split", "luks2", "lvm2-group", "ntfs", "btrfs", "zstd", "dmg",
    "lz4", "cd-raw-xa", "ova", "qed", "zip-deflate64", "aff4", "iso9660", "apfs", "vhdx", "xz",
)  # fmt: skip


def test_where_landlock_is_missing_it_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then no file is opened any more: whatever a scan may need has been loaded before."""
    monkeypatch.setattr(scanning, "command", lambda _, user: (sys.executable, "-c", WITHOUT_LANDLOCK, user))
    tried = [each for each in fixtures() if each.name in FIXTURES_OF_MANY_KINDS]
    assert len(tried) >= 10
    for fixture in tried:
        place = tmp_path / fixture.name
        place.mkdir()
        image = fixture.unpack(place)
        found = confined(image)
        assert found == pyimount.detect(image), fixture.name
        assert Code.INTERNAL_ERROR not in {problem.code for _, problem in found.all_problems()}


def test_keys_reach_it(tmp_path: Path) -> None:
    needs("cryptsetup")
    work = Workshop(tmp_path)
    image = work.blank(17 * MIB)
    cheap = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    work.run("cryptsetup", "luksFormat", "-q", *cheap, image, "-", stdin=b"key")
    found = confined(image, keys=Keyring({"*": "p:key"}))
    assert found["0"].locked is False


def test_a_backing_file_is_opened_by_the_policy_and_no_other(tmp_path: Path) -> None:
    needs("qemu-img")
    work = Workshop(tmp_path)
    (tmp_path / "far").mkdir()
    for base in ("base.img", "far/base2.img"):
        (tmp_path / base).write_bytes(bytes(MIB))
    for name, base in (("near.qcow2", "base.img"), ("away.qcow2", str(tmp_path / "far" / "base2.img"))):
        work.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, tmp_path / name)
    near, away = tmp_path / "near.qcow2", tmp_path / "away.qcow2"
    assert confined(near) == pyimount.detect(near)
    assert confined(away) == pyimount.detect(away)
    allow = str(tmp_path / "far")
    assert confined(away, allow=(allow,)) == pyimount.detect(away, allow=[allow])
    assert confined(away, allow=(allow,)).disks[0].size == MIB


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    found = confined(tmp_path / "none.img")
    assert found == pyimount.detect(tmp_path / "none.img")
    with pytest.raises(OpenError, match=r"none\.hdr"):
        confined(tmp_path / "none.img", header=str(tmp_path / "none.hdr"))


def test_the_process_has_no_rights_and_cannot_be_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_root()
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(MIB))
    seen: list[str] = []
    kept = scanning._answer

    def look(child: Any, *rest: Any) -> None:
        for process in Path("/proc").iterdir():
            with suppress(FileNotFoundError, NotADirectoryError, ProcessLookupError):  # others come and go
                if b"pyimount.confinement.child" in (process / "cmdline").read_bytes():
                    seen.append((process / "status").read_text())
                    seen.append(str((process / "mem").stat().st_uid))
        kept(child, *rest)

    monkeypatch.setattr(scanning, "_answer", look)
    confined(image)
    told = [dict(line.split(":\t", 1) for line in each.splitlines() if ":\t" in line) for each in seen[::2]]
    # One only waits for the other's end, outside of its namespace.
    (status,) = [each for each in told if each["Uid"].split()[0] != "0"]
    (user,) = set(status["Uid"].split())
    assert FIRST <= int(user) <= LAST
    assert set(status["Gid"].split()) == {user}
    assert status["Seccomp"] == "2"
    assert status["Groups"].split() == []
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == 0
    assert set(seen[1::2]) == {"0"}, "what is not dumpable belongs to root"


def answers(report: dict[str, Any]) -> dict[str, Any]:
    return report_of(report, {"/evidence/disk.img"})


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"disks": 5},
        {"disks": [{"paths": ["/etc/shadow"], "recipe": {"parameters": {}}}]},
        {"disks": [{"paths": [], "recipe": {"parameters": {"paths": ["/etc/shadow"]}}}]},
        {"disks": [{"paths": [[]], "recipe": {"parameters": {}}}]},
    ],
)
def test_a_report_that_names_other_files_is_refused(report: dict[str, Any]) -> None:
    with pytest.raises(StepFailed):
        answers(report)


def test_a_child_that_dies_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "command", lambda *_: ("/bin/false",))
    with pytest.raises(StepFailed, match="ended before its time"):
        confined(tmp_path / "disk.img")
