"""Segments by their numbers, which are the image's: they may be anything that fits their field."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from pyimount.parsers.containers.segment_sets import in_order


@dataclass
class Segment:
    number: int
    name: str = "segment"
    whole: bool = False
    last: bool = False
    acquisition: Mapping[str, str] = field(default_factory=dict)


def said(*numbers: int) -> list[str]:
    _, problems = in_order([Segment(number) for number in numbers], ())
    return [problem.message for problem in problems]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((1,), []),
        ((1, 2, 3), []),
        ((0, 1), []),
        ((2,), ["segment 1 is missing"]),
        ((1, 3), ["segment 2 is missing"]),
        ((1, 4), ["2 segments from 2 to 3 are missing"]),
        ((2, 4, 6), ["3 segments from 1 to 5 are missing"]),
        ((1, 2, 5), ["2 segments from 3 to 4 are missing"]),
        # EWF2 gives the number 32 bits.
        ((1, 2**32 - 1), ["4294967293 segments from 2 to 4294967294 are missing"]),
    ],
)
def test_numbers_that_are_missing(numbers: tuple[int, ...], expected: list[str]) -> None:
    assert said(*numbers) == expected


def test_what_another_acquisition_has_is_not_missing() -> None:
    of = {"set": "a"}
    found = [
        Segment(1, acquisition=of),
        Segment(2, name="b", acquisition={"set": "b"}),
        Segment(3, acquisition=of),
    ]
    _, problems = in_order(found, ())
    assert ["is missing" in problem.message for problem in problems] == [False]
