"""A volume: what it is, where it lies, what is in it, and its mount."""

import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pyimount.exceptions import (
    ArgumentError,
    CommandNotFoundError,
    ImageMounterError,
    IncorrectFilesystemError,
    KeyInvalidError,
    MountError,
    NoMountpointAvailableError,
    NotMountedError,
    SubsystemError,
    UnsupportedFilesystemError,
)
from pyimount.execution import tools
from pyimount.execution.errors import NoSession
from pyimount.imagemounter import acting, views
from pyimount.imagemounter.views import View
from pyimount.imagemounter.volume_system import VolumeSystem
from pyimount.imagemounter.words import (
    CONTAINERS,
    FILE_SYSTEM_TYPES,
    VOLUME_SYSTEM_TYPES,
    fstype_of,
    info_of,
)
from pyimount.layers import Scan, VolumeLayer
from pyimount.mounting import mounting
from pyimount.planning.naming import Naming
from pyimount.planning.recipes import format_called

if TYPE_CHECKING:
    from pyimount.imagemounter.disk import Disk

logger = logging.getLogger(__name__)

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_OVER = 99


class FileSystem:
    """What a volume holds. ``type``: as ``Volume.fstype`` has it."""

    def __init__(self, type: str) -> None:  # noqa: A002
        self.type = type

    def __str__(self) -> str:
        return self.type

    def __repr__(self) -> str:
        return f"<FileSystem: {self.type}>"


