"""What the libraries read, against the kernel: paths, sizes, times, modes, owners, targets, xattrs, SHA-256.

The kernel fills file systems with everything that they can hold, and mounts what other tools made; one boot
tells what it sees of all of them.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pytest

import pyimount
from fixtures.workshop import fixtures
from pyimount.files.records import Kind
from pyimount.files.system import FileSystem
from tests.files.trees import walk
from tests.kernel.uml import Kernel, kernel_in

EXT = ("mke2fs", "-q", "-F")


class Made(NamedTuple):
    """A file system that the kernel fills: its type, how it is made, mount options; ``size`` in MiB."""

    kind: str
    argv: tuple[str, ...]
    options: str = ""
    size: int = 96
    times: bool = True
    attributes: bool = True


FILLED = {
    # Inodes of 128 bytes have seconds in 32 bits.
    "ext2": Made("ext2", (*EXT, "-t", "ext2", "-I", "128", "-b", "1024"), times=False),
    "ext3": Made("ext3", (*EXT, "-t", "ext3")),
    "ext4": Made("ext4", (*EXT, "-t", "ext4")),
    "ext4-inline": Made("ext4", (*EXT, "-t", "ext4", "-O", "inline_data", "-I", "512")),
    "ext4-odd": Made("ext4", (*EXT, "-t", "ext4", "-b", "1024", "-O", "^64bit,^metadata_csum,ea_inode")),
    "ext4-bigalloc": Made("ext4", (*EXT, "-t", "ext4", "-O", "bigalloc", "-C", "65536"), size=400),
    "ext4-meta-bg": Made(
        "ext4", (*EXT, "-t", "ext4", "-b", "1024", "-g", "1024", "-O", "meta_bg,^resize_inode,^flex_bg")
    ),
    "btrfs": Made("btrfs", ("mkfs.btrfs", "-q"), size=200),
    "btrfs-zstd": Made("btrfs", ("mkfs.btrfs", "-q"), "compress-force=zstd", size=200),
    "btrfs-lzo": Made("btrfs", ("mkfs.btrfs", "-q", "-O", "^no-holes"), "compress-force=lzo", size=200),
}
FIXTURES = {
    "hfsplus": "hfsplus", "iso9660-joliet-rock-ridge": "iso9660", "squashfs": "squashfs",
    "squashfs-xz": "squashfs", "squashfs-zstd": "squashfs", "cramfs": "cramfs", "qnx4": "qnx4",
    "fat16": "vfat", "fat32": "vfat",
}  # fmt: skip
MAKE = """
import json
from pathlib import Path
from tests.kernel.files_seen import keep, made, mounted, packed, subvolumes
here, at = Path.cwd(), Path("/mnt")
filled, fixtures = json.loads((here / "wanted.json").read_text())
for name, (kind, argv, options, size, times, attributes) in filled.items():
    image = here / (name + ".img")
    with image.open("wb") as file:
        file.truncate(size << 20)
    made(kind, image, at, argv, options, times=times, attributes=attributes)
    keep(name, mounted(kind, [image], at, ""), here)
packed(here, at)
subvolumes(here, at)
for name, kind in fixtures.items():
    keep(name, mounted(kind, [here / (name + ".img")], at, "tz=UTC" if kind == "vfat" else ""), here)
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    made = kernel_in(tmp_path_factory.mktemp("kernel") / "share")
    for fixture in fixtures():
        if fixture.name in FIXTURES:
            folder = made.share / f"{fixture.name}.folder"
            folder.mkdir()
            fixture.unpack(folder).rename(made.share / f"{fixture.name}.img")
    (made.share / "wanted.json").write_text(json.dumps([FILLED, FIXTURES]))
    made.python(MAKE)
    return made


