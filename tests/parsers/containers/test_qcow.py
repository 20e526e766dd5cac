"""QCOW, version 1, as qemu-img and qemu-io write it."""

import struct
from pathlib import Path

import pytest

from fixtures.comparing import codes, inside, mixed_bytes, open_path, where_different
from fixtures.workshop import Workshop
from pyimount.parsers.containers import qcow
from pyimount.sources.errors import ReadError
from tests.needing import needs

MIB = 1 << 20


@pytest.fixture
def work(tmp_path: Path) -> Workshop:
    needs("qemu-img", "qemu-io")
    return Workshop(tmp_path)


def made(work: Workshop, disk: bytes) -> Path:
    raw, image = work.folder / "disk.raw", work.folder / "disk.qcow"
    raw.write_bytes(disk)
    work.run("qemu-img", "convert", "-f", "raw", "-O", "qcow", raw, image)
    return image


def test_the_disk_inside_is_the_one_that_was_put_there(work: Workshop) -> None:
    disk = mixed_bytes(3 * MIB + 512)
    image = made(work, disk)
    assert where_different(inside(image), disk) == []
    assert codes(open_path(image)) == []


def test_compressed_clusters(work: Workshop) -> None:
    image = work.folder / "disk.qcow"
    work.run("qemu-img", "create", "-q", "-f", "qcow", image, str(MIB))
    writes = [word for n in range(32) for word in ("-c", f"write -q -c -P {n + 1} {n * 8192} 4096")]
    work.run("qemu-io", "-f", "qcow", *writes, image)
    work.run("qemu-img", "convert", "-f", "qcow", "-O", "raw", image, "judge.raw")
    assert image.stat().st_size < 64 << 10  # they are compressed
    assert where_different(inside(image), (work.folder / "judge.raw").read_bytes()) == []


def test_a_cluster_that_gives_too_little_is_not_read(work: Workshop) -> None:
    image = work.folder / "disk.qcow"
    work.run("qemu-img", "create", "-q", "-f", "qcow", image, str(MIB))
    work.run("qemu-io", "-f", "qcow", "-c", "write -q -c -P 7 0 4096", image)
    data = bytearray(image.read_bytes())
    l1 = struct.unpack_from(">Q", data, 40)[0]
    entry = struct.unpack_from(">Q", data, struct.unpack_from(">Q", data, l1)[0])[0]
    at = entry & ((1 << 51) - 1)
    data[at : at + 4] = b"\x03\0\0\0"  # a last, empty block
    image.write_bytes(data)
    source = inside(image)
    with pytest.raises(ReadError, match="4096 belong there"):
        source.read_at(0, 512)
    assert source.read_at(4096, 512) == bytes(512)


def test_a_backing_file_shows_through(work: Workshop) -> None:
    disk = bytearray(mixed_bytes(MIB))
    made(work, disk)
    top = work.folder / "top.qcow"
    work.run("qemu-img", "create", "-q", "-f", "qcow", "-b", "disk.qcow", "-F", "qcow", top)
    work.run("qemu-io", "-f", "qcow", "-c", "write -q -P 85 12288 4096", top)
    disk[12288:16384] = b"\x55" * 4096
    opened = open_path(top)
    assert opened.container.details["backing_file"] == "disk.qcow"
    assert where_different(inside(top), bytes(disk)) == []


def test_without_its_backing_file_only_its_own_clusters_are_read(work: Workshop) -> None:
    made(work, mixed_bytes(MIB))
    top = work.folder / "top.qcow"
    work.run("qemu-img", "create", "-q", "-f", "qcow", "-b", "disk.qcow", "-F", "qcow", top)
    work.run("qemu-io", "-f", "qcow", "-c", "write -q -P 85 12288 4096", top)
    (work.folder / "disk.qcow").unlink()
    assert codes(open_path(top)) == ["missing-backing-file"]
    assert inside(top).read_at(12288, 4096) == b"\x55" * 4096
    with pytest.raises(ReadError, match="missing"):
        inside(top).read_at(0, 512)


def test_an_encrypted_image_is_named(work: Workshop) -> None:
    image = made(work, mixed_bytes(MIB))
    data = bytearray(image.read_bytes())
    struct.pack_into(">I", data, 36, 1)  # crypt_method; QEMU no longer makes these
    image.write_bytes(data)
    opened = open_path(image)
    assert opened.source is None
    assert opened.container.details["encryption"] == "aes"
    assert codes(opened) == ["unsupported"]


@pytest.mark.parametrize("cluster_bits", [0, 8, 17, 63, 255])
def test_clusters_of_impossible_size_are_no_qcow(work: Workshop, cluster_bits: int) -> None:
    image = made(work, mixed_bytes(MIB))
    data = bytearray(image.read_bytes())
    data[32] = cluster_bits
    image.write_bytes(data)
    assert open_path(image).container.type == "raw"


def test_a_disk_larger_than_its_file_can_say_is_flagged(work: Workshop) -> None:
    image = made(work, mixed_bytes(MIB))
    data = bytearray(image.read_bytes())
    struct.pack_into(">Q", data, 24, 1 << 50)
    image.write_bytes(data)
    assert codes(open_path(image)) == ["truncated"]
    with pytest.raises(ReadError):
        inside(image).read_at((1 << 50) - 512, 512)


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_truncated_image_gives_what_is_there_and_no_other_bytes(work: Workshop, tenths: int) -> None:
    disk = mixed_bytes(MIB)
    image = made(work, disk)
    data = image.read_bytes()
    image.write_bytes(data[: len(data) * tenths // 10])
    opened = open_path(image)
    assert "truncated" in codes(opened)
    source = inside(image)
    for at in range(0, len(disk), 4096):
        try:
            assert source.read_at(at, 4096) == disk[at : at + 4096]
        except ReadError:
            continue


def test_a_header_alone_is_no_disk_or_one_that_says_so(work: Workshop) -> None:
    data = made(work, mixed_bytes(MIB)).read_bytes()
    for length in range(8, qcow.HEADER.size + 8):
        cut = work.folder / "cut.qcow"
        cut.write_bytes(data[:length])
        opened = open_path(cut)
        assert opened.container.type == "raw" or codes(opened) == ["truncated"]
