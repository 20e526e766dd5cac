"""md: every level and layout, whole and with members missing, and what happens to arrays."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyimount
from pyimount.formats import NotThisFormat
from pyimount.mapping import galois, md, open_layer, parity
from pyimount.mapping.assembly import Assembly, Mapped, Member, by_members
from pyimount.mapping.raid import Raid10Layout
from pyimount.parsers.volumes.md import FORMAT, MAGIC_LITTLE
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.source import BytesSource, Source
from pyimount.sources.view import ShortRead, View
from tests.mapping.md_members import CHUNK, PARITY, content, copied, members, striped, with_parity
from tests.strategies import Edit, edited, edits

LINEAR = (96 * CHUNK, 64 * CHUNK, 128 * CHUNK)
UNEVEN = (32 * CHUNK, 96 * CHUNK, 64 * CHUNK, 96 * CHUNK)
PARITY_DATA = content(3 * 64 * CHUNK)
COPIED = {(disks, near, far, offset) for disks, near, far, offset in (
    (2, 2, 1, False), (3, 2, 1, False), (4, 2, 1, False), (5, 3, 1, False), (2, 1, 2, False),
    (3, 1, 2, False), (4, 1, 2, False), (5, 1, 3, False), (4, 2, 2, False), (2, 1, 2, True),
    (3, 1, 2, True), (4, 1, 2, True), (5, 1, 3, True),
)}  # fmt: skip


class Array(NamedTuple):
    """An array's members and its content; ``lost``: what it can do without."""

    images: list[bytes]
    whole: bytes
    lost: list[tuple[int, ...]]


def _without(disks: int, spare: int) -> list[tuple[int, ...]]:
    return [lost for count in range(1, spare + 1) for lost in combinations(range(disks), count)]


def _parity(level: int, layout: int, metadata: str = "1.2") -> Array:
    areas = with_parity(PARITY_DATA, level, layout)
    images = members(areas, metadata, level=level, layout=layout)
    return Array(images, PARITY_DATA, _without(len(areas), 2 if level == 6 else 1))


def _copied(disks: int, near: int, far: int, offset: bool) -> Array:
    data = content(60 * CHUNK)
    areas = copied(data, disks, near, far, offset=offset)
    images = members(areas, level=10, layout=near | far << 8 | offset << 16)
    return Array(images, data, _without(disks, near * far - 1))


def _striped(original: bool, sizes: Sequence[int] = UNEVEN, metadata: str = "1.2") -> Array:
    data = content(sum(sizes))
    areas = striped(data, sizes, original=original)
    facts = {"feature_map": 0x1000} if metadata != "0.90" else {}
    return Array(members(areas, metadata, level=0, layout=1 if original else 2, **facts, size=0), data, [])


def _linear(metadata: str) -> Array:
    data = content(sum(LINEAR))
    areas = [data[sum(LINEAR[:at]) :][:size] for at, size in enumerate(LINEAR)]
    if metadata == "0.90":
        areas = [bytes(65536) + area[:65536].ljust(65536, b"x") for area in areas]
        data = b"".join(areas)
    return Array(members(areas, metadata, level=-1, layout=0, size=0), data, [])


def _mirrored(disks: int, metadata: str = "1.2") -> Array:
    data = content(128 * CHUNK)
    facts = {} if metadata.startswith("0.90") else {"chunksize": 0}
    return Array(
        members([data] * disks, metadata, level=1, layout=0, **facts), data, _without(disks, disks - 1)
    )


ARRAYS: dict[str, Callable[[], Array]] = {
    **{f"linear-{version}": lambda version=version: _linear(version) for version in ("0.90", "1.2")},
    "raid0": lambda: _striped(False, (64 * CHUNK,) * 3),
    "raid0-0.90": lambda: _striped(False, (64 * CHUNK,) * 3, "0.90"),
    "raid0-original": lambda: _striped(True),
    "raid0-alternate": lambda: _striped(False),
    **{
        f"raid1-{version}": lambda version=version: _mirrored(2, version)
        for version in ("0.90", "0.90-big", "1.0", "1.1")
    },
    "raid1-3": lambda: _mirrored(3),
    **{
        f"raid{level}-{layout}": lambda level=level, layout=layout: _parity(level, layout)
        for level, layouts in PARITY.items()
        for layout in layouts
    },
    **{
        f"raid5-{version}": lambda version=version: _parity(5, 2, version)
        for version in ("0.90", "0.90-big", "1.0", "1.1")
    },
    **{
        f"raid10-{('near', 'far', 'offset')[2 if offset else far > 1]}-{disks}-{near * far}-{near}":
        lambda shape=(disks, near, far, offset): _copied(*shape)
        for disks, near, far, offset in sorted(COPIED)
    },
}  # fmt: skip


