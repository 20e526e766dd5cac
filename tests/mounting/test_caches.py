"""What is written: to one cache by one session, kept where something is, and told where it could not be."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.workshop import tool_path
from pyimount.execution import caches
from pyimount.planning.steps import ExposeRaw, Result
from tests.mounting.ground import MIB
from tests.mounting.images import blank, content, digest, make, tool
from tests.mounting.test_mount_command import Mounted, command
from tests.needing import needs, needs_root


@pytest.fixture(autouse=True)
def able() -> None:
    needs_root()
    needs("mkfs.ext4")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make("ext4", tmp_path / "disk.img", content(tmp_path))


FILES = ["disk.raw.data", "disk.raw.map"]
"""The cache of an image of one disk."""


def writing(cache: Path, *more: str | Path) -> tuple[str | Path, ...]:
    return ("--read-write", "--rwpath", cache, *more)


@pytest.mark.parametrize("spelt", ["same", "link", "dots"])
def test_a_second_session_with_the_same_cache_is_refused(image: Path, tmp_path: Path, spelt: str) -> None:
    cache = tmp_path / "cache"
    other = {"same": cache, "link": tmp_path / "link", "dots": tmp_path / "content" / ".." / "cache"}[spelt]
    (tmp_path / "link").symlink_to("cache")
    before = digest(image)
    with Mounted(*writing(cache, image)) as first:
        (first.at("0") / "new").write_bytes(b"first")
        done = command("mount", "--keep", *writing(other, image), status=4)
        assert "another session writes to this cache" in done.stderr
        assert "list" in done.stderr
        assert str(cache) in command("list").stdout
        # It took nothing away that the first has, and left nothing.
        (first.at("0") / "more").write_bytes(b"first")
        with Mounted(*writing(tmp_path / "else", image)) as second:
            assert not (second.at("0") / "new").exists()
    with Mounted(*writing(cache, image)) as again:
        assert (again.at("0") / "more").read_bytes() == b"first"
    assert digest(image) == before


def test_partitions_of_one_image_and_another_image(image: Path, tmp_path: Path) -> None:
    """A cache is of layers: another image's of the same name is not taken for this one's."""
    cache, other = tmp_path / "cache", tmp_path / "other.img"
    other.write_bytes(image.read_bytes())
    tool("tune2fs", "-U", "random", other)
    with Mounted(*writing(cache, image)) as first:
        (first.at("0") / "new").touch()
        assert "another session writes" in command("mount", "--keep", *writing(cache, other), status=4).stderr
    assert "written over something else" in command("mount", *writing(cache, other), status=4).stderr
    with Mounted(*writing(cache, image)) as again:
        assert (again.at("0") / "new").exists()


@pytest.mark.parametrize(
    ("there", "left"), [("absent", None), ("empty", []), ("a file", ["notes"]), ("in use", FILES)]
)
def test_an_unused_cache_is_removed(image: Path, tmp_path: Path, there: str, left: list[str] | None) -> None:
    """By a mount that fails: one of ext4 that succeeds writes at once when it was mounted."""
    cache, damaged = tmp_path / "cache", tmp_path / "damaged.img"
    data = bytearray(image.read_bytes())
    data[1024 + 0x60 : 1024 + 0x64] = b"\xff" * 4  # features that no driver knows
    damaged.write_bytes(data)
    if there != "absent":
        cache.mkdir(mode=0o700)
    if there == "a file":
        (cache / "notes").touch()
    if there == "in use":
        with Mounted(*writing(cache, image)) as mounted:
            (mounted.at("0") / "new").touch()
    command("mount", "--keep", *writing(cache, damaged), status=4)
    assert (sorted(each.name for each in cache.iterdir()) if cache.exists() else None) == left


def test_of_what_is_read_only_nothing_is_kept(tmp_path: Path) -> None:
    needs("mksquashfs")
    image = make("squashfs", tmp_path / "s.img", content(tmp_path))
    cache = tmp_path / "cache"
    done = command("mount", "--keep", "--json", *writing(cache, image), status=4)
    (volume,) = json.loads(done.stdout)["volumes"]
    assert volume["code"] == "read-only"
    assert volume["mountpoint"]
    with pytest.raises(OSError, match="Read-only"):
        (Path(volume["mountpoint"]) / "new").touch()
    assert cache.exists()
    done = command("unmount", image)
    assert done.stderr == ""
    assert not cache.exists()
    done = command("mount", "--keep", *writing(cache, image), status=4)
    assert "squashfs is mounted read-only here: nothing can be written to it" in done.stderr
    assert "what is written goes to" not in done.stdout
    command("unmount", image)
    assert not cache.exists()


def test_one_of_several_that_cannot_be_written(tmp_path: Path) -> None:
    needs("mksquashfs", "sfdisk")
    root = content(tmp_path)
    image = blank(tmp_path / "disk.img", 64 * MIB)
    table = "label: gpt\nsize=20M\nsize=20M\n"
    subprocess.run([tool_path("sfdisk"), "-q", image], input=table, text=True, check=True)
    with image.open("r+b") as disk:
        for kind, offset in (("ext4", MIB), ("squashfs", 21 * MIB)):
            disk.seek(offset)
            disk.write(make(kind, tmp_path / kind, root).read_bytes())
    cache = tmp_path / "cache"
    with Mounted(*writing(cache, image), status=4) as mounted:
        codes = {each["index"]: each["code"] for each in mounted.said["volumes"]}
        assert codes == {"1": None, "2": "read-only"}
        (mounted.at("1") / "new").write_bytes(b"x")
    assert sorted(each.name for each in cache.iterdir()) == FILES


def test_a_cache_is_discarded_on_demand(image: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    said = json.loads(command("mount", "--keep", "--json", *writing(cache, image)).stdout)
    (Path(said["volumes"][0]["mountpoint"]) / "new").touch()
    done = command("unmount", "--discard", image)
    assert "is discarded" in done.stderr
    assert not cache.exists()
    command("mount", "--keep", "--json", *writing(cache, image))
    assert f"is kept in {cache}" in command("unmount", image).stderr
    assert cache.exists()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk for caches with little room."""
    at = tmp_path / "small"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "none", at], check=True)
    yield at
    subprocess.run(["umount", at], check=True)


