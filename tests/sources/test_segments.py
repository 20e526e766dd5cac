"""All segments are found from any one of them, in order; what is no segment is left alone."""

import itertools
import os
import socket
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyimount
from pyimount.mapping import open_layer
from pyimount.problems import Code
from pyimount.sources import pool as pool_module
from pyimount.sources.segments import Segments, gather
from tests.disks import MIB, assert_holds, assert_threads_agree, contents, opened, readable, source_of


def put(folder: Path, *names: str, size: int = 100) -> list[str]:
    paths = [folder / name for name in names]
    for path in paths:
        path.write_bytes(bytes(size))
    return [str(path) for path in paths]


def names(segments: Segments) -> list[str]:
    return [Path(path).name for path in segments.paths]


def ewf_names(count: int, first: str = "E") -> list[str]:
    """The specification's own words: .E01 to .E99, .EAA to .EZZ, then .FAA."""
    letters = [chr(ord("A") + number) for number in range(26)]
    found = [f"{first}{number:02}" for number in range(1, 100)]
    for rolling in letters[letters.index(first) :]:
        found += [f"{rolling}{a}{b}" for a in letters for b in letters]
    return found[:count]


SETS = [
    ["disk.E01", "disk.E02", "disk.E03"],
    ["disk.e01", "disk.e02"],
    ["disk.s01", "disk.s02"],
    ["disk.Ex01", "disk.Ex02", "disk.Ex03"],
    ["disk.L01", "disk.L02"],
    ["disk.001", "disk.002", "disk.003"],
    ["disk.000", "disk.001"],
    ["disk.dd.01", "disk.dd.02"],
    ["disk.00", "disk.01", "disk.02"],
    ["disk.aa", "disk.ab", "disk.ac"],
    ["disk.aaa", "disk.aab"],
    ["disk.AA", "disk.AB"],
    [".E01.001", ".E01.002"],
    ["disk.e01", "disk.E02", "disk.E03"],
    ["disk.E01", "disk.e02", "disk.E03"],
    ["Disk.E01", "disk.E02", "DISK.e03"],
    ["disk.Tx01", "disk.Tx02"],
    ["disk.Fx01", "disk.Fx02", "disk.FX03"],
    ["system.img_sparsechunk.0", "system.img_sparsechunk.1"],
    ["system.img_sparsechunk1", "system.img_sparsechunk2"],
    ["super.img.0", "super.img.1", "super.img.2"],
    ["disk.part1", "disk.part2"],
    ["disk.img.part00", "disk.img.part01"],
    ["disk.img.partaa", "disk.img.partab"],
    ["disk-000", "disk-001"],
    ["disk.img-001", "disk.img-002"],
    ["disk-aa", "disk-ab"],
    ["xaa", "xab"],
]


@pytest.mark.parametrize("members", SETS, ids=lambda members: members[0])
def test_every_segment_leads_to_all(members: list[str], tmp_path: Path) -> None:
    paths = put(tmp_path, *members)
    put(tmp_path, "notes.txt", "other.001", "diskette.E01", "disk")
    for path in paths:
        (found,) = gather([path])
        assert found.paths == tuple(paths)
        assert found.missing == ()


@pytest.mark.parametrize("members", SETS, ids=lambda members: members[0])
def test_all_segments_and_their_folder_are_one_image(members: list[str], tmp_path: Path) -> None:
    paths = put(tmp_path, *members)
    assert [found.paths for found in gather(paths[::-1])] == [tuple(paths)]
    assert [found.paths for found in gather([tmp_path])] == [tuple(paths)]
    assert [found.paths for found in gather([tmp_path, *paths])] == [tuple(paths)]


def test_after_e99_come_letters(tmp_path: Path) -> None:
    suffixes = ewf_names(99 + 26 * 26 + 30)
    assert suffixes[98:101] == ["E99", "EAA", "EAB"]
    assert suffixes[99 + 676] == "FAA"
    paths = put(tmp_path, *(f"disk.{suffix}" for suffix in suffixes))
    for named in (paths[0], paths[99], paths[-1]):
        (found,) = gather([named])
        assert found.paths == tuple(paths)
    (tmp_path / "disk.EAB").unlink()
    (tmp_path / "disk.EZZ").unlink()
    assert gather(paths[:1])[0].missing == ("disk.EAB", "disk.EZZ")