@cache
def array(name: str) -> Array:
    return ARRAYS[name]()


def told(images: Sequence[bytes | Source]) -> list[Member]:
    """The members as a scan finds them; an empty image is one that is missing."""
    found = []
    for number, image in enumerate(images):
        if image == b"":
            continue
        source = BytesSource(image) if isinstance(image, bytes) else image
        identity = FORMAT.parse(View(source))
        assert identity.group is not None
        found.append(
            Member(
                id=number + 10, index=str(number), membership=identity.group,
                details=identity.details, source=source,
            )
        )  # fmt: skip
    return found


def opened(there: Sequence[Member]) -> tuple[Assembly, Mapped, Source]:
    assembly = md.assemble(there)
    (volume,) = assembly.volumes
    assert volume.readable, volume.problems
    return assembly, volume, md.open_mapped(volume.parameters, by_members(there, volume.members))


def codes(assembly: Assembly) -> list[str]:
    return [problem.code.value for volume in assembly.volumes for problem in volume.problems]


@pytest.mark.parametrize("name", ARRAYS)
def test_the_whole_array(name: str) -> None:
    images, whole, _ = array(name)
    assembly, volume, source = opened(told(images))
    assert (assembly.complete, assembly.stale, codes(assembly)) == (True, (), [])
    assert volume.members == tuple(range(10, 10 + len(images)))
    assert (volume.size, source.size) == (len(whole), len(whole))
    assert source.read_at(0, len(whole) + 1) == whole
    # The order in which images are named has no say.
    assert opened(told(images)[::-1])[2].read_at(0, len(whole)) == whole


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("name", [name for name in ARRAYS if array(name).lost])
def test_without_members_that_it_can_do_without(name: str) -> None:
    images, whole, every = array(name)
    for lost in every:
        there = [member for member in told(images) if member.id - 10 not in lost]
        assembly, volume, source = opened(there)
        assert (assembly.complete, codes(assembly)) == (False, ["missing-member"])
        assert (volume.size, source.read_at(0, source.size)) == (len(whole), whole), f"without {lost}"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_read_gives_what_was_written(data: st.DataObject) -> None:
    images, whole, every = array(data.draw(st.sampled_from(sorted(ARRAYS))))
    lost = data.draw(st.sampled_from([(), *every]))
    _, _, source = opened([member for member in told(images) if member.id - 10 not in lost])
    offset = data.draw(st.integers(0, len(whole)))
    length = data.draw(st.integers(0, len(whole)) | st.integers(0, 3 * CHUNK))
    assert source.read_at(offset, length) == whole[offset : offset + length]


@pytest.mark.parametrize("name", ARRAYS)
def test_a_recipe_is_json_and_complete(name: str) -> None:
    images, whole, every = array(name)
    for lost in [(), *every[-1:]]:
        there = [member for member in told(images) if member.id - 10 not in lost]
        (volume,) = md.assemble(there).volumes
        recipe = json.loads(json.dumps(volume.parameters))
        assert recipe == volume.parameters
        source = md.open_mapped(recipe, by_members(there, volume.members))
        assert source.read_at(5, 3 * CHUNK) == whole[5 : 5 + 3 * CHUNK]
        with pytest.raises(OpenError):
            md.open_mapped(recipe, [])


def test_several_threads_read_at_once() -> None:
    images, whole, _ = array("raid6-2")
    _, _, source = opened(told(images)[2:])
    places = [(at * 700) % (len(whole) - 5000) for at in range(400)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: source.read_at(at, 5000), places))
    assert found == [whole[at : at + 5000] for at in places]


@pytest.mark.usefixtures("arithmetic")
def test_reads_that_are_larger_than_what_is_held_at_once() -> None:
    data = content(3 * 1024 * CHUNK)
    images = members(with_parity(data, 5, 2), level=5, layout=2)
    for there in (told(images), told(images)[1:]):
        _, _, source = opened(there)
        assert source.read_at(0, len(data)) == data
        assert source.read_at(777, (2 << 20) + 1) == data[777 : 777 + (2 << 20) + 1]


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("name", ["raid4-0", "raid5-2", "raid6-2", "raid6-10", "raid6-18"])
def test_chunks_that_are_larger_than_what_is_held_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "_BANDS_BYTES", 1500)
    monkeypatch.setattr(parity, "_LEAST_BAND", 96)
    monkeypatch.setattr(galois, "_AT_ONCE", 33)
    images, whole, every = array(name)
    for lost in every:
        _, _, source = opened([member for member in told(images) if member.id - 10 not in lost])
        assert source.read_at(0, len(whole)) == whole, f"without {lost}"
        assert source.read_at(CHUNK - 7, CHUNK + 99) == whole[CHUNK - 7 : 2 * CHUNK + 92]


