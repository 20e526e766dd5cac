"""What belongs together and does not always say so: btrfs over a seed, F2FS, journals elsewhere."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pyimount import detect, open_volume
from pyimount.layers import Group, Scan
from pyimount.parsers.filesystems import ext_journal, ext_superblock, jfs, jfs_log, reiserfs
from pyimount.parsers.filesystems.btrfs import PRIMARY, SUPERBLOCK
from pyimount.parsers.filesystems.btrfs_allocation import ITEM, SYSTEM_CHUNKS_AT
from pyimount.parsers.filesystems.f2fs import OFFSETS
from pyimount.parsers.filesystems.xfs import LOG_RECORD
from pyimount.parsers.volumes.vss import BLOCK, HEADER_AT
from pyimount.planning.machine import Machine
from pyimount.planning.policy import FORENSIC
from pyimount.planning.steps import Mount
from tests.kept import kept, put
from tests.mapping import test_vss, vss_volume
from tests.parsers.filesystems import test_btrfs, test_ext, test_f2fs, test_xfs
from tests.planning.scans import of, planned

MIB = 1 << 20


def written(folder: Path, **images: bytes | bytearray) -> list[Path]:
    for name, image in images.items():
        (folder / name).write_bytes(image)
    return [folder / name for name in images]


def group(scan: Scan, index: str) -> Group:
    found = scan[index].group
    assert found is not None
    return found


def codes(scan: Scan, index: str) -> list[str]:
    return [problem.code.value for problem in scan[index].problems]


# A seed and its sprout: as the kernel makes them when a device is added to a mounted seed.

SEEDING = 1 << 32
SPROUT = bytes.fromhex("85d5a081b4024ce48c52e219e1d8b6cb")


def seed() -> bytearray:
    return test_btrfs.changed(kept("btrfs"), flags=SEEDING | 1, label=b"seed".ljust(256, b"\0"))


def chunk_tree(image: bytearray, devices: Sequence[tuple[int, bytes]]) -> None:
    """Put a chunk tree that has these devices, by number and UUID, and nothing else."""
    sb = SUPERBLOCK.construct.parse(bytes(image[PRIMARY : PRIMARY + SUPERBLOCK.size]))
    (logical,) = struct.unpack_from("<9xQ", image, PRIMARY + SYSTEM_CHUNKS_AT)
    (physical,) = struct.unpack_from("<17x48x8xQ", image, PRIMARY + SYSTEM_CHUNKS_AT)
    leaf = bytearray(sb.nodesize)
    struct.pack_into("<48xQ40xIB", leaf, 0, sb.chunk_root, len(devices), 0)
    for place, (number, uuid) in enumerate(devices):
        data = struct.pack("<Q58x16s16s", number, uuid, sb.fsid)
        at = len(leaf) - 101 - (place + 1) * len(data)
        struct.pack_into(ITEM.format, leaf, 101 + place * ITEM.size, 1, 216, number, at, len(data))
        put(leaf, 101 + at, data)
    put(image, physical + sb.chunk_root - logical, bytes(leaf))


def sprout(over: bytes | bytearray, uuid: bytes = b"sprout-device-01", fsid: bytes = SPROUT) -> bytearray:
    """A file system of its own whose second device this is, the first being the seed ``over``."""
    first = SUPERBLOCK.construct.parse(bytes(over[PRIMARY : PRIMARY + SUPERBLOCK.size])).dev_item.uuid
    image = bytearray(kept("btrfs"))
    # The chunk of the chunk tree lies on the new device.
    struct.pack_into("<Q", image, PRIMARY + SYSTEM_CHUNKS_AT + 17 + 48, 2)
    test_btrfs.changed(
        image, fsid=fsid, metadata_uuid=fsid, num_devices=2, generation=21, total_bytes=32 * MIB,
        label=b"sprout".ljust(256, b"\0"),
        dev_item__devid=2, dev_item__uuid=uuid, dev_item__fsid=fsid,
    )  # fmt: skip
    chunk_tree(image, [(1, first), (2, uuid)])
    return image


@pytest.mark.parametrize("order", [("seed", "sprout"), ("sprout", "seed")])
def test_a_sprout_is_whole_with_its_seed_which_stands_for_itself_too(
    order: tuple[str, str], tmp_path: Path
) -> None:
    """As Linux mounts them: btrfs device scan of both, or device= of the seed's."""
    images = {"seed": seed(), "sprout": sprout(seed())}
    scan = detect(written(tmp_path, **{name: images[name] for name in order}))
    at = {name: f"{number}.0" for number, name in enumerate(order, 1)}
    assert scan[at["seed"]].group is None
    found = group(scan, at["sprout"])
    assert (found.members, found.present, found.complete) == (2, 2, True)
    assert sorted(found.found) == ["1.0", "2.0"]
    assert codes(scan, at["sprout"]) == codes(scan, at["seed"]) == []
    mounts = {step.layer: step for step in of(planned(scan), Mount)}
    assert len(mounts[scan[at["sprout"]].id].members) == 1
    assert mounts[scan[at["seed"]].id].members == ()


