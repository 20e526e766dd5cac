"""Other programs on the host's kernel: what they show, what holds it, and their end."""

import hashlib
import random
import signal
import subprocess
import zlib
from pathlib import Path

import pytest

from pyimount.execution import tools
from pyimount.execution.errors import ToolFailed, ToolMissing
from pyimount.execution.plan_executor import Executor
from pyimount.execution.step_acts import soon
from pyimount.planning.steps import (
    AttachLoop,
    Carve,
    MakeDirectory,
    Mount,
    MountPlan,
    MountWithTool,
    Result,
    RunImageMounter,
)
from tests.mounting.ground import (
    EXT4,
    MIB,
    Ground,
    anew,
    in_a_child,
    killer,
    moments,
    processes,
    read,
    same_content,
)
from tests.needing import needs


def ewf(ground: Ground) -> MountPlan:
    """An EWF image through ewfmount."""
    needs("ewfacquirestream", "ewfmount", "mkfs.ext4")
    image = ground.ewf()
    session = ground.session()
    top = f"{ground.base}/{session}"
    return ground.plan(
        MakeDirectory(id=1, path=f"{top}/raw"),
        RunImageMounter(
            id=2, tool="ewfmount", images=(str(image),), at=Result(1), arguments=("{image}", "{at}")
        ),
        AttachLoop(id=3, backing=Result(2, "ewf1")),
        MakeDirectory(id=4, path=f"{top}/0"),
        Mount(id=5, device=Result(3), at=Result(4), type="ext4", options=EXT4),
        images=(image,), session=session,
    )  # fmt: skip


def test_an_image_mounter_killed_at_any_moment(ground: Ground) -> None:
    first = ewf(ground)
    same_content(Path(ground.run(first).places[5]))
    assert ground.undo(first.session).ended
    ground.check()
    for moment, number in moments(first):
        plan = anew(first, ground)
        executor = Executor(base=str(ground.base), observe=killer(moment, number))
        assert in_a_child(lambda: executor.run(plan)) == -signal.SIGKILL  # noqa: B023
        undone = ground.undo(plan.session)
        assert undone.ended, (moment, number, undone.left)
        ground.check()


def ntfs(ground: Ground) -> MountPlan:
    needs("mkntfs", "ntfscp", "ntfs-3g")
    image = ground.folder / "ntfs.img"
    with image.open("wb") as file:
        file.truncate(8 * MIB)
    subprocess.run(["mkntfs", "--fast", "--force", "--quiet", image], check=True, capture_output=True)
    held = ground.tree() / "readme.txt"
    subprocess.run(
        ["ntfscp", "--force", "--quiet", image, held, "readme.txt"], check=True, capture_output=True
    )
    session = ground.session()
    return ground.plan(
        AttachLoop(id=1, backing=str(ground.keep(image))),
        MakeDirectory(id=2, path=f"{ground.base}/{session}/0"),
        MountWithTool(
            id=3, tool="ntfs-3g", source=Result(1), at=Result(2), arguments=("-o", "ro", "{source}", "{at}")
        ),
        session=session,
    )


