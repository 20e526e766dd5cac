"""Linux software RAID (md): members with superblocks of version 0.90, 1.0, 1.1 and 1.2.

Layouts: include/uapi/linux/raid/md_p.h of the Linux kernel (mdp_super_t, struct mdp_superblock_1);
places and names: md(4), mdadm(8).
https://raid.wiki.kernel.org/index.php/RAID_superblock_formats
"""

from collections.abc import Iterator
from struct import iter_unpack, unpack
from typing import Any

from construct import (
    Bytes,
    Const,
    Int8ul,
    Int16ul,
    Int32sb,
    Int32sl,
    Int32ub,
    Int32ul,
    Int64ub,
    Int64ul,
    Struct,
)

from pyimount.formats import (
    Format,
    Identity,
    Json,
    Membership,
    NotThisFormat,
    Precedence,
    Signature,
    TableRule,
    Usage,
)
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import flag_names, text, unix_time, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

SECTOR = 512

SUPERBLOCK_1 = layout(
    lambda: Struct(
        "magic" / Int32ul,
        "major_version" / Int32ul,
        "feature_map" / Int32ul,
        "pad0" / Int32ul,
        "set_uuid" / Bytes(16),
        "set_name" / Bytes(32),
        "ctime" / Int64ul,
        "level" / Int32sl,
        "layout" / Int32ul,
        "size" / Int64ul,
        "chunksize" / Int32ul,
        "raid_disks" / Int32ul,
        "bitmap_offset" / Int32sl,
        "new_level" / Int32sl,
        "reshape_position" / Int64ul,
        "delta_disks" / Int32sl,
        "new_layout" / Int32ul,
        "new_chunk" / Int32ul,
        "new_offset" / Int32sl,
        "data_offset" / Int64ul,
        "data_size" / Int64ul,
        "super_offset" / Int64ul,
        "recovery_offset" / Int64ul,
        "dev_number" / Int32ul,
        "cnt_corrected_read" / Int32ul,
        "device_uuid" / Bytes(16),
        "devflags" / Int8ul,
        "bblog_shift" / Int8ul,
        "bblog_size" / Int16ul,
        "bblog_offset" / Int32sl,
        "utime" / Int64ul,
        "events" / Int64ul,
        "resync_offset" / Int64ul,
        "sb_csum" / Int32ul,
        "max_dev" / Int32ul,
        "pad3" / Bytes(32),
    )
)


def _superblock_0(word: Any, signed: Any, double: Any) -> Struct:
    """mdp_super_t, which is kept in the byte order of the machine that made it."""
    return Struct(
        "md_magic" / word,
        "major_version" / word,
        "minor_version" / word,
        "patch_version" / word,
        "gvalid_words" / word,
        "set_uuid0" / Bytes(4),
        "ctime" / word,
        "level" / signed,
        "size" / word,
        "nr_disks" / word,
        "raid_disks" / word,
        "md_minor" / word,
        "not_persistent" / word,
        "set_uuid1_3" / Bytes(12),
        "gstate_creserved" / Bytes(16 * 4),
        "utime" / word,
        "state" / word,
        "active_disks" / word,
        "working_disks" / word,
        "failed_disks" / word,
        "spare_disks" / word,
        "sb_csum" / word,
        "events" / double,
        "cp_events" / double,
        "recovery_cp" / word,
        "reshape_position" / double,
        "new_level" / signed,
        "delta_disks" / signed,
        "new_layout" / word,
        "new_chunk" / word,
        "gstate_sreserved" / Bytes(14 * 4),
        "layout" / word,
        "chunk_size" / word,
        "root_pv" / word,
        "root_block" / word,
        "pstate_reserved" / Bytes(60 * 4),
        "disks" / Bytes(DISKS_0 * DESCRIPTOR_SIZE),
        "this_disk" / Bytes(DESCRIPTOR_SIZE),
    )


def _descriptor_0(word: Any) -> Struct:
    """mdp_disk_t."""
    return Struct(
        "number" / word,
        "major" / word,
        "minor" / word,
        "raid_disk" / word,
        "state" / word,
        "reserved" / Bytes(27 * 4),
    )


