"""Small images of every type that is made here without root, from one folder."""

import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from fixtures.workshop import fixtures, tool_path


def run(*argv: object) -> None:
    """Run a tool; raises NotInstalled."""
    argv = (tool_path(str(argv[0])), *argv[1:])
    subprocess.run(
        [str(word) for word in argv], check=True, capture_output=True, env={**os.environ, "TZ": "UTC"}
    )


def small_tree(folder: Path, *, links: bool = True) -> None:
    """Some files, folders, and a link."""
    for name in ("a", "b", "c"):
        (folder / name / "inner").mkdir(parents=True)
        for number in range(6):
            (folder / name / f"a file of number {number}.txt").write_bytes(
                f"{name}{number} ".encode() * 30 * number
            )
        (folder / name / "inner" / "large.bin").write_bytes(name.encode() * 9000)
    if links:
        (folder / "link").symlink_to("a/inner/large.bin")


def blank(image: Path, size: int) -> Path:
    """A file of zeros."""
    with image.open("wb") as file:
        file.truncate(size)
    return image


def _ext(*options: str) -> Callable[[Path, Path], None]:
    return lambda tree, image: run("mke2fs", "-q", "-F", *options, "-d", tree, image, "2M")


def _xfs(tree: Path, image: Path) -> None:
    from tests.files.test_others import prototype_lines

    for path in sorted(tree.rglob("* *"), reverse=True):
        path.rename(path.with_name(path.name.replace(" ", "-")))
    prototype = image.with_suffix(".prototype")
    prototype.write_text("/\n0 0\n" + "\n".join(prototype_lines(tree)) + "\n")
    run("mkfs.xfs", "-q", "-p", prototype, "-d", f"name={image},size=300m,file")


def _fat(bits: int) -> Callable[[Path, Path], None]:
    def make(tree: Path, image: Path) -> None:
        (tree / "link").unlink()
        run("mkfs.fat", "-F", bits, blank(image, (34 if bits == 32 else 9) << 20))
        run("mcopy", "-s", "-i", image, *sorted(tree.iterdir()), "::")

    return make


def _ntfs(tree: Path, image: Path) -> None:
    run("mkfs.ntfs", "-q", "-F", blank(image, 2 << 20))
    for number, path in enumerate(sorted(tree.rglob("*.*"))):
        run("ntfscp", image, path, f"{number}-{path.name}")


def _btrfs(tree: Path, image: Path) -> None:
    run("mkfs.btrfs", "-q", "--rootdir", tree, blank(image, 110 << 20))


def _tar(tree: Path, image: Path) -> None:
    with tarfile.open(image, "w") as archive:
        archive.add(tree, ".")


def _zip(tree: Path, image: Path) -> None:
    with zipfile.ZipFile(image, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(tree.rglob("*.*")):
            archive.write(path, path.relative_to(tree))


def _cpio(tree: Path, image: Path) -> None:
    names = "\0".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    done = subprocess.run(
        [tool_path("cpio"), "-o", "-0", "--quiet", "-H", "newc"],
        cwd=tree,
        input=names.encode(),
        check=True,
        capture_output=True,
    )
    image.write_bytes(done.stdout)


def _fixture(name: str) -> Callable[[Path, Path], None]:
    def make(_: Path, image: Path) -> None:
        with TemporaryDirectory() as folder:
            found = next(each for each in fixtures() if each.name == name).unpack(Path(folder))
            image.write_bytes(found.read_bytes())

    return make


MAKERS: Mapping[str, Callable[[Path, Path], None]] = {
    "ext2": _ext("-t", "ext2", "-b", "1024"),
    "ext4": _ext("-t", "ext4", "-O", "^has_journal"),
    "ext4 inline": _ext("-t", "ext4", "-O", "^has_journal,inline_data"),
    "ntfs": _ntfs,
    "fat16": _fat(16),
    "fat32": _fat(32),
    "exfat": _fixture("exfat"),
    "xfs": _xfs,
    "btrfs": _btrfs,
    "squashfs": lambda tree, image: run("mksquashfs", tree, image, "-quiet", "-no-progress"),
    "ufs": lambda tree, image: run("makefs", "-t", "ffs", "-o", "version=2", "-s", "4m", image, tree),
    "jffs2": lambda tree, image: run("mkfs.jffs2", "-q", "-r", tree, "-o", image, "-e", "0x20000", "-p"),
    "cramfs": lambda tree, image: run("mkfs.cramfs", tree, image),
    "iso9660": lambda tree, image: run("genisoimage", "-quiet", "-R", "-J", "-o", image, tree),
    "hfsplus": _fixture("hfsplus"),
    "apfs": _fixture("apfs"),
    "qnx4": _fixture("qnx4"),
    "tar": _tar,
    "cpio": _cpio,
    "zip": _zip,
}


EMPTY = frozenset({"exfat", "apfs"})
"""Types of which no tool here makes one with files in it without root."""


def make(kind: str, image: Path) -> None:
    """Make an image of this type."""
    with TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        small_tree(tree)
        MAKERS[kind](tree, image)