@pytest.mark.parametrize(("name", "lost"), [("raid5-2", (1,)), ("raid6-2", (1,)), ("raid6-2", (1, 2))])
def test_a_stripe_is_read_once_for_all_that_it_lacks(name: str, lost: tuple[int, ...]) -> None:
    images, whole, _ = array(name)
    sources = [Failing(image) for number, image in enumerate(images) if number not in lost]
    _, _, source = opened(told([*sources]))
    for each in sources:
        each.reads = 0
    assert b"".join(source.read_at(at, CHUNK) for at in range(0, len(whole), CHUNK)) == whole
    # Chunks before the lost one are read again for it.
    assert sum(each.reads for each in sources) < 1.5 * len(whole) / CHUNK


def test_the_uuid_that_an_array_has_in_common_with_its_members_names_the_array(tmp_path: Path) -> None:
    images, whole, _ = array("raid5-2")
    paths = [tmp_path / f"member{number}" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image)
    scan = pyimount.detect(paths)
    volume = scan[scan["1.0"].uuid or ""]
    assert (volume.index, scan[volume.index]) == ("1.0.0", volume)
    with open_layer(scan, volume) as source:
        assert source.read_at(0, len(whole) + 1) == whole
    alone = pyimount.detect(paths[0])
    assert alone[alone["0"].uuid or ""].index == "0.0"


class Failing(BytesSource):
    """Bytes of which some cannot be read; counts the reads."""

    def __init__(self, data: bytes, start: int = 0, end: int = 0) -> None:
        super().__init__(data)
        self.start, self.end, self.reads = start, end, 0

    def _read(self, offset: int, length: int) -> bytes:
        self.reads += 1
        if offset < self.end and self.start < offset + length:
            raise ReadError("a bad sector")
        return super()._read(offset, length)


@pytest.mark.parametrize(
    "name", ["raid1-3", "raid4-0", "raid5-2", "raid6-2", "raid10-near-4-2-2", "raid10-far-3-2-1"]
)
def test_what_a_member_fails_to_read_comes_from_the_others(name: str) -> None:
    images, whole, _ = array(name)
    for number, image in enumerate(images):
        failing = Failing(image, 8192 + 3 * CHUNK, 8192 + 9 * CHUNK + 100)
        _, _, source = opened(told([*images[:number], failing, *images[number + 1 :]]))
        assert source.read_at(0, len(whole)) == whole


def test_a_read_error_without_redundancy_is_one_of_those_bytes() -> None:
    images, whole, _ = array("raid0")
    _, _, source = opened(told([Failing(images[0], 8192 + CHUNK, 8192 + 2 * CHUNK), *images[1:]]))
    with pytest.raises(ReadError, match="bad sector"):
        source.read_at(0, len(whole))
    assert source.read_at(0, 3 * CHUNK) == whole[: 3 * CHUNK]
    assert source.read_at(4 * CHUNK, 10 * CHUNK) == whole[4 * CHUNK : 14 * CHUNK]


def test_pieces_that_follow_each_other_are_read_at_once() -> None:
    images, whole, _ = array("raid0")
    sources = [Failing(image) for image in images]
    _, _, source = opened(told(sources))
    for each in sources:
        each.reads = 0
    assert source.read_at(0, len(whole)) == whole
    assert [each.reads for each in sources] == [1, 1, 1]


