"""Disks whose bytes lie in runs scattered over a file: what the formats with a block table share."""

from _thread import allocate_lock  # threading takes long to import
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from pyimount.formats import Container, Opened
from pyimount.formats.image import Image
from pyimount.parsers.containers.file_names import file_name
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import MissingBytes, OpenError, ReadError, SourceError
from pyimount.sources.source import Source

_PAGE = 4096
_PAGES_KEPT = 64
_PLACES_CAP = 1 << 22
"""So many runs are looked at for where some bytes stand on the disk."""


class Run:
    """``length`` bytes of a disk that stand together, at ``offset`` of ``source``; zeros without one."""

    __slots__ = ("length", "offset", "source")

    def __init__(self, source: Source | None, offset: int, length: int) -> None:
        self.source = source
        self.offset = offset
        self.length = length


class RunSource(Source):
    """A disk of ``size`` bytes made of runs.

    ``locate(offset)`` gives the run that begins at this byte of the disk; it raises ReadError
    where there is none.
    """

    __slots__ = ("_far", "_locate")

    def __init__(self, size: int, locate: Callable[[int], Run]) -> None:
        self.size = size
        self._locate = locate
        self._far = False

    @property
    def is_far(self) -> bool:
        """As Source's: whether what was read so far was."""
        return self._far

    def expect(self, runs: Sequence[tuple[int, int]]) -> None:
        """As Source's."""
        wanted: dict[Source, list[tuple[int, int]]] = {}
        for start, length in runs:
            offset, end = start, min(start + length, self.size)
            while offset < end:
                try:
                    run = self._locate(offset)
                except SourceError:  # reading it says so
                    break
                count = min(run.length, end - offset)
                if count <= 0:
                    break
                if run.source is not None:
                    source, at = run.source.beneath(run.offset)
                    wanted.setdefault(source, []).append((at, count))
                offset += count
        for source, places in wanted.items():
            source.expect(places)

    def places_of(self, source: Source, wanted: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Where on this disk the bytes of ``source`` in these runs stand: offset and size of each."""
        offset = 0
        for _ in range(_PLACES_CAP):
            if offset >= self.size:
                return
            try:
                run = self._locate(offset)
            except ReadError:
                return  # what lies behind is not known to be those bytes
            count = min(run.length, self.size - offset)
            if count <= 0:
                return
            inner: Iterable[tuple[int, int]] = ()
            if run.source is source:
                inner = wanted
            elif isinstance(run.source, RunSource):
                inner = run.source.places_of(source, wanted)
            for start, size in inner:
                low, high = max(start, run.offset), min(start + size, run.offset + count)
                if low < high:
                    yield offset + low - run.offset, high - low
            offset += count

    def _read(self, offset: int, length: int) -> bytes:
        pieces = []
        while length:
            run = self._locate(offset)
            count = min(run.length, length)
            if count <= 0:
                raise ReadError(f"no run of the disk holds its byte {offset}")
            if run.source is None:
                piece = bytes(count)
            else:
                piece = run.source.read_at(run.offset, count)
                self._far = self._far or run.source.is_far
                if len(piece) != count:
                    raise ReadError(
                        f"byte {offset + len(piece)} of the disk stands at {run.offset + len(piece)}"
                        f" of the file, which ends at {run.source.size}"
                    )
            pieces.append(piece)
            offset += count
            length -= count
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class EntryTable:
    """A table of ``count`` entries of ``width`` bytes at ``offset`` of a file.

    It is read a page at a time, when an entry is asked for, and a few pages are kept: the count
    is the image's word, and no memory follows it.
    """

    def __init__(
        self, source: Source, offset: int, count: int, width: int, order: Literal["big", "little"] = "little"
    ) -> None:
        self.count = count
        self._source = source
        self._offset = offset
        self._width = width
        self._order = order
        self._per_page = _PAGE // width
        self._pages: OrderedDict[int, bytes] = OrderedDict()
        self._lock = allocate_lock()

    def raw(self, number: int) -> bytes:
        """The bytes of an entry; raises ReadError when the table or the file ends before it."""
        if not 0 <= number < self.count:
            raise ReadError(f"the image's table has {self.count} entries, and entry {number} is needed")
        number, within = divmod(number, self._per_page)
        with self._lock:
            page = self._pages.get(number)
            if page is None:
                size = self._per_page * self._width
                page = self._source.read_at(self._offset + number * size, size)
                self._pages[number] = page
                if len(self._pages) > _PAGES_KEPT:
                    self._pages.popitem(last=False)
            else:
                self._pages.move_to_end(number)
        entry = page[within * self._width : (within + 1) * self._width]
        if len(entry) != self._width:
            raise ReadError("the file ends within the image's table")
        return entry

    def __getitem__(self, number: int) -> int:
        return int.from_bytes(self.raw(number), self._order)

    def head(self, size: int) -> bytes:
        """The table's first bytes, ``size`` at most, whole entries only, as far as the file has them."""
        size = min(size // self._width, self.count) * self._width
        data = self._source.read_at(self._offset, size)
        return data[: len(data) // self._width * self._width]


def bit_run(bitmap: bytes, start: int, order: Literal["big", "little"]) -> tuple[bool, int]:
    """The bit at ``start`` of a bitmap, and how many bits from there on are like it.

    ``order``: whether the most (``big``) or the least significant bit of a byte comes first.
    """
    width = len(bitmap) * 8 - start
    if width <= 0:
        raise ReadError("the file ends within a bitmap of the image")
    if order == "big":
        bits = int.from_bytes(bitmap, "big") & ((1 << width) - 1)
        first = bool(bits >> (width - 1))
        other = bits ^ ((1 << width) - 1) if first else bits
        return first, width - other.bit_length()
    bits = int.from_bytes(bitmap, "little") >> start
    first = bool(bits & 1)
    other = bits ^ ((1 << width) - 1) if first else bits
    return first, (other & -other).bit_length() - 1 if other else width


class Parent(Record):
    """The image that a differencing image differs from; ``source`` is None when there is none to read."""

    source: Source | None = None
    problems: tuple[Problem, ...] = ()

    def run(self, offset: int, length: int) -> Run:
        """The run at this place of the parent's disk, which may be smaller than the child's."""
        if self.source is None:
            raise MissingBytes(f"byte {offset} of the disk stands in the parent image, which is missing")
        if offset >= self.source.size:
            return Run(None, 0, length)
        return Run(self.source, offset, min(length, self.source.size - offset))


def open_parent(
    image: Image, names: list[str], refuse: Callable[[Container], str | None], what: str
) -> Parent:
    """Open the first of ``names`` that is there and may be opened, as the parent of ``image``.

    ``refuse`` says why an image cannot be the parent, None when it can; ``what`` names the parent
    in messages.
    """
    whys = []
    for name in dict.fromkeys(names):
        try:
            opened: Opened = image.open_disk(file_name(name).name, image)
        except OpenError as error:
            whys.append(str(error))
            continue
        why = refuse(opened.container)
        if why is None and opened.source is not None:
            inner = tuple(Problem(each.code, f"parent: {each.message}") for each in opened.container.problems)
            return Parent(opened.source, inner)
        whys.append(
            why or "; ".join(each.message for each in opened.container.problems) or f"{name}: unreadable"
        )
    why = "; ".join(whys) or "the image does not say where it is"
    return Parent(
        None,
        (
            Problem(
                Code.MISSING_BACKING_FILE, f"{what} cannot be read, nor what this image has from it: {why}"
            ),
        ),
    )
