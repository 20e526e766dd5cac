"""Copy files and folders out of a volume into a folder: without root, without mounting.

Links are copied as links; devices, pipes and sockets are not made. Files get their times, and their modes as
far as the umask lets them, never set-uid. Names that a file here cannot have are escaped, and that is said.
What is there already is not written over. Interrupted, the same command with --resume goes on.

Exit status: 0 everything was copied; 1 something was not, and the message says why; 2 the arguments are
wrong.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyimount import cli
from pyimount.cli import options as shared
from pyimount.cli import paths
from pyimount.files.records import Kind
from pyimount.inside.copying import Copied, Copier, Copying, safe_name
from pyimount.inside.tree import Place
from pyimount.wording import printable

EXAMPLES = f"""{paths.PATHS}
examples:
  pyimount cp disk.E01 /etc/passwd .                       one file
  pyimount cp -r disk.E01 2:/Users out/                    a folder and all that is in it
  pyimount cp -r --hash sha256 disk.E01 2:/Users out/      and out/pyimount.sha256, for 'sha256sum -c'
  pyimount cp -r --resume disk.E01 2:/Users out/           go on where it was interrupted
"""

MANIFEST = "pyimount"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    paths.add_image(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="what to copy")
    parser.add_argument("target", metavar="TARGET", help="an existing folder, or one to be made")
    parser.add_argument("-r", "--recursive", action="store_true", help="folders, with all that is in them")
    parser.add_argument("--resume", action="store_true", help="go on with an earlier copy")
    parser.add_argument("--preserve", action="store_true", help="modes as they are, and owners as root")
    parser.add_argument(
        "--links", choices=("keep", "text", "skip"), default="keep",
        help="copy links as they are, as text files with their target, or not at all",
    )  # fmt: skip
    parser.add_argument(
        "--hash", choices=("sha256", "sha1", "md5"),
        help="compare what was written with what was read, and write a manifest into TARGET",
    )  # fmt: skip
    paths.add_rest(parser)
    shared.add_log(parser)


def run(options: argparse.Namespace) -> int:
    """Copy; returns the exit status."""
    try:
        os.makedirs(options.target, exist_ok=True)
        with paths.opened(options) as files:
            asked = paths.Asked(files)
            places = [found[0] for text in options.paths if (found := asked.place(text, follow=True))]
            if not options.recursive and any(place.entry.kind is Kind.FOLDER for place in places):
                cli.complain("folders are copied with -r")
                return cli.EXIT_USAGE
            _copy(asked, places, options)
            return asked.ended()
    except paths.Stopped as stopped:
        return stopped.status
    except OSError as error:
        cli.complain(f"{printable(str(error.filename or options.target))}: {(error.strerror or '').lower()}")
        return 1


def _copy(asked: paths.Asked, places: list[Place], options: argparse.Namespace) -> None:
    umask = os.umask(0)
    os.umask(umask)
    how = Copying(
        preserve=options.preserve, resume=options.resume, hash=options.hash, links=options.links, umask=umask
    )
    copied: list[Copied] = []
    with _progress() as progress:
        copier = Copier(asked.files, options.target, how, progress)
        try:
            for place in places:
                name = place.name or safe_name(place.entry.files.volume.index)
                copied += (each for each in copier.copy(place, name) if each.hash is not None)
        finally:
            for told in dict.fromkeys(copier.told):
                cli.complain(printable(told))
            asked.tell(copier.problems, 0)
            if options.hash and copied:
                _manifest(copied, options)


def _manifest(copied: list[Copied], options: argparse.Namespace) -> None:
    """Write what sha256sum -c and its kin read."""
    path = os.path.join(options.target, f"{MANIFEST}.{options.hash}")
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    flags |= os.O_TRUNC if options.resume else os.O_EXCL
    with open(os.open(path, flags, 0o666), "wb") as file:
        for each in copied:
            name = os.fsencode(each.name)
            plain = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
            mark = b"\\" if plain != name else b""
            file.write(mark + (each.hash or "").encode() + b"  " + plain + b"\n")


@contextmanager
def _progress() -> "Iterator[Callable[[int], None] | None]":
    """What shows on a terminal how much was copied; None where there is none to show it on."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = TextColumn("copying"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("copying", total=None)
        yield lambda size: bar.advance(task, size)
