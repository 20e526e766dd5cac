"""ISO 9660: which descriptor tells what, how two names become one, and what is no ISO 9660."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyimount.parsers.filesystems.iso9660 import FORMAT, HIGH_SIERRA_DESCRIPTOR, VOLUME_DESCRIPTOR
from tests.kept import ask, codes, kept, put, recognise
from tests.strategies import edited, edits

SECTOR = 2048
PRIMARY = 16 * SECTOR
UNSET = b"0" * 16


def descriptor(kind: int, name: bytes, *, escape: bytes = b"", version: int = 1, **fields: object) -> bytes:
    """A volume descriptor as ECMA-119 has it, of a volume of 20 blocks."""
    zeros = {
        "volume_descriptor_type": kind,
        "standard_identifier": b"CD001",
        "volume_descriptor_version": version,
        "volume_flags": 0,
        "system_identifier": b"".ljust(32),
        "volume_identifier": name.ljust(32),
        "unused": bytes(8),
        "volume_space_size": 20,
        "volume_space_size_be": 20,
        "escape_sequences": escape.ljust(32, b"\0"),
        "volume_set_size": 1,
        "volume_set_size_be": 1,
        "volume_sequence_number": 1,
        "volume_sequence_number_be": 1,
        "logical_block_size": SECTOR,
        "logical_block_size_be": SECTOR,
        "path_table_size": bytes(8),
        "path_tables": bytes(16),
        "root_directory_record": bytes(34),
        "file_structure_version": 1,
    }
    texts = ("volume_set", "publisher", "data_preparer", "application")
    zeros |= {f"{name}_identifier": b"".ljust(128) for name in texts}
    zeros |= {f"{name}_file_identifier": b"".ljust(37) for name in ("copyright", "abstract", "bibliographic")}
    zeros |= {
        f"volume_{name}": UNSET + b"\0" for name in ("creation", "modification", "expiration", "effective")
    }
    return bytes(VOLUME_DESCRIPTOR.construct.build(zeros | fields)).ljust(SECTOR, b"\0")


def disc(*descriptors: bytes) -> bytearray:
    """A disc of nothing but its descriptors."""
    image = bytearray(40 * SECTOR)
    end = b"\xffCD001\x01".ljust(SECTOR, b"\0")
    put(image, PRIMARY, b"".join((*descriptors, end)))
    return image


@pytest.mark.parametrize(
    ("plain", "joliet", "label"),
    [
        (b"THISISALONGLABEL_OF_THE_PRIMARY", "ThisIsALongLabel", "ThisIsALongLabel_OF_THE_PRIMARY"),
        (b"NA_VE", "Naïve", "Naïve"),
        (b"nAME", "Name", "name"),
        (b"ONE", "Other", "Other"),
        (b"WITH;SEMICOLON", "With_Semicolon", "With;Semicolon"),
        (b"_", "😀", "😀"),
    ],
    ids=["completed", "replaced", "lower case kept", "different", "replaced in joliet", "beyond 16 bits"],
)
def test_the_label_is_made_of_both_names(plain: bytes, joliet: str, label: str) -> None:
    # The rule is libblkid's; its own test image "iso-unicode-long-label" has the second case.
    name = joliet.encode("utf-16-be")
    supplementary = descriptor(
        2, b"", escape=b"%/E", volume_identifier=name + b"\0 " * ((32 - len(name)) // 2)
    )
    found = recognise(FORMAT, disc(descriptor(1, plain), supplementary))
    assert (found.label, found.version, found.details["joliet"]) == (label, "Joliet Extension", 3)


def test_a_supplementary_descriptor_without_joliet_changes_nothing() -> None:
    found = recognise(FORMAT, disc(descriptor(1, b"PLAIN"), descriptor(2, b"OTHER", version=2)))
    assert (found.label, found.version) == ("PLAIN", None)
    assert found.details["enhanced_descriptor"] is True


@pytest.mark.parametrize(
    ("modified", "created", "uuid"),
    [
        (b"2020110723165100\x04", UNSET + b"\0", "2020-11-07-23-16-51-00"),
        (UNSET + b"\0", b"1999123123595999\0", "1999-12-31-23-59-59-99"),
        (UNSET + b"\0", UNSET + b"\0", None),
        (bytes(17), bytes(17), None),
    ],
)
def test_the_uuid_is_a_time(modified: bytes, created: bytes, uuid: str | None) -> None:
    image = disc(descriptor(1, b"X", volume_modification=modified, volume_creation=created))
    assert recognise(FORMAT, image).uuid == uuid


@pytest.mark.parametrize(
    ("date", "time"),
    [
        (b"2020110723165100\x04", "2020-11-07T22:16:51Z"),
        (b"2020110723165199\xf0", "2020-11-08T03:16:51.990000Z"),
        (b"2020130723165100\0", None),
        (b"0001010100000000\x34", None),
        (b"20201107 3165100\0", None),
    ],
    ids=["ahead of UTC", "behind UTC", "month 13", "before the calendar", "not digits"],
)
def test_times_are_told_in_utc(date: bytes, time: str | None) -> None:
    assert recognise(FORMAT, disc(descriptor(1, b"X", volume_modification=date))).modified == time


def test_an_identifier_that_names_a_file_is_none_of_the_publisher() -> None:
    image = disc(descriptor(1, b"X", publisher_identifier=b"_PUB.TXT".ljust(128)))
    found = recognise(FORMAT, image)
    assert (found.details["publisher_id"], found.details["publisher_file"]) == (None, "PUB.TXT")


def test_high_sierra() -> None:
    fields = {
        "volume_descriptor_type": 1,
        "standard_identifier": b"CDROM",
        "volume_descriptor_version": 1,
        "volume_flags": 0,
        "system_identifier": b"".ljust(32),
        "volume_identifier": b"SIERRA".ljust(32),
        "unused": bytes(8),
        "volume_space_size": 30,
        "volume_space_size_be": 30,
        "escape_sequences": bytes(32),
        "volume_set_size": 1,
        "volume_set_size_be": 1,
        "volume_sequence_number": 1,
        "volume_sequence_number_be": 1,
        "logical_block_size": SECTOR,
        "logical_block_size_be": SECTOR,
        "path_table_size": bytes(8),
        "path_tables": bytes(32),
        "root_directory_record": bytes(34),
        "file_structure_version": 1,
    }
    texts = ("volume_set", "publisher", "data_preparer", "application")
    fields |= {f"{name}_identifier": b"".ljust(128) for name in texts}
    fields |= {f"{name}_file_identifier": b"".ljust(32) for name in ("copyright", "abstract")}
    fields |= {f"volume_{name}": UNSET for name in ("modification", "expiration", "effective")}
    fields["volume_creation"] = b"1986052812000000"
    image = bytearray(40 * SECTOR)
    put(image, PRIMARY + 8, bytes(HIGH_SIERRA_DESCRIPTOR.construct.build(fields)))
    put(image, PRIMARY + SECTOR + 8, b"\xffCDROM\x01")
    found = recognise(FORMAT, image)
    assert (found.version, found.label, found.uuid) == ("High Sierra", "SIERRA", "1986-05-28-12-00-00-00")
    assert (found.created, found.fs_size) == ("1986-05-28T12:00:00", 30 * SECTOR)


def test_the_two_byte_orders_must_agree() -> None:
    image = disc(descriptor(1, b"X", volume_space_size_be=21))
    found = recognise(FORMAT, image)
    assert (found.fs_size, codes(found)) == (20 * SECTOR, ["damaged", "damaged"])
    assert "volume_space_size" in found.problems[0].message


@pytest.mark.parametrize(
    "wrong",
    [
        {"logical_block_size": 0, "logical_block_size_be": 0},
        {"logical_block_size": 4096, "logical_block_size_be": 4096},
        {"volume_space_size": 0, "volume_space_size_be": 0},
        {"version": 2},
        {"kind": 2},
    ],
)
def test_what_is_no_iso_9660(wrong: dict[str, int]) -> None:
    kind = wrong.pop("kind", 1)
    assert ask(FORMAT, disc(descriptor(kind, b"X", **wrong))) is None


def test_a_boot_catalog_with_a_wrong_checksum_is_told() -> None:
    image = kept("iso9660-el-torito")
    catalog = recognise(FORMAT, image).details["el_torito"]["catalog_sector"] * SECTOR
    put(image, catalog + 4, b"\x99")
    found = recognise(FORMAT, image)
    assert codes(found) == ["bad-checksum"]
    assert len(found.details["el_torito"]["entries"]) == 2
    put(image, catalog, bytes(32))
    found = recognise(FORMAT, image)
    assert codes(found) == ["damaged"]
    assert found.label == "BOOTABLE"


def test_a_boot_catalog_that_never_ends_is_left_at_its_sector() -> None:
    image = kept("iso9660-el-torito")
    catalog = recognise(FORMAT, image).details["el_torito"]["catalog_sector"] * SECTOR
    put(
        image,
        catalog + 64,
        (b"\x90\xef\xff\xff".ljust(32, b"\0") + b"\x88".ljust(32, b"\0") * 61)[: SECTOR - 64],
    )
    assert len(recognise(FORMAT, image).details["el_torito"]["entries"]) == 62


@pytest.mark.parametrize("sectors", [17, 18, 20, 24])
def test_a_disc_that_ends_early_keeps_its_name(sectors: int) -> None:
    found = recognise(FORMAT, kept("iso9660")[: sectors * SECTOR])
    assert found.label == "EVIDENCE"


def test_without_a_whole_primary_descriptor_it_is_none() -> None:
    assert ask(FORMAT, kept("iso9660")[: PRIMARY + 800]) is None


def test_a_continuation_area_that_lies_outside_is_told() -> None:
    image = kept("iso9660-joliet-rock-ridge")
    at = image.index(b"CE\x1c\x01")
    put(image, at + 4, b"\xff\xff\xff\x7f")
    found = recognise(FORMAT, image)
    assert (found.label, codes(found)) == ("ThisWonderfulLabelIsVeryVeryLong", ["damaged"])


_BASE = bytes(kept("iso9660-el-torito"))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from((PRIMARY, PRIMARY + SECTOR, 19 * SECTOR)), edits(2 * SECTOR, most=6))
def test_any_change_is_answered(start: int, changes: list[tuple[int, bytes]]) -> None:
    piece = edited(_BASE[start : start + 2 * SECTOR], changes)
    ask(FORMAT, _BASE[:start] + piece + _BASE[start + 2 * SECTOR :])
