"""What is free is what Linux says of the same image, where it mounts it without replaying a journal."""

import re

import pyimount
from fixtures.workshop import Workshop, fixtures
from tests.kernel.uml import Kernel
from tests.needing import needs

MIB = 1 << 20
MADE = {
    "ext4": (64 * MIB, ("mkfs.ext4", "-q", "-F", "-O", "bigalloc"), "ro,noload"),
    "xfs": (400 * MIB, ("mkfs.xfs", "-q"), "ro,norecovery"),
    "vfat": (60 * MIB, ("mkfs.fat", "-F", "32", "-s", "1"), "ro"),
    "minix": (20 * MIB, ("mkfs.minix", "-3"), "ro"),
    "f2fs": (100 * MIB, ("mkfs.f2fs", "-q"), "ro"),
    "btrfs": (200 * MIB, ("mkfs.btrfs", "-q"), "ro"),
}
KEPT = {"hfs": "ro", "jfs": "ro", "reiserfs": "ro", "udf": "ro", "ocfs2": "ro", "nilfs2": "ro,norecovery"}
LESS = {
    "xfs": "8 blocks a group, kept back for the free space btrees (XFS_ALLOC_SET_ASIDE)",
    "btrfs": "the global reserve",
    "nilfs2": "the segments that are reserved for its cleaner",
}
"""What statfs leaves out, though nothing on the disk is allocated to it."""


def test_free_space_is_the_kernels(uml: Kernel) -> None:
    work = Workshop(uml.share)
    for kind, (size, command, _) in MADE.items():
        needs(command[0])
        work.run(*command, work.blank(size, f"{kind}.img"))
    for fixture in fixtures():
        if fixture.name in KEPT:
            folder = uml.share / "kept"
            folder.mkdir(exist_ok=True)
            fixture.unpack(folder).rename(uml.share / f"{fixture.name}.img")
    options = {**{kind: option for kind, (_, _, option) in MADE.items()}, **KEPT}
    script = "".join(
        f"mount -t {kind} -o loop,{option} {kind}.img /mnt\nstat -f -c '{kind} %f %S' /mnt\numount /mnt\n"
        for kind, option in options.items()
    )
    said = {
        kind: int(free) * int(size)
        for kind, free, size in re.findall(r"(\w+) (\d+) (\d+)", uml.shell(script))
    }
    assert said.keys() == options.keys()
    for kind, free in said.items():
        (found,) = pyimount.detect(uml.share / f"{kind}.img").volumes
        assert found.free is not None
        if kind in LESS:
            assert free <= found.free <= free + 8 * MIB
        else:
            assert (kind, found.free) == (kind, free)
