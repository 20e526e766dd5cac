"""The DDF metadata of one disk: headers, lists of disks and virtual disks, configuration records.

Layout: SNIA Common RAID Disk Data Format Specification 2.0, 5 "DDF Structures".
https://www.snia.org/tech_activities/standards/curr_standards/ddf
"""

from collections.abc import Iterator
from struct import unpack_from
from typing import Any
from zlib import crc32

from construct import Bytes, Int8ub, Int16ub, Int16ul, Int32ub, Int32ul, Int64ub, Int64ul, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import decimal, text
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.view import ShortRead, View

BLOCK = 512


def _header(half: Any, word: Any, double: Any) -> Struct:
    """DDF_Header: the anchor in the disk's last block, the primary and the secondary header."""
    return Struct(
        "Signature" / word,
        "CRC" / word,
        "DDF_Header_GUID" / Bytes(24),
        "DDF_rev" / Bytes(8),
        "Sequence_Number" / word,
        "TimeStamp" / word,
        "Open_Flag" / Int8ub,
        "Foreign_Flag" / Int8ub,
        "Disk_Grouping" / Int8ub,
        "Reserved1" / Bytes(13 + 32),
        "Primary_Header_LBA" / double,
        "Secondary_Header_LBA" / double,
        "Header_Type" / Int8ub,
        "Reserved2" / Bytes(3),
        "Workspace_Length" / word,
        "Workspace_LBA" / double,
        "Max_PD_Entries" / half,
        "Max_VD_Entries" / half,
        "Max_Partitions" / half,
        "Configuration_Record_Length" / half,
        "Max_Primary_Element_Entries" / half,
        "Max_Mapped_Block_Entries" / word,
        "Reserved3" / Bytes(50),
        "Controller_Data_Section" / word,
        "Controller_Data_Section_Length" / word,
        "Physical_Disk_Records_Section" / word,
        "Physical_Disk_Records_Section_Length" / word,
        "Virtual_Disk_Records_Section" / word,
        "Virtual_Disk_Records_Section_Length" / word,
        "Configuration_Records_Section" / word,
        "Configuration_Records_Section_Length" / word,
        "Physical_Disk_Data_Section" / word,
        "Physical_Disk_Data_Section_Length" / word,
        "Other_Sections" / Bytes(24 + 256),
    )


def _controller(half: Any, word: Any, double: Any) -> Struct:  # noqa: ARG001
    return Struct(
        "Signature" / word,
        "CRC" / word,
        "Controller_GUID" / Bytes(24),
        "Controller_Type" / Bytes(8),
        "Product_ID" / Bytes(16),
        "Reserved" / Bytes(8 + 448),
    )


def _records(half: Any, word: Any, double: Any) -> Struct:  # noqa: ARG001
    """What Physical_Disk_Records and Virtual_Disk_Records begin with."""
    return Struct(
        "Signature" / word,
        "CRC" / word,
        "Populated" / half,
        "Max_Supported" / half,
        "Reserved" / Bytes(52),
    )


def _physical_entry(half: Any, word: Any, double: Any) -> Struct:
    return Struct(
        "PD_GUID" / Bytes(24),
        "PD_Reference" / word,
        "PD_Type" / half,
        "PD_State" / half,
        "Configured_Size" / double,
        "Path_Information" / Bytes(18),
        "Block_Size" / half,
        "Reserved" / Bytes(4),
    )


def _virtual_entry(half: Any, word: Any, double: Any) -> Struct:  # noqa: ARG001
    return Struct(
        "VD_GUID" / Bytes(24),
        "VD_Number" / half,
        "Reserved1" / Bytes(2),
        "VD_Type" / word,
        "VD_State" / Int8ub,
        "Init_State" / Int8ub,
        "Reserved2" / Bytes(14),
        "VD_Name" / Bytes(16),
    )


def _configuration(half: Any, word: Any, double: Any) -> Struct:
    """VD_Configuration_Record without the two lists of its disks."""
    return Struct(
        "Signature" / word,
        "CRC" / word,
        "VD_GUID" / Bytes(24),
        "Timestamp" / word,
        "Sequence_Number" / word,
        "Reserved1" / Bytes(24),
        "Primary_Element_Count" / half,
        "Strip_Size" / Int8ub,
        "Primary_RAID_Level" / Int8ub,
        "RAID_Level_Qualifier" / Int8ub,
        "Secondary_Element_Count" / Int8ub,
        "Secondary_Element_Seq" / Int8ub,
        "Secondary_RAID_Level" / Int8ub,
        "Block_Count" / double,
        "VD_Size" / double,
        "Block_Size" / half,
        "Rotate_Parity_Count" / Int8ub,
        "Reserved2" / Bytes(5),
        "Associated_Spares" / Bytes(32),
        "Reserved3" / Bytes(8 + 8 + 48 + 192),
        "Vendor_Specific" / Bytes(128),
    )


