"""What tests need of the machine: where it lacks that, they are skipped; with CI set they fail.

A test says it by ``needs(…)`` when it runs, or by the mark ``pytest.mark.needs(…)``. The end of a run says
what was skipped, and which of Debian's packages bring what was missing.
"""

import os
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from fixtures.workshop import find_tool

PACKAGES: Mapping[str, str] = {
    "afflib-tools": "affconvert affinfo affuse",
    "android-sdk-libsparse-utils": "img2simg",
    "apfsprogs": "mkapfs",
    "avfs": "avfsd",
    "bash": "bash",
    "bcache-tools": "bcache-super-show make-bcache",
    "bchunk": "bchunk",
    "bindfs": "bindfs",
    "btrfs-progs": "btrfs btrfstune mkfs.btrfs",
    "busybox-static": "busybox",
    "bzip2": "bzip2",
    "cgpt": "cgpt",
    "coreutils": "split",
    "cpio": "cpio",
    "cryptsetup-bin": "cryptsetup integritysetup veritysetup",
    "device-tree-compiler": "dtc",
    "disktype": "disktype",
    "dmsetup": "dmsetup",
    "dosfstools": "fsck.fat mkfs.fat mkfs.vfat",
    "drbd-utils": "drbdmeta",
    "e2fsprogs": "debugfs dumpe2fs e2fsck mke2fs mkfs.ext2 mkfs.ext3 mkfs.ext4 tune2fs",
    "erofs-utils": "dump.erofs mkfs.erofs",
    "ewf-tools": "ewfacquire ewfacquirestream ewfinfo ewfmount",
    "exfat-fuse": "mount.exfat-fuse",
    "exfatprogs": "dump.exfat mkfs.exfat",
    "f2fs-tools": "dump.f2fs mkfs.f2fs",
    "fdisk": "fdisk sfdisk",
    "file": "file",
    "fish": "fish",
    "fuse2fs": "fuse2fs",
    "fuse3": "fusermount fusermount3",
    "gcc": "cc",
    "gdisk": "sgdisk",
    "genisoimage": "genisoimage isoinfo",
    "genromfs": "genromfs",
    "gfs2-utils": "mkfs.gfs2",
    "gzip": "gzip",
    "hfsutils": "hformat",
    "jfsutils": "jfs_debugfs jfs_tune mkfs.jfs",
    "jq": "jq",
    "ldmtool": "ldmtool",
    "libbde-utils": "bdemount",
    "libfsapfs-utils": "fsapfsinfo",
    "libfuse3-3": "libfuse3",
    "libvshadow-utils": "vshadowmount",
    "lvm2": "lvm pvck",
    "lz4": "lz4",
    "lzop": "lzop",
    "makefs": "makefs",
    "man-db": "lexgrog man",
    "mandoc": "mandoc",
    "mdadm": "mdadm",
    "mkbootimg": "mkbootimg",
    "mount": "losetup mount umount",
    "mtd-utils": "mkfs.jffs2 mkfs.ubifs ubinize",
    "mtools": "mcopy mdel minfo",
    "nilfs-tools": "mkfs.nilfs2",
    "ntfs-3g": "mkntfs ntfs-3g ntfs-3g.probe ntfscp ntfsfix ntfsinfo",
    "ocfs2-tools": "debugfs.ocfs2 mkfs.ocfs2",
    "p7zip-full": "7z",
    "parted": "parted",
    "passwd": "useradd",
    "procps": "pkill",
    "python3-dev": "Python.h",
    "qemu-utils": "qemu-img qemu-io qemu-nbd",
    "reiser4progs": "debugfs.reiser4 mkfs.reiser4",
    "reiserfsprogs": "debugreiserfs mkreiserfs",
    "sleuthkit": "fsstat mmls",
    "squashfs-tools": "mksquashfs unsquashfs",
    "strace": "strace",
    "sudo": "sudo",
    "tar": "tar",
    "testdisk": "photorec",
    "u-boot-tools": "mkimage",
    "udftools": "mkudffs udfinfo",
    "user-mode-linux": "linux.uml",
    "util-linux": "blkid fsck.cramfs mkfs.bfs mkfs.cramfs mkfs.minix mkswap partx runuser setpriv swaplabel "
    "unshare",
    "wimtools": "wimcapture wiminfo",
    "xfsprogs": "mkfs.xfs xfs_admin xfs_db xfs_logprint",
    "xorriso": "xorriso",
    "xz-utils": "xz",
    "zip": "zip",
    "zsh": "zsh",
    "zstd": "zstd",
}
"""Debian's packages, and what the tests use of each."""

PACKAGE_OF = {tool: package for package, tools in PACKAGES.items() for tool in tools.split()}

_NOT_INSTALLED = "not installed: "


def lacking(reason: str) -> NoReturn:
    """End the test here: the machine lacks what it needs."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def not_installed(names: Iterable[str]) -> NoReturn:
    """The same, for want of these programs."""
    lacking(_NOT_INSTALLED + ", ".join(names))


def needs(*tools: str) -> None:
    """Go on only if all of these are installed."""
    if missing := [tool for tool in tools if find_tool(tool) is None]:
        not_installed(missing)


def needs_root() -> None:
    """Go on only as root."""
    if os.geteuid() != 0:
        lacking("not root")


def needs_built(module: str, package: str) -> None:
    """Go on only with a Python module that has to be compiled; which CI does where there is a compiler."""
    from importlib.util import find_spec

    if find_spec(module) is not None:
        return
    builds = {"cc": find_tool("cc"), "Python.h": Path(sysconfig.get_path("include"), "Python.h").exists()}
    if missing := [name for name, there in builds.items() if not there]:
        pytest.skip(_NOT_INSTALLED + ", ".join(missing))
    lacking(f"not built: {package}")


def summary(reasons: Iterable[str]) -> Iterator[str]:
    """What was skipped, by the reasons of the tests: a line for each, or for each package that is missing."""
    packages: Counter[str] = Counter()
    tools: dict[str, set[str]] = {}
    others: Counter[str] = Counter()
    for reason in reasons:
        if not reason.startswith(_NOT_INSTALLED):
            others[reason] += 1
            continue
        missing = reason.removeprefix(_NOT_INSTALLED).split(", ")
        for package in {PACKAGE_OF.get(tool, "?") for tool in missing}:
            packages[package] += 1
        for tool in missing:
            tools.setdefault(PACKAGE_OF.get(tool, "?"), set()).add(tool)
    for reason, count in others.most_common():
        yield f"{count:5}  {reason}"
    for package, count in sorted(packages.items(), key=lambda each: (-each[1], each[0])):
        yield f"{count:5}  {_NOT_INSTALLED}{', '.join(sorted(tools[package]))}  (apt install {package})"
