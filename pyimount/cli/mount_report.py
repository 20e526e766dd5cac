"""What ``pyimount mount`` says of each volume when it has done, and its exit status."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from pyimount import cli
from pyimount.cli import privilege
from pyimount.planning.nothing import NOTHING
from pyimount.wording import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyimount.mounting import Carved, Mounted, MountedVolume, Tree

EXIT_NOT_MOUNTED = 4


def exit_status(mounted: "Mounted") -> int:
    """0, 1 or 4, as the command's help has it."""
    if mounted.unwritable or any(_was_there(each) for each in mounted.failed):
        return EXIT_NOT_MOUNTED
    if any(each.refusal is not None for each in mounted.carved):
        return EXIT_NOT_MOUNTED
    if mounted.tree is not None and mounted.tree.path is None:
        return EXIT_NOT_MOUNTED
    return 1 if mounted.failed else 0  # a whole image, which could not be read


def _was_there(each: "MountedVolume") -> bool:
    """Whether something was there to be read, and so to be mounted."""
    nothing = each.refusal is not None and each.refusal.code == NOTHING
    return each.volume is not None or each.is_folder or nothing


def report(mounted: "Mounted", options: argparse.Namespace) -> None:
    """Print what stands and where, and why the rest does not; with ``--json`` as one document."""
    if options.json:
        said = {"schema": "pyimount-mount/1", "exit_status": exit_status(mounted), **mounted.to_dict()}
        print(json.dumps(said, indent=2 if sys.stdout.isatty() else None))
        return
    width = max((len(each.index) for each in mounted.volumes), default=0)
    for each in mounted.standing:
        print(f"{each.index:{width}}  {_kind(each)}  {printable(each.mountpoint or '')}")
    for each in mounted.standing:
        if each.missing:
            cli.complain(
                f"{each.index:{width}}  the image ends {each.missing} bytes before this volume does:"
            )
            cli.complain(f"{'':{width}}  what lies there cannot be read (Input/output error)")
    if mounted.standing and options.mountdir is None and privilege.sudo_user() is not None:
        cli.complain(f"only root reads what stands there, not {printable(privilege.sudo_user() or '')}: call")
        cli.complain("  pyimount without sudo (it asks for root itself), or name a --mountdir")
    for each in mounted.unwritable:
        if each.refusal is not None:
            cli.complain(f"{each.index:{width}}  {printable(each.refusal.reason)}")
    for each in mounted.failed:
        refusal = each.refusal
        if refusal is not None and _was_there(each):
            what = f"{_kind(each)} is not mounted: " if each.volume is not None or each.is_folder else ""
            cli.complain(f"{each.index:{width}}  {what}{printable(refusal.reason)}".lstrip())
            if refusal.remedy:
                cli.complain(f"{'':{width}}  {printable(refusal.remedy)}")
    if mounted.cache is not None and len(mounted.standing) > len(mounted.unwritable):
        print(f"what is written goes to {printable(mounted.cache)}")
    for carved in mounted.carved:
        _report_carved(carved)
    if mounted.tree is not None:
        _report_tree(mounted.tree)


def _report_carved(carved: "Carved") -> None:
    what = "of what is free" if carved.free_only else "of all of it"
    if carved.folder is not None:
        print(f"{carved.index}: {carved.files} files, carved {what}, in {printable(carved.folder)}")
    if carved.refusal is not None:
        cli.complain(f"{carved.index} is not carved: {printable(carved.refusal.reason)}")
        if carved.refusal.remedy:
            cli.complain(f"  {printable(carved.refusal.remedy)}")


def _report_tree(tree: "Tree") -> None:
    if tree.root is None:
        cli.complain("no tree: no root volume was found")
    else:
        system = _system(tree.system)
        print(f"the tree stands at {printable(tree.path or '?')}{f'  ({system})' if system else ''}")
        for placed in tree.placed:
            print(f"  {printable(placed.target)}: volume {placed.index}, by {placed.by}")
    # Without a root nothing has a place, and that is said.
    for unplaced in tree.unplaced if tree.root is not None else ():
        cli.complain(f"{unplaced.index} has no place in the tree: {printable(unplaced.reason)}")


def _system(said: "Mapping[str, str]") -> str:
    """A system's name, version and host; the version once, where the name has it."""
    words = [said.get(key, "") for key in ("name", "version", "hostname")]
    if words[1] in words[0].split():
        del words[1]
    return " ".join(printable(word) for word in words if word)


def _kind(each: "MountedVolume") -> str:
    volume = each.volume
    label = f' "{printable(volume.label)}"' if volume is not None and volume.label else ""
    return f"{each.type or '?'}{label}"


def second_opinion(mounted: "Mounted") -> None:
    """Tell what dissect.volume sees otherwise of each disk's partition table."""
    from pyimount.imagemounter.second_opinion import differences
    from pyimount.planning.naming import raw_name
    from pyimount.planning.steps import ExposeRaw

    scan = mounted.scan
    for disk in scan.disks:
        if disk.size is None or disk.is_folder:
            continue
        shown = [
            f"{mounted.places[step.id]}/{raw_name(disk)}"
            for step in mounted.plan.steps
            if isinstance(step, ExposeRaw) and disk.id in dict(step.files) and step.id in mounted.places
        ]
        is_raw = disk.container.get("type") == "raw" and len(disk.paths) == 1
        ours = [
            (each.index, each.offset or 0, each.size or 0)
            for each in scan.children(disk)
            if each.flag == "alloc" and each.slot is not None
        ]
        path = disk.paths[0] if is_raw else next(iter(shown), None)
        told = differences(scan, disk, path, ours, offset=0, sector=disk.sector_size)
        if told is None:
            cli.complain(f"{printable(disk.paths[0])}: dissect.volume was not asked: it is not installed, or")
            cli.complain("  could not read what is shown of the disk")
        for difference in told or ():
            cli.complain(printable(difference))
