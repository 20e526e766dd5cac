"""Fixtures with files, and such as mkfs makes, against The Sleuth Kit's fls and icat, and against 7-Zip.

By path: kind, size, time of modification, SHA-256. What differs, and who is right, stands at each case.
"""

import hashlib
import re
import shutil
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

import pyimount
from fixtures.workshop import fixtures
from pyimount.files.adapters.fat_times import times_at
from pyimount.files.records import Kind
from pyimount.files.system import FileSystem, open_filesystem
from pyimount.mapping import open_layer
from pyimount.sources.source import BytesSource
from tests.files.trees import walk


class Case(NamedTuple):
    """A volume of a fixture; ``tsk``: its type as fls has it; ``ours``, ``theirs``: paths of one side."""

    volume: str
    tsk: str
    ours: str = r"(?!)"
    theirs: str = r"(?!)"
    times: bool = True


_LABEL = r".* \(Volume Label Entry\)"
"""TSK lists the label of FAT, which is a record of the root folder, as a file."""
_SPECIAL = r"/\$(ExtentsFile|CatalogFile|BadBlockFile|AllocationFile|StartupFile|AttributesFile)"
"""HFS+ keeps its own files in no folder; TSK shows them in the root."""
_INDEXES = r"/\$Secure|/\$Extend/\$(Quota|ObjId|Reparse)"
"""NTFS's files with nothing but named streams and indexes: TSK lists only these, under their names."""
_NO_TIME = "0000-00-00 00:00:00"
_NO_FILETIME = "2076-11-29 08:54:34"
"""What TSK makes of a FILETIME of 0, as ntfsprogs leave it in $MFT: no time was set."""
CASES = {
    "ext2": Case("0", "ext"),
    "ext3": Case("0", "ext"),
    "ext4": Case("0", "ext"),
    "fat12": Case("0", "fat", theirs=_LABEL),
    "fat16": Case("0", "fat", theirs=_LABEL),
    "fat32": Case("0", "fat", theirs=_LABEL),
    "ntfs": Case("0", "ntfs", ours=_INDEXES),
    "ntfs-hibernated": Case("0", "ntfs", ours=_INDEXES),
    "hfsplus": Case("0", "hfs", theirs=_SPECIAL),
    # TSK takes the times of Joliet's records as UTC, and we the time zone that stands with them.
    "iso9660-joliet-rock-ridge": Case("0", "iso9660", times=False),
}


def volume_of(name: str, index: str, tmp_path: Path) -> tuple[FileSystem, Path]:
    """The files of a volume, and its bytes as a file of their own."""
    image = next(each for each in fixtures() if each.name == name).unpack(tmp_path)
    scan = pyimount.detect(image)
    alone = tmp_path / "volume.raw"
    with open_layer(scan, scan[index]) as source, alone.open("wb") as file:
        for at in range(0, source.size, 1 << 20):
            file.write(source.read_at(at, 1 << 20))
    return open_filesystem(scan, index, in_process=True), alone


def said_by(*argv: object) -> bytes:
    return subprocess.run(list(map(str, argv)), check=True, capture_output=True).stdout


def of_sleuthkit(alone: Path, kind: str) -> dict[str, tuple[object, ...]]:
    """What fls lists that is not deleted, with icat's bytes; not what TSK makes up, and no streams."""
    found: dict[str, tuple[object, ...]] = {}
    text = said_by("fls", "-r", "-p", "-u", "-l", "-z", "UTC", "-f", kind, alone)
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        head, modified, *_ = line.rsplit("\t", 7)
        kinds, address, name = re.fullmatch(r"(\S+) (\S+?)(?:\(realloc\))?:\t(.*)", head).groups()  # type: ignore[union-attr]
        path = "/" + name
        if kind == "ntfs" and ":" in name:
            continue
        if kinds.endswith("d"):
            found[path] = (Kind.FOLDER,)
        elif kinds.endswith("r"):
            data = said_by("icat", "-f", kind, alone, address)
            stamp = modified.removesuffix(" (UTC)").replace(_NO_FILETIME, _NO_TIME)
            found[path] = (Kind.FILE, len(data), hashlib.sha256(data).hexdigest(), stamp)
    return found


def ours(files: FileSystem) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for entry in walk(files.root):
        if entry.kind is Kind.FOLDER:
            found[entry.path] = (Kind.FOLDER,)
        elif entry.kind is Kind.FILE:
            data = entry.read()
            modified = entry.stat().modified
            stamp = _NO_TIME
            if modified is not None:
                stamp = f"{datetime.fromtimestamp(modified // 10**9, UTC):%Y-%m-%d %H:%M:%S}"
            found[entry.path] = (Kind.FILE, len(data), hashlib.sha256(data).hexdigest(), stamp)
    return found


