"""Version 1 superblocks of Linux md members (1.0, 1.1 and 1.2, which differ in where they lie).

Layout: include/uapi/linux/raid/md_p.h of the Linux kernel, struct mdp_superblock_1.
"""

from struct import iter_unpack, unpack
from typing import Any

from construct import Bytes, Int8ul, Int16ul, Int32sl, Int32ul, Int64ul, Struct

from pyimount.formats import Identity, Json, Membership, NotThisFormat, TableRule
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import flag_names, text, unix_time, uuid_text
from pyimount.parsers.volumes.md_array import (
    LEVELS,
    NEVER,
    SECTOR,
    as_of,
    bitmap_facts,
    folded,
    geometry,
    layout_name,
)
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

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
BAD_BLOCK_LOG = 4096
"""Linux reads no more of it."""
DEVICE_FLAGS = {0x1: "write-mostly", 0x2: "failfast"}
ROLES = {0xFFFF: "spare", 0xFFFE: "faulty", 0xFFFD: "journal"}
MAX_DEV = (4096 - 256) // 2
SECONDS = (1 << 40) - 1


def checksum_1(superblock: bytes) -> int:
    """The sb_csum of a version 1 superblock, its device roles included."""
    plain = superblock[:216] + bytes(4) + superblock[220:]
    odd = len(plain) % 4
    total = sum(unpack(f"<{len(plain) // 4}I", plain[: len(plain) - odd]))
    if odd:
        total += int.from_bytes(plain[-2:], "little")
    return folded(total)


def version_1(view: View, offset: int, minor: int) -> tuple[int, Identity]:
    """The second in which the array was created, and the member, by the superblock of version 1.``minor``.

    Raises NotThisFormat and ShortRead.
    """
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
        **geometry(sb.level, sb.layout, sb.chunksize * SECTOR, sb.raid_disks, sb.size * SECTOR),
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
        details["bitmap"] = bitmap_facts(view, offset + sb.bitmap_offset * SECTOR)
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
                as_of=as_of(role, sb.events, sb.utime & SECONDS),
            ),
            offset=offset,
            checked=checked,
            details=details,
            problems=tuple(problems),
            with_table=None if minor else TableRule.HIDES_WHEN_BEHIND,
        ),
    )


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


def _role(number: int) -> str:
    return ROLES.get(number, str(number))


def _time(stamp: int) -> str | None:
    """Version 1's times: seconds in the low 40 bits, microseconds above."""
    return unix_time(stamp & SECONDS, (stamp >> 40) * 1000)
