"""What pyimount can make use of on a machine; callers find these names in ``pyimount.dependencies``."""

import importlib.util
import sys
from abc import ABC, abstractmethod

from pyimount.execution import tools
from pyimount.execution.errors import ToolMissing
from pyimount.execution.survey import fuse_library, survey
from pyimount.records import Record


class Dependency(Record, ABC, kw_only=True):
    """Something that may be there or not.

    ``package``: what brings it, if any does; ``why``: what it is for.
    """

    name: str
    package: str | None
    why: str

    @property
    @abstractmethod
    def is_available(self) -> bool:
        """Whether it is there now."""

    def __str__(self) -> str:
        return self.name

    def __bool__(self) -> bool:
        return self.is_available


class CommandDependency(Dependency, kw_only=True):
    """A program."""

    @property
    def path(self) -> str | None:
        """Where it is; None when it is not installed."""
        return tools.find(self.name)

    @property
    def is_available(self) -> bool:
        """Whether it is installed where pyimount looks for programs."""
        return self.path is not None


class PythonModuleDependency(Dependency, kw_only=True):
    """A Python package that is not needed for everything."""

    @property
    def is_available(self) -> bool:
        """Whether it can be imported."""
        try:
            return importlib.util.find_spec(self.name) is not None
        except ImportError:
            return False  # What it lies in is not there.


class KernelDependency(Dependency, kw_only=True):
    """A part of the kernel; ``part``: the field of ``Machine`` that tells."""

    part: str

    @property
    def is_available(self) -> bool:
        """Whether the kernel has it, or can load it."""
        return bool(getattr(survey(), self.part))


class LibraryDependency(Dependency, kw_only=True):
    """A shared library: libfuse3."""

    @property
    def is_available(self) -> bool:
        """Whether it is installed."""
        return bool(fuse_library())


class FileSystemDependency(Dependency, kw_only=True):
    """A file system's driver in the kernel."""

    @property
    def is_available(self) -> bool:
        """Whether the kernel has it, or can load it."""
        return self.name in survey().filesystems


COMMANDS: tuple[CommandDependency, ...] = tuple(
    CommandDependency(name=tool.name, package=tool.package, why=tool.gives) for tool in tools.TOOLS.values()
)
"""The programs."""

KERNEL: tuple[KernelDependency, ...] = tuple(
    KernelDependency(name=name, package="linux", why=why, part=part)
    for name, part, why in (
        ("fuse", "fuse", "layers and containers as files"),
        ("device-mapper", "device_mapper", "volume groups and encryption by the kernel"),
        ("md", "md", "software RAID by the kernel"),
        ("nbd", "nbd", "qemu-nbd"),
        ("mtdram", "flash", "flash devices in memory, for JFFS2"),
    )
)
"""The parts of the kernel."""

FILE_SYSTEMS: tuple[FileSystemDependency, ...] = tuple(
    FileSystemDependency(name=name, package="linux", why=f"mounting {name}")
    for name in (
        "ext4", "xfs", "btrfs", "vfat", "exfat", "ntfs3", "iso9660", "udf", "squashfs", "erofs", "hfsplus",
        "f2fs", "ufs",
    )
)  # fmt: skip
"""The drivers of the file systems that evidence most often has."""

LIBRARIES: tuple[LibraryDependency, ...] = (
    LibraryDependency(name="libfuse3", package="libfuse3-3", why="our own server, for layers as files"),
)
"""The shared libraries."""

ZSTD = "backports.zstd" if sys.version_info < (3, 14) else "compression.zstd"
"""Where Python has Zstandard."""

MODULES: tuple[PythonModuleDependency, ...] = tuple(
    PythonModuleDependency(name=name, package=package, why=why)
    for name, package, why in (
        ("jsonschema", "pyimount[mount]", "mounting: what unprivileged processes say is checked"),
        ("mfusepy", "pyimount[mount]", "mounting: layers as files"),
        ("numpy", "pyimount[fast]", "LUKS, BitLocker and degraded arrays several times as fast"),
        ("zlib_ng", "pyimount[fast]", "E01, qcow2, VMDK, DMG and AFF4 nearly twice as fast"),
        ("cramjam", "pyimount[fast]", "AFF4 packed with Snappy ten times as fast"),
        (ZSTD, "pyimount[zstd]", "what is packed with Zstandard"),
        ("lz4", "pyimount[fast]", "what is packed with LZ4 several times as fast"),
        ("xxhash", "pyimount[lz4]", "the checksums of LZ4 several times as fast"),
        ("liblzfse", "pyimount[lzfse]", "Apple disk images packed with LZFSE"),
        ("fsspec", "pyimount[remote]", "images elsewhere: https://, s3:// …"),
        ("dissect.extfs", "pyimount[files]", "files of ext2, ext3 and ext4 without root"),
        *(
            (f"dissect.{name}", "pyimount[files]", f"files of {what} without root")
            for name, what in (
                ("apfs", "APFS"),
                ("btrfs", "btrfs"),
                ("cramfs", "cramfs"),
                ("ffs", "UFS"),
                ("jffs", "JFFS2"),
                ("ntfs", "NTFS"),
                ("qnxfs", "QNX4 and QNX6"),
                ("squashfs", "SquashFS"),
                ("vmfs", "VMFS"),
                ("xfs", "XFS"),
            )
        ),
        ("pyfsapfs", "pyimount[files]", "files of APFS without root"),
        ("pyfsext", "pyimount[files]", "a second opinion on files of ext2, ext3 and ext4"),
        ("pyfsfat", "pyimount[files]", "files of FAT and exFAT without root"),
        ("pyfshfs", "pyimount[files]", "files of HFS Plus without root"),
        ("pyfsntfs", "pyimount[files]", "files of NTFS without root"),
        ("pyfsxfs", "pyimount[files]", "files of XFS without root"),
        ("pycdlib", "pyimount[files]", "files of ISO 9660 without root"),
        ("dissect.volume", "dissect.volume", "a second opinion on partition tables"),
    )
)
"""The Python packages."""

ALL: tuple[Dependency, ...] = (*KERNEL, *FILE_SYSTEMS, *LIBRARIES, *COMMANDS, *MODULES)
"""Every one of them."""


def require_modules(what: str, *names: str) -> None:
    """Raise ToolMissing, which says what installs them, unless all these Python packages are there."""
    missing = [each for each in MODULES if each.name in names and not each.is_available]
    if missing:
        lacking = " and ".join(each.name for each in missing)
        packages = " ".join(sorted({f"'{each.package}'" for each in missing}))
        raise ToolMissing(f"{what} needs {lacking}: pip install {packages}")


def find(name: str) -> Dependency:
    """The dependency of this name; raises KeyError."""
    for each in ALL:
        if each.name == name:
            return each
    raise KeyError(name)
