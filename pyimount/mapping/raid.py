"""The bytes of RAID arrays, whoever describes them: linear, 0, 1, 4, 5, 6, 10 as Linux md lays them out.

Where chunks lie: drivers/md of the Linux kernel (linear.c, raid0.c, raid5.c: raid5_compute_sector, raid10.c:
__raid10_find_phys).

A request is cut into pieces, each on one device; small ones that follow each other there are read at once.
A device that is missing, that is not trusted there, or that fails is done without where the level allows it.
"""

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, groupby
from typing import NamedTuple, TypeAlias

from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source

_WINDOW = 1 << 20
_LARGEST_WINDOW = 8 << 20
_WORTH_A_READ = 16 << 10
"""Pieces of so many bytes and more are read one by one."""
_BANDS_BYTES = 16 << 20
_LEAST_BAND = 4096
"""Of a stripe no more is held at once, but so many bytes of each chunk."""


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

    def lost_around(self, at: int) -> tuple[int, int] | None:
        """The run of the data around a byte that is known not to be had; None where none is."""
        lost = self._source.lost_around(self._start + at)
        return (
            None if lost is None else (max(0, lost[0] - self._start), min(self.size, lost[1] - self._start))
        )


Devices: TypeAlias = Sequence[Device | None]
"""The devices of an array by slot, None for those that are missing."""


_Piece: TypeAlias = tuple[int, int, int, int]
"""Slot, place on its device, length, offset in the array: bytes of the array that lie on one device."""
_Bytes: TypeAlias = bytes | memoryview
_Band: TypeAlias = tuple[int, int, Mapping[int, memoryview]]
"""Of one stripe: from where to where on each device, and the data of each slot that has any."""


