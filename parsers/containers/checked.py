"""Bytes whose CRC-32 is known: what ZIP and AFF4 keep of each member."""

import zlib
from _thread import allocate_lock

from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source


class Crc32Source(Source):
    """The bytes of ``inner``, which are held against their checksum once they have been read to the end.

    The sum is made on the way, of what is read in order from the start; what is read elsewhere is given as it
    is. Where the sum is wrong, the last byte, and any read that takes it in, gives ReadError from then on.
    ``what``: the member's name, for people.
    """

    __slots__ = ("_crc", "_inner", "_lock", "_stored", "_summed", "_what")

    def __init__(self, inner: Source, stored: int, what: str) -> None:
        self.size = inner.size
        self._inner = inner
        self._stored = stored
        self._what = what
        self._crc = 0
        self._summed = 0
        self._lock = allocate_lock()

    def _read(self, offset: int, length: int) -> bytes:
        data = self._inner.read_at(offset, length)
        end = offset + len(data)
        with self._lock:
            if offset <= self._summed < end:
                self._crc = zlib.crc32(data[self._summed - offset :], self._crc)
                self._summed = end
            wrong = self._summed == self.size and self._crc != self._stored
        if wrong and end == self.size:
            raise ReadError(
                f"{self._what}: its checksum is wrong: some of its {self.size} bytes are not those that were "
                f"stored (CRC-32 {self._stored:#010x} in the directory, {self._crc:#010x} of the bytes)"
            )
        return data

    def close(self) -> None:
        """Close what it reads from."""
        self._inner.close()
