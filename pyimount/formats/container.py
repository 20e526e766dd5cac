"""What a container's header says, and the disk that was opened in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    """

    container: Container
    source: Source | None
