"""The search: what stands anywhere on a disk is found once, and what only looks like it is not."""

import json
import os
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

import pyimount
from pyimount.layers import VolumeLayer
from pyimount.recognition import searching
from pyimount.recognition.anywhere import Magics
from pyimount.recognition.registry import plain_signatures
from pyimount.recognition.searching import Extents, Search
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource, Source
from tests.kept import kept, put

SECTOR = 512
MIB = 1 << 20


def laid_out(*parts: tuple[int, bytes | bytearray], size: int = 4 * MIB) -> bytearray:
    """A flash chip's contents: erased, but for these, each at a sector."""
    image = bytearray(b"\xff") * size
    for sector, content in parts:
        put(image, sector * SECTOR, bytes(content))
    return image


def searched(folder: Path, image: bytes | bytearray, **more: object) -> pyimount.Scan:
    path = folder / "image.bin"
    path.write_bytes(image)
    return pyimount.detect(path, search=True, **more)  # type: ignore[arg-type]


def lines(scan: pyimount.Scan) -> list[tuple[str, str | None, int | None]]:
    """Index, type and place in sectors of every volume."""
    return [
        (volume.index, volume.type, None if volume.disk_offset is None else volume.disk_offset // SECTOR)
        for volume in scan.volumes
    ]


def test_a_firmware_with_several_file_systems(tmp_path: Path) -> None:
    jffs2 = bytes(kept("jffs2"))
    image = laid_out((0, kept("u-boot-multi")), (77, kept("squashfs")), (2001, jffs2), (4003, kept("cramfs")))
    scan = searched(tmp_path, image)
    assert lines(scan) == [
        ("0", "u-boot", 0),
        ("0.0", "cpio", 9),
        ("1", "squashfs", 77),
        ("2", "jffs2", 2001),
        ("3", "cramfs", 4003),
    ]
    squashfs, flash = scan["1"], scan["2"]
    assert (squashfs.flag, squashfs.slot, squashfs.size) == ("alloc", None, squashfs.fs_size)
    assert squashfs.details["found_by"] == "search"
    # It says nothing of its size, and so reaches to what comes next; its many blocks are one file system.
    assert flash.size == (4003 - 2001) * SECTOR
    assert [problem.code for problem in squashfs.problems] == []


def test_without_a_search_none_of_it_is_found(tmp_path: Path) -> None:
    path = tmp_path / "image.bin"
    path.write_bytes(laid_out((0, kept("u-boot-multi")), (77, kept("squashfs"))))
    assert [volume.type for volume in pyimount.detect(path).volumes] == ["u-boot", "cpio"]


@pytest.mark.parametrize("sector", [1, 2047, 2048, 4096, 6001])
@pytest.mark.parametrize("name", ["ext4", "btrfs", "iso9660", "xfs", "ntfs", "fat16", "exfat", "hfsplus"])
def test_what_begins_at_any_sector_is_found_there_alone(name: str, sector: int, tmp_path: Path) -> None:
    """Signatures lie from 3 bytes to 64 KiB behind the start, and their pieces are read one by one."""
    volume = kept(name)
    image = bytes(sector * SECTOR) + volume + bytes(MIB)
    scan = searched(tmp_path, image)
    whole = [layer for layer in scan.volumes if layer.index != "0"]
    expected = pyimount.detect(tmp_path / "image.bin", offset=sector * SECTOR).volumes[0]
    assert [(each.index, each.type, each.disk_offset, each.uuid) for each in whole] == [
        ("1", expected.type, sector * SECTOR, expected.uuid)
    ]


def test_what_lies_within_something_found_is_not_found_again(tmp_path: Path) -> None:
    squashfs = bytes(kept("squashfs"))
    outer = kept("ext4")
    inside = len(outer) // 2 // SECTOR
    put(outer, inside * SECTOR, squashfs)
    image = laid_out((9, outer), (9 + len(outer) // SECTOR + 1, squashfs), size=len(outer) + 2 * MIB)
    assert [line[1:] for line in lines(searched(tmp_path, image))] == [
        (None, 0),
        ("ext4", 9),
        ("squashfs", 9 + len(outer) // SECTOR + 1),
    ]


def test_what_a_partition_table_names_is_not_found_again(tmp_path: Path) -> None:
    image = bytearray(kept("demo"))
    without = pyimount.detect(_written(tmp_path, image)).volumes
    assert lines(searched(tmp_path, image)) == lines(pyimount.Scan((), without))
    # Behind all that the table knows, there is something it does not know.
    image += bytes(7 * SECTOR) + kept("squashfs")
    found = [volume for volume in searched(tmp_path, image).volumes if "found_by" in volume.details]
    assert [volume.type for volume in found] == ["squashfs"]
    taken = {volume.index for volume in without}
    assert found[0].index not in taken
    assert int(found[0].index) > max(int(index.partition(".")[0]) for index in taken)


def _written(folder: Path, image: bytes | bytearray) -> Path:
    path = folder / "image.bin"
    path.write_bytes(image)
    return path


def test_a_disk_within_a_disk_is_found_by_its_table(tmp_path: Path) -> None:
    scan = searched(tmp_path, bytes(33 * SECTOR) + kept("gpt"))
    table = scan["1"]
    assert (table.pttype, table.disk_offset, table.table["found_by"]) == ("gpt", 33 * SECTOR, "search")
    assert all(volume.index.startswith(("0", "1")) for volume in scan.volumes)


def test_several_disks_keep_their_numbers_apart(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(bytes(SECTOR) + kept("squashfs"))
    scan = pyimount.detect([tmp_path / "a.bin", tmp_path / "b.bin"], search=True)
    assert [volume.index for volume in scan.volumes] == ["1.0", "1.1", "2.0", "2.1"]
    assert pyimount.Scan.from_dict(json.loads(json.dumps(scan.to_dict()))) == scan


def test_the_search_keeps_to_the_place_that_was_named(tmp_path: Path) -> None:
    squashfs = bytes(kept("squashfs"))
    image = laid_out((3, squashfs), (2001, squashfs), (5001, squashfs))
    scan = searched(tmp_path, image, offset=1000 * SECTOR, size=2000 * SECTOR)
    assert lines(scan) == [("0", None, 1000), ("1", "squashfs", 2001)]


def test_magics_of_which_nothing_is_true(tmp_path: Path) -> None:
    image = bytearray(2 * MIB)
    chance = random.Random(1)  # noqa: S311
    for magic, offset, _ in plain_signatures():
        for _ in range(20):
            at = chance.randrange(4000) * SECTOR + offset % SECTOR
            if offset >= 0 and at + len(magic) <= len(image):
                put(image, at, magic)
    scan = searched(tmp_path, image)
    assert [volume.type for volume in scan.volumes if "found_by" in volume.details] == []


def superblocks(size: int) -> bytes:
    """A disk with a small whole SquashFS at every other sector."""
    block = bytearray(kept("squashfs")[:96])
    put(block, 40, (SECTOR).to_bytes(8, "little"))  # bytes_used
    for at in (48, 64, 72):
        put(block, at, (200).to_bytes(8, "little"))
    return bytes(block.ljust(2 * SECTOR, b"\0")) * (size // (2 * SECTOR))


def test_a_disk_full_of_file_systems_stays_within_the_budget(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        scan = searched(tmp_path, superblocks(8 * MIB), budget=pyimount.Budget(layers=50, seconds=60))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [problem.code for problem in scan.disks[0].problems] == ["budget"]
    assert len(scan.volumes) == 51
    assert peak < 40 * MIB


@pytest.mark.parametrize("budget", [pyimount.Budget(bytes_read=6 * MIB), pyimount.Budget(seconds=0.05)])
def test_what_was_found_before_the_budget_ended_is_reported(budget: pyimount.Budget, tmp_path: Path) -> None:
    image = (
        bytes(SECTOR) + bytes(kept("squashfs")).ljust(4 * MIB, b"\0") + b"hsqs".ljust(SECTOR, b"\1") * 50_000
    )
    scan = searched(tmp_path, image, budget=budget)
    assert {problem.code for problem in scan.disks[0].problems} == {"budget"}
    assert "squashfs" in [volume.type for volume in scan.volumes] or budget.seconds < 1


class Damaged(BytesSource):
    """A disk of which a run cannot be read."""

    def __init__(self, data: bytes, bad: range) -> None:
        super().__init__(data)
        self._bad = bad

    def _read(self, offset: int, length: int) -> bytes:
        if offset < self._bad.stop and offset + length > self._bad.start:
            raise ReadError("a bad sector")
        return super()._read(offset, length)


def found_in(source: Source) -> tuple[list[int], int]:
    search = Search(source, Extents(), None, None)
    assert search.run(100)
    return [found.offset for found in search.found()], search.unreadable


def test_what_cannot_be_read_is_passed_over() -> None:
    squashfs = bytes(kept("squashfs"))
    image = laid_out((100, squashfs), (1000, squashfs), (3000, squashfs))
    bad = range(500 * SECTOR, 510 * SECTOR)
    offsets, unreadable = found_in(Damaged(bytes(image), bad))
    assert offsets == [100 * SECTOR, 1000 * SECTOR, 3000 * SECTOR]
    assert 0 < unreadable <= 128 << 10


def test_what_is_known_is_not_even_read() -> None:
    class Counting(BytesSource):
        reads = 0

        def _read(self, offset: int, length: int) -> bytes:
            type(self).reads += length
            return super()._read(offset, length)

    known = Extents()
    known.add(SECTOR, 60 * MIB)
    source = Counting(bytes(64 * MIB))
    told: list[tuple[int, int]] = []
    assert Search(source, known, None, lambda done, total: told.append((done, total))).run(10)
    assert Counting.reads < 8 * MIB
    assert told[-1] == (64 * MIB, 64 * MIB)
    assert told == sorted(told)


def test_extents() -> None:
    extents = Extents()
    for offset, size in ((10, 5), (30, 10), (32, 2), (0, 3), (28, 20), (60, 0)):
        extents.add(offset, size)
    assert [extents.end_of(at) for at in (0, 2, 3, 12, 15, 29, 33, 47, 48, 60)] == [
        3, 3, 3, 15, 15, 48, 48, 48, 48, 60,
    ]  # fmt: skip
    assert [extents.next_start(at) for at in (0, 9, 10, 28)] == [10, 10, 28, None]


def test_which_formats_a_search_does_not_find() -> None:
    names = searching.unsearched()
    assert {"mbr", "minix", "isw_raid"} <= set(names)
    assert not {"ext", "hfsplus", "nilfs2", "squashfs", "gpt"} & set(names)


def test_the_command_searches(tmp_path: Path) -> None:
    path = _written(tmp_path, laid_out((77, kept("squashfs"))))
    command = [sys.executable, "-m", "pyimount", "detect", "--search", "--json", path]
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    volumes = json.loads(done.stdout)["disks"][0]["volumes"]
    assert [volume["type"] for volume in volumes] == [None, "squashfs"]
    assert done.stderr == ""  # no bar where there is no terminal


def test_every_layer_found_is_a_slice_of_the_disk(tmp_path: Path) -> None:
    scan = searched(tmp_path, laid_out((77, kept("squashfs"))))
    found = scan["1"]
    assert isinstance(found, VolumeLayer)
    assert found.recipe.kind == "slice"
    assert found.recipe.parameters == {"offset": 77 * SECTOR, "size": found.size}
    assert found.parents == (scan.disks[0].id,)


@pytest.mark.parametrize("at", [4, 0x12344, MIB - 4, MIB - 2 * SECTOR + 4])
def test_what_firmware_is_made_of_is_found_at_any_word(at: int, tmp_path: Path) -> None:
    image = bytearray(random.Random(at).randbytes(2 * MIB))  # noqa: S311  (the same every time)
    put(image, at, kept("squashfs"))
    found = [layer for layer in searched(tmp_path, image).volumes if layer.type is not None]
    assert [(layer.type, layer.disk_offset) for layer in found] == [("squashfs", at)]


@pytest.mark.parametrize("name", ["ext4", "squashfs", "ntfs", "btrfs"])
@pytest.mark.parametrize(("at", "align"), [(0x12333, 1), (MIB - 3, 1), (0x1230, 16)])
def test_an_alignment_decides_where_things_may_begin(name: str, at: int, align: int, tmp_path: Path) -> None:
    image = bytes(at) + kept(name) + bytes(MIB)

    def found(align: int | None) -> list[int | None]:
        scan = searched(tmp_path, image, align=align)
        return [layer.disk_offset for layer in scan.volumes if layer.type is not None]

    assert found(align) == [at]
    assert found(1024) == []


def test_blocks_of_one_flash_file_system_are_one(tmp_path: Path) -> None:
    jffs2 = bytes(kept("jffs2"))
    image = bytearray(b"\xff") * MIB
    put(image, 0x20004, jffs2)
    found = [layer for layer in searched(tmp_path, image).volumes if layer.type is not None]
    assert [(layer.type, layer.disk_offset) for layer in found] == [("jffs2", 0x20004)]


def test_a_limit_of_time_brings_no_limit_of_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pyimount.cli import main
    from pyimount.sources.budget import Budget

    monkeypatch.setattr(Budget, "bytes_read", MIB)
    path = tmp_path / "image.bin"
    path.write_bytes(bytes(3 * MIB) + kept("squashfs") + bytes(MIB))
    for limits in ([], ["--max-seconds", "1000"]):
        assert main(["detect", "--search", *limits, str(path)]) == 0
        out = capsys.readouterr().out
        assert f"at {3 * MIB}" in out
        assert "budget" not in out
    assert main(["detect", "--search", "--max-read", "2M", str(path)]) == 0
    assert "budget" in capsys.readouterr().out


@pytest.mark.parametrize("step", [1, 2, 4, 12])
@pytest.mark.parametrize("length", [3, 4, 5, 9])
def test_magics_are_found_wherever_they_stand(step: int, length: int) -> None:
    dice = random.Random(step * 10 + length)  # noqa: S311
    for count in (1, 7, 90):
        wanted = {(bytes(dice.choices(b"\0\1abcd", k=length)), dice.randrange(64)) for _ in range(count)}
        wanted = {(magic, place) for magic, place in wanted if magic.strip(b"\0")}
        piece = bytes(dice.choices(b"\0\1abcd", k=6000))
        end = 5000
        found = set(Magics(wanted, step).places(piece, end))
        there = {
            (at, magic)
            for magic, place in wanted
            for at in range(end)
            if (at - place) % step == 0 and piece.startswith(magic, at)
        }
        # More may be found where another of the same magic begins: who asks looks at the start again.
        assert there <= found
        assert all(piece.startswith(magic, at) and at < end for at, magic in found)


def test_what_is_all_zeros_is_not_looked_at_word_by_word() -> None:
    magics = Magics(((bytes(at) + b"\1" + bytes(3 - at), 0) for at in range(4)), 4)
    assert list(magics._candidates(bytes(4096), 0, 4096)) == []
