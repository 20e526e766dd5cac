"""In the guest: imagemounter 3.1.0 mounts what needs device-mapper and md, and leaves it to pyimount.

Here all that stands is the test's own, so an Unmounter may be as greedy as it likes.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.kernel.mount_steps import state

IMAGES = ("group.raw", "disk.raw", "first.raw", "second.raw")

MAKE = """
export LVM_SUPPRESS_FD_WARNINGS=1
mkdir -p /run/lvm /etc/lvm
cat >/etc/lvm/lvm.conf <<X
devices { use_devicesfile=0 scan="/dev" filter=["a|/dev/loop.*|","r|.*|"] }
activation { udev_sync=0 udev_rules=0 monitoring=0 verify_udev_operations=1 }
backup { backup=0 archive=0 }
X
truncate -s 40M group.raw
d=$(losetup -f --show group.raw)
vgcreate -qq -s 64k case $d
lvcreate -y -qq -n root -L 8M case
lvcreate -y -qq -n home -L 4M case
mkfs.ext4 -q -L root -M / /dev/case/root
mkfs.ext4 -q -M /home /dev/case/home
mount /dev/case/root /mnt
mkdir /mnt/home
umount /mnt
vgchange -qq -an case
losetup -d $d

truncate -s 32M disk.raw
sgdisk -n 1:2048:+24M disk.raw >/dev/null
d=$(losetup -f --show -o 1M --sizelimit 24M disk.raw)
printf secret | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $d -
printf secret | cryptsetup open $d made
mkfs.ext4 -q -L locked /dev/mapper/made
cryptsetup close made
losetup -d $d

truncate -s 8M first.raw second.raw
a=$(losetup -f --show first.raw)
b=$(losetup -f --show second.raw)
mdadm --create /dev/md9 --run --quiet --level=1 --metadata=1.2 -n2 $a $b
mkfs.ext4 -q /dev/md9
mdadm --stop --quiet /dev/md9
losetup -d $a $b
"""

PROGRAM = """
import importlib, json, os, sys
package = importlib.import_module(sys.argv[1])
parser = package.ImageParser(sys.argv[3:], keys={"*": "p:secret"})
told = []
for volume in parser.init():
    told.append([volume.index, volume.flag, volume.size, volume.fstype, bool(volume.mountpoint)])
root = parser.reconstruct()
told.append(os.listdir(root.mountpoint + "/home"))
print(json.dumps(told), flush=True)
if sys.argv[2] == "clean":
    parser.clean()
os._exit(0)
"""


def mounted_by(python: str, package: str, then: str) -> list[list[Any]]:
    """What the program tells of what it mounted; ``then``: ``clean``, or ``leave`` to let it stand."""
    done = subprocess.run(
        [python, "-c", PROGRAM, package, then, *IMAGES], capture_output=True, text=True, timeout=300,
        check=False, env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def left_in_temporary() -> list[str]:
    names = (path.name for path in Path(tempfile.gettempdir()).iterdir())
    return sorted(name for name in names if name.startswith(("im_", "image_mounter_")))


def taken_away(python: str) -> None:
    """What the original leaves behind is found, told of, and taken away to the last."""
    from pyimount import Unmounter

    before = state()
    assert left_in_temporary() == []
    mounted_by(python, "imagemounter", "leave")
    found = Unmounter()
    # What is in the LUKS volume it opens, but does not mount.
    assert len(list(found.find_mounts())) == 3
    assert [path.rpartition("/")[2] for path in found.find_bindmounts()] == ["home"]
    assert len(list(found.find_base_images())) == len(IMAGES)
    ((group, device),) = found.find_volume_groups()
    assert group == "case"
    assert device in found.find_loopbacks()
    told = found.preview_unmount()
    print("\n".join(told))
    assert any(each.startswith("cryptsetup close image_mounter_luks_") for each in told)
    assert any(each.startswith("mdadm --stop /dev/md") for each in told)
    assert any(each.startswith("lvm vgchange") for each in told)
    found.unmount()
    assert left_in_temporary() == []
    assert state() == before
    assert found.preview_unmount() == []
    print("nothing left")


def side_by_side(python: str) -> None:
    """What both mounted, as JSON: the original's, and pyimount's."""
    from pyimount import Unmounter

    theirs = mounted_by(python, "imagemounter", "leave")
    Unmounter().unmount()
    before = state()
    ours = mounted_by(sys.executable, "pyimount", "clean")
    assert state() == before
    print(json.dumps([theirs, ours]))


def one_session(python: str) -> None:
    """What device-mapper and md make of several disks: one session, what is below shared, each goes alone."""
    from pyimount import ImageParser

    before = state()
    parser = ImageParser(list(IMAGES), keys={"*": "p:secret"})
    found = {volume.index: volume for volume in parser.init() if volume.mountpoint}
    assert list(found) == ["1.0.0", "1.0.1", "2.1.0", "3.0.0"], found
    assert len(parser.case.sessions) == 1
    listed = subprocess.run(
        ["losetup", "--list", "--noheadings", "--output", "BACK-FILE"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert sorted(Path(name).name for name in listed) == sorted(IMAGES), listed
    assert found["1.0.0"].get_raw_path() != found["1.0.1"].get_raw_path()
    for index, volume in found.items():
        volume.unmount()
        standing = [each.mountpoint for each in found.values() if each.mountpoint]
        assert all(os.path.ismount(path) for path in standing), index
    assert found["1.0.1"].init_volume()
    assert found["3.0.0"].init_volume()
    parser.disks[0].unmount()
    assert os.path.ismount(found["3.0.0"].mountpoint or "")
    parser.clean()
    assert state() == before
    print("one session")
