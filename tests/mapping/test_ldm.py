"""Dynamic disks: every kind of volume, whole and with disks missing, and databases that are wrong."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

import pyimount
from fixtures.recipes import ldm as recipes
from fixtures.recipes.ldm import (
    DATA_SECTORS,
    DATA_START,
    DATABASE,
    SECTOR,
    component_record,
    database,
    mbr_disk,
    partition_record,
    private_header,
    simple,
    volume_record,
)
from pyimount.formats import NotThisFormat
from pyimount.mapping import ldm
from pyimount.mapping.assembly import Mapped
from pyimount.parsers.volumes.ldm import FORMAT
from pyimount.parsers.volumes.ldm_database import CONCATENATED, RAID5, STRIPED
from pyimount.parsers.volumes.ldm_header import COPIES, MBR_SECTOR
from pyimount.problems import Code
from pyimount.sources.errors import ReadError
from pyimount.sources.view import ShortRead
from tests.kept import kept, put
from tests.mapping.ldm_disks import KINDS, SIZE, group, raid5, spanned
from tests.mapping.volume_members import assembled, codes, content, members_of, opened
from tests.parsers.partitions.building import Part, gpt_disk
from tests.strategies import Edit, edited, edits


def volume_of(images: list[bytearray]) -> tuple[bool, Mapped, bytes | None]:
    assembly, members = assembled(FORMAT, ldm, images)
    (volume,) = assembly.volumes
    try:
        return assembly.complete, volume, opened(ldm, volume, members).read_at(0, volume.size)
    except ReadError:
        return assembly.complete, volume, None


def test_a_volume_larger_than_its_parts_is_as_large_as_can_be_read() -> None:
    records = simple(64)
    records["volume"] = [volume_record(5, b"Volume1", 256, 1)]
    data = content(64 * SECTOR)
    _, volume, read = volume_of([mbr_disk(1, records, bytes(65 * SECTOR) + data)])
    assert (volume.size, read) == (64 * SECTOR, data)
    assert [problem.code for problem in volume.problems] == [Code.DAMAGED]
    assert "should have 131072 bytes; its parts have 32768" in volume.problems[0].message


@pytest.mark.parametrize("kind", KINDS)
def test_whole_and_with_every_disk_missing(kind: str) -> None:
    images, data, spare = KINDS[kind]()
    complete, volume, read = volume_of(images)
    assert (complete, volume.name, volume.details["volume_type"]) == (True, "Volume1", kind)
    assert read == data
    assert not volume.problems
    for count in (1, 2):
        for lost in combinations(range(len(images)), count):
            left = [image for at, image in enumerate(images) if at not in lost]
            if left:
                complete, volume, read = volume_of(left)
                assert (complete, codes(volume)) == (False, [Code.MISSING_MEMBER])
                assert read == (data if count <= spare else None)


def test_what_is_left_of_a_spanned_volume_is_read() -> None:
    images, data, _ = spanned()
    assembly, members = assembled(FORMAT, ldm, [images[0], images[2]])
    source = opened(ldm, assembly.volumes[0], members)
    assert source.read_at(0, SIZE) == data[:SIZE]
    assert source.read_at(2 * SIZE, SIZE) == data[2 * SIZE :]
    with pytest.raises(ReadError):
        source.read_at(SIZE - 1, 2)


def test_the_newest_database_counts_and_older_disks_are_not_mirrors() -> None:
    data = content(SIZE)
    old = group(CONCATENATED, [bytes(SIZE), data], components=2, commit=8)[0]
    new = group(CONCATENATED, [bytes(SIZE), data], components=2, commit=9)[1]
    assembly, members = assembled(FORMAT, ldm, [old, new])
    assert assembly.stale == (0,)
    assert codes(assembly) == [Code.COPIES_DIFFER]
    assert opened(ldm, assembly.volumes[0], members).read_at(0, SIZE) == data


def test_an_older_disk_still_gives_what_only_it_has() -> None:
    data = content(2 * SIZE)
    old = group(CONCATENATED, [data[:SIZE], data[SIZE:]], commit=8)[0]
    new = group(CONCATENATED, [data[:SIZE], data[SIZE:]], commit=9)[1]
    assembly, members = assembled(FORMAT, ldm, [old, new])
    assert not assembly.stale
    assert opened(ldm, assembly.volumes[0], members).read_at(0, 2 * SIZE) == data


def test_a_lost_database_is_made_up_for_by_the_other_disks() -> None:
    images, data, _ = raid5()
    private = (DATA_START + DATA_SECTORS) * SECTOR
    images[0][private : private + 1800 * SECTOR] = bytes(1800 * SECTOR)
    assembly, members = assembled(FORMAT, ldm, images)
    assert opened(ldm, assembly.volumes[0], members).read_at(0, len(data)) == data


LARGE = 4096
METADATA = bytes.fromhex("aac808588f7ee04285d2e1e90434cfb3")
DATA = bytes.fromhex("a0609baf3114624fbc683311714a69ad")


def large_mbr(monkeypatch: pytest.MonkeyPatch) -> bytearray:
    monkeypatch.setattr(recipes, "SECTOR", LARGE)
    monkeypatch.setattr(recipes, "SIZE", recipes.SIZE // SECTOR * LARGE)
    return mbr_disk(1, simple(), bytes(65 * LARGE) + content(256 * LARGE))


def large_gpt(monkeypatch: pytest.MonkeyPatch) -> bytearray:
    monkeypatch.setattr(recipes, "SECTOR", LARGE)
    parts = [Part(1, 40, 39 + DATABASE, METADATA), Part(2, 40 + DATABASE, 3000, DATA)]
    image = gpt_disk(parts, sectors=3072, unit=LARGE)
    put(image, 40 * LARGE, database(simple()))
    for copy in COPIES:
        put(image, (40 + copy) * LARGE, private_header(1, (40, DATABASE), (40 + DATABASE, 900)))
    put(image, (40 + DATABASE + 65) * LARGE, content(256 * LARGE))
    return image


@pytest.mark.parametrize("disk", [large_mbr, large_gpt])
def test_sectors_of_4096_bytes(disk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # As DiskAccessLibrary writes them; no such disk by Windows was at hand.
    complete, volume, read = volume_of([disk(monkeypatch)])
    assert (complete, volume.size, volume.problems) == (False, 256 * LARGE, ())
    assert read == content(256 * LARGE)


def test_what_a_partition_for_show_holds_is_no_volume(tmp_path: Path) -> None:
    image = mbr_disk(1, simple(), bytes(kept("swap", 8192)))
    path = tmp_path / "disk"
    path.write_bytes(image)
    scan = pyimount.detect(path)
    assert [(volume.index, volume.type) for volume in scan.volumes if volume.flag == "alloc"] == [
        ("0", "ldm_member"), ("1", "ldm_data"), ("0.0", None),
    ]  # fmt: skip
    assert scan["1"].part_type == "0x42"
    # An ordinary disk's may.
    for copy in (MBR_SECTOR, *(DATA_START + DATA_SECTORS + at for at in COPIES)):
        put(image, copy * SECTOR, bytes(SECTOR))
    path.write_bytes(image)
    assert pyimount.detect(path)["1"].type == "swap"


RECORDS: dict[str, dict[str, Any]] = {
    "hole": {"partition": [partition_record(7, 6, 1, 65, 256, offset=9)]},
    "overlap": {
        "partition": [partition_record(7, 6, 1, 65, 99), partition_record(8, 6, 1, 400, 99, offset=98)],
        "component": [component_record(6, 5, 2)],
    },
    "no partition": {"partition": []},
    "no component": {"component": []},
    "no chunk": {"component": [component_record(6, 5, 1, STRIPED)]},
    "huge chunk": {"component": [component_record(6, 5, 1, STRIPED, 1 << 60)]},
    "two columns": {"component": [component_record(6, 5, 1, RAID5, 8)]},
    "no such kind": {"component": [component_record(6, 5, 1, 9)]},
    "huge": {"partition": [partition_record(7, 6, 1, (1 << 64) - 1, (1 << 64) - 1)]},
    "huge volume": {"volume": [volume_record(5, b"Volume1", (1 << 64) - 1, 1)]},
}


@pytest.mark.parametrize("changed", RECORDS.values(), ids=RECORDS)
def test_records_that_contradict_each_other(changed: dict[str, Any]) -> None:
    assembly, members = assembled(FORMAT, ldm, [mbr_disk(1, {**simple(), **changed})])
    for volume in assembly.volumes:
        assert Code.DAMAGED in codes(volume)
        if volume.readable:
            source = ldm.open_mapped(volume.parameters, [members[at].source for at in volume.members])
            assert len(source.read_at(0, 4096)) <= 4096


def test_a_volume_of_a_disk_that_the_database_does_not_name() -> None:
    records = {**simple(), "partition": [partition_record(7, 6, 77, 65, 256)]}
    assembly, _ = assembled(FORMAT, ldm, [mbr_disk(1, records)])
    assert codes(assembly.volumes[0]) == [Code.MISSING_MEMBER]


@given(edits(8192))
@settings(max_examples=60, deadline=None)
def test_any_database_gives_an_assembly(edit: list[Edit]) -> None:
    image = mbr_disk(1, simple())
    at = (DATA_START + DATA_SECTORS + 17) * SECTOR
    image[at : at + 8192] = edited(image[at : at + 8192], edit)
    try:
        members = members_of(FORMAT, [image])
    except (NotThisFormat, ShortRead):
        return
    for volume in ldm.assemble(members).volumes:
        if volume.readable:
            source = ldm.open_mapped(volume.parameters, [members[at].source for at in volume.members])
            try:
                source.read_at(0, 65536)
            except ReadError:
                continue