def _disk_data(half: Any, word: Any, double: Any) -> Struct:  # noqa: ARG001
    return Struct(
        "Signature" / word,
        "CRC" / word,
        "PD_GUID" / Bytes(24),
        "PD_Reference" / word,
        "Forced_Ref_Flag" / Int8ub,
        "Forced_PD_GUID_Flag" / Int8ub,
        "Vendor_Specific" / Bytes(32 + 442),
    )


# Big-endian by the specification; some of Adaptec's controllers write little-endian.
_BIG, _LITTLE = (Int16ub, Int32ub, Int64ub), (Int16ul, Int32ul, Int64ul)
HEADER = {"big": layout(lambda: _header(*_BIG)), "little": layout(lambda: _header(*_LITTLE))}
CONTROLLER = {"big": layout(lambda: _controller(*_BIG)), "little": layout(lambda: _controller(*_LITTLE))}
RECORDS = {"big": layout(lambda: _records(*_BIG)), "little": layout(lambda: _records(*_LITTLE))}
PHYSICAL_ENTRY = {
    "big": layout(lambda: _physical_entry(*_BIG)),
    "little": layout(lambda: _physical_entry(*_LITTLE)),
}
VIRTUAL_ENTRY = {
    "big": layout(lambda: _virtual_entry(*_BIG)),
    "little": layout(lambda: _virtual_entry(*_LITTLE)),
}
CONFIGURATION = {
    "big": layout(lambda: _configuration(*_BIG)),
    "little": layout(lambda: _configuration(*_LITTLE)),
}
DISK_DATA = {"big": layout(lambda: _disk_data(*_BIG)), "little": layout(lambda: _disk_data(*_LITTLE))}

MAGIC_BIG = b"\xde\x11\xde\x11"
MAGIC_LITTLE = MAGIC_BIG[::-1]
_MAGICS = (MAGIC_BIG, MAGIC_LITTLE)
_HEADER_TYPE_AT = 112
# From the end of the disk in bytes: the anchor, and where it stands when something was put behind it.
PLACES = (-BLOCK, -257 * BLOCK)
TAIL = 32 << 20
"""How far before the end the anchor may lie: by some controllers, or on a larger copy of the disk."""
BLOCKS = (BLOCK, 4096, 2048, 1024)
"""Bytes in a block of the disk, by which everything is counted; most have the first."""

CONTROLLER_SIGNATURE = 0xAD111111
PHYSICAL_SIGNATURE = 0x22222222
VIRTUAL_SIGNATURE = 0xDDDDDDDD
CONFIGURATION_SIGNATURE = 0xEEEEEEEE
DISK_DATA_SIGNATURE = 0x33333333

SECTION_CAP = 2 << 20
"""No larger section is read, in bytes; the largest that the specification knows has 256 KiB."""
CONFIGURATIONS_CAP = 1 << 10
ELEMENTS_CAP = 1 << 12
UNSET = 0xFFFFFFFF
"""What stands where a place, a reference or a time is not given."""
_NO_GUID = (bytes(24), b"\xff" * 24)


class Element(Record, kw_only=True):
    """One configuration record: a basic virtual disk, one of the ``secondary_count`` that make up ``guid``.

    ``disks``: reference and first byte of each place in it, in order; a reference of None: no disk
    is known for it. ``block_count``: bytes that it takes of each disk; ``strip`` in bytes, ``size`` of
    the whole virtual disk in bytes. ``sequence`` orders copies of one record.
    """

    guid: str
    sequence: tuple[int, int]
    level: int
    qualifier: int
    secondary_level: int
    secondary_count: int
    secondary_seq: int
    block_count: int
    size: int
    strip: int
    rotate_after: int
    disks: tuple[tuple[int | None, int], ...]
    checked: bool


class Metadata(Record, kw_only=True):
    """All that one disk says of the arrays it is in.

    ``header``: the fields of the header that counts, ``at`` where it lies in bytes. ``reference``:
    this disk's own; ``controller`` its GUID. ``disks`` and ``virtual`` are entries of the records.
    """

    order: str
    at: int
    header: Any
    checked: bool
    reference: int | None = None
    guid: str | None = None
    controller: str | None = None
    product: str | None = None
    disks: tuple[Any, ...] = ()
    virtual: tuple[Any, ...] = ()
    elements: tuple[Element, ...] = ()
    problems: tuple[Problem, ...] = ()


def crc_of(block: bytes) -> int:
    """The checksum of a structure, its own field being ones: CRC-32 without the inversions."""
    return crc32(block[8:], crc32(b"\xff\xff\xff\xff", crc32(block[:4], 0xFFFFFFFF))) ^ 0xFFFFFFFF


