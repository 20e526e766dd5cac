"""The root of the interface: several disks, taken together."""

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from pyimount.exceptions import DiskIndexError, ImageMounterError
from pyimount.imagemounter.arguments import either_order
from pyimount.imagemounter.case import Case
from pyimount.imagemounter.disk import Disk
from pyimount.imagemounter.rebuilding import reconstruct
from pyimount.imagemounter.volume import Volume
from pyimount.planning.policy import Policy
from pyimount.sources.segments import gather

logger = logging.getLogger(__name__)

T = TypeVar("T")


class _OfCase(Generic[T]):
    """An attribute of a parser that its case has, for all its disks and volumes."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, parser: None, owner: type) -> Self: ...

    @overload
    def __get__(self, parser: "ImageParser", owner: type) -> T: ...

    def __get__(self, parser: "ImageParser | None", owner: type) -> "Self | T":
        if parser is None:
            return self
        value: T = getattr(parser.case, self._name)
        return value

    def __set__(self, parser: "ImageParser", value: T) -> None:
        setattr(parser.case, self._name, value)


class ImageParser:
    """Disk images that belong together, and all that is in them.

    ::

        parser = ImageParser(["/path/to/disk.E01"])
        for volume in parser.init():
            print(volume.size)
        root = parser.reconstruct()
        print(root.mountpoint)
        parser.clean()

    Making one neither opens nor mounts anything: each path becomes a ``Disk``. As a context manager it is
    cleaned at the end of the ``with`` block; otherwise mounts stand until ``clean`` is called, here or on the
    parser unpickled in another process, or ``pyimount unmount`` takes them down. A pickle has no keys.

    ``paths``: images, a single one too; a folder stands for the images in it. ``force_disk_indexes``: give a
    disk its index even when it is the only one. ``casename``: a folder for the mountpoints of this case.
    ``read_write``: what is written goes into a cache, never into an image. ``disk_mounter``: what shows a
    container's bytes, of DISK_MOUNTERS. ``volume_detector``: ``native`` (as ``auto``), or ``dissect`` for a
    second opinion on partition tables. ``vstypes``, ``fstypes``, ``keys``: for each volume, by its index, as
    a string or number: the type of its partition table, its file system, its key (``p:passphrase``, ``f:key
    file``, ``m:master key file``, ``r:recovery password``, ``s:startup key``, ``k:full volume key``); ``*``
    is for every volume, ``?`` for those for which there is nothing else. With ``fstypes``, ``none`` leaves a
    volume alone, and ``?=unknown`` lets the kernel try what is not recognised. ``mountdir``: where
    mountpoints are made. ``pretty``: call them after labels. ``policy``: what a mount is allowed, a Policy or
    its name. Other keyword arguments are ignored.
    """

    disks = _OfCase[list[Disk]]()
    casename = _OfCase[str | None]()
    vstypes = _OfCase[dict[str, str]]()
    fstypes = _OfCase[dict[str, str | None]]()
    keys = _OfCase[dict[str, str]]()
    mountdir = _OfCase[str | None]()
    pretty = _OfCase[bool]()
    policy = _OfCase[Policy]()

    def __init__(  # noqa: PLR0917
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
        force_disk_indexes: bool = False,
        casename: str | None = None,
        read_write: bool = False,
        disk_mounter: str = "auto",
        volume_detector: str = "auto",
        vstypes: Mapping[str | int, str] | None = None,
        fstypes: Mapping[str | int, str | None] | None = None,
        keys: Mapping[str | int, str] | None = None,
        mountdir: str | os.PathLike[str] | None = None,
        pretty: bool = False,
        *,
        policy: Policy | str = "forensic",
        **args: Any,
    ) -> None:
        self.case = Case(
            casename=casename, vstypes=vstypes, fstypes=fstypes, keys=keys, mountdir=mountdir, pretty=pretty,
            policy=policy,
        )  # fmt: skip
        self.force_disk_indexes = force_disk_indexes
        self.read_write = read_write
        self.disk_mounter = disk_mounter
        self.volume_detector = volume_detector
        self.args = args
        named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        images = [path for each in named for path in _images(each)]
        for path in images:
            self.add_disk(path, len(images) > 1 or force_disk_indexes)

    @property
    def paths(self) -> list[str]:
        """The first file of every disk."""
        return [disk.paths[0] for disk in self.disks]

    def __getitem__(self, index: str | int) -> Disk | Volume:
        """The disk, else the volume, of this index; raises KeyError."""
        wanted = str(index)
        for disk in self.disks:
            if disk.index == wanted:
                return disk
        for volume in self.get_volumes():
            if volume.index == wanted:
                return volume
        raise KeyError(index)

    def __iter__(self) -> Iterator[Disk]:
        return iter(self.disks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.force_clean()

    def __repr__(self) -> str:
        return f"<ImageParser: {', '.join(self.paths)}>"

    def add_disk(
        self,
        path: str | os.PathLike[str],
        force_disk_indexes: bool = True,
        **args: Any,
    ) -> Disk:
        """Add the image at this path, and return its disk.

        ``force_disk_indexes``: give it an index even when it is the first; leave this True to add more than
        one. ``args``: those of ``Disk``, where they differ from the parser's.

        Raises DiskIndexError when the first disk has no index.
        """
        if self.disks and self.disks[0].index is None:
            raise DiskIndexError("the first disk has no index: add it with force_disk_indexes")
        index = str(len(self.disks) + 1) if force_disk_indexes or self.disks else None
        usual = {
            "read_write": self.read_write,
            "disk_mounter": self.disk_mounter,
            "volume_detector": self.volume_detector,
        }
        disk = Disk(self, path, index=index, **{**usual, **args})
        self.disks.append(disk)
        return disk

    def init(
        self,
        single: bool | None = None,
        swallow_exceptions: bool = True,
        *,
        only_mount: Iterable[str] | None = None,
        skip_mount: Iterable[str] | None = None,
    ) -> Iterator[Volume]:
        """Mount every disk and every volume, one after the other, and yield each volume as it is done.

        Every leaf is yielded, mounted or not: what holds further volumes is replaced by these. ``single``:
        True takes each disk for one volume, False takes only what a partition table has, None tries both.
        ``swallow_exceptions``: what kept a volume from being mounted is then its ``exception``, and stops no
        other. ``only_mount``, ``skip_mount``: indexes, labels or last mount points.

        An image that cannot be read raises MountError, after all others are done where exceptions are
        swallowed.
        """
        first: ImageMounterError | None = None
        for disk in self.disks:
            try:
                yield from disk.init(
                    single, only_mount, swallow_exceptions=swallow_exceptions, skip_mount=skip_mount
                )
            except ImageMounterError as error:
                if not swallow_exceptions:
                    raise
                first = first or error
        if first is not None:
            raise first

    def mount_disks(self) -> bool:
        """Make the bytes of every disk readable; whether that succeeded for all of them."""
        results = [disk.mount() for disk in self.disks]
        return all(results)

    def rw_active(self) -> bool:
        """Whether anything was written into the cache of any disk."""
        return any(disk.rw_active() for disk in self.disks)

    @either_order(2)
    def init_volumes(
        self,
        single: bool | None = None,
        only_mount: Iterable[str] | None = None,
        swallow_exceptions: bool = True,
        *,
        skip_mount: Iterable[str] | None = None,
    ) -> Iterator[Volume]:
        """Find and mount the volumes of all disks, which were mounted by ``mount_disks``, and yield them."""
        for disk in self.disks:
            yield from disk.init_volumes(
                single, only_mount, swallow_exceptions=swallow_exceptions, skip_mount=skip_mount
            )

    def get_by_index(self, index: str | int) -> Disk | Volume:
        """The disk or volume of this index; raises KeyError."""
        return self[index]

    def get_volumes(self) -> list[Volume]:
        """All volumes of all disks that were found so far, each after those within it."""
        return self.case.get_volumes()

    def clean(
        self,
        remove_rw: bool = False,
        allow_lazy: bool = False,
    ) -> None:
        """Unmount all volumes and all disks.

        ``remove_rw``: remove the caches, too. ``allow_lazy``: where something is in use, take its mount from
        sight at once, and the rest when nobody uses it any more.

        What goes wrong with a volume is ignored until its disk is to be unmounted. Raises SubsystemError when
        something is in use, CleanupError when a folder is left; calling it again goes on from there.
        """
        for volume in self._innermost_first():
            try:
                volume.unmount(allow_lazy=allow_lazy)
            except ImageMounterError as error:
                logger.warning("volume %s is not unmounted yet: %s", volume.index, error)
        for disk in self.disks:
            disk.unmount(remove_rw, allow_lazy=allow_lazy)
        self.case.end(lazy=allow_lazy)

    def _innermost_first(self) -> list[Volume]:
        """Those that are shown within others go before these."""
        volumes = sorted(self.get_volumes(), key=lambda each: each.mountpoint or "", reverse=True)
        return sorted(volumes, key=lambda each: not each.bindmounts)

    def force_clean(
        self,
        remove_rw: bool = False,
        allow_lazy: bool = False,
        retries: int = 5,
        sleep_interval: float = 0.5,
    ) -> None:
        """``clean``, repeated up to ``retries`` times, ``sleep_interval`` seconds apart, while it fails.

        Raises what the last try raised, if that was an ImageMounterError; any other at once.
        """
        while True:
            try:
                self.clean(remove_rw=remove_rw, allow_lazy=allow_lazy)
            except ImageMounterError:
                if retries <= 0:
                    raise
                retries -= 1
                time.sleep(sleep_interval)
            else:
                return

    def reconstruct(self) -> Volume:
        """Put the mounted volumes into the root volume's tree, where they were mounted before.

        Goes by last mount points, by the root's fstab and by what is in the volumes; nothing is ever put
        outside the root. Returns the root volume. Raises NoRootFoundError.
        """
        return reconstruct(self.get_volumes())


def _images(path: str | os.PathLike[str]) -> list[str]:
    """What a path stands for: itself, or the images in the folder that it is."""
    plain = os.path.expandvars(os.path.expanduser(os.fspath(path)))
    return [segments.paths[0] for segments in gather([plain])] if os.path.isdir(plain) else [plain]
