"""Atari partition table: AHDI, its chain of XGM partitions, and ICD's four more entries.

Layout: Atari, "AHDI 3.00 Release Notes" (1990); the fields' names: Linux, block/partitions/atari.h
https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/block/partitions/atari.c
"""

from collections.abc import Iterator
from itertools import pairwise
from struct import unpack

from construct import Bytes, Int16ub, Int32ub, Struct

from pyimount.formats import Extent, Json, NotThisFormat, Partition, Signature, Table, TableFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

SECTOR = 512
SLOTS = 4
ICD_SLOTS = 8
PARTS_AT = 0x1C6
EXTENDED = b"XGM"
ACTIVE, BOOTABLE = 0x01, 0x80
BOOT_CHECKSUM = 0x1234
"""The sum of a bootable root sector's 16-bit words."""

CHAIN_CAP = 256
"""No more extended root sectors are followed."""

ROOT_SECTOR = layout(
    lambda: Struct(
        "unused" / Bytes(0x156),
        "icdpart" / Bytes(ICD_SLOTS * 12),
        "unused2" / Bytes(12),
        "hd_siz" / Int32ub,
        "part" / Bytes(SLOTS * 12),
        "bsl_st" / Int32ub,
        "bsl_cnt" / Int32ub,
        "checksum" / Int16ub,
    )
)
PARTITION_INFO = layout(
    lambda: Struct("flg" / Bytes(1), "id" / Bytes(3), "st" / Int32ub, "siz" / Int32ub),
)

TYPES = {
    b"GEM": "GEMDOS, up to 16 MiB",
    b"BGM": "GEMDOS, large",
    EXTENDED: "extended",
    b"RAW": "raw",
    b"LNX": "Linux",
    b"SWP": "swap",
    b"F32": "FAT32",
    b"MIX": "MINIX",
    b"UNX": "Atari System V",
    b"QWA": "QDOS",
}
_ICD_TYPES = frozenset({b"GEM", b"BGM", b"LNX", b"SWP", b"RAW"})
_FLAGS = (bytes([ACTIVE]), bytes([ACTIVE | BOOTABLE]))


class _Entry:
    """An entry in use: its slot, identifier, first sector and sectors, and whether it is bootable."""

    __slots__ = ("bootable", "kind", "size", "slot", "start")

    def __init__(self, raw: bytes, slot: int) -> None:
        parsed = parse_struct(raw, PARTITION_INFO, slot * PARTITION_INFO.size)
        self.slot = slot
        self.kind: bytes = parsed.id
        self.start: int = parsed.st
        self.size: int = parsed.siz
        self.bootable = parsed.flg[0] & BOOTABLE != 0

    def partition(self, number: int, base: int = 0, slot: int | None = None) -> Partition:
        """The entry as a partition; its start counts from sector ``base``."""
        return Partition(
            number=number,
            slot=self.slot if slot is None else slot,
            offset=(base + self.start) * SECTOR,
            size=self.size * SECTOR,
            type=self.kind.decode("latin-1"),
            type_name=TYPES.get(self.kind),
            flags=("boot",) if self.bootable else (),
        )


def _entries(raw: bytes, slots: int) -> list[_Entry]:
    return [_Entry(raw, slot) for slot in range(slots) if raw[slot * PARTITION_INFO.size] & ACTIVE]


