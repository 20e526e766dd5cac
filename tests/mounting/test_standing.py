"""What stands, what holds it, and that nobody else's is touched."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyimount.execution import loops, mounts, sessions, syscalls
from pyimount.execution.errors import Held
from pyimount.execution.plan_executor import Executor
from pyimount.execution.undoing import would_undo
from pyimount.execution.wanted import look_at, meant
from pyimount.planning.steps import AttachLoop, BindMount, MakeDirectory, Mount, Result
from tests.mounting.ground import EXT4, MIB, Ground, same_content
from tests.needing import needs, needs_root

pytestmark = pytest.mark.usefixtures("tools")


def those_of(image: Path, base: Path) -> list[sessions.Session]:
    """The sessions whose image this is."""
    return [
        each for each in sessions.sessions(str(base)) if meant(look_at(str(image)), each.to_dict()) is None
    ]


@pytest.fixture
def tools() -> None:
    needs("mkfs.ext4", "mksquashfs", "debugfs")


def at(ground: Ground, session: str) -> Path:
    return ground.base / session / "mnt" / "0"


@contextmanager
def someone(*command: str, cwd: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that works somewhere until the block ends; it has begun when the block begins."""
    script = f"import sys; {'; '.join(command)}; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.communicate(timeout=300)


@pytest.mark.parametrize(
    "how",
    [
        "import os; os.chdir({at!r})",
        "file = open({at!r} + '/deep/er/file', 'rb')",
        "import mmap; f = open({at!r} + '/deep/er/file'); m = mmap.mmap(f.fileno(), 0, prot=1); f.close()",
    ],
    ids=["working-directory", "open-file", "memory-map"],
)
def test_who_holds_a_mount_is_named_and_nothing_is_lost(how: str, ground: Ground) -> None:
    plan = ground.mounting(ground.ext4())
    ground.run(plan)
    place = at(ground, plan.session)
    with someone(how.format(at=str(place)), cwd=ground.folder) as process:
        undone = ground.undo(plan.session)
        assert not undone.ended
        assert undone.steps == ()
        by_id = {left.step.id: left for left in undone.left}
        assert f"({process.pid})" in by_id[3].reason
        assert "python" in by_id[3].reason
        assert by_id[3].place == str(place)
        assert by_id[2].reason.startswith("step 3 needs it")
        same_content(place)
        (session,) = sessions.sessions(str(ground.base))
        assert [mount.stands for mount in session.mounts] == [True]
    assert ground.undo(plan.session).ended
    ground.check()


def test_a_lazy_unmount_takes_the_name_and_leaves_the_bytes(ground: Ground) -> None:
    plan = ground.mounting(ground.ext4())
    ground.run(plan)
    place = at(ground, plan.session)
    with (place / "deep/er/file").open("rb") as file:
        undone = ground.undo(plan.session, lazy=True)
        assert [step.id for step in undone.steps] == [3, 1]
        (left,) = undone.left
        assert left.step.id == 2
        assert "in use" in left.reason
        assert not place.exists()
        assert file.read() == bytes(range(256)) * 64
    undone = ground.undo(plan.session)
    assert undone.ended
    assert [step.id for step in undone.steps] == [2]
    ground.check()


def test_one_image_mounted_twice_each_undone_alone(ground: Ground) -> None:
    image = ground.ext4()
    first, second = ground.mounting(image), ground.mounting(image)
    devices = {ground.run(plan).places[2] for plan in (first, second)}
    assert len(devices) == 2
    found = those_of(image, ground.base)
    assert {session.id for session in found} == {first.session, second.session}
    assert ground.undo(first.session).ended
    same_content(at(ground, second.session))
    assert len(ground.loops()) == 1
    assert ground.undo(second.session).ended
    ground.check()


