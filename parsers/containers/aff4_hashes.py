"""What an AFF4 volume keeps to be held against: hashes of streams, their blocks, maps, and members.

Layout: B. Schatz, M. Cohen, "AFF4 Standard v1.0", "Hashing", https://github.com/aff4/Standard; where it
leaves the order of what is hashed together open, as Evimetry writes it: the block hashes by algorithm, then
the map's.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from pyimount.formats.stored import CheckedBytes, Places, Stored, StoredHash
from pyimount.parsers.containers.aff4_volumes import Volume
from pyimount.parsers.containers.runs import RunSource
from pyimount.parsers.containers.turtle import Term
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.budget import Meter
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead

LINEAR = ("md5", "sha1", "sha256", "sha512", "blake2b")
"""The algorithms of hashes over all of a stream, in the order in which block hashes are hashed together."""

_PIECE = 1 << 20
_MAP_PARTS = {"mappointhash": ("map",), "mapidxhash": ("idx",), "mappathhash": ("mapPath",)}


class Chunked(Record, kw_only=True):
    """A stream in chunks that was opened: ``per_bevy`` of them in a segment."""

    urn: str
    volume: Volume
    source: Source
    chunk_size: int
    per_bevy: int


def stored_of(
    image: str,
    *,
    disk: Source | None,
    maps: Sequence[tuple[str, Volume]],
    streams: Sequence[Chunked],
    volumes: Sequence[Volume],
    statements: Mapping[str, Mapping[str, Sequence[Term]]],
    meter: Meter,
) -> Stored:
    """All that the volumes keep of an image, its maps and its streams.

    ``disk``: the image's bytes. ``statements``: of each object, by the properties' names in small letters.
    """
    keeping = _Keeping(statements, meter)
    checked = []
    hashes = keeping.linear(image) or next((found for urn, _ in maps if (found := keeping.linear(urn))), ())
    if hashes:
        checked.append(CheckedBytes(hashes=hashes))
    checked += [each for stream in streams if (each := keeping.stream(stream, disk)) is not None]

    def structures() -> Iterator[Problem]:
        for volume in volumes:
            yield from keeping.members(volume)
        for stream in streams:
            yield from keeping.block_hashes(stream)
        for urn, volume in maps:
            own = [each for each in streams if each.volume is volume]
            yield from keeping.map(urn, volume, image, own)

    # The hash called imageStreamHash is left out: of what it is made is not written down.
    return Stored(
        checked=tuple(checked),
        structures=structures,
        structural="every member of the zip file, maps, block hashes",
        covering=True,
    )


class _Keeping:
    """Looks the hashes up, and compares them with what is stored."""

    def __init__(self, statements: Mapping[str, Mapping[str, Sequence[Term]]], meter: Meter) -> None:
        self._statements = statements
        self._meter = meter

    def _terms(self, urn: str, name: str) -> Iterator[tuple[str, str]]:
        """The values of a property that are hashes: algorithm and value."""
        for term in self._statements.get(urn, {}).get(name, ()):
            yield term.datatype.rpartition("#")[2].lower(), term.text.lower()

    def linear(self, urn: str) -> tuple[StoredHash, ...]:
        """The hashes over all bytes of an object."""
        return tuple(
            StoredHash(algorithm=name, value=value)
            for name, value in self._terms(urn, "hash")
            if name in LINEAR
        )

    def stream(self, stream: Chunked, disk: Source | None) -> CheckedBytes | None:
        """A stream with its hashes and those of its blocks; ``disk``: what it is a part of."""
        hashes = self.linear(stream.urn)
        algorithms = self._block_algorithms(stream)
        if not hashes and not algorithms:
            return None

        def runs() -> Iterator[StoredHash]:
            size = hashlib.new(algorithms[-1], usedforsecurity=False).digest_size
            # What a chunk that is not full is hashed with, no tool agrees on.
            for number in range(stream.source.size // stream.chunk_size):
                bevy, within = divmod(number, stream.per_bevy)
                if within == 0:
                    digests = self._read(stream.volume, f"{_bevy(stream, bevy)}.blockHash.{algorithms[-1]}")
                value = digests[within * size : (within + 1) * size]
                if len(value) == size:
                    yield StoredHash(
                        algorithm=algorithms[-1],
                        value=value.hex(),
                        what=f"block {number} of the stream",
                        offset=number * stream.chunk_size,
                        size=stream.chunk_size,
                    )

        name = f"the stream {stream.urn}"
        places: Places | None = None
        if disk is stream.source:
            places = iter
        elif isinstance(disk, RunSource):
            places = partial(disk.places_of, stream.source)
        return CheckedBytes(
            name=name, source=stream.source, hashes=hashes, runs=runs if algorithms else None, places=places
        )

    @staticmethod
    def _block_algorithms(stream: Chunked) -> list[str]:
        return [name for name in LINEAR if stream.volume.has(f"{_bevy(stream, 0)}.blockHash.{name}")]

    def _read(self, volume: Volume, urn: str) -> bytes:
        if not volume.has(urn):
            return b""
        source = volume.member(urn, self._meter)
        return source.read_at(0, source.size)

    def members(self, volume: Volume) -> Iterator[Problem]:
        """Hold every member of a volume against its CRC-32 in the zip file."""
        for urn in volume.members():
            try:
                source = volume.member(urn, self._meter)
                for at in range(0, source.size, _PIECE):
                    source.read_at(at, min(_PIECE, source.size - at))
            except (ReadError, ShortRead) as error:
                yield Problem(Code.BAD_CHECKSUM, str(error))

    def _hashed(self, algorithm: str, volume: Volume, urns: Sequence[str]) -> str | None:
        """The hash over these members together; None where it, or one of them, is not to be had."""
        if algorithm not in LINEAR:
            return None
        total = hashlib.new(algorithm, usedforsecurity=False)
        for urn in urns:
            try:
                total.update(self._read(volume, urn))
            except (ReadError, ShortRead):  # which holding the members against their checksums told
                return None
        return total.hexdigest()

    def _compared(self, name: str, urn: str, volume: Volume, members: Sequence[str]) -> Iterator[Problem]:
        for algorithm, stored in self._terms(urn, name):
            computed = self._hashed(algorithm, volume, members)
            if computed is not None and computed != stored:
                yield Problem(
                    Code.BAD_CHECKSUM,
                    f"the {name} of {urn} does not match: {stored} is stored, {computed} computed",
                )

    def _is_alone(self, image: str) -> bool:
        """Whether an image has one map: the hash of one that lies in several volumes is of all of them."""
        return len(self._statements.get(image, {}).get("datastream", ())) == 1

    def block_hashes(self, stream: Chunked) -> Iterator[Problem]:
        """Hold the block hashes and the indexes of a stream against the hashes of these."""
        count = -(-stream.source.size // (stream.chunk_size * stream.per_bevy))
        bevies = [_bevy(stream, number) for number in range(count)]
        for algorithm in self._block_algorithms(stream):
            members = [f"{each}.blockHash.{algorithm}" for each in bevies]
            yield from self._compared("hash", f"{stream.urn}/blockhash.{algorithm}", stream.volume, members)
        yield from self._compared(
            "imagestreamindexhash", stream.urn, stream.volume, [f"{each}.index" for each in bevies]
        )

    def map(self, urn: str, volume: Volume, image: str, streams: Sequence[Chunked]) -> Iterator[Problem]:
        """Hold a map against its hashes, and the hash that binds it to its stream's block hashes."""
        for name, parts in _MAP_PARTS.items():
            yield from self._compared(name, urn, volume, [f"{urn}/{part}" for part in parts])
        whole = [f"{urn}/{part}" for part in ("map", "idx", "mapPath") if volume.has(f"{urn}/{part}")]
        yield from self._compared("maphash", urn, volume, whole)
        if len(streams) != 1:
            return  # of how several are bound together, nothing is written down
        bound = [
            digest
            for algorithm in LINEAR
            for _, digest in self._terms(f"{streams[0].urn}/blockhash.{algorithm}", "hash")
        ]
        bound += [digest for name in _MAP_PARTS for _, digest in self._terms(urn, name)]
        stored = [(name, value) for name, value in self._terms(urn, "blockmaphash") if name in LINEAR]
        stored += [
            (name.removeprefix("blockmaphash"), value)
            for name, value in (self._terms(image, "hash") if self._is_alone(image) else ())
            if name.startswith("blockmaphash")
        ]
        for algorithm, value in stored:
            if algorithm not in LINEAR:
                continue
            computed = hashlib.new(
                algorithm, bytes.fromhex("".join(bound)), usedforsecurity=False
            ).hexdigest()
            if computed != value:
                yield Problem(
                    Code.BAD_CHECKSUM,
                    f"the block map hash of {urn} does not match: {value} is stored, {computed} computed",
                )


def _bevy(stream: Chunked, number: int) -> str:
    return f"{stream.urn}/{number:08}"
