"""Readers that end, libraries that differ, and the one that takes over."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import pyimount
from fixtures.workshop import fixtures
from pyimount.cli import main
from pyimount.files import confined, session
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
        assert [(each.path, each.what) for each in found or ()] == [
            ("/", "can be listed"), ("/latin-\udce4", "is there")
        ]  # fmt: skip


@pytest.mark.needs("mke2fs")
def test_a_second_library_that_refuses_is_a_difference(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As libfsext 20260821 refuses revision 0."""
    image = str(made(tmp_path, "-t", "ext2", "-r", "0"))
    assert main(["find", image, "--second-opinion", "0:/"]) == 1
    said = capfd.readouterr()
    assert said.out.startswith("/: can be read: dissect.extfs: yes; pyfsext: ")
    assert "unsupported inode size" in said.out
    assert said.err == ""


@pytest.mark.needs("mke2fs")
def test_a_folder_that_one_library_cannot_list_to_its_end_is_a_difference(tmp_path: Path) -> None:
    """Libfsext 20260821 has no name for one of 255 bytes."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / ("n" * 255)).write_text("found\n")
    with Files(pyimount.detect(made(tmp_path, "-t", "ext4")), Keyring(), in_process=True) as files:
        (volume,) = files.volumes()
        found = [(each.path, each.what) for each in compare(files.root(volume), hashes=False) or ()]
    assert found == [("/", "can be listed"), ("/" + "n" * 255, "is there")]


NONSENSE: list[tuple[str, object]] = [
    ("list", None), ("list", [None]), ("list", [["name", 1, [], None]]), ("list", [[7, 1, None, None]]),
    ("list", [["name", 1, None, 5]]), ("list", 5), ("find", None), ("find", ["file"]), ("find", 8),
    ("target", 5), ("streams", 5), ("streams", [[1, 2, 3]]), ("runs", 5), ("runs", [["a", 0, 0]]),
    ("size", "big"), ("size", -1),
]  # fmt: skip
_SAYS = {"list": "entries", "find": "stat"}


@pytest.mark.needs("mke2fs")
@pytest.mark.parametrize(("do", "said"), NONSENSE)
def test_what_makes_no_sense_in_an_answer_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, do: str, said: object
) -> None:
    """As from a reader that the image's bytes have taken over: a problem or an OSError, and nothing else."""
    with opened(made(tmp_path, "-t", "ext4")) as files:
        link, root = files.get("/short link"), files.root
        asked = session.Session.answer

        def answer(self: session.Session, question: Mapping[str, Any]) -> session.Answer:
            answered, data = asked(self, question)
            return ({**answered, _SAYS.get(do, do): said}, data) if question["do"] == do else (answered, data)

        monkeypatch.setattr(session.Session, "answer", answer)
        if do == "list":
            assert [entry for entry in root.entries() if entry.problem is None] == []
            assert all("makes no sense" in problem.message for problem in root.problems)
        else:
            asks: dict[str, Callable[[], object]] = {
                "find": lambda: files.get("/empty"), "size": link.length, "target": link.target,
                "streams": link.streams, "runs": link.runs,
            }  # fmt: skip
            with pytest.raises(Damaged):
                asks[do]()
