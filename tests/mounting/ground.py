"""Where tests mount: images, what they hold, plans written by hand, and what is left on the machine."""

import hashlib
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from fixtures.workshop import tool_path
from pyimount.execution import ledger, loops, mounts
from pyimount.execution.plan_executor import Executor, Outcome
from pyimount.execution.step_acts import soon
from pyimount.execution.undoing import Undone, undo_session
from pyimount.planning.steps import PREFIX, AttachLoop, MakeDirectory, Mount, MountPlan, Result, Step

MIB = 1 << 20
EXT4 = ("noload", "errors=continue")
MOMENTS = ("intending", "intended", "performed", "done")
"""What an observer is told of each step."""

CONTENT = {"readme.txt": b"hello\n", "deep/er/file": bytes(range(256)) * 64, "empty": b""}


class Ground:
    """A folder for images, and one for the ledgers and folders of sessions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = folder / "run"
        self.images: dict[Path, str] = {}
        self.sessions: set[str] = set()

    def _run(self, *command: str | Path, stdin: BinaryIO | None = None) -> None:
        path = tool_path(str(command[0]))
        subprocess.run(
            [path, *map(str, command[1:])], stdin=stdin, check=True, capture_output=True, timeout=300
        )

    def tree(self, name: str = "tree") -> Path:
        """A folder with CONTENT."""
        top = self.folder / name
        for path, data in CONTENT.items():
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_bytes(data)
        return top

    def keep(self, image: Path) -> Path:
        """Hold it that this image stays as it is."""
        self.images[image] = hashlib.sha256(image.read_bytes()).hexdigest()
        return image

    def ext4(self, name: str = "ext4.img", size: int = 2 * MIB, *options: str) -> Path:
        """An ext4 file system with CONTENT."""
        image = self.folder / name
        with image.open("wb") as file:
            file.truncate(size)
        self._run("mkfs.ext4", "-q", "-d", self.tree(), *options, image)
        return self.keep(image)

    def ewf(self) -> Path:
        """An E01 of an ext4 file system with CONTENT."""
        with self.ext4().open("rb") as source:
            self._run("ewfacquirestream", "-q", "-t", self.folder / "disk", "-c", "fast", stdin=source)
        return self.keep(self.folder / "disk.E01")

    def squashfs(self, name: str = "squashfs.img") -> Path:
        """A SquashFS file system with CONTENT."""
        image = self.folder / name
        self._run("mksquashfs", self.tree(), image, "-quiet", "-no-progress", "-noappend")
        return self.keep(image)

    def session(self) -> str:
        """The name of a new session."""
        name = secrets.token_hex(4)
        self.sessions.add(name)
        return name

    def plan(self, *steps: Step, images: tuple[Path, ...] = (), session: str | None = None) -> MountPlan:
        """A plan of these steps."""
        return MountPlan(
            session=session or self.session(), images=tuple(map(str, images)), steps=steps, refused=()
        )

    def mounting(self, image: Path, kind: str = "ext4", options: tuple[str, ...] = EXT4) -> MountPlan:
        """The plan that mounts an image as a whole."""
        session = self.session()
        return self.plan(
            MakeDirectory(id=1, path=f"{self.base}/{session}/mnt/0"),
            AttachLoop(id=2, backing=str(image)),
            Mount(id=3, device=Result(2), at=Result(1), type=kind, options=options),
            images=(image,), session=session,
        )  # fmt: skip

    def run(self, plan: MountPlan, **options: object) -> Outcome:
        """Carry out a plan, all of which must succeed."""
        outcome = Executor(base=str(self.base)).run(plan, **options)  # type: ignore[arg-type]
        assert outcome.failures == ()
        return outcome

    def undo(self, session: str, **options: object) -> Undone:
        """Take a session down."""
        return undo_session(session, base=str(self.base), **options)  # type: ignore[arg-type]

    def mounts(self) -> list[str]:
        """What is mounted below our folder."""
        return [each.path for each in mounts.mounts() if each.path.startswith(f"{self.folder}/")]

    def loops(self) -> list[str]:
        """The loop devices with a mark of our sessions, or over a file of ours."""
        found = []
        for block in Path("/sys/block").glob("loop*/loop/backing_file"):
            loop = loops.read(f"/dev/{block.parts[3]}")
            if loop is None:
                continue
            try:
                ours = block.read_text().startswith(f"{self.folder}/")
            except OSError:
                continue
            if ours or any(loop.mark.startswith(f"{PREFIX}-{each}-") for each in self.sessions):
                found.append(loop.device)
        return found

    def left(self) -> list[str]:
        """All that is left of our sessions on the machine."""
        folders = [str(path) for path in self.base.rglob("*")] if self.base.exists() else []
        running = [
            mark.decode() for path in processes()
            for mark in re.findall(rb"--mark=" + PREFIX.encode() + rb"-([0-9a-f]{8})", read(path / "cmdline"))
            if mark.decode() in self.sessions
        ]  # fmt: skip
        return [*self.mounts(), *self.loops(), *folders, *running]

    def check(self) -> None:
        """Nothing is left, and no image has changed."""
        left = self.left()
        assert left == [], left
        assert not self.base.exists(), self.base
        for image, digest in self.images.items():
            assert hashlib.sha256(image.read_bytes()).hexdigest() == digest, f"{image} was written to"

    def clear(self) -> None:
        """Take down whatever stands."""
        for session in ledger.all_sessions(str(self.base)):
            undone = self.undo(session)
            assert undone.ended, undone.left


def processes() -> list[Path]:
    """The folders in /proc of those that run; a pattern would look into them, when some may have gone."""
    return [path for path in Path("/proc").iterdir() if path.name.isdecimal()]


def read(path: Path) -> bytes:
    """What a file of /proc has; nothing when its process has ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def same_content(mounted: Path) -> None:
    """A file system that was made of CONTENT has all of it."""
    for path, data in CONTENT.items():
        assert (mounted / path).read_bytes() == data


def in_a_child(
    act: Callable[[], object],
    *,
    kill_after: float | None = None,
    kill_when: Callable[[], object] | None = None,
) -> int:
    """Run this in a child process; how it ended: negative for a signal, and 99 for an exception.

    It is killed after so many seconds, or as soon as something holds.
    """
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:  # noqa: BLE001  (the child must never come back)
            import traceback

            traceback.print_exc()
            os._exit(99)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    if kill_when is not None:
        soon(kill_when, 30.0)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def killer(moment: str, step_id: int) -> Callable[[str, Step], None]:
    """An observer that kills its own process at this moment of this step."""

    def observe(now: str, step: Step) -> None:
        if (now, step.id) == (moment, step_id):
            os.kill(os.getpid(), signal.SIGKILL)

    return observe


def moments(plan: MountPlan) -> Iterator[tuple[str, int]]:
    """Every moment of every step."""
    for step in plan.steps:
        for moment in MOMENTS:
            yield moment, step.id


def anew(plan: MountPlan, ground: Ground) -> MountPlan:
    """The same plan for another session."""
    session = ground.session()

    def moved(step: Step) -> Step:
        if isinstance(step, MakeDirectory):
            return step.replaced(path=step.path.replace(plan.session, session))
        return step

    return plan.replaced(session=session, steps=tuple(map(moved, plan.steps)))
