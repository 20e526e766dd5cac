"""Plans for what stands on several devices, run in a real kernel just as the dry run prints them."""

import hashlib
from pathlib import Path

import pytest

import pyimount
from pyimount.planning.machine import Machine
from pyimount.planning.plan import plan
from pyimount.planning.policy import FORENSIC
from pyimount.planning.shell import script
from pyimount.planning.steps import (
    AssembleArray,
    ExposeRaw,
    MakeDirectory,
    MapVolume,
    Mount,
    MountPlan,
    OpenEncrypted,
)
from tests.kernel.uml import Kernel, kernel_in
from tests.needing import needs

UML = Machine(
    filesystems=frozenset(("ext4", "btrfs")),
    device_mapper=True,
    md=True,
    tools={tool: tool for tool in ("dmsetup", "mdadm", "cryptsetup")},
    kernel=(6, 1),
)
MAKE = """\
for n in a b c; do truncate -s 64M lvm-$n.img md-$n.img; truncate -s 128M btrfs-$n.img; done
a=$(losetup -f --show lvm-a.img); b=$(losetup -f --show lvm-b.img)
pvcreate -q -q $a $b; vgcreate -q -q case $a $b
lvcreate -q -q -an -Zn -Wn -n striped -i 2 -I 64k -L 16M case
lvcreate -q -q -an -Zn -Wn -n linear -L 12M case $a
lvextend -q -q -L 40M case/linear $b
vgchange -q -q -ay --noudevsync case
for name in striped linear; do
    mke2fs -q -t ext4 /dev/mapper/case-$name
    mount /dev/mapper/case-$name /mnt; echo $name > /mnt/first; umount /mnt
done
vgchange -q -q -an --noudevsync case
losetup -D
a=$(losetup -f --show md-a.img); b=$(losetup -f --show md-b.img); c=$(losetup -f --show md-c.img)
yes | mdadm --create /dev/md0 --quiet --level=5 --raid-devices=3 --assume-clean $a $b $c
mke2fs -q -t ext4 /dev/md0
mount /dev/md0 /mnt; echo array > /mnt/first; umount /mnt
mdadm --quiet --stop /dev/md0
losetup -D
a=$(losetup -f --show btrfs-a.img); b=$(losetup -f --show btrfs-b.img)
mkfs.btrfs -q -f -d raid1 -m raid1 $a $b
mount -o device=$a,device=$b $a /mnt; echo several > /mnt/first; umount /mnt
losetup -D
truncate -s 32M luks.img; a=$(losetup -f --show luks.img)
printf secret | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $a -
printf secret | cryptsetup open $a plain -
mke2fs -q -t ext4 /dev/mapper/plain
mount /dev/mapper/plain /mnt; echo locked > /mnt/first; umount /mnt
cryptsetup close plain; losetup -D
"""
IMAGES = [
    *(
        f"{kind}-{name}.img"
        for kind, names in (("lvm", "ab"), ("md", "abc"), ("btrfs", "ab"))
        for name in names
    ),
    "luks.img",
]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    needs("lvm", "mdadm", "mkfs.btrfs", "mke2fs", "cryptsetup", "dmsetup")
    made = kernel_in(tmp_path_factory.mktemp("plans"))
    made.shell(MAKE, timeout=900)
    return made


def ran(kernel: Kernel, planned: MountPlan) -> list[str]:
    """What is read in each mount; the images must be unchanged."""
    folders = {step.id: step.path for step in planned.steps if isinstance(step, MakeDirectory)}
    commands = "\n".join(script(planned)).replace("cryptsetup open", "printf secret | cryptsetup open")
    reading = "\n".join(
        f"echo read $(cat /run/pyimount/{planned.session}/mnt/{folders[step.at.step]}/first)"
        for step in planned.steps
        if isinstance(step, Mount) and not isinstance(step.at, str)
    )
    before = digests(kernel.share)
    lines = kernel.shell(f"{commands}\n{reading}\n", timeout=900).splitlines()
    assert digests(kernel.share) == before
    return [line.removeprefix("read ") for line in lines if line.startswith("read ")]


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in IMAGES}


def planned(kernel: Kernel, *names: str) -> MountPlan:
    scan = pyimount.detect([kernel.share / name for name in names], keys={"*": "p:secret"})
    return plan(scan, FORENSIC.replaced(backend="kernel"), UML, session="0123abcd")


def test_logical_volumes_over_two_disks(kernel: Kernel) -> None:
    made = planned(kernel, "lvm-a.img", "lvm-b.img")
    assert len([step for step in made.steps if isinstance(step, MapVolume)]) == 2
    assert not made.refused
    assert ran(kernel, made) == ["striped", "linear"]


def test_an_array_of_three(kernel: Kernel) -> None:
    made = planned(kernel, "md-a.img", "md-b.img", "md-c.img")
    assert len([step for step in made.steps if isinstance(step, AssembleArray)]) == 1
    assert ran(kernel, made) == ["array"]


@pytest.mark.parametrize("names", [("btrfs-a.img", "btrfs-b.img"), ("btrfs-a.img",), ("btrfs-b.img",)])
def test_a_btrfs_on_two_disks_or_on_what_is_left_of_them(kernel: Kernel, names: tuple[str, ...]) -> None:
    made = planned(kernel, *names)
    assert not made.refused
    assert ran(kernel, made) == ["several"]


def test_a_lock(kernel: Kernel) -> None:
    made = planned(kernel, "luks.img")
    assert len([step for step in made.steps if isinstance(step, OpenEncrypted)]) == 1
    assert not [step for step in made.steps if isinstance(step, ExposeRaw)]
    assert ran(kernel, made) == ["locked"]
