"""Other programs that show the disk in a container as a file: only where one is asked for by name."""

from collections.abc import Mapping

from pyimount.records import Record


class Mounter(Record, kw_only=True):
    """One such program; ``tool``: its own name, where it is called otherwise.

    ``types``: the containers that it reads, each with the program's own word. ``arguments``: as
    RunImageMounter has them, ``{type}`` for that word. ``file``: where the disk appears, ``{name}`` for the
    image's name, ``{stem}`` for that without its suffix, ``{path}`` for its whole path and ``{member}`` for
    the name of what an archive holds. ``all_files``: it wants every segment.
    """

    types: Mapping[str, str]
    tool: str | None = None
    arguments: tuple[str, ...]
    file: str
    all_files: bool = False


MOUNTERS: Mapping[str, Mounter] = {
    "ewfmount": Mounter(types={"ewf": "ewf", "ewf2": "ewf"}, arguments=("{image}", "{at}"), file="ewf1"),
    "xmount": Mounter(
        types={"raw": "raw", "split": "raw", "ewf": "ewf", "aff": "aff", "qcow2": "qemu", "vdi": "qemu"},
        arguments=("--in", "{type}", "{image}", "--out", "raw", "{at}"),
        file="{stem}.dd",
        all_files=True,
    ),
    "affuse": Mounter(types={"aff": "aff", "raw": "raw"}, arguments=("{image}", "{at}"), file="{name}.raw"),
    # It shows this machine's whole tree, and packed files in it unpacked.
    "avfs": Mounter(
        tool="avfsd",
        types={"gzip": "", "bzip2": "", "xz": "", "zip": "{member}"},
        arguments=("{at}",),
        file="{path}#{type}",
    ),
    "vmware-mount": Mounter(types={"vmdk": "vmdk"}, arguments=("-r", "-f", "{image}", "{at}"), file="flat"),
}
"""The programs by name."""


class Unlocker(Record, kw_only=True):
    """A program that shows what a BitLocker volume holds as a file.

    ``tool``: its name; ``kinds``: the keys that it takes other than as an argument, which all could read;
    ``file``: where the volume appears.
    """

    tool: str
    kinds: frozenset[str]
    file: str


UNLOCKERS: Mapping[str, Unlocker] = {
    "bdemount": Unlocker(tool="bdemount", kinds=frozenset("s"), file="bde1"),
    "dislocker": Unlocker(tool="dislocker-fuse", kinds=frozenset("ps"), file="dislocker-file"),
}
"""The programs by the words that a user has for them."""

NBD_FORMATS: Mapping[str, str] = {
    "raw": "raw",
    "qcow": "qcow",
    "qcow2": "qcow2",
    "vdi": "vdi",
    "vhd": "vpc",
    "vhdx": "vhdx",
    "vmdk": "vmdk",
    "hdd": "parallels",
    "dmg": "dmg",
}
"""qemu's words for containers."""
