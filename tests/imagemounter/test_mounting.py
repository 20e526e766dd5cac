"""The classes as root: what is mounted, where, and that nothing of it is left."""

import contextlib
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.workshop import find_tool
from pyimount import Disk, ImageParser, Volume
from pyimount.exceptions import (
    ArgumentError,
    CleanupError,
    CommandNotFoundError,
    ImageMounterError,
    IncorrectFilesystemError,
    KeyInvalidError,
    MountError,
    NoMountpointAvailableError,
    NoRootFoundError,
    NotMountedError,
    SubsystemError,
    UnsupportedFilesystemError,
)
from tests.imagemounter.disks import TREES, e01, file_system, left_of, partitioned, plain, sessions
from tests.imagemounter.groups import luks, mirror, ntfs_with_shadows, volume_group
from tests.mounting.images import MIB, attached, blank, check, digest, tool
from tests.needing import needs, needs_root

Make = Callable[..., ImageParser]


@pytest.fixture(scope="module", autouse=True)
def able() -> None:
    needs_root()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An ext4 of 3 MiB with what all test images hold."""
    needs("mkfs.ext4")
    folder = tmp_path_factory.mktemp("small")
    from tests.mounting.images import content

    image = blank(folder / "small.ext4", 3 * MIB)
    tool("mkfs.ext4", "-q", "-O", "^has_journal", "-d", content(folder), "-L", "small", image)
    return image.read_bytes()


def names_in(folder: str | Path | None) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in Path(folder or "").iterdir())


def mounted(parser: ImageParser, **arguments: Any) -> dict[str, Volume]:
    """What ``init`` mounts, by index."""
    return {volume.index: volume for volume in parser.init(**arguments) if volume.mountpoint}


# The example of imagemounter's own reference.

EXAMPLE = """
parser = ImageParser(['/path/to/disk'])
for v in parser.init():
    print(v.size)
