"""GPT: GUID partition table.

Layout: UEFI Specification 2.10, 5.3 "GUID Partition Table (GPT) Disk Layout"
https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html
"""

from collections.abc import Iterable, Iterator
from typing import Any
from zlib import crc32

from construct import Bytes, Int32ul, Int64ul, Struct

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import guid_text, text
from pyimount.parsers.partitions import boot_sector, mbr
from pyimount.parsers.partitions.gpt_types import CHROMEOS_KERNEL, TYPES
from pyimount.parsers.partitions.mbr_types import TYPES as MBR_TYPES
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.view import View

MAGIC = b"EFI PART"
# ChromeOS: cgpt legacy hides the table from other firmware, and marks a copy that is not to be used
# (vboot_reference, firmware/lib/cgptlib/include/gpt.h).
CHROMEOS, IGNORED = b"CHROMEOS", b"IGNOREME"
MAGICS = (MAGIC, CHROMEOS, IGNORED)

HEADER = layout(
    lambda: Struct(
        "Signature" / Bytes(8),
        "Revision" / Int32ul,
        "HeaderSize" / Int32ul,
        "HeaderCRC32" / Int32ul,
        "Reserved" / Int32ul,
        "MyLBA" / Int64ul,
        "AlternateLBA" / Int64ul,
        "FirstUsableLBA" / Int64ul,
        "LastUsableLBA" / Int64ul,
        "DiskGUID" / Bytes(16),
        "PartitionEntryLBA" / Int64ul,
        "NumberOfPartitionEntries" / Int32ul,
        "SizeOfPartitionEntry" / Int32ul,
        "PartitionEntryArrayCRC32" / Int32ul,
    )
)

ENTRY = layout(
    lambda: Struct(
        "PartitionTypeGUID" / Bytes(16),
        "UniquePartitionGUID" / Bytes(16),
        "StartingLBA" / Int64ul,
        "EndingLBA" / Int64ul,
        "Attributes" / Int64ul,
        "PartitionName" / Bytes(72),
    )
)

SECTOR_SIZES = (512, 4096, 2048, 1024)
"""Bytes; the order in which they are tried on an image that does not say."""

ENTRIES_CAP = 1 << 20
"""No larger array of entries is read, in bytes. The usual one has 16 KiB."""

_CRC_AT = 16
_UNUSED = bytes(16)
_HEAD = 4096

# As sfdisk spells them; bits 48 to 63 belong to the partition's type.
_ATTRIBUTES = {0: "RequiredPartition", 1: "NoBlockIOProtocol", 2: "LegacyBIOSBootable"}


class _Copy(Record):
    """One of the two copies: a header, and the array of entries that it describes."""

    offset: int
    unit: int
    header: Any
    array: bytes
    header_fault: Problem | None
    array_fault: Problem | None

    @property
    def whole(self) -> bool:
        return self.header_fault is None and self.array_fault is None

    @property
    def worth(self) -> int:
        """How far this copy can be believed: 3 whole, 0 not at all."""
        return 2 * (self.header_fault is None) + (self.array_fault is None)

    def faults(self, name: str) -> list[Problem]:
        """What is wrong with this copy, called ``name``."""
        found = (self.header_fault, self.array_fault)
        return [Problem(fault.code, f"{name} table: {fault.message}") for fault in found if fault]

    @property
    def facts(self) -> tuple[object, ...]:
        """What both copies must agree on."""
        header = self.header
        return (
            header.DiskGUID,
            header.FirstUsableLBA,
            header.LastUsableLBA,
            header.NumberOfPartitionEntries,
            header.SizeOfPartitionEntry,
            header.PartitionEntryArrayCRC32,
        )


