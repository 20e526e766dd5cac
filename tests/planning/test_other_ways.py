"""Plans by other programs, where they are asked for; flash devices; carving; what counts as not mounted."""

import pytest

from pyimount.layers import Group, Recipe, Scan, VolumeLayer
from pyimount.planning.policy import FORENSIC, Policy
from pyimount.planning.shell import script
from pyimount.planning.steps import (
    ActivateVolumeGroup,
    AttachFlash,
    AttachLoop,
    Carve,
    ExposeRaw,
    ExposeShadows,
    ExposeUnlocked,
    MapVolume,
    Mount,
    MountWithTool,
    Names,
    OpenEncrypted,
    Result,
    RunImageMounter,
    step_from_dict,
)
from tests.planning.scans import BARE, FULL, MIB, SESSION, codes, disk, of, part, planned

NAMES = Names(SESSION, {number: f"/dev/loop{number}" for number in range(20)})


def asked(**changes: str) -> Policy:
    return FORENSIC.replaced(**changes)


# LVM.

VG, LV = "zuYWpp-tqOh-LiL1-8Yfk-PAdW-vPlk-qfBNys", "s3yRd1-0rrC-R3L8-IPK6-pAoh-yE2S-2Cq4fu"


def logical(kind: str = "linear", uuid: str | None = LV, vg: str = VG) -> Scan:
    """A volume on the first of two physical volumes; the third is a clone of the second, and apart."""
    disks = tuple(disk(number) for number in range(3))
    pvs = tuple(
        part(
            3 + number,
            number,
            f"{number + 1}.0",
            type="LVM2_member",
            usage="raid",
            group=Group(
                type="lvm2",
                uuid=vg,
                name="case",
                role=role,
                members=2,
                present=2,
                complete=True,
                volume="1.0",
                found=("1.0", "2.0"),
            ),
        )
        for number, role in enumerate(("pv0", "pv1", "pv1"))
    )
    area = {"offset": MIB, "size": 4 * MIB, "pv": "pv0"}
    table = {"type": kind, "start": 0, "size": 4 * MIB, "area": area}
    recipe = Recipe("lvm2", {"volume": "lv", "tables": {"lv": [table]}, "pvs": {"pv0": 0}, "inputs": [3]})
    mapping = {"type": "lvm2", "uuid": uuid, "vg": "case; reboot"}
    return Scan(disks, (*pvs, part(6, 3, "1.0.0", recipe=recipe, size=4 * MIB, type="ext4", mapping=mapping)))


def test_lvm_gets_all_members_once_and_goes_by_uuids() -> None:
    made = planned(logical(), policy=asked(lvm="lvm"))
    (step,) = of(made, ActivateVolumeGroup)
    assert len(of(made, AttachLoop)) == 2
    assert not of(made, MapVolume)
    line = step.argv(NAMES)
    assert line[:3] == ("lvm", "lvchange", "--devices")
    assert line[3] == ",".join(NAMES(place) for place in step.devices)
    assert line[-2:] == ("--select", f"vg_uuid={VG} && lv_uuid={LV}")
    assert step.deactivation(NAMES)[3] == line[3]
    assert of(made, Mount)[0].device == Result(step.id)
    assert not any("reboot" in word for each in made.steps for word in each.argv(NAMES))
    assert step_from_dict(step.to_dict()) == step


def test_lvm_does_what_our_tables_do_not_cover_only_where_the_kernel_is_asked_for() -> None:
    kernel = asked(backend="kernel")
    assert of(planned(logical("raid1"), policy=kernel), ActivateVolumeGroup)
    assert of(planned(logical(), policy=kernel), MapVolume)
    assert of(planned(logical("raid1")), ExposeRaw)
    native = kernel.replaced(lvm="native")
    assert codes(planned(logical("raid1"), policy=native)) == {"1.0.0": "unsupported"}
    bare = planned(logical(), BARE, asked(lvm="lvm"))
    assert codes(bare) == {"1.0.0": "needs-tool"}


