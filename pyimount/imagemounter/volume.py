"""A volume, and a system of volumes: one within the other, as deep as they lie.

What they find is in the scans of their case, and what they do on the machine is a part of its session.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from pyimount.exceptions import (
    ArgumentError,
    ImageMounterError,
    IncorrectFilesystemError,
    KeyInvalidError,
    NotMountedError,
    UnsupportedFilesystemError,
)
from pyimount.imagemounter import scans
from pyimount.imagemounter.arguments import either_order
from pyimount.imagemounter.case import Case, why_bad
from pyimount.imagemounter.descriptions import FileSystem
from pyimount.imagemounter.failures import raised
from pyimount.imagemounter.in_scan import InScan
from pyimount.imagemounter.on_machine import OnMachine
from pyimount.imagemounter.scans import View, local_index
from pyimount.imagemounter.words import (
    CONTAINERS,
    FILE_SYSTEM_TYPES,
    VOLUME_DETECTORS,
    VOLUME_SYSTEM_TYPES,
    fstype_of,
    info_of,
    vstype_hint,
)
from pyimount.layers import DiskLayer, Scan, VolumeLayer
from pyimount.planning.recipes import format_called

logger = logging.getLogger(__name__)


class OnDisk(Protocol):
    """The disk that a volume is on, as far as a volume knows it."""

    parser: Any
    case: Case
    index: str | None
    paths: list[str]
    offset: int
    block_size: int
    read_write: bool
    rwpath: str | None
    disk_mounter: str
    is_mounted: bool
    exception: ImageMounterError | None
    second_opinion: list[str] | None
    view: View
    volumes: "VolumeSystem"

    @property
    def layer(self) -> DiskLayer:
        """The disk in its scan."""

    def scan(self) -> Scan:
        """The scan in which the disk is."""

    def view_with(self, vstype: str | None) -> View:
        """How the disk is looked at when its partition table is to be of this type."""

    def get_fs_path(self) -> str | None:
        """The path of the disk's bare bytes."""

    def get_volumes(self) -> "list[Volume]":
        """All volumes that were found so far."""


