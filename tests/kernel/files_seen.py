"""Runs in the test kernel, and where this kernel mounts: fills file systems, and tells what is in them."""

import hashlib
import json
import os
import random
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.files.trees import make_tree

Seen = dict[str, dict[str, Any]]
HOUR = 3600 * 10**9
TIMES = {
    "of 1969": -HOUR - 123_456_789,
    "of 1902": -2_147_000_000 * 10**9,
    "of 2037": 2_140_000_000 * 10**9 + 1,
    "of 2100": 4_102_444_800 * 10**9 + 999_999_999,
    "of 2400": 13_569_465_600 * 10**9 + 7,
}
"""Nanoseconds since 1970."""


def run(*argv: object) -> str:
    done = subprocess.run([str(word) for word in argv], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{argv}: {done.stdout}{done.stderr}")
    return done.stdout


def fill(folder: Path, *, times: bool = True, attributes: bool = True) -> None:
    """Everything that a file system of Unix can hold; ``times``: also those outside 1970 to 2038."""
    make_tree(folder / "tree")
    dice = random.Random(61)  # noqa: S311
    odd = folder / "odd"
    odd.mkdir()
    os.mkfifo(odd / "pipe")
    os.mknod(odd / "block", 0o640 | stat.S_IFBLK, os.makedev(8, 17))
    os.mknod(odd / "char", 0o620 | stat.S_IFCHR, os.makedev(259, 70_000))
    os.mknod(odd / "socket", 0o755 | stat.S_IFSOCK)
    (odd / os.fsdecode(b"latin-\xe4\xff")).write_text("bytes\n")
    (odd / "new\nline \x1b[31m").write_text("control\n")
    (odd / ("n" * 255)).write_text("long name\n")
    (odd / "link of 59").symlink_to("x" * 59)
    (odd / "link of 60").symlink_to("x" * 60)
    (odd / "link of 899").symlink_to("/".join(["y" * 99] * 9))
    owned = odd / "owned"
    owned.write_text("owned\n")
    os.chown(owned, 70_000, 80_000)
    owned.chmod(0o4751)
    for name, when in TIMES.items():
        if times:
            (odd / name).write_text(name)
            os.utime(odd / name, ns=(when, when + 1000))
    with (odd / "sparse").open("wb") as file:
        for at in (0, 70_000, 9_000_000, 30_000_001):
            file.seek(at)
            file.write(dice.randbytes(5000))
        file.truncate(40_000_000)
    with (odd / "set aside").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 300_000)
        file.seek(100_000)
        file.write(dice.randbytes(5000))
    with (odd / "one").open("wb", 0) as one, (odd / "other").open("wb", 0) as other:
        for _ in range(20):
            one.write(dice.randbytes(9000))
            other.write(dice.randbytes(5000))
            os.fsync(one.fileno())
            os.fsync(other.fileno())
    many = folder / "many"
    many.mkdir()
    paths = [many / f"{number:05} {'long ' * (number % 9)}" for number in range(1200)]
    for path in paths:
        path.write_bytes(path.name.encode())
    for path in paths[::3]:
        path.unlink()
    if attributes:
        os.setxattr(owned, "user.short", b"value")
        os.setxattr(owned, "user.long", dice.randbytes(700))
        os.setxattr(owned, "trusted.of root", b"\0\1")
        os.setxattr(odd, "user.of a folder", b"")


def seen(folder: Path) -> Seen:
    """What a folder has, by path: as the kernel's lstat, readlink, listxattr and read have it."""
    return dict(_seen(folder, folder))


def _seen(folder: Path, top: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.iterdir()):
        is_ = path.lstat()
        kind = stat.S_IFMT(is_.st_mode)
        facts: dict[str, Any] = {
            "kind": _KINDS[kind], "mode": is_.st_mode & 0o7777, "uid": is_.st_uid, "gid": is_.st_gid,
            "links": is_.st_nlink, "modified": is_.st_mtime_ns, "accessed": is_.st_atime_ns,
            "changed": is_.st_ctime_ns, "inode": is_.st_ino,
        }  # fmt: skip
        if kind in (stat.S_IFBLK, stat.S_IFCHR):
            facts["device"] = [os.major(is_.st_rdev), os.minor(is_.st_rdev)]
        if kind == stat.S_IFLNK:
            facts["target"] = str(path.readlink())
        if kind == stat.S_IFREG:
            data = path.read_bytes()
            facts |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        facts["xattrs"] = _attributes(path)
        yield "/" + str(path.relative_to(top)), facts
        if kind == stat.S_IFDIR:
            yield from _seen(path, top)


_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFBLK: "device",
    stat.S_IFCHR: "device", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket",
}  # fmt: skip


