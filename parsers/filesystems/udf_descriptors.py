"""The descriptors of UDF: their layouts and tags, and the sequences in which they stand.

Layout: ECMA-167, part 3 "Volume Structure"; OSTA, "Universal Disk Format Specification", 2
https://ecma-international.org/publications-and-standards/standards/ecma-167/
"""

from binascii import crc_hqx
from typing import Any

from construct import Bytes, Int8ul, Int16ul, Int32ul, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.sources.view import ShortRead, View

TAG = layout(
    lambda: Struct(
        "TagIdentifier" / Int16ul,
        "DescriptorVersion" / Int16ul,
        "TagChecksum" / Int8ul,
        "Reserved" / Int8ul,
        "TagSerialNumber" / Int16ul,
        "DescriptorCRC" / Int16ul,
        "DescriptorCRCLength" / Int16ul,
        "TagLocation" / Int32ul,
    )
)
ANCHOR = layout(
    lambda: Struct(
        "DescriptorTag" / Bytes(16),
        "MainLength" / Int32ul,
        "MainLocation" / Int32ul,
        "ReserveLength" / Int32ul,
        "ReserveLocation" / Int32ul,
    )
)
POINTER = layout(
    lambda: Struct(
        "DescriptorTag" / Bytes(16),
        "VolumeDescriptorSequenceNumber" / Int32ul,
        "NextLength" / Int32ul,
        "NextLocation" / Int32ul,
    )
)
PRIMARY = layout(
    lambda: Struct(
        "DescriptorTag" / Bytes(16),
        "VolumeDescriptorSequenceNumber" / Int32ul,
        "PrimaryVolumeDescriptorNumber" / Int32ul,
        "VolumeIdentifier" / Bytes(32),
        "VolumeSequenceNumber" / Int16ul,
        "MaximumVolumeSequenceNumber" / Int16ul,
        "InterchangeLevel" / Int16ul,
        "MaximumInterchangeLevel" / Int16ul,
        "CharacterSetList" / Int32ul,
        "MaximumCharacterSetList" / Int32ul,
        "VolumeSetIdentifier" / Bytes(128),
        "DescriptorCharacterSet" / Bytes(64),
        "ExplanatoryCharacterSet" / Bytes(64),
        "VolumeAbstract" / Bytes(8),
        "VolumeCopyrightNotice" / Bytes(8),
        "ApplicationIdentifier" / Bytes(32),
        "RecordingDateandTime" / Bytes(12),
        "ImplementationIdentifier" / Bytes(32),
    )
)
LOGICAL = layout(
    lambda: Struct(
        "DescriptorTag" / Bytes(16),
        "VolumeDescriptorSequenceNumber" / Int32ul,
        "DescriptorCharacterSet" / Bytes(64),
        "LogicalVolumeIdentifier" / Bytes(128),
        "LogicalBlockSize" / Int32ul,
        "DomainIdentifier" / Bytes(24),
        "UDFRevision" / Int16ul,
        "DomainFlags" / Int8ul,
        "DomainReserved" / Bytes(5),
        "LogicalVolumeContentsUse" / Bytes(16),
        "MapTableLength" / Int32ul,
        "NumberofPartitionMaps" / Int32ul,
        "ImplementationIdentifier" / Bytes(32),
        "ImplementationUse" / Bytes(128),
        "IntegrityLength" / Int32ul,
        "IntegrityLocation" / Int32ul,
    )
)
PARTITION = layout(
    lambda: Struct(
        "DescriptorTag" / Bytes(16),
        "VolumeDescriptorSequenceNumber" / Int32ul,
        "PartitionFlags" / Int16ul,
        "PartitionNumber" / Int16ul,
        "PartitionContents" / Bytes(32),
        "PartitionContentsUse" / Bytes(128),
        "AccessType" / Int32ul,
        "PartitionStartingLocation" / Int32ul,
        "PartitionLength" / Int32ul,
    )
)
IMPLEMENTATION_USE = layout(
    lambda: Struct(
        "DescriptorTag" / Bytes(16),
        "VolumeDescriptorSequenceNumber" / Int32ul,
        "ImplementationIdentifier" / Bytes(32),
        "LVICharset" / Bytes(64),
        "LogicalVolumeIdentifier" / Bytes(128),
        "LVInfo1" / Bytes(36),
        "LVInfo2" / Bytes(36),
        "LVInfo3" / Bytes(36),
    )
)
INTEGRITY = layout(
    lambda: Struct(
        "DescriptorTag" / Bytes(16),
        "RecordingDateandTime" / Bytes(12),
        "IntegrityType" / Int32ul,
        "NextLength" / Int32ul,
        "NextLocation" / Int32ul,
        "LogicalVolumeContentsUse" / Bytes(32),
        "NumberofPartitions" / Int32ul,
        "LengthofImplementationUse" / Int32ul,
    )
)
INTEGRITY_USE = layout(
    lambda: Struct(
        "ImplementationID" / Bytes(32),
        "NumberofFiles" / Int32ul,
        "NumberofDirectories" / Int32ul,
        "MinimumUDFReadRevision" / Int16ul,
        "MinimumUDFWriteRevision" / Int16ul,
        "MaximumUDFWriteRevision" / Int16ul,
    )
)
# What is looked at of a sequence, however long it says that it is.
MAX_DESCRIPTORS = 64
MAX_EXTENTS = 8
MAX_INTEGRITY = 32

