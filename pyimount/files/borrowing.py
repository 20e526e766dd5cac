"""In a reader: images that are no files of this machine, whose bytes whoever started it gives on demand."""

import socket
from collections import OrderedDict
from typing import Any

from pyimount.confinement.messages import MessageError
from pyimount.files import wire
from pyimount.sources.errors import ReadError
from pyimount.sources.shelf import KnownShelf
from pyimount.sources.source import NamedSource

_BLOCK = 64 << 10
_BLOCKS = 128
"""So many blocks of each file are kept: libraries ask for the same few bytes again and again."""


class Borrowed(NamedSource):
    """The bytes of a file that is asked for by its number."""

    __slots__ = ("_blocks", "_number", "_socket", "path")

    def __init__(self, on: socket.socket, number: int, path: str, size: int) -> None:
        self._socket, self._number = on, number
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self.path = path
        self.size = size

    def _read(self, offset: int, length: int) -> bytes:
        if length > _BLOCK:
            return b"".join(
                self._fetch(at, min(wire.PIECE, offset + length - at))
                for at in range(offset, offset + length, wire.PIECE)
            )
        first, last = offset // _BLOCK, (offset + length - 1) // _BLOCK
        try:
            data = b"".join(map(self._block, range(first, last + 1)))
        except ReadError:
            return self._fetch(offset, length)  # of a block that is damaged, these bytes may be sound
        return data[offset - first * _BLOCK : offset - first * _BLOCK + length]

    def _block(self, number: int) -> bytes:
        found = self._blocks.get(number)
        if found is None:
            at = number * _BLOCK
            found = self._blocks[number] = self._fetch(at, min(_BLOCK, self.size - at))
            if len(self._blocks) > _BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(number)
        return found

    def _fetch(self, offset: int, length: int) -> bytes:
        try:
            wire.give(self._socket, [self._number, offset, length])
            wrong, data = wire.take(self._socket)
        except MessageError as error:
            raise ReadError(f"{self.path}: {error}") from error
        if wrong is not None:
            raise ReadError(str(wrong))
        return data


def borrowed(offer: Any, channel: int) -> KnownShelf:
    """The files that are offered, over the socket of this descriptor."""
    volume, *files = offer
    on = socket.socket(fileno=channel)
    return KnownShelf(
        volume, {path: Borrowed(on, number, path, size) for number, (path, size) in enumerate(files)}
    )
