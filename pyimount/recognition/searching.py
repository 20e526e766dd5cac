"""The search: what stands anywhere on a disk, though nothing points to it.

A disk is read from end to end in large pieces, and every signature is looked for at its place in every
sector; those of what firmware is made of at every fourth byte. Asked for, all are looked for at multiples
of any number of bytes. Two bytes are found by chance too often: formats whose signatures are no longer, or
none, are not found so (``unsearched`` names them), nor those whose signatures count from the end of a volume.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from pyimount.problems import Code
from pyimount.recognition.anywhere import Magics
from pyimount.recognition.probing import Probe, probe_as
from pyimount.recognition.registry import Entry, plain_signatures
from pyimount.sources.errors import ReadError
from pyimount.sources.source import SliceSource, Source
from pyimount.sources.view import View

SECTOR = 512
"""What is found begins at a multiple of so many bytes, also where sectors are larger."""

WORD = 4
"""So does what firmware is made of, which its builders pack one behind the other."""

FIRMWARE = frozenset(
    ("android_boot", "cpio", "cramfs", "erofs", "fit", "jffs2", "romfs", "squashfs", "ubi", "ubifs", "uboot")
)
"""The formats that stand at words: each has a magic of four bytes or more."""

SHORTEST = 3
"""Bytes in the shortest signature that is looked for."""

_PIECE = 1 << 20
_SMALL = 64 << 10
_COMMON = b"\0\xff"

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many bytes have been looked at, and of how many."""


class Hit(NamedTuple):
    """A place where signatures say that something begins, and whose they are."""

    offset: int
    entries: tuple[Entry, ...]


class Found(NamedTuple):
    """What was found: ``offset`` and ``size`` in bytes."""

    offset: int
    size: int
    probe: Probe


class _Wanted(NamedTuple):
    """A signature: ``place`` in its sector, ``offset`` from the start of what it is a signature of."""

    magic: bytes
    place: int
    offset: int
    entry: Entry


def unsearched() -> tuple[str, ...]:
    """The names of the formats that a search does not find."""
    searched = {
        entry.name for magic, offset, entry in plain_signatures() if offset >= 0 and len(magic) >= SHORTEST
    }
    return tuple(sorted({entry.name for _, _, entry in plain_signatures()} - searched))


