"""Copies in LVM's volumes: a leg counts only as far as what LVM and the kernel recorded says so.

That nothing is read of a leg whose bits in the log are clear was seen in Linux 6.1 (lvchange --activationmode
partial): a mirror whose log is on a disk reads as an error there.
"""

import struct
from collections.abc import Sequence

import pytest

from pyimount.mapping.mirror_log import BITS_AT
from pyimount.problems import Code
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from tests.kept import put
from tests.mapping.lvm2_groups import (
    EXTENT,
    Put,
    extent_content,
    group_text,
    linear,
    lv_text,
    pv_image,
    pv_text,
    segment,
)
from tests.mapping.volume_members import codes

DATA = 2 << 20
"""Where the extents of the physical volumes begin."""
REGION = 16 << 10
LEGS = 'mirrors = ["leg0", 0, "leg1", 0] mirror_count = 2'
MIRROR = f'{LEGS} mirror_log = "log" region_size = {REGION // 512}'
CORE = f"{LEGS} region_size = {REGION // 512}"
FIRST, SECOND = extent_content(0, 0) + extent_content(0, 1), extent_content(1, 0) + extent_content(1, 1)


def log_of(bits: int, *, magic: int = 0x4D695272, version: int = 2) -> bytes:
    header = struct.pack("<IIQ", magic, version, 2 * EXTENT // REGION)
    return header.ljust(BITS_AT, b"\0") + struct.pack("<Q", bits)


def mirror(more: str, log: bytes = b"", *, without: Sequence[int] = (), flags: str = "") -> Put:
    """A mirror of two extents, its legs on the first two physical volumes, its log on the third."""
    volumes = [
        lv_text("mirror", [segment("mirror", 2, more)], flags=flags),
        lv_text("leg0", [linear(2, "pv0", 0)], visible=False),
        lv_text("leg1", [linear(2, "pv1", 0)], visible=False),
        lv_text("log", [linear(1, "pv2", 0)], visible=False),
    ]
    text = group_text(volumes, [pv_text(number) for number in range(3)])
    images = [pv_image(number, text) for number in range(3)]
    put(images[2], DATA, log)
    return Put(images, without)


def in_regions(source: Source) -> list[bytes | None]:
    """What is read of each region; None where that fails."""
    found: list[bytes | None] = []
    for at in range(0, source.size, REGION):
        try:
            found.append(source.read_at(at, REGION))
        except ReadError:
            found.append(None)
    return found


def cut(content: bytes, wanted: int) -> list[bytes | None]:
    """The regions of a leg, without those whose bits are clear."""
    regions = range(0, len(content), REGION)
    return [content[at : at + REGION] if wanted >> at // REGION & 1 else None for at in regions]


def said(there: Put, name: str = "mirror") -> str:
    return " / ".join(problem.message for problem in there.volumes[name].problems)


@pytest.mark.parametrize("bits", [0, 0xFF, 0x5A])
def test_the_first_leg_is_read_whatever_the_log_says(bits: int) -> None:
    there = mirror(MIRROR, log_of(bits))
    assert there.read("mirror") == FIRST
    assert codes(there.volumes["mirror"]) == []


@pytest.mark.parametrize("bits", [0, 1, 0x5A, 0x7F])
def test_another_leg_is_read_only_where_the_log_says_that_it_is_in_step(bits: int) -> None:
    there = mirror(MIRROR, log_of(bits), without=[0])
    assert in_regions(there.open("mirror")) == cut(SECOND, bits)
    assert codes(there.volumes["mirror"]) == [Code.MISSING_MEMBER, Code.STALE_MEMBER]
    assert f"{8 - bits.bit_count()} of 8 regions are not" in said(there)
    assert "cannot be read" in said(there)


def test_a_leg_that_is_in_step_everywhere_is_as_good_as_the_first() -> None:
    there = mirror(MIRROR, log_of(0xFF), without=[0])
    assert there.read("mirror") == SECOND
    assert codes(there.volumes["mirror"]) == [Code.MISSING_MEMBER]
    assert "read from the others" in said(there)


@pytest.mark.parametrize(
    "log", [b"", log_of(0xFF, magic=0), log_of(0xFF, version=3), b"\xff" * (BITS_AT + 8)]
)
def test_a_log_that_is_none_says_of_no_region_that_it_is_in_step(log: bytes) -> None:
    there = mirror(MIRROR, log.ljust(EXTENT, b"\0"), without=[0])
    assert in_regions(there.open("mirror")) == [None] * 8
    assert Code.STALE_MEMBER in codes(there.volumes["mirror"])


@pytest.mark.parametrize(("more", "without"), [(CORE, [0]), (MIRROR, [0, 2])])
def test_without_a_log_another_leg_is_read_and_doubted(more: str, without: list[int]) -> None:
    there = mirror(more, log_of(0), without=without)
    assert there.read("mirror") == SECOND
    assert codes(there.volumes["mirror"]) == [Code.MISSING_MEMBER, Code.AMBIGUOUS]
    assert "does not tell how far" in said(there)


def test_a_log_alone_that_is_missing_keeps_nothing_from_being_read() -> None:
    assert mirror(MIRROR, without=[2]).read("mirror") == FIRST
    assert mirror(CORE).read("mirror") == FIRST


def test_a_first_leg_that_cannot_be_read_is_replaced_where_the_other_is_in_step() -> None:
    volumes = [
        lv_text("mirror", [segment("mirror", 2, MIRROR)]),
        lv_text("leg0", [linear(1, "pv0", 0), segment("error", 1, "", start=1)], visible=False),
        lv_text("leg1", [linear(2, "pv1", 0)], visible=False),
        lv_text("log", [linear(1, "pv2", 0)], visible=False),
    ]
    text = group_text(volumes, [pv_text(number) for number in range(3)])
    images = [pv_image(number, text) for number in range(3)]
    put(images[2], DATA, log_of(0x3C))
    found = in_regions(Put(images).open("mirror"))
    assert found == cut(FIRST, 0x0F)[:4] + cut(SECOND, 0x30)[4:]


def test_legs_that_were_never_made_to_agree() -> None:
    there = mirror(MIRROR, log_of(0xFF), without=[0], flags='"NOTSYNCED"')
    assert there.read("mirror") == SECOND
    assert codes(there.volumes["mirror"]) == [Code.MISSING_MEMBER, Code.AMBIGUOUS]


def test_the_log_s_own_mirror_counts_too() -> None:
    volumes = [
        lv_text("mirror", [segment("mirror", 2, MIRROR)]),
        lv_text("leg0", [linear(2, "pv0", 0)], visible=False),
        lv_text("leg1", [linear(2, "pv1", 0)], visible=False),
        lv_text(
            "log", [segment("mirror", 1, 'mirrors = ["pv0", 5, "pv2", 0] region_size = 32')], visible=False
        ),
    ]
    text = group_text(volumes, [pv_text(number) for number in range(3)])
    images = [pv_image(number, text) for number in range(3)]
    put(images[2], DATA, log_of(0x81))
    there = Put(images, [0])
    assert in_regions(there.open("mirror")) == cut(SECOND, 0x81)
    assert set(codes(there.volumes["mirror"])) == {Code.MISSING_MEMBER, Code.AMBIGUOUS, Code.STALE_MEMBER}


@pytest.mark.parametrize(("moved", "wanted"), [(0, FIRST), (1, FIRST), (2, SECOND)])
def test_what_pvmove_has_moved_is_read_at_its_new_place(moved: int, wanted: bytes) -> None:
    more = f'mirrors = ["pv0", 0, "pv1", 0] mirror_count = 2 extents_moved = {moved} region_size = 32'
    volumes = [lv_text("pvmove0", [segment("mirror", 2, more)]), lv_text("moving", [linear(2, "pvmove0", 0)])]
    text = group_text(volumes, [pv_text(number) for number in range(2)])
    there = Put([pv_image(number, text) for number in range(2)])
    assert there.read("moving") == wanted


# RAID 1, whose images' superblocks count.


def array(
    superblocks: Sequence[bytes],
    *,
    without: Sequence[int] = (),
    flags: Sequence[str] = ("", ""),
    own: str = "",
) -> Put:
    raids = ", ".join(f'"meta{number}", "image{number}"' for number in range(2))
    volumes = [
        lv_text("array", [segment("raid1", 2, f"device_count = 2 raids = [{raids}]")], flags=own),
        *(lv_text(f"image{n}", [linear(2, f"pv{n}", 0)], visible=False, flags=flags[n]) for n in range(2)),
        *(lv_text(f"meta{n}", [linear(1, f"pv{n}", 5)], visible=False) for n in range(2)),
    ]
    text = group_text(volumes, [pv_text(number) for number in range(2)])
    images = [pv_image(number, text) for number in range(2)]
    for image, superblock in zip(images, superblocks, strict=True):
        put(image, DATA + 5 * EXTENT, superblock.ljust(EXTENT, b"\0"))
    return Put(images, without)


ALL = (1 << 64) - 1


def superblock(
    number: int, *, failed: int = 0, recovered: int = ALL, resynced: int = ALL, events: int = 9
) -> bytes:
    return b"DmRd" + struct.pack(
        "<IIIQQQQIIIIQ", 0, 2, number, events, failed, recovered, resynced, 1, 0, 0, 0, 0
    )


BOTH = [superblock(0), superblock(1)]


def test_an_image_in_step_replaces_the_other() -> None:
    assert array(BOTH).read("array") == FIRST
    assert array(BOTH, without=[0]).read("array") == SECOND
    assert codes(array(BOTH, without=[0]).volumes["array"]) == [Code.MISSING_MEMBER]


@pytest.mark.parametrize(
    ("second", "flags", "regions"),
    [
        (superblock(1, recovered=0), "", 0),
        (superblock(1, recovered=REGION // 512), "", 0x01),
        (superblock(1), '"REBUILD"', 0),
        (superblock(1, recovered=3 * REGION // 512), '"REBUILD"', 0x07),
        (b"", '"REBUILD"', 0),
    ],
)
def test_an_image_counts_as_far_as_it_is_rebuilt(second: bytes, flags: str, regions: int) -> None:
    both = [superblock(0), second]
    whole = array(both, flags=("", flags))
    assert whole.read("array") == FIRST
    assert codes(whole.volumes["array"]) == [Code.STALE_MEMBER]
    alone = array(both, without=[0], flags=("", flags))
    assert in_regions(alone.open("array")) == cut(SECOND, regions)
    assert codes(alone.volumes["array"]) == [Code.MISSING_MEMBER, Code.STALE_MEMBER]
    assert "cannot be read" in said(alone, "array")


def test_an_image_that_failed_is_not_read_in_place_of_the_one_that_is_missing() -> None:
    alone = array([superblock(0, failed=2), superblock(1, failed=2)], without=[0])
    assert in_regions(alone.open("array")) == [None] * 8
    assert Code.STALE_MEMBER in codes(alone.volumes["array"])


@pytest.mark.parametrize(("own", "resynced"), [('"NOTSYNCED"', ALL), ("", 0)])
def test_images_that_were_never_made_to_agree(own: str, resynced: int) -> None:
    both = [superblock(number, resynced=resynced) for number in range(2)]
    alone = array(both, without=[0], own=own)
    assert alone.read("array") == SECOND
    assert codes(alone.volumes["array"]) == [Code.MISSING_MEMBER, Code.AMBIGUOUS]