def test_a_loop_device_of_the_host_over_the_same_image_is_left_alone(ground: Ground) -> None:
    image = ground.ext4()
    foreign = subprocess.run(
        ["losetup", "--find", "--show", "--read-only", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        plan = ground.mounting(image)
        assert ground.run(plan).places[2] != foreign
        assert ground.undo(plan.session).ended
        assert ground.loops() == [foreign]
        loop = loops.read(foreign)
        assert loop is not None
        assert not loop.detaching
    finally:
        subprocess.run(["losetup", "--detach", foreign], check=True)


def test_a_device_that_is_another_by_now_is_left_alone(ground: Ground) -> None:
    """Ours was detached by somebody, and its number is another's: neither mark nor file are ours."""
    plan = ground.mounting(ground.ext4())
    short = plan.replaced(steps=plan.steps[:2])
    device = ground.run(short).places[2]
    subprocess.run(["losetup", "--detach", device], check=True)
    other = ground.folder / "other.img"
    other.write_bytes(bytes(MIB))
    subprocess.run(["losetup", "--read-only", device, other], check=True)
    try:
        assert ground.undo(plan.session).ended
        assert ground.loops() == [device]
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_a_mark_over_another_file_is_not_enough(ground: Ground) -> None:
    """A crash left no identity; a device has our mark, but not our file: somebody marked it so."""
    image, other = ground.ext4(), ground.folder / "other.img"
    other.write_bytes(bytes(MIB))
    plan = ground.mounting(image)
    mark = f"pyimount-{plan.session}-2"
    descriptor = os.open(other, os.O_RDONLY)
    loop = loops.attach(descriptor, mark, offset=0, size=0, sector_size=512, read_only=True)
    os.close(descriptor)

    def no_identity(moment: str, step: object) -> None:
        if moment == "intended" and isinstance(step, AttachLoop):
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            Executor(base=str(ground.base), observe=no_identity).run(plan)
        assert ground.undo(plan.session).ended
        assert loops.read(loop.device) == loop
    finally:
        loops.detach(loop)


def test_it_is_read_only_and_runs_nothing(ground: Ground) -> None:
    plan = ground.mounting(ground.ext4())
    outcome = ground.run(plan)
    (mount,) = mounts.mounted_at(outcome.places[3])
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mount.options.split(","))
    device = Path(outcome.places[2])
    assert Path(f"/sys/block/{device.name}/ro").read_text() == "1\n"
    for folder in (ground.base / plan.session, at(ground, plan.session).parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


DIRTY = (
    "set_super_value state 0", "set_super_value errors 3", "feature needs_recovery",
)  # fmt: skip


def test_a_dirty_journal_is_not_replayed_and_a_panic_not_obeyed(ground: Ground) -> None:
    """ext4 with a journal to recover, marked as having errors, and ``errors=panic`` in its superblock."""
    image = ground.ext4("dirty.img", 8 * MIB)
    for request in DIRTY:
        subprocess.run(["debugfs", "-w", "-R", request, image], check=True, capture_output=True)
    said = subprocess.run(["dumpe2fs", "-h", image], check=True, capture_output=True, text=True).stdout
    assert "needs_recovery" in said
    assert "Panic" in said
    ground.keep(image)
    plan = ground.mounting(image)
    outcome = ground.run(plan)
    (mount,) = mounts.mounted_at(outcome.places[3])
    same_content(Path(outcome.places[3]))
    options = Path("/proc/mounts").read_text().splitlines()
    (shown,) = [line.split()[3] for line in options if line.split()[1] == outcome.places[3]]
    assert mount.type == "ext4"
    # What the driver shows is what differs from the superblock's default, which is to panic.
    assert "errors=continue" in shown.split(",")
    assert ground.undo(plan.session).ended
    ground.check()


def test_without_noload_a_dirty_image_is_refused_by_the_driver_with_its_reason(ground: Ground) -> None:
    """The device is read-only, so even a plan with a wrong option does not write; the kernel says why."""
    image = ground.ext4("dirty.img", 8 * MIB)
    for request in DIRTY:
        subprocess.run(["debugfs", "-w", "-R", request, image], check=True, capture_output=True)
    ground.keep(image)
    plan = ground.mounting(image, options=("errors=continue",))
    outcome = Executor(base=str(ground.base)).run(plan)
    (failure,) = outcome.failures
    assert failure.reason.startswith("ext4: ")
    assert "recovery" in failure.reason or "write access" in failure.reason
    assert ground.undo(plan.session).ended
    ground.check()


def test_what_is_no_file_system_is_not_mounted_whatever_it_is_called(ground: Ground) -> None:
    image = ground.folder / "noise.img"
    image.write_bytes(b"\x53\xef" * MIB)
    for kind in ("ext4", None):
        plan = ground.mounting(ground.keep(image), kind=kind, options=())  # type: ignore[arg-type]
        (failure,) = Executor(base=str(ground.base)).run(plan).failures
        assert failure.step.id == 3
        assert ground.undo(plan.session).ended


def test_without_a_type_the_kernel_finds_the_driver(ground: Ground) -> None:
    plan = ground.mounting(ground.squashfs(), kind=None, options=())  # type: ignore[arg-type]
    same_content(Path(ground.run(plan).places[3]))


@pytest.mark.parametrize(
    "option",
    [
        "noload,loop", "X-mount.mkdir", "x-systemd.automount", "loop=/dev/loop0", "user", "exec", "dev",
        "suid", "rw", "bind", "helper=sh", "a b", "", "errors=continue\nrw", "context=unconfined",
    ],
)  # fmt: skip
def test_an_option_that_is_not_the_drivers_is_refused(option: str, ground: Ground) -> None:
    plan = ground.mounting(ground.ext4(), options=(option,))
    (failure,) = Executor(base=str(ground.base)).run(plan).failures
    assert "is no option of a file system's driver" in failure.reason
    assert ground.mounts() == []


def test_a_device_of_the_host_is_never_mounted(ground: Ground) -> None:
    """Only what was made in the session is: a plan cannot name a disk of the machine."""
    session = ground.session()
    plan = ground.plan(
        MakeDirectory(id=1, path=f"{ground.base}/{session}/0"),
        Mount(id=2, device="/dev/loop0", at=Result(1), type="ext4"),
        session=session,
    )
    (failure,) = Executor(base=str(ground.base)).run(plan).failures
    assert "was not made in this session" in failure.reason


def test_an_image_is_never_attached_for_writing(ground: Ground) -> None:
    image = ground.ext4()
    plan = ground.plan(AttachLoop(id=1, backing=str(image), read_only=False), images=(image,))
    (failure,) = Executor(base=str(ground.base)).run(plan).failures
    assert "images are not written to" in failure.reason
    assert ground.loops() == []


@pytest.mark.parametrize("where", ["", "inner/", "inner/more/"])
def test_a_mount_point_through_a_link_is_refused(where: str, ground: Ground) -> None:
    real, link = ground.folder / "real", ground.folder / "link"
    (real / "inner/more").mkdir(parents=True)
    link.symlink_to(real)
    plan = ground.plan(
        MakeDirectory(id=1, path=f"{link}/{where}mine"),
        AttachLoop(id=2, backing=str(ground.ext4())),
        Mount(id=3, device=Result(2), at=Result(1), type="ext4", options=EXT4),
    )
    outcome = Executor(base=str(ground.base)).run(plan)
    assert {failure.step.id for failure in outcome.failures} == {1, 3}
    assert "symbolic link" in outcome.failures[0].reason
    assert [path.name for path in sorted(real.rglob("*"))] == ["inner", "more"]
    assert ground.undo(plan.session).ended


@pytest.mark.parametrize("path", ["relative", "/tmp/../etc/mine", "/tmp/./mine", "/tmp/nul\0l"])  # noqa: S108
def test_a_folder_that_is_no_plain_path_is_refused(path: str, ground: Ground) -> None:
    plan = ground.plan(MakeDirectory(id=1, path=path))
    (failure,) = Executor(base=str(ground.base)).run(plan).failures
    assert "no plain absolute path" in failure.reason


def test_a_folder_with_something_in_it_is_not_mounted_over(ground: Ground) -> None:
    mine = ground.folder / "mine"
    mine.mkdir()
    (mine / "file").write_text("kept")
    plan = ground.plan(
        MakeDirectory(id=1, path=str(mine)),
        AttachLoop(id=2, backing=str(ground.ext4())),
        Mount(id=3, device=Result(2), at=Result(1), type="ext4", options=EXT4),
    )
    (failure,) = Executor(base=str(ground.base)).run(plan).failures
    assert "is not empty" in failure.reason
    assert ground.undo(plan.session).ended
    assert (mine / "file").read_text() == "kept"


def test_folders_that_were_there_before_stay(ground: Ground) -> None:
    mine = ground.folder / "mine"
    mine.mkdir(mode=0o755)
    plan = ground.plan(
        MakeDirectory(id=1, path=str(mine)),
        MakeDirectory(id=2, path=f"{mine}/a/b/c"),
    )
    ground.run(plan)
    assert (mine / "a/b/c").is_dir()
    assert ground.undo(plan.session).ended
    assert list(mine.iterdir()) == []


def test_what_somebody_put_into_a_folder_of_ours_is_kept_and_said(ground: Ground) -> None:
    plan = ground.mounting(ground.ext4())
    ground.run(plan.replaced(steps=plan.steps[:1]))
    theirs = at(ground, plan.session) / "notes.txt"
    theirs.write_text("mine")
    undone = ground.undo(plan.session)
    assert [left.reason for left in undone.left] == [f"{theirs.parent} is not empty"]
    assert theirs.read_text() == "mine"
    theirs.unlink()
    assert ground.undo(plan.session).ended


HOSTILE = (
    "$(touch pwned)", "`touch pwned`", ";touch pwned;", "-o rw", "--help", "new\nline", "tab\there",
    "esc\x1b[2J", "quote'\"", "back\\slash", "percent%s%n", "\N{RIGHT-TO-LEFT OVERRIDE}txt", "comma,rw",
    "a" * 255, "\udcff\udcfe", "{at}", "$STEP1", "*?[",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_are_only_names(name: str, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an image, and of a folder that is mounted at."""
    monkeypatch.chdir(ground.folder)
    image = ground.ext4().rename(os.fsdecode(os.fsencode(f"{ground.folder}/") + os.fsencode(name)))
    ground.images = {}
    ground.keep(image)
    session = ground.session()
    place = f"{ground.base}/{session}/{name}"
    plan = ground.plan(
        MakeDirectory(id=1, path=place),
        AttachLoop(id=2, backing=str(image)),
        Mount(id=3, device=Result(2), at=Result(1), type="ext4", options=EXT4),
        images=(image,), session=session,
    )  # fmt: skip
    ground.run(plan)
    same_content(Path(place))
    (standing,) = those_of(image, ground.base)
    assert [(mount.path, mount.stands) for mount in standing.mounts] == [(place, True)]
    lines = (ground.base / f"{session}.jsonl").read_bytes().splitlines()
    assert all(json.loads(line) for line in lines)
    assert would_undo(session, base=str(ground.base))[0][1] == ("umount", place)
    assert ground.undo(session).ended
    ground.check()
    assert not list(ground.folder.rglob("pwned"))


def test_a_bind_goes_where_the_volume_says_and_never_out_of_it(ground: Ground) -> None:
    """A root volume whose ``/home`` is a link to ``/etc``, and others that lead out: inside they stay."""
    tree = ground.tree("root")
    (tree / "etc").mkdir()
    (tree / "home").symlink_to("/etc")
    (tree / "out").symlink_to("../../../../../../deep/er")
    (tree / "loop").symlink_to("loop")
    image = ground.folder / "root.img"
    subprocess.run(["mksquashfs", tree, image, "-quiet", "-no-progress", "-noappend"], check=True)
    ground.keep(image)
    inner = ground.ext4()
    before = sorted(Path("/etc").iterdir())
    for target, within in (
        ("/home", "etc"), ("/../../../etc", "etc"), ("out", "deep/er"), ("/loop", None), ("/none", None),
        ("/", None), ("/..", None), ("readme.txt", None),
    ):  # fmt: skip
        session = ground.session()
        top = f"{ground.base}/{session}"
        plan = ground.plan(
            MakeDirectory(id=1, path=f"{top}/0"),
            AttachLoop(id=2, backing=str(image)),
            Mount(id=3, device=Result(2), at=Result(1), type="squashfs"),
            MakeDirectory(id=4, path=f"{top}/1"),
            AttachLoop(id=5, backing=str(inner)),
            Mount(id=6, device=Result(5), at=Result(4), type="ext4", options=EXT4),
            BindMount(id=7, source=Result(6), root=Result(3), target=target),
            session=session,
        )
        outcome = Executor(base=str(ground.base)).run(plan)
        if within is None:
            assert [failure.step.id for failure in outcome.failures] == [7], target
        else:
            assert outcome.places[7] == f"{top}/0/{within}"
            same_content(Path(outcome.places[7]))
            (bound,) = mounts.mounted_at(outcome.places[7])
            assert {"ro", "nosuid", "nodev", "noexec"} <= set(bound.options.split(","))
        assert sorted(Path("/etc").iterdir()) == before
        assert ground.undo(session).ended
        assert ground.left() == []


def test_a_part_of_a_session_goes_alone(ground: Ground) -> None:
    """Some steps, those that need them, and those that only they needed; then more is added."""
    ext4, squashfs = ground.ext4(), ground.squashfs()
    session = ground.session()
    top = f"{ground.base}/{session}"
    plan = ground.plan(
        MakeDirectory(id=1, path=f"{top}/0"),
        AttachLoop(id=2, backing=str(ext4)),
        Mount(id=3, device=Result(2), at=Result(1), type="ext4", options=EXT4),
        MakeDirectory(id=4, path=f"{top}/1"),
        AttachLoop(id=5, backing=str(squashfs)),
        Mount(id=6, device=Result(5), at=Result(4), type="squashfs"),
        session=session,
    )
    ground.run(plan)
    undone = ground.undo(session, only={6})
    assert [step.id for step in undone.steps] == [6, 5, 4]
    assert not undone.ended
    same_content(Path(f"{top}/0"))
    undone = ground.undo(session, only={6})
    assert undone.nothing
    more = ground.plan(
        MakeDirectory(id=7, path=f"{top}/2"),
        AttachLoop(id=8, backing=str(squashfs)),
        Mount(id=9, device=Result(8), at=Result(7), type="squashfs"),
        session=session,
    )
    ground.run(more)
    (session_,) = sessions.sessions(str(ground.base))
    assert [mount.path for mount in session_.mounts] == [f"{top}/0", f"{top}/2"]
    assert ground.undo(session).ended
    ground.check()


def test_what_is_to_be_kept_stays_with_all_that_it_needs(ground: Ground) -> None:
    """A loop device that two mounts share goes with the second, and one that is kept with neither."""
    ext4, squashfs = ground.ext4(), ground.squashfs()
    session = ground.session()
    top = f"{ground.base}/{session}"
    plan = ground.plan(
        MakeDirectory(id=0, path=top),
        MakeDirectory(id=1, inside=Result(0), path="0"),
        MakeDirectory(id=2, inside=Result(0), path="1"),
        AttachLoop(id=3, backing=str(ext4)),
        Mount(id=4, device=Result(3), at=Result(1), type="ext4", options=EXT4),
        Mount(id=5, device=Result(3), at=Result(2), type="ext4", options=EXT4),
        AttachLoop(id=6, backing=str(squashfs)),
        session=session,
    )
    ground.run(plan)
    undone = ground.undo(session, only={1, 3, 4}, keep={5, 6})
    assert [step.id for step in undone.steps] == [4, 1]
    same_content(Path(f"{top}/1"))
    undone = ground.undo(session, only={2, 3, 5}, keep={6})
    assert [step.id for step in undone.steps] == [5, 3, 2, 0]
    assert not undone.ended
    assert ground.undo(session, only={6}, keep={6}).nothing
    assert ground.undo(session).ended
    ground.check()


def test_a_mount_over_ours_is_not_unmounted(ground: Ground) -> None:
    plan = ground.mounting(ground.ext4())
    place = ground.run(plan).places[3]
    subprocess.run(["mount", "-t", "tmpfs", "theirs", place], check=True)
    try:
        undone = ground.undo(plan.session)
        assert "tmpfs (theirs) is mounted over it" in undone.left[0].reason
    finally:
        subprocess.run(["umount", place], check=True)
    assert ground.undo(plan.session).ended


def test_a_mount_within_ours_is_not_unmounted(ground: Ground) -> None:
    plan = ground.mounting(ground.ext4())
    place = ground.run(plan).places[3]
    subprocess.run(["mount", "-t", "tmpfs", "theirs", f"{place}/deep"], check=True)
    try:
        assert f"the mount {place}/deep" in ground.undo(plan.session).left[0].reason
    finally:
        subprocess.run(["umount", f"{place}/deep"], check=True)
    assert ground.undo(plan.session).ended


def test_what_was_unmounted_by_hand_is_no_trouble(ground: Ground) -> None:
    plan = ground.mounting(ground.ext4())
    place = ground.run(plan).places[3]
    subprocess.run(["umount", place], check=True)
    (session,) = sessions.sessions(str(ground.base))
    assert [mount.stands for mount in session.mounts] == [False]
    assert ground.undo(plan.session).ended
    ground.check()


def test_mounts_stay_in_this_namespace_where_the_file_system_is_shared(ground: Ground) -> None:
    """As systemd has it, / is shared; a process in a namespace of its own never sees what we mount."""
    shared = ground.folder / "shared"
    shared.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "shared", shared], check=True)
    try:
        subprocess.run(["mount", "--make-shared", shared], check=True)
        other = [
            "unshare",
            "--mount",
            "--propagation",
            "slave",
            "sh",
            "-c",
            "echo; read x; cat /proc/self/mountinfo",
        ]
        with subprocess.Popen(other, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as elsewhere:
            assert elsewhere.stdout is not None
            elsewhere.stdout.readline()
            image = ground.ext4()
            plan = ground.plan(
                MakeDirectory(id=1, path=f"{shared}/a/b"),
                AttachLoop(id=2, backing=str(image)),
                Mount(id=3, device=Result(2), at=Result(1), type="ext4", options=EXT4),
            )
            same_content(Path(ground.run(plan).places[3]))
            seen, _ = elsewhere.communicate("\n", timeout=300)
        assert f"{shared}/a/b" not in seen
        assert ground.undo(plan.session).ended
        assert list(shared.iterdir()) == []
    finally:
        subprocess.run(["umount", shared], check=True)


def test_the_ledger_is_for_its_owner_alone(ground: Ground) -> None:
    plan = ground.mounting(ground.ext4())
    ground.run(plan)
    path = ground.base / f"{plan.session}.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(ground.base.stat().st_mode) == 0o700
    path.chmod(0o666)
    (session,) = sessions.sessions(str(ground.base))
    assert session.damaged is not None
    assert "others may write it" in session.damaged
    path.chmod(0o600)


def test_mountinfo_of_any_bytes() -> None:
    line = rb"36 35 98:0 /a\040b /mnt/x\011\012\134\377 rw,noatime shared:1 master:2 - ext3 /dev/\040root rw"
    (mount,) = mounts.parse(line)
    assert mount.path == "/mnt/x\t\n\\\udcff"
    assert mount.root == "/a b"
    assert mount.shared
    assert (mount.type, mount.source, mount.device) == ("ext3", "/dev/ root", "98:0")


def test_a_busy_mount_is_held(ground: Ground) -> None:
    needs_root()
    plan = ground.mounting(ground.ext4())
    place = ground.run(plan).places[3]
    (mount,) = mounts.mounted_at(place)
    with (Path(place) / "readme.txt").open(), pytest.raises(Held, match=r"is in use by .*\(\d+\)"):
        mounts.unmount(mount)
    assert syscalls.UMOUNT_NOFOLLOW
