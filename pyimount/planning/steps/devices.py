"""Steps that make devices: of files, of other devices, of locked volumes, arrays and volume groups."""

from pyimount.planning.steps.base import Names, Place, Step, TableLine


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


FLASH_MODULE = "mtdram"
"""The kernel's flash device in memory, of which there is one at a time."""


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
