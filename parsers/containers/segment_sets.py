"""Which segments are of one acquisition, and in what order: what both versions of EWF share.

A file's name says little: segments number themselves, and carry the identifier of their set.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from pyimount.formats.image import told_missing
from pyimount.problems import Code, Problem


class NumberedSegment(Protocol):
    """What a segment says of its place.

    ``whole``: its sections lead to its end; ``last``: and there the image ends, too.
    """

    name: str
    whole: bool
    last: bool

    @property
    def number(self) -> int:
        """From 1 on."""

    @property
    def acquisition(self) -> Mapping[str, str]:
        """What the segments of one acquisition have in common, as far as this one says it: name and value."""


_Segment = TypeVar("_Segment", bound=NumberedSegment)


def in_order(
    found: Sequence[_Segment], missing: Sequence[str], unread: Sequence[Problem] = ()
) -> tuple[list[_Segment], list[Problem]]:
    """The segments of one acquisition by their numbers, and what is wrong about the others and their places.

    ``missing``: names of files that should be there; ``unread``: what is wrong with those that are there and
    cannot be read. A segment of another acquisition is not used: its bytes are another disk's.
    """
    problems = [Problem(Code.MISSING_SEGMENT, told_missing(missing))] if missing else []
    problems += unread
    alike = _in_common(found)
    segments: dict[int, _Segment] = {}
    foreign: set[int] = set()
    for segment in found:
        unlike = [
            f"its {name} is {value}, and the others' {alike[name]}"
            for name, value in segment.acquisition.items()
            if value != alike[name]
        ]
        if unlike:
            foreign.add(segment.number)
            message = f"{segment.name} is a segment of another acquisition ({unlike[0]}), and is not used"
            problems.append(Problem(Code.MISSING_SEGMENT, message))
        elif segment.number in segments:
            problems.append(Problem(Code.DAMAGED, f"{segment.name} has the number of another segment"))
        else:
            segments[segment.number] = segment
    ordered = [segments[number] for number in sorted(segments)]
    if ordered and not missing and not unread:
        problems += _gaps(
            [number for number in range(1, ordered[-1].number) if number not in segments], foreign
        )
    if ordered and ordered[-1].whole and not ordered[-1].last and ordered[-1].number + 1 not in foreign:
        message = f"the segments that follow {ordered[-1].name} are missing"
        problems.append(Problem(Code.MISSING_SEGMENT, message))
    return ordered, problems


def _in_common(found: Sequence[NumberedSegment]) -> dict[str, str]:
    """What most segments say of their acquisition; of as many, what the earlier does."""
    values: dict[str, Counter[str]] = {}
    for segment in sorted(found, key=lambda each: each.number):
        for name, value in segment.acquisition.items():
            values.setdefault(name, Counter())[value] += 1
    return {name: counted.most_common(1)[0][0] for name, counted in values.items()}


def _gaps(gaps: list[int], foreign: set[int]) -> list[Problem]:
    unsaid = [number for number in gaps if number not in foreign]
    if not unsaid:
        return []
    first, last = unsaid[0], unsaid[-1]
    which = (
        f"segment {first} is" if len(unsaid) == 1 else f"{len(unsaid)} segments from {first} to {last} are"
    )
    return [Problem(Code.MISSING_SEGMENT, f"{which} missing")]
