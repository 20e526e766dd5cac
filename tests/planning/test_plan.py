"""Plans: which volumes are mounted, by which steps, and what is said of the others."""

import json
from pathlib import Path
from typing import Any

import pytest

import pyimount
from fixtures.workshop import Workshop
from pyimount.keys import Keyring
from pyimount.layers import DiskLayer, Group, Recipe, Scan
from pyimount.planning.plan import key_kinds, needs_keys
from pyimount.planning.policy import FORENSIC, RECOVERY
from pyimount.planning.steps import (
    AssembleArray,
    AttachLoop,
    ConnectNbd,
    ExposeRaw,
    MakeDirectory,
    MapVolume,
    Mount,
    MountWithTool,
    Names,
    OpenEncrypted,
    Result,
    RunImageMounter,
    ShowDirectory,
    TableLine,
    step_from_dict,
)
from pyimount.problems import Code, Problem
from tests.planning.scans import BARE, FULL, MIB, SESSION, codes, disk, member, of, part, planned

EXT = Scan((disk(),), (part(1, 0, "1", type="ext4", label="data"),))


def test_a_partition_of_a_raw_image_is_one_loop_and_one_mount() -> None:
    made = planned(EXT)
    (loop,), (mount,) = of(made, AttachLoop), of(made, Mount)
    assert (loop.backing, loop.offset, loop.size) == ("/images/disk0.dd", MIB, 10 * MIB)
    assert loop.read_only
    assert (mount.device, mount.type, mount.options) == (
        Result(loop.id),
        "ext4",
        ("noload", "errors=continue"),
    )
    assert mount.read_only
    paths = [step.path for step in of(made, MakeDirectory)]
    assert paths == [f"/run/pyimount/{SESSION}", "mnt", "1-data"]
    assert not made.refused
    assert not of(made, ExposeRaw)


def test_a_container_is_exposed_once_and_its_volumes_are_runs_of_that() -> None:
    volumes = (part(1, 0, "1", type="ext4"), part(2, 0, "2", at=20 * MIB, type="xfs"))
    made = planned(Scan((disk(container="ewf"),), volumes))
    (server,), loops = of(made, ExposeRaw), of(made, AttachLoop)
    assert server.files == ((0, "disk.raw"),)
    assert [loop.backing for loop in loops] == [Result(server.id, "disk.raw")] * 2
    assert [loop.offset for loop in loops] == [MIB, 20 * MIB]


def test_a_plan_is_the_same_twice_and_survives_json() -> None:
    made = planned(EXT)
    assert planned(EXT) == made
    stored = json.loads(json.dumps(made.to_dict()))
    assert tuple(step_from_dict(step) for step in stored["steps"]) == made.steps


def a_folder(number: int = 0, path: str = "/evidence/some files", **more: Any) -> DiskLayer:
    return disk(number, container="directory", size=None, paths=(path,), recipe=Recipe("none"), **more)


def test_a_folder_is_shown_as_it_is() -> None:
    made = planned(Scan((a_folder(),), ()))
    (shown,) = of(made, ShowDirectory)
    assert shown == step_from_dict(shown.to_dict())
    assert (shown.path, shown.layer) == ("/evidence/some files", 0)
    assert [step.path for step in of(made, MakeDirectory)] == [
        f"/run/pyimount/{SESSION}",
        "mnt",
        "some_files",
    ]
    assert not made.refused
    assert shown.argv(Names(SESSION, {shown.at.step: "/at"})) == (
        "mount", "-i", "-n", "-o", "bind,ro,nosuid,nodev,noexec", "/evidence/some files", "/at",
    )  # fmt: skip
    assert shown.undo_argv("/at") == ("umount", "/at")
    here = planned(Scan((a_folder(path="files"),), ()), cwd="/home/someone")
    assert of(here, ShowDirectory)[0].path == "/home/someone/files"