def ours(files: FileSystem, facts: frozenset[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for entry in walk(files.root):
        stat = entry.stat()
        said: dict[str, Any] = {
            name: getattr(stat, name) for name in facts & {
                "mode", "uid", "gid", "links", "modified", "accessed", "changed", "inode"
            }
        }  # fmt: skip
        said["kind"] = str(entry.kind)
        if entry.kind is Kind.DEVICE:
            said["device"] = None if stat.device is None else list(stat.device)
        if entry.kind is Kind.LINK:
            said["target"] = entry.target()
        if entry.kind is Kind.FILE:
            data = entry.read()
            assert stat.size == len(data), entry.path
            said |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        if "xattrs" in facts:
            said["xattrs"] = {name: value.hex() for name, value in sorted(entry.attributes().items())}
        found[entry.path] = said
    return found


ALL = frozenset({"mode", "uid", "gid", "links", "modified", "accessed", "changed", "inode", "xattrs"})
NOT_KEPT: Mapping[str, frozenset[str]] = {
    # What the format does not keep, and the kernel makes up.
    "squashfs": frozenset({"accessed", "changed"}),
    "cramfs": frozenset({"links", "modified", "accessed", "changed", "inode"}),
    "vfat": frozenset({"mode", "uid", "gid", "links", "changed", "inode"}),
    # The kernel numbers directory records by where they lie; ours is the place of the data.
    "iso9660": frozenset({"inode"}),
    # What the Finder keeps in the catalogue, the kernel shows as an attribute.
    "hfsplus": frozenset({"xattrs"}),
}


MADE_UP: Mapping[str, Mapping[str, Iterable[str]]] = {
    # The empty folder that a snapshot has for a subvolume: the kernel gives it the time at which it looks.
    "btrfs-two": {"/snap/b": ("uid", "gid", "links", "modified", "accessed", "changed")},
}


def compared(
    kernel: Kernel, name: str, *more: str, library: str | None = None, without: Iterable[str] = ()
) -> None:
    """Everything equal, but for facts that the format does not keep, and those of ``without``."""
    theirs: dict[str, dict[str, Any]] = json.loads((kernel.share / f"{name}.json").read_text())
    assert theirs
    scan = pyimount.detect([kernel.share / f"{each}.img" for each in more or (name,)])
    volume = next(each for each in scan.volumes if not each.hidden and each.usage == "filesystem")
    facts = ALL - NOT_KEPT.get(volume.type or "", frozenset()) - set(without)
    with pyimount.open_filesystem(scan, volume, library=library, in_process=True) as files:
        mine = ours(files, facts)
        assert files.problems == []
    assert mine.keys() == theirs.keys()
    kept = facts | {"kind", "size", "sha256", "target", "device"}
    for path, names in MADE_UP.get(name, {}).items():
        for each in names:
            theirs[path].pop(each)
    different = [
        (path, fact, mine[path].get(fact), wanted)
        for path, said in theirs.items()
        for fact, wanted in said.items()
        if fact in kept and mine[path].get(fact) != wanted
    ]
    assert different == []


@pytest.mark.parametrize("name", FILLED)
def test_what_the_kernel_has_filled(kernel: Kernel, name: str) -> None:
    compared(kernel, name)


@pytest.mark.parametrize("packing", ["gzip", "xz", "lzo", "lz4", "zstd"])
def test_squashfs(kernel: Kernel, packing: str) -> None:
    compared(kernel, f"squashfs-{packing}")


@pytest.mark.parametrize("name", ["rock-ridge", "joliet"])
def test_iso_9660(kernel: Kernel, name: str) -> None:
    # Joliet keeps neither mode nor owner.
    compared(
        kernel,
        name,
        without=() if name == "rock-ridge" else ("mode", "uid", "gid", "links", "accessed", "changed"),
    )


def test_ufs(kernel: Kernel) -> None:
    compared(kernel, "ufs1")


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_fat(kernel: Kernel, bits: int) -> None:
    compared(kernel, f"fat-{bits}")


def test_btrfs_of_two_devices_and_subvolumes(kernel: Kernel) -> None:
    compared(kernel, "btrfs-two", "btrfs-two-1", "btrfs-two-2")


@pytest.mark.parametrize("name", FIXTURES)
def test_fixtures(kernel: Kernel, name: str) -> None:
    compared(kernel, name)
