"""What dissect.volume and The Sleuth Kit say of the same images."""

import re
import subprocess
from io import BytesIO
from pathlib import Path

import pytest

from fixtures.workshop import tool_path
from pyimount.formats import Partition, Table, TableFormat
from pyimount.parsers.partitions import apm, bsd, gpt, mbr, sun
from tests.kept import kept
from tests.parsers.partitions.building import table

IMAGES = {
    "mbr": mbr.FORMAT,
    "gpt": gpt.FORMAT,
    "gpt-hybrid": gpt.FORMAT,
    "iso-hybrid": gpt.FORMAT,
    "apm": apm.FORMAT,
    "sun": sun.FORMAT,
    "bsd-slice": bsd.FORMAT,
}


def sectors(found: Table, partitions: list[Partition]) -> set[tuple[int, int]]:
    return {(entry.offset // found.sector_size, entry.size // found.sector_size) for entry in partitions}


@pytest.mark.parametrize("name", ["mbr", "gpt", "gpt-hybrid", "iso-hybrid"])
def test_dissect_volume_agrees(name: str) -> None:
    from dissect.volume.disk import Disk

    declared = IMAGES[name]
    found = table(declared, kept(name))
    theirs = {
        (entry.offset, entry.size)
        for entry in Disk(BytesIO(bytes(kept(name)))).partitions
        # What a hybrid MBR lists stands in our details.
        if not (declared is gpt.FORMAT and isinstance(entry.type, int))
    }
    # dissect.volume 3.18 takes a GPT's EndingLBA as the first sector behind the partition. The
    # UEFI specification has it as the partition's last, and sfdisk and libblkid read it so.
    short = found.sector_size if declared is gpt.FORMAT else 0
    # It leaves out the extended partition itself, and numbers the logical ones from 4, not from 5.
    ours = {(entry.offset, entry.size - short) for entry in found.partitions if not entry.meta}
    assert ours == theirs


def test_dissect_volume_agrees_on_apm() -> None:
    from dissect.volume.disk import Disk

    found = table(apm.FORMAT, kept("apm"))
    theirs = {
        (entry.offset, entry.size, entry.name) for entry in Disk(BytesIO(bytes(kept("apm")))).partitions
    }
    ours = {(entry.offset, entry.size, entry.name) for entry in found.partitions}
    # Theirs has an entry for what is free as well.
    assert ours <= theirs
    assert {name for _, _, name in theirs - ours} == {"Extra"}


def mmls(image: Path) -> list[tuple[int, int, str]]:
    """First sector, sectors, and description of every line that is not unallocated."""
    done = subprocess.run([tool_path("mmls"), image], capture_output=True, text=True, check=True)
    lines = re.findall(r"^\d+:\s+(\S+)\s+(\d+)\s+\d+\s+(\d+)\s+(.+)$", done.stdout, re.MULTILINE)
    return [(int(start), int(size), name) for slot, start, size, name in lines if slot != "-------"]


@pytest.mark.parametrize("name", IMAGES)
def test_mmls_agrees(name: str, tmp_path: Path) -> None:
    declared: TableFormat = IMAGES[name]
    image = tmp_path / "disk.img"
    image.write_bytes(kept(name))
    theirs = mmls(image)
    found = table(declared, kept(name))
    base = found.details["first_sector"] if declared is bsd.FORMAT else 0
    assert isinstance(base, int)
    for start, size in sectors(found, list(found.partitions)):
        assert (start + base, size) in {(at, length) for at, length, _ in theirs}
    # Where it knows what the table itself takes, under the name that we took from it.
    names = {extent.name for extent in found.meta}
    known = [(start, size, name) for start, size, name in theirs if name in names]
    ours = {(extent.offset // 512, extent.size // 512, extent.name) for extent in found.meta}
    assert set(known) <= ours
    if declared in (mbr.FORMAT, gpt.FORMAT):
        assert len(known) >= 3
