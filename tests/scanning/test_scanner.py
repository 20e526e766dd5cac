"""The scan as a whole: places, indexes, budgets, what the caller knows better."""

import json
import pickle
from pathlib import Path

import jsonschema
import pytest

import pyimount
from fixtures.workshop import Fixture, Workshop, fixtures
from pyimount.layers import Recipe, Scan, VolumeLayer
from pyimount.problems import Code
from tests.needing import needs

MIB = 1 << 20
SCHEMA = json.loads((Path(pyimount.__file__).parent / "reports" / "schema.json").read_text())


def unpacked(name: str, folder: Path) -> Path:
    return next(fixture for fixture in fixtures() if fixture.name == name).unpack(folder)


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return unpacked("demo", tmp_path)


@pytest.mark.parametrize("fixture", fixtures(), ids=lambda fixture: fixture.name)
def test_a_scan_goes_to_json_and_back_and_fits_its_schema(fixture: Fixture, tmp_path: Path) -> None:
    scan = pyimount.detect(fixture.unpack(tmp_path))
    report = scan.to_dict()
    jsonschema.validate(report, SCHEMA)
    assert Scan.from_dict(json.loads(json.dumps(report))) == scan
    assert pickle.loads(pickle.dumps(scan)) == scan  # noqa: S301  (our own)


def test_every_key_of_the_report_is_in_the_schema(demo: Path) -> None:
    strict = json.loads(json.dumps(SCHEMA))
    for kind in ("disk", "volume"):
        strict["$defs"][kind]["additionalProperties"] = False
    jsonschema.validate(pyimount.detect(demo).to_dict(), strict)


def test_a_report_of_another_schema_is_refused() -> None:
    for report in (
        {},
        {"schema": "pyimount/99"},
        {"schema": "pyimount/1"},
        {"schema": "pyimount/1", "disks": [{}]},
    ):
        with pytest.raises(ValueError, match="report"):
            Scan.from_dict(report)


def test_the_tree_of_a_disk(demo: Path) -> None:
    scan = pyimount.detect(demo)
    (disk,) = scan.disks
    children = scan.children(disk)
    assert [volume.index for volume in children if volume.flag == "alloc"] == ["1", "2", "3", "4"]
    # What no partition takes is numbered after the highest partition, in the order of the disk.
    others = [volume for volume in children if volume.flag != "alloc"]
    assert [int(volume.index) for volume in others] == list(range(5, 5 + len(others)))
    assert [volume.offset for volume in others] == sorted(volume.offset or 0 for volume in others)
    assert {volume.flag for volume in others} == {"meta", "unalloc"}
    assert scan.disk(scan["2"]) is disk
    assert scan.parents(scan["2"]) == (disk,)
    assert list(scan.walk(disk)) == list(children)


def test_a_volume_by_index_or_uuid(demo: Path) -> None:
    scan = pyimount.detect(demo)
    assert scan[(scan["2"].uuid or "").upper()] is scan["2"]
    with pytest.raises(KeyError):
        scan["99"]


def test_a_uuid_names_a_volume_before_its_shadow_copies_and_none_of_several() -> None:
    volume = VolumeLayer(id=1, parents=(0,), recipe=Recipe("none"), index="1", uuid="5CAFE")
    copies = [
        volume.replaced(
            id=2 + at, parents=(1,), index=f"1.{at}", mapping={"type": "vss", "uuid": f"copy-{at}"}
        )
        for at in range(2)
    ]
    scan = Scan((), (volume, *copies))
    assert scan["5cafe"] is volume
    assert scan["COPY-1"] is copies[1]
    twins = Scan((), (volume, volume.replaced(id=9, index="2")))
    with pytest.raises(KeyError, match="2 such volumes"):
        twins["5CAFE"]


def test_several_images_are_numbered_and_keep_their_order(demo: Path, tmp_path: Path) -> None:
    scan = pyimount.detect([demo, tmp_path / "missing.img", str(demo)])
    # The same image twice is one image.
    assert [disk.index for disk in scan.disks] == ["1", "2"]
    assert [disk.size for disk in scan.disks] == [64 * MIB, None]
    assert scan["1.2"].type == "ext4"
    assert [problem.code for problem in scan.disks[1].problems] == [Code.UNREADABLE]
    assert scan.exit_status() == 1


def test_one_volume_of_a_disk(demo: Path) -> None:
    whole = pyimount.detect(demo)
    scan = pyimount.detect(demo, offset=whole["2"].offset, size=whole["2"].size)
    (volume,) = scan.volumes
    assert (volume.index, volume.type, volume.disk_offset, volume.size) == (
        "0",
        "ext4",
        whole["2"].offset,
        whole["2"].size,
    )
    assert scan.disks[0].pttype is None


def test_an_offset_beyond_the_disk_finds_nothing(demo: Path) -> None:
    scan = pyimount.detect(demo, offset=1 << 60)
    assert [volume.type for volume in scan.volumes] == [None]


@pytest.mark.parametrize(
    "arguments", [{"offset": -1}, {"size": -1}, {"sector_size": 500}, {"sector_size": 0}]
)
def test_arguments_that_cannot_be_are_refused(demo: Path, arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="bytes"):
        pyimount.detect(demo, **arguments)  # type: ignore[arg-type]


def test_a_table_that_the_caller_denies_is_not_looked_for(demo: Path) -> None:
    scan = pyimount.detect(demo, vstype="none")
    assert [disk.pttype for disk in scan.disks] == [None]
    assert pyimount.detect(demo, vstype="dos").disks[0].pttype != "gpt"
    assert pyimount.detect(demo, vstype="gpt").disks[0].pttype == "gpt"


