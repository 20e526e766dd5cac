"""Virtual Hard Disk (VHD, Virtual PC): fixed, dynamic and differencing.

Layout: Microsoft, "Virtual Hard Disk Image Format Specification", version 1.0 (2006)
https://learn.microsoft.com/en-us/previous-versions/windows/it-pro/windows-server-2008-R2-and-2008/dd979539(v=ws.10)
"""

import struct
from collections.abc import Iterator
from typing import Any

from construct import Array, Bytes, Int8ub, Int16ub, Int32ub, Int64ub, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import text, unix_time, uuid_text
from pyimount.formats.stored import Stored
from pyimount.parsers.containers.block_places import misplaced
from pyimount.parsers.containers.runs import EntryTable, Parent, Run, RunSource, bit_run, open_parent
from pyimount.problems import Code, Problem
from pyimount.sources.errors import ReadError
from pyimount.sources.source import SliceSource, Source
from pyimount.sources.view import ShortRead, View

COOKIE = b"conectix"

FOOTER = layout(
    lambda: Struct(
        "cookie" / Bytes(8),
        "features" / Int32ub,
        "file_format_version" / Int32ub,
        "data_offset" / Int64ub,
        "time_stamp" / Int32ub,
        "creator_application" / Bytes(4),
        "creator_version" / Int32ub,
        "creator_host_os" / Bytes(4),
        "original_size" / Int64ub,
        "current_size" / Int64ub,
        "cylinders" / Int16ub,
        "heads" / Int8ub,
        "sectors_per_track" / Int8ub,
        "disk_type" / Int32ub,
        "checksum" / Int32ub,
        "unique_id" / Bytes(16),
        "saved_state" / Int8ub,
        "reserved" / Bytes(426),  # one more in all but the footers of 511 bytes before Virtual PC 2004
    )
)
DYNAMIC_HEADER = layout(
    lambda: Struct(
        "cookie" / Bytes(8),
        "data_offset" / Int64ub,
        "table_offset" / Int64ub,
        "header_version" / Int32ub,
        "max_table_entries" / Int32ub,
        "block_size" / Int32ub,
        "checksum" / Int32ub,
        "parent_unique_id" / Bytes(16),
        "parent_time_stamp" / Int32ub,
        "reserved1" / Bytes(4),
        "parent_unicode_name" / Bytes(512),
        "parent_locators"
        / Array(
            8,
            Struct(
                "platform_code" / Bytes(4),
                "platform_data_space" / Int32ub,
                "platform_data_length" / Int32ub,
                "reserved" / Bytes(4),
                "platform_data_offset" / Int64ub,
            ),
        ),
        "reserved2" / Bytes(256),
    )
)

SECTOR = 512
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
DISK_TYPES = {FIXED: "fixed", DYNAMIC: "dynamic", DIFFERENCING: "differencing"}
UNUSED = 0xFFFFFFFF
_CHECKSUM_AT, _HEADER_CHECKSUM_AT = 64, 36
_EPOCH = 946684800  # 2000-01-01
_SIZE_CAP = 1 << 50
_BLOCK_CAP = 1 << 30
_BITMAP_READ = 512
_SURVEY = 256 << 10
_LOCATOR_CAP = 4096
_ENCODINGS = {
    b"W2ru": "utf-16-le",
    b"W2ku": "utf-16-le",
    b"Wi2r": "latin-1",
    b"Wi2k": "latin-1",
    b"MacX": "utf-8",
}


def checksum(raw: bytes, at: int) -> int:
    """The one's complement of the sum of all bytes but the four at ``at``, where it is stored."""
    return ~(sum(raw) - sum(raw[at : at + 4])) & 0xFFFFFFFF


def parse(view: View) -> Container:
    """The footer at the end, or its copy at the start of a dynamic disk."""
    footer, problems = _footer(view)
    return Container(
        type="vhd",
        size=footer.current_size,
        sector_size=SECTOR,
        details=_details(footer, view.size),
        problems=problems,
    )


def _footer(view: View) -> tuple[Any, tuple[Problem, ...]]:
    found: list[tuple[bool, int, Any]] = []
    for offset in (view.size - 512, view.size - 511, 0):
        if offset < 0 or view.glance(offset, len(COOKIE)) != COOKIE:
            continue
        raw = view.glance(offset, 512)
        try:
            footer = parse_struct(raw, FOOTER)
        except NotThisFormat:
            continue
        fits = footer.disk_type in DISK_TYPES and 0 < footer.current_size <= _SIZE_CAP
        # At the start stands a copy of a dynamic disk's footer; a fixed disk begins with its first sector.
        if fits and (offset or footer.disk_type != FIXED):
            found.append((checksum(raw, _CHECKSUM_AT) == footer.checksum, offset, footer))
    if not found:
        raise NotThisFormat("no footer")
    good, offset, footer = next((each for each in found if each[0]), found[0])
    problems = []
    if offset == 0 and view.size > 512:
        why = "is missing" if view.glance(view.size - 512, 8) != COOKIE else "is damaged"
        problems.append(
            Problem(Code.BACKUP_USED, f"the footer at the end {why}; its copy at the start is used")
        )
    if not good:
        problems.append(Problem(Code.BAD_CHECKSUM, "the footer's checksum is wrong"))
    return footer, tuple(problems)


