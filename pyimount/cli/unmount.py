"""Take mounts down, the latest first, and everything that was made for them.

WHAT is an image, a mount point, a folder with mount points, or a session as 'pyimount list' shows it.
It works from any process, also after the one that mounted has died, and as often as you like.

Exit status: 0 nothing is left of what was named, or nothing was there; 1 a ledger cannot be read; 2 the
arguments are wrong; 5 something is left, and the message says what holds it.
"""

import argparse
import json
import sys
from typing import Any

from pyimount import cli
from pyimount.cli import privilege
from pyimount.execution.errors import LedgerError, StepFailed
from pyimount.reports.wording import printable

EXAMPLES = """examples:
  pyimount unmount disk.E01                 all that was mounted from this image
  pyimount unmount /run/pyimount/1f…/mnt/2  one file system
  pyimount unmount --all --dry-run          what would be done
"""

EXIT_LEFT = 5


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("what", nargs="*", metavar="WHAT", help="an image, a mount point, a session")
    parser.add_argument("--all", action="store_true", help="everything that pyimount mounted")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument(
        "-l", "--lazy", action="store_true", help="also what is in use: it ends when nobody uses it any more"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Take down what is named; returns the exit status."""
    if bool(options.what) == options.all:
        cli.complain("name what to unmount, or --all")
        return cli.EXIT_USAGE
    try:
        with privilege.standing() as standing:
            return _run(standing, options)
    except (LedgerError, StepFailed) as error:
        cli.complain(printable(str(error)))
        return 1


def _run(standing: privilege.Standing, options: argparse.Namespace) -> int:
    chosen: dict[str, set[int] | None] = {}
    found = standing.sessions()
    for name in options.what:
        if not _choose(name, found, chosen):
            cli.complain(f"{printable(name)}: nothing of this is mounted; 'pyimount list' shows what is")
    if options.all:
        chosen = {session["session"]: None for session in found}
    if options.dry_run:
        for session, only in chosen.items():
            for argv in standing.preview(session, only):
                print(" ".join(map(printable, argv)))
        return 0
    done: dict[str, dict[str, Any]] = {}
    unread = False
    pending = list(reversed(chosen.items()))
    while pending:
        # The latest first: an earlier one may be what it stands on. A bind mount may also stand on a later
        # one, which then goes in a second round.
        held = []
        for session, only in pending:
            try:
                done[session] = standing.undo(session, only, lazy=options.lazy)
            except LedgerError as error:
                # One session that cannot be read keeps no other from being taken down.
                cli.complain(printable(str(error)))
                unread = True
                continue
            if done[session]["left"]:
                held.append((session, only))
        pending = held if len(held) < len(pending) else []
    _report(list(done.values()), options)
    return EXIT_LEFT if any(each["left"] for each in done.values()) else int(unread)


def _choose(name: str, sessions: list[dict[str, Any]], chosen: dict[str, set[int] | None]) -> bool:
    """Add the steps that ``name`` means, by their sessions; None stands for a whole session."""
    from pyimount.execution.sessions import meant

    known = False
    for session in sessions:
        identity, steps = session["session"], meant(name, session)
        if steps is not None and not steps:
            continue
        known = True
        before = chosen.get(identity, set())
        chosen[identity] = None if steps is None or before is None else before | steps
    return known


def _report(done: list[dict[str, Any]], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps({"schema": "pyimount-unmount/1", "sessions": done}))
        return
    for each in done:
        for left in each["left"]:
            place = printable(left["place"] or left["step"])
            cli.complain(f"{place} is left: {printable(left['reason'])}")
        if each["left"]:
            cli.complain("close what uses it and repeat the command, or use --lazy")
        elif sys.stdout.isatty():
            print(f"session {each['session']}: nothing is left")
