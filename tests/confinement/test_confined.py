"""Root's scans run in a process that is not root, and say the same."""

import errno
import os
import resource
import subprocess
import sys
from contextlib import suppress
from functools import partial
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
    found = scan_confined(gather(paths), request=request(keys), timeout=300, **options)
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


@pytest.mark.parametrize("landlock", [True, False], ids=["landlock", "none"])
def test_keys_reach_it(landlock: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing can be loaded any more to reckon with, and numpy has not been."""
    needs("cryptsetup")
    if not landlock:
        command = (sys.executable, "-c", WITHOUT_LANDLOCK)
        monkeypatch.setattr(scanning, "command", lambda _, user: (*command, user))
    work = Workshop(tmp_path)
    image = work.blank(17 * MIB)
    cheap = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    work.run("cryptsetup", "luksFormat", "-q", *cheap, image, "-", stdin=b"key")
    found = confined(image, keys=Keyring({"*": "p:key"}))
    assert found["0"].locked is False
    assert found == pyimount.detect(image, keys=Keyring({"*": "p:key"}))


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


def ours() -> list[Path]:
    """The processes of a scan that this one has started, in /proc: others may scan at the same time."""
    parents: dict[int, int] = {}
    scans: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # others come and go
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if b"pyimount.confinement.child" in (process / "cmdline").read_bytes():
                scans.append(int(process.name))
    here = os.getpid()
    return [Path(f"/proc/{each}") for each in scans if here in (parents[each], parents.get(parents[each], 0))]


def test_the_process_has_no_rights_and_cannot_be_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_root()
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(MIB))
    seen: list[str] = []
    kept = scanning._answer

    def look(child: Any, *rest: Any) -> None:
        for process in ours():
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


def test_it_has_no_terminal_of_roots_and_no_file_but_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken over would write to it what a terminal obeys."""
    needs_root()
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(MIB))
    held: list[str] = []
    kept = scanning._answer

    def look(child: Any, *rest: Any) -> None:
        for process in ours():
            held.extend(str(file.readlink()) for file in (process / "fd").iterdir())
        kept(child, *rest)

    monkeypatch.setattr(scanning, "_answer", look)
    # What is open here, and may be inherited, does not get there.
    with (tmp_path / "secret").open("wb") as secret:
        os.set_inheritable(secret.fileno(), True)
        confined(image)
    assert held
    rest = [each for each in held if not each.startswith(("socket:", "/memfd:said", "/dev/null"))]
    # The folders that modules are loaded from, by which nothing is read (O_PATH).
    assert {each for each in rest if not Path(each).is_dir()} <= {str(image)}


@pytest.mark.parametrize("what", ["open", "folder", "header"])
def test_where_root_may_open_no_more_files_no_file_is_called_unreadable(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixture = next(each for each in fixtures() if each.name == "qcow2-backing")
    image = fixture.unpack(tmp_path)
    real = os.open
    count = [0]

    def full(path: Any, *rest: Any, **more: Any) -> int:
        if sys._getframe(1).f_globals["__name__"] == scanning.__name__:
            count[0] += 1
            if what != "folder" or count[0] > 1:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", full)
    if what == "header":
        with pytest.raises(StepFailed, match="may open no more files"):
            confined(image, header=str(image))
        return
    found = confined(image)
    codes = {problem.code for _, problem in found.all_problems()}
    assert Code.OUT_OF_MEMORY in codes
    assert codes.isdisjoint({Code.INTERNAL_ERROR, Code.MISSING_BACKING_FILE})


def test_a_process_with_few_files_ends_with_a_sentence(tmp_path: Path) -> None:
    """Wherever in the start of a scan the next descriptor is the one too many."""
    needs_root()
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(1 << 20))
    command = [sys.executable, "-m", "pyimount", "mount", "--dry-run", image]
    for most in range(10, 26):
        limited = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (most, most))
        done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limited)
        assert done.returncode in (0, 1, 4), most
        assert "Error" not in done.stderr, most


def test_what_a_child_says_as_it_dies_is_told_and_obeyed_by_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; sys.stderr.write('first\\n\\x1b[2Jlast words'); print('\\x1b]0;x')"
    monkeypatch.setattr(scanning, "command", lambda *_: (sys.executable, "-c", code))
    with pytest.raises(StepFailed, match="last words") as caught:
        confined(tmp_path / "disk.img")
    assert str(caught.value).isprintable()
    assert capfd.readouterr() == ("", "")
