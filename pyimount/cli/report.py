"""Draw disk images, and tell all that is in them, in one HTML file for the case.

The file has a picture of each disk to scale, layer under layer, the tree that detect prints, every fact in a
table, and how the report came about. It needs no script, asks nothing of anywhere, and can be printed.

Images of one call belong together, as with detect: lines join the members of an array.

Exit status: 0 the file was written; 1 an image could not be read; 2 the arguments are wrong.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyimount
from pyimount import cli
from pyimount.cli import options as shared
from pyimount.problems import told
from pyimount.sources.errors import OpenError
from pyimount.version import SCHEMA

if TYPE_CHECKING:
    from pyimount.layers import DiskLayer, Scan
    from pyimount.verifying.records import Verified

DIFFERS = 6
"""The exit status where an image does not match what it stores."""

EXAMPLES = """examples:
  pyimount report disk.E01 -o case.html          everything about the image, in one file
  pyimount report sda.img sdb.img -o case.html   two disks of one array
  pyimount report --hash sha256 disk.E01 -o case.html   and its hashes, all of it read
  pyimount report --svg disk.img -o disk.svg     the picture alone
  pyimount report --ask disk.img -o case.html    ask for a passphrase, draw what is behind the lock
  pyimount report --within disk.E01 -o case.html   and the disk images in its files
