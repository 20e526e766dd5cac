"""``imount``: imagemounter's options, as ``pyimount mount`` has them."""

import io
import json
import os
import pty
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pyimount import cli, dependencies
from pyimount.cli import imount
from pyimount.cli.imount_shell import Shell
from tests.imagemounter.disks import plain, three_volumes
from tests.mounting.images import attached
from tests.needing import needs, needs_root

TOP = Path(__file__).parents[2]


def translated(*arguments: str) -> list[str]:
    """What ``pyimount`` is called with, but for what every call has."""
    found = imount.as_mount(imount.parser().parse_args(arguments))
    assert found[0] == "mount"
    cli.parser("mount").parse_args(found)  # It takes every one of them.
    usual = {"mount", "--disk-mounter=auto", "--volume-detector=native", "--"}
    return [each for each in found if each not in usual]


TRANSLATIONS: tuple[tuple[str, list[str]], ...] = (
    ("a b", ["a", "b"]),
    ("-k a", ["--keep", "a"]),
    ("--no-interaction -w a", ["--keep", "--no-interaction", "a"]),
    ("-w -v -vv -c a", ["--wait", "--verbose", "--color", "a"]),
    ("--no-color a", ["--no-color", "a"]),
    ("-r --carve --vshadow -p --lazy-unmount a",
     ["--reconstruct", "--carve", "--vshadow", "--pretty", "--lazy-unmount", "a"]),
    ("-o 1,2.0,home --skip 3,-x a",
     ["--only-mount=1", "--only-mount=2.0", "--only-mount=home", "--skip=3", "--skip=-x", "a"]),
    ("-md /mnt -cn case a", ["--mountdir=/mnt", "--casename=case", "a"]),
    ("--single a", ["--single", "a"]),
    ("--no-single a", ["--no-single", "a"]),
    ("--single --no-single a", ["a"]),
    ("-m nbd a", ["--disk-mounter=qemu-nbd", "a"]),
    ("-m ewfmount a", ["--disk-mounter=ewfmount", "a"]),
    ("-rw a", ["--read-write", "a"]),
    ("-rw -m xmount a", ["--read-write", "a"]),
    ("-d pytsk3 a", ["a"]),
    ("-d dissect a", ["--volume-detector=dissect", "a"]),
    ("--vstypes gpt a", ["--vstype=gpt", "a"]),
    ("--vstypes detect a", ["a"]),
    ("--vstypes 1=dos,2=bsd,*=gpt,?=mac a", ["--vstypes=1=dos", "--vstypes=2=bsd", "--vstype=gpt", "a"]),
    ("--fstypes 1=ext,2=lvm,?=unknown a", ["--fstypes=1=ext", "--fstypes=?=unknown", "a"]),
    ("--fstypes 1=bsd a", ["--vstypes=1=bsd", "a"]),
    ("--keys 1=p:with,comma=and --keys *=p:b a", ["--keys=1=p:with,comma=and", "--key=p:b", "a"]),
    ("--keys p:for-all a", ["--key=p:for-all", "a"]),
)  # fmt: skip


@pytest.mark.parametrize(("line", "wanted"), TRANSLATIONS)
def test_its_options_are_those_of_mount(line: str, wanted: list[str]) -> None:
    assert translated(*line.split()) == wanted


def test_the_package_has_both_commands() -> None:
    scripts = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"pyimount": "pyimount.__main__:main", "imount": "pyimount.cli.imount:main"}


def test_what_cannot_keep_a_cache_mounts_read_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert translated("-rw", "-m", "affuse", "a") == ["--disk-mounter=affuse", "a"]
    assert "does not support mounting read-write" in capsys.readouterr().err


def run(*arguments: str | Path, told: str = "") -> "subprocess.CompletedProcess[str]":
    code = "import sys; from pyimount.cli.imount import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        input=told, capture_output=True, text=True, check=False, cwd=TOP,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--fstypes", "0=nonsense", "a"], 1, "--fstypes: 0=nonsense is invalid"),
        (["--vstypes", "nonsense", "a"], 1, "--vstypes: *=nonsense is invalid"),
        (["--keys", "=p:x", "a"], 2, "is not INDEX=VALUE"),
        (["--fstypes", "1=ext,2", "a"], 2, "2 is not INDEX=VALUE"),
        (["-q", "a"], 2, "unrecognized arguments: -q"),
        (["-m", "vmware-mount", "a"], 1, "vmware-mount is not installed"),
        (["/nowhere/absent.img"], 1, "no such file"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], status: int, said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr


def test_check_is_read_line_by_line() -> None:
    """As clients do it: the first word, and the name that is the second."""
    done = run("--check")
    assert done.returncode == 0
    found = {}
    for line in done.stdout.splitlines():
        words = line.split()
        if words and words[0] in ("INSTALLED", "MISSING"):
            found[words[1]] = words[0] == "INSTALLED"
    assert found == {each.name: each.is_available for each in dependencies.ALL}


