"""What the commands on files share: their options, the scan, paths, and how names and problems are shown."""

import argparse
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyimount
from pyimount import cli
from pyimount.cli import options as shared
from pyimount.files.paths import BadPath, parse, with_streams
from pyimount.files.records import Kind
from pyimount.files.system import CannotRead, Damaged
from pyimount.inside.images import Level, NoImage
from pyimount.inside.tree import Files, NoTree, Place
from pyimount.keys import Keyring
from pyimount.layers import Scan, VolumeLayer
from pyimount.problems import NOT_DONE, Code, Problem
from pyimount.sources.errors import OpenError, SourceError
from pyimount.wording import printable

if TYPE_CHECKING:
    from pyimount.files.records import Stat

PATHS = """paths:
  /etc/hostname         in the tree as it was: the root volume, with the others at their places
  2:/etc/hostname       in volume 2; a volume is named by its index, UUID or label
  2:/a.txt:zone         a stream of the file (an exact name wins; --stream zone)
  2:/a.vmdk::1:/etc     within an image or archive that is a file, to any depth
"""

WITHIN = "::"
"""What leads from a file into the image that it is."""

FAILURES = (OSError, KeyError, CannotRead, NoTree, NoImage, SourceError, BadPath)
"""What a path may end with."""


def add_image(parser: argparse.ArgumentParser) -> None:
    """Add the image and what belongs to it."""
    parser.add_argument(
        "image",
        type=shared.image_or_url,
        metavar="IMAGE",
        help="a disk image, one of its segments, their folder, or a URL",
    )
    parser.add_argument(
        "--with", dest="others", action="append", default=[], type=shared.image_or_url, metavar="FILE",
        help="another image of the same set: a disk of an array, say",
    )  # fmt: skip


def add_rest(parser: argparse.ArgumentParser) -> None:
    """Add what detect has as well: keys, what the user knows better, limits."""
    shared.add_keys(parser)
    shared.add_told(parser)


@contextmanager
def opened(options: argparse.Namespace) -> Iterator[Level]:
    """The files in the images. Raises Stopped, after a message, where they cannot be looked at."""
    try:
        keyring = shared.keyring(options) or Keyring()
        told = shared.told(options)
        scan = pyimount.detect([options.image, *options.others], keys=keyring, **told)
    except (ValueError, OpenError) as error:
        cli.complain(printable(str(error)))
        raise Stopped(cli.EXIT_USAGE) from error
    shared.log_scan(options, scan)
    if shared.misplaced(options, scan):
        raise Stopped(cli.EXIT_USAGE)
    if shared.tell_unread(scan.disks):
        raise Stopped(1)
    with Level(scan, keyring, told["budget"]) as files:
        yield files