def test_after_ex99_come_letters(tmp_path: Path) -> None:
    members = [f"disk.Ex{number:02}" for number in range(1, 100)] + ["disk.ExAA", "disk.ExAB"]
    paths = put(tmp_path, *members)
    (tmp_path / "disk.ExAA").unlink()
    (found,) = gather([paths[0]])
    assert names(found) == [name for name in members if name != "disk.ExAA"]
    assert found.missing == ("disk.ExAA",)


def test_after_9_comes_10_where_no_zeros_stand_in_front(tmp_path: Path) -> None:
    paths = put(tmp_path, *(f"system.img_sparsechunk.{number}" for number in range(12)))
    for named in (paths[0], paths[11]):
        assert gather([named])[0].paths == tuple(paths)
    assert [found.paths for found in gather([tmp_path])] == [tuple(paths)]


def test_of_two_whole_sets_each_has_its_own_spelling(tmp_path: Path) -> None:
    large, small = put(tmp_path, "disk.E01", "disk.E02"), put(tmp_path, "disk.e01", "disk.e02")
    for named, whole in ((large[1], large), (small[1], small)):
        assert gather([named])[0].paths == tuple(whole)
    assert sorted(found.paths for found in gather([tmp_path])) == sorted(map(tuple, (large, small)))


def test_a_hole_is_known_by_its_place(tmp_path: Path) -> None:
    put(tmp_path, "disk.002", "disk.003", "disk.006")
    assert gather([tmp_path / "disk.003"])[0].holes == (0, 3, 4)
    put(tmp_path, "other.000", "other.002")
    assert gather([tmp_path / "other.000"])[0].holes == (1,)


def test_after_999_comes_1000(tmp_path: Path) -> None:
    paths = put(tmp_path, *(f"disk.{number:03}" for number in range(1, 1003)), size=1)
    for named in (paths[0], paths[-1]):
        assert gather([named])[0].paths == tuple(paths)


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        (["disk.E01", "disk.E04"], ("disk.E02", "disk.E03")),
        (["disk.E02", "disk.E03"], ("disk.E01",)),
        (["disk.E02"], ("disk.E01",)),
        (["disk.e02", "disk.e04"], ("disk.e01", "disk.e03")),
        (["disk.002", "disk.003"], ("disk.001",)),
        (["disk.000", "disk.002"], ("disk.001",)),
        (["disk.ab", "disk.ac", "disk.ae"], ("disk.aa", "disk.ad")),
        (["disk.Ex01", "disk.Ex03"], ("disk.Ex02",)),
    ],
)
def test_what_is_missing_is_named(there: list[str], missing: tuple[str, ...], tmp_path: Path) -> None:
    paths = put(tmp_path, *there)
    for path in paths:
        (found,) = gather([path])
        assert (names(found), found.missing) == (there, missing)


@pytest.mark.parametrize(
    ("there", "named", "alone"),
    [
        (["disk.001"], "disk.001", "disk.001"),
        (["disk.003"], "disk.003", "disk.003"),
        (["disk.2024", "disk.2025"], "disk.2024", "disk.2024"),
        (["disk.aa"], "disk.aa", "disk.aa"),
        (["disk.dd", "disk.gz"], "disk.dd", "disk.dd"),
        (["disk.aa", "disk.ab", "disk.dd"], "disk.dd", "disk.dd"),
        (["disk.E01", "disk.E02", "disk.exe"], "disk.exe", "disk.exe"),
        (["disk.1", "disk.2"], "disk.1", "disk.1"),
        (["web-01", "web-02"], "web-01", "web-01"),
        (["web-ab", "web-ac"], "web-ab", "web-ab"),
        (["disk.part1"], "disk.part1", "disk.part1"),
        (["Disk.001", "disk.002"], "Disk.001", "Disk.001"),
        (["disk.img", "disk.001"], "disk.img", "disk.img"),
        (["disk"], "disk", "disk"),
        ([".001", ".002"], ".001", ".001"),
    ],
)
def test_what_is_no_segment_stands_alone(there: list[str], named: str, alone: str, tmp_path: Path) -> None:
    put(tmp_path, *there)
    (found,) = gather([tmp_path / named])
    assert names(found) == [alone]


def test_a_later_file_that_is_larger_was_not_cut_up_with_the_first(tmp_path: Path) -> None:
    put(tmp_path, "disk.001", size=100)
    put(tmp_path, "disk.002", size=5000)
    assert [names(found) for found in gather([tmp_path / "disk.001"])] == [["disk.001"]]


