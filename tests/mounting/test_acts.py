"""Whatever act of a mount fails, or is the last, within steps too: what remains after ``unmount`` is nothing.

The acts are those that a recorded run was seen to do, so a new one is tried as soon as there is one: each
of them in the plan that mounts an image as a whole, the first and the last of each kind in the others.
"""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from pyimount.execution.errors import LedgerError
from pyimount.execution.plan_executor import Executor, Outcome
from pyimount.execution.undoing import Undone
from pyimount.planning.steps import MountPlan
from tests.mounting.acts import NOT_REACHED, Act, faults, first_and_last, recorded, with_fault
from tests.mounting.ground import Ground, anew
from tests.mounting.test_faults import bound, exposed, shown, whole

USER = 1234
PLANS = (whole, bound, shown, exposed)
named = pytest.mark.parametrize("maker", PLANS, ids=lambda maker: maker.__name__)
kinds = pytest.mark.parametrize(("kind", "fault"), list(faults()), ids=[kind for kind, _ in faults()])


def mounting(
    ground: Ground, plan: MountPlan, given: dict[str, object], user: int | None
) -> Callable[[], object]:
    """The run of a plan, as root's or, with a ``user``, as the helper's for that user."""

    def run() -> Outcome | None:
        executor = Executor(base=str(ground.base), user=user)
        try:
            if user is not None:
                executor.claim(plan.session, plan.images)
            return executor.run(plan, **given)  # type: ignore[arg-type]
        except LedgerError:
            return None  # as it is told: what stands is in the ledger
        finally:
            executor.release()

    return run


def taken_down(ground: Ground, session: str) -> Undone:
    """Take a session down; again where all that is left is a loop device that some other process has open.

    Whoever lists loop devices opens each of them, and on a busy machine for longer than ``unmount`` waits.
    """
    undone = ground.undo(session)
    for _ in range(20):
        if not undone.left or not all("it goes when it is closed" in each.reason for each in undone.left):
            break
        undone = ground.undo(session)
    return undone


def tried(
    ground: Ground,
    acts: list[Act],
    act_on: Callable[[], tuple[MountPlan, Callable[[], object]]],
    kind: str,
    fault: dict[str, Any],
    *,
    every: bool,
) -> list[object]:
    """Whatever was wrong after a fault at each of the acts."""
    wrong: list[object] = []
    reached = 0
    chosen = acts if every else first_and_last(acts)
    for act in chosen:
        plan, run = act_on()
        status = with_fault(run, act, **fault)
        reached += act.nth == 1 and status != NOT_REACHED
        if status not in (NOT_REACHED, -signal.SIGKILL if kind == "is the last" else 0):
            # By an outcome or a LedgerError, or where it was killed; never by another exception.
            wrong.append((act, status))
        undone = taken_down(ground, plan.session)
        if not undone.ended or ground.left():
            wrong.append((act, undone.left, ground.left()))
            ground.clear()
        ground.check()
    assert reached > 0.8 * sum(act.nth == 1 for act in chosen)
    return wrong


def each_mount(maker: Any, kind: str, fault: dict[str, Any], ground: Ground, user: int | None) -> None:
    first, given = maker(ground)
    acts = recorded(mounting(ground, first, given, user), ground.folder / "acts")
    assert taken_down(ground, first.session).ended
    ground.check()
    assert len(acts) > 30

    def act_on() -> tuple[MountPlan, Callable[[], object]]:
        plan = anew(first, ground)
        return plan, mounting(ground, plan, given, user)

    assert tried(ground, acts, act_on, kind, fault, every=maker is whole) == []


@kinds
@named
def test_each_act_of_a_mount(maker: Any, kind: str, fault: dict[str, Any], ground: Ground) -> None:
    each_mount(maker, kind, fault, ground, None)


@kinds
def test_each_act_of_a_mount_for_a_user(kind: str, fault: dict[str, Any], ground: Ground) -> None:
    each_mount(whole, kind, fault, ground, USER)


@kinds
@named
def test_each_act_of_taking_it_down(maker: Any, kind: str, fault: dict[str, Any], ground: Ground) -> None:
    first, given = maker(ground)
    ground.run(first, **given)
    acts = recorded(lambda: ground.undo(first.session), ground.folder / "acts")
    ground.check()
    assert len(acts) > 15

    def undo(session: str) -> None:
        try:
            ground.undo(session)
        except LedgerError:
            return  # as it is told: it can be tried again

    def act_on() -> tuple[MountPlan, Callable[[], object]]:
        plan = anew(first, ground)
        ground.run(plan, **given)
        return plan, lambda: undo(plan.session)

    assert tried(ground, acts, act_on, kind, fault, every=maker is whole) == []
