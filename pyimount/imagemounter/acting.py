"""What the facade does on the machine, and what it raises when that fails.

Each mount is a session of its own in the ledger: the objects keep its name, the ledger knows what stands of
it.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from pyimount.exceptions import (
    CleanupError,
    CommandNotFoundError,
    ImageMounterError,
    KeyInvalidError,
    MountError,
    MountpointEmptyError,
    NoLoopbackAvailableError,
    NoMountpointAvailableError,
    NoNetworkBlockAvailableError,
    PrerequisiteFailedError,
    SubsystemError,
    UnsupportedFilesystemError,
)
from pyimount.execution import ledger
from pyimount.execution.errors import LedgerError, NoSession
from pyimount.execution.ledger import BASE
from pyimount.execution.plan_executor import Executor, Outcome
from pyimount.execution.survey import survey
from pyimount.execution.undoing import undo_session
from pyimount.imagemounter import views
from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer
from pyimount.mounting import mounting
from pyimount.mounting.outcome import MountedVolume
from pyimount.planning import parts
from pyimount.planning.naming import Naming
from pyimount.planning.plan import key_kinds
from pyimount.planning.policy import Policy
from pyimount.planning.refusing import Refused
from pyimount.planning.steps import (
    AttachLoop,
    BindMount,
    ConnectNbd,
    MakeDirectory,
    Mount,
    MountPlan,
    MountWithTool,
    Names,
    OpenEncrypted,
    Refusal,
    Result,
    ShowDirectory,
    Step,
)
from pyimount.records import EMPTY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyimount.keys import Keyring

_BY_CODE: "Mapping[str, type[ImageMounterError]]" = {
    "locked": KeyInvalidError,
    "unknown": UnsupportedFilesystemError,
    "unsupported": UnsupportedFilesystemError,
    "not-allowed": UnsupportedFilesystemError,
    "needs-tool": CommandNotFoundError,
}
_BY_STEP: "Mapping[type[Step], type[ImageMounterError]]" = {
    AttachLoop: NoLoopbackAvailableError,
    MakeDirectory: NoMountpointAvailableError,
    ConnectNbd: NoNetworkBlockAvailableError,
    OpenEncrypted: KeyInvalidError,
}


class Called(Naming, kw_only=True):
    """A mountpoint's name that is settled already."""

    name: str

    def of(self, scan: Scan, volume: VolumeLayer) -> str:  # noqa: ARG002
        """This one."""
        return self.name

    def of_folder(self, disk: DiskLayer) -> str:  # noqa: ARG002
        """The same."""
        return self.name


class _Watch:
    """An observer that knows which step was begun and not done."""

    def __init__(self) -> None:
        self._begun: dict[int, Step] = {}

    def __call__(self, moment: str, step: Step) -> None:
        if moment == "intending":
            self._begun[step.id] = step
        elif moment == "done":
            del self._begun[step.id]

    def failed(self) -> Step | None:
        """The first step that failed."""
        return next(iter(self._begun.values()), None)


