"""DDF: which of the two headers counts, what a damaged section costs, and numbers that lie."""

import pytest

from fixtures.recipes.ddf import BLOCK, PRIMARY, REFERENCES, SECONDARY, SIZE, disk, header
from pyimount.parsers.volumes.ddf import FORMAT
from tests.kept import ask, codes, kept, put, recognise


def test_the_secondary_header_serves_where_the_primary_is_damaged() -> None:
    image = kept("ddf")
    image[PRIMARY * BLOCK + 100] ^= 1
    found = recognise(FORMAT, image)
    assert codes(found) == ["bad-checksum", "backup-used"]
    assert (found.group.name if found.group else None) == "evidence"


def test_the_newer_header_counts() -> None:
    image = disk(REFERENCES[0])
    put(image, SECONDARY * BLOCK, header(2, Sequence_Number=8))
    assert recognise(FORMAT, image).details["sequence_number"] == 8


def test_of_two_alike_the_one_that_is_not_open_counts() -> None:
    image = disk(REFERENCES[0])
    put(image, PRIMARY * BLOCK, header(1, Open_Flag=1))
    found = recognise(FORMAT, image)
    assert (codes(found), found.details["open"]) == (["backup-used"], False)


def test_the_anchor_alone_still_names_the_member() -> None:
    image = kept("ddf")
    for place in (PRIMARY, SECONDARY):
        image[place * BLOCK : place * BLOCK + BLOCK] = bytes(BLOCK)
    found = recognise(FORMAT, image)
    assert (found.uuid, found.version) == ("Fixture-DDF-set-00000001", "02.00.00")
    assert codes(found) == ["bad-checksum", "bad-checksum", "damaged"]


def test_an_anchor_with_256_sectors_behind_it() -> None:
    image = kept("ddf") + bytes(256 * BLOCK)
    assert recognise(FORMAT, image).offset == SIZE - BLOCK


@pytest.mark.parametrize("section", [1, 2, 5, 14])
def test_a_changed_section_is_told(section: int) -> None:
    image = kept("ddf")
    image[(PRIMARY + section) * BLOCK + 40] ^= 1
    assert codes(recognise(FORMAT, image)) == ["bad-checksum"]


@pytest.mark.parametrize("section", [1, 2, 5, 14])
def test_a_lost_section_does_not_cost_the_rest(section: int) -> None:
    image = kept("ddf")
    at = (PRIMARY + section) * BLOCK
    image[at : at + BLOCK] = bytes(BLOCK)
    found = recognise(FORMAT, image)
    assert codes(found) == ["damaged"]
    assert found.group is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"Physical_Disk_Records_Section_Length": 0xFFFFFFFF}, {"Virtual_Disk_Records_Section": 0xFFFFFFFF},
        {"Configuration_Records_Section_Length": 0x10000000}, {"Configuration_Record_Length": 0},
        {"Configuration_Record_Length": 0xFFFF}, {"Max_Primary_Element_Entries": 0xFFFF},
        {"Primary_Header_LBA": (1 << 64) - 1, "Secondary_Header_LBA": (1 << 63)},
    ],
)  # fmt: skip
def test_numbers_that_lie(changed: dict[str, int]) -> None:
    assert recognise(FORMAT, disk(REFERENCES[0], **changed)).type == "ddf_raid_member"


def test_what_only_begins_like_an_anchor_is_none() -> None:
    image = bytearray(SIZE)
    put(image, SIZE - BLOCK, b"\xde\x11\xde\x11")
    assert ask(FORMAT, image) is None
    assert ask(FORMAT, kept("ddf")[:-1]) is None
