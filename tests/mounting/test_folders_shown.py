"""``pyimount mount`` of a plain folder of files: it is shown as it is, and nobody writes to it through us."""

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyimount.execution import mount_api, mounts, syscalls
from pyimount.execution.plan_executor import Executor
from pyimount.planning.steps import MakeDirectory, MountPlan, Result, ShowDirectory
from tests.mounting.ground import Ground, same_content
from tests.mounting.images import traces
from tests.mounting.test_mount_command import Mounted, command
from tests.needing import needs, needs_root


@pytest.fixture(autouse=True)
def able() -> None:
    needs_root()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of files, which stays as it is."""
    top = Ground(tmp_path).tree("my files")
    yield top
    same_content(top)
    assert sorted(each.name for each in top.iterdir()) == ["deep", "empty", "readme.txt"]


def is_restricted(at: Path) -> None:
    """All that is mounted there cannot be written to, nor can programs be run from it."""
    (mount,) = mounts.mounted_at(str(at))
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mount.options.split(","))
    assert not mount.shared
    with pytest.raises(OSError, match="Read-only") as raised:
        (at / "new").write_bytes(b"x")
    assert raised.value.errno == errno.EROFS


def plan(ground: Ground, path: Path) -> MountPlan:
    session = ground.session()
    return ground.plan(
        MakeDirectory(id=1, path=f"{ground.base}/{session}/mnt/0"),
        ShowDirectory(id=2, path=str(path), at=Result(1)),
        images=(path,), session=session,
    )  # fmt: skip


def test_the_command(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    for named in (folder, tmp_path / "link", Path("my files")):
        said = command("mount", "--keep", "--json", named, cwd=tmp_path)
        document = json.loads(said.stdout)
        assert (said.stderr, document["exit_status"]) == ("", 0)
        (volume,) = document["volumes"]
        at = Path(volume.pop("mountpoint"))
        assert at.name == "my_files"
        assert volume == {
            "index": "", "type": "dir", "label": None, "uuid": None, "device": str(folder),
            "missing": 0,
            "code": None, "reason": None, "remedy": None,
        }  # fmt: skip
        same_content(at)
        is_restricted(at)
        listed = json.loads(command("list", "--json").stdout)
        (session,) = (each for each in listed["sessions"] if each["session"] == document["session"])
        (shown,) = session["mounts"]
        assert (shown["type"], shown["device"], shown["stands"]) == ("dir", str(folder), True)
        command("unmount", named, cwd=tmp_path)
        assert traces(document["session"]) == []


def test_the_command_tells_people(folder: Path) -> None:
    done = command("mount", "--keep", folder)
    index, kind, at = done.stdout.rstrip("\n").split("  ")
    assert (index, kind) == ("", "dir")
    same_content(Path(at))
    command("unmount", at)
    assert not os.path.lexists(at)
    assert "-o bind,ro,nosuid,nodev,noexec" in command("mount", "--dry-run", folder).stdout
    assert "is a directory without" in command("detect", folder, status=1).stderr


def test_a_folder_beside_an_image_and_one_that_is_none(folder: Path, tmp_path: Path) -> None:
    needs("mkfs.ext4")
    image = Ground(tmp_path).ext4()
    with Mounted(image, folder) as mounted:
        same_content(mounted.at("1.0"))
        same_content(mounted.at("2"))
    with Mounted("--skip", "2", image, folder) as mounted:
        assert [each["index"] for each in mounted.said["volumes"]] == ["1.0"]
    # There is no root volume: no tree stands.
    with Mounted("--reconstruct", "--no-single", folder, image, status=4) as mounted:
        assert [each["index"] for each in mounted.said["volumes"]] == ["1"]
    with Mounted(folder, tmp_path / "absent", status=1) as mounted:
        same_content(mounted.at("1"))


def test_a_folder_that_cannot_be_shown_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"")
    done = command("mount", "--keep", "--mountdir", tmp_path / "there", folder, status=4)
    assert "dir is not mounted" in done.stderr


def test_no_link_is_followed(ground: Ground) -> None:
    real = ground.tree("real")
    (ground.folder / "link").symlink_to(real)
    for path in ("link", "link/deep", "real/readme.txt", "real/absent"):
        outcome = Executor(base=str(ground.base)).run(plan(ground, ground.folder / path))
        assert [failure.step.id for failure in outcome.failures] == [2], path
        ground.clear()
        ground.check()


@pytest.mark.parametrize("call", ["open_tree", "mount_setattr", None])
def test_a_kernel_without_the_calls(
    call: str | None, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: int, **_more: int) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    if call is not None:
        monkeypatch.setattr(mount_api, call, absent)
    made = plan(ground, ground.tree("files"))
    at = Path(ground.run(made).places[2])
    same_content(at)
    is_restricted(at)
    assert ground.undo(made.session).ended
    ground.check()


def test_what_is_mounted_in_it_later_is_not_shown(ground: Ground) -> None:
    source = ground.tree("files")
    syscalls.mount(str(source), str(source), syscalls.MS_BIND)
    try:
        subprocess.run(["mount", "--make-shared", source], check=True)
        made = plan(ground, source)
        at = Path(ground.run(made).places[2])
        syscalls.mount("tmpfs", str(source / "deep"), 0, "tmpfs")
        try:
            assert (at / "deep/er/file").exists()
            assert [each.path for each in mounts.mounts() if each.path.startswith(f"{at}/")] == []
        finally:
            syscalls.umount(str(source / "deep"), syscalls.UMOUNT_NOFOLLOW)
        assert ground.undo(made.session).ended
    finally:
        syscalls.umount(str(source), syscalls.UMOUNT_NOFOLLOW)
    ground.check()
