"""What the classes tell of images without root and without a mount."""

import inspect
import logging
import pathlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pyimount
from fixtures.workshop import tool_path
from pyimount import Disk, ImageParser, Volume, VolumeSystem, exceptions
from pyimount.dependencies import PythonModuleDependency
from pyimount.exceptions import ArgumentError, DiskIndexError, KeyInvalidError, NotMountedError
from tests.imagemounter.disks import file_system, partitioned
from tests.imagemounter.groups import luks, ntfs_with_shadows
from tests.kept import kept
from tests.mounting.images import MIB, blank

pytestmark = pytest.mark.usefixtures("as_user")


def test_the_volumes_of_an_e01(tree_e01: Path) -> None:
    parser = ImageParser([str(tree_e01)])
    volumes = [volume for volume in parser.disks[0].detect_volumes() if volume.flag == "alloc"]
    assert [(volume.index, volume.slot, volume.offset, volume.size) for volume in volumes] == [
        ("1", 1, MIB, 8 * MIB), ("2", 2, 9 * MIB, 8 * MIB), ("3", 3, 17 * MIB, 8 * MIB),
    ]  # fmt: skip
    assert {volume.determine_fs_type() for volume in volumes} == {"ext"}
    assert [volume.info.get("lastmountpoint") for volume in volumes] == ["/", "/home", "/var"]
    assert parser.disks[0].volumes.volume_source == "multi"
    assert parser.disks[0].volumes.has_detected
    assert not any(volume.is_mounted for volume in volumes)
    assert parser.disks[0].get_disk_type() == "encase"


def test_what_is_between_partitions_has_its_flag(tree_disk: Path) -> None:
    disk = ImageParser(tree_disk).disks[0]
    flags = {volume.flag for volume in disk.detect_volumes()}
    assert flags == {"alloc", "unalloc", "meta"}
    assert all(int(volume.index) >= 0 for volume in disk.volumes)
    assert all(volume.slot == 0 for volume in disk.volumes if volume.flag != "alloc")


