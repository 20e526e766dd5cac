"""Layers that hold others: what is shown of them, and what is said where nothing is."""

import struct
import subprocess
from pathlib import Path

import pytest

from fixtures.workshop import find_tool
from pyimount import detect
from pyimount.layers import VolumeLayer
from pyimount.parsers.volumes import drbd
from pyimount.parsers.volumes.lvm2 import FORMAT as LVM2
from pyimount.parsers.volumes.lvm2 import parse
from pyimount.problems import Code
from pyimount.recognition.probing import Reading, choose
from pyimount.sources.source import BytesSource
from pyimount.sources.view import View
from tests.kept import kept, put
from tests.mapping.md_members import content, members
from tests.parsers.partitions.building import boot, record
from tests.parsers.volumes.test_bcache import superblock

MIB = 1 << 20


def found(folder: Path, *images: bytes | bytearray) -> dict[str, VolumeLayer]:
    paths = [folder / f"disk{number}" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image)
    return {volume.index: volume for volume in detect(paths).volumes}


def codes(volume: VolumeLayer) -> list[Code]:
    return [problem.code for problem in volume.problems]


@pytest.mark.parametrize(
    "name",
    [
        "ceph-bluestore", "dm-integrity", "dm-snapshot", "dm-verity", "drbd-external", "lvm1", "mpool",
        "bcache-cache", "stratis", "ubi", "vdo", "zfs", "adaptec-raid", "hpt37x-raid", "jmicron-raid",
        "lsi-mega-raid", "nvidia-raid", "promise-fasttrack-raid", "silicon-medley-raid", "via-raid",
    ],
)  # fmt: skip
def test_what_is_opaque_says_so(name: str, tmp_path: Path) -> None:
    volumes = found(tmp_path, kept(name))
    assert codes(volumes["0"]) == [Code.UNSUPPORTED]


def test_a_physical_volume_hides_nothing_unless_it_says_that_it_is_used(tmp_path: Path) -> None:
    image = kept("lvm2-orphan")
    assert codes(found(tmp_path, image)["0"]) == [Code.UNSUPPORTED]
    unused = parse(View(BytesSource(bytes(image)))).replaced(is_empty=True)
    assert choose([Reading(LVM2, unused)], []).opaque is None


@pytest.mark.parametrize(
    ("flags", "said"),
    [(0, []), (1 << 61, []), (2 << 61, [Code.UNSUPPORTED]), (3 << 61, [Code.DAMAGED])],
    ids=["detached", "clean", "dirty", "inconsistent"],
)
def test_a_bcache_backing_device_shows_what_it_holds(flags: int, said: list[Code], tmp_path: Path) -> None:
    inside = kept("ext2")
    image = superblock(version=4, nbuckets_or_data_offset=64, flags=flags)
    image.extend(bytes(len(inside)))
    put(image, 64 * 512, bytes(inside))
    volumes = found(tmp_path, image)
    assert (volumes["0"].type, codes(volumes["0"])) == ("bcache", said)
    assert (volumes["0.0"].type, volumes["0.0"].disk_offset) == ("ext2", 64 * 512)


def test_a_bcache_whose_data_begins_after_the_end(tmp_path: Path) -> None:
    volumes = found(tmp_path, superblock(version=4, nbuckets_or_data_offset=1 << 40, flags=0))
    assert Code.TRUNCATED in codes(volumes["0"])


