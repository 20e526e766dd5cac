"""What a person means by a word: which session, and which of its mounts."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyimount.execution.wanted import identity, look_at, meant
from tests.needing import needs_root


def session(folder: Path, *images: Path) -> dict[str, object]:
    mounts = [(3, folder / "mnt" / "1"), (5, folder / "mnt" / "2"), (9, folder / "mnt-else")]
    named = images or (folder / "disk.img",)
    return {
        "session": "0123abcd",
        "images": [str(image) for image in named],
        "files": [identity(str(image)) for image in named],
        "mounts": [{"step": step, "mountpoint": str(path)} for step, path in mounts],
    }


def steps(word: str | Path, of: dict[str, object]) -> set[int] | None:
    return meant(look_at(str(word)), of)


@pytest.mark.parametrize("there", [True, False], ids=["image", "image that is gone"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("disk.img", None),
        ("mnt/../disk.img", None),
        (".//./disk.img", None),
        ("mnt", {3, 5}),
        ("mnt/", {3, 5}),
        ("mnt//2", {5}),
        ("mnt/../mnt/./2/", {5}),
        (".", {3, 5, 9}),
        ("other.img", set()),
        ("mnt/1/etc", set()),
        ("mnt/12", set()),
        ("", {3, 5, 9}),
    ],
)
def test_a_path_means_an_image_a_mount_point_or_a_folder_above_some(
    name: str, expected: set[int] | None, *, there: bool, tmp_path: Path
) -> None:
    if there:
        (tmp_path / "disk.img").touch()
    assert steps(f"{tmp_path}/{name}", session(tmp_path)) == expected


def test_the_name_of_a_session_means_all_of_it(tmp_path: Path) -> None:
    assert steps("0123abcd", session(tmp_path)) is None
    assert steps("89abcdef", session(tmp_path)) == set()


def test_links_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk.img").touch()
    (tmp_path / "mnt").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "image").symlink_to("../disk.img")
    (elsewhere / "mounts").symlink_to(tmp_path / "mnt")
    monkeypatch.chdir(elsewhere)
    of = session(tmp_path)
    assert steps("image", of) is None
    assert steps("mounts/2", of) == {5}
    assert steps("../disk.img", of) is None
    # As it was mounted by a link, which leads elsewhere now.
    by_link = session(tmp_path, elsewhere / "image")
    assert steps("../disk.img", by_link) is None
    (elsewhere / "image").unlink()
    assert steps("image", by_link) is None


@pytest.mark.parametrize("name", ["disk.img", "a b\n\t\\040é.img", "-x"])
def test_an_image_by_any_name_that_it_has(tmp_path: Path, name: str) -> None:
    image = tmp_path / name
    image.touch()
    of = session(tmp_path, image)
    (tmp_path / "hard").hardlink_to(image)
    assert steps(tmp_path / "hard", of) is None
    image.rename(tmp_path / "renamed")
    assert steps(tmp_path / "renamed", of) is None
    # Nothing has the old name: it still means what had it. Something else that has it is something else.
    assert steps(image, of) is None
    image.touch()
    assert steps(image, of) == set()


def test_each_of_several_images(tmp_path: Path) -> None:
    names = [tmp_path / f"disk.E0{number}" for number in (1, 2, 3)]
    for each in names:
        each.touch()
    of = session(tmp_path, *names)
    assert [steps(each, of) for each in names] == [None] * 3
    # A ledger that does not tell, of an earlier version, has names only.
    del of["files"]
    assert [steps(each, of) for each in names] == [None] * 3


def test_a_share_that_was_mounted_anew(tmp_path: Path) -> None:
    """Its device is another then, its inodes are not."""
    image = tmp_path / "disk.img"
    image.touch()
    of = session(tmp_path)
    device, inode, number = identity(str(image)) or (0, 0, 0)
    assert steps(image, {**of, "files": [[device + 1, inode, number]]}) is None
    assert steps(image, {**of, "files": [[device, inode + 1, number]]}) == set()


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[Path]:
    """Another name of the folder, by a bind mount."""
    needs_root()
    for name in ("case", "case/mnt", "case/mnt/1", "else"):
        (tmp_path / name).mkdir()
    (tmp_path / "case" / "disk.img").touch()
    subprocess.run(["mount", "--bind", tmp_path / "case", tmp_path / "else"], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path / "else"], check=True)


def test_through_a_bind_mount(bound: Path) -> None:
    of = session(bound / "case")
    assert steps(bound / "else" / "disk.img", of) is None
    assert steps(bound / "else" / "mnt" / "1", of) == {3}
    assert steps(bound / "else" / "mnt", of) == {3, 5}
    assert steps(bound / "else", of) == {3, 5, 9}
    assert steps(bound / "else" / "mnt" / "absent", of) == set()


def test_a_device_that_it_made_by_any_node(tmp_path: Path) -> None:
    needs_root()
    number = os.makedev(7, 250)
    for name in ("made", "same", "other"):
        os.mknod(tmp_path / name, 0o600 | 0o060000, number + (name == "other"))
    (tmp_path / "link").symlink_to("made")
    of = {**session(tmp_path), "devices": [{"step": 2, "device": str(tmp_path / "made")}]}
    found = {name: steps(tmp_path / name, of) for name in ("made", "same", "link", "other")}
    assert found == {"made": {2}, "same": {2}, "link": {2}, "other": set()}
    # A device that is itself the image.
    as_image = session(tmp_path, tmp_path / "made")
    assert steps(tmp_path / "same", as_image) is None
