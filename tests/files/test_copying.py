"""``cp``: the same files, and from hostile evidence nothing beside the target."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyimount.cli import main
from pyimount.inside.copying import safe_name
from tests.files.test_ext import change, made
from tests.files.trees import make_tree, of_folder

pytestmark = pytest.mark.needs("mke2fs", "debugfs")


def renamed(image: Path, names: dict[bytes, bytes]) -> None:
    """Give names in folders other bytes, of the same length, which no system call would let one give."""
    data = bytearray(image.read_bytes())
    for old, new in names.items():
        assert len(old) == len(new)
        assert data.count(old) == 1
        at = data.index(old)
        data[at : at + len(old)] = new
    image.write_bytes(data)


def hostile(tmp_path: Path, *names: str) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number, name in enumerate(names):
        (tree / name).write_text(f"{number}\n")
    return made(tmp_path, "-t", "ext4", "-O", "^metadata_csum,^dir_index")


def outside(tmp_path: Path) -> set[str]:
    """Everything below the test's folder but for the target's own."""
    return {str(path) for path in tmp_path.rglob("*") if "out" not in path.relative_to(tmp_path).parts}


def test_a_copy_is_the_same_tree(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image, out = made(tmp_path, "-t", "ext4"), tmp_path / "out"
    assert main(["cp", "-r", "--hash", "sha256", str(image), "0:/", str(out)]) == 0
    assert capfd.readouterr().err == ""
    copied = {
        path: facts for path, facts in of_folder(out / "0").items() if not path.startswith("/lost+found")
    }
    assert copied == of_folder(tmp_path / "tree")
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "pyimount.sha256"],
        cwd=out,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = sum(path.is_file() and not path.is_symlink() for path in (tmp_path / "tree").rglob("*"))
    assert len(done.stdout.splitlines()) == files


def test_what_is_there_is_not_written_over_and_a_copy_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image, out = made(tmp_path, "-t", "ext4"), tmp_path / "out"
    command = ["cp", "-r", str(image), "0:/etc", "0:/of 300001 bytes.bin", str(out)]
    assert main(command) == 0
    big = out / "of 300001 bytes.bin"
    whole = big.read_bytes()
    assert main(command) == 1
    assert "is there already" in capfd.readouterr().err
    # As an interrupted copy leaves it: a part, and no file of that name.
    part = out / f".{hashlib.sha256(big.name.encode()).hexdigest()[:24]}.pyimount-part"
    part.write_bytes(whole[:200_000])
    big.unlink()
    assert main([*command, "--resume"]) == 0
    assert big.read_bytes() == whole
    assert not part.exists()
    # Something else under the name is told from an earlier copy.
    (out / "etc" / "hostname").write_text("changed!\n")
    assert main([*command, "--resume", "--hash", "sha256"]) == 1
    assert "not the same file" in capfd.readouterr().err
    assert (out / "etc" / "hostname").read_text() == "changed!\n"


def test_a_block_that_was_begun_does_not_show_through_a_hole(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "holes").write_bytes(bytes(3 << 16) + b"end")
    image = made(tmp_path)
    target = tmp_path / "copied"
    assert main(["cp", "-r", str(image), "0:/", str(target)]) == 0
    (copy,) = target.rglob("holes")
    part = f".{hashlib.sha256(b'holes').hexdigest()[:24]}.pyimount-part"
    copy.with_name(part).write_bytes(bytes(1 << 16) + b"begun")
    copy.unlink()
    assert main(["cp", "-r", "--resume", str(image), "0:/", str(target)]) == 0
    assert copy.read_bytes() == (tree / "holes").read_bytes()
    assert not copy.with_name(part).exists()


def test_names_that_lead_elsewhere_stay_in_the_target(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = hostile(tmp_path, "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccc", "plain")
    renamed(image, {b"aaaaaaaaaaaa": b"../../evil-a", b"bbbbbbbbbbbb": b"/tmp/evil-bb", b"cccc": b"d\0/."})
    before = outside(tmp_path)
    assert main(["cp", "-r", str(image), "0:/", str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out" / "0").iterdir()}
    assert names == {"..%2F..%2Fevil-a", "%2Ftmp%2Fevil-bb", "d%00%2F.", "plain", "lost+found"}
    assert outside(tmp_path) == before
    assert not Path("/tmp/evil-bb").exists()  # noqa: S108
    assert capfd.readouterr().err.count("is written as") == 3


def test_dots_and_long_names_and_halves_of_characters() -> None:
    assert safe_name("..") == "%2E%2E"
    assert safe_name(".") == "%2E"
    assert safe_name("") != ""
    assert safe_name("\ud800x") == "%uD800x"
    assert safe_name("\udcffx") == "\udcffx"
    long = safe_name("é" * 4000)
    assert len(os.fsencode(long)) <= 255
    assert long != safe_name("é" * 4001)


def test_two_of_one_name_are_both_copied(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = hostile(tmp_path, "first-name", "other-name")
    renamed(image, {b"other-name": b"first-name"})
    assert main(["cp", "-r", str(image), "0:/", str(tmp_path / "out")]) == 0
    found = {path.name: path.read_text() for path in (tmp_path / "out" / "0").iterdir() if path.is_file()}
    assert sorted(found) == ["first-name", "first-name~2"]
    assert sorted(found.values()) == ["0\n", "1\n"]
    assert "is written as" in capfd.readouterr().err


def test_links_are_copied_and_never_followed(tmp_path: Path) -> None:
    """A folder of the image with the name of a link that the image made before: nothing goes through it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    tree = tmp_path / "tree"
    (tree / "zzzz").mkdir(parents=True)
    (tree / "zzzz" / "file").write_text("evil\n")
    (tree / "aaaa").symlink_to(elsewhere)
    image = made(tmp_path, "-t", "ext4", "-O", "^metadata_csum,^dir_index")
    renamed(image, {b"zzzz": b"aaaa"})
    assert main(["cp", "-r", str(image), "0:/", str(tmp_path / "out")]) == 0
    assert list(elsewhere.iterdir()) == []
    # The same with a link that stands in the target already.
    (tmp_path / "out" / "1").symlink_to(elsewhere)
    assert main(["cp", "-r", str(image), "0:/", str(tmp_path / "out" / "1")]) == 1
    assert list(elsewhere.iterdir()) == []
    for links, is_file in (("text", True), ("skip", False)):
        out = tmp_path / f"out-{links}"
        main(["cp", "-r", "--links", links, str(image), "0:/", str(out)])
        assert [path.name for path in out.rglob("*") if path.is_symlink()] == []
        assert (
            any(path.is_file() and path.read_text() == f"{elsewhere}\n" for path in out.rglob("a*"))
            is is_file
        )
        assert list(elsewhere.iterdir()) == []