class VolumeSystem:
    """The volumes of one disk or volume: of a partition table, a volume group, an array, a lock.

    ``parent``: the Disk or Volume. ``vstype``: the type of its table; else what the parser has for the
    parent's index. ``volume_detector``: as for ImageParser.

    Attributes besides: ``volumes``, a plain list, to which volumes may be added; ``volume_source``,
    ``single`` or ``multi`` once volumes were found; ``has_detected``; ``detection``, the volume detector.
    """

    def __init__(self, parent: "OnDisk | Volume", vstype: str = "", volume_detector: str = "") -> None:
        self.parent = parent
        self.disk: OnDisk = parent.disk if isinstance(parent, Volume) else parent
        told = self.disk.case.vstypes
        self.vstype = vstype or told.get(str(parent.index)) or told.get("*") or "detect"
        self.volume_detector = volume_detector or "auto"
        self.detection = self.volume_detector
        self.args: dict[str, Any] = {}
        self.volume_source = ""
        self.volumes: list[Volume] = []
        self.has_detected = False

    def __iter__(self) -> "Iterator[Volume]":
        return iter(self.volumes)

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, item: str | int) -> "Volume":
        """The volume whose index is ``item`` or ends in it after a period; raises KeyError.

        A number that is no volume's index is a place in ``volumes``, counted from 0.
        """
        for volume in self.volumes:
            if volume.index == str(item) or volume.index.endswith(f".{item}"):
                return volume
        if isinstance(item, int) and 0 <= item < len(self.volumes):
            return self.volumes[item]
        raise KeyError(item)

    def detect_volumes(
        self,
        vstype: str | None = None,
        method: str | None = None,
        force: bool = False,
    ) -> "Iterator[Volume]":
        """Find the volumes, and yield them; needs no root and no mount.

        ``vstype``: the type of the table, instead of the attribute; ``vss``: shadow copies. ``method``:
        instead of ``detection``; ``single``: a disk as one volume. ``force``: look again although that was
        done; volumes that are found again stay the objects that they were, and those that are gone are left
        out.

        Raises ArgumentError for a method that there is none of.
        """
        if self.has_detected and not force:
            logger.info("the volumes of %s were found already", self.parent)
            return
        how = method or self.detection
        if how != "single" and how not in VOLUME_DETECTORS:
            raise ArgumentError(f"there is no volume detector {how!r}")
        told = vstype or self.vstype
        if how == "single":
            yield from self._detect_single()
        elif told == "vss":
            yield from self.shadow_copies()
            return
        else:
            yield from self._detect(told)
            if not self.volumes and told == "detect" and self.disk.case.vstypes.get("?"):
                yield from self._detect(self.disk.case.vstypes["?"])
            if how == "dissect" and self.parent is self.disk:
                self._ask_dissect()
        self.has_detected = True

    def detect_all(self, single: bool | None) -> "Iterator[Volume]":
        """Find the volumes of a disk, as ``Disk.detect_volumes`` says."""
        if single:
            yield from self.detect_volumes(method="single")
            return
        yield from self.detect_volumes()
        if single is None and not self.volumes:
            yield from self.detect_volumes(method="single", force=True)

    def preload_volume_data(self) -> None:
        """Have the scan made that all of this comes from."""
        self.disk.scan()

    # What a scan has.

    def _detect_single(self) -> "Iterator[Volume]":
        if self.parent is not self.disk:
            return
        disk = self.disk
        disk.view = disk.view_with(self.vstype)
        if disk.layer.pttype is not None:
            # Tables are looked for in volumes, too, and so not at all only where this disk has one.
            disk.view = disk.view_with("none")
        yield from self._take([layer for layer in self._on_disk() if layer.flag == "alloc"], "single")

    def _detect(self, vstype: str) -> "Iterator[Volume]":
        if not isinstance(self.parent, Volume):
            self.disk.view = self.disk.view_with(vstype)
            scan = self.disk.scan()
            table = [layer for layer in self._on_disk() if scan.parents(layer)[0].pttype is not None]
            yield from self._take(table, "multi")
            return
        if vstype_hint(vstype) is not None:
            self.parent.look_for_table(vstype)
        scan, layer = self.parent.scan_and_layer()
        inner = [each for each in scan.children(layer) if each.recipe.kind != "vss" and not each.hidden]
        yield from self._take(inner, "multi")

    def _on_disk(self) -> list[VolumeLayer]:
        """The volumes that stand directly on the disk, from its offset on."""
        scan = self.disk.scan()
        found = list(scan.children(scans.layer_of_disk(scan, self.disk.paths[0])))
        if self.disk.offset and found and found[0].pttype is not None:
            return list(scan.children(found[0]))
        return found

    def shadow_copies(self) -> "list[Volume]":
        """The shadow copies that an NTFS volume keeps of itself."""
        if not isinstance(self.parent, Volume):
            return []
        scan, layer = self.parent.scan_and_layer()
        copies = [each for each in scan.children(layer) if each.recipe.kind == "vss"]
        return [self._found(scan, each) for each in copies]

    def _take(self, layers: list[VolumeLayer], source: str) -> "Iterator[Volume]":
        """A Volume for each layer; those that were there stay, if they are found again or built by hand."""
        scan = self.parent.scan_and_layer()[0] if isinstance(self.parent, Volume) else self.disk.scan()
        kept = [self._found(scan, layer) for layer in layers]
        gone = [
            each for each in self.volumes if each not in kept and each.local is not None and not each.is_vss
        ]
        self.volumes[:] = [each for each in self.volumes if each not in gone]
        if kept:
            self.volume_source = source
        yield from kept

    def _found(self, scan: Scan, layer: VolumeLayer) -> "Volume":
        view: View = self.parent.view
        local = local_index(scan, layer)
        place = (scans.offset_in_source(scan, layer), layer.size or 0)
        for volume in self.volumes:
            known = volume.local == local and volume.view == view
            by_hand = volume.local is None or volume.view.alone
            if known or (by_hand and (volume.offset, volume.size) == place):
                volume.settle(view, scan, layer)
                return volume
        made = Volume(
            disk=self.disk,
            parent=self.parent,
            index=self._index(local),
            size=place[1],
            offset=place[0],
            flag=layer.flag,
            slot=0 if layer.slot is None else layer.slot + 1,
            volume_detector=self.detection,
        )
        made.settle(view, scan, layer)
        self.volumes.append(made)
        return made

    def _index(self, local: str) -> str:
        """The index of a volume under the one that its parent has here."""
        if not isinstance(self.parent, Volume):
            own = local.partition(".")[2] if self.disk.offset and "." in local else local
            return own if self.disk.index is None else f"{self.disk.index}.{own}"
        above = self.parent.local or ""
        return f"{self.parent.index}.{local.removeprefix(above).lstrip('.')}"

    def _ask_dissect(self) -> None:
        from pyimount.imagemounter.second_opinion import differences

        disk = self.disk
        partitions = [
            (each.index, each.offset, each.size) for each in self if each.flag == "alloc" and each.slot
        ]
        disk.second_opinion = differences(
            disk.scan(),
            disk.layer,
            disk.get_fs_path(),
            partitions,
            offset=disk.offset,
            sector=disk.block_size,
        )