"""

_TOLD = (
    "offset", "size", "sector_size", "vstype", "vstypes", "fstypes", "allow", "header", "try_veracrypt",
    "max_seconds", "max_read", "max_derivation", "max_derivation_memory", "search", "align", "free", "hash",
    "svg", "within",
)  # fmt: skip
"""The options that a report names with their values: all but keys, which it must not keep."""
_KEYS = ("key", "keys", "key_file", "ask")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        "images",
        nargs="+",
        type=shared.image,
        metavar="IMAGE",
        help="a disk image, one of its segments, or their folder",
    )
    shared.add_output(parser)
    parser.add_argument(
        "--hash",
        action="append",
        choices=("md5", "sha1", "sha256", "sha512"),
        default=[],
        help="read all of each disk, compute this hash of it, and compare what its image stores (exit "
        "status 6: it does not match); may be given several times",
    )
    parser.add_argument("--svg", action="store_true", help="the picture alone, as an SVG file")
    parser.add_argument(
        "--within",
        action="store_true",
        help="look through the files of each volume for disk images, and draw and tell of these as well",
    )
    shared.add_search(parser)
    shared.add_keys(parser)
    shared.add_told(parser)


def run(options: argparse.Namespace) -> int:
    """Scan the images and write the report; returns the exit status."""
    target = None if options.output == "-" else options.output
    if target is None and sys.stdout.isatty():
        cli.complain("a report is no text for a terminal: name a file with -o")
        return cli.EXIT_USAGE
    if target is not None and os.path.lexists(target):
        cli.complain(f"{target}: is there already; name another")
        return cli.EXIT_USAGE
    if options.svg and options.hash:
        cli.complain("--hash goes with the whole report: a picture has no place for hashes")
        return cli.EXIT_USAGE
    begun = datetime.now(UTC)
    told = shared.scan_options(options)
    try:
        keyring = shared.keyring(options)
        scan = pyimount.detect(options.images, keys=keyring, **told)
    except (ValueError, OpenError) as error:
        cli.complain(str(error))
        return cli.EXIT_USAGE
    if shared.misplaced(options, scan):
        return cli.EXIT_USAGE
    if options.within:
        from pyimount.inside.finding import with_images
        from pyimount.keys import Keyring

        scan = with_images(scan, keyring or Keyring(), told["budget"])
    shared.tell_unread(scan.disks)
    found = _verified(options, scan) if options.hash else None
    if options.svg:
        from pyimount.reports.svg import drawing

        text = drawing(scan)
    else:
        from pyimount.reports.html import document

        text = document(
            scan,
            run=dict(_run_facts(options, scan, begun)),
            compared=None if found is None else _compared(found),
        )
    _write(target, text.encode())
    wrong = [disk for disk, verified in found or () if verified.exit_status == DIFFERS]
    for disk in wrong:
        cli.complain(f"{disk.paths[0]}: does not match what it stores; the report says what")
    return DIFFERS if wrong else scan.exit_status()


def _verified(options: argparse.Namespace, scan: "Scan") -> "list[tuple[DiskLayer, Verified]]":
    """Each disk, read to its end, and what came of holding it against what its image stores."""
    from pyimount.verifying import verify
    from pyimount.verifying.places import segments_of

    found: list[tuple[DiskLayer, Verified]] = []
    images: dict[tuple[str, ...], list[DiskLayer]] = {}
    for disk in scan.disks:
        if disk.size is not None:
            images.setdefault(disk.paths, []).append(disk)
    for disks in images.values():
        found += zip(
            disks, verify(segments_of(disks[0]), hashes=options.hash, allow=options.allow), strict=False
        )
    return found


def _compared(found: "Iterable[tuple[DiskLayer, Verified]]") -> Iterator[tuple[str, str, str]]:
    """The hashes of each disk: those that its image stores, and whether they match, and those asked for."""
    from pyimount.reports.facts import name
    from pyimount.verifying.passes import label

    for disk, verified in found:
        own = name(disk)
        for check in verified.checks:
            if check.stored is None:
                said = "all match" if check.matches else f"{check.wrong} do not match"
            elif check.computed is None:
                said = f"{check.stored} stored; not compared, for not all could be read"
            else:
                outcome = "matches" if check.matches else f"DOES NOT MATCH: {check.computed} computed"
                said = f"{check.stored} stored; {outcome}"
            yield own, f"{label(check.algorithm)} of {check.what}", said
        stored = {check.algorithm for check in verified.checks if check.stored and check.what == "the disk"}
        for algorithm, value in verified.hashes:
            if algorithm not in stored:
                said = value or "not known, for not all could be read"
                yield own, f"{label(algorithm)} of the disk", said
        for problem in told(verified.problems):
            yield own, "problem", problem.message
        yield own, "in all", str(verified.status)


def _write(target: str | None, data: bytes) -> None:
    """Write a new file, or to standard output. Raises OSError; what was begun is then taken away."""
    if target is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with open(target, "xb") as file:
        try:
            file.write(data)
            file.flush()
        except OSError:
            os.unlink(target)
            raise


def _run_facts(options: argparse.Namespace, scan: "Scan", begun: datetime) -> Iterator[tuple[str, str]]:
    """How the report came about: program, times, options without keys, and the files as they were."""
    import platform

    from pyimount.wording import printable

    yield "program", f"pyimount {pyimount.__version__} (reports: {SCHEMA})"
    yield "run by", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield "begun", begun.isoformat(timespec="seconds")
    yield "ended", datetime.now(UTC).isoformat(timespec="seconds")
    yield "images named", printable(" ".join(options.images))
    given = [
        f"--{name.replace('_', '-')} {_value(options, name)}".rstrip()
        for name in _TOLD
        if _is_given(options, name)
    ]
    yield "options", printable(" ".join(given)) or "none"
    keys = any(map(options.__dict__.get, _KEYS)) or shared.KEY_VARIABLE in os.environ
    yield "keys", "given, and not kept here" if keys else "none given"
    yield "exit status", str(scan.exit_status())
    for disk in scan.disks:
        for path in disk.paths:
            try:
                status = os.stat(path)
            except OSError as error:
                yield f"file {printable(path)}", f"{error.strerror}"
                continue
            changed = datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds")
            yield (
                f"file {printable(path)}",
                f"{status.st_size} bytes, changed {changed}, inode {status.st_ino}",
            )


def _is_given(options: argparse.Namespace, name: str) -> bool:
    return getattr(options, name) not in (None, False, [])


def _value(options: argparse.Namespace, name: str) -> str:
    value = getattr(options, name)
    if isinstance(value, bool):
        return ""
    if isinstance(value, list):
        return " ".join("=".join(each) if isinstance(each, tuple) else str(each) for each in value)
    return str(value)
