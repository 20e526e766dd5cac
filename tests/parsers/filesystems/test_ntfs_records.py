"""FILE records whose attributes have moved to extension records, which an attribute list names."""

import struct

import pytest

from pyimount.formats import NotThisFormat
from pyimount.parsers.filesystems.ntfs_records import (
    AT_ATTRIBUTE_LIST,
    AT_DATA,
    FILE_RECORD,
    LIST_ENTRY,
    Volume,
    place,
    record,
)
from pyimount.parsers.filesystems.ntfs_state import hibernation

RECORD, CLUSTER = 1024, 4096
MFT_AT = 16 * CLUSTER
ROOT, FILE, EXTENSION, LATER = 5, 30, 40, 41
NAME = "hiberfil.sys"


def attribute(kind: int, value: bytes, *, name: str = "") -> bytes:
    """A resident attribute."""
    head = 24 + 2 * len(name)
    length = -(-(head + len(value)) // 8) * 8
    raw = struct.pack("<IIBBHHHIH2x", kind, length, 0, len(name), 24, 0, 0, len(value), head)
    return (raw + name.encode("utf-16-le") + value).ljust(length, b"\0")


def runs_of(kind: int, lowest: int, clusters: int, runs: str, size: int) -> bytes:
    """A non-resident attribute with these mapping pairs."""
    head = struct.pack("<IIBBHHH", kind, 80, 1, 0, 64, 0, 0)
    sizes = struct.pack("<QQH6xQQQ", lowest, lowest + clusters - 1, 64, clusters * CLUSTER, size, size)
    return (head + sizes).ljust(64, b"\0") + bytes.fromhex(runs).ljust(16, b"\0")


def file_record(*attributes: bytes) -> bytes:
    """A FILE record with its fixups."""
    body = b"".join(attributes) + b"\xff\xff\xff\xff" + bytes(4)
    head = FILE_RECORD.pack(b"FILE", 48, RECORD // 512 + 1, 56, 1, 56 + len(body))
    raw = bytearray(head.ljust(56, b"\0") + body).ljust(RECORD, b"\0")
    raw[48:50] = b"\x07\x00"
    for number in range(1, RECORD // 512 + 1):
        end = number * 512
        raw[48 + 2 * number : 50 + 2 * number] = raw[end - 2 : end]
        raw[end - 2 : end] = b"\x07\x00"
    return bytes(raw)


def listed(*entries: tuple[int, int, int]) -> bytes:
    """An attribute list: type, lowest VCN and record of each."""
    return b"".join(
        LIST_ENTRY.pack(kind, 32, 0, lowest, number | 1 << 48).ljust(32, b"\0")
        for kind, lowest, number in entries
    )


def index(number: int) -> bytes:
    """The value of an index root with one name."""
    key = bytes(0x40) + bytes((len(NAME), 1)) + NAME.encode("utf-16-le")
    length = -(-(16 + len(key)) // 8) * 8
    entries = struct.pack("<QHHH2x", number, length, len(key), 0) + key.ljust(length - 16, b"\0")
    entries += struct.pack("<QHHH2x", 0, 16, 0, 2)
    return (
        struct.pack("<IIII", 0x30, 1, 4096, 1) + struct.pack("<IIII", 16, 16 + len(entries), 512, 0) + entries
    )


def volume(records: dict[int, bytes], head: bytes = b"HIBR", at: int = 90) -> Volume:
    image = bytearray(256 * CLUSTER)
    for number, raw in records.items():
        image[MFT_AT + number * RECORD : MFT_AT + (number + 1) * RECORD] = raw
    image[at * CLUSTER : at * CLUSTER + len(head)] = head
    mft = runs_of(AT_DATA, 0, 16, "21 10 1000", 16 * CLUSTER)
    return Volume(lambda offset, length: bytes(image[offset : offset + length]), CLUSTER, RECORD, (mft,))


def moved(*, resident: bool = True) -> dict[int, bytes]:
    """The root directory, and a hibernation file whose data are in two extension records."""
    entries = listed((0x10, 0, FILE), (0x30, 0, FILE), (AT_DATA, 0, EXTENSION), (AT_DATA, 2, LATER))
    attribute_list = (
        attribute(AT_ATTRIBUTE_LIST, entries)
        if resident
        else runs_of(AT_ATTRIBUTE_LIST, 0, 1, "11 01 64", len(entries))
    )
    return {
        ROOT: file_record(attribute(0x90, index(FILE), name="$I30")),
        FILE: file_record(attribute_list, attribute(AT_DATA, b"a stream of its own", name="other")),
        EXTENSION: file_record(runs_of(AT_DATA, 0, 2, "11 02 5a", 4 * CLUSTER)),
        LATER: file_record(runs_of(AT_DATA, 2, 2, "11 02 78", 0)),
    }


def test_a_hibernation_file_whose_data_are_in_extension_records() -> None:
    assert hibernation(volume(moved())) == {"size": 4 * CLUSTER, "signature": "HIBR", "hibernated": True}
    assert hibernation(volume(moved(), b"wake")) == {
        "size": 4 * CLUSTER,
        "signature": "wake",
        "hibernated": False,
    }


def test_all_pieces_of_an_attribute_are_found_in_their_order() -> None:
    data = record(volume(moved()), FILE, frozenset((AT_DATA,)))[AT_DATA]
    assert [place(data, at * CLUSTER, CLUSTER) // CLUSTER for at in range(4)] == [90, 91, 120, 121]
    with pytest.raises(NotThisFormat):
        place(data, 4 * CLUSTER, CLUSTER)


def test_an_attribute_list_that_is_not_resident() -> None:
    records = moved(resident=False)
    entries = listed((0x10, 0, FILE), (AT_DATA, 0, EXTENSION), (AT_DATA, 2, LATER))
    assert hibernation(volume(records, b"HIBR")) is None  # there is nothing where it should be
    image = volume(records, b"HIBR")
    head = {100 * CLUSTER: entries}

    def read(offset: int, length: int) -> bytes:
        if offset in head:
            return head[offset].ljust(length, b"\0")[:length]
        return image.read(offset, length)

    found = hibernation(image.replaced(read=read))
    assert found is not None
    assert found["hibernated"]


def test_a_list_that_names_itself_or_nothing_ends() -> None:
    for entries in (
        listed((AT_DATA, 0, FILE)),
        listed((AT_DATA, 0, 63)),
        listed(*[(AT_DATA, at, 63) for at in range(90)]),
    ):
        records = moved() | {FILE: file_record(attribute(AT_ATTRIBUTE_LIST, entries[:640]))}
        assert hibernation(volume(records)) is None