def test_a_sprout_without_its_seed_lacks_a_member(tmp_path: Path) -> None:
    other = test_btrfs.changed(seed(), dev_item__uuid=b"another's device")
    for images in ({"sprout": sprout(seed())}, {"a": sprout(seed()), "b": other}):
        scan = detect(written(tmp_path, **images))
        index = "0" if len(images) == 1 else "1.0"
        assert (group(scan, index).present, group(scan, index).complete) == (1, False)
        assert codes(scan, index) == ["missing-member"]


def test_a_seed_is_lent_to_all_that_were_made_over_it(tmp_path: Path) -> None:
    sprouts = [sprout(seed(), b"device-of-%06d" % number, b"file-system-%04d" % number) for number in (1, 2)]
    scan = detect(written(tmp_path, seed=seed(), one=sprouts[0], two=sprouts[1]))
    assert [group(scan, index).found for index in ("2.0", "3.0")] == [("1.0", "2.0"), ("1.0", "3.0")]
    assert len(of(planned(scan), Mount)) == 3


def test_of_two_seeds_that_are_the_same_none_is_chosen(tmp_path: Path) -> None:
    scan = detect(written(tmp_path, a=seed(), sprout=sprout(seed()), b=seed()))
    assert not group(scan, "2.0").complete
    assert codes(scan, "2.0") == ["ambiguous", "missing-member"]


# F2FS: the first device has the superblocks, which name the others.

SEGMENT = 2 * MIB


def phone(*segments: int, **fields: Any) -> bytearray:
    """The first of several devices, which have so many segments; it is as small as the committed image."""
    image = kept("f2fs")
    names = [b"/dev/sd%c" % (ord("a") + number) for number in range(len(segments))]
    devs = b"".join(struct.pack("<64sI", *each) for each in zip(names, segments, strict=True))
    superblocks = bytes(image[OFFSETS[0] : OFFSETS[0] + 3072])
    blocks = 512 + sum(segments) * 512
    put(image, OFFSETS[1], superblocks)
    for offset in OFFSETS:
        test_f2fs.changed(image, offset, devs=devs.ljust(8 * 68, b"\0"), block_count=blocks, **fields)
    return image


def own_segments() -> int:
    return (len(kept("f2fs")) - 2 * MIB) // SEGMENT


def test_the_first_of_several_devices_is_not_cut_off(tmp_path: Path) -> None:
    scan = detect(written(tmp_path, a=phone(own_segments(), 4)))
    assert scan["0"].fs_size == 2 * MIB + own_segments() * SEGMENT
    assert codes(scan, "0") == ["missing-member"]
    found = group(scan, "0")
    assert (found.type, found.role, found.members, found.present, found.complete) == (
        "f2fs",
        "0",
        2,
        1,
        False,
    )
    assert scan["0"].free is None
    assert "finds the others by itself" in planned(scan).refused[0].reason


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_the_other_device_is_known_by_its_size_and_that_is_said(order: Sequence[str], tmp_path: Path) -> None:
    images: dict[str, bytes | bytearray] = {"a": phone(own_segments(), 4), "b": bytes(4 * SEGMENT + 4096)}
    scan = detect(written(tmp_path, **{name: images[name] for name in order}))
    first, second = (f"{order.index(name) + 1}.0" for name in "ab")
    assert codes(scan, first) == []
    assert codes(scan, second) == ["ambiguous"]
    for index, role in ((first, "0"), (second, "1")):
        found = group(scan, index)
        assert (found.role, found.members, found.present, found.complete) == (role, 2, 2, True)


@pytest.mark.parametrize("sizes", [(3 * SEGMENT,), (5 * SEGMENT,), (4 * SEGMENT, 4 * SEGMENT)])
def test_what_may_be_another_is_not_taken(sizes: Sequence[int], tmp_path: Path) -> None:
    others = {f"b{number}": bytes(size) for number, size in enumerate(sizes)}
    scan = detect(written(tmp_path, a=phone(own_segments(), 4), **others))
    assert (group(scan, "1.0").present, group(scan, "1.0").complete) == (1, False)
    assert all(scan[f"{number}.0"].group is None for number in range(2, 2 + len(sizes)))


# Journals on another device.

COMPAT_JOURNAL, NEEDS_RECOVERY = 0x4, 0x4


