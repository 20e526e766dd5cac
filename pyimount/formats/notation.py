"""How raw fields are written out: UUIDs, times and names, each in one spelling everywhere."""

import time
from collections.abc import Mapping

# Where others count from, in seconds from 1970.
_FILETIME_EPOCH = -11_644_473_600
_HFS_EPOCH = -2_082_844_800

_CYCLE = 146_097 * 24 * 60 * 60
"""The seconds of 400 years, after which the calendar repeats."""


def uuid_text(raw: bytes) -> str | None:
    """A UUID stored big-endian (as RFC 9562 has it), in lower case; None when all bytes are zero."""
    if not any(raw):
        return None
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def guid_text(raw: bytes) -> str | None:
    """A GUID as Microsoft stores it (first three fields little-endian), in lower case."""
    return uuid_text(raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:])


def text(raw: bytes, encoding: str = "utf-8") -> str | None:
    r"""A name up to its first NUL, without trailing blanks; what is no ``encoding`` as ``\xNN``.

    None when nothing is left.
    """
    return raw.decode(encoding, "backslashreplace").partition("\0")[0].rstrip(" ") or None


def decimal(word: str, digits: int = 20) -> int | None:
    """The number that an image writes in ASCII digits; None for anything else, and for more than ``digits``.

    Not ``int``: that takes blanks, signs, underscores and the digits of every script, and refuses very many.
    """
    return int(word) if len(word) <= digits and word.isascii() and word.isdecimal() else None


def hexadecimal(word: str, digits: int = 16) -> int | None:
    """The same in hexadecimal digits, with ``0x`` in front or without."""
    plain = word.lower().removeprefix("0x")
    if not 0 < len(plain) <= digits or plain.strip("0123456789abcdef"):
        return None
    return int(plain, 16)


def _iso(seconds: int, micros: int) -> str | None:
    # Not datetime, which takes longer to import than all else here; and not every system's gmtime
    # goes before 1970.
    cycles, rest = divmod(seconds, _CYCLE)
    year, month, day, hour, minute, second, *_ = time.gmtime(rest)
    year += 400 * cycles
    if not 1 <= year <= 9999:
        return None
    fraction = f".{micros:06}" if micros else ""
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z"


def unix_time(seconds: int, nanoseconds: int = 0) -> str | None:
    """Seconds since 1970 as ISO 8601 UTC; None for zero (never) and for what no calendar has."""
    if seconds == 0:
        return None
    more, nanoseconds = divmod(nanoseconds, 1_000_000_000)
    return _iso(seconds + more, nanoseconds // 1000)


def filetime(ticks: int) -> str | None:
    """Windows' 100 ns since 1601 as ISO 8601 UTC; None for zero."""
    if ticks == 0:
        return None
    seconds, rest = divmod(ticks, 10_000_000)
    return _iso(_FILETIME_EPOCH + seconds, rest // 10)


def hfs_time(seconds: int, *, local: bool = False) -> str | None:
    """Apple's seconds since 1904 as ISO 8601; without a zone where the format keeps local time."""
    moment = _iso(_HFS_EPOCH + seconds, 0) if seconds else None
    return moment.removesuffix("Z") if moment and local else moment


def flag_names(value: int, names: Mapping[int, str], prefix: str) -> list[str]:
    """The names of the bits set in ``value``, lowest first; a bit without one as ``prefix_0x…``."""
    found = []
    while value:
        bit = value & -value
        found.append(names.get(bit, f"{prefix}_{bit:#x}"))
        value ^= bit
    return found
