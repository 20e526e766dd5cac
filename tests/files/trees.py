"""A folder of files of every kind, and what must be read of it out of an image that a tool made of it."""

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pyimount
from pyimount.files.records import Kind
from pyimount.files.system import Entry, FileSystem

Facts = dict[str, tuple[object, ...]]


def make_tree(folder: Path, *, links: bool = True, names: bool = True) -> None:
    """Files of many sizes, in nested folders, with names of all sorts; ``links``: of both kinds too."""
    dice = random.Random(16)  # noqa: S311
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "hostname").write_text("evidence\n")
    (folder / "empty").write_bytes(b"")
    (folder / "empty folder").mkdir()
    for size in (1, 511, 4096, 4097, 65_536, 300_001):
        (folder / f"of {size} bytes.bin").write_bytes(dice.randbytes(size))
    many = folder / "many"
    many.mkdir()
    for number in range(120):
        (many / f"file number {number:04}.txt").write_text(f"{number}\n" * number)
    deep = folder
    for number in range(7):
        deep /= f"d{number}"
        deep.mkdir()
    (deep / "deep.txt").write_text("deep down\n")
    if names:
        (folder / "größe-Ω-漢字.txt").write_text("unicode\n")
    if links:
        (folder / "short link").symlink_to("etc/hostname")
        (folder / "long link").symlink_to("/".join(["a" * 40] * 4))
        (folder / "outside").symlink_to("/etc/shadow")
        os.link(folder / "etc" / "hostname", folder / "second name")
    for number, path in enumerate(sorted(folder.rglob("*"), reverse=True)):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else (0o644, 0o600, 0o755)[number % 3])
        os.utime(path, ns=(10**9 * 1_500_000_000, 10**9 * (1_600_000_000 + number)), follow_symlinks=False)


def of_folder(folder: Path, *, modes: bool = True, times: bool = True) -> Facts:
    """What stands in a folder of this machine: kind, mode, modified (in s), size, hash or target by path."""
    found: Facts = {}
    for path in sorted(folder.rglob("*")):
        is_ = path.lstat()
        name = "/" + str(path.relative_to(folder))
        mode = is_.st_mode & 0o7777 if modes and not path.is_symlink() else None
        when = is_.st_mtime_ns // 10**9 if times else None
        if path.is_symlink():
            found[name] = (Kind.LINK, mode, when, str(path.readlink()))
        elif path.is_dir():
            found[name] = (Kind.FOLDER, mode, when, "")
        else:
            data = path.read_bytes()
            found[name] = (Kind.FILE, mode, when, f"{len(data)} {hashlib.sha256(data).hexdigest()}")
    return found


def walk(entry: Entry) -> Iterator[Entry]:
    """Everything below an entry; what cannot be read fails the test."""
    for each in entry.entries():
        assert each.problem is None, each.problem
        yield each
        if each.kind is Kind.FOLDER:
            yield from walk(each)
    assert entry.problems == ()


def of_image(
    files: FileSystem, *, modes: bool = True, times: bool = True, without: tuple[str, ...] = ()
) -> Facts:
    """The same, read out of an image; ``without``: names at the top that the format has for itself."""
    found: Facts = {}
    for entry in walk(files.root):
        if entry.names[0] in without:
            continue
        stat = entry.stat()
        mode = stat.mode if modes and entry.kind is not Kind.LINK else None
        when = stat.modified // 10**9 if times and stat.modified is not None else None
        if entry.kind is Kind.LINK:
            found[entry.path] = (entry.kind, mode, when, entry.target())
        elif entry.kind is Kind.FOLDER:
            found[entry.path] = (entry.kind, mode, when, "")
        else:
            data = entry.read()
            assert stat.size == len(data)
            found[entry.path] = (entry.kind, mode, when, f"{len(data)} {hashlib.sha256(data).hexdigest()}")
    return found


def opened(image: Path, library: str | None = None, *, in_process: bool = True) -> FileSystem:
    """The file system that fills an image."""
    scan = pyimount.detect(image)
    volume = next(each for each in scan.volumes if each.usage == "filesystem" and not each.hidden)
    return pyimount.open_filesystem(scan, volume, library=library, in_process=in_process)
