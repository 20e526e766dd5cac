"""Write the bytes of a disk or of any volume in it to a file, or to standard output.

INDEX is a volume's index or UUID, as 'pyimount detect' shows it; 'disk' is the whole disk inside the
image; 2:/vms/a.vmdk::1 and ::disk are those of an image that is a file of volume 2. What is encrypted is
written decrypted, what is assembled or mapped as one volume.
Zeros become holes in the file. Without -o the bytes go to standard output.

With --verify the images that the bytes come from are held against what they keep of themselves, as by
'pyimount verify': a disk, and what is one run of it, while it is written. The findings go to standard output,
or to standard error where that takes the bytes.

Exit status: 0 all bytes were written; 1 they were not; 2 the arguments are wrong; with --verify, 6 an image
does not match what it keeps, or 7 it keeps nothing of its bytes.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import pyimount
from pyimount import cli
from pyimount.cli import options as shared
from pyimount.cli.progress import shown
from pyimount.cli.writing import Different, Writing
from pyimount.layers import DiskLayer, Layer, Scan
from pyimount.mapping import open_layer
from pyimount.sources.errors import OpenError, SourceError
from pyimount.sources.source import Source
from pyimount.verifying.sums import ALGORITHMS
from pyimount.wording import printable

if TYPE_CHECKING:
    from pyimount.keys import Keyring
    from pyimount.verifying.passes import Sink
    from pyimount.verifying.records import Verified

EXAMPLES = """examples:
  pyimount export disk.E01 disk -o disk.raw          the disk in a container
  pyimount export disk.E01 2 -o root.img             one partition
  pyimount export disk.E01 2.0 --ask -o plain.img    what a key opens
  pyimount export disk.E01 2:/a.vmdk::1 -o x.img     of a disk image within
  pyimount export sda.img sdb.img 1.1.0 | sha256sum  an array's volume
  pyimount export --verify --hash sha256 disk.E01 disk -o disk.raw
      and what the image keeps compared, in the same pass
