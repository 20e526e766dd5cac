"""List what is in a folder of a volume: without root, without mounting.

Without a PATH: the volumes that have files. Links are shown, not followed. Deleted files are not shown.

Exit status: 0 everything was read; 1 something could not be read, and the message says what; 2 the arguments
are wrong.
"""

import argparse
from typing import Any

from pyimount import cli
from pyimount.cli import paths
from pyimount.files.records import Kind, Stat
from pyimount.files.system import CannotRead, Damaged
from pyimount.inside.tree import Files, Place
from pyimount.layers import VolumeLayer
from pyimount.sources.errors import SourceError
from pyimount.wording import printable, size_text

EXAMPLES = f"""{paths.PATHS}
examples:
  pyimount ls disk.E01                    the volumes that have files
  pyimount ls disk.E01 /                  the tree as it was
  pyimount ls -l disk.E01 2:/etc          a folder of volume 2, with modes, owners, sizes, times
  pyimount ls --json disk.E01 2:/Users    for scripts: a line of JSON for each
  pyimount ls disk.E01 2:/vms/a.vmdk::    the volumes of a disk image that is a file in volume 2
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    paths.add_image(parser)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="a folder, or a file")
    parser.add_argument("-l", "--long", action="store_true", help="modes, owners, sizes and times too")
    parser.add_argument("-d", "--directory", action="store_true", help="the folder itself, not what is in it")
    parser.add_argument("-b", "--bytes", action="store_true", help="show exact sizes, in bytes")
    parser.add_argument("--streams", action="store_true", help="streams, forks and extended attributes too")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each entry")
    paths.add_rest(parser)


def run(options: argparse.Namespace) -> int:
    """List; returns the exit status."""
    try:
        with paths.opened(options) as files:
            asked = paths.Asked(files)
            if not options.paths:
                _volumes(asked, asked.files, options)
            for text in options.paths:
                if text.endswith(paths.WITHIN):
                    _image(asked, text, options)
                else:
                    _path(asked, text, options)
            return asked.ended()
    except paths.Stopped as stopped:
        return stopped.status


def _image(asked: paths.Asked, text: str, options: argparse.Namespace) -> None:
    """The volumes of an image within."""
    try:
        _volumes(asked, paths.image_at(asked.files, text), options)
    except paths.FAILURES as error:
        asked.complain(text, error)


def _path(asked: paths.Asked, text: str, options: argparse.Namespace) -> None:
    found = asked.place(text, follow=False)
    if found is None:
        return
    place, stream = found
    if place.entry.kind is not Kind.FOLDER or options.directory or stream is not None:
        show(asked, place, options, place.whole)
        return
    if len(options.paths) > 1 and not options.json:
        print(f"{printable(place.whole)}:")
    try:
        for child in asked.files.children(place):
            show(asked, child, options, child.name)
    except Damaged as error:
        asked.complain(place.whole, error)
    asked.problems_of(place)


def show(asked: paths.Asked, place: Place, options: argparse.Namespace, name: str) -> None:
    """A line for an entry."""
    stat, target = figures(asked, place)
    if options.json:
        said = paths.line_of(place, stat=stat, target=target)
        if options.streams:
            said["streams"] = streams(asked, place)
        paths.print_json(said)
        return
    line = printable(name) + ("/" if place.entry.kind is Kind.FOLDER else "")
    if target is not None:
        line += f" -> {printable(target)}"
    print(f"{_long(stat, place, exact=options.bytes)} {line}" if options.long else line)
    if options.streams:
        for each in streams(asked, place):
            print(f"{printable(name)}:{printable(each['name'])}  {each['kind']}, {size_text(each['size'])}")


def figures(asked: paths.Asked, place: Place) -> tuple[Stat | None, str | None]:
    """The figures of an entry and where it leads, if it is a link; what cannot be read is said."""
    entry = place.entry
    stat, target = None, None
    try:
        stat = entry.stat()
        if entry.kind is Kind.LINK:
            target = entry.target()
    except OSError as error:
        asked.complain(place.whole, error)
    return stat, target


def streams(asked: paths.Asked, place: Place) -> list[dict[str, Any]]:
    """The streams of an entry as JSON values."""
    try:
        return [{"name": each.name, "kind": each.kind, "size": each.size} for each in place.entry.streams()]
    except OSError as error:
        asked.complain(place.whole, error)
        return []


def _long(stat: Stat | None, place: Place, *, exact: bool) -> str:
    if stat is None:
        return f"{paths.mode_text(None, place.entry.kind)}" + " " * 37 + "?"
    owner = f"{'-' if stat.uid is None else stat.uid:>5} {'-' if stat.gid is None else stat.gid:>5}"
    time = paths.time_text(stat.modified, local=stat.local, exact=False) or "-"
    size = size_text(stat.size, exact=exact)
    return f"{paths.mode_text(stat, place.entry.kind)} {owner} {size:>10} {time:>16}"


def _volumes(asked: paths.Asked, files: Files, options: argparse.Namespace) -> None:
    """A line for each volume that has files."""
    volumes = files.volumes()
    for volume in volumes:
        why = _why_not(files, volume)
        if options.json:
            image = {"image": files.address} if files.address else {}
            paths.print_json(
                {
                    **image, "volume": volume.index, "path": "/", "kind": "volume", "type": volume.type,
                    "label": volume.label, "uuid": volume.uuid, "size": volume.size, "problem": why,
                }
            )  # fmt: skip
        else:
            facts = [
                f"{printable(files.prefix)}{volume.index}:/",
                volume.type or "",
                size_text(volume.size, exact=options.bytes),
            ]
            facts += [printable(volume.label)] if volume.label else []
            facts += [f"({printable(why)})"] if why else []
            print("  ".join(facts))
    others = files.unread()
    for volume in others:
        cli.complain(
            f"{printable(files.prefix)}volume {volume.index}: no library reads the files of {volume.type}; "
            "'pyimount mount' may"
        )
    if not volumes and not others:
        cli.complain("no volume with files was found; 'pyimount detect' tells what there is")
    asked.failed = asked.failed or (not volumes)


def _why_not(files: Files, volume: VolumeLayer) -> str | None:
    try:
        files.opened(volume)
    except (CannotRead, SourceError) as error:
        return str(error)
    return None
