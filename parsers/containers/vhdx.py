"""Hyper-V Virtual Hard Disk version 2 (VHDX): fixed, dynamic and differencing; one left open, by its log.

Layout: [MS-VHDX] Virtual Hard Disk v2 (VHDX) File Format
https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-vhdx/83e061f8-f6e2-4de1-91bd-5d518a43d477
"""

import struct
from collections.abc import Iterator
from typing import Any

from construct import Bytes, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.checksums import crc32c
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import guid_text, text
from pyimount.formats.stored import Stored
from pyimount.parsers.containers.block_places import misplaced
from pyimount.parsers.containers.runs import EntryTable, Parent, Run, RunSource, bit_run, open_parent
from pyimount.parsers.containers.vhdx_log import ReplayedFile, ReplayError, replayed
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

FILE_IDENTIFIER = layout(lambda: Struct("Signature" / Bytes(8), "Creator" / Bytes(512)))
HEADER = layout(
    lambda: Struct(
        "Signature" / Bytes(4),
        "Checksum" / Int32ul,
        "SequenceNumber" / Int64ul,
        "FileWriteGuid" / Bytes(16),
        "DataWriteGuid" / Bytes(16),
        "LogGuid" / Bytes(16),
        "LogVersion" / Int16ul,
        "Version" / Int16ul,
        "LogLength" / Int32ul,
        "LogOffset" / Int64ul,
        "Reserved" / Bytes(4016),
    )
)
REGION_TABLE_HEADER = layout(
    lambda: Struct(
        "Signature" / Bytes(4), "Checksum" / Int32ul, "EntryCount" / Int32ul, "Reserved" / Bytes(4)
    )
)
REGION_TABLE_ENTRY = layout(
    lambda: Struct("Guid" / Bytes(16), "FileOffset" / Int64ul, "Length" / Int32ul, "Required" / Int32ul)
)
METADATA_TABLE_HEADER = layout(
    lambda: Struct(
        "Signature" / Bytes(8), "Reserved" / Bytes(2), "EntryCount" / Int16ul, "Reserved2" / Bytes(20)
    )
)
METADATA_TABLE_ENTRY = layout(
    lambda: Struct(
        "ItemId" / Bytes(16),
        "Offset" / Int32ul,
        "Length" / Int32ul,
        "Flags" / Int32ul,
        "Reserved2" / Bytes(4),
    )
)
PARENT_LOCATOR_HEADER = layout(
    lambda: Struct("LocatorType" / Bytes(16), "Reserved" / Bytes(2), "KeyValueCount" / Int16ul)
)
PARENT_LOCATOR_ENTRY = layout(
    lambda: Struct(
        "KeyOffset" / Int32ul, "ValueOffset" / Int32ul, "KeyLength" / Int16ul, "ValueLength" / Int16ul
    )
)

KIB, MIB = 1 << 10, 1 << 20
HEADERS_AT = (64 * KIB, 128 * KIB)
HEADER_SIZE = 4 * KIB
REGION_TABLES_AT = (192 * KIB, 256 * KIB)
REGION_TABLE_SIZE = 64 * KIB
BAT_REGION = "2dc27766-f623-4200-9d64-115e9bfd4a08"
METADATA_REGION = "8b7ca206-4790-4b9a-b8fe-575f050f886e"
FILE_PARAMETERS = "caa16737-fa36-4d43-b3b6-33f0aa44e76b"
VIRTUAL_DISK_SIZE = "2fa54224-cd1b-4876-b211-5dbed83bf4b8"
VIRTUAL_DISK_ID = "beca12ab-b2e6-4523-93ef-c309e000c746"
LOGICAL_SECTOR_SIZE = "8141bf1d-a96f-4709-ba47-f233a8faab5f"
PHYSICAL_SECTOR_SIZE = "cda348c7-445d-4471-9cc9-e9885251c556"
PARENT_LOCATOR = "a8d35f2d-b30b-454d-abf7-d3d84834ab0c"
LEAVE_BLOCKS_ALLOCATED, HAS_PARENT = 0x1, 0x2
NOT_PRESENT, FULLY_PRESENT, PARTIALLY_PRESENT = 0, 6, 7
PARENT_PATHS = ("relative_path", "volume_path", "absolute_win32_path")
"""The entries of a parent locator that name a file, in the order in which they are to be tried."""

