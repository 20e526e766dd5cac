"""Shadow copies: what the catalog says, which bytes a copy has, and what damage does to that."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyimount.mapping.assembly import Assembly, Mapped
from pyimount.mapping.vss import FORWARDER, NOT_USED, OVERLAY, StoreVolume, open_mapped, shadow_copies
from pyimount.parsers.volumes.vss import (
    BLOCK,
    BLOCK_HEADER,
    CATALOG_BLOCKS,
    COPY_ENTRY,
    ENTRY_COPY,
    ENTRY_STORE,
    HEADER_AT,
)
from pyimount.problems import Code
from pyimount.sources.errors import OpenError, ReadError, SourceError
from pyimount.sources.source import BytesSource, Source
from tests.mapping.vss_volume import BLOCKS, CATALOG_AT, SIZE, STORES_AT, Descriptor, StoreSpec, build, place
from tests.needing import lacking, needs

LIST_AT = (STORES_AT + 1) * BLOCK


def copies(image: bytes | bytearray) -> tuple[Mapped, ...]:
    return shadow_copies(BytesSource(bytes(image)), 7).volumes


def contents(image: bytes | bytearray, number: int) -> bytes:
    """The bytes of the copy with this number, the oldest being 0."""
    source = open_mapped(copies(image)[number].parameters, [BytesSource(bytes(image))])
    return source.read_at(0, source.size)


def block(data: bytes, number: int) -> set[int]:
    """The values that occur in a block: one, where it is full of it."""
    return set(data[number * BLOCK : (number + 1) * BLOCK])


class Counted(Source):
    """A source that knows what has been read of it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        self.reads: list[tuple[int, int]] = []

    def _read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return self._data[offset : offset + length]


def test_a_volume_without_costs_one_small_read() -> None:
    source = Counted(bytes(SIZE))
    assert shadow_copies(source, 1) == Assembly()
    assert source.reads == [(HEADER_AT, 16)]
    assert shadow_copies(BytesSource(b""), 1) == Assembly()


def test_what_the_catalog_says() -> None:
    first, second = copies(build([StoreSpec(), StoreSpec()]))
    assert (first.kind, first.members, first.name, first.size) == ("vss", (7,), "vss1", SIZE)
    assert (first.uuid, second.uuid) == (
        "f0168553-348c-4d9b-9e18-80c059216800",
        "f0168553-348c-4d9b-9e18-80c059216801",
    )
    assert first.details == {
        "created": "2019-06-05T09:20:00Z",
        "store_guid": "12e5a130-8722-11e9-9178-525400123456",
        "sequence": 1,
        "copy_id": first.uuid,
        "copy_set_id": "5e5d08f8-deb9-45e5-88b3-741013575af9",
        "context": 0xD,
        "provider": 1,
        "attributes": ["persistent", "client-accessible", "no-auto-release", "no-writers", "differential"],
        "machine": "lab",
        "service_machine": "lab.example",
        "allocated_size": 10 * BLOCK,
    }
    assert second.details["created"] == "2019-06-05T09:21:00Z"
    assert (first.readable, first.problems, first.hidden) == (True, (), False)


def test_a_copy_has_what_was_kept_since_and_for_the_rest_what_is_there_now() -> None:
    older = StoreSpec([Descriptor(60, 0, place(0, 0)), Descriptor(61, 0, place(0, 1))])
    newer = StoreSpec([Descriptor(61, 0, place(1, 0)), Descriptor(62, 0, place(1, 1))])
    image = build([older, newer])
    first, second = contents(image, 0), contents(image, 1)
    assert [block(first, number) for number in (60, 61, 62, 63)] == [
        {place(0, 0)}, {place(0, 1)}, {place(1, 1)}, {63},
    ]  # fmt: skip
    assert [block(second, number) for number in (60, 61, 62, 63)] == [
        {60}, {place(1, 0)}, {place(1, 1)}, {63},
    ]  # fmt: skip


