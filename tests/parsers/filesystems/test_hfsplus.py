"""HFS Plus: header and catalog, the wrapper, the journal, and what is none."""

import pytest
from hypothesis import given, settings

from pyimount.parsers.filesystems.hfsplus import (
    CATALOG_KEY,
    FORK_DATA,
    FORMAT,
    HEADER_RECORD,
    JOURNAL_INFO,
    NODE_DESCRIPTOR,
    VOLUME_HEADER,
)
from pyimount.parsers.filesystems.macintosh import MASTER_DIRECTORY_BLOCK
from tests.kept import ask, codes, kept, put, recognise
from tests.strategies import edited, edits

PLACE = 1024
BLOCK, BLOCKS, NODE = 4096, 64, 4096
CATALOG, JOURNAL_BLOCK, JOURNAL = 8, 20, 21
JOURNALED = 0x2000


def fork(*runs: tuple[int, int]) -> bytes:
    """A fork of these runs of blocks."""
    numbers = [number for run in runs for number in run]
    values = {
        "logicalSize": sum(count for _, count in runs) * BLOCK,
        "clumpSize": 0,
        "totalBlocks": sum(count for _, count in runs),
        "extents": numbers + [0] * (16 - len(numbers)),
    }
    return bytes(FORK_DATA.construct.build(values))


def header(**fields: object) -> bytes:
    """A volume header of TN1150, of a clean volume with a catalog of two nodes."""
    zeros = dict.fromkeys((part.name for part in VOLUME_HEADER.construct.subcons), 0)
    zeros |= {name: fork() for name in ("allocationFile", "extentsFile", "attributesFile", "startupFile")}
    zeros |= {
        "signature": b"H+",
        "version": 4,
        "attributes": 0x100,
        "lastMountedVersion": b"10.0",
        "blockSize": BLOCK,
        "totalBlocks": BLOCKS,
        "freeBlocks": 10,
        "createDate": 3_000_000_000,
        "modifyDate": 3_000_000_000,
        "finderInfo": bytes(32),
        "catalogFile": fork((CATALOG, 4)),
    }
    return bytes(VOLUME_HEADER.construct.build(zeros | fields))


