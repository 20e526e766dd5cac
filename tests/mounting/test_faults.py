"""Whatever happens between two steps: nothing remains after ``unmount``, and nobody else's is touched."""

import random
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pyimount
from pyimount.execution import ledger, mount_api, servers, step_executor
from pyimount.execution.errors import StepFailed
from pyimount.execution.plan_executor import Executor
from pyimount.planning.steps import (
    AttachLoop,
    BindMount,
    ExposeRaw,
    MakeDirectory,
    Mount,
    MountPlan,
    Result,
    ShowDirectory,
    Step,
)
from tests.mounting.ground import EXT4, MIB, MOMENTS, Ground, anew, in_a_child, killer, moments, same_content
from tests.needing import lacking, needs


def whole(ground: Ground) -> tuple[MountPlan, dict[str, object]]:
    needs("mkfs.ext4")
    return ground.mounting(ground.ext4()), {}


def two_parts(ground: Ground) -> tuple[MountPlan, dict[str, object]]:
    """Two file systems at offsets of one image."""
    needs("mkfs.ext4", "mksquashfs")
    ext4, squashfs = ground.ext4(), ground.squashfs()
    disk = ground.folder / "disk.img"
    packed = squashfs.read_bytes()
    disk.write_bytes(bytes(MIB) + ext4.read_bytes() + packed.ljust(MIB, b"\0"))
    ground.keep(disk)
    session = ground.session()
    top = f"{ground.base}/{session}"
    steps = (
        MakeDirectory(id=1, path=f"{top}/mnt"),
        MakeDirectory(id=2, inside=Result(1), path="1"),
        AttachLoop(id=3, backing=str(disk), offset=MIB, size=2 * MIB),
        Mount(id=4, device=Result(3), at=Result(2), type="ext4", options=EXT4),
        MakeDirectory(id=5, inside=Result(1), path="2"),
        AttachLoop(id=6, backing=str(disk), offset=3 * MIB, size=MIB),
        Mount(id=7, device=Result(6), at=Result(5), type="squashfs"),
    )
    return ground.plan(*steps, images=(disk,), session=session), {}


def exposed(ground: Ground) -> tuple[MountPlan, dict[str, object]]:
    """A disk that our own server shows."""
    needs("mkfs.ext4", "qemu-img")
    raw, image = ground.ext4(), ground.folder / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, image], check=True, timeout=300)
    ground.keep(image)
    scan = pyimount.detect(image)
    session = ground.session()
    top = f"{ground.base}/{session}"
    steps = (
        MakeDirectory(id=1, path=f"{top}/raw"),
        ExposeRaw(id=2, at=Result(1), files=((scan.disks[0].id, "0.raw"),)),
        AttachLoop(id=3, backing=Result(2, "0.raw")),
        MakeDirectory(id=4, path=f"{top}/mnt/0"),
        Mount(id=5, device=Result(3), at=Result(4), type="ext4", options=EXT4),
    )
    return ground.plan(*steps, images=(image,), session=session), {"scan": scan.to_dict()}


def bound(ground: Ground) -> tuple[MountPlan, dict[str, object]]:
    """One file system shown within another."""
    needs("mkfs.ext4", "mksquashfs")
    ext4, squashfs = ground.ext4(), ground.squashfs()
    session = ground.session()
    top = f"{ground.base}/{session}/mnt"
    steps = (
        MakeDirectory(id=1, path=f"{top}/0"),
        AttachLoop(id=2, backing=str(ext4)),
        Mount(id=3, device=Result(2), at=Result(1), type="ext4", options=EXT4),
        MakeDirectory(id=4, path=f"{top}/1"),
        AttachLoop(id=5, backing=str(squashfs)),
        Mount(id=6, device=Result(5), at=Result(4), type="squashfs"),
        BindMount(id=7, source=Result(6), root=Result(3), target="/deep/er"),
    )
    return ground.plan(*steps, images=(ext4, squashfs), session=session), {}


