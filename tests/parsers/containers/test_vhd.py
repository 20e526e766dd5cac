"""VHD: fixed, dynamic, differencing; footers, checksums, truncation, and headers that lie."""

import shutil
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyimount
from fixtures.recipes.vhd import convert, differencing, sealed
from fixtures.workshop import Workshop
from pyimount.parsers.containers import vhd
from pyimount.problems import Code
from pyimount.sources.errors import ReadError
from tests.disks import (
    MIB,
    assert_holds,
    assert_threads_agree,
    codes,
    contents,
    cut,
    opened,
    readable,
    source_of,
)

SECTOR = 512
BLOCK = 2 * MIB
CONTENT = contents(7 * MIB + 3 * SECTOR)
pytestmark = pytest.mark.needs("qemu-img")


@pytest.fixture
def work(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def made(
    work: Workshop, subformat: str = "dynamic", name: str = "disk.vhd", content: bytes = CONTENT
) -> Path:
    disk = work.folder / f"{name}.raw"
    disk.write_bytes(content)
    return convert(work, disk, name, "vpc", "-o", f"subformat={subformat},force_size=on")


def write(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def with_header(path: Path, **changes: Any) -> None:
    """Change the dynamic disk header, checksum included."""
    raw = path.read_bytes()[SECTOR : SECTOR + 1024]
    built = vhd.DYNAMIC_HEADER.construct.build({**vhd.DYNAMIC_HEADER.construct.parse(raw), **changes})
    write(path, SECTOR, sealed(built, 36))


def with_footer(path: Path, **changes: Any) -> None:
    """Change the footer and its copy, checksums included."""
    image = path.read_bytes()
    raw = sealed(
        vhd.FOOTER.construct.build({**vhd.FOOTER.construct.parse(image[-512:]), **changes}) + b"\0", 64
    )
    write(path, len(image) - 512, raw)
    if image.startswith(vhd.COOKIE):
        write(path, 0, raw)


@pytest.mark.parametrize("subformat", ["dynamic", "fixed"])
def test_it_reads_back(subformat: str, work: Workshop) -> None:
    found = opened(made(work, subformat))
    assert codes(found) == []
    assert found.container.details["variant"] == subformat
    assert found.source is not None
    assert_holds(found.source, CONTENT)
    assert_threads_agree(found.source, CONTENT)


@pytest.mark.parametrize("subformat", ["dynamic", "fixed"])
def test_dissect_reads_the_same(subformat: str, work: Workshop) -> None:
    from dissect.hypervisor.disk.vhd import VHD

    path = made(work, subformat)
    with path.open("rb") as file:
        assert VHD(file).read(len(CONTENT)) == source_of(path).read_at(0, len(CONTENT))


def test_a_footer_of_511_bytes(work: Workshop) -> None:
    path = made(work, "fixed")
    size = path.stat().st_size
    found = opened(cut(path, size - 1))
    assert found.container.type == "vhd"
    assert found.source is not None
    assert readable(found.source, CONTENT) == 1


def test_without_its_footer_the_copy_serves(work: Workshop) -> None:
    path = made(work)
    size = path.stat().st_size
    write(path, size - 512, bytes(512))
    found = opened(path)
    assert codes(found) == [Code.BACKUP_USED]
    assert found.source is not None
    assert_holds(found.source, CONTENT, reads=20)


def test_a_footer_with_a_wrong_checksum_gives_way_to_the_copy(work: Workshop) -> None:
    path = made(work)
    write(path, path.stat().st_size - 512 + 24, b"\x7f")
    found = opened(path)
    assert codes(found) == [Code.BACKUP_USED]
    assert found.container.size == len(CONTENT)
    write(path, 24, b"\x7f")
    assert codes(opened(path)) == [Code.BAD_CHECKSUM]


def test_without_a_footer_a_fixed_disk_is_raw(work: Workshop) -> None:
    path = made(work, "fixed")
    found = opened(cut(path, path.stat().st_size - 512))
    assert found.container.type == "raw"
    assert found.source is not None
    assert_holds(found.source, CONTENT, reads=5)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.8])
def test_cut_it_gives_what_is_left(part: float, work: Workshop) -> None:
    path = made(work)
    found = opened(cut(path, int(path.stat().st_size * part)))
    assert codes(found) == [Code.BACKUP_USED, Code.TRUNCATED]
    assert found.source is not None
    assert 0 < readable(found.source, CONTENT) < 1


@pytest.mark.parametrize("size", [1, 511, 512, 1000, 1536, 1540])
def test_cut_within_its_headers(size: int, work: Workshop) -> None:
    found = opened(cut(made(work), size))
    if found.source is not None and found.container.type == "vhd":
        with pytest.raises(ReadError):
            found.source.read_at(0, len(CONTENT))