class Volume:
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
        disk: "Disk",
        parent: "Disk | Volume | None" = None,
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
        self.disk = disk
        self.parent: Disk | Volume = disk if parent is None else parent
        self.index = str(index)
        self.size = size
        self.offset = offset
        self.flag = flag
        self.slot = slot
        self.block_size = disk.block_size
        self.key = key or self._told(disk.parser.keys) or ""
        self.volumes = VolumeSystem(parent=self, vstype=vstype, volume_detector=volume_detector)
        self.fstype = fstype or self._fstype_of_parser()
        if self.fstype in VOLUME_SYSTEM_TYPES:
            self.volumes.vstype, self.fstype = self.fstype, "volumesystem"
        self.info: dict[str, Any] = {}
        self.mountpoint: str | None = None
        self.loopback: str | None = None
        self.was_mounted = False
        self.is_mounted = False
        self.exception: ImageMounterError | None = None
        self.bindmounts: list[str] = []
        self.stats = True
        self.args: dict[str, Any] = {}
        self.local: str | None = None
        """Its index in the scan, without the disk's; None while it is not known where it stands there."""
        self.view: View = disk.view
        self._session: str | None = None
        self._raw: tuple[str, str] | None = None
        self._determined: str | None = None
        self._fallback = ""
        self._guessed: str | None = None

    def _told(self, values: "dict[str, Any]") -> Any:
        return values.get(self.index) or values.get("*") or values.get("?")

    def _fstype_of_parser(self) -> str:
        told = self.disk.parser.fstypes
        named = told.get(self.index) or told.get("*")
        return named or (f"?{told['?']}" if told.get("?") else "")

    def __str__(self) -> str:
        return f"{self.index}:{self.info.get('fsdescription') or '-'}"

    def __repr__(self) -> str:
        return f"<Volume {self}>"

    def __getitem__(self, index: str | int) -> "Volume":
        """The volume of this index within it, with or without its own; raises KeyError."""
        return self.volumes[index]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "key": ""}

    # The constructor's values, and what the parser has.

    @property
    def fstypes(self) -> "dict[str, str | None]":
        """The parser's."""
        return self.disk.parser.fstypes

    @property
    def pretty(self) -> bool:
        """The parser's."""
        return self.disk.parser.pretty

    @property
    def mountdir(self) -> str | None:
        """The parser's."""
        return self.disk.parser.mountdir

    @property
    def numeric_index(self) -> tuple[int, ...]:
        """The index as numbers, to sort by; empty when it is none."""
        parts = self.index.split(".")
        return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()

    @property
    def filesystem(self) -> FileSystem:
        """What it holds: ``filesystem.type`` is ``fstype``."""
        return FileSystem(self.determine_fs_type())

    # Where it stands in a scan.

    def settle(self, view: View, scan: Scan, layer: VolumeLayer) -> None:
        """This is where it stands."""
        self.view = view
        self.local = views.local_index(scan, layer)
        self.info.update(info_of(layer))

    def scan_and_layer(self) -> tuple[Scan, VolumeLayer]:
        """The scan, and this volume in it. Raises SubsystemError, MountError when it is not there."""
        if self.local is None:
            self._find()
        scan = self.disk.parser.views.scan(self.disk, self.view)
        layer = self._in(scan)
        if layer is None:
            raise MountError(f"volume {self.index} is not to be found on {self.disk}")
        return scan, layer

    def seen_layer(self) -> VolumeLayer | None:
        """This volume in the scan that there is already."""
        scan = self.disk.parser.views.seen(self.disk, self.view)
        return None if scan is None or self.local is None else self._in(scan)

    def _in(self, scan: Scan) -> VolumeLayer | None:
        return views.with_local_index(scan, views.layer_of_disk(scan, self.disk), self.local or "0")

    def _find(self) -> None:
        """Find what was built by hand: where the disk has a volume just there, else by looking there."""
        scan = self.disk.scan()
        disk = views.layer_of_disk(scan, self.disk)
        if disk.size is None:
            raise MountError(views.why_unreadable(disk))
        layer = views.finds(scan, disk, self)
        if layer is not None:
            self.settle(self.disk.view, scan, layer)
        else:
            self._look_here(None)

    def _look_here(self, vstype: str | None) -> None:
        view = View(offset=self.offset, size=self.size or None, vstype=vstype, alone=True)
        scan = self.disk.parser.views.scan(self.disk, view)
        self.local = "0"
        layer = self._in(scan)
        if layer is None:
            raise MountError(f"there is nothing at {self.offset} of {self.disk}")
        self.settle(view, scan, layer)

    def look_for_table(self, vstype: str) -> None:
        """Look at just this volume, for a partition table of this type."""
        _, layer = self.scan_and_layer()
        if layer.pttype != vstype and layer.disk_offset is not None:
            self._look_here(vstype)

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

    def get_description(
        self,
        with_size: bool = True,
        with_index: bool = True,
    ) -> str:
        """Size, index, file system, label and version in a line."""
        kind = self.info.get("statfstype") or self.info.get("fsdescription") or "-"
        words = [
            self.get_formatted_size() if with_size and self.size else None,
            f"{self.index}:{kind}" if with_index else kind,
            self.info.get("label"),
            f"[{self.info['version']}]" if self.info.get("version") else None,
        ]
        return " ".join(word for word in words if word)

    def get_safe_label(self) -> str:
        """The label as a part of a path; empty where there is none, ``root`` for ``/``."""
        label = self.info.get("label") or ""
        if label == "/":
            return "root"
        safe = re.sub(r"[^\w.+@=~-]+", "_", label).lstrip("._-")
        return safe[:-1] if len(safe) > 2 and safe.endswith("_") else safe

    def get_formatted_size(self) -> str:
        """The size for people, two digits after the point: ``512 B``, ``1.5 GiB``."""
        size: float = self.size or 0
        unit = 0
        while size >= 1024 and unit < len(_UNITS) - 1:
            size /= 1024
            unit += 1
        return f"{int(size) if unit == 0 else round(size, 2)} {_UNITS[unit]}"

    def get_volumes(self) -> "list[Volume]":
        """All volumes in it that were found so far, and itself, last."""
        return [*(inner for volume in self.volumes for inner in volume.get_volumes()), self]

    @property
    def is_vss(self) -> bool:
        """Whether it is a shadow copy."""
        layer = self.seen_layer()
        return layer is not None and layer.recipe.kind == "vss"

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
        volume: Disk | Volume = self
        while isinstance(volume, Volume):
            if volume.scan_and_layer()[1].recipe.kind not in ("slice", "none"):
                return volume.show()
            volume = volume.parent
        return self.disk.get_fs_path()

    def show(self) -> str | None:
        """The path of a file with just its bytes, made when first asked for; None where it cannot be."""
        if self._raw is None and self.disk.is_mounted:
            scan, layer = self.scan_and_layer()
            session = mounting.new_session()
            keys = self.disk.parser.views.keyring(self.disk, self.view)
            policy = self.disk.policy().replaced(read_write=False)
            try:
                _, path = acting.show(scan, layer, session=session, policy=policy, keys=keys)
            except ImageMounterError as error:
                logger.warning("volume %s cannot be shown: %s", self.index, error)
                return None
            self._raw = session, path
        return None if self._raw is None else self._raw[1]

    # Mounting.

    def init(
        self,
        only_mount: Sequence[str] | None = None,
        swallow_exceptions: bool = True,
        *,
        skip_mount: Sequence[str] | None = None,
    ) -> "Iterator[Volume]":
        """Mount it, and yield it, or else the volumes in it, each as it is done.

        ``only_mount``, ``skip_mount``: indexes, labels or last mount points, of volumes or of what they lie
        in. ``swallow_exceptions``: what keeps a volume from being mounted is then its ``exception``.
        """
        only = None if only_mount is None else [str(name) for name in only_mount]
        skip = [str(name) for name in skip_mount or ()]
        if swallow_exceptions:
            self.exception = None
        try:
            if self._is_wanted(only, skip):
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
                yield from volume.init(only, swallow_exceptions, skip_mount=skip)

    def _holds_files(self) -> bool:
        """Whether it was to be mounted itself, whatever else is in it."""
        return (
            self.mountpoint is not None
            or (self.exception is not None)
            or all(volume.is_vss for volume in self.volumes)
        )

    def _is_wanted(self, only: list[str] | None, skip: list[str]) -> bool:
        """Whether it, or something in it, is to be mounted."""
        above: list[Volume] = [self]
        while isinstance(above[-1].parent, Volume):
            above.append(above[-1].parent)
        names = {str(name) for volume in above for name in volume.names() if name}
        if names & set(skip):
            return False
        if only is None or names & set(only):
            return True
        if self.flag != "alloc" or self.local is None:
            return False
        scan, layer = self.scan_and_layer()
        for inner in scan.walk(layer):
            index = self.index + views.local_index(scan, inner).removeprefix(self.local)
            if {index, inner.label, inner.name, inner.last_mountpoint} & set(only):
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
        if told in CONTAINERS or (_is_container(scan, layer) and told == is_):
            self._open(scan, layer, told)
        else:
            self._mount(scan, layer, named if named == "unknown" else self._type_to_name(told, is_))
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
        told = self.disk.parser.fstypes
        return self.disk.parser.tries_unknown or "unknown" in (told.get(self.index), told.get("*"))

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
        key = self.key or self._told(self.disk.parser.keys)
        why = next((each.message for each in layer.problems if each.code == "wrong-key"), None)
        bad = views.why_bad(key) if key else None
        if bad is not None:
            return ArgumentError(f"volume {self.index}: {bad}")
        return acting.raised(
            KeyInvalidError, why or f"volume {self.index} is locked", f'keys={{"{self.index}": "p:…"}}'
        )

    def _mount(self, scan: Scan, layer: VolumeLayer, fstype: str | None) -> None:
        called = self._name(scan, layer)
        shown, policy, cache = self.disk.how_to_mount(scan, layer, f"volume-{self.index}")
        self._session = mounting.new_session()
        try:
            done = acting.mount(
                shown,
                layer,
                session=self._session,
                policy=policy,
                keys=self.disk.parser.views.keyring(self.disk, self.view),
                fstype=fstype,
                folder=self._folder(),
                naming=called,
                cache=cache,
            )
        except ImageMounterError as error:
            self._session = None
            if fstype is not None and layer.type is not None and isinstance(error, SubsystemError):
                reason = f"volume {self.index} holds {fstype_of(layer)}, not {fstype}: {error}"
                raise IncorrectFilesystemError(reason) from error
            raise
        self.mountpoint = done.mountpoint
        self.loopback = done.device if (done.device or "").startswith("/dev/") else None

    def _folder(self) -> str | None:
        """The folder that the caller has for mountpoints, made where it is not there: it outlives a mount."""
        parser = self.disk.parser
        if parser.mountdir is None:
            return None
        folder = os.path.realpath(parser.mountdir)
        case = Naming(pretty=parser.pretty, casename=parser.casename).folder()
        try:
            for path in (folder, *([] if case is None else [os.path.join(folder, case)])):
                if not os.path.isdir(path):
                    os.makedirs(path, mode=0o700)
                    parser.made_folders.append(path)
        except OSError as error:
            raise NoMountpointAvailableError(f"{folder}: {error.strerror}") from error
        return folder

    def _name(self, scan: Scan, layer: VolumeLayer, suffix: str = "") -> acting.Called:
        """A name for a mountpoint that nothing has in the folder for mountpoints."""
        parser = self.disk.parser
        usual = Naming(pretty=parser.pretty, casename=parser.casename)
        name = usual.of(scan, layer.replaced(index=self.index)) + suffix
        made = acting.Called(pretty=parser.pretty, casename=parser.casename, name=name)
        folder = self._folder()
        if folder is None:
            return made
        place = os.path.join(folder, made.folder() or "")
        for number in range(2, _OVER):
            if not os.path.lexists(os.path.join(place, made.name)):
                return made
            made = made.replaced(name=f"{name}-{number}")
        raise NoMountpointAvailableError(f"{place} has too many folders called {name}")

    def detect_mountpoint(self) -> str | None:
        """Where it was mounted last, by what it says of itself, else by what is in it, when it is mounted."""
        known: str | None = self.info.get("lastmountpoint")
        if known or self.mountpoint is None:
            return known
        from pyimount.imagemounter.rebuilding import mountpoint_of

        _, layer = self.scan_and_layer()
        found = mountpoint_of(layer, self.mountpoint)
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
        for volume in self.disk.parser.get_volumes():
            if volume.mountpoint is not None and target.startswith(f"{volume.mountpoint}/"):
                root, within = volume.mountpoint, target.removeprefix(f"{volume.mountpoint}/")
        return self.bind_within(root, within)

    def bind_within(self, root: str, target: str) -> bool:
        """``bindmount`` at ``target`` in ``root``, from where no link and no ``..`` leads out."""
        if self.mountpoint is None or self._session is None:
            raise NotMountedError(f"volume {self.index} is not mounted")
        try:
            self.bindmounts.append(acting.bind(self._session, self.mountpoint, root, target))
        except NoSession as error:
            raise NotMountedError(f"volume {self.index} was unmounted by another") from error
        return True

    @property
    def session(self) -> str | None:
        """The session of its mount in the ledger; None while it is not mounted."""
        return self._session

    def carve(self, freespace: bool = True) -> str:
        """Recover deleted files with photorec; returns the folder with them, which stays.

        ``freespace``: look only in what is free, else in the whole volume. Raises CommandNotFoundError,
        NoMountpointAvailableError, NoLoopbackAvailableError, SubsystemError.
        """
        if tools.find("photorec") is None:
            raise acting.raised(CommandNotFoundError, "photorec is not installed", "apt install testdisk")
        acting.need_root()
        scan, layer = self.scan_and_layer()
        name = self._name(scan, layer, "-carve").name
        try:
            at = tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder())
        except OSError as error:
            raise NoMountpointAvailableError(str(error)) from error
        shown, policy, _ = self.disk.how_to_mount(scan, layer, f"volume-{self.index}")
        keys = self.disk.parser.views.keyring(self.disk, self.view)
        try:
            acting.carve(
                shown, layer, at=os.path.realpath(at), free_only=freespace,
                policy=policy.replaced(read_write=False), keys=keys,
            )  # fmt: skip
        except ImageMounterError:
            if not os.listdir(at):
                os.rmdir(at)
            raise
        return at

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
        if self._raw is not None:
            acting.take_down(self._raw[0], lazy=allow_lazy)
            self._raw = None
        if self._session is not None:
            acting.take_down(self._session, lazy=allow_lazy)
            self._session = None
        self.mountpoint = self.loopback = None
        self.bindmounts.clear()
        if first is not None:
            raise first
        self.is_mounted = False

    def _made_of_it(self) -> "Iterator[Volume]":
        """The volumes of arrays and groups that it is a member of."""
        scan = self.disk.parser.views.seen(self.disk, self.view)
        own = self.seen_layer()
        if scan is None or own is None or own.group is None:
            return
        inside = set(map(id, self.get_volumes()))
        for volume in self.disk.parser.get_volumes():
            layer = volume.seen_layer()
            if layer is None or volume.view != self.view or id(volume) in inside:
                continue
            if own.id in layer.parents:
                yield volume


def _is_container(scan: Scan, layer: VolumeLayer) -> bool:
    """Whether it is opened, not mounted."""
    if layer.usage in ("crypto", "raid"):
        return True
    if layer.usage == "filesystem":
        return False
    return layer.pttype is not None or bool(scan.children(layer))