@pytest.mark.parametrize(
    ("uuid", "vg"), [(None, VG), (LV, "x"), ("' || lv_name!='" + LV, VG), (LV + "\n", VG)]
)
def test_what_is_no_uuid_gets_into_no_command(uuid: str | None, vg: str) -> None:
    assert codes(planned(logical(uuid=uuid, vg=vg), policy=asked(lvm="lvm"))) == {"1.0.0": "unsupported"}


# BitLocker.

BITLOCKER = Scan(
    (disk(),),
    (
        part(1, 0, "1", type="BitLocker", usage="crypto", locked=False, uuid="U-1"),
        part(2, 1, "1.0", size=8 * MIB, recipe=Recipe("bitlocker", {}), type="ext4"),
    ),
)


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("bdemount", ("bdemount", "-s", "K", "/dev/loop0", "/dev/loop3")),
        (
            "dislocker",
            ("dislocker-fuse", "-V", "/dev/loop0", "-r", "-s", "K", "--", "-o", "ro", "/dev/loop3"),
        ),
    ],
)
def test_bitlocker_by_another(program: str, line: tuple[str, ...]) -> None:
    made = planned(BITLOCKER, policy=asked(bitlocker=program), keys_for={"1": frozenset("s")})
    (step,), loops = of(made, ExposeUnlocked), of(made, AttachLoop)
    names = Names(SESSION, {loops[0].id: "/dev/loop0", step.at.step: "/dev/loop3"})
    assert step.argv_with(names, ("-s", "K")) == line
    assert (step.key, step.uuid) == ("1", "U-1")
    file = {"bdemount": "bde1", "dislocker": "dislocker-file"}[program]
    assert loops[1].backing == Result(step.id, file)
    assert all(loop.read_only for loop in loops)
    assert step_from_dict(step.to_dict()) == step


def test_a_kind_of_key_that_would_be_seen_is_refused() -> None:
    for program, kinds, passes in (
        ("bdemount", "p", False),
        ("bdemount", "r", False),
        ("dislocker", "r", False),
        ("dislocker", "p", True),
    ):
        made = planned(BITLOCKER, policy=asked(bitlocker=program), keys_for={"1": frozenset(kinds)})
        assert bool(of(made, ExposeUnlocked)) == passes
        assert codes(made) == ({} if passes else {"1.0": "locked"})


def test_bitlocker_by_cryptsetup_or_not_at_all() -> None:
    policy, keys = asked(bitlocker="cryptsetup"), {"1": frozenset("p")}
    assert of(planned(BITLOCKER, policy=policy, keys_for=keys), OpenEncrypted)
    made = planned(BITLOCKER, BARE, policy, keys_for=keys)
    assert codes(made) == {"1.0": "unsupported"}
    assert made.refused[0].remedy == "--bitlocker auto"


# Shadow copies.


def shadow(number: int, name: str | None) -> VolumeLayer:
    return part(
        number, 1, f"1.{number}", recipe=Recipe("vss", {}), type="ext4", name=name, mapping={"type": "vss"}
    )


def test_shadow_copies_by_vshadowmount() -> None:
    ntfs = part(1, 0, "1", type="ntfs")
    scan = Scan((disk(),), (ntfs, shadow(2, "vss1"), shadow(3, "vss2"), shadow(4, "../x")))
    made = planned(scan, policy=asked(vshadow_mounter="vshadowmount"), shadows=True)
    (step,) = of(made, ExposeShadows)
    assert step.argv(NAMES)[0] == "vshadowmount"
    files = [loop.backing.file for loop in of(made, AttachLoop) if isinstance(loop.backing, Result)]
    assert files == ["vss1", "vss2"]
    assert codes(made) == {"1.4": "damaged"}
    assert not of(made, ExposeRaw)
    assert of(planned(scan, shadows=True), ExposeRaw)


# Packed images.


