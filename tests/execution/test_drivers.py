"""Why a driver does not mount a device: its own words and errno, on this kernel, and nothing else's."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyimount.execution import drivers, mount_api
from pyimount.execution.errors import StepFailed
from pyimount.execution.loops import attach, detach
from tests.needing import needs_root


@pytest.fixture
def failure(tmp_path: Path) -> Callable[..., str]:
    """What is said when these bytes are not mounted."""
    needs_root()

    def tried(content: bytes, kind: str | None, *options: str) -> str:
        (tmp_path / "image").write_bytes(content)
        image = os.open(tmp_path / "image", os.O_RDONLY | os.O_CLOEXEC)
        loop = attach(image, "pyimount-0123abcd-1", offset=0, size=0, sector_size=512, read_only=True)
        at = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with pytest.raises(StepFailed) as raised:
                drivers.mount_device(loop.device, at, kind, options, read_only=True)
        finally:
            os.close(at)
            os.close(image)
            detach(loop)
        return str(raised.value)

    return tried


@pytest.mark.parametrize("by_descriptor", [True, False])
def test_nothing_of_its_kind(
    by_descriptor: bool, failure: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not by_descriptor:
        monkeypatch.setattr(mount_api, "is_there", lambda: False)
    said = failure(bytes(1 << 20), "ext4")
    assert said.startswith("ext4: ")
    assert "capacity change" not in said
    # In the kernel's log, where that may be read; else what errno means.
    assert "find" in said or not by_descriptor
    if by_descriptor and mount_api.is_there():
        assert os.strerror(errno.EINVAL) in said


def test_what_the_driver_says(failure: Callable[..., str]) -> None:
    said = failure(bytes(1 << 20), "ext4", "nonsense")
    assert "nonsense" in said


def test_no_such_driver(failure: Callable[..., str]) -> None:
    if mount_api.is_there():
        assert "this kernel has no such driver" in failure(bytes(1 << 20), "nosuchfs")


def test_no_driver_takes_it(failure: Callable[..., str]) -> None:
    assert failure(bytes(1 << 20), None) == "no driver of this kernel takes it"


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_number_has_its_words(
    number: int, failure: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> int:
        raise mount_api.DriverError(number)

    monkeypatch.setattr(mount_api, "is_there", lambda: True)
    monkeypatch.setattr(mount_api, "new_mount", fails)
    said = failure(bytes(1 << 16), "ext4")
    assert os.strerror(number) in said
    assert ("security module" in said) == (number == errno.EPERM)
