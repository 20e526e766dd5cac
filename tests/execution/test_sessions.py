"""What a person means by a path: which session, and which of its mounts."""

from pathlib import Path

import pytest

from pyimount.execution.sessions import meant


def session(folder: Path) -> dict[str, object]:
    mounts = [(3, folder / "mnt" / "1"), (5, folder / "mnt" / "2"), (9, folder / "mnt-else")]
    return {
        "session": "0123abcd",
        "images": [str(folder / "disk.img")],
        "mounts": [{"step": step, "mountpoint": str(path)} for step, path in mounts],
    }


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("disk.img", None),
        ("mnt/../disk.img", None),
        ("mnt", {3, 5}),
        ("mnt/", {3, 5}),
        ("mnt//2", {5}),
        (".", {3, 5, 9}),
        ("other.img", set()),
        ("mnt/1/etc", set()),
    ],
)
def test_a_path_means_an_image_a_mount_point_or_a_folder_above_some(
    name: str, steps: set[int] | None, tmp_path: Path
) -> None:
    assert meant(f"{tmp_path}/{name}", session(tmp_path)) == steps


def test_the_name_of_a_session_means_all_of_it(tmp_path: Path) -> None:
    assert meant("0123abcd", session(tmp_path)) is None
    assert meant("89abcdef", session(tmp_path)) == set()


def test_links_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk.img").touch()
    (tmp_path / "mnt").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "image").symlink_to("../disk.img")
    (elsewhere / "mounts").symlink_to(tmp_path / "mnt")
    monkeypatch.chdir(elsewhere)
    assert meant("image", session(tmp_path)) is None
    assert meant("mounts/2", session(tmp_path)) == {5}
    assert meant("../disk.img", session(tmp_path)) is None
