"""How an NTFS was left: what its log says, and whether Windows sleeps in it.

Layout: linux-ntfs project, "NTFS Documentation": $LogFile, index records
https://flatcap.github.io/linux-ntfs/ntfs/files/logfile.html
"""

import struct
from typing import Any

from pyimount.formats import Details, Json, NotThisFormat
from pyimount.parsers.filesystems.ntfs_records import (
    AT_DATA,
    STRIDE,
    Volume,
    data_size,
    fixed_up,
    place,
    record,
)

# All of this by struct, as the attributes are: so many small structures take longer through construct than
# all the rest of an NTFS.
# magic, usa_ofs, system_page_size, restart_area_offset, minor_ver, major_ver
RESTART_PAGE = struct.Struct("<4sH10xI4xHHH")
# current_lsn, client_in_use_list, flags
RESTART_AREA = struct.Struct("<Q4xHH")
RESTART_MAGICS = (b"RSTR", b"CHKD")
PAGE = 4096
"""Bytes in a page of the log, as all of today's are; a restart area begins each of the first two."""
NO_CLIENT = 0xFFFF
VOLUME_IS_CLEAN = 0x2
ERASED = 0xFF

ROOT = 5
AT_INDEX_ROOT, AT_INDEX_ALLOCATION = 0x90, 0xA0
# index_block_size, entries_offset, index_length
INDEX_ROOT = struct.Struct("<8xI4xII")
# magic, usa_ofs, usa_count, index_block_vcn, entries_offset, index_length
INDEX_BLOCK = struct.Struct("<4sHH8xQII")
# indexed_file, length, key_length, flags
INDEX_ENTRY = struct.Struct("<QHHH2x")
HAS_CHILD, LAST = 1, 2
ROOT_HEADER, BLOCK_HEADER = 16, 24
"""Where the header of the entries stands; their offsets count from there."""
NAME_LENGTH_AT, NAME_AT = 0x40, 0x42
"""In the key of an entry, which is a $FILE_NAME."""
MAX_DEPTH = 8
MAX_INDEX_BLOCK = 64 << 10
FILE_NAME = "HIBERFIL.SYS"
ASLEEP = (b"HIBR", b"HORM")
"""The first bytes of the file while Windows is hibernated; after that they read WAKE, or are zeros."""


def log_state(volume: Volume, attribute: tuple[bytes, ...]) -> Details | None:
    """What the newest restart page of the log says, by the $LogFile's data attribute.

    None where it cannot be read.
    """
    try:
        start = place(attribute, 0, volume.cluster)
    except NotThisFormat:
        return None
    raw = volume.read(start, PAGE + STRIDE)
    pages = [raw[at : at + STRIDE] for at in (0, PAGE)]
    if all(len(raw) == STRIDE == raw.count(ERASED) for raw in pages):
        return {"version": None, "clean": True, "current_lsn": None}
    areas = [area for raw in pages if (area := _restart_area(raw)) is not None]
    return max(areas, key=lambda area: area["current_lsn"], default=None)


def _restart_area(raw: bytes) -> dict[str, Any] | None:
    """The restart area in a page's first stride; None where it is not there, or a write to it was torn."""
    if len(raw) < STRIDE:
        return None
    magic, usa_ofs, page_size, area_at, minor, major = RESTART_PAGE.unpack_from(raw)
    whole = raw[-2:] == raw[usa_ofs : usa_ofs + 2]
    if magic not in RESTART_MAGICS or page_size != PAGE or not whole:
        return None
    if area_at + RESTART_AREA.size > STRIDE - 2:
        return None
    lsn, in_use, flags = RESTART_AREA.unpack_from(raw, area_at)
    return {
        "version": f"{major}.{minor}",
        "clean": in_use == NO_CLIENT or bool(flags & VOLUME_IS_CLEAN),
        "current_lsn": lsn,
    }


def hibernation(volume: Volume) -> dict[str, Json] | None:
    """What Windows' hibernation file begins with; None where there is none, or where it cannot be read."""
    try:
        number = _look_up(volume)
        if number is None:
            return None
        data = record(volume, number, frozenset((AT_DATA,)))[AT_DATA]
        head = volume.read(place(data, 0, volume.cluster), 4)
        size = data_size(data[0])
    except (NotThisFormat, KeyError):
        return None
    named = head.decode("ascii") if head.isalpha() else None
    return {"size": size, "signature": named, "hibernated": head.upper() in ASLEEP}


def _look_up(volume: Volume) -> int | None:
    """The number of the hibernation file's record; None where the root directory does not have it."""
    root = record(volume, ROOT, frozenset((AT_INDEX_ROOT, AT_INDEX_ALLOCATION)))
    entries = root.get(AT_INDEX_ROOT, (b"",))[0]
    size, first, length = _unpacked(INDEX_ROOT, entries)
    if not 512 <= size <= MAX_INDEX_BLOCK or size & (size - 1):
        raise NotThisFormat(f"index blocks of {size} bytes")
    start, end = ROOT_HEADER + first, ROOT_HEADER + length
    for _ in range(MAX_DEPTH):
        number, child = _step(entries, start, end)
        if child is None or AT_INDEX_ALLOCATION not in root:
            return number
        unit = volume.cluster if volume.cluster <= size else 512
        at = place(root[AT_INDEX_ALLOCATION], child * unit, volume.cluster)
        raw = volume.read(at, size)
        magic, usa_ofs, usa_count, vcn, first, length = _unpacked(INDEX_BLOCK, raw)
        if magic != b"INDX" or vcn != child:
            raise NotThisFormat(f"no index block {child}")
        entries = fixed_up(raw, usa_ofs, usa_count)
        start, end = BLOCK_HEADER + first, BLOCK_HEADER + length
    raise NotThisFormat("the root directory is too deep")


def _unpacked(declared: struct.Struct, raw: bytes) -> tuple[Any, ...]:
    if len(raw) < declared.size:
        raise NotThisFormat(f"{len(raw)} bytes where {declared.size} should be")
    return declared.unpack_from(raw)


def _step(node: bytes, start: int, end: int) -> tuple[int | None, int | None]:
    """What a node of the index says: the file's record, or the block where to look on, or neither."""
    at = start
    while at + INDEX_ENTRY.size <= min(end, len(node)):
        file, length, key_length, flags = INDEX_ENTRY.unpack_from(node, at)
        if length < INDEX_ENTRY.size or at + length > len(node):
            raise NotThisFormat(f"an index entry of {length} bytes")
        name = "" if flags & LAST else _name(node[at + INDEX_ENTRY.size : at + INDEX_ENTRY.size + key_length])
        if name == FILE_NAME:
            return file & (1 << 48) - 1, None
        if flags & LAST or name > FILE_NAME:
            child = int.from_bytes(node[at + length - 8 : at + length], "little")
            return None, child if flags & HAS_CHILD else None
        at += length
    raise NotThisFormat("an index without an end")


def _name(key: bytes) -> str:
    """The name in a key, with Latin letters as capitals: as names are ordered, as far as this matters."""
    length = key[NAME_LENGTH_AT] if len(key) > NAME_LENGTH_AT else 0
    raw = key[NAME_AT : NAME_AT + 2 * length].decode("utf-16-le", "replace")
    if raw.isascii():
        return raw.upper()
    return "".join(letter.upper() if letter.isascii() else letter for letter in raw)