@pytest.mark.parametrize(("name", "missing"), [("raid5-2", (1,)), ("raid6-2", (1, 2)), ("raid6-2", (0, 3))])
def test_chunk_by_chunk_nothing_of_an_array_without_members_is_read_twice(
    name: str, missing: tuple[int, ...]
) -> None:
    images, whole, _ = array(name)
    there = [Failing(image) for number, image in enumerate(images) if number not in missing]
    _, _, source = opened(told(there))
    for each in there:
        each.reads = 0
    read = [source.read_at(at, CHUNK) for at in range(0, source.size, CHUNK)]
    assert b"".join(read) == whole[: source.size]
    stripes = -(-len(images[0]) // CHUNK)
    assert all(each.reads <= stripes for each in there)


# What happens to arrays.


def raid5(**each: dict[str, Any]) -> list[Member]:
    """A RAID 5 of four, with changed superblocks: ``_1={"events": 7}``."""
    changes = {int(name[1:]): facts for name, facts in each.items()}
    areas = with_parity(PARITY_DATA, 5, 2)
    if 1 in changes:
        # So that its use is seen.
        areas[1] = bytes(len(areas[1]))
    return told(members(areas, level=5, layout=2, each=changes))


@pytest.mark.parametrize(("events", "stale"), [(42, ()), (41, ()), (40, (11,)), (0, (11,))])
def test_how_far_behind_a_member_may_be(events: int, stale: tuple[int, ...]) -> None:
    assembly, volume, source = opened(raid5(_1={"events": events}))
    assert assembly.stale == stale
    assert assembly.complete is not bool(stale)
    assert volume.details["stale"] == (["1"] if stale else [])
    # What is used of the member reads as zeros.
    assert (source.read_at(0, source.size) == PARITY_DATA) is bool(stale)


def test_a_member_that_the_newest_calls_faulty_is_stale_however_close() -> None:
    failed = {"roles": (0, 0xFFFE, 2, 3)}
    there = raid5(_0=failed, _1={"events": 41}, _2=failed, _3=failed)
    assembly, _, source = opened(there)
    assert assembly.stale == (11,)
    assert source.read_at(0, source.size) == PARITY_DATA


def test_halves_that_went_on_alone_are_not_mixed() -> None:
    images = members(
        [b"a" * 65536, b"b" * 65536], level=1, layout=0, each={0: {"roles": (0,)}, 1: {"roles": (0xFFFE, 1)}}
    )
    assembly, volume, source = opened(told(images))
    # Neither is older than the other.
    assert (assembly.complete, assembly.stale, assembly.unused) == (False, (), (11,))
    assert volume.members == (10,)
    assert codes(assembly) == ["ambiguous", "missing-member"]
    assert source.read_at(0, 10) == b"a" * 10


def test_a_wrong_checksum_does_not_decide_which_is_newest() -> None:
    assembly, volume, source = opened(raid5(_1={"events": 1 << 40, "sb_csum": 1}))
    assert volume.members == (10, 12, 13)
    assert "copies-differ" in codes(assembly)
    assert source.read_at(0, source.size) == PARITY_DATA


def test_a_member_of_another_geometry_is_not_used() -> None:
    assembly, volume, source = opened(raid5(_1={"chunksize": 4}))
    assert volume.members == (10, 12, 13)
    assert codes(assembly) == ["copies-differ", "missing-member"]
    assert source.read_at(0, source.size) == PARITY_DATA


@pytest.mark.parametrize("recovered", [0, 1, 2, 7, 30])
def test_a_member_is_trusted_as_far_as_it_is_rebuilt(recovered: int) -> None:
    areas = with_parity(PARITY_DATA, 5, 2)
    areas[1] = areas[1][: recovered * 512] + bytes(len(areas[1]) - recovered * 512)
    images = members(areas, level=5, layout=2, each={1: {"feature_map": 2, "recovery_offset": recovered}})
    assembly, volume, source = opened(told(images))
    assert (assembly.complete, volume.details["recovering"]) == (False, ["1"])
    assert source.read_at(0, source.size) == PARITY_DATA
    # Where it has to stand in for another, it does so only up to there.
    _, _, source = opened(told([b"", *images[1:]]))
    stripes = recovered * 512 // CHUNK * 3 * CHUNK
    assert source.read_at(0, stripes) == PARITY_DATA[:stripes]
    with pytest.raises(ReadError):
        source.read_at(0, source.size)


def test_a_mirror_that_is_being_rebuilt_alone() -> None:
    data = content(64 * CHUNK)
    images = members([data] * 2, level=1, layout=0, each={1: {"feature_map": 2, "recovery_offset": 8}})
    _, _, source = opened(told([b"", images[1]]))
    assert source.read_at(0, 4096) == data[:4096]
    with pytest.raises(ReadError, match="no valid data"):
        source.read_at(0, 4097)


def test_write_mostly_members_are_read_last() -> None:
    images = members([b"a" * 65536, b"b" * 65536], level=1, layout=0, each={0: {"devflags": 1}})
    _, volume, source = opened(told(images))
    assert volume.details["write_mostly"] == ["0"]
    assert source.read_at(0, 3) == b"bbb"


@pytest.mark.parametrize("role", [0xFFFF, 0xFFFE, 0xFFFD])
def test_spares_faulty_and_journal_devices_are_no_members(role: int) -> None:
    areas = with_parity(PARITY_DATA, 5, 2)
    images = members([*areas, areas[0]], level=5, layout=2, raid_disks=4, roles=(0, 1, 2, 3, role))
    assembly, volume, _ = opened(told(images))
    assert (assembly.complete, volume.members, codes(assembly)) == (True, (10, 11, 12, 13), [])
    assembly = md.assemble(told(images)[4:])
    assert (assembly.complete, codes(assembly)) == (False, ["missing-member"])
    assert not assembly.volumes[0].readable


def test_an_array_that_was_not_stopped_cleanly_says_so_where_parity_is_needed() -> None:
    dirty = {f"_{number}": {"resync_offset": 0} for number in (0, 2, 3)}
    assembly, _, _ = opened(told(members(with_parity(PARITY_DATA, 5, 2), level=5, layout=2, resync_offset=0)))
    assert codes(assembly) == []
    assembly, volume, _ = opened([member for member in raid5(**dirty) if member.id != 11])
    assert "not stopped cleanly" in volume.problems[0].message


@pytest.mark.parametrize(("resync", "said"), [(0, True), (None, False)])
def test_a_mirror_whose_copies_were_not_made_to_agree_says_so_where_one_is_missing(
    resync: int | None, said: bool
) -> None:
    facts: dict[str, Any] = {} if resync is None else {"resync_offset": resync}
    data = content(64 * CHUNK)
    _, volume, _ = opened(told(members([data, data], level=1, layout=0, **facts))[1:])
    assert ("not stopped cleanly" in volume.problems[0].message) is said


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"feature_map": 4, "reshape_position": 512, "new_level": 6}, "reshaped"),
        ({"feature_map": 4, "reshape_position": 512, "delta_disks": 4}, "reshaped"),
        ({"level": 70}, "level 70"),
        ({"level": -4}, "multipath"),
        ({"level": -5}, "faulty"),
    ],
)
def test_what_is_not_read_is_named(changed: dict[str, Any], words: str) -> None:
    images = members(with_parity(PARITY_DATA, 5, 2), **{"level": 5, "layout": 2, **changed})
    assembly = md.assemble(told(images))
    (volume,) = assembly.volumes
    assert (volume.readable, assembly.complete, codes(assembly)) == (False, False, ["unsupported"])
    assert words in volume.problems[0].message


