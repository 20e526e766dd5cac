"""Both ways to resolve a path within a root say the same; both ways to attach a loop device do the same."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pyimount.execution import folders, loops, udev
from pyimount.execution.errors import StepFailed
from tests.mounting.ground import MIB, Ground


def tree(top: Path) -> None:
    (top / "a/b").mkdir(parents=True)
    (top / "etc").mkdir()
    (top / "a/up").symlink_to("..")
    (top / "a/root").symlink_to("/")
    (top / "a/out").symlink_to("../../../../../etc")
    (top / "abs").symlink_to("/a/b")
    (top / "chain").symlink_to("a/up/abs")
    (top / "self").symlink_to("self")
    (top / "dangling").symlink_to("/nowhere")
    (top / "file").write_text("x")


NAMES = (
    "a",
    "b",
    "up",
    "root",
    "out",
    "abs",
    "chain",
    "self",
    "dangling",
    "file",
    "..",
    ".",
    "",
    "etc",
    "none",
)


@given(some.lists(some.sampled_from(NAMES), max_size=7), some.booleans())
@settings(max_examples=300, deadline=None)
def test_the_walk_goes_where_openat2_goes(names: list[str], absolute: bool) -> None:
    top = _TOP[0]
    path = ("/" if absolute else "") + "/".join(names)
    root = os.open(top, os.O_PATH)
    try:
        assert _where(folders.walk_in_root, root, path) == _where(folders.open_in_root, root, path)
    finally:
        os.close(root)


_TOP: list[Path] = []


@pytest.fixture(autouse=True, scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> None:
    _TOP.append(tmp_path_factory.mktemp("root"))
    tree(_TOP[0])


def _where(opener: Any, root: int, path: str) -> str | None:
    try:
        at: int = opener(root, path or ".")
    except StepFailed:
        return None
    found = folders.path_of(at)
    os.close(at)
    assert found == str(_TOP[0]) or found.startswith(f"{_TOP[0]}/")
    return found


def test_without_openat2_the_walk_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("pyimount.execution.syscalls.openat2", missing)
    root = os.open(_TOP[0], os.O_PATH)
    assert _where(folders.open_in_root, root, "/a/out") == f"{_TOP[0]}/etc"
    os.close(root)


@pytest.mark.parametrize("old_kernel", [False, True])
def test_a_loop_device_shows_its_run_of_the_file(
    old_kernel: bool, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    real = fcntl.ioctl

    def without_configure(descriptor: int, request: int, *rest: Any) -> Any:
        if request == 0x4C0A:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(descriptor, request, *rest)

    if old_kernel:
        monkeypatch.setattr(fcntl, "ioctl", without_configure)
    image = ground.folder / "image"
    image.write_bytes(bytes(MIB) + b"here" * 1024 + bytes(MIB))
    mark = f"pyimount-{ground.session()}-1"
    descriptor = os.open(image, os.O_RDONLY)
    loop = loops.attach(descriptor, mark, offset=MIB, size=4096, sector_size=4096, read_only=True)
    try:
        assert loops.find(mark) == loop
        assert Path(loop.device).read_bytes() == b"here" * 1024
        name = Path(loop.device).name
        assert Path(f"/sys/block/{name}/queue/logical_block_size").read_text() == "4096\n"
        assert Path(f"/sys/block/{name}/ro").read_text() == "1\n"
        assert loop.backing == (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino)
    finally:
        os.close(descriptor)
        loops.detach(loop)
    assert loops.find(mark) is None


def test_a_free_device_that_another_takes_first_is_passed_over(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = ground.folder / "image"
    image.write_bytes(bytes(MIB))
    marks = [f"pyimount-{ground.session()}-{number}" for number in (1, 2)]
    descriptor = os.open(image, os.O_RDONLY)
    real = fcntl.ioctl
    theirs: list[loops.Loop] = []
    whole: Any = {"offset": 0, "size": 0, "sector_size": 512, "read_only": True}

    def raced(control: int, request: int, *rest: Any) -> Any:
        answer = real(control, request, *rest)
        if request == 0x4C82 and not theirs:
            monkeypatch.setattr(fcntl, "ioctl", real)
            theirs.append(loops.attach(descriptor, marks[0], **whole))
        return answer

    monkeypatch.setattr(fcntl, "ioctl", raced)
    ours = loops.attach(descriptor, marks[1], **whole)
    os.close(descriptor)
    try:
        assert ours.device != theirs[0].device
        assert (loops.find(marks[0]), loops.find(marks[1])) == (theirs[0], ours)
    finally:
        loops.detach(ours)
        loops.detach(theirs[0])


def test_a_rule_of_udev_holds_whatever_an_image_is_called() -> None:
    hostile = '/tmp/x", RUN+="/bin/sh\n*[a]?\\ü'  # noqa: S108
    first, second = udev.rules("01234567", [hostile], ["/dev/loop7"])
    lines = first.splitlines()
    assert len(lines) == 3
    assert len(second.splitlines()) == 1
    pattern = lines[0].split('ATTR{loop/backing_file}=="')[1].split('"')[0]
    assert pattern.endswith("/x?, RUN+=?/bin/sh???a?????")
    assert len(pattern) == len(os.fsencode(hostile))
    assert 'RUN+="' not in first
    assert 'ATTR{dm/name}=="pyimount-01234567-*"' in lines[1]
    assert 'TEST=="slaves/loop7"' in lines[2]
