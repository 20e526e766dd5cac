"""Tell everything of a file in a volume: times, owner, streams, attributes, where its bytes lie.

Exit status: 0 everything was read; 1 something could not be read; 2 the arguments are wrong.
"""

import argparse

from pyimount.cli import ls, paths
from pyimount.files.records import Kind, Run
from pyimount.inside.tree import Place
from pyimount.wording import printable

EXAMPLES = f"""{paths.PATHS}
examples:
  pyimount stat disk.E01 '2:/$MFT'
  pyimount stat --json disk.E01 /etc/passwd
"""

_RUNS_SHOWN = 20


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    paths.add_image(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file or folder")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each")
    paths.add_rest(parser)


def run(options: argparse.Namespace) -> int:
    """Tell; returns the exit status."""
    try:
        with paths.opened(options) as files:
            asked = paths.Asked(files)
            for text in options.paths:
                found = asked.place(text, follow=False)
                if found is not None:
                    _tell(asked, found[0], options)
            return asked.ended()
    except paths.Stopped as stopped:
        return stopped.status


def _tell(asked: paths.Asked, place: Place, options: argparse.Namespace) -> None:
    stat, target = ls.figures(asked, place)
    said = paths.line_of(place, stat=stat, target=target)
    said["streams"] = ls.streams(asked, place)
    said["library"] = place.entry.files.libraries[0]
    runs = _runs(asked, place)
    said["extents"] = None if runs is None else [[run.at, run.size, run.place] for run in runs]
    if options.json:
        paths.print_json(said)
        return
    for name, value in said.items():
        if name in ("streams", "extents", "problems", "mode", "attributes") or value is None:
            continue
        print(f"{name:>10}: {printable(str(value))}")
    if stat is not None and stat.mode is not None:
        print(f"{'mode':>10}: {paths.mode_text(stat, stat.kind)} ({stat.mode:04o})")
    if said.get("attributes"):
        print(f"{'attributes':>10}: {', '.join(said['attributes'])}")
    for each in said["streams"]:
        print(f"{each['kind']:>10}: {printable(each['name'])}, {each['size']} bytes")
    for run_ in (runs or ())[:_RUNS_SHOWN]:
        where = "zeros, not stored" if run_.place is None else f"at {run_.place} of the volume"
        print(f"{'extent':>10}: {run_.size} bytes from {run_.at} on, {where}")
    if runs is not None and len(runs) > _RUNS_SHOWN:
        print(f"{'extents':>10}: {len(runs)} in all; --json has them")


def _runs(asked: paths.Asked, place: Place) -> tuple[Run, ...] | None:
    if place.entry.kind is not Kind.FILE:
        return None
    try:
        return place.entry.runs()
    except OSError as error:
        asked.complain(place.whole, error)
        return None
