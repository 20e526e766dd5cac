"""What root does for a user: each step held against a closed list before it runs.

The user may send anything. A step passes only if all that it names was made by earlier steps of the same
session, or was handed over as an open file; if its tool, driver and options are on the lists here; and if it
cannot lead to a write to what is below. The lists say what is harmless, the plan what is wanted.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from pyimount.execution.errors import Misleading, Refused
from pyimount.planning.steps import (
    MOUNTPOINTS,
    READABLE,
    AssembleArray,
    AttachLoop,
    BindMount,
    ExposeRaw,
    MakeDirectory,
    MapVolume,
    Mount,
    MountWithTool,
    OpenEncrypted,
    Place,
    Result,
    Step,
    TableLine,
    readable_arguments,
)

NAME_CAP = 255
PATH_CAP = 4096
STEPS_CAP = 4096
_BIGGEST = (1 << 63) - 1
_SECTOR_SIZES = (512, 1024, 2048, 4096)
_ENCRYPTED = frozenset(("luks", "luks1", "luks2", "bitlk", "tcrypt"))
_TARGETS = frozenset(("linear", "striped", "error", "zero"))

_SUBVOLUME = re.compile(r"subvol=/[A-Za-z0-9@_./-]{1,128}")
_NEXT = ("nextstep", "nextstep-cd", "openstep")

OPTIONS: Mapping[str, frozenset[str]] = {
    "bcachefs": frozenset(("nochanges",)),
    "befs": frozenset(),
    "bfs": frozenset(),
    "btrfs": frozenset(("rescue=nologreplay", "norecovery", "degraded")),
    "cramfs": frozenset(),
    "erofs": frozenset(),
    "exfat": frozenset(),
    "ext4": frozenset(("noload", "errors=continue")),
    "f2fs": frozenset(("norecovery",)),
    "hfs": frozenset(),
    "hfsplus": frozenset(),
    "hpfs": frozenset(),
    "iso9660": frozenset(("iocharset=utf8",)),
    "jffs2": frozenset(),
    "jfs": frozenset(),
    "minix": frozenset(),
    "nilfs2": frozenset(("norecovery",)),
    "ntfs3": frozenset(("iocharset=utf8", "showmeta")),
    "qnx4": frozenset(),
    "qnx6": frozenset(("mmi_fs",)),
    "reiserfs": frozenset(),
    "romfs": frozenset(),
    "squashfs": frozenset(),
    "sysv": frozenset(),
    "udf": frozenset(),
    "ufs": frozenset(
        f"ufstype={kind}" for kind in ("old", "44bsd", "ufs2", "5xbsd", "sun", "sunx86", "hp", *_NEXT)
    ),
    "vfat": frozenset(("utf8",)),
    "vxfs": frozenset(),
    "xfs": frozenset(("norecovery", "nouuid")),
}
"""The drivers that mount, and the options that each may get."""

LOG_AND_REALTIME = frozenset(("logdev", "rtdev"))
"""By what XFS is told of its other devices; other drivers have ``device`` alone."""

FEW_KEEP = frozenset(
    (
        "bcachefs", "befs", "bfs", "hfs", "hfsplus", "hpfs", "jffs2", "jfs", "minix", "reiserfs", "romfs",
        "sysv", "ufs", "vxfs",
    )
)  # fmt: skip
"""The drivers that few look after, of which root alone makes use: a user's image may be made to break one."""

_OWNERS: Mapping[str, frozenset[str]] = {
    "exfat": frozenset(("uid", "gid", "umask")),
    "iso9660": frozenset(("uid", "gid")),
    "ntfs3": frozenset(("uid", "gid", "umask")),
    "vfat": frozenset(("uid", "gid", "umask")),
}
"""Which drivers are told whose the files are."""

TOOLS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "mount.exfat-fuse": (frozenset(("ro",)), frozenset(("uid", "gid", "umask"))),
    "ntfs-3g": (
        frozenset(("ro", "show_sys_files", "streams_interface=windows")), frozenset(("uid", "gid", "umask"))
    ),
}  # fmt: skip
"""The programs that mount for a user, the options that each gets, and those that say whose the files are."""

_UMASK = re.compile(r"0?[0-7]{3}")


