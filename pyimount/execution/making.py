"""Making folders: the session's own, those that the caller named, and mount points, which nobody else has.

A mount point is always a folder that this very step made: nothing is mounted over anything, whoever mounts at
the same moment. A folder that several sessions have their mount points in goes with the last of them.
"""

import os
from typing import Any

from pyimount.execution import folders, ledger, mounts
from pyimount.execution.errors import Held, LedgerError, Refused, StepFailed, Taken
from pyimount.execution.ledger import Entry, Made
from pyimount.execution.step_acts import Act, Given
from pyimount.planning.numbered import numbered
from pyimount.planning.steps import MOUNTPOINTS, MakeDirectory, Names

_NAMES_CAP = 10_000
"""So many folders of one name there may be beside each other."""


class MakingFolders(Act[MakeDirectory]):
    """How a folder is made, and removed when it is empty."""

    def settled(self, step: MakeDirectory, names: Names, given: Given) -> MakeDirectory:
        """A mount point's name, or the next like it that is free."""
        if step.layer is None or given.user is not None:
            return step
        for number in range(1, _NAMES_CAP):
            called = step if number == 1 else step.replaced(path=_numbered(step.path, number))
            if not os.path.lexists(_folder(called, names)):
                return called
        raise StepFailed(f"{_folder(step, names)}: {_NAMES_CAP} of this name are there already")

    def before(self, step: MakeDirectory, names: Names, given: Given) -> dict[str, Any]:
        """The folders that are missing, and who is to own them."""
        path = _folder(step, names)
        missing = list(folders.missing_from(path))
        found = [] if missing or given.user is not None else _made_for_another(path, given.base)
        return {"missing": missing, "user": given.user, "shared": found}

    def perform(self, step: MakeDirectory, names: Names, given: Given) -> Made:
        """Make it."""
        path = _folder(step, names)
        if given.user is None:
            if step.layer is not None and os.path.lexists(path):
                raise Taken(f"{path}: another process makes it at the same time")
            made = folders.make(path)
            if step.layer is not None and not made:
                # It came between the look and the making.
                raise Taken(f"{path}: another process makes it at the same time")
        elif path not in folders.missing_from(path):
            raise Refused(f"{path} is there already, and was not made for this")
        elif step.inside is None:
            # On the way to what is the user's: nothing in it can be listed, and it stays root's.
            made = folders.make(path, mode=0o711)
        elif step.path == MOUNTPOINTS:
            made = folders.make(path, owner=given.user, mode=0o500)
        else:
            made = folders.make(path)
        # What is mounted within what we made stays in this namespace.
        private = mounts.make_private(made[0].path) if made else None
        known = [[each.path, each.device, each.inode] for each in made]
        return Made(path, {"made": known, "private": private})

    def undo(self, entry: Entry, step: MakeDirectory, names: Names, *, lazy: bool) -> None:  # noqa: ARG002
        """Remove what was made, as far as it is empty."""
        if entry.made is not None:
            known = [tuple(each) for each in entry.made.identity["made"]]
        else:
            known = [(path, None, None) for path in entry.before["missing"]]
        shared = [tuple(each) for each in entry.before.get("shared", [])]
        if known and not _serves_others(known[0][0], names):
            _unbind(known[0][0], lazy=lazy)
        for path, device, inode in reversed(known):
            gone = folders.remove(path, device, inode, entry.before.get("user"))
            if not gone and entry.made is not None and not _serves_others(path, names):
                raise Held(f"{path} is not empty")
        if shared and not _serves_others(shared[0][0], names):
            _unbind(shared[0][0], lazy=lazy)
        for path, device, inode in reversed(shared):
            folders.remove(path, device, inode)


def _unbind(path: str, *, lazy: bool) -> None:
    for mount in reversed(mounts.mounted_at(path)):
        if mounts.is_bound_on_itself(mount):
            mounts.unmount(mount, lazy=lazy)


def _serves_others(path: str, names: Names) -> bool:
    """Whether something is mounted below a folder that is not this session's alone.

    It is another session's: of this one nothing is mounted there any more.
    """
    own = f"/{names.session}/" in f"{path}/"
    return not own and any(each.path.startswith(f"{path}/") for each in mounts.mounts())


def _folder(step: MakeDirectory, names: Names) -> str:
    path = step.path if step.inside is None else f"{names(step.inside)}/{step.path}"
    return "/" + "/".join(folders.parts(path))


def _numbered(path: str, number: int) -> str:
    above, name = os.path.split(path)
    return os.path.join(above, numbered(name, number))


def _made_for_another(path: str, base: str) -> list[list[Any]]:
    """A folder, and those above it, that a session which stands made: its path, device and inode each."""
    is_ = os.stat(path, follow_symlinks=False)
    if is_.st_uid != os.geteuid() or is_.st_mode & 0o077:
        return []  # Not as we make them.
    for session in ledger.all_sessions(base):
        try:
            story = ledger.read(base, session)
        except LedgerError:
            continue  # It ends now, or is said where it matters.
        for entry in story.entries:
            if not isinstance(entry.step, MakeDirectory) or entry.made is None:
                continue
            made = [*entry.made.identity["made"], *entry.before.get("shared", [])]
            if [path, is_.st_dev, is_.st_ino] in made:
                return made
    return []