def with_external_journal(journal: bytes, *, dirty: bool = False) -> bytearray:
    image = kept("ext4")
    before = ext_superblock.SUPERBLOCK.construct.parse(bytes(image[1024:2048]))
    incompat = before.s_feature_incompat | (NEEDS_RECOVERY if dirty else 0)
    return test_ext.changed(
        image, s_journal_uuid=journal, s_journal_inum=0, s_feature_incompat=incompat,
        s_feature_compat=before.s_feature_compat | COMPAT_JOURNAL,
    )  # fmt: skip


def journal_of(*users: bytes) -> bytearray:
    image = kept("jbd")
    parsed = ext_journal.JOURNAL_SUPERBLOCK.construct.parse(bytes(image[2048:3072]))
    parsed.s_nr_users, parsed.s_users = len(users), b"".join(users).ljust(768, b"\0")
    put(image, 2048, ext_journal.JOURNAL_SUPERBLOCK.construct.build(parsed))
    return image


def uuid_of(image: bytearray) -> bytes:
    uuid: bytes = ext_superblock.SUPERBLOCK.construct.parse(bytes(image[1024:2048])).s_uuid
    return uuid


def test_an_ext4_and_its_journal_on_another_device_belong_together(tmp_path: Path) -> None:
    """As mke2fs -J device= writes it: the journal's UUID into the one, the user's into the other."""
    name = uuid_of(kept("jbd"))
    volume, journal = with_external_journal(name, dirty=True), journal_of(uuid_of(kept("ext4")))
    scan = detect(written(tmp_path, volume=volume, journal=journal))
    for index, role in (("1.0", "file system"), ("2.0", "journal")):
        found = group(scan, index)
        assert (found.role, found.members, found.present, found.complete) == (role, 2, 2, True)
        assert found.found == ("1.0", "2.0")
        assert codes(scan, index) == []
    assert len(of(planned(scan), Mount)) == 1


@pytest.mark.parametrize(("dirty", "said"), [(True, ["missing-member"]), (False, [])])
def test_an_ext4_without_its_journal(dirty: bool, said: list[str], tmp_path: Path) -> None:
    scan = detect(written(tmp_path, volume=with_external_journal(uuid_of(kept("jbd")), dirty=dirty)))
    assert (group(scan, "0").present, group(scan, "0").complete) == (1, False)
    assert codes(scan, "0") == said


def test_a_journal_that_nobody_uses_belongs_to_nothing(tmp_path: Path) -> None:
    scan = detect(written(tmp_path, journal=journal_of(), volume=kept("ext4")))
    assert [volume.group for volume in scan.volumes] == [None, None]


def test_an_xfs_and_its_log_on_another_device_belong_together(tmp_path: Path) -> None:
    log = kept("xfs-log")
    record = LOG_RECORD.construct.parse(bytes(log[: LOG_RECORD.size]))
    volume = test_xfs.changed(kept("xfs"), sb_logstart=0, sb_uuid=record.h_fs_uuid)
    scan = detect(written(tmp_path, log=log, volume=volume))
    for index, role in (("1.0", "journal"), ("2.0", "file system")):
        found = group(scan, index)
        assert (found.role, found.members, found.present, found.complete) == (role, 2, 2, True)
        assert codes(scan, index) == []
    alone = detect(written(tmp_path, volume=volume))
    assert (group(alone, "0").present, codes(alone, "0")) == (1, ["missing-member"])
    # Over a cache alone: Linux opens the log for writing, whatever it is told.
    assert not of(planned(scan), Mount)
    (mount,) = of(planned(scan, policy=FORENSIC.replaced(read_write=True), cache="/cache"), Mount)
    assert (mount.layer, mount.named_by, len(mount.members)) == (scan["2.0"].id, ("logdev",), 1)


def test_an_xfs_without_its_log_is_not_mounted(tmp_path: Path) -> None:
    """The kernel wants the device, ``norecovery`` or not."""
    scan = detect(written(tmp_path, volume=test_xfs.changed(kept("xfs"), sb_logstart=0)))
    made = planned(scan)
    assert not of(made, Mount)
    (refused,) = made.refused
    assert "one is missing" in refused.reason


def test_an_xfs_whose_realtime_data_lie_on_another_device(tmp_path: Path) -> None:
    """As mkfs.xfs -r rtdev= makes it; that device has no superblock."""
    volume = test_xfs.changed(kept("xfs"), sb_rblocks=256, sb_rextents=256, sb_frextents=256)
    scan = detect(written(tmp_path, volume=volume))
    assert (group(scan, "0").present, group(scan, "0").complete) == (1, False)
    assert codes(scan, "0") == ["missing-member"]
    scan = detect(written(tmp_path, volume=volume, realtime=bytes(MIB), other=bytes(3 * MIB)))
    assert (group(scan, "1.0").present, group(scan, "1.0").complete) == (2, True)
    assert (group(scan, "2.0").role, codes(scan, "1.0"), codes(scan, "2.0")) == (
        "realtime",
        [],
        ["ambiguous"],
    )
    (mount,) = of(planned(scan, policy=FORENSIC.replaced(read_write=True), cache="/cache"), Mount)
    assert (mount.named_by, len(mount.members)) == (("rtdev",), 1)


