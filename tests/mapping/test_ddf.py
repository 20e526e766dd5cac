"""DDF arrays: every level, members missing, stale and doubled, and records that contradict themselves."""

from collections.abc import Callable
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

import pyimount
from fixtures.recipes.ddf import (
    ARRAY_GUID,
    BLOCK,
    DATA,
    REFERENCES,
    STRIP,
    configuration,
    disk,
)
from pyimount.formats import NotThisFormat
from pyimount.mapping import ddf
from pyimount.mapping.assembly import Member
from pyimount.parsers.volumes.ddf import FORMAT
from pyimount.problems import Code
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.view import ShortRead
from tests.mapping.md_members import copied, striped, with_parity
from tests.mapping.volume_members import assembled, codes, content, members_of, opened
from tests.strategies import Edit, edited, edits

DISKS = len(REFERENCES)


def array(areas: list[bytes], **facts: Any) -> list[bytearray]:
    """The disks of an array with these contents; the facts are those of its configuration record."""
    references = REFERENCES[: len(areas)]
    record = configuration(references, **facts)
    return [
        disk(mine, area, references, (record,), order=facts.get("order", "big"))
        for mine, area in zip(references, areas, strict=True)
    ]


def parity(level: int, qualifier: int, layout: int, order: str = "big") -> tuple[list[bytearray], bytes]:
    disks = 5 if level == 6 else 4
    width = disks - (2 if level == 6 else 1)
    data = content(width * 15 * STRIP)
    areas = with_parity(data, 5 if level == 4 else level, layout, STRIP)
    references = (*REFERENCES, 0x55550005)[:disks]
    record = configuration(
        references, Primary_RAID_Level=level, RAID_Level_Qualifier=qualifier, VD_Size=len(data) // BLOCK,
        Block_Count=15 * STRIP // BLOCK, order=order,
    )  # fmt: skip
    images = [
        disk(mine, area, references, (record,), order=order)
        for mine, area in zip(references, areas, strict=True)
    ]
    return images, data


PARITY = {
    "raid4-first": (4, 0, 4), "raid4-last": (4, 1, 5), "raid5-0-restart": (5, 0, 1),
    "raid5-N-restart": (5, 2, 0), "raid5-N-continue": (5, 3, 2), "raid6-0-restart": (6, 1, 8),
    "raid6-N-restart": (6, 2, 9), "raid6-N-continue": (6, 3, 10),
}  # fmt: skip


@pytest.mark.parametrize("facts", PARITY.values(), ids=PARITY)
def test_parity_whole_and_with_every_loss_it_bears(facts: tuple[int, int, int]) -> None:
    images, data = parity(*facts)
    assembly, members = assembled(FORMAT, ddf, images)
    (volume,) = assembly.volumes
    assert (assembly.complete, volume.size, volume.name) == (True, len(data), "evidence")
    assert (volume.uuid, volume.problems) == (ARRAY_GUID.hex(), ())
    assert opened(ddf, volume, members).read_at(0, len(data)) == data
    for count in range(1, 3 if facts[0] == 6 else 2):
        for lost in combinations(range(len(images)), count):
            left = [image for number, image in enumerate(images) if number not in lost]
            assembly, members = assembled(FORMAT, ddf, left)
            (volume,) = assembly.volumes
            assert (assembly.complete, codes(volume)) == (False, [Code.MISSING_MEMBER])
            assert opened(ddf, volume, members).read_at(1000, len(data)) == data[1000:], lost


def test_little_endian_metadata_reads_the_same() -> None:
    images, data = parity(5, 3, 2, order="little")
    assembly, members = assembled(FORMAT, ddf, images[1:])
    assert opened(ddf, assembly.volumes[0], members).read_at(0, len(data)) == data


