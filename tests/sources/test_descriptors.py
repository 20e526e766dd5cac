"""Files that somebody else has opened, and no others."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyimount.sources.broker import Broker
from pyimount.sources.budget import Meter
from pyimount.sources.errors import OpenError


@pytest.fixture
def handed(tmp_path: Path) -> Iterator[dict[str, int]]:
    (tmp_path / "sub").mkdir()
    paths = [tmp_path / name for name in ("disk.img", "base.img", "sub/far.img")]
    for path in paths:
        path.write_text(path.name)
    made = {str(path): os.open(path, os.O_RDONLY) for path in paths}
    for path in paths:
        path.unlink()
    (tmp_path / "other.img").touch()
    yield made
    for descriptor in made.values():
        os.close(descriptor)


def test_they_are_read_as_often_as_is_asked(handed: dict[str, int], tmp_path: Path) -> None:
    broker = Broker(descriptors=handed)
    image = str(tmp_path / "disk.img")
    for _ in range(2):
        source = broker.open(image, Meter())
        assert source.read_at(0, 99) == b"disk.img"
        source.close()
    assert broker.open_named("C:\\images\\base.img", image, Meter()).read_at(0, 99) == b"base.img"
    assert broker.names_beside(image, ".img") == ["base.img", "disk.img"]


def test_no_other_is_opened(handed: dict[str, int], tmp_path: Path) -> None:
    broker = Broker(descriptors=handed)
    with pytest.raises(OpenError, match="not among the files"):
        broker.open(str(tmp_path / "other.img"), Meter())
    with pytest.raises(OpenError, match="no such file beside it"):
        broker.open_named("other.img", str(tmp_path / "disk.img"), Meter())


def test_the_policy_holds_for_them_too(handed: dict[str, int], tmp_path: Path) -> None:
    image = str(tmp_path / "disk.img")
    with pytest.raises(OpenError):
        Broker(descriptors=handed).open_named("sub/far.img", image, Meter())
    allowed = Broker([tmp_path / "sub"], handed)
    assert allowed.open_named("sub/far.img", image, Meter()).read_at(0, 99) == b"far.img"
