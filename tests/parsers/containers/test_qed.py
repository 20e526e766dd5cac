"""QED as qemu-img and qemu-io write it."""

import struct
from pathlib import Path

import pytest

from fixtures.comparing import codes, inside, mixed_bytes, open_path, where_different
from fixtures.workshop import Workshop
from pyimount.sources.errors import ReadError
from tests.needing import needs

MIB = 1 << 20
DISK = mixed_bytes(3 * MIB + 512, seed=4)


@pytest.fixture
def work(tmp_path: Path) -> Workshop:
    needs("qemu-img", "qemu-io")
    return Workshop(tmp_path)


def made(work: Workshop, disk: bytes = DISK, *options: str) -> Path:
    raw, image = work.folder / "disk.raw", work.folder / "disk.qed"
    raw.write_bytes(disk)
    work.run("qemu-img", "convert", "-f", "raw", "-O", "qed", *options, raw, image)
    return image


@pytest.mark.parametrize("options", [(), ("-o", "cluster_size=16384,table_size=2")], ids=["usual", "small"])
def test_the_disk_inside_is_the_one_that_was_put_there(work: Workshop, options: tuple[str, ...]) -> None:
    image = made(work, DISK, *options)
    assert codes(open_path(image)) == []
    assert where_different(inside(image), DISK) == []


def test_over_a_backing_file_of_which_zeros_hide_a_part(work: Workshop) -> None:
    made(work)
    (work.folder / "disk.raw").unlink()
    work.run("qemu-img", "create", "-q", "-f", "qed", "-b", "disk.qed", "-F", "qed", "top.qed", str(4 * MIB))
    work.run("qemu-io", "-f", "qed", "-c", "write -q -P 9 65536 4096", "-c", "write -q -z 1M 64k", "top.qed")
    work.run("qemu-img", "convert", "-f", "qed", "-O", "raw", "top.qed", "judge.raw")
    image = work.folder / "top.qed"
    assert codes(open_path(image)) == []
    assert where_different(inside(image), (work.folder / "judge.raw").read_bytes()) == []
    (work.folder / "disk.qed").unlink()
    assert codes(open_path(image)) == ["missing-backing-file"]


def test_a_raw_backing_file_is_not_probed(work: Workshop) -> None:
    """What a guest wrote there decides nothing."""
    (work.folder / "inner.raw").write_bytes(made(work).read_bytes())
    work.run("qemu-img", "create", "-q", "-f", "qed", "-b", "inner.raw", "-F", "raw", "top.qed")
    assert inside(work.folder / "top.qed").read_at(0, 4) == b"QED\0"


def test_what_is_cut_is_said(work: Workshop) -> None:
    image = made(work)
    data = image.read_bytes()
    image.write_bytes(data[: len(data) // 2])
    opened = open_path(image)
    assert codes(opened) == ["truncated"]


@pytest.mark.parametrize(
    ("at", "value", "answer"),
    [
        (16, "<Q", ["unsupported"]),  # features
        (4, "<I", "raw"),  # cluster_size
        (8, "<I", "raw"),  # table_size
        (48, "<Q", "raw"),  # image_size
    ],
)
def test_figures_that_cannot_be(work: Workshop, at: int, value: str, answer: object) -> None:
    image = made(work)
    data = bytearray(image.read_bytes())
    struct.pack_into(value, data, at, 0x7FFFFFF8)
    image.write_bytes(data)
    opened = open_path(image)
    assert (opened.container.type if answer == "raw" else codes(opened)) == answer


def test_a_table_at_a_place_that_cannot_be(work: Workshop) -> None:
    image = made(work)
    data = bytearray(image.read_bytes())
    (l1,) = struct.unpack_from("<Q", data, 40)
    struct.pack_into("<Q", data, l1, 12345)
    image.write_bytes(data)
    source = open_path(image).source
    assert source is not None
    with pytest.raises(ReadError, match="no multiple"):
        source.read_at(0, 1)