@pytest.mark.parametrize(
    ("path", "container", "file"),
    [
        ("/cases/a b/disk.gz", {"type": "gzip"}, "cases/a b/disk.gz#"),
        ("/cases/{stem}.zip", {"type": "zip", "name": "in/{path}.dd"}, "cases/{stem}.zip#/in/{path}.dd"),
        ("/cases/disk.zip", {"type": "zip", "name": "../../etc/shadow"}, None),
        ("/cases/disk.zip", {"type": "zip", "name": "a.gz#/x"}, None),
        ("/cases/#http:host.gz", {"type": "gzip"}, None),
        ("/cases/disk.E01", {"type": "ewf"}, None),
    ],
)
def test_avfs(path: str, container: dict[str, str], file: str | None) -> None:
    image = disk(paths=(path,)).replaced(container=container)
    made = planned(Scan((image,), (part(1, 0, "1", type="ext4"),)), policy=asked(disk_mounter="avfs"))
    if file is None:
        assert codes(made) == {"1": "unsupported"}
        return
    (step,) = of(made, RunImageMounter)
    assert step.argv(NAMES)[0] == "avfsd"
    assert of(made, AttachLoop)[0].backing == Result(step.id, file)


def test_none_of_them_writes_and_each_says_when_it_is_missing() -> None:
    ntfs = part(1, 0, "1", type="ntfs")
    shadows = Scan((disk(),), (ntfs, shadow(2, "vss1")))
    for scan, change, index in (
        (logical(), {"lvm": "lvm"}, "1.0.0"),
        (BITLOCKER, {"bitlocker": "bdemount"}, "1.0"),
        (shadows, {"vshadow_mounter": "vshadowmount"}, "1.2"),
    ):
        policy = asked(**change)
        keys = {"1": frozenset("s")}
        writing = planned(
            scan, policy=policy.replaced(read_write=True), cache="/cache", shadows=True, keys_for=keys
        )
        assert codes(writing)[index] == "unsupported"
        lacking = planned(scan, FULL.replaced(tools={}), policy, shadows=True, keys_for=keys)
        assert codes(lacking)[index] == "needs-tool"


# Flash.


def jffs2(number: int = 1, size: int = MIB, **details: object) -> VolumeLayer:
    said = {"byte_order": "little", "erase_block_size": None, **details}
    return part(number, 0, str(number), at=number * MIB, size=size, type="jffs2", details=said)


def test_jffs2_is_copied_into_a_flash_device() -> None:
    policy = FORENSIC.replaced(allow_fs=frozenset({"jffs2"}))
    made = planned(Scan((disk(),), (jffs2(erase_block_size=65536),)), policy=policy)
    (flash,), (mount,) = of(made, AttachFlash), of(made, Mount)
    assert (flash.erase_size, flash.total) == (65536, MIB)
    assert (mount.device, mount.type, mount.options, mount.read_only) == (Result(flash.id), "jffs2", (), True)
    assert flash.undo_argv("mtd0") == ("modprobe", "--remove", "mtdram")
    unknown = planned(Scan((disk(),), (jffs2(size=300_000),)), policy=policy)
    # Five blocks it wants at least.
    assert [step.total for step in of(unknown, AttachFlash)] == [5 * (256 << 10)]
    hostile = planned(Scan((disk(),), (jffs2(erase_block_size=1 << 40),)), policy=policy)
    assert of(hostile, AttachFlash)[0].erase_size == 256 << 10


def test_jffs2_that_is_not_mounted() -> None:
    policy = FORENSIC.replaced(allow_fs=frozenset({"jffs2"}))
    assert codes(planned(Scan((disk(),), (jffs2(),)))) == {"1": "not-allowed"}
    for volume, machine, word in (
        (jffs2(byte_order="big"), FULL, "byte order"),
        (jffs2(size=2 << 30), FULL, "memory"),
        (jffs2(), FULL.replaced(flash=False), "mtdram"),
    ):
        (refusal,) = planned(Scan((disk(size=4 << 30),), (volume,)), machine, policy).refused
        assert refusal.code == "unsupported"
        assert word in refusal.reason
    two = planned(Scan((disk(),), (jffs2(1), jffs2(2))), policy=policy)
    assert codes(two) == {"2": "unsupported"}
    assert two.refused[0].remedy == "--only-mount 2"


# Carving.


