"""The streams of AFF4, which give an image its bytes: maps of runs of other streams, chunks, repeated words.

Layout: B. Schatz, M. Cohen, "AFF4 Standard v1.0", https://github.com/aff4/Standard
"""

import re
import struct
from array import array
from bisect import bisect_right

from construct import Int32ul, Int64ul, Struct

from pyimount.formats import Json, NotThisFormat
from pyimount.formats.layouts import layout
from pyimount.parsers.containers.aff4_chunks import (
    ALWAYS_SNAPPY,
    COMPRESSIONS,
    LZ4,
    SNAPPY,
    STORED,
    Bevies,
    Chunks,
    OldBevies,
)
from pyimount.parsers.containers.aff4_hashes import Chunked
from pyimount.parsers.containers.aff4_volumes import SCHEME, TEXT_CAP, Volume, Volumes, fragment
from pyimount.parsers.containers.chunks import CHUNK_CAP, OWN_WORTH, ChunkSource
from pyimount.parsers.containers.runs import Run, RunSource
from pyimount.problems import Code, Problem
from pyimount.sources.errors import MissingBytes, ReadError
from pyimount.sources.source import Source

MAP_POINT = layout(
    lambda: Struct(
        "mappedOffset" / Int64ul, "length" / Int64ul, "targetOffset" / Int64ul, "targetId" / Int32ul
    )
)
SYMBOLIC = {"zero": b"\0", "unknowndata": b"UNKNOWN", "unreadabledata": b"UNREADABLEDATA"}
"""Symbolic streams, which repeat a word: they stand for bytes that were not taken, or could not be read."""

_POINTS_CAP = 1 << 20
_CHUNKS_CAP = 1 << 20
_TARGETS_CAP = 256
_DEPTH_CAP = 4
_SIZE_CAP = 1 << 62
_TILE = 1 << 20


class Streams:
    """Opens the streams of an image by their URNs, each once.

    ``details`` and ``problems`` are those of all that were opened; ``chunked`` and ``maps`` list the streams
    of these kinds.
    """

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes
        self._opened: dict[str, Source | None] = {}
        self.details: dict[str, Json] = {}
        self.problems: list[Problem] = []
        self.chunked: list[Chunked] = []
        self.maps: list[tuple[str, Volume]] = []

    def open(self, urn: str, depth: int) -> Source | None:
        """A stream's bytes, None where they cannot be had; raises NotThisFormat for contradictions."""
        if urn in self._opened:
            return self._opened[urn]
        if depth > _DEPTH_CAP or len(self._opened) > _TARGETS_CAP:
            raise NotThisFormat("streams lie within one another too deep, or are too many")
        self._opened[urn] = None  # a stream within itself has no bytes
        symbol = _symbol(urn)
        if symbol is not None:
            self._opened[urn] = _SymbolicSource(symbol)
            return self._opened[urn]
        if (volume := self._volumes.holding(urn, "/map")) is not None:
            self.maps.append((urn, volume))
            self._opened[urn] = self._map(volume, urn, depth)
        elif (found := self._first_bevy(urn)) is not None:
            self._opened[urn] = self._chunked(*found, urn)
        elif self._volumes.objects.types(urn) & {"encryptedstream", "randomencryptedstream"}:
            self.problems.append(Problem(Code.LOCKED, "the stream is encrypted, and is not read"))
        else:
            message = f"the volume that holds {urn} was not found beside this one"
            self.problems.append(Problem(Code.MISSING_SEGMENT, message))
        return self._opened[urn]

    def _first_bevy(self, urn: str) -> tuple[Volume, bool] | None:
        """The volume of a stream in chunks, and whether it is written as before the standard."""
        for suffix, old in (("/00000000.index", False), ("/00000000/index", True)):
            volume = self._volumes.holding(urn, suffix)
            if volume is not None:
                return volume, old
        return None

    def _chunked(self, volume: Volume, old: bool, urn: str) -> Source:
        """The bytes of a stream in chunks; ``old``: written as before the standard."""
        objects = self._volumes.objects
        chunk_size = objects.number(urn, "chunksize") or 32 << 10
        per_bevy = objects.number(urn, "chunksinsegment") or 1024
        size = objects.number(urn, "size") or 0
        method = objects.text(urn, "compressionmethod") or "https://www.ietf.org/rfc/rfc1950.txt"
        if not 0 < chunk_size <= CHUNK_CAP or not 0 < per_bevy <= _CHUNKS_CAP or not 0 < size <= _SIZE_CAP:
            raise NotThisFormat(f"{size} bytes in chunks of {chunk_size}, {per_bevy} in a segment")
        compression = COMPRESSIONS.get(method)
        if compression is None:
            message = f"the stream is compressed by a method that is not known here: {method}"
            self.problems.append(Problem(Code.UNSUPPORTED, message))
        name = compression and compression.removesuffix("-always")
        self.details |= {"compression": None if name == STORED else name or method, "chunk_size": chunk_size}
        bevies = OldBevies if old else Bevies
        meter = self._volumes.image.meter
        chunks = Chunks(bevies(volume, urn, meter), chunk_size, per_bevy, size, compression or "")
        worth = OWN_WORTH if compression in (SNAPPY, ALWAYS_SNAPPY, LZ4) else 1
        locate = chunks.locate if volume.directory.file.is_far else None
        source = ChunkSource(size, chunk_size, chunks.load, meter, worth, locate)
        self.chunked.append(
            Chunked(urn=urn, volume=volume, source=source, chunk_size=chunk_size, per_bevy=per_bevy)
        )
        return source

    def _map(self, volume: Volume, urn: str, depth: int) -> Source:
        """The bytes of a map, whose streams are opened, too."""
        objects, meter = self._volumes.objects, self._volumes.image.meter
        index = volume.member(f"{urn}/idx", meter)
        names = index.read_at(0, TEXT_CAP).decode("utf-8", "replace").split()
        if len(names) > _TARGETS_CAP:
            raise NotThisFormat(f"a map of {len(names)} streams")
        targets = [(name, self.open(name, depth + 1)) for name in names]
        gap = objects.text(urn, "mapgapdefaultstream") or "Zero"
        table = _Map(volume.member(f"{urn}/map", meter), targets, self.open(gap, depth + 1))
        size = objects.number(urn, "size") or table.end
        if not 0 < size <= _SIZE_CAP:
            raise NotThisFormat(f"a map of {size} bytes")
        return RunSource(size, table.locate)


