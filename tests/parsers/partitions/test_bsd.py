"""BSD disk labels: places, byte orders, and from where their offsets count."""

from struct import pack, unpack

import pytest

from pyimount.parsers.partitions.bsd import ENTRIES, FORMAT, LABELS, MAGICS, Order
from tests.parsers.partitions.building import SECTOR, codes, place, places, read, table

Entry = tuple[int, int, int]
"""First sector, sectors, type."""

SECTORS = 2000
RAW = (0, SECTORS, 0)


def label(
    *entries: Entry | None, order: Order = "little", count: int | None = None, **fields: int | bytes
) -> bytes:
    """A label with these partitions from ``a`` on, its checksum right."""
    values = {
        "d_magic": MAGICS[order],
        "d_magic2": MAGICS[order],
        "d_type": 4,
        "d_subtype": 0,
        "d_typename": b"SCSI".ljust(16, b"\0"),
        "d_packname": b"evidence".ljust(16, b"\0"),
        "d_secsize": SECTOR,
        "d_nsectors": 63,
        "d_ntracks": 255,
        "d_ncylinders": 1,
        "d_secpercyl": 63 * 255,
        "d_secperunit": SECTORS,
        "d_uid": bytes(8),
        "d_hardware": bytes(8),
        "d_bstart": 0,
        "d_bend": 0,
        "d_flags": 0,
        "d_drivedata": bytes(20),
        "d_secperunith": 0,
        "d_version": 0,
        "d_spare": bytes(16),
        "d_checksum": 0,
        "d_npartitions": len(entries) if count is None else count,
        "d_bbsize": 8192,
        "d_sbsize": 8192,
        **fields,
    }
    raw = LABELS[order].construct.build(values)
    for entry in entries:
        start, size, kind = entry or (0, 0, 0)
        raw += ENTRIES[order].construct.build(
            {"p_offset": start, "p_size": size, "p_fsize": 0, "p_fstype": kind, "p_frag": 0, "p_cpg": 0}
        )
    total = 0
    for word in unpack(f"<{len(raw) // 2}H", raw):
        total ^= word
    return bytes(raw[:136] + pack("<H", total) + raw[138:])


def disk(raw: bytes, at: int = SECTOR, sectors: int = SECTORS) -> bytearray:
    image = bytearray(sectors * SECTOR)
    place(image, at, raw)
    return image


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("at", [512, 64, 128])
def test_every_place_and_both_byte_orders(order: Order, at: int) -> None:
    found = table(FORMAT, disk(label((16, 100, 7), (116, 50, 1), RAW, order=order), at))
    assert places(found) == [(1, 16, 100), (2, 116, 50), (3, 0, SECTORS)]
    assert [entry.meta for entry in found.partitions] == [False, False, True]
    assert [(entry.type, entry.type_name) for entry in found.partitions] == [
        ("0x7", "4.2BSD"),
        ("0x1", "swap"),
        ("0x0", "unused"),
    ]
    assert (codes(found), found.checked) == ([], True)
    assert (found.details["typename"], found.details["packname"]) == ("SCSI", "evidence")


def test_a_wrong_checksum_is_a_problem() -> None:
    image = disk(label((16, 100, 7), None, RAW))
    image[SECTOR + 8] ^= 1
    found = table(FORMAT, image)
    assert (codes(found), found.checked) == (["bad-checksum"], False)
    assert places(found)[0] == (1, 16, 100)


def test_offsets_from_the_start_of_the_disk() -> None:
    """The raw partition says where the slice starts, whether the disk is there or not."""
    image = disk(label((5016, 100, 7), None, (5000, SECTORS, 0), (0, 9999, 0)))
    for start in (5000 * SECTOR, 0, None):
        found = table(FORMAT, image, disk_offset=start)
        assert places(found) == [(1, 16, 100), (3, 0, SECTORS)]


