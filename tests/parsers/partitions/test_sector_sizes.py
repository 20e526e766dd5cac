"""Tables that only count sectors, on disks whose sectors have another size than the image says."""

import re
import struct
import subprocess
from pathlib import Path

import pytest

from fixtures.workshop import find_tool
from pyimount import detect
from pyimount.parsers.partitions import bsd, mbr, sgi, solaris, sun
from pyimount.sources.source import BytesSource
from pyimount.sources.view import View
from tests.parsers.partitions.building import boot, codes, gpt_disk, place, record, table

UNITS = (512, 1024, 2048, 4096)
LINUX, NTFS, EXTENDED = 0x83, 0x07, 0x05


def ext(image: bytearray, at: int) -> None:
    """The marks of an ext4: its magic, and blocks of 4 KiB."""
    place(image, at + 0x418, struct.pack("<I", 2))
    place(image, at + 0x438, b"\x53\xef")


def ntfs(image: bytearray, at: int, sector_size: int) -> None:
    """The start of an NTFS' boot sector."""
    head = b"\xeb\x52\x90NTFS    " + sector_size.to_bytes(2, "little") + b"\x08"
    place(image, at, head.ljust(510, b"\0") + b"\x55\xaa")


def fat(image: bytearray, at: int, sector_size: int) -> None:
    """The start of a FAT's boot sector."""
    head = b"\xeb\x3c\x90mkfs.fat" + struct.pack("<HBHBHHB", sector_size, 4, 1, 2, 512, 0, 0xF8)
    place(image, at, head.ljust(510, b"\0") + b"\x55\xaa")


def two_primaries(unit: int, *, end: int = 2048) -> bytearray:
    image = bytearray(boot(record(LINUX, 256, 200), record(LINUX, 512, 100)).ljust(end * unit, b"\0"))
    ext(image, 256 * unit)
    ext(image, 512 * unit)
    return image


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("told", [None, 512, 4096])
def test_what_begins_where_the_partitions_do_tells_the_unit(unit: int, told: int | None) -> None:
    found = table(mbr.FORMAT, two_primaries(unit), sector_size=told)
    assert found.sector_size == unit
    assert [(entry.offset, entry.size) for entry in found.partitions] == [
        (256 * unit, 200 * unit),
        (512 * unit, 100 * unit),
    ]
    # A container of a disk behind a bridge says 512 as ever: only another figure did somebody look up.
    assert codes(found) == (["not-as-told"] if told == 4096 and unit != 4096 else [])


@pytest.mark.parametrize("unit", UNITS)
def test_nothing_known_begins_there_so_the_image_is_believed(unit: int) -> None:
    image = bytearray(boot(record(LINUX, 256, 200)).ljust(2048 * 4096, b"\0"))
    assert table(mbr.FORMAT, image).sector_size == 512
    assert table(mbr.FORMAT, image, sector_size=unit).sector_size == unit


def test_an_end_that_fits_counts_where_nothing_begins() -> None:
    image = bytearray(boot(record(LINUX, 256, 200)).ljust(2048 * 512, b"\0"))
    found = table(mbr.FORMAT, image, sector_size=4096)
    assert (found.sector_size, codes(found)) == (512, ["not-as-told"])


@pytest.mark.parametrize("inner", ["gpt", "dos"])
@pytest.mark.parametrize("end", [120_000, 40_000])
def test_a_volume_within_a_table_within_a_partition_is_no_partition_of_the_disk(inner: str, end: int) -> None:
    """A partition at 1 MiB holds a disk whose own first partition, at 1 MiB, is where 1024 would have it."""
    image = bytearray(boot(record(LINUX, 2048, 36_000)).ljust(end * 512, b"\0"))
    if inner == "gpt":
        place(image, 2048 * 512, boot(record(0xEE, 1, 0xFFFFFFFF)))
        place(image, 2049 * 512, b"EFI PART")
    else:
        place(image, 2048 * 512, boot(record(LINUX, 2048, 20_000)))
    ext(image, 4096 * 512)
    assert table(mbr.FORMAT, image).sector_size == 512


def test_a_volume_that_a_disk_too_short_would_hold_tells_nothing() -> None:
    """Only a boot sector that names the size itself says more than the disk's end does."""
    image = bytearray(boot(record(LINUX, 2048, 36_000)).ljust(40_000 * 512, b"\0"))
    ext(image, 4096 * 512)
    assert table(mbr.FORMAT, image).sector_size == 512
    ntfs(image, 4096 * 512, 1024)
    assert table(mbr.FORMAT, image).sector_size == 1024


def test_what_the_caller_says_is_not_doubted() -> None:
    view = View(BytesSource(bytes(two_primaries(512))), 4096, caller_knows=True)
    assert mbr.FORMAT.parse(view).sector_size == 4096


@pytest.mark.parametrize("write", [ntfs, fat])
def test_a_boot_sector_of_another_size_counts_less(write: object) -> None:
    image = bytearray(boot(record(NTFS, 16, 100)).ljust(2048 * 512, b"\0"))
    # A copy of a boot sector where 512 would have it, the volume itself where 4096 has it.
    assert callable(write)
    write(image, 16 * 4096, 4096)
    assert table(mbr.FORMAT, image).sector_size == 4096
    # And a FAT with larger sectors than its disk is where it is, for want of another.
    image = bytearray(boot(record(NTFS, 16, 100)).ljust(2048 * 512, b"\0"))
    write(image, 16 * 512, 2048)
    assert table(mbr.FORMAT, image).sector_size == 512


