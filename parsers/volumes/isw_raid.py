"""Members of Intel Matrix Storage / Rapid Storage arrays ("isw", "imsm").

No specification is published; layout after dmraid (lib/format/ataraid/isw.h, by Intel) and mdadm
(super-intel.c). https://sources.debian.org/src/mdadm/
"""

from hashlib import sha1
from struct import unpack
from typing import Any

from construct import Bytes, Int8ul, Int16ul, Int32ul, Struct

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
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import flag_names, text
from pyimount.parsers.volumes.bios_raid import SECTOR, place
from pyimount.problems import Code, Problem
from pyimount.sources.errors import ReadError
from pyimount.sources.view import ShortRead, View

METADATA = layout(
    lambda: Struct(
        "sig" / Bytes(32),
        "check_sum" / Int32ul,
        "mpb_size" / Int32ul,
        "family_num" / Int32ul,
        "generation_num" / Int32ul,
        "error_log_size" / Int32ul,
        "attributes" / Int32ul,
        "num_disks" / Int8ul,
        "num_raid_devs" / Int8ul,
        "error_log_pos" / Int8ul,
        "fill" / Bytes(1),
        "cache_size" / Int32ul,
        "orig_family_num" / Int32ul,
        "power_cycle_count" / Int32ul,
        "bbm_log_size" / Int32ul,
        "filler" / Bytes(35 * 4),
    )
)

DISK = layout(
    lambda: Struct(
        "serial" / Bytes(16),
        "totalBlocks" / Int32ul,
        "scsiId" / Int32ul,
        "status" / Int32ul,
        "owner_cfg_num" / Int32ul,
        "total_blocks_hi" / Int32ul,
        "filler" / Bytes(12),
    )
)

DEVICE = layout(
    lambda: Struct(
        "volume" / Bytes(16),
        "SizeLow" / Int32ul,
        "SizeHigh" / Int32ul,
        "status" / Int32ul,
        "reserved_blocks" / Int32ul,
        "migr_priority" / Int8ul,
        "num_sub_vol" / Int8ul,
        "tid" / Int8ul,
        "cng_master_disk" / Int8ul,
        "cache_policy" / Int16ul,
        "cng_state" / Int8ul,
        "cng_sub_state" / Int8ul,
        "filler" / Bytes(40),
        "curr_migr_unit" / Int32ul,
        "check_point_id" / Int32ul,
        "migr_state" / Int8ul,
        "migr_type" / Int8ul,
        "dirty" / Int8ul,
        "fs_state" / Int8ul,
        "verify_errors" / Int16ul,
        "verify_bad_blocks" / Int16ul,
        "vol_filler" / Bytes(16),
    )
)

MAP = layout(
    lambda: Struct(
        "pba_of_lba0" / Int32ul,
        "blocks_per_member" / Int32ul,
        "num_data_stripes" / Int32ul,
        "blocks_per_strip" / Int16ul,
        "map_state" / Int8ul,
        "raid_level" / Int8ul,
        "num_members" / Int8ul,
        "num_domains" / Int8ul,
        "failed_disk_num" / Int8ul,
        "ddf" / Int8ul,
        "pba_of_lba0_hi" / Int32ul,
        "blocks_per_member_hi" / Int32ul,
        "num_data_stripes_hi" / Int32ul,
        "filler" / Bytes(16),
    )
)

MAGIC = b"Intel Raid ISM Cfg Sig. "
SIZE_CAP = 1 << 20
"""No larger metadata is read, in bytes; real ones have a few sectors."""

_STATUS = {0x1: "spare", 0x2: "configured", 0x4: "failed", 0x8: "usable", 0x40: "journal"}
_STATES = ("normal", "uninitialised", "degraded", "failed")
_MIGRATIONS = ("initialising", "rebuilding", "verifying", "general migration", "state change", "repairing")
_MEMBER, _REBUILT = (1 << 24) - 1, 1 << 24
_MIGRATING = 1


def parse(view: View) -> Identity:
    """Read the anchor in the last sector but one, and what goes on in the sectors before it."""
    at = place(view, 2)
    anchor = view.read(at, SECTOR)
    head = parse_struct(anchor, METADATA)
    version = text(head.sig[len(MAGIC) :])
    if not head.sig.startswith(MAGIC) or version is None:
        raise NotThisFormat("no anchor")
    problems: list[Problem] = []
    raw = _whole(view, at, anchor, head.mpb_size, problems)
    checked = len(raw) == head.mpb_size and checksum(raw) == head.check_sum
    if not checked:
        problems.append(Problem(Code.BAD_CHECKSUM, "the checksum of the Intel RAID metadata does not match"))
    disks: list[Json] = []
    volumes: list[Json] = []
    names: list[str] = []
    try:
        position = METADATA.size
        for _ in range(head.num_disks):
            disks.append(_disk(parse_struct(raw, DISK, position)))
            position += DISK.size
        for _ in range(head.num_raid_devs):
            name, facts, position = _device(raw, position)
            volumes.append(facts)
            names.append(name or "")
    except NotThisFormat:
        problems.append(Problem(Code.DAMAGED, "the Intel RAID metadata ends in a disk or a volume"))
    family = head.orig_family_num or head.family_num
    uuid = array_uuid(family)
    details: dict[str, Json] = {
        "family": f"{head.family_num:08x}",
        "original_family": f"{head.orig_family_num:08x}",
        "generation": head.generation_num,
        "uuid": uuid,
        "disks": disks,
        "volumes": volumes,
    }
    return Identity(
        type="isw_raid_member",
        fstype="raid",
        version=version,
        group=Membership(
            type="isw",
            uuid=uuid,
            name=", ".join(names) or None,
            members=head.num_disks or None,
            # Which of the disks this is, the metadata does not say: all have the same.
            as_of=(head.generation_num, head.check_sum),
        ),
        offset=at,
        checked=checked,
        details=details,
        problems=tuple(problems),
    )


