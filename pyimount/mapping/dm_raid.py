"""What device-mapper's arrays record on their metadata devices: which of their devices are in step.

Layout: struct dm_raid_superblock in drivers/md/dm-raid.c of the Linux kernel.
"""

from collections.abc import Sequence
from typing import Any

from construct import Array, Bytes, Const, Int32ul, Int64ul, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source

SECTOR = 512
SUPERBLOCK = layout(
    lambda: Struct(
        "magic" / Const(b"DmRd"),
        "compat_features" / Int32ul,
        "num_devices" / Int32ul,
        "array_position" / Int32ul,
        "events" / Int64ul,
        "failed_devices" / Int64ul,
        "disk_recovery_offset" / Int64ul,
        "array_resync_offset" / Int64ul,
        "level" / Int32ul,
        "layout" / Int32ul,
        "stripe_sectors" / Int32ul,
        "flags" / Int32ul,
        "reshape_position" / Int64ul,
        "new_level" / Int32ul,
        "new_layout" / Int32ul,
        "new_stripe_sectors" / Int32ul,
        "delta_disks" / Int32ul,
        "array_sectors" / Int64ul,
        "data_offset" / Int64ul,
        "new_data_offset" / Int64ul,
        "sectors" / Int64ul,
        "extended_failed_devices" / Array(3, Int64ul),
        "incompat_features" / Int32ul,
        "pad" / Bytes(364),
    )
)
_SUPPORTS_V190 = 1
_RESHAPE_ACTIVE = 1
_ALL = (1 << 64) - 1
_EVENT_MARGIN = 1
"""Superblocks are written one after the other: as with md, a device one event behind is still in step."""


class Leg(Record, kw_only=True):
    """How far a device of an array may be used, in bytes.

    ``usable``: False for one that failed or fell behind. ``trusted``: as far as it is rebuilt, None when
    entirely. ``offset``: where its data starts, after the array was reshaped.
    """

    usable: bool = True
    trusted: int | None = None
    offset: int = 0


class State(Record, kw_only=True):
    """What the superblocks of an array say together.

    ``resync``: bytes of each device up to which parity or copies were made to agree; None when all were.
    ``reshaping``: its layout is being changed.
    """

    legs: tuple[Leg, ...]
    resync: int | None = None
    reshaping: bool = False
    events: int | None = None


def state(metadata: Sequence[Source | None]) -> State:
    """What is recorded on the metadata devices, None for missing ones; where nothing is, all are trusted."""
    found = [None if source is None else _superblock(source) for source in metadata]
    newest = max((one for one in found if one is not None), key=lambda one: one.events, default=None)
    if newest is None:
        return State(legs=tuple(Leg() for _ in found))
    extended = bool(newest.compat_features & _SUPPORTS_V190)
    failed = newest.failed_devices
    if extended:
        for number, more in enumerate(newest.extended_failed_devices, 1):
            failed |= more << 64 * number
    legs = []
    for slot, one in enumerate(found):
        if metadata[slot] is None and not failed >> slot & 1:
            # The others would know if it had fallen behind.
            legs.append(Leg(offset=newest.data_offset * SECTOR if extended else 0))
            continue
        if one is None or failed >> slot & 1 or newest.events - one.events > _EVENT_MARGIN:
            legs.append(Leg(usable=False))
            continue
        trusted = None if one.disk_recovery_offset == _ALL else one.disk_recovery_offset * SECTOR
        legs.append(Leg(trusted=trusted, offset=one.data_offset * SECTOR if extended else 0))
    resync = newest.array_resync_offset
    return State(
        legs=tuple(legs),
        resync=None if resync == _ALL else resync * SECTOR,
        reshaping=extended and bool(newest.flags & _RESHAPE_ACTIVE),
        events=newest.events,
    )


def _superblock(source: Source) -> Any:
    try:
        return parse_struct(source.read_at(0, SUPERBLOCK.size), SUPERBLOCK)
    except (ReadError, NotThisFormat):
        return None
