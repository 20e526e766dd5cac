"""md: arrays that mdadm made, read as the kernel reads them, whole and with members missing."""

import shlex
from collections.abc import Sequence
from hashlib import shake_128
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pytest

from pyimount.mapping import md
from pyimount.mapping.assembly import Assembly, Member, by_members
from pyimount.parsers.volumes.md import FORMAT
from pyimount.sources.errors import ReadError
from pyimount.sources.file import FileSource
from pyimount.sources.source import Source
from pyimount.sources.view import View
from tests.kernel.uml import kernel_in
from tests.needing import needs

KIB, MIB = 1 << 10, 1 << 20
MEMBER = 2 * MIB
RAID5 = ("la", "ra", "ls", "rs", "parity-first", "parity-last")
RAID6 = (
    *RAID5, "ddf-zero-restart", "ddf-N-restart", "ddf-N-continue", "left-asymmetric-6",
    "right-asymmetric-6", "left-symmetric-6", "right-symmetric-6", "parity-first-6",
)  # fmt: skip


class Made(NamedTuple):
    """How mdadm is asked for an array; ``spare``: how many members it can do without."""

    name: str
    options: str
    sizes: tuple[int, ...]
    spare: int = 0


def made(level: str, members: int, spare: int = 0, *, layout: str = "", metadata: str = "1.2") -> Made:
    options = f"--level={level} --metadata={metadata}"
    if metadata in ("1.1", "1.2"):
        options += " --data-offset=1M"
    if level not in ("1", "linear"):
        options += " --chunk=16"
    if layout:
        options += f" --layout={layout}"
    name = "-".join((level, *([layout] if layout else ()), str(members), metadata))
    return Made(name, options, (MEMBER,) * members, spare)


def uneven(array: Made) -> Made:
    sizes = (MEMBER, MEMBER + 512 * KIB, MEMBER + 256 * KIB, MEMBER + 512 * KIB)
    return array._replace(name=f"{array.name}-uneven", sizes=sizes[: len(array.sizes)])


ARRAYS = (
    uneven(made("linear", 3)),
    uneven(made("linear", 3, metadata="0.90")),
    made("0", 3),
    uneven(made("0", 4, layout="original")),
    uneven(made("0", 4, layout="alternate")),
    uneven(made("0", 3, layout="original")),
    made("1", 2, 1),
    made("1", 3, 2, metadata="1.0"),
    made("1", 2, 1, metadata="1.1"),
    uneven(made("1", 2, 1, metadata="0.90")),
    made("4", 3, 1),
    made("4", 5, 1),
    *(made("5", 4, 1, layout=layout) for layout in RAID5),
    *(made("5", 3, 1, metadata=metadata) for metadata in ("0.90", "1.0", "1.1")),
    *(made("6", 5, 2, layout=layout) for layout in RAID6),
    made("6", 4, 2, metadata="0.90"),
    *(made("10", members, 1, layout="n2") for members in (2, 3, 4)),
    made("10", 5, 2, layout="n3"),
    *(made("10", members, 1, layout="f2") for members in (2, 3, 4)),
    made("10", 5, 2, layout="f3"),
    *(made("10", members, 1, layout="o2") for members in (2, 3, 4)),
    made("10", 5, 2, layout="o3", metadata="0.90"),
)
DEGRADED = {"1-3-1.0", "4-3-1.2", "5-ls-4-1.2", "6-ls-5-1.2", "10-n2-4-1.2", "10-f2-4-1.2"}
"""What the kernel itself is asked to read without members."""

FUNCTIONS = """
modprobe -a linear raid0 raid1 raid10 raid456
disks() {
    for each in "$@"; do
        case $each in --*) echo $each ;; *) losetup -f --show $each ;; esac
    done
}
# create NAME OPTIONS MEMBER...: an array that is in step from the start, all members being zero
create() {
    name=$1 options=$2; shift 2
    members=$(disks "$@")
    options="--run --assume-clean --name=$name $options --raid-devices=$(echo "$members" | grep -c /dev)"
    mdadm --create /dev/md0 $options $members >said 2>&1 || { cat said; false; }
    dd if=content of=/dev/md0 bs=1M oflag=direct status=none 2>/dev/null || true
    sync; echo 3 >/proc/sys/vm/drop_caches
}
keep() { dd if=/dev/md0 of=$1 bs=1M iflag=direct status=none; }
stop() { mdadm --stop --quiet /dev/md0; losetup -D; }
# reads ARRAY MEMBER...: that the kernel, given these members only, reads just that
reads() {
    whole=$1; shift
    mdadm --assemble --quiet --run --readonly /dev/md0 $(disks "$@")
    cmp /dev/md0 $whole
    stop
}
"""