class Volume(InScan, OnMachine):
    """A volume of a disk, or of another volume.

    Making one looks at nothing; ``init`` finds out what it is, and mounts it.

    All arguments but the first are to be named. ``disk``: the Disk. ``parent``: the Disk or Volume that it
    lies in; without one, the disk. ``index``: in its disk; those of what lies within it follow after a
    period. ``size``, ``offset``: bytes, from the start of the disk (of what is decrypted or assembled, for
    what lies in that); ``size`` 0: to the end. ``flag``: ``alloc``, ``unalloc`` or ``meta``. ``slot``: its
    number in the table, from 1; 0: it has none. ``fstype``: what to take it for, ``?TYPE`` where nothing is
    recognised; else what the parser has for its index. ``key``: as in ImageParser's ``keys``. ``vstype``,
    ``volume_detector``: of the volumes in it.

    Attributes besides: ``block_size``, bytes in a sector; ``info``, a dict, with what is known of:
    ``fsdescription``, ``statfstype``, ``label``, ``version``, ``lastmountpoint``, ``guid`` (of its type, in
    the table), ``uuid``, ``part_uuid``, ``volume_group``, ``raid_status``, ``problems``; ``volumes``, the
    VolumeSystem of what lies in it; ``mountpoint``, ``loopback``: the folder and the device while it is
    mounted, else None; ``was_mounted``, ``is_mounted``, which are also said of what is opened, not mounted: a
    lock, an array, a volume group; ``exception``: why it could not be mounted, where ``init`` swallowed that,
    else None; ``bindmounts``: where else it is shown.
    """

    def __init__(  # noqa: PLR0917
        self,
        disk: OnDisk,
        parent: "OnDisk | Volume | None" = None,
        index: str = "0",
        size: int = 0,
        offset: int = 0,
        flag: str = "alloc",
        slot: int = 0,
        fstype: str = "",
        key: str = "",
        vstype: str = "",
        volume_detector: str = "auto",
    ) -> None:
        super().__init__()
        self.disk: OnDisk = disk
        self.parent: OnDisk | Volume = disk if parent is None else parent
        self.case = disk.case
        self.index = str(index)
        self.size = size
        self.offset = offset
        self.flag = flag
        self.slot = slot
        self.block_size = disk.block_size
        self.key = key or self.case.key_for(self.index)
        self.volumes = VolumeSystem(parent=self, vstype=vstype, volume_detector=volume_detector)
        self.fstype = fstype or self._fstype_of_case()
        if self.fstype in VOLUME_SYSTEM_TYPES:
            self.volumes.vstype, self.fstype = self.fstype, "volumesystem"
        self.info: dict[str, Any] = {}
        self.was_mounted = False
        self.is_mounted = False
        self.exception: ImageMounterError | None = None
        self.stats = True
        self.args: dict[str, Any] = {}
        self.local = None
        self.view: View = disk.view
        self._determined: str | None = None
        self._fallback = ""

    def _fstype_of_case(self) -> str:
        told = self.case.fstypes
        named = told.get(self.index) or told.get("*")
        return named or (f"?{told['?']}" if told.get("?") else "")

    def __getitem__(self, index: str | int) -> "Volume":
        """The volume of this index within it, with or without its own; raises KeyError."""
        return self.volumes[index]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "key": ""}

    # What the case has.

    @property
    def fstypes(self) -> "dict[str, str | None]":
        """The parser's."""
        return self.case.fstypes

    @property
    def pretty(self) -> bool:
        """The parser's."""
        return self.case.pretty

    @property
    def mountdir(self) -> str | None:
        """The parser's."""
        return self.case.mountdir

    @property
    def filesystem(self) -> FileSystem:
        """What it holds: ``filesystem.type`` is ``fstype``."""
        return FileSystem(self.determine_fs_type())

    # What it is.

    def determine_fs_type(self) -> str:
        """What it holds, in imagemounter's words: ext, ntfs, fat, lvm, luks, volumesystem …; sets ``fstype``.

        A ``fstype`` that was named is kept. What nothing recognises is what the fallback says, else
        ``unknown``.
        """
        if self.fstype in VOLUME_SYSTEM_TYPES:
            self.volumes.vstype, self.fstype = self.fstype, "volumesystem"
        if self._is_named():
            return self.fstype
        _, layer = self.scan_and_layer()
        if self.fstype.startswith("?"):
            self._fallback = self.fstype.removeprefix("?")
        self.fstype = self._determined = fstype_of(layer) or self._fallback or "unknown"
        return self.fstype

    def _is_named(self) -> bool:
        """Whether the caller said what it holds."""
        return self.fstype != self._determined and self._is_word(self.fstype)

    @staticmethod
    def _is_word(fstype: str) -> bool:
        if not fstype or fstype.startswith("?"):
            return False
        return fstype in FILE_SYSTEM_TYPES or fstype in ("swap", "none") or format_called(fstype) is not None

    def load_fsstat_data(self, timeout: float = 3) -> None:  # noqa: ARG002
        """Fill ``info``; nothing has to be started for that, and ``timeout`` is not needed."""
        self.info.update(info_of(self.scan_and_layer()[1]))

    def get_volumes(self) -> "list[Volume]":
        """All volumes in it that were found so far, and itself, last."""
        return [*(inner for volume in self.volumes for inner in volume.get_volumes()), self]

    # Its bytes.

    def get_raw_path(self, include_self: bool = False) -> str | None:
        """The path of what this volume lies in at its ``offset``; None where nothing shows that.

        That is the disk's (``Disk.get_fs_path``), or what a lock, an array, a volume group or a shadow copy
        gives. ``include_self``: of a lock or an array, what it gives rather than what it lies in.
        """
        if include_self:
            for inner in self.volumes:
                layer = inner.seen_layer()
                if layer is not None and layer.recipe.kind not in ("slice", "none", "lvm2", "vss"):
                    return inner.show()
        volume: OnDisk | Volume = self
        while isinstance(volume, Volume):
            if volume.scan_and_layer()[1].recipe.kind not in ("slice", "none"):
                return volume.show()
            volume = volume.parent
        return self.disk.get_fs_path()

    # Mounting.

    @either_order(1)
    def init(
        self,
        only_mount: Iterable[str] | None = None,
        swallow_exceptions: bool = True,
        *,
        skip_mount: Iterable[str] | None = None,
    ) -> "Iterator[Volume]":
        """Mount it, and yield it, or else the volumes in it, each as it is done.

        ``only_mount``, ``skip_mount``: indexes, labels or last mount points, of volumes or of what they lie
        in. ``swallow_exceptions``: what keeps a volume from being mounted is then its ``exception``.
        ``skip_mount`` may also stand second, before ``swallow_exceptions``, as imagemounter has it.
        """
        only = None if only_mount is None else [str(name) for name in only_mount]
        skip = [str(name) for name in skip_mount or ()]
        if swallow_exceptions:
            self.exception = None
        try:
            if self._should_mount(only, skip):
                self.init_volume()
        except ImageMounterError as error:
            if not swallow_exceptions:
                raise
            self.exception = error
        inner = list(self.volumes)
        if not inner or self._holds_files():
            yield self
        for volume in inner:
            if not volume.is_vss:
                yield from volume.init(only, swallow_exceptions=swallow_exceptions, skip_mount=skip)

    def _holds_files(self) -> bool:
        """Whether it was to be mounted itself, whatever else is in it."""
        return (
            self.mountpoint is not None
            or (self.exception is not None)
            or all(volume.is_vss for volume in self.volumes)
        )

    def _should_mount(
        self, only_mount: Sequence[str] | None = None, skip_mount: Sequence[str] | None = None
    ) -> bool:
        """Whether it, or something in it, is to be mounted; the arguments are those of ``init``."""
        above: list[Volume] = [self]
        while isinstance(above[-1].parent, Volume):
            above.append(above[-1].parent)
        names = {str(name) for volume in above for name in volume.names() if name}
        if names & set(skip_mount or ()):
            return False
        if only_mount is None or names & set(only_mount):
            return True
        if self.flag != "alloc" or self.local is None:
            return False
        scan, layer = self.scan_and_layer()
        for inner in scan.walk(layer):
            index = self.index + local_index(scan, inner).removeprefix(self.local)
            if {index, inner.label, inner.name, inner.last_mountpoint} & set(only_mount):
                return True
        return False

    def names(self) -> tuple[str | None, ...]:
        """What a caller may call it by."""
        return self.index, self.info.get("label"), self.info.get("lastmountpoint")

    def init_volume(self, fstype: str | None = None) -> bool:
        """Mount it, if it is neither unallocated nor mounted already; returns whether that was so."""
        if self.flag != "alloc" or self.is_mounted or (fstype or self.fstype) == "none":
            return False
        self.mount(fstype=fstype)
        self.detect_mountpoint()
        return True

    def mount(self, fstype: str | None = None) -> bool:
        """Mount it, or open what it holds.

        The volumes of a lock, an array or a volume group are then in ``volumes``.

        ``fstype``: what to take it for, instead of the attribute. Returns True.

        Raises NotMountedError when its parent is not mounted, KeyInvalidError when no key opens it,
        ArgumentError for a key that is not written as one, IncorrectFilesystemError when it is not what it
        was said to be, UnsupportedFilesystemError when nothing can mount it here, NoMountpointAvailableError,
        NoLoopbackAvailableError, and SubsystemError when the kernel or a program failed; each with a
        ``remedy`` where one is known. Nothing of it stands then.
        """
        if self.is_mounted:
            return True
        above = self.disk if self.local is not None and self.is_vss else self.parent
        if not above.is_mounted:
            why = f": {above.exception}" if above.exception is not None else ""
            raise NotMountedError(f"volume {self.index} cannot be mounted before {above!r}{why}")
        named = fstype or (self.fstype if self._is_named() else "")
        if named in VOLUME_SYSTEM_TYPES:
            self.volumes.vstype, named = named, "volumesystem"
        scan, layer = self.scan_and_layer()
        self.info.update(info_of(layer))
        is_ = fstype_of(layer)
        told = named or self.determine_fs_type()
        if told in CONTAINERS or (scans.is_container(scan, layer) and told == is_):
            self._open(scan, layer, told)
        else:
            self._mount_here(scan, layer, named if named == "unknown" else self._type_to_name(told, is_))
        self.was_mounted = self.is_mounted = True
        if named:
            self.fstype = told
        return True

    def _type_to_name(self, told: str, is_: str | None) -> str | None:
        """What the plan has to be told; None where it sees as much itself."""
        if told == is_:
            return None
        if told == "unknown" and not self._asks_for_unknown():
            return None
        return told

    def _asks_for_unknown(self) -> bool:
        told = self.case.fstypes
        return self.case.tries_unknown or "unknown" in (told.get(self.index), told.get("*"))

    def _open(self, scan: Scan, layer: VolumeLayer, told: str) -> None:
        """Find the volumes in what is not mounted itself."""
        is_ = fstype_of(layer)
        if told != is_ and not (told == "volumesystem" and (layer.pttype or self.volumes.vstype != "detect")):
            raise IncorrectFilesystemError(f"volume {self.index} holds {is_ or 'nothing known'}, not {told}")
        if layer.locked and not scan.children(layer):
            raise self._why_locked(layer)
        if list(self.volumes.detect_volumes(force=True)) or told == "volumesystem":
            return
        group = layer.group
        if group is not None and group.volume is not None:
            return  # It stands under the first member.
        why = next((problem.message for problem in layer.problems), None)
        raise UnsupportedFilesystemError(why or f"nothing here opens {layer.type}")

    def _why_locked(self, layer: VolumeLayer) -> ImageMounterError:
        key = self.key or self.case.key_for(self.index)
        why = next((each.message for each in layer.problems if each.code == "wrong-key"), None)
        bad = why_bad(key) if key else None
        if bad is not None:
            return ArgumentError(f"volume {self.index}: {bad}")
        return raised(
            KeyInvalidError, why or f"volume {self.index} is locked", f'keys={{"{self.index}": "p:…"}}'
        )

    def detect_volume_shadow_copies(self) -> "list[Volume]":
        """The shadow copies of an NTFS volume, the oldest first; they are in ``volumes`` then, to be mounted.

        No program is needed for that. There are none on other volumes.
        """
        return self.volumes.shadow_copies()

    # The end.

    def unmount(self, allow_lazy: bool = False) -> None:
        """Unmount it, all that is in it, and all that it is a part of: an array, a volume group.

        What the ledger has of it is taken down, whichever process mounted it. Raises SubsystemError when
        something is in use, CleanupError when a folder is left; ``allow_lazy`` takes a mount in use from
        sight at once.
        """
        first: ImageMounterError | None = None
        for volume in [*self.volumes, *self._made_of_it()]:
            try:
                volume.unmount(allow_lazy=allow_lazy)
            except ImageMounterError as error:
                first = first or error
        self._take_down(lazy=allow_lazy)
        if first is not None:
            raise first
        self.is_mounted = False

    def _made_of_it(self) -> "Iterator[Volume]":
        """The volumes of arrays and groups that it is a member of."""
        scan = self.case.seen(self.disk, self.view)
        own = self.seen_layer()
        if scan is None or own is None or own.group is None:
            return
        inside = set(map(id, self.get_volumes()))
        for volume in self.case.get_volumes():
            layer = volume.seen_layer()
            if layer is None or volume.view != self.view or id(volume) in inside:
                continue
            if own.id in layer.parents:
                yield volume
