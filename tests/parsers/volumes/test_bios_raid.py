"""BIOS RAIDs: checksums where the magic is short, disks too small, and what Intel's metadata may claim."""

from struct import pack

import pytest

from fixtures.recipes.bios_raid import image, isw, jmicron, nvidia, silicon, via
from pyimount.parsers.volumes import isw_raid, jmicron_raid, nvidia_raid, silicon_medley_raid, via_raid
from tests.kept import ask, codes, recognise


@pytest.mark.parametrize(
    ("declared", "made"),
    [(jmicron_raid, jmicron()), (silicon_medley_raid, silicon()), (via_raid, via())],
    ids=["jmicron", "silicon", "via"],
)
def test_where_the_magic_is_short_the_checksum_must_hold(declared: object, made: tuple[int, bytes]) -> None:
    found = image(made)
    form = declared.FORMAT  # type: ignore[attr-defined]
    assert recognise(form, found).checked
    found[made[0] + 20] ^= 4
    assert ask(form, found) is None


def test_a_checksum_of_nvidia_that_fails_is_not_trusted() -> None:
    made = nvidia()
    found = image(made)
    assert recognise(nvidia_raid.FORMAT, found).checked
    found[made[0] + 40] ^= 1
    assert not recognise(nvidia_raid.FORMAT, found).checked


def test_a_silicon_disk_of_no_possible_number_is_none() -> None:
    assert ask(silicon_medley_raid.FORMAT, image(silicon(8))) is None


@pytest.mark.parametrize("disks", [1, 3, 6, 40])
def test_intel_metadata_of_one_sector_and_of_several(disks: int) -> None:
    found = recognise(isw_raid.FORMAT, image(isw(disks)))
    (volume,) = found.details["volumes"]  # type: ignore[misc]
    assert (found.checked, codes(found), volume["slots"]) == (True, [], [*range(disks)])  # type: ignore[index,call-overload]


def test_intel_metadata_of_a_volume_that_is_rebuilt() -> None:
    found = recognise(isw_raid.FORMAT, image(isw(migrating=True)))
    (volume,) = found.details["volumes"]  # type: ignore[misc]
    assert (codes(found), volume["migration"]) == ([], "rebuilding")  # type: ignore[index,call-overload]


def test_a_changed_byte_is_told() -> None:
    at, block = isw()
    found = image((at, block))
    found[at + 4] ^= 1
    assert codes(recognise(isw_raid.FORMAT, found)) == ["bad-checksum"]


@pytest.mark.parametrize("size", [0, 100, 1 << 20, 0xFFFFFFFF])
def test_sizes_that_lie(size: int) -> None:
    at, block = isw()
    found = image((at, block))
    anchor = len(found) - 1024
    found[anchor + 0x24 : anchor + 0x28] = pack("<I", size)
    assert "bad-checksum" in codes(recognise(isw_raid.FORMAT, found))


@pytest.mark.parametrize("count", [(0x38, 255), (0x39, 255)])
def test_counts_that_lie(count: tuple[int, int]) -> None:
    found = image(isw())
    found[len(found) - 1024 + count[0]] = count[1]
    assert codes(recognise(isw_raid.FORMAT, found)) == ["bad-checksum", "damaged"]
