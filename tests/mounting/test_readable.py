"""``--readable``: who calls reads every file, whosever it is in the image, and nobody else does."""

import os
import subprocess
from pathlib import Path

import pytest

from pyimount.execution.checking import Checker
from pyimount.execution.errors import Refused
from pyimount.execution.plan_executor import Executor
from pyimount.execution.sessions import sessions
from pyimount.layers import Scan
from pyimount.planning.owner import Owner
from pyimount.planning.plan import plan
from pyimount.planning.policy import FORENSIC
from pyimount.planning.steps import (
    AttachLoop,
    MakeDirectory,
    Mount,
    MountWithTool,
    Result,
    readable_arguments,
)
from tests.mounting.ground import Ground
from tests.mounting.test_mount_command import command
from tests.needing import needs, needs_root
from tests.planning.scans import FULL, SESSION, disk, part, planned

TOOLS = FULL.replaced(tools={**FULL.tools, "bindfs": "/usr/bin/bindfs"})
NOBODY = Owner(uid=65534, gid=65534)


def scan(kind: str = "ext4") -> Scan:
    return Scan((disk(),), (part(1, 0, "1", type=kind),))


def test_the_plan() -> None:
    made = planned(scan(), TOOLS, owner=NOBODY, readable=True)
    (shown,) = made.mounts()
    assert isinstance(shown, MountWithTool)
    assert (shown.tool, shown.layer) == ("bindfs", 1)
    (mount,) = (step for step in made.steps if isinstance(step, Mount))
    assert shown.source == Result(mount.id)
    assert mount.at != shown.at
    # Root reads everything anyway; and what is nobody's is the caller's already.
    for more in ({"owner": Owner(uid=0, gid=0)}, {"owner": None}):
        (step,) = planned(scan(), TOOLS, readable=True, **more).mounts()
        assert isinstance(step, Mount)
    (step,) = planned(scan("vfat"), TOOLS, owner=NOBODY, readable=True).mounts()
    assert isinstance(step, Mount)
    (refusal,) = planned(scan(), FULL.replaced(tools={}), owner=NOBODY, readable=True).refused
    assert refusal.code == "needs-tool"


def test_who_reads(ground: Ground) -> None:
    needs_root()
    needs("bindfs", "mke2fs", "setpriv")
    tree = ground.folder / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "secret").write_text("evidence\n")
    (tree / "deep" / "secret").chmod(0o600)
    (tree / "deep").chmod(0o700)
    image = ground.folder / "image.img"
    image.touch()
    os.truncate(image, 8 << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, image], check=True)
    found = Scan(
        (disk(paths=(str(image),), size=8 << 20),), (part(1, 0, "0", at=0, size=8 << 20, type="ext4"),)
    )
    made = plan(found, FORENSIC, TOOLS, session=SESSION, base=str(ground.base), owner=NOBODY, readable=True)
    outcome = Executor(base=str(ground.base)).run(made)
    assert outcome.failures == ()
    (step,) = made.mounts()
    at = Path(outcome.places[step.id])
    file = at / "deep" / "secret"
    is_ = file.stat()
    assert (is_.st_uid, is_.st_gid, is_.st_mode & 0o777) == (65534, 65534, 0o400)
    assert file.read_text() == "evidence\n"
    # The path there is root's in this test: a descriptor leads past it.
    top = os.open(at, os.O_PATH | os.O_CLOEXEC)
    try:
        for user, reads in ((65534, True), (4242, False)):
            words = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "cat")
            done = subprocess.run(
                (*words, f"/proc/self/fd/{top}/deep/secret"),
                pass_fds=(top,),
                capture_output=True,
                check=False,
            )
            assert (done.stdout == b"evidence\n") == reads
    finally:
        os.close(top)
    # One mount is listed, as what it is; and it goes with what is beneath it.
    (session,) = sessions(str(ground.base))
    assert [(mount.path, mount.type) for mount in session.mounts] == [(str(at), "ext4")]
    assert str(session.mounts[0].device).startswith("/dev/loop")
    undone = ground.undo(SESSION)
    assert undone.ended
    ground.check()


def test_root_shows_a_user_only_his_own_way() -> None:
    checker = Checker("/run/0123abcd", frozenset(("/image",)), user=1000, groups=frozenset((100,)))
    for step in (
        MakeDirectory(id=1, path="/run/0123abcd"),
        MakeDirectory(id=2, inside=Result(1), path="kept"),
        MakeDirectory(id=3, inside=Result(2), path="1"),
        MakeDirectory(id=4, inside=Result(1), path="at"),
        AttachLoop(id=5, backing="/image"),
        Mount(id=6, device=Result(5), at=Result(3), type="ext4"),
    ):
        checker.check(step)
    shown = MountWithTool(
        id=7, tool="bindfs", source=Result(6), at=Result(4), arguments=readable_arguments(1000, 100)
    )
    for change in (
        {"arguments": readable_arguments(0, 100)},
        {"arguments": readable_arguments(1000, 0)},
        {"arguments": ("-o", "rw", "{source}", "{at}")},
        {"arguments": ()},
        {"source": "/etc"},
        {"source": Result(5)},
        {"at": Result(3)},
        {"at": "/etc"},
    ):
        with pytest.raises(Refused):
            checker.check(shown.replaced(**change))
    checker.check(shown)


def test_it_goes_with_neither(tmp_path: Path) -> None:
    for other in ("--reconstruct", "--read-write"):
        said = command("mount", "--readable", other, tmp_path / "image.img", status=2)
        assert "neither" in said.stderr
