"""What archives and boot images have in common: that they are no disks, and the parts that they hold."""

from collections.abc import Iterable

from pyimount.formats import Extent, Json
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.view import View

COMPRESSIONS = {
    b"\x1f\x8b\x08": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x5d\0\0": "lzma",
    b"\x89LZO\0": "lzo",
    b"\x02\x21\x4c\x18": "lz4",  # the legacy frame, which Linux wants
    b"\x04\x22\x4d\x18": "lz4",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_LONGEST = max(map(len, COMPRESSIONS))


class Part(Record, kw_only=True):
    """A part of an image: ``offset`` and ``size`` in bytes; ``facts``: what else its entry says.

    ``volume``: it may be what is looked at like a volume: a file system, an archive.
    """

    name: str
    offset: int
    size: int
    volume: bool
    facts: dict[str, Json]


def no_disk(what: str, remedy: str) -> Problem:
    """That this is an archive, and what reads it."""
    return Problem(Code.UNSUPPORTED, f"{what}, not a disk or a file system: {remedy}")


def compression(view: View, offset: int) -> str | None:
    """What the bytes at ``offset`` are compressed with, by their first bytes; None: not known."""
    head = view.glance(offset, _LONGEST)
    return next((name for magic, name in COMPRESSIONS.items() if head.startswith(magic)), None)


def described(view: View, parts: Iterable[Part]) -> tuple[list[Json], tuple[Extent, ...]]:
    """The parts for ``details``, and those that may be volumes: whatever is there and not compressed."""
    told: list[Json] = []
    contents = []
    for part in parts:
        packed = compression(view, part.offset) if part.size else None
        told.append(
            {
                "name": part.name,
                "offset": part.offset,
                "size": part.size,
                "compressed_with": packed,
                **part.facts,
            }
        )
        if part.volume and part.size and packed is None and part.offset < view.size:
            contents.append(Extent(offset=part.offset, size=part.size, name=part.name))
    return told, tuple(contents)
