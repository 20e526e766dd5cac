"""VDI: dynamic, fixed, differencing; truncation, and headers that lie."""

import tracemalloc
from pathlib import Path

import pytest

import pyimount
from fixtures.recipes.vdi import child_of, header_of, with_header
from fixtures.recipes.vhd import convert
from fixtures.workshop import Workshop
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

CONTENT = contents(5 * MIB + 7 * 512, seed=3)
pytestmark = pytest.mark.needs("qemu-img", "qemu-io")


@pytest.fixture
def work(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def made(work: Workshop, *options: str, name: str = "disk.vdi") -> Path:
    disk = work.folder / "disk.raw"
    disk.write_bytes(CONTENT)
    return convert(work, disk, name, "vdi", *options)


@pytest.mark.parametrize("options", [(), ("-o", "static=on")], ids=["dynamic", "fixed"])
def test_it_reads_back(options: tuple[str, ...], work: Workshop) -> None:
    found = opened(made(work, *options))
    assert codes(found) == []
    assert found.source is not None
    assert_holds(found.source, CONTENT)
    assert_threads_agree(found.source, CONTENT)


def test_dissect_reads_the_same(work: Workshop) -> None:
    from dissect.hypervisor.disk.vdi import VDI

    path = made(work)
    with path.open("rb") as file:
        assert VDI(file).open().read(len(CONTENT)) == source_of(path).read_at(0, len(CONTENT))


@pytest.mark.parametrize("part", [0.3, 0.6, 0.8])
def test_cut_it_gives_what_is_left(part: float, work: Workshop) -> None:
    path = made(work)
    found = opened(cut(path, int(path.stat().st_size * part)))
    assert codes(found) == [Code.TRUNCATED]
    assert found.source is not None
    assert 0 < readable(found.source, CONTENT) < 1


@pytest.mark.parametrize("size", [64, 71, 72, 400, 512, 516, 1023])
def test_cut_within_its_header_or_map(size: int, work: Workshop) -> None:
    found = opened(cut(made(work), size))
    if found.container.type == "vdi":
        assert found.source is not None
        with pytest.raises(ReadError):
            found.source.read_at(0, len(CONTENT))
    else:
        assert size < 512


@pytest.mark.parametrize(
    "changes",
    [
        {"cbBlock": 0},
        {"cbBlock": 3 << 20},
        {"cbBlock": 1 << 31},
        {"cbDisk": 0},
        {"cbDisk": (1 << 64) - 1},
        {"u32Type": 9},
        {"cbBlockExtra": 0xFFFFFFFF},
    ],
)
def test_impossible_figures_are_not_a_vdi(changes: dict[str, int], work: Workshop) -> None:
    path = made(work)
    path.write_bytes(with_header(path.read_bytes(), **changes))
    assert opened(path).container.type == "raw"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cBlocks": 0xFFFFFFFF}, None),
        ({"cBlocks": 1}, Code.DAMAGED),
        ({"cBlocksAllocated": 0xFFFFFFFF}, Code.TRUNCATED),
        ({"offBlocks": 0xFFFFFFFF}, None),
        ({"offData": 0xFFFFFFFF}, Code.TRUNCATED),
        ({"cbBlock": 1 << 30}, Code.TRUNCATED),
        ({"cbDisk": 1 << 50}, Code.DAMAGED),
    ],
)
def test_memory_follows_no_number_of_the_image(
    changes: dict[str, int], code: Code | None, work: Workshop
) -> None:
    path = made(work)
    path.write_bytes(with_header(path.read_bytes(), **changes))
    pyimount.detect(path)
    tracemalloc.start()
    try:
        pyimount.detect(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MIB
    assert code is None or code in codes(opened(path))


def test_blocks_may_have_something_before_them(work: Workshop) -> None:
    path = made(work)
    image = path.read_bytes()
    header = header_of(image)
    extra, size = 512, header.cbBlock
    data = image[header.offData :]
    moved = b"".join(b"\xee" * extra + data[at : at + size] for at in range(0, len(data), size))
    path.write_bytes(with_header(image[: header.offData] + moved, cbBlockExtra=extra))
    found = opened(path)
    assert codes(found) == []
    assert found.source is not None
    assert_holds(found.source, CONTENT, reads=10)


def test_a_child_is_read_over_its_parent_which_is_found_by_its_uuid(work: Workshop) -> None:
    parent = made(work, name="base.vdi")
    made(work, name="another.vdi")
    (work.folder / "notes.vdi").write_bytes(b"no image")
    child = work.folder / "child.vdi"
    work.run("qemu-img", "create", "-q", "-f", "vdi", child, str(len(CONTENT)))
    work.run("qemu-io", "-f", "vdi", "-c", f"write -P 0x5a {MIB} 4096", child)
    child.write_bytes(child_of(parent.read_bytes(), child.read_bytes()))
    # QEMU knows no parents: what it wrote it has filled up with zeros to a whole block.
    content = CONTENT[:MIB] + (b"\x5a" * 4096).ljust(MIB, b"\0") + CONTENT[2 * MIB :]
    found = opened(child)
    assert codes(found) == []
    assert found.source is not None
    assert_holds(found.source, content)
    parent.unlink()
    found = opened(child)
    assert codes(found) == [Code.MISSING_BACKING_FILE]
    assert found.source is not None
    assert found.source.read_at(MIB, MIB) == content[MIB : 2 * MIB]
    with pytest.raises(ReadError, match="parent"):
        found.source.read_at(0, 512)


def test_a_parent_that_was_changed_since_is_not_taken(work: Workshop) -> None:
    parent = made(work, name="base.vdi")
    child = work.folder / "child.vdi"
    work.run("qemu-img", "create", "-q", "-f", "vdi", child, str(len(CONTENT)))
    child.write_bytes(child_of(parent.read_bytes(), child.read_bytes()))
    parent.write_bytes(with_header(parent.read_bytes(), uuidModify=b"written to since"))
    found = opened(child)
    assert codes(found) == [Code.MISSING_BACKING_FILE]
    assert "was changed since" in found.container.problems[0].message
    child.write_bytes(with_header(child.read_bytes(), uuidParentModify=bytes(16)))
    assert codes(opened(child)) == []


def test_of_two_with_the_parents_uuid_the_one_that_fits_is_taken(work: Workshop) -> None:
    parent = made(work, name="two.vdi")
    whole = parent.read_bytes()
    child = work.folder / "child.vdi"
    work.run("qemu-img", "create", "-q", "-f", "vdi", child, str(len(CONTENT)))
    child.write_bytes(child_of(whole, child.read_bytes()))
    # An older copy, or a later one: the first by its name, and not the one that the child was made over.
    (work.folder / "one.vdi").write_bytes(with_header(whole, uuidModify=b"written to since"))
    found = opened(child)
    assert codes(found) == []
    assert found.source is not None
    assert_holds(found.source, CONTENT)
    (work.folder / "three.vdi").write_bytes(whole)
    found = opened(child)
    assert codes(found) == [Code.AMBIGUOUS]
    assert "three.vdi, two.vdi" in found.container.problems[0].message


def test_a_disk_that_is_its_own_parent(work: Workshop) -> None:
    path = made(work)
    image = path.read_bytes()
    path.write_bytes(with_header(image, u32Type=4, uuidLinkage=header_of(image).uuidCreate))
    assert codes(opened(path)) == [Code.MISSING_BACKING_FILE]