def test_a_size_that_is_not_the_geometrys(work: Workshop) -> None:
    disk = work.folder / "disk.raw"
    disk.write_bytes(CONTENT)
    path = convert(work, disk, "disk.vhd", "vpc")  # rounded up to whole cylinders
    found = opened(path)
    assert found.container.size is not None
    assert found.container.size > len(CONTENT)
    assert "geometry_size" not in found.container.details
    with_footer(path, current_size=len(CONTENT))
    found = opened(path)
    assert found.container.size == len(CONTENT)
    geometry_size = found.container.details["geometry_size"]
    assert isinstance(geometry_size, int)
    assert geometry_size > len(CONTENT)


def test_a_fixed_disk_that_says_it_is_larger(work: Workshop) -> None:
    path = made(work, "fixed")
    with_footer(path, current_size=1 << 40)
    found = opened(path)
    assert codes(found) == [Code.TRUNCATED]
    assert found.source is not None
    assert found.source.read_at(0, len(CONTENT)) == CONTENT
    with pytest.raises(ReadError):
        found.source.read_at(len(CONTENT), SECTOR)
    with pytest.raises(ReadError):
        found.source.read_at(1 << 39, SECTOR)


@pytest.mark.parametrize("block_size", [0, 1, 511, 3 << 20, 1 << 31, 0xFFFFFFFF])
def test_impossible_blocks(block_size: int, work: Workshop) -> None:
    path = made(work)
    with_header(path, block_size=block_size)
    found = opened(path)
    assert found.container.type == "vhd"
    assert found.source is None
    assert codes(found) == [Code.DAMAGED]


