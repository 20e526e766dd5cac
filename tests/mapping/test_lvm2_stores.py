"""Volumes some of whose blocks are kept on another disk, which is lost: caches, write caches, snapshots.

The origin of a cache lies plain, as it was before: lvmcache(7), "Device missing", and the report at
https://fy.blackhats.net.au/blog/2019-11-26-recovering-lvm-when-a-device-is-missing-with-a-cache-pool-lv/.
"""

from collections.abc import Mapping

import pytest

from pyimount.mapping.overlay import WRITECACHE_SUPERBLOCK
from pyimount.problems import Code
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
ORIGIN = extent_content(0, 0) + extent_content(0, 1)
POOL = [
    lv_text("pool", [segment("cache-pool+METADATA_FORMAT", 2, 'data = "slots" metadata = "map" {mode}')]),
    lv_text("map", [linear(1, "pv1", 0)], visible=False),
    lv_text("slots", [linear(2, "pv1", 1)], visible=False),
]
IN_ONE = "metadata_start = 0 metadata_len = 64 data_start = 64 data_len = 192 {mode}"
SEGMENTS: Mapping[str, tuple[str, list[str]]] = {
    "cache": (segment("cache", 2, 'cache_pool = "pool" origin = "below"'), POOL),
    "cachevol": (
        segment("cache+CACHE_USES_CACHEVOL", 2, f'cache_pool = "store" origin = "below" {IN_ONE}'),
        [lv_text("store", [linear(2, "pv1", 0)], visible=False)],
    ),
    "writecache": (
        segment("writecache", 2, 'writecache = "store" origin = "below"'),
        [lv_text("store", [linear(2, "pv1", 0)], visible=False)],
    ),
}


def group(kind: str, *, mode: str = "", without: list[int] | None = None, store: bytes = b"\0") -> Put:
    """A volume of two extents of the first physical volume, some of whose blocks are kept on the second."""
    top, stores = SEGMENTS[kind]
    volumes = [
        lv_text("top", [top.replace("{mode}", mode)]),
        lv_text("below", [linear(2, "pv0", 0)], visible=False),
        *(text.replace("{mode}", mode) for text in stores),
    ]
    text = group_text(volumes, [pv_text(0), pv_text(1)])
    images = [pv_image(0, text), pv_image(1, text)]
    put(images[1], DATA, store.ljust(EXTENT, b"\0"))
    return Put(images, without or [])


@pytest.mark.parametrize("kind", SEGMENTS)
def test_the_origin_is_read_without_what_kept_newer_blocks_and_said_to_be_old(kind: str) -> None:
    there = group(kind, without=[1])
    assert there.read("top") == ORIGIN
    assert there.volumes["top"].readable
    assert codes(there.volumes["top"]) == [Code.MISSING_MEMBER]
    (problem,) = there.volumes["top"].problems
    assert "is old" in problem.message
    assert codes(there.assembly) == [Code.MISSING_MEMBER]


@pytest.mark.parametrize("kind", ["cache", "cachevol"])
def test_a_cache_that_writes_through_has_nothing_that_its_origin_has_not(kind: str) -> None:
    there = group(kind, mode='cache_mode = "writethrough"', without=[1])
    assert there.read("top") == ORIGIN
    (problem,) = there.volumes["top"].problems
    assert (problem.code, "is old" in problem.message) == (Code.MISSING_MEMBER, False)


@pytest.mark.parametrize("kind", SEGMENTS)
def test_a_store_that_was_wiped_is_as_good_as_lost(kind: str) -> None:
    there = group(kind)
    assert there.read("top") == ORIGIN
    assert codes(there.volumes["top"]) == [Code.DAMAGED]


@pytest.mark.parametrize("kind", SEGMENTS)
def test_without_the_origin_there_is_nothing(kind: str) -> None:
    there = group(kind, without=[0])
    assert not [volume for volume in there.assembly.volumes if volume.name == "below" and volume.readable]
    assert Code.MISSING_MEMBER in codes(there.volumes["top"])


def test_a_write_cache_that_is_there_is_used() -> None:
    facts = {
        "version": 1, "block_size": 4096, "pad": 0, "n_blocks": 2, "seq_count": 9, "padding": bytes(32),
    }  # fmt: skip
    entries = (8).to_bytes(8, "little") + (3).to_bytes(8, "little") + b"\xff" * 16
    store = (WRITECACHE_SUPERBLOCK.construct.build(facts) + entries).ljust(4096, b"\0") + b"new!" * 1024
    there = group("writecache", store=store)
    assert there.read("top") == ORIGIN[:4096] + b"new!" * 1024 + ORIGIN[8192:]
    assert codes(there.volumes["top"]) == []


def merging(without: list[int]) -> Put:
    volumes = [
        lv_text("origin", [linear(2, "pv0", 0)]),
        lv_text(
            "snapshot0",
            [segment("snapshot", 2, 'origin = "origin" merging_store = "snap" chunk_size = 8')],
            visible=False,
        ),
        lv_text("snap", [linear(1, "pv1", 0)], visible=False),
    ]
    text = group_text(volumes, [pv_text(0), pv_text(1)])
    images = [pv_image(0, text), pv_image(1, text)]
    put(images[1], DATA, bytes(EXTENT))
    return Put(images, without)


def test_a_volume_into_which_a_lost_snapshot_was_being_merged() -> None:
    assert codes(merging([]).volumes["origin"]) == []
    there = merging([1])
    assert there.read("origin") == ORIGIN
    assert codes(there.volumes["origin"]) == [Code.MISSING_MEMBER]


def sealed(mode: str) -> Put:
    raids = ", ".join(f'"meta{number}", "image{number}"' for number in range(2))
    volumes = [lv_text("array", [segment("raid1", 2, f"device_count = 2 raids = [{raids}]")])]
    for number in range(2):
        more = f'origin = "plain{number}" meta_dev = "sums{number}" mode = "{mode}" data_sectors = 256'
        volumes += [
            lv_text(f"image{number}", [segment("integrity", 2, more)], visible=False),
            lv_text(f"plain{number}", [linear(2, f"pv{number}", 0)], visible=False),
            lv_text(f"sums{number}", [linear(1, f"pv{number}", 4)], visible=False),
            lv_text(f"meta{number}", [linear(1, f"pv{number}", 5)], visible=False),
        ]
    text = group_text(volumes, [pv_text(0), pv_text(1)])
    return Put([pv_image(number, text) for number in range(2)])


@pytest.mark.parametrize(("mode", "said"), [("J", [Code.UNSUPPORTED]), ("B", [])])
def test_what_is_kept_with_checksums_lies_plain(mode: str, said: list[Code]) -> None:
    """dm-integrity with its sums on a device of its own, as lvcreate --raidintegrity y makes it."""
    there = sealed(mode)
    assert there.read("array") == ORIGIN
    assert codes(there.volumes["array"]) == said