root = parser.reconstruct()
print(root.mountpoint)
parser.clean()
"""


def test_the_example_of_the_reference(tree_e01: Path) -> None:
    before = digest(tree_e01)
    said = io.StringIO()
    names: dict[str, Any] = {}
    program = "from pyimount import ImageParser\n" + EXAMPLE.replace("/path/to/disk", str(tree_e01)).replace(
        "parser.clean()", "found = see(parser, root)\nparser.clean()"
    )

    def see(parser: ImageParser, root: Volume) -> tuple[list[str], dict[str, str]]:
        files = {
            path: Path(root.mountpoint or "", last.lstrip("/"), path).read_text()
            for last, paths in TREES.items()
            for path in paths
            if not path.endswith((".keep", "fstab"))
        }
        return sessions(parser), files

    with contextlib.redirect_stdout(said):
        exec(program, {"see": see}, names)  # noqa: S102
    *sizes, mountpoint = said.getvalue().splitlines()
    assert sizes[:3] == [str(8 * MIB)] * 3
    assert len(sizes) == 10
    standing, files = names["found"]
    assert files["alice/letter.txt"] == "home: alice/letter.txt\n"
    assert files["log/syslog"] == "var: log/syslog\n"
    assert files["bin/true"] == "root: bin/true\n"
    assert len(standing) == 1
    assert left_of(standing) == []
    assert not Path(mountpoint).exists()
    assert digest(tree_e01) == before


# init.


def test_init_mounts_one_after_the_other(parsers: Make, tree_disk: Path) -> None:
    parser = parsers([tree_disk])
    volumes = parser.init()
    first = next(volumes)
    assert first.is_mounted
    assert sum(volume.is_mounted for volume in parser.get_volumes()) == 1
    rest = list(volumes)
    assert [volume.index for volume in [first, *rest] if volume.is_mounted] == ["1", "2", "3"]
    assert all(volume.exception is None for volume in [first, *rest])
    assert [volume.index for volume in rest if volume.flag == "alloc"] == ["2", "3"]
    assert first.loopback is not None
    assert first.loopback.startswith("/dev/loop")
    assert (first.fstype, first.filesystem.type) == ("ext", "ext")
    assert first.fstype == "ext"
    with pytest.raises(OSError, match="Read-only"):
        Path(first.mountpoint or "", "new").write_bytes(b"")


def test_unmounting_inside_the_loop(parsers: Make, tree_e01: Path) -> None:
    parser = parsers([tree_e01])
    seen = []
    for volume in parser.init():
        if volume.mountpoint is not None:
            seen.append((volume.index, names_in(volume.mountpoint)[0]))
            volume.unmount()
            assert volume.mountpoint is None
            assert volume.loopback is None
            assert volume.was_mounted
            assert not volume.is_mounted
    assert seen == [("1", "bin"), ("2", "alice"), ("3", "cache")]


def test_one_bad_volume_stops_no_other(parsers: Make, tmp_path: Path, one_ext4: Path) -> None:
    bad = tmp_path / "bad.ext4"
    damaged = bytearray(one_ext4.read_bytes())
    # What the superblock says stays; the groups that it tells of are gone.
    damaged[2048:3072] = bytes(1024)
    bad.write_bytes(damaged)
    image = partitioned(tmp_path / "disk.raw", [bad, one_ext4])
    parser = parsers(image)
    found = [volume for volume in parser.init() if volume.flag == "alloc"]
    assert [volume.index for volume in found] == ["1", "2"]
    assert isinstance(found[0].exception, SubsystemError)
    assert found[0].mountpoint is None
    assert not found[0].is_mounted
    assert found[1].exception is None
    check(Path(found[1].mountpoint or ""))
    again = parsers(image)
    with pytest.raises(SubsystemError):
        list(again.init(swallow_exceptions=False))


@pytest.mark.parametrize("name", ["2", "home", "/home"])
def test_only_and_skip_by_index_label_and_last_mount_point(parsers: Make, tree_disk: Path, name: str) -> None:
    parser = parsers([tree_disk])
    parser.mount_disks()
    volumes = list(parser.init_volumes(only_mount=[name]))
    assert [volume.index for volume in volumes if volume.mountpoint] == ["2"]
    assert len(volumes) == 10
    skipping = parsers([tree_disk])
    assert list(mounted(skipping, skip_mount=[name])) == ["1", "3"]
    assert list(mounted(parsers([tree_disk]), only_mount=["1", "2"], skip_mount=[name])) == ["1"]


def test_only_what_lies_within_a_lock(parsers: Make, tmp_path: Path, tree_disk: Path) -> None:
    image = luks(tmp_path, tree_disk.read_bytes())
    parser = parsers(image, keys={"*": "p:open sesame"})
    assert list(mounted(parser, only_mount=["0.0.2"])) == ["0.0.2"]
    assert list(mounted(parsers(image, keys={"*": "p:open sesame"}), only_mount=["0.0"])) == [
        "0.0.1",
        "0.0.2",
        "0.0.3",
    ]


def test_single(parsers: Make, tree_disk: Path, one_ext4: Path) -> None:
    (volume,) = parsers(tree_disk).init(single=True)
    assert volume.index == "0"
    assert volume.mountpoint is None
    assert isinstance(volume.exception, ImageMounterError)
    assert list(mounted(parsers(one_ext4), single=True)) == ["0"]
    assert list(parsers(one_ext4).init(single=False)) == []
    assert list(mounted(parsers(tree_disk), single=False)) == ["1", "2", "3"]
    disk = parsers(one_ext4).disks[0]
    disk.mount()
    assert [each.is_mounted for each in disk.init_single_volume()] == [True]
    many = parsers(tree_disk).disks[0]
    many.mount()
    assert sum(each.is_mounted for each in many.init_multiple_volumes()) == 3
    assert sum(each.is_mounted for each in many.mount_volumes()) == 3


def test_what_is_not_recognised(parsers: Make, tmp_path: Path) -> None:
    image = blank(tmp_path / "blank.img", MIB)
    for fstypes, kind in (
        (None, UnsupportedFilesystemError), ({"?": "unknown"}, SubsystemError),
        ({"0": "unknown"}, SubsystemError), ({"*": "unknown"}, SubsystemError),
        ({"?": "ext"}, SubsystemError), ({"0": "nonsense"}, UnsupportedFilesystemError),
    ):  # fmt: skip
        (volume,) = parsers(image, fstypes=fstypes).init()
        assert type(volume.exception) is kind, (fstypes, volume.exception)
        assert volume.mountpoint is None
    (left,) = parsers(image, fstypes={"0": "none"}).init()
    assert (left.exception, left.is_mounted) == (None, False)
    (unnamed,) = parsers(image, fstypes={"?": "none"}).init()
    assert isinstance(unnamed.exception, UnsupportedFilesystemError)


def test_a_file_system_that_was_named(parsers: Make, one_ext4: Path) -> None:
    (volume,) = parsers(one_ext4, fstypes={0: "ext"}).init()
    check(Path(volume.mountpoint or ""))
    (unknown,) = parsers(one_ext4, fstypes={"*": "unknown"}).init()
    check(Path(unknown.mountpoint or ""))
    (wrong,) = parsers(one_ext4, fstypes={"0": "xfs"}).init()
    assert isinstance(wrong.exception, IncorrectFilesystemError)
    parser = parsers(one_ext4)
    parser.mount_disks()
    volume = next(parser.disks[0].detect_volumes())
    assert volume.init_volume(fstype="ext") is True
    assert volume.init_volume() is False
    assert volume.mount() is True


def test_swap_is_not_mounted(parsers: Make, tmp_path: Path) -> None:
    needs("mkswap")
    image = blank(tmp_path / "swap.img", MIB)
    tool("mkswap", image)
    (volume,) = parsers(image).init()
    assert volume.fstype == "swap"
    assert isinstance(volume.exception, UnsupportedFilesystemError)


# By hand.


def test_a_volume_built_by_hand(parsers: Make, tree_e01: Path) -> None:
    parser = parsers(tree_e01)
    disk = parser.disks[0]
    volume = Volume(disk=disk, index="mine", offset=9 * MIB, size=8 * MIB, fstype="ext")
    disk.volumes.volumes.append(volume)
    with pytest.raises(NotMountedError):
        volume.mount()
    disk.mount()
    assert [each.index for each in volume.init()] == ["mine"]
    assert names_in(volume.mountpoint) == ["alice", "lost+found"]
    assert parser.get_by_index("mine") is volume
    gap = Volume(disk=disk, index="off", offset=17 * MIB, fstype="ext")
    disk.volumes.volumes.append(gap)
    assert gap.init_volume()
    assert names_in(gap.mountpoint) == ["cache", "lib", "log", "lost+found"]


def test_a_disk_built_by_hand(tree_disk: Path, tmp_path: Path) -> None:
    disk = Disk(ImageParser(mountdir=tmp_path / "mnt"), tree_disk)
    try:
        found = [volume.index for volume in disk.init() if volume.mountpoint]
        assert found == ["1", "2", "3"]
    finally:
        disk.unmount()
    assert names_in(tmp_path / "mnt") == []


# Where.


def test_mountdir_and_names(parsers: Make, tree_disk: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    parser = parsers([tree_disk], mountdir=folder)
    found = mounted(parser)
    assert names_in(folder) == ["1-root", "2-home", "3-var"]
    assert {Path(volume.mountpoint or "").parent for volume in found.values()} == {folder}
    second = parsers([tree_disk], mountdir=str(folder))
    mounted(second)
    assert names_in(folder) == ["1-root", "1-root-2", "2-home", "2-home-2", "3-var", "3-var-2"]
    parser.clean()
    assert names_in(folder) == ["1-root-2", "2-home-2", "3-var-2"]
    second.clean()
    assert not folder.exists() or names_in(folder) == []


def test_pretty_and_casename(parsers: Make, tree_disk: Path, tmp_path: Path) -> None:
    parser = parsers([tree_disk], True, mountdir=tmp_path / "a", pretty=True)
    mounted(parser)
    assert names_in(tmp_path / "a") == ["disk-1.1-root", "disk-1.2-home", "disk-1.3-var"]
    named = parsers([tree_disk], mountdir=tmp_path / "b", pretty=True, casename="case 7")
    mounted(named)
    assert names_in(tmp_path / "b" / "case_7") == ["1-root", "2-home", "3-var"]
    parser.clean()
    named.clean()
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b" / "case_7").exists()


def test_a_mountdir_that_cannot_be(parsers: Make, one_ext4: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (volume,) = parsers(one_ext4, mountdir=tmp_path / "file").init()
    assert isinstance(volume.exception, NoMountpointAvailableError)


def test_the_same_image_twice_at_once(parsers: Make, tree_e01: Path) -> None:
    first, second = parsers(tree_e01), parsers(tree_e01)
    one, two = mounted(first), mounted(second)
    assert {each.mountpoint for each in one.values()}.isdisjoint(each.mountpoint for each in two.values())
    first.clean()
    assert all(os.path.ismount(volume.mountpoint or "") for volume in two.values())


# Disks.


def test_the_bytes_of_an_e01(parsers: Make, tree_e01: Path, tree_disk: Path) -> None:
    disk = parsers(tree_e01).disks[0]
    assert disk.get_raw_path() is None
    assert disk.mount() is True
    assert disk.mount() is True
    raw = Path(disk.get_raw_path() or "")
    assert (disk.method, disk.is_mounted) == ("user", True)
    assert Path(disk.mountpoint or "") == raw.parent
    assert raw.read_bytes() == tree_disk.read_bytes()
    volume = next(disk.detect_volumes())
    assert volume.get_raw_path() == disk.get_fs_path() == str(raw)
    assert volume.get_raw_path(include_self=True) == str(raw)
    disk.unmount()
    assert (disk.get_raw_path(), disk.mountpoint, disk.is_mounted) == (None, None, False)


@pytest.mark.parametrize(
    "mounter", ["user", "dummy", "ewfmount", "xmount", "qemu-nbd", "nbd", "avfs", "vmware-mount"]
)
def test_disk_mounters(parsers: Make, tree_e01: Path, tree_disk: Path, mounter: str) -> None:
    if mounter in ("user", "dummy"):
        parser = parsers(tree_disk, disk_mounter=mounter)
        assert list(mounted(parser)) == ["1", "2", "3"]
        assert parser.disks[0].method == mounter
        return
    parser = parsers(tree_e01, disk_mounter=mounter)
    installed = mounter in ("ewfmount", "xmount") and find_tool(mounter) is not None
    assert parser.mount_disks() is installed
    disk = parser.disks[0]
    if installed:
        assert disk.exception is None
        assert list(mounted(parser)) == ["1", "2", "3"]
        assert disk.method == mounter
    else:
        assert isinstance(disk.exception, MountError | CommandNotFoundError)
        volumes = list(parser.init())
        assert all(isinstance(each.exception, NotMountedError) for each in volumes if each.flag == "alloc")


def test_a_second_opinion_as_root(parsers: Make, tree_e01: Path, tree_disk: Path) -> None:
    pytest.importorskip("dissect.volume")
    for image in (tree_e01, tree_disk):
        parser = parsers(image, volume_detector="dissect")
        assert list(mounted(parser)) == ["1", "2", "3"]
        assert parser.disks[0].second_opinion == []


def test_reading_and_writing(parsers: Make, tree_e01: Path) -> None:
    parser = parsers(tree_e01, read_write=True)
    parser.mount_disks()
    disk = parser.disks[0]
    assert disk.rwpath is not None
    assert not parser.rw_active()
    found = mounted(parser)
    Path(found["2"].mountpoint or "", "new").write_bytes(b"written" * 1000)
    found["2"].unmount()
    assert parser.rw_active()
    assert disk.rw_active()
    assert found["2"].init_volume()
    assert Path(found["2"].mountpoint or "", "new").read_bytes() == b"written" * 1000
    cache = Path(disk.rwpath)
    parser.clean()
    assert cache.exists()
    assert parser.rw_active()
    parser.clean(remove_rw=True)
    assert not cache.exists()
    assert not parser.rw_active()


def test_an_empty_cache_is_not_kept(parsers: Make, one_ext4: Path) -> None:
    parser = parsers(one_ext4, read_write=True)
    parser.mount_disks()
    cache = parser.disks[0].rwpath
    assert cache is not None
    parser.clean()
    assert not Path(cache).exists()


# Locks, arrays, groups.


def test_a_lock(parsers: Make, tmp_path: Path, small: bytes) -> None:
    image = luks(tmp_path, small)
    parser = parsers(image, keys={"0": "p:open sesame"})
    (volume,) = parser.init()
    assert (volume.index, volume.fstype, volume.exception) == ("0.0", "ext", None)
    check(Path(volume.mountpoint or ""))
    outer = parser.disks[0]["0"]
    assert (outer.fstype, outer.is_mounted, outer.mountpoint) == ("luks", True, None)
    assert volume.parent is outer
    assert outer["0"] is volume
    raw = volume.get_raw_path()
    assert Path(raw or "").read_bytes() == small
    assert outer.get_raw_path(include_self=True) == raw
    assert outer.get_raw_path() == str(image)
    outer.unmount()
    assert not volume.is_mounted
    assert not Path(raw or "").exists()


def test_a_key_that_comes_later(parsers: Make, tmp_path: Path, small: bytes) -> None:
    parser = parsers(luks(tmp_path, small))
    (volume,) = parser.init()
    assert isinstance(volume.exception, KeyInvalidError)
    assert "keys" in (volume.exception.remedy or "")
    volume.key = "p:open sesame"
    (inner,) = volume.init()
    assert (volume.exception, inner.index) == (None, "0.0")
    check(Path(inner.mountpoint or ""))


@pytest.mark.parametrize("container", ["raw", "E01"])
def test_an_array_on_two_disks(parsers: Make, tmp_path: Path, small: bytes, container: str) -> None:
    paths = mirror(tmp_path, small)
    if container == "E01":
        needs("ewfacquire")
        paths = [e01(path.rename(path.with_suffix(".raw"))) for path in paths]
    parser = parsers(paths)
    volumes = list(parser.init())
    assert [volume.index for volume in volumes] == ["1.0.0", "2.0"]
    array, second = volumes
    first = parser.disks[0]["0"]
    check(Path(array.mountpoint or ""))
    assert array.parent is first
    assert [volume.fstype for volume in (first, second, array)] == ["raid", "raid", "ext"]
    assert (first.is_mounted, second.is_mounted, second.exception) == (True, True, None)
    assert second.info.get("raid_status") == "active"
    parser.add_disk(paths[0].with_name("absent.img"))
    second.unmount()
    assert not array.is_mounted
    assert array.mountpoint is None
    parser.disks.pop()
    assert [volume.index for volume in parser.init() if volume.mountpoint] == ["1.0.0"]
    parser.disks[1].unmount()
    assert not array.is_mounted
    parser.disks[1].mount()
    assert [volume.index for volume in parser.init() if volume.mountpoint] == ["1.0.0"]
    first.unmount()
    assert not array.is_mounted


def test_a_volume_group_on_two_disks(parsers: Make, tmp_path: Path, small: bytes) -> None:
    parser = parsers(volume_group(tmp_path, small))
    found = mounted(parser)
    assert list(found) == ["1.0.0"]
    volume = found["1.0.0"]
    check(Path(volume.mountpoint or ""))
    assert volume.info["label"] == "small"
    assert volume.info["fsdescription"] == "Logical Volume"
    assert parser.get_by_index("2.0").info["volume_group"] == "by-hand"  # type: ignore[union-attr]
    assert Path(volume.get_raw_path() or "").read_bytes()[: len(small)] == small
    parser.disks[1]["0"].unmount()
    assert not volume.is_mounted


def test_a_member_that_comes_later(parsers: Make, tmp_path: Path, small: bytes) -> None:
    paths = volume_group(tmp_path, small)
    parser = parsers([paths[1]], force_disk_indexes=True)
    (volume,) = parser.init()
    assert volume.exception is not None
    assert not volume.is_mounted
    member = parser.disks[0]["0"]
    parser.add_disk(paths[0])
    found = mounted(parser)
    assert list(found) == ["1.0.0"]
    assert parser.disks[0]["0"] is member
    check(Path(found["1.0.0"].mountpoint or ""))


def test_shadow_copies(parsers: Make, tmp_path: Path) -> None:
    image = ntfs_with_shadows(tmp_path)
    parser = parsers(image)
    (volume,) = parser.init()
    first, second = volume.detect_volume_shadow_copies()
    assert Path(first.get_raw_path() or "").read_bytes()[:11] == image.read_bytes()[:11]
    for copy in (first, second):
        (found,) = copy.init()
        assert found is copy
        # What may mount NTFS differs from kernel to kernel; that the copy is not lost does not.
        assert copy.mountpoint is not None or isinstance(
            copy.exception, UnsupportedFilesystemError | SubsystemError
        )
    assert list(parser.init()) == [volume]
    volume.unmount()
    assert not any(copy.is_mounted for copy in (first, second))


# The tree.


def test_reconstructing(parsers: Make, tree_disk: Path) -> None:
    parser = parsers(tree_disk)
    found = mounted(parser)
    root = parser.reconstruct()
    assert root is found["1"]
    assert Path(root.mountpoint or "", "home/alice/letter.txt").read_text() == "home: alice/letter.txt\n"
    assert found["2"].bindmounts == [f"{root.mountpoint}/home"]
    found["2"].unmount()
    assert names_in(f"{root.mountpoint}/home") == [".keep"]
    assert Path(root.mountpoint or "", "var/log/syslog").exists()
    found["3"].unmount()
    root.unmount()


def test_reconstructing_the_subvolumes_of_a_btrfs(parsers: Make, tmp_path: Path) -> None:
    needs("mkfs.btrfs", "btrfs", "mount", "umount")
    image = blank(tmp_path / "disk.btrfs", 128 * MIB)
    uuid = "6e21f3a2-5a5e-4d0b-9a57-2b9f0c7d1e10"
    tool("mkfs.btrfs", "-q", "-U", uuid, image)
    at = tmp_path / "at"
    at.mkdir()
    tool("mount", "-o", "loop", image, at)
    try:
        for name in ("@", "@home"):
            tool("btrfs", "subvolume", "create", at / name)
        for name in ("@/etc", "@/usr", "@/home", "@home/alice"):
            (at / name).mkdir()
        lines = (
            f"UUID={uuid} {where} btrfs subvol={name} 0 0" for where, name in (("/", "@"), ("/home", "@home"))
        )
        (at / "@/etc/fstab").write_text("\n".join(lines))
    finally:
        tool("umount", at)
    parser = parsers(image)
    (volume,) = parser.init()
    assert names_in(volume.mountpoint) == ["@", "@home"]
    root = parser.reconstruct()
    assert root is volume
    assert names_in(root.mountpoint) == ["etc", "home", "usr"]
    assert names_in(f"{root.mountpoint}/home") == ["alice"]


def test_there_is_no_root(parsers: Make, one_ext4: Path) -> None:
    parser = parsers(one_ext4)
    mounted(parser)
    with pytest.raises(NoRootFoundError):
        parser.reconstruct()
    with pytest.raises(NoRootFoundError):
        parsers(one_ext4).reconstruct()


def test_what_the_caller_knows_goes_before_what_the_image_says(parsers: Make, tree_disk: Path) -> None:
    parser = parsers(tree_disk)
    found = mounted(parser)
    found["2"].info["lastmountpoint"] = "/root"
    root = parser.reconstruct()
    assert found["3"].bindmounts == [f"{root.mountpoint}/var"]
    assert found["2"].bindmounts == [f"{root.mountpoint}/root"]


def test_a_hostile_last_mount_point_stays_within_the_root(parsers: Make, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    hostile = "/../" * 20 + str(victim)
    parts = [
        file_system(tmp_path, "root", TREES["/"], "/"),
        file_system(tmp_path, "evil", ("x",), hostile[:60]),
    ]
    parser = parsers(partitioned(tmp_path / "disk.raw", parts))
    found = mounted(parser)
    root = parser.reconstruct()
    assert found["2"].bindmounts == []
    # As imagemounter's own programs do it.
    target = f"{root.mountpoint}/{'../' * 20}{victim}"
    with pytest.raises(SubsystemError):
        found["2"].bindmount(target)
    assert not os.path.ismount(victim)


def test_binding_elsewhere(parsers: Make, one_ext4: Path, tmp_path: Path) -> None:
    parser = parsers(one_ext4)
    (volume,) = parser.init()
    target = tmp_path / "target"
    target.mkdir()
    assert volume.bindmount(target) is True
    check(target)
    with pytest.raises(SubsystemError):
        volume.bindmount(tmp_path / "missing")
    volume.unmount()
    assert names_in(target) == []
    assert volume.bindmounts == []


def test_where_a_volume_was_mounted_by_what_is_in_it(parsers: Make, tmp_path: Path) -> None:
    image = file_system(tmp_path, "v", ("lib/x", "log/x", "cache/x"), "/var")
    tool("tune2fs", "-M", "", image)
    parser = parsers(image)
    (volume,) = parser.init()
    assert volume.info.get("lastmountpoint") == "/var"
    assert volume.detect_mountpoint() == "/var"


# Carving.


def test_carving(parsers: Make, tmp_path: Path) -> None:
    needs("photorec")
    image = blank(tmp_path / "disk.img", 8 * MIB)
    tool("mkfs.ext4", "-q", image)
    picture = (
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
        + bytes(range(1, 200)) * 20
        + b"\xff\xd9"
    )
    with image.open("r+b") as file:
        file.seek(5 * MIB)
        file.write(picture)
    parser = parsers(image, mountdir=tmp_path / "out")
    (volume,) = parser.init()
    for freespace in (False, True):
        folder = Path(volume.carve(freespace=freespace))
        assert folder.parent == tmp_path / "out"
        assert list(folder.rglob("report.xml"))
    parser.clean()
    assert folder.exists()


def test_carving_without_photorec(parsers: Make, one_ext4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (volume,) = parsers(one_ext4).init()
    monkeypatch.setattr("pyimount.execution.tools.find", lambda _: None)
    with pytest.raises(CommandNotFoundError, match="photorec"):
        volume.carve()


# The end.


def test_what_is_in_use_is_said_and_tried_again(parsers: Make, one_ext4: Path) -> None:
    parser = parsers(one_ext4)
    (volume,) = parser.init()
    with Path(volume.mountpoint or "", "readme.txt").open("rb"):
        with pytest.raises(SubsystemError, match="in use"):
            volume.unmount()
        with pytest.raises(SubsystemError, match="in use"):
            parser.clean()
        with pytest.raises(SubsystemError):
            parser.force_clean(retries=1, sleep_interval=0.01)
        assert volume.is_mounted
        assert os.path.ismount(volume.mountpoint or "")
    parser.clean()
    assert not volume.is_mounted


def test_force_clean_waits(parsers: Make, one_ext4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = parsers(one_ext4)
    (volume,) = parser.init()
    held = Path(volume.mountpoint or "", "readme.txt").open("rb")  # noqa: SIM115
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if seconds == 7:
            held.close()

    monkeypatch.setattr("pyimount.imagemounter.image_parser.time.sleep", sleep)
    parser.force_clean(sleep_interval=7)
    assert waited.count(7) == 1


def test_lazily(parsers: Make, one_ext4: Path) -> None:
    parser = parsers(one_ext4)
    (volume,) = parser.init()
    where = Path(volume.mountpoint or "")
    file = (where / "readme.txt").open("rb")
    with contextlib.suppress(SubsystemError, CleanupError):
        parser.clean(allow_lazy=True)
    assert not os.path.ismount(where)
    file.close()
    parser.force_clean()


def test_a_with_block(one_ext4: Path) -> None:
    with ImageParser(one_ext4) as parser:
        (volume,) = parser.init()
        names = sessions(parser)
        assert os.path.ismount(volume.mountpoint or "")
    assert left_of(names) == []

    def fails() -> None:
        with ImageParser(one_ext4) as parser:
            list(parser.init())
            names.extend(sessions(parser))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert len(names) == 2
    assert left_of(names) == []
    assert attached(one_ext4) == []


def test_cleaning_twice_and_what_another_took_down(parsers: Make, tree_e01: Path) -> None:
    parser = parsers(tree_e01)
    mounted(parser)
    done = subprocess.run(
        [sys.executable, "-m", "pyimount", "unmount", str(tree_e01)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert left_of(sessions(parser)) == []
    parser.clean()
    parser.clean()
    assert list(mounted(parser)) == ["1", "2", "3"]


CLEANER = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    parser = pickle.load(file)
print(*(volume.mountpoint for volume in parser.get_volumes() if volume.mountpoint))
parser.clean(remove_rw=True)
print(any(volume.is_mounted for volume in parser.get_volumes()), parser.keys)
"""


