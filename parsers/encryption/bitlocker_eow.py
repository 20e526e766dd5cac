"""What BitLocker notes of a volume that it encrypts on write: which chunks are encrypted by now.

No published specification has these structures; their layout is that of dissect.fve (``bde/eow.py``), which
took it from Windows' own driver. A volume made by Windows was not at hand; see
tests/mapping/test_bitlocker_eow.py.
https://github.com/fox-it/dissect.fve
"""

import zlib
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from construct import Array, Const, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import Layout, layout, parse_struct, read_struct
from pyimount.records import Record
from pyimount.sources.view import READ_CAP, ShortRead, View

# Behind the GUID and the three places of the metadata in the boot sector.
EOW_OFFSETS_AT = 16 + 3 * 8
EOW_OFFSETS = layout(lambda: Struct("EowOffset" / Array(2, Int64ul)))
INFORMATION = layout(
    lambda: Struct(
        "HeaderSignature" / Const(b"FVE-EOW\0"),
        "HeaderSize" / Int16ul,
        "Size" / Int16ul,
        "SectorSize" / Int32ul,
        "Unknown1" / Int32ul,
        "ChunkSize" / Int32ul,
        "ConvLogSize" / Int32ul,
        "Unknown2" / Int32ul,
        "RegionCount" / Int32ul,
        "Crc32" / Int32ul,
        "EowOffset" / Array(2, Int64ul),
    )
)
BITMAP = layout(
    lambda: Struct(
        "HeaderSignature" / Const(b"FVE-EOWBM\0"),
        "HeaderSize" / Int16ul,
        "Size" / Int32ul,
        "Unknown1" / Int32ul,
        "RegionOffset" / Int64ul,
        "RegionSize" / Int64ul,
        "ConvLogOffset" / Int64ul,
        "RecordOffset" / Array(2, Int32ul),
        "RecordSize" / Int32ul,
        "Crc32" / Int32ul,
    )
)
RECORD = layout(
    lambda: Struct(
        "HeaderSignature" / Const(b"FVE-EOWBR\0"),
        "HeaderSize" / Int16ul,
        "Size" / Int32ul,
        "BitmapSize" / Int32ul,
        "SequenceNumber" / Int64ul,
        "Flags" / Int32ul,
        "Crc32" / Int32ul,
    )
)
INFORMATION_CRC_AT = 36
MAX_REGIONS = 4096
"""Regions of a volume; more are not looked at."""


class Region(Record, kw_only=True):
    """A run of the volume, and of each of its chunks whether it is encrypted: a bit of ``bitmap``.

    Offsets and sizes are bytes; ``bits``: how many chunks the bitmap tells of; ``own``: the runs of the
    volume that hold the bitmap itself and its log.
    """

    offset: int
    size: int
    bits: int
    bitmap: bytes
    own: tuple[tuple[int, int], ...]


class EncryptOnWrite(Record, kw_only=True):
    """What a volume notes; ``own``: the runs, offset and end, that hold these notes, and read as zeros."""

    chunk_size: int
    log_size: int
    regions: tuple[Region, ...]
    own: tuple[tuple[int, int], ...]

    @property
    def encrypted(self) -> int:
        """How many bytes are encrypted by now."""
        return sum(
            int.from_bytes(region.bitmap, "little").bit_count() * self.chunk_size for region in self.regions
        )

    def states(self, offset: int, length: int) -> Iterator[tuple[bool | None, int]]:
        """Whether the bytes from ``offset`` are encrypted, and how many are so; None: nothing tells."""
        starts = [region.offset for region in self.regions]
        end = offset + length
        while offset < end:
            number = bisect_right(starts, offset) - 1
            region = self.regions[number] if number >= 0 else None
            if region is None or offset >= region.offset + region.size:
                following = starts[number + 1] if number + 1 < len(starts) else end
                yield None, min(end, following) - offset
                offset = min(end, following)
                continue
            chunk = (offset - region.offset) // self.chunk_size
            state = _bit(region, chunk)
            while True:
                chunk += 1
                border = region.offset + min(chunk * self.chunk_size, region.size)
                if border >= min(end, region.offset + region.size) or _bit(region, chunk) != state:
                    break
            yield state, min(border, end) - offset
            offset = min(border, end)


