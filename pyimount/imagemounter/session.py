"""What a case has standing on the machine: one session in the ledger, and a part of it for each object.

A part is what one disk or volume asked for. What several need, the server above all, stands once; what no
part needs any more is taken down. The objects keep their parts, the ledger knows what stands.
"""

import contextlib
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyimount.exceptions import (
    CleanupError,
    ImageMounterError,
    MountpointEmptyError,
    SubsystemError,
    UnsupportedFilesystemError,
)
from pyimount.execution import ledger
from pyimount.execution.errors import LedgerError, NoSession
from pyimount.execution.ledger import BASE, Story
from pyimount.execution.plan_executor import Executor, Outcome
from pyimount.execution.survey import survey
from pyimount.execution.undoing import undo_session
from pyimount.imagemounter import scans
from pyimount.imagemounter.failures import first_failed, need_root, of_failure, of_refusal, of_refused, raised
from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer
from pyimount.mounting import mounting
from pyimount.planning import parts
from pyimount.planning.naming import Naming
from pyimount.planning.plan import key_kinds
from pyimount.planning.policy import Policy
from pyimount.planning.refusing import Refused
from pyimount.planning.standing import Joined, joined
from pyimount.planning.steps import (
    BindMount,
    ExposeRaw,
    MakeDirectory,
    Mount,
    MountPlan,
    MountWithTool,
    Names,
    Place,
    Result,
    ShowDirectory,
    Step,
)
from pyimount.records import EMPTY, Record

if TYPE_CHECKING:
    from pyimount.keys import Keyring

logger = logging.getLogger(__name__)

_MOUNTS = (Mount, MountWithTool, ShowDirectory)


class Way(Record, kw_only=True):
    """How a case goes about it: what is allowed, the keys, and where what is written is kept, if anywhere."""

    policy: Policy
    keys: "Keyring | None" = None
    cache: str | None = None


class Called(Naming, kw_only=True):
    """A mountpoint's name that is settled already."""

    name: str

    def of(self, scan: Scan, volume: VolumeLayer) -> str:  # noqa: ARG002
        """This one."""
        return self.name

    def of_folder(self, disk: DiskLayer) -> str:  # noqa: ARG002
        """The same."""
        return self.name


class Part:
    """What stands for one disk or volume: the steps that were made for it, and those it is there for."""

    def __init__(self, session: "Session", wanted: set[int], made: set[int]) -> None:
        self.session = session
        self.wanted = wanted
        self.made = made

    def take_down(self, *, lazy: bool = False) -> None:
        """Take down what nobody else needs of it, whoever made it.

        What is not there any more is no fault. Raises SubsystemError when something is in use, CleanupError
        when only a folder is left; calling it again goes on from there.
        """
        self.session.take_down(self, lazy=lazy)

    def extend(self, make: Callable[[int, MountPlan], tuple[Step, ...]]) -> Outcome:
        """Add steps to it.

        ``make``: makes them from the id of the first and from the plan of what stands of this part. What
        became of them is in the outcome. Raises NoSession when another has taken all down, SubsystemError.
        """
        return self.session.extend(self, make)

    def bind(self, source: str, root: str, target: str) -> str:
        """Show what is mounted at ``source`` at ``target`` within ``root``, too; returns where that is.

        Raises as ``extend``.
        """
        made: list[int] = []

        def make(first: int, standing: MountPlan) -> tuple[Step, ...]:
            made.append(first)
            step = next((step for step in standing.steps if isinstance(step, _MOUNTS)), None)
            place = source if step is None else Result(step.id)
            return (BindMount(id=first, source=place, root=root, target=target),)

        outcome = self.extend(make)
        for failure in outcome.failures:
            raise raised(SubsystemError, failure.reason, failure.remedy)
        return outcome.places[made[0]]


class Placed(Record, kw_only=True):
    """What came of mounting a volume: where it stands, the device there, and its part."""

    mountpoint: str
    device: str | None
    part: Part


