"""VMFS volumes over one device and several: extents out of order, missing devices, tables that lie."""

from struct import pack

import pytest
from hypothesis import given, settings

from fixtures.recipes.vmfs import EXTENT, device
from pyimount.formats import NotThisFormat
from pyimount.mapping import vmfs_lvm
from pyimount.parsers.volumes.vmfs_lvm import EXTENTS_PER_MAP, FORMAT, HEADER_AT
from pyimount.problems import Code
from pyimount.sources.errors import ReadError
from tests.mapping.volume_members import assembled, codes, content, members_of, opened
from tests.strategies import Edit, edited, edits

TABLE_5 = HEADER_AT + 512 + (1 << 19) + EXTENTS_PER_MAP // 8


def physical(data: bytes, order: list[int]) -> bytes:
    """The extents of ``data``, the one of each number in ``order`` after the other."""
    return b"".join(data[at * EXTENT : (at + 1) * EXTENT] for at in order)


@pytest.mark.parametrize("version", [3, 4, 5, 6])
def test_extents_out_of_order(version: int) -> None:
    data = content(4 * EXTENT)
    places = [(0, 2), (1, 3), (2, 1), (3, 0)]
    image = device(1, places, version=version, content=physical(data, [3, 2, 0, 1]))
    assembly, members = assembled(FORMAT, vmfs_lvm, [image])
    (volume,) = assembly.volumes
    assert (assembly.complete, volume.name, volume.details["runs"]) == (True, "evidence", 3)
    assert opened(vmfs_lvm, volume, members).read_at(0, len(data)) == data
    assert not volume.problems


def two() -> tuple[list[bytearray], bytes]:
    data = content(4 * EXTENT)
    return [
        device(1, [(0, 0), (1, 1)], devices=2, content=data[: 2 * EXTENT]),
        device(2, [(2, 0), (3, 1)], devices=2, content=data[2 * EXTENT :]),
    ], data


def test_two_devices_in_any_order() -> None:
    images, data = two()
    for each in (images, images[::-1]):
        assembly, members = assembled(FORMAT, vmfs_lvm, each)
        assert assembly.complete
        assert opened(vmfs_lvm, assembly.volumes[0], members).read_at(0, len(data)) == data


@pytest.mark.parametrize("left", [0, 1])
def test_a_missing_device(left: int) -> None:
    images, data = two()
    assembly, members = assembled(FORMAT, vmfs_lvm, [images[left]])
    (volume,) = assembly.volumes
    assert (assembly.complete, codes(volume)) == (False, [Code.MISSING_MEMBER])
    source = opened(vmfs_lvm, volume, members)
    there = 2 * EXTENT * left
    assert source.read_at(there, 2 * EXTENT) == data[there : there + 2 * EXTENT]
    with pytest.raises(ReadError):
        source.read_at(2 * EXTENT - 2 * EXTENT * left, 1)


def test_two_extents_for_the_same_bytes() -> None:
    assembly, _ = assembled(FORMAT, vmfs_lvm, [device(1, [(0, 0), (0, 1)])])
    assert (assembly.volumes[0].readable, codes(assembly.volumes[0])) == (False, [Code.DAMAGED])


def test_a_hole_is_told_and_cannot_be_read() -> None:
    assembly, members = assembled(FORMAT, vmfs_lvm, [device(1, [(0, 0), (2, 1)], size=3 * EXTENT)])
    assert codes(assembly.volumes[0]) == [Code.DAMAGED]
    with pytest.raises(ReadError):
        opened(vmfs_lvm, assembly.volumes[0], members).read_at(EXTENT, 1)


@pytest.mark.parametrize(
    "place", [(0x6A, 0xFFFFFFFF), (0x6A, 1 << 20), (0x66, 0xFFFFFFFF), (0xC2, HEADER_AT)]
)
def test_counts_that_lie(place: tuple[int, int]) -> None:
    image = device(1, [(0, 0)])
    at, value = place
    image[HEADER_AT + at : HEADER_AT + at + 4] = pack("<I", value)
    members = members_of(FORMAT, [image]) if at != 0x66 else []
    assembly = vmfs_lvm.assemble(members)
    assert at == 0xC2 or not assembly.volumes


def test_extents_beyond_the_device_are_read_errors() -> None:
    image = device(1, [(0, 0)], size=EXTENT)
    image[TABLE_5 + 9 : TABLE_5 + 17] = pack("<Q", 1 << 61)
    assembly, members = assembled(FORMAT, vmfs_lvm, [image])
    with pytest.raises(ReadError):
        opened(vmfs_lvm, assembly.volumes[0], members).read_at(0, 1)


@given(edits(2048))
@settings(max_examples=60, deadline=None)
def test_any_tables_give_an_assembly(edit: list[Edit]) -> None:
    image = device(1, [(0, 0), (1, 1), (2, 3)], size=4 * EXTENT)
    for at in (HEADER_AT + 0x54, TABLE_5):
        image[at : at + 2048] = edited(image[at : at + 2048], edit)
    try:
        members = members_of(FORMAT, [image])
    except (AssertionError, NotThisFormat):
        return
    for volume in vmfs_lvm.assemble(members).volumes:
        if volume.readable:
            source = vmfs_lvm.open_mapped(volume.parameters, [members[at].source for at in volume.members])
            try:
                source.read_at(0, 65536)
            except ReadError:
                continue
