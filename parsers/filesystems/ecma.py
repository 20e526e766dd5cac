"""Calendar times as ECMA-119 (ISO 9660) and ECMA-167 (UDF) record them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta


def recorded_time(calendar: Sequence[int], *, microsecond: int = 0, zone: int | None = 0) -> str | None:
    """A calendar time as ISO 8601: in UTC, or without a zone where ``zone`` is None.

    ``calendar``: year, month, day, hour, minute, second. ``zone``: minutes that it is ahead of UTC.
    None for what no calendar has, zeros (never) among them.
    """
    year, month, day, hour, minute, second = calendar
    try:
        moment = datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC)
        moment -= timedelta(minutes=zone or 0)
    except (ValueError, OverflowError):
        return None
    shown = moment.isoformat(timespec="microseconds" if moment.microsecond else "seconds")
    return shown.replace("+00:00", "" if zone is None else "Z")
