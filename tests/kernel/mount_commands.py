"""In the guest: what ``pyimount mount`` does with the kernel's own device-mapper, dm-crypt and md.

The images are in the working directory, as ``test_mount_command`` made them; every ext4 in them has
a journal to be replayed, and asks for a panic on errors.
"""

import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kernel.commands import (
    TEMPORARY,
    Check,
    Mounted,
    attached,
    begun,
    command,
    left_since,
    listed,
    mounted,
    same,
    state,
    tool,
)
from tests.mounting.ground import read

KERNEL = ("--backend", "kernel")
KEY = ("--key", "p:secret")


class Layers(NamedTuple):
    """What is mounted, the indexes of its file systems, and what the kernel then has.

    ``targets``: of device-mapper; ``levels``: of arrays.
    """

    words: tuple[str, ...]
    indexes: tuple[str, ...]
    targets: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()


LAYERS = {
    "partitions": Layers(("disk.img", "disk.E01", "disk.qcow2"), ("1.1", "1.2", "2.1", "2.2", "3.1", "3.2")),
    "luks2": Layers((*KEY, "luks.img"), ("0.0",), ("crypt",)),
    "luks2_in_qcow2": Layers((*KEY, "luks.qcow2"), ("0.0",), ("crypt",)),
    "linear_and_striped": Layers(("p1.img", "p2.img"), ("1.0.0", "1.0.1"), ("linear", "striped")),
    "arrays": Layers(
        ("r1.img", "r2.img", "r3.img", "r4.img", "r5.img"), ("1.0.0", "3.0.0"), levels=("raid1", "raid5")
    ),
}


def _layers(layers: Layers) -> None:
    with mounted(*KERNEL, *layers.words) as made:
        for index in layers.indexes:
            same(made.at(index))
            assert not os.access(made.at(index), os.W_OK)
        ours = [line for line in tool("dmsetup", "table").splitlines() if made.session in line]
        assert sorted({line.split()[3] for line in ours}) == sorted(layers.targets), ours
        for level in layers.levels:
            assert f"(read-only) {level} " in Path("/proc/mdstat").read_text()
        loops = tool("losetup", "--noheadings", "--raw", "-O", "RO,BACK-FILE").splitlines()
        assert loops
        assert {line.split()[0] for line in loops} == {"1"}
        assert made.said["exit_status"] == 0


def _layer_checks() -> Iterator[Check]:
    for name, layers in LAYERS.items():

        def check(layers: Layers = layers) -> None:
            _layers(layers)

        check.__name__ = name
        yield check


def one_name_thrice() -> None:
    """Two images with a volume group of one name at once, beside the host's own of that name, in use."""
    shutil.copy("host.img", TEMPORARY)
    device = attached(TEMPORARY / "host.img")
    tool("vgchange", "--devices", device, "-ay", "--noudevsync", "case")
    at = TEMPORARY / "host"
    at.mkdir()
    tool("mount", "-t", "ext4", "/dev/mapper/case-whole", at)
    (at / "host's").write_text("before")
    hosts = tool("dmsetup", "table", "case-whole"), tool("dmsetup", "info", "-c", "case-whole")
    try:
        with mounted(*KERNEL, "p1.img", "p2.img", "twin.img") as both:
            same(both.at("1.0.0"))
            same(both.at("1.0.1"))
            same(both.at("3.0.0"))
            assert (both.at("3.0.0") / "who").read_text() == "twin\n"
            assert not (both.at("1.0.0") / "who").exists()
        with mounted(*KERNEL, "twin.img") as twin:
            other = Mounted(*KERNEL, "p1.img", "p2.img")
            assert (twin.at("0.0").joinpath("who")).read_text() == "twin\n"
            same(other.at("1.0.0"))
            (at / "host's").write_text("meanwhile")
            command("unmount", other.session)
            same(twin.at("0.0"))
        assert hosts == (tool("dmsetup", "table", "case-whole"), tool("dmsetup", "info", "-c", "case-whole"))
        assert (at / "host's").read_text() == "meanwhile"
        assert (at / "who").read_text() == "host\n"
    finally:
        tool("umount", at)
        tool("dmsetup", "remove", "case-whole")
        tool("losetup", "-d", device)
        at.rmdir()
        (TEMPORARY / "host.img").unlink()


def _twice(first: Layers) -> None:
    one = Mounted(*KERNEL, *first.words)
    with mounted(*KERNEL, *first.words) as two:
        for index in first.indexes:
            same(one.at(index))
            same(two.at(index))
            assert one.at(index) != two.at(index)
        assert {each["session"] for each in listed()} == {one.session, two.session}
        command("unmount", one.session)
        for index in first.indexes:
            assert not os.path.ismount(one.at(index))
            same(two.at(index))


def twice_at_once() -> None:
    """One image mounted twice, each undone alone."""
    _twice(LAYERS["luks2"])
    _twice(Layers(("disk.qcow2",), ("1", "2")))


def an_array_twice() -> None:
    """The kernel has one array of a UUID at a time, and our own server any number."""
    raid = ("r3.img", "r4.img", "r5.img")
    with mounted(*KERNEL, *raid) as one:
        with mounted(*KERNEL, *raid, status=4) as two:
            assert "already active" in two.reason("1.0.0")
            assert two.volumes["1.0.0"]["remedy"] == "--backend user"
        assert two.session not in [each["session"] for each in listed()], "of what failed nothing stays"
        with mounted("--backend", "user", *raid) as two:
            same(two.at("1.0.0"))
        same(one.at("1.0.0"))