def replica(agreed: int, flags: int = 1) -> bytearray:
    """A DRBD member that holds an ext2, with what drbdmeta wrote behind it."""
    image = kept("drbd-08")
    inside = kept("ext2")
    put(image, 0, bytes(inside))
    at = len(image) - drbd.SIZE
    put(image, at, struct.pack(">Q", agreed // 512))
    put(image, at + 56, struct.pack(">I", flags))
    return image


def test_a_drbd_member_shows_its_data_to_the_agreed_size(tmp_path: Path) -> None:
    agreed = len(kept("ext2"))
    volumes = found(tmp_path, replica(agreed))
    assert (volumes["0"].type, codes(volumes["0"])) == ("drbd", [])
    assert (volumes["0.0"].type, volumes["0.0"].size, volumes["0.0"].offset) == ("ext2", agreed, 0)


def test_a_drbd_member_that_was_never_up_shows_all_before_its_meta_data(tmp_path: Path) -> None:
    image = replica(0)
    said = {codes(volume)[0]: volume for volume in found(tmp_path, image).values() if codes(volume)}
    assert said == {}
    volumes = found(tmp_path, image)
    assert volumes["0.0"].size == len(image) - 80 * 512


@pytest.mark.parametrize(
    ("agreed", "flags", "said"),
    [(MIB, 0, [Code.DAMAGED]), (1 << 40, 1, [Code.TRUNCATED])],
    ids=["not consistent", "cut off"],
)
def test_a_drbd_member_that_lacks_some(agreed: int, flags: int, said: list[Code], tmp_path: Path) -> None:
    volumes = found(tmp_path, replica(agreed, flags))
    assert (codes(volumes["0"]), volumes["0.0"].type) == (said, "ext2")


def left_over(level: int, front: bytes) -> bytearray:
    """A disk that was once in an array, by its superblock at the end, and what was put in front since."""
    (image, *_) = members([content(3 * MIB // 2)] * 3, "1.0", level=level)
    image = bytearray(image)
    put(image, 0, bytes(3 * MIB // 2))
    put(image, 0, front)
    return image


def partitioned() -> bytes:
    return boot(record(0x83, 8, len(kept("ext2")) // 512)).ljust(4096, b"\0") + bytes(kept("ext2"))


@pytest.mark.parametrize("level", [0, 5])
def test_a_disk_that_was_partitioned_anew_after_it_was_in_an_array(level: int, tmp_path: Path) -> None:
    volumes = found(tmp_path, left_over(level, partitioned()))
    (inside,) = [volume for volume in volumes.values() if volume.type == "ext2"]
    whole = volumes[inside.index.rpartition(".")[0]]
    assert (volumes["0"].type, inside.disk_offset) == ("linux_raid_member", 4096)
    assert (whole.pttype, codes(whole)) == ("dos", [Code.AMBIGUOUS])


def test_a_disk_that_was_formatted_anew_after_it_was_in_an_array(tmp_path: Path) -> None:
    volumes = found(tmp_path, left_over(0, bytes(kept("ext2"))))
    (inside,) = [volume for volume in volumes.values() if volume.type == "ext2"]
    assert (inside.disk_offset, codes(inside)) == (0, [Code.AMBIGUOUS])


def test_a_table_that_reaches_beyond_the_member_is_the_arrays(tmp_path: Path) -> None:
    table = boot(record(0x83, 8, 3 * MIB // 512)).ljust(4096, b"\0") + bytes(kept("ext2"))
    volumes = found(tmp_path, left_over(0, table))
    assert volumes["0"].type == "linux_raid_member"
    assert "ext2" not in {volume.type for volume in volumes.values()}


@pytest.mark.needs("mkfs.xfs", "wipefs")
def test_what_is_left_of_a_pool_under_a_newer_file_system(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(kept("zfs"))
    with path.open("r+b") as file:
        file.truncate(max(path.stat().st_size, 320 * MIB))
        # The front of the disk is the new file system's, its first label gone.
        file.write(bytes(256 << 10))
    subprocess.run([str(find_tool("mkfs.xfs")), "-q", "-f", "-K", str(path)], check=True, capture_output=True)
    (volume,) = detect(path).volumes
    listed = subprocess.run([str(find_tool("wipefs")), str(path)], check=True, capture_output=True, text=True)
    assert ("zfs_member" in listed.stdout, volume.type) == (True, "xfs")
    assert [other.type for other in volume.candidates] == ["zfs_member"]
    assert codes(volume) == [Code.AMBIGUOUS]
