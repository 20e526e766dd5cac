"""Draw the folders and files of a volume as a tree: without root, without mounting.

Exit status: 0 everything was read; 1 something could not be read; 2 the arguments are wrong.
"""

import argparse

from pyimount.cli import ls, paths
from pyimount.files.records import Kind
from pyimount.inside.tree import Place
from pyimount.inside.walking import DEPTH_CAP, Walk
from pyimount.wording import printable

EXAMPLES = f"""{paths.PATHS}
examples:
  pyimount tree disk.E01 2:/home --depth 2
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    paths.add_image(parser)
    parser.add_argument("paths", nargs="*", default=["/"], metavar="PATH", help="a folder (default: /)")
    parser.add_argument("--depth", type=int, default=DEPTH_CAP, metavar="NUMBER", help="no deeper than this")
    paths.add_rest(parser)


def run(options: argparse.Namespace) -> int:
    """Draw; returns the exit status."""
    try:
        with paths.opened(options) as files:
            asked = paths.Asked(files)
            for text in options.paths:
                found = asked.place(text, follow=True)
                if found is not None:
                    _draw(asked, found[0], options.depth)
            return asked.ended()
    except paths.Stopped as stopped:
        return stopped.status


def _draw(asked: paths.Asked, start: Place, depth: int) -> None:
    walk = Walk(asked.files, start, deepest=depth)
    for step in walk:
        if step.leaving:
            continue
        name = printable(step.place.name if step.depth else step.place.whole)
        _, target = ls.figures(asked, step.place)
        mark = "/" if step.place.entry.kind is Kind.FOLDER and step.depth else ""
        arrow = "" if target is None else f" -> {printable(target)}"
        print(f"{'    ' * (step.depth - 1)}{'└── ' if step.depth else ''}{name}{mark}{arrow}")
    asked.tell(walk.problems, 0)
