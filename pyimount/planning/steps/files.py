"""Steps that make folders, and show bytes as files in them."""

from pyimount.planning.steps.base import Names, Place, Step

MOUNTPOINTS = "mnt"
"""The folder of a session in which its mount points are."""


class MakeDirectory(Step, kw_only=True):
    """Make a folder for its owner alone: ``path``, absolute or within ``inside``; undone when it is empty."""

    verb = "make"
    undo = ("rmdir",)
    yields = "path"
    inside: Place | None = None
    path: str

    def argv(self, names: Names) -> tuple[str, ...]:
        """``mkdir``."""
        return ("mkdir", "--mode=0700", "--parents", self._whole(names))

    def _whole(self, names: Names) -> str:
        return self.path if self.inside is None else f"{names(self.inside)}/{self.path}"


class ExposeRaw(Step, kw_only=True):
    """Show layers as raw files, through our own server: ``files`` pairs each layer's id with a name.

    ``cache``: a folder for what is written, which never reaches the image; None: read-only.
    """

    verb = "expose"
    undo = ("umount",)
    yields = "path"
    at: Place
    files: tuple[tuple[int, str], ...]
    cache: str | None = None

    def argv(self, names: Names) -> tuple[str, ...]:
        """Our own server."""
        written = () if self.cache is None else ("--cache", self.cache)
        return (
            "python3", "-m", "pyimount.fuse", f"--mark={names.mark(self.id)}", *written, names(self.at),
            *(f"{layer}={name}" for layer, name in self.files),
        )  # fmt: skip


class RunImageMounter(Step, kw_only=True):
    """Show the disk in a container as a file with another program: ewfmount, xmount, affuse …, as asked.

    ``arguments``: its command line after its name, ``{at}`` for the folder and ``{image}`` for the images.
    """

    verb = "expose"
    undo = ("umount",)
    yields = "path"
    tool: str
    images: tuple[Place, ...]
    at: Place
    arguments: tuple[str, ...]

    def argv(self, names: Names) -> tuple[str, ...]:
        """The program's."""
        made: list[str] = [self.tool]
        for argument in self.arguments:
            if argument == "{image}":
                made.extend(map(names, self.images))
            else:
                made.append(argument.replace("{at}", names(self.at)))
        return tuple(made)


class ExposeUnlocked(Step, kw_only=True):
    """Show what a BitLocker volume holds as a file, with bdemount or dislocker, as asked for.

    ``key``, ``uuid``: as OpenEncrypted has them. The key comes through standard input or a descriptor.
    """

    verb = "open"
    undo = ("umount",)
    yields = "path"
    tool: str
    device: Place
    at: Place
    key: str
    uuid: str | None = None

    def argv(self, names: Names) -> tuple[str, ...]:
        """The program's, without what tells it where the key comes from."""
        return self.argv_with(names, ())

    def argv_with(self, names: Names, key: tuple[str, ...]) -> tuple[str, ...]:
        """The program's, with ``key`` among its arguments: those that tell where the key is, not the key."""
        if self.tool == "bdemount":
            return (self.tool, *key, names(self.device), names(self.at))
        return (self.tool, "-V", names(self.device), "-r", *key, "--", "-o", "ro", names(self.at))


class ExposeShadows(Step, kw_only=True):
    """Show the shadow copies of an NTFS volume as files with vshadowmount."""

    verb = "expose"
    undo = ("umount",)
    yields = "path"
    device: Place
    at: Place

    def argv(self, names: Names) -> tuple[str, ...]:
        """``vshadowmount``."""
        return ("vshadowmount", names(self.device), names(self.at))
