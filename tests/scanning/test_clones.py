"""Clones and copies: members of one group id told apart, over every type of group."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyimount import detect, open_volume
from pyimount.formats import Membership
from pyimount.layers import Scan, VolumeLayer
from pyimount.mapping.assembly import Member
from pyimount.scanning.clones import MemberSet, coherent_sets
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.source import BytesSource
from tests.kept import put
from tests.mapping.lvm2_groups import EXTENT, group_text, linear, lv_text, pv_image, pv_text
from tests.mapping.md_members import content, copied, members, striped, with_parity

KIB = 1 << 10
SIZE = 192 * KIB


# The rule itself.


def member(
    number: int,
    identity: str | None,
    as_of: tuple[int, ...] = (),
    within: tuple[int, ...] = (),
    *,
    data: bytes = b"",
    wanted: int | None = 2,
) -> Member:
    """A member whose bytes are its own unless ``data`` is given."""
    membership = Membership(type="t", uuid="g", members=wanted, identity=identity, as_of=as_of)
    source = BytesSource(data or str(number).encode())
    return Member(
        id=100 + number, index=str(number), membership=membership, details={}, source=source,
        within=within or (number,),
    )  # fmt: skip


def sets(found: Sequence[MemberSet]) -> list[list[int]]:
    return [[each.id - 100 for each in one.members] for one in found]


def doubts(found: Sequence[MemberSet]) -> list[list[int]]:
    return [[each.id - 100 for each in one.doubtful] for one in found]


def test_members_that_are_there_once_stay_together_whatever_their_state() -> None:
    found = coherent_sets([member(0, "a", (5,)), member(1, "b", (900,)), member(2, None)])
    assert sets(found) == [[0, 1, 2]]


def test_members_of_one_count_with_other_contents_are_of_two_machines() -> None:
    """Each is there once, and all the same they were never written together."""
    found = coherent_sets([member(0, "a", (5, 1)), member(1, "b", (5, 2))])
    assert (sets(found), doubts(found)) == ([[0], [1]], [[], []])
    assert [[each.id - 100 for each in one.foreign] for one in found] == [[1], [0]]
    three = [member(number, name, (5, number % 2), wanted=3) for number, name in enumerate("abc")]
    assert sets(coherent_sets(three)) == [[0, 2], [1]]
    # A count alone, or two counts, contradict nothing.
    assert sets(coherent_sets([member(0, "a", (5,)), member(1, "b", (5,))])) == [[0, 1]]
    assert sets(coherent_sets([member(0, "a", (5, 1)), member(1, "b", (6, 2))])) == [[0, 1]]
    assert sets(coherent_sets([member(0, "a", (5, 1)), member(1, "b", ())])) == [[0, 1]]


def test_what_lies_in_one_image_belongs_together() -> None:
    one = [member(0, "a", (5,), (1, 2)), member(1, "b", (5,), (1, 3))]
    other = [member(2, "a", (5,), (6, 2)), member(3, "b", (5,), (6, 3))]
    for order in permutations(one + other):
        assert sets(coherent_sets(sorted(order, key=lambda each: each.id))) == [[0, 1], [2, 3]]


def test_guests_of_one_host_are_told_apart_by_the_volume_they_lie_in() -> None:
    guests = [
        member(0, "a", (5,), (1, 2, 3)), member(1, "b", (5,), (1, 2, 3)),
        member(2, "a", (5,), (1, 2, 4)), member(3, "b", (5,), (1, 2, 4)),
        member(4, "a", (5,), (9,)), member(5, "b", (5,), (9,)),
    ]  # fmt: skip
    assert sets(coherent_sets(guests)) == [[0, 1], [2, 3], [4, 5]]


def test_the_same_place_twice_is_no_help() -> None:
    found = coherent_sets([member(0, "a", (5,), (1,)), member(1, "a", (5,), (1,)), member(2, "b", (5,))])
    assert (sets(found), doubts(found)) == ([[0], [1], [2]], [[2], [2], [0, 1]])


def test_what_was_written_together_belongs_together() -> None:
    mixed = [member(0, "a", (5, 1)), member(1, "b", (5, 2)), member(2, "a", (5, 2)), member(3, "b", (5, 1))]
    assert sets(coherent_sets(mixed)) == [[0, 3], [1, 2]]
    assert doubts(coherent_sets(mixed)) == [[], []]


def test_superblocks_are_written_one_after_the_other() -> None:
    mixed = [member(0, "a", (100,)), member(1, "b", (101,)), member(2, "a", (200,)), member(3, "b", (200,))]
    assert sets(coherent_sets(mixed)) == [[0, 1], [2, 3]]


def test_one_that_fell_behind_goes_with_the_only_one_that_lacks_it() -> None:
    mixed = [member(0, "a", (100,)), member(1, "b", (40,)), member(2, "a", (200,)), member(3, "b", (200,))]
    assert sets(coherent_sets(mixed)) == [[0, 1], [2, 3]]


def test_what_cannot_be_told_apart_stays_alone_and_says_so() -> None:
    alike = [member(0, "a", (5,)), member(1, "b", (5,)), member(2, "a", (5,)), member(3, "b", (5,))]
    found = coherent_sets(alike)
    assert sets(found) == [[0], [1], [2], [3]]
    assert doubts(found) == [[1, 3], [0, 2], [1, 3], [0, 2]]


def test_copies_with_the_same_bytes_make_a_set_each() -> None:
    found = coherent_sets(
        [
            member(0, "a", (5,), data=b"a"), member(1, "b", (5,), data=b"b"),
            member(2, "a", (5,), data=b"a"), member(3, "b", (5,), data=b"b"),
        ]
    )  # fmt: skip
    assert (sets(found), doubts(found)) == ([[0, 1], [2, 3]], [[], []])


def test_a_copy_too_many_is_left_out() -> None:
    found = coherent_sets(
        [member(0, "a", (5,), data=b"a"), member(1, "a", (5,), data=b"a"), member(2, "b", (5,), data=b"b")]
    )
    assert (sets(found), [each.id for each in found[0].copies]) == ([[0, 2]], [101])


def test_members_without_an_identity_are_never_more_than_there_can_be() -> None:
    found = coherent_sets([member(number, None, (5 + number // 2,)) for number in range(4)])
    assert sets(found) == [[0, 1], [2, 3]]
    found = coherent_sets([member(number, None, (5,)) for number in range(3)])
    assert sets(found) == [[0], [1], [2]]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.integers(0, 3), st.lists(st.integers(1, 2), min_size=1, max_size=3)
        ),
        min_size=1,
        max_size=9,
    )
)
def test_every_member_is_in_one_set_and_none_is_in_it_twice(drawn: list[tuple[str, int, list[int]]]) -> None:
    every = [
        member(number, identity, (state,), tuple(within), wanted=3)
        for number, (identity, state, within) in enumerate(drawn)
    ]
    found = coherent_sets(every)
    there = [each.id for one in found for each in (*one.members, *one.copies)]
    assert sorted(there) == [each.id for each in every]
    for one in found:
        names = [each.membership.identity for each in one.members]
        assert len(names) == len(set(names)) <= 3


# Images.


def written(folder: Path, **images: bytes | bytearray) -> list[Path]:
    for name, image in images.items():
        (folder / name).write_bytes(image)
    return [folder / name for name in images]


def exports(scan: Scan) -> Iterator[tuple[VolumeLayer, str | None]]:
    """What arrays and groups made up, with the digests of their bytes; None where these lack some."""
    for volume in scan.volumes:
        if volume.mapping and not volume.hidden and volume.recipe.kind != "none":
            with open_volume(scan, volume.index) as file:
                try:
                    digest = sha256(file.read()).hexdigest()
                except (OSError, ReadError):
                    digest = None
            yield volume, digest


def codes(scan: Scan) -> set[str]:
    return {problem.code.value for _, problem in scan.all_problems()}


def checked(scan: Scan) -> None:
    """What holds of every group, whatever was given."""
    for volume in scan.volumes:
        if volume.group is not None and volume.group.members is not None:
            assert volume.group.present <= volume.group.members
        if volume.mapping:
            first = scan.parents(volume)[0]
            assert isinstance(first, VolumeLayer)
            assert set(volume.parents) <= {each.id for each in scan.members(first)}


def machine(word: bytes, level: int, **facts: Any) -> tuple[bytes, list[bytes]]:
    """The content of an array of one machine, and its members."""
    data = (word * (SIZE // len(word) + 1))[:SIZE]
    if level == 0:
        facts |= {"layout": 2, "feature_map": 0x1000, "size": 0}
        return data, members(striped(data, [SIZE // 2, SIZE // 2]), level=0, **facts)
    if level == 1:
        return data, members([data, data], level=1, layout=0, **facts)
    return data, members(with_parity(data, 5, 2), level=5, layout=2, **facts)


@pytest.mark.parametrize("level", [0, 1, 5])
def test_arrays_of_two_machines_that_went_on_each_for_itself(level: int, tmp_path: Path) -> None:
    one, ones = machine(b"machine a block ", level, events=100)
    other, others = machine(b"machine b block ", level, events=200)
    mixed = [image for pair in zip(ones, reversed(others), strict=True) for image in pair]
    scan = detect(written(tmp_path, **{str(number): image for number, image in enumerate(mixed)}))
    checked(scan)
    # Each stands under the disk that holds it, and says whose clone its members are.
    assert {found.index: digest for found, digest in exports(scan)} == {
        "1.0.0": sha256(one).hexdigest(), "2.0.0": sha256(other).hexdigest(),
    }  # fmt: skip
    assert scan["1.0"].group is not None
    assert scan["1.0"].group.copies == (f"{len(mixed)}.0",)
    assert not codes(scan)


def test_arrays_that_nothing_tells_apart_are_not_mixed(tmp_path: Path) -> None:
    _, ones = machine(b"machine a block ", 0)
    _, others = machine(b"machine b block ", 0)
    scan = detect(written(tmp_path, a0=ones[0], b1=others[1], a1=ones[1], b0=others[0]))
    checked(scan)
    assert {"ambiguous", "missing-member"} <= codes(scan)
    assert "stale-member" not in codes(scan)
    assert [len(volume.parents) for volume in scan.volumes if volume.mapping] == [1] * 4


def test_mirrors_that_nothing_tells_apart_are_each_read(tmp_path: Path) -> None:
    one, ones = machine(b"machine a block ", 1)
    other, others = machine(b"machine b block ", 1)
    scan = detect(written(tmp_path, a0=ones[0], b1=others[1], a1=ones[1], b0=others[0]))
    checked(scan)
    digests = [digest for _, digest in exports(scan)]
    assert digests == [sha256(each).hexdigest() for each in (one, other, one, other)]
    assert "ambiguous" in codes(scan)


@pytest.mark.parametrize("level", [0, 1, 5])
def test_an_array_that_was_imaged_twice(level: int, tmp_path: Path) -> None:
    data, images = machine(b"one machine ", level)
    twice = {f"{name}{number}": image for name in "ab" for number, image in enumerate(images)}
    scan = detect(written(tmp_path, **twice))
    checked(scan)
    assert [digest for _, digest in exports(scan)] == [sha256(data).hexdigest()] * 2
    assert all(volume.group is None or len(volume.group.copies) == 1 for volume in scan.volumes)


def test_one_disk_of_an_array_that_was_imaged_twice(tmp_path: Path) -> None:
    data, images = machine(b"one machine ", 5)
    scan = detect(
        written(tmp_path, a0=images[0], again=images[0], **dict(zip("bcd", images[1:], strict=True)))
    )
    checked(scan)
    assert [digest for _, digest in exports(scan)] == [sha256(data).hexdigest()]
    assert [problem.code for problem in scan["2.0"].problems] == ["ambiguous"]
    assert scan["1.0"].group is not None
    assert (scan["1.0"].group.complete, scan["1.0"].group.copies) == (True, ("2.0",))


def test_a_spare_is_no_member_of_the_array(tmp_path: Path) -> None:
    data = content(SIZE)
    facts = {"roles": (0, 1), "dev_number": 9, "device_uuid": b"spare".ljust(16, b"-")}
    spare = members([data], level=1, layout=0, raid_disks=2, each={0: facts})
    pair = members([data, data], level=1, layout=0)
    scan = detect(written(tmp_path, spare=spare[0], a=pair[0], b=pair[1]))
    checked(scan)
    assert [volume.index for volume in scan.volumes if volume.mapping] == ["2.0.0"]
    assert scan["1.0"].group is not None
    assert scan["1.0"].group.present == 2


def lvm(number: int, word: bytes, seqno: int = 5, more: str = "") -> bytearray:
    """A physical volume of a group of two, whose logical volume says ``word``."""
    volumes = [lv_text("one", [linear(1, "pv0", 0), linear(1, "pv1", 0, start=1)])]
    image = pv_image(number, group_text(volumes, [pv_text(0, more), pv_text(1)], seqno=seqno))
    put(image, 2 << 20, (word * EXTENT)[:EXTENT])
    return image


def volume(word: bytes) -> str:
    """The digest of the logical volume that says so."""
    return sha256((word * EXTENT)[:EXTENT] * 2).hexdigest()


@pytest.mark.parametrize(("seqno", "more"), [(7, ""), (5, 'tags = ["changed"]')])
def test_volume_groups_of_two_machines(seqno: int, more: str, tmp_path: Path) -> None:
    a = [lvm(number, b"machine a!") for number in (0, 1)]
    b = [lvm(number, b"machine b!", seqno, more) for number in (0, 1)]
    scan = detect(written(tmp_path, a0=a[0], b1=b[1], a1=a[1], b0=b[0]))
    checked(scan)
    assert {found.index: digest for found, digest in exports(scan)} == {
        "1.0.0": volume(b"machine a!"), "2.0.0": volume(b"machine b!"),
    }  # fmt: skip
    assert not codes(scan)


def test_volume_groups_that_nothing_tells_apart(tmp_path: Path) -> None:
    a, b = ([lvm(number, word) for number in (0, 1)] for word in (b"machine a!", b"machine b!"))
    scan = detect(written(tmp_path, a0=a[0], b1=b[1], a1=a[1], b0=b[0]))
    checked(scan)
    assert "ambiguous" in codes(scan)
    assert {(len(scan.members(part)), digest) for part, digest in exports(scan)} == {(1, None)}


def test_one_disk_each_of_two_volume_groups(tmp_path: Path) -> None:
    """LVM writes one text to all physical volumes: two texts of one sequence number are of two machines."""
    a, b = lvm(0, b"machine a!"), lvm(1, b"machine b!", more='tags = ["changed"]')
    scan = detect(written(tmp_path, a0=a, b1=b))
    checked(scan)
    assert codes(scan) >= {"ambiguous", "missing-member"}
    assert {digest for _, digest in exports(scan)} == {None}


def test_a_disk_that_was_imaged_long_before_the_others_says_so(tmp_path: Path) -> None:
    # A commit writes one number to all; where they differ LVM says so, too ("inconsistent metadata").
    for behind, said in ((1, {"copies-differ"}), (4, {"copies-differ"})):
        a, b = lvm(0, b"machine a!", 9 - behind), lvm(1, b"machine a!", 9, 'tags = ["changed"]')
        scan = detect(written(tmp_path, a0=a, b1=b))
        assert codes(scan) == said
        assert {problem.code.value for problem in scan["1.0"].problems} == said


@pytest.mark.parametrize("level", [0, 1])
def test_one_disk_each_of_two_arrays(level: int, tmp_path: Path) -> None:
    """The kernel writes the events and the time to all members at once."""
    one, ones = machine(b"machine a block ", level, events=100, utime=1700000000)
    other, others = machine(b"machine b block ", level, events=100, utime=1700000050)
    scan = detect(written(tmp_path, a0=ones[0], b1=others[1]))
    checked(scan)
    assert codes(scan) >= {"ambiguous", "missing-member"}
    wanted = [None, None] if level == 0 else [sha256(each).hexdigest() for each in (one, other)]
    assert [digest for _, digest in exports(scan)] == wanted


@pytest.mark.parametrize("level", [5, 6, 10])
def test_one_disk_imaged_later_does_not_take_the_others_away(level: int, tmp_path: Path) -> None:
    """A disk of one machine that went on beside the rest of another's: alone it holds nothing whole."""
    data = content(96 * KIB)
    if level == 10:
        ones = members(copied(data, 4, 2, 1), level=10, layout=0x102, events=7)
        others = members(copied(data[::-1], 4, 2, 1), level=10, layout=0x102, events=90)
    else:
        ones, others = (
            members(with_parity(each, level, 2), level=level, layout=2, events=events)
            for each, events in ((data, 7), (data[::-1], 90))
        )
    scan = detect(written(tmp_path, **{f"d{at}": image for at, image in enumerate([others[0], *ones[1:]])}))
    checked(scan)
    assert [(found.index, digest) for found, digest in exports(scan)] == [("2.0.0", sha256(data).hexdigest())]
    assert codes(scan) == {"copies-differ", "missing-member"}


