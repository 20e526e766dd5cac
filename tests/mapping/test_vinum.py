"""vinum volumes: each organisation, mirrored or not, with drives missing or not up."""

from io import BytesIO
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.recipes.vinum import LENGTH, STRIPE, configuration, drive
from pyimount.mapping import vinum
from pyimount.parsers.volumes.vinum import FORMAT
from pyimount.problems import Code
from pyimount.sources.errors import ReadError
from tests.mapping.md_members import striped, with_parity
from tests.mapping.volume_members import assembled, codes, content, members_of, opened

NAMES = "abcdef"


def drives(
    org: str,
    areas: list[bytes],
    plexes: int = 1,
    state: str = "up",
    updated: int = 1700000000,
    *,
    drive_size: int = 0,
) -> list[bytearray]:
    names = NAMES[: len(areas)]
    said = configuration(org, plexes, names, state)
    return [drive(name, said, area, updated, drive_size) for name, area in zip(names, areas, strict=True)]


def read(images: list[bytearray]) -> bytes | None:
    assembly, members = assembled(FORMAT, vinum, images)
    try:
        return opened(vinum, assembly.volumes[0], members).read_at(0, assembly.volumes[0].size)
    except ReadError:
        return None


def test_concatenated() -> None:
    data = content(2 * LENGTH)
    images = drives("concat", [data[:LENGTH], data[LENGTH:]])
    assert read(images) == data
    assembly, members = assembled(FORMAT, vinum, images[1:])
    assert (assembly.complete, codes(assembly.volumes[0])) == (False, [Code.MISSING_MEMBER])
    assert opened(vinum, assembly.volumes[0], members).read_at(LENGTH, LENGTH) == data[LENGTH:]


def test_striped() -> None:
    data = content(3 * LENGTH)
    images = drives("striped", striped(data, [LENGTH] * 3, STRIPE))
    assembly, _ = assembled(FORMAT, vinum, images)
    assert (assembly.complete, assembly.volumes[0].name, assembly.volumes[0].size) == (
        True,
        "vol",
        3 * LENGTH,
    )
    assert read(images) == data
    assert read(images[:2]) is None


def test_raid5_whole_and_with_every_drive_missing() -> None:
    data = content(3 * LENGTH)
    images = drives("raid5", with_parity(data, 5, 0, STRIPE))
    assert read(images) == data
    for count in (1, 2):
        for lost in combinations(range(4), count):
            left = [image for at, image in enumerate(images) if at not in lost]
            assert read(left) == (data if count == 1 else None)


def test_a_mirror_of_stripes_with_a_loss_on_either_side() -> None:
    """No plex is whole, and between them the two have every stripe."""
    data = content(2 * LENGTH)
    halves = striped(data, [LENGTH] * 2, STRIPE)
    images = drives("striped", [*halves, *halves], plexes=2)
    for lost, expected in (((0, 3), data), ((1, 2), data), ((0, 2), None), ((0, 1), data), ((), data)):
        left = [image for at, image in enumerate(images) if at not in lost]
        assert read(left) == expected, lost
        assembly, _ = assembled(FORMAT, vinum, left)
        for problem in assembly.volumes[0].problems:
            assert ("cannot be read" in problem.message) == (expected is None)


def test_a_subdisk_that_is_not_up_is_used_only_where_there_is_no_other() -> None:
    data = content(LENGTH)
    said = configuration("concat", 2, "ab").replace(
        b"plexoffset 0s state up", b"plexoffset 0s state stale", 1
    )
    images = [drive("a", said, bytes(LENGTH)), drive("b", said, data)]
    assembly, members = assembled(FORMAT, vinum, images)
    assert opened(vinum, assembly.volumes[0], members).read_at(0, LENGTH) == data
    assert codes(assembly.volumes[0]) == [Code.DAMAGED]
    alone = drives("concat", [data], state="down")
    assembly, members = assembled(FORMAT, vinum, alone)
    assert opened(vinum, assembly.volumes[0], members).read_at(0, LENGTH) == data
    assert "used all the same" in assembly.volumes[0].problems[0].message


