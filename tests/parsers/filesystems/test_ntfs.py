"""NTFS: what stands in the boot sector and in $Volume, from which copy, and what is no NTFS."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyimount
from pyimount.formats import NotThisFormat
from pyimount.parsers.filesystems.ntfs import BOOT_SECTOR, FORMAT
from pyimount.parsers.filesystems.ntfs_records import FILE_RECORD, attributes, data_size, place
from pyimount.parsers.filesystems.ntfs_state import PAGE, RESTART_AREA, RESTART_PAGE
from tests.kept import ask, codes, kept, put, recognise
from tests.strategies import edited, edits

MFT_AT = 16384
MIRROR_AT = 2093056
RECORD = 1024
VOLUME = 3 * RECORD


def attribute(kind: int, value: bytes) -> bytes:
    """A resident attribute."""
    length = (24 + len(value) + 7) // 8 * 8
    header = struct.pack("<II8xIH2x", kind, length, len(value), 24)
    return bytes((header + value).ljust(length, b"\0"))


def record(*attributes: bytes) -> bytes:
    """A FILE record with its fixups, as it lies on the disk."""
    body = b"".join(attributes) + b"\xff\xff\xff\xff\0\0\0\0"
    header = FILE_RECORD.pack(b"FILE", 48, RECORD // 512 + 1, 56, 1, 56 + len(body))
    raw = bytearray((header.ljust(56, b"\0") + body).ljust(RECORD, b"\0"))
    put(raw, 48, b"\x07\x07")
    for number in range(1, 3):
        end = number * 512
        put(raw, 48 + 2 * number, bytes(raw[end - 2 : end]))
        put(raw, end - 2, b"\x07\x07")
    return bytes(raw)


def test_the_fixups_are_put_back() -> None:
    image = kept("ntfs")
    label = "".join(chr(0x4E00 + number) for number in range(64))
    filler = attribute(0x50, bytes(384))
    # The name's bytes run over the end of the first 512, where a fixup stands in their place.
    assert 56 + len(filler) + 24 < 510 < 56 + len(filler) + 24 + 2 * len(label)
    put(image, MFT_AT + VOLUME, record(filler, attribute(0x60, label.encode("utf-16-le"))))
    assert recognise(FORMAT, image).label == label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        (b"", None),
        ("a b ".encode("utf-16-le"), "a b"),
        (b"a\0\x00\xd8b\0", "a\\x00\\xd8b"),  # half of a pair
    ],
)
def test_labels(name: bytes, label: str | None) -> None:
    image = kept("ntfs")
    put(image, MFT_AT + VOLUME, record(attribute(0x60, name)))
    found = recognise(FORMAT, image)
    assert (found.label, found.state, codes(found)) == (label, None, [])


def test_the_flags_of_the_volume() -> None:
    image = kept("ntfs")
    put(image, MFT_AT + VOLUME, record(attribute(0x70, bytes(8) + b"\x01\x02\x01\x80")))
    found = recognise(FORMAT, image)
    assert found.state == "dirty"
    assert found.details["ntfs_version"] == "1.2"
    assert found.details["volume_flags"] == ["dirty", "modified_by_chkdsk"]


def test_attributes_that_are_too_short() -> None:
    image = kept("ntfs")
    short = record(attribute(0x10, bytes(8)), attribute(0x40, bytes(8)), attribute(0x70, bytes(11)))
    put(image, MFT_AT + VOLUME, short)
    found = recognise(FORMAT, image)
    assert (found.uuid is not None, found.created, found.state) == (True, None, None)


def test_a_torn_record_is_read_from_the_mirror() -> None:
    image = kept("ntfs")
    put(image, MFT_AT + VOLUME + 510, b"\xee\xee")
    found = recognise(FORMAT, image)
    assert (found.label, codes(found)) == ("Büro", ["backup-used"])


def test_without_the_mft_the_boot_sector_still_tells_what_it_is() -> None:
    image = kept("ntfs")
    whole = recognise(FORMAT, image)
    put(image, MFT_AT, bytes(4 * RECORD))
    put(image, MIRROR_AT, bytes(4 * RECORD))
    found = recognise(FORMAT, image)
    assert (found.uuid, found.fs_size, found.label) == (whole.uuid, whole.fs_size, None)
    assert (found.state, codes(found)) == (None, ["damaged"])


@pytest.mark.parametrize("length", [0, 1, 8, 21, 0xFFFFFFFF, 1024])
def test_an_attribute_of_a_wrong_length_ends_the_walk(length: int) -> None:
    image = kept("ntfs")
    for at in (MFT_AT, MIRROR_AT):
        put(image, at + VOLUME + 56 + 4, length.to_bytes(4, "little"))
    found = recognise(FORMAT, image)
    assert (found.label, codes(found)) == (None, ["damaged"])


def test_a_value_that_reaches_out_of_its_attribute() -> None:
    image = kept("ntfs")
    for at in (MFT_AT, MIRROR_AT):
        put(image, at + VOLUME + 56 + 16, b"\xff\xff\xff\xff")
    assert codes(recognise(FORMAT, image)) == ["damaged"]


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (11, b"\0\0"),  # bytes_per_sector
        (11, b"\0\x03"),
        (11, b"\0\x80"),
        (13, b"\0"),  # sectors_per_cluster
        (13, b"\x03"),
        (13, b"\xc8"),
        (13, b"\xf0"),  # 2**16 sectors
        (14, b"\x01"),  # reserved_sectors
        (16, b"\x02"),  # fats
        (22, b"\x01"),  # sectors_per_fat
        (32, b"\x01"),  # large_sectors
        (40, bytes(8)),  # number_of_sectors
        (40, b"\xff" * 8),
        (48, bytes(8)),  # mft_lcn
        (48, b"\xff" * 8),
        (56, b"\xff" * 8),  # mftmirr_lcn
        (64, b"\0"),  # clusters_per_mft_record
        (64, b"\x40"),
        (64, b"\xe1"),  # 2**31 bytes
        (64, b"\x80"),
    ],
)
def test_figures_that_cannot_be_true(offset: int, data: bytes) -> None:
    image = kept("ntfs")
    put(image, offset, data)
    put(image, len(image) - 512, bytes(512))
    assert ask(FORMAT, image) is None


@pytest.mark.parametrize(("stored", "sectors"), [(128, 128), (0xF9, 128), (0xF8, 256), (0xF4, 4096)])
def test_clusters_of_many_sectors(stored: int, sectors: int) -> None:
    # From 256 sectors on their number is stored as a negative power of two: Windows 10, up to 2 MiB.
    image = kept("ntfs")
    put(image, 13, bytes((stored,)))
    put(image, 48, (1).to_bytes(8, "little") * 2)
    assert recognise(FORMAT, image).details["cluster_size"] == sectors * 512


def test_a_record_may_be_counted_in_clusters() -> None:
    image = kept("ntfs")
    put(image, 64, b"\x02\0\0\0\x01")
    details = recognise(FORMAT, image).details
    assert (details["mft_record_size"], details["index_record_size"]) == (8192, 4096)


def test_a_damaged_boot_sector_gives_way_to_the_copy() -> None:
    image = kept("ntfs")
    put(image, 11, bytes(2))
    found = recognise(FORMAT, image)
    assert (found.offset, found.label, codes(found)) == (len(image) - 512, "Büro", ["backup-used"])


def test_the_copy_in_the_middle() -> None:
    # Windows NT before 4.0 kept it there.
    image = kept("ntfs")
    middle = len(image) // 2
    put(image, middle, bytes(image[:512]))
    put(image, len(image) - 512, bytes(512))
    put(image, 11, bytes(2))
    found = recognise(FORMAT, image)
    assert (found.offset, codes(found)) == (middle, ["backup-used"])


def test_a_copy_must_be_where_it_says() -> None:
    image = kept("ntfs-backup")
    put(image, len(image) - 512 + 40, (len(image) // 512 - 65).to_bytes(8, "little"))
    assert ask(FORMAT, image) is None


def test_the_copy_at_the_end_of_a_disk_is_of_a_volume_that_starts_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1 << 20) + kept("ntfs-backup"))
    (volume,) = pyimount.detect(path).volumes
    assert volume.type is None


def test_a_boot_sector_is_no_partition_table(tmp_path: Path) -> None:
    image = kept("ntfs")
    put(image, 446, bytes.fromhex("80010100 07feffff 01000000 00100000"))
    path = tmp_path / "volume.img"
    path.write_bytes(image)
    scan = pyimount.detect(path)
    assert scan.disks[0].pttype is None
    assert [volume.type for volume in scan.volumes] == ["ntfs"]


def test_the_boot_sector_alone() -> None:
    found = recognise(FORMAT, kept("ntfs")[:512])
    assert (found.type, found.fs_size, codes(found)) == ("ntfs", 4 * 1024 * 1024 - 512, ["damaged"])


@pytest.mark.parametrize("end", [0, 3, 11, 511, 512, 513, MFT_AT, MFT_AT + RECORD, MFT_AT + 4 * RECORD - 1])
def test_cut_off_anywhere(end: int) -> None:
    found = ask(FORMAT, kept("ntfs")[:end])
    assert (found is None) == (end < 512)
    assert found is None or codes(found) == ["damaged"]


def test_the_last_sector_is_not_missed() -> None:
    # number_of_sectors leaves the backup boot sector out, and blkid's FSSIZE with it.
    image = kept("ntfs")
    assert recognise(FORMAT, image[:-512]).fs_size == len(image) - 512


@given(boot=edits(BOOT_SECTOR.size), volume=edits(RECORD))
@settings(max_examples=60, deadline=None)
def test_any_edit_gives_an_answer(boot: list[tuple[int, bytes]], volume: list[tuple[int, bytes]]) -> None:
    image = kept("ntfs")[: MFT_AT + 4 * RECORD]
    put(image, 0, edited(bytes(image[:512]), boot))
    at = MFT_AT + VOLUME
    put(image, at, edited(bytes(image[at : at + RECORD]), volume))
    found = ask(FORMAT, image)
    assert found is None or found.type == "ntfs"


@given(st.integers(0, 1 << 64), st.integers(0, 255), st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_no_geometry_makes_it_read_much(lcn: int, per_cluster: int, per_record: int) -> None:
    image = kept("ntfs")[: 64 * 1024]
    put(image, 48, (lcn & (1 << 64) - 1).to_bytes(8, "little"))
    put(image, 13, bytes((per_cluster,)))
    put(image, 64, bytes((per_record,)))
    found = ask(FORMAT, image)
    assert found is None or int(str(found.details["mft_record_size"])) <= 64 << 10


LOG_AT = 2 * RECORD


def restart_page(lsn: int, *, client: int = 0, flags: int = 0, magic: bytes = b"RSTR") -> bytes:
    """A restart page of the log; all its fixups are zeros."""
    page = RESTART_PAGE.pack(magic, 30, PAGE, 48, 1, 1)
    raw = page.ljust(48, b"\0") + RESTART_AREA.pack(lsn, client, flags)
    return raw.ljust(PAGE, b"\0")


def with_log(*pages: bytes) -> bytearray:
    """An image whose log begins with these pages."""
    image = kept("ntfs")
    log = attributes(bytes(image[MFT_AT + LOG_AT :][:RECORD]), RECORD, frozenset((0x80,)))[0x80]
    put(image, place((log,), 0, 4096), b"".join(pages))
    return image


@pytest.mark.parametrize(
    ("pages", "state", "lsn"),
    [
        ((restart_page(5), restart_page(4)), "dirty", 5),
        ((restart_page(5, client=0xFFFF), restart_page(4)), "clean", 5),
        ((restart_page(5, flags=2), restart_page(6)), "dirty", 6),
        ((restart_page(5), restart_page(6, flags=2)), "clean", 6),
        ((restart_page(5, magic=b"CHKD"), b"\xff" * PAGE), "dirty", 5),
        ((b"JUNK".ljust(PAGE, b"\0"), restart_page(4)), "dirty", 4),
    ],
)
def test_the_newer_restart_page_says_whether_the_log_is_clean(
    pages: tuple[bytes, ...], state: str, lsn: int
) -> None:
    found = recognise(FORMAT, with_log(*pages))
    log = found.details["log"]
    assert isinstance(log, dict)
    assert (found.state, log["current_lsn"], log["version"]) == (state, lsn, "1.1")


def test_a_log_that_cannot_be_read_says_nothing() -> None:
    torn = bytearray(restart_page(5))
    torn[510] = 1
    for page in (bytes(PAGE), bytes(torn)):
        found = recognise(FORMAT, with_log(page, page))
        assert (found.state, found.details["log"]) == ("clean", None)


@pytest.mark.parametrize(
    ("head", "state", "signature"),
    [
        (b"hibr", "hibernated", "hibr"),
        (b"HIBR", "hibernated", "HIBR"),
        (b"HORM", "hibernated", "HORM"),
        (b"wake", "clean", "wake"),
        (bytes(4), "clean", None),
    ],
)
def test_what_the_hibernation_file_begins_with(head: bytes, state: str, signature: str | None) -> None:
    image = kept("ntfs-hibernated")
    put(image, image.index(b"hibr"), head)
    found = recognise(FORMAT, image)
    sleep = found.details["hiberfil"]
    assert isinstance(sleep, dict)
    assert (found.state, sleep["signature"]) == (state, signature)


def test_a_directory_that_leads_astray_says_nothing_of_hibernation() -> None:
    whole = kept("ntfs-hibernated")
    blocks = [at for at in range(0, len(whole), 4096) if whole[at : at + 4] == b"INDX"]
    assert blocks
    for at in blocks:
        put(whole, at + 16, (77).to_bytes(8, "little"))  # that it is another block
    found = recognise(FORMAT, whole)
    assert (found.state, found.details["hiberfil"]) == ("clean", None)


@given(edits(1 << 20, most=8))
@settings(max_examples=60, deadline=None)
def test_a_damaged_directory_or_log_loses_no_identity(changes: list[tuple[int, bytes]]) -> None:
    image = edited(bytes(kept("ntfs-hibernated")), changes)
    ask(FORMAT, image)


def test_runs_of_clusters() -> None:
    head = struct.pack("<II", 0x80, 80) + b"\1" + bytes(7)
    sizes = struct.pack("<QQH6xQQQ", 0, 9, 64, 40960, 40000, 40000)
    runs = bytes.fromhex("21 02 1000 11 03 fe 01 02 21 03 0001 00")
    data = (head + sizes).ljust(64, b"\0") + runs
    assert [place((data,), at * 4096 + 5, 4096) for at in (0, 1, 2, 4)] == [
        at * 4096 + 5 for at in (16, 17, 14, 16)
    ]
    with pytest.raises(NotThisFormat, match="sparse"):
        place((data,), 5 * 4096, 4096)
    assert place((data,), 7 * 4096, 4096) == (14 + 256) * 4096
    for wrong in (10 * 4096, 1 << 60):
        with pytest.raises(NotThisFormat):
            place((data,), wrong, 4096)
    assert data_size(data) == 40000
    for damaged in (data[:50], head.replace(b"\1", b"\0") + data[16:], data[:64] + b"\x99" + bytes(17)):
        with pytest.raises(NotThisFormat):
            place((damaged,), 0, 4096)
