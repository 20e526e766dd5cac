"""Disks as programs written for imagemounter meet them, and what they leave on the machine."""

import subprocess
from pathlib import Path

from fixtures.workshop import tool_path
from pyimount import ImageParser
from tests.mounting.images import MIB, blank, content, tool, traces

TREES = {
    "/": ("bin/true", "etc/fstab", "etc/hostname", "home/.keep", "lib/x", "root/x", "usr/x", "var/.keep"),
    "/home": ("alice/.bashrc", "alice/letter.txt"),
    "/var": ("lib/x", "log/syslog", "cache/x"),
}
"""What is in the file system of each mount point."""


def file_system(folder: Path, name: str, files: tuple[str, ...], last: str, size: int = 8) -> Path:
    """An ext4 of so many MiB with these files, that was last mounted there."""
    root = folder / f"tree-{name}"
    for each in files:
        path = root / each
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}: {each}\n" if each != "etc/fstab" else "")
    image = blank(folder / f"{name}.ext4", size * MIB)
    tool("mkfs.ext4", "-q", "-d", root, "-L", name, "-M", last, image)
    return image


def partitioned(image: Path, parts: list[Path], label: str = "gpt") -> Path:
    """A disk with a partition for each of these, 1 MiB apart."""
    sizes = [-(-part.stat().st_size // MIB) for part in parts]
    blank(image, (sum(sizes) + 3) * MIB)
    table = f"label: {label}\n" + "".join(f"size={size}M\n" for size in sizes)
    subprocess.run([tool_path("sfdisk"), "-q", image], input=table, text=True, check=True)
    at = MIB
    with image.open("r+b") as disk:
        for part, size in zip(parts, sizes, strict=True):
            disk.seek(at)
            disk.write(part.read_bytes())
            at += size * MIB
    return image


def e01(raw: Path) -> Path:
    """The E01 of a disk, beside it."""
    target = raw.with_suffix("")
    tool("ewfacquire", "-u", "-q", "-t", target, "-c", "deflate:fast", raw)
    return target.with_suffix(".E01")


def three_volumes(folder: Path) -> Path:
    """A raw disk with the file systems of /, /home and /var, whose last mount points say so."""
    names = {"/": "root", "/home": "home", "/var": "var"}
    parts = [file_system(folder, names[last], files, last) for last, files in TREES.items()]
    return partitioned(folder / "disk.raw", parts)


def plain(folder: Path, name: str = "plain.img") -> Path:
    """An image of one ext4, with what all test images hold."""
    image = blank(folder / name, 8 * MIB)
    tool("mkfs.ext4", "-q", "-d", content(folder), "-L", "data", image)
    return image


def sessions(parser: ImageParser) -> list[str]:
    """The sessions that a parser has in the ledger."""
    return list(parser.case.sessions)


def left_of(names: list[str]) -> list[str]:
    """What stands of these sessions."""
    return [trace for name in names for trace in traces(name)]