def need_root() -> None:
    """Raise PrerequisiteFailedError unless this process may mount."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        error = PrerequisiteFailedError("mounting needs root; detecting does not")
        error.remedy = "run this as root"
        raise error


def raised(kind: type[ImageMounterError], reason: str, remedy: str | None = None) -> ImageMounterError:
    """An exception with what would help."""
    error = kind(reason)
    error.remedy = remedy
    return error


def mount(
    scan: Scan,
    volume: VolumeLayer,
    *,
    session: str,
    policy: Policy,
    keys: "Keyring | None",
    fstype: str | None,
    folder: str | None,
    naming: Naming,
    cache: str | None,
) -> MountedVolume:
    """Mount one volume and nothing within it. Raises as ``Volume.mount``; nothing of it stands then."""
    need_root()
    watch = _Watch()
    index = volume.index
    if volume.type == views.FOLDER:
        # Of such a disk nothing is written, and it is mounted as itself.
        policy, index = policy.replaced(read_write=False), scan.disk(volume).index or ""
    try:
        done = mounting.mount(
            views.without_folders(scan),
            Executor(observe=watch),
            policy=policy,
            keys=keys,
            session=session,
            only={index} - {""},
            skip={inner.index for inner in scan.children(volume)},
            fstypes={volume.index: fstype} if fstype else EMPTY,
            shadows=True,
            folder=folder,
            naming=naming,
            cache=cache,
        )
    except LedgerError as error:
        _forget(session)
        raise SubsystemError(str(error)) from error
    found = next((each for each in done.volumes if each.index == index), None)
    if found is not None and found.mountpoint is not None:
        return found
    _forget(session)
    if found is None or found.refusal is None:
        raise UnsupportedFilesystemError(
            f"volume {volume.index} holds nothing that is mounted: {volume.type}"
        )
    raise _of_refusal(found.refusal, watch.failed())


def show(
    scan: Scan,
    layer: Layer,
    *,
    session: str,
    policy: Policy,
    keys: "Keyring | None",
    cache: str | None = None,
) -> tuple[bool, str]:
    """Show a layer's bytes as a file: whether anything was done for it, and its path.

    Raises MountpointEmptyError when the file is not there in the end, and what fits what failed.
    """
    try:
        plan, place = parts.show(
            scan, layer, policy, survey(), session=session, keys_for=key_kinds(scan, keys), cache=cache,
            cwd=os.getcwd(),
        )  # fmt: skip
    except Refused as refused:
        _refuse(refused)
    if not plan.steps:
        return False, Names(session)(place)
    outcome = _run(plan, scan, keys)
    path = Names(session, outcome.places)(place)
    if not os.path.exists(path):
        _forget(session)
        raise MountpointEmptyError(f"{path} is not there although it should be")
    return True, path


def carve(
    scan: Scan, volume: VolumeLayer, *, at: str, free_only: bool, policy: Policy, keys: "Keyring | None"
) -> None:
    """Carve a volume into an empty folder. Raises as ``Volume.carve``."""
    watch = _Watch()
    try:
        done = mounting.carve(
            scan, volume, at, Executor(observe=watch), policy=policy, keys=keys, free_only=free_only
        )
    except LedgerError as error:
        raise SubsystemError(str(error)) from error
    if done.refusal is not None:
        raise _of_refusal(done.refusal, watch.failed())


def _of_refusal(refusal: Refusal, failed: Step | None) -> ImageMounterError:
    """What fits a refusal; ``failed``: the step that did, if any."""
    if refusal.code != "failed":
        kind = _BY_CODE.get(refusal.code, MountError)
    else:
        kind = SubsystemError if failed is None else _BY_STEP.get(type(failed), SubsystemError)
    return raised(kind, refusal.reason, refusal.remedy)


def _refuse(refused: Refused) -> NoReturn:
    raise raised(_BY_CODE.get(refused.code, MountError), refused.reason, refused.remedy) from refused


def _run(plan: MountPlan, scan: Scan, keys: "Keyring | None") -> Outcome:
    """Carry out a plan all of which is wanted."""
    need_root()
    try:
        outcome = Executor().run(plan, scan.to_dict(), mounting.keys_of(plan, keys))
    except LedgerError as error:
        _forget(plan.session)
        raise SubsystemError(str(error)) from error
    for failure in outcome.failures:
        _forget(plan.session)
        kind = _BY_STEP.get(type(failure.step), SubsystemError)
        raise raised(kind, failure.reason, failure.remedy)
    return outcome


def _forget(session: str) -> None:
    """Take down what a mount that failed has left, as far as can be; what stays is in the ledger."""
    try:
        undo_session(session)
    except LedgerError:
        return


def add(session: str, make: Callable[[int, MountPlan], "tuple[Step, ...]"]) -> Outcome:
    """Run further steps in a session that stands.

    ``make``: makes them from the id of the first and from the plan that stands. What became of them is in the
    outcome. Raises NoSession, SubsystemError.
    """
    need_root()
    try:
        story = ledger.read(BASE, session)
        images = () if story.header is None else story.header.images
        standing = MountPlan(
            session=session, images=images, steps=tuple(entry.step for entry in story.standing())
        )
        first = max((entry.step.id for entry in story.entries), default=-1) + 1
        plan = standing.replaced(steps=make(first, standing))
        outcome = Executor().run(plan)
    except NoSession:
        raise
    except LedgerError as error:
        raise SubsystemError(str(error)) from error
    return outcome


def bind(session: str, source: str, root: str, target: str) -> str:
    """Show what is mounted at ``source`` at ``target`` within ``root``; returns where that is."""
    made: list[int] = []

    def steps(first: int, standing: MountPlan) -> tuple[Step, ...]:
        mounts = (step for step in standing.steps if isinstance(step, Mount | MountWithTool | ShowDirectory))
        step = next(mounts, None)
        made.append(first)
        place = source if step is None else Result(step.id)
        return (BindMount(id=first, source=place, root=root, target=target),)

    outcome = add(session, steps)
    for failure in outcome.failures:
        raise raised(SubsystemError, failure.reason, failure.remedy)
    return outcome.places[made[0]]


def take_down(session: str, *, lazy: bool = False) -> None:
    """Take down a session, whoever made it; one that is not there has nothing to take down.

    Raises SubsystemError when something is in use, CleanupError when only a folder is left.
    """
    try:
        undone = undo_session(session)
        if undone.left and lazy:
            undone = undo_session(session, lazy=True)
    except LedgerError as error:
        raise SubsystemError(str(error)) from error
    if undone.left:
        first = undone.left[0]
        folders_only = all(isinstance(left.step, MakeDirectory) for left in undone.left)
        kind = CleanupError if folders_only else SubsystemError
        raise kind(first.reason)
