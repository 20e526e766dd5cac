"""The log of a device-mapper mirror: which regions of its legs are in step with the first leg.

Layout: struct log_header_disk in drivers/md/dm-log.c of the Linux kernel
(https://github.com/torvalds/linux/blob/master/drivers/md/dm-log.c); a region's bit is set while all legs have
the same there. Where it is not set the kernel reads the first leg alone (do_reads in dm-raid1.c).
"""

from collections.abc import Iterator

from construct import Const, Int32ul, Int64ul, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.mapping.raid import Device
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source

SECTOR = 512
BITS_AT = 2 * SECTOR
"""Where the regions' bits begin, behind the header."""
MOST_REGIONS = 1 << 27
"""Regions of one mirror: as many as the bits in 16 MiB."""
_PIECE = 1 << 16

HEADER = layout(
    lambda: Struct("magic" / Const(0x4D695272, Int32ul), "version" / Int32ul, "nr_regions" / Int64ul)
)


class MirrorLog:
    """The log in ``source`` of a mirror of ``size`` bytes, in regions of ``region`` bytes each.

    It is read when it is first asked; a log that is none says of no region that it is in step, as in Linux.
    """

    def __init__(self, source: Source, region: int, size: int) -> None:
        self._source = source
        self._region = region
        self.regions = -(-size // region)
        """How many regions the mirror has."""
        self._pieces: dict[int, bytes] = {}

    def why_none(self) -> str | None:
        """Why there is no log to be read here; None where there is one."""
        try:
            header = parse_struct(self._source.read_at(0, HEADER.size), HEADER)
        except NotThisFormat:
            return "it has no header"
        except ReadError as error:
            return str(error)
        if not 1 <= header.version <= 2:
            return f"it is of version {header.version}"
        return f"it is for {self.regions} regions" if self.regions > MOST_REGIONS else None

    def in_step(self) -> int:
        """How many regions are in step. Raises ReadError where the log cannot be read."""
        return sum(each.bit_count() for each in self._bits(0, self.regions))

    def is_in_step(self, start: int, end: int) -> bool:
        """Whether all bytes from ``start`` to ``end`` of the legs are; raises ReadError as ``in_step``."""
        first, last = start // self._region, -(-end // self._region)
        return sum(each.bit_count() for each in self._bits(first, last)) == last - first

    def out_of_step_around(self, at: int) -> tuple[int, int] | None:
        """The region around a byte where it is not in step, all where none is; None where it is in step."""
        start = at // self._region * self._region
        try:
            if self.in_step() == 0:
                return 0, self.regions * self._region
            return None if self.is_in_step(start, start + self._region) else (start, start + self._region)
        except ReadError:
            return 0, self.regions * self._region

    def _bits(self, first: int, last: int) -> Iterator[int]:
        """The bits of the regions from ``first`` to before ``last``, as numbers."""
        while first < last:
            number, within = divmod(first, _PIECE * 8)
            end = min(last - first + within, _PIECE * 8)
            bits = int.from_bytes(self._piece(number), "little") & (1 << end) - 1
            yield bits >> within
            first += end - within

    def _piece(self, number: int) -> bytes:
        known = self._pieces.get(number)
        if known is None:
            none = self.why_none()
            known = b"" if none else self._source.read_at(BITS_AT + number * _PIECE, _PIECE)
            self._pieces[number] = known
        return known


class MirrorLeg(Device):
    """A leg of a mirror other than the first: it counts where the log says that it is in step."""

    __slots__ = ("_log",)

    def __init__(self, source: Source, start: int, size: int, log: MirrorLog) -> None:
        super().__init__(source, start, size)
        self._log = log

    def read(self, at: int, length: int) -> bytes:
        """As for any device; raises ReadError where the leg is not in step."""
        if not self._log.is_in_step(at, at + length):
            # The same words for all of it: a report says each thing once.
            raise ReadError("this leg of the mirror was not in step with the first one, by the mirror's log")
        return super().read(at, length)

    def lost_around(self, at: int) -> tuple[int, int] | None:
        """As for any device; the regions that are not in step, too."""
        return super().lost_around(at) or self._log.out_of_step_around(at)