@pytest.mark.needs("fls", "icat")
@pytest.mark.parametrize("name", CASES)
def test_the_sleuth_kit_sees_the_same(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    files, alone = volume_of(name, case.volume, tmp_path)
    with files:
        mine = ours(files)
    theirs = of_sleuthkit(alone, case.tsk)
    assert [path for path in mine.keys() - theirs.keys() if not re.fullmatch(case.ours, path)] == []
    assert [path for path in theirs.keys() - mine.keys() if not re.fullmatch(case.theirs, path)] == []
    last = 4 if case.times else 3
    for path in mine.keys() & theirs.keys():
        assert mine[path][:last] == theirs[path][:last], path


_EMPTY = ("fat12", "fat16-dirty", "fat32-4k", "exfat", "exfat-unlabelled", "exfat-dirty")


@pytest.mark.parametrize("name", _EMPTY)
def test_a_volume_with_nothing_in_it_has_a_root(tmp_path: Path, name: str) -> None:
    """As mkfs leaves it: a folder without entries, and not no folder."""
    image = next(each for each in fixtures() if each.name == name).unpack(tmp_path)
    with open_filesystem(pyimount.detect(image), "0", in_process=True) as files:
        assert files.root.kind is Kind.FOLDER
        assert list(files.root.entries()) == []


SEVEN_ZIP = ("squashfs", "squashfs-xz", "squashfs-zstd", "cramfs", "hfsplus", "fat16", "fat32", "iso9660")


@pytest.mark.needs("7z")
@pytest.mark.parametrize("name", SEVEN_ZIP)
def test_7_zip_reads_the_same(tmp_path: Path, name: str) -> None:
    files, alone = volume_of(name, "0", tmp_path)
    out = tmp_path / "out"
    said_by("7z", "x", "-y", f"-o{out}", alone)
    shutil.rmtree(out / "[BOOT]", ignore_errors=True)  # 7-Zip's view of El Torito
    label = files.volume.label
    # Of HFS+, and of no other, it has the volume as a folder.
    inner = out / label if name == "hfsplus" and label else out
    theirs = {
        "/" + str(path.relative_to(inner)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in inner.rglob("*")
        if path.is_file() and not path.is_symlink() and not path.name.startswith("[")
    }
    with files:
        mine = {path: facts[2] for path, facts in ours(files).items() if facts[0] is Kind.FILE}
    assert mine == theirs


def test_exfat_times_know_their_zone() -> None:
    """An entry as exfat-fuse writes it, and as Windows does east of Greenwich; fls shows the first so."""
    made = bytes.fromhex("8503b7a02000000036617d5d7dbf5d507dbf5d506400808080000000000000 00".replace(" ", ""))
    said = times_at(BytesSource(made), 0, "exfat")
    assert (said["modified"], said["local"]) == (1_583_020_798 * 10**9, False)
    assert said["born"] == (1_795_954_184 + 1) * 10**9, "with the hundredths"
    east = made[:22] + bytes((0x84, 0x84, 0xF8)) + made[25:]
    said = times_at(BytesSource(east), 0, "exfat")
    assert said["modified"] == (1_583_020_798 - 3600) * 10**9
    assert said["accessed"] == (1_583_020_798 + 7200) * 10**9
    unknown = made[:22] + bytes(3) + made[25:]
    assert times_at(BytesSource(unknown), 0, "exfat")["local"] is True
    assert times_at(BytesSource(bytes(32)), 0, "exfat") == {"local": True}


@pytest.mark.parametrize("month", range(1, 13))
def test_fat_times_of_every_month(month: int) -> None:
    last = 31 if month in (1, 3, 5, 7, 8, 10, 12) else 28
    date, end = (2024 - 1980) << 9 | month << 5 | last, 23 << 11 | 59 << 5 | 29
    layout = struct.Struct("<11sBBBHHHHHHHI")
    entry = layout.pack(b"A", 0, 0, 150, 0, date, date, 0, end, date, 0, 0)
    said = times_at(BytesSource(entry), 0, "vfat")
    day = datetime(2024, month, last, tzinfo=UTC)
    assert said["accessed"] == int(day.timestamp()) * 10**9
    assert said["born"] == said["accessed"] + 1_500_000_000
    assert said["modified"] == said["accessed"] + (86_400 - 2) * 10**9
    none = times_at(BytesSource(layout.pack(b"A", 0, 0, 0, 0, 0, 13 << 5 | 1, 0, 0, 0, 0, 0)), 0, "vfat")
    assert (none["born"], none["accessed"], none["modified"]) == (None, None, None)