def parse(view: View) -> Table:
    """Read the table. It has no magic: all its entries must hold together."""
    if view.sector_size not in (None, SECTOR):
        raise NotThisFormat("the table is not defined for sectors of another size")
    sector = view.read(0, SECTOR)
    root = parse_struct(sector, ROOT_SECTOR)
    primary = _entries(root.part, SLOTS)
    _reject(primary, view.size // SECTOR)

    table = _Numbering(view)
    for slot in range(SLOTS):
        entry = next((entry for entry in primary if entry.slot == slot), None)
        if entry is None:
            table.number += 1
        elif entry.kind == EXTENDED:
            table.follow(entry)
        else:
            table.add(entry)
    variant = "XGM" if any(entry.kind == EXTENDED for entry in primary) else "AHDI"
    if variant == "AHDI" and root.icdpart[1:4] in _ICD_TYPES:
        variant = "ICD"
        more = {entry.slot: entry for entry in _entries(root.icdpart, ICD_SLOTS) if entry.kind in _ICD_TYPES}
        for slot in range(ICD_SLOTS):
            if slot in more:
                table.add(more[slot], slot=SLOTS + slot)
            else:
                table.number += 1
    details: dict[str, Json] = {
        "variant": variant,
        "sectors": root.hd_siz,
        "bad_sectors_at": root.bsl_st,
        "bad_sectors": root.bsl_cnt,
        "bootable": sum(unpack(">256H", sector)) & 0xFFFF == BOOT_CHECKSUM,
    }
    return Table(
        pttype="atari",
        sector_size=SECTOR,
        partitions=tuple(table.partitions),
        meta=(Extent(offset=0, size=SECTOR, name="Root Sector"), *table.sectors),
        details=details,
        problems=tuple(table.problems),
    )


def _reject(primary: list[_Entry], sectors: int) -> None:
    """Raise NotThisFormat unless every entry has an identifier and a place on the disk of its own.

    libblkid is content with one such entry; four bytes and two numbers are little to go by.
    """
    if not primary:
        raise NotThisFormat("no entry is in use")
    places = sorted((entry.start, entry.size) for entry in primary)
    if any(not (entry.kind.isalnum() and entry.start and entry.size) for entry in primary):
        raise NotThisFormat("an entry without an identifier, or without a place")
    if any(start + size > after for (start, size), (after, _) in pairwise(places)):
        raise NotThisFormat("entries overlap")
    if sum(places[-1]) > sectors:
        raise NotThisFormat("an entry lies beyond the end of the disk")
    if not any(entry.kind in TYPES for entry in primary):
        raise NotThisFormat("no known identifier")


class _Numbering:
    """The partitions, numbered as Linux does: an extended one has no number, those in it have."""

    def __init__(self, view: View) -> None:
        self.partitions: list[Partition] = []
        self.sectors: list[Extent] = []
        self.problems: list[Problem] = []
        self.number = 1
        self._view = view
        self._starts: set[int] = set()

    def add(self, entry: _Entry, *, slot: int | None = None) -> None:
        """One entry of the root sector; one for the same place is passed over."""
        if entry.start not in self._starts:
            self._starts.add(entry.start)
            self.partitions.append(entry.partition(self.number, slot=slot))
        self.number += 1

    def follow(self, extended: _Entry) -> None:
        """The chain that starts with this entry."""
        for at, data in self._chain(extended):
            if at + data.start not in self._starts:
                self._starts.add(at + data.start)
                slot = SLOTS + ICD_SLOTS + len(self.sectors)
                self.partitions.append(data.partition(self.number, at, slot))
                self.number += 1

    def _chain(self, extended: _Entry) -> Iterator[tuple[int, _Entry]]:
        """Every extended root sector's own number, and its one data entry."""
        at, seen = extended.start, set[int]()
        while True:
            place = f"the extended root sector at byte {at * SECTOR}"
            if at in seen:
                self._problem(Code.LOOP, f"the chain of extended partitions leads back to {place}")
                return
            if len(seen) >= CHAIN_CAP:
                self._problem(Code.BUDGET, f"{place} and those after it were not read: {CHAIN_CAP} were")
                return
            seen.add(at)
            sector = self._view.glance(at * SECTOR, SECTOR)
            entries = _entries(sector[PARTS_AT:], SLOTS) if len(sector) == SECTOR else []
            # Of four, the last is never the data's: the link must follow it.
            if not entries or entries[0].slot == SLOTS - 1 or entries[0].kind == EXTENDED:
                self._problem(Code.DAMAGED, f"{place} is none; partitions may be missing")
                return
            data = entries[0]
            self.sectors.append(
                Extent(
                    offset=at * SECTOR, size=SECTOR, name=f"Extended Root Sector (#{len(self.sectors) + 1})"
                )
            )
            yield at, data
            link = next((entry for entry in entries if entry.slot == data.slot + 1), None)
            if link is None:
                return
            if link.kind != EXTENDED:
                self._problem(Code.DAMAGED, f"{place} has no link where one should be")
                return
            at = extended.start + link.start

    def _problem(self, code: Code, message: str) -> None:
        self.problems.append(Problem(code, message))


FORMAT = TableFormat(
    name="atari",
    title="Atari partition table",
    specification="Atari, AHDI 3.00 Release Notes; Linux, block/partitions/atari.c",
    parse=parse,
    # One entry with a known identifier, at least, must be there: it stands in for a magic.
    signatures=tuple(
        Signature(flag + kind, PARTS_AT + 12 * slot)
        for slot in range(SLOTS)
        for flag in _FLAGS
        for kind in TYPES
    ),
    types=("atari",),
    vstypes=("ahdi",),
)
