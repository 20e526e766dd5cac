"""MBR: the chain of logical partitions and its ways to go wrong; sectors that only look like a table."""

import pytest

from pyimount.parsers.partitions.mbr import CHAIN_CAP, FORMAT
from pyimount.parsers.partitions.mbr_types import TYPES
from tests.kept import kept
from tests.parsers.partitions.building import SECTOR, boot, codes, place, places, read, record, table

LINUX, EXTENDED = 0x83, 0x05


def disk(*records: bytes, sectors: int = 4096, signature: int = 0x1BADB002) -> bytearray:
    return bytearray(boot(*records, signature=signature).ljust(sectors * SECTOR, b"\0"))


def chain(image: bytearray, start: int, *links: tuple[list[bytes], int]) -> bytearray:
    """Extended boot records from sector ``start``: each with its data records, and where it is from there."""
    for number, (records, at) in enumerate(links):
        following = [record(EXTENDED, links[number + 1][1], 10)] if number + 1 < len(links) else []
        place(image, (start + at) * SECTOR, boot(*records, *following))
    return image


def test_primary_partitions_keep_the_number_of_their_slot() -> None:
    found = table(FORMAT, disk(bytes(16), record(LINUX, 10, 20), bytes(16), record(7, 40, 5, active=True)))
    assert places(found) == [(2, 10, 20), (4, 40, 5)]
    assert [entry.uuid for entry in found.partitions] == ["1badb002-02", "1badb002-04"]
    assert [entry.flags for entry in found.partitions] == [(), ("active",)]
    assert [entry.type_name for entry in found.partitions] == ["Linux", "HPFS/NTFS/exFAT"]
    assert found.ptuuid == "1badb002"


def test_no_disk_signature_gives_no_uuids() -> None:
    found = table(FORMAT, disk(record(LINUX, 10, 20), signature=0))
    assert (found.ptuuid, found.partitions[0].uuid) == (None, None)


