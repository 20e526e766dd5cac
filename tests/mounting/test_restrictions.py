"""Every mount is restricted, whoever made it, and one that cannot be is taken down."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from fixtures.workshop import tool_path
from pyimount.execution import mounts, restrictions
from pyimount.execution.plan_executor import Executor
from pyimount.planning.steps import (
    AttachLoop,
    BindMount,
    MakeDirectory,
    MountPlan,
    MountWithTool,
    Result,
    RunImageMounter,
)
from tests.mounting.ground import EXT4, MIB, Ground
from tests.needing import needs

ALL = {"ro", "nosuid", "nodev", "noexec"}


def options(path: str | Path) -> set[str]:
    """Those of the mount on top at a path."""
    return set(mounts.mounted_at(str(path))[-1].options.split(","))


def with_tool(ground: Ground, image: Path, tool: str, *arguments: str, name: str = "0") -> MountPlan:
    """The plan that mounts an image by a program, which is told nothing of restrictions."""
    session = ground.session()
    return ground.plan(
        AttachLoop(id=1, backing=str(image)),
        MakeDirectory(id=2, path=f"{ground.base}/{session}/{name}"),
        MountWithTool(
            id=3, tool=tool, source=Result(1), at=Result(2), arguments=(*arguments, "{source}", "{at}")
        ),
        images=(image,), session=session,
    )  # fmt: skip


def ntfs_with_live_things(ground: Ground) -> Path:
    """An NTFS with a device node and a program in it."""
    needs("mkntfs", "ntfs-3g")
    image, at = ground.folder / "ntfs.img", ground.folder / "made"
    with image.open("wb") as file:
        file.truncate(16 * MIB)
    subprocess.run([tool_path("mkntfs"), "-q", "-F", image], check=True, capture_output=True)
    at.mkdir()
    subprocess.run([tool_path("ntfs-3g"), "-o", "permissions", image, at], check=True, capture_output=True)
    try:
        os.mknod(at / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        (at / "program").write_bytes(Path(tool_path("true")).read_bytes())
        (at / "program").chmod(0o755)
    finally:
        subprocess.run(["umount", at], check=True)
    return ground.keep(image)


@pytest.mark.parametrize("name", ["0", "with a blank\n\t\\040 and\r more #é"])
def test_a_program_that_mounts_by_itself(ground: Ground, name: str) -> None:
    image = ntfs_with_live_things(ground)
    plan = with_tool(ground, image, "ntfs-3g", name=name)
    place = Path(ground.run(plan).places[3])
    assert place.name == name
    assert options(place) >= ALL
    assert stat.S_ISCHR((place / "zero").stat().st_mode)
    with pytest.raises(PermissionError):
        (place / "zero").open("rb")
    with pytest.raises(PermissionError):
        subprocess.run([place / "program"], check=False)
    with pytest.raises(OSError, match="Read-only"):
        (place / "new").touch()
    assert ground.undo(plan.session).ended


def test_a_program_that_calls_it_writable(ground: Ground) -> None:
    """fuse2fs mounts it rw, whatever it is told."""
    needs("fuse2fs", "mkfs.ext4")
    plan = with_tool(ground, ground.ext4(), "fuse2fs", "-o", "ro,norecovery")
    place = ground.run(plan).places[3]
    assert options(place) >= ALL
    assert ground.undo(plan.session).ended


def test_what_shows_a_disk_and_what_stands_in_it(ground: Ground) -> None:
    needs("ewfacquirestream", "ewfmount", "mkfs.ext4")
    image = ground.ewf()
    session = ground.session()
    plan = ground.plan(
        MakeDirectory(id=1, path=f"{ground.base}/{session}/raw"),
        RunImageMounter(
            id=2, tool="ewfmount", images=(str(image),), at=Result(1), arguments=("{image}", "{at}")
        ),
        images=(image,), session=session,
    )  # fmt: skip
    assert options(ground.run(plan).places[2]) >= ALL
    assert ground.undo(session).ended


def test_a_folder_that_is_bound_onto_itself(ground: Ground) -> None:
    """Where mounts spread, the session's own folder is one: it is written to, and no more."""
    needs("mkfs.ext4")
    at = ground.folder / "shared"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", at], check=True)
    try:
        subprocess.run(["mount", "--make-shared", at], check=True)
        plan = ground.mounting(ground.ext4())
        first = MakeDirectory(id=1, path=f"{at}/0")
        plan = plan.replaced(steps=(first, *plan.steps[1:]))
        ground.run(plan)
        folder, mount = mounts.mounted_at(f"{at}/0")
        assert set(folder.options.split(",")) >= ALL - {"ro"}
        assert set(mount.options.split(",")) >= ALL
        assert not mount.shared
        assert ground.undo(plan.session).ended
        # By a program, too: the folder on itself is nothing that stands there.
        needs("fuse2fs")
        plan = with_tool(ground, ground.ext4(), "fuse2fs", "-o", "ro,norecovery")
        plan = plan.replaced(steps=(plan.steps[0], MakeDirectory(id=2, path=f"{at}/1"), plan.steps[2]))
        ground.run(plan)
        assert options(at / "1") >= ALL
        assert ground.undo(plan.session).ended
    finally:
        subprocess.run(["umount", at], check=True)