@pytest.mark.parametrize("unit", UNITS)
def test_extended_boot_records_tell_the_unit(unit: int) -> None:
    image = bytearray(boot(record(LINUX, 64, 64), record(EXTENDED, 256, 512)).ljust(1024 * unit, b"\0"))
    place(image, 256 * unit, boot(record(LINUX, 8, 100), record(EXTENDED, 256, 200)))
    place(image, 512 * unit, boot(record(LINUX, 8, 50)))
    found = table(mbr.FORMAT, image)
    assert [entry.offset // unit for entry in found.partitions] == [64, 256, 264, 520]
    assert (found.sector_size, codes(found)) == (unit, [])


def test_a_second_partition_where_a_larger_unit_would_have_the_first() -> None:
    # The first is at 128 KiB; by 4096 it would be at 1 MiB, where the second is.
    image = bytearray(boot(record(LINUX, 256, 64), record(LINUX, 2048, 64)).ljust(16 << 20, b"\0"))
    ext(image, 256 * 512)
    ext(image, 2048 * 512)
    assert table(mbr.FORMAT, image, sector_size=4096).sector_size == 512


@pytest.mark.needs("mmls")
@pytest.mark.parametrize("unit", UNITS)
def test_the_sleuth_kit_reads_the_same(unit: int, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(two_primaries(unit))
    listed = subprocess.run(
        [str(find_tool("mmls")), "-b", str(unit), str(path)], check=True, capture_output=True, text=True
    ).stdout
    theirs = re.findall(r"^\d+:  \d+:\d+\s+(\d+)\s+\d+\s+(\d+)", listed, re.M)
    (disk,) = detect(path).disks
    ours = [v for v in detect(path).volumes if v.flag == "alloc"]
    assert [(v.offset, v.size) for v in ours] == [(int(at) * unit, int(size) * unit) for at, size in theirs]
    assert disk.sector_size == unit


@pytest.mark.parametrize("unit", UNITS)
def test_a_gpt_says_it_by_where_it_stands(unit: int) -> None:
    from pyimount.parsers.partitions import gpt
    from tests.parsers.partitions.building import Part

    found = table(gpt.FORMAT, gpt_disk([Part(1, 300, 400)], sectors=2048, unit=unit), sector_size=512)
    assert (found.sector_size, found.partitions[0].offset) == (unit, 300 * unit)


@pytest.mark.parametrize("unit", UNITS)
def test_bsd_labels_stand_in_the_second_sector(unit: int) -> None:
    label = bytearray(148 + 16)
    struct.pack_into("<4sHH", label, 0, bsd.MAGICS["little"], 0, 0)
    struct.pack_into("<I", label, 40, unit)
    label[132:136] = bsd.MAGICS["little"]
    struct.pack_into("<H", label, 138, 1)
    struct.pack_into("<IIIBBH", label, 148, 100, 64, 0, 7, 0, 0)
    place(image := bytearray(1024 * unit), unit, bytes(label))
    found = table(bsd.FORMAT, image)
    assert (found.sector_size, found.partitions[0].offset) == (unit, 64 * unit)


@pytest.mark.parametrize("unit", UNITS)
def test_solaris_labels_stand_in_the_second_sector(unit: int) -> None:
    label = bytearray(512)
    struct.pack_into("<II8sHH", label, 12, solaris.SANITY, 1, b"", 0, 16)
    struct.pack_into("<HHII", label, 72, 2, 0, 64, 100)
    place(image := bytearray(1024 * unit), unit, bytes(label))
    found = table(solaris.FORMAT, image)
    assert (found.sector_size, found.partitions[0].offset) == (unit, 64 * unit)


@pytest.mark.parametrize("unit", UNITS)
def test_sun_labels_count_in_sectors_of_the_disk(unit: int) -> None:
    label = bytearray(512)
    struct.pack_into(">HH", label, 436, 2, 32)  # heads, sectors: a cylinder of 64
    struct.pack_into(">II", label, 444 + 8, 4, 128)
    label[508:510] = b"\xda\xbe"
    words = struct.unpack(">256H", label)
    total = 0
    for word in words:
        total ^= word
    struct.pack_into(">H", label, 510, total)
    place(image := bytearray(1024 * unit), 0, bytes(label))
    ext(image, 256 * unit)
    found = table(sun.FORMAT, image)
    assert (found.sector_size, found.partitions[0].offset) == (unit, 256 * unit)


@pytest.mark.parametrize("unit", UNITS)
def test_sgi_labels_count_in_sectors_of_the_disk(unit: int) -> None:
    label = bytearray(512)
    label[:4] = b"\x0b\xe5\xa9\x41"
    struct.pack_into(">III", label, 312, 128, 256, 0x0A)
    total = sum(struct.unpack(">128I", label))
    struct.pack_into(">I", label, 504, -total & 0xFFFFFFFF)
    place(image := bytearray(1024 * unit), 0, bytes(label))
    place(image, 256 * unit, b"XFSB")
    found = table(sgi.FORMAT, image)
    assert (found.sector_size, found.partitions[0].offset) == (unit, 256 * unit)