def test_set_uid_and_devices_are_not_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree = tmp_path / "tree"
    make_tree(tree)
    image = made(tmp_path, "-t", "ext4")
    change(image, "sif /empty mode 0104777", "mknod disk b 8 0", "mknod pipe p")
    for more in ([], ["--preserve"]):
        out = tmp_path / f"out{len(more)}"
        assert main(["cp", "-r", *more, str(image), "0:/", str(out)]) == 0
        assert (out / "0" / "empty").stat().st_mode & 0o6000 == 0
        assert not (out / "0" / "disk").exists()
        assert not (out / "0" / "pipe").exists()
    assert "disk is a device, and is not made here" in capfd.readouterr().err


def test_a_folder_that_holds_itself_is_copied_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = made(tmp_path, "-t", "ext4")
    change(image, "ln /d0 /d0/itself")
    assert main(["cp", "-r", str(image), "0:/d0", str(tmp_path / "out")]) == 1
    assert "the folder holds itself" in capfd.readouterr().err
    assert list((tmp_path / "out").rglob("deep.txt")) == [
        tmp_path / "out" / "d0" / "d1" / "d2" / "d3" / "d4" / "d5" / "d6" / "deep.txt"
    ]
    assert main(["find", str(image), "0:/d0", "--name", "deep.txt"]) == 1
    assert capfd.readouterr().out == "0:/d0/d1/d2/d3/d4/d5/d6/deep.txt\n"


def test_a_size_is_not_believed_before_the_bytes_are_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = made(tmp_path, "-t", "ext4", "-O", "^metadata_csum")
    change(image, f"sif /etc/hostname size {(1 << 62)}")
    assert main(["cp", "-r", str(image), "0:/etc", "0:/empty", str(tmp_path / "out")]) == 1
    assert "0:/etc/hostname" in capfd.readouterr().err
    used = sum(path.stat().st_blocks for path in (tmp_path / "out").rglob("*"))
    assert used < 1000
    assert (tmp_path / "out" / "empty").exists(), "one file that cannot be copied stops no other"


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_copy_goes_on_where_it_stopped(tmp_path: Path, by: signal.Signals) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    make_tree(tree)
    large = tree / "z large"
    with large.open("wb") as file:
        for number in range(96):
            file.write(bytes([number]) * (1 << 20))
    image = made(tmp_path, "-t", "ext4", size="160M")
    command = [sys.executable, "-m", "pyimount", "cp", "-r", str(image), "0:/", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as copying:
        # Stopped while it writes the large file: what is begun has a name of its own.
        while copying.poll() is None and not any(out.glob("0/.*.pyimount-part")):
            time.sleep(0.002)
        copying.send_signal(by)
        _, said = copying.communicate()
    # 0: it had done all before it was stopped.
    assert copying.returncode in (130 if by is signal.SIGINT else -9, 0)
    if copying.returncode == 130:
        assert said.endswith("pyimount: stopped\n")
    done = subprocess.run([*command, "--resume"], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    (out / "0" / "lost+found").rmdir()
    subprocess.run(["diff", "-r", "--no-dereference", tree, out / "0"], check=True)
    assert of_folder(out / "0") == of_folder(tree)
    assert list(out.rglob(".*pyimount*")) == []
