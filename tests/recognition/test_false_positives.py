"""What is no disk gets no type, unless libblkid gives one too, or the reason stands here."""

import random
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import Workshop
from tests.needing import needs

USR = Path("/usr")
HOW_MANY = 1000
LARGEST = 4 << 20

REASONS: dict[str, str] = {
    "cpio": "it is one; libblkid knows no archives",
    "tar": "it is one; libblkid knows no archives",
    "zip": "it is one; libblkid knows no archives",
}
"""Types that are named where blkid names none, and why."""


def named(image: Path) -> set[str]:
    """Every type and table that a scan names in this file."""
    scan = pyimount.detect(image)
    tables = {disk.pttype for disk in scan.disks} | {volume.pttype for volume in scan.volumes}
    return {each for each in (*tables, *(volume.type for volume in scan.volumes)) if each}


def ordinary_files() -> Iterator[Path]:
    """Text, programs, compressed files: of every folder some, the same on every run on one machine."""
    found = []
    for path in USR.rglob("*"):
        try:
            seen = path.lstat()
        except OSError:
            continue
        if stat.S_ISREG(seen.st_mode) and 0 < seen.st_size <= LARGEST:
            found.append(path)
    found.sort()
    chosen = random.Random(6).sample(found, min(HOW_MANY, len(found)))  # noqa: S311
    compressed = [path for path in found if path.suffix in (".gz", ".xz", ".zip", ".whl", ".jar", ".png")]
    return iter({*chosen, *random.Random(7).sample(compressed, min(HOW_MANY // 4, len(compressed)))})  # noqa: S311


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    needs("blkid")
    return Workshop(tmp_path_factory.mktemp("files"))


def unexplained(image: Path, work: Workshop) -> set[str]:
    ours = named(image) - REASONS.keys()
    if not ours:
        return set()
    theirs = work.blkid(image)
    return ours - {str(theirs.get(key)) for key in ("TYPE", "PTTYPE", "type", "pttype")}


@pytest.mark.thorough
def test_ordinary_files_are_no_disks(work: Workshop) -> None:
    wrong = {str(path): names for path in ordinary_files() if (names := unexplained(path, work))}
    assert wrong == {}


@pytest.mark.thorough
def test_random_bytes_are_no_disks(work: Workshop) -> None:
    source = random.Random(2026)  # noqa: S311
    image = work.folder / "random.img"
    wrong = {}
    for number in range(HOW_MANY):
        image.write_bytes(source.randbytes(source.choice((512, 5000, 65536, 1 << 17, 300_001))))
        if names := unexplained(image, work):
            wrong[number] = names
    assert wrong == {}
