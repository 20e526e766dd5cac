"""Deflate as a stream that can be forked anywhere: what gzip and zip share."""

from pyimount.parsers.containers.packed import PIECE, EndsEarlyError, Input, Stream
from pyimount.parsers.containers.zlib_library import zlib_library
from pyimount.sources.errors import ReadError

GZIP, RAW = 31, -15
"""zlib's ``wbits`` for members of gzip, one after the other, and for deflate alone."""


class DeflateStream(Stream):
    """Deflate in a run of a file; the checksums of gzip are verified."""

    def __init__(self, source: Input, wbits: int) -> None:
        super().__init__()
        self._input = source
        self._wbits = wbits
        self._left = b""
        self._unpacker = zlib_library().decompressobj(wbits)
        self._ended = False

    def fork(self) -> Stream:
        """Another stream at this place."""
        fork = DeflateStream(self._input.fork(), self._wbits)
        fork.position = self.position
        fork._left = self._left
        fork._unpacker = self._unpacker.copy()
        fork._ended = self._ended
        return fork

    def _read(self) -> bytes:
        while not self._ended:
            try:
                piece: bytes = self._unpacker.decompress(self._left, PIECE)
            except zlib_library().error as error:
                raise ReadError(f"compressed data is damaged ({error})") from error
            if self._unpacker.eof:
                self._next_member()
            else:
                self._left = self._unpacker.unconsumed_tail
                if not piece and not self._left:
                    self._left = self._input.next()
                    if not self._left:
                        raise EndsEarlyError("the file ends within its compressed data")
            if piece:
                return bytes(piece)
        return b""

    def _next_member(self) -> None:
        """What follows a member: another one, or padding, which ends it all."""
        self._left = self._unpacker.unused_data
        if len(self._left) < 2:
            self._left += self._input.next()
        self._ended = self._wbits != GZIP or not self._left.startswith(b"\x1f\x8b")
        if not self._ended:
            self._unpacker = zlib_library().decompressobj(self._wbits)
