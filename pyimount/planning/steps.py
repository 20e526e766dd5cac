"""The steps of a mount: frozen data, each with the command that it stands for.

A step is told apart by its ``id`` within its session. Where it needs what an earlier one made, it names
that symbolically (``Result``), so a plan needs no root, and a helper that runs steps for
somebody else need not believe any path or device that it is told.

``argv`` gives the command line that a step runs, or, where pyimount makes the system call itself, the
one that does the same; ``undo_argv`` the one that takes back what it did. Both are lists: no shell, ever.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeAlias

from pyimount.records import Record

PREFIX = "pyimount"
"""Begins every name that we give to something on the machine."""


class Result(Record):
    """What the step with this id made: its device or its path; ``file``: a file within that path."""

    step: int
    file: str | None = None


Place: TypeAlias = str | Result
"""A path on this machine, or what an earlier step made."""


class Names:
    """What a session calls things: what places stand for, and the names of what it makes.

    ``places``: what earlier steps made, by their ids. A step that has not run stands as a shell variable.
    """

    def __init__(self, session: str, places: Mapping[int, str] | None = None) -> None:
        self.session = session
        self.places: dict[int, str] = dict(places or {})

    def __call__(self, place: Place) -> str:
        """The path or device that a place stands for."""
        if isinstance(place, str):
            return place
        made = self.places.get(place.step, f"$STEP{place.step}")
        return made if place.file is None else f"{made}/{place.file}"

    def mark(self, step: int) -> str:
        """The name of what this step makes."""
        return f"{PREFIX}-{self.session}-{step}"


class Step(Record, ABC, kw_only=True):
    """Base of all steps. ``layer``: the id of the scan's layer that it is for."""

    verb: ClassVar[str] = ""
    yields: ClassVar[str | None] = None
    """``device``, ``path`` or None: what a Result of this step is."""
    undo: ClassVar[tuple[str, ...]] = ()
    """The command that takes back what this step made, which comes after it."""

    id: int
    layer: int | None = None

    @abstractmethod
    def argv(self, names: Names) -> tuple[str, ...]:
        """The command line of this step."""

    def undo_argv(self, made: str) -> tuple[str, ...]:
        """The command line that takes back what this step made; empty where nothing is to be done."""
        return (*self.undo, made) if self.undo else ()

    def needs(self) -> tuple[int, ...]:
        """The ids of the steps whose results this one names."""
        found: set[int] = set()
        pending: list[Any] = [getattr(self, name) for name in self.fields]
        while pending:
            value = pending.pop()
            if isinstance(value, Result):
                found.add(value.step)
            elif isinstance(value, tuple):
                pending.extend(value)
            elif isinstance(value, TableLine):
                pending.append(value.arguments)
        return tuple(sorted(found))

    def to_dict(self) -> dict[str, Any]:
        """The step as JSON values."""
        return {"step": type(self).__name__} | {name: _plain(getattr(self, name)) for name in self.fields}


def _plain(value: Any) -> Any:
    if isinstance(value, Result):
        return {"result": value.step} | ({} if value.file is None else {"file": value.file})
    if isinstance(value, TableLine):
        return {"table": [_plain(getattr(value, name)) for name in value.fields]}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return value


class MakeDirectory(Step, kw_only=True):
    """Make a folder for its owner alone: ``path``, absolute or within ``inside``; undone when it is empty."""

    verb = "make"
    undo = ("rmdir",)
    yields = "path"
    inside: Place | None = None
    path: str

    def argv(self, names: Names) -> tuple[str, ...]:
        """``mkdir``."""
        return ("mkdir", "--mode=0700", "--parents", self._whole(names))

    def _whole(self, names: Names) -> str:
        return self.path if self.inside is None else f"{names(self.inside)}/{self.path}"


