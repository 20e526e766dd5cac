"""What is said where there is nothing to mount: silence would look like success.

A disk with only swap, an empty partition table, a volume that was named and holds no file system.
"""

from collections.abc import Collection, Iterator

from pyimount.layers import DiskLayer, Layer, Scan, VolumeLayer
from pyimount.planning.steps import Refusal

NOTHING = "nothing"
"""The code of such a refusal."""

HOLDS_NOTHING = frozenset(
    (
        "e3c9e316-0b5c-4db8-817d-f92df00215ae",  # Microsoft reserved
        "21686148-6449-6e6f-744e-656564454649",  # BIOS boot
        "9e1a2d38-c612-4316-aa26-8b49521e5a8b",  # PReP boot
        "fe3a2a5d-4f32-41a7-b725-accc3285a309",  # ChromeOS kernel
        "2e0a753d-9e48-43b0-8337-b15192cb1b5e",  # ChromeOS reserved
        "cab6e88e-abf3-4102-a07a-d4bb9be3c1d3",  # ChromeOS firmware
        "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3",  # LDM metadata
        "8da63339-0007-60c0-c436-083ac8230908",  # Linux reserved
        "0x41",  # PReP boot
        "0xda",  # Non-FS data
        "0xee",  # GPT
        "apple_driver",
        "apple_driver43",
        "apple_driver_ata",
        "apple_driver_atapi",
        "apple_driver_iokit",
        "apple_fwdriver",
        "apple_patches",
    )
)
"""Types of partitions that hold no file system."""

_EMPTY = frozenset(("swap", None))


def of_nothing(
    scan: Scan, only: Collection[str], left_alone: Collection[int], reached: Collection[int]
) -> Iterator[Refusal]:
    """What was asked for, by name or as a whole, and comes to no mount and to no other refusal.

    ``left_alone``: the layers that are not wanted; ``reached``: those that are mounted or refused.
    """
    counted = _with_all_beneath(scan, reached)
    if only:
        named = {layer.id: layer for name in only for layer in scan.named(name)}
        for layer in named.values():
            if layer.id not in counted and layer.id not in left_alone:
                yield Refusal(layer=layer.id, index=layer.index or "", code=NOTHING, reason=_why(scan, layer))
        return
    for disk in scan.disks:
        volumes = list(scan.walk(disk))
        asked = disk.size is not None and not disk.is_folder and disk.id not in counted
        if not asked or {disk.id, *(volume.id for volume in volumes)}.intersection(left_alone):
            continue
        # Of several, one may only be there for another: a journal, a cache.
        if not counted or all(volume.type in _EMPTY for volume in volumes):
            yield Refusal(layer=disk.id, index=disk.index or "", code=NOTHING, reason=_why(scan, disk))


def _with_all_beneath(scan: Scan, reached: Collection[int]) -> set[int]:
    """These layers, the other members of what they belong to, and all that they are made of."""
    counted: set[int] = set()
    pending = list(reached)
    while pending:
        number = pending.pop()
        if number in counted:
            continue
        counted.add(number)
        layer = scan.by_id(number)
        if isinstance(layer, VolumeLayer):
            pending += layer.parents
            if layer.group is not None:
                pending += [member.id for member in scan.members(layer)]
    return counted


def _why(scan: Scan, layer: Layer) -> str:
    inside = [each for each in scan.walk(layer) if each.flag == "alloc" and not each.hidden]
    kinds = dict.fromkeys(each.type for each in inside if each.type is not None)
    if isinstance(layer, VolumeLayer) and not inside:
        if layer.flag != "alloc":
            return "nothing is allocated there"
        if layer.type is not None:
            return f"{layer.type} holds no file system"
        if (layer.part_type or "").lower() in HOLDS_NOTHING:
            return "a partition of this type holds no file system"
        return "there is no file system in it"
    if isinstance(layer, DiskLayer | VolumeLayer) and not inside and layer.pttype is not None:
        return f"there is nothing to mount: its partition table ({layer.pttype}) is empty"
    if not kinds:
        return "there is nothing to mount in it: no file system was found"
    return f"there is nothing to mount in it: only {', '.join(kinds)}"
