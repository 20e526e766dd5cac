"""VMFS volume members: what the header alone tells, and numbers that lie."""

import pytest

from fixtures.recipes.vmfs import DATA_AT, device, device_uuid
from pyimount.parsers.filesystems import vmfs
from pyimount.parsers.volumes.vmfs_lvm import FORMAT, HEADER_AT, vmfs_uuid
from tests.kept import ask, codes, kept, put, recognise


def test_an_identifier_as_vmware_writes_it() -> None:
    assert vmfs_uuid(device_uuid(0xF7)) == "6794d3f7-ccbbaa00-eedd-0011223344ff"
    assert vmfs_uuid(bytes(16)) is None


def test_a_device_that_is_cut_off() -> None:
    assert codes(recognise(FORMAT, kept("vmfs-lvm", DATA_AT))) == ["truncated"]


@pytest.mark.parametrize("count", [513, 0xFFFFFFFF])
def test_numbers_of_volumes_that_lie(count: int) -> None:
    image = kept("vmfs-lvm")
    put(image, HEADER_AT + 0x66, count.to_bytes(4, "little"))
    found = recognise(FORMAT, image)
    assert (found.group, codes(found)) == (None, ["damaged"])


@pytest.mark.parametrize("aligned", [0, 1, 3000, 0xFFFFFFFF])
def test_an_alignment_that_lies(aligned: int) -> None:
    image = kept("vmfs-lvm-6")
    put(image, HEADER_AT + 0xCA, aligned.to_bytes(4, "little"))
    assert codes(recognise(FORMAT, image)) == ["damaged"]


def test_a_volume_over_two_devices_says_so() -> None:
    group = recognise(FORMAT, device(2, [(2, 0), (3, 1)], devices=2)).group
    assert group is not None
    assert (group.members, group.role) == (2, "extents 2 to 3")


def test_what_is_none() -> None:
    image = kept("vmfs-lvm")
    put(image, HEADER_AT + 4, bytes(4))
    assert ask(FORMAT, image) is None
    assert ask(FORMAT, kept("vmfs-lvm", HEADER_AT + 100)) is None
    assert ask(vmfs.FORMAT, bytes(3 << 20)) is None
    assert ask(vmfs.FORMAT, kept("vmfs", vmfs.DESCRIPTOR_AT + 20)) is None
