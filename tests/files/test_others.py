"""Every other file system that a tool here fills from a folder: read back as that folder is."""

import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import pyimount
from pyimount.files.adapters import archives
from pyimount.files.records import Kind
from pyimount.files.system import FileSystem
from tests.files.trees import Facts, make_tree, of_folder, of_image, opened, walk
from tests.needing import needs_root


def run(*argv: object, zone: str | None = None) -> None:
    environment = None if zone is None else {**os.environ, "TZ": zone}
    subprocess.run([str(word) for word in argv], check=True, capture_output=True, env=environment)


def blank(image: Path, size: int) -> Path:
    with image.open("wb") as file:
        file.truncate(size)
    return image


def make_btrfs(tree: Path, image: Path) -> None:
    run("mkfs.btrfs", "-q", "--rootdir", tree, blank(image, 160 << 20))


def make_squashfs(compression: str) -> Callable[[Path, Path], None]:
    return lambda tree, image: run("mksquashfs", tree, image, "-quiet", "-no-progress", "-comp", compression)


def make_cramfs(tree: Path, image: Path) -> None:
    run("mkfs.cramfs", tree, image)


def make_jffs2(tree: Path, image: Path) -> None:
    # rtime is tried by default, and no library reads it.
    run("mkfs.jffs2", "-q", "-r", tree, "-o", image, "-e", "0x20000", "-p")


def make_ufs(version: int) -> Callable[[Path, Path], None]:
    return lambda tree, image: run(
        "makefs", "-t", "ffs", "-o", f"version={version}", "-s", "24m", image, tree
    )