def checksum(raw: bytes) -> int:
    """The sum of all words but the checksum itself."""
    words = unpack(f"<{len(raw) // 4}I", raw[: len(raw) // 4 * 4])
    total: int = sum(words) - words[8]
    return total & 0xFFFFFFFF


def array_uuid(family: int) -> str:
    """The identifier that mdadm makes for a set of disks of this family."""
    digest = sha1(MAGIC + family.to_bytes(4, "little"), usedforsecurity=False).digest()
    return ":".join(digest[at : at + 4][::-1].hex() for at in range(0, 16, 4))


def _whole(view: View, at: int, anchor: bytes, size: int, problems: list[Problem]) -> bytes:
    """The metadata: its first sector is the anchor, the others stand before that."""
    if not METADATA.size <= size <= SIZE_CAP:
        problems.append(Problem(Code.DAMAGED, f"Intel RAID metadata of {size} bytes"))
        return anchor
    sectors = -(-size // SECTOR) - 1
    try:
        return (anchor + view.read(at - sectors * SECTOR, sectors * SECTOR))[:size]
    except (ShortRead, ReadError):
        problems.append(Problem(Code.TRUNCATED, "the Intel RAID metadata begins before the disk does"))
        return anchor


def _disk(disk: Any) -> dict[str, Json]:
    return {
        "serial": text(disk.serial.strip(b" \0")),
        "size": (disk.total_blocks_hi << 32 | disk.totalBlocks) * SECTOR,
        "status": [*flag_names(disk.status & 0x4F, _STATUS, "status")],
    }


def _device(raw: bytes, at: int) -> tuple[str | None, dict[str, Json], int]:
    """A volume: its name, what it is, and where the next one begins."""
    device = parse_struct(raw, DEVICE, at)
    at += DEVICE.size
    now, slots, at = _map(raw, at)
    words = slots
    if device.migr_state == _MIGRATING:
        _, before, at = _map(raw, at)
        words = [*slots, *before]
    name = text(device.volume)
    level = now.raid_level
    if level in (1, 2, 10):
        level = 1 if now.num_members == 2 else 10
    facts: dict[str, Json] = {
        "name": name,
        "level": f"raid{level}",
        "size": (device.SizeHigh << 32 | device.SizeLow) * SECTOR,
        "members": now.num_members,
        "slots": [word & _MEMBER for word in slots],
        # Disks that do not have all of their data yet.
        "rebuilding": [*sorted({word & _MEMBER for word in words if word & _REBUILT})],
        "chunk_size": now.blocks_per_strip * SECTOR,
        "offset": (now.pba_of_lba0_hi << 32 | now.pba_of_lba0) * SECTOR,
        "member_size": (now.blocks_per_member_hi << 32 | now.blocks_per_member) * SECTOR,
        "state": _STATES[now.map_state] if now.map_state < len(_STATES) else str(now.map_state),
        "dirty": bool(device.dirty & 1),
        "migration": None,
    }
    if device.migr_state == _MIGRATING:
        number = device.migr_type
        facts["migration"] = _MIGRATIONS[number] if number < len(_MIGRATIONS) else str(number)
    return name, facts, at


def _map(raw: bytes, at: int) -> tuple[Any, list[int], int]:
    """A map, the words of its slots (a disk's number, and whether it is being rebuilt), and where it ends."""
    found = parse_struct(raw, MAP, at)
    at += MAP.size
    end = at + 4 * found.num_members
    if end > len(raw):
        raise NotThisFormat("a map ends after the metadata")
    return found, [*unpack(f"<{found.num_members}I", raw[at:end])], end


FORMAT = Format(
    name="isw_raid",
    title="Intel RAID member",
    specification="https://sources.debian.org/src/mdadm/",
    usage=Usage.RAID,
    types=("isw_raid_member",),
    parse=parse,
    signatures=(Signature(MAGIC, -2 * SECTOR, align=SECTOR),),
    precedence=Precedence.RAID,
    with_table=TableRule.HIDES_WHEN_BEHIND,
)