def test_an_overlay_has_some_sectors_and_the_block_the_others() -> None:
    spec = StoreSpec([
        Descriptor(60, 0, place(0, 0), OVERLAY, 0b101),
        Descriptor(61, 0, place(0, 1)),
        Descriptor(61, 0, place(0, 2), OVERLAY, 1 << 31),
        Descriptor(60, 1, place(0, 3), OVERLAY, 0b010),
    ])  # fmt: skip
    image = build([spec, StoreSpec()])
    data = contents(image, 0)
    # The later overlay of block 60 adds a sector, and its place is still the first's.
    assert [data[60 * BLOCK + 512 * sector] for sector in range(4)] == [place(0, 0)] * 3 + [60]
    assert [data[61 * BLOCK + 512 * sector] for sector in (0, 30, 31)] == [
        place(0, 1), place(0, 1), place(0, 2),
    ]  # fmt: skip
    # An overlay is only the copy's own, not of the copies before it.
    image = build([StoreSpec(), spec])
    data = contents(image, 0)
    assert (block(data, 60), block(data, 61)) == ({60}, {place(0, 1)})


def test_a_forwarder_is_looked_up_in_the_next_copy() -> None:
    older = StoreSpec([Descriptor(60, 62, 0, FORWARDER), Descriptor(61, 64, 0, FORWARDER)])
    newer = StoreSpec([Descriptor(62, 0, place(1, 0))])
    data = contents(build([older, newer]), 0)
    assert (block(data, 60), block(data, 61)) == ({place(1, 0)}, {64})
    # Behind the newest copy is the volume itself.
    assert block(contents(build([older]), 0), 60) == {62}


def test_what_a_forwarded_block_keeps_is_the_others() -> None:
    spec = StoreSpec([Descriptor(60, 62, 0, FORWARDER), Descriptor(62, 0, place(0, 0))])
    data = contents(build([spec, StoreSpec()]), 0)
    assert (block(data, 60), block(data, 62)) == ({place(0, 0)}, {62})
    # Forwarded there and back again: nothing was kept, the first descriptor stays.
    spec = StoreSpec([Descriptor(60, 62, 0, FORWARDER), Descriptor(62, 60, 0, FORWARDER)])
    assert block(contents(build([spec, StoreSpec()]), 0), 60) == {62}


def test_descriptors_that_are_not_used() -> None:
    spec = StoreSpec([Descriptor(60, 0, place(0, 0), NOT_USED)])
    assert block(contents(build([spec]), 0), 60) == {60}


def test_a_block_that_was_in_no_use_is_zeros_in_the_newest_copy_only() -> None:
    kept = [Descriptor(61, 0, place(0, 0)), Descriptor(80, 62, 0, FORWARDER)]
    spec = StoreSpec(kept, unused=(60, 61, 62))
    data = contents(build([spec]), 0)
    assert [block(data, number) for number in (60, 61, 62, 63)] == [{0}, {place(0, 0)}, {62}, {63}]
    data = contents(build([spec, StoreSpec()]), 0)
    assert block(data, 60) == {60}
    data = contents(build([StoreSpec(unused=(60, 63), previous=(60, 64))]), 0)
    assert [block(data, number) for number in (60, 63, 64)] == [{0}, {63}, {64}]


def test_the_list_goes_on_in_the_next_block() -> None:
    kept = [Descriptor(60 + number, 0, place(0, 1 + number % 4)) for number in range(20)]
    data = contents(build([StoreSpec(kept, lists=2)]), 0)
    assert [block(data, 60 + number) for number in range(20)] == [{place(0, 1 + n % 4)} for n in range(20)]


def test_reads_of_any_length_anywhere_and_neighbours_at_once() -> None:
    spec = StoreSpec([Descriptor(60, 0, place(0)), Descriptor(63, 0, place(0, 1), OVERLAY, 0x00FF00F0)])
    image = bytes(build([spec]))
    whole = contents(image, 0)
    source = open_mapped(copies(image)[0].parameters, [BytesSource(image)])
    for number in range(300):
        offset, length = number * 99991 % SIZE, (1, 511, 4096, 3 * BLOCK)[number % 4]
        assert source.read_at(offset, length) == whole[offset : offset + length]
    counted = Counted(image)
    source = open_mapped(copies(image)[0].parameters, [counted])
    source.read_at(70 * BLOCK, BLOCK)
    counted.reads.clear()
    source.read_at(70 * BLOCK, 20 * BLOCK)
    assert counted.reads == [(70 * BLOCK, 20 * BLOCK)]


def without_entries(image: bytearray, kind: int, count: int) -> bytearray:
    """The volume without the first so many entries of this type in its catalog."""
    at = CATALOG_AT + BLOCK_HEADER.size
    for entry in range(at, at + 126 * COPY_ENTRY.size, COPY_ENTRY.size):
        if count and int.from_bytes(image[entry : entry + 8], "little") == kind:
            image[entry : entry + 8] = (1).to_bytes(8, "little")
            count -= 1
    return image


