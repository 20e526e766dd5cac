"""ext2, ext3, ext4: against the folder that mke2fs filled them from, and what debugfs says and sets."""

import re
import subprocess
from pathlib import Path

import pytest

from pyimount.files.records import Kind
from tests.files.trees import make_tree, of_folder, of_image, opened, walk

pytestmark = pytest.mark.needs("mke2fs", "debugfs")
LIBRARIES = ("dissect.extfs", "pyfsext")
KINDS = {
    "ext2": ("-t", "ext2"),
    "ext2 of revision 0": ("-t", "ext2", "-r", "0"),
    "ext2 with small blocks": ("-t", "ext2", "-b", "1024"),
    "ext3": ("-t", "ext3"),
    "ext4": ("-t", "ext4"),
    "ext4 of small inodes": ("-t", "ext4", "-I", "128"),
    "ext4 with data in inodes": ("-t", "ext4", "-O", "inline_data"),
}
# libfsext 20260821 reads neither what lies in the inode and its attributes, nor inodes of revision 0.
NOT_READ = {("pyfsext", "ext4 with data in inodes"), ("pyfsext", "ext2 of revision 0")}


def made(tmp_path: Path, *options: str, size: str = "24M") -> Path:
    tree, image = tmp_path / "tree", tmp_path / "ext.img"
    if not tree.exists():
        make_tree(tree)
    subprocess.run(["mke2fs", "-q", "-F", *options, "-d", tree, image, size], check=True, capture_output=True)
    return image


