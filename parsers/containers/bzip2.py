"""bzip2: a disk image, or another container, in a compressed file.

Layout: J. Tsai, "The BZIP2 file format", https://github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf
"""

import bz2

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.stored import Pieces
from pyimount.parsers.containers.chunks import BZIP2_WORTH
from pyimount.parsers.containers.packed import PIECE, EndsEarlyError, PackedSource, Stream, open_packed
from pyimount.problems import Code, Problem
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import View

HEADER = b"BZh"
HEADER_SIZE = 4
BLOCK, END = 0x314159265359, 0x177245385090
MAGIC_SIZE, CHECKSUM_SIZE = 6, 4
_WINDOW = 1 << 20
"""A block of 900,000 bytes takes less than this, however badly it is packed."""
_PATTERNS = tuple(
    (late, magic, (magic >> late & (1 << 40) - 1).to_bytes(5, "big"))
    for magic in (BLOCK, END)
    for late in range(1, 9)
)
"""The first five whole bytes of a magic that begins 8 - ``late`` bits before them."""


def parse(view: View) -> Container:
    """What the header of the first stream says."""
    head = view.read(0, HEADER_SIZE + MAGIC_SIZE)
    level = head[3] - ord("0")
    if not 1 <= level <= 9 or int.from_bytes(head[HEADER_SIZE:], "big") not in (BLOCK, END):
        raise NotThisFormat("no stream of bzip2")
    details: dict[str, Json] = {
        "stored_size": view.size,
        "compression": "bzip2",
        "block_size": level * 100_000,
    }
    return Container(type="bzip2", details=details)


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The file inside, all streams one after the other."""
    wrong: list[int] = []
    source = PackedSource(lambda _: _Blocks(image.files[0], 8 * HEADER_SIZE, wrong), image.meter)
    kept = Pieces(algorithm="CRC-32", what="block", in_order=True)
    # Its size is found by unpacking all of it, which tells the checksums of its streams, too.
    opened = open_packed(container, source, kept)
    problems = tuple(
        Problem(Code.BAD_CHECKSUM, f"the checksum of the stream that ends at byte {at} is wrong")
        for at in sorted({*wrong})
    )
    return opened.replaced(
        container=opened.container.replaced(problems=(*opened.container.problems, *problems))
    )


class _Blocks(Stream):
    """The blocks from a bit of the file on, where a magic stands.

    Nothing but that magic says where a block begins, and none begins at a byte's start; but each can be
    unpacked as the only one of a stream. ``wrong``: gets the places of streams whose checksum, which is
    made of those of their blocks, is wrong; ``combined``: that of the blocks so far.
    """

    worth = BZIP2_WORTH

    def __init__(
        self, file: Source, at: int, wrong: list[int], position: int = 0, *, combined: int = 0
    ) -> None:
        super().__init__(position)
        self._file = file
        self._at = at
        self._wrong = wrong
        self._combined = combined
        self._unpacker: bz2.BZ2Decompressor | None = None
        self._packed = b""

    def fork(self) -> Stream | None:
        """Another stream at this place, which must be between two blocks."""
        if self._unpacker:
            return None
        return _Blocks(self._file, self._at, self._wrong, self.position, combined=self._combined)

    def _read(self) -> bytes:
        while True:
            if self._unpacker is None:
                self._unpacker = self._begin()
                if self._unpacker is None:
                    return b""
            packed, self._packed = self._packed, b""
            try:
                piece: bytes = self._unpacker.decompress(packed, PIECE)
            except (OSError, ValueError, EOFError) as error:
                raise ReadError(f"compressed data is damaged ({error})") from error
            if self._unpacker.eof:
                self._unpacker = None
            elif not piece:
                raise ReadError("a compressed block is damaged: it has no end")
            if piece:
                return piece

    def _begin(self) -> bz2.BZ2Decompressor | None:
        """Take up the next block; None where there is none."""
        byte, bit = divmod(self._at, 8)
        window = self._file.read_at(byte, _WINDOW)
        magic = _bits(window, bit, MAGIC_SIZE)
        while magic == END:
            # Streams begin at bytes. What follows the last one is not looked at: it may be padding.
            if _bits(window, bit + 8 * MAGIC_SIZE, CHECKSUM_SIZE) != self._combined:
                self._wrong.append(byte)
            self._combined = 0
            start = (bit + 7) // 8 + MAGIC_SIZE + CHECKSUM_SIZE
            if not window.startswith(HEADER, start):
                return None
            self._at = 8 * (byte + start + HEADER_SIZE)
            byte, bit = divmod(self._at, 8)
            window = self._file.read_at(byte, _WINDOW)
            magic = _bits(window, bit, MAGIC_SIZE)
        if len(window) < MAGIC_SIZE + 1:
            raise EndsEarlyError("the file ends within its compressed data")
        if magic != BLOCK:
            raise ReadError(f"compressed data is damaged: no block begins at byte {byte}")
        following = _find_magic(window, bit + 8 * (MAGIC_SIZE + CHECKSUM_SIZE))
        if following is None:
            if byte + len(window) == self._file.size:
                raise EndsEarlyError("the file ends within its compressed data")
            raise ReadError(f"compressed data is damaged: the block at byte {byte} has no end")
        turned = (self._combined << 1 | self._combined >> 31) & 0xFFFFFFFF
        self._combined = turned ^ _bits(window, bit + 8 * MAGIC_SIZE, CHECKSUM_SIZE)
        self._packed = _alone(window, bit, following)
        self._at = 8 * byte + following
        return bz2.BZ2Decompressor()


def _bits(data: bytes, bit: int, size: int) -> int:
    """The number in ``size`` bytes from a bit on; 0 where they are not all there."""
    first, late = divmod(bit, 8)
    piece = data[first : first + size + 1].ljust(size + 1, b"\0")
    return int.from_bytes(piece, "big") >> 8 - late & (1 << 8 * size) - 1


def _find_magic(data: bytes, start: int) -> int | None:
    """The first bit from ``start`` on at which a block or the end of a stream begins."""
    found, end = None, len(data)
    for late, magic, pattern in _PATTERNS:
        at = data.find(pattern, start // 8, end)
        while at >= 0:
            bit = 8 * at - (8 - late)
            if bit >= start and _bits(data, bit, MAGIC_SIZE) == magic:
                found, end = bit, at + len(pattern)
                break
            at = data.find(pattern, at + 1, end)
    return found


def _alone(data: bytes, start: int, end: int) -> bytes:
    """The block between two bits as a stream that has no other."""
    first, last = start // 8, -(-end // 8)
    size = end - start
    block = int.from_bytes(data[first:last], "big") >> 8 * last - end & (1 << size) - 1
    # The checksum of a stream of one block is the block's.
    checksum = _bits(data, start + 8 * MAGIC_SIZE, CHECKSUM_SIZE)
    tail = 8 * (MAGIC_SIZE + CHECKSUM_SIZE)
    whole = block << tail | END << 8 * CHECKSUM_SIZE | checksum
    padding = -(size + tail) % 8
    return b"BZh9" + (whole << padding).to_bytes((size + tail + padding) // 8, "big")


FORMAT = ContainerFormat(
    name="bzip2",
    title="bzip2",
    specification="https://github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf",
    parse=parse,
    open=open,
    signatures=(Signature(HEADER, 0),),
    types=("bzip2",),
    wraps=True,
)
