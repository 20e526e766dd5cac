"""The fsspec adapter: fsspec's own tests of getting files, and ours."""

import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

fsspec = pytest.importorskip("fsspec")

from fsspec.implementations.local import LocalFileSystem, make_path_posix  # noqa: E402
from fsspec.tests.abstract import AbstractFixtures  # noqa: E402
from fsspec.tests.abstract.get import AbstractGetTests  # noqa: E402

from pyimount.files.fsspec_files import PyimountFileSystem  # noqa: E402

pytestmark = pytest.mark.needs("mke2fs")


def image_of(tree: Path, image: Path) -> Path:
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(tree), str(image), "24M"]
    subprocess.run(argv, check=True, capture_output=True)
    return image


def joined(*names: str) -> str:
    return "/".join(names)


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenarios' files, laid into an image by fsspec's own functions."""
    top = tmp_path_factory.mktemp("laid")
    tree, local, made = top / "tree", LocalFileSystem(auto_mkdir=True), AbstractFixtures()
    made._bulk_operations_scenario_0(local, joined, str(tree / "bulk"))
    made._glob_edge_cases_files(local, joined, str(tree / "edge"))
    made._dir_and_file_with_same_name_prefix(local, joined, str(tree / "prefix"))
    made._10_files_with_hashed_names(local, joined, str(tree / "hashed"))
    (tree / "bulk" / "src").mkdir()
    (tree / "bulk" / "src" / "file").touch()
    return image_of(tree, top / "image")


class Laid(PyimountFileSystem):  # type: ignore[misc]
    """What a test makes by itself is there already."""

    def touch(self, path: str, truncate: bool = True, **_: object) -> None:
        assert self.exists(path)


class Fixtures(AbstractFixtures):  # type: ignore[misc]
    """What would write is overridden."""

    @pytest.fixture
    def fs(self, laid: Path) -> Iterator[PyimountFileSystem]:
        files = Laid(str(laid), in_process=True)
        yield files
        files.close()

    @pytest.fixture
    def fs_path(self) -> str:
        return "0/bulk"

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self) -> str:
        return "0/bulk/source"

    @pytest.fixture
    def fs_glob_edge_cases_files(self) -> str:
        return "0/edge/source"

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self) -> str:
        return "0/prefix/source"

    @pytest.fixture
    def fs_10_files_with_hashed_names(self) -> str:
        return "0/hashed/source"

    @pytest.fixture
    def local_fs(self) -> LocalFileSystem:
        return LocalFileSystem(auto_mkdir=True)

    @pytest.fixture
    def local_path(self, tmp_path: Path) -> str:
        return str(make_path_posix(str(tmp_path)))

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return True


class TestGet(AbstractGetTests, Fixtures):  # type: ignore[misc]
    pass


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "hostname").write_text("evidence\n")
    (folder / "large").write_bytes(bytes(range(256)) * 40_000)
    return folder


def test_the_entry_point_leads_here() -> None:
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    module, _, name = declared["project"]["entry-points"]["fsspec.specs"]["pyimount"].partition(":")
    assert (module, name) == (PyimountFileSystem.__module__, PyimountFileSystem.__name__)


def test_open_by_url_seek_glob_and_info(tmp_path: Path, tree: Path) -> None:
    # As the entry point does, where the package is installed.
    fsspec.register_implementation("pyimount", PyimountFileSystem, clobber=True)
    image = image_of(tree, tmp_path / "image")
    with fsspec.open(f"pyimount://0/etc/hostname::file://{image}", "rt") as file:
        assert file.read() == "evidence\n"
    fs = fsspec.filesystem("pyimount", fo=str(image))
    assert fs.ls("", detail=False) == ["0"]
    assert sorted(fs.ls("0", detail=False)) == ["0/etc", "0/large", "0/lost+found"]
    assert fs.glob("0/**/host*") == ["0/etc/hostname"]
    said = fs.info("0/large")
    assert (said["size"], said["type"], said["uid"]) == (256 * 40_000, "file", 0)
    with fs.open("0/large", block_size=4096) as file:
        file.seek(-3, 2)
        assert file.read() == b"\xfd\xfe\xff"
        file.seek(70_000)
        assert file.read(4) == bytes((70_000 + each) % 256 for each in range(4))
    with pytest.raises(FileNotFoundError):
        fs.info("0/nowhere")
    with pytest.raises(OSError, match="not written to"):
        fs.open("0/new", "wb")
    fs.close()
