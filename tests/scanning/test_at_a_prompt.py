"""What somebody sees who works with a scan at a prompt or in a notebook."""

import inspect
import logging
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import fixtures


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return next(fixture for fixture in fixtures() if fixture.name == "demo").unpack(tmp_path)


def test_a_scan_is_a_line(demo: Path) -> None:
    assert (
        repr(pyimount.detect(demo)) == "<Scan of 'disk.img': 11 volumes (vfat, ext4, ntfs, swap), 0 problems>"
    )
    assert len(repr(pyimount.detect([demo] + [demo.parent / f"{n}.img" for n in range(300)]))) < 200


def test_walk_goes_over_everything(demo: Path) -> None:
    scan = pyimount.detect([demo, demo.parent / "other.img"])
    assert list(scan.walk()) == [volume for disk in scan.disks for volume in scan.walk(disk)]
    assert [volume.index for volume in scan.walk()][:2] == ["1.1", "1.2"]


def test_a_notebook_shows_a_tree_without_anything_of_the_images(tmp_path: Path) -> None:
    image = next(fixture for fixture in fixtures() if fixture.name == "ext4").unpack(tmp_path)
    with image.open("r+b") as file:
        file.seek(1024 + 0x78)
        file.write(b"<script>x\x1b&".ljust(16, b"\0"))
    html = pyimount.detect(image)._repr_html_()
    assert "&lt;script&gt;x\\x1b&amp;" in html
    assert "<script" not in html
    assert "ext4" in html
    assert "http" not in html


def test_a_record_tells_its_fields() -> None:
    signature = inspect.signature(pyimount.Budget)
    assert list(signature.parameters) == [
        "bytes_read",
        "seconds",
        "layers",
        "depth",
        "unpacked",
        "derivation",
        "derivation_memory",
    ]
    assert signature.parameters["bytes_read"].annotation is int
    assert signature.parameters["bytes_read"].default == 512 << 20
    assert all(unit in (pyimount.Budget.__doc__ or "") for unit in ("bytes", "time on the clock", "layers"))
    kinds = {each.kind for each in inspect.signature(pyimount.VolumeLayer).parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}


def test_what_is_no_path_is_told_what_is_wanted(demo: Path) -> None:
    with demo.open("rb") as file:
        for wrong in (b"disk.img", bytearray(b"EVF"), file, [file], [7]):
            with pytest.raises(TypeError, match="an image is a path"):
                pyimount.detect(wrong)  # type: ignore[arg-type]


def test_a_scan_tells_the_logger(demo: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="pyimount"):
        pyimount.detect(demo)
    assert [record.name for record in caplog.records] == ["pyimount"] * 2
    assert str(demo) in caplog.text
