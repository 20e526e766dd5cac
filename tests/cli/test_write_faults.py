"""Whatever act of writing fails, or is the last: what stands is whole or said not to be, and it goes on.

The acts are those that a recorded run was seen to do, as in ``tests.mounting.test_acts``. A run that is
stopped at each of them is followed by one with ``--resume``; what there is then is what one run gives.
"""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.workshop import Workshop
from pyimount.cli import main
from pyimount.execution import helper_archive
from pyimount.execution.errors import StepFailed
from tests.kept import kept
from tests.mounting.acts import faults, first_and_last, recorded, with_fault
from tests.mounting.ground import in_a_child
from tests.needing import needs_root

kinds = pytest.mark.parametrize(("kind", "fault"), list(faults()), ids=[kind for kind, _ in faults()])
MIB = 1 << 20


def quietly(*words: str | Path) -> Callable[[], object]:
    """The command in this process, its output thrown away: for a child."""

    def run() -> object:
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nothing, stream)
        return main([str(word) for word in words])

    return run


def content(folder: Path) -> dict[str, tuple[object, ...]]:
    """What is in a folder, and all that is below it."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        is_ = path.lstat()
        if path.is_symlink():
            found[str(path.relative_to(folder))] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[str(path.relative_to(folder))] = ("folder", is_.st_mode)
        else:
            when = None if path.name.startswith("pyimount.") else is_.st_mtime_ns  # our own is of now
            found[str(path.relative_to(folder))] = ("file", is_.st_mode, when, path.read_bytes())
    return found


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ext4 with files of several sizes, a folder and a link."""
    folder = tmp_path_factory.mktemp("faults")
    tree = folder / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "small.txt").write_text("small\n")
    (tree / "below" / "large.bin").write_bytes(bytes(range(256)) * 4096)
    (tree / "below" / "holes.bin").write_bytes(bytes(MIB) + b"end")
    (tree / "link").symlink_to("below/large.bin")
    for path in tree.rglob("*"):
        os.utime(path, ns=(10**18, 10**18), follow_symlinks=False)
    made = Workshop(folder).blank(16 * MIB)
    Workshop(folder).run("mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, made)
    return made


@pytest.mark.needs("mke2fs")
@kinds
def test_each_act_of_a_copy(kind: str, fault: dict[str, Any], image: Path, tmp_path: Path) -> None:
    counted = ("pyimount.inside.copying", "pyimount.cli.cp")

    def copy(target: Path, *more: str) -> Callable[[], object]:
        return quietly("cp", "-r", "--hash", "sha256", *more, image, "0:/", target)

    whole = tmp_path / "whole"
    acts = recorded(copy(whole), tmp_path / "acts", counted)
    wanted = content(whole)
    assert len(wanted) >= 6
    assert len(acts) > 30
    for number, act in enumerate(first_and_last(acts)):
        target = tmp_path / f"at{number}"
        ended = with_fault(copy(target), act, counted=counted, **fault)
        assert ended == (-signal.SIGKILL if kind == "is the last" else 0), act
        # What goes by a file's own name is that file, whole.
        for name, what in content(target).items() if target.exists() else ():
            if what[0] == "file" and name in wanted and "pyimount." not in name:
                assert what[3] == wanted[name][3], (act, name)
        assert in_a_child(copy(target, "--resume")) == 0
        assert content(target) == wanted, act


@kinds
def test_each_act_of_installing_the_helper(kind: str, fault: dict[str, Any]) -> None:
    needs_root()
    folder = Path("/opt") / f"pyimount-test-{os.getpid()}"  # below /tmp others may write
    counted = ("pyimount.execution.helper_archive",)
    old, new = b"#!/bin/false\nold\n", b"#!/bin/false\nnew\n" * 1000

    def install() -> None:
        try:
            helper_archive.install(str(folder / "libexec" / "helper"), new, 0o755)
        except StepFailed:
            return  # as it is told

    try:
        acts = recorded(install, folder.with_suffix(".acts"), counted)
        assert len(acts) > 8
        for act in acts:
            for there in (None, old):
                subprocess.run(["rm", "-rf", folder], check=True)
                if there is not None:
                    helper_archive.install(str(folder / "libexec" / "helper"), there, 0o755)
                with_fault(install, act, counted=counted, **fault)
                stands = folder / "libexec" / "helper"
                now = stands.read_bytes() if stands.exists() else None
                assert now in (there, new), act
                install()
                assert [(each.name, each.read_bytes()) for each in stands.parent.iterdir()] == [
                    ("helper", new)
                ]
                assert stands.stat().st_mode & 0o7777 == 0o755
                assert helper_archive.remove(str(stands))
                assert list(stands.parent.iterdir()) == []
                assert not helper_archive.remove(str(stands))
    finally:
        subprocess.run(["rm", "-rf", folder, folder.with_suffix(".acts")], check=True)


def limited(*words: str | Path, most: int) -> "subprocess.CompletedProcess[str]":
    """The command where no file may grow past so many bytes: as on a disk that is full."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    return subprocess.run(
        [sys.executable, "-m", "pyimount", *map(str, words)],
        capture_output=True, text=True, check=False, preexec_fn=limit,
    )  # fmt: skip


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(kept("ext2")) + bytes(range(256)) * (5 * MIB // 256) + bytes(MIB) + b"x" * 512)
    return path


@pytest.mark.parametrize("most", [0, 5000, MIB, 3 * MIB + 77])
def test_an_export_to_a_disk_that_is_full(most: int, noise: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.raw"
    done = limited("export", noise, "disk", "-o", out, most=most)
    assert done.returncode == 1
    assert f"{out}: " in done.stderr
    assert "--resume goes on" in done.stderr
    assert "Traceback" not in done.stderr
    assert main(["export", str(noise), "disk", "-o", str(out), "--resume"]) == 0
    assert out.read_bytes() == noise.read_bytes()


@pytest.mark.parametrize("wanted", [1, MIB, 4 * MIB])
def test_an_export_that_is_killed(wanted: int, noise: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.raw"
    run = quietly("export", noise, "disk", "-o", out)
    ended = in_a_child(run, kill_when=lambda: out.exists() and out.stat().st_size >= wanted)
    assert ended in (0, -signal.SIGKILL)
    assert main(["export", str(noise), "disk", "-o", str(out), "--resume"]) == 0
    assert out.read_bytes() == noise.read_bytes()


@pytest.mark.needs("mke2fs")
def test_a_copy_to_a_disk_that_is_full(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "copied"
    done = limited("cp", "-r", image, "0:/", target, most=64 << 10)
    assert done.returncode == 1
    assert "large.bin" in done.stderr
    assert "Traceback" not in done.stderr
    assert (target / "0" / "small.txt").read_text() == "small\n", "the others are copied"
    assert not (target / "0" / "below" / "large.bin").exists()
    assert main(["cp", "-r", "--resume", str(image), "0:/", str(target)]) == 0
    assert (target / "0" / "below" / "large.bin").read_bytes() == bytes(range(256)) * 4096
    assert not list(target.rglob(".*"))


@kinds
def test_each_act_of_keeping_how_far_a_verification_is(
    kind: str, fault: dict[str, Any], tmp_path: Path
) -> None:
    image, state = tmp_path / "disk.img", tmp_path / "state"
    image.write_bytes(bytes(range(256)) * (3 * MIB // 256))
    counted = ("pyimount.verifying.state",)

    def verify(state: Path) -> Callable[[], object]:
        return quietly("verify", "--hash", "sha256", "--state", state, image)

    acts = recorded(verify(state), tmp_path / "acts", counted)
    assert list(tmp_path.glob("state*")) == []
    for act in acts:
        with_fault(verify(state), act, counted=counted, **fault)
        assert in_a_child(verify(state)) == 0
        assert list(tmp_path.glob("state*")) == [], act