DISKS_0 = 27
DESCRIPTOR_SIZE = 32 * 4
SUPERBLOCK_0 = {
    "little": layout(lambda: _superblock_0(Int32ul, Int32sl, Int64ul)),
    "big": layout(lambda: _superblock_0(Int32ub, Int32sb, Int64ub)),
}
DESCRIPTOR_0 = {
    "little": layout(lambda: _descriptor_0(Int32ul)),
    "big": layout(lambda: _descriptor_0(Int32ub)),
}

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

MAGIC_LITTLE = b"\xfc\x4e\x2b\xa9"
MAGIC_BIG = MAGIC_LITTLE[::-1]
# Where a superblock lies; from the end, the size being rounded down to a multiple of ALIGN first.
PLACE_0, ALIGN_0 = -65536, 65536
PLACE_1_0, ALIGN_1_0 = -8192, 4096
PLACE_1_1, PLACE_1_2 = 0, 4096

BITMAP_OFFSET = 0x1
RECOVERY_OFFSET = 0x2
RESHAPE_ACTIVE = 0x4
BAD_BLOCKS = 0x8
NEW_OFFSET = 0x40
JOURNAL = 0x200
PPL = 0x400 | 0x800
FEATURES = {
    0x1: "bitmap_offset",
    0x2: "recovery_offset",
    0x4: "reshape_active",
    0x8: "bad_blocks",
    0x10: "replacement",
    0x20: "reshape_backwards",
    0x40: "new_offset",
    0x80: "recovery_bitmap",
    0x100: "bitmap_versioned",
    0x200: "journal",
    0x400: "ppl",
    0x800: "multiple_ppls",
    0x1000: "raid0_layout",
}
BITMAP_STATES = {0x2: "stale", 0x4: "write-error", 0x8: "hostendian"}
BAD_BLOCK_LOG = 4096
"""Linux reads no more of it."""
DEVICE_FLAGS = {0x1: "write-mostly", 0x2: "failfast"}
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
ROLES = {0xFFFF: "spare", 0xFFFE: "faulty", 0xFFFD: "journal"}
MAX_DEV = (4096 - 256) // 2
NEVER = (1 << 64) - 1
SECONDS = (1 << 40) - 1

STATE_0_CLEAN, STATE_0_ERRORS, STATE_0_BITMAP = 0x1, 0x2, 0x100
DISK_0_FAULTY, DISK_0_ACTIVE, DISK_0_SYNC, DISK_0_WRITEMOSTLY = 0x1, 0x2, 0x4, 0x200
DISK_0_STATES = {
    0x1: "faulty",
    0x2: "active",
    0x4: "sync",
    0x8: "removed",
    0x10: "cluster-add",
    0x100: "candidate",
    0x200: "write-mostly",
    0x400: "failfast",
}
RESHAPE_MINOR = 91


def parse(view: View) -> Identity:
    """The identity of a member. Of several superblocks the one created last counts, as for mdadm."""
    found = list(_superblocks(view))
    if not found:
        raise NotThisFormat("no md superblock whose figures can be true")
    _, best = max(found, key=lambda one: (one[1].checked, one[0]))
    others = [identity for _, identity in found if identity is not best]
    if not others:
        return best
    named = ", ".join(f"{other.version} at {other.offset} of array {other.uuid}" for other in others)
    message = f"further md superblocks, created earlier or damaged: {named}"
    stale: list[Json] = [
        {"version": other.version, "offset": other.offset, "uuid": other.uuid} for other in others
    ]
    return best.replaced(
        details={**best.details, "other_superblocks": stale},
        problems=(*best.problems, Problem(Code.AMBIGUOUS, message)),
    )


def _superblocks(view: View) -> Iterator[tuple[int, Identity]]:
    """What every superblock that can be true says, each after the second in which its array was created."""
    at_1_0 = view.size // ALIGN_1_0 * ALIGN_1_0 + PLACE_1_0
    at_0 = view.size // ALIGN_0 * ALIGN_0 + PLACE_0
    for offset, minor in ((PLACE_1_1, 1), (PLACE_1_2, 2), (at_1_0, 0), (at_0, None)):
        order = {MAGIC_LITTLE: "little", MAGIC_BIG: "big"}.get(view.glance(offset, 4))
        if order is None or (minor is not None and order == "big"):
            continue
        try:
            yield _version_0(view, offset, order) if minor is None else _version_1(view, offset, minor)
        except (NotThisFormat, ShortRead):
            continue


