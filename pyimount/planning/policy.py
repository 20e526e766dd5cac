"""What a mount may do, as data; ``pyimount mount --show-policy`` prints it."""

from collections.abc import Mapping

from pyimount.records import Record


class Policy(Record, kw_only=True):
    """What one ``mount`` is allowed. Nothing here ever allows writing to the image.

    ``allow_fs``: file systems (a type, or a driver's name) that are mounted although few maintain
    their driver; ``*``: all of them. ``foreign_tools``: programs that parse an image's bytes and run as
    root may be used. ``unknown``: what is not recognised may be mounted without a type. ``backend``:
    ``kernel``, ``user`` or ``auto`` (the kernel where it can). ``read_write``: over a cache, with the image
    untouched. ``disk_mounter``: what shows a container as a file: ``auto`` is our own server.
    ``lvm``: ``native`` maps logical volumes by our own reading of the metadata, ``lvm`` has LVM do it,
    ``auto`` has it do what that does not cover, where the backend is ``kernel``. ``bitlocker``: what opens
    it: ``auto``, ``cryptsetup``, ``dislocker``, ``bdemount``. ``vshadow_mounter``: what shows shadow copies:
    ``native``, ``vshadowmount``. A program that is asked for by its name is allowed by that.
    """

    name: str
    description: str
    allow_fs: frozenset[str] = frozenset()
    foreign_tools: bool = False
    unknown: bool = False
    backend: str = "auto"
    read_write: bool = False
    disk_mounter: str = "auto"
    lvm: str = "auto"
    bitlocker: str = "auto"
    vshadow_mounter: str = "native"


FORENSIC = Policy(
    name="forensic",
    description=(
        "Well-kept drivers of the kernel; no journal is replayed; no other program reads it as root, but "
        "ntfs-3g, with few rights, where the kernel has no ntfs3."
    ),
)

RECOVERY = Policy(
    name="recovery",
    description="As forensic, and with drivers that few maintain and with other programs, to get at more.",
    allow_fs=frozenset("*"),
    foreign_tools=True,
)

POLICIES: Mapping[str, Policy] = {policy.name: policy for policy in (FORENSIC, RECOVERY)}
"""The policies by name."""
