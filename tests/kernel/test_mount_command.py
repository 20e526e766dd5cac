"""``pyimount mount``, ``list`` and ``unmount`` in a kernel with device-mapper, md and every file system.

One boot makes the images, a second runs all checks of a module; ``tests.kernel.commands`` tells how.
"""

import re
from collections.abc import Callable, Sequence

import pytest

import pyimount
from tests.kernel import hostile_images, mount_commands, mount_hostile, mount_users
from tests.kernel.uml import Kernel, ScriptError, kernel_in
from tests.mounting.images import MIB, blank, content, digest, tool
from tests.needing import needs, needs_root

MAKE = r"""
dirty() {
    disk=$(losetup -f --show $1); mount -t ext4 $disk /mnt
    echo later > /mnt/later; sync; echo more >> /mnt/later; sync
    cp $1 $2; umount /mnt; losetup -d $disk
}
dirty clean.img fs.img
truncate -s 32M luks.img
key() { printf secret; }
key | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 luks.img -
key | cryptsetup open luks.img plain -
cat fs.img > /dev/mapper/plain; sync; cryptsetup close plain
for n in 1 2 3 4 5; do truncate -s 24M r$n.img; eval "l$n=$(losetup -f --show r$n.img)"; done
array() { mdadm --create /dev/md0 --quiet --run --assume-clean --metadata=1.2 --name="$@"; }
array '$(touch /pwned)' --level=1 --raid-devices=2 $l1 $l2
cat fs.img > /dev/md0; sync; mdadm --quiet --stop /dev/md0
array ../../x --level=5 --raid-devices=3 --chunk=64 $l3 $l4 $l5
cat fs.img > /dev/md0; sync; mdadm --quiet --stop /dev/md0
group() {
    devices=""
    for name in "$@"; do truncate -s 40M $name.img; devices="$devices $(losetup -f --show $name.img)"; done
    pvcreate -q $devices; vgcreate -q case $devices; lvcreate -q -an -Zn -n whole -L 16M case
}
group p1 p2
lvcreate -q -an -Zn -n striped -i 2 -I 64 -L 16M case
vgchange -q -ay --noudevsync case
for n in whole striped; do cat fs.img > /dev/mapper/case-$n; done; sync
vgchange -q -an --noudevsync case
losetup -D
for who in twin host; do
    group $who
    vgchange -q -ay --noudevsync case
    echo $who > who; cp clean.img $who.fs; debugfs -w -R "write who who" $who.fs 2>/dev/null
    cat $who.fs > /dev/mapper/case-whole; sync
    vgchange -q -an --noudevsync case
    losetup -D
done
rm *.fs who
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    """A kernel beside the images that ``mount_commands`` mounts."""
    needs(
        "mkfs.ext4", "mksquashfs", "sfdisk", "ewfacquire", "qemu-img", "mdadm", "lvm", "cryptsetup", "debugfs"
    )
    needs_root()  # the guest's root has the rights on files that this user has
    made = kernel_in(tmp_path_factory.mktemp("commands"))
    share = made.share
    root = content(share)
    tool(
        "mkfs.ext4",
        "-q",
        "-b",
        "4096",
        "-e",
        "panic",
        "-d",
        root,
        "-L",
        "root",
        blank(share / "clean.img", 12 * MIB),
    )
    made.shell(MAKE, timeout=900)
    assert pyimount.detect(share / "fs.img").volumes[0].state == "dirty"
    packed = share / "packed.img"
    tool("mksquashfs", root, packed, "-quiet", "-no-progress")
    disk = blank(share / "disk.img", 32 * MIB)
    tool("sgdisk", "-n", "1:2048:+14M", "-n", "2:0:+4M", disk)
    with disk.open("r+b") as file:
        for number, part in enumerate((share / "fs.img", packed)):
            file.seek(MIB + number * 14 * MIB)
            file.write(part.read_bytes())
    for name in ("disk", "luks"):
        tool("qemu-img", "convert", "-O", "qcow2", share / f"{name}.img", share / f"{name}.qcow2")
    tool("ewfacquire", "-u", "-q", "-t", share / "disk", "-c", "deflate:fast", disk)
    return made


Verdicts = dict[str, tuple[bool, str]]


def checked(kernel: Kernel, module: str, *, prepared: bool = False, timeout: float = 900) -> Verdicts:
    """Run the checks of a module in the guest: each with whether it passed, and what it printed."""
    images = [path for path in kernel.share.iterdir() if path.is_file()]
    before = {path.name: digest(path) for path in images}
    prepare = ", those.prepare" if prepared else ""
    code = f"from tests.kernel import commands, {module} as those; commands.main(those.CHECKS{prepare})"
    said = kernel.python(code, timeout=timeout, check=False)
    found = {
        name: (verdict == "passed", printed)
        for name, printed, verdict in re.findall(
            r"^== (\w+)\n(.*?)^== \1: (\w+)$", said, re.DOTALL | re.MULTILINE
        )
    }
    found["all"] = (True, said)
    assert {path.name: digest(path) for path in images} == before, "an image was written to"
    return found


def names(checks: Sequence[Callable[[], None]]) -> list[str]:
    return [check.__name__ for check in checks]


def verdict(name: str, verdicts: Verdicts) -> None:
    passed, printed = verdicts.get(name, (False, f"it was not come to:\n{verdicts['all'][1]}"))
    assert passed, printed


@pytest.fixture(scope="module")
def layers(kernel: Kernel) -> Verdicts:
    return checked(kernel, "mount_commands")


@pytest.mark.parametrize("name", names(mount_commands.CHECKS))
def test_layers(name: str, layers: Verdicts) -> None:
    verdict(name, layers)


@pytest.fixture(scope="module")
def hostile(kernel: Kernel) -> Verdicts:
    needs("mkfs.btrfs", "tune2fs", "sgdisk")
    hostile_images.make(kernel.share)
    return checked(kernel, "mount_hostile")


@pytest.mark.parametrize("name", names(mount_hostile.CHECKS))
def test_hostile(name: str, hostile: Verdicts) -> None:
    verdict(name, hostile)


def test_an_error_would_panic_without_our_options(kernel: Kernel, hostile: Verdicts) -> None:
    with pytest.raises(ScriptError, match=r"did not come to its end|took longer"):
        kernel.shell(
            "disk=$(losetup -f --show -r panic.img)\nmount -t ext4 -o ro,noload $disk /mnt; ls -R /mnt",
            timeout=20,
        )


@pytest.fixture(scope="module")
def users(kernel: Kernel) -> Verdicts:
    needs("sudo", "useradd", "setpriv", "mkfs.vfat", "mkfs.exfat", "mount.exfat-fuse", "mkntfs", "ntfscp")
    needs("ntfs-3g", "bindfs", "genisoimage", "mkudffs", "hformat")
    image, secret = kernel.share / "private.img", kernel.share / "secret"
    image.write_bytes((kernel.share / "clean.img").read_bytes())
    secret.write_text("root's\n")
    tool("debugfs", "-w", "-R", f"write {secret} secret", image)
    tool("debugfs", "-w", "-R", "set_inode_field secret mode 0100600", image)
    return checked(kernel, "mount_users", prepared=True)


@pytest.mark.parametrize("name", names(mount_users.CHECKS))
def test_users(name: str, users: Verdicts) -> None:
    verdict(name, users)
