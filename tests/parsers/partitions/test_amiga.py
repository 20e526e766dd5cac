"""Amiga Rigid Disk Blocks: checksums, block sizes, the chain of partitions and what can be wrong with it."""

from struct import pack
from typing import Any

import pytest

from pyimount.parsers.partitions.amiga import (
    FORMAT,
    LOCATION_LIMIT,
    MAGIC,
    PARTITION_BLOCK,
    PARTITION_MAGIC,
    PARTITIONS_CAP,
    RIGID_DISK_BLOCK,
    sum_of,
)
from tests.parsers.partitions.building import SECTOR, codes, place, read, table

END = 0xFFFFFFFF


def zeros(declared: Any) -> dict[str, Any]:
    """A value for every field."""
    return {
        each.name: bytes(each.sizeof()) if "Bytes" in type(each.subcon).__name__ else 0
        for each in declared.construct.subcons
    }


def signed(block: bytes) -> bytes:
    """The block, 64 words of it, with its checksum made right."""
    block = block[:8] + bytes(4) + block[12:]
    return block[:8] + pack(">I", -sum_of(block, 64) & 0xFFFFFFFF) + block[12:]


def rdb(first: int = 1, **fields: Any) -> bytes:
    values = {
        **zeros(RIGID_DISK_BLOCK),
        "rdb_ID": MAGIC,
        "rdb_SummedLongs": 64,
        "rdb_BlockBytes": 512,
        "rdb_PartitionList": first,
        "rdb_Cylinders": 100,
        "rdb_Sectors": 32,
        "rdb_Heads": 4,
        "rdb_CylBlocks": 128,
        "rdb_DiskVendor": b"QUANTUM ",
        **fields,
    }
    return signed(RIGID_DISK_BLOCK.construct.build(values))


def partition(low: int, high: int, following: int = END, **fields: Any) -> bytes:
    values = {
        **zeros(PARTITION_BLOCK),
        "pb_ID": PARTITION_MAGIC,
        "pb_SummedLongs": 64,
        "pb_Next": following,
        "pb_DriveName": b"\3DH0".ljust(32, b"\0"),
        "de_TableSize": 16,
        "de_SizeBlock": 128,
        "de_Surfaces": 4,
        "de_BlocksPerTrack": 32,
        "de_LowCyl": low,
        "de_HighCyl": high,
        "de_DosType": b"DOS\3",
        **fields,
    }
    return signed(PARTITION_BLOCK.construct.build(values))


def disk(blocks: dict[int, bytes], unit: int = SECTOR) -> bytearray:
    image = bytearray(64 * 1024)
    for number, block in blocks.items():
        place(image, number * unit, block)
    return image


GOOD = {
    0: rdb(),
    1: partition(2, 9, 3, pb_Flags=1),
    3: partition(10, 19, pb_DriveName=b"\4Work".ljust(32, b"\0")),
}


def test_partitions_in_the_order_of_their_chain() -> None:
    found = table(FORMAT, disk(GOOD))
    cylinder = 128 * SECTOR
    assert [(entry.number, entry.offset, entry.size) for entry in found.partitions] == [
        (1, 2 * cylinder, 8 * cylinder),
        (2, 10 * cylinder, 10 * cylinder),
    ]
    first = found.partitions[0]
    assert (first.name, first.type, first.type_name) == ("DH0", "0x444f5303", "FFS, international")
    assert (first.flags, found.partitions[1].name) == (("bootable",), "Work")
    assert (found.pttype, found.checked, codes(found)) == ("amiga", True, [])
    assert (found.details["disk_vendor"], found.details["rdb_block"]) == ("QUANTUM", 0)
    assert [extent.offset for extent in found.meta] == [0, 512, 1536]


@pytest.mark.parametrize("block", range(LOCATION_LIMIT))
def test_the_block_may_stand_in_any_of_the_first_sectors(block: int) -> None:
    image = disk({block: rdb(first=20), 20: partition(2, 9)})
    assert table(FORMAT, image).details["rdb_block"] == block