class Checker:
    """Checks the steps of one session in turn.

    ``files``: the paths whose open files were handed over. ``user``, ``groups``: whose the files of a file
    system may be said to be.
    """

    def __init__(
        self,
        folder: str,
        files: frozenset[str],
        *,
        user: int | None = None,
        groups: frozenset[int] = frozenset(),
    ) -> None:
        self._user = user
        self._groups = groups
        self._folder = folder
        self._files = files
        self._steps: dict[int, Step] = {}
        self._covered: set[int] = set()

    def check(self, step: Step) -> None:
        """Let this step pass, and later ones name it; raises Refused."""
        check = _CHECKS.get(type(step))
        if check is None:
            raise Refused(f"root does no {type(step).__name__} for a user")
        if not _is_number(step.id) or step.id in self._steps or len(self._steps) >= STEPS_CAP:
            raise Refused(f"step {step.id!r} has no number of its own")
        if step.layer is not None and not _is_number(step.layer):
            raise Refused("the layer is no number")
        check(self, step)
        self._steps[step.id] = step
        if isinstance(step, ExposeRaw | Mount | MountWithTool) and isinstance(step.at, Result):
            self._covered.add(step.at.step)

    def _made(self, place: object, *kinds: type[Step]) -> Step:
        """The earlier step of one of these kinds whose result ``place`` is."""
        if not isinstance(place, Result) or not _is_number(place.step):
            raise Refused(f"{place!r} is not the result of an earlier step")
        made = self._steps.get(place.step)
        if not isinstance(made, kinds):
            raise Refused(f"step {place.step} made nothing that serves here")
        if place.file is not None and not (
            isinstance(made, ExposeRaw) and place.file in (name for _, name in made.files)
        ):
            raise Refused(f"step {place.step} has no such file")
        if place.file is None and isinstance(made, ExposeRaw) and ExposeRaw in kinds:
            raise Refused("a folder is no disk")
        return made

    def _bytes(self, place: Place) -> None:
        """Pass if ``place`` was handed over, or has bytes that an earlier step made."""
        if not isinstance(place, str):
            self._made(place, ExposeRaw, *_DEVICES)
        elif place not in self._files:
            raise Refused("a file that was not handed over")

    def _free(self, at: object) -> None:
        """Refuse the session's own folders, below which all would be the image's, and those in use."""
        made = self._made(at, MakeDirectory)
        if isinstance(made, MakeDirectory) and (made.inside is None or made.path == MOUNTPOINTS):
            raise Misleading("nothing is mounted at a session's own folder")
        if made.id in self._covered:
            raise Refused("something is mounted there already")

    def make_directory(self, step: MakeDirectory) -> None:
        """A folder: the session's own, or one within a folder that an earlier step made."""
        if step.inside is None:
            if step.path != self._folder:
                raise Refused("a folder outside the session's own")
            return
        if self._made(step.inside, MakeDirectory).id in self._covered:
            raise Refused("a folder within what is mounted")
        if not is_text(step.path, NAME_CAP) or "/" in step.path or step.path in (".", ".."):
            raise Refused("the folder has a name that none may have")

    def expose_raw(self, step: ExposeRaw) -> None:
        """Layers as files, by a server that has no rights."""
        self._free(step.at)
        if not isinstance(step.files, tuple) or not step.files:
            raise Refused("nothing to show")
        for entry in step.files:
            if not (isinstance(entry, tuple) and len(entry) == 2 and _is_number(entry[0])):
                raise Refused("a file without its layer")
            if not is_text(entry[1], NAME_CAP) or "/" in entry[1] or entry[1] in (".", ".."):
                raise Refused("a file has a name that none may have")
        if step.cache is not None:
            raise Refused("root keeps no cache in a folder that a user names: run pyimount itself as root")

    def attach_loop(self, step: AttachLoop) -> None:
        """A loop device over what was handed over, or made before."""
        self._bytes(step.backing)
        _read_only(step)
        if not (_is_number(step.offset) and _is_number(step.size) and step.sector_size in _SECTOR_SIZES):
            raise Refused("numbers that no loop device takes")

    def open_encrypted(self, step: OpenEncrypted) -> None:
        """An encrypted volume on a device that was made before."""
        self._made(step.device, *_DEVICES)
        _read_only(step)
        if step.type not in _ENCRYPTED:
            raise Refused(f"cryptsetup has no {step.type!r} here")
        _text(step.key, NAME_CAP, "the index")
        if step.uuid is not None:
            _text(step.uuid, NAME_CAP, "the UUID")
        if step.header is not None and (not isinstance(step.header, str) or step.header not in self._files):
            raise Refused("a header that was not handed over")

    def assemble_array(self, step: AssembleArray) -> None:
        """An array of devices that were made before."""
        if not isinstance(step.devices, tuple) or not step.devices:
            raise Refused("an array of nothing")
        for device in step.devices:
            self._made(device, *_DEVICES)

    def map_volume(self, step: MapVolume) -> None:
        """A mapping of devices that were made before, by targets that only read."""
        if not isinstance(step.table, tuple) or not step.table:
            raise Refused("an empty table")
        for line in step.table:
            if not isinstance(line, TableLine) or line.target not in _TARGETS:
                raise Refused("a target that root maps for no user")
            if not (_is_number(line.start) and _is_number(line.length) and isinstance(line.arguments, tuple)):
                raise Refused("a table of no numbers")
            for argument in line.arguments:
                if not _is_number(argument):
                    self._made(argument, *_DEVICES)

    def mount(self, step: Mount) -> None:
        """A file system on a device that was made before, at a folder that was, with options of its list."""
        self._made(step.device, *_DEVICES)
        _read_only(step)
        for member in step.members if isinstance(step.members, tuple) else (None,):
            self._made(member, *_DEVICES)
        if step.named_by != () and (
            step.type != "xfs"
            or not isinstance(step.named_by, tuple)
            or not {*step.named_by} <= LOG_AND_REALTIME
            or len(step.named_by) != len(step.members)
        ):
            raise Refused(f"devices by names that {step.type} does not have")
        self._free(step.at)
        allowed = OPTIONS.get(step.type) if isinstance(step.type, str) else None
        if allowed is None:
            raise Refused(f"root mounts no {step.type!r} for a user")
        if step.type in FEW_KEEP:
            why = f"few look after the kernel's driver {step.type}: only root itself may mount with it"
            raise Refused(why, f"sudo pyimount mount --allow-fs {step.type}")
        for option in step.options if isinstance(step.options, tuple) else (None,):
            subvolume = step.type == "btrfs" and isinstance(option, str) and _SUBVOLUME.fullmatch(option)
            if self._is_owner(option, _OWNERS.get(str(step.type), frozenset())):
                continue
            if option not in allowed and (not subvolume or ".." in str(option)):
                raise Refused(f"an option that {step.type} does not get")

    def _is_owner(self, option: object, names: frozenset[str]) -> bool:
        """Whether an option says that the files are this user's."""
        name, _, value = option.partition("=") if isinstance(option, str) else ("", "", "")
        if name not in names or not value.isascii():
            return False
        if name == "umask":
            return _UMASK.fullmatch(value) is not None
        if not value.isdecimal() or len(value) > len(str(_BIGGEST)):
            return False
        return int(value) in ((self._user,) if name == "uid" else self._groups)

    def mount_with_tool(self, step: MountWithTool) -> None:
        """A file system on a device that was made before, by a program of the list with its very options."""
        if step.tool == READABLE:
            self._readable(step)
            return
        options, owner = TOOLS.get(step.tool) or (None, frozenset())
        if options is None:
            raise Refused(f"root runs no {step.tool!r} for a user")
        self._made(step.source, *_DEVICES)
        self._free(step.at)
        said = step.arguments if isinstance(step.arguments, tuple) else ()
        if (
            len(said) != 4
            or (said[0], *said[2:]) != ("-o", "{source}", "{at}")
            or not isinstance(said[1], str)
        ):
            raise Refused(f"arguments that {step.tool} does not get")
        told = said[1].split(",")
        if len(set(told)) < len(told) or not options <= set(told):
            raise Refused(f"options that {step.tool} does not get")
        if not all(each in options or self._is_owner(each, owner) for each in told):
            raise Refused(f"an option that {step.tool} does not get")

    def _readable(self, step: MountWithTool) -> None:
        """What was mounted before, as this user's alone."""
        self._made(step.source, Mount, MountWithTool)
        self._free(step.at)
        if self._user is None or step.arguments not in {
            readable_arguments(self._user, group) for group in self._groups
        }:
            raise Refused(f"arguments that {step.tool} does not get")

    def bind_mount(self, step: BindMount) -> None:
        """What was mounted before, within what was mounted before."""
        self._made(step.source, Mount, MountWithTool)
        self._made(step.root, Mount, MountWithTool)
        if not is_text(step.target, PATH_CAP) or ".." in step.target.split("/"):
            raise Refused("a target that none may have")


_DEVICES = (AttachLoop, AssembleArray, MapVolume, OpenEncrypted)
"""What makes a device of the kernel."""

_CHECKS: Mapping[type[Step], Callable[[Checker, Any], None]] = {
    MakeDirectory: Checker.make_directory,
    ExposeRaw: Checker.expose_raw,
    AttachLoop: Checker.attach_loop,
    OpenEncrypted: Checker.open_encrypted,
    AssembleArray: Checker.assemble_array,
    MapVolume: Checker.map_volume,
    Mount: Checker.mount,
    BindMount: Checker.bind_mount,
    MountWithTool: Checker.mount_with_tool,
}


def _read_only(step: AttachLoop | OpenEncrypted | Mount) -> None:
    if step.read_only is not True:
        raise Refused("what could write to the image")


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _BIGGEST


def is_text(value: object, cap: int) -> TypeGuard[str]:
    """Whether a value is a text of at most ``cap`` bytes that can name a file."""
    return isinstance(value, str) and 0 < len(os.fsencode(value)) <= cap and "\0" not in value


def _text(value: object, cap: int, what: str) -> None:
    if not is_text(value, cap):
        raise Refused(f"{what} is no text")
