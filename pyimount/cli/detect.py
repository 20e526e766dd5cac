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
from pyimount.layers import Scan
from pyimount.reports.wording import printable

EXAMPLES = """examples:
  pyimount detect disk.E01                     a tree of everything in the image
  pyimount detect --all --bytes disk.img       gaps and tables too, exact sizes
  pyimount detect --json disk.vmdk | jq .      for scripts
  pyimount detect sda.img sdb.img              two disks of one array
  pyimount detect --offset 1M part.img         look at one volume inside
  pyimount detect --allow base/ child.qcow2    its backing file may be opened there
"""

_SUFFIXES = {"k": 10, "m": 20, "g": 30, "t": 40}


def byte_count(text: str) -> int:
    """Bytes from ``4096``, ``0x1000`` or ``4K`` (K, M, G, T: powers of 1024); raises ValueError."""
    shift = _SUFFIXES.get(text[-1:].lower(), 0)
    value = int(text[:-1], 10) << shift if shift else int(text, 0)
    if value < 0:
        raise ValueError(f"{text} is negative")
    return value


def _index_and_type(text: str) -> tuple[str, str]:
    index, equals, word = text.partition("=")
    if not (index and equals and word):
        raise ValueError(f"{text} is not INDEX=TYPE")
    return index, word


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
    told = parser.add_argument_group("what you know better than the image")
    told.add_argument("--offset", type=byte_count, metavar="BYTES", help="look only here, at one volume")
    told.add_argument("--size", type=byte_count, metavar="BYTES", help="and at no more than this")
    told.add_argument("--sector-size", type=byte_count, metavar="BYTES", help="bytes in a sector")
    told.add_argument(
        "--vstype", metavar="TYPE", help="type of the partition table (dos, gpt …); none: there is none"
    )
    told.add_argument(
        "--fstypes",
        type=_index_and_type,
        action="append",
        default=[],
        metavar="INDEX=TYPE",
        help="read this volume as this type and nothing else; * for every volume",
    )
    told.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="FOLDER",
        help="files that the image names, a backing file say, may be opened below this folder too",
    )
    limits = parser.add_argument_group("limits for each image")
    limits.add_argument("--max-seconds", type=float, metavar="SECONDS", help="time (default: 20)")
    limits.add_argument(
        "--max-read", type=byte_count, metavar="BYTES", help="bytes read from it (default: 512M)"
    )


def run(options: argparse.Namespace) -> int:
    """Scan the images and print the report; returns the exit status."""
    budget = pyimount.Budget()
    budget = pyimount.Budget(
        seconds=budget.seconds if options.max_seconds is None else options.max_seconds,
        bytes_read=budget.bytes_read if options.max_read is None else options.max_read,
    )
    try:
        scan = pyimount.detect(
            options.images,
            offset=options.offset,
            size=options.size,
            sector_size=options.sector_size,
            vstype=options.vstype,
            fstypes=dict(options.fstypes),
            allow=options.allow,
            budget=budget,
        )
    except ValueError as error:
        cli.complain(str(error))
        return cli.EXIT_USAGE
    for disk in scan.disks:
        if disk.size is None:
            for problem in disk.problems:
                cli.complain(printable(problem.message))
    _print(scan, options)
    return scan.exit_status(strict=options.strict)


def _print(scan: Scan, options: argparse.Namespace) -> None:
    if options.json:
        import json

        json.dump(scan.to_dict(strict=options.strict), sys.stdout, indent=2 if sys.stdout.isatty() else None)
        print()
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