def test_what_another_mounted_is_bound_restricted_and_stays_as_it_is(ground: Ground) -> None:
    needs("mkfs.ext4", "mksquashfs")
    foreign = ground.folder / "foreign"
    foreign.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", foreign], check=True)
    try:
        (foreign / "file").write_bytes(b"x")
        plan = ground.mounting(ground.ext4())
        bind = BindMount(id=4, source=str(foreign), root=Result(3), target="/deep")
        outcome = ground.run(plan.replaced(steps=(*plan.steps, bind)))
        assert options(outcome.places[4]) >= ALL
        assert not options(foreign) & ALL
        # Nothing is mounted over it, whatever way leads there.
        again = bind.replaced(id=5, target="/deep/../deep/")
        (failure,) = Executor(base=str(ground.base)).run(plan.replaced(steps=(again,))).failures
        assert "is mounted there already" in failure.reason
        assert len(mounts.mounted_at(outcome.places[4])) == 1
        assert ground.undo(plan.session).ended
    finally:
        subprocess.run(["umount", foreign], check=True)


def test_what_cannot_be_restricted_is_taken_down(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("ntfs-3g", "mkntfs")
    plan = with_tool(ground, ntfs_with_live_things(ground), "ntfs-3g")
    monkeypatch.setattr(restrictions, "_set", lambda *_: None)
    (failure,) = Executor(base=str(ground.base)).run(plan).failures
    assert "nodev" in failure.reason
    assert [each for each in ground.mounts() if each.endswith("/0")] == []
    assert ground.undo(plan.session).ended


@pytest.mark.parametrize("at_once", [True, False], ids=["mount_setattr", "remount"])
def test_by_either_way_of_the_kernel(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, *, at_once: bool
) -> None:
    needs("fuse2fs", "mkfs.ext4")
    if not at_once:

        def missing(mount: int, attributes: int) -> None:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr("pyimount.execution.mount_api.mount_setattr", missing)
    plan = with_tool(ground, ground.ext4(), "fuse2fs", "-o", "ro,norecovery")
    assert options(ground.run(plan).places[3]) >= ALL
    assert ground.undo(plan.session).ended


def test_a_mount_that_another_puts_over_it_is_no_success(ground: Ground) -> None:
    """Two at once at one folder: neither takes the other's for its own."""
    needs("mkfs.ext4")
    plan = ground.mounting(ground.ext4(), options=EXT4)
    at = f"{ground.base}/{plan.session}/mnt/0"

    def observe(moment: str, step: object) -> None:
        if moment == "intended" and isinstance(step, AttachLoop):
            subprocess.run(["mount", "-t", "tmpfs", "none", at], check=True)

    (failure,) = Executor(base=str(ground.base), observe=observe).run(plan).failures
    assert "something is mounted there" in failure.reason
    assert [each.type for each in mounts.mounted_at(at)][-1] == "tmpfs"
    subprocess.run(["umount", at], check=True)
    assert ground.undo(plan.session).ended


def test_lines_of_the_kernels_table() -> None:
    """Blank, tab, line feed, backslash are octal; a carriage return, a NEL and others stand as they are."""
    line = (
        rb"36 35 98:0 / /mnt/a\040b\011\012\134\043"
        b"\r\x85\xc2\x85 ro,noatime shared:1 - ext4 /dev/loop0 rw,errors=continue\n"
    )
    one, two = mounts.parse(line + b"37 35 0:5 / /x rw - tmpfs  rw\n")
    assert os.fsencode(one.path) == b"/mnt/a b\t\n\\#\r\x85\xc2\x85"
    assert (one.options, one.super_options, one.shared, one.read_only) == (
        "ro,noatime",
        "rw,errors=continue",
        True,
        True,
    )
    assert (two.source, two.super_options, two.read_only) == ("", "rw", False)
