"""What md superblocks of every version say of their array: level, layout, size, and its write-intent bitmap.

Layouts: include/uapi/linux/raid/md_p.h and drivers/md/md-bitmap.h of the Linux kernel; names: mdadm(8).
"""

from construct import Bytes, Const, Int32ul, Int64ul, Struct

from pyimount.formats import Json, NotThisFormat
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names
from pyimount.sources.view import ShortRead, View

SECTOR = 512

BITMAP = layout(
    lambda: Struct(
        "magic" / Const(b"bitm"),
        "version" / Int32ul,
        "uuid" / Bytes(16),
        "events" / Int64ul,
        "events_cleared" / Int64ul,
        "sync_size" / Int64ul,
        "state" / Int32ul,
        "chunksize" / Int32ul,
        "daemon_sleep" / Int32ul,
        "write_behind" / Int32ul,
        "sectors_reserved" / Int32ul,
        "nodes" / Int32ul,
        "cluster_name" / Bytes(64),
    )
)
"""struct bitmap_super_s of drivers/md/md-bitmap.h."""
BITMAP_STATES = {0x2: "stale", 0x4: "write-error", 0x8: "hostendian"}
LEVELS = {
    -5: "faulty",
    -4: "multipath",
    -1: "linear",
    0: "raid0",
    1: "raid1",
    4: "raid4",
    5: "raid5",
    6: "raid6",
    10: "raid10",
}
"""Of mainline; makers of storage appliances have their own, which are told by their number."""
PARITY_LAYOUTS = {
    0: "left-asymmetric",
    1: "right-asymmetric",
    2: "left-symmetric",
    3: "right-symmetric",
    4: "parity-first",
    5: "parity-last",
    8: "ddf-zero-restart",
    9: "ddf-N-restart",
    10: "ddf-N-continue",
    16: "left-asymmetric-6",
    17: "right-asymmetric-6",
    18: "left-symmetric-6",
    19: "right-symmetric-6",
    20: "parity-first-6",
}
RAID0_LAYOUTS = {0: "unspecified", 1: "original", 2: "alternate"}
NEVER = (1 << 64) - 1


def folded(total: int) -> int:
    """A sum of 32-bit words with what it carried beyond 32 bits added to it once, as sb_csum has it."""
    return (total & 0xFFFFFFFF) + (total >> 32) & 0xFFFFFFFF


def bitmap_facts(view: View, offset: int) -> dict[str, Json] | None:
    """What the write-intent bitmap at ``offset`` says of itself; None when there is none."""
    try:
        bitmap = read_struct(view, BITMAP, offset)
    except (NotThisFormat, ShortRead):
        return None
    return {
        "version": bitmap.version,
        "events": bitmap.events,
        "events_cleared": bitmap.events_cleared,
        "sync_size": bitmap.sync_size * SECTOR,
        "state": [*flag_names(bitmap.state, BITMAP_STATES, "state")],
        "chunk_size": bitmap.chunksize,
        "daemon_sleep_seconds": bitmap.daemon_sleep,
        "write_behind": bitmap.write_behind,
    }


def as_of(role: str, events: int, utime: int) -> tuple[int, ...]:
    """What members that were written together have in common."""
    # A spare is left alone where the array only goes dirty and clean, though the events come back to its.
    return () if role == "spare" else (events, utime)


def layout_name(level: int, number: int) -> str | None:
    """A layout by the name that mdadm gives it; None for levels that have none."""
    if level in (5, 6):
        return PARITY_LAYOUTS.get(number, str(number))
    if level == 10:
        near, far = number & 0xFF, number >> 8 & 0xFF
        return f"near={near}" + (f", {'offset' if number & 0x10000 else 'far'}={far}" if far != 1 else "")
    if level == 0:
        return RAID0_LAYOUTS.get(number, str(number))
    return None


def geometry(level: int, number: int, chunk: int, disks: int, used: int) -> dict[str, Json]:
    """What the array is made of; ``chunk`` and ``used``, of each member, in bytes."""
    return {
        "level": LEVELS.get(level, str(level)),
        "level_number": level,
        "layout": layout_name(level, number),
        "layout_number": number,
        "chunk_size": chunk,
        "raid_disks": disks,
        "used_size": used,
        "array_size": array_size(level, number, chunk, disks, used),
    }


def array_size(level: int, number: int, chunk: int, disks: int, used: int) -> int | None:
    """Bytes in the array; None where the sizes of all members decide (linear, raid0) or figures are amiss."""
    if level in (1, -4, -5):
        return used
    if chunk == 0:
        return None
    whole = used // chunk
    if level in (4, 5, 6):
        data_disks = disks - (2 if level == 6 else 1)
        return whole * chunk * data_disks if data_disks > 0 else None
    near, far = number & 0xFF, number >> 8 & 0xFF
    if level == 10 and near and far:
        return whole // far * disks // near * chunk
    return None