def test_a_store_on_another_volume_that_is_not_here() -> None:
    image = without_entries(build([StoreSpec(), StoreSpec()]), ENTRY_STORE, 1)
    first, second = copies(image)
    assert (first.readable, second.readable) == (False, True)
    assert [problem.code for problem in first.problems] == [Code.MISSING_MEMBER]
    with pytest.raises(OpenError):
        open_mapped(first.parameters, [BytesSource(bytes(image))])


def redirected() -> tuple[bytes, bytes, bytes]:
    """A volume, the one that keeps the stores of its two shadow copies, and the older copy as it must be."""
    older = StoreSpec([Descriptor(60, 0, place(0, 0)), Descriptor(61, 63, 0, FORWARDER)])
    newer = StoreSpec([
        Descriptor(62, 0, place(1, 0)), Descriptor(64, 0, place(1, 1), OVERLAY, 0b10),
        Descriptor(60, 0, place(1, 2)),
    ])  # fmt: skip
    volume = build([])
    catalog = without_entries(build([older, newer]), ENTRY_STORE, 2)
    volume[CATALOG_AT : CATALOG_AT + BLOCK] = catalog[CATALOG_AT : CATALOG_AT + BLOCK]
    keeper = without_entries(build([older, newer]), ENTRY_COPY, 2)
    for number in range(2):
        for data in range(5):
            at = place(number, data) * BLOCK
            keeper[at : at + BLOCK] = bytes([200 + 10 * number + data]) * BLOCK
    wanted = bytearray(volume)
    for number, value in ((60, 200), (61, 63), (62, 210)):
        wanted[number * BLOCK : (number + 1) * BLOCK] = bytes([value]) * BLOCK
    return bytes(volume), bytes(keeper), bytes(wanted)


def test_stores_on_another_volume() -> None:
    volume, keeper, wanted = map(BytesSource, redirected())
    other = StoreVolume(9, "2.1", keeper)
    alone = shadow_copies(volume, 7)
    assert (len(alone.wants), [one.readable for one in alone.volumes]) == (2, [False, False])
    assert shadow_copies(keeper, 9).keeps == alone.wants
    found = shadow_copies(volume, 7, [other])
    assert found.wants == ()
    older, newer = found.volumes
    assert (older.members, older.problems, older.details["store_on"]) == ((7, 9), (), "2.1")
    assert older.details["machine"] == "lab"
    opened = open_mapped(older.parameters, [volume, keeper])
    assert opened.read_at(0, SIZE) == wanted.read_at(0, SIZE)
    now = open_mapped(newer.parameters, [volume, keeper]).read_at(0, SIZE)
    assert [block(now, number) for number in (60, 61, 62)] == [{212}, {61}, {210}]
    assert [now[64 * BLOCK + at] for at in (0, 512, 1024)] == [64, 211, 64]
    # Of two that keep the same nobody knows which.
    assert shadow_copies(volume, 7, [other, other.replaced(id=10)]).wants == alone.wants
    with pytest.raises(OpenError):
        open_mapped(older.parameters, [volume])


def test_a_catalog_that_was_never_filled() -> None:
    image = build([StoreSpec()])
    image[HEADER_AT + 48 : HEADER_AT + 56] = bytes(8)
    assert shadow_copies(BytesSource(bytes(image)), 1) == Assembly()


@pytest.mark.parametrize("following", [CATALOG_AT, 3, SIZE - 1, 1 << 63, 5 * BLOCK])
def test_a_catalog_that_leads_astray_keeps_what_was_read(following: int) -> None:
    image = build([StoreSpec([Descriptor(60, 0, place(0))])])
    image[CATALOG_AT + 40 : CATALOG_AT + 48] = following.to_bytes(8, "little")
    found = shadow_copies(BytesSource(bytes(image)), 1)
    assert (found.complete, [problem.code for problem in found.problems]) == (False, [Code.DAMAGED])
    assert block(contents(image, 0), 60) == {place(0)}


def test_no_longer_catalog_is_read_than_the_cap() -> None:
    image = bytearray(SIZE + (CATALOG_BLOCKS + 5) * BLOCK)
    image[:SIZE] = build([StoreSpec()])
    head = bytes(image[CATALOG_AT : CATALOG_AT + 40])
    image[CATALOG_AT + 40 : CATALOG_AT + 48] = SIZE.to_bytes(8, "little")
    for at in range(SIZE, len(image), BLOCK):
        image[at : at + 48] = head + (at + BLOCK).to_bytes(8, "little")
    source = Counted(bytes(image))
    assert not shadow_copies(source, 1).complete
    assert len([1 for _, length in source.reads if length == BLOCK]) == CATALOG_BLOCKS


