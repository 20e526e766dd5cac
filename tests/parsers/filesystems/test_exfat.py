"""exFAT: checksum and backup region, root directory, state; and what is no exFAT."""

from pathlib import Path

import pytest
from hypothesis import given, settings

import pyimount
from pyimount.parsers.filesystems.exfat import FORMAT, VOLUME_LABEL
from tests.kept import ask, codes, counted, kept, put, recognise
from tests.strategies import edited, edits

SECTOR = 512
REGION = 12 * SECTOR
# Of the image "exfat": the FAT, the clusters, and the root directory in cluster 5.
FAT_AT = 2048 * SECTOR
CLUSTER = 4096
HEAP_AT = 4096 * SECTOR
ROOT = 5


def cluster_at(number: int) -> int:
    return HEAP_AT + (number - 2) * CLUSTER


def chained(image: bytearray, *numbers: int) -> None:
    """Make these clusters a chain in the FAT; the last leads to the first of ``numbers`` that is repeated."""
    for number, following in zip(numbers, (*numbers[1:], 0xFFFFFFFF), strict=True):
        put(image, FAT_AT + 4 * number, following.to_bytes(4, "little"))


def sum_of(region: bytes) -> bytes:
    """The last sector of a boot region, as the specification's figure 1 computes it."""
    total = 0
    for at, byte in enumerate(region[: 11 * SECTOR]):
        if at not in (106, 107, 112):
            total = ((total & 1) << 31) + (total >> 1) + byte & 0xFFFFFFFF
    return total.to_bytes(4, "little") * (SECTOR // 4)


def signed(image: bytearray) -> bytearray:
    """The image with the main boot region's checksum made right and the backup region wiped."""
    put(image, 11 * SECTOR, sum_of(bytes(image[:REGION])))
    put(image, REGION, bytes(REGION))
    return image


def label_entry(characters: int, name: bytes, kind: int = 0x83) -> bytes:
    values = {"EntryType": kind, "CharacterCount": characters, "VolumeLabel": name, "Reserved": bytes(8)}
    return bytes(VOLUME_LABEL.construct.build(values))


def test_the_checksum_is_verified() -> None:
    assert recognise(FORMAT, kept("exfat")).checked
    assert recognise(FORMAT, signed(kept("exfat"))).checked


@pytest.mark.parametrize("at", [64, 300, SECTOR + 7, 11 * SECTOR, REGION - 1])
def test_a_changed_byte_sends_to_the_backup(at: int) -> None:
    image = kept("exfat")
    image[at] ^= 0x10
    found = recognise(FORMAT, image)
    assert (found.offset, found.label, found.checked) == (REGION, "Новый том", True)
    assert codes(found) == ["backup-used"]


def test_with_no_checksum_that_holds_the_main_region_is_read() -> None:
    image = kept("exfat")
    image[300] ^= 0x10
    image[REGION + 300] ^= 0x10
    found = recognise(FORMAT, image)
    assert (found.offset, found.label, found.checked) == (0, "Новый том", False)
    assert codes(found) == ["bad-checksum"]


def test_flags_and_percentage_are_not_under_the_checksum() -> None:
    image = kept("exfat")
    put(image, 106, b"\x04\x00")
    put(image, 112, b"\x2a")
    found = recognise(FORMAT, image)
    assert (found.state, found.details["percent_in_use"], found.checked) == ("error", 42, True)
    put(image, 112, b"\xff")
    assert recognise(FORMAT, image).details["percent_in_use"] is None


@pytest.mark.parametrize(
    ("entry", "label"),
    [
        (label_entry(2, "ab".encode("utf-16-le").ljust(22, b"\0")), "ab"),
        (label_entry(1, "ab".encode("utf-16-le").ljust(22, b"\0")), "a"),
        (label_entry(255, "elevencharsX".encode("utf-16-le")[:22]), "elevenchars"),
        (label_entry(0, bytes(22)), None),
        (label_entry(2, "ab".encode("utf-16-le").ljust(22, b"\0"), kind=0x03), None),  # not in use
        (label_entry(1, b"\x00\xd8".ljust(22, b"\0")), "\\x00\\xd8"),
    ],
)
def test_labels(entry: bytes, label: str | None) -> None:
    image = kept("exfat")
    put(image, cluster_at(ROOT), entry)
    assert recognise(FORMAT, image).label == label


def test_a_label_in_the_second_cluster_of_the_root() -> None:
    image = kept("exfat")
    label = bytes(image[cluster_at(ROOT) : cluster_at(ROOT) + 32])
    chained(image, ROOT, 900)
    put(image, cluster_at(ROOT), b"\x85".ljust(32, b"\0") * (CLUSTER // 32))
    put(image, cluster_at(900), label)
    assert recognise(FORMAT, image).label == "Новый том"


def test_a_root_directory_that_bites_its_tail() -> None:
    image = kept("exfat")
    chained(image, ROOT, 900, ROOT)
    put(image, FAT_AT + 4 * ROOT, (900).to_bytes(4, "little"))
    for number in (ROOT, 900):
        put(image, cluster_at(number), b"\x85".ljust(32, b"\0") * (CLUSTER // 32))
    found = recognise(FORMAT, image)
    assert (found.label, codes(found)) == (None, ["loop"])


def test_the_guid_of_the_volume() -> None:
    image = kept("exfat")
    entry = b"\xa0\0\0\0\0\0" + bytes.fromhex("00112233445566778899aabbccddeeff") + bytes(10)
    put(image, cluster_at(ROOT), entry)
    assert recognise(FORMAT, image).details["volume_guid"] == "33221100-5544-7766-8899-aabbccddeeff"


def test_a_bitmap_in_pieces_is_followed_through_the_fat() -> None:
    image = kept("exfat-unlabelled")
    whole = counted(FORMAT, image)
    assert whole.free is not None
    fat = int.from_bytes(image[80:84], "little") * SECTOR
    heap, size = int.from_bytes(image[88:92], "little") * SECTOR, 1 << image[108] + image[109]
    # Its second cluster elsewhere, and something else where that was.
    after = image[fat + 4 * 3 : fat + 4 * 4]
    put(image, fat + 4 * 2, (900).to_bytes(4, "little"))
    put(image, fat + 4 * 900, bytes(after))
    moved = bytes(image[heap + size : heap + 2 * size])
    put(image, heap + 898 * size, moved)
    put(image, heap + size, b"\xff" * size)
    assert counted(FORMAT, image).free == whole.free
    put(image, fat + 4 * 2, (0xFFFFFFFF).to_bytes(4, "little"))
    astray = counted(FORMAT, image)
    assert astray.free is None
    assert "damaged" in str(astray.details["free_unknown"])


def test_bits_behind_the_last_cluster_do_not_count() -> None:
    image = kept("exfat")
    free = counted(FORMAT, image).details["free_clusters"]
    put(image, 92, (1535).to_bytes(4, "little"))  # ClusterCount: one less, the last of eight
    image[cluster_at(2) + 191] |= 0x80
    assert isinstance(free, int)
    assert counted(FORMAT, signed(image)).details["free_clusters"] == free - 1


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (0, b"\xeb\x58\x90"),  # JumpBoot
        (11, b"\0\x02"),  # MustBeZero
        (72, bytes(8)),  # VolumeLength
        (72, b"\xff" * 8),
        (80, b"\x17\0\0\0"),  # FatOffset
        (80, b"\xff\xff\xff\xff"),
        (84, bytes(4)),  # FatLength
        (84, b"\xff\xff\xff\xff"),
        (88, bytes(4)),  # ClusterHeapOffset
        (92, bytes(4)),  # ClusterCount
        (92, b"\xff\xff\xff\xff"),
        (96, b"\x01\0\0\0"),  # FirstClusterOfRootDirectory
        (96, b"\xff\xff\xff\xff"),
        (108, b"\x08"),  # BytesPerSectorShift
        (108, b"\x0d"),
        (108, b"\xff"),
        (109, b"\x11"),  # SectorsPerClusterShift
        (109, b"\xff"),
        (110, b"\0"),  # NumberOfFats
        (110, b"\x03"),
        (510, b"\0\0"),
    ],
)
def test_figures_that_cannot_be_true(offset: int, data: bytes) -> None:
    image = kept("exfat")
    put(image, offset, data)
    assert ask(FORMAT, signed(image)) is None


def test_a_boot_sector_is_no_partition_table(tmp_path: Path) -> None:
    image = kept("exfat")
    put(image, 446, bytes.fromhex("80010100 07feffff 01000000 00100000"))
    path = tmp_path / "volume.img"
    path.write_bytes(signed(image))
    scan = pyimount.detect(path)
    assert (scan.disks[0].pttype, [volume.type for volume in scan.volumes]) == (None, ["exfat"])


@pytest.mark.parametrize("end", [0, 11, 511, 512, REGION - 1, REGION, 2 * REGION, cluster_at(ROOT)])
def test_cut_off_anywhere(end: int) -> None:
    found = ask(FORMAT, kept("exfat")[:end])
    assert (found is None) == (end < SECTOR)
    if found:
        assert found.checked == (end >= REGION)
        assert codes(found) == ([] if end >= REGION else ["bad-checksum"]) + ["damaged"]


@given(edits(SECTOR), edits(SECTOR))
@settings(max_examples=60, deadline=None)
def test_any_edit_gives_an_answer(boot: list[tuple[int, bytes]], root: list[tuple[int, bytes]]) -> None:
    image = kept("exfat")[: HEAP_AT + 8 * CLUSTER]
    put(image, 0, edited(bytes(image[:SECTOR]), boot))
    at = cluster_at(ROOT)
    put(image, at, edited(bytes(image[at : at + SECTOR]), root))
    found = ask(FORMAT, signed(image))
    assert found is None or found.type == "exfat"