def _folded(total: int) -> int:
    return (total & 0xFFFFFFFF) + (total >> 32) & 0xFFFFFFFF


def checksum_1(superblock: bytes) -> int:
    """The sb_csum of a version 1 superblock, its device roles included."""
    plain = superblock[:216] + bytes(4) + superblock[220:]
    odd = len(plain) % 4
    total = sum(unpack(f"<{len(plain) // 4}I", plain[: len(plain) - odd]))
    if odd:
        total += int.from_bytes(plain[-2:], "little")
    return _folded(total)


def checksum_0(superblock: bytes, order: str) -> int:
    """The sb_csum of a version 0.90 superblock, whose byte ``order`` is ``little`` or ``big``."""
    sign = "<" if order == "little" else ">"
    total = sum(unpack(f"{sign}1024I", superblock[:152] + bytes(4) + superblock[156:]))
    return _folded(total)


def _version_1(view: View, offset: int, minor: int) -> tuple[int, Identity]:
    head = view.read(offset, SUPERBLOCK_1.size)
    sb = parse_struct(head, SUPERBLOCK_1)
    if sb.major_version != 1 or sb.super_offset * SECTOR != offset or sb.max_dev > MAX_DEV:
        raise NotThisFormat(f"no version 1.{minor} superblock of this place")
    uuid, name = uuid_text(sb.set_uuid), text(sb.set_name)
    if uuid is None:
        raise NotThisFormat("an array without a UUID")
    raw = head + view.read(offset + SUPERBLOCK_1.size, 2 * sb.max_dev)
    problems = []
    checked = checksum_1(raw) == sb.sb_csum
    if not checked:
        message = f"the checksum of the md superblock at {offset} does not match"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
        if sb.level not in LEVELS or sb.raid_disks > MAX_DEV or sb.dev_number >= max(sb.max_dev, 1):
            raise NotThisFormat("neither the checksum nor the figures hold")
    end = (sb.data_offset + sb.data_size) * SECTOR
    if end > view.size:
        problems.append(
            Problem(Code.TRUNCATED, f"the member's data ends at {end}, the volume at {view.size}")
        )
    roles = unpack(f"<{sb.max_dev}H", raw[SUPERBLOCK_1.size :])
    role = _role(roles[sb.dev_number]) if sb.dev_number < sb.max_dev else "spare"
    reshape: dict[str, Json] | None = None
    if sb.feature_map & RESHAPE_ACTIVE:
        reshape = {
            "position": sb.reshape_position * SECTOR,
            "delta_disks": sb.delta_disks,
            "new_level": LEVELS.get(sb.new_level, str(sb.new_level)),
            "new_layout": layout_name(sb.new_level, sb.new_layout),
            "new_layout_number": sb.new_layout,
            "new_chunk": sb.new_chunk * SECTOR,
            "new_data_offset": (sb.data_offset + sb.new_offset) * SECTOR
            if sb.feature_map & NEW_OFFSET
            else None,
        }
    details: dict[str, Json] = {
        **_geometry(sb.level, sb.layout, sb.chunksize * SECTOR, sb.raid_disks, sb.size * SECTOR),
        "events": sb.events,
        "features": [*flag_names(sb.feature_map, FEATURES, "feature")],
        "super_offset": offset,
        "data_offset": sb.data_offset * SECTOR,
        "data_size": sb.data_size * SECTOR,
        "device_number": sb.dev_number,
        "device_role": role,
        "device_flags": [*flag_names(sb.devflags, DEVICE_FLAGS, "flag")],
        "roles": _roles(roles),
        "array_state": _array_state(roles, sb.raid_disks + max(0, sb.delta_disks if reshape else 0)),
        "resync_offset": None if sb.resync_offset == NEVER else sb.resync_offset * SECTOR,
        "recovery_offset": sb.recovery_offset * SECTOR if sb.feature_map & RECOVERY_OFFSET else None,
        "bitmap_offset": offset + sb.bitmap_offset * SECTOR if sb.feature_map & BITMAP_OFFSET else None,
        "reshape": reshape,
        "corrected_read_errors": sb.cnt_corrected_read,
        "checksum": f"{sb.sb_csum:08x}",
        "checksum_correct": checked,
    }
    if sb.feature_map & BITMAP_OFFSET:
        details["bitmap"] = _bitmap(view, offset + sb.bitmap_offset * SECTOR)
    if sb.feature_map & PPL:
        # The same four bytes: where the partial parity log lies, and how long it is.
        sectors, length = unpack("<hH", sb.bitmap_offset.to_bytes(4, "little", signed=True))
        details["ppl"] = {"offset": offset + sectors * SECTOR, "size": length * SECTOR}
    if sb.bblog_size:
        details["bad_block_log"] = {
            "offset": offset + sb.bblog_offset * SECTOR,
            "size": sb.bblog_size * SECTOR,
        }
        if sb.feature_map & BAD_BLOCKS:
            details["bad_blocks"] = _bad_blocks(view, offset + sb.bblog_offset * SECTOR, sb)
    return (
        sb.ctime & SECONDS,
        Identity(
            type="linux_raid_member",
            fstype="raid",
            label=name,
            uuid=uuid,
            uuid_sub=uuid_text(sb.device_uuid),
            version=f"1.{minor}",
            created=_time(sb.ctime),
            modified=_time(sb.utime),
            state="clean" if sb.resync_offset == NEVER else "dirty",
            group=Membership(
                type="md",
                uuid=uuid,
                name=name,
                role=role,
                members=sb.raid_disks,
                identity=uuid_text(sb.device_uuid),
                as_of=_as_of(role, sb.events, sb.utime & SECONDS),
            ),
            offset=offset,
            checked=checked,
            details=details,
            problems=tuple(problems),
            with_table=None if minor else TableRule.HIDES_WHEN_BEHIND,
        ),
    )


