"""What can be wrong with a layer: a closed list of codes, each with a sentence for a person.

Scripts match codes, people read messages. A code keeps its meaning for as long as the report's
``schema`` keeps its number.
"""

from collections.abc import Iterable
from enum import StrEnum

from pyimount.records import Record


class Code(StrEnum):
    """The codes of a problem; the value is what the report shows."""

    UNREADABLE = "unreadable"
    """The path could not be opened as an image at all: missing, no permission, not a file."""
    READ_ERROR = "read-error"
    """Bytes that should be there could not be read."""
    TRUNCATED = "truncated"
    """The bytes end before the structure that describes them says so."""
    DAMAGED = "damaged"
    """A structure was recognised, but what it says contradicts itself."""
    BAD_CHECKSUM = "bad-checksum"
    """A checksum does not match the bytes it covers."""
    BACKUP_USED = "backup-used"
    """The first copy of a structure is unusable; the facts come from a backup copy."""
    COPIES_DIFFER = "copies-differ"
    """Copies of one structure, each valid, say different things."""
    AMBIGUOUS = "ambiguous"
    """Several readings of the same bytes hold; ``candidates`` has those that were not chosen."""
    OVERLAP = "overlap"
    """Two extents of one table claim the same bytes."""
    OUTSIDE_PARENT = "outside-parent"
    """An extent reaches beyond the bytes that hold it."""
    LOOP = "loop"
    """A chain of structures on the disk leads back to itself."""
    LOCKED = "locked"
    """The contents are encrypted, and no key has been given that opens them."""
    WRONG_KEY = "wrong-key"
    """A key was given, and does not open this volume."""
    UNSUPPORTED = "unsupported"
    """Recognised, but pyimount cannot read what lies inside, or not this part of it."""
    MISSING_MEMBER = "missing-member"
    """A member of an array or a volume group is not among the images."""
    MISSING_SEGMENT = "missing-segment"
    """A segment of a split image was not found beside the others."""
    MISSING_BACKING_FILE = "missing-backing-file"
    """The image refers to another file that is missing, or that it may not open."""
    STALE_MEMBER = "stale-member"
    """This member of an array is older than the others, and is not used."""
    NOT_AS_TOLD = "not-as-told"
    """The caller, or the image's container, said what the bytes do not show: a type, the size of sectors."""
    BUDGET = "budget"
    """A limit of this scan was reached; what lies beyond was not looked at."""
    OUT_OF_MEMORY = "out-of-memory"
    """The machine, or a limit set for this process, lacks the memory or the open files that this takes:
    nothing is known of it, and elsewhere it may be read. The exit status is 1."""
    INTERNAL_ERROR = "internal-error"
    """pyimount itself failed at this, by a fault that should be reported. The exit status is 1."""


NOT_DONE = frozenset((Code.OUT_OF_MEMORY, Code.INTERNAL_ERROR))
"""What is no fact about the image, but kept this run from finding one out."""


class Range(Record):
    """A run of a layer's bytes: ``offset`` from its start, and ``size``."""

    offset: int
    size: int


class Problem(Record):
    """One thing that is wrong, as ``code`` for scripts and ``message`` for people.

    ``count``: how often, where it is more than one of the same cause; then ``message`` is the first's.
    ``ranges``: the bytes of the layer in which it was met, as far as that is known. ``explained``: it follows
    from what is wrong with the container that holds the layer, which says so.
    """

    code: Code
    message: str
    count: int = 1
    ranges: tuple[Range, ...] = ()
    explained: bool = False


RANGES_CAP = 64
"""A report lists so many ranges of one problem; ``count`` has their number."""

_RANGES_TOLD = 3

# Two sentences with one cause differ in places and sizes at most; names and numbers of members stay apart.
_PLACES = (
    r"\b(at|band|block|byte|bytes|chunk|cluster|entry|grain|page|sector|to) (0x)?[0-9a-f]+\b"
    r"|\b[0-9]+ (of [0-9]+ )?bytes\b"
)


def together(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems of one layer, those of one cause put together, in the order of the first of each."""
    listed = tuple(problems)
    if len({problem.code for problem in listed}) == len(listed):
        return listed
    import re

    place = re.compile(_PLACES)
    found: dict[tuple[Code, str, bool], list[Problem]] = {}
    for problem in listed:
        found.setdefault((problem.code, place.sub("", problem.message), problem.explained), []).append(
            problem
        )
    return tuple(_one_of(alike) for alike in found.values())


def _one_of(alike: list[Problem]) -> Problem:
    if len(alike) == 1:
        return alike[0]
    ranges = _joined(each for problem in alike for each in problem.ranges)
    if ranges:
        return alike[0].replaced(count=len(ranges), ranges=ranges)
    first, last = alike[0], alike[-1]
    said = first.message if last.message == first.message else f"{first.message}; the last: {last.message}"
    return first.replaced(message=said, count=sum(each.count for each in alike))


def _joined(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The ranges in order, those that touch as one."""
    found: list[Range] = []
    for each in sorted(ranges, key=lambda one: one.offset):
        if found and each.offset <= found[-1].offset + found[-1].size:
            end = max(found[-1].offset + found[-1].size, each.offset + each.size)
            found[-1] = Range(found[-1].offset, end - found[-1].offset)
        else:
            found.append(each)
    return tuple(found)


def told(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The same for a report: each message with the count and the first of the ranges."""
    return tuple(_told(problem) for problem in together(problems))


def _told(problem: Problem) -> Problem:
    if problem.ranges:
        runs = [f"{each.offset} to {each.offset + each.size}" for each in problem.ranges[:_RANGES_TOLD]]
        more = len(problem.ranges) - len(runs)
        where = f"bytes {', '.join(runs)}" + (f" and {more} more places" if more else "")
        message = f"{problem.message} ({where})"
        return problem.replaced(message=message, ranges=problem.ranges[:RANGES_CAP])
    if problem.count > 1:
        return problem.replaced(message=f"{problem.message} ({problem.count} of this kind)")
    return problem
