"""``mount --user``: what an ordinary user sees through FUSE is what was put into the image."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.workshop import fixtures
from pyimount.cli import main
from pyimount.execution.user_mounts import user_mounts
from tests.files.test_ext import change, made
from tests.files.trees import of_folder

pytestmark = [
    pytest.mark.needs("fusermount3", "mke2fs", "debugfs"),
    pytest.mark.skipif(
        not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="/dev/fuse is not for this user"
    ),
]
COMMAND = (sys.executable, "-m", "pyimount")


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mounted"
    yield folder
    subprocess.run(["fusermount3", "-u", "-z", "-q", str(folder)], check=False, capture_output=True)


def mount(*words: object) -> subprocess.CompletedProcess[str]:
    argv = [*COMMAND, "mount", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)


def test_the_files_are_shown_and_taken_down(
    tmp_path: Path, at: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = made(tmp_path, "-t", "ext4")
    change(image, "sif /empty mode 0104777")
    done = mount("--user", at, image)
    assert (done.returncode, done.stderr) == (0, "")
    found = of_folder(at / "0", modes=False)
    assert {path: facts for path, facts in found.items() if path != "/lost+found"} == of_folder(
        tmp_path / "tree", modes=False
    )
    assert (at / "0" / "empty").stat().st_mode & 0o7222 == 0, "neither writable nor set-uid"
    with pytest.raises(OSError, match="Read-only"):
        (at / "0" / "new").write_text("")
    (line,) = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {at} " in line]
    assert {"ro", "nosuid", "nodev"} <= set(line.split()[5].split(","))
    (session,) = [each for each in user_mounts() if each["images"] == [str(image)]]
    assert session["mounts"][0]["mountpoint"] == str(at)
    assert main(["list", "--json"]) == 0
    listed = json.loads(capfd.readouterr().out)["sessions"]
    assert session["session"] in {each["session"] for each in listed}
    assert main(["unmount", str(image)]) == 0
    assert [each for each in user_mounts() if each["images"] == [str(image)]] == []


def test_links_as_text(tmp_path: Path, at: Path) -> None:
    assert mount("--user", at, "--links", "text", made(tmp_path, "-t", "ext4")).returncode == 0
    assert not (at / "0" / "outside").is_symlink()
    assert (at / "0" / "outside").read_text() == "/etc/shadow"


def test_random_reads_of_a_large_file(tmp_path: Path, at: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    data = bytes(range(251)) * 60_000
    (tree / "large").write_bytes(data)
    assert mount("--user", at, made(tmp_path, "-t", "ext4", size="64M")).returncode == 0
    with (at / "0" / "large").open("rb", buffering=0) as file:
        for offset in (0, 14_000_000, 5, 4_194_304 - 3, 9_999_999, len(data) - 10):
            file.seek(offset)
            assert file.read(70_000) == data[offset : offset + 70_000]
        file.seek(0)
        assert b"".join(iter(lambda: file.read(1 << 17), b"")) == data


def test_a_folder_that_is_in_use_and_an_image_without_files(tmp_path: Path, at: Path) -> None:
    at.mkdir()
    (at / "something").write_text("")
    assert mount("--user", at, made(tmp_path, "-t", "ext4")).returncode == 2
    swap = next(each for each in fixtures() if each.name == "luks2").unpack(tmp_path)
    done = mount("--user", tmp_path / "other", swap)
    assert done.returncode == 4
    assert "no volume whose files can be shown" in done.stderr


def test_an_image_within_is_shown(tmp_path: Path, at: Path) -> None:
    inner = made(tmp_path, "-t", "ext4")
    (tmp_path / "outer").mkdir()
    inner.rename(tmp_path / "outer" / "inner.img")
    outer = tmp_path / "outer.img"
    subprocess.run(["mke2fs", "-q", "-F", "-d", tmp_path / "outer", outer, "40M"], check=True)
    done = mount("--user", at, "--within", "0:/inner.img", outer)
    assert (done.returncode, done.stderr) == (0, "")
    found = of_folder(at / "0", modes=False)
    assert {path: facts for path, facts in found.items() if path != "/lost+found"} == of_folder(
        tmp_path / "tree", modes=False
    )
    done = mount("--user", tmp_path / "other", "--within", "0:/none.img", outer)
    assert (done.returncode, done.stderr) == (4, "pyimount: 0:/none.img: no such file or directory\n")