"""

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
    parser.add_argument(
        "--verify", action="store_true", help="hold the images against what they keep of themselves as well"
    )
    parser.add_argument(
        "--hash",
        action="append",
        choices=ALGORITHMS,
        default=[],
        help="compute this hash of what is written; may be given several times",
    )
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
            return _write(source, options, scan, layer)
    except SourceError as error:
        cli.complain(str(error))
        return 1


def _write_within(scan: Scan, keyring: "Keyring | None", options: argparse.Namespace) -> int:
    """Write a layer of an image that is a file within: ``2:/a.vmdk::1``, ``2:/a.vmdk::disk``."""
    from pyimount.cli import paths
    from pyimount.inside.images import Level
    from pyimount.keys import Keyring

    address, _, index = options.index.rpartition("::")
    if options.verify:
        cli.complain(
            "--verify is for images that are files of this machine: export the one within, and verify it"
        )
        return cli.EXIT_USAGE
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


def _write(
    source: Source, options: argparse.Namespace, scan: Scan | None = None, layer: Layer | None = None
) -> int:
    """Write the bytes and say what came of it; ``scan``, ``layer``: of what, where it may be verified."""
    found: list[Verified] = []
    try:
        with _target(options) as (target, begun):
            if begun > source.size:
                cli.complain(f"{options.output}: is longer than what is to be written; not the same volume?")
                return 1
            is_file = options.output is not None
            anew = bool(options.hash or options.verify)
            writing = Writing(source, target, begun=begun, anew=anew, holes=is_file, hashes=options.hash)
            if options.verify and scan is not None and layer is not None:
                found = _verified(scan, layer, writing, options)
            with shown(options.index) as progress:
                writing.rest(progress)
            if is_file:
                target.truncate(source.size)
            target.flush()
    except BrokenPipeError:
        raise
    except FileExistsError:
        cli.complain(f"{options.output}: is there already; --resume goes on with it, or name another")
        return 1
    except Different as error:
        cli.complain(f"{options.output}: {error}; not the same volume?")
        return 1
    except OSError as error:
        again = (
            "; --resume goes on where it ended" if options.output and os.path.exists(options.output) else ""
        )
        cli.complain(f"{options.output or 'standard output'}: {error.strerror}{again}")
        return 1
    return _told(writing, found, options)


@contextmanager
def _target(options: argparse.Namespace) -> Iterator[tuple[BinaryIO, int]]:
    """What is written to, and how much of it an earlier run wrote. Raises OSError."""
    if options.output is None:
        yield sys.stdout.buffer, 0
        return
    # O_EXCL: nothing that is there is written over, also through a link.
    flags = os.O_RDWR | (0 if options.resume else os.O_CREAT | os.O_EXCL)
    descriptor = os.open(options.output, flags | getattr(os, "O_BINARY", 0), 0o666)
    with open(descriptor, "r+b") as target:
        yield target, os.fstat(descriptor).st_size if options.resume else 0


def _verified(scan: Scan, layer: Layer, writing: Writing, options: argparse.Namespace) -> "list[Verified]":
    """What came of verifying the images of a layer, which is written in the same pass where it is one run."""
    from pyimount.verifying import verify
    from pyimount.verifying.places import segments_of, with_places

    start = _start(scan, layer)
    images: dict[tuple[str, ...], list[DiskLayer]] = {}
    below = _disks_of(scan, layer)
    for disk in scan.disks:
        images.setdefault(disk.paths, []).append(disk)
    found: list[Verified] = []
    for disks in images.values():
        if not any(disk.id in below for disk in disks):
            continue
        sinks: dict[int, Sink] = {}
        if start is not None:
            number = next(number for number, disk in enumerate(disks, 1) if disk.id in below)
            sinks[number] = _sink(writing, start)
        segments = segments_of(disks[0])
        with shown(os.path.basename(disks[0].paths[0])) as progress:
            verified = verify(segments, allow=options.allow, progress=progress, sinks=sinks)
        if any(each.problems for each in verified):
            verified = with_places(verified, segments, files=True)
        found += verified
    return found


def _sink(writing: Writing, start: int) -> "Sink":
    """What takes a disk's bytes, and writes those from ``start`` on that are wanted."""

    def take(at: int, data: bytes | None, length: int) -> None:
        low, high = max(start, at), min(start + writing.source.size, at + length)
        if low < high:
            writing.take(low - start, None if data is None else data[low - at : high - at], high - low)

    return take


def _start(scan: Scan, layer: Layer) -> int | None:
    """Where a layer begins on its disk, of which it is one run of bytes, as they are; else None."""
    start = 0
    while not isinstance(layer, DiskLayer):
        offset = layer.recipe.parameters.get("offset")
        if layer.recipe.kind != "slice" or not isinstance(offset, int):
            return None
        start += offset
        layer = scan.parents(layer)[0]
    return start


def _disks_of(scan: Scan, layer: Layer) -> set[int]:
    """The disks that hold the bytes of a layer."""
    found: set[int] = set()
    seen: set[int] = set()
    waiting = [layer]
    while waiting:
        each = waiting.pop()
        if isinstance(each, DiskLayer):
            found.add(each.id)
        elif each.id not in seen:
            seen.add(each.id)
            waiting += scan.parents(each)
    return found


def _told(writing: Writing, found: "list[Verified]", options: argparse.Namespace) -> int:
    """Say what came of it; returns the exit status."""
    from pyimount.verifying.passes import label
    from pyimount.verifying.records import EXIT_STATUS, Status, worst

    to = sys.stderr if options.output is None else sys.stdout
    status = Status.MATCHES
    if found:
        from pyimount.cli.verify import tell

        status = worst(found)
        for each in found:
            tell(each, (), to)
    for algorithm, value in writing.hashes.items():
        print(f"{label(algorithm)} of what was written: {value}", file=to)
    shared.log_verified(options, found)
    shared.log_written(options, options.output, writing.position, writing.hashes, writing.unread)
    if writing.unread:
        cli.complain(f"{writing.unread} bytes could not be read; in their place stand zeros")
        if status is not Status.DIFFERS:
            return 1
    return EXIT_STATUS[status]
