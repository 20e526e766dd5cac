"""What the kernel is told, without a kernel."""

import errno
import os
import stat
from pathlib import Path

import pytest

from pyimount.fuse.cache import CachedSource, open_cache
from pyimount.fuse.server import Files, is_name
from pyimount.sources.errors import BudgetError, ReadError
from pyimount.sources.source import BytesSource, Source


class Failing(Source):
    """Fails as it is told to."""

    def __init__(self, error: Exception) -> None:
        self.size = 4096
        self._error = error

    def _read(self, offset: int, length: int) -> bytes:
        raise self._error


def shown(**files: Source) -> Files:
    return Files(files, (7, 8), lambda: None)


def refused(number: int) -> "pytest.RaisesExc[OSError]":
    return pytest.raises(OSError, check=lambda error: error.errno == number)


def test_a_folder_with_files_for_its_owner_alone() -> None:
    files = shown(one=BytesSource(b"1" * 1000), two=BytesSource(b""))
    assert list(files.readdir("/", 0)) == [".", "..", "one", "two"]
    top, one = files.getattr("/"), files.getattr("/one")
    assert top["st_mode"] == stat.S_IFDIR | 0o500
    assert one["st_mode"] == stat.S_IFREG | 0o400
    assert (one["st_size"], one["st_blocks"]) == (1000, 2)
    assert {(said["st_uid"], said["st_gid"]) for said in (top, one)} == {(7, 8)}
    assert files.read("/one", 10, 995, files.open("/one", os.O_RDONLY)) == b"11111"
    assert files.read("/two", 10, 0, files.open("/two", os.O_RDONLY)) == b""


def test_what_is_not_there_is_said_so() -> None:
    files = shown(one=BytesSource(b""))
    for ask in (lambda: files.getattr("/two"), lambda: files.open("/two", os.O_RDONLY)):
        with refused(errno.ENOENT):
            ask()


@pytest.mark.parametrize(
    "error",
    [
        ReadError("gone"),
        BudgetError("spent"),
        MemoryError(),
        ValueError(),
        OSError(errno.EPERM, ""),
        KeyError(),
    ],
)
def test_every_failure_to_read_is_an_input_output_error(error: Exception) -> None:
    files = shown(bad=Failing(error))
    with refused(errno.EIO):
        files.read("/bad", 10, 0, files.open("/bad", os.O_RDONLY))


def test_nothing_is_written_without_a_cache() -> None:
    files = shown(one=BytesSource(b"data"))
    handle = files.open("/one", os.O_RDONLY)
    for ask in (
        lambda: files.open("/one", os.O_RDWR),
        lambda: files.open("/one", os.O_WRONLY),
        lambda: files.write("/one", b"x", 0, handle),
        lambda: files.truncate("/one", 4),
    ):
        with refused(errno.EROFS):
            ask()
    files.flush("/one", handle)
    files.fsync("/one", 0, handle)


def test_a_layer_with_a_cache_keeps_its_size(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    cached = CachedSource(BytesSource(b"data"), open_cache(folder, ["one"])["one"])
    os.close(folder)
    files = shown(one=cached)
    handle = files.open("/one", os.O_RDWR)
    assert files.getattr("/one")["st_mode"] == stat.S_IFREG | 0o600
    assert files.write("/one", b"DA", 0, handle) == 2
    assert files.read("/one", 9, 0, handle) == b"DAta"
    for offset, data in ((4, b"x"), (3, b"xy"), (1 << 60, b"x")):
        with refused(errno.ENOSPC):
            files.write("/one", data, offset, handle)
    with refused(errno.EPERM):
        files.truncate("/one", 0)
    files.truncate("/one", 4)
    cached.close()


def test_a_block_that_cannot_be_read_cannot_be_written_in_part(tmp_path: Path) -> None:
    class Bad(BytesSource):
        healthy = True

        def _read(self, offset: int, length: int) -> bytes:
            if not self.healthy:
                raise ReadError("gone")
            return super()._read(offset, length)

    base = Bad(bytes(8192))
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    cached = CachedSource(base, open_cache(folder, ["one"])["one"])
    os.close(folder)
    base.healthy = False
    files = shown(one=cached)
    handle = files.open("/one", os.O_RDWR)
    with refused(errno.EIO):
        files.write("/one", b"part", 0, handle)
    assert files.write("/one", b"w" * 4096, 0, handle) == 4096
    assert files.read("/one", 4096, 0, handle) == b"w" * 4096
    with refused(errno.EIO):
        files.read("/one", 4097, 0, handle)
    cached.close()


@pytest.mark.parametrize("name", ["0.raw", "a-b_c.1", "x" * 64])
def test_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "-a", "a/b", "a\n", "a\0", "é", "x" * 65, 5, None])
def test_what_is_no_name(name: object) -> None:
    assert not is_name(name)
