"""Readers that end, libraries that differ, and the one that takes over."""

from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import fixtures
from pyimount.files import confined
from pyimount.files.system import CannotRead, Damaged
from pyimount.inside.comparing import compare
from pyimount.inside.tree import Files
from pyimount.keys import Keyring
from tests.files.test_ext import made
from tests.files.trees import of_folder, of_image, opened


def fixture(name: str, folder: Path) -> Path:
    return next(each for each in fixtures() if each.name == name).unpack(folder)


@pytest.mark.needs("mke2fs")
def test_a_reader_that_was_killed_is_replaced(tmp_path: Path) -> None:
    with opened(made(tmp_path, "-t", "ext4"), in_process=False) as files:
        assert files.get("/etc/hostname").read() == b"evidence\n"
        (reader,) = files._libraries._running.values()
        assert isinstance(reader, confined.Confined)
        reader._process.kill()
        reader._process.wait()
        # The second library answers what was asked then, and that is told; the first is started again.
        assert files.get("/etc/hostname").read() == b"evidence\n"
        assert any("the reader ended" in problem.message for problem in files.problems)
        assert of_image(files, without=("lost+found",)) == of_folder(tmp_path / "tree")


@pytest.mark.needs("mke2fs")
def test_without_a_second_library_a_death_is_said_with_its_path(tmp_path: Path) -> None:
    with opened(made(tmp_path, "-t", "ext4"), "dissect.extfs", in_process=False) as files:
        (reader,) = files._libraries._running.values()
        assert isinstance(reader, confined.Confined)
        reader._process.kill()
        reader._process.wait()
        with pytest.raises(Damaged, match="the reader ended") as raised:
            files.get("/etc/hostname")
        assert raised.value.filename == "/etc/hostname"
        assert files.get("/etc/hostname").read() == b"evidence\n"


@pytest.mark.needs("mke2fs")
def test_the_second_library_reads_what_the_first_does_not(tmp_path: Path) -> None:
    """The first library reads revision 0, the other does not: asked for alone it refuses."""
    image = made(tmp_path, "-t", "ext2", "-r", "0")
    with pytest.raises(CannotRead, match="unsupported inode size"):
        opened(image, "pyfsext")
    with opened(image) as files:
        assert files.libraries[0] == "dissect.extfs"
        assert files.get("/etc/hostname").read() == b"evidence\n"


@pytest.mark.parametrize("name", ["ntfs", "ntfs-4k", "ntfs-dirty", "apfs", "ext3", "ext4"])
def test_two_libraries_see_the_same(tmp_path: Path, name: str) -> None:
    with Files(pyimount.detect(fixture(name, tmp_path)), Keyring(), in_process=True) as files:
        compared = 0
        for volume in files.volumes():
            if volume.locked:
                continue
            found = compare(files.root(volume), hashes=True)
            assert found is not None
            assert list(found) == []
            compared += 1
        assert compared


@pytest.mark.needs("mke2fs")
def test_what_two_libraries_see_differently_is_told(tmp_path: Path) -> None:
    """As libfsext 20260821 has no way to give a name that is no UTF-8, and lists none."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / b"latin-\xe4".decode("utf-8", "surrogateescape")).write_text("found\n")
    image = made(tmp_path, "-t", "ext4")
    with Files(pyimount.detect(image), Keyring(), in_process=True) as files:
        (volume,) = files.volumes()
        found = compare(files.root(volume), hashes=False)
        assert [(each.path, each.what) for each in found or ()] == [("/latin-\udce4", "is there")]