@pytest.mark.parametrize("following", [LIST_AT, 3, SIZE, CATALOG_AT])
def test_a_list_that_leads_astray_cannot_be_read(following: int) -> None:
    image = build([StoreSpec([Descriptor(60, 0, place(0))])])
    image[LIST_AT + 40 : LIST_AT + 48] = following.to_bytes(8, "little")
    with pytest.raises(ReadError):
        contents(image, 0)


def test_a_block_that_is_beyond_the_volume_cannot_be_read() -> None:
    image = bytes(build([StoreSpec([Descriptor(60, 0, BLOCKS + 1)])]))
    source = open_mapped(copies(image)[0].parameters, [BytesSource(image)])
    with pytest.raises(ReadError):
        source.read_at(60 * BLOCK, 1)
    assert source.read_at(61 * BLOCK, 1) == bytes([61])


def test_a_copy_of_a_larger_volume() -> None:
    image = bytes(build([StoreSpec()]))[: SIZE - BLOCK]
    (found,) = copies(image)
    assert (found.size, [problem.code for problem in found.problems]) == (SIZE, [Code.TRUNCATED])
    assert len(contents(image, 0)) == SIZE - BLOCK


def test_a_store_without_its_header_still_reads() -> None:
    image = build([StoreSpec([Descriptor(60, 0, place(0))])])
    image[STORES_AT * BLOCK] ^= 1
    (found,) = copies(image)
    assert (found.uuid, [problem.code for problem in found.problems]) == (None, [Code.DAMAGED])
    assert block(contents(image, 0), 60) == {place(0)}


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"size": 1, "stores": []},
        {"size": 1, "stores": [1]},
        {"size": "1", "stores": [{}]},
        {"size": 1, "stores": [{}]},
    ],
)
def test_recipes_that_are_damaged(parameters: Any) -> None:
    with pytest.raises(OpenError):
        open_mapped(parameters, [BytesSource(bytes(SIZE))])


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([HEADER_AT, CATALOG_AT, STORES_AT * BLOCK, LIST_AT, LIST_AT + BLOCK]),
    st.integers(0, 400),
    st.binary(min_size=1, max_size=8),
)
def test_damage_never_does_worse_than_an_error(base: int, at: int, damage: bytes) -> None:
    image = build([StoreSpec([Descriptor(60, 61, 0, FORWARDER), Descriptor(62, 0, place(0), OVERLAY, 5)])])
    image[base + at : base + at + len(damage)] = damage
    data = BytesSource(bytes(image))
    try:
        for one in shadow_copies(data, 1).volumes:
            if one.readable:
                assert len(open_mapped(one.parameters, [data]).read_at(0, SIZE)) <= SIZE
    except SourceError:
        pass


def test_the_second_opinion(tmp_path: Path) -> None:
    needs("vshadowmount", "fusermount")
    if not Path("/dev/fuse").exists():
        lacking("no /dev/fuse")
    older = StoreSpec([
        Descriptor(60, 62, 0, FORWARDER), Descriptor(62, 0, place(0, 0)), Descriptor(61, 64, 0, FORWARDER),
        Descriptor(63, 0, place(0, 1), OVERLAY, 0x0F0F00F1), Descriptor(64, 0, place(0, 2)),
        Descriptor(64, 0, place(0, 3), OVERLAY, 0x80000001), Descriptor(65, 0, place(0, 4), NOT_USED),
    ])  # fmt: skip
    newer = StoreSpec(
        [
            Descriptor(62, 0, place(1, 0)),
            Descriptor(63, 0, place(1, 1), OVERLAY, 3),
            Descriptor(60, 66, 0, FORWARDER),
        ],
        unused=(60, 66, 70, 71),
        previous=(66, 70),
    )
    image = bytes(build([older, newer]))
    (tmp_path / "volume.img").write_bytes(image)
    there = tmp_path / "mounted"
    there.mkdir()
    subprocess.run(["vshadowmount", tmp_path / "volume.img", there], check=True, capture_output=True)
    try:
        said = [(there / name).read_bytes() for name in ("vss1", "vss2")]
    finally:
        subprocess.run(["fusermount", "-u", there], check=True)
    assert said == [contents(image, 0), contents(image, 1)]