def test_paths_of_every_kind(tree_disk: Path, one_ext4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for paths in ([str(one_ext4)], str(one_ext4), one_ext4, (one_ext4,), iter([one_ext4])):
        assert ImageParser(paths).paths == [str(one_ext4)]
    monkeypatch.setenv("EVIDENCE", str(one_ext4.parent))
    assert ImageParser("$EVIDENCE/plain.img").disks[0].paths == [str(one_ext4)]
    monkeypatch.chdir(one_ext4.parent)
    assert ImageParser(["plain.img"]).disks[0].paths == [str(one_ext4)]
    both = ImageParser([tree_disk, one_ext4])
    assert [disk.index for disk in both.disks] == ["1", "2"]
    assert both.paths == [str(tree_disk), str(one_ext4)]


def test_a_folder_stands_for_its_segments(one_ext4: Path, tmp_path: Path) -> None:
    data = one_ext4.read_bytes()
    third = len(data) // 3
    for number in range(3):
        end = None if number == 2 else (number + 1) * third
        (tmp_path / f"disk.00{number + 1}").write_bytes(data[number * third : end])
    for path in (tmp_path, tmp_path / "disk.002"):
        disk = ImageParser([path]).disks[0]
        assert [Path(each).name for each in disk.paths] == ["disk.001", "disk.002", "disk.003"]
        assert [volume.determine_fs_type() for volume in disk.detect_volumes()] == ["ext"]
        assert disk.get_disk_type() == "dd"


def test_a_folder_of_several_images_is_several_disks(one_ext4: Path, tmp_path: Path) -> None:
    for name in ("a.img", "b.img"):
        (tmp_path / name).write_bytes(one_ext4.read_bytes())
    parser = ImageParser(tmp_path)
    assert [Path(path).name for path in parser.paths] == ["a.img", "b.img"]
    with pytest.raises(ArgumentError, match="2 images"):
        ImageParser().add_disk(tmp_path)


def test_indexes_of_disks(tree_disk: Path, one_ext4: Path) -> None:
    assert ImageParser([one_ext4]).disks[0].index is None
    forced = ImageParser([one_ext4], True)
    assert forced.disks[0].index == "1"
    assert [volume.index for volume in forced.disks[0].detect_volumes()] == ["1.0"]
    added = ImageParser()
    first = added.add_disk(one_ext4)
    second = added.add_disk(str(tree_disk))
    assert (first.index, second.index) == ("1", "2")
    assert next(second.detect_volumes()).index == "2.1"
    with pytest.raises(DiskIndexError):
        ImageParser([one_ext4]).add_disk(tree_disk)
    alone = ImageParser()
    assert alone.add_disk(one_ext4, False).index is None


def test_a_disk_added_later_is_seen_with_the_first(tree_disk: Path, one_ext4: Path) -> None:
    parser = ImageParser([one_ext4], force_disk_indexes=True)
    before = list(parser.disks[0].detect_volumes())
    parser.add_disk(tree_disk)
    after = list(parser.disks[1].detect_volumes())
    assert [volume.index for volume in after if volume.flag == "alloc"] == ["2.1", "2.2", "2.3"]
    assert list(parser.disks[0].volumes) == before
    assert before[0].determine_fs_type() == "ext"
    assert parser.get_volumes() == [*before, *after]


def test_single(tree_disk: Path, one_ext4: Path) -> None:
    def found(path: Path, single: bool | None) -> list[str]:
        return [
            volume.index
            for volume in ImageParser(path).disks[0].detect_volumes(single)
            if volume.flag == "alloc"
        ]

    assert found(tree_disk, single=None) == ["1", "2", "3"]
    assert found(tree_disk, single=False) == ["1", "2", "3"]
    assert found(tree_disk, single=True) == ["0"]
    assert found(one_ext4, single=None) == ["0"]
    assert found(one_ext4, single=True) == ["0"]
    assert found(one_ext4, single=False) == []
    whole = ImageParser(tree_disk).disks[0]
    volume = next(whole.detect_volumes(single=True))
    assert (volume.size, volume.offset) == (tree_disk.stat().st_size, 0)
    assert whole.volumes.volume_source == "single"


def test_detecting_twice(tree_disk: Path) -> None:
    disk = ImageParser(tree_disk).disks[0]
    first = list(disk.detect_volumes())
    assert list(disk.detect_volumes()) == first
    assert list(disk.volumes.detect_volumes()) == []
    assert list(disk.volumes.detect_volumes(force=True)) == first
    assert list(disk.volumes) == first


def test_the_type_of_the_table(tree_disk: Path, one_ext4: Path) -> None:
    for vstypes in ({"*": "dos"}, {1: "dos"}, {"1": "dos"}):
        parser = ImageParser(tree_disk, force_disk_indexes=True, vstypes=vstypes)
        kinds = [volume.info["fsdescription"] for volume in parser.disks[0].detect_volumes()]
        assert any("GPT" in kind for kind in kinds), kinds
        assert parser.disks[0].volumes.vstype == "dos"
    disk = Disk(ImageParser(), tree_disk, vstype="gpt")
    assert len([volume for volume in disk.detect_volumes() if volume.flag == "alloc"]) == 3
    assert list(ImageParser(tree_disk, vstypes={"*": "sun"}).disks[0].detect_volumes(single=False)) == []
    again = ImageParser(tree_disk).disks[0]
    assert len(list(again.volumes.detect_volumes(vstype="gpt"))) > 3
    assert list(again.volumes.detect_volumes(vstype="sun", force=True)) == []
    fallback = ImageParser(one_ext4, vstypes={"?": "dos"}).disks[0]
    assert [volume.index for volume in fallback.detect_volumes()] == ["0"]


def test_an_offset_of_a_disk(tree_disk: Path, tmp_path: Path) -> None:
    shifted = tmp_path / "shifted.img"
    shifted.write_bytes(bytes(MIB) + tree_disk.read_bytes())
    disk = Disk(ImageParser(), shifted, offset=MIB)
    volumes = [volume for volume in disk.detect_volumes() if volume.flag == "alloc"]
    assert [(volume.index, volume.offset) for volume in volumes] == [
        ("1", 2 * MIB), ("2", 10 * MIB), ("3", 18 * MIB),
    ]  # fmt: skip
    assert {volume.determine_fs_type() for volume in volumes} == {"ext"}


@pytest.mark.parametrize("detector", ["auto", "native", "pytsk3", "mmls", "parted", ""])
def test_volume_detectors(tree_disk: Path, detector: str) -> None:
    disk = ImageParser(tree_disk, volume_detector=detector).disks[0]
    assert len(list(disk.detect_volumes())) == 10
    assert disk.second_opinion is None


def test_a_volume_detector_that_is_none(tree_disk: Path) -> None:
    with pytest.raises(ArgumentError, match="guess"):
        list(ImageParser(tree_disk, volume_detector="guess").disks[0].detect_volumes())
    with pytest.raises(ArgumentError, match="guess"):
        list(ImageParser(tree_disk).disks[0].volumes.detect_volumes(method="guess"))


def test_a_second_opinion_that_agrees(tree_disk: Path, tree_e01: Path) -> None:
    pytest.importorskip("dissect.volume")
    for image in (tree_disk, tree_e01):
        disk = ImageParser(image, volume_detector="dissect").disks[0]
        assert len(list(disk.detect_volumes())) == 10
        assert disk.second_opinion == []


def test_a_second_opinion_that_differs_changes_nothing(
    tree_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from pyimount.imagemounter import second_opinion

    monkeypatch.setattr(second_opinion, "partitions", lambda *_: [(MIB, 8 * MIB), (9 * MIB, MIB)])
    disk = ImageParser(tree_disk, volume_detector="dissect").disks[0]
    with caplog.at_level(logging.WARNING):
        assert len(list(disk.detect_volumes())) == 10
    assert disk.second_opinion == [
        f"dissect sees a partition of {MIB} bytes at {9 * MIB}",
        f"dissect does not see volume 2, {8 * MIB} bytes at {9 * MIB}",
        f"dissect does not see volume 3, {8 * MIB} bytes at {17 * MIB}",
    ]
    assert disk.second_opinion[0] in caplog.text


def test_without_dissect_there_is_no_second_opinion(tree_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyimount.imagemounter import second_opinion

    absent = PythonModuleDependency(name="dissect.nothing", package=None, why="")
    monkeypatch.setattr(second_opinion, "find", lambda _: absent)
    disk = ImageParser(tree_disk, volume_detector="dissect").disks[0]
    assert len(list(disk.detect_volumes())) == 10
    assert disk.second_opinion is None


def test_words_of_a_volume(tree_disk: Path) -> None:
    volume = next(ImageParser(tree_disk).disks[0].detect_volumes())
    assert str(volume) == "1:Linux filesystem"
    assert volume.get_description() == "8.0 MiB 1:Ext4 root [1.0]"
    assert volume.get_description(with_size=False) == "1:Ext4 root [1.0]"
    assert volume.get_description(with_size=False, with_index=False) == "Ext4 root [1.0]"
    assert volume.get_formatted_size() == "8.0 MiB"
    assert volume.get_safe_label() == "root"
    assert volume.info.get("statfstype") == "Ext4"
    assert volume.info.get("version") == "1.0"
    assert volume.info.get("guid") == "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
    assert volume.info.get("volume_group") is None
    assert (volume.block_size, volume.numeric_index) == (512, (1,))


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (5 << 30, "5.0 GiB"),
        (3 << 50, "3072.0 TiB"),
    ],
)
def test_sizes_for_people(one_ext4: Path, size: int, words: str) -> None:
    volume = Volume(disk=ImageParser(one_ext4).disks[0], size=size)
    assert volume.get_formatted_size() == words


@pytest.mark.parametrize(
    ("label", "safe"),
    [
        ("/", "root"),
        ("", ""),
        ("My Disk (1)", "My_Disk_1"),
        ("../../etc", "etc"),
        ("a/b\n\x1b[0m", "a_b_0m"),
        ("_x", "x"),
    ],
)
def test_labels_as_parts_of_paths(one_ext4: Path, label: str, safe: str) -> None:
    volume = Volume(disk=ImageParser(one_ext4).disks[0])
    volume.info["label"] = label
    assert volume.get_safe_label() == safe


def test_file_system_types(one_ext4: Path, tmp_path: Path) -> None:
    def volume(path: Path = one_ext4, **arguments: Any) -> Volume:
        return next(ImageParser(path, **arguments).disks[0].detect_volumes())

    unknown = blank(tmp_path / "nothing.img", MIB)
    assert volume().determine_fs_type() == "ext"
    assert volume().fstype == "?unknown"
    assert volume().filesystem.type == "ext"
    assert volume(fstypes={0: "xfs"}).determine_fs_type() == "xfs"
    assert volume(fstypes={"0": "xfs", "*": "ntfs"}).determine_fs_type() == "xfs"
    assert volume(fstypes={"*": "ntfs"}).determine_fs_type() == "ntfs"
    assert volume(fstypes={"?": "ntfs"}).determine_fs_type() == "ext"
    assert volume(unknown).determine_fs_type() == "unknown"
    assert volume(unknown, fstypes={"?": "ntfs"}).determine_fs_type() == "ntfs"
    assert volume(unknown, fstypes={"?": "none"}).determine_fs_type() == "unknown"
    assert ImageParser(unknown, fstypes={"?": "none"}).fstypes == {"?": None}
    assert ImageParser(unknown).fstypes == {"?": "unknown"}
    table = volume(fstypes={"0": "bsd"})
    assert (table.determine_fs_type(), table.volumes.vstype) == ("volumesystem", "bsd")


def test_a_volume_built_by_hand(tree_disk: Path) -> None:
    disk = ImageParser(tree_disk).disks[0]
    known = Volume(disk=disk, index="7", offset=9 * MIB, size=8 * MIB)
    assert known.determine_fs_type() == "ext"
    assert known.info.get("label") == "home"
    elsewhere = Volume(disk=disk, offset=17 * MIB)
    assert elsewhere.determine_fs_type() == "ext"
    assert elsewhere.info.get("label") == "var"
    told = Volume(disk=disk, offset=17 * MIB, fstype="xfs")
    assert told.determine_fs_type() == "xfs"
    assert Volume(disk=disk, offset=64 * MIB, fstype="ext").parent is disk


def test_an_appended_volume_is_the_one_that_is_found_there(tree_disk: Path) -> None:
    disk = ImageParser(tree_disk).disks[0]
    mine = Volume(disk=disk, index="mine", offset=9 * MIB, size=8 * MIB)
    other = Volume(disk=disk, index="other", offset=10 * MIB, size=MIB)
    disk.volumes.volumes.extend([mine, other])
    found = list(disk.detect_volumes())
    assert mine in found
    assert mine.index == "mine"
    assert found[-1] is other
    assert sum(volume.offset == 9 * MIB for volume in found) == 1
    assert list(disk.volumes.detect_volumes(force=True))[1] is mine
    assert other in list(disk.volumes)


def test_an_index_that_was_assigned_stays(tree_disk: Path) -> None:
    disk = ImageParser(tree_disk).disks[0]
    volume = list(disk.detect_volumes())[1]
    volume.index = "boot"
    assert list(disk.volumes.detect_volumes(force=True))[1] is volume
    assert volume.index == "boot"
    assert volume.determine_fs_type() == "ext"
    assert disk["boot"] is volume


def test_ways_to_a_volume(tree_disk: Path, one_ext4: Path) -> None:
    parser = ImageParser([tree_disk, one_ext4])
    volumes = [volume for disk in parser.disks for volume in disk.detect_volumes()]
    assert parser["1"] is parser.disks[0]
    assert parser[2] is parser.disks[1]
    assert parser.get_by_index("1") is parser.disks[0]
    assert parser.get_by_index("1.2") is volumes[1]
    assert parser["1.2"] is parser.disks[0]["2"] is parser.disks[0]["1.2"] is parser.disks[0].volumes[2]
    assert list(parser.disks[0].volumes) == volumes[:-1]
    assert len(parser.disks[1].volumes) == 1
    assert isinstance(parser.disks[0].volumes.volumes, list)
    for lookup in (parser, parser.disks[0], parser.disks[0].volumes, volumes[0]):
        with pytest.raises(KeyError):
            lookup["99"]


def test_volumes_within_volumes(tree_disk: Path, tmp_path: Path) -> None:
    inner = tree_disk.read_bytes()
    image = luks(tmp_path, inner)
    parser = ImageParser(image, keys={0: "p:open sesame"})
    volume = next(parser.disks[0].detect_volumes())
    assert volume.determine_fs_type() == "luks"
    opened = list(volume.volumes.detect_volumes())
    assert [(each.index, each.info["fsdescription"]) for each in opened] == [("0.0", "LUKS Volume")]
    assert opened[0].parent is volume
    assert opened[0].determine_fs_type() == "volumesystem"
    parts = [each for each in opened[0].volumes.detect_volumes() if each.flag == "alloc"]
    assert [(each.index, each.offset) for each in parts] == [
        ("0.0.1", MIB),
        ("0.0.2", 9 * MIB),
        ("0.0.3", 17 * MIB),
    ]
    assert volume["0"] is opened[0]
    assert parser.get_by_index("0.0.3") is parts[2]
    assert [each.index for each in volume.get_volumes()][-2:] == ["0.0", "0"]


def test_a_key_that_comes_later(one_ext4: Path, tmp_path: Path) -> None:
    image = luks(tmp_path, one_ext4.read_bytes())
    parser = ImageParser(image)
    volume = next(parser.disks[0].detect_volumes())
    assert list(volume.volumes.detect_volumes()) == []
    volume.key = "p:open sesame"
    (inner,) = volume.volumes.detect_volumes(force=True)
    assert inner.determine_fs_type() == "ext"


@pytest.mark.parametrize("keys", [{"*": "p:open sesame"}, {"?": "p:open sesame"}, {"1.0": "p:open sesame"}])
def test_keys_by_index(one_ext4: Path, tmp_path: Path, keys: dict[str, str]) -> None:
    image = luks(tmp_path, one_ext4.read_bytes())
    volume = next(ImageParser(image, force_disk_indexes=True, keys=keys).disks[0].detect_volumes())
    assert volume.key == "p:open sesame"
    assert [each.index for each in volume.volumes.detect_volumes()] == ["1.0.0"]


def test_shadow_copies(tmp_path: Path) -> None:
    image = ntfs_with_shadows(tmp_path)
    disk = ImageParser(image).disks[0]
    volume = next(disk.detect_volumes())
    assert volume.determine_fs_type() == "ntfs"
    assert list(volume.volumes.detect_volumes()) == []
    copies = volume.detect_volume_shadow_copies()
    assert [copy.index for copy in copies] == ["0.0", "0.1"]
    assert copies[0].info["fsdescription"] == "VSS Store"
    assert list(volume.volumes) == list(copies)
    assert list(volume.detect_volume_shadow_copies()) == list(copies)
    assert list(Volume(disk=disk).volumes.detect_volumes(vstype="vss")) != []


def test_without_root_nothing_is_mounted(one_ext4: Path, tree_e01: Path) -> None:
    parser = ImageParser(one_ext4)
    (volume,) = parser.init()
    assert isinstance(volume.exception, exceptions.PrerequisiteFailedError)
    assert "root" in str(volume.exception)
    assert volume.fstype == "ext"
    parser.clean()
    sealed = ImageParser(tree_e01)
    assert not sealed.mount_disks()
    volumes = [volume for volume in sealed.init() if volume.flag == "alloc"]
    assert len(volumes) == 3
    assert all(isinstance(volume.exception, NotMountedError) for volume in volumes)
    assert "root" in str(volumes[0].exception)
    sealed.clean()


def test_what_cannot_be_read(one_ext4: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.E01"
    parser = ImageParser([missing, one_ext4])
    assert parser.mount_disks() is False
    assert isinstance(parser.disks[0].exception, exceptions.MountError)
    indexes: list[str] = []
    with pytest.raises(exceptions.MountError, match="missing"):
        indexes.extend(volume.index for volume in parser.init())
    assert indexes == ["2.0"]
    with pytest.raises(exceptions.MountError, match="missing"):
        next(ImageParser([missing, one_ext4]).init(swallow_exceptions=False))


def test_a_raw_image_needs_no_exposing(one_ext4: Path) -> None:
    disk = ImageParser(one_ext4).disks[0]
    assert disk.mountpoint is None
    assert disk.mount() is True
    assert disk.mountpoint == str(one_ext4.parent)
    assert disk.get_raw_path() == disk.get_fs_path() == str(one_ext4)
    assert (disk.method, disk.is_mounted, disk.was_mounted) == ("dummy", True, True)
    volume = next(disk.detect_volumes())
    assert volume.get_raw_path() == str(one_ext4)
    disk.unmount()
    assert (disk.mountpoint, disk.is_mounted, disk.was_mounted) == (None, False, True)


def test_what_must_be_mounted_first(one_ext4: Path) -> None:
    volume = next(ImageParser(one_ext4).disks[0].detect_volumes())
    with pytest.raises(NotMountedError):
        volume.mount()
    with pytest.raises(NotMountedError):
        volume.bindmount("/mnt")
    with pytest.raises(NotMountedError):
        volume.init_volume()
    with pytest.raises(NotMountedError):
        list(volume.init(swallow_exceptions=False))
    assert volume.detect_mountpoint() is None


def test_what_is_locked(one_ext4: Path, tmp_path: Path) -> None:
    image = luks(tmp_path, one_ext4.read_bytes())
    for key, kind in (
        ("", KeyInvalidError), ("p:wrong", KeyInvalidError),
        ("sesame", ArgumentError), ("f:/none", ArgumentError),
    ):  # fmt: skip
        parser = ImageParser(image, keys={"0": key} if key else None)
        (volume,) = parser.init()
        assert type(volume.exception) is kind, volume.exception
        assert "sesame" not in str(volume.exception)
        assert volume.fstype == "luks"
        with pytest.raises(kind):
            list(ImageParser(image, keys={"0": key} if key else None).init(swallow_exceptions=False))


def test_a_volume_that_is_not_what_it_was_said_to_be(one_ext4: Path) -> None:
    parser = ImageParser(one_ext4, fstypes={"0": "luks"})
    (volume,) = parser.init()
    assert isinstance(volume.exception, exceptions.IncorrectFilesystemError)


def test_a_disk_mounter_that_there_is_none_of(one_ext4: Path) -> None:
    with pytest.raises(ArgumentError, match="magic"):
        ImageParser(one_ext4, disk_mounter="magic").disks[0].mount()


def test_a_table_within_a_volume(tree_disk: Path, tmp_path: Path) -> None:
    nested = partitioned(tmp_path / "outer.raw", [tree_disk], label="dos")
    disk = ImageParser(nested).disks[0]
    volume = next(volume for volume in disk.detect_volumes() if volume.flag == "alloc")
    assert volume.determine_fs_type() == "volumesystem"
    inner = [each for each in volume.volumes.detect_volumes() if each.flag == "alloc"]
    assert [(each.index, each.offset) for each in inner] == [
        ("1.1", 2 * MIB),
        ("1.2", 10 * MIB),
        ("1.3", 18 * MIB),
    ]
    told = next(
        v for v in ImageParser(nested, vstypes={"1": "dos"}).disks[0].detect_volumes() if v.flag == "alloc"
    )
    protective = list(told.volumes.detect_volumes())
    assert protective
    assert all(each.index.startswith("1.") for each in protective)
    assert all(each.offset >= MIB for each in protective)
    assert not any(each.info.get("label") == "home" for each in protective)


def test_logical_partitions_have_their_numbers(tmp_path: Path) -> None:
    image = blank(tmp_path / "dos.raw", 32 * MIB)
    table = (
        "label: dos\nstart=2048, size=8192\nstart=10240, size=40960, type=5\n"
        "start=12288, size=4096\nstart=20480, size=4096\n"
    )
    command = [tool_path("sfdisk"), "-q", image]
    subprocess.run(command, input=table.replace("\nstart=12", "\n/dev/x5: start=12"), text=True, check=True)
    volumes = ImageParser(image).disks[0].detect_volumes()
    slots = {volume.index: volume.slot for volume in volumes if volume.flag == "alloc"}
    assert slots == {"1": 1, "5": 5, "6": 6}


def test_arguments_and_attributes(one_ext4: Path) -> None:
    parser = ImageParser(
        [one_ext4], casename="case", read_write=True, disk_mounter="user", volume_detector="native",
        vstypes={1: "gpt"}, fstypes={1: "ext"}, keys={1: "p:x"}, mountdir=pathlib.Path("/mnt"), pretty=True,
        no_such_argument=1,
    )  # fmt: skip
    assert (parser.casename, parser.mountdir, parser.pretty) == ("case", "/mnt", True)
    assert (parser.vstypes, parser.fstypes, parser.keys) == ({"1": "gpt"}, {"1": "ext"}, {"1": "p:x"})
    disk = parser.disks[0]
    assert (disk.parser, disk.offset, disk.block_size, disk.read_write) == (parser, 0, 512, True)
    assert (disk.disk_mounter, disk.method, disk.rwpath) == ("user", "user", None)
    volume = Volume(disk, None, "3", 5, 6, "meta", 7, "ntfs", "p:y", "dos", "native")
    assert (volume.disk, volume.parent, volume.index, volume.size, volume.offset) == (disk, disk, "3", 5, 6)
    assert (volume.flag, volume.slot, volume.fstype, volume.key) == ("meta", 7, "ntfs", "p:y")
    assert (volume.volumes.vstype, volume.volumes.detection) == ("dos", "native")
    assert (volume.mountpoint, volume.loopback, volume.exception) == (None, None, None)
    assert (volume.pretty, volume.mountdir, volume.fstypes) == (True, "/mnt", {"1": "ext"})
    system = VolumeSystem(disk, vstype="mac", volume_detector="dissect")
    assert (system.parent, system.vstype, system.detection) == (disk, "mac", "dissect")
    for name in ("read_write", "disk_mounter", "volume_detector", "force_disk_indexes"):
        assert hasattr(parser, name)


def test_skip_mount_is_named(one_ext4: Path) -> None:
    for method in (ImageParser.init, ImageParser.init_volumes, Disk.init, Disk.init_volumes, Volume.init):
        parameter = inspect.signature(method).parameters["skip_mount"]
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


def test_names_that_are_only_mentioned() -> None:
    for owner, names in (
        (Disk, "mount_volumes init_single_volume init_multiple_volumes"),
        (Volume, "load_fsstat_data detect_volume_shadow_copies carve bindmount detect_mountpoint"),
        (ImageParser, "rw_active mount_disks"),
    ):
        for name in names.split():
            assert callable(getattr(owner, name))


def test_a_policy_that_there_is_none_of(one_ext4: Path) -> None:
    with pytest.raises(ArgumentError, match="reckless"):
        ImageParser(one_ext4, policy="reckless")


def test_importing_names_loads_nothing() -> None:
    code = (
        "import sys, pyimount; assert 'pyimount.imagemounter' not in sys.modules; "
        "from pyimount import ImageParser, Disk, Volume, VolumeSystem; "
        "from pyimount.imagemounter import ImageParser as Again; assert Again is ImageParser"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(pyimount.__file__).parent.parent)


def test_labels_and_last_mount_points_are_two_things(tmp_path: Path) -> None:
    image = file_system(tmp_path, "data", ("x",), "/srv/data")
    volume = next(ImageParser(image).disks[0].detect_volumes())
    volume.load_fsstat_data(timeout=1)
    assert volume.info["label"] == "data"
    assert volume.info["lastmountpoint"] == "/srv/data"
    assert volume.detect_mountpoint() == "/srv/data"


def test_of_a_file_of_several_disks_the_others_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "machine.ova").write_bytes(kept("ova"))
    disk = ImageParser(tmp_path / "machine.ova").disks[0]
    with caplog.at_level(logging.WARNING):
        assert [volume.determine_fs_type() for volume in disk.detect_volumes()] == ["fat"]
        assert disk.get_disk_type() == "vmdk"
    assert caplog.text.count("holds 2 disks, and this interface shows the first alone") == 1