PRIMARY_ID, ANCHOR_ID, POINTER_ID, USE_ID, PARTITION_ID, LOGICAL_ID = 1, 2, 3, 4, 5, 6
UNALLOCATED_ID, TERMINATING_ID, INTEGRITY_ID = 7, 8, 9
_LAYOUTS = {
    PRIMARY_ID: PRIMARY,
    USE_ID: IMPLEMENTATION_USE,
    PARTITION_ID: PARTITION,
    LOGICAL_ID: LOGICAL,
}
LV_INFO = b"\0*UDF LV Info"


class DescriptorSequence:
    """A volume descriptor sequence: what prevails in it, and whether all of it is whole.

    ``found``: by the identifier of its tag, a descriptor and its bytes; ``partitions`` by their numbers;
    ``broken``: the blocks of descriptors whose checksums do not hold.
    """

    __slots__ = ("broken", "found", "partitions")

    def __init__(self) -> None:
        self.found: dict[int, tuple[Any, bytes]] = {}
        self.partitions: dict[int, Any] = {}
        self.broken: list[int] = []

    @property
    def complete(self) -> bool:
        """Whether it has the two descriptors without which there is no volume."""
        return PRIMARY_ID in self.found and LOGICAL_ID in self.found


def read_descriptor(view: View, block: int, block_size: int) -> tuple[bytes, bool]:
    """The descriptor at ``block``, and whether its checksums hold.

    Raises NotThisFormat where its tag says that it belongs elsewhere.
    """
    at = block * block_size
    raw = view.read(at, 512)
    tag = parse_struct(raw, TAG)
    if tag.TagLocation != block:
        raise NotThisFormat(f"the descriptor at block {block} says that it is at {tag.TagLocation}")
    length = 16 + tag.DescriptorCRCLength
    if length > block_size:
        return raw, False
    if length > len(raw):
        raw = view.read(at, length)
    checksum = (sum(raw[:16]) - raw[4]) & 0xFF
    return raw, checksum == tag.TagChecksum and crc_hqx(raw[16:length], 0) == tag.DescriptorCRC


def read_sequence(view: View, block_size: int, location: int, length: int) -> DescriptorSequence:
    """The prevailing descriptors of a sequence: of each kind the one with the highest number."""
    sequence = DescriptorSequence()
    extents, left = 1, MAX_DESCRIPTORS
    block, end = location, location + length // block_size
    while block < end and left:
        left -= 1
        try:
            raw, whole = read_descriptor(view, block, block_size)
        except (NotThisFormat, ShortRead):
            break
        identifier = int.from_bytes(raw[:2], "little")
        if identifier in (0, TERMINATING_ID):
            break
        if not whole:
            sequence.broken.append(block)
        elif identifier == POINTER_ID and extents < MAX_EXTENTS:
            pointer = parse_struct(raw, POINTER)
            extents += 1
            block, end = pointer.NextLocation, pointer.NextLocation + pointer.NextLength // block_size
            continue
        elif identifier in _LAYOUTS:
            _add(sequence, identifier, raw)
        block += 1
    return sequence


def _add(sequence: DescriptorSequence, identifier: int, raw: bytes) -> None:
    descriptor = parse_struct(raw, _LAYOUTS[identifier])
    number = descriptor.VolumeDescriptorSequenceNumber
    if identifier == PARTITION_ID:
        known = sequence.partitions.get(descriptor.PartitionNumber)
        if known is None or number > known.VolumeDescriptorSequenceNumber:
            sequence.partitions[descriptor.PartitionNumber] = descriptor
        return
    if identifier == USE_ID and descriptor.ImplementationIdentifier[:24].rstrip(b"\0") != LV_INFO:
        return
    other = sequence.found.get(identifier)
    if other is None or number > other[0].VolumeDescriptorSequenceNumber:
        sequence.found[identifier] = (descriptor, raw)


def last_integrity(view: View, block_size: int, location: int, length: int) -> tuple[int, Any, bool]:
    """The last logical volume integrity descriptor: its block, itself, and whether its checksums hold."""
    last: tuple[int, Any, bool] | None = None
    seen: set[int] = set()
    block, end = location, location + length // block_size
    while block < end and block not in seen and len(seen) < MAX_INTEGRITY:
        seen.add(block)
        try:
            raw, whole = read_descriptor(view, block, block_size)
        except (NotThisFormat, ShortRead):
            break
        if raw[:2] != b"\x09\x00":
            break
        if whole or last is None:
            last = (block, parse_struct(raw, INTEGRITY), whole)
        block += 1
        if whole and last[1].NextLength:
            block, end = last[1].NextLocation, last[1].NextLocation + last[1].NextLength // block_size
    if last is None:
        raise NotThisFormat("no logical volume integrity descriptor")
    return last
