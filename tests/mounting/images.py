"""Images with files in them, for mounting: made by the file systems' own tools, and in a real kernel."""

import hashlib
import os
import subprocess
from pathlib import Path

from fixtures.workshop import tool_path

MIB = 1 << 20

FILES = {
    "readme.txt": b"what went in\n",
    "deep/er/data.bin": bytes(range(256)) * 300,
    "etc/hostname": b"evidence\n",
    "näme": b"x",
}
"""What every image holds."""


def content(folder: Path) -> Path:
    """A folder with FILES in it."""
    root = folder / "content"
    for name, data in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def check(mountpoint: Path) -> None:
    """What is mounted holds FILES, byte for byte."""
    found = {name: (mountpoint / name).read_bytes() for name in FILES}
    assert found == FILES


def tool(name: str, *arguments: str | Path) -> str:
    """Run a tool."""
    command = [tool_path(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name}: {done.stderr}"
    return done.stdout


def blank(path: Path, size: int) -> Path:
    """A sparse file."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def make(kind: str, image: Path, root: Path) -> Path:
    """An image of one file system with what ``root`` holds."""
    if kind == "ext4":
        tool("mkfs.ext4", "-q", "-d", root, "-L", "root", blank(image, 16 * MIB))
    elif kind == "xfs":
        prototype = image.with_suffix(".proto")
        prototype.write_text(_prototype(root))
        tool("mkfs.xfs", "-q", "-p", prototype, blank(image, 320 * MIB))
    elif kind == "btrfs":
        tool("mkfs.btrfs", "-q", "--rootdir", root, blank(image, 128 * MIB))
    elif kind == "squashfs":
        tool("mksquashfs", root, image, "-quiet", "-no-progress", "-all-root")
    elif kind == "erofs":
        tool("mkfs.erofs", "--quiet", image, root)
    return image


def _prototype(root: Path) -> str:
    """A prototype file of mkfs.xfs."""
    lines = ["/boot", "0 0", "d--755 0 0"]

    def folder(at: Path) -> None:
        for entry in sorted(at.iterdir()):
            name = entry.name
            if entry.is_dir():
                lines.append(f"{name} d--755 0 0")
                folder(entry)
                lines.append("$")
            else:
                lines.append(f"{name} ---644 0 0 {entry}")

    folder(root)
    return "\n".join([*lines, "$", ""])


def digest(image: Path) -> str:
    """The image's SHA-256."""
    with image.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def attached(image: Path) -> list[str]:
    """The loop devices over this image, and over what is shown of it."""
    inode = image.stat().st_ino
    return [
        line
        for line in tool("losetup", "--raw", "--noheadings", "-O", "NAME,BACK-INO").splitlines()
        if line.split()[-1] == str(inode)
    ]


def traces(session: str) -> list[str]:
    """What stands of a session: mounts, loop devices, folders, ledger, processes."""
    found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if session in line]
    found += [
        line
        for line in tool("losetup", "--raw", "--noheadings", "-O", "NAME,BACK-FILE").splitlines()
        if session in line
    ]
    found += [str(path) for path in Path("/run/pyimount").glob(f"*{session}*")]
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and session.encode() in (process / "cmdline").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return [each for each in found if str(os.getpid()) not in each]
