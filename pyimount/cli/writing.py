"""Bytes of a layer on their way to a file or to standard output: in their order, and all accounted for."""

import os
from collections.abc import Sequence
from typing import BinaryIO

from pyimount.cli.progress import Progress
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.verifying import sums

_PIECE = 1 << 20
_UNIT = 4096
"""So many bytes around an unreadable one are given up."""


class Different(Exception):  # noqa: N818  (what they are)
    """What an earlier run wrote is not what is read now; the message says where."""


class Writing:
    """The bytes of ``source`` on their way to ``target``.

    ``begun``: how much of a file an earlier run wrote; ``anew``: all is read again for a hash, and what is
    there compared. ``holes``: zeros may become holes, for the target is a file. ``hashes``: algorithms to be
    computed of what is written. ``position``: so far all was taken. ``unread``: bytes that could not be read,
    in whose place zeros stand.
    """

    def __init__(
        self,
        source: Source,
        target: BinaryIO,
        *,
        begun: int = 0,
        anew: bool = False,
        holes: bool = False,
        hashes: Sequence[str] = (),
    ) -> None:
        self.source = source
        self.unread = 0
        self._target = target
        self._holes = holes
        self._sums = {name: sums.begin(name) for name in hashes}
        self._there = begun
        self._begun = begun // _PIECE * _PIECE
        self.position = 0 if anew else self._begun
        if self.position:
            target.seek(self.position)

    @property
    def hashes(self) -> dict[str, str]:
        """Those that were asked for, of what was written so far."""
        return {name: each.hexdigest() for name, each in self._sums.items()}

    def take(self, at: int, data: bytes | None, length: int) -> None:
        """The bytes from ``at`` on; None: not all of them could be read, and what can is still to be.

        What was taken before is left out. Raises OSError, Different.
        """
        done = self.position - at
        if done >= length:
            return
        if data is None:
            data, lost = read(self.source, self.position, length - done)
            self.unread += lost
        elif done:
            data = data[done:]
        for each in self._sums.values():
            each.update(data)
        split = max(0, self._begun - self.position)
        self._compare(data[:split])
        self._put(self.position + split, data[split:])
        self.position += len(data)

    def _compare(self, data: bytes) -> None:
        if data and self._target.read(len(data)) != data:
            end = self.position + len(data)
            raise Different(f"holds other bytes between {self.position} and {end} than are to be written")

    def _put(self, at: int, data: bytes) -> None:
        # Where something is already no hole can be left: its bytes may be others.
        if self._holes and at >= self._there and data.count(0) == len(data):
            self._target.seek(len(data), os.SEEK_CUR)
        else:
            self._target.write(data)

    def rest(self, progress: Progress | None = None) -> None:
        """Read and take all that was not taken yet. Raises OSError, Different."""
        while self.position < self.source.size:
            if progress is not None:
                progress(self.position, self.source.size)
            self.take(self.position, None, min(_PIECE, self.source.size - self.position))


def read(source: Source, at: int, length: int) -> tuple[bytes, int]:
    """Bytes, with zeros in place of those that cannot be read, and how many these are."""
    try:
        return source.read_at(at, length), 0
    except ReadError:
        if length <= _UNIT:
            return bytes(length), length
    pieces = [read(source, each, min(_UNIT, at + length - each)) for each in range(at, at + length, _UNIT)]
    return b"".join(data for data, _ in pieces), sum(lost for _, lost in pieces)
