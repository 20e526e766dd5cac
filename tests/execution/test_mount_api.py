"""The newer mount API on this kernel: options before a place, and errors that are told."""

import contextlib
import errno
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyimount.execution import mount_api, mounts, syscalls
from pyimount.execution.mount_api import DriverError, DriverTimeoutError
from tests.mounting.ground import processes
from tests.needing import lacking, needs, needs_root


@pytest.fixture(autouse=True)
def able() -> None:
    needs_root()
    needs("mke2fs", "losetup")
    if not mount_api.is_there():
        lacking("this kernel lacks fsopen, or keeps us from it")


@pytest.fixture
def attached(tmp_path: Path) -> Iterator[Callable[[bytes | None], str]]:
    """Attach a file read-only: an ext4 with a file in it, or these bytes."""
    devices: list[str] = []

    def attach(content: bytes | None) -> str:
        image = tmp_path / f"{len(devices)}.img"
        if content is None:
            (tmp_path / "tree").mkdir()
            (tmp_path / "tree" / "marker").write_text("evidence\n")
            image.touch()
            os.truncate(image, 8 << 20)
            subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tmp_path / "tree", image], check=True)
        else:
            image.write_bytes(content)
        made = subprocess.run(
            ["losetup", "--find", "--show", "--read-only", image], check=True, capture_output=True, text=True
        )
        devices.append(made.stdout.strip())
        return devices[-1]

    yield attach
    for device in devices:
        subprocess.run(["losetup", "-d", device], check=True)


def descriptors() -> set[int]:
    """Those that are open, with the one of the folder that tells."""
    return {int(each.name) for each in Path("/proc/self/fd").iterdir()}


def opened(folder: Path) -> int:
    folder.mkdir()
    return os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def test_it_has_its_options_before_its_place(attached: Callable[[None], str], tmp_path: Path) -> None:
    device = attached(None)
    made = mount_api.new_mount("ext4", device, ("noload", "errors=continue"))
    assert device not in {mount.source for mount in mounts.mounts()}, "it has a place already"
    at = opened(tmp_path / "at")
    try:
        mount_api.move_mount(made, at)
        (stands,) = mounts.mounted_at(str(tmp_path / "at"))
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(stands.options.split(","))
        assert (stands.source, stands.type) == (device, "ext4")
        assert (tmp_path / "at" / "marker").read_text() == "evidence\n"
        # The file system itself is read-only, not this mount of it alone.
        table = Path("/proc/self/mountinfo").read_text().splitlines()
        line = next(line for line in table if f" {tmp_path}/at " in line)
        assert line.split()[-1].split(",")[0] == "ro"
    finally:
        os.close(at)
        os.close(made)
        syscalls.umount(str(tmp_path / "at"), 0)


def test_closed_without_a_place_it_is_gone(attached: Callable[[None], str]) -> None:
    device = attached(None)
    os.close(mount_api.new_mount("ext4", device, ("noload",)))
    # Else the device would be in use, exclusively.
    descriptor = os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
    os.close(descriptor)


@pytest.mark.parametrize(
    ("driver", "content", "options", "number"),
    [
        ("ext4", bytes(1 << 20), (), errno.EINVAL),
        ("ext4", None, ("nonsense",), errno.EINVAL),
        ("nosuchfs", None, (), errno.ENODEV),
    ],
)
def test_errors_are_told_by_their_number(
    driver: str,
    content: bytes | None,
    options: tuple[str, ...],
    number: int,
    attached: Callable[[bytes | None], str],
) -> None:
    device = attached(content)
    before = descriptors()
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as raised:
        mount_api.new_mount(driver, device, options)
    assert raised.value.errno == number
    assert descriptors() == before, "a descriptor is left"


def test_what_the_driver_says_is_told(attached: Callable[[None], str]) -> None:
    device = attached(None)
    with pytest.raises(DriverError) as raised:
        mount_api.new_mount("ext4", device, ("nonsense",))
    assert any("nonsense" in message.text for message in raised.value.messages)
    assert {message.level for message in raised.value.messages} <= set("ewi")


def test_a_device_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    with pytest.raises(DriverError) as raised:
        mount_api.new_mount("ext4", str(tmp_path / "file"), ())
    assert raised.value.errno == errno.ENOTBLK


def children() -> set[str]:
    """The processes that this one has started, by their numbers."""
    own = str(os.getpid())
    found = set()
    for process in processes():
        with contextlib.suppress(OSError):  # it has ended
            number, _, rest = (process / "stat").read_text().partition(" (")
            if rest.rpartition(")")[2].split()[1] == own:
                found.add(number)
    return found


def test_a_driver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()
    read, write = os.pipe()
    try:
        # What the process that asks keeps open besides, it keeps; nothing else.
        monkeypatch.setattr(mount_api, "create", lambda _: time.sleep(3600))
        context = mount_api.fsopen("ext4")
        try:
            with pytest.raises(DriverTimeoutError, match="took more than"):
                mount_api.create_within(context, 0.2)
        finally:
            os.close(context)
    finally:
        os.close(read)
        os.close(write)
    assert children() <= before


def test_a_driver_that_ends_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount_api, "create", lambda _: os.kill(os.getpid(), 9))
    context = mount_api.fsopen("ext4")
    try:
        with pytest.raises(OSError, match="fault of the kernel's driver"):
            mount_api.create_within(context, 60)
    finally:
        os.close(context)


def test_the_process_that_asks_keeps_only_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs in the kernel must not keep a socket, or a terminal, from being closed."""
    kept, other = os.pipe()

    def look(context: int) -> None:
        there = descriptors()
        # The folder of descriptors itself is one of them while it is read.
        if not there <= {context, kept, min(set(range(64)) - {context, kept})}:
            raise OSError(errno.EMFILE, "")

    monkeypatch.setattr(mount_api, "create", look)
    context = mount_api.fsopen("ext4")
    try:
        mount_api.create_within(context, 60, hold=(kept,))
    finally:
        for each in (context, kept, other):
            os.close(each)


def test_a_folder_as_a_mount_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("x")
    source = os.open(tmp_path / "source", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    at = opened(tmp_path / "at")
    made = mount_api.open_tree(source)
    try:
        mount_api.mount_setattr(made)
        mount_api.move_mount(made, at)
        (stands,) = mounts.mounted_at(str(tmp_path / "at"))
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(stands.options.split(","))
        assert not stands.shared
        assert (tmp_path / "at" / "file").read_text() == "x"
    finally:
        for each in (made, at, source):
            os.close(each)
        syscalls.umount(str(tmp_path / "at"), 0)
