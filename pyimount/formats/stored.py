"""What a container keeps of its bytes to hold them against: hashes, checksums of pieces, and where they are.

A parser declares it beside what it opens; ``pyimount.verifying`` does the comparing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pyimount.problems import Code
from pyimount.records import Json, Record

if TYPE_CHECKING:
    from pyimount.problems import Problem
    from pyimount.sources.source import Source


Places = Callable[[Sequence[tuple[int, int]]], Iterator[tuple[int, int]]]


class StoredHash(Record, kw_only=True):
    """A hash or checksum that is kept of a run of bytes.

    ``algorithm``: ``crc32``, or a name of hashlib's. ``value``: in hexadecimal digits, small ones.
    ``what``: the run, in a person's words, where it is a part of the bytes. ``offset``, ``size``: bytes;
    None: up to the end. ``left_out``: runs in it, from and to, that hold nothing and that some tools do not
    sum up: either sum will do.
    """

    algorithm: str
    value: str
    what: str = ""
    offset: int = 0
    size: int | None = None
    left_out: tuple[tuple[int, int], ...] = ()


class Pieces(Record, kw_only=True):
    """Checksums that reading holds the bytes against, piece by piece: what does not match cannot be read.

    ``algorithm``: its name, for people. ``what``: what each is of (``chunk``, ``member``). ``size``: bytes
    of a piece, as far as they are all as long; else None. ``in_order``: only who reads from the start to
    the end learns it.
    """

    algorithm: str
    what: str
    size: int | None = None
    in_order: bool = False


class CheckedBytes(Record, kw_only=True):
    """Bytes of which something is kept.

    ``name``: what they are, in a person's words; ``source``: None for the disk itself. ``hashes``: of all
    of them. ``runs``: gives the hashes of parts, in their order and without overlaps. ``places``: where on
    the disk runs of these bytes lie (offset and size, of each and of the answers). ``pieces``: what reading
    compares. ``end``: called when all was read; raises ReadError where something that follows the
    last byte does not match.
    """

    name: str = "the disk"
    source: Source | None = None
    hashes: tuple[StoredHash, ...] = ()
    runs: Callable[[], Iterator[StoredHash]] | None = None
    places: Places | None = None
    pieces: Pieces | None = None
    end: Callable[[], None] | None = None


class Stored(Record, kw_only=True):
    """All that a container keeps to be held against. ``checked``: the disk's bytes, and others.

    ``structures``: looks at every table, header and copy, and gives what is wrong about them, also what
    opening the image need not look at. ``structural``: which of them have checksums, in a person's words.
    ``covering``: all of the disk's bytes are among it. ``told_better``: codes of problems from opening that
    may mean nothing is wrong: where it is, ``structures`` has it under another code.
    """

    checked: tuple[CheckedBytes, ...] = ()
    structures: Callable[[], Iterator[Problem]] | None = None
    structural: str | None = None
    covering: bool = False
    told_better: frozenset[Code] = frozenset()


def of_digests(details: Mapping[str, Json], algorithms: Sequence[str]) -> tuple[StoredHash, ...]:
    """The hashes of all the bytes that a container's details have by these names."""
    found = ((name, details.get(name)) for name in algorithms)
    return tuple(StoredHash(algorithm=name, value=value) for name, value in found if isinstance(value, str))


def together(outer: Stored, inner: Stored | None) -> Stored:
    """What two containers keep, one of which lies in the other: the inner one's bytes first."""
    if inner is None:
        return outer

    def structures() -> Iterator[Problem]:
        for each in (outer, inner):
            if each.structures is not None:
                yield from each.structures()

    return Stored(
        checked=(*inner.checked, *outer.checked),
        structures=structures,
        structural="; ".join(filter(None, (outer.structural, inner.structural))) or None,
        covering=outer.covering or inner.covering,
        told_better=outer.told_better | inner.told_better,
    )