def contents(size: int, number: int) -> bytes:
    """Bytes that look like any, the same for the same number."""
    return shake_128(bytes([number])).digest(size)


def files(array: Made) -> list[str]:
    return [f"{array.name}.{number}" for number in range(len(array.sizes))]


def losses(array: Made, most: int | None = None) -> list[tuple[int, ...]]:
    """Every choice of members that the array can do without; of RAID 10, those that are no two copies."""
    spare = array.spare if most is None else most
    return [lost for count in range(1, spare + 1) for lost in combinations(range(len(array.sizes)), count)]


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all arrays: the members of each, and beside them what the kernel reads."""
    needs("mdadm")
    uml = kernel_in(tmp_path_factory.mktemp("md"))
    (uml.share / "content").write_bytes(contents(8 * MIB, 4))
    script = [FUNCTIONS]
    for array in ARRAYS:
        for name, size in zip(files(array), array.sizes, strict=True):
            with (uml.share / name).open("wb") as file:
                file.truncate(size)
        script += [
            f"echo {array.name}",
            f"create {array.name} {shlex.quote(array.options)} {' '.join(files(array))}",
            f"keep {array.name}",
            "stop",
        ]
        if array.name in DEGRADED:
            for lost in losses(array):
                there = [name for number, name in enumerate(files(array)) if number not in lost]
                script.append(f"reads {array.name} {' '.join(there)}")
    uml.shell("\n".join(script), timeout=900)
    return uml.share


def members(paths: Sequence[Path]) -> list[Member]:
    found = []
    for number, path in enumerate(paths):
        source = FileSource(path)
        identity = FORMAT.parse(View(source))
        assert identity.group is not None
        assert identity.checked
        found.append(
            Member(
                id=number, index=f"{number + 1}.0", membership=identity.group,
                details=identity.details, source=source,
            )
        )  # fmt: skip
    return found


def opened(there: Sequence[Member]) -> tuple[Assembly, Source]:
    assembly = md.assemble(there)
    (volume,) = assembly.volumes
    assert volume.readable, volume.problems
    return assembly, md.open_mapped(volume.parameters, by_members(there, volume.members))


def codes(assembly: Assembly) -> list[str]:
    return [problem.code.value for volume in assembly.volumes for problem in volume.problems]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: array.name)
def test_the_bytes_are_those_that_the_kernel_reads(array: Made, arrays: Path) -> None:
    whole = (arrays / array.name).read_bytes()
    # As it was written: so the kernel understood it too.
    assert whole == (arrays / "content").read_bytes()[: len(whole)]
    every = members([arrays / name for name in files(array)])
    assembly, source = opened(every)
    assert (assembly.complete, assembly.stale, codes(assembly)) == (True, (), [])
    assert source.size == len(whole) == assembly.volumes[0].size
    assert source.read_at(0, source.size) == whole
    for lost in losses(array):
        there = [member for member in every if member.id not in lost]
        assembly, source = opened(there)
        assert (assembly.complete, codes(assembly)) == (False, ["missing-member"])
        assert source.size == len(whole)
        assert source.read_at(0, source.size) == whole, f"without {lost}"


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: array.name)
def test_what_has_no_copy_left_is_refused_and_the_rest_read(array: Made, arrays: Path) -> None:
    whole = (arrays / array.name).read_bytes()
    every = members([arrays / name for name in files(array)])
    chained, mirrored = array.name.startswith("linear"), array.name.startswith("1-") or len(every) == 2
    last = len(every)
    if chained or mirrored:
        lost = {*range(1, last)}
    elif (
        not array.spare
    ):  # the largest: where the smallest is missing, no one knows where the first zone ends
        lost = {1}
    elif array.name.startswith("10-"):
        lost = {*range(last - array.spare - 1, last)}
    else:  # not all data, and not only parity, in any layout
        lost = {0, *range(last - array.spare, last)}
    assembly, source = opened([member for member in every if member.id not in lost])
    assert not assembly.complete
    refused, step = 0, 4 * KIB
    for at in range(0, source.size, step):
        try:
            assert source.read_at(at, step) == whole[at : min(at + step, source.size)]
        except ReadError:
            refused += step
    # A mirror lives on its last copy, a chain ends where its second member is missing.
    assert refused == 0 if chained or mirrored else 0 < refused < source.size


STATES = (
    FUNCTIONS
    + """
