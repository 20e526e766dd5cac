"""The bytes of a volume as they were when a shadow copy of it was made.

What is read from where: libyal, libvshadow, "Volume Shadow Snapshot (VSS) format", "Reading snapshot
data". dissect.volume has a reader too, which its authors call unfinished: it fails on a store without
a previous bitmap and follows chains of blocks forever; so this is ours, and vshadowmount the second
opinion.

A copy's store keeps the blocks of 16 KiB that have been written over since, up to the next copy;
what it does not keep is what the next copy has, and behind the newest, what the volume has now.
The stores may be on another volume ("vssadmin add shadowstorage /on="): then the copies are in the catalog
of the one volume and their stores, under the same identifiers, in that of the other, where their places are
too (libvshadow's issue 13); what a forwarder points to stays in the volume itself.
"""

import struct
from collections.abc import Sequence
from threading import Lock
from typing import Any

from pyimount.formats import Details, Json, NotThisFormat
from pyimount.formats.notation import filetime, flag_names, guid_text
from pyimount.mapping.assembly import Assembly, Mapped
from pyimount.parsers.volumes.vss import (
    ATTRIBUTES,
    BITMAP,
    BLOCK,
    BLOCK_HEADER,
    BLOCK_LIST,
    ShadowCopy,
    chain,
    information,
    read_catalog,
)
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

KIND = "vss"

FORWARDER, OVERLAY, NOT_USED = 1, 2, 4
"""Flags of a block descriptor."""
SECTOR = 512

LIST_BLOCKS = 8192
"""So many blocks of descriptors are read of one store: they describe 64 GiB of differences."""
BITMAP_CAP = 128 << 20
"""So many bytes of a bitmap are read: they describe 16 TiB."""

_DESCRIPTOR = struct.Struct("<QQQII")
"""original_offset, relative_offset, offset, flags, allocation_bitmap: a million of them in a store."""


class StoreVolume(Record):
    """A volume that keeps stores of another's shadow copies: its layer's id and index, and its bytes."""

    id: int
    index: str
    source: Source


def shadow_copies(source: Source, member: int, others: Sequence[StoreVolume] = ()) -> Assembly:
    """The shadow copies of the NTFS volume in ``source``, the oldest first; ``member`` is its layer's id.

    ``others``: volumes that may keep their stores. Of a volume without any copies this costs one small read.
    Raises ReadError and BudgetError as the source does.
    """
    catalog = read_catalog(View(source))
    if catalog is None:
        return Assembly()
    copies = [_with_store(copy, others) for copy in catalog.copies]
    keeping = [*dict.fromkeys(other.id for _, other in copies if other is not None)]
    inputs = {number: place for place, number in enumerate((member, *keeping))}
    volumes = []
    for number, (copy, other) in enumerate(copies):
        problems = _problems(copy, source.size)
        volumes.append(
            Mapped(
                kind=KIND,
                members=(member, *keeping),
                parameters={
                    "size": min(copy.copy.volume_size, source.size),
                    "stores": [_store(one, inputs[on.id if on else member]) for one, on in copies[number:]],
                },
                size=copy.copy.volume_size,
                name=f"vss{number + 1}",
                uuid=copy.information.copy_identifier if copy.information else None,
                details=_details(copy) | ({} if other is None else {"store_on": other.index}),
                readable=copy.store is not None,
                problems=problems,
            )
        )
    return Assembly(
        volumes=tuple(volumes),
        complete=not catalog.damaged,
        problems=tuple(Problem(Code.DAMAGED, words) for words in catalog.damaged),
        wants=tuple(_name(copy.copy) for copy, _ in copies if copy.store is None),
        keeps=tuple(_name(store) for store in catalog.kept),
    )


def _name(entry: Any) -> str:
    """By what the entries of a shadow copy and of its store find each other."""
    return guid_text(entry.store_identifier) or ""


def _with_store(copy: ShadowCopy, others: Sequence[StoreVolume]) -> tuple[ShadowCopy, StoreVolume | None]:
    """A shadow copy with the store that one of the other volumes keeps for it, and that volume.

    Where several keep it, as of a volume that was imaged twice, none is taken.
    """
    if copy.store is not None:
        return copy, None
    found = []
    for other in others:
        view = View(other.source)
        catalog = read_catalog(view)
        found += [
            (copy.replaced(store=store, information=information(view, store)), other)
            for store in (catalog.kept if catalog is not None else ())
            if store.store_identifier == copy.copy.store_identifier
        ]
    return found[0] if len(found) == 1 else (copy, None)