def load(view: View) -> Metadata:
    """All that a disk says, found by the anchor header at its end. Raises NotThisFormat and ShortRead."""
    at = _anchor(view)
    raw = view.read(at, BLOCK)
    order = "big" if raw[:4] == MAGIC_BIG else "little"
    anchor = parse_struct(raw, HEADER[order])
    revision = text(anchor.DDF_rev)
    if revision is None or any(decimal(part) is None for part in revision.split(".")):
        raise NotThisFormat(f"revision {revision}")
    problems: list[Problem] = []
    if crc_of(raw) != anchor.CRC:
        problems.append(Problem(Code.BAD_CHECKSUM, f"the checksum of the DDF anchor at {at} does not match"))
    chosen = _choose(view, order, anchor, problems)
    if chosen is None:
        problems.append(Problem(Code.DAMAGED, "neither the primary nor the secondary DDF header is there"))
        return Metadata(order=order, at=at, header=anchor, checked=False, problems=tuple(problems))
    place, header, block = chosen
    sections = _Sections(view, order, place, header, block, problems)
    controller = sections.one(CONTROLLER, "Controller_Data", CONTROLLER_SIGNATURE)
    mine = sections.one(DISK_DATA, "Physical_Disk_Data", DISK_DATA_SIGNATURE)
    return Metadata(
        order=order,
        at=at,
        header=header,
        checked=not any(problem.code is Code.BAD_CHECKSUM for problem in problems),
        reference=mine.PD_Reference if mine else None,
        guid=mine.PD_GUID.hex() if mine else None,
        controller=controller.Controller_GUID.hex() if controller else None,
        product=text(controller.Product_ID) if controller else None,
        disks=tuple(sections.entries(PHYSICAL_ENTRY, "Physical_Disk_Records", PHYSICAL_SIGNATURE)),
        virtual=tuple(sections.entries(VIRTUAL_ENTRY, "Virtual_Disk_Records", VIRTUAL_SIGNATURE)),
        elements=tuple(sections.configurations()),
        problems=tuple(problems),
    )


