"""OVA as tarfile writes it, of disks as qemu-img does."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

import pyimount
from fixtures.comparing import codes, mixed_bytes, open_path, where_different
from fixtures.workshop import Workshop
from pyimount.mapping import open_layer
from pyimount.sources.errors import ReadError
from tests.needing import needs

MIB = 1 << 20
FIRST, SECOND = mixed_bytes(MIB, seed=1), mixed_bytes(2 * MIB, seed=2)
LONG = "a folder of a machine whose name is longer than the header of a tar archive has room for/" * 2


def archive(path: Path, files: dict[str, bytes], kind: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def vmdk(tmp_path: Path) -> bytes:
    """The first disk as machines are handed on: a VMDK as a stream."""
    needs("qemu-img")
    work = Workshop(tmp_path)
    (tmp_path / "first.raw").write_bytes(FIRST)
    options = ("-o", "subformat=streamOptimized")
    work.run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", *options, "first.raw", "first.vmdk")
    return (tmp_path / "first.vmdk").read_bytes()


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_disk_of_the_machine_is_a_disk(tmp_path: Path, vmdk: bytes, kind: int) -> None:
    folder = "" if kind == tarfile.USTAR_FORMAT else LONG
    files = {"m.ovf": b"<Envelope/>", "m.mf": b"", f"{folder}m-disk1.vmdk": vmdk, "seed.img": SECOND}
    scan = pyimount.detect(archive(tmp_path / "m.ova", files, kind))
    assert [(disk.index, disk.container["type"], disk.container["disk"]) for disk in scan.disks] == [
        ("1", "vmdk", f"{folder}m-disk1.vmdk"),
        ("2", "ova", "seed.img"),
    ]
    assert [each["type"] for each in scan.disks[0].container["wrapped_in"]] == ["ova"]
    for disk, content in zip(scan.disks, (FIRST, SECOND), strict=True):
        assert disk.problems == ()
        with open_layer(scan, disk) as source:
            assert where_different(source, content) == []


def test_one_disk_is_the_disk(tmp_path: Path, vmdk: bytes) -> None:
    path = archive(tmp_path / "m.ova", {"m.ovf": b"<Envelope/>", "m-disk1.vmdk": vmdk})
    (disk,) = pyimount.detect(path).disks
    assert (disk.index, disk.size, disk.container["disk"]) == (None, MIB, "m-disk1.vmdk")


def test_an_archive_that_is_packed_itself(tmp_path: Path, vmdk: bytes) -> None:
    plain = archive(tmp_path / "m.ova", {"m.ovf": b"<Envelope/>", "a.vmdk": vmdk, "b.raw": SECOND})
    path = tmp_path / "m.ova.gz"
    path.write_bytes(gzip.compress(plain.read_bytes()))
    scan = pyimount.detect(path)
    assert [[each["type"] for each in disk.container["wrapped_in"]] for disk in scan.disks] == [
        ["gzip", "ova"],
        ["gzip"],
    ]
    with open_layer(scan, scan.disks[1]) as source:
        assert where_different(source, SECOND) == []


def test_disks_that_are_packed_or_in_chunks(tmp_path: Path, vmdk: bytes) -> None:
    """What the standard calls compression and chunkSize."""
    half = len(vmdk) // 2
    files = {
        "m.ovf": b"<Envelope/>",
        "a.vmdk.000000001": vmdk[half:],
        "a.vmdk.000000000": vmdk[:half],
        "b.img.gz": gzip.compress(SECOND),
    }
    scan = pyimount.detect(archive(tmp_path / "m.ova", files))
    assert [disk.container["disk"] for disk in scan.disks] == ["a.vmdk", "b.img.gz"]
    for disk, content in zip(scan.disks, (FIRST, SECOND), strict=True):
        with open_layer(scan, disk) as source:
            assert where_different(source, content) == []


class TestWhatIsWrong:
    def test_a_chunk_that_is_missing(self, tmp_path: Path) -> None:
        files = {"m.ovf": b"<Envelope/>", "a.raw.000000001": SECOND, "b.raw": FIRST}
        opened = open_path(archive(tmp_path / "m.ova", files))
        assert (codes(opened), opened.container.details["disk"]) == (["missing-segment"], "b.raw")

    def test_a_disk_that_is_cut(self, tmp_path: Path) -> None:
        path = archive(tmp_path / "m.ova", {"m.ovf": b"<Envelope/>", "b.raw": SECOND})
        path.write_bytes(path.read_bytes()[: 1024 + 512 + MIB])
        opened = open_path(path)
        assert (codes(opened), opened.container.size) == (["truncated"], 2 * MIB)
        assert opened.source is not None
        assert opened.source.read_at(0, MIB) == SECOND[:MIB]
        with pytest.raises(ReadError, match="ends within b"):
            opened.source.read_at(MIB, 1)

    def test_what_stands_behind_a_damaged_header_is_not_looked_at(self, tmp_path: Path) -> None:
        path = archive(tmp_path / "m.ova", {"m.ovf": b"", "a.raw": FIRST, "b.raw": SECOND})
        data = bytearray(path.read_bytes())
        data[512 + 512 + MIB] ^= 1
        path.write_bytes(data)
        opened = open_path(path)
        assert (codes(opened), opened.container.details["disk"]) == (["damaged"], "a.raw")

    def test_a_machine_without_disks(self, tmp_path: Path) -> None:
        opened = open_path(archive(tmp_path / "m.ova", {"m.ovf": b"<Envelope/>", "m.mf": b""}))
        assert (opened.source, codes(opened)) == (None, ["unsupported"])

    def test_another_archive_is_none(self, tmp_path: Path) -> None:
        path = archive(tmp_path / "m.ova", {"readme": b"", "m.ovf": b"<Envelope/>", "a.raw": FIRST})
        assert open_path(path).container.type == "raw"