def _store(copy: ShadowCopy, on: int) -> Json:
    """A store as the recipe has it; ``on``: which of the inputs it is on."""
    if copy.store is None:
        return None
    return {
        **({"on": on} if on else {}),
        "block_list": copy.store.block_list_offset,
        "bitmap": copy.store.bitmap_offset,
        "previous_bitmap": copy.store.previous_bitmap_offset,
    }


def _problems(copy: ShadowCopy, size: int) -> tuple[Problem, ...]:
    if copy.store is None:
        message = "the store of this shadow copy is on another volume, which is not here, or here twice"
        return (Problem(Code.MISSING_MEMBER, message),)
    problems = []
    if copy.information is None:
        message = f"no store header at {copy.store.store_header_offset}"
        problems.append(Problem(Code.DAMAGED, message))
    if copy.copy.volume_size > size:
        message = f"the shadow copy is of a volume of {copy.copy.volume_size} bytes; here are {size}"
        problems.append(Problem(Code.TRUNCATED, message))
    return tuple(problems)


def _details(copy: ShadowCopy) -> dict[str, Json]:
    said = copy.information
    details: dict[str, Json] = {
        "created": filetime(copy.copy.creation_time),
        "store_guid": guid_text(copy.copy.store_identifier),
        "sequence": copy.copy.sequence_number,
    }
    if said is not None:
        details |= {
            "copy_id": said.copy_identifier,
            "copy_set_id": said.copy_set_identifier,
            "context": said.type,
            "provider": said.provider,
            "attributes": [*flag_names(said.attributes, ATTRIBUTES, "attribute")],
            "machine": said.machine,
            "service_machine": said.service_machine,
        }
    if copy.store is not None:
        details["allocated_size"] = copy.store.allocated_size
    return details


def open_mapped(parameters: Details, inputs: Sequence[Source]) -> Source:
    """The bytes of a shadow copy, from its recipe.

    ``inputs``: the volume as it is now, then those that keep its stores. Raises OpenError when the recipe is
    none of these.
    """
    size, stores = parameters.get("size"), parameters.get("stores")
    if not isinstance(size, int) or not isinstance(stores, list) or not inputs or not stores:
        raise OpenError("the recipe of a shadow copy is damaged")
    return ShadowSource(inputs[0], size, [_store_of(inputs, store, size) for store in stores])


def _store_of(inputs: Sequence[Source], said: Json, size: int) -> "Store":
    if said is None:
        raise OpenError("the store of this or of a later shadow copy is on another volume")
    if not isinstance(said, dict):
        raise OpenError("the recipe of a shadow copy is damaged")
    block_list, bitmap, previous = said.get("block_list"), said.get("bitmap"), said.get("previous_bitmap")
    on = said.get("on", 0)
    if not (isinstance(block_list, int) and isinstance(bitmap, int) and isinstance(previous, int)):
        raise OpenError("the recipe of a shadow copy is damaged")
    if not (isinstance(on, int) and 0 <= on < len(inputs)):
        raise OpenError("the recipe of a shadow copy is damaged")
    return Store(inputs[on], block_list, bitmap, previous, size)


class Blocks(Record):
    """A store's blocks by their number: where they are, those overlaid, those that others forward to.

    ``placed``: offset in the volume, and whether that is another block's place (a forwarder).
    ``overlaid``: offset, and a bit for each of the 32 sectors that it has.
    """

    placed: dict[int, tuple[int, bool]]
    overlaid: dict[int, tuple[int, int]]
    forwarded: frozenset[int]


