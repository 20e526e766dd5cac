"""Layers within layers, made by a real kernel: a file system in LUKS in LVM on RAID in GPT, on two disks."""

from pathlib import Path

import pytest

import pyimount
from pyimount.mapping import open_layer
from tests.kernel.uml import Kernel, kernel_in
from tests.needing import needs

MIB = 1 << 20
KEY = {"*": "p:secret"}
SCRIPT = r"""
for n in a b; do
    truncate -s 96M $n.img
    printf 'label: gpt\nsize=90M, type=R\n' | sfdisk -q $n.img
done
a=$(losetup -f --show -o 1M --sizelimit 90M a.img)
b=$(losetup -f --show -o 1M --sizelimit 90M b.img)
yes | mdadm --create /dev/md0 --quiet --level=1 --raid-devices=2 --metadata=1.2 $a $b
pvcreate -q /dev/md0
vgcreate -q case /dev/md0
lvcreate -q -an -Zn -n vault -L 64M case
vgchange -q -ay --noudevsync case
printf secret | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/mapper/case-vault -
printf secret | cryptsetup open /dev/mapper/case-vault plain -
mkfs.ext4 -q -L inside -M /srv/vault /dev/mapper/plain
sha256sum < /dev/mapper/plain
cryptsetup close plain
vgchange -q -an --noudevsync case
mdadm --quiet --stop /dev/md0
losetup -d $a $b
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Kernel, str]:
    """The two disks, and the hash of the plain volume as the kernel reads it."""
    needs("sfdisk", "mdadm", "lvm", "cryptsetup", "mkfs.ext4")
    kernel = kernel_in(tmp_path_factory.mktemp("nested"))
    said = kernel.shell(SCRIPT)
    digest = next(word for word in said.split() if len(word) == 64)
    return kernel, digest


def inside(scan: pyimount.Scan) -> pyimount.VolumeLayer:
    return next(volume for volume in scan.volumes if volume.label == "inside")


@pytest.mark.parametrize(
    "names", [("a.img", "b.img"), ("a.img",), ("b.img",)], ids=["both", "first", "second"]
)
def test_everything_is_seen_with_both_disks_or_one(made: tuple[Kernel, str], names: tuple[str, ...]) -> None:
    import hashlib

    kernel, digest = made
    scan = pyimount.detect([kernel.share / name for name in names], keys=KEY)
    found = inside(scan)
    assert (found.type, found.last_mountpoint) == ("ext4", "/srv/vault")
    assert found.index == ("1.1.0.0.0" if len(names) == 2 else "1.0.0.0")
    types = [volume.type for volume in scan.volumes if volume.flag == "alloc"]
    assert types == ["linux_raid_member"] * len(names) + ["LVM2_member", "crypto_LUKS", "ext4"]
    member = scan["1.1" if len(names) == 2 else "1"]
    assert member.group is not None
    assert member.group.complete == (len(names) == 2)
    with open_layer(scan, found, keys=KEY) as source:
        digest_here = hashlib.sha256()
        for at in range(0, source.size, MIB):
            digest_here.update(source.read_at(at, MIB))
    assert digest_here.hexdigest() == digest


def test_without_the_key_it_ends_at_the_lock(made: tuple[Kernel, str]) -> None:
    kernel, _ = made
    scan = pyimount.detect([Path(kernel.share) / "a.img", Path(kernel.share) / "b.img"])
    assert [volume.type for volume in scan.volumes if volume.locked] == ["crypto_LUKS"]
    assert all(volume.label != "inside" for volume in scan.volumes)