class Stopped(Exception):  # noqa: N818
    """A command cannot go on, and has said why; ``status``: what it ends with."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Asked:
    """A command at work on paths: what fails is said, each problem once, and counted for the exit status."""

    def __init__(self, files: Level) -> None:
        self.files = files
        self.failed = False
        self._said: set[str] = set()

    def place(self, text: str, *, follow: bool, stream: str | None = None) -> tuple[Place, str | None] | None:
        """What is at a path as a user gives it, and the stream that is meant; None, after a message."""
        try:
            return found_at(self.files, text, follow=follow, stream=stream)
        except FAILURES as error:
            self.complain(text, error)
            return None

    def complain(self, path: str, error: BaseException) -> None:
        """Say what is wrong with a path."""
        self.failed = True
        self._say(f"{printable(path)}: {printable(reason(error))}")

    def problems_of(self, place: Place) -> None:
        """Say what is wrong with an entry, or with the rest of a folder."""
        for problem in place.entry.problems:
            self.failed = True
            self._say(f"{printable(place.whole)}: {printable(problem.message)}")

    def tell(self, problems: "list[tuple[Place, Problem]]", told: int) -> int:
        """Say the problems of a walk that were not yet said; returns how many were by now."""
        for place, problem in problems[told:]:
            self.failed = True
            self._say(f"{printable(place.whole)}: {printable(problem.message)}")
        return len(problems)

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            cli.complain(line)

    def ended(self) -> int:
        """Say what is wrong with whole volumes; the exit status."""
        for layer, problem in self.files.scan.all_problems():
            # What was not looked into for no fault of the image's may be why nothing was found there.
            if problem.code in NOT_DONE or problem.code is Code.READ_ERROR:
                self.failed |= problem.code in NOT_DONE
                where = f"volume {layer.index}: " if isinstance(layer, VolumeLayer) else ""
                self._say(printable(f"{where}{problem.message}"))
        for level in self.files.levels():
            if level.address:
                # What an image within lacks nobody has told yet, as detect does of the outermost.
                problems = list(level.scan.problems)
                for disk in level.scan.disks:
                    problems += disk.problems
                for problem in problems:
                    self._say(f"{printable(level.address)}: {printable(problem.message)}")
            for said in level.changed():
                self.failed = True
                self._say(printable(said))
            for volume, problem in level.problems():
                # What another library has read instead is no failure.
                self._say(f"{printable(level.prefix)}volume {volume.index}: {printable(problem.message)}")
        return int(self.failed)


def found_at(files: Level, text: str, *, follow: bool, stream: str | None = None) -> tuple[Place, str | None]:
    """What is at a path as a user gives it, and which of its streams is meant; raises FAILURES.

    The whole as one path comes first, then each ``::`` as the way into an image, then ``:`` before a stream.
    """
    wrong: Exception | None = None
    try:
        return _plain(files, text, follow=follow), stream
    except (FileNotFoundError, NotADirectoryError, BadPath) as error:
        wrong = error
    image = _image_in(files, text)
    if image is not None:
        level, rest = image
        if not rest:
            raise BadPath("this is an image; what is meant in it? 'pyimount ls' lists its volumes")
        return found_at(level, rest, follow=follow, stream=stream)
    if stream is None and not isinstance(wrong, BadPath):
        for reading in with_streams(parse(text, lambda name: is_volume(files.scan, name))):
            try:
                return files.get(reading.volume, reading.path, follow=follow), reading.stream
            except (FileNotFoundError, NotADirectoryError):
                continue
    raise wrong


def image_at(files: Level, text: str) -> Level:
    """The image that is addressed: ``2:/a.vmdk::``, ``2:/a.vmdk::1:/b.vmdk::``; raises FAILURES."""
    while text:
        image = _image_in(files, text)
        if image is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
        files, text = image
    return files


def _plain(files: Files, text: str, *, follow: bool) -> Place:
    path = parse(text, lambda name: is_volume(files.scan, name))
    return files.get(path.volume, path.path, follow=follow)


def _image_in(files: Level, text: str) -> tuple[Level, str] | None:
    """The image that a path leads into, and the rest of the path in it; None: it leads into none."""
    at = text.find(WITHIN)
    while at >= 0:
        try:
            place = _plain(files, text[:at], follow=True)
        except (FileNotFoundError, NotADirectoryError, BadPath):
            place = None
        if place is not None and place.entry.kind is Kind.FILE:
            level = files.into(place)
            for disk in level.scan.disks:
                if disk.size is None:
                    why = "; ".join(problem.message for problem in disk.problems)
                    raise NoImage(Problem(Code.UNREADABLE, why))
            return level, text[at + len(WITHIN) :]
        at = text.find(WITHIN, at + 1)
    return None


def is_volume(scan: Scan, name: str) -> bool:
    """Whether a volume is called so."""
    return any(isinstance(layer, VolumeLayer) for layer in scan.named(name))


def reason(error: BaseException) -> str:
    """A sentence for what a path ended with."""
    if isinstance(error, Damaged):
        return error.problem.message
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    if isinstance(error, KeyError):
        return f"there is no volume {error.args[0]}, or more than one"
    return str(error)


def time_text(nanoseconds: int | None, *, local: bool, exact: bool = True) -> str | None:
    """ISO 8601: in UTC, or without zone where the format keeps local time; None for none."""
    if nanoseconds is None:
        return None
    from datetime import datetime, timedelta

    seconds, rest = divmod(nanoseconds, 10**9)
    try:
        # fromtimestamp would ask the C library, which has its own ideas of early years.
        at = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    except OverflowError:
        return f"{seconds}.{rest:09} s since 1970"
    if not exact:
        return f"{at:%Y-%m-%d %H:%M}"
    return f"{at:%Y-%m-%dT%H:%M:%S}.{rest:09}{'' if local else 'Z'}"


def line_of(place: Place, *, stat: "Stat | None", target: str | None = None) -> dict[str, Any]:
    """The facts of an entry as JSON values: the keys of a line of ``--json``."""
    entry = place.entry
    said: dict[str, Any] = {
        "volume": entry.files.volume.index, "path": entry.path, "kind": str(entry.kind),
    }  # fmt: skip
    if place.owner.address:
        said["image"] = place.owner.address
    if place.within is None:
        said["place"] = place.path
    if stat is not None:
        local = stat.local
        said |= {
            name: getattr(stat, name)
            for name in ("size", "allocated", "mode", "uid", "gid", "inode", "links")
        }
        said |= {
            name: time_text(getattr(stat, name), local=local)
            for name in ("modified", "accessed", "changed", "born")
        }
        if stat.device is not None:
            said["device"] = list(stat.device)
        said["attributes"] = list(stat.attributes)
    said["target"] = target
    said["problems"] = [{"code": problem.code, "message": problem.message} for problem in entry.problems]
    return said


def print_json(said: dict[str, Any]) -> None:
    """A line of JSON."""
    import json

    sys.stdout.write(json.dumps(said) + "\n")


def mode_text(stat: "Stat | None", kind: str) -> str:
    """Kind and permissions as ls shows them."""
    letter = {"file": "-", "folder": "d", "link": "l", "device": "b", "pipe": "p", "socket": "s"}.get(
        kind, "?"
    )
    if stat is None or stat.mode is None:
        return letter + "?????????"
    bits = "".join(
        char if stat.mode >> shift & 1 else "-"
        for shift, char in zip(range(8, -1, -1), "rwx" * 3, strict=True)
    )
    chars = list(bits)
    for flag, at, char in ((0o4000, 2, "s"), (0o2000, 5, "s"), (0o1000, 8, "t")):
        if stat.mode & flag:
            chars[at] = char if chars[at] == "x" else char.upper()
    return letter + "".join(chars)