class Store:
    """The differences that one shadow copy keeps; read when they are first needed.

    ``volume``: what they are on.
    """

    def __init__(self, volume: Source, block_list: int, bitmap: int, previous_bitmap: int, size: int) -> None:
        self.volume = volume
        self._block_list = block_list
        self._bitmaps = (bitmap, previous_bitmap)
        self._bits = min(-(-size // BLOCK // 8) + 1, BITMAP_CAP)
        self._blocks: Blocks | None = None
        self._unused: tuple[bytes, ...] | None = None
        self._lock = Lock()

    @property
    def blocks(self) -> Blocks:
        """The blocks that it keeps; raises ReadError where that cannot be told."""
        with self._lock:
            if self._blocks is None:
                self._blocks = _blocks(self._chained(self._block_list, BLOCK_LIST, LIST_BLOCKS))
            return self._blocks

    def unused(self, number: int) -> bool:
        """Whether the block was in no use when the copy was made, so that nobody kept it."""
        with self._lock:
            if self._unused is None:
                cap = -(-self._bits // (BLOCK - BLOCK_HEADER.size))
                self._unused = tuple(
                    b"".join(self._chained(offset, BITMAP, cap)) for offset in self._bitmaps if offset
                )
        place, bit = divmod(number, 8)
        return all(place < len(bits) and bits[place] >> bit & 1 for bits in self._unused)

    def _chained(self, offset: int, record_type: int, cap: int) -> list[bytes]:
        try:
            return list(chain(self.volume, offset, record_type, cap))
        except (NotThisFormat, ShortRead) as error:
            raise ReadError(f"the store of a shadow copy is damaged: {error}") from error


def _blocks(lists: Sequence[bytes]) -> Blocks:
    """What a list of block descriptors means: a later descriptor changes what an earlier one says."""
    placed: dict[int, tuple[int, bool]] = {}
    overlaid: dict[int, tuple[int, int]] = {}
    reverse: dict[int, int] = {}
    for data in lists:
        whole = len(data) - len(data) % _DESCRIPTOR.size
        for original, relative, offset, flags, bitmap in _DESCRIPTOR.iter_unpack(data[:whole]):
            if not (original or relative or offset or flags):
                break
            if flags & NOT_USED:
                continue
            number = original // BLOCK
            if flags & OVERLAY:
                kept, bits = overlaid.get(number, (offset, 0))
                overlaid[number] = kept, bits | bitmap
                continue
            # A block that another was forwarded to: what it kept is the other's.
            number = reverse.pop(number, number)
            if flags & FORWARDER:
                if number == relative // BLOCK:
                    continue
                reverse[relative // BLOCK] = number
                placed[number] = relative, True
            else:
                placed[number] = offset, False
    return Blocks(placed, overlaid, frozenset(reverse))


class ShadowSource(Source):
    """A shadow copy. ``stores``: its own first, then those of the later copies in their order."""

    __slots__ = ("_stores", "_volume")

    def __init__(self, volume: Source, size: int, stores: Sequence[Store]) -> None:
        self.size = size
        self._volume = volume
        self._stores = tuple(stores)

    def _read(self, offset: int, length: int) -> bytes:
        blocks = [store.blocks for store in self._stores]
        pieces: list[bytes] = []
        # Neighbours in the copy that are neighbours in the volume too are read at once.
        volume: Source | None = None
        start = run = 0
        while length:
            on, place, left = self._place(blocks, offset)
            taken = min(left, length)
            if run and on is volume and (on is None or place == start + run):
                run += taken
            else:
                pieces.append(_piece(volume, start, run))
                volume, start, run = on, place, taken
            offset += taken
            length -= taken
        pieces.append(_piece(volume, start, run))
        return b"".join(pieces)

    def _place(self, blocks: Sequence[Blocks], offset: int) -> tuple[Source | None, int, int]:
        """The volume that the bytes at ``offset`` are on, None for nowhere; where; how many from there on."""
        number, inside = divmod(offset, BLOCK)
        left = BLOCK - inside
        overlay = blocks[0].overlaid.get(number)
        if overlay is not None:
            sector = inside // SECTOR
            bits = overlay[1] >> sector
            here = bits & 1
            count = 1
            while sector + count < BLOCK // SECTOR and bits >> count & 1 == here:
                count += 1
            left = count * SECTOR - inside % SECTOR
            if here:
                return self._stores[0].volume, overlay[0] + inside, left
        for one, store in zip(blocks, self._stores, strict=True):
            kept = one.placed.get(number)
            if kept is None:
                continue
            place, forwarder = kept
            if not forwarder:
                return store.volume, place + inside, left
            if one is blocks[-1]:
                return self._volume, place + inside, left
            number, inside = divmod(place + inside, BLOCK)
            left = min(left, BLOCK - inside)
        # Only the newest copy minds its bitmaps: libvshadow found that Windows does so.
        if len(blocks) == 1 and number not in blocks[0].forwarded and self._stores[0].unused(number):
            return None, 0, left
        return self._volume, number * BLOCK + inside, left


def _piece(volume: Source | None, start: int, length: int) -> bytes:
    """Bytes of a volume, zeros of none."""
    if volume is None or not length:
        return bytes(length)
    data = volume.read_at(start, length)
    if len(data) != length:
        raise ReadError(f"the volume ends before {start + length}, where a shadow copy has bytes")
    return data
