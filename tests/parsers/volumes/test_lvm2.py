"""LVM2: labels and metadata areas, sound, old, damaged and lying."""

import pytest
from hypothesis import given, settings

from fixtures.recipes.lvm2 import MDA, MDA_SIZE, MIB, PV0, PV1, SIZE, VG, area, group_text, label
from pyimount.formats import Identity
from pyimount.parsers.volumes.lvm2 import FORMAT, MDA_HEADER_SIZE, crc
from tests.kept import ask, codes, kept, put, recognise
from tests.strategies import Edit, edited, edits

SECOND = SIZE - MIB
TWO = ((MDA, MDA_SIZE), (SECOND, MIB))


def volume(*pieces: tuple[int, bytes]) -> bytearray:
    image = bytearray(SIZE)
    for offset, piece in pieces:
        put(image, offset, piece)
    return image


def seqno(found: Identity) -> object:
    group = found.details["vg"]
    assert isinstance(group, dict)
    return group["seqno"]


@pytest.mark.parametrize("sector", range(4))
def test_the_label_may_stand_in_any_of_four_sectors(sector: int) -> None:
    found = recognise(FORMAT, volume((sector * 512, label(sector)), (MDA, area(group_text(1)))))
    assert (found.offset, found.uuid, found.checked) == (sector * 512, PV0, True)


def test_a_label_of_another_sector_is_none() -> None:
    assert ask(FORMAT, volume((512, label(2)), (MDA, area(group_text(1))))) is None


def test_a_label_with_a_wrong_checksum_is_told() -> None:
    image = kept("lvm2")
    put(image, 512 + 500, b"x")
    found = recognise(FORMAT, image)
    assert (found.uuid, found.checked, codes(found)) == (PV0, False, ["bad-checksum"])


@pytest.mark.parametrize("offset_xl", [0, 31, 473, 512, 0xFFFFFFFF])
def test_a_pv_header_outside_the_sector(offset_xl: int) -> None:
    image = kept("lvm2")
    put(image, 512 + 20, offset_xl.to_bytes(4, "little"))
    assert ask(FORMAT, image) is None


def test_a_uuid_of_other_characters_is_none() -> None:
    assert ask(FORMAT, volume((512, label(uuid="/" * 32)))) is None


def test_a_list_of_areas_that_fills_the_sector_ends_with_it() -> None:
    raw = bytearray(label())
    for at in range(32 + 40, 512 - 16, 16):
        put(raw, at, (MIB).to_bytes(8, "little") + bytes(8))
    put(raw, 16, crc(bytes(raw[20:])).to_bytes(4, "little"))
    found = recognise(FORMAT, volume((512, bytes(raw))))
    assert found.details["metadata_areas"] == []
    assert isinstance(found.details["data_areas"], list)
    assert len(found.details["data_areas"]) == (512 - 72) // 16


def test_a_cut_off_volume_is_told() -> None:
    assert codes(recognise(FORMAT, kept("lvm2", 2 * MIB))) == ["truncated"]


def test_of_two_areas_the_newer_text_counts() -> None:
    image = volume(
        (512, label(areas=TWO)),
        (MDA, area(group_text(5))),
        (SECOND, area(group_text(6), start=SECOND, size=MIB)),
    )
    found = recognise(FORMAT, image)
    assert (seqno(found), codes(found)) == (6, ["copies-differ"])


def test_equal_areas_are_read_once() -> None:
    image = volume(
        (512, label(areas=TWO)),
        (MDA, area(group_text(5))),
        (SECOND, area(group_text(5), start=SECOND, size=MIB)),
    )
    assert codes(recognise(FORMAT, image)) == []


def test_an_ignored_area_does_not_count() -> None:
    image = volume(
        (512, label(areas=TWO)),
        (MDA, area(group_text(5))),
        (SECOND, area(group_text(6), start=SECOND, size=MIB, flags=1)),
    )
    found = recognise(FORMAT, image)
    assert (seqno(found), codes(found)) == (5, [])


def test_a_damaged_first_area_leaves_the_second() -> None:
    image = volume(
        (512, label(areas=TWO)),
        (MDA, bytes(512)),
        (SECOND, area(group_text(6), start=SECOND, size=MIB)),
    )
    found = recognise(FORMAT, image)
    assert (seqno(found), codes(found)) == (6, ["damaged", "backup-used"])


