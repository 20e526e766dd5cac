"""In the guest: plans of steps that the host's kernel may not be able to do, carried out and taken back.

``python -m tests.kernel.mount_steps NAME`` mounts, kills at every moment, and holds it that nothing is left.
"""

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyimount.execution import ledger
from pyimount.execution.plan_executor import Executor, Outcome
from pyimount.execution.undoing import undo_session
from pyimount.planning.steps import (
    ActivateVolumeGroup,
    AssembleArray,
    AttachLoop,
    ConnectNbd,
    MakeDirectory,
    MapVolume,
    Mount,
    MountPlan,
    MountWithTool,
    OpenEncrypted,
    Result,
    Step,
    TableLine,
)
from tests.mounting.ground import CONTENT, EXT4, MIB, Ground, anew, in_a_child, killer, moments, same_content

PASSPHRASE = b"correct horse $(battery) staple"
SMALL = 8 * MIB


def tool(*command: str | Path, data: bytes = b"") -> str:
    """Run a program, which must succeed."""
    done = subprocess.run(
        [str(word) for word in command], input=data, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout.decode().strip()


def state() -> dict[str, str]:
    """Everything that stands in this kernel."""
    return {
        "loops": tool("losetup", "-a"),
        "mounts": Path("/proc/self/mounts").read_text(),
        "mappings": tool("dmsetup", "ls"),
        "arrays": "\n".join(sorted(path.name for path in Path("/sys/block").glob("md*"))),
        "blocks": "\n".join(str(path) for path in Path("/sys/block").glob("nbd*/pid")),
        "run": "\n".join(sorted(str(path) for path in Path("/run/pyimount").rglob("*"))),
        "nodes": "\n".join(sorted(path.name for path in Path("/dev/mapper").iterdir())),
    }


def filled(device: str, kind: str = "ext4") -> None:
    """Make a file system with CONTENT on a device."""
    tool(f"mkfs.{kind}", "-q", device)
    at = Path("/mnt/making")
    at.mkdir(exist_ok=True)
    tool("mount", "-t", kind, device, at)
    for path, data in CONTENT.items():
        (at / path).parent.mkdir(parents=True, exist_ok=True)
        (at / path).write_bytes(data)
    tool("umount", at)


def attached(image: Path) -> str:
    """A loop device for making an image."""
    return tool("losetup", "--find", "--show", image)


def blank(ground: Ground, name: str, size: int = SMALL) -> Path:
    image = ground.folder / name
    with image.open("wb") as file:
        file.truncate(size)
    return image


def mounting(first: int, device: int, at: str) -> tuple[Step, ...]:
    return (
        MakeDirectory(id=first, path=at),
        Mount(id=first + 1, device=Result(device), at=Result(first), type="ext4", options=EXT4),
    )


Keys = Mapping[int, Any]
Maker = Callable[[Ground], tuple[MountPlan, Keys]]


def mapped(ground: Ground) -> tuple[MountPlan, Keys]:
    """A volume whose second half lies before its first, on two disks."""
    whole = ground.ext4("whole.img", SMALL).read_bytes()
    one, other = ground.folder / "one.img", ground.folder / "other.img"
    one.write_bytes(bytes(MIB) + whole[SMALL // 2 :])
    other.write_bytes(whole[: SMALL // 2])
    half = SMALL // 2 // 512
    session = ground.session()
    steps = (
        AttachLoop(id=1, backing=str(ground.keep(one))),
        AttachLoop(id=2, backing=str(ground.keep(other))),
        MapVolume(
            id=3,
            table=(
                TableLine(0, half, "linear", (Result(2), 0)),
                TableLine(half, half, "linear", (Result(1), MIB // 512)),
            ),
        ),
        *mounting(4, 3, f"{ground.base}/{session}/0"),
    )
    return ground.plan(*steps, session=session), {}


def locked(ground: Ground) -> tuple[MountPlan, Keys]:
    image = blank(ground, "luks.img", 24 * MIB)
    device = attached(image)
    quick = ("--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000", "--batch-mode", "--key-file=-")
    tool("cryptsetup", "luksFormat", *quick, device, data=PASSPHRASE)
    tool("cryptsetup", "open", "--key-file=-", device, "making", data=PASSPHRASE)
    filled("/dev/mapper/making")
    tool("cryptsetup", "close", "making")
    tool("losetup", "--detach", device)
    session = ground.session()
    steps = (
        AttachLoop(id=1, backing=str(ground.keep(image))),
        OpenEncrypted(id=2, device=Result(1), type="luks", key="0"),
        *mounting(3, 2, f"{ground.base}/{session}/0"),
    )
    return ground.plan(*steps, session=session), {2: [("p", b"wrong"), ("p", PASSPHRASE)]}


def array(ground: Ground) -> tuple[MountPlan, Keys]:
    images = [blank(ground, f"member{number}.img", 12 * MIB) for number in range(3)]
    devices = [attached(image) for image in images]
    tool(
        "mdadm", "--create", "/dev/md/making", "--run", "--level=5", "--raid-devices=3", "--assume-clean",
        "--homehost=elsewhere", "--name=theirs", *devices,
    )  # fmt: skip
    filled("/dev/md/making")
    tool("mdadm", "--stop", "/dev/md/making")
    for device in devices:
        tool("losetup", "--detach", device)
    session = ground.session()
    steps = (
        *(AttachLoop(id=number + 1, backing=str(ground.keep(image))) for number, image in enumerate(images)),
        AssembleArray(id=4, devices=(Result(1), Result(2), Result(3))),
        *mounting(5, 4, f"{ground.base}/{session}/0"),
    )
    return ground.plan(*steps, session=session), {}


def activated(ground: Ground) -> tuple[MountPlan, Keys]:
    """A mirrored volume, by LVM itself."""
    Path("/run/lvm").mkdir(exist_ok=True)
    images = [blank(ground, f"pv{number}.img", 32 * MIB) for number in range(2)]
    devices = [attached(image) for image in images]
    tool("pvcreate", "--quiet", *devices)
    tool("vgcreate", "--quiet", "case", *devices)
    tool(
        "lvcreate", "--quiet", "--yes", "--noudevsync", "--type=raid1", "--mirrors=1", "--name=mirrored",
        "--size=8M", "case",
    )  # fmt: skip
    filled("/dev/mapper/case-mirrored")
    uuids = tool("lvs", "--noheadings", "--options=vg_uuid,lv_uuid", "case/mirrored").split()
    tool("vgchange", "--quiet", "--noudevsync", "--activate=n", "case")
    for device in devices:
        tool("losetup", "--detach", device)
    session = ground.session()
    steps = (
        *(AttachLoop(id=number + 1, backing=str(ground.keep(image))) for number, image in enumerate(images)),
        ActivateVolumeGroup(id=3, devices=(Result(1), Result(2)), group=uuids[0], volume=uuids[1]),
        *mounting(4, 3, f"{ground.base}/{session}/0"),
    )
    return ground.plan(*steps, session=session), {}


def block(ground: Ground) -> tuple[MountPlan, Keys]:
    raw, image = ground.ext4(size=SMALL), ground.folder / "disk.qcow2"
    tool("qemu-img", "convert", "-O", "qcow2", raw, image)
    session = ground.session()
    steps = (
        ConnectNbd(id=1, image=str(ground.keep(image)), format="qcow2"),
        *mounting(2, 1, f"{ground.base}/{session}/0"),
    )
    return ground.plan(*steps, session=session), {}


def foreign(ground: Ground) -> tuple[MountPlan, Keys]:
    image = blank(ground, "ntfs.img")
    tool("mkntfs", "--fast", "--force", "--quiet", image)
    device = attached(image)
    for path, data in CONTENT.items():
        if "/" not in path:
            held = ground.folder / "held"
            held.write_bytes(data)
            tool("ntfscp", "--force", "--quiet", device, held, path)
    tool("losetup", "--detach", device)
    session = ground.session()
    steps = (
        AttachLoop(id=1, backing=str(ground.keep(image))),
        MakeDirectory(id=2, path=f"{ground.base}/{session}/0"),
        MountWithTool(
            id=3, tool="ntfs-3g", source=Result(1), at=Result(2), arguments=("-o", "ro", "{source}", "{at}")
        ),
    )
    return ground.plan(*steps, session=session), {}


MAKERS: Mapping[str, Maker] = {
    each.__name__: each for each in (mapped, locked, array, activated, block, foreign)
}


def run(plan: MountPlan, keys: Keys, observe: Callable[[str, Step], None] | None = None) -> Outcome:
    executor = Executor() if observe is None else Executor(observe=observe)
    return executor.run(plan, {}, keys)


def main(name: str) -> None:
    """Mount, take down, and kill at every moment."""
    made = Path("/run/ground")
    made.mkdir()
    ground = Ground(made)
    ground.base = Path(ledger.BASE)
    first, keys = MAKERS[name](ground)
    before = state()
    outcome = run(first, keys)
    assert outcome.failures == (), outcome.failures
    for path in outcome.places.values():
        if path.startswith(f"{ground.base}/"):
            if name == "foreign":
                assert (Path(path) / "readme.txt").read_bytes() == CONTENT["readme.txt"]
            else:
                same_content(Path(path))
    told = (ground.base / f"{first.session}.jsonl").read_bytes()
    assert PASSPHRASE not in told
    assert PASSPHRASE.hex().encode() not in told
    held = state()
    assert held != before
    assert undo_session(first.session).ended
    assert state() == before
    for moment, number in moments(first):
        plan = anew(first, ground)
        ended = in_a_child(lambda: run(plan, keys, killer(moment, number)))  # noqa: B023
        assert ended == -signal.SIGKILL, (moment, number, ended)
        undone = undo_session(plan.session)
        assert undone.ended, (moment, number, undone.left)
        now = state()
        assert now == before, (moment, number, now)
    ground.check()
    print(f"{name}: {len(list(moments(first)))} times killed, nothing left")


def with_keys() -> None:
    """Keys of every kind that cryptsetup takes; wrong ones are counted, and none is seen anywhere."""
    Path("/run/ground").mkdir()
    ground = Ground(Path("/run/ground"))
    ground.base = Path(ledger.BASE)
    first, _ = locked(ground)
    before = state()
    image = Path(first.steps[0].backing)  # type: ignore[attr-defined]
    master = ground.folder / "master"
    tool(
        "cryptsetup", "luksDump", "--dump-volume-key", "--volume-key-file", master, "--batch-mode",
        "--key-file=-", image, data=PASSPHRASE,
    )  # fmt: skip
    secret = master.read_bytes()
    for keys, opens, says in (
        ((), False, "volume 0 is locked, and there is no key for it"),
        ((("p", b"wrong"),), False, "the key does not open volume 0"),
        (
            (("p", b"wrong"), ("p", b""), ("f", PASSPHRASE + b"\n")),
            False,
            "none of the 3 keys opens volume 0",
        ),
        ((("m", secret[:-1] + b"x"), ("p", PASSPHRASE)), True, ""),
        ((("f", PASSPHRASE),), True, ""),
        ((("m", secret),), True, ""),
        (({"kind": "p", "secret": PASSPHRASE.hex(), "volume": None},), True, ""),
    ):
        plan = anew(first, ground)
        outcome = run(plan, {2: keys})
        if opens:
            assert outcome.failures == (), outcome.failures
            same_content(Path(outcome.places[4]))
        else:
            reasons = {failure.step.id: failure.reason for failure in outcome.failures}
            assert reasons == {2: says, 4: says}, reasons
        told = (ground.base / f"{plan.session}.jsonl").read_bytes()
        for key in (PASSPHRASE, secret):
            assert key not in told
            assert key.hex().encode() not in told
        assert undo_session(plan.session).ended
        assert state() == before
    # What is held, by whom; and another mapping under a name of ours is not ours.
    outcome = run(first, {2: (("p", PASSPHRASE),)})
    with Path(outcome.places[2]).open("rb"):
        undone = undo_session(first.session)
        reasons = {left.step.id: left.reason for left in undone.left}
        assert "is in use by python" in reasons[2], reasons
        assert "step 2 needs it" in reasons[1], reasons
    assert undo_session(first.session).ended
    plan = anew(first, ground)
    name = f"pyimount-{plan.session}-2"
    tool("dmsetup", "create", name, data=b"0 8 zero")
    (failure, *_) = run(plan, {2: (("p", PASSPHRASE),)}).failures
    assert "already exists" in failure.reason, failure
    assert undo_session(plan.session).ended
    assert name in tool("dmsetup", "ls")
    tool("dmsetup", "remove", name)
    assert state() == before
    print("all keys tried")


def arrays_are_told_apart() -> None:
    """An array of the host is not stopped with ours; of one UUID there is one at a time, which is said."""
    Path("/run/ground").mkdir()
    ground = Ground(Path("/run/ground"))
    ground.base = Path(ledger.BASE)
    plan, keys = array(ground)
    devices = [attached(blank(ground, f"hosts{number}.img", 12 * MIB)) for number in range(2)]
    making = ("--run", "--level=1", "--raid-devices=2", "--assume-clean", "--metadata=1.2")
    tool("mdadm", "--create", "/dev/md/hosts", *making, *devices)
    host = Path("/dev/md/hosts").resolve()
    before = state()
    ours = run(plan, keys)
    assert ours.failures == (), ours.failures
    same_content(Path(ours.places[6]))
    second = anew(plan, ground)
    failure = run(second, keys).failures[0]
    assert "already active" in failure.reason
    assert failure.remedy == "--backend user"
    assert undo_session(second.session).ended
    same_content(Path(ours.places[6]))
    with Path(ours.places[4]).open("rb"):
        left = {each.step.id: each.reason for each in undo_session(plan.session).left}
        assert "is in use by python" in left[4], left
    assert undo_session(plan.session).ended
    assert state() == before
    tool("mdadm", "--stop", host)
    for device in devices:
        tool("losetup", "--detach", device)
    ground.check()
    print("the host's array stands")


def beside_udev() -> None:
    """Where udev runs, it reads nothing of ours, and its rules are as before afterwards."""
    tool("/lib/systemd/systemd-udevd", "--daemon")
    tool("udevadm", "control", "--ping")
    Path("/run/ground").mkdir()
    ground = Ground(Path("/run/ground"))
    ground.base = Path(ledger.BASE)

    def known(device: str) -> str:
        tool("udevadm", "settle")
        return tool("udevadm", "info", "--query=property", f"--name={Path(device).resolve()}")

    image = ground.ext4(size=SMALL)
    hosts = attached(image)
    assert "ID_FS_TYPE=ext4" in known(hosts), known(hosts)
    tool("losetup", "--detach", hosts)
    for maker, devices in ((mapped, (1, 2, 3)), (array, (1, 2, 3, 4)), (activated, (1, 2, 3))):
        plan, keys = maker(ground)
        rules = sorted(Path("/run/udev/rules.d").glob("*"))
        outcome = run(plan, keys)
        assert outcome.failures == (), outcome.failures
        for number in devices:
            said = known(outcome.places[number])
            assert "ID_FS" not in said, said
            assert "by-uuid" not in said, said
            assert "UDISKS_IGNORE=1" in said, said
            assert "SYSTEMD_READY=0" in said, said
        assert sorted(Path("/run/udev/rules.d").glob("*")) != rules
        assert undo_session(plan.session).ended
        assert sorted(Path("/run/udev/rules.d").glob("*")) == rules
        assert ground.left() == []
    hosts = attached(image)
    assert "ID_FS_TYPE=ext4" in known(hosts)
    tool("losetup", "--detach", hosts)
    print("udev kept away")


if __name__ == "__main__":
    main(sys.argv[1])
