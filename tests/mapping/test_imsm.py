"""Intel RAIDs: every level, disks in any order, missing, stale, rebuilt; several volumes on one set."""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest

from pyimount import detect, open_volume
from pyimount.mapping import imsm
from pyimount.parsers.volumes.isw_raid import FORMAT
from pyimount.problems import Code
from tests.kept import kept
from tests.mapping.imsm_disks import CHUNK, Volume, disks
from tests.mapping.volume_members import assembled, codes, content, opened
from tests.parsers.partitions.building import boot, place, record

AT = 128 * 512


def disk(size: int = 2112 * CHUNK) -> bytes:
    """A disk with one partition and an ext4 in it."""
    inside = kept("ext4")
    made = bytearray(size)
    place(made, 0, boot(record(0x83, AT // 512, len(inside) // 512), signature=1))
    place(made, AT, bytes(inside))
    return bytes(made)


DATA = disk()
RAID0, RAID10, RAID5 = (
    Volume(level, DATA, slots)
    for level, slots in (("raid0", (0, 1, 2)), ("raid10", (0, 1, 2, 3)), ("raid5", (0, 1, 2, 3)))
)
LEVELS = pytest.mark.parametrize("volume", [RAID0, RAID10, RAID5], ids=lambda volume: volume.level)


@LEVELS
def test_the_contents_tell_the_order_of_the_disks(volume: Volume) -> None:
    made = disks([volume])
    for order in permutations(made):
        assembly, members = assembled(FORMAT, imsm, order)
        (mapped,) = assembly.volumes
        assert (assembly.complete, codes(assembly), codes(mapped)) == (True, [], [])
        assert opened(imsm, mapped, members).read_at(0, len(DATA)) == DATA


@LEVELS
def test_the_metadatas_slots_may_be_in_another_order(volume: Volume) -> None:
    turned = Volume(volume.level, DATA, volume.slots[::-1])
    assembly, members = assembled(FORMAT, imsm, disks([turned]))
    assert opened(imsm, assembly.volumes[0], members).read_at(0, len(DATA)) == DATA


@pytest.mark.parametrize("volume", [RAID10, RAID5], ids=lambda volume: volume.level)
@pytest.mark.parametrize("lost", range(4))
def test_a_disk_that_is_missing(volume: Volume, lost: int) -> None:
    made = disks([volume])
    del made[lost]
    assembly, members = assembled(FORMAT, imsm, made[::-1])
    (mapped,) = assembly.volumes
    assert (assembly.complete, codes(mapped)) == (False, [Code.MISSING_MEMBER])
    assert opened(imsm, mapped, members).read_at(0, len(DATA)) == DATA


@LEVELS
def test_too_few_disks(volume: Volume) -> None:
    assembly, _ = assembled(FORMAT, imsm, disks([volume])[:1])
    assert (codes(assembly), assembly.volumes[0].readable) == ([Code.MISSING_MEMBER], False)


@LEVELS
def test_contents_that_tell_nothing_are_not_read(volume: Volume) -> None:
    noise = Volume(volume.level, content(len(DATA)), volume.slots)
    assembly, _ = assembled(FORMAT, imsm, disks([noise]))
    assert (codes(assembly), assembly.volumes[0].readable) == ([Code.AMBIGUOUS], False)


def test_each_disk_of_a_mirror_has_all() -> None:
    data = content(16 * CHUNK)
    made = disks([Volume("raid1", data, (0, 1))])
    for given in (made, made[:1], made[1:]):
        assembly, members = assembled(FORMAT, imsm, given)
        (mapped,) = assembly.volumes
        assert codes(mapped) == ([] if len(given) == 2 else [Code.MISSING_MEMBER])
        assert opened(imsm, mapped, members).read_at(0, len(data)) == data


def test_several_volumes_on_the_same_disks() -> None:
    mirror, other = content(16 * CHUNK), DATA
    volumes = [
        Volume("raid0", other, (0, 1), name="fast"),
        Volume("raid1", mirror, (0, 1), offset=len(other) // 2 + 8 * CHUNK, name="safe"),
    ]
    for made in permutations(disks(volumes)):
        assembly, members = assembled(FORMAT, imsm, made)
        assert [volume.name for volume in assembly.volumes] == ["fast", "safe"]
        for mapped, data in zip(assembly.volumes, (other, mirror), strict=True):
            assert opened(imsm, mapped, members).read_at(0, len(data)) == data
    # With one of the disks the mirror is read, and of the stripes no more than is there.
    assembly, members = assembled(FORMAT, imsm, disks(volumes)[:1])
    fast, safe = assembly.volumes
    assert opened(imsm, safe, members).read_at(0, len(mirror)) == mirror
    assert codes(fast) == [Code.MISSING_MEMBER]


def test_an_older_disk_is_not_used() -> None:
    made = disks([Volume("raid1", content(16 * CHUNK), (0, 1))])
    old = disks([Volume("raid1", content(16 * CHUNK), (0, 1))], generation=6)
    assembly, members = assembled(FORMAT, imsm, [old[0], made[1]])
    assert (assembly.stale, codes(assembly.volumes[0])) == ((0,), [Code.MISSING_MEMBER])
    assert assembly.volumes[0].members == (members[1].id,)


def test_a_disk_that_is_being_rebuilt_is_not_read() -> None:
    volume = Volume("raid5", DATA, (0, 1, 2, 3), rebuilding=(2,), migration=1)
    made = disks([volume])
    made[2][: len(volume.areas[2])] = bytes(len(volume.areas[2]))
    assembly, members = assembled(FORMAT, imsm, made)
    (mapped,) = assembly.volumes
    assert codes(mapped) == [Code.MISSING_MEMBER]
    assert opened(imsm, mapped, members).read_at(0, len(DATA)) == DATA


def test_an_array_that_was_being_changed_is_not_read() -> None:
    assembly, _ = assembled(FORMAT, imsm, disks([Volume("raid5", DATA, (0, 1, 2, 3), migration=3)]))
    assert (codes(assembly.volumes[0]), assembly.volumes[0].readable) == ([Code.UNSUPPORTED], False)


def written(folder: Path, made: Sequence[bytes | bytearray]) -> list[Path]:
    paths = [folder / f"disk{number}" for number in range(len(made))]
    for path, data in zip(paths, made, strict=True):
        path.write_bytes(data)
    return paths


@LEVELS
def test_detect_shows_what_is_in_it_and_its_recipe_opens(volume: Volume, tmp_path: Path) -> None:
    scan = detect(written(tmp_path, disks([volume])[::-1]))
    (inside,) = [layer for layer in scan.volumes if layer.type == "ext4"]
    assert inside.index == "1.0.0.1"
    with open_volume(scan, inside.index) as file:
        assert file.read() == kept("ext4")


def test_a_disk_that_was_partitioned_anew(tmp_path: Path) -> None:
    """The metadata of a stripe set is still at its end; what is in front stands whole on the one disk."""
    (old, _, _) = disks([RAID0], spare=len(DATA))
    place(old, 0, DATA)
    scan = detect(written(tmp_path, [old])[0])
    (inside,) = [layer for layer in scan.volumes if layer.type == "ext4"]
    (whole,) = scan.parents(inside)
    assert (inside.disk_offset, [problem.code for problem in whole.problems]) == (AT, [Code.AMBIGUOUS])
    assert next(v for v in scan.volumes if v.index == "0").type == "isw_raid_member"


def test_one_disk_of_a_stripe_set_shows_no_shreds(tmp_path: Path) -> None:
    scan = detect(written(tmp_path, disks([RAID0])[:1])[0])
    assert [(layer.index, layer.type, layer.pttype) for layer in scan.volumes] == [
        ("0", "isw_raid_member", None),
        ("0.0", None, None),
    ]
    assert [problem.code for problem in scan.volumes[0].problems] == [Code.MISSING_MEMBER]


def test_damaged_figures_end_as_problems() -> None:
    made = disks([RAID5])
    _, members = assembled(FORMAT, imsm, made)
    details = dict(members[0].details)
    volumes = details["volumes"]
    assert isinstance(volumes, list)
    assert isinstance(volumes[0], dict)
    for key, value in (
        ("chunk_size", 0),
        ("slots", []),
        ("slots", [99, 98, 97]),
        ("size", 1 << 70),
        ("level", "raid6"),
    ):
        broken = {**details, "volumes": [{**volumes[0], key: value}]}
        again = imsm.assemble([member.replaced(details=broken) for member in members])
        assert not again.volumes[0].readable
        assert [*codes(again), *codes(again.volumes[0])] != []
