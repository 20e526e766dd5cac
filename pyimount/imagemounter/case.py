"""A case: what is common to the disks and volumes of one parser.

Its options, its keys, the scans of its disks, the folders for its mountpoints, and its session: one, with one
server, for all its volumes (another for disks that are added later). It knows disks and volumes only as far
as it has to; they know it.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from pyimount.exceptions import ArgumentError, NoMountpointAvailableError, SubsystemError
from pyimount.execution.errors import StepFailed
from pyimount.execution.ledger import BASE
from pyimount.imagemounter.scans import View, with_folders
from pyimount.imagemounter.session import Called, Session, Way
from pyimount.imagemounter.words import SYNONYMS
from pyimount.keys import BadKey, Key, Keyring
from pyimount.layers import Scan, VolumeLayer
from pyimount.mounting import mounting
from pyimount.planning.naming import Naming
from pyimount.planning.policy import POLICIES, Policy

logger = logging.getLogger(__name__)

_OVER = 99
_OURS = frozenset(("auto", "user", "dummy"))
"""The disk mounters that have a cache for what is written."""


class Indexed(Protocol):
    """A volume, as far as a case knows it."""

    index: str
    key: str
    view: View
    local: str | None


class Imaged(Protocol):
    """A disk, as far as a case knows it."""

    index: str | None
    paths: list[str]
    offset: int
    block_size: int
    read_write: bool
    rwpath: str | None
    disk_mounter: str

    def get_volumes(self) -> Sequence[Indexed]:
        """All its volumes that were found so far."""


class _Seen:
    """A scan, and the keys that it was made with; those are not stored."""

    def __init__(self, scan: Scan, tried: frozenset[tuple[str, str]]) -> None:
        self.scan = scan
        self.tried = tried

    def __getstate__(self) -> dict[str, Any]:
        return {"scan": self.scan, "tried": frozenset()}


class Case:
    """What disks and volumes have in common; the arguments are ImageParser's.

    ``disks``: a plain list, to which disks may be added. ``tries_unknown``: what is not recognised may be
    mounted as whatever the kernel takes it for. ``made_folders``: those above mountpoints that were made for
    them. A pickle of it has no keys.
    """

    def __init__(
        self,
        *,
        casename: str | None = None,
        vstypes: Mapping[str | int, str] | None = None,
        fstypes: Mapping[str | int, str | None] | None = None,
        keys: Mapping[str | int, str] | None = None,
        mountdir: str | os.PathLike[str] | None = None,
        pretty: bool = False,
        policy: Policy | str = "forensic",
    ) -> None:
        if isinstance(policy, str) and policy not in POLICIES:
            raise ArgumentError(f"there is no policy {policy!r}; there are {', '.join(POLICIES)}")
        self.casename = casename
        self.vstypes: dict[str, str] = _by_index(vstypes)
        self.fstypes: dict[str, str | None] = _by_index(fstypes) or {"?": "unknown"}
        if self.fstypes.get("?") in ("", "none"):
            self.fstypes["?"] = None
        self.tries_unknown = bool(fstypes) and self.fstypes.get("?") == "unknown"
        self.keys: dict[str, str] = _by_index(keys)
        self.mountdir = None if mountdir is None else os.fspath(mountdir)
        self.pretty = pretty
        self.policy = POLICIES[policy] if isinstance(policy, str) else policy
        self.disks: list[Any] = []
        self.made_folders: list[str] = []
        self._seen: dict[tuple[tuple[str, ...], View], _Seen] = {}
        self._sessions: list[Session] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "keys": {}}

    def get_volumes(self) -> list[Any]:
        """All volumes of all disks that were found so far, each after those within it."""
        return [volume for disk in self.disks for volume in disk.get_volumes()]

    # What is seen.

    def scan(self, disk: Imaged, view: View) -> Scan:
        """What is seen of a disk; made when it is first needed, and again when there is a new key for it.

        Raises SubsystemError, and ArgumentError for what is no view.
        """
        disks = self._together(disk, view)
        paths = tuple(each.paths[0] for each in disks)
        known = self._seen.get((paths, view))
        if known is not None and not any(volume.locked for volume in known.scan.volumes):
            return known.scan
        keys = frozenset(self._keys(disks, view))
        if known is not None and keys <= known.tried:
            return known.scan
        try:
            scan = mounting.look(
                paths, keys=_keyring(keys), offset=view.offset, size=view.size, vstype=view.vstype,
                sector_size=view.sector_size,
            )  # fmt: skip
        except StepFailed as error:
            raise SubsystemError(str(error)) from error
        except ValueError as error:
            raise ArgumentError(str(error)) from error
        scan = with_folders(scan)
        self._seen.pop((paths, view), None)
        self._seen[paths, view] = _Seen(scan, keys)
        return scan

    def seen(self, disk: Imaged, view: View) -> Scan | None:
        """The latest scan of this view with this disk, if there is one: nothing is looked at."""
        for (paths, known), seen in reversed(self._seen.items()):
            if known == view and disk.paths[0] in paths:
                return seen.scan
        return None

    def _together(self, disk: Imaged, view: View) -> list[Imaged]:
        """The disks that are looked at in one scan, so that an array on several is seen."""
        others = self.disks if not view.alone else []
        like = (disk.offset, disk.block_size)
        found = [each for each in others if each is disk or (each.offset, each.block_size) == like]
        return found if disk in found else [*found, disk]

    # Keys.

    def key_for(self, index: str) -> str:
        """The key that there is for the volume of this index; empty where there is none."""
        return self.keys.get(index) or self.keys.get("*") or self.keys.get("?") or ""

    def keyring(self, disk: Imaged, view: View) -> Keyring | None:
        """The keys for what a view shows."""
        return _keyring(self._keys(self._together(disk, view), view))

    def _keys(self, disks: list[Imaged], view: View) -> Iterator[tuple[str, str]]:
        """Each key with the name that its volume has in the scan."""
        several = len({disk.paths[0] for disk in disks}) > 1
        prefixes = {id(disk): f"{number}." if several else "" for number, disk in enumerate(disks, 1)}
        by_index: dict[str, str] = {}
        for disk in disks:
            for volume in disk.get_volumes():
                if volume.view == view and volume.local is not None:
                    by_index[volume.index] = prefixes[id(disk)] + volume.local
        for index, key in self.keys.items():
            if index in by_index:
                yield by_index[index], key
            elif index in ("*", "?"):
                yield "*", key
            else:
                # Of a volume that has not been seen yet, or a UUID.
                for disk in disks:
                    above = "" if disk.index is None else f"{disk.index}."
                    if index.startswith(above):
                        yield prefixes[id(disk)] + index.removeprefix(above), key
                yield index, key
        for disk in disks:
            for volume in disk.get_volumes():
                if volume.key and volume.view == view and volume.local is not None:
                    yield prefixes[id(disk)] + volume.local, volume.key

    # What stands.

    def session(self, scan: Scan) -> Session:
        """The session for what is on these disks. It is told to be for all disks that there are by then."""
        images = [
            os.path.realpath(path) if disk.is_folder else os.path.abspath(path)
            for disk in scan.disks
            for path in disk.paths
        ]
        self._sessions = [each for each in self._sessions if not each.is_over()]
        for each in self._sessions:
            if set(images) <= set(each.images):
                return each
        images += [path for disk in self.disks for path in disk.paths]
        return self._begun(images)

    def any_session(self) -> Session:
        """A session for what is on none of the disks as a scan has them."""
        standing = next((each for each in self._sessions if not each.is_over()), None)
        return standing or self._begun([path for disk in self.disks for path in disk.paths])

    def _begun(self, images: list[str]) -> Session:
        made = Session(tuple(dict.fromkeys(images)))
        self._sessions.append(made)
        return made

    @property
    def sessions(self) -> tuple[str, ...]:
        """The names in the ledger of what stands: mostly one."""
        return tuple(each.name for each in self._sessions if not each.is_over())

    def end(self, *, lazy: bool = False) -> None:
        """Take down what is left of attempts that failed, and remove the folders that were made.

        Raises SubsystemError, CleanupError.
        """
        for session in self._sessions:
            session.end(lazy=lazy)
        self._sessions.clear()
        for folder in reversed(self.made_folders):
            try:
                os.rmdir(folder)
            except OSError as error:
                logger.info("%s stays: %s", folder, error.strerror)
        self.made_folders.clear()

    def way(self, disk: Imaged, view: View) -> Way:
        """How what is on a disk is mounted: one cache for all of it, where it is written to."""
        mounter = SYNONYMS.get(disk.disk_mounter, disk.disk_mounter)
        cache = disk.rwpath if disk.read_write else None
        policy = self.policy.replaced(disk_mounter=mounter, read_write=cache is not None)
        return Way(policy=policy, keys=self.keyring(disk, view), cache=cache)

    def way_to_show(self, disk: Imaged, view: View) -> Way:
        """How bytes are shown as a file: with what was written, where the disk mounter has that."""
        way = self.way(disk, view)
        if way.policy.disk_mounter in _OURS:
            return way
        return way.replaced(policy=way.policy.replaced(read_write=False), cache=None)

    # Folders for mountpoints.

    def folder(self) -> str | None:
        """The folder that the caller has for mountpoints, made where it is not there: it outlives a mount.

        Raises NoMountpointAvailableError.
        """
        if self.mountdir is None:
            return None
        folder = os.path.realpath(self.mountdir)
        case = self._naming().folder()
        try:
            for path in (folder, *([] if case is None else [os.path.join(folder, case)])):
                if not os.path.isdir(path):
                    os.makedirs(path, mode=0o700)
                    self.made_folders.append(path)
        except OSError as error:
            raise NoMountpointAvailableError(f"{folder}: {error.strerror}") from error
        return folder

    def _naming(self) -> Naming:
        return Naming(pretty=self.pretty, casename=self.casename)

    def called(
        self, scan: Scan, layer: VolumeLayer, index: str, session: Session, suffix: str = ""
    ) -> Called:
        """A name for the mountpoint of the volume of this index that nothing there has.

        Raises NoMountpointAvailableError.
        """
        name = self._naming().of(scan, layer.replaced(index=index)) + suffix
        made = Called(pretty=self.pretty, casename=self.casename, name=name)
        place = os.path.join(self.folder() or f"{BASE}/{session.name}/mnt", made.folder() or "")
        for number in range(2, _OVER):
            if not os.path.lexists(os.path.join(place, made.name)):
                return made
            made = made.replaced(name=f"{name}-{number}")
        raise NoMountpointAvailableError(f"{place} has too many folders called {name}")


def _by_index(values: Mapping[str | int, Any] | None) -> dict[str, Any]:
    return {str(index): value for index, value in (values or {}).items()}


def _keyring(keys: Any) -> Keyring | None:
    """Keys as ``detect`` takes them; one that is none opens nothing, and keeps no other from it."""
    ring = Keyring()
    for name, text in sorted(keys):
        try:
            ring.add(Key.parse(text), name)
        except BadKey:
            continue  # Said when what it is for is to be opened.
    return ring if len(ring) else None


def why_bad(key: str) -> str | None:
    """What is wrong with how a key is written, or with its file; None when it is fine."""
    try:
        Key.parse(key)
    except BadKey as error:
        return str(error)
    return None
