"""What earlier mounts left on this machine, by the ledgers of pyimount, by names and by marks."""

import os
import re

from pyimount.exceptions import SubsystemError
from pyimount.execution import fuse_mounts, leftovers, mounts
from pyimount.execution import sessions as known
from pyimount.execution.errors import LedgerError
from pyimount.execution.leftovers import Attached
from pyimount.execution.mounts import MountPoint
from pyimount.execution.sessions import Session
from pyimount.planning.steps import (
    AttachLoop,
    BindMount,
    ExposeRaw,
    ExposeShadows,
    Mount,
    MountWithTool,
    RunImageMounter,
    ShowDirectory,
    Step,
)

INDEX = r"[0-9]+(?:\.[0-9]+)*"
"""A regular expression for the index of a volume."""
_FROM_AN_IMAGE = re.compile(r"/dev/(?:loop|dm-|mapper/|md|nbd|mtdblock)")


class Remains:
    """What stands, and which of it is looked for: that is told by the four patterns.

    ``base``: the folder of pyimount's ledgers. ``pretty``: whether mountpoints have pretty names. Everything
    is looked at when an object is made.
    """

    re_pattern: str
    """The regular expression that the path of a volume's mountpoint matches."""
    glob_pattern: str
    """The glob pattern for folders of mountpoints; only those count that match ``re_pattern`` too."""
    orig_re_pattern: str
    """The regular expression that the path of a disk image's mountpoint matches, and what lies in it."""
    orig_glob_pattern: str
    """The glob pattern for them; only those folders count that match ``orig_re_pattern`` too."""
    be_greedy: bool
    """Whether everything that can be known as pyimount's or imagemounter's is found, wherever it stands."""

    def __init__(self, base: str, *, pretty: bool) -> None:
        self._base = base
        self._pretty = pretty
        self._beneath: dict[str, Attached] = {}
        """pyimount's loop devices that mounts which match were seen on."""
        self._index()

    def _index(self) -> None:
        # In this order: what stands was in a ledger before it stood.
        self._mounts = mounts.mounts()
        self._attached = {each.device: each for each in leftovers.attached()}
        self._unreadable: LedgerError | None = None
        self._sessions: list[Session] = []
        try:
            self._sessions = known.sessions(self._base)
        except LedgerError as error:
            self._unreadable = error
        self._held: dict[str, tuple[Session, Step]] = {
            entry.made.place: (session, entry.step)
            for session in self._sessions
            for entry in session.entries
            if not entry.undone and entry.made is not None and entry.made.place is not None
        }

    @property
    def mountpoints(self) -> dict[str, tuple[str, str, str]]:
        """All that is mounted: where, and of each the source, the type and the options."""
        return {each.path: (each.source, each.type, each.options) for each in self._mounts}

    @property
    def loopbacks(self) -> dict[str, str]:
        """All loop devices, and the path of what each shows."""
        return {device: each.file for device, each in self._attached.items()}

    def _check(self) -> None:
        if self._unreadable is not None:
            raise SubsystemError(str(self._unreadable)) from self._unreadable

    def _here(self, path: str) -> bool:
        return re.match(self.re_pattern, path) is not None

    def _from_base(self, path: str) -> bool:
        return re.match(self.orig_re_pattern, path) is not None

    def _session_of(self, mount: MountPoint) -> str | None:
        """The session of pyimount whose mark is on what is mounted, or beneath it."""
        if mount.type == fuse_mounts.FUSE_TYPE:
            found = leftovers.MARK.fullmatch(mount.source)
            return None if found is None else found[1]
        for device in leftovers.beneath(mount.source):
            found = leftovers.MARK.fullmatch(leftovers.mapped_name(device) or "")
            if found is not None:
                return found[1]
            if device in self._attached and self._attached[device].session is not None:
                return self._attached[device].session
        return None

    def _lost(self, session: str) -> bool:
        """Whether a session has no ledger. One that has is taken down by it, or not at all."""
        return session not in {each.id for each in self._sessions}

    def _of_image_mounter(self, mount: MountPoint) -> bool:
        """Whether a mount is of a file in an image_mounter_ folder, or of a LUKS volume of that name."""
        if self._from_base(mount.source):
            return True
        beneath = leftovers.beneath(mount.source)
        files = [name for each in beneath if each in self._attached for name in self._attached[each].names]
        return any(map(self._from_base, files)) or (
            self.be_greedy
            and any(leftovers.LUKS_NAME.fullmatch(leftovers.mapped_name(each) or "") for each in beneath)
        )

    def _step_of(self, mount: MountPoint) -> Step | None:
        """The step that made a mount, if a ledger has it."""
        session, step = self._held.get(mount.path, (None, None))
        if session is None or not isinstance(step, Mount | MountWithTool | ShowDirectory | BindMount):
            return step
        stands = any(each.step == step.id and each.stands for each in session.mounts)
        return step if stands else None

    def _matches(self, mount: MountPoint) -> bool:
        """Whether a mount is a volume that is looked for."""
        if self._is_base(mount):
            return False
        step = self._step_of(mount)
        if step is not None:
            # A ledger knows it: no guess is needed, or allowed.
            wanted = self.be_greedy or self._here(mount.path)
            return wanted and isinstance(step, Mount | MountWithTool | ShowDirectory | ExposeShadows)
        session = self._session_of(mount)
        if session is not None:
            return self._lost(session) and (self.be_greedy or self._here(mount.path))
        if self._of_image_mounter(mount):
            return True
        if not self._here(mount.path) or self._needs_mark(mount.path):
            return False
        return bool(_FROM_AN_IMAGE.match(mount.source)) or mount.type.startswith("fuse")

    def _needs_mark(self, path: str) -> bool:
        """Whether a path is one that pyimount gives: what it mounts there bears its mark."""
        plain = re.fullmatch(rf"{INDEX}(?:-.*)?", os.path.basename(path))
        return path.startswith(f"{self._base}/") or (plain is not None and not self._pretty)

    def _is_base(self, mount: MountPoint) -> bool:
        """Whether a mount shows a disk image."""
        step = self._step_of(mount)
        if isinstance(step, ExposeRaw | RunImageMounter):
            return self._session_matches(self._held[mount.path][0])
        if self._from_base(mount.path):
            return True
        session = self._session_of(mount) if mount.type == fuse_mounts.FUSE_TYPE else None
        return session is not None and self.be_greedy and self._lost(session)

    def _session_matches(self, session: Session) -> bool:
        """Whether all that a session mounted is looked for; of one without a mount, one of its folders."""
        if self.be_greedy:
            return True
        binds = {entry.step.id for entry in session.entries if isinstance(entry.step, BindMount)}
        standing = [each.path for each in session.mounts if each.stands and each.step not in binds]
        if standing:
            return all(map(self._here, standing))
        users = self._users(session)
        if users:
            return all(map(self._session_matches, users))
        made = [entry.made.place for entry in session.entries if entry.made and not entry.undone]
        # Without a mount, by a folder that was made for one; else by where its mounts would be.
        places = [place for place in made if place is not None]
        return any(map(self._here, places)) or self._here(f"{self._base}/{session.id}/mnt/0")

    def _users(self, session: Session) -> list[Session]:
        """The sessions that use what a session shows."""
        folder = f"{self._base}/{session.id}/"
        return [
            each for each in self._sessions
            if each.id != session.id and any(image.startswith(folder) for image in each.images)
        ]  # fmt: skip

    def _volumes(self) -> list[MountPoint]:
        """The mounts that match and are no bind mounts, the latest first."""
        found = [each for each in self._mounts if self._matches(each)]
        inside = self._bound(found)
        return [each for each in reversed(found) if each not in inside]

    def _bound(self, found: list[MountPoint]) -> list[MountPoint]:
        """The bind mounts, the latest first: what the ledgers have, and what shows one volume in another."""
        devices = {each.device for each in found}
        bound = []
        for each in reversed(self._mounts):
            step = self._step_of(each)
            outer = [other for other in found if each.path.startswith(f"{other.path}/")]
            if isinstance(step, BindMount):
                if self.be_greedy or outer or self._here(each.path):
                    bound.append(each)
            elif step is None and outer and each.device in devices:
                bound.append(each)
        return bound

    def _bases(self) -> list[MountPoint]:
        return [each for each in reversed(self._mounts) if self._is_base(each)]

    def _loops(self) -> list[Attached]:
        """The loop devices that match."""
        for mount in self._volumes():
            for device in leftovers.beneath(mount.source):
                if device in self._attached and self._attached[device].session is not None:
                    self._beneath[device] = self._attached[device]
        return [each for each in self._attached.values() if self._loop_matches(each)]

    def _loop_matches(self, one: Attached) -> bool:
        if self._loop_is_held(one):
            return self._session_matches(self._held[one.device][0]) or one == self._beneath.get(one.device)
        if one.session is not None:
            return self._lost(one.session) and (self.be_greedy or one == self._beneath.get(one.device))
        if any(map(self._from_base, one.names)):
            return True
        return self.be_greedy and any(
            leftovers.LUKS_NAME.fullmatch(leftovers.mapped_name(each) or "")
            for each in leftovers.above(one.device)
        )

    def _loop_is_held(self, one: Attached) -> bool:
        """Whether a ledger has it."""
        session, step = self._held.get(one.device, (None, None))
        return session is not None and session.id == one.session and isinstance(step, AttachLoop)

    def _is_held(self, mount: MountPoint) -> bool:
        return self._step_of(mount) is not None
