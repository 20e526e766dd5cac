"""How a volume is mounted: the first way of its format that this machine has and the policy allows."""

import re
from collections.abc import Iterator, Mapping
from functools import cache

from pyimount.formats import Format, KernelMount, Mounting, ToolMount
from pyimount.layers import VolumeLayer
from pyimount.planning.machine import Machine
from pyimount.planning.owner import Owner
from pyimount.planning.policy import Policy
from pyimount.planning.refusing import Refused
from pyimount.planning.steps import FLASH_MODULE
from pyimount.recognition.registry import volume_formats

UNKNOWN = "unknown"
"""The word for mounting what the kernel may recognise by itself, without a type."""

_VALUE = re.compile(r"[a-z0-9_.-]{1,32}")
"""What an option's value may be that a volume's details have."""

FLASH_CAP = 1 << 30
"""Bytes of a volume that is copied into memory to be mounted."""
USUALLY_ERASED = 256 << 10
LARGEST_ERASED = 4 << 20

_WRITE = "--read-write: the driver then writes into a cache over the image, never into the image"


@cache
def _formats() -> tuple[Mapping[str, Format], Mapping[str, Format]]:
    """The formats by their types, and by the other words that a user may have for them."""
    by_type: dict[str, Format] = {}
    by_word: dict[str, Format] = {}
    for declared in volume_formats():
        for name in declared.types:
            by_type.setdefault(name, declared)
        words = [declared.name, *(way.driver for way in declared.mounts if isinstance(way, KernelMount))]
        for word in words:
            by_word.setdefault(word.lower(), declared)
    return by_type, {**by_word, **{name.lower(): declared for name, declared in by_type.items()}}


# imagemounter's words, where they are nobody else's.
_ALIASES = {"ext": "ext4", "hfs+": "hfsplus", "iso": "iso9660", "fat": "vfat", "squash": "squashfs"}


def format_of(kind: str | None) -> Format | None:
    """The format that gives this type, None where there is none."""
    return None if kind is None else _formats()[0].get(kind)


def format_called(word: str) -> Format | None:
    """The format that a user calls so: by its type, its driver or imagemounter's word."""
    named = word.lower()
    return _formats()[1].get(_ALIASES.get(named, named))


def way_to_mount(volume: VolumeLayer, declared: Format, policy: Policy, machine: Machine) -> Mounting:
    """How to mount a volume of this format; raises Refused where no way is left, and says why."""
    if not declared.mounts:
        if declared.unmountable:
            raise Refused("unsupported", declared.unmountable)
        raise Refused("unsupported", f"nothing is known here that mounts {declared.title} on Linux")
    refused: list[Refused] = []
    for way in declared.mounts:
        why = _why_not(way, volume, declared, policy, machine)
        if why is None:
            return way
        refused.append(why)
    # First what the user can do something about.
    order = ("not-allowed", "dirty", "hibernated", "needs-tool", "unsupported")
    refused.sort(key=lambda why: order.index(why.code) if why.code in order else len(order))
    remedies = dict.fromkeys(why.remedy for why in refused if why.remedy)
    reasons = dict.fromkeys(why.reason for why in refused)
    raise Refused(refused[0].code, "; ".join(reasons), "; or ".join(remedies) or None)


def _why_not(
    way: Mounting, volume: VolumeLayer, declared: Format, policy: Policy, machine: Machine
) -> Refused | None:
    name = way.driver if isinstance(way, KernelMount) else way.tool
    version = (volume.version or "").partition(".")[0]
    if way.versions and version not in way.versions:
        return Refused("unsupported", f"{name} does not read version {volume.version or '?'}")
    if isinstance(way, KernelMount):
        if name not in machine.filesystems:
            return Refused("unsupported", f"this kernel has no driver {name}")
        if (0, 0) < machine.kernel < way.since:
            return Refused("unsupported", f"{name} of this kernel is too old to be kept from replaying")
        if why := _why_not_here(way, volume, machine):
            return Refused("unsupported", why)
    elif name not in machine.tools:
        return Refused("needs-tool", f"{name} is not installed", f"install {name}: see `pyimount check`")
    words = {name, declared.name, volume.type or "", volume.fstype or ""}
    allowed = bool(policy.allow_fs & {*words, "*"})
    if isinstance(way, KernelMount) and not way.maintained and not allowed:
        reason = f"few look after the kernel's driver {name}, and the image may be hostile"
        return Refused("not-allowed", reason, f"--allow-fs {name}")
    stands_in = isinstance(way, ToolMount) and way.stands_in and not _drivers_of(declared, machine)
    if isinstance(way, ToolMount) and not (policy.foreign_tools or allowed or stands_in):
        reason = f"{name} is another program that reads the image's bytes"
        return Refused("not-allowed", reason, f"--allow-fs {name}")
    if volume.state in way.refuses and not (policy.read_write and is_written(way)):
        code = volume.state if volume.state in ("dirty", "hibernated") else "damaged"
        reason = f"the volume is {volume.state}, and {name} does not mount it without writing"
        remedy = _WRITE if isinstance(way, KernelMount) and way.written is not None else None
        return Refused(str(code), reason, remedy)
    try:
        options_of(way, volume, policy)
    except Refused as why:
        return why
    return None


