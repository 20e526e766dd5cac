"""What programs read and pass that were written for imagemounter 3.1.0, or for a fork of it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from fixtures.workshop import find_tool
from pyimount import Disk, ImageParser, Volume
from pyimount.exceptions import ImageMounterError, NoRootFoundError, UnsupportedFilesystemError
from tests.imagemounter.disks import e01
from tests.imagemounter.groups import three_logical_volumes
from tests.imagemounter.original import RUNNER, install
from tests.mounting.images import blank, tool
from tests.needing import needs, needs_root

Make = Callable[..., ImageParser]


@pytest.fixture(scope="module")
def logical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw disk with three logical volumes, the last of which is empty."""
    needs("mkfs.ext4")
    folder = tmp_path_factory.mktemp("logical")
    parts = []
    for name in ("one", "two"):
        image = blank(folder / f"{name}.ext4", 640 << 10)
        tool("mkfs.ext4", "-q", "-b", "1024", "-O", "^has_journal,^resize_inode", "-L", name, image)
        parts.append(image.read_bytes())
    return three_logical_volumes(folder, parts)


# The order of arguments.

ORDERS: dict[str, tuple[tuple[Any, ...], dict[str, Any], list[str] | None]] = {
    "documented": ((None, None, True), {}, ["1", "2", "3"]),
    "documented, and it raises": ((None, None, False), {}, None),
    "as imount calls it": ((None, None, None), {"swallow_exceptions": True}, ["1", "2", "3"]),
    "as imount calls it, with a list": ((None, None, ["2"]), {"swallow_exceptions": True}, ["1", "3"]),
    "all by their places": ((None, ["1", "2"], ["2"], True), {}, ["1"]),
    "all by their places, and it raises": ((None, None, ["2"], False), {}, None),
    "a tuple": ((None, None, ("2", "3")), {}, ["1"]),
    "all by name": ((), {"only_mount": ["1", "3"], "skip_mount": ["3"], "swallow_exceptions": True}, ["1"]),
    "a bool and a name": ((None, None, True), {"skip_mount": ["1"]}, ["2", "3"]),
}


@pytest.mark.parametrize("order", ORDERS)
def test_arguments_in_either_order(order: str, monkeypatch: pytest.MonkeyPatch, tree_disk: Path) -> None:
    """What is wanted is seen in what ``init_volume`` is called for: nothing has to be mounted for that."""
    arguments, named, wanted = ORDERS[order]

    def called(then: Callable[[ImageParser], Iterator[Volume]]) -> list[str] | None:
        tried: list[str] = []

        def refuse(volume: Volume, fstype: str | None = None) -> bool:
            if volume.flag == "alloc":
                tried.append(volume.index)
                raise UnsupportedFilesystemError("not here")
            return False

        monkeypatch.setattr(Volume, "init_volume", refuse)
        parser = ImageParser([tree_disk])
        try:
            list(then(parser))
        except ImageMounterError:
            return None
        return tried

    assert called(lambda parser: parser.init_volumes(*arguments, **named)) == wanted
    assert called(lambda parser: parser.disks[0].init_volumes(*arguments, **named)) == wanted
    assert called(lambda parser: parser.disks[0].mount_volumes(*arguments, **named)) == wanted
    assert called(lambda parser: parser.disks[0].init(*arguments, **named)) == wanted
    # Those that have no ``single``.
    rest = arguments[1:]

    def each(parser: ImageParser) -> Iterator[Volume]:
        for volume in parser.disks[0].detect_volumes():
            yield from volume.init(*rest, **named)

    assert called(each) == wanted
    assert called(lambda parser: parser.disks[0].init_multiple_volumes(*rest, **named)) == wanted


