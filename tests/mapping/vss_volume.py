"""NTFS volumes with shadow copies whose contents are known, built from the declarations."""

from collections.abc import Sequence
from typing import Any

from fixtures.recipes.bitlocker import guid
from pyimount.formats.layouts import Layout
from pyimount.mapping.vss import FORWARDER, NOT_USED, OVERLAY
from pyimount.parsers.volumes.vss import (
    BITMAP,
    BLOCK,
    BLOCK_HEADER,
    BLOCK_LIST,
    CATALOG,
    COPY_ENTRY,
    HEADER_AT,
    IDENTIFIER,
    STORE_ENTRY,
    STORE_HEADER,
    STORE_INFORMATION,
    VOLUME_HEADER,
)
from pyimount.records import Record

BLOCKS = 96
SIZE = BLOCKS * BLOCK
CATALOG_AT = 2 * BLOCK
STORES_AT = 8
"""The first block of the first store; each has ten: header, list, bitmaps, and room for data."""
EACH = 10
CREATED = 132042000000000000


class Descriptor(Record):
    """A block descriptor, in blocks."""

    original: int
    relative: int
    offset: int
    flags: int = 0
    bitmap: int = 0


class StoreSpec(Record):
    """What a store says. ``unused``, ``previous``: blocks whose bits are set in its bitmaps."""

    descriptors: Sequence[Descriptor] = ()
    unused: Sequence[int] = ()
    previous: Sequence[int] | None = None
    lists: int = 1


def place(store: int, number: int = 0) -> int:
    """The block where the ``number``-th block of data of a store is."""
    return STORES_AT + store * EACH + 5 + number


def made(layout: Layout, **fields: Any) -> bytes:
    return bytes(layout.construct.build(fields))


def header(kind: int, at: int, following: int = 0, information: int = 0) -> bytes:
    return made(
        BLOCK_HEADER, identifier=IDENTIFIER, version=1, record_type=kind, relative_offset=0,
        current_offset=at, next_offset=following, information_size=information, unknown=bytes(72),
    )  # fmt: skip


def store_guid(number: int) -> bytes:
    return guid(f"12e5a13{number}-8722-11e9-9178-525400123456")


def bits(numbers: Sequence[int]) -> bytes:
    bitmap = bytearray(BLOCK - BLOCK_HEADER.size)
    for number in numbers:
        bitmap[number // 8] |= 1 << number % 8
    return bytes(bitmap)


def build(stores: Sequence[StoreSpec]) -> bytearray:
    """The volume: block n is full of n, but for the metadata."""
    image = bytearray(b"".join(bytes([number]) * BLOCK for number in range(BLOCKS)))

    def put(at: int, data: bytes) -> None:
        image[at : at + len(data)] = data

    first = bytearray(image[:512])
    first[:13] = b"\xebR\x90NTFS    \x00\x02"
    first[13] = 8
    first[0x28:0x30] = (SIZE // 512 - 1).to_bytes(8, "little")
    first[510:] = b"\x55\xaa"
    put(0, bytes(first))
    put(
        HEADER_AT,
        made(
            VOLUME_HEADER, identifier=IDENTIFIER, version=1, record_type=1, current_offset=HEADER_AT,
            unknown=bytes(16), catalog_offset=CATALOG_AT, maximum_size=0, volume_identifier=bytes(16),
            store_volume_identifier=bytes(16),
        ),
    )  # fmt: skip
    entries = b""
    for number, store in enumerate(stores):
        base = (STORES_AT + number * EACH) * BLOCK
        entries += made(
            COPY_ENTRY, type=2, volume_size=SIZE, store_identifier=store_guid(number),
            sequence_number=number + 1, flags=0x40, creation_time=CREATED + number * 600_000_000,
            unknown=bytes(72),
        )  # fmt: skip
        entries += made(
            STORE_ENTRY, type=3, block_list_offset=base + BLOCK, store_identifier=store_guid(number),
            store_header_offset=base, block_range_list_offset=0, bitmap_offset=base + 2 * BLOCK,
            file_reference=0, allocated_size=EACH * BLOCK,
            previous_bitmap_offset=0 if store.previous is None else base + 3 * BLOCK, unknown=bytes(48),
        )  # fmt: skip
        information = made(
            STORE_INFORMATION, unknown=bytes(16),
            copy_identifier=guid(f"f0168553-348c-4d9b-9e18-80c05921680{number}"),
            copy_set_identifier=guid("5e5d08f8-deb9-45e5-88b3-741013575af9"), type=0xD, provider=1,
            attributes=0x2001D, reserved=0,
        )  # fmt: skip
        for machine in ("lab", "lab.example"):
            words = machine.encode("utf-16-le")
            information += len(words).to_bytes(2, "little") + words
        put(
            base, (header(STORE_HEADER, base, information=len(information)) + information).ljust(BLOCK, b"\0")
        )
        listed = [
            b"".join(
                (one.original * BLOCK).to_bytes(8, "little")
                + (one.relative * BLOCK).to_bytes(8, "little")
                + (one.offset * BLOCK).to_bytes(8, "little")
                + one.flags.to_bytes(4, "little")
                + one.bitmap.to_bytes(4, "little")
                for one in store.descriptors[part :: store.lists]
            )
            for part in range(store.lists)
        ]
        for part, data in enumerate(listed):
            at, following = base + (BLOCK, 4 * BLOCK)[part], base + 4 * BLOCK if part + 1 < len(listed) else 0
            put(at, (header(BLOCK_LIST, at, following) + data).ljust(BLOCK, b"\0"))
        for at, numbers in ((base + 2 * BLOCK, store.unused), (base + 3 * BLOCK, store.previous or ())):
            put(at, header(BITMAP, at) + bits(numbers))
    put(CATALOG_AT, (header(CATALOG, CATALOG_AT) + entries).ljust(BLOCK, b"\0"))
    return image


__all__ = ["BLOCKS", "FORWARDER", "NOT_USED", "OVERLAY", "SIZE", "Descriptor", "StoreSpec", "build", "place"]
