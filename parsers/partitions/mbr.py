"""MBR: the partition table that DOS brought, with its chain of extended boot records.

Layout: UEFI Specification 2.10, 5.2.1 "Legacy Master Boot Record (MBR)"
https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html
The chain of logical partitions, which no specification has, is read as Linux does (block/partitions/msdos.c).
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pyimount.formats import Extent, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.parsers.partitions import boot_sector
from pyimount.parsers.partitions.bsd import is_label
from pyimount.parsers.partitions.mbr_types import TYPES
from pyimount.parsers.partitions.sector_sizes import SIZES, Start, counted_in, is_boot_record, told_otherwise
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.view import View

EXTENDED = frozenset({0x05, 0x0F, 0x85})
BSD = frozenset({0xA5, 0xA6, 0xA9})

CHAIN_CAP = 1024
"""No more extended boot records are followed; Linux gives numbers to 252 logical partitions."""

_BOOT_INDICATORS = (0x00, 0x80)
_SIGNATURE_AT = 440
_AIX = b"\xc9\xc2\xd4\xc1"
_LVM = b"LABELONE"
_DISKLABEL64 = b"\x59\x4c\x46\xc4"
_VTOC_AT = 512 + 12
_VTOC = b"\xee\xde\x0d\x60"


def parse(view: View) -> Table:
    """Read the table; raises NotThisFormat for the boot sector of a volume, and for code without a table."""
    sector = view.read(0, boot_sector.SIZE)
    found = boot_sector.records(sector)
    _reject_other_sectors(view, sector, found)
    unit = counted_in(view, _starts(found))
    if _stands_alone(view, found, unit):
        return _logical(view, unit)
    disk_signature = int.from_bytes(sector[_SIGNATURE_AT : _SIGNATURE_AT + 4], "little")
    protective = any(record.OSType == boot_sector.PROTECTIVE for _, record in found)
    # As libblkid has it: a protective table has no identity of its own.
    ptuuid = f"{disk_signature:08x}" if disk_signature and not protective else None

    partitions = [_partition(slot + 1, record, slot=slot, unit=unit, ptuuid=ptuuid) for slot, record in found]
    chain = _Chain(view, unit, ptuuid)
    for _, record in found:
        if record.OSType in EXTENDED:
            chain.follow(_Area(record.StartingLBA, record.SizeInLBA))
    problems = [*told_otherwise(view, unit), *chain.problems]
    if protective:
        message = "a protective MBR, and no GUID partition table with partitions that could be read behind it"
        problems.insert(0, Problem(Code.DAMAGED, message))
    return Table(
        pttype="PMBR" if protective else "dos",
        sector_size=unit,
        partitions=(*partitions, *chain.partitions),
        ptuuid=ptuuid,
        meta=(Extent(offset=0, size=unit, name="Primary Table (#0)"), *chain.tables),
        details={"disk_signature": f"{disk_signature:#010x}", "boot_code": any(sector[:_SIGNATURE_AT])},
        problems=tuple(problems),
    )


def _reject_other_sectors(view: View, sector: bytes, found: list[tuple[int, Any]]) -> None:
    if not boot_sector.has_signature(sector):
        raise NotThisFormat("no boot signature")
    if boot_sector.boots_a_volume(sector):
        raise NotThisFormat("the boot sector of a file system")
    if sector.startswith(_AIX):
        raise NotThisFormat("an AIX volume's first sector")
    for slot in range(4):
        if sector[boot_sector.RECORDS_AT + 16 * slot] not in _BOOT_INDICATORS:
            raise NotThisFormat("code where a table has its records")
    if not found:
        if not any(sector[_SIGNATURE_AT : _SIGNATURE_AT + 4]):
            raise NotThisFormat("neither partitions nor a disk signature")
        if sector[0] in (0xEB, 0xE9) and sector[3:8].isalnum():
            raise NotThisFormat("the boot sector of a volume, by the name in it")
        if view.glance(boot_sector.SIZE, len(_LVM)) == _LVM:
            raise NotThisFormat("what pvcreate left in front of a physical volume")
        if view.glance(_VTOC_AT, len(_VTOC)) == _VTOC:
            raise NotThisFormat("the boot block of a Solaris label")
    # A BSD's boot block carries a table for show: none, or one partition from sector 0 on.
    for_show = len(found) <= 1 and all(
        record.OSType in BSD and record.StartingLBA == 0 for _, record in found
    )
    labels = [view.glance(size, 4) for size in SIZES]
    if for_show and (any(map(is_label, labels)) or labels[0] == _DISKLABEL64):
        raise NotThisFormat("the boot block of a BSD disk label")
    places = sorted(
        (record.StartingLBA, record.SizeInLBA)
        for _, record in found
        if record.OSType != boot_sector.PROTECTIVE
    )
    overlap = any(start + size > after for (start, size), (after, _) in pairwise(places))
    if overlap and places[0][0] * boot_sector.SIZE >= view.size:
        raise NotThisFormat("the partitions overlap, and none of them begins on the disk")


def _starts(found: list[tuple[int, Any]]) -> list[Start]:
    return [
        Start(record.StartingLBA, record.StartingLBA + record.SizeInLBA, record.OSType in EXTENDED)
        for _, record in found
        if record.OSType != boot_sector.PROTECTIVE
    ]


def partitions(view: View, sector: bytes, unit: int) -> tuple[Partition, ...]:
    """The partitions of a first sector, those of its chains too, but the one that protects a GPT."""
    found = [(slot, one) for slot, one in boot_sector.records(sector) if one.OSType != boot_sector.PROTECTIVE]
    chain = _Chain(view, unit, None)
    for _, record in found:
        if record.OSType in EXTENDED:
            chain.follow(_Area(record.StartingLBA, record.SizeInLBA))
    primary = (_partition(slot + 1, record, slot=slot, unit=unit, ptuuid=None) for slot, record in found)
    return (*primary, *chain.partitions)


def _stands_alone(view: View, found: list[tuple[int, Any]], unit: int) -> bool:
    """Whether this is an extended partition without its disk: links then count from here.

    Its first record looks like a table of one partition and an extended one. Where that second extended boot
    record links to a third, that one stands at the link's place from here; and from the second on there is
    none, or it would lie beyond the end of the extended partition.
    """
    links = [record for _, record in found if record.OSType in EXTENDED]
    if len(links) != 1 or any(slot > 1 for slot, _ in found):
        return False
    first = links[0].StartingLBA
    second = view.glance(first * unit, boot_sector.SIZE)
    if len(second) < boot_sector.SIZE or not is_boot_record(second):
        return False
    onward = [record.StartingLBA for _, record in boot_sector.records(second) if record.OSType in EXTENDED]
    if not onward:
        return False
    here, there = (view.glance(at * unit, boot_sector.SIZE) for at in (onward[0], first + onward[0]))
    beyond = onward[0] >= links[0].SizeInLBA or not is_boot_record(there)
    return beyond and onward[0] != first and is_boot_record(here)


def _logical(view: View, unit: int) -> Table:
    """The table of an extended partition whose disk is not there."""
    chain = _Chain(view, unit, None)
    chain.follow(_Area(0, view.size // unit))
    return Table(
        pttype="dos",
        sector_size=unit,
        partitions=tuple(chain.partitions),
        meta=tuple(chain.tables),
        details={"extended_partition_alone": True},
        problems=(*told_otherwise(view, unit), *chain.problems),
    )


def _partition(
    number: int, record: Any, *, slot: int, unit: int, ptuuid: str | None, base: int = 0
) -> Partition:
    """A record's partition; its start counts in sectors from ``base``."""
    return Partition(
        number=number,
        slot=slot,
        offset=(base + record.StartingLBA) * unit,
        size=record.SizeInLBA * unit,
        meta=record.OSType in EXTENDED or record.OSType == boot_sector.PROTECTIVE,
        type=f"{record.OSType:#x}",
        type_name=TYPES.get(record.OSType),
        uuid=f"{ptuuid}-{number:02x}" if ptuuid else None,
        flags=("active",) if record.BootIndicator == 0x80 else (),
    )


