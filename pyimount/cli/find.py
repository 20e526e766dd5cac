"""Find files in volumes by name, kind, size and time: without root, without mounting.

Without a PATH: all volumes that have files. Links are shown, not followed. Deleted files are not found.

Exit status: 0 everything was looked at; 1 something could not be read, or, with --second-opinion, two
libraries see something differently; 2 the arguments are wrong.
"""

import argparse
import fnmatch
import hashlib
from datetime import UTC, datetime
from typing import Any

from pyimount import cli
from pyimount.cli import ls, paths
from pyimount.cli import options as shared
from pyimount.files.records import Kind, Stat
from pyimount.files.system import CannotRead
from pyimount.inside.comparing import compare
from pyimount.inside.tree import Place
from pyimount.inside.walking import DEPTH_CAP, Walk
from pyimount.sources.errors import SourceError
from pyimount.wording import printable

EXAMPLES = f"""{paths.PATHS}
examples:
  pyimount find disk.E01 --name '*.evtx' --newer 2026-01-01 --json
  pyimount find disk.E01 2:/home --type file --larger 100M
  pyimount find disk.E01 / --hash sha256 --json
  pyimount find disk.E01 2:/ --second-opinion     what two libraries see differently
"""

KINDS = tuple(kind.value for kind in Kind)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    paths.add_image(parser)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="where to begin")
    what = parser.add_argument_group("what is shown")
    what.add_argument("--name", metavar="PATTERN", help="names like this: * ? [abc]")
    what.add_argument("--iname", metavar="PATTERN", help="the same, in upper or lower case")
    what.add_argument("--path", metavar="PATTERN", help="paths like this")
    what.add_argument("--type", choices=KINDS, help="only of this kind")
    what.add_argument("--newer", type=moment, metavar="TIME", help="modified at this time (UTC) or later")
    what.add_argument("--older", type=moment, metavar="TIME", help="modified before this time (UTC)")
    what.add_argument("--larger", type=shared.byte_count, metavar="BYTES", help="of this size or larger")
    what.add_argument("--smaller", type=shared.byte_count, metavar="BYTES", help="smaller than this")
    what.add_argument("--depth", type=int, default=DEPTH_CAP, metavar="NUMBER", help="no deeper than this")
    parser.add_argument("--hash", choices=("sha256", "sha1", "md5"), help="the hash of each file's data")
    parser.add_argument("--streams", action="store_true", help="streams, forks and extended attributes too")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each")
    parser.add_argument(
        "--second-opinion", action="store_true", help="show only what two libraries see differently"
    )
    paths.add_rest(parser)


def moment(text: str) -> int:
    """Nanoseconds since 1970 of an ISO 8601 date or time; raises ValueError."""
    at = datetime.fromisoformat(text)
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 10**9


def run(options: argparse.Namespace) -> int:
    """Find; returns the exit status."""
    try:
        with paths.opened(options) as files:
            asked = paths.Asked(files)
            for place in _starts(asked, options):
                if options.second_opinion:
                    _second_opinion(asked, place, options)
                else:
                    _find(asked, place, options)
            return asked.ended()
    except paths.Stopped as stopped:
        return stopped.status


def _starts(asked: paths.Asked, options: argparse.Namespace) -> list[Place]:
    if options.paths:
        found = (asked.place(text, follow=True) for text in options.paths)
        return [place for place, _ in filter(None, found)]
    places = []
    for volume in asked.files.volumes():
        try:
            places.append(asked.files.root(volume))
        except (CannotRead, SourceError, OSError) as error:
            asked.complain(f"{volume.index}:/", error)
    if not places and not asked.failed:
        cli.complain("no volume with files was found; 'pyimount detect' tells what there is")
        asked.failed = True
    return places


def _find(asked: paths.Asked, start: Place, options: argparse.Namespace) -> None:
    walk = Walk(asked.files, start, deepest=options.depth)
    told = 0
    for step in walk:
        told = asked.tell(walk.problems, told)
        if not step.leaving and _wanted(step.place, options):
            _show(asked, step.place, options)
    asked.tell(walk.problems, told)


def _wanted(place: Place, options: argparse.Namespace) -> bool:
    entry = place.entry
    if options.type is not None and entry.kind != options.type:
        return False
    name = place.name
    if options.name is not None and not fnmatch.fnmatchcase(name, options.name):
        return False
    if options.iname is not None and not fnmatch.fnmatchcase(name.lower(), options.iname.lower()):
        return False
    if options.path is not None and not fnmatch.fnmatchcase(place.path, options.path):
        return False
    if None is options.newer is options.older is options.larger is options.smaller:
        return True
    return entry.problem is None and _figures_fit(entry.stat(), options)


def _figures_fit(stat: Stat, options: argparse.Namespace) -> bool:
    modified, size = stat.modified, stat.size
    if options.newer is not None and (modified is None or modified < options.newer):
        return False
    if options.older is not None and (modified is None or modified >= options.older):
        return False
    if options.larger is not None and (size is None or size < options.larger):
        return False
    return options.smaller is None or (size is not None and size < options.smaller)


def _show(asked: paths.Asked, place: Place, options: argparse.Namespace) -> None:
    hashed = _hash(asked, place, options.hash) if options.hash else None
    if not options.json:
        line = printable(place.whole)
        print(f"{hashed or '-' * 8}  {line}" if options.hash else line)
        return
    stat, target = ls.figures(asked, place)
    said = paths.line_of(place, stat=stat, target=target)
    if options.hash:
        said["hash"] = None if hashed is None else {options.hash: hashed}
    if options.streams:
        said["streams"] = ls.streams(asked, place)
    paths.print_json(said)


def _hash(asked: paths.Asked, place: Place, kind: str) -> str | None:
    if place.entry.kind is not Kind.FILE:
        return None
    made = hashlib.new(kind, usedforsecurity=False)
    try:
        for piece in place.entry.pieces():
            made.update(piece)
    except OSError as error:
        asked.complain(place.whole, error)
        return None
    return made.hexdigest()


def _second_opinion(asked: paths.Asked, start: Place, options: argparse.Namespace) -> None:
    """What two libraries see differently below a folder of a volume."""
    compared = compare(start, hashes=bool(options.hash))
    if compared is None:
        libraries = ", ".join(start.entry.files.libraries)
        cli.complain(
            f"{printable(start.whole)}: only {libraries} reads this here; there is no second opinion"
        )
        asked.failed = True
        return
    for each in compared:
        asked.failed = True
        if options.json:
            said: dict[str, Any] = {"volume": start.entry.files.volume.index, "path": each.path}
            paths.print_json({**said, "what": each.what, "libraries": dict(each.seen)})
        else:
            seen = "; ".join(f"{library}: {value}" for library, value in each.seen)
            print(f"{printable(each.path)}: {each.what}: {printable(seen)}")
