"""``pyimount mount`` as people and scripts run it, as root, in this machine's own kernel."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures.workshop import tool_path
from tests.kernel.uml import kernel_in
from tests.mounting.images import MIB, attached, blank, check, content, digest, make, tool, traces
from tests.needing import needs, needs_root

KINDS = ("ext4", "xfs", "btrfs", "squashfs", "erofs")
TOOLS = (
    "mkfs.ext4",
    "mkfs.xfs",
    "mkfs.btrfs",
    "mksquashfs",
    "mkfs.erofs",
    "qemu-img",
    "ewfacquire",
    "sfdisk",
)


def command(*arguments: str | Path, status: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run pyimount."""
    done = subprocess.run(
        [sys.executable, "-m", "pyimount", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL, **options,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


class Mounted:
    """A mount that stands, and is taken down at the end."""

    def __init__(self, *arguments: str | Path, status: int = 0) -> None:
        self.said = json.loads(command("mount", "--keep", "--json", *arguments, status=status).stdout)
        self.session = self.said["session"]

    def at(self, index: str) -> Path:
        """The mount point of a volume."""
        found = next(each for each in self.said["volumes"] if each["index"] == index)
        assert found["mountpoint"], found
        return Path(found["mountpoint"])

    def __enter__(self) -> "Mounted":
        return self

    def __exit__(self, *_: object) -> None:
        listed = json.loads(command("list", "--json").stdout)["sessions"]
        if self.session in (each["session"] for each in listed):
            command("unmount", self.session)
        assert traces(self.session) == []


@pytest.fixture(scope="module", autouse=True)
def able() -> None:
    needs_root()
    needs(*TOOLS)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A raw image of each kind of file system."""
    folder = tmp_path_factory.mktemp("raw")
    root = content(folder)
    return {kind: make(kind, folder / f"{kind}.img", root) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_raw_image(raw: dict[str, Path], kind: str) -> None:
    before = digest(raw[kind])
    with Mounted(raw[kind]) as mounted:
        check(mounted.at("0"))
        with pytest.raises(OSError, match="Read-only"):
            (mounted.at("0") / "new").write_bytes(b"x")
        assert attached(raw[kind])
    assert attached(raw[kind]) == []
    assert digest(raw[kind]) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("container", ["qcow2", "E01"])
def test_a_container(raw: dict[str, Path], kind: str, container: str, tmp_path: Path) -> None:
    if container == "qcow2":
        image = tmp_path / "disk.qcow2"
        tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw[kind], image)
    else:
        image = tmp_path / "disk.E01"
        tool("ewfacquire", "-u", "-q", "-t", tmp_path / "disk", "-c", "deflate:fast", raw[kind])
    before = digest(image)
    with Mounted(image) as mounted:
        check(mounted.at("0"))
    assert digest(image) == before


def test_partitions_and_a_second_mount_at_once(raw: dict[str, Path], tmp_path: Path) -> None:
    image = blank(tmp_path / "disk.img", 64 * MIB)
    subprocess.run(
        [tool_path("sfdisk"), "-q", image], input="label: gpt\nsize=20M\nsize=20M\n",
        text=True, check=True,
    )  # fmt: skip
    with image.open("r+b") as disk:
        for kind, offset in (("ext4", MIB), ("squashfs", 21 * MIB)):
            disk.seek(offset)
            disk.write(raw[kind].read_bytes())
    before = digest(image)
    with Mounted(image) as first:
        with Mounted(image) as second:
            for index in ("1", "2"):
                check(first.at(index))
                check(second.at(index))
            assert first.session != second.session
        check(first.at("1"))
        listed = json.loads(command("list", "--json").stdout)
        mine = next(each for each in listed["sessions"] if each["session"] == first.session)
        assert mine["images"] == [str(image)]
        assert {each["mountpoint"] for each in mine["mounts"]} == {str(first.at("1")), str(first.at("2"))}
        command("unmount", first.at("1"))
        assert not os.path.ismount(first.at("2").parent / "1-root")
        check(first.at("2"))
        command("unmount", image)
        assert traces(first.session) == []
        assert "nothing of this" in command("unmount", image, status=1).stderr
    assert digest(image) == before


LAYERS = r"""
set -e
mkdir -p /root/c; cp -r content/. /root/c/
mkfs.ext4 -q -d /root/c fs.img 12M
key() { printf secret; }
truncate -s 32M luks.img
key | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 luks.img -
key | cryptsetup open luks.img plain -
cat fs.img > /dev/mapper/plain; sync
cryptsetup close plain
for n in 1 2 3 4 5; do truncate -s 24M r$n.img; eval "l$n=$(losetup -f --show r$n.img)"; done
yes | mdadm --create /dev/md0 --quiet --level=1 --raid-devices=2 --metadata=1.2 $l1 $l2
cat fs.img > /dev/md0; sync; mdadm --quiet --wait /dev/md0 || true; mdadm --quiet --stop /dev/md0
yes | mdadm --create /dev/md0 --quiet --level=5 --raid-devices=3 --chunk=64 --metadata=1.2 $l3 $l4 $l5
cat fs.img > /dev/md0; sync; mdadm --quiet --wait /dev/md0 || true; mdadm --quiet --stop /dev/md0
truncate -s 40M p1.img p2.img
p1=$(losetup -f --show p1.img); p2=$(losetup -f --show p2.img)
pvcreate -q $p1 $p2; vgcreate -q case $p1 $p2
lvcreate -q -an -Zn -n whole -L 16M case
lvcreate -q -an -Zn -n striped -i 2 -I 64 -L 16M case
vgchange -q -ay --noudevsync case
for n in whole striped; do cat fs.img > /dev/mapper/case-$n; done; sync
vgchange -q -an --noudevsync case
"""


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LUKS, arrays and volume groups with an ext4 in each, made by a real kernel."""
    needs("mdadm", "lvm", "cryptsetup")
    kernel = kernel_in(tmp_path_factory.mktemp("layers"))
    content(kernel.share)
    kernel.shell(LAYERS, timeout=300)
    return kernel.share


@pytest.mark.parametrize(
    ("images", "index", "keys"),
    [
        (("luks.img",), ("0.0",), ("--key", "p:secret")),
        (("r1.img", "r2.img"), ("1.0.0",), ()),
        (("r2.img",), ("0.0",), ()),
        (("r3.img", "r4.img", "r5.img"), ("1.0.0",), ()),
        (("r3.img", "r5.img"), ("1.0.0",), ()),
        (("p1.img", "p2.img"), ("1.0.0", "1.0.1"), ()),
    ],
    ids=["luks2", "raid1", "raid1-degraded", "raid5", "raid5-degraded", "lvm"],
)
def test_layers_from_user_space(
    layered: Path, images: tuple[str, ...], index: tuple[str, ...], keys: tuple[str, ...]
) -> None:
    paths = [layered / name for name in images]
    before = [digest(path) for path in paths]
    with Mounted("--backend", "user", *keys, *paths) as mounted:
        for each in index:
            check(mounted.at(each))
    assert [digest(path) for path in paths] == before


def test_what_is_locked_is_said(layered: Path) -> None:
    done = command("mount", "--keep", layered / "luks.img", status=4)
    assert "is locked" in done.stderr
    assert "--key" in done.stderr


def test_writing_goes_to_the_cache(raw: dict[str, Path], tmp_path: Path) -> None:
    before = digest(raw["ext4"])
    cache = tmp_path / "cache"
    with Mounted("--read-write", "--rwpath", cache, raw["ext4"]) as mounted:
        check(mounted.at("0"))
        (mounted.at("0") / "new").write_bytes(b"written" * 1000)
        assert mounted.said["cache"] == str(cache)
    assert digest(raw["ext4"]) == before
    with Mounted("--read-write", "--rwpath", cache, raw["ext4"]) as mounted:
        assert (mounted.at("0") / "new").read_bytes() == b"written" * 1000
    assert digest(raw["ext4"]) == before


def test_without_root_it_says_what_it_needs(raw: dict[str, Path], tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    shutil.copy(raw["ext4"], image)
    program = (
        "import sys; from pyimount.cli import main\n"
        "from pyimount.confinement.process import give_up_privileges\n"
        "give_up_privileges(); sys.exit(main(sys.argv[1:]))"
    )
    tmp_path.chmod(0o755)
    image.chmod(0o644)
    with image.open("rb") as file:
        path = f"/proc/self/fd/{file.fileno()}"
        for arguments, status in ((["mount", path], 1), (["mount", "--dry-run", path], 0)):
            done = subprocess.run(
                [sys.executable, "-c", program, *arguments],
                capture_output=True, text=True, check=False, pass_fds=[file.fileno()],
            )  # fmt: skip
            assert done.returncode == status, done.stderr
            assert "Traceback" not in done.stderr
            if status:
                assert "needs root" in done.stderr
            else:
                assert "mount -i -n -t ext4" in done.stdout


def test_what_cannot_be_read_or_is_cut_off_is_said(raw: dict[str, Path], tmp_path: Path) -> None:
    done = command("mount", "--keep", tmp_path / "none.img", status=1)
    assert done.stderr.count("none.img") == 1
    image = blank(tmp_path / "disk.img", 8 * MIB)
    subprocess.run(
        [tool_path("sfdisk"), "-q", image],
        input="start=8192\n",
        text=True,
        check=True,
    )
    with image.open("r+b") as disk:
        disk.truncate(MIB)
    assert "after the end of what holds it" in command("mount", "--keep", image, status=4).stderr


def test_a_tree_that_was_asked_for_and_does_not_stand(raw: dict[str, Path], tmp_path: Path) -> None:
    """The volumes are mounted all the same; a status of 0 would say that the tree is, too."""
    image = tmp_path / "ext4.img"
    image.write_bytes(raw["ext4"].read_bytes())
    done = command("mount", "--keep", "--reconstruct", image, status=4)
    assert done.stderr.count("no tree: no root volume was found") == 1
    assert "  ext4" in done.stdout
    command("unmount", image)
    assert attached(image) == []


def test_nothing_to_unmount(tmp_path: Path) -> None:
    command("unmount", status=2)
    assert "nothing of this is mounted" in command("unmount", tmp_path, status=1).stderr
    assert "nothing of this is mounted" in command("unmount", "--dry-run", tmp_path, status=1).stderr
    said = json.loads(command("unmount", "--json", tmp_path / "a", "0badcafe", status=1).stdout)
    assert [each["what"] for each in said["nothing"]] == [f"{tmp_path}/a", "0badcafe"]
    assert said["sessions"] == []


def test_a_session_that_another_stands_in_goes_in_a_second_round(
    raw: dict[str, Path], tmp_path: Path
) -> None:
    """The later session holds what the earlier one has a bind mount of."""
    with Mounted(raw["ext4"]) as first, Mounted(raw["squashfs"]) as second:
        inside = second.at("0") / "deep"
        subprocess.run(["mount", "--bind", str(first.at("0")), str(inside)], check=True)
        done = command("unmount", first.session, second.session, status=5)
        assert f"{second.at('0')} is in use by the mount {inside}" in done.stderr
        subprocess.run(["umount", str(inside)], check=True)
        command("unmount", first.session, second.session)
        assert traces(first.session) + traces(second.session) == []