def parse(view: View) -> Table:
    """Read the table from the primary copy, or from the backup where that is the better one."""
    sector = view.glance(0, boot_sector.SIZE)
    primary = _best(_copy(view, unit, unit) for unit in _sector_sizes(view))
    backup = _best(_copy(view, at, unit) for at, unit in _backup_places(view, sector, primary))
    chosen = _best((primary, backup))
    ignored = any(view.glance(unit, len(IGNORED)) == IGNORED for unit in SECTOR_SIZES)
    if chosen is None or chosen.worth == 0:
        chosen = _unchecked(view, sector, primary, backup)
        problems = [_checksums_wrong(primary, backup)]
        if primary is None:
            problems.append(Problem(Code.BACKUP_USED, "the primary table is missing; its backup was read"))
        elif backup is not None and primary.array != backup.array:
            problems.append(Problem(Code.COPIES_DIFFER, "the two copies of the table do not agree"))
    else:
        problems = [*_copy_problems(view, primary, backup, chosen, ignored=ignored)]
    left_over = None
    if not boot_sector.is_protective(sector):
        whole = primary is not None and primary.whole
        left_over = _left_over(view, sector, whole=whole, blank_wanted=primary is None and not ignored)
        problems.append(Problem(Code.DAMAGED, "the protective MBR in the first sector is missing"))

    header, unit = chosen.header, chosen.unit
    partitions = [*_partitions(chosen)]
    if left_over is not None and not partitions:
        raise NotThisFormat("left over, and nothing in it")
    if partitions and boot_sector.is_protective(sector):
        partitions += _only_in_mbr(view, sector, unit, partitions)
    details: dict[str, Json] = {
        "signature": header.Signature.decode("ascii"),
        "revision": f"{header.Revision >> 16}.{header.Revision & 0xFFFF}",
        "first_usable_lba": header.FirstUsableLBA,
        "last_usable_lba": header.LastUsableLBA,
        "alternate_lba": header.AlternateLBA,
        "entries": header.NumberOfPartitionEntries,
        "entry_size": header.SizeOfPartitionEntry,
        "primary_valid": primary is not None and primary.whole,
        "backup_valid": backup is not None and backup.whole,
    }
    hybrid = _hybrid(sector, unit)
    if hybrid:
        details["hybrid_mbr"] = hybrid
    return Table(
        pttype="gpt",
        sector_size=unit,
        partitions=tuple(partitions),
        ptuuid=guid_text(header.DiskGUID),
        meta=tuple(_extents(view, sector, primary, backup, chosen)),
        details=details,
        problems=tuple(problems),
        checked=chosen.whole,
        left_over=left_over,
    )


def _sector_sizes(view: View) -> tuple[int, ...]:
    told = view.sector_size
    if told not in SECTOR_SIZES or told == SECTOR_SIZES[0]:
        return SECTOR_SIZES
    return (told, *(size for size in SECTOR_SIZES if size != told))


def _copy(view: View, offset: int, unit: int) -> _Copy | None:
    """The copy whose header is at ``offset``, None where there is none, or one that is not to be used."""
    if view.glance(offset, len(MAGIC)) not in (MAGIC, CHROMEOS):
        return None
    block = view.glance(offset, unit)
    if len(block) < HEADER.size:
        return None
    header = parse_struct(block, HEADER)
    header_fault = _header_fault(header, block, offset, unit)
    array, array_fault = _array(view, header, unit)
    return _Copy(offset, unit, header, array, header_fault, array_fault)


def _header_fault(header: Any, block: bytes, offset: int, unit: int) -> Problem | None:
    size = header.HeaderSize
    if not HEADER.size <= size <= len(block):
        return Problem(Code.DAMAGED, f"a header of {size} bytes is not plausible")
    if crc32(block[:_CRC_AT] + bytes(4) + block[_CRC_AT + 4 : size]) != header.HeaderCRC32:
        return Problem(Code.BAD_CHECKSUM, "the checksum of the header is wrong")
    if header.MyLBA * unit != offset:
        return Problem(Code.DAMAGED, f"its header says that it is in sector {header.MyLBA}, and it is not")
    if header.FirstUsableLBA > header.LastUsableLBA + 1:
        return Problem(Code.DAMAGED, "the usable sectors end before they start")
    return None


def _array(view: View, header: Any, unit: int) -> tuple[bytes, Problem | None]:
    """The array of entries, in one read, as far as it is there; and what is wrong with it."""
    size, count, at = header.SizeOfPartitionEntry, header.NumberOfPartitionEntries, header.PartitionEntryLBA
    if size < ENTRY.size or size % 8 or not 0 < size * count <= ENTRIES_CAP:
        return b"", Problem(Code.DAMAGED, f"{count} entries of {size} bytes are not plausible")
    array = view.glance(at * unit, size * count)
    if len(array) < size * count:
        return array, Problem(Code.TRUNCATED, f"its entries at byte {at * unit} are cut off")
    if crc32(array) != header.PartitionEntryArrayCRC32:
        return array, Problem(Code.BAD_CHECKSUM, f"the checksum of the entries at byte {at * unit} is wrong")
    return array, None


def _best(copies: Iterable[_Copy | None]) -> _Copy | None:
    """The copy that is worth most, the first of several; none after a whole one is looked at."""
    best = None
    for copy in copies:
        if copy is not None and (best is None or copy.worth > best.worth):
            best = copy
            if copy.whole:
                break
    return best


