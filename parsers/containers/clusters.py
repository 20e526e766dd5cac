"""What disks in clusters share, whatever leads to these: unpacked clusters, backing disks, truncation."""

from _thread import allocate_lock  # threading takes long to import
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Literal

from pyimount.formats.image import Image
from pyimount.parsers.containers.file_names import file_name
from pyimount.parsers.containers.runs import Parent, open_parent
from pyimount.parsers.containers.zlib_library import zlib_library
from pyimount.problems import Code, Problem
from pyimount.sources.budget import Meter
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.source import SliceSource, Source

SURVEY = 64 << 10
"""No more bytes of one table than these are read to see whether a file is truncated."""

_KEPT = 4 << 20


class Unpacked:
    """Unpacked clusters by a number; the least recently used go when all together pass 4 MiB.

    The newest stays however large it is. Each that is unpacked is charged to ``meter``.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._held = 0
        self._values: OrderedDict[int, bytes] = OrderedDict()
        self._lock = allocate_lock()

    def get(self, number: int, unpack: Callable[[], bytes], cost: int) -> bytes:
        """The cluster of this number, unpacked now if it is not kept; raises what ``unpack`` does.

        ``cost``: its size in bytes, or several times that where unpacking is slow.
        """
        with self._lock:
            value = self._values.get(number)
            if value is not None:
                self._values.move_to_end(number)
                return value
        self._meter.charge_unpacked(cost)
        value = unpack()  # not under the lock: other threads may unpack others meanwhile
        with self._lock:
            if number not in self._values:
                self._values[number] = value
                self._held += len(value)
            while self._held > _KEPT and len(self._values) > 1:
                self._held -= len(self._values.popitem(last=False)[1])
        return value


def inflate_raw(data: bytes, size: int) -> bytes:
    """Return the ``size`` bytes that ``data``, deflate without zlib's header, begins with; raises ReadError.

    QEMU packs this way, with a window of 4 KiB, and fills the last sector with whatever is there.
    """
    library = zlib_library()
    try:
        unpacked: bytes = library.decompressobj(-12).decompress(data, size)
    except library.error as error:
        raise ReadError(f"a compressed cluster is damaged ({error})") from error
    if len(unpacked) != size:
        raise ReadError(f"a compressed cluster gives {len(unpacked)} bytes, and {size} belong there")
    return bytes(unpacked)


def open_backing(image: Image, name: str | None, *, raw: bool = False) -> Parent:
    """The disk beneath ``image``: the backing file that its header names.

    ``name``: None where it cannot be read. ``raw``: its bytes as they are, whatever they look like: what a
    guest writes there decides nothing. Never raises for what is there or is not.
    """
    if not name:
        message = "the image has a backing file, and its name cannot be read"
        return Parent(None, (Problem(Code.DAMAGED, message),))
    what = "the backing file"
    try:
        named = file_name(name)
        if not raw and not named.raw:
            return open_parent(image, [name], lambda _: None, what)
        source = image.open_named(named.name)
    except OpenError as error:
        message = f"{what} cannot be read, nor what this image has from it: {error}"
        return Parent(None, (Problem(Code.MISSING_BACKING_FILE, message),))
    if named.offset or named.size is not None:
        return Parent(SliceSource(source, named.offset, source.size if named.size is None else named.size))
    return Parent(source)


def truncated(file: Source, what: str) -> Problem:
    """The problem of a file that ends before ``what``, to which its tables point."""
    message = f"the file ends at byte {file.size}, before {what} that its tables point to"
    return Problem(Code.TRUNCATED, message)


def integers(table: bytes, width: int, order: Literal["big", "little"]) -> Iterable[int]:
    """The entries of a table, each of ``width`` bytes; what is left over at its end is no entry."""
    ends = range(width, len(table) + 1, width)
    return (int.from_bytes(table[end - width : end], order) for end in ends)
