"""What a container's header says, and the disk that was opened in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyimount.formats.stored import Stored
from pyimount.problems import Problem
from pyimount.records import EMPTY, Details, Record

if TYPE_CHECKING:
    from pyimount.sources.source import Source


class Container(Record, kw_only=True):
    """What a container's header says.

    ``type``: the report's word. ``size``: of the disk inside, bytes; None when the header does not tell.
    ``sector_size``: of the disk inside, bytes. ``details``: stored size, segments, compression, hashes,
    case data, backing file, encryption.
    """

    type: str
    size: int | None = None
    sector_size: int | None = None
    details: Details = EMPTY
    problems: tuple[Problem, ...] = ()


class Opened(Record, kw_only=True):
    """An opened container: its facts, now complete, and the disk's bytes.

    ``source`` is None where the bytes cannot be given; ``container.problems`` then says why.
    ``part``: which of several disks in the file this is, in the format's own words: a name or number by which
    it is found again; None where there is one. ``others``: the other disks, in the order of the file.
    ``stored``: what the container keeps to hold its bytes against; None where it keeps nothing.
    """

    container: Container
    source: Source | None
    part: str | None = None
    others: tuple[Opened, ...] = ()
    stored: Stored | None = None

    @property
    def disks(self) -> tuple[Opened, ...]:
        """All disks of the file, this one first."""
        return (self, *self.others)


def several(disks: Sequence[Opened]) -> Opened:
    """The disks of one file as one opened container: the first of them, which holds the others."""
    return disks[0].replaced(others=tuple(disks[1:]))