def test_a_folder_holds_several_images(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a.E01",
        "a.E02",
        "b.001",
        "b.002",
        "c.vmdk",
        "c-flat.vmdk",
        "c-s001.vmdk",
        "d.img",
        "e.txt",
        "f",
    )
    found = gather([tmp_path])
    assert [names(each) for each in found] == [["a.E01", "a.E02"], ["b.001", "b.002"], ["c.vmdk"], ["d.img"]]


def test_a_parallels_disk_is_a_folder_that_is_one_image(tmp_path: Path) -> None:
    put(tmp_path, "DiskDescriptor.xml", "disk.hdd", "disk.hdd.0.hds")
    assert [names(found) for found in gather([tmp_path])] == [["DiskDescriptor.xml"]]


def test_what_is_no_plain_file_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "disk.001", "disk.003")
    os.mkfifo(tmp_path / "disk.002")
    (tmp_path / "disk.004").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "disk.005"))
        (tmp_path / "disk.006").symlink_to("nowhere")
        (found,) = gather([tmp_path])
    assert names(found) == ["disk.001", "disk.003"]
    assert found.missing == ("disk.002",)


@pytest.mark.parametrize("there", [(), ("notes.txt",)])
def test_a_folder_without_an_image_is_an_error_in_words(there: tuple[str, ...], tmp_path: Path) -> None:
    put(tmp_path, *there)
    scan = pyimount.detect(tmp_path)
    assert [(disk.size, disk.container) for disk in scan.disks] == [(None, {"type": "directory"})]
    assert scan.disks[0].is_folder
    assert pyimount.Scan.from_dict(scan.to_dict()) == scan
    assert "is a directory without disk image segments" in scan.disks[0].problems[0].message


def test_paths_that_are_none_raise_nothing(tmp_path: Path) -> None:
    bad = [
        tmp_path / "absent.001",
        Path("\0.001"),
        Path("x" * 5000 + ".E01"),
        tmp_path / "absent" / "disk.E01",
    ]
    assert [found.paths for found in gather(bad)] == [(str(path),) for path in bad]


def test_one_image_is_one_however_its_path_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "case").mkdir()
    put(tmp_path / "case", "disk.E01", "disk.E02")
    spelled = ["case/disk.E01", "./case/disk.E02", "case//disk.E01", "case/", Path("case")]
    (found,) = gather(spelled)
    assert found.paths == (str(Path("case", "disk.E01")), str(Path("case", "disk.E02")))


def test_a_folder_behind_a_link_is_left_by_the_way_it_lies(tmp_path: Path) -> None:
    """``link/..`` is where the linked folder lies, not where the link does."""
    (tmp_path / "far" / "folder").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "folder")
    put(tmp_path / "far", "disk.img", size=7)
    (found,) = gather([f"{tmp_path}/link/../disk.img"])
    assert Path(found.paths[0]).stat().st_size == 7


