"""Inputs that once did harm do none; the mutator hits what it says; some mutations, with fixed seeds."""

import json
import platform
import subprocess
import sys
import tracemalloc
import zlib
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest

import pyimount
from fixtures.workshop import fixtures
from pyimount.parsers.filesystems.ext_superblock import SUPERBLOCK
from pyimount.parsers.partitions.gpt import HEADER
from pyimount.problems import Code
from pyimount.recognition.registry import CONTAINER_ROOMS, TABLE_ROOMS, VOLUME_ROOMS, modules
from tests.fuzz import scanning
from tests.fuzz.bases import Base, bases
from tests.fuzz.fields import Field, fields_of
from tests.fuzz.images import Sparse, changed, load, pack, store, unpack
from tests.fuzz.inputs import Change, Written, all_inputs, read, write
from tests.fuzz.mutating import Changes, Ground, mutation
from tests.fuzz.tracing import traced
from tests.fuzz.watching import GROWTH, watched
from tests.needing import lacking

TOP = Path(__file__).parents[2]
BASES = bases()
SEED = 12
EACH = 2


@pytest.mark.parametrize("name", all_inputs())
def test_what_once_did_harm_does_none(name: str, tmp_path: Path) -> None:
    made = read(all_inputs()[name])
    assert made.about
    paths = made.make(tmp_path)
    dice = Random(SEED)  # noqa: S311
    scanning.scan(paths, made.keys, dice)  # imports are not counted
    tracemalloc.start()
    try:
        found = scanning.scan(paths, made.keys, dice)
        scanning.tell(found)
        scanning.read_layers(found, made.keys, dice)
        scanning.read_as_files(found, made.keys, dice)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < GROWTH


@pytest.mark.parametrize("base", BASES.values(), ids=list(BASES))
def test_some_mutations(base: Base, tmp_path: Path) -> None:
    ground = Ground.of(base, tmp_path)
    for number in range(EACH):
        dice = Random(f"{SEED}-{base.name}-{number}")  # noqa: S311
        with ground.changed(mutation(ground, dice, dice.randrange(1000) if number % 2 else None)):
            found = scanning.scan(ground.paths, base.keys, dice)
            scanning.tell(found)
            scanning.read_layers(found, base.keys, dice)


def ground_of(name: str, folder: Path) -> Ground:
    return Ground.of(BASES[name], folder)


def field_at(ground: Ground, name: str) -> Field:
    return next(each.field for each in ground.fields if each.field.name == name)


def test_fields_are_where_the_specification_has_them(tmp_path: Path) -> None:
    # Documentation/filesystems/ext4, "Super Block", which starts at 1024: offsets, sizes, byte order.
    ground = ground_of("ext4", tmp_path)
    assert field_at(ground, "s_log_block_size") == Field("s_log_block_size", 1024 + 0x18, 4, "little")
    assert field_at(ground, "s_uuid") == Field("s_uuid", 1024 + 0x68, 16, None)
    assert field_at(ground, "s_kbytes_written") == Field("s_kbytes_written", 1024 + 0x178, 8, "little")
    fields = list(fields_of(SUPERBLOCK.construct))
    assert sum(field.size for field in fields) == SUPERBLOCK.size == 1024


def test_fields_of_what_is_nested(tmp_path: Path) -> None:
    # UEFI 2.10, 5.3.2: the header is the disk's second sector, and has 92 bytes; its copy is the last one.
    ground = ground_of("gpt", tmp_path)
    places = [each.field.offset for each in ground.fields if each.field.name == "HeaderCRC32"]
    size = ground.paths[0].stat().st_size
    assert places == [512 + 16, size - 512 + 16]
    assert HEADER.size == 92


def test_a_checksum_is_made_right_and_the_one_over_it(tmp_path: Path) -> None:
    ground = ground_of("gpt", tmp_path)
    (path,) = ground.paths
    # The first entry's name, which the entries' checksum covers, which the header's covers.
    changes: Changes = {path: Change([(2 * 512 + 56, b"X"), (path.stat().st_size - 33 * 512 + 56, b"X")])}
    with ground.changed(changes):
        codes = {problem.code for problem in pyimount.detect(path, net=False).disks[0].problems}
        assert Code.BAD_CHECKSUM in codes
    ground.repair(changes)
    with ground.changed(changes):
        assert pyimount.detect(path, net=False).disks[0].problems == ()
        data = path.read_bytes()
        header = data[512:604]
        # As the specification says: over the header with zeros in its own place.
        assert zlib.crc32(header[:16] + bytes(4) + header[20:]) == int.from_bytes(header[16:20], "little")
        assert zlib.crc32(data[1024 : 1024 + 128 * 128]) == int.from_bytes(header[88:92], "little")


