"""SGI disk labels: checksum, types, the header's own files, damage."""

from struct import pack

import pytest

from pyimount.parsers.partitions.sgi import FORMAT, HEADER, MAGIC, SLOTS, checksum
from tests.parsers.partitions.building import SECTOR, codes, places, read, table

Part = tuple[int, int, int]
"""Blocks, first block, type."""

DISK = 4096 * SECTOR


def header(parts: dict[int, Part], files: bytes = b"", **fields: int) -> bytearray:
    """A volume header with these partitions by slot, its checksum right, on a disk."""
    numbers = (
        "vh_rootpt", "vh_swappt", "dp_skew", "dp_gap1", "dp_gap2", "dp_spares_cyl", "dp_cyls", "dp_shd0",
        "dp_trks0", "dp_ctq_depth", "dp_cylshi", "dp_unused", "dp_secs", "dp_interleave", "dp_flags",
        "vh_csum", "vh_fill",
    )  # fmt: skip
    values = {
        **dict.fromkeys(numbers, 0),
        "vh_magic": MAGIC,
        "vh_bootfile": b"/unix".ljust(16, b"\0"),
        "dp_secbytes": 512,
        "dp_rates": bytes(24),
        "vh_vd": files.ljust(240, b"\0"),
        "vh_pt": b"".join(pack(">3I", *parts.get(slot, (0, 0, 0))) for slot in range(SLOTS)),
        **fields,
    }
    raw = HEADER.construct.build(values)
    raw = raw[:504] + pack(">I", -checksum(raw) & 0xFFFFFFFF) + raw[508:]
    return bytearray(raw.ljust(DISK, b"\0"))


PARTS = {0: (1000, 1024, 0x0A), 1: (500, 2048, 0x03), 8: (1024, 0, 0), 10: (4096, 0, 6)}


def test_partitions_types_and_flags() -> None:
    found = table(FORMAT, header(PARTS, vh_rootpt=0, vh_swappt=1, dp_cyls=7, dp_cylshi=1))
    assert places(found) == [(1, 1024, 1000), (2, 2048, 500), (9, 0, 1024), (11, 0, 4096)]
    assert [entry.type_name for entry in found.partitions] == [
        "SGI xfs",
        "SGI raw",
        "SGI volhdr",
        "SGI volume",
    ]
    assert [entry.flags for entry in found.partitions] == [("boot",), ("swap",), (), ()]
    assert [entry.meta for entry in found.partitions] == [False, False, True, True]
    assert (found.checked, codes(found), found.details["boot_file"]) == (True, [], "/unix")
    assert found.details["cylinders"] == 0x10007
    assert (found.meta[0].offset, found.meta[0].size) == (0, 1024 * SECTOR)


def test_the_files_in_the_header() -> None:
    files = pack(">8sII", b"sash", 2, 70000) + pack(">8sII", b"gone", 9, 0) + pack(">8sII", b"ide", 200, 5)
    assert table(FORMAT, header(PARTS, files)).details["files"] == [
        {"name": "sash", "offset": 1024, "size": 70000},
        {"name": "ide", "offset": 200 * SECTOR, "size": 5},
    ]


def test_a_wrong_checksum_is_a_problem_where_the_partitions_hold() -> None:
    raw = header(PARTS)
    raw[507] ^= 1
    found = table(FORMAT, raw)
    assert (codes(found), found.checked) == (["bad-checksum"], False)


@pytest.mark.parametrize("parts", [{}, {0: (10, 1 << 20, 0x0A)}, {0: (10, 10, 0x7777)}, {10: (4096, 0, 6)}])
def test_a_wrong_checksum_and_implausible_partitions_are_no_label(parts: dict[int, Part]) -> None:
    raw = header(parts)
    assert read(FORMAT, raw) is not None
    raw[507] ^= 1
    assert read(FORMAT, raw) is None


def test_numbers_at_their_extremes() -> None:
    most = 0xFFFFFFFF
    found = table(FORMAT, header({15: (most, most, most)}))
    entry = found.partitions[0]
    assert (entry.number, entry.offset, entry.size) == (16, most * SECTOR, most * SECTOR)
    assert (entry.type, entry.type_name) == ("0xffffffff", None)


@pytest.mark.parametrize("size", [0, 4, 511])
def test_less_than_a_sector_is_no_label(size: int) -> None:
    assert read(FORMAT, header(PARTS)[:size]) is None
