"""What stands of a volume on this machine: its mount, its bytes as a file, and where else it is shown."""

import logging
import os
import tempfile
from abc import ABC, abstractmethod
from typing import Any

from pyimount.exceptions import (
    CommandNotFoundError,
    ImageMounterError,
    IncorrectFilesystemError,
    NoMountpointAvailableError,
    NotMountedError,
    SubsystemError,
)
from pyimount.execution import tools
from pyimount.execution.errors import NoSession
from pyimount.imagemounter import trees
from pyimount.imagemounter.case import Case
from pyimount.imagemounter.descriptions import Described
from pyimount.imagemounter.failures import need_root, raised
from pyimount.imagemounter.scans import View
from pyimount.imagemounter.session import Part
from pyimount.imagemounter.words import fstype_of
from pyimount.layers import Scan, VolumeLayer

logger = logging.getLogger(__name__)


class OnMachine(Described, ABC):
    """A volume as far as it stands on this machine; where it stands in a scan, its subclass knows."""

    case: Case
    disk: Any
    view: View

    def __init__(self) -> None:
        self.mountpoint: str | None = None
        self.loopback: str | None = None
        self.bindmounts: list[str] = []
        self._part: Part | None = None
        self._raw: tuple[Part | None, str] | None = None
        self._guessed: str | None = None

    @abstractmethod
    def scan_and_layer(self) -> tuple[Scan, VolumeLayer]:
        """The scan, and this volume in it. Raises SubsystemError, MountError when it is not there."""

    @property
    def _paths(self) -> dict[str, Any]:
        """What imagemounter's own programs read: the bind mounts, and where its bytes are shown."""
        found: dict[str, Any] = {"bindmounts": self.bindmounts} if self.bindmounts else {}
        return found if self._raw is None else {**found, "raw": self._raw[1]}

    def show(self) -> str | None:
        """The path of a file with just its bytes, made when first asked for; None where it cannot be."""
        if self._raw is None and self.disk.is_mounted:
            scan, layer = self.scan_and_layer()
            try:
                way = self.case.way_to_show(self.disk, self.view)
                self._raw = self.case.session(scan).show(scan, layer, way)
            except ImageMounterError as error:
                logger.warning("volume %s cannot be shown: %s", self.index, error)
                return None
        return None if self._raw is None else self._raw[1]

    def _mount_here(self, scan: Scan, layer: VolumeLayer, fstype: str | None) -> None:
        """Mount it as a file system; ``fstype``: what the plan has to be told."""
        session = self.case.session(scan)
        try:
            done = session.mount(
                scan,
                layer,
                self.case.way(self.disk, self.view),
                fstype=fstype,
                folder=self.case.folder(),
                naming=self.case.called(scan, layer, self.index, session),
            )
        except SubsystemError as error:
            if fstype is not None and layer.type is not None:
                reason = f"volume {self.index} holds {fstype_of(layer)}, not {fstype}: {error}"
                raise IncorrectFilesystemError(reason) from error
            raise
        self._part = done.part
        self.mountpoint = done.mountpoint
        self.loopback = done.device if (done.device or "").startswith("/dev/") else None

    def detect_mountpoint(self) -> str | None:
        """Where it was mounted last, by what it says of itself, else by what is in it, when it is mounted."""
        known: str | None = self.info.get("lastmountpoint")
        if known or self.mountpoint is None:
            return known
        _, layer = self.scan_and_layer()
        found = trees.mountpoint_of(layer, self.mountpoint)
        if found is not None:
            self.info["lastmountpoint"] = self._guessed = found
        return found

    @property
    def told_mountpoint(self) -> str | None:
        """Where it was mounted last, as it says or the caller does; None where that is only a guess."""
        known: str | None = self.info.get("lastmountpoint")
        return None if known == self._guessed else known

    def bindmount(self, mountpoint: str | os.PathLike[str]) -> bool:
        """Show what it is mounted as at another folder, too, until it is unmounted. Returns True.

        A folder in what one of the parser's volumes shows is looked up there, and no link or ``..`` leads
        out. Raises NotMountedError when it is not mounted, SubsystemError when that folder cannot be had.
        """
        target = os.path.join(os.getcwd(), os.fspath(mountpoint))
        root, within = os.path.split(os.path.realpath(target))
        for volume in self.case.get_volumes():
            if volume.mountpoint is not None and target.startswith(f"{volume.mountpoint}/"):
                root, within = volume.mountpoint, target.removeprefix(f"{volume.mountpoint}/")
        return self.bind_within(root, within)

    def bind_within(self, root: str, target: str) -> bool:
        """``bindmount`` at ``target`` in ``root``, from where no link and no ``..`` leads out."""
        if self.mountpoint is None:
            raise NotMountedError(f"volume {self.index} is not mounted")
        try:
            if self._part is None:
                # The caller mounted it, and told us where.
                self._part, place = self.case.any_session().bind(self.mountpoint, root, target)
            else:
                place = self._part.bind(self.mountpoint, root, target)
            self.bindmounts.append(place)
        except NoSession as error:
            raise NotMountedError(f"volume {self.index} was unmounted by another") from error
        return True

    @property
    def part(self) -> Part | None:
        """What stands of it; None while it is not mounted."""
        return self._part

    @property
    def session(self) -> str | None:
        """The session of its mount in the ledger; None while it is not mounted."""
        return None if self._part is None else self._part.session.name

    def carve(self, freespace: bool = True) -> str:
        """Recover deleted files with photorec; returns the folder with them, which stays.

        ``freespace``: look only in what is free, else in the whole volume. Raises CommandNotFoundError,
        NoMountpointAvailableError, NoLoopbackAvailableError, SubsystemError.
        """
        if tools.find("photorec") is None:
            raise raised(CommandNotFoundError, "photorec is not installed", "apt install testdisk")
        need_root()
        scan, layer = self.scan_and_layer()
        session = self.case.session(scan)
        name = self.case.called(scan, layer, self.index, session, "-carve").name
        try:
            at = tempfile.mkdtemp(prefix=f"{name}-", dir=self.case.folder())
        except OSError as error:
            raise NoMountpointAvailableError(str(error)) from error
        way = self.case.way_to_show(self.disk, self.view)
        try:
            session.carve(scan, layer, way, at=os.path.realpath(at), free_only=freespace)
        except ImageMounterError:
            if not os.listdir(at):
                os.rmdir(at)
            raise
        return at

    def _take_down(self, *, lazy: bool) -> None:
        """Take down what stands of it. Raises as ``Part.take_down``."""
        if self._raw is not None:
            if self._raw[0] is not None:
                self._raw[0].take_down(lazy=lazy)
            self._raw = None
        if self._part is not None:
            self._part.take_down(lazy=lazy)
            self._part = None
        self.mountpoint = self.loopback = None
        self.bindmounts.clear()
