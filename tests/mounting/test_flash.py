"""The flash device that JFFS2 wants: to the commands and the bytes, since no kernel here has mtdram.

``modprobe`` is a script here which makes what the kernel would: the list of devices and a device to write to.
The mount itself is only shown as its command.
"""

from pathlib import Path

import pytest

from pyimount.execution import flash, step_executor, tools
from pyimount.execution.errors import Held, StepFailed
from pyimount.execution.ledger import Entry, Made
from pyimount.execution.plan_executor import RecordingExecutor
from pyimount.execution.step_acts import Given
from pyimount.layers import Scan
from pyimount.planning.policy import FORENSIC
from pyimount.planning.steps import AttachFlash, Names, Result
from tests.needing import needs
from tests.planning.scans import MIB, disk, part, planned

STEP = AttachFlash(id=2, device=Result(1), size=300_000, erase_size=64 << 10)
MODPROBE = """\
#!/bin/sh
echo "$*" >>{folder}/said
if [ "$1" = --remove ]; then
    [ -e {folder}/busy ] && exit 1
    rm -r {folder}/module; echo 'dev:    size   erasesize  name' >{folder}/mtd
else
    mkdir {folder}/module
    cat {folder}/listed >{folder}/mtd
    head -c 327680 /dev/zero | tr '\\0' '\\377' >{folder}/mtd1
fi
"""
LISTED = """\
dev:    size   erasesize  name
mtd0: 00100000 00010000 "spi0.0"
mtd1: 00050000 00010000 "mtdram test device"
"""


class Machine:
    """Where the kernel's part is played."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.volume = folder / "volume"
        self.names = Names("0123abcd", {1: str(self.volume)})
        self.volume.write_bytes(bytes(range(250)) * 1200)
        (folder / "listed").write_text(LISTED)

    def perform(self) -> Made:
        step_executor.before(STEP, self.names, Given())
        return step_executor.perform(STEP, self.names, Given())

    def said(self) -> list[str]:
        return (self.folder / "said").read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    needs("setpriv")
    tool = tmp_path / "modprobe"
    tool.write_text(MODPROBE.format(folder=tmp_path))
    tool.chmod(0o755)
    monkeypatch.setattr(tools, "SEARCH_PATH", (str(tmp_path), "/usr/bin", "/bin"))
    for name, value in (("DEVICES", "mtd"), ("MODULE", "module"), ("NODES", ".")):
        monkeypatch.setattr(flash, name, str(tmp_path / value))
    monkeypatch.setattr(flash, "_GONE_WITHIN", 0.1)
    monkeypatch.setattr(flash, "_APPEARS_WITHIN", 0.1)
    return Machine(tmp_path)


def test_the_device_holds_the_volume_and_goes_again(machine: Machine) -> None:
    made = machine.perform()
    assert made.place == "mtd1"
    assert machine.said() == ["mtdram total_size=320 erase_size=64"]
    held = (machine.folder / "mtd1").read_bytes()
    assert held == machine.volume.read_bytes() + b"\xff" * (327_680 - 300_000)
    step_executor.undo(Entry(step=STEP, before={"loaded": False}, made=made), machine.names)
    assert machine.said()[1:] == ["--remove mtdram"]
    step_executor.undo(Entry(step=STEP, before={"loaded": False}, made=made), machine.names)
    assert len(machine.said()) == 2, "twice is as good as once"


def test_one_that_is_there_already_is_not_ours(machine: Machine) -> None:
    (machine.folder / "module").mkdir()
    with pytest.raises(StepFailed, match="in use by another"):
        machine.perform()
    # Killed before it was loaded, and another has loaded it since: it has another size.
    (machine.folder / "mtd").write_text(LISTED.replace("00050000", "00400000"))
    step_executor.undo(Entry(step=STEP, before={"loaded": False}), machine.names)
    assert (machine.folder / "module").exists()
    # Killed after.
    (machine.folder / "mtd").write_text(LISTED)
    step_executor.undo(Entry(step=STEP, before={"loaded": False}), machine.names)
    assert not (machine.folder / "module").exists()


def test_what_is_in_use_stays(machine: Machine) -> None:
    made = machine.perform()
    (machine.folder / "busy").touch()
    with pytest.raises(Held, match="mtdram is in use"):
        step_executor.undo(Entry(step=STEP, made=made), machine.names)


def test_a_volume_that_ends_early_and_a_kernel_that_makes_nothing(machine: Machine) -> None:
    machine.volume.write_bytes(b"short")
    with pytest.raises(StepFailed, match="299995 bytes early"):
        machine.perform()
    step_executor.undo(Entry(step=STEP, before={"loaded": False}), machine.names)
    (machine.folder / "listed").write_text("dev:    size   erasesize  name\n")
    with pytest.raises(StepFailed, match="made 0 devices"):
        machine.perform()


def test_the_mount_that_follows() -> None:
    volume = part(
        1, 0, "1", size=MIB, type="jffs2", details={"byte_order": "little", "erase_block_size": 65536}
    )
    made = planned(Scan((disk(),), (volume,)), policy=FORENSIC.replaced(allow_fs=frozenset({"jffs2"})))
    recording = RecordingExecutor()
    recording.run(made)
    commands = [command for command in recording.commands if command[0] in ("modprobe", "mount")]
    names = Names(made.session)
    (device,) = [step.id for step in made.steps if isinstance(step, AttachFlash)]
    assert commands[0] == ("modprobe", "mtdram", "total_size=1024", "erase_size=64")
    assert commands[1][:8] == (
        "mount", "-i", "-n", "-t", "jffs2", "-o", "ro,nosuid,nodev,noexec", f"/dev/{names.mark(device)}",
    )  # fmt: skip
