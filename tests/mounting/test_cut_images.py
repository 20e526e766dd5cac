"""An image that ends before its volumes do: what is there is read, the rest is an error, and that is said."""

import errno
import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from pyimount.layers import Scan
from pyimount.planning.policy import FORENSIC
from pyimount.planning.steps import AttachLoop, ExposeRaw
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource, CutSource
from tests.mounting.images import MIB, digest
from tests.mounting.test_mount_command import command
from tests.needing import needs, needs_root
from tests.planning.scans import FULL, disk, of, part, planned

SIZE, THERE, START = 62 * MIB, 50 * MIB, MIB


@pytest.fixture(scope="module")
def content() -> bytes:
    return random.Random(15).randbytes(45 * MIB)  # noqa: S311


@pytest.fixture(scope="module")
def cut(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same ext4 as a whole disk, in a partition, and that in a container; each without its end."""
    needs_root()
    needs("mke2fs", "sfdisk", "qemu-img")
    folder = tmp_path_factory.mktemp("cut")
    (folder / "tree").mkdir()
    (folder / "tree" / "big").write_bytes(content)
    whole, parted = folder / "whole.img", folder / "parted.img"
    whole.touch()
    os.truncate(whole, SIZE)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", folder / "tree", whole], check=True)
    with parted.open("wb") as file:
        file.truncate(START)
        file.seek(START)
        file.write(whole.read_bytes())
    table = f"label: dos\nstart={START // 512},type=83\n"
    subprocess.run(["sfdisk", "-q", parted], input=table, text=True, check=True)
    for each in (whole, parted):
        os.truncate(each, THERE)
    subprocess.run(["qemu-img", "convert", "-q", "-O", "qcow2", parted, folder / "parted.qcow2"], check=True)
    return folder


def piece(path: Path, place: int) -> bytes | None:
    """A page of a file; None: an input/output error."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(file, 4096, place)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return None
    finally:
        os.close(file)


@pytest.mark.parametrize("name", ["whole.img", "parted.img", "parted.qcow2"])
def test_what_is_there_is_read(name: str, cut: Path, content: bytes, tmp_path: Path) -> None:
    before = digest(cut / name)
    said = command("mount", "--keep", "--json", cut / name, cwd=tmp_path)
    document = json.loads(said.stdout)
    assert document["exit_status"] == 0, said
    try:
        (volume,) = document["volumes"]
        assert volume["missing"] == (SIZE if name == "whole.img" else SIZE + START) - THERE
        at = Path(volume["mountpoint"])
        found = [piece(at / "big", place) for place in range(0, len(content), 64 << 10)]
        for number, each in enumerate(found):
            assert each in (None, content[number << 16 : (number << 16) + 4096])
        assert len(found) > 4 * found.count(None) > 0, "of 45 MiB a few are gone"
    finally:
        command("unmount", document["session"], cwd=tmp_path)
    assert digest(cut / name) == before


def test_a_person_is_told(cut: Path, tmp_path: Path) -> None:
    said = command("mount", "--keep", cut / "whole.img", cwd=tmp_path)
    assert f"the image ends {SIZE - THERE} bytes before this volume does" in said.stderr
    assert "exceeds size of device" not in said.stderr
    command("unmount", cut / "whole.img", cwd=tmp_path)


def test_the_plan() -> None:
    image = disk(size=8 * MIB)
    beyond = part(1, 0, "1", type="ext4", at=MIB, size=16 * MIB)
    made = planned(Scan((image,), (beyond,)))
    assert made.missing == ((1, 9 * MIB),)
    (server,), (loop,) = of(made, ExposeRaw), of(made, AttachLoop)
    assert (server.files, loop.offset, loop.size) == (((1, "1.raw"),), 0, 0)
    # Where another program shows the disk, or a cache is written, or there is no server: as far as it goes.
    for machine, policy in (
        (FULL.replaced(fuse=False), FORENSIC),
        (FULL, FORENSIC.replaced(disk_mounter="qemu-nbd")),
    ):
        made = planned(Scan((image,), (beyond,)), machine, policy)
        assert made.missing == ()
    whole = part(1, 0, "1", type="ext4", at=MIB, size=7 * MIB)
    made = planned(Scan((image,), (whole,)))
    assert (made.missing, of(made, ExposeRaw)) == ((), [])


def test_its_end_is_no_zeros() -> None:
    cut = CutSource(BytesSource(b"abcdef"), 10)
    assert (cut.size, cut.read_at(0, 6), cut.read_at(5, 1), cut.read_at(10, 5)) == (10, b"abcdef", b"f", b"")
    for offset, length in ((6, 1), (5, 2), (0, 10), (9, 1)):
        with pytest.raises(ReadError, match="from 6 on"):
            cut.read_at(offset, length)
    assert CutSource(BytesSource(b"abc"), 2).size == 3