_ENTRIES_CAP = 2047
_METADATA_CAP = 64 * KIB
_LOCATOR_ENTRIES_CAP = 64
_SIZE_CAP = 64 << 40
_BITMAP_READ = 512
_SURVEY = 256 * KIB


class _Facts(Record):
    """What the structures before the data say. ``items``: the metadata, by the GUIDs of its kinds.

    ``file``: the file as it is after its log was replayed; itself where there was nothing to replay.
    """

    file: Source
    creator: str | None
    header: Any
    bat: Any
    items: dict[str, bytes]
    problems: tuple[Problem, ...]


def parse(view: View) -> Container:
    """Headers, region table and metadata."""
    facts = _read(view)
    return _container(facts, view.size)


def _read(view: View) -> _Facts:
    problems: list[Problem] = []
    identifier = read_struct(view, FILE_IDENTIFIER, 0)
    header = _header(view, problems)
    if any(header.LogGuid):
        view = _replayed(view, header, problems)
    regions = _regions(view, problems)
    missing = [name for name in (METADATA_REGION, BAT_REGION) if name not in regions]
    if missing:
        raise NotThisFormat(f"no region {missing[0]}")
    return _Facts(
        view.source,
        text(identifier.Creator, "utf-16-le"),
        header,
        regions[BAT_REGION],
        _metadata(view, regions[METADATA_REGION], problems),
        tuple(problems),
    )


def _checked(view: View, offset: int, size: int, signature: bytes) -> bytes | None:
    """The bytes of a structure whose CRC-32C, at byte 4, holds; None when it does not."""
    raw = view.glance(offset, size)
    if len(raw) < size or raw[:4] != signature:
        return None
    computed = crc32c(raw[:4] + bytes(4) + raw[8:]) ^ 0xFFFFFFFF
    return raw if computed == int.from_bytes(raw[4:8], "little") else None


def _header(view: View, problems: list[Problem]) -> Any:
    """The current one of the two headers; a file that was just made may have only one."""
    copies = [_checked(view, offset, HEADER_SIZE, b"head") for offset in HEADERS_AT]
    headers = [parse_struct(raw, HEADER) for raw in copies if raw is not None]
    if not headers:
        problems.append(Problem(Code.BAD_CHECKSUM, "neither of the two headers has a checksum that holds"))
        header = read_struct(view, HEADER, HEADERS_AT[0])
        if header.Signature != b"head":
            raise NotThisFormat("no header")
        return header
    if len(headers) == 1:
        problems.append(Problem(Code.BACKUP_USED, "one of the two headers is damaged; the other is used"))
    return max(headers, key=lambda each: int(each.SequenceNumber))


def _replayed(view: View, header: Any, problems: list[Problem]) -> View:
    """The file after its log was replayed: it was not closed. As it is where that cannot be done."""
    try:
        return View(replayed(view.source, header))
    except (ReplayError, ReadError) as error:
        message = f"it was not closed, and its log cannot be replayed, of which nothing is seen here: {error}"
        problems.append(Problem(Code.DAMAGED, message))
        return view