def test_the_newest_configuration_counts() -> None:
    data = content(2 * LENGTH)
    old = drive("a", configuration("concat", 1, "a"), data[:LENGTH], 1600000000)
    images = drives("concat", [data[:LENGTH], data[LENGTH:]])
    assert read([old, images[1]]) == data


@pytest.mark.parametrize(
    "change",
    [
        (b"plexoffset 0s", b"plexoffset 999999999999999999s"), (b"len 128s", b"len 7s"),
        (b"org raid5 32s", b"org raid5 0s"), (b"org raid5", b"org disorg"), (b"drive a", b"drive"),
        (b"plex vol.p0", b"plex other"), (b"driveoffset 265s", b"driveoffset 1s"),
        (b"len 128s", b"len 999999999999999999g"), (b"org raid5 32s", b"org raid5 999999999g"),
        (b"volume vol", b"volume"),
    ],
)  # fmt: skip
def test_configurations_that_contradict_themselves(change: tuple[bytes, bytes]) -> None:
    said = configuration("raid5", 1, "abc").replace(*change)
    assembly, members = assembled(FORMAT, vinum, [drive(name, said) for name in "abc"])
    for volume in assembly.volumes:
        if volume.readable:
            source = vinum.open_mapped(volume.parameters, [members[at].source for at in volume.members])
            assert len(source.read_at(0, 4096)) <= 4096


_WORDS = st.sampled_from((
    "a", "b", "c", "volume", "plex", "sd", "name", "vol", "vol.p0", "org", "striped", "raid5", "concat",
    "32s", "0s", "drive", "len", "128s", "driveoffset", "265s", "plexoffset", "state", "up", "stale",
    "99999999999999g",
))  # fmt: skip


@given(st.lists(st.lists(_WORDS, max_size=16).map(" ".join), max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_words_give_an_assembly(lines: list[str]) -> None:
    said = "\n".join([configuration("striped", 1, "ab").decode(), *lines]).encode()
    members = members_of(FORMAT, [drive(name, said) for name in "ab"])
    for volume in vinum.assemble(members).volumes:
        if volume.readable:
            source = vinum.open_mapped(volume.parameters, [members[at].source for at in volume.members])
            try:
                source.read_at(0, 65536)
            except ReadError:
                continue


HALVES = striped(content(2 * LENGTH), [LENGTH] * 2, STRIPE)
BOTH_READ: dict[str, tuple[str, list[bytes], int]] = {
    "concatenated": ("concat", [content(2 * LENGTH)[:LENGTH], content(2 * LENGTH)[LENGTH:]], 1),
    "striped": ("striped", striped(content(3 * LENGTH), [LENGTH] * 3, STRIPE), 1),
    "raid5": ("raid5", with_parity(content(3 * LENGTH), 5, 0, STRIPE), 1),
    "mirrored": ("concat", [content(LENGTH)] * 2, 2),
    "mirrored stripes": ("striped", [*HALVES, *HALVES], 2),
}


@pytest.mark.parametrize(("org", "areas", "plexes"), BOTH_READ.values(), ids=BOTH_READ)
def test_dissect_reads_the_same(org: str, areas: list[bytes], plexes: int) -> None:
    """Of drives that one subdisk fills: dissect.volume 3.18 takes a drive's size for the subdisk's."""
    from dissect.volume.vinum.vinum import Vinum

    images = drives(org, areas, plexes, drive_size=LENGTH)
    (configuration,) = Vinum([BytesIO(bytes(image)) for image in images]).configurations
    (theirs,) = configuration.virtual_disks
    assembly, members = assembled(FORMAT, vinum, images)
    (volume,) = assembly.volumes
    assert (volume.name, volume.size) == (theirs.name, theirs.size)
    source = opened(vinum, volume, members)
    for at in range(0, volume.size, STRIPE):
        stream = theirs.open()
        stream.seek(at)
        assert stream.read(STRIPE) == source.read_at(at, STRIPE)