def _anchor(view: View) -> int:
    """Where the anchor header lies; raises NotThisFormat."""
    places = [view.size // BLOCK * BLOCK + place for place in PLACES]
    at = next((at for at in places if view.glance(at, 4) in _MAGICS), None)
    if at is not None:
        return at
    step = 1 << 20
    end = view.size // BLOCK * BLOCK
    while end > max(0, view.size - TAIL):
        start = max(0, end - step)
        window = view.glance(start, end - start)
        for at in range(len(window) // BLOCK * BLOCK - BLOCK, -1, -BLOCK):
            # Headers of the other two kinds may lie there too, and old copies of all.
            if window[at : at + 4] in _MAGICS and window[at + _HEADER_TYPE_AT] == 0:
                raw = window[at : at + BLOCK]
                if raw[4:8] in (crc_of(raw).to_bytes(4, "big"), crc_of(raw).to_bytes(4, "little")):
                    return start + at
        end = start
    raise NotThisFormat("no anchor header")


def _choose(view: View, order: str, anchor: Any, problems: list[Problem]) -> tuple[int, Any, int] | None:
    """The header that counts, its first byte, and the size of a block.

    It is the newer of those that are whole and not half written.
    """
    found: list[tuple[tuple[int, bool, int], int, Any, int]] = []
    for rank, (name, number) in enumerate(
        (("secondary", anchor.Secondary_Header_LBA), ("primary", anchor.Primary_Header_LBA))
    ):
        if name == "secondary" and number == (1 << 64) - 1:
            continue
        for block in BLOCKS:
            header = _header_at(view, number * block, order, anchor)
            if header is not None:
                order_by = header.Sequence_Number, header.Open_Flag == 0, rank
                found.append((order_by, number * block, header, block))
                break
        else:
            fault = Problem(Code.BAD_CHECKSUM, f"the {name} DDF header at {number * BLOCK} is damaged")
            problems.append(fault)
    if not found:
        return None
    (_, _, rank), place, header, block = max(found, key=lambda each: each[0])
    if rank == 0:
        problems.append(Problem(Code.BACKUP_USED, "the DDF metadata was read from the secondary copy"))
    return place, header, block


def _header_at(view: View, at: int, order: str, anchor: Any) -> Any:
    """The whole header of the anchor's set of disks that lies there; None for anything else."""
    try:
        raw = view.read(at, BLOCK)
    except (ShortRead, ReadError):
        return None
    header = parse_struct(raw, HEADER[order])
    if header.Signature != anchor.Signature or crc_of(raw) != header.CRC:
        return None
    return header if header.DDF_Header_GUID == anchor.DDF_Header_GUID else None


class _Sections:
    """The sections behind one header."""

    def __init__(  # noqa: PLR0917  (what load found)
        self, view: View, order: str, place: int, header: Any, block: int, problems: list[Problem]
    ) -> None:
        self._view, self._order, self._place, self._header = view, order, place, header
        self._block = block
        self._problems = problems

    def _read(self, name: str) -> bytes:
        start = getattr(self._header, f"{name}_Section")
        length = getattr(self._header, f"{name}_Section_Length") * self._block
        if start in (0, UNSET) or not 0 < length <= SECTION_CAP:
            self._problems.append(Problem(Code.DAMAGED, f"the DDF section {name} has no usable place"))
            return b""
        try:
            return self._view.read(self._place + start * self._block, length)
        except (ShortRead, ReadError) as error:
            self._problems.append(Problem(Code.DAMAGED, f"the DDF section {name} cannot be read: {error}"))
            return b""

    def _check(self, raw: bytes, found: Any, signature: int, name: str) -> bool:
        if found.Signature != signature:
            self._problems.append(
                Problem(Code.DAMAGED, f"the DDF section {name} does not begin as it should")
            )
            return False
        if crc_of(raw) != found.CRC:
            message = f"the checksum of the DDF section {name} does not match"
            self._problems.append(Problem(Code.BAD_CHECKSUM, message))
        return True

    def one(self, declared: Any, name: str, signature: int) -> Any:
        """A section that is one structure; None when it is unusable."""
        raw = self._read(name)
        if not raw:
            return None
        found = parse_struct(raw, declared[self._order])
        return found if self._check(raw, found, signature, name) else None

    def entries(self, declared: Any, name: str, signature: int) -> Iterator[Any]:
        """The entries in use of a section that is a list."""
        raw = self._read(name)
        if not raw or not self._check(raw, parse_struct(raw, RECORDS[self._order]), signature, name):
            return
        entry = declared[self._order]
        first = RECORDS[self._order].size
        for at in range(first, len(raw) - entry.size + 1, entry.size):
            # mdadm calls all entries populated: what is not in use is all ones.
            if raw[at : at + 24] not in _NO_GUID:
                yield parse_struct(raw, entry, at)

    def configurations(self) -> Iterator[Element]:
        """The configuration records in use."""
        raw = self._read("Configuration_Records")
        length = self._header.Configuration_Record_Length * self._block
        most = self._header.Max_Primary_Element_Entries
        if not raw or length < BLOCK or most > ELEMENTS_CAP or BLOCK + 12 * most > length:
            return
        mark = CONFIGURATION_SIGNATURE.to_bytes(4, "big")  # a palindrome, as all of these
        for at in range(0, min(len(raw), CONFIGURATIONS_CAP * length), length):
            record = raw[at : at + length]
            if len(record) == length and record[:4] == mark:
                yield self._element(record, most)

    def _element(self, record: bytes, most: int) -> Element:
        conf = parse_struct(record, CONFIGURATION[self._order])
        sign = ">" if self._order == "big" else "<"
        count = min(conf.Primary_Element_Count, most)
        references = unpack_from(f"{sign}{most}I", record, BLOCK)
        starts = unpack_from(f"{sign}{most}Q", record, BLOCK + 4 * most)
        # A place without a disk has a reference of ones, and takes no part in the count of places.
        disks = [
            (reference, start * self._block)
            for reference, start in zip(references, starts, strict=True)
            if reference != UNSET
        ]
        places: list[tuple[int | None, int]] = [*disks[:count]]
        places += [(None, 0)] * (count - len(places))
        unit = conf.Block_Size if conf.Block_Size not in (0, 0xFFFF) else self._block
        checked = crc_of(record) == conf.CRC
        if not checked:
            message = f"the checksum of the configuration record of {conf.VD_GUID.hex()} does not match"
            self._problems.append(Problem(Code.BAD_CHECKSUM, message))
        return Element(
            guid=conf.VD_GUID.hex(),
            sequence=(conf.Sequence_Number, conf.Timestamp),
            level=conf.Primary_RAID_Level,
            qualifier=conf.RAID_Level_Qualifier,
            secondary_level=conf.Secondary_RAID_Level,
            secondary_count=max(1, conf.Secondary_Element_Count),
            secondary_seq=conf.Secondary_Element_Seq if conf.Secondary_Element_Count > 1 else 0,
            block_count=conf.Block_Count * unit,
            size=conf.VD_Size * unit,
            strip=unit << conf.Strip_Size if conf.Strip_Size < 32 else 0,
            rotate_after=conf.Rotate_Parity_Count,
            disks=tuple(places),
            checked=checked,
        )
