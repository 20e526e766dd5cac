"""What is read of a mounted tree, and what is never read: anything outside of it."""

import os
from pathlib import Path

import pytest

from pyimount.execution import mounted_trees, syscalls
from pyimount.execution.mounted_trees import NAMES_CAP, TEXT_CAP, observe


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    for folder in ("etc", "usr/lib", "home/ann", "ann"):
        (top / folder).mkdir(parents=True)
    (top / "etc/fstab").write_text("UUID=1 / ext4\n")
    (top / "etc/hostname").write_text("box\n")
    (top / "usr/lib/os-release").write_text('NAME="Debian"\nVERSION_ID="12"\n')
    (top / "etc/os-release").symlink_to("../usr/lib/os-release")
    (top / "ann/.bashrc").write_text("")
    return top


@pytest.fixture(params=["openat2", "walk"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to open a file within the tree."""
    if request.param == "walk":

        def none(*arguments: object) -> int:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(syscalls, "openat2", none)


def test_facts(tree: Path) -> None:
    found = observe(str(tree), 7)
    assert (found.layer, set(found.names)) == (7, {"etc", "usr", "home", "ann"})
    assert (found.fstab, found.hostname, found.homes) == ("UUID=1 / ext4\n", "box", ("ann",))
    assert found.system() == {"name": "Debian", "version": "12", "hostname": "box"}
    assert found.subvolume is None


def test_the_root_subvolume_of_a_btrfs(tmp_path: Path) -> None:
    for folder in ("@/etc", "@/usr", "@home"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "@/etc/fstab").write_text("it")
    found = observe(str(tmp_path), 0)
    assert (found.subvolume, found.fstab) == ("@", "it")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret", "../other", "/proc/self/environ"])
def test_links_are_not_followed(tree: Path, target: str) -> None:
    (tree.parent / "secret").write_text("secret")
    (tree / "other").write_text("other")
    for name in ("fstab", "hostname", "crypttab"):
        (tree / "etc" / name).unlink(missing_ok=True)
        (tree / "etc" / name).symlink_to(target)
    found = observe(str(tree), 0)
    assert (found.fstab, found.hostname, found.crypttab) == (None, None, None)
    (tree / "ann").rename(tree / "moved")
    (tree / "ann").symlink_to(tree.parent)
    (tree.parent / ".bashrc").write_text("")
    assert observe(str(tree), 0).homes == ("moved",)


def test_a_folder_that_is_a_link_leads_nowhere(tree: Path) -> None:
    (tree / "etc").rename(tree.parent / "etc")
    (tree / "etc").symlink_to(tree.parent / "etc")
    assert observe(str(tree), 0).fstab is None


def test_pipes_devices_and_folders_are_not_read(tree: Path) -> None:
    (tree / "etc/fstab").unlink()
    os.mkfifo(tree / "etc/fstab")
    (tree / "etc/crypttab").mkdir()
    found = observe(str(tree), 0)
    assert (found.fstab, found.crypttab) == (None, None)


def test_only_so_much_is_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "etc/fstab").write_bytes(b"\xff" * (TEXT_CAP + 100))
    assert len(observe(str(tree), 0).fstab or "") == TEXT_CAP
    monkeypatch.setattr(mounted_trees, "NAMES_CAP", 2)
    assert len(observe(str(tree), 0).names) == 2
    assert NAMES_CAP > 1000


def test_names_are_text_whatever_they_are(tree: Path) -> None:
    (tree / os.fsdecode(b"\xff\n\x1b")).mkdir()
    found = observe(str(tree), 0)
    assert "\ufffd\n\x1b" in found.names
    (tree / "etc/hostname").write_text("a\x1bb\nc")
    assert observe(str(tree), 0).hostname is None


def test_the_tree_itself_may_not_be_a_link(tree: Path) -> None:
    (tree.parent / "link").symlink_to(tree)
    with pytest.raises(OSError, match="link"):
        observe(str(tree.parent / "link"), 0)