def test_a_folder_is_chosen_by_its_disk() -> None:
    volume = part(1, 0, "1.1", type="ext4")
    scan = Scan((disk(index="1"), a_folder(5, index="2")), (volume,))
    assert [type(step) for step in planned(scan).steps if step.yields == "path"][-2:] == [
        MakeDirectory,
        ShowDirectory,
    ]
    assert len(of(planned(scan), Mount)) == 1
    alone = planned(scan, only={"2"})
    assert (len(of(alone, ShowDirectory)), of(alone, Mount)) == (1, [])
    assert [step.path for step in of(alone, MakeDirectory)][-1] == "2-some_files"
    for choice in ({"only": {"1"}}, {"only": {"1.1"}}, {"skip": {"2"}}):
        made = planned(scan, **choice)
        assert (of(made, ShowDirectory), len(of(made, Mount)), made.refused) == ([], 1, ())


def test_partitions_within_a_partition_add_up() -> None:
    inner = part(2, 1, "1.1", at=2 * MIB, size=3 * MIB, type="xfs")
    made = planned(Scan((disk(),), (part(1, 0, "1", pttype="dos"), inner)))
    (loop,) = of(made, AttachLoop)
    assert (loop.offset, loop.size) == (3 * MIB, 3 * MIB)
    assert of(made, Mount)[0].options == ("norecovery", "nouuid")


def test_a_file_system_on_the_whole_disk_takes_all_of_it() -> None:
    made = planned(Scan((disk(),), (part(1, 0, "0", at=0, size=100 * MIB, type="iso9660"),)))
    (loop,) = of(made, AttachLoop)
    assert (loop.offset, loop.size) == (0, 0)


def test_what_lies_beyond_the_image_has_no_bytes() -> None:
    made = planned(Scan((disk(),), (part(1, 0, "1", at=200 * MIB, type="ext4"),)))
    assert codes(made) == {"1": "no-bytes"}
    assert made.steps == ()


def test_an_image_that_could_not_be_opened_is_said() -> None:
    made = planned(pyimount.detect("/no/such/image"))
    assert codes(made) == {"": "no-bytes"}


# What stands above arrays, groups and locks.

LUKS = Scan(
    (disk(),),
    (
        part(1, 0, "1", type="crypto_LUKS", usage="crypto", locked=False, uuid="U-1"),
        part(2, 1, "1.0", size=8 * MIB, recipe=Recipe("luks", {"version": 2}), type="ext4"),
    ),
)


def test_luks_by_the_kernel() -> None:
    made = planned(LUKS, keys_for={"1": frozenset("p")})
    (loop,), (opened,), (mount,) = of(made, AttachLoop), of(made, OpenEncrypted), of(made, Mount)
    assert (opened.device, opened.type, opened.key, opened.uuid) == (Result(loop.id), "luks", "1", "U-1")
    assert opened.read_only
    assert mount.device == Result(opened.id)


@pytest.mark.parametrize(
    ("machine", "backend", "kinds"), [(BARE, "auto", "p"), (FULL, "user", "p"), (FULL, "auto", "m")]
)
def test_luks_by_our_own_server(machine: pyimount.planning.machine.Machine, backend: str, kinds: str) -> None:
    policy = FORENSIC.replaced(backend=backend)
    made = planned(LUKS, machine, policy, keys_for={"1": frozenset(kinds)})
    (server,), (loop,) = of(made, ExposeRaw), of(made, AttachLoop)
    assert server.files == ((2, "1.0.raw"),)
    assert (loop.backing, loop.offset, loop.size) == (Result(server.id, "1.0.raw"), 0, 0)
    assert not of(made, OpenEncrypted)


def test_luks_that_is_being_reencrypted_is_left_to_our_own_server() -> None:
    locked = LUKS.volumes[0].replaced(details={"requirements": ["online-reencrypt-v2"]})
    made = planned(Scan(LUKS.disks, (locked, *LUKS.volumes[1:])), keys_for={"1": frozenset("p")})
    assert of(made, ExposeRaw)
    assert not of(made, OpenEncrypted)


def test_a_lock_whose_key_is_not_there_is_refused() -> None:
    made = planned(LUKS, keys_for={})
    assert codes(made) == {"1.0": "locked"}
    assert made.steps == ()
    still = Scan((disk(),), (part(1, 0, "1", type="crypto_LUKS", usage="crypto", locked=True),))
    (refusal,) = planned(still).refused
    assert (refusal.code, refusal.index) == ("locked", "1")
    assert "--key" in (refusal.remedy or "")


