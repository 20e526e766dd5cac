"""Tell what is in disk images, layer by layer.

Containers, partition tables, RAID and LVM members, encrypted volumes, file systems: without root,
without another program, and without writing anything.

Images of one call belong together: arrays and volume groups are matched across them. Any segment
of a split image, or its folder, stands for the whole image.

With --each, and all that goes with many images, they do not belong together: each is scanned by itself, in a
process apart, and one that crashes, hangs or grows costs itself alone.

Exit status: 0 every image was read; 1 one could not be read; 2 the arguments are wrong; 3 with
--strict, something is locked, incomplete, damaged, ambiguous or unknown.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyimount
from pyimount import cli
from pyimount.cli import many_images
from pyimount.cli import options as shared
from pyimount.layers import Scan
from pyimount.sources.errors import OpenError

if TYPE_CHECKING:
    from pyimount.recognition.searching import Progress

EXAMPLES = """examples:
  pyimount detect disk.E01                     a tree of everything in the image
  pyimount detect --all --bytes disk.img       gaps and tables too, exact sizes
  pyimount detect --json disk.vmdk | jq .      for scripts
  pyimount detect sda.img sdb.img              two disks of one array
  pyimount detect --offset 1M part.img         look at one volume inside
  pyimount detect --system disk.E01            and what system is installed in it
  pyimount detect --within disk.E01            and what is in the disk images in it
  pyimount detect --ask disk.img               ask for a passphrase, look behind the lock
  pyimount detect --allow base/ child.qcow2    its backing file may be opened there
  pyimount detect --search firmware.bin        file systems that stand anywhere in it
  pyimount detect --jsonl --recursive FOLDER   many images, a line of JSON for each as it is done
  pyimount detect --jsonl --resume FILE *.img  the lines into FILE; after a stop, what is left
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        "images",
        nargs="*",
        type=shared.image_or_url,
        metavar="IMAGE",
        help="a disk image, one of its segments, or their folder",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument(
        "--jsonl", action="store_true", help="print a line of JSON for each image, as it is done (--each)"
    )
    form.add_argument("--csv", action="store_true", help="print a table for spreadsheets, a row a volume")
    form.add_argument("--export", action="store_true", help="print KEY=value blocks, as blkid does")
    parser.add_argument("-a", "--all", action="store_true", help="show gaps, tables and other readings too")
    parser.add_argument("-v", "--details", action="store_true", help="show every fact of each layer")
    parser.add_argument(
        "--bar",
        action="store_true",
        help="draw each disk as a bar above its tree (# in use, = not or not known, . a gap, - a table, "
        "x locked)",
    )
    parser.add_argument("-b", "--bytes", action="store_true", help="show exact sizes, in bytes")
    shared.add_search(parser)
    parser.add_argument(
        "--system",
        action="store_true",
        help="look into the files of each volume for the system there: its name and version, host name, time "
        "zone, last start and shutdown",
    )
    parser.add_argument(
        "--within",
        action="store_true",
        help="look through the files of each volume for disk images (those of virtual machines, *.E01, what "
        "is in tar, zip and cpio), and into these, to any depth: by their names, in place",
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit with 3 when anything is not plain and whole"
    )
    parser.add_argument(
        "--color", action=argparse.BooleanOptionalAction, help="colours (default: on a terminal)"
    )
    many_images.arguments(parser)
    shared.add_keys(parser)
    shared.add_told(parser)
    shared.add_log(parser)


def run(options: argparse.Namespace) -> int:
    """Scan the images and print the report; returns the exit status."""
    if many_images.are_meant(options):
        return many_images.run(options, _print)
    if not options.images:
        cli.complain("which image? Name one, or a file of names with --files0-from")
        return cli.EXIT_USAGE
    told = shared.scan_options(options)
    try:
        keyring = shared.keyring(options)
        with _progress(wanted=told["search"]) as progress:
            scan = pyimount.detect(options.images, keys=keyring, progress=progress, **told)
    except (ValueError, OpenError) as error:
        cli.complain(str(error))
        return cli.EXIT_USAGE
    shared.log_scan(options, scan)
    if shared.misplaced(options, scan):
        return cli.EXIT_USAGE
    _tell_passed_over(scan, options)
    if options.system:
        from pyimount.inside.system import with_systems
        from pyimount.keys import Keyring

        scan = with_systems(scan, keyring or Keyring())
    if options.within:
        from pyimount.inside.finding import with_images
        from pyimount.keys import Keyring

        scan = with_images(scan, keyring or Keyring(), told["budget"])
    shared.tell_unread(scan.disks)
    _print(scan, options)
    return scan.exit_status(strict=options.strict)


def _tell_passed_over(scan: Scan, options: argparse.Namespace) -> None:
    """Say what in the folders that were named is no image by its name: how much, with -v what."""
    from pyimount.sources.segments import Segments, passed_over

    left = passed_over(options.images, [Segments(disk.paths) for disk in scan.disks])
    if not left:
        return
    if options.details:
        for path in left:
            cli.complain(f"{path}: passed over: neither called nor beginning like a disk image")
    else:
        number = "1 file that is" if len(left) == 1 else f"{len(left)} files that are"
        cli.complain(f"passed over {number} no disk image by name or content; -v names them")


@contextmanager
def _progress(*, wanted: bool) -> "Iterator[Progress | None]":
    """What shows on a terminal how far a search is; None where there is none to show it on."""
    if not (wanted and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("searching", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print(scan: Scan, options: argparse.Namespace) -> None:
    if options.json:
        import json

        # json.dump would do without json's C code.
        print(json.dumps(scan.to_dict(strict=options.strict), indent=2 if sys.stdout.isatty() else None))
    elif options.csv:
        from pyimount.reports.table import write

        write(scan, sys.stdout)
    elif options.export:
        from pyimount.reports.export import blocks

        print("\n\n".join(blocks(scan)))
    else:
        from rich.console import Console

        from pyimount.reports.tree import TreeReport

        report = TreeReport(everything=options.all, exact=options.bytes, details=options.details)
        # rich looks at NO_COLOR and at the terminal; into a pipe, lines stay as long as they are.
        console = Console(
            highlight=False,
            no_color=None if options.color is None else not options.color,
            force_terminal=options.color,
            width=None if sys.stdout.isatty() else 1 << 16,
        )
        drawn = {}
        if options.bar:
            from pyimount.reports.bar import bars

            drawn = bars(scan, cli.columns())
        for tree, disk in zip(report.trees(scan), report.shown(scan), strict=True):
            for line in drawn.get(disk.id, ()):
                console.print(line)
            console.print(tree)
        for line in report.of_all(scan):
            console.print(line)