def change(image: Path, *commands: str) -> str:
    script = image.with_suffix(".debugfs")
    script.write_text("".join(f"{command}\n" for command in commands))
    done = subprocess.run(["debugfs", "-w", "-f", script, image], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_read_as_it_was(tmp_path: Path, kind: str, library: str) -> None:
    if (library, kind) in NOT_READ:
        pytest.skip("the library does not read it")
    image = made(tmp_path, *KINDS[kind])
    with opened(image, library) as files:
        assert of_image(files, without=("lost+found",)) == of_folder(tmp_path / "tree")


def test_a_reader_of_its_own_reads_the_same(tmp_path: Path) -> None:
    with opened(made(tmp_path, "-t", "ext4"), in_process=False) as files:
        assert of_image(files, without=("lost+found",)) == of_folder(tmp_path / "tree")


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("seconds", [-100_000, -1, 0, 2**31 - 1, 2**31, 4_102_444_800, 2**33])
def test_times_outside_1970_to_2038(tmp_path: Path, seconds: int, library: str) -> None:
    """As debugfs writes and the kernel reads them; dissect.extfs itself is wrong by 2**32 s on some."""
    image = made(tmp_path, "-t", "ext4")
    change(image, *(f"sif /empty {name} @{seconds & 0xFFFFFFFF:#x}" for name in ("mtime", "atime", "ctime")))
    # The two lowest bits of the extra field count 2**32 s that are added to the 32 signed ones.
    low = (seconds & 0xFFFFFFFF) - ((seconds & 0x80000000) << 1)
    extra = (seconds - low) >> 32 | 123_456_789 << 2
    change(image, f"sif /empty mtime_extra {extra}", f"sif /empty mtime_lo {seconds & 0xFFFFFFFF}")
    said = change(image, "stat /empty")
    assert re.search(rf"mtime: 0x{seconds & 0xFFFFFFFF:08x}:{extra:08x}", said), said
    with opened(image, library) as files:
        assert files.get("/empty").stat().modified == seconds * 10**9 + 123_456_789


def test_names_that_are_no_utf8_and_what_the_second_library_says(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    make_tree(tree)
    raw = b"latin-\xe4.txt"
    Path(str(tree).encode().decode() + "/" + raw.decode("utf-8", "surrogateescape")).write_text("found\n")
    with opened(made(tmp_path, "-t", "ext4")) as files:
        entry = files.get("/latin-\udce4.txt")
        assert entry.read() == b"found\n"
        assert raw.decode("utf-8", "surrogateescape") in {each.name for each in files.root.entries()}


def test_holes_are_zeros_and_told(tmp_path: Path) -> None:
    """A hole where a block of pointers would be: dissect.extfs itself reads block 0 there."""
    tree = tmp_path / "tree"
    tree.mkdir()
    with (tree / "sparse").open("wb") as file:
        file.seek(70 << 20)
        file.write(b"the end")
    for kind in ("ext2", "ext4"):
        with opened(made(tmp_path, "-t", kind, "-b", "1024")) as files:
            entry = files.get("/sparse")
            assert entry.stat().size == (70 << 20) + 7
            assert entry.stat().allocated is not None
            assert (entry.stat().allocated or 0) < 100_000
            with entry.open() as file:
                assert file.read(1 << 20) == bytes(1 << 20)
                file.seek(70 << 20)
                assert file.read() == b"the end"
            runs = entry.runs() or ()
            assert sum(run.size for run in runs if run.place is not None) == 1024
            assert sum(run.size for run in runs) == (70 << 20) + 1024


def test_an_unwritten_extent_behind_a_hole(tmp_path: Path) -> None:
    """What follows it keeps its place; dissect.extfs itself moves it."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"x" * 4096 * 10)
    image = made(tmp_path, "-t", "ext4", "-b", "4096")
    change(image, "punch /file 2 5", "fallocate /file 4 5")
    said = change(image, "ex /file")
    assert "Uninit" in said, said
    with opened(image, "dissect.extfs") as files:
        data = files.get("/file").read()
    expected = b"x" * 8192 + bytes(4096 * 4) + b"x" * 4096 * 4
    assert data == expected
    dumped = tmp_path / "dumped"
    change(image, f"dump /file {dumped}")
    assert data == dumped.read_bytes()


def test_attributes_devices_and_the_last_inode(tmp_path: Path) -> None:
    image = made(tmp_path, "-t", "ext4", "-N", "256")
    change(image, "ea_set /empty user.note hello", "mknod dev-old b 8 1", "mknod dev-new c 250 300",
           "mknod pipe p")  # fmt: skip
    with opened(image) as files:
        assert files.get("/empty").attributes() == {"user.note": b"hello"}
        assert files.get("/empty").read("user.note") == b"hello"
        old, new = files.get("/dev-old").stat(), files.get("/dev-new").stat()
        assert (old.kind, old.device) == (Kind.DEVICE, (8, 1))
        assert (new.kind, new.device) == (Kind.DEVICE, (250, 300))
        assert files.get("/pipe").kind is Kind.PIPE


def test_paths_end_in_ordinary_errors(tmp_path: Path) -> None:
    with opened(made(tmp_path, "-t", "ext4")) as files:
        with pytest.raises(FileNotFoundError):
            files.get("/nowhere")
        with pytest.raises(FileNotFoundError):
            files.get("/EMPTY")
        with pytest.raises(NotADirectoryError):
            files.get("/empty/below")
        with pytest.raises(NotADirectoryError):
            list(files.get("/empty").entries())
        with pytest.raises(OSError, match="folder"):
            files.get("/etc").read()


def test_one_broken_inode_hides_no_sibling(tmp_path: Path) -> None:
    image = made(tmp_path, "-t", "ext4")
    change(image, "sif /empty mode 0")
    with opened(image, "dissect.extfs") as files:
        entries = {entry.name: entry for entry in files.root.entries()}
        assert entries["empty"].problem is not None
        assert len(list(walk(entries["many"]))) == 120
        assert {"etc", "second name", "d0"} <= entries.keys()


def test_a_folder_that_says_to_be_of_exbibytes_has_an_end(tmp_path: Path) -> None:
    image = made(tmp_path, "-t", "ext4", "-O", "^metadata_csum")
    change(image, f"sif /etc size {1 << 62}")
    with opened(image, "dissect.extfs") as files:
        folder = files.get("/etc")
        assert [entry.name for entry in folder.entries()] == ["hostname"]
        assert any("has no blocks for" in problem.message for problem in folder.problems)