def volume(
    label: str = "Volume", *, leaf: int = 1, tree: dict[str, int] | None = None, **fields: object
) -> bytearray:
    """A whole volume: header, catalog, alternate header."""
    image = bytearray(BLOCKS * BLOCK)
    for at in (PLACE, len(image) - PLACE):
        put(image, at, header(**fields))
    zeros = dict.fromkeys((part.name for part in HEADER_RECORD.construct.subcons), 0)
    record = (
        zeros
        | {"leafRecords": 2, "firstLeafNode": leaf, "nodeSize": NODE, "keyCompareType": 0xCF}
        | (tree or {})
    )
    node = {"fLink": 0, "bLink": 0, "kind": 1, "height": 0, "numRecords": 3, "reserved": 0}
    put(image, CATALOG * BLOCK, NODE_DESCRIPTOR.construct.build(node) + HEADER_RECORD.construct.build(record))
    if leaf < 4:
        name = label.encode("utf-16-be")
        key = {"keyLength": 6 + len(name), "parentID": 1, "nodeName_length": len(name) // 2}
        node |= {"kind": -1, "height": 1, "numRecords": 2}
        first = NODE_DESCRIPTOR.construct.build(node) + CATALOG_KEY.construct.build(key) + name
        put(image, CATALOG * BLOCK + leaf * NODE, first)
    return image


def test_what_the_header_tells() -> None:
    found = recognise(FORMAT, volume("Données", finderInfo=bytes(24) + bytes.fromhex("0123456789abcdef")))
    assert (found.label, found.block_size, found.fs_size, found.free) == (
        "Données",
        BLOCK,
        BLOCKS * BLOCK,
        10 * BLOCK,
    )
    # What blkid 2.38 shows for this identifier.
    assert found.uuid == "de53349f-21ad-3c08-9044-ae10cd9587d3"
    # Seconds since 1904; the creation date is in local time.
    assert (found.created, found.modified) == ("1999-01-24T05:20:00", "1999-01-24T05:20:00Z")
    assert (found.state, found.details["variant"], codes(found)) == ("clean", "HFS+", [])


def test_hfsx_tells_whether_case_counts() -> None:
    found = recognise(FORMAT, volume(signature=b"HX", version=5, tree={"keyCompareType": 0xBC}))
    assert (found.type, found.details["variant"], found.details["case_sensitive"]) == (
        "hfsplus",
        "HFSX",
        True,
    )


def test_the_catalog_in_pieces() -> None:
    image = volume("Pieces", leaf=3)
    moved = bytes(image[(CATALOG + 3) * BLOCK : (CATALOG + 4) * BLOCK])
    put(image, (CATALOG + 3) * BLOCK, bytes(BLOCK))
    put(image, 40 * BLOCK, moved)
    put(image, PLACE, header(catalogFile=fork((CATALOG, 3), (40, 1))))
    assert recognise(FORMAT, image).label == "Pieces"


@pytest.mark.parametrize(
    "fields",
    [
        {"catalogFile": fork()},
        {"catalogFile": fork((BLOCKS + 5, 4))},
        {"catalogFile": fork((0xFFFFFFFF, 0xFFFFFFFF))},
        {"catalogFile": fork((30, 4))},
        {"leaf": 0xFFFFFFFF},
        {"tree": {"nodeSize": 0}},
        {"tree": {"leafRecords": 0}},
    ],
)
def test_a_damaged_catalog_costs_the_label_only(fields: dict[str, object]) -> None:
    found = recognise(FORMAT, volume(**fields))  # type: ignore[arg-type]
    assert (found.label, found.fs_size, codes(found)) == (None, BLOCKS * BLOCK, ["damaged"])


def test_the_root_folders_name_must_be_the_first() -> None:
    image = volume()
    put(image, (CATALOG + 1) * BLOCK + NODE_DESCRIPTOR.size + 2, (2).to_bytes(4, "big"))
    found = recognise(FORMAT, image)
    assert (found.label, codes(found)) == (None, ["damaged"])


def journaled(start: int, end: int, order: str, flags: int = 1) -> bytearray:
    """A volume with a journal."""
    image = volume(attributes=0x100 | JOURNALED, journalInfoBlock=JOURNAL_BLOCK)
    info = {"flags": flags, "device_signature": bytes(32), "offset": JOURNAL * BLOCK, "size": 8 * BLOCK}
    put(image, JOURNAL_BLOCK * BLOCK, JOURNAL_INFO.construct.build(info))
    magic = b"JNLx" if order == "big" else b"xLNJ"
    numbers = b"".join(number.to_bytes(8, order) for number in (start, end))
    put(image, JOURNAL * BLOCK, magic + (0x12345678).to_bytes(4, order) + numbers)
    return image


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize(("end", "needed"), [(512, False), (1024, True)])
def test_the_journal(order: str, end: int, needed: bool) -> None:
    journal = recognise(FORMAT, journaled(512, end, order)).details["journal"]
    assert journal == {
        "external": False, "offset": JOURNAL * BLOCK, "size": 8 * BLOCK, "needs_recovery": needed
    }  # fmt: skip


def test_a_journal_elsewhere_is_not_looked_for() -> None:
    found = recognise(FORMAT, journaled(1, 2, "big", flags=2))
    assert (found.details["journal"]["external"], codes(found)) == (True, [])


def test_a_journal_beyond_the_volume_is_told() -> None:
    found = recognise(FORMAT, volume(attributes=JOURNALED, journalInfoBlock=0xFFFFFFFF))
    assert (found.label, codes(found)) == ("Volume", ["damaged"])


def wrapped(inner: bytes | bytearray, **fields: object) -> bytearray:
    """The volume in an HFS wrapper, behind 16 sectors and two allocation blocks of it."""
    start = 16 * 512 + 2 * BLOCK
    image = bytearray(start + len(inner) + 4 * 512)
    zeros: dict[str, object] = dict.fromkeys(
        (part.name for part in MASTER_DIRECTORY_BLOCK.construct.subcons), 0
    )
    values = {
        "drSigWord": b"BD",
        "drVBMSt": 3,
        "drNmAlBlks": BLOCKS + 2,
        "drAlBlkSiz": BLOCK,
        "drAlBlSt": 16,
        "drVN_length": 7,
        "drVN": b"Wrapper".ljust(27, b"\0"),
        "drFndrInfo": bytes(32),
        "drEmbedSigWord": b"H+",
        "drEmbedStart": 2,
        "drEmbedCount": len(inner) // BLOCK,
    }
    block = MASTER_DIRECTORY_BLOCK.construct.build(zeros | values | fields)
    for at in (PLACE, len(image) - PLACE):
        put(image, at, block)
    put(image, start, bytes(inner))
    return image


def test_the_volume_in_a_wrapper() -> None:
    found = recognise(FORMAT, wrapped(volume("Inside")))
    assert (found.label, found.fs_size, found.offset) == (
        "Inside",
        BLOCKS * BLOCK,
        16 * 512 + 2 * BLOCK + PLACE,
    )
    assert found.details["wrapper"] == {
        "label": "Wrapper", "offset": 16 * 512 + 2 * BLOCK, "size": BLOCKS * BLOCK
    }  # fmt: skip


def test_in_a_wrapper_the_alternate_header_stands_in_too() -> None:
    inner = volume("Inside")
    put(inner, PLACE, bytes(512))
    found = recognise(FORMAT, wrapped(inner))
    assert (found.label, codes(found)) == ("Inside", ["backup-used"])


@pytest.mark.parametrize(
    "fields",
    [{"drEmbedSigWord": b"\0\0"}, {"drAlBlkSiz": 0}, {"drEmbedStart": 0xFFFF}, {"drAlBlkSiz": 0xFFFFFE00}],
)
def test_a_wrapper_of_nothing_is_none(fields: dict[str, object]) -> None:
    assert ask(FORMAT, wrapped(volume(), **fields)) is None


@pytest.mark.parametrize(
    "fields",
    [{"version": 3}, {"blockSize": 256}, {"blockSize": 4097}, {"totalBlocks": 0}, {"freeBlocks": BLOCKS + 1}],
)
def test_what_is_no_hfs_plus(fields: dict[str, object]) -> None:
    assert ask(FORMAT, volume(**fields)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1024, 1025, PLACE + 511])
def test_an_image_that_ends_before_its_header_is_none(size: int) -> None:
    assert ask(FORMAT, kept("hfsplus")[:size]) is None


_BASE = bytes(journaled(1, 2, "big"))


@settings(max_examples=60, deadline=None)
@given(edits(512))
def test_any_change_is_answered(changes: list[tuple[int, bytes]]) -> None:
    ask(FORMAT, _BASE[:PLACE] + edited(_BASE[PLACE : PLACE + 512], changes) + _BASE[PLACE + 512 :])