class ExposeRaw(Step, kw_only=True):
    """Show layers as raw files, through our own server: ``files`` pairs each layer's id with a name.

    ``cache``: a folder for what is written, which never reaches the image; None: read-only.
    """

    verb = "expose"
    undo = ("umount",)
    yields = "path"
    at: Place
    files: tuple[tuple[int, str], ...]
    cache: str | None = None

    def argv(self, names: Names) -> tuple[str, ...]:
        """Our own server."""
        written = () if self.cache is None else ("--cache", self.cache)
        return (
            "python3", "-m", "pyimount.fuse", f"--mark={names.mark(self.id)}", *written, names(self.at),
            *(f"{layer}={name}" for layer, name in self.files),
        )  # fmt: skip


class AttachLoop(Step, kw_only=True):
    """Make a loop device over a run of a file or device; bytes. ``size`` 0: to the end."""

    verb = "attach"
    undo = ("losetup", "--detach")
    yields = "device"
    backing: Place
    offset: int = 0
    size: int = 0
    sector_size: int = 512
    read_only: bool = True

    def argv(self, names: Names) -> tuple[str, ...]:
        """``losetup``; the step itself uses the ioctl, which marks the device as ours in the same moment."""
        return (
            "losetup", "--find", "--show",
            *(("--read-only",) if self.read_only else ()),
            *(("--offset", str(self.offset)) if self.offset else ()),
            *(("--sizelimit", str(self.size)) if self.size else ()),
            *(("--sector-size", str(self.sector_size)) if self.sector_size != 512 else ()),
            names(self.backing),
        )  # fmt: skip


DEVICE = "{device}"
"""Stands in a command line for a device that is chosen when the step runs."""


class ConnectNbd(Step, kw_only=True):
    """Show an image as a network block device with qemu-nbd; ``format`` is never left to a guess."""

    verb = "connect"
    undo = ("qemu-nbd", "--disconnect")
    yields = "device"
    image: Place
    format: str

    def argv(self, names: Names) -> tuple[str, ...]:
        """``qemu-nbd``."""
        return (
            "qemu-nbd", "--read-only", f"--format={self.format}", "--connect", DEVICE, names(self.image),
        )  # fmt: skip


class RunImageMounter(Step, kw_only=True):
    """Show the disk in a container as a file with another program: ewfmount, xmount, affuse …, as asked.

    ``arguments``: its command line after its name, ``{at}`` for the folder and ``{image}`` for the images.
    """

    verb = "expose"
    undo = ("umount",)
    yields = "path"
    tool: str
    images: tuple[Place, ...]
    at: Place
    arguments: tuple[str, ...]

    def argv(self, names: Names) -> tuple[str, ...]:
        """The program's."""
        made: list[str] = [self.tool]
        for argument in self.arguments:
            if argument == "{image}":
                made.extend(map(names, self.images))
            else:
                made.append(argument.replace("{at}", names(self.at)))
        return tuple(made)


class OpenEncrypted(Step, kw_only=True):
    """Open an encrypted volume with cryptsetup, whose key comes through standard input.

    ``type``: cryptsetup's word: luks, bitlk, tcrypt. ``key``: the index of the encrypted volume, by which
    its keys are found when the step runs; ``uuid``: its UUID, for the same. ``header``: a detached one.
    """

    verb = "open"
    undo = ("cryptsetup", "close")
    yields = "device"
    device: Place
    type: str
    key: str
    uuid: str | None = None
    header: Place | None = None
    read_only: bool = True

    def argv(self, names: Names) -> tuple[str, ...]:
        """``cryptsetup open``."""
        return (
            "cryptsetup", "open", f"--type={self.type}",
            *(("--readonly",) if self.read_only else ()),
            "--batch-mode", "--tries=1", "--key-file=-",
            *((f"--header={names(self.header)}",) if self.header is not None else ()),
            names(self.device), names.mark(self.id),
        )  # fmt: skip