def _regions(view: View, problems: list[Problem]) -> dict[str, Any]:
    for number, offset in enumerate(REGION_TABLES_AT):
        raw = _checked(view, offset, REGION_TABLE_SIZE, b"regi")
        if raw is not None:
            if number:
                problems.append(
                    Problem(Code.BACKUP_USED, "the first region table is damaged; the second is used")
                )
            break
    else:
        raw = view.glance(REGION_TABLES_AT[0], REGION_TABLE_SIZE)
        if raw[:4] != b"regi":
            raise NotThisFormat("no region table")
        problems.append(
            Problem(Code.BAD_CHECKSUM, "neither of the two region tables has a checksum that holds")
        )
    count = parse_struct(raw, REGION_TABLE_HEADER).EntryCount
    if count > _ENTRIES_CAP:
        raise NotThisFormat(f"{count} regions")
    regions = {}
    for entry in range(count):
        region = parse_struct(
            raw, REGION_TABLE_ENTRY, REGION_TABLE_HEADER.size + entry * REGION_TABLE_ENTRY.size
        )
        name = guid_text(region.Guid) or ""
        regions[name] = region
        if region.Required & 1 and name not in (BAT_REGION, METADATA_REGION):
            problems.append(Problem(Code.UNSUPPORTED, f"it needs the region {name}, which nothing describes"))
    return regions


def _metadata(view: View, region: Any, problems: list[Problem]) -> dict[str, bytes]:
    header = read_struct(view, METADATA_TABLE_HEADER, region.FileOffset)
    if header.Signature != b"metadata" or header.EntryCount > _ENTRIES_CAP:
        raise NotThisFormat("no metadata table")
    size = METADATA_TABLE_HEADER.size + header.EntryCount * METADATA_TABLE_ENTRY.size
    raw = view.read(region.FileOffset, size)
    items: dict[str, bytes] = {}
    for number in range(header.EntryCount):
        entry = parse_struct(
            raw, METADATA_TABLE_ENTRY, METADATA_TABLE_HEADER.size + number * METADATA_TABLE_ENTRY.size
        )
        name = guid_text(entry.ItemId) or ""
        if name in _KNOWN:
            try:
                items[name] = view.read(region.FileOffset + entry.Offset, min(entry.Length, _METADATA_CAP))
            except (ShortRead, ReadError):
                problems.append(Problem(Code.DAMAGED, f"the metadata item {name} cannot be read"))
        elif entry.Flags & 0x4:
            problems.append(
                Problem(Code.UNSUPPORTED, f"it needs the metadata item {name}, which nothing describes")
            )
    return items


_KNOWN = frozenset(
    (
        FILE_PARAMETERS,
        VIRTUAL_DISK_SIZE,
        VIRTUAL_DISK_ID,
        LOGICAL_SECTOR_SIZE,
        PHYSICAL_SECTOR_SIZE,
        PARENT_LOCATOR,
    )
)


class _Figures(Record):
    """The metadata that the disk's layout follows from, within its bounds. Sizes in bytes."""

    size: int
    block_size: int
    sector_size: int
    flags: int


def _figures(facts: _Facts) -> _Figures:
    def number(item: str, at: int, length: int) -> int:
        raw = facts.items.get(item, b"")[at : at + length]
        if len(raw) < length:
            raise NotThisFormat(f"no metadata item {item}")
        return int.from_bytes(raw, "little")

    made = _Figures(
        number(VIRTUAL_DISK_SIZE, 0, 8),
        number(FILE_PARAMETERS, 0, 4),
        number(LOGICAL_SECTOR_SIZE, 0, 4),
        number(FILE_PARAMETERS, 4, 4),
    )
    if made.sector_size not in (512, 4096) or not 0 < made.size <= _SIZE_CAP:
        raise NotThisFormat(f"{made.size} bytes in sectors of {made.sector_size}")
    if not MIB <= made.block_size <= 256 * MIB or made.block_size & (made.block_size - 1):
        raise NotThisFormat(f"blocks of {made.block_size} bytes")
    return made


