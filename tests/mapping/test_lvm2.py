"""Logical volumes: the committed group that LVM made, and groups by hand that it would never have made."""

import io
import json
import struct
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyimount
from fixtures.recipes.lvm2 import MDA, MDA_SIZE, label
from fixtures.recipes.lvm2_group import BLOCK, FILLED, PVS, SNAPSHOTS, written
from pyimount.formats import Details, Json
from pyimount.mapping import lvm2, lvm2_standing, mapper_tables, open_layer
from pyimount.mapping.assembly import Mapped, by_members
from pyimount.parsers.volumes.lvm2 import FORMAT
from pyimount.problems import Code
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.source import Source
from tests.kept import ask, put
from tests.mapping.lvm2_groups import (
    EXTENT,
    VG,
    Put,
    by_hand,
    extent_content,
    group_text,
    kept_group,
    linear,
    lv_text,
    only,
    pv_image,
    pv_text,
    pv_uuid,
    resaid,
    said,
    segment,
)
from tests.mapping.volume_members import codes, members_of, opened

NAMES = (*FILLED, *SNAPSHOTS)
TWO = 'stripes = ["pv0", 0, "pv1", 0]'
REDUNDANT = {"mirror", "raid1", "raid5", "raid6", "raid10"}


@pytest.fixture(scope="module")
def whole() -> Put:
    return Put(kept_group())


@pytest.mark.parametrize("name", NAMES)
def test_what_the_kernel_wrote(whole: Put, name: str) -> None:
    source = whole.open(name)
    plain = written(name, source.size)
    assert whole.read(name) == plain
    for offset in range(0, source.size, 13 * 512 + 7):
        assert source.read_at(offset, 20_000) == plain[offset : offset + 20_000]
    assert codes(whole.volumes[name]) == []


def test_the_visible_volumes_come_first_in_the_order_of_the_metadata(whole: Put) -> None:
    assert whole.assembly.complete
    assert whole.assembly.stale == ()
    visible = [volume.name for volume in whole.assembly.volumes if not volume.hidden]
    assert visible == [*FILLED, "thinsnap", "snap"] or set(visible) == set(NAMES)
    hidden = [volume.hidden for volume in whole.assembly.volumes]
    assert hidden == sorted(hidden)
    names = {volume.name for volume in whole.assembly.volumes if volume.hidden}
    assert {"pool", "pool_tdata", "pool_tmeta", "snap-cow", "raid5_rimage_0", "raid5_rmeta_0"} <= names


def test_every_volume_has_a_uuid_of_its_own(whole: Put) -> None:
    uuids = [volume.uuid for volume in whole.assembly.volumes if volume.uuid is not None]
    assert len(uuids) == len(set(uuids))
    assert whole.volumes["snap-cow"].uuid is None


def test_segments_are_told(whole: Put) -> None:
    details = whole.volumes["striped"].details
    assert details["segments"] == [
        {
            "type": "striped", "offset": 0, "size": 6 * EXTENT, "stripes": 3, "stripe_size": 16384,
            "over": ["pv0(4)", "pv1(3)", "pv2(0)"],
        }
    ]  # fmt: skip
    assert whole.volumes["snap"].details["origin"] == "origin"
    assert whole.volumes["thin"].details["thin_pool"] == "pool"


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_survives_json(whole: Put, name: str) -> None:
    volume = whole.volumes[name]
    recipe: Details = json.loads(json.dumps(volume.parameters))
    source = lvm2.open_mapped(recipe, by_members(whole.members, volume.members))
    assert source.read_at(0, source.size) == written(name, source.size)