stopped() { mdadm --wait-clean --quiet /dev/md0 || true; keep $1; stop; }
slow() { echo 1 >/sys/block/md0/md/sync_speed_min; echo 1 >/sys/block/md0/md/sync_speed_max; }

create stale "--level=5 --chunk=16 --data-offset=1M" stale.0 stale.1 stale.2
mdadm --quiet /dev/md0 --fail $(losetup -nO NAME -j stale.1)
dd if=other of=/dev/md0 bs=64K count=4 oflag=direct status=none
stopped stale

create spare "--level=1 --data-offset=1M --bitmap=internal --bitmap-chunk=64K" spare.0 --write-mostly spare.1
mdadm --quiet /dev/md0 --add-spare $(disks spare.2)
stopped spare

create recovering "--level=5 --chunk=16" recovering.0 recovering.1 recovering.2
mdadm --quiet /dev/md0 --fail $(losetup -nO NAME -j recovering.1)
slow
mdadm --quiet /dev/md0 --add $(disks recovering.3)
sleep 3
stopped recovering

create replaced "--level=5 --chunk=16" replaced.0 replaced.1 replaced.2
slow
mdadm --quiet /dev/md0 --add-spare $(disks replaced.3)
mdadm --quiet /dev/md0 --replace $(losetup -nO NAME -j replaced.1)
sleep 3
stopped replaced

create bad "--level=1 --data-offset=1M" bad.0 bad.1
echo "2048 8" >/sys/block/md0/md/dev-$(basename $(losetup -nO NAME -j bad.0))/bad_blocks
stopped bad

create journal "--level=5 --chunk=16 --write-journal=$(disks journal.3)" journal.0 journal.1 journal.2
stopped journal

create split "--level=1 --data-offset=1M" split.0 split.1
stop
for one in 0 1; do
    mdadm --assemble --quiet --run /dev/md0 $(disks split.$one)
    dd if=other of=/dev/md0 bs=64K count=1 seek=$one oflag=direct status=none
    stopped split.alone.$one
done

create reshaped "--level=5 --chunk=16" reshaped.0 reshaped.1 reshaped.2
slow
mdadm --quiet /dev/md0 --add-spare $(disks reshaped.3)
mdadm --quiet --grow /dev/md0 --raid-devices=4
sleep 2
cat /proc/mdstat
stop

create copying "--level=10 --layout=n2 --chunk=16" copying.0 copying.1 copying.2
slow
mdadm --quiet /dev/md0 --add-spare $(disks copying.3)
mdadm --quiet --grow /dev/md0 --raid-devices=4
sleep 2
stop
"""
)


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Arrays that something has happened to."""
    needs("mdadm")
    uml = kernel_in(tmp_path_factory.mktemp("states"))
    (uml.share / "content").write_bytes(contents(64 * MIB, 5))
    (uml.share / "other").write_bytes(contents(MIB, 6))
    names = ("stale", "spare", "recovering", "replaced", "bad", "journal", "split", "reshaped", "copying")
    for name in names:
        large = name in ("recovering", "replaced", "journal", "reshaped", "copying")
        for number in range(4):
            with (uml.share / f"{name}.{number}").open("wb") as file:
                file.truncate(24 * MIB if large else MEMBER)
    print(uml.shell(STATES, timeout=900))
    return uml.share


def these(folder: Path, name: str, *numbers: int) -> list[Member]:
    return members([folder / f"{name}.{number}" for number in numbers])


def test_a_stale_member_is_named_and_not_used(states: Path) -> None:
    every = these(states, "stale", 0, 1, 2)
    for order in (every, every[::-1]):
        assembly, source = opened(order)
        assert (assembly.complete, assembly.stale, codes(assembly)) == (False, (1,), ["missing-member"])
        assert assembly.volumes[0].details["stale"] == ["2.0"]
        assert source.read_at(0, source.size) == (states / "stale").read_bytes()


