"""Mount points: each of its own, none over another, whoever takes a name at the same moment."""

import subprocess
import threading
from pathlib import Path

import pytest

from pyimount.execution import mounts
from pyimount.execution.plan_executor import Executor
from pyimount.planning.steps import AttachLoop, MakeDirectory, Mount, MountPlan, Result
from tests.mounting.ground import EXT4, MIB, Ground, same_content
from tests.mounting.images import traces
from tests.mounting.test_mount_command import Mounted, command
from tests.needing import needs


def in_folder(ground: Ground, image: Path, folder: Path, name: str = "0") -> MountPlan:
    """The plan that mounts an image in a folder that the caller named."""
    return ground.plan(
        MakeDirectory(id=1, path=str(folder)),
        AttachLoop(id=2, backing=str(image)),
        MakeDirectory(id=3, layer=1, inside=Result(1), path=name),
        Mount(id=4, device=Result(2), at=Result(3), type="ext4", options=EXT4),
        images=(image,),
    )


@pytest.fixture
def image(ground: Ground) -> Path:
    needs("mkfs.ext4")
    return ground.ext4()


def test_the_next_name_is_taken_and_all_goes_in_any_order(ground: Ground, image: Path) -> None:
    folder = ground.folder / "m"
    plans = [in_folder(ground, image, folder) for _ in range(3)]
    places = [ground.run(plan).places[4] for plan in plans]
    assert places == [f"{folder}/0", f"{folder}/0-2", f"{folder}/0-3"]
    for place in places:
        same_content(Path(place))
        assert len([each for each in mounts.mounted_at(place) if each.type == "ext4"]) == 1
    # Who made the folder goes first: it stays for the others, and goes with the last.
    for plan in plans:
        undone = ground.undo(plan.session)
        assert undone.ended, undone.left
    assert not folder.exists()


@pytest.mark.parametrize("kind", ["empty folder", "full folder", "file", "link", "dangling link", "mount"])
def test_whatever_has_the_name(ground: Ground, image: Path, kind: str) -> None:
    folder = ground.folder / "m"
    (folder / "elsewhere").mkdir(parents=True)
    taken = folder / "0"
    if kind == "file":
        taken.write_bytes(b"kept")
    elif kind.endswith("link"):
        taken.symlink_to("elsewhere" if kind == "link" else "nowhere")
    else:
        taken.mkdir(mode=0o755)
    if kind == "full folder":
        (taken / "kept").touch()
    if kind == "mount":
        subprocess.run(["mount", "-t", "tmpfs", "none", taken], check=True)
    try:
        plan = in_folder(ground, image, folder)
        place = ground.run(plan).places[4]
        assert place == f"{folder}/0-2"
        same_content(Path(place))
        assert ground.undo(plan.session).ended
    finally:
        if kind == "mount":
            subprocess.run(["umount", taken], check=True)
    assert sorted(each.name for each in folder.iterdir()) == ["0", "elsewhere"]


@pytest.mark.parametrize("name", ["0-ä b\n\\é", "x" * 64, "ä" * 32])
def test_names_of_any_kind(ground: Ground, image: Path, name: str) -> None:
    folder = ground.folder / "m"
    plans = [in_folder(ground, image, folder, name) for _ in range(2)]
    first, second = (ground.run(plan).places[4] for plan in plans)
    assert first == f"{folder}/{name}"
    assert second.endswith("-2")
    assert len(Path(second).name.encode()) <= 64
    for place in (first, second):
        same_content(Path(place))
    for plan in reversed(plans):
        assert ground.undo(plan.session).ended


def test_a_name_that_goes_at_the_last_moment(ground: Ground, image: Path) -> None:
    """Another makes the folder after it was looked at, and the one named by the caller too."""
    folder = ground.folder / "m"
    seen: list[tuple[str, int]] = []

    def observe(moment: str, step: object) -> None:
        if moment == "intended" and isinstance(step, MakeDirectory):
            seen.append((step.path, step.id))
            if [number for _, number in seen].count(step.id) == 1:
                (folder / "0" if step.id == 3 else folder).mkdir()

    plan = in_folder(ground, image, folder)
    outcome = Executor(base=str(ground.base), observe=observe).run(plan)
    assert outcome.failures == ()
    assert outcome.places[4] == f"{folder}/0-2"
    assert seen == [(str(folder), 1), ("0", 3), ("0-2", 3)]
    assert ground.undo(plan.session).ended
    assert [each.name for each in folder.iterdir()] == ["0"]


def test_many_at_once(ground: Ground, image: Path) -> None:
    folder = ground.folder / "m"
    plans = [in_folder(ground, image, folder) for _ in range(6)]
    outcomes = {}
    at_once = threading.Barrier(len(plans))

    def run(plan: MountPlan) -> None:
        at_once.wait()
        outcomes[plan.session] = Executor(base=str(ground.base)).run(plan)

    threads = [threading.Thread(target=run, args=(plan,)) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.failures for each in outcomes.values()] == [()] * len(plans)
    places = {each.places[4] for each in outcomes.values()}
    assert len(places) == len(plans)
    for place in places:
        same_content(Path(place))
    for plan in plans:
        assert ground.undo(plan.session).ended


def test_a_folder_that_was_renamed_takes_it_along(ground: Ground, image: Path) -> None:
    old, new = ground.folder / "m", ground.folder / "n"
    old.mkdir()
    with Mounted("--mountdir", old, image) as mounted:
        old.rename(new)
        assert f"{new}/0 " in command("list").stdout
        command("unmount", new / "0")
        assert mounts.mounted_at(str(new / "0")) == []
        assert traces(mounted.session) == []
        command("unmount", image, status=1)
    (new / "0").rmdir()


def test_the_command(ground: Ground, image: Path) -> None:
    """Two images, and one twice; empty file systems too, in a folder that is itself a mount point."""
    needs("mkfs.btrfs")
    folder = ground.folder / "m\n é"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    try:
        empty = ground.folder / "b.img"
        with empty.open("wb") as file:
            file.truncate(128 * MIB)
        subprocess.run(["mkfs.btrfs", "-q", empty], check=True, capture_output=True)
        with (
            Mounted("--mountdir", folder, image) as first,
            Mounted("--mountdir", f"{folder}/", empty) as second,
            Mounted("--mountdir", f"{folder}/.", image) as third,
        ):
            places = [each.at("0") for each in (first, second, third)]
            assert [place.name for place in places] == ["0", "0-2", "0-3"]
            assert [mounts.mounted_at(str(place))[0].type for place in places] == ["ext4", "btrfs", "ext4"]
            # Something over one of them is said; it goes when that has gone.
            subprocess.run(["mount", "-t", "tmpfs", "none", places[0]], check=True)
            assert "(something is mounted over it)" in command("list").stdout
            done = command("unmount", places[0], status=5)
            assert "is mounted over it" in done.stderr
            subprocess.run(["umount", places[0]], check=True)
            assert "mounted over" not in command("list").stdout
        assert traces(first.session) == []
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", folder], check=True)