def shown(ground: Ground) -> tuple[MountPlan, dict[str, object]]:
    """A folder of files, beside a file system."""
    needs("mksquashfs")
    squashfs, folder = ground.squashfs(), ground.tree("shown")
    session = ground.session()
    top = f"{ground.base}/{session}/mnt"
    steps = (
        MakeDirectory(id=1, path=f"{top}/1"),
        ShowDirectory(id=2, path=str(folder), at=Result(1)),
        MakeDirectory(id=3, path=f"{top}/2"),
        AttachLoop(id=4, backing=str(squashfs)),
        Mount(id=5, device=Result(4), at=Result(3), type="squashfs"),
    )
    return ground.plan(*steps, images=(folder, squashfs), session=session), {}


Maker = Callable[[Ground], tuple[MountPlan, dict[str, object]]]
PLANS: tuple[Maker, ...] = (whole, two_parts, exposed, bound, shown)
named = pytest.mark.parametrize("maker", PLANS, ids=lambda maker: maker.__name__)


@named
def test_it_mounts_and_leaves_nothing(maker: Maker, ground: Ground) -> None:
    plan, given = maker(ground)
    outcome = ground.run(plan, **given)
    mounted = list(outcome.mounted())
    assert len(mounted) == len(list(plan.mounts()))
    for step, path in mounted:
        if not any(isinstance(each, BindMount) and each.root == Result(step.id) for each in plan.steps):
            same_content(Path(path))
    undone = ground.undo(plan.session)
    assert undone.ended
    assert [step.id for step in undone.steps] == [step.id for step in reversed(plan.steps)]
    ground.check()
    again = ground.undo(plan.session)
    assert again.nothing
    assert again.ended


@named
def test_killed_at_any_moment(maker: Maker, ground: Ground) -> None:
    first, given = maker(ground)
    for moment, number in moments(first):
        plan = anew(first, ground)
        executor = Executor(base=str(ground.base), observe=killer(moment, number))
        assert in_a_child(lambda: executor.run(plan, **given)) == -signal.SIGKILL  # type: ignore[arg-type]  # noqa: B023
        undone = ground.undo(plan.session)
        assert undone.ended, (moment, number, undone.left)
        ground.check()
        assert ground.undo(plan.session).nothing


@named
def test_each_step_failing(maker: Maker, ground: Ground) -> None:
    """Before it did anything, and after it did: those that need it are left out, the others stand."""
    first, given = maker(ground)
    for moment in ("intended", "performed"):
        for failing in first.steps:
            plan = anew(first, ground)

            def observe(now: str, step: Step, moment: str = moment, failing: Step = failing) -> None:
                if (now, step.id) == (moment, failing.id):
                    raise StepFailed("the roof is on fire", "water")

            outcome = Executor(base=str(ground.base), observe=observe).run(plan, **given)  # type: ignore[arg-type]
            needing = {failing.id}
            for step in plan.steps:
                if needing.intersection(step.needs()):
                    needing.add(step.id)
            assert {failure.step.id for failure in outcome.failures} == needing
            for failure in outcome.failures:
                assert (failure.reason, failure.remedy) == ("the roof is on fire", "water")
                assert failure.because == (None if failure.step.id == failing.id else failing.id)
            assert ground.undo(plan.session).ended
            ground.check()


@named
def test_killed_while_it_is_taken_down(maker: Maker, ground: Ground) -> None:
    first, given = maker(ground)
    for moment in ("undoing", "taken back", "undone"):
        for failing in first.steps:
            plan = anew(first, ground)
            ground.run(plan, **given)
            killed = in_a_child(lambda: ground.undo(plan.session, observe=killer(moment, failing.id)))  # noqa: B023
            assert killed == -signal.SIGKILL
            assert ground.undo(plan.session).ended
            ground.check()


@named
def test_every_cut_of_the_line_that_was_being_written(maker: Maker, ground: Ground) -> None:
    """Killed within the writing of a ``done`` line: the act stands, and of its line any part."""
    first, given = maker(ground)
    chosen = random.Random(4)  # noqa: S311
    for step in first.steps:
        plan = anew(first, ground)
        ground.run(plan.replaced(steps=tuple(each for each in plan.steps if each.id <= step.id)), **given)
        path = ground.base / f"{plan.session}.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        assert lines[-1].startswith(b'{"line": "done"')
        path.write_bytes(b"".join(lines[:-1]) + lines[-1][: chosen.randrange(len(lines[-1]))])
        assert ground.undo(plan.session).ended
        ground.check()