@pytest.mark.parametrize("without", range(PVS))
def test_without_each_physical_volume(without: int) -> None:
    there = Put(kept_group(), [without])
    assert not there.assembly.complete
    assert codes(there.assembly) == [Code.MISSING_MEMBER]
    for name in NAMES:
        volume = there.volumes[name]
        if not volume.readable:
            assert codes(volume) == [Code.MISSING_MEMBER]
            continue
        source, plain, lost = there.open(name), written(name, volume.size), 0
        for at in range(0, volume.size, BLOCK):
            try:
                assert source.read_at(at, BLOCK) == plain[at : at + BLOCK]
            except ReadError:
                lost += 1
        messages = [problem.message for problem in volume.problems]
        assert bool(lost) == any("cannot be read" in message for message in messages)
        assert not (lost and name in REDUNDANT)
        if not lost and name in REDUNDANT:
            assert there.read(name) == plain


@pytest.mark.parametrize("without", [*combinations(range(PVS), 2)])
def test_raid6_without_two(without: tuple[int, int]) -> None:
    there = Put(kept_group(), without)
    assert there.read("raid6") == written("raid6", 6 * EXTENT)


def test_raid5_without_two_has_what_is_left() -> None:
    there = Put(kept_group(), [0, 1])
    source, plain = there.open("raid5"), written("raid5", 6 * EXTENT)
    had = 0
    for at in range(0, len(plain), BLOCK):
        try:
            assert source.read_at(at, BLOCK) == plain[at : at + BLOCK]
            had += 1
        except ReadError:
            continue
    assert 0 < had < len(plain) // BLOCK
    assert "cannot be read" in there.volumes["raid5"].problems[0].message


# None of several stripes: dissect 3.18 takes the stripe size, which is in sectors, for a number of extents.
READ_BY_DISSECT = ("linear", "origin", "thin", "thinsnap")


