"""What came out of verifying an image."""

from enum import StrEnum
from typing import Any

from pyimount.problems import Problem, told
from pyimount.records import Record


class Status(StrEnum):
    """How an image stands to what it keeps of itself; the value is what the report shows."""

    MATCHES = "matches"
    """All that is kept of the disk's bytes, and of what leads to them, matches."""
    DIFFERS = "differs"
    """Something does not match, or is missing."""
    NOTHING = "nothing-stored"
    """Nothing is kept of the disk's bytes; what leads to them may have checksums, and these match."""
    UNREADABLE = "unreadable"
    """The image could not be read, or not to its end: whether it matches is not known."""


EXIT_STATUS = {Status.MATCHES: 0, Status.UNREADABLE: 1, Status.DIFFERS: 6, Status.NOTHING: 7}
_WORST_FIRST = (Status.DIFFERS, Status.UNREADABLE, Status.NOTHING, Status.MATCHES)


class Check(Record, kw_only=True):
    """One thing that is kept, or many alike, and what comes of comparing them.

    ``what``: of which bytes (``the disk``, ``each chunk of the disk``). ``algorithm``: ``md5``,
    ``Adler-32`` … ``stored``, ``computed``: of a single one, in hexadecimal digits; ``computed`` is None
    where the bytes could not all be read. ``count``: how many there are, None where that is not known;
    ``wrong``: how many do not match.
    """

    what: str
    algorithm: str
    stored: str | None = None
    computed: str | None = None
    count: int | None = 1
    wrong: int = 0

    @property
    def matches(self) -> bool:
        """Whether none is wrong."""
        return self.wrong == 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**{name: getattr(self, name) for name in self.fields}, "matches": self.matches}


class Place(Record, kw_only=True):
    """Where on the disk something is wrong, and in what: ``offset`` and ``size`` in bytes of the disk.

    ``volume``: the index of the innermost volume there, None where there is none; ``volume_type``: its
    type; ``volume_offset``: bytes from its start. ``files``: paths of the files there; None where that is
    not known, and ``files_unknown`` says why.
    """

    offset: int
    size: int
    volume: str | None = None
    volume_type: str | None = None
    volume_offset: int | None = None
    files: tuple[str, ...] | None = None
    files_unknown: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        made = {name: getattr(self, name) for name in self.fields}
        return {**made, "files": None if self.files is None else list(self.files)}


class Verified(Record, kw_only=True):
    """What came out of one disk.

    ``index``: of several in one file, which, from 1 on. ``covered``: bytes of the disk of which something
    is kept. ``hashes``: those that were computed of the disk, by algorithm; None where not all of it could
    be read. ``places``: where the disk's bytes do not match, or cannot be read.
    """

    paths: tuple[str, ...]
    index: str | None = None
    container: str | None = None
    size: int | None = None
    status: Status
    covered: int = 0
    structural: str | None = None
    checks: tuple[Check, ...] = ()
    hashes: tuple[tuple[str, str | None], ...] = ()
    problems: tuple[Problem, ...] = ()
    places: tuple[Place, ...] = ()

    @property
    def exit_status(self) -> int:
        """What the command exits with for this one."""
        return EXIT_STATUS[self.status]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "index": self.index,
            "paths": list(self.paths),
            "container": self.container,
            "size": self.size,
            "status": str(self.status),
            "exit_status": self.exit_status,
            "covered": self.covered,
            "structures": self.structural,
            "checks": [check.to_dict() for check in self.checks],
            "hashes": dict(self.hashes),
            "problems": [
                {
                    "code": str(each.code),
                    "message": each.message,
                    "count": each.count,
                    "ranges": [{"offset": run.offset, "size": run.size} for run in each.ranges],
                }
                for each in told(self.problems)
            ],
            "places": [place.to_dict() for place in self.places],
        }


def worst(found: "list[Verified] | tuple[Verified, ...]") -> Status:
    """What stands for all: that something differs says more than that something could not be read."""
    given = {each.status for each in found}
    return next((status for status in _WORST_FIRST if status in given), Status.UNREADABLE)
