"""Disks of Intel RAIDs: metadata after mdadm's super-intel.c, the volumes' bytes dealt out over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack
from typing import Any

from pyimount.parsers.volumes import isw_raid
from tests.mapping.md_members import striped, with_parity

SECTOR = 512
CHUNK = 16 * SECTOR
LEVELS = {"raid0": 0, "raid1": 1, "raid10": 1, "raid5": 5}


@dataclass(frozen=True)
class Volume:
    """A volume: what it holds, over the disks of these numbers, from this byte of each."""

    level: str
    data: bytes
    slots: tuple[int, ...]
    offset: int = 0
    name: str = "Volume0"
    rebuilding: tuple[int, ...] = ()
    migration: int | None = None

    @property
    def areas(self) -> list[bytes]:
        """Its bytes on each of its disks."""
        count = len(self.slots)
        if self.level == "raid1":
            return [self.data] * count
        if self.level == "raid5":
            return with_parity(self.data, 5, 0, CHUNK)
        width = count if self.level == "raid0" else count // 2
        stripes = striped(self.data, [len(self.data) // width] * width, CHUNK)
        return stripes if self.level == "raid0" else [area for area in stripes for _ in range(2)]


def metadata(volumes: Sequence[Volume], disks: int, size: int, generation: int = 7) -> bytes:
    """The metadata, its sectors in the order in which it is read: the anchor first."""
    head: dict[str, Any] = {
        "sig": (isw_raid.MAGIC + b"1.3.00").ljust(32, b"\0"), "check_sum": 0, "mpb_size": 0,
        "family_num": 0x0F9C8BBD, "generation_num": generation, "error_log_size": 0,
        "attributes": 0x80000000, "num_disks": disks, "num_raid_devs": len(volumes), "error_log_pos": 0,
        "fill": b"\0", "cache_size": 0, "orig_family_num": 0x0F9C8BBD, "power_cycle_count": 0,
        "bbm_log_size": 0, "filler": bytes(140),
    }  # fmt: skip
    body = b"".join(
        isw_raid.DISK.construct.build(
            {
                "serial": f"/dev/loop{number}".encode().ljust(16, b"\0"), "totalBlocks": size // SECTOR,
                "scsiId": number, "status": 0x2, "owner_cfg_num": 0, "total_blocks_hi": 0,
                "filler": bytes(12),
            }
        )
        for number in range(disks)
    )  # fmt: skip
    body += b"".join(_device(volume) for volume in volumes)
    head["mpb_size"] = isw_raid.METADATA.size + len(body)
    build = isw_raid.METADATA.construct.build
    head["check_sum"] = isw_raid.checksum(build(head) + body)
    return (build(head) + body).ljust(-(-head["mpb_size"] // SECTOR) * SECTOR, b"\0")


def _device(volume: Volume) -> bytes:
    migrating = volume.migration is not None
    device = isw_raid.DEVICE.construct.build(
        {
            "volume": volume.name.encode().ljust(16, b"\0"), "SizeLow": len(volume.data) // SECTOR,
            "SizeHigh": 0, "status": 0, "reserved_blocks": 0, "migr_priority": 0, "num_sub_vol": 0, "tid": 1,
            "cng_master_disk": 0, "cache_policy": 0, "cng_state": 0, "cng_sub_state": 0,
            "filler": bytes(40), "curr_migr_unit": 0, "check_point_id": 0, "migr_state": migrating,
            "migr_type": volume.migration or 0, "dirty": 0, "fs_state": 0, "verify_errors": 0,
            "verify_bad_blocks": 0, "vol_filler": bytes(16),
        }
    )  # fmt: skip
    area = len(volume.areas[0])
    one = isw_raid.MAP.construct.build(
        {
            "pba_of_lba0": volume.offset // SECTOR, "blocks_per_member": area // SECTOR,
            "num_data_stripes": area // CHUNK, "blocks_per_strip": CHUNK // SECTOR, "map_state": 0,
            "raid_level": LEVELS[volume.level], "num_members": len(volume.slots),
            "num_domains": 2 if volume.level in {"raid1", "raid10"} else 1, "failed_disk_num": 255, "ddf": 1,
            "pba_of_lba0_hi": 0, "blocks_per_member_hi": 0, "num_data_stripes_hi": 0, "filler": bytes(16),
        }
    )  # fmt: skip
    words = (number | (number in volume.rebuilding) << 24 for number in volume.slots)
    one += pack(f"<{len(volume.slots)}I", *words)
    return device + one * (2 if migrating else 1)


def disks(volumes: Sequence[Volume], *, generation: int = 7, spare: int = 64 * SECTOR) -> list[bytearray]:
    """The disks that have these volumes, in the order of their numbers."""
    count = 1 + max(number for volume in volumes for number in volume.slots)
    size = max(volume.offset + len(volume.areas[0]) for volume in volumes) + spare
    raw = metadata(volumes, count, size, generation)
    made = [bytearray(size) for _ in range(count)]
    for volume in volumes:
        for number, area in zip(volume.slots, volume.areas, strict=True):
            made[number][volume.offset : volume.offset + len(area)] = area
    for disk in made:
        disk[size - 2 * SECTOR - (len(raw) - SECTOR) : size - SECTOR] = raw[SECTOR:] + raw[:SECTOR]
    return made
