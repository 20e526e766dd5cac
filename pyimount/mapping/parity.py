"""RAID 4, 5 and 6: where data and parity lie in each stripe, and the bytes of such an array.

Where chunks lie: drivers/md/raid5.c of the Linux kernel (raid5_compute_sector). What a device lacks is
reckoned from the others; the arithmetic for that is in ``galois.py``.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple, TypeAlias

from pyimount.mapping.raid import COMPARED, Array, Bytes, Devices, Piece
from pyimount.sources.errors import ReadError

_BANDS_BYTES = 16 << 20
_LEAST_BAND = 4096
"""Of a stripe no more is held at once, but so many bytes of each chunk."""
_Band: TypeAlias = tuple[int, int, Mapping[int, memoryview]]
"""Of one stripe: from where to where on each device, and the data of each slot that has any."""


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


class ParitySource(Array):
    """RAID 4, 5 and 6; what one device lacks, or with RAID 6 two, is reckoned from the others.

    That is done band by band: the same part of all chunks of a stripe.
    """

    __slots__ = (
        "_band_size",
        "_chunk",
        "_is_whole",
        "_last",
        "_layout",
        "_level",
        "_seen",
        "_stripe",
        "_width",
    )

    _last: _Band

    def __init__(self, devices: Devices, *, level: int, layout: int, chunk: int, size: int) -> None:
        self._level, self._layout, self._chunk = level, layout, chunk
        self._width = len(devices) - (2 if level == 6 else 1)
        self._band_size = max(_LEAST_BAND, _BANDS_BYTES // len(devices))
        # The chunks next to a lost one are mostly asked for next, and had to be read for it.
        self._last = 0, 0, {}
        # Those before it have just been read: of one band, by slot, where each begins and its bytes.
        self._seen: tuple[tuple[int, int], dict[int, tuple[int, bytes]]] = (-1, -1), {}
        self._is_whole = all(devices)
        # They repeat: after as many stripes as there are devices at most.
        self._stripe = lru_cache(maxsize=256)(self._laid_out)
        super().__init__(devices, size, row=chunk * self._width)

    def agrees(self) -> bool:
        """Whether the first stripe's parity is that of its data; where a device is missing nothing tells."""
        length = min(COMPARED, self._chunk)
        if any(device is None or device.trusted < length for device in self._devices):
            return True
        first = self._stripe_of(0)
        total = 0
        for slot in (*first.data, first.p):
            total ^= int.from_bytes(self._device(slot).read(0, length), "big")
        return total == 0

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

    def _pieces(self, offset: int, length: int) -> Iterator[Piece]:
        chunk, width, most = self._chunk, self._width, self._band_size
        while length:
            number, within = divmod(offset, chunk)
            row, index = divmod(number, width)
            part = min(chunk - within, most - within % most, length)
            slot = self._stripe_of(row).data[index]
            yield (slot, row * chunk + within, part, offset)
            offset += part
            length -= part

    def _at_once(self, pieces: Sequence[Piece]) -> Sequence[Bytes]:
        start, end, _ = self._last
        if all(self._has(slot, at + length) and not start <= at < end for slot, at, length, _ in pieces):
            found = super()._at_once(pieces)
            if not self._is_whole and len(pieces) == 1 and isinstance(found[0], bytes):
                self._note(pieces[0], found[0])
            return found
        data: list[Bytes] = []
        for _, group in groupby(pieces, self._band_of):
            data += self._in_band([*group])
        return data

    def _note(self, piece: Piece, data: bytes) -> None:
        """Keep what was read for a lost chunk of its band, which is mostly asked for next."""
        band = self._band_of(piece)
        noted, seen = self._seen
        self._seen = band, {**(seen if noted == band else {}), piece[0]: (piece[1], data)}

    def _seen_of(self, slot: int, start: int, end: int) -> bytes | None:
        """What was just read of a device, where these bytes are among it."""
        at, data = self._seen[1].get(slot, (0, b""))
        return data[start - at : end - at] if at <= start and end <= at + len(data) else None

    def _band_of(self, piece: Piece) -> tuple[int, int]:
        """The stripe, and which part of its chunks."""
        row, within = divmod(piece[1], self._chunk)
        return row, within // self._band_size

    def _in_band(self, pieces: Sequence[Piece]) -> Iterator[Bytes]:
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

    def _instead(self, piece: Piece, why: ReadError) -> Bytes:  # noqa: ARG002
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
                seen = self._seen_of(slot, start, end)
                runs[slot] = self._device(slot).read(start, end - start) if seen is None else seen
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
