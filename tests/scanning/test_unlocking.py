"""Keys during a scan: what they open, what is said when they do not, and that they never show."""

import json
import os
import pickle
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import Workshop
from pyimount.cli import main
from pyimount.keys import BadKey
from pyimount.mapping import open_layer
from pyimount.problems import Code
from pyimount.sources.errors import OpenError
from tests.needing import needs

MIB = 1 << 20
KEY = "p:key"
WRONG = "p:hunter2-not-it"


@pytest.fixture(params=["luks1", "luks2"])
def locked(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A LUKS volume whose passphrase is ``key``."""
    needs("cryptsetup")
    work = Workshop(tmp_path)
    image = work.blank(17 * MIB)
    cheap = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    work.run("cryptsetup", "luksFormat", "-q", "--type", request.param, *cheap, image, "-", stdin=b"key")
    return image


def codes(volume: pyimount.VolumeLayer) -> list[Code]:
    return [problem.code for problem in volume.problems]


def test_without_a_key_it_is_locked(locked: Path) -> None:
    (volume,) = pyimount.detect(locked).volumes
    assert volume.locked is True
    assert codes(volume) == [Code.LOCKED]


@pytest.mark.parametrize("volume", ["0", "*", 0])
def test_a_key_opens_it(locked: Path, volume: str | int) -> None:
    scan = pyimount.detect(locked, keys={volume: KEY})
    assert scan["0"].locked is False
    assert codes(scan["0"]) == []
    assert scan["0"].details["opened_by"]
    inner = scan["0.0"]
    assert inner.parents == (scan["0"].id,)
    assert inner.size is not None
    assert scan["0"].size is not None
    assert 0 < inner.size < scan["0"].size
    with open_layer(scan, inner, keys={"*": KEY}) as source:
        assert source.size == inner.size
        source.read_at(0, 4096)


def test_a_key_by_uuid_opens_it(locked: Path) -> None:
    uuid = pyimount.detect(locked)["0"].uuid
    assert uuid is not None
    assert pyimount.detect(locked, keys={uuid.upper(): KEY})["0"].locked is False


def test_a_wrong_key_is_said_with_how_many_keyslots_it_was_tried_on(locked: Path) -> None:
    (volume,) = pyimount.detect(locked, keys={"*": WRONG}).volumes
    assert volume.locked is True
    assert sorted(codes(volume)) == [Code.LOCKED, Code.WRONG_KEY]
    assert any("1 keyslot" in problem.message for problem in volume.problems)


def test_a_key_for_another_volume_is_not_tried(locked: Path) -> None:
    assert codes(pyimount.detect(locked, keys={"7": KEY})["0"]) == [Code.LOCKED]


def test_keys_are_in_no_report_and_no_pickle(locked: Path) -> None:
    scan = pyimount.detect(locked, keys={"*": WRONG, "0": KEY})
    assert scan["0"].locked is False
    assert WRONG[2:].encode() not in pickle.dumps(scan)
    assert WRONG[2:] not in json.dumps(scan.to_dict())
    assert WRONG[2:] not in repr(scan)


def test_what_was_opened_needs_its_key_again(locked: Path) -> None:
    scan = pyimount.detect(locked, keys={"*": KEY})
    stored = pyimount.Scan.from_dict(json.loads(json.dumps(scan.to_dict())))
    for keys in (None, {"*": WRONG}):
        with pytest.raises(OpenError), open_layer(stored, stored["0.0"], keys=keys):
            pytest.fail("opened")
    with open_layer(stored, stored["0.0"], keys={"0": KEY}) as source:
        assert source.size == scan["0.0"].size


@pytest.mark.parametrize("key", ["", "hunter2", "x:hunter2", "f:/nothing/there"])
def test_a_key_that_is_none_is_refused_without_repeating_it(locked: Path, key: str) -> None:
    with pytest.raises(BadKey) as refused:
        pyimount.detect(locked, keys={"*": key})
    assert "hunter2" not in str(refused.value)


def test_keys_on_the_command_line(
    locked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").write_text(f"# ours\n{KEY}\n")
    (tmp_path / "keyfile").write_bytes(b"key")
    for options in (
        ["--key", KEY],
        ["--keys", f"0={KEY}"],
        ["--key-file", str(tmp_path / "keys")],
        ["--key", f"f:{tmp_path / 'keyfile'}"],
    ):
        assert main(["detect", "--strict", "--json", *options, str(locked)]) in (0, 3)
        (disk,) = json.loads(capsys.readouterr().out)["disks"]
        assert disk["volumes"][0]["locked"] is False
    monkeypatch.setenv("PYIMOUNT_KEY", KEY)
    assert main(["detect", str(locked)]) == 0
    assert "opened" in capsys.readouterr().out
    monkeypatch.setenv("PYIMOUNT_KEY", "nonsense")
    assert main(["detect", str(locked)]) == 2
    assert "nonsense" not in capsys.readouterr().err


def test_an_opened_volume_is_exported(locked: Path, tmp_path: Path) -> None:
    target = tmp_path / "plain"
    assert main(["export", str(locked), "0.0", "--key", KEY, "-o", str(target)]) == 0
    scan = pyimount.detect(locked, keys={"*": KEY})
    with open_layer(scan, scan["0.0"], keys={"*": KEY}) as source:
        assert target.read_bytes() == source.read_at(0, source.size)


def test_a_header_that_is_missing_is_a_wrong_argument(
    locked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", "--header", str(locked) + ".nothing", "--key", KEY, str(locked)]) == 2
    assert "no such file" in capsys.readouterr().err


def test_nothing_stays_open(locked: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
    scan = pyimount.detect(locked, keys={"*": KEY})
    with open_layer(scan, scan["0.0"], keys={"*": KEY}):
        assert len(os.listdir("/proc/self/fd")) > len(before)  # noqa: PTH208
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_header_that_lies_apart(tmp_path: Path) -> None:
    needs("cryptsetup")
    work = Workshop(tmp_path)
    data, header = work.blank(4 * MIB, "data.img"), work.blank(17 * MIB, "header.img")
    cheap = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    work.run("cryptsetup", "luksFormat", "-q", "--header", header, *cheap, data, "-", stdin=b"key")
    assert [volume.type for volume in pyimount.detect(data, keys={"*": KEY}).volumes] == [None]
    scan = pyimount.detect(data, keys={"*": KEY}, header=header)
    assert scan["0.0"].size == 4 * MIB
    assert (scan["0"].type, scan["0"].locked) == ("crypto_LUKS", False)
    stored = pyimount.Scan.from_dict(json.loads(json.dumps(scan.to_dict())))
    with open_layer(stored, stored["0.0"], keys={"*": KEY}) as source:
        assert len(source.read_at(0, MIB)) == MIB
    assert [volume.index for volume in pyimount.detect(data, keys={"*": WRONG}, header=header).volumes] == [
        "0"
    ]
