"""VMA as the recipe's maker writes it, by Proxmox's specification."""

import hashlib
import json
import random
import struct
from pathlib import Path

import pytest

import pyimount
from fixtures.comparing import codes, inside, mixed_bytes, open_path, where_different
from fixtures.recipes.vma import archive, header
from pyimount.cli import main
from pyimount.parsers.containers import vma
from pyimount.sources.errors import ReadError

MIB = 1 << 20
DISK = mixed_bytes(40 * vma.CLUSTER + 5 * vma.BLOCK, seed=12)
CLUSTERS = -(-len(DISK) // vma.CLUSTER)


def put(folder: Path, data: bytes) -> Path:
    path = folder / "backup.vma"
    path.write_bytes(data)
    return path


def ext_disk(label: bytes) -> bytes:
    """A disk of a MiB whose superblock has this label: as much of an ext2 as recognising it takes."""
    block = bytearray(1024)
    block[0:8] = struct.pack("<2I", 256, 1024)
    block[20:44] = struct.pack("<6I", 1, 0, 0, 8192, 8192, 256)
    block[56:58] = b"\x53\xef"
    block[58:60] = b"\1\0"
    block[120 : 120 + len(label)] = label
    return bytes(1024) + bytes(block) + bytes(MIB - 2048)


def test_clusters_in_order(tmp_path: Path) -> None:
    path = put(tmp_path, archive({1: (b"drive-scsi0", DISK)}))
    assert codes(open_path(path)) == []
    assert where_different(inside(path), DISK) == []


def test_clusters_in_any_order_between_those_of_another_disk(tmp_path: Path) -> None:
    order = [(device, number) for device in (1, 2) for number in range(CLUSTERS)]
    random.Random(1).shuffle(order)  # noqa: S311
    path = put(tmp_path, archive({1: (b"drive-scsi0", DISK), 2: (b"drive-scsi1", DISK[::-1])}, order))
    opened = open_path(path)
    assert [codes(each) for each in opened.disks] == [[], []]
    for each, content in zip(opened.disks, (DISK, DISK[::-1]), strict=True):
        assert each.source is not None
        assert each.source.read_at(0, len(DISK)) == content


def test_every_disk_of_the_machine_is_a_disk(tmp_path: Path) -> None:
    """Each with its own table, and read again by its own recipe; what is no disk stands behind these."""
    disks = {
        1: (b"drive-efidisk0", bytes(vma.CLUSTER)),
        2: (b"drive-scsi0", ext_disk(b"first")),
        3: (b"drive-scsi1", ext_disk(b"second")),
    }
    scan = pyimount.detect(put(tmp_path, archive(disks)))
    assert [(disk.index, disk.container["disk"]) for disk in scan.disks] == [
        ("1", "drive-scsi0"),
        ("2", "drive-scsi1"),
        ("3", "drive-efidisk0"),
    ]
    assert [(volume.index, volume.label) for volume in scan.volumes if volume.type] == [
        ("1.0", "first"),
        ("2.0", "second"),
    ]
    for volume, number in zip(scan.volumes, (2, 3), strict=False):
        with pyimount.open_volume(scan, volume.index or "") as file:
            assert file.read() == disks[number][1]
    stored = pyimount.Scan.from_dict(json.loads(json.dumps(scan.to_dict())))
    with pyimount.open_volume(stored, "2.0") as file:
        assert file.read() == disks[3][1]


def test_one_of_several_disks_is_exported_by_its_index(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    disks = {1: (b"drive-scsi0", DISK), 2: (b"drive-scsi1", DISK[::-1])}
    image = put(tmp_path, archive(disks))
    out = tmp_path / "out.raw"
    assert main(["export", str(image), "2", "-o", str(out)]) == 0
    assert out.read_bytes() == DISK[::-1]
    assert main(["export", str(image), "disk"]) == 1
    assert "which one is meant" in capfd.readouterr().err


def test_several_archives_have_their_disks_counted_through(tmp_path: Path) -> None:
    first = tmp_path / "a.vma"
    first.write_bytes(archive({1: (b"drive-scsi0", ext_disk(b"one")), 2: (b"drive-scsi1", ext_disk(b"two"))}))
    second = tmp_path / "b.img"
    second.write_bytes(ext_disk(b"three"))
    scan = pyimount.detect([second, first])
    assert [(volume.index, volume.label) for volume in scan.volumes] == [
        ("1.0", "three"),
        ("2.0", "one"),
        ("3.0", "two"),
    ]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ((b"drive-efidisk0", b"drive-scsi0"), 2),
        ((b"drive-tpmstate0-backup", b"vmstate", b"drive-virtio3"), 3),
        ((b"drive-efidisk0",), 1),
        ((b"drive-ide0", b"drive-ide1"), 1),
    ],
)
def test_which_device_is_the_disk(tmp_path: Path, names: tuple[bytes, ...], chosen: int) -> None:
    disks = {number: (name, DISK[: number * 65536]) for number, name in enumerate(names, 1)}
    opened = open_path(put(tmp_path, archive(disks)))
    assert opened.container.details["device"] == chosen
    assert opened.container.size == chosen * 65536