class Extents:
    """Runs of a disk that something is known to take: nothing is looked for in them."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, offset: int, size: int) -> None:
        """Note a run; of nested ones the outer counts."""
        if size <= 0 or self.end_of(offset) >= offset + size:
            return
        at = bisect_right(self._starts, offset)
        self._starts.insert(at, offset)
        self._ends.insert(at, offset + size)
        # What lies within goes, so that the run before a place is the one that may hold it.
        while at + 1 < len(self._starts) and self._ends[at + 1] <= offset + size:
            del self._starts[at + 1], self._ends[at + 1]

    def end_of(self, offset: int) -> int:
        """Where the run ends that holds this byte; the byte itself where none does."""
        at = bisect_right(self._starts, offset) - 1
        return max(offset, self._ends[at]) if at >= 0 else offset

    def next_start(self, offset: int) -> int | None:
        """Where the next run begins behind this byte."""
        at = bisect_right(self._starts, offset)
        return self._starts[at] if at < len(self._starts) else None


class Search:
    """A search through ``source``, in which ``known`` is taken already.

    ``running``: the type of the volume at the start, if nothing tells where it ends: what looks like another
    of this type is more of it. ``align``: what is found begins at a multiple of so many bytes; None: at a
    sector, or at a word where that is usual. ``unreadable``: bytes that could not be read.
    """

    def __init__(
        self,
        source: Source,
        known: Extents,
        running: str | None,
        progress: Progress | None,
        align: int | None = None,
    ) -> None:
        self._source = source
        self._known = known
        self._running = running
        self._more: Entry | None = None
        self._progress = progress
        wanted, self._reach = _arranged()
        # What has to begin at a multiple of a sector is found the faster way.
        by_sector = align is None or align % SECTOR == 0
        self._wanted = wanted if by_sector else {}
        self._align = align or SECTOR
        self._step = align or WORD
        self._loose: dict[bytes, list[tuple[int, Entry]]] = {}
        if align is None:
            self._loose = _loose(FIRMWARE)
        elif not by_sector:
            self._loose = _loose(None)
        self._magics = Magics(
            ((magic, offset) for magic, owners in self._loose.items() for offset, _ in owners), self._step
        )
        self._found: list[tuple[int, Probe]] = []
        self.unreadable = 0

    def run(self, most: int) -> bool:
        """Search to the end, or until ``most`` volumes have been found; whether it came to the end.

        Raises BudgetError; what was found until then stays.
        """
        for hit in self._hits():
            if self._known.end_of(hit.offset) > hit.offset:
                continue
            if len(self._found) >= most:
                return False
            self._keep(hit)
        return True

    def found(self) -> Iterator[Found]:
        """What was found, in order. What does not tell its size reaches to what comes next."""
        for offset, probe in self._found:
            size = _size(probe)
            if size is None:
                size = (self._known.next_start(offset) or self._source.size) - offset
            yield Found(offset, size, probe)

    def _keep(self, hit: Hit) -> None:
        if self._more is not None and hit.entries == (self._more,):
            return  # one block of many
        rest = SliceSource(self._source, hit.offset, self._source.size - hit.offset)
        probe = probe_as(View(rest, disk_offset=hit.offset), [entry.load() for entry in hit.entries])
        identity = probe.identity
        if not _sound(probe):
            return
        size = _size(probe)
        kind = identity.type if identity and size is None else None
        if kind is not None and kind == self._running:
            return
        self._running = kind
        self._more = hit.entries[0] if kind is not None and len(hit.entries) == 1 else None
        self._found.append((hit.offset, probe))
        self._known.add(hit.offset, max(size or 0, SECTOR))

    def _hits(self) -> Iterator[Hit]:
        """Every place that signatures stand for, in order: once all that may belong to it has been seen."""
        pending: dict[int, list[Entry]] = {}
        at, size = 0, self._source.size
        while at < size:
            for start, entry in self._in_piece(at):
                owners = pending.setdefault(start, [])
                if entry not in owners:
                    owners.append(entry)
            at += _PIECE
            yield from _ready(pending, at - self._reach)
            # What lies within something known need not be read, but for its end, to which this is rounded.
            at = max(at, self._known.end_of(at) // _PIECE * _PIECE)
            if self._progress is not None:
                self._progress(min(at, size), size)
        yield from _ready(pending, size)

    def _in_piece(self, at: int) -> Iterator[tuple[int, Entry]]:
        """The starts of what the signatures in one piece belong to, in no order."""
        piece = self._read(at)
        for place, by_byte in self._wanted.items():
            # One byte of each sector: that which is looked for stands in few of them.
            column = piece[place : _PIECE + place : SECTOR]
            for byte, signatures in by_byte.items():
                sector = column.find(byte)
                while sector >= 0:
                    for wanted in signatures:
                        where = sector * SECTOR + wanted.place
                        start = at + where - wanted.offset
                        if start >= 0 and start % self._align == 0 and piece.startswith(wanted.magic, where):
                            yield start, wanted.entry
                    sector = column.find(byte, sector + 1)
        if self._loose and piece.strip(piece[:1]):  # erased flash, and zeros, hold nothing
            yield from self._anywhere(piece, at)

    def _anywhere(self, piece: bytes, at: int) -> Iterator[tuple[int, Entry]]:
        for where, magic in self._magics.places(piece, _PIECE):
            for offset, entry in self._loose[magic]:
                start = at + where - offset
                if start >= 0 and start % self._step == 0:
                    yield start, entry

    def _read(self, at: int) -> bytes:
        """A piece and a little more; zeros for what cannot be read."""
        length = _PIECE + 2 * SECTOR
        try:
            return self._source.read_at(at, length)
        except ReadError:
            return b"".join(self._small(at + part) for part in range(0, length, _SMALL))

    def _small(self, at: int) -> bytes:
        try:
            return self._source.read_at(at, _SMALL)
        except ReadError:
            length = max(0, min(_SMALL, self._source.size - at))
            self.unreadable += length
            return bytes(length)


def _size(probe: Probe) -> int | None:
    """The bytes that a volume says it has, or that a table's partitions reach to."""
    if probe.identity is not None:
        return probe.identity.fs_size
    partitions = probe.table.partitions if probe.table else ()
    return max((each.offset + each.size for each in partitions), default=None)


def _sound(probe: Probe) -> bool:
    """Whether a reading is believed where nothing but a signature speaks for it.

    One by a copy is not: then what the signature stands in is none.
    """
    reading = probe.identity or probe.table
    if reading is None:
        return False
    if probe.identity and probe.identity.type in _MAGIC_ALONE and probe.identity.fs_size is None:
        return False
    codes = {problem.code for problem in reading.problems}
    return Code.BACKUP_USED not in codes and (reading.checked or not codes & _DOUBTS)


_MAGIC_ALONE = frozenset({"swap", "swsuspend"})
"""Types of which some variants have a magic and nothing besides, at several distances from the start."""

_DOUBTS = {Code.DAMAGED, Code.BAD_CHECKSUM}


def _ready(pending: dict[int, list[Entry]], before: int) -> Iterator[Hit]:
    for start in sorted(start for start in pending if start < before):
        yield Hit(start, tuple(pending.pop(start)))


def _arranged() -> tuple[dict[int, dict[bytes, list[_Wanted]]], int]:
    """The signatures by the place of one byte in a sector and by that byte; and how far they reach."""
    found: dict[int, dict[bytes, list[_Wanted]]] = {}
    reach = 0
    for magic, offset, entry in plain_signatures():
        rare = next((at for at, byte in enumerate(magic) if byte not in _COMMON), None)
        if offset < 0 or len(magic) < SHORTEST or rare is None:
            continue
        place = offset % SECTOR
        by_byte = found.setdefault(place + rare, {})
        by_byte.setdefault(magic[rare : rare + 1], []).append(_Wanted(magic, place, offset, entry))
        reach = max(reach, offset + len(magic))
    return found, reach


def _loose(names: frozenset[str] | None) -> dict[bytes, list[tuple[int, Entry]]]:
    """The magics of these formats, or of all: how far behind the start of what they stand, and whose."""
    found: dict[bytes, list[tuple[int, Entry]]] = {}
    for magic, offset, entry in plain_signatures():
        if offset < 0 or len(magic) < SHORTEST or not magic.strip(_COMMON):
            continue
        if names is None or entry.name in names:
            found.setdefault(magic, []).append((offset, entry))
    return found