def _bit(region: Region, chunk: int) -> bool | None:
    if chunk >= region.bits:
        return None
    return bool(region.bitmap[chunk >> 3] >> (chunk & 7) & 1)


def encrypt_on_write(view: View, recognition_at: int) -> EncryptOnWrite:
    """The notes of the volume whose GUID stands at ``recognition_at``: of two copies the first that is whole.

    Raises NotThisFormat where neither is, or a region's bitmap is not.
    """
    places = read_struct(view, EOW_OFFSETS, recognition_at + EOW_OFFSETS_AT).EowOffset
    why = "no places"
    for place in places:
        try:
            return _at(view, place)
        except (NotThisFormat, ShortRead) as error:
            why = str(error)
    raise NotThisFormat(f"the notes of encrypt-on-write are unusable: {why}")


def _at(view: View, place: int) -> EncryptOnWrite:
    header = read_struct(view, INFORMATION, place)
    if not INFORMATION.size <= header.HeaderSize <= header.Size:
        raise NotThisFormat(f"{header.HeaderSize} of {header.Size} bytes")
    raw = view.read(place, header.Size)
    blanked = raw[:INFORMATION_CRC_AT] + bytes(4) + raw[INFORMATION_CRC_AT + 4 :]
    if zlib.crc32(blanked) != header.Crc32:
        raise NotThisFormat("the checksum does not match")
    count = (header.Size - header.HeaderSize) // 8
    sector, chunk = header.SectorSize, header.ChunkSize
    if (
        not count
        or count > MAX_REGIONS
        or sector < 512
        or sector & (sector - 1)
        or not chunk
        or chunk % sector
    ):
        raise NotThisFormat(f"{count} regions in chunks of {chunk} bytes, sectors of {sector}")
    offsets = [
        int.from_bytes(raw[at : at + 8], "little")
        for at in range(header.HeaderSize, header.HeaderSize + 8 * count, 8)
    ]
    regions = sorted((_region(view, at, header) for at in offsets), key=lambda region: region.offset)
    if any(region.offset % sector for region in regions):
        raise NotThisFormat(f"a region that begins within a sector of {sector} bytes")
    return EncryptOnWrite(
        chunk_size=chunk,
        log_size=header.ConvLogSize,
        regions=tuple(regions),
        own=tuple(
            (start, start + -(-(end - start) // sector) * sector)
            for start, end in (
                *((copy, copy + header.Size) for copy in header.EowOffset if copy),
                *(run for region in regions for run in region.own),
            )
        ),
    )


def _region(view: View, place: int, information: Any) -> Region:
    header = read_struct(view, BITMAP, place)
    first = min(header.RecordOffset)
    if not BITMAP.size <= header.HeaderSize <= first <= header.Size <= READ_CAP:
        raise NotThisFormat(f"a bitmap of {header.Size} bytes, its records at {first}")
    raw = view.read(place, header.Size)
    if not _holds(raw[: header.RecordOffset[0]], BITMAP, header.Crc32):
        raise NotThisFormat(f"the checksum of the bitmap at {place} does not match")
    newest = None
    for at in header.RecordOffset:
        record = parse_struct(raw, RECORD, at)
        whole = raw[at : at + record.Size]
        if len(whole) < record.Size or record.HeaderSize < RECORD.size:
            continue
        if not _holds(whole, RECORD, record.Crc32):
            continue
        if newest is None or record.SequenceNumber > newest[0].SequenceNumber:
            newest = record, whole[record.HeaderSize :]
    if newest is None:
        raise NotThisFormat(f"neither record of the bitmap at {place} is whole")
    record, bitmap = newest
    log = header.ConvLogOffset
    return Region(
        offset=header.RegionOffset,
        size=header.RegionSize,
        bits=min(record.BitmapSize, 8 * len(bitmap)),
        bitmap=bitmap,
        own=((place, place + header.Size), (log, log + information.ConvLogSize)),
    )


def _holds(raw: bytes, declared: Layout, wanted: int) -> bool:
    """Whether the CRC-32 is right that stands in the last four bytes of the declared header."""
    at = declared.size - 4
    return zlib.crc32(raw[:at] + bytes(4) + raw[at + 4 :]) == wanted
