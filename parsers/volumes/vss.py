"""Volume shadow copies, which Windows keeps inside the NTFS volume that they are copies of.

Not a format by itself: the volume stays NTFS. Layouts and the reading of them: libyal, libvshadow,
"Volume Shadow Snapshot (VSS) format"; the attributes are Microsoft's _VSS_VOLUME_SNAPSHOT_ATTRIBUTES.
https://github.com/libyal/libvshadow/blob/main/documentation/Volume%20Shadow%20Snapshot%20(VSS)%20format.asciidoc
"""

from collections.abc import Iterator
from typing import Any

from construct import Bytes, Const, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import guid_text, text
from pyimount.records import Record
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

IDENTIFIER = bytes.fromhex("6b87083876c1484eb7ae04046e6cc752")
HEADER_AT = 0x1E00
BLOCK = 0x4000

CATALOG, BLOCK_LIST, STORE_HEADER, BITMAP = 2, 3, 4, 6
"""Record types."""
ENTRY_COPY, ENTRY_STORE = 2, 3
"""Types of catalog entries; the others are no longer used."""

CATALOG_BLOCKS = 64
"""No longer catalog is read: Windows keeps 512 copies at most, which are 1024 entries of 126 in a block."""

VOLUME_HEADER = layout(
    lambda: Struct(
        "identifier" / Const(IDENTIFIER),
        "version" / Int32ul,
        "record_type" / Int32ul,
        "current_offset" / Int64ul,
        "unknown" / Bytes(16),
        "catalog_offset" / Int64ul,
        "maximum_size" / Int64ul,
        "volume_identifier" / Bytes(16),
        "store_volume_identifier" / Bytes(16),
    )
)
BLOCK_HEADER = layout(
    lambda: Struct(
        "identifier" / Const(IDENTIFIER),
        "version" / Int32ul,
        "record_type" / Int32ul,
        "relative_offset" / Int64ul,
        "current_offset" / Int64ul,
        "next_offset" / Int64ul,
        "information_size" / Int64ul,
        "unknown" / Bytes(72),
    )
)
COPY_ENTRY = layout(
    lambda: Struct(
        "type" / Int64ul,
        "volume_size" / Int64ul,
        "store_identifier" / Bytes(16),
        "sequence_number" / Int64ul,
        "flags" / Int64ul,
        "creation_time" / Int64ul,
        "unknown" / Bytes(72),
    )
)
STORE_ENTRY = layout(
    lambda: Struct(
        "type" / Int64ul,
        "block_list_offset" / Int64ul,
        "store_identifier" / Bytes(16),
        "store_header_offset" / Int64ul,
        "block_range_list_offset" / Int64ul,
        "bitmap_offset" / Int64ul,
        "file_reference" / Int64ul,
        "allocated_size" / Int64ul,
        "previous_bitmap_offset" / Int64ul,
        "unknown" / Bytes(48),
    )
)
STORE_INFORMATION = layout(
    lambda: Struct(
        "unknown" / Bytes(16),
        "copy_identifier" / Bytes(16),
        "copy_set_identifier" / Bytes(16),
        "type" / Int32ul,
        "provider" / Int32ul,
        "attributes" / Int32ul,
        "reserved" / Int32ul,
    )
)
STRING_SIZE = layout(lambda: Struct("size" / Int16ul))

ATTRIBUTES = {
    0x00000001: "persistent",
    0x00000002: "no-autorecovery",
    0x00000004: "client-accessible",
    0x00000008: "no-auto-release",
    0x00000010: "no-writers",
    0x00000020: "transportable",
    0x00000040: "not-surfaced",
    0x00000080: "not-transacted",
    0x00010000: "hardware-assisted",
    0x00020000: "differential",
    0x00040000: "plex",
    0x00080000: "imported",
    0x00100000: "exposed-locally",
    0x00200000: "exposed-remotely",
    0x00400000: "autorecover",
    0x00800000: "rollback-recovery",
    0x01000000: "delayed-postsnapshot",
    0x02000000: "txf-recovery",
}


class Information(Record, kw_only=True):
    """What a store says of the copy that it holds."""

    copy_identifier: str | None
    copy_set_identifier: str | None
    type: int
    provider: int
    attributes: int
    machine: str | None
    service_machine: str | None


class ShadowCopy(Record, kw_only=True):
    """A shadow copy as the catalog has it.

    ``copy``: its entry; ``store``: the entry of what keeps the differences, None when that is on
    another volume, whose catalog has it; ``information``: None when the store's header is unusable.
    """

    copy: Any
    store: Any = None
    information: Information | None = None