def _time(seconds: int) -> str | None:
    return unix_time(seconds + _EPOCH) if seconds else None


def _details(footer: Any, stored: int) -> dict[str, Json]:
    details: dict[str, Json] = {
        "variant": DISK_TYPES[footer.disk_type],
        "version": f"{footer.file_format_version >> 16}.{footer.file_format_version & 0xFFFF}",
        "stored_size": stored,
        "unique_id": uuid_text(footer.unique_id),
        "created": _time(footer.time_stamp),
        "creator_application": text(footer.creator_application, "latin-1"),
        "creator_version": f"{footer.creator_version >> 16}.{footer.creator_version & 0xFFFF}",
        "creator_host_os": text(footer.creator_host_os, "latin-1"),
        "original_size": footer.original_size,
        "geometry": {
            "cylinders": footer.cylinders,
            "heads": footer.heads,
            "sectors_per_track": footer.sectors_per_track,
        },
        "saved_state": bool(footer.saved_state),
    }
    chs = footer.cylinders * footer.heads * footer.sectors_per_track * SECTOR
    if chs != footer.current_size:
        # Virtual PC shows its guest this much; Hyper-V, libvhdi and Windows go by the size.
        details["geometry_size"] = chs
    return details


def open_image(container: Container, image: Image) -> Opened:
    """Give the disk: the file up to the footer, or blocks found by the block allocation table."""
    file = image.files[0]
    view = View(file)
    footer, _ = _footer(view)
    size, problems = footer.current_size, list(container.problems)
    if footer.disk_type == FIXED:
        held = file.size - (511 if view.glance(file.size - 512, 8) != COOKIE else 512)
        if held < size:
            problems.append(Problem(Code.TRUNCATED, f"the file holds {held} bytes of the disk's {size}"))
        disk = SliceSource(file, 0, max(0, held))
        runs = RunSource(size, lambda offset: Run(disk, offset, size - offset))
        return Opened(
            container=container.replaced(problems=tuple(problems)),
            source=runs,
            stored=Stored(structural="the footer"),
        )
    header = _dynamic_header(view, footer, problems)
    details: dict[str, Json] = {**container.details, "block_size": header.block_size}
    parent = Parent()
    if footer.disk_type == DIFFERENCING:
        names = _parent_names(view, header)
        wanted = uuid_text(header.parent_unique_id)
        details["parent"] = {
            "unique_id": wanted,
            "modified": _time(header.parent_time_stamp),
            "names": [*names],
        }
        parent = open_parent(image, names, lambda found: _refuse(found, header), "the parent disk")
        problems += parent.problems
    table = EntryTable(file, header.table_offset, header.max_table_entries, 4, "big")
    if header.max_table_entries * header.block_size < size:
        told = f"{header.max_table_entries} blocks of {header.block_size} bytes"
        message = f"the table has {told}, too few for {size}"
        problems.append(Problem(Code.DAMAGED, message))
    blocks = _Blocks(
        file, table, header.block_size, size, parent, differencing=footer.disk_type == DIFFERENCING
    )
    # With its footer at its end a file is whole.
    if any(each.code is Code.BACKUP_USED for each in problems) and blocks.end_of_known() > file.size:
        problems.append(
            Problem(Code.TRUNCATED, f"the file ends at byte {file.size}, before blocks of the disk")
        )

    def structures() -> Iterator[Problem]:
        yield from _flaws_of_copies(view)
        yield from misplaced(blocks.places(), blocks.stride, file.size)

    return Opened(
        container=container.replaced(details=details, problems=tuple(problems)),
        source=RunSource(size, blocks.locate),
        stored=Stored(structures=structures, structural="the footer, its copy and the dynamic disk header"),
    )


def _flaws_of_copies(view: View) -> Iterator[Problem]:
    """What is wrong with the footer at the end of a dynamic disk, or with its copy at the start."""
    copies = []
    for offset, which in ((view.size - 512, "the footer at the end"), (0, "the footer's copy at the start")):
        raw = view.glance(offset, 512)
        if raw[: len(COOKIE)] != COOKIE or len(raw) < FOOTER.size:
            yield Problem(Code.DAMAGED, f"{which} is missing")
            continue
        if checksum(raw, _CHECKSUM_AT) != parse_struct(raw, FOOTER).checksum:
            yield Problem(Code.BAD_CHECKSUM, f"the checksum of {which} is wrong")
            continue
        copies.append(raw)
    if len(copies) == 2 and copies[0] != copies[1]:
        yield Problem(Code.COPIES_DIFFER, "the footer and its copy say different things")