def test_what_is_carved_and_how() -> None:
    volumes = (
        part(1, 0, "1", type="ext4"),
        part(2, 0, "2", type="xfs"),
        part(3, 0, "3", type="zfs_member"),
        part(4, 0, "4"),
        part(5, 0, "5", flag="unalloc"),
        part(6, 0, "6", flag="meta"),
        part(7, 0, "7", type="crypto_LUKS", usage="crypto", locked=True),
        part(8, 0, "8", type="swap", usage="other"),
        part(9, 0, "$(x)"),
    )
    made = planned(Scan((disk(),), volumes), carve="/cases/carved")
    said = {step.layer: (step.at, step.free_only) for step in of(made, Carve)}
    assert said == {
        1: ("/cases/carved/1", True),
        2: ("/cases/carved/2", False),
        3: ("/cases/carved/3", False),
        4: ("/cases/carved/4", False),
        5: ("/cases/carved/5", False),
        9: ("/cases/carved/layer9", False),
    }
    kinds = [type(step) for step in made.steps]
    assert kinds.index(Carve) > max(number for number, kind in enumerate(kinds) if kind is Mount)
    assert len(of(made, AttachLoop)) == len(said), "what is mounted is not attached again"
    assert not of(planned(Scan((disk(),), volumes)), Carve)
    only = planned(Scan((disk(),), volumes), carve="/cases/carved", only=["5"])
    assert [step.layer for step in of(only, Carve)] == [5]


def test_without_photorec_that_is_said_of_each() -> None:
    made = planned(Scan((disk(),), (part(1, 0, "1", type="ext4"),)), BARE, carve="/cases/carved")
    assert [(each.index, each.code) for each in made.uncarved] == [("1", "needs-tool")]
    assert not made.refused
    assert "# Not carved:" in list(script(made))
    assert made.to_dict()["uncarved"][0]["reason"] == "photorec is not installed"


# What counts as not mounted.


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("0x83", "unknown"),
        (None, "unknown"),
        ("0fc63daf-8483-4772-8e79-3d69d8477de4", "unknown"),
        ("E3C9E316-0B5C-4DB8-817D-F92DF00215AE", None),
        ("21686148-6449-6e6f-744e-656564454649", None),
        ("0xda", None),
        ("Apple_Driver43", None),
    ],
)
def test_what_is_not_recognised_counts_unless_its_type_holds_nothing(
    kind: str | None, code: str | None
) -> None:
    made = planned(Scan((disk(),), (part(1, 0, "1", part_type=kind), part(2, 0, "2", flag="unalloc"))))
    assert codes(made) == ({"": "nothing"} if code is None else {"1": code})


# NTFS.


@pytest.mark.parametrize("state", ["clean", "dirty", "hibernated", None])
def test_ntfs_as_it_was_left(state: str | None) -> None:
    """Both drivers mount it read-only, whatever its log and its hibernation file say."""
    scan = Scan((disk(),), (part(1, 0, "1", type="ntfs", state=state),))
    assert of(planned(scan), Mount)[0].type == "ntfs3"
    lacking = FULL.replaced(filesystems=frozenset())
    allowed = FORENSIC.replaced(allow_fs=frozenset({"ntfs-3g"}))
    (step,) = of(planned(scan, lacking, allowed), MountWithTool)
    assert step.argv(NAMES)[:2] == ("ntfs-3g", "-o")
    assert step.argv(NAMES)[2] == "ro,show_sys_files,streams_interface=windows,nosuid,nodev,noexec"


@pytest.mark.parametrize(
    ("state", "code"), [("dirty", "dirty"), ("hibernated", "hibernated"), ("error", "damaged")]
)
def test_a_state_that_a_driver_refuses_is_the_code(
    state: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    from pyimount.parsers.filesystems.ntfs import FORMAT
    from pyimount.planning import contents

    ways = tuple(way.replaced(refuses=(state,)) for way in FORMAT.mounts)
    monkeypatch.setattr(contents, "format_of", lambda _: FORMAT.replaced(mounts=ways))
    scan = Scan((disk(),), (part(1, 0, "1", type="ntfs", state=state),))
    allowed = FORENSIC.replaced(allow_fs=frozenset({"ntfs-3g"}))
    (refusal,) = planned(scan, policy=allowed).refused
    assert refusal.code == code
    assert f"the volume is {state}, and ntfs3 does not mount it without writing" in refusal.reason
    assert refusal.remedy is not None
    assert refusal.remedy.startswith("--read-write")
