"""Times are written as the calendar of Python's datetime has them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyimount.formats.notation import decimal, filetime, hexadecimal, hfs_time, unix_time


def iso(epoch: datetime, micros: int) -> str | None:
    try:
        moment = epoch + timedelta(microseconds=micros)
    except OverflowError:
        return None
    return moment.isoformat().replace("+00:00", "Z")


UNIX, WINDOWS, APPLE = (datetime(year, 1, 1, tzinfo=UTC) for year in (1970, 1601, 1904))


@given(st.integers(-(1 << 63), 1 << 63) | st.integers(-(10**11), 10**12), st.integers(0, 10**9 - 1))
def test_seconds_since_1970(seconds: int, nanoseconds: int) -> None:
    expected = iso(UNIX, seconds * 10**6 + nanoseconds // 1000) if seconds else None
    assert unix_time(seconds, nanoseconds) == expected


@given(st.integers(0, (1 << 64) - 1))
def test_ticks_since_1601(ticks: int) -> None:
    assert filetime(ticks) == (iso(WINDOWS, ticks // 10) if ticks else None)


@given(st.integers(0, (1 << 32) - 1))
def test_seconds_since_1904(seconds: int) -> None:
    expected = iso(APPLE, seconds * 10**6) if seconds else None
    assert hfs_time(seconds) == expected
    assert hfs_time(seconds, local=True) == (expected and expected.removesuffix("Z"))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, None),
        (1, "1970-01-01T00:00:01Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
        (-62_135_596_800, "0001-01-01T00:00:00Z"),
        (-62_135_596_801, None),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
        (253_402_300_800, None),
    ],
)
def test_ends_of_the_calendar(seconds: int, expected: str | None) -> None:
    assert unix_time(seconds) == expected


@pytest.mark.parametrize(
    "word", ["", "-1", "+1", " 1", "1_0", "0x1", "\u0663", "\u00b2", "9" * 21, "9" * 5000]
)
def test_what_is_no_number_in_few_ascii_digits_is_none(word: str) -> None:
    assert decimal(word) is None


def test_numbers_in_digits() -> None:
    assert [decimal("0"), decimal("007"), decimal("9" * 20)] == [0, 7, 10**20 - 1]
    assert [hexadecimal("ff"), hexadecimal("0xFF"), hexadecimal("f" * 17), hexadecimal("g")] == [
        255,
        255,
        None,
        None,
    ]
    assert [hexadecimal("\u0663"), hexadecimal("-1"), hexadecimal("0x"), hexadecimal("1_0")] == [None] * 4
