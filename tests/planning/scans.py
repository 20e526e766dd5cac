"""Scans that are put together by hand, and what every plan of any scan must hold to."""

from typing import Any

from pyimount.layers import DiskLayer, Group, Recipe, Scan, VolumeLayer
from pyimount.planning.machine import Machine
from pyimount.planning.plan import plan
from pyimount.planning.policy import FORENSIC, Policy
from pyimount.planning.steps import MountPlan, Names, Step

MIB = 1 << 20
SESSION = "0123abcd"
TOOLS = (
    "cryptsetup", "mdadm", "dmsetup", "ntfs-3g", "fsapfsmount", "vmfs-fuse", "fuse2fs", "ewfmount", "xmount",
    "affuse", "qemu-nbd", "vmware-mount", "avfsd", "lvm", "vshadowmount", "bdemount", "dislocker-fuse",
    "photorec",
)  # fmt: skip
DRIVERS = (
    "ext4", "xfs", "btrfs", "vfat", "exfat", "ntfs3", "iso9660", "udf", "hfs", "hfsplus", "ufs", "squashfs",
    "erofs", "f2fs", "jffs2",
)  # fmt: skip
FULL = Machine(
    filesystems=frozenset(DRIVERS),
    device_mapper=True,
    md=True,
    fuse=True,
    nbd=True,
    flash=True,
    tools={tool: f"/usr/bin/{tool}" for tool in TOOLS},
)
"""A machine that has everything."""
BARE = Machine(filesystems=FULL.filesystems, fuse=True)
"""One that has only loop and FUSE."""


def disk(number: int = 0, *, container: str = "raw", size: int | None = 100 * MIB, **more: Any) -> DiskLayer:
    index = more.pop("index", None)
    paths = more.pop("paths", (f"/images/disk{number}.dd",))
    return DiskLayer(
        id=number,
        index=index,
        paths=paths,
        container={"type": container},
        size=size,
        sector_size=512,
        recipe=more.pop("recipe", None) or Recipe("image", {"paths": list(paths), "container": container}),
        **more,
    )


def part(
    number: int, parent: int, index: str, at: int = MIB, size: int = 10 * MIB, **more: Any
) -> VolumeLayer:
    recipe = more.pop("recipe", None) or Recipe("slice", {"offset": at, "size": size})
    if more.get("type") is not None:
        more.setdefault("usage", "filesystem")
    parents = more.pop("parents", (parent,))
    return VolumeLayer(id=number, parents=parents, recipe=recipe, index=index, size=size, **more)


def member(number: int, parent: int, index: str, kind: str, **more: Any) -> VolumeLayer:
    types = {"md": "linux_raid_member", "lvm2": "LVM2_member", "btrfs": "btrfs"}
    group = Group(
        type=kind,
        uuid="group",
        name=None,
        role=str(number),
        members=None,
        present=2,
        complete=True,
        volume="1.0",
    )
    usage = "filesystem" if kind == "btrfs" else "raid"
    return part(number, parent, index, type=types[kind], usage=usage, group=group, **more)


def planned(scan: Scan, machine: Machine = FULL, policy: Policy = FORENSIC, **more: Any) -> MountPlan:
    made = plan(scan, policy, machine, session=SESSION, **more)
    check(made)
    return made


def of(made: MountPlan, kind: type[Step]) -> list[Any]:
    return [step for step in made.steps if isinstance(step, kind)]


def codes(made: MountPlan) -> dict[str, str]:
    return {refusal.index: refusal.code for refusal in made.refused}


def check(made: MountPlan) -> None:
    """What holds for every plan: each step needs only earlier results, and undoes only what it made."""
    results = {step.id: step.yields for step in made.steps}
    assert len(results) == len(made.steps)
    ids = list(results)
    assert ids == list(range(ids[0], ids[0] + len(ids))) if ids else True
    names = Names(SESSION, {number: f"/made/{number}" for number in ids})
    for step in made.steps:
        assert all(need < step.id and results.get(need) for need in step.needs()), step
        for argument in step.argv(names):
            assert isinstance(argument, str)
            assert "\0" not in argument
            assert not argument.startswith("/") or ".." not in argument.split("/") or argument in made.images
