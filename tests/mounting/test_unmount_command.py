"""``pyimount unmount`` and ``list``: what a person names is found, and who holds it is named, once."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyimount.confinement.users import FIRST
from pyimount.execution.helper import Service
from pyimount.execution.wanted import look_at
from tests.mounting.images import MIB, blank, content, make, tool, traces
from tests.mounting.test_mount_command import Mounted, command
from tests.needing import needs, needs_root


@pytest.fixture(autouse=True)
def able() -> None:
    needs_root()
    needs("mkfs.ext4", "losetup")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make("ext4", tmp_path / "disk.img", content(tmp_path))


@contextmanager
def someone(*at: Path) -> Iterator[int]:
    """A process that works in the first of these folders and has files of all of them open."""
    code = "import sys; files = [open(path) for path in sys.argv[1:]]; print(flush=True); sys.stdin.read()"
    files = [str(each / "readme.txt") for each in at]
    argv = [sys.executable, "-c", code, *files, *files]
    with subprocess.Popen(argv, cwd=at[0], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate()


def test_one_holder_is_one_line(image: Path) -> None:
    with Mounted(image) as mounted, someone(mounted.at("0")) as pid:
        done = command("unmount", image, status=5)
        first, advice = done.stderr.splitlines()
        assert f"({pid})" in first
        assert first.count(str(pid)) == 1
        assert first.count(str(mounted.at("0"))) == 1
        assert "--lazy" in advice
        done = command("unmount", "--lazy", image, status=5)
        assert "use --lazy" not in done.stderr
        assert "when nobody uses it" in done.stderr
        assert not os.path.ismount(mounted.at("0"))
    assert traces(mounted.session) == []


def test_a_session_within_a_mounted_image_is_named(image: Path, tmp_path: Path) -> None:
    """By a loop device over a file, by our server over one, and by a loop device of the loop device."""
    needs("qemu-img")
    outer = tmp_path / "outer"
    outer.mkdir()
    (outer / "inner.img").write_bytes(image.read_bytes())
    tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", image, outer / "inner.qcow2")
    disk = blank(tmp_path / "outer.img", 64 * MIB)
    tool("mkfs.ext4", "-q", "-d", outer, disk)
    with Mounted(disk) as holds:
        device = holds.said["volumes"][0]["device"]
        for inner in (holds.at("0") / "inner.img", holds.at("0") / "inner.qcow2"):
            with Mounted(inner) as within:
                done = command("unmount", disk, status=5)
                assert f"session {within.session} (" in done.stderr
                assert done.stderr.count(within.session) == 1
        command("unmount", holds.at("0"), "0badcafe", status=1)
    with Mounted(image) as holds:
        device = holds.said["volumes"][0]["device"]
        with Mounted(device) as within:
            subprocess.run(["umount", holds.at("0")], check=True)
            done = command("unmount", image, status=5)
            assert f"session {within.session} (/dev/loop" in done.stderr


def test_by_the_device_that_was_made(image: Path) -> None:
    with Mounted(image) as mounted:
        device = mounted.said["volumes"][0]["device"]
        command("unmount", device)
        assert traces(mounted.session) == []
        assert "nothing of this" in command("unmount", device, status=1).stderr


def test_the_list_has_the_type_and_the_file_behind(image: Path, tmp_path: Path) -> None:
    needs("qemu-img", "ntfs-3g", "mkntfs")
    box = tmp_path / "box.qcow2"
    tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", image, box)
    ntfs = blank(tmp_path / "n.img", 16 * MIB)
    tool("mkntfs", "-q", "-F", ntfs)
    # One session of two images, and a file system by a program of its own.
    with Mounted(image, box) as mounted, Mounted("--allow-fs", "ntfs-3g", ntfs) as third:
        said = json.loads(command("list", "--json").stdout)["sessions"]
        (mine,) = (each for each in said if each["session"] == mounted.session)
        assert [(each["type"], each["files"]) for each in mine["mounts"]] == [
            ("ext4", [str(image)]),
            ("ext4", [str(box)]),
        ]
        (theirs,) = (each for each in said if each["session"] == third.session)
        assert [(each["type"], each["files"]) for each in theirs["mounts"]] == [("ntfs", [str(ntfs)])]
        lines = command("list").stdout.splitlines()
        (line,) = (line for line in lines if str(third.at("0")) in line)
        assert " ntfs (" in line
        assert line.endswith(str(ntfs))


def test_with_names_of_any_kind(image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a b\n\\040"
    folder.mkdir()
    renamed = folder / "-é\t.img"
    image.rename(renamed)
    with Mounted("--mountdir", folder / "m", renamed) as mounted:
        command("unmount", f"{folder}//m/./0-root/")
        assert traces(mounted.session) == []
    with Mounted(renamed) as mounted:
        (tmp_path / "hard.img").hardlink_to(renamed)
        renamed.unlink()
        command("unmount", "hard.img", cwd=tmp_path)
        assert traces(mounted.session) == []


def test_whose_it_is_is_told_to_who_can_open_it(image: Path) -> None:
    """A user is told whose session has what he names, if he opens the file, or it is seen where it is."""
    with Mounted(image) as mounted:
        service = Service(None, FIRST, "/run/pyimount-users")  # type: ignore[arg-type]

        def whose(word: str, *files: int) -> list[tuple[str, int]]:
            wanted = look_at(word)
            said = {"word": wanted.word, "path": wanted.path, "spelt": wanted.spelt}
            answer = service._whose(said, list(files))
            return [(each["session"], each["owner"]) for each in answer["owners"]]

        root = [(mounted.session, 0)]
        with image.open("rb") as file:
            assert whose(str(image), file.fileno()) == root
            assert whose("/by/another/name", file.fileno()) == root
        assert whose(str(image)) == []
        assert whose(str(mounted.at("0"))) == root
        assert whose(mounted.session) == root
        assert whose("/absent") == []


def test_a_user_is_told_that_it_is_roots(image: Path, tmp_path: Path) -> None:
    needs("sudo", "runuser")
    folder = tmp_path / "sudoers"
    folder.mkdir(mode=0o755)
    rule = folder / "check"
    rule.write_text("nobody ALL=(root) NOPASSWD: ALL\n")
    rule.chmod(0o440)
    for each in (tmp_path, *tmp_path.parents):
        if each.stat().st_mode & stat.S_ISVTX:
            break  # The folder of all temporary files.
        each.chmod(0o755)
    image.chmod(0o644)
    with Mounted(image) as mounted:
        script = 'mount --bind "$1" /etc/sudoers.d && shift && exec runuser -u nobody -- "$@"'
        argv = [sys.executable, "-m", "pyimount", "unmount", str(image)]
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "-", str(folder), *argv],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=300,
        )  # fmt: skip
        if done.stderr.startswith("runuser: ") and "Permission denied" in done.stderr:
            pytest.skip(f"this Python lies where only root may look: {sys.executable}")
        if "did not give it" in done.stderr:
            pytest.skip(f"no sudo for a plain user here: {done.stderr}")
        assert done.returncode == 1, done.stderr
        assert f"session {mounted.session} of root" in done.stderr
        assert os.path.ismount(mounted.at("0"))
