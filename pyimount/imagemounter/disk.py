"""One image, and the volumes on it."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from pyimount.exceptions import ArgumentError, ImageMounterError, MountError
from pyimount.imagemounter.arguments import either_order
from pyimount.imagemounter.case import Case
from pyimount.imagemounter.scans import View, below, layer_of_disk, why_unreadable
from pyimount.imagemounter.session import Part
from pyimount.imagemounter.volume import Volume, VolumeSystem
from pyimount.imagemounter.words import BLOCK_SIZE, DISK_MOUNTERS, disk_type, vstype_hint
from pyimount.layers import DIRECTORY, DiskLayer, Scan
from pyimount.sources.segments import gather

logger = logging.getLogger(__name__)


class Disk:
    """A disk image. Making one neither opens nor mounts it; ``init`` does both.

    ``parser``: the ImageParser that it belongs to; None: it stands for itself. ``path``: any of its files.
    ``index``: what the indexes of its volumes begin with; None for none. ``offset``: bytes; what is looked at
    begins there.
    ``block_size``: bytes in a sector. ``read_write``: what is written goes into a cache.
    ``vstype``: the type of its partition table. ``disk_mounter``, ``volume_detector``: as for ImageParser.

    Attributes besides: ``paths``, all its files; ``volumes``, the VolumeSystem of what stands directly on it;
    ``method``, how it was mounted, after that; ``mountpoint``, the folder with its bare bytes, ``rwpath``,
    that with what was written, both after ``mount``; ``exception``, why it could not be mounted;
    ``was_mounted``, ``is_mounted``.
    """

    def __init__(  # noqa: PLR0917
        self,
        parser: Any,
        path: str | os.PathLike[str],
        index: str | int | None = None,
        offset: int = 0,
        block_size: int = BLOCK_SIZE,
        read_write: bool = False,
        vstype: str = "",
        disk_mounter: str = "auto",
        volume_detector: str = "auto",
    ) -> None:
        self.parser = parser
        self.case: Case = getattr(parser, "case", None) or Case()
        plain = os.path.abspath(os.path.expandvars(os.path.expanduser(os.fspath(path))))
        images = gather([plain])
        if len(images) != 1:
            raise ArgumentError(f"{plain} holds {len(images)} images: name one")
        self.paths: list[str] = list(images[0].paths)
        self.index = None if index is None else str(index)
        self.offset = offset
        self.block_size = block_size
        self.read_write = read_write
        self.disk_mounter = disk_mounter or "auto"
        self.method = self.disk_mounter
        self.mountpoint: str | None = None
        self.rwpath: str | None = None
        self.exception: ImageMounterError | None = None
        self.was_mounted = False
        self.is_mounted = False
        self.second_opinion: list[str] | None = None
        """What ``dissect`` sees otherwise than pyimount; None where it was not asked."""
        self._part: Part | None = None
        self._raw_path: str | None = None
        self._others_said = False
        self.volumes = VolumeSystem(parent=self, vstype=vstype, volume_detector=volume_detector)
        self.view = self.view_with(self.volumes.vstype)

    def __str__(self) -> str:
        return os.path.basename(self.paths[0])

    def __repr__(self) -> str:
        return f"<Disk {self.index or ''}: {self}>"

    def __getitem__(self, index: str | int) -> Volume:
        """The volume of this index, with or without the disk's; raises KeyError."""
        return self.volumes[index]

    # How it is seen.

    def view_with(self, vstype: str | None) -> View:
        """How this disk is looked at when its partition table is to be of this type."""
        return View(
            offset=self.offset or None,
            vstype=vstype_hint(vstype),
            sector_size=None if self.block_size == BLOCK_SIZE else self.block_size,
        )

    def scan(self) -> Scan:
        """The scan in which this disk is; made when there is none yet.

        Raises SubsystemError, ArgumentError.
        """
        scan = self.case.scan(self, self.view)
        of_file = [layer for layer in scan.disks if layer.paths[0] == self.paths[0]]
        if len(of_file) > 1 and not self._others_said:
            self._others_said = True
            logger.warning(
                "%s holds %d disks, and this interface shows the first alone; 'pyimount detect' lists, and"
                " 'pyimount mount' mounts all of them", self, len(of_file),
            )  # fmt: skip
        return scan

    @property
    def layer(self) -> DiskLayer:
        """This disk in its scan."""
        return layer_of_disk(self.scan(), self.paths[0])

    def get_disk_type(self) -> str:
        """What kind of image this is: encase, vmdk, qcow2, compressed, dd, or another word."""
        return disk_type(self.layer)

    # Its bytes.

    def mount(self) -> bool:
        """Make the bare bytes of the disk readable for every program: ``get_raw_path`` is their path then.

        A raw image is so already, and of a folder of files there are none. Whether it succeeded;
        ``exception`` says why not. Raises ArgumentError for a ``disk_mounter`` that there is none of.
        """
        if self.is_mounted:
            return True
        if self.disk_mounter not in DISK_MOUNTERS:
            raise ArgumentError(f"there is no disk mounter {self.disk_mounter!r}")
        self.exception = None
        try:
            layer = self.layer
            if layer.is_folder:
                self.method = "dummy"
                self.was_mounted = self.is_mounted = True
                return True
            if layer.size is None:
                raise MountError(why_unreadable(layer))
            if self.read_write and self.rwpath is None:
                self.rwpath = tempfile.mkdtemp(prefix="image_mounter_rw_cache_")
            self._show(layer)
        except ImageMounterError as error:
            logger.warning("%s cannot be mounted: %s", self, error)
            self.exception = error
            return False
        self.was_mounted = self.is_mounted = True
        return True

    def _show(self, layer: DiskLayer) -> None:
        scan = self.scan()
        way = self.case.way_to_show(self, self.view)
        self._part, path = self.case.session(scan).show(scan, layer, way)
        usual = "dummy" if self._part is None else "user"
        self.method = usual if self.disk_mounter == "auto" else self.disk_mounter
        self._raw_path = path
        self.mountpoint = os.path.dirname(path)

    def get_raw_path(self) -> str | None:
        """The path of the disk's bare bytes; None where nothing shows them yet."""
        if self._raw_path is not None:
            return self._raw_path
        scan = self.case.seen(self, self.view)
        kind = None if scan is None else layer_of_disk(scan, self.paths[0]).container.get("type")
        plain = (
            self.disk_mounter == "dummy"
            or kind == DIRECTORY
            or (kind == "raw" and self.disk_mounter == "auto")
        )
        return self.paths[0] if plain and len(self.paths) == 1 else None

    def get_fs_path(self) -> str | None:
        """As ``get_raw_path``: a volume's own device is ``Volume.get_raw_path``."""
        return self.get_raw_path()

    @property
    def _name(self) -> str:
        """What imagemounter's own programs read: the name of the image."""
        return str(self)

    @property
    def _paths(self) -> dict[str, str]:
        """What imagemounter's own programs read: devices that show the disk, by what made them."""
        is_device = self.mountpoint is not None and (self._raw_path or "").startswith("/dev/nbd")
        return {"nbd": self._raw_path} if is_device and self._raw_path is not None else {}

    # Its volumes.

    @either_order(2)
    def init(
        self,
        single: bool | None = None,
        only_mount: Iterable[str] | None = None,
        swallow_exceptions: bool = True,
        *,
        skip_mount: Iterable[str] | None = None,
    ) -> Iterator[Volume]:
        """Mount the disk and its volumes, and yield each as it is done; the arguments are ImageParser.init's.

        Raises MountError, or what else kept it, when the image cannot be read.
        """
        mounted = self.mount()
        if not mounted and not swallow_exceptions:
            raise self.exception or MountError(f"{self} cannot be mounted")
        count = 0
        for volume in self.init_volumes(
            single, only_mount, swallow_exceptions=swallow_exceptions, skip_mount=skip_mount
        ):
            count += 1
            yield volume
        if not mounted and not count:
            # No volume is there to say it.
            raise self.exception or MountError(f"{self} cannot be mounted")

    def detect_volumes(self, single: bool | None = None) -> Iterator[Volume]:
        """Find the volumes that stand directly on the disk, and yield them. Needs no root and no mount.

        ``single``: True: the disk is one volume; False: only what a partition table has; None: that, and
        the disk as one volume where there is no table. What was found before is not looked for again.
        """
        if not self.volumes.has_detected:
            before = list(self.volumes)
            yield from self.volumes.detect_all(single)
            yield from (volume for volume in before if volume.local is None)
        else:
            yield from list(self.volumes)

    @either_order(2)
    def init_volumes(
        self,
        single: bool | None = None,
        only_mount: Iterable[str] | None = None,
        swallow_exceptions: bool = True,
        *,
        skip_mount: Iterable[str] | None = None,
    ) -> Iterator[Volume]:
        """Find and mount the volumes, and yield each as it is done; the arguments are ImageParser.init's."""
        only = None if only_mount is None else tuple(only_mount)
        skip = None if skip_mount is None else tuple(skip_mount)
        for volume in self.detect_volumes(single=single):
            yield from volume.init(only, swallow_exceptions=swallow_exceptions, skip_mount=skip)

    mount_volumes = init_volumes

    @either_order(1)
    def init_single_volume(
        self,
        only_mount: Iterable[str] | None = None,
        swallow_exceptions: bool = True,
        *,
        skip_mount: Iterable[str] | None = None,
    ) -> Iterator[Volume]:
        """``init_volumes`` with the disk as one volume."""
        yield from self.init_volumes(
            True, only_mount, swallow_exceptions=swallow_exceptions, skip_mount=skip_mount
        )

    @either_order(1)
    def init_multiple_volumes(
        self,
        only_mount: Iterable[str] | None = None,
        swallow_exceptions: bool = True,
        *,
        skip_mount: Iterable[str] | None = None,
    ) -> Iterator[Volume]:
        """``init_volumes`` with only what a partition table has."""
        yield from self.init_volumes(
            False, only_mount, swallow_exceptions=swallow_exceptions, skip_mount=skip_mount
        )

    def get_volumes(self) -> list[Volume]:
        """All volumes that were found so far, each after those within it."""
        return [inner for volume in self.volumes for inner in volume.get_volumes()]

    # What was written, and the end.

    def rw_active(self) -> bool:
        """Whether anything was written into the cache."""
        from pyimount.fuse.cache import rw_active

        if self.rwpath is None or not os.path.isdir(self.rwpath):
            return False
        return rw_active(self.rwpath)

    def unmount(
        self,
        remove_rw: bool = False,
        allow_lazy: bool = False,
    ) -> None:
        """Unmount all volumes on the disk, arrays that it is a part of included, and the disk itself.

        The arguments are ImageParser.clean's. Raises SubsystemError when something is in use, CleanupError
        when a folder is left.
        """
        first: ImageMounterError | None = None
        for volume in [*self._standing_on_it(), *self.get_volumes()]:
            try:
                volume.unmount(allow_lazy=allow_lazy)
            except ImageMounterError as error:
                first = first or error
        if first is not None:
            raise first
        if self._part is not None:
            self._part.take_down(lazy=allow_lazy)
        self._part = self._raw_path = self.mountpoint = None
        self.is_mounted = False
        if self.rwpath is not None and (remove_rw or not self.rw_active()):
            shutil.rmtree(self.rwpath, ignore_errors=True)
            self.rwpath = None

    def _standing_on_it(self) -> Iterator[Volume]:
        """Volumes of other disks that are made of this one's bytes, too."""
        scan = self.case.seen(self, self.view)
        if scan is None:
            return
        own = layer_of_disk(scan, self.paths[0]).id
        for volume in self.case.get_volumes():
            layer = volume.seen_layer()
            if volume.disk is self or layer is None or volume.view != self.view:
                continue
            if own in below(scan, layer):
                yield volume