class _Array(Source):
    """An array: ``_pieces`` says where its bytes lie, ``_instead`` how to do without a device."""

    __slots__ = ("_devices", "_window")

    def __init__(self, devices: Devices, size: int, row: int = 1) -> None:
        self._devices = tuple(devices)
        self.size = size
        # Whole rows, so that none is reckoned back twice.
        self._window = min(max(1, _WINDOW // row) * row, _LARGEST_WINDOW)

    @abstractmethod
    def _pieces(self, offset: int, length: int) -> Iterator[_Piece]:
        """The places of these bytes, in order, without gaps."""

    def _instead(self, piece: _Piece, why: ReadError) -> _Bytes:  # noqa: ARG002
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
        found: list[_Bytes] = []
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

    def _at_once(self, pieces: Sequence[_Piece]) -> Sequence[_Bytes]:
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

    def _one_by_one(self, pieces: Iterable[_Piece]) -> Iterator[_Bytes]:
        for piece in pieces:
            try:
                yield self._device(piece[0]).read(piece[1], piece[2])
            except ReadError as error:
                yield self._instead(piece, error)


class LinearSource(_Array):
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

    def _pieces(self, offset: int, length: int) -> Iterator[_Piece]:
        slot = bisect_right(self._ends, offset)
        while length:
            part = min(length, self._ends[slot] - offset)
            if part:
                start = self._ends[slot - 1] if slot else 0
                yield (slot, offset - start, part, offset)
            offset += part
            length -= part
            slot += 1


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


class StripedSource(_Array):
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

    def _pieces(self, offset: int, length: int) -> Iterator[_Piece]:
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


class MirrorSource(_Array):
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

    def _pieces(self, offset: int, length: int) -> Iterator[_Piece]:
        while length:
            part = min(self._step - offset % self._step, length)
            yield (_first_with(self._devices, self._order, offset + part), offset, part, offset)
            offset += part
            length -= part

    def _instead(self, piece: _Piece, why: ReadError) -> bytes:
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


class Raid10Source(_Array):
    """RAID 10: the first copy whose device has the bytes gives them."""

    __slots__ = ("_chunk", "_layout")

    def __init__(self, devices: Devices, layout: Raid10Layout, chunk: int) -> None:
        super().__init__(devices, layout.size)
        self._layout = layout
        self._chunk = chunk

    def _unit(self, offset: int) -> tuple[int, int]:
        start = offset // self._chunk * self._chunk
        return start, start + self._chunk

    def _is_gone(self, offset: int) -> bool:
        copies = self._layout.copies(offset // self._chunk)
        return all(self._devices[slot] is None for slot, _ in copies)

    def _pieces(self, offset: int, length: int) -> Iterator[_Piece]:
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

    def _instead(self, piece: _Piece, why: ReadError) -> bytes:
        gone, _, length, offset = piece
        number, within = divmod(offset, self._chunk)
        for slot, at in self._layout.copies(number):
            if slot != gone:
                try:
                    return self._device(slot).read(at + within, length)
                except ReadError:
                    continue
        raise why


class Stripe(NamedTuple):
    """What each device holds of one stripe: ``data`` by number, ``p``, and ``q`` for RAID 6.

    ``powers``: for every slot with data, the power of 2 that it has in Q.
    """

    data: tuple[int, ...]
    p: int
    q: int | None
    powers: Mapping[int, int]


LEFT_ASYMMETRIC, RIGHT_ASYMMETRIC, LEFT_SYMMETRIC, RIGHT_SYMMETRIC, PARITY_0, PARITY_N = range(6)
DDF_ZERO_RESTART, DDF_N_RESTART, DDF_N_CONTINUE = 8, 9, 10
LEFT_ASYMMETRIC_6, RIGHT_ASYMMETRIC_6, LEFT_SYMMETRIC_6, RIGHT_SYMMETRIC_6, PARITY_0_6 = range(16, 21)
LAYOUTS = {
    4: (*range(6),),
    5: (*range(6),),
    6: (*range(6), *range(8, 11), *range(16, 21)),
}
"""The layouts that each level with parity has; they mean nothing to level 4."""


def stripe(level: int, layout: int, disks: int, number: int) -> Stripe:
    """What lies where in stripe ``number`` of an array of level 4, 5 or 6."""
    if level == 6:
        return _stripe_6(layout, disks, number)
    if level == 4:
        layout = PARITY_N
    p, first = _parity_and_first(layout, disks, number)
    data = _around(disks, first, (p,))
    return Stripe(data, p, None, {})


def _parity_and_first(layout: int, disks: int, number: int) -> tuple[int, int]:
    """Of one parity chunk: its slot, and the slot from which the data chunks go round."""
    if layout in (PARITY_0, PARITY_N):
        return (0, 1 % disks) if layout == PARITY_0 else (disks - 1, 0)
    turn = number % disks
    p = disks - 1 - turn if layout in (LEFT_ASYMMETRIC, LEFT_SYMMETRIC) else turn
    return p, (p + 1) % disks if layout in (LEFT_SYMMETRIC, RIGHT_SYMMETRIC) else 0


def _around(disks: int, first: int, without: Sequence[int]) -> tuple[int, ...]:
    """All slots but some, from ``first`` round to the one before it."""
    return tuple(slot for slot in (*range(first, disks), *range(first)) if slot not in without)


def _stripe_6(layout: int, disks: int, number: int) -> Stripe:
    by_slot = layout in (DDF_ZERO_RESTART, DDF_N_RESTART, DDF_N_CONTINUE)
    if layout >= LEFT_ASYMMETRIC_6:
        # RAID 5 over all devices but the last, which has Q.
        p, first = _parity_and_first(layout - LEFT_ASYMMETRIC_6, disks - 1, number)
        q = disks - 1
        data = _around(disks - 1, first, (p,))
    elif layout in (PARITY_0, PARITY_N):
        p, q = (0, 1) if layout == PARITY_0 else (disks - 2, disks - 1)
        data = _around(disks, 0, (p, q))
    elif layout == DDF_N_CONTINUE:
        p, _ = _parity_and_first(LEFT_SYMMETRIC, disks, number)
        q = (p - 1) % disks
        data = _around(disks, (p + 1) % disks, (p, q))
    else:
        rotation = {DDF_ZERO_RESTART: RIGHT_ASYMMETRIC, DDF_N_RESTART: LEFT_ASYMMETRIC}.get(layout, layout)
        p, _ = _parity_and_first(rotation, disks, number + (layout == DDF_N_RESTART))
        q = (p + 1) % disks
        symmetric = rotation in (LEFT_SYMMETRIC, RIGHT_SYMMETRIC)
        data = _around(disks, (q + 1) % disks if symmetric else 0, (p, q))
    if by_slot:
        powers = {slot: slot for slot in data}
    else:
        powers = {slot: power for power, slot in enumerate(_around(disks, (q + 1) % disks, (p, q)))}
    return Stripe(data, p, q, powers)


class ParitySource(_Array):
    """RAID 4, 5 and 6; what one device lacks, or with RAID 6 two, is reckoned from the others.

    That is done band by band: the same part of all chunks of a stripe.
    """

    __slots__ = ("_band_size", "_chunk", "_last", "_layout", "_level", "_stripe", "_width")

    _last: _Band

    def __init__(self, devices: Devices, *, level: int, layout: int, chunk: int, size: int) -> None:
        self._level, self._layout, self._chunk = level, layout, chunk
        self._width = len(devices) - (2 if level == 6 else 1)
        self._band_size = max(_LEAST_BAND, _BANDS_BYTES // len(devices))
        # The chunks next to a lost one are mostly asked for next, and had to be read for it.
        self._last = 0, 0, {}
        # They repeat: after as many stripes as there are devices at most.
        self._stripe = lru_cache(maxsize=256)(self._laid_out)
        super().__init__(devices, size, row=chunk * self._width)

    def _unit(self, offset: int) -> tuple[int, int]:
        start = offset // self._chunk * self._chunk
        return start, start + self._chunk

    def _is_gone(self, offset: int) -> bool:
        return super()._is_gone(offset) and sum(map(bool, self._devices)) < self._width

    def _laid_out(self, turn: int) -> Stripe:
        return stripe(self._level, self._layout, len(self._devices), turn)

    def _stripe_of(self, number: int) -> Stripe:
        disks = len(self._devices)
        return self._stripe(number % (disks - 1 if self._layout >= LEFT_ASYMMETRIC_6 else disks))

    def _pieces(self, offset: int, length: int) -> Iterator[_Piece]:
        chunk, width, most = self._chunk, self._width, self._band_size
        while length:
            number, within = divmod(offset, chunk)
            row, index = divmod(number, width)
            part = min(chunk - within, most - within % most, length)
            slot = self._stripe_of(row).data[index]
            yield (slot, row * chunk + within, part, offset)
            offset += part
            length -= part

    def _at_once(self, pieces: Sequence[_Piece]) -> Sequence[_Bytes]:
        start, end, _ = self._last
        if all(self._has(slot, at + length) and not start <= at < end for slot, at, length, _ in pieces):
            return super()._at_once(pieces)
        data: list[_Bytes] = []
        for _, group in groupby(pieces, self._band_of):
            data += self._in_band([*group])
        return data

    def _band_of(self, piece: _Piece) -> tuple[int, int]:
        """The stripe, and which part of its chunks."""
        row, within = divmod(piece[1], self._chunk)
        return row, within // self._band_size

    def _in_band(self, pieces: Sequence[_Piece]) -> Iterator[_Bytes]:
        """Pieces of one band, with as few reads as can be; raises ReadError when one of them fails."""
        start, end, band = self._last
        lost = [(at, at + length) for slot, at, length, _ in pieces if not self._has(slot, at + length)]
        if lost:
            start, end, band = self._rebuilt(min(at for at, _ in lost), max(stop for _, stop in lost))
        for slot, at, length, _ in pieces:
            if start <= at and at + length <= end:
                yield band[slot][at - start : at - start + length]
            else:
                yield self._device(slot).read(at, length)

    def _instead(self, piece: _Piece, why: ReadError) -> _Bytes:  # noqa: ARG002
        slot, at, length, _ = piece
        start, _, band = self._rebuilt(at, at + length)
        return band[slot][at - start : at - start + length]

    def _has(self, slot: int, end: int) -> bool:
        device = self._devices[slot]
        return device is not None and end <= device.trusted

    def _rebuilt(self, start: int, end: int) -> _Band:
        """The data from ``start`` to ``end`` of every device, which is in one band, or more of it.

        Raises ReadError when too many devices lack theirs.
        """
        last = self._last
        if last[0] <= start and end <= last[1]:
            return last
        laid_out = self._stripe_of(start // self._chunk)
        slots = [slot for slot in (*laid_out.data, laid_out.p, laid_out.q) if slot is not None]
        runs: dict[int, bytes] = {}
        failed = [slot for slot in slots if not self._has(slot, end)]
        why: ReadError | None = None
        # Where too many are missing, none is read.
        for slot in slots if len(slots) - len(failed) >= self._width else ():
            # P and Q only as far as they are needed.
            if slot in failed or len(runs) == self._width:
                continue
            try:
                runs[slot] = self._device(slot).read(start, end - start)
            except ReadError as error:
                failed.append(slot)
                why = error
        if len(runs) < self._width:
            names = ", ".join(map(str, sorted(failed)))
            # The same words for all of it: a report says each thing once.
            raise ReadError(
                f"members {names} of the array lack their bytes, and no others make up for it"
            ) from why
        band = {slot: memoryview(runs[slot]) for slot in laid_out.data if slot in runs}
        if failed:
            from pyimount.mapping.galois import lost_chunks

            lost = [slot for slot in laid_out.data if slot not in runs]
            known = {slot: runs[slot] for slot in band}
            p, q = runs.get(laid_out.p), None if laid_out.q is None else runs.get(laid_out.q)
            band |= lost_chunks(known, lost, p, q, laid_out.powers)
        self._last = start, end, band
        return self._last