# RAID 0 and linear without members: what can be read still is.


def test_a_chain_is_read_up_to_the_first_missing_member() -> None:
    images, whole, _ = array("linear-1.2")
    assembly, volume, source = opened(told([*images[:1], b"", *images[2:]]))
    assert (volume.size, codes(assembly)) == (LINEAR[0], ["missing-member", "truncated"])
    assert source.read_at(0, source.size) == whole[: LINEAR[0]]
    assert not md.assemble(told([b"", *images[1:]])).volumes[0].readable


def test_a_striped_array_without_a_member_is_read_between() -> None:
    images, whole, _ = array("raid0")
    assembly, volume, source = opened(told([images[0], b"", images[2]]))
    assert (volume.size, codes(assembly)) == (len(whole), ["missing-member", "ambiguous"])
    for number in range(len(whole) // CHUNK):
        place = slice(number * CHUNK, (number + 1) * CHUNK)
        if number % 3 == 1:
            with pytest.raises(ReadError, match="member 1"):
                source.read_at(place.start, CHUNK)
        else:
            assert source.read_at(place.start, CHUNK) == whole[place]


def test_several_zones_without_a_layout_are_ambiguous() -> None:
    areas = striped(content(sum(UNEVEN)), UNEVEN)
    assembly, _, source = opened(told(members(areas, level=0, layout=0, size=0)))
    assert codes(assembly) == ["ambiguous"]
    assert source.read_at(0, source.size) == content(sum(UNEVEN))
    # One zone has only one layout, and so has a second that lies on a single device.
    areas = striped(content(128 * CHUNK), (32 * CHUNK, 96 * CHUNK))
    assembly, _, source = opened(told(members(areas, level=0, layout=0, size=0)))
    assert codes(assembly) == []
    assert source.read_at(0, source.size) == content(128 * CHUNK)


# Hostile superblocks.


@pytest.mark.parametrize(
    "changed",
    [
        {"raid_disks": 0}, {"raid_disks": 0xFFFFFFFF}, {"raid_disks": 1}, {"layout": 6}, {"layout": 21},
        {"layout": 0xFFFFFFFF}, {"chunksize": 0}, {"size": (1 << 64) - 1}, {"size": 0},
        {"level": 10, "layout": 0}, {"level": 10, "layout": 0x105}, {"level": 10, "layout": 0x80201},
        {"level": 10, "layout": 0x103}, {"level": 6, "raid_disks": 2}, {"level": 6, "layout": 7},
        {"level": 0, "size": 0, "data_size": 0}, {"level": 1, "size": 1 << 62},
    ],
)  # fmt: skip
def test_figures_that_cannot_be_true_are_refused(changed: dict[str, Any]) -> None:
    images = members(
        with_parity(PARITY_DATA, 5, 2)[:2], **{"level": 5, "layout": 2, "raid_disks": 2, **changed}
    )
    (volume,) = md.assemble(told(images)).volumes
    assert not volume.readable
    assert volume.problems[-1].code.value in ("damaged", "unsupported")


def test_data_beyond_the_end_is_a_read_error() -> None:
    images = members([bytes(65536)] * 2, level=1, layout=0, size=1 << 40, data_size=1 << 40)
    _, volume, source = opened(told(images))
    assert volume.size == 1 << 49
    assert source.read_at(0, 65536) == bytes(65536)
    for offset in (65536, 1 << 48):
        with pytest.raises(ReadError):
            source.read_at(offset, 512)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(ARRAYS)), edits(256), st.integers(0, 3), st.booleans())