def _dynamic_header(view: View, footer: Any, problems: list[Problem]) -> Any:
    header = read_struct(view, DYNAMIC_HEADER, footer.data_offset)
    if header.cookie != b"cxsparse":
        raise NotThisFormat(f"no dynamic disk header at byte {footer.data_offset}")
    raw = view.read(footer.data_offset, DYNAMIC_HEADER.size)
    if checksum(raw, _HEADER_CHECKSUM_AT) != header.checksum:
        problems.append(Problem(Code.BAD_CHECKSUM, "the checksum of the dynamic disk header is wrong"))
    size = header.block_size
    if size < SECTOR or size > _BLOCK_CAP or size & (size - 1):
        raise NotThisFormat(f"blocks of {size} bytes")
    return header


def _parent_names(view: View, header: Any) -> list[str]:
    """Where the parent may be, the likeliest first: relative to this image, by its name, absolute."""
    ranked: list[tuple[int, str]] = []
    for locator in header.parent_locators:
        encoding = _ENCODINGS.get(locator.platform_code)
        length = locator.platform_data_length
        if encoding is None or not 0 < length <= _LOCATOR_CAP:
            continue
        try:
            name = text(view.read(locator.platform_data_offset, length), encoding)
        except (ShortRead, ReadError):
            continue  # one of several names
        if name:
            relative = locator.platform_code in (b"W2ru", b"Wi2r")
            if locator.platform_code == b"MacX":  # a URL of a file
                name = _path_in(name)
            ranked.append((0 if relative else 2, name))
    if name := text(header.parent_unicode_name, "utf-16-be"):
        ranked.append((1, name))
    return list(dict.fromkeys(name for _, name in sorted(ranked, key=lambda entry: entry[0])))


def _path_in(url: str) -> str:
    """The path in a URL of a file; what is no URL as it is."""
    from urllib.parse import unquote, urlsplit

    try:
        return unquote(urlsplit(url).path) or url
    except ValueError:
        return url


def _refuse(found: Container, header: Any) -> str | None:
    """Why a disk is not the parent: the child has its unique id, and when it was last changed.

    A disk that was made after that is another one of the same id. Nothing in a VHD says when it was changed
    since: that is the file's own time, which copies do not keep.
    """
    wanted, changed = uuid_text(header.parent_unique_id), _time(header.parent_time_stamp)
    if found.type != "vhd":
        return f"a file of the parent's name is no VHD, but {found.type}"
    if found.details.get("unique_id") != wanted:
        return f"a file of the parent's name has the unique id {found.details.get('unique_id')}, not {wanted}"
    created = found.details.get("created")
    if changed and isinstance(created, str) and created > changed:
        return f"a file of the parent's name was made at {created}, and the parent changed last at {changed}"
    return None


class _Blocks:
    """Finds a dynamic disk's bytes: a block is a bitmap, a bit for each sector, and then the sectors."""

    def __init__(
        self,
        file: Source,
        table: EntryTable,
        block_size: int,
        size: int,
        parent: Parent,
        *,
        differencing: bool,
    ) -> None:
        self._file = file
        self._table = table
        self._block_size = block_size
        self._size = size
        self._parent = parent
        self._differencing = differencing
        bitmap = -(-block_size // SECTOR // 8)
        self._bitmap_size = -(-bitmap // SECTOR) * SECTOR

    def end_of_known(self) -> int:
        """Where the last block ends in the file, of those that the start of the table lists."""
        head = self._table.head(_SURVEY)
        last = max((entry for (entry,) in struct.iter_unpack(">I", head) if entry != UNUSED), default=None)
        if last is None:
            return 0
        return int(last) * SECTOR + self._bitmap_size + min(self._block_size, self._size)

    @property
    def stride(self) -> int:
        """Bytes that a block takes in the file."""
        return self._bitmap_size + self._block_size

    def places(self) -> Iterator[tuple[int, int]]:
        """The blocks that are in the file, and where they begin there."""
        for number in range(self._table.count):
            entry = self._table[number]
            if entry != UNUSED:
                yield number, entry * SECTOR

    def locate(self, offset: int) -> Run:
        """The run that begins at this byte of the disk."""
        number, within = divmod(offset, self._block_size)
        left = min(self._block_size - within, self._size - offset)
        start = self._table[number] * SECTOR
        if start == UNUSED * SECTOR:
            return self._parent.run(offset, left) if self._differencing else Run(None, 0, left)
        data = start + self._bitmap_size + within
        if not self._differencing:
            return Run(self._file, data, left)
        sector, in_sector = divmod(within, SECTOR)
        bitmap = self._file.read_at(start + sector // 8, min(_BITMAP_READ, self._bitmap_size - sector // 8))
        here, sectors = bit_run(bitmap, sector % 8, "big")
        left = min(left, sectors * SECTOR - in_sector)
        return Run(self._file, data, left) if here else self._parent.run(offset, left)


FORMAT = ContainerFormat(
    name="vhd",
    title="Virtual Hard Disk (VHD)",
    specification="Microsoft, Virtual Hard Disk Image Format Specification 1.0",
    parse=parse,
    open=open_image,
    signatures=(Signature(COOKIE, -512), Signature(COOKIE, -511), Signature(COOKIE, 0)),
    types=("vhd",),
)