@pytest.mark.parametrize(("state", "said"), [(2, ["missing-member"]), (0, [])])
def test_a_jfs_and_its_log_on_another_device(state: int, said: list[str], tmp_path: Path) -> None:
    """As mkfs.jfs -J device= writes it: the log's UUID stands in the file system's superblock."""
    log, volume = kept("jfs-log"), kept("jfs")
    name = jfs_log.LOG_SUPER.construct.parse(bytes(log[jfs_log.OFFSET :])).uuid
    for at in (jfs.PRIMARY, jfs.SECONDARY):
        sb = jfs.SUPERBLOCK.construct.parse(bytes(volume[at:]))
        sb.update({"s_flag": sb.s_flag & ~jfs.INLINELOG, "s_loguuid": name, "s_state": state})
        put(volume, at, jfs.SUPERBLOCK.construct.build(sb))
    alone = detect(written(tmp_path, volume=volume))
    assert (group(alone, "0").present, codes(alone, "0")) == (1, said)
    scan = detect(written(tmp_path, log=log, volume=volume))
    for index, role in (("1.0", "journal"), ("2.0", "file system")):
        found = group(scan, index)
        assert (found.role, found.members, found.present, found.complete) == (role, 2, 2, True)
        assert codes(scan, index) == []
    # Linux opens the log only for writing.
    machine, policy = Machine(filesystems=frozenset({"jfs"})), FORENSIC.replaced(allow_fs=frozenset({"jfs"}))
    (mount,) = of(planned(alone, machine, policy), Mount)
    assert (mount.type, mount.members) == ("jfs", ())


def test_a_reiserfs_whose_journal_is_elsewhere_says_so(tmp_path: Path) -> None:
    """Nothing tells its journal's device from any other: it is only said that there is one."""
    volume = kept("reiserfs-journal-elsewhere")
    scan = detect(written(tmp_path, volume=volume))
    assert (group(scan, "0").present, group(scan, "0").members, codes(scan, "0")) == (1, 2, [])
    at = reiserfs.OFFSETS[0]
    sb = reiserfs.SUPERBLOCK.construct.parse(bytes(volume[at:]))
    sb.s_umount_state = 2
    put(volume, at, reiserfs.SUPERBLOCK.construct.build(sb))
    assert codes(detect(written(tmp_path, volume=volume)), "0") == ["missing-member"]


# Shadow copies whose stores are on another volume (vssadmin add shadowstorage /on=).


def on_ntfs(blocks: bytes) -> bytes:
    """An NTFS volume with the header, the catalog and the stores of these."""
    image = kept("ntfs")
    for start, end in (
        (HEADER_AT, HEADER_AT + 512),
        (vss_volume.CATALOG_AT, vss_volume.CATALOG_AT + BLOCK),
        (vss_volume.STORES_AT * BLOCK, len(blocks)),
    ):
        put(image, start, blocks[start:end])
    return bytes(image)


def test_shadow_copies_are_read_with_the_volume_that_keeps_their_stores(tmp_path: Path) -> None:
    volume, keeper, wanted = test_vss.redirected()
    scan = detect(written(tmp_path, keeper=on_ntfs(keeper), volume=on_ntfs(volume)))
    assert [scan[index].type for index in ("1.0", "2.0")] == ["ntfs", "ntfs"]
    assert codes(scan, "1.0") == []
    older = scan["2.0.0"]
    assert (older.mapping["type"], older.mapping["store_on"]) == ("vss", "1.0")
    # The copies are of 1.5 MiB; the NTFS that has been put around them here says that it is larger.
    assert codes(scan, "2.0.0") == ["truncated"]
    assert {parent.index for parent in scan.parents(older)} == {"1.0", "2.0"}
    with open_volume(scan, "2.0.0") as file:
        assert file.read()[60 * BLOCK : 66 * BLOCK] == wanted[60 * BLOCK : 66 * BLOCK]


def test_shadow_copies_and_stores_alone_say_what_is_missing(tmp_path: Path) -> None:
    volume, keeper, _ = test_vss.redirected()
    (alone,) = written(tmp_path, volume=on_ntfs(volume))
    scan = detect([alone])
    assert [codes(scan, index) for index in ("0.0", "0.1")] == [["missing-member"]] * 2
    (other,) = written(tmp_path, keeper=on_ntfs(keeper))
    assert codes(detect([other]), "0") == ["missing-member"]
