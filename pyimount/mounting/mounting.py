"""Mounting as a whole: look, plan, act, and say what became of each volume.

What the command line and the imagemounter interface have in common. Everything here runs as the
caller; what needs root is done by ``execution``.
"""

import os
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyimount.confinement.parent import scan_confined
from pyimount.execution.asking import AskingExecutor
from pyimount.execution.errors import LedgerError, StepFailed
from pyimount.execution.ledger import BASE
from pyimount.execution.plan_executor import Executor, Outcome
from pyimount.layers import Scan, VolumeLayer
from pyimount.mounting.outcome import READ_ONLY, Carved, Mounted, MountedVolume, Tree
from pyimount.planning.naming import USUAL, Naming
from pyimount.planning.plan import key_kinds, plan
from pyimount.planning.policy import FORENSIC, Policy
from pyimount.planning.reconstruct import Unplaced
from pyimount.planning.reconstruct import reconstruct as planned_tree
from pyimount.planning.refusing import Refused
from pyimount.planning.steps import (
    Carve,
    ExposeRaw,
    ExposeUnlocked,
    MountPlan,
    OpenEncrypted,
    Refusal,
    Result,
    Step,
    shown_readable,
)
from pyimount.records import EMPTY
from pyimount.scanning import PathLike, detect, hints_of
from pyimount.sources.budget import Budget
from pyimount.sources.identity import identities
from pyimount.sources.segments import gather

if TYPE_CHECKING:
    from pyimount.keys import Keyring
    from pyimount.planning.machine import Machine

_PATIENCE = 30.0
"""Seconds over what its images may take together after which a scan is ended: it ends by itself before."""


def new_session() -> str:
    """A name for a session that no other has."""
    return secrets.token_hex(4)


def require_packages() -> None:
    """Raise ToolMissing, which says what to install, where mounting lacks a Python package."""
    from pyimount.execution.dependencies import require_modules

    require_modules("mounting", "jsonschema", "mfusepy")


def require_rights() -> None:
    """Raise StepFailed, which says what to do, where root here is one who may not mount."""
    from pyimount.execution.rights import hindrance

    found = hindrance()
    if found is not None:
        raise StepFailed(found.cause, found.remedy)


def look(
    paths: PathLike | Sequence[PathLike],
    *,
    keys: "Keyring | None" = None,
    header: PathLike | None = None,
    try_veracrypt: bool = False,
    allow: Sequence[PathLike] = (),
    budget: Budget | None = None,
    **hints: Any,
) -> Scan:
    """Scan as ``detect`` does; for root, in a process that has given up root's privileges.

    The scan has which files it was made from, so that no other is mounted in their place. Raises as
    ``detect`` does, and StepFailed when that process did not come to an end, or what checks its report is not
    installed.
    """
    from pyimount.execution import rights

    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    # Root of a user namespace has no more rights than the user who made it.
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or rights.in_user_namespace():
        before = identities(path for segments in gather(named) for path in segments.paths)
        scan = detect(
            paths,
            keys=keys,
            header=header,
            try_veracrypt=try_veracrypt,
            allow=allow,
            budget=budget,
            **hints,
        )
        further = [path for disk in scan.disks for path in disk.paths]
        if header is not None:
            further.append(os.fspath(header))
        return scan.replaced(files={**identities(further), **before})
    require_packages()
    if not rights.may_change_users():
        require_rights()
    told = hints_of(**hints)
    limits = budget or Budget()
    found = scan_confined(
        gather(named),
        allow=[os.fspath(folder) for folder in allow],
        header=None if header is None else os.fspath(header),
        request={
            "hints": {name: getattr(told, name) for name in told.fields},
            "keys": [] if keys is None else keys.reveal(),
            "budget": {name: getattr(limits, name) for name in limits.fields},
            "try_veracrypt": try_veracrypt,
        },
        timeout=None if limits.seconds is None else limits.seconds * max(1, len(named)) + _PATIENCE,
    )
    return checked(found.report).replaced(files=found.files)


def checked(report: Mapping[str, Any]) -> Scan:
    """The scan that a report tells of, if it is one to the letter of its schema. Raises StepFailed."""
    import json

    from jsonschema import Draft202012Validator, ValidationError

    from pyimount.reports import SCHEMA_FILE

    with open(SCHEMA_FILE, encoding="utf-8") as file:
        schema = json.load(file)
    try:
        Draft202012Validator(schema).validate(report)
        return Scan.from_dict(report)
    except (ValidationError, ValueError) as error:
        message = error.message if isinstance(error, ValidationError) else str(error)
        raise StepFailed(f"the scan gave what is no report: {message[:200]}") from error


def planned(
    scan: Scan, policy: Policy, machine: "Machine", *, keys: "Keyring | None" = None, **arguments: Any
) -> MountPlan:
    """The plan for a scan, its paths meant from here; ``arguments``: further ones of ``plan``."""
    from pyimount.execution.callers import owner

    kinds = key_kinds(scan, keys)
    # What is shown is the folder that its name leads to now.
    disks = tuple(
        disk.replaced(paths=(os.path.realpath(disk.paths[0]),)) if disk.is_folder else disk
        for disk in scan.disks
    )
    scan = scan.replaced(disks=disks)
    made = plan(scan, policy, machine, keys_for=kinds, cwd=os.getcwd(), owner=owner(), **arguments)
    # As they are told: without the way that a person took there.
    return made.replaced(images=tuple(map(plainly, made.images)))


