"""Version 0.90 superblocks of Linux md members, in the byte order of the machine that made them.

Layout: include/uapi/linux/raid/md_p.h of the Linux kernel, mdp_super_t.
"""

from struct import unpack
from typing import Any

from construct import Bytes, Int32sb, Int32sl, Int32ub, Int32ul, Int64ub, Int64ul, Struct

from pyimount.formats import Identity, Json, Membership, NotThisFormat, TableRule
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import flag_names, unix_time, uuid_text
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


def checksum_0(superblock: bytes, order: str) -> int:
    """The sb_csum of a version 0.90 superblock, whose byte ``order`` is ``little`` or ``big``."""
    sign = "<" if order == "little" else ">"
    total = sum(unpack(f"{sign}1024I", superblock[:152] + bytes(4) + superblock[156:]))
    return folded(total)


def version_0(view: View, offset: int, order: str) -> tuple[int, Identity]:
    """The second in which the array was created, and the member, by the superblock at ``offset``.

    ``order``: its byte order, ``little`` or ``big``. Raises NotThisFormat and ShortRead.
    """
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
        **geometry(sb.level, sb.layout, sb.chunk_size, sb.raid_disks, sb.size * 1024),
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
        details["bitmap"] = bitmap_facts(view, offset + 4096)
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
                as_of=as_of(role, sb.events, sb.utime),
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
