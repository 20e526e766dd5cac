"""What a mounted tree says of itself: read by ``mounted_trees``, judged by ``planning.reconstruct``."""

from collections.abc import Mapping

from pyimount.records import EMPTY, Record

HOME_SIGNS = frozenset((".bashrc", ".bash_history", ".profile", ".zshrc", ".config", ".ssh", "Desktop"))
"""Names that stand in a user's home."""

NAMES_CAP = 4096
"""So many entries of a folder are looked at."""
HOMES_CAP = 64
"""So many folders are asked whether they are a user's home."""
TEXT_CAP = 64 << 10
"""So many bytes of a file are read."""
SUBVOLUMES = ("@", "root", "@rootfs")
"""What distributions call the subvolume of a btrfs that has the root."""


class Facts(Record, kw_only=True):
    """What was read in the tree of one mounted volume; all of it is the image's word, and may be a lie.

    ``layer``: the volume's. ``names``: of the entries at its top. ``homes``: those that look like a
    user's home. ``fstab``, ``crypttab``, ``os_release``: these files' texts; ``hostname``: the
    machine's name; ``windows``: what Windows' own registry says, by the names of its values.
    ``subvolume``: the subvolume of a btrfs in which all but ``names`` was found.
    """

    layer: int
    names: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()
    fstab: str | None = None
    crypttab: str | None = None
    os_release: str | None = None
    hostname: str | None = None
    windows: Mapping[str, str] = EMPTY
    subvolume: str | None = None

    def system(self) -> dict[str, str]:
        """What system it is: ``name``, ``version``, ``hostname``, as far as it says."""
        found: dict[str, str] = {}
        if self.os_release is not None:
            values = dict(_assignments(self.os_release))
            name = values.get("PRETTY_NAME") or values.get("NAME") or values.get("ID")
            version = values.get("VERSION_ID") or values.get("VERSION")
            found |= {"name": name} if name else {}
            found |= {"version": version} if version else {}
        if self.windows:
            said = self.windows
            # From Windows 10 on CurrentVersion stays at 6.3.
            numbers = [said.get("CurrentMajorVersionNumber"), said.get("CurrentMinorVersionNumber")]
            version = ".".join(filter(None, numbers)) or said.get("CurrentVersion", "")
            version = ".".join(filter(None, (version, said.get("CurrentBuildNumber"))))
            words = (said.get("ProductName"), said.get("DisplayVersion") or said.get("CSDVersion"))
            name = " ".join(filter(None, words))
            found |= {"name": name} if name else {}
            found |= {"version": version} if version else {}
        hostname = self.hostname or self.windows.get("ComputerName")
        return found | ({"hostname": hostname} if hostname else {})


def _assignments(text: str) -> list[tuple[str, str]]:
    """The variables of a file like os-release."""
    found = []
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name.isidentifier():
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
            found.append((name, value))
    return found