def test_raid0_and_what_is_lost_of_it() -> None:
    data = content(3 * DATA)
    facts = {"Primary_RAID_Level": 0, "RAID_Level_Qualifier": 0, "VD_Size": len(data) // BLOCK}
    images = array(striped(data, (DATA, DATA, DATA), STRIP), **facts)
    assembly, members = assembled(FORMAT, ddf, images)
    assert opened(ddf, assembly.volumes[0], members).read_at(0, len(data)) == data
    assembly, members = assembled(FORMAT, ddf, images[:2])
    source = opened(ddf, assembly.volumes[0], members)
    where = [
        number for number in range(3)
        if _reads(lambda at=number * STRIP: source.read_at(at, STRIP) == data[at : at + STRIP])  # type: ignore[misc]
    ]  # fmt: skip
    assert where == [0, 1]
    assert "cannot be read" in assembly.volumes[0].problems[0].message


def _reads(read: Any) -> bool:
    try:
        return bool(read())
    except ReadError:
        return False


@pytest.mark.parametrize("level", [0x0F, 0x1F])
def test_single_and_concatenated(level: int) -> None:
    data = content(2 * DATA)
    facts = {"Primary_RAID_Level": level, "RAID_Level_Qualifier": 0, "VD_Size": len(data) // BLOCK}
    assembly, members = assembled(FORMAT, ddf, array([data[:DATA], data[DATA:]], **facts))
    assert opened(ddf, assembly.volumes[0], members).read_at(0, len(data)) == data


@pytest.mark.parametrize(("qualifier", "linux"), [(0, False), (1, False), (1, True)])
def test_raid1e(qualifier: int, *, linux: bool) -> None:
    """``offset`` is what the specification says, but md's far layout where mdadm made the array."""
    images, data = raid1e(qualifier, linux=linux)
    for lost in (None, 0, 1, 2):
        assembly, members = assembled(FORMAT, ddf, [image for at, image in enumerate(images) if at != lost])
        assert opened(ddf, assembly.volumes[0], members).read_at(0, len(data)) == data


def raid1e(qualifier: int, *, linux: bool) -> tuple[list[bytearray], bytes]:
    data = content(3 * DATA // 2)
    far = {"near": 2 - qualifier, "far": 1 + qualifier, "offset": bool(qualifier) and not linux}
    areas = copied(data, 3, far["near"], far["far"], STRIP, offset=bool(far["offset"]))
    guid = b"Linux-MD".ljust(24, b"1") if linux else ARRAY_GUID
    facts = {
        "Primary_RAID_Level": 0x11, "RAID_Level_Qualifier": qualifier, "VD_Size": len(data) // BLOCK,
        "VD_GUID": guid,
    }  # fmt: skip
    return array(areas, **facts), data


def raid10() -> tuple[list[bytearray], bytes]:
    """Two mirrors, striped by the secondary level; each disk knows only the record of its own mirror."""
    data = content(2 * DATA)
    halves = striped(data, (DATA, DATA), STRIP)
    images = []
    for number in range(DISKS):
        half = number // 2
        record = configuration(
            REFERENCES[2 * half : 2 * half + 2], Primary_RAID_Level=1, RAID_Level_Qualifier=0,
            Secondary_Element_Count=2, Secondary_Element_Seq=half, Secondary_RAID_Level=3,
            VD_Size=len(data) // BLOCK,
        )  # fmt: skip
        images.append(disk(REFERENCES[number], halves[half], REFERENCES, (record,)))
    return images, data


def test_secondary_elements() -> None:
    images, data = raid10()
    for left in ((0, 1, 2, 3), (0, 2), (1, 2), (1, 3), (3, 0)):
        assembly, members = assembled(FORMAT, ddf, [images[number] for number in left])
        assert assembly.complete == (len(left) == DISKS)
        assert opened(ddf, assembly.volumes[0], members).read_at(0, len(data)) == data


def test_an_element_of_which_nothing_is_there() -> None:
    images, data = raid10()
    assembly, members = assembled(FORMAT, ddf, images[:2])
    source = opened(ddf, assembly.volumes[0], members)
    assert source.read_at(0, STRIP) == data[:STRIP]
    with pytest.raises(ReadError):
        source.read_at(STRIP, STRIP)
    assert codes(assembly.volumes[0]) == [Code.MISSING_MEMBER]


def test_striping_over_parity_is_named_and_not_guessed() -> None:
    record = configuration(
        REFERENCES[:3], Secondary_Element_Count=2, Secondary_Element_Seq=0, Secondary_RAID_Level=0
    )
    assembly, _ = assembled(FORMAT, ddf, [disk(mine, b"", REFERENCES, (record,)) for mine in REFERENCES[:3]])
    (volume,) = assembly.volumes
    assert (volume.readable, codes(volume)) == (False, [Code.UNSUPPORTED])


def test_a_disk_that_the_others_went_on_without_is_not_used() -> None:
    data = content(DATA)
    facts = {"Primary_RAID_Level": 1, "RAID_Level_Qualifier": 0, "VD_Size": DATA // BLOCK}
    references = REFERENCES[:2]
    record = configuration(references, **facts)
    old = disk(references[0], content(2 * DATA)[DATA:], references, (record,), Sequence_Number=5)
    new = disk(references[1], data, references, (record,), Sequence_Number=9, states={references[0]: 0x3})
    assembly, members = assembled(FORMAT, ddf, [old, new])
    assert (assembly.stale, assembly.complete) == ((0,), False)
    assert opened(ddf, assembly.volumes[0], members).read_at(0, DATA) == data


def test_the_newest_record_counts() -> None:
    data = content(DATA)
    images = []
    for number, (sequence, size) in enumerate(((3, DATA // 2), (4, DATA))):
        record = configuration(
            REFERENCES[:2], Primary_RAID_Level=1, RAID_Level_Qualifier=0, Sequence_Number=sequence,
            VD_Size=size // BLOCK,
        )  # fmt: skip
        images.append(disk(REFERENCES[number], data, REFERENCES[:2], (record,)))
    for each in (images, images[::-1]):
        assert assembled(FORMAT, ddf, each)[0].volumes[0].size == DATA


def test_a_second_copy_of_a_disk_is_told() -> None:
    images, data = parity(5, 3, 2)
    assembly, members = assembled(FORMAT, ddf, [images[0], *images])
    assert codes(assembly) == [Code.AMBIGUOUS]
    assert assembly.complete
    assert opened(ddf, assembly.volumes[0], members).read_at(0, len(data)) == data


@pytest.mark.parametrize(
    "facts",
    [
        {"Strip_Size": 255}, {"Strip_Size": 60}, {"Primary_Element_Count": 0},
        {"Primary_Element_Count": 0xFFFF}, {"Secondary_Element_Count": 255}, {"Primary_RAID_Level": 0x15},
        {"RAID_Level_Qualifier": 200}, {"Block_Count": (1 << 64) - 1}, {"VD_Size": (1 << 64) - 1},
        {"Block_Count": 0}, {"VD_Size": 0},
    ],
)  # fmt: skip
def test_figures_that_cannot_be(facts: dict[str, int]) -> None:
    record = configuration(REFERENCES[:3], **facts)
    images = [disk(mine, b"", REFERENCES[:3], (record,)) for mine in REFERENCES[:3]]
    assembly, members = assembled(FORMAT, ddf, images)
    for volume in assembly.volumes:
        if volume.readable:
            source = ddf.open_mapped(volume.parameters, [member.source for member in members])
            assert len(source.read_at(0, 4096)) <= 4096


@given(edits(1024))
@settings(max_examples=60, deadline=None)
def test_any_bytes_give_an_assembly(edit: list[Edit]) -> None:
    images, _ = parity(5, 3, 2)
    block = 1024 * BLOCK
    damaged = [bytearray(image) for image in images]
    for image in damaged[:2]:
        image[block : block + 8192] = edited(image[block : block + 8192], edit)
    try:
        members: list[Member] = members_of(FORMAT, damaged)
    except (NotThisFormat, ShortRead):
        return
    for volume in ddf.assemble(members).volumes:
        if volume.readable:
            source = ddf.open_mapped(volume.parameters, [members[at].source for at in volume.members])
            try:
                source.read_at(0, 65536)
            except ReadError:
                continue


def test_a_recipe_that_is_none_is_refused() -> None:
    for volume in (
        None,
        {},
        {"type": "run", "input": 3, "offset": 0, "size": 5},
        {"type": "linear", "size": 4},
    ):
        with pytest.raises(OpenError):
            ddf.open_mapped({"volume": volume, "size": 4}, [])


# The second opinion.


def _simple(level: int, disks: int) -> tuple[list[bytearray], bytes]:
    data = content(DATA if level == 1 else disks * DATA)
    facts = {"Primary_RAID_Level": level, "RAID_Level_Qualifier": 0, "VD_Size": len(data) // BLOCK}
    if level == 0:
        return array(striped(data, (DATA,) * disks, STRIP), **facts), data
    areas = [data] * disks if level == 1 else [data[at * DATA :][:DATA] for at in range(disks)]
    return array(areas, **facts), data


BOTH_READ: dict[str, Callable[[], tuple[list[bytearray], bytes]]] = {
    # dissect.volume 3.18 refuses RAID 4 with parity first, single disks, and the other byte order.
    **{name: lambda facts=facts: parity(*facts) for name, facts in PARITY.items() if name != "raid4-first"},
    "raid0": lambda: _simple(0, 3),
    "raid1": lambda: _simple(1, 2),
    "concatenated": lambda: _simple(0x1F, 2),
    # Offset copies it takes for far ones, as mdadm made them, whoever the array is of.
    "raid1e-adjacent": lambda: raid1e(0, linux=False),
    "raid10": raid10,
}


@pytest.mark.parametrize("made", BOTH_READ.values(), ids=BOTH_READ)
def test_dissect_reads_the_same(made: Callable[[], tuple[list[bytearray], bytes]]) -> None:
    """Strip by strip: of several at once it reads too much."""
    from dissect.volume.ddf.ddf import DDF

    images, data = made()
    (configuration,) = DDF([BytesIO(bytes(image)) for image in images]).configurations
    (theirs,) = configuration.virtual_disks
    assembly, members = assembled(FORMAT, ddf, images)
    (volume,) = assembly.volumes
    assert (volume.name, volume.uuid, volume.size) == (theirs.name, theirs.uuid, theirs.size)
    source = opened(ddf, volume, members)
    for at in range(0, len(data), STRIP):
        stream = theirs.open()
        stream.seek(at)
        assert stream.read(STRIP) == source.read_at(at, STRIP)


@pytest.mark.parametrize("behind", [1 << 20, 7 << 20, 31 << 20, (5 << 20) + 37 * BLOCK])
def test_an_anchor_before_the_end_is_found_by_the_records_or_whole_mebibytes_early(
    behind: int, tmp_path: Path
) -> None:
    images, data = _simple(0, 2)
    paths = []
    for number, image in enumerate(images):
        # Unused records are ones, a hundred and more KiB of them: as mdadm and controllers leave them.
        made = bytearray(image) + bytes(40 << 20)
        at = len(made) - behind - BLOCK
        made[at : at + BLOCK] = image[-BLOCK:]
        made[len(image) - BLOCK : len(image)] = bytes(BLOCK)
        made[at - (512 << 10) : at - (128 << 10)] = b"\xff" * (384 << 10)
        paths.append(tmp_path / f"{number}")
        paths[-1].write_bytes(made)
    scan = pyimount.detect(paths)
    assert [scan[index].type for index in ("1.0", "2.0")] == ["ddf_raid_member"] * 2
    with pyimount.open_volume(scan, "1.0.0") as file:
        assert file.read() == data


def test_a_disk_with_something_at_its_end_is_not_searched_for_an_anchor(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(80 << 20))
    empty = pyimount.detect(path).disks[0].bytes_read
    path.write_bytes(bytes(16 << 20))
    # A few bytes of each part of the last 32 MiB, not these.
    assert empty - pyimount.detect(path).disks[0].bytes_read < 16 << 10
