"""Disks that are stored in compressed chunks of one size: what the forensic formats share."""

from _thread import allocate_lock
from collections import OrderedDict
from collections.abc import Callable, Sequence

from pyimount.parsers.containers.zlib_library import zlib_library
from pyimount.sources.budget import Meter
from pyimount.sources.errors import ReadError, SourceError
from pyimount.sources.source import Source

CHUNK_CAP = 16 << 20
"""No chunk is larger than this in bytes: what the largest count of sectors in a chunk that the tools
offer (32768, of 512 bytes) makes."""

_KEPT = 4 << 20
_LZMA_MEMORY = 32 << 20

LZMA_WORTH, BZIP2_WORTH, OWN_WORTH = 4, 8, 16
"""How many bytes of deflate a byte of these is worth, in time: what a budget counts. The last: of what is
unpacked by code in Python."""


class ChunkSource(Source):
    """A disk of ``size`` bytes in chunks of ``chunk_size``; the last may be shorter.

    ``load(number)`` gives a chunk's bytes, as many as belong to it, or raises ReadError. A few
    chunks are kept. Each that is loaded is charged to ``meter``, a byte as ``worth`` of them.
    ``locate(number)``: where a chunk stands, ``(source, offset, length)``, for sources that are far; None, or
    an error, where that is not known.
    """

    __slots__ = ("_chunk_size", "_chunks", "_gap", "_keep", "_load", "_locate", "_lock", "_meter", "_worth")

    def __init__(  # noqa: PLR0917
        self,
        size: int,
        chunk_size: int,
        load: Callable[[int], bytes],
        meter: Meter,
        worth: int = 1,
        locate: Callable[[int], tuple[Source, int, int] | None] | None = None,
        gap: Callable[[int], tuple[int, int] | None] | None = None,
    ) -> None:
        self._locate = locate
        self._gap = gap
        self._meter = meter
        self._worth = worth
        self.size = size
        self._chunk_size = chunk_size
        self._load = load
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self._keep = max(2, _KEPT // chunk_size)
        self._lock = allocate_lock()

    @property
    def is_far(self) -> bool:
        """As Source's."""
        return self._locate is not None

    def expect(self, runs: Sequence[tuple[int, int]]) -> None:
        """As Source's."""
        if self._locate is None:
            return
        numbers = {
            number
            for offset, length in runs
            for number in range(offset // self._chunk_size, (offset + length - 1) // self._chunk_size + 1)
        }
        wanted: dict[Source, list[tuple[int, int]]] = {}
        for number in sorted(numbers - self._chunks.keys()):
            try:
                place = self._locate(number)
            except SourceError:  # reading it says so
                continue
            if place is not None:
                source, at = place[0].beneath(place[1])
                wanted.setdefault(source, []).append((at, place[2]))
        for source, places in wanted.items():
            source.expect(places)

    def lost_around(self, offset: int) -> tuple[int, int] | None:
        """As Source's: the chunks that are nowhere."""
        gap = self._gap(offset // self._chunk_size) if self._gap else None
        return gap and (gap[0] * self._chunk_size, min(self.size, gap[1] * self._chunk_size))

    def _read(self, offset: int, length: int) -> bytes:
        pieces = []
        while length:
            number, at = divmod(offset, self._chunk_size)
            piece = self._chunk(number)[at : at + length]
            if not piece:
                raise ReadError(f"chunk {number} of the image ends before byte {at}")
            pieces.append(piece)
            offset += len(piece)
            length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _chunk(self, number: int) -> bytes:
        with self._lock:
            if number in self._chunks:
                self._chunks.move_to_end(number)
                return self._chunks[number]
        # Not under the lock: other threads may load other chunks meanwhile.
        self._meter.charge_unpacked(self._chunk_size * self._worth)
        chunk = self._load(number)
        with self._lock:
            self._chunks[number] = chunk
            while len(self._chunks) > self._keep:
                self._chunks.popitem(last=False)
        return chunk


def inflate(data: bytes, size: int) -> bytes:
    """Undo zlib compression that gives at most ``size`` bytes, with its checksum verified.

    Bytes after the end of the stream are passed over. Raises ReadError when the stream is
    damaged, cut, or gives more: it is never unpacked further than that.
    """
    library = zlib_library()
    unpacker = library.decompressobj()
    try:
        unpacked = unpacker.decompress(data, size + 1)
        if len(unpacked) <= size and not unpacker.eof:
            # All bytes may be out, and the checksum not yet looked at.
            unpacked += unpacker.decompress(unpacker.unconsumed_tail, size + 1 - len(unpacked))
    except library.error as error:
        raise ReadError(f"compressed data is damaged ({error})") from error
    return _whole(unpacked, size, ended=unpacker.eof)


def unpack_bzip2(data: bytes, size: int) -> bytes:
    """The same for bzip2."""
    import bz2

    unpacker = bz2.BZ2Decompressor()
    try:
        unpacked = unpacker.decompress(data, size + 1)
    except (OSError, ValueError) as error:
        raise ReadError(f"compressed data is damaged ({error})") from error
    return _whole(unpacked, size, ended=unpacker.eof)


def unpack_lzma(data: bytes, size: int) -> bytes:
    """The same for LZMA and LZMA2, in an .xz stream or behind LZMA's own header of 13 bytes."""
    import lzma

    unpacker = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
    try:
        unpacked = unpacker.decompress(data, size + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise ReadError(f"compressed data is damaged ({error})") from error
    # Behind the older header a stream need not say where it ends.
    return _whole(unpacked, size, ended=unpacker.eof or len(unpacked) == size)


def _whole(unpacked: bytes, size: int, *, ended: bool) -> bytes:
    if len(unpacked) > size:
        raise ReadError(f"compressed data gives more than the {size} bytes that belong there")
    if not ended:
        raise ReadError("compressed data ends before it is complete")
    return unpacked


def packed_bound(size: int) -> int:
    """How many bytes ``size`` bytes take at most when they are packed: incompressible data grows a little."""
    return size + size // 64 + 4096


def read_checked(source: Source, offset: int, length: int) -> bytes:
    """A chunk stored as it is, ``length`` bytes, whose Adler-32 stands behind it.

    Raises ReadError when the file ends within it, or when the checksum does not match.
    """
    data = source.read_at(offset, length + 4)
    if len(data) < length + 4:
        raise ReadError(f"the file ends at {source.size}, within it")
    chunk = data[:length]
    if zlib_library().adler32(chunk) != int.from_bytes(data[length:], "little"):
        raise ReadError("its checksum is wrong")
    return chunk