def test_an_argument_that_is_there_twice_is_an_error(tree_disk: Path) -> None:
    parser = ImageParser([tree_disk])
    with pytest.raises(TypeError, match="skip_mount"):
        parser.init_volumes(None, None, ["1"], skip_mount=["2"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="swallow_exceptions"):
        parser.init_volumes(None, None, True, swallow_exceptions=True)  # type: ignore[misc]


# Names.


def test_what_clients_of_a_fork_read(logical: Path) -> None:
    parser = ImageParser([logical])
    (disk,) = parser.disks
    (member,) = disk.detect_volumes()
    inner = list(member.volumes.detect_volumes())
    assert (disk._name, disk._paths) == ("three.raw", {})
    assert [volume.vgname for volume in (member, *inner)] == ["by-hand"] * 4
    assert not any(volume.duplicate_volume_group for volume in (member, *inner))
    assert (Volume(disk).vgname, member._paths) == ("", {})


def test_places_in_the_list_where_no_index_is_meant(logical: Path, tree_disk: Path) -> None:
    (disk,) = ImageParser([tree_disk]).disks
    found = list(disk.detect_volumes())
    assert disk.volumes[0] is found[0]
    # An index goes before a place.
    assert (disk.volumes[1].index, disk.volumes["1"].index, disk[3].index) == ("1", "1", "3")
    for missing in (-1, len(found) + 1, "0"):
        with pytest.raises(KeyError):
            disk.volumes[missing]
    (member,) = ImageParser([logical]).disks[0].detect_volumes()
    inner = list(member.volumes.detect_volumes())
    assert [member.volumes[number] for number in range(3)] == inner


def test_constants_are_where_programs_import_them() -> None:
    import pyimount
    import pyimount.imagemounter

    for package in (pyimount, pyimount.imagemounter):
        assert package.BLOCK_SIZE == 512
        assert "ewfmount" in package.DISK_MOUNTERS
        assert "gpt" in package.VOLUME_SYSTEM_TYPES
        assert "ext" in package.FILE_SYSTEM_TYPES
        assert package.__version__ == pyimount.__version__


# reconstruct().


def by_hand(last_mountpoints: dict[str, str | None]) -> tuple[ImageParser, list[Volume]]:
    """A parser with a disk that is not there, whose volumes are told to be mounted somewhere."""
    parser = ImageParser()
    disk = parser.add_disk("/nowhere/disk.dd")
    volumes = []
    for index, last in last_mountpoints.items():
        volume = Volume(disk, index=index)
        volume.mountpoint = f"/mnt/{index}"
        volume.info["lastmountpoint"] = last
        volumes.append(volume)
    disk.volumes.volumes = volumes
    return parser, volumes


def test_reconstruct_of_volumes_made_by_hand() -> None:
    parser, (first, second, third) = by_hand({"1": "/etc/x", "2": "/", "3": "/etc"})
    bound: list[tuple[str, str]] = []

    def bindmount(volume: Volume, target: str) -> bool:
        bound.append((volume.index, target))
        return True

    with mock.patch.object(Volume, "bindmount", bindmount):
        assert parser.reconstruct() is second
    assert bound == [(third.index, "/mnt/2/etc"), (first.index, "/mnt/2/etc/x")]


def test_the_first_of_several_roots_and_what_is_no_mount_point() -> None:
    parser, (_, second, *_) = by_hand({"2": "/", "1": "/", "3": "/../etc", "4": "/home"})
    with mock.patch.object(Volume, "bindmount") as bindmount:
        assert parser.reconstruct() is second
    bindmount.assert_called_once_with("/mnt/1/home")


def test_reconstruct_without_a_root_among_volumes_made_by_hand() -> None:
    parser, _ = by_hand({"1": "/etc/x", "2": "/etc"})
    with pytest.raises(NoRootFoundError):
        parser.reconstruct()


def test_folders_that_the_caller_mounted_are_bound(parsers: Make, tmp_path: Path, one_ext4: Path) -> None:
    needs_root()
    parser = parsers([one_ext4])
    root, home = (Volume(parser.disks[0], index=index) for index in ("8", "9"))
    parser.disks[0].volumes.volumes += [root, home]
    for volume, name, last in ((root, "root", "/"), (home, "home", "/home")):
        folder = tmp_path / name
        folder.mkdir()
        volume.mountpoint, volume.info["lastmountpoint"] = str(folder), last
    (tmp_path / "root" / "home").mkdir()
    (tmp_path / "home" / "alice").write_text("here")
    assert parser.reconstruct() is root
    assert (tmp_path / "root" / "home" / "alice").read_text() == "here"
    assert home.bindmounts == [str(tmp_path / "root" / "home")]
    parser.clean()
    assert list((tmp_path / "root" / "home").iterdir()) == []


def test_reconstruct_of_volumes_at_offsets_of_the_callers(parsers: Make, tree_disk: Path) -> None:
    """Each by itself, at a place where the disk's table has none of that size."""
    needs_root()
    parser = parsers([tree_disk])
    disk = parser.disks[0]
    disk.mount()
    for number in range(3):
        volume = Volume(disk, index=f"hand{number}", offset=(1 + 8 * number) << 20, fstype="ext")
        disk.volumes.volumes.append(volume)
        assert volume.init_volume()
    root = parser.reconstruct()
    assert root.index == "hand0"
    assert Path(root.mountpoint or "", "home/alice/letter.txt").exists()
    assert Path(root.mountpoint or "", "var/log/syslog").exists()


# Other mounters, other programs.


@pytest.mark.parametrize("mounter", ["ewfmount", "xmount"])
def test_another_disk_mounter_with_a_volume_group_inside(
    parsers: Make, logical: Path, tmp_path: Path, mounter: str
) -> None:
    needs_root()
    needs("ewfacquire", mounter)
    (tmp_path / "disk.raw").write_bytes(logical.read_bytes())
    parser = parsers([e01(tmp_path / "disk.raw")], disk_mounter=mounter)
    found = {volume.index: volume for volume in parser.init()}
    assert [index for index, volume in found.items() if volume.mountpoint] == ["0.0", "0.1"]
    assert len(parser.case.sessions) == 1
    raw = Path(parser.disks[0].get_raw_path() or "")
    assert raw.read_bytes()[:1024] == logical.read_bytes()[:1024]


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with imagemounter 3.1.0."""
    return install(tmp_path_factory.mktemp("imagemounter"))


def test_imagemounters_own_imount(original: Path, logical: Path, tmp_path: Path) -> None:
    """Version 3.1.0's command, its classes taken from pyimount, on an E01 with a volume group."""
    needs_root()
    needs("ewfacquire", "mmls", "ewfmount")
    (tmp_path / "disk.raw").write_bytes(logical.read_bytes())
    image = e01(tmp_path / "disk.raw")
    package = next(original.parent.parent.glob("lib/*/site-packages/imagemounter"))
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, package, "--no-color", "-o", "0.1", image],
        input="\n" * 9, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "0.1:Ext4 two" in done.stdout
    assert done.stdout.count("Mounted volume") == 1
    assert "[+] All cleaned up" in done.stdout
    assert find_tool("losetup") is not None
    assert str(image) not in tool("losetup", "--list", "--raw")


def test_a_disk_for_itself(tree_disk: Path) -> None:
    disk = Disk(None, tree_disk)
    assert [volume.index for volume in disk.detect_volumes() if volume.flag == "alloc"] == ["1", "2", "3"]
    assert disk.parser is None