def test_a_pickle_is_cleaned_in_another_process(
    parsers: Make, tmp_path: Path, small: bytes, tree_e01: Path
) -> None:
    parser = parsers([luks(tmp_path, small), tree_e01], keys={"1.0": "p:open sesame"})
    found = mounted(parser)
    assert list(found) == ["1.0.0", "2.1", "2.2", "2.3"]
    parser.reconstruct()
    stored = pickle.dumps(parser)
    assert b"sesame" not in stored
    names = sessions(parser)
    (tmp_path / "parser").write_bytes(stored)
    top = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", CLEANER, tmp_path / "parser"],
        capture_output=True,
        text=True,
        check=False,
        cwd=top,
    )
    assert done.returncode == 0, done.stderr
    shown, state = done.stdout.splitlines()
    assert shown.split() == [found[index].mountpoint for index in ("1.0.0", "2.1", "2.2", "2.3")]
    assert state == "False {}"
    assert left_of(names) == []


def test_an_unpickled_parser_goes_on(parsers: Make, tmp_path: Path, small: bytes) -> None:
    parser = parsers(luks(tmp_path, small), keys={"*": "p:open sesame"})
    mounted(parser)
    again: ImageParser = pickle.loads(pickle.dumps(parser))  # noqa: S301
    assert again.keys == {}
    inner = again.get_by_index("0.0")
    assert isinstance(inner, Volume)
    check(Path(inner.mountpoint or ""))
    inner.unmount()
    with pytest.raises(KeyInvalidError):
        inner.mount()
    again.keys["*"] = "p:open sesame"
    assert inner.init_volume()
    check(Path(inner.mountpoint or ""))
    again.clean()


def test_mounts_outlive_the_process(one_ext4: Path, tmp_path: Path) -> None:
    code = (
        "import pickle, sys; from pyimount import ImageParser\n"
        f"parser = ImageParser({str(one_ext4)!r}); volumes = list(parser.init())\n"
        f"open({str(tmp_path / 'parser')!r}, 'wb').write(pickle.dumps(parser)); print(volumes[0].mountpoint)"
    )
    top = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=top)
    where = done.stdout.strip()
    parser: ImageParser = pickle.loads((tmp_path / "parser").read_bytes())  # noqa: S301
    try:
        assert os.path.ismount(where)
        check(Path(where))
    finally:
        names = sessions(parser)
        parser.clean()
    assert left_of(names) == []


def test_an_argument_that_is_wrong_is_said_at_once(one_ext4: Path) -> None:
    disk = Disk(ImageParser(), one_ext4, block_size=500)
    with pytest.raises(ArgumentError):
        list(disk.detect_volumes())


def test_a_plain_image(parsers: Make, tmp_path: Path) -> None:
    image = plain(tmp_path)
    (volume,) = parsers(image).init()
    assert int(volume.index) == 0
    assert volume.get_volumes() == [volume]
    check(Path(volume.mountpoint or ""))