def test_without_metadata_areas_the_group_is_not_known() -> None:
    found = recognise(FORMAT, volume((512, label(areas=()))))
    assert (found.group, "vg" in found.details, codes(found)) == (None, False, [])


@pytest.mark.parametrize("text", [b"", group_text(1)])
def test_a_text_whose_checksum_is_wrong_is_not_read(text: bytes) -> None:
    image = volume((512, label()), (MDA, area(text or b"\0")))
    image[MDA + MDA_HEADER_SIZE] ^= 1
    found = recognise(FORMAT, image)
    assert (found.uuid, found.group, codes(found)) == (PV0, None, ["damaged"])


def test_a_header_with_a_wrong_checksum_is_told() -> None:
    image = volume((512, label()), (MDA, area(group_text(3))))
    image[MDA + 400] ^= 1
    found = recognise(FORMAT, image)
    assert (seqno(found), codes(found)) == (3, ["bad-checksum"])


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 0), (511, 100), (MDA_SIZE, 100), (512, MDA_SIZE - 511), (1 << 63, 1 << 63), (512, (1 << 64) - 1)],
)
def test_a_text_outside_its_area(offset: int, size: int) -> None:
    built = bytearray(area(group_text(1)))
    put(built, 40, offset.to_bytes(8, "little") + size.to_bytes(8, "little"))
    put(built, 0, crc(bytes(built[4:512])).to_bytes(4, "little"))
    found = recognise(FORMAT, volume((512, label()), (MDA, bytes(built))))
    assert found.uuid == PV0
    assert found.group is None
    # An offset of zero is how an area says that it is empty.
    assert codes(found) == ([] if offset == 0 else ["damaged"])


@pytest.mark.parametrize(
    "text",
    [
        b"case-42 {\nseqno = 1\n",
        b"seqno = 1\n",
        b"case-42 { id = 5 }",
        b'case-42 {\nseqno = "1"\n}',
        b"case-42 { seqno = 1 } }",
    ],
)
def test_a_text_that_is_no_group(text: bytes) -> None:
    found = recognise(FORMAT, volume((512, label()), (MDA, area(text + b"\0"))))
    assert (found.group, codes(found)) == (None, ["damaged"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"extent_size = 1024", b"extent_size = -1"),
        (b"extent_size = 1024", b'extent_size = "large"'),
        (b"extent_count = 3", b"extent_count = 99999999999999999999"),
        (b"physical_volumes {", b"physical_volumes = 5\nothers {"),
    ],
)
def test_figures_that_cannot_be_true_lose_only_the_group(before: bytes, after: bytes) -> None:
    text = group_text(1).replace(before, after)
    assert text != group_text(1)
    found = recognise(FORMAT, volume((512, label()), (MDA, area(text))))
    assert (found.uuid, codes(found)) == (PV0, ["damaged"])


def test_a_member_that_the_group_does_not_name_has_no_role() -> None:
    found = recognise(FORMAT, volume((512, label(uuid=PV1[::-1])), (MDA, area(group_text(1)))))
    assert found.group is not None
    assert (found.group.uuid, found.group.role, found.group.members) == (VG, None, 2)


SMALL = 16384


def small_volume() -> bytes:
    """A physical volume with an area that is no larger than it need be."""
    places = ((MDA, SMALL - MDA),)
    image = bytearray(SMALL)
    put(image, 512, label(areas=places, size=SMALL))
    put(image, MDA, area(group_text(1), size=SMALL - MDA))
    return bytes(image)


def test_every_cut_is_an_answer() -> None:
    image = small_volume()
    for end in range(0, SMALL, 61):
        found = ask(FORMAT, image[:end])
        assert (found is None) == (end < 1024)


@settings(max_examples=40, deadline=None)
@given(edits(2048), edits(2048))
def test_any_volume_gives_an_answer(in_label: list[Edit], in_area: list[Edit]) -> None:
    image = small_volume()
    ask(FORMAT, edited(image[:1024], in_label) + image[1024:])
    ask(FORMAT, image[:MDA] + edited(image[MDA:], in_area))