def _backup_places(view: View, sector: bytes, primary: _Copy | None) -> Iterator[tuple[int, int]]:
    """Where the backup header may be, and the sector size that goes with it."""
    if primary is not None:
        if primary.header.AlternateLBA > 1:
            yield primary.header.AlternateLBA * primary.unit, primary.unit
        yield (view.size // primary.unit - 1) * primary.unit, primary.unit
        return
    ends = [
        record.StartingLBA + record.SizeInLBA - 1
        for _, record in boot_sector.records(sector)
        if record.OSType == boot_sector.PROTECTIVE
    ]
    for unit in _sector_sizes(view):
        yield (view.size // unit - 1) * unit, unit
        for lba in ends:
            yield lba * unit, unit


def _unchecked(view: View, sector: bytes, primary: _Copy | None, backup: _Copy | None) -> _Copy:
    """The copy to read where no checksum is right at all, as some tools that write images never reckon them.

    A sane protective MBR has to stand before it, and all else in it has to hold. Raises NotThisFormat.
    """
    guards = [
        one.StartingLBA for _, one in boot_sector.records(sector) if one.OSType == boot_sector.PROTECTIVE
    ]
    if boot_sector.has_signature(sector) and guards == [1]:
        for copy in (primary, backup):
            if copy is not None and _holds(view, copy):
                return copy
    raise NotThisFormat("no header whose checksums hold")


def _holds(view: View, copy: _Copy) -> bool:
    """Whether all of a copy but its checksums is as it should be, and it has partitions."""
    header = copy.header
    used = [*_partitions(copy)]
    return (
        header.Revision >> 16 == 1
        and header.HeaderSize >= HEADER.size
        and header.MyLBA * copy.unit == copy.offset
        and header.FirstUsableLBA <= header.LastUsableLBA
        and header.FirstUsableLBA * copy.unit < view.size
        and bool(used)
        and not any(entry.problems for entry in used)
    )


def _checksums_wrong(primary: _Copy | None, backup: _Copy | None) -> Problem:
    """That no checksum is right, said once."""
    words = {
        word
        for copy in (primary, backup)
        if copy is not None
        for word in (copy.header.HeaderCRC32, copy.header.PartitionEntryArrayCRC32)
    }
    never = f", each is {next(iter(words)):#010x}" if len(words) == 1 else ""
    message = f"none of the table's checksums is right{never}; it was read because all else in it holds"
    return Problem(Code.BAD_CHECKSUM, message)


def _copy_problems(
    view: View, primary: _Copy | None, backup: _Copy | None, chosen: _Copy, *, ignored: bool
) -> Iterator[Problem]:
    """What is wrong with either copy, and with the two together."""
    if chosen is backup:
        state = "damaged"
        if primary is None:
            state = "marked as not to be used" if ignored else "missing"
        yield Problem(Code.BACKUP_USED, f"the primary table is {state}; its backup was read")
    if primary is not None:
        yield from primary.faults("primary")
    if backup is not None:
        yield from backup.faults("backup")
    elif primary is not None:
        place = primary.header.AlternateLBA * primary.unit
        if place + primary.unit > view.size:
            message = f"the backup table, its header at byte {place}, lies after the end at {view.size}"
            yield Problem(Code.TRUNCATED, message)
        elif view.glance(place, len(IGNORED)) != IGNORED:
            yield Problem(Code.DAMAGED, f"the backup table, its header at byte {place}, is missing")
    whole = [copy for copy in (primary, backup) if copy is not None and copy.whole]
    if len({copy.facts for copy in whole}) > 1:
        yield Problem(Code.COPIES_DIFFER, "the two copies of the table differ; the primary was read")


def _left_over(view: View, sector: bytes, *, whole: bool, blank_wanted: bool) -> str | None:
    """Why the table is left over from before: something newer is at the start of the disk; None if it is not.

    What writes a GUID partition table protects it by a record in the first sector. Where that
    record is missing, other partitions or a file system's boot sector have replaced the table;
    and a backup at the end counts only on a disk whose start was wiped. Raises NotThisFormat where the
    primary table is not ``whole``: of that much may be gone.
    """
    if whole and boot_sector.has_signature(sector) and boot_sector.records(sector):
        return "no record in the first sector protects it; the MBR partition table there was written over it"
    if boot_sector.has_signature(sector) and (
        boot_sector.records(sector) or boot_sector.boots_a_volume(sector)
    ):
        raise NotThisFormat("left over: the first sector has other partitions, or boots a volume")
    head = view.glance(0, _HEAD)
    if blank_wanted and head.count(head[:1]) != len(head):
        raise NotThisFormat("left over: only the backup is there, and the start of the disk is in use")
    return None


def _partitions(copy: _Copy) -> Iterator[Partition]:
    size, unit, array = copy.header.SizeOfPartitionEntry, copy.unit, copy.array
    for slot, at in enumerate(range(0, len(array) - ENTRY.size + 1, size) if array else ()):
        if array[at : at + 16] == _UNUSED:
            continue
        entry = parse_struct(array, ENTRY, at)
        type_guid = guid_text(entry.PartitionTypeGUID)
        yield Partition(
            number=slot + 1,
            slot=slot,
            offset=entry.StartingLBA * unit,
            # The last sector is the partition's, too.
            size=max(0, entry.EndingLBA + 1 - entry.StartingLBA) * unit,
            type=type_guid,
            type_name=TYPES.get(type_guid or ""),
            name=text(entry.PartitionName, "utf-16-le"),
            uuid=guid_text(entry.UniquePartitionGUID),
            flags=_flags(entry.Attributes, type_guid),
            problems=_entry_problems(entry, copy.header),
        )


def _entry_problems(entry: Any, header: Any) -> tuple[Problem, ...]:
    start, end = entry.StartingLBA, entry.EndingLBA
    if end < start:
        return (Problem(Code.DAMAGED, f"ends in sector {end}, before it starts in {start}"),)
    if start < header.FirstUsableLBA or end > header.LastUsableLBA:
        usable = f"{header.FirstUsableLBA} to {header.LastUsableLBA}"
        return (Problem(Code.DAMAGED, f"lies outside the sectors that its table calls usable, {usable}"),)
    return ()


def _flags(attributes: int, type_guid: str | None) -> tuple[str, ...]:
    found = []
    if type_guid == CHROMEOS_KERNEL:
        # Which of several is booted: the highest priority that has tries left or was successful.
        found += [f"priority={attributes >> 48 & 0xF}", f"tries={attributes >> 52 & 0xF}"]
        found += ["successful"] * (attributes >> 56 & 1)
        attributes &= ~(0x1FF << 48)
    while attributes:
        bit = (attributes & -attributes).bit_length() - 1
        attributes &= attributes - 1
        found.append(_ATTRIBUTES.get(bit) or (f"GUID:{bit}" if bit >= 48 else f"Reserved:{bit}"))
    return tuple(found)


def _hybrid(sector: bytes, unit: int) -> list[Json]:
    """The partitions that the first sector has besides the one that protects."""
    if not boot_sector.is_protective(sector):
        return []
    return [
        {
            "number": slot + 1,
            "type": f"{record.OSType:#x}",
            "type_name": MBR_TYPES.get(record.OSType),
            "offset": record.StartingLBA * unit,
            "size": record.SizeInLBA * unit,
            "active": record.BootIndicator == 0x80,
        }
        for slot, record in boot_sector.records(sector)
        if record.OSType != boot_sector.PROTECTIVE
    ]


def _only_in_mbr(view: View, sector: bytes, unit: int, known: list[Partition]) -> Iterator[Partition]:
    """The partitions of a hybrid MBR that no entry covers; they take the numbers after the last entry's."""
    number = max(entry.number for entry in known)
    for partition in mbr.partitions(view, sector, unit):
        start, end = partition.offset, partition.offset + partition.size
        covered = any(
            entry.offset == start or (start <= entry.offset and entry.offset + entry.size <= end)
            for entry in known
        )
        if covered or partition.meta:
            continue
        number += 1
        message = (
            f"only the MBR has this partition, as its number {partition.number}; no entry of the GPT does"
        )
        problem = Problem(Code.COPIES_DIFFER, message)
        yield partition.replaced(number=number, slot=number - 1, problems=(*partition.problems, problem))


def _extents(
    view: View, sector: bytes, primary: _Copy | None, backup: _Copy | None, chosen: _Copy
) -> Iterator[Extent]:
    """Where the table's own structures lie."""
    if boot_sector.is_protective(sector):
        yield Extent(offset=0, size=chosen.unit, name="Safety Table")
    for copy, suffix in ((primary, ""), (backup, " (backup)")):
        # A damaged copy's word on where its entries are is not taken.
        if copy is None or (copy.header_fault is not None and chosen.header_fault is None):
            continue
        yield Extent(offset=copy.offset, size=copy.unit, name=f"GPT Header{suffix}")
        at = copy.header.PartitionEntryLBA * copy.unit
        if copy.array and at < view.size:
            size = -(-len(copy.array) // copy.unit) * copy.unit
            yield Extent(offset=at, size=size, name=f"Partition Table{suffix}")


FORMAT = TableFormat(
    name="gpt",
    title="GUID partition table",
    specification="https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html",
    parse=parse,
    signatures=(
        *(Signature(magic, size) for magic in MAGICS for size in SECTOR_SIZES),
        *(Signature(magic, -size, align=size) for magic in MAGICS for size in SECTOR_SIZES),
        # A protective record alone: the backup may lie before the end of a disk that has grown.
        *(Signature(b"\xee", boot_sector.RECORDS_AT + 16 * slot + 4) for slot in range(4)),
    ),
    types=("gpt",),
    vstypes=("guid", "efi"),
    over=frozenset({"mbr", "apm", "bsd", "sun"}),
    belongs=frozenset({"PMBR"}),
)