def test_data_counts_from_its_record_and_links_from_the_extended_partition() -> None:
    image = disk(record(EXTENDED, 100, 1000))
    chain(
        image, 100, ([record(LINUX, 2, 10)], 0), ([record(LINUX, 3, 11)], 500), ([record(LINUX, 4, 12)], 300)
    )
    found = table(FORMAT, image)
    assert places(found) == [(1, 100, 1000), (5, 102, 10), (6, 603, 11), (7, 404, 12)]
    assert [entry.meta for entry in found.partitions] == [True, False, False, False]
    assert [(extent.name, extent.offset // SECTOR) for extent in found.meta] == [
        ("Primary Table (#0)", 0),
        ("Extended Table (#1)", 100),
        ("Extended Table (#2)", 600),
        ("Extended Table (#3)", 400),
    ]
    assert codes(found) == []


@pytest.mark.parametrize("kind", [0x05, 0x0F, 0x85])
def test_all_types_of_extended_partition_are_followed(kind: int) -> None:
    image = chain(disk(record(kind, 100, 1000)), 100, ([record(LINUX, 2, 10)], 0))
    assert places(table(FORMAT, image))[1:] == [(5, 102, 10)]


def test_the_last_two_slots_count_only_within_the_extended_partition() -> None:
    image = disk(record(EXTENDED, 100, 50))
    inside, outside = record(LINUX, 20, 10), record(LINUX, 20, 31)
    place(image, 100 * SECTOR, boot(record(LINUX, 2, 10), bytes(16), inside, outside))
    assert places(table(FORMAT, image))[1:] == [(5, 102, 10), (6, 120, 10)]


@pytest.mark.parametrize("back_to", [0, 200])
def test_a_chain_that_leads_back_stops_there(back_to: int) -> None:
    image = chain(disk(record(EXTENDED, 100, 1000)), 100, ([record(LINUX, 2, 10)], 0), ([], 200))
    place(image, 300 * SECTOR, boot(record(LINUX, 2, 10), record(EXTENDED, back_to, 10)))
    found = table(FORMAT, image)
    assert places(found)[1:] == [(5, 102, 10), (6, 302, 10)]
    assert codes(found) == ["loop"]


def test_a_thousand_logical_partitions() -> None:
    links = [([record(LINUX, 1, 1)], 2 * number) for number in range(1000)]
    found = table(FORMAT, chain(disk(record(EXTENDED, 100, 2010)), 100, *links))
    assert len(found.partitions) == 1001
    assert places(found)[-1] == (1004, 100 + 1999, 1)
    assert codes(found) == []


def test_an_endless_chain_is_cut() -> None:
    links = [([record(LINUX, 1, 1)], 2 * number) for number in range(CHAIN_CAP + 1)]
    found = table(FORMAT, chain(disk(record(EXTENDED, 100, 3000)), 100, *links))
    assert len(found.partitions) == 1 + CHAIN_CAP
    assert codes(found) == ["budget"]


def test_a_record_outside_the_disk_is_named() -> None:
    image = chain(disk(record(EXTENDED, 100, 1000)), 100, ([record(LINUX, 2, 10)], 0), ([], 5000))
    found = table(FORMAT, image[: 4096 * SECTOR])
    assert places(found)[1:] == [(5, 102, 10)]
    assert codes(found) == ["outside-parent"]


@pytest.mark.parametrize("what", [bytes(SECTOR), b"\xeb\x52\x90NTFS    " + bytes(499) + b"\x55\xaa"])
def test_a_damaged_record_keeps_what_was_read(what: bytes) -> None:
    image = chain(disk(record(EXTENDED, 100, 1000)), 100, ([record(LINUX, 2, 10)], 0), ([], 200))
    place(image, 300 * SECTOR, what)
    found = table(FORMAT, image)
    assert places(found) == [(1, 100, 1000), (5, 102, 10)]
    assert codes(found) == ["damaged"]


def test_a_logical_partition_beyond_its_extended_one_is_named() -> None:
    image = chain(disk(record(EXTENDED, 100, 50)), 100, ([record(LINUX, 2, 500)], 0))
    assert codes(table(FORMAT, image)) == ["outside-parent"]


def test_a_lone_first_sector_is_a_table() -> None:
    found = table(FORMAT, disk(record(LINUX, 2048, 99), record(EXTENDED, 5000, 99), sectors=1))
    assert places(found) == [(1, 2048, 99), (2, 5000, 99)]
    assert codes(found) == ["outside-parent"]


def test_numbers_at_their_extremes() -> None:
    most = 0xFFFFFFFF
    found = table(FORMAT, disk(record(LINUX, most, most), record(EXTENDED, most, most), record(LINUX, 1, 1)))
    assert places(found)[0] == (1, most, most)
    assert codes(found) == ["outside-parent"]


def test_sectors_of_4096_bytes_when_told() -> None:
    found = table(FORMAT, disk(record(LINUX, 2, 3)), sector_size=4096)
    assert (found.partitions[0].offset, found.partitions[0].size) == (8192, 12288)


def test_sectors_of_4096_bytes_by_where_the_extended_boot_record_is() -> None:
    image = bytearray(boot(record(LINUX, 1, 125), record(EXTENDED, 126, 130)).ljust(256 * 4096, b"\0"))
    assert table(FORMAT, image).sector_size == 512
    place(image, 126 * 4096, boot(record(LINUX, 2, 100)))
    found = table(FORMAT, image)
    assert found.sector_size == 4096
    assert places(found) == [(1, 1, 125), (2, 126, 130), (5, 128, 100)]
    # It might as well be both: then it is 512.
    place(image, 126 * 512, boot())
    assert table(FORMAT, image).sector_size == 512


def test_an_empty_table_needs_a_signature() -> None:
    assert table(FORMAT, disk()).partitions == ()
    assert read(FORMAT, disk(signature=0)) is None


def test_an_empty_table_in_front_of_a_physical_volume_is_none() -> None:
    """As libblkid has it; with partitions it is one all the same."""
    for records, is_table in (([], False), ([record(LINUX, 10, 20)], True)):
        image = disk(*records)
        place(image, SECTOR, b"LABELONE")
        assert (read(FORMAT, image) is not None) == is_table


def test_boot_code_of_a_volume_is_no_table() -> None:
    image = disk()
    place(image, 0, b"\xeb\x58\x90SYSLINUX")
    assert read(FORMAT, image) is None
    # GRUB's jump alone says nothing: its sector serves a disk as well.
    place(image, 0, b"\xeb\x63\x90" + bytes(8))
    assert read(FORMAT, image) is not None


@pytest.mark.parametrize("name", ["fat12", "fat16", "fat32", "ntfs", "exfat"])
def test_the_boot_sector_of_a_file_system_is_no_table(name: str) -> None:
    image = kept(name, SECTOR)
    assert image[510:] == b"\x55\xaa"
    # Its records may even look right.
    place(image, 446, boot(record(LINUX, 1, 100))[446:])
    assert read(FORMAT, image) is None


@pytest.mark.parametrize("name", [b"HPFS    ", b"JFS     "])
def test_the_boot_sector_of_os2_is_no_table(name: bytes) -> None:
    image = disk(record(LINUX, 1, 100))
    place(image, 0x36, name)
    assert read(FORMAT, image) is None


def test_an_aix_disk_is_no_table() -> None:
    image = disk(record(LINUX, 1, 100))
    place(image, 0, b"\xc9\xc2\xd4\xc1")
    assert read(FORMAT, image) is None


@pytest.mark.parametrize("slot", range(4))
def test_a_wrong_boot_indicator_is_no_table(slot: int) -> None:
    image = disk(record(LINUX, 1, 100))
    image[446 + 16 * slot] = 0x41
    assert read(FORMAT, image) is None


def test_partitions_that_overlap_are_told_from_nonsense() -> None:
    assert read(FORMAT, disk(record(LINUX, 1, 100), record(LINUX, 50, 100))) is not None
    assert read(FORMAT, disk(record(LINUX, 100000, 100), record(LINUX, 100050, 100))) is None


def test_a_protective_mbr_alone() -> None:
    found = table(FORMAT, disk(record(0xEE, 1, 4095), record(LINUX, 10, 10)))
    assert (found.pttype, found.ptuuid, codes(found)) == ("PMBR", None, ["damaged"])
    assert [entry.meta for entry in found.partitions] == [True, False]


@pytest.mark.parametrize("records", [[], [record(0xA5, 0, 50000)]])
def test_the_boot_block_of_a_bsd_label_is_no_table(records: list[bytes]) -> None:
    image = disk(*records)
    assert read(FORMAT, image) is not None
    place(image, SECTOR, b"\x57\x45\x56\x82")
    assert read(FORMAT, image) is None


def test_a_table_with_a_label_in_the_second_sector_stays_one() -> None:
    image = disk(record(0xA5, 63, 50000))
    place(image, SECTOR, b"\x57\x45\x56\x82")
    assert read(FORMAT, image) is not None


@pytest.mark.parametrize("size", [0, 1, 445, 511])
def test_less_than_a_sector_is_no_table(size: int) -> None:
    assert read(FORMAT, disk(record(LINUX, 1, 100))[:size]) is None


def test_every_type_has_one_name() -> None:
    assert all(0 <= number <= 0xFF and name for number, name in TYPES.items())


def alone(*links: tuple[int, int]) -> bytearray:
    """An extended partition without its disk: extended boot records at these sectors, each with so many."""
    image = bytearray(4096 * SECTOR)
    for number, (at, size) in enumerate(links):
        onward = [record(EXTENDED, *links[number + 1])] if number + 1 < len(links) else []
        place(image, at * SECTOR, boot(record(LINUX, 2, size - 2), *onward, signature=0))
    return image


@pytest.mark.parametrize(
    "links",
    [
        # Of one size, so that from the second record on there is one where the third links to, the fourth.
        [(0, 100), (100, 100), (200, 100), (300, 100)],
        [(0, 100), (100, 500), (700, 10)],
        [(0, 100), (1000, 100), (500, 100), (200, 50)],
    ],
)
def test_an_extended_partition_alone(links: list[tuple[int, int]]) -> None:
    found = table(FORMAT, alone(*links))
    assert places(found) == [(number, at + 2, size - 2) for number, (at, size) in enumerate(links, 5)]
    assert [extent.offset // SECTOR for extent in found.meta] == [at for at, _ in links]
    assert (codes(found), found.details["extended_partition_alone"]) == ([], True)


def test_a_disk_of_one_partition_and_an_extended_one_is_none() -> None:
    image = disk(record(LINUX, 10, 80), record(EXTENDED, 100, 1000))
    chain(
        image, 100, ([record(LINUX, 2, 10)], 0), ([record(LINUX, 2, 10)], 200), ([record(LINUX, 2, 10)], 400)
    )
    # What would be the third record of an extended partition alone stands there too, by chance.
    place(image, 200 * SECTOR, boot(record(LINUX, 2, 10)))
    assert places(table(FORMAT, image))[1:] == [(2, 100, 1000), (5, 102, 10), (6, 302, 10), (7, 502, 10)]
