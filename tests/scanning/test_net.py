"""The last net: a fault of ours is a problem of what it happened in, and everything else is still scanned."""

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import fixtures
from pyimount.layers import Scan
from pyimount.mapping import kinds
from pyimount.parsers.filesystems import ext
from pyimount.problems import Code
from pyimount.recognition import opening
from pyimount.scanning import scanner


def unpacked(name: str, folder: Path) -> Path:
    folder /= name
    folder.mkdir()
    return next(fixture for fixture in fixtures() if fixture.name == name).unpack(folder)


def raising(error: BaseException) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


def messages(scan: Scan, code: Code) -> list[str]:
    return [problem.message for _, problem in scan.all_problems() if problem.code is code]


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return [unpacked(name, tmp_path) for name in ("ext4", "demo", "xfs")]


FAULTS = [IndexError("x"), ValueError("bad \x1b[2J"), RecursionError(), KeyError("k"), AssertionError()]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_fault_in_a_parser_costs_that_layer_alone(
    fault: Exception, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = pyimount.detect(images)
    monkeypatch.setattr(scanner, "probe", _failing_for("ext", fault))
    with pytest.raises(type(fault)):
        pyimount.detect(images)
    scan = pyimount.detect(images, net=True)
    assert scan.exit_status() == 1
    said = messages(scan, Code.INTERNAL_ERROR)
    assert said
    assert all(f"{type(fault).__name__} at pyimount." in message for message in said)
    assert [volume.index for volume in scan.volumes] == [volume.index for volume in usual.volumes]
    for volume, before in zip(scan.volumes, usual.volumes, strict=True):
        if before.type is None or not before.type.startswith("ext"):
            assert volume == before
    assert scan["3.0"].type == "xfs"


def _failing_for(name: str, fault: Exception) -> Callable[..., object]:
    """``probe``, which fails where this format is found."""
    real = scanner.probe

    def probe(*arguments: object, **options: object) -> object:
        found = real(*arguments, **options)  # type: ignore[arg-type]
        if found.identity is not None and (found.identity.type or "").startswith(name):
            raise fault
        return found

    return probe


@pytest.mark.parametrize("fault", [*FAULTS, OSError(errno.EIO, "x")], ids=lambda fault: type(fault).__name__)
def test_a_fault_in_opening_costs_that_image_alone(
    fault: Exception, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = opening.open_image

    def open_image(segments: object, *rest: object) -> object:
        if "demo" in str(segments):
            raise fault
        return real(segments, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(scanner, "open_image", open_image)
    scan = pyimount.detect(images, net=True)
    assert [disk.size is None for disk in scan.disks] == [False, True, False]
    assert [problem.code for problem in scan.disks[1].problems] == [Code.INTERNAL_ERROR]
    assert scan["1.0"].type == "ext4"
    assert scan["3.0"].type == "xfs"


@pytest.mark.parametrize("lack", [MemoryError(), OSError(errno.EMFILE, "x"), OSError(errno.ENFILE, "x")])
def test_what_the_machine_lacks_is_said_as_that(
    lack: Exception, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "probe", _failing_for("ext", lack))
    scan = pyimount.detect(images)  # without the net: this is no fault
    assert scan.exit_status() == 1
    assert messages(scan, Code.OUT_OF_MEMORY)
    assert not messages(scan, Code.INTERNAL_ERROR)


def test_a_fault_in_assembling_and_in_unlocking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    luks = unpacked("luks2", tmp_path)
    monkeypatch.setattr(kinds, "unlock", raising(TypeError("x")))
    scan = pyimount.detect(luks, keys={"*": "p:x"}, net=True)
    assert scan.volumes[0].type == "crypto_LUKS"
    assert Code.INTERNAL_ERROR in [problem.code for problem in scan.volumes[0].problems]
    lvm = unpacked("lvm2", tmp_path)
    for name in ("assemble", "open_mapped", "members_named"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kinds, name, raising(TypeError("x")))
            scan = pyimount.detect([lvm, luks], net=True)
            assert scan["1.0"].type == "LVM2_member"
            assert scan.exit_status() in (0, 1)


def test_the_place_is_ours_and_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = unpacked("ext4", tmp_path)
    monkeypatch.setattr(ext, "uuid_text", lambda raw: list(raw)[99])
    (message,) = messages(pyimount.detect(image, net=True), Code.INTERNAL_ERROR)
    module, _, line = message.partition("IndexError at ")[2].partition(";")[0].partition(":")
    assert module == "pyimount.parsers.filesystems.ext"
    assert int(line) > 0


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_who_stops_the_scan_stops_it(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = unpacked("ext4", tmp_path)
    monkeypatch.setattr(scanner, "probe", raising(error))
    with pytest.raises(type(error)):
        pyimount.detect(image, net=True)


def test_the_command_has_the_net(tmp_path: Path) -> None:
    image = unpacked("ext4", tmp_path)
    code = (
        "import sys; from pyimount.scanning import scanner\n"
        "def probe(*_, **__): raise IndexError('x')\n"
        "scanner.probe = probe\n"
        "from pyimount.cli import main; sys.exit(main())"
    )
    line = [sys.executable, "-c", code, "detect", "--json", str(image)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "internal-error" in done.stdout
    assert "Traceback" not in done.stderr
