"""The tree that was there before: last mount points, fstab, directories, and what is hostile in these."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyimount.layers import Recipe, Scan, VolumeLayer
from pyimount.planning.facts import Facts
from pyimount.planning.fstab import fstab_lines
from pyimount.planning.reconstruct import BadTarget, Reconstruction, mounted_by, reconstruct, target_of
from pyimount.planning.steps import BindMount, Mount, Result
from tests.planning.scans import MIB, disk, part, planned

UNIX = ("bin", "etc", "home", "lib", "root", "usr", "var", "boot")


def scan_of(*volumes: VolumeLayer, disks: int = 1) -> Scan:
    several = disks > 1
    return Scan(
        tuple(disk(900 + number, index=str(number + 1) if several else None) for number in range(disks)),
        volumes,
    )


def volume(number: int, **more: Any) -> VolumeLayer:
    index = more.pop("index", str(number))
    return part(number, more.pop("parent", 900), index, at=number * 10 * MIB, type="ext4", **more)


def rebuilt(scan: Scan, *facts: Facts, **more: Any) -> Reconstruction:
    mounted = {each.id: f"/m/{each.id}" for each in scan.volumes if each.usage == "filesystem"}
    return reconstruct(scan, mounted, facts, first=100, **more)


def binds(found: Reconstruction) -> dict[str, str]:
    assert all(isinstance(step, BindMount) and step.root == found.path for step in found.steps)
    return {step.target: str(step.source) for step in found.steps if isinstance(step, BindMount)}


def test_last_mount_points_in_the_order_of_their_paths() -> None:
    scan = scan_of(
        volume(1, last_mountpoint="/var/log"),
        volume(2, last_mountpoint="/"),
        volume(3, last_mountpoint="/var/"),
        volume(4, last_mountpoint="/home"),
    )
    found = rebuilt(scan)
    assert (found.root, found.path) == (2, "/m/2")
    assert list(binds(found).items()) == [("/home", "/m/4"), ("/var", "/m/3"), ("/var/log", "/m/1")]
    assert [step.id for step in found.steps] == [100, 101, 102]
    assert not found.unplaced


def test_without_a_root_nothing_is_placed_and_that_is_said() -> None:
    found = rebuilt(scan_of(volume(1, last_mountpoint="/home")), Facts(layer=1, names=("ann", "bob")))
    assert (found.root, found.steps) == (None, ())
    assert [each.index for each in found.unplaced] == ["1"]
    assert rebuilt(scan_of(volume(1)), root=1).root == 1


def test_the_root_is_the_one_that_looks_like_it_among_several() -> None:
    scan = scan_of(volume(1, last_mountpoint="/"), volume(2, last_mountpoint="/"), volume(3))
    said = Facts(layer=2, names=UNIX, os_release='PRETTY_NAME="Debian GNU/Linux 12"\nVERSION_ID=12\n')
    found = rebuilt(scan, said, Facts(layer=3, names=UNIX))
    assert (found.root, found.root_by) == (2, "its last mount point")
    assert dict(found.system) == {"name": "Debian GNU/Linux 12", "version": "12"}
    assert "volume 2 is the root" in found.unplaced[0].reason
    assert rebuilt(scan_of(volume(1)), Facts(layer=1, names=("Windows", "Users", "pagefile.sys"))).root == 1


FSTAB = """\
# <file system> <mount point>
UUID=AAAA-1 / ext4 errors=remount-ro 0 1
uuid=no /no ext4
LABEL=my\\040data /srv/my\\040data ext4 defaults 0 2
PARTUUID="0000-BB" /a ext4
PARTLABEL=users /home ext4
/dev/sdb2 /b ext4
/dev/mapper/the--vg-log /var/log ext4 defaults
/dev/the-vg/opt /opt ext4
/dev/mapper/luks-99 /c ext4
/dev/mapper/crypt1 /d ext4
/dev/md/host2 /e ext4
/dev/disk/by-uuid/FFFF /f ext4
/dev/sda5 none swap sw 0 0
tmpfs /tmp tmpfs
nonsense
"""


def test_fstab_names_volumes_in_every_way() -> None:
    mapped = Recipe("lvm2", {"inputs": [1]})
    scan = scan_of(
        volume(1, uuid="aaaa-1", index="1.1", last_mountpoint="/"),
        volume(2, label="my data", index="1.2"),
        volume(3, part_uuid="0000-bb", index="1.3"),
        volume(4, part_name="users", index="1.4"),
        volume(5, parent=901, index="2.2"),
        volume(6, recipe=mapped, name="log", mapping={"type": "lvm2", "vg": "the-vg"}, index="1.1.0"),
        volume(7, recipe=mapped, name="opt", mapping={"type": "lvm2", "vg": "the-vg"}, index="1.1.1"),
        part(8, 900, "1.8", type="crypto_LUKS", usage="crypto", uuid="99"),
        volume(9, parents=(8,), recipe=Recipe("luks"), index="1.8.0"),
        part(10, 900, "1.10", type="crypto_LUKS", usage="crypto", uuid="77"),
        volume(11, parents=(10,), recipe=Recipe("luks"), index="1.10.0"),
        volume(12, recipe=Recipe("md"), name="box:host2", mapping={"type": "md"}, index="1.12.0"),
        volume(13, uuid="ffff", index="1.13"),
        volume(14, index="1.14"),
        disks=2,
    )
    said = Facts(layer=1, names=UNIX, fstab=FSTAB, crypttab="crypt1 UUID=77 none luks\n")
    found = rebuilt(scan, said)
    assert binds(found) == {
        "/a": "/m/3", "/b": "/m/5", "/c": "/m/9", "/d": "/m/11", "/e": "/m/12", "/f": "/m/13",
        "/home": "/m/4", "/opt": "/m/7", "/srv/my data": "/m/2", "/var/log": "/m/6",
    }  # fmt: skip
    assert [each.index for each in found.unplaced] == ["1.14"]
    assert {each.by for each in found.placed} == {"fstab"}


def test_device_names_count_from_the_roots_own() -> None:
    scan = scan_of(volume(1, index="1.1", last_mountpoint="/"), volume(2, parent=901, index="2.1"), disks=2)
    text = "/dev/sdc1 / ext4\n/dev/sdd1 /data ext4\n/dev/sda1 /no ext4\n"
    assert binds(rebuilt(scan, Facts(layer=1, names=UNIX, fstab=text))) == {"/data": "/m/2"}
    for name in ("nvme1n1p1", "mmcblk1p1", "vdb1", "hdb1", "xvdb1"):
        assert binds(rebuilt(scan, Facts(layer=1, names=UNIX, fstab=f"/dev/{name} /data ext4"))) == {
            "/data": "/m/2"
        }


@pytest.mark.parametrize(
    ("names", "kind", "homes", "target"),
    [
        (("grub", "vmlinuz-6.1", "config-6.1"), "ext4", (), "/boot"),
        (("EFI",), "vfat", (), "/boot/efi"),
        (("bin", "lib", "share", "local", "src"), "ext4", (), "/usr"),
        (("bin", "lib", "share", "src", "games"), "ext4", (), "/usr/local"),
        (("lib", "log", "cache", "spool", "tmp"), "ext4", (), "/var"),
        (("ann", "bob"), "ext4", ("ann",), "/home"),
    ],
)
def test_directories_tell_where_nothing_else_does(
    names: tuple[str, ...], kind: str, homes: tuple[str, ...], target: str
) -> None:
    scan = scan_of(volume(1, last_mountpoint="/"), volume(2).replaced(type=kind))
    found = rebuilt(scan, Facts(layer=2, names=names, homes=homes))
    assert binds(found) == {target: "/m/2"}
    assert found.placed[0].by == "its directories"


def test_the_first_claim_counts_and_the_next_is_tried() -> None:
    scan = scan_of(
        volume(1, last_mountpoint="/"),
        volume(2, last_mountpoint="/home"),
        volume(3, last_mountpoint="/home", uuid="3"),
        volume(4, last_mountpoint="/home/"),
        volume(5, last_mountpoint="/../../etc"),
    )
    found = rebuilt(scan, Facts(layer=1, names=UNIX, fstab="UUID=3 /srv ext4"))
    assert binds(found) == {"/home": "/m/2", "/srv": "/m/3"}
    reasons = {each.index: each.reason for each in found.unplaced}
    assert "where volume 2 is" in reasons["4"]
    assert ".." in reasons["5"]


@pytest.mark.parametrize(
    "text",
    [
        "", None, "home", "/..", "/../../etc", "/a/../b", "/.", "/a/./b", "/a\0b", "/a\nb", "/\x1b[2J",
        "/" + "x" * 300, "/x" * 2000, "/a\u202eb", "/\ud800",
    ],
)  # fmt: skip
def test_hostile_mount_points_are_refused(text: str | None) -> None:
    with pytest.raises(BadTarget):
        target_of(text)


@given(st.text(max_size=60) | st.text("/.ab", max_size=20))
def test_any_target_is_a_plain_path(text: str) -> None:
    try:
        target = target_of(text)
    except BadTarget:
        return
    elements = target[1:].split("/")
    assert target.startswith("/")
    assert target == "/" or all(element not in ("", ".", "..") for element in elements)
    assert target.isprintable()
    assert target_of(target) == target


@given(st.text(max_size=200), st.text(max_size=40), st.text(max_size=40))
def test_any_fstab_gives_a_tree(text: str, last: str, names: str) -> None:
    scan = scan_of(volume(1, last_mountpoint="/", uuid="u"), volume(2, last_mountpoint=last, uuid=last))
    facts = Facts(layer=1, names=tuple(names), fstab=f"UUID={last} {text}\n{text}", crypttab=text)
    found = rebuilt(scan, facts, Facts(layer=2, names=tuple(names)))
    assert found.root == 1
    for target in binds(found):
        assert target_of(target) == target
    assert len(found.placed) + len(found.unplaced) == 1


def test_subvolumes_of_a_btrfs_are_mounted_as_its_fstab_has_them() -> None:
    scan = Scan((disk(),), (part(1, 0, "1", type="btrfs", uuid="b"),))
    plan = planned(scan)
    fstab = (
        "UUID=b / btrfs subvol=@ 0 0\nUUID=b /home btrfs defaults,subvol=/@home\n"
        "UUID=b /x btrfs subvol=a,exec\nUUID=b /y btrfs subvol=$(x)\nUUID=b /../z btrfs subvol=@z\n"
    )
    said = Facts(layer=1, names=("@", "@home"), fstab=fstab, subvolume="@")
    found = reconstruct(scan, mounted_by(plan), [said], first=len(plan.steps), plan=plan)
    mounts = [step for step in found.steps if isinstance(step, Mount)]
    assert [step.options for step in mounts] == [
        ("rescue=nologreplay", "subvol=/@"),
        ("rescue=nologreplay", "subvol=/@home"),
        ("rescue=nologreplay", "subvol=/a"),
    ]
    assert found.path == Result(mounts[0].id)
    targets = {step.target: step.source for step in found.steps if isinstance(step, BindMount)}
    assert targets == {"/home": Result(mounts[1].id), "/x": Result(mounts[2].id)}
    assert len(found.unplaced) == 2
    from tests.planning.scans import check

    check(plan.replaced(steps=(*plan.steps, *found.steps)))


@pytest.mark.parametrize("digits", ["9" * 10, "9" * 5000, "\u0663", "-1", "1_0"], ids=lambda each: each[:10])
@pytest.mark.parametrize(
    "name", ["sda{}", "nvme{}n1p1", "nvme0n1p{}", "mmcblk{}p1", "mmcblk0p{}", "md{}", "xvdb{}"]
)
@pytest.mark.parametrize("target", ["/", "/data"])
def test_a_device_of_no_number(name: str, digits: str, target: str) -> None:
    scan = scan_of(volume(1, last_mountpoint="/"), volume(2))
    text = f"/dev/{name.format(digits)} {target} ext4\n"
    rebuilt(scan, Facts(layer=1, names=UNIX, fstab=text))


def test_fstab_lines() -> None:
    entries = list(fstab_lines(FSTAB))
    assert entries[2].target == "/srv/my data"
    assert all(entry.type != "swap" for entry in entries)
    assert not list(fstab_lines(None))
