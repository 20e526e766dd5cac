"""What a scan may cost: by image, in work, and the same whatever else the call and the machine have to do."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

import pyimount
from fixtures.recipes.lvm2 import MDA, area, label
from fixtures.workshop import find_tool, fixtures
from pyimount.layers import Scan
from pyimount.problems import Code
from pyimount.sources import budget as budget_module
from pyimount.sources import pool as pool_module
from pyimount.sources.budget import Budget, Meter
from pyimount.sources.errors import BudgetError, ReadError
from pyimount.sources.file import FileSource
from tests.mapping.lvm2_groups import group_text, lv_text, pv_uuid, segment

MIB = 1 << 20
EXTENT = 64 << 10


def unpacked(name: str, folder: Path) -> Path:
    return next(fixture for fixture in fixtures() if fixture.name == name).unpack(folder)


def codes(scan: Scan) -> set[Code]:
    return {problem.code for _, problem in scan.all_problems()}


def pv_file(path: Path, number: int, text: bytes, *, size: int, room: int) -> Path:
    """A physical volume with ``room`` bytes for its metadata."""
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(512)
        file.write(label(areas=((MDA, room),), data=((MDA + room, 0),), uuid=pv_uuid(number), size=size))
        file.seek(MDA)
        file.write(area(text, start=MDA, size=room))
    return path


class Clock:
    """A clock that goes by a second each time it is looked at: a machine with much else to do."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_the_clock_is_no_limit_unless_one_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = unpacked("demo", tmp_path)
    usual = pyimount.detect(image)
    monkeypatch.setattr(budget_module, "monotonic", Clock())
    assert pyimount.detect(image) == usual
    stopped = pyimount.detect(image, budget=Budget(seconds=5))
    assert [problem.code for problem in stopped.disks[0].problems] == [Code.BUDGET]
    assert "5 seconds spent, the time that was set" in stopped.disks[0].problems[0].message


def test_a_meter_s_clock_stands_still_while_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(budget_module, "monotonic", clock)
    meter = Meter(Budget(seconds=10))
    meter.pause()
    clock.now += 100
    meter.check_time()
    meter.resume()
    meter.check_time()
    clock.now += 100
    with pytest.raises(BudgetError):
        meter.check_time()
    meter.renew()
    meter.check_time()


def test_limits_are_each_image_s_own_in_a_call_of_many(tmp_path: Path) -> None:
    """Fifty physical volumes of one group: none comes near its limit, all of them together pass it by far."""
    count = 50
    pvs = [
        f'pv{number} {{ id = "{pv_uuid(number)}" dev_size = {2 * MIB // 512} '
        f"pe_start = {MIB // 512} pe_count = 16 }}"
        for number in range(count)
    ]
    volumes = [
        lv_text(f"lv{n}", [segment("striped", 16, f'stripe_count = 1 stripes = ["pv{n}", 0]')])
        for n in range(count)
    ]
    text = group_text(volumes, pvs, extent=EXTENT)
    paths = [pv_file(tmp_path / f"{n}.img", n, text, size=2 * MIB, room=MIB - MDA) for n in range(count)]
    usual = pyimount.detect(paths)
    assert len([volume for volume in usual.volumes if volume.name]) == count
    assert codes(usual) == set()
    most = max(disk.bytes_read for disk in usual.disks)
    strict = Budget(bytes_read=2 * most, layers=count)
    assert pyimount.detect(paths, budget=strict) == usual


@pytest.mark.thorough
def test_five_thousand_logical_volumes(tmp_path: Path) -> None:
    count = 5000
    volumes = [
        lv_text(
            f"lv{n:04}",
            [segment("striped", 1, f'creation_time = 1700000000 creation_host = "host" stripe_count = 1 '
                     f'stripes = ["pv0", {n}]')],
        )
        for n in range(count)
    ]  # fmt: skip
    room = 6 * MIB
    size = MDA + room + count * EXTENT
    pv = (
        f'pv0 {{ id = "{pv_uuid(0)}" dev_size = {size // 512} pe_start = {(MDA + room) // 512} '
        f"pe_count = {count} }}"
    )
    text = group_text(volumes, [pv], extent=EXTENT)
    path = pv_file(tmp_path / "pv.img", 0, text, size=size, room=room)
    with path.open("r+b") as file:
        file.seek(MDA + room + (count - 1) * EXTENT)
        file.write(b"hsqs" + bytes(60))
    scan = pyimount.detect(path)
    found = [volume for volume in scan.volumes if volume.name]
    assert [volume.name for volume in found] == [f"lv{n:04}" for n in range(count)]
    assert codes(scan) == set()
    assert found[-1].size == EXTENT
    assert found[-1].index == f"0.{count - 1}"