def _container(facts: _Facts, stored: int) -> Container:
    figures = _figures(facts)
    if figures.flags & HAS_PARENT:
        variant = "differencing"
    else:
        variant = "fixed" if figures.flags & LEAVE_BLOCKS_ALLOCATED else "dynamic"
    physical = facts.items.get(PHYSICAL_SECTOR_SIZE, b"")
    details: dict[str, Json] = {
        "variant": variant,
        "version": str(facts.header.Version),
        "stored_size": stored,
        "creator": facts.creator,
        "block_size": figures.block_size,
        "physical_sector_size": int.from_bytes(physical[:4], "little") or None,
        "virtual_disk_id": guid_text(facts.items.get(VIRTUAL_DISK_ID, b"")[:16]),
        "file_write_guid": guid_text(facts.header.FileWriteGuid),
        "data_write_guid": guid_text(facts.header.DataWriteGuid),
        "log_guid": guid_text(facts.header.LogGuid),
    }
    if isinstance(facts.file, ReplayedFile):
        details["log_entries_replayed"] = facts.file.entries
    if locator := _locator(facts.items.get(PARENT_LOCATOR, b"")):
        details["parent"] = dict(locator)
    return Container(
        type="vhdx",
        size=figures.size,
        sector_size=figures.sector_size,
        details=details,
        problems=facts.problems,
    )


def _locator(raw: bytes) -> dict[str, str]:
    """The entries of the parent locator: how the parent is called, and how it is known again."""
    if len(raw) < PARENT_LOCATOR_HEADER.size:
        return {}
    found = {}
    count = parse_struct(raw, PARENT_LOCATOR_HEADER).KeyValueCount
    room = (len(raw) - PARENT_LOCATOR_HEADER.size) // PARENT_LOCATOR_ENTRY.size
    for number in range(min(count, room, _LOCATOR_ENTRIES_CAP)):
        at = PARENT_LOCATOR_HEADER.size + number * PARENT_LOCATOR_ENTRY.size
        entry = parse_struct(raw, PARENT_LOCATOR_ENTRY, at)
        key = text(raw[entry.KeyOffset : entry.KeyOffset + entry.KeyLength], "utf-16-le")
        value = text(raw[entry.ValueOffset : entry.ValueOffset + entry.ValueLength], "utf-16-le")
        if key and value:
            found[key] = value
    return found


def open_image(container: Container, image: Image) -> Opened:
    """Give the disk: blocks, found by the block allocation table."""
    facts = _read(View(image.files[0]))
    file = facts.file
    figures, problems = _figures(facts), list(container.problems)
    parent = Parent()
    if figures.flags & HAS_PARENT:
        locator = _locator(facts.items.get(PARENT_LOCATOR, b""))
        names = [locator[key] for key in PARENT_PATHS if key in locator]
        linkages = [
            locator[key].strip("{}").lower()
            for key in ("parent_linkage", "parent_linkage2")
            if key in locator
        ]
        parent = open_parent(image, names, lambda found: _refuse(found, linkages), "the parent disk")
        problems += parent.problems
    blocks = _Blocks(file, facts.bat, figures, parent)
    if blocks.end_of_known() > file.size:
        problems.append(
            Problem(Code.TRUNCATED, f"the file ends at byte {file.size}, before blocks of the disk")
        )

    def structures() -> Iterator[Problem]:
        yield from _flaws_of_copies(View(image.files[0]))
        yield from misplaced(blocks.places(), figures.block_size, file.size)

    return Opened(
        container=container.replaced(problems=tuple(problems)),
        source=RunSource(figures.size, blocks.locate),
        stored=Stored(
            structures=structures,
            structural="both headers and both region tables, and the log's entries",
            told_better=frozenset((Code.BACKUP_USED,)),
        ),
    )


def _flaws_of_copies(view: View) -> Iterator[Problem]:
    """What is wrong with the two headers and the two region tables; one that was never written is zeros."""
    for places, size, signature, what in (
        (HEADERS_AT, HEADER_SIZE, b"head", "header"),
        (REGION_TABLES_AT, REGION_TABLE_SIZE, b"regi", "region table"),
    ):
        for offset in places:
            raw = view.glance(offset, size)
            if any(raw) and _checked(view, offset, size, signature) is None:
                yield Problem(Code.BAD_CHECKSUM, f"the checksum of the {what} at byte {offset} is wrong")


