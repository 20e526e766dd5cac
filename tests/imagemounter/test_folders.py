"""A folder of files as a disk: imagemounter's ``dir``."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyimount import ImageParser, Unmounter
from pyimount.exceptions import MountError
from tests.imagemounter.disks import left_of, plain, sessions
from tests.mounting.images import check, content
from tests.needing import needs, needs_root

Make = Callable[..., ImageParser]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of files."""
    needs_root()
    return content(tmp_path)


@pytest.mark.parametrize("more", [{}, {"read_write": True}, {"force_disk_indexes": True}], ids=str)
def test_one_volume(parsers: Make, folder: Path, more: dict[str, bool]) -> None:
    parser = parsers([folder], **more)
    (volume,) = parser.init(swallow_exceptions=False)
    assert volume.index == ("1.0" if "force_disk_indexes" in more else "0")
    assert (volume.fstype, volume.is_mounted, volume.exception) == ("dir", True, None)
    assert (volume.loopback, volume.get_raw_path()) == (None, str(folder))
    at = Path(volume.mountpoint or "")
    assert at != folder
    check(at)
    with pytest.raises(OSError, match="Read-only"):
        (at / "new").write_bytes(b"")
    assert (parser.disks[0].method, parser.disks[0].is_mounted) == ("dummy", True)
    assert str(at) in Unmounter(be_greedy=True).find_mounts()
    standing = sessions(parser)
    assert len(standing) == 1
    parser.clean()
    assert left_of(standing) == []
    assert not os.path.lexists(at)
    check(folder)


def test_beside_an_image(parsers: Make, folder: Path, tmp_path: Path) -> None:
    needs("mkfs.ext4")
    parser = parsers([plain(tmp_path), folder], pretty=True, mountdir=str(tmp_path / "at"))
    volumes = {volume.index: volume for volume in parser.init(swallow_exceptions=False)}
    assert {index: volume.fstype for index, volume in volumes.items()} == {"1.0": "ext", "2.0": "dir"}
    assert all(volume.is_mounted for volume in volumes.values())
    check(Path(volumes["2.0"].mountpoint or ""))
    (tmp_path / "elsewhere").mkdir()
    volumes["2.0"].bindmount(tmp_path / "elsewhere")
    check(tmp_path / "elsewhere")
    standing = sessions(parser)
    parser.clean()
    assert left_of(standing) == []
    assert not (tmp_path / "at").exists()


def test_what_is_not_there_is_no_folder(parsers: Make, folder: Path) -> None:
    with pytest.raises(MountError):
        list(parsers([folder / "absent"]).init())
