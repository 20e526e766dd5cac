"""What each driver's mount options do, in a real kernel: dirty volumes are read, and not written.

Each file system is made, written and copied while it is mounted, as an image of a running machine is. Then
exactly what the dry run prints is run on the copy, over a read-only loop device.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import pytest

import pyimount
from fixtures.workshop import find_tool
from pyimount.planning.machine import Machine
from pyimount.planning.plan import plan
from pyimount.planning.policy import FORENSIC, RECOVERY
from pyimount.planning.shell import script
from pyimount.planning.steps import MakeDirectory, Mount, MountPlan
from tests.kernel.uml import Kernel, kernel_in
from tests.needing import needs, needs_root


class Made(NamedTuple):
    """How a file system is made, and what a copy of it while it is mounted shows.

    ``tool``: its command line, ``@`` for the image. ``driver``: None: it is made from a folder, and only
    read. ``dirty``: the copy's state. ``needed``: the driver does not mount that without our options;
    ``refused``: and with no others.
    """

    tool: str
    size: str = "16M"
    driver: str | None = None
    dirty: str | None = None
    needed: bool = False
    refused: bool = False


FILE_SYSTEMS = {
    "ext2": Made("mke2fs -q -F -t ext2 @", driver="ext2", dirty="dirty"),
    "ext3": Made("mke2fs -q -F -t ext3 @", driver="ext3", dirty="dirty", needed=True),
    "ext4": Made("mke2fs -q -F -t ext4 -e panic @", driver="ext4", dirty="dirty", needed=True),
    "xfs": Made("mkfs.xfs -q -f @", size="320M", driver="xfs", needed=True),
    "btrfs": Made("mkfs.btrfs -q -f @", size="128M", driver="btrfs", dirty="dirty", needed=True),
    "jfs": Made("mkfs.jfs -q @", size="32M", driver="jfs", dirty="dirty"),
    "reiserfs": Made(
        "mkfs.reiserfs -q -f -f @", size="64M", driver="reiserfs", dirty="dirty", needed=True, refused=True
    ),
    "f2fs": Made("mkfs.f2fs -q @", size="64M", driver="f2fs", dirty="dirty", needed=True),
    "nilfs2": Made("mkfs.nilfs2 -q @", size="160M", driver="nilfs2", dirty="dirty", needed=True),
    "vfat": Made("mkfs.vfat @", driver="vfat", dirty="dirty"),
    "minix": Made("mkfs.minix @", driver="minix", dirty="dirty"),
    "hfs": Made("hformat -l disk @", driver="hfs", dirty="dirty"),
    "udf": Made("mkudffs -b 512 @", driver="udf", dirty="dirty"),
    "ufs": Made("makefs -t ffs -B le -s 2m -o version=1 @ tree"),
    "hfsplus": Made("xorriso -as mkisofs -quiet -hfsplus -o @ tree"),
    "bfs": Made("mkfs.bfs @", driver="bfs"),
    "iso9660": Made("genisoimage -quiet -J -R -o @ tree"),
    "squashfs": Made("mksquashfs tree @ -quiet -noappend"),
    "erofs": Made("mkfs.erofs --quiet @ tree"),
    "cramfs": Made("mkfs.cramfs tree @"),
    "romfs": Made("genromfs -f @ -d tree"),
}
UML = Machine(
    filesystems=frozenset(
        ("ext4", "xfs", "btrfs", "jfs", "reiserfs", "f2fs", "nilfs2", "vfat", "minix", "hfs")
    )
    | {"hfsplus", "udf", "ufs", "iso9660", "squashfs", "erofs", "cramfs", "romfs", "bfs"},
    kernel=(6, 1),
)

MAKE = """\
mkdir -p tree; echo evidence > tree/first; echo more > tree/second
made() {
    disk=$(losetup -f --show $1.img)
    mount -i -t $2 $disk /mnt
    echo evidence > /mnt/first
    umount /mnt
    mount -i -t $2 $disk /mnt
    echo later > /mnt/third
    sync
    # Behind the last commit, and so in the log.
    echo more | dd of=/mnt/second conv=fsync status=none 2>/dev/null || sync
    cp --sparse=always $1.img $1.dirty
    umount /mnt
    losetup -d $disk
}
"""


def making(name: str, made: Made) -> str:
    """The lines that make one file system."""
    command = made.tool.replace("@", f"{name}.img") + " >/dev/null 2>&1"
    if made.driver is None:
        return f"{command}\ncp {name}.img {name}.dirty\n"
    return f"truncate -s {made.size} {name}.img\n{command}\nmade {name} {made.driver}\n"


def using(name: str, planned: MountPlan) -> str:
    """What the dry run prints, and then the reading of a file and the way back."""
    (mount,) = (step for step in planned.steps if isinstance(step, Mount))
    at = next(step for step in planned.steps if isinstance(step, MakeDirectory) and step.layer == mount.layer)
    place = f'"/run/pyimount/{planned.session}/mnt/{at.path}"'
    commands = "\n".join(script(planned))
    return (
        f"(\n{commands}\n"
        f"echo {name}: $(cat {place}/first) $(grep -c ' ro,' /proc/self/mountinfo)\numount {place}\n"
        f") 2>&1 || echo {name}: FAILED\nlosetup -D\n"
    )


def plainly(name: str, image: Path, driver: str) -> str:
    """The control: the same without our options."""
    return (
        f"disk=$(losetup -f --show -r {image})\n"
        f"if mount -i -t {driver} -o ro $disk /mnt 2>/dev/null; then\n"
        f"    echo {name} is mounted; umount /mnt\n"
        "fi\n"
        "losetup -D\n"
    )


class Tried(NamedTuple):
    """What came of one file system.

    ``said``: what was read in it; ``plain``: whether it was mounted with ``ro`` alone; both digests.
    """

    state: str | None
    planned: MountPlan
    said: str
    plain: bool
    before: str
    after: str


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    """A kernel beside ``NAME.dirty`` of all that this machine can make."""
    needs_root()  # the guest's root has the rights on files that this user has
    made: Kernel = kernel_in(tmp_path_factory.mktemp("options"))
    wanted = {name: each for name, each in FILE_SYSTEMS.items() if find_tool(each.tool.split()[0])}
    made.shell(MAKE + "".join(making(name, each) for name, each in wanted.items()), timeout=900)
    return made


@pytest.fixture(scope="module")
def tried(kernel: Kernel) -> dict[str, Tried]:
    images = {name: kernel.share / f"{name}.dirty" for name in FILE_SYSTEMS}
    images = {name: image for name, image in images.items() if image.exists()}
    wanted = {name: FILE_SYSTEMS[name] for name in images}
    before = {name: digest(image) for name, image in images.items()}
    plans: dict[str, MountPlan] = {}
    states = {}
    for number, name in enumerate(images):
        scan = pyimount.detect(images[name])
        # On a hybrid disc it is not the first.
        volume = next((each for each in scan.volumes if each.type == name), scan.volumes[0])
        states[name] = volume.state
        plans[name] = plan(scan, RECOVERY, UML, session=f"{number:08x}", only=(volume.index,))
    trials = [using(name, plans[name]) for name in images if plans[name].steps]
    trials += [plainly(name, images[name], each.driver) for name, each in wanted.items() if each.driver]
    lines = kernel.shell("".join(trials), timeout=900).splitlines()
    said = {name: next((line for line in lines if line.startswith(f"{name}: ")), "") for name in images}
    return {
        name: Tried(
            states[name],
            plans[name],
            said[name].partition(": ")[2],
            f"{name} is mounted" in lines,
            before[name],
            digest(image),
        )
        for name, image in images.items()
    }


@pytest.mark.parametrize("name", FILE_SYSTEMS)
def test_an_image_of_a_running_machine_is_read_and_not_written(name: str, tried: dict[str, Tried]) -> None:
    made = FILE_SYSTEMS[name]
    needs(made.tool.split()[0])
    found = tried[name]
    assert found.after == found.before
    assert made.dirty is None or found.state == made.dirty
    if made.refused:
        (refusal,) = found.planned.refused
        assert (refusal.code, found.planned.steps) == ("dirty", ())
        assert "--read-write" in (refusal.remedy or "")
    else:
        assert not found.planned.refused
        assert found.said == "evidence 1", "the file, and one mount that is read-only"


@pytest.mark.parametrize("name", [name for name, made in FILE_SYSTEMS.items() if made.needed])
def test_without_the_options_the_driver_would_write(name: str, tried: dict[str, Tried]) -> None:
    needs(FILE_SYSTEMS[name].tool.split()[0])
    assert not tried[name].plain


def test_the_command_mounts_them_all_at_once(kernel: Kernel, tried: dict[str, Tried]) -> None:
    said = kernel.python(
        f"from tests.kernel.mount_commands import file_systems; file_systems(*{list(tried)})", timeout=900
    )
    assert "when allowed" in said
    assert {name: digest(kernel.share / f"{name}.dirty") for name in tried} == {
        name: found.before for name, found in tried.items()
    }


def test_only_drivers_that_are_maintained_are_used_unasked(tmp_path: Path) -> None:
    image = tmp_path / "minix.img"
    image.write_bytes(bytes(1 << 20))
    scan = pyimount.detect(image)
    minix = scan.volumes[0].replaced(type="minix", usage="filesystem")
    made = plan(scan.__class__(scan.disks, (minix,)), FORENSIC, UML, session="00000000")
    assert [refusal.code for refusal in made.refused] == ["not-allowed"]