def test_the_kernel_alone_says_what_it_cannot_do() -> None:
    made = planned(LUKS, BARE, FORENSIC.replaced(backend="kernel"))
    assert codes(made) == {"1.0": "unsupported"}
    assert "device-mapper" in made.refused[0].reason
    assert made.refused[0].remedy == "--backend auto"


def test_the_kinds_of_keys_are_found_by_index_and_uuid() -> None:
    ring = Keyring({"u-1": "p:one", "2": "p:two"})
    assert key_kinds(LUKS, ring) == {"1": frozenset("p")}
    assert [volume.index for volume in needs_keys(LUKS)] == ["1"]


def lvm(tables: dict[str, object], pvs: dict[str, int | None], **more: object) -> Scan:
    recipe = Recipe("lvm2", {"volume": "lv", "tables": tables, "pvs": pvs, "inputs": [1, 2]})
    return Scan(
        (disk(0, index="1"), disk(5, index="2")),
        (
            member(1, 0, "1.1", "lvm2"),
            member(2, 5, "2.1", "lvm2"),
            part(3, 1, "1.1.0", parents=(1, 2), size=8 * MIB, recipe=recipe, type="ext4", name="a-b\n"),
        ),
    )


STRIPED = {
    "lv": [
        {
            "type": "linear",
            "start": 0,
            "size": 4 * MIB,
            "area": {"volume": "inner", "offset": 0, "size": 4 * MIB},
        },
        {
            "type": "linear",
            "start": 4 * MIB,
            "size": 4 * MIB,
            "area": {"pv": "pv0", "offset": MIB, "size": 4 * MIB},
        },
    ],
    "inner": [
        {
            "type": "striped",
            "start": 0,
            "size": 4 * MIB,
            "chunk": 65536,
            "areas": [
                {"pv": "pv0", "offset": 6 * MIB, "size": 2 * MIB},
                {"pv": "pv1", "offset": 6 * MIB, "size": 2 * MIB},
            ],
        }
    ],
}


