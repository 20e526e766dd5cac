"""Volume groups that LVM itself maps, of what pyimount attached, in a kernel that has device-mapper."""

import hashlib
import json

import pytest

from tests.kernel.uml import Kernel, kernel_in
from tests.needing import needs

MAKE = """\
mkdir -p /run/lvm
for n in a b; do truncate -s 64M case-$n.img other-$n.img; done
for name in case other; do
    a=$(losetup -f --show $name-a.img); b=$(losetup -f --show $name-b.img)
    pvcreate -q -q $a $b; vgcreate -q -q case $a $b
    lvcreate -q -q -an -Zn -Wn -n linear -L 12M case $a
    lvcreate -q -q -an -Zn -Wn -n striped -i 2 -I 64k -L 16M case
    lvcreate -q -q -an -Zn -Wn -y --type raid1 -m 1 -n mirrored -L 12M case
    lvcreate -q -q -an -Zn -Wn -y -T -L 16M -V 32M -n thin case/pool
    vgchange -q -q -ay --noudevsync case
    for volume in linear striped mirrored thin; do
        mke2fs -q -t ext4 /dev/mapper/case-$volume
        mount /dev/mapper/case-$volume /mnt; echo $name-$volume > /mnt/first; umount /mnt
    done
    vgchange -q -q -an --noudevsync case
    losetup -D
done
"""
IMAGES = [f"{name}-{letter}.img" for name in ("case", "other") for letter in "ab"]

MOUNT = """\
import json
import os
import subprocess
from pathlib import Path

from pyimount.mounting import mounting
from pyimount.execution.undoing import undo_session
from pyimount.planning.policy import FORENSIC
from pyimount.planning.steps import ActivateVolumeGroup, MapVolume

ours = [Path("{share}") / name for name in ("case-a.img", "case-b.img")]
theirs = [Path("{share}") / name for name in ("other-a.img", "other-b.img")]


def said(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def state():
    return said("dmsetup", "ls"), said("losetup", "-a"), Path("/proc/self/mounts").read_text()


def mounted(**policy):
    made = mounting.mount(mounting.look(ours), policy=FORENSIC.replaced(**policy))
    found = {{}}
    for each in made.volumes:
        at = each.mountpoint
        name = each.volume.name or each.index
        found[name] = Path(at, "first").read_text().strip() if at else each.refusal.reason
    kinds = [type(step).__name__ for step in made.plan.steps]
    undone = undo_session(made.session)
    assert undone.ended, undone.left
    return {{"found": found, "lvm": kinds.count("ActivateVolumeGroup"), "dmsetup": kinds.count("MapVolume")}}


os.makedirs("/run/lvm", exist_ok=True)
before = state()
results = {{"lvm": mounted(lvm="lvm"), "auto": mounted(backend="kernel")}}
assert state() == before, (state(), before)
# The host's own group of the same name is never seen, and never let go.
for image in theirs:
    said("losetup", "-f", "--show", image)
said("vgchange", "-q", "-ay", "--noudevsync", "case")
before = state()
results["beside"] = mounted(lvm="lvm")
assert state() == before, (state(), before)
print("results " + json.dumps(results))
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    needs("lvm", "dmsetup", "mke2fs")
    made = kernel_in(tmp_path_factory.mktemp("groups"))
    made.shell(MAKE, timeout=900)
    return made


def test_lvm_itself_on_our_devices_alone(kernel: Kernel) -> None:
    before = {name: hashlib.sha256((kernel.share / name).read_bytes()).hexdigest() for name in IMAGES[:2]}
    output = kernel.python(MOUNT.format(share=kernel.share), timeout=900)
    line = next(line for line in output.splitlines() if line.startswith("results "))
    results = json.loads(line.removeprefix("results "))
    volumes = ("linear", "striped", "mirrored", "thin")
    everything = {name: f"case-{name}" for name in volumes}
    assert results["lvm"] == {"found": everything, "lvm": 4, "dmsetup": 0}
    # What our own tables have, they map; LVM does the rest.
    assert results["auto"] == {"found": everything, "lvm": 2, "dmsetup": 2}
    for name in volumes:
        assert "a volume group of this name is active here" in results["beside"]["found"][name]
    after = {name: hashlib.sha256((kernel.share / name).read_bytes()).hexdigest() for name in IMAGES[:2]}
    assert after == before


MAKE_XFS = """\
truncate -s 320M fs.img; truncate -s 64M log.img
mkfs.xfs -q -l logdev=log.img,size=64m fs.img
f=$(losetup -f --show fs.img); l=$(losetup -f --show log.img)
mount -t xfs -o logdev=$l $f /mnt; echo inside > /mnt/first; umount /mnt
losetup -D
"""
MOUNT_XFS = """\
from pathlib import Path

from pyimount.execution.undoing import undo_session
from pyimount.mounting import mounting
from pyimount.planning.policy import FORENSIC

images = [Path("{share}/fs.img"), Path("{share}/log.img")]
before = [image.read_bytes() for image in images]
policy = FORENSIC.replaced(backend="kernel", read_write=True)
made = mounting.mount(mounting.look(images), policy=policy, cache="{share}/cache")
print("results", [each.mountpoint and Path(each.mountpoint, "first").read_text() for each in made.volumes])
undone = undo_session(made.session)
assert undone.ended, undone.left
assert [image.read_bytes() for image in images] == before
"""


def test_an_xfs_whose_log_is_on_another_device(uml: Kernel) -> None:
    needs("mkfs.xfs")
    uml.shell(MAKE_XFS)
    assert "results ['inside\\n']" in uml.python(MOUNT_XFS.format(share=uml.share))