def in_use() -> None:
    """What is in use stays, and who uses it is said; lazily it goes once nobody does."""
    one = Mounted(*KERNEL, *LAYERS["luks2"].words)
    held = one.at("0.0") / "readme.txt"
    with held.open("rb") as file:
        said = command("unmount", one.session, status=5)
        assert f"is in use by {Path('/proc/self/comm').read_text().strip()} ({os.getpid()})" in said.err, said
        assert "--lazy" in said.err
        same(one.at("0.0"))
        said = command("unmount", "--lazy", one.session, status=5)
        assert not held.exists()
        assert file.read() == b"what went in\n"
        (left,) = listed()
        assert left["mounts"] == []
    assert command("unmount", "--all").err == ""
    assert listed() == []


def a_server_that_dies() -> None:
    """Its files fail to be read; all else goes on, and is taken down."""
    with mounted(*KERNEL, *LAYERS["luks2_in_qcow2"].words) as made:
        (line,) = state()["processes"].splitlines()
        assert made.session in line
        (number,) = (
            int(process.name)
            for process in Path("/proc").glob("[0-9]*")
            if f"--mark=pyimount-{made.session}".encode() in read(process / "cmdline")
        )
        os.kill(number, signal.SIGKILL)
        time.sleep(0.1)
        Path("/proc/sys/vm/drop_caches").write_text("3")
        (session,) = listed()
        (mount,) = session["mounts"]
        assert mount["stands"]
        with pytest.raises(OSError, match="error"):
            (made.at("0.0") / "deep/er/data.bin").read_bytes()


def file_systems(*names: str) -> None:
    """The images of ``test_mount_options``, ``NAME.dirty``, all mounted by one command."""
    images = [f"{name}.dirty" for name in names]
    with mounted("--policy", "recovery", *images, status=4 if "reiserfs" in names else 0) as made:
        for index, volume in made.volumes.items():
            name = names[int(index.partition(".")[0]) - 1]
            if volume["type"] != name:
                continue
            if name == "reiserfs":
                assert volume["code"] == "dirty", volume
                assert "--read-write" in volume["remedy"]
            else:
                assert (made.at(index) / "first").read_text() == "evidence\n"
                assert not os.access(made.at(index), os.W_OK)
        assert {volume["type"] for volume in made.volumes.values()} >= set(names)
    with mounted(*images, status=4) as made:
        allowing = []
        for index, volume in made.volumes.items():
            if volume["code"] == "not-allowed":
                assert "--allow-fs" in volume["remedy"]
                allowing.append((index, volume["remedy"].split(";")[0].split()))
        standing = len(made.volumes) - len(allowing)
    words = [word for _, remedy in allowing for word in remedy]
    with mounted(*words, *images, status=4 if "reiserfs" in names else 0) as made:
        for index, _ in allowing:
            if made.volumes[index]["type"] != "reiserfs":
                assert made.at(index).is_dir()
    print(f"{standing} unasked, {len(allowing)} when allowed")


def no_room_for_the_ledger() -> None:
    """A ledger that cannot be written: that is said, and nothing stands afterwards."""
    base = Path("/run/pyimount")
    base.mkdir(mode=0o700)
    tool("mount", "-t", "tmpfs", "-o", "size=4k,mode=700", "tmpfs", base)
    try:
        said = command(
            "mount", "--keep", "disk.img", "packed.img", "clean.img", "fs.img", "p1.img", "p2.img", status=1
        )
        assert "cannot be written: No space left on device" in said.err
        assert list(base.iterdir()) == []
    finally:
        tool("umount", base)
        base.rmdir()


def no_room_to_say_what_is_undone() -> None:
    """A ledger that cannot grow any more keeps nothing from being taken down."""
    made = Mounted("disk.img")
    size = Path(f"/run/pyimount/{made.session}.jsonl").stat().st_size
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, kept[1]))
    try:
        with (made.at("1") / "readme.txt").open():
            assert "is in use by" in command("unmount", made.session, status=5).err
        command("unmount", made.session)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert listed() == []


RUNS = 4


def _at_random(seed: int, act: Callable[[int], None]) -> Iterator[int]:
    """Start a mount again and again, and ``act`` on it after a random time; how it ended."""
    chosen = random.Random(seed)  # noqa: S311
    for _ in range(RUNS):
        words = chosen.choice(
            [
                (*KERNEL, *LAYERS[name].words)
                for name in ("luks2", "luks2_in_qcow2", "linear_and_striped", "arrays")
            ]
        )
        number, ended = begun("mount", "--keep", *words)
        time.sleep(chosen.random() * 1.5)
        act(number)
        said = ended()
        assert "Traceback" not in said.err, said.err
        yield said.status


def killed() -> None:
    """Killed at any moment: what remains is nothing after ``unmount``."""
    before = state()
    ends = set()
    for status in _at_random(4, lambda number: os.kill(number, signal.SIGKILL)):
        ends.add(status)
        assert command("unmount", "--all").err == ""
        assert not (left := left_since(before)), left
    assert -signal.SIGKILL in ends, ends


def interrupted() -> None:
    """Stopped by ^C at any moment: it takes down what it did, and says no more than that it stopped."""
    before = state()
    ends = set()
    for status in _at_random(5, lambda number: os.killpg(number, signal.SIGINT)):
        ends.add(status)
        if status == 0:
            command("unmount", "--all")
        assert not (left := left_since(before)), left
    assert 130 in ends, ends
    assert ends <= {0, 130}


CHECKS: tuple[Check, ...] = (
    *_layer_checks(), one_name_thrice, twice_at_once, an_array_twice, in_use, a_server_that_dies,
    no_room_for_the_ledger, no_room_to_say_what_is_undone, killed, interrupted,
)  # fmt: skip