def test_a_lazy_unmount_leaves_our_server_to_who_reads_from_it(ground: Ground) -> None:
    plan, given = exposed(ground)
    raw = Path(ground.run(plan, **given).places[2]) / "0.raw"
    with raw.open("rb", buffering=0) as file:
        (left, *_) = ground.undo(plan.session).left
        assert "is in use by" in left.reason
        left, below = ground.undo(plan.session, lazy=True).left
        assert isinstance(left.step, ExposeRaw)
        assert below.reason.startswith("step 2 needs it")
        assert "their server ends when they are closed" in left.reason
        assert not raw.exists()
        file.seek(1080)
        assert file.read(2) == b"\x53\xef"
    undone = ground.undo(plan.session)
    assert undone.ended
    assert [step.id for step in undone.steps] == [2, 1]
    ground.check()


RUNS = 50


def random_runs() -> Iterator[tuple[int, Maker]]:
    chosen = random.Random(20_000)  # noqa: S311
    for number in range(RUNS):
        yield number, chosen.choice(PLANS)


def test_fifty_random_runs(ground: Ground) -> None:
    """Killed at a random moment, often within a step; taken down by processes that are killed as well."""
    chosen = random.Random(1)  # noqa: S311
    made = {maker: maker(ground) for maker in PLANS}
    ends: set[int] = set()
    for number, maker in random_runs():
        first, given = made[maker]
        plan = anew(first, ground)
        if chosen.random() < 0.5:
            observe = killer(chosen.choice(MOMENTS), chosen.choice(plan.steps).id)
            after = None
        else:
            observe = killer("never", 0)
            after = chosen.random() * 0.02 * len(plan.steps)
        executor = Executor(base=str(ground.base), observe=observe)
        ends.add(in_a_child(lambda: executor.run(plan, **given), kill_after=after))  # type: ignore[arg-type]  # noqa: B023
        for _ in range(chosen.randrange(3)):
            in_a_child(lambda: ground.undo(plan.session), kill_after=chosen.random() * 0.02)  # noqa: B023
        undone = ground.undo(plan.session)
        assert undone.ended, (number, maker.__name__, undone.left)
        ground.check()
    assert 99 not in ends
    assert -signal.SIGKILL in ends


def test_a_ledger_is_written_before_the_act(ground: Ground) -> None:
    """What the ledger says at each moment is what a crash at that moment needs."""
    plan, _ = whole(ground)
    seen: list[tuple[str, int, bool, bool]] = []

    def observe(moment: str, step: Step) -> None:
        entries = {each.step.id: each for each in ledger.read(str(ground.base), plan.session).entries}
        entry = entries.get(step.id)
        seen.append((moment, step.id, entry is not None, entry is not None and entry.made is not None))

    Executor(base=str(ground.base), observe=observe).run(plan)
    expected = [
        ("intending", False, False),
        ("intended", True, False),
        ("performed", True, False),
        ("done", True, True),
    ]
    assert seen == [(moment, number, *said) for number in (1, 2, 3) for moment, *said in expected]


def test_another_process_waits_its_turn(ground: Ground) -> None:
    """Who takes down what is being put up waits for the lock, and is told when that takes too long."""
    plan, _ = whole(ground)
    with ledger.Ledger.create(str(ground.base), plan.session, ()) as held:
        with pytest.raises(ledger.LedgerError, match="another process works on session"):
            ledger.Ledger.open(str(ground.base), plan.session, wait=0.1)
        held.remove()