class AssembleArray(Step, kw_only=True):
    """Assemble an md array of these members and no others."""

    verb = "assemble"
    undo = ("mdadm", "--stop")
    yields = "device"
    devices: tuple[Place, ...]

    def argv(self, names: Names) -> tuple[str, ...]:
        """``mdadm --assemble``."""
        return (
            "mdadm", "--assemble", f"/dev/md/{names.mark(self.id)}", "--readonly", "--run",
            "--config=/dev/null", *map(names, self.devices),
        )  # fmt: skip


class TableLine(Record):
    """One line of a device-mapper table: ``start`` and ``length`` in sectors, target and its arguments."""

    start: int
    length: int
    target: str
    arguments: tuple[str | int | Result, ...]

    def text(self, names: Names) -> str:
        """The line as dmsetup reads it."""
        said = (names(one) if isinstance(one, Result) else str(one) for one in self.arguments)
        return " ".join((str(self.start), str(self.length), self.target, *said))


class MapVolume(Step, kw_only=True):
    """Map a logical volume with device-mapper, by a table of our own."""

    verb = "map"
    undo = ("dmsetup", "remove")
    yields = "device"
    table: tuple[TableLine, ...]

    def argv(self, names: Names) -> tuple[str, ...]:
        """``dmsetup create``, whose table comes through standard input."""
        mark = names.mark(self.id)
        return ("dmsetup", "create", "--readonly", f"--uuid={mark}", mark)

    def table_text(self, names: Names) -> str:
        """The table as dmsetup reads it."""
        return "".join(f"{line.text(names)}\n" for line in self.table)


LVM_CONFIG = (
    'devices{use_devicesfile=0 filter=["a|.*|"] global_filter=["a|.*|"] hints="none"} '
    "backup{backup=0 archive=0} activation{monitoring=0 auto_activation_volume_list=[]} "
    'global{event_activation=0 use_lvmpolld=0 use_lvmlockd=0 system_id_source="none"}'
)
"""What LVM goes by instead of this machine's own configuration: it writes nothing, and starts nobody."""


class ActivateVolumeGroup(Step, kw_only=True):
    """Have LVM itself make a logical volume of a group; it looks at these devices and at no others.

    ``group``, ``volume``: their UUIDs, since another group may have the name, which is the image's.
    """

    verb = "activate"
    yields = "device"
    devices: tuple[Place, ...]
    group: str
    volume: str

    def argv(self, names: Names) -> tuple[str, ...]:
        """``lvm lvchange``."""
        return self._change("y", ("--devices", ",".join(map(names, self.devices))))

    def undo_argv(self, made: str) -> tuple[str, ...]:  # noqa: ARG002
        """The same; the step itself lets it look at its own devices alone."""
        return self._change("n", ())

    def deactivation(self, names: Names) -> tuple[str, ...]:
        """The command that takes the volume away."""
        return self._change("n", ("--devices", ",".join(map(names, self.devices))))

    def _change(self, to: str, devices: tuple[str, ...]) -> tuple[str, ...]:
        which = f"vg_uuid={self.group} && lv_uuid={self.volume}"
        return (
            "lvm", "lvchange", *devices, "--config", LVM_CONFIG,
            "--activate", to, "--ignoreactivationskip", "--yes", "--select", which,
        )  # fmt: skip