def plainly(path: str) -> str:
    """An absolute path, the links on the way to its last name resolved."""
    above, name = os.path.split(path)
    return os.path.realpath(path) if name in ("", ".", "..") else os.path.join(os.path.realpath(above), name)


def mount(
    scan: Scan,
    executor: Executor | AskingExecutor | None = None,
    *,
    policy: Policy = FORENSIC,
    keys: "Keyring | None" = None,
    session: str | None = None,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    fstypes: Mapping[str, str] = EMPTY,
    shadows: bool = False,
    folder: str | None = None,
    naming: Naming = USUAL,
    cache: str | None = None,
    carve: str | None = None,
    readable: bool = False,
    base: str | None = None,
) -> Mounted:
    """Mount the file systems of a scan; the further arguments are those of ``plan``.

    ``executor``: who does it; None: this process, which has to be root then. What cannot be mounted is in
    the result, and stops nothing else. Raises StepFailed where what mounting needs of Python's packages is
    not installed.
    """
    from pyimount.execution.survey import survey

    require_packages()
    if executor is None:
        executor = Executor(base=base or BASE)
    made = planned(
        scan,
        policy,
        survey(),
        keys=keys,
        session=session or new_session(),
        only=only,
        skip=skip,
        fstypes=fstypes,
        shadows=shadows,
        folder=folder,
        naming=naming,
        cache=cache,
        carve=carve,
        readable=readable,
        base=base or executor.base,
    )
    outcome = executor.run(made, scan.to_dict(), keys_of(made, keys), files=scan.files)
    volumes = what_became(scan, made, outcome)
    return Mounted(
        session=made.session,
        scan=scan,
        plan=made,
        volumes=tuple(map(_as_writable, volumes)) if policy.read_write else volumes,
        places=outcome.places,
        carved=what_was_carved(scan, made, outcome),
    )


def carve(
    scan: Scan,
    volume: VolumeLayer,
    folder: str,
    executor: Executor | None = None,
    *,
    policy: Policy = FORENSIC,
    keys: "Keyring | None" = None,
    free_only: bool = False,
    base: str | None = None,
) -> Carved:
    """Carve one volume, or one gap, into an empty folder, which stays; nothing else does. Needs root.

    ``free_only``: only what its file system has free, as far as photorec knows; the further arguments are
    those of ``mount``. Raises LedgerError where what it takes cannot be written down, or taken back.
    """
    from pyimount.execution.survey import survey
    from pyimount.execution.undoing import undo_session
    from pyimount.planning import parts

    if executor is None:
        executor = Executor(base=base or BASE)
    session = new_session()
    try:
        made = parts.carve(
            scan,
            volume,
            policy,
            survey(),
            session=session,
            at=os.path.realpath(folder),
            free_only=free_only,
            keys_for=key_kinds(scan, keys),
            base=base or executor.base,
            cwd=os.getcwd(),
        )
    except Refused as why:
        refusal = Refusal(
            layer=volume.id, index=volume.index, code=why.code, reason=why.reason, remedy=why.remedy
        )
        return Carved(volume=volume, index=volume.index, refusal=refusal)
    outcome = executor.run(made, scan.to_dict(), keys_of(made, keys), files=scan.files)
    (found,) = what_was_carved(scan, made, outcome)
    undone = undo_session(session, base=base or executor.base)
    if not undone.ended:
        raise LedgerError(f"session {session} still stands: {undone.left[0].reason}")
    return found


def reconstruct(mounted: Mounted, executor: Executor | AskingExecutor | None = None) -> Mounted:
    """Put what is mounted together as it was, under its root volume; ``tree`` then tells what came of it.

    What has no place stays where it is. ``executor``: the one that mounted it.
    """
    from pyimount.execution import mounted_trees

    standing = {
        step.layer: Result(step.id)
        for step in mounted.plan.mounts()
        if step.layer is not None and step.id in mounted.places
    }
    facts = [mounted_trees.observe(mounted.places[place.step], layer) for layer, place in standing.items()]
    first = max((step.id for step in mounted.plan.steps), default=-1) + 1
    found = planned_tree(mounted.scan, standing, facts, first=first, plan=mounted.plan)
    plan = mounted.plan.replaced(steps=found.steps, refused=())
    outcome = (executor or Executor()).run(plan, mounted.scan.to_dict())
    places = {**mounted.places, **outcome.places}
    reasons = {failure.step.layer: failure.reason for failure in outcome.failures}
    root = None if found.root is None else mounted.scan.by_id(found.root)
    path = places.get(found.path.step) if isinstance(found.path, Result) else found.path
    tree = Tree(
        root=None if root is None else root.index,
        root_by=found.root_by,
        path=path,
        placed=tuple(each for each in found.placed if each.layer not in reasons),
        unplaced=(
            *found.unplaced,
            *(
                Unplaced(layer=each.layer, index=each.index, reason=reasons[each.layer])
                for each in found.placed
                if each.layer in reasons
            ),
        ),
        system=found.system,
    )
    return mounted.replaced(tree=tree, places=places)


