"""ZFS: four labels and their checksums, spares, rings of uberblocks, and lying lists."""

from typing import Any

import pytest
from hypothesis import given, settings

from fixtures.recipes.zfs import (
    ASHIFT,
    FIRST,
    LABEL_SIZE,
    MIB,
    PHYS_AT,
    PLACES,
    POOL,
    RING_AT,
    SECOND,
    SIZE,
    TOP,
    config,
    label,
    packed,
)
from pyimount.formats import NotThisFormat
from pyimount.parsers.volumes.zfs import FORMAT
from pyimount.parsers.volumes.zfs_nvlist import DEPTH, PAIRS, parse_nvlist
from tests.kept import ask, codes, put, recognise
from tests.strategies import Edit, edited, edits

SMALL = 2 * MIB


def vdev(labels: dict[int, bytes], size: int = SMALL) -> bytearray:
    image = bytearray(size)
    for offset, built in labels.items():
        put(image, offset, built)
    return image


def small(**changed: Any) -> dict[str, Any]:
    """A label's pairs without the size of the vdev, which would be more than these tests make."""
    pairs = config(**changed)
    pairs["vdev_tree"].pop("asize", None)
    return pairs


def test_a_changed_label_is_told_when_it_is_the_only_one() -> None:
    image = vdev({0: label(0, small())})
    image[PHYS_AT + 100_000] ^= 1
    found = recognise(FORMAT, image)
    assert (found.label, found.checked, codes(found)) == ("tank", False, ["bad-checksum"])


def test_a_sound_label_is_preferred_to_a_changed_one() -> None:
    image = vdev({0: label(0, small()), LABEL_SIZE: label(LABEL_SIZE, small(name="boat"))})
    assert recognise(FORMAT, image).label == "tank"
    image[PHYS_AT + 100_000] ^= 1
    found = recognise(FORMAT, image)
    assert (found.label, found.offset, codes(found)) == ("boat", LABEL_SIZE, ["backup-used"])


def test_a_label_moved_elsewhere_does_not_keep_its_checksum() -> None:
    assert not recognise(FORMAT, vdev({0: label(LABEL_SIZE, small())})).checked


def test_the_labels_at_the_end_are_where_whole_labels_fit() -> None:
    at = SMALL - LABEL_SIZE
    assert recognise(FORMAT, vdev({at: label(at, small())}, SMALL + LABEL_SIZE - 1)).offset == at


def test_a_label_without_uberblocks_is_damaged() -> None:
    image = vdev({0: label(0, small())})
    put(image, RING_AT, bytes(LABEL_SIZE - RING_AT))
    found = recognise(FORMAT, image)
    assert (found.version, codes(found)) == ("5000", ["damaged"])


def test_a_changed_uberblock_is_told() -> None:
    image = vdev({0: label(0, small())})
    image[RING_AT + (31 << ASHIFT) + 3000] ^= 1
    uberblock = recognise(FORMAT, image).details["uberblock"]
    assert isinstance(uberblock, dict)
    assert (uberblock["txg"], uberblock["checksum_ok"]) == (31, False)


def test_a_spare_belongs_to_no_pool() -> None:
    pairs = {"version": 5000, "state": 3, "guid": FIRST}
    found = recognise(FORMAT, vdev({0: label(0, pairs)}))
    assert (found.uuid, found.uuid_sub, found.group, found.state) == (None, str(FIRST), None, "spare")


@pytest.mark.parametrize("missing", ["version", "state", "guid"])
def test_a_list_without_what_every_label_has_is_none(missing: str) -> None:
    pairs = config()
    del pairs[missing]
    assert ask(FORMAT, vdev({0: label(0, pairs)})) is None


def test_where_there_are_further_vdevs_the_number_of_members_is_not_known() -> None:
    group = recognise(FORMAT, vdev({0: label(0, small(vdev_children=2))})).group
    assert group is not None
    assert (group.uuid, group.role, group.members) == (str(POOL), "mirror-0/disk-1", None)


def test_a_cut_off_member_is_told() -> None:
    assert codes(recognise(FORMAT, vdev({0: label(0, config())}))) == ["truncated"]
    raidz = config()
    raidz["vdev_tree"] |= {"type": "raidz", "asize": 2 * (SIZE - 4 * MIB - 512 * 1024)}
    labels = {0: label(0, raidz)}
    assert codes(recognise(FORMAT, vdev(labels, SIZE))) == []
    assert codes(recognise(FORMAT, vdev(labels, SIZE - 1))) == ["truncated"]


def test_lists_lie_in_one_another() -> None:
    pairs = {"a": {"b": [{"c": 1}, {"d": {}}, {}], "e": "f"}, "g": 1 << 63, "h": True}
    assert parse_nvlist(packed(pairs)) == pairs


def test_an_empty_array_of_lists() -> None:
    assert parse_nvlist(packed({"a": [], "b": 1})) == {"a": [], "b": 1}


def test_depth_has_an_end() -> None:
    pairs: dict[str, Any] = {}
    for _ in range(DEPTH - 1):
        pairs = {"a": pairs}
    assert parse_nvlist(packed(pairs)) == pairs
    with pytest.raises(NotThisFormat):
        parse_nvlist(packed({"a": pairs}))


def test_pairs_have_an_end() -> None:
    with pytest.raises(NotThisFormat):
        parse_nvlist(packed({str(number): 1 for number in range(PAIRS + 1)}))


def test_every_cut_of_a_list_is_an_answer() -> None:
    whole = packed(config())
    for end in range(len(whole)):
        with pytest.raises(NotThisFormat):
            parse_nvlist(whole[:end])
    assert parse_nvlist(whole)["guid"] == SECOND


@pytest.mark.parametrize(
    ("what", "number"),
    [
        ("encoded size", 1),
        ("encoded size", 0xFFFFFFFF),
        ("name length", 0x7FFFFFFF),
        ("name length", 0xFFFFFFFF),
        ("elements", 0xFFFFFFFF),
        ("string length", 9),
        ("string length", 0xFFFFFFFF),
    ],
)
def test_lengths_that_lie(what: str, number: int) -> None:
    at = {"encoded size": 12, "name length": 20, "elements": 32, "string length": 36}[what]
    raw = bytearray(packed({"a": "b"}))
    put(raw, at, number.to_bytes(4, "big"))
    with pytest.raises(NotThisFormat):
        parse_nvlist(bytes(raw))


@settings(max_examples=100, deadline=None)
@given(edits(700))
def test_any_list_gives_an_answer(changes: list[Edit]) -> None:
    try:
        parse_nvlist(edited(packed(config()), changes))
    except NotThisFormat:
        return


def test_all_four_labels_say_the_same() -> None:
    for place in PLACES[:2]:
        found = recognise(FORMAT, vdev({place: label(place, small())}))
        assert found.details["top_guid"] == str(TOP)
