"""Records behave as frozen dataclasses do."""

import pickle
from typing import Any

import pytest

from pyimount.records import EMPTY, Record


class Point(Record):
    x: int
    y: int = 0


class Named(Record, kw_only=True):
    name: str
    details: Any = EMPTY


def test_fields_by_position_and_name_with_defaults() -> None:
    assert Point(1) == Point(x=1, y=0) == Point(1, y=0)
    assert Point(1) != Point(2)
    assert hash(Point(1, 2)) == hash(Point(1, 2))
    assert Point.fields == ("x", "y")
    assert repr(Point(1, 2)) == "Point(x=1, y=2)"


@pytest.mark.parametrize(("values", "named"), [((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1})])
def test_wrong_fields_are_refused(values: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError):
        Point(*values, **named)


def test_fields_by_name_only() -> None:
    with pytest.raises(TypeError):
        Named("x")  # type: ignore[misc]
    assert Named(name="x").details == {}


def test_records_are_frozen() -> None:
    with pytest.raises(AttributeError, match="frozen"):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del Point(1).x


def test_records_pickle_and_are_copied_with_changes() -> None:
    assert pickle.loads(pickle.dumps(Named(name="x"))) == Named(name="x")  # noqa: S301  (our own)
    empty = Named(name="x", details=EMPTY)
    assert pickle.loads(pickle.dumps(empty)) == empty  # noqa: S301
    assert Point(1, 2).replaced(y=3) == Point(1, 3)
    assert Point(1) != Named(name="x")