def test_a_reader_of_check_that_has_seen_enough_is_no_error() -> None:
    code = "import sys; from pyimount.cli.imount import main; sys.exit(main())"
    command = f"{sys.executable} -c '{code}' --check | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, cwd=TOP)
    assert (done.returncode, done.stderr) == (0, "")


# The shell.


def shell(*lines: str, paths: tuple[Path, ...] = ()) -> str:
    """What the shell says to these commands."""
    said = io.StringIO()
    made = Shell([str(path) for path in paths])
    made.stdout = said
    made.preloop()
    for line in lines:
        made.onecmd(line)
    return said.getvalue()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with three volumes."""
    needs("mkfs.ext4", "sfdisk")
    return three_volumes(tmp_path_factory.mktemp("disk"))


def test_the_shell_shows_what_is_in_a_disk(disk: Path) -> None:
    said = shell("show", "show 1.2", "set 1.2 fstype ext", "show 1", paths=(disk,))
    assert "Added" in said
    assert "1.2:Ext4 home" in said
    assert "fstype of 1.2 is ext" in said
    assert " - lastmountpoint  /home" in said
    assert " - disk_mounter    auto" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mount 9", "no disk or volume 9"),
        ("mount", "required"),
        ("disk /nowhere", "does not exist"),
        ("set 1 flag alloc", "has no flag"),
        ("set 1 offset many", "many"),
        ("disk 'open", "closing"),
        ("nonsense", "nonsense"),
    ],
)
def test_what_is_wrong_ends_no_shell(disk: Path, line: str, said: str) -> None:
    told = shell(line, "show", paths=(disk,))
    assert said.lower() in told.lower()
    assert "1.1:Ext4 root" in told


def test_the_shell_mounts_and_unmounts(disk: Path) -> None:
    needs_root()
    said = shell("mount 1.2", "mount 1.2", "mount -r 1", "unmount 1.1", "quit", paths=(disk,))
    assert said.count("Mounted volume 1.2 at") == 2
    assert "already mounted" in said
    assert "Mounted volume 1.3 at" in said
    assert "Unmounted 1.1" in said
    assert attached(disk) == []


# As root.


def test_it_mounts_and_takes_down(tmp_path: Path) -> None:
    needs_root()
    needs("mkfs.ext4")
    image, folder = plain(tmp_path), tmp_path / "mnt"
    done = run("-k", "-md", folder, "-p", "-cn", "case 7", "-o", "data", image)
    assert done.returncode == 0, done.stderr
    assert (folder / "case_7" / "0-data" / "readme.txt").exists()
    undone = run("-u", "-md", folder, "-p", "-cn", "case 7", told="\n")
    assert undone.returncode == 0, undone.stderr
    assert "umount" in undone.stdout
    assert attached(image) == []
    assert "Nothing to do" in run("-u", "-md", folder, "-p", "-cn", "case 7").stdout


def test_a_second_opinion_is_told(tmp_path: Path, disk: Path) -> None:
    needs_root()
    pytest.importorskip("dissect.volume")
    done = run("-k", "-d", "dissect", "-md", tmp_path / "mnt", disk)
    try:
        assert done.returncode == 0, done.stderr
        assert "dissect" not in done.stderr
        assert len(list((tmp_path / "mnt").iterdir())) == 3
    finally:
        subprocess.run([sys.executable, "-m", "pyimount", "unmount", disk], check=True, cwd=TOP)


def test_it_stops_where_a_volume_is_not_mounted(tmp_path: Path) -> None:
    needs_root()
    image = tmp_path / "blank.img"
    image.write_bytes(bytes(1 << 20))
    code = "import sys; from pyimount.cli.imount import main; sys.exit(main())"
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", code, "-w", "-k", image],
            stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=TOP,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            said = b""
            while b"press Enter" not in said:
                piece = process.stdout.read(1)
                assert piece, said
                said += piece
            assert process.poll() is None
            os.write(ours, b"\n")
            assert process.wait() == 4
    finally:
        os.close(ours)
        os.close(theirs)


# What it stands on: types of tables by index.


def test_types_of_tables_by_index(disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = tmp_path / "second.raw"
    second.write_bytes(disk.read_bytes())

    def tables(*arguments: Any) -> list[str | None]:
        assert cli.main(["detect", "--json", *map(str, arguments), str(disk), str(second)]) == 0
        return [each["pttype"] for each in json.loads(capsys.readouterr().out)["disks"]]

    assert tables() == ["gpt", "gpt"]
    assert tables("--vstypes=1=none") == [None, "gpt"]
    assert tables("--vstype=none", "--vstypes=2=gpt") == [None, "gpt"]
    assert tables("--vstypes=1=none", "--vstypes=2=detect") == [None, "gpt"]
