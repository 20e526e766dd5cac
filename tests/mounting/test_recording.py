"""A plan without root: what it stands for, and what becomes of it when a step fails."""

from pyimount.execution.plan_executor import RecordingExecutor
from pyimount.execution.survey import survey
from pyimount.planning.steps import AttachLoop, MakeDirectory, Mount, MountPlan, Result

PLAN = MountPlan(
    session="01234567",
    images=("/a.img",),
    steps=(
        MakeDirectory(id=1, path="/run/x"),
        AttachLoop(id=2, backing="/a.img"),
        Mount(id=3, device=Result(2), at=Result(1), type="ext4", options=("noload",)),
    ),
)


def test_it_records_and_touches_nothing() -> None:
    executor = RecordingExecutor()
    outcome = executor.run(PLAN)
    assert [path for _, path in outcome.mounted()] == ["/run/x"]
    assert executor.commands[1] == ("losetup", "--find", "--show", "--read-only", "/a.img")
    assert executor.commands[2][-2:] == ("/dev/pyimount-01234567-2", "/run/x")


def test_what_needs_a_step_that_fails_fails_with_it() -> None:
    outcome = RecordingExecutor(fail={2: "no device"}).run(PLAN)
    assert [(failure.step.id, failure.reason, failure.because) for failure in outcome.failures] == [
        (2, "no device", None), (3, "no device", 2),
    ]  # fmt: skip
    assert list(outcome.mounted()) == []


def test_a_survey_says_what_this_machine_has() -> None:
    machine = survey()
    assert "proc" in machine.filesystems
    assert all(path.startswith("/") for path in machine.tools.values())
