"""Images that mean harm, made on the host from those in ``folder`` that a kernel has filled."""

from pathlib import Path

from fixtures.recipes.lvm2 import MDA, MDA_SIZE, area
from pyimount.formats.checksums import crc32c
from tests.kept import put
from tests.mapping.lvm2_groups import said
from tests.mounting.images import MIB, blank, tool

ACTS = "$(touch /pwned)`touch /pwned`;\n\x1b[2J\x1b]0;x\x07"
"""What a shell would run and a terminal obey."""

LINKS = {
    "home": "/etc",
    "var": "../../../../../../../../etc",
    "srv": "/proc/self/root/etc",
    "opt": "home/../home",
}
"""What the root volume has at the places where the others are to go."""

FSTAB = """\
LABEL=root / ext4 defaults 0 1
LABEL=up /../../../../../../../../etc ext4 defaults 0 2
LABEL=srv /srv/cron.d ext4 defaults 0 2
LABEL=opt /opt ext4 defaults 0 2
"""


def make(folder: Path) -> None:
    """Make all that ``mount_hostile`` mounts."""
    _tree(folder)
    _panic(folder)
    _labels(folder)
    twin = (folder / "twin.img").read_bytes()
    for name, group, volume in (
        ("long-name", "../" * 1300 + "etc", "-" + "x/" * 2000),
        ("option-name", "--help", "-rf"),
        ("shell-name", "$(touch/pwned)", "whole"),
    ):
        text = said(twin).replace(b"case {", f"{group} {{".encode(), 1)
        image = bytearray(twin)
        put(image, MDA, area(text.replace(b"whole {", f"{volume} {{".encode(), 1), size=MDA_SIZE))
        (folder / f"{name}.img").write_bytes(image)


def _tree(folder: Path) -> None:
    root = folder / "root"
    for name in ("etc/cron.d", "usr", "bin", "proc"):
        (root / name).mkdir(parents=True)
    (root / "etc/fstab").write_text(FSTAB)
    (root / "etc/os-release").write_text('NAME="$(touch /pwned)\x1b[2J"\n')
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    disk = blank(folder / "tree.img", 48 * MIB)
    volumes = (
        ("root", "/", ("-d", root)),
        ("up", "/../../etc", ()),
        ("home", "/home", ()),
        ("var", "/var/../../../../etc", ()),
        ("srv", "/srv", ()),
        ("opt", "/opt", ()),
        ("new", "/etc/\n\x1b[2J/../..", ()),
    )
    tool("sgdisk", *(f"--new={number}:0:+4M" for number in range(1, len(volumes) + 1)), disk)
    for number, (label, last, more) in enumerate(volumes):
        part = blank(folder / "part", 4 * MIB)
        tool("mkfs.ext4", "-q", "-L", label, "-M", last, *more, part)
        with disk.open("r+b") as file:
            file.seek(MIB + number * 4 * MIB)
            file.write(part.read_bytes())
    part.unlink()


def _panic(folder: Path) -> None:
    image = blank(folder / "panic.img", 8 * MIB)
    tool("mkfs.ext4", "-q", "-b", "1024", "-e", "panic", "-d", folder / "content", image)
    (block,) = tool("debugfs", "-R", "blocks /deep/er", image).split()
    with image.open("r+b") as file:
        file.seek(int(block) * 1024)
        file.write(bytes(1024))


def _labels(folder: Path) -> None:
    content = folder / "content"
    ext4 = blank(folder / "ext4-label.img", 8 * MIB)
    tool("mkfs.ext4", "-q", "-d", content, "-L", "../$(pwned)\n\x1b[m", ext4)
    btrfs = blank(folder / "btrfs-label.img", 128 * MIB)
    tool("mkfs.btrfs", "-q", "--rootdir", content, btrfs)
    with btrfs.open("r+b") as file:
        file.seek(0x10000)
        superblock = bytearray(file.read(0x1000))
        put(superblock, 0x12B, ("../../" + ACTS).encode().ljust(255, b"\xff"))
        put(superblock, 0, (crc32c(bytes(superblock[0x20:])) ^ 0xFFFFFFFF).to_bytes(4, "little"))
        file.seek(0x10000)
        file.write(superblock)
    gpt = folder / "gpt-names.img"
    gpt.write_bytes((folder / "disk.img").read_bytes())
    tool("sgdisk", "-c", "1:$(touch /pwned)\n\x1b[2J", "-c", "2:../../../../etc/x", gpt)
    luks = folder / "luks-label.img"
    luks.write_bytes((folder / "luks.img").read_bytes())
    tool("cryptsetup", "config", "--label", ACTS, "--subsystem", "../../etc", luks)
