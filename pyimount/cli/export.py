"""Write the bytes of a disk or of any volume in it to a file, or to standard output.

INDEX is a volume's index or UUID, as 'pyimount detect' shows it; 'disk' is the whole disk inside the
image; 2:/vms/a.vmdk::1 and ::disk are those of an image that is a file of volume 2. What is encrypted is
written decrypted, what is assembled or mapped as one volume.
Zeros become holes in the file. Without -o the bytes go to standard output.

Exit status: 0 all bytes were written; 1 they were not; 2 the arguments are wrong.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import pyimount
from pyimount import cli
from pyimount.cli import options as shared
from pyimount.layers import Layer, Scan
from pyimount.mapping import open_layer
from pyimount.sources.errors import OpenError, ReadError, SourceError
from pyimount.sources.source import Source
from pyimount.wording import printable

if TYPE_CHECKING:
    from pyimount.keys import Keyring

EXAMPLES = """examples:
  pyimount export disk.E01 disk -o disk.raw          the disk in a container
  pyimount export disk.E01 2 -o root.img             one partition
  pyimount export disk.E01 2.0 --ask -o plain.img    what a key opens
  pyimount export disk.E01 2:/a.vmdk::1 -o x.img     of a disk image within
  pyimount export sda.img sdb.img 1.1.0 | sha256sum  an array's volume
"""

_PIECE = 1 << 20
_UNIT = 4096
"""So many bytes around an unreadable one are given up."""

_WHOLE_DISK = "disk"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("images", nargs="+", type=shared.image_or_url, metavar="IMAGE", help="as for detect")
    parser.add_argument(
        "index",
        metavar="INDEX",
        help="index or UUID of the volume, or 'disk'; of several disks, a disk's index",
    )
    shared.add_output(parser)
    parser.add_argument("--resume", action="store_true", help="go on with a FILE that was not finished")
    shared.add_keys(parser)
    shared.add_told(parser)
    shared.add_log(parser)


def run(options: argparse.Namespace) -> int:
    """Write the bytes; returns the exit status."""
    if options.output == "-":
        options.output = None
    if options.resume and options.output is None:
        cli.complain("--resume goes with -o FILE")
        return cli.EXIT_USAGE
    if options.output is None and sys.stdout.isatty():
        cli.complain("these bytes are not for a terminal: name a file with -o, or pipe them on")
        return cli.EXIT_USAGE
    try:
        keyring = shared.keyring(options)
        scan = pyimount.detect(options.images, keys=keyring, **shared.told(options))
    except (ValueError, OpenError) as error:
        cli.complain(str(error))
        return cli.EXIT_USAGE
    shared.log_scan(options, scan)
    if shared.misplaced(options, scan):
        return cli.EXIT_USAGE
    shared.tell_unread(scan.disks)
    for problem in scan.problems:
        cli.complain(problem.message)
    try:
        layer = _layer(scan, options.index)
    except KeyError as error:
        if "::" in options.index:
            return _write_within(scan, keyring, options)
        cli.complain(f"{error.args[0]}; 'pyimount detect' lists what there is")
        return 1
    try:
        with open_layer(scan, layer, keys=keyring) as source:
            return _write(source, options)
    except SourceError as error:
        cli.complain(str(error))
        return 1


def _write_within(scan: Scan, keyring: "Keyring | None", options: argparse.Namespace) -> int:
    """Write a layer of an image that is a file within: ``2:/a.vmdk::1``, ``2:/a.vmdk::disk``."""
    from pyimount.cli import paths
    from pyimount.inside.images import Level
    from pyimount.keys import Keyring

    address, _, index = options.index.rpartition("::")
    with Level(scan, keyring or Keyring(), shared.told(options)["budget"]) as files:
        try:
            image = paths.image_at(files, f"{address}::")
            layer = _layer(image.scan, index or _WHOLE_DISK)
            with open_layer(image.scan, layer, keys=image.keys, shelf=image.shelf) as source:
                return _write(source, options)
        except KeyError as error:
            cli.complain(
                printable(f"{address}: {error.args[0]}; 'pyimount detect --within' lists what there is")
            )
        except paths.FAILURES as error:
            cli.complain(printable(f"{address}: {paths.reason(error)}"))
    return 1


def _layer(scan: Scan, index: str) -> Layer:
    if index != _WHOLE_DISK:
        # One of several disks is called by its number, and no volume is then.
        return next((disk for disk in scan.disks if disk.index == index), None) or scan[index]
    if len(scan.disks) != 1:
        raise KeyError(f"{len(scan.disks)} disks: which one is meant?")
    return scan.disks[0]


def _write(source: Source, options: argparse.Namespace) -> int:
    try:
        if options.output is None:
            unread = _copy(source, sys.stdout.buffer, 0)
        else:
            # O_EXCL: nothing that is there is written over, also through a link.
            flags = os.O_WRONLY if options.resume else os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with open(os.open(options.output, flags | getattr(os, "O_BINARY", 0), 0o666), "wb") as target:
                at = os.fstat(target.fileno()).st_size if options.resume else 0
                if at > source.size:
                    cli.complain(
                        f"{options.output}: is longer than what is to be written; not the same volume?"
                    )
                    return 1
                at = at // _PIECE * _PIECE
                target.seek(at)
                unread = _copy(source, target, at, holes=True)
                target.truncate(source.size)
    except BrokenPipeError:
        raise
    except FileExistsError:
        cli.complain(f"{options.output}: is there already; --resume goes on with it, or name another")
        return 1
    except OSError as error:
        again = (
            "; --resume goes on where it ended" if options.output and os.path.exists(options.output) else ""
        )
        cli.complain(f"{options.output or 'standard output'}: {error.strerror}{again}")
        return 1
    if unread:
        cli.complain(f"{unread} bytes could not be read; in their place stand zeros")
        return 1
    return 0


def _copy(source: Source, target: BinaryIO, at: int, *, holes: bool = False) -> int:
    """Copy from ``at`` on; returns how many bytes could not be read."""
    unread = 0
    with _progress(source.size, at) as advance:
        while at < source.size:
            length = min(_PIECE, source.size - at)
            data, lost = _read(source, at, length)
            unread += lost
            if holes and data.count(0) == len(data):
                target.seek(len(data), os.SEEK_CUR)
            else:
                target.write(data)
            at += length
            advance(length)
    return unread


def _read(source: Source, at: int, length: int) -> tuple[bytes, int]:
    """Bytes, with zeros in place of those that cannot be read, and how many these are."""
    try:
        return source.read_at(at, length), 0
    except ReadError:
        if length <= _UNIT:
            return bytes(length), length
    pieces = [_read(source, each, min(_UNIT, at + length - each)) for each in range(at, at + length, _UNIT)]
    return b"".join(data for data, _ in pieces), sum(lost for _, lost in pieces)


@contextmanager
def _progress(size: int, done: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's standard error, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=size, completed=done)
        yield lambda length: bar.advance(task, length)
