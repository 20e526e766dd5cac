"""RAID arrays, whoever describes them, and the bytes of those without parity: linear, RAID 0, 1 and 10.

They are laid out as Linux md does. Where chunks lie: drivers/md of the Linux kernel (linear.c, raid0.c,
raid10.c: __raid10_find_phys). RAID 4, 5 and 6 are in ``parity.py``.

A request is cut into pieces, each on one device; small ones that follow each other there are read at once.
A device that is missing, that is not trusted there, or that fails is done without where the level allows it.
"""

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TypeAlias

from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source

_WINDOW = 1 << 20
_LARGEST_WINDOW = 8 << 20
COMPARED = 4096
"""Bytes from the start by which copies are held against each other: most file systems write there."""
_WORTH_A_READ = 16 << 10
"""Pieces of so many bytes and more are read one by one."""


class Device:
    """One device of an array: the part of it that holds the array's data.

    ``size`` in bytes. ``trusted``: bytes from the start that are in step with the array, all when
    None; ``bad``: runs of ``(offset, length)`` that are recorded as never written.
    """

    __slots__ = ("_bad", "_source", "_start", "size", "trusted")

    def __init__(
        self,
        source: Source,
        start: int,
        size: int,
        trusted: int | None = None,
        bad: Sequence[tuple[int, int]] = (),
    ) -> None:
        self._source = source
        self._start = start
        self.size = size
        self.trusted = size if trusted is None else min(trusted, size)
        self._bad = tuple(bad)

    def read(self, at: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``at`` of the data; raises ReadError when they are not to be had."""
        if at + length > self.trusted:
            raise ReadError(f"a member of the array has no valid data at {max(at, self.trusted)}")
        for start, size in self._bad:
            if at < start + size and start < at + length:
                raise ReadError(f"a member of the array is recorded as bad at {max(at, start)}")
        data = self._source.read_at(self._start + at, length)
        if len(data) != length:
            raise ReadError(f"a member of the array ends at {self._start + at + len(data)}")
        return data

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """As Source's; None where ``read`` would raise for one of them."""
        end = min(self.trusted, self._source.size - self._start)
        if self._bad or any(at + length > end for at, length in runs):
            return None
        return self._source.read_runs([(self._start + at, length) for at, length in runs])

    def agrees(self) -> bool:
        """As of the array that this is a part of, of its own bytes."""
        return agrees(self._source) if self._start == 0 else True

    def lost_around(self, at: int) -> tuple[int, int] | None:
        """The run of the data around a byte that is known not to be had; None where none is."""
        lost = self._source.lost_around(self._start + at)
        return (
            None if lost is None else (max(0, lost[0] - self._start), min(self.size, lost[1] - self._start))
        )


Devices: TypeAlias = Sequence[Device | None]
"""The devices of an array by slot, None for those that are missing."""


Piece: TypeAlias = tuple[int, int, int, int]
"""Bytes of the array that lie on one device: slot, place on its device, length, offset in the array."""
Bytes: TypeAlias = bytes | memoryview


class Array(Source):
    """The bytes of an array of any level.

    A level says in ``_pieces`` where they lie, and in ``_instead`` how to do without a device.
    """

    __slots__ = ("_devices", "_window")

    def __init__(self, devices: Devices, size: int, row: int = 1) -> None:
        self._devices = tuple(devices)
        self.size = size
        # Whole rows, so that none is reckoned back twice.
        self._window = min(max(1, _WINDOW // row) * row, _LARGEST_WINDOW)

    def agrees(self) -> bool:
        """Whether copies of the array's first bytes are alike, as far as there are any.

        Raises ReadError where one is not to be had.
        """
        first = self._devices[0] if self._devices else None
        return first is None or first.agrees()

    @abstractmethod
    def _pieces(self, offset: int, length: int) -> Iterator[Piece]:
        """The places of these bytes, in order, without gaps."""

    def _instead(self, piece: Piece, why: ReadError) -> Bytes:  # noqa: ARG002
        """The bytes of a piece without its device; raises ReadError where there is no other way to them."""
        raise why

    def _unit(self, offset: int) -> tuple[int, int]:
        """The run of the array around a byte that lies on its devices in one piece."""
        return offset, offset + 1

    def _is_gone(self, offset: int) -> bool:
        """Whether a byte is lost with the devices that are missing."""
        slot, _, _, _ = next(self._pieces(offset, 1))
        return self._devices[slot] is None

    def lost_around(self, offset: int) -> tuple[int, int] | None:
        """The piece of the array that lies on a missing device, and that no other makes up for."""
        if not 0 <= offset < self.size or not self._is_gone(offset):
            return None
        start, end = self._unit(offset)
        return start, min(end, self.size)

    def _read(self, offset: int, length: int) -> bytes:
        found: list[Bytes] = []
        while length:
            part = min(length, self._window - offset % self._window)
            pieces = list(self._pieces(offset, part))
            try:
                found += self._at_once(pieces)
            except ReadError:
                found += self._one_by_one(pieces)
            offset += part
            length -= part
        # One run that one device gave is not copied again.
        return found[0] if len(found) == 1 and isinstance(found[0], bytes) else b"".join(found)

    def _device(self, slot: int) -> Device:
        device = self._devices[slot]
        if device is None:
            raise ReadError(f"member {slot} of the array is missing")
        return device

    def _at_once(self, pieces: Sequence[Piece]) -> Sequence[Bytes]:
        """All pieces, with as few reads as can be; raises ReadError when one of them fails."""
        if len(pieces) == 1:
            slot, at, length, _ = pieces[0]
            return [self._device(slot).read(at, length)]
        if sum(piece[2] for piece in pieces) >= len(pieces) * _WORTH_A_READ:
            # Three times as fast as longer runs that are cut up: those do not stay in the processor's cache.
            return [self._device(slot).read(at, length) for slot, at, length, _ in pieces]
        runs: list[list[int]] = []  # slot, start, end
        last: dict[int, int] = {}
        parts = []
        for slot, at, length, _ in pieces:
            number = last.get(slot)
            if number is None or runs[number][2] != at:
                number = last[slot] = len(runs)
                runs.append([slot, at, at])
            run = runs[number]
            run[2] = at + length
            parts.append((number, at - run[1], run[2] - run[1]))
        data = [memoryview(self._device(slot).read(start, end - start)) for slot, start, end in runs]
        return [data[number][start:end] for number, start, end in parts]

    def _one_by_one(self, pieces: Iterable[Piece]) -> Iterator[Bytes]:
        for piece in pieces:
            try:
                yield self._device(piece[0]).read(piece[1], piece[2])
            except ReadError as error:
                yield self._instead(piece, error)


class LinearSource(Array):
    """Devices one after the other."""

    __slots__ = ("_ends",)

    def __init__(self, devices: Devices, sizes: Sequence[int]) -> None:
        self._ends = tuple(accumulate(sizes))
        super().__init__(devices, self._ends[-1] if self._ends else 0)

    def _unit(self, offset: int) -> tuple[int, int]:
        slot = bisect_right(self._ends, offset)
        return self._ends[slot - 1] if slot else 0, self._ends[slot]

    def lost_around(self, offset: int) -> tuple[int, int] | None:
        """As any array; what a device knows of itself too."""
        if not 0 <= offset < self.size or self._is_gone(offset):
            return super().lost_around(offset)
        slot, at, _, _ = next(self._pieces(offset, 1))
        lost = self._device(slot).lost_around(at)
        return None if lost is None else (lost[0] + offset - at, lost[1] + offset - at)

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """As Source's, where one device has all of them: most logical volumes are on one."""
        slots = {
            bisect_right(self._ends, at) for offset, length in runs for at in (offset, offset + length - 1)
        }
        slot = slots.pop() if len(slots) == 1 else None
        device = None if slot is None else self._devices[slot]
        if slot is None or device is None:
            return None
        start = self._ends[slot - 1] if slot else 0
        return device.read_runs([(offset - start, length) for offset, length in runs])

    def _pieces(self, offset: int, length: int) -> Iterator[Piece]:
        slot = bisect_right(self._ends, offset)
        while length:
            part = min(length, self._ends[slot] - offset)
            if part:
                start = self._ends[slot - 1] if slot else 0
                yield (slot, offset - start, part, offset)
            offset += part
            length -= part
            slot += 1


def agrees(source: Source) -> bool:
    """Whether what has the same first bytes more than once, or their parity, has them alike.

    Of what is no array nothing is known. Raises ReadError where a copy is not to be had.
    """
    return not isinstance(source, Array) or source.agrees()


class Zone(Record):
    """A run of a RAID 0 array over the devices that are long enough for it.

    ``start`` and ``end`` in the array, ``at`` on each device, in bytes; ``slots`` of its devices.
    """

    start: int
    end: int
    at: int
    slots: tuple[int, ...]


def strip_zones(sizes: Sequence[int], chunk: int) -> tuple[Zone, ...]:
    """The zones of a RAID 0 array over devices of these sizes."""
    whole = [size // chunk * chunk for size in sizes]
    zones: list[Zone] = []
    start = at = 0
    for height in sorted({size for size in whole if size}):
        slots = tuple(slot for slot, size in enumerate(whole) if size >= height)
        end = start + (height - at) * len(slots)
        zones.append(Zone(start, end, at, slots))
        start, at = end, height
    return tuple(zones)


class StripedSource(Array):
    """RAID 0. ``counted_from_start``: chunks are dealt out by their number in the whole array, as Linux
    before 3.14 did, not by that in their zone; the two differ only behind the first zone.
    """  # noqa: D205

    __slots__ = ("_chunk", "_counted_from_start", "_starts", "_zones")

    def __init__(
        self, devices: Devices, zones: Sequence[Zone], chunk: int, *, counted_from_start: bool = False
    ) -> None:
        super().__init__(devices, zones[-1].end if zones else 0)
        self._zones = tuple(zones)
        self._starts = tuple(zone.start for zone in zones)
        self._chunk = chunk
        self._counted_from_start = counted_from_start

    def _unit(self, offset: int) -> tuple[int, int]:
        start = offset // self._chunk * self._chunk
        return start, start + self._chunk

    def _pieces(self, offset: int, length: int) -> Iterator[Piece]:
        chunk = self._chunk
        while length:
            zone = self._zones[bisect_right(self._starts, offset) - 1]
            slots = zone.slots
            first = zone.start // chunk
            shift = first if self._counted_from_start else 0
            end = min(offset + length, zone.end)
            while offset < end:
                number, within = divmod(offset, chunk)
                number -= first
                part = min(chunk - within, end - offset)
                at = zone.at + number // len(slots) * chunk + within
                yield (slots[(number + shift) % len(slots)], at, part, offset)
                offset += part
                length -= part


class MirrorSource(Array):
    """RAID 1: the first device of ``order`` that has the bytes gives them.

    ``step``: bytes that are in step or not as one; all when 0.
    """

    __slots__ = ("_order", "_step")

    def __init__(
        self, devices: Devices, size: int, order: Sequence[int] | None = None, *, step: int = 0
    ) -> None:
        super().__init__(devices, size)
        self._order = tuple(range(len(self._devices)) if order is None else order)
        self._step = step or size

    def agrees(self) -> bool:
        """Whether all legs have the same first bytes, those that are in step."""
        length = min(COMPARED, self.size, self._step)
        legs = [device for device in self._devices if device is not None and device.trusted >= self.size]
        return len({device.read(0, length) for device in legs}) < 2 and all(each.agrees() for each in legs)

    def lost_around(self, offset: int) -> tuple[int, int] | None:
        """What every leg that is there lacks."""
        start, end = 0, self.size
        for device in self._devices:
            if device is not None:
                lost = device.lost_around(offset)
                if lost is None:
                    return None
                start, end = max(start, lost[0]), min(end, lost[1])
        return start, end

    def _pieces(self, offset: int, length: int) -> Iterator[Piece]:
        while length:
            part = min(self._step - offset % self._step, length)
            yield (_first_with(self._devices, self._order, offset + part), offset, part, offset)
            offset += part
            length -= part

    def _instead(self, piece: Piece, why: ReadError) -> bytes:
        gone, at, length, _ = piece
        for slot in self._order:
            if slot != gone:
                try:
                    return self._device(slot).read(at, length)
                except ReadError:
                    continue
        raise why


def _first_with(devices: Devices, order: Iterable[int], end: int) -> int:
    """The first slot whose device may be trusted up to ``end``; the first that is there when none may."""
    slots = [slot for slot in order if devices[slot] is not None]
    for slot in slots:
        device = devices[slot]
        if device is not None and end <= device.trusted:
            return slot
    return slots[0] if slots else 0


class Raid10Layout:
    """Where the copies of RAID 10's chunks lie; ``number`` is md's: near, far << 8, offset 1 << 16.

    ``size``: bytes used of each device. Raises ValueError for a layout that there is not.
    """

    def __init__(self, number: int, chunk: int, disks: int, size: int) -> None:
        self.near, self.far = number & 0xFF, number >> 8 & 0xFF
        self.offset = bool(number & 0x10000)
        sets = number >> 17
        if not (0 < self.near <= disks and 0 < self.far <= disks and chunk > 0) or sets > 2:
            raise ValueError(f"no RAID 10 layout {number:#x} of {disks} devices")
        # How many devices the far copies go round among; 1 was a mistake that Linux still reads.
        self.set_size = (disks, disks // self.far, self.far * self.near)[sets]
        if not 0 < self.set_size <= disks:
            raise ValueError(f"no RAID 10 layout {number:#x} of {disks} devices")
        self._chunk, self._disks = chunk, disks
        chunks = size // chunk // self.far * disks // self.near
        self.size = chunks * chunk
        """Of the array."""
        rows = -(-chunks * self.near * self.far // disks)
        self._stride = chunk if self.offset else rows // self.far * chunk

    def copies(self, number: int) -> Iterator[tuple[int, int]]:
        """The slot and the place on its device of every copy of a chunk, the first one first."""
        row, slot = divmod(number * self.near, self._disks)
        at = row * (self.far if self.offset else 1) * self._chunk
        for _ in range(self.near):
            yield slot, at
            far, far_at = slot, at
            for _ in range(self.far - 1):
                far = self._next(far)
                far_at += self._stride
                yield far, far_at
            slot += 1
            if slot == self._disks:
                slot = 0
                at += self._chunk

    def _next(self, slot: int) -> int:
        """Where the next far copy of what lies on ``slot`` goes, within its set of devices."""
        left_over = self._disks % self.set_size
        last = (self._disks // self.set_size - 1) * self.set_size
        start = slot // self.set_size * self.set_size
        slot += self.near
        if left_over and slot > last:
            return last + (slot - last) % (self.set_size + left_over)
        return start + slot % self.set_size


class Raid10Source(Array):
    """RAID 10: the first copy whose device has the bytes gives them."""

    __slots__ = ("_chunk", "_layout")

    def __init__(self, devices: Devices, layout: Raid10Layout, chunk: int) -> None:
        super().__init__(devices, layout.size)
        self._layout = layout
        self._chunk = chunk

    def agrees(self) -> bool:
        """Whether the copies of the first chunks are alike, of so many that every device is asked."""
        length = min(COMPARED, self._chunk)
        for number in range(min(len(self._devices), self.size // self._chunk)):
            copies = set()
            for slot, at in self._layout.copies(number):
                device = self._devices[slot]
                if device is not None and at + length <= device.trusted:
                    copies.add(device.read(at, length))
            if len(copies) > 1:
                return False
        return True

    def _unit(self, offset: int) -> tuple[int, int]:
        start = offset // self._chunk * self._chunk
        return start, start + self._chunk

    def _is_gone(self, offset: int) -> bool:
        copies = self._layout.copies(offset // self._chunk)
        return all(self._devices[slot] is None for slot, _ in copies)

    def _pieces(self, offset: int, length: int) -> Iterator[Piece]:
        chunk, devices = self._chunk, self._devices
        while length:
            number, within = divmod(offset, chunk)
            part = min(chunk - within, length)
            end = within + part
            chosen = None
            for slot, at in self._layout.copies(number):
                device = devices[slot]
                if device is not None and at + end <= device.trusted:
                    chosen = slot, at
                    break
            slot, at = chosen or next(self._layout.copies(number))
            yield (slot, at + within, part, offset)
            offset += part
            length -= part

    def _instead(self, piece: Piece, why: ReadError) -> bytes:
        gone, _, length, offset = piece
        number, within = divmod(offset, self._chunk)
        for slot, at in self._layout.copies(number):
            if slot != gone:
                try:
                    return self._device(slot).read(at + within, length)
                except ReadError:
                    continue
        raise why