@pytest.mark.parametrize(
    ("image", "field"),
    [
        ("ext4", "s_volume_name"), ("xfs", "sb_fname"), ("btrfs", "label"), ("btrfs-sha256", "label"),
        ("luks2", "label"), ("sun", "nhead"), ("sgi", "vh_bootfile"), ("exfat", "FatLength"),
        ("md-1.2", "set_name"), ("f2fs", "volume_name"), ("nilfs2", "s_volume_name"),
    ],
)  # fmt: skip
def test_checksums_of_every_kind_are_made_right(image: str, field: str, tmp_path: Path) -> None:
    ground = ground_of(image, tmp_path)
    at = field_at(ground, field)
    (path,) = ground.paths

    def codes() -> set[Code]:
        return {problem.code for _, problem in pyimount.detect(path, net=False).all_problems()}

    old = path.read_bytes()[at.offset : at.offset + at.size]
    changes: Changes = {path: Change([(at.offset, bytes([old[0] ^ 1]) + old[1:])])}
    with ground.changed(changes):
        assert codes() & {Code.BAD_CHECKSUM, Code.BACKUP_USED, Code.DAMAGED}
    ground.repair(changes)
    with ground.changed(changes):
        assert Code.BAD_CHECKSUM not in codes()


def test_an_image_is_as_it_was_after_each_mutation(tmp_path: Path) -> None:
    ground = ground_of("ewf-segments", tmp_path)
    before = {path: path.read_bytes() for path in ground.files}
    for number in range(25):
        with ground.changed(mutation(ground, Random(number))):  # noqa: S311
            pass
        assert {path: path.read_bytes() for path in ground.files} == before


def test_a_seed_gives_the_same_mutations(tmp_path: Path) -> None:
    ground = ground_of("gpt", tmp_path)
    assert mutation(ground, Random(7)) == mutation(ground, Random(7))  # noqa: S311
    assert mutation(ground, Random(7)) != mutation(ground, Random(8))  # noqa: S311


def test_what_is_written_reads_as_it_was(tmp_path: Path) -> None:
    change = Change([(0x438, b"\x53\xef"), (0x10000, bytes(20000))], 1 << 20)
    made = Written("Made here.", "ext4", "p:a key", {"": change, "other.img": Change([(1, b"x")])})
    write(tmp_path / "input.txt", made)
    assert read(tmp_path / "input.txt") == made


def test_an_input_is_made_of_text(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("# Said.\nsize 16\n2 text ab\n4 3*ff\n8 0102\n")
    (path,) = read(tmp_path / "input.txt").make(tmp_path)
    assert path.read_bytes() == b"\0\0ab\xff\xff\xff\0\1\2\0\0\0\0\0\0"


def test_images_are_packed_and_stored(tmp_path: Path) -> None:
    image = changed(Sparse(1 << 24, {}), [(510, b"abcd"), ((1 << 24) - 2, b"xyz"), (70000, bytes(100000))])
    assert (image.size, image.read_at(509, 6), image.read_at((1 << 24) - 3, 9)) == (
        1 << 24,
        b"\0abcd\0",
        b"\0xy",
    )
    assert unpack(pack(image)).runs == image.runs
    store(image, tmp_path / "image")
    assert load(tmp_path / "image").runs == image.runs
    noise = Random(3).randbytes(4000)  # noqa: S311
    for end in range(0, len(noise), 97):
        assert len(unpack(noise[:end]).read_at(0, 1 << 16)) <= 1 << 16


def test_what_must_not_be_is_seen() -> None:
    def fails() -> None:
        raise ValueError("here")

    def grows() -> None:
        bytearray(GROWTH + (8 << 20))[:] = b"x" * (GROWTH + (8 << 20))

    assert (watched(lambda: None).fault, watched(grows).fault) == (None, "growth")
    assert (watched(fails).fault or "").startswith("ValueError at test_fuzz.py:")


def test_every_module_of_a_format_is_traced() -> None:
    """The targets ask the registry; each format that it finds is one whose structures are seen."""
    found = {name for room in (*CONTAINER_ROOMS, *TABLE_ROOMS, *VOLUME_ROOMS) for name in modules(room)}
    with traced():
        loaded = {name.rpartition(".")[2] for name in sys.modules if name.startswith("pyimount.parsers.")}
    assert found - loaded == set()


def test_every_committed_image_is_mutated() -> None:
    assert {fixture.name for fixture in fixtures()} == {name for name, base in BASES.items() if base.kept}


def test_the_runner_tells_its_figures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "layers", "--runs", "5", "--seed", "1"]
    done = subprocess.run(
        [*command, "--found", str(tmp_path), "vhdx-dynamic"],
        cwd=TOP,
        capture_output=True,
        check=True,
        text=True,
    )
    figures = json.loads(done.stdout)
    assert (figures["scans"], figures["seed"], figures["faults"]) == (5, 1, {})
    assert figures["reads"] > 0


def test_a_target_runs(tmp_path: Path) -> None:
    """One of them: to instrument all of pyimount takes long, and CI runs ``make fuzz`` besides."""
    if find_spec("atheris") is None:
        if (sys.platform, platform.machine()) != ("linux", "x86_64"):
            pytest.skip("atheris has no wheels for this machine")
        lacking("no atheris: make fuzz")
    seed = tmp_path / "seeds" / "gpt"
    seed.parent.mkdir()
    seed.write_bytes(pack(load(_unpacked("gpt", tmp_path), [(0, 34 * 512)])))
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.fuzz_containers", "-runs=30", "-seed=1", str(seed.parent)],
        cwd=TOP, capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done 3" in done.stderr


def _unpacked(name: str, folder: Path) -> Path:
    own = folder / "fixture"
    own.mkdir()
    return BASES[name].make(own)[0]
