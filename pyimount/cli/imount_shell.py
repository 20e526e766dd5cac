"""The shell of ``imount --interactive``: disks and volumes, mounted and unmounted one by one."""

import argparse
import cmd
import os
import shlex
from collections.abc import Sequence

from pyimount.cli import signals
from pyimount.exceptions import ImageMounterError
from pyimount.imagemounter.disk import Disk
from pyimount.imagemounter.image_parser import ImageParser
from pyimount.imagemounter.volume import Volume
from pyimount.imagemounter.words import DISK_MOUNTERS, FILE_SYSTEM_TYPES
from pyimount.version import __version__
from pyimount.wording import printable

_NUMBERS = ("size", "offset", "block_size")
_WORDS = ("slot", "flag", "fstype", "key", "disk_mounter")


class _Line(argparse.ArgumentParser):
    """Reads the words of one command; what is wrong with them is said, and ends nothing."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise argparse.ArgumentError(None, message)

    def exit(self, status: int = 0, message: str | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        raise argparse.ArgumentError(None, message or "")


class Shell(cmd.Cmd):
    """Commands on one ``ImageParser``."""

    prompt = "(imount) "
    intro = f"pyimount {__version__}: help lists the commands"

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__()
        self.parser = ImageParser()
        self._paths = list(paths)
        self._keeps = False

    def preloop(self) -> None:
        """Add the images of the command line."""
        for path in self._paths:
            self.onecmd(f"disk {shlex.quote(path)}")

    def onecmd(self, line: str) -> bool:
        """Run one command; what goes wrong is said in a line."""
        try:
            return bool(super().onecmd(line))
        except (argparse.ArgumentError, ValueError, OSError) as error:
            self._say(f"*** {error}")
        except ImageMounterError as error:
            self._failed("this", error)
        except KeyError as error:
            self._say(f"*** there is no disk or volume {error.args[0]}")
        return False

    def emptyline(self) -> bool:
        """Do nothing."""
        return False

    def _say(self, text: str) -> None:
        print(printable(text), file=self.stdout)

    def _failed(self, what: str, error: ImageMounterError) -> None:
        self._say(f"An error occurred with {what}: {type(error).__name__}: {error}")
        if error.remedy:
            self._say(f"  {error.remedy}")

    def do_disk(self, line: str) -> None:
        """Add an image, and find what is in it: disk PATH [--mounter NAME]."""
        words = _Line(prog="disk", add_help=False)
        words.add_argument("path")
        words.add_argument("--mounter", choices=DISK_MOUNTERS, default="auto")
        told = words.parse_args(shlex.split(line))
        path = os.path.expanduser(told.path)
        if not os.path.exists(path):
            self._say(f"*** The path {path} does not exist")
            return
        disk = self.parser.add_disk(path, disk_mounter=told.mounter)
        if not disk.mount() and disk.exception is not None:
            self._failed(f"disk {disk.index}", disk.exception)
        found = len(list(disk.detect_volumes()))
        self._say(f"Added {path} as disk {disk.index}, with {found} volumes")

    def do_mount(self, line: str) -> None:
        """Mount a disk or a volume (-r: with all that is in it): mount INDEX [-r] [-f FSTYPE] [-k KEY]."""
        words = _Line(prog="mount", add_help=False)
        words.add_argument("index")
        words.add_argument("-r", "--recursive", action="store_true")
        words.add_argument("-f", "--fstype", choices=FILE_SYSTEM_TYPES)
        words.add_argument("-k", "--key")
        told = words.parse_args(shlex.split(line))
        found = self.parser.get_by_index(told.index)
        if isinstance(found, Disk):
            if not found.mount() and found.exception is not None:
                self._failed(f"disk {found.index}", found.exception)
            elif not told.recursive:
                self._say(f"Disk {found.index} is mounted")
        elif told.key is not None:
            found.key = told.key
        if told.recursive:
            for volume in found.init_volumes() if isinstance(found, Disk) else found.init():
                self._tell_mounted(volume)
        elif isinstance(found, Volume):
            if found.is_mounted:
                self._say(f"Volume {found.index} is already mounted at {found.mountpoint or '-'}")
            else:
                found.init_volume(fstype=told.fstype)
                self._tell_mounted(found)

    def _tell_mounted(self, volume: Volume) -> None:
        if volume.mountpoint:
            self._say(f"Mounted volume {volume.index} at {volume.mountpoint}")
        elif volume.exception is not None:
            self._failed(f"volume {volume.index}", volume.exception)
        elif volume.is_mounted:
            self._say(f"Opened volume {volume.index}: {', '.join(each.index for each in volume.volumes)}")

    def do_unmount(self, line: str) -> None:
        """Unmount a disk or a volume with all that is in it, or everything: unmount [INDEX]."""
        if line.strip():
            self.parser.get_by_index(line.strip()).unmount()
            self._say(f"Unmounted {line.strip()}")
        else:
            self.parser.clean()
            self._say("Unmounted everything")

    def do_show(self, line: str) -> None:
        """Show the tree of all disks and volumes, or what is known of one: show [INDEX]."""
        if not line.strip():
            for disk in self.parser.disks:
                self._say(f"- {disk.index}  {disk.get_disk_type()}  {disk.paths[0]}")
                self._show_volumes(list(disk.volumes), 1)
            return
        found = self.parser.get_by_index(line.strip())
        names: tuple[str, ...] = (
            "offset", "block_size", "read_write", "disk_mounter", "mountpoint", "rwpath",
        )  # fmt: skip
        if isinstance(found, Volume):
            names = ("size", "offset", "slot", "flag", "block_size", "fstype", "mountpoint", "loopback")
            self._say(found.get_description())
        for name in names:
            self._say(f" - {name:<15} {getattr(found, name)}")
        for name, value in found.info.items() if isinstance(found, Volume) else ():
            self._say(f" - {name:<15} {value}")

    def _show_volumes(self, volumes: list[Volume], level: int) -> None:
        for volume in volumes:
            at = f"  {volume.mountpoint}" if volume.mountpoint else ""
            self._say(f"{'  ' * level}- {volume.get_description()}{at}")
            self._show_volumes(list(volume.volumes), level + 1)

    def do_set(self, line: str) -> None:
        """Say what you know better of a disk or volume, a size, a type, a key: set INDEX NAME VALUE."""
        words = _Line(prog="set", add_help=False)
        words.add_argument("index")
        words.add_argument("name", choices=(*_NUMBERS, *_WORDS))
        words.add_argument("value")
        told = words.parse_args(shlex.split(line))
        found = self.parser.get_by_index(told.index)
        if not hasattr(found, told.name):
            self._say(f"*** {told.index} has no {told.name}")
            return
        setattr(found, told.name, int(told.value, 0) if told.name in _NUMBERS else told.value)
        self._say(f"{told.name} of {told.index} is {getattr(found, told.name)}")

    def do_save(self, line: str) -> None:  # noqa: ARG002
        """Leave everything mounted at the end; 'pyimount unmount' takes it down."""
        self._keeps = True
        self._say("Mounts stay when this ends: 'pyimount list' has them, 'pyimount unmount' takes them down")

    def do_quit(self, line: str) -> bool:  # noqa: ARG002
        """Unmount everything, unless 'save' was said, and end."""
        if not self._keeps:
            self.parser.clean()
        return True

    def do_EOF(self, line: str) -> bool:  # noqa: N802
        """End, as quit does."""
        self._say("")
        return self.do_quit(line)


def run(paths: Sequence[str]) -> int:
    """Run the shell until it is ended; returns the exit status."""
    shell = Shell(paths)
    try:
        with signals.raising():
            while True:
                try:
                    shell.cmdloop()
                except KeyboardInterrupt:
                    print("\n'quit' ends this, and unmounts everything")
                    shell.intro = ""
                    continue
                return 0
    except signals.Ended as end:
        shell.do_quit("")
        return signals.EXIT_SIGNAL + end.number
