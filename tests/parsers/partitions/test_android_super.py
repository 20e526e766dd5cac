"""Android's dynamic partitions: copies, slots, extents, and metadata that lie."""

import pytest

from fixtures.recipes.android import EXTENTS, PARTS, SLOTS, SPACE, geometry, metadata, super_partition
from pyimount.parsers.partitions import android_super as lp
from pyimount.parsers.partitions.android_super import FORMAT, METADATA_AT, PLACES
from tests.parsers.partitions.building import codes, place, read, table

MIB = 1 << 20


def disk(body: bytes | None = None, **sizes: int) -> bytearray:
    return bytearray(super_partition(metadata(PARTS, EXTENTS) if body is None else body, **sizes))


@pytest.mark.parametrize("minor", [0, 1, 2])
def test_versions_of_the_header(minor: int) -> None:
    found = table(FORMAT, disk(metadata(PARTS, EXTENTS, minor=minor)))
    assert found.details["version"] == f"10.{minor}"
    assert found.details["flags"] == (["virtual_ab_device"] if minor >= 2 else [])
    assert len(found.partitions) == 2
    assert found.checked


def test_one_extent_is_a_partition_and_several_are_told_of() -> None:
    found = table(FORMAT, disk())
    one, several = found.partitions
    assert (one.number, one.name, one.offset, one.size, one.problems) == (1, "system_a", MIB, 2 * MIB, ())
    assert one.flags == ("readonly",)
    assert (several.offset, several.size) == (6144 * 512, MIB)
    assert [problem.code.value for problem in several.problems] == ["unsupported"]
    described = found.details["partitions"]
    assert isinstance(described, list)
    assert described[1] == {
        "name": "vendor_a",
        "group": "group_a",
        "size": 2 * MIB,
        "extents": [
            {"type": "linear", "offset": 6144 * 512, "size": MIB, "block_device": "super"},
            {"type": "linear", "offset": 10240 * 512, "size": MIB, "block_device": "super"},
        ],
    }
    # One that is empty, and one of zeros, are no runs of the disk's bytes; the second is worth a word.
    assert codes(found) == ["unsupported"]
    assert described[3] == {
        "name": "odm_a", "group": "group_a", "size": 4096, "extents": [{"type": "zero", "size": 4096}],
    }  # fmt: skip


def test_a_partition_on_another_device() -> None:
    found = table(FORMAT, disk(metadata([("product", 0, 0, 1)], [(8, lp.LINEAR, 2048, 1)])))
    assert (found.partitions, codes(found)) == ((), ["unsupported"])


def test_the_copy_of_the_geometry() -> None:
    image = disk()
    image[PLACES[0] + 60] ^= 1  # behind the structure
    assert codes(table(FORMAT, image)) == ["unsupported"]
    image[PLACES[0] + 44] ^= 1
    assert codes(table(FORMAT, image)) == ["backup-used", "unsupported"]
    image[PLACES[1] + 44] ^= 1
    assert read(FORMAT, image) is None


def test_copies_and_slots_of_the_metadata() -> None:
    image = disk()
    order = (0, SLOTS, 1, SLOTS + 1)
    for number, copy in enumerate(order):
        found = table(FORMAT, image)
        assert codes(found) == (["backup-used"] if number else []) + ["unsupported"]
        image[METADATA_AT + copy * SPACE + 200] ^= 1
    found = table(FORMAT, image)
    assert (found.partitions, codes(found), found.checked) == ((), ["damaged"], False)


@pytest.mark.parametrize(
    ("space", "slots"), [(0, 1), (4097, 1), (lp.METADATA_CAP + 512, 1), (4096, 0), (4096, 1 << 31)]
)
def test_an_implausible_geometry_is_none(space: int, slots: int) -> None:
    image = bytearray(65536)
    for at in PLACES:
        place(image, at, geometry(space, slots))
    assert read(FORMAT, image) is None


def test_indexes_that_lead_nowhere() -> None:
    found = table(FORMAT, disk(metadata([("a", 0, 3, 5), ("b", 0, 0xFFFFFFFF, 0xFFFFFFFF)], EXTENTS)))
    assert found.partitions == ()
    assert codes(found) == ["damaged", "unsupported", "damaged"]


def test_a_disk_cut_in_its_metadata_keeps_its_identity() -> None:
    image = disk()
    assert codes(table(FORMAT, image[: METADATA_AT + 100])) == ["damaged"]
    for size in (0, 4096, PLACES[0] + 51):
        assert read(FORMAT, image[:size]) is None