def test_a_table_may_be_denied_for_one_disk_or_volume(demo: Path) -> None:
    usual = pyimount.detect(demo)
    assert pyimount.detect(demo, vstype={0: "none"}).disks[0].pttype is None
    assert pyimount.detect(demo, vstype={"*": "none"}).disks[0].pttype is None
    for told in ({"1": "none"}, {"0": "gpt", "*": "none"}, {"0": "detect"}):
        assert pyimount.detect(demo, vstype=told).to_dict()["disks"][0]["pttype"] == "gpt", told
    assert pyimount.detect(demo, vstype={"9": "none"}).to_dict()["disks"] == usual.to_dict()["disks"]


def test_a_type_that_the_caller_names_is_held_against_the_bytes(demo: Path) -> None:
    scan = pyimount.detect(demo, fstypes={2: "ntfs", "3": "ntfs"})
    assert scan["2"].type is None
    assert [problem.code for problem in scan["2"].problems] == [Code.NOT_AS_TOLD]
    assert scan["3"].type == "ntfs"
    assert scan["3"].problems == ()


def test_a_budget_of_bytes_stops_the_scan_and_keeps_what_was_read(demo: Path) -> None:
    less = pyimount.detect(demo).disks[0].bytes_read - 10_000
    scan = pyimount.detect(demo, budget=pyimount.Budget(bytes_read=less))
    assert scan.disks[0].bytes_read <= less
    assert [problem.code for problem in scan.disks[0].problems] == [Code.BUDGET]
    assert [volume.index for volume in scan.volumes if volume.flag == "alloc"] == ["1", "2", "3", "4"]
    assert scan["1"].type == "vfat"
    assert scan["4"].type is None


def test_budgets_of_layers_depth_and_time(demo: Path) -> None:
    for budget, most in (
        (pyimount.Budget(layers=3), 3),
        (pyimount.Budget(depth=0), 0),
        (pyimount.Budget(seconds=0), 99),
    ):
        scan = pyimount.detect(demo, budget=budget)
        assert len(scan.volumes) <= most
        assert Code.BUDGET in [problem.code for problem in scan.disks[0].problems]


def test_a_file_system_cut_short_says_so(tmp_path: Path) -> None:
    image = unpacked("ext4", tmp_path)
    with image.open("r+b") as file:
        file.truncate(MIB)
    (volume,) = pyimount.detect(image).volumes
    assert volume.type == "ext4"
    assert [problem.code for problem in volume.problems] == [Code.TRUNCATED]


def test_a_sparse_image_costs_what_a_small_one_does(tmp_path: Path) -> None:
    image = unpacked("ext4", tmp_path)
    small = pyimount.detect(image).disks[0].bytes_read
    with image.open("r+b") as file:
        file.truncate(100 << 30)
    big = pyimount.detect(image)
    assert big.volumes[0].type == "ext4"
    assert big.disks[0].bytes_read <= small + 4096


def test_an_empty_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.img").touch()
    scan = pyimount.detect(tmp_path / "empty.img")
    assert scan.exit_status() == 1
    assert [problem.code for problem in scan.disks[0].problems] == [Code.UNREADABLE]


@pytest.mark.parametrize("size", [1, 511, 512, 513, 5 * MIB])
@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"Evidence.\n"])
def test_what_is_no_image_is_not_recognised(tmp_path: Path, size: int, filling: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes((filling * (size // len(filling) + 1))[:size])
    scan = pyimount.detect(path)
    assert scan.exit_status() == 0
    assert scan.exit_status(strict=True) == 3
    assert [(volume.type, volume.pttype, volume.size) for volume in scan.volumes] == [(None, None, size)]


def test_a_file_that_shrinks_while_it_is_read(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyimount.sources.file import FileSource

    whole = FileSource._read

    def shrink_then_read(self: FileSource, offset: int, length: int) -> bytes:
        if offset >= 9 * MIB:
            with demo.open("r+b") as file:
                file.truncate(9 * MIB)
        return whole(self, offset, length)

    monkeypatch.setattr(FileSource, "_read", shrink_then_read)
    scan = pyimount.detect(demo)
    assert scan["1"].type == "vfat"
    assert Code.READ_ERROR in [problem.code for problem in scan["2"].problems]


def test_the_image_is_not_written(demo: Path) -> None:
    before, stat = demo.read_bytes(), demo.stat()
    pyimount.detect(demo)
    assert demo.read_bytes() == before
    assert demo.stat().st_mtime_ns == stat.st_mtime_ns


def test_nothing_stays_open(demo: Path) -> None:
    pyimount.detect(demo)
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        pyimount.detect([demo, demo.parent / "missing"])
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_volumes_of_a_real_disk_match_the_sleuth_kit(demo: Path, tmp_path: Path) -> None:
    needs("mmls")
    said = Workshop(tmp_path).run("mmls", "-r", "-t", "gpt", demo)
    # "004:  000       0000002048   0000018431   0000016384   EFI"; the slot of others is no number.
    lines = [fields for line in said.splitlines() if len(fields := line.split()) > 4 and fields[1].isdigit()]
    theirs = [(int(fields[2]) * 512, int(fields[4]) * 512) for fields in lines]
    ours = [
        (volume.offset, volume.size) for volume in pyimount.detect(demo).volumes if volume.flag == "alloc"
    ]
    assert ours == theirs