def test_a_full_disk_is_said_at_the_end(image: Path, small: Path) -> None:
    said = json.loads(command("mount", "--keep", "--json", *writing(small / "cache", image)).stdout)
    file = Path(said["volumes"][0]["mountpoint"]) / "new"
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY)
    try:
        # Into the kernel's memory: who writes is not told of what becomes of it.
        os.write(descriptor, os.urandom(2 * MIB))
        with pytest.raises(OSError, match=r"Input/output error|No space|Read-only"):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    done = command("unmount", image, status=1)
    assert f"{small / 'cache'}: No space left on device" in done.stderr
    assert "lost" in done.stderr


def test_what_others_may_write_is_left_alone(tmp_path: Path) -> None:
    """Root removes nothing by the name of a folder that is not root's alone, or that a link leads to."""
    step = ExposeRaw(id=1, at=Result(0), files=((1, "0.raw"),), cache=str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir(mode=0o777)
    (tmp_path / "cache").chmod(0o777)
    (tmp_path / "cache" / "0.raw.map").touch()
    assert caches.closed(step, {}, discard=True) is None
    assert (tmp_path / "cache" / "0.raw.map").exists()
    link = step.replaced(cache=str(tmp_path / "link"))
    (tmp_path / "cache").chmod(0o700)
    (tmp_path / "link").symlink_to("cache")
    assert caches.closed(link, {}, discard=True) is None
    assert (tmp_path / "cache" / "0.raw.map").exists()
