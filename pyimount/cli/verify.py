"""Hold disk images against the hashes and checksums that they keep of themselves.

Of an E01 these are its MD5 and SHA-1, the checksums of its chunks, and of every section and table; AFF,
AFF4, DMG, gzip, xz and others keep their own. Where something does not match, the place on the disk is
told, and the volume and the files that it lies in, as far as that is known.

Each image is verified by itself, with all its segments.

Exit status: 0 all that is kept matches; 1 an image could not be read, or not to its end; 2 the arguments are
wrong; 6 something does not match, or is missing; 7 nothing is kept of the disk's bytes to hold them against.
Of several images, the first of 6, 1, 7 that is one's.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

import pyimount
from pyimount import cli
from pyimount.cli import options as shared
from pyimount.cli.progress import shown
from pyimount.cli.signals import EXIT_SIGNAL, Ended, raising
from pyimount.problems import told
from pyimount.sources.errors import NoFilesLeft
from pyimount.verifying.passes import NotResumable, label
from pyimount.verifying.records import EXIT_STATUS, Check, Place, Status, Verified, worst
from pyimount.verifying.sums import ALGORITHMS
from pyimount.version import SCHEMA
from pyimount.wording import printable, size_text

if TYPE_CHECKING:
    from pyimount.sources.segments import Segments

EXAMPLES = """examples:
  pyimount verify disk.E01                          all that the image keeps of itself
  pyimount verify --hash sha256 disk.E01            and another hash of the disk in the same pass
  pyimount verify --json evidence/*.E01 | jq .      for scripts
  pyimount verify --state disk.state disk.E01       interrupted, the same command goes on where it was
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        "images",
        nargs="+",
        type=shared.image_or_url,
        metavar="IMAGE",
        help="a disk image, one of its segments, or their folder",
    )
    parser.add_argument("-j", "--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--hash",
        action="append",
        choices=ALGORITHMS,
        default=[],
        help="compute this hash of the disk as well; may be given several times",
    )
    parser.add_argument(
        "--state",
        metavar="FILE",
        help="keep in this file how far it is, and go on from there: for one image; removed at the end",
    )
    parser.add_argument(
        "--files",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="where something does not match, look which files lie there (default: yes)",
    )
    parser.add_argument(
        "--allow",
        type=shared.folder,
        action="append",
        default=[],
        metavar="FOLDER",
        help="files that the image names, a backing file say, may be opened below this folder too",
    )
    shared.add_log(parser)


def run(options: argparse.Namespace) -> int:
    """Verify each image and print what came of it; returns the exit status."""
    from pyimount.scanning.naming import images_in

    try:
        images = images_in(options.images)
    except NoFilesLeft as error:
        cli.complain(str(error))
        return 1
    if options.state and len(images) != 1:
        cli.complain(f"--state is for one image, and these are {len(images)}")
        return cli.EXIT_USAGE
    found: list[Verified] = []
    try:
        with raising():
            for segments in images:
                verified = _one(segments, options)
                found += verified
                shared.log_verified(options, verified)
                if not options.json:
                    for each in verified:
                        tell(each, options.hash, sys.stdout)
    except NotResumable as error:
        cli.complain(str(error))
        return cli.EXIT_USAGE
    except (KeyboardInterrupt, Ended) as error:
        again = f"; the same command goes on where it was ({options.state})" if options.state else ""
        cli.complain(f"stopped{again}")
        return EXIT_SIGNAL + error.number if isinstance(error, Ended) else cli.EXIT_INTERRUPTED
    status = EXIT_STATUS[worst(found)]
    if options.json:
        _print_json(found, status)
    return status


def _one(segments: "Segments", options: argparse.Namespace) -> tuple[Verified, ...]:
    from pyimount.verifying.state import State
    from pyimount.verifying.verify import verify

    state = State(options.state, segments.paths, options.hash) if options.state else None
    if state is not None and state.resumed:
        cli.complain(f"{options.state}: going on where it was")
    with shown(os.path.basename(segments.paths[0])) as progress:
        verified = verify(segments, hashes=options.hash, allow=options.allow, progress=progress, state=state)
    if not any(each.problems for each in verified):
        return verified  # What reads volumes and files is not even loaded.
    from pyimount.verifying.places import with_places

    return with_places(verified, segments, files=options.files)


_FILES_TOLD = 8
_WORDS = {
    Status.MATCHES: "matches",
    Status.DIFFERS: "DOES NOT MATCH",
    Status.NOTHING: "nothing stored to compare",
    Status.UNREADABLE: "could not be read",
}


def tell(verified: Verified, asked: Sequence[str], to: TextIO) -> None:
    """Print for people what came of it; ``asked``: the hashes that were asked for."""
    for line in _lines(verified, asked):
        print(line, file=to)


def _lines(verified: Verified, asked: Sequence[str]) -> Iterator[str]:
    path = printable(verified.paths[0])
    disk = f", disk {verified.index}" if verified.index else ""
    yield f"{path}{disk}: {_WORDS[verified.status]}"
    if verified.container is not None:
        segments = f" in {len(verified.paths)} files" if len(verified.paths) > 1 else ""
        yield f"  {verified.container}{segments}, a disk of {size_text(verified.size)}"
    for check in verified.checks:
        yield f"  {_check_text(check)}"
    if verified.structural and verified.status is not Status.UNREADABLE:
        yield f"  checksums of the container's own: {verified.structural}"
    if verified.status in (Status.MATCHES, Status.NOTHING) and verified.size is not None:
        if verified.covered == 0:
            yield "  nothing is kept of the disk's bytes: whether they changed cannot be told"
        elif verified.covered < verified.size:
            yield f"  something is kept of {verified.covered} of {verified.size} bytes alone"
    stored = {check.algorithm for check in verified.checks if check.what == "the disk"}
    for algorithm, value in verified.hashes:
        if algorithm in asked and algorithm not in stored:
            yield f"  {label(algorithm)} of the disk: {value or 'not known: not all could be read'}"
    for problem in told(verified.problems):
        yield f"  ! {printable(problem.message)}"
    for place in verified.places:
        yield f"  ! {_place_text(place)}"


def _check_text(check: Check) -> str:
    if check.stored is not None:
        if check.computed is None:
            return f"{label(check.algorithm)} of {check.what}: {check.stored} stored, cannot be compared"
        if check.matches:
            return f"{label(check.algorithm)} of {check.what}: {check.stored} matches"
        return f"{label(check.algorithm)} of {check.what}: {check.stored} does not match"
    number = "" if check.count is None else f"{check.count}, "
    outcome = "all match" if check.matches else f"{check.wrong} wrong"
    return f"{label(check.algorithm)} of {check.what}: {number}{outcome}"


def _place_text(place: Place) -> str:
    where = f"bytes {place.offset} to {place.offset + place.size} of the disk"
    if place.volume is None:
        return f"{where}: in no volume"
    said = f"{where}: volume {place.volume} ({place.volume_type or 'not recognised'})"
    said += f" from its byte {place.volume_offset} on"
    if place.files:
        named = ", ".join(printable(path) for path in place.files[:_FILES_TOLD])
        more = len(place.files) - _FILES_TOLD
        return f"{said}, in {named}" + (f" and {more} more files" if more > 0 else "")
    if place.files is not None:
        return f"{said}, in no file"
    return f"{said}; {place.files_unknown}" if place.files_unknown else said


def _print_json(found: list[Verified], status: int) -> None:
    import json

    said = {
        "schema": SCHEMA,
        "pyimount": pyimount.__version__,
        "disks": [each.to_dict() for each in found],
        "exit_status": status,
    }
    print(json.dumps(said, indent=2 if sys.stdout.isatty() else None))