class AttachFlash(Step, kw_only=True):
    """Make a flash device, in memory, that holds what a volume has: there are drivers that mount no other.

    ``size``: bytes of the volume; ``erase_size``: bytes that are erased at once.
    """

    verb = "attach"
    yields = "device"
    device: Place
    size: int
    erase_size: int

    @property
    def total(self) -> int:
        """Bytes of the device: whole blocks, and five at least, as JFFS2 wants them."""
        return max(5, -(-self.size // self.erase_size)) * self.erase_size

    def argv(self, names: Names) -> tuple[str, ...]:  # noqa: ARG002
        """``modprobe``; the bytes are then written into the device."""
        sizes = (f"total_size={self.total >> 10}", f"erase_size={self.erase_size >> 10}")
        return ("modprobe", FLASH_MODULE, *sizes)

    def undo_argv(self, made: str) -> tuple[str, ...]:  # noqa: ARG002
        """``modprobe --remove``."""
        return ("modprobe", "--remove", FLASH_MODULE)


FLASH_MODULE = "mtdram"
"""The kernel's flash device in memory, of which there is one at a time."""


class ExposeUnlocked(Step, kw_only=True):
    """Show what a BitLocker volume holds as a file, with bdemount or dislocker, as asked for.

    ``key``, ``uuid``: as OpenEncrypted has them. The key comes through standard input or a descriptor.
    """

    verb = "open"
    undo = ("umount",)
    yields = "path"
    tool: str
    device: Place
    at: Place
    key: str
    uuid: str | None = None

    def argv(self, names: Names) -> tuple[str, ...]:
        """The program's, without what tells it where the key comes from."""
        return self.argv_with(names, ())

    def argv_with(self, names: Names, key: tuple[str, ...]) -> tuple[str, ...]:
        """The program's, with ``key`` among its arguments: those that tell where the key is, not the key."""
        if self.tool == "bdemount":
            return (self.tool, *key, names(self.device), names(self.at))
        return (self.tool, "-V", names(self.device), "-r", *key, "--", "-o", "ro", names(self.at))


class ExposeShadows(Step, kw_only=True):
    """Show the shadow copies of an NTFS volume as files with vshadowmount."""

    verb = "expose"
    undo = ("umount",)
    yields = "path"
    device: Place
    at: Place

    def argv(self, names: Names) -> tuple[str, ...]:
        """``vshadowmount``."""
        return ("vshadowmount", names(self.device), names(self.at))


ALWAYS = ("nosuid", "nodev", "noexec")
"""Options that every mount gets."""


class Mount(Step, kw_only=True):
    """Mount a file system at a folder, by a driver of the kernel.

    ``type``: for ``-t``; None only for what is not recognised and was asked for by name.
    ``options``: besides ``ro`` and ALWAYS. ``members``: further devices of the same file system.
    """

    verb = "mount"
    undo = ("umount",)
    yields = "path"
    device: Place
    at: Place
    type: str | None
    options: tuple[str, ...] = ()
    members: tuple[Place, ...] = ()
    read_only: bool = True

    def argv(self, names: Names) -> tuple[str, ...]:
        """``mount``, without its own helper programs."""
        options = (
            "ro" if self.read_only else "rw", *ALWAYS, *self.options,
            *(f"device={names(member)}" for member in self.members),
        )  # fmt: skip
        named = () if self.type is None else ("-t", self.type)
        return ("mount", "-i", "-n", *named, "-o", ",".join(options), names(self.device), names(self.at))


class MountWithTool(Step, kw_only=True):
    """Mount a file system at a folder by a program of its own, through FUSE.

    ``arguments``: as ToolMount has them.
    """

    verb = "mount"
    undo = ("umount",)
    yields = "path"
    tool: str
    source: Place
    at: Place
    arguments: tuple[str, ...]

    def argv(self, names: Names) -> tuple[str, ...]:
        """The program's."""
        places = {"{source}": names(self.source), "{at}": names(self.at)}
        return (self.tool, *(places.get(argument, argument) for argument in self.arguments))


class ShowDirectory(Step, kw_only=True):
    """Show a folder of this machine, which stands for a disk, at another, read-only."""

    verb = "show"
    undo = ("umount",)
    yields = "path"
    path: str
    at: Place

    def argv(self, names: Names) -> tuple[str, ...]:
        """``mount``, which makes two system calls of it; the step itself lets nobody write in between."""
        return ("mount", "-i", "-n", "-o", ",".join(("bind", "ro", *ALWAYS)), self.path, names(self.at))


class BindMount(Step, kw_only=True):
    """Show what is mounted at ``source`` at ``target`` within what is mounted at ``root``; never outside."""

    verb = "bind"
    undo = ("umount",)
    yields = "path"
    source: Place
    root: Place
    target: str

    def argv(self, names: Names) -> tuple[str, ...]:
        """``mount --bind``; the step itself resolves the target within the root, following no link out."""
        within = f"{names(self.root)}/{self.target.strip('/')}"
        return ("mount", "-i", "-n", "--bind", names(self.source), within)


class Carve(Step, kw_only=True):
    """Recover files from a volume's bytes with photorec, into a folder that stays."""

    verb = "carve"
    source: Place
    at: str
    free_only: bool = False

    def argv(self, names: Names) -> tuple[str, ...]:
        """``photorec``."""
        what = "freespace" if self.free_only else "wholespace"
        return (
            "photorec", "/d", f"{self.at}/recup_dir", "/cmd", names(self.source),
            # Else it takes what looks like a first partition, and no more.
            f"partition_none,options,paranoid,{what},search",
        )  # fmt: skip


STEPS: Mapping[str, type[Step]] = {
    kind.__name__: kind
    for kind in (
        MakeDirectory, ExposeRaw, AttachLoop, ConnectNbd, RunImageMounter, OpenEncrypted, AssembleArray,
        MapVolume, ActivateVolumeGroup, AttachFlash, ExposeUnlocked, ExposeShadows, Mount, MountWithTool,
        ShowDirectory, BindMount, Carve,
    )
}  # fmt: skip
"""Every kind of step by its name."""


def step_from_dict(said: Mapping[str, Any]) -> Step:
    """A step from what ``to_dict`` gave. Raises ValueError when it is none, has a field too many or too few.

    The types of the values are not looked at: whoever runs steps for another checks them.
    """
    name = said.get("step")
    kind = STEPS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"there is no step {name!r}")
    try:
        return kind(**{field: _restored(value) for field, value in said.items() if field != "step"})
    except (TypeError, KeyError) as error:
        raise ValueError(f"{name}: {error}") from error


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "table" in value:
            start, length, target, arguments = value["table"]
            return TableLine(start, length, target, _restored(arguments))
        return Result(value["result"], value.get("file"))
    if isinstance(value, list):
        return tuple(_restored(entry) for entry in value)
    return value


class Refusal(Record, kw_only=True):
    """A volume that is not mounted although it might have been expected, and why.

    ``code``: ``locked``, ``unknown``, ``needs-tool``, ``not-allowed``, ``unsupported``, ``dirty``,
    ``hibernated``, ``damaged``, ``no-bytes``, ``failed``. ``remedy``: what to do, if anything.
    """

    layer: int
    index: str
    code: str
    reason: str
    remedy: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        return {name: getattr(self, name) for name in self.fields}


class MountPlan(Record, kw_only=True):
    """What mounting a scan does: its steps in their order, and what it leaves out.

    ``session``: eight hexadecimal digits, in the name of everything that the steps make. ``images``:
    the paths of the scan's images, absolute. ``uncarved``: volumes that were to be carved, and are not.
    """

    session: str
    images: tuple[str, ...]
    steps: tuple[Step, ...]
    refused: tuple[Refusal, ...] = ()
    uncarved: tuple[Refusal, ...] = ()

    def mounts(self) -> Iterator[Mount | MountWithTool]:
        """The steps that mount file systems."""
        for step in self.steps:
            if isinstance(step, Mount | MountWithTool):
                yield step

    def shows(self) -> Iterator[ShowDirectory]:
        """The steps that show folders."""
        for step in self.steps:
            if isinstance(step, ShowDirectory):
                yield step

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "session": self.session,
            "images": list(self.images),
            "steps": [step.to_dict() for step in self.steps],
            "refused": [each.to_dict() for each in self.refused],
            "uncarved": [each.to_dict() for each in self.uncarved],
        }
