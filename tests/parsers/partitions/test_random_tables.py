"""Any bytes behind the right magic: a table within bounds, or none, and soon."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyimount.formats import Table
from pyimount.parsers.partitions import apm, boot_sector, bsd, gpt, mbr, sun
from pyimount.recognition.registry import table_formats
from tests.kept import kept, put
from tests.parsers.partitions.building import boot, gpt_disk, read, record
from tests.strategies import edited, edits

FORMATS = {module.FORMAT.name: module.FORMAT for module in (apm, bsd, gpt, mbr, sun)}
IMAGES = {"apm": "apm", "bsd": "bsd-slice", "gpt": "gpt-cut", "mbr": "mbr", "sun": "sun"}
NEAR = 64 * 1024

quick = settings(max_examples=30, deadline=2000)


def within_bounds(found: Table | None) -> None:
    if found is None:
        return
    numbers = [partition.number for partition in found.partitions]
    assert numbers == sorted(set(numbers))
    assert len({partition.slot for partition in found.partitions}) == len(numbers)
    assert all(partition.offset >= 0 and partition.size >= 0 for partition in found.partitions)
    assert all(extent.offset >= 0 and extent.size > 0 for extent in found.meta)
    assert found.sector_size in (512, 1024, 2048, 4096, 8192)


def test_all_these_formats_are_registered() -> None:
    assert FORMATS.keys() <= {declared.name for declared in table_formats()}


@pytest.mark.parametrize("declared", FORMATS.values(), ids=lambda declared: declared.name)
@given(data=st.binary(min_size=512, max_size=4096), size=st.sampled_from((512, 4096, NEAR)))
@quick
def test_random_bytes(declared: Any, data: bytes, size: int) -> None:
    image = bytearray((data * (size // len(data) + 1))[:size])
    for signature in declared.signatures:
        at = signature.offset if signature.offset >= 0 else size + signature.offset
        if 0 <= at <= size - len(signature.magic):
            put(image, at, signature.magic)
    within_bounds(read(declared, image))


@pytest.mark.parametrize("name", FORMATS)
@given(changes=edits(2048))
@quick
def test_changed_tables(name: str, changes: list[tuple[int, bytes]]) -> None:
    image = edited(bytes(kept(IMAGES[name], NEAR)), changes)
    within_bounds(read(FORMATS[name], image))


@given(
    records=st.lists(
        st.tuples(
            st.sampled_from((0, 5, 0x0F, 0x83, 0xA5, 0xEE)), st.integers(0, 40), st.integers(0, 0xFFFFFFFF)
        ),
        min_size=1,
        max_size=4,
    ),
    links=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20)), max_size=30),
)
@quick
def test_random_chains(records: list[tuple[int, int, int]], links: list[tuple[int, int, int]]) -> None:
    image = bytearray(64 * 512)
    put(image, 0, boot(*(record(*entry) for entry in records), signature=1))
    for at, (data, link, size) in enumerate(links, 1):
        put(image, at * 512, boot(record(0x83, data, size), record(5, link, size)))
    within_bounds(read(mbr.FORMAT, image))


@given(changes=edits(92, most=3))
@quick
def test_headers_whose_checksum_is_right(changes: list[tuple[int, bytes]]) -> None:
    """A liar signs, too: the fields are random, the checksum of the header is not."""
    from zlib import crc32

    image = gpt_disk([])
    header = bytearray(edited(bytes(image[512 : 512 + 92]), changes))
    header[:8], header[16:20] = gpt.MAGIC, bytes(4)
    size = int.from_bytes(header[12:16], "little")
    block = bytes(header) + bytes(512 - 92)
    header[16:20] = crc32(block[: min(size, 512)]).to_bytes(4, "little")
    put(image, 512, bytes(header))
    put(image, len(image) - 512, bytes(512))
    within_bounds(read(gpt.FORMAT, image))


@given(data=st.binary(min_size=boot_sector.SIZE, max_size=boot_sector.SIZE))
@quick
def test_boot_sectors_of_any_kind(data: bytes) -> None:
    assert isinstance(boot_sector.boots_a_volume(data), bool)
    assert len(boot_sector.records(data)) <= 4
