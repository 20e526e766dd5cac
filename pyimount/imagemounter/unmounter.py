"""Unmounter: takes away what earlier mounts left behind, of pyimount and of imagemounter itself."""

import glob
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from pyimount.exceptions import CleanupError
from pyimount.execution import leftovers
from pyimount.execution.errors import Held, LedgerError, StepFailed
from pyimount.execution.ledger import BASE
from pyimount.execution.mounts import MountPoint
from pyimount.execution.sessions import Session
from pyimount.execution.undoing import undo_session, would_undo
from pyimount.imagemounter.remains import INDEX, Remains
from pyimount.planning.naming import safe_name

# What imagemounter calls a mountpoint, or pyimount does.
_PLAIN = rf"(?:im_[0-9.]+_[^/]+|{INDEX}(?:-[^/]+)?)"
_PRETTY = rf"(?:[^/]*-)?{INDEX}-[^/]+"


class Unmounter(Remains):
    """Finds and takes away what calls of ``ImageParser`` left behind.

    What pyimount mounted is known from its ledgers, and goes by them: backwards, checked at each step. What
    has no ledger is known by names: that of the folder where it is mounted (``re_pattern``), that of the
    folder where the disk image beneath it was mounted (``orig_re_pattern``), and the mark that pyimount
    puts on its loop devices and servers. imagemounter's own left-overs (``im_*``, ``image_mounter_*``) are
    found so too. What matches nothing of this is never touched, and only empty folders are removed.

    Mounts and loop devices are looked at when an object is made, and again after each ``unmount`` method.

    ``casename``: the case name that ImageParser was given. ``pretty``: whether mountpoints have pretty
    names. ``mountdir``: the folder that was given for mountpoints. ``allow_greedy``: with none of the other
    arguments, find as much as possible: all sessions, and all that bears pyimount's mark or a name of
    imagemounter. ``base``: the folder of pyimount's ledgers.

    Every method raises SubsystemError when the ledgers cannot be read.
    """

    def __init__(
        self,
        casename: str | None = None,
        pretty: bool = False,
        mountdir: str | os.PathLike[str] | None = None,
        allow_greedy: bool = True,
        *args: Any,  # noqa: ARG002
        base: str = BASE,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        self.be_greedy = allow_greedy and not (casename or pretty or mountdir)
        # The kernel tells paths without links in them.
        temporary = os.path.realpath(tempfile.gettempdir())
        folder = temporary if mountdir is None else os.path.realpath(os.fspath(mountdir))
        case = ""
        if casename:
            # imagemounter takes a case's name as it is, pyimount what is safe of it.
            names = "|".join(map(re.escape, dict.fromkeys((casename, safe_name(casename)))))
            case = f"(?:{names})/"
        self.re_pattern = rf"{re.escape(folder)}/{case}{_PRETTY if pretty else _PLAIN}\Z"
        if mountdir is None:
            self.re_pattern += rf"|{re.escape(base)}/[0-9a-f]{{8}}/mnt/{case or '(?:[^/]+/)?'}[^/]+\Z"
        if casename:
            folder = os.path.join(folder, casename)
        self.glob_pattern = f"{glob.escape(folder)}/{'*' if pretty else 'im_*'}"
        suffix = f"_{casename}" if casename else ""
        self.orig_re_pattern = rf"{re.escape(temporary)}/image_mounter_[^/]*{re.escape(suffix)}(?:/|\Z)"
        self.orig_glob_pattern = f"{glob.escape(temporary)}/image_mounter_*{glob.escape(suffix)}"
        super().__init__(base, pretty=pretty)

    # Finding

    def find_bindmounts(self) -> Iterator[str]:
        """The paths of all bind mounts that are inside mounts which match ``re_pattern``."""
        self._check()
        for each in self._bound([each for each in self._mounts if self._matches(each)]):
            yield each.path

    def find_mounts(self) -> Iterator[str]:
        """The paths of all mounted volumes, the latest first.

        Those at a folder that matches ``re_pattern``, and those of a disk image that is mounted at one
        which matches ``orig_re_pattern``.
        """
        self._check()
        for each in self._volumes():
            yield each.path

    def find_base_images(self) -> Iterator[str]:
        """The paths of all mounts that show a disk image.

        Those at a folder that matches ``orig_re_pattern``, and pyimount's own.
        """
        self._check()
        for each in self._bases():
            yield each.path

    def find_volume_groups(self) -> Iterator[tuple[str, str]]:
        """All LVM groups on loop devices of ``find_loopbacks``, as pairs: the group, and its device.

        pyimount itself activates no group: it maps each logical volume under a name of its own.
        """
        self._check()
        yield from leftovers.volume_groups([each.device for each in self._loops() if each.session is None])

    def find_loopbacks(self) -> Iterator[str]:
        """The loop devices of disk images in a folder that matches ``orig_re_pattern``.

        And pyimount's own that belong to what matches.
        """
        self._check()
        for each in self._loops():
            yield each.device

    def find_clean_dirs(self) -> Iterator[str]:
        """All folders that are to be removed when they are empty."""
        self._check()
        pairs = ((self.glob_pattern, self.re_pattern), (self.orig_glob_pattern, self.orig_re_pattern))
        for pattern, expression in pairs:
            for path in sorted(glob.glob(pattern)):
                if re.match(expression, path) and os.path.isdir(path) and not os.path.islink(path):
                    yield path
        if self.be_greedy:
            yield from leftovers.session_folders(self._base)

    # Taking away

    def preview_unmount(self) -> list[str]:
        """The commands that ``unmount`` stands for, in their order, each as a shell would take it.

        What changes on the machine afterwards is not in it.
        """
        self._check()
        commands: list[tuple[str, ...]] = []
        bound = self._bound([each for each in self._mounts if self._matches(each)])
        commands += [("umount", each.path) for each in bound]
        for session, only in self._ending():
            commands += [argv for _, argv in would_undo(session.id, base=self._base, only=only)]
        volumes = [each for each in self._volumes() if not self._is_held(each)]
        bases = [each for each in self._bases() if not self._is_held(each)]
        commands += [("umount", each.path) for each in volumes]
        groups = list(self.find_volume_groups())
        for group in dict.fromkeys(name for name, _ in groups):
            devices = [device for name, device in groups if name == group]
            commands.append(leftovers.deactivation(group, devices))
        found = self._loops()
        taken = {each.device for each in found}
        for one in found:
            if not self._loop_is_held(one):
                removals = (leftovers.removal(upper, taken) for upper in leftovers.above(one.device))
                commands += [each for each in removals if each is not None]
                commands.append(("losetup", "--detach", one.device))
        commands += [("umount", each.path) for each in bases]
        emptied = [each.path for each in (*volumes, *bases) if self._may_remove(each.path)]
        commands += [("rmdir", path) for path in (*emptied, *self.find_clean_dirs())]
        return list(dict.fromkeys(shlex.join(each) for each in commands))

    def unmount(self) -> None:
        """Take away all that is found, in the right order: what one part needs goes after it.

        Raises CleanupError when something must stay; all else has been taken away then.
        """
        self._check()
        # Seen now: when what is mounted on them is gone, nothing tells whose they are.
        self._loops()
        reasons = [f"session {each.id}: {each.damaged}" for each in self._sessions if each.damaged]
        if not self.be_greedy:
            reasons = []
        # What one session bound into what another mounted may be older or younger than that.
        reasons += self._bindmounts_away(unheld_only=False)
        for session, only in self._ending():
            reasons += self._undo(session.id, only)
        self._index()
        for act in (self._mounts_away, self._groups_away, self._loops_away, self._bases_away):
            reasons += act(unheld_only=True)
        self._index()
        self.clean_dirs()
        _raise(reasons)

    def unmount_bindmounts(self) -> None:
        """Unmount what ``find_bindmounts`` finds.

        Raises CleanupError when something must stay.
        """
        self._act(self._bindmounts_away)

    def unmount_mounts(self) -> None:
        """Unmount what ``find_mounts`` finds, and remove the folders.

        What a session of pyimount then needs no more goes with it.

        Raises CleanupError when something must stay.
        """
        self._act(self._mounts_away)

    def unmount_base_images(self) -> None:
        """Unmount what ``find_base_images`` finds; of a session of pyimount, with all that needs it.

        Raises CleanupError when something must stay.
        """
        self._act(self._bases_away)

    def unmount_volume_groups(self) -> None:
        """Deactivate what ``find_volume_groups`` finds, and detach the loop devices of these groups.

        Raises CleanupError when something must stay.
        """
        self._act(self._groups_away)

    def unmount_loopbacks(self) -> None:
        """Detach what ``find_loopbacks`` finds; of a session of pyimount, with all that needs it.

        Raises CleanupError when something must stay.
        """
        self._act(self._loops_away)

    def clean_dirs(self) -> None:
        """Remove those folders of ``find_clean_dirs`` that are empty; others stay as they are."""
        for path in self.find_clean_dirs():
            self._remove(path)

    def _act(self, act: Callable[..., list[str]]) -> None:
        self._check()
        self._loops()
        try:
            _raise(act(unheld_only=False))
        finally:
            self._index()

    def _ending(self) -> list[tuple[Session, set[int] | None]]:
        """The sessions that are to end, and of those that go only in part, the steps."""
        found: list[tuple[Session, set[int] | None]] = []
        # The latest first: an earlier one may be what it stands on.
        for session in reversed(self._sessions):
            if session.damaged is not None:
                continue
            if self._session_matches(session):
                found.append((session, None))
                continue
            some = {each.step for each in session.mounts if each.stands and self._here(each.path)}
            if some:
                found.append((session, some))
        return found

    def _undo(self, session: str, only: Iterable[int] | None) -> list[str]:
        try:
            done = undo_session(session, base=self._base, only=only)
        except LedgerError as error:
            return [str(error)]
        return [f"{left.place or left.step.verb}: {left.reason}" for left in done.left]

    def _undo_places(self, places: Iterable[str]) -> list[str]:
        chosen: dict[str, set[int]] = {}
        for place in places:
            session, step = self._held[place]
            chosen.setdefault(session.id, set()).add(step.id)
        return [reason for session, steps in chosen.items() for reason in self._undo(session, steps)]

    def _unmount_all(self, found: list[MountPoint], *, unheld_only: bool) -> list[str]:
        held = [each for each in found if self._is_held(each)]
        reasons = [] if unheld_only else self._undo_places(each.path for each in held)
        for mount in found:
            if mount not in held:
                reasons += _tried(partial(leftovers.unmount, mount))
                if self._may_remove(mount.path):
                    self._remove(mount.path)
        return reasons

    def _may_remove(self, path: str) -> bool:
        return self._here(path) or self._from_base(path)

    def _remove(self, path: str) -> None:
        # What is not empty, or not reached without a link, is nobody's to remove.
        _tried(partial(leftovers.remove_folder, path))

    def _bindmounts_away(self, *, unheld_only: bool) -> list[str]:
        found = self._bound([each for each in self._mounts if self._matches(each)])
        return self._unmount_all(found, unheld_only=unheld_only)

    def _mounts_away(self, *, unheld_only: bool) -> list[str]:
        return self._unmount_all(self._volumes(), unheld_only=unheld_only)

    def _bases_away(self, *, unheld_only: bool) -> list[str]:
        if not unheld_only:
            shown = [self._held[each.path][0] for each in self._bases() if self._is_held(each)]
            for user in reversed([each for session in shown for each in self._users(session)]):
                self._undo(user.id, None)
        return self._unmount_all(self._bases(), unheld_only=unheld_only)

    def _groups_away(self, *, unheld_only: bool) -> list[str]:  # noqa: ARG002
        groups = list(self.find_volume_groups())
        taken = {device for _, device in groups}
        reasons = []
        for group in dict.fromkeys(name for name, _ in groups):
            devices = [device for name, device in groups if name == group]
            failed = _tried(partial(leftovers.deactivate, group, devices))
            for device in devices if not failed else ():
                failed += _tried(partial(leftovers.detach, self._attached[device], taken))
            reasons += failed
        return reasons

    def _loops_away(self, *, unheld_only: bool) -> list[str]:
        found = self._loops()
        held = [each for each in found if self._loop_is_held(each)]
        reasons = [] if unheld_only else self._undo_places(each.device for each in held)
        taken = {each.device for each in found}
        for one in found:
            if one not in held:
                reasons += _tried(partial(leftovers.detach, one, taken))
        return reasons


def _tried(act: Callable[[], object]) -> list[str]:
    """Why an act could not be done; empty when it was."""
    try:
        act()
    except (Held, StepFailed) as error:
        return [str(error)]
    return []


def _raise(reasons: list[str]) -> None:
    if reasons:
        raise CleanupError("; ".join(dict.fromkeys(reasons)))
