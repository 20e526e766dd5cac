"""A window of what is slow to make: reads of a few bytes, near each other, pay for it once."""

from _thread import allocate_lock  # threading takes long to import
from collections import OrderedDict

from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source

WINDOW = 64 << 10
"""Bytes that are made at once where nothing else is said."""
KEPT = 512
"""Windows of so many times these bytes are kept: 32 MiB."""
TOUCHED = 4096
"""Of so many windows it is known that something was read of them."""


class WindowSource(Source):
    """The bytes of ``parent``; who reads a window for the second time gets all of it made, and kept.

    The first time just what is wanted is read, for it may be the last. Long reads go past the windows.
    ``window``: its size in bytes; ``after``: so many reads of a window are made alone, but for one of WINDOW
    and more: what costs as much as the window itself.

    For who reads a layer's contents: a scan reads a little here and there, and would read more for it.
    Usable from any thread. A window that cannot be read as a whole is not one: of it is read what is wanted.
    """

    __slots__ = ("_after", "_kept", "_lock", "_most", "_parent", "_size", "_touched")

    def __init__(self, parent: Source, window: int = WINDOW, after: int = 1) -> None:
        self._parent = parent
        self.size = parent.size
        self._size = window
        self._after = after
        self._most = max(1, KEPT * WINDOW // window)
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._touched: OrderedDict[int, int] = OrderedDict()
        self._lock = allocate_lock()

    def lost_around(self, offset: int) -> tuple[int, int] | None:
        """As the source below knows it."""
        return self._parent.lost_around(offset)

    def _read(self, offset: int, length: int) -> bytes:
        if length > self._size:
            return self._parent.read_at(offset, length)
        pieces = []
        while length:
            number, at = divmod(offset, self._size)
            taken = min(length, self._size - at)
            window = self._window(number, taken)
            pieces.append(self._parent.read_at(offset, taken) if window is None else window[at : at + taken])
            offset += taken
            length -= taken
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _window(self, number: int, wanted: int) -> bytes | None:
        with self._lock:
            window = self._kept.get(number)
            if window is not None:
                self._kept.move_to_end(number)
                return window
            reads = self._touched.get(number, 0)
            if reads < self._after and (wanted < WINDOW or self._size == WINDOW):
                self._touched[number] = reads + 1
                while len(self._touched) > TOUCHED:
                    self._touched.popitem(last=False)
                return None
        # Not under the lock: other threads may make other windows meanwhile.
        try:
            window = self._parent.read_at(number * self._size, self._size)
        except ReadError:
            return None
        with self._lock:
            self._kept[number] = window
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return window
