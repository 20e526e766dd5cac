"""``ls`` and ``cat`` as a user calls them."""

import json
from pathlib import Path

import pytest

from fixtures.workshop import fixtures
from pyimount.cli import main
from tests.files.test_ext import change, made


@pytest.mark.needs("mke2fs")
def test_a_file_is_printed_and_a_folder_listed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = str(made(tmp_path, "-t", "ext4", "-L", "root"))
    assert main(["cat", image, "0:/etc/hostname"]) == 0
    assert capfd.readouterr().out == "evidence\n"
    assert main(["cat", image, "root:/short link"]) == 0
    assert capfd.readouterr().out == "evidence\n"
    assert main(["ls", image]) == 0
    assert capfd.readouterr().out == "0:/  ext4  24.0 MiB  root\n"
    assert main(["ls", "--json", image, "0:/"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    found = {line["path"]: line for line in lines}
    assert found["/short link"]["target"] == "etc/hostname"
    assert (found["/outside"]["kind"], found["/outside"]["target"]) == ("link", "/etc/shadow")
    assert (found["/empty"]["size"], found["/empty"]["volume"]) == (0, "0")
    assert found["/empty"]["modified"].endswith(".000000000Z")


@pytest.mark.needs("mke2fs")
def test_what_is_not_there_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = str(made(tmp_path, "-t", "ext4"))
    assert main(["cat", image, "0:/nothing"]) == 1
    assert capfd.readouterr() == ("", "pyimount: 0:/nothing: no such file or directory\n")
    assert main(["cat", image, "7:/nothing"]) == 1
    assert "there is no volume 7" in capfd.readouterr().err
    assert main(["cat", image, "0:/outside"]) == 1, "a link leads nowhere out of the image"
    assert capfd.readouterr().out == ""
    assert main(["ls", str(tmp_path / "none.img")]) == 1


@pytest.mark.needs("mke2fs", "debugfs")
def test_names_from_an_image_are_escaped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "red\x1b[31m\nname").write_text("")
    image = made(tmp_path, "-t", "ext4")
    assert main(["ls", str(image), "0:/"]) == 0
    out = capfd.readouterr().out
    assert "\x1b" not in out
    assert r"red\x1b[31m\nname" in out.splitlines()
    change(image, "sif empty mode 0")


def test_the_volumes_of_the_demo_disk(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = next(each for each in fixtures() if each.name == "demo").unpack(tmp_path)
    assert main(["ls", str(image)]) == 0
    assert [line.split()[:2] for line in capfd.readouterr().out.splitlines()] == [
        ["1:/", "vfat"], ["2:/", "ext4"], ["3:/", "ntfs"]
    ]  # fmt: skip


@pytest.mark.needs("mke2fs")
def test_options_may_stand_anywhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By itself argparse gives the words of a list, as PATH … is, all that stand before the next option."""
    image = str(made(tmp_path, "-t", "ext4"))
    seen = []
    for arguments in (["--json", image, "0:/etc"], [image, "--json", "0:/etc"], [image, "0:/etc", "--json"]):
        assert main(["ls", *arguments]) == 0
        seen.append(capfd.readouterr().out)
    assert seen[0].count("\n") == 1
    assert seen[1:] == seen[:1] * 2
    for arguments in ([image, "--depth", "1", "0:/etc"], ["--depth", "1", image, "0:/etc"]):
        assert main(["tree", *arguments]) == 0
        assert "hostname" in capfd.readouterr().out
    for arguments in ([image, "--second-opinion", "0:/"], ["--second-opinion", image, "0:/"]):
        assert main(["find", *arguments]) == 0
    out = tmp_path / "out"
    assert main(["cp", image, "0:/empty", "-r", "0:/etc", "--hash", "sha256", str(out)]) == 0
    assert (out / "etc" / "hostname").exists()
    assert (out / "empty").exists()
    with pytest.raises(SystemExit) as ended:
        main(["ls", image, "--no-such-option", "0:/etc"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --no-such-option" in capfd.readouterr().err
