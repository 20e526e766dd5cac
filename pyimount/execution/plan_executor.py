"""Running a plan: each step written down, done, and written down again; one that fails stops only its own."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from pyimount.execution import ledger as ledgers
from pyimount.execution import rights, step_executor, udev
from pyimount.execution.errors import Held, StepFailed, Taken
from pyimount.execution.ledger import BASE, Entry, FileId, Ledger, Made, Story
from pyimount.execution.step_acts import Given, Keys
from pyimount.execution.wanted import identity
from pyimount.planning.steps import (
    ActivateVolumeGroup,
    AssembleArray,
    AttachLoop,
    Mount,
    MountPlan,
    MountWithTool,
    Names,
    Result,
    Step,
)
from pyimount.records import EMPTY, Record
from pyimount.sources.identity import FileIdentity

NO_KEYS: Mapping[int, Keys] = MappingProxyType({})

_TRIES = 100
"""So often a step is tried whose name another process takes at the same moment."""

EMPTY_FAILURES: Mapping[int, str] = MappingProxyType({})

Observer: TypeAlias = Callable[[str, Step], None]
"""Told of each moment of each step: ``intending``, ``intended``, ``performed``, ``done`` (and, of taking it
back, ``undoing``, ``taken back``, ``undone``)."""


def nobody(moment: str, step: Step) -> None:
    """The observer that does nothing."""


class Failure(Record, kw_only=True):
    """A step that was not done. ``because``: the id of the one that failed, where this one only needed it."""

    step: Step
    reason: str
    remedy: str | None = None
    because: int | None = None


class Outcome(Record, kw_only=True):
    """What became of a plan. ``places``: what its steps made, by their ids."""

    session: str
    plan: MountPlan
    places: Mapping[int, str]
    failures: tuple[Failure, ...] = ()

    def mounted(self) -> Iterator[tuple[Mount | MountWithTool, str]]:
        """The file systems that are mounted, and where."""
        for step in self.plan.mounts():
            if step.id in self.places:
                yield step, self.places[step.id]


class Executor:
    """Carries out plans on this machine, as root.

    ``base``: the folder of the ledgers. ``user``: for whom the helper does it; None: for this process's own.
    ``hand_over``: as Given has it. ``observe``: told of every moment.
    """

    def __init__(
        self,
        *,
        base: str = BASE,
        user: int | None = None,
        hand_over: Callable[[int], None] | None = None,
        observe: Observer = nobody,
    ) -> None:
        self.base = base
        self._user = user
        self._hand_over = hand_over
        self._observe = observe
        self._claimed: _Run | None = None

    def claim(self, session: str, images: Sequence[str], files: Sequence[FileId] = ()) -> None:
        """Begin a session, and keep it from every other process until ``release``.

        ``files``: what lies at the paths of the images. Raises LedgerError when there is one of this name.
        """
        ledger = Ledger.create(self.base, session, images, files=files, user=self._user)
        self._claimed = _Run(ledger, Story(), self._observe)

    def release(self) -> None:
        """Let others work on the session that was claimed; one of which nothing stands ends."""
        if self._claimed is not None:
            self._claimed.end()
            self._claimed.close()
            self._claimed = None

    def run(
        self,
        plan: MountPlan,
        scan: Mapping[str, Any] = EMPTY,
        keys: Mapping[int, Keys] = NO_KEYS,
        *,
        opened: Mapping[str, int] | None = None,
        files: Mapping[str, FileIdentity] = EMPTY,
    ) -> Outcome:
        """Carry out a plan.

        ``scan``: the report that it was made from, as JSON values; ``keys``: by the ids of the steps
        that they are for; ``opened``: descriptors of the images by their paths, where the caller opened them;
        ``files``: what was scanned under each absolute path: no other file is used for it.
        A plan for a session that stands is added to it; one of which nothing stands is no session.

        What cannot be done is in the outcome. Raises LedgerError when it cannot be written down: what stands
        then is in the ledger.
        """
        if not plan.steps:
            return Outcome(session=plan.session, plan=plan, places={})
        hindrance = rights.hindrance()
        if hindrance is not None:
            failures = tuple(
                Failure(step=step, reason=hindrance.cause, remedy=hindrance.remedy) for step in plan.steps
            )
            return Outcome(session=plan.session, plan=plan, places={}, failures=failures)
        given = Given(
            scan=scan, opened=opened, files=files, user=self._user, hand_over=self._hand_over, base=self.base
        )
        if self._claimed is not None and self._claimed.session == plan.session:
            return self._run(self._claimed, plan, keys, given)
        if plan.session in ledgers.all_sessions(self.base):
            ledger, story = Ledger.open(self.base, plan.session)
        else:
            files_now = [identity(path) for path in plan.images]
            ledger = Ledger.create(self.base, plan.session, plan.images, files=files_now, user=self._user)
            story = Story()
        with ledger:
            run = _Run(ledger, story, self._observe)
            outcome = self._run(run, plan, keys, given)
            run.end()
        return outcome

    @staticmethod
    def _run(run: "_Run", plan: MountPlan, keys: Mapping[int, Keys], given: Given) -> Outcome:
        for step in plan.steps:
            run.one(step, given.replaced(keys=keys.get(step.id, ()), hold=(run.fileno(),)))
        failures = (run.failures.get(step.id) for step in plan.steps)
        return Outcome(
            session=plan.session, plan=plan, places=run.names.places,
            failures=tuple(failure for failure in failures if failure is not None),
        )  # fmt: skip


class RecordingExecutor(Executor):
    """Does nothing, and says that it did: for tests without root.

    ``commands``: what the steps stood for, in their order. ``fail``: reasons by the ids of steps
    that are to fail.
    """

    def __init__(self, *, fail: Mapping[int, str] = EMPTY_FAILURES) -> None:
        super().__init__()
        self.commands: list[tuple[str, ...]] = []
        self._fail = fail

    def run(
        self,
        plan: MountPlan,
        scan: Mapping[str, Any] = EMPTY,  # noqa: ARG002
        keys: Mapping[int, Keys] = NO_KEYS,  # noqa: ARG002
        *,
        opened: Mapping[str, int] | None = None,  # noqa: ARG002
        files: Mapping[str, FileIdentity] = EMPTY,  # noqa: ARG002
    ) -> Outcome:
        """As if the plan had been carried out."""
        names = Names(plan.session)
        failures: dict[int, Failure] = {}
        for step in plan.steps:
            cause = next((need for need in step.needs() if need in failures), None)
            if step.id in self._fail:
                failures[step.id] = Failure(step=step, reason=self._fail[step.id])
            elif cause is not None:
                first = failures[cause]
                failures[step.id] = first.replaced(step=step, because=first.because or cause)
            else:
                self.commands.append(step.argv(names))
                made = getattr(step, "at", getattr(step, "path", f"/dev/{names.mark(step.id)}"))
                names.places[step.id] = names(made)
        return Outcome(
            session=plan.session, plan=plan, places=names.places, failures=tuple(failures.values())
        )


class _Run:
    """Steps of one session, one after the other."""

    def __init__(self, ledger: Ledger, story: Story, observe: Observer) -> None:
        self.names = story.names(ledger.session)
        self.failures: dict[int, Failure] = {}
        self._ledger = ledger
        self._observe = observe
        self._ids = {entry.step.id for entry in story.entries}
        self._done = {entry.step.id for entry in story.standing() if entry.made is not None}
        self._earlier = {
            entry.step.id: Failure(step=entry.step, reason=entry.failed)
            for entry in story.entries
            if entry.failed is not None
        }
        self._unshown: dict[Result, str] = {}
        self._standing = {entry.step.id for entry in story.standing()}
        self._guard = udev.Guard(ledger.session)
        for entry in story.standing():
            if entry.made is not None:
                self._note_unshown(entry.step, entry.made)
                self._guard.knows(*_for_udev(entry.step, self.names))

    def one(self, step: Step, given: Given) -> None:
        """Run a step, unless what it needs is not there."""
        failure = self._lacking(step) or self._tried(step, given)
        if failure is not None:
            self.failures[step.id] = failure

    @property
    def session(self) -> str:
        """The session's name."""
        return self._ledger.session

    def fileno(self) -> int:
        """The descriptor that has the ledger's lock."""
        return self._ledger.fileno()

    def close(self) -> None:
        """Unlock the ledger."""
        self._ledger.close()

    def end(self) -> None:
        """End the session if nothing of it stands."""
        if self._standing:
            return
        with contextlib.suppress(StepFailed):
            udev.release(self._ledger.session)
        self._ledger.remove()

    def _lacking(self, step: Step) -> Failure | None:
        if step.id in self._ids:
            return Failure(step=step, reason=f"there is a step {step.id} in this session already")
        self._ids.add(step.id)
        for name in step.fields:
            value = getattr(step, name)
            if isinstance(value, Result) and value in self._unshown:
                return Failure(step=step, reason=self._unshown[value], because=value.step)
        lacking = next((need for need in step.needs() if need not in self._done), None)
        if lacking is None:
            return None
        first = self.failures.get(lacking) or self._earlier.get(lacking)
        if first is None:
            return Failure(step=step, reason=f"it needs step {lacking}, which does not stand")
        cause = lacking if first.because is None else first.because
        return Failure(step=step, reason=first.reason, remedy=first.remedy, because=cause)

    def _tried(self, step: Step, given: Given) -> Failure | None:
        for _ in range(_TRIES):
            try:
                return self._once(step, given)
            except Taken:
                continue  # It is written down anew, with the next name.
        return Failure(step=step, reason="whatever name it takes, another process was faster")

    def _once(self, wanted: Step, given: Given) -> Failure | None:
        """As ``_tried``; raises Taken where the name of what it makes went to another just now."""
        self._observe("intending", wanted)
        step = wanted
        try:
            step = step_executor.settled(wanted, self.names, given)
            before = step_executor.before(step, self.names, given)
            self._guard.before(*_for_udev(step, self.names))
        except StepFailed as error:
            return Failure(step=step, reason=str(error), remedy=error.remedy)
        self._ledger.intended(step, before)
        self._standing.add(step.id)
        try:
            self._observe("intended", step)
            made = step_executor.perform(step, self.names, given)
            self._observe("performed", step)
        except Taken:
            raise
        except StepFailed as error:
            self._ledger.failed(step, str(error))
            self._take_back(Entry(step=step, before=before))
            return Failure(step=step, reason=str(error), remedy=error.remedy)
        self._ledger.done(step, made)
        self._done.add(step.id)
        if made.place is not None:
            self.names.places[step.id] = made.place
        self._note_unshown(step, made)
        self._observe("done", step)
        return None

    def _note_unshown(self, step: Step, made: Made) -> None:
        for file, reason in made.identity.get("failed", {}).items():
            self._unshown[Result(step.id, file)] = reason

    def _take_back(self, entry: Entry) -> None:
        try:
            step_executor.undo(entry, self.names)
        except Held:
            return  # It stands in the ledger, and is tried again with the rest.
        self._ledger.undone(entry.step)
        self._standing.discard(entry.step.id)


def _for_udev(step: Step, names: Names) -> tuple[list[str], list[str], list[str]]:
    """What a step makes a device of: the file of a loop device, the members of an array, a volume group."""
    if isinstance(step, AttachLoop):
        return [names(step.backing)], [], []
    if isinstance(step, AssembleArray):
        return [], [names(device) for device in step.devices], []
    return [], [], [step.group] if isinstance(step, ActivateVolumeGroup) else []
