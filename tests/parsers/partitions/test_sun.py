"""Sun disk labels: checksum, tags with and without a table of contents, the whole disk."""

from struct import pack, unpack

import pytest

from pyimount.parsers.partitions.sun import FORMAT, LABEL, MAGIC, SLOTS, checksum
from tests.parsers.partitions.building import SECTOR, codes, places, read, table

Slice = tuple[int, int, int, int]
"""First cylinder, sectors, tag, flags."""

CYLINDER = 4 * 32


def label(*slices: Slice, **fields: int | bytes) -> bytes:
    """A label with these slices, its checksum right."""
    padded = [*slices, *[(0, 0, 0, 0)] * (SLOTS - len(slices))]
    infos = b"".join(pack(">2H", tag, flags) for _, _, tag, flags in padded)
    partitions = b"".join(pack(">2I", start, size) for start, size, _, _ in padded)
    zeros = {
        "padding": bytes(2),
        "bootinfo": bytes(12),
        "reserved": bytes(40),
        "timestamp": bytes(32),
        "spare": bytes(148),
    }
    names = (
        "write_reinstruct",
        "read_reinstruct",
        "apc",
        "obs1",
        "obs2",
        "intrlv",
        "acyl",
        "obs3",
        "obs4",
        "csum",
    )
    values = {
        **zeros,
        **dict.fromkeys(names, 0),
        "label_id": b"SUN2.1G cyl 20".ljust(128, b"\0"),
        "version": 1,
        "volume_id": b"backup".ljust(8, b"\0"),
        "nparts": SLOTS,
        "infos": infos,
        "sanity": 0x600DDEEE,
        "rpm": 5400,
        "pcyl": 20,
        "ncyl": 20,
        "nhead": 4,
        "nsect": 32,
        "partitions": partitions,
        "magic": MAGIC,
        **fields,
    }
    raw = LABEL.construct.build(values)
    return bytes(raw[:510] + pack(">H", checksum(raw)))


SLICES = ((0, 640, 2, 0), (5, 640, 3, 1), (0, 2560, 5, 0x10))


def test_slices_tags_and_flags() -> None:
    found = table(FORMAT, label(*SLICES))
    assert places(found) == [(1, 0, 640), (2, 5 * CYLINDER, 640), (3, 0, 2560)]
    assert [(entry.type, entry.type_name, entry.flags) for entry in found.partitions] == [
        ("0x2", "SunOS root", ()),
        ("0x3", "SunOS swap", ("unmountable",)),
        ("0x5", "Whole disk", ("readonly",)),
    ]
    assert [entry.meta for entry in found.partitions] == [False, False, True]
    assert (found.ptuuid, found.checked, codes(found)) == (None, True, [])
    assert (found.details["label_id"], found.details["volume_id"]) == ("SUN2.1G cyl 20", "backup")


def test_the_checksum_is_the_xor_of_all_words() -> None:
    total = 0
    for word in unpack(">256H", label(*SLICES)):
        total ^= word
    assert total == 0


def test_a_wrong_checksum_is_a_problem_where_the_contents_hold() -> None:
    raw = bytearray(label(*SLICES))
    raw[511] ^= 1
    found = table(FORMAT, raw)
    assert (codes(found), found.checked) == (["bad-checksum"], False)


def test_a_wrong_checksum_without_contents_is_no_label() -> None:
    raw = bytearray(label(*SLICES, sanity=0))
    assert read(FORMAT, raw) is not None
    raw[511] ^= 1
    assert read(FORMAT, raw) is None


def test_without_a_table_of_contents() -> None:
    """Linux's labels of old have tags without it; others have none, and the third slice is the whole disk."""
    old = table(FORMAT, label(*SLICES, sanity=0, version=0, nparts=0))
    assert [entry.type for entry in old.partitions] == ["0x2", "0x3", "0x5"]
    bare = table(FORMAT, label(*SLICES, sanity=1, version=0, nparts=0))
    assert [entry.type for entry in bare.partitions] == [None, None, None]
    assert [entry.meta for entry in bare.partitions] == [False, False, True]


def test_only_as_many_slices_as_the_contents_say() -> None:
    assert len(table(FORMAT, label(*SLICES, nparts=2)).partitions) == 2
    # More than fit: the contents are not believed.
    assert len(table(FORMAT, label(*SLICES, nparts=9)).partitions) == 3


@pytest.mark.parametrize("fields", [{"nhead": 0}, {"nsect": 0}])
def test_a_cylinder_without_sectors_is_no_label(fields: dict[str, int]) -> None:
    assert read(FORMAT, label(*SLICES, **fields)) is None


def test_numbers_at_their_extremes() -> None:
    most = 0xFFFFFFFF
    found = table(FORMAT, label((most, most, 0xFFFF, 0xFFFF), nhead=0xFFFF, nsect=0xFFFF))
    assert found.partitions[0].offset == most * 0xFFFF * 0xFFFF * SECTOR


@pytest.mark.parametrize("size", [0, 509, 511])
def test_less_than_a_sector_is_no_label(size: int) -> None:
    assert read(FORMAT, label(*SLICES)[:size]) is None
