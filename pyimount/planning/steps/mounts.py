"""Steps that make files readable: mounts of file systems, folders, binds; and carving."""

from pyimount.planning.steps.base import Names, Place, Step

ALWAYS = ("nosuid", "nodev", "noexec")
"""Options that every mount gets."""


class Mount(Step, kw_only=True):
    """Mount a file system at a folder, by a driver of the kernel.

    ``type``: for ``-t``; None only for what is not recognised and was asked for by name.
    ``options``: besides ``ro`` and ALWAYS. ``members``: further devices of the same file system;
    ``named_by``: the options by which the driver is told of each, none: ``device``.
    """

    verb = "mount"
    undo = ("umount",)
    yields = "path"
    device: Place
    at: Place
    type: str | None
    options: tuple[str, ...] = ()
    members: tuple[Place, ...] = ()
    named_by: tuple[str, ...] = ()
    read_only: bool = True

    def argv(self, names: Names) -> tuple[str, ...]:
        """``mount``, without its own helper programs."""
        options = (
            "ro" if self.read_only else "rw", *ALWAYS, *self.options,
            *self.member_options(names),
        )  # fmt: skip
        named = () if self.type is None else ("-t", self.type)
        return ("mount", "-i", "-n", *named, "-o", ",".join(options), names(self.device), names(self.at))

    def member_options(self, names: Names) -> tuple[str, ...]:
        """What tells the driver of the other devices."""
        named = zip(self.named_by or ("device",) * len(self.members), self.members, strict=True)
        return tuple(f"{option}={names(member)}" for option, member in named)


class MountWithTool(Step, kw_only=True):
    """Mount a file system at a folder by a program of its own, through FUSE.

    ``arguments``: as ToolMount has them.
    """

    verb = "mount"
    undo = ("umount",)
    yields = "path"
    tool: str
    source: Place
    at: Place
    arguments: tuple[str, ...]

    def argv(self, names: Names) -> tuple[str, ...]:
        """The program's, with ALWAYS where it takes options: all of them are set anew once it has mounted."""
        places = {"{source}": names(self.source), "{at}": names(self.at)}
        said = [places.get(argument, argument) for argument in self.arguments]
        for number, before in enumerate(self.arguments[:-1], 1):
            if before == "-o":
                said[number] = ",".join((said[number], *ALWAYS))
        return (self.tool, *said)


READABLE = "bindfs"
"""The program that shows what is mounted as one user's, who may read all of it."""


def readable_arguments(uid: int, gid: int) -> tuple[str, ...]:
    """What READABLE is told: everything is this user's, and readable for nobody else."""
    return ("-o", f"ro,perms=u=rX:go=,force-user={uid},force-group={gid}", "{source}", "{at}")


class ShowDirectory(Step, kw_only=True):
    """Show a folder of this machine, which stands for a disk, at another, read-only."""

    verb = "show"
    undo = ("umount",)
    yields = "path"
    path: str
    at: Place

    def argv(self, names: Names) -> tuple[str, ...]:
        """``mount``, which makes two system calls of it; the step itself lets nobody write in between."""
        return ("mount", "-i", "-n", "-o", ",".join(("bind", "ro", *ALWAYS)), self.path, names(self.at))


class BindMount(Step, kw_only=True):
    """Show what is mounted at ``source`` at ``target`` within what is mounted at ``root``; never outside."""

    verb = "bind"
    undo = ("umount",)
    yields = "path"
    source: Place
    root: Place
    target: str

    def argv(self, names: Names) -> tuple[str, ...]:
        """``mount --bind``; the step itself resolves the target within the root, following no link out."""
        within = f"{names(self.root)}/{self.target.strip('/')}"
        return ("mount", "-i", "-n", "--bind", names(self.source), within)


class Carve(Step, kw_only=True):
    """Recover files from a volume's bytes with photorec, into a folder that stays."""

    verb = "carve"
    source: Place
    at: str
    free_only: bool = False

    def argv(self, names: Names) -> tuple[str, ...]:
        """``photorec``."""
        what = "freespace" if self.free_only else "wholespace"
        return (
            "photorec", "/d", f"{self.at}/recup_dir", "/cmd", names(self.source),
            # Else it takes what looks like a first partition, and no more.
            f"partition_none,options,paranoid,{what},search",
        )  # fmt: skip
