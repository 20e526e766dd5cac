"""zip archives as file systems: held against Python's zipfile, and what hostile ones do."""

import os
import random
import stat
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest

import pyimount
from pyimount.cli import main
from pyimount.files.records import Kind
from pyimount.files.system import CannotRead, Damaged, FileSystem, open_filesystem
from pyimount.problems import Code
from tests.files.trees import make_tree, of_folder, of_image


def opened(image: Path, *, in_process: bool = True) -> FileSystem:
    return open_filesystem(pyimount.detect(image), "0", in_process=in_process)


@pytest.mark.needs("zip")
def test_every_file_is_read_as_it_was(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    make_tree(tree)
    (tree / "second name").unlink()
    image = tmp_path / "a.zip"
    subprocess.run(["zip", "-qry", image, "."], cwd=tree, check=True)
    scan = pyimount.detect(image)
    assert (scan["0"].type, scan["0"].details["encrypted_members"]) == ("zip", 0)
    with opened(image, in_process=False) as files:
        # Info-ZIP's times are in UTC, in an extra field; they are those of the files.
        assert of_image(files) == of_folder(tree)
        assert files.get("/etc/hostname").stat().uid == os.getuid()


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_zipfile_reads_the_same(tmp_path: Path, method: int) -> None:
    image = tmp_path / "a.zip"
    data = os.urandom(50_000) + b"text " * 20_000
    with zipfile.ZipFile(image, "w", method) as archive:
        for number in range(5):
            info = zipfile.ZipInfo(f"a/{number}.bin", (2020, 2, 29, 23, 59, 58))
            info.compress_type = method
            archive.writestr(info, data[number:])
        archive.writestr("größe.txt", "unicode")
    with opened(image) as files, zipfile.ZipFile(image) as archive:
        for info in archive.infolist():
            entry = files.get(f"/{info.filename}")
            assert entry.read() == archive.read(info)
            assert entry.stat().size == info.file_size
        stat_ = files.get("/a/1.bin").stat()
        assert (stat_.modified, stat_.local) == (1_583_020_798 * 10**9, True)
        assert b"".join(files.get("/a/1.bin").pieces(60_001, 7)) == data[60_002:60_009]


def test_bad_names_lead_nowhere(tmp_path: Path) -> None:
    image = tmp_path / "a.zip"
    with zipfile.ZipFile(image, "w") as archive:
        for name in ("../../escape", "/absolute", "a//b/./c", "C:\\windows\\x", "new\nline", "\x1b[31mred"):
            archive.writestr(name, name)
        archive.writestr("twice", "first")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("twice", "second")
        archive.writestr("folder", "a file and a folder")
        archive.writestr("folder/file", "below")
    with opened(image) as files:
        assert files.get("/../../escape").read() == b"../../escape"
        assert files.get("/absolute").read() == b"/absolute"
        assert files.get("/a/b/c").read() == b"a//b/./c"
        assert files.get("/twice").read() == b"second", "the last counts, as for who unpacks them"
        assert [each.name for each in files.root.entries()].count("twice") == 1
        assert (files.get("/folder").kind, files.get("/folder/file").read()) == (Kind.FOLDER, b"below")
    out = tmp_path / "out"
    assert main(["cp", "-r", str(image), "0:/", str(out)]) == 0
    assert not (tmp_path.parent / "escape").exists()
    assert {path.resolve().is_relative_to(out.resolve()) for path in out.rglob("*")} == {True}


def test_a_link_is_shown_and_not_followed(tmp_path: Path) -> None:
    image = tmp_path / "a.zip"
    with zipfile.ZipFile(image, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/shadow")
        archive.writestr("a.txt", "a")
        archive.writestr("b.txt", "b")
    with opened(image) as files:
        assert (files.get("/link").kind, files.get("/link").target()) == (Kind.LINK, "/etc/shadow")
    assert main(["cat", str(image), "0:/link"]) == 1


@pytest.mark.needs("zip")
def test_encrypted_members_are_told_and_never_given(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text("secret\n" * 99)
    image = tmp_path / "a.zip"
    subprocess.run(["zip", "-q", "-P", "pass", image, "one", "two"], cwd=tmp_path, check=True)
    with opened(image) as files:
        assert files.get("/one").stat().attributes == ("encrypted",)
        with pytest.raises(Damaged) as raised:
            files.get("/one").read()
    assert raised.value.problem.code is Code.LOCKED
    assert main(["cat", str(image), "0:/one"]) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "encrypted" in captured.err


def test_a_bomb_is_unpacked_only_as_far_as_it_is_read(tmp_path: Path) -> None:
    image = tmp_path / "a.zip"
    with zipfile.ZipFile(image, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("zeros", "w", force_zip64=True) as file:
            for _ in range(256):
                file.write(bytes(1 << 20))
        archive.writestr("beside", "sound")
    with opened(image, in_process=False) as files:
        assert files.get("/zeros").stat().size == 256 << 20
        assert b"".join(files.get("/zeros").pieces(0, 9)) == bytes(9)
        assert files.get("/beside").read() == b"sound"


def test_sizes_that_are_not_there(tmp_path: Path) -> None:
    image = tmp_path / "a.zip"
    with zipfile.ZipFile(image, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("short", b"text " * 999)
        archive.writestr("sound", "sound")
    raw = bytearray(image.read_bytes())
    at = raw.index(b"PK\1\2")
    struct.pack_into("<I", raw, at + 24, 0xFFFF_FFF0)  # so many bytes, it says, when unpacked
    image.write_bytes(raw)
    with opened(image, in_process=False) as files:
        with pytest.raises(Damaged):
            for _ in files.get("/short").pieces():
                pass
        assert files.get("/sound").read() == b"sound"


@pytest.mark.parametrize("cut", [5, 30, 200])
def test_a_directory_that_is_damaged(tmp_path: Path, cut: int) -> None:
    image = tmp_path / "a.zip"
    with zipfile.ZipFile(image, "w") as archive:
        for number in range(20):
            archive.writestr(f"{number}.txt", f"{number}")
    raw = bytearray(image.read_bytes())
    at = raw.rindex(b"PK\1\2")
    raw[at : at + 4] = b"XXXX"
    image.write_bytes(raw)
    assert pyimount.detect(image)["0"].type in (None, "zip")
    image.write_bytes(raw[:-cut])
    assert pyimount.detect(image)["0"].type is None


def test_an_empty_archive(tmp_path: Path) -> None:
    image = tmp_path / "a.zip"
    with zipfile.ZipFile(image, "w") as archive:
        archive.comment = b"nothing here" * 60
    assert pyimount.detect(image)["0"].type == "zip"
    with opened(image) as files:
        assert list(files.root.entries()) == []


def test_an_archive_with_a_single_image_is_still_that_disk(tmp_path: Path) -> None:
    image = tmp_path / "a.zip"
    with zipfile.ZipFile(image, "w") as archive:
        archive.writestr("disk.img", bytes(1 << 20))
        archive.writestr("notes.txt", "notes")
    scan = pyimount.detect(image)
    assert (scan.disks[0].container["type"], scan.disks[0].size) == ("zip", 1 << 20)


def test_mutated_archives_never_hide_the_sound_members(tmp_path: Path) -> None:
    """200 of them: nothing but what reading files may raise, and each member is as it was, or is told."""
    image = tmp_path / "a.zip"
    data = {f"folder {number % 3}/{number}.txt": b"%d " % number * 300 for number in range(12)}
    with zipfile.ZipFile(image, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in data.items():
            archive.writestr(name, content)
    sound = image.read_bytes()
    dice = random.Random(19)  # noqa: S311
    read = recognised = 0
    for _ in range(200):
        raw = bytearray(sound)
        for _ in range(dice.choice((1, 1, 2, 8))):
            raw[dice.randrange(len(raw))] = dice.randrange(256)
        image.write_bytes(raw)
        scan = pyimount.detect(image)
        volumes = [volume for volume in scan.volumes if volume.type == "zip"]
        if not volumes:
            continue  # it has no directory any more, and is told to be nothing that is known
        recognised += 1
        try:
            with open_filesystem(scan, volumes[0], in_process=True) as files:
                for name, content in data.items():
                    try:
                        got = files.get(f"/{name}").read()
                    except OSError:
                        continue
                    assert got == content, "what is read is what was written, by its checksum"
                    read += 1
        except CannotRead:
            continue
    assert recognised > 120
    assert read > 0.8 * recognised * len(data)
