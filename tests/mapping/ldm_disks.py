"""Dynamic disks with known content: one volume over several disks, of every kind there is."""

from typing import Any

from fixtures.recipes.ldm import (
    SECTOR,
    component_record,
    disk_record,
    mbr_disk,
    partition_record,
    volume_record,
)
from pyimount.parsers.volumes.ldm_database import CONCATENATED, RAID5, STRIPED
from tests.mapping.md_members import striped, with_parity
from tests.mapping.volume_members import content

SECTORS = 240
CHUNK = 8
START = 65
SIZE = SECTORS * SECTOR


def group(kind: int, areas: list[bytes], *, components: int = 1, **more: Any) -> list[bytearray]:
    """Disks with one volume over all of them: ``components`` copies of it, or one over several."""
    count = len(areas)
    each = count // components
    chunk = CHUNK if kind in (STRIPED, RAID5) else 0
    width = {STRIPED: count, RAID5: count - 1, CONCATENATED: each}[kind]
    records = {
        "volume": [volume_record(1, b"Volume1", width * SECTORS, components, raid5=kind == RAID5)],
        "component": [component_record(2 + at, 1, each, kind, chunk) for at in range(components)],
        "partition": [
            partition_record(
                20 + at, 2 + at // each, 101 + at, START, SECTORS,
                offset=at % each * SECTORS if kind == CONCATENATED else 0, column=at % each,
            )
            for at in range(count)
        ],
        "disk": [disk_record(101 + at) for at in range(count)],
    }  # fmt: skip
    return [
        mbr_disk(101 + at, records, bytes(START * SECTOR) + area, **more) for at, area in enumerate(areas)
    ]


def spanned() -> tuple[list[bytearray], bytes, int]:
    data = content(3 * SIZE)
    return group(CONCATENATED, [data[at * SIZE : (at + 1) * SIZE] for at in range(3)]), data, 0


def striped_volume() -> tuple[list[bytearray], bytes, int]:
    data = content(3 * SIZE)
    return group(STRIPED, striped(data, [SIZE] * 3, CHUNK * SECTOR)), data, 0


def mirrored() -> tuple[list[bytearray], bytes, int]:
    data = content(SIZE)
    return group(CONCATENATED, [data, data], components=2), data, 1


def raid5() -> tuple[list[bytearray], bytes, int]:
    data = content(3 * SIZE)
    return group(RAID5, with_parity(data, 5, 2, CHUNK * SECTOR)), data, 1


KINDS = {"spanned": spanned, "striped": striped_volume, "mirrored": mirrored, "raid5": raid5}
