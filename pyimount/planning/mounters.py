"""Other programs that show the disk in a container as a file: only where one is asked for by name."""

from collections.abc import Mapping

from pyimount.records import Record


class Mounter(Record, kw_only=True):
    """One such program.

    ``types``: the containers that it reads, each with the program's own word. ``arguments``: as
    RunImageMounter has them, ``{type}`` for that word. ``file``: where the disk appears, ``{name}`` for the
    image's name and ``{stem}`` for that without its suffix. ``all_files``: it wants every segment.
    """

    types: Mapping[str, str]
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
    "vmware-mount": Mounter(types={"vmdk": "vmdk"}, arguments=("-r", "-f", "{image}", "{at}"), file="flat"),
}
"""The programs by name."""

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