def test_it_is_not_looked_for_further_on() -> None:
    assert read(FORMAT, disk({LOCATION_LIMIT: rdb(first=20), 20: partition(2, 9)})) is None


def test_larger_blocks() -> None:
    image = bytearray(64 * 1024)
    place(image, 0, rdb(first=2, rdb_BlockBytes=2048))
    place(image, 2 * 2048, partition(2, 9))
    found = table(FORMAT, image)
    assert (found.sector_size, found.partitions[0].offset) == (2048, 2 * 128 * 2048)


def test_a_right_copy_wins_over_a_damaged_one_before_it() -> None:
    damaged = bytearray(rdb(first=9))
    damaged[11] ^= 1
    found = table(FORMAT, disk({0: bytes(damaged), 2: rdb(first=4), 4: partition(2, 9)}))
    assert (found.details["rdb_block"], found.checked, len(found.partitions)) == (2, True, 1)


def test_a_wrong_checksum_is_a_problem_where_the_geometry_holds() -> None:
    raw = disk(GOOD)
    raw[11] ^= 1
    found = table(FORMAT, raw)
    assert (codes(found), found.checked, len(found.partitions)) == (["bad-checksum"], False, 2)
    raw = disk({**GOOD, 0: rdb(rdb_CylBlocks=127)})
    assert read(FORMAT, raw) is not None
    raw[11] ^= 1
    assert read(FORMAT, raw) is None


@pytest.mark.parametrize("longs", [0, 15, 129, 0xFFFFFFFF])
def test_a_checksum_over_an_impossible_number_of_words_is_wrong(longs: int) -> None:
    assert codes(table(FORMAT, disk({**GOOD, 0: rdb(rdb_SummedLongs=longs)}))) == ["bad-checksum"]


@pytest.mark.parametrize("unit", [0, 1, 511, 768, 65536])
def test_an_impossible_block_size_is_no_table(unit: int) -> None:
    assert read(FORMAT, disk({**GOOD, 0: rdb(rdb_BlockBytes=unit)})) is None


def test_what_is_wrong_with_the_chain() -> None:
    loop = table(FORMAT, disk({0: rdb(), 1: partition(2, 9, 3), 3: partition(10, 19, 1)}))
    assert (len(loop.partitions), codes(loop)) == (2, ["loop"])
    gone = table(FORMAT, disk({0: rdb(), 1: partition(2, 9, 5)}))
    assert (len(gone.partitions), codes(gone)) == (1, ["damaged"])
    outside = table(FORMAT, disk({0: rdb(first=0x7FFFFFFF)}))
    assert (len(outside.partitions), codes(outside)) == (0, ["damaged"])
    flawed = bytearray(partition(2, 9))
    flawed[11] ^= 1
    assert codes(table(FORMAT, disk({0: rdb(), 1: bytes(flawed)}))) == ["bad-checksum"]


def test_a_disk_without_partitions() -> None:
    for first in (0, END):
        found = table(FORMAT, disk({0: rdb(first=first)}))
        assert (found.partitions, codes(found)) == ((), [])


def test_no_chain_is_followed_for_ever() -> None:
    blocks = {number: partition(2, 9, number + 1) for number in range(1, PARTITIONS_CAP + 5)}
    image = bytearray(256 * SECTOR)
    for number, block in {0: rdb(), **blocks}.items():
        place(image, number * SECTOR, block)
    found = table(FORMAT, image)
    assert (len(found.partitions), codes(found)) == (PARTITIONS_CAP, ["budget"])


def test_a_partition_that_ends_before_it_starts() -> None:
    entry = table(FORMAT, disk({0: rdb(), 1: partition(9, 2)})).partitions[0]
    assert (entry.size, [problem.code.value for problem in entry.problems]) == (0, ["damaged"])


def test_numbers_at_their_extremes() -> None:
    fields = dict.fromkeys(("de_Surfaces", "de_BlocksPerTrack"), END)
    entry = table(FORMAT, disk({0: rdb(), 1: partition(END, END, **fields)})).partitions[0]
    assert entry.offset == END * END * END * SECTOR
