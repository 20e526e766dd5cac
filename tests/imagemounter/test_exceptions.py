"""The tree of exceptions, and what stands on the machine."""

import json
import pickle
import subprocess
import sys

import pytest

from pyimount import dependencies, exceptions
from pyimount.execution import tools
from tests.needing import needs

TREE = {
    "PrerequisiteFailedError": "ImageMounterError",
    "CommandNotFoundError": "PrerequisiteFailedError",
    "ModuleNotFoundError": "PrerequisiteFailedError",
    "ArgumentError": "PrerequisiteFailedError",
    "NotMountedError": "PrerequisiteFailedError",
    "MountError": "ImageMounterError",
    "MountpointEmptyError": "MountError",
    "KeyInvalidError": "MountError",
    "FilesystemError": "MountError",
    "UnsupportedFilesystemError": "FilesystemError",
    "IncorrectFilesystemError": "FilesystemError",
    "AvailabilityError": "MountError",
    "NoMountpointAvailableError": "AvailabilityError",
    "NoLoopbackAvailableError": "AvailabilityError",
    "NoNetworkBlockAvailableError": "AvailabilityError",
    "CleanupError": "ImageMounterError",
    "NoRootFoundError": "ImageMounterError",
    "DiskIndexError": "ImageMounterError",
    "SubsystemError": "ImageMounterError",
}


@pytest.mark.parametrize(("name", "base"), TREE.items())
def test_the_tree(name: str, base: str) -> None:
    assert getattr(exceptions, name).__bases__ == (getattr(exceptions, base),)


def test_there_are_no_others() -> None:
    found = {name for name in vars(exceptions) if name.endswith("Error")}
    assert found == {*TREE, "ImageMounterError"}


def test_an_exception_keeps_its_remedy_in_a_pickle() -> None:
    error = exceptions.KeyInvalidError("locked")
    assert error.remedy is None
    error.remedy = "a key"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (str(again), again.remedy) == ("locked", "a key")


def test_dependencies_are_what_check_lists() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pyimount", "check", "--json"], capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    commands = {each.name: each for each in dependencies.COMMANDS}
    assert [tool["name"] for tool in said["tools"]] == list(commands)
    for tool in said["tools"]:
        assert commands[tool["name"]].is_available == (tool["path"] is not None)
        assert commands[tool["name"]].path == tool["path"]
        assert commands[tool["name"]].package == tool["package"]
    assert {each.name: each.is_available for each in dependencies.KERNEL} == said["kernel"]
    assert [each.is_available for each in dependencies.LIBRARIES] == [bool(said["libfuse3"])]
    for each in dependencies.FILE_SYSTEMS:
        assert each.is_available == (each.name in said["filesystems"])


def test_what_is_available_is_looked_up_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("mount")
    mount = dependencies.find("mount")
    assert mount.is_available
    assert bool(mount)
    assert str(mount) == "mount"
    monkeypatch.setattr(tools, "find", lambda _: None)
    assert not mount.is_available
    assert not mount


def test_python_packages() -> None:
    there = dependencies.PythonModuleDependency(name="construct", package="construct", why="")
    absent = dependencies.PythonModuleDependency(name="no_such.module", package=None, why="")
    assert there.is_available
    assert not absent.is_available
    with pytest.raises(KeyError):
        dependencies.find("nothing")
    assert len({each.name for each in dependencies.ALL}) == len(dependencies.ALL)
