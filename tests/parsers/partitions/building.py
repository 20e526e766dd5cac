"""Partition tables built with the parsers' own declarations, for what no tool writes."""

from collections.abc import Iterable
from dataclasses import dataclass
from zlib import crc32

from pyimount.formats import NotThisFormat, Table, TableFormat
from pyimount.parsers.partitions import boot_sector, gpt
from pyimount.sources.source import BytesSource
from pyimount.sources.view import ShortRead, View

SECTOR = 512


def read(
    declared: TableFormat,
    image: bytes | bytearray,
    *,
    sector_size: int | None = None,
    disk_offset: int | None = 0,
) -> Table | None:
    """What a format says of these bytes; None where it says that they are not its own."""
    try:
        return declared.parse(View(BytesSource(bytes(image)), sector_size, disk_offset))
    except (NotThisFormat, ShortRead):
        return None


def table(declared: TableFormat, image: bytes | bytearray, **told: int | None) -> Table:
    """The same, where it must know them."""
    found = read(declared, image, **told)
    assert found is not None, f"{declared.name} does not recognise it"
    return found


def codes(found: Table) -> list[str]:
    """The codes of a table's problems."""
    return [problem.code.value for problem in found.problems]


def places(found: Table) -> list[tuple[int, int, int]]:
    """Number, first sector and sectors of every partition."""
    return [
        (entry.number, entry.offset // found.sector_size, entry.size // found.sector_size)
        for entry in found.partitions
    ]


def record(kind: int, start: int, size: int, *, active: bool = False) -> bytes:
    values = {
        "BootIndicator": 0x80 if active else 0,
        "StartingCHS": bytes(3),
        "OSType": kind,
        "EndingCHS": bytes(3),
        "StartingLBA": start,
        "SizeInLBA": size,
    }
    return bytes(boot_sector.RECORD.construct.build(values))


def boot(*records: bytes, signature: int = 0) -> bytes:
    """A first sector, or an extended boot record, with these partition records."""
    table = b"".join(records).ljust(64, b"\0")
    return bytes(440) + signature.to_bytes(4, "little") + bytes(2) + table + boot_sector.SIGNATURE


def place(image: bytearray, offset: int, data: bytes) -> None:
    image[offset : offset + len(data)] = data


@dataclass(frozen=True)
class Part:
    """An entry of a GPT: its number, and what it says."""

    number: int
    start: int
    end: int
    kind: bytes = b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4"
    attributes: int = 0
    name: str = ""


def gpt_disk(
    parts: Iterable[Part],
    *,
    sectors: int = 4096,
    unit: int = SECTOR,
    count: int = 128,
    entry_size: int = 128,
    first_sector: bytes | None = None,
) -> bytearray:
    """A disk with a GPT whose two copies are right."""
    array = bytearray(count * entry_size)
    for part in parts:
        values = {
            "PartitionTypeGUID": part.kind,
            "UniquePartitionGUID": bytes([part.number]) * 16,
            "StartingLBA": part.start,
            "EndingLBA": part.end,
            "Attributes": part.attributes,
            "PartitionName": part.name.encode("utf-16-le").ljust(72, b"\0"),
        }
        place(array, (part.number - 1) * entry_size, gpt.ENTRY.construct.build(values))
    blocks = -(-len(array) // unit)
    image = bytearray(sectors * unit)
    protective = boot(record(0xEE, 1, min(sectors - 1, 0xFFFFFFFF)))
    place(image, 0, protective if first_sector is None else first_sector)
    for mine, other, entries in ((1, sectors - 1, 2), (sectors - 1, 1, sectors - 1 - blocks)):
        usable = (2 + blocks, sectors - 2 - blocks)
        place(image, mine * unit, header(bytes(array), (mine, other, entries), usable, (count, entry_size)))
        place(image, entries * unit, bytes(array))
    return image


def header(
    array: bytes, lbas: tuple[int, int, int], usable: tuple[int, int], sizes: tuple[int, int]
) -> bytes:
    """A header: ``lbas`` of itself, its copy and the entries; ``sizes``: number of entries, bytes of one."""
    mine, other, entries = lbas
    count, entry_size = sizes
    values = {
        "Signature": gpt.MAGIC,
        "Revision": 0x10000,
        "HeaderSize": 92,
        "HeaderCRC32": 0,
        "Reserved": 0,
        "MyLBA": mine,
        "AlternateLBA": other,
        "FirstUsableLBA": usable[0],
        "LastUsableLBA": usable[1],
        "DiskGUID": bytes(range(16)),
        "PartitionEntryLBA": entries,
        "NumberOfPartitionEntries": count,
        "SizeOfPartitionEntry": entry_size,
        "PartitionEntryArrayCRC32": crc32(array),
    }
    raw = gpt.HEADER.construct.build(values)
    return bytes(gpt.HEADER.construct.build({**values, "HeaderCRC32": crc32(raw)}))


def resigned(image: bytearray, lba: int, offset: int, data: bytes, unit: int = SECTOR) -> bytearray:
    """The image with bytes of the header in sector ``lba`` changed, and its checksum made right."""
    at = lba * unit
    place(image, at + offset, data)
    place(image, at + 16, bytes(4))
    place(image, at + 16, crc32(bytes(image[at : at + 92])).to_bytes(4, "little"))
    return image