@given(st.lists(st.text("eExXsaz0159.", min_size=1, max_size=9), max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_names_give_each_file_once(tmp_path_factory: pytest.TempPathFactory, drawn: list[str]) -> None:
    folder = tmp_path_factory.mktemp("names")
    there = sorted({name for name in drawn if name.strip(".")})
    paths = put(folder, *there, size=1)
    found = [path for segments in gather(paths) for path in segments.paths]
    assert sorted(found) == sorted(paths)


def test_a_compressed_image_in_a_folder_is_one_by_the_name_inside(tmp_path: Path) -> None:
    put(tmp_path, "disk.img.gz", "disk.QCOW2.xz", "notes.txt.gz", "log.gz", "backup.zip", "vm.vma.zst")
    assert [names(each) for each in gather([tmp_path])] == [
        ["disk.QCOW2.xz"],
        ["disk.img.gz"],
        ["vm.vma.zst"],
    ]


def test_a_compressed_file_is_looked_at_alone(tmp_path: Path) -> None:
    paths = put(tmp_path, "disk.gz", "disk.xz", "disk.img")
    assert [each.paths for each in gather(paths)] == [(path,) for path in paths]


@pytest.mark.parametrize(
    ("there", "opener"),
    [
        (["Info.plist", "Info.bckup", "token"], "Info.plist"),
        (["DiskDescriptor.xml", "disk.hdd.0.hds"], "DiskDescriptor.xml"),
        (["file_000.aff", "file_001.aff"], "file_000.aff"),
    ],
)
def test_a_folder_that_is_an_image_is_opened_by_a_file_in_it(
    tmp_path: Path, there: list[str], opener: str
) -> None:
    put(tmp_path, *there)
    assert [names(each) for each in gather([tmp_path])] == [[opener]]


def split_up(content: bytes, folder: Path, size: int, name: str = "disk") -> list[Path]:
    paths = []
    for number, at in enumerate(range(0, len(content), size), 1):
        path = folder / f"{name}.{number:03}"
        path.write_bytes(content[at : at + size])
        paths.append(path)
    return paths


def test_a_split_disk_reads_as_the_whole(tmp_path: Path) -> None:
    content = contents(2 * MIB)
    paths = split_up(content, tmp_path, 700_001)
    found = opened(paths[1])
    assert found.container.type == "split"
    assert found.container.details == {"segments": 3, "segment_size": 700_001}
    assert found.container.problems == ()
    assert found.source is not None
    assert_holds(found.source, content)


def test_a_disk_may_have_more_segments_than_files_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "most_open", lambda: 20)
    content = contents(MIB)
    paths = split_up(content, tmp_path, 5000)
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    source = source_of(paths[0])
    assert_holds(source, content)
    assert_threads_agree(source, content)
    if before:
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 20
    source.close()


def test_a_missing_or_short_segment_is_a_problem_of_the_disk(tmp_path: Path) -> None:
    paths = split_up(contents(MIB), tmp_path, 300_000)
    paths[1].unlink()
    (problem,) = opened(paths[0]).container.problems
    assert problem.code is Code.MISSING_SEGMENT
    assert "disk.002" in problem.message
    with paths[2].open("r+b") as file:
        file.truncate(1000)
    found = [each.code for each in opened(paths[0]).container.problems]
    assert found == [Code.MISSING_SEGMENT, Code.TRUNCATED]


def test_a_segment_that_may_not_be_read_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = split_up(contents(MIB), tmp_path, 300_000)
    from pyimount.sources.broker import Broker
    from pyimount.sources.errors import OpenError

    allowed = Broker.open

    def refuse(broker: Broker, path: str, meter: object) -> object:
        if path == str(paths[2]):
            raise OpenError(f"{path}: permission denied")
        return allowed(broker, path, meter)  # type: ignore[arg-type]

    monkeypatch.setattr(Broker, "open", refuse)
    (problem,) = opened(paths[0]).container.problems
    assert problem.code is Code.MISSING_SEGMENT
    assert "disk.003" in problem.message


def test_what_is_missing_of_a_split_disk_keeps_its_place(tmp_path: Path) -> None:
    content = contents(MIB)
    paths = split_up(content, tmp_path, 200_000)
    paths[0].unlink()
    paths[2].unlink()
    with paths[3].open("r+b") as file:
        file.truncate(150_000)
    scan = pyimount.detect(paths[1])
    (disk,) = scan.disks
    assert disk.size == len(content)
    assert [(each.code, each.message) for each in disk.problems] == [
        (Code.MISSING_SEGMENT, "disk.001 and disk.003 are missing (bytes 0 to 200000, 400000 to 600000)"),
        (Code.TRUNCATED, "disk.004 is shorter than those before (bytes 750000 to 800000)"),
    ]
    again = pyimount.Scan.from_dict(scan.to_dict())
    for source in (opened(paths[1]).source, None):
        with nullcontext(source) if source else open_layer(again, again.disks[0]) as bytes_of:
            assert readable(bytes_of, content, step=50_000) == pytest.approx(598_576 / len(content))
            assert bytes_of.read_at(200_000, 200_000) == content[200_000:400_000]
            assert bytes_of.read_at(800_000, len(content)) == content[800_000:]


def test_segments_of_many_sizes_are_as_they_are(tmp_path: Path) -> None:
    """Where most are shorter than the first, none was cut off."""
    content = contents(MIB)
    cuts = [0, 400_000, 500_000, 600_000, len(content) // 2 + 200_000, len(content)]
    for number, (start, end) in enumerate(itertools.pairwise(cuts), 1):
        (tmp_path / f"disk.{number:03}").write_bytes(content[start:end])
    found = opened(tmp_path / "disk.001")
    assert found.source is not None
    assert_holds(found.source, content)
    assert {each.code for each in found.container.problems} == {Code.TRUNCATED}