def _symbol(urn: str) -> bytes | None:
    """What a symbolic stream repeats; None for a stream of another kind."""
    if urn.startswith(SCHEME):
        return None
    name = fragment(urn)
    if name in SYMBOLIC:
        return SYMBOLIC[name]
    digits = name.removeprefix("symbolicstream")
    return bytes.fromhex(digits) if re.fullmatch("[0-9a-f]{2}", digits) else None


class _SymbolicSource(Source):
    """A symbolic stream: a word repeated without end, which begins anew every MiB."""

    __slots__ = ("word",)

    def __init__(self, word: bytes) -> None:
        self.size = _SIZE_CAP
        self.word = word

    def _read(self, offset: int, length: int) -> bytes:
        pieces = []
        while length:
            within = offset % _TILE
            count = min(length, _TILE - within)
            skip = within % len(self.word)
            pieces.append((self.word * (count // len(self.word) + 2))[skip : skip + count])
            offset += count
            length -= count
        return b"".join(pieces)


class _Map:
    """A map stream's table: which runs of which streams make up an image."""

    def __init__(self, file: Source, targets: list[tuple[str, Source | None]], gap: Source | None) -> None:
        count = file.size // MAP_POINT.size
        if count > _POINTS_CAP:
            raise NotThisFormat(f"a map of {count} points")
        self._targets = targets
        self._gap = gap
        points: list[tuple[int, int, int, int]] = []
        piece = MAP_POINT.size << 10
        for at in range(0, count * MAP_POINT.size, piece):
            data = file.read_at(at, min(piece, count * MAP_POINT.size - at))
            points += struct.iter_unpack("<QQQI", data)
        points.sort(key=lambda point: point[0])
        self._starts = array("Q", (point[0] for point in points))
        self._lengths = array("Q", (point[1] for point in points))
        self._places = array("Q", (point[2] for point in points))
        self._ids = array("L", (point[3] for point in points))
        self.end = max((start + length for start, length, _, _ in points), default=0)

    def locate(self, offset: int) -> Run:
        """The run at this byte of the image."""
        number = bisect_right(self._starts, offset) - 1
        following = self._starts[number + 1] if number + 1 < len(self._starts) else _SIZE_CAP
        within = offset - self._starts[number] if number >= 0 else 0
        if number < 0 or within >= self._lengths[number]:
            return _run(self._gap, offset, following - offset)
        length = min(self._lengths[number] - within, following - offset)
        if self._ids[number] >= len(self._targets):
            raise ReadError(
                f"byte {offset} of the disk stands in stream {self._ids[number]}, which is not listed"
            )
        name, target = self._targets[self._ids[number]]
        if target is None:
            raise MissingBytes(f"byte {offset} of the disk stands in {name}, which is not here")
        return _run(target, self._places[number] + within, length)


def _run(source: Source | None, offset: int, length: int) -> Run:
    if isinstance(source, _SymbolicSource) and source.word == b"\0":
        source = None
    return Run(source, offset, length)