def test_a_file_system_by_a_program_of_its_own(ground: Ground) -> None:
    first = ntfs(ground)
    place = Path(ground.run(first).places[3])
    (pid,) = tools.marked("ntfs-3g", str(place))
    status = Path(f"/proc/{pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    with (place / "readme.txt").open() as file:
        undone = ground.undo(first.session)
        assert "is in use by" in undone.left[0].reason
        assert file.read() == "hello\n"
    assert ground.undo(first.session).ended
    assert pid not in tools.marked("ntfs-3g", str(place))
    ground.check()
    for moment, number in moments(first):
        plan = anew(first, ground)
        executor = Executor(base=str(ground.base), observe=killer(moment, number))
        assert in_a_child(lambda: executor.run(plan)) == -signal.SIGKILL  # noqa: B023
        assert ground.undo(plan.session).ended
        ground.check()


def test_killed_while_a_program_starts(ground: Ground) -> None:
    """Then it must not mount any more once somebody has seen that it did not."""
    chosen = random.Random(11)  # noqa: S311
    firsts = (ewf(ground), ntfs(ground))
    ends: set[int] = set()
    for _ in range(40):
        plan = anew(chosen.choice(firsts), ground)
        executor = Executor(base=str(ground.base))
        ends.add(in_a_child(lambda: executor.run(plan), kill_after=chosen.random() * 0.05))  # noqa: B023
        assert ground.undo(plan.session).ended
        ground.check()
    assert -signal.SIGKILL in ends


def test_what_a_program_says_when_it_fails_is_the_reason(ground: Ground) -> None:
    plan = ntfs(ground)
    image = Path(plan.steps[0].backing)  # type: ignore[attr-defined]
    image.write_bytes(bytes(MIB))
    ground.keep(image)
    (failure,) = Executor(base=str(ground.base)).run(plan).failures
    assert failure.reason.startswith("ntfs-3g: ")
    assert "NTFS signature is missing" in failure.reason
    assert ground.undo(plan.session).ended


def test_a_program_that_is_not_installed_is_named_with_its_package(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ntfs(ground)
    monkeypatch.setattr(tools, "SEARCH_PATH", (str(ground.folder),))
    (failure,) = Executor(base=str(ground.base)).run(plan).failures
    assert failure.remedy is not None
    assert failure.remedy.startswith("apt install ")


def test_only_known_programs_are_run_and_only_from_the_systems_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("mount")
    mine = tmp_path / "mount"
    mine.write_text("#!/bin/sh\ntouch pwned\n")
    mine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools.find("mount") in ("/usr/bin/mount", "/bin/mount")
    assert tools.find("sh") is None
    with pytest.raises(ToolMissing):
        tools.run(("sh", "-c", "true"))
    with pytest.raises(ToolMissing):
        tools.run(("../../bin/sh", "-c", "true"))


def test_a_program_gets_a_clean_environment_and_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mount"
    mine.write_text("#!/bin/sh\nenv | sort\ncat\n[ $# = 0 ] || { printf 'why\\033[2J' >&2; sleep 60; }\n")
    mine.chmod(0o755)
    monkeypatch.setenv("PYIMOUNT_KEY", "p:secret")
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setattr(tools, "SEARCH_PATH", (str(tmp_path), "/usr/bin", "/bin"))
    said = tools.run(("mount",), data=b"from stdin").decode()
    assert "secret" not in said
    assert said.endswith("from stdin")
    assert {line.split("=")[0] for line in said.splitlines() if "=" in line} <= {
        "LC_ALL", "TZ", "PATH", "HOME", "PWD", "DM_DISABLE_UDEV", "MDADM_NO_UDEV", "LVM_SUPPRESS_FD_WARNINGS",
        "_", "SHLVL", "OLDPWD",
    }  # fmt: skip
    with pytest.raises(ToolFailed, match=r"mount did not end within 0.3 s: why\\x1b\[2J"):
        tools.run(("mount", "slowly"), timeout=0.3)


def png() -> bytes:
    """A picture that no other program needs to have made."""
    rows = b"".join(b"\0" + hashlib.sha256(bytes((row,))).digest() * 12 for row in range(128))
    parts = (
        (b"IHDR", (128).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        for name, data in parts
    )


def test_a_program_ends_with_who_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("setpriv")
    (tmp_path / "mount").symlink_to("/bin/sleep")
    monkeypatch.setattr(tools, "SEARCH_PATH", (str(tmp_path), "/usr/bin", "/bin"))
    command = f"{tmp_path}/mount\0".encode() + b"61.5\0"

    def runs() -> bool:
        return any(read(process / "cmdline") == command for process in processes())

    assert in_a_child(lambda: tools.run(("mount", "61.5")), kill_when=runs) == -signal.SIGKILL
    assert soon(lambda: not tools.marked("mount", "61.5"), 5.0)


def test_carving_runs_as_nobody_and_hands_over_what_it_found(ground: Ground) -> None:
    needs("photorec", "mkfs.vfat")
    image = ground.folder / "disk.img"
    picture = png()
    image.write_bytes(bytes(MIB) + picture.ljust(MIB, b"\0") + bytes(MIB))
    ground.keep(image)
    out = ground.folder / "carved"
    plan = ground.plan(
        AttachLoop(id=1, backing=str(image)),
        Carve(id=2, source=Result(1), at=str(out)),
    )
    device = Path(ground.run(plan).places[1])
    before = device.stat()
    found = [path for path in out.rglob("*") if path.is_file()]
    assert any(path.suffix == ".png" for path in found), found
    assert {path.stat().st_uid for path in (out, *out.rglob("*"))} == {0}
    assert before.st_uid == 0
    assert ground.undo(plan.session).ended
    assert any(path.suffix == ".png" for path in out.rglob("*"))
    ground.check()
