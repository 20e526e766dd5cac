"""``pyimount mount`` killed at random moments: what remains is nothing after ``pyimount unmount``.

``test_faults`` does the same, more often and to the step, with plans of its own.
"""

import contextlib
import io
import json
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fixtures.workshop import find_tool
from pyimount.cli import main
from pyimount.execution.sessions import sessions
from pyimount.recognition.registry import volume_formats
from tests.mounting.ground import in_a_child
from tests.mounting.images import MIB, attached, blank, check, content, digest, make, tool, traces
from tests.needing import needs, needs_root

RUNS = 24


def said(*words: str | Path) -> tuple[int, str]:
    """Run a command in this process; its status, and what it wrote."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        status = main([str(word) for word in words])
    return status, out.getvalue()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A disk with two partitions, and the same in a container."""
    needs_root()
    needs("mkfs.ext4", "mksquashfs", "sgdisk", "qemu-img")
    folder = tmp_path_factory.mktemp("random")
    root = content(folder)
    disk = blank(folder / "disk.img", 32 * MIB)
    tool("sgdisk", "-n", "1:2048:+17M", "-n", "2:0:+4M", disk)
    with disk.open("r+b") as file:
        for kind, at in (("ext4", MIB), ("squashfs", 18 * MIB)):
            file.seek(at)
            file.write(make(kind, folder / f"{kind}.img", root).read_bytes())
    container = folder / "disk.qcow2"
    tool("qemu-img", "convert", "-O", "qcow2", disk, container)
    return disk, container


def ours(image: Path) -> list[Any]:
    """The sessions of an image."""
    return [session for session in sessions() if str(image) in session.images]


def test_killed_at_random(images: tuple[Path, Path]) -> None:
    volume_formats()  # Else each of the children loads them.
    chosen = random.Random(40)  # noqa: S311
    before = [digest(image) for image in images]
    ends = set()
    for _ in range(RUNS):
        image = chosen.choice(images)
        words = [
            "mount",
            "--keep",
            "--json",
            *(["--reconstruct"] if chosen.random() < 0.3 else []),
            str(image),
        ]
        ends.add(in_a_child(lambda: main(words), kill_after=chosen.random() * 0.6))  # noqa: B023
        begun = [session.id for session in ours(image)]
        for _ in range(chosen.randrange(2)):
            in_a_child(lambda: main(["unmount", str(image)]), kill_after=chosen.random() * 0.05)  # noqa: B023
        stands = bool(ours(image))
        assert said("unmount", image)[0] == (0 if stands else 1)
        assert ours(image) == []
        assert [trace for session in begun for trace in traces(session)] == []
        assert attached(image) == []
    assert 99 not in ends
    assert -signal.SIGKILL in ends
    assert [digest(image) for image in images] == before


def test_a_server_that_is_killed(images: tuple[Path, Path]) -> None:
    _, image = images
    status, out = said("mount", "--keep", "--json", image)
    assert status == 0
    told = json.loads(out)
    for volume in told["volumes"]:
        check(Path(volume["mountpoint"]))
    subprocess.run(
        [find_tool("pkill") or "pkill", "-KILL", "-f", f"mark=pyimount-{told['session']}-"], check=True
    )
    assert [mount.stands for session in ours(image) for mount in session.mounts] == [True, True]
    assert said("unmount", image)[0] == 0
    assert traces(told["session"]) == []


def test_an_open_file_holds_it(images: tuple[Path, Path]) -> None:
    image, _ = images
    told = json.loads(said("mount", "--keep", "--json", image)[1])
    with (Path(told["volumes"][0]["mountpoint"]) / "readme.txt").open("rb") as file:
        status, out = said("unmount", "--json", image)
        assert status == 5
        reasons = [left["reason"] for left in json.loads(out)["sessions"][0]["left"]]
        assert any("is in use by" in reason for reason in reasons), reasons
        assert said("unmount", "--lazy", image)[0] in (0, 5)
        assert file.read() == b"what went in\n"
    assert said("unmount", image)[0] == 0
    assert traces(told["session"]) == []
    assert attached(image) == []