@pytest.mark.parametrize(
    "changes",
    [
        {"max_table_entries": 0xFFFFFFFF},
        {"max_table_entries": 0},
        {"table_offset": (1 << 64) - 1},
        {"block_size": 1 << 30},
        {"block_size": 512, "max_table_entries": 0xFFFFFFFF},
    ],
)
def test_memory_follows_no_number_of_the_image(changes: dict[str, int], work: Workshop) -> None:
    path = made(work)
    with_header(path, **changes)
    pyimount.detect(path)
    tracemalloc.start()
    try:
        pyimount.detect(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MIB


def test_a_table_that_is_too_short(work: Workshop) -> None:
    path = made(work)
    with_header(path, max_table_entries=1)
    found = opened(path)
    assert codes(found) == [Code.DAMAGED]
    assert found.source is not None
    assert found.source.read_at(0, BLOCK) == CONTENT[:BLOCK]
    with pytest.raises(ReadError):
        found.source.read_at(BLOCK, SECTOR)


class Family:
    """A parent, its child, and what the child's disk holds."""

    def __init__(self, work: Workshop) -> None:
        self.parent = made(work, name="parent.vhd")
        dice = contents(64 * SECTOR, seed=9)
        own = {
            number: dice[index * SECTOR :][:SECTOR]
            for index, number in enumerate((0, 7, 8, 9, 100, 4094, 4095))
        }
        self.child = work.folder / "child.vhd"
        blocks = {1: own, 3: {0: b"\x11" * SECTOR}}
        self.child.write_bytes(differencing(self.parent.read_bytes(), r"..\vm\parent.vhd", blocks))
        content = bytearray(CONTENT)
        for block, sectors in blocks.items():
            for number, data in sectors.items():
                at = block * BLOCK + number * SECTOR
                content[at : at + SECTOR] = data
        self.content = bytes(content)


def test_a_child_shows_its_own_sectors_over_its_parents(work: Workshop) -> None:
    family = Family(work)
    found = opened(family.child)
    assert codes(found) == []
    assert found.source is not None
    assert_holds(found.source, family.content)
    assert_threads_agree(found.source, family.content)


def test_a_childs_child(work: Workshop) -> None:
    family = Family(work)
    path = work.folder / "grandchild.vhd"
    path.write_bytes(differencing(family.child.read_bytes(), "child.vhd", {0: {5: b"\x22" * SECTOR}}))
    content = family.content[: 5 * SECTOR] + b"\x22" * SECTOR + family.content[6 * SECTOR :]
    assert_holds(source_of(path), content, reads=20)
    family.parent.unlink()
    found = opened(path)
    assert codes(found) == [Code.MISSING_BACKING_FILE]
    assert found.source is not None
    assert found.source.read_at(5 * SECTOR, SECTOR) == b"\x22" * SECTOR


def test_without_its_parent_a_child_gives_what_it_has(work: Workshop) -> None:
    family = Family(work)
    family.parent.unlink()
    found = opened(family.child)
    assert codes(found) == [Code.MISSING_BACKING_FILE]
    assert found.container.size == len(CONTENT)
    assert found.source is not None
    assert (
        found.source.read_at(BLOCK + 7 * SECTOR, 3 * SECTOR)
        == family.content[BLOCK + 7 * SECTOR :][: 3 * SECTOR]
    )
    for offset in (0, BLOCK + SECTOR):
        with pytest.raises(ReadError, match="parent"):
            found.source.read_at(offset, SECTOR)


def test_a_parent_elsewhere_is_opened_only_where_that_is_allowed(work: Workshop) -> None:
    family = Family(work)
    (work.folder / "vm").mkdir()
    (work.folder / "snapshots").mkdir()
    shutil.move(family.parent, work.folder / "vm")
    child = Path(shutil.move(family.child, work.folder / "snapshots"))
    assert codes(opened(child)) == [Code.MISSING_BACKING_FILE]
    assert_holds(source_of(child, allow=(work.folder,)), family.content, reads=5)


def test_another_disk_of_the_parents_name_is_not_taken(work: Workshop) -> None:
    family = Family(work)
    made(work, name="parent.vhd")
    found = opened(family.child)
    assert codes(found) == [Code.MISSING_BACKING_FILE]
    assert "unique id" in found.container.problems[0].message


@pytest.mark.parametrize(("since", "taken"), [(0, True), (1000, True), (-1, False)])
def test_a_parent_made_after_its_last_change_is_another(since: int, taken: bool, work: Workshop) -> None:
    """``since``: seconds from when the parent was made to its last change that the child knows of."""
    parent = made(work, name="parent.vhd").read_bytes()
    changed = vhd.FOOTER.construct.parse(parent[-SECTOR:]).time_stamp + since
    child = work.folder / "child.vhd"
    child.write_bytes(differencing(parent, "parent.vhd", {}, parent_time_stamp=changed))
    found = opened(child)
    assert codes(found) == ([] if taken else [Code.MISSING_BACKING_FILE])
    assert taken or "was made at" in found.container.problems[0].message


def test_a_parent_named_by_a_macs_url(work: Workshop) -> None:
    parent = made(work, name="the parent.vhd").read_bytes()
    child = work.folder / "child.vhd"
    name = "file://localhost/Users/me/the%20parent.vhd"
    child.write_bytes(differencing(parent, name, {}, code=b"MacX"))
    assert codes(opened(child)) == []
    assert_holds(source_of(child), CONTENT, reads=5)


@pytest.mark.parametrize(
    "name",
    ["file://[", "file://[::1/x.vhd", "file://a]b/x.vhd", "file://\u2100/x.vhd", "%00", "file:%zz", "//["],
)
def test_a_macs_url_that_is_none(name: str, work: Workshop) -> None:
    parent = made(work, name="the parent.vhd").read_bytes()
    child = work.folder / "child.vhd"
    child.write_bytes(differencing(parent, name, {}, code=b"MacX"))
    assert codes(opened(child)) == [Code.MISSING_BACKING_FILE]


def test_a_disk_that_is_its_own_parent(work: Workshop) -> None:
    family = Family(work)
    family.parent.unlink()
    path = family.child.rename(work.folder / "parent.vhd")
    found = opened(path)
    assert codes(found) == [Code.MISSING_BACKING_FILE]
    assert "leads back" in found.container.problems[0].message


def test_a_bitmap_beyond_the_end_is_a_read_error(work: Workshop) -> None:
    family = Family(work)
    table = struct.pack(">I", 0x00FFFFFF)
    write(family.child, 3 * SECTOR + 4, table)
    source = source_of(family.child)
    with pytest.raises(ReadError):
        source.read_at(BLOCK, SECTOR)
    assert source.read_at(0, SECTOR) == CONTENT[:SECTOR]


SMALL = contents(3 * 4096)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_whatever_is_changed_only_read_errors_come_of_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    footer = {
        "cookie": vhd.COOKIE,
        "features": 2,
        "file_format_version": 0x10000,
        "data_offset": 0,
        "time_stamp": 1,
        "creator_application": b"test",
        "creator_version": 0,
        "creator_host_os": b"Wi2k",
        "original_size": len(SMALL),
        "current_size": len(SMALL),
        "cylinders": 1,
        "heads": 1,
        "sectors_per_track": 1,
        "disk_type": vhd.FIXED,
        "checksum": 0,
        "unique_id": b"a parent's uuid.",
        "saved_state": 0,
        "reserved": bytes(426),
    }
    parent = SMALL + sealed(vhd.FOOTER.construct.build(footer) + b"\0", 64)
    child = bytearray(
        differencing(parent, "parent.vhd", {0: {1: bytes(SECTOR)}, 2: {3: bytes(SECTOR)}}, 4096)
    )
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(child) - 1))
        child[at : at + 4] = data.draw(st.binary(min_size=1, max_size=4))
    folder = tmp_path_factory.mktemp("changed")
    (folder / "parent.vhd").write_bytes(parent)
    (folder / "child.vhd").write_bytes(child)
    found = opened(folder / "child.vhd")
    if found.source is None:
        return
    for offset in (0, 512, 4096, 8192, found.source.size - 512):
        try:
            found.source.read_at(max(0, offset), 1024)
        except ReadError:
            continue
