"""Tell what is in disk images, layer by layer.

Containers, partition tables, RAID and LVM members, encrypted volumes, file systems: without root,
without another program, and without writing anything.

Images of one call belong together: arrays and volume groups are matched across them. Any segment
of a split image, or its folder, stands for the whole image.

Exit status: 0 every image was read; 1 one could not be read; 2 the arguments are wrong; 3 with
--strict, something is locked, incomplete, damaged, ambiguous or unknown.
"""

import argparse
import sys

import pyimount
from pyimount import cli
from pyimount.cli import options as shared
from pyimount.layers import Scan
from pyimount.sources.errors import OpenError

EXAMPLES = """examples:
  pyimount detect disk.E01                     a tree of everything in the image
  pyimount detect --all --bytes disk.img       gaps and tables too, exact sizes
  pyimount detect --json disk.vmdk | jq .      for scripts
  pyimount detect sda.img sdb.img              two disks of one array
  pyimount detect --offset 1M part.img         look at one volume inside
  pyimount detect --ask disk.img               ask for a passphrase, look behind the lock
  pyimount detect --allow base/ child.qcow2    its backing file may be opened there
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="a disk image, one of its segments, or their folder"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument("--export", action="store_true", help="print KEY=value blocks, as blkid does")
    parser.add_argument("-a", "--all", action="store_true", help="show gaps, tables and other readings too")
    parser.add_argument("-v", "--details", action="store_true", help="show every fact of each layer")
    parser.add_argument("-b", "--bytes", action="store_true", help="show exact sizes, in bytes")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 3 when anything is not plain and whole"
    )
    parser.add_argument(
        "--color", action=argparse.BooleanOptionalAction, help="colours (default: on a terminal)"
    )
    shared.add_keys(parser)
    shared.add_told(parser)


def run(options: argparse.Namespace) -> int:
    """Scan the images and print the report; returns the exit status."""
    try:
        scan = pyimount.detect(options.images, keys=shared.keyring(options), **shared.told(options))
    except (ValueError, OpenError) as error:
        cli.complain(str(error))
        return cli.EXIT_USAGE
    for disk in scan.disks:
        if disk.size is None:
            from pyimount.reports.wording import printable

            for problem in disk.problems:
                cli.complain(printable(problem.message))
    _print(scan, options)
    return scan.exit_status(strict=options.strict)


def _print(scan: Scan, options: argparse.Namespace) -> None:
    if options.json:
        import json

        # json.dump would do without json's C code.
        print(json.dumps(scan.to_dict(strict=options.strict), indent=2 if sys.stdout.isatty() else None))
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
        for tree in report.trees(scan):
            console.print(tree)
