"""How raw fields are written out: UUIDs, times and names, each in one spelling everywhere."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_HFS_EPOCH = datetime(1904, 1, 1, tzinfo=UTC)
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def _iso(epoch: datetime, ticks: int, per_second: int) -> str | None:
    if ticks == 0:
        return None
    try:
        moment = epoch + timedelta(microseconds=ticks * 1_000_000 // per_second)
    except OverflowError:
        return None
    spec = "microseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=spec).replace("+00:00", "Z")


def unix_time(seconds: int, nanoseconds: int = 0) -> str | None:
    """Seconds since 1970 as ISO 8601 UTC; None for zero (never) and for what no calendar has."""
    if seconds == 0:
        return None
    return _iso(_UNIX_EPOCH, seconds * 1_000_000_000 + nanoseconds, 1_000_000_000)


def filetime(ticks: int) -> str | None:
    """Windows' 100 ns since 1601 as ISO 8601 UTC; None for zero."""
    return _iso(_FILETIME_EPOCH, ticks, 10_000_000)


def hfs_time(seconds: int, *, local: bool = False) -> str | None:
    """Apple's seconds since 1904 as ISO 8601; without a zone where the format keeps local time."""
    moment = _iso(_HFS_EPOCH, seconds, 1)
    return moment.removesuffix("Z") if moment and local else moment


def flag_names(value: int, names: Mapping[int, str], prefix: str) -> list[str]:
    """The names of the bits set in ``value``, lowest first; a bit without one as ``prefix_0x…``."""
    found = []
    while value:
        bit = value & -value
        found.append(names.get(bit, f"{prefix}_{bit:#x}"))
        value ^= bit
    return found