def test_linear_and_striped_logical_volumes_are_mapped() -> None:
    made = planned(lvm(STRIPED, {"pv0": 0, "pv1": 1}))
    first, second = (Result(step.id) for step in of(made, AttachLoop))
    inner, whole = of(made, MapVolume)
    sectors = 4 * MIB // 512
    assert inner.table == (
        TableLine(0, sectors, "striped", (2, 128, first, 6 * MIB // 512, second, 6 * MIB // 512)),
    )
    assert whole.table == (
        TableLine(0, sectors, "linear", (Result(inner.id), 0)),
        TableLine(sectors, sectors, "linear", (first, MIB // 512)),
    )
    assert of(made, Mount)[0].device == Result(whole.id)


@pytest.mark.parametrize(
    ("tables", "pvs"),
    [
        ({"lv": [{"type": "raid", "start": 0, "size": MIB}]}, {"pv0": 0}),
        (STRIPED, {"pv0": 0, "pv1": None}),
        (STRIPED, {"pv0": 0, "pv1": 7}),
        ({"lv": [{"type": "linear", "start": 0, "size": 8 * MIB, "area": {"volume": "lv"}}]}, {}),
        ({**STRIPED, "inner": [{**STRIPED["inner"][0], "chunk": 1000}]}, {"pv0": 0, "pv1": 1}),
        ({}, {}),
        (
            {
                "lv": [
                    {
                        "type": "linear",
                        "start": 0,
                        "size": MIB,
                        "area": {"pv": "pv0", "offset": 10 * MIB, "size": MIB},
                    }
                ]
            },
            {"pv0": 0},
        ),
    ],
    ids=["raid", "missing", "no-such", "loop", "chunk", "empty", "cut-off"],
)
def test_other_logical_volumes_are_our_servers(tables: dict[str, object], pvs: dict[str, int | None]) -> None:
    made = planned(lvm(tables, pvs))
    assert of(made, ExposeRaw)[0].files == ((3, "1.1.0.raw"),)
    assert not of(made, MapVolume)
    assert codes(planned(lvm(tables, pvs), policy=FORENSIC.replaced(backend="kernel"))) == {
        "1.1.0": "unsupported"
    }


def raid(**more: object) -> Scan:
    device = {"input": 0, "offset": 0, "size": MIB, "trusted": None}
    devices = more.pop("devices", [device, {**device, "input": 1}])
    recipe = Recipe("md", {"level": more.pop("level", "raid1"), "devices": devices, "inputs": [1, 2]})
    array = part(3, 1, "1.0", parents=(1, 2), size=8 * MIB, recipe=recipe, type="ext4", **more)
    return Scan((disk(),), (member(1, 0, "1", "md"), member(2, 0, "2", "md", at=20 * MIB), array))


def test_an_array_is_assembled_of_its_members_and_no_others() -> None:
    made = planned(raid())
    loops = of(made, AttachLoop)
    (array,) = of(made, AssembleArray)
    assert array.devices == tuple(Result(loop.id) for loop in loops)
    assert [loop.offset for loop in loops] == [MIB, 20 * MIB]
    assert of(made, Mount)[0].device == Result(array.id)


@pytest.mark.parametrize(
    "scan",
    [
        raid(level="linear"),
        raid(devices=[None, {"input": 0, "trusted": None}]),
        raid(devices=[{"input": 0, "trusted": 4096}]),
        raid(problems=(Problem(Code.AMBIGUOUS, "two layouts"),)),
    ],
)
def test_an_array_that_is_not_whole_is_our_servers(scan: Scan) -> None:
    made = planned(scan)
    assert of(made, ExposeRaw)[0].files == ((3, "1.0.raw"),)
    assert not of(made, AssembleArray)


def test_a_btrfs_on_several_devices_is_mounted_once_with_all() -> None:
    volumes = (member(1, 0, "1", "btrfs"), member(2, 0, "2", "btrfs", at=20 * MIB))
    made = planned(Scan((disk(),), volumes))
    first, second = of(made, AttachLoop)
    (mount,) = of(made, Mount)
    assert (mount.device, mount.members) == (Result(first.id), (Result(second.id),))
    assert mount.options == ("rescue=nologreplay",)
    assert not made.refused
    group = volumes[0].group
    assert group is not None
    alone = volumes[0].replaced(group=group.replaced(complete=False))
    assert of(planned(Scan((disk(),), (alone,))), Mount)[0].options == ("rescue=nologreplay", "degraded")
    old = planned(Scan((disk(),), volumes), FULL.replaced(kernel=(5, 4)))
    assert of(old, Mount)[0].options == ("norecovery",)


def test_shadow_copies_are_mounted_when_asked_for() -> None:
    shadow = part(
        2,
        1,
        "1.0",
        recipe=Recipe("vss", {"inputs": [1]}),
        type="ntfs",
        mapping={"type": "vss"},
        size=10 * MIB,
    )
    scan = Scan((disk(),), (part(1, 0, "1", type="ntfs"), shadow))
    assert len(of(planned(scan), Mount)) == 1
    made = planned(scan, shadows=True)
    assert [step.layer for step in of(made, Mount)] == [1, 2]
    assert of(made, ExposeRaw)[0].files == ((2, "1.0.raw"),)
    assert [step.layer for step in of(planned(scan, only=("1.0",)), Mount)] == [2]


# What is mounted, and by what.


def test_only_and_skip_count_for_what_lies_within() -> None:
    volumes = (
        part(1, 0, "1", pttype="dos"),
        part(2, 1, "1.1", at=MIB, size=MIB, type="ext4", uuid="AbC"),
        part(3, 0, "2", at=20 * MIB, type="ext4", label="1"),
    )
    scan = Scan((disk(),), volumes)
    assert [step.layer for step in of(planned(scan, only=("1",)), Mount)] == [2]
    assert [step.layer for step in of(planned(scan, only=("abc",)), Mount)] == [2]
    assert [step.layer for step in of(planned(scan, skip=("1",)), Mount)] == [3]
    assert not planned(scan, only=("9",)).steps


def test_hidden_volumes_gaps_and_swap_are_left_alone_and_that_is_said() -> None:
    volumes = (
        part(1, 0, "1", type="ext4", hidden=True),
        part(2, 0, "2", flag="unalloc"),
        part(3, 0, "3", type="swap", usage="other"),
        part(4, 0, "4", flag="meta"),
        part(5, 0, "5", part_type="e3c9e316-0b5c-4db8-817d-f92df00215ae"),
    )
    made = planned(Scan((disk(),), volumes))
    assert made.steps == ()
    (refused,) = made.refused
    assert (refused.code, refused.reason) == ("nothing", "there is nothing to mount in it: only swap")


def test_what_is_not_recognised_is_mounted_when_asked_for_by_name() -> None:
    scan = Scan((disk(),), (part(1, 0, "1"),))
    (refusal,) = planned(scan).refused
    assert refusal.code == "unknown"
    for more in ({"fstypes": {"1": "unknown"}}, {"fstypes": {"?": "unknown"}}):
        (mount,) = of(planned(scan, **more), Mount)
        assert (mount.type, mount.options) == (None, ())
        assert "-t" not in mount.argv(pyimount.planning.steps.Names(SESSION))
    assert of(planned(scan, policy=FORENSIC.replaced(unknown=True)), Mount)[0].type is None
    assert of(planned(scan, fstypes={"1": "ext"}), Mount)[0].type == "ext4"
    assert codes(planned(scan, fstypes={"1": "; rm -rf /"})) == {"1": "unsupported"}
    made = planned(scan, fstypes={"?": "none"})
    assert (made.steps, made.refused) == ((), ())


def test_drivers_that_few_maintain_are_refused_with_the_option_that_allows_them() -> None:
    scan = Scan((disk(),), (part(1, 0, "1", type="hfsplus"),))
    (refusal,) = planned(scan).refused
    assert (refusal.code, refusal.remedy) == ("not-allowed", "--allow-fs hfsplus")
    assert of(planned(scan, policy=FORENSIC.replaced(allow_fs=frozenset({"hfsplus"}))), Mount)
    assert of(planned(scan, policy=RECOVERY), Mount)


def test_the_next_way_is_taken_where_the_kernel_lacks_the_driver() -> None:
    scan = Scan((disk(container="qcow2"),), (part(1, 0, "1", type="ext4", state="dirty"),))
    lacking = FULL.replaced(filesystems=frozenset())
    (refusal,) = planned(scan, lacking).refused
    assert (refusal.code, refusal.remedy) == ("not-allowed", "--allow-fs fuse2fs")
    made = planned(scan, lacking, RECOVERY)
    (mount,) = of(made, MountWithTool)
    (server,) = of(made, ExposeRaw)
    assert (mount.tool, mount.source) == ("fuse2fs", Result(server.id, "1.raw"))
    assert not of(made, AttachLoop), "it reads a file, and so needs no device"
    (refusal,) = planned(scan, lacking.replaced(tools={}), RECOVERY).refused
    assert (refusal.code, refusal.remedy) == ("needs-tool", "install fuse2fs: see `pyimount check`")


def test_ufs_gets_the_type_that_its_superblock_shows() -> None:
    def ufs(ufstype: object) -> Scan:
        return Scan((disk(),), (part(1, 0, "1", type="ufs", details={"ufstype": ufstype}),))

    assert of(planned(ufs("44bsd"), policy=RECOVERY), Mount)[0].options == ("ufstype=44bsd",)
    for wrong in (None, "44bsd,rw", "", ["sun"], "x" * 99):
        assert codes(planned(ufs(wrong), policy=RECOVERY)) == {"1": "unsupported"}


@pytest.mark.parametrize("kind", ["ReFS", "zfs_member", "no-such-type"])
def test_what_nothing_mounts_is_refused_with_a_reason(kind: str) -> None:
    (refusal,) = planned(Scan((disk(),), (part(1, 0, "1", type=kind),)), policy=RECOVERY).refused
    assert refusal.code == "unsupported"
    assert refusal.reason


def test_volumes_within_an_apfs_are_shown_by_its_container() -> None:
    volumes = (
        part(1, 0, "1", type="apfs"),
        part(2, 1, "1.0", recipe=Recipe("none"), type="apfs"),
        part(3, 1, "1.1", recipe=Recipe("none"), type="apfs", locked=True),
    )
    made = planned(Scan((disk(),), volumes), policy=RECOVERY)
    assert [step.layer for step in of(made, MountWithTool)] == [1]
    assert codes(made) == {"1.1": "locked"}


def test_a_group_that_nothing_assembles_is_said_once() -> None:
    group = Group(type="zz", uuid="g", name=None, role=None, members=2, present=2, complete=True, volume=None)
    volumes = tuple(
        part(number, 0, str(number), type="isw_raid_member", usage="raid", group=group) for number in (1, 2)
    )
    assert codes(planned(Scan((disk(),), volumes))) == {"1": "unsupported"}


# Read-write, and other programs.


def test_reading_and_writing_goes_into_the_cache() -> None:
    policy = FORENSIC.replaced(read_write=True)
    made = planned(LUKS, policy=policy, cache="/cache")
    (server,) = of(made, ExposeRaw)
    assert (server.cache, server.files) == ("/cache", ((2, "1.0.raw"),))
    made = planned(EXT, policy=policy, cache="/cache")
    (server,), (loop,), (mount,) = of(made, ExposeRaw), of(made, AttachLoop), of(made, Mount)
    assert server.files == ((0, "disk.raw"),), "the image itself is never written"
    assert (loop.backing, loop.read_only) == (Result(server.id, "disk.raw"), False)
    assert (mount.read_only, mount.options) == (False, ("errors=continue",))
    iso = Scan((disk(),), (part(1, 0, "1", type="iso9660"),))
    assert of(planned(iso, policy=policy, cache="/cache"), Mount)[0].read_only
    with pytest.raises(ValueError, match="folder"):
        planned(EXT, policy=policy)


def test_other_mounters_are_used_when_asked_for() -> None:
    scan = Scan(
        (disk(container="ewf", paths=("/images/a.E01", "/images/a.E02")),), (part(1, 0, "1", type="ext4"),)
    )
    made = planned(scan, policy=FORENSIC.replaced(disk_mounter="ewfmount"))
    (shown,) = of(made, RunImageMounter)
    assert shown.argv(pyimount.planning.steps.Names(SESSION))[:2] == ("ewfmount", "/images/a.E01")
    assert of(made, AttachLoop)[0].backing == Result(shown.id, "ewf1")
    assert codes(planned(scan, policy=FORENSIC.replaced(disk_mounter="affuse"))) == {"1": "unsupported"}
    assert codes(planned(scan, BARE, FORENSIC.replaced(disk_mounter="ewfmount"))) == {"1": "needs-tool"}
    qcow = Scan((disk(container="qcow2"),), scan.volumes)
    (nbd,) = of(planned(qcow, policy=FORENSIC.replaced(disk_mounter="qemu-nbd")), ConnectNbd)
    assert (nbd.image, nbd.format) == ("/images/disk0.dd", "qcow2")
    backed = disk(container="qcow2").replaced(container={"type": "qcow2", "backing_file": "/etc/shadow"})
    made = planned(Scan((backed,), scan.volumes), policy=FORENSIC.replaced(disk_mounter="qemu-nbd"))
    assert codes(made) == {"1": "not-allowed"}


def test_relative_paths_and_sessions(tmp_path: Path) -> None:
    scan = Scan((disk(paths=("here.dd",)),), EXT.volumes)
    made = planned(scan, cwd=str(tmp_path), base="/srv/base", first=7)
    assert made.images == (f"{tmp_path}/here.dd",)
    assert of(made, AttachLoop)[0].backing == f"{tmp_path}/here.dd"
    assert made.steps[0].id == 7
    assert of(made, MakeDirectory)[0].path == f"/srv/base/{SESSION}"
    with pytest.raises(ValueError, match="session"):
        pyimount.planning.plan.plan(scan, FORENSIC, FULL, session="../../x")


def test_a_real_scan(tmp_path: Path) -> None:
    image = Workshop(tmp_path).blank(4 * MIB)
    made = planned(pyimount.detect(image))
    assert codes(made) == {"0": "unknown"}