def _refuse(found: Container, linkages: list[str]) -> str | None:
    if found.type != "vhdx":
        return f"a file of the parent's name is no VHDX, but {found.type}"
    if found.details.get("data_write_guid") not in linkages:
        # Written to since, it has another: what this image has from it is then undefined.
        return f"a file of the parent's name has the data write GUID {found.details.get('data_write_guid')}"
    return None


class _Blocks:
    """Finds a disk's bytes by the block allocation table.

    After the entries of every ``chunk_ratio`` blocks stands one for a bitmap, with a bit for each
    of their sectors, which a differencing disk needs.
    """

    def __init__(self, file: Source, region: Any, figures: _Figures, parent: Parent) -> None:
        self._file = file
        self._figures = figures
        self._parent = parent
        self._has_parent = bool(figures.flags & HAS_PARENT)
        self._ratio = (1 << 23) * figures.sector_size // figures.block_size
        blocks = -(-figures.size // figures.block_size)
        chunks = -(-blocks // self._ratio)
        # Without a parent there is no need of the last bitmap, nor of what stands before it.
        needed = chunks * (self._ratio + 1) if self._has_parent else blocks + chunks - 1
        self._bat = EntryTable(file, region.FileOffset, min(region.Length // 8, needed), 8)

    def end_of_known(self) -> int:
        """Where the last block ends in the file, of those that the start of the table lists."""
        head = self._bat.head(_SURVEY)
        entries = [entry for (entry,) in struct.iter_unpack("<Q", head)]
        blocks = [
            entry >> 20
            for number, entry in enumerate(entries)
            if entry & 7 in (FULLY_PRESENT, PARTIALLY_PRESENT) and (number + 1) % (self._ratio + 1)
        ]
        return max(blocks) * MIB + min(self._figures.block_size, self._figures.size) if blocks else 0

    def places(self) -> Iterator[tuple[int, int]]:
        """The blocks that are in the file, and where they begin there."""
        for at in range(self._bat.count):
            chunk, in_chunk = divmod(at, self._ratio + 1)
            entry = self._bat[at]
            if in_chunk < self._ratio and entry & 7 in (FULLY_PRESENT, PARTIALLY_PRESENT):
                yield chunk * self._ratio + in_chunk, (entry >> 20) * MIB

    def locate(self, offset: int) -> Run:
        """The run that begins at this byte of the disk."""
        number, within = divmod(offset, self._figures.block_size)
        left = min(self._figures.block_size - within, self._figures.size - offset)
        chunk, in_chunk = divmod(number, self._ratio)
        entry = self._bat[chunk * (self._ratio + 1) + in_chunk]
        state, data = entry & 7, (entry >> 20) * MIB + within
        if state == FULLY_PRESENT:
            return Run(self._file, data, left)
        if state == PARTIALLY_PRESENT and self._has_parent:
            return self._partial(offset, data, left)
        if state == NOT_PRESENT and self._has_parent:
            return self._parent.run(offset, left)
        return Run(None, 0, left)

    def _partial(self, offset: int, data: int, left: int) -> Run:
        sector, in_sector = divmod(offset, self._figures.sector_size)
        chunk, bit = divmod(sector, 1 << 23)
        entry = self._bat[chunk * (self._ratio + 1) + self._ratio]
        if entry & 7 != FULLY_PRESENT:
            raise ReadError(f"the sector bitmap for byte {offset} of the disk is not present")
        byte = bit // 8
        bitmap = self._file.read_at((entry >> 20) * MIB + byte, min(_BITMAP_READ, MIB - byte))
        here, sectors = bit_run(bitmap, bit % 8, "little")
        left = min(left, sectors * self._figures.sector_size - in_sector)
        return Run(self._file, data, left) if here else self._parent.run(offset, left)


FORMAT = ContainerFormat(
    name="vhdx",
    title="Virtual Hard Disk v2 (VHDX)",
    specification="https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-vhdx/",
    parse=parse,
    open=open_image,
    signatures=(Signature(b"vhdxfile", 0),),
    types=("vhdx",),
)
