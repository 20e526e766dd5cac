"""Taking a session down: backwards through its ledger, from any process, as often as one likes."""

import contextlib
import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pyimount.confinement.users import tidy
from pyimount.execution import ledger as ledgers
from pyimount.execution import step_executor, udev
from pyimount.execution.caches import Note
from pyimount.execution.errors import Held, LedgerError, NoSession, StepFailed
from pyimount.execution.ledger import BASE, Entry, Ledger, Story
from pyimount.execution.plan_executor import Observer, nobody
from pyimount.planning.steps import MakeDirectory, Mount, MountWithTool, Step, shown_readable
from pyimount.records import Record


class Left(Record, kw_only=True):
    """What could not be taken back: the step, what it made (None: not known), and why not.

    ``because``: the step that is in the way, where this one only lies beneath it.
    """

    step: Step
    place: str | None
    reason: str
    because: int | None = None


class Undone(Record, kw_only=True):
    """What taking a session down did. ``ended``: nothing of it is left; ``notes``: what became of caches."""

    session: str
    steps: tuple[Step, ...] = ()
    left: tuple[Left, ...] = ()
    notes: tuple[Note, ...] = ()
    ended: bool = True

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        left = [
            {
                "place": each.place,
                "step": each.step.verb,
                "reason": each.reason,
                "beneath": each.because is not None,
            }
            for each in self.left
        ]
        return {
            "session": self.session,
            "ended": self.ended,
            "undone": len(self.steps),
            "left": left,
            "notes": [each.to_dict() for each in self.notes],
        }

    @property
    def nothing(self) -> bool:
        """There was nothing to do."""
        return not self.steps and not self.left


def undo_session(
    session: str,
    *,
    base: str = BASE,
    lazy: bool = False,
    only: Iterable[int] | None = None,
    keep: Iterable[int] = (),
    discard: bool = False,
    observe: Observer = nobody,
) -> Undone:
    """Take back what stands of a session, the latest first; with nothing left, its ledger goes too.

    ``lazy``: mounts in use disappear from their places at once, and what is beneath them stays until nobody
    uses it. ``only``: the ids of steps that are to go, with those that need them and those that only they
    needed. ``keep``: the ids of steps that stay whatever goes, with those that they need. ``discard``: what
    was written goes too. A session that is not there is one with nothing to do. Raises LedgerError.
    """
    try:
        ledger, story = Ledger.open(base, session)
    except NoSession:
        # Its folder may be all that there is, when whoever began was killed then, or who ended it.
        with contextlib.suppress(OSError):
            os.rmdir(base)
        return Undone(session=session)
    with ledger:
        names = story.names(session)
        standing = story.standing()
        chosen = standing if only is None else _with_others(standing, set(only), _needed(standing, set(keep)))
        gone: list[Step] = []
        left: dict[int, Left] = {}
        notes: list[Note] = []
        for entry in reversed(chosen):
            step = entry.step
            left_above = next((each for each in left.values() if step.id in each.step.needs()), None)
            if left_above is not None:
                first = left_above.step.id if left_above.because is None else left_above.because
                why = f"step {first} needs it: {left[first].reason}"
                left[step.id] = _left(entry, why).replaced(because=first)
                continue
            observe("undoing", step)
            try:
                if isinstance(step, MakeDirectory) or not _is_past(story):
                    note = step_executor.undo(entry, names, lazy=lazy, discard=discard)
                    notes += [] if note is None else [note]
            except Held as error:
                left[step.id] = _left(entry, str(error))
                continue
            observe("taken back", step)
            with contextlib.suppress(LedgerError):
                # Where there is no room for the line, it is looked at again and found to be gone.
                ledger.undone(step)
            observe("undone", step)
            gone.append(step)
        ended = len(gone) == len(standing)
        if ended:
            try:
                udev.release(session)
            except StepFailed as error:
                raise LedgerError(str(error)) from error
            ledger.remove()
    tidy()
    return Undone(
        session=session, steps=tuple(gone), left=tuple(left.values()), notes=tuple(notes), ended=ended
    )


def _left(entry: Entry, reason: str) -> Left:
    return Left(step=entry.step, place=None if entry.made is None else entry.made.place, reason=reason)


def _is_past(story: Story) -> bool:
    """Whether the machine was started anew since: then nothing but folders can stand."""
    return story.header is not None and story.header.boot != ledgers.boot_id()


def _needed(standing: Sequence[Entry], wanted: set[int]) -> set[int]:
    """The ids of these steps and of all that they need."""
    for entry in reversed(standing):
        if entry.step.id in wanted:
            wanted.update(entry.step.needs())
    return wanted


def _with_others(
    standing: Sequence[Entry], chosen: set[int], kept: Collection[int] = frozenset()
) -> list[Entry]:
    """The entries that are chosen, those that need them, and those that then nothing needs any more."""
    chosen = chosen.difference(kept)
    beneath = shown_readable(entry.step for entry in standing)
    for entry in standing:
        if chosen.intersection(entry.step.needs()):
            chosen.add(entry.step.id)
    for entry in reversed(standing):
        users = {each.step.id for each in standing if entry.step.id in each.step.needs()}
        # What is mounted is there for itself, also when it was bound to a second place.
        is_mount = isinstance(entry.step, Mount | MountWithTool) and entry.step.id not in beneath
        is_there_for_itself = is_mount or entry.step.id in kept
        if users and users <= chosen and not is_there_for_itself:
            chosen.add(entry.step.id)
    return [entry for entry in standing if entry.step.id in chosen]


def would_undo(
    session: str, *, base: str = BASE, only: Iterable[int] | None = None
) -> list[tuple[Step, tuple[str, ...]]]:
    """The commands that taking a session down stands for, in their order. Raises LedgerError.

    ``only``: as ``undo_session`` has it.
    """
    standing = ledgers.read(base, session).standing()
    chosen = standing if only is None else _with_others(standing, set(only))
    return [
        (entry.step, argv) for entry in reversed(chosen)
        if entry.made is not None and entry.made.place is not None
        and (argv := entry.step.undo_argv(entry.made.place))
    ]  # fmt: skip