def _attributes(path: Path) -> dict[str, str]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    return {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in sorted(names)}


def mounted(kind: str, images: Sequence[Path], at: Path, options: str) -> Seen:
    """Mount images read-only, tell what is in them, and take them down again."""
    loops = [run("losetup", "-f", "--show", "-r", image).strip() for image in images]
    try:
        if kind == "btrfs" and len(loops) > 1:
            run("btrfs", "device", "scan", *loops)
        run("mount", "-t", kind, "-o", f"ro,{options}".rstrip(","), loops[0], at)
        try:
            return seen(at)
        finally:
            run("umount", at)
    finally:
        for loop in loops:
            run("losetup", "-d", loop)


def made(kind: str, image: Path, at: Path, argv: Sequence[str], options: str = "", **what: bool) -> None:
    """Make a file system, let the kernel fill it, and leave it clean."""
    run(*argv, image)
    loop = run("losetup", "-f", "--show", image).strip()
    run("mount", "-t", kind, *(["-o", options] if options else []), loop, at)
    try:
        fill(at, **what)
    finally:
        run("umount", at)
        run("losetup", "-d", loop)


def packed(here: Path, at: Path) -> None:
    """What tools make of a folder, as the kernel sees it; of SquashFS also with attributes."""
    source = Path("/dev/shm/filled")  # noqa: S108
    fill(source, times=False, attributes=False)
    for packing in ("gzip", "xz", "lzo", "lz4", "zstd"):
        image = here / f"squashfs-{packing}.img"
        run("mksquashfs", source, image, "-quiet", "-no-progress", "-comp", packing)
        keep(image.stem, mounted("squashfs", [image], at, ""), here)
    run(
        "genisoimage",
        "-quiet",
        "-R",
        "-input-charset",
        "utf-8",
        "-o",
        here / "rock-ridge.img",
        source / "tree",
    )
    keep("rock-ridge", mounted("iso9660", [here / "rock-ridge.img"], at, ""), here)
    run("genisoimage", "-quiet", "-J", "-joliet-long", "-input-charset", "utf-8", "-m", "latin*", "-m", "n*n",
        "-o", here / "joliet.img", source / "tree" / "many")  # fmt: skip
    keep("joliet", mounted("iso9660", [here / "joliet.img"], at, "utf8"), here)
    # UFS2 has its superblock by makefs where this kernel does not look for it.
    run("makefs", "-t", "ffs", "-o", "version=1", "-s", "64m", here / "ufs1.img", source)
    keep("ufs1", mounted("ufs", [here / "ufs1.img"], at, "ufstype=44bsd"), here)
    for bits in (12, 16, 32):
        image = here / f"fat-{bits}.img"
        with image.open("wb") as file:
            file.truncate((8 if bits == 12 else 64) << 20)
        run("mkfs.fat", "-F", bits, *(["-s", "8"] if bits == 12 else []), image)
        loop = run("losetup", "-f", "--show", image).strip()
        run("mount", "-t", "vfat", "-o", "utf8,tz=UTC", loop, at)
        make_tree(at / "tree", links=False)
        run("umount", at)
        run("losetup", "-d", loop)
        keep(image.stem, mounted("vfat", [image], at, "utf8,tz=UTC"), here)


def subvolumes(here: Path, at: Path) -> None:
    """A btrfs on two devices, with subvolumes, one in another, and a snapshot."""
    images = [here / "btrfs-two-1.img", here / "btrfs-two-2.img"]
    for image in images:
        with image.open("wb") as file:
            file.truncate(160 << 20)
    loops = [run("losetup", "-f", "--show", image).strip() for image in images]
    run("mkfs.btrfs", "-q", "-d", "raid0", "-m", "raid1", *loops)
    run("mount", "-t", "btrfs", loops[0], at)
    run("btrfs", "subvolume", "create", at / "a")
    make_tree(at / "a" / "tree")
    run("btrfs", "subvolume", "create", at / "a" / "b")
    (at / "a" / "b" / "inner").write_text("inner\n")
    run("btrfs", "subvolume", "snapshot", at / "a", at / "snap")
    (at / "a" / "tree" / "etc" / "hostname").write_text("changed\n")
    (at / "big").write_bytes(random.Random(5).randbytes(3_000_000))  # noqa: S311
    run("umount", at)
    for loop in loops:
        run("losetup", "-d", loop)
    keep("btrfs-two", mounted("btrfs", images, at, ""), here)


def keep(name: str, found: Seen, folder: Path) -> None:
    """Leave what was seen for the test."""
    (folder / f"{name}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    keep(sys.argv[1], seen(Path(sys.argv[2])), Path(sys.argv[3]))
