"""EWF: what the tools write reads back to the byte, and what is damaged is said and never read wrongly."""

import re
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyimount
from fixtures.recipes.ewf import acquire, e01_image, ex01_image, ex01_segments, sealed, section, smart_image
from fixtures.workshop import Workshop
from pyimount.parsers.containers import ewf2_sections, ewf_sections
from pyimount.parsers.containers.chunks import inflate, unpack_bzip2
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

CHUNK = 32768
CONTENT = contents(3 * MIB + 5 * 512)
acquires = pytest.mark.needs("ewfacquirestream", "ewfinfo")


@pytest.fixture
def work(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def made(work: Workshop, *options: str, content: bytes = CONTENT) -> list[Path]:
    """The segments of an E01 of this content."""
    disk = work.folder / "content"
    disk.write_bytes(content)
    acquire(work, disk, "disk", *options)
    disk.unlink()
    return sorted(work.folder.glob("disk.*"))


@acquires
@pytest.mark.parametrize(
    "form", ["ftk", "encase2", "encase3", "encase4", "encase5", "encase6", "linen5", "linen6"]
)
@pytest.mark.parametrize("level", ["none", "empty-block", "best"])
def test_every_variant_reads_back(form: str, level: str, work: Workshop) -> None:
    found = opened(made(work, "-f", form, "-c", level)[0])
    assert found.source is not None
    assert_holds(found.source, CONTENT, reads=50)
    assert codes(found) == []
    acquisition = found.container.details["acquisition"]
    assert isinstance(acquisition, dict)
    assert acquisition["examiner_name"] == "J. Doe"


@acquires
def test_ewfx_with_its_lower_case_name(work: Workshop) -> None:
    disk = work.folder / "content"
    disk.write_bytes(CONTENT)
    work.run("ewfacquirestream", "-q", "-f", "ewfx", "-t", work.folder / "disk", "-d", "sha1", stdin=CONTENT)
    found = opened(work.folder / "disk.e01")
    assert found.source is not None
    assert_holds(found.source, CONTENT, reads=50)
    assert isinstance(found.container.details["sha1"], str)


@acquires
@pytest.mark.parametrize("sectors", ["16", "128", "32768"])
def test_every_size_of_chunk(sectors: str, work: Workshop) -> None:
    source = source_of(made(work, "-b", sectors, "-c", "fast")[0])
    assert_holds(source, CONTENT, reads=50)


@acquires
def test_segments_read_back_as_one_in_any_thread(work: Workshop) -> None:
    paths = made(work, "-S", "1MiB", "-c", "none")
    assert len(paths) > 2
    found = opened(paths[-1])
    assert found.container.details["segments"] == len(paths)
    assert found.source is not None
    assert_holds(found.source, CONTENT)
    assert_threads_agree(found.source, CONTENT)


@acquires
def test_dissect_reads_the_same(work: Workshop) -> None:
    from dissect.evidence import EWF

    paths = made(work, "-S", "1MiB", "-c", "fast")
    disk = EWF(list(paths))
    source = source_of(paths[0])
    assert source.size == disk.size
    assert source.read_at(0, source.size) == disk.open().read()
    for name in disk._segments.values():
        name.fh.close()


@acquires
@pytest.mark.parametrize("gone", [0, 1, 2, 3])
def test_a_missing_segment_is_named_and_the_others_are_read(gone: int, work: Workshop) -> None:
    paths = made(work, "-S", "1MiB", "-c", "none")
    assert len(paths) == 4
    paths.pop(gone).unlink()
    found = opened(paths[0])
    problem = next(each for each in found.container.problems if each.code is Code.MISSING_SEGMENT)
    assert (f"E0{gone + 1}" if gone < 3 else "that follow disk.E03") in problem.message
    assert found.container.size == len(CONTENT)
    assert found.source is not None
    assert 0.6 < readable(found.source, CONTENT) < 1
    with pytest.raises(ReadError):
        found.source.read_at(min(gone * MIB + 200_000, len(CONTENT) - 512), 512)


@acquires
def test_between_two_gaps_no_place_is_known(work: Workshop) -> None:
    paths = made(work, "-S", "1MiB", "-c", "none", content=contents(5 * MIB))
    for at in (1, 3):
        paths[at].unlink()
    found = opened(paths[0])
    assert found.source is not None
    assert 0.2 < readable(found.source, contents(5 * MIB)) < 0.5
    (problem,) = found.container.problems
    assert problem.code is Code.MISSING_SEGMENT
    assert f"{paths[1].name} and {paths[3].name} are missing" in problem.message
    assert len(problem.ranges) == 1


@acquires
def test_cut_anywhere_it_opens_and_nothing_is_read_wrongly(work: Workshop) -> None:
    (path,) = made(work, "-c", "fast")
    size = path.stat().st_size
    with_header = 0
    for at in (13, 14, 100, 1000, 3000, 70_000, size // 2, size - 5000, size - 200, size - 76, size - 1):
        found = opened(cut(path, at))
        assert found.container.type == "ewf"
        assert Code.TRUNCATED in codes(found)
        if found.source is not None:
            with_header += 1
            assert found.source.size == len(CONTENT)
            readable(found.source, CONTENT, step=65536)
    assert with_header >= 7
    assert readable(source_of(cut(path, size - 200)), CONTENT) == 1


@acquires
def test_a_cut_segment_in_the_middle_loses_only_its_own(work: Workshop) -> None:
    paths = made(work, "-S", "1MiB", "-c", "none")
    with paths[1].open("r+b") as file:
        file.truncate(500_000)
    found = opened(paths[0])
    assert Code.TRUNCATED in codes(found)
    assert found.source is not None
    assert 0.5 < readable(found.source, CONTENT) < 0.75


def sections(image: bytes) -> dict[str, int]:
    """Where the sections stand; of several of one kind, the first."""
    found: dict[str, int] = {}
    offset = 13
    while True:
        section = ewf_sections.SECTION_DESCRIPTOR.construct.parse(image[offset:])
        found.setdefault(section.type.rstrip(b"\0").decode(), offset)
        if section.next_offset <= offset:
            return found
        offset = section.next_offset


def damage(path: Path, offset: int, data: bytes = b"\xde\xad") -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@acquires
@pytest.mark.parametrize("within", [76, 76 + 24 + 100])
def test_a_damaged_table_has_a_copy(within: int, work: Workshop) -> None:
    (path,) = made(work, "-c", "fast")
    at = sections(path.read_bytes())
    damage(path, at["table"] + within)
    found = opened(path)
    assert codes(found) == [Code.BACKUP_USED]
    assert found.source is not None
    assert readable(found.source, CONTENT) == 1
    damage(path, at["table2"] + within)
    found = opened(path)
    assert Code.BAD_CHECKSUM in codes(found)
    assert found.source is not None
    assert readable(found.source, CONTENT) > 0.9


@acquires
@pytest.mark.parametrize(
    ("kind", "within", "code"),
    [
        ("volume", 76 + 60, Code.BAD_CHECKSUM),
        ("volume", 40, Code.BAD_CHECKSUM),
        ("digest", 80, Code.BAD_CHECKSUM),
        ("hash", 80, Code.BAD_CHECKSUM),
        ("header2", 90, Code.DAMAGED),
    ],
)
def test_damage_beside_the_data_is_said_and_the_data_is_read(
    kind: str, within: int, code: Code, work: Workshop
) -> None:
    (path,) = made(work, "-c", "fast")
    damage(path, sections(path.read_bytes())[kind] + within)
    found = opened(path)
    assert codes(found) == [code]
    assert found.source is not None
    assert readable(found.source, CONTENT) == 1


@acquires
@pytest.mark.parametrize("level", ["none", "best"])
def test_a_damaged_chunk_is_an_error_and_its_neighbours_are_not(level: str, work: Workshop) -> None:
    (path,) = made(work, "-c", level)
    damage(path, sections(path.read_bytes())["sectors"] + 76 + 5000)
    source = source_of(path)
    with pytest.raises(ReadError, match="chunk"):
        source.read_at(0, source.size)
    assert 0.9 < readable(source, CONTENT) < 1


def lying(content: bytes, **changes: Any) -> bytes:
    """An S01 whose volume section says something else."""
    image = smart_image(content)
    at = image.index(b"volume\0") + 76
    fields = {**ewf_sections.SMART_VOLUME.construct.parse(image[at:]), **changes}
    fields.pop("_io", None)
    fields.pop("checksum")
    return (
        image[:at]
        + sealed(ewf_sections.SMART_VOLUME, **fields)
        + image[at + ewf_sections.SMART_VOLUME.size :]
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"sectors_per_chunk": 0xFFFFFFFF},
        {"bytes_per_sector": 0xFFFFFFFF},
        {"sectors_per_chunk": 0xFFFF, "bytes_per_sector": 0xFFFF},
    ],
)
def test_impossible_figures_give_facts_and_no_disk(changes: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / "disk.s01"
    path.write_bytes(lying(CONTENT, **changes))
    found = opened(path)
    assert found.source is None
    assert Code.UNSUPPORTED in codes(found)
    assert found.container.details["acquisition"]


def test_a_disk_said_to_be_larger_than_its_chunks(tmp_path: Path) -> None:
    path = tmp_path / "disk.s01"
    path.write_bytes(lying(CONTENT, number_of_sectors=0xFFFFFFFF))
    found = opened(path)
    assert codes(found) == [Code.DAMAGED]
    assert found.source is not None
    assert found.source.size == 0xFFFFFFFF * 512
    assert found.source.read_at(0, MIB) == CONTENT[:MIB]
    with pytest.raises(ReadError):
        found.source.read_at(found.source.size - 512, 512)


def peak(action: Callable[[], object]) -> int:
    """The most memory in bytes that ``action`` held."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bomb() -> bytes:
    return zlib.compress(bytes(128 * MIB), 9)


def test_a_chunk_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    image = smart_image(bytes(4 * CHUNK))
    entry = image.index(b"table\0") + 76 + 24
    packed = bomb()
    image = image[:entry] + len(image).to_bytes(4, "little") + image[entry + 4 :] + packed
    path = tmp_path / "disk.s01"
    path.write_bytes(image)
    source = source_of(path)

    def read() -> None:
        with pytest.raises(ReadError, match="more than"):
            source.read_at(0, 512)

    assert peak(read) < 4 * MIB
    assert source.read_at(CHUNK, CHUNK) == bytes(CHUNK)


def test_a_header_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    image = smart_image(CONTENT)
    start = image[:13]
    packed = section(b"header", 13, bomb())
    # What follows is moved, so its own offsets are wrong: only the header counts here.
    path = tmp_path / "disk.s01"
    path.write_bytes(start + packed + section(b"done", 13 + len(packed), b""))
    assert peak(lambda: pyimount.detect(path)) < 8 * MIB
    found = opened(path)
    assert found.source is None
    assert Code.DAMAGED in codes(found)


@pytest.mark.parametrize("count", [0, 65, 0xFFFFFFFF])
def test_a_table_that_says_it_has_other_entries(count: int, tmp_path: Path) -> None:
    image = smart_image(bytes(64 * CHUNK))
    at = image.index(b"table\0") + 76
    head = sealed(
        ewf_sections.TABLE_HEADER,
        number_of_entries=count,
        padding1=bytes(4),
        base_offset=0,
        padding2=bytes(4),
    )
    path = tmp_path / "disk.s01"
    path.write_bytes(image[:at] + head + image[at + 24 :])
    assert peak(lambda: pyimount.detect(path)) < 8 * MIB
    assert codes(opened(path)) != [] or count == 65


def test_a_chain_of_sections_that_leads_back_ends(tmp_path: Path) -> None:
    image = bytearray(smart_image(CONTENT))
    at = image.index(b"hash\0")
    image[at + 16 : at + 24] = (13).to_bytes(8, "little")
    path = tmp_path / "disk.s01"
    path.write_bytes(image)
    assert Code.LOOP in codes(opened(path))


def test_a_logical_image_is_named_and_holds_no_disk(tmp_path: Path) -> None:
    path = tmp_path / "files.L01"
    path.write_bytes(ewf_sections.LOGICAL_SIGNATURE + smart_image(CONTENT)[8:])
    found = opened(path)
    assert found.source is None
    assert found.container.details["variant"] == "L01"
    assert Code.UNSUPPORTED in codes(found)


def test_acquisition_errors_are_listed(tmp_path: Path) -> None:
    image = smart_image(CONTENT)[: -ewf_sections.SECTION_DESCRIPTOR.size]
    head = sealed(ewf_sections.ERROR2_HEADER, number_of_entries=2, unknown=bytes(512))
    runs = b"".join(number.to_bytes(4, "little") for number in (10, 2, 300, 64))
    image += section(b"error2", len(image), head + runs + zlib.adler32(runs).to_bytes(4, "little"))
    path = tmp_path / "disk.s01"
    path.write_bytes(image + section(b"done", len(image), b""))
    found = opened(path)
    assert codes(found) == []
    assert found.container.details["acquisition_errors"] == [
        {"start_sector": 10, "sectors": 2},
        {"start_sector": 300, "sectors": 64},
    ]


SMALL = contents(10 * CHUNK)
SMART = smart_image(SMALL)
EX01 = ex01_image(SMALL)


@given(st.sampled_from((SMART, EX01)), st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_changed_only_read_errors_come_of_it(
    tmp_path_factory: pytest.TempPathFactory, image: bytes, data: st.DataObject
) -> None:
    changed = bytearray(image)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(image) - 1))
        piece = data.draw(st.binary(min_size=1, max_size=8))
        changed[at : at + len(piece)] = piece
    path = tmp_path_factory.mktemp("changed") / "disk.s01"
    path.write_bytes(bytes(changed)[: data.draw(st.just(len(image)) | st.integers(0, len(image)))])
    found = opened(path)
    if found.source is None or found.container.type == "raw":
        return
    for offset in range(0, min(found.source.size, 20 * CHUNK), CHUNK):
        try:
            found.source.read_at(offset, CHUNK)
        except ReadError:
            continue


@pytest.mark.parametrize("method", [1, 2])
def test_ex01_reads_back(method: int, tmp_path: Path) -> None:
    content = contents(40 * CHUNK)
    path = tmp_path / "disk.Ex01"
    path.write_bytes(ex01_image(content, method=method))
    found = opened(path)
    assert codes(found) == []
    assert found.source is not None
    assert_holds(found.source, content)
    assert_threads_agree(found.source, content)


def test_ex01_cut_is_named_with_its_facts(tmp_path: Path) -> None:
    path = tmp_path / "disk.Ex01"
    path.write_bytes(EX01)
    found = opened(cut(path, len(EX01) - 100))
    assert found.container.size == len(SMALL)
    assert set(codes(found)) == {Code.TRUNCATED}
    assert found.source is not None
    with pytest.raises(ReadError):
        found.source.read_at(0, 512)


def test_ex01_that_is_encrypted_is_named(tmp_path: Path) -> None:
    image = bytearray(EX01)
    offset = len(image) - ewf2_sections.SECTION_DESCRIPTOR.size
    while offset:
        made: Any = ewf2_sections.SECTION_DESCRIPTOR.construct.parse(bytes(image[offset:]))
        fields = {name: made[name] for name in made if name not in ("_io", "checksum")}
        image[offset : offset + 64] = sealed(ewf2_sections.SECTION_DESCRIPTOR, **{**fields, "data_flags": 2})
        offset = made.previous_offset
    path = tmp_path / "disk.Ex01"
    path.write_bytes(image)
    found = opened(path)
    assert found.container.type == "ewf2"
    assert found.container.details["encrypted"] is True
    assert found.source is None
    assert codes(found) == [Code.UNSUPPORTED]


@pytest.mark.parametrize("size", [0, 1, 1000, CHUNK])
@pytest.mark.parametrize("unpack", [inflate, unpack_bzip2])
def test_unpacking_stops_at_its_bound(unpack: Callable[[bytes, int], bytes], size: int) -> None:
    import bz2

    pack = zlib.compress if unpack is inflate else bz2.compress
    content = contents(size) if size else b""
    packed = pack(content)
    assert unpack(packed, size) == content
    assert unpack(packed + b"padding", size) == content
    with pytest.raises(ReadError):
        unpack(packed[:-1], size)
    if size:
        with pytest.raises(ReadError):
            unpack(packed, size - 1)
    flipped = packed[:-1] + bytes([packed[-1] ^ 1])
    with pytest.raises(ReadError):
        unpack(flipped if unpack is inflate else packed[:4] + b"\0" + packed[5:], size)


@acquires
@pytest.mark.parametrize(
    "spelled",
    [
        ["disk.e01", "disk.E02", "disk.E03", "disk.E04"],
        ["disk.E01", "disk.e02", "disk.E03", "disk.e04"],
        ["Disk.E01", "disk.E02", "DISK.E03", "disk.e04"],
        ["disk.001", "disk.002", "disk.003", "disk.004"],
        ["disk.E02", "disk.E01", "disk.E04", "disk.E03"],
    ],
    ids=" ".join,
)
def test_segments_are_joined_by_their_own_numbers(spelled: list[str], work: Workshop) -> None:
    paths = made(work, "-S", "1MiB", "-c", "none")
    contents_of = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    for name, data in zip(spelled, contents_of, strict=True):
        (work.folder / name).write_bytes(data)
    for name in spelled:
        found = opened(work.folder / name)
        assert found.container.problems == ()
        assert found.container.details["segments"] == 4
        assert found.source is not None
        assert_holds(found.source, CONTENT, reads=20)


def rewritten(image: bytes, **changes: Any) -> bytes:
    """A segment in whose volume section, and in the copies of it, something else stands."""
    for found in re.finditer(rb"(?:volume|data)\0{10,12}", image):
        at = found.start() + ewf_sections.SECTION_DESCRIPTOR.size
        fields = ewf_sections.VOLUME.construct.parse(image[at:])
        kept = {name: value for name, value in fields.items() if name not in ("_io", "checksum")}
        made = sealed(ewf_sections.VOLUME, **(kept | changes))
        image = image[:at] + made + image[at + len(made) :]
    return image


@acquires
@pytest.mark.parametrize("foreign", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "marks",
    [({"set_identifier": b"A" * 16}, {"set_identifier": b"B" * 16}), ({}, {"number_of_sectors": 6150})],
    ids=["identifier", "size"],
)
def test_a_segment_of_another_acquisition_is_not_used(
    marks: tuple[dict[str, Any], dict[str, Any]], foreign: int, work: Workshop
) -> None:
    """Ewfacquirestream leaves the set identifier zero; EnCase and FTK Imager do not."""
    paths = made(work, "-S", "1MiB", "-c", "none", content=contents(3 * MIB + 5 * 512, seed=9))
    other = rewritten(paths[foreign].read_bytes(), **marks[1])
    for path in paths:
        path.unlink()
    for path in (paths := made(work, "-S", "1MiB", "-c", "none")):
        path.write_bytes(rewritten(path.read_bytes(), **marks[0]))
    paths[foreign].write_bytes(other)
    found = opened(paths[0])
    problem = next(each for each in found.container.problems if "another acquisition" in each.message)
    assert problem.code is Code.MISSING_SEGMENT
    assert problem.message.startswith(f"disk.E0{foreign + 1} is a segment of another acquisition")
    assert codes(found).count(Code.MISSING_SEGMENT) == 1
    assert found.source is not None
    assert 0.6 < readable(found.source, CONTENT) < 1


@acquires
def test_the_disk_is_as_large_as_a_later_section_says(work: Workshop) -> None:
    paths = made(work, "-S", "1MiB", "-c", "fast")
    assert len(paths) > 1
    zeros = {"number_of_chunks": 0, "number_of_sectors": 0, "sectors_per_chunk": 0}
    paths[0].write_bytes(rewritten(paths[0].read_bytes(), **zeros))
    found = opened(paths[0])
    assert codes(found) == [Code.BACKUP_USED]
    assert found.source is not None
    assert_holds(found.source, CONTENT)
    for path in paths[1:]:
        path.unlink()
    assert Code.MISSING_SEGMENT in codes(opened(paths[0]))


@pytest.mark.parametrize(
    "changes", [{"number_of_sectors": 0}, {"sectors_per_chunk": 0}, {"bytes_per_sector": 0}]
)
def test_the_disk_is_as_large_as_its_chunks_where_nothing_says_it(
    changes: dict[str, int], tmp_path: Path
) -> None:
    path = tmp_path / "disk.s01"
    path.write_bytes(lying(CONTENT, **changes))
    found = opened(path)
    assert codes(found) == [Code.BACKUP_USED]
    assert found.source is not None
    assert_holds(found.source, CONTENT)


def test_a_disk_said_to_be_smaller_than_its_chunks(tmp_path: Path) -> None:
    path = tmp_path / "disk.s01"
    path.write_bytes(lying(CONTENT, number_of_sectors=2 * MIB // 512))
    found = opened(path)
    assert codes(found) == [Code.DAMAGED]
    assert found.source is not None
    assert_holds(found.source, CONTENT[: 2 * MIB])
    path = tmp_path / "disk.Ex01"
    path.write_bytes(ex01_segments(CONTENT, sectors=2 * MIB // 512)[0])
    found = opened(path)
    assert codes(found) == [Code.DAMAGED]
    assert found.source is not None
    assert_holds(found.source, CONTENT[: 2 * MIB])


def far_apart(path: Path, gap: int, *, turned: bool) -> bytes:
    """An E01 with this gap between the halves of its data."""
    content = contents(MIB)
    before, behind = e01_image(content, gap=gap, turned=turned)
    with path.open("wb") as file:
        file.write(before)
        file.seek(gap, 1)
        file.write(behind)
    return content


@pytest.mark.needs("ewfexport")
@pytest.mark.parametrize("over", [0])
def test_beyond_2_gib_of_a_segment_all_32_bits_are_offset(over: int, work: Workshop) -> None:
    path = work.folder / "disk.E01"
    content = far_apart(path, (1 << 31) - (MIB // 2) - 2000 + over, turned=True)
    found = opened(path)
    assert codes(found) == []
    assert found.source is not None
    assert_holds(found.source, content, reads=30)
    exported = work.folder / "raw"
    work.run("ewfexport", "-q", "-u", "-f", "raw", "-t", exported, path)
    assert (work.folder / "raw.raw").read_bytes() == content


def test_a_bit_that_could_be_flag_or_offset_is_what_the_checksum_says(tmp_path: Path) -> None:
    """From far below 2 GiB to far above: the offsets rise without the bit as well."""
    content = far_apart(tmp_path / "disk.E01", (1 << 31) + 3 * MIB, turned=True)
    assert_holds(source_of(tmp_path / "disk.E01"), content, reads=30)


@pytest.mark.parametrize(
    "names", [("Ex01", "Ex02", "Ex03"), ("Tx01", "Tx02", "Tx03"), ("fx01", "Fx02", "FX03")]
)
def test_ex01_segments_are_joined_by_their_own_numbers(names: tuple[str, ...], tmp_path: Path) -> None:
    images = ex01_segments(CONTENT, 3)
    for name, image in zip(names, images, strict=True):
        (tmp_path / f"disk.{name}").write_bytes(image)
    found = opened(tmp_path / f"disk.{names[1]}")
    assert codes(found) == []
    assert found.source is not None
    assert_holds(found.source, CONTENT)


def test_an_ex01_segment_of_another_acquisition_is_not_used(tmp_path: Path) -> None:
    images = ex01_segments(CONTENT, 3)
    images[1] = ex01_segments(contents(len(CONTENT), seed=4), 3, identifier=b"another set's id")[1]
    for number, image in enumerate(images, 1):
        (tmp_path / f"disk.Ex0{number}").write_bytes(image)
    found = opened(tmp_path / "disk.Ex01")
    assert codes(found) == [Code.MISSING_SEGMENT, Code.TRUNCATED]
    assert "disk.Ex02 is a segment of another acquisition" in found.container.problems[0].message
    assert found.source is not None
    assert 0.6 < readable(found.source, CONTENT) < 0.7
