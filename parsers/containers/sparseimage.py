"""Apple's sparse disk image (.sparseimage): bands in the order of their first writing.

Layout: no publication of Apple's; https://github.com/libyal/libmodi, documentation, "Mac OS sparse image
(.sparseimage) format"; for images of more than 1008 bands https://github.com/ydkhatri/mac_apt
"""

from array import array
from typing import Any

from construct import Bytes, Int32ub, Int64ub, Struct

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.layouts import layout, read_struct
from pyimount.parsers.containers.clusters import integers, truncated
from pyimount.parsers.containers.runs import Run, RunSource
from pyimount.problems import Code, Problem
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

HEADER_NODE = layout(
    lambda: Struct(
        "signature" / Bytes(4),
        "version" / Int32ub,
        "sectors_per_band" / Int32ub,
        "flags" / Int32ub,
        "total_sectors_low" / Int32ub,
        "next_node_offset" / Int64ub,
        "total_sectors" / Int64ub,
        "padding" / Bytes(28),
        "band_id" / Bytes(4 * 1008),
    )
)
INDEX_NODE = layout(
    lambda: Struct(
        "signature" / Bytes(4),
        "index_node_number" / Int32ub,
        "flags" / Int32ub,
        "next_node_offset" / Int64ub,
        "padding" / Bytes(36),
        "band_id" / Bytes(4 * 1010),
    )
)

MAGIC = b"sprs"
SECTOR = 512
_BAND_CAP_SECTORS = 1 << 21
_NODES_CAP = 520
"""Half a million bands at most, half a TiB in the smallest that are made."""
_SIZE_CAP_SECTORS = 1 << 50


def parse(view: View) -> Container:
    """What the header says."""
    header = _header(view)
    details: dict[str, Json] = {
        "version": header.version,
        "stored_size": view.size,
        "band_size": header.sectors_per_band * SECTOR,
        "flags": header.flags,
    }
    size = _sectors(header) * SECTOR
    return Container(type="sparseimage", size=size, sector_size=SECTOR, details=details)


def _header(view: View) -> Any:
    header = read_struct(view, HEADER_NODE, 0)
    if header.signature != MAGIC or not 0 < header.sectors_per_band <= _BAND_CAP_SECTORS:
        raise NotThisFormat(f"bands of {header.sectors_per_band} sectors")
    if not 0 < _sectors(header) <= _SIZE_CAP_SECTORS:
        raise NotThisFormat(f"{_sectors(header)} sectors")
    if header.total_sectors and header.total_sectors & 0xFFFFFFFF != header.total_sectors_low:
        raise NotThisFormat(f"{header.total_sectors_low} and {header.total_sectors} sectors")
    return header


def _sectors(header: Any) -> int:
    return int(header.total_sectors or header.total_sectors_low)


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The disk inside; a band that was never written is zeros."""
    file = image.files[0]
    header = _header(View(file))
    bands = _Bands(file, header)
    problems = (*container.problems, *bands.problems)
    details = {**container.details, "bands": len(bands.places)}
    source = RunSource(_sectors(header) * SECTOR, bands.locate)
    return Opened(container=container.replaced(details=details, problems=problems), source=source)


class _Bands:
    """Where each band stands in the file: behind the node that lists it, in the order of the list."""

    def __init__(self, file: Source, header: Any) -> None:
        self._file = file
        self._size: int = header.sectors_per_band * SECTOR
        self._count = -(-_sectors(header) * SECTOR // self._size)
        self.places: dict[int, int] = {}
        self.problems: list[Problem] = []
        view = View(file)
        node, at, seen = header, 0, {0}
        while self._take(node, at) and node.next_node_offset:
            at = node.next_node_offset
            if at in seen or len(seen) >= _NODES_CAP:
                self._damaged(f"the lists of bands go on at byte {at}, in a circle or without end")
                break
            seen.add(at)
            try:
                node = read_struct(view, INDEX_NODE, at)
            except ShortRead:
                self.problems.append(truncated(file, "a list of bands"))
                break
            if node.signature != MAGIC:
                self._damaged(f"no list of bands stands at byte {at}")
                break

    def _take(self, node: Any, at: int) -> bool:
        """The bands of a node; whether there may be another node."""
        numbers = array("L", integers(node.band_id, 4, "big"))
        end = at
        for place, number in enumerate(numbers):
            if number == 0:
                continue
            if number > self._count or number - 1 in self.places:
                self._damaged(f"band {number} of {self._count} is listed at byte {at}, or a second time")
                return False
            start = at + HEADER_NODE.size + place * self._size
            self.places[number - 1] = start
            end = max(end, start)
        if end >= self._file.size:
            self.problems.append(truncated(self._file, "bands"))
        return True

    def _damaged(self, message: str) -> None:
        self.problems.append(Problem(Code.DAMAGED, message))

    def locate(self, offset: int) -> Run:
        """The run at this byte of the disk, within its band."""
        number, within = divmod(offset, self._size)
        length = self._size - within
        start = self.places.get(number)
        return Run(None, 0, length) if start is None else Run(self._file, start + within, length)


FORMAT = ContainerFormat(
    name="sparseimage",
    title="Apple sparse disk image",
    specification="https://github.com/libyal/libmodi",
    parse=parse,
    open=open,
    signatures=(Signature(MAGIC, 0),),
    types=("sparseimage",),
)