@pytest.mark.skipif(find_tool("qemu-img") is None, reason="needs qemu-img")
def test_a_chain_of_fifty_images(tmp_path: Path) -> None:
    tool = find_tool("qemu-img") or ""
    base = unpacked("ext4", tmp_path).rename(tmp_path / "0.img")
    for number in range(1, 52):
        below, kind = (base.name, "raw") if number == 1 else (f"{number - 1}.qcow2", "qcow2")
        line = [tool, "create", "-q", "-u", "-f", "qcow2", "-b", below, "-F", kind]
        subprocess.run([*line, f"{number}.qcow2", str(base.stat().st_size)], cwd=tmp_path, check=True)
    scan = pyimount.detect(tmp_path / "51.qcow2")
    assert scan.volumes[0].type == "ext4"
    assert codes(scan) == set()
    assert len(scan.disks[0].paths) == 52


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_images_are_closed_when_they_are_done(tmp_path: Path) -> None:
    paths = []
    for number in range(300):
        path = tmp_path / f"{number}.img"
        path.write_bytes(bytes(4096))
        paths.append(path)
    before = open_descriptors()
    seen = []
    real = pool_module.Pool.take

    def take(pool: pool_module.Pool, file: pool_module.PooledFile) -> int:
        seen.append(open_descriptors())
        return real(pool, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool_module.Pool, "take", take)
        scan = pyimount.detect(paths)
    assert len(scan.volumes) == 300
    assert max(seen) <= before + 3
    assert open_descriptors() == before


FEW = "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); "


def with_few_files(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    code = FEW + "from pyimount.cli import main; sys.exit(main())"
    line = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_few_descriptors_change_nothing(tmp_path: Path) -> None:
    """Segments by the hundred, members by the hundred, a chain: the report is the same to the byte."""
    disk = unpacked("ext4", tmp_path).read_bytes()
    cut = tmp_path / "cut"
    cut.mkdir()
    step = -(-len(disk) // 150)
    for number in range(150):
        (cut / f"disk.{number + 1:03}").write_bytes(disk[number * step : (number + 1) * step])
    pvs = [
        f'pv{n} {{ id = "{pv_uuid(n)}" dev_size = 4096 pe_start = 2048 pe_count = 16 }}' for n in range(100)
    ]
    whole = [segment("striped", 16, f'stripe_count = 1 stripes = ["pv{n}", 0]', 16 * n) for n in range(100)]
    text = group_text([lv_text("all", whole)], pvs, extent=EXTENT)
    members = [pv_file(tmp_path / f"{n}.img", n, text, size=2 * MIB, room=MIB - MDA) for n in range(100)]
    paths = [cut / "disk.001", *members]
    done = with_few_files("detect", "--json", *paths)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == json.loads(json.dumps(pyimount.detect(paths).to_dict()))
    assert with_few_files("export", cut / "disk.001", "disk", "-o", tmp_path / "out").returncode == 0
    assert (tmp_path / "out").read_bytes() == disk


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_no_descriptor_at_all_is_no_fault_of_the_image(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"d.{number + 1:03}").write_bytes(bytes(4096))
    code = (
        "import pyimount, os, sys, resource; pyimount.detect(os.devnull);"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)); held = []\n"
        "try:\n    while True: held.append(os.open(os.devnull, os.O_RDONLY))\nexcept OSError: pass\n"
        "for spare in range(int(sys.argv[2])): os.close(held.pop())\n"
        "scan = pyimount.detect(sys.argv[1]); print(scan.exit_status(), scan.disks[:1] and "
        "scan.disks[0].size, *{problem.code.value for _, problem in scan.all_problems()})"
    )
    for path in (tmp_path / "d.001", unpacked("ext4", tmp_path)):
        usual = pyimount.detect(path).disks[0].size
        for spare in (0, 1, 3, 6):
            line = [sys.executable, "-c", code, str(path), str(spare)]
            done = subprocess.run(line, capture_output=True, text=True, check=True)
            said = done.stdout.split()
            assert said in (["1", "()", "out-of-memory"], ["1", "None", "out-of-memory"], ["0", str(usual)])


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_library_leaves_its_host_s_limits_alone_and_the_command_raises_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.img").write_bytes(bytes(4096))
    code = (
        "import resource, sys, io, contextlib; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 3000))\n"
        "import pyimount; pyimount.detect(sys.argv[2])\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "from pyimount.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()): main()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    line = [sys.executable, "-c", code, "detect", str(tmp_path / "a.img")]
    hard = subprocess.run(["/bin/sh", "-c", "ulimit -Hn"], capture_output=True, text=True, check=True)
    if hard.stdout.strip() != "unlimited" and int(hard.stdout) < 3000:
        pytest.skip("the limit is lower here")
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["100", "3000"]


def test_another_file_in_the_place_of_one_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "most_open", lambda: 1)
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 100)
    first = FileSource(tmp_path / "a")
    FileSource(tmp_path / "b").read_at(0, 1)
    assert first.read_at(0, 3) == b"aaa"
    other = FileSource(tmp_path / "b")
    assert other.read_at(0, 1) == b"b"
    (tmp_path / "c").write_bytes(b"c" * 100)
    (tmp_path / "c").replace(tmp_path / "a")
    with pytest.raises(ReadError, match="another file stands there now"):
        first.read_at(0, 3)


def test_what_is_unpacked_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "disk.gz"
    path.write_bytes(gzip.compress(bytes(40 * MIB)))
    assert codes(pyimount.detect(path, budget=Budget(unpacked=200 * MIB))) == set()
    stopped = pyimount.detect(path, budget=Budget(unpacked=30 * MIB))
    assert codes(stopped) == {Code.BUDGET}