def test_spares_write_mostly_and_bitmap_are_known(states: Path) -> None:
    every = these(states, "spare", 0, 1, 2)
    assert [member.details["device_role"] for member in every] == ["0", "1", "spare"]
    assembly, source = opened(every)
    assert (assembly.complete, assembly.stale, codes(assembly)) == (True, (), [])
    assert assembly.volumes[0].members == (0, 1)
    assert assembly.volumes[0].details["write_mostly"] == ["2.0"]
    assert source.read_at(0, source.size) == (states / "spare").read_bytes()
    bitmap = every[0].details["bitmap"]
    assert isinstance(bitmap, dict)
    assert (bitmap["chunk_size"], bitmap["sync_size"]) == (64 * KIB, MIB)


def test_a_member_that_is_being_rebuilt_counts_as_far_as_it_is(states: Path) -> None:
    whole = (states / "recovering").read_bytes()
    every = these(states, "recovering", 0, 3, 2)
    recovered = every[1].details["recovery_offset"]
    assert isinstance(recovered, int)
    assert every[1].details["device_role"] == "1"
    assembly, source = opened(every)
    assert (assembly.complete, codes(assembly)) == (False, ["missing-member"])
    assert assembly.volumes[0].details["recovering"] == ["2.0"]
    assert source.read_at(0, source.size) == whole
    # Of what is rebuilt it makes up for another, of the rest it does not.
    _, source = opened(every[:2])
    if recovered:
        assert source.read_at(0, recovered) == whole[:recovered]
    with pytest.raises(ReadError):
        source.read_at(source.size - 64 * KIB, 64 * KIB)
    # The one that failed before is older.
    assembly, _ = opened(these(states, "recovering", 0, 1, 2, 3))
    assert assembly.stale == (1,)


def test_a_replacement_counts_where_the_original_is_missing(states: Path) -> None:
    whole = (states / "replaced").read_bytes()
    every = these(states, "replaced", 0, 1, 2, 3)
    features = every[3].details["features"]
    assert isinstance(features, list)
    assert "replacement" in features
    assembly, source = opened(every)
    assert (assembly.complete, assembly.volumes[0].members) == (True, (0, 1, 2))
    assert source.read_at(0, source.size) == whole
    assembly, source = opened([every[0], every[2], every[3]])
    assert (assembly.complete, assembly.volumes[0].members) == (False, (0, 3, 2))
    assert source.read_at(0, source.size) == whole


def test_what_a_member_has_recorded_as_bad_is_read_elsewhere(states: Path) -> None:
    whole = (states / "bad").read_bytes()
    every = these(states, "bad", 0, 1)
    assert every[0].details["bad_blocks"] == [[MIB, 4 * KIB]]
    _, source = opened(every)
    assert source.read_at(0, source.size) == whole
    _, source = opened(every[:1])
    assert source.read_at(4 * KIB, source.size) == whole[4 * KIB :]
    with pytest.raises(ReadError, match="recorded as bad"):
        source.read_at(0, 512)


def test_a_write_journal_is_no_member(states: Path) -> None:
    every = these(states, "journal", 0, 1, 2, 3)
    assert every[3].details["device_role"] == "journal"
    assembly, source = opened(every)
    assert (assembly.complete, codes(assembly)) == (True, [])
    assert source.read_at(0, source.size) == (states / "journal").read_bytes()


def test_of_halves_that_went_on_alone_one_is_used(states: Path) -> None:
    assembly, source = opened(these(states, "split", 0, 1))
    assert not assembly.complete
    assert (assembly.stale, len(assembly.unused)) == ((), 1)
    assert "ambiguous" in codes(assembly)
    used = assembly.volumes[0].members[0]
    assert source.read_at(0, source.size) == (states / f"split.alone.{used}").read_bytes()


@pytest.mark.parametrize("name", ["reshaped", "copying"])
def test_an_array_that_is_being_reshaped_has_the_bytes_that_were_written(name: str, states: Path) -> None:
    written = (states / "content").read_bytes()
    assembly, source = opened(these(states, name, 0, 1, 2, 3))
    position = assembly.volumes[0].parameters["position"]
    assert isinstance(position, int)
    assert 0 < position < source.size
    assert (assembly.complete, codes(assembly)) == (True, [])
    assert source.read_at(0, source.size) == written[: source.size]
    for lost in range(4):
        _, source = opened(these(states, name, *(number for number in range(4) if number != lost)))
        assert source.read_at(0, source.size) == written[: source.size]
