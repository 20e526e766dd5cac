"""Images that are no files of this machine, lent to a reader: it asks for their bytes, and gets them.

They are files within another image, or lie elsewhere.

It asks over a socket of its own, since it may do so at any time while it works on what it was asked.
"""

import select
import socket
from contextlib import ExitStack

from pyimount.confinement.messages import MessageError
from pyimount.files import wire
from pyimount.sources.errors import SourceError
from pyimount.sources.shelf import Shelf


class Lender:
    """Gives a reader the bytes of some files of a shelf.

    ``offer``: the name and size of each, which the reader asks for by its number. ``theirs``: the reader's
    end of the socket. Raises OpenError where one of the files cannot be opened.
    """

    def __init__(self, shelf: Shelf, names: list[str], stack: ExitStack) -> None:
        self._sources = [shelf.open(name) for name in names]
        sizes = (source.size for source in self._sources)
        self.offer = [shelf.volume, *map(list, zip(names, sizes, strict=True))]
        self._socket, self.theirs = socket.socketpair()
        for end in (self._socket, self.theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, wire.PIECE)
            stack.callback(end.close)

    def serve_until(self, other: socket.socket, seconds: float) -> None:
        """Give bytes until there is something to be taken from ``other``.

        Raises MessageError when the reader ends, or says nothing for so long.
        """
        self._socket.settimeout(seconds)
        poll = select.poll()
        for end in (other, self._socket):
            poll.register(end, select.POLLIN)
        while True:
            ready = [number for number, _ in poll.poll(seconds * 1000)]
            if not ready:
                raise MessageError("the other process says nothing")
            if other.fileno() in ready:
                return
            self._serve()

    def _serve(self) -> None:
        question, _ = wire.take(self._socket)
        try:
            number, offset, length = question
            if not 0 <= length <= wire.PIECE:
                raise ValueError("more than an answer has")
            source = self._sources[number]
            wire.give(self._socket, None, source.read_at(offset, length))
        except SourceError as error:
            wire.give(self._socket, str(error)[:400])
        except (TypeError, ValueError, IndexError) as error:
            raise MessageError(f"no question: {error}") from error
