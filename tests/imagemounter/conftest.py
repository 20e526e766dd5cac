"""Parsers that are cleaned whatever a test does, and are then held to have left nothing."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyimount import ImageParser
from tests.imagemounter.disks import e01, left_of, plain, sessions, three_volumes
from tests.mounting.images import digest
from tests.needing import needs, needs_root

Make = Callable[..., ImageParser]


@pytest.fixture(scope="session")
def tree_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw disk with /, /home and /var."""
    needs("mkfs.ext4", "sfdisk")
    return three_volumes(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="session")
def tree_e01(tree_disk: Path) -> Path:
    """The same as an E01."""
    needs("ewfacquire")
    return e01(tree_disk)


@pytest.fixture(scope="session")
def one_ext4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ext4 without a partition table."""
    needs("mkfs.ext4")
    return plain(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """No root, as far as pyimount can tell."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)


@pytest.fixture
def parsers() -> Iterator[Make]:
    """Makes ImageParsers; needs root."""
    needs_root()
    made: list[tuple[ImageParser, dict[Path, str]]] = []

    def make(*args: Any, **kwargs: Any) -> ImageParser:
        parser = ImageParser(*args, **kwargs)
        files = [Path(path) for disk in parser.disks for path in disk.paths]
        made.append((parser, {path: digest(path) for path in files if path.is_file()}))
        return parser

    yield make
    for parser, digests in made:
        names = sessions(parser)
        caches = [disk.rwpath for disk in parser.disks if disk.rwpath]
        parser.force_clean(allow_lazy=True)
        for cache in caches:
            shutil.rmtree(cache, ignore_errors=True)
        assert left_of(names) == []
        for path, before in digests.items():
            assert digest(path) == before, f"{path} was written to"