KINDS: dict[str, tuple[str, str, Callable[[Path, Path], None], dict[str, bool]]] = {
    # name: the tool, the library, how it is made, what is compared
    "btrfs": ("mkfs.btrfs", "dissect.btrfs", make_btrfs, {}),
    "squashfs gzip": ("mksquashfs", "dissect.squashfs", make_squashfs("gzip"), {}),
    "squashfs xz": ("mksquashfs", "dissect.squashfs", make_squashfs("xz"), {}),
    "squashfs zstd": ("mksquashfs", "dissect.squashfs", make_squashfs("zstd"), {}),
    "cramfs": ("mkfs.cramfs", "dissect.cramfs", make_cramfs, {"times": False}),
    "jffs2": ("mkfs.jffs2", "dissect.jffs", make_jffs2, {}),
    "UFS1": ("makefs", "dissect.ffs", make_ufs(1), {}),
    "UFS2": ("makefs", "dissect.ffs", make_ufs(2), {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_read_as_it_was(tmp_path: Path, kind: str) -> None:
    tool, library, make, compared = KINDS[kind]
    from tests.needing import needs

    needs(tool)
    tree = tmp_path / "tree"
    make_tree(tree)
    image = tmp_path / "image"
    make(tree, image)
    with opened(image, library) as files:
        found: Facts = of_image(files, **compared)
        assert found == of_folder(tree, **compared)
        assert files.get("/short link").kind is Kind.LINK


@pytest.mark.needs("mkfs.xfs")
@pytest.mark.parametrize("library", ["pyfsxfs", "dissect.xfs"])
def test_xfs_filled_by_a_prototype(tmp_path: Path, library: str) -> None:
    tree = tmp_path / "tree"
    make_tree(tree, names=False)
    prototype = tmp_path / "prototype"
    prototype.write_text("/\n0 0\n" + "\n".join(prototype_lines(tree)) + "\n")
    image = tmp_path / "xfs.img"
    run("mkfs.xfs", "-q", "-p", prototype, "-d", f"name={image},size=300m,file")
    with opened(image, library) as files:
        expected = {path: facts for path, facts in of_folder(tree, times=False).items() if " " not in path}
        assert of_image(files, times=False) == expected


def prototype_lines(folder: Path) -> list[str]:
    """The lines of mkfs.xfs's prototype file; it has no way for a name with a space."""
    lines = [f"d--{folder.stat().st_mode & 0o777:03o} 0 0"]
    for path in sorted(folder.iterdir()):
        if " " in path.name:
            continue
        mode = f"{path.lstat().st_mode & 0o777:03o}"
        if path.is_symlink():
            lines.append(f"{path.name} l--{mode} 0 0 {path.readlink()}")
        elif path.is_dir():
            below = prototype_lines(path)
            lines += [f"{path.name} {below[0]}", *below[1:]]
        else:
            lines.append(f"{path.name} ---{mode} 0 0 {path}")
    return [*lines, "$"]


@pytest.mark.needs("mkfs.fat", "mcopy")
@pytest.mark.parametrize("bits", [12, 16, 32])
def test_fat_filled_by_mtools(tmp_path: Path, bits: int) -> None:
    tree = tmp_path / "tree"
    make_tree(tree, links=False)
    image = blank(tmp_path / "fat.img", (4 << 20) if bits == 12 else (40 << 20))
    run("mkfs.fat", "-F", bits, image)
    run("mcopy", "-s", "-p", "-m", "-i", image, *sorted(tree.iterdir()), "::", zone="UTC")
    with opened(image) as files:
        found = of_image(files, modes=False, times=False)
        assert found == of_folder(tree, modes=False, times=False)
        assert files.get("/ETC/HostName").read() == b"evidence\n"
        stat = files.get("/etc/hostname").stat()
        assert stat.local
        wanted = int((tree / "etc" / "hostname").stat().st_mtime) // 2 * 2
        assert stat.modified == wanted * 10**9, "to two seconds"


@pytest.mark.needs("mkfs.exfat", "mount.exfat-fuse", "losetup")
def test_exfat_filled_by_exfat_fuse(tmp_path: Path) -> None:
    """Also files in pieces, and folders of several clusters, in one and in pieces."""
    needs_root()
    tree, image, mounted = tmp_path / "tree", blank(tmp_path / "exfat.img", 64 << 20), tmp_path / "mounted"
    make_tree(tree, links=False)
    run("mkfs.exfat", image)
    mounted.mkdir()
    loop = subprocess.run(
        ["losetup", "-f", "--show", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        run("mount.exfat-fuse", loop, mounted)
        try:
            run("cp", "-r", "--preserve=timestamps", f"{tree}/.", mounted)
            # Written in turns, they lie between one another.
            with (mounted / "in pieces").open("wb", 0) as one, (mounted / "other").open("wb", 0) as other:
                for number in range(20):
                    one.write(bytes([number]) * 5000)
                    other.write(bytes([100 + number]) * 7000)
        finally:
            run("umount", mounted)
    finally:
        run("losetup", "-d", loop)
    (tree / "in pieces").write_bytes(b"".join(bytes([number]) * 5000 for number in range(20)))
    (tree / "other").write_bytes(b"".join(bytes([100 + number]) * 7000 for number in range(20)))
    with opened(image, in_process=False) as files:
        found = of_image(files, modes=False, times=False)
        assert found == of_folder(tree, modes=False, times=False)
        assert len(files.get("/in pieces").runs() or ()) > 1
        assert files.get("/ETC/HostName").read() == b"evidence\n"
        stat = files.get("/etc/hostname").stat()
        wanted = int((tree / "etc" / "hostname").stat().st_mtime) // 2 * 2
        assert (stat.modified, stat.local) == (wanted * 10**9, False)
        # A reader that was started anew knows none of the keys that were given before.
        entries = {entry.name: entry for entry in files.get("/etc").entries()}
        (reader,) = files._libraries._running.values()
        reader.close()
        files._libraries._running.clear()
        assert entries["hostname"].read() == b"evidence\n"


@pytest.mark.needs("genisoimage")
@pytest.mark.parametrize("naming", ["rock ridge", "joliet", "both"])
def test_iso_9660(tmp_path: Path, naming: str) -> None:
    tree, image = tmp_path / "tree", tmp_path / "disc.iso"
    ridge = naming != "joliet"
    make_tree(tree, links=ridge)
    options = {"rock ridge": ["-R"], "joliet": ["-J", "-joliet-long"], "both": ["-R", "-J", "-joliet-long"]}
    run("genisoimage", "-quiet", "-input-charset", "utf-8", *options[naming], "-o", image, tree)
    with opened(image) as files:
        found = of_image(files, modes=ridge, without=("rr_moved",))
        expected = of_folder(tree, modes=ridge)
        for path, facts in expected.items():
            # genisoimage gives links the time at which it runs, and folders whose contents it moves another;
            # Joliet has no folders below the eighth.
            if facts[0] is Kind.LINK or path.startswith("/d0/d1/d2/d3/d4/d5/d6"):
                found.setdefault(path, facts)
                expected[path] = found[path] = (*facts[:2], None, facts[3])
        assert found == expected


@pytest.mark.needs("cpio")
@pytest.mark.parametrize("variant", ["newc", "crc", "odc", "bin"])
def test_cpio(tmp_path: Path, variant: str) -> None:
    tree, image = tmp_path / "tree", tmp_path / "archive.cpio"
    make_tree(tree)
    names = "\0".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with image.open("wb") as file:
        subprocess.run(
            ["cpio", "-o", "-0", "--quiet", "-H", variant],
            cwd=tree,
            input=names.encode(),
            stdout=file,
            check=True,
        )
    with archive(image, "cpio") as files:
        assert of_image(files) == of_folder(tree)


@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=pax"]])
@pytest.mark.needs("tar")
def test_tar(tmp_path: Path, options: list[str]) -> None:
    tree, image = tmp_path / "tree", tmp_path / "archive.tar"
    make_tree(tree)
    (tree / ("long " * 40)).write_text("long\n")
    run("tar", "-C", tree, *options, "-cf", image, ".")
    with archive(image, "tar") as files:
        assert of_image(files) == of_folder(tree)


def test_a_tar_that_leads_out_stays_within(tmp_path: Path) -> None:
    image = tmp_path / "archive.tar"
    with tarfile.open(image, "w") as made:
        for name in ("../../evil", "/abs", "a/../b"):
            member = tarfile.TarInfo(name)
            member.size = 4
            made.addfile(member, io.BytesIO(b"data"))
    with archive(image, "tar") as files:
        assert [entry.names for entry in walk(files.root) if entry.kind is Kind.FILE] == [
            ("..", "..", "evil"), ("abs",), ("a", "..", "b")
        ]  # fmt: skip


def archive(image: Path, kind: str) -> FileSystem:
    scan = pyimount.detect(image)
    return pyimount.open_filesystem(
        scan, next(each for each in scan.volumes if each.type == kind), in_process=True
    )


@pytest.mark.needs("tar")
def test_of_too_many_members_the_first_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No list of members grows in the library, so that the cap is what bounds a reader's memory."""
    tree = tmp_path / "tree"
    make_tree(tree)
    run("tar", "-cf", tmp_path / "a.tar", "-C", tree, "many")
    monkeypatch.setattr(archives, "MEMBERS_CAP", 20)
    with archive(tmp_path / "a.tar", "tar") as files:
        top = files.root
        names = [entry.name for entry in top.entries() if entry.problem is None]
        (problem,) = top.problems
        assert (names, problem.message) == (
            ["many"], "there are more than 20 members; what is behind them is left out"
        )  # fmt: skip
        assert len(list(files.get("/many").entries())) == 19
