"""Clones and copies of every kind of group: two machines in one call, and one machine imaged twice."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from fixtures.recipes import ddf as ddf_disks
from fixtures.recipes import vmfs as vmfs_devices
from fixtures.recipes import zfs as zfs_labels
from fixtures.recipes.vinum import LENGTH, STRIPE
from pyimount import detect
from pyimount.parsers.volumes.ldm_database import STRIPED
from pyimount.parsers.volumes.zfs import RING_AT
from pyimount.planning.steps import Mount
from tests.kept import kept, put
from tests.mapping import imsm_disks, ldm_disks
from tests.mapping.md_members import striped
from tests.mapping.test_vinum import drives
from tests.parsers.filesystems import test_btrfs
from tests.planning.scans import of, planned
from tests.scanning.test_clones import checked, codes, exports, written

MIB = 1 << 20
Machine = tuple[bytes, list[bytes]]
"""The content of a machine's volume, and its two disks."""


def filled(word: bytes, size: int) -> bytes:
    return (word * (size // len(word) + 1))[:size]


def ddf(word: bytes, state: int) -> Machine:
    data = filled(word, 2 * ddf_disks.DATA)
    references = ddf_disks.REFERENCES[:2]
    facts = {"Primary_RAID_Level": 0, "RAID_Level_Qualifier": 0, "VD_Size": len(data) // 512}
    records = (ddf_disks.configuration(references, **facts),)
    areas = striped(data, [ddf_disks.DATA] * 2, ddf_disks.STRIP)
    return data, [
        bytes(ddf_disks.disk(mine, area, references, records, Sequence_Number=state))
        for mine, area in zip(references, areas, strict=True)
    ]


def ldm(word: bytes, state: int) -> Machine:
    data = filled(word, 2 * ldm_disks.SIZE)
    areas = striped(data, [ldm_disks.SIZE] * 2, ldm_disks.CHUNK * 512)
    return data, [bytes(image) for image in ldm_disks.group(STRIPED, areas, commit=state)]


def vinum(word: bytes, state: int) -> Machine:
    data = filled(word, 2 * LENGTH)
    areas = striped(data, [LENGTH] * 2, STRIPE)
    return data, [bytes(image) for image in drives("striped", areas, updated=1700000000 + state)]


def imsm(word: bytes, state: int) -> Machine:
    # A mirror: the order of other disks is told by what lies in them.
    data = filled(word, 64 * imsm_disks.CHUNK)
    volume = imsm_disks.Volume("raid1", data, (0, 1))
    return data, [bytes(image) for image in imsm_disks.disks([volume], generation=state)]


KINDS: dict[str, Callable[[bytes, int], Machine]] = {"ddf": ddf, "ldm": ldm, "vinum": vinum, "imsm": imsm}
EVERY = pytest.mark.parametrize("kind", KINDS)


def digests(*machines: Machine) -> list[str]:
    return sorted(sha256(data).hexdigest() for data, _ in machines)


@EVERY
def test_two_machines_that_went_on_each_for_itself(kind: str, tmp_path: Path) -> None:
    one, other = KINDS[kind](b"machine a block ", 7), KINDS[kind](b"machine b block ", 90)
    scan = detect(written(tmp_path, a0=one[1][0], b1=other[1][1], a1=one[1][1], b0=other[1][0]))
    checked(scan)
    assert sorted(digest or "" for _, digest in exports(scan)) == digests(one, other)
    assert "missing-member" not in codes(scan)
    if kind != "imsm":
        # Which of its disks one is, an Intel RAID does not say.
        found = scan["1.0"].group
        assert found is not None
        assert found.copies == ("4.0",)


@EVERY
def test_two_machines_that_nothing_tells_apart_are_not_mixed(kind: str, tmp_path: Path) -> None:
    one, other = KINDS[kind](b"machine a block ", 7), KINDS[kind](b"machine b block ", 7)
    scan = detect(written(tmp_path, a0=one[1][0], b1=other[1][1], a1=one[1][1], b0=other[1][0]))
    checked(scan)
    assert {digest for _, digest in exports(scan)} <= {None, *digests(one, other)}
    assert "ambiguous" in codes(scan)


@EVERY
def test_a_machine_that_was_imaged_twice_is_shown_twice(kind: str, tmp_path: Path) -> None:
    one = KINDS[kind](b"machine a block ", 7)
    images = {"a0": one[1][0], "b0": one[1][0], "b1": one[1][1], "a1": one[1][1]}
    scan = detect(written(tmp_path, **images))
    checked(scan)
    found = [digest for _, digest in exports(scan)]
    # Of an Intel mirror any disk may be the copy of any other: each is shown.
    assert found == digests(one) * (4 if kind == "imsm" else 2)
    assert codes(scan) <= ({"ambiguous", "missing-member"} if kind == "imsm" else set())


def two_vmfs(word: bytes) -> Machine:
    each = 2 * vmfs_devices.EXTENT
    data = filled(word, 2 * each)
    return data, [
        bytes(vmfs_devices.device(1, [(0, 0), (1, 1)], devices=2, content=data[:each])),
        bytes(vmfs_devices.device(2, [(2, 0), (3, 1)], devices=2, content=data[each:])),
    ]


def test_extents_of_two_vmfs_that_nothing_tells_apart_are_not_mixed(tmp_path: Path) -> None:
    one, other = two_vmfs(b"host a block "), two_vmfs(b"host b block ")
    scan = detect(written(tmp_path, a0=one[1][0], b1=other[1][1], a1=one[1][1], b0=other[1][0]))
    checked(scan)
    assert {digest for _, digest in exports(scan)} <= {None, *digests(one, other)}
    assert "ambiguous" in codes(scan)


def test_extents_of_one_vmfs_with_a_disk_of_each_host(tmp_path: Path) -> None:
    """In one image lie one host's devices, in another the other's: each is put together."""
    one, other = two_vmfs(b"host a block "), two_vmfs(b"host b block ")
    disks = {name: in_one(machine[1]) for name, machine in (("a", one), ("b", other))}
    scan = detect(written(tmp_path, **disks))
    checked(scan)
    assert sorted(digest or "" for _, digest in exports(scan)) == digests(one, other)


def in_one(images: list[bytes]) -> bytes:
    """A disk with an MBR whose partitions have these contents."""
    disk, at = bytearray(MIB), MIB
    for number, image in enumerate(images):
        entry = bytes(4) + b"\xfb" + bytes(3) + (at // 512).to_bytes(4, "little")
        put(disk, 446 + 16 * number, entry + (len(image) // 512).to_bytes(4, "little"))
        disk += image.ljust(-(-len(image) // MIB) * MIB, b"\0")
        at = len(disk)
    put(disk, 510, b"\x55\xaa")
    return bytes(disk)


# What the kernel puts together: members are told apart all the same, and mount takes those of one set.

FSID = bytes.fromhex("00112233445566778899aabbccddeeff")


def btrfs(number: int, generation: int, label: bytes) -> bytes:
    """One of two devices of a file system of which there are clones."""
    image = kept("btrfs")
    facts = {"dev_item__uuid": b"device-number-%02d" % number, "dev_item__devid": number}
    test_btrfs.changed(
        image, fsid=FSID, metadata_uuid=FSID, dev_item__fsid=FSID, num_devices=2, total_bytes=32 * MIB,
        generation=generation, label=label.ljust(256, b"\0"), **facts,
    )  # fmt: skip
    return bytes(image)


def test_a_btrfs_of_two_machines_is_two(tmp_path: Path) -> None:
    scan = detect(
        written(
            tmp_path,
            a1=btrfs(1, 10, b"a"),
            b2=btrfs(2, 20, b"b"),
            a2=btrfs(2, 10, b"a"),
            b1=btrfs(1, 20, b"b"),
        )
    )
    checked(scan)
    groups = [scan[f"{number}.0"].group for number in range(1, 5)]
    assert [each and each.found for each in groups] == [
        ("1.0", "3.0"), ("2.0", "4.0"), ("1.0", "3.0"), ("2.0", "4.0"),
    ]  # fmt: skip
    assert [each and each.copies for each in groups] == [("4.0",), ("3.0",), ("2.0",), ("1.0",)]
    assert not codes(scan)
    # The kernel mounts one of a UUID at a time, with the devices of that one.
    made = planned(scan)
    (mount,) = of(made, Mount)
    assert (mount.layer, len(mount.members)) == (scan["1.0"].id, 1)
    assert [refusal.index for refusal in made.refused] == ["2.0"]


@pytest.mark.parametrize(
    ("generation", "root", "said"), [(10, 1 << 20, "ambiguous"), (90, 0, "copies-differ")]
)
def test_one_device_each_of_two_btrfs(generation: int, root: int, said: str, tmp_path: Path) -> None:
    """One commit writes one generation and one root to all devices."""
    image = bytearray(btrfs(2, generation, b"b"))
    if root:
        test_btrfs.changed(image, root=root)
    scan = detect(written(tmp_path, a1=btrfs(1, 10, b"a"), b2=image))
    checked(scan)
    assert said in codes(scan)


def test_a_btrfs_of_machines_that_nothing_tells_apart(tmp_path: Path) -> None:
    scan = detect(
        written(
            tmp_path,
            a1=btrfs(1, 10, b"a"),
            b2=btrfs(2, 10, b"b"),
            a2=btrfs(2, 10, b"a"),
            b1=btrfs(1, 10, b"b"),
        )
    )
    checked(scan)
    assert codes(scan) == {"ambiguous", "missing-member"}
    assert all(not mount.members for mount in of(planned(scan), Mount))


def vdev(guid: int, name: str, txg: int) -> bytes:
    """One half of a ZFS mirror; ``txg`` of its newest uberblock from the ring of 27 to 31 on."""
    image = bytearray(zfs_labels.SIZE)
    for place in zfs_labels.PLACES:
        label = bytearray(zfs_labels.label(place, zfs_labels.config(guid=guid, name=name)))
        for later in range(txg + 1, 32):
            at = RING_AT + (later % 32 << zfs_labels.ASHIFT)
            put(label, at, bytes(1 << zfs_labels.ASHIFT))
        put(image, place, bytes(label))
    return bytes(image)


def test_a_zfs_pool_of_two_machines_is_two(tmp_path: Path) -> None:
    halves = zfs_labels.FIRST, zfs_labels.SECOND
    one = [vdev(guid, "tank", 29) for guid in halves]
    other = [vdev(guid, "tank", 31) for guid in halves]
    scan = detect(written(tmp_path, a0=one[0], b1=other[1], a1=one[1], b0=other[0]))
    checked(scan)
    groups = [scan[f"{number}.0"].group for number in range(1, 5)]
    assert [each and each.found for each in groups] == [("1.0", "3.0"), ("2.0", "4.0")] * 2
    assert all(each is not None and each.complete and each.present == 2 for each in groups)