def _drivers_of(declared: Format, machine: Machine) -> set[str]:
    """The kernel's drivers for a format that there are here."""
    return {way.driver for way in declared.mounts if isinstance(way, KernelMount)} & machine.filesystems


def _why_not_here(way: KernelMount, volume: VolumeLayer, machine: Machine) -> str | None:
    """Why this kernel's driver does not read such a volume; None where it does."""
    for key, value in way.reads:
        if volume.details.get(key) != value:
            said = str(volume.details.get(key))
            shown = said if _VALUE.fullmatch(said) else "another"
            return f"{way.driver} here reads {key.replace('_', ' ')} {value}, and the volume has {shown}"
    if way.flash is None:
        return None
    if not machine.flash:
        return (
            f"{way.driver} mounts flash devices, and this kernel has no {FLASH_MODULE} to make one of memory"
        )
    if not 0 < (volume.size or 0) <= FLASH_CAP:
        return f"the flash device for it would be in memory, where it gets no more than {FLASH_CAP >> 20} MiB"
    return None


def erase_size(way: KernelMount, volume: VolumeLayer) -> int:
    """Bytes that are erased at once on the flash device for a volume.

    Where it does not tell, a size that no usual chip goes beyond: a node may end before a block does, never
    cross its end.
    """
    said = volume.details.get(way.flash or "")
    is_one = isinstance(said, int) and 4096 <= said <= LARGEST_ERASED and said & (said - 1) == 0
    return said if isinstance(said, int) and is_one else USUALLY_ERASED


def is_written(way: Mounting) -> bool:
    """Whether this way may write into a cache, where there is one."""
    return isinstance(way, KernelMount) and way.written is not None


def options_of(
    way: Mounting, volume: VolumeLayer, policy: Policy, owner: Owner | None = None
) -> tuple[str, ...]:
    """The options of a kernel's driver for this volume; raises Refused where one lacks its value.

    ``owner``: whose the files are, where they are nobody's; None: the driver's to say.
    """
    if not isinstance(way, KernelMount):
        return ()
    written = way.written if policy.read_write else None
    options = [*(way.options if written is None else written), *_from_details(way, volume)]
    if way.every_member and volume.group is not None and not volume.group.complete:
        if not way.incomplete:
            reason = f"the driver {way.driver} wants all devices of it, and one is missing"
            raise Refused("unsupported", reason)
        options += way.incomplete
    if owner is not None:
        options += owner.options(_told_of_owner(way, owner))
    return tuple(options)


def arguments_of(way: ToolMount, owner: Owner | None) -> tuple[str, ...]:
    """The arguments of a program, with whose the files are among its options."""
    if owner is None or not way.owner:
        return way.arguments
    made = list(way.arguments)
    at = made.index("-o") + 1
    made[at] = ",".join((made[at], *owner.options(way.owner)))
    return tuple(made)


def _told_of_owner(way: KernelMount, owner: Owner) -> tuple[str, ...]:
    """What a driver is told of the owner: root reads what has owners of its own (Rock Ridge) as it is."""
    return way.owner if owner.uid or "umask" in way.owner else ()


def _from_details(way: KernelMount, volume: VolumeLayer) -> Iterator[str]:
    for option, key in way.from_details:
        value = volume.details.get(key)
        if not isinstance(value, str | int) or not _VALUE.fullmatch(str(value)):
            reason = f"the volume does not show the {option} that the driver {way.driver} has to be told"
            raise Refused("unsupported", reason)
        yield f"{option}={value}"
