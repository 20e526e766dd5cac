"""The times in the directory entries of FAT and exFAT, read from the entries themselves.

libfsfat 20260826 gives them a month late, counted from 1980, and without what exFAT says of the time zone.
Layout: Microsoft, "FAT File System Specification" (fatgen103), "FAT Directory Structure"; "exFAT file system
specification", 7.4 and 7.4.8, https://learn.microsoft.com/en-us/windows/win32/fileio/exfat-specification
"""

import struct
from datetime import UTC, datetime
from typing import Any

from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source

SIZE = 32
_FAT = struct.Struct("<13xB2HH2x2H")
"""Hundredths, time and date of creation; date of the last access; time and date of the last change."""
_EXFAT = struct.Struct("<8x6H5B")
"""Time and date of creation, of the last change, of the last access; hundredths; time zones."""
_EXFAT_FILE = 0x85
_ZONE_IS_VALID = 0x80
_QUARTER = 900 * 10**9


def times_at(source: Source, offset: int, kind: str) -> dict[str, Any]:
    """``born``, ``modified``, ``accessed`` in ns since 1970, and ``local``, of the entry at an offset."""
    try:
        entry = source.read_at(offset, SIZE)
    except ReadError:
        return {"local": True}
    if len(entry) < SIZE:
        return {"local": True}
    return _exfat(entry) if kind == "exfat" else _fat(entry)


def _fat(entry: bytes) -> dict[str, Any]:
    hundredths, born_time, born_date, accessed, time, date = _FAT.unpack_from(entry)
    return {
        "born": _moment(born_date, born_time, hundredths), "accessed": _moment(accessed, 0),
        "modified": _moment(date, time), "local": True,
    }  # fmt: skip


def _exfat(entry: bytes) -> dict[str, Any]:
    if entry[0] != _EXFAT_FILE:
        return {"local": True}
    b_time, b_date, m_time, m_date, a_time, a_date, b_part, m_part, *zones = _EXFAT.unpack_from(entry)
    found = {
        "born": _moment(b_date, b_time, b_part),
        "modified": _moment(m_date, m_time, m_part),
        "accessed": _moment(a_date, a_time),
    }
    if not all(zone & _ZONE_IS_VALID for zone in zones):
        return {**found, "local": True}
    for name, zone in zip(found, zones, strict=True):
        # Quarters of an hour east of UTC, in seven bits, of which the highest is the sign.
        east = (zone & 0x7F) - (0x80 if zone & 0x40 else 0)
        at = found[name]
        found[name] = None if at is None else at - east * _QUARTER
    return {**found, "local": False}


def _moment(date: int, time: int, hundredths: int = 0) -> int | None:
    """Nanoseconds from 1970 to what MS-DOS packs into two words; None for none, or an impossible date."""
    try:
        at = datetime(
            (date >> 9) + 1980, date >> 5 & 0xF, date & 0x1F, time >> 11, time >> 5 & 0x3F,
            (time & 0x1F) * 2, tzinfo=UTC,
        )  # fmt: skip
    except ValueError:
        return None
    return (int(at.timestamp()) * 100 + min(hundredths, 199)) * 10**7
