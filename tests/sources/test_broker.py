"""What an image names is opened only where policy has it."""

from pathlib import Path

import pytest

from pyimount.sources.broker import Broker
from pyimount.sources.budget import Meter
from pyimount.sources.errors import OpenError


@pytest.fixture
def case(tmp_path: Path) -> Path:
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "child.qcow2").write_bytes(b"child")
    (tmp_path / "case" / "base.img").write_bytes(b"beside")
    (tmp_path / "secret.img").write_bytes(b"elsewhere")
    return tmp_path / "case" / "child.qcow2"


def read(broker: Broker, name: str, image: Path) -> bytes:
    return broker.open_named(name, image, Meter()).read_at(0, 100)


def test_a_file_beside_the_image_is_opened(case: Path) -> None:
    assert read(Broker(), "base.img", case) == b"beside"
    assert read(Broker(), r"C:\images\base.img", case) == b"beside"
    assert read(Broker(), "/var/lib/images/base.img", case) == b"beside"


@pytest.mark.parametrize(
    "name", ["../secret.img", "/etc/passwd", "..", ".", "", "/", "\0", "a" * 5000, "sub/../../secret.img"]
)
def test_a_file_elsewhere_is_not(case: Path, name: str) -> None:
    with pytest.raises(OpenError):
        read(Broker(), name, case)


def test_not_through_a_link_either(case: Path) -> None:
    (case.parent / "link.img").symlink_to(case.parent.parent / "secret.img")
    with pytest.raises(OpenError):
        read(Broker(), "link.img", case)
    (case.parent / "loop").symlink_to("loop")
    with pytest.raises(OpenError):
        read(Broker(), "loop", case)


def test_below_an_allowed_folder_it_is(case: Path) -> None:
    allowed = Broker((case.parent.parent,))
    assert read(allowed, "../secret.img", case) == b"elsewhere"
    assert read(allowed, str(case.parent.parent / "secret.img"), case) == b"elsewhere"
    with pytest.raises(OpenError):
        read(allowed, "/etc/passwd", case)


def test_allowed_is_what_lies_below_not_what_begins_alike(case: Path) -> None:
    folder = case.parent.parent
    (folder / "bases-private").mkdir()
    (folder / "bases-private" / "secret.img").write_bytes(b"private")
    with pytest.raises(OpenError, match="no such file"):
        read(Broker((folder / "bases",)), "../bases-private/secret.img", case)
    assert read(Broker((folder / "secret.img",)), "../secret.img", case) == b"elsewhere"
    assert read(Broker(("/",)), "../secret.img", case) == b"elsewhere"


@pytest.mark.parametrize("name", ["a" * 5000, "\0"])
def test_a_name_that_no_file_can_have_is_said_to_be_one(case: Path, name: str) -> None:
    with pytest.raises(OpenError, match="cannot be"):
        read(Broker(), name, case)


def test_an_image_behind_a_link_has_its_neighbours_where_it_lies(case: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "child.qcow2").symlink_to(case)
    assert read(Broker(), "base.img", tmp_path / "here" / "child.qcow2") == b"beside"


def test_a_fifo_beside_the_image_does_not_hang(case: Path) -> None:
    import os

    os.mkfifo(case.parent / "pipe")
    with pytest.raises(OpenError, match="FIFO"):
        read(Broker(), "pipe", case)
