"""``pyimount mount --carve``: what is free, what is between partitions, what nothing recognises; as root."""

import hashlib
import json
import shutil
import signal
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyimount.execution.plan_executor import Executor
from pyimount.execution.survey import survey
from pyimount.mounting import mounting
from pyimount.planning.plan import plan
from pyimount.planning.policy import FORENSIC
from tests.mounting.ground import MIB, Ground, in_a_child, killer
from tests.mounting.images import digest, traces
from tests.mounting.test_mount_command import command
from tests.needing import needs, needs_root


def png(seed: bytes) -> bytes:
    """A picture of its own for every seed."""
    rows = b"".join(b"\0" + hashlib.sha256(seed + bytes((row,))).digest() * 12 for row in range(128))
    parts = (
        (b"IHDR", (128).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        for name, data in parts
    )


PICTURES = {name: png(name.encode()) for name in ("live", "deleted", "unknown", "gap")}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An ext4 with a file and a deleted one, a partition of no known contents, and a gap with a file."""
    needs_root()
    needs("photorec", "mkfs.ext4", "debugfs", "sfdisk")
    folder = tmp_path_factory.mktemp("carving")
    inside, part = folder / "inside", folder / "part.img"
    inside.mkdir()
    for name in ("live", "deleted"):
        (inside / f"{name}.png").write_bytes(PICTURES[name])
    with part.open("wb") as file:
        file.truncate(8 * MIB)
    run("mkfs.ext4", "-q", "-d", inside, part)
    run("debugfs", "-w", "-R", "rm deleted.png", part)
    image = folder / "disk.img"
    with image.open("wb") as file:
        file.truncate(16 * MIB)
    run("sfdisk", "-q", image, data="size=8M\nsize=2M\n")
    with image.open("r+b") as file:
        for at, data in ((1, part.read_bytes()), (10, PICTURES["unknown"]), (14, PICTURES["gap"])):
            file.seek(at * MIB)
            file.write(data)
    before = digest(image)
    yield image
    assert digest(image) == before


def run(*words: str | Path, data: str = "") -> None:
    tool = shutil.which(str(words[0]), path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert tool is not None
    subprocess.run([tool, *words[1:]], input=data, text=True, check=True, capture_output=True, timeout=300)


def found(folder: str | Path) -> set[str]:
    """The pictures that were carved into a folder."""
    data = {path.read_bytes() for path in Path(folder).rglob("*.png")}
    return {name for name, picture in PICTURES.items() if picture in data}


def test_with_a_mount(disk: Path, tmp_path: Path) -> None:
    done = command("mount", "--keep", "--json", "--carve", disk, status=4, cwd=tmp_path)
    said = json.loads(done.stdout)
    try:
        carved = {each["index"]: each for each in said["carved"]}
        top = tmp_path / f"pyimount-{said['session']}-carved"
        assert {each["folder"] for each in carved.values()} == {str(top / index) for index in carved}
        by_content = {index: found(each["folder"]) for index, each in carved.items()}
        last = max(carved, key=int)
        assert by_content == {
            **{index: set() for index in carved},
            "1": {"deleted"},
            "2": {"unknown"},
            last: {"gap"},
        }
        assert [index for index, each in carved.items() if each["free_only"]] == ["1"]
        assert carved["1"]["files"] == 1
        # What is not recognised is not mounted, which is the only thing amiss.
        assert {each["index"]: each["code"] for each in said["volumes"]} == {"1": None, "2": "unknown"}
    finally:
        command("unmount", said["session"])
    assert traces(said["session"]) == []
    assert found(top / "1") == {"deleted"}, "it stays"


def test_where_it_goes_and_what_is_chosen(disk: Path, tmp_path: Path) -> None:
    kept = ("--keep", "--json", "--skip", "2")
    said = json.loads(command("mount", *kept, "--carvedir", tmp_path / "new", disk).stdout)
    command("unmount", said["session"])
    assert {path.name for path in (tmp_path / "new").iterdir()} == {each["index"] for each in said["carved"]}
    assert "2" not in {each["index"] for each in said["carved"]}
    assert said["exit_status"] == 0
    again = json.loads(command("mount", *kept, "--carvedir", tmp_path / "new", disk, status=4).stdout)
    command("unmount", again["session"])
    assert {each["code"] for each in again["carved"]} == {"failed"}
    assert all("is not empty" in each["reason"] for each in again["carved"])


def test_dry_run(disk: Path) -> None:
    said = command("mount", "--dry-run", "--carve", disk, status=4).stdout
    lines = [line.split("/cmd ")[1] for line in said.splitlines() if line.startswith("photorec")]
    assert lines[0].endswith("partition_none,options,paranoid,freespace,search")
    assert lines[1].endswith("partition_none,options,paranoid,wholespace,search")


def test_one_volume_from_python(disk: Path, ground: Ground, tmp_path: Path) -> None:
    scan = mounting.look(disk)
    executor = Executor(base=str(ground.base))
    for index, free_only, pictures in (("1", True, {"deleted"}), ("1", False, {"live", "deleted"})):
        folder = tmp_path / f"{index}-{free_only}"
        carved = mounting.carve(scan, scan[index], str(folder), executor, free_only=free_only)
        assert carved.refusal is None
        assert (carved.folder, carved.files) == (str(folder), len(pictures))
        assert found(folder) == pictures
    ground.check()


@pytest.mark.parametrize("moment", ["intended", "performed"])
def test_killed_while_carving(moment: str, disk: Path, ground: Ground, tmp_path: Path) -> None:
    scan, session = mounting.look(disk), ground.session()
    planned = plan(
        scan,
        FORENSIC,
        survey(),
        session=session,
        base=str(ground.base),
        only=["1"],
        carve=str(tmp_path / "out"),
    )
    (carve,) = [step for step in planned.steps if type(step).__name__ == "Carve"]
    executor = Executor(base=str(ground.base), observe=killer(moment, carve.id))
    assert in_a_child(lambda: executor.run(planned)) == -signal.SIGKILL
    undone = ground.undo(session)
    assert undone.ended, undone.left
    ground.check()