@pytest.mark.parametrize("level", [1, 4, 5, 6, 10])
def test_disks_of_two_arrays_that_only_their_contents_tell_apart(level: int, tmp_path: Path) -> None:
    """Each has its place, and all the same count and time: but they do not hold what one array does."""
    data = content(96 * KIB)

    def made(data: bytes) -> list[bytes]:
        if level == 1:
            return members([data, data], level=1, layout=0)
        if level == 10:
            return members(copied(data, 4, 2, 1), level=10, layout=0x102)
        return members(with_parity(data, level, 2 if level > 4 else 0), level=level, layout=2)

    one, other = made(data), made(data[::-1])
    whole = detect(written(tmp_path, **{f"d{at}": image for at, image in enumerate(one)}))
    assert not codes(whole)
    scan = detect(written(tmp_path, **{f"d{at}": image for at, image in enumerate([*one[:-1], other[-1]])}))
    checked(scan)
    (found,) = [volume for volume in scan.volumes if volume.mapping]
    assert "copies-differ" in [problem.code.value for problem in found.problems]
    # One that is missing says nothing of the others.
    lacking = detect(written(tmp_path, **{f"d{at}": image for at, image in enumerate(one[1:])}))
    assert "copies-differ" not in codes(lacking)


@pytest.mark.parametrize("number", [0, 1])
def test_an_older_image_of_a_disk_is_read_by_itself(number: int, tmp_path: Path) -> None:
    new = [lvm(each, b"new ") for each in (0, 1)]
    scan = detect(written(tmp_path, old=lvm(number, b"old ", seqno=4), a=new[0], b=new[1]))
    checked(scan)
    assert "stale-member" not in codes(scan)
    assert {found.index: digest for found, digest in exports(scan)} == {
        "1.0.0": None, "2.0.0": volume(b"new "),
    }  # fmt: skip


def test_mirrored_halves_with_ten(tmp_path: Path) -> None:
    data = content(60 * KIB)
    ones = members(copied(data, 4, 2, 1), level=10, layout=0x102, events=7)
    others = members(copied(data[::-1], 4, 2, 1), level=10, layout=0x102, events=9)
    mixed = [*ones[:2], *others, *ones[2:]]
    scan = detect(written(tmp_path, **{f"d{number}": image for number, image in enumerate(mixed)}))
    checked(scan)
    wanted = {sha256(each).hexdigest() for each in (data, data[::-1])}
    assert {digest for _, digest in exports(scan)} == wanted


def test_a_volume_without_bytes_says_why_when_it_is_opened(tmp_path: Path) -> None:
    data = content(64 * KIB)
    _, second = members([data[: 32 * KIB], data[32 * KIB :]], level=-1, layout=0, size=0)
    scan = detect(written(tmp_path, b=second))
    with pytest.raises(OpenError, match=r"no bytes that can be read: linear array: slot 0 is missing"):
        open_volume(scan, "0.0")
