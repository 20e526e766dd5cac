"""The chunks of an AFF4 image stream: the segments (bevies) that they stand in, and how they are compressed.

Layout: B. Schatz, M. Cohen, "AFF4 Standard v1.0", https://github.com/aff4/Standard
"""

from collections.abc import Callable

from construct import Int32ul, Int64ul, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.parsers.containers.aff4_volumes import Volume
from pyimount.parsers.containers.chunks import inflate, packed_bound
from pyimount.parsers.containers.lz4 import unpack_lz4
from pyimount.parsers.containers.snappy import unpack_snappy
from pyimount.parsers.containers.zlib_library import zlib_library
from pyimount.sources.budget import Meter
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead

BEVY_INDEX_POINT = layout(lambda: Struct("offset" / Int64ul, "length" / Int32ul))
OLD_INDEX_POINT = layout(lambda: Struct("offset" / Int32ul))
"""Before the standard: where a chunk begins; Evimetry leaves the first out, which begins at 0."""

STORED, SNAPPY, ALWAYS_SNAPPY, ZLIB, DEFLATE, LZ4 = (
    "stored",
    "snappy",
    "snappy-always",
    "zlib",
    "deflate",
    "lz4",
)
COMPRESSIONS = {
    "http://aff4.org/Schema#NullCompressor": STORED,
    "http://aff4.org/Schema#compression/stored": STORED,
    "http://code.google.com/p/snappy/": SNAPPY,
    "https://code.google.com/p/snappy/": SNAPPY,
    "https://github.com/google/snappy": ALWAYS_SNAPPY,
    "https://www.ietf.org/rfc/rfc1950.txt": ZLIB,
    "https://tools.ietf.org/html/rfc1951": DEFLATE,
    "https://code.google.com/p/lz4/": LZ4,
    "http://code.google.com/p/lz4/": LZ4,
}

_OPEN_BEVIES = 64
_INDEX_CAP = 1 << 20


class Bevies:
    """The segments of a stream: the bytes of chunks, and where in them each is."""

    def __init__(self, volume: Volume, urn: str, meter: Meter) -> None:
        self._volume = volume
        self._urn = urn
        self._meter = meter
        self._open: dict[str, Source] = {}

    def packed(self, bevy: int, number: int, bound: int) -> bytes:
        """A chunk as it is stored, ``bound`` bytes at most; raises ReadError."""
        data, offset, length = self.place(bevy, number, bound)
        return data.read_at(offset, length)

    def place(self, bevy: int, number: int, bound: int) -> tuple[Source, int, int]:
        """Where a chunk stands: in what, at which of its bytes, and how many; raises ReadError."""
        data = self._member(f"{bevy:08}")
        offset, length = self._place(bevy, number, data.size)
        if not 0 <= length <= bound or offset + length > data.size:
            raise ReadError(f"it takes {length} bytes at {offset} of a segment of {data.size}")
        return data, offset, length

    def _place(self, bevy: int, number: int, end: int) -> tuple[int, int]:  # noqa: ARG002
        size = BEVY_INDEX_POINT.size
        try:
            point = parse_struct(
                self._member(f"{bevy:08}.index").read_at(number * size, size), BEVY_INDEX_POINT
            )
        except NotThisFormat as error:
            raise ReadError("its segment's index ends before it") from error
        return point.offset, point.length

    def _member(self, name: str) -> Source:
        source = self._open.get(name)
        if source is None:
            if len(self._open) >= _OPEN_BEVIES:
                self._open.clear()
            source = self._volume.member(f"{self._urn}/{name}", self._meter)
            if name.endswith("index") and source.size <= _INDEX_CAP:
                # What is wrong about it shows before any chunk is looked for.
                source.read_at(0, source.size)
            self._open[name] = source
        return source


class OldBevies(Bevies):
    """The same before the standard, where an index says only where chunks begin."""

    def _place(self, bevy: int, number: int, end: int) -> tuple[int, int]:
        index = self._member(f"{bevy:08}/index")
        size = OLD_INDEX_POINT.size
        first = int.from_bytes(index.read_at(0, size), "little")
        starts = index.read_at(max(0, number - 1 if first else number) * size, 2 * size)
        places = [int.from_bytes(starts[at : at + size], "little") for at in range(0, len(starts), size)]
        if first and number == 0:
            places.insert(0, 0)
        places.append(end)
        if len(places) < 2:
            raise ReadError("its segment's index ends before it")
        return places[0], places[1] - places[0]


class Chunks:
    """Reads the chunks of a stream by their numbers."""

    def __init__(self, bevies: Bevies, chunk_size: int, per_bevy: int, size: int, compression: str) -> None:
        self._bevies = bevies
        self._chunk_size = chunk_size
        self._per_bevy = per_bevy
        self._size = size
        self._compression = compression

    def load(self, number: int) -> bytes:
        """The bytes of a chunk; raises ReadError when they are missing or damaged."""
        try:
            return self._load(number)
        except (ReadError, ShortRead) as error:
            raise ReadError(f"chunk {number} of the stream: {error}") from error

    def locate(self, number: int) -> tuple[Source, int, int] | None:
        """Where a chunk stands, as ChunkSource wants it."""
        try:
            return self._bevies.place(*divmod(number, self._per_bevy), packed_bound(self._chunk_size))
        except (ShortRead, NotThisFormat):
            return None  # reading it says so

    def _load(self, number: int) -> bytes:
        bevy, within = divmod(number, self._per_bevy)
        packed = self._bevies.packed(bevy, within, packed_bound(self._chunk_size))
        unpack = UNPACKERS.get(self._compression)
        if self._compression not in UNPACKERS:
            raise ReadError("its compression is not known")
        # What would not become smaller is stored as it is.
        as_it_is = len(packed) == self._chunk_size and self._compression != ALWAYS_SNAPPY
        chunk = packed if unpack is None or as_it_is else unpack(packed, self._chunk_size)
        wanted = min(self._chunk_size, self._size - number * self._chunk_size)
        if len(chunk) < wanted:
            raise ReadError(f"it has {len(chunk)} bytes, and should have {wanted}")
        return chunk[:wanted]


def _deflated(data: bytes, size: int) -> bytes:
    library = zlib_library()
    try:
        unpacked: bytes = library.decompressobj(-15).decompress(data, size + 1)
    except library.error as error:
        raise ReadError(f"compressed data is damaged ({error})") from error
    if len(unpacked) > size:
        raise ReadError(f"compressed data gives more than the {size} bytes that belong there")
    return bytes(unpacked)


UNPACKERS: dict[str, Callable[[bytes, int], bytes] | None] = {
    STORED: None,
    SNAPPY: unpack_snappy,
    ALWAYS_SNAPPY: unpack_snappy,
    ZLIB: inflate,
    DEFLATE: _deflated,
    LZ4: unpack_lz4,
}
