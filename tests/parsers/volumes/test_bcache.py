"""bcache: damage, versions, and superblocks that lie."""

from typing import Any

import pytest

from pyimount.formats.checksums import crc64
from pyimount.parsers.volumes import bcache
from pyimount.parsers.volumes.bcache import FORMAT, PLACE, SUPERBLOCK
from tests.kept import ask, codes, kept, put, recognise


def superblock(**more: Any) -> bytearray:
    """A cache device's superblock with a right checksum."""
    fields = {
        "csum": 0, "offset": 8, "version": 3, "magic": bcache.MAGIC, "uuid": bytes(range(16)),
        "set_uuid": bytes(range(1, 17)), "label": b"fast".ljust(32, b"\0"), "flags": 0x7, "seq": 2,
        "feature_compat": 0, "feature_incompat": 0, "feature_ro_compat": 0, "pad": bytes(40),
        "nbuckets_or_data_offset": 4, "block_size": 8, "bucket_size": 128, "nr_in_set": 1, "nr_this_dev": 0,
        "last_mount": 1_600_000_000, "first_bucket": 1, "keys": 2, **more,
    }  # fmt: skip
    raw = SUPERBLOCK.construct.build(fields) + bytes(range(8 * min(fields["keys"], 256) % 255))
    raw = raw.ljust(SUPERBLOCK.size + 8 * min(fields["keys"], 256), b"\0")
    image = bytearray(1 << 20)
    put(image, PLACE, (crc64(raw[8:]) ^ (1 << 64) - 1).to_bytes(8, "little") + raw[8:])
    return image


def test_the_checksum_takes_in_the_journal_buckets() -> None:
    image = superblock()
    found = recognise(FORMAT, image)
    assert (found.checked, found.label, found.version, codes(found)) == (True, "fast", "3", [])
    image[PLACE + SUPERBLOCK.size + 9] ^= 1
    assert codes(recognise(FORMAT, image)) == ["bad-checksum"]


def test_what_a_cache_says() -> None:
    details = recognise(FORMAT, superblock()).details
    assert (details["synchronous"], details["discard"], details["replacement_policy"]) == (True, True, "fifo")
    assert (details["last_mount"], details["journal_buckets"]) == ("2020-09-13T12:26:40Z", 2)


@pytest.mark.parametrize(
    ("version", "incompatible", "size"),
    [(3, 0, 12), (3, 2, 12), (5, 0, 12), (5, 2, 4096), (5, 1, 12 | 3 << 16)],
)
def test_sizes_of_buckets(version: int, incompatible: int, size: int) -> None:
    image = superblock(version=version, feature_incompat=incompatible, bucket_size=12)
    put(image, PLACE + 208 + 2048, b"\3\0")
    assert recognise(FORMAT, image).details["bucket_size"] == size * 512


@pytest.mark.parametrize(("version", "start"), [(1, 16), (4, 4096), (6, 4096)])
def test_where_a_backing_devices_data_begins(version: int, start: int) -> None:
    image = superblock(version=version, nbuckets_or_data_offset=4096, flags=2 << 61 | 1)
    found = recognise(FORMAT, image)
    assert found.details["data_offset"] == start * 512
    assert (found.state, found.details["cache_mode"]) == ("dirty", "writeback")


@pytest.mark.parametrize(
    "lie",
    [{"offset": 16}, {"version": 2}, {"version": 7}, {"keys": 257}, {"block_size": 0}, {"block_size": 999}],
)
def test_a_superblock_that_lies_is_none(lie: dict[str, int]) -> None:
    assert ask(FORMAT, superblock(**lie)) is None


def test_an_exponent_that_no_bucket_has() -> None:
    assert ask(FORMAT, superblock(version=5, feature_incompat=2, bucket_size=60)) is None


@pytest.mark.parametrize("size", [0, 4096, 4200, PLACE + SUPERBLOCK.size - 1])
def test_a_cut_before_the_end_of_the_superblock(size: int) -> None:
    assert ask(FORMAT, kept("bcache-backing", size)) is None
    assert ask(FORMAT, kept("bcache-backing", PLACE + SUPERBLOCK.size)) is not None