class Session:
    """One session of the ledger. ``images``: the paths of the images that it is told to be for."""

    def __init__(self, images: tuple[str, ...]) -> None:
        self.name = mounting.new_session()
        self.images = images
        self._parts: list[Part] = []
        self._shown: dict[int, Scan] = {}
        """The scans whose layers the servers show, by the ids of their steps."""

    # What stands.

    def is_over(self) -> bool:
        """Whether all that was ever in it has been taken down, here or by another."""
        if not self._parts:
            return True
        try:
            ledger.read(BASE, self.name)
        except NoSession:
            return True
        except LedgerError as error:
            raise SubsystemError(str(error)) from error
        return False

    def _story(self) -> Story:
        try:
            return ledger.read(BASE, self.name)
        except NoSession:
            return Story()
        except LedgerError as error:
            raise SubsystemError(str(error)) from error

    # Adding to it.

    def mount(
        self,
        scan: Scan,
        volume: VolumeLayer,
        way: Way,
        *,
        fstype: str | None,
        folder: str | None,
        naming: Naming,
    ) -> Placed:
        """Mount one volume and nothing within it. Raises as ``Volume.mount``; nothing of it stands then."""
        need_root()
        policy, index = way.policy, volume.index
        if volume.type == scans.FOLDER:
            # Of such a disk nothing is written, and it is mounted as itself.
            policy, index = policy.replaced(read_write=False), scan.disk(volume).index or ""
        plain = scans.without_folders(scan)
        plan = mounting.planned(
            plain,
            policy,
            survey(),
            keys=way.keys,
            session=self.name,
            only={index} - {""},
            skip={inner.index for inner in scan.children(volume)},
            fstypes={volume.index: fstype} if fstype else EMPTY,
            shadows=True,
            folder=folder,
            naming=naming,
            cache=way.cache,
        )
        refused = next((each for each in plan.refused if each.index == index), None)
        if refused is not None:
            raise of_refusal(refused, None)
        added, outcome, part = self._run(plan, plain, way)
        part.wanted.update(step.id for step in (*added.plan.mounts(), *added.plan.shows()))
        became = mounting.what_became(plain, added.plan, outcome)
        found = next((each for each in became if each.index == index), None)
        if found is not None and found.mountpoint is not None:
            return Placed(mountpoint=found.mountpoint, device=found.device, part=part)
        self._forget(part)
        if found is None or found.refusal is None:
            raise UnsupportedFilesystemError(
                f"volume {volume.index} holds nothing that is mounted: {volume.type}"
            )
        raise of_refusal(found.refusal, first_failed(outcome))

    def show(self, scan: Scan, layer: Layer, way: Way) -> tuple[Part | None, str]:
        """Show a layer's bytes as a file; its path. None: nothing has to stand for that.

        Raises MountpointEmptyError when the file is not there in the end, and what fits what failed.
        """
        plain = scans.without_folders(scan)
        try:
            plan, place = self._plan_to_show(plain, layer, way)
        except Refused as refused:
            raise of_refused(refused) from refused
        if not plan.steps:
            return None, Names(self.name)(place)
        need_root()
        added, outcome, part = self._run(plan, plain, way)
        where = added.place(place)
        part.wanted.add(where.step)
        for failure in outcome.failures:
            self._forget(part)
            raise of_failure(failure)
        path = self._story().names(self.name)(where)
        if not os.path.exists(path):
            self._forget(part)
            raise MountpointEmptyError(f"{path} is not there although it should be")
        return part, path

    def _plan_to_show(self, scan: Scan, layer: Layer, way: Way) -> tuple[MountPlan, Place]:
        return parts.show(
            scan, layer, way.policy, survey(), session=self.name, keys_for=key_kinds(scan, way.keys),
            cache=way.cache, cwd=os.getcwd(),
        )  # fmt: skip

    def carve(self, scan: Scan, volume: VolumeLayer, way: Way, *, at: str, free_only: bool) -> None:
        """Carve a volume into an empty folder. Raises as ``Volume.carve``."""
        need_root()
        plain = scans.without_folders(scan)
        try:
            plan = parts.carve(
                plain, volume, way.policy, survey(), session=self.name, at=at, free_only=free_only,
                keys_for=key_kinds(plain, way.keys), cwd=os.getcwd(),
            )  # fmt: skip
        except Refused as refused:
            raise of_refused(refused) from refused
        added, outcome, part = self._run(plan, plain, way)
        part.take_down()
        (carved,) = mounting.what_was_carved(plain, added.plan, outcome)
        if carved.refusal is not None:
            raise of_refusal(carved.refusal, first_failed(outcome))

    def bind(self, source: str, root: str, target: str) -> tuple[Part, str]:
        """Show a folder that somebody else mounted at ``target`` within ``root``. Raises SubsystemError."""
        need_root()
        step = BindMount(id=_next_id(self._story()), source=source, root=root, target=target)
        part = self._part({step.id})
        try:
            outcome = Executor().run(MountPlan(session=self.name, images=self.images, steps=(step,)))
        except LedgerError as error:
            self._forget(part)
            raise SubsystemError(str(error)) from error
        for failure in outcome.failures:
            self._forget(part)
            raise raised(SubsystemError, failure.reason, failure.remedy)
        part.wanted.add(step.id)
        return part, outcome.places[step.id]

    def extend(self, part: Part, make: Callable[[int, MountPlan], tuple[Step, ...]]) -> Outcome:
        """As ``Part.extend``."""
        need_root()
        try:
            story = ledger.read(BASE, self.name)
            needed = set(part.wanted)
            for entry in reversed(story.standing()):
                if entry.step.id in needed:
                    needed.update(entry.step.needs())
            steps = tuple(entry.step for entry in story.standing() if entry.step.id in needed)
            standing = MountPlan(session=self.name, images=self.images, steps=steps)
            plan = standing.replaced(steps=make(_next_id(story), standing))
            part.made.update(step.id for step in plan.steps)
            outcome = Executor().run(plan)
        except NoSession:
            raise
        except LedgerError as error:
            raise SubsystemError(str(error)) from error
        part.wanted.update(step.id for step in plan.steps if step.id in outcome.places)
        return outcome

    def _run(self, plan: MountPlan, scan: Scan, way: Way) -> tuple[Joined, Outcome, Part]:
        """Carry out what is new in a plan, whose servers show at once all that this scan has for them.

        The part is known before: where a signal or ^C ends this, ``end`` takes down what there is.
        """
        story = self._story()
        standing = [entry.step for entry in story.standing() if entry.made is not None]
        files = self._shown_already(plan, scan, standing)
        added = joined(plan, standing, first=_next_id(story), files=files)
        if any(isinstance(step, ExposeRaw) for step in added.plan.steps):
            plan = self._with_all_files(plan, scan, way)
            files = self._shown_already(plan, scan, standing)
            added = joined(plan, standing, first=_next_id(story), files=files)
        made = added.plan.replaced(images=self.images)
        part = self._part({step.id for step in made.steps})
        try:
            outcome = Executor().run(made, scan.to_dict(), mounting.keys_of(made, way.keys), files=scan.files)
        except LedgerError as error:
            self._forget(part)
            raise SubsystemError(str(error)) from error
        self._shown.update({step.id: scan for step in made.steps if isinstance(step, ExposeRaw)})
        return added, outcome, part

    def _shown_already(self, plan: MountPlan, scan: Scan, standing: list[Step]) -> dict[Result, Result]:
        """The files of a plan's servers that others show already: of the same bytes, over the same cache."""
        found: dict[Result, Result] = {}
        for wanted in plan.steps:
            if not isinstance(wanted, ExposeRaw):
                continue
            for server in standing:
                if not isinstance(server, ExposeRaw) or server.cache != wanted.cache:
                    continue
                its = self._shown.get(server.id)
                if its is None:
                    continue
                names = {scans.origin(its, its.by_id(number)): name for number, name in server.files}
                for number, name in wanted.files:
                    other = names.get(scans.origin(scan, scan.by_id(number)))
                    if other is not None:
                        found.setdefault(Result(wanted.id, name), Result(server.id, other))
        return found

    def _with_all_files(self, plan: MountPlan, scan: Scan, way: Way) -> MountPlan:
        """The plan with its server showing all that mounting the whole scan takes of it, and every disk.

        So that what comes after this needs no server of its own. Shadow copies wait until they are asked for:
        there may be many.
        """
        whole = mounting.planned(
            scan, way.policy, survey(), keys=way.keys, session=self.name, cache=way.cache
        )
        steps = list(whole.steps)
        for disk in scan.disks:
            with contextlib.suppress(Refused):
                steps += self._plan_to_show(scan, disk, way)[0].steps
        files = dict.fromkeys(pair for step in steps if isinstance(step, ExposeRaw) for pair in step.files)
        return plan.replaced(
            steps=tuple(
                step.replaced(files=tuple(dict.fromkeys((*step.files, *files))))
                if isinstance(step, ExposeRaw)
                else step
                for step in plan.steps
            )
        )

    def _part(self, made: set[int]) -> Part:
        part = Part(self, set(), made)
        self._parts.append(part)
        return part

    # Taking it down.

    def take_down(self, part: Part, *, lazy: bool = False) -> None:
        """As ``Part.take_down``."""
        if part not in self._parts:
            return
        others = [each for each in self._parts if each is not part]
        keep = {number for each in others for number in each.wanted} | self._of_others(part)
        only = part.made | part.wanted if keep else None
        try:
            undone = undo_session(self.name, only=only, keep=keep)
            if undone.left and lazy:
                undone = undo_session(self.name, only=only, keep=keep, lazy=True)
        except LedgerError as error:
            raise SubsystemError(str(error)) from error
        for note in undone.notes:
            if note.lost:
                logger.warning("%s", note.message)
        if undone.left:
            first = undone.left[0]
            folders_only = all(isinstance(left.step, MakeDirectory) for left in undone.left)
            kind = CleanupError if folders_only else SubsystemError
            raise kind(first.reason)
        self._parts = others

    def _of_others(self, part: Part) -> set[int]:
        """Mounts of this session that another process made, with a copy of the parser.

        Not where those are shown elsewhere which go with this part.
        """
        ours = {number for each in self._parts for number in each.made | each.wanted}
        entries = [entry for entry in self._story().standing() if entry.made is not None]
        above = {each.step.id for each in entries if isinstance(each.step, _MOUNTS)} & part.wanted
        for entry in entries:
            if above.intersection(entry.step.needs()):
                above.add(entry.step.id)
        return {
            entry.step.id
            for entry in entries
            if isinstance(entry.step, _MOUNTS) and entry.step.id not in ours | above
        }

    def _forget(self, part: Part) -> None:
        """Take down what an attempt that failed has left, as far as can be; ``end`` tries the rest again."""
        try:
            self.take_down(part)
        except ImageMounterError:
            return

    def end(self, *, lazy: bool = False) -> None:
        """Take down all of it that is left. Raises as ``Part.take_down``."""
        for part in list(self._parts):
            self.take_down(part, lazy=lazy)


def _next_id(story: Story) -> int:
    return max((entry.step.id for entry in story.entries), default=-1) + 1