def test_offsets_from_the_start_of_the_slice() -> None:
    """FreeBSD since version 10: the raw partition starts at 0 and is as large as the slice."""
    image = disk(label((16, 100, 7), None, RAW))
    assert places(table(FORMAT, image, disk_offset=5000 * SECTOR)) == [(1, 16, 100), (3, 0, SECTORS)]


def test_openbsd() -> None:
    """Its raw partition is the whole disk, and it lists what lies outside its own slice, too."""
    raw = label(
        (64, 100, 7),
        None,
        (0, 9999, 0),
        *[None] * 5,
        (5000, 300, 8),
        d_version=1,
        d_bstart=64,
        d_uid=b"DUIDDUID",
    )
    for start in (64 * SECTOR, 0):
        found = table(FORMAT, disk(raw), disk_offset=start)
        assert places(found) == [(1, 0, 100), (3, 0, SECTORS)]
        assert (found.details["elsewhere"], found.details["duid"]) == (["i"], b"DUIDDUID".hex())


def test_openbsd_beyond_two_tebibytes() -> None:
    raw = bytearray(label((16, 100, 7), d_version=1))
    raw[148 + 8 : 148 + 12] = b"\x01\0\x02\0"
    place(raw, 136, bytes(2))
    found = table(FORMAT, disk(bytes(raw)))
    assert places(found) == [(1, 16 + (1 << 32), 100 + (2 << 32))]


def test_a_file_system_in_the_raw_partition_is_one() -> None:
    found = table(FORMAT, disk(label(None, None, (0, SECTORS, 7))))
    assert [entry.meta for entry in found.partitions] == [False]
    found = table(FORMAT, disk(label((16, 100, 7), None, (0, SECTORS, 7))))
    assert [entry.meta for entry in found.partitions] == [False, True]


def test_the_whole_disk_of_netbsd_on_a_pc_is_meta() -> None:
    found = table(FORMAT, disk(label((63, 100, 7), None, (63, SECTORS - 63, 0), (0, SECTORS, 0))))
    # c is NetBSD's part of the disk, from which this label was not taken.
    assert [(entry.number, entry.meta) for entry in found.partitions] == [(1, False), (3, True)]
    found = table(FORMAT, disk(label((63, 100, 7), None, None, (0, SECTORS, 0))))
    assert [(entry.number, entry.meta) for entry in found.partitions] == [(1, False), (4, True)]


@pytest.mark.parametrize("count", [8, 16, 22, 52])
def test_as_many_partitions_as_there_are(count: int) -> None:
    entries: list[Entry | None] = [(10 * number, 5, 7) for number in range(1, count + 1)]
    entries[2] = RAW
    found = table(FORMAT, disk(label(*entries)))
    assert len(found.partitions) == count
    assert codes(found) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"count": 65},
        {"count": 0xFFFF},
        {"d_magic2": bytes(4)},
        {"d_secsize": 0},
        {"d_secsize": 511},
        {"d_secsize": 0xFFFFFFFF},
    ],
)
def test_a_lying_label_is_none(fields: dict[str, int]) -> None:
    assert read(FORMAT, disk(label((16, 100, 7), None, RAW, **fields))) is None  # type: ignore[arg-type]


def test_numbers_at_their_extremes() -> None:
    most = 0xFFFFFFFF
    found = table(FORMAT, disk(label((most, most, 7), None, (most, most, 7))))
    assert all(entry.offset >= 0 for entry in found.partitions)
    found = table(FORMAT, disk(label((16, most, 7), None, RAW)), disk_offset=1 << 50)
    assert places(found)[0] == (1, 16, most)


@pytest.mark.parametrize("size", [512, 515, 600, 659])
def test_less_than_a_label_is_none(size: int) -> None:
    assert read(FORMAT, disk(label((16, 100, 7), None, RAW))[:size]) is None


def test_a_cut_label_keeps_its_entries() -> None:
    found = table(FORMAT, disk(label((16, 100, 7), None, RAW))[: SECTOR + 148 + 16])
    assert (places(found), codes(found)) == ([(1, 16, 100)], ["bad-checksum"])