@pytest.fixture(scope="module")
def read_by_dissect(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What dissect reads of a group with only what it knows; it fails on groups with anything else in it."""
    from dissect.volume.lvm import LVM2

    images = kept_group()
    names = (*READ_BY_DISSECT, "pool", "pool_tdata", "pool_tmeta")
    text = only(said(images[0]), names)
    group = LVM2([io.BytesIO(resaid(image, text)) for image in images]).volume_group
    found = {}
    for name in READ_BY_DISSECT:
        stream = group.logical_volumes[name].open()
        found[name] = stream.read(stream.size)
    return found


@pytest.mark.parametrize("name", READ_BY_DISSECT)
def test_dissect_reads_the_same(whole: Put, read_by_dissect: dict[str, bytes], name: str) -> None:
    assert read_by_dissect[name] == whole.read(name)


def place_of(there: Put, name: str) -> int:
    """Where on its physical volume a volume of one segment starts."""
    recipe = json.loads(json.dumps(there.volumes[name].parameters))
    place: int = recipe["tables"][name][0]["area"]["offset"]
    return place


def test_a_leg_that_failed_is_not_read(whole: Put) -> None:
    images = [bytearray(image) for image in kept_group()]
    # The second leg says that the first has failed, and has gone on since.
    put(images[1], place_of(whole, "raid1_rmeta_1") + 16, struct.pack("<QQ", 1 << 20, 1))
    put(images[0], place_of(whole, "raid1_rimage_0"), b"old")
    there = Put(images)
    assert there.read("raid1") == written("raid1", 3 * EXTENT)
    assert codes(there.volumes["raid1"]) == [Code.STALE_MEMBER]


def test_a_leg_is_read_as_far_as_it_is_rebuilt(whole: Put) -> None:
    images = [bytearray(image) for image in kept_group()]
    put(images[0], place_of(whole, "raid5_rmeta_0") + 32, struct.pack("<Q", BLOCK // 512))
    put(images[0], place_of(whole, "raid5_rimage_0") + BLOCK, bytes(10 * BLOCK))
    there = Put(images)
    assert there.read("raid5") == written("raid5", 6 * EXTENT)
    assert codes(there.volumes["raid5"]) == [Code.STALE_MEMBER]


def test_an_array_in_reshaping_is_refused(whole: Put) -> None:
    images = [bytearray(image) for image in kept_group()]
    place = place_of(whole, "raid5_rmeta_0")
    put(images[0], place + 16, struct.pack("<Q", 1 << 20))
    put(images[0], place + 60, struct.pack("<I", 1))
    there = Put(images)
    assert not there.volumes["raid5"].readable
    assert codes(there.volumes["raid5"]) == [Code.UNSUPPORTED]


# Groups by hand.


def test_a_linear_volume_by_hand() -> None:
    there = by_hand(lv_text("one", [linear(2, "pv0", 3), linear(1, "pv1", 0, start=2)]))
    assert there.read("one") == extent_content(0, 3) + extent_content(0, 4) + extent_content(1, 0)
    assert there.volumes["one"].members == (0, 1)


def test_only_the_members_that_a_volume_needs_are_its_own() -> None:
    assert by_hand(lv_text("one", [linear(2, "pv1", 3)])).volumes["one"].members == (1,)


def test_stripes_over_volumes_and_volumes_over_volumes() -> None:
    there = by_hand(
        lv_text("low", [linear(4, "pv0", 0)], visible=False),
        lv_text("high", [linear(2, "low", 1), linear(1, "pv1", 5, start=2)]),
    )
    assert there.read("high") == extent_content(0, 1) + extent_content(0, 2) + extent_content(1, 5)
    assert [volume.name for volume in there.assembly.volumes] == ["high", "low"]


@pytest.mark.parametrize(
    "volumes",
    [
        [lv_text("a", [linear(2, "a", 0)])],
        [lv_text("a", [linear(2, "b", 0)]), lv_text("b", [linear(2, "a", 0)])],
        [lv_text("a", [segment("snapshot", 2, 'origin = "a" cow_store = "b" chunk_size = 8')]),
         lv_text("b", [linear(1, "pv0", 0)])],
        [lv_text("pool", [segment("thin-pool", 2, 'metadata = "thin" pool = "thin" chunk_size = 128')]),
         lv_text("thin", [segment("thin", 2, 'thin_pool = "pool" device_id = 1')])],
        [lv_text("a", [segment("cache", 2, 'cache_pool = "a" origin = "a" data_len = 8 metadata_len = 8')])],
    ],
)  # fmt: skip
def test_a_volume_over_itself_is_refused(volumes: list[str]) -> None:
    there = by_hand(*volumes)
    refused = [volume for volume in there.assembly.volumes if not volume.readable]
    assert refused
    assert {Code.LOOP} == {code for volume in refused for code in codes(volume)}


@pytest.mark.parametrize(
    ("segments", "code"),
    [
        ([], Code.DAMAGED),
        ([linear(0, "pv0", 0)], Code.DAMAGED),
        ([linear(1, "pv0", 0, start=1)], Code.DAMAGED),
        ([linear(2, "pv0", 0), linear(1, "pv0", 5, start=1)], Code.DAMAGED),
        ([linear(1, "pv9", 0)], Code.DAMAGED),
        ([linear(1, "pv0", 1 << 62)], Code.DAMAGED),
        ([linear(1 << 62, "pv0", 0)], Code.DAMAGED),
        ([linear(1, "pv0", 32)], Code.DAMAGED),
        ([segment("striped", 2, 'stripe_count = 1 stripes = ["pv0"]')], Code.DAMAGED),
        ([segment("striped", 2, f"stripe_count = 0 {TWO}")], Code.DAMAGED),
        ([segment("striped", 2, f"stripe_count = 2 {TWO}")], Code.DAMAGED),
        ([segment("striped", 3, f"stripe_count = 2 stripe_size = 8 {TWO}")], Code.DAMAGED),
        ([segment("striped", 2, f"stripe_count = 2 stripe_size = 96 {TWO}")], Code.DAMAGED),
        ([segment("raid5", 2, 'device_count = 3 stripe_size = 0 raids = ["a", "a"]')], Code.DAMAGED),
        ([segment("raid1", 2, 'device_count = 3 raids = ["a"]')], Code.DAMAGED),
        ([segment("thin", 2, 'thin_pool = "none" device_id = 1')], Code.DAMAGED),
        ([segment("snapshot", 2, 'origin = "a" cow_store = "none" chunk_size = 8')], Code.DAMAGED),
        ([segment("vdo", 2, "")], Code.UNSUPPORTED),
        ([segment("vdo+FLAG", 2, "")], Code.UNSUPPORTED),
        ([segment("integrity", 2, 'origin = "none"')], Code.DAMAGED),
    ],
)
def test_a_volume_that_contradicts_itself_is_refused(segments: list[str], code: Code) -> None:
    there = by_hand(lv_text("a", segments), lv_text("sound", [linear(1, "pv0", 0)]))
    assert not [each for each in there.assembly.volumes if each.readable and each.name == "a"]
    if "a" in there.volumes:
        assert codes(there.volumes["a"]) == [code]
        assert there.volumes["a"].members
    assert there.read("sound") == extent_content(0, 0)


@pytest.mark.thorough
def test_a_tower_of_volumes_is_refused_at_some_height() -> None:
    tower = [lv_text(f"v{number}", [linear(1, f"v{number - 1}", 0)]) for number in range(1, 400)]
    for volumes in (
        [lv_text("v0", [linear(1, "pv0", 0)]), *tower],
        [*reversed(tower), lv_text("v0", [linear(1, "pv0", 0)])],
    ):
        there = by_hand(*volumes)
        assert there.read("v20") == extent_content(0, 0)
        assert codes(there.volumes["v30"]) == [Code.BUDGET]
        assert codes(there.volumes["v399"]) == [Code.BUDGET]


def test_what_all_stand_over_counts_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lvm2_standing, "MOST_TARGETS", 100)
    base = lv_text("base", [linear(1, "pv0", number % 32, start=number) for number in range(20)])
    there = by_hand(base, *(lv_text(f"v{number}", [linear(1, "base", 0)]) for number in range(20)))
    assert there.volumes["v0"].readable
    assert codes(there.volumes["v19"]) == [Code.BUDGET]


def test_recipes_do_not_double_with_every_level() -> None:
    levels = [lv_text("v0", [linear(2, "pv0", 0)])]
    for number in range(1, 20):
        below = f"v{number - 1}"
        levels.append(lv_text(f"v{number}", [linear(1, below, 0), linear(1, below, 1, start=1)]))
    there = by_hand(*levels)
    assert len(json.dumps(there.volumes["v19"].parameters)) < 10_000
    assert there.read("v19") == extent_content(0, 0) + extent_content(0, 1)


def test_zeros_and_errors() -> None:
    there = by_hand(
        lv_text("zeros", [segment("zero", 1, "")]),
        lv_text("errors", [segment("error", 1, ""), linear(1, "pv0", 0, start=1)]),
    )
    assert there.read("zeros") == bytes(EXTENT)
    assert there.volumes["zeros"].members == (0,)
    source = there.open("errors")
    assert source.read_at(EXTENT, EXTENT) == extent_content(0, 0)
    with pytest.raises(ReadError):
        source.read_at(EXTENT - 1, 1)


# Which physical volumes count.

ONE = [lv_text("one", [linear(1, "pv0", 0), linear(1, "pv1", 0, start=1)])]
OTHER = [lv_text("other", [linear(1, "pv1", 3)])]
BOTH = [pv_text(0), pv_text(1)]


def test_the_newest_metadata_counts() -> None:
    there = Put(
        [
            pv_image(0, group_text(ONE, BOTH, seqno=4)),
            pv_image(1, group_text(OTHER, BOTH, seqno=5)),
        ]
    )
    assert [volume.name for volume in there.assembly.volumes] == ["other"]
    assert there.assembly.complete
    assert there.assembly.stale == ()


def test_a_physical_volume_that_left_the_group_is_stale() -> None:
    there = Put(
        [
            pv_image(0, group_text(ONE, BOTH, seqno=4)),
            pv_image(1, group_text(OTHER, [pv_text(1)], seqno=5)),
        ]
    )
    assert there.assembly.stale == (0,)
    assert there.assembly.complete
    assert there.read("other") == extent_content(1, 3)


def test_a_physical_volume_that_was_missing_once_is_not_used() -> None:
    newer = group_text(ONE, [pv_text(0, 'flags = ["MISSING"]'), pv_text(1)], seqno=5)
    there = Put([pv_image(0, group_text(ONE, BOTH, seqno=4)), pv_image(1, newer)])
    assert there.assembly.stale == (0,)
    assert not there.assembly.complete
    assert codes(there.assembly) == [Code.MISSING_MEMBER]
    source = there.open("one")
    assert source.read_at(EXTENT, EXTENT) == extent_content(1, 0)
    with pytest.raises(ReadError, match="pv0 is missing"):
        source.read_at(0, 1)


def test_groups_of_one_name_are_told_apart_by_their_uuids() -> None:
    mine = pv_image(0, group_text(ONE, BOTH))
    theirs = pv_image(1, group_text(ONE, BOTH, uuid=VG[::-1]))
    names = [
        (member.membership.name, member.membership.uuid) for member in members_of(FORMAT, [mine, theirs])
    ]
    assert names == [("by-hand", VG), ("by-hand", VG[::-1])]


def test_which_physical_volumes_are_wanted() -> None:
    there = Put([pv_image(0, group_text(ONE, BOTH))])
    assert lvm2.members_named(there.members) == {pv_uuid(0): "pv0", pv_uuid(1): "pv1"}


@pytest.mark.parametrize("first", [0, 1])
def test_a_physical_volume_without_metadata_is_a_member_of_the_group_that_names_it(
    first: int, tmp_path: Path
) -> None:
    volumes = [lv_text("over-both", [linear(2, "pv1", 3), linear(1, "pv0", 5, 2)])]
    images = [pv_image(number, group_text(volumes, BOTH)) for number in range(2)]
    put(images[1], 512, label(uuid=pv_uuid(1), areas=()))
    put(images[1], MDA, bytes(MDA_SIZE))
    stranger = bytes(images[1]).replace(pv_uuid(1).replace("-", "").encode(), b"x" * 32)
    paths = []
    for number in (first, 1 - first):
        paths.append(tmp_path / f"pv{number}")
        paths[-1].write_bytes(images[number])
    paths.append(tmp_path / "stranger")
    paths[-1].write_bytes(stranger)
    scan = pyimount.detect(paths)
    for number in range(2):
        found = scan[pv_uuid(number)].group
        assert found is not None
        assert (found.uuid, found.role, found.present, found.complete) == (VG, f"pv{number}", 2, True)
    assert scan["3.0"].group is None
    (volume,) = [volume for volume in scan.volumes if volume.name == "over-both"]
    wanted = extent_content(1, 3) + extent_content(1, 4) + extent_content(0, 5)
    with open_layer(scan, volume) as source:
        assert source.read_at(0, source.size) == wanted


def test_a_cut_off_image_is_read_as_far_as_it_goes() -> None:
    text = group_text([lv_text("one", [linear(3, "pv0", 0)])], [pv_text(0)])
    there = Put([pv_image(0, text)[: (2 << 20) + EXTENT + 100]])
    source = there.open("one")
    assert source.size == 3 * EXTENT
    assert source.read_at(0, EXTENT) == extent_content(0, 0)
    with pytest.raises(ReadError):
        source.read_at(EXTENT, EXTENT)


@pytest.mark.parametrize("extent", [0, 1 << 60])
def test_extents_of_no_size(extent: int) -> None:
    text = group_text(ONE, [pv_text(0)], extent=extent)
    there = Put([pv_image(0, text)])
    assert there.assembly.volumes == ()
    assert codes(there.assembly) == [Code.DAMAGED]


def test_a_snapshot_whose_store_was_never_used_is_its_origin() -> None:
    image = pv_image(0, b"")
    volumes = [
        lv_text("origin", [linear(2, "pv0", 0)]),
        lv_text("snapshot0", [segment("snapshot", 2, 'origin = "origin" cow_store = "snap" chunk_size = 8')]),
        lv_text("snap", [linear(1, "pv0", 5)], visible=False),
    ]
    image = pv_image(0, group_text(volumes, [pv_text(0)]))
    put(image, (2 << 20) + 5 * EXTENT, bytes(EXTENT))
    there = Put([image])
    assert there.read("snap") == there.read("origin")
    assert there.volumes["snap"].uuid == "snap"
    put(image, (2 << 20) + 5 * EXTENT, b"SnAp" + (1).to_bytes(4, "little") * 2 + (3).to_bytes(4, "little"))
    assert codes(Put([image]).volumes["snap"]) == [Code.DAMAGED]


# Recipes that are none, metadata that was tampered with.


RAID = {"type": "raid", "start": 0, "size": 1, "chunk": 512, "devices": [None, None]}
AREA = {"pv": "x", "offset": 0, "size": 1}


@pytest.mark.parametrize(
    "target",
    [
        {"type": "zero", "start": 5, "size": 1},
        {"type": "zero", "start": 0, "size": -1},
        {"type": "zero", "start": 0, "size": 1 << 63},
        {"type": "linear", "start": 0, "size": 1},
        {"type": "linear", "start": 0, "size": 1, "area": AREA},
        {"type": "linear", "start": 0, "size": 1, "area": {**AREA, "pv": "p", "size": 2}},
        {"type": "linear", "start": 0, "size": 1, "area": {"volume": "a", "offset": 0, "size": 1}},
        {"type": "magic", "start": 0, "size": 1},
        {**RAID, "raid_type": "raid5"},
        {**RAID, "raid_type": "raid0", "chunk": 0},
        {**RAID, "raid_type": "raid10", "copies": 9},
        {**RAID, "raid_type": "raid7"},
        {**RAID, "raid_type": "raid1", "devices": []},
    ],
)
def test_a_target_that_is_none(target: Json) -> None:
    with pytest.raises(OpenError):
        mapper_tables.open_mapped({"volume": "a", "pvs": {"p": None}, "tables": {"a": [target]}}, [])


@pytest.mark.parametrize(
    "recipe",
    [{}, {"volume": "a", "pvs": {}, "tables": {}}, {"volume": "a", "pvs": {"p": 3}, "tables": {"a": []}}],
)
def test_a_recipe_that_is_none(recipe: Details) -> None:
    with pytest.raises(OpenError):
        mapper_tables.open_mapped(recipe, [])


HOSTILE = (b"0", b"-1", b"18446744073709551615", b"4294967295", b'"pv0",', b'"thin"', b"{", b"}")


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_tampered_metadata_breaks_nothing_but_itself(data: st.DataObject) -> None:
    images = kept_group()[:3]
    words = said(images[0]).split(b" ")
    places = st.integers(0, len(words) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        words[data.draw(places)] = data.draw(st.sampled_from(HOSTILE) | places.map(lambda at: words[at]))
    text = b" ".join(words)[: len(said(images[0]))]
    changed = [resaid(image, text) for image in images]
    found = [ask(FORMAT, image) for image in changed]
    there = [image for image, each in zip(changed, found, strict=True) if each is not None and each.group]
    for volume, source in _readable(there):
        json.dumps(volume.parameters)
        for offset in (0, source.size // 2, max(0, source.size - 100)):
            try:
                source.read_at(offset, 5000)
            except ReadError:
                continue


def _readable(images: list[bytearray]) -> Iterator[tuple[Mapped, Source]]:
    if images:
        there = Put(images)
        for volume in there.assembly.volumes:
            assert volume.members
            if volume.readable:
                yield volume, opened(lvm2, volume, there.members)