class Catalog(Record, kw_only=True):
    """The shadow copies of a volume, the oldest first.

    ``kept``: the entries of stores that are here for copies of another volume.
    ``damaged``: what is wrong with it, a sentence each.
    """

    header: Any
    copies: tuple[ShadowCopy, ...] = ()
    kept: tuple[Any, ...] = ()
    damaged: tuple[str, ...] = ()


def read_catalog(view: View) -> Catalog | None:
    """The catalog of the NTFS volume's shadow copies; None where it has none and never had.

    Where there are none, that is one read of 16 bytes. Raises ReadError and BudgetError as the source does.
    """
    if view.glance(HEADER_AT, len(IDENTIFIER)) != IDENTIFIER:
        return None
    try:
        header = read_struct(view, VOLUME_HEADER, HEADER_AT)
    except (NotThisFormat, ShortRead):
        return None
    if not header.catalog_offset:
        return Catalog(header=header)
    damaged: list[str] = []
    copies: dict[bytes, Any] = {}
    stores: dict[bytes, Any] = {}
    try:
        for entry in _entries(view, header.catalog_offset):
            kind = int.from_bytes(entry[:8], "little")
            if kind == ENTRY_COPY:
                copy = parse_struct(entry, COPY_ENTRY)
                copies[copy.store_identifier] = copy
            elif kind == ENTRY_STORE:
                store = parse_struct(entry, STORE_ENTRY)
                stores[store.store_identifier] = store
    except (NotThisFormat, ShortRead) as error:
        damaged.append(f"the catalog of shadow copies is damaged: {error}")
    found = [
        ShadowCopy(
            copy=copy,
            store=stores.get(identifier),
            information=information(view, stores[identifier]) if identifier in stores else None,
        )
        for identifier, copy in copies.items()
    ]
    found.sort(key=lambda one: (one.copy.creation_time, one.copy.sequence_number))
    kept = tuple(store for identifier, store in stores.items() if identifier not in copies)
    return Catalog(header=header, copies=tuple(found), kept=kept, damaged=tuple(damaged))


def chain(source: Source, offset: int, record_type: int, cap: int) -> Iterator[bytes]:
    """What the blocks of a chain hold behind their headers, from the block at ``offset`` on.

    Raises NotThisFormat for a block that is none of this type, for a chain of more than ``cap``
    blocks or one that bites its tail, ShortRead where the volume ends before.
    """
    seen: set[int] = set()
    while offset:
        if offset in seen or len(seen) == cap:
            why = f"leads back to {offset}" if offset in seen else f"has over {cap} blocks"
            raise NotThisFormat(f"the chain of blocks {why}")
        seen.add(offset)
        data = source.read_at(offset, BLOCK)
        if len(data) != BLOCK:
            raise ShortRead(f"{BLOCK} bytes at {offset}, of {source.size}")
        header = parse_struct(data, BLOCK_HEADER)
        if header.record_type != record_type:
            raise NotThisFormat(f"the block at {offset} is of type {header.record_type}, not {record_type}")
        yield data[BLOCK_HEADER.size :]
        offset = header.next_offset


def _entries(view: View, offset: int) -> Iterator[bytes]:
    size = COPY_ENTRY.size
    for data in chain(view.source, offset, CATALOG, CATALOG_BLOCKS):
        for at in range(0, len(data) - size + 1, size):
            yield data[at : at + size]


def information(view: View, store: Any) -> Information | None:
    """What the header of a store says, None when it is unusable; ``view``: the volume that it is on."""
    try:
        header = read_struct(view, BLOCK_HEADER, store.store_header_offset)
        if header.record_type != STORE_HEADER:
            return None
        at = store.store_header_offset + BLOCK_HEADER.size
        said = read_struct(view, STORE_INFORMATION, at)
        machine, at = _string(view, at + STORE_INFORMATION.size)
        service_machine, at = _string(view, at)
    except (NotThisFormat, ShortRead):
        return None
    return Information(
        copy_identifier=guid_text(said.copy_identifier),
        copy_set_identifier=guid_text(said.copy_set_identifier),
        type=said.type,
        provider=said.provider,
        attributes=said.attributes,
        machine=machine,
        service_machine=service_machine,
    )


def _string(view: View, at: int) -> tuple[str | None, int]:
    size = read_struct(view, STRING_SIZE, at).size
    at += STRING_SIZE.size
    if size > BLOCK:
        raise NotThisFormat(f"a string of {size} bytes")
    return text(view.read(at, size), "utf-16-le"), at + size