@pytest.mark.parametrize("by_descriptor", [True, False])
def test_the_dead_have_children(by_descriptor: bool, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """What outlives the process that started it keeps the session locked until it has ended."""
    plan, _ = whole(ground)
    ended = ground.folder / "ended"
    if by_descriptor and not mount_api.is_there():
        lacking("this kernel lacks fsopen, or keeps us from it")
    monkeypatch.setattr(mount_api, "is_there", lambda: by_descriptor)
    slow = ground.folder / "mount"
    slow.write_text(f'#!/bin/sh\nsleep 0.5\n/usr/bin/mount "$@"\ntouch {ended}\n')
    slow.chmod(0o755)
    monkeypatch.setattr("pyimount.execution.tools.SEARCH_PATH", (str(ground.folder), "/usr/bin", "/bin"))
    create = mount_api.create

    def slowly(context: int) -> None:
        time.sleep(0.5)
        create(context)
        ended.touch()

    monkeypatch.setattr(mount_api, "create", slowly)
    # Else it ends with us, as far as the kernel lets it.
    monkeypatch.setattr("pyimount.execution.syscalls.end_with_parent", lambda _: None)
    monkeypatch.setattr("pyimount.execution.tools._end_with", lambda _: None)
    killed = in_a_child(lambda: Executor(base=str(ground.base)).run(plan), kill_after=0.2)
    assert killed == -signal.SIGKILL
    assert [entry.made is None for entry in ledger.read(str(ground.base), plan.session).entries][-1]
    assert not ended.exists()
    assert ground.undo(plan.session).ended
    assert ended.exists()
    ground.check()


def test_a_server_that_is_only_just_coming_is_waited_for(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed as it starts the server, which nobody knows by its mark yet."""
    plan, given = exposed(ground)
    started, came, slow = ground.folder / "started", ground.folder / "came", ground.folder / "slow"
    whole_command = servers.command

    def slowly(module: str, *arguments: str) -> tuple[str, ...]:
        line = shlex.join(whole_command(module, *arguments))
        slow.write_text(f"touch {started}\nsleep 0.5\ntouch {came}\nexec {line}\n")
        return ("/bin/sh", str(slow))

    monkeypatch.setattr(servers, "command", slowly)
    killed = in_a_child(lambda: Executor(base=str(ground.base)).run(plan, **given), kill_when=started.exists)  # type: ignore[arg-type]
    assert killed == -signal.SIGKILL
    assert not came.exists()
    assert ground.undo(plan.session).ended
    assert came.exists()
    ground.check()


def test_a_line_that_was_cut_short_spoils_none_that_follow(ground: Ground) -> None:
    plan, _ = whole(ground)
    place = ground.run(plan).places[3]
    path = ground.base / f"{plan.session}.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with (Path(place) / "readme.txt").open():
        undone = ground.undo(plan.session)
        assert [left.step.id for left in undone.left] == [3, 2, 1]
    for _ in range(2):
        assert ledger.read(str(ground.base), plan.session).header is not None
        path.write_bytes(path.read_bytes() + b'{"line": "und')
        with (Path(place) / "readme.txt").open():
            assert not ground.undo(plan.session).ended
    more = ground.plan(MakeDirectory(id=4, path=f"{ground.base}/{plan.session}/more"), session=plan.session)
    path.write_bytes(path.read_bytes() + b'{"line"')
    ground.run(more)
    assert len(ledger.read(str(ground.base), plan.session).entries) == 4
    assert ground.undo(plan.session).ended
    ground.check()


def test_after_the_machine_was_started_anew_only_folders_are_left(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices and mounts of an earlier run are nobody's business, whatever numbers they had."""
    plan, _ = whole(ground)
    ground.run(plan)
    story = ledger.read(str(ground.base), plan.session)
    for entry in reversed(story.entries[1:]):
        step_executor.undo(entry, story.names(plan.session))
    path = ground.base / f"{plan.session}.jsonl"
    path.write_text(path.read_text().replace(ledger.boot_id(), "0" * 36))
    undone_acts: list[Step] = []
    real = step_executor.undo

    def watched(entry: ledger.Entry, *rest: object, **more: object) -> None:
        undone_acts.append(entry.step)
        real(entry, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(step_executor, "undo", watched)
    assert ground.undo(plan.session).ended
    assert [type(step) for step in undone_acts] == [MakeDirectory]