class _Area(Record):
    """An extended partition: its first sector, and how many it has."""

    start: int
    size: int


class _Chain:
    """The logical partitions of a disk, gathered record by record."""

    def __init__(self, view: View, unit: int, ptuuid: str | None) -> None:
        self.partitions: list[Partition] = []
        self.tables: list[Extent] = []
        self.problems: list[Problem] = []
        self._view = view
        self._unit = unit
        self._ptuuid = ptuuid
        self._seen: set[int] = set()

    def follow(self, extended: _Area) -> None:
        """Read the chain of this extended partition."""
        for at, size, sector in self._sectors(extended):
            for slot, record in boot_sector.records(sector):
                if record.OSType not in EXTENDED and _is_data(slot, record, at, size, extended):
                    self._add(record, at, extended)

    def _sectors(self, extended: _Area) -> Iterator[tuple[int, int, bytes]]:
        """Every extended boot record of the chain: its sector, how many sectors are its own, its bytes."""
        at, size = extended.start, extended.size
        while True:
            place = f"the extended boot record at byte {at * self._unit}"
            if at in self._seen:
                self._problem(Code.LOOP, f"the chain of logical partitions leads back to {place}")
                return
            if len(self._seen) >= CHAIN_CAP:
                self._problem(Code.BUDGET, f"{place} and those after it were not read: {CHAIN_CAP} were")
                return
            self._seen.add(at)
            sector = self._view.glance(at * self._unit, boot_sector.SIZE)
            if len(sector) < boot_sector.SIZE:
                if at * self._unit + boot_sector.SIZE > self._view.size:
                    message = f"{place} lies after the end, at {self._view.size}"
                    self._problem(Code.OUTSIDE_PARENT, message)
                return
            if not boot_sector.has_signature(sector) or boot_sector.boots_a_volume(sector):
                self._problem(Code.DAMAGED, f"{place} is none; logical partitions may be missing")
                return
            number = len(self._seen)
            self.tables.append(
                Extent(offset=at * self._unit, size=self._unit, name=f"Extended Table (#{number})")
            )
            yield at, size, sector
            links = [record for _, record in boot_sector.records(sector) if record.OSType in EXTENDED]
            if not links:
                return
            at, size = extended.start + links[0].StartingLBA, links[0].SizeInLBA

    def _add(self, record: Any, at: int, extended: _Area) -> None:
        number = 5 + len(self.partitions)
        self.partitions.append(
            _partition(number, record, slot=number - 1, unit=self._unit, ptuuid=self._ptuuid, base=at)
        )
        if at + record.StartingLBA + record.SizeInLBA > extended.start + extended.size:
            message = f"partition {number} reaches beyond the extended partition that holds it"
            self._problem(Code.OUTSIDE_PARENT, message)

    def _problem(self, code: Code, message: str) -> None:
        self.problems.append(Problem(code, message))


def _is_data(slot: int, record: Any, at: int, size: int, extended: _Area) -> bool:
    """Whether a record describes a partition; in the last two slots, which few systems use, often not."""
    if slot < 2:
        return True
    end = at + record.StartingLBA + record.SizeInLBA
    return bool(record.StartingLBA + record.SizeInLBA <= size and end <= extended.start + extended.size)


FORMAT = TableFormat(
    name="mbr",
    title="MBR partition table",
    specification="https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html",
    parse=parse,
    signatures=(Signature(boot_sector.SIGNATURE, boot_sector.SIGNATURE_AT),),
    types=("dos", "PMBR"),
    vstypes=("mbr", "msdos"),
    over=frozenset({"apm", "atari", "bsd", "bsd64", "dasd", "solaris", "sun", "ultrix", "unixware"}),
)