def test_an_archive_without_disks(tmp_path: Path) -> None:
    opened = open_path(put(tmp_path, archive({})))
    assert (opened.source, codes(opened)) == (None, ["unsupported"])


def test_a_truncated_archive_gives_what_is_there(tmp_path: Path) -> None:
    whole = archive({1: (b"drive-scsi0", DISK + DISK)})
    opened = open_path(put(tmp_path, whole[: len(whole) * 3 // 4]))
    assert codes(opened) == ["truncated"]
    assert opened.source is not None
    assert opened.source.read_at(0, 65536) == DISK[:65536]
    with pytest.raises(ReadError):
        opened.source.read_at(0, 2 * len(DISK))


def test_clusters_that_were_never_written(tmp_path: Path) -> None:
    order = [(1, number) for number in range(CLUSTERS) if number != 7]
    opened = open_path(put(tmp_path, archive({1: (b"drive-scsi0", DISK)}, order)))
    assert codes(opened) == ["damaged"]
    assert opened.source is not None
    assert opened.source.read_at(6 * vma.CLUSTER, vma.CLUSTER) == DISK[6 * vma.CLUSTER : 7 * vma.CLUSTER]
    with pytest.raises(ReadError):
        opened.source.read_at(7 * vma.CLUSTER, 512)


def test_a_wrong_checksum_of_the_header_is_told(tmp_path: Path) -> None:
    data = bytearray(archive({1: (b"drive-scsi0", DISK)}))
    data[33] ^= 1
    path = put(tmp_path, bytes(data))
    assert codes(open_path(path)) == ["bad-checksum"]
    assert where_different(inside(path), DISK) == []


@pytest.mark.parametrize(("at", "code"), [(0, "damaged"), (10, "damaged"), (30, "bad-checksum")])
def test_a_damaged_extent_ends_the_walk(tmp_path: Path, at: int, code: str) -> None:
    data = bytearray(archive({1: (b"drive-scsi0", DISK + DISK)}))
    second = data.index(b"VMAE", data.index(b"VMAE") + 4)
    data[second + at] ^= 1
    opened = open_path(put(tmp_path, bytes(data)))
    assert codes(opened) == [code]
    assert opened.source is not None
    assert opened.source.read_at(0, 65536) == DISK[:65536]


def test_an_extent_whose_count_and_masks_differ(tmp_path: Path) -> None:
    data = bytearray(archive({1: (b"drive-scsi0", DISK)}))
    at = data.index(b"VMAE")
    data[at + 7] ^= 1
    data[at + 24 : at + 40] = bytes(16)
    data[at + 24 : at + 40] = hashlib.md5(data[at : at + 512], usedforsecurity=False).digest()
    assert codes(open_path(put(tmp_path, bytes(data)))) == ["damaged"]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (56, 0xFFFFFFFF),  # header_size
        (56, 512),
        (52, 0xFFFFFFFF),  # blob_buffer_size
        (12288 - 256 * 32 + 32 + 8, 0xFFFFFFFF),  # the first device's size
    ],
)
def test_figures_that_cannot_be(tmp_path: Path, at: int, value: int) -> None:
    data = bytearray(header({1: (b"drive-scsi0", 4096)}))
    data[at : at + 4] = value.to_bytes(4, "big")
    assert open_path(put(tmp_path, bytes(data))).container.type == "raw"
