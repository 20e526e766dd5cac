"""Where there is nothing to mount, that is said: silence would look like success."""

import pytest

from pyimount.layers import Scan, VolumeLayer
from tests.planning.scans import disk, member, part, planned


def scan_of(*volumes: VolumeLayer, disks: int = 1, pttype: str | None = "gpt") -> Scan:
    return Scan(disks=tuple(disk(number, pttype=pttype) for number in range(disks)), volumes=volumes)


SWAP = part(10, 0, "1", type="swap", usage="other")
EXT4 = part(11, 0, "2", type="ext4")
RESERVED = part(12, 0, "3", part_type="e3c9e316-0b5c-4db8-817d-f92df00215ae")
GAP = part(13, 0, "4", flag="unalloc")


@pytest.mark.parametrize(
    ("volumes", "reason"),
    [
        ((SWAP,), "only swap"),
        ((), "its partition table (gpt) is empty"),
        ((GAP,), "its partition table (gpt) is empty"),
        ((RESERVED,), "no file system was found"),
        ((SWAP, RESERVED, GAP), "only swap"),
    ],
    ids=["swap", "empty table", "gap", "reserved", "all of them"],
)
def test_a_disk_with_nothing_to_mount(volumes: tuple[VolumeLayer, ...], reason: str) -> None:
    (refused,) = planned(scan_of(*volumes)).refused
    assert (refused.layer, refused.code) == (0, "nothing")
    assert reason in refused.reason


@pytest.mark.parametrize(
    ("only", "index", "reason"),
    [
        (("1",), "1", "swap holds no file system"),
        (("3",), "3", "a partition of this type holds no file system"),
        (("1", "2"), "1", "swap holds no file system"),
    ],
)
def test_what_was_named_and_cannot_be_mounted(only: tuple[str, ...], index: str, reason: str) -> None:
    made = planned(scan_of(SWAP, EXT4, RESERVED, GAP), only=only)
    (refused,) = made.refused
    assert (refused.index, refused.code, refused.reason) == (index, "nothing", reason)
    assert [step.layer for step in made.mounts()] == [11] * ("2" in only)


def test_what_is_not_said() -> None:
    """Beside what is mounted, of what was left out on purpose or is carved, and for another reason."""
    assert planned(scan_of(SWAP, EXT4)).refused == ()
    assert planned(scan_of(SWAP), skip=("1",)).refused == ()
    assert planned(scan_of(SWAP, EXT4), only=("2",)).refused == ()
    assert planned(scan_of(SWAP), carve="/out").refused == ()
    assert planned(scan_of(SWAP), fstypes={"1": "none"}).refused == ()
    unknown = part(10, 0, "1")
    assert [each.code for each in planned(scan_of(unknown)).refused] == ["unknown"]


def test_what_holds_what_is_mounted_is_no_nothing() -> None:
    group = part(20, 0, "1", type="LVM2_member", usage="raid")
    inner = part(21, 20, "1.0", type="ext4", parents=(20,))
    plan = planned(Scan(disks=(disk(),), volumes=(group, inner)), only=("1",))
    assert plan.refused == ()
    first, second = member(20, 0, "1.1", "btrfs"), member(21, 1, "2.1", "btrfs")
    scan = Scan(disks=(disk(0, index="1"), disk(1, index="2")), volumes=(first, second))
    assert planned(scan).refused == ()
    assert planned(scan, only=("2.1",)).refused == ()


def test_each_of_several_disks() -> None:
    scan = Scan(
        disks=(disk(0, index="1"), disk(1, index="2"), disk(2, index="3")),
        volumes=(
            part(10, 0, "1.1", type="ext4"),
            part(11, 1, "2.1", type="swap", usage="other"),
            # An external journal: there for another.
            part(12, 2, "3.1", type="jbd", usage="other"),
        ),
    )
    assert [(each.index, each.code) for each in planned(scan).refused] == [("2", "nothing")]