def keys_of(made: MountPlan, keys: "Keyring | None") -> dict[int, Any]:
    """The keys that the steps of a plan take, by their ids."""
    found: dict[int, Any] = {}
    for step in made.steps:
        if keys is not None and isinstance(step, OpenEncrypted | ExposeUnlocked):
            found[step.id] = [(key.kind, key.secret) for key in keys.for_volume(step.key, step.uuid)]
        elif keys is not None and isinstance(step, ExposeRaw):
            found[step.id] = keys.reveal()
    return found


def what_was_carved(scan: Scan, made: MountPlan, outcome: Outcome) -> tuple[Carved, ...]:
    """What came of each volume and gap that was to be carved, in the order of the scan."""
    failures = {failure.step.id: failure for failure in outcome.failures}
    volumes = {volume.id: volume for volume in scan.volumes}
    found: list[Carved] = []
    for step in made.steps:
        if not isinstance(step, Carve) or step.layer is None:
            continue
        volume, failure = volumes.get(step.layer), failures.get(step.id)
        index = "" if volume is None else volume.index
        refusal = None
        if failure is not None:
            refusal = Refusal(
                layer=step.layer, index=index, code="failed", reason=failure.reason, remedy=failure.remedy
            )
        files = _recovered(step.at)
        there = failure is None or files > 0
        found.append(
            Carved(
                volume=volume,
                index=index,
                folder=step.at if there else None,
                free_only=step.free_only,
                files=files,
                refusal=refusal,
            )
        )
    found += [
        Carved(volume=volumes.get(refusal.layer), index=refusal.index, refusal=refusal)
        for refusal in made.uncarved
    ]
    order = {volume.id: number for number, volume in enumerate(scan.volumes)}
    return tuple(sorted(found, key=lambda each: -1 if each.volume is None else order[each.volume.id]))


def _recovered(folder: str) -> int:
    """How many files photorec has put into a folder; its report is none."""
    return sum(name != "report.xml" for _, _, names in os.walk(folder) for name in names)


def _as_writable(became: MountedVolume) -> MountedVolume:
    """A volume that is to be writable, with a refusal where the kernel says that it is not."""
    from pyimount.execution.mountinfo import mounted_at

    if became.mountpoint is None:
        return became
    stack = mounted_at(became.mountpoint)
    if stack and not stack[-1].read_only:
        return became
    why = f"{became.type or 'it'} is mounted read-only here: nothing can be written to it"
    layer = 0 if became.volume is None else became.volume.id
    refusal = Refusal(layer=layer, index=became.index, code=READ_ONLY, reason=why)
    return became.replaced(refusal=refusal)


def _why_failed(step: Step, index: str, outcome: Outcome) -> Refusal | None:
    """Why a step made nothing; None where it did."""
    if step.id in outcome.places:
        return None
    failure = next((failure for failure in outcome.failures if failure.step.id == step.id), None)
    return Refusal(
        layer=step.layer or 0,
        index=index,
        code="failed",
        reason=failure.reason if failure else "it was not tried",
        remedy=failure.remedy if failure else None,
    )


def what_became(scan: Scan, made: MountPlan, outcome: Outcome) -> tuple[MountedVolume, ...]:
    """Each volume that was to be mounted, in the order of the scan."""
    volumes = {volume.id: volume for volume in scan.volumes}
    found: list[MountedVolume] = []
    missing = dict(made.missing)
    kept = shown_readable(made.steps)
    beneath = {step.id: step for step in made.steps if step.id in kept}
    for step in made.mounts():
        volume = None if step.layer is None else volumes.get(step.layer)
        index = volume.index if volume is not None else ""
        source = (beneath.get(step.needs()[0]) or step).needs()[0]
        place = outcome.places.get(step.id)
        found.append(
            MountedVolume(
                volume=volume,
                index=index,
                mountpoint=place,
                device=None if place is None else outcome.places.get(source),
                refusal=_why_failed(step, index, outcome),
                missing=0 if step.layer is None else missing.get(step.layer, 0),
            )
        )
    for refused in made.refused:
        volume = volumes.get(refused.layer)
        found.append(MountedVolume(volume=volume, index=refused.index, refusal=refused))
    disks = {disk.id: disk.index or "" for disk in scan.disks}
    for shown in made.shows():
        layer = shown.layer or 0
        found.append(
            MountedVolume(
                volume=None,
                index=disks.get(layer, ""),
                mountpoint=outcome.places.get(shown.id),
                device=shown.path,
                refusal=_why_failed(shown, disks.get(layer, ""), outcome),
                is_folder=True,
            )
        )
    order = {volume.id: number for number, volume in enumerate(scan.volumes)}
    return tuple(sorted(found, key=lambda each: -1 if each.volume is None else order[each.volume.id]))