def test_any_superblock_gives_an_array_or_says_why_not(
    name: str, changes: list[Edit], which: int, all_of_them: bool
) -> None:
    images = list(array(name).images)
    for number in range(len(images)):
        if all_of_them or number == which % len(images):
            at = images[number].find(MAGIC_LITTLE)
            images[number] = images[number][:at] + edited(images[number][at:], changes)
    try:
        there = told(images)
    except (NotThisFormat, ShortRead):
        return
    groups: dict[str, list[Member]] = {}
    for member in there:
        groups.setdefault(member.membership.uuid, []).append(member)
    for group in groups.values():
        for volume in md.assemble(group).volumes:
            if not volume.readable:
                assert volume.problems
                continue
            json.dumps(volume.parameters)
            source = md.open_mapped(volume.parameters, by_members(group, volume.members))
            assert 0 < source.size == volume.size < 1 << 63
            for offset in (0, source.size // 2, max(0, source.size - 4096)):
                try:
                    assert len(source.read_at(offset, 4096)) == min(4096, source.size - offset)
                except ReadError:
                    continue


# The second opinion.

MULTI_ZONE = ("raid0-original", "raid0-alternate")  # dissect 3.18 looks for the first device in every zone
OLD = ("linear-0.90", "raid1-0.90-big", "raid5-0.90-big")  # levels below 0, and the other byte order


@pytest.mark.parametrize("name", [name for name in ARRAYS if name not in (*MULTI_ZONE, *OLD)])
def test_dissect_reads_the_same(name: str) -> None:
    """Chunk by chunk: what dissect.volume 3.18 reads of several at once is too long.

    The size that it gives is that of one member, and it reads no array that lacks one.
    """
    from io import BytesIO

    from dissect.volume.md import MD

    images, whole, _ = array(name)
    (configuration,) = MD([BytesIO(image) for image in images]).configurations
    (disk,) = configuration.virtual_disks
    _, _, source = opened(told(images))
    for at in range(0, min(disk.size, len(whole)), CHUNK):
        stream = disk.open()
        stream.seek(at)
        assert stream.read(CHUNK) == source.read_at(at, CHUNK)


def test_far_copies_within_sets_of_devices() -> None:
    # drivers/md/raid10.c, __raid10_find_phys: sets of near times far devices, the last with what is over.
    layout = Raid10Layout(0x40201, CHUNK, 4, 8 * CHUNK)
    assert [[slot for slot, _ in layout.copies(number)] for number in range(4)] == [
        [0, 1],
        [1, 0],
        [2, 3],
        [3, 2],
    ]
    assert list(layout.copies(5)) == [(1, CHUNK), (0, 5 * CHUNK)]
    layout = Raid10Layout(0x40201, CHUNK, 5, 8 * CHUNK)
    copies = [[slot for slot, _ in layout.copies(number)] for number in range(5)]
    assert copies == [[0, 1], [1, 0], [2, 3], [3, 4], [4, 2]]
