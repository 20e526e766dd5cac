"""What this machine can do, looked up without changing it."""

import os
import re

from pyimount.execution import nodes
from pyimount.execution.tools import TOOLS, find
from pyimount.planning.machine import Machine
from pyimount.planning.steps import FLASH_MODULE

MODULES = "/lib/modules"

FUSE_LIBRARIES = ("libfuse3.so.3", "libfuse3.so.4")
"""By either name: libfuse 3.17 has a new one."""

# A file system's module does not always have its name.
_MODULE_OF = {"iso9660": "isofs", "ext2": "ext4", "ext3": "ext4", "vxfs": "freevxfs"}
_KNOWN = (
    "adfs", "affs", "bcachefs", "befs", "bfs", "btrfs", "cramfs", "efs", "erofs", "exfat", "ext2", "ext3",
    "ext4", "f2fs", "hfs", "hfsplus", "hpfs", "iso9660", "jffs2", "jfs", "minix", "msdos", "nilfs2",
    "ntfs3", "omfs", "qnx4", "qnx6", "reiserfs", "romfs", "squashfs", "sysv", "ubifs", "udf", "ufs", "vfat",
    "vxfs", "xfs",
)  # fmt: skip
"""What a module may bring that is not loaded yet."""


def survey() -> Machine:
    """What the kernel has, or can load, and which programs are installed."""
    modules = _modules()
    with open("/proc/filesystems") as file:
        present = {line.split()[-1] for line in file if line.strip()}
    loadable = {name for name in _KNOWN if _MODULE_OF.get(name, name) in modules}
    drivers = _drivers()
    no_fuse = nodes.why_not(nodes.FUSE)
    return Machine(
        filesystems=frozenset(present | loadable),
        device_mapper="device-mapper" in drivers or "dm_mod" in modules,
        md="md" in drivers or "md_mod" in modules,
        fuse=("fuse" in present or "fuse" in modules) and no_fuse is None,
        nbd="nbd" in drivers or "nbd" in modules,
        flash=FLASH_MODULE in modules,
        tools={name: path for name in TOOLS if (path := find(name)) is not None},
        kernel=_version(os.uname().release),
        lacks={} if no_fuse is None else {"fuse": (no_fuse, nodes.remedy(nodes.FUSE))},
    )


def fuse_library() -> str | None:
    """The name of the FUSE library that is installed; None: our own server cannot run."""
    import ctypes

    for name in FUSE_LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return name
    return None


def _version(release: str) -> tuple[int, int]:
    """The first two numbers of a kernel's version; ``(0, 0)`` where it has none."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (0, 0) if found is None else (int(found[1]), int(found[2]))


def _drivers() -> set[str]:
    """The drivers of devices, block and misc, that the kernel has now."""
    found: set[str] = set()
    for path in ("/proc/devices", "/proc/misc"):
        try:
            with open(path) as file:
                found |= {line.split()[-1] for line in file if len(line.split()) == 2}
        except FileNotFoundError:
            continue  # A kernel without any.
    return found


def _modules() -> set[str]:
    """The modules that the running kernel can load, with underscores for dashes."""
    folder = f"{MODULES}/{os.uname().release}"
    found: set[str] = set()
    for name in ("modules.dep", "modules.builtin"):
        try:
            with open(f"{folder}/{name}") as file:
                for line in file:
                    module = os.path.basename(line.split(":")[0].strip())
                    found.add(module.partition(".ko")[0].replace("-", "_"))
        except FileNotFoundError:
            continue  # A kernel without modules.
    return found