def _bitmap(view: View, offset: int) -> dict[str, Json] | None:
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


def _bad_blocks(view: View, offset: int, sb: Any) -> list[Json]:
    """The runs of the device that are recorded as bad, ``[offset, size]`` in bytes each."""
    found: list[Json] = []
    log = view.glance(offset, min(sb.bblog_size * SECTOR, BAD_BLOCK_LOG))
    for (entry,) in iter_unpack("<Q", log[: len(log) // 8 * 8]):
        if entry == NEVER:
            break
        shift = min(sb.bblog_shift, 32)
        if entry:
            found.append([(entry >> 10 << shift) * SECTOR, ((entry & 0x3FF) << shift) * SECTOR])
    return found


def _array_state(roles: tuple[int, ...], slots: int) -> str:
    """As mdadm writes it: A, . or R for every slot that has one device, none, or one and its replacement."""
    holders = [0] * min(slots, MAX_DEV)
    for role in roles:
        if role < len(holders):
            holders[role] += 1
    return "".join(".AR"[count] if count < 3 else "?" for count in holders)


def _roles(roles: tuple[int, ...]) -> list[Json]:
    """By device number; what stands after the last device in use is only unused."""
    used = [number for number, role in enumerate(roles) if role not in (0xFFFF, 0xFFFE)]
    return [_role(role) for role in roles[: used[-1] + 1]] if used else []


def _as_of(role: str, events: int, utime: int) -> tuple[int, ...]:
    """What members that were written together have in common."""
    # A spare is left alone where the array only goes dirty and clean, though the events come back to its.
    return () if role == "spare" else (events, utime)


def _role(number: int) -> str:
    return ROLES.get(number, str(number))


def _time(stamp: int) -> str | None:
    """Version 1's times: seconds in the low 40 bits, microseconds above."""
    return unix_time(stamp & SECONDS, (stamp >> 40) * 1000)


def _version_0(view: View, offset: int, order: str) -> tuple[int, Identity]:
    raw = view.read(offset, SUPERBLOCK_0[order].size)
    sb = parse_struct(raw, SUPERBLOCK_0[order])
    this = parse_struct(sb.this_disk, DESCRIPTOR_0[order])
    minor = sb.minor_version
    if sb.major_version != 0 or not 1 <= sb.raid_disks <= DISKS_0:
        raise NotThisFormat(f"version {sb.major_version}, {sb.raid_disks} disks")
    if this.number > DISKS_0 or sb.nr_disks > DISKS_0:
        raise NotThisFormat(f"disk {this.number} of {sb.nr_disks}")
    problems = []
    checked = checksum_0(raw, order) == sb.sb_csum
    if not checked and sb.level not in LEVELS:
        raise NotThisFormat(f"level {sb.level}, and a wrong checksum")
    if not checked:
        message = f"the checksum of the md superblock at {offset} does not match"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
    # The UUID is four numbers in the superblock's byte order, written out as numbers.
    parts = sb.set_uuid0 + (sb.set_uuid1_3 if minor >= 90 else bytes(12))
    if order == "little":
        parts = b"".join(parts[at : at + 4][::-1] for at in range(0, 16, 4))
    uuid = uuid_text(parts)
    if uuid is None:
        raise NotThisFormat("an array without a UUID")
    role = _role_0(this)
    roles: list[Json] = []
    for number in range(sb.nr_disks):
        disk = parse_struct(sb.disks, DESCRIPTOR_0[order], number * DESCRIPTOR_SIZE)
        roles.append(_role_0(disk) if disk.major or disk.minor else None)
    reshape: dict[str, Json] | None = None
    if minor >= RESHAPE_MINOR and sb.reshape_position != NEVER:
        reshape = {
            "position": sb.reshape_position * SECTOR,
            "delta_disks": sb.delta_disks,
            "new_level": LEVELS.get(sb.new_level, str(sb.new_level)),
            "new_layout": layout_name(sb.new_level, sb.new_layout),
            "new_layout_number": sb.new_layout,
            "new_chunk": sb.new_chunk,
            "new_data_offset": None,
        }
    clean = bool(sb.state & STATE_0_CLEAN)
    details: dict[str, Json] = {
        **_geometry(sb.level, sb.layout, sb.chunk_size, sb.raid_disks, sb.size * 1024),
        "events": sb.events,
        "byte_order": order,
        "super_offset": offset,
        "data_offset": 0,
        "data_size": offset,
        "preferred_minor": sb.md_minor,
        "device_number": this.number,
        "device_role": role,
        "device_flags": [*flag_names(this.state, DISK_0_STATES, "state")],
        "roles": roles,
        "active_devices": sb.active_disks,
        "faulty_devices": sb.failed_disks,
        "spare_devices": sb.spare_disks,
        "working_devices": sb.working_disks,
        "resync_offset": None if clean else sb.recovery_cp * SECTOR,
        "recovery_offset": None,
        "bitmap_offset": offset + 4096 if sb.state & STATE_0_BITMAP else None,
        "reshape": reshape,
        "checksum": f"{sb.sb_csum:08x}",
        "checksum_correct": checked,
    }
    if sb.state & STATE_0_BITMAP:
        details["bitmap"] = _bitmap(view, offset + 4096)
    return (
        sb.ctime,
        Identity(
            type="linux_raid_member",
            fstype="raid",
            uuid=uuid,
            version=f"{sb.major_version}.{minor}.{sb.patch_version}",
            created=unix_time(sb.ctime),
            modified=unix_time(sb.utime),
            state="error" if sb.state & STATE_0_ERRORS else "clean" if clean else "dirty",
            group=Membership(
                type="md",
                uuid=uuid,
                role=role,
                members=sb.raid_disks,
                # A device has no UUID here, but its number, and the device number that it had.
                identity=f"{this.number} at {this.major}:{this.minor}",
                as_of=_as_of(role, sb.events, sb.utime),
            ),
            offset=offset,
            checked=checked,
            details=details,
            problems=tuple(problems),
            with_table=TableRule.HIDES_WHEN_BEHIND,
        ),
    )


def _role_0(disk: Any) -> str:
    if disk.state & DISK_0_FAULTY:
        return "faulty"
    if disk.state & (DISK_0_ACTIVE | DISK_0_SYNC):
        return str(disk.raid_disk)
    return "spare"


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


def _geometry(level: int, number: int, chunk: int, disks: int, used: int) -> dict[str, Json]:
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


FORMAT = Format(
    name="md",
    title="Linux software RAID",
    specification="https://raid.wiki.kernel.org/index.php/RAID_superblock_formats",
    usage=Usage.RAID,
    types=("linux_raid_member",),
    parse=parse,
    signatures=(
        Signature(MAGIC_LITTLE, PLACE_1_1),
        Signature(MAGIC_LITTLE, PLACE_1_2),
        Signature(MAGIC_LITTLE, PLACE_1_0, align=ALIGN_1_0),
        Signature(MAGIC_LITTLE, PLACE_0, align=ALIGN_0),
        Signature(MAGIC_BIG, PLACE_0, align=ALIGN_0),
    ),
    precedence=Precedence.RAID,
)
